//! The state database: how far each log has got, and the objects that are planned and not in the archive yet.
//!
//! One SQLite file, `state.db`, which an operator can open with any SQLite. A plan is one transaction: it moves the offsets and
//! records the objects together, so that after a crash either both are there or neither. Commits reach the disk before they
//! return.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{AgentId, Incarnation};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::file_id::Src;
use crate::log::{Log, LogKey, Phase, Sample, Seen, ranges_from_pairs, ranges_to_pairs};
use crate::spool::Description;

/// The file's name in the state folder.
pub const FILE_NAME: &str = "state.db";

/// The version of the tables. A later version migrates from this one; an older program refuses a later one.
const VERSION: i64 = 1;

/// How long another process (`shipper ls`) may hold the database, in milliseconds.
const BUSY_MS: u64 = 5000;

/// How many pages of the log are written back at once, in pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 1000;

const TABLES: &str = "
CREATE TABLE agent (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    agent TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    nonce TEXT NOT NULL,
    held INTEGER NOT NULL,
    next_seq INTEGER NOT NULL
) STRICT;
CREATE TABLE logs (
    src TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    source TEXT NOT NULL,
    offset INTEGER NOT NULL,
    size INTEGER NOT NULL,
    phase TEXT NOT NULL,
    lost_until INTEGER,
    crc INTEGER,
    head BLOB NOT NULL,
    tail BLOB NOT NULL,
    rows TEXT NOT NULL,
    holes TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (src, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE objects (
    key TEXT PRIMARY KEY,
    staged TEXT NOT NULL,
    len INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    rows INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    planned_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The database, open for writing. One at a time: the lock on the spool sees to it.
#[derive(Debug)]
pub struct State {
    db: Connection,
    path: PathBuf,
}

/// An object that is planned: its bytes and its key are final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its key.
    pub key: String,
    /// The file's name in the staging folder.
    pub staged: String,
    /// Its length in bytes.
    pub len: u64,
    /// The digest of its bytes.
    pub sha256: [u8; 32],
    /// How many rows it has.
    pub rows: u64,
    /// How many bytes of logs its rows stand for.
    pub raw_bytes: u64,
    /// When it was planned, in ns since 1970.
    pub planned_ns: i64,
}

/// A batch: how far the logs get by it, and in which objects their rows are.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The logs as they are after it.
    pub logs: Vec<Log>,
    /// The objects, numbered from [`Identity::next_seq`] on.
    pub objects: Vec<Planned>,
    /// The first number that is free after it.
    pub next_seq: u64,
}

/// Who the agent is, by its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The agent.
    pub agent: AgentId,
    /// The incarnation that is claimed, or that a claim is about to be made for.
    pub incarnation: Incarnation,
    /// What the claim's object says, to know our own again.
    pub nonce: String,
    /// Whether the claim is ours.
    pub claim: Claim,
    /// The number of the next object.
    pub next_seq: u64,
}

/// Whether a claim is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Not known yet: it is about to be made, or the answer was lost.
    Intended,
    /// It is.
    Held,
}

/// What went wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database refused.
    #[error("{operation} {}", .path.display())]
    Database {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The folder cannot be made or used.
    #[error("state folder {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was written by a later version.
    #[error("{}: its version is {found}, this program knows up to {VERSION}: use the shipper that wrote it, or a later one", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version found.
        found: i64,
    },
    /// Something in it cannot be understood.
    #[error("{}: {what} cannot be understood: move the state folder away and run `shipper recover`", .path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
}

impl StateError {
    /// Whether the disk is full: nothing was changed, and it can be tried again.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Database { source: rusqlite::Error::SqliteFailure(error, _), .. }
            if error.code == rusqlite::ErrorCode::DiskFull)
    }
}

