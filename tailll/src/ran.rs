//! `tailll ls --since WHEN`: the instances that wrote lines in that time, by the archive.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use archive::history::{History, HistoryError, Item, Limits};
use archive::{Flags, Store};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::causes::{chain, plain};
use crate::clock::Clock;
use crate::config::Config;
use crate::console::{Console, ConsoleError, Streams};
use crate::exit::Exit;
use crate::ls::size;
use crate::moment::{self, End, Span};
use crate::options::{Environment, Options};
use crate::past::{Question, Wanted, jobs_of, times_of, zone_of_cluster};
use crate::render::Format;
use crate::resolve::{Context, resolve};
use crate::selection::FileSelection;
use crate::source::InstanceLabel;

/// Why nothing could be listed.
#[derive(Debug, thiserror::Error)]
pub enum RanError {
    /// Nobody said where.
    #[error(
        "--since asks for what ran before, which only an archive knows: give --archive, or set `archive` in the configuration"
    )]
    NoArchive,
    /// The way to the archive is wrong.
    #[error("the archive's [s3]")]
    Archive(#[from] archive::store::SettingsError),
    /// There is nobody to show it to.
    #[error(transparent)]
    Console(#[from] ConsoleError),
}

/// One task of an instance, as the archive has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ran {
    job: String,
    instance: u32,
    task_id: Option<String>,
    host: Option<String>,
    from_ns: i64,
    to_ns: i64,
    lines: u64,
    bytes: u64,
    /// Files of it that have rows, and those of them that are finished.
    files: u64,
    finished: u64,
}

impl Ran {
    /// Whether all its files are finished, so that the task is too.
    fn has_ended(&self) -> bool {
        self.files > 0 && self.finished == self.files
    }
}

/// Lists what ran.
///
/// # Errors
/// See [`RanError`]. What cannot be read is said, and makes the exit code.
pub async fn run(
    options: Options,
    config: Config,
    environment: Environment,
    streams: Streams,
    clock: Clock,
) -> Result<Exit, RanError> {
    let Some((root, s3)) = &options.archive else {
        return Err(RanError::NoArchive);
    };
    let store = archive::store::open(root, s3)?;
    let mut console = Console::open(streams, options.talk)?;
    let talker = console.talker.clone();
    let mut is_partial = false;
    let reading = async {
        let context = Context::new(&options, &config, &environment, clock);
        let mut resolution = resolve(&options.targets, &context).await;
        let now_ns = clock.arrival().wall_ns;
        let span = |zone: &TimeZone| {
            let at = |moment: &Option<moment::Moment>, end| {
                Some(moment.as_ref()?.resolve(end, now_ns, zone))
            };
            Span {
                since_ns: at(&options.since, End::Since).unwrap_or(Span::ALWAYS.since_ns),
                until_ns: at(&options.until, End::Until).unwrap_or(Span::ALWAYS.until_ns),
            }
        };
        let zone = options.timezone.clone().unwrap_or(TimeZone::UTC);
        let question = Question {
            sources: &resolution.sources,
            targets: &options.targets,
            stage: options.stage.as_deref(),
            ts_ns: times_of(span(&zone), now_ns),
        };
        let jobs = jobs_of(
            &store,
            question,
            &mut resolution.failures,
            &mut resolution.notes,
        )
        .await;
        for note in &resolution.notes {
            talker.say(note);
        }
        for failure in &resolution.failures {
            talker.say(&chain(failure));
        }
        is_partial |= !resolution.failures.is_empty();
        let mut ran = Vec::new();
        for (key, instances) in jobs {
            let zone = options
                .timezone
                .clone()
                .or_else(|| zone_of_cluster(&config, key.cluster()))
                .unwrap_or(TimeZone::UTC);
            let wanted = Wanted {
                span: span(&zone),
                key,
                instances,
                zone: zone.clone(),
            };
            match read(&store, &wanted, now_ns, &options.selection).await {
                Ok(found) => {
                    is_partial |= !found.damage.is_empty();
                    for damage in found.damage {
                        talker.say(&format!("archive: {damage}"));
                    }
                    ran.extend(found.ran);
                }
                Err(error) => {
                    is_partial = true;
                    talker.say(&format!("archive: {}: {}", wanted.key, chain(&error)));
                }
            }
        }
        ran
    };
    let ran = tokio::select! {
        ran = reading => ran,
        exit = console.signals.next() => return Ok(exit),
    };
    let zone = options.timezone.clone().unwrap_or(TimeZone::UTC);
    let text = match options.format {
        Format::Default => table(&ran, &zone),
        Format::Raw => ran
            .iter()
            .filter_map(|ran| Some(plain(ran.task_id.as_deref()?) + "\n"))
            .collect(),
        Format::Json => objects(&ran),
    };
    let text = if ran.is_empty() { String::new() } else { text };
    // A reader that has left is no error.
    let _ = console.out.data(text.into_bytes()).await;
    drop(talker);
    console.close().await.map_err(ConsoleError::from)?;
    Ok(match (ran.is_empty(), is_partial) {
        (_, true) => Exit::Partial,
        (true, false) => Exit::NoMatch,
        (false, false) => Exit::Success,
    })
}

/// What was found of a job.
struct Found {
    ran: Vec<Ran>,
    damage: Vec<String>,
}

