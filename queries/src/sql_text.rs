//! SQL as text: which of it is quoted or a comment, and how a value becomes a literal.
//!
//! The one place that quotes. What is put into a statement is either made here from a checked value or is a digit, so that no value
//! ends the literal it stands in.

use std::ops::Range;

/// What a stretch of SQL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// Words, numbers, operators, blanks.
    Plain,
    /// `'…'`, `"…"` or `` `…` ``, with its quotes.
    Quoted,
    /// `-- …` to the end of the line, or `/* … */`.
    Comment,
}

/// Cuts SQL into stretches that cover it. What is not closed goes on to the end.
pub fn stretches(sql: &str) -> Vec<(Stretch, Range<usize>)> {
    let bytes = sql.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut plain_from) = (0, 0);
    while at < bytes.len() {
        let (kind, end) = match (bytes[at], bytes.get(at + 1)) {
            (quote @ (b'\'' | b'"' | b'`'), _) => (Stretch::Quoted, quoted_end(bytes, at, quote)),
            (b'-', Some(b'-')) => {
                let end = bytes[at..].iter().position(|byte| *byte == b'\n');
                (Stretch::Comment, end.map_or(bytes.len(), |end| at + end))
            }
            (b'/', Some(b'*')) => {
                let end = bytes[at + 2..].windows(2).position(|pair| pair == b"*/");
                (
                    Stretch::Comment,
                    end.map_or(bytes.len(), |end| at + 2 + end + 2),
                )
            }
            _ => {
                at += 1;
                continue;
            }
        };
        if plain_from < at {
            found.push((Stretch::Plain, plain_from..at));
        }
        found.push((kind, at..end));
        at = end;
        plain_from = end;
    }
    if plain_from < bytes.len() {
        found.push((Stretch::Plain, plain_from..bytes.len()));
    }
    found
}

/// Where a quoted text ends, its closing quote included. A doubled quote is one of the text.
fn quoted_end(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

/// A text as a literal. Only the quote means something within one, in Trino as in SQL's standard.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an identifier of Trino.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A statement without blanks around it and without the semicolon that people end it with.
pub fn trimmed(sql: &str) -> &str {
    let mut end = sql.len();
    for (kind, range) in stretches(sql).into_iter().rev() {
        let text = &sql[range.clone()];
        match kind {
            Stretch::Plain if text.trim_end().is_empty() => end = range.start,
            Stretch::Plain => {
                let text = text.trim_end();
                end = range.start + text.len();
                if text.ends_with(';') {
                    return sql[..end - 1].trim();
                }
                break;
            }
            // A comment behind the semicolon goes with it; without a semicolon nothing is taken away.
            Stretch::Comment => end = range.start,
            Stretch::Quoted => break,
        }
    }
    if sql[..end].trim_end().ends_with(';') {
        return sql[..end].trim().trim_end_matches(';').trim();
    }
    sql.trim()
}

/// Whether a semicolon parts it into several statements.
pub fn is_several(sql: &str) -> bool {
    stretches(sql)
        .into_iter()
        .any(|(kind, range)| kind == Stretch::Plain && sql[range].contains(';'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(sql: &str) -> String {
        let mut shown = String::new();
        for (kind, range) in stretches(sql) {
            shown.push_str(match kind {
                Stretch::Plain => "p[",
                Stretch::Quoted => "q[",
                Stretch::Comment => "c[",
            });
            shown.push_str(&sql[range]);
            shown.push(']');
        }
        shown
    }

    #[test]
    fn quotes_and_comments_are_told_from_the_rest() {
        for (sql, expected) in [
            ("", ""),
            ("a 'b''c' d", "p[a ]q['b''c']p[ d]"),
            ("a-'--'--b'\nc", "p[a-]q['--']c[--b']p[\nc]"),
            ("\"a'\"/*'*/'x", "q[\"a'\"]c[/*'*/]q['x]"),
            ("a / b - c /* open", "p[a / b - c ]c[/* open]"),
            ("`a``b`", "q[`a``b`]"),
            ("''", "q['']"),
        ] {
            assert_eq!(shown(sql), expected, "{sql}");
        }
    }

    #[test]
    fn one_semicolon_at_the_end_goes() {
        for (sql, expected) in [
            (" SELECT 1 ; ", "SELECT 1"),
            ("SELECT 1; -- end", "SELECT 1"),
            ("SELECT ';'", "SELECT ';'"),
            ("SELECT 1 -- ;", "SELECT 1 -- ;"),
            ("SELECT 1", "SELECT 1"),
            (";", ""),
            ("", ""),
        ] {
            assert_eq!(trimmed(sql), expected, "{sql}");
        }
        assert!(is_several("SELECT 1; SELECT 2"));
        assert!(!is_several("SELECT ';' -- ;"));
    }

    proptest! {
        #[test]
        fn a_literal_is_one_quoted_stretch(text in any::<String>()) {
            let sql = literal(&text);
            prop_assert_eq!(stretches(&sql), vec![(Stretch::Quoted, 0..sql.len())]);
            prop_assert_eq!(sql[1..sql.len() - 1].replace("''", "'"), text);
        }

        #[test]
        fn stretches_cover_everything(sql in "[a'\"`/*; \n-]{0,40}") {
            let mut at = 0;
            for (_, range) in stretches(&sql) {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > at);
                at = range.end;
            }
            prop_assert_eq!(at, sql.len());
            trimmed(&sql);
        }
    }
}
