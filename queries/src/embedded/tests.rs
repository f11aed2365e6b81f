//! The engine as a whole: the function pack against Trino's answers, the dialect's gate, and the archive in both encodings.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use archive::encode::{ObjectWriter, WriteOptions};
use archive::identity::{AgentId, Incarnation};
use archive::row::{Flags, Origin};
use archive::store::dir::DirStore;
use archive::store::{Body, digest};
use archive::{Encoding, Hour, ObjectKey, Row as ArchiveRow};
use joblog::Level;

use super::*;
use crate::rows::Kind;

/// 2026-11-01 09:00:00 UTC.
const NOW_SECONDS: i64 = 1_793_523_600;

/// Lines of each file of the fixture.
const LINES: u64 = 40;

fn clock() -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOW_SECONDS).unwrap()
}

fn engine(root: &Path) -> Embedded {
    Embedded::new(Settings {
        store: Arc::new(DirStore::new(root)),
        database: "joblogs".to_owned(),
        table: "logs".to_owned(),
        memory_bytes: 256 << 20,
        spill: None,
        threads: 2,
        now: clock,
    })
}

struct Answer {
    columns: Vec<Column>,
    rows: Vec<Row>,
    stats: Stats,
}

impl Answer {
    /// Rows as text, NULL as `-`.
    fn lines(&self) -> Vec<String> {
        let cell = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
        self.rows
            .iter()
            .map(|row| row.iter().map(cell).collect::<Vec<_>>().join("|"))
            .collect()
    }
}

async fn run(engine: &Embedded, sql: &str) -> Result<Answer, RunError> {
    let (events, mut received) = mpsc::channel(crate::event::QUEUE_EVENTS);
    let gather = async {
        let (mut columns, mut rows) = (vec![], vec![]);
        while let Some(event) = received.recv().await {
            match event {
                Event::Columns(all) => columns = all,
                Event::Rows(more) => {
                    assert!(!more.is_empty() && more.len() <= MAX_EVENT_ROWS);
                    rows.extend(more);
                }
                Event::Note(_) | Event::Progress(_) => {}
            }
        }
        (columns, rows)
    };
    let (stats, (columns, rows)) =
        tokio::join!(engine.run(sql, events, CancellationToken::new()), gather);
    Ok(Answer {
        columns,
        rows,
        stats: stats?,
    })
}

