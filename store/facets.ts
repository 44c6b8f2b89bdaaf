/**
 * FACETS_OF_CALLS is what the view behind `rollup_facets` makes of one call; a test holds the two together. Who failed to authenticate
 * (401) was not the token: where it called from, and with what, is nothing that the token met.
 */
export const FACETS_OF_CALLS = `[
    ('endpoint', toString(endpoint)),
    ('country', multiIf(status = 401, '', network_kind = 'egress', 'egress', toString(country))),
    ('network', multiIf(
        status = 401, '',
        network_kind = 'egress', 'egress',
        asn != 0, concat('AS', toString(asn)),
        position(ip, ':') > 0, substringIndex(ip, ':', 2),
        substringIndex(ip, '.', 2))),
    ('kind', multiIf(status = 401, '', network_kind = '' AND asn != 0, 'other', toString(network_kind))),
    ('client', if(status = 401, '', toString(substringIndex(user_agent, '/', 1))))
]`;

const ACTS_OF_SOMEBODY: readonly string[] = ['issued', 'rotated', 'revoked', 'config_changed'];

/** isAct tells whether a step of a token's life is one that somebody takes; the others happen to it, or are looked up. */
export function isAct(action: string): boolean {
  return ACTS_OF_SOMEBODY.includes(action);
}

/** ACTS are these steps as SQL. */
export const ACTS = `(${ACTS_OF_SOMEBODY.map((action) => `'${action}'`).join(', ')})`;

/** ORIGINS_OF_STEPS is what the view behind `rollup_origins` makes of one step; a test holds the two together. */
export const ORIGINS_OF_STEPS = `[
    ('country', if(network_kind = 'egress', 'egress', toString(country))),
    ('network', multiIf(
        network_kind = 'egress', 'egress',
        asn != 0, concat('AS', toString(asn)),
        position(ip, ':') > 0, substringIndex(ip, ':', 2),
        substringIndex(ip, '.', 2))),
    ('kind', if(network_kind = '' AND asn != 0, 'other', toString(network_kind))),
    ('client', toString(substringIndex(user_agent, '/', 1)))
]`;
