-- name: error-timeline
-- answers: errors per span of time and job
-- about: Counts lines of the levels error and fatal. A span without any is no row; the chart shows it as an empty bar.
-- param bucket: choice second|minute|hour|day = minute; how long a span is
-- param limit: int 1..100000 = 10000; rows at most, the earliest first
-- chart: bucket, errors

SELECT
    date_trunc({{bucket}}, ts) AS bucket,
    role AS role,
    env AS env,
    job AS job,
    count(*) AS errors,
    count_if(level = 'fatal') AS fatals
FROM {{logs}}
WHERE level IN ('error', 'fatal')
GROUP BY date_trunc({{bucket}}, ts), role, env, job
ORDER BY
    bucket ASC NULLS LAST, errors DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST
LIMIT {{limit}}
