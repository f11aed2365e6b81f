//! Seams: where the archive's part of a log ends and its live file goes on.
//!
//! A seam is an offset in a file and not a time. Which file it is is told by its inode and birth, its place among the job's logs, and the
//! bytes before the seam, which are compared. Owns what is known of each seam, the choice among them, and the archive's last
//! rows, which wait here to be ordered together with what the live files hold. Reads nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use archive::{AgentId, Origin, SrcParts};
use joblog::Stream;

use crate::batch::{Batch, Mark};
use crate::lock::lock;
use crate::source::{FileLabel, InstanceLabel, Source};
use crate::transport::Identity;

/// The most bytes before a seam that are compared.
pub const CHECKED_BYTES: usize = 64;

/// The fewest bytes by which a file is known that has another inode: a copy.
pub const COPY_BYTES: usize = 16;

/// The most seams that a file is compared with, in seams: each is a question to the host.
pub const SEAMS_COMPARED: usize = 8;

/// One log of one task: a stream of one run of a process, or of the executor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogKey {
    task_id: String,
    process: Option<String>,
    run: u32,
    stream: Stream,
}

impl LogKey {
    /// Of a file that is followed; only files of tasks are in the archive by their logs.
    pub fn of(instance: &InstanceLabel, file: &FileLabel) -> Option<Self> {
        let (process, run, stream) = match file {
            FileLabel::Process {
                process,
                run,
                stream,
            } => (Some(process.clone()), *run, *stream),
            FileLabel::Executor { stream } => (None, 0, *stream),
            FileLabel::Plain { .. } => return None,
        };
        Some(Self {
            task_id: instance.task_id.clone()?,
            process,
            run,
            stream,
        })
    }

    /// Whose it is.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }
}

/// What a file of the archive is called.
pub fn file_label(origin: &Origin) -> FileLabel {
    let stream = origin.stream.as_deref();
    let known = [Stream::Stdout, Stream::Stderr]
        .into_iter()
        .find(|known| stream == Some(known.name()));
    match (known, &origin.process) {
        (Some(stream), Some(process)) => FileLabel::Process {
            process: process.clone(),
            run: origin.run,
            stream,
        },
        (Some(stream), None) => FileLabel::Executor { stream },
        (None, _) => FileLabel::Plain {
            path: stream.unwrap_or("?").to_owned(),
        },
    }
}

/// What of a file came from the archive last and has not been shown yet.
#[derive(Debug)]
pub enum Rest {
    /// Lines.
    Lines(Batch),
    /// A last line without an end, which lies behind the seam: for files that nobody goes on with.
    Unfinished(Batch),
    /// Something among them.
    Mark(Mark),
}

/// The end of what the archive has of one file in one epoch.
#[derive(Debug)]
pub struct Seam {
    /// Whose file it is and what it is called.
    pub source: Arc<Source>,
    /// The file's name in the archive.
    pub src: String,
    /// Which file it is on its host.
    pub identity: Identity,
    /// How often it had been truncated.
    pub epoch: u32,
    /// Where the file goes on.
    pub offset: u64,
    /// Bytes of the file as the archive has them; at most [`CHECKED_BYTES`].
    pub check: Vec<u8>,
    /// Where in the file those end; at the offset, unless what lies between was masked.
    pub check_end: u64,
    /// The newest time of its rows, in ns since 1970.
    pub newest_ns: i64,
    /// Whether the archive has the file to its end.
    pub is_finished: bool,
    /// Whether a filter kept the last record.
    pub record_kept: Option<bool>,
    /// Its last rows.
    pub rest: Vec<Rest>,
}

impl Seam {
    /// At the beginning of a file.
    pub fn new(source: Arc<Source>, src: String, identity: Identity, epoch: u32) -> Self {
        Self {
            source,
            src,
            identity,
            epoch,
            offset: 0,
            check: Vec::new(),
            check_end: 0,
            newest_ns: i64::MIN,
            is_finished: false,
            record_kept: None,
            rest: Vec::new(),
        }
    }
}

/// A seam as a reader wants it, without the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which it is, for [`Seams::take_rest`].
    pub number: usize,
    /// See [`Seam`], as for all of them.
    pub offset: u64,
    /// See [`Seam`].
    pub check: Vec<u8>,
    /// See [`Seam`].
    pub check_end: u64,
    /// See [`Seam`].
    pub newest_ns: i64,
    /// See [`Seam`].
    pub record_kept: Option<bool>,
}

