//! A store in a directory, which keeps the same promise as a bucket: an object appears whole or not at all, is never changed,
//! and is on the disk before anybody is told.
//!
//! An object is written to a file in `_state/v1/tmp/`, synced, and linked to its final name: a link fails where a name is taken,
//! so two writers cannot both win. Then the folder is synced. Digests are not stored but computed on [`Store::head`]: a second
//! file with the digest could be lost by a crash between the two, and would lie among the data.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::{
    Body, Digest, Failure, Head, Listed, MAX_GET_BYTES, MAX_KEY_BYTES, MAX_OBJECT_BYTES, Page,
    Pending, Put, Root, Store, StoreError,
};

/// Where objects lie until they are whole, below the root. Listings leave it out.
const TEMPORARY: &str = "_state/v1/tmp";

/// How many objects a page of a listing has at most.
const PAGE_OBJECTS: usize = 1000;

/// How much is copied and hashed at a time, in bytes.
const COPY_BYTES: usize = 256 * 1024;

/// The longest part of a key between two slashes, in bytes: what file systems allow.
const MAX_NAME_BYTES: usize = 255;

/// How many folders are remembered as synced, in folders; then all are forgotten, and synced once more when they are met.
const MAX_SYNCED_FOLDERS: usize = 4096;

/// How old a temporary file has to be before it counts as left over by a process that died.
const LEFT_OVER_AFTER: Duration = Duration::from_hours(24);

/// The most names that are tried for a temporary file.
const MAX_TEMPORARY_NAMES: u32 = 10_000;

/// A store in a directory.
#[derive(Debug)]
pub struct DirStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// The folders whose names are known to be on the disk.
    synced: Mutex<HashSet<PathBuf>>,
    /// Numbers temporary files.
    next: AtomicU64,
    /// Whether what others left over has been removed.
    tidied: AtomicU64,
}

impl DirStore {
    /// A store below `root`, which is made with the first object.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            shared: Arc::new(Shared {
                root: root.into(),
                synced: Mutex::default(),
                next: AtomicU64::new(0),
                tidied: AtomicU64::new(0),
            }),
        }
    }

    /// Runs what waits for the disk on a thread that may wait.
    fn run<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        key: &'a str,
        work: impl FnOnce(&Shared) -> io::Result<T> + Send + 'static,
    ) -> Pending<'a, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&shared)).await;
            let failed = match done {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(panicked) => io::Error::other(panicked),
            };
            Err(StoreError::new(operation, key, kind(&failed), failed))
        })
    }
}

