use super::*;
use crate::engine::{RunFailure, Scripted, Turn};
use crate::event::Event;
use crate::rows::{Column, Kind};

/// 2026-11-24 02:34:56 UTC.
fn clock() -> i64 {
    1_795_487_696_000_000_000
}

#[expect(clippy::unnecessary_wraps, reason = "engines are opened so")]
fn one_row(kind: EngineKind, _: &Config, _: &CancellationToken) -> Result<Engine, Failed> {
    assert_eq!(kind, EngineKind::Embedded);
    let column = |name: &str, kind| Column {
        name: name.to_owned(),
        kind,
    };
    Ok(Engine::Scripted(Scripted::new(vec![Turn {
        expected: "\"logs\"",
        events: vec![
            Event::Columns(vec![
                column("bucket", Kind::Timestamp { precision: 3 }),
                column("errors", Kind::BigInt),
            ]),
            Event::Rows(vec![vec![
                Some("2026-11-24 02:00:00.000".to_owned()),
                Some("12".to_owned()),
            ]]),
        ],
        failure: None,
    }])))
}

#[expect(clippy::unnecessary_wraps, reason = "engines are opened so")]
fn refusing(_: EngineKind, _: &Config, _: &CancellationToken) -> Result<Engine, Failed> {
    Ok(Engine::Scripted(Scripted::new(vec![Turn {
        failure: Some(RunFailure::Refused),
        ..Turn::default()
    }])))
}

fn surroundings() -> Surroundings {
    Surroundings {
        terminal: None,
        reader: Reader::Program,
        viewer: Viewer::Nobody,
        wall_ns: clock,
        config: None,
        xdg_config_home: None,
        home: None,
        open_engine: one_row,
        input: Some(|| Box::new(&b"SELECT count(*) AS n FROM {{logs}};\n"[..])),
    }
}

/// What the program says to a command line: its exit code, standard output and standard error.
fn said(line: &[&str], surroundings: &Surroundings) -> (Exit, String, String) {
    let typed: Vec<OsString> = std::iter::once("queries")
        .chain(line.iter().copied())
        .map(OsString::from)
        .collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(&typed, surroundings, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (exit, text(out), text(err))
}

fn say(line: &[&str]) -> (Exit, String, String) {
    said(line, &surroundings())
}

const EMBEDDED: [&str; 2] = ["--engine", "embedded"];

fn with_engine<'a>(line: &[&'a str]) -> Vec<&'a str> {
    [line, &EMBEDDED[..]].concat()
}

#[test]
fn help_has_everything() {
    let (exit, help, _) = say(&["--help"]);
    assert_eq!(exit, Exit::Success);
    insta::assert_snapshot!("help", help);
    for verb in [
        "ls",
        "show",
        "run",
        "sql",
        "around",
        "ddl",
        "setup",
        "publish",
        "doctor",
        "completions",
    ] {
        let (exit, help, _) = say(&[verb, "--help"]);
        assert_eq!(exit, Exit::Success, "{verb}");
        insta::assert_snapshot!(format!("help_{verb}"), help);
    }
}

#[test]
fn a_query_has_flags_for_its_parameters() {
    let (exit, help, _) = say(&["run", "rate-spikes", "--help"]);
    assert_eq!(exit, Exit::Success);
    insta::assert_snapshot!(help);
}

#[test]
fn the_catalogue_is_listed() {
    let (exit, list, talk) = say(&["ls"]);
    assert_eq!((exit, talk.as_str()), (Exit::Success, ""));
    insta::assert_snapshot!(list);
}

#[test]
fn a_statement_is_shown_as_an_engine_gets_it() {
    let (exit, sql, talk) = say(&[
        "show",
        "around",
        "--expanded",
        "--cluster",
        "aa",
        "--src",
        "it's",
        "-p",
        "off=5",
        "--from",
        "-1d@d",
        "--to",
        "today",
    ]);
    assert_eq!((exit, talk.as_str()), (Exit::Success, ""));
    insta::assert_snapshot!(sql);
}

