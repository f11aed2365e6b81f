//! The agent as a whole: raw megabytes a processor second and memory while it catches up, what thousands of idle files cost, and
//! the time from a line written to its row. The program is the release build beside this one; the archive is a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::processes::{Memory, Signal, cpu_seconds, memory, signal};
use e2e::shipper_toml::ShipperToml;

use crate::{beside, median, say};

/// How many files the bytes of the catch-up are in.
const FILES: usize = 20;

/// Of the idle host.
const IDLE_FILES: usize = 20_000;
const BUSY_FILES: usize = 200;

/// How long the idle host is watched, in seconds.
const WATCH_SECONDS: u64 = 30;

/// How many lines are timed.
const TIMED_LINES: usize = 8;

/// The flush interval while lines are timed, in seconds.
const FLUSH_SECONDS: u64 = 2;

pub(crate) fn run(rounds: usize, megabytes: usize) -> Result<()> {
    for encoding in ["parquet", "ndjson"] {
        catch_up(encoding, rounds, megabytes)?;
    }
    idle()?;
    latency()
}

/// A host with its jobs below one folder, and a configuration.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new(encoding: &str, flush_seconds: u64) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let text = ShipperToml {
            root: root.path(),
            archive: None,
            encoding,
            keys: &format!("flush_seconds = {flush_seconds}"),
            tables: "",
        }
        .text();
        fs::write(root.path().join("shipper.toml"), text)?;
        Ok(Self { root })
    }

    fn log(&self, job: usize, instance: usize) -> Result<PathBuf> {
        let folder = self
            .root
            .path()
            .join(format!("jobs/job{job:02}/{instance}"));
        fs::create_dir_all(&folder)?;
        Ok(folder.join("app.log"))
    }

    fn start(&self, verb: &str) -> Result<Child> {
        Ok(beside("shipper")?
            .arg("--config")
            .arg(self.root.path().join("shipper.toml"))
            .arg(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?)
    }

    /// How many objects there are, and their bytes.
    fn objects(&self) -> (usize, u64) {
        sizes(&self.root.path().join("archive/logs"))
    }
}

/// How many files lie below a folder, and their bytes.
pub(crate) fn sizes(folder: &Path) -> (usize, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (files, bytes) = match entry.metadata() {
            Ok(found) if found.is_dir() => sizes(&entry.path()),
            Ok(found) => (1, found.len()),
            Err(_) => (0, 0),
        };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    sum
}

/// Watches a process to its end: its processor time in seconds, and its memory.
fn watch(mut child: Child) -> Result<(f64, Memory)> {
    let pid = child.id();
    let mut last = None;
    loop {
        if let (Ok(cpu), Ok(memory)) = (cpu_seconds(pid), memory(pid)) {
            last = Some((cpu, memory));
        }
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "shipper: {status}");
            return last.context("it ended before it was looked at");
        }
        sleep(Duration::from_millis(5));
    }
}

/// Lines of services: requests with ids, messages, stack traces.
fn line(i: u64, into: &mut Vec<u8>) {
    let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let (minute, second, milli) = (i / 60_000 % 60, i / 1000 % 60, i % 1000);
    let time = format!("2026-01-05 03:{minute:02}:{second:02},{milli:03}");
    let (items, millis, client) = (random % 10_000, random % 300, random % 250);
    let written = match i % 4 {
        0 => writeln!(
            into,
            "{time} INFO [http-{}] org.example.Handler: GET /items/{items} took {millis} ms for 10.1.2.{client} request_id={random:016x}",
            i % 8
        ),
        1 => writeln!(
            into,
            "{time} WARN cache: evicted {items} entries after {millis} ms, and some are still in use"
        ),
        2 => writeln!(
            into,
            "{time} INFO [main] org.example.Master: created a master for application 0020_{random:06} with all its workers"
        ),
        _ => writeln!(
            into,
            "\tat org.example.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]"
        ),
    };
    // A vector takes all.
    let _ = written;
}

