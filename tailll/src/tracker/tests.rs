use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::chain::Layout;
use crate::instance::Files;
use crate::transport::{FileKind, FileStat, Listing};

const SANDBOX: &str = "/m/slaves/S/frameworks/F/executors/thermos-t/runs/latest/sandbox/.logs";

fn sandbox_layout() -> Layout {
    Layout::new(&Files::Sandbox {
        slave_root: "/m".to_owned(),
        run_directory: "latest".to_owned(),
        task_id: "t".to_owned(),
    })
    .expect("a layout")
}

fn plain_layout() -> Layout {
    Layout::new(&Files::Globs(vec!["/v/*.log".to_owned()])).expect("a layout")
}

fn id(inode: u64) -> FileId {
    FileId { device: 1, inode }
}

/// A file as a scenario lists it.
#[derive(Debug, Clone, Copy)]
struct Listed<'a> {
    path: &'a str,
    inode: u64,
    size: u64,
    modified_s: i64,
}

fn file(path: &str, inode: u64, size: u64) -> Listed<'_> {
    Listed {
        path,
        inode,
        size,
        modified_s: 0,
    }
}

fn dated(path: &str, inode: u64, size: u64, modified_s: i64) -> Listed<'_> {
    Listed {
        modified_s,
        ..file(path, inode, size)
    }
}

/// A tracker, its listings, and how far the readers are that it asked for.
struct World {
    layout: Layout,
    tracker: Tracker,
    now: Instant,
    readers: HashMap<FileId, (u64, Option<Instant>)>,
}

