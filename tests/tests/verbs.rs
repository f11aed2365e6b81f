//! The verbs that follow nothing, by the real program: what is listed, what runs where, and how it ends.

use std::path::Path;
use std::time::Duration;

use e2e::small_cluster::{SmallCluster, TaskRun};
use e2e::ssh_server::Door;
use e2e::tail_process::{Reading, TailProcess};
use joblog::{JobKey, Stream};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

/// How long anything here may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the program did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    talk: String,
}

fn run(cluster: &SmallCluster, arguments: &[&str]) -> Ran {
    let mut command = cluster.command(PROGRAM);
    command.args(arguments);
    let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
    let ended = process.wait_for_end(PATIENCE).unwrap();
    Ran {
        code: ended.status.code(),
        out: ended
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
            .collect(),
        talk: ended.talk,
    }
}

/// `hello` with three instances on three hosts, of which the last has written nothing.
fn hello() -> (SmallCluster, Vec<TaskRun>) {
    let cluster = SmallCluster::start(3).unwrap();
    let key = JobKey::new("aa", "www", "prod", "hello").unwrap();
    let tasks: Vec<TaskRun> = (0..3)
        .map(|n| cluster.launch(&key, n, &format!("node{}", n + 1)).unwrap())
        .collect();
    tasks[0]
        .write("server", Stream::Stdout, [b'x'; 2000])
        .unwrap();
    tasks[0].write("server", Stream::Stderr, "warn\n").unwrap();
    tasks[1]
        .write("my server", Stream::Stdout, "line\n")
        .unwrap();
    let rotated = tasks[1]
        .log("my server", Stream::Stdout)
        .with_extension("1");
    std::fs::write(rotated, "older\n").unwrap();
    (cluster, tasks)
}

#[test]
fn instances_and_their_files_are_listed() {
    let (cluster, _tasks) = hello();
    let ran = run(&cluster, &["ls", "hello"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // How long ago differs from run to run.
    let table: String = ran
        .out
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line
                .split("  ")
                .filter(|part| !part.trim().is_empty())
                .collect();
            columns[..columns.len() - 1]
                .iter()
                .map(|part| part.trim())
                .collect::<Vec<_>>()
                .join("|")
                + "\n"
        })
        .collect();
    insta::assert_snapshot!(table, @r"
    INSTANCE|HOST|FILE|SIZE
    aa/www/prod/hello/0|node1|server/0 stdout|2.0 KiB
    aa/www/prod/hello/0|node1|server/0 stderr|5 B
    aa/www/prod/hello/1|node2|my server/0 stdout.1|6 B
    aa/www/prod/hello/1|node2|my server/0 stdout|5 B
    aa/www/prod/hello/2|node3|-|-
    ");
    assert!(
        ran.talk
            .contains("3 instances on 3 hosts, 4 files, 2.0 KiB"),
        "{}",
        ran.talk
    );
    assert!(
        ran.talk.contains("hello/2 on node3: no log file is there"),
        "{}",
        ran.talk
    );

    let chosen = run(&cluster, &["ls", "hello/0", "--stderr", "-o", "raw", "-q"]);
    assert_eq!((chosen.code, chosen.talk.as_str()), (Some(0), ""));
    assert!(
        chosen.out.starts_with("www@node1:/") && chosen.out.ends_with("/server/0/stderr\n"),
        "{}",
        chosen.out
    );

    let ran = run(&cluster, &["ls", "aa/www/prod/hello", "-o", "json"]);
    let rows: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rows.len(),
        5,
        "four files, and an instance without any: {rows:?}"
    );
    assert_eq!(
        (&rows[0]["instance"], &rows[0]["process"], &rows[0]["run"]),
        (&0.into(), &"server".into(), &0.into())
    );
    let live: Vec<_> = rows.iter().filter(|row| row["live"] == true).collect();
    assert_eq!(live.len(), 3);
    assert_eq!(
        (&rows[4]["file"], &rows[4]["host"]),
        (&Value::Null, &"node3".into())
    );
}

