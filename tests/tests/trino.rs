//! Everything that our SQL is, on Trino itself: the tables' definitions, every question of the catalogue in both encodings, the function
//! pack, and what is refused. Its answers are the expected ones of all other tests.
//!
//! `make test-trino` runs these; they need Java and some minutes. `REWRITE_EXPECTED=1 make test-trino` writes the files anew, as Trino
//! answers; a person then looks at every change.

#[path = "../../queries/tests/fixture/mod.rs"]
mod fixture;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::store::{Body, Root, Store, digest, open};
use archive::{Encoding, Hour};
use e2e::moto::{BUCKET, Moto};
use e2e::trino::{Answer, Failed, Trino};
use flate2::Compression;
use flate2::write::GzEncoder;
use queries::catalogue::Catalogue;
use queries::ddl::{Dialect, Plan, Table, Wanted, plan};
use queries::embedded::{Embedded, RunError, Settings};
use queries::event::{Event, QUEUE_EVENTS};
use queries::survey::survey;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;

use fixture::{NOW_SECONDS, fixture, shown, statement, without_places};

/// The server and its bucket, for all tests; they end with this process.
static RIG: OnceCell<Rig> = OnceCell::const_new();

struct Rig {
    trino: Trino,
    moto: Moto,
}

async fn rig() -> &'static Rig {
    RIG.get_or_init(|| async {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let moto = Moto::start(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let trino = Trino::start(&folder.join("trino"), &moto).await.unwrap();
        Rig { trino, moto }
    })
    .await
}

impl Rig {
    fn root(name: &str) -> Root {
        format!("s3://{BUCKET}/{name}").parse().unwrap()
    }

    fn store(&self, name: &str) -> Arc<dyn Store> {
        open(&Self::root(name), &self.moto.settings()).unwrap()
    }

    /// What `queries ddl` would make over an archive.
    async fn plan(&self, name: &str) -> Plan {
        let now = Hour::of_ns(NOW_SECONDS * fixture::SECOND_NS);
        let surveys = survey(&*self.store(name), now).await.unwrap();
        plan(&wanted(name), &surveys).unwrap()
    }

    /// Makes the tables over an archive, in a schema of its name.
    async fn make(&self, name: &str) -> Plan {
        let plan = self.plan(name).await;
        for statement in plan.statements(Dialect::Trino) {
            self.answer(name, &statement).await;
        }
        plan
    }

    async fn run(&self, schema: &str, sql: &str) -> Result<Answer, Failed> {
        let outcome = self.trino.run(schema, sql).await;
        outcome.unwrap_or_else(|error| panic!("{error:#}\n{sql}"))
    }

    async fn answer(&self, schema: &str, sql: &str) -> Answer {
        let outcome = self.run(schema, sql).await;
        outcome.unwrap_or_else(|failed| panic!("{}: {}\n{sql}", failed.name, failed.message))
    }
}

fn wanted(name: &str) -> Wanted {
    Wanted {
        database: name.to_owned(),
        table: "logs".to_owned(),
        root: Rig::root(name),
        encoding: None,
    }
}

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW_SECONDS).unwrap()
}

/// Our engine over an archive.
fn embedded(store: Arc<dyn Store>, database: &str) -> Embedded {
    Embedded::new(Settings {
        store,
        database: database.to_owned(),
        table: "logs".to_owned(),
        memory_bytes: 256 << 20,
        spill: None,
        threads: 2,
        now: clock,
    })
}

/// What our engine answers, and how many rows were damaged.
async fn ours(engine: &Embedded, sql: &str) -> Result<(Answer, u64), RunError> {
    let (sender, mut events) = mpsc::channel(QUEUE_EVENTS);
    let gather = async {
        let mut answer = Answer::default();
        while let Some(event) = events.recv().await {
            match event {
                Event::Columns(columns) => answer.columns = columns,
                Event::Rows(rows) => answer.rows.extend(rows),
                Event::Progress(_) | Event::Note(_) => {}
            }
        }
        answer
    };
    let (stats, answer) = tokio::join!(engine.run(sql, sender, CancellationToken::new()), gather);
    Ok((answer, stats?.damaged_rows))
}

fn beside_queries(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../queries/tests")
        .join(path)
}

fn rewrites() -> bool {
    std::env::var_os("REWRITE_EXPECTED").is_some()
}

#[tokio::test]
#[ignore = "needs Trino: make test-trino"]
async fn every_question_is_answered_as_expected_in_both_encodings() {
    let rig = rig().await;
    let archives = [("parquet", Encoding::Parquet), ("ndjson", Encoding::Ndjson)];
    for (name, encoding) in archives {
        fixture().write(&*rig.store(name), encoding).await;
        let plan = rig.make(name).await;
        let made: Vec<_> = plan.tables.iter().map(|table| table.encoding).collect();
        assert_eq!(made, [encoding]);
    }
    let mut wrong = String::new();
    for query in Catalogue::built_in().queries() {
        let sql = statement(query).sql;
        let path = beside_queries(&format!("expected/{}.tsv", query.name));
        for (name, _) in archives {
            let answer = rig.answer(name, &sql).await;
            let text = shown(&answer.columns, &answer.rows);
            let text = without_places(&text, &Rig::root(name).to_string());
            if rewrites() && name == "parquet" {
                fs::write(&path, &text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                let _ = writeln!(wrong, "{} in {name}:\n{text}", query.name);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "not as in queries/tests/expected:\n{wrong}"
    );
}
