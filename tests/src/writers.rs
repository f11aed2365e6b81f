//! What programs write to their logs: lines as people meet them, made from a seed and the time that is passed in.
//!
//! Owns the text only. Which file it goes to, and when, is the [`crate::cluster`]'s. The same seed and times give the
//! same bytes.

use jiff::Timestamp;

/// A small generator of numbers that look random (xorshift64*): no more is needed here, and it can be replayed.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// From a seed; any will do.
    pub fn new(seed: u64) -> Self {
        // Spreads seeds that differ little, and avoids zero, which the generator cannot leave.
        Self((seed.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half is the better one.
        if end == 0 {
            0
        } else {
            (self.next_u64() >> 32) % end
        }
    }

    /// A number from `start` up to, not including, `end`.
    pub fn range(&mut self, start: u64, end: u64) -> u64 {
        start + self.below(end.saturating_sub(start))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len() as u64) as usize]
    }

    /// A UUID in its usual form.
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.next_u64(), self.next_u64());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | (b >> 48) & 0x3fff,
            b & 0xffff_ffff_ffff
        )
    }
}

/// What a writer has written and nobody has put into a file yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// For standard output.
    pub stdout: Vec<u8>,
    /// For standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    fn out(&mut self, line: &str) {
        self.stdout.extend_from_slice(line.as_bytes());
        self.stdout.push(b'\n');
    }

    fn err(&mut self, line: &str) {
        self.stderr.extend_from_slice(line.as_bytes());
        self.stderr.push(b'\n');
    }
}

/// What kind of program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A web server: access lines in the common log format with request id and latency, errors on stderr.
    Access,
    /// A helper in the style of glog, on stderr as glog does.
    Glog,
    /// A Java worker: logstash JSON, some of it with a stack trace inside; the same traces as plain text on stderr.
    Worker,
    /// A service that starts, complains, and may panic.
    Flaky,
    /// A host's own service: syslog-like lines.
    Syslog,
}

/// A program that writes.
#[derive(Debug, Clone)]
pub struct Writer {
    style: Style,
    rng: Rng,
    count: u64,
    pid: u64,
}

const PATHS: [&str; 8] = [
    "/api/v1/orders",
    "/api/v1/orders/{}",
    "/api/v1/carts/{}/items",
    "/api/v1/users/{}",
    "/api/v1/search?q=kettle&page={}",
    "/static/app.{}.js",
    "/healthz",
    "/login",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148",
    "curl/7.88.1",
    "orders-client/2.14",
];
const TRACE: [&str; 7] = [
    "com.example.batch.invoice.InvoiceStore.load(InvoiceStore.java:214)",
    "com.example.batch.invoice.InvoiceJob.render(InvoiceJob.java:88)",
    "com.example.batch.invoice.InvoiceJob.run(InvoiceJob.java:51)",
    "java.base/java.util.concurrent.Executors$RunnableAdapter.call(Executors.java:539)",
    "java.base/java.util.concurrent.FutureTask.run(FutureTask.java:264)",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker(ThreadPoolExecutor.java:1136)",
    "java.base/java.lang.Thread.run(Thread.java:840)",
];

impl Writer {
    /// A program of this style.
    pub fn new(style: Style, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let pid = rng.range(300, 32_000);
        Self {
            style,
            rng,
            count: 0,
            pid,
        }
    }

    /// What it writes when it starts.
    pub fn start(&mut self, at: Timestamp, out: &mut Output) {
        match self.style {
            Style::Access => out.err(&format!(
                "{} [notice] server: listening on 0.0.0.0:8080",
                utc(at, "%Y/%m/%d %H:%M:%S")
            )),
            Style::Worker => self.logstash(
                at,
                "INFO",
                "com.example.batch.Main",
                "worker started, 4 threads",
                None,
                out,
            ),
            Style::Flaky => {
                let version = self.rng.range(100, 999);
                out.out(&format!(
                    "{} INFO  flaky: starting, build 1.4.{version}",
                    iso(at)
                ));
                out.out(&format!("{} INFO  flaky: loading configuration", iso(at)));
            }
            Style::Glog | Style::Syslog => {}
        }
    }

    /// One thing that happens in the program: one line or a few.
    pub fn entry(&mut self, at: Timestamp, out: &mut Output) {
        self.count += 1;
        match self.style {
            Style::Access => self.access(at, out),
            Style::Glog => self.glog(at, out),
            Style::Worker => self.worker(at, out),
            Style::Flaky => self.flaky(at, out),
            Style::Syslog => self.syslog(at, out),
        }
    }

    /// The last words of a program that crashes.
    pub fn crash(&mut self, at: Timestamp, out: &mut Output) {
        let line = self.rng.range(40, 400);
        out.out(&format!(
            "{} ERROR flaky: connection pool exhausted, 0 of 16 usable",
            iso(at)
        ));
        out.err(&format!("thread 'main' panicked at src/pool.rs:{line}:17:"));
        out.err("called `Result::unwrap()` on an `Err` value: Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }");
        out.err("note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace");
    }

