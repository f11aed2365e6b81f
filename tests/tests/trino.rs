//! Everything that our SQL is, on Trino itself: the tables' definitions, every question of the catalogue in both encodings, the function
//! pack, and what is refused. Its answers are the expected ones of all other tests.
//!
//! `make test-trino` runs these; they need Java and some minutes. `REWRITE_EXPECTED=1 make test-trino` writes the files anew, as Trino
//! answers; a person then looks at every change.

#[path = "../../queries/tests/fixture/mod.rs"]
mod fixture;

use std::collections::HashMap;
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
use queries::embedded::{Embedded, RunError};
use queries::survey::survey;
use tokio::sync::OnceCell;

use fixture::{NOW_SECONDS, answered, engine, fixture, shown, statement, without_places};

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

/// What our engine answers, and how many rows were damaged.
async fn ours(engine: &Embedded, sql: &str) -> Result<(Answer, u64), RunError> {
    let answered = answered(engine, sql).await?;
    let answer = Answer {
        columns: answered.columns,
        rows: answered.rows,
    };
    Ok((answer, answered.stats.damaged_rows))
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

/// How many expressions one statement asks for, where none is expected to fail.
const EXPRESSIONS: usize = 20;

/// The type and the value of each expression of the table, or `!` and the name of its error.
async fn values<'t>(rig: &Rig, table: &'t str) -> HashMap<&'t str, (String, String)> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let (failing, others): (Vec<&str>, Vec<&str>) = lines.partition(|line| {
        line.split('\t')
            .nth(2)
            .is_some_and(|cell| cell.starts_with('!'))
    });
    let expression = |line: &'t str| line.split('\t').next().unwrap_or_default();
    let mut values = HashMap::new();
    let mut alone: Vec<&str> = failing.into_iter().map(expression).collect();
    for some in others.chunks(EXPRESSIONS) {
        let some: Vec<&str> = some.iter().copied().map(expression).collect();
        match rig
            .run("information_schema", &format!("SELECT {}", some.join(", ")))
            .await
        {
            Ok(answer) => {
                for (place, expression) in some.into_iter().enumerate() {
                    values.insert(expression, cell(&answer, place));
                }
            }
            // One of them fails, unlike before.
            Err(_) => alone.extend(some),
        }
    }
    for expression in alone {
        let value = match rig
            .run("information_schema", &format!("SELECT {expression}"))
            .await
        {
            Ok(answer) => cell(&answer, 0),
            Err(failed) => (String::new(), format!("!{}", failed.name)),
        };
        values.insert(expression, value);
    }
    values
}

/// The type and the value of a column of an answer's only row.
fn cell(answer: &Answer, place: usize) -> (String, String) {
    let [row] = &answer.rows[..] else {
        panic!("{} rows", answer.rows.len());
    };
    let text = row[place].clone().unwrap_or_else(|| "NULL".to_owned());
    (answer.columns[place].kind.to_string(), text)
}

#[tokio::test]
#[ignore = "needs Trino: make test-trino"]
async fn functions_answer_as_the_table_says() {
    let rig = rig().await;
    let path = beside_queries("trino_functions.tsv");
    let table = fs::read_to_string(&path).unwrap();
    let (mut wrong, mut anew) = (String::new(), String::new());
    let answers = values(rig, &table).await;
    for line in table.lines() {
        if line.starts_with('#') {
            let _ = writeln!(anew, "{line}");
            continue;
        }
        let parts: Vec<&str> = line.split('\t').collect();
        let [expression, kind, expected, page, refusal @ ..] = &parts[..] else {
            panic!("not four or five parts: {line}");
        };
        let (got_kind, got) = &answers[expression];
        if (got_kind.as_str(), got.as_str()) != (*kind, *expected) {
            let _ = writeln!(
                wrong,
                "{expression}: {got} {got_kind}, not {expected} {kind}"
            );
        }
        let parts = [&[*expression, got_kind, got, page][..], refusal].concat();
        let _ = writeln!(anew, "{}", parts.join("\t"));
    }
    if rewrites() {
        return fs::write(&path, &anew).unwrap();
    }
    assert!(wrong.is_empty(), "not as in {}:\n{wrong}", path.display());
}