impl Store for DirStore {
    fn put_new<'a>(&'a self, key: &'a str, body: Body, sha256: Digest) -> Pending<'a, Put> {
        let name = key.to_owned();
        self.run("put", key, move |shared| shared.put(&name, &body, &sha256))
    }

    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Head>> {
        let name = key.to_owned();
        self.run("head", key, move |shared| {
            let mut file = match shared.open(&name) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let (len, sha256) = copy(&mut file, &mut io::sink())?;
            Ok(Some(Head {
                len,
                sha256: Some(sha256),
            }))
        })
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Bytes> {
        let name = key.to_owned();
        self.run("get", key, move |shared| shared.get(&name, range))
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page> {
        let name = prefix.to_owned();
        let after = after.map(ToOwned::to_owned);
        self.run("list", prefix, move |shared| {
            shared.list(&name, after.as_deref())
        })
    }

    fn root(&self) -> String {
        Root::Dir(self.shared.root.clone()).to_string()
    }
}

impl Shared {
    fn put(&self, key: &str, body: &Body, sha256: &Digest) -> io::Result<Put> {
        let path = self.path(key)?;
        let folder = path.parent().unwrap_or(&self.root);
        self.tidy();
        if path.symlink_metadata().is_ok() {
            return self.exists(folder);
        }
        let temporary = self.temporary()?;
        let written = write(&temporary, body, sha256)
            .and_then(|()| self.make(folder))
            .and_then(|()| fs::hard_link(&temporary.path, &path));
        match written {
            Ok(()) => {
                sync_folder(folder)?;
                Ok(Put::Created)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.exists(folder),
            Err(error) => Err(error),
        }
    }

    /// Whoever linked the object may have died before its name was on the disk; who is told that it is there relies on it.
    fn exists(&self, folder: &Path) -> io::Result<Put> {
        self.make(folder)?;
        sync_folder(folder)?;
        Ok(Put::Exists)
    }

    fn get(&self, key: &str, range: Option<Range<u64>>) -> io::Result<Bytes> {
        let file = self.open(key)?;
        let len = file.metadata()?.len();
        let range = range.unwrap_or(0..len);
        let end = range.end.min(len);
        let wanted = end.saturating_sub(range.start);
        if wanted > MAX_GET_BYTES {
            return Err(io::Error::other(format!(
                "{wanted} bytes are more than the {MAX_GET_BYTES} that are read at once"
            )));
        }
        let mut bytes = vec![0; wanted as usize];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }

    fn list(&self, prefix: &str, after: Option<&str>) -> io::Result<Page> {
        // A root that is not there is a mistake more often than an empty archive.
        self.root.metadata()?;
        let mut walk = Walk {
            prefix,
            after,
            page: Page::default(),
        };
        walk.folder(&self.root, "")?;
        Ok(walk.page)
    }

    fn open(&self, key: &str) -> io::Result<File> {
        let file = File::open(self.path(key)?)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(file)
    }

    /// Where an object of this key lies. Keys that would leave the root, or that no file system can hold, are refused.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let plain = |part: &str| {
            !matches!(part, "" | "." | "..") && part.len() <= MAX_NAME_BYTES && !part.contains('\0')
        };
        if key.len() > MAX_KEY_BYTES || !key.split('/').all(plain) || in_temporary(key) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no file can have this key",
            ));
        }
        Ok(self.root.join(key))
    }

    /// Makes a folder with all above it, and sees to it that their names are on the disk.
    fn make(&self, folder: &Path) -> io::Result<()> {
        let known = |folder: &Path| {
            let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            synced.contains(folder)
        };
        if known(folder) {
            // A person may have removed it since.
            return if folder.is_dir() {
                Ok(())
            } else {
                self.forget(folder)
            };
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
        for made in folder.ancestors() {
            if let Some(above) = made.parent() {
                sync_folder(above)?;
            }
            if made == self.root {
                // The root's own name may be new as well; what is above it is the operator's.
                break;
            }
        }
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.len() >= MAX_SYNCED_FOLDERS {
            synced.clear();
        }
        synced.insert(folder.to_owned());
        Ok(())
    }

    fn forget(&self, folder: &Path) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        synced.clear();
        drop(synced);
        self.make(folder)
    }

    /// A new file that nobody else has. Its name says which process made it, and a number where that was not enough.
    fn temporary(&self) -> io::Result<Temporary> {
        let folder = self.root.join(TEMPORARY);
        self.make(&folder)?;
        for _ in 0..MAX_TEMPORARY_NAMES {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&path);
            match made {
                Ok(file) => return Ok(Temporary { path, file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "{}: no free name was found",
            folder.display()
        )))
    }

    /// Removes what processes that died have left over, once. That it cannot be done is no reason not to write.
    fn tidy(&self) {
        if self.tidied.swap(1, Ordering::Relaxed) == 1 {
            return;
        }
        let _ = self.remove_left_overs();
    }

    fn remove_left_overs(&self) -> io::Result<()> {
        // The file system's own idea of now: its clock may be another machine's.
        let probe = self.temporary()?;
        let now = probe.file.metadata()?.modified()?;
        for entry in fs::read_dir(self.root.join(TEMPORARY))?.flatten() {
            let modified = entry.metadata()?.modified()?;
            if now
                .duration_since(modified)
                .is_ok_and(|age| age > LEFT_OVER_AFTER)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A file that goes away when this is dropped. What was linked to another name stays there.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is left over is removed by a later start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Fills a temporary file and syncs it. Bytes that are not those of the plan never get a name.
fn write(temporary: &Temporary, body: &Body, sha256: &Digest) -> io::Result<()> {
    let mut file = &temporary.file;
    let (len, expected, digest) = match body {
        Body::Bytes(bytes) => {
            let (len, digest) = copy(&mut bytes.as_ref(), &mut file)?;
            (len, bytes.len() as u64, digest)
        }
        Body::File { path, len } => {
            // One byte more, to see that there is none.
            let source = File::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            let (copied, digest) = copy(&mut source.take(len.saturating_add(1)), &mut file)?;
            (copied, *len, digest)
        }
    };
    if expected > MAX_OBJECT_BYTES {
        return Err(io::Error::other(format!(
            "{expected} bytes are more than the {MAX_OBJECT_BYTES} of one object"
        )));
    }
    if len != expected || digest != *sha256 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the bytes to be written are not those of the length and digest given",
        ));
    }
    temporary.file.sync_all()
}

/// Copies all there is. Returns how much it was, in bytes, and its digest.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, Digest)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; COPY_BYTES];
    let mut len = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        len += read as u64;
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    Ok((len, digest))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn in_temporary(key: &str) -> bool {
    key.strip_prefix(TEMPORARY)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn kind(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => Failure::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
        _ => Failure::Other,
    }
}

/// A walk over the tree in the order of the keys' bytes.
struct Walk<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    page: Page,
}

impl Walk<'_> {
    /// Lists a folder whose keys all begin with `above`.
    fn folder(&mut self, folder: &Path, above: &str) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // The slash belongs to a folder's name here: what is in `a` comes after `a.b`, and before `a0`.
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let what = entry.file_type()?;
            let Ok(mut name) = entry.file_name().into_string() else {
                continue;
            };
            if what.is_dir() {
                name.push('/');
            } else if !what.is_file() {
                continue;
            }
            let key = format!("{above}{name}");
            if self.wanted(&key) {
                names.push(key);
            }
        }
        names.sort_unstable();
        for key in names {
            if self.page.more {
                break;
            }
            let path = folder.join(&key[above.len()..]);
            if key.ends_with('/') {
                self.folder(&path, &key)?;
                continue;
            }
            if self.page.objects.len() == PAGE_OBJECTS {
                self.page.more = true;
                break;
            }
            // What vanishes under our eyes was not ours.
            if let Ok(metadata) = path.symlink_metadata() {
                self.page.objects.push(Listed {
                    key,
                    len: metadata.len(),
                });
            }
        }
        Ok(())
    }

    /// Whether an object of this key, or one in this folder, can belong to the page.
    fn wanted(&self, key: &str) -> bool {
        let folder = key.ends_with('/');
        let prefix = key.starts_with(self.prefix) || (folder && self.prefix.starts_with(key));
        let after = match self.after {
            None => true,
            Some(after) => key > after || (folder && after.starts_with(key)),
        };
        prefix && after && !in_temporary(key)
    }
}