    fn access(&mut self, at: Timestamp, out: &mut Output) {
        let rng = &mut self.rng;
        let (path, number) = (rng.pick(&PATHS), rng.range(1, 90_000));
        let path = path.replace("{}", &number.to_string());
        let method = if path.ends_with("items") || path == "/login" {
            "POST"
        } else {
            "GET"
        };
        let status = match rng.below(100) {
            0..=1 => 500,
            2 => 503,
            3..=7 => 404,
            8..=9 => 302,
            _ if method == "POST" => 201,
            _ => 200,
        };
        let latency_ms = if status == 503 || rng.one_in(40) {
            rng.range(900, 5_000)
        } else {
            rng.range(1, 80)
        };
        let request = format!("{:016x}", rng.next_u64());
        let address = format!(
            "10.{}.{}.{}",
            rng.below(4),
            rng.below(256),
            rng.range(1, 255)
        );
        let user = if rng.one_in(3) {
            rng.pick(&["ada", "grace", "edsger", "barbara"])
        } else {
            "-"
        };
        let (bytes, agent) = (rng.range(80, 48_000), rng.pick(&AGENTS));
        out.out(&format!(
            "{address} - {user} [{}] \"{method} {path} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\" request_id={request} time={}.{:03}",
            utc(at, "%d/%b/%Y:%H:%M:%S %z"),
            latency_ms / 1000,
            latency_ms % 1000,
        ));
        if status >= 500 {
            out.err(&format!(
                "{} [error] server: {method} {path}: upstream orders-db timed out (110: Connection timed out), request_id={request}",
                utc(at, "%Y/%m/%d %H:%M:%S")
            ));
        }
    }

    fn glog(&mut self, at: Timestamp, out: &mut Output) {
        let rng = &mut self.rng;
        let entries = rng.range(1_000, 90_000);
        let (level, file, text) = match rng.below(12) {
            0 => (
                'E',
                "store.cc:131",
                "shard 3 did not answer, keeping the stale copy".to_owned(),
            ),
            1..=2 => (
                'W',
                "warmer.cc:207",
                format!("slow refresh: {} ms", rng.range(800, 4_000)),
            ),
            _ => (
                'I',
                "warmer.cc:96",
                format!(
                    "refreshed {entries} entries, hit rate 0.{}",
                    rng.range(80, 99)
                ),
            ),
        };
        out.err(&format!(
            "{level}{} {:>7} {file}] {text}",
            utc(at, "%m%d %H:%M:%S.%6f"),
            self.pid
        ));
    }

    fn worker(&mut self, at: Timestamp, out: &mut Output) {
        let invoice = self.rng.range(100_000, 999_999);
        let logger = "com.example.batch.invoice.InvoiceJob";
        match self.rng.below(30) {
            0 => self.failure(at, invoice, out),
            1..=2 => {
                let text = format!(
                    "invoice {invoice}: retrying, attempt {} of 5",
                    self.rng.range(2, 6)
                );
                self.logstash(at, "WARN", logger, &text, None, out);
            }
            3..=9 => {
                let text = format!(
                    "invoice {invoice}: cache miss for customer \"K{}\"",
                    self.rng.range(1000, 9999)
                );
                self.logstash(
                    at,
                    "DEBUG",
                    "com.example.batch.invoice.InvoiceStore",
                    &text,
                    None,
                    out,
                );
            }
            _ => {
                let text = format!(
                    "invoice {invoice}: rendered {} pages in {} ms",
                    self.rng.range(1, 9),
                    self.rng.range(20, 900)
                );
                self.logstash(at, "INFO", logger, &text, None, out);
            }
        }
    }

    fn failure(&mut self, at: Timestamp, invoice: u64, out: &mut Output) {
        let head = format!("java.lang.IllegalStateException: invoice {invoice} has no customer");
        let cause = "java.sql.SQLTransientConnectionException: orders-db - Connection is not available, request timed out after 30000ms.";
        let depth = self.rng.range(3, TRACE.len() as u64 + 1) as usize;
        let mut trace = vec![head];
        trace.extend(TRACE[..depth].iter().map(|frame| format!("\tat {frame}")));
        trace.push(format!("Caused by: {cause}"));
        trace.push(
            "\tat com.zaxxer.hikari.pool.HikariPool.getConnection(HikariPool.java:181)".to_owned(),
        );
        trace.push(format!("\t... {depth} common frames omitted"));
        let logger = "com.example.batch.invoice.InvoiceJob";
        let text = format!("invoice {invoice}: failed");
        self.logstash(at, "ERROR", logger, &text, Some(&trace.join("\n")), out);
        out.err(&format!(
            "{} ERROR [worker-{}] {logger} - {text}",
            utc(at, "%Y-%m-%d %H:%M:%S,%3f"),
            self.rng.range(1, 5)
        ));
        for line in trace {
            out.err(&line);
        }
    }

