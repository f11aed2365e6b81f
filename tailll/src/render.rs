//! How lines look: as text with a prefix, as they are, or as JSON.
//!
//! Owns the bytes that go to standard output. Whose prefix says what is `prefix.rs`'s, whose colour is which
//! `palette.rs`'s, and writing is `output.rs`'s.
//!
//! In the default format the sign between prefix and line says by more than colour what kind of line it is:
//!
//! | sign | meaning |
//! |---|---|
//! | `\|` | a line of standard output or of a plain file |
//! | `:` | a line of standard error |
//! | `!` | a line whose level is error or fatal, wherever it was written |
//! | `~` | not a line: tailll itself says something about this source |
//!
//! A line that ends in ` …` is a piece of an overlong one and goes on in the source's next line; one that ends in
//! ` (no newline)` is the unfinished last one of its file. A JSON line is shown by `fields.rs`, or a line as a template wants
//! it by `template.rs`; what of a text is coloured is joined by `styled.rs`, and `fold.rs` counts lines instead of showing them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use joblog::{Level, RecordParser, Stream, level, timestamp};

use crate::batch::{Line, LineKind, Mark, Records};
use crate::color::{Colors, StreamKind};
use crate::escape;
use crate::fields::{self, Fields, JsonLines, Known, OwnTime};
use crate::fold::{Count, Fold, Folder, Verdict};
use crate::highlight::Highlight;
use crate::json::{Times, push_number, push_string};
use crate::merge::{Late, Run};
use crate::palette::{Palette, PaletteSettings};
use crate::prefix::Prefixes;
use crate::source::{FileLabel, Source, SourceId};
use crate::stamp::{StampForm, Stamps};
use crate::styled::{
    Codes, Growing as _, Painted, Painter, Span, Style, Styled, append_text, overlay,
};
use crate::template::{Filling, Template, push_stamp};

/// `--output`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A prefix and the line.
    #[default]
    Default,
    /// The line alone.
    Raw,
    /// One JSON object a line.
    Json,
}

const BOLD: &[u8] = b"\x1b[1m";
const DIM: &[u8] = b"\x1b[2m";
const RESET: &[u8] = b"\x1b[0m";

const PIECE: &str = " \u{2026}";
const UNFINISHED: &str = " (no newline)";

/// How lines are to look.
#[derive(Debug, Clone)]
pub struct RenderOptions {
    /// The format.
    pub format: Format,
    /// Whether it is coloured.
    pub colors: Colors,
    /// Whether a terminal gets it, which then must not get control characters.
    pub stream: StreamKind,
    /// What is highlighted, if it is coloured.
    pub highlight: Highlight,
    /// The rest.
    pub looks: Looks,
    /// Whether lines come with their times and levels.
    pub records: Records,
}

/// How lines are to look in the default format.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// What becomes of JSON lines.
    pub json: JsonLines,
    /// The form of the time before each line, if there is to be one.
    pub stamps: Option<StampForm>,
    /// The zone in which times are shown; `None` for UTC.
    pub zone: Option<TimeZone>,
    /// What a line looks like instead, if it is to be something else.
    pub template: Option<Template>,
    /// Whether repeated lines are counted.
    pub fold: Fold,
    /// The colours.
    pub palette: PaletteSettings,
}

impl Looks {
    /// Whether JSON lines are read when they are shown, and nothing else asks for their times and levels.
    pub fn read_json(&self, format: Format) -> bool {
        format == Format::Default
            && self.json == JsonLines::Fields
            && self.stamps.is_none()
            && self.template.is_none()
            && self.fold == Fold::Off
    }
}

/// Makes bytes of lines.
#[derive(Debug)]
pub struct Renderer {
    options: RenderOptions,
    palette: Option<Palette>,
    codes: Option<Codes>,
    prefixes: Prefixes,
    /// The generation of the prefixes that `ready` was made of.
    generation: u64,
    ready: HashMap<SourceId, Ready>,
    times: Times,
    scratch: Scratch,
    folder: Folder,
}

