use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::config::Config;
use crate::rules::Certainty;

const UUID: &str = "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22";

/// Far after every file's time, so that no folder is read again for its time's grain: as a pass that comes later.
const LATER_NS: i64 = i64::MAX;

/// A host with a work folder and a folder of other logs, and a scanner that keeps what it is told.
struct Host {
    folder: tempfile::TempDir,
    scanner: Scanner,
    /// Where each file that was told lies, by its name.
    held: BTreeMap<Inode, (PathBuf, Owner)>,
    told: Vec<String>,
    answer: Answer,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scanner = Scanner::new(rules(folder.path()));
        Self {
            folder,
            scanner,
            held: BTreeMap::new(),
            told: Vec::new(),
            answer: Answer::Kept,
        }
    }

    fn run(&self, executor: &str, container: &str) -> PathBuf {
        let path = format!("mesos/slaves/S/frameworks/F/executors/{executor}/runs/{container}");
        self.folder.path().join(path)
    }

    fn write(&self, path: impl AsRef<Path>, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("to create");
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(path)
            .expect("to open");
        file.write_all(text.as_bytes()).expect("to write");
    }

    fn record(&self, executor: &str, container: &str, task: &str, name: &str) {
        let meta = self.run(executor, container);
        let meta = meta
            .strip_prefix(self.folder.path().join("mesos"))
            .expect("below")
            .to_owned();
        let message = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
        let record = [&(message.len() as u32).to_ne_bytes(), message.as_slice()].concat();
        let path = self
            .folder
            .path()
            .join("mesos/meta")
            .join(meta)
            .join("tasks")
            .join(task);
        fs::create_dir_all(&path).expect("to create");
        fs::write(path.join("task.info"), record).expect("to write");
    }

    fn short(&self, path: &Path) -> String {
        let below = path
            .strip_prefix(self.folder.path())
            .expect("below")
            .to_string_lossy()
            .into_owned();
        match below.split_once("/executors/") {
            Some((_, rest)) => rest.to_owned(),
            None => below,
        }
    }

    fn scan_at(&mut self, wall_ns: i64) -> Summary {
        let mut told = Vec::new();
        let mut ended = false;
        let mut scanner =
            std::mem::replace(&mut self.scanner, Scanner::new(rules(self.folder.path())));
        let summary = scanner.scan(wall_ns, &mut |seen| {
            match seen {
                Seen::New(found) => {
                    assert!(!ended, "a file of a run is told before the run's end");
                    told.push(format!("+{}", self.short(&found.path)));
                    if self.answer == Answer::Kept {
                        self.held
                            .insert(found.stat.id.inode(), (found.path, found.owner));
                    }
                    return self.answer;
                }
                Seen::Moved { inode, path } => {
                    told.push(format!(
                        "{}>{}",
                        self.short(&self.held[&inode].0),
                        self.short(&path)
                    ));
                    self.held.get_mut(&inode).expect("a known file").0 = path;
                }
                Seen::Done { run_dir } => {
                    ended = true;
                    told.push(format!("!{}", self.short(&run_dir)));
                }
            }
            Answer::Kept
        });
        self.scanner = scanner;
        told.sort();
        self.told = told;
        summary
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) -> Summary {
        let summary = self.scan_at(LATER_NS);
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(self.told, expected);
        summary
    }

    fn owner(&self, path: &str) -> &Owner {
        let mut held = self.held.values();
        &held.find(|(at, _)| self.short(at) == path).expect(path).1
    }
}

fn rules(folder: &Path) -> Arc<Rules> {
    let text = format!(
        r#"
        archive = "file:///archive"
        cluster = "aa"
        [spool]
        folders = ["{0}/spool"]
        [mesos]
        work_dir = "{0}/mesos"
        [[files]]
        paths = ["{0}/log/*/*.log"]
        exclude = ["{0}/log/*/debug.log"]
        job = "{{cluster}}/web/prod/{{1}}"
        [[files]]
        paths = ["{0}/log/**"]
        exclude = ["{0}/log/*/*.gz"]
        job = "{{cluster}}/rest/prod/x"
        "#,
        folder.display()
    );
    Arc::new(Rules::new(Arc::new(
        Config::parse(&text, Path::new("c.toml"), "node7").expect("a configuration"),
    )))
}

