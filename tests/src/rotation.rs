//! Programs that write logs and rotate them, and the account of what became of their lines. Each line carries its time,
//! its writer and its number, so that a lost, repeated or damaged one is found by looking at the output alone.
//!
//! ```
//! use e2e::rotation::{Written, account, line};
//!
//! let output: Vec<Vec<u8>> = [0, 2, 2].iter().map(|n| line("2026-01-01T00:00:00.000000Z", 7, *n, 20)).collect();
//! let account = account(output.iter().map(Vec::as_slice), &[Written { writer: 7, lines: 3, rotations: 0 }]);
//! assert_eq!(account.lost.iter().map(ToString::to_string).collect::<Vec<_>>(), ["w7 n1"]);
//! assert_eq!(account.repeated.len(), 1);
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use crate::clock;
use crate::tail_process::{Ended, TailProcess};

/// How long a writer that is told by a signal to reopen its log goes on writing to the renamed one.
pub const SIGNAL_DELAY: Duration = Duration::from_millis(50);

/// How many lines or ids [`Account`] shows of each kind.
const MAX_SHOWN: usize = 5;

/// How a log is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Never.
    None,
    /// The writer renames its log and opens a new one at once.
    Reopen,
    /// Another program renames the log and makes a new one; the writer goes on with the old for [`SIGNAL_DELAY`].
    Signal,
    /// Another program copies the log and truncates it while the writer writes.
    CopyTruncate,
}

/// A log to write.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The writer's number, in every line; unique among the lines that are looked at together.
    pub writer: u32,
    /// The log; rotated ones have `.1`, `.2`, … appended, the newest first.
    pub path: PathBuf,
    /// How it is rotated.
    pub style: Style,
    /// How often it is rotated.
    pub rotate_every: Duration,
    /// How many lines a second are written.
    pub lines_per_second: u32,
    /// How many bytes of payload each line has.
    pub payload_bytes: usize,
}

/// What a writer has written: lines 0 to `lines`, the last one excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The writer's number.
    pub writer: u32,
    /// How many lines.
    pub lines: u64,
    /// How many rotations.
    pub rotations: u64,
}

/// Logs being written by one thread, each at its steady rate.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    rotating: Arc<AtomicBool>,
    lines: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Vec<Written>>>>,
}

impl Writers {
    /// Creates the logs of `plans` and begins to write; nothing is rotated before [`Writers::begin_rotations`].
    pub fn start(plans: &[Plan]) -> Result<Self> {
        let logs = plans
            .iter()
            .map(|plan| Log::create(plan.clone()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self::go_on(logs))
    }

    /// Begins to write at the given rates to logs that exist already.
    pub fn go_on(mut logs: Vec<Log>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rotating = Arc::new(AtomicBool::new(false));
        let may_rotate = Arc::clone(&rotating);
        let lines = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&lines));
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut due: Vec<(u64, Instant)> = vec![(0, start); logs.len()];
            while !stopped.load(Ordering::Relaxed) {
                let mut next = start + Duration::from_hours(1);
                for (log, (count, at)) in logs.iter_mut().zip(&mut due) {
                    while *at <= Instant::now() && !stopped.load(Ordering::Relaxed) {
                        if !may_rotate.load(Ordering::Relaxed) {
                            log.rotated = Instant::now();
                        }
                        log.write_line()?;
                        counted.fetch_add(1, Ordering::Relaxed);
                        *count += 1;
                        *at = start
                            + Duration::from_secs(1).mul_f64(
                                *count as f64 / f64::from(log.plan.lines_per_second.max(1)),
                            );
                    }
                    next = next.min(*at);
                }
                std::thread::sleep(
                    next.saturating_duration_since(Instant::now())
                        .min(Duration::from_millis(10)),
                );
            }
            logs.into_iter().map(Log::finish).collect()
        });
        Self {
            stop,
            rotating,
            lines,
            thread: Some(thread),
        }
    }

    /// From now on the logs are rotated as planned. Followers have found them by then: what a start finds of logs
    /// rotated before it is another question.
    pub fn begin_rotations(&self) {
        self.rotating.store(true, Ordering::Relaxed);
    }

    /// How many lines all of them have written so far.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Stops writing; every rotation that has begun is finished.
    pub fn stop(mut self) -> Result<Vec<Written>> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            _ => bail!("the thread of a writer panicked"),
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One log and its writer, driven line by line.
#[derive(Debug)]
pub struct Log {
    plan: Plan,
    file: File,
    phase: Phase,
    lines: u64,
    rotations: u64,
    rotated: Instant,
}