#[tokio::test]
#[ignore = "needs Trino: make test-trino"]
async fn statements_are_refused_as_the_table_says() {
    let rig = rig().await;
    // The table alone is looked at; there is nothing in it to be read.
    let wanted = wanted("refusals");
    let table = wanted.table(
        &wanted.table,
        Encoding::Parquet,
        vec!["aa".to_owned()],
        first_hour(),
    );
    let plan = Plan {
        tables: vec![table],
        view: None,
        notes: Vec::new(),
    };
    for statement in plan.statements(Dialect::Trino) {
        rig.answer("refusals", &statement).await;
    }
    let path = beside_queries("trino_refusals.tsv");
    let list = fs::read_to_string(&path).unwrap();
    let (mut wrong, mut anew) = (String::new(), String::new());
    for line in list.lines() {
        if line.starts_with('#') {
            let _ = writeln!(anew, "{line}");
            continue;
        }
        let parts: Vec<&str> = line.split('\t').collect();
        let [sql, expected, ours @ ..] = &parts[..] else {
            panic!("not two or three parts: {line}");
        };
        let said = match rig.run("refusals", sql).await {
            Ok(_) => "OK".to_owned(),
            Err(failed) => failed.name,
        };
        if said != *expected {
            let _ = writeln!(wrong, "{sql}: {said}, not {expected}");
        }
        let _ = writeln!(anew, "{}", [&[*sql, &said][..], ours].concat().join("\t"));
    }
    if rewrites() {
        return fs::write(&path, &anew).unwrap();
    }
    assert!(wrong.is_empty(), "not as in {}:\n{wrong}", path.display());
}

fn first_hour() -> Hour {
    Hour::of_ns((NOW_SECONDS - 3 * 3600) * fixture::SECOND_NS)
}

/// Questions that show what is in a table, whatever the encoding.
const LOOKS: [&str; 4] = [
    "SELECT cluster, dh, count(*) AS lines, count(line) AS whole, sum(off) AS offs FROM logs \
     WHERE dh BETWEEN '2026-11-01-09' AND '2026-11-01-12' GROUP BY cluster, dh ORDER BY cluster, dh",
    "SELECT ts, ts_ns, ingest_ts, role, env, job, instance, task_id, process, stream, host, run, src, epoch, off, len, level, request_id, \
     trace_id, git_sha, tpl, line, raw, flags, cluster, dh FROM logs \
     WHERE cluster = 'aa' AND dh = '2026-11-01-11' AND instance = 1 ORDER BY ts_ns, src, off LIMIT 20",
    "SELECT count(*) AS n, count(ts) AS ts, count(ts_ns) AS ts_ns, count(flags) AS flags, count(raw) AS raws FROM logs \
     WHERE cluster = 'aa' AND dh >= '2026-11-01-09' AND dh < '2026-11-01-13' AND ts IS NULL",
    "SELECT job, date_trunc('hour', ts) AS h, max(ts) AS last, min(ingest_ts) AS first, max(len) AS longest FROM logs \
     WHERE cluster IN ('aa', 'bb') AND dh LIKE '2026-11-01-1%' GROUP BY job, date_trunc('hour', ts) ORDER BY job, h",
];

/// Both engines' answers to the same statement, over one archive.
async fn compare(rig: &Rig, name: &str, sql: &str) -> (Answer, u64) {
    let theirs = rig.answer(name, sql).await;
    let (ours, damaged) = ours(&engine(rig.store(name), name), sql)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    assert_eq!(
        shown(&ours.columns, &ours.rows),
        shown(&theirs.columns, &theirs.rows),
        "{name}: {sql}"
    );
    (ours, damaged)
}