#[test]
fn files_of_rules_are_found_once_and_by_the_first_rule() {
    let mut host = Host::new();
    host.check(&[]);
    for path in [
        "a/x.log",
        "a/x.log.1",
        "a/debug.log",
        "a/old.gz",
        "a/.hidden.log",
        "top",
        "b/c/d",
    ] {
        host.write(format!("log/{path}"), "line\n");
    }
    let summary = host.check(&[
        "+log/a/debug.log",
        "+log/a/x.log",
        "+log/a/x.log.1",
        "+log/b/c/d",
        "+log/top",
    ]);
    assert_eq!(
        (summary.new_files, summary.files, summary.notes),
        (5, 5, Vec::new())
    );
    assert_eq!(host.owner("log/a/x.log").origin.job.as_deref(), Some("a"));
    assert_eq!(
        host.owner("log/a/debug.log").origin.role.as_deref(),
        Some("rest")
    );
    let summary = host.check(&[]);
    assert_eq!((summary.new_files, summary.files), (0, 5));
    host.write("log/b/c/e", "line\n");
    host.check(&["+log/b/c/e"]);
}

#[test]
fn sandboxes() {
    let mut host = Host::new();
    let id = format!("web-prod-hello-3-{UUID}");
    let executor = format!("thermos-{id}");
    let run = host.run(&executor, "c1");
    host.record(&executor, "c1", &id, "web/prod/he.llo");
    for path in [
        "stdout",
        "stderr",
        "task.json",
        "stdout.logrotate.state",
        "sandbox/.logs/http server/0/stdout",
        "sandbox/.logs/http server/0/stdout.1",
        "sandbox/.logs/http server/1/stderr",
        "sandbox/.logs/http server/x/stderr",
        "sandbox/app.log",
        "taskfs/slaves/S/frameworks/F/executors/E/runs/c/stdout",
    ] {
        host.write(run.join(path), "line\n");
    }
    symlink(&run, run.with_file_name("latest")).expect("to link");
    let at = |path: &str| format!("+{executor}/runs/c1/{path}");
    host.check(&[
        &at("sandbox/.logs/http server/0/stdout"),
        &at("sandbox/.logs/http server/0/stdout.1"),
        &at("sandbox/.logs/http server/1/stderr"),
        &at("stderr"),
        &at("stdout"),
    ]);
    let owner = host
        .owner(&at("sandbox/.logs/http server/1/stderr")[1..])
        .clone();
    assert_eq!(
        (
            owner.origin.job.as_deref(),
            owner.origin.instance,
            owner.certainty
        ),
        (Some("he.llo"), 3, Certainty::TaskInfo)
    );
    assert_eq!(
        (owner.origin.process.as_deref(), owner.origin.run),
        (Some("http server"), 1)
    );
    assert_eq!(owner.origin.stream.as_deref(), Some("stderr"));
    assert_eq!(owner.run_dir.as_deref(), Some(run.as_path()));
    host.check(&[]);
    // Rotation, a new run, the end.
    let logs = run.join("sandbox/.logs/http server/0");
    fs::rename(logs.join("stdout.1"), logs.join("stdout.2")).expect("to rename");
    fs::rename(logs.join("stdout"), logs.join("stdout.1")).expect("to rename");
    host.write(logs.join("stdout"), "");
    host.write(run.join("sandbox/.logs/http server/2/stdout"), "");
    let moved = |from: &str, to: &str| {
        let base = format!("{executor}/runs/c1/sandbox/.logs/http server/0");
        format!("{base}/{from}>{base}/{to}")
    };
    host.check(&[
        &at("sandbox/.logs/http server/0/stdout"),
        &at("sandbox/.logs/http server/2/stdout"),
        &moved("stdout", "stdout.1"),
        &moved("stdout.1", "stdout.2"),
    ]);
    host.write(
        format!("mesos/meta/slaves/S/frameworks/F/executors/{executor}/runs/c1/executor.sentinel"),
        "",
    );
    host.write(run.join("sandbox/.logs/last/0/stdout"), "");
    host.check(&[
        &format!("!{executor}/runs/c1"),
        &at("sandbox/.logs/last/0/stdout"),
    ]);
    fs::remove_dir_all(&run).expect("to remove");
    let summary = host.check(&[]);
    assert_eq!(summary.files, 0);
    assert_eq!(host.scanner.known(), 8);
}

