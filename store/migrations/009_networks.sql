-- What kind of network a call came from, and where its address is, as far as the databases and lists of `geo` tell.
ALTER TABLE events ADD COLUMN IF NOT EXISTS network_kind LowCardinality(String) COMMENT 'hosting, mobile, business, vpn, relay or egress (the organisation''s own way out); empty when nothing tells' AFTER asn;

ALTER TABLE events ADD COLUMN IF NOT EXISTS latitude Float32 COMMENT 'of the address, degrees; 0 without a city database' CODEC(ZSTD(1)) AFTER network_kind;

ALTER TABLE events ADD COLUMN IF NOT EXISTS longitude Float32 COMMENT 'of the address, degrees; 0 without a city database' CODEC(ZSTD(1)) AFTER latitude;

ALTER TABLE events ADD COLUMN IF NOT EXISTS accuracy_km UInt16 COMMENT 'radius around the coordinates in kilometres, 0 when there are none' AFTER longitude;

-- Calls through the organisation's own way out count as one place, `egress`, wherever its addresses are. The kind of network is a
-- facet of its own: `other` where the network is known and nothing tells its kind.
ALTER TABLE rollup_facets_mv MODIFY QUERY
SELECT
    pair.1 AS facet,
    owner,
    lineage,
    pair.2 AS value,
    min(time) AS first_seen,
    max(time) AS last_seen,
    count() AS calls,
    countIf(status IN (401, 403)) AS denied,
    countIf(status >= 400) AS failed,
    argMinState(status, time) AS first_status
FROM events
ARRAY JOIN [
    ('endpoint', toString(endpoint)),
    ('country', if(network_kind = 'egress', 'egress', toString(country))),
    ('network', multiIf(
        network_kind = 'egress', 'egress',
        asn != 0, concat('AS', toString(asn)),
        position(ip, ':') > 0, substringIndex(ip, ':', 2),
        substringIndex(ip, '.', 2))),
    ('kind', if(network_kind = '' AND asn != 0, 'other', toString(network_kind))),
    ('client', toString(substringIndex(user_agent, '/', 1)))
] AS pair
WHERE pair.2 != ''
GROUP BY facet, owner, lineage, value;

-- The kinds of networks of each lineage.
CREATE VIEW IF NOT EXISTS token_network_kinds AS
SELECT owner, lineage, value AS network_kind, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
FROM rollup_facets
WHERE facet = 'kind'
GROUP BY owner, lineage, value;