impl World {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            tracker: Tracker::default(),
            now: Instant::now(),
            readers: HashMap::new(),
        }
    }

    fn sandbox() -> Self {
        Self::new(sandbox_layout())
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// The file's reader is at this offset, and read there just now.
    fn read(&mut self, inode: u64, offset: u64) {
        self.readers.insert(id(inode), (offset, Some(self.now)));
    }

    /// The file's reader has lost its connection.
    fn disconnect(&mut self, inode: u64) {
        if let Some((_, last)) = self.readers.get_mut(&id(inode)) {
            *last = None;
        }
    }

    /// A second later, what a listing leads to.
    fn list(&mut self, files: &[Listed<'_>]) -> Vec<String> {
        self.pass(1_000);
        let files = files
            .iter()
            .map(|file| FileStat {
                id: id(file.inode),
                size: file.size,
                modified_s: file.modified_s,
                birth_s: None,
                kind: FileKind::Regular,
                path: if file.path.starts_with('/') {
                    file.path.as_bytes().to_vec()
                } else {
                    format!("{SANDBOX}/{}", file.path).into_bytes()
                },
            })
            .collect();
        let links = self.layout.links(&Listing {
            files,
            denied: Vec::new(),
        });
        let progress = progress_of(&self.readers, self.now);
        let actions = self.tracker.update(&links, progress, self.now);
        words(&actions)
    }

    fn poll(&mut self) -> Vec<String> {
        let progress = progress_of(&self.readers, self.now);
        words(&self.tracker.poll(progress, self.now))
    }

    fn is_drained(&self) -> bool {
        self.tracker
            .is_drained(progress_of(&self.readers, self.now))
    }
}

fn progress_of(
    readers: &HashMap<FileId, (u64, Option<Instant>)>,
    now: Instant,
) -> impl Fn(FileId) -> Progress {
    move |id| {
        let (offset, last) = readers.get(&id).copied().unwrap_or((0, None));
        Progress {
            offset,
            idle: last.map(|last| now.duration_since(last)),
        }
    }
}

/// Actions in words, sorted since their order among files does not matter.
fn words(actions: &[Action]) -> Vec<String> {
    let mut words: Vec<String> = actions
        .iter()
        .map(|action| match action {
            Action::Start { link, begin, hold } => {
                let begin = match begin {
                    Begin::AtZero => "zero".to_owned(),
                    Begin::History(older) => {
                        let older: Vec<String> = older
                            .iter()
                            .map(|link| link.stat.id.inode.to_string())
                            .collect();
                        format!("history[{}]", older.join(" "))
                    }
                };
                let hold = match hold {
                    Hold::Free => "free",
                    Hold::Held => "held",
                };
                format!("start {} {begin} {hold}", link.stat.id.inode)
            }
            Action::Release(id) => format!("release {}", id.inode),
            Action::Close(id) => format!("close {}", id.inode),
            Action::Refuse(link) => format!("refuse {}", link.stat.id.inode),
        })
        .collect();
    words.sort();
    words
}

const NOTHING: [&str; 0] = [];

#[test]
fn the_first_listing_starts_the_newest_of_each_chain_with_the_older_ones_as_its_history() {
    let mut world = World::sandbox();
    let files = [
        file("a/0/stdout", 1, 10),
        file("a/1/stdout.2", 2, 10),
        file("a/1/stdout.1", 3, 10),
        file("a/1/stdout", 4, 10),
        file("a/1/stderr", 5, 0),
        file("b/0/stdout.1", 6, 10),
    ];
    assert_eq!(
        world.list(&files),
        [
            "start 4 history[3 2 1] free",
            "start 5 history[] free",
            // Its live file is missing just now.
            "start 6 history[] free",
        ]
    );
    assert_eq!(world.list(&files), NOTHING);
}

#[test]
fn a_file_that_is_born_later_is_read_from_its_first_byte() {
    let mut world = World::sandbox();
    assert_eq!(world.list(&[]), NOTHING);
    assert_eq!(
        world.list(&[file("a/0/stdout", 1, 10)]),
        ["start 1 zero free"]
    );
    assert_eq!(
        world.list(&[file("a/0/stdout", 1, 20), file("a/0/stderr", 2, 5)]),
        ["start 2 zero free"]
    );
}

#[test]
fn a_renamed_file_is_drained_before_the_fresh_one_is_let_go_and_closed_a_minute_later() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    let both = [file("a/0/stdout.1", 1, 20), file("a/0/stdout", 2, 5)];
    assert_eq!(world.list(&both), ["start 2 zero held"]);
    assert!(world.tracker.is_waiting());
    world.read(2, 5);
    world.pass(600);
    assert_eq!(world.poll(), NOTHING, "ten bytes are unread");
    world.read(1, 20);
    world.pass(DRAINED_AFTER.as_millis() as u64 - 1);
    assert_eq!(world.poll(), NOTHING, "more may come");
    world.pass(1);
    assert_eq!(world.poll(), ["release 2"]);
    assert!(!world.tracker.is_waiting());
    // Its writer may have it open still.
    for _ in 0..58 {
        assert_eq!(world.list(&both), NOTHING);
    }
    let mut closed = Vec::new();
    for _ in 0..3 {
        closed.extend(world.list(&both));
    }
    assert_eq!(closed, ["close 1"]);
    // From now on it is one of the older files, whatever happens to it.
    assert_eq!(world.list(&both), NOTHING);
    assert_eq!(
        world.list(&[
            file("a/0/stdout.2", 1, 20),
            file("a/0/stdout.1", 2, 5),
            file("a/0/stdout", 3, 0)
        ]),
        ["release 3", "start 3 zero held"]
    );
}

#[test]
fn a_renamed_file_that_is_still_written_holds_the_fresh_one() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    for size in 2..20 {
        world.read(1, size * 10);
        let files = [
            file("a/0/stdout.1", 1, size * 10 + 1),
            file("a/0/stdout", 2, 5),
        ];
        world.list(&files);
        assert_eq!(world.poll(), NOTHING);
    }
}

#[test]
fn a_file_between_two_rotations_is_read_in_its_place() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    let files = [
        file("a/0/stdout.2", 1, 10),
        file("a/0/stdout.1", 2, 10),
        file("a/0/stdout", 3, 10),
    ];
    assert_eq!(
        world.list(&files),
        ["release 2", "start 2 zero held", "start 3 zero held"]
    );
    world.read(2, 9);
    world.read(3, 10);
    world.pass(600);
    assert_eq!(world.poll(), NOTHING);
    world.read(2, 10);
    world.pass(600);
    assert_eq!(world.poll(), ["release 3"]);
}