impl State {
    /// Opens the database in `folder`; makes it if it is not there.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        std::fs::create_dir_all(folder).map_err(|source| StateError::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join(FILE_NAME);
        let state = Self {
            db: Connection::open(&path).map_err(|source| failed("open", &path, source))?,
            path,
        };
        state.prepare()?;
        // The file's own name has to outlive a crash, too.
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| StateError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        Ok(state)
    }

    /// Opens the database for reading while an agent may be running. `None` if there is none.
    pub fn view(folder: &Path) -> Result<Option<Self>, StateError> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)
            .map_err(|source| failed("open", &path, source))?;
        let state = Self { db, path };
        state.busy_timeout()?;
        match state.version()? {
            VERSION => Ok(Some(state)),
            // An agent is about to make the tables.
            0 => Ok(None),
            found => Err(StateError::Version {
                path: state.path,
                found,
            }),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn busy_timeout(&self) -> Result<(), StateError> {
        self.db
            .busy_timeout(std::time::Duration::from_millis(BUSY_MS))
            .map_err(|source| failed("open", &self.path, source))
    }

    fn version(&self) -> Result<i64, StateError> {
        self.db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|source| failed("read", &self.path, source))
    }

    fn prepare(&self) -> Result<(), StateError> {
        self.busy_timeout()?;
        let set = |name, value: &dyn rusqlite::ToSql| {
            self.db
                .pragma_update(None, name, value)
                .map_err(|source| failed("open", &self.path, source))
        };
        set("journal_mode", &"wal")?;
        // A plan that returned is a fact: it has to be on the disk.
        set("synchronous", &"full")?;
        set("wal_autocheckpoint", &CHECKPOINT_PAGES)?;
        match self.version()? {
            VERSION => Ok(()),
            0 => self
                .db
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"
                ))
                .map_err(|source| failed("make the tables of", &self.path, source)),
            found => Err(StateError::Version {
                path: self.path.clone(),
                found,
            }),
        }
    }

    /// Who the agent is; `None` in a new database.
    pub fn identity(&self) -> Result<Option<Identity>, StateError> {
        let found = self
            .db
            .query_row(
                "SELECT agent, incarnation, nonce, held, next_seq FROM agent",
                [],
                |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, u32>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, bool>(3)?,
                        row.get::<_, i64>(4)?,
                    ))
                },
            )
            .optional()
            .map_err(|source| failed("read", &self.path, source))?;
        let Some((agent, incarnation, nonce, held, next_seq)) = found else {
            return Ok(None);
        };
        Ok(Some(Identity {
            agent: agent
                .parse()
                .map_err(|_| self.garbled(format!("the agent's id `{agent}`")))?,
            incarnation: Incarnation(incarnation),
            nonce,
            claim: if held { Claim::Held } else { Claim::Intended },
            next_seq: next_seq as u64,
        }))
    }

    /// Writes who the agent is.
    pub fn set_identity(&mut self, identity: &Identity) -> Result<(), StateError> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO agent (one, agent, incarnation, nonce, held, next_seq) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                params![
                    identity.agent.to_string(),
                    identity.incarnation.0,
                    identity.nonce,
                    identity.claim == Claim::Held,
                    identity.next_seq as i64
                ],
            )
            .map_err(|source| failed("write", &self.path, source))?;
        Ok(())
    }

    /// All logs, in the order of their keys.
    pub fn logs(&self) -> Result<Vec<Log>, StateError> {
        let read = |source| failed("read", &self.path, source);
        let mut select = self
            .db
            .prepare("SELECT src, epoch, source, offset, size, phase, lost_until, crc, tail, rows, holes, description, head FROM logs ORDER BY src, epoch")
            .map_err(read)?;
        let mut rows = select.query([]).map_err(read)?;
        let mut logs = Vec::new();
        while let Some(row) = rows.next().map_err(read)? {
            logs.push(self.log(row)?);
        }
        Ok(logs)
    }

    fn log(&self, row: &Row<'_>) -> Result<Log, StateError> {
        let read = |source| failed("read", &self.path, source);
        let src: String = row.get(0).map_err(read)?;
        let garbled = |what: &str| self.garbled(format!("{what} of log {src}"));
        let parse = |text: &str, what: &str| text.parse::<Src>().map_err(|_| garbled(what));
        let source: String = row.get(2).map_err(read)?;
        let phase: String = row.get(5).map_err(read)?;
        let until: Option<i64> = row.get(6).map_err(read)?;
        let rows: String = row.get(9).map_err(read)?;
        let offset = row.get::<_, i64>(3).map_err(read)? as u64;
        let holes: String = row.get(10).map_err(read)?;
        let holes: Vec<(u64, u64)> =
            serde_json::from_str(&holes).map_err(|_| garbled("the holes"))?;
        let sample = |column| {
            let bytes: Vec<u8> = row.get(column).map_err(read)?;
            Sample::from_bytes(&bytes).ok_or_else(|| garbled("the bytes known again"))
        };
        let description: String = row.get(11).map_err(read)?;
        let description = Description::from_json(description.as_bytes())
            .ok_or_else(|| garbled("the description"))?;
        // Mostly all three are one.
        let known = |text: &str, what: &str| match &description.src {
            src if src.as_str() == text => Ok(src.clone()),
            _ => parse(text, what),
        };
        Ok(Log {
            key: LogKey {
                src: known(&src, "the name")?,
                epoch: row.get(1).map_err(read)?,
            },
            source: known(&source, "the source")?,
            description: Arc::new(description),
            offset,
            size: row.get::<_, i64>(4).map_err(read)? as u64,
            phase: Phase::from_parts(&phase, until.map(|until| until as u64))
                .ok_or_else(|| garbled("the phase"))?,
            seen: Seen {
                crc: row
                    .get::<_, Option<i64>>(7)
                    .map_err(read)?
                    .map(|crc| crc as u64),
                head: sample(12)?,
                tail: sample(8)?,
            },
            rows: serde_json::from_str(&rows).map_err(|_| garbled("the rows' state"))?,
            holes: ranges_from_pairs(&holes, offset).ok_or_else(|| garbled("the holes"))?,
        })
    }

    /// The objects that are planned and not known to be in the archive, in the order of their planning.
    pub fn outstanding(&self) -> Result<Vec<Planned>, StateError> {
        let read = |source| failed("read", &self.path, source);
        let mut select = self
            .db
            .prepare("SELECT key, staged, len, sha256, rows, raw_bytes, planned_ns FROM objects ORDER BY planned_ns, key")
            .map_err(read)?;
        let objects = select
            .query_map([], |row| {
                Ok(Planned {
                    key: row.get(0)?,
                    staged: row.get(1)?,
                    len: row.get::<_, i64>(2)? as u64,
                    sha256: row.get(3)?,
                    rows: row.get::<_, i64>(4)? as u64,
                    raw_bytes: row.get::<_, i64>(5)? as u64,
                    planned_ns: row.get(6)?,
                })
            })
            .map_err(read)?;
        objects.collect::<Result<_, _>>().map_err(read)
    }

    /// Makes a batch a fact, or changes nothing.
    pub fn plan(&mut self, plan: &Plan) -> Result<(), StateError> {
        self.change(|change| {
            for log in &plan.logs {
                put_log(change, log)?;
            }
            let mut insert = change.prepare(
                "INSERT INTO objects (key, staged, len, sha256, rows, raw_bytes, planned_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for object in &plan.objects {
                insert.execute(params![
                    object.key,
                    object.staged,
                    object.len as i64,
                    object.sha256,
                    object.rows as i64,
                    object.raw_bytes as i64,
                    object.planned_ns
                ])?;
            }
            change.execute("UPDATE agent SET next_seq = ?1", [plan.next_seq as i64])?;
            Ok(())
        })
    }

    /// Writes logs without any object: sizes, phases, new epochs.
    pub fn set_logs<'l>(
        &mut self,
        logs: impl IntoIterator<Item = &'l Log>,
    ) -> Result<(), StateError> {
        self.change(|change| logs.into_iter().try_for_each(|log| put_log(change, log)))
    }

    /// Forgets logs that are finished and whose files are gone.
    pub fn forget<'l>(
        &mut self,
        keys: impl IntoIterator<Item = &'l LogKey>,
    ) -> Result<(), StateError> {
        self.change(|change| {
            let mut delete = change.prepare("DELETE FROM logs WHERE src = ?1 AND epoch = ?2")?;
            for key in keys {
                delete.execute(params![key.src.as_str(), key.epoch])?;
            }
            Ok(())
        })
    }

    /// One transaction: all of it is on the disk when this returns, or nothing was changed.
    fn change(
        &mut self,
        make: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StateError> {
        let path = &self.path;
        let write = |source| failed("write", path, source);
        let change = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(write)?;
        make(&change).map_err(write)?;
        change.commit().map_err(write)
    }

    /// An object is in the archive.
    pub fn commit(&mut self, key: &str) -> Result<(), StateError> {
        self.db
            .execute("DELETE FROM objects WHERE key = ?1", [key])
            .map_err(|source| failed("write", &self.path, source))?;
        Ok(())
    }

    fn garbled(&self, what: String) -> StateError {
        StateError::Garbled {
            path: self.path.clone(),
            what,
        }
    }
}

