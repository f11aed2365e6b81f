-- name: last-words
-- answers: the last lines before each run of a process ended
-- about: A run has ended when a later one of the same process is there, or when its file is known to be finished. All of a run's
--   streams are taken together, in the order of time.
-- param lines: int 1..1000 = 5; lines of each run
-- param limit: int 1..100000 = 1000; rows at most

WITH marked AS (
    SELECT
        role, env, job, instance, task_id, process, run, stream, host, ts, ts_ns, src, epoch, off, level, line,
        bitwise_and(flags, 128) AS ended,
        bitwise_and(flags, 192) = 0 AS is_line
    FROM {{all_rows}}
),

numbered AS (
    SELECT
        role, env, job, instance, task_id, process, run, stream, host, ts, level, line, is_line,
        max(run) OVER (PARTITION BY role, env, job, instance, task_id, process) AS last_run,
        max(ended) OVER (PARTITION BY role, env, job, instance, task_id, process, run) AS ended,
        row_number() OVER (
            PARTITION BY role, env, job, instance, task_id, process, run, is_line
            ORDER BY ts_ns DESC NULLS LAST, src DESC NULLS LAST, epoch DESC NULLS LAST, off DESC NULLS LAST
        ) AS from_end
    FROM marked
)

SELECT
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    task_id AS task_id,
    process AS process,
    run AS run,
    host AS host,
    from_end AS from_end,
    ts AS ts,
    stream AS stream,
    level AS level,
    line AS line
FROM numbered
WHERE is_line AND from_end <= {{lines}} AND (run < last_run OR ended > 0)
ORDER BY
    role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST, instance ASC NULLS LAST, task_id ASC NULLS LAST,
    process ASC NULLS LAST, run ASC NULLS LAST, from_end DESC NULLS LAST
LIMIT {{limit}}
