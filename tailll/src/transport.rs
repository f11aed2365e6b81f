//! Transports: how the files of a host are listed and read.
//!
//! Two operations are enough to follow a file exactly: [`Transport::list`] says which files there are and who they are, and
//! [`Transport::open`] gives one file's bytes from an offset on. Everything above (resume, rotation, truncation, history)
//! is built on these two, so every transport behaves the same; one conformance suite holds them to it.

use bytes::Bytes;

use crate::local::{LocalFiles, LocalStream};
use crate::remote::{RemoteFiles, RemoteStream};

/// Who a file is on its host, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device's number.
    pub device: u64,
    /// The inode's number, which a file system may reuse once the file is gone.
    pub inode: u64,
}

/// Which file an inode is, as far as it is known: a number that is used again, and when the file was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The inode's number.
    pub inode: u64,
    /// When the file was made, in seconds since 1970, where the file system and its tools tell.
    pub birth_s: Option<i64>,
}

impl Identity {
    /// Whether nothing says that these are two files.
    pub fn may_be(self, other: Self) -> bool {
        let born_together = match (self.birth_s, other.birth_s) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.inode == other.inode && born_together
    }
}

/// A file as a listing found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Who it is.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written, in seconds since 1970.
    pub modified_s: i64,
    /// When it was made, in seconds since 1970, where the host tells.
    pub birth_s: Option<i64>,
    /// Whether it is a regular file, a folder, or something that cannot be followed.
    pub kind: FileKind,
    /// Its path.
    pub path: Vec<u8>,
}

impl FileStat {
    /// Which file it is.
    pub fn identity(&self) -> Identity {
        Identity {
            inode: self.id.inode,
            birth_s: self.birth_s,
        }
    }
}

/// What a path turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A folder.
    Folder,
    /// A pipe, a socket, a device.
    Other,
}

/// What was found where a listing looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What the patterns matched, symbolic links resolved.
    pub files: Vec<FileStat>,
    /// What could not be looked at, in the host's words.
    pub denied: Vec<String>,
}

/// An absolute shell pattern without a newline: `/var/log/app/*.log`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Takes an absolute pattern; a path beginning with `~/` is below the login's home.
    ///
    /// # Errors
    /// Says what is wrong with a relative pattern or one with a newline or NUL in it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.contains(['\n', '\0']) {
            return Err(PatternError::Control(text.to_owned()));
        }
        if !text.starts_with('/') && !text.starts_with("~/") {
            return Err(PatternError::Relative(text.to_owned()));
        }
        // A path without `//` lets `//` mark the records of a listing.
        let mut clean = String::with_capacity(text.len());
        for c in text.chars() {
            if c != '/' || !clean.ends_with('/') {
                clean.push(c);
            }
        }
        Ok(Self(clean))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with `/` or `~/`.
    #[error("{0:?} is a relative path: give one that begins with / or ~/")]
    Relative(String),
    /// It has a newline or NUL in it.
    #[error("{0:?} has a newline or NUL in it: write ? in its place")]
    Control(String),
    /// It is too long.
    #[error("{0}")]
    Long(String),
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this offset in bytes.
    At(u64),
    /// At most this many bytes before the end that the file has when it is opened.
    Back(u64),
}

/// When reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the end of the file.
    End,
    /// After so many bytes, or at the end of the file.
    Bytes(u64),
    /// Never: bytes are given as they are written, until the file is truncated or the transport breaks.
    Forever,
}

/// The very file that is being read, as it was when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who it is.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// The offset of the first byte that will be given.
    pub start: u64,
}

/// What comes out of an open file.
#[derive(Debug)]
pub enum Chunk {
    /// The next bytes.
    Data(Bytes),
    /// Nothing more will come.
    End(End),
}

/// Why an open file gives no more bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its end was reached, as asked ([`Until::End`], [`Until::Bytes`]).
    Reached,
    /// The reader on the host ended: the file was truncated, or somebody ended the reader.
    Stopped,
    /// The transport broke; why, as a fragment.
    Broken(String),
}

/// Why a file could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no such file.
    #[error("there is no such file")]
    Gone,
    /// The login may not read it; the host's words.
    #[error("permission denied ({0})")]
    Denied(String),
    /// It is no regular file.
    #[error("not a regular file")]
    NotRegular,
    /// It is shorter than the offset asked for.
    #[error("it holds {size} bytes, less than before")]
    Shorter {
        /// Its size in bytes.
        size: u64,
    },
    /// The host cannot be used at all, and trying again will not help; why and what to do.
    #[error("{0}")]
    Refused(String),
    /// Something else that may pass; why.
    #[error("{0}")]
    Failed(String),
}

/// A way to a host's files.
#[derive(Debug, Clone)]
pub enum Transport {
    /// This host's own files.
    Local(LocalFiles),
    /// Another host's, by a shell over SSH.
    Remote(RemoteFiles),
}

impl Transport {
    /// What the patterns match now. Waits for a connection if there is none.
    ///
    /// # Errors
    /// As [`OpenError::Refused`] and [`OpenError::Failed`].
    pub async fn list(&self, patterns: &[Pattern]) -> Result<Listing, OpenError> {
        match self {
            Self::Local(files) => files.list(patterns).await,
            Self::Remote(files) => files.list(patterns).await,
        }
    }

    /// Opens a file for reading. Waits for a connection if there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        &self,
        path: &[u8],
        start: Start,
        until: Until,
    ) -> Result<(Header, ByteStream), OpenError> {
        match self {
            Self::Local(files) => {
                let (header, stream) = files.open(path, start, until).await?;
                Ok((header, ByteStream::Local(stream)))
            }
            Self::Remote(files) => {
                let (header, stream) = files.open(path, start, until).await?;
                Ok((header, ByteStream::Remote(Box::new(stream))))
            }
        }
    }
}

/// An open file's bytes. Dropping it ends the reading, on the host too.
#[derive(Debug)]
pub enum ByteStream {
    /// Of this host.
    Local(LocalStream),
    /// Of another host.
    Remote(Box<RemoteStream>),
}

impl ByteStream {
    /// The next bytes, or why there are none. Safe to drop while waiting: nothing is lost.
    pub async fn next(&mut self) -> Chunk {
        match self {
            Self::Local(stream) => stream.next().await,
            Self::Remote(stream) => stream.next().await,
        }
    }
}
