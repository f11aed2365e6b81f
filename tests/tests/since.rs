//! Which lines are shown: by time, level and fields; from files of this host, over SSH, and from standard input.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use e2e::client::Door;
use e2e::ssh_server::SshServer;
use e2e::tail_process::{Reading, TailProcess};
use jiff::tz::TimeZone;
use tailll::as_role::AsRole;
use tailll::assemble::LineSettings;
use tailll::batch::{Event, Mark, Records};
use tailll::clock::Clock;
use tailll::filter::Filter;
use tailll::follow::{Followed, Follower};
use tailll::instance::{Files, Instance, InstanceId, Place};
use tailll::local::LocalFiles;
use tailll::moment::{self, Span};
use tailll::reader::{History, Sink};
use tailll::remote::ShellSettings;
use tailll::selection::FileSelection;
use tailll::source::InstanceLabel;
use tailll::transport::{Pattern, Start, Transport, Until};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailll-dup");

/// How long any single thing may take; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(2);

const S: i64 = 1_000_000_000;

/// When the logs of these tests begin, in seconds since 1970: 2026-01-05 00:00:00 UTC.
const START_S: i64 = 1_767_571_200;

/// A time so many seconds after the beginning, as in the logs.
fn stamp(seconds: i64) -> String {
    moment::show((START_S + seconds) * S, &TimeZone::UTC)
}

/// A line a second, each numbered by its second.
fn log(seconds: std::ops::Range<i64>) -> String {
    let mut text = String::new();
    for second in seconds {
        let _ = writeln!(
            text,
            "{} INFO n={second} a line of about the usual length for a log, or somewhat longer",
            stamp(second)
        );
    }
    text
}

/// Writes a file that was last written so many seconds after the beginning.
fn write(path: &Path, text: &str, modified_s: i64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs((START_S + modified_s) as u64);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
}

/// The numbers of the lines, joined to ranges.
fn numbers(lines: &[String]) -> String {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for line in lines {
        let Some(number) = line.split("n=").nth(1) else {
            continue;
        };
        let number: i64 = number.split(' ').next().unwrap().parse().unwrap();
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text: Vec<String> = ranges
        .iter()
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    text.join(" ")
}

/// A folder, and a way to it.
struct Bench {
    folder: TempDir,
    transport: Transport,
    server: Option<SshServer>,
}

/// What a follower showed.
#[derive(Debug, Default)]
struct Shown {
    lines: Vec<String>,
    notes: Vec<String>,
}

impl Bench {
    fn local() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            transport: Transport::Local(LocalFiles::new(None)),
            server: None,
        }
    }

    async fn ssh() -> Self {
        Self::ssh_with(|_| ShellSettings::default()).await
    }

    async fn ssh_with(settings: impl FnOnce(&Path) -> ShellSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, door) = Door::to_new_server(folder.path(), |_| {}).await.unwrap();
        Self {
            transport: door.transport(settings(folder.path())),
            server: Some(server),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Follows to the end of what is there, within a span in seconds after the beginning.
    async fn shown(
        &self,
        files: Files,
        history: History,
        since_s: Option<i64>,
        until_s: Option<i64>,
    ) -> Shown {
        let span = Span {
            since_ns: since_s.map_or(i64::MIN, |s| (START_S + s) * S),
            until_ns: until_s.map_or(i64::MAX, |s| (START_S + s) * S),
        };
        let (sender, mut events) = mpsc::channel(4);
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
            transport: self.transport.clone(),
            sink: Sink {
                events: sender,
                sources: Arc::default(),
                lines: LineSettings {
                    filter: Arc::new(Filter::new(&[], &[]).unwrap().within(span)),
                    zone: TimeZone::UTC,
                    records: Records::OnArrival,
                },
                clock: Clock::start(),
                seams: Arc::default(),
                earlier: None,
            },
            selection: Arc::new(FileSelection::default()),
            history,
            until: Until::End,
            say: Arc::new(|text| panic!("{text}")),
            ended: CancellationToken::new(),
        };
        let task = tokio::spawn(follower.run());
        let mut shown = Shown::default();
        while let Some(event) = timeout(PATIENCE, events.recv()).await.unwrap() {
            match event {
                Event::Lines(batch) => {
                    for line in &batch.lines {
                        let bytes = &batch.bytes[line.start as usize..][..line.len as usize];
                        shown.lines.push(String::from_utf8(bytes.to_vec()).unwrap());
                    }
                }
                Event::Mark(_, Mark::Note(text)) => shown.notes.push(text),
                Event::Mark(_, mark) => panic!("{mark:?}"),
                Event::Opened(..) | Event::CaughtUp(_) | Event::Closed(_) | Event::PastOver => {}
                Event::Past(batches) => panic!("{batches:?}"),
            }
        }
        assert_eq!(task.await.unwrap(), Followed::Done);
        shown
    }

    fn glob(&self) -> Files {
        Files::Globs(vec![format!("{}/app.log", self.folder.path().display())])
    }
}

