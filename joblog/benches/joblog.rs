//! The hot paths: split, time, level, record. Sizes are lines of a usual length; throughput is printed in bytes a second,
//! time for one line.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use joblog::lines::Splitter;
use joblog::{RecordParser, TimestampParser, level};

/// 1 January 2026.
const REFERENCE_NS: i64 = 1_767_225_600_000_000_000;

const LINES: [(&str, &str); 13] = [
    (
        "iso",
        "2026-01-05T03:04:05.678Z INFO  web: GET /api/v1/items took 12 ms for client 10.1.2.3, 200 bytes",
    ),
    (
        "log4j",
        "2026-01-05 03:04:05,678 INFO [main] org.example.app.Master: Created a master for application 0020_000001",
    ),
    (
        "go",
        "2026/01/05 03:04:05 main.go:17: listening on [::]:8080, 4 workers are ready to take requests",
    ),
    (
        "syslog",
        "Jan  5 03:04:05 node7 sshd(pam_unix)[19939]: authentication failure; logname= uid=0 euid=0 tty=NODEVssh",
    ),
    (
        "access",
        "10.1.2.3 - frank [05/Jan/2026:03:04:05 +0100] \"GET /index.html HTTP/1.1\" 200 2326 \"-\" \"agent/1.0\"",
    ),
    (
        "apache_error",
        "[Mon Jan 05 03:04:05 2026] [error] mod_x child workerEnv in error state 6 after a restart",
    ),
    (
        "glog",
        "I0105 03:04:05.678901 12345 server.cc:42] accepted a connection from 10.1.2.3:4711 on port 80",
    ),
    (
        "android",
        "01-05 03:04:05.678  1702  2395 D WindowManager: opening app token = AppWindowToken{9f4ef63}",
    ),
    (
        "java_util",
        "Jan 05, 2026 3:04:05 AM org.example.Server start INFO: started in 12 ms with 4 workers",
    ),
    (
        "compact",
        "20260105-03:04:05:678|Step|30002312|onChanged 3579 and some more of the message",
    ),
    (
        "epoch",
        "1767582245.678 345 10.1.2.3 TCP_MISS/200 1234 GET http://example.com/ - DIRECT/10.9.8.7 text/html",
    ),
    (
        "column",
        "134681 node-246 unix.hw state_change.unavailable 1767582245 1 Component is in the unavailable state",
    ),
    (
        "none",
        "\tat org.example.app.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]",
    ),
];

const LOGSTASH: &str = r#"{"@timestamp":"2026-01-05T03:04:05.678Z","@version":"1","message":"took 12 ms for client 10.1.2.3","logger_name":"org.example.app.Master","thread_name":"main","level":"INFO","level_value":20000,"request_id":"8a5f0a3e"}"#;

fn zones() -> [(&'static str, TimeZone); 2] {
    [
        ("utc", TimeZone::UTC),
        (
            "rules",
            TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a valid zone"),
        ),
    ]
}

fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("split");
    for line_bytes in [20, 150, 1000] {
        let chunk: Vec<u8> = (0..256 * 1024)
            .map(|at| if at % line_bytes == 0 { b'\n' } else { b'x' })
            .collect();
        group.throughput(Throughput::Bytes(chunk.len() as u64));
        group.bench_function(format!("{line_bytes}_bytes"), |b| {
            let mut splitter = Splitter::new(1 << 20, 0);
            b.iter(|| {
                let mut sum = 0;
                splitter.push(black_box(&chunk), |line| sum += line.bytes.len());
                sum
            });
        });
    }
}

fn timestamp(c: &mut Criterion) {
    let mut group = c.benchmark_group("timestamp");
    for (name, line) in LINES {
        for (zone_name, zone) in zones() {
            let mut parser = TimestampParser::new(zone, REFERENCE_NS);
            assert_eq!(
                parser.find(line.as_bytes()).is_some(),
                name != "none",
                "{name}"
            );
            group.bench_function(format!("{name}/{zone_name}"), |b| {
                b.iter(|| parser.find(black_box(line.as_bytes())));
            });
        }
    }
}

fn find_level(c: &mut Criterion) {
    let mut group = c.benchmark_group("level");
    for (name, line) in LINES {
        group.bench_function(name, |b| b.iter(|| level::find(black_box(line.as_bytes()))));
    }
}

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for (name, line) in [
        LINES[0],
        LINES[1],
        LINES[3],
        LINES[4],
        LINES[12],
        ("logstash", LOGSTASH),
    ] {
        let mut parser = RecordParser::new(TimeZone::UTC, REFERENCE_NS);
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let record = parser.parse(black_box(line.as_bytes()));
                (record.ts_ns, record.level)
            });
        });
    }
}

criterion_group!(benches, split, timestamp, find_level, record);
criterion_main!(benches);