#[derive(Debug)]
enum Phase {
    Steady,
    /// The log has been renamed, and the writer has not yet noticed.
    OldOpen {
        since: Instant,
    },
    /// Another thread copies and truncates.
    Truncating(JoinHandle<io::Result<()>>),
}

impl Log {
    /// Creates the log and the folders above it.
    pub fn create(plan: Plan) -> Result<Self> {
        if let Some(folder) = plan.path.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let file = append(&plan.path).with_context(|| plan.path.display().to_string())?;
        Ok(Self {
            plan,
            file,
            phase: Phase::Steady,
            lines: 0,
            rotations: 0,
            rotated: Instant::now(),
        })
    }

    /// Writes the next line, and rotates when it is time.
    pub fn write_line(&mut self) -> Result<()> {
        if self.plan.style != Style::None && self.rotated.elapsed() >= self.plan.rotate_every {
            self.rotate()?;
        }
        self.settle_in_time()?;
        let time = format!("{:.6}", clock::now());
        self.file.write_all(&line(
            &time,
            self.plan.writer,
            self.lines,
            self.plan.payload_bytes,
        ))?;
        self.lines += 1;
        Ok(())
    }

    /// Writes `count` lines at once, in one write, with one time.
    pub fn burst(&mut self, count: u64) -> Result<()> {
        let time = format!("{:.6}", clock::now());
        let mut bytes = Vec::new();
        for number in self.lines..self.lines + count {
            bytes.extend(line(
                &time,
                self.plan.writer,
                number,
                self.plan.payload_bytes,
            ));
        }
        self.file.write_all(&bytes)?;
        self.lines += count;
        Ok(())
    }

    /// What has been written so far.
    pub fn written(&self) -> Written {
        Written {
            writer: self.plan.writer,
            lines: self.lines,
            rotations: self.rotations,
        }
    }

    /// Rotates now.
    pub fn rotate(&mut self) -> Result<()> {
        self.settle()?;
        self.rotated = Instant::now();
        self.rotations += 1;
        let path = &self.plan.path;
        make_room(path)?;
        match self.plan.style {
            Style::None => {}
            Style::Reopen => {
                fs::rename(path, numbered(path, 1))?;
                self.file = append(path)?;
            }
            Style::Signal => {
                fs::rename(path, numbered(path, 1))?;
                append(path)?;
                self.phase = Phase::OldOpen {
                    since: Instant::now(),
                };
            }
            Style::CopyTruncate => {
                let path = path.clone();
                self.phase = Phase::Truncating(std::thread::spawn(move || {
                    fs::copy(&path, numbered(&path, 1))?;
                    OpenOptions::new().write(true).open(&path)?.set_len(0)
                }));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Written> {
        self.settle()?;
        Ok(self.written())
    }

    fn settle_in_time(&mut self) -> Result<()> {
        match &self.phase {
            Phase::OldOpen { since } if since.elapsed() >= SIGNAL_DELAY => self.settle(),
            Phase::Truncating(thread) if thread.is_finished() => self.settle(),
            Phase::Steady | Phase::OldOpen { .. } | Phase::Truncating(_) => Ok(()),
        }
    }

    /// Waits for the end of a rotation that has begun.
    fn settle(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.phase, Phase::Steady) {
            Phase::Steady => {}
            Phase::OldOpen { .. } => self.file = append(&self.plan.path)?,
            Phase::Truncating(thread) => match thread.join() {
                Ok(result) => result.context("copying and truncating a log")?,
                Err(_) => bail!("the thread that truncates a log panicked"),
            },
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Moves `.1` to `.2` and so on.
fn make_room(path: &Path) -> io::Result<()> {
    let mut count = 0;
    while numbered(path, count + 1).exists() {
        count += 1;
    }
    for number in (1..=count).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    Ok(())
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// A line as the writers write it, newline included.
pub fn line(time: &str, writer: u32, number: u64, payload_bytes: usize) -> Vec<u8> {
    let mut bytes = format!("{time} w{writer} n{number} ").into_bytes();
    payload(writer, number, payload_bytes, &mut bytes);
    bytes.push(b'\n');
    bytes
}

/// Appends bytes that follow from writer and number, so that a damaged line is noticed: `length:` and words.
fn payload(writer: u32, number: u64, length: usize, bytes: &mut Vec<u8>) {
    bytes.extend(format!("{length}:").bytes());
    let mut state = number
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(u64::from(writer));
    for _ in 0..length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.push(b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 59) as usize]);
    }
}

/// Which line of which writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineId {
    /// The writer's number.
    pub writer: u32,
    /// The line's number.
    pub number: u64,
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{} n{}", self.writer, self.number)
    }
}

/// A line of a writer, found in a line of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which one it is.
    pub id: LineId,
    /// When it was written.
    pub time: Timestamp,
    /// Where in the output's line it starts: what is before that is the prefix.
    pub start: usize,
}

