//! A query of the catalogue: a file of SQL with a header that names it, says what it answers and types its parameters.
//!
//! ```text
//! -- name: grep
//! -- answers: lines that match a regular expression
//! -- about: More words on it,
//! --   over several lines.
//! -- param pattern: regex; what a line has to match
//! -- param limit: int 1..100000 = 1000; rows at most
//! -- default from: -1h
//! -- chart: bucket, errors
//!
//! SELECT … FROM {{logs}} …
//! ```

use std::path::PathBuf;

use crate::parameter::{Parameter, Type};
use crate::sql_text::{is_several, trimmed};
use crate::template::{Template, TemplateError, is_name};

/// The largest file of a query, in bytes.
pub const MAX_QUERY_BYTES: u64 = 256 * 1024;

/// The parameters that every query has: whose rows it looks at.
pub const SELECTION: [&str; 4] = ["cluster", "from", "to", "job"];

/// The holes that stand for rows of the archive: lines of logs, all rows, and rows as they lie in the objects.
pub const TABLES: [&str; 3] = ["logs", "all_rows", "raw_rows"];

/// Words that are flags of `queries run` already, so that no parameter can have them.
pub const RESERVED: [&str; 20] = [
    "config",
    "engine",
    "archive",
    "output",
    "header",
    "no_header",
    "file",
    "wide",
    "wrap",
    "help",
    "version",
    "expanded",
    "json",
    "param",
    "query",
    "database",
    "table",
    "vertical",
    "quiet",
    "verbose",
];

/// A query that can be asked by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Its name, which is that of its file.
    pub name: String,
    /// What it answers, in half a line.
    pub answers: String,
    /// More words on it; empty if there are none.
    pub about: String,
    /// Its own parameters, in the order of the header; [`SELECTION`] comes on top.
    pub parameters: Vec<Parameter>,
    /// Its defaults of [`SELECTION`].
    pub defaults: Vec<(String, String)>,
    /// How its answer is drawn.
    pub chart: Option<Chart>,
    /// Whether it may take the place of a query with the same name.
    pub place: Place,
    /// Where it comes from.
    pub origin: Origin,
    /// Its SQL.
    pub template: Template,
}

/// Which columns a chart draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// The column along which bars stand: a time, as a rule.
    pub along: String,
    /// The column whose sum is a bar's length.
    pub bars: String,
}

/// Whether a query may take another one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has a name of its own.
    Own,
    /// Its header says that it replaces the one with its name.
    Replaces,
}

/// Where a query comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    BuiltIn,
    /// A file of the user's.
    File(PathBuf),
}

