//! The past of a job from a folder of Parquet: raw megabytes a processor second, the time to the first line of one hour of one
//! job, and memory while two gigabytes are spliced into a reader that stalls.
//!
//! The archive is a day of twenty jobs, written by the agent itself from sandboxes: one job is as large as is asked for, the
//! others are a fiftieth of it each.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::clock;
use e2e::processes::{cpu_seconds, memory};
use e2e::small_cluster::{SmallCluster, TaskRun, append};
use jiff::{SignedDuration, Timestamp};
use joblog::{JobKey, Stream};

use crate::{beside, median, program, say};

const JOBS: usize = 20;
const HOURS: usize = 24;
/// How many times smaller the other jobs are.
const SMALLER: usize = 50;
const READ_BYTES: usize = 256 * 1024;
/// How long the reader stalls.
const STALL: Duration = Duration::from_secs(20);
/// Lines of the live file that the archive does not have.
const LIVE_LINES: usize = 1000;
const DEADLINE: Duration = Duration::from_mins(10);

pub(crate) fn run(rounds: usize, megabytes: usize) -> Result<()> {
    let day = Day::make(megabytes)?;
    day.speed(rounds)?;
    day.first_line(rounds)?;
    day.stalled()
}

/// A day in the archive, and the large job's live file.
struct Day {
    cluster: SmallCluster,
    begin: Timestamp,
    /// The large job's task, which still runs.
    task: TaskRun,
    /// What it wrote, without what the archive does not have.
    raw_bytes: usize,
    raw_lines: usize,
}

impl Day {
    fn make(megabytes: usize) -> Result<Self> {
        let cluster = SmallCluster::start(1)?;
        let archive = format!("file://{}", cluster.path("archive").display());
        fs::create_dir_all(cluster.path("archive"))?;
        cluster.configure_shipper(&archive, "")?;
        let now_s = clock::now().as_second();
        let begin = Timestamp::from_second(now_s - now_s % 3600)?
            - SignedDuration::from_hours(HOURS as i64);
        let (mut task, mut all, mut raw) = (None, 0, (0, 0));
        for job in 0..JOBS {
            let bytes = megabytes * 1_000_000 / if job == 0 { 1 } else { SMALLER };
            let launched = cluster.launch_recorded(&key(job)?, 0, "node1")?;
            let written = write(&launched, begin, bytes)?;
            all += written.0;
            if job == 0 {
                raw = written;
                task = Some(launched);
            }
        }
        let started = Instant::now();
        let status = beside("shipper")?
            .arg("--config")
            .arg(cluster.path("shipper.toml"))
            .args(["once", "--backfill"])
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "shipper: {status}");
        say(&format!(
            "\nhistory: {} MB raw of {JOBS} jobs in {HOURS} hours, {} MB of them of one; shipped in {:.0} s",
            all / 1_000_000,
            raw.0 / 1_000_000,
            started.elapsed().as_secs_f64()
        ));
        Ok(Self {
            cluster,
            begin,
            task: task.context("no job")?,
            raw_bytes: raw.0,
            raw_lines: raw.1,
        })
    }

    /// `tailll JOB --since … --archive … --no-follow`; `hours` of the day.
    fn tailll(&self, job: usize, hours: std::ops::Range<usize>, more: &[&str]) -> Result<Command> {
        let at = |hour: usize| (self.begin + SignedDuration::from_hours(hour as i64)).to_string();
        let path = program()?.get_program().to_owned();
        let mut command = self.cluster.command(path);
        command.args(["--no-follow", "--since", &at(hours.start)]);
        if hours.end < HOURS {
            command.args(["--until", &at(hours.end)]);
        }
        command
            .arg("--archive")
            .arg(format!("file://{}", self.cluster.path("archive").display()))
            .args(more)
            .arg(key(job)?.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(command)
    }

    fn speed(&self, rounds: usize) -> Result<()> {
        for (what, more) in [
            ("as it is by default", &[][..]),
            ("-o raw", &["-o", "raw"]),
            ("--level warn", &["--level", "warn"]),
        ] {
            let (mut by_cpu, mut by_clock, mut peak) = (Vec::new(), Vec::new(), 0_u64);
            for _ in 0..rounds {
                let read = read(self.tailll(0, 0..HOURS, more)?, Reader::Eager)?;
                if more != ["--level", "warn"] {
                    ensure!(
                        read.lines == self.raw_lines,
                        "{} lines of {}",
                        read.lines,
                        self.raw_lines
                    );
                }
                if more == ["-o", "raw"] {
                    ensure!(
                        read.bytes == self.raw_bytes,
                        "{} bytes of {}",
                        read.bytes,
                        self.raw_bytes
                    );
                }
                by_cpu.push(self.raw_bytes as f64 / 1e6 / read.cpu_seconds);
                by_clock.push(self.raw_bytes as f64 / 1e6 / read.seconds);
                peak = peak.max(read.peak_kib);
            }
            say(&format!(
                "history: {what}: {:.0} raw MB a CPU second (whole process), {:.0} MB/s by the clock, {} MiB resident at most",
                median(&mut by_cpu),
                median(&mut by_clock),
                peak / 1024
            ));
        }
        Ok(())
    }

    fn first_line(&self, rounds: usize) -> Result<()> {
        for (what, job) in [("a small job", 1), ("the large job", 0)] {
            let mut times = Vec::new();
            let mut lines = 0;
            for round in 0..rounds.max(1) * 3 {
                let hour = (round * 5 + 3) % (HOURS - 1);
                let read = read(self.tailll(job, hour..hour + 1, &[])?, Reader::Eager)?;
                times.push(read.first_line_seconds.context("no line came")?);
                lines = read.lines;
            }
            say(&format!(
                "history: the first line of one hour of {what}: median {:.3} s, at most {:.3} s ({lines} lines in the last)",
                median(&mut times),
                times.iter().copied().fold(0.0, f64::max),
            ));
        }
        Ok(())
    }

    /// All of the large job, then what its live file has beyond the archive, into a reader that stalls after its first line.
    fn stalled(&self) -> Result<()> {
        let log = self.task.log("server", Stream::Stdout);
        for number in 0..LIVE_LINES {
            append(&log, format!("{} INFO live {number}\n", clock::now()))?;
        }
        let read = read(
            self.tailll(0, 0..HOURS, &[])?,
            Reader::StallsAfterTheFirstLine,
        )?;
        ensure!(
            read.lines == self.raw_lines + LIVE_LINES,
            "{} lines of {}",
            read.lines,
            self.raw_lines + LIVE_LINES
        );
        say(&format!(
            "history: {} MB and a live file into a reader that stalls for {STALL:?}: {} MiB resident at most, {:.1} CPU s used \
             before it read on; every line came",
            self.raw_bytes / 1_000_000,
            read.peak_kib / 1024,
            read.stalled_cpu_seconds,
        ));
        Ok(())
    }
}

