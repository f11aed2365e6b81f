//! The real program against a cluster in which the test writes every line: what is shown, what is said, and how it ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::processes::{self, Signal};
use e2e::scheduler::{Fault, Status};
use e2e::small_cluster::{SmallCluster, TaskRun, append};
use e2e::ssh_server::{Door, Host};
use e2e::tail_process::{Ended, Reading, Seen, TailProcess};
use joblog::{JobKey, Stream};
use russh::keys::HashAlg;
use serde_json::Value;

/// How long anything here may take; far more than it takes. Instances are looked for every 10 s.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long the program may take to end once it is told to, with some room for a busy machine: it promises a second.
const SOON: Duration = Duration::from_secs(3);

/// What makes a terminal wide enough for everything here.
const WIDE: &str = "rows 30 cols 200";

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

fn key(name: &str) -> JobKey {
    JobKey::new("aa", "www", "prod", name).unwrap()
}

/// `hello` with these many instances, one on each host.
fn hello(instances: u32) -> (SmallCluster, Vec<TaskRun>) {
    let hosts = u8::try_from(instances).unwrap();
    let cluster = SmallCluster::start(hosts).unwrap();
    let tasks = (0..instances)
        .map(|instance| {
            let host = format!("node{}", instance + 1);
            cluster.launch(&key("hello"), instance, &host).unwrap()
        })
        .collect();
    (cluster, tasks)
}

fn command(cluster: &SmallCluster, arguments: &[&str]) -> Command {
    let mut command = cluster.command(PROGRAM);
    command.args(arguments);
    command
}

fn start(cluster: &SmallCluster, arguments: &[&str]) -> TailProcess {
    TailProcess::start(&mut command(cluster, arguments), Reading::Eager).unwrap()
}

/// What the program did that ended by itself.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    talk: String,
}

impl From<Ended> for Ran {
    fn from(ended: Ended) -> Self {
        Self {
            code: ended.status.code(),
            out: text(&ended.lines),
            talk: ended.talk,
        }
    }
}

fn run(cluster: &SmallCluster, arguments: &[&str]) -> Ran {
    let process = start(cluster, arguments);
    process.wait_for_end(PATIENCE).unwrap().into()
}

/// Runs until what is there has been shown, which must go well.
fn shown(cluster: &SmallCluster, arguments: &[&str]) -> String {
    let ran = run(cluster, &[&["--no-follow"], arguments].concat());
    assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
    ran.out
}

/// What is said instead of log lines, and the exit code. The places that differ from run to run are named instead.
fn complaint(cluster: &SmallCluster, arguments: &[&str]) -> String {
    let ran = run(cluster, arguments);
    assert_eq!(ran.out, "", "{ran:?}");
    let mut talk = ran.talk;
    for host in cluster.ssh().hosts() {
        let address = host.address();
        let fingerprint = host.key().fingerprint(HashAlg::default()).to_string();
        talk = talk
            .replace(&fingerprint, &format!("<key of {}>", host.name()))
            .replace(&address.to_string(), &format!("<{}>", host.name()))
            .replace(&format!("-p {}", address.port()), "-p <port>")
            .replace(&format!(":{}", address.port()), ":<port>");
    }
    let folder = cluster.path("");
    talk = talk
        .replace(&cluster.scheduler().uri(), "<scheduler>")
        .replace(folder.to_str().unwrap(), "<folder>/");
    format!("{talk}{:?}", ran.code)
}

fn text(lines: &[Seen]) -> String {
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.bytes))
        .collect()
}

/// How many of these lines are log lines, and not what the program says about them (that some came late).
fn logged(lines: &[Seen]) -> usize {
    lines
        .iter()
        .filter(|line| !is_mark(&String::from_utf8_lossy(&line.bytes)))
        .count()
}

fn is_mark(line: &str) -> bool {
    line.starts_with("{\"mark\":") || line.contains(" ~ ")
}

fn has(lines: &[Seen], part: &str) -> bool {
    lines
        .iter()
        .any(|line| String::from_utf8_lossy(&line.bytes).contains(part))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn numbered(what: &str, numbers: std::ops::Range<u32>) -> String {
    let lines: Vec<String> = numbers.map(|n| format!("{what} {n}\n")).collect();
    lines.concat()
}

#[test]
fn every_line_is_shown_once_with_its_prefix() {
    const HISTORY: u32 = 300;
    const ALL: u32 = 2_000;
    let (cluster, tasks) = hello(3);
    for (n, task) in tasks.iter().enumerate() {
        let lines = numbered(&format!("of {n} line"), 0..HISTORY);
        task.write("server", Stream::Stdout, lines).unwrap();
    }
    let mut process = start(&cluster, &["-n", "all", "hello"]);
    let history = tasks.len() * HISTORY as usize;
    process
        .wait_for_lines("the history", PATIENCE, |lines| logged(lines) >= history)
        .unwrap();
    for at in (HISTORY..ALL).step_by(100) {
        for (n, task) in tasks.iter().enumerate() {
            let lines = numbered(&format!("of {n} line"), at..at + 100);
            // In two writes that split a line: it is shown once it is whole.
            let (one, two) = lines.split_at(lines.len() / 2);
            task.write("server", Stream::Stdout, one).unwrap();
            task.write("server", Stream::Stdout, two).unwrap();
        }
    }
    let all = tasks.len() * ALL as usize;
    process
        .wait_for_lines("all lines", PATIENCE, |lines| logged(lines) >= all)
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.talk);
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for line in ran.out.lines() {
        *counts.entry(line).or_default() += 1;
    }
    assert_eq!(ran.out.lines().filter(|line| !is_mark(line)).count(), all);
    for n in 0..tasks.len() {
        for line in 0..ALL {
            let wanted = format!("hello/{n} | of {n} line {line}");
            assert_eq!(counts.get(wanted.as_str()), Some(&1), "{wanted}");
        }
    }
    for n in 0..3 {
        let arrival = format!("+ hello/{n} on node{}\n", n + 1);
        assert!(ran.talk.contains(&arrival), "{}", ran.talk);
    }
    assert!(ran.talk.contains("connected 3/3"), "{}", ran.talk);
}