/// 20 MB in one file, and what is asked for in the middle of it.
async fn a_large_file_is_not_read(bench: &Bench) {
    const SECONDS: i64 = 200_000;
    write(&bench.path("app.log"), &log(0..SECONDS), SECONDS);
    let shown = bench
        .shown(bench.glob(), History::All, Some(150_000), Some(150_099))
        .await;
    assert_eq!(numbers(&shown.lines), "150000-150099");
    assert_eq!(shown.notes, Vec::<String>::new());
    let shown = bench
        .shown(bench.glob(), History::All, Some(SECONDS - 3), None)
        .await;
    assert_eq!(
        numbers(&shown.lines),
        format!("{}-{}", SECONDS - 3, SECONDS - 1)
    );
}

#[tokio::test]
async fn a_large_file_of_this_host_is_searched() {
    a_large_file_is_not_read(&Bench::local()).await;
}

#[tokio::test]
async fn a_large_file_of_another_host_is_searched_with_few_small_reads() {
    let bench = Bench::ssh().await;
    a_large_file_is_not_read(&bench).await;
    let size = fs::metadata(bench.path("app.log")).unwrap().len();
    let counters = bench.server.as_ref().unwrap().counters();
    assert!(size > 18_000_000, "{size}");
    // A dozen windows of 64 KiB for the first search, two for the second, and what is shown. The reader that is stopped at
    // the end of the span may be ahead by what a channel holds.
    assert!(counters.bytes_total < 8_000_000, "{counters:?}");
    assert!(counters.sessions_total < 30, "{counters:?}");
}

#[tokio::test]
async fn rotated_files_and_earlier_runs_are_reached_as_far_as_needed() {
    for bench in [Bench::local(), Bench::ssh().await] {
        write(&bench.path("app.log.3"), &log(0..1_000), 1_000);
        write(&bench.path("app.log.2"), &log(1_000..2_000), 2_000);
        write(&bench.path("app.log.1"), &log(2_000..3_000), 3_000);
        write(&bench.path("app.log"), &log(3_000..3_500), 3_500);
        let shown = bench
            .shown(bench.glob(), History::All, Some(1_500), None)
            .await;
        assert_eq!(numbers(&shown.lines), "1500-3499");
        assert_eq!(shown.notes, Vec::<String>::new());
        let shown = bench
            .shown(bench.glob(), History::All, Some(1_999), Some(2_001))
            .await;
        assert_eq!(numbers(&shown.lines), "1999-2001");
        // With a number of lines, the smaller part.
        for (lines, since, expected) in [
            (5, 1_500, "3495-3499"),
            (700, 3_400, "3400-3499"),
            (700, 2_900, "2900-3499"),
        ] {
            let shown = bench
                .shown(bench.glob(), History::Lines(lines), Some(since), None)
                .await;
            assert_eq!(numbers(&shown.lines), expected);
        }
        // Nothing is that old, and it is said.
        let shown = bench
            .shown(bench.glob(), History::All, Some(-500), None)
            .await;
        assert_eq!(numbers(&shown.lines), "0-3499");
        assert_eq!(shown.notes, [format!("begins at {}", stamp(0))]);
        // A file that was last written before is not even opened.
        write(&bench.path("app.log.1"), &log(2_000..3_000), 1_400);
        let shown = bench
            .shown(bench.glob(), History::All, Some(1_500), None)
            .await;
        assert_eq!(numbers(&shown.lines), "3000-3499");

        let run = |run: u32| {
            bench.path(&format!(
                "m/slaves/S/frameworks/F/executors/thermos-t-1/runs/latest/sandbox/.logs/p/{run}/stdout"
            ))
        };
        write(&run(0), &log(0..1_000), 1_000);
        write(&run(1), &log(1_000..2_000), 2_000);
        write(&run(2), &log(2_000..2_100), 2_100);
        let files = Files::Sandbox {
            slave_root: format!("{}/m", bench.folder.path().display()),
            run_directory: "latest".to_owned(),
            task_id: "t-1".to_owned(),
        };
        let shown = bench.shown(files, History::All, Some(1_500), None).await;
        assert_eq!(numbers(&shown.lines), "1500-2099");
    }
}

