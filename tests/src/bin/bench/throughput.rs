//! A burst on eight hosts, from the first byte appended until the last line is out of the pipe. Dialling is over by
//! then: every host has been heard, and a smaller burst has warmed the connections. The program's output is compared
//! byte for byte with what was written, in the same run.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::clock;
use e2e::processes::{self, Signal};
use e2e::rotation;
use e2e::sshd::{Settings, Sshd};
use jiff::Timestamp;

use crate::{Tools, median, pssh, say, tailll};

const HOSTS: usize = 8;
const WARM_UP_BYTES: usize = 30_000_000;
/// Over how much time the lines' own times are spread, as those of a real burst are.
const TIME_SPAN: Duration = Duration::from_millis(300);
/// What one copy writes at once, as `cat` does.
const COPY_BYTES: usize = 128 * 1024;
const READ_BYTES: usize = 256 * 1024;
/// When nothing has come for so long, a tool has shown all that it will show.
const QUIET: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_mins(2);
/// The length of `2026-11-23 21:39:40,123`.
const TIME_BYTES: usize = 23;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Tailll,
    Pssh,
    Raw,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Tailll => "tailll, default output",
            Self::Pssh => "parallel-ssh -P, tail -F",
            Self::Raw => "8 x ssh tail -c +1 -f, to null",
        }
    }
}

struct Outcome {
    seconds: f64,
    client_cpu_seconds: f64,
    correctness: String,
}

pub(crate) fn run(tools: Tools, rounds: usize, megabytes: usize) -> Result<()> {
    let sshd = Sshd::start(Settings::default())?;
    let order: Vec<Tool> = [Tool::Tailll, Tool::Pssh, Tool::Raw]
        .into_iter()
        .filter(|tool| {
            if *tool == Tool::Tailll {
                tools.with_tailll()
            } else {
                tools.with_peers()
            }
        })
        .collect();
    let mut burst: Vec<Lines> = (1..=HOSTS)
        .map(|host| Lines::make(host, megabytes * 1_000_000 / HOSTS))
        .collect();
    let bytes: usize = burst.iter().map(|lines| lines.bytes.len()).sum();
    say(&format!(
        "\nthroughput: {} MB over {HOSTS} hosts after {} MB",
        bytes / 1_000_000,
        WARM_UP_BYTES / 1_000_000
    ));
    let mut results: Vec<(Tool, Vec<Outcome>)> =
        order.iter().map(|tool| (*tool, Vec::new())).collect();
    for round in 0..rounds {
        for (tool, outcomes) in &mut results {
            let outcome = measure(*tool, &sshd, &format!("{round}-{tool:?}"), &mut burst)
                .with_context(|| tool.name().to_owned())?;
            say(&format!(
                "  round {}: {:31} {:7.3} s  {:6.1} MB/s  client {:5.2} CPU s  {}",
                round + 1,
                tool.name(),
                outcome.seconds,
                bytes as f64 / 1e6 / outcome.seconds,
                outcome.client_cpu_seconds,
                outcome.correctness
            ));
            outcomes.push(outcome);
        }
    }
    let speed = |outcomes: &[Outcome]| {
        bytes as f64 / 1e6 / median(&mut outcomes.iter().map(|one| one.seconds).collect::<Vec<_>>())
    };
    let ours = results
        .iter()
        .find(|(tool, _)| *tool == Tool::Tailll)
        .map(|(_, outcomes)| speed(outcomes));
    for (tool, outcomes) in &results {
        let ratio = ours.map_or(String::new(), |ours| {
            format!("  tailll is {:.2} of it", ours / speed(outcomes))
        });
        say(&format!(
            "  median : {:31} {:6.1} MB/s{ratio}",
            tool.name(),
            speed(outcomes)
        ));
    }
    Ok(())
}

