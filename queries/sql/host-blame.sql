-- name: host-blame
-- answers: hosts whose share of errors is far from the fleet's
-- about: Times is the host's share of errors by that of all hosts: 1 is as the others.
-- param lines: int 1..1000000 = 100; lines of a host at least
-- param limit: int 1..100000 = 100; rows at most, the worst first

WITH hosts AS (
    SELECT host, count(*) AS lines, count_if(level IN ('error', 'fatal')) AS errors
    FROM {{logs}}
    GROUP BY host
),

fleet AS (
    SELECT host, lines, errors, sum(lines) OVER () AS all_lines, sum(errors) OVER () AS all_errors
    FROM hosts
)

SELECT
    host AS host,
    lines AS lines,
    errors AS errors,
    round(100E0 * errors / lines, 3) AS percent,
    round(100E0 * all_errors / all_lines, 3) AS fleet_percent,
    CASE WHEN all_errors > 0 THEN round((1E0 * errors / lines) / (1E0 * all_errors / all_lines), 2) END AS times
FROM fleet
WHERE lines >= {{lines}}
ORDER BY times DESC NULLS LAST, errors DESC NULLS LAST, host ASC NULLS LAST
LIMIT {{limit}}
