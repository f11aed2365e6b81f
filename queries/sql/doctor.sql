-- name: doctor
-- answers: objects with lines that cannot be read, and how many; there should be none
-- about: A damaged line of NDJSON is a row of NULLs. No row is the good answer. Looks at whole hours and at all jobs.
-- param limit: int 1..100000 = 100; rows at most
-- default from: -24h

SELECT
    dh AS dh,
    object AS object,
    count_if(src IS NULL) AS damaged,
    count(*) AS all_rows
FROM {{raw_rows}}
GROUP BY dh, object
HAVING count_if(src IS NULL) > 0
ORDER BY damaged DESC NULLS LAST, dh ASC NULLS LAST, object ASC NULLS LAST
LIMIT {{limit}}