#[test]
fn a_query_is_asked() {
    let (exit, answer, talk) = say(&with_engine(&[
        "run",
        "error-timeline",
        "-c",
        "aa",
        "--bucket",
        "hour",
    ]));
    assert_eq!(
        (exit, answer.as_str()),
        (Exit::Success, "bucket,errors\n2026-11-24 02:00:00.000,12\n"),
        "{talk}"
    );
    assert_eq!(talk, "queries: 1 row in 42 ms, 12 MB read (embedded)\n");
    let (_, chart, talk) = say(&with_engine(&[
        "run",
        "error-timeline",
        "-c",
        "aa",
        "-o",
        "chart",
        "-q",
    ]));
    assert!(chart.starts_with("2026-11-24 02:00:00 12 █"), "{chart}");
    assert_eq!(talk, "");
    let (exit, answer, _) = say(&with_engine(&["sql", "-c", "aa", "-o", "json"]));
    assert_eq!(
        (exit, answer.as_str()),
        (
            Exit::Success,
            "{\"bucket\":\"2026-11-24 02:00:00.000\",\"errors\":12}\n"
        )
    );
}

#[test]
fn an_answer_goes_into_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("answer.csv");
    let (exit, answer, _) = say(&with_engine(&[
        "sql",
        "-c",
        "aa",
        "-o",
        file.to_str().expect("UTF-8"),
    ]));
    assert_eq!((exit, answer.as_str()), (Exit::Success, ""));
    assert!(
        std::fs::read_to_string(&file)
            .expect("a file")
            .starts_with("bucket,errors\n")
    );
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let mut all = String::new();
    for line in [
        &["run", "gerp"][..],
        &["run", "grep"],
        &["run", "grep", "-c", "aa"],
        &["run", "grep", "-c", "aa", "-p", "patern=x"],
        &["run", "grep", "-c", "aa", "--pattern", "(?=x)"],
        &["run", "grep", "-c", "aa", "--pattern", "x", "--limit", "0"],
        &["run", "grep", "-c", "a/a", "--pattern", "x"],
        &[
            "run",
            "grep",
            "-c",
            "aa",
            "--pattern",
            "x",
            "--from",
            "now",
            "--to",
            "-1h",
        ],
        &[
            "run",
            "grep",
            "-c",
            "aa",
            "--job",
            "bb/www/prod/x",
            "--pattern",
            "x",
        ],
        &["run", "grep", "--pattern", "x"],
        &["run", "silence", "-c", "aa", "-o", "chart"],
        &["run", "silence", "-c", "aa", "-o", "xml"],
        &["sql", "SELECT {{nothing}}", "-c", "aa"],
        &["sql", "SELECT 1; SELECT 2"],
        &["around", "x", "-c", "aa"],
        &["ddl"],
        &["ddl", "--archive", "file:///nowhere"],
        &["ddl", "--archive", "file:///nowhere", "--dialect", "trino"],
        &["ls", "--config", "/nowhere/config.toml"],
        &["completions", "cmd"],
    ] {
        let (exit, out, err) = say(line);
        assert_ne!(exit, Exit::Success, "{line:?}");
        assert_eq!(out, "", "{line:?}");
        let code = exit.code().to_string();
        all.push_str(
            &[
                "$ queries ",
                &line.join(" "),
                "
",
                &err,
                "exit code ",
                &code,
                "

",
            ]
            .concat(),
        );
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_refused_statement_ends_with_its_code() {
    let surroundings = Surroundings {
        open_engine: refusing,
        ..surroundings()
    };
    let (exit, _, err) = said(&["sql", "SELECT 1"], &surroundings);
    assert_eq!((exit, err.as_str()), (Exit::Failed, "queries: it failed\n"));
}

#[test]
fn an_engine_that_is_not_there_is_said() {
    let surroundings = Surroundings {
        open_engine: |kind, _, _| Err(Failed::usage(format!("built without {}", kind.word()))),
        ..surroundings()
    };
    let (exit, _, err) = said(&["sql", "SELECT 1", "--engine", "athena"], &surroundings);
    assert_eq!(
        (exit, err.as_str()),
        (Exit::Usage, "queries: built without athena\n")
    );
}

#[test]
fn own_queries_are_asked_like_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("mine.sql"),
        "-- name: mine\n-- answers: my own\n-- param word: text; a word\n\nSELECT {{word}} AS word FROM {{logs}}\n",
    )
    .expect("written");
    std::fs::write(
        folder.path().join("grep.sql"),
        "-- name: grep\n-- answers: mine\n\nSELECT 1 AS n FROM {{logs}}\n",
    )
    .expect("written");
    let config = folder.path().join("config.toml");
    std::fs::write(
        &config,
        "query_folders = [\".\"]\n[defaults]\ncluster = \"aa\"\n",
    )
    .expect("written");
    let surroundings = Surroundings {
        config: Some(config),
        ..surroundings()
    };
    let (exit, sql, _) = said(
        &["show", "mine", "--expanded", "--word", "x"],
        &surroundings,
    );
    assert_eq!(exit, Exit::Success);
    assert!(sql.starts_with("SELECT 'x' AS word FROM ("), "{sql}");
    assert!(sql.contains("cluster = 'aa'"), "{sql}");
    // The one that takes a name which is taken is told, and is not taken.
    let (exit, list, err) = said(&["ls"], &surroundings);
    assert_eq!(exit, Exit::Failed);
    assert!(list.contains("mine"), "{list}");
    assert!(
        err.contains("there is a query `grep` already, the program's own"),
        "{err}"
    );
}

