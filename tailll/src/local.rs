//! The local transport: this host's own files, read directly.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::glob::Glob;
use crate::transport::{
    Chunk, End, FileId, FileKind, FileStat, Header, Listing, OpenError, Pattern, Start, Until,
};

/// How often a file that is read to its end is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Bytes read at once, at most.
const READ_BYTES: usize = 64 * 1024;

/// Bytes before the offset that are read again with the next ones.
const BEFORE_BYTES: usize = 64;

/// Files of one listing, at most.
const LISTING_FILES: usize = 300_000;

/// This host's own files.
#[derive(Debug, Clone)]
pub struct LocalFiles {
    home: Option<PathBuf>,
}

impl LocalFiles {
    /// With the folder that `~/` stands for.
    pub fn new(home: Option<PathBuf>) -> Self {
        Self { home }
    }

    /// See [`crate::transport::Transport::list`].
    pub async fn list(&self, patterns: &[Pattern]) -> Result<Listing, OpenError> {
        let patterns: Vec<Vec<u8>> = patterns
            .iter()
            .map(|pattern| self.expand_home(pattern))
            .collect();
        tokio::task::spawn_blocking(move || list(&patterns))
            .await
            .map_err(|error| OpenError::Failed(error.to_string()))?
    }

    fn expand_home(&self, pattern: &Pattern) -> Vec<u8> {
        match (pattern.as_str().strip_prefix('~'), &self.home) {
            (Some(rest), Some(home)) => [home.as_os_str().as_bytes(), rest.as_bytes()].concat(),
            _ => pattern.as_str().as_bytes().to_vec(),
        }
    }

    /// See [`crate::transport::Transport::open`].
    pub async fn open(
        &self,
        path: &[u8],
        start: Start,
        until: Until,
    ) -> Result<(Header, LocalStream), OpenError> {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
        tokio::task::spawn_blocking(move || open(&path, start, until))
            .await
            .map_err(|error| OpenError::Failed(error.to_string()))?
    }
}

fn open(path: &Path, start: Start, until: Until) -> Result<(Header, LocalStream), OpenError> {
    // Looked at before it is opened, since opening a pipe would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|error| open_error(&error))?;
    if !metadata.is_file() {
        return Err(OpenError::NotRegular);
    }
    let file = File::open(path).map_err(|error| open_error(&error))?;
    let metadata = file.metadata().map_err(|error| open_error(&error))?;
    if !metadata.is_file() {
        return Err(OpenError::NotRegular);
    }
    let size = metadata.size();
    let start = match start {
        Start::At(offset) => offset,
        Start::Back(bytes) => size.saturating_sub(bytes),
    };
    if size < start {
        return Err(OpenError::Shorter { size });
    }
    let header = Header {
        id: id_of(&metadata),
        size,
        start,
    };
    Ok((
        header,
        LocalStream {
            file: Arc::new(file),
            offset: start,
            until,
            left: match until {
                Until::Bytes(bytes) => bytes,
                Until::End | Until::Forever => u64::MAX,
            },
            before: Vec::new(),
        },
    ))
}

fn birth_s(metadata: &std::fs::Metadata) -> Option<i64> {
    let birth = metadata.created().ok()?;
    let since_1970 = birth.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_secs())
        .ok()
        .filter(|birth| *birth > 0)
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

fn open_error(error: &io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Gone,
        io::ErrorKind::PermissionDenied => OpenError::Denied(error.to_string()),
        _ => OpenError::Failed(error.to_string()),
    }
}

/// A file of this host being read.
#[derive(Debug)]
pub struct LocalStream {
    file: Arc<File>,
    offset: u64,
    until: Until,
    /// How many bytes are still to be given at most.
    left: u64,
    /// The last bytes that were given. They are read again with the next ones: a file that was truncated and has grown past the
    /// offset since the last look differs there.
    before: Vec<u8>,
}

