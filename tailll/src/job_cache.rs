//! What schedulers said lately about their jobs, kept in a file for completing names: a shell asks at every press of a key, and a
//! scheduler must not be asked that often.
//!
//! One file a cluster. It is read leniently, as anything that others can write to, and replaced whole, so that it is never
//! half there. Following never reads it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The version of the file's form; another one is passed over.
const VERSION: u32 = 1;

/// The largest file that is read or written, in bytes.
const MAX_CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// How old an answer may be to be used without asking, in ns.
pub const FRESH_NS: i64 = 60 * 1_000_000_000;

/// How old an answer may be to be used where the scheduler does not answer, in ns.
const USABLE_NS: i64 = 7 * 86_400 * 1_000_000_000;

/// What is known of a cluster's jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCache {
    version: u32,
    /// When the jobs were asked for, in ns since 1970.
    asked_ns: i64,
    /// The jobs: `role/env/name`.
    jobs: Vec<String>,
    /// The instances of jobs that were asked for.
    instances: BTreeMap<String, Instances>,
}

/// A job's instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Instances {
    asked_ns: i64,
    numbers: Vec<u32>,
}

/// How much an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Nobody needs to be asked.
    Fresh,
    /// Better than nothing.
    Old,
}

impl JobCache {
    /// The file of a cluster below the user's folder for caches.
    pub fn file(folder: &Path, cluster: &str) -> PathBuf {
        folder.join("tailll").join(format!("{cluster}.json"))
    }

    /// Reads the file; what cannot be read or is too old is empty.
    pub fn load(file: &Path) -> Self {
        let read = || -> io::Result<Self> {
            let mut text = Vec::new();
            fs::File::open(file)?
                .take(MAX_CACHE_BYTES)
                .read_to_end(&mut text)?;
            Ok(serde_json::from_slice(&text)?)
        };
        match read() {
            Ok(cache) if cache.version == VERSION => cache,
            Ok(_) | Err(_) => Self::default(),
        }
    }

    /// The jobs as `role/env/name`, if they are known.
    pub fn jobs(&self, now_ns: i64) -> Option<(&[String], Age)> {
        Some((&self.jobs, age(self.asked_ns, now_ns)?))
    }

    /// A job's instances, if they are known.
    pub fn instances(&self, job: &str, now_ns: i64) -> Option<(&[u32], Age)> {
        let known = self.instances.get(job)?;
        Some((&known.numbers, age(known.asked_ns, now_ns)?))
    }

    /// Remembers the jobs. Instances that are too old to be used are forgotten.
    pub fn set_jobs(&mut self, jobs: Vec<String>, now_ns: i64) {
        self.version = VERSION;
        self.asked_ns = now_ns;
        self.jobs = jobs;
        self.instances
            .retain(|_, known| age(known.asked_ns, now_ns).is_some());
    }

    /// Remembers a job's instances.
    pub fn set_instances(&mut self, job: &str, numbers: Vec<u32>, now_ns: i64) {
        self.version = VERSION;
        let known = Instances {
            asked_ns: now_ns,
            numbers,
        };
        self.instances.insert(job.to_owned(), known);
    }

    /// Writes the file, readable by its owner alone, in one step. One that would be too large is not written.
    ///
    /// # Errors
    /// The system's.
    pub fn store(&self, file: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        if text.len() as u64 >= MAX_CACHE_BYTES {
            return Ok(());
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let new = file.with_extension(format!("{}.new", std::process::id()));
        let written = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut opened| opened.write_all(&text))
            .and_then(|()| fs::rename(&new, file));
        if written.is_err() {
            // Nothing else can be done about it.
            let _ = fs::remove_file(&new);
        }
        written
    }
}

/// How much an answer of that time is worth now. One from the future was written by another clock.
fn age(asked_ns: i64, now_ns: i64) -> Option<Age> {
    match now_ns.saturating_sub(asked_ns) {
        0..FRESH_NS => Some(Age::Fresh),
        FRESH_NS..USABLE_NS => Some(Age::Old),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn what_is_stored_is_loaded_and_grows_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = JobCache::file(folder.path(), "aa");
        assert_eq!(JobCache::load(&file), JobCache::default());
        assert_eq!(
            JobCache::load(&file).jobs(0),
            Some((&[][..], Age::Fresh)),
            "at 1970 only"
        );
        let mut cache = JobCache::default();
        let now = 1_700_000_000 * S;
        assert_eq!(cache.jobs(now), None);
        cache.set_jobs(vec!["r/prod/a".to_owned()], now);
        cache.set_instances("r/prod/a", vec![0, 2], now);
        cache.store(&file).expect("to write");
        cache.store(&file).expect("to replace");
        let read = JobCache::load(&file);
        assert_eq!(read, cache);
        let ages = [0, 59, 60, 600_000, 700_000, -1].map(|s| {
            (
                read.jobs(now + s * S).map(|(_, age)| age),
                read.instances("r/prod/a", now + s * S).map(|(_, age)| age),
            )
        });
        let both = |age| (age, age);
        assert_eq!(
            ages,
            [
                both(Some(Age::Fresh)),
                both(Some(Age::Fresh)),
                both(Some(Age::Old)),
                both(Some(Age::Old)),
                both(None),
                both(None)
            ]
        );
    }

    #[test]
    fn a_strange_file_is_no_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("aa.json");
        for text in [
            "",
            "{",
            "[]",
            "{\"version\":2}",
            "{\"version\":1,\"jobs\":7}",
        ] {
            fs::write(&file, text).expect("to write");
            assert_eq!(JobCache::load(&file), JobCache::default(), "{text}");
        }
    }
}