impl Place {
    /// Where the bytes to compare begin.
    pub fn check_start(&self) -> u64 {
        self.check_end - self.check.len() as u64
    }

    /// The bytes right before the offset, if they are known.
    pub fn before(&self) -> &[u8] {
        if self.check_end == self.offset {
            &self.check
        } else {
            &[]
        }
    }
}

/// The seams that a file may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidates {
    /// Those of the file itself, by its inode and birth, the likeliest first: if none fits, the file's bytes are new.
    Own(Vec<Place>),
    /// None is of its inode and birth. It may be a copy of one of these.
    Copy(Vec<Place>),
}

/// All seams of what was read from the archive.
#[derive(Debug, Default)]
pub struct Seams {
    by_log: HashMap<LogKey, Vec<usize>>,
    all: Mutex<Vec<Seam>>,
    /// Tasks of which rows were left to the live files.
    cut: HashSet<String>,
}

impl Seams {
    /// Of these.
    pub fn new(seams: Vec<Seam>) -> Self {
        let mut by_log: HashMap<LogKey, Vec<usize>> = HashMap::new();
        for (number, seam) in seams.iter().enumerate() {
            if let Some(log) = LogKey::of(&seam.source.instance, &seam.source.file) {
                by_log.entry(log).or_default().push(number);
            }
        }
        Self {
            by_log,
            all: Mutex::new(seams),
            cut: HashSet::new(),
        }
    }

    /// The same, where rows of these tasks were left to their live files.
    #[must_use]
    pub fn with_cut(self, tasks: HashSet<String>) -> Self {
        Self { cut: tasks, ..self }
    }

    /// Whether rows of a task were left to its live files, so that they have to be looked at.
    pub fn is_cut(&self, task_id: &str) -> bool {
        self.cut.contains(task_id)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_log.is_empty()
    }

    /// What the archive has of a task.
    pub fn of_task(&self, task_id: &str) -> OfTask {
        let seams = lock(&self.all);
        let mut all = OfTask::Nothing;
        for seam in seams
            .iter()
            .filter(|seam| seam.source.instance.task_id.as_deref() == Some(task_id))
        {
            // A truncated file's earlier epochs are finished by that.
            all = match (all, seam.is_finished) {
                (OfTask::Nothing | OfTask::Everything, true) => OfTask::Everything,
                _ => OfTask::Part,
            };
        }
        all
    }

    /// The agents that shipped what the archive has of a task.
    pub fn agents(&self, task_id: &str) -> BTreeSet<AgentId> {
        lock(&self.all)
            .iter()
            .filter(|seam| seam.source.instance.task_id.as_deref() == Some(task_id))
            .filter_map(|seam| Some(seam.src.parse::<SrcParts>().ok()?.agent))
            .collect()
    }

    /// Which seams a listed file of a log may have.
    pub fn candidates(&self, log: &LogKey, identity: Identity, size: u64) -> Candidates {
        let seams = lock(&self.all);
        let numbers = self.by_log.get(log).map(Vec::as_slice).unwrap_or_default();
        let mut of_log: Vec<(usize, &Seam)> = numbers
            .iter()
            .map(|&number| (number, &seams[number]))
            .collect();
        of_log.sort_by_key(|(_, seam)| std::cmp::Reverse((seam.newest_ns, seam.epoch)));
        let place = |(number, seam): &(usize, &Seam)| Place {
            number: *number,
            offset: seam.offset,
            check: seam.check.clone(),
            check_end: seam.check_end,
            newest_ns: seam.newest_ns,
            record_kept: seam.record_kept,
        };
        let own: Vec<&(usize, &Seam)> = of_log
            .iter()
            .filter(|(_, seam)| seam.identity.may_be(identity))
            .collect();
        if own.is_empty() {
            let copied = |seam: &Seam| seam.check.len() >= COPY_BYTES && seam.offset <= size;
            let copies = of_log
                .iter()
                .filter(|(_, seam)| copied(seam))
                .take(SEAMS_COMPARED);
            return Candidates::Copy(copies.map(place).collect());
        }
        // Of a file that was truncated only the last epoch can be what is there.
        let is_last = |one: &Seam| {
            own.iter()
                .all(|(_, other)| other.src != one.src || other.epoch <= one.epoch)
        };
        let fitting = own
            .iter()
            .filter(|(_, seam)| is_last(seam) && seam.offset <= size)
            .take(SEAMS_COMPARED);
        Candidates::Own(fitting.map(|seam| place(seam)).collect())
    }

