//! What `shipper explain` and `shipper validate` print.
//!
//! The facts are those of `explain` and `cost`; here they become text for people, or one JSON object. Names of strangers are made
//! harmless in text, and left as they are in JSON.

use std::io::{self, Write};
use std::path::Path;

use archive::Encoding;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::Report;
use crate::cost::{Cost, DOLLARS_PER_GB_MONTH, DOLLARS_PER_MILLION_PUTS, Fleet};
use crate::explain::{Explained, Finding, Weight};
use crate::printable::{self, plain};
use crate::rules::{Certainty, Refused};

/// How the job of a file is known, in words.
const fn certainty_text(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::TaskInfo => "by the Mesos agent's own record of the task",
        Certainty::AgentState => "by the Mesos agent's answer",
        Certainty::TaskId => {
            "read from the task's id; where role, environment and name end in it is a guess"
        }
        Certainty::Unknown => "not known: the executor's name is none that Aurora gives",
        Certainty::Rule => "by the rule's template",
    }
}

/// What becomes of the file at `path`.
pub fn explained(
    path: &Path,
    explained: &Explained,
    report: Report,
    out: &mut dyn Write,
) -> io::Result<()> {
    match report {
        Report::Text => explained_text(path, explained, out),
        Report::Json => {
            serde_json::to_writer(&mut *out, &ExplainedJson::of(path, explained))?;
            out.write_all(b"\n")
        }
    }
}

/// That no rule takes the file at `path`.
pub fn refused(
    path: &Path,
    refused: &Refused,
    report: Report,
    out: &mut dyn Write,
) -> io::Result<()> {
    match report {
        Report::Text => {
            let path = plain(&path.to_string_lossy());
            writeln!(out, "{path}: no rule takes it: {}", plain(&refused.0))
        }
        Report::Json => {
            #[derive(Serialize)]
            struct Json<'a> {
                path: &'a str,
                refused: &'a str,
            }
            let json = Json {
                path: &path.to_string_lossy(),
                refused: &refused.0,
            };
            serde_json::to_writer(&mut *out, &json)?;
            out.write_all(b"\n")
        }
    }
}

