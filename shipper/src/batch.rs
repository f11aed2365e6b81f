//! A batch: ranges of logs are read, made rows and written into staged objects. Nothing is changed but the staging folder:
//! how far the logs got is a result, which becomes a fact by the plan.
//!
//! The order of the rows is that of the archive's sort key. Bytes are believed only if those before them are still what they
//! were when they were read: otherwise the file was truncated meanwhile, and what was read is another epoch's.

use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt as _;

use archive::Origin;
use rustix::fs::SeekFrom;

use crate::beneath;
use crate::file_id::FileStat;
use crate::log::{Crc, Log, LogKey, Loss, Phase, SAMPLE_BYTES, Sample, Seen};
use crate::makers::Makers;
use crate::objects::{Objects, ObjectsError};
use crate::rows::{FileFacts, Reading, RowMaker, RowState};
use crate::spool::{Pin, SpoolError};
use crate::state::Planned;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// A hole in a file is left out of the rows if it is at least so long, in bytes; shorter ones are kept as the zeros they read as.
const MIN_HOLE_BYTES: u64 = 64 * 1024;

/// What of one log goes into a batch.
#[derive(Debug)]
pub struct Piece<'p> {
    /// The log as it is now.
    pub log: Log,
    /// The pin that its bytes are read from; none if there is none any more.
    pub pin: Option<&'p Pin>,
    /// Where to stop reading.
    pub until: u64,
    /// What becomes of a last line without its end.
    pub last_line: LastLine,
    /// Whether the log ends here if all of its file is in rows.
    pub end: End,
}

/// What becomes of a last line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLine {
    /// It waits for its end.
    Held,
    /// It has waited long enough: it becomes a row.
    Released,
}

/// Whether a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its file may still grow.
    Open,
    /// Its file is finished: a last row says so.
    Finished,
}

/// Something that was found out about a log while it was read.
#[derive(Debug)]
pub enum Trouble {
    /// Its file was truncated.
    Truncated,
    /// Its file is gone: the pin was removed or replaced.
    Vanished(io::Error),
    /// Its file could not be read now.
    Unreadable(io::Error),
}

/// A batch that is staged.
#[derive(Debug, Default)]
pub struct Built {
    /// The logs that got further, as they will be once the plan is made.
    pub logs: Vec<Log>,
    /// The staged objects.
    pub objects: Vec<Planned>,
    /// The next free number of an object.
    pub next_seq: u64,
    /// What was found out.
    pub troubles: Vec<(LogKey, Trouble)>,
    /// Logs whose last line waits for its end, and how many bytes of it there are.
    pub held: Vec<(LogKey, u64)>,
    /// Bytes that are given up by this batch, by cause.
    pub lost: Vec<(Loss, u64)>,
    /// How many bytes of logs became rows.
    pub read_bytes: u64,
    /// Whether rows were left for the next batch because too many objects would have been open.
    pub is_full: bool,
}

/// Reads the pieces and writes their rows. `now_ns` is the time of the reading and of the plan.
pub fn build(
    mut pieces: Vec<Piece<'_>>,
    makers: &mut Makers,
    mut objects: Objects,
    now_ns: i64,
) -> Result<Built, ObjectsError> {
    pieces.sort_by(|one, two| sort_key(&one.log).cmp(&sort_key(&two.log)));
    let mut built = Built::default();
    let mut buffer = vec![0; READ_BYTES];
    for piece in pieces {
        let before = piece.log.clone();
        let mut reader = LogReader {
            maker: makers.of(&before.description.rule),
            objects: &mut objects,
            now_ns,
            buffer: &mut buffer,
            built: &mut built,
        };
        let after = reader.read(piece);
        if after != before {
            built.read_bytes += after.offset.saturating_sub(before.offset);
            built.logs.push(after);
        }
    }
    built.is_full = objects.is_full();
    (built.objects, built.next_seq) = objects.finish(now_ns)?;
    Ok(built)
}

