-- name: deploy-diff
-- answers: which kinds of messages became more or less frequent from one build to another
-- about: A kind is a message with its variable parts masked. Change is the natural logarithm of the ratio of the kind's shares of
--   all lines (each plus one line): 0.69 is twice as often, -0.69 half as often.
-- param old: text; the build before, as the column `git_sha` names it
-- param new: text; the build after
-- param lines: int 1..1000000 = 5; lines of both builds at least
-- param limit: int 1..100000 = 100; rows at most, the greatest change first
-- default from: -24h

WITH counted AS (
    SELECT
        role, env, job, tpl,
        count_if(git_sha = {{old}}) AS old_lines,
        count_if(git_sha = {{new}}) AS new_lines,
        count_if(git_sha = {{new}} AND level IN ('error', 'fatal')) AS new_errors,
        min(line) AS example
    FROM {{logs}}
    WHERE git_sha IN ({{old}}, {{new}})
    GROUP BY role, env, job, tpl
),

summed AS (
    SELECT
        role, env, job, tpl, old_lines, new_lines, new_errors, example,
        sum(old_lines) OVER (PARTITION BY role, env, job) AS old_total,
        sum(new_lines) OVER (PARTITION BY role, env, job) AS new_total
    FROM counted
),

compared AS (
    SELECT
        role, env, job, tpl, old_lines, new_lines, new_errors, example,
        round(ln((1E0 * (new_lines + 1) / (new_total + 1)) / (1E0 * (old_lines + 1) / (old_total + 1))), 3) AS change
    FROM summed
    WHERE old_lines + new_lines >= {{lines}}
)

SELECT
    role AS role,
    env AS env,
    job AS job,
    tpl AS tpl,
    old_lines AS old_lines,
    new_lines AS new_lines,
    new_errors AS new_errors,
    change AS change,
    example AS example
FROM compared
ORDER BY
    abs(change) DESC NULLS LAST, change DESC NULLS LAST, role ASC NULLS LAST, env ASC NULLS LAST, job ASC NULLS LAST,
    tpl ASC NULLS LAST
LIMIT {{limit}}