fn key(job: usize) -> Result<JobKey> {
    Ok(JobKey::new("aa", "www", "prod", &format!("job{job:02}"))?)
}

/// Writes a day's lines of a service, and tells the bytes and the lines.
fn write(task: &TaskRun, begin: Timestamp, bytes: usize) -> Result<(usize, usize)> {
    // About what a line has.
    let lines = bytes / 105;
    let step_ns = HOURS as i64 * 3_600_000_000_000 / lines.max(1) as i64;
    let path = task.log("server", Stream::Stdout);
    fs::create_dir_all(path.parent().context("no folder")?)?;
    let mut out = BufWriter::new(File::create(path)?);
    let (mut written, mut buffer) = (0, Vec::new());
    for i in 0..lines as u64 {
        let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (items, millis, client) = (random % 10_000, random % 300, random % 250);
        let time = begin + SignedDuration::from_nanos(step_ns * i.cast_signed());
        let time = time.strftime("%Y-%m-%d %H:%M:%S,%3f");
        buffer.clear();
        match i % 4 {
            0 | 2 => writeln!(
                buffer,
                "{time} INFO [http-{}] org.example.Handler: GET /items/{items} took {millis} ms for 10.1.2.{client} request_id={random:016x}",
                i % 8
            )?,
            1 => writeln!(
                buffer,
                "{time} WARN cache: evicted {items} entries after {millis} ms, and some are still in use"
            )?,
            _ => writeln!(
                buffer,
                "\tat org.example.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]"
            )?,
        }
        out.write_all(&buffer)?;
        written += buffer.len();
    }
    out.flush()?;
    Ok((written, lines))
}

/// How the output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Eager,
    StallsAfterTheFirstLine,
}

/// What a run of the program came to.
struct Run {
    seconds: f64,
    first_line_seconds: Option<f64>,
    cpu_seconds: f64,
    stalled_cpu_seconds: f64,
    peak_kib: u64,
    bytes: usize,
    lines: usize,
}

/// Runs the program to its end; its output is counted.
fn read(mut command: Command, reader: Reader) -> Result<Run> {
    let started = Instant::now();
    let mut child = command.spawn().context("tailll")?;
    let mut pipe = child.stdout.take().context("no pipe")?;
    let pid = child.id();
    let reading = std::thread::spawn(move || -> Result<_> {
        let (mut bytes, mut lines, mut first, mut stalled) = (0, 0, None, 0.0);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = pipe.read(&mut buffer)?;
            if count == 0 {
                return Ok((bytes, lines, first, stalled));
            }
            bytes += count;
            lines += buffer[..count].split(|byte| *byte == b'\n').count() - 1;
            if first.is_none() && lines > 0 {
                first = Some(started.elapsed().as_secs_f64());
                if reader == Reader::StallsAfterTheFirstLine {
                    sleep(STALL);
                    stalled = cpu_seconds(pid)?;
                }
            }
        }
    });
    let (mut cpu, mut peak_kib) = (0.0, 0);
    let status = loop {
        if let (Ok(used), Ok(memory)) = (cpu_seconds(pid), memory(pid)) {
            (cpu, peak_kib) = (used, memory.peak_kib);
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > DEADLINE {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {DEADLINE:?}");
        }
        sleep(Duration::from_millis(5));
    };
    let seconds = started.elapsed().as_secs_f64();
    let (bytes, lines, first_line_seconds, stalled_cpu_seconds) = reading
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(status.success(), "tailll: {status}");
    Ok(Run {
        seconds,
        first_line_seconds,
        cpu_seconds: cpu,
        stalled_cpu_seconds,
        peak_kib,
        bytes,
        lines,
    })
}
