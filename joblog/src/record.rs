//! What a line says about itself: when, how serious, and for a JSON line its message.
//!
//! Reading a line cannot fail. What is not understood is left out of the record; the line itself stays with the caller.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::json::{self, Fields, Scalar, Text};
use crate::level::{self, Level};
use crate::timestamp::TimestampParser;

/// What a line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the line was written, in nanoseconds since 1970.
    pub ts_ns: Option<i64>,
    /// How serious it is.
    pub level: Option<Level>,
    /// More of a line that is a JSON object.
    pub json: Option<Json<'a>>,
}

/// What is of interest in a JSON line beside its time and level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<'a> {
    /// The text under `message` or `msg`.
    pub message: Option<Cow<'a, str>>,
    /// The text under `logger_name`, `logger` or `name`.
    pub logger: Option<Cow<'a, str>>,
    /// Whether all of the line could be read.
    pub extent: Extent,
}

/// How much of a JSON line could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Extent {
    /// The line is one object.
    Whole,
    /// The line breaks off or is malformed; the record has what came before.
    Broken,
}

/// Reads lines. It remembers the last day and zone offset for speed; what it returns depends on the line alone.
///
/// ```
/// use joblog::{Level, RecordParser};
/// let mut parser = RecordParser::new(jiff::tz::TimeZone::UTC, 0);
/// let record = parser.parse(br#"{"@timestamp":"2026-01-05T03:04:05Z","level":"ERROR","message":"disk full"}"#);
/// assert_eq!((record.ts_ns, record.level), (Some(1_767_582_245_000_000_000), Some(Level::Error)));
/// assert_eq!(record.json.and_then(|json| json.message).as_deref(), Some("disk full"));
/// ```
#[derive(Debug, Clone)]
pub struct RecordParser {
    timestamps: TimestampParser,
}

impl RecordParser {
    /// A parser for lines whose times are in `zone` unless they say otherwise. `reference_ns`, in nanoseconds since 1970, is
    /// about when the lines were written: it chooses the year where a line has none.
    pub fn new(zone: TimeZone, reference_ns: i64) -> Self {
        Self {
            timestamps: TimestampParser::new(zone, reference_ns),
        }
    }

    /// Moves the reference time on; for readers that follow a file for months.
    pub fn set_reference(&mut self, reference_ns: i64) {
        self.timestamps.set_reference(reference_ns);
    }

    /// All that the line says.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        if let Some(fields) = json_fields(line) {
            return Record {
                ts_ns: self.json_time(&fields, line),
                level: fields.level(),
                json: Some(Json {
                    extent: if fields.whole {
                        Extent::Whole
                    } else {
                        Extent::Broken
                    },
                    message: fields.message.map(Text::decode),
                    logger: fields.logger.map(Text::decode),
                }),
            };
        }
        Record {
            ts_ns: self.timestamps.find(line),
            level: level::find(line),
            json: None,
        }
    }

    /// When the line was written and how serious it is: the same as [`Self::parse`] gives, without the rest.
    #[inline]
    pub fn time_and_level(&mut self, line: &[u8]) -> (Option<i64>, Option<Level>) {
        match some_fields(line, json::scan_time_and_level) {
            Some(fields) => (self.json_time(&fields, line), fields.level()),
            None => (self.timestamps.find(line), level::find(line)),
        }
    }

    /// When the line was written, in nanoseconds since 1970: the same as [`Self::parse`] gives, without the rest.
    #[inline]
    pub fn timestamp(&mut self, line: &[u8]) -> Option<i64> {
        match json_fields(line) {
            Some(fields) => self.json_time(&fields, line),
            None => self.timestamps.find(line),
        }
    }

    /// How serious the line is: the same as [`Self::parse`] gives, without the rest.
    #[inline]
    pub fn level(&self, line: &[u8]) -> Option<Level> {
        level::find(line)
    }

    fn json_time(&mut self, fields: &Fields<'_>, line: &[u8]) -> Option<i64> {
        match fields.time() {
            Some(Scalar::Text(text)) if text.has_escapes() => {
                self.timestamps.find(text.decode().as_bytes())
            }
            Some(Scalar::Text(text)) => self.timestamps.find(text.raw()),
            Some(Scalar::Integer(number)) => TimestampParser::from_integer(*number),
            Some(Scalar::Float(number)) => TimestampParser::from_float(*number),
            // A broken line may still begin with its time.
            None if !fields.whole => self.timestamps.find(line),
            None => None,
        }
    }
}

/// The line's fields, if it is a JSON object at least in its beginning.
#[inline]
fn json_fields(line: &[u8]) -> Option<Fields<'_>> {
    some_fields(line, json::scan)
}

/// The same, read in this way.
#[inline]
fn some_fields<'a>(line: &'a [u8], scan: impl Fn(&'a [u8]) -> Fields<'a>) -> Option<Fields<'a>> {
    if !json::looks_like_json(line) {
        return None;
    }
    let fields = scan(line);
    if fields.keys > 0 || fields.whole {
        Some(fields)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
