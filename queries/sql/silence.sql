-- name: silence
-- answers: spans in which an instance wrote nothing, and instances that stopped
-- about: A span that goes on until `to` has no end: the instance stopped, or has not written since. An instance that wrote nothing
--   at all in the time that is looked at is not seen.
-- param gap: duration = 10m; how long a span is at least
-- param limit: int 1..100000 = 200; rows at most, the longest first
-- default from: -6h

WITH steps AS (
    SELECT
        role, env, job, instance, host, ts, ts_ns,
        lead(ts) OVER (
            PARTITION BY role, env, job, instance
            ORDER BY ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
        ) AS next_ts,
        lead(ts_ns) OVER (
            PARTITION BY role, env, job, instance
            ORDER BY ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
        ) AS next_ns
    FROM {{logs}}
)

SELECT
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    host AS host,
    ts AS silent_from,
    next_ts AS silent_to,
    (coalesce(next_ns, {{to}}) - ts_ns) / 1000000000 AS seconds,
    next_ns IS NULL AS stopped
FROM steps
WHERE coalesce(next_ns, {{to}}) - ts_ns >= {{gap}}
ORDER BY
    seconds DESC NULLS LAST, silent_from ASC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST,
    instance ASC NULLS LAST
LIMIT {{limit}}
