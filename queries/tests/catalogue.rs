//! Every query of the catalogue on one archive in both encodings, against rows in files.
//!
//! `REWRITE_EXPECTED=1 cargo test -p queries --test catalogue` writes the files anew; a person then looks at every change.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::Encoding;
use archive::store::dir::DirStore;
use queries::catalogue::Catalogue;
use queries::config::EngineKind;
use queries::estimate::{self, Estimate};
use queries::event::Stats;
use queries::retry::Outside;
use queries::statement::Statement;

use fixture::{answered, engine, fixture, shown, statement, without_places};

/// An answer as text: names and types, then rows, NULL as `\N`.
async fn ask(root: &Path, sql: &str) -> (String, Stats) {
    let engine = engine(Arc::new(DirStore::new(root)), "logs");
    let answered = answered(&engine, sql).await;
    let answered = answered.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    (shown(&answered.columns, &answered.rows), answered.stats)
}

/// What is foretold of a statement.
async fn foretold(root: &Path, statement: &Statement) -> Estimate {
    let selection = statement.selection.as_ref().expect("a selection");
    let hours = estimate::hours_of(selection.times_ns.start, selection.times_ns.end);
    let clusters = [selection.cluster.clone()];
    let store = DirStore::new(root);
    let estimate = estimate::estimate(&store, &clusters, &hours, &Outside::new(|| 0)).await;
    let estimate = estimate.expect("a listing");
    estimate.of(statement.scans, EngineKind::Embedded)
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
        fixture.write(&DirStore::new(root), encoding).await;
    }
    let expected_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected");
    let rewrite = std::env::var_os("REWRITE_EXPECTED").is_some();
    let catalogue = Catalogue::built_in();
    let mut wrong = Vec::new();
    let mut empty = Vec::new();
    for query in catalogue.queries() {
        let statement = statement(query);
        let mut answers = Vec::new();
        for root in &roots {
            let (text, stats) = ask(root, &statement.sql).await;
            assert_eq!(stats.damaged_rows, 0, "{}", query.name);
            let foretold = foretold(root, &statement).await;
            let (read, most) = (stats.bytes_scanned, foretold.bytes());
            assert!(read <= most, "{}: {read} read of {most}", query.name);
            if foretold.parquet_bytes == 0 {
                // Nothing is left out of NDJSON.
                assert!(read * 10 >= most * 9, "{}: {read} of {most}", query.name);
            }
            answers.push(without_places(&text, &root.display().to_string()));
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
