//! From a file's bytes to rows: pure, piece by piece, every byte in exactly one row.
//!
//! A [`RowMaker`] belongs to a set of [`LineRules`] and serves one file after another: [`RowMaker::read`] begins a
//! [`Reading`] at an offset with the file's carried [`RowState`]; [`Reading::push`] takes the file's bytes in pieces of any
//! size and hands each line out as a row; [`Reading::close`] tells how far the rows reach and what to carry to the next
//! reading. What was pushed behind that offset has not become a row and is pushed again next time. The callback may refuse a
//! row: the reading then stands before it and takes nothing more.
//!
//! Files, clocks and offsets' storage are the caller's.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use archive::tpl::Templates;
use archive::{Flags, Origin, Row};
use jiff::tz::TimeZone;
use joblog::lines::{Kind, RawLine, Splitter};
use joblog::{Level, RecordParser, TimestampParser, level};
use serde::{Deserialize, Serialize};

use crate::ids::{IdFinder, Ids};
use crate::redact::{Redaction, Redactor};
use crate::row_time::{Bounds, TimeSource, TimeState};

/// The usual limit on a line, in bytes. A longer one comes as several rows.
pub const DEFAULT_MAX_LINE_BYTES: usize = 1 << 20;

/// How long before the file's last change a date without a year is looked for first, in nanoseconds. Such a date is the one
/// nearest to that, so it may be a day after the change, and anything in the year before.
const YEARLESS_LAG_NS: i64 = 181 * 24 * 3600 * 1_000_000_000;

/// How lines are read. One for all files of a rule.
#[derive(Debug, Clone)]
pub struct LineRules {
    /// The zone of times that name none.
    pub zone: TimeZone,
    /// Lines longer than this, in bytes, come as pieces.
    pub max_line_bytes: usize,
    /// Whether a line may be much older than its file.
    pub age: AgeRule,
    /// How request and trace ids are found.
    pub ids: IdFinder,
    /// What is masked.
    pub redactor: Redactor,
}

/// Whether a line's time may lie long before its file's birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AgeRule {
    /// At most [`crate::row_time::MAX_BEFORE_BIRTH_NS`] before it.
    #[default]
    NearBirth,
    /// Any time before it: for files that were copied here later.
    AnyAge,
}

/// What a reading knows of its file. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct FileFacts<'a> {
    /// Whose file it is.
    pub origin: &'a Origin,
    /// How often it was truncated before.
    pub epoch: u32,
    /// When the file was made, where the file system tells.
    pub birth_ns: Option<i64>,
    /// When the file was last changed.
    pub changed_ns: i64,
    /// When it is read: the rows' `ingest_ns`.
    pub reading_ns: i64,
}

/// What is carried from one reading of a file to the next, beside the offset. A new epoch begins with the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowState {
    /// For the rows' times.
    #[serde(default)]
    pub time: TimeState,
    /// Where in a line the next byte stands.
    #[serde(default)]
    pub place: Place,
    /// Whether a line with a time of its own has been seen.
    #[serde(default)]
    pub head: Head,
}

/// Where in a line a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A line begins.
    #[default]
    LineStart,
    /// The line's beginning is in the row before: a piece, or an unfinished line.
    InsideLine,
}

/// Whether the file's lines have times of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// No line with a time so far.
    #[default]
    None,
    /// There was one: lines without a time continue it.
    Seen,
}

/// Makes rows of files' bytes. Holds what is worth keeping between files: compiled rules, buffers, counts.
#[derive(Debug)]
pub struct RowMaker {
    rules: Arc<LineRules>,
    reader: LineReader,
    redaction: Redaction,
    /// By rule, how many places were masked in rows that were taken.
    redacted: Vec<u64>,
    /// How many rows that were taken have another time than their line says.
    substituted: u64,
}

/// One reading of one file, from an offset on.
#[derive(Debug)]
pub struct Reading<'m> {
    splitter: Splitter,
    rows: Rows<'m>,
}

/// Makes a row of each line of a reading.
#[derive(Debug)]
struct Rows<'m> {
    maker: &'m mut RowMaker,
    file: FileFacts<'m>,
    bounds: Bounds,
    /// Behind the last row that was taken.
    offset: u64,
    state: RowState,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    /// A row was refused.
    Refused,
}

/// Whether a line is known to hold nothing that a filter looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filtered {
    CannotMatch,
    MayMatch,
}

