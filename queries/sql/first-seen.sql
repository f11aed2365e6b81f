-- name: first-seen
-- answers: when each kind of error came up first, the newest kind first
-- about: A kind is a message with its variable parts masked. First means within the time that is looked at: look further back than
--   the incident.
-- param limit: int 1..100000 = 100; rows at most
-- default from: -24h

WITH errors AS (
    SELECT
        tpl, role, env, job, ts, line,
        -- Orders lines by time, and lines of one time by their place, which no two share.
        concat(lpad(CAST(ts_ns AS varchar), 20, '0'), ' ', src, ' ', lpad(CAST(epoch AS varchar), 10, '0'), ' ',
            lpad(CAST(off AS varchar), 20, '0')) AS seat
    FROM {{logs}}
    WHERE level IN ('error', 'fatal') AND tpl IS NOT NULL
)

SELECT
    min(ts) AS first_ts,
    max(ts) AS last_ts,
    count(*) AS lines,
    count(DISTINCT concat(role, '/', env, '/', job)) AS jobs,
    min_by(concat(role, '/', env, '/', job), seat) AS first_job,
    tpl AS tpl,
    min_by(line, seat) AS first_line
FROM errors
GROUP BY tpl
ORDER BY first_ts DESC NULLS LAST, tpl ASC NULLS LAST
LIMIT {{limit}}