/// A time in seconds, for people.
fn time(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(
        |_| "?".to_owned(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

fn explained_text(path: &Path, explained: &Explained, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<9} {}", plain(value));
    let owner = &explained.owner;
    let origin = &owner.origin;
    line("file", &path.to_string_lossy())?;
    match &explained.file {
        Ok(stat) => {
            let names = match stat.links {
                1 => "1 name".to_owned(),
                links => format!("{links} names"),
            };
            line(
                "",
                &format!(
                    "{}, written {}, inode {}, {names}",
                    printable::bytes(stat.size),
                    time(stat.mtime_ns),
                    stat.id.ino
                ),
            )?;
        }
        Err(error) => line("", &format!("it cannot be opened now: {error}"))?,
    }
    line("rule", &explained.rule)?;
    line("opened", &format!("beneath {}", explained.root.display()))?;
    let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
    line(
        "job",
        &format!(
            "{}/{}/{}/{}",
            owner.cluster,
            part(&origin.role),
            part(&origin.env),
            part(&origin.job)
        ),
    )?;
    line("", certainty_text(owner.certainty))?;
    line("instance", &origin.instance.to_string())?;
    let run = origin.process.as_ref().map(|_| origin.run.to_string());
    for (name, value) in [
        ("task", &origin.task_id),
        ("process", &origin.process),
        ("run", &run),
        ("stream", &origin.stream),
        ("host", &origin.host),
        ("build", &origin.git_sha),
    ] {
        if let Some(value) = value {
            line(name, value)?;
        }
    }
    match &explained.src {
        Some(src) => line("src", src.as_str())?,
        None => line("src", "given when the agent pins it")?,
    }
    line("key", &explained.key)
}

/// The JSON object of `explain`. Keys may be added, never changed.
#[derive(Serialize)]
struct ExplainedJson<'a> {
    path: String,
    rule: &'a str,
    root: String,
    cluster: &'a str,
    role: Option<&'a str>,
    env: Option<&'a str>,
    job: Option<&'a str>,
    certainty: Certainty,
    instance: u32,
    task_id: Option<&'a str>,
    process: Option<&'a str>,
    run: u32,
    stream: Option<&'a str>,
    host: Option<&'a str>,
    git_sha: Option<&'a str>,
    src: Option<&'a str>,
    key: &'a str,
    size: Option<u64>,
    mtime_ns: Option<i64>,
    inode: Option<u64>,
    links: Option<u32>,
    not_opened: Option<String>,
}

impl<'a> ExplainedJson<'a> {
    fn of(path: &Path, explained: &'a Explained) -> Self {
        let origin = &explained.owner.origin;
        let stat = explained.file.as_ref().ok();
        Self {
            path: path.to_string_lossy().into_owned(),
            rule: &explained.rule,
            root: explained.root.to_string_lossy().into_owned(),
            cluster: &explained.owner.cluster,
            role: origin.role.as_deref(),
            env: origin.env.as_deref(),
            job: origin.job.as_deref(),
            certainty: explained.owner.certainty,
            instance: origin.instance,
            task_id: origin.task_id.as_deref(),
            process: origin.process.as_deref(),
            run: origin.run,
            stream: origin.stream.as_deref(),
            host: origin.host.as_deref(),
            git_sha: origin.git_sha.as_deref(),
            src: explained.src.as_ref().map(crate::file_id::Src::as_str),
            key: &explained.key,
            size: stat.map(|stat| stat.size),
            mtime_ns: stat.map(|stat| stat.mtime_ns),
            inode: stat.map(|stat| stat.id.ino),
            links: stat.map(|stat| stat.links),
            not_opened: explained.file.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What a fleet's archive costs.
pub fn cost(fleet: &Fleet, report: Report, out: &mut dyn Write) -> io::Result<()> {
    let month = fleet.month();
    match report {
        Report::Json => {
            serde_json::to_writer(&mut *out, &CostJson::of(fleet, &month))?;
            out.write_all(b"\n")
        }
        Report::Text => {
            writeln!(
                out,
                "{} hosts with {} jobs each, {} kB of logs a second and host; a batch closes after {} s or {}; {} bytes of logs for \
                 each byte of {}\n",
                printable::count(u64::from(fleet.hosts)),
                fleet.jobs,
                fleet.raw_bytes_per_second / 1000.0,
                fleet.flush_seconds,
                printable::bytes(fleet.batch_bytes as u64),
                fleet.ratio,
                match fleet.encoding {
                    Encoding::Parquet => "Parquet",
                    Encoding::Ndjson => "gzip NDJSON",
                },
            )?;
            writeln!(out, "{month}\n")?;
            writeln!(
                out,
                "A month has 30 days. {DOLLARS_PER_MILLION_PUTS} $ for a million PUTs, {DOLLARS_PER_GB_MONTH} $ for a GB and month: \
                 list prices of us-east-1's standard class."
            )
        }
    }
}

/// The JSON object of `explain --cost`: a month of the whole fleet.
#[derive(Serialize)]
struct CostJson {
    hosts: u32,
    jobs: u32,
    raw_bytes_per_second: f64,
    flush_seconds: f64,
    batch_bytes: f64,
    encoding: &'static str,
    ratio: f64,
    objects: f64,
    checkpoints: f64,
    object_bytes: f64,
    stored_bytes: f64,
    put_dollars: f64,
    put_dollars_by_job: f64,
    storage_dollars: f64,
}

impl CostJson {
    fn of(fleet: &Fleet, month: &Cost) -> Self {
        Self {
            hosts: fleet.hosts,
            jobs: fleet.jobs,
            raw_bytes_per_second: fleet.raw_bytes_per_second,
            flush_seconds: fleet.flush_seconds,
            batch_bytes: fleet.batch_bytes,
            encoding: match fleet.encoding {
                Encoding::Parquet => "parquet",
                Encoding::Ndjson => "ndjson",
            },
            ratio: fleet.ratio,
            objects: month.objects,
            checkpoints: month.checkpoints,
            object_bytes: month.object_bytes,
            stored_bytes: month.stored_bytes,
            put_dollars: month.put_dollars,
            put_dollars_by_job: month.put_dollars_by_job,
            storage_dollars: month.storage_dollars,
        }
    }
}

/// What a host has against a configuration: errors first, then warnings, then what it comes to.
pub fn findings(file: &Path, findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    let mut counts = [0_u64; 2];
    for (at, (weight, word)) in [(Weight::Error, "error"), (Weight::Warning, "warning")]
        .into_iter()
        .enumerate()
    {
        for finding in findings.iter().filter(|finding| finding.weight == weight) {
            writeln!(out, "{word}: {}", plain(&finding.text))?;
            counts[at] += 1;
        }
    }
    let [errors, warnings] = counts;
    let number = |number: u64, word: &str| match number {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    };
    let file = plain(&file.to_string_lossy());
    match (errors, warnings) {
        (0, 0) => writeln!(out, "{file}: good, and this host can do what it says"),
        (0, _) => writeln!(out, "{file}: good; {}", number(warnings, "warning")),
        _ => writeln!(
            out,
            "{file}: good in itself; {} and {} about this host",
            number(errors, "error"),
            number(warnings, "warning")
        ),
    }
}

#[cfg(test)]
mod tests;
