//! Sandboxes in which seeded jobs write, rotate, truncate and vanish, and a record of every byte that was ever in a file.
//!
//! The record is the oracle: what an agent ships is compared with it, byte for byte.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use shipper::beneath;
use shipper::file_id::FileId;

use crate::writers::Rng;

/// The most sandboxes at a time.
const MAX_SANDBOXES: usize = 4;

/// The most that one step writes, in lines.
const MAX_LINES: u64 = 12;

/// The log of a sandbox.
const LOG: &str = "app.log";

/// A file that was there at some time, and all that was ever in it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What it is.
    pub id: FileId,
    /// What was in it from truncation to truncation. The last one is what is in it now, or was when it was removed.
    pub epochs: Vec<Vec<u8>>,
    /// The file and the epoch that it was copied from.
    pub copy_of: Option<(FileId, usize)>,
    /// Whether an agent has held it.
    pub discovered: bool,
    /// How much of an epoch an agent has read ahead: that much must not be lost.
    pub read_ahead: BTreeMap<usize, usize>,
}

impl Recorded {
    /// An agent has all that is in the file now.
    pub fn set_read_ahead(&mut self) {
        if let Some(content) = self.epochs.last() {
            self.read_ahead.insert(self.epochs.len() - 1, content.len());
        }
    }
}

/// What programs write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lines {
    /// Lines that differ, as a rule.
    #[default]
    Varied,
    /// The same few lines again and again: what one file begins or ends with, others do too.
    Alike,
}

/// The jobs of one host.
#[derive(Debug)]
pub struct Sandboxes {
    root: PathBuf,
    rng: Rng,
    lines: Lines,
    clock: u64,
    next: u64,
    live: Vec<PathBuf>,
    /// All files, by device, inode and birth.
    pub files: BTreeMap<FileId, Recorded>,
}

impl Sandboxes {
    /// No sandbox yet, below `root`.
    pub fn new(root: &Path, seed: u64) -> Result<Self> {
        fs::create_dir_all(root)?;
        Ok(Self {
            root: root.to_owned(),
            rng: Rng::new(seed),
            lines: Lines::default(),
            clock: 1_790_000_000,
            next: 0,
            live: Vec::new(),
            files: BTreeMap::new(),
        })
    }

    /// The same, where programs write such lines.
    #[must_use]
    pub fn with_lines(self, lines: Lines) -> Self {
        Self { lines, ..self }
    }

    /// One thing happens.
    pub fn step(&mut self) -> Result<()> {
        if self.live.is_empty() || (self.live.len() < MAX_SANDBOXES && self.rng.one_in(12)) {
            return self.begin();
        }
        let at = self.rng.below(self.live.len() as u64) as usize;
        let folder = self.live[at].clone();
        match self.rng.below(40) {
            0 => self.remove(at),
            1..=2 => self.rename(&folder),
            3..=4 => self.copy_and_truncate(&folder),
            5 => self.truncate(&folder),
            6 => drop_oldest(&folder),
            _ => self.append(&folder, LOG),
        }
    }

    /// A sandbox is made, with a log.
    fn begin(&mut self) -> Result<()> {
        let folder = self
            .root
            .join(format!("job{}", self.next % 3))
            .join(self.next.to_string());
        self.next += 1;
        fs::create_dir_all(&folder)?;
        self.live.push(folder.clone());
        self.append(&folder, LOG)
    }

    /// Everything of a sandbox is removed.
    fn remove(&mut self, at: usize) -> Result<()> {
        let folder = self.live.swap_remove(at);
        fs::remove_dir_all(folder)?;
        Ok(())
    }