/// What rows are sorted by, within a cluster.
fn sort_key(log: &Log) -> impl Ord + '_ {
    let Origin {
        role,
        env,
        job,
        instance,
        task_id,
        process,
        run,
        stream,
        ..
    } = &log.description.origin;
    (
        (&log.description.cluster, role, env, job, instance),
        (task_id, process, run, stream),
        (&log.key.src, log.key.epoch),
    )
}

/// Reads one log into objects.
struct LogReader<'r> {
    maker: &'r mut RowMaker,
    objects: &'r mut Objects,
    now_ns: i64,
    buffer: &'r mut [u8],
    built: &'r mut Built,
}

/// What reading bytes came to.
enum Read {
    /// All that was asked for.
    All,
    /// A row was refused.
    Refused,
    /// The file is not what it was.
    Truncated,
    /// The system refused.
    Failed(io::Error),
}

impl LogReader<'_> {
    /// How far the log gets.
    fn read(&mut self, piece: Piece<'_>) -> Log {
        let mut log = piece.log;
        if let Phase::Lost(until, cause) = log.phase {
            return self.give_up(log, until, cause);
        }
        let opened = match piece.pin {
            Some(pin) => pin
                .open()
                .and_then(|file| Ok((beneath::stat(&file)?, file))),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let (stat, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let trouble = match error.kind() {
                    io::ErrorKind::NotFound => Trouble::Vanished(error),
                    _ if error
                        .get_ref()
                        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<SpoolError>) =>
                    {
                        Trouble::Vanished(error)
                    }
                    _ => Trouble::Unreadable(error),
                };
                self.built.troubles.push((log.key.clone(), trouble));
                return log;
            }
        };
        let is_own = log.source == log.key.src;
        let known = match known_bytes(&file, &log) {
            // Nothing may be planned yet that could be compared: a file that became shorter since it was looked at tells, too.
            Some(known) if !is_own || stat.size >= log.size.max(log.offset) => known,
            _ => {
                self.built
                    .troubles
                    .push((log.key.clone(), Trouble::Truncated));
                return log;
            }
        };
        while let Some(hole) = log.holes.first().cloned() {
            match self.fill(&mut log, &file, &stat, hole) {
                Ok(true) => {}
                Ok(false) => return log,
                Err(error) => {
                    self.built
                        .troubles
                        .push((log.key.clone(), Trouble::Unreadable(error)));
                    return log;
                }
            }
        }
        let until = match log.phase {
            Phase::Draining => stat.size,
            _ => piece.until.min(stat.size),
        };
        let is_last =
            log.phase == Phase::Draining || (piece.end == End::Finished && until == stat.size);
        let release = is_last || (piece.last_line == LastLine::Released && until == stat.size);
        let description = log.description.clone();
        let facts = facts(
            &description.origin,
            &log.key,
            &description.id,
            &stat,
            self.now_ns,
        );
        let objects = &mut *self.objects;
        let mut reading = self.maker.read(facts, log.offset, log.rows);
        let mut planned = Taken::new(&log, known);
        let mut each = |row: &archive::Row<'_>| objects.row(&description.cluster, row);
        let mut read = pump(
            &mut reading,
            &file,
            until,
            self.buffer,
            &mut planned,
            &mut each,
        );
        if matches!(read, Read::All) && release && reading.pending() > 0 {
            if reading.release(&mut each).is_break() {
                read = Read::Refused;
            } else {
                planned.reached(reading.offset());
            }
        }
        if matches!(read, Read::All) && is_last {
            // The copy is shorter than what was there: the rest is gone.
            let missing = log.size.saturating_sub(reading.offset());
            if log.phase == Phase::Draining && missing > 0 {
                if reading.gap(missing, &mut each).is_continue() {
                    self.built.lost.push((Loss::Truncated, missing));
                    planned.skipped();
                } else {
                    read = Read::Refused;
                }
            }
            if matches!(read, Read::All) {
                if reading.end(&mut each).is_continue() {
                    log.phase = Phase::Ended;
                } else {
                    read = Read::Refused;
                }
            }
        }
        match read {
            Read::All if reading.pending() > 0 => {
                let held = reading.pending() as u64;
                self.built.held.push((log.key.clone(), held));
            }
            Read::All | Read::Refused => {}
            Read::Truncated => {
                self.built
                    .troubles
                    .push((log.key.clone(), Trouble::Truncated));
            }
            Read::Failed(error) => {
                self.built
                    .troubles
                    .push((log.key.clone(), Trouble::Unreadable(error)));
            }
        }
        (log.offset, log.rows) = reading.close();
        log.seen = planned.finish();
        log.size = log.size.max(log.offset);
        if is_own {
            log.size = log.size.max(stat.size);
        }
        log
    }

    /// Says that the bytes up to `until` are gone, and that the log ends there.
    fn give_up(&mut self, mut log: Log, until: u64, cause: Loss) -> Log {
        let description = log.description.clone();
        let facts = FileFacts {
            origin: &description.origin,
            epoch: log.key.epoch,
            birth_ns: description.id.birth_ns,
            changed_ns: self.now_ns,
            reading_ns: self.now_ns,
        };
        let objects = &mut *self.objects;
        let mut each = |row: &archive::Row<'_>| objects.row(&description.cluster, row);
        let mut lost = 0;
        while let Some(hole) = log.holes.first().cloned() {
            let mut reading = self.maker.read(facts, hole.start, log.rows);
            if reading.gap(hole.end - hole.start, &mut each).is_break() {
                self.built.lost.push((cause, lost));
                return log;
            }
            lost += hole.end - hole.start;
            log.holes.remove(0);
        }
        let mut reading = self.maker.read(facts, log.offset, log.rows);
        let missing = until.saturating_sub(log.offset);
        if missing > 0 && reading.gap(missing, &mut each).is_continue() {
            lost += missing;
        }
        if reading.offset() >= until && reading.end(&mut each).is_continue() {
            log.phase = Phase::Ended;
        }
        (log.offset, log.rows) = reading.close();
        log.size = log.size.max(log.offset);
        log.seen.crc = None;
        log.seen.tail = Sample::default();
        self.built.lost.push((cause, lost));
        log
    }

    /// Makes rows of a range that a recovery found missing. `false`: not all of it this time.
    fn fill(
        &mut self,
        log: &mut Log,
        file: &File,
        stat: &FileStat,
        hole: Range<u64>,
    ) -> io::Result<bool> {
        let description = log.description.clone();
        let facts = facts(
            &description.origin,
            &log.key,
            &description.id,
            stat,
            self.now_ns,
        );
        let objects = &mut *self.objects;
        let mut each = |row: &archive::Row<'_>| objects.row(&description.cluster, row);
        let mut reading = self.maker.read(facts, hole.start, RowState::default());
        let mut ignored = Taken::unknown();
        let read = pump(
            &mut reading,
            file,
            hole.end,
            self.buffer,
            &mut ignored,
            &mut each,
        );
        let done = match read {
            Read::Failed(error) => return Err(error),
            Read::All => reading.release(&mut each).is_continue() && reading.offset() == hole.end,
            Read::Refused | Read::Truncated => false,
        };
        self.built.read_bytes += reading.offset() - hole.start;
        if done {
            log.holes.remove(0);
        } else {
            log.holes[0].start = reading.offset();
        }
        Ok(done)
    }
}

