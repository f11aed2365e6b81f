//! A JSON line for people: time, level, logger and message, then the other fields as `key=value`.
//!
//! Owns what of a JSON line stands where. The line is read once by `joblog::json::walk`, which copies nothing; what is not
//! one whole object stays as it is, and so does a line with nothing to show. Texts are decoded, so they go through
//! `escape.rs` here already, for pipes too: `\u001b` in a JSON line must not become a colour further on.

use joblog::json::{Role, Summary, Text, Value, role, walk};
use joblog::{Level, RecordParser};

use crate::escape;
use crate::json::push_string;
use crate::stamp::{StampForm, Stamps};
use crate::styled::{Growing, Style};

/// The most columns of a logger's name before its parts are cut to their first letters.
pub const LOGGER_COLUMNS: usize = 24;

/// How many levels of objects become dotted keys; deeper ones are shown as JSON.
pub const DOTTED_LEVELS: usize = 4;

/// Keys of Logstash that say nothing about the line.
const LEFT_OUT: [&[u8]; 3] = [b"@version", b"level_value", b"ecs.version"];

/// The longest level that is shown as it is written, in bytes.
const LEVEL_BYTES: usize = 13;

/// `--json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JsonLines {
    /// Time, level, logger, message, then the other fields.
    #[default]
    Fields,
    /// As they are.
    Raw,
}

/// Whether the time of a JSON line is shown among its fields.
pub(crate) enum OwnTime<'a> {
    /// As it is written, if that is a text; a number of seconds since 1970 is written as a date by [`Stamps`].
    Shown(&'a mut Stamps),
    /// It stands before the line already.
    LeftOut,
}

/// What is known of a line before it is shown.
pub(crate) enum Known<'a> {
    /// All that is to be known.
    Read {
        /// When it was written, in ns since 1970.
        ts_ns: Option<i64>,
        /// How serious it is.
        level: Option<Level>,
    },
    /// Nothing: it is read on the way.
    Nothing(&'a mut RecordParser),
}

/// A line that has been shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// How serious it is.
    pub(crate) level: Option<Level>,
}

/// Makes texts of JSON lines, and keeps the buffers for it.
#[derive(Debug)]
pub(crate) struct Fields<G> {
    /// The fields that stand in the line.
    inline: G,
    /// The fields of several lines, which come after it.
    below: G,
    /// The lines of a message behind its first one.
    rest: G,
    decoded: Vec<u8>,
    path: Vec<u8>,
}

/// What stands before a field's value.
#[derive(Clone, Copy)]
enum Path<'a> {
    /// The key of a member, which has no escapes.
    Key(Text<'a>),
    /// Keys of objects in one another, harmless already.
    Dotted(&'a [u8]),
}

impl<'a> Path<'a> {
    fn text(self) -> &'a [u8] {
        match self {
            Self::Key(key) => key.raw(),
            Self::Dotted(path) => path,
        }
    }
}

/// What has its own place in the line.
#[derive(Default)]
struct Head<'a> {
    time: Option<Ranked<'a>>,
    level: Option<Ranked<'a>>,
    logger: Option<Text<'a>>,
    message: Option<Text<'a>>,
}

#[derive(Clone, Copy)]
struct Ranked<'a> {
    rank: u8,
    key: Text<'a>,
    value: Value<'a>,
}

/// Whether a line can be a JSON object at all.
#[inline]
pub(crate) fn is_candidate(line: &[u8]) -> bool {
    match line.first() {
        Some(b'{') => true,
        Some(b' ' | b'\t' | 0xef) => line
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(line)
            .trim_ascii_start()
            .starts_with(b"{"),
        _ => false,
    }
}

/// The message and the logger of a JSON line.
pub(crate) fn message_and_logger(line: &[u8]) -> (Option<Text<'_>>, Option<Text<'_>>) {
    let (mut message, mut logger) = (None, None);
    let whole = walk(line, |key, value| match (role(key), value) {
        (Role::Message, Value::Text(text)) => message = message.or(Some(text)),
        (Role::Logger, Value::Text(text)) => logger = logger.or(Some(text)),
        _ => {}
    });
    if whole.is_ok() {
        (message, logger)
    } else {
        (None, None)
    }
}

impl<G: Growing> Fields<G> {
    /// With empty texts to grow.
    pub(crate) fn new(empty: impl Fn() -> G) -> Self {
        Self {
            inline: empty(),
            below: empty(),
            rest: empty(),
            decoded: Vec::new(),
            path: Vec::new(),
        }
    }