#[test]
fn history_and_following_are_chosen() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, numbered("line", 0..30))
        .unwrap();
    assert_eq!(shown(&cluster, &["hello"]).lines().count(), 10);
    assert_eq!(
        shown(&cluster, &["-n", "2", "hello"]),
        "hello/0 | line 28\nhello/0 | line 29\n"
    );
    assert_eq!(shown(&cluster, &["-n", "0", "hello"]), "");
    let all = shown(&cluster, &["--tail=all", "hello"]);
    assert_eq!(all.lines().count(), 30);
    tasks[0].write("server", Stream::Stdout, "no end").unwrap();
    assert_eq!(
        shown(&cluster, &["-n", "1", "hello"]),
        "hello/0 | no end (no newline)\n"
    );

    let mut process = start(&cluster, &["--no-follow", "-f", "-n0", "hello"]);
    process
        .wait_for_talk("a connection", PATIENCE, |talk| {
            talk.contains("connected 1/1")
        })
        .unwrap();
    // The file's end is sought after the connection: what is written until then belongs to no history.
    let mut n = 0;
    process
        .wait_for_lines("a new line", PATIENCE, |lines| {
            n += 1;
            tasks[0]
                .write("server", Stream::Stdout, format!("\nnew {n}"))
                .unwrap();
            has(lines, "new ")
        })
        .unwrap();
    assert!(process.with_lines(|lines| !has(lines, "line 29")));
}

#[test]
fn formats() {
    let (cluster, tasks) = hello(2);
    tasks[0]
        .write(
            "server",
            Stream::Stdout,
            "2026-03-01T10:00:00.5Z INFO first \"quoted\"\n",
        )
        .unwrap();
    tasks[1]
        .write(
            "server",
            Stream::Stderr,
            b"2026-03-01 10:00:01,250 ERROR not \xff UTF-8\n\n",
        )
        .unwrap();
    assert_eq!(
        shown(&cluster, &["hello"]),
        "hello/0 out | 2026-03-01T10:00:00.5Z INFO first \"quoted\"\n\
         hello/1 err ! 2026-03-01 10:00:01,250 ERROR not \u{fffd} UTF-8\n\
         hello/1 err : \n"
    );
    let raw = "2026-03-01T10:00:00.5Z INFO first \"quoted\"\n\
               2026-03-01 10:00:01,250 ERROR not \u{fffd} UTF-8\n\n";
    assert_eq!(shown(&cluster, &["-o", "raw", "hello"]), raw);
    assert_eq!(shown(&cluster, &["--no-prefix", "hello"]), raw);

    let json = shown(&cluster, &["-o", "json", "hello"]);
    let values: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let log = |n: usize, stream| {
        let latest = tasks[n].log("server", stream);
        let latest = latest.to_str().unwrap().to_owned();
        let (before, after) = latest.split_once("/runs/").unwrap();
        let (_, after) = after.split_once('/').unwrap();
        format!("{before}/runs/latest/{after}")
    };
    let wanted = serde_json::json!([
        {
            "ts": "2026-03-01T10:00:00.500000000Z", "level": "info",
            "job": "aa/www/prod/hello", "instance": 0, "host": "node1", "task_id": tasks[0].task_id,
            "process": "server", "run": 0, "stream": "stdout", "file": log(0, Stream::Stdout),
            "off": 0, "len": 43, "line": "2026-03-01T10:00:00.5Z INFO first \"quoted\"",
        },
        {
            "ts": "2026-03-01T10:00:01.250000000Z", "level": "error",
            "job": "aa/www/prod/hello", "instance": 1, "host": "node2", "task_id": tasks[1].task_id,
            "process": "server", "run": 0, "stream": "stderr", "file": log(1, Stream::Stderr),
            "off": 0, "len": 42, "line": "2026-03-01 10:00:01,250 ERROR not \u{fffd} UTF-8",
            "raw": "MjAyNi0wMy0wMSAxMDowMDowMSwyNTAgRVJST1Igbm90IP8gVVRGLTg=",
        },
        {
            "ts": null, "level": null,
            "job": "aa/www/prod/hello", "instance": 1, "host": "node2", "task_id": tasks[1].task_id,
            "process": "server", "run": 0, "stream": "stderr", "file": log(1, Stream::Stderr),
            "off": 42, "len": 1, "line": "",
        },
    ]);
    assert_eq!(Value::from(values), wanted);
}