/// What a line has to be looked through for.
#[derive(Debug, Clone, Copy)]
struct Looks {
    /// Names of ids.
    names: Filtered,
    /// Patterns of ids.
    patterns: Filtered,
    /// What is masked.
    masks: Filtered,
}

impl RowMaker {
    /// A maker for files that are read by these rules.
    pub fn new(rules: Arc<LineRules>) -> Self {
        Self {
            reader: LineReader::new(&rules),
            redaction: Redaction::default(),
            redacted: vec![0; rules.redactor.names().count()],
            substituted: 0,
            rules,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<LineRules> {
        &self.rules
    }

    /// How many places each redaction rule masked, in the rules' order, in rows that were taken since the last call.
    pub fn take_redacted(&mut self) -> Vec<u64> {
        let none = vec![0; self.redacted.len()];
        std::mem::replace(&mut self.redacted, none)
    }

    /// How many rows that were taken since the last call have another time than their line says.
    pub fn take_substituted(&mut self) -> u64 {
        std::mem::take(&mut self.substituted)
    }

    /// Begins to read a file at `offset`, with what the reading before it carried.
    pub fn read<'m>(
        &'m mut self,
        file: FileFacts<'m>,
        offset: u64,
        state: RowState,
    ) -> Reading<'m> {
        let birth_ns = match self.rules.age {
            AgeRule::NearBirth => file.birth_ns,
            AgeRule::AnyAge => None,
        };
        let bounds = Bounds::new(file.reading_ns, file.changed_ns, birth_ns);
        self.reader
            .set_reference(bounds.written_ns().saturating_sub(YEARLESS_LAG_NS));
        Reading {
            splitter: Splitter::new(self.rules.max_line_bytes, offset),
            rows: Rows {
                maker: self,
                file,
                bounds,
                offset,
                state,
                progress: Progress::Open,
            },
        }
    }
}

impl Reading<'_> {
    /// Takes the file's next bytes and hands out a row for each line (or piece of an overlong one) that they complete.
    /// `each` returns [`ControlFlow::Break`] to refuse its row; then, and ever after, this returns `Break` too and the
    /// reading stands before that row.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.rows.progress == Progress::Refused {
            return ControlFlow::Break(());
        }
        let base = self.splitter.offset();
        let rules = Arc::clone(&self.rows.maker.rules);
        let mut with_key = rules.ids.key_ends(bytes);
        let mut with_id = rules.ids.filter().candidates(bytes);
        let mut to_mask = rules.redactor.filter().candidates(bytes);
        let rows = &mut self.rows;
        self.splitter.push(bytes, |line| {
            // Lines that began in an earlier piece, and pieces of lines, are not lines of this buffer.
            let place = (line.kind == Kind::Whole)
                .then(|| line.offset.checked_sub(base))
                .flatten()
                .map(|start| start as usize..start as usize + line.bytes.len());
            let looks = match &place {
                Some(place) => Looks {
                    names: Filtered::by(with_key.may_be_in(place.start, place.end)),
                    patterns: Filtered::by(with_id.may_match(place.start, place.end)),
                    masks: Filtered::by(to_mask.may_match(place.start, place.end)),
                },
                None => Looks::ALL,
            };
            rows.line(line, looks, &mut each);
        });
        self.rows.progress.flow()
    }

    /// Hands out what waits for its line's end, flagged as unfinished: for lines that have waited long enough, and at the end
    /// of a finished file. The reading can go on afterwards; the rest of the line then continues that row.
    pub fn release(
        &mut self,
        mut each: impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rows = &mut self.rows;
        if rows.progress == Progress::Open {
            self.splitter.finish(|line| {
                rows.line(line, Looks::ALL, &mut each);
            });
        }
        rows.progress.flow()
    }

    /// Hands out a row for `len` bytes that are not kept and goes on behind them, where a line is taken to begin. What was
    /// pushed behind [`Reading::offset`] is forgotten: the gap begins there.
    pub fn gap(
        &mut self,
        len: u64,
        mut each: impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.rows.remark(len, Flags::GAP, &mut each);
        self.splitter = Splitter::new(self.rows.maker.rules.max_line_bytes, self.rows.offset);
        self.rows.progress.flow()
    }

    /// Hands out the row of length zero that closes a finished file (or a truncated one's epoch) at [`Reading::offset`]. What
    /// was pushed behind it is forgotten.
    pub fn end(&mut self, mut each: impl FnMut(&Row<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.rows.remark(0, Flags::END, &mut each);
        self.splitter = Splitter::new(self.rows.maker.rules.max_line_bytes, self.rows.offset);
        self.rows.progress.flow()
    }

    /// The offset behind the last row that was taken.
    pub fn offset(&self) -> u64 {
        self.rows.offset
    }

    /// The offset of the byte to push next. It is [`Reading::pending`] bytes behind [`Reading::offset`] unless a row was
    /// refused.
    pub fn next(&self) -> u64 {
        self.splitter.offset()
    }

    /// How many bytes have been pushed that wait for their line's end.
    pub fn pending(&self) -> usize {
        self.splitter.pending()
    }

    /// Ends the reading: the offset behind the last row taken, and what to carry to the reading that goes on there. Both go
    /// into the state database together.
    pub fn close(self) -> (u64, RowState) {
        (self.rows.offset, self.rows.state)
    }
}

