//! One pass over one root: which folders are read, what the names in them mean, and what becomes of each file.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use joblog::sandbox::{LATEST, LogFile, RunDir};
use rustix::fs::{Dir, FileType};

use super::{
    Answer, Found, Known, MAX_DEPTH, MAX_ENTRIES, MAX_NOTES, MAX_PASSES_WAITING, Note,
    PASSES_UNTIL_READ_AGAIN, Place, Seen, Summary, TIME_GRAIN_NS, Trouble,
};
use crate::beneath::{Beneath, FolderStamp, NotOpened};
use crate::file_id::Inode;
use crate::identity::{AgentState, TaskIdentity};
use crate::pattern::Progress;
use crate::rules::{Certainty, Rules, Taken, WalkId};

/// The folder of the processes' logs, below the folder of a run.
const LOGS: &[u8] = b"sandbox/.logs";

/// What the names in a folder mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// The work folder itself, of which only `slaves` matters: it is never listed.
    Slaves,
    /// `slaves`: agents.
    Agents,
    /// `…/frameworks`.
    Frameworks,
    /// `…/executors`.
    Executors,
    /// `…/runs`.
    Runs,
    /// The folder of one run: `stdout`, `stderr`, and `sandbox/.logs` below.
    Run,
    /// `.logs`: processes.
    Processes,
    /// `.logs/<process>`: starts of the process.
    Starts,
    /// `.logs/<process>/<run>`: its files.
    Streams,
    /// A folder on the way of a pattern.
    Glob(Progress),
}

/// A folder, and what is remembered of it between two passes.
#[derive(Debug)]
pub(super) struct Folder {
    level: Level,
    /// What it was like when it was read.
    stamp: Option<FolderStamp>,
    /// Read it at the next pass, whatever its stamp says.
    again: bool,
    /// The folders in it that matter, by their paths relative to it, in the order of these. No map: there are many folders, and
    /// most hold one or two others.
    folders: Vec<(Box<[u8]>, Folder)>,
    /// The files in it that matter and are not wanted by the caller: names and inodes.
    left: Vec<(Box<[u8]>, u64)>,
    /// How many files in it matter.
    files: u64,
    /// What was wrong when it was read.
    notes: Vec<Note>,
    /// Of the folder of a run.
    run: Option<Box<Run>>,
}

/// What is remembered of a run.
#[derive(Debug)]
struct Run {
    path: Arc<Path>,
    identity: Option<TaskIdentity>,
    /// For how many passes its files have waited for its identity.
    waited: u8,
    /// Whether [`Seen::Done`] was told.
    done: bool,
}

impl Folder {
    pub(super) fn new(level: Level) -> Self {
        Self {
            level,
            stamp: None,
            again: false,
            folders: Vec::new(),
            left: Vec::new(),
            files: 0,
            notes: Vec::new(),
            run: None,
        }
    }

    /// The folder of this name in it, made if need be. For levels that have only this one.
    fn only(&mut self, name: &[u8], level: Level) -> &mut Self {
        if self.folders.is_empty() {
            self.folders.push((name.into(), Self::new(level)));
        }
        &mut self.folders[0].1
    }

    /// Forgets what was in it.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.level);
    }
}

/// The hash of a path.
pub(super) fn place_of(path: &Path) -> Place {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_os_str().as_bytes());
    hasher.finish()
}

/// One pass over one root.
pub(super) struct Pass<'a> {
    pub(super) rules: &'a Rules,
    pub(super) known: &'a mut Known,
    pub(super) agent: Option<&'a AgentState>,
    pub(super) number: u64,
    pub(super) wall_ns: i64,
    pub(super) id: WalkId,
    pub(super) root: &'a Beneath,
    pub(super) root_path: &'a Path,
    pub(super) folders_left: &'a mut usize,
    pub(super) summary: &'a mut Summary,
    pub(super) seen: &'a mut dyn FnMut(Seen) -> Answer,
}

