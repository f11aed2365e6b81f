//! A saved file made readable, coloured, into a pipe on one core: the program's reading and rendering in this process, the
//! program itself where it replays standard input, and tailspin (`tspin`) where it is installed beside the build's results or
//! in the search path. The pipe's other end throws everything away. Both the time that passed and the processor time are told:
//! on a machine with other things to do only the second is the program's own.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::clock;
use e2e::processes::{cpu_seconds, ended_children_cpu_seconds};
use jiff::tz::TimeZone;
use tailll::assemble::{Arrival, Assembler, LineSettings};
use tailll::batch::{Age, Records};
use tailll::color::{Colors, Depth, StreamKind};
use tailll::filter::Filter;
use tailll::highlight::Highlight;
use tailll::merge::Run;
use tailll::render::{Format, Looks, RenderOptions, Renderer};
use tailll::source::{FileLabel, InstanceLabel, Source, SourceId};

use crate::{Tools, median, say};

/// What is read and written at once.
const READ_BYTES: usize = 64 * 1024;
const WRITE_BYTES: usize = 128 * 1024;

/// Makes the line of a number.
type MakeLine = fn(usize) -> String;

/// The kinds of lines.
const KINDS: [(&str, MakeLine); 2] = [("plain", plain), ("json", json)];

pub(crate) fn run(tools: Tools, rounds: usize, megabytes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (kind, line) in KINDS {
        let path = folder.path().join(kind);
        let bytes = write_lines(&path, megabytes * 1_000_000, line)?;
        say(&format!("\nrender: {kind} lines, {} MB", bytes / 1_000_000));
        let mut results: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
        for round in 0..rounds {
            let mut outcomes = Vec::new();
            if tools.with_tailll() {
                outcomes.push((
                    "tailll, rendering alone".to_owned(),
                    in_process(&path, Timed::Rendering)?,
                ));
                outcomes.push((
                    "tailll, reading and rendering".to_owned(),
                    in_process(&path, Timed::All)?,
                ));
                if let Some(program) = replaying_tailll()? {
                    let arguments = ["--stdin", "--color", "always"];
                    outcomes.push((
                        "tailll --stdin".to_owned(),
                        of_program(&program, &arguments, &path)?,
                    ));
                }
            }
            if tools.with_peers() {
                match tspin()? {
                    Some(program) => outcomes.push((
                        "tspin --print".to_owned(),
                        of_program(&program, &["--print"], &path)?,
                    )),
                    None if round == 0 => {
                        say("  tspin is not installed: scripts/test-packages.sh bench");
                    }
                    None => {}
                }
            }
            for (name, spent) in outcomes {
                let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
                let (passed, used) = (rate(spent.passed), rate(spent.used));
                match results.iter_mut().find(|(known, ..)| *known == name) {
                    Some((_, by_clock, by_cpu)) => {
                        by_clock.push(passed);
                        by_cpu.push(used);
                    }
                    None => results.push((name, vec![passed], vec![used])),
                }
            }
        }
        for (name, mut by_clock, mut by_cpu) in results {
            let middle = median(&mut by_clock);
            let own = median(&mut by_cpu);
            let all: Vec<String> = by_clock.iter().map(|rate| format!("{rate:.0}")).collect();
            say(&format!(
                "  {name:<32} {middle:>6.0} MB/s  ({}), {own:>6.0} MB a CPU second",
                all.join(", ")
            ));
        }
    }
    Ok(())
}

/// A line of a service's log: INFO mostly, some of each kind that there is to colour.
fn plain(number: usize) -> String {
    let level = match number % 20 {
        0 => "ERROR",
        1..4 => "WARN ",
        4..8 => "DEBUG",
        _ => "INFO ",
    };
    let ms = number % 1_000;
    let second = number / 1_000 % 60;
    let minute = number / 60_000 % 60;
    format!(
        "2026-11-23 21:{minute:02}:{second:02}.{ms:03} {level} [http-nio-8080-exec-{}] c.e.web.OrderController: GET /api/v1/orders/{number} took {} ms, status=200 user={}",
        number % 16,
        number * 7 % 900,
        number * 31 % 9_999
    )
}

/// The same as Logstash's encoder writes it.
fn json(number: usize) -> String {
    let level = match number % 20 {
        0 => "ERROR",
        1..4 => "WARN",
        4..8 => "DEBUG",
        _ => "INFO",
    };
    let ms = number % 1_000;
    let second = number / 1_000 % 60;
    let minute = number / 60_000 % 60;
    format!(
        r#"{{"@timestamp":"2026-11-23T21:{minute:02}:{second:02}.{ms:03}Z","@version":"1","message":"GET /api/v1/orders/{number} took {} ms","logger_name":"com.example.web.order.OrderController","thread_name":"http-nio-8080-exec-{}","level":"{level}","level_value":20000,"status":200,"user":"{}","remote":"10.3.{}.{}"}}"#,
        number * 7 % 900,
        number % 16,
        number * 31 % 9_999,
        number % 256,
        number * 3 % 256
    )
}