fn facts<'f>(
    origin: &'f Origin,
    key: &LogKey,
    id: &crate::file_id::FileId,
    stat: &FileStat,
    now_ns: i64,
) -> FileFacts<'f> {
    FileFacts {
        origin,
        epoch: key.epoch,
        birth_ns: id.birth_ns,
        changed_ns: stat.mtime_ns,
        reading_ns: now_ns,
    }
}

/// Whether the file's first bytes, and those before the log's offset, are still what they were.
pub fn is_still(file: &File, log: &Log) -> bool {
    known_bytes(file, log).is_some()
}

/// The bytes that a log knows again: the file's first ones, and those before the offset.
struct Known {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// What the log knows again, as it is in the file; `None` if the file has something else there.
fn known_bytes(file: &File, log: &Log) -> Option<Known> {
    let Seen { head, tail, .. } = &log.seen;
    Some(Known {
        tail: sampled(file, tail, log.offset)?,
        head: sampled(file, head, head.len() as u64)?,
    })
}

/// The bytes that end at `end`, if they are those of the sample.
fn sampled(file: &File, sample: &Sample, end: u64) -> Option<Vec<u8>> {
    let start = end.checked_sub(sample.len() as u64)?;
    let mut there = vec![0; sample.len()];
    file.read_exact_at(&mut there, start).ok()?;
    (Sample::of(&there) == *sample).then_some(there)
}

/// Whether these bytes end at `end`.
fn has_bytes(file: &File, bytes: &[u8], end: u64) -> bool {
    let mut there = [0; SAMPLE_BYTES];
    let there = &mut there[..bytes.len()];
    let Some(start) = end.checked_sub(bytes.len() as u64) else {
        return false;
    };
    file.read_exact_at(there, start).is_ok() && there == bytes
}

/// Reads on until `until` and hands out the rows.
fn pump(
    reading: &mut Reading<'_>,
    file: &File,
    until: u64,
    buffer: &mut [u8],
    taken: &mut Taken,
    each: &mut impl FnMut(&archive::Row<'_>) -> ControlFlow<()>,
) -> Read {
    while reading.next() < until {
        let at = reading.next();
        let wanted = buffer.len().min((until - at) as usize);
        let got = match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Read::Truncated,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Read::Failed(error),
        };
        let bytes = &buffer[..got];
        // At a file's start there is nothing before it to compare, so its size counts.
        let is_shorter = beneath::stat(file).is_ok_and(|stat| stat.size < until);
        if is_shorter || !taken.holds(file, at, bytes) {
            return Read::Truncated;
        }
        if bytes.iter().take(4096).all(|&byte| byte == 0) {
            let hole = hole(file, at, until);
            if hole >= MIN_HOLE_BYTES {
                if reading.pending() > 0 && reading.release(&mut *each).is_break() {
                    return Read::Refused;
                }
                if reading.gap(hole, &mut *each).is_break() {
                    return Read::Refused;
                }
                taken.skipped();
                continue;
            }
        }
        let flow = reading.push(bytes, &mut *each);
        taken.pushed(at, bytes, reading.offset());
        if flow.is_break() {
            return Read::Refused;
        }
    }
    Read::All
}

/// How long the hole is that begins at `at`, in bytes: what was never written there.
fn hole(file: &File, at: u64, until: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.min(until).saturating_sub(at),
        // No data from here on.
        Err(rustix::io::Errno::NXIO) => until - at,
        Err(_) => 0,
    }
}