#[test]
fn instances_and_files_are_chosen() {
    let (cluster, tasks) = hello(2);
    for (n, task) in tasks.iter().enumerate() {
        for process in ["server", "cache warmer"] {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let line = format!("{n}:{process}:{}\n", stream.name());
                task.write(process, stream, line).unwrap();
            }
        }
    }
    for (flags, wanted) in [
        (
            &["--stdout", "hello/1"][..],
            &["1:cache warmer:stdout", "1:server:stdout"][..],
        ),
        (
            &["--stderr", "--instance", "0", "hello"],
            &["0:cache warmer:stderr", "0:server:stderr"],
        ),
        (
            &["-c", "cache warmer", "--stdout", "hello"],
            &["0:cache warmer:stdout", "1:cache warmer:stdout"],
        ),
        (
            &[
                "--process=server",
                "--process=cache warmer",
                "--stdout",
                "hello/0",
            ],
            &["0:cache warmer:stdout", "0:server:stdout"],
        ),
        (
            &["--host", "node2", "-c", "server", "hello"],
            &["1:server:stderr", "1:server:stdout"],
        ),
        (
            &["--node=*1", "-c", "server", "hello"],
            &["0:server:stderr", "0:server:stdout"],
        ),
        (
            &["--file", "stderr", "-c", "server", "hello"],
            &["0:server:stderr", "1:server:stderr"],
        ),
        (
            &["--file", "*/server/0/std?ut", "hello"],
            &["0:server:stdout", "1:server:stdout"],
        ),
        (
            &["--stdout", "-c", "server", "hello/0", "aa/www/prod/hello/1"],
            &["0:server:stdout", "1:server:stdout"],
        ),
    ] {
        let out = shown(&cluster, &[&["-o", "raw"], flags].concat());
        assert_eq!(sorted(&out), wanted, "{flags:?}");
    }
    let none = run(&cluster, &["--no-follow", "--host", "web*", "hello"]);
    assert_eq!((none.code, none.out.as_str()), (Some(3), ""), "{none:?}");
    assert!(
        none.talk
            .contains("--instance and --host leave out every instance there is"),
        "{none:?}"
    );
}

#[test]
fn lines_are_chosen_and_marked() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write(
            "server",
            Stream::Stdout,
            "GET /a 200\nGET /b 500\nPOST /c 500\nGET /healthz 500\n",
        )
        .unwrap();
    for (flags, wanted) in [
        (
            &["-i", " 500"][..],
            "GET /b 500\nPOST /c 500\nGET /healthz 500\n",
        ),
        (
            &["-i", " 500", "-e", "healthz"],
            "GET /b 500\nPOST /c 500\n",
        ),
        (&["-i", "/a", "-g", "/c"], "GET /a 200\nPOST /c 500\n"),
        (&["-e", "GET", "--exclude=POST"], ""),
        (&["--grep", "^POST"], "POST /c 500\n"),
    ] {
        let out = shown(&cluster, &[&["--no-prefix", "hello"], flags].concat());
        assert_eq!(out, wanted, "{flags:?}");
    }
    let marked = shown(
        &cluster,
        &[
            "--color=always",
            "-i",
            "/b",
            "-H",
            "5[0-9]+",
            "-H",
            "GET",
            "hello",
        ],
    );
    let (reverse, reset) = ("\x1b[1;7m", "\x1b[0m");
    assert!(
        marked.ends_with(&format!(" | {reverse}GET{reset} /b {reverse}500{reset}\n")),
        "{marked:?}"
    );
    assert_eq!(
        shown(&cluster, &["-i", "/b", "-H", "GET", "hello"]),
        "hello/0 | GET /b 500\n"
    );
}