/// Buffers that every line uses again.
#[derive(Debug)]
struct Scratch {
    places: Vec<Range<usize>>,
    spans: Vec<Span>,
    styled: Styled,
    /// The time before the line.
    stamp: Styled,
    fields: Fields<Styled>,
    painted: Painted,
    painted_fields: Fields<Painted>,
    stamps: Stamps,
    /// Reads what was not read on arrival.
    parser: RecordParser,
}

/// What is the same for all lines of a source.
#[derive(Debug)]
struct Ready {
    /// The prefix as a text.
    text: String,
    /// What switches the colour of the instance on.
    start: Vec<u8>,
    /// Prefix and separator of a usual line.
    usual: Vec<u8>,
    /// The same for an error.
    error: Vec<u8>,
    /// The same for a mark.
    mark: Vec<u8>,
    /// The fields of the source, beginning and ending with a comma.
    json: Vec<u8>,
}

impl Renderer {
    /// No source is open.
    pub fn new(options: RenderOptions) -> Self {
        let palette = match options.colors {
            Colors::Off => None,
            Colors::On(depth) => Some(Palette::with(depth, options.looks.palette.clone())),
        };
        let zone = options.looks.zone.clone().unwrap_or(TimeZone::UTC);
        let codes = palette.as_ref().map(Palette::codes);
        Self {
            options,
            palette,
            prefixes: Prefixes::new(),
            generation: 0,
            ready: HashMap::new(),
            times: Times::default(),
            scratch: Scratch {
                places: Vec::new(),
                spans: Vec::new(),
                styled: Styled::default(),
                stamp: Styled::default(),
                fields: Fields::new(Styled::default),
                painted: Painted::new(codes.clone()),
                painted_fields: Fields::new(|| Painted::new(codes.clone())),
                parser: RecordParser::new(zone.clone(), 0),
                stamps: Stamps::new(zone),
            },
            folder: Folder::default(),
            codes,
        }
    }

    /// Takes a source in, before its first line.
    pub fn open(&mut self, id: SourceId, source: Arc<Source>) {
        self.ready.remove(&id);
        self.prefixes.open(id, source);
    }

    /// Lets a source go, after its last line and [`Renderer::counted`].
    pub fn close(&mut self, id: SourceId) {
        self.folder.close(id);
        self.ready.remove(&id);
        self.prefixes.close(id);
    }

    /// Appends lines.
    pub fn lines(&mut self, run: &Run<'_>, to: &mut Vec<u8>) {
        self.prepare(run.source);
        let Some(ready) = self.ready.get(&run.source) else {
            return;
        };
        match self.options.format {
            Format::Default => {
                to.reserve(
                    run.lines
                        .iter()
                        .map(|line| line.len as usize + ready.usual.len() + 1)
                        .sum(),
                );
                let mut look = Look {
                    options: &self.options,
                    codes: self.codes.as_ref(),
                    source: self.prefixes.source(run.source).map(|source| &**source),
                    ready,
                    scratch: &mut self.scratch,
                };
                for line in run.lines {
                    let bytes = bytes_of(run, line);
                    if self.options.looks.fold == Fold::On {
                        match self.folder.judge(run.source, bytes, line.ts_ns) {
                            Verdict::Show(count) => look.count(count, to),
                            Verdict::Counted(count) => {
                                look.count(count, to);
                                continue;
                            }
                        }
                    }
                    look.line(line, bytes, to);
                }
            }
            Format::Raw => {
                for line in run.lines {
                    append_text(self.options.stream, bytes_of(run, line), to);
                    to.push(b'\n');
                }
            }
            Format::Json => {
                for line in run.lines {
                    append_json(line, bytes_of(run, line), ready, &mut self.times, to);
                }
            }
        }
    }

