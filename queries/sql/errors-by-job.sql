-- name: errors-by-job
-- answers: errors and their share of all lines, by day and job: the week's table
-- about: With whole hours, as by default, no column of times is read: the day is that of the partition. It is the cheapest of all.
-- param limit: int 1..100000 = 10000; rows at most
-- default from: -6d@d
-- default to: +1h@h

SELECT
    substr(dh, 1, 10) AS day,
    role AS role,
    env AS env,
    job AS job,
    count_if(level IN ('error', 'fatal')) AS errors,
    count(*) AS lines,
    round(100E0 * count_if(level IN ('error', 'fatal')) / count(*), 3) AS percent
FROM {{logs}}
GROUP BY substr(dh, 1, 10), role, env, job
ORDER BY day ASC NULLS LAST, errors DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST
LIMIT {{limit}}