#[test]
fn orders() {
    let (cluster, tasks) = hello(2);
    for (n, task) in tasks.iter().enumerate() {
        let lines: Vec<String> = (0..20)
            .map(|line| format!("2026-03-01T10:00:{:02}Z {n}\n", 2 * line + n))
            .collect();
        task.write("server", Stream::Stdout, lines.concat())
            .unwrap();
    }
    let by_time = shown(&cluster, &["-n", "all", "-o", "raw", "hello"]);
    assert!(
        by_time.lines().is_sorted() && by_time.lines().count() == 40,
        "{by_time}"
    );
    let arrived = shown(
        &cluster,
        &["-n", "all", "-o", "raw", "--order", "arrival", "hello"],
    );
    assert_eq!(sorted(&arrived), by_time.lines().collect::<Vec<_>>());
    for n in ["0", "1"] {
        assert!(arrived.lines().filter(|line| line.ends_with(n)).is_sorted());
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let (cluster, tasks) = hello(1);
    tasks[0].write("server", Stream::Stdout, "line\n").unwrap();
    let colours = |flag: &str, no_color: Option<&str>| {
        let mut command = command(&cluster, &["--no-follow", flag, "hello"]);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
        let ended = process.wait_for_end(PATIENCE).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(!ended.talk.contains('\x1b'), "{:?}", ended.talk);
        text(&ended.lines).contains('\x1b')
    };
    assert!(!colours("--color=auto", None));
    assert!(colours("--color=always", None));
    assert!(!colours("--color=never", None));
    assert!(!colours("--color=auto", Some("1")));
    assert!(colours("--color=always", Some("1")));
}

#[test]
fn an_instance_that_moves_is_seen_on_both_hosts() {
    let (cluster, tasks) = hello(2);
    tasks[1].write("server", Stream::Stdout, "stays\n").unwrap();
    tasks[0]
        .write("server", Stream::Stdout, "before\n")
        .unwrap();
    let mut process = start(&cluster, &["hello"]);
    process
        .wait_for_lines("the first part", PATIENCE, |lines| {
            has(lines, "before") && has(lines, "stays")
        })
        .unwrap();
    // Its last words are written when the scheduler knows of the end already.
    cluster.end(&tasks[0], Status::Killed, "drained");
    let moved = cluster.launch(&key("hello"), 0, "node2").unwrap();
    moved.write("server", Stream::Stdout, "after\n").unwrap();
    tasks[0]
        .write("server", Stream::Stdout, "last words\n")
        .unwrap();
    process
        .wait_for_lines("the second part", PATIENCE, |lines| {
            has(lines, "after") && has(lines, "last words")
        })
        .unwrap();
    process
        .wait_for_talk("the end of the first", PATIENCE, |talk| {
            talk.contains("- hello/0 on node1: KILLED: drained\n")
        })
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    assert!(ran.talk.contains("+ hello/0 on node1\n"), "{}", ran.talk);
    assert!(ran.talk.contains("+ hello/0 on node2\n"), "{}", ran.talk);
    let lines = ran.out.lines().filter(|line| !is_mark(line)).count();
    assert_eq!(lines, 4, "{}", ran.out);
}

#[test]
fn instances_come_and_go() {
    const LAST: u32 = 50_000;
    let (cluster, tasks) = hello(2);
    cluster.end(&tasks[1], Status::Finished, "done");
    let mut process = start(&cluster, &["-n", "all", "hello"]);
    tasks[0].write("server", Stream::Stdout, "one\n").unwrap();
    process
        .wait_for_lines("the first", PATIENCE, |lines| has(lines, "one"))
        .unwrap();
    let added = cluster.launch(&key("hello"), 7, "node2").unwrap();
    added.write("server", Stream::Stdout, "seven\n").unwrap();
    process
        .wait_for_lines("the added one", PATIENCE, |lines| has(lines, "seven"))
        .unwrap();
    // It ends with much to read: all of it is shown.
    added
        .write("server", Stream::Stdout, numbered("last", 0..LAST))
        .unwrap();
    cluster.end(&added, Status::Failed, "exit code 1");
    process
        .wait_for_talk("the end", PATIENCE, |talk| {
            talk.contains("- hello/7 on node2: FAILED: exit code 1\n")
        })
        .unwrap();
    process
        .wait_for_lines("the last line", PATIENCE, |lines| {
            logged(lines) == 2 + LAST as usize
        })
        .unwrap();
    // Its host has nothing more to follow.
    process
        .wait_for_talk("one connection", PATIENCE, |talk| {
            talk.trim_end().ends_with("connected 1/1")
        })
        .unwrap();
}

#[test]
fn a_scheduler_that_is_down_stops_nothing() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, "before\n")
        .unwrap();
    let mut process = start(&cluster, &["hello"]);
    process
        .wait_for_lines("the first line", PATIENCE, |lines| has(lines, "before"))
        .unwrap();
    cluster.scheduler().model().set_fault(Fault::NoLeader);
    process
        .wait_for_talk("the trouble", PATIENCE, |talk| talk.contains("503"))
        .unwrap();
    tasks[0]
        .write("server", Stream::Stdout, "meanwhile\n")
        .unwrap();
    process
        .wait_for_lines("a line meanwhile", PATIENCE, |lines| {
            has(lines, "meanwhile")
        })
        .unwrap();
    cluster.scheduler().model().set_fault(Fault::None);
    process
        .wait_for_talk("the recovery", PATIENCE, |talk| {
            talk.contains("cluster aa answers again")
        })
        .unwrap();
    tasks[0].write("server", Stream::Stdout, "after\n").unwrap();
    process
        .wait_for_lines("a line after", PATIENCE, |lines| has(lines, "after"))
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert!(!ran.talk.contains("- hello"), "{}", ran.talk);
}

#[test]
fn a_job_has_several_names() {
    let (cluster, tasks) = hello(1);
    tasks[0].write("server", Stream::Stdout, "line\n").unwrap();
    cluster
        .configure("[jobs.alias]\nkey = \"aa/www/prod/hello\"\n")
        .unwrap();
    for name in [
        "hello",
        "hello/0",
        "alias",
        "www/prod/hello",
        "aa/www/prod/hello",
        "aa/www/prod/hello/0-3",
    ] {
        assert_eq!(shown(&cluster, &[name]), "hello/0 | line\n", "{name}");
    }
    // Followed once, by whatever names.
    assert_eq!(
        shown(&cluster, &["hello", "alias", "www/prod/hello"]),
        "hello/0 | line\n"
    );
}

#[test]
fn nothing_matches() {
    let (cluster, _tasks) = hello(1);
    insta::assert_snapshot!(complaint(&cluster, &["-q", "helo"]), @r"
    tailll: target `helo`: no job of this name in the configuration or in cluster aa; did you mean hello?
    Some(3)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["-q", "elsewhere"]), @r"
    tailll: target `elsewhere`: no job of this name in the configuration or in cluster aa
    Some(3)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["--no-follow", "aa/www/devel/hello"]), @r"
    aa/www/devel/hello: no such job; did you mean aa/www/prod/hello?
    tailll: aa/www/devel/hello has no instance now
    Some(3)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["--no-follow", "bb/www/prod/hello"]), @r"
    tailll: target `bb/www/prod/hello`: no cluster `bb` is configured; configured are aa
    Some(3)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["--no-follow", "hello/5"]), @r"
    aa/www/prod/hello: the job is there, but no instance asked for is running
    tailll: aa/www/prod/hello has no instance now
    Some(3)
    ");
}

