-- name: field-values
-- answers: the values of a field of JSON lines, how many there are and how often each comes
-- param field: path; where the value stands
-- param limit: int 1..100000 = 50; rows at most, the most frequent first

WITH found AS (
    SELECT json_extract_scalar(line, {{field}}) AS value, level
    FROM {{logs}}
    WHERE line LIKE '{%'
)

SELECT
    value AS value,
    count(*) AS lines,
    round(100E0 * count(*) / sum(count(*)) OVER (), 3) AS percent,
    count_if(level IN ('error', 'fatal')) AS errors,
    count(*) OVER () AS different_values
FROM found
WHERE value IS NOT NULL
GROUP BY value
ORDER BY lines DESC NULLS LAST, value ASC NULLS LAST
LIMIT {{limit}}