async fn read(
    store: &Arc<dyn Store>,
    wanted: &Wanted,
    now_ns: i64,
    selection: &FileSelection,
) -> Result<Found, HistoryError> {
    let request = wanted.request(now_ns);
    let mut history = History::new(Arc::clone(store), request, Limits::default());
    let mut by_task: BTreeMap<(u32, i64, Option<String>), Ran> = BTreeMap::new();
    let mut of_file = BTreeMap::new();
    let mut first_of: BTreeMap<(u32, Option<String>), i64> = BTreeMap::new();
    let mut damage = Vec::new();
    while let Some(item) = history.next().await? {
        let (file, row) = match item {
            Item::Row { file, row, .. } => (file, row),
            Item::Hole { .. } => continue,
            Item::Damaged(error) => {
                damage.push(chain(&error));
                continue;
            }
        };
        let origin = &row.origin;
        let label = InstanceLabel {
            job: wanted.key.to_string(),
            key: None,
            instance: Some(origin.instance),
            host: origin.host.clone().unwrap_or_default(),
            task_id: origin.task_id.clone(),
        };
        if !of_file.contains_key(&file) && !selection.takes_instance(&label) {
            history.close(file);
            continue;
        }
        // Tasks of an instance stand in the order of their first lines.
        let first_ns = *first_of
            .entry((origin.instance, origin.task_id.clone()))
            .or_insert(row.ts_ns);
        let ran = by_task
            .entry((origin.instance, first_ns, origin.task_id.clone()))
            .or_insert_with(|| Ran {
                job: label.job,
                instance: origin.instance,
                task_id: origin.task_id.clone(),
                host: origin.host.clone(),
                from_ns: row.ts_ns,
                to_ns: row.ts_ns,
                lines: 0,
                bytes: 0,
                files: 0,
                finished: 0,
            });
        let is_finished = row.flags.contains(Flags::END);
        let was_finished = of_file.insert(file, is_finished);
        if was_finished.is_none() {
            ran.files += 1;
        }
        match (was_finished.unwrap_or(false), is_finished) {
            (false, true) => ran.finished += 1,
            (true, false) => ran.finished -= 1,
            _ => {}
        }
        ran.from_ns = ran.from_ns.min(row.ts_ns);
        ran.to_ns = ran.to_ns.max(row.ts_ns);
        ran.bytes += row.len;
        // The rest of a line whose beginning was read earlier is no line of its own.
        ran.lines += u64::from(
            row.line.is_some()
                && !row.flags.contains(Flags::UNFINISHED)
                && !row.flags.contains(Flags::PIECE),
        );
    }
    Ok(Found {
        ran: by_task.into_values().collect(),
        damage,
    })
}

/// A table for people, a task a line.
fn table(ran: &[Ran], zone: &TimeZone) -> String {
    const HEAD: [&str; 8] = [
        "INSTANCE", "HOST", "FROM", "TO", "LINES", "SIZE", "END", "TASK",
    ];
    let mut rows: Vec<[String; 8]> = vec![HEAD.map(str::to_owned)];
    rows.extend(ran.iter().map(|ran| {
        [
            plain(&format!("{}/{}", ran.job, ran.instance)),
            plain(ran.host.as_deref().unwrap_or("-")),
            moment::show(ran.from_ns, zone),
            moment::show(ran.to_ns, zone),
            ran.lines.to_string(),
            size(ran.bytes),
            if ran.has_ended() { "ended" } else { "-" }.to_owned(),
            plain(ran.task_id.as_deref().unwrap_or("-")),
        ]
    }));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                // Numbers stand to the right; nothing follows the last column.
                4 | 5 => write!(text, "{cell:>width$}  "),
                7 => writeln!(text, "{cell}"),
                _ => write!(text, "{cell:<width$}  "),
            };
        }
    }
    text
}

/// One JSON object a task.
fn objects(ran: &[Ran]) -> String {
    let time = |ns: i64| {
        Timestamp::from_nanosecond(i128::from(ns))
            .ok()
            .map(|time| time.to_string())
    };
    let mut text = String::new();
    for ran in ran {
        let value = json!({
            "job": ran.job,
            "instance": ran.instance,
            "task_id": ran.task_id,
            "host": ran.host,
            "from": time(ran.from_ns),
            "to": time(ran.to_ns),
            "lines": ran.lines,
            "bytes": ran.bytes,
            "ended": ran.has_ended(),
        });
        let _ = writeln!(text, "{value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_reads_well() {
        let ran = |instance, host: &str, lines, finished| Ran {
            job: "aa/www/prod/hello".to_owned(),
            instance,
            task_id: Some(format!("www-prod-hello-{instance}-0")),
            host: Some(host.to_owned()),
            from_ns: 1_767_571_200_000_000_000,
            to_ns: 1_767_574_800_000_000_000,
            lines,
            bytes: lines * 100,
            files: 2,
            finished,
        };
        let text = table(
            &[ran(0, "node1", 12_345, 2), ran(12, "node12\u{1b}", 7, 1)],
            &TimeZone::UTC,
        );
        insta::assert_snapshot!(text, @r"
        INSTANCE              HOST          FROM                  TO                    LINES     SIZE  END    TASK
        aa/www/prod/hello/0   node1         2026-01-05T00:00:00Z  2026-01-05T01:00:00Z  12345  1.2 MiB  ended  www-prod-hello-0-0
        aa/www/prod/hello/12  node12\u{1b}  2026-01-05T00:00:00Z  2026-01-05T01:00:00Z      7    700 B  -      www-prod-hello-12-0
        ");
    }
}
