-- name: slowest
-- answers: the JSON lines with the greatest number in a field
-- param field: path = duration_ms; where the number stands
-- param by: path = path; a field that is shown beside it
-- param limit: int 1..100000 = 50; rows at most

WITH numbers AS (
    SELECT
        try_cast(json_extract_scalar(line, {{field}}) AS double) AS value,
        json_extract_scalar(line, {{by}}) AS part,
        ts, ts_ns, role, env, job, instance, request_id, line, src, epoch, off
    FROM {{logs}}
    WHERE line LIKE '{%'
)

SELECT
    value AS value,
    part AS part,
    ts AS ts,
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    request_id AS request_id,
    line AS line,
    concat(src, '@', CAST(epoch AS varchar), ':', CAST(off AS varchar)) AS place
FROM numbers
WHERE value BETWEEN -1E300 AND 1E300
ORDER BY value DESC NULLS LAST, ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
LIMIT {{limit}}
