//! How fast the embedded engine is: writes an archive of made-up logs in both encodings, and asks it some questions.
//!
//! ```text
//! cargo run --release -p queries --example embedded_speed -- [MEGABYTES] [FOLDER]
//! ```
//!
//! Prints the time of each question, and the bytes of logs a second and core. With a folder, the archive is kept there.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it is a program that measures"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use archive::encode::{ObjectWriter, WriteOptions};
use archive::identity::{AgentId, Incarnation};
use archive::row::{Flags, Origin};
use archive::store::dir::DirStore;
use archive::store::{Body, Store, digest};
use archive::{Encoding, Hour, ObjectKey, Row};
use joblog::Level;
use queries::embedded::{Embedded, Settings};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// 2026-11-01 00:00:00 UTC.
const START_NS: i64 = 1_793_491_200_000_000_000;

/// Objects of an archive.
const OBJECTS: u64 = 24;

/// Jobs of each.
const JOBS: u64 = 10;

const QUESTIONS: [(&str, &str); 5] = [
    ("count", "SELECT count(*) FROM logs"),
    (
        "by level",
        "SELECT level, count(*) FROM logs GROUP BY level",
    ),
    (
        "regexp",
        "SELECT count(*) FROM logs WHERE regexp_like(line, 'status=5\\d\\d latency_ms=8\\d\\d')",
    ),
    (
        "like",
        "SELECT count(*) FROM logs WHERE line LIKE '%status=500%'",
    ),
    (
        "request id",
        "SELECT job, line FROM logs WHERE request_id = 'req-0000000000001234'",
    ),
];

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let megabytes: u64 = args
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let kept = args.next();
    let temporary = tempfile::tempdir().expect("a folder for the archive");
    let folder = kept
        .as_ref()
        .map_or(temporary.path(), |kept| Path::new(kept));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let root = folder.join(encoding.extension());
        let (raw, packed) = write(&root, encoding, megabytes << 20).await;
        println!(
            "{}: {} MB of logs, {} MB packed",
            encoding.extension(),
            raw >> 20,
            packed >> 20
        );
        let store: Arc<dyn Store> = Arc::new(DirStore::new(&root));
        let engine = Embedded::new(Settings {
            store,
            database: "joblogs".to_owned(),
            table: "logs".to_owned(),
            memory_bytes: 1 << 30,
            spill: None,
            threads,
            now: jiff::Timestamp::now,
        });
        for (name, sql) in QUESTIONS {
            let mut best = f64::INFINITY;
            let mut rows = 0;
            for _ in 0..3 {
                let start = Instant::now();
                rows = ask(&engine, sql).await;
                best = best.min(start.elapsed().as_secs_f64());
            }
            let speed = raw as f64 / 1e6 / best / threads as f64;
            println!(
                "  {name:<12} {best:>8.3} s  {speed:>8.0} MB of logs a second and core  ({rows} rows)"
            );
        }
    }
}

async fn ask(engine: &Embedded, sql: &str) -> usize {
    let (events, mut received) = mpsc::channel(8);
    let count = async {
        let mut rows = 0;
        while let Some(event) = received.recv().await {
            if let queries::event::Event::Rows(more) = event {
                rows += more.len();
            }
        }
        rows
    };
    let (outcome, rows) = tokio::join!(engine.run(sql, events, CancellationToken::new()), count);
    outcome.expect("an answer");
    rows
}

/// Writes an archive of about so many bytes of logs; how many there are, and how many packed.
async fn write(root: &Path, encoding: Encoding, bytes: u64) -> (u64, u64) {
    let store = DirStore::new(root);
    let agent: AgentId = "00112233445566aa".parse().expect("an id");
    let (mut raw, mut packed) = (0, 0);
    let mut random = 88_172_645_463_325_252_u64;
    for seq in 0..OBJECTS {
        let hour = Hour::of_ns(START_NS + seq as i64 * 3_600_000_000_000);
        let mut writer =
            ObjectWriter::new(encoding, Vec::new(), &WriteOptions::default()).expect("a writer");
        for job in 0..JOBS {
            let origin = Origin {
                role: Some("www-data".to_owned()),
                env: Some("prod".to_owned()),
                job: Some(format!("service{job}")),
                instance: job as u32,
                task_id: Some(format!(
                    "1793491200123-www-data-prod-service{job}-0-0b6c1f5e-7d3a-4e7b-9a51-2f6d1c8e7a90"
                )),
                process: Some("server".to_owned()),
                run: 0,
                stream: Some("stdout".to_owned()),
                host: Some("node0001.example.com".to_owned()),
                src: format!("00112233445566aa-{}-1793491200123456789", 4_000_000 + job),
                git_sha: Some("3f786850e387550fdab836ed7e6dc881de23001b".to_owned()),
            };
            let mut off = 0;
            let mut at = 0_i64;
            while off < bytes / OBJECTS / JOBS {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let number = random % 100_000;
                let ts_ns = hour.start_ns() + at * 1_000_000 + 123_456;
                at = (at + 7) % 3_600_000;
                let request = format!("req-{number:016}");
                let status = [200, 200, 200, 404, 500, 503][(random >> 20) as usize % 6];
                let text = format!(
                    "2026-11-01T00:00:00.{:06}Z INFO [worker-{}] handled {request} path=/api/v1/items/{} status={status} latency_ms={} bytes={}",
                    random >> 44 & 0xf_ffff,
                    random >> 12 & 7,
                    random >> 24 & 0xffff,
                    random >> 30 & 0x3ff,
                    random >> 16 & 0xffff,
                );
                let len = text.len() as u64 + 1;
                writer
                    .row(&Row {
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
                    })
                    .expect("a row");
                off += len;
            }
            raw += off;
        }
        let object = writer.finish().expect("an object").0;
        packed += object.len() as u64;
        let key = ObjectKey::new("aa", hour, agent, Incarnation(1), seq, encoding).expect("a key");
        let sha256 = digest(&object);
        store
            .put_new(&key.to_string(), Body::Bytes(object.into()), sha256)
            .await
            .expect("put");
    }
    (raw, packed)
}
