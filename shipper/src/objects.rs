//! The objects of one batch while they are written: one for each cluster and hour, in the staging folder.
//!
//! A batch that touches more hours than may be open at once is cut short: the row that would need another object is refused,
//! and its log goes on with it in the next batch.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use archive::encode::{EncodeError, ObjectWriter, WriteOptions};
use archive::key::KeyError;
use archive::{AgentId, Encoding, Hour, Incarnation, ObjectKey, Row};
use aws_lc_rs::digest::{Context, SHA256};

use crate::state::Planned;

/// How many objects of one batch are written at once, at most, in objects: each has a row group in memory.
pub const MAX_OPEN_OBJECTS: usize = 8;

/// How much of an object's row group is kept in memory, in encoded bytes.
const MAX_GROUP_BYTES: usize = 4 << 20;

/// How much is gathered before it is written to the staged file, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Where objects are staged and what they are called.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The staging folder.
    pub staging: PathBuf,
    /// How rows are written.
    pub encoding: Encoding,
    /// Who writes.
    pub agent: AgentId,
    /// In which of its starts.
    pub incarnation: Incarnation,
}

/// The objects of one batch.
#[derive(Debug)]
pub struct Objects {
    naming: Naming,
    next_seq: u64,
    options: WriteOptions,
    open: Vec<Open>,
    failed: Option<ObjectsError>,
    /// Whether a row was refused for want of room.
    full: bool,
}

#[derive(Debug)]
struct Open {
    key: ObjectKey,
    staged: String,
    writer: ObjectWriter<BufWriter<Hashed>>,
}

/// A file whose bytes are hashed as they are written.
#[derive(Debug)]
struct Hashed {
    file: File,
    digest: HashState,
    len: u64,
}

struct HashState(Context);

impl std::fmt::Debug for HashState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashState")
    }
}

/// Why a batch could not be written. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// A staged file could not be written.
    #[error("staged object {}", .path.display())]
    Staging {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A row could not be encoded.
    #[error("object {key}")]
    Encode {
        /// The object's key.
        key: String,
        /// Why.
        source: EncodeError,
    },
    /// The cluster cannot stand in a key.
    #[error("cluster `{cluster}`")]
    Cluster {
        /// The cluster.
        cluster: String,
        /// Why.
        source: KeyError,
    },
}

impl ObjectsError {
    /// Whether the disk is full: it may be tried again when it is not.
    pub fn is_full(&self) -> bool {
        let source: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Staging { source, .. } => Some(source),
            Self::Encode { source, .. } => Some(source),
            Self::Cluster { .. } => None,
        };
        std::iter::successors(source, |error| error.source()).any(|error| {
            error.downcast_ref::<io::Error>().is_some_and(|error| {
                matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            })
        })
    }
}

impl Objects {
    /// Objects numbered from `next_seq` on. Nothing is made before the first row.
    pub fn new(naming: Naming, next_seq: u64) -> Self {
        Self {
            naming,
            next_seq,
            options: WriteOptions {
                max_group_bytes: MAX_GROUP_BYTES,
                ..WriteOptions::default()
            },
            open: Vec::new(),
            failed: None,
            full: false,
        }
    }

    /// Writes a row where it belongs, or refuses it: there is no room for another object, or something failed.
    pub fn row(&mut self, cluster: &str, row: &Row<'_>) -> ControlFlow<()> {
        if self.failed.is_some() {
            return ControlFlow::Break(());
        }
        match self.try_row(cluster, row) {
            Ok(flow) => flow,
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn try_row(&mut self, cluster: &str, row: &Row<'_>) -> Result<ControlFlow<()>, ObjectsError> {
        let hour = Hour::of_ns(row.ts_ns);
        let found = self
            .open
            .iter()
            .position(|open| open.key.hour == hour && open.key.cluster() == cluster);
        let at = match found {
            Some(at) => at,
            None if self.open.len() >= MAX_OPEN_OBJECTS => {
                self.full = true;
                return Ok(ControlFlow::Break(()));
            }
            None => {
                let open = self.begin(cluster, hour)?;
                self.open.push(open);
                self.open.len() - 1
            }
        };
        let open = &mut self.open[at];
        open.writer
            .row(row)
            .map_err(|source| ObjectsError::Encode {
                key: open.key.to_string(),
                source,
            })?;
        Ok(ControlFlow::Continue(()))
    }

    fn begin(&mut self, cluster: &str, hour: Hour) -> Result<Open, ObjectsError> {
        let naming = &self.naming;
        let key = ObjectKey::new(
            cluster,
            hour,
            naming.agent,
            naming.incarnation,
            self.next_seq,
            naming.encoding,
        )
        .map_err(|source| ObjectsError::Cluster {
            cluster: cluster.to_owned(),
            source,
        })?;
        let staged = format!(
            "{}-{}.{}",
            naming.incarnation,
            self.next_seq,
            naming.encoding.extension()
        );
        let path = naming.staging.join(&staged);
        // What lies there under this name is of no plan: a plan would have used up the number.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| ObjectsError::Staging {
                path: path.clone(),
                source,
            })?;
        self.next_seq += 1;
        let sink = Hashed {
            file,
            digest: HashState(Context::new(&SHA256)),
            len: 0,
        };
        let sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
        let writer = ObjectWriter::new(naming.encoding, sink, &self.options).map_err(|source| {
            ObjectsError::Encode {
                key: key.to_string(),
                source,
            }
        })?;
        Ok(Open {
            key,
            staged,
            writer,
        })
    }

    /// Whether a row was refused because too many objects were open.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Ends all objects and makes them durable, names included. Gives what to plan and the next free number.
    pub fn finish(mut self, planned_ns: i64) -> Result<(Vec<Planned>, u64), ObjectsError> {
        let staging = self.naming.staging.clone();
        let open = std::mem::take(&mut self.open);
        let names: Vec<PathBuf> = open.iter().map(|open| staging.join(&open.staged)).collect();
        let finished = match self.failed.take() {
            Some(error) => Err(error),
            None => open
                .into_iter()
                .map(|open| open.finish(&staging, planned_ns))
                .collect::<Result<Vec<_>, _>>()
                .and_then(|planned| {
                    sync_folder(&staging)?;
                    Ok(planned)
                }),
        };
        if finished.is_err() {
            for path in names {
                // What stays is removed at the next start.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok((finished?, self.next_seq))
    }
}

impl Open {
    fn finish(self, staging: &Path, planned_ns: i64) -> Result<Planned, ObjectsError> {
        let key = self.key.to_string();
        let path = staging.join(&self.staged);
        let (sink, written) = self
            .writer
            .finish()
            .map_err(|source| ObjectsError::Encode {
                key: key.clone(),
                source,
            })?;
        let staging = |source| ObjectsError::Staging {
            path: path.clone(),
            source,
        };
        let hashed = sink
            .into_inner()
            .map_err(|error| staging(error.into_error()))?;
        hashed.file.sync_all().map_err(staging)?;
        let digest = hashed.digest.0.finish();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest.as_ref());
        Ok(Planned {
            key,
            staged: self.staged,
            len: hashed.len,
            sha256,
            rows: written.rows,
            raw_bytes: written.raw_bytes,
            planned_ns,
        })
    }
}

fn sync_folder(folder: &Path) -> Result<(), ObjectsError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| ObjectsError::Staging {
            path: folder.to_owned(),
            source,
        })
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.0.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