async fn put(store: &dyn Store, key: &str, bytes: Vec<u8>) {
    let sha256 = digest(&bytes);
    let body = Body::Bytes(bytes.into());
    store.put_new(key, body, sha256).await.unwrap();
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
#[ignore = "needs Trino: make test-trino"]
async fn damaged_lines_are_the_same_rows() {
    let rig = rig().await;
    let store = rig.store("damaged");
    fixture().write(&*store, Encoding::Ndjson).await;
    let good =
        r#"{"ts":"2026-11-01 11:00:00.000","ts_ns":1793530800000000000,"src":"s","line":"good"}"#;
    let lines = [
        good,
        "nonsense",
        "{",
        "",
        r#"{"line":"cut"#,
        r#"{"ts":"nonsense","src":"s","line":"a bad time"}"#,
        r#"{"ts_ns":"text","src":"s","line":"a bad number"}"#,
        r#"{"src":"s","line":{"an":"object"}}"#,
        r#"{"src":"s","line":7,"unknown":[1]}"#,
        r#"{"src":"s","LINE":"upper case"}"#,
        r#"{"src":"s","line":null}"#,
        r#"{"instance":99999999999,"src":"s","line":"too large"}"#,
        r#"{"instance":"7","src":"s","line":"in quotes"}"#,
        r#"{"instance":true,"src":"s","line":"no number"}"#,
        r#"{"ts":"2026-11-01T11:00:02Z","src":"s","line":"ISO"}"#,
        r#"{"ts":"2026-11-01 11:00:02.5+01:00","src":"s","line":"a zone"}"#,
        r#"{"ts":"2026-11-01T11:00:02.5+01:00","src":"s","line":"ISO with an offset"}"#,
        r#"{"ts":1793530800123,"src":"s","line":"ms"}"#,
        r#"{"ts":1793530800,"src":"s","line":"seconds"}"#,
        good,
    ];
    for (line, seq) in lines.iter().zip(1..) {
        let key = format!(
            "logs/v1/cluster=aa/dh=2026-11-01-11/00000000000000dd~000001~{seq:08}.ndjson.gz"
        );
        put(&*store, &key, packed(format!("{line}\n").as_bytes())).await;
    }
    rig.make("damaged").await;
    let each = "SELECT substr(\"$path\", -18, 8) AS seq, ts, ts_ns, src, instance, run, line FROM logs \
                WHERE cluster = 'aa' AND dh = '2026-11-01-11' AND \"$path\" LIKE '%00000000000000dd%' ORDER BY \"$path\"";
    compare(rig, "damaged", each).await;
    for sql in LOOKS {
        compare(rig, "damaged", sql).await;
    }
}

#[tokio::test]
#[ignore = "needs Trino: make test-trino"]
async fn clusters_in_both_encodings_are_one_view() {
    let rig = rig().await;
    let store = rig.store("views");
    fixture().write(&*store, Encoding::Parquet).await;
    // The same rows under another cluster's name, in the other encoding.
    let source = rig.store("views_source");
    fixture().write(&*source, Encoding::Ndjson).await;
    for hour in 0..4 {
        let hour = Hour::from_number(first_hour().number() + hour);
        let listed = archive::listing::list_hour(&*source, "aa", hour)
            .await
            .unwrap();
        for object in listed.objects {
            let key = object.key.to_string();
            let bytes = source.get(&key, None).await.unwrap();
            put(
                &*store,
                &key.replace("cluster=aa", "cluster=bb"),
                bytes.to_vec(),
            )
            .await;
        }
    }
    let plan = rig.make("views").await;
    assert_eq!(plan.tables.len(), 2);
    assert!(plan.view.is_some());
    for sql in LOOKS {
        compare(rig, "views", sql).await;
    }
    // Again, as `setup` would: what is there stays.
    rig.make("views").await;
    // And made anew, as an upgrade does.
    let tables: Vec<&Table> = plan.tables.iter().collect();
    for statement in tables.iter().flat_map(|table| table.replace_in_trino()) {
        rig.answer("views", &statement).await;
    }
    compare(rig, "views", LOOKS[0]).await;
}