/// Finds a writer's line, whole and undamaged, at the end of a line of output (with or without newline).
pub fn find(output: &[u8]) -> Option<Found> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    let mut from = 0;
    while let Some(at) = output[from..].windows(2).position(|two| two == b" w") {
        if let Some(found) = parse(output, from + at) {
            return Some(found);
        }
        from += at + 2;
    }
    None
}

fn parse(output: &[u8], space: usize) -> Option<Found> {
    let rest = std::str::from_utf8(&output[space + 1..]).ok()?;
    let mut words = rest.splitn(3, ' ');
    let writer = words.next()?.strip_prefix('w')?.parse().ok()?;
    let number = words.next()?.strip_prefix('n')?.parse().ok()?;
    let text = words.next()?;
    let length: usize = text.split_once(':')?.0.parse().ok()?;
    let mut expected = Vec::new();
    // A wrong length cannot make the expectation larger than the line.
    payload(writer, number, length.min(text.len()), &mut expected);
    if expected != text.as_bytes() {
        return None;
    }
    let start = output[..space]
        .iter()
        .rposition(|byte| *byte == b' ')
        .map_or(0, |at| at + 1);
    let time = std::str::from_utf8(&output[start..space])
        .ok()?
        .parse()
        .ok()?;
    Some(Found {
        id: LineId { writer, number },
        time,
        start,
    })
}

/// Waits for the last line of all that was written, ends the program as ^C does, and gives the account of its output.
pub fn finish(
    mut process: TailProcess,
    written: &[Written],
    deadline: Duration,
) -> Result<(Account, Ended)> {
    let mut progress = Progress::to_the_last_of(written);
    process
        .wait_for_lines("the last line of every writer", deadline, |lines| {
            progress.look(lines)
        })
        .with_context(|| process.talk())?;
    let ended = process.interrupt(deadline)?;
    if ended.status.code() != Some(130) {
        bail!("it ended with {} after ^C: {}", ended.status, ended.talk);
    }
    let account = account(ended.lines.iter().map(AsRef::as_ref), written);
    Ok((account, ended))
}

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// How many of the lines were shown, each counted once.
    pub shown: u64,
    /// Lines that were written and not shown.
    pub lost: Vec<LineId>,
    /// Lines that were shown before.
    pub repeated: Vec<LineId>,
    /// Lines that were shown after a later one of their writer.
    pub out_of_order: Vec<LineId>,
    /// Marks that tell of lines shown after later ones of other files. They lose nothing.
    pub late: Vec<String>,
    /// What else is in the output and was not written like that: other marks, damaged lines, lines of nobody.
    pub unknown: Vec<String>,
}