#[test]
fn a_shift_of_numbers_starts_nothing() {
    let mut world = World::sandbox();
    let before = [
        file("a/0/stdout.2", 1, 10),
        file("a/0/stdout.1", 2, 10),
        file("a/0/stdout", 3, 10),
    ];
    assert_eq!(world.list(&before), ["start 3 history[2 1] free"]);
    world.read(3, 10);
    let after = [
        file("a/0/stdout.3", 1, 10),
        file("a/0/stdout.2", 2, 10),
        file("a/0/stdout.1", 3, 10),
    ];
    // The fresh file may not be there yet.
    assert_eq!(world.list(&after), NOTHING);
    let fresh = file("a/0/stdout", 4, 0);
    assert_eq!(
        world.list(&[&after[..], &[fresh]].concat()),
        ["release 4", "start 4 zero held"]
    );
}

#[test]
fn a_copy_of_a_file_that_was_truncated_is_not_read() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    assert_eq!(
        world.list(&[file("a/0/stdout.1", 2, 10), file("a/0/stdout", 1, 0)]),
        NOTHING
    );
}

#[test]
fn a_copy_is_not_read_while_an_earlier_run_is_kept_open() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    let runs = [file("a/0/stdout", 1, 10), file("a/1/stdout", 2, 30)];
    assert_eq!(world.list(&runs), ["release 2", "start 2 zero held"]);
    world.read(2, 30);
    let copied = [
        file("a/0/stdout", 1, 10),
        file("a/1/stdout.1", 3, 30),
        file("a/1/stdout", 2, 0),
    ];
    assert_eq!(world.list(&copied), NOTHING);
}

#[test]
fn a_file_that_was_truncated_does_not_hold_its_successor_for_ever() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 1_000_000)]);
    world.read(1, 1_000_000);
    world.list(&[file("a/0/stdout", 1, 7)]);
    world.read(1, 7);
    assert_eq!(
        world.list(&[file("a/0/stdout", 1, 7), file("a/1/stdout", 2, 5)]),
        ["release 2", "start 2 zero held"]
    );
    world.read(2, 5);
    // Nor does its removal wait for bytes that will never come.
    assert_eq!(world.list(&[file("a/1/stdout", 2, 5)]), NOTHING);
    assert_eq!(world.list(&[file("a/1/stdout", 2, 5)]), ["close 1"]);
}

#[test]
fn a_removed_file_is_closed_after_two_misses_once_it_is_drained() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    assert_eq!(world.list(&[]), NOTHING, "it may be just being renamed");
    assert_eq!(world.list(&[]), ["close 1"]);

    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 9);
    for _ in 0..5 {
        assert_eq!(world.list(&[]), NOTHING, "a byte is unread");
    }
    world.read(1, 10);
    world.pass(600);
    assert_eq!(world.poll(), ["close 1"]);
    // Its inode is another file's now.
    assert_eq!(
        world.list(&[file("a/0/stdout", 1, 3)]),
        ["start 1 zero free"]
    );
}

#[test]
fn a_miss_in_between_is_forgotten() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 10);
    for _ in 0..5 {
        assert_eq!(world.list(&[]), NOTHING);
        assert_eq!(world.list(&[file("a/0/stdout", 1, 10)]), NOTHING);
    }
}

#[test]
fn an_inode_that_comes_back_as_the_live_file_is_a_new_file() {
    let mut world = World::sandbox();
    assert_eq!(
        world.list(&[file("a/0/stdout.1", 1, 10), file("a/0/stdout", 2, 10)]),
        ["start 2 history[1] free"]
    );
    world.read(2, 10);
    assert_eq!(
        world.list(&[file("a/0/stdout.1", 2, 10), file("a/0/stdout", 1, 4)]),
        ["release 1", "start 1 zero held"]
    );
}

#[test]
fn an_inode_that_comes_back_in_another_chain_is_a_new_file() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout.1", 1, 10), file("a/0/stdout", 2, 10)]);
    assert_eq!(
        world.list(&[file("a/0/stdout", 2, 10), file("b/0/stdout", 1, 4)]),
        ["start 1 zero free"]
    );
}

