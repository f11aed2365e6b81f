-- name: new-patterns
-- answers: kinds of messages of a job that came up since a time, and were not there before
-- about: A kind is a message with its variable parts masked. What lies between `from` and `since` is what is known.
-- param since: moment = -1d; from when on a kind counts as new
-- param lines: int 1..1000000 = 1; how often it came at least
-- param limit: int 1..100000 = 100; rows at most, the most frequent first
-- default from: -8d

SELECT
    role AS role,
    env AS env,
    job AS job,
    tpl AS tpl,
    count(*) AS lines,
    count_if(level IN ('error', 'fatal')) AS errors,
    min(ts) AS first_ts,
    max(ts) AS last_ts,
    min(line) AS example
FROM {{logs}}
WHERE tpl IS NOT NULL
GROUP BY role, env, job, tpl
HAVING min(ts_ns) >= {{since}} AND count(*) >= {{lines}}
ORDER BY lines DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST, tpl ASC NULLS LAST
LIMIT {{limit}}
