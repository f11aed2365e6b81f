use super::*;
use std::collections::BTreeSet;

fn hour(text: &str) -> Hour {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn wanted(root: &str, encoding: Option<Encoding>) -> Wanted {
    Wanted {
        database: "logs".to_owned(),
        table: "logs".to_owned(),
        root: root.parse().unwrap_or_else(|error| panic!("{error}")),
        encoding,
    }
}

fn table(encoding: Encoding) -> Table {
    wanted("s3://bucket/prod", None).table(
        "logs",
        encoding,
        vec!["bb".to_owned(), "aa".to_owned()],
        hour("2026-11-01-00"),
    )
}

fn survey(cluster: &str, parquet: &[&str], ndjson: &[&str]) -> ClusterSurvey {
    let hours =
        |texts: &[&str]| -> BTreeSet<Hour> { texts.iter().map(|text| hour(text)).collect() };
    let (parquet, ndjson) = (hours(parquet), hours(ndjson));
    ClusterSurvey {
        cluster: cluster.to_owned(),
        oldest: *parquet.iter().chain(&ndjson).min().expect("an hour"),
        parquet,
        ndjson,
        extent: Extent::All,
    }
}

#[test]
fn tables_of_both_encodings_in_both_dialects() {
    insta::assert_snapshot!(
        "athena_parquet",
        table(Encoding::Parquet).create(Dialect::Athena)
    );
    insta::assert_snapshot!(
        "athena_ndjson",
        table(Encoding::Ndjson).create(Dialect::Athena)
    );
    insta::assert_snapshot!(
        "trino_parquet",
        table(Encoding::Parquet).create(Dialect::Trino)
    );
    insta::assert_snapshot!(
        "trino_ndjson",
        table(Encoding::Ndjson).create(Dialect::Trino)
    );
}

#[test]
fn clusters_that_differ_get_a_view() {
    let surveys = [
        survey("aa", &["2026-11-01-03"], &[]),
        survey("bb", &[], &["2026-11-02-00", "2026-11-02-01"]),
        survey("cc", &["2026-11-01-02"], &[]),
    ];
    let plan =
        plan(&wanted("s3://bucket", None), &surveys).unwrap_or_else(|error| panic!("{error}"));
    let shown: Vec<String> = plan
        .tables
        .iter()
        .map(|table| {
            format!(
                "{} {} {}",
                table.name,
                table.clusters.join(" "),
                table.first_hour
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "logs_parquet aa cc 2026-11-01-02",
            "logs_ndjson bb 2026-11-02-00"
        ]
    );
    assert_eq!(plan.statements(Dialect::Athena).len(), 4);
    insta::assert_snapshot!(plan.view.expect("a view").create());
}

#[test]
fn mixed_clusters_are_refused_in_plain_words() {
    let mixed = [survey(
        "aa",
        &["2026-11-01-03", "2026-11-01-04"],
        &["2026-11-01-02", "2026-11-01-03"],
    )];
    let error = plan(&wanted("s3://bucket", None), &mixed).unwrap_err();
    insta::assert_snapshot!(error);
    let parquet = plan(&wanted("s3://bucket", Some(Encoding::Parquet)), &mixed)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parquet.tables[0].first_hour, hour("2026-11-01-04"));
    assert_eq!(
        parquet.notes,
        [
            "the table begins at 2026-11-01-04: cluster aa has objects in ndjson before that, which the embedded engine reads"
        ]
    );
    let error = plan(&wanted("s3://bucket", Some(Encoding::Ndjson)), &mixed).unwrap_err();
    assert!(matches!(error, PlanError::StillMixed { .. }), "{error}");
}

#[test]
fn an_encoding_that_is_not_there_makes_no_table() {
    let surveys = [survey("aa", &["2026-11-01-03"], &[])];
    let error = plan(&wanted("s3://bucket", Some(Encoding::Ndjson)), &surveys).unwrap_err();
    assert!(
        error.to_string().contains("holds no rows in ndjson"),
        "{error}"
    );
    let error = plan(&wanted("s3://bucket", None), &[]).unwrap_err();
    assert!(
        error.to_string().starts_with("s3://bucket holds no rows;"),
        "{error}"
    );
    let folder = wanted("file:///srv/logs", None);
    assert!(folder.check(Dialect::Athena).is_err());
    assert!(folder.check(Dialect::Trino).is_ok());
}

fn describe(columns: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = COLUMNS[..columns]
        .iter()
        .map(|column| {
            vec![Some(format!(
                "{:<20}\t{:<20}\t{:<20}",
                column.name,
                column.kind.sql(),
                ""
            ))]
        })
        .collect();
    for line in [
        "cluster             \tstring              \t                    ",
        "dh                  \tstring              \t                    ",
        "\t \t ",
        "# Partition Information\t \t ",
        "# col_name            \tdata_type           \tcomment             ",
        "cluster             \tstring              \t                    ",
    ] {
        rows.push(vec![Some(line.to_owned())]);
    }
    rows
}

fn properties_of(table: &Table) -> Vec<Row> {
    table
        .properties()
        .into_iter()
        .map(|(key, value)| vec![Some(format!("{key}\t{value}"))])
        .collect()
}

#[test]
fn a_table_that_is_up_to_date_is_left_alone() {
    let table = table(Encoding::Parquet);
    let existing = Existing::new(&describe(COLUMNS.len()), &properties_of(&table));
    assert_eq!(existing.columns.len(), COLUMNS.len());
    assert_eq!(table.upgrade(&existing), Ok(vec![]));
}

#[test]
fn what_is_missing_is_added_and_what_others_added_stays() {
    let mut older = table(Encoding::Parquet);
    older.clusters = vec!["aa".to_owned(), "zz".to_owned()];
    older.first_hour = hour("2026-11-05-00");
    let existing = Existing::new(&describe(COLUMNS.len() - 2), &properties_of(&older));
    let statements = table(Encoding::Parquet)
        .upgrade(&existing)
        .unwrap_or_else(|error| panic!("{error}"));
    insta::assert_snapshot!(statements.join(";\n\n"));
    // The range of a table that begins earlier stays.
    let mut later = table(Encoding::Parquet);
    later.first_hour = hour("2026-11-07-00");
    later.clusters = vec!["zz".to_owned()];
    let existing = Existing::new(&describe(COLUMNS.len()), &properties_of(&older));
    assert_eq!(later.upgrade(&existing), Ok(vec![]));
}

#[test]
fn a_table_that_cannot_be_brought_up_to_date_says_why() {
    let parquet = table(Encoding::Parquet);
    let other = Existing::new(
        &describe(COLUMNS.len()),
        &properties_of(&table(Encoding::Ndjson)),
    );
    let error = parquet.upgrade(&other).unwrap_err();
    insta::assert_snapshot!(error, @"logs.logs cannot be brought up to date: it reads ndjson, and the archive is written in parquet; drop it (that touches no object) and set it up again, or take another name");
    let foreign = Existing {
        columns: vec![("ts".to_owned(), "string".to_owned())],
        properties: BTreeMap::new(),
    };
    let error = parquet.upgrade(&foreign).unwrap_err().to_string();
    assert!(
        error.contains("its column 1 is `ts string` and has to be `ts timestamp`"),
        "{error}"
    );
}

#[test]
fn rows_of_trino_are_read_too() {
    let row = |cells: [&str; 4]| {
        cells
            .iter()
            .map(|cell| Some((*cell).to_owned()))
            .collect::<Row>()
    };
    let existing = Existing::new(
        &[
            row(["ts", "timestamp(3)", "", ""]),
            row(["cluster", "varchar", "partition key", ""]),
        ],
        &[],
    );
    assert_eq!(
        existing.columns,
        [("ts".to_owned(), "timestamp(3)".to_owned())]
    );
    let again = table(Encoding::Parquet).replace_in_trino();
    assert_eq!(again[0], "DROP TABLE IF EXISTS \"logs\".\"logs\"");
}