#[test]
fn files_wait_for_their_job_but_not_for_ever() {
    let mut host = Host::new();
    let executor = format!("thermos-web-prod-hello-3-{UUID}");
    let path = format!("{executor}/runs/c1/stdout");
    host.write(host.run(&executor, "c1").join("stdout"), "line\n");
    for _ in 0..2 {
        let summary = host.check(&[]);
        assert_eq!((summary.waiting_for_agent, summary.files), (1, 1));
    }
    host.check(&[&format!("+{path}")]);
    assert_eq!(host.owner(&path).certainty, Certainty::TaskId);
    assert_eq!(host.owner(&path).origin.job.as_deref(), Some("hello"));
    // The agent's answer, in time.
    let other = format!("thermos-web-prod-hello-4-{UUID}");
    let path = format!("{other}/runs/c2/stdout");
    host.write(host.run(&other, "c2").join("stdout"), "line\n");
    host.check(&[]);
    let json = format!(
        r#"{{"frameworks":[{{"executors":[{{"id":"{other}","container":"c2",
            "tasks":[{{"id":"{}","name":"web/prod/exact"}}]}}]}}]}}"#,
        &other["thermos-".len()..]
    );
    let state = AgentState::parse(json.as_bytes(), &[]).expect("a state");
    host.scanner.set_agent_state(Some(Arc::new(state)));
    host.check(&[&format!("+{path}")]);
    assert_eq!(host.owner(&path).origin.job.as_deref(), Some("exact"));
}

#[test]
fn the_end_by_thermos_where_the_agents_records_cannot_be_read() {
    let mut host = Host::new();
    let id = format!("web-prod-hello-3-{UUID}");
    let executor = format!("thermos-{id}");
    let run = host.run(&executor, "c1");
    host.write(run.join("stdout"), "line\n");
    host.write(run.join("checkpoints/tasks/finished").join(&id), "");
    host.check(&[]);
    host.check(&[]);
    // Not before what waited was told.
    host.check(&[
        &format!("+{executor}/runs/c1/stdout"),
        &format!("!{executor}/runs/c1"),
    ]);
    host.check(&[]);
}

#[test]
fn known_files_are_not_told_again_after_a_restart_but_where_they_lie_is() {
    let mut host = Host::new();
    host.write("log/a/x.log", "line\n");
    host.write("log/a/y.log", "line\n");
    host.check(&["+log/a/x.log", "+log/a/y.log"]);
    let log = host.folder.path().join("log/a");
    fs::rename(log.join("x.log"), log.join("z.log")).expect("to rename");
    host.scanner = Scanner::new(rules(host.folder.path()));
    for (inode, (path, _)) in &host.held {
        host.scanner.know(*inode, Some(path));
    }
    host.check(&["log/a/x.log>log/a/z.log"]);
    let inode = *host.held.keys().next().expect("a file");
    host.scanner.forget(inode);
    host.write("log/a/new.log", "");
    host.scan_at(LATER_NS);
    assert_eq!(host.told.len(), 2, "{:?}", host.told);
}

#[test]
fn what_is_not_held_is_told_again_and_what_is_not_wanted_is_not() {
    let mut host = Host::new();
    host.write("log/a/x.log", "line\n");
    host.answer = Answer::Again;
    host.check(&["+log/a/x.log"]);
    host.check(&["+log/a/x.log"]);
    host.answer = Answer::Left;
    host.check(&["+log/a/x.log"]);
    host.check(&[]);
    host.write("log/a/y.log", "line\n");
    host.check(&["+log/a/y.log"]);
    host.answer = Answer::Kept;
    // Another file of the same name.
    fs::rename(
        host.folder.path().join("log/a/x.log"),
        host.folder.path().join("x.log"),
    )
    .expect("to rename");
    host.write("log/a/x.log", "line\n");
    host.check(&["+log/a/x.log"]);
}