    /// Appends the line's text, or nothing and gives `None` where it stays as it is.
    pub(crate) fn append(
        &mut self,
        line: &[u8],
        known: Known<'_>,
        own_time: OwnTime<'_>,
        to: &mut G,
    ) -> Option<Shown> {
        self.inline.clear();
        self.below.clear();
        self.rest.clear();
        let mut head = Head::default();
        let mut summary = Summary::default();
        match known {
            Known::Read { .. } => walk(line, |key, value| {
                self.member(role(key), key, value, &mut head);
            }),
            Known::Nothing(_) => walk(line, |key, value| {
                self.member(summary.take(key, value), key, value, &mut head);
            }),
        }
        .ok()?;
        let level = match known {
            Known::Read { level, .. } => level,
            Known::Nothing(_) => summary.level(),
        };
        let begin = to.text().len();
        if let (OwnTime::Shown(stamps), Some(time)) = (own_time, head.time) {
            let ts_ns = match known {
                Known::Read { ts_ns, .. } => ts_ns,
                // Texts are shown as they are written.
                Known::Nothing(parser) if matches!(time.value, Value::Number(_)) => {
                    parser.time_of(&summary)
                }
                Known::Nothing(_) => None,
            };
            let begun = to.begin(Style::Dim);
            match (time.value, ts_ns) {
                (Value::Number(_), Some(ns)) => {
                    stamps.push(ns, StampForm::Default, to.text());
                }
                (value, _) => scalar(value, &mut self.decoded, to),
            }
            to.end(begun);
        }
        match head.level {
            Some(Ranked {
                value: Value::Text(text),
                ..
            }) => {
                separate(to, begin);
                push_level(text.raw(), level, to);
            }
            Some(_) if level.is_some() => {
                separate(to, begin);
                push_level(level.map_or("", Level::name).as_bytes(), level, to);
            }
            Some(number) => self.member_of(number.key, number.value),
            None => {}
        }
        if let Some(logger) = head.logger {
            separate(to, begin);
            self.decoded.clear();
            logger.push(&mut self.decoded);
            push_logger(&self.decoded, logger, to);
            to.push_styled(b":", Style::Dim);
        }
        if let Some(message) = head.message {
            separate(to, begin);
            if message.has_escapes() {
                self.decoded.clear();
                message.push(&mut self.decoded);
                let mut lines = lines_of(&self.decoded);
                if let Some(first) = lines.next() {
                    escape::append(first, to.text());
                }
                for line in lines {
                    self.rest.push(b"\n  ");
                    escape::append(line, self.rest.text());
                }
            } else {
                to.push(message.raw());
            }
        }
        if to.text().len() == begin && !self.inline.text().is_empty() {
            // No blank at the line's head.
            self.inline.drop_first();
        }
        to.append(&self.inline);
        to.append(&self.rest);
        to.append(&self.below);
        (to.text().len() > begin).then_some(Shown { level })
    }

    #[inline]
    fn member<'a>(&mut self, role: Role, key: Text<'a>, value: Value<'a>, head: &mut Head<'a>) {
        let slot = match role {
            Role::Other => {
                self.member_of(key, value);
                return;
            }
            Role::Time { rank } => match value {
                Value::Text(_) | Value::Number(_) => (&mut head.time, rank),
                _ => return self.member_of(key, value),
            },
            Role::Level { rank } => match value {
                Value::Text(text) if is_level(text) => (&mut head.level, rank),
                Value::Number(_) => (&mut head.level, rank),
                _ => return self.member_of(key, value),
            },
            Role::Message => match value {
                Value::Text(text) if head.message.is_none() => {
                    head.message = Some(text);
                    return;
                }
                _ => return self.member_of(key, value),
            },
            Role::Logger => match value {
                Value::Text(text) if head.logger.is_none() => {
                    head.logger = Some(text);
                    return;
                }
                _ => return self.member_of(key, value),
            },
        };
        let (slot, rank) = slot;
        let new = Ranked { rank, key, value };
        let other = match slot {
            Some(old) if old.rank <= rank => Some(new),
            _ => slot.replace(new),
        };
        if let Some(other) = other {
            self.member_of(other.key, other.value);
        }
    }

    /// A field without a place of its own.
    #[inline]
    fn member_of(&mut self, key: Text<'_>, value: Value<'_>) {
        if key.has_escapes() {
            self.path.clear();
            escape::append(key.decode().as_bytes(), &mut self.path);
            let path = std::mem::take(&mut self.path);
            self.field(Path::Dotted(&path), value, DOTTED_LEVELS);
            self.path = path;
        } else if !LEFT_OUT.contains(&key.raw()) {
            self.field(Path::Key(key), value, DOTTED_LEVELS);
        }
    }

    fn field(&mut self, path: Path<'_>, value: Value<'_>, levels: usize) {
        match value {
            Value::Null => {}
            Value::Object(raw) if levels > 0 => {
                let result = walk(raw, |key, value| {
                    let above = path.text();
                    let mut longer = Vec::with_capacity(above.len() + key.raw().len() + 1);
                    longer.extend_from_slice(above);
                    longer.push(b'.');
                    if key.has_escapes() {
                        escape::append(key.decode().as_bytes(), &mut longer);
                    } else {
                        longer.extend_from_slice(key.raw());
                    }
                    self.field(Path::Dotted(&longer), value, levels - 1);
                });
                debug_assert_eq!(result, Ok(()), "it has been checked with the line");
            }
            Value::Text(text) => self.text_field(path, text),
            Value::Number(_) | Value::Bool(_) | Value::Object(_) | Value::Array(_) => {
                push_key(path, &mut self.inline);
                scalar(value, &mut self.decoded, &mut self.inline);
            }
        }
    }

    fn text_field(&mut self, path: Path<'_>, text: Text<'_>) {
        if !text.has_escapes() {
            push_key(path, &mut self.inline);
            let raw = text.raw();
            if needs_quotes(raw) {
                self.inline.push(text.quoted());
            } else {
                self.inline.push(raw);
            }
            return;
        }
        self.decoded.clear();
        text.push(&mut self.decoded);
        if self.decoded.trim_ascii_end().contains(&b'\n') {
            let below = &mut self.below;
            below.push(b"\n  ");
            let begun = below.begin(Style::Dim);
            below.push(path.text());
            below.push(b":");
            below.end(begun);
            let mut first = true;
            for line in lines_of(self.decoded.trim_ascii_end()) {
                below.push(if first { b" " } else { b"\n    " });
                first = false;
                escape::append(line, below.text());
            }
            return;
        }
        push_key(path, &mut self.inline);
        if needs_quotes(&self.decoded) {
            push_string(&String::from_utf8_lossy(&self.decoded), self.inline.text());
        } else {
            escape::append(&self.decoded, self.inline.text());
        }
    }
}