#[test]
fn an_older_file_that_is_written_late_is_not_shown_again() {
    let mut world = World::new(plain_layout());
    let first = [
        dated("/v/app.log-20260101", 1, 10, 100),
        dated("/v/app.log", 2, 10, 150),
    ];
    assert_eq!(world.list(&first), ["start 2 history[1] free"]);
    world.read(2, 10);
    // The live one is renamed, is kept open, and is now the oldest that is read; then the first gets a late line.
    let renamed = [
        dated("/v/app.log-20260101", 1, 10, 100),
        dated("/v/app.log-20260102", 2, 10, 150),
        dated("/v/app.log", 3, 10, 160),
    ];
    assert_eq!(world.list(&renamed), ["release 3", "start 3 zero held"]);
    world.read(3, 10);
    let late = [
        dated("/v/app.log-20260101", 1, 20, 170),
        dated("/v/app.log-20260102", 2, 10, 150),
        dated("/v/app.log", 3, 10, 160),
    ];
    assert_eq!(world.list(&late), NOTHING);
}

#[test]
fn a_new_run_waits_for_the_end_of_the_one_before() {
    let mut world = World::sandbox();
    world.list(&[file("a/0/stdout", 1, 10)]);
    world.read(1, 5);
    let runs = [file("a/0/stdout", 1, 10), file("a/1/stdout", 2, 10)];
    assert_eq!(world.list(&runs), ["start 2 zero held"]);
    world.disconnect(1);
    world.pass(5_000);
    assert_eq!(world.poll(), NOTHING, "what is not open is not drained");
    world.read(1, 10);
    world.pass(600);
    assert_eq!(world.poll(), ["release 2"]);
}

#[test]
fn of_a_crash_loop_only_the_last_runs_are_kept_open() {
    let mut world = World::sandbox();
    let paths: Vec<String> = (0..40).map(|run| format!("a/{run}/stdout")).collect();
    let mut open = BTreeSet::new();
    let mut started = 0;
    for run in 0..40 {
        let files: Vec<Listed<'_>> = (0..=run)
            .map(|run| file(&paths[run], run as u64 + 1, 10))
            .collect();
        let actions = world.list(&files);
        for action in actions {
            let parts: Vec<&str> = action.split(' ').collect();
            match parts[0] {
                "start" => {
                    started += 1;
                    assert!(open.insert(parts[1].to_owned()));
                }
                "close" => assert!(open.remove(parts[1])),
                _ => {}
            }
        }
        world.read(run as u64 + 1, 10);
        assert!(open.len() <= KEPT_PER_CHAIN + 2, "{open:?}");
    }
    assert_eq!(started, 40);
}

#[test]
fn above_the_limit_files_are_refused_once() {
    let paths: Vec<String> = (0..FILES_PER_INSTANCE + 2)
        .map(|number| format!("{number}/0/stdout"))
        .collect();
    let files: Vec<Listed<'_>> = (1..)
        .zip(&paths)
        .map(|(inode, path)| file(path, inode, 10))
        .collect();
    let mut world = World::sandbox();
    let actions = world.list(&files);
    let count = |word: &str| actions.iter().filter(|one| one.starts_with(word)).count();
    assert_eq!((count("start"), count("refuse")), (FILES_PER_INSTANCE, 2));
    assert_eq!(world.list(&files), NOTHING);
    // Once there is room they are read.
    for inode in 1..=FILES_PER_INSTANCE as u64 + 2 {
        world.read(inode, 10);
    }
    world.tracker.removed(id(1));
    let last = actions
        .iter()
        .find(|one| one.starts_with("refuse"))
        .expect("a refusal");
    let started = world.list(&files);
    assert_eq!(started.len(), 1, "{last}: {started:?}");
}

#[test]
fn a_reader_that_ended_is_not_started_again() {
    let mut world = World::sandbox();
    let files = [file("a/0/stdout", 1, 10)];
    world.list(&files);
    world.tracker.read(id(1));
    for _ in 0..3 {
        assert_eq!(world.list(&files), NOTHING);
    }
    // But what follows it is.
    assert_eq!(
        world.list(&[file("a/0/stdout.1", 1, 10), file("a/0/stdout", 2, 10)]),
        ["start 2 zero free"]
    );
}