impl Filtered {
    #[inline]
    fn by(may_match: bool) -> Self {
        if may_match {
            Self::MayMatch
        } else {
            Self::CannotMatch
        }
    }
}

impl Looks {
    /// Nothing is known.
    const ALL: Self = Self {
        names: Filtered::MayMatch,
        patterns: Filtered::MayMatch,
        masks: Filtered::MayMatch,
    };
}

impl Progress {
    fn flow(self) -> ControlFlow<()> {
        match self {
            Self::Open => ControlFlow::Continue(()),
            Self::Refused => ControlFlow::Break(()),
        }
    }
}

impl Rows<'_> {
    #[inline]
    fn line(
        &mut self,
        raw: RawLine<'_>,
        looks: Looks,
        each: &mut impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) {
        if self.progress == Progress::Refused {
            return;
        }
        let mut state = self.state;
        let mut flags = Flags::default();
        let has_end = raw.file_len as usize > raw.bytes.len();
        match raw.kind {
            Kind::Unfinished => flags |= Flags::UNFINISHED,
            Kind::Piece if !has_end => flags |= Flags::PIECE,
            Kind::Piece | Kind::Whole => {}
        }
        let maker = &mut *self.maker;
        let said = match state.place {
            Place::LineStart => maker.reader.read(raw.bytes),
            // The line's time and level are those of its beginning.
            Place::InsideLine => Said::default(),
        };
        let is_continuation = match state.place {
            Place::InsideLine => true,
            Place::LineStart => state.is_continued_by(raw.bytes, &said),
        };
        if is_continuation {
            flags |= Flags::CONTINUATION;
        }
        if said.ts_ns.is_some() {
            state.head = Head::Seen;
        }
        let time = state.time.next(said.ts_ns, &self.bounds);
        if time.source == TimeSource::Substituted {
            flags |= Flags::TIME_SUBSTITUTED;
        }
        let masked = match looks.masks {
            Filtered::CannotMatch => None,
            Filtered::MayMatch => maker.rules.redactor.redact(raw.bytes, &mut maker.redaction),
        };
        let is_masked = masked.is_some();
        let line = masked.unwrap_or(raw.bytes);
        if is_masked {
            flags |= Flags::REDACTED;
        }
        if std::str::from_utf8(line).is_err() {
            flags |= Flags::NOT_UTF8;
        }
        let ids = match looks.names {
            // What a mask says may be taken for a name.
            Filtered::CannotMatch if !is_masked => Ids::default(),
            _ => maker.reader.ids.find_by_name(line),
        };
        let ids = match looks.patterns {
            Filtered::CannotMatch => ids,
            Filtered::MayMatch => maker.reader.ids.find_by_pattern(line, ids),
        };
        let tpl = match state.place {
            // What was found in the line as it was is somewhere else in it now.
            Place::LineStart if is_masked => maker.reader.masked_template(line),
            Place::LineStart => maker.reader.template(line, &said),
            Place::InsideLine => None,
        };
        let row = Row {
            origin: self.file.origin,
            ts_ns: time.ts_ns,
            ingest_ns: self.bounds.reading_ns(),
            epoch: self.file.epoch,
            off: raw.offset,
            len: u64::from(raw.file_len),
            level: said.level,
            request_id: ids.request,
            trace_id: ids.trace,
            tpl,
            line: Some(line),
            flags,
        };
        if each(&row).is_break() {
            self.progress = Progress::Refused;
            return;
        }
        maker.substituted += u64::from(time.source == TimeSource::Substituted);
        if is_masked {
            for (sum, count) in maker.redacted.iter_mut().zip(maker.redaction.counts()) {
                *sum += count;
            }
        }
        state.place = if has_end {
            Place::LineStart
        } else {
            Place::InsideLine
        };
        self.state = state;
        self.offset = raw.end();
    }

    /// A row that has no line.
    fn remark(
        &mut self,
        len: u64,
        flags: Flags,
        each: &mut impl FnMut(&Row<'_>) -> ControlFlow<()>,
    ) {
        if self.progress == Progress::Refused {
            return;
        }
        let row = Row {
            origin: self.file.origin,
            ts_ns: self.state.time.inherited_ns(&self.bounds),
            ingest_ns: self.bounds.reading_ns(),
            epoch: self.file.epoch,
            off: self.offset,
            len,
            level: None,
            request_id: None,
            trace_id: None,
            tpl: None,
            line: None,
            flags,
        };
        if each(&row).is_break() {
            self.progress = Progress::Refused;
            return;
        }
        self.offset = self.offset.saturating_add(len);
        if len > 0 {
            self.state.place = Place::LineStart;
        }
    }
}