    fn logstash(
        &mut self,
        at: Timestamp,
        level: &str,
        logger: &str,
        text: &str,
        trace: Option<&str>,
        out: &mut Output,
    ) {
        let level_value = match level {
            "DEBUG" => 10_000,
            "WARN" => 30_000,
            "ERROR" => 40_000,
            _ => 20_000,
        };
        // As text, since field order is part of how such lines look.
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let mut line = format!(
            "{{\"@timestamp\":\"{}\",\"@version\":\"1\",\"message\":{},\"logger_name\":{},\"thread_name\":\"worker-{}\",\"level\":\"{level}\",\"level_value\":{level_value}",
            iso(at),
            string(text),
            string(logger),
            self.rng.range(1, 5),
        );
        if let Some(trace) = trace {
            line.push_str(",\"stack_trace\":");
            line.push_str(&string(trace));
        }
        let trace_id = self.rng.next_u64();
        out.out(&format!("{line},\"trace_id\":\"{trace_id:016x}\"}}"));
    }

    fn flaky(&mut self, at: Timestamp, out: &mut Output) {
        let n = self.count;
        let (level, text) = match self.rng.below(8) {
            0 => (
                "WARN ",
                format!("health check {n} slow: {} ms", self.rng.range(300, 2_000)),
            ),
            1 => (
                "ERROR",
                "cannot reach orders-db:5432: connection refused".to_owned(),
            ),
            _ => ("INFO ", format!("health check {n} passed")),
        };
        out.out(&format!("{} {level} flaky: {text}", iso(at)));
    }

    fn syslog(&mut self, at: Timestamp, out: &mut Output) {
        let rng = &mut self.rng;
        let text = match rng.below(6) {
            0 => format!(
                "sshd[{}]: Connection closed by 10.0.{}.{} port {}",
                rng.range(900, 9_000),
                rng.below(4),
                rng.range(1, 255),
                rng.range(30_000, 60_000)
            ),
            1 => "kernel: warning: TCP: request_sock_TCP: Possible SYN flooding on port 8080"
                .to_owned(),
            _ => format!(
                "gateway[{}]: forwarded {} requests, {} errors",
                self.pid,
                rng.range(100, 9_000),
                rng.below(4)
            ),
        };
        out.out(&format!("{} gateway {text}", utc(at, "%b %e %H:%M:%S")));
    }
}

/// RFC 3339 in UTC with milliseconds.
fn iso(at: Timestamp) -> String {
    utc(at, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

fn utc(at: Timestamp, format: &str) -> String {
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + second, 123_456_789).unwrap()
    }

    fn write(style: Style, seed: u64, entries: i64) -> Output {
        let (mut writer, mut out) = (Writer::new(style, seed), Output::default());
        writer.start(at(0), &mut out);
        for second in 0..entries {
            writer.entry(at(second), &mut out);
        }
        writer.crash(at(entries), &mut out);
        out
    }

    const STYLES: [Style; 5] = [
        Style::Access,
        Style::Glog,
        Style::Worker,
        Style::Flaky,
        Style::Syslog,
    ];

    #[test]
    fn a_seed_gives_the_same_bytes_again_and_another_one_others() {
        for style in STYLES {
            assert_eq!(write(style, 7, 300), write(style, 7, 300));
            assert_ne!(write(style, 7, 300), write(style, 8, 300));
        }
    }

    #[test]
    fn lines_are_whole_text_and_carry_the_time_given() {
        for (style, time) in [
            (Style::Access, "[14/Nov/2023:22:13:2"),
            (Style::Glog, "1114 22:13:20.123456 "),
            (Style::Worker, "\"@timestamp\":\"2023-11-14T22:13:20.123Z\""),
            (Style::Worker, "2023-11-14 22:1"),
            (Style::Flaky, "2023-11-14T22:13:20.123Z INFO"),
            (Style::Syslog, "Nov 14 22:13:20 gateway "),
        ] {
            let out = write(style, 1, 300);
            let text = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
            assert!(text.contains(time), "{style:?} has no {time}: {text}");
            assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'));
        }
    }

    #[test]
    fn a_worker_writes_json_lines_and_the_same_trace_as_lines_on_stderr() {
        let out = write(Style::Worker, 3, 300);
        let stdout = String::from_utf8(out.stdout).unwrap();
        let traces = stdout
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter_map(|line| line["stack_trace"].as_str().map(ToOwned::to_owned))
            .collect::<Vec<_>>();
        assert!(!traces.is_empty());
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(
            traces
                .iter()
                .all(|trace| stderr.contains(&format!("\n{trace}\n")))
        );
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_all_of_it() {
        let mut rng = Rng::new(0);
        let mut seen = [0; 5];
        for _ in 0..1_000 {
            seen[rng.range(0, 5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 120), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.uuid().len(), 36);
    }
}
