//! The name of a job: `cluster/role/env/name`.
//!
//! A [`JobKey`] in hand is valid: every part is made of the characters that the scheduler allows. Instance lists behind a
//! key belong to [`crate::InstanceSet`], glob patterns and short names to the program that takes them.

use std::fmt;
use std::str::FromStr;

/// The longest part of a key, in bytes. A part becomes a file name in places, and file systems stop there.
pub const MAX_PART_BYTES: usize = 255;

/// A job's full name, `cluster/role/env/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey {
    cluster: String,
    role: String,
    env: String,
    name: String,
}

/// One of the four parts of a key, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first part.
    Cluster,
    /// The second part.
    Role,
    /// The third part.
    Env,
    /// The last part.
    Name,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Role => "role",
            Self::Env => "env",
            Self::Name => "name",
        })
    }
}

/// Why a text is no job key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobKeyError {
    /// There are not four parts.
    #[error("{text:?} has {parts} of the 4 parts of a job key: write cluster/role/env/name")]
    Shape {
        /// The text.
        text: String,
        /// How many parts it has.
        parts: usize,
    },
    /// A part is empty.
    #[error("the {part} of a job key is empty: use letters, digits, `_`, `.` and `-`")]
    Empty {
        /// Which one.
        part: Part,
    },
    /// A part is longer than [`MAX_PART_BYTES`].
    #[error("the {part} of a job key has {len} bytes: at most {MAX_PART_BYTES} are allowed")]
    TooLong {
        /// Which one.
        part: Part,
        /// Its length in bytes.
        len: usize,
    },
    /// A part holds a character that is not allowed.
    #[error(
        "the {part} of a job key, {text:?}, holds {character:?}: only the letters a-z and A-Z, digits, `_`, `.` and `-` are allowed"
    )]
    Character {
        /// Which one.
        part: Part,
        /// The whole part.
        text: String,
        /// The first character that is not allowed.
        character: char,
    },
}

impl JobKey {
    /// Makes a key from its parts.
    pub fn new(cluster: &str, role: &str, env: &str, name: &str) -> Result<Self, JobKeyError> {
        Ok(Self {
            cluster: valid(Part::Cluster, cluster)?,
            role: valid(Part::Role, role)?,
            env: valid(Part::Env, env)?,
            name: valid(Part::Name, name)?,
        })
    }

    /// The cluster, the first part.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The role, the second part: the account that the job runs as.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The environment, the third part.
    pub fn env(&self) -> &str {
        &self.env
    }

    /// The job's name, the last part.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.cluster, self.role, self.env, self.name
        )
    }
}

impl FromStr for JobKey {
    type Err = JobKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        if let (Some(cluster), Some(role), Some(env), Some(name), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            return Self::new(cluster, role, env, name);
        }
        Err(JobKeyError::Shape {
            text: text.to_owned(),
            parts: text.split('/').count(),
        })
    }
}

fn valid(part: Part, text: &str) -> Result<String, JobKeyError> {
    if text.is_empty() {
        return Err(JobKeyError::Empty { part });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if let Some(character) = text.chars().find(|&c| !allowed(c)) {
        return Err(JobKeyError::Character {
            part,
            text: text.to_owned(),
            character,
        });
    }
    if text.len() > MAX_PART_BYTES {
        return Err(JobKeyError::TooLong {
            part,
            len: text.len(),
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Result<[&str; 4], &str>) {
        let got = text.parse::<JobKey>();
        match (&got, expected) {
            (Ok(key), Ok(parts)) => {
                assert_eq!([key.cluster(), key.role(), key.env(), key.name()], parts);
                assert_eq!(key.to_string(), text);
            }
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
            _ => panic!("{text:?} gives {got:?}"),
        }
    }

    #[test]
    fn keys() {
        check(
            "aa/www-data/prod/hello",
            Ok(["aa", "www-data", "prod", "hello"]),
        );
        check(
            "a.b/c_d/staging1/x-2.y",
            Ok(["a.b", "c_d", "staging1", "x-2.y"]),
        );
        check("a/b/c", Err("3 of the 4 parts"));
        check("a/b/c/d/0", Err("5 of the 4 parts"));
        check("", Err("1 of the 4 parts"));
        check("/b/c/d", Err("the cluster of a job key is empty"));
        check("a/b/c/", Err("the name of a job key is empty"));
        check(
            "a/b c/d/e",
            Err("the role of a job key, \"b c\", holds ' '"),
        );
        check(
            "a/b/pröd/e",
            Err("the env of a job key, \"pröd\", holds 'ö'"),
        );
        check("a/b/c/d*", Err("holds '*'"));
        check(&format!("a/b/c/{}", "d".repeat(256)), Err("has 256 bytes"));
    }

    proptest! {
        #[test]
        fn render_then_parse(parts in prop::array::uniform4("[A-Za-z0-9_.-]{1,20}")) {
            let [c, r, e, n] = &parts;
            let key = JobKey::new(c, r, e, n).unwrap();
            prop_assert_eq!(key.to_string().parse::<JobKey>().unwrap(), key);
        }

        #[test]
        fn any_text(text in ".*") {
            if let Ok(key) = text.parse::<JobKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
