//! Every query of the catalogue on one archive in both encodings, against rows in files.
//!
//! `REWRITE_EXPECTED=1 cargo test -p queries --test catalogue` writes the files anew; a person then looks at every change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::encode::{ObjectWriter, WriteOptions};
use archive::row::{Flags, Origin, Row};
use archive::store::dir::DirStore;
use archive::store::{Body, Store as _, digest};
use archive::tpl::Templates;
use archive::{AgentId, Encoding, Hour, Incarnation, ObjectKey};
use joblog::Level;
use queries::catalogue::Catalogue;
use queries::embedded::{Embedded, Settings};
use queries::event::{Event, QUEUE_EVENTS, Stats};
use queries::statement::{Statement, Surroundings, Values};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// 2026-11-01 12:00:00 UTC: what the queries' relative times are relative to.
const NOW_SECONDS: i64 = 1_793_534_400;

const SECOND_NS: i64 = 1_000_000_000;

/// One file of the fixture, as it grows.
struct File {
    origin: Origin,
    off: u64,
}

/// The rows of the fixture, by agent.
#[derive(Default)]
struct Fixture {
    rows: BTreeMap<(u64, Hour), Vec<Planned>>,
    templates: Templates,
}

struct Planned {
    origin: Origin,
    ts_ns: i64,
    ingest_ns: i64,
    off: u64,
    len: u64,
    level: Option<Level>,
    request_id: Option<String>,
    tpl: Option<u64>,
    line: Option<String>,
    flags: Flags,
}

impl Fixture {
    fn line(
        &mut self,
        agent: u64,
        file: &mut File,
        seconds: i64,
        level: Option<Level>,
        text: &str,
        flags: Flags,
    ) {
        let ts_ns = (NOW_SECONDS + seconds) * SECOND_NS
            + i64::try_from(file.off % 1000).unwrap() * 1_000_000;
        let request_id = text.split_once("req=").map(|(_, id)| id[..4].to_owned());
        let tpl = self.templates.id(text.as_bytes(), None);
        let len = text.len() as u64 + 1;
        self.push(
            agent,
            Planned {
                origin: file.origin.clone(),
                ts_ns,
                ingest_ns: ts_ns + 2 * SECOND_NS,
                off: file.off,
                len,
                level,
                request_id,
                tpl,
                line: Some(text.to_owned()),
                flags,
            },
        );
        file.off += len;
    }

    /// A row without a line: bytes that are lost, or a file's end.
    fn note(&mut self, agent: u64, file: &mut File, seconds: i64, len: u64, flags: Flags) {
        let ts_ns = (NOW_SECONDS + seconds) * SECOND_NS;
        self.push(
            agent,
            Planned {
                origin: file.origin.clone(),
                ts_ns,
                ingest_ns: ts_ns,
                off: file.off,
                len,
                level: None,
                request_id: None,
                tpl: None,
                line: None,
                flags,
            },
        );
        file.off += len;
    }

    fn push(&mut self, agent: u64, row: Planned) {
        let hour = Hour::of_ns(row.ts_ns);
        self.rows.entry((agent, hour)).or_default().push(row);
    }

    async fn write(&self, root: &Path, encoding: Encoding) {
        let store = DirStore::new(root);
        for ((agent, hour), rows) in &self.rows {
            let options = WriteOptions {
                min_group_rows: 64,
                ..WriteOptions::default()
            };
            let mut writer = ObjectWriter::new(encoding, Vec::new(), &options).unwrap();
            let mut sorted: Vec<&Planned> = rows.iter().collect();
            sorted.sort_by(|a, b| key_of(a).cmp(&key_of(b)));
            for row in sorted {
                writer
                    .row(&Row {
                        origin: &row.origin,
                        ts_ns: row.ts_ns,
                        ingest_ns: row.ingest_ns,
                        epoch: 0,
                        off: row.off,
                        len: row.len,
                        level: row.level,
                        request_id: row.request_id.as_deref(),
                        trace_id: None,
                        tpl: row.tpl,
                        line: row.line.as_deref().map(str::as_bytes),
                        flags: row.flags,
                    })
                    .unwrap();
            }
            let bytes = writer.finish().unwrap().0;
            let key =
                ObjectKey::new("aa", *hour, AgentId(*agent), Incarnation(1), 1, encoding).unwrap();
            let sha256 = digest(&bytes);
            store
                .put_new(&key.to_string(), Body::Bytes(bytes.into()), sha256)
                .await
                .unwrap();
        }
    }
}

type SortKey<'a> = (
    &'a Option<String>,
    &'a Option<String>,
    u32,
    &'a Option<String>,
    &'a Option<String>,
    u32,
    &'a str,
    u64,
);

fn key_of(row: &Planned) -> SortKey<'_> {
    let origin = &row.origin;
    (
        &origin.role,
        &origin.job,
        origin.instance,
        &origin.task_id,
        &origin.process,
        origin.run,
        &origin.src,
        row.off,
    )
}

