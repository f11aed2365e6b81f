//! The demo cluster from outside: its parts answer as a user's programs meet them, and nothing of it is left.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use e2e::cluster::{Cluster, Options};
use e2e::processes::{self, Signal};
use e2e::scheduler::{Fault, Model, Scheduler, Status};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything here may take; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(
    clippy::disallowed_methods,
    reason = "the test is the edge that reads the clock"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn cluster() -> Cluster {
    Cluster::start(Options {
        seed: 5,
        clock: now,
    })
    .await
    .unwrap()
}

struct Answer {
    status: StatusCode,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One HTTP exchange on a connection of its own.
async fn http(
    scheduler: &Scheduler,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(scheduler.address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

async fn ask(scheduler: &Scheduler, method: &str, arguments: &Value) -> Answer {
    http(
        scheduler,
        "POST",
        &format!("/apibeta/{method}"),
        "",
        &arguments.to_string(),
    )
    .await
}

fn status(answer: &Answer) -> u16 {
    answer.status.as_u16()
}

#[tokio::test]
async fn the_scheduler_answers_queries() {
    let cluster = cluster().await;
    let scheduler = cluster.scheduler();
    let key = json!({ "role": "www", "environment": "prod", "name": "web" });
    let query = json!({ "query": { "jobKeys": [key], "statuses": ["RUNNING", "STARTING"] } });
    let answer = ask(scheduler, "getTasksWithoutConfigs", &query)
        .await
        .json();
    assert_eq!(answer["responseCode"], "OK");
    assert_eq!(answer["serverInfo"]["clusterName"], "demo");
    let tasks = answer["result"]["scheduleStatusResult"]["tasks"]
        .as_array()
        .unwrap()
        .clone();
    let instances: Vec<_> = tasks
        .iter()
        .map(|task| task["assignedTask"]["instanceId"].as_u64().unwrap())
        .collect();
    assert_eq!(instances, [0, 1, 2, 3, 4, 5]);
    for task in &tasks {
        let assigned = &task["assignedTask"];
        let (id, host) = (
            assigned["taskId"].as_str().unwrap(),
            assigned["slaveHost"].as_str().unwrap(),
        );
        assert!(cluster.ssh().host(host).is_some(), "{host}");
        let found = sandbox_logs(&cluster, id);
        assert!(
            found.join("server/0/stdout").is_file(),
            "{}",
            found.display()
        );
    }
    let summary = ask(scheduler, "getJobSummary", &json!({ "role": "batch" }))
        .await
        .json();
    assert_eq!(
        summary["result"]["jobSummaryResult"]["summaries"][0]["stats"]["activeTaskCount"],
        4
    );
    let roles = http(scheduler, "POST", "/apibeta/getRoleSummary", "", "")
        .await
        .json();
    assert_eq!(
        roles["result"]["roleSummaryResult"]["summaries"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(scheduler.model().requests("getTasksWithoutConfigs"), 1);
    cluster.stop().await.unwrap();
}

/// What a remote glob over the agents' work directory finds.
fn sandbox_logs(cluster: &Cluster, task_id: &str) -> PathBuf {
    let only = |folder: PathBuf| {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    for agent in only(cluster.slave_root().join("slaves")) {
        for framework in only(agent.join("frameworks")) {
            let executor = framework
                .join("executors")
                .join(format!("thermos-{task_id}"));
            if executor.is_dir() {
                return executor.join("runs/latest/sandbox/.logs");
            }
        }
    }
    panic!("{task_id} has no sandbox");
}

#[tokio::test]
async fn wrong_requests_and_faults() {
    let scheduler = Scheduler::start("demo").await.unwrap();
    let model: &Model = scheduler.model();
    model.add(e2e::scheduler::Task::running(
        ("a", "prod", "b"),
        0,
        "a-prod-b-0-x",
        "node1",
        1,
    ));
    let query = json!({ "query": {} });
    assert_eq!(status(&ask(&scheduler, "noSuchMethod", &query).await), 404);
    assert_eq!(
        status(&ask(&scheduler, "getTasksStatus", &json!({})).await),
        400
    );
    assert_eq!(
        status(
            &http(
                &scheduler,
                "POST",
                "/apibeta/getTasksStatus",
                "",
                "{not json"
            )
            .await
        ),
        400
    );
    assert_eq!(
        status(&http(&scheduler, "GET", "/leaderhealth", "", "").await),
        200
    );

    model.set_fault(Fault::Redirect("http://127.0.0.1:1".to_owned()));
    let answer = ask(&scheduler, "getTasksStatus", &query).await;
    assert_eq!(status(&answer), 307);
    assert!(
        answer
            .head
            .contains("location: http://127.0.0.1:1/apibeta/getTasksStatus"),
        "{}",
        answer.head
    );
    assert_eq!(
        status(&http(&scheduler, "GET", "/leaderhealth", "", "").await),
        503
    );
    let bypass = "Bypass-Leader-Redirect: true\r\n";
    let answer = http(
        &scheduler,
        "POST",
        "/apibeta/getTasksStatus",
        bypass,
        &query.to_string(),
    )
    .await;
    assert_eq!(status(&answer), 200);

    model.set_fault(Fault::NoLeader);
    assert_eq!(
        status(&ask(&scheduler, "getTasksStatus", &query).await),
        503
    );
    assert_eq!(
        status(&http(&scheduler, "GET", "/leaderhealth", "", "").await),
        502
    );
    model.set_fault(Fault::Truncated);
    let answer = ask(&scheduler, "getTasksStatus", &query).await;
    assert_eq!(status(&answer), 200);
    assert!(serde_json::from_str::<Value>(&answer.body).is_err());
    model.set_fault(Fault::Transient);
    assert_eq!(
        ask(&scheduler, "getTasksStatus", &query).await.json()["responseCode"],
        "ERROR_TRANSIENT"
    );
    model.set_fault(Fault::NoExecutor);
    assert_eq!(
        status(&ask(&scheduler, "getTasksWithoutConfigs", &query).await),
        500
    );
    assert_eq!(
        status(&ask(&scheduler, "getTasksStatus", &query).await),
        200
    );
    model.set_fault(Fault::Slow(Duration::from_millis(200)));
    let asked = Instant::now();
    assert_eq!(
        status(&ask(&scheduler, "getTasksStatus", &query).await),
        200
    );
    assert!(asked.elapsed() >= Duration::from_millis(200));

    model.set_fault(Fault::None);
    assert!(model.set_status("a-prod-b-0-x", Status::Lost, 7, Some("gone")));
    let answer = ask(&scheduler, "getTasksStatus", &query).await.json();
    let task = &answer["result"]["scheduleStatusResult"]["tasks"][0];
    assert_eq!(
        (&task["status"], &task["taskEvents"][4]["message"]),
        (&json!("LOST"), &json!("gone"))
    );
    assert!(model.forget("a-prod-b-0-x") && !model.forget("a-prod-b-0-x"));
}

/// Runs a command on a host as the printed `ssh` line does.
fn ssh(cluster: &Cluster, host: &str, command: &str) -> Output {
    Command::new("ssh")
        .arg("-F")
        .arg(cluster.ssh_config())
        .args(["-o", "BatchMode=yes", host, command])
        .stdin(Stdio::null())
        .output()
        .expect("ssh is installed")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_can_be_reached_as_the_configuration_says_and_lines_come() {
    let cluster = cluster().await;
    let folder = cluster.folder().canonicalize().unwrap();
    for host in ["node1", "node4"] {
        let output = ssh(&cluster, host, "pwd -P; ls log");
        let expected = format!("{}/hosts/{host}\ngateway.log\n", folder.display());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{output:?}"
        );
    }
    let glob = "/slaves/*/frameworks/*/executors/*www-prod-web-3-*/runs/latest/sandbox/.logs/server/0/stdout";
    let count = || {
        let output = ssh(
            &cluster,
            "node2",
            &format!("cat {}{glob} | wc -l", cluster.slave_root().display()),
        );
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<u32>()
            .expect("a number")
    };
    let history = count();
    assert!(history > 100, "{history} lines of history");
    let deadline = Instant::now() + PATIENCE;
    while count() <= history {
        assert!(Instant::now() < deadline, "no new line");
    }
    let config = std::fs::read_to_string(cluster.config_file()).unwrap();
    assert!(config.contains(&format!(
        "scheduler_uri = \"{}\"",
        cluster.scheduler().uri()
    )));
    cluster.stop().await.unwrap();
    assert!(!folder.exists());
}

/// The demo program, with its own folder for temporary files, so that what it leaves can be seen.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
    marker: String,
}

impl Demo {
    fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_demo")), name, arguments)
    }

    fn start_program(program: &Path, name: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let marker = format!("demo-test-{}-{name}", std::process::id());
        let child = Command::new(program)
            .args(arguments)
            .env("TMPDIR", folder.path())
            .env(processes::MARKER_VARIABLE, &marker)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            marker,
        }
    }

    /// Reads what is printed up to the line that holds this.
    fn read_until(&mut self, part: &str) -> String {
        let mut reader = BufReader::new(self.child.stderr.as_mut().unwrap());
        let mut text = String::new();
        while !text.contains(part) {
            assert!(
                reader.read_line(&mut text).unwrap() > 0,
                "ended before {part:?}: {text}"
            );
        }
        text
    }

    /// Waits for its end. What was its last word, and what it left.
    fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        // A shell that stands for tailll may leave a sleep of some ms behind.
        while !processes::marked(&self.marker).is_empty() {
            assert!(Instant::now() < deadline, "processes are left");
            std::thread::sleep(Duration::from_millis(20));
        }
        (status, text)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only where the test failed is there still something.
        processes::end_marked(&self.marker);
    }
}

fn printed_config(text: &str) -> &Path {
    let after = text
        .split("--config ")
        .nth(1)
        .expect("a command is printed");
    Path::new(after.split_whitespace().next().unwrap())
}

#[test]
fn a_demo_ends_after_its_time_and_leaves_nothing() {
    let mut demo = Demo::start("time", &["--cluster-only", "--for=700ms"]);
    let text = demo.read_until("the cluster runs");
    assert!(printed_config(&text).is_file(), "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe: {text}");
    let (status, _) = demo.end();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_demo_ends_by_a_signal_and_leaves_nothing() {
    for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
        let mut demo = Demo::start(signal.name(), &["--cluster-only"]);
        let text = demo.read_until("the cluster runs");
        let config = printed_config(&text).to_owned();
        let ssh_config = config.with_file_name("ssh_config");
        // A session that is in the middle of something ends with it.
        let mut client = Command::new("ssh")
            .arg("-F")
            .arg(ssh_config)
            .args(["-o", "BatchMode=yes", "node1", "echo ready; exec sleep 600"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh is installed");
        let mut line = String::new();
        BufReader::new(client.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        processes::signal(&[demo.child.id()], signal).unwrap();
        let (status, text) = demo.end();
        assert_eq!(status.code(), Some(code), "{text}");
        assert!(!client.wait().unwrap().success());
    }
}

#[test]
fn a_wrong_duration_is_a_usage_error() {
    let (status, text) = Demo::start("usage", &["--for=soon"]).end();
    assert_eq!(status.code(), Some(2));
    assert!(text.contains("for example 20s"), "{text}");
}

/// A built program under another name.
fn link(built: &str, to: &Path) {
    if std::fs::hard_link(built, to).is_err() {
        std::fs::copy(built, to).unwrap();
    }
}

/// A folder with the demo program beside a script that stands for `tailll`.
fn demo_beside(script: &str) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo");
    link(env!("CARGO_BIN_EXE_demo"), &demo);
    link(
        env!("CARGO_BIN_EXE_shipper-dup"),
        &folder.path().join("shipper-dup"),
    );
    let tailll = folder.path().join("tailll");
    std::fs::write(&tailll, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&tailll, std::fs::Permissions::from_mode(0o755)).unwrap();
    (folder, demo)
}

fn stdout(demo: &mut Demo) -> impl BufRead + use<> {
    BufReader::new(demo.child.stdout.take().unwrap())
}

#[test]
fn tailll_gets_the_configuration_the_job_and_more_and_is_interrupted_in_time() {
    let script = r#"trap 'echo interrupted; exit 130' INT; echo "$1 ${2##*/} $3 $4"; cat "$2"; while :; do sleep 0.05; done"#;
    let (_folder, demo) = demo_beside(script);
    let arguments = [
        "--for=600ms",
        "--job",
        "demo/batch/prod/worker",
        "--",
        "--stderr",
    ];
    let mut demo = Demo::start_program(&demo, "follow", &arguments);
    let mut out = String::new();
    stdout(&mut demo).read_to_string(&mut out).unwrap();
    assert!(
        out.starts_with("--config tailll.toml demo/batch/prod/worker --stderr\n"),
        "{out}"
    );
    assert!(
        out.contains("[clusters.demo]") && out.ends_with("interrupted\n"),
        "{out}"
    );
    assert_eq!(demo.end().0.code(), Some(0));
}

#[test]
fn the_end_of_tailll_is_the_demos() {
    let (_folder, demo) = demo_beside("exit 4");
    assert_eq!(
        Demo::start_program(&demo, "exit", &[]).end().0.code(),
        Some(4)
    );
    let (folder, demo) = demo_beside("");
    std::fs::remove_file(folder.path().join("tailll")).unwrap();
    let (status, text) = Demo::start_program(&demo, "absent", &[]).end();
    assert_eq!(status.code(), Some(1));
    assert!(text.contains("build it with"), "{text}");
}

#[test]
fn a_closed_pipe_ends_the_demo() {
    // As the real one: a line that nobody takes is the end, and no failure.
    let (_folder, demo) =
        demo_beside("trap '' PIPE; while echo line 2>/dev/null; do sleep 0.02; done; exit 0");
    let mut demo = Demo::start_program(&demo, "pipe", &[]);
    let mut out = stdout(&mut demo);
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    assert_eq!(demo.end().0.code(), Some(0));
}

#[test]
fn a_tailll_that_does_not_listen_is_killed() {
    let (_folder, demo) = demo_beside("trap '' INT TERM; echo deaf; while :; do sleep 0.05; done");
    let mut demo = Demo::start_program(&demo, "deaf", &[]);
    stdout(&mut demo).read_line(&mut String::new()).unwrap();
    processes::signal(&[demo.child.id()], Signal::Terminate).unwrap();
    let (status, text) = demo.end();
    assert_eq!(status.code(), Some(143));
    assert!(text.contains("killed"), "{text}");
}

/// The commands of a program that the demo prints, as a person would type them.
fn printed_commands(text: &str, of: &str) -> Vec<String> {
    let command = |line: &str| {
        let (program, rest) = line.trim().split_once(" --config ")?;
        program
            .ends_with(of)
            .then(|| format!("{program} --config {rest}"))
    };
    text.lines().filter_map(command).collect()
}

#[test]
fn the_demo_shows_every_instance_and_its_commands_work() {
    // Beside it nothing but this package's own programs, so that no other build is taken.
    let beside = tempfile::tempdir().unwrap();
    for (built, name) in [
        (env!("CARGO_BIN_EXE_demo"), "demo"),
        (env!("CARGO_BIN_EXE_shipper-dup"), "shipper-dup"),
        (env!("CARGO_BIN_EXE_tailll-dup"), "tailll-dup"),
    ] {
        link(built, &beside.path().join(name));
    }
    let mut demo = Demo::start_program(&beside.path().join("demo"), "whole", &["--for=14s"]);
    let out = stdout(&mut demo);
    let lines = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
    let guide = demo.read_until("now following");

    let commands = printed_commands(&guide, "tailll-dup");
    assert_eq!(commands.len(), 7, "{guide}");
    let run = |part: &str| -> Output {
        let command = commands.iter().find(|command| command.contains(part));
        let command = command.expect("it is printed");
        let words = if command.contains("--no-follow") {
            command.clone()
        } else {
            format!("{command} --no-follow")
        };
        Command::new("sh")
            .args(["-c", &words])
            .env_remove("TAILLL_CONFIG")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let json = run("--output json");
    assert_eq!(json.status.code(), Some(0), "{json:?}");
    let objects = String::from_utf8(json.stdout).unwrap();
    let of_jobs = objects
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|value| value["job"] == "demo/batch/prod/worker")
        .count();
    assert!(of_jobs >= 4 * 5, "{objects}");
    let plain = run("log/*.log");
    assert_eq!(plain.status.code(), Some(0), "{plain:?}");
    let text = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(text.contains("node1") && text.contains("node2"), "{text}");

    let kept = printed_commands(&guide, "shipper-dup");
    let ask = |verb: &str| -> Output {
        let command = kept.iter().find(|command| command.ends_with(verb));
        let words = command.expect("it is printed");
        Command::new("sh").args(["-c", words]).output().unwrap()
    };
    let of_web = |text: &str| text.contains("demo/www/prod/web/0");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = ask(" ls");
        assert_eq!(listed.status.code(), Some(0), "{listed:?}");
        if of_web(&String::from_utf8_lossy(&listed.stdout)) {
            break;
        }
        assert!(Instant::now() < deadline, "nothing is kept: {listed:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let audit = ask(" audit");
    assert_eq!(audit.status.code(), Some(0), "{audit:?}");

    let (status, talk) = demo.end();
    assert_eq!(status.code(), Some(0), "{talk}");
    let lines = lines.join().unwrap();
    for instance in 0..6 {
        let name = format!("web/{instance} ");
        assert!(
            lines.iter().any(|line| line.starts_with(&name)),
            "no line of {name}: {talk}"
        );
    }
}
