//! `tailll ls`: which instances there are, where, and which log files they have.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;

use crate::causes::plain;
use crate::chain::{Layout, Link};
use crate::clock::Clock;
use crate::config::Config;
use crate::console::{Console, ConsoleError, Streams};
use crate::exit::Exit;
use crate::instance::{Instance, Place};
use crate::options::{Environment, Options};
use crate::pool::Patience;
use crate::reach::Reach;
use crate::render::Format;
use crate::resolve::Context;
use crate::roster::Roster;
use crate::run::ATTEMPTS;
use crate::selection::FileSelection;
use crate::source::FileLabel;
use crate::transport::{OpenError, Transport};

/// An instance and what was found of it.
struct Found {
    instance: Arc<Instance>,
    /// Its logs, or why they could not be listed.
    links: Result<Vec<Link>, String>,
}

/// Lists the targets' instances and files.
///
/// # Errors
/// See [`ConsoleError`]. Hosts that cannot be reached are said, and make the exit code.
pub async fn run(
    options: Options,
    config: Config,
    environment: Environment,
    streams: Streams,
    clock: Clock,
) -> Result<Exit, ConsoleError> {
    let mut console = Console::open(streams, options.talk)?;
    let format = options.format;
    let talker = console.talker.clone();
    let pauser = console.out.pauser();
    let listing = async {
        let context = Context::new(&options, &config, &environment, clock);
        let roster = Roster::call(&options.targets, &context, &options.selection, &talker).await;
        let mut reach = Reach::new(
            options.ssh,
            environment.home,
            Patience::Attempts(ATTEMPTS),
            clock,
            talker.clone(),
            pauser,
        );
        let found = list_all(&roster, &mut reach, Arc::new(options.selection)).await;
        (roster, found)
    };
    let (roster, found) = tokio::select! {
        listed = listing => listed,
        exit = console.signals.next() => return Ok(exit),
    };
    for found in &found {
        let name = found.instance.label.name();
        match &found.links {
            Err(why) => talker.say(&format!("{name}: {why}")),
            Ok(links) if links.is_empty() => talker.say(&format!("{name}: no log file is there")),
            Ok(_) => {}
        }
    }
    let now_s = clock.arrival().wall_ns / 1_000_000_000;
    let text = match format {
        Format::Default => table(&found, now_s),
        Format::Raw => paths(&found),
        Format::Json => objects(&found),
    };
    if matches!(format, Format::Default) && !found.is_empty() {
        talker.note(&summary(&found));
    }
    // A reader that has left is no error.
    let _ = console.out.data(text.into_bytes()).await;
    drop(talker);
    console.close().await?;
    let failed = found.iter().filter(|found| found.links.is_err()).count();
    Ok(if found.is_empty() {
        roster.nothing()
    } else if failed == found.len() {
        Exit::Unreachable
    } else if failed + roster.bad_targets + roster.silent > 0 {
        Exit::Partial
    } else {
        Exit::Success
    })
}

/// Lists the files of all instances at once; the pool limits how many hosts are dialled at a time.
async fn list_all(roster: &Roster, reach: &mut Reach, selection: Arc<FileSelection>) -> Vec<Found> {
    let mut tasks = JoinSet::new();
    for (number, instance) in roster.instances.iter().enumerate() {
        let instance = Arc::new(instance.clone());
        let transport = reach.transport(&instance.place, instance.as_role.as_ref());
        let selection = Arc::clone(&selection);
        tasks.spawn(async move {
            let links = list(&instance, &transport, &selection).await;
            (number, Found { instance, links })
        });
    }
    // A task that panics is a bug of ours; its instance is then missing from the count, and the panic is on standard error.
    let mut found: Vec<(usize, Found)> = tasks.join_all().await;
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, found)| found).collect()
}

async fn list(
    instance: &Instance,
    transport: &Transport,
    selection: &FileSelection,
) -> Result<Vec<Link>, String> {
    let layout = Layout::new(&instance.files).map_err(|error| error.to_string())?;
    let listing = match transport.list(layout.patterns()).await {
        Ok(listing) => listing,
        Err(OpenError::Refused(why) | OpenError::Failed(why)) => return Err(why),
        Err(error) => return Err(error.to_string()),
    };
    let links = selection.choose(&layout, &listing);
    match listing.denied.first() {
        Some(denied) if links.is_empty() => Err(format!(
            "permission denied: {}; log in as somebody who may read it with --user, or become one with --become",
            plain(denied)
        )),
        _ => Ok(links),
    }
}

