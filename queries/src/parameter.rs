//! Parameters of queries: their types, and how what a person typed becomes SQL.
//!
//! A value is checked against its type and written by us, as one literal (or one list of literals): whatever it holds, the statement
//! keeps its shape. The header of a query declares its parameters; `query.rs` reads it.

use std::fmt;
use std::str::FromStr;

use regex::RegexBuilder;

use crate::job_pattern::{JobPattern, JobPatternError};
use crate::json_path::{JsonPath, JsonPathError};
use crate::moment::{Moment, MomentError, parse_span, show_span};
use crate::sql_text::literal;

/// The longest value, in bytes. A statement may have 256 KiB in all.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The most values of a list.
pub const MAX_LIST: usize = 1000;

/// The largest compiled form of a regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 8 << 20;

/// A parameter as a query's header declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name: `{{name}}` in the SQL, `--name` on the command line.
    pub name: String,
    /// What its values are.
    pub kind: Type,
    /// Its value where none is given; without one it has to be given.
    pub default: Option<String>,
    /// What it is for.
    pub text: String,
}

/// What the values of a parameter are, and what they become.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A time; in SQL, ns since 1970.
    Moment,
    /// A pattern of jobs; in SQL, a condition on the columns `role`, `env` and `job`.
    Job,
    /// Any text without NUL.
    Text,
    /// A regular expression in the subset that Trino's engines and ours read alike.
    Regex,
    /// A whole number.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number; in SQL, a double.
    Double {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// A span of time such as `90s`; in SQL, ns.
    Duration,
    /// A place in a JSON document: `a.b[0]`; in SQL, what `json_extract_scalar` takes.
    Path,
    /// Texts with commas between them; in SQL, what stands behind `IN`.
    List,
    /// One of these words; in SQL, a text.
    Choice(Vec<String>),
}

