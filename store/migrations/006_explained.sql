-- The views say how the very first call with a value was answered, so that a finding's numbers can be had from them.
CREATE OR REPLACE VIEW token_endpoints AS
SELECT owner, lineage, value AS endpoint, min(first_seen) AS first_seen, max(last_seen) AS last_seen, sum(calls) AS calls, sum(denied) AS denied, sum(failed) AS failed, argMinMerge(first_status) AS first_status
FROM rollup_facets
WHERE facet = 'endpoint'
GROUP BY owner, lineage, value;