#[test]
fn an_instance_is_drained_when_all_is_read_and_nothing_waits() {
    let mut world = World::sandbox();
    assert!(world.is_drained());
    world.list(&[file("a/0/stdout", 1, 10), file("a/0/stderr", 2, 0)]);
    assert!(!world.is_drained());
    world.read(1, 10);
    world.read(2, 0);
    assert!(!world.is_drained());
    world.pass(600);
    assert!(world.is_drained());
    world.list(&[
        file("a/0/stdout", 1, 20),
        file("a/0/stderr", 2, 0),
        file("a/1/stdout", 3, 0),
    ]);
    world.read(3, 0);
    world.pass(600);
    assert!(!world.is_drained());
    world.read(1, 20);
    world.pass(600);
    assert!(!world.is_drained(), "the new run is still held");
    world.poll();
    assert!(world.is_drained());
}

/// A folder that writers and a rotation work in, with inodes that are used again as soon as nobody has them open.
#[derive(Debug, Default)]
struct Disk {
    /// Contents by inode; a line is a number of eight bytes.
    files: BTreeMap<u64, Content>,
    /// Inodes by path.
    names: BTreeMap<String, u64>,
    next_serial: u32,
}

#[derive(Debug, Clone, Default)]
struct Content {
    /// What tells files with the same inode apart.
    serial: u32,
    lines: Vec<u32>,
}

const LINE_BYTES: u64 = 8;

impl Disk {
    /// A new file, with the lowest inode that is free.
    fn create(&mut self, path: String) -> u64 {
        let inode = (1..=u64::MAX)
            .find(|inode| !self.files.contains_key(inode))
            .expect("a free inode");
        self.next_serial += 1;
        let content = Content {
            serial: self.next_serial,
            lines: Vec::new(),
        };
        self.files.insert(inode, content);
        self.names.insert(path, inode);
        inode
    }

    /// Frees the inodes that have no name and that nobody has open.
    fn sweep(&mut self, open: &BTreeSet<u64>) {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files
            .retain(|inode, _| named.contains(inode) || open.contains(inode));
    }
}

/// A process's log: where its writer is, and what it wrote.
#[derive(Debug)]
struct Writer {
    process: &'static str,
    run: u32,
    inode: u64,
    written: Vec<u32>,
}

impl Writer {
    fn live(&self) -> String {
        format!("{}/{}/stdout", self.process, self.run)
    }

    fn rotated(&self, number: u32) -> String {
        format!("{}.{number}", self.live())
    }
}

/// Reads a file as a perfect reader would: everything there is at each look.
#[derive(Debug)]
struct Ideal {
    process: String,
    serial: u32,
    position: usize,
    hold: Hold,
    held: Vec<u32>,
    last: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Step {
    /// This many lines of one of the processes.
    Write { process: usize, lines: u32 },
    /// The live file is renamed and the numbers shift. The writer goes on in the old file.
    Rename(usize),
    /// The writer opens the live file afresh.
    Reopen(usize),
    /// Both.
    Rotate(usize),
    /// The process starts again.
    Restart(usize),
    /// The oldest renamed file of a run is removed, if it was read.
    Remove(usize),
    /// The readers stall, or go on.
    Toggle,
    /// Time passes, in ms; the folders are listed every second.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..2_usize;
    prop_oneof![
        6 => (process.clone(), 1..5_u32).prop_map(|(process, lines)| Step::Write { process, lines }),
        1 => process.clone().prop_map(Step::Rename),
        2 => process.clone().prop_map(Step::Reopen),
        3 => process.clone().prop_map(Step::Rotate),
        1 => process.clone().prop_map(Step::Restart),
        2 => process.prop_map(Step::Remove),
        1 => Just(Step::Toggle),
        6 => prop_oneof![4 => 10..700_u64, 1 => 700..3_000_u64, 1 => Just(61_000_u64)].prop_map(Step::Pass),
    ]
}

#[derive(Debug)]
struct Simulation {
    disk: Disk,
    writers: Vec<Writer>,
    layout: Layout,
    tracker: Tracker,
    now: Instant,
    list_at: Instant,
    connected: bool,
    readers: BTreeMap<u64, Ideal>,
    shown: BTreeMap<String, Vec<u32>>,
    next_line: u32,
    removed_since_listing: bool,
    rotated_since_listing: bool,
}

impl Simulation {
    fn new() -> Self {
        let now = Instant::now();
        let mut disk = Disk::default();
        let writers = ["a", "b"]
            .into_iter()
            .map(|process| {
                let mut writer = Writer {
                    process,
                    run: 0,
                    inode: 0,
                    written: Vec::new(),
                };
                writer.inode = disk.create(writer.live());
                writer
            })
            .collect();
        Self {
            disk,
            writers,
            layout: sandbox_layout(),
            tracker: Tracker::default(),
            now,
            list_at: now,
            connected: true,
            readers: BTreeMap::new(),
            shown: BTreeMap::new(),
            next_line: 0,
            removed_since_listing: false,
            rotated_since_listing: false,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write { process, lines } => {
                let writer = &mut self.writers[process];
                for _ in 0..lines {
                    self.next_line += 1;
                    writer.written.push(self.next_line);
                    let content = self.disk.files.get_mut(&writer.inode).expect("a file");
                    content.lines.push(self.next_line);
                }
            }
            Step::Rename(process) => self.rename(process),
            Step::Reopen(process) => self.reopen(process),
            Step::Rotate(process) => {
                self.rename(process);
                self.reopen(process);
            }
            Step::Restart(process) => {
                self.writers[process].run += 1;
                self.reopen(process);
            }
            Step::Remove(process) => self.remove(process),
            Step::Toggle => {
                self.connected = !self.connected;
                if self.connected {
                    self.look();
                }
            }
            Step::Pass(ms) => self.pass(ms),
        }
    }

