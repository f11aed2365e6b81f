use super::*;
use proptest::prelude::*;

/// 5 January 2026, 03:04:05.
const SECONDS: i64 = 1_767_582_245;

fn parser() -> RecordParser {
    RecordParser::new(TimeZone::UTC, SECONDS * 1_000_000_000)
}

/// Nanoseconds after the second above, the level, the message of a JSON line.
#[track_caller]
fn check(line: &str, nanos: Option<i64>, level: Option<Level>, message: Option<&str>) {
    let mut parser = parser();
    let record = parser.parse(line.as_bytes());
    let ts_ns = nanos.map(|nanos| SECONDS * 1_000_000_000 + nanos);
    let got = record
        .json
        .as_ref()
        .and_then(|json| json.message.as_deref());
    assert_eq!(
        (record.ts_ns, record.level, got),
        (ts_ns, level, message),
        "{line:?}"
    );
    assert_eq!(
        (
            parser.timestamp(line.as_bytes()),
            parser.level(line.as_bytes())
        ),
        (ts_ns, level),
        "{line:?}"
    );
    assert_eq!(
        parser.time_and_level(line.as_bytes()),
        (ts_ns, level),
        "{line:?}"
    );
}

#[test]
fn text() {
    check(
        "2026-01-05 03:04:05,678 ERROR x",
        Some(678_000_000),
        Some(Level::Error),
        None,
    );
    check("\tat a.B.c(B.java:1)", None, None, None);
    check("", None, None, None);
    check(
        "{not json} 2026-01-05 03:04:05 ERROR x",
        Some(0),
        Some(Level::Error),
        None,
    );
    check("{", None, None, None);
}

#[test]
fn json() {
    let logstash = r#"{"@timestamp":"2026-01-05T03:04:05.678Z","@version":"1","message":"a \"b\"","level":"WARN","level_value":30000}"#;
    check(
        logstash,
        Some(678_000_000),
        Some(Level::Warn),
        Some("a \"b\""),
    );
    check(
        r#"{"level":30,"time":1767582245678,"pid":1,"msg":"x"}"#,
        Some(678_000_000),
        Some(Level::Info),
        Some("x"),
    );
    check(
        r#"{"level":"info","ts":1767582245.678,"msg":"x"}"#,
        Some(678_000_000),
        Some(Level::Info),
        Some("x"),
    );
    check(
        r#"{"timestamp":"1767582245","severity":"NOTICE"}"#,
        Some(0),
        Some(Level::Info),
        None,
    );
    check(
        r#"{"log":"x\n","stream":"stdout","time":"2026-01-05T03:04:05.000000001Z"}"#,
        Some(1),
        None,
        None,
    );
    check(
        r#"{"asctime":"2026-01-05 03:04:05,678","levelname":"ERROR","message":"x"}"#,
        Some(678_000_000),
        Some(Level::Error),
        Some("x"),
    );
    check(
        r#"{"time":"2020-01-01T00:00:00Z","@timestamp":"2026-01-05T03:04:05Z"}"#,
        Some(0),
        None,
        None,
    );
    check(
        r#"{"@timestamp":"2026-01-05T03:04:05Z","time":"2020-01-01T00:00:00Z"}"#,
        Some(0),
        None,
        None,
    );
    check(
        r#"{"time":{"a":[1,2]},"ts":1767582245}"#,
        Some(0),
        None,
        None,
    );
    check(r#"  {"ts":1767582245}  "#, Some(0), None, None);
    check(r#"{"t\u0073":1767582245}"#, Some(0), None, None);
    check(r#"{"ts":12}"#, None, None, None);
    check(r#"{"a":"2026-01-05 03:04:05"}"#, None, None, None);
    check("{}", None, None, None);
}

#[test]
fn broken_json_keeps_what_came_before() {
    check(
        r#"{"ts":1767582245,"level":"error","msg":"brea"#,
        Some(0),
        Some(Level::Error),
        None,
    );
    check(r#"{"ts":1767582245,"x":}"#, Some(0), None, None);
    check(
        r#"{"msg":"x","time":"2026-01-05T03:04:05"#,
        Some(0),
        None,
        Some("x"),
    );
    let mut parser = parser();
    for (line, extent) in [
        (r#"{"a":1}"#, Extent::Whole),
        (r#"{"a":1} x"#, Extent::Broken),
        (r#"{"a":1"#, Extent::Broken),
    ] {
        assert_eq!(
            parser.parse(line.as_bytes()).json.map(|json| json.extent),
            Some(extent),
            "{line:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_do_not_end_the_reading() {
    let mut parser = parser();
    let record = parser.parse(b"{\"ts\":1767582245,\"msg\":\"\xff\",\"level\":\"error\"}");
    assert_eq!(
        (record.ts_ns, record.level),
        (Some(SECONDS * 1_000_000_000), Some(Level::Error))
    );
}

#[test]
fn deep_json_is_skipped() {
    let deep = format!(
        r#"{{"x":{}{},"ts":1767582245}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    check(&deep, Some(0), None, None);
    let open = format!(
        r#"{{"ts":1767582245,"level":{}"#,
        "{\"level\":".repeat(100_000)
    );
    check(&open, Some(0), None, None);
    let inner = format!(r#"{{"ts":1767582245,"log":{}"#, "{\"log\":".repeat(100_000));
    check(&inner, Some(0), None, None);
}

proptest! {
    #[test]
    fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut parser = parser();
        for line in [line.clone(), [b"{\"ts\":", line.as_slice()].concat()] {
            let record = parser.parse(&line);
            let (ts_ns, level) = (record.ts_ns, record.level);
            prop_assert_eq!(parser.timestamp(&line), ts_ns);
            prop_assert_eq!(parser.level(&line), level);
        }
    }

    /// However a JSON line is cut off, reading it gives no more than the whole line.
    #[test]
    fn cut_json(message in ".{0,30}", cut in any::<prop::sample::Index>()) {
        let line = serde_json::json!({"@timestamp": "2026-01-05T03:04:05Z", "level": "warn", "message": message}).to_string();
        let mut parser = parser();
        let whole = parser.parse(line.as_bytes());
        prop_assert_eq!(whole.ts_ns, Some(SECONDS * 1_000_000_000));
        prop_assert_eq!(whole.level, Some(Level::Warn));
        prop_assert_eq!(whole.json.as_ref().and_then(|json| json.message.as_deref()), Some(message.as_str()));
        let _ = parser.parse(&line.as_bytes()[..cut.index(line.len())]);
    }
}
