//! What a line says about itself: when, how serious, and for a JSON line its message.
//!
//! Reading a line cannot fail. What is not understood is left out of the record; the line itself stays with the caller.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::json::{self, Scalar, Summary, Text};
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
        if let Some(summary) = json_summary(line) {
            return Record {
                ts_ns: self.json_time(&summary, line),
                level: summary.level(),
                json: Some(Json {
                    extent: if summary.whole {
                        Extent::Whole
                    } else {
                        Extent::Broken
                    },
                    message: summary.message.map(Text::decode),
                    logger: summary.logger.map(Text::decode),
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
        match some_summary(line, json::scan_time_and_level) {
            Some(summary) => (self.json_time(&summary, line), summary.level()),
            None => (self.timestamps.find(line), level::find(line)),
        }
    }

    /// When the line was written, in nanoseconds since 1970: the same as [`Self::parse`] gives, without the rest.
    #[inline]
    pub fn timestamp(&mut self, line: &[u8]) -> Option<i64> {
        match json_summary(line) {
            Some(summary) => self.json_time(&summary, line),
            None => self.timestamps.find(line),
        }
    }

    /// How serious the line is: the same as [`Self::parse`] gives, without the rest.
    #[inline]
    pub fn level(&self, line: &[u8]) -> Option<Level> {
        level::find(line)
    }

    /// When a JSON line was written, all of whose members have been taken: the same as [`Self::parse`] gives.
    pub fn time_of(&mut self, summary: &Summary<'_>) -> Option<i64> {
        self.scalar_time(summary.time()?)
    }

    fn json_time(&mut self, summary: &Summary<'_>, line: &[u8]) -> Option<i64> {
        match summary.time() {
            Some(time) => self.scalar_time(time),
            // A broken line may still begin with its time.
            None if !summary.whole => self.timestamps.find(line),
            None => None,
        }
    }

    fn scalar_time(&mut self, time: &Scalar<'_>) -> Option<i64> {
        match time {
            Scalar::Text(text) if text.has_escapes() => {
                self.timestamps.find(text.decode().as_bytes())
            }
            Scalar::Text(text) => self.timestamps.find(text.raw()),
            Scalar::Integer(number) => TimestampParser::from_integer(*number),
            Scalar::Float(number) => TimestampParser::from_float(*number),
        }
    }
}

/// The line's summary, if it is a JSON object at least in its beginning.
#[inline]
fn json_summary(line: &[u8]) -> Option<Summary<'_>> {
    some_summary(line, json::scan)
}

/// The same, read in this way.
#[inline]
fn some_summary<'a>(line: &'a [u8], scan: impl Fn(&'a [u8]) -> Summary<'a>) -> Option<Summary<'a>> {
    if !json::looks_like_json(line) {
        return None;
    }
    let summary = scan(line);
    if summary.keys > 0 || summary.whole {
        Some(summary)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