impl LocalStream {
    /// See [`crate::transport::ByteStream::next`].
    pub async fn next(&mut self) -> Chunk {
        loop {
            if self.left == 0 {
                return Chunk::End(End::Reached);
            }
            let size = match self.file.metadata() {
                Ok(metadata) => metadata.size(),
                Err(error) => return Chunk::End(End::Broken(error.to_string())),
            };
            // Smaller than what was read: truncated. Nothing written since may be taken for what came after.
            if size < self.offset {
                return Chunk::End(End::Stopped);
            }
            if size > self.offset {
                let (file, offset) = (self.file.clone(), self.offset - self.before.len() as u64);
                let read = tokio::task::spawn_blocking(move || read(&file, offset)).await;
                match read {
                    Ok(Ok(bytes)) if bytes.len() <= self.before.len() => {}
                    Ok(Ok(mut bytes)) => {
                        if bytes.split_to(self.before.len()) != self.before {
                            return Chunk::End(End::Stopped);
                        }
                        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                        if self.until != Until::Forever {
                            self.left -= bytes.len() as u64;
                        }
                        self.offset += bytes.len() as u64;
                        self.before.clear();
                        self.before
                            .extend_from_slice(&bytes[bytes.len().saturating_sub(BEFORE_BYTES)..]);
                        return Chunk::Data(bytes);
                    }
                    Ok(Err(error)) => return Chunk::End(End::Broken(error.to_string())),
                    Err(error) => return Chunk::End(End::Broken(error.to_string())),
                }
            } else if self.until != Until::Forever {
                return Chunk::End(End::Reached);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn read(file: &File, offset: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; READ_BYTES];
    let length = file.read_at(&mut buffer, offset)?;
    buffer.truncate(length);
    Ok(Bytes::from(buffer))
}

fn list(patterns: &[Vec<u8>]) -> Result<Listing, OpenError> {
    let mut listing = Listing::default();
    for pattern in patterns {
        let parts: Vec<&[u8]> = pattern
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        walk(Path::new("/"), &parts, &mut listing)?;
    }
    Ok(listing)
}

/// Follows a pattern's parts from a folder on, as a shell does: names are read only where the pattern has a wildcard.
fn walk(folder: &Path, parts: &[&[u8]], listing: &mut Listing) -> Result<(), OpenError> {
    let Some((part, rest)) = parts.split_first() else {
        match std::fs::metadata(folder) {
            Ok(metadata) => listing.files.push(stat_of(folder, &metadata)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => deny(folder, listing),
            // Matched and gone again.
            Err(_) => {}
        }
        if listing.files.len() > LISTING_FILES {
            return Err(OpenError::Failed(format!(
                "the patterns match more than {LISTING_FILES} files: use narrower ones"
            )));
        }
        return Ok(());
    };
    if !part.iter().any(|byte| b"*?[".contains(byte)) {
        return walk(
            &folder.join(std::ffi::OsStr::from_bytes(part)),
            rest,
            listing,
        );
    }
    let glob: Glob = String::from_utf8_lossy(part)
        .parse()
        .map_err(|error: crate::glob::GlobError| OpenError::Failed(error.to_string()))?;
    let mut names = match std::fs::read_dir(folder) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            deny(folder, listing);
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    names.sort_unstable();
    for name in names {
        let bytes = name.as_bytes();
        let hidden = bytes.starts_with(b".") && !part.starts_with(b".");
        if !hidden && glob.matches(bytes) {
            walk(&folder.join(&name), rest, listing)?;
        }
    }
    Ok(())
}

fn deny(path: &Path, listing: &mut Listing) {
    listing
        .denied
        .push(format!("{}: Permission denied", path.display()));
}

fn stat_of(path: &Path, metadata: &std::fs::Metadata) -> FileStat {
    let kind = if metadata.is_file() {
        FileKind::Regular
    } else if metadata.is_dir() {
        FileKind::Folder
    } else {
        FileKind::Other
    };
    FileStat {
        id: id_of(metadata),
        size: metadata.size(),
        modified_s: metadata.mtime(),
        birth_s: birth_s(metadata),
        kind,
        path: path.as_os_str().as_bytes().to_vec(),
    }
}
