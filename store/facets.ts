/** FACETS_OF_CALLS is what the view behind `rollup_facets` makes of one call; a test holds the two together. */
export const FACETS_OF_CALLS = `[
    ('endpoint', toString(endpoint)),
    ('country', if(network_kind = 'egress', 'egress', toString(country))),
    ('network', multiIf(
        network_kind = 'egress', 'egress',
        asn != 0, concat('AS', toString(asn)),
        position(ip, ':') > 0, substringIndex(ip, ':', 2),
        substringIndex(ip, '.', 2))),
    ('kind', if(network_kind = '' AND asn != 0, 'other', toString(network_kind))),
    ('client', toString(substringIndex(user_agent, '/', 1)))
]`;