    fn rename(&mut self, process: usize) {
        let writer = &self.writers[process];
        if !self.disk.names.contains_key(&writer.live()) {
            return;
        }
        // A freed inode that has been through the live place unseen cannot be told from the file that had it.
        if std::mem::replace(&mut self.rotated_since_listing, true) && self.removed_since_listing {
            return;
        }
        let last = (1..=u32::MAX)
            .find(|number| !self.disk.names.contains_key(&writer.rotated(*number)))
            .expect("a free number");
        let mut to = writer.rotated(last);
        for number in (0..last).rev() {
            let from = match number {
                0 => writer.live(),
                number => writer.rotated(number),
            };
            let inode = self.disk.names.remove(&from).expect("a file");
            self.disk.names.insert(to, inode);
            to = from;
        }
    }

    fn reopen(&mut self, process: usize) {
        let writer = &mut self.writers[process];
        let live = writer.live();
        writer.inode = match self.disk.names.get(&live) {
            Some(inode) => *inode,
            None => self.disk.create(live),
        };
        self.sweep();
    }

    fn remove(&mut self, process: usize) {
        let writer = &self.writers[process];
        let Some((path, inode)) = (1..)
            .map(|number| writer.rotated(number))
            .map_while(|path| Some((path.clone(), *self.disk.names.get(&path)?)))
            .last()
        else {
            return;
        };
        let content = &self.disk.files[&inode];
        let shown = self.shown.get(writer.process);
        let is_read = content.lines.iter().all(|line| {
            shown.is_some_and(|shown| shown.contains(line))
                || self
                    .readers
                    .get(&inode)
                    .is_some_and(|reader| reader.held.contains(line))
        });
        // What is removed unread, or was renamed and removed without being seen, is lost to everybody.
        if inode == writer.inode || !is_read || !self.connected || self.rotated_since_listing {
            return;
        }
        self.removed_since_listing = true;
        self.disk.names.remove(&path);
        self.sweep();
    }

    fn sweep(&mut self) {
        let mut open: BTreeSet<u64> = self.writers.iter().map(|writer| writer.inode).collect();
        open.extend(self.readers.keys());
        self.disk.sweep(&open);
    }

    fn pass(&mut self, ms: u64) {
        // The follower looks every 100 ms while something waits.
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = (self.now + Duration::from_millis(100)).min(end);
            self.look();
            let progress = Self::progress(&self.readers, self.connected, self.now);
            let actions = if self.now >= self.list_at && self.connected {
                self.list_at = self.now + Duration::from_secs(1);
                self.removed_since_listing = false;
                self.rotated_since_listing = false;
                self.tracker.update(
                    &self.layout.links(&listing_of(&self.disk)),
                    progress,
                    self.now,
                )
            } else {
                self.tracker.poll(progress, self.now)
            };
            for action in actions {
                self.act(action);
            }
        }
    }

