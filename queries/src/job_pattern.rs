//! Which jobs a question is about: `hello`, `hello*`, `www/prod/hello`, `aa/www/*/hello*`; and what that is in SQL.
//!
//! The parts have the characters of job keys, `*` (any number of any) and `?` (any one), and nothing else: there is nothing in
//! them that would have to be refused later. A part without either becomes an equality, which engines prune best by.

use std::fmt;
use std::str::FromStr;

use crate::sql_text::literal;

/// The longest part of a pattern, in bytes: that of a job key.
const MAX_PART_BYTES: usize = 255;

/// The character that `_` and `%` are escaped by in LIKE.
const ESCAPE: char = '\\';

/// Jobs by patterns for the parts of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPattern {
    text: String,
    /// The cluster, where the pattern has four parts.
    pub cluster: Option<String>,
    role: Part,
    env: Part,
    job: Part,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    Exactly(String),
    Like(String),
}

/// Why a text is no [`JobPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no pattern of jobs: {why}; write a name (hello, hello*), role/env/name (www/prod/hello, www/*/hello?) or cluster/role/env/name",
    .text.chars().take(80).collect::<String>().escape_debug()
)]
pub struct JobPatternError {
    text: String,
    why: &'static str,
}

impl JobPattern {
    /// All jobs.
    pub fn any() -> Self {
        Self {
            text: "*".to_owned(),
            cluster: None,
            role: Part::Any,
            env: Part::Any,
            job: Part::Any,
        }
    }

    /// The conditions on the columns `role`, `env` and `job`; none for all jobs.
    pub fn conditions(&self) -> Vec<String> {
        [("role", &self.role), ("env", &self.env), ("job", &self.job)]
            .into_iter()
            .filter_map(|(column, part)| part.condition(column))
            .collect()
    }

    /// The same as one expression.
    pub fn predicate(&self) -> String {
        let conditions = self.conditions();
        if conditions.is_empty() {
            "TRUE".to_owned()
        } else {
            format!("({})", conditions.join(" AND "))
        }
    }
}

impl FromStr for JobPattern {
    type Err = JobPatternError;

    fn from_str(text: &str) -> Result<Self, JobPatternError> {
        let error = |why| JobPatternError {
            text: text.to_owned(),
            why,
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (cluster, role, env, job) = match parts[..] {
            [job] => (None, "*", "*", job),
            [role, env, job] => (None, role, env, job),
            [cluster, role, env, job] => (Some(cluster), role, env, job),
            _ => return Err(error("it has one, three or four parts")),
        };
        for part in &parts {
            if part.is_empty() || part.len() > MAX_PART_BYTES {
                return Err(error("a part has 1 to 255 bytes"));
            }
            let fine = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'*' | b'?')
            };
            if !part.bytes().all(fine) {
                return Err(error(
                    "a part has letters, digits, `_`, `.`, `-`, and `*` and `?` for any characters",
                ));
            }
        }
        if cluster.is_some_and(|cluster| cluster.contains(['*', '?'])) {
            return Err(error("the cluster is a name, since it is a partition"));
        }
        Ok(Self {
            text: text.to_owned(),
            cluster: cluster.map(str::to_owned),
            role: Part::of(role),
            env: Part::of(env),
            job: Part::of(job),
        })
    }
}

impl fmt::Display for JobPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn of(text: &str) -> Self {
        if text.bytes().all(|byte| byte == b'*') {
            Self::Any
        } else if text.contains(['*', '?']) {
            let mut pattern = String::new();
            for c in text.chars() {
                match c {
                    '*' if pattern.ends_with('%') && !pattern.ends_with("\\%") => {}
                    '*' => pattern.push('%'),
                    '?' => pattern.push('_'),
                    '_' => pattern.extend([ESCAPE, '_']),
                    c => pattern.push(c),
                }
            }
            Self::Like(pattern)
        } else {
            Self::Exactly(text.to_owned())
        }
    }

    fn condition(&self, column: &str) -> Option<String> {
        match self {
            Self::Any => None,
            Self::Exactly(name) => Some(format!("{column} = {}", literal(name))),
            // Without the clause, LIKE knows no escapes in Trino.
            Self::Like(pattern) if pattern.contains(ESCAPE) => Some(format!(
                "{column} LIKE {} ESCAPE {}",
                literal(pattern),
                literal(&ESCAPE.to_string())
            )),
            Self::Like(pattern) => Some(format!("{column} LIKE {}", literal(pattern))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_become_conditions() {
        for (text, expected) in [
            ("*", "TRUE"),
            ("*/*/**", "TRUE"),
            ("hello", "(job = 'hello')"),
            ("hello*", "(job LIKE 'hello%')"),
            ("h**o?", "(job LIKE 'h%o_')"),
            ("a_b*", r"(job LIKE 'a\_b%' ESCAPE '\')"),
            ("a_b", "(job = 'a_b')"),
            ("www/prod/*", "(role = 'www' AND env = 'prod')"),
            (
                "aa/www/p*/x.y-z",
                "(role = 'www' AND env LIKE 'p%' AND job = 'x.y-z')",
            ),
        ] {
            let pattern: JobPattern = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(pattern.predicate(), expected, "{text}");
            assert_eq!(pattern.to_string(), text);
        }
        let pattern: JobPattern = "aa/www/prod/hello".parse().expect("a pattern");
        assert_eq!(pattern.cluster.as_deref(), Some("aa"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "a/b",
            "a/b/c/d/e",
            "a//c",
            "*/www/prod/hello",
            "x' OR 1=1 --",
            "100%",
            "[ab]",
            "ä",
        ] {
            assert!(text.parse::<JobPattern>().is_err(), "{text}");
        }
        let error = "a'b".parse::<JobPattern>().unwrap_err();
        insta::assert_snapshot!(error, @r"`a\'b` is no pattern of jobs: a part has letters, digits, `_`, `.`, `-`, and `*` and `?` for any characters; write a name (hello, hello*), role/env/name (www/prod/hello, www/*/hello?) or cluster/role/env/name");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            if let Ok(pattern) = text.parse::<JobPattern>() {
                pattern.predicate();
            }
        }
    }
}
