use super::*;
use crate::batch::Age;
use crate::color::Depth;
use crate::source::InstanceLabel;
use proptest::prelude::*;

fn source(instance: u32, stream: Stream) -> Arc<Source> {
    let label = InstanceLabel {
        job: "aa/www/prod/hello".into(),
        key: "aa/www/prod/hello".parse().ok(),
        instance: Some(instance),
        host: "n1.example.com".into(),
        task_id: Some("www-prod-hello-0-x".into()),
    };
    let file = FileLabel::Process {
        process: "ma\"in".into(),
        run: 2,
        stream,
    };
    Arc::new(Source {
        instance: Arc::new(label),
        file,
        path: b"/sandbox/\xff".to_vec(),
    })
}

fn line(len: usize) -> Line {
    Line {
        start: 0,
        len: len as u32,
        offset: 4096,
        file_len: len as u32 + 1,
        order_ns: 0,
        ts_ns: None,
        level: None,
        kind: LineKind::Whole,
        age: Age::Live,
    }
}

fn options(
    format: Format,
    colors: Colors,
    stream: StreamKind,
    highlight: &[&str],
) -> RenderOptions {
    let patterns: Vec<String> = highlight.iter().map(ToString::to_string).collect();
    RenderOptions {
        format,
        colors,
        stream,
        highlight: Highlight::new(&patterns).unwrap(),
    }
}

/// Everything that there is to see in one format.
fn look(options: RenderOptions) -> String {
    let mut renderer = Renderer::new(options);
    renderer.open(SourceId(0), source(0, Stream::Stdout));
    renderer.open(SourceId(1), source(10, Stream::Stderr));
    let mut to = Vec::new();
    let mut talk = Vec::new();
    let mut show = |renderer: &mut Renderer, id: u32, text: &[u8], change: fn(&mut Line)| {
        let mut line = line(text.len());
        change(&mut line);
        renderer.lines(
            &Run {
                source: SourceId(id),
                bytes: text,
                lines: &[line],
            },
            &mut to,
        );
    };
    show(&mut renderer, 0, b"plain \"text\"", |line| {
        line.ts_ns = Some(1_700_000_000_123_456_789);
    });
    show(&mut renderer, 0, b"", |_| {});
    show(&mut renderer, 1, b"to stderr", |line| {
        line.level = Some(Level::Warn);
    });
    show(&mut renderer, 1, b"an error", |line| {
        line.level = Some(Level::Error);
    });
    show(&mut renderer, 0, b"\x1b[31mred\xff", |line| {
        line.level = Some(Level::Fatal);
    });
    show(&mut renderer, 0, b"long", |line| {
        line.kind = LineKind::Piece;
    });
    show(&mut renderer, 0, b"end", |line| {
        line.kind = LineKind::Unfinished;
    });
    show(&mut renderer, 7, b"nobody's", |_| {});
    show(&mut renderer, 0, b"short", |line| line.len = 99);
    let lost = Mark::Lost {
        offset: 7,
        at_least: Some(2048),
        why: "the file was truncated".into(),
    };
    talk.extend(renderer.mark(SourceId(0), &lost, &mut to));
    let lost = Mark::Lost {
        offset: 7,
        at_least: None,
        why: "it went\n".into(),
    };
    talk.extend(renderer.mark(SourceId(1), &lost, &mut to));
    talk.extend(renderer.mark(SourceId(0), &Mark::Note("a new run".into()), &mut to));
    talk.extend(renderer.late(
        &Late {
            host: "n1.example.com",
            lines: 3,
            by_ns: 1_270_000_000,
        },
        &mut to,
    ));
    talk.extend(renderer.late(
        &Late {
            host: "n1.example.com",
            lines: 1,
            by_ns: 30_000_000,
        },
        &mut to,
    ));
    renderer.close(SourceId(1));
    let last = line(4);
    renderer.lines(
        &Run {
            source: SourceId(0),
            bytes: b"last",
            lines: &[last],
        },
        &mut to,
    );
    let mut shown = String::from_utf8_lossy(&to).replace('\x1b', "ESC");
    for talk in talk {
        let _ = writeln!(shown, "stderr: {talk}");
    }
    shown
}

