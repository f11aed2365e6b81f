use jiff::tz::TimeZone;
use joblog::RecordParser;
use proptest::prelude::*;

use super::*;
use crate::color::StreamKind;
use crate::styled::{Codes, Painted, Painter, Styled};

/// The text of a line, or what it says where it stays as it is.
fn text(line: &[u8]) -> Option<Styled> {
    let record = RecordParser::new(TimeZone::UTC, 0).parse(line);
    let mut styled = Styled::default();
    let mut stamps = Stamps::new(TimeZone::UTC);
    let known = Known::Read {
        ts_ns: record.ts_ns,
        level: record.level,
    };
    Fields::new(Styled::default)
        .append(line, known, OwnTime::Shown(&mut stamps), &mut styled)
        .map(|_| styled)
}

fn shown(line: &str) -> String {
    text(line.as_bytes()).map_or_else(
        || format!("as it is: {}", line.escape_debug()),
        |styled| String::from_utf8_lossy(&styled.text).into_owned(),
    )
}

const LOGSTASH: &str = r#"{"@timestamp":"2026-11-23T22:49:00.123+01:00","@version":"1","message":"slow refresh","logger_name":"com.example.web.cache.RefreshController","thread_name":"http-nio-1","level":"WARN","level_value":30000,"took_ms":2189,"user":"a b","http":{"status":200,"headers":{"host":"x"}},"tags":["a","b"],"mdc":null,"ok":true}"#;

#[test]
fn lines_for_people() {
    let cases = [
        LOGSTASH,
        r#"{"ts":1767582245.678,"lvl":"error","msg":"gone","err":"no such file"}"#,
        r#"{"name":"app","hostname":"h","pid":7,"level":30,"msg":"hi","time":"2026-01-05T03:04:05.678Z","v":0}"#,
        r#"{"time":"10:00","@timestamp":"2026-01-05T03:04:05Z","timestamp":7,"message":"two times"}"#,
        r#"{"level":"ERROR","message":"boom\nat line 2\r\n\tat line 3\n","stack_trace":"java.lang.Error: x\n\tat a.B(C.java:1)\n\tat d.E\n","n":1}"#,
        r#"{"message":"\u001b[31mred\u001b[0m \u202e\u00e4 \"q\" \\ \/","a":"\u0007 b","c":"\u00e4","d":"","e":"x=y","f\u001b":"1","g":"x\"y"}"#,
        r#"{"a":1,"b":{"c":{"d":{"e":{"f":{"g":1}}}}},"empty":{}}"#,
        r#"{"message":{"not":"text"},"level":["x"],"time":null,"logger":5}"#,
        r#"{"level":"a long level that is none","message":""}"#,
        r#"{"message":"one","msg":"two","message":"three"}"#,
        r#" { "message" : "blanks" , "a" : [ 1, 2 ] } "#,
        "{}",
        r#"{"a":null,"@version":"1"}"#,
        r#"{"message":"cut of"#,
        r#"{"message":"x"} tail"#,
        "[1,2]",
        "plain",
    ];
    let report: Vec<String> = cases.iter().map(|line| shown(line)).collect();
    insta::assert_snapshot!(report.join("\n"));
}

#[test]
fn the_time_is_left_out_where_it_stands_before() {
    let mut styled = Styled::default();
    let done = Fields::new(Styled::default).append(
        LOGSTASH.as_bytes(),
        Known::Read {
            ts_ns: None,
            level: Some(Level::Warn),
        },
        OwnTime::LeftOut,
        &mut styled,
    );
    assert_eq!(
        done,
        Some(Shown {
            level: Some(Level::Warn)
        })
    );
    let text = String::from_utf8(styled.text).unwrap();
    assert!(
        text.starts_with("WARN  c.e.w.c.RefreshController: slow refresh thread_name="),
        "{text}"
    );
}

#[test]
fn colours() {
    let styled = text(LOGSTASH.as_bytes()).unwrap();
    let codes = Codes {
        levels: std::array::from_fn(|level| format!("<{level}>").into_bytes()),
    };
    let mut to = Vec::new();
    let painter = Painter {
        stream: StreamKind::Terminal,
        codes: Some(&codes),
        instance: b"",
    };
    painter.paint_lines(&styled, b"", &mut to);
    insta::assert_snapshot!(String::from_utf8(to).unwrap().replace('\x1b', "ESC"));
}

#[test]
fn depth_is_bounded() {
    let line = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let styled = text(line.as_bytes()).unwrap();
    assert!(styled.text.starts_with(b"a.a.a.a.a={\"a\":{"));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::from("")),
        "[a\\n\\t\u{1b}\u{9b}\u{202e}\\\\ ]{0,9}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(6, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map("level|time|message|a|\u{1b}|[a-c\\n.]{0,3}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_painted_at_once_is_what_is_painted_later(
        members in prop::collection::hash_map("level|time|@timestamp|message|logger|stack_trace|[a-b\u{7}\\n]{0,3}", json(), 0..8),
        has_colours in any::<bool>(),
    ) {
        let codes = has_colours.then(|| Codes {
            levels: std::array::from_fn(|level| format!("<{level}>").into_bytes()),
        });
        let line = serde_json::Value::Object(members.into_iter().collect()).to_string();
        let mut stamps = Stamps::new(TimeZone::UTC);
        let known = Known::Nothing(&mut RecordParser::new(TimeZone::UTC, 0));
        let mut painted = Painted::new(codes.clone());
        let done = Fields::new(|| Painted::new(codes.clone())).append(line.as_bytes(), known, OwnTime::Shown(&mut stamps), &mut painted);
        let later = text(line.as_bytes());
        prop_assert_eq!(done.is_some(), later.is_some());
        if let Some(styled) = later {
            let painter = Painter { stream: StreamKind::Pipe, codes: codes.as_ref(), instance: b"" };
            let (mut one, mut other) = (Vec::new(), Vec::new());
            painter.paint_lines(&styled, b"p| ", &mut one);
            painted.append_to(b"p| ", &mut other);
            prop_assert_eq!(String::from_utf8(one).unwrap(), String::from_utf8(other).unwrap());
        }
    }

    #[test]
    fn nothing_dangerous_reaches_a_terminal(members in prop::collection::hash_map("level|time|@timestamp|message|logger|stack_trace|[a-b\u{7}\\n]{0,3}", json(), 0..8)) {
        let line = serde_json::Value::Object(members.into_iter().collect()).to_string();
        if let Some(styled) = text(line.as_bytes()) {
            let mut to = Vec::new();
            let painter = Painter { stream: StreamKind::Terminal, codes: None, instance: b"" };
            painter.paint_lines(&styled, b"p| ", &mut to);
            let shown = String::from_utf8(to).unwrap();
            let is_harmless = |char: char| matches!(char, '\t' | '\n') || !(char.is_control() || escape::is_bidi_control(char));
            prop_assert!(shown.chars().all(is_harmless), "{}", shown.escape_debug());
            prop_assert!(shown.lines().skip(1).all(|line| line.starts_with("p|   ")));
            prop_assert!(styled.spans.iter().all(|span| span.start < span.end && span.end <= styled.text.len()));
            prop_assert!(styled.spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }

    #[test]
    fn nothing_panics(line in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\un0-9e.t level".to_vec())], 0..200)) {
        let _ = text(&[b"{", &line[..]].concat());
    }
}