    /// Which file of the archive, in which epoch, a seam is of.
    pub fn file(&self, number: usize) -> Option<(String, u32)> {
        let seams = lock(&self.all);
        let seam = seams.get(number)?;
        Some((seam.src.clone(), seam.epoch))
    }

    /// The newest time that the archive has of a log, in ns since 1970.
    pub fn newest_ns(&self, log: &LogKey) -> Option<i64> {
        let seams = lock(&self.all);
        let numbers = self.by_log.get(log)?;
        numbers.iter().map(|&number| seams[number].newest_ns).max()
    }

    /// The last rows of a seam, for who goes on from there. They are given once.
    pub fn take_rest(&self, number: usize) -> Vec<Rest> {
        lock(&self.all)
            .get_mut(number)
            .map(|seam| std::mem::take(&mut seam.rest))
            .unwrap_or_default()
    }

    /// The last rows of files that nobody goes on with.
    pub fn take_orphans(
        &self,
        is_orphan: impl Fn(&InstanceLabel, Identity) -> bool,
    ) -> Vec<(Arc<Source>, Vec<Rest>)> {
        lock(&self.all)
            .iter_mut()
            .filter(|seam| !seam.rest.is_empty() && is_orphan(&seam.source.instance, seam.identity))
            .map(|seam| (Arc::clone(&seam.source), std::mem::take(&mut seam.rest)))
            .collect()
    }
}

