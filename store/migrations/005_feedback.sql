-- What people said of what alerts found, one row a value and word, append only: of one subject's value the newest row counts.
CREATE TABLE IF NOT EXISTS feedback
(
    recorded_at DateTime64(3, 'UTC') COMMENT 'wall time of the word',
    alert       String COMMENT 'alert that was resolved with it',
    owner       LowCardinality(String) COMMENT 'owner of the subject',
    lineage     String COMMENT 'lineage that met the value, empty for a word about an owner''s churn',
    facet       LowCardinality(String) COMMENT 'endpoint, country, network or client; steps-hour or steps-day for churn',
    value       String COMMENT 'what was met; for churn the step: issued, rotated or revoked',
    verdict     LowCardinality(String) COMMENT 'expected or malicious',
    first_seen  DateTime64(3, 'UTC') COMMENT 'first meeting of the value, or first step of the burst, event time',
    last_seen   DateTime64(3, 'UTC') COMMENT 'last use of it, or last step of the burst, when the word was given, event time',
    amount      UInt64 COMMENT 'calls with it until then, or steps in the fullest window of the burst',
    ends_at     Nullable(DateTime64(3, 'UTC')) COMMENT 'until when it is expected, event time; null: for good',
    note        String COMMENT 'what the person wrote',
    by          String COMMENT 'access key that said it'
)
ENGINE = MergeTree
ORDER BY (lineage, owner, facet, value, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000;

ALTER TABLE alert_log ADD COLUMN IF NOT EXISTS resolved_as LowCardinality(String) COMMENT 'expected or malicious where a person said so, else empty';

CREATE OR REPLACE VIEW alerts AS
SELECT
    log.alert AS id,
    argMaxIf(log.status, log.recorded_at, log.status != '') AS status,
    max(log.severity) AS severity,
    argMaxIf(found.title, (toInt8(log.severity), found.surprise), log.detection != '') AS title,
    argMaxIf(found.summary, (toInt8(log.severity), found.surprise), log.detection != '') AS summary,
    argMaxIf(log.token, log.detection_time, log.detection != '') AS token,
    any(log.lineage) AS lineage,
    any(log.owner) AS owner,
    groupUniqArrayIf(toString(found.detector), log.detection != '') AS detectors,
    uniqExactIf(log.detection, log.detection != '') AS detections,
    minIf(log.detection_time, log.detection != '') AS opened_at,
    maxIf(log.detection_time, log.detection != '') AS last_seen,
    argMaxIf(log.resolved_as, log.recorded_at, log.status = 'resolved') AS resolved_as
FROM alert_log AS log
LEFT JOIN detections AS found ON log.detection = found.id
GROUP BY log.alert;
