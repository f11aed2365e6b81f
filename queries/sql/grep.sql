-- name: grep
-- answers: lines that match a regular expression, in the order of time
-- about: `(?i)` in front ignores case. The column `place` is what `queries around` takes.
-- param pattern: regex; what a line has to match
-- param level: choice any|trace|debug|info|warn|error|fatal = any; only lines of this level
-- param limit: int 1..100000 = 1000; rows at most, the earliest first

SELECT
    ts AS ts,
    role AS role,
    env AS env,
    job AS job,
    instance AS instance,
    host AS host,
    stream AS stream,
    level AS level,
    regexp_extract(line, {{pattern}}) AS found,
    line AS line,
    concat(src, '@', CAST(epoch AS varchar), ':', CAST(off AS varchar)) AS place
FROM {{logs}}
WHERE regexp_like(line, {{pattern}}) AND ({{level}} = 'any' OR level = {{level}})
ORDER BY ts_ns ASC NULLS LAST, src ASC NULLS LAST, epoch ASC NULLS LAST, off ASC NULLS LAST
LIMIT {{limit}}