/// Why a value is not one of its parameter's type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// It is too long, whatever it is.
    #[error("it has {len} bytes, more than the {MAX_VALUE_BYTES} that are allowed")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// No text of SQL's.
    #[error("a text holds no NUL")]
    Nul,
    /// No moment.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// No pattern of jobs.
    #[error(transparent)]
    Job(#[from] JobPatternError),
    /// No path.
    #[error(transparent)]
    Path(#[from] JsonPathError),
    /// No regular expression.
    #[error("it is no regular expression: {0}")]
    Regex(String),
    /// Something else than the type allows.
    #[error("`{}` is not what is expected: {expected}", .value.chars().take(80).collect::<String>().escape_debug())]
    Expected {
        /// The value.
        value: String,
        /// What is.
        expected: String,
    },
}

impl Type {
    /// What a value becomes in SQL. `now_ns` is what relative times are relative to.
    pub fn sql(&self, value: &str, now_ns: i64) -> Result<String, ValueError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(ValueError::TooLong { len: value.len() });
        }
        if value.contains('\0') {
            return Err(ValueError::Nul);
        }
        let unexpected = || ValueError::Expected {
            value: value.to_owned(),
            expected: self.to_string(),
        };
        Ok(match self {
            Self::Moment => number(value.parse::<Moment>()?.resolve(now_ns)),
            Self::Job => value.parse::<JobPattern>()?.predicate(),
            Self::Text => literal(value),
            Self::Regex => {
                check_regex(value)?;
                literal(value)
            }
            Self::Int { min, max } => {
                let number: i64 = value.trim().parse().map_err(|_| unexpected())?;
                if !(*min..=*max).contains(&number) {
                    return Err(unexpected());
                }
                self::number(number)
            }
            Self::Double { min, max } => {
                let number: f64 = value.trim().parse().map_err(|_| unexpected())?;
                if !(*min..=*max).contains(&number) {
                    return Err(unexpected());
                }
                // With an exponent it is a double in Trino; without, a decimal.
                if number < 0.0 {
                    format!("({number:E})")
                } else {
                    format!("{number:E}")
                }
            }
            Self::Duration => parse_span(value.trim()).ok_or_else(unexpected)?.to_string(),
            Self::Path => literal(&value.parse::<JsonPath>()?.to_string()),
            Self::List => {
                let values: Vec<String> = value
                    .split(',')
                    .map(str::trim)
                    .filter(|value| !value.is_empty())
                    .map(literal)
                    .collect();
                if values.is_empty() || values.len() > MAX_LIST {
                    return Err(unexpected());
                }
                format!("({})", values.join(", "))
            }
            Self::Choice(words) => {
                if !words.iter().any(|word| word == value) {
                    return Err(unexpected());
                }
                literal(value)
            }
        })
    }

    /// The word that names it in a header and in a table of parameters.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Moment => "moment",
            Self::Job => "job",
            Self::Text => "text",
            Self::Regex => "regex",
            Self::Int { .. } => "int",
            Self::Double { .. } => "double",
            Self::Duration => "duration",
            Self::Path => "path",
            Self::List => "list",
            Self::Choice(_) => "choice",
        }
    }

    /// What help and messages put in place of a value.
    pub fn placeholder(&self) -> String {
        match self {
            Self::Choice(words) => words.join("|"),
            Self::Int { .. } => "N".to_owned(),
            Self::Double { .. } => "X".to_owned(),
            kind => kind.word().to_uppercase(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moment => f.write_str("a time"),
            Self::Job => f.write_str("a pattern of jobs"),
            Self::Text => f.write_str("a text"),
            Self::Regex => f.write_str("a regular expression"),
            Self::Int { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Double { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Duration => f.write_str("a span of time such as 90s, 5m, 1h30m, 3d"),
            Self::Path => f.write_str("a place in a JSON document such as status or a.b[0]"),
            Self::List => write!(
                f,
                "1 to {MAX_LIST} texts with commas between them, such as a,b,c"
            ),
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// The types as a header writes them: a word, and bounds or choices behind it.
impl FromStr for Type {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let bare = |kind| {
            if rest.is_empty() {
                Ok(kind)
            } else {
                Err(format!("nothing stands behind `{word}`, not `{rest}`"))
            }
        };
        match word {
            "moment" => bare(Self::Moment),
            "job" => bare(Self::Job),
            "text" => bare(Self::Text),
            "regex" => bare(Self::Regex),
            "duration" => bare(Self::Duration),
            "path" => bare(Self::Path),
            "list" => bare(Self::List),
            "int" => {
                let (min, max) = bounds(rest)?;
                Ok(Self::Int { min, max })
            }
            "double" => {
                let (min, max): (f64, f64) = bounds(rest)?;
                if !(min.is_finite() && max.is_finite()) {
                    return Err("the bounds are finite".to_owned());
                }
                Ok(Self::Double { min, max })
            }
            "choice" => {
                let words: Vec<String> = rest.split('|').map(str::to_owned).collect();
                let fine = |word: &String| {
                    !word.is_empty()
                        && word
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
                };
                if words.iter().all(fine) {
                    Ok(Self::Choice(words))
                } else {
                    Err("write choices as in `choice minute|hour`".to_owned())
                }
            }
            _ => Err(format!(
                "`{word}` is no type; there are moment, job, text, regex, int A..B, double A..B, duration, path, list, choice a|b"
            )),
        }
    }
}

fn bounds<T: FromStr + PartialOrd>(text: &str) -> Result<(T, T), String> {
    let parse = || {
        let (min, max) = text.split_once("..")?;
        let (min, max) = (min.parse().ok()?, max.parse().ok()?);
        (min <= max).then_some((min, max))
    };
    parse().ok_or_else(|| "write the bounds as in `int 1..1000`".to_owned())
}

/// A whole number in SQL. A minus could make a comment of the minus before it.
pub(crate) fn number(number: i64) -> String {
    if number < 0 {
        format!("({number})")
    } else {
        number.to_string()
    }
}

/// Checks a pattern by an engine without look-around and references, and for what that engine alone would take.
fn check_regex(pattern: &str) -> Result<(), ValueError> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            // The library draws where the error is over several lines; the last one says what it is.
            let last = text.lines().last().unwrap_or_default();
            ValueError::Regex(
                last.strip_prefix("error: ")
                    .unwrap_or(last)
                    .trim()
                    .to_owned(),
            )
        })?;
    let refuse = |what: &str| Err(ValueError::Regex(what.to_owned()));
    let bytes = pattern.as_bytes();
    let mut at = 0;
    let mut in_class = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                match bytes.get(at + 1) {
                    Some(b'<' | b'>') => return refuse(r"write \b for the edge of a word"),
                    Some(b'b') if bytes.get(at + 2) == Some(&b'{') => {
                        return refuse(r"write \b for the edge of a word");
                    }
                    Some(b'u' | b'U') => {
                        return refuse(r"write \x{…} for a character by its number");
                    }
                    _ => {}
                }
                at += 1;
            }
            b'[' if in_class && bytes.get(at + 1) != Some(&b':') => {
                return refuse(r"a class within a class is read differently elsewhere; write \[");
            }
            b'[' if !in_class => {
                in_class = true;
                // A bracket that comes first is one of the class.
                if bytes.get(at + 1) == Some(&b'^') {
                    at += 1;
                }
                if bytes.get(at + 1) == Some(&b']') {
                    at += 1;
                }
            }
            b'[' => {
                // `[:alpha:]`: to its own end.
                let end = pattern[at..].find(":]").unwrap_or(0);
                at += end + 1;
            }
            b']' => in_class = false,
            b'&' | b'~' if in_class && bytes.get(at + 1) == Some(&bytes[at]) => {
                return refuse("operations on classes (&&, ~~) are read differently elsewhere");
            }
            b'-' if in_class && bytes.get(at + 1) == Some(&b'-') => {
                return refuse("operations on classes (--) are read differently elsewhere");
            }
            b'(' if !in_class && pattern[at..].starts_with("(?") => {
                let rest = &pattern[at + 2..];
                let flags = rest
                    .bytes()
                    .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
                    .collect::<Vec<u8>>();
                if rest.starts_with("P<") || rest.starts_with('<') {
                    return refuse(
                        "groups with names are written differently elsewhere; write (…)",
                    );
                }
                if flags
                    .iter()
                    .any(|flag| !matches!(flag, b'i' | b's' | b'm' | b'-'))
                {
                    return refuse("of the flags, only i, m and s mean the same everywhere");
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

impl Parameter {
    /// The default for people.
    pub fn default_text(&self) -> Option<String> {
        let default = self.default.as_ref()?;
        Some(match &self.kind {
            Type::Duration => parse_span(default).map_or_else(|| default.clone(), show_span),
            _ if default.is_empty() => "\"\"".to_owned(),
            _ => default.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(kind: &str, value: &str) -> Result<String, String> {
        let kind: Type = kind
            .parse()
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
        kind.sql(value, 3_600_000_000_000)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_become_literals() {
        for (kind, value, expected) in [
            ("moment", "now", "3600000000000"),
            ("moment", "-1h", "0"),
            (
                "job",
                "www/prod/hello*",
                "(role = 'www' AND env = 'prod' AND job LIKE 'hello%')",
            ),
            ("text", "it's; -- {{x}}", "'it''s; -- {{x}}'"),
            ("text", "", "''"),
            ("regex", r"time(d)? ?out\b", r"'time(d)? ?out\b'"),
            ("regex", "(?i)[[:alpha:]'\\[]+", "'(?i)[[:alpha:]''\\[]+'"),
            ("int 1..10", " 7", "7"),
            ("int -5..5", "-5", "(-5)"),
            ("double 0..100", "2.5", "2.5E0"),
            ("double 0..1e9", "120000", "1.2E5"),
            ("duration", "5m", "300000000000"),
            ("path", "a.b[0]", "'$.a.b[0]'"),
            ("list", "a, b'c,,d", "('a', 'b''c', 'd')"),
            ("choice minute|hour", "hour", "'hour'"),
        ] {
            assert_eq!(sql(kind, value).as_deref(), Ok(expected), "{kind} {value}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let mut refused = String::new();
        for (kind, value) in [
            ("moment", "1; DROP"),
            ("job", "a b"),
            ("text", "a\0b"),
            ("regex", "(?=x)"),
            ("regex", r"(a)\1"),
            ("regex", "(?<n>a)"),
            ("regex", "[a&&b]"),
            ("regex", "(?x) a"),
            ("regex", "[a[b]]"),
            ("regex", "(a"),
            ("int 1..10", "11"),
            ("int 1..10", "1e1"),
            ("int 1..10", "1 OR 1"),
            ("double 0..1", "NaN"),
            ("double 0..1", "2"),
            ("duration", "5"),
            ("path", "a'b"),
            ("list", " , "),
            ("choice minute|hour", "day"),
        ] {
            let error = sql(kind, value).expect_err(value);
            let error = error.split("; write").next().unwrap_or_default().to_owned();
            refused.push_str(&[kind, ": ", &error, "\n"].concat());
        }
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        refused += &sql("text", &long).expect_err("too long");
        insta::assert_snapshot!(refused);
    }

    #[test]
    fn types_are_read() {
        for text in [
            "int",
            "int 5..1",
            "double 0..inf",
            "text 5",
            "choice",
            "choice a|",
            "number",
        ] {
            assert!(text.parse::<Type>().is_err(), "{text}");
        }
    }
}
