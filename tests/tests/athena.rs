//! Athena's runner against a server that behaves as the real one was seen to, with everything that can go wrong on the way, and
//! against moto's, which is not ours.

#[path = "../../queries/tests/fixture/mod.rs"]
mod fixture;

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use archive::Store;
use archive::store::{S3Settings, open};
use e2e::athena_server::{Answer, AthenaServer, Executor, Failed, Fault, Group, OUTPUT, Script};
use e2e::moto::{self, Moto};
use e2e::s3_server::{self, On, S3Server};
use queries::athena::api::{Api, Failure, NewNamed, QueryState, Start};
use queries::athena::csv::CsvReader;
use queries::athena::results::{Object, object_at};
use queries::athena::run::Collected;
use queries::athena::{Athena, AthenaSettings, RunError, client};
use queries::catalogue::Catalogue;
use queries::event::{Event, QUEUE_EVENTS, State, Stats};
use queries::exit::Exit;
use queries::publish::{Outcome, Publication, PublishError, publish};
use queries::retry::Outside;
use queries::rows::{Column, Kind, Row};
use queries::run::Surroundings;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
    }
}

/// A row that holds what is hard to carry.
fn hard_row(n: usize) -> Row {
    let text = match n % 4 {
        0 => Some(String::new()),
        1 => None,
        2 => Some("a \"quoted\", and\nbroken\r\nline".to_owned()),
        _ => Some("naïve ∑ \u{1f600}".to_owned()),
    };
    vec![Some(n.to_string()), text]
}

/// Runs `SELECT n FROM numbers`: so many hard rows, a byte read for each.
fn numbers(sql: &str) -> Result<Answer, Failed> {
    let mut words = sql.split(' ');
    let count = words.nth(1).and_then(|word| word.parse().ok());
    let count: usize = count.ok_or_else(|| Failed::new("SYNTAX_ERROR: not a number"))?;
    Ok(Answer {
        columns: vec![column("n", Kind::BigInt), column("text", Kind::Varchar)],
        rows: (0..count).map(hard_row).collect(),
        bytes_scanned: count as u64,
    })
}

fn executor() -> Executor {
    Arc::new(|sql| Box::pin(std::future::ready(numbers(&sql))))
}

/// An Athena with its bucket, and a client of it.
struct Rig {
    server: AthenaServer,
    bucket: Arc<S3Server>,
    athena: Athena,
    stop: CancellationToken,
    leave: CancellationToken,
}

impl Rig {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut AthenaSettings)) -> Self {
        let bucket = Arc::new(S3Server::start().await.unwrap());
        let server = AthenaServer::start(Some(Arc::clone(&bucket)), executor());
        let server = server.await.unwrap();
        let mut settings = server.settings();
        change(&mut settings);
        let leave = CancellationToken::new();
        let mut seed = 1_u64;
        let outside = Outside::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let athena = Athena::new(&settings, &bucket.settings(), outside, leave.clone()).unwrap();
        Self {
            server,
            bucket,
            athena,
            stop: CancellationToken::new(),
            leave,
        }
    }

    /// The client below the runner.
    fn api(&self) -> Arc<dyn Api> {
        client(self.athena.settings(), &self.bucket.settings())
    }

    async fn collect(&self, sql: &str) -> Result<Collected, RunError> {
        self.athena.collect(sql, self.stop.clone()).await
    }

    async fn error(&self, sql: &str) -> String {
        chain(&self.collect(sql).await.unwrap_err())
    }

    /// Runs a statement and does something with every event.
    async fn watch(
        &self,
        sql: &str,
        mut seen: impl FnMut(&Event),
    ) -> (Result<Stats, RunError>, Vec<Event>) {
        let (sender, mut receiver) = mpsc::channel(QUEUE_EVENTS);
        let receive = async {
            let mut events = Vec::new();
            while let Some(event) = receiver.recv().await {
                seen(&event);
                events.push(event);
            }
            events
        };
        tokio::join!(self.athena.run(sql, sender, self.stop.clone()), receive)
    }
}

fn notes(events: &[Event]) -> Vec<&str> {
    let notes = events.iter().filter_map(|event| match event {
        Event::Note(text) => Some(text.as_str()),
        _ => None,
    });
    notes.collect()
}

