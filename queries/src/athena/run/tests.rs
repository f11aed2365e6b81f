//! The runner against an Athena that says what a test wants, in a time that passes by waiting only.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Mutex;

use archive::store::dir::DirStore;
use archive::store::{Body, digest};
use proptest::prelude::*;

use super::*;
use crate::athena::api::{Ids, MAX_PAGE_ROWS, Named, NewNamed, Pending, ResultsPage, Statement};
use crate::event::QUEUE_EVENTS;
use crate::rows::Kind;

const ID: &str = "0e1f";
const PLACE: &str = "s3://results/a/0e1f.csv";

/// Answers in their order; the last one of each kind is given again and again.
#[derive(Debug, Default)]
struct Fake {
    starts: Answers<String>,
    statuses: Answers<Status>,
    stops: Answers<()>,
    pages: Answers<ResultsPage>,
    /// Every call, with its token or its id.
    calls: Mutex<Vec<String>>,
    /// What is cancelled when so many calls of a kind have come.
    cancel: Mutex<Vec<(&'static str, usize, CancellationToken)>>,
}

#[derive(Debug)]
struct Answers<T>(Mutex<VecDeque<Result<T, Refused>>>);

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Answers<T> {
    fn set(&self, answers: impl IntoIterator<Item = Result<T, Refused>>) {
        *self.0.lock().unwrap() = answers.into_iter().collect();
    }

    fn next(&self) -> Result<T, Refused> {
        let mut answers = self.0.lock().unwrap();
        match answers.len() {
            0 => panic!("the test did not think of this call"),
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        }
    }
}

impl Fake {
    fn call<T: Clone + Send>(
        &self,
        name: &'static str,
        what: &str,
        answers: &Answers<T>,
    ) -> Result<T, Refused> {
        self.calls.lock().unwrap().push(format!("{name} {what}"));
        let count = self.count(name);
        for (of, at, token) in self.cancel.lock().unwrap().iter() {
            if *of == name && *at == count {
                token.cancel();
            }
        }
        answers.next()
    }

    fn count(&self, name: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.starts_with(name)).count()
    }
}

impl Api for Fake {
    fn start<'a>(&'a self, start: &'a Start) -> Pending<'a, String> {
        Box::pin(async { self.call("start", &start.token, &self.starts) })
    }

    fn status<'a>(&'a self, id: &'a str) -> Pending<'a, Status> {
        Box::pin(async move { self.call("status", id, &self.statuses) })
    }

    fn stop<'a>(&'a self, id: &'a str) -> Pending<'a, ()> {
        Box::pin(async move { self.call("stop", id, &self.stops) })
    }

    fn results<'a>(&'a self, _: &'a str, after: Option<&'a str>) -> Pending<'a, ResultsPage> {
        Box::pin(async move { self.call("page", after.unwrap_or("-"), &self.pages) })
    }

    fn workgroup<'a>(&'a self, _: &'a str) -> Pending<'a, Workgroup> {
        unreachable!("statements are run")
    }

    fn list_named<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> Pending<'a, Ids> {
        unreachable!("statements are run")
    }

    fn named<'a>(&'a self, _: &'a [String]) -> Pending<'a, Vec<Named>> {
        unreachable!("statements are run")
    }

    fn create_named<'a>(&'a self, _: &'a NewNamed) -> Pending<'a, String> {
        unreachable!("statements are run")
    }

    fn update_named<'a>(&'a self, _: &'a str, _: &'a NewNamed) -> Pending<'a, ()> {
        unreachable!("statements are run")
    }
}

