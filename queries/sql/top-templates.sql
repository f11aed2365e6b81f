-- name: top-templates
-- answers: the most frequent kinds of messages, with their share and an example
-- about: A kind is a message with its variable parts masked. The example is the first in the order of the alphabet, so that it is
--   always the same one. Blank lines have no kind, and are one row.
-- param limit: int 1..100000 = 50; rows at most

SELECT
    tpl AS tpl,
    count(*) AS lines,
    round(100E0 * count(*) / sum(count(*)) OVER (), 3) AS percent,
    count_if(level IN ('error', 'fatal')) AS errors,
    count(DISTINCT concat(role, '/', env, '/', job)) AS jobs,
    min(line) AS example
FROM {{logs}}
GROUP BY tpl
ORDER BY lines DESC NULLS LAST, tpl ASC NULLS LAST
LIMIT {{limit}}
