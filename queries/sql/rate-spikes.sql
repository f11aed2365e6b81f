-- name: rate-spikes
-- answers: minutes in which a job wrote far more lines than it does as a rule
-- about: A minute counts when its lines are more than the job's mean plus `sigmas` times its standard deviation. Mean and
--   deviation are over all minutes between `from` and `to`, silent ones included.
-- param sigmas: double 0..100 = 4; how many standard deviations above the mean
-- param lines: int 1..1000000 = 20; lines in the minute at least
-- param limit: int 1..100000 = 200; rows at most, the greatest first
-- default from: -6h
-- chart: minute_of, lines

WITH minutes AS (
    SELECT date_trunc('minute', ts) AS minute_of, role, env, job, count(*) AS lines, count_if(level IN ('error', 'fatal')) AS errors
    FROM {{logs}}
    GROUP BY date_trunc('minute', ts), role, env, job
),

summed AS (
    SELECT
        minute_of, role, env, job, lines, errors,
        greatest(2, ({{to}} - {{from}} + 59999999999) / 60000000000) AS n,
        1E0 * sum(lines) OVER (PARTITION BY role, env, job) AS total,
        1E0 * sum(lines * lines) OVER (PARTITION BY role, env, job) AS squares
    FROM minutes
),

measured AS (
    SELECT
        minute_of, role, env, job, lines, errors,
        total / n AS mean,
        sqrt(greatest(squares - total * total / n, 0E0) / (n - 1)) AS deviation
    FROM summed
)

SELECT
    minute_of AS minute_of,
    role AS role,
    env AS env,
    job AS job,
    lines AS lines,
    errors AS errors,
    round(mean, 2) AS mean,
    round(deviation, 2) AS deviation,
    round((lines - mean) / deviation, 2) AS sigmas
FROM measured
WHERE lines >= {{lines}} AND deviation > 0E0 AND lines > mean + {{sigmas}} * deviation
ORDER BY
    sigmas DESC NULLS LAST, minute_of ASC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST
LIMIT {{limit}}
