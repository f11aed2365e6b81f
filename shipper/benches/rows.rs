//! From bytes to rows: the whole way, and its stages. Throughput is printed in raw bytes a second.

use std::fmt::Write as _;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use archive::Origin;
use archive::tpl::Templates;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use joblog::{TimestampParser, level};
use shipper::ids::{IdFinder, IdRules};
use shipper::redact::{RedactionRule, Redactor};
use shipper::rows::{AgeRule, DEFAULT_MAX_LINE_BYTES, FileFacts, LineRules, RowMaker, RowState};

/// 5 January 2026, 04:00.
const NOW_NS: i64 = 1_767_585_600_000_000_000;

/// How many bytes a caller reads at once.
const PIECE_BYTES: usize = 256 << 10;

/// Lines of services: requests with ids, messages, stack traces.
fn text() -> String {
    let mut text = String::new();
    for i in 0..8000_u64 {
        let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (second, milli) = (i % 60, i % 1000);
        let (items, millis, client) = (random % 10_000, random % 300, random % 250);
        let time = format!("2026-01-05 03:04:{second:02},{milli:03}");
        let written = match i % 4 {
            0 => writeln!(
                text,
                "{time} INFO [http-{}] org.example.Handler: GET /items/{items} took {millis} ms for 10.1.2.{client} request_id={random:016x}",
                i % 8
            ),
            1 => writeln!(
                text,
                "{time} WARN cache: evicted {items} entries after {millis} ms, and some are still in use"
            ),
            2 => writeln!(
                text,
                "{time} INFO [main] org.example.Master: created a master for application 0020_{random:06} with all its workers"
            ),
            _ => writeln!(
                text,
                "\tat org.example.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]"
            ),
        };
        written.expect("a string takes all");
    }
    text
}

/// Lines as Logstash's encoders write them.
fn json() -> String {
    let mut text = String::new();
    for i in 0..8000_u64 {
        let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        writeln!(
            text,
            r#"{{"@timestamp":"2026-01-05T03:04:{:02}.{:03}Z","@version":"1","message":"took {} ms","logger_name":"org.example.Master","level":"INFO","level_value":20000,"request_id":"{random:016x}"}}"#,
            i % 60,
            i % 1000,
            random % 300
        )
        .expect("a string takes all");
    }
    text
}

fn rules(redactor: Redactor) -> Arc<LineRules> {
    Arc::new(LineRules {
        zone: TimeZone::UTC,
        max_line_bytes: DEFAULT_MAX_LINE_BYTES,
        age: AgeRule::AnyAge,
        ids: IdFinder::new(&IdRules::default()).expect("valid rules"),
        redactor,
    })
}

fn whole(c: &mut Criterion) {
    let password = RedactionRule {
        name: "password".to_owned(),
        pattern: r"(?i)passw(?:or)?d[=:]\s*(\S+)".to_owned(),
        mask: "***".to_owned(),
    };
    let redactor = Redactor::new(&[password]).expect("valid rules");
    let origin = Origin::default();
    let mut group = c.benchmark_group("rows");
    for (name, text, redactor) in [
        ("text", text(), Redactor::default()),
        ("json", json(), Redactor::default()),
        ("text_and_redaction", text(), redactor),
    ] {
        let mut maker = RowMaker::new(rules(redactor));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let facts = FileFacts {
                    origin: &origin,
                    epoch: 0,
                    birth_ns: None,
                    changed_ns: NOW_NS,
                    reading_ns: NOW_NS,
                };
                let mut reading = maker.read(facts, 0, RowState::default());
                for piece in text.as_bytes().chunks(PIECE_BYTES) {
                    let flow = reading.push(piece, |row| {
                        black_box(row);
                        ControlFlow::Continue(())
                    });
                    assert!(flow.is_continue());
                }
                reading.close()
            });
        });
    }
}

fn stages(c: &mut Criterion) {
    let text = text();
    let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let mut times = TimestampParser::new(TimeZone::UTC, NOW_NS);
    let ids = IdFinder::new(&IdRules::default()).expect("valid rules");
    let mut templates = Templates::default();
    let mut group = c.benchmark_group("stages");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut stage = |name: &str, each: &mut dyn FnMut(&[u8])| {
        group.bench_function(name, |b| {
            b.iter(|| {
                for line in &lines {
                    each(line);
                }
            });
        });
    };
    stage("time", &mut |line| {
        black_box(times.find(line));
    });
    stage("level", &mut |line| {
        black_box(level::find(line));
    });
    stage("ids", &mut |line| {
        black_box(ids.find_by_name(line));
    });
    stage("template", &mut |line| {
        black_box(templates.id(line, None));
    });
}

criterion_group!(benches, whole, stages);
criterion_main!(benches);