/// What is wrong with a query's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A line of the header.
    #[error("line {line}: {problem}")]
    Header {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The header as a whole.
    #[error("{0}")]
    Missing(String),
    /// The SQL.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Query {
    /// Reads a file's text; `stem` is its name without the ending.
    pub fn parse(text: &str, stem: &str, origin: Origin) -> Result<Self, QueryError> {
        let (entries, body) = header(text)?;
        let mut name = None;
        let mut answers = String::new();
        let mut about = String::new();
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut defaults: Vec<(String, String)> = Vec::new();
        let mut chart = None;
        let mut place = Place::Own;
        for Entry { line, key, value } in entries {
            let problem = |problem: String| QueryError::Header { line, problem };
            match key.split_once(' ').unwrap_or((&key, "")) {
                ("name", "") => name = Some(value),
                ("answers", "") => answers = value,
                ("about", "") => about = value,
                ("param", own) => {
                    let parameter = parameter(own, &value).map_err(problem)?;
                    if parameters.iter().any(|one| one.name == parameter.name) {
                        return Err(problem(format!("there are two parameters `{own}`")));
                    }
                    parameters.push(parameter);
                }
                ("default", of) => {
                    if !SELECTION.contains(&of) {
                        return Err(problem(format!(
                            "`default` is for {}; others have theirs behind `=`",
                            SELECTION.join(", ")
                        )));
                    }
                    let kind = selection_type(of);
                    kind.sql(&value, 0)
                        .map_err(|error| problem(error.to_string()))?;
                    defaults.push((of.to_owned(), value));
                }
                ("chart", "") => {
                    let columns: Vec<&str> = value.split(',').map(str::trim).collect();
                    let [along, bars] = columns[..] else {
                        return Err(problem(
                            "write two columns: `chart: bucket, errors`".to_owned(),
                        ));
                    };
                    chart = Some(Chart {
                        along: along.to_owned(),
                        bars: bars.to_owned(),
                    });
                }
                ("replaces", "") if Some(&value) == name.as_ref() => place = Place::Replaces,
                ("replaces", "") => {
                    return Err(problem(
                        "it names the query itself, below `name`".to_owned(),
                    ));
                }
                _ => {
                    return Err(problem(format!(
                        "`{key}` is no key; there are name, answers, about, param NAME, default NAME, chart, replaces"
                    )));
                }
            }
        }
        let missing = |text: &str| QueryError::Missing(text.to_owned());
        let name = name.ok_or_else(|| missing("the header has no `-- name: …`"))?;
        if name != stem {
            return Err(QueryError::Missing(format!(
                "the header names it `{}`, its file `{}`",
                name.escape_debug(),
                stem.escape_debug()
            )));
        }
        if !is_query_name(&name) {
            return Err(missing(
                "a name has a-z, 0-9 and `-`, and begins with a letter",
            ));
        }
        if answers.is_empty() {
            return Err(missing("the header has no `-- answers: …`"));
        }
        let body = trimmed(body);
        if body.is_empty() {
            return Err(missing("there is no SQL behind the header"));
        }
        if is_several(body) {
            return Err(missing("there are several statements; a query is one"));
        }
        let template = Template::parse(body)?;
        let holes: Vec<&str> = template.holes().collect();
        for hole in &holes {
            let known = TABLES.contains(hole)
                || SELECTION.contains(hole)
                || parameters.iter().any(|one| one.name == *hole);
            if !known {
                return Err(QueryError::Missing(format!(
                    "`{{{{{hole}}}}}` is neither a parameter nor one of {}",
                    TABLES.join(", ")
                )));
            }
        }
        if !holes.iter().any(|hole| TABLES.contains(hole)) {
            return Err(missing(
                "it reads no rows: write `FROM {{logs}}`, which knows the partitions",
            ));
        }
        if let Some(unused) = parameters
            .iter()
            .find(|one| !holes.contains(&one.name.as_str()))
        {
            return Err(QueryError::Missing(format!(
                "the parameter `{}` is nowhere in the SQL",
                unused.name
            )));
        }
        Ok(Self {
            name,
            answers,
            about,
            parameters,
            defaults,
            chart,
            place,
            origin,
            template,
        })
    }

    /// Its parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|one| one.name == name)
    }

    /// Its default of one of [`SELECTION`].
    pub fn default_of(&self, name: &str) -> Option<&str> {
        self.defaults
            .iter()
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The type of one of [`SELECTION`].
pub fn selection_type(name: &str) -> Type {
    match name {
        "from" | "to" => Type::Moment,
        "job" => Type::Job,
        _ => Type::Text,
    }
}

/// Whether a text can be a query's name.
pub fn is_query_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

struct Entry {
    line: usize,
    key: String,
    value: String,
}

/// The header's entries, and the text behind it.
fn header(text: &str) -> Result<(Vec<Entry>, &str), QueryError> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut rest = text;
    let mut line = 0;
    while let Some(comment) = rest.strip_prefix("--") {
        line += 1;
        let (comment, behind) = comment.split_once('\n').unwrap_or((comment, ""));
        rest = behind;
        // A line that is set in goes on with the one above.
        if comment.starts_with("   ") {
            let Some(last) = entries.last_mut() else {
                return Err(QueryError::Header {
                    line,
                    problem: "it goes on with a line that is not there".to_owned(),
                });
            };
            last.value.push(' ');
            last.value.push_str(comment.trim());
            continue;
        }
        let Some((key, value)) = comment.split_once(':') else {
            return Err(QueryError::Header {
                line,
                problem: "write `-- key: value`; the SQL begins behind an empty line".to_owned(),
            });
        };
        entries.push(Entry {
            line,
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        });
    }
    Ok((entries, rest))
}