#[test]
fn tables_are_printed_by_flags_alone() {
    let (exit, sql, err) = say(&[
        "ddl",
        "--archive",
        "s3://bucket/prod",
        "--encoding",
        "ndjson",
        "--cluster",
        "bb",
        "--cluster",
        "aa",
        "--first-hour",
        "2026-11-01-00",
    ]);
    assert_eq!((exit, err.as_str()), (Exit::Success, ""));
    assert!(
        sql.starts_with("CREATE DATABASE IF NOT EXISTS `logs`;\n\nCREATE EXTERNAL TABLE"),
        "{sql}"
    );
    assert!(
        sql.contains("'projection.cluster.values' = 'aa,bb'"),
        "{sql}"
    );
}

#[test]
fn tables_are_made_of_what_the_archive_has() {
    let folder = tempfile::tempdir().expect("a folder");
    for (hour, ending) in [("2026-11-24-00", "ndjson.gz"), ("2026-11-24-01", "parquet")] {
        let path = folder.path().join(format!(
            "logs/v1/cluster=aa/dh={hour}/0000000000000001~000001~00000001.{ending}"
        ));
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, "x").expect("written");
    }
    let archive = format!("file://{}", folder.path().display());
    let (exit, out, err) = say(&["ddl", "--dialect", "trino", "--archive", &archive]);
    assert_eq!((exit, out.as_str()), (Exit::Failed, ""));
    assert!(
        err.contains("a table of Athena's reads one format"),
        "{err}"
    );
    let (exit, sql, err) = say(&[
        "ddl",
        "--dialect",
        "trino",
        "--archive",
        &archive,
        "--encoding",
        "parquet",
    ]);
    assert_eq!(exit, Exit::Success, "{err}");
    assert!(
        sql.contains("ARRAY['2026-11-24-01', 'NOW+1HOURS']"),
        "{sql}"
    );
    assert!(err.contains("the table begins at 2026-11-24-01"), "{err}");
}

#[test]
fn a_reader_who_leaves_is_no_failure() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut err = Vec::new();
    for line in [
        &["queries", "ls"][..],
        &["queries", "--help"],
        &["queries", "sql", "-c", "aa", "--engine", "embedded"],
    ] {
        let typed: Vec<OsString> = line.iter().map(OsString::from).collect();
        assert_eq!(
            run(&typed, &surroundings(), &mut Gone, &mut err),
            Exit::Success,
            "{line:?}"
        );
    }
    assert_eq!(err, b"");
}
