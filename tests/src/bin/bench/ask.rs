//! Questions to an archive, as whole programs: the time of each on both encodings, beside DuckDB's on the same Parquet; the bytes
//! read for one hour of one job; the time to the first row of an answer; the time of a start.
//!
//! The archive is a day of twenty jobs in a folder. What `queries` takes is the time of its process from start to end, and beside
//! it that of the statement alone as the program tells it; what DuckDB takes is the time of the statement alone, in a process that
//! has asked it once before.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use archive::encode::{ObjectWriter, WriteOptions};
use archive::{AgentId, Encoding, Flags, Hour, Incarnation, ObjectKey, Origin, Row};
use e2e::processes::ended_children_cpu_seconds;
use e2e::writers::Rng;
use joblog::Level;

use crate::ship::sizes;
use crate::{beside, median, say};

const HOURS: u64 = 24;
const JOBS: u64 = 20;
/// Objects in an hour, each of another agent.
const AGENTS: u64 = 2;
/// 2026-11-01T00:00:00Z.
const DAY_NS: i64 = 1_793_491_200_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;
/// The hour that is asked for alone.
const HOUR: u64 = 9;
/// The request that is asked for.
const ASKED_FOR: u64 = 123_456;
/// How often the program is started in a round.
const STARTS_A_ROUND: usize = 10;

/// A question in both dialects.
struct Question {
    what: &'static str,
    trino: &'static str,
    duckdb: &'static str,
}

const QUESTIONS: [Question; 3] = [
    Question {
        what: "count by level",
        trino: "SELECT level, count(*) AS n FROM logs GROUP BY level ORDER BY level",
        duckdb: "SELECT level, count(*) AS n FROM logs GROUP BY level ORDER BY level",
    },
    Question {
        what: "regexp count",
        trino: r"SELECT count(*) AS n FROM logs WHERE regexp_like(line, 'status=5\d\d latency_ms=8\d\d')",
        duckdb: r"SELECT count(*) AS n FROM logs WHERE regexp_matches(line, 'status=5\d\d latency_ms=8\d\d')",
    },
    Question {
        what: "one request id",
        trino: "SELECT job, line FROM logs WHERE request_id = 'req-000000000001e240' ORDER BY line",
        duckdb: "SELECT job, line FROM logs WHERE request_id = 'req-000000000001e240' ORDER BY line",
    },
];

/// Asks DuckDB each statement of its arguments twice, and prints its rows as CSV and then the seconds of the second time.
const DUCKDB: &str = r#"
import sys, time, csv, duckdb
files, *statements = sys.argv[1:]
db = duckdb.connect()
db.execute("CREATE VIEW logs AS SELECT * FROM read_parquet('" + files + "', hive_partitioning=false)")
for statement in statements:
    db.execute(statement).fetchall()
    start = time.perf_counter()
    rows = db.execute(statement).fetchall()
    seconds = time.perf_counter() - start
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    print("seconds", seconds, flush=True)
"#;

pub(crate) fn run(rounds: usize, megabytes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut days = Vec::new();
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let day = Day::write(folder.path(), encoding, megabytes as u64 * 1_000_000)?;
        say(&format!(
            "\nask: {}: {JOBS} jobs, {HOURS} hours, {} MB raw in {} MB",
            encoding.extension(),
            day.raw_bytes / 1_000_000,
            day.size(None) / 1_000_000
        ));
        days.push(day);
    }
    for question in &QUESTIONS {
        compare(question, &days, rounds)?;
    }
    for day in &days {
        day.one_hour(rounds)?;
    }
    starts(rounds)
}

/// A day in an archive of its own.
struct Day {
    root: PathBuf,
    encoding: Encoding,
    raw_bytes: u64,
}

/// What a run came to.
struct Run {
    seconds: f64,
    cpu_seconds: f64,
    stdout: String,
    stderr: String,
}

impl Day {
    fn write(folder: &Path, encoding: Encoding, bytes: u64) -> Result<Self> {
        let root = folder.join(encoding.extension());
        let mut rng = Rng::new(1);
        let mut raw_bytes = 0;
        for hour in 0..HOURS {
            for agent in 1..=AGENTS {
                let mut writer = ObjectWriter::new(encoding, Vec::new(), &WriteOptions::default())?;
                for job in 0..JOBS {
                    let wanted = bytes / HOURS / AGENTS / JOBS;
                    raw_bytes += write_log(&mut writer, &mut rng, hour, agent, job, wanted)?;
                }
                let key = ObjectKey::new(
                    "aa",
                    Hour::of_ns(start_ns(hour)),
                    format!("{agent:016x}").parse::<AgentId>()?,
                    Incarnation(1),
                    hour,
                    encoding,
                )?;
                let path = root.join(key.to_string());
                fs::create_dir_all(path.parent().context("a folder")?)?;
                fs::write(path, writer.finish()?.0)?;
            }
        }
        Ok(Self {
            root,
            encoding,
            raw_bytes,
        })
    }