fn put_log(db: &Connection, log: &Log) -> rusqlite::Result<()> {
    let (phase, until) = log.phase.to_parts();
    let json = |error: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    let holes = ranges_to_pairs(&log.holes);
    db.prepare(
        "INSERT OR REPLACE INTO logs (src, epoch, source, offset, size, phase, lost_until, crc, tail, rows, holes, description, head)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?
    .execute(params![
        log.key.src.as_str(),
        log.key.epoch,
        log.source.as_str(),
        log.offset as i64,
        log.size as i64,
        phase,
        until.map(|until| until as i64),
        log.seen.crc.map(|crc| crc as i64),
        log.seen.tail.to_bytes(),
        serde_json::to_string(&log.rows).map_err(json)?,
        serde_json::to_string(&holes).map_err(json)?,
        log.description.to_json(),
        log.seen.head.to_bytes(),
    ])?;
    Ok(())
}

fn failed(operation: &'static str, path: &Path, source: rusqlite::Error) -> StateError {
    StateError::Database {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Loss;

    fn log(offset: u64) -> Log {
        let src: Src = "00000000000000ff-12-34".parse().expect("a src");
        let mut log = Log::new(Arc::new(Description {
            id: crate::file_id::FileId {
                dev: 1,
                ino: 12,
                birth_ns: Some(34),
            },
            path: "/var/log/a.log".into(),
            rule: "a".to_owned(),
            cluster: "aa".to_owned(),
            origin: archive::Origin {
                src: src.to_string(),
                host: Some("web1".to_owned()),
                ..Default::default()
            },
            certainty: crate::rules::Certainty::Rule,
            run_dir: None,
            found_ns: 5,
            src,
        }));
        log.key.epoch = 1;
        log.offset = offset;
        log.size = offset + 7;
        log.holes = std::iter::once(0..offset).collect();
        log.phase = Phase::Lost(offset + 2, Loss::Truncated);
        log.seen.tail = Sample::of(b"tail\0\xff");
        log
    }

    fn object(key: &str) -> Planned {
        Planned {
            key: key.to_owned(),
            staged: format!("{key}.staged"),
            len: 5,
            sha256: [7; 32],
            rows: 2,
            raw_bytes: 100,
            planned_ns: 12,
        }
    }

    #[test]
    fn what_was_planned_is_there_after_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a database");
        assert_eq!(state.identity().expect("readable"), None);
        let identity = Identity {
            agent: AgentId(255),
            incarnation: Incarnation(3),
            nonce: "once".to_owned(),
            claim: Claim::Held,
            next_seq: 8,
        };
        state.set_identity(&identity).expect("written");
        let plan = Plan {
            logs: vec![log(10)],
            objects: vec![object("a"), object("b")],
            next_seq: 10,
        };
        state.plan(&plan).expect("planned");
        // No farewell: a second connection sees what a new process would.
        let mut again = State::open(folder.path()).expect("the database");
        std::mem::forget(state);
        assert_eq!(
            again.identity().expect("readable"),
            Some(Identity {
                next_seq: 10,
                ..identity
            })
        );
        assert_eq!(again.logs().expect("readable"), [log(10)]);
        assert_eq!(again.outstanding().expect("readable"), plan.objects);
        again.commit("a").expect("committed");
        assert_eq!(again.outstanding().expect("readable"), [object("b")]);
        again.forget([&log(10).key]).expect("forgotten");
        assert_eq!(again.logs().expect("readable"), []);
    }

    #[test]
    fn a_plan_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a database");
        let plan = |offset, objects: &[&str]| Plan {
            logs: vec![log(offset)],
            objects: objects.iter().map(|key| object(key)).collect(),
            next_seq: 1,
        };
        state.plan(&plan(10, &["a"])).expect("planned");
        // One key twice: the database refuses the second, after the log was moved.
        state.plan(&plan(20, &["b", "a"])).expect_err("refused");
        assert_eq!(state.logs().expect("readable")[0].offset, 10);
        assert_eq!(state.outstanding().expect("readable"), [object("a")]);
    }

    #[test]
    fn a_full_disk_is_known_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a database");
        let pages = |state: &State, pages: i64| {
            let set = state
                .db
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
            set.expect("set");
        };
        pages(&state, 1);
        let plan = Plan {
            logs: (0..1000)
                .map(|epoch| {
                    let mut log = log(10);
                    log.key.epoch = epoch;
                    log
                })
                .collect(),
            objects: vec![object("a")],
            next_seq: 1,
        };
        let error = state.plan(&plan).expect_err("full");
        assert!(error.is_full(), "{error:?}");
        assert_eq!(state.logs().expect("readable"), []);
        assert_eq!(state.outstanding().expect("readable"), []);
        pages(&state, i64::from(u32::MAX) - 1);
        state.plan(&plan).expect("there is room again");
        assert_eq!(state.logs().expect("readable").len(), 1000);
    }

    #[test]
    fn a_database_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = State::open(folder.path()).expect("a database");
        state
            .db
            .pragma_update(None, "query_only", true)
            .expect("set");
        let error = state.set_logs([&log(1)]).expect_err("read-only");
        assert!(!error.is_full(), "{error:?}");
        state
            .db
            .pragma_update(None, "query_only", false)
            .expect("set");
        state.set_logs([&log(1)]).expect("written");
    }

    #[test]
    fn a_later_version_is_refused_and_a_reader_disturbs_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(State::view(folder.path()).expect("nothing there").is_none());
        let mut state = State::open(folder.path()).expect("a database");
        state.set_logs([&log(1)]).expect("written");
        let view = State::view(folder.path())
            .expect("readable")
            .expect("there");
        assert_eq!(view.logs().expect("readable"), [log(1)]);
        state.set_logs([&log(2)]).expect("written beside a reader");
        state
            .db
            .pragma_update(None, "user_version", 99)
            .expect("set");
        let error = State::open(folder.path()).expect_err("refused");
        assert!(matches!(error, StateError::Version { found: 99, .. }));
    }
}
