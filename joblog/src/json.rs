//! What a record needs of a JSON line, read in one pass without building a tree; and a walk over a line's members.
//!
//! For records only keys of the outermost object count, and those of `log` and `event` one level below it. A line that breaks off keeps
//! what came before; a deep value is skipped without recursion.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::Level;

mod walk;

pub use walk::{Broken, MAX_DEPTH, Text, Value, find, walk};

/// What a record needs of a JSON line, taken from its members one after the other.
///
/// Who walks over a line for purposes of its own gets the record's part by the way:
///
/// ```
/// use joblog::Level;
/// use joblog::json::{Role, Summary, walk};
/// let mut summary = Summary::default();
/// let mut others = 0;
/// walk(br#"{"level":"WARN","log":{"logger":"db"},"took":7}"#, |key, value| {
///     others += u32::from(summary.take(key, value) == Role::Other);
/// })?;
/// assert_eq!((summary.level(), others), (Some(Level::Warn), 2));
/// # Ok::<(), joblog::json::Broken>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary<'a> {
    /// How many keys were read.
    pub(crate) keys: u32,
    /// Whether the line was an object from its first byte to its last.
    pub(crate) whole: bool,
    pub(crate) message: Option<Text<'a>>,
    pub(crate) logger: Option<Text<'a>>,
    time: Option<Ranked<Scalar<'a>>>,
    level: Option<Ranked<Level>>,
}

impl<'a> Summary<'a> {
    pub(crate) fn time(&self) -> Option<&Scalar<'a>> {
        self.time.as_ref().map(|time| &time.value)
    }

    /// How serious the line is, by what was taken so far.
    pub fn level(&self) -> Option<Level> {
        self.level.map(|level| level.value)
    }

    /// Takes the next member of the line's outermost object, and says what its key stands for.
    #[inline]
    pub fn take(&mut self, key: Text<'a>, value: Value<'a>) -> Role {
        let key = key_of(key, Depth::Outer);
        self.take_as(key, value);
        key.role()
    }

    /// Takes what a member says, if it is of interest.
    #[inline]
    fn take_as(&mut self, key: Key, value: Value<'a>) {
        self.keys = self.keys.saturating_add(1);
        match key {
            Key::Other => {}
            Key::Inner => {
                if let Value::Object(inner) = value {
                    // What the outer walk has stepped over is whole.
                    let _ = walk(inner, |key, value| {
                        self.take_as(key_of(key, Depth::Inner), value);
                    });
                }
            }
            Key::Message => keep_text(&mut self.message, value),
            Key::Logger => keep_text(&mut self.logger, value),
            Key::Time { rank } => {
                if let Some(value) = Scalar::of(value) {
                    keep_best(&mut self.time, Ranked { rank, value });
                }
            }
            Key::Level { rank } => {
                if let Some(value) = Scalar::of(value).as_ref().and_then(level_of) {
                    keep_best(&mut self.level, Ranked { rank, value });
                }
            }
            Key::PythonLevel { rank } => {
                if let Some(Scalar::Integer(number @ 1..=50)) = Scalar::of(value)
                    && let Some(value) = Level::from_number(number as u64 + 10)
                {
                    keep_best(&mut self.level, Ranked { rank, value });
                }
            }
        }
    }
}

/// A value, and how much its key means: lower is better.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranked<T> {
    rank: u8,
    value: T,
}

/// A value that is no object and no list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(Text<'a>),
    Integer(i64),
    Float(f64),
}

impl<'a> Scalar<'a> {
    fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(Self::Text(text)),
            Value::Number(digits) => {
                let digits = std::str::from_utf8(digits).ok()?;
                let is_whole = !digits.contains(['.', 'e', 'E']);
                if is_whole && let Ok(number) = digits.parse() {
                    return Some(Self::Integer(number));
                }
                // Whole numbers beyond 64 bits are neither times nor levels.
                (!is_whole).then(|| digits.parse().ok().map(Self::Float))?
            }
            Value::Bool(_) | Value::Null | Value::Object(_) | Value::Array(_) => None,
        }
    }
}

/// Whether it is worth reading the line as JSON.
#[inline]
pub(crate) fn looks_like_json(line: &[u8]) -> bool {
    match line {
        [b'{', ..] => true,
        [b' ' | b'\t' | 0xef, ..] => begin(line).first() == Some(&b'{'),
        _ => false,
    }
}

/// The line behind blanks and a byte order mark.
fn begin(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(line)
        .trim_ascii_start()
}

/// Reads a line. Total: what cannot be read is left out.
pub(crate) fn scan(line: &[u8]) -> Summary<'_> {
    let mut summary = Summary::default();
    let walked = walk(begin(line), |key, value| {
        summary.take(key, value);
    });
    summary.whole = walked.is_ok();
    summary
}