impl Account {
    /// Whether every line was shown once, whole and in order, and nothing else was.
    pub fn is_exact(&self) -> bool {
        self.lost.is_empty()
            && self.repeated.is_empty()
            && self.out_of_order.is_empty()
            && self.unknown.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shown", self.shown)?;
        for (name, ids) in [
            ("lost", &self.lost),
            ("repeated", &self.repeated),
            ("out of order", &self.out_of_order),
        ] {
            write!(f, ", {} {name}", ids.len())?;
            if !ids.is_empty() {
                let first: Vec<String> = ids
                    .iter()
                    .take(MAX_SHOWN)
                    .map(ToString::to_string)
                    .collect();
                write!(
                    f,
                    " ({}{})",
                    first.join(", "),
                    if ids.len() > MAX_SHOWN { ", …" } else { "" }
                )?;
            }
        }
        write!(
            f,
            ", {} late marks, {} unknown",
            self.late.len(),
            self.unknown.len()
        )?;
        for line in self.unknown.iter().take(MAX_SHOWN) {
            write!(f, "\n  unknown: {}", line.escape_debug())?;
        }
        Ok(())
    }
}

/// Compares the lines of `output` with what was written.
pub fn account<'a>(output: impl IntoIterator<Item = &'a [u8]>, written: &[Written]) -> Account {
    let mut account = Account::default();
    // For each writer how often each of its lines was shown, and the highest shown so far.
    let mut seen: BTreeMap<u32, (Vec<bool>, Option<u64>)> = written
        .iter()
        .map(|one| (one.writer, (vec![false; one.lines as usize], None)))
        .collect();
    for output_line in output {
        let known = find(output_line).and_then(|found| {
            let (shown, highest) = seen.get_mut(&found.id.writer)?;
            let shown = shown.get_mut(usize::try_from(found.id.number).ok()?)?;
            Some((found.id, shown, highest))
        });
        let Some((id, shown, highest)) = known else {
            let line = String::from_utf8_lossy(output_line).into_owned();
            let is_late = line.contains(" ~ ") && line.contains(" late by up to ");
            if is_late {
                &mut account.late
            } else {
                &mut account.unknown
            }
            .push(line);
            continue;
        };
        if std::mem::replace(shown, true) {
            account.repeated.push(id);
        } else {
            account.shown += 1;
            if highest.is_some_and(|highest| highest > id.number) {
                account.out_of_order.push(id);
            }
        }
        *highest = (*highest).max(Some(id.number));
    }
    for (writer, (shown, _)) in seen {
        let missing = shown.iter().enumerate().filter(|(_, shown)| !**shown);
        account.lost.extend(missing.map(|(number, _)| LineId {
            writer,
            number: number as u64,
        }));
    }
    account
}

/// Knows when the output has come to the end of what was written, without looking at any line twice.
#[derive(Debug)]
pub struct Progress {
    waiting: BTreeMap<u32, u64>,
    looked_at: usize,
}

impl Progress {
    /// Waits for the last line of each writer that wrote any.
    pub fn to_the_last_of(written: &[Written]) -> Self {
        let waiting = written
            .iter()
            .filter(|one| one.lines > 0)
            .map(|one| (one.writer, one.lines - 1))
            .collect();
        Self {
            waiting,
            looked_at: 0,
        }
    }

