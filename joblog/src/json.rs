//! What a record needs of a JSON line, read in one pass without building a tree.
//!
//! Only keys of the outermost object count, and those of `log` and `event` one level below it. A line that breaks off keeps
//! what came before; a deep value is skipped without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Level;

/// What a JSON line says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields<'a> {
    /// How many keys were read.
    pub(crate) keys: u32,
    /// Whether the line was an object from its first byte to its last.
    pub(crate) whole: bool,
    pub(crate) message: Option<Cow<'a, str>>,
    pub(crate) logger: Option<Cow<'a, str>>,
    time: Option<Ranked<Scalar<'a>>>,
    level: Option<Ranked<Level>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn time(&self) -> Option<&Scalar<'a>> {
        self.time.as_ref().map(|time| &time.value)
    }

    pub(crate) fn level(&self) -> Option<Level> {
        self.level.map(|level| level.value)
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
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
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
pub(crate) fn scan(line: &[u8]) -> Fields<'_> {
    let mut fields = Fields::default();
    let mut deserializer = serde_json::Deserializer::from_slice(begin(line));
    let result = Object {
        fields: &mut fields,
        depth: Depth::Outer,
    }
    .deserialize(&mut deserializer);
    fields.whole = result.is_ok() && deserializer.end().is_ok();
    fields
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
    fn of(key: &str, depth: Depth) -> Self {
        if depth == Depth::Inner {
            return match key {
                "level" => Self::Level { rank: 3 },
                "created" => Self::Time { rank: 8 },
                "logger" => Self::Logger,
                _ => Self::Other,
            };
        }
        match key {
            "@timestamp" | "@t" => Self::Time { rank: 0 },
            "timestamp" | "Timestamp" => Self::Time { rank: 1 },
            "time" => Self::Time { rank: 2 },
            "ts" => Self::Time { rank: 3 },
            "datetime" | "dateTime" => Self::Time { rank: 4 },
            "asctime" => Self::Time { rank: 5 },
            "date" => Self::Time { rank: 6 },
            "t" | "eventTime" | "event_time" => Self::Time { rank: 7 },
            "level" | "log.level" | "@l" | "Level" => Self::Level { rank: 0 },
            "severity" | "levelname" | "level_name" | "severity_text" | "severityText" => {
                Self::Level { rank: 1 }
            }
            "lvl" | "loglevel" | "logLevel" | "log_level" => Self::Level { rank: 2 },
            "levelno" => Self::PythonLevel { rank: 4 },
            "PRIORITY" => Self::Level { rank: 5 },
            "message" | "msg" | "@m" | "@mt" | "MESSAGE" => Self::Message,
            "logger_name" | "logger" | "log.logger" | "name" => Self::Logger,
            "log" | "event" => Self::Inner,
            _ => Self::Other,
        }
    }
}

/// An object whose fields are collected.
struct Object<'f, 'a> {
    fields: &'f mut Fields<'a>,
    depth: Depth,
}

impl<'de> DeserializeSeed<'de> for Object<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let depth = self.depth;
        while let Some(key) = map.next_key_seed(KeySeed { depth })? {
            self.fields.keys = self.fields.keys.saturating_add(1);
            match key {
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Inner => map.next_value_seed(Inner {
                    fields: self.fields,
                })?,
                Key::Message => {
                    keep_text(&mut self.fields.message, map.next_value_seed(ScalarSeed)?);
                }
                Key::Logger => keep_text(&mut self.fields.logger, map.next_value_seed(ScalarSeed)?),
                Key::Time { rank } => {
                    if let Some(value) = map.next_value_seed(ScalarSeed)? {
                        keep_best(&mut self.fields.time, Ranked { rank, value });
                    }
                }
                Key::Level { rank } => {
                    if let Some(value) =
                        map.next_value_seed(ScalarSeed)?.as_ref().and_then(level_of)
                    {
                        keep_best(&mut self.fields.level, Ranked { rank, value });
                    }
                }
                Key::PythonLevel { rank } => {
                    if let Some(Scalar::Integer(number @ 1..=50)) =
                        map.next_value_seed(ScalarSeed)?
                        && let Some(value) = Level::from_number(number as u64 + 10)
                    {
                        keep_best(&mut self.fields.level, Ranked { rank, value });
                    }
                }
            }
        }
        Ok(())
    }
}

fn keep_best<T>(slot: &mut Option<Ranked<T>>, new: Ranked<T>) {
    if slot.as_ref().is_none_or(|old| new.rank < old.rank) {
        *slot = Some(new);
    }
}

fn keep_text<'a>(slot: &mut Option<Cow<'a, str>>, value: Option<Scalar<'a>>) {
    if let (None, Some(Scalar::Text(text))) = (&slot, value) {
        *slot = Some(text);
    }
}

fn level_of(value: &Scalar<'_>) -> Option<Level> {
    match value {
        Scalar::Text(text) => {
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

struct KeySeed {
    depth: Depth,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(Key::of(key, self.depth))
    }
}

/// The value of a key such as `log`, of interest only if it is an object.
struct Inner<'f, 'a> {
    fields: &'f mut Fields<'a>,
}

impl<'de> DeserializeSeed<'de> for Inner<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object {
            fields: self.fields,
            depth: Depth::Inner,
        }
        .visit_map(map)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| ())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A value that is wanted if it is text or a number.
struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Option<Scalar<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Option<Scalar<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).ok().map(Scalar::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Scalar::Float(number)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| None)
    }
}
