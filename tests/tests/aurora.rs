//! tailll against a scheduler's API that shares no code with it: Apache Thrift's own library, and Aurora's IDL written down in
//! Python.

use std::fs;
use std::time::Duration;

use e2e::python_aurora::{PythonAurora, PythonTask};
use e2e::small_cluster::SmallCluster;
use e2e::tail_process::{Reading, TailProcess};
use joblog::{JobKey, Stream};
use serde_json::{Value, json};
use tailll::aurora::{AuroraError, Retry, Scheduler, Tasks};
use tailll::config::{SchedulerAt, parse_uri};
use tailll::http::{HttpClient, Limits};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

/// How long anything here may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn task<'a>(instance: u32, task_id: &'a str, status: &'a str) -> PythonTask<'a> {
    PythonTask {
        job: "www/prod/hello",
        instance,
        task_id,
        host: (status != "PENDING").then_some("node1"),
        status,
        message: Some("w\u{f6}rds \"quoted\" \\ and \u{1f600}"),
        at_ms: 1_700_000_003_000 + i64::from(instance),
    }
}

/// Two jobs; of the first an instance that runs, one that waits, one in a status of tomorrow, and one that has ended.
fn tasks() -> Vec<PythonTask<'static>> {
    let other = PythonTask {
        job: "www/prod/other",
        ..task(0, "www-prod-other-0-x", "RUNNING")
    };
    vec![
        task(0, "www-prod-hello-0-x", "RUNNING"),
        task(1, "www-prod-hello-1-x", "PENDING"),
        task(2, "www-prod-hello-2-x", "PARTITIONED"),
        task(3, "www-prod-hello-3-x", "FAILED"),
        other,
    ]
}

fn start(options: &[&str]) -> PythonAurora {
    PythonAurora::start(FOLDER, &tasks(), options).unwrap()
}

fn scheduler(uri: &str) -> Scheduler {
    let retry = Retry {
        attempts: 4,
        first_delay: Duration::from_millis(5),
    };
    let at = SchedulerAt::Uri(parse_uri(uri).unwrap());
    Scheduler::new("py", at, HttpClient::new(Limits::default()), retry, 7)
}

fn hello() -> Vec<JobKey> {
    vec!["py/www/prod/hello".parse().unwrap()]
}

fn ids(tasks: &Tasks) -> Vec<String> {
    let mut ids: Vec<String> = tasks
        .tasks
        .iter()
        .map(|task| format!("{} {} {}", task.instance, task.id, task.status))
        .collect();
    ids.sort();
    ids
}

fn paths(seen: &[Value]) -> Vec<&str> {
    seen.iter()
        .map(|request| request["path"].as_str().unwrap())
        .collect()
}

const ACTIVE: [&str; 3] = [
    "0 www-prod-hello-0-x RUNNING",
    "1 www-prod-hello-1-x PENDING",
    "2 www-prod-hello-2-x PARTITIONED",
];

/// Asks one server everything, which must go well.
async fn all_of(uri: &str) -> (Tasks, Tasks, Tasks, Vec<JobKey>) {
    let scheduler = scheduler(uri);
    let active = scheduler.active_tasks(&hello()).await.unwrap();
    let past = scheduler.past_tasks(&hello()).await.unwrap();
    let one = ["www-prod-hello-3-x".to_owned()];
    let ended = scheduler.ended_tasks(&one).await.unwrap();
    (active, past, ended, scheduler.jobs().await.unwrap())
}

#[tokio::test]
async fn both_dialects_say_the_same() {
    let (new, old) = (start(&[]), start(&["--no-apibeta"]));
    let plain = all_of(new.uri()).await;
    let thrift = all_of(old.uri()).await;
    assert_eq!(ids(&plain.0), ACTIVE);
    assert_eq!(ids(&plain.1), ["3 www-prod-hello-3-x FAILED"]);
    assert_eq!(plain.2, plain.1);
    let keys: Vec<String> = plain.3.iter().map(JobKey::to_string).collect();
    assert_eq!(keys, ["py/www/prod/hello", "py/www/prod/other"]);
    let first = &plain.0.tasks[0];
    assert_eq!(
        (
            first.host.as_deref(),
            first.message.as_deref(),
            first.since_ms,
            first.key.as_ref()
        ),
        (
            Some("node1"),
            Some("w\u{f6}rds \"quoted\" \\ and \u{1f600}"),
            Some(1_700_000_003_000),
            hello().first()
        )
    );
    assert_eq!(plain, thrift);

    // What Thrift's own library has read of our questions is the same too.
    let (new, old) = (new.end(), old.end());
    assert_eq!(old[0]["path"], "/apibeta/getTasksWithoutConfigs");
    assert_eq!(new.len() + 1, old.len());
    for (new, old) in new.iter().zip(&old[1..]) {
        assert_eq!(old["path"], "/api");
        assert_eq!(old["type"], "application/x-thrift");
        for field in ["method", "statuses", "keys", "task_ids"] {
            assert_eq!(new[field], old[field], "{field}");
        }
    }
    assert_eq!(new[0]["keys"], json!(["www/prod/hello"]));
    assert!(
        new[0]["statuses"]
            .as_array()
            .unwrap()
            .contains(&json!("STARTING"))
    );
    assert_eq!(new[2]["task_ids"], json!(["www-prod-hello-3-x"]));
}

