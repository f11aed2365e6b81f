-- name: co-occur
-- answers: what else was written more often in the minutes in which a line came up
-- about: Compares, for each kind of message, its lines a minute in minutes with a match and in the others. `of` says whose lines
--   the pattern is looked for in; --job says whose messages are compared.
-- param pattern: regex; what the line has to match
-- param of: job = *; the jobs whose lines it is looked for in, among those that are looked at
-- param lines: int 1..1000000 = 5; lines of a kind in minutes with a match, at least
-- param limit: int 1..100000 = 50; rows at most, the greatest ratio first
-- default from: -6h

WITH hits AS (
    SELECT date_trunc('minute', ts) AS hit_minute, count(*) AS hits
    FROM {{logs}}
    WHERE {{of}} AND regexp_like(line, {{pattern}})
    GROUP BY date_trunc('minute', ts)
),

spans AS (
    SELECT count(*) AS hit_minutes, greatest(1, ({{to}} - {{from}} + 59999999999) / 60000000000 - count(*)) AS other_minutes
    FROM hits
),

kinds AS (
    SELECT date_trunc('minute', ts) AS kind_minute, role, env, job, tpl, count(*) AS lines, min(line) AS example
    FROM {{logs}}
    WHERE tpl IS NOT NULL
    GROUP BY date_trunc('minute', ts), role, env, job, tpl
),

compared AS (
    SELECT
        kinds.role, kinds.env, kinds.job, kinds.tpl,
        sum(CASE WHEN hits.hit_minute IS NULL THEN 0 ELSE kinds.lines END) AS with_match,
        sum(CASE WHEN hits.hit_minute IS NULL THEN kinds.lines ELSE 0 END) AS without_match,
        min(kinds.example) AS example
    FROM kinds
    LEFT JOIN hits ON kinds.kind_minute = hits.hit_minute
    GROUP BY kinds.role, kinds.env, kinds.job, kinds.tpl
)

SELECT
    compared.role AS role,
    compared.env AS env,
    compared.job AS job,
    compared.tpl AS tpl,
    compared.with_match AS with_match,
    compared.without_match AS without_match,
    round((1E0 * compared.with_match / spans.hit_minutes) / ((compared.without_match + 1E0) / spans.other_minutes), 2) AS ratio,
    compared.example AS example
FROM compared
CROSS JOIN spans
WHERE compared.with_match >= {{lines}}
ORDER BY
    ratio DESC NULLS LAST, with_match DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST,
    tpl ASC NULLS LAST
LIMIT {{limit}}