    /// Appends a mark, or gives what is to be said on standard error where the format has no place for it.
    pub fn mark(&mut self, id: SourceId, mark: &Mark, to: &mut Vec<u8>) -> Option<String> {
        self.counted(id, to);
        self.prepare(id);
        let ready = self.ready.get(&id)?;
        let text = mark_text(mark);
        match self.options.format {
            Format::Default if self.options.looks.template.is_none() => {
                append_mark(&ready.mark, &text, &self.options, to);
            }
            Format::Default | Format::Raw => {
                return Some(format!("{}: {text}", self.plain_prefix(id)));
            }
            Format::Json => {
                to.extend_from_slice(b"{\"mark\":");
                match mark {
                    Mark::Lost {
                        offset,
                        at_least,
                        why,
                    } => {
                        to.extend_from_slice(b"\"lost\"");
                        to.extend_from_slice(&ready.json);
                        to.extend_from_slice(b"\"off\":");
                        push_number(*offset, to);
                        to.extend_from_slice(b",\"at_least\":");
                        match at_least {
                            Some(bytes) => push_number(*bytes, to),
                            None => to.extend_from_slice(b"null"),
                        }
                        to.extend_from_slice(b",\"why\":");
                        push_string(why, to);
                        to.push(b',');
                    }
                    Mark::Note(_) => {
                        to.extend_from_slice(b"\"note\"");
                        to.extend_from_slice(&ready.json);
                    }
                }
                to.extend_from_slice(b"\"text\":");
                push_string(&text, to);
                to.extend_from_slice(b"}\n");
            }
        }
        None
    }

    /// Appends that lines were late, or gives what is to be said on standard error.
    pub fn late(&mut self, late: &Late<'_>, to: &mut Vec<u8>) -> Option<String> {
        let lines = if late.lines == 1 {
            "1 line".to_string()
        } else {
            format!("{} lines", late.lines)
        };
        let text = format!("{lines} late by up to {}", duration(late.by_ns));
        match self.options.format {
            Format::Default if self.options.looks.template.is_none() => {
                let prefix = prefix_bytes(
                    &self.prefixes.host_text(late.host),
                    None,
                    b'~',
                    BOLD,
                    self.options.colors,
                );
                append_mark(&prefix, &text, &self.options, to);
            }
            Format::Default | Format::Raw => {
                return Some(format!("{}: {text}", escape::text(late.host)));
            }
            Format::Json => {
                to.extend_from_slice(b"{\"mark\":\"late\",\"host\":");
                push_string(late.host, to);
                to.extend_from_slice(b",\"lines\":");
                push_number(late.lines, to);
                to.extend_from_slice(b",\"by_ns\":");
                push_number(late.by_ns, to);
                to.extend_from_slice(b",\"text\":");
                push_string(&text, to);
                to.extend_from_slice(b"}\n");
            }
        }
        None
    }

    /// Says how many lines of a source were counted and not shown, if there are any.
    pub fn counted(&mut self, id: SourceId, to: &mut Vec<u8>) {
        let count = self.folder.take(id);
        self.say_count(count, to);
    }

    /// Says the counts that are due by now.
    pub fn say_due(&mut self, now: Instant, to: &mut Vec<u8>) {
        while let Some(count) = self.folder.due(now) {
            self.say_count(Some(count), to);
        }
    }

    /// When [`Renderer::say_due`] has something to say, after it was called and if no line comes until then.
    pub fn deadline(&self) -> Option<Instant> {
        self.folder.deadline()
    }

    /// Says everything that is left to be said.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        while let Some(count) = self.folder.any() {
            self.say_count(Some(count), to);
        }
    }

    fn say_count(&mut self, count: Option<Count>, to: &mut Vec<u8>) {
        let Some(Count { source, .. }) = count else {
            return;
        };
        self.prepare(source);
        let Some(ready) = self.ready.get(&source) else {
            return;
        };
        let mut look = Look {
            options: &self.options,
            codes: self.codes.as_ref(),
            source: None,
            ready,
            scratch: &mut self.scratch,
        };
        look.count(count, to);
    }

    /// Sees to it that what is the same for all lines of a source is ready.
    fn prepare(&mut self, id: SourceId) {
        if self.generation != self.prefixes.generation() {
            self.generation = self.prefixes.generation();
            self.ready.clear();
        }
        if self.ready.contains_key(&id) {
            return;
        }
        let text = self.plain_prefix(id);
        let source = self.prefixes.source(id);
        let start = match (&mut self.palette, source) {
            (Some(palette), Some(source)) => Some(palette.start(&source.instance)),
            _ => None,
        };
        let usual = match source.map(|source| &source.file) {
            Some(
                FileLabel::Process {
                    stream: Stream::Stderr,
                    ..
                }
                | FileLabel::Executor {
                    stream: Stream::Stderr,
                },
            ) => b':',
            _ => b'|',
        };
        let colors = self.options.colors;
        let error_style = self
            .codes
            .as_ref()
            .map_or(&[][..], |codes| &codes.levels[Level::Error as usize]);
        let ready = Ready {
            usual: prefix_bytes(&text, start.as_deref(), usual, b"", colors),
            error: prefix_bytes(&text, start.as_deref(), b'!', error_style, colors),
            mark: prefix_bytes(&text, start.as_deref(), b'~', BOLD, colors),
            json: source.map_or_else(|| b",".to_vec(), |source| json_of(source)),
            start: start.unwrap_or_default().into_bytes(),
            text,
        };
        self.ready.insert(id, ready);
    }

    /// The prefix of a source, also of one that nobody announced: no line goes without one.
    fn plain_prefix(&self, id: SourceId) -> String {
        self.prefixes
            .text(id)
            .map_or_else(|| self.prefixes.host_text(""), ToString::to_string)
    }
}

