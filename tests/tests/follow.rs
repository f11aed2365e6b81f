//! One instance, followed by the library over a real transport: what the view is told while files grow, rotate, shrink,
//! vanish and come back, and while connections break.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::client::Door;
use e2e::login::Login;
use e2e::processes;
use e2e::ssh_server::SshServer;
use e2e::sshd::{Settings, Sshd};
use jiff::tz::TimeZone;
use tailll::assemble::{LINE_BYTES, LineSettings};
use tailll::batch::{Age, Event, LineKind, Mark, Records};
use tailll::clock::Clock;
use tailll::filter::Filter;
use tailll::follow::{Followed, Follower};
use tailll::instance::{Files, Instance, InstanceId, Place};
use tailll::local::LocalFiles;
use tailll::reader::{History, Sink};
use tailll::remote::ShellSettings;
use tailll::selection::FileSelection;
use tailll::source::{InstanceLabel, Source, SourceId};
use tailll::transport::{Transport, Until};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long any single thing may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

/// Events that may wait for the view; few, so that followers feel a slow one.
const EVENTS_QUEUED: usize = 4;

/// A folder with logs, and a way to them.
struct Bench {
    transport: Transport,
    server: Option<SshServer>,
    folder: TempDir,
}

impl Bench {
    fn local() -> Self {
        Self {
            transport: Transport::Local(LocalFiles::new(None)),
            server: None,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn ssh() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, door) = Door::to_new_server(folder.path(), |_| {}).await.unwrap();
        Self {
            transport: door.transport(ShellSettings::default()),
            server: Some(server),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// A path in the sandbox's logs.
    fn sandbox(name: &str) -> String {
        format!("m/slaves/S/frameworks/F/executors/thermos-t-1/runs/latest/sandbox/.logs/{name}")
    }

    fn follow(&self, how: How) -> Follow {
        follow(&self.transport, how.files(self.folder.path()), how)
    }
}

/// How to follow.
#[derive(Debug, Clone, Copy)]
struct How {
    what: What,
    history: History,
    until: Until,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Sandbox,
    Glob(&'static str),
}

impl How {
    fn logs() -> Self {
        Self {
            what: What::Glob("*.log"),
            history: History::Lines(10),
            until: Until::Forever,
        }
    }

    fn sandbox() -> Self {
        Self {
            what: What::Sandbox,
            ..Self::logs()
        }
    }

    fn files(self, folder: &Path) -> Files {
        match self.what {
            What::Sandbox => Files::Sandbox {
                slave_root: format!("{}/m", folder.display()),
                run_directory: "latest".to_owned(),
                task_id: "t-1".to_owned(),
            },
            What::Glob(glob) => Files::Globs(vec![format!("{}/{glob}", folder.display())]),
        }
    }
}

fn follow(transport: &Transport, files: Files, how: How) -> Follow {
    let (sender, events) = mpsc::channel(EVENTS_QUEUED);
    let said = Arc::new(Mutex::new(Vec::new()));
    let words = said.clone();
    let ended = CancellationToken::new();
    let follower = Follower {
        instance: Arc::new(Instance {
            id: InstanceId("t-1".to_owned()),
            label: Arc::new(InstanceLabel {
                job: "job".to_owned(),
                key: None,
                instance: None,
                host: "here".to_owned(),
                task_id: None,
            }),
            place: Place::Local,
            files,
            as_role: None,
        }),
        transport: transport.clone(),
        sink: Sink {
            events: sender,
            sources: Arc::default(),
            lines: LineSettings {
                filter: Arc::new(Filter::new(&[], &[]).unwrap()),
                zone: TimeZone::UTC,
                records: Records::OnArrival,
            },
            clock: Clock::start(),
            seams: Arc::default(),
            earlier: None,
        },
        selection: Arc::new(FileSelection::default()),
        history: how.history,
        until: how.until,
        say: Arc::new(move |text| words.lock().unwrap().push(text)),
        ended: ended.clone(),
    };
    Follow {
        events,
        task: tokio::spawn(follower.run()),
        ended,
        said,
        view: View::default(),
    }
}

/// A follower at work, and what came of it so far.
struct Follow {
    events: mpsc::Receiver<Event>,
    task: JoinHandle<Followed>,
    ended: CancellationToken,
    said: Arc<Mutex<Vec<String>>>,
    view: View,
}

/// What a view is told, checked as it comes.
#[derive(Debug, Default)]
struct View {
    sources: HashMap<SourceId, Progress>,
    /// Lines and marks in the order they came.
    shown: Vec<Shown>,
}

#[derive(Debug)]
struct Progress {
    source: Arc<Source>,
    state: State,
    /// The offset after the last line; none at first, and after a mark.
    offset: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opened,
    CaughtUp,
    Closed,
}

#[derive(Debug, Clone)]
struct Shown {
    source: SourceId,
    path: PathBuf,
    what: Piece,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Line {
        text: String,
        file_len: u32,
        kind: LineKind,
        age: Age,
    },
    Mark(Mark),
}

impl View {
    fn take(&mut self, event: Event) {
        let id = match &event {
            Event::Opened(id, source) => {
                let progress = Progress {
                    source: source.clone(),
                    state: State::Opened,
                    offset: None,
                };
                assert!(
                    self.sources.insert(*id, progress).is_none(),
                    "opened twice: {source:?}"
                );
                return;
            }
            Event::Lines(batch) => batch.source,
            Event::CaughtUp(id) | Event::Mark(id, _) | Event::Closed(id) => *id,
            Event::Past(_) | Event::PastOver => panic!("{event:?}"),
        };
        let progress = self.sources.get_mut(&id).expect("a source that was opened");
        assert_ne!(progress.state, State::Closed, "after its end: {event:?}");
        let path: PathBuf =
            std::ffi::OsString::from(String::from_utf8_lossy(&progress.source.path).into_owned())
                .into();
        let mut show = |what| {
            self.shown.push(Shown {
                source: id,
                path: path.clone(),
                what,
            });
        };
        match event {
            Event::Opened(..) | Event::Past(_) | Event::PastOver => {}
            Event::CaughtUp(_) => {
                assert_eq!(
                    progress.state,
                    State::Opened,
                    "caught up twice: {}",
                    path.display()
                );
                progress.state = State::CaughtUp;
            }
            Event::Closed(_) => progress.state = State::Closed,
            Event::Mark(_, mark) => {
                progress.offset = None;
                show(Piece::Mark(mark));
            }
            Event::Lines(batch) => {
                for line in &batch.lines {
                    if let Some(offset) = progress.offset {
                        assert_eq!(
                            line.offset,
                            offset,
                            "a gap without a mark in {}",
                            path.display()
                        );
                    }
                    progress.offset = Some(line.offset + u64::from(line.file_len));
                    if line.age == Age::History {
                        assert_eq!(
                            progress.state,
                            State::Opened,
                            "late history of {}",
                            path.display()
                        );
                    }
                    let at = line.start as usize;
                    let bytes = &batch.bytes[at..at + line.len as usize];
                    show(Piece::Line {
                        text: String::from_utf8_lossy(bytes).into_owned(),
                        file_len: line.file_len,
                        kind: line.kind,
                        age: line.age,
                    });
                }
            }
        }
    }

    fn lines(&self) -> Vec<&str> {
        self.shown.iter().filter_map(Shown::text).collect()
    }

    /// The lines of the files whose path has this in it.
    fn lines_of(&self, part: &str) -> Vec<&str> {
        self.shown
            .iter()
            .filter(|shown| shown.path.to_string_lossy().contains(part))
            .filter_map(Shown::text)
            .collect()
    }

    fn marks(&self) -> Vec<&Mark> {
        self.shown
            .iter()
            .filter_map(|shown| match &shown.what {
                Piece::Mark(mark) => Some(mark),
                Piece::Line { .. } => None,
            })
            .collect()
    }

    fn caught_up(&self, files: usize) -> bool {
        self.sources.len() >= files
            && self
                .sources
                .values()
                .all(|progress| progress.state != State::Opened)
    }
}

impl Shown {
    fn text(&self) -> Option<&str> {
        match &self.what {
            Piece::Line { text, .. } => Some(text),
            Piece::Mark(_) => None,
        }
    }
}

impl Follow {
    /// Takes events until it is so.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&View) -> bool) {
        let waiting = async {
            while !holds(&self.view) {
                match self.events.recv().await {
                    Some(event) => self.view.take(event),
                    None => panic!("the follower ended before: {what}"),
                }
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            let mut sources: Vec<String> = self
                .view
                .sources
                .iter()
                .map(|(id, progress)| {
                    let path = String::from_utf8_lossy(&progress.source.path).into_owned();
                    let name = path.rsplit_once(".logs/").map_or(&*path, |(_, name)| name);
                    format!(
                        "{} {name} {:?} {:?}\n",
                        id.0, progress.state, progress.offset
                    )
                })
                .collect();
            sources.sort();
            panic!(
                "not within {PATIENCE:?}: {what}; said {:?}; last {:?}; marks {:?}; sources\n{}",
                self.said.lock().unwrap(),
                self.view.lines().last(),
                self.view.marks(),
                sources.concat()
            );
        }
    }

    async fn until_line(&mut self, line: &str) {
        let mut seen = 0;
        self.until(line, |view| {
            let found = view.shown[seen..]
                .iter()
                .any(|shown| shown.text() == Some(line));
            seen = view.shown.len();
            found
        })
        .await;
    }

    /// Takes everything until the follower ends by itself.
    async fn end(mut self) -> (Followed, View, Vec<String>) {
        let ending = async {
            while let Some(event) = self.events.recv().await {
                self.view.take(event);
            }
            self.task.await.unwrap()
        };
        let followed = timeout(PATIENCE, ending).await.expect("an end");
        let said = self.said.lock().unwrap().clone();
        for progress in self.view.sources.values() {
            assert_eq!(progress.state, State::Closed, "{:?}", progress.source);
        }
        (followed, self.view, said)
    }

    /// Says that the instance has ended, and takes what comes then.
    async fn finish(self) -> View {
        self.ended.cancel();
        let (followed, view, said) = self.end().await;
        assert_eq!(followed, Followed::Done, "{said:?}");
        view
    }
}

/// Each test below, over each transport.
macro_rules! over_each_transport {
    ($($name:ident),* $(,)?) => {
        mod local_files {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&super::Bench::local()).await;
            })*
        }
        mod ssh {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&super::Bench::ssh().await).await;
            })*
        }
    };
}

