//! How many times and levels of real logs come out right: `cargo run --release -p joblog --example accuracy -- DIR`.
//!
//! `DIR` is a folder of Loghub's samples, one folder a system with `NAME_2k.log` and `NAME_2k.log_structured.csv`. The expected
//! time and level are built from the columns of the CSV, which were cut from the lines by hand-written patterns.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to a person"
)]

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use joblog::lines::Splitter;
use joblog::{Level, RecordParser};

/// How many differences are shown for each system.
const SHOWN: usize = 3;

/// The year that lines without one are taken to be from. Any would do.
const YEAR: i16 = 2026;

/// A row of the CSV, by column name.
type Row = HashMap<String, String>;

/// What the CSV of a system says of a line.
struct System {
    name: &'static str,
    time: fn(&Row) -> Option<i64>,
    level: Option<fn(&Row) -> Option<Level>>,
}

const SYSTEMS: [System; 8] = [
    System {
        name: "Android",
        time: |row| {
            let (month, day) = row["Date"].split_once('-')?;
            ns(YEAR, month, day, &row["Time"])
        },
        level: Some(|row| {
            Some(match row["Level"].as_str() {
                "V" => Level::Trace,
                "D" => Level::Debug,
                "I" => Level::Info,
                "W" => Level::Warn,
                "E" => Level::Error,
                "F" => Level::Fatal,
                _ => return None,
            })
        }),
    },
    System {
        name: "Apache",
        time: |row| {
            let parts: Vec<_> = row["Time"].split_whitespace().collect();
            let [_, month, day, clock, year] = parts[..] else {
                return None;
            };
            ns(year.parse().ok()?, month, day, clock)
        },
        level: Some(named_level),
    },
    System {
        name: "HPC",
        time: |row| {
            row["Time"]
                .parse::<i64>()
                .ok()
                .map(|seconds| seconds * 1_000_000_000)
        },
        level: None,
    },
    System {
        name: "Hadoop",
        time: date_and_time,
        level: Some(named_level),
    },
    System {
        name: "HealthApp",
        time: |row| {
            let (date, clock) = row["Time"].split_once('-')?;
            let parts: Vec<_> = clock.split(':').collect();
            let [hour, minute, second, millis] = parts[..] else {
                return None;
            };
            let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
            // Its numbers are not padded.
            let millis: u32 = millis.parse().ok()?;
            let clock = format!("{hour}:{minute}:{second}.{millis:03}");
            ns(year.parse().ok()?, month, day, &clock)
        },
        level: None,
    },
    System {
        name: "Linux",
        time: |row| ns(YEAR, &row["Month"], &row["Date"], &row["Time"]),
        level: None,
    },
    System {
        name: "OpenSSH",
        time: |row| ns(YEAR, &row["Date"], &row["Day"], &row["Time"]),
        level: None,
    },
    System {
        name: "Windows",
        time: date_and_time,
        level: Some(named_level),
    },
];

fn date_and_time(row: &Row) -> Option<i64> {
    let parts: Vec<_> = row["Date"].split('-').collect();
    let [year, month, day] = parts[..] else {
        return None;
    };
    ns(year.parse().ok()?, month, day, &row["Time"])
}

fn named_level(row: &Row) -> Option<Level> {
    Some(match row["Level"].to_ascii_lowercase().as_str() {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" | "notice" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" => Level::Error,
        "fatal" | "crit" | "alert" | "emerg" => Level::Fatal,
        _ => return None,
    })
}

/// Nanoseconds since 1970 by the time library, not by the code that is measured.
fn ns(year: i16, month: &str, day: &str, clock: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = match MONTHS.iter().position(|name| *name == month) {
        Some(index) => index as i8 + 1,
        None => month.parse().ok()?,
    };
    let mut parts = clock.split([':', '.', ',']);
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let nanos = parts
        .next()
        .map_or(Some(0), |fraction| format!("{fraction:0<9}").parse().ok())?;
    let time = Time::new(
        hour.parse().ok()?,
        minute.parse().ok()?,
        second.parse().ok()?,
        nanos,
    )
    .ok()?;
    let date = Date::new(year, month, day.parse().ok()?).ok()?;
    let at = TimeZone::UTC
        .to_ambiguous_timestamp(date.to_datetime(time))
        .compatible()
        .ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// Reads a CSV with quoted fields; the first row names the columns.
fn read_csv(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    let mut rows = rows.into_iter();
    let header = rows.next().unwrap_or_default();
    rows.map(|row| header.iter().cloned().zip(row).collect())
        .collect()
}

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: accuracy DIR, the folder of Loghub's samples");
        return ExitCode::from(2);
    };
    println!(
        "{:<10} {:>6} {:>12} {:>12}",
        "system", "lines", "times right", "levels right"
    );
    let mut exit = ExitCode::SUCCESS;
    for system in &SYSTEMS {
        if let Err(error) = measure(Path::new(&folder), system) {
            eprintln!("{}: {error}", system.name);
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

fn measure(folder: &Path, system: &System) -> std::io::Result<()> {
    let file = folder
        .join(system.name)
        .join(format!("{}_2k.log", system.name));
    let log = std::fs::read(&file)?;
    let csv = std::fs::read(file.with_extension("log_structured.csv"))?;
    let rows = read_csv(&String::from_utf8_lossy(&csv));

    let middle_of_year = ns(YEAR, "7", "1", "12:00:00").unwrap_or_default();
    let mut parser = RecordParser::new(TimeZone::UTC, middle_of_year);
    let mut records = Vec::new();
    let mut each = |line: joblog::lines::RawLine<'_>| {
        let record = parser.parse(line.bytes);
        records.push((
            record.ts_ns,
            record.level,
            String::from_utf8_lossy(line.bytes).into_owned(),
        ));
    };
    let mut splitter = Splitter::new(1 << 20, 0);
    splitter.push(&log, &mut each);
    splitter.finish(&mut each);
    if records.len() != rows.len() {
        return Err(std::io::Error::other(format!(
            "{} lines but {} rows",
            records.len(),
            rows.len()
        )));
    }

    let (mut times, mut levels) = (0, 0);
    let mut wrong = Vec::new();
    for (row, (ts_ns, level, line)) in rows.iter().zip(&records) {
        let expected = (system.time)(row);
        if expected.is_some() && expected == *ts_ns {
            times += 1;
        } else {
            wrong.push(format!("time {ts_ns:?}, not {expected:?}: {line}"));
        }
        let expected = system.level.and_then(|level| level(row));
        if expected.is_some() && expected == *level {
            levels += 1;
        } else if system.level.is_some() {
            wrong.push(format!("level {level:?}, not {expected:?}: {line}"));
        }
    }
    let levels = if system.level.is_some() {
        levels.to_string()
    } else {
        let some = records
            .iter()
            .filter(|(_, level, _)| level.is_some())
            .count();
        format!("no truth ({some} found)")
    };
    println!(
        "{:<10} {:>6} {times:>12} {levels:>12}",
        system.name,
        rows.len()
    );
    for difference in wrong.iter().take(SHOWN) {
        println!("    {difference}");
    }
    if system.level.is_none() {
        for (_, level, line) in records
            .iter()
            .filter(|(_, level, _)| level.is_some())
            .take(SHOWN)
        {
            println!("    without truth: {level:?}: {line}");
        }
    }
    Ok(())
}
