-- name: request-trace
-- answers: all lines of one request or trace, over all jobs, in order, with the time between them
-- about: The id is looked for as a request's and as a trace's; filters in Parquet find it without reading every line.
-- param id: text; the request's or the trace's id
-- param limit: int 1..100000 = 10000; rows at most
-- default from: -24h

WITH found AS (
    SELECT ts, ts_ns, role, env, job, instance, host, level, line, src, epoch, off
    FROM {{logs}}
    WHERE request_id = {{id}}
    UNION ALL
    SELECT ts, ts_ns, role, env, job, instance, host, level, line, src, epoch, off
    FROM {{logs}}
    WHERE trace_id = {{id}} AND (request_id IS NULL OR request_id <> {{id}})
)

SELECT
    ts AS ts,
    (ts_ns - lag(ts_ns) OVER (
        ORDER BY ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
    )) / 1000000 AS gap_ms,
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    host AS host,
    level AS level,
    line AS line,
    concat(src, '@', CAST(epoch AS varchar), ':', CAST(off AS varchar)) AS place
FROM found
ORDER BY ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
LIMIT {{limit}}