    fn progress(
        readers: &BTreeMap<u64, Ideal>,
        connected: bool,
        now: Instant,
    ) -> impl Fn(FileId) -> Progress {
        move |id| {
            let reader = readers.get(&id.inode);
            Progress {
                offset: reader.map_or(0, |reader| reader.position as u64 * LINE_BYTES),
                idle: reader
                    .filter(|_| connected)
                    .and_then(|reader| reader.last)
                    .map(|last| now.duration_since(last)),
            }
        }
    }

    /// Every reader reads what there is.
    fn look(&mut self) {
        if !self.connected {
            return;
        }
        for (inode, reader) in &mut self.readers {
            let content = &self.disk.files[inode];
            assert_eq!(
                content.serial, reader.serial,
                "an open file keeps its inode"
            );
            let new = &content.lines[reader.position..];
            if !new.is_empty() || reader.last.is_none() {
                reader.last = Some(self.now);
            }
            reader.position = content.lines.len();
            match reader.hold {
                Hold::Free => self
                    .shown
                    .entry(reader.process.clone())
                    .or_default()
                    .extend(new),
                Hold::Held => reader.held.extend(new),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { link, begin, hold } => {
                let ChainKey::Process(process, _) = link.chain else {
                    panic!("a plain file in a sandbox")
                };
                let shown = self.shown.entry(process.clone()).or_default();
                if let Begin::History(older) = begin {
                    for link in older.iter().rev() {
                        shown.extend(&self.disk.files[&link.stat.id.inode].lines);
                    }
                }
                let inode = link.stat.id.inode;
                let reader = Ideal {
                    process,
                    serial: self.disk.files[&inode].serial,
                    position: 0,
                    hold,
                    held: Vec::new(),
                    last: None,
                };
                assert!(
                    self.readers.insert(inode, reader).is_none(),
                    "a file has one reader"
                );
                self.look();
            }
            Action::Release(id) => {
                let reader = self.readers.get_mut(&id.inode).expect("a reader");
                reader.hold = Hold::Free;
                self.shown
                    .entry(reader.process.clone())
                    .or_default()
                    .append(&mut reader.held);
            }
            Action::Close(id) => {
                let reader = self.readers.remove(&id.inode).expect("a reader");
                assert!(reader.held.is_empty() && reader.hold == Hold::Free);
                self.sweep();
            }
            Action::Refuse(link) => panic!("there is room for {link:?}"),
        }
    }
}

fn listing_of(disk: &Disk) -> Listing {
    let files = disk
        .names
        .iter()
        .map(|(path, inode)| FileStat {
            id: id(*inode),
            size: disk.files[inode].lines.len() as u64 * LINE_BYTES,
            modified_s: 0,
            birth_s: None,
            kind: FileKind::Regular,
            path: format!("{SANDBOX}/{path}").into_bytes(),
        })
        .collect();
    Listing {
        files,
        denied: Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_read_once_and_in_order(before in prop::collection::vec(step(), 0..8), steps in prop::collection::vec(step(), 0..60)) {
        let mut simulation = Simulation::new();
        for step in &before {
            // What there is at first.
            if !matches!(step, Step::Pass(_) | Step::Toggle | Step::Remove(_)) {
                simulation.take(step);
            }
        }
        simulation.rotated_since_listing = false;
        for step in &steps {
            simulation.take(step);
        }
        if !simulation.connected {
            simulation.take(&Step::Toggle);
        }
        simulation.pass(70_000);
        for writer in &simulation.writers {
            let empty = Vec::new();
            let shown = simulation.shown.get(writer.process).unwrap_or(&empty);
            prop_assert_eq!(shown, &writer.written, "process {}", writer.process);
        }
        prop_assert!(!simulation.tracker.is_waiting());
        let open = simulation.readers.len();
        prop_assert!(open <= 2, "{} files are open after a minute of silence", open);
    }
}
