//! JSON objects, a line each, into rows.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf as _;
use bytes::Bytes;
use bytes::buf::Reader;
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{DecodeError, Filter, Lines, OwnedRow, Report, Tile, parse_level, parse_tpl};
use crate::civil::{DAY_SECONDS, Date, number};
use crate::key::ObjectKey;
use crate::row::{Flags, Origin};

/// The longest line of JSON that is read, in bytes. A longer one counts as damaged.
const MAX_JSON_BYTES: u64 = 512 << 20;

/// How many bytes are unpacked at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The lines of an object.
#[derive(Debug)]
struct JsonLines {
    key: Box<ObjectKey>,
    unpacked: BufReader<MultiGzDecoder<Reader<Bytes>>>,
    line: Vec<u8>,
    number: u64,
}

impl JsonLines {
    fn new(key: &ObjectKey, object: Bytes) -> Self {
        let packed = MultiGzDecoder::new(object.reader());
        Self {
            key: Box::new(key.clone()),
            unpacked: BufReader::with_capacity(BUFFER_BYTES, packed),
            line: Vec::new(),
            number: 0,
        }
    }

    /// What `make` makes of the next line that it makes something of; none at the end. A line that it cannot read is reported as
    /// damaged.
    fn next<T>(
        &mut self,
        report: &mut Report,
        mut make: impl FnMut(&[u8], &mut Report) -> Result<Option<T>, String>,
    ) -> Result<Option<T>, DecodeError> {
        while let Some(whole) = self.next_line()? {
            let made = match whole {
                Whole::Yes => make(&self.line, report),
                Whole::No => Err(format!("it is longer than {MAX_JSON_BYTES} bytes")),
            };
            match made {
                Ok(Some(made)) => return Ok(Some(made)),
                Ok(None) => {}
                Err(problem) => report.damage(self.number, problem),
            }
        }
        Ok(None)
    }

    /// Reads the next line; none at the end.
    fn next_line(&mut self) -> Result<Option<Whole>, DecodeError> {
        self.line.clear();
        let mut bounded = (&mut self.unpacked).take(MAX_JSON_BYTES);
        let read = bounded.read_until(b'\n', &mut self.line);
        let is_cut = bounded.limit() == 0 && self.line.last() != Some(&b'\n');
        let rest = if is_cut {
            skip_line(&mut self.unpacked)
        } else {
            Ok(())
        };
        let len = match read.and_then(|len| rest.map(|()| len)) {
            Ok(len) => len,
            Err(source) => {
                return Err(DecodeError::Gzip {
                    key: self.key.clone(),
                    line: self.number,
                    source,
                });
            }
        };
        if len == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(if is_cut { Whole::No } else { Whole::Yes }))
    }
}

/// Whether a line was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

fn json<'l, T: Deserialize<'l>>(line: &'l [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

fn skip_line(unpacked: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = unpacked.fill_buf()?;
        let end = memchr::memchr(b'\n', buffer);
        let len = end.map_or(buffer.len(), |place| place + 1);
        unpacked.consume(len);
        if end.is_some() || len == 0 {
            return Ok(());
        }
    }
}

/// A row as JSON. What is absent is 0 or NULL; what we do not know is passed over.
#[derive(Debug, Deserialize)]
struct Json<'l> {
    #[serde(default)]
    ts_ns: i64,
    #[serde(borrow)]
    ingest_ts: Cow<'l, str>,
    role: Option<String>,
    env: Option<String>,
    job: Option<String>,
    #[serde(default)]
    instance: i32,
    task_id: Option<String>,
    process: Option<String>,
    stream: Option<String>,
    host: Option<String>,
    #[serde(default)]
    run: i32,
    src: String,
    #[serde(default)]
    epoch: i32,
    #[serde(default)]
    off: i64,
    #[serde(default)]
    len: i64,
    level: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    git_sha: Option<String>,
    tpl: Option<String>,
    line: Option<String>,
    raw: Option<String>,
    #[serde(default)]
    flags: i32,
}

/// The part of a row that an audit reads, with the line's text or without.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Default"))]
struct JsonTile<'l, T> {
    #[serde(default)]
    ts_ns: i64,
    #[serde(borrow)]
    src: Cow<'l, str>,
    #[serde(default)]
    epoch: i32,
    #[serde(default)]
    off: i64,
    #[serde(default)]
    len: i64,
    #[serde(default)]
    flags: i32,
    #[serde(default)]
    line: T,
    #[serde(default)]
    raw: T,
}

impl<T> JsonTile<'_, T> {
    fn tile<'t>(&'t self, line: Option<&'t [u8]>) -> Tile<'t> {
        Tile {
            src: &self.src,
            epoch: self.epoch as u32,
            off: self.off as u64,
            len: self.len as u64,
            flags: Flags(self.flags as u32),
            ts_ns: self.ts_ns,
            line,
        }
    }
}

