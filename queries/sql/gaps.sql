-- name: gaps
-- answers: bytes that were lost: where, when and how many
-- about: Bytes that were truncated before they were read, or that a full spool could not hold, are rows of their own. No row is
--   the good answer. `shipper audit` looks for what is missing without such a row.
-- param limit: int 1..100000 = 1000; rows at most, the most bytes first
-- default from: -24h

SELECT
    ts AS ts,
    host AS host,
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    process AS process,
    run AS run,
    stream AS stream,
    len AS bytes,
    concat(src, '@', CAST(epoch AS varchar), ':', CAST(off AS varchar)) AS place
FROM {{all_rows}}
WHERE bitwise_and(flags, 64) <> 0
ORDER BY bytes DESC NULLS LAST, ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
LIMIT {{limit}}