over_each_transport![
    the_last_lines_of_each_file_come_first,
    history_reaches_into_rotated_files_and_earlier_runs,
    all_history_is_every_line_of_every_file,
    every_form_of_line_is_accounted_for,
    an_unfinished_line_is_shown_once_it_is_whole,
    rotation_loses_nothing,
    a_truncation_is_marked,
    what_a_copy_saved_from_a_truncation_is_read_there,
    a_removed_file_is_let_go,
    a_file_born_later_is_read_from_its_first_byte,
    a_new_run_follows_the_one_before,
    an_instance_that_ended_is_drained,
    without_following_the_end_is_the_end,
    a_link_is_followed,
];

fn numbered(range: std::ops::Range<u32>) -> String {
    range.fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "line {n}");
        text
    })
}

fn names(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

/// Every line from 0 to `count`, each once and in order; says where it goes wrong.
#[track_caller]
fn assert_numbered(found: &[&str], count: u32) {
    for (at, (found_here, expected)) in found.iter().zip(names(0..count)).enumerate() {
        assert!(
            *found_here == expected,
            "at {at}: {:?} instead of {expected:?}",
            &found[at.saturating_sub(2)..found.len().min(at + 3)]
        );
    }
    assert_eq!(found.len(), count as usize, "lines in all");
}

fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
        .write_all(bytes.as_ref())
        .unwrap();
}