fn measure(tool: Tool, sshd: &Sshd, name: &str, burst: &mut [Lines]) -> Result<Outcome> {
    let folder = sshd.logs().join(name);
    let logs: Vec<PathBuf> = (1..=HOSTS)
        .map(|host| folder.join(format!("h{host}")).join("app.log"))
        .collect();
    for log in &logs {
        fs::create_dir_all(log.parent().unwrap_or(&folder))?;
        fs::write(log, "")?;
    }
    let mut running = Running::start(tool, commands(tool, sshd, &folder, &logs)?)?;
    running.wait_until_all_are_heard(&logs)?;

    let mut warm_up: Vec<Lines> = (1..=HOSTS)
        .map(|host| Lines::make(host, WARM_UP_BYTES / HOSTS))
        .collect();
    running.burst(&mut warm_up, &logs)?;
    let cpu_before = running.cpu_seconds();
    let seconds = running.burst(burst, &logs)?.as_secs_f64();
    let client_cpu_seconds = running.cpu_seconds() - cpu_before;
    let outputs = running.end()?;

    let written: Vec<Vec<u8>> = logs.iter().map(fs::read).collect::<std::io::Result<_>>()?;
    let correctness = match tool {
        Tool::Tailll => Check::of(&outputs[0].kept, &written).to_string(),
        Tool::Pssh => pssh_defects(&outputs[0].kept),
        Tool::Raw => {
            let exact = outputs
                .iter()
                .zip(&written)
                .all(|(output, log)| output.count == log.len());
            if exact {
                "every byte".to_owned()
            } else {
                "bytes are missing or too many".to_owned()
            }
        }
    };
    fs::remove_dir_all(&folder)?;
    Ok(Outcome {
        seconds,
        client_cpu_seconds,
        correctness,
    })
}

fn commands(tool: Tool, sshd: &Sshd, folder: &Path, logs: &[PathBuf]) -> Result<Vec<Command>> {
    Ok(match tool {
        Tool::Tailll => {
            let targets: Vec<String> = (1..)
                .zip(logs)
                .map(|(host, log)| format!("h{host}:{}", log.display()))
                .collect();
            vec![tailll(
                sshd.files(),
                &targets.iter().map(String::as_str).collect::<Vec<_>>(),
            )?]
        }
        // All hosts share this machine's files: each picks its own by the number that pssh gives it.
        Tool::Pssh => {
            let remote = format!(
                "exec tail -n 0 -F {}/h$((PSSH_NODENUM+1))/app.log",
                folder.display()
            );
            vec![pssh(sshd.files(), HOSTS, 100, &remote)?]
        }
        Tool::Raw => (1..)
            .zip(logs)
            .map(|(host, log)| {
                let mut command = sshd.ssh();
                command.args([
                    format!("h{host}"),
                    format!("exec tail -c +1 -f {}", log.display()),
                ]);
                command
            })
            .collect(),
    })
}

/// What has been read of one pipe.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    count: usize,
    last: Option<Instant>,
}

/// A tool at work, and the readers of its output.
struct Running {
    tool: Tool,
    children: Vec<Child>,
    outputs: Vec<Arc<Mutex<Output>>>,
}