/// The whole chain of an error, and its hint.
fn chain(error: &RunError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    if let Some(hint) = error.hint() {
        text = format!("{text}\nhint: {hint}");
    }
    text
}

fn start(sql: &str, token: &str, rig: &Rig) -> Start {
    let settings = rig.athena.settings();
    Start {
        sql: sql.to_owned(),
        token: token.repeat(32),
        workgroup: settings.workgroup.clone(),
        output_location: settings.output_location.clone(),
        database: Some(settings.database.clone()),
        catalog: None,
        reuse_minutes: None,
    }
}

#[tokio::test]
async fn answers_come_whole_whatever_their_size() {
    let rig = Rig::new().await;
    for (count, objects_read) in [(0, 0), (1, 0), (999, 0), (1000, 1), (5000, 2)] {
        let collected = rig
            .collect(&format!("SELECT {count} FROM numbers"))
            .await
            .unwrap();
        let names: Vec<&str> = collected
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(names, ["n", "text"]);
        assert_eq!(collected.columns[0].kind, Kind::BigInt);
        assert_eq!(collected.rows, (0..count).map(hard_row).collect::<Vec<_>>());
        assert_eq!(collected.stats.bytes_scanned, count as u64);
        let gets = rig
            .bucket
            .seen()
            .iter()
            .filter(|seen| seen.on == On::Get)
            .count();
        assert_eq!(gets, objects_read, "{count}");
    }
}

#[tokio::test]
async fn its_course_is_told() {
    let rig = Rig::new().await;
    rig.server.set_script(Script {
        running_polls: 2,
        ..Script::default()
    });
    let (stats, events) = rig.watch("SELECT 7 FROM numbers", |_| ()).await;
    let states: Vec<(State, u64)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Progress(progress) => Some((progress.state, progress.bytes_scanned)),
            _ => None,
        })
        .collect();
    let expected = [
        (State::Queued, 0),
        (State::Running, 1000),
        (State::Running, 2000),
        (State::Fetching, 7),
    ];
    assert_eq!(states, expected);
    let id = stats.unwrap().execution_id.unwrap();
    assert!(
        rig.bucket
            .objects()
            .contains_key(&format!("{OUTPUT}{id}.csv"))
    );
}

#[tokio::test]
async fn a_start_whose_answer_is_lost_starts_one_execution() {
    let rig = Rig::new().await;
    rig.server
        .fault("StartQueryExecution", Fault::BreakAfter, 1);
    rig.server.fault("StartQueryExecution", Fault::Server, 1);
    let (stats, events) = rig.watch("SELECT 3 FROM numbers", |_| ()).await;
    stats.unwrap();
    assert_eq!(rig.server.executions(), 1);
    assert_eq!(rig.server.count("StartQueryExecution"), 3);
    assert_eq!(notes(&events).len(), 2, "{events:?}");
    // The same text again is another execution.
    rig.collect("SELECT 3 FROM numbers").await.unwrap();
    assert_eq!(rig.server.executions(), 2);
}

#[tokio::test]
async fn throttles_and_breaks_are_borne_and_said() {
    let rig = Rig::new().await;
    rig.server.fault("StartQueryExecution", Fault::Throttle, 1);
    rig.server.fault("GetQueryExecution", Fault::BreakBefore, 1);
    rig.server.fault("GetQueryExecution", Fault::Throttle, 1);
    rig.server
        .fault("GetQueryExecution", Fault::Say(502, "<html>".to_owned()), 1);
    rig.server.fault("GetQueryResults", Fault::BreakAfter, 1);
    let (stats, events) = rig.watch("SELECT 3 FROM numbers", |_| ()).await;
    stats.unwrap();
    let notes = notes(&events);
    assert_eq!(notes.len(), 5, "{notes:?}");
    assert!(
        notes[0].starts_with("StartQueryExecution: TooManyRequestsException: You have exceeded")
    );
    assert!(notes[0].ends_with("attempt 2 of 28"), "{notes:?}");
    assert!(notes[1].starts_with("GetQueryExecution: "), "{notes:?}");
    assert!(notes[3].contains("status 502"), "{notes:?}");
}