/// How a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As it was written.
    AsItIs,
    /// As fields, which are yet to be coloured.
    Styled,
    /// As fields in their colours.
    Painted,
}

/// What the lines of one source need in the default format.
struct Look<'a> {
    options: &'a RenderOptions,
    codes: Option<&'a Codes>,
    source: Option<&'a Source>,
    ready: &'a Ready,
    scratch: &'a mut Scratch,
}

impl Look<'_> {
    fn line(&mut self, line: &Line, bytes: &[u8], to: &mut Vec<u8>) {
        let mut line = *line;
        let looks = &self.options.looks;
        let ready = self.ready;
        let painter = Painter {
            stream: self.options.stream,
            codes: self.codes,
            instance: &ready.start,
        };
        if let Some(template) = &looks.template {
            let styled = &mut self.scratch.styled;
            styled.clear();
            let filling = Filling {
                line: &line,
                bytes,
                source: self.source,
                prefix: &ready.text,
            };
            template.fill(&filling, &mut self.scratch.stamps, styled);
            self.highlight_styled();
            painter.paint_lines(&self.scratch.styled, b"", to);
            self.end(&line, to);
            return;
        }
        let mut look = Shape::AsItIs;
        if looks.json == JsonLines::Fields && fields::is_candidate(bytes) {
            let scratch = &mut *self.scratch;
            let known = match self.options.records {
                Records::OnArrival => Known::Read {
                    ts_ns: line.ts_ns,
                    level: line.level,
                },
                Records::WhenShown => Known::Nothing(&mut scratch.parser),
            };
            let own_time = match looks.stamps {
                Some(_) if line.ts_ns.is_some() => OwnTime::LeftOut,
                _ => OwnTime::Shown(&mut scratch.stamps),
            };
            // Nothing has to be found in the text or kept from a terminal: it can be written as it will be.
            let is_painted =
                self.options.stream == StreamKind::Pipe && self.options.highlight.is_empty();
            let shown = if is_painted {
                look = Shape::Painted;
                scratch.painted.clear();
                let to = &mut scratch.painted;
                scratch.painted_fields.append(bytes, known, own_time, to)
            } else {
                look = Shape::Styled;
                scratch.styled.clear();
                let to = &mut scratch.styled;
                scratch.fields.append(bytes, known, own_time, to)
            };
            if let Some(shown) = shown {
                line.level = shown.level;
            } else {
                look = Shape::AsItIs;
                if self.options.records == Records::WhenShown {
                    (line.ts_ns, line.level) = scratch.parser.time_and_level(bytes);
                }
            }
        }
        let prefix = if line.level >= Some(Level::Error) {
            &ready.error
        } else {
            &ready.usual
        };
        to.extend_from_slice(prefix);
        if let Some(form) = looks.stamps {
            let stamp = &mut self.scratch.stamp;
            stamp.clear();
            push_stamp(&line, form, &mut self.scratch.stamps, stamp);
            painter.paint(&stamp.text, &stamp.spans, to);
            to.push(b' ');
        }
        match look {
            Shape::Painted => self.scratch.painted.append_to(prefix, to),
            Shape::Styled => {
                self.highlight_styled();
                painter.paint_lines(&self.scratch.styled, prefix, to);
            }
            Shape::AsItIs if self.codes.is_some() => {
                self.plain_spans(&line, bytes);
                painter.paint(bytes, &self.scratch.spans, to);
            }
            Shape::AsItIs => append_text(self.options.stream, bytes, to),
        }
        self.end(&line, to);
    }

    /// What ends a line, also one that is not all of a line.
    fn end(&self, line: &Line, to: &mut Vec<u8>) {
        match line.kind {
            LineKind::Whole => {}
            LineKind::Piece => append_styled(PIECE.as_bytes(), DIM, self.options.colors, to),
            LineKind::Unfinished => {
                append_styled(UNFINISHED.as_bytes(), DIM, self.options.colors, to);
            }
        }
        to.push(b'\n');
    }

    /// What of a line of text is coloured: its time, its level, what is to stand out.
    fn plain_spans(&mut self, line: &Line, bytes: &[u8]) {
        let spans = &mut self.scratch.spans;
        spans.clear();
        // Ours would end the colours that a program writes itself, and which a pipe gets as they are.
        let is_coloured =
            self.options.stream == StreamKind::Pipe && memchr::memchr(b'\x1b', bytes).is_some();
        if !is_coloured {
            let time = line.ts_ns.and_then(|_| timestamp::place(bytes));
            let level = line
                .level
                .and_then(|level| Some((level::place(bytes)?, level)));
            let mut dim = time.unwrap_or(0..0);
            if let Some((place, level)) = level {
                if dim.contains(&place.start) {
                    // The letter of glog stands at the head of its time.
                    dim.start = place.end;
                }
                spans.push(Span {
                    start: place.start,
                    end: place.end,
                    style: Style::Level(level),
                });
            }
            if dim.start < dim.end {
                spans.push(Span {
                    start: dim.start,
                    end: dim.end,
                    style: Style::Dim,
                });
                if spans[0].start > dim.start {
                    spans.reverse();
                }
            }
        }
        if !self.options.highlight.is_empty() {
            self.options.highlight.find(bytes, &mut self.scratch.places);
            overlay(&mut self.scratch.spans, &self.scratch.places);
        }
    }

    fn highlight_styled(&mut self) {
        if self.codes.is_some() && !self.options.highlight.is_empty() {
            let styled = &mut self.scratch.styled;
            self.options
                .highlight
                .find(&styled.text, &mut self.scratch.places);
            overlay(&mut styled.spans, &self.scratch.places);
        }
    }

    /// Says how many lines were counted.
    fn count(&mut self, count: Option<Count>, to: &mut Vec<u8>) {
        let Some(count) = count else { return };
        let mut text = format!("\u{d7} {} more like it", count.lines);
        if let Some(ns) = count.last_ns {
            let mut time = Vec::new();
            self.scratch.stamps.push(ns, StampForm::Time, &mut time);
            text.push_str(", until ");
            text.push_str(&String::from_utf8_lossy(&time));
        }
        append_mark(&self.ready.mark, &text, self.options, to);
    }
}

