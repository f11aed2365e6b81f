//! Rows into JSON objects, a line each, packed by gzip.
//!
//! What is the same for all rows of a file is written once and copied. Lines are packed as they come.

use std::fmt;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{EncodeError, WriteOptions, floor_ms, tpl_digits};
use crate::civil::{DAY_SECONDS, Date};
use crate::row::{Flags, Origin, Row};
use crate::schema::ColumnId;

/// How many bytes of lines are gathered before they are packed.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes an object.
pub(super) struct Writer<W: Write + Send> {
    sink: GzEncoder<W>,
    lines: Vec<u8>,
    origin: Option<Written>,
    ts: TimeText,
    ingest_ts: TimeText,
}

/// What all rows of an origin have in common, as JSON: what stands before each part that rows differ in.
struct Written {
    origin: Origin,
    /// `role` to `src`.
    head: Vec<u8>,
    git_sha: Vec<u8>,
}

impl<W: Write + Send> Writer<W> {
    pub(super) fn new(sink: W, options: &WriteOptions) -> Self {
        Self {
            sink: GzEncoder::new(sink, Compression::new(options.gzip_level.clamp(1, 9))),
            lines: Vec::with_capacity(BUFFER_BYTES),
            origin: None,
            ts: TimeText::default(),
            ingest_ts: TimeText::default(),
        }
    }

    #[inline]
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), EncodeError> {
        if self
            .origin
            .as_ref()
            .is_none_or(|written| written.origin != *row.origin)
        {
            self.origin = Some(Written::new(row.origin));
        }
        if let Some(written) = &self.origin {
            let out = &mut self.lines;
            out.extend_from_slice(b"{\"ts\":\"");
            out.extend_from_slice(self.ts.of(floor_ms(row.ts_ns)));
            out.push(b'"');
            number(out, ColumnId::TsNs, row.ts_ns);
            out.extend_from_slice(b",\"ingest_ts\":\"");
            out.extend_from_slice(self.ingest_ts.of(floor_ms(row.ingest_ns)));
            out.push(b'"');
            written.row(row, out);
        }
        if self.lines.len() >= BUFFER_BYTES {
            self.pack()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        self.pack()?;
        Ok(self.sink.finish()?)
    }

    fn pack(&mut self) -> io::Result<()> {
        self.sink.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

impl<W: Write + Send> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("lines_bytes", &self.lines.len())
            .finish_non_exhaustive()
    }
}

impl Written {
    #[cold]
    fn new(origin: &Origin) -> Self {
        let mut head = Vec::new();
        let out = &mut head;
        text(out, ColumnId::Role, origin.role.as_deref());
        text(out, ColumnId::Env, origin.env.as_deref());
        text(out, ColumnId::Job, origin.job.as_deref());
        number(out, ColumnId::Instance, i64::from(origin.instance as i32));
        text(out, ColumnId::TaskId, origin.task_id.as_deref());
        text(out, ColumnId::Process, origin.process.as_deref());
        text(out, ColumnId::Stream, origin.stream.as_deref());
        text(out, ColumnId::Host, origin.host.as_deref());
        number(out, ColumnId::Run, i64::from(origin.run as i32));
        text(out, ColumnId::Src, Some(&origin.src));
        let mut git_sha = Vec::new();
        text(&mut git_sha, ColumnId::GitSha, origin.git_sha.as_deref());
        Self {
            origin: origin.clone(),
            head,
            git_sha,
        }
    }

