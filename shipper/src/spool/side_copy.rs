//! Side copies: what was read ahead of a log whose file is truncated in place now and then.
//!
//! ```text
//! <folder>/side/<src>~<log's src>~<epoch>~<from>~<until>
//! ```
//!
//! A side copy is a file with the log's bytes from `from` to `until` at the offsets that they have in the log, and with the log's
//! first bytes; the rest of it is a hole. So it can be read in place of a file that was truncated since, as the copy that a
//! rotation makes. The name is the promise: it says `until` only once those bytes are on the disk, and what lies behind them
//! after a crash is cut off.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Hold, Pin, Spool, SpoolError, lock};
use crate::batch::is_still;
use crate::beneath;
use crate::file_id::{FileId, Src};
use crate::log::{Log, LogKey, SAMPLE_BYTES};

/// The folder of side copies, below a folder of the spool.
pub const SIDE: &str = "side";

/// How much is copied at a time, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// What stands between the parts of a name.
const SEPARATOR: char = '~';

/// A side copy of a log.
#[derive(Debug)]
pub struct SideCopy {
    src: Src,
    id: FileId,
    key: LogKey,
    from: u64,
    until: u64,
    folder: PathBuf,
}

/// What an attempt to copy more came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The bytes are on the disk.
    All,
    /// The file is not what it was: it was truncated.
    Truncated,
}

impl SideCopy {
    /// The name under which it can be the source of a log.
    pub fn src(&self) -> &Src {
        &self.src
    }

    /// The log that it is a copy of.
    pub fn key(&self) -> &LogKey {
        &self.key
    }

    /// The first byte that it has, but for the log's first ones.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The byte behind the last that it has.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// The device that it lies on.
    pub fn dev(&self) -> u64 {
        self.id.dev
    }

    /// The bytes that it takes on the disk.
    pub fn disk_bytes(&self) -> u64 {
        beneath::stat_at(rustix::fs::CWD, &self.path()).map_or(0, |stat| stat.disk_bytes)
    }

    fn path(&self) -> PathBuf {
        let Self {
            src,
            key,
            from,
            until,
            ..
        } = self;
        self.folder
            .join(format!("{src}~{}~{}~{from}~{until}", key.src, key.epoch))
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(self.path())
    }

    /// Whether the log could be read on from it: it has more than what is planned, and what is planned of the log is before it.
    pub fn continues(&self, log: &Log) -> bool {
        (self.from..self.until).contains(&log.offset)
            && self.open().is_ok_and(|copy| is_still(&copy, log))
    }

    /// Whether the file still has what was copied from it, by its first and last bytes. Yes where that cannot be seen.
    pub fn agrees_with(&self, file: &File) -> bool {
        self.open().map_or(true, |copy| {
            agree(&copy, file, self.from, self.until).unwrap_or(true)
        })
    }

    /// Copies on until `until`. After an error the copy is as long as it was.
    pub fn extend(&mut self, file: &File, until: u64) -> io::Result<Copied> {
        let copy = self.open()?;
        let done = self.copy_on(file, &copy, until);
        if !matches!(done, Ok(Copied::All)) {
            copy.set_len(self.until)?;
        }
        done
    }

    fn copy_on(&mut self, file: &File, copy: &File, until: u64) -> io::Result<Copied> {
        let mut buffer = vec![0; READ_BYTES];
        let mut at = self.until;
        while at < until {
            let wanted = buffer.len().min((until - at) as usize);
            let got = match file.read_at(&mut buffer[..wanted], at) {
                Ok(0) => return Ok(Copied::Truncated),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // Looked at after they were read: the bytes belong to those before them.
            if !agree(copy, file, self.from, at)? {
                return Ok(Copied::Truncated);
            }
            // A hole stays one.
            if buffer[..got].iter().any(|&byte| byte != 0) {
                copy.write_all_at(&buffer[..got], at)?;
            }
            at += got as u64;
        }
        copy.set_len(at)?;
        copy.sync_data()?;
        let before = self.path();
        let was = std::mem::replace(&mut self.until, at);
        fs::rename(before, self.path()).inspect_err(|_| self.until = was)?;
        Ok(Copied::All)
    }

    /// Holds it as the source of its log. It goes when that pin does.
    pub fn pin(&self) -> Pin {
        Pin {
            src: self.src.clone(),
            id: self.id,
            hold: Hold::Linked(self.path()),
        }
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(self.path())
    }
}

/// Whether two files have the same bytes before `at`, and at their start if one of them has all from there.
fn agree(one: &File, other: &File, from: u64, at: u64) -> io::Result<bool> {
    let same = |start: u64, end: u64| {
        let (mut a, mut b) = ([0; SAMPLE_BYTES], [0; SAMPLE_BYTES]);
        let len = (end - start) as usize;
        one.read_exact_at(&mut a[..len], start)?;
        match other.read_exact_at(&mut b[..len], start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(a == b),
        }
    };
    let tail = SAMPLE_BYTES as u64;
    if !same(at.saturating_sub(tail).max(from), at)? {
        return Ok(false);
    }
    if from > 0 {
        return Ok(true);
    }
    same(0, at.min(tail))
}

impl Spool {
    /// All side copies, cut back to what is known to be on the disk. For the start.
    pub fn side_copies(&self) -> Result<Vec<SideCopy>, SpoolError> {
        let mut copies = Vec::new();
        for folder in &self.folders {
            let side = folder.path().join(SIDE);
            let failed = |error| SpoolError::io("list", &side, error);
            let entries = match fs::read_dir(&side) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let path = entry.map_err(failed)?.path();
                match resume(&side, &path) {
                    Ok(Some(copy)) => copies.push(copy),
                    // One that was about to be made.
                    Ok(None) => fs::remove_file(&path)
                        .map_err(|error| SpoolError::io("remove", &path, error))?,
                    Err(error) => return Err(SpoolError::io("look at", &path, error)),
                }
            }
        }
        Ok(copies)
    }