async fn the_last_lines_of_each_file_come_first(bench: &Bench) {
    bench.write("short.log", numbered(0..3));
    bench.write("exact.log", numbered(0..10));
    bench.write("long.log", numbered(0..100_000));
    bench.write("empty.log", "");
    bench.write("unfinished.log", format!("{}unfini", numbered(0..20)));
    // Lines that do not fit the first guess.
    let wide = (0..30).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "wide {n} {}", "x".repeat(20_000));
        text
    });
    bench.write("wide.log", wide);
    let mut follow = bench.follow(How::logs());
    follow
        .until("all are caught up", |view| view.caught_up(6))
        .await;
    let view = &follow.view;
    assert_eq!(view.lines_of("short"), names(0..3));
    assert_eq!(view.lines_of("exact"), names(0..10));
    assert_eq!(view.lines_of("long"), names(99_990..100_000));
    assert_eq!(view.lines_of("empty").len(), 0);
    // The unfinished end is one of the ten; it is shown once it is whole.
    assert_eq!(view.lines_of("unfinished"), names(11..20));
    let wide = view.lines_of("wide");
    assert_eq!(wide.len(), 10);
    assert!(wide[0].starts_with("wide 20 ") && wide[9].starts_with("wide 29 "));
    for name in ["short", "exact", "long", "empty", "wide"] {
        append(
            &bench.path(&format!("{name}.log")),
            format!("more of {name}\n"),
        );
    }
    append(&bench.path("unfinished.log"), "shed\n");
    for name in ["short", "exact", "long", "empty", "wide"] {
        follow
            .until(name, |view| {
                view.lines_of(name).last() == Some(&format!("more of {name}").as_str())
            })
            .await;
    }
    follow.until_line("unfinished").await;
    let view = follow.finish().await;
    assert_eq!(view.lines_of("short").len(), 4);
    assert_eq!(view.marks(), [] as [&Mark; 0]);
}

