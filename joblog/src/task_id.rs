//! The id of a task, one run of one instance of a job: `role-env-job-<instance>-<uuid>`.
//!
//! The scheduler replaces every character outside `[\w-]` by `-`, and the parts may hold dashes themselves. So the instance and
//! the uuid are exact and are read from the right, while what stands before them only says which jobs it *may* belong to:
//! [`TaskId::matches`]. Schedulers before 0.13 put the time in milliseconds in front.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::JobKey;

/// The longest task id, in bytes: it is a file name in the agent's folders.
pub const MAX_TASK_ID_BYTES: usize = 255;

/// Length of a uuid's text.
const UUID_BYTES: usize = 36;

/// Digits of a time in milliseconds, from 2001 until 2286.
const MILLIS_DIGITS: usize = 13;

/// A task's id.
///
/// ```
/// use joblog::{JobKey, TaskId};
/// let id = TaskId::parse("www-data-prod-hello-3-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22")?;
/// assert_eq!((id.instance(), id.prefix()), (3, "www-data-prod-hello"));
/// let key: JobKey = "aa/www-data/prod/hello".parse().expect("a valid key");
/// assert!(id.matches(&key));
/// # Ok::<(), joblog::TaskIdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    text: String,
    millis: Option<u64>,
    prefix: Range2,
    instance: u32,
}

/// Where a part stands in the text (a `Range` is not ordered).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Range2 {
    start: usize,
    end: usize,
}