    /// All of a row behind its times.
    #[inline]
    fn row(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        number(out, ColumnId::Epoch, i64::from(row.epoch as i32));
        number(out, ColumnId::Off, row.off as i64);
        number(out, ColumnId::Len, row.len as i64);
        if let Some(level) = row.level {
            key(out, ColumnId::Level);
            plain(out, level.name().as_bytes());
        }
        text(out, ColumnId::RequestId, row.request_id);
        text(out, ColumnId::TraceId, row.trace_id);
        out.extend_from_slice(&self.git_sha);
        if let Some(tpl) = row.tpl {
            key(out, ColumnId::Tpl);
            plain(out, &tpl_digits(tpl));
        }
        let mut flags = Flags(row.flags.0 & !Flags::NOT_UTF8.0);
        if let Some(line) = row.line {
            key(out, ColumnId::Line);
            out.push(b'"');
            if std::str::from_utf8(line).is_ok() {
                escape(out, line);
                out.push(b'"');
            } else {
                flags |= Flags::NOT_UTF8;
                for chunk in line.utf8_chunks() {
                    escape(out, chunk.valid().as_bytes());
                    if !chunk.invalid().is_empty() {
                        out.extend_from_slice("\u{fffd}".as_bytes());
                    }
                }
                out.push(b'"');
                key(out, ColumnId::Raw);
                plain(out, STANDARD.encode(line).as_bytes());
            }
        }
        number(out, ColumnId::Flags, i64::from(flags.0 as i32));
        out.extend_from_slice(b"}\n");
    }
}

/// A key that is not the first one.
#[inline]
fn key(out: &mut Vec<u8>, id: ColumnId) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(id.column().name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A number with its key, unless it is 0.
#[inline]
fn number(out: &mut Vec<u8>, id: ColumnId, number: i64) {
    if number != 0 {
        key(out, id);
        digits(out, number);
    }
}

fn digits(out: &mut Vec<u8>, number: i64) {
    let mut text = [0; 20];
    let mut start = text.len();
    let mut rest = number.unsigned_abs();
    loop {
        start -= 1;
        text[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        text[start] = b'-';
    }
    out.extend_from_slice(&text[start..]);
}

/// A text with its key, unless it is NULL.
#[inline]
fn text(out: &mut Vec<u8>, id: ColumnId, text: Option<&str>) {
    if let Some(text) = text {
        key(out, id);
        out.push(b'"');
        escape(out, text.as_bytes());
        out.push(b'"');
    }
}

/// A text that has nothing to escape in it.
#[inline]
fn plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// What must not stand in a JSON string: `"`, `\`, and control characters.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[0x7f] = true;
    special
};

/// The inside of a JSON string, from UTF-8.
#[inline]
fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(place) = special(text) {
        let byte = text[place];
        out.extend_from_slice(&text[..place]);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                out.push(b"0123456789abcdef"[usize::from(byte & 0xf)]);
            }
        }
        text = &text[place + 1..];
    }
    out.extend_from_slice(text);
}

/// Where the next byte is that must be escaped: eight bytes at a time, as one number.
#[inline]
fn special(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    /// Bytes of `word` that are zero have their high bit set; bytes above the lowest of them may have it, too.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    let mut place = 0;
    while let Some(eight) = text[place..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = control
            | zeros(word ^ (ONES * u64::from(b'"')))
            | zeros(word ^ (ONES * u64::from(b'\\')))
            | zeros(word ^ (ONES * 0x7f));
        if found != 0 {
            return Some(place + found.trailing_zeros() as usize / 8);
        }
        place += 8;
    }
    let rest = text[place..]
        .iter()
        .position(|byte| SPECIAL[usize::from(*byte)]);
    rest.map(|found| place + found)
}

/// A time's text. Neighbours differ in their milliseconds, mostly.
#[derive(Debug, Default)]
struct TimeText {
    second: Option<i64>,
    text: Vec<u8>,
}

impl TimeText {
    /// `YYYY-MM-DD HH:MM:SS.fff`.
    #[inline]
    fn of(&mut self, ms: i64) -> &[u8] {
        let second = ms.div_euclid(1000);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = whole(second);
        }
        let ms = ms.rem_euclid(1000);
        let start = self.text.len() - 3;
        for (place, divisor) in [(0, 100), (1, 10), (2, 1)] {
            self.text[start + place] = b'0' + (ms / divisor % 10) as u8;
        }
        &self.text
    }
}

fn whole(second: i64) -> Vec<u8> {
    let Date { year, month, day } = Date::of_days(second.div_euclid(DAY_SECONDS));
    let second = second.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.000").into_bytes()
}
