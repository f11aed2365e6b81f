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

    /// The next line that can be read; none at the end.
    fn next<'l, T: Deserialize<'l>>(
        &'l mut self,
    ) -> Result<Option<Result<T, String>>, DecodeError> {
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
        if is_cut {
            return Ok(Some(Err(format!(
                "it is longer than {MAX_JSON_BYTES} bytes"
            ))));
        }
        Ok(Some(
            serde_json::from_slice(&self.line).map_err(|error| error.to_string()),
        ))
    }
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

/// The part of a row that an audit reads.
#[derive(Debug, Deserialize)]
struct JsonTile<'l> {
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
}

/// The same with the line.
#[derive(Debug, Deserialize)]
struct JsonTileLine<'l> {
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
    #[serde(borrow)]
    line: Option<Text<'l>>,
    #[serde(borrow)]
    raw: Option<Text<'l>>,
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
        loop {
            let number = self.lines.number + 1;
            let hour = self.lines.key.hour;
            let Some(json) = self.lines.next::<Json<'_>>()? else {
                return Ok(None);
            };
            let row = json.and_then(|json| row(json, &mut self.origin).map_err(str::to_owned));
            match row {
                Ok(row)
                    if self.filter.wants_origin(&row.origin)
                        && self.filter.wants_time(row.ts_ns) =>
                {
                    report.took(hour, row.ts_ns);
                    return Ok(Some(row));
                }
                Ok(_) => report.unwanted += 1,
                Err(problem) => report.damage(number, problem),
            }
        }
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
    let mut json_lines = JsonLines::new(key, object);
    loop {
        let number = json_lines.number + 1;
        let problem = match lines {
            Lines::Skip => {
                let Some(json) = json_lines.next::<JsonTile<'_>>()? else {
                    return Ok(());
                };
                json.map(|json| {
                    let tile = Tile {
                        src: &json.src,
                        epoch: json.epoch as u32,
                        off: json.off as u64,
                        len: json.len as u64,
                        flags: Flags(json.flags as u32),
                        ts_ns: json.ts_ns,
                        line: None,
                    };
                    take(&tile, report);
                })
            }
            Lines::Read => {
                let Some(json) = json_lines.next::<JsonTileLine<'_>>()? else {
                    return Ok(());
                };
                json.and_then(|json| {
                    let raw = match &json.raw {
                        Some(raw) => Some(
                            STANDARD
                                .decode(raw.0.as_bytes())
                                .map_err(|_| "`raw` is no base64".to_owned())?,
                        ),
                        None => None,
                    };
                    let line = raw
                        .as_deref()
                        .or(json.line.as_ref().map(|line| line.0.as_bytes()));
                    let tile = Tile {
                        src: &json.src,
                        epoch: json.epoch as u32,
                        off: json.off as u64,
                        len: json.len as u64,
                        flags: Flags(json.flags as u32),
                        ts_ns: json.ts_ns,
                        line,
                    };
                    take(&tile, report);
                    Ok(())
                })
            }
        };
        if let Err(problem) = problem {
            report.damage(number, problem);
        }
    }
}
