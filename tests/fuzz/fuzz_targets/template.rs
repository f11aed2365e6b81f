//! Any text as a template, filled from any line for a terminal: an error names a place in it, and no control character of the
//! line comes out.
#![no_main]

use joblog::RecordParser;
use libfuzzer_sys::fuzz_target;
use tailll::batch::{Age, Line, LineKind, Records};
use tailll::color::{Colors, StreamKind};
use tailll::highlight::Highlight;
use tailll::merge::Run;
use tailll::render::{Format, Looks, RenderOptions, Renderer};
use tailll::source::SourceId;
use tailll::template::Template;

fuzz_target!(|data: (&str, &[u8])| {
    let (text, bytes) = data;
    let template = match text.parse::<Template>() {
        Ok(template) => Some(template),
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.position));
            None
        }
    };
    let has_template = template.is_some();
    let record = RecordParser::new(jiff::tz::TimeZone::UTC, 0).parse(bytes);
    let line = Line {
        start: 0,
        len: bytes.len() as u32,
        offset: 0,
        file_len: bytes.len() as u32 + 1,
        order_ns: 0,
        ts_ns: record.ts_ns,
        level: record.level,
        kind: LineKind::Whole,
        age: Age::Live,
    };
    let mut renderer = Renderer::new(RenderOptions {
        format: Format::Default,
        colors: Colors::Off,
        stream: StreamKind::Terminal,
        highlight: Highlight::default(),
        looks: Looks { template, ..Looks::default() },
        records: Records::OnArrival,
    });
    let mut to = Vec::new();
    renderer.lines(&Run { source: SourceId(0), bytes, lines: &[line] }, &mut to);
    let shown = String::from_utf8(to).expect("a terminal gets UTF-8");
    if !has_template || !text.chars().any(char::is_control) {
        assert!(shown.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
    }
});
