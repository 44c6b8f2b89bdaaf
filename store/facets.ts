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