/// A value alone, on one line.
fn scalar<G: Growing>(value: Value<'_>, decoded: &mut Vec<u8>, to: &mut G) {
    match value {
        Value::Text(text) if text.has_escapes() => {
            decoded.clear();
            text.push(decoded);
            escape::append(decoded, to.text());
        }
        Value::Text(text) => to.push(text.raw()),
        Value::Number(raw) | Value::Object(raw) | Value::Array(raw) => to.push(raw),
        Value::Bool(true) => to.push(b"true"),
        Value::Bool(false) => to.push(b"false"),
        Value::Null => to.push(b"null"),
    }
}

/// Puts a blank before what follows, unless it is the first.
#[inline]
fn separate<G: Growing>(to: &mut G, begin: usize) {
    if to.text().len() > begin {
        to.push(b" ");
    }
}

/// Appends a level in upper case, filled up to the usual width.
fn push_level(word: &[u8], level: Option<Level>, to: &mut impl Growing) {
    let begun = level.map(|level| to.begin(Style::Level(level)));
    let start = to.text().len();
    to.push(word);
    to.text()[start..].make_ascii_uppercase();
    if let Some(begun) = begun {
        to.end(begun);
    }
    to.push(&b"     "[word.len().min(5)..]);
}

fn is_level(text: Text<'_>) -> bool {
    !text.has_escapes()
        && (1..=LEVEL_BYTES).contains(&text.raw().len())
        && text.raw().iter().all(u8::is_ascii_alphanumeric)
}

#[inline]
fn push_key(path: Path<'_>, to: &mut impl Growing) {
    to.push(b" ");
    let begun = to.begin(Style::Dim);
    match path {
        Path::Key(key) => {
            // The closing quote makes room for what stands there instead, so that it is copied once.
            to.push(&key.quoted()[1..]);
            if let Some(last) = to.text().last_mut() {
                *last = b'=';
            }
        }
        Path::Dotted(path) => {
            to.push(path);
            to.push(b"=");
        }
    }
    to.end(begun);
}

/// Whether a value would not be seen as one word.
#[inline]
fn needs_quotes(text: &[u8]) -> bool {
    /// The bytes that ask for quotes.
    const ASKS: [bool; 256] = {
        let mut asks = [false; 256];
        let mut byte = 0;
        while byte <= b' ' {
            asks[byte as usize] = true;
            byte += 1;
        }
        asks[b'"' as usize] = true;
        asks[b'=' as usize] = true;
        asks[0x7f] = true;
        asks
    };
    text.is_empty() || text.iter().any(|&byte| ASKS[byte as usize])
}

/// The lines of a decoded text, without what ends them.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.trim_ascii_end();
    text.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Appends a logger's name, `com.example.web.UserController` as `c.e.w.UserController` if it is long.
fn push_logger(name: &[u8], text: Text<'_>, to: &mut impl Growing) {
    let mut left = name.len();
    let mut rest = name;
    if !text.has_escapes() {
        while left > LOGGER_COLUMNS
            && let Some(dot) = memchr::memchr(b'.', rest)
        {
            let first = match std::str::from_utf8(&rest[..dot]) {
                Ok(part) => part.chars().next().map_or(0, char::len_utf8),
                Err(_) => break,
            };
            to.push(&rest[..first]);
            to.push(b".");
            left -= dot - first;
            rest = &rest[dot + 1..];
        }
    }
    if text.has_escapes() {
        escape::append(rest, to.text());
    } else {
        to.push(rest);
    }
}

#[cfg(test)]
mod tests;
