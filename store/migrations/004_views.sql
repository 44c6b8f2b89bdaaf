-- The contract's views over the rollups: one row per pair, counters merged.
-- first_status: how the very first call was answered, so that a finding's numbers can be had from here.
CREATE VIEW IF NOT EXISTS token_endpoints AS
SELECT owner, lineage, value AS endpoint, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed, toUInt16(min(first_call) % 65536) AS first_status
FROM rollup_facets
WHERE facet = 'endpoint'
GROUP BY owner, lineage, value;

CREATE VIEW IF NOT EXISTS token_countries AS
SELECT owner, lineage, value AS country, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
FROM rollup_facets
WHERE facet = 'country'
GROUP BY owner, lineage, value;

-- A network is an autonomous system where it is known, else the first half of an IPv4 address or the first two groups of an IPv6 one.
CREATE VIEW IF NOT EXISTS token_networks AS
SELECT owner, lineage, value AS network, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
FROM rollup_facets
WHERE facet = 'network'
GROUP BY owner, lineage, value;

-- A client is the product that a user agent names first: curl, Go-http-client, Mozilla.
CREATE VIEW IF NOT EXISTS token_clients AS
SELECT owner, lineage, value AS client, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
FROM rollup_facets
WHERE facet = 'client'
GROUP BY owner, lineage, value;

-- The kinds of networks of each lineage.
CREATE VIEW IF NOT EXISTS token_network_kinds AS
SELECT owner, lineage, value AS network_kind, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed
FROM rollup_facets
WHERE facet = 'kind'
GROUP BY owner, lineage, value;

CREATE VIEW IF NOT EXISTS token_hourly AS
SELECT owner, lineage, hour, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed, sum(bytes) AS bytes, sum(refused) AS refused
FROM rollup_hours
GROUP BY owner, lineage, hour;

-- From where, and with what client, each owner's tokens were issued, rotated, revoked or changed.
CREATE VIEW IF NOT EXISTS lifecycle_origins AS
SELECT facet, owner, value, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(steps) AS steps
FROM rollup_origins
GROUP BY facet, owner, value;

-- What is known about each token, since when, and what is still missing. The detectors judge a lineage's next call by the same rule.
CREATE VIEW IF NOT EXISTS tokens AS
SELECT
    used.token AS token,
    used.lineage AS lineage,
    used.owner AS owner,
    used.first_seen AS first_seen,
    used.last_seen AS last_seen,
    used.calls AS calls,
    history.first_hour AS learning_since,
    history.active_days AS active_days,
    multiIf(
        used.last_seen < now() - INTERVAL 30 DAY, 'dormant',
        history.known_since <= now() OR succession.predecessor != '', 'known',
        'learning') AS state,
    multiIf(
        state = 'dormant', toDateTime(used.last_seen + INTERVAL 30 DAY, 'UTC'),
        state = 'learning', history.first_hour,
        succession.predecessor != '', least(history.known_since, toDateTime(succession.first_day, 'UTC')),
        history.known_since) AS state_since,
    if(state = 'learning', arrayStringConcat(arrayFilter(part -> part != '', [
        if(history.days_left > 0, concat(toString(history.days_left), if(history.days_left = 1, ' more day', ' more days'), ' of history'), ''),
        if(history.active_days < 3, concat('use on ', toString(3 - history.active_days), if(history.active_days = 2, ' more day', ' more days')), '')
    ]), ' and '), '') AS missing,
    life.issued_at AS issued_at,
    life.revoked_at AS revoked_at,
    life.expires_at AS expires_at,
    life.replaces AS replaces,
    succession.predecessor AS inferred_from
FROM
(
    SELECT owner, lineage, token, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls
    FROM rollup_tokens
    GROUP BY owner, lineage, token
) AS used
LEFT JOIN
(
    SELECT
        owner,
        lineage,
        min(hour) AS first_hour,
        arraySort(groupUniqArray(toDate(hour))) AS days,
        length(days) AS active_days,
        toInt64(ceil((toUnixTimestamp(first_hour + INTERVAL 5 DAY) - toUnixTimestamp(now())) / 86400)) AS days_left,
        -- A date that never comes stands for a baseline that still lacks days of use.
        if(active_days < 3, toDateTime('2106-01-01 00:00:00', 'UTC'), greatest(first_hour + INTERVAL 5 DAY, toDateTime(days[3], 'UTC'))) AS known_since
    FROM rollup_hours
    GROUP BY owner, lineage
) AS history ON used.owner = history.owner AND used.lineage = history.lineage
LEFT JOIN
(
    SELECT owner, lineage, argMax(predecessor, as_of) AS predecessor, min(as_of) AS first_day
    FROM successions
    WHERE lineage != ''
    GROUP BY owner, lineage
    HAVING max(as_of) = (SELECT max(as_of) FROM successions)
) AS succession ON used.owner = succession.owner AND used.lineage = succession.lineage
LEFT JOIN
(
    -- What an owner's log says is of its own token; what a log says that names no user of the token is of every one of that id.
    SELECT
        used_by AS owner,
        token,
        minIf(toNullable(time), action IN ('issued', 'rotated')) AS issued_at,
        maxIf(toNullable(time), action IN ('revoked', 'expired')) AS revoked_at,
        max(expires_at) AS expires_at,
        max(replaces) AS replaces
    FROM
    (
        SELECT steps.token AS token, time, action, expires_at, replaces, arrayJoin(if(has(users.owners, steps.owner), [steps.owner], users.owners)) AS used_by
        FROM lifecycle AS steps
        INNER JOIN (SELECT token, groupUniqArray(owner) AS owners FROM rollup_tokens GROUP BY token) AS users ON users.token = steps.token
    )
    GROUP BY used_by, token
) AS life ON used.owner = life.owner AND used.token = life.token;

CREATE VIEW IF NOT EXISTS alerts AS
SELECT
    log.alert AS id,
    argMaxIf(log.status, log.recorded_at, log.status != '') AS status,
    max(log.severity) AS severity,
    argMaxIf(found.title, (toInt8(log.severity), found.surprise), log.detection != '') AS title,
    argMaxIf(found.summary, (toInt8(log.severity), found.surprise), log.detection != '') AS summary,
    argMaxIf(log.token, log.detection_time, log.detection != '') AS token,
    any(log.lineage) AS lineage,
    any(log.owner) AS owner,
    groupUniqArrayIf(toString(log.detector), log.detection != '') AS detectors,
    uniqExactIf(log.detection, log.detection != '') AS detections,
    minIf(log.detection_time, log.detection != '') AS opened_at,
    maxIf(log.detection_time, log.detection != '') AS last_seen,
    argMaxIf(log.resolved_as, log.recorded_at, log.status = 'resolved') AS resolved_as,
    countIf(log.needed > 0) > 0
        AND countIf(log.detection != '' AND toInt8(log.severity) >= 2 AND log.needed = 0) = 0 AS held_back
FROM alert_log AS log
LEFT JOIN detections AS found ON log.detection = found.id
GROUP BY log.alert;
