-- What each lineage has met, per facet (endpoint, country, network, kind of network, client): the baseline of every novelty detector. Keyed by owner
-- first, so that peers of one owner stand together; the projection finds whoever met a value. Parts are merged sooner than elsewhere: rows of one
-- value become one, and every read is shorter. What was unused for over a year is forgotten and met anew (docs/decisions/004): that is what the
-- quarters are for, counted from 2020 on.
CREATE TABLE IF NOT EXISTS rollup_facets
(
    facet      LowCardinality(String),
    owner      LowCardinality(String),
    lineage    String CODEC(ZSTD(1)),
    value      LowCardinality(String),
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    calls      SimpleAggregateFunction(sum, UInt64),
    denied     SimpleAggregateFunction(sum, UInt64),
    failed     SimpleAggregateFunction(sum, UInt64),
    first_call SimpleAggregateFunction(min, UInt64),
    quarters   SimpleAggregateFunction(groupBitOr, UInt64) COMMENT 'calendar quarters (UTC) in which it was used, one bit each: bit 0 is the first quarter of 2020 and all before, bit 63 the last of 2035; what is later has none',
    PROJECTION by_value (SELECT facet, value, owner, lineage, first_seen ORDER BY facet, value)
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, lineage, facet, value)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 256, min_bytes_for_wide_part = 1073741824, deduplicate_merge_projection_mode = 'rebuild';

-- Who failed to authenticate (401) was not the token: its place and client are not met. Calls through the organisation's own way out count as one place, `egress`, wherever its addresses are; a kind is `other` where the
-- network is known and nothing tells its kind.
CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_facets_mv TO rollup_facets AS
WITH toUInt64(greatest(0, toInt64(toRelativeQuarterNum(time)) - 8080)) AS quarter
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
    min(toUInt64(toUnixTimestamp64Milli(time)) * 65536 + status) AS first_call,
    groupBitOr(if(quarter < 64, bitShiftLeft(toUInt64(1), quarter), toUInt64(0))) AS quarters
FROM events
ARRAY JOIN [
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
] AS pair
WHERE pair.2 != ''
GROUP BY facet, owner, lineage, value;

-- Calls per lineage and hour: when a lineage is active, and how often it is refused: `refused` are those that were not allowed (403) or asked for what is not there (404).
CREATE TABLE IF NOT EXISTS rollup_hours
(
    owner   LowCardinality(String),
    lineage String CODEC(ZSTD(1)),
    hour    DateTime('UTC') CODEC(Delta, ZSTD(1)),
    calls   SimpleAggregateFunction(sum, UInt64),
    denied  SimpleAggregateFunction(sum, UInt64),
    failed  SimpleAggregateFunction(sum, UInt64),
    bytes   SimpleAggregateFunction(sum, UInt64),
    refused SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, lineage, hour)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_base = 20, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_hours_mv TO rollup_hours AS
SELECT
    owner,
    lineage,
    toStartOfHour(time) AS hour,
    count() AS calls,
    countIf(status IN (401, 403)) AS denied,
    countIf(status >= 400) AS failed,
    sum(bytes) AS bytes,
    countIf(status IN (403, 404)) AS refused
FROM events
GROUP BY owner, lineage, hour;

-- First and last use of each token. The bloom filter finds a token whose owner nobody knows.
CREATE TABLE IF NOT EXISTS rollup_tokens
(
    token      String CODEC(ZSTD(1)),
    lineage    String CODEC(ZSTD(1)),
    owner      LowCardinality(String),
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen  SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    calls      SimpleAggregateFunction(sum, UInt64),
    INDEX lineage_bloom lineage TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, lineage, token)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_tokens_mv TO rollup_tokens AS
SELECT token, lineage, owner, min(time) AS first_seen, max(time) AS last_seen, count() AS calls
FROM events
GROUP BY token, lineage, owner;

-- Steps in tokens' lives per owner and hour: the baseline of churn, and how many of them tell who took them. An issue that replaces a token is
-- a rotation.
CREATE TABLE IF NOT EXISTS rollup_churn
(
    owner  LowCardinality(String),
    step   LowCardinality(String),
    hour   DateTime('UTC'),
    steps  SimpleAggregateFunction(sum, UInt64),
    placed SimpleAggregateFunction(sum, UInt64)
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, step, hour)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_churn_mv TO rollup_churn AS
SELECT owner, if(replaces != '' AND action = 'issued', 'rotated', action) AS step, toStartOfHour(time) AS hour, count() AS steps,
    countIf(action IN ('issued', 'rotated', 'revoked', 'config_changed') AND (ip != '' OR user_agent != '')) AS placed
FROM lifecycle
GROUP BY owner, step, hour;

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
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

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

-- From where, and with what client, each owner's tokens were issued, rotated, revoked or changed: the baseline of who administers them. Facets and
-- their values as in rollup_facets; what names neither address nor client has none.
CREATE TABLE IF NOT EXISTS rollup_origins
(
    facet      LowCardinality(String) COMMENT 'country, network, kind (of network) or client',
    owner      LowCardinality(String) COMMENT 'whose tokens they are',
    value      LowCardinality(String) COMMENT 'the country, network, kind or client',
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'first step from there, or with it, event time',
    last_seen  SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'last step from there, or with it, event time',
    steps      SimpleAggregateFunction(sum, UInt64) COMMENT 'steps from there, or with it'
)
ENGINE = AggregatingMergeTree
ORDER BY (owner, facet, value)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

CREATE MATERIALIZED VIEW IF NOT EXISTS rollup_origins_mv TO rollup_origins AS
SELECT origin.1 AS facet, owner, origin.2 AS value, min(time) AS first_seen, max(time) AS last_seen, count() AS steps
FROM lifecycle
ARRAY JOIN [
    ('country', if(network_kind = 'egress', 'egress', toString(country))),
    ('network', multiIf(
        network_kind = 'egress', 'egress',
        asn != 0, concat('AS', toString(asn)),
        position(ip, ':') > 0, substringIndex(ip, ':', 2),
        substringIndex(ip, '.', 2))),
    ('kind', if(network_kind = '' AND asn != 0, 'other', toString(network_kind))),
    ('client', toString(substringIndex(user_agent, '/', 1)))
] AS origin
WHERE action IN ('issued', 'rotated', 'revoked', 'config_changed') AND origin.2 != ''
GROUP BY facet, owner, value;
