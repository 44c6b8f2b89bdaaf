-- What the alert budget holds back is in the log, so that whoever derives messages from it asks for the same ones.
ALTER TABLE alert_log
    ADD COLUMN IF NOT EXISTS needed Float64 DEFAULT 0 COMMENT 'surprise that the finding had to exceed to page within the alert budget, 0 when it was not held back';

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
    argMaxIf(log.resolved_as, log.recorded_at, log.status = 'resolved') AS resolved_as,
    countIf(log.needed > 0) > 0
        AND countIf(log.detection != '' AND toInt8(log.severity) >= 2 AND log.needed = 0) = 0 AS held_back
FROM alert_log AS log
LEFT JOIN detections AS found ON log.detection = found.id
GROUP BY log.alert;