/// What of the bytes that were read is in rows: for the digest and the ends of the log.
struct Taken {
    crc: Crc,
    /// The first bytes that are in rows, if it is known that they are the file's first ones.
    head: Vec<u8>,
    /// Whether what comes next belongs to the head while that is short.
    start: Start,
    /// The last bytes that are in rows.
    tail: Vec<u8>,
    /// The offset behind the last row.
    offset: u64,
    /// Bytes behind the last row.
    carry: Vec<u8>,
    /// The first bytes of the file, if they are known.
    first: Vec<u8>,
    /// The last bytes that were read, whether they are in rows or not.
    last: Vec<u8>,
}

/// Whether the rows of a log begin with its file's first byte, as far as it is known. What follows a gap does not, nor what a
/// recovery has not read: a checkpoint knows the digest and no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Known,
    Unknown,
}

impl Taken {
    fn new(log: &Log, known: Known) -> Self {
        let is_start =
            log.seen.crc.is_some() && (!known.head.is_empty() || log.seen.crc == Seen::new().crc);
        Self {
            crc: log.seen.crc(),
            start: if is_start {
                Start::Known
            } else {
                Start::Unknown
            },
            offset: log.offset,
            carry: Vec::new(),
            first: known.head.clone(),
            last: known.tail.clone(),
            head: known.head,
            tail: known.tail,
        }
    }