#[test]
fn a_host_that_cannot_be_listed_does_not_hide_the_others() {
    let (cluster, _tasks) = hello();
    cluster.ssh().host("node2").unwrap().set_door(Door::Closed);
    let ran = run(&cluster, &["ls", "hello"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("server/0 stdout"), "{}", ran.out);
    assert!(ran.talk.contains("hello/1 on node2: "), "{}", ran.talk);
    assert_eq!(run(&cluster, &["ls", "helo"]).code, Some(3));
    assert_eq!(run(&cluster, &["ls"]).code, Some(2));
}

#[test]
fn a_command_runs_in_the_sandbox_of_one_instance() {
    let (cluster, tasks) = hello();
    let sandbox = |task: &TaskRun| {
        let log = task.log("x", Stream::Stdout);
        log.ancestors().nth(4).map(Path::to_owned).unwrap()
    };
    let ran = run(
        &cluster,
        &[
            "ssh",
            "hello/1",
            "--",
            "sh",
            "-c",
            "pwd -P; echo \"it's $0\"",
        ],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let expected = format!("{}\nit's sh\n", sandbox(&tasks[1]).display());
    assert_eq!(ran.out, expected);
    let failed = run(&cluster, &["ssh", "hello/1", "false"]);
    assert_eq!(failed.code, Some(1), "the command's own: {failed:?}");

    let several = run(&cluster, &["ssh", "hello", "--", "true"]);
    assert_eq!(several.code, Some(2));
    insta::assert_snapshot!(several.talk, @"tailll: which of the 3 instances? add its number or --host: hello/0 on node1, hello/1 on node2, hello/2 on node3");
    assert_eq!(
        run(&cluster, &["ssh", "hello/7", "--", "true"]).code,
        Some(3)
    );
    std::fs::remove_dir_all(sandbox(&tasks[2])).unwrap();
    let gone = run(&cluster, &["ssh", "hello/2", "--", "echo", "never"]);
    assert_eq!((gone.code, gone.out.as_str()), (Some(66), ""), "{gone:?}");
    assert!(gone.talk.contains("no folder"), "{gone:?}");
}

#[test]
fn the_doctor_looks_at_every_step_and_says_what_to_do() {
    let (cluster, _tasks) = hello();
    let ran = run(&cluster, &["doctor", "--color", "never"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for step in [
        "configuration",
        "cluster aa: scheduler",
        "cluster aa: tasks",
        "hello/0 on node1: log in",
        "hello/0 on node1: logs",
        "hello/0 on node1: read",
    ] {
        let line = ran.out.lines().find(|line| line.contains(step));
        let line = line.unwrap_or_else(|| panic!("{step}: {}", ran.out));
        assert!(line.starts_with("ok"), "{line}");
    }
    cluster.ssh().host("node2").unwrap().set_door(Door::Closed);
    let ran = run(&cluster, &["doctor", "--color", "never", "hello"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let failed: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| line.starts_with("FAIL"))
        .collect();
    assert_eq!(
        failed.len(),
        2,
        "a host that is down, an instance without logs: {}",
        ran.out
    );
    assert!(
        failed[0].contains("hello/1 on node2: log in"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("read") && ran.out.contains("\u{2192} "),
        "{}",
        ran.out
    );

    cluster
        .configure("[clusters.bb]\nscheduler_uri = 'http://127.0.0.1:1'\n")
        .unwrap();
    let ran = run(&cluster, &["doctor", "--color", "never"]);
    assert!(
        ran.out
            .lines()
            .any(|line| line.starts_with("FAIL") && line.contains("cluster bb: scheduler")),
        "{}",
        ran.out
    );
}

#[test]
fn jobs_and_instances_are_completed() {
    let (cluster, _tasks) = hello();
    let script = run(&cluster, &["completions", "bash"]);
    assert_eq!(script.code, Some(0), "{script:?}");
    assert!(script.out.contains("TAILLL_COMPLETE"), "{}", script.out);
    let none = run(&cluster, &["completions", "tcsh"]);
    assert!(
        none.code == Some(2) && none.talk.contains("bash"),
        "{none:?}"
    );

    // As the shell's half asks: the words, and the number of the one at the cursor.
    let complete = |words: &[&str]| {
        let mut command = cluster.command(PROGRAM);
        command
            .env("TAILLL_COMPLETE", "bash")
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .args(["--", "tailll"])
            .args(words);
        let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
        let ended = process.wait_for_end(PATIENCE).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.talk);
        let text: String = ended
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(&line.bytes).into_owned())
            .collect();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["he"]), ["hello"]);
    assert_eq!(complete(&["aa/"]), ["aa/www/prod/hello"]);
    assert_eq!(
        complete(&["ls", "hello/"]),
        ["hello/0", "hello/1", "hello/2"]
    );
    assert!(complete(&["--no-f"]).contains(&"--no-follow".to_owned()));
    // The answer is kept for a while, so the scheduler is not asked at every press of a key.
    let asked = cluster.scheduler().model().requests("getJobs");
    assert_eq!(complete(&["hel"]), ["hello"]);
    assert_eq!(cluster.scheduler().model().requests("getJobs"), asked);
}