/// `TYPE [= DEFAULT]; TEXT`.
fn parameter(name: &str, value: &str) -> Result<Parameter, String> {
    if !is_name(name) {
        return Err(format!(
            "`{}` is no parameter's name; they have a-z, 0-9 and `_`",
            name.escape_debug()
        ));
    }
    if RESERVED.contains(&name) || SELECTION.contains(&name) || TABLES.contains(&name) {
        return Err(format!("`{name}` means something else already"));
    }
    let form = || "write `param NAME: TYPE = DEFAULT; what it is for`".to_owned();
    let (kind, default, text) = match value.split_once('=') {
        Some((kind, rest)) if !kind.contains(';') => {
            let rest = rest.trim_start();
            let (default, text) = if let Some(quoted) = rest.strip_prefix('"') {
                let (default, behind) = quoted.split_once('"').ok_or_else(form)?;
                (
                    default,
                    behind.trim_start().strip_prefix(';').ok_or_else(form)?,
                )
            } else {
                let (default, text) = rest.split_once(';').ok_or_else(form)?;
                (default.trim_end(), text)
            };
            (kind, Some(default.to_owned()), text)
        }
        _ => {
            let (kind, text) = value.split_once(';').ok_or_else(form)?;
            (kind, None, text)
        }
    };
    let kind: Type = kind.trim().parse()?;
    if let Some(default) = &default {
        kind.sql(default, 0)
            .map_err(|error| format!("its default: {error}"))?;
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(form());
    }
    Ok(Parameter {
        name: name.to_owned(),
        kind,
        default,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Query, QueryError> {
        Query::parse(text, "x", Origin::BuiltIn)
    }

    #[test]
    fn a_header_is_read() {
        let query = parse(
            "-- name: x\n-- answers: things\n-- about: Longer,\n--   over lines.\n-- param limit: int 1..10 = 5; rows at most\n\
             -- param word: text = \"a;b\"; a word\n-- param pattern: regex; it; matches\n-- default from: -7d@d\n-- chart: a, b\n\
             -- replaces: x\n\nSELECT {{word}} FROM {{logs}} WHERE {{pattern}} LIMIT {{limit}};\n",
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(query.about, "Longer, over lines.");
        assert_eq!(query.default_of("from"), Some("-7d@d"));
        assert_eq!(query.place, Place::Replaces);
        assert_eq!(
            query.chart.as_ref().map(|chart| chart.bars.as_str()),
            Some("b")
        );
        let word = query.parameter("word").expect("a parameter");
        assert_eq!(word.default.as_deref(), Some("a;b"));
        let pattern = query.parameter("pattern").expect("a parameter");
        assert_eq!(
            (pattern.default.as_deref(), pattern.text.as_str()),
            (None, "it; matches")
        );
        assert!(query.template.text().ends_with("LIMIT {{limit}}"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let start = "-- name: x\n-- answers: a\n";
        let mut said = String::new();
        for text in [
            String::new(),
            "SELECT 1".to_owned(),
            "--   a".to_owned(),
            "-- name: y\n-- answers: a\n\nSELECT 1 FROM {{logs}}".to_owned(),
            "-- name: x\n\nSELECT 1 FROM {{logs}}".to_owned(),
            format!("{start}-- what\n\nSELECT 1"),
            format!("{start}-- what: no\n\nSELECT 1"),
            format!("{start}-- param A: text; a\n\nSELECT 1"),
            format!("{start}-- param job: text; a\n\nSELECT 1"),
            format!("{start}-- param output: text; a\n\nSELECT 1"),
            format!("{start}-- param a: text\n\nSELECT 1"),
            format!("{start}-- param a: int 1..2 = 3; a\n\nSELECT 1"),
            format!("{start}-- param a: number; a\n\nSELECT 1"),
            format!("{start}-- default limit: 3\n\nSELECT 1"),
            format!("{start}-- default from: soon\n\nSELECT 1"),
            format!("{start}-- chart: a\n\nSELECT 1"),
            format!("{start}-- replaces: y\n\nSELECT 1"),
            start.to_owned(),
            format!("{start}\nSELECT 1"),
            format!("{start}\nSELECT 1; SELECT 2"),
            format!("{start}\nSELECT {{{{a}}}} FROM {{{{logs}}}}"),
            format!("{start}-- param a: text; a\n\nSELECT 1 FROM {{{{logs}}}}"),
            format!("{start}\nSELECT {{{{A}}}}"),
        ] {
            let error = parse(&text).expect_err(&text).to_string();
            said += error.split("; write now").next().unwrap_or_default();
            said.push('\n');
        }
        insta::assert_snapshot!(said);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "((-- |--   |)(name: x|answers: a|param [a-c]: |default from: |chart: |text|int 1..2|= 1|;|\\PC{0,5}| )*\n){0,8}") {
            let _ = parse(&text);
        }
    }
}