    /// The bytes of all objects, or of those of one hour.
    fn size(&self, hour: Option<u64>) -> u64 {
        let cluster = self.root.join("logs/v1/cluster=aa");
        let (_, bytes) = match hour {
            Some(hour) => sizes(&cluster.join(format!("dh=2026-11-01-{hour:02}"))),
            None => sizes(&cluster),
        };
        bytes
    }

    fn queries(&self, words: &[&str]) -> Result<Command> {
        let mut command = queries()?;
        command
            .arg("--archive")
            .arg(format!("file://{}", self.root.display()))
            .args(words);
        Ok(command)
    }

    fn sql(&self, statement: &str) -> Result<Run> {
        run_to_end(self.queries(&["sql", "-o", "csv", "--no-header", statement])?)
    }

    /// One hour of one job: what is read, what was foretold, and when the first row came.
    fn one_hour(&self, rounds: usize) -> Result<()> {
        let (from, to) = (time(HOUR), time(HOUR + 1));
        let words = [
            "run",
            "grep",
            "--pattern",
            "status=5",
            "--limit",
            "100000",
            "-o",
            "csv",
            "-c",
            "aa",
            "-j",
            "www-data/prod/job07",
            "-f",
            &from,
            "-t",
            &to,
        ];
        let mut first = Vec::new();
        for _ in 0..rounds {
            let begun = Instant::now();
            let mut child = self
                .queries(&words)?
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let mut lines = BufReader::new(child.stdout.take().context("its output")?);
            for _ in 0..2 {
                let mut line = String::new();
                ensure!(lines.read_line(&mut line)? > 0, "no row");
            }
            first.push(begun.elapsed().as_secs_f64());
            lines.read_to_end(&mut Vec::new())?;
            ensure!(child.wait()?.success(), "queries failed");
        }
        let run = run_to_end(self.queries(&words)?)?;
        let hour_bytes = self.size(Some(HOUR));
        let read = told_bytes(&run.stderr, " read").context("bytes read")?;
        let foretold = told_bytes(&run.stderr, ", about ").context("bytes foretold")?;
        say(&format!(
            "ask: {}: one job, one hour: first row after {:.2} s (median), {:.2} MB read of the hour's {:.2} MB ({:.1} %), foretold {:.2} MB",
            self.encoding.extension(),
            median(&mut first),
            read / 1e6,
            hour_bytes as f64 / 1e6,
            100.0 * read / hour_bytes as f64,
            foretold / 1e6,
        ));
        Ok(())
    }
}

fn start_ns(hour: u64) -> i64 {
    DAY_NS + hour as i64 * HOUR_NS
}

fn time(hour: u64) -> String {
    format!("2026-11-01T{hour:02}")
}

/// Lines of a service, spread over an hour; how many bytes they have.
fn write_log(
    writer: &mut ObjectWriter<Vec<u8>>,
    rng: &mut Rng,
    hour: u64,
    agent: u64,
    job: u64,
    bytes: u64,
) -> Result<u64> {
    let origin = Origin {
        role: Some("www-data".to_owned()),
        env: Some("prod".to_owned()),
        job: Some(format!("job{job:02}")),
        instance: agent as u32,
        task_id: Some(format!("www-data-prod-job{job:02}-{agent}-{}", rng.uuid())),
        process: Some("server".to_owned()),
        run: 0,
        stream: Some("stdout".to_owned()),
        host: Some(format!("node{agent:04}.example.com")),
        src: format!("{agent:016x}-{}-{}", 4_000_000 + job, start_ns(hour)),
        git_sha: Some("3f786850e387550fdab836ed7e6dc881de23001b".to_owned()),
    };
    // About; the last lines of an hour share its last moment.
    let lines = bytes / 150;
    let (mut off, mut at) = (0, 0);
    while off < bytes {
        let ts_ns = start_ns(hour) + (HOUR_NS - 1).min(at * (HOUR_NS / (lines as i64 + 1)));
        at += 1;
        let number = match (hour, agent, job, off) {
            (HOUR, 1, 7, 0) => ASKED_FOR,
            _ => rng.below(10_000_000),
        };
        let request = format!("req-{number:016x}");
        let status = [200, 200, 200, 404, 500, 503][rng.below(6) as usize];
        let text = format!(
            "2026-11-01T{hour:02}:{:02}:{:02}.{:03}Z INFO [worker-{}] handled {request} path=/api/v1/items/{} status={status} latency_ms={} bytes={}",
            at / 60 % 60,
            at % 60,
            rng.below(1000),
            rng.below(8),
            rng.below(65_536),
            rng.below(1000),
            rng.below(65_536),
        );
        let len = text.len() as u64 + 1;
        writer.row(&Row {
            origin: &origin,
            ts_ns,
            ingest_ns: ts_ns + 1_500_000_000,
            epoch: 0,
            off,
            len,
            level: Some(if status >= 500 {
                Level::Error
            } else {
                Level::Info
            }),
            request_id: Some(&request),
            trace_id: None,
            tpl: Some(0x1234_5678_9abc_def0),
            line: Some(text.as_bytes()),
            flags: Flags::default(),
        })?;
        off += len;
    }
    Ok(off)
}