#[tokio::test]
async fn a_stop_ends_it_and_a_second_one_leaves_it() {
    let rig = Rig::new().await;
    rig.server.set_script(Script::endless());
    let stop = rig.stop.clone();
    let running = |event: &Event| matches!(event, Event::Progress(progress) if progress.state == State::Running);
    let (result, _) = rig
        .watch("SELECT 1 FROM numbers", |event| {
            if running(event) {
                stop.cancel();
            }
        })
        .await;
    let error = result.unwrap_err();
    let RunError::Stopped { scanned, .. } = &error else {
        panic!("{error}");
    };
    assert!(scanned.bytes >= 1000, "{error}");
    assert!(error.to_string().contains("$0.000050"), "{error}");
    assert_eq!(rig.server.count("StopQueryExecution"), 1);

    let rig = Rig::new().await;
    rig.server.set_script(Script {
        stopping_polls: u32::MAX,
        ..Script::endless()
    });
    let (stop, leave) = (rig.stop.clone(), rig.leave.clone());
    let mut count = 0;
    let (result, _) = rig
        .watch("SELECT 1 FROM numbers", |event| {
            count += u32::from(running(event));
            match count {
                1 => stop.cancel(),
                3 => leave.cancel(),
                _ => {}
            }
        })
        .await;
    let error = result.unwrap_err();
    assert!(matches!(error, RunError::Left { .. }), "{error}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains(error.execution_id().unwrap())
    );
}

#[tokio::test]
async fn failures_of_every_kind_say_what_to_do() {
    let rig = Rig::new().await;
    rig.server.set_script(Script {
        queued_polls: 0,
        running_polls: 0,
        ..Script::default()
    });
    for (reason, hint) in [
        (
            "HIVE_EXCEEDED_PARTITION_LIMIT: Query over table 'logs' can potentially read more than 1000000 partitions",
            "name the cluster",
        ),
        (
            "CONSTRAINT_VIOLATION: For the injected projected partition column cluster",
            "name the cluster",
        ),
        (
            "HIVE_BAD_DATA: Malformed Parquet file s3://logs/logs/v1/x.parquet",
            "queries doctor s3://logs/logs/v1/x.parquet",
        ),
        (
            "HIVE_CURSOR_ERROR: Row is not a valid JSON Object",
            "queries doctor",
        ),
        ("HIVE_S3_THROTTLING: SlowDown", "compact"),
        (
            "Query exhausted resources at this scale factor",
            "approx_distinct",
        ),
        (
            "Insufficient permissions to execute the query: glue:GetTable",
            "Glue",
        ),
        (
            "TABLE_NOT_FOUND: line 1:15: Table 'x' does not exist",
            "queries setup",
        ),
    ] {
        rig.server.answer_to(
            "reason",
            [Err(Failed {
                bytes_scanned: 5,
                ..Failed::new(reason)
            })],
        );
        let text = rig.error("SELECT reason").await;
        assert!(text.contains(reason) && text.contains("5 B read"), "{text}");
        let (_, told) = text
            .split_once("\nhint: ")
            .unwrap_or_else(|| panic!("{text}"));
        assert!(told.contains(hint), "{told}");
    }
    let text = rig.error("SELEC 1").await;
    assert!(text.contains("mismatched input 'SELEC'"), "{text}");
    assert_eq!(rig.server.count("StartQueryExecution"), 9);
}

#[tokio::test]
async fn what_a_workgroup_says_is_heeded() {
    let rig = Rig::with(|settings| settings.output_location = None).await;
    let text = rig.error("SELECT 1 FROM numbers").await;
    assert!(
        text.contains("hint: say where answers go: output_location"),
        "{text}"
    );

    // Answers that Athena keeps itself come by its calls only.
    let group = Group {
        output_location: None,
        enforced: true,
        managed_results: true,
        cutoff_bytes: Some(10_000),
    };
    rig.server.set_group("primary", group);
    let told = rig.athena.workgroup().await.unwrap();
    assert!(told.managed_results && told.enabled && told.enforced);
    assert_eq!(told.cutoff_bytes, Some(10_000));
    let collected = rig.collect("SELECT 2500 FROM numbers").await.unwrap();
    assert_eq!(collected.rows, (0..2500).map(hard_row).collect::<Vec<_>>());
    assert_eq!(rig.server.count("GetQueryResults"), 3);
    assert_eq!(rig.bucket.seen(), []);

    let text = rig.error("SELECT 10001 FROM numbers").await;
    assert!(text.contains("not by us, 10.0 kB read"), "{text}");
    assert!(
        text.contains("hint: the workgroup stops statements"),
        "{text}"
    );
}