#[tokio::test]
async fn files_without_times_or_order_are_shown_with_a_note() {
    let bench = Bench::local();
    write(&bench.path("app.log"), "no n=1 time\nno n=2 time\n", 100);
    let shown = bench
        .shown(bench.glob(), History::All, Some(50), None)
        .await;
    assert_eq!(numbers(&shown.lines), "1-2");
    assert!(shown.notes[0].contains("no times"), "{:?}", shown.notes);
    let shown = bench
        .shown(bench.glob(), History::All, Some(200), None)
        .await;
    assert_eq!((shown.lines.len(), shown.notes.len()), (0, 0));
    let text = [log(500..600), log(0..100), log(200..300)].concat();
    write(&bench.path("app.log"), &text, 1_000);
    let shown = bench
        .shown(bench.glob(), History::All, Some(50), Some(250))
        .await;
    assert_eq!(numbers(&shown.lines), "50-99 200-250");
    assert!(shown.notes[0].contains("go back"), "{:?}", shown.notes);
}

#[tokio::test]
async fn a_tool_that_a_host_does_not_have_is_named() {
    let bench = Bench::ssh_with(|folder| {
        let tools = folder.join("tools");
        fs::create_dir(&tools).unwrap();
        for tool in [
            "sh", "stat", "tail", "cat", "dd", "ls", "xargs", "sleep", "timeout",
        ] {
            let found = ["/usr/bin", "/bin"]
                .map(|folder| Path::new(folder).join(tool))
                .into_iter()
                .find(|path| path.exists());
            std::os::unix::fs::symlink(found.unwrap(), tools.join(tool)).unwrap();
        }
        let with_tools: AsRole = format!("env PATH={}", tools.display()).parse().unwrap();
        ShellSettings {
            as_role: Some(with_tools.command(None).unwrap()),
            ..ShellSettings::default()
        }
    })
    .await;
    write(&bench.path("app.log"), &log(0..1), 1);
    let path = bench.path("app.log");
    let text = path.to_str().unwrap();
    let opened = timeout(
        PATIENCE,
        bench
            .transport
            .open(text.as_bytes(), Start::At(0), Until::Forever),
    );
    let error = opened.await.unwrap().expect_err("no head").to_string();
    assert!(error.contains("head is not there"), "{error}");
    let pattern = [Pattern::new(text).unwrap()];
    let listed = timeout(PATIENCE, bench.transport.list(&pattern));
    let error = listed.await.unwrap().expect_err("no head").to_string();
    assert!(error.contains("head is not there"), "{error}");
}

/// The program, without anybody's configuration.
fn program(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .env_clear()
        .env("HOME", home)
        .current_dir(home)
        .args(arguments);
    command
}