fn queries() -> Result<Command> {
    let mut command = beside("queries")?;
    command.env_remove("QUERIES_CONFIG").stdin(Stdio::null());
    Ok(command)
}

fn run_to_end(mut command: Command) -> Result<Run> {
    let cpu_before = ended_children_cpu_seconds()?;
    let begun = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = command.output()?;
    let seconds = begun.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(status.success(), "{command:?}: {status}\n{stderr}");
    Ok(Run {
        seconds,
        cpu_seconds: ended_children_cpu_seconds()? - cpu_before,
        stdout: String::from_utf8(stdout)?,
        stderr,
    })
}

/// One question to both encodings and to DuckDB, in turns.
fn compare(question: &Question, days: &[Day], rounds: usize) -> Result<()> {
    let mut seconds = vec![Vec::new(); days.len()];
    let mut alone = vec![Vec::new(); days.len()];
    let mut cpu = vec![Vec::new(); days.len()];
    let mut peer = Vec::new();
    for _ in 0..rounds {
        let mut answers = Vec::new();
        for (at, day) in days.iter().enumerate() {
            let run = day.sql(question.trino)?;
            seconds[at].push(run.seconds);
            alone[at].push(told_seconds(&run.stderr).context("the statement's time")?);
            cpu[at].push(run.cpu_seconds);
            answers.push(run.stdout);
            if day.encoding == Encoding::Parquet {
                match duckdb(&day.root, question.duckdb)? {
                    Some((answer, seconds)) => {
                        answers.push(answer);
                        peer.push(seconds);
                    }
                    None => peer.clear(),
                }
            }
        }
        let same = |answer: &String| unquoted(answer) == unquoted(&answers[0]);
        ensure!(
            answers.iter().all(same),
            "{}: different answers: {answers:?}",
            question.what
        );
    }
    for (at, day) in days.iter().enumerate() {
        let (wall, cpu) = (median(&mut seconds[at]), median(&mut cpu[at]));
        let raw = day.raw_bytes as f64 / 1e6;
        let beside = match day.encoding {
            Encoding::Ndjson => String::new(),
            _ if peer.is_empty() => "; DuckDB: not there".to_owned(),
            Encoding::Parquet => {
                let peer = median(&mut peer.clone());
                let alone = median(&mut alone[at]);
                format!(
                    "; the statement alone {alone:.3} s, DuckDB's {peer:.3} s: {:.2} of its time",
                    alone / peer
                )
            }
        };
        say(&format!(
            "ask: {}: {}: {wall:.3} s, {:.0} raw MB a CPU second (whole process){beside}",
            day.encoding.extension(),
            question.what,
            raw / cpu,
        ));
    }
    Ok(())
}

/// Quotes are a matter of taste in CSV; NULL is nothing in both.
fn unquoted(csv: &str) -> String {
    csv.replace('"', "")
}

/// What DuckDB answers, and in how many seconds; `None` where it is not installed.
fn duckdb(root: &Path, statement: &str) -> Result<Option<(String, f64)>> {
    let packages = python_packages()?.join("duckdb");
    if !packages.is_dir() {
        return Ok(None);
    }
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", packages)
        .args(["-c", DUCKDB])
        .arg(root.join("logs/v1/*/*/*.parquet"))
        .arg(statement)
        .stdin(Stdio::null());
    let run = run_to_end(command)?;
    let (answer, seconds) = run.stdout.rsplit_once("seconds ").context("its time")?;
    Ok(Some((answer.to_owned(), seconds.trim().parse()?)))
}

/// Where `scripts/test-packages.sh` puts Python packages.
fn python_packages() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TAILLL_TEST_PYTHON") {
        return Ok(folder.into());
    }
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent);
    Ok(target.context("no target folder")?.join("test-python"))
}

/// The number of bytes that stands before `mark` in what the program told.
fn told_bytes(text: &str, mark: &str) -> Option<f64> {
    text.match_indices(mark).find_map(|(at, _)| {
        let mut words = text[..at].rsplit([' ', '\n', '(']);
        let unit = match words.next()? {
            "B" => 1.0,
            "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            _ => return None,
        };
        Some(words.next()?.parse::<f64>().ok()? * unit)
    })
}

/// How long the statement took, as the program told it: `2 rows in 45 ms, …` or `… in 1.2 s, …`.
fn told_seconds(text: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(" in ")?;
        let (time, _) = rest.split_once(',')?;
        let (number, unit) = time.split_once(' ')?;
        let number: f64 = number.parse().ok()?;
        match unit {
            "ms" => Some(number / 1e3),
            "s" => Some(number),
            _ => None,
        }
    })
}

fn starts(rounds: usize) -> Result<()> {
    let mut seconds = Vec::new();
    for _ in 0..rounds * STARTS_A_ROUND {
        let mut command = queries()?;
        command.arg("ls");
        seconds.push(run_to_end(command)?.seconds * 1e3);
    }
    seconds.sort_by(f64::total_cmp);
    say(&format!(
        "ask: queries ls: median {:.1} ms, slowest {:.1} ms of {}",
        median(&mut seconds.clone()),
        seconds.last().copied().unwrap_or_default(),
        seconds.len()
    ));
    Ok(())
}