/// Why a text is no task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskIdError {
    /// It does not end with a uuid.
    #[error("the task id {text:?} does not end with -<uuid>")]
    Uuid {
        /// The text.
        text: String,
    },
    /// There is no instance number before the uuid.
    #[error("the task id {text:?} has no instance number before its uuid")]
    Instance {
        /// The text.
        text: String,
    },
    /// Nothing stands before the instance number.
    #[error("the task id {text:?} has no role-env-job before its instance number")]
    Prefix {
        /// The text.
        text: String,
    },
    /// It holds a character that no task id has.
    #[error("the task id {text:?} holds {character:?}: only letters, digits, `_` and `-` occur")]
    Character {
        /// The text.
        text: String,
        /// The first such character.
        character: char,
    },
    /// It is longer than [`MAX_TASK_ID_BYTES`].
    #[error("a task id of {len} bytes: at most {MAX_TASK_ID_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl TaskId {
    /// Builds the id as the scheduler does.
    pub fn build(key: &JobKey, instance: u32, uuid: &str) -> Result<Self, TaskIdError> {
        Self::parse(&format!("{}-{instance}-{uuid}", lossy_prefix(key)))
    }

    /// Reads an id, from the right.
    pub fn parse(text: &str) -> Result<Self, TaskIdError> {
        if text.len() > MAX_TASK_ID_BYTES {
            return Err(TaskIdError::TooLong { len: text.len() });
        }
        if let Some(character) = text.chars().find(|&c| !is_id_char(c)) {
            return Err(TaskIdError::Character {
                text: text.to_owned(),
                character,
            });
        }
        // Only ASCII from here on, so every byte is a character.
        let no_uuid = || TaskIdError::Uuid {
            text: text.to_owned(),
        };
        let uuid_start = text.len().checked_sub(UUID_BYTES).ok_or_else(no_uuid)?;
        let (left, uuid) = text.split_at(uuid_start);
        let left = left.strip_suffix('-').ok_or_else(no_uuid)?;
        if !is_uuid(uuid) {
            return Err(no_uuid());
        }
        let no_instance = || TaskIdError::Instance {
            text: text.to_owned(),
        };
        let (prefix, instance) = left.rsplit_once('-').ok_or_else(no_instance)?;
        if !instance.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(no_instance());
        }
        let instance = instance.parse().map_err(|_| no_instance())?;
        let (millis, prefix) = split_millis(prefix);
        if prefix.is_empty() {
            return Err(TaskIdError::Prefix {
                text: text.to_owned(),
            });
        }
        let start = if millis.is_some() {
            MILLIS_DIGITS + 1
        } else {
            0
        };
        let prefix = Range2 {
            start,
            end: start + prefix.len(),
        };
        Ok(Self {
            text: text.to_owned(),
            millis,
            prefix,
            instance,
        })
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instance number.
    pub const fn instance(&self) -> u32 {
        self.instance
    }

    /// The uuid's text.
    pub fn uuid(&self) -> &str {
        &self.text[self.text.len() - UUID_BYTES..]
    }

    /// `role-env-job`, lossy: where one part ends and the next begins is unknown.
    pub fn prefix(&self) -> &str {
        &self.text[Range::from(self.prefix)]
    }

    /// The time in milliseconds since 1970 at the start of an old form.
    pub const fn millis(&self) -> Option<u64> {
        self.millis
    }

    /// Whether the task may belong to this job. `false` is certain; `true` is not, since other keys give the same text.
    pub fn matches(&self, key: &JobKey) -> bool {
        let prefix = lossy_prefix(key);
        // A role may itself begin with what looks like a time.
        self.prefix() == prefix || self.text[..self.prefix.end] == prefix
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<Range2> for Range<usize> {
    fn from(range: Range2) -> Self {
        range.start..range.end
    }
}

fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// `role-env-job` as the scheduler writes it.
fn lossy_prefix(key: &JobKey) -> String {
    let text = format!("{}-{}-{}", key.role(), key.env(), key.name());
    text.chars()
        .map(|c| if is_id_char(c) { c } else { '-' })
        .collect()
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID_BYTES
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn split_millis(prefix: &str) -> (Option<u64>, &str) {
    match prefix.split_once('-') {
        Some((digits, rest))
            if digits.len() == MILLIS_DIGITS
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !rest.is_empty() =>
        {
            (digits.parse().ok(), rest)
        }
        _ => (None, prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22";

    #[track_caller]
    fn check(left: &str, expected: Result<(Option<u64>, &str, u32), &str>) {
        let text = format!("{left}-{UUID}");
        match (TaskId::parse(&text), expected) {
            (Ok(id), Ok(parts)) => {
                assert_eq!((id.millis(), id.prefix(), id.instance()), parts);
                assert_eq!((id.uuid(), id.as_str()), (UUID, text.as_str()));
            }
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
            (got, _) => panic!("{text:?} gives {got:?}"),
        }
    }

    #[test]
    fn ids() {
        check(
            "www-data-prod-hello-0",
            Ok((None, "www-data-prod-hello", 0)),
        );
        check("a-b-c-1-22", Ok((None, "a-b-c-1", 22)));
        check(
            "1400000000123-a-b-c-7",
            Ok((Some(1_400_000_000_123), "a-b-c", 7)),
        );
        check("140000000012-a-b-c-7", Ok((None, "140000000012-a-b-c", 7)));
        check("1400000000123-7", Ok((None, "1400000000123", 7)));
        check("a-b-c-x", Err("no instance number"));
        check("a-b-c-99999999999", Err("no instance number"));
        check("7", Err("no instance number"));
        check("-7", Err("no role-env-job"));
        check("", Err("no instance number"));
        check("a-b.c-d-7", Err("holds '.'"));
        check(&format!("{}-7", "a".repeat(230)), Err("at most 255"));
    }

    #[test]
    fn no_uuid_no_id() {
        for text in [
            "",
            "-",
            "a-b-c-0",
            "a-b-c-0-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1bzz",
            UUID,
        ] {
            assert!(
                matches!(TaskId::parse(text), Err(TaskIdError::Uuid { .. })),
                "{text:?}"
            );
        }
        let key = JobKey::new("c", "r", "e", "n").unwrap();
        assert!(matches!(
            TaskId::build(&key, 0, "1234"),
            Err(TaskIdError::Uuid { .. })
        ));
    }

    #[test]
    fn belonging() {
        let id = TaskId::parse(&format!("www-data-prod-a-b-0-{UUID}")).unwrap();
        let key = |text: &str| text.parse::<JobKey>().unwrap();
        assert!(id.matches(&key("aa/www-data/prod/a.b")));
        assert!(id.matches(&key("aa/www-data/prod/a-b")));
        assert!(
            id.matches(&key("zz/www/data-prod/a-b")),
            "the text alone cannot tell"
        );
        assert!(!id.matches(&key("aa/www-data/prod/a")));
        let numeric = TaskId::build(&key("aa/1400000000123/prod/x"), 1, UUID).unwrap();
        assert!(numeric.matches(&key("aa/1400000000123/prod/x")));
    }

    proptest! {
        #[test]
        fn build_then_parse(parts in prop::array::uniform3("[A-Za-z0-9_.-]{1,20}"), instance: u32, uuid in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}") {
            let key = JobKey::new("c", &parts[0], &parts[1], &parts[2]).unwrap();
            let id = TaskId::build(&key, instance, &uuid).unwrap();
            prop_assert_eq!((id.instance(), id.uuid()), (instance, uuid.as_str()));
            prop_assert!(id.matches(&key));
            prop_assert_eq!(TaskId::parse(id.as_str()).unwrap(), id);
        }

        #[test]
        fn any_text(text in ".{0,80}") {
            let _ = TaskId::parse(&text);
            let _ = TaskId::parse(&format!("{text}-{UUID}"));
        }
    }
}