/// A line's bytes; none where a batch is not what it says.
fn bytes_of<'a>(run: &Run<'a>, line: &Line) -> &'a [u8] {
    let start = line.start as usize;
    run.bytes
        .get(start..start + line.len as usize)
        .unwrap_or_default()
}

fn append_styled(bytes: &[u8], style: &[u8], colors: Colors, to: &mut Vec<u8>) {
    match colors {
        Colors::Off => to.extend_from_slice(bytes),
        Colors::On(_) => {
            to.extend_from_slice(style);
            to.extend_from_slice(bytes);
            to.extend_from_slice(RESET);
        }
    }
}

fn append_mark(prefix: &[u8], text: &str, options: &RenderOptions, to: &mut Vec<u8>) {
    to.extend_from_slice(prefix);
    // A reason may hold anything, and a mark has to stay one line in a pipe too.
    append_styled(escape::text(text).as_bytes(), BOLD, options.colors, to);
    to.push(b'\n');
}

/// A prefix with its separator. `start` switches the colour of its instance on.
fn prefix_bytes(
    text: &str,
    start: Option<&str>,
    separator: u8,
    style: &[u8],
    colors: Colors,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 24);
    append_styled(
        text.as_bytes(),
        start.unwrap_or_default().as_bytes(),
        if start.is_some() { colors } else { Colors::Off },
        &mut bytes,
    );
    bytes.push(b' ');
    append_styled(
        &[separator],
        style,
        if style.is_empty() {
            Colors::Off
        } else {
            colors
        },
        &mut bytes,
    );
    bytes.push(b' ');
    bytes
}