    /// Begins a side copy of what is not planned of a log, with none of it yet. It lies on the file's own device if the spool
    /// has a folder there. `None` if the file is no longer the log's. `random` as in [`Spool::pin`].
    pub fn begin_side_copy(
        &self,
        log: &Log,
        file: &File,
        random: u64,
    ) -> Result<Option<SideCopy>, SpoolError> {
        let dev = log.description.id.dev;
        let Some(folder) = self
            .folders
            .iter()
            .find(|folder| folder.dev() == dev)
            .or(self.folders.first())
        else {
            return Ok(None);
        };
        let side = folder.path().join(SIDE);
        match DirBuilder::new().mode(0o700).create(&side) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SpoolError::io("create", &side, error));
            }
            _ => {}
        }
        let path = side.join("new");
        let begun = begin(&path, log, file)
            .map_err(|error| SpoolError::io("begin a side copy at", &path, error))?;
        let Some(id) = begun else {
            return Ok(None);
        };
        let copy = SideCopy {
            src: id.src(self.agent, random),
            id,
            key: log.key.clone(),
            from: first_copied(log),
            until: log.offset,
            folder: side,
        };
        fs::rename(&path, copy.path()).map_err(|error| SpoolError::io("rename", &path, error))?;
        lock(&self.unsettled_sides).insert(copy.folder.clone());
        Ok(Some(copy))
    }

    /// Makes the names of all side copies durable that were begun, or got further, since the last call.
    pub fn settle_side_copies(&self) -> Result<(), SpoolError> {
        let mut folders = lock(&self.unsettled_sides);
        for folder in &*folders {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| SpoolError::io("sync", folder, error))?;
        }
        folders.clear();
        Ok(())
    }

    /// Copies on, as [`SideCopy::extend`]; the new name becomes durable with [`Spool::settle_side_copies`].
    pub fn extend_side_copy(
        &self,
        copy: &mut SideCopy,
        file: &File,
        until: u64,
    ) -> Result<Copied, SpoolError> {
        let copied = copy
            .extend(file, until)
            .map_err(|error| SpoolError::io("copy on", &copy.path(), error))?;
        lock(&self.unsettled_sides).insert(copy.folder.clone());
        Ok(copied)
    }
}

/// Where a copy of what is not planned begins: what the log knows again is before it.
fn first_copied(log: &Log) -> u64 {
    log.offset.saturating_sub(log.seen.tail.len() as u64)
}

/// A new file with what the log knows again. `None` if `file` does not have that any more.
fn begin(path: &Path, log: &Log, file: &File) -> io::Result<Option<FileId>> {
    let new = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    let head = log.seen.head.len() as u64;
    for range in [0..head, first_copied(log)..log.offset] {
        let mut bytes = [0; SAMPLE_BYTES];
        let bytes = &mut bytes[..(range.end - range.start) as usize];
        match file.read_exact_at(bytes, range.start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        new.write_all_at(bytes, range.start)?;
    }
    new.set_len(log.offset)?;
    new.sync_data()?;
    // What was written is what counts: the file may have been truncated meanwhile.
    Ok(is_still(&new, log).then_some(beneath::stat(&new)?.id))
}

/// A side copy by its name; `None` of a file that has no such name.
fn resume(folder: &Path, path: &Path) -> io::Result<Option<SideCopy>> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let parts: Vec<&str> = name.split(SEPARATOR).collect();
    let [src, of, epoch, from, until] = parts[..] else {
        return Ok(None);
    };
    let (Ok(src), Ok(of), Ok(epoch), Ok(from), Ok(until)) = (
        src.parse(),
        of.parse(),
        epoch.parse(),
        from.parse(),
        until.parse::<u64>(),
    ) else {
        return Ok(None);
    };
    let stat = beneath::stat_at(rustix::fs::CWD, path)?;
    if stat.size < until {
        // Not what the name says: a disk that lies.
        return Ok(None);
    }
    let copy = SideCopy {
        src,
        id: stat.id,
        key: LogKey { src: of, epoch },
        from,
        until,
        folder: folder.to_owned(),
    };
    if stat.size > until {
        copy.open()?.set_len(until)?;
    }
    Ok(Some(copy))
}
