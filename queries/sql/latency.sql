-- name: latency
-- answers: median, 90th, 95th and 99th percentile of a number in JSON lines, by job and by another field
-- about: The percentiles are exact: the least value that so many of all are not above. Lines without the number do not count.
-- param field: path = duration_ms; where the number stands
-- param by: path = path; the field that lines are grouped by; where a line has none, it is in the group of none
-- param limit: int 1..100000 = 100; rows at most, the most lines first

WITH numbers AS (
    SELECT
        role, env, job,
        json_extract_scalar(line, {{by}}) AS part,
        try_cast(json_extract_scalar(line, {{field}}) AS double) AS value
    FROM {{logs}}
    WHERE line LIKE '{%'
),

counted AS (
    SELECT role, env, job, part, value, count(*) AS n
    FROM numbers
    WHERE value BETWEEN -1E300 AND 1E300
    GROUP BY role, env, job, part, value
),

ranked AS (
    SELECT
        role, env, job, part, value,
        sum(n) OVER (
            PARTITION BY role, env, job, part ORDER BY value ASC NULLS LAST ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS up_to,
        sum(n) OVER (PARTITION BY role, env, job, part) AS total
    FROM counted
)

SELECT
    role AS role,
    env AS env,
    job AS job,
    part AS part,
    max(total) AS lines,
    min(value) AS least,
    min(CASE WHEN up_to * 100 >= total * 50 THEN value END) AS p50,
    min(CASE WHEN up_to * 100 >= total * 90 THEN value END) AS p90,
    min(CASE WHEN up_to * 100 >= total * 95 THEN value END) AS p95,
    min(CASE WHEN up_to * 100 >= total * 99 THEN value END) AS p99,
    max(value) AS greatest_value
FROM ranked
GROUP BY role, env, job, part
ORDER BY lines DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST, part ASC NULLS LAST
LIMIT {{limit}}