#[test]
fn a_folder_that_changed_just_now_is_read_again() {
    let mut host = Host::new();
    host.write("log/a/x.log", "line\n");
    let stat = fs::metadata(host.folder.path().join("log/a")).expect("a folder");
    let mtime_ns = stat.mtime() * 1_000_000_000 + stat.mtime_nsec();
    // Nothing changes, but something could within the grain of the folders' times.
    for _ in 0..3 {
        let summary = host.scan_at(mtime_ns + 1);
        assert_eq!(summary.folders_read, summary.folders);
    }
    // Once more when that time is over, and then no more than once in a while, to be safe.
    let summary = host.scan_at(LATER_NS);
    assert_eq!(summary.folders_read, summary.folders);
    let passes = 0..PASSES_UNTIL_READ_AGAIN;
    let read: u64 = passes.map(|_| host.scan_at(LATER_NS).folders_read).sum();
    assert_eq!(read, summary.folders);
}

#[test]
fn links_and_other_things_of_jobs_lead_nowhere() {
    let mut host = Host::new();
    let executor = format!("thermos-web-prod-hello-3-{UUID}");
    let run = host.run(&executor, "c1");
    host.record(
        &executor,
        "c1",
        &executor["thermos-".len()..],
        "web/prod/hello",
    );
    host.write("secret/stdout", "secret\n");
    host.write("secret/0/stdout", "secret\n");
    host.write(run.join("stderr"), "");
    host.write(run.join("sandbox/.logs/p/0/stderr"), "");
    let secret = host.folder.path().join("secret");
    symlink(secret.join("stdout"), run.join("stdout")).expect("to link");
    symlink(&secret, run.join("sandbox/.logs/p/1")).expect("to link");
    symlink(&secret, run.join("sandbox/.logs/q")).expect("to link");
    let pipe = run.join("sandbox/.logs/p/0/stdout");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, mode, 0)
        .expect("to make");
    let other = host.run("other", "c2");
    fs::create_dir_all(&other).expect("to create");
    symlink(&secret, other.join("sandbox")).expect("to link");
    host.write("secret/.logs/p/0/stdout", "secret\n");
    let summary = host.check(&[
        &format!("+{executor}/runs/c1/sandbox/.logs/p/0/stderr"),
        &format!("+{executor}/runs/c1/stderr"),
    ]);
    let mut notes: Vec<_> = summary
        .notes
        .iter()
        .map(|note| (note.trouble, host.short(&note.path)))
        .collect();
    notes.sort();
    assert_eq!(
        notes,
        [
            (Trouble::Link, "other/runs/c2/sandbox/.logs".to_owned()),
            (Trouble::Link, format!("{executor}/runs/c1/stdout")),
        ]
    );
    // The trouble is there as long as its cause.
    let summary = host.check(&[]);
    assert_eq!(summary.notes.len(), 2);
}

#[test]
fn a_hard_link_to_a_file_of_another_user_is_refused() {
    let mut host = Host::new();
    host.write("log/a/own.log", "");
    host.write("secret", "secret\n");
    let folder = host.folder.path();
    fs::hard_link(folder.join("secret"), folder.join("log/a/linked.log")).expect("to link");
    if !rustix::process::geteuid().is_root() {
        // A user cannot give files away; with one owner all is as it should be.
        host.check(&["+log/a/linked.log", "+log/a/own.log"]);
        return;
    }
    std::os::unix::fs::chown(folder.join("log/a"), Some(12_345), None).expect("to give away");
    let summary = host.check(&["+log/a/own.log"]);
    assert_eq!(summary.notes.len(), 1);
    assert_eq!(summary.notes[0].trouble, Trouble::ForeignLink);
}

#[test]
fn what_may_not_be_read_is_noted() {
    let mut host = Host::new();
    host.write("log/a/x.log", "");
    host.write("log/b/y.log", "");
    let closed = host.folder.path().join("log/a");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("to close");
    if rustix::process::geteuid().is_root() {
        // Root reads everything.
        host.check(&["+log/a/x.log", "+log/b/y.log"]);
    } else {
        let summary = host.check(&["+log/b/y.log"]);
        assert_eq!(summary.notes.len(), 2, "once for each pattern: {summary:?}");
        assert!(
            summary
                .notes
                .iter()
                .all(|note| note.trouble == Trouble::Denied)
        );
        assert_eq!(host.check(&[]).notes.len(), 2);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("to open");
        // A change of rights does not show in the folder's time.
        for _ in 0..PASSES_UNTIL_READ_AGAIN {
            host.scan_at(LATER_NS);
            if !host.told.is_empty() {
                break;
            }
        }
        assert_eq!(host.told, ["+log/a/x.log"]);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("to open");
}