/// Writes a file of about this size, and gives the size that it has.
fn write_lines(path: &Path, bytes: usize, line: MakeLine) -> Result<usize> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut written = 0;
    for number in 0.. {
        let line = line(number);
        written += line.len() + 1;
        writeln!(file, "{line}")?;
        if written >= bytes {
            break;
        }
    }
    file.flush()?;
    Ok(written)
}

/// What of the work in this process is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timed {
    /// From the file to the pipe.
    All,
    /// What the renderer does.
    Rendering,
}

/// What a file took, in seconds.
#[derive(Debug, Clone, Copy)]
struct Spent {
    /// Until it was done.
    passed: f64,
    /// Of a processor.
    used: f64,
}

/// What the file takes, on this thread.
fn in_process(path: &Path, timed: Timed) -> Result<Spent> {
    let source = Source {
        instance: Arc::new(InstanceLabel {
            job: "aa/www-data/prod/hello".into(),
            key: "aa/www-data/prod/hello".parse().ok(),
            instance: Some(0),
            host: "node1".into(),
            task_id: None,
        }),
        file: FileLabel::Plain {
            path: "/log".into(),
        },
        path: b"/log".to_vec(),
    };
    let id = SourceId(0);
    let mut renderer = Renderer::new(RenderOptions {
        format: Format::Default,
        colors: Colors::On(Depth::Palette256),
        stream: StreamKind::Pipe,
        highlight: Highlight::default(),
        looks: Looks::default(),
        records: Records::WhenShown,
    });
    renderer.open(id, Arc::new(source));
    let now = Arrival {
        at: Instant::now(),
        wall_ns: i64::try_from(clock::now().as_nanosecond())?,
    };
    let settings = LineSettings {
        filter: Arc::new(Filter::new(&[], &[])?),
        zone: TimeZone::UTC,
        records: Records::WhenShown,
    };
    let mut assembler = Assembler::new(id, 0, &settings, now);
    let mut drain = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut pipe = drain.stdin.take().context("no pipe to cat")?;
    let mut file = File::open(path)?;
    let mut chunk = vec![0; READ_BYTES];
    let mut shown = Vec::with_capacity(2 * WRITE_BYTES);
    let mut rendering = 0.0;
    let used_before = cpu_seconds(std::process::id())?;
    let started = Instant::now();
    loop {
        let length = file.read(&mut chunk)?;
        let batch = if length == 0 {
            assembler.finish(now, Age::History)
        } else {
            assembler.push(&chunk[..length], now, Age::History)
        };
        let render_started = Instant::now();
        if !batch.lines.is_empty() {
            renderer.lines(
                &Run {
                    source: id,
                    bytes: &batch.bytes,
                    lines: &batch.lines,
                },
                &mut shown,
            );
        }
        rendering += render_started.elapsed().as_secs_f64();
        if shown.len() >= WRITE_BYTES || length == 0 {
            pipe.write_all(&shown)?;
            shown.clear();
        }
        if length == 0 {
            break;
        }
    }
    let passed = started.elapsed().as_secs_f64();
    let used = cpu_seconds(std::process::id())? - used_before;
    drop(pipe);
    ensure!(drain.wait()?.success(), "cat failed");
    Ok(match timed {
        Timed::All => Spent { passed, used },
        // What was not spent on the processor is not known for a part.
        Timed::Rendering => Spent {
            passed: rendering,
            used: rendering,
        },
    })
}

/// What `program ARGUMENTS < file | cat` takes, the program on one core.
fn of_program(program: &Path, arguments: &[&str], path: &Path) -> Result<Spent> {
    let mut drain = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let pipe = drain.stdin.take().context("no pipe to cat")?;
    let used_before = ended_children_cpu_seconds()?;
    let started = Instant::now();
    let status = Command::new("taskset")
        .args(["-c", "0"])
        .arg(program)
        .args(arguments)
        .stdin(File::open(path)?)
        .stdout(pipe)
        .stderr(Stdio::null())
        .status()
        .with_context(|| program.display().to_string())?;
    ensure!(status.success(), "{} failed: {status}", program.display());
    // Before the reader of the pipe is counted among the children.
    let used = ended_children_cpu_seconds()? - used_before;
    ensure!(drain.wait()?.success(), "cat failed");
    Ok(Spent {
        passed: started.elapsed().as_secs_f64(),
        used,
    })
}

/// The program, if it replays standard input.
fn replaying_tailll() -> Result<Option<PathBuf>> {
    let path = beside("tailll")?;
    let help = Command::new(&path).arg("--help").output();
    let replays = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--stdin"));
    Ok(replays.then_some(path))
}

fn beside(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this
        .parent()
        .context("no folder of this program")?
        .join(name))
}

/// tailspin, where `scripts/test-packages.sh bench` has put it, or in the search path.
fn tspin() -> Result<Option<PathBuf>> {
    let installed = beside("../tools/bin/tspin")?;
    if fs::exists(&installed)? {
        return Ok(Some(installed));
    }
    let found = Command::new("tspin")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    Ok(found.is_ok().then(|| "tspin".into()))
}