#[tokio::test]
async fn an_object_that_may_not_be_read_is_not_needed() {
    let rig = Rig::new().await;
    rig.bucket
        .fault(On::Head, s3_server::Fault::Refuse(403, "AccessDenied"), 9);
    let (stats, events) = rig.watch("SELECT 1500 FROM numbers", |_| ()).await;
    stats.unwrap();
    let notes = notes(&events);
    assert!(
        notes.len() == 1 && notes[0].contains("by Athena's call"),
        "{notes:?}"
    );
    let rows = events.iter().map(|event| match event {
        Event::Rows(rows) => rows.len(),
        _ => 0,
    });
    assert_eq!(rows.sum::<usize>(), 1500);
}

#[tokio::test]
async fn an_object_comes_whole_through_a_broken_network() {
    let rig = Rig::new().await;
    rig.bucket.fault(On::Head, s3_server::Fault::BreakBefore, 1);
    rig.bucket.fault(On::Get, s3_server::Fault::Truncate, 1);
    rig.bucket
        .fault(On::Get, s3_server::Fault::Refuse(503, "SlowDown"), 1);
    let collected = rig.collect("SELECT 2000 FROM numbers").await.unwrap();
    assert_eq!(collected.rows, (0..2000).map(hard_row).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_earlier_answer_is_used_again_if_that_is_wanted() {
    let rig = Rig::with(|settings| settings.reuse_minutes = Some(60)).await;
    let first = rig.collect("SELECT 4 FROM numbers").await.unwrap();
    let second = rig.collect("SELECT 4 FROM numbers").await.unwrap();
    assert_eq!((first.stats.reused, second.stats.reused), (false, true));
    assert_eq!(second.stats.bytes_scanned, 0);
    assert_eq!(first.rows, second.rows);
    let asked = &rig.server.seen()[0].body["ResultReuseConfiguration"];
    assert_eq!(
        asked["ResultReuseByAgeConfiguration"]["MaxAgeInMinutes"],
        60
    );
}

#[tokio::test]
async fn hostile_answers_are_errors_that_say_so() {
    let execution = |status: serde_json::Value| json!({"QueryExecution": {"QueryExecutionId": "x", "Status": status}});
    let cases = [
        ("StartQueryExecution", Fault::Instead(json!({})), "names no execution"),
        ("StartQueryExecution", Fault::Instead(json!({"QueryExecutionId": ""})), "names no execution"),
        ("StartQueryExecution", Fault::Say(200, "{".to_owned()), "StartQueryExecution: status 200"),
        ("StartQueryExecution", Fault::Say(200, "<html>log in</html>".to_owned()), "status 200"),
        ("StartQueryExecution", Fault::Say(200, r#"{"QueryExecutionId": 5}"#.to_owned()), "status 200"),
        ("StartQueryExecution", Fault::Say(400, "\u{1b}[1m".to_owned()), "status 400"),
        ("StartQueryExecution", Fault::Say(403, r#"{"__type":"UnrecognizedClientException","message":"no"}"#.to_owned()), "hint: no credentials were found, or Athena does not take them"),
        ("StartQueryExecution", Fault::Say(400, r#"{"__type":"AccessDeniedException","Message":"User: x is not authorized to perform: athena:StartQueryExecution"}"#.to_owned()), "hint: the right is missing for the workgroup"),
        ("GetQueryExecution", Fault::Instead(json!({})), "holds no execution"),
        ("GetQueryExecution", Fault::Instead(json!({"QueryExecution": {}})), "has no status"),
        ("GetQueryExecution", Fault::Instead(execution(json!({}))), "has no state"),
        ("GetQueryExecution", Fault::Instead(execution(json!({"State": "SUCCEEDED", "AthenaError": []}))), "status 200"),
        ("GetQueryExecution", Fault::Instead(execution(json!({"State": "FAILED", "StateChangeReason": "a\u{1b}[2J\nb"}))), "a [2J b"),
        ("GetQueryResults", Fault::Instead(json!({})), "holds no results"),
        ("GetQueryResults", Fault::Say(200, "[]".to_owned()), "GetQueryResults: status 200"),
        ("GetQueryResults", Fault::Instead(json!({"ResultSet": {"Rows": [{"Data": [{"VarCharValue": "x"}]}], "ResultSetMetadata": {"ColumnInfo": [
            {"Name": "a", "Type": "varchar"}, {"Name": "b", "Type": "no such type"}]}}})), "a row of 1 values in an answer of 2 columns"),
    ];
    for (operation, fault, expected) in cases {
        let rig = Rig::new().await;
        let shown = format!("{fault:?}");
        rig.server.fault(operation, fault, 99);
        let text = rig.error("SELECT 1 FROM numbers").await;
        assert!(text.contains(expected), "{operation} {shown}: {text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    // Holes that hurt nobody.
    let rig = Rig::new().await;
    let nothing = json!({"ResultSet": {}, "NextToken": ""});
    rig.server
        .fault("GetQueryResults", Fault::Instead(nothing), 1);
    let collected = rig.collect("SELECT 1 FROM numbers").await.unwrap();
    assert_eq!((collected.columns.len(), collected.rows.len()), (0, 0));
}

#[tokio::test]
async fn a_huge_value_comes_either_way() {
    let huge = "x\"".repeat(5 << 20);
    for further in [0, 1200] {
        let rig = Rig::new().await;
        let mut rows: Vec<Row> = vec![vec![Some(huge.clone())]];
        rows.extend((0..further).map(|n| vec![Some(n.to_string())]));
        let answer = Answer {
            columns: vec![column("a", Kind::Varchar)],
            rows,
            bytes_scanned: 1,
        };
        rig.server.answer_to("huge", [Ok(answer.clone())]);
        let collected = rig.collect("SELECT huge").await.unwrap();
        assert!(collected.rows == answer.rows, "the rows differ");
    }
}

#[tokio::test]
async fn tokens_bring_back_what_they_started() {
    let rig = Rig::new().await;
    rig.server.set_script(Script {
        queued_polls: 0,
        running_polls: 0,
        ..Script::default()
    });
    let api = rig.api();
    rig.server.answer_to("bad", [Err(Failed::new("GENERIC"))]);
    for (sql, end, token) in [
        ("SELECT 1 FROM numbers", QueryState::Succeeded, "a"),
        ("SELECT bad", QueryState::Failed, "b"),
    ] {
        let start = start(sql, token, &rig);
        let id = api.start(&start).await.unwrap();
        assert_eq!(api.start(&start).await.unwrap(), id);
        assert_eq!(api.status(&id).await.unwrap().state, end);
        assert_eq!(api.start(&start).await.unwrap(), id, "after its end too");
        // The workgroup is not compared: that is why it is part of our tokens.
        rig.server.set_group(
            "other",
            Group {
                output_location: None,
                enforced: false,
                managed_results: false,
                cutoff_bytes: None,
            },
        );
        let mut other = start.clone();
        other.workgroup = "other".to_owned();
        assert_eq!(api.start(&other).await.unwrap(), id);
        for change in [
            |start: &mut Start| start.sql = "SELECT 2 FROM numbers".to_owned(),
            |start: &mut Start| start.database = Some("other".to_owned()),
            |start: &mut Start| start.catalog = Some("other".to_owned()),
            |start: &mut Start| start.output_location = Some("s3://logs/other/".to_owned()),
        ] {
            let mut other = start.clone();
            change(&mut other);
            let refused = api.start(&other).await.unwrap_err();
            assert_eq!(refused.failure, Failure::TokenTaken, "{refused}");
        }
    }
    // What is no SQL takes no token.
    let mut wrong = start("SELEC 1", "c", &rig);
    assert_eq!(
        api.start(&wrong).await.unwrap_err().failure,
        Failure::Statement
    );
    wrong.sql = "SELECT 1 FROM numbers".to_owned();
    api.start(&wrong).await.unwrap();
    let mut short = start("SELECT 1", "d", &rig);
    short.token = "d".repeat(31);
    let refused = api.start(&short).await.unwrap_err();
    assert!(
        refused.text.contains("greater than or equal to 32"),
        "{refused}"
    );
    for id in ["", "nobody"] {
        assert_eq!(api.status(id).await.unwrap_err().failure, Failure::Other);
    }
    let unfinished = api
        .start(&start("SELECT 9 FROM numbers", "e", &rig))
        .await
        .unwrap();
    let refused = api.results(&unfinished, None).await.unwrap_err();
    assert!(refused.text.contains("has not yet finished"), "{refused}");
    api.stop(&unfinished).await.unwrap();
    assert_eq!(
        api.status(&unfinished).await.unwrap().state,
        QueryState::Running
    );
    assert_eq!(
        api.status(&unfinished).await.unwrap().state,
        QueryState::Cancelled
    );
}

fn publication(name: &str, sql: &str) -> Publication {
    Publication {
        name: name.to_owned(),
        description: format!("what {name} answers"),
        sql: sql.to_owned(),
    }
}

#[tokio::test]
async fn publishing_again_changes_what_has_changed() {
    let rig = Rig::new().await;
    // More of others' than one call lists.
    for n in 0..120 {
        rig.server
            .plant_named(&format!("theirs-{n}"), "by hand", "SELECT 1");
    }
    rig.server
        .plant_named("grep", "a colleague's", "SELECT 'theirs'");
    let all = ["errors-by-job", "first-seen", "grep"].map(|name| publication(name, "SELECT 1"));
    let outcomes = |published: &queries::publish::Published| -> Vec<Outcome> {
        published
            .outcomes
            .iter()
            .map(|(_, outcome)| *outcome)
            .collect()
    };
    rig.server.fault("CreateNamedQuery", Fault::BreakAfter, 1);
    rig.server.fault("BatchGetNamedQuery", Fault::Throttle, 1);
    let published = publish(&rig.athena, &all).await.unwrap();
    assert_eq!(
        outcomes(&published),
        [Outcome::Created, Outcome::Created, Outcome::Foreign]
    );
    assert_eq!(
        rig.server.named().len(),
        123,
        "the lost answer made no second one"
    );

    let published = publish(&rig.athena, &all).await.unwrap();
    assert_eq!(
        outcomes(&published),
        [Outcome::Unchanged, Outcome::Unchanged, Outcome::Foreign]
    );

    let mut changed = all.clone();
    changed[0].sql = "SELECT 2".to_owned();
    changed[1].name = "first-seen-2".to_owned();
    let published = publish(&rig.athena, &changed).await.unwrap();
    assert_eq!(
        outcomes(&published),
        [Outcome::Updated, Outcome::Created, Outcome::Foreign]
    );
    assert_eq!(published.stale, ["first-seen"]);
    let named = rig.server.named();
    let of = |name: &str| named.iter().find(|named| named["Name"] == name).unwrap();
    assert_eq!(of("errors-by-job")["QueryString"], "SELECT 2");
    assert_eq!(of("grep")["QueryString"], "SELECT 'theirs'");
    let description = of("errors-by-job")["Description"].as_str().unwrap();
    assert!(
        description.starts_with("what errors-by-job answers [queries "),
        "{description}"
    );

    let long = publication(&"x".repeat(129), "SELECT 1");
    let error = publish(&rig.athena, &[long]).await.unwrap_err();
    assert!(matches!(error, PublishError::Unfit { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_away() {
    let rig = Rig::new().await;
    let (athena, settings) = (rig.athena.clone(), rig.bucket.settings());
    drop(rig);
    let api = client(athena.settings(), &settings);
    let refused = api.status("x").await.unwrap_err();
    assert_eq!(refused.failure, Failure::Lost, "{refused}");
}

// moto's.

/// What of moto's settings Athena's client needs.
fn of_moto(moto: &Moto) -> (AthenaSettings, S3Settings) {
    let settings = AthenaSettings {
        endpoint: Some(moto.endpoint().to_owned()),
        output_location: Some(format!("s3://{}/answers/", moto::BUCKET)),
        ..AthenaSettings::default()
    };
    (settings, moto.settings())
}

fn at_moto(moto: &Moto) -> Athena {
    let (settings, s3) = of_moto(moto);
    let leave = CancellationToken::new();
    Athena::new(&settings, &s3, Outside::new(|| 0), leave).unwrap()
}

/// From the next on, executions take so many questions from state to state.
fn slow_down(moto: &Moto, times: u32) {
    let transition = json!({"progression": "manual", "times": times});
    let body = json!({"model_name": "athena::execution", "transition": transition});
    moto.tell("state-manager/set-transition", &body).unwrap();
}

#[tokio::test]
async fn moto_takes_a_statement_from_start_to_object() {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let athena = at_moto(&moto);
    let column = |name, of| json!({"Name": name, "Type": of, "Precision": 3, "Scale": 0});
    let row = |values: &[Option<&str>]| {
        let value = |value: Option<&str>| match value {
            Some(text) => json!({"VarCharValue": text}),
            None => json!({}),
        };
        json!({"Data": values.iter().copied().map(value).collect::<Vec<_>>()})
    };
    let rows = [
        row(&[Some("ts"), Some("msg")]),
        row(&[Some("2026-11-01 09:00:00.000"), Some("a, b")]),
        row(&[None, Some("")]),
    ];
    let columns = [column("ts", "timestamp"), column("msg", "varchar")];
    let results = json!({"results": [{"rows": rows, "column_info": columns}]});
    moto.tell("static/athena/query-results", &results).unwrap();
    slow_down(&moto, 2);
    let stop = CancellationToken::new();
    let collected = athena
        .collect("SELECT ts, msg FROM logs", stop)
        .await
        .unwrap();
    assert_eq!(collected.columns[0].kind, Kind::Timestamp { precision: 3 });
    let text = |text: &str| Some(text.to_owned());
    let expected: [Row; 2] = [
        vec![text("2026-11-01 09:00:00.000"), text("a, b")],
        vec![None, text("")],
    ];
    assert_eq!(collected.rows, expected);

    // The same from the object that it wrote.
    let id = collected.stats.execution_id.unwrap();
    let place = format!("s3://{}/answers/{id}.csv", moto::BUCKET);
    let (root, key) = object_at(&place).unwrap();
    let store: Arc<dyn Store> = open(&root, &moto.settings()).unwrap();
    let outside = Outside::new(|| 0);
    let object = Object::find(store, key, &place, &outside).await.unwrap();
    let bytes = object.read(0, &outside).await.unwrap();
    let (mut reader, mut rows) = (CsvReader::default(), Vec::new());
    reader.feed(&bytes, &mut rows).unwrap();
    reader.finish(&mut rows).unwrap();
    assert_eq!(rows[1..], expected);
}

#[tokio::test]
async fn moto_ends_a_stopped_statement() {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let athena = at_moto(&moto);
    slow_down(&moto, 1_000_000);
    let stop = CancellationToken::new();
    let (sender, mut receiver) = mpsc::channel(QUEUE_EVENTS);
    let running = athena.run("SELECT 1", sender, stop.clone());
    let stopping = async {
        let first = receiver.recv().await;
        assert!(matches!(first, Some(Event::Progress(_))), "{first:?}");
        stop.cancel();
        while receiver.recv().await.is_some() {}
    };
    let (result, ()) = tokio::join!(running, stopping);
    assert!(
        matches!(result, Err(RunError::Stopped { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn moto_keeps_named_queries_and_knows_its_workgroup() {
    let moto = Moto::start(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (settings, s3) = of_moto(&moto);
    let api = client(&settings, &s3);
    let mut made = Vec::new();
    for n in 0..60 {
        let new = NewNamed {
            name: format!("query-{n}"),
            description: "what it answers".to_owned(),
            database: "logs".to_owned(),
            sql: "SELECT 1".to_owned(),
            workgroup: "primary".to_owned(),
            token: format!("{n:064}"),
        };
        made.push(api.create_named(&new).await.unwrap());
    }
    let first = api.list_named("primary", None).await.unwrap();
    assert_eq!(first.ids.len(), 50);
    let rest = api
        .list_named("primary", first.next.as_deref())
        .await
        .unwrap();
    assert_eq!(rest.next, None);
    let mut listed = [first.ids, rest.ids].concat();
    listed.sort_unstable();
    made.sort_unstable();
    assert_eq!(listed, made);
    let group = api.workgroup("primary").await.unwrap();
    assert!(group.enabled && !group.managed_results);
}

/// The wall clock of who asks, in ns since 1970.
fn fixture_ns() -> i64 {
    fixture::NOW_SECONDS * fixture::SECOND_NS
}

/// Runs SQL on the embedded engine over an archive, as Athena would.
fn embedded(store: Arc<dyn Store>) -> Executor {
    Arc::new(move |sql| {
        let engine = fixture::engine(Arc::clone(&store), "logs");
        Box::pin(async move {
            match fixture::answered(&engine, &sql).await {
                Ok(answered) => Ok(Answer {
                    columns: answered.columns,
                    rows: answered.rows,
                    bytes_scanned: answered.stats.bytes_scanned,
                }),
                Err(error) => Err(Failed::new(&error.to_string())),
            }
        })
    })
}

/// The program from the command line to its output, for every question: what was typed, the estimate, the statement, the execution, the
/// rows from the result object, and what it cost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_question_is_asked_of_athena_from_the_command_line() {
    let bucket = Arc::new(S3Server::start().await.unwrap());
    let root = format!("s3://{}/archive", s3_server::BUCKET);
    let s3 = bucket.settings();
    let store = open(&root.parse().unwrap(), &s3).unwrap();
    fixture::fixture()
        .write(&*store, archive::Encoding::Parquet)
        .await;
    let server = AthenaServer::start(Some(Arc::clone(&bucket)), embedded(store));
    let server = server.await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let credentials = s3.credentials_file.as_ref().unwrap();
    std::fs::write(
        &config,
        format!(
            "archive = \"{root}\"\nengine = \"athena\"\n[s3]\nendpoint = \"{endpoint}\"\nregion = \"eu-west-1\"\n\
             credentials_file = \"{}\"\n[athena]\nendpoint = \"{}\"\noutput_location = \"s3://{}/{OUTPUT}\"\n",
            credentials.display(),
            server.endpoint(),
            s3_server::BUCKET,
            endpoint = bucket.endpoint(),
        ),
    )
    .unwrap();
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries/tests/expected");
    let asked = tokio::task::spawn_blocking(move || {
        let surroundings = Surroundings {
            terminal: None,
            wall_ns: fixture_ns,
            config: Some(config),
            input: None,
            ..Surroundings::of_process()
        };
        let mut asked = 0;
        for query in Catalogue::built_in().queries() {
            let mut typed: Vec<OsString> = ["queries", "run", &query.name, "-o", "csv"]
                .map(OsString::from)
                .into();
            for (name, value) in fixture::given(&query.name) {
                typed.push(format!("--{name}={value}").into());
            }
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let exit = queries::run::run(&typed, &surroundings, &mut out, &mut err);
            let said = String::from_utf8(err).unwrap();
            assert_eq!(exit, Exit::Success, "{}: {said}", query.name);
            let mut reader = CsvReader::default();
            let mut rows = Vec::new();
            reader.feed(&out, &mut rows).unwrap();
            reader.finish(&mut rows).unwrap();
            // The names come first here, and names with types in the file.
            let text = fixture::shown(&[], &rows[1..]);
            let text = fixture::without_places(&text, &root);
            let file = std::fs::read_to_string(expected.join(format!("{}.tsv", query.name)));
            let file = file.unwrap();
            let without_names = |text: &str| text.split_once('\n').unwrap().1.to_owned();
            assert_eq!(
                without_names(&text),
                without_names(&file),
                "{}: {said}",
                query.name
            );
            assert!(said.contains("read (athena, "), "{}: {said}", query.name);
            asked += 1;
        }
        asked
    })
    .await
    .unwrap();
    assert!(asked > 20, "{asked}");
}
