//! A place in a JSON document: `status`, `$.request.headers["x-id"]`, `items[0].name`.
//!
//! The part of Trino's paths that names one value. It is written again from its parts, so that what was typed is not what the
//! engine reads.

use std::fmt;
use std::str::FromStr;

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 512;

/// A path that names one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(u32),
}

/// Why a text is no [`JsonPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` names no place in a JSON document; write status, request.id, items[0].name or [\"x-id\"]",
    .0.chars().take(80).collect::<String>().escape_debug()
)]
pub struct JsonPathError(String);

impl FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        let parse = || {
            if text.len() > MAX_PATH_BYTES {
                return None;
            }
            let mut rest = text.strip_prefix('$').unwrap_or(text);
            let mut steps = Vec::new();
            while !rest.is_empty() {
                if let Some(inside) = rest.strip_prefix("[\"") {
                    let (key, behind) = inside.split_once("\"]")?;
                    let fine = |c: char| c.is_alphanumeric() || " _-.:/@#+".contains(c);
                    if key.is_empty() || !key.chars().all(fine) {
                        return None;
                    }
                    steps.push(Step::Key(key.to_owned()));
                    rest = behind;
                } else if let Some(inside) = rest.strip_prefix('[') {
                    let (index, behind) = inside.split_once(']')?;
                    if !index.bytes().all(|byte| byte.is_ascii_digit()) {
                        return None;
                    }
                    steps.push(Step::Index(index.parse().ok()?));
                    rest = behind;
                } else {
                    // A dot is between steps, and in front of the first one where a `$` is.
                    let dotted = rest.strip_prefix('.');
                    let key = match dotted {
                        Some(key) => key,
                        None if steps.is_empty() && !text.starts_with('$') => rest,
                        None => return None,
                    };
                    let end = key.find(['.', '[']).unwrap_or(key.len());
                    let (key, behind) = key.split_at(end);
                    let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@');
                    if key.is_empty() || !key.chars().all(fine) {
                        return None;
                    }
                    steps.push(Step::Key(key.to_owned()));
                    rest = behind;
                }
            }
            (!steps.is_empty()).then_some(Self(steps))
        };
        parse().ok_or_else(|| JsonPathError(text.to_owned()))
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    let is_word = key
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                        && !key.starts_with(|c: char| c.is_ascii_digit());
                    if is_word {
                        write!(f, ".{key}")?;
                    } else {
                        write!(f, "[\"{key}\"]")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_written_in_one_form() {
        for (text, expected) in [
            ("status", "$.status"),
            ("$.a.b[0]", "$.a.b[0]"),
            ("request.x-id", "$.request[\"x-id\"]"),
            ("[\"a b\"].c", "$[\"a b\"].c"),
            ("[3]", "$[3]"),
            ("@timestamp", "$[\"@timestamp\"]"),
        ] {
            let path: JsonPath = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(path.to_string(), expected, "{text}");
        }
        for text in [
            "",
            "$",
            "a..b",
            "a b",
            "a'b",
            "a[*]",
            "a[",
            "[\"a\\\"]",
            "$a",
            "a.",
            "[-1]",
        ] {
            assert!(text.parse::<JsonPath>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[a\\[\\]\"$.0-]{0,12}|\\PC{0,20}") {
            if let Ok(path) = text.parse::<JsonPath>() {
                prop_assert_eq!(path.to_string().parse::<JsonPath>(), Ok(path));
            }
        }
    }
}