#[tokio::test]
async fn what_is_not_known_yet_is_passed_over() {
    for dialect in [&["--unknown"][..], &["--unknown", "--no-apibeta"]] {
        let mut tasks = tasks();
        tasks[0].status = "LEVITATING";
        // Named statuses leave out what nobody knows; a scheduler that refuses them gives everything.
        let refusing = [dialect, &["--refuse", "PARTITIONED"]].concat();
        let server = PythonAurora::start(FOLDER, &tasks, &refusing).unwrap();
        let active = scheduler(server.uri())
            .active_tasks(&hello())
            .await
            .unwrap();
        assert_eq!(active.skipped, None);
        let statuses: Vec<String> = ids(&active);
        assert!(
            ["0 www-prod-hello-0-x STATUS_77", "0 www-prod-hello-0-x 77"]
                .contains(&statuses[0].as_str()),
            "{statuses:?}"
        );
        assert_eq!(statuses[1..], ACTIVE[1..]);
    }
}

#[tokio::test]
async fn an_older_scheduler_that_refuses_a_status_is_asked_for_all() {
    for dialect in [&[][..], &["--no-apibeta"]] {
        let server = start(&[dialect, &["--refuse", "PARTITIONED"]].concat());
        let (active, past, _, _) = all_of(server.uri()).await;
        assert_eq!(ids(&active), ACTIVE);
        assert_eq!(ids(&past), ["3 www-prod-hello-3-x FAILED"]);
        let seen = server.end();
        let all = seen
            .iter()
            .filter(|request| request["statuses"] == json!([]));
        assert!(all.count() >= 1, "{seen:?}");
    }
}

#[tokio::test]
async fn the_leader_is_asked_and_a_new_one_found() {
    for dialect in [&[][..], &["--no-apibeta"]] {
        let leader = start(dialect);
        let led = [dialect, &["--redirect", leader.uri(), "--lead-for", "2"]].concat();
        let first = start(&led);
        let scheduler = scheduler(first.uri());
        for _ in 0..3 {
            let active = scheduler.active_tasks(&hello()).await.unwrap();
            assert_eq!(ids(&active), ACTIVE);
        }
        let (first, leader) = (first.end(), leader.end());
        assert!(first.len() > leader.len(), "{first:?} {leader:?}");
        let last = leader.last().unwrap();
        // The body went along.
        assert_eq!(last["keys"], json!(["www/prod/hello"]));
    }
}

#[tokio::test]
async fn a_moment_without_leader_passes() {
    for dialect in [&[][..], &["--no-apibeta"]] {
        let server = start(&[dialect, &["--unavailable", "3"]].concat());
        let active = scheduler(server.uri())
            .active_tasks(&hello())
            .await
            .unwrap();
        assert_eq!(ids(&active), ACTIVE);
        assert!(server.end().len() >= 4);
        let server = start(&[dialect, &["--unavailable", "100"]].concat());
        let error = scheduler(server.uri())
            .active_tasks(&hello())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("HTTP 503"), "{error}");
    }
}

#[tokio::test]
async fn what_breaks_off_is_asked_for_in_another_way_and_never_an_empty_list() {
    for dialect in [&[][..], &["--no-apibeta"]] {
        for fault in [
            &["--no-executor"][..],
            &["--truncate-text", "getTasksWithoutConfigs"],
            &["--truncate-body", "getTasksWithoutConfigs"],
        ] {
            let server = start(&[dialect, fault].concat());
            let active = scheduler(server.uri())
                .active_tasks(&hello())
                .await
                .unwrap();
            assert_eq!(ids(&active), ACTIVE, "{dialect:?} {fault:?}");
            let seen = server.end();
            assert_eq!(seen.last().unwrap()["method"], "getTasksStatus");
        }
        for fault in ["--truncate-text", "--truncate-body"] {
            let server = start(&[dialect, &[fault, "getJobs"]].concat());
            let error = scheduler(server.uri()).jobs().await.unwrap_err();
            let broken = matches!(
                error,
                AuroraError::Http(_) | AuroraError::Json { .. } | AuroraError::Tjson { .. }
            );
            assert!(broken, "{error}");
        }
    }
}

#[tokio::test]
async fn a_method_that_an_old_scheduler_lacks_is_done_without() {
    let server = start(&["--no-apibeta", "--no-method", "getTasksWithoutConfigs"]);
    let active = scheduler(server.uri())
        .active_tasks(&hello())
        .await
        .unwrap();
    assert_eq!(ids(&active), ACTIVE);
    let seen = server.end();
    assert_eq!(
        paths(&seen),
        ["/apibeta/getTasksWithoutConfigs", "/api", "/api"]
    );
    let server = start(&["--no-apibeta", "--no-method", "getJobs"]);
    let error = scheduler(server.uri()).jobs().await.unwrap_err();
    let AuroraError::Tjson { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        source.to_string(),
        "the scheduler failed: Invalid method name: 'getJobs'"
    );
}