fn output(home: &Path, arguments: &[&str]) -> Output {
    program(home, arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the program shows of a text on its standard input.
fn piped(input: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut child = program(home.path(), &[&["--stdin"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // The program may end before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (
        output.status.code(),
        text_of(&output.stdout),
        text_of(&output.stderr),
    )
}

#[test]
fn the_program_shows_a_span_and_says_what_is_wrong_with_one() {
    let home = tempfile::tempdir().unwrap();
    write(&home.path().join("app.log"), &log(0..5_000), 5_000);
    let (since, until) = (stamp(1_000), stamp(1_002));
    let ran = output(
        home.path(),
        &["-o", "raw", "-s", &since, "--until", &until, "./app.log"],
    );
    // What is over is not followed: it ends by itself.
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(text_of(&ran.stdout), log(1_000..1_003));
    let zone = [
        "--timezone",
        "+01:00",
        "--no-follow",
        "-oraw",
        "--since",
        "2026-01-05 02:23:18",
        "./app.log",
    ];
    let ran = output(home.path(), &zone);
    assert_eq!(text_of(&ran.stdout), log(4_998..5_000));
    for (arguments, expected) in [
        (
            &["--since", "5 parsecs", "x:/y"][..],
            "write a duration before now",
        ),
        (&["--since", "2999-01-01", "x:/y"], "lies in the future"),
        (
            &["--since", "today", "--until", "yesterday", "x:/y"],
            "is later than --until",
        ),
        (
            &["--where", "status>=", "x:/y"],
            "expected a value after `>=`",
        ),
        (&["--level", "loud", "x:/y"], "write trace, debug, info"),
        (&["--stdin", "x:/y"], "cannot be used with"),
        (&[], "required"),
    ] {
        let ran = output(home.path(), arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?} {ran:?}");
        assert!(
            text_of(&ran.stderr).contains(expected),
            "{arguments:?}: {}",
            text_of(&ran.stderr)
        );
    }
}

#[test]
fn the_time_of_until_ends_the_program() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("app.log");
    fs::write(&path, "n=1 before\n").unwrap();
    let now = Clock::start().started().wall_ns;
    let until = moment::show(now + 3 * S, &TimeZone::UTC);
    let mut process = TailProcess::start(
        &mut program(home.path(), &["-oraw", "--until", &until, "./app.log"]),
        Reading::Eager,
    )
    .unwrap();
    process
        .wait_for_lines("what is there", PATIENCE, |lines| lines.len() == 1)
        .unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(
        file,
        "{} n=2 far beyond",
        moment::show(now + 3_600 * S, &TimeZone::UTC)
    )
    .unwrap();
    let ended = process.wait_for_end(PATIENCE).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.talk);
    assert_eq!(ended.lines.len(), 1, "{:?}", ended.lines);
}

#[test]
fn new_lines_follow_those_since_then() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("app.log");
    let now = Clock::start().started().wall_ns;
    let at = |seconds: i64| moment::show(now + seconds * S, &TimeZone::UTC);
    let text = format!("{} n=1 old\n{} n=2 new enough\n", at(-7_200), at(-600));
    fs::write(&path, text).unwrap();
    let mut process = TailProcess::start(
        &mut program(home.path(), &["-oraw", "-s", "1h", "./app.log"]),
        Reading::Eager,
    )
    .unwrap();
    process
        .wait_for_lines("what is there", PATIENCE, |lines| lines.len() == 1)
        .unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    // Whatever its clock says, it is new.
    writeln!(file, "{} n=3 a clock that is wrong", at(-9_000)).unwrap();
    process
        .wait_for_lines("the new line", PATIENCE, |lines| lines.len() == 2)
        .unwrap();
    process.with_lines(|lines| {
        let lines: Vec<String> = lines.iter().map(|line| text_of(&line.bytes)).collect();
        assert_eq!(numbers(&lines), "2-3");
    });
}

#[test]
fn standard_input_goes_through_the_same_filters() {
    let input = "2026-01-05 10:00:00 INFO a\n\
                 2026-01-05 10:00:01 ERROR b\n\
                 \x20 at x\n\
                 {\"@timestamp\":\"2026-01-05T10:00:02Z\",\"level\":\"WARN\",\"message\":\"c\",\"status\":503}\n\
                 2026-01-05 10:00:03 nothing d\n\
                 the end";
    let (code, out, talk) = piped(input, &["-oraw"]);
    assert_eq!((code, talk.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{input}\n"));
    let (code, out, talk) = piped(input, &["-oraw", "--level", "warn"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        out.lines()
            .map(|line| &line[line.len() - 1..])
            .collect::<Vec<_>>(),
        ["b", "x", "}"]
    );
    assert_eq!(
        talk,
        "tailll: 1 line without a level was left out by --level\n"
    );
    let (_, out, _) = piped(
        input,
        &["-oraw", "--where", "status>=500", "--where", "level=warn"],
    );
    assert!(
        out.starts_with("{\"@timestamp\"") && out.lines().count() == 1,
        "{out}"
    );
    let (_, out, _) = piped(
        input,
        &[
            "-oraw",
            "-s",
            "2026-01-05T10:00:01Z",
            "--until",
            "2026-01-05T10:00:02Z",
        ],
    );
    assert_eq!(out.lines().count(), 3, "{out}");
    let (_, out, _) = piped(input, &["-ojson", "-e", "."]);
    assert_eq!(out, "");
    let (_, out, _) = piped("x\n", &["-ojson"]);
    assert!(
        out.contains("\"host\":\"stdin\"") && out.contains("\"line\":\"x\""),
        "{out}"
    );
    let (code, out, _) = piped("", &[]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
}

#[test]
fn a_closed_pipe_after_standard_input_is_success() {
    let home = tempfile::tempdir().unwrap();
    let mut child = program(home.path(), &["--stdin", "-oraw"])
        .stdin(File::open("/dev/zero").unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