#[test]
fn default_in_a_pipe() {
    insta::assert_snapshot!(look(options(Format::Default, Colors::Off, StreamKind::Pipe, &["text"])), @r#"
    hello/0  out | plain "text"
    hello/0  out | 
    hello/10 err : to stderr
    hello/10 err ! an error
    hello/0  out ! ESC[31mred�
    hello/0  out | long …
    hello/0  out | end (no newline)
    ?            | nobody's
    hello/0  out | 
    hello/0  out ~ at least 2048 bytes lost: the file was truncated
    hello/10 err ~ an unknown number of bytes lost: it went\x0a
    hello/0  out ~ a new run
    n1           ~ 3 lines late by up to 1.2 s
    n1           ~ 1 line late by up to 30 ms
    hello/0  | last
    "#);
}

#[test]
fn default_on_a_terminal() {
    let options = options(
        Format::Default,
        Colors::On(Depth::Palette256),
        StreamKind::Terminal,
        &["te?x", "d\\b"],
    );
    insta::assert_snapshot!(look(options), @r#"
    ESC[38;5;26mhello/0  outESC[0m | plain "ESC[1;7mtexESC[0mt"
    ESC[38;5;26mhello/0  outESC[0m | 
    ESC[38;5;105mhello/10 errESC[0m : to stderr
    ESC[38;5;105mhello/10 errESC[0m ESC[1;31m!ESC[0m an error
    ESC[38;5;26mhello/0  outESC[0m ESC[1;31m!ESC[0m \x1b[31mreESC[1;7mdESC[0m\xff
    ESC[38;5;26mhello/0  outESC[0m | longESC[2m …ESC[0m
    ESC[38;5;26mhello/0  outESC[0m | enESC[1;7mdESC[0mESC[2m (no newline)ESC[0m
    ?            | nobody's
    ESC[38;5;26mhello/0  outESC[0m | 
    ESC[38;5;26mhello/0  outESC[0m ESC[1m~ESC[0m ESC[1mat least 2048 bytes lost: the file was truncatedESC[0m
    ESC[38;5;105mhello/10 errESC[0m ESC[1m~ESC[0m ESC[1man unknown number of bytes lost: it went\x0aESC[0m
    ESC[38;5;26mhello/0  outESC[0m ESC[1m~ESC[0m ESC[1ma new runESC[0m
    n1           ESC[1m~ESC[0m ESC[1m3 lines late by up to 1.2 sESC[0m
    n1           ESC[1m~ESC[0m ESC[1m1 line late by up to 30 msESC[0m
    ESC[38;5;26mhello/0 ESC[0m | last
    "#);
}

#[test]
fn raw() {
    insta::assert_snapshot!(look(options(Format::Raw, Colors::Off, StreamKind::Pipe, &[])), @r#"
    plain "text"

    to stderr
    an error
    ESC[31mred�
    long
    end
    nobody's

    last
    stderr: hello/0  out: at least 2048 bytes lost: the file was truncated
    stderr: hello/10 err: an unknown number of bytes lost: it went

    stderr: hello/0  out: a new run
    stderr: n1.example.com: 3 lines late by up to 1.2 s
    stderr: n1.example.com: 1 line late by up to 30 ms
    "#);
    let terminal = look(options(
        Format::Raw,
        Colors::On(Depth::Sixteen),
        StreamKind::Terminal,
        &["text"],
    ));
    assert!(terminal.contains("\\x1b[31mred\\xff\n") && !terminal.contains("ESC"));
}

#[test]
fn json() {
    let shown = look(options(
        Format::Json,
        Colors::On(Depth::Sixteen),
        StreamKind::Terminal,
        &["text"],
    ));
    for line in shown.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    insta::assert_snapshot!(shown, @r#"
    {"ts":"2023-11-14T22:13:20.123456789Z","level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":13,"line":"plain \"text\""}
    {"ts":null,"level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":1,"line":""}
    {"ts":null,"level":"warn","job":"aa/www/prod/hello","instance":10,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stderr","file":"/sandbox/�","off":4096,"len":10,"line":"to stderr"}
    {"ts":null,"level":"error","job":"aa/www/prod/hello","instance":10,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stderr","file":"/sandbox/�","off":4096,"len":9,"line":"an error"}
    {"ts":null,"level":"fatal","job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":10,"line":"\u001b[31mred�","raw":"G1szMW1yZWT/"}
    {"ts":null,"level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":5,"kind":"piece","line":"long"}
    {"ts":null,"level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":4,"kind":"unfinished","line":"end"}
    {"ts":null,"level":null,"off":4096,"len":9,"line":"nobody's"}
    {"ts":null,"level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":6,"line":""}
    {"mark":"lost","job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":7,"at_least":2048,"why":"the file was truncated","text":"at least 2048 bytes lost: the file was truncated"}
    {"mark":"lost","job":"aa/www/prod/hello","instance":10,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stderr","file":"/sandbox/�","off":7,"at_least":null,"why":"it went\n","text":"an unknown number of bytes lost: it went\n"}
    {"mark":"note","job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","text":"a new run"}
    {"mark":"late","host":"n1.example.com","lines":3,"by_ns":1270000000,"text":"3 lines late by up to 1.2 s"}
    {"mark":"late","host":"n1.example.com","lines":1,"by_ns":30000000,"text":"1 line late by up to 30 ms"}
    {"ts":null,"level":null,"job":"aa/www/prod/hello","instance":0,"host":"n1.example.com","task_id":"www-prod-hello-0-x","process":"ma\"in","run":2,"stream":"stdout","file":"/sandbox/�","off":4096,"len":5,"line":"last"}
    "#);
}

proptest! {
    #[test]
    fn json_holds_the_line(text in prop::collection::vec(any::<u8>(), 0..80), offset in any::<u64>(), ns in any::<i64>()) {
        let mut renderer = Renderer::new(options(Format::Json, Colors::Off, StreamKind::Pipe, &[]));
        renderer.open(SourceId(0), source(3, Stream::Stderr));
        let mut to = Vec::new();
        let line = Line { offset, ts_ns: Some(ns), ..line(text.len()) };
        renderer.lines(&Run { source: SourceId(0), bytes: &text, lines: &[line] }, &mut to);
        prop_assert_eq!(to.iter().position(|byte| *byte == b'\n'), Some(to.len() - 1));
        let value: serde_json::Value = serde_json::from_slice(&to).unwrap();
        prop_assert_eq!(&value["line"], &String::from_utf8_lossy(&text).into_owned());
        let raw = value.get("raw").map(|raw| BASE64_STANDARD.decode(raw.as_str().unwrap()).unwrap());
        prop_assert_eq!(raw, std::str::from_utf8(&text).is_err().then(|| text.clone()));
        prop_assert_eq!(&value["off"], offset);
        prop_assert_eq!(&value["len"], text.len() + 1);
        prop_assert_eq!(&value["instance"], 3);
        prop_assert_eq!(&value["process"], "ma\"in");
        let time: jiff::Timestamp = value["ts"].as_str().unwrap().parse().unwrap();
        prop_assert_eq!(time.as_nanosecond(), i128::from(ns));
    }

    #[test]
    fn a_terminal_gets_no_control_characters(text in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'a')], 0..80), format in prop_oneof![Just(Format::Default), Just(Format::Raw), Just(Format::Json)]) {
        let mut renderer = Renderer::new(options(format, Colors::Off, StreamKind::Terminal, &[]));
        renderer.open(SourceId(0), source(3, Stream::Stderr));
        let mut to = Vec::new();
        renderer.lines(&Run { source: SourceId(0), bytes: &text, lines: &[line(text.len())] }, &mut to);
        let shown = String::from_utf8(to).unwrap();
        prop_assert!(shown.strip_suffix('\n').unwrap().chars().all(|char| char == '\t' || !char.is_control()));
    }

    #[test]
    fn without_escapes_highlighting_changes_nothing(text in "[ab\u{fc} ]{0,40}", pattern in "[ab\u{fc}]{1,2}\\*?") {
        let mut renderer = Renderer::new(options(Format::Default, Colors::On(Depth::Sixteen), StreamKind::Pipe, &[&pattern]));
        let mut to = Vec::new();
        renderer.lines(&Run { source: SourceId(0), bytes: text.as_bytes(), lines: &[line(text.len())] }, &mut to);
        let shown = String::from_utf8(to).unwrap().replace("\x1b[1;7m", "").replace("\x1b[0m", "");
        prop_assert_eq!(shown, format!("? | {text}\n"));
    }
}