async fn history_reaches_into_rotated_files_and_earlier_runs(bench: &Bench) {
    bench.write(&Bench::sandbox("a b/0/stdout"), numbered(0..100));
    bench.write(&Bench::sandbox("a b/1/stdout.2"), numbered(100..102));
    bench.write(&Bench::sandbox("a b/1/stdout.1"), numbered(102..105));
    bench.write(&Bench::sandbox("a b/1/stdout"), numbered(105..107));
    bench.write(&Bench::sandbox("crash's/0/stderr"), "it crashed\n");
    bench.write(&Bench::sandbox("crash's/1/stderr"), "");
    let mut follow = bench.follow(How::sandbox());
    follow
        .until("all are caught up", |view| {
            view.caught_up(5) && view.lines().len() >= 11
        })
        .await;
    append(
        &bench.path(&Bench::sandbox("a b/1/stdout")),
        numbered(107..108),
    );
    follow.until_line("line 107").await;
    let view = follow.finish().await;
    assert_eq!(view.lines_of("a b"), names(97..108));
    assert_eq!(view.lines_of("crash's"), ["it crashed"]);
}

async fn all_history_is_every_line_of_every_file(bench: &Bench) {
    bench.write(&Bench::sandbox("a/0/stdout"), numbered(0..10_000));
    bench.write(&Bench::sandbox("a/1/stdout.1"), numbered(10_000..30_000));
    let live = bench.write(&Bench::sandbox("a/1/stdout"), numbered(30_000..40_000));
    let mut follow = bench.follow(How {
        history: History::All,
        ..How::sandbox()
    });
    follow.until_line("line 39999").await;
    append(&live, numbered(40_000..40_010));
    follow.until_line("line 40009").await;
    let view = follow.finish().await;
    assert_numbered(&view.lines(), 40_010);
    let history = view
        .shown
        .iter()
        .filter(|shown| {
            matches!(
                shown.what,
                Piece::Line {
                    age: Age::History,
                    ..
                }
            )
        })
        .count();
    assert_eq!(history, 40_000);
}

