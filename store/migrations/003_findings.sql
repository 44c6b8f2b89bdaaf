-- Findings, each immutable; the id is a hash of what was found.
CREATE TABLE IF NOT EXISTS detections
(
    id          String COMMENT 'hash of detector, subject and finding',
    detector    LowCardinality(String) COMMENT 'which detector found it',
    token       Nullable(String) COMMENT 'token seen, null for a finding about an owner',
    lineage     Nullable(String) COMMENT 'lineage judged, null for a finding about an owner',
    owner       LowCardinality(String) COMMENT 'owner of the subject',
    severity    Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4) COMMENT 'medium and above page',
    title       String COMMENT 'the finding in a few words',
    summary     String COMMENT 'what was seen and what was expected',
    window_from DateTime64(3, 'UTC') COMMENT 'start of the judged window, event time',
    window_to   DateTime64(3, 'UTC') COMMENT 'end of the judged window, event time',
    observed    String COMMENT 'what was seen, JSON',
    expected    String COMMENT 'what the baseline expects, JSON',
    surprise    Float64 COMMENT '-log10 of the chance of it under the subject''s own baseline',
    state       LowCardinality(String) COMMENT 'learning, known or dormant when it was judged',
    evidence    String COMMENT 'rows to check, JSON',
    sql         String COMMENT 'query that reproduces the numbers',
    detected_at DateTime64(3, 'UTC') COMMENT 'wall time of the judgement',
    anchor      String COMMENT 'what makes it this finding, beside detector, subject and when that began which it tells of',
    began       DateTime64(3, 'UTC') COMMENT 'when that began, event time, 1970 where it does not matter: a call that comes late may move it, and what was told stays told'
)
ENGINE = ReplacingMergeTree
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

-- Every change of every alert, append only; the view alerts shows the state that follows from it.
CREATE TABLE IF NOT EXISTS alert_log
(
    recorded_at    DateTime64(3, 'UTC') COMMENT 'wall time of the change',
    alert          String COMMENT 'alert id',
    kind           LowCardinality(String) COMMENT 'opened, grew, acknowledged or resolved',
    subject_key    String COMMENT 'what the alert is about, as one text',
    token          Nullable(String),
    lineage        Nullable(String),
    owner          LowCardinality(String),
    detection      String COMMENT 'detection folded in, empty for a state change',
    detector       LowCardinality(String) COMMENT 'that found the detection, empty when the row adds none',
    detected_at    DateTime64(3, 'UTC') COMMENT 'wall time at which it was found, 1970 when the row adds none',
    detection_time DateTime64(3, 'UTC') COMMENT 'event time of the change',
    severity       Enum8('info' = 0, 'low' = 1, 'medium' = 2, 'high' = 3, 'critical' = 4),
    status         LowCardinality(String) COMMENT 'state that the change sets, empty when it sets none',
    note           String COMMENT 'what the person wrote',
    by             String COMMENT 'access key that did it, empty for Tokenwatch itself',
    resolved_as    LowCardinality(String) COMMENT 'expected or malicious where a person said so, else empty',
    needed         Float64 DEFAULT 0 COMMENT 'surprise that the finding had to exceed to page within the alert budget, 0 when it was not held back'
)
ENGINE = MergeTree
ORDER BY (alert, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000;

-- What was sent to whom and when; written after the send.
CREATE TABLE IF NOT EXISTS notifications
(
    id           String COMMENT 'idempotency key, stable over retries',
    alert        String COMMENT 'alert id',
    channel      LowCardinality(String) COMMENT 'channel name in the configuration',
    channel_type LowCardinality(String) COMMENT 'webhook, slack or email',
    reason       LowCardinality(String) COMMENT 'first, grew, worse or resolved',
    status       LowCardinality(String) COMMENT 'sent or failed',
    attempts     UInt16 COMMENT 'how many tries it took',
    target       String COMMENT 'where it went, secrets replaced',
    error        String COMMENT 'why it failed, empty when sent',
    at           DateTime64(3, 'UTC') COMMENT 'when it was sent or given up',
    delay_ms     Int64 COMMENT 'milliseconds from the oldest detection that the message tells of to the send'
)
ENGINE = ReplacingMergeTree
ORDER BY (alert, id)
SETTINGS non_replicated_deduplication_window = 10000;

-- Access keys of the HTTP API: hashes only, the newest row of an id counts.
CREATE TABLE IF NOT EXISTS access_keys
(
    id         String,
    hash       String,
    name       String,
    scopes     Array(String),
    status     LowCardinality(String),
    created_at DateTime64(3, 'UTC'),
    expires_at Nullable(DateTime64(3, 'UTC')),
    updated_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY (id, updated_at);

-- What people said of what alerts found, one row a value and word, append only: of one subject's value the newest row counts.
CREATE TABLE IF NOT EXISTS feedback
(
    recorded_at DateTime64(3, 'UTC') COMMENT 'wall time of the word',
    alert       String COMMENT 'alert that was resolved with it',
    owner       LowCardinality(String) COMMENT 'owner of the subject',
    lineage     String COMMENT 'lineage that met the value, empty for a word about an owner''s churn',
    facet       LowCardinality(String) COMMENT 'endpoint, country, network, kind or client; trip for two places too far apart; for churn the window that the burst was found in: steps-hour, steps-day or steps-three-days',
    value       String COMMENT 'what was met; of a trip both places in whole degrees (latitude and longitude), the one heard from first before the other; for churn the step: issued, rotated or revoked',
    verdict     LowCardinality(String) COMMENT 'expected or malicious',
    first_seen  DateTime64(3, 'UTC') COMMENT 'first use that the word is about, event time: the first meeting of the value, where an earlier word had ended the first use after it; of a trip that of the other place; or first step of the burst',
    last_seen   DateTime64(3, 'UTC') COMMENT 'last use of it, or last step of the burst, when the word was given, event time',
    amount      UInt64 COMMENT 'calls with it from first_seen to last_seen, or steps in the fullest window of the burst',
    ends_at     Nullable(DateTime64(3, 'UTC')) COMMENT 'until when it is expected, event time; null: for good',
    note        String COMMENT 'what the person wrote',
    by          String COMMENT 'access key that said it'
)
ENGINE = MergeTree
ORDER BY (lineage, owner, facet, value, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000;

-- Who took over from whom without having been declared, as inferred at the start of each day: written for people, judged by nobody.
CREATE TABLE IF NOT EXISTS successions
(
    as_of       Date COMMENT 'day (UTC) at whose start it was inferred; one row a day without a lineage says that the day was looked at',
    owner       LowCardinality(String) COMMENT 'owner of both',
    lineage     String COMMENT 'lineage that took over',
    predecessor String COMMENT 'lineage whose habits it has',
    since       DateTime64(3, 'UTC') COMMENT 'its first call'
)
ENGINE = ReplacingMergeTree
ORDER BY (as_of, owner, lineage)
TTL as_of + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;