#[test]
fn wrong_usage_is_said() {
    let (cluster, _tasks) = hello(1);
    insta::assert_snapshot!(complaint(&cluster, &["a//b", "fine", "x:"]), @r"
    tailll: target `a//b`: `` is no name: letters, digits, `_`, `.` and `-` can stand in one
    tailll: target `x:`: a path is missing: `x:/var/log/app/*.log`
    Some(2)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["-i", "a(b", "hello"]), @r#"
    tailll: bad pattern "a(b" for --include: regex parse error:
    tailll:     a(b
    tailll:      ^
    tailll: error: unclosed group
    Some(2)
    "#);
    insta::assert_snapshot!(complaint(&cluster, &["-H", "[", "hello"]), @r#"
    tailll: bad pattern "[" for --highlight: regex parse error:
    tailll:     [
    tailll:     ^
    tailll: error: unclosed character class
    Some(2)
    "#);
    insta::assert_snapshot!(complaint(&cluster, &["--config", "missing.toml", "hello"]), @r"
    tailll: configuration file missing.toml: No such file or directory (os error 2)
    Some(2)
    ");
    insta::assert_snapshot!(complaint(&cluster, &["--tial", "3", "hello"]), @r"
    error: unexpected argument '--tial' found

      tip: a similar argument exists: '--tail'

    Usage: tailll [OPTIONS] TARGET...
           tailll VERB ...

    For more information, try '--help'.
    Some(2)
    ");
    insta::assert_snapshot!(complaint(&cluster, &[]), @r"
    error: the following required arguments were not provided:
      <TARGET>...

    Usage: tailll [OPTIONS] TARGET...
           tailll VERB ...

    For more information, try '--help'.
    Some(2)
    ");
    cluster.configure("sesions_per_connection = 3\n").unwrap();
    insta::assert_snapshot!(complaint(&cluster, &["hello"]), @r"
    tailll: <folder>/tailll.toml:7:1: unknown field `sesions_per_connection`, expected one of `config`, `command`, `known_hosts`, `identity_files`, `sessions_per_connection`, `heartbeat_seconds`
    Some(2)
    ");
}

#[test]
fn an_end_waits_for_every_source_but_not_for_a_scheduler_that_is_down() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, "of a job\n")
        .unwrap();
    append(&cluster.path("app.log"), "of a file\n").unwrap();
    // The file has been read long before the scheduler answers.
    let slow = Fault::Slow(Duration::from_millis(700));
    cluster.scheduler().model().set_fault(slow);
    let out = shown(&cluster, &["./app.log", "aa/www/prod/hello"]);
    assert!(
        out.contains("of a file\n") && out.contains("of a job\n"),
        "{out}"
    );
    cluster.scheduler().model().set_fault(Fault::NoLeader);
    let ran = run(&cluster, &["--no-follow", "./app.log", "aa/www/prod/hello"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("of a file\n"), "{ran:?}");
    let ran = run(&cluster, &["-q", "--no-follow", "aa/www/prod/hello"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.talk.contains("HTTP 503"), "{ran:?}");
}

#[test]
fn no_configuration_is_no_obstacle_but_for_jobs() {
    let (cluster, _tasks) = hello(1);
    std::fs::remove_file(cluster.path("tailll.toml")).unwrap();
    let bare = |arguments: &[&str]| {
        let mut command = command(&cluster, arguments);
        command.env_remove("TAILLL_CONFIG");
        let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
        let ran = Ran::from(process.wait_for_end(PATIENCE).unwrap());
        format!("{}{}{:?}", ran.out, ran.talk, ran.code)
    };
    insta::assert_snapshot!(bare(&["hello"]), @r"
    tailll: target `hello`: no job of this name in the configuration
    Some(3)
    ");
    insta::assert_snapshot!(bare(&["www/prod/hello"]), @r"
    tailll: target `www/prod/hello`: no cluster is configured; add [clusters.NAME] with its scheduler_uri to the configuration
    Some(3)
    ");
    append(&cluster.path("app.log"), "line\n").unwrap();
    insta::assert_snapshot!(bare(&["--no-follow", "./*.log"]), @r"
    app.log | line
    Some(0)
    ");
}

#[test]
fn hosts_that_refuse() {
    let (cluster, tasks) = hello(2);
    for task in &tasks {
        task.write("server", Stream::Stdout, "line\n").unwrap();
    }
    let node1 = &cluster.ssh().hosts()[0];
    let node2 = &cluster.ssh().hosts()[1];

    node1.set_door(Door::Closed);
    insta::assert_snapshot!(complaint(&cluster, &["-q", "--no-follow", "hello/0"]), @r"
    tailll: hello/0 on node1: cannot list the files: <node1>: connection refused: no SSH server listens there; check the port, and that it runs
    Some(4)
    ");
    // The other one is followed, and the exit code remembers.
    let ran = run(&cluster, &["--no-follow", "hello"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(1), "hello/1 | line\n"),
        "{ran:?}"
    );
    node1.set_door(Door::Open);

    let known = cluster.path("known_hosts");
    std::fs::write(&known, node2.known_hosts_line()).unwrap();
    insta::assert_snapshot!(complaint(&cluster, &["-q", "--no-follow", "hello/0"]), @r"
    tailll: node1: no host key is known for [127.0.0.1]:<port>, which presents the ssh-ed25519 key <key of node1>: compare that with what its administrator says, then connect once with `ssh -F <folder>/ssh_config -l www node1`
    Some(4)
    ");
    // Following ends, too, where nothing can come any more.
    insta::assert_snapshot!(complaint(&cluster, &["-q", "hello/0"]), @r"
    tailll: node1: no host key is known for [127.0.0.1]:<port>, which presents the ssh-ed25519 key <key of node1>: compare that with what its administrator says, then connect once with `ssh -F <folder>/ssh_config -l www node1`
    Some(4)
    ");

    let line = |host: &Host| host.known_hosts_line();
    let (here, other) = (line(node1), line(node2));
    let (Some((pattern, _)), Some((_, other))) = (here.split_once(' '), other.split_once(' '))
    else {
        panic!("{here} {other}");
    };
    std::fs::write(&known, format!("{pattern} {other}")).unwrap();
    insta::assert_snapshot!(complaint(&cluster, &["-q", "--no-follow", "hello/0"]), @r"
    tailll: node1: the host key of [127.0.0.1]:<port> has changed: it presents the ssh-ed25519 key <key of node1>, but <folder>/known_hosts:1 has the ssh-ed25519 key <key of node2>; somebody may be listening in, or the host was set up anew: ask its administrator, and only then forget the old key with `ssh-keygen -f <folder>/known_hosts -R '[127.0.0.1]:<port>'` and connect once with `ssh -F <folder>/ssh_config -l www node1`
    Some(4)
    ");
    std::fs::write(&known, cluster.ssh().known_hosts()).unwrap();

    let stranger = e2e::ssh_server::new_key("stranger").unwrap();
    let stranger = e2e::ssh_server::openssh_private(&stranger).unwrap();
    std::fs::write(cluster.path("id_ed25519"), stranger).unwrap();
    insta::assert_snapshot!(complaint(&cluster, &["-q", "--no-follow", "hello/0"]), @r"
    tailll: node1: permission denied for user www: not accepted were <folder>/id_ed25519; the server takes publickey; load the right key with ssh-add, name it with IdentityFile, or log in as somebody else with --user
    Some(4)
    ");
}

#[test]
fn a_host_that_is_down_does_not_hide_the_others() {
    let (cluster, tasks) = hello(3);
    cluster.ssh().hosts()[1].set_door(Door::Closed);
    let mut process = start(&cluster, &["hello"]);
    for (n, task) in tasks.iter().enumerate() {
        task.write("server", Stream::Stdout, format!("of {n}\n"))
            .unwrap();
    }
    process
        .wait_for_lines("the good ones", PATIENCE, |lines| {
            has(lines, "of 0") && has(lines, "of 2")
        })
        .unwrap();
    process
        .wait_for_talk("the bad one", PATIENCE, |talk| {
            talk.contains("connected 2/3, 1 retrying: www@node2 (")
        })
        .unwrap();
    cluster.ssh().hosts()[1].set_door(Door::Open);
    process
        .wait_for_lines("the one that came back", PATIENCE, |lines| {
            has(lines, "of 1")
        })
        .unwrap();
    process
        .wait_for_talk("all", PATIENCE, |talk| talk.contains("connected 3/3"))
        .unwrap();
}

#[test]
fn a_server_that_hangs_up_on_half_of_the_dials_hides_no_host() {
    let (cluster, tasks) = hello(8);
    for (n, task) in tasks.iter().enumerate() {
        task.write("server", Stream::Stdout, format!("of {n}\n"))
            .unwrap();
    }
    for host in cluster.ssh().hosts() {
        host.set_door(Door::Slam);
    }
    let mut process = start(&cluster, &["hello"]);
    let mut turns = 0;
    process
        .wait_for_lines("all of them", PATIENCE, |lines| {
            // Looked at every 10 ms: after some that were hung up on, open for as long as shut.
            turns += 1;
            let refused = cluster.ssh().counters().connections_refused;
            let door = if refused < 8 || turns / 15 % 2 == 0 {
                Door::Slam
            } else {
                Door::Open
            };
            for host in cluster.ssh().hosts() {
                host.set_door(door);
            }
            (0..8).all(|n| has(lines, &format!("of {n}")))
        })
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    let lines = ran.out.lines().filter(|line| !is_mark(line)).count();
    assert_eq!(lines, 8, "{}", ran.out);
}

#[test]
fn a_closed_pipe_is_success() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, numbered("line", 0..5))
        .unwrap();
    let mut child = command(&cluster, &["hello"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // As `head -1` does. Nothing more is ever written.
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "hello/0 | line 0\n");
    drop(reader);
    let left = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(left.elapsed() < PATIENCE, "it goes on for nobody");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
}

#[test]
fn signals_end_it_within_a_second() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write(
            "server",
            Stream::Stdout,
            numbered("a line of some length", 0..200_000),
        )
        .unwrap();
    for reading in [Reading::Eager, Reading::Stalled] {
        for (signal, code) in [(Signal::Interrupt, 130), (Signal::Terminate, 143)] {
            let arguments = ["-n", "all", "hello"];
            let mut process =
                TailProcess::start(&mut command(&cluster, &arguments), reading).unwrap();
            process
                .wait_for_talk("a connection", PATIENCE, |talk| {
                    talk.contains("connected 1/1")
                })
                .unwrap();
            let told = Instant::now();
            process.signal(signal).unwrap();
            while !has_ended(process.pid()) {
                assert!(told.elapsed() < SOON, "{signal:?}, {reading:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
            let ended = process.wait_for_end(PATIENCE).unwrap();
            assert_eq!(
                ended.status.code(),
                Some(code),
                "{reading:?}: {}",
                ended.talk
            );
        }
    }
    processes::wait_until_none("commands on the hosts", PATIENCE, || {
        cluster.ssh().processes()
    })
    .unwrap();
}

/// Whether a child that has not been waited for is a zombie by now.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Runs it in a terminal, by `script`. What it writes to either stream comes as one.
fn in_terminal(cluster: &SmallCluster, size: &str, arguments: &[&str]) -> TailProcess {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("stty {size}; exec '{PROGRAM}' {}", words.join(" "));
    let mut command = cluster.command("script");
    command.args([
        "--quiet",
        "--return",
        "--flush",
        "--command",
        &line,
        "/dev/null",
    ]);
    TailProcess::start(&mut command, Reading::Eager).unwrap()
}

#[test]
fn a_terminal_gets_no_control_characters_of_strangers() {
    let (cluster, tasks) = hello(1);
    let evil =
        "title \x1b]0;owned\x07 clear \x1b[2J c1 \u{9b}31m bidi \u{202e} bell \x07 cr \r end\n";
    tasks[0].write("server", Stream::Stdout, evil).unwrap();
    tasks[0]
        .write("x\x1b[2Jy", Stream::Stdout, "named\n")
        .unwrap();
    append(&cluster.path("evil\x1b]0;x\x07.log"), "file\n").unwrap();
    let ended = in_terminal(
        &cluster,
        WIDE,
        &["--no-follow", "--color=never", "hello", "./*.log"],
    )
    .wait_for_end(PATIENCE)
    .unwrap();
    let mut screen = text(&ended.lines);
    assert_eq!(ended.status.code(), Some(0), "{screen:?}");
    // What it writes itself: taking the status line away, and line ends.
    screen = screen.replace("\r\x1b[2K", "").replace("\r\n", "\n");
    let strange: Vec<char> = screen
        .chars()
        .filter(|c| c.is_control() && *c != '\n' || *c == '\u{202e}')
        .collect();
    assert!(strange.is_empty(), "{strange:?} in {screen:?}");
    for wanted in [
        r"title \x1b]0;owned\x07 clear \x1b[2J c1 \u{9b}31m bidi \u{202e} bell \x07 cr \x0d end",
        r"x\x1b[2Jy",
        r"evil\x1b]0;x\x07.log",
    ] {
        assert!(screen.contains(wanted), "{wanted} in {screen}");
    }
}

#[test]
fn a_terminal_has_colours_and_a_status_line() {
    let (cluster, tasks) = hello(2);
    cluster.ssh().hosts()[1].set_door(Door::Closed);
    tasks[0].write("server", Stream::Stdout, "line\n").unwrap();
    let mut process = in_terminal(&cluster, WIDE, &["hello"]);
    process
        .wait_for_lines("a line", PATIENCE, |lines| has(lines, "| line"))
        .unwrap();
    cluster.ssh().hosts()[1].set_door(Door::Open);
    tasks[1].write("server", Stream::Stdout, "other\n").unwrap();
    process
        .wait_for_lines("the other", PATIENCE, |lines| has(lines, "| other"))
        .unwrap();
    process.signal(Signal::Terminate).unwrap();
    let ended = process.wait_for_end(PATIENCE).unwrap();
    let screen = text(&ended.lines);
    // It stood in the last line, and was taken away before a line was written.
    assert!(
        screen.contains("tailll: connected 1/2, 1 retrying: www@node2 ("),
        "{screen:?}"
    );
    assert!(screen.contains("\r\x1b[2K"), "{screen:?}");
    assert!(
        screen.contains("\x1b[38;5;") || screen.contains("\x1b[3"),
        "{screen:?}"
    );
}

#[test]
fn a_status_line_fits_its_terminal() {
    let (cluster, _tasks) = hello(2);
    cluster.ssh().hosts()[1].set_door(Door::Closed);
    // Somebody's program that drives a terminal may give it no size at all: then 80 columns are taken.
    for (size, wanted) in [
        ("rows 30 cols 24", "tailll: connected 1/2,\u{2026}"),
        ("rows 0 cols 0", "tailll: connected 1/2, 1 retrying"),
    ] {
        let mut process = in_terminal(&cluster, size, &["hello"]);
        process
            .wait_for_lines("the beginning", PATIENCE, |lines| has(lines, "+ hello/1"))
            .unwrap();
        // The line has no end until it is taken away.
        std::thread::sleep(Duration::from_secs(2));
        process.signal(Signal::Terminate).unwrap();
        let ended = process.wait_for_end(PATIENCE).unwrap();
        let screen = text(&ended.lines);
        assert!(screen.contains(wanted), "{size}: {screen:?}");
    }
}

#[test]
fn names_of_processes_may_be_anything() {
    let (cluster, tasks) = hello(1);
    let names = [
        "with space",
        "it's \"quoted\" $(id) `id` \\n",
        "two\nlines",
        "-n",
        "*",
    ];
    for name in names {
        tasks[0]
            .write(name, Stream::Stdout, format!("of {name:?}\n"))
            .unwrap();
    }
    let mut process = start(&cluster, &["-o", "json", "hello"]);
    process
        .wait_for_lines("all of them", PATIENCE, |lines| {
            logged(lines) == names.len()
        })
        .unwrap();
    for name in names {
        tasks[0]
            .write(name, Stream::Stdout, format!("later {name:?}\n"))
            .unwrap();
    }
    process
        .wait_for_lines("all of them again", PATIENCE, |lines| {
            logged(lines) == 2 * names.len()
        })
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    for line in ran.out.lines().filter(|line| !is_mark(line)) {
        let value: Value = serde_json::from_str(line).unwrap();
        let name = value["process"].as_str().unwrap();
        let line = value["line"].as_str().unwrap();
        assert!(
            line == format!("of {name:?}") || line == format!("later {name:?}"),
            "{value}"
        );
    }
    // In text a name stays on its line.
    let out = shown(&cluster, &["hello"]);
    assert_eq!(out.lines().count(), 2 * names.len(), "{out}");
    assert!(out.contains(r"two\x0alines"), "{out}");
}

#[test]
fn local_targets() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, "in a sandbox\n")
        .unwrap();
    append(&cluster.path("logs/a.log"), "in a\n").unwrap();
    append(&cluster.path("logs/b.log"), "in b\n").unwrap();
    // No host is asked.
    cluster.ssh().hosts()[0].set_door(Door::Closed);
    assert_eq!(
        shown(&cluster, &["--local", "hello"]),
        "www-prod-hello/0 | in a sandbox\n"
    );
    assert_eq!(
        shown(&cluster, &["--local", "www/prod/hello"]),
        "hello/0 | in a sandbox\n"
    );
    let absolute = cluster.path("logs/*.log");
    let absolute = absolute.to_str().unwrap();
    for target in ["./logs/*.log", absolute, &format!("local:{absolute}")] {
        let out = shown(&cluster, &[target]);
        assert_eq!(sorted(&out), ["a.log | in a", "b.log | in b"], "{target}");
    }
    let mut process = start(&cluster, &["./logs/*.log"]);
    process
        .wait_for_lines("what is there", PATIENCE, |lines| logged(lines) == 2)
        .unwrap();
    append(&cluster.path("logs/c.log"), "in c\n").unwrap();
    append(&cluster.path("logs/a.log"), "more in a\n").unwrap();
    process
        .wait_for_lines("a new file and a new line", PATIENCE, |lines| {
            has(lines, "| in c") && has(lines, "| more in a")
        })
        .unwrap();
    let ran = Ran::from(process.interrupt(PATIENCE).unwrap());
    assert_eq!(ran.code, Some(130));
    let missing = run(&cluster, &["--no-follow", "./nothing/*.log"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.talk.contains("no file matches"), "{missing:?}");
}

#[test]
fn hosts_and_files_without_a_scheduler() {
    let (cluster, _tasks) = hello(2);
    let log = cluster.path("app.log");
    append(&log, "line\n").unwrap();
    let target = format!("node[1-2]:{}", log.display());
    let out = shown(&cluster, &[&target]);
    assert_eq!(sorted(&out), ["node1 | line", "node2 | line"]);
    // By address, port and user; the key is known by its address.
    let address = cluster.ssh().hosts()[0].address();
    let target = format!("me@{address}:{}", log.display());
    assert!(shown(&cluster, &[&target]).ends_with(" | line\n"));
}

#[test]
fn flags_come_from_the_command_line_the_environment_and_the_file() {
    let (cluster, tasks) = hello(1);
    tasks[0]
        .write("server", Stream::Stdout, numbered("line", 0..9))
        .unwrap();
    cluster
        .configure("[defaults]\ntail = 4\nno_follow = true\nno_prefix = true\nexclude = ['8$']\n")
        .unwrap();
    let ran = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = command(&cluster, arguments);
        command.envs(variables.iter().copied());
        let process = TailProcess::start(&mut command, Reading::Eager).unwrap();
        Ran::from(process.wait_for_end(PATIENCE).unwrap())
    };
    assert_eq!(ran(&[], &["hello"]).out, "line 5\nline 6\nline 7\n");
    assert_eq!(ran(&[("TAILLL_TAIL", "2")], &["hello"]).out, "line 7\n");
    assert_eq!(
        ran(&[("TAILLL_TAIL", "2")], &["-n", "3", "-e", "7", "hello"]).out,
        "line 6\nline 8\n"
    );
    let wrong = ran(&[("TAILLL_ORDER", "chaos")], &["hello"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(
        wrong
            .talk
            .contains("TAILLL_ORDER: --order: invalid value 'chaos'"),
        "{wrong:?}"
    );
    let config = ran(&[("TAILLL_TAIL", "2")], &["config", "-e", "x"]);
    assert_eq!((config.code, config.talk.as_str()), (Some(0), ""));
    for said in [
        "tail = \"2\"                               # environment, TAILLL_TAIL",
        "exclude = [\"x\"]                          # command line",
        "no_follow = true                         # ",
    ] {
        assert!(config.out.contains(said), "{said}: {}", config.out);
    }
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let cluster = SmallCluster::start(1).unwrap();
    let mut process = start(&cluster, &["--wait", "--no-follow", "later"]);
    process
        .wait_for_talk("waiting", PATIENCE, |talk| {
            talk.contains("; waiting for it")
        })
        .unwrap();
    // It becomes known without being seen before its line is written.
    let scheduler = cluster.scheduler().model();
    scheduler.set_fault(Fault::NoLeader);
    let task = cluster.launch(&key("later"), 0, "node1").unwrap();
    task.write("server", Stream::Stdout, "at last\n").unwrap();
    scheduler.set_fault(Fault::None);
    let ran = Ran::from(process.wait_for_end(PATIENCE).unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("at last\n"), "{ran:?}");

    // Nobody can say whether there is such a job: that is not the same as that there is none.
    scheduler.set_fault(Fault::NoLeader);
    let ran = run(&cluster, &["--no-follow", "later"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.talk.contains("not asked with success"), "{ran:?}");
}