impl Running {
    fn start(tool: Tool, commands: Vec<Command>) -> Result<Self> {
        let mut running = Self {
            tool,
            children: Vec::new(),
            outputs: Vec::new(),
        };
        for mut command in commands {
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let mut pipe = child.stdout.take().context("no pipe for the output")?;
            running.children.push(child);
            let output = Arc::new(Mutex::new(Output::default()));
            running.outputs.push(Arc::clone(&output));
            std::thread::spawn(move || {
                let mut buffer = vec![0; READ_BYTES];
                while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                    output.count += length;
                    // The raw follows go to null, like the `cat`s they are; the others' output is checked.
                    if tool != Tool::Raw {
                        output.kept.extend_from_slice(&buffer[..length]);
                    }
                    output.last = Some(Instant::now());
                }
            });
        }
        // Growing would count against whoever has the longer prefixes.
        for output in &running.outputs {
            output
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .kept
                .reserve(if tool == Tool::Raw { 0 } else { 600_000_000 });
        }
        Ok(running)
    }

    /// Appends a line to every log now and then until each has been heard; `tail -n 0` may miss the first ones.
    fn wait_until_all_are_heard(&self, logs: &[PathBuf]) -> Result<()> {
        let start = Instant::now();
        for number in 0.. {
            for (writer, log) in (1..).zip(logs) {
                let line = rotation::line(&clock::now().to_string(), writer, number, 30);
                OpenOptions::new()
                    .append(true)
                    .open(log)?
                    .write_all(&line)?;
            }
            std::thread::sleep(Duration::from_millis(300));
            let heard = if self.tool == Tool::Raw {
                self.outputs
                    .iter()
                    .filter(|output| lock(output).count > 0)
                    .count()
            } else {
                let output = lock(&self.outputs[0]);
                let mut writers: Vec<u32> = output
                    .kept
                    .split(|byte| *byte == b'\n')
                    .filter_map(|line| Some(rotation::find(line)?.id.writer))
                    .collect();
                writers.sort_unstable();
                writers.dedup();
                writers.len()
            };
            if heard == logs.len() {
                break;
            }
            if start.elapsed() > DEADLINE {
                bail!("only {heard} of {} hosts were heard", logs.len());
            }
        }
        self.wait_until_quiet(0, Instant::now())?;
        Ok(())
    }

    /// Appends to all logs at once, and returns the time until the last byte came.
    fn burst(&mut self, lines: &mut [Lines], logs: &[PathBuf]) -> Result<Duration> {
        let expected: usize = self.count() + lines.iter().map(|one| one.bytes.len()).sum::<usize>();
        let now = clock::now();
        for one in lines.iter_mut() {
            one.set_times(now);
        }
        let start = Instant::now();
        std::thread::scope(|scope| {
            let copies: Vec<_> = lines
                .iter()
                .zip(logs)
                .map(|(lines, log)| {
                    scope.spawn(move || -> std::io::Result<()> {
                        let mut file = OpenOptions::new().append(true).open(log)?;
                        lines
                            .bytes
                            .chunks(COPY_BYTES)
                            .try_for_each(|chunk| file.write_all(chunk))
                    })
                })
                .collect();
            copies.into_iter().try_for_each(|copy| {
                copy.join()
                    .unwrap_or_else(|_| Err(std::io::Error::other("panic")))
            })
        })?;
        let last = self.wait_until_quiet(expected, start)?;
        Ok(last.saturating_duration_since(start))
    }

    fn count(&self) -> usize {
        self.outputs.iter().map(|output| lock(output).count).sum()
    }

    /// Waits until at least `expected` bytes have come and no more do; returns when the last did.
    fn wait_until_quiet(&self, expected: usize, start: Instant) -> Result<Instant> {
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let last = self
                .outputs
                .iter()
                .filter_map(|output| lock(output).last)
                .max()
                .unwrap_or(start)
                .max(start);
            let count = self.count();
            if count >= expected && last.elapsed() >= QUIET {
                return Ok(last);
            }
            if start.elapsed() > DEADLINE {
                bail!("only {count} of {expected} bytes came within {DEADLINE:?}");
            }
        }
    }

    /// The CPU time of the client: of all its processes.
    fn cpu_seconds(&self) -> f64 {
        let own = self.children.iter().map(Child::id);
        let all = own.flat_map(|pid| std::iter::once(pid).chain(processes::descendants(pid)));
        all.filter_map(|pid| processes::cpu_seconds(pid).ok()).sum()
    }

    fn end(mut self) -> Result<Vec<Output>> {
        self.stop()?;
        Ok(self
            .outputs
            .drain(..)
            .map(|output| std::mem::take(&mut *lock(&output)))
            .collect())
    }

    fn stop(&mut self) -> Result<()> {
        let mut all = Vec::new();
        for child in &self.children {
            all.push(child.id());
            all.extend(processes::descendants(child.id()));
        }
        processes::signal(&all, Signal::Kill)?;
        for mut child in self.children.drain(..) {
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

fn lock(output: &Mutex<Output>) -> std::sync::MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prepared lines of one host: access lines, and now and then a stack trace with blank lines around it.
struct Lines {
    bytes: Vec<u8>,
    /// Where the lines' times stand.
    times: Vec<usize>,
}

impl Lines {
    fn make(host: usize, size: usize) -> Self {
        let mut lines = Self {
            bytes: Vec::with_capacity(size + 2_000),
            times: Vec::new(),
        };
        let mut number = 0_u64;
        while lines.bytes.len() < size {
            let mix = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ host as u64;
            lines.dated(&format!(
                "INFO  [http-nio-8080-exec-{}] c.e.web.RequestLog - w{host} n{number:07} GET /api/v1/orders/{} \
                 status=200 bytes={} ms={} user={} trace={mix:016x}",
                mix >> 59,
                mix >> 40,
                mix >> 48,
                mix >> 54,
                mix >> 44,
            ));
            if number % 150 == 149 {
                lines.dated(&format!(
                    "ERROR [http-nio-8080-exec-3] c.e.web.Errors - w{host} n{number:07} failed"
                ));
                lines.bytes.extend_from_slice(
                    b"java.lang.IllegalStateException: no connection left in the pool\n",
                );
                for line in 0..12 {
                    let text = format!(
                        "\tat com.example.web.Handler.step{line}(Handler.java:{})\n",
                        40 + line
                    );
                    lines.bytes.extend_from_slice(text.as_bytes());
                }
                lines.bytes.extend_from_slice(
                    b"Caused by: java.net.SocketTimeoutException: Read timed out\n\n\n",
                );
            }
            number += 1;
        }
        lines
    }

    fn dated(&mut self, text: &str) {
        self.times.push(self.bytes.len());
        self.bytes.extend_from_slice(&[b'0'; TIME_BYTES]);
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'\n');
    }

    /// Gives the lines times from `start` on.
    fn set_times(&mut self, start: Timestamp) {
        let mut text = Vec::new();
        let mut shown = None;
        let count = self.times.len();
        for (index, at) in self.times.iter().enumerate() {
            let millisecond =
                (TIME_SPAN.as_millis() as u64 * index as u64 / count as u64).cast_signed();
            if shown != Some(millisecond) {
                shown = Some(millisecond);
                let time = start + Duration::from_millis(millisecond.unsigned_abs());
                text = time
                    .strftime("%Y-%m-%d %H:%M:%S,%3f")
                    .to_string()
                    .into_bytes();
            }
            self.bytes[*at..*at + TIME_BYTES].copy_from_slice(&text[..TIME_BYTES]);
        }
    }
}

/// What a comparison of the program's output with the logs has shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Check {
    lines: usize,
    blank_lines: usize,
    without_prefix: usize,
    /// The program's own lines among them, such as those that tell of late ones.
    marks: usize,
    hosts_exact: usize,
    hosts: usize,
}