    /// Of bytes of which nothing is remembered.
    fn unknown() -> Self {
        Self {
            crc: Seen::default().crc(),
            head: Vec::new(),
            start: Start::Unknown,
            tail: Vec::new(),
            offset: 0,
            carry: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Whether the file before `at` is still what was read there. At the start of a file, whether these bytes are still there:
    /// a file that is truncated while it is read gives a mixture.
    fn holds(&self, file: &File, at: u64, bytes: &[u8]) -> bool {
        if at == 0 {
            let first = &bytes[..bytes.len().min(SAMPLE_BYTES)];
            has_bytes(file, first, first.len() as u64)
        } else {
            has_bytes(file, &self.last, at) && has_bytes(file, &self.first, self.first.len() as u64)
        }
    }

    /// Bytes were pushed from `at` on, and rows reach to `offset` now.
    fn pushed(&mut self, at: u64, bytes: &[u8], offset: u64) {
        if at == 0 {
            self.first = bytes[..bytes.len().min(SAMPLE_BYTES)].to_vec();
        }
        self.last = bytes[bytes.len().saturating_sub(SAMPLE_BYTES)..].to_vec();
        if offset > at {
            self.take_carry();
            let (rows, rest) = bytes.split_at(((offset - at) as usize).min(bytes.len()));
            self.take(rows);
            self.carry.extend_from_slice(rest);
        } else {
            let known = (offset - self.offset) as usize;
            if known > 0 {
                let rest = self.carry.split_off(known.min(self.carry.len()));
                self.take_carry();
                self.carry = rest;
            }
            self.carry.extend_from_slice(bytes);
        }
        self.offset = offset;
    }

    /// All that was read is in rows.
    fn reached(&mut self, offset: u64) {
        self.take_carry();
        self.offset = offset;
    }

    /// Some bytes were not read: there is no digest of all from here on.
    fn skipped(&mut self) {
        self.carry.clear();
        self.last.clear();
        self.tail.clear();
        self.start = Start::Unknown;
        self.crc = Seen::default().crc();
    }

    fn take_carry(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        self.take(&carry);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        if self.start == Start::Known {
            let wanted = SAMPLE_BYTES - self.head.len();
            self.head
                .extend_from_slice(&bytes[..bytes.len().min(wanted)]);
        }
        let new = &bytes[bytes.len().saturating_sub(SAMPLE_BYTES)..];
        let keep = SAMPLE_BYTES - new.len();
        let cut = self.tail.len().saturating_sub(keep);
        self.tail.drain(..cut);
        self.tail.extend_from_slice(new);
    }

    fn finish(self) -> Seen {
        Seen {
            head: Sample::of(&self.head),
            tail: Sample::of(&self.tail),
            crc: self.crc.state(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(start: Start) -> Taken {
        Taken {
            crc: Seen::new().crc(),
            start,
            ..Taken::unknown()
        }
    }

    #[test]
    fn rows_in_pieces_leave_the_ends_of_all() {
        let bytes: Vec<u8> = (0..=255_u8).cycle().take(5000).collect();
        let mut steps = taken(Start::Known);
        for part in bytes.chunks(7) {
            steps.take(part);
        }
        let mut whole = taken(Start::Known);
        whole.take(&bytes);
        let seen = whole.finish();
        assert_eq!(steps.finish(), seen);
        assert_eq!(seen.head, Sample::of(&bytes[..SAMPLE_BYTES]));
        assert_eq!(seen.tail, Sample::of(&bytes));
    }

    #[test]
    fn what_follows_something_unread_is_not_the_start() {
        let mut later = taken(Start::Unknown);
        later.take(b"more");
        let seen = later.finish();
        assert_eq!(
            (seen.head, seen.tail),
            (Sample::of(b""), Sample::of(b"more"))
        );
        let mut gap = taken(Start::Known);
        gap.take(b"begin");
        gap.skipped();
        gap.take(b"behind");
        let seen = gap.finish();
        assert_eq!(
            (seen.head, seen.tail, seen.crc),
            (Sample::of(b"begin"), Sample::of(b"behind"), None)
        );
    }
}
