use super::*;
use crate::assemble::{Arrival, Assembler, LineSettings};
use crate::batch::Age;
use crate::color::Depth;
use crate::filter::Filter;
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
        looks: Looks::default(),
        records: Records::OnArrival,
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

const LOGSTASH: &str = r#"{"@timestamp":"2026-11-23T22:49:00.123Z","@version":"1","message":"slow refresh\nof the cache","logger_name":"com.example.web.cache.RefreshController","level":"ERROR","took_ms":2189,"stack_trace":"java.lang.Error: x\n\tat a.B(C.java:1)\n"}"#;

/// Lines of every kind that there is something to see about, read as the followers read them.
fn looks(colors: Colors, highlight: &[&str], looks: Looks) -> String {
    let mut options = options(Format::Default, colors, StreamKind::Terminal, highlight);
    options.looks = looks;
    let mut renderer = Renderer::new(options);
    renderer.open(SourceId(0), source(0, Stream::Stdout));
    renderer.open(SourceId(1), source(10, Stream::Stderr));
    let mut parser = joblog::RecordParser::new(TimeZone::UTC, 1_795_474_140_000_000_000);
    let mut to = Vec::new();
    let mut talk = Vec::new();
    for (id, text) in [
        (
            0,
            "2026-11-23 22:49:00,012 INFO  [main] a.B: ready in 12 ms",
        ),
        (0, "2026-11-23 22:49:01,013 INFO  [main] a.B: ready in 9 ms"),
        (
            1,
            "W1123 22:49:02.012217   18849 warmer.cc:207] slow refresh: 2189 ms",
        ),
        (
            0,
            "2026-11-23 22:49:02,013 INFO  [main] a.B: ready in 700 ms",
        ),
        (0, LOGSTASH),
        (
            1,
            r#"{"level":"info","msg":"status","http":{"status":200}}"#,
        ),
        (1, r#"{"level":"info","msg":"cut of"#),
        (
            1,
            "10.3.137.207 - - [23/Nov/2026:22:49:03 +0000] \"GET /a HTTP/1.1\" 500 27",
        ),
        (1, "\tat no.Time(x)"),
        (0, "level=debug msg=\"key and value\""),
    ] {
        let record = parser.parse(text.as_bytes());
        let line = Line {
            ts_ns: record.ts_ns,
            level: record.level,
            order_ns: record.ts_ns.unwrap_or(1_795_474_143_000_000_000),
            ..line(text.len())
        };
        renderer.lines(
            &Run {
                source: SourceId(id),
                bytes: text.as_bytes(),
                lines: &[line],
            },
            &mut to,
        );
    }
    talk.extend(renderer.mark(SourceId(0), &Mark::Note("a new run".into()), &mut to));
    renderer.finish(&mut to);
    let mut shown = String::from_utf8(to).unwrap().replace('\x1b', "ESC");
    for talk in talk {
        let _ = writeln!(shown, "stderr: {talk}");
    }
    shown
}

#[test]
fn lines_are_readable() {
    insta::assert_snapshot!(looks(Colors::Off, &["ready"], Looks::default()));
}

#[test]
fn lines_are_coloured() {
    let on = Colors::On(Depth::Palette256);
    insta::assert_snapshot!(looks(on, &["a\\.B", "slow refresh"], Looks::default()));
}

#[test]
fn json_lines_can_stay_as_they_are() {
    let raw = Looks {
        json: JsonLines::Raw,
        ..Looks::default()
    };
    assert!(looks(Colors::Off, &[], raw).contains(&format!("! {LOGSTASH}\n")));
}

#[test]
fn times_stand_before_lines() {
    for form in [StampForm::Default, StampForm::Short] {
        let stamped = Looks {
            stamps: Some(form),
            zone: crate::options::parse_zone("+01:00").ok(),
            ..Looks::default()
        };
        insta::assert_snapshot!(looks(Colors::Off, &[], stamped));
    }
}

#[test]
fn templates_are_filled() {
    let template = |text: &str| Looks {
        template: Some(text.parse().unwrap()),
        ..Looks::default()
    };
    let all = "{{{ts}|{time}|{level}|{prefix}|{job}|{cluster}|{role}|{env}|{name}|{instance}|{host}|{task_id}|{process}|{run}|{stream}|{file}|{off}|{message}|{logger}|{.http.status}|{json.took_ms}}}";
    insta::assert_snapshot!(looks(Colors::Off, &[], template(all)));
    let on = Colors::On(Depth::Sixteen);
    insta::assert_snapshot!(looks(
        on,
        &["slow"],
        template("{time} {instance} {level} {message}")
    ));
}

#[test]
fn repeated_lines_are_counted() {
    let fold = Looks {
        fold: Fold::On,
        ..Looks::default()
    };
    insta::assert_snapshot!(looks(Colors::Off, &[], fold));
}

#[test]
fn colours_of_the_configuration_are_used() {
    let mut palette = PaletteSettings::default();
    palette
        .pins
        .push(("*/hello/10".parse().unwrap(), "cyan".parse().unwrap()));
    palette.colors.push("#5f87ff".parse().unwrap());
    palette.levels[Level::Error as usize] = Some("magenta".parse().unwrap());
    let own = Looks {
        palette,
        ..Looks::default()
    };
    let shown = looks(Colors::On(Depth::Palette256), &[], own);
    assert!(shown.contains("ESC[36mhello/10 errESC[0m"), "{shown}");
    assert!(
        shown.contains("ESC[38;5;69mhello/0  outESC[0m ESC[35m!ESC[0m"),
        "{shown}"
    );
    assert!(shown.contains("ESC[35mERRORESC[0m"), "{shown}");
}

fn any_looks() -> impl Strategy<Value = Looks> {
    let template = prop_oneof![
        Just(None),
        Just(Some(
            "{ts}|{.a}|{message}|{logger}|{file}|{line}"
                .parse()
                .unwrap()
        )),
    ];
    let stamps = prop_oneof![Just(None), Just(Some(StampForm::Default))];
    (template, stamps, any::<bool>()).prop_map(|(template, stamps, fold)| Looks {
        template,
        stamps,
        fold: if fold { Fold::On } else { Fold::Off },
        ..Looks::default()
    })
}

/// JSON lines whose keys mean something, whole and broken ones, and lines that only begin like one.
fn json_line() -> impl Strategy<Value = Vec<u8>> {
    let key = prop::sample::select(vec![
        "level",
        "lvl",
        "levelno",
        "PRIORITY",
        "severity",
        "le\\u0076el",
        "@timestamp",
        "ts",
        "time",
        "log",
        "event",
        "message",
        "msg",
        "logger",
        "a",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "\"ERROR\"",
            "\"warn\"",
            "\"50\"",
            "50",
            "40",
            "3",
            "1.5",
            "null",
            "true",
            "[1]",
            "\"\\u0045RROR\"",
            "1767582245.678",
            "1767582245678",
            "\"2026-01-05T03:04:05Z\"",
            "\"x\\ny\"",
            "{\"level\":\"fatal\",\"logger\":\"l\"}",
            "{\"created\":1767582245}",
            "\"a: ERROR b\"",
        ])
        .prop_map(str::to_owned),
        "\"[a-zA-Z 0-9]{0,9}\"",
    ];
    let members = prop::collection::vec((key, value), 0..7);
    (members, prop::option::of(0_usize..60)).prop_map(|(members, cut)| {
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        let mut line = format!("{{{}}}", members.join(",")).into_bytes();
        if let Some(cut) = cut {
            line.truncate(cut);
        }
        line
    })
}