impl Check {
    fn of(output: &[u8], logs: &[Vec<u8>]) -> Self {
        let mut check = Self {
            hosts: logs.len(),
            ..Self::default()
        };
        let prefixes = learn_prefixes(output);
        let mut shown: Vec<Vec<u8>> = logs
            .iter()
            .map(|log| Vec::with_capacity(log.len()))
            .collect();
        for line in output.split_inclusive(|byte| *byte == b'\n') {
            check.lines += 1;
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let found = prefixes.iter().find_map(|(prefix, host)| {
                // A blank line may have lost the spaces that end its prefix.
                let rest = text.strip_prefix(prefix.as_slice());
                let rest = rest.or_else(|| (text == prefix.trim_ascii_end()).then_some(&[][..]))?;
                Some((rest, *host))
            });
            match found {
                None if text.windows(3).any(|three| three == b" ~ ") => check.marks += 1,
                Some((rest, host)) if host >= 1 && host <= shown.len() => {
                    check.blank_lines += usize::from(rest.is_empty());
                    shown[host - 1].extend_from_slice(rest);
                    shown[host - 1].push(b'\n');
                }
                _ => check.without_prefix += 1,
            }
        }
        check.hosts_exact = shown
            .iter()
            .zip(logs)
            .filter(|(shown, log)| shown == log)
            .count();
        check
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines ({} blank, {} marks), {} without prefix, {} of {} hosts byte for byte",
            self.lines,
            self.blank_lines,
            self.marks,
            self.without_prefix,
            self.hosts_exact,
            self.hosts
        )
    }
}