/// A table for people, a file a line.
fn table(found: &[Found], now_s: i64) -> String {
    const HEAD: [&str; 5] = ["INSTANCE", "HOST", "FILE", "SIZE", "WRITTEN"];
    let mut rows: Vec<[String; 5]> = vec![HEAD.map(str::to_owned)];
    for Found { instance, links } in found {
        let label = &instance.label;
        let name = match label.instance {
            Some(number) => format!("{}/{number}", label.job),
            None => label.job.clone(),
        };
        let (name, host) = (plain(&name), plain(&label.host));
        match links {
            Ok(links) if !links.is_empty() => rows.extend(links.iter().map(|link| {
                [
                    name.clone(),
                    host.clone(),
                    file_name(link),
                    size(link.stat.size),
                    age(now_s - link.stat.modified_s),
                ]
            })),
            Ok(_) | Err(_) => rows.push([name, host, "-".into(), "-".into(), "-".into()]),
        }
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [0, 1, 2, 3, 4].map(width);
    let mut text = String::new();
    for row in &rows {
        let [name, host, file, size, written] = row;
        let _ = writeln!(
            text,
            "{name:<w0$}  {host:<w1$}  {file:<w2$}  {size:>w3$}  {written:>w4$}",
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
            w4 = widths[4],
        );
    }
    text
}

/// `host:path` a line, as `scp` takes it.
fn paths(found: &[Found]) -> String {
    let mut text = String::new();
    for Found { instance, links } in found {
        for link in links.iter().flatten() {
            let path = plain(&String::from_utf8_lossy(&link.stat.path));
            let _ = match &instance.place {
                Place::Local => writeln!(text, "{path}"),
                Place::Ssh(login) => writeln!(text, "{login}:{path}"),
            };
        }
    }
    text
}

/// One JSON object a file; an instance without any has one with nulls.
fn objects(found: &[Found]) -> String {
    let mut text = String::new();
    for Found { instance, links } in found {
        let label = &instance.label;
        let mut object = |link: Option<&Link>| {
            let (process, run, stream) = match link.map(|link| &link.label) {
                Some(FileLabel::Process {
                    process,
                    run,
                    stream,
                }) => (Some(process), Some(run), Some(stream.name())),
                Some(FileLabel::Executor { stream }) => (None, None, Some(stream.name())),
                Some(FileLabel::Plain { .. }) | None => (None, None, None),
            };
            let value = json!({
                "job": label.job,
                "instance": label.instance,
                "host": label.host,
                "task_id": label.task_id,
                "process": process,
                "run": run,
                "stream": stream,
                "file": link.map(|link| String::from_utf8_lossy(&link.stat.path).into_owned()),
                "size": link.map(|link| link.stat.size),
                "modified": link
                    .and_then(|link| Timestamp::from_second(link.stat.modified_s).ok())
                    .map(|time| time.to_string()),
                "live": link.map(|link| link.rank.rotation.is_live()),
                "error": links.as_ref().err(),
            });
            let _ = writeln!(text, "{value}");
        };
        match links {
            Ok(links) if !links.is_empty() => links.iter().for_each(|link| object(Some(link))),
            Ok(_) | Err(_) => object(None),
        }
    }
    text
}

/// What a file is called in the table: `server/0 stdout`, `server/0 stdout.1`, or its path.
fn file_name(link: &Link) -> String {
    let path = String::from_utf8_lossy(&link.stat.path);
    plain(&match &link.label {
        FileLabel::Process { process, run, .. } => {
            let name = path.rsplit('/').next().unwrap_or_default();
            format!("{process}/{run} {name}")
        }
        FileLabel::Executor { .. } => {
            let name = path.rsplit('/').next().unwrap_or_default();
            format!("executor {name}")
        }
        FileLabel::Plain { .. } => path.into_owned(),
    })
}

/// Bytes for people: `17 B`, `1.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be rounded up to 1024 is one of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// How long ago, for people: `3 s ago`, `2 h ago`. A clock ahead of ours says `now`.
fn age(seconds: i64) -> String {
    match seconds {
        ..=0 => "now".to_owned(),
        1..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

fn summary(found: &[Found]) -> String {
    let hosts: std::collections::HashSet<&str> = found
        .iter()
        .map(|found| found.instance.label.host.as_str())
        .collect();
    let links = || found.iter().flat_map(|found| found.links.iter().flatten());
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    format!(
        "{} on {}, {}, {}",
        count(found.len(), "instance"),
        count(hosts.len(), "host"),
        count(links().count(), "file"),
        size(links().map(|link| link.stat.size).sum())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes: Vec<String> = [0, 1023, 1024, 1_048_500, 1_048_576, 5 << 30, u64::MAX]
            .map(size)
            .to_vec();
        assert_eq!(
            sizes,
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1023.9 KiB",
                "1.0 MiB",
                "5.0 GiB",
                "16.0 EiB"
            ]
        );
        let ages: Vec<String> = [-5, 0, 1, 119, 120, 7_199, 7_200, 172_800, i64::MAX]
            .map(age)
            .to_vec();
        insta::assert_snapshot!(ages.join(", "), @"now, now, 1 s ago, 119 s ago, 2 min ago, 119 min ago, 2 h ago, 2 d ago, 106751991167300 d ago");
    }
}