impl RowState {
    /// Whether a line belongs to the one above it.
    #[inline]
    fn is_continued_by(&self, line: &[u8], said: &Said<'_>) -> bool {
        // Nothing stands above the first line.
        if said.ts_ns.is_some() || said.form == Form::Json || self.time.before_ns.is_none() {
            return false;
        }
        match self.head {
            Head::Seen => true,
            Head::None => is_continuing(line),
        }
    }
}

/// Whether a line continues another one by its form: indented, or the next cause or the rest of a stack trace.
fn is_continuing(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
        || line.starts_with(b"Caused by: ")
        || line.starts_with(b"at ")
        || line.starts_with(b"... ")
}

/// Reads what lines say.
#[derive(Debug)]
struct LineReader {
    records: RecordParser,
    times: TimestampParser,
    templates: Templates,
    ids: IdFinder,
}

/// What a line says.
#[derive(Debug, Clone, Default)]
struct Said<'l> {
    ts_ns: Option<i64>,
    level: Option<Level>,
    form: Form,
    /// Where the time stands in a line of text.
    time_place: Option<Range<usize>>,
    /// The message of a JSON line.
    message: Option<Cow<'l, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    Text,
    Json,
}

impl LineReader {
    fn new(rules: &LineRules) -> Self {
        Self {
            records: RecordParser::new(rules.zone.clone(), 0),
            times: TimestampParser::new(rules.zone.clone(), 0),
            templates: Templates::default(),
            ids: rules.ids.clone(),
        }
    }

    /// About when the lines were written.
    fn set_reference(&mut self, reference_ns: i64) {
        self.records.set_reference(reference_ns);
        self.times.set_reference(reference_ns);
    }

    #[inline]
    fn read<'l>(&mut self, line: &'l [u8]) -> Said<'l> {
        if may_be_json(line) {
            let record = self.records.parse(line);
            if let Some(json) = record.json {
                return Said {
                    ts_ns: record.ts_ns,
                    level: record.level,
                    form: Form::Json,
                    time_place: None,
                    message: json.message,
                };
            }
        }
        let found = self.times.find_at(line);
        Said {
            ts_ns: found.map(|found| found.ts_ns),
            level: level::find(line),
            form: Form::Text,
            time_place: found.map(|found| found.start..found.end),
            message: None,
        }
    }

    #[inline]
    fn template(&mut self, line: &[u8], said: &Said<'_>) -> Option<u64> {
        match &said.message {
            Some(message) => self.templates.id(message.as_bytes(), None),
            None => self.templates.id(line, said.time_place.clone()),
        }
    }

    fn masked_template(&mut self, line: &[u8]) -> Option<u64> {
        let said = self.read(line);
        self.template(line, &said)
    }
}

/// Whether it is worth trying to read the line as JSON.
#[inline]
fn may_be_json(line: &[u8]) -> bool {
    match line {
        [b'{', ..] => true,
        [b' ' | b'\t' | 0xef, ..] => line
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(line)
            .trim_ascii_start()
            .starts_with(b"{"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
