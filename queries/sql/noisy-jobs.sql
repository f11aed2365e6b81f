-- name: noisy-jobs
-- answers: which jobs write the most: bytes, lines and shares by stream
-- about: Bytes are those of the files, newlines included.
-- param limit: int 1..100000 = 50; rows at most

SELECT
    role AS role,
    env AS env,
    job AS job,
    stream AS stream,
    sum(len) AS bytes,
    round(100E0 * sum(len) / sum(sum(len)) OVER (), 3) AS percent,
    count(*) AS lines,
    sum(len) / count(*) AS bytes_per_line,
    max(len) AS longest
FROM {{logs}}
GROUP BY role, env, job, stream
ORDER BY bytes DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST, stream ASC NULLS LAST
LIMIT {{limit}}