/// A text that is copied only where it has escapes in it.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'l>(#[serde(borrow)] Cow<'l, str>);

/// Hands out rows.
#[derive(Debug)]
pub(super) struct Rows {
    lines: JsonLines,
    filter: Filter,
    origin: Arc<Origin>,
}

impl Rows {
    pub(super) fn new(key: &ObjectKey, object: Bytes, filter: Filter) -> Self {
        Self {
            lines: JsonLines::new(key, object),
            filter,
            origin: Arc::default(),
        }
    }

    pub(super) fn next(&mut self, report: &mut Report) -> Result<Option<OwnedRow>, DecodeError> {
        let hour = self.lines.key.hour;
        let (filter, origin) = (&self.filter, &mut self.origin);
        self.lines.next(report, |line, report| {
            let row = row(json(line)?, origin)?;
            if filter.wants_origin(&row.origin) && filter.wants_time(row.ts_ns) {
                report.took(hour, row.ts_ns);
                return Ok(Some(row));
            }
            report.unwanted += 1;
            Ok(None)
        })
    }
}

fn row(json: Json<'_>, last: &mut Arc<Origin>) -> Result<OwnedRow, &'static str> {
    let origin = Origin {
        role: json.role,
        env: json.env,
        job: json.job,
        instance: json.instance as u32,
        task_id: json.task_id,
        process: json.process,
        run: json.run as u32,
        stream: json.stream,
        host: json.host,
        src: json.src,
        git_sha: json.git_sha,
    };
    if **last != origin {
        *last = Arc::new(origin);
    }
    let ingest_ms = parse_time(json.ingest_ts.as_bytes()).ok_or("`ingest_ts` is no time")?;
    let level = match &json.level {
        Some(name) => Some(parse_level(name).ok_or("`level` is no level")?),
        None => None,
    };
    let tpl = match &json.tpl {
        Some(digits) => Some(parse_tpl(digits).ok_or("`tpl` is no template's id")?),
        None => None,
    };
    let line = match json.raw {
        Some(raw) => Some(STANDARD.decode(raw).map_err(|_| "`raw` is no base64")?),
        None => json.line.map(String::into_bytes),
    };
    Ok(OwnedRow {
        origin: Arc::clone(last),
        ts_ns: json.ts_ns,
        ingest_ns: ingest_ms.saturating_mul(1_000_000),
        epoch: json.epoch as u32,
        off: json.off as u64,
        len: json.len as u64,
        level,
        request_id: json.request_id,
        trace_id: json.trace_id,
        tpl,
        line,
        flags: Flags(json.flags as u32),
    })
}

/// Milliseconds since 1970 of `YYYY-MM-DD HH:MM:SS.fff`.
fn parse_time(text: &[u8]) -> Option<i64> {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd.ddd";
    let fits = text.len() == SHAPE.len()
        && text
            .iter()
            .zip(SHAPE)
            .all(|(byte, shape)| *shape == b'd' || byte == shape);
    if !fits {
        return None;
    }
    let date = Date {
        year: number(&text[..4])?,
        month: number(&text[5..7])?,
        day: number(&text[8..10])?,
    };
    let [hour, minute, second] = [11, 14, 17].map(|place| number(&text[place..place + 2]));
    let (hour, minute, second) = (hour?, minute?, second?);
    if !date.is_real() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let of_day = hour * 3600 + minute * 60 + second;
    Some((date.days() * DAY_SECONDS + of_day) * 1000 + number(&text[20..])?)
}

pub(super) fn tiles(
    key: &ObjectKey,
    object: Bytes,
    lines: Lines,
    report: &mut Report,
    take: &mut impl FnMut(&Tile<'_>, &mut Report),
) -> Result<(), DecodeError> {
    let mut all = JsonLines::new(key, object);
    let mut each = |line: &[u8], report: &mut Report| {
        match lines {
            Lines::Skip => {
                let json: JsonTile<'_, IgnoredAny> = json(line)?;
                take(&json.tile(None), report);
            }
            Lines::Read => {
                let json: JsonTile<'_, Option<Text<'_>>> = json(line)?;
                let raw = match &json.raw {
                    Some(raw) => Some(
                        STANDARD
                            .decode(raw.0.as_bytes())
                            .map_err(|_| "`raw` is no base64".to_owned())?,
                    ),
                    None => None,
                };
                let text = json.line.as_ref().map(|line| line.0.as_bytes());
                take(&json.tile(raw.as_deref().or(text)), report);
            }
        }
        Ok(Some(()))
    };
    while all.next(report, &mut each)?.is_some() {}
    Ok(())
}