/// The prefixes that stand before dated lines, and whose they are. Longer ones come first.
fn learn_prefixes(output: &[u8]) -> Vec<(Vec<u8>, usize)> {
    const MARK: &[u8] = b" c.e.web.RequestLog - w";
    let mut prefixes = BTreeMap::new();
    for line in output.split(|byte| *byte == b'\n') {
        let greeting = rotation::find(line).map(|found| (found.start, found.id.writer as usize));
        let found = greeting.or_else(|| {
            let level = line.windows(8).position(|eight| eight == b" INFO  [")?;
            let mark = line.windows(MARK.len()).position(|bytes| bytes == MARK)? + MARK.len();
            let host = std::str::from_utf8(line.get(mark..=mark)?)
                .ok()?
                .parse()
                .ok()?;
            Some((level.checked_sub(TIME_BYTES)?, host))
        });
        if let Some((start, host)) = found
            && start > 0
            && !prefixes.contains_key(&line[..start])
        {
            prefixes.insert(line[..start].to_vec(), host);
            // The sign before the line tells of its level: an undated line of a trace may have another.
            if let Some(name) = line[..start].strip_suffix(b" | ") {
                prefixes.insert([name, b" ! "].concat(), host);
            }
        }
    }
    let mut prefixes: Vec<(Vec<u8>, usize)> = prefixes.into_iter().collect();
    prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    prefixes
}

fn pssh_defects(output: &[u8]) -> String {
    let (mut lines, mut without) = (0_u64, 0_u64);
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        lines += 1;
        let prefixed = line.first() == Some(&b'h')
            && line.get(1).is_some_and(u8::is_ascii_digit)
            && line.get(2..4).is_some_and(|rest| rest == b": ");
        without += u64::from(!prefixed);
    }
    format!("{lines} lines, {without} without prefix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_finds_a_missing_prefix_and_a_lost_blank_line() {
        let mut lines: Vec<Lines> = (1..=2).map(|host| Lines::make(host, 60_000)).collect();
        let mut output = Vec::new();
        for (host, one) in (1..).zip(&mut lines) {
            one.set_times(clock::now());
            for line in one.bytes.split_inclusive(|byte| *byte == b'\n') {
                output.extend_from_slice(format!("h{host} | ").as_bytes());
                output.extend_from_slice(line);
            }
        }
        let logs: Vec<Vec<u8>> = lines.into_iter().map(|one| one.bytes).collect();
        let check = Check::of(&output, &logs);
        assert_eq!((check.without_prefix, check.hosts_exact), (0, 2), "{check}");
        assert!(check.blank_lines >= 4);
        let blank = output
            .windows(7)
            .position(|seven| seven == b"h2 | \nh")
            .unwrap();
        let mut lost = output.clone();
        lost.drain(blank..blank + 6);
        assert_eq!(Check::of(&lost, &logs).hosts_exact, 1);
        output.drain(blank..blank + 5);
        assert_eq!(Check::of(&output, &logs).without_prefix, 1);
    }
}
