-- Usage events, one row a call. Ordered by minute first: detectors and evidence read the newest minutes of all tokens;
-- the bloom filter serves one token's long history. Rows that a shipper regrouped and sent again merge away by id.
CREATE TABLE IF NOT EXISTS events
(
    time        DateTime64(3, 'UTC') COMMENT 'when the call was made, by the source''s clock' CODEC(Delta, ZSTD(1)),
    received_at DateTime64(3, 'UTC') COMMENT 'when the batch that holds it was received' CODEC(Delta, ZSTD(1)),
    id          String COMMENT 'unique id: the source''s own, else derived from the request that brought it' CODEC(ZSTD(1)),
    token       String COMMENT 'stable id of the token, never its secret' CODEC(ZSTD(1)),
    lineage     String COMMENT 'first token of the rotation chain; equal to token when it never rotated' CODEC(ZSTD(1)),
    owner       LowCardinality(String) COMMENT 'customer, team or service the token belongs to',
    endpoint    LowCardinality(String) COMMENT 'method and templated route',
    method      LowCardinality(String) COMMENT 'HTTP method, empty when the source names none',
    status      UInt16 COMMENT 'HTTP status or the nearest to it, 0 when unknown',
    ip          String COMMENT 'caller''s address, empty when unknown' CODEC(ZSTD(1)),
    country     LowCardinality(String) COMMENT 'ISO 3166-1 alpha-2, empty when unknown',
    asn         UInt32 COMMENT 'autonomous system number, 0 when unknown',
    network_kind LowCardinality(String) COMMENT 'hosting, mobile, business, vpn, relay or egress (the organisation''s own way out); empty when nothing tells',
    latitude    Float32 COMMENT 'of the address, degrees; 0 without a city database' CODEC(ZSTD(1)),
    longitude   Float32 COMMENT 'of the address, degrees; 0 without a city database' CODEC(ZSTD(1)),
    accuracy_km UInt16 COMMENT 'radius around the coordinates in kilometres, 0 when there are none',
    user_agent  LowCardinality(String) COMMENT 'client as it names itself, credentials replaced',
    bytes       UInt64 COMMENT 'bytes of the answer',
    duration_ms Float32 COMMENT 'duration of the call in milliseconds',
    request_id  String COMMENT 'the source''s request id' CODEC(ZSTD(1)),
    attributes  String COMMENT 'fields the format does not know, as JSON' CODEC(ZSTD(1)),
    source      LowCardinality(String) COMMENT 'log format that read the line',
    INDEX token_bloom token TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX lineage_bloom lineage TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toMonday(time)
ORDER BY (toStartOfMinute(time), lineage, time, id)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_base = 20;

-- Lifecycle events, one row a step in a token's life. The bloom filter finds what a token under alert has issued.
CREATE TABLE IF NOT EXISTS lifecycle
(
    time         DateTime64(3, 'UTC') COMMENT 'when it happened, by the source''s clock',
    received_at  DateTime64(3, 'UTC') COMMENT 'when the batch that holds it was received',
    id           String COMMENT 'unique id: the source''s own, else derived from the request that brought it',
    action       LowCardinality(String) COMMENT 'issued, verified, rotated, revoked, expired or config_changed',
    token        String COMMENT 'stable id of the token',
    lineage      String COMMENT 'first token of the rotation chain',
    owner        LowCardinality(String) COMMENT 'who the token belongs to',
    replaces     String COMMENT 'token that this one takes over from, empty when none',
    issued_by    String COMMENT 'token that asked for the issue, empty when unknown',
    issuer_lineage String COMMENT 'lineage of that token',
    requested_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was asked for',
    expires_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'when the token ends by itself',
    effective_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it took effect',
    fingerprint  String COMMENT 'fingerprint of the secret, never the secret',
    scopes       Array(String) COMMENT 'what the token allows',
    reason       String COMMENT 'why, as the source says',
    config       String COMMENT 'config change as JSON: key, from, to, approved',
    ip           String COMMENT 'address of who did it',
    country      LowCardinality(String) COMMENT 'country of that address',
    user_agent   String COMMENT 'client that did it',
    request_id   String COMMENT 'the source''s request id',
    attributes   String COMMENT 'fields the format does not know, as JSON',
    source       LowCardinality(String) COMMENT 'log format that read the line',
    asn          UInt32 COMMENT 'autonomous system number of that address, 0 when unknown',
    network_kind LowCardinality(String) COMMENT 'kind of network of that address, as in events',
    INDEX issuer_bloom issuer_lineage TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (owner, time, token, id)
SETTINGS non_replicated_deduplication_window = 10000, merge_selector_enable_heuristic_to_remove_small_parts_at_right = 0, index_granularity = 512, min_bytes_for_wide_part = 1073741824;

-- Lines that were refused, with the reason, credentials replaced.
CREATE TABLE IF NOT EXISTS rejected_events
(
    received_at DateTime64(3, 'UTC') COMMENT 'when the request came',
    sender      String COMMENT 'access key id or file name',
    line        UInt32 COMMENT '1-based line or array element of the request',
    code        LowCardinality(String) COMMENT 'why, a closed set',
    message     String COMMENT 'why, in words',
    content     String COMMENT 'the line, credentials replaced, cut at 2,000 characters' CODEC(ZSTD(1)),
    source      LowCardinality(String) COMMENT 'log format that was tried'
)
ENGINE = MergeTree
ORDER BY received_at
TTL toDateTime(received_at) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000;
