//! What a target can stand for, with the real program: names of the jobs directory, patterns over jobs and clusters, programs
//! that print instances, Docker tasks, and sandboxes that only another user than the login's may read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::clock;
use e2e::login::{self, Login};
use e2e::processes::{self, Signal};
use e2e::scheduler::{self, Scheduler};
use e2e::small_cluster::{SmallCluster, append};
use e2e::sshd::{Settings, Sshd};
use e2e::tail_process::{Ended, Reading, Seen, TailProcess};
use joblog::{JobKey, Stream};
use tokio::runtime::Runtime;

/// How long anything here may take; far more than it takes. Instances are looked for every 10 s.
const PATIENCE: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

fn key(text: &str) -> JobKey {
    text.parse().unwrap()
}

fn start(cluster: &SmallCluster, arguments: &[&str]) -> TailProcess {
    TailProcess::start(cluster.command(PROGRAM).args(arguments), Reading::Eager).unwrap()
}

fn run(cluster: &SmallCluster, arguments: &[&str]) -> Ended {
    start(cluster, arguments).wait_for_end(PATIENCE).unwrap()
}

fn text(lines: &[Seen]) -> String {
    lines
        .iter()
        .map(|line| String::from_utf8_lossy(&line.bytes))
        .collect()
}

/// What is shown until all is shown, sorted; it must go well.
fn shown(cluster: &SmallCluster, arguments: &[&str]) -> Vec<String> {
    let ended = run(cluster, &[&["--no-follow"], arguments].concat());
    assert_eq!(
        ended.status.code(),
        Some(0),
        "{arguments:?}: {}",
        ended.talk
    );
    let mut lines: Vec<String> = text(&ended.lines).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

fn has(lines: &[Seen], part: &str) -> bool {
    text(lines).contains(part)
}

/// Puts lines before all tables of the configuration.
fn configure_top(cluster: &SmallCluster, lines: &str) {
    let path = cluster.path("tailll.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{lines}\n{text}")).unwrap();
}

const EIGHTBALL: &str = "\
file: eightball
user: cbe
buildname: eightball
hashtype: git
config: {cpu: 0.25, num_instances: 1, ram: 300, disk: 5000}
taskargs: {workers: 10}
envs:
  prod:  {config: {cpu: 1.5, num_instances: 12}, taskargs: {workers: 34}, githash: ABC123}
  devel: {githash: XYZ456}
";

