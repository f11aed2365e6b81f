-- name: late-events
-- answers: how long after their time lines came to the archive's agent, by host and job, and how many had an unbelievable time
-- about: The percentiles are exact, in milliseconds. `substituted` counts lines whose own time was replaced.
-- param limit: int 1..100000 = 100; rows at most, the latest first

WITH counted AS (
    SELECT
        host, role, env, job,
        date_diff('millisecond', ts, ingest_ts) AS lag_ms,
        count(*) AS n,
        count_if(bitwise_and(flags, 1) <> 0) AS substituted
    FROM {{logs}}
    GROUP BY host, role, env, job, date_diff('millisecond', ts, ingest_ts)
),

ranked AS (
    SELECT
        host, role, env, job, lag_ms, n, substituted,
        sum(n) OVER (
            PARTITION BY host, role, env, job ORDER BY lag_ms ASC NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS up_to,
        sum(n) OVER (PARTITION BY host, role, env, job) AS total
    FROM counted
)

SELECT
    host AS host,
    role AS role,
    env AS env,
    job AS job,
    sum(n) AS lines,
    sum(substituted) AS substituted,
    min(CASE WHEN up_to * 100 >= total * 50 THEN lag_ms END) AS p50_ms,
    min(CASE WHEN up_to * 100 >= total * 95 THEN lag_ms END) AS p95_ms,
    max(lag_ms) AS greatest_ms
FROM ranked
GROUP BY host, role, env, job
ORDER BY
    p95_ms DESC NULLS LAST, greatest_ms DESC NULLS LAST, host ASC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST,
    job ASC NULLS LAST
LIMIT {{limit}}