proptest! {
    #[test]
    fn a_line_looks_the_same_whenever_it_is_read(
        text in prop_oneof![json_line(), "2026-01-05 03:04:05 (ERROR|INFO) [a-z]{0,5}".prop_map(String::into_bytes)],
        colors in prop::sample::select(vec![Colors::Off, Colors::On(Depth::Sixteen)]),
    ) {
        let mut shown = Vec::new();
        for records in [Records::OnArrival, Records::WhenShown] {
            let at = Instant::now();
            let arrival = Arrival { at, wall_ns: 0 };
            let settings = LineSettings {
                filter: Arc::new(Filter::new(&[], &[]).unwrap()),
                zone: TimeZone::UTC,
                records,
            };
            let mut assembler = Assembler::new(SourceId(0), 0, &settings, arrival);
            let mut batch = assembler.push(&text, arrival, Age::History);
            if batch.lines.is_empty() {
                batch = assembler.finish(arrival, Age::History);
            }
            let mut renderer = Renderer::new(RenderOptions {
                records,
                ..options(Format::Default, colors, StreamKind::Pipe, &[])
            });
            renderer.open(SourceId(0), source(3, Stream::Stdout));
            let mut to = Vec::new();
            renderer.lines(&Run { source: SourceId(0), bytes: &batch.bytes, lines: &batch.lines }, &mut to);
            shown.push(String::from_utf8(to).unwrap());
        }
        prop_assert_eq!(&shown[0], &shown[1]);
    }

    #[test]
    fn a_terminal_gets_only_our_own_escapes(
        text in prop_oneof![
            prop::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'a')], 0..80),
            "\\{\"(message|a|stack_trace|level|time)\":\"(\\\\u00[01][0-9a-f]|\\\\n|[a-z\u{9b}\u{202e}]|\\\\\"){0,8}\"\\}".prop_map(String::into_bytes),
        ],
        looks in any_looks(),
        ns in any::<Option<i64>>(),
    ) {
        let mut options = options(Format::Default, Colors::On(Depth::Palette256), StreamKind::Terminal, &["a"]);
        options.looks = looks;
        let mut renderer = Renderer::new(options);
        renderer.open(SourceId(0), source(3, Stream::Stderr));
        let line = Line { ts_ns: ns, level: level::find(&text), ..line(text.len()) };
        let mut to = Vec::new();
        for _ in 0..2 {
            renderer.lines(&Run { source: SourceId(0), bytes: &text, lines: &[line] }, &mut to);
        }
        renderer.finish(&mut to);
        let shown = String::from_utf8(to).unwrap();
        // What is left without the colours that we write holds no control character.
        let mut rest = shown.as_str();
        let mut plain = String::new();
        while let Some((before, code)) = rest.split_once('\x1b') {
            plain.push_str(before);
            let end = code.find('m').unwrap();
            prop_assert!(code.starts_with('[') && code[1..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b';'));
            rest = &code[end + 1..];
        }
        plain.push_str(rest);
        prop_assert!(plain.chars().all(|char| matches!(char, '\t' | '\n') || !(char.is_control() || escape::is_bidi_control(char))), "{:?}", plain);
    }

    #[test]
    fn colours_change_no_text(text in "[a-z{}\":,0-9 \\[\\]ERO=\t-]{0,60}", looks in any_looks()) {
        let mut shown = Vec::new();
        for colors in [Colors::Off, Colors::On(Depth::Sixteen)] {
            let mut options = options(Format::Default, colors, StreamKind::Terminal, &["E+"]);
            options.looks = looks.clone();
            let mut renderer = Renderer::new(options);
            let mut to = Vec::new();
            let line = Line { ts_ns: Some(0), level: level::find(text.as_bytes()), ..line(text.len()) };
            renderer.lines(&Run { source: SourceId(0), bytes: text.as_bytes(), lines: &[line] }, &mut to);
            let text = String::from_utf8(to).unwrap();
            let parts: Vec<&str> = text.split('\x1b').collect();
            let plain: String = parts.iter().enumerate().map(|(at, part)| if at == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
            shown.push(plain);
        }
        prop_assert_eq!(&shown[0], &shown[1]);
    }

    #[test]
    fn raw_is_the_line(text in prop::collection::vec(any::<u8>(), 0..80), looks in any_looks()) {
        let mut options = options(Format::Raw, Colors::On(Depth::Palette256), StreamKind::Pipe, &["a"]);
        options.looks = Looks { template: None, ..looks };
        let mut renderer = Renderer::new(options);
        let mut to = Vec::new();
        for _ in 0..2 {
            renderer.lines(&Run { source: SourceId(0), bytes: &text, lines: &[line(text.len())] }, &mut to);
        }
        prop_assert_eq!(to, [&text[..], b"\n", &text, b"\n"].concat());
    }
}