#[test]
fn a_name_of_the_jobs_directory_is_followed_in_its_stage() {
    let cluster = SmallCluster::start(1).unwrap();
    for (stage, line) in [("prod", "of prod\n"), ("devel", "of devel\n")] {
        let job = key(&format!("aa/cbe/{stage}/eightball"));
        let task = cluster.launch(&job, 0, "node1").unwrap();
        task.write("server", Stream::Stdout, line).unwrap();
    }
    let folder = cluster.path("home/jobs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("eightball.yaml"), EIGHTBALL).unwrap();
    fs::write(folder.join("broken.yaml"), "user: cbe\nenvs: {prod: {}\n").unwrap();
    configure_top(&cluster, "jobs_dir = \"~/jobs\"");
    assert_eq!(shown(&cluster, &["-o", "raw", "eightball"]), ["of prod"]);
    assert_eq!(
        shown(&cluster, &["-o", "raw", "eightball", "--stage=devel"]),
        ["of devel"]
    );
    assert_eq!(
        shown(&cluster, &["-o", "raw", "eight*/0"]),
        ["of devel", "of prod"],
        "the scheduler's own jobs match too"
    );

    let ended = run(&cluster, &["eightball", "--stage", "test"]);
    assert!(
        ended.talk.contains(
            "eightball.yaml: no stage `test` in `envs`; choose with --stage among devel, prod"
        ),
        "{}",
        ended.talk
    );
    assert_eq!(ended.status.code(), Some(3));
    // A file that is broken is no trouble for the others.
    let ended = run(
        &cluster,
        &["--no-follow", "-o", "raw", "broken", "eightball"],
    );
    assert_eq!(text(&ended.lines), "of prod\n");
    assert!(ended.talk.contains("broken.yaml:2:7: "), "{}", ended.talk);
    assert_eq!(ended.status.code(), Some(1));
    let ended = run(&cluster, &["eihgtball"]);
    assert!(
        ended.talk.contains("did you mean eightball?"),
        "{}",
        ended.talk
    );
}

#[test]
fn patterns_take_jobs_of_several_clusters_and_those_that_come_later() {
    let cluster = SmallCluster::start(2).unwrap();
    let other = cluster.block_on(Scheduler::start("bb")).unwrap();
    let more = format!(
        "[clusters.bb]\nscheduler_uri = \"{}\"\nslave_root = \"{}\"\n",
        other.uri(),
        cluster.slave_root().display()
    );
    cluster.configure(&more).unwrap();
    let launch = |job: &str, host: &str, line: &str| {
        let task = cluster.launch(&key(job), 0, host).unwrap();
        task.write("server", Stream::Stdout, format!("{line}\n"))
            .unwrap();
        task
    };
    launch("aa/www/prod/hello", "node1", "hello of aa");
    launch("aa/www/prod/help", "node2", "help of aa");
    launch("aa/www/devel/hello", "node2", "hello of devel");
    launch("aa/www/prod/other", "node1", "another");
    // Its sandbox is there like the others', but the other scheduler knows of it.
    let moved = launch("bb/www/prod/hello", "node2", "hello of bb");
    let task = cluster
        .scheduler()
        .model()
        .tasks()
        .into_iter()
        .find(|task| task.task_id == moved.task_id)
        .unwrap();
    cluster.scheduler().model().forget(&moved.task_id);
    other.model().add(task);

    assert_eq!(
        shown(&cluster, &["-o", "raw", "aa/*/prod/hel*"]),
        ["hello of aa", "help of aa"]
    );
    assert_eq!(
        shown(&cluster, &["-o", "raw", "*/prod/hello", "www/devel/hello"]),
        ["hello of aa", "hello of devel"]
    );
    let both = shown(&cluster, &["*/www/prod/hello"]);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(
        both[0].contains("aa") && both[1].contains("bb"),
        "prefixes tell the clusters apart: {both:?}"
    );
    assert_eq!(
        shown(&cluster, &["-o", "raw", "hel*", "bb/www/prod/hello"]),
        ["hello of aa", "hello of bb", "hello of devel", "help of aa"]
    );

    let mut process = start(&cluster, &["-o", "raw", "aa/*/prod/hel*"]);
    process
        .wait_for_lines("both jobs", PATIENCE, |lines| {
            has(lines, "hello of aa") && has(lines, "help of aa")
        })
        .unwrap();
    launch("aa/www/prod/helmet", "node1", "a job that is new");
    process
        .wait_for_lines("the new job", PATIENCE, |lines| {
            has(lines, "a job that is new")
        })
        .unwrap();
    let ended = process.interrupt(PATIENCE).unwrap();
    assert!(!has(&ended.lines, "another"), "{}", text(&ended.lines));

    let ended = run(&cluster, &["cc*/www/prod/hello"]);
    assert!(
        ended
            .talk
            .contains("no configured cluster matches; configured are aa, bb"),
        "{}",
        ended.talk
    );
    let ended = run(&cluster, &["--no-follow", "aa/*/prod/zzz*"]);
    assert!(
        ended.talk.contains("aa/*/prod/zzz* has no instance now"),
        "{}",
        ended.talk
    );
}

/// A task without Thermos: only its executor writes, beside the sandbox.
fn launch_docker(cluster: &SmallCluster, name: &str, prefix: &str) -> PathBuf {
    let task_id = format!("www-prod-{name}-0-00000000-0000-4000-8000-0000000000aa");
    let executor = cluster
        .slave_root()
        .join("slaves/agent/frameworks/framework/executors")
        .join(format!("{prefix}{task_id}"));
    let run = executor.join("runs/container");
    fs::create_dir_all(&run).unwrap();
    symlink(&run, executor.join("runs/latest")).unwrap();
    let at_ms = clock::now().as_millisecond();
    let task = scheduler::Task::running(("www", "prod", name), 0, &task_id, "node1", at_ms);
    cluster.scheduler().model().add(task);
    run
}

#[test]
fn tasks_without_thermos_show_what_their_executor_writes() {
    let cluster = SmallCluster::start(1).unwrap();
    for (name, prefix) in [("docker", ""), ("custom", "acme-")] {
        let run = launch_docker(&cluster, name, prefix);
        append(&run.join("stdout"), format!("{name} out\n")).unwrap();
        append(&run.join("stderr"), format!("{name} err\n")).unwrap();
        append(&run.join("stdout.logrotate.conf"), "no log\n").unwrap();
    }
    for name in ["docker", "custom"] {
        assert_eq!(
            shown(&cluster, &["-o", "raw", name]),
            [format!("{name} err"), format!("{name} out")]
        );
        let lines = shown(&cluster, &["-o", "json", "--stderr", name]);
        let object: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(object["stream"], "stderr");
        assert_eq!(object["process"], serde_json::Value::Null);
        assert_eq!(object["line"], format!("{name} err"));
    }
    // A Thermos task's executor is shown only to those who ask.
    let task = cluster
        .launch(&key("aa/www/prod/thermos"), 0, "node1")
        .unwrap();
    task.write("server", Stream::Stdout, "of the process\n")
        .unwrap();
    let sandbox = task.log("server", Stream::Stdout);
    let run = sandbox.ancestors().nth(5).unwrap();
    append(&run.join("stderr"), "of the executor\n").unwrap();
    assert_eq!(
        shown(&cluster, &["-o", "raw", "thermos"]),
        ["of the process"]
    );
    assert_eq!(
        shown(&cluster, &["--executor", "thermos"]),
        [
            "thermos/0 executor err : of the executor",
            "thermos/0 server   out | of the process"
        ]
    );
}

#[test]
fn a_program_says_which_instances_there_are() {
    let cluster = SmallCluster::start(2).unwrap();
    let print = |instances: &[(u32, &str)]| {
        let lines: Vec<String> = instances
            .iter()
            .map(|(number, host)| {
                let file = cluster.path(&format!("{host}.log"));
                let object = serde_json::json!({
                    "host": host, "instance": number, "files": [file], "rack": 7,
                });
                format!("{object}\n")
            })
            .collect();
        let new = cluster.path("instances.new");
        fs::write(&new, lines.concat()).unwrap();
        fs::rename(new, cluster.path("instances")).unwrap();
    };
    let program = format!("cat '{}'", cluster.path("instances").display());
    let job =
        format!("[jobs.cmdb]\nexec = [\"sh\", \"-c\", \"{program}\"]\ninterval_seconds = 1\n");
    cluster.configure(&job).unwrap();
    for host in ["node1", "node2"] {
        append(
            &cluster.path(&format!("{host}.log")),
            format!("of {host}\n"),
        )
        .unwrap();
    }
    print(&[(0, "node1")]);
    assert_eq!(shown(&cluster, &["cmdb"]), ["cmdb/0 | of node1"]);
    let mut process = start(&cluster, &["-o", "raw", "cmdb"]);
    process
        .wait_for_lines("the first", PATIENCE, |lines| has(lines, "of node1"))
        .unwrap();
    print(&[(0, "node1"), (1, "node2")]);
    process
        .wait_for_lines("the second", PATIENCE, |lines| has(lines, "of node2"))
        .unwrap();
    fs::remove_file(cluster.path("instances")).unwrap();
    process
        .wait_for_talk("that the program fails", PATIENCE, |talk| {
            talk.contains("cmdb: `sh` failed (exit status: 1): ") && talk.contains("No such file")
        })
        .unwrap();
    append(&cluster.path("node1.log"), "still there\n").unwrap();
    process
        .wait_for_lines("more of the first", PATIENCE, |lines| {
            has(lines, "still there")
        })
        .unwrap();
    print(&[(1, "node2")]);
    process
        .wait_for_talk("that the first has gone", PATIENCE, |talk| {
            talk.contains("- cmdb/0 on node1: cmdb no longer names it")
        })
        .unwrap();
    process.interrupt(PATIENCE).unwrap();
}

/// A rule for sudo that goes away.
struct SudoRule(PathBuf);

impl SudoRule {
    fn add(login: &str, role: &str) -> Self {
        let path = Path::new("/etc/sudoers.d").join(login);
        fs::write(&path, format!("{login} ALL=({role}) NOPASSWD: ALL\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        Self(path)
    }
}

impl Drop for SudoRule {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_roles_sandbox_is_read_by_become_and_nothing_is_left_when_the_client_dies() {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    let me = Login::add(Path::new("/bin/sh"), sshd.dir());
    if !login::is_root().unwrap() {
        // Only root can make accounts and rules for them.
        assert!(me.unwrap_err().to_string().contains("root"));
        return;
    }
    let me = me.unwrap();
    let role = Login::add(Path::new("/bin/sh"), sshd.dir()).unwrap();
    let rule = SudoRule::add(me.name(), role.name());

    let runtime = Runtime::new().unwrap();
    let scheduler = runtime.block_on(Scheduler::start("aa")).unwrap();
    let task_id = format!(
        "{}-prod-hello-0-00000000-0000-4000-8000-000000000001",
        role.name()
    );
    let job = (role.name(), "prod", "hello");
    let at_ms = clock::now().as_millisecond();
    scheduler
        .model()
        .add(scheduler::Task::running(job, 0, &task_id, "h1", at_ms));
    let mesos = sshd.dir().join("mesos");
    let executor = mesos
        .join("slaves/agent/frameworks/framework/executors")
        .join(format!("thermos-{task_id}"));
    let sandbox = executor.join("runs/container/sandbox");
    let log = sandbox.join(".logs/server/0/stdout");
    append(&log, "a secret\n").unwrap();
    symlink("container", executor.join("runs/latest")).unwrap();
    fs::set_permissions(&sandbox, fs::Permissions::from_mode(0o700)).unwrap();
    let chown = Command::new("chown")
        .arg("-R")
        .arg(role.name())
        .arg(&sandbox)
        .status()
        .unwrap();
    assert!(chown.success());

    let base = fs::read_to_string(&sshd.files().tailll_toml).unwrap();
    let configure = |more: &str| {
        let text = format!(
            "{base}\n[clusters.aa]\nscheduler_uri = \"{}\"\nslave_root = \"{}\"\nssh_user = \"{}\"\n{more}",
            scheduler.uri(),
            mesos.display(),
            me.name()
        );
        fs::write(&sshd.files().tailll_toml, text).unwrap();
    };
    let start = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command
            .arg("--config")
            .arg(&sshd.files().tailll_toml)
            .args(arguments)
            .env_remove("SSH_AUTH_SOCK")
            .env_remove("TAILLL_CONFIG");
        TailProcess::start(&mut command, Reading::Eager).unwrap()
    };

    configure("");
    let ended = start(&["--no-follow", "hello"])
        .wait_for_end(PATIENCE)
        .unwrap();
    assert_eq!(text(&ended.lines), "", "{}", ended.talk);
    assert!(
        ended.talk.contains("ermission denied")
            && ended.talk.contains("--become 'sudo -n -u {role}'")
            && ended.talk.contains(&format!("--user {}", role.name())),
        "{}",
        ended.talk
    );

    // Root is not among those that the rule names.
    let ended = start(&["hello", "--become", "sudo -n"])
        .wait_for_end(PATIENCE)
        .unwrap();
    assert!(
        ended
            .talk
            .contains("h1: `sudo -n` was refused with status 1: sudo: ")
            && ended.talk.contains("NOPASSWD"),
        "{}",
        ended.talk
    );
    assert_eq!(ended.status.code(), Some(4), "{}", ended.talk);

    configure("become = \"sudo -n -u {role}\"\n");
    let mut process = start(&["-o", "raw", "hello"]);
    process
        .wait_for_lines("what only the role may read", PATIENCE, |lines| {
            has(lines, "a secret")
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", process.talk()));
    append(&log, "and more\n").unwrap();
    process
        .wait_for_lines("what is new", PATIENCE, |lines| has(lines, "and more"))
        .unwrap();
    let theirs = || {
        let mut all = processes::with_environment(&format!("USER={}", role.name()));
        all.extend(sshd.remote_processes());
        all
    };
    processes::wait_until_some("sudo", PATIENCE, theirs, |one| one.command.contains("sudo"))
        .unwrap();
    process.signal(Signal::Kill).unwrap();
    processes::wait_until_none("processes of the role and of sudo", PATIENCE, theirs).unwrap();
    drop(rule);
}
