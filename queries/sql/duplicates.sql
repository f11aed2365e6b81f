-- name: duplicates
-- answers: bytes of files that are in the archive more than once; there should be none
-- about: A place in a file is (src, epoch, off). No row is the good answer.
-- param limit: int 1..100000 = 100; rows at most

SELECT
    src AS src,
    epoch AS epoch,
    off AS off,
    count(*) AS copies,
    min(host) AS host,
    min(concat(role, '/', env, '/', job)) AS job,
    min(ts) AS ts,
    min(ingest_ts) AS first_ingest_ts,
    max(ingest_ts) AS last_ingest_ts
FROM {{all_rows}}
WHERE len > 0
GROUP BY src, epoch, off
HAVING count(*) > 1
ORDER BY copies DESC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
LIMIT {{limit}}
