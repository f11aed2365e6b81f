-- name: crash-loop
-- answers: processes that were started again and again, by hour, and how long they lived
-- about: A start counts in the hour of its first line. A start that wrote nothing is not seen; a new task of the instance counts as
--   one too. Lives are cut at the ends of the time that is looked at.
-- param starts: int 1..100000 = 3; starts in an hour at least
-- param limit: int 1..100000 = 200; rows at most, the most starts first
-- default from: -24h

WITH lives AS (
    SELECT
        role, env, job, instance, process, task_id, run,
        min(ts) AS first_ts,
        (max(ts_ns) - min(ts_ns)) / 1000000 AS life_ms
    FROM {{logs}}
    GROUP BY role, env, job, instance, process, task_id, run
)

SELECT
    date_trunc('hour', first_ts) AS hour_of_start,
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    process AS process,
    count(*) AS starts,
    count(DISTINCT task_id) AS tasks,
    max(run) AS last_run,
    sum(life_ms) / count(*) AS mean_life_ms,
    min(life_ms) AS least_life_ms
FROM lives
GROUP BY date_trunc('hour', first_ts), role, env, job, instance, process
HAVING count(*) >= {{starts}}
ORDER BY
    starts DESC NULLS LAST, hour_of_start ASC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST,
    instance ASC NULLS LAST, process ASC NULLS LAST
LIMIT {{limit}}