/// Reads a line as far as its time and its level need: what else it says may be missing.
pub(crate) fn scan_time_and_level(line: &[u8]) -> Summary<'_> {
    let mut summary = Summary::default();
    let walked = walk::walk_while(begin(line), |key, value| {
        summary.take(key, value);
        // No key means more than these.
        let is_best = |rank: Option<u8>| rank == Some(0);
        if is_best(summary.time.as_ref().map(|time| time.rank))
            && is_best(summary.level.as_ref().map(|level| level.rank))
        {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    summary.whole = walked.is_ok();
    summary
}

/// What a key stands for, escapes or not.
#[inline]
fn key_of(key: Text<'_>, depth: Depth) -> Key {
    if key.has_escapes() {
        Key::of(key.decode().as_bytes(), depth)
    } else {
        Key::of(key.raw(), depth)
    }
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Time {
        rank: u8,
    },
    Level {
        rank: u8,
    },
    /// Python's numbers: ten less than bunyan's.
    PythonLevel {
        rank: u8,
    },
    Message,
    Logger,
    Inner,
    Other,
}

/// How deep an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outer,
    Inner,
}

impl Key {
    fn of(key: &[u8], depth: Depth) -> Self {
        if depth == Depth::Inner {
            return match key {
                b"level" => Self::Level { rank: 3 },
                b"created" => Self::Time { rank: 8 },
                b"logger" => Self::Logger,
                _ => Self::Other,
            };
        }
        match key {
            b"@timestamp" | b"@t" => Self::Time { rank: 0 },
            b"timestamp" | b"Timestamp" => Self::Time { rank: 1 },
            b"time" => Self::Time { rank: 2 },
            b"ts" => Self::Time { rank: 3 },
            b"datetime" | b"dateTime" => Self::Time { rank: 4 },
            b"asctime" => Self::Time { rank: 5 },
            b"date" => Self::Time { rank: 6 },
            b"t" | b"eventTime" | b"event_time" => Self::Time { rank: 7 },
            b"level" | b"log.level" | b"@l" | b"Level" => Self::Level { rank: 0 },
            b"severity" | b"levelname" | b"level_name" | b"severity_text" | b"severityText" => {
                Self::Level { rank: 1 }
            }
            b"lvl" | b"loglevel" | b"logLevel" | b"log_level" => Self::Level { rank: 2 },
            b"levelno" => Self::PythonLevel { rank: 4 },
            b"PRIORITY" => Self::Level { rank: 5 },
            b"message" | b"msg" | b"@m" | b"@mt" | b"MESSAGE" => Self::Message,
            b"logger_name" | b"logger" | b"log.logger" | b"name" => Self::Logger,
            b"log" | b"event" => Self::Inner,
            _ => Self::Other,
        }
    }
}

impl Key {
    #[inline]
    fn role(self) -> Role {
        match self {
            Self::Time { rank } => Role::Time { rank },
            Self::Level { rank } | Self::PythonLevel { rank } => Role::Level { rank },
            Self::Message => Role::Message,
            Self::Logger => Role::Logger,
            Self::Inner | Self::Other => Role::Other,
        }
    }
}

/// What a key of a line's outermost object stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The line's time. Of several keys the one with the lowest rank counts.
    Time {
        /// How much the key means.
        rank: u8,
    },
    /// The line's level, likewise.
    Level {
        /// How much the key means.
        rank: u8,
    },
    /// The message. The first such text counts.
    Message,
    /// The name of the logger. The first such text counts.
    Logger,
    /// Anything else.
    Other,
}

/// What a key of a line's outermost object stands for.
#[inline]
pub fn role(key: Text<'_>) -> Role {
    key_of(key, Depth::Outer).role()
}

fn keep_best<T>(slot: &mut Option<Ranked<T>>, new: Ranked<T>) {
    if slot.as_ref().is_none_or(|old| new.rank < old.rank) {
        *slot = Some(new);
    }
}

fn keep_text<'a>(slot: &mut Option<Text<'a>>, value: Value<'a>) {
    if let (None, Value::Text(text)) = (&slot, value) {
        *slot = Some(text);
    }
}

fn level_of(value: &Scalar<'_>) -> Option<Level> {
    match value {
        Scalar::Text(text) => {
            let text: Cow<'_, str> = text.decode();
            let text = text.trim();
            match text.parse() {
                Ok(number) => Level::from_number(number),
                Err(_) => Level::from_word(text.as_bytes()),
            }
        }
        Scalar::Integer(number) => Level::from_number(u64::try_from(*number).ok()?),
        Scalar::Float(_) => None,
    }
}
