-- Where each lineage was heard from, per day and square degree: what tells a trip from being in two places. Only calls with coordinates
-- that say something of the caller's whereabouts: not through VPNs, relays and the own way out, not those that failed to authenticate.
CREATE TABLE IF NOT EXISTS rollup_places
(
    owner      LowCardinality(String) COMMENT 'owner of the lineage',
    lineage    String COMMENT 'first token of the rotation chain' CODEC(ZSTD(1)),
    day        Date COMMENT 'day (UTC) of the calls' CODEC(Delta, ZSTD(1)),
    latitude   Int16 COMMENT 'rounded to a degree',
    longitude  Int16 COMMENT 'rounded to a degree',
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'first call from there on that day, event time',
    last_seen  SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'last call from there on that day, event time',
    calls      SimpleAggregateFunction(sum, UInt64) COMMENT 'calls from there on that day'
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, lineage, day, latitude, longitude)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 1024;

CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_places_mv TO rollup_places AS
SELECT
    owner,
    lineage,
    toDate(time) AS day,
    toInt16(round(events.latitude)) AS latitude,
    toInt16(round(events.longitude)) AS longitude,
    min(time) AS first_seen,
    max(time) AS last_seen,
    count() AS calls
FROM events
WHERE accuracy_km > 0 AND network_kind NOT IN ('egress', 'vpn', 'relay') AND status != 401
GROUP BY owner, lineage, day, latitude, longitude;
