import type { UsageRow } from './rows.ts';

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

/**
 * Origin is what tells from where, and with what client, somebody made a call or took a step; the functions below make of it what the SQL above does.
 */
export type Origin = Pick<UsageRow, 'ip' | 'country' | 'asn' | 'userAgent'> & { readonly networkKind: string };

/** kindOf is the kind of network, `other` where the network is known and nothing tells its kind. */
function kindOf({ networkKind, asn }: Origin): string {
  return networkKind === '' && asn !== 0 ? 'other' : networkKind;
}

/** networkOf is the autonomous system, else the address's prefix; the organisation's own way out is one network. */
export function networkOf({ asn, ip, networkKind }: Origin): string {
  if (networkKind === 'egress') return 'egress';
  if (asn !== 0) return `AS${asn}`;
  const separator = ip.includes(':') ? ':' : '.';
  const second = ip.indexOf(separator, ip.indexOf(separator) + 1);
  return second < 0 ? ip : ip.slice(0, second);
}

/** clientOf is the product that a user agent names first. */
export function clientOf({ userAgent }: Pick<Origin, 'userAgent'>): string {
  const slash = userAgent.indexOf('/');
  return slash < 0 ? userAgent : userAgent.slice(0, slash);
}

/** placesOf is the country and the kind of network of a call, the organisation's own way out as a place of its own. */
export function placesOf(row: Origin): { readonly country: string; readonly kind: string } {
  return { country: row.networkKind === 'egress' ? 'egress' : row.country, kind: kindOf(row) };
}