async fn every_form_of_line_is_accounted_for(bench: &Bench) {
    let long = "y".repeat(LINE_BYTES * 2 + 77);
    let text = format!("one\r\n\n\r\ntab\there\n{long}\nafter\ncarriage\rin it\nunfinished");
    bench.write("forms.log", &text);
    let follow = bench.follow(How {
        until: Until::End,
        ..How::logs()
    });
    let (followed, view, said) = follow.end().await;
    assert_eq!(followed, Followed::Done, "{said:?}");
    let found: Vec<(&str, LineKind)> = view
        .shown
        .iter()
        .map(|shown| match &shown.what {
            Piece::Line { text, kind, .. } => (text.as_str(), *kind),
            Piece::Mark(mark) => panic!("{mark:?}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            ("one", LineKind::Whole),
            ("", LineKind::Whole),
            ("", LineKind::Whole),
            ("tab\there", LineKind::Whole),
            (&long[..LINE_BYTES], LineKind::Piece),
            (&long[..LINE_BYTES], LineKind::Piece),
            (&long[..77], LineKind::Piece),
            ("after", LineKind::Whole),
            ("carriage\rin it", LineKind::Whole),
            ("unfinished", LineKind::Unfinished),
        ]
    );
    let bytes: u64 = view
        .shown
        .iter()
        .map(|shown| match shown.what {
            Piece::Line { file_len, .. } => u64::from(file_len),
            Piece::Mark(_) => 0,
        })
        .sum();
    assert_eq!(bytes, text.len() as u64);
}

async fn an_unfinished_line_is_shown_once_it_is_whole(bench: &Bench) {
    let path = bench.write("a.log", "start\n");
    let mut follow = bench.follow(How::logs());
    follow.until_line("start").await;
    append(&path, "in three");
    sleep(Duration::from_millis(200)).await;
    append(&path, " par");
    sleep(Duration::from_millis(200)).await;
    append(&path, "ts\nnext\n");
    follow.until_line("next").await;
    append(&path, "never finished");
    let view = follow.finish().await;
    assert_eq!(
        view.lines(),
        ["start", "in three parts", "next", "never finished"]
    );
}

/// Rotates a log: the numbers of the older files go up by one.
fn shift(path: &Path) {
    let rotated = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
    let free = (1..1000).find(|n| !rotated(*n).exists()).unwrap();
    for n in (1..free).rev() {
        fs::rename(rotated(n), rotated(n + 1)).unwrap();
    }
    fs::rename(path, rotated(1)).unwrap();
}

async fn rotation_loses_nothing(bench: &Bench) {
    let path = bench.write("app.log", numbered(0..1));
    let mut follow = bench.follow(How::logs());
    follow.until_line("line 0").await;
    let mut line = 1;
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    let mut write = |file: &mut File, count: u32| {
        file.write_all(numbered(line..line + count).as_bytes())
            .unwrap();
        line += count;
    };
    // Renamed, and a fresh file at once.
    write(&mut file, 10);
    shift(&path);
    file = File::create(&path).unwrap();
    write(&mut file, 10);
    follow.until_line("line 20").await;
    // The writer keeps the renamed file for a while.
    shift(&path);
    write(&mut file, 5);
    sleep(Duration::from_millis(1_200)).await;
    write(&mut file, 5);
    file = File::create(&path).unwrap();
    write(&mut file, 5);
    follow.until_line("line 35").await;
    // Three times at once: two files that no listing sees as the live one.
    for _ in 0..3 {
        shift(&path);
        file = File::create(&path).unwrap();
        write(&mut file, 20_000);
    }
    follow.until_line("line 60035").await;
    // The fresh file comes late.
    shift(&path);
    write(&mut file, 5);
    sleep(Duration::from_millis(2_500)).await;
    file = File::create(&path).unwrap();
    write(&mut file, 5);
    follow.until_line("line 60045").await;
    let view = follow.finish().await;
    assert_numbered(&view.lines(), 60_046);
    assert_eq!(view.marks(), [] as [&Mark; 0]);
}

async fn a_truncation_is_marked(bench: &Bench) {
    let path = bench.write("a.log", numbered(0..5));
    let mut follow = bench.follow(How::logs());
    follow.until_line("line 4").await;
    fs::write(&path, "fresh 0\n").unwrap();
    follow.until_line("fresh 0").await;
    append(&path, "fresh 1\n");
    follow.until_line("fresh 1").await;
    let view = follow.finish().await;
    assert_eq!(
        view.lines(),
        [names(0..5), vec!["fresh 0".into(), "fresh 1".into()]].concat()
    );
    let marks = view.marks();
    assert!(
        matches!(marks[..], [Mark::Lost { offset: 35, why, .. }] if why.contains("truncated")),
        "{marks:?}"
    );
    // The mark stands where it happened.
    let at = view
        .shown
        .iter()
        .position(|shown| matches!(shown.what, Piece::Mark(_)));
    assert_eq!(at, Some(5));
}

async fn what_a_copy_saved_from_a_truncation_is_read_there(bench: &Bench) {
    let path = bench.write("a.log", numbered(0..100));
    let copy = bench.path("a.log.1");
    let mut follow = bench.follow(How::logs());
    follow.until_line("line 99").await;
    append(&path, numbered(100..5_000));
    fs::copy(&path, &copy).unwrap();
    fs::write(&path, "").unwrap();
    follow
        .until("the mark", |view| !view.marks().is_empty())
        .await;
    append(&path, "fresh\n");
    follow.until_line("fresh").await;
    let view = follow.finish().await;
    let expected = [names(90..5_000), vec!["fresh".to_owned()]].concat();
    assert_eq!(view.lines(), expected);
    let marks = view.marks();
    assert!(
        matches!(marks[..], [Mark::Note(text)] if text.contains("copy a.log.1")),
        "{marks:?}"
    );
}

async fn a_removed_file_is_let_go(bench: &Bench) {
    let path = bench.write("logs/a.log", numbered(0..5));
    bench.write("logs/b.log", "stays\n");
    let mut follow = bench.follow(How {
        what: What::Glob("logs/*.log"),
        ..How::logs()
    });
    follow
        .until("both are caught up", |view| view.caught_up(2))
        .await;
    fs::remove_file(&path).unwrap();
    follow
        .until("it is closed", |view| {
            view.sources
                .values()
                .any(|progress| progress.state == State::Closed)
        })
        .await;
    let folder = bench.path("logs");
    wait_until_held(&folder, "a.log (deleted)").await;
    // One by the same name is another file, maybe with the same inode.
    fs::write(&path, "born again\n").unwrap();
    follow.until_line("born again").await;
    let view = follow.finish().await;
    assert_eq!(view.lines_of("a.log").len(), 6);
    assert_eq!(view.lines_of("b.log"), ["stays"]);
}

/// Waits until nobody holds a file of this folder open that has this in its name.
async fn wait_until_held(folder: &Path, name: &str) {
    let held = || {
        processes::holding(folder).iter().any(|process| {
            fs::read_dir(format!("/proc/{}/fd", process.pid)).is_ok_and(|entries| {
                entries
                    .flatten()
                    .filter_map(|entry| fs::read_link(entry.path()).ok())
                    .any(|target| {
                        target.starts_with(folder) && target.to_string_lossy().contains(name)
                    })
            })
        })
    };
    timeout(PATIENCE, async {
        while held() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the file is closed");
}

async fn a_file_born_later_is_read_from_its_first_byte(bench: &Bench) {
    let mut follow = bench.follow(How::logs());
    timeout(PATIENCE, async {
        while !follow
            .said
            .lock()
            .unwrap()
            .iter()
            .any(|text| text.contains("no file matches") && text.contains("waiting"))
        {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it is said");
    bench.write("a.log", numbered(0..1_000));
    follow.until_line("line 999").await;
    let view = follow.finish().await;
    assert_eq!(view.lines(), names(0..1_000));
}

async fn a_new_run_follows_the_one_before(bench: &Bench) {
    let first = bench.write(&Bench::sandbox("a/0/stdout"), numbered(0..5));
    let mut follow = bench.follow(How::sandbox());
    follow.until_line("line 4").await;
    let mut line = 5;
    let mut last = first;
    for run in 1..6 {
        append(&last, numbered(line..line + 1_000));
        last = bench.write(
            &Bench::sandbox(&format!("a/{run}/stdout")),
            numbered(line + 1_000..line + 1_500),
        );
        line += 1_500;
    }
    follow.until_line(&format!("line {}", line - 1)).await;
    let view = follow.finish().await;
    assert_numbered(&view.lines(), line);
    let runs: HashSet<SourceId> = view.shown.iter().map(|shown| shown.source).collect();
    assert_eq!(runs.len(), 6);
}

async fn an_instance_that_ended_is_drained(bench: &Bench) {
    let path = bench.write(&Bench::sandbox("a/0/stdout"), numbered(0..1));
    let mut follow = bench.follow(How::sandbox());
    follow.until_line("line 0").await;
    append(&path, numbered(1..50_000));
    bench.write(&Bench::sandbox("a/1/stdout"), numbered(50_000..60_000));
    bench.write(&Bench::sandbox("b/0/stderr"), "last words\n");
    let view = follow.finish().await;
    assert_numbered(&view.lines_of("/a/"), 60_000);
    assert_eq!(view.lines_of("/b/"), ["last words"]);
}

async fn without_following_the_end_is_the_end(bench: &Bench) {
    let how = How {
        until: Until::End,
        ..How::logs()
    };
    let (followed, view, said) = bench.follow(how).end().await;
    assert_eq!(followed, Followed::Failed);
    assert!(
        view.shown.is_empty() && said[0].contains("no file matches"),
        "{said:?}"
    );
    bench.write("a.log", numbered(0..50_000));
    bench.write("a.log.1", "older\n");
    bench.write("b.log", numbered(0..2));
    bench.write("empty.log", "");
    let (followed, view, said) = bench.follow(how).end().await;
    assert_eq!((followed, said), (Followed::Done, Vec::<String>::new()));
    assert_eq!(view.lines_of("a.log"), names(49_990..50_000));
    assert_eq!(view.lines_of("b.log"), names(0..2));
    let all = How {
        history: History::All,
        ..how
    };
    let (followed, view, _) = bench.follow(all).end().await;
    assert_eq!(followed, Followed::Done);
    let expected = [vec!["older".to_owned()], names(0..50_000)].concat();
    assert_eq!(view.lines_of("a.log"), expected);
}

async fn a_link_is_followed(bench: &Bench) {
    let target = bench.write("data/real", numbered(0..3));
    std::os::unix::fs::symlink(&target, bench.path("link.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("dangling.log")).unwrap();
    let mut follow = bench.follow(How::logs());
    follow.until_line("line 2").await;
    append(&target, numbered(3..4));
    follow.until_line("line 3").await;
    assert_eq!(follow.finish().await.lines(), names(0..4));
}

/// Numbers without a pattern, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnects_at_any_moment_lose_and_repeat_nothing() {
    const CUTS: usize = 12;
    let bench = Bench::ssh().await;
    let path = bench.write(&Bench::sandbox("a/0/stdout"), numbered(0..1));
    let mut follow = bench.follow(How::sandbox());
    follow.until_line("line 0").await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let folder = bench.path(&Bench::sandbox("a"));
    let writer = tokio::task::spawn_blocking(move || {
        let mut dice = Dice(0x5eed);
        let (mut path, mut line, mut run) = (path, 1, 0);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        while !stopped.is_cancelled() {
            let count = 1 + dice.below(200) as u32;
            file.write_all(numbered(line..line + count).as_bytes())
                .unwrap();
            line += count;
            match dice.below(150) {
                0 | 1 => {
                    shift(&path);
                    if dice.below(2) == 0 {
                        // The writer keeps the renamed file.
                        std::thread::sleep(Duration::from_millis(50));
                        file.write_all(numbered(line..line + 10).as_bytes())
                            .unwrap();
                        line += 10;
                    }
                    file = File::create(&path).unwrap();
                }
                2 => {
                    run += 1;
                    path = folder.join(run.to_string()).join("stdout");
                    fs::create_dir(path.parent().unwrap()).unwrap();
                    file = File::create(&path).unwrap();
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(dice.below(20)));
        }
        line
    });
    let mut dice = Dice(0xc07);
    let server = bench.server.as_ref().unwrap();
    let mut cut = 0;
    while cut < CUTS {
        let pause = sleep(Duration::from_millis(20 + dice.below(700)));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                event = follow.events.recv() => follow.view.take(event.expect("a follower")),
                () = &mut pause => break,
            }
        }
        cut += server.cut().min(1);
    }
    stop.cancel();
    let written = {
        let mut writer = writer;
        loop {
            tokio::select! {
                event = follow.events.recv() => follow.view.take(event.expect("a follower")),
                line = &mut writer => break line.unwrap(),
            }
        }
    };
    follow.until_line(&format!("line {}", written - 1)).await;
    let view = follow.finish().await;
    assert_numbered(&view.lines(), written);
    // On a slow machine one file may be cut off often enough in a row to be worth a note; nothing may be called lost.
    let mut marks = view.marks();
    marks.retain(|mark| !matches!(mark, Mark::Note(text) if text.ends_with("; trying again")));
    assert_eq!(marks, [] as [&Mark; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncation_while_disconnected_is_marked() {
    let bench = Bench::ssh().await;
    let path = bench.write("a.log", numbered(0..100));
    let mut follow = bench.follow(How::logs());
    follow.until_line("line 99").await;
    let host = &bench.server.as_ref().unwrap().hosts()[0];
    host.set_door(e2e::ssh_server::Door::Closed);
    host.cut();
    // It has grown past the offset by the time it is seen again.
    fs::write(
        &path,
        (0..200).fold(String::new(), |mut text, n| {
            let _ = writeln!(text, "other {n}");
            text
        }),
    )
    .unwrap();
    sleep(Duration::from_millis(300)).await;
    host.set_door(e2e::ssh_server::Door::Open);
    follow.until_line("other 199").await;
    let view = follow.finish().await;
    let expected: Vec<String> = (0..200).map(|n| format!("other {n}")).collect();
    assert_eq!(view.lines(), [names(90..100), expected].concat());
    let marks = view.marks();
    assert!(matches!(marks[..], [Mark::Lost { .. }]), "{marks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_read_is_told_so() {
    let sshd = Sshd::start(Settings {
        addresses: 1,
        hosts: 1,
        ..Settings::default()
    })
    .unwrap();
    let login = Login::add(Path::new("/bin/sh"), sshd.dir()).unwrap();
    let door = Door {
        address: sshd.address(1),
        user: login.name().to_owned(),
        key: sshd.client_key(),
        known_hosts: fs::read_to_string(&sshd.files().known_hosts).unwrap(),
    };
    let transport = door.transport(ShellSettings::default());
    for (name, folder_mode, file_mode) in [("closed", 0o700, 0o644), ("secret", 0o755, 0o600)] {
        let folder = sshd.logs().join(name);
        fs::create_dir(&folder).unwrap();
        let file = folder.join("file.log");
        fs::write(&file, "secret\n").unwrap();
        // Named by a link, too.
        std::os::unix::fs::symlink("file.log", folder.join("link.log")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(folder_mode)).unwrap();
        for glob in ["*.log", "link.log"] {
            let how = How {
                until: Until::End,
                ..How::logs()
            };
            let files = Files::Globs(vec![format!("{}/{glob}", folder.display())]);
            let (followed, view, said) = follow(&transport, files, how).end().await;
            assert_eq!(followed, Followed::Failed, "{name} {glob}");
            assert_eq!(view.lines().len(), 0);
            assert!(
                said.iter()
                    .any(|text| text.contains("ermission denied") && text.contains("run tailll as")),
                "{name} {glob}: {said:?}"
            );
        }
    }
    drop(transport);
    drop(login);
}
