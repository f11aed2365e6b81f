//! How often a statement reads the rows it selects.
//!
//! An engine puts a `WITH` table's text where its name stands, so that the rows are read as often as it is named. That is counted
//! here from the SQL before its holes are filled, without understanding more of it than parentheses, `WITH` and `FROM`.

use crate::selection::Rows;
use crate::sql_text::{Stretch, stretches};

/// How deeply parentheses are followed, in levels; what is deeper counts as if it stood in the last of them.
const MAX_DEPTH: usize = 64;

/// What matters of the SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A name or a keyword, in small letters; a name in quotes without them. With the dots within.
    Word(String),
    /// A hole.
    Hole(String),
    Open,
    Close,
    Comma,
    Other,
}

/// A `WITH` table, and how often it reads.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    scans: u64,
}

/// How often the rows of `{{logs}}` and its like are read by this template of SQL.
pub fn scans(sql: &str) -> u64 {
    count(&tokens(sql), &mut Vec::new(), 0)
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (kind, range) in stretches(sql) {
        let text = &sql[range];
        match kind {
            Stretch::Comment => {}
            Stretch::Quoted if text.starts_with('\'') => tokens.push(Token::Other),
            Stretch::Quoted => tokens.push(Token::Word(
                text.trim_matches(['"', '`']).to_ascii_lowercase(),
            )),
            Stretch::Plain => plain(text, &mut tokens),
        }
    }
    tokens
}

fn plain(mut text: &str, tokens: &mut Vec<Token>) {
    while let Some(first) = text.chars().next() {
        let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
        if let Some((name, rest)) = text
            .strip_prefix("{{")
            .and_then(|rest| rest.split_once("}}"))
        {
            tokens.push(Token::Hole(name.trim().to_owned()));
            text = rest;
        } else if in_word(first) {
            let end = text.find(|c| !in_word(c)).unwrap_or(text.len());
            tokens.push(Token::Word(text[..end].to_ascii_lowercase()));
            text = &text[end..];
        } else {
            match first {
                '(' => tokens.push(Token::Open),
                ')' => tokens.push(Token::Close),
                ',' => tokens.push(Token::Comma),
                _ if first.is_whitespace() => {}
                _ => tokens.push(Token::Other),
            }
            text = &text[first.len_utf8()..];
        }
    }
}

/// The scans of a query, which ends with its parentheses: `known` are the `WITH` tables around it.
fn count(tokens: &[Token], known: &mut Vec<Named>, depth: usize) -> u64 {
    let outside = known.len();
    let (mut sum, mut at) = (0_u64, 0);
    // Whether a table's name comes next, and whether a comma goes on with tables.
    let (mut is_table, mut in_from) = (false, false);
    while let Some(token) = tokens.get(at) {
        at += 1;
        let after_table = is_table;
        is_table = false;
        match token {
            Token::Hole(name) => sum = sum.saturating_add(u64::from(Rows::of_hole(name).is_some())),
            Token::Open if depth < MAX_DEPTH => {
                let end = closing(tokens, at);
                sum = sum.saturating_add(count(&tokens[at..end], known, depth + 1));
                at = end + 1;
            }
            Token::Comma => is_table = in_from,
            Token::Word(word) => match word.as_str() {
                "with" => at = with(tokens, at, known, depth),
                "from" | "join" => (is_table, in_from) = (true, true),
                "select" | "where" | "group" | "having" | "order" | "union" | "limit" | "on"
                | "using" => in_from = word == "on" || word == "using",
                "lateral" => is_table = after_table,
                name if after_table => {
                    let named = known.iter().rev().find(|named| named.name == name);
                    sum = sum.saturating_add(named.map_or(0, |named| named.scans));
                }
                _ => {}
            },
            Token::Open | Token::Close | Token::Other => {}
        }
    }
    known.truncate(outside);
    sum
}

/// Takes the tables of a `WITH`; where they end.
fn with(tokens: &[Token], mut at: usize, known: &mut Vec<Named>, depth: usize) -> usize {
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(word.as_str()),
        _ => None,
    };
    if word(at) == Some("recursive") {
        at += 1;
    }
    while let Some(name) = word(at) {
        let name = name.to_owned();
        let mut behind = at + 1;
        // The columns' names.
        if tokens.get(behind) == Some(&Token::Open) {
            behind = closing(tokens, behind + 1) + 1;
        }
        if word(behind) != Some("as") || tokens.get(behind + 1) != Some(&Token::Open) {
            return at;
        }
        let end = closing(tokens, behind + 2);
        let scans = if depth < MAX_DEPTH {
            count(&tokens[behind + 2..end], known, depth + 1)
        } else {
            0
        };
        known.push(Named { name, scans });
        at = end + 1;
        if tokens.get(at) != Some(&Token::Comma) {
            return at;
        }
        at += 1;
    }
    at
}

/// Where the parenthesis closes within which `at` is; the end, if it does not.
fn closing(tokens: &[Token], at: usize) -> usize {
    let mut open = 1;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token {
            Token::Open => open += 1,
            Token::Close => open -= 1,
            _ => {}
        }
        if open == 0 {
            return place;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_read_as_often_as_they_are_named() {
        for (sql, expected) in [
            ("SELECT 1", 0),
            ("SELECT '{{logs}}' -- {{logs}}", 0),
            ("SELECT count(*) FROM {{logs}}", 1),
            (
                "SELECT * FROM {{logs}} a, {{all_rows}} b JOIN {{raw_rows}} c ON a.x = c.x",
                3,
            ),
            ("SELECT {{cluster}} FROM {{logs}}", 1),
            (
                "SELECT * FROM {{logs}} WHERE x IN (SELECT y FROM {{logs}})",
                2,
            ),
            // A table that is named twice, once by another one.
            (
                "WITH a AS (SELECT x FROM {{logs}}), b(y) AS (SELECT max(x) FROM a) SELECT a.x FROM a CROSS JOIN b",
                2,
            ),
            ("WITH a AS (SELECT x FROM {{logs}}) SELECT a FROM a", 1),
            (
                "with a as (select x from {{logs}}) select * from A, \"a\"",
                2,
            ),
            // One that nobody reads.
            ("WITH a AS (SELECT x FROM {{logs}}) SELECT 1", 0),
            // Names end with the query that they are of.
            (
                "SELECT * FROM (WITH a AS (SELECT x FROM {{logs}}) SELECT * FROM a) t JOIN a ON TRUE",
                1,
            ),
            (
                "WITH RECURSIVE a(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a) SELECT * FROM a, {{logs}}",
                1,
            ),
            ("SELECT extract(hour FROM ts) FROM {{logs}}", 1),
        ] {
            assert_eq!(scans(sql), expected, "{sql}");
        }
        let doubling: String = (1..100).fold(
            "WITH a0 AS (SELECT 1 FROM {{logs}})".to_owned(),
            |sql, n| format!("{sql}, a{n} AS (SELECT 1 FROM a{0}, a{0})", n - 1),
        );
        assert_eq!(scans(&format!("{doubling} SELECT 1 FROM a99")), u64::MAX);
    }

    proptest! {
        #[test]
        fn nothing_panics(sql in "([(){},.a'\"]|with |as |from |select |a |\\{\\{logs\\}\\}){0,80}") {
            scans(&sql);
        }
    }

    #[test]
    fn many_parentheses_are_no_trouble() {
        let sql = format!("{}SELECT 1 FROM {{{{logs}}}}", "(".repeat(100_000));
        assert_eq!(scans(&sql), 1);
    }
}
