//! SQL with holes: `{{logs}}`, `{{pattern}}`.
//!
//! Holes are looked for outside of quotes and comments only: what stands in quotes is text, and a hole in there would be a splice.

use crate::sql_text::{Stretch, stretches};

/// The longest name of a hole, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// SQL with holes, cut at them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(String),
}

/// Why SQL is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Something between braces that is no name.
    #[error(
        "line {line}: `{{{{` opens a hole, but no name and `}}}}` follow; names have a-z, 0-9 and `_`"
    )]
    NoName {
        /// The line, from 1.
        line: usize,
    },
}

impl Template {
    /// Cuts SQL at its holes.
    pub fn parse(sql: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        for (kind, range) in stretches(sql) {
            let end = range.end;
            let mut rest = &sql[range];
            if kind == Stretch::Plain {
                while let Some((before, behind)) = rest.split_once("{{") {
                    let name = behind.split_once("}}").map(|(name, _)| name.trim());
                    let Some(name) = name.filter(|name| is_name(name)) else {
                        // How far into the stretch the braces are.
                        let at = end - behind.len();
                        let line = sql[..at].matches('\n').count() + 1;
                        return Err(TemplateError::NoName { line });
                    };
                    text.push_str(before);
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Hole(name.to_owned()));
                    rest = behind.split_once("}}").map_or("", |(_, rest)| rest);
                }
            }
            text.push_str(rest);
        }
        pieces.push(Piece::Text(text));
        Ok(Self { pieces })
    }

    /// The names of the holes, in their order; a name comes as often as its hole.
    pub fn holes(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Hole(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The SQL with its holes filled. The filler is told how far the line of the hole is set in, in blanks.
    pub fn filled<E>(
        &self,
        mut fill: impl FnMut(&str, usize) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut sql = String::new();
        let mut blanks = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    if let Some((_, line)) = text.rsplit_once('\n') {
                        blanks = line.len() - line.trim_start_matches(' ').len();
                    }
                    sql.push_str(text);
                }
                Piece::Hole(name) => sql.push_str(&fill(name, blanks)?),
            }
        }
        Ok(sql)
    }

    /// The SQL as it was written.
    pub fn text(&self) -> String {
        let mut sql = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => sql.push_str(text),
                Piece::Hole(name) => {
                    sql.push_str("{{");
                    sql.push_str(name);
                    sql.push_str("}}");
                }
            }
        }
        sql
    }
}

/// Whether a text can name a hole, and so a parameter.
pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn holes_are_outside_of_quotes_and_comments() {
        let sql =
            "SELECT '{{a}}', {{ b }} -- {{c}}\nFROM {{logs}} /* {{d}} */ WHERE \"{{e}}\" = {{b}}";
        let template = Template::parse(sql).expect("a template");
        assert_eq!(template.holes().collect::<Vec<_>>(), ["b", "logs", "b"]);
        let filled: Result<String, ()> = template.filled(|name, _| Ok(format!("<{name}>")));
        assert_eq!(
            filled.as_deref(),
            Ok("SELECT '{{a}}', <b> -- {{c}}\nFROM <logs> /* {{d}} */ WHERE \"{{e}}\" = <b>")
        );
        assert_eq!(template.text(), sql.replace("{{ b }}", "{{b}}"));
    }

    #[test]
    fn what_is_no_hole_is_told_with_its_line() {
        for (sql, line) in [
            ("a\n{{", 2),
            ("{{a b}}", 1),
            ("'\n' {{A}}", 2),
            ("{{'a'}}", 1),
        ] {
            assert_eq!(
                Template::parse(sql),
                Err(TemplateError::NoName { line }),
                "{sql}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_or_refused(sql in "([a '\n-]|\\{\\{|\\}\\}){0,30}") {
            if let Ok(template) = Template::parse(&sql) {
                let again = Template::parse(&template.text()).expect("what was one");
                prop_assert_eq!(again, template);
            }
        }
    }
}