#[tokio::test]
async fn functions_answer_as_trino_does() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let table = include_str!("../../tests/trino_functions.tsv");
    let mut wrong = String::new();
    let mut cells = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('\t').collect();
        let (expression, kind, expected) = match parts[..] {
            [expression, kind, answer, _] => (expression, kind, answer),
            // What is refused, although Trino answers.
            [expression, _, _, _, refusal] => (expression, "", refusal),
            _ => panic!("not four or five parts: {line}"),
        };
        cells += 1;
        let (got_kind, got) = match run(&engine, &format!("SELECT {expression}")).await {
            Ok(answer) => match answer.rows.as_slice() {
                [row] => (
                    answer.columns[0].kind.to_string(),
                    row[0].clone().unwrap_or_else(|| "NULL".to_owned()),
                ),
                rows => (String::new(), format!("{} rows", rows.len())),
            },
            Err(RunError::Statement(trouble)) => {
                (String::new(), format!("!{}", trouble.code.name()))
            }
            Err(error) => (String::new(), format!("failed: {error:?}")),
        };
        if (got_kind.as_str(), got.as_str()) != (kind, expected) {
            let _ = writeln!(
                wrong,
                "{expression}: {got} {got_kind}, not {expected} {kind}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cells >= 200, "{cells}");
}

#[tokio::test]
async fn functions_answer_the_same_on_columns() {
    // Values that are the same for all rows are worked out once; these are not.
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    for (sql, expected) in [
        (
            "SELECT regexp_extract(x, 'a(.)', 1), split_part(x, ',', 2), length(x), upper(x) FROM (VALUES ('ab,c', 1), ('x', 2), (NULL, 3)) AS t(x, n) ORDER BY n",
            vec!["b|c|4|AB,C", "-|-|1|X", "-|-|-|-"],
        ),
        (
            "SELECT x / y, x + y, greatest(x, y), CAST(x AS varchar) FROM (VALUES (7, 2), (9, NULL)) AS t(x, y) ORDER BY x",
            vec!["3|9|7|7", "-|-|-|9"],
        ),
        (
            "SELECT try(x / y) FROM (VALUES (7, 2), (9, 0)) AS t(x, y) ORDER BY x",
            vec!["3", "-"],
        ),
        (
            "SELECT a[1], element_at(a, 2), cardinality(a) FROM (VALUES (ARRAY[1, 2], 1), (ARRAY[3], 2)) AS t(a, n) ORDER BY n",
            vec!["1|2|2", "3|-|1"],
        ),
        (
            "SELECT x FROM (VALUES (1), (NULL), (3)) AS t(x) ORDER BY x DESC",
            vec!["3", "1", "-"],
        ),
        (
            "SELECT k, count_if(v > 1), max_by(v, v), sum(v), array_join(array_agg(v ORDER BY v), '+') FROM (VALUES ('a', 1), ('a', 2), ('b', 3)) AS t(k, v) GROUP BY k ORDER BY k",
            vec!["a|1|2|3|1+2", "b|1|3|3|3"],
        ),
        (
            "SELECT date_trunc('hour', t), count(*) FROM (VALUES (TIMESTAMP '2026-11-01 09:10:00.000'), (TIMESTAMP '2026-11-01 09:50:00.000')) AS v(t) GROUP BY 1",
            vec!["2026-11-01 09:00:00.000|2"],
        ),
        (
            "SELECT x FROM UNNEST(ARRAY[3, 1]) AS t(x) ORDER BY 1 OFFSET 1 LIMIT 1",
            vec!["3"],
        ),
        (
            "SELECT x FROM (VALUES (1), (2), (3)) AS t(x) ORDER BY x FETCH FIRST 2 ROWS ONLY",
            vec!["1", "2"],
        ),
    ] {
        let answer = run(&engine, sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(answer.lines(), expected, "{sql}");
    }
}

#[tokio::test]
async fn statements_that_trino_refuses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let mut out = String::new();
    for sql in [
        "SELECT 1::varchar",
        "SELECT job FROM logs QUALIFY row_number() OVER () = 1",
        "SELECT DISTINCT ON (job) job FROM logs",
        "SELECT job FROM logs LIMIT 5 OFFSET 2",
        "SELECT job FROM logs WHERE job ~ 'a'",
        "SELECT job FROM logs WHERE job ILIKE 'a'",
        "SELECT job FROM logs WHERE instance = '1'",
        "SELECT job FROM logs WHERE ts > '2026-11-01'",
        "SELECT job FROM logs WHERE job = \"hello\"",
        "SELECT job FROM logs WHERE job",
        "SELECT job FROM logs WHERE job IS TRUE",
        "SELECT jop FROM logs",
        "SELECT l.jop FROM logs l",
        "SELECT job FROM lags",
        "SELECT job, count(*) FROM logs",
        "SELECT nothing(job) FROM logs",
        "SELECT array_transform(ARRAY[1], x -> x)",
        "SELECT to_timestamp(1)",
        "SELECT soundex('a')",
        "SELECT row_number() FROM logs",
        "SELECT upper(1)",
        "SELECT substr('a', 'b')",
        "SELECT CAST(1 AS text)",
        "SELECT 1 UNION SELECT 'a'",
        "SELECT a.job FROM logs a JOIN logs b ON a.job = b.instance",
        "SELECT job FROM logs a, logs b",
        "SELECT * EXCLUDE (job) FROM logs",
        "SELECT job FROM logs GROUP BY ALL",
        "SELECT $1",
        "SELECT 'a' 'b'",
        "SELECT `job` FROM logs",
        "SELECT {'a': 1}",
        "SELECT [1, 2]",
        "SELECT 1; SELECT 2",
        "INSERT INTO logs SELECT 1",
        "DROP TABLE logs",
        "CREATE TABLE x AS SELECT 1",
        "SET x = 1",
        "COPY logs TO 'x'",
        "EXPLAIN SELECT 1",
        "SELEC 1",
        "",
        "SELECT (SELECT x FROM (VALUES (1), (2)) AS t(x))",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
        "SELECT job AS j, count(*) FROM logs GROUP BY j",
        "SELECT job, count(*) AS n FROM logs GROUP BY job HAVING n > 1",
    ] {
        let outcome = run(&engine, sql).await;
        let said = match outcome {
            Ok(answer) => format!("TAKEN: {:?}", answer.lines()),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(out, "{sql}\n    {said}");
    }
    insta::assert_snapshot!(out);
}

#[tokio::test]
async fn statements_are_refused_where_trino_refuses_them() {
    let folder = tempfile::tempdir().unwrap();
    write_archive(folder.path(), |_| Encoding::Parquet).await;
    let engine = engine(folder.path());
    let table = include_str!("../../tests/trino_refusals.tsv");
    let mut wrong = String::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (sql, expected) = match line.split('\t').collect::<Vec<_>>()[..] {
            [sql, trino] => (sql, trino),
            [sql, _, ours] => (sql, ours),
            _ => panic!("not two or three parts: {line}"),
        };
        let (said, message) = match run(&engine, sql).await {
            Ok(_) => ("OK".to_owned(), String::new()),
            Err(RunError::Statement(trouble)) => {
                (trouble.code.name().to_owned(), trouble.to_string())
            }
            Err(error) => (format!("{error:?}"), String::new()),
        };
        if said != expected {
            let _ = writeln!(wrong, "{sql}: {said}, not {expected} ({message})");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn statements_that_trino_takes_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    write_archive(folder.path(), |_| Encoding::Parquet).await;
    let engine = engine(folder.path());
    for sql in [
        "SELECT 1",
        "SELECT 1;",
        "SELECT 1 -- a remark",
        "/* a remark */ SELECT 1",
        "SELECT DISTINCT job FROM logs",
        "SELECT job FROM joblogs.logs",
        "SELECT job FROM awsdatacatalog.joblogs.logs",
        "SELECT JOB, \"Job\" FROM Logs",
        "SELECT job, job FROM logs",
        "SELECT * FROM logs LIMIT 1",
        "SELECT l.* FROM logs l LIMIT 1",
        "SELECT job FROM logs WHERE ts >= TIMESTAMP '2026-11-01 09:00:00'",
        "SELECT job FROM logs WHERE ts >= DATE '2026-11-01'",
        "SELECT job FROM logs ORDER BY ts_ns DESC NULLS LAST OFFSET 2 LIMIT 5",
        "SELECT job FROM logs LIMIT ALL",
        "SELECT job, count(*) AS n FROM logs GROUP BY job HAVING count(*) > 1 ORDER BY n DESC",
        "SELECT job, env, count(*) FROM logs GROUP BY ROLLUP (job, env)",
        "SELECT job, env, count(*) FROM logs GROUP BY GROUPING SETS ((job), (env))",
        "SELECT a.job FROM logs a JOIN logs b ON a.src = b.src AND a.off = b.off",
        "SELECT job FROM logs a JOIN (SELECT src FROM logs) b USING (src)",
        "SELECT a.job FROM logs a LEFT JOIN logs b ON a.src = b.src AND a.off < b.off WHERE b.src IS NULL",
        "SELECT coalesce(a.tpl, b.tpl) FROM logs a FULL OUTER JOIN logs b ON a.tpl = b.tpl LIMIT 1",
        "SELECT job FROM logs WHERE job IN (SELECT job FROM logs WHERE level = 'error')",
        "SELECT job FROM logs l WHERE EXISTS (SELECT 1 FROM logs m WHERE m.src = l.src)",
        "WITH t AS (SELECT job FROM logs) SELECT count(*) FROM t",
        "SELECT job FROM logs UNION ALL SELECT env FROM logs",
        "SELECT job FROM logs EXCEPT SELECT env FROM logs",
        "SELECT job FROM logs INTERSECT SELECT job FROM logs",
        "SELECT sum(len) OVER (PARTITION BY job ORDER BY off ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM logs",
        "SELECT sum(len) OVER w FROM logs WINDOW w AS (PARTITION BY job)",
        "SELECT lag(ts) IGNORE NULLS OVER (PARTITION BY src ORDER BY off) FROM logs",
        "SELECT stddev(n) OVER (PARTITION BY job ORDER BY h ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING) FROM (SELECT job, dh AS h, count(*) AS n FROM logs GROUP BY job, dh)",
        "SELECT \"$path\", count(*) FROM logs GROUP BY \"$path\"",
        "SELECT U&'\\0041'",
        "VALUES (1, 'a'), (2, 'b')",
    ] {
        if let Err(error) = run(&engine, sql).await {
            panic!("{sql}: {error}: {error:?}");
        }
    }
}

#[tokio::test]
async fn columns_are_named_and_typed_as_in_trino() {
    let folder = tempfile::tempdir().unwrap();
    write_archive(folder.path(), |_| Encoding::Ndjson).await;
    let engine = engine(folder.path());
    let sql = "SELECT job AS Name, count(*), ts, l.env, CAST(1 AS bigint) AS one, 1E0 / 3 \
               FROM logs l GROUP BY job, ts, env LIMIT 1";
    let answer = run(&engine, sql).await.unwrap();
    let columns: Vec<_> = answer
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind.clone()))
        .collect();
    assert_eq!(
        columns,
        [
            ("Name", Kind::Varchar),
            ("_col1", Kind::BigInt),
            ("ts", Kind::Timestamp { precision: 3 }),
            ("env", Kind::Varchar),
            ("one", Kind::BigInt),
            ("_col5", Kind::Double),
        ]
    );
    let star = run(&engine, "SELECT * FROM logs LIMIT 1").await.unwrap();
    let names: Vec<_> = star
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let expected: Vec<_> = archive::schema::COLUMNS
        .iter()
        .map(|column| column.name)
        .chain(["cluster", "dh"])
        .collect();
    assert_eq!(names, expected);
}

/// Three hours of two clusters, four jobs, an object each cluster, hour and half of the jobs.
async fn write_archive(root: &Path, encoding: impl Fn(u64) -> Encoding) {
    let store = DirStore::new(root);
    let agent: AgentId = "00112233445566aa".parse().unwrap();
    let mut seq = 0;
    for cluster in ["aa", "bb"] {
        for hour in 0..3_i64 {
            for half in 0..2_u64 {
                seq += 1;
                let first = Hour::of_ns(NOW_SECONDS * 1_000_000_000);
                let hour = Hour::from_number(first.number() + hour);
                let key = ObjectKey::new(cluster, hour, agent, Incarnation(1), seq, encoding(seq))
                    .unwrap();
                let object = object(key.encoding, cluster, hour, half);
                put(&store, &key.to_string(), object).await;
            }
        }
    }
}

async fn put(store: &DirStore, key: &str, object: Vec<u8>) {
    let sha256 = digest(&object);
    store
        .put_new(key, Body::Bytes(object.into()), sha256)
        .await
        .unwrap();
}

fn object(encoding: Encoding, cluster: &str, hour: Hour, half: u64) -> Vec<u8> {
    let options = WriteOptions {
        min_group_rows: 8,
        ..WriteOptions::default()
    };
    let mut writer = ObjectWriter::new(encoding, Vec::new(), &options).unwrap();
    for job in ["hello", "world"] {
        let origin = Origin {
            role: Some("www".to_owned()),
            env: Some("prod".to_owned()),
            job: Some(format!("{job}{half}")),
            instance: half as u32,
            task_id: Some(format!("task-{job}-{half}")),
            process: Some("main".to_owned()),
            run: 0,
            stream: Some("stdout".to_owned()),
            host: Some("node1".to_owned()),
            src: format!("{cluster}-{job}-{half}"),
            git_sha: None,
        };
        for line in 0..LINES {
            let ts_ns = hour.start_ns() + line as i64 * 60_000_000_000 + 123_456_789;
            let level = match line % 4 {
                0 => Some(Level::Error),
                1 => None,
                _ => Some(Level::Info),
            };
            let request = format!("req-{job}-{half}-{line}");
            let text = format!("line {line} of \"{job}\" status={} é", 200 + line);
            writer
                .row(&ArchiveRow {
                    origin: &origin,
                    ts_ns,
                    ingest_ns: ts_ns + 1_000_000_000,
                    epoch: 0,
                    off: line * 50,
                    len: 50,
                    level,
                    request_id: (line % 2 == 0).then_some(request.as_str()),
                    trace_id: None,
                    tpl: Some(7),
                    line: Some(if line == 3 {
                        b"\xff raw"
                    } else {
                        text.as_bytes()
                    }),
                    flags: Flags::default(),
                })
                .unwrap();
        }
    }
    writer.finish().unwrap().0
}

/// Runs on both encodings and on a mix of them: the answers have to be the same.
async fn on_all(sql: &str) -> Vec<String> {
    let mut answers = vec![];
    for encoding in [
        (|_| Encoding::Parquet) as fn(u64) -> Encoding,
        |_| Encoding::Ndjson,
        |seq| {
            if seq % 2 == 0 {
                Encoding::Parquet
            } else {
                Encoding::Ndjson
            }
        },
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_archive(folder.path(), encoding).await;
        let answer = run(&engine(folder.path()), sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        answers.push(answer.lines());
    }
    assert_eq!(answers[0], answers[1], "{sql}");
    assert_eq!(answers[0], answers[2], "{sql}");
    answers.remove(0)
}

#[tokio::test]
async fn both_encodings_have_the_same_rows() {
    // What NDJSON leaves out is NULL there.
    let all = on_all(
        "SELECT ts, ts_ns, ingest_ts, role, env, job, coalesce(instance, 0), task_id, process, stream, host, coalesce(run, 0), \
         src, coalesce(epoch, 0), coalesce(off, 0), len, level, request_id, trace_id, git_sha, tpl, line, raw, \
         coalesce(flags, 0), cluster, dh FROM logs ORDER BY cluster, src, ts_ns",
    )
    .await;
    assert_eq!(all.len() as u64, 2 * 3 * 4 * LINES);
    assert_eq!(
        all[3],
        "2026-11-01 09:03:00.123|1793523780123456789|2026-11-01 09:03:01.123|www|prod|hello0|0|task-hello-0|main|stdout|node1|0|aa-hello-0|0|150|50|info|-|-|-|0000000000000007|\u{fffd} raw|/yByYXc=|2|aa|2026-11-01-09"
    );
    let counts = on_all(
        "SELECT cluster, dh, level, count(*), min(ts), count(request_id) FROM logs \
         WHERE dh BETWEEN '2026-11-01-09' AND '2026-11-01-10' AND job LIKE 'hello%' \
         GROUP BY cluster, dh, level ORDER BY 1, 2, 3",
    )
    .await;
    assert_eq!(counts.len(), 2 * 2 * 3);
    assert_eq!(
        counts[0],
        "aa|2026-11-01-09|error|20|2026-11-01 09:00:00.123|20"
    );
    assert_eq!(
        on_all("SELECT count(*) FROM logs").await,
        [(2 * 3 * 4 * LINES).to_string()]
    );
    let one = on_all("SELECT line FROM logs WHERE request_id = 'req-hello-1-2' AND cluster = 'bb' AND dh = '2026-11-01-11'").await;
    assert_eq!(one, ["line 2 of \"hello\" status=202 é"]);
    let regexp =
        on_all("SELECT count(*) FROM logs WHERE regexp_like(line, 'status=2[12]\\d')").await;
    assert_eq!(regexp, [(2 * 3 * 4 * 20).to_string()]);
    let sample = on_all("SELECT line FROM logs LIMIT 7").await;
    assert_eq!(sample.len(), 7);
}

#[tokio::test]
async fn only_what_the_filters_leave_is_listed_and_read() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let folder = tempfile::tempdir().unwrap();
        write_archive(folder.path(), |_| encoding).await;
        let engine = engine(folder.path());
        for (filter, objects) in [
            ("cluster = 'aa' AND dh = '2026-11-01-09'", 2),
            (
                "cluster = 'aa' AND dh IN ('2026-11-01-09', '2026-11-01-11')",
                4,
            ),
            (
                "cluster = 'aa' AND dh BETWEEN '2026-11-01-10' AND '2026-11-01-23'",
                4,
            ),
            ("cluster = 'bb' AND dh >= '2026-11-01-11'", 2),
            ("cluster IN ('aa', 'bb') AND dh LIKE '2026-11-01-1%'", 8),
            ("cluster = 'aa' AND substr(dh, 12, 2) = '10'", 2),
            (
                "cluster = 'aa' AND ts_ns >= 1793527200000000000 AND ts_ns < 1793530800000000000",
                4,
            ),
            (
                "cluster = 'aa' AND ts >= TIMESTAMP '2026-11-01 11:30:00'",
                2,
            ),
            ("cluster = 'cc'", 0),
            ("dh = '2026-11-02-00'", 0),
            ("dh = '2026-11-01-09'", 4),
            (
                "cluster = 'aa' AND dh = '2026-11-01-09' AND job = 'nothing'",
                2,
            ),
        ] {
            let sql = format!("SELECT max(line), count(*) FROM logs WHERE {filter}");
            let answer = run(&engine, &sql).await.unwrap();
            assert_eq!(
                answer.stats.objects,
                Some(objects),
                "{encoding:?}: {filter}"
            );
        }
        // The hour that is asked for is listed, and nothing else: one page.
        let sql = "SELECT count(*) FROM logs WHERE cluster = 'aa' AND dh = '2026-11-02-00'";
        assert_eq!(run(&engine, sql).await.unwrap().stats.requests, Some(1));
    }
}