    /// Lines are written at the end of a file, which is made if it is not there; the last one is not always whole.
    fn append(&mut self, folder: &Path, name: &str) -> Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..=self.rng.below(MAX_LINES) {
            self.line(&mut bytes);
        }
        if self.rng.one_in(4) {
            let cut = 1 + self.rng.below(bytes.len() as u64) as usize;
            bytes.truncate(cut);
        }
        let path = folder.join(name);
        let is_new = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.write_all(&bytes)?;
        let record = if is_new {
            self.record_new(&file)?
        } else {
            self.record(&file)?
        };
        record
            .epochs
            .last_mut()
            .context("an epoch")?
            .extend_from_slice(&bytes);
        Ok(())
    }

    /// `app.log` becomes `app.log.1`, and that `app.log.2`; a new file begins. Sometimes the writer keeps the old one a while.
    fn rename(&mut self, folder: &Path) -> Result<()> {
        shift(folder)?;
        let path = folder.join(LOG);
        if path.exists() {
            fs::rename(path, folder.join("app.log.1"))?;
            if self.rng.one_in(2) {
                self.append(folder, "app.log.1")?;
            }
        }
        self.append(folder, LOG)
    }

    /// `app.log` is copied and emptied, as by logrotate's copytruncate.
    fn copy_and_truncate(&mut self, folder: &Path) -> Result<()> {
        shift(folder)?;
        let (from, to) = (folder.join(LOG), folder.join("app.log.1"));
        if !from.exists() {
            return Ok(());
        }
        let original = OpenOptions::new().write(true).open(&from)?;
        let (id, epoch, bytes) = {
            let original = self.record(&original)?;
            let epoch = original.epochs.len() - 1;
            (original.id, epoch, original.epochs[epoch].clone())
        };
        let mut copy = File::create(to)?;
        copy.write_all(&bytes)?;
        let copy = self.record_new(&copy)?;
        copy.epochs = vec![bytes];
        copy.copy_of = Some((id, epoch));
        self.empty(&original)?;
        if self.rng.one_in(2) {
            self.append(folder, LOG)?;
        }
        Ok(())
    }

    /// `app.log` is emptied; what nobody read is gone.
    fn truncate(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(LOG);
        if path.exists() {
            let file = OpenOptions::new().write(true).open(path)?;
            self.empty(&file)?;
        }
        Ok(())
    }

    fn empty(&mut self, file: &File) -> Result<()> {
        file.set_len(0)?;
        self.record(file)?.epochs.push(Vec::new());
        Ok(())
    }

    fn record(&mut self, file: &File) -> Result<&mut Recorded> {
        let id = beneath::stat(file)?.id;
        self.files.get_mut(&id).context("a file that was recorded")
    }

    /// Of a file that was just made. One before it with the same inode, born in the same tick of the system's clock, was removed
    /// before anybody could hold it.
    fn record_new(&mut self, file: &File) -> Result<&mut Recorded> {
        let id = beneath::stat(file)?.id;
        let new = Recorded {
            id,
            epochs: vec![Vec::new()],
            copy_of: None,
            discovered: false,
            read_ahead: BTreeMap::new(),
        };
        Ok(self.files.entry(id).insert_entry(new).into_mut())
    }

    /// A line of one of the kinds that logs have.
    fn line(&mut self, into: &mut Vec<u8>) {
        self.clock += self.rng.below(40);
        let second = self.clock;
        let kinds = match self.lines {
            Lines::Varied => 12,
            Lines::Alike if self.rng.one_in(8) => 12,
            Lines::Alike => 4,
        };
        match self.rng.below(kinds) {
            0 => into.extend_from_slice(b"\n"),
            1 => into.extend_from_slice(b"\tat com.example.Main.run(Main.java:12)\n"),
            2 => into.extend_from_slice(b"bytes \xff\xfe\x00 that are no text\n"),
            3 => {
                let long = self.rng.below(5000) as usize;
                into.extend(std::iter::repeat_n(b'x', long));
                into.push(b'\n');
            }
            4 => into.extend_from_slice(
                format!(
                    "{{\"@timestamp\":{second},\"level\":\"WARN\",\"message\":\"m {second}\"}}\n"
                )
                .as_bytes(),
            ),
            _ => {
                let at = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
                let id = self.rng.next_u64();
                into.extend_from_slice(
                    format!("{at} INFO request_id={id:016x} served in {} ms\n", id % 900)
                        .as_bytes(),
                );
            }
        }
    }

    /// Every job ends and its sandbox is removed.
    pub fn end_all(&mut self) -> Result<()> {
        while !self.live.is_empty() {
            self.remove(0)?;
        }
        Ok(())
    }
}

/// A rotated file is removed while its sandbox stays.
fn drop_oldest(folder: &Path) -> Result<()> {
    for name in ["app.log.2", "app.log.1"] {
        let path = folder.join(name);
        if path.exists() {
            fs::remove_file(path)?;
            break;
        }
    }
    Ok(())
}

fn shift(folder: &Path) -> Result<()> {
    let first = folder.join("app.log.1");
    if first.exists() {
        fs::rename(first, folder.join("app.log.2"))?;
    }
    Ok(())
}