/// An Athena with a statement that is queued, runs and succeeds, and two rows of answer.
struct Rig {
    fake: Arc<Fake>,
    athena: Athena,
    outside: Outside,
    leave: CancellationToken,
    stop: CancellationToken,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(&AthenaSettings::default())
    }

    fn with(settings: &AthenaSettings) -> Self {
        let fake = Arc::new(Fake::default());
        fake.starts.set([Ok(ID.to_owned())]);
        fake.statuses.set([
            Ok(status(QueryState::Queued, 0)),
            Ok(status(QueryState::Running, 500)),
            Ok(status(QueryState::Running, 1500)),
            Ok(status(QueryState::Succeeded, 2_000_000_000)),
        ]);
        fake.stops.set([Ok(())]);
        fake.pages.set([Ok(page(&["job", "n"], &["a", "1"], None))]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let stores: Stores =
            Arc::new(move |_: &Root| Ok(Arc::new(DirStore::new(&path)) as Arc<dyn Store>));
        let (outside, leave) = (Outside::waited(), CancellationToken::new());
        let api = Arc::clone(&fake) as Arc<dyn Api>;
        let athena = Athena::with_api(api, settings, stores, outside.clone(), leave.clone());
        Self {
            fake,
            athena,
            outside,
            leave,
            stop: CancellationToken::new(),
            folder,
        }
    }

    /// Cancels a token with a call.
    fn cancel_at(&self, call: &'static str, count: usize, token: &CancellationToken) {
        let cancel = (call, count, token.clone());
        self.fake.cancel.lock().unwrap().push(cancel);
    }

    async fn run(&self) -> (Result<Stats, RunError>, Vec<Event>) {
        let (sender, mut receiver) = mpsc::channel(QUEUE_EVENTS);
        let receive = async {
            let mut events = Vec::new();
            while let Some(event) = receiver.recv().await {
                events.push(event);
            }
            events
        };
        tokio::join!(
            self.athena.run("SELECT 1", sender, self.stop.clone()),
            receive
        )
    }

    async fn error(&self) -> RunError {
        self.run().await.0.unwrap_err()
    }

    async fn put_object(&self, text: &str) {
        let store = DirStore::new(self.folder.path());
        let bytes = text.as_bytes().to_vec();
        let sha256 = digest(&bytes);
        let put = store.put_new("a/0e1f.csv", Body::Bytes(bytes.into()), sha256);
        put.await.unwrap();
    }

    fn calls(&self) -> Vec<String> {
        self.fake.calls.lock().unwrap().clone()
    }
}

fn status(state: QueryState, bytes_scanned: u64) -> Status {
    Status {
        state,
        reason: String::new(),
        failure: None,
        bytes_scanned,
        reused: false,
        statement: Statement::Dml,
        output_location: Some(PLACE.to_owned()),
    }
}

fn columns(names: &[&str]) -> Vec<Column> {
    let column = |name: &&str| Column {
        name: (*name).to_owned(),
        kind: Kind::Varchar,
    };
    names.iter().map(column).collect()
}

fn row(values: &[&str]) -> Row {
    values
        .iter()
        .map(|value| Some((*value).to_owned()))
        .collect()
}

/// A first page: the names, then one row.
fn page(names: &[&str], values: &[&str], next: Option<&str>) -> ResultsPage {
    ResultsPage {
        columns: columns(names),
        rows: vec![row(names), row(values)],
        next: next.map(ToOwned::to_owned),
    }
}

fn refused(failure: Failure) -> Refused {
    Refused::new("X", failure, "as the test wants it")
}

fn rows_of(events: &[Event]) -> Vec<Row> {
    let rows = events.iter().filter_map(|event| match event {
        Event::Rows(rows) => Some(rows.clone()),
        _ => None,
    });
    rows.flatten().collect()
}