fn file(agent: u64, job: &str, instance: u32, run: u32, git_sha: &str) -> File {
    File {
        origin: Origin {
            role: Some("www".to_owned()),
            env: Some("prod".to_owned()),
            job: Some(job.to_owned()),
            instance,
            task_id: Some(format!("task-{job}-{instance}")),
            process: Some("server".to_owned()),
            run,
            stream: Some("stdout".to_owned()),
            host: Some(format!("node{agent}")),
            src: format!("{agent:016x}-{instance}{run}-{}", job.len()),
            git_sha: Some(git_sha.to_owned()),
        },
        off: 0,
    }
}

/// Three hours of three jobs on two hosts: a deploy in the middle, a crash loop, an error burst, a silence, bytes that were lost, one row
/// that stands there twice, lines that are late, and JSON lines with numbers.
fn fixture() -> Fixture {
    let mut all = Fixture::default();
    let none = Flags::default();
    let (error, info) = (Some(Level::Error), Some(Level::Info));
    for agent in [1, 2] {
        let instance = agent as u32 - 1;
        let mut web = file(agent, "web", instance, 0, "aaaa111");
        for minute in -180..-90 {
            let id = format!("r{:03}", minute + 180);
            all.line(
                agent,
                &mut web,
                minute * 60,
                info,
                &format!(
                    "INFO GET /users/{} took {} ms req={id}",
                    minute + 300,
                    20 + (minute + 180) % 7
                ),
                none,
            );
            if minute % 30 == 0 {
                all.line(
                    agent,
                    &mut web,
                    minute * 60 + 1,
                    error,
                    &format!("ERROR cannot reach 10.0.0.{agent}: timed out req={id}"),
                    none,
                );
                all.line(
                    agent,
                    &mut web,
                    minute * 60 + 1,
                    None,
                    "    at Pool.get (pool.js:12)",
                    Flags::CONTINUATION,
                );
            }
        }
        all.note(agent, &mut web, -90 * 60, 0, Flags::END);
        let mut new = file(agent, "web", instance, 1, "bbbb222");
        for minute in -88..-2 {
            // Silent for a quarter of an hour on the second host.
            if agent == 2 && (-50..-35).contains(&minute) {
                continue;
            }
            let id = format!("s{:03}", minute + 90);
            all.line(
                agent,
                &mut new,
                minute * 60,
                info,
                &format!(
                    "INFO GET /users/{} took {} ms req={id}",
                    minute + 300,
                    30 + (minute + 180) % 11
                ),
                none,
            );
            if (-20..-15).contains(&minute) {
                for burst in 0..(6 * agent as i64) {
                    all.line(
                        agent,
                        &mut new,
                        minute * 60 + burst,
                        error,
                        &format!("ERROR cache: no node for key user:{}", 1000 + burst),
                        none,
                    );
                }
            }
        }
        all.note(agent, &mut new, -100, 4096, Flags::GAP);
    }
    // A crash loop: a new run every two minutes.
    for run in 0..12 {
        let mut batch = file(1, "batch", 7, run, "cccc333");
        let begin = -60 * 60 + i64::from(run) * 120;
        all.line(1, &mut batch, begin, info, "starting", none);
        all.line(
            1,
            &mut batch,
            begin + 30,
            Some(Level::Warn),
            &format!("WARN heap at {} %", 80 + run),
            none,
        );
        all.line(
            1,
            &mut batch,
            begin + 60,
            Some(Level::Fatal),
            "FATAL out of memory",
            none,
        );
        all.note(1, &mut batch, begin + 61, 0, Flags::END);
    }
    // JSON lines with numbers, and some whose time was not believed.
    let mut api = file(2, "api", 0, 0, "dddd444");
    for step in 0..120_i64 {
        let path = ["/login", "/search", "/cart"][(step % 3) as usize];
        let text = format!(
            r#"{{"level":"info","message":"done","path":"{path}","status":{},"duration_ms":{}.5,"user":{{"id":"u{}"}}}}"#,
            if step % 20 == 0 { 500 } else { 200 },
            (step * 37) % 400,
            step % 5
        );
        let flags = if step % 50 == 0 {
            Flags::TIME_SUBSTITUTED
        } else {
            none
        };
        all.line(2, &mut api, -59 * 60 + step * 25, info, &text, flags);
    }
    // The same bytes once more, in another object.
    let again = all.rows[&(2, Hour::of_ns((NOW_SECONDS - 3540) * SECOND_NS))]
        .iter()
        .find(|row| row.origin.job.as_deref() == Some("api"))
        .map(|row| Planned {
            origin: row.origin.clone(),
            line: row.line.clone(),
            request_id: None,
            ..*row
        })
        .unwrap();
    all.push(9, again);
    all
}