#[tokio::test]
async fn packed_answers_are_unpacked() {
    for dialect in [&[][..], &["--no-apibeta"]] {
        let server = start(&[dialect, &["--gzip"]].concat());
        let active = scheduler(server.uri())
            .active_tasks(&hello())
            .await
            .unwrap();
        assert_eq!(ids(&active), ACTIVE);
        let server = start(&[dialect, &["--gzip", "--truncate-text", "getJobs"]].concat());
        let error = scheduler(server.uri()).jobs().await.unwrap_err();
        assert!(error.to_string().contains("cannot be unpacked"), "{error}");
    }
}

/// The program, with no cluster of its own but a user for one that Aurora's own file defines; the scheduler is an old one.
#[test]
fn the_program_reads_auroras_clusters_and_shows_what_has_ended() {
    let cluster = SmallCluster::start(1).unwrap();
    let key = JobKey::new("py", "www", "prod", "hello").unwrap();
    let now = cluster.launch(&key, 0, "node1").unwrap();
    let before = cluster.launch(&key, 0, "node1").unwrap();
    now.write("server", Stream::Stdout, "of today\n").unwrap();
    before
        .write("server", Stream::Stdout, "of yesterday\n")
        .unwrap();
    let gone = "www-prod-hello-0-00000000-0000-4000-8000-999999999999";
    let tasks = [
        task(0, &now.task_id, "RUNNING"),
        PythonTask {
            message: Some("exit 7"),
            at_ms: 5,
            ..task(0, &before.task_id, "FAILED")
        },
    ];
    let server = PythonAurora::start(FOLDER, &tasks, &["--no-apibeta"]).unwrap();
    let aurora = cluster.path("aurora");
    fs::create_dir(&aurora).unwrap();
    let clusters = format!(
        "[{{\"name\": \"py\", \"scheduler_uri\": \"{}\", \"slave_root\": \"{}\", \"more\": [1,],}},]",
        server.uri(),
        cluster.slave_root().display()
    );
    fs::write(aurora.join("clusters.json"), clusters).unwrap();
    let config = format!(
        "[clusters.py]\nssh_user = \"tester\"\n[ssh]\nconfig = \"{}\"\n",
        cluster.path("ssh_config").display()
    );
    fs::write(cluster.path("tailll.toml"), config).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = cluster.command(PROGRAM);
        command.args(arguments);
        let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
        let ended = process.wait_for_end(PATIENCE).unwrap();
        let mut lines: Vec<String> = ended
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).trim_end().to_owned())
            .collect();
        lines.sort();
        (lines, ended.talk, ended.status.code())
    };
    let (lines, talk, code) = run(&["--no-follow", "-o", "raw", "www/prod/hello"]);
    assert_eq!(
        (lines, code),
        (vec!["of today".to_owned()], Some(0)),
        "{talk}"
    );
    let (lines, talk, code) = run(&["--no-follow", "--ended", "-o", "raw", "hello"]);
    assert_eq!(lines, ["of today", "of yesterday"], "{talk}");
    assert_eq!(code, Some(0), "{talk}");
    assert!(talk.contains("has ended: FAILED: exit 7"), "{talk}");
    drop(server);

    // A sandbox that is gone is said, and the others are shown.
    let with_gone = [
        tasks[0].clone(),
        PythonTask {
            message: None,
            ..task(0, gone, "KILLED")
        },
    ];
    let server = PythonAurora::start(FOLDER, &with_gone, &["--no-apibeta"]).unwrap();
    let clusters = format!(
        "{{\"x\": {{\"name\": \"py\", \"scheduler_uri\": \"{}\", \"slave_root\": \"{}\"}}}}",
        server.uri(),
        cluster.slave_root().display()
    );
    fs::write(aurora.join("clusters.json"), clusters).unwrap();
    let (lines, talk, code) = run(&["--no-follow", "--ended", "-o", "raw", "hello"]);
    assert_eq!(
        (lines, code),
        (vec!["of today".to_owned()], Some(1)),
        "{talk}"
    );
    assert!(
        talk.contains("has ended: KILLED") && talk.contains("there is no sandbox below"),
        "{talk}"
    );
    drop(server);

    // A file of Aurora's that is broken is said with its place; there is no scheduler, then.
    fs::write(aurora.join("clusters.json"), "[\n{]").unwrap();
    let (_, talk, code) = run(&["--no-follow", "hello"]);
    assert!(
        talk.contains("aurora/clusters.json:2:2: its clusters are not known"),
        "{talk}"
    );
    assert_eq!(code, Some(3), "{talk}");
}