fn notes_of(events: &[Event]) -> Vec<&str> {
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

#[tokio::test]
async fn a_statement_runs_and_answers() {
    let rig = Rig::new();
    let (stats, events) = rig.run().await;
    let progress = |state, bytes_scanned| {
        Event::Progress(Progress {
            state,
            bytes_scanned,
            bytes_expected: None,
        })
    };
    let expected = [
        progress(State::Queued, 0),
        progress(State::Running, 500),
        progress(State::Running, 1500),
        progress(State::Fetching, 2_000_000_000),
        Event::Columns(columns(&["job", "n"])),
        Event::Rows(vec![row(&["a", "1"])]),
    ];
    assert_eq!(events, expected);
    let stats = stats.unwrap();
    assert_eq!(stats.bytes_scanned, 2_000_000_000);
    assert_eq!(stats.execution_id.as_deref(), Some(ID));
    // 200 ms, 300 ms and 450 ms: nobody waited for them.
    assert_eq!(stats.elapsed, Duration::from_millis(950));
}

#[tokio::test]
async fn a_start_without_an_answer_is_sent_again_with_its_token() {
    let rig = Rig::new();
    rig.fake.starts.set([
        Err(refused(Failure::Lost)),
        Err(refused(Failure::Server)),
        Err(refused(Failure::Throttled)),
        Ok(ID.to_owned()),
    ]);
    let (stats, events) = rig.run().await;
    stats.unwrap();
    let starts: Vec<String> = rig.calls().into_iter().take(4).collect();
    assert!(starts[0].starts_with("start "));
    assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    assert_eq!(
        notes_of(&events),
        [
            "X: as the test wants it; tried again in 0.5 s, attempt 2 of 16",
            "X: as the test wants it; tried again in 1.0 s, attempt 3 of 16",
            "X: as the test wants it; tried again in 0.5 s, attempt 2 of 28",
        ]
    );
    // The same statement again is another one.
    rig.fake.starts.set([Ok(ID.to_owned())]);
    rig.fake
        .statuses
        .set([Ok(status(QueryState::Succeeded, 0))]);
    let athena = Athena {
        outside: Outside::new(|| 7),
        ..rig.athena.clone()
    };
    assert_ne!(
        athena.start("SELECT 1").token,
        rig.athena.start("SELECT 1").token
    );
    let other = AthenaSettings {
        workgroup: "other".to_owned(),
        ..AthenaSettings::default()
    };
    let other = Rig::with(&other).athena.start("SELECT 1").token;
    assert_ne!(other, rig.athena.start("SELECT 1").token);
    assert_eq!(other.len(), 64);
}

#[tokio::test]
async fn trying_again_has_an_end() {
    for (failure, times) in [
        (Failure::Throttled, MAX_THROTTLED_ATTEMPTS),
        (Failure::Lost, MAX_LOST_ATTEMPTS),
        (Failure::Expired, MAX_EXPIRED_ATTEMPTS),
        (Failure::Denied, 1),
        (Failure::Statement, 1),
        (Failure::TokenTaken, 1),
        (Failure::Garbled, 1),
    ] {
        let rig = Rig::new();
        rig.fake.starts.set([Err(refused(failure))]);
        let error = rig.error().await;
        assert!(matches!(&error, RunError::Start(why) if why.failure == failure));
        assert_eq!(rig.fake.count("start"), times as usize, "{failure:?}");
        if failure.may_have_happened() {
            assert!(error.hint().unwrap().contains("may have been started"));
        }

        let rig = Rig::new();
        rig.fake.statuses.set([Err(refused(failure))]);
        let error = rig.error().await;
        assert!(matches!(&error, RunError::Lost { source, .. } if source.failure == failure));
        assert_eq!(rig.fake.count("status"), times as usize, "{failure:?}");
        assert!(error.hint().unwrap().contains(ID));

        let rig = Rig::new();
        rig.fake.pages.set([Err(refused(failure))]);
        let error = rig.error().await;
        assert!(matches!(&error, RunError::Results { source, .. } if source.failure == failure));
        assert_eq!(rig.fake.count("page"), times as usize, "{failure:?}");
    }
}

#[tokio::test]
async fn a_network_that_breaks_now_and_then_is_borne() {
    let rig = Rig::new();
    let running = || Ok(status(QueryState::Running, 1));
    let mut statuses = Vec::new();
    for _ in 0..MAX_LOST_ATTEMPTS {
        statuses.extend([
            Err(refused(Failure::Lost)),
            Err(refused(Failure::Server)),
            running(),
        ]);
    }
    statuses.push(Ok(status(QueryState::Succeeded, 9)));
    rig.fake.statuses.set(statuses);
    assert_eq!(rig.run().await.0.unwrap().bytes_scanned, 9);
}

#[tokio::test]
async fn a_stop_ends_the_statement_and_says_what_it_cost() {
    let rig = Rig::new();
    rig.fake.statuses.set([
        Ok(status(QueryState::Running, 0)),
        Ok(status(QueryState::Running, 1)),
        Ok(status(QueryState::Running, 2)),
        Ok(status(QueryState::Cancelled, 12_000_000_000)),
    ]);
    rig.cancel_at("status", 2, &rig.stop);
    let error = rig.error().await;
    insta::assert_snapshot!(chain(&error), @"stopped, 12.0 GB read, $0.060, execution 0e1f");
    assert_eq!(rig.fake.count("stop"), 1);
    assert_eq!(rig.fake.count("page"), 0);
}

#[tokio::test]
async fn a_statement_that_was_faster_than_the_stop_is_stopped_all_the_same() {
    let rig = Rig::new();
    rig.cancel_at("status", 3, &rig.stop);
    let error = rig.error().await;
    assert!(matches!(error, RunError::Stopped { .. }), "{error}");
}

#[tokio::test]
async fn a_stop_before_the_start_starts_nothing() {
    let rig = Rig::new();
    rig.stop.cancel();
    assert!(matches!(rig.error().await, RunError::StoppedBefore));
    assert_eq!(rig.calls(), Vec::<String>::new());

    // One that Athena refused is not there either.
    let rig = Rig::new();
    rig.fake.starts.set([Err(refused(Failure::Throttled))]);
    rig.cancel_at("start", 1, &rig.stop);
    assert!(matches!(rig.error().await, RunError::StoppedBefore));
    assert_eq!(rig.fake.count("start"), 1);
}

#[tokio::test]
async fn a_stop_finds_a_start_that_got_no_answer() {
    let rig = Rig::new();
    rig.fake
        .starts
        .set([Err(refused(Failure::Lost)), Ok(ID.to_owned())]);
    rig.fake
        .statuses
        .set([Ok(status(QueryState::Cancelled, 0))]);
    rig.cancel_at("start", 1, &rig.stop);
    assert!(matches!(rig.error().await, RunError::Stopped { .. }));
    let calls = rig.calls();
    assert_eq!(calls[0], calls[1], "the same token");
    assert_eq!(calls[2..], ["stop 0e1f", "status 0e1f"]);
}

#[tokio::test]
async fn the_second_stop_leaves_it_running_and_names_it() {
    let rig = Rig::new();
    rig.fake.statuses.set([Ok(status(QueryState::Running, 0))]);
    rig.cancel_at("status", 2, &rig.stop);
    rig.cancel_at("status", 4, &rig.leave);
    insta::assert_snapshot!(chain(&rig.error().await), @"
    left running: execution 0e1f
    hint: it can be looked at and stopped in Athena's console, or: aws athena stop-query-execution --query-execution-id 0e1f
    ");

    let rig = Rig::new();
    rig.fake.starts.set([Err(refused(Failure::Lost))]);
    rig.cancel_at("start", 1, &rig.stop);
    rig.cancel_at("start", 3, &rig.leave);
    assert!(matches!(rig.error().await, RunError::LeftUnknown));
}

#[tokio::test]
async fn a_stop_that_does_not_work_is_said() {
    let rig = Rig::new();
    rig.fake.statuses.set([Ok(status(QueryState::Running, 0))]);
    rig.cancel_at("status", 1, &rig.stop);
    assert!(matches!(
        rig.error().await,
        RunError::StopUnconfirmed { .. }
    ));
    assert!(rig.outside.elapsed() > STOP_WAIT);

    let rig = Rig::new();
    rig.fake.statuses.set([Ok(status(QueryState::Running, 0))]);
    rig.fake.stops.set([Err(refused(Failure::Denied))]);
    rig.cancel_at("status", 1, &rig.stop);
    let error = rig.error().await;
    assert!(matches!(&error, RunError::CannotStop { .. }), "{error}");
    assert!(error.hint().unwrap().contains(ID));
}

#[tokio::test]
async fn nobody_to_answer_to_is_a_stop() {
    let rig = Rig::new();
    rig.fake.statuses.set([
        Ok(status(QueryState::Running, 0)),
        Ok(status(QueryState::Cancelled, 0)),
    ]);
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let stats = rig.athena.run("SELECT 1", sender, rig.stop.clone()).await;
    assert!(matches!(stats, Err(RunError::Stopped { .. })));
    assert_eq!(rig.fake.count("stop"), 1);
}

#[tokio::test]
async fn too_many_bytes_are_cut_off() {
    let rig = Rig::with(&AthenaSettings {
        max_scan_bytes: Some(1_000_000_000),
        ..AthenaSettings::default()
    });
    rig.fake.statuses.set([
        Ok(status(QueryState::Running, 1_000_000_000)),
        Ok(status(QueryState::Running, 1_000_000_001)),
        Ok(status(QueryState::Running, 1_500_000_000)),
        Ok(status(QueryState::Cancelled, 2_000_000_000)),
    ]);
    insta::assert_snapshot!(chain(&rig.error().await), @"
    stopped after more than 1.0 GB, 2.0 GB read, $0.010, execution 0e1f
    hint: narrow the time range or name the job; or raise max_scan_bytes
    ");
    assert_eq!(rig.fake.count("stop"), 1);
}

#[tokio::test]
async fn failures_say_why_and_what_to_do() {
    let check = async |state, reason: &str| {
        let rig = Rig::new();
        let mut failed = status(state, 5);
        failed.reason = reason.to_owned();
        rig.fake.statuses.set([Ok(failed)]);
        chain(&rig.error().await)
    };
    insta::assert_snapshot!(check(QueryState::Failed, "Query exhausted resources at this scale factor").await, @"
    the statement failed, 5 B read, $0.000050, execution 0e1f: Query exhausted resources at this scale factor
    hint: leave ORDER BY out or add a LIMIT, use approx_distinct and approx_percentile, or narrow the time range
    ");
    insta::assert_snapshot!(check(QueryState::Failed, "").await, @"the statement failed, 5 B read, $0.000050, execution 0e1f: Athena does not say why");
    insta::assert_snapshot!(check(QueryState::Cancelled, "Bytes scanned limit was exceeded").await, @"
    the statement was cancelled, not by us, 5 B read, $0.000050, execution 0e1f: Bytes scanned limit was exceeded
    hint: the workgroup stops statements that read so much: narrow the time range, or have its limit raised
    ");
}

#[tokio::test]
async fn an_unknown_state_may_pass_or_not() {
    let strange = || Ok(status(QueryState::Unknown("PAUSED".to_owned()), 0));
    let rig = Rig::new();
    rig.fake
        .statuses
        .set([strange(), strange(), Ok(status(QueryState::Succeeded, 0))]);
    rig.run().await.0.unwrap();
    let rig = Rig::new();
    rig.fake.statuses.set([strange()]);
    let error = rig.error().await;
    assert!(
        error.to_string().ends_with("does not know: PAUSED"),
        "{error}"
    );
    assert_eq!(rig.fake.count("status"), MAX_UNKNOWN_POLLS as usize);
}

#[tokio::test]
async fn a_statement_that_is_too_long_is_not_sent() {
    let rig = Rig::new();
    let (sender, _receiver) = mpsc::channel(1);
    let long = "x".repeat(MAX_SQL_BYTES + 1);
    let error = rig.athena.run(&long, sender, rig.stop.clone()).await;
    assert!(matches!(error, Err(RunError::TooLong { .. })));
    assert_eq!(rig.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn more_than_a_page_comes_from_the_object() {
    let rig = Rig::new();
    rig.fake
        .pages
        .set([Ok(page(&["job", "n"], &["x", "x"], Some("t")))]);
    let mut text = "\"job\",\"n\"\n".to_owned();
    let mut expected = Vec::new();
    // More than one part of the object, and values that need quotes.
    for n in 0..100_000 {
        let job = format!("a \"{n}\",\n{}", "é".repeat(20));
        write!(text, "\"{}\",", job.replace('"', "\"\"")).unwrap();
        text.push_str(match n % 3 {
            0 => "\n",
            1 => "\"\"\n",
            _ => "\"5\"\n",
        });
        let second = [None, Some(String::new()), Some("5".to_owned())];
        expected.push(vec![Some(job), second[n % 3].clone()]);
    }
    assert!(text.len() as u64 > results::PART_BYTES);
    rig.put_object(&text).await;
    let (stats, events) = rig.run().await;
    stats.unwrap();
    assert!(rows_of(&events) == expected, "the rows differ");
    assert_eq!(rig.fake.count("page"), 1);
    let largest = events.iter().map(|event| match event {
        Event::Rows(rows) => rows.len(),
        _ => 0,
    });
    assert!(largest.max() <= Some(MAX_PAGE_ROWS as usize));
}

#[tokio::test]
async fn without_an_object_it_comes_page_by_page() {
    for place in [
        None,
        Some(PLACE),
        Some("s3://results/a/0e1f.txt"),
        Some("x"),
    ] {
        let rig = Rig::new();
        let mut done = status(QueryState::Succeeded, 0);
        done.output_location = place.map(ToOwned::to_owned);
        rig.fake.statuses.set([Ok(done)]);
        let further = |value: &str, next: Option<&str>| ResultsPage {
            columns: columns(&["job"]),
            rows: vec![row(&[value])],
            next: next.map(ToOwned::to_owned),
        };
        rig.fake.pages.set([
            Ok(page(&["job"], &["a"], Some("t1"))),
            Err(refused(Failure::Throttled)),
            // A row that looks like the header is one only in the first place.
            Ok(further("job", Some("t2"))),
            Ok(further("c", None)),
        ]);
        let (stats, events) = rig.run().await;
        stats.unwrap();
        assert_eq!(rows_of(&events), [row(&["a"]), row(&["job"]), row(&["c"])]);
        let pages: Vec<String> = rig.calls().split_off(2);
        assert_eq!(pages, ["page -", "page t1", "page t1", "page t2"]);
        let notes = notes_of(&events);
        let said = notes.iter().any(|note| note.contains("by Athena's call"));
        assert_eq!(said, place.is_some(), "{notes:?}");
    }
}

#[tokio::test]
async fn answers_that_cannot_be_right_are_errors() {
    let check = async |first: ResultsPage, object: Option<&str>| {
        let rig = Rig::new();
        let mut second = first.clone();
        second.rows = vec![row(&["a", "b"])];
        rig.fake.pages.set([Ok(first), Ok(second)]);
        if let Some(text) = object {
            rig.put_object(text).await;
        }
        chain(&rig.error().await)
    };
    let more = || page(&["job", "n"], &["x", "x"], Some("t"));
    insta::assert_snapshot!(check(page(&["job", "n"], &["x"], None), None).await, @"the answer of execution 0e1f cannot be right: a row of 1 values in an answer of 2 columns");
    insta::assert_snapshot!(check(more(), None).await, @"the answer of execution 0e1f cannot be right: a page comes after itself");
    insta::assert_snapshot!(check(more(), Some("\"a\",\"b\",\"c\"\n")).await, @"the answer of execution 0e1f cannot be right: a row of 3 values in an answer of 2 columns");
    insta::assert_snapshot!(check(more(), Some("\"a\",\"b\"\n\"c\",\"d")).await, @"read the answer of execution 0e1f: s3://results/a/0e1f.csv: row 2 breaks off within a value");
}

#[tokio::test]
async fn shows_and_definitions_have_no_header() {
    let rig = Rig::new();
    let mut done = status(QueryState::Succeeded, 0);
    done.statement = Statement::Utility;
    done.output_location = Some("s3://results/a/0e1f.txt".to_owned());
    rig.fake.statuses.set([Ok(done)]);
    rig.fake.pages.set([Ok(ResultsPage {
        columns: columns(&["col_name", "data_type", "comment"]),
        rows: vec![
            row(&["job                 \tstring              \t                    "]),
            row(&["n"]),
            row(&["a", "b", "c"]),
        ],
        next: None,
    })]);
    let (stats, events) = rig.run().await;
    stats.unwrap();
    let short = vec![Some("n".to_owned()), None, None];
    let expected = [row(&["job", "string", ""]), short, row(&["a", "b", "c"])];
    assert_eq!(rows_of(&events), expected);

    let rig = Rig::new();
    let mut done = status(QueryState::Succeeded, 0);
    done.statement = Statement::Ddl;
    rig.fake.statuses.set([Ok(done)]);
    rig.fake.pages.set([Ok(ResultsPage {
        columns: Vec::new(),
        rows: vec![row(&[""]), row(&[""])],
        next: None,
    })]);
    let collected = rig.athena.collect("DROP TABLE x", rig.stop.clone()).await;
    let collected = collected.unwrap();
    assert_eq!((collected.columns.len(), collected.rows.len()), (0, 0));
}

#[tokio::test]
async fn what_is_to_be_kept_has_a_limit() {
    let rig = Rig::new();
    let mut done = status(QueryState::Succeeded, 7);
    done.output_location = None;
    rig.fake.statuses.set([Ok(done)]);
    let full = |n: usize| ResultsPage {
        columns: columns(&["n"]),
        rows: vec![row(&["1"]); MAX_PAGE_ROWS as usize],
        next: Some(n.to_string()),
    };
    rig.fake.pages.set((0..1000).map(|n| Ok(full(n))));
    let error = rig
        .athena
        .collect("SELECT 1", rig.stop.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, RunError::TooManyRows { .. }), "{error}");
    assert_eq!(error.execution_id(), Some(ID));
    assert!(rig.fake.count("page") < 200, "it goes on without end");
}

#[tokio::test]
async fn a_stop_ends_the_fetching() {
    let rig = Rig::new();
    let endless = |n: usize| ResultsPage {
        columns: columns(&["n"]),
        rows: vec![row(&["1"])],
        next: Some(n.to_string()),
    };
    let mut done = status(QueryState::Succeeded, 7);
    done.output_location = None;
    rig.fake.statuses.set([Ok(done)]);
    rig.fake.pages.set((0..100).map(|n| Ok(endless(n))));
    rig.cancel_at("page", 5, &rig.stop);
    assert!(matches!(rig.error().await, RunError::Stopped { .. }));
    assert_eq!(rig.fake.count("page"), 5);
}

proptest! {
    #[test]
    fn tokens_differ_where_anything_does(one in "[ab]{0,3}", two in "[ab]{0,3}", three in "[ab]{0,3}", four in "[ab]{0,3}", nonce: u64) {
        let of = |a: &str, b: &str, nonce| token([Some(a), Some(b)], [nonce, 0]);
        prop_assert_eq!(of(&one, &two, nonce) == of(&three, &four, nonce), (&one, &two) == (&three, &four));
        prop_assert_ne!(of(&one, &two, nonce), of(&one, &two, nonce.wrapping_add(1)));
        prop_assert_ne!(token([Some(""), None], [nonce, 0]), token([None, Some("")], [nonce, 0]));
    }
}