/// What is asked with, where a query has no default or the fixture wants another.
fn given(name: &str) -> Values {
    let mut values: Values = [("cluster", "aa"), ("from", "-4h"), ("to", "now")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let own: &[(&str, &str)] = match name {
        "around" => &[
            ("src", "0000000000000001-01-3"),
            ("off", "1500"),
            ("before", "3"),
            ("after", "2"),
        ],
        "co-occur" => &[("pattern", "no node for key"), ("lines", "2")],
        "deploy-diff" => &[("old", "aaaa111"), ("new", "bbbb222")],
        "field-values" => &[("field", "user.id")],
        "grep" => &[("pattern", "(?i)error .*(timed out|user:100[0-3])")],
        "host-blame" => &[("lines", "20")],
        "new-patterns" => &[("since", "-2h")],
        "rate-spikes" => &[("sigmas", "2"), ("lines", "5")],
        "request-trace" => &[("id", "r030")],
        "errors-by-job" => &[("from", "-4h"), ("to", "+1h@h")],
        _ => &[],
    };
    values.extend(
        own.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    values
}

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW_SECONDS).unwrap()
}

/// An answer as text: names and types, then rows, NULL as `\N`.
async fn ask(root: &Path, sql: &str) -> (String, Stats) {
    let engine = Embedded::new(Settings {
        store: Arc::new(DirStore::new(root)),
        database: "logs".to_owned(),
        table: "logs".to_owned(),
        memory_bytes: 256 << 20,
        spill: None,
        threads: 2,
        now: clock,
    });
    let (sender, mut events) = mpsc::channel(QUEUE_EVENTS);
    let gather = async {
        let mut text = String::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Columns(columns) => {
                    let names: Vec<String> = columns
                        .iter()
                        .map(|column| format!("{} {:?}", column.name, column.kind))
                        .collect();
                    let _ = writeln!(text, "{}", names.join("\t"));
                }
                Event::Rows(rows) => {
                    for row in rows {
                        let cells: Vec<String> = row
                            .into_iter()
                            .map(|cell| {
                                cell.map_or_else(
                                    || "\\N".to_owned(),
                                    |cell| {
                                        cell.escape_debug()
                                            .to_string()
                                            .replace("\\\"", "\"")
                                            .replace("\\'", "'")
                                    },
                                )
                            })
                            .collect();
                        let _ = writeln!(text, "{}", cells.join("\t"));
                    }
                }
                Event::Progress(_) | Event::Note(_) => {}
            }
        }
        text
    };
    let (stats, text) = tokio::join!(engine.run(sql, sender, CancellationToken::new()), gather);
    (text, stats.unwrap_or_else(|error| panic!("{error}\n{sql}")))
}

/// What differs by the encoding and the place alone.
fn without_places(text: &str, root: &Path) -> String {
    text.replace(&root.display().to_string(), "ROOT")
        .replace(".parquet", ".EXT")
        .replace(".ndjson.gz", ".EXT")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_answers_the_same_on_both_encodings_and_as_expected() {
    let fixture = fixture();
    let folder = tempfile::tempdir().unwrap();
    let roots: Vec<PathBuf> = ["parquet", "ndjson"]
        .map(|name| folder.path().join(name))
        .into();
    for (root, encoding) in roots.iter().zip([Encoding::Parquet, Encoding::Ndjson]) {
        fs::create_dir(root).unwrap();
        fixture.write(root, encoding).await;
    }
    let expected_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected");
    let rewrite = std::env::var_os("REWRITE_EXPECTED").is_some();
    let catalogue = Catalogue::built_in();
    let mut wrong = Vec::new();
    let mut empty = Vec::new();
    for query in catalogue.queries() {
        let statement = Statement::of_query(
            query,
            Surroundings {
                given: &given(&query.name),
                configured: &Values::new(),
                table: "logs",
                now_ns: NOW_SECONDS * SECOND_NS,
            },
        )
        .unwrap_or_else(|error| panic!("{}: {error}", query.name));
        let mut answers = Vec::new();
        for root in &roots {
            let (text, stats) = ask(root, &statement.sql).await;
            assert_eq!(stats.damaged_rows, 0, "{}", query.name);
            answers.push(without_places(&text, root));
        }
        assert_eq!(
            answers[0], answers[1],
            "{}: Parquet against NDJSON",
            query.name
        );
        if answers[0].lines().count() < 2 {
            empty.push(query.name.clone());
        }
        let path = expected_folder.join(format!("{}.tsv", query.name));
        if rewrite {
            fs::write(&path, &answers[0]).unwrap();
        } else if fs::read_to_string(&path).ok().as_ref() != Some(&answers[0]) {
            wrong.push(query.name.clone());
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in tests/expected: {wrong:?}; REWRITE_EXPECTED=1 writes them anew"
    );
    // What doctor looks for is not there; everything else has something to show.
    assert_eq!(empty, ["doctor"]);
    let mut files: Vec<String> = fs::read_dir(&expected_folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut names: Vec<String> = catalogue
        .queries()
        .map(|query| format!("{}.tsv", query.name))
        .collect();
    names.sort();
    assert_eq!(files, names, "a file for each query, and no other");
}