fn catch_up(encoding: &str, rounds: usize, megabytes: usize) -> Result<()> {
    let (mut speeds, mut peaks, mut found) = (Vec::new(), Vec::new(), (0, 0));
    let mut raw = 0;
    for _ in 0..rounds {
        let host = Host::new(encoding, 300)?;
        raw = 0;
        for file in 0..FILES {
            let mut out = BufWriter::new(File::create(host.log(file, 0)?)?);
            let (mut buffer, mut written, mut i) = (Vec::new(), 0, file as u64 * 7);
            while written < megabytes * 1_000_000 / FILES {
                buffer.clear();
                line(i, &mut buffer);
                out.write_all(&buffer)?;
                written += buffer.len();
                i += 1;
            }
            out.flush()?;
            raw += written;
        }
        let (cpu, memory) = watch(host.start("once")?)?;
        speeds.push(raw as f64 / 1e6 / cpu);
        peaks.push(memory.peak_kib as f64 / 1024.0);
        found = host.objects();
    }
    say(&format!(
        "ship: {encoding}, {} MB raw in {FILES} files: {:.0} raw MB a CPU second (whole process), {:.0} MiB resident at most, \
         {} objects of {:.1} MB, {:.1} times smaller",
        raw / 1_000_000,
        median(&mut speeds),
        peaks.iter().copied().fold(0.0, f64::max),
        found.0,
        found.1 as f64 / 1e6 / found.0.max(1) as f64,
        raw as f64 / found.1.max(1) as f64,
    ));
    Ok(())
}

/// What a host costs where little happens.
fn idle() -> Result<()> {
    let host = Host::new("parquet", 60)?;
    let mut busy = Vec::new();
    for file in 0..IDLE_FILES + BUSY_FILES {
        let path = host.log(file % 20, file / 20)?;
        let mut bytes = Vec::new();
        line(file as u64, &mut bytes);
        fs::write(&path, bytes)?;
        if file >= IDLE_FILES {
            busy.push(OpenOptions::new().append(true).open(path)?);
        }
    }
    let mut child = host.start("run")?;
    // The first walk and the first batch are the start's.
    let ready = Instant::now() + Duration::from_mins(3);
    let mut objects = 0;
    while (objects == 0 || objects != host.objects().0) && Instant::now() < ready {
        objects = host.objects().0;
        sleep(Duration::from_secs(5));
    }
    let before = cpu_seconds(child.id())?;
    let started = Instant::now();
    let mut i = 0;
    while started.elapsed() < Duration::from_secs(WATCH_SECONDS) {
        for file in &mut busy {
            let mut bytes = Vec::new();
            line(i, &mut bytes);
            file.write_all(&bytes)?;
            i += 1;
        }
        sleep(Duration::from_secs(1));
    }
    let cpu = cpu_seconds(child.id())? - before;
    let memory = memory(child.id())?;
    say(&format!(
        "ship: {IDLE_FILES} idle files and {BUSY_FILES} busy ones: {:.2} % of a core, {:.0} MiB resident, {:.0} MiB at most",
        100.0 * cpu / started.elapsed().as_secs_f64(),
        memory.resident_kib as f64 / 1024.0,
        memory.peak_kib as f64 / 1024.0,
    ));
    end(&mut child)
}

fn end(child: &mut Child) -> Result<()> {
    signal(&[child.id()], Signal::Terminate)?;
    child.wait()?;
    Ok(())
}

/// From a line written to the object that has it.
fn latency() -> Result<()> {
    let host = Host::new("parquet", FLUSH_SECONDS)?;
    let path = host.log(0, 0)?;
    let mut file = File::create(path)?;
    let mut child = host.start("run")?;
    let mut times = Vec::new();
    sleep(Duration::from_secs(3));
    for i in 0..TIMED_LINES {
        let before = host.objects().0;
        let mut bytes = Vec::new();
        line(i as u64 * 4, &mut bytes);
        let started = Instant::now();
        file.write_all(&bytes)?;
        while host.objects().0 == before {
            ensure!(
                started.elapsed() < Duration::from_mins(1),
                "no object within a minute"
            );
            sleep(Duration::from_millis(5));
        }
        times.push(started.elapsed().as_secs_f64());
        // At another place of the interval each time.
        sleep(Duration::from_millis(150 * i as u64));
    }
    say(&format!(
        "ship: from a line to its row: median {:.2} s, at most {:.2} s; allowed: the flush interval of {FLUSH_SECONDS} s and 2 s",
        median(&mut times),
        times.iter().copied().fold(0.0, f64::max),
    ));
    end(&mut child)
}
