-- name: around
-- answers: the lines of a file before and after one of them
-- about: `queries around PLACE` asks this one. Lines that lie in other hours than those that are looked at are not seen: say the
--   time of the line by --from and --to.
-- param src: text; the file, as the column `src` names it
-- param epoch: int 0..2147483647 = 0; how often the file had been truncated
-- param off: int 0..9223372036854775807; where in the file the line begins
-- param before: int 0..100000 = 10; lines before it
-- param after: int 0..100000 = 10; lines after it
-- default from: -24h

WITH numbered AS (
    SELECT ts, level, stream, line, off, row_number() OVER (ORDER BY off ASC NULLS LAST) AS nth
    FROM {{logs}}
    WHERE src = {{src}} AND epoch = {{epoch}}
),

here AS (
    SELECT max(nth) AS nth
    FROM numbered
    WHERE off <= {{off}}
)

SELECT
    numbered.nth - here.nth AS distance,
    numbered.ts AS ts,
    numbered.level AS level,
    numbered.stream AS stream,
    numbered.off AS off,
    numbered.line AS line
FROM numbered
CROSS JOIN here
WHERE numbered.nth BETWEEN here.nth - {{before}} AND here.nth + {{after}}
ORDER BY distance ASC NULLS LAST