/// The fields of a source, beginning and ending with a comma.
fn json_of(source: &Source) -> Vec<u8> {
    let mut to = Vec::new();
    let label = &source.instance;
    let (process, run, stream) = match &source.file {
        FileLabel::Process {
            process,
            run,
            stream,
        } => (Some(process.as_str()), Some(*run), Some(stream.name())),
        FileLabel::Executor { stream } => (None, None, Some(stream.name())),
        FileLabel::Plain { .. } => (None, None, None),
    };
    let mut field = |name: &str, value: Option<&str>, number: Option<u32>| {
        to.push(b',');
        push_string(name, &mut to);
        to.push(b':');
        match (value, number) {
            (Some(value), _) => push_string(value, &mut to),
            (None, Some(number)) => push_number(u64::from(number), &mut to),
            (None, None) => to.extend_from_slice(b"null"),
        }
    };
    field("job", Some(&label.job), None);
    field("instance", None, label.instance);
    field("host", Some(&label.host), None);
    field("task_id", label.task_id.as_deref(), None);
    field("process", process, None);
    field("run", None, run);
    field("stream", stream, None);
    field("file", Some(&String::from_utf8_lossy(&source.path)), None);
    to.push(b',');
    to
}

fn append_json(line: &Line, bytes: &[u8], ready: &Ready, times: &mut Times, to: &mut Vec<u8>) {
    to.reserve(bytes.len() + ready.json.len() + 128);
    to.extend_from_slice(b"{\"ts\":");
    match line.ts_ns {
        Some(ns) => times.push(ns, to),
        None => to.extend_from_slice(b"null"),
    }
    to.extend_from_slice(match line.level {
        None => b",\"level\":null",
        Some(Level::Trace) => b",\"level\":\"trace\"",
        Some(Level::Debug) => b",\"level\":\"debug\"",
        Some(Level::Info) => b",\"level\":\"info\"",
        Some(Level::Warn) => b",\"level\":\"warn\"",
        Some(Level::Error) => b",\"level\":\"error\"",
        Some(Level::Fatal) => b",\"level\":\"fatal\"",
    });
    to.extend_from_slice(&ready.json);
    to.extend_from_slice(b"\"off\":");
    push_number(line.offset, to);
    to.extend_from_slice(b",\"len\":");
    push_number(u64::from(line.file_len), to);
    to.extend_from_slice(match line.kind {
        LineKind::Whole => b"",
        LineKind::Piece => b",\"kind\":\"piece\"".as_slice(),
        LineKind::Unfinished => b",\"kind\":\"unfinished\"",
    });
    to.extend_from_slice(b",\"line\":");
    if let Ok(text) = std::str::from_utf8(bytes) {
        push_string(text, to);
    } else {
        push_string(&String::from_utf8_lossy(bytes), to);
        to.extend_from_slice(b",\"raw\":\"");
        to.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
        to.push(b'"');
    }
    to.extend_from_slice(b"}\n");
}

fn mark_text(mark: &Mark) -> String {
    match mark {
        Mark::Lost {
            at_least: Some(1),
            why,
            ..
        } => format!("at least 1 byte lost: {why}"),
        Mark::Lost {
            at_least: Some(bytes),
            why,
            ..
        } => format!("at least {bytes} bytes lost: {why}"),
        Mark::Lost {
            at_least: None,
            why,
            ..
        } => format!("an unknown number of bytes lost: {why}"),
        Mark::Note(text) => text.clone(),
    }
}

fn duration(ns: u64) -> String {
    let ms = ns / 1_000_000;
    let mut text = String::new();
    let _ = match ms {
        0 => write!(text, "less than 1 ms"),
        1..1_000 => write!(text, "{ms} ms"),
        _ => write!(text, "{}.{} s", ms / 1_000, ms % 1_000 / 100),
    };
    text
}

#[cfg(test)]
mod tests;