/// How much of a task the archive has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfTask {
    /// Nothing of the time that was asked for.
    Nothing,
    /// Files of which more may be on the host.
    Part,
    /// Every file that it has of it, to its end.
    Everything,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(task: &str) -> Arc<InstanceLabel> {
        Arc::new(InstanceLabel {
            job: "aa/r/prod/j".to_owned(),
            key: None,
            instance: Some(0),
            host: "h".to_owned(),
            task_id: Some(task.to_owned()),
        })
    }

    fn file(run: u32) -> FileLabel {
        FileLabel::Process {
            process: "p".to_owned(),
            run,
            stream: Stream::Stdout,
        }
    }

    /// A seam of task `t`; `src` tells files with one inode apart.
    fn seam(src: &str, run: u32, inode: u64, epoch: u32, offset: u64, newest_ns: i64) -> Seam {
        Seam {
            source: Arc::new(Source {
                instance: label("t"),
                file: file(run),
                path: Vec::new(),
            }),
            src: src.to_owned(),
            identity: born(inode, None),
            epoch,
            offset,
            check: vec![b'x'; 20],
            check_end: offset,
            newest_ns,
            is_finished: false,
            record_kept: None,
            rest: vec![Rest::Mark(Mark::Note(src.to_owned()))],
        }
    }

    fn born(inode: u64, birth_s: Option<i64>) -> Identity {
        Identity { inode, birth_s }
    }

    fn log(run: u32) -> LogKey {
        LogKey::of(&label("t"), &file(run)).expect("a task")
    }

    fn numbers(candidates: &Candidates) -> (&'static str, Vec<usize>) {
        let (kind, places) = match candidates {
            Candidates::Own(places) => ("own", places),
            Candidates::Copy(places) => ("copy", places),
        };
        (kind, places.iter().map(|place| place.number).collect())
    }

    #[test]
    fn a_file_is_known_by_log_and_inode() {
        let seams = Seams::new(vec![
            seam("a", 0, 7, 0, 100, 1),
            seam("b", 1, 7, 0, 50, 2),
            seam("c", 1, 8, 0, 60, 3),
        ]);
        let check = |run, inode, size, expected: (&str, &[usize])| {
            let found = seams.candidates(&log(run), born(inode, None), size);
            let (kind, places) = numbers(&found);
            assert_eq!((kind, &places[..]), expected, "{run} {inode} {size}");
        };
        check(0, 7, 100, ("own", &[0]));
        check(1, 7, 100, ("own", &[1]));
        check(1, 8, 60, ("own", &[2]));
        // Truncated since: what is there is new.
        check(0, 7, 99, ("own", &[]));
        // Another inode may be a copy of either, the newest first, where it is long enough.
        check(1, 9, 60, ("copy", &[2, 1]));
        check(1, 9, 55, ("copy", &[1]));
        check(2, 7, 1000, ("copy", &[]));
    }

    #[test]
    fn of_a_truncated_file_the_last_epoch_is_there_and_the_others_in_copies() {
        let seams = Seams::new(vec![
            seam("a", 0, 7, 0, 100, 1),
            seam("a", 0, 7, 1, 30, 2),
            // Another file with the same inode, made later.
            seam("b", 0, 7, 0, 20, 3),
        ]);
        assert_eq!(
            numbers(&seams.candidates(&log(0), born(7, None), 500)),
            ("own", vec![2, 1])
        );
        assert_eq!(
            numbers(&seams.candidates(&log(0), born(9, None), 500)),
            ("copy", vec![2, 1, 0])
        );
    }

    #[test]
    fn an_inode_that_was_used_again_is_another_file_where_births_are_known() {
        let dated = |src: &str, birth_s, offset, newest_ns| Seam {
            identity: born(7, birth_s),
            ..seam(src, 0, 7, 0, offset, newest_ns)
        };
        let seams = Seams::new(vec![
            dated("a", Some(100), 10, 1),
            dated("b", Some(200), 20, 2),
            dated("c", None, 30, 3),
        ]);
        let check = |birth_s, expected: (&str, &[usize])| {
            let found = seams.candidates(&log(0), born(7, birth_s), 500);
            let (kind, places) = numbers(&found);
            assert_eq!((kind, &places[..]), expected, "{birth_s:?}");
        };
        check(Some(100), ("own", &[2, 0]));
        check(Some(200), ("own", &[2, 1]));
        check(Some(300), ("own", &[2]));
        check(None, ("own", &[2, 1, 0]));
        let seams = Seams::new(vec![dated("a", Some(100), 10, 1)]);
        let found = seams.candidates(&log(0), born(7, Some(300)), 500);
        assert_eq!(numbers(&found), ("copy", vec![0]));
    }

    #[test]
    fn bytes_that_are_too_few_tell_no_copy() {
        let mut short = seam("a", 0, 7, 0, 100, 1);
        short.check.truncate(COPY_BYTES - 1);
        let seams = Seams::new(vec![short]);
        assert_eq!(
            numbers(&seams.candidates(&log(0), born(9, None), 500)),
            ("copy", vec![])
        );
    }

    #[test]
    fn last_rows_are_given_once() {
        let seams = Seams::new(vec![seam("a", 0, 7, 0, 100, 1), seam("b", 0, 8, 0, 50, 2)]);
        assert_eq!(seams.take_rest(0).len(), 1);
        assert_eq!(seams.take_rest(0).len(), 0);
        let orphans = seams.take_orphans(|_, identity| identity.inode != 8);
        assert!(orphans.is_empty());
        let orphans = seams.take_orphans(|label, _| label.task_id.as_deref() == Some("t"));
        assert_eq!(orphans.len(), 1);
        assert!(seams.take_orphans(|_, _| true).is_empty());
    }

    #[test]
    fn what_the_archive_has_of_a_task() {
        let finished = |mut seam: Seam| {
            seam.is_finished = true;
            seam
        };
        let check = |list: Vec<Seam>, expected| {
            assert_eq!(Seams::new(list).of_task("t"), expected);
        };
        check(vec![], OfTask::Nothing);
        check(vec![finished(seam("a", 0, 7, 0, 1, 1))], OfTask::Everything);
        for turned in [false, true] {
            let mut list = vec![finished(seam("a", 0, 7, 0, 1, 1)), seam("b", 1, 8, 0, 1, 1)];
            if turned {
                list.reverse();
            }
            check(list, OfTask::Part);
        }
        assert_eq!(
            Seams::new(vec![seam("a", 0, 7, 0, 1, 1)]).of_task("u"),
            OfTask::Nothing
        );
    }
}
