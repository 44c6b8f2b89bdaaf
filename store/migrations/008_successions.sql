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

-- What is known about each token, since when, and what is still missing. The detectors judge a lineage's next call by the same rule.
CREATE OR REPLACE VIEW tokens AS
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
    SELECT token, lineage, any(owner) AS owner, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls
    FROM rollup_tokens
    GROUP BY lineage, token
) AS used
LEFT JOIN
(
    SELECT
        lineage,
        min(hour) AS first_hour,
        arraySort(groupUniqArray(toDate(hour))) AS days,
        length(days) AS active_days,
        toInt64(ceil((toUnixTimestamp(first_hour + INTERVAL 5 DAY) - toUnixTimestamp(now())) / 86400)) AS days_left,
        -- A date that never comes stands for a baseline that still lacks days of use.
        if(active_days < 3, toDateTime('2106-01-01 00:00:00', 'UTC'), greatest(first_hour + INTERVAL 5 DAY, toDateTime(days[3], 'UTC'))) AS known_since
    FROM rollup_hours
    GROUP BY lineage
) AS history ON used.lineage = history.lineage
LEFT JOIN
(
    SELECT lineage, argMax(predecessor, as_of) AS predecessor, min(as_of) AS first_day
    FROM successions
    WHERE lineage != ''
    GROUP BY lineage
    HAVING max(as_of) = (SELECT max(as_of) FROM successions)
) AS succession ON used.lineage = succession.lineage
LEFT JOIN
(
    SELECT
        token,
        minIf(toNullable(time), action IN ('issued', 'rotated')) AS issued_at,
        maxIf(toNullable(time), action IN ('revoked', 'expired')) AS revoked_at,
        max(expires_at) AS expires_at,
        max(replaces) AS replaces
    FROM lifecycle
    GROUP BY token
) AS life ON used.token = life.token;