#[tokio::test]
async fn parquet_is_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    write_archive(folder.path(), |_| Encoding::Parquet).await;
    let engine = engine(folder.path());
    let hour = "cluster = 'aa' AND dh = '2026-11-01-09'";
    let all = run(&engine, &format!("SELECT max(line) FROM logs WHERE {hour}"))
        .await
        .unwrap();
    let none = run(
        &engine,
        &format!("SELECT max(line) FROM logs WHERE {hour} AND job = 'zzz'"),
    )
    .await
    .unwrap();
    assert!(none.stats.bytes_scanned < all.stats.bytes_scanned);
}

#[tokio::test]
async fn damaged_lines_are_rows_of_nulls_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirStore::new(folder.path());
    let prefix = "logs/v1/cluster=aa/dh=2026-11-01-09/00112233445566aa~000001~";
    let pack = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    };
    let good = |line: &str| {
        format!(
            "{{\"ts\":\"2026-11-01 09:00:00.000\",\"ts_ns\":1793523600000000000,\"src\":\"s\",\"line\":\"{line}\"}}\n"
        )
    };
    put(
        &store,
        &format!("{prefix}00000001.ndjson.gz"),
        pack(&format!(
            "{}nonsense\n{}{{\"line\":\"cut",
            good("a"),
            good("b")
        )),
    )
    .await;
    let long: String = (0..20_000)
        .map(|line| good(&format!("long {line} {}", line * 7919 % 10_007)))
        .collect();
    let mut cut = pack(&long);
    cut.truncate(cut.len() / 2);
    put(&store, &format!("{prefix}00000002.ndjson.gz"), cut).await;
    let mut two = pack(&good("c"));
    two.extend(pack(&good("d")));
    put(&store, &format!("{prefix}00000003.ndjson.gz"), two).await;
    put(
        &store,
        &format!("{prefix}00000004.ndjson.gz"),
        b"no gzip at all".to_vec(),
    )
    .await;
    put(&store, &format!("{prefix}00000005.ndjson.gz"), vec![]).await;

    let engine = engine(folder.path());
    let answer = run(
        &engine,
        "SELECT count(*), count(line), count(cluster), count(dh) FROM logs WHERE cluster = 'aa'",
    )
    .await
    .unwrap();
    let counts: Vec<u64> = answer.rows[0]
        .iter()
        .map(|cell| cell.as_ref().unwrap().parse().unwrap())
        .collect();
    let (all, whole) = (counts[0], counts[1]);
    assert_eq!(counts[2..], [all, all]);
    // Two lines of the first object, where the second one is cut, and the one that is no gzip.
    assert_eq!(answer.stats.damaged_rows, 4);
    assert_eq!(all - whole, 4);
    assert!(whole > 1000 && whole < 20_000, "{whole}");
    let some = run(
        &engine,
        "SELECT line FROM logs WHERE line IN ('a', 'b', 'c', 'd') ORDER BY line",
    )
    .await
    .unwrap();
    assert_eq!(some.lines(), ["a", "b", "c", "d"]);
    let bare = run(&engine, "SELECT count(*) FROM logs").await.unwrap();
    assert_eq!(bare.lines(), [all.to_string()]);
    assert_eq!(bare.stats.damaged_rows, 4);
}