    /// Looks at the lines that `output` has more than before; true once the last line of every writer was among them.
    pub fn look<T: AsRef<[u8]>>(&mut self, output: &[T]) -> bool {
        for line in &output[self.looked_at..] {
            if let Some(found) = find(line.as_ref())
                && self.waiting.get(&found.id.writer) == Some(&found.id.number)
            {
                self.waiting.remove(&found.id.writer);
            }
        }
        self.looked_at = output.len();
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(dir: &Path, style: Style) -> Plan {
        Plan {
            writer: 3,
            path: dir.join("app.log"),
            style,
            rotate_every: Duration::from_millis(40),
            lines_per_second: 2_000,
            payload_bytes: 60,
        }
    }

    fn files(dir: &Path) -> Vec<Vec<u8>> {
        let path = dir.join("app.log");
        let rotated = (1..)
            .map(|number| numbered(&path, number))
            .take_while(|path| path.exists());
        let mut files: Vec<Vec<u8>> = std::iter::once(path.clone())
            .chain(rotated)
            .map(|p| fs::read(p).unwrap())
            .collect();
        files.reverse();
        files
    }

    fn write_for_a_while(style: Style) -> (tempfile::TempDir, Written) {
        let dir = tempfile::tempdir().unwrap();
        let writers = Writers::start(&[plan(dir.path(), style)]).unwrap();
        writers.begin_rotations();
        while writers.lines() < 600 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let written = writers.stop().unwrap()[0];
        assert!(
            written.lines >= 600 && written.rotations >= 2,
            "{written:?}"
        );
        (dir, written)
    }

    #[test]
    fn renamed_logs_hold_every_line_in_order() {
        for style in [Style::Reopen, Style::Signal] {
            let (dir, written) = write_for_a_while(style);
            let files = files(dir.path());
            assert_eq!(files.len() as u64, written.rotations + 1);
            let all = files.concat();
            let account = account(all.split_inclusive(|byte| *byte == b'\n'), &[written]);
            assert!(account.is_exact(), "{style:?}: {account}");
        }
    }

    #[test]
    fn a_writer_told_by_a_signal_goes_on_with_the_renamed_log() {
        let dir = tempfile::tempdir().unwrap();
        let never = Duration::from_hours(1);
        let mut log = Log::create(Plan {
            rotate_every: never,
            ..plan(dir.path(), Style::Signal)
        })
        .unwrap();
        log.burst(1).unwrap();
        log.rotate().unwrap();
        log.burst(1).unwrap();
        std::thread::sleep(SIGNAL_DELAY);
        log.write_line().unwrap();
        let lines = files(dir.path())
            .iter()
            .map(|file| file.split_inclusive(|byte| *byte == b'\n').count())
            .collect::<Vec<_>>();
        assert_eq!(lines, [2, 1]);
    }

    #[test]
    fn a_truncated_log_and_its_copies_hold_nearly_every_line() {
        let (dir, written) = write_for_a_while(Style::CopyTruncate);
        let all = files(dir.path()).concat();
        let account = account(all.split_inclusive(|byte| *byte == b'\n'), &[written]);
        assert!(
            account.repeated.is_empty() && account.shown > written.lines / 2,
            "{account}"
        );
    }

    #[test]
    fn every_defect_is_told_apart() {
        let written = [
            Written {
                writer: 1,
                lines: 4,
                rotations: 0,
            },
            Written {
                writer: 2,
                lines: 1,
                rotations: 0,
            },
        ];
        let line = |writer, number| {
            let line = line("2026-11-23T21:39:40.123456Z", writer, number, 10);
            [b"web w9 n/3 h1 | ".as_slice(), &line].concat()
        };
        let mut damaged = line(1, 3);
        let length = damaged.len();
        damaged[length - 4] = b'!';
        let output = [
            line(1, 0),
            line(2, 0),
            line(1, 2),
            line(1, 1),
            line(1, 0),
            damaged,
            b"-- mark".to_vec(),
        ];
        let account = account(output.iter().map(Vec::as_slice), &written);
        assert_eq!(account.shown, 4);
        assert_eq!(
            account.lost,
            [LineId {
                writer: 1,
                number: 3
            }]
        );
        assert_eq!(
            account.repeated,
            [LineId {
                writer: 1,
                number: 0
            }]
        );
        assert_eq!(
            account.out_of_order,
            [LineId {
                writer: 1,
                number: 1
            }]
        );
        assert_eq!(account.unknown.len(), 2);
        let found = find(&output[1]).unwrap();
        assert_eq!(
            (found.start, found.time.as_microsecond() % 1_000_000),
            (16, 123_456)
        );
        let mut progress = Progress::to_the_last_of(&written);
        assert!(!progress.look(&output));
        assert!(progress.look(&[output.as_slice(), &[line(1, 3)]].concat()));
    }
}