impl Pass<'_> {
    pub(super) fn run(&mut self, top: &mut Folder) {
        self.visit(top, &mut PathBuf::new(), 0, None);
    }

    /// Looks at a folder and everything below it. Answers whether it is still there.
    fn visit(
        &mut self,
        folder: &mut Folder,
        path: &mut PathBuf,
        depth: usize,
        mut run: Option<&mut Run>,
    ) -> bool {
        if *self.folders_left == 0 || depth > MAX_DEPTH {
            self.summary.push_note(Note {
                path: self.root_path.join(&*path),
                trouble: Trouble::Limit,
                cause: "too many folders, or too deep: this one is not looked into".to_owned(),
            });
            return true;
        }
        *self.folders_left -= 1;
        if folder.level == Level::Slaves {
            let agents = folder.only(b"slaves", Level::Agents);
            self.visit_child(agents, b"slaves", path, depth, None);
            return true;
        }
        self.summary.folders += 1;
        let stamp = match self.root.stamp(path) {
            Ok(stamp) => stamp,
            Err(NotOpened::Gone) => return false,
            Err(error) => {
                self.summary.note(&self.root_path.join(&*path), error);
                return !matches!(error, NotOpened::Link | NotOpened::Kind);
            }
        };
        let mut own_run = None;
        if folder.level == Level::Run {
            own_run = folder.run.take();
            let run_dir: Arc<Path> = match &own_run {
                Some(run) => run.path.clone(),
                None => self.root_path.join(&*path).into(),
            };
            own_run.get_or_insert_with(|| {
                Box::new(Run {
                    path: run_dir,
                    identity: None,
                    waited: 0,
                    done: false,
                })
            });
        }
        let run = match &mut own_run {
            Some(own) => Some(&mut **own),
            None => run.take(),
        };
        self.visit_inside(folder, path, depth, stamp, run);
        folder.run = own_run;
        true
    }

    fn visit_inside(
        &mut self,
        folder: &mut Folder,
        path: &mut PathBuf,
        depth: usize,
        stamp: FolderStamp,
        mut run: Option<&mut Run>,
    ) {
        // Before anything is read: what is written until the end of the executor must have been seen when the end is told.
        let ends = match &run {
            Some(run) if folder.level == Level::Run && !run.done => self.is_done(path, run),
            _ => false,
        };
        // Spread over the passes by the inode.
        let due = (self.number + stamp.ino).is_multiple_of(PASSES_UNTIL_READ_AGAIN);
        if folder.again || due || folder.stamp != Some(stamp) {
            self.read(folder, path, run.as_deref_mut());
        }
        self.summary.files += folder.files;
        for note in &folder.notes {
            self.summary.push_note(note.clone());
        }
        if folder.level == Level::Run {
            let logs = folder.only(LOGS, Level::Processes);
            self.visit_child(logs, LOGS, path, depth, run.as_deref_mut());
        } else {
            folder.folders.retain_mut(|(name, child)| {
                self.visit_child(child, name, path, depth, run.as_deref_mut())
            });
        }
        if let Some(run) = run
            && folder.level == Level::Run
        {
            if run.identity.is_none() && run.waited > 0 {
                run.waited = run.waited.saturating_add(1);
            }
            // What waits for its owner must be told first.
            if ends && !(run.identity.is_none() && run.waited > 0) {
                run.done = true;
                let run_dir = run.path.clone();
                (self.seen)(Seen::Done { run_dir });
            }
        }
    }

    fn visit_child(
        &mut self,
        child: &mut Folder,
        name: &[u8],
        path: &mut PathBuf,
        depth: usize,
        run: Option<&mut Run>,
    ) -> bool {
        path.push(OsStr::from_bytes(name));
        let there = self.visit(child, path, depth + 1, run);
        if !there {
            child.clear();
        }
        for _ in name.split(|&byte| byte == b'/') {
            path.pop();
        }
        there
    }

    /// Whether the agent has recorded the end of a run's executor.
    fn is_done(&self, path: &Path, run: &Run) -> bool {
        if self
            .root
            .exists(&Path::new("meta").join(path).join("executor.sentinel"))
        {
            return true;
        }
        // For those who may not read the records: Thermos says it too. A job can say so itself, which hurts only itself.
        if run
            .identity
            .as_ref()
            .is_some_and(|one| one.certainty == Certainty::TaskInfo)
        {
            return false;
        }
        let known = run
            .identity
            .as_ref()
            .and_then(|identity| identity.task_id.clone());
        let task = known.or_else(|| {
            let (dir, _) = RunDir::parse(run.path.as_os_str().as_bytes())?;
            TaskIdentity::guessed(dir.executor).task_id
        });
        task.is_some_and(|task| {
            self.root
                .exists(&path.join("checkpoints/tasks/finished").join(task))
        })
    }

    /// Reads a folder: notes the folders in it and looks at the files.
    fn read(&mut self, folder: &mut Folder, path: &Path, mut run: Option<&mut Run>) {
        folder.notes.clear();
        let (descriptor, stamp) = match self.root.folder(path) {
            Ok(opened) => opened,
            // It went meanwhile, which the pass over the folder above will show.
            Err(NotOpened::Gone) => return,
            Err(error) => {
                // Looked at again when its time comes, or when it changes.
                folder.stamp = self.root.stamp(path).ok();
                folder.again = false;
                folder.files = 0;
                self.note(folder, path, error);
                return;
            }
        };
        self.summary.folders_read += 1;
        folder.stamp = Some(stamp);
        folder.again = self.wall_ns.saturating_sub(stamp.mtime_ns) < TIME_GRAIN_NS;
        folder.files = 0;
        let mut folders = Vec::new();
        let left = std::mem::take(&mut folder.left);
        let entries = match Dir::new(descriptor) {
            Ok(entries) => entries,
            Err(error) => return self.note(folder, path, error.into()),
        };
        for (count, entry) in entries.enumerate() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.note(folder, path, error.into());
                    folder.again = true;
                    break;
                }
            };
            if count >= MAX_ENTRIES {
                folder.notes.push(Note {
                    path: self.root_path.join(path),
                    trouble: Trouble::Limit,
                    cause: format!("more than {MAX_ENTRIES} entries: the others are not looked at"),
                });
                break;
            }
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.root.kind(&path.join(OsStr::from_bytes(name))),
                kind => kind,
            };
            if kind == FileType::Directory
                && let Some((below, level)) = self.level_of(folder.level, name)
            {
                let known = folder
                    .folders
                    .binary_search_by(|(name, _)| (**name).cmp(&below))
                    .ok();
                let known = known
                    .map(|at| std::mem::replace(&mut folder.folders[at].1, Folder::new(level)));
                let known = known.filter(|known| known.level == level);
                folders.push((
                    below.into_boxed_slice(),
                    known.unwrap_or_else(|| Folder::new(level)),
                ));
            }
            // A link of a name that matters is worth a note.
            let is_file = matches!(kind, FileType::RegularFile | FileType::Symlink);
            if is_file && self.is_log(folder.level, name) {
                let inode = Inode {
                    dev: stamp.dev,
                    ino: entry.ino(),
                };
                if left
                    .iter()
                    .any(|(one, ino)| **one == *name && *ino == inode.ino)
                {
                    folder.files += 1;
                    folder.left.push((name.into(), inode.ino));
                    continue;
                }
                self.file(
                    folder,
                    &path.join(OsStr::from_bytes(name)),
                    inode,
                    stamp,
                    run.as_deref_mut(),
                );
            }
        }
        if folder.level == Level::Run {
            // Not listed there: the sandbox is the job's, and may hold millions of files.
            return;
        }
        folders.sort_unstable_by(|(one, _), (two, _)| one.cmp(two));
        folders.shrink_to_fit();
        folder.folders = folders;
    }

    /// What a folder of this name means, and how what matters of it is called.
    fn level_of(&self, level: Level, name: &[u8]) -> Option<(Vec<u8>, Level)> {
        let below = |fixed: &[u8], level| Some(([name, b"/", fixed].concat(), level));
        match level {
            Level::Slaves | Level::Run | Level::Streams => None,
            Level::Agents => below(b"frameworks", Level::Frameworks),
            Level::Frameworks => below(b"executors", Level::Executors),
            Level::Executors => below(b"runs", Level::Runs),
            Level::Runs => (name != LATEST).then(|| (name.to_vec(), Level::Run)),
            Level::Processes => Some((name.to_vec(), Level::Starts)),
            Level::Starts => {
                let is_number = name.iter().all(u8::is_ascii_digit);
                is_number.then(|| (name.to_vec(), Level::Streams))
            }
            Level::Glob(progress) => {
                let next = self.rules.pattern(self.id)?.enter(progress, name);
                (!next.is_over()).then(|| (name.to_vec(), Level::Glob(next)))
            }
        }
    }

    /// Whether a file of this name may matter; the rules have the last word.
    fn is_log(&self, level: Level, name: &[u8]) -> bool {
        match level {
            Level::Run | Level::Streams => {
                name.starts_with(b"stdout") || name.starts_with(b"stderr")
            }
            Level::Glob(progress) => {
                let pattern = self.rules.pattern(self.id);
                pattern.is_some_and(|pattern| pattern.accepts(progress, name))
            }
            _ => false,
        }
    }

    /// Looks at a file that may matter.
    fn file(
        &mut self,
        folder: &mut Folder,
        path: &Path,
        listed: Inode,
        stamp: FolderStamp,
        run: Option<&mut Run>,
    ) {
        let whole = self.root_path.join(path);
        let Ok(taken) = self.rules.take(&whole) else {
            return;
        };
        // Another walk comes across it, and is the one that says whose it is.
        if taken.walk != self.id {
            return;
        }
        folder.files += 1;
        if self.is_known(listed, &whole) {
            return;
        }
        let taken = match run {
            None => Some(taken),
            Some(run) => self.identified(taken, path, run),
        };
        let Some(taken) = taken else {
            folder.again = true;
            self.summary.waiting_for_agent += 1;
            return;
        };
        let (file, stat) = match self.root.file(path) {
            Ok(opened) => opened,
            // It was renamed or removed since, so that the folder has changed since it was read.
            Err(NotOpened::Gone) => return,
            Err(NotOpened::Busy) => {
                folder.again = true;
                return;
            }
            Err(error) => {
                folder.files -= 1;
                return self.note(folder, path, error);
            }
        };
        let inode = stat.id.inode();
        // The listing is older than the file, or of a file system that numbers listings otherwise.
        if inode != listed && self.is_known(inode, &whole) {
            return;
        }
        if stat.links > 1 && stat.uid != stamp.uid {
            if folder.notes.len() < MAX_NOTES {
                folder.notes.push(Note {
                    path: whole,
                    trouble: Trouble::ForeignLink,
                    cause: format!(
                        "it has {} names and belongs to user {}, its folder to user {}: it may be a link to a file that \
                         the job cannot read",
                        stat.links, stat.uid, stamp.uid
                    ),
                });
            }
            return;
        }
        self.summary.new_files += 1;
        let place = place_of(&whole);
        let answer = (self.seen)(Seen::New(Found {
            file,
            stat,
            path: whole,
            rule: taken.rule,
            owner: taken.owner,
        }));
        match answer {
            Answer::Kept => {
                self.known.insert(inode, Some(place));
            }
            Answer::Again => folder.again = true,
            Answer::Left => {
                let name = path.file_name().unwrap_or_default();
                folder.left.push((name.as_bytes().into(), inode.ino));
            }
        }
    }

    /// Whether a file is known; if it lies elsewhere than before, that is told.
    fn is_known(&mut self, inode: Inode, path: &Path) -> bool {
        let Some(place) = self.known.get_mut(&inode) else {
            return false;
        };
        let now = place_of(path);
        if *place != Some(now) {
            let before = place.replace(now);
            if before.is_some() {
                (self.seen)(Seen::Moved {
                    inode,
                    path: path.to_owned(),
                });
            }
        }
        true
    }

    /// With the job filled in. `None`: not yet.
    fn identified(&mut self, mut taken: Taken, path: &Path, run: &mut Run) -> Option<Taken> {
        let whole = self.root_path.join(path);
        let bytes = whole.as_os_str().as_bytes();
        let (dir, below) = RunDir::parse(bytes)?;
        let log = LogFile::parse(below)?;
        if run.identity.is_none() {
            let labels = &self.rules.config().ids.git_sha_labels;
            let relative = run.path.strip_prefix(self.root_path).unwrap_or(&run.path);
            run.identity = TaskIdentity::recorded(self.root, relative, dir.executor, labels)
                .or_else(|| self.agent?.of_container(dir.container).cloned());
            if run.identity.is_none() {
                if run.waited <= MAX_PASSES_WAITING {
                    run.waited = run.waited.max(1);
                    return None;
                }
                run.identity = Some(TaskIdentity::guessed(dir.executor));
            }
        }
        let identity = run.identity.as_ref()?;
        taken.owner = self
            .rules
            .owner_in_sandbox(identity, &log, run.path.clone());
        Some(taken)
    }

    fn note(&mut self, folder: &mut Folder, path: &Path, error: NotOpened) {
        let mut one = Summary::default();
        one.note(&self.root_path.join(path), error);
        if folder.notes.len() < MAX_NOTES {
            folder.notes.append(&mut one.notes);
        }
    }
}