#[tokio::test]
async fn a_damaged_parquet_object_fails_the_statement() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirStore::new(folder.path());
    put(
        &store,
        "logs/v1/cluster=aa/dh=2026-11-01-09/00112233445566aa~000001~00000001.parquet",
        b"PAR1nonsense\x08\0\0\0PAR1".to_vec(),
    )
    .await;
    let error = run(&engine(folder.path()), "SELECT job FROM logs")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, RunError::Damaged(_)), "{error:?}");
}

#[tokio::test]
async fn an_archive_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let error = run(&engine(&gone), "SELECT job FROM logs")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, RunError::Store(_)), "{error:?}");
}

#[tokio::test]
async fn a_statement_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    write_archive(folder.path(), |_| Encoding::Ndjson).await;
    let engine = engine(folder.path());
    let stop = CancellationToken::new();
    let (events, mut received) = mpsc::channel(1);
    let sql = "SELECT a.line FROM logs a CROSS JOIN logs b CROSS JOIN logs c";
    let running = engine.run(sql, events, stop.clone());
    let stopping = async {
        while let Some(event) = received.recv().await {
            if matches!(event, Event::Rows(_)) {
                stop.cancel();
                break;
            }
        }
        // Nobody reads on; the engine must not wait for that.
        std::future::pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = running => outcome,
        () = stopping => unreachable!("it waits for ever"),
    };
    assert!(matches!(outcome, Err(RunError::Stopped)), "{outcome:?}");
}

#[tokio::test]
async fn memory_has_a_limit_and_sorts_spill() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Embedded::new(Settings {
        memory_bytes: MIN_MEMORY_BYTES,
        ..engine(folder.path()).settings
    });
    // 3 million numbers do not fit, but can be sorted on the disk.
    let many = "(SELECT a.x * 10000 + b.x AS x FROM UNNEST(sequence(1, 300)) AS a(x) CROSS JOIN UNNEST(sequence(1, 10000)) AS b(x))";
    let numbered = format!("SELECT x, row_number() OVER (ORDER BY x DESC) AS n FROM {many} AS t");
    let last = format!("SELECT x FROM ({numbered}) AS t WHERE n = 3000000");
    assert_eq!(run(&engine, &last).await.unwrap().lines(), ["10001"]);
    let error = run(
        &engine,
        &format!("SELECT cardinality(array_agg(x)) FROM {many} AS t"),
    )
    .await
    .err()
    .unwrap();
    assert!(matches!(error, RunError::Memory { .. }), "{error:?}");
}
