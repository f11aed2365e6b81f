//! An agent's checkpoint: once an hour, how far each of its logs is in the archive, so that a lost state can be made again
//! without reading all that the agent ever wrote, and so that readers know until when the archive is complete.
//!
//! A checkpoint is a promise: **all rows before its offsets are in the archive, and no object numbered from `next_seq` on was
//! planned before it.** So it may be made only while nothing is outstanding: every planned object is committed. The caller
//! checks that ([`crate::agent::Agent::outstanding`] is empty), since only the caller has the moment.
//!
//! It holds no byte of any log: what is masked in rows must not come back here.
//!
//! The frame of the format, which other readers share, is `archive`'s.

use std::io::{self, BufWriter, Write};
use std::ops::Range;

use archive::checkpoint::{Unreadable, VERSION, limit, unpack};
use archive::key::{self, checkpoint_key, parse_checkpoint};
use archive::listing::ListError;
use archive::store::{MAX_GET_BYTES, digest};
use archive::{AgentId, Hour, Incarnation, Store, StoreError};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize, Serializer};

use crate::fetch::{again, may_pass};
use crate::file_id::Src;
use crate::log::{Log, LogKey, Phase, ranges_from_pairs, ranges_to_pairs};
use crate::rows::RowState;
use crate::spool::Description;
use crate::state::Identity;

pub use archive::checkpoint::{MAX_PACKED_BYTES, MAX_TEXT_BYTES, MAX_TRIED};

/// The most keys of an agent's own that are listed, in keys: more than a thousand years of checkpoints.
pub const MAX_KEYS: usize = 10_000_000;

/// How hard gzip tries, 1 to 9.
const GZIP_LEVEL: u32 = 6;

/// How much text is gathered before it is packed, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// How far an agent's logs are in the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Who.
    pub agent: AgentId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// The number of the next object: no object of this number or a higher one was planned before.
    pub next_seq: u64,
    /// The host's name.
    pub host: String,
    /// When it was made, in ns since 1970.
    pub written_ns: i64,
    /// Every line that was written to a known file until then is in the archive, in ns since 1970.
    pub complete_until_ns: i64,
    /// The logs, in the order of their keys.
    pub logs: Vec<Mark>,
}

/// How far a log is in the archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Which.
    pub key: LogKey,
    /// The file that it is read from.
    pub source: Src,
    /// See [`Log::offset`].
    pub offset: u64,
    /// See [`Log::size`].
    pub size: u64,
    /// See [`Log::rows`].
    pub rows: RowState,
    /// The digest of the bytes before the offset; see [`crate::log::Seen::crc`].
    pub crc: Option<u64>,
    /// See [`Log::holes`].
    pub holes: Vec<Range<u64>>,
    /// See [`Log::phase`].
    pub phase: Phase,
    /// Whose it is.
    pub description: Option<Description>,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is too large to be written.
    #[error("a checkpoint of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Its bytes are none that we wrote.
    #[error("a checkpoint that is not whole: {0}")]
    Garbled(String),
    /// A later program wrote it.
    #[error("a checkpoint of version {0}, this program knows up to {VERSION}")]
    Version(u32),
    /// The store failed.
    #[error("read the checkpoints")]
    Store(#[from] StoreError),
    /// They could not be listed.
    #[error("list the checkpoints")]
    List(#[from] ListError),
}

/// The latest checkpoint that can be read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latest {
    /// It, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Of each later one, why it was passed over.
    pub passed_over: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Json<L> {
    version: u32,
    agent: String,
    incarnation: u32,
    next_seq: u64,
    host: String,
    written_ns: i64,
    complete_until_ns: i64,
    logs: L,
}

/// Logs that become JSON one after the other: all at once they would take more memory than all else that is kept of them.
struct Streamed<I>(I);

impl<I: Iterator<Item = JsonLog> + Clone> Serialize for Streamed<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Counts what is written, and refuses more than a checkpoint may have.
struct Limited<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_TEXT_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.inner.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[derive(Serialize, Deserialize)]
struct JsonLog {
    src: String,
    epoch: u32,
    offset: u64,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default)]
    rows: RowState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    holes: Vec<(u64, u64)>,
    #[serde(default = "open", skip_serializing_if = "is_open")]
    phase: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost_until: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

fn open() -> String {
    Phase::Open.to_parts().0.to_owned()
}

fn is_open(phase: &str) -> bool {
    phase == Phase::Open.to_parts().0
}

/// When a checkpoint is made, and what it promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment<'a> {
    /// The host's name.
    pub host: &'a str,
    /// Now, in ns since 1970.
    pub written_ns: i64,
    /// See [`Checkpoint::complete_until_ns`].
    pub complete_until_ns: i64,
}

impl Checkpoint {
    /// A checkpoint of these logs. Only while nothing is outstanding; see the module.
    pub fn of<'l>(
        identity: &Identity,
        moment: &Moment<'_>,
        logs: impl IntoIterator<Item = &'l Log>,
    ) -> Self {
        Self {
            agent: identity.agent,
            incarnation: identity.incarnation,
            next_seq: identity.next_seq,
            host: moment.host.to_owned(),
            written_ns: moment.written_ns,
            complete_until_ns: moment.complete_until_ns,
            logs: logs.into_iter().map(Mark::of).collect(),
        }
    }

    /// Where it lies: one for each hour.
    pub fn key(&self) -> String {
        checkpoint_key(self.agent, Hour::of_ns(self.written_ns))
    }

    /// Its bytes for the archive.
    pub fn encode(&self) -> Result<Bytes, CheckpointError> {
        self.encode_with(self.logs.iter().map(Mark::to_json))
    }

    /// The same with these logs in place of its own.
    pub fn encode_logs<'l>(
        &self,
        logs: impl Iterator<Item = &'l Log> + Clone,
    ) -> Result<Bytes, CheckpointError> {
        self.encode_with(logs.map(|log| Mark::of(log).to_json()))
    }

    fn encode_with(
        &self,
        logs: impl Iterator<Item = JsonLog> + Clone,
    ) -> Result<Bytes, CheckpointError> {
        let json = Json {
            version: VERSION,
            agent: self.agent.to_string(),
            incarnation: self.incarnation.0,
            next_seq: self.next_seq,
            host: self.host.clone(),
            written_ns: self.written_ns,
            complete_until_ns: self.complete_until_ns,
            logs: Streamed(logs),
        };
        let garbled = |error: &dyn std::error::Error| CheckpointError::Garbled(error.to_string());
        let mut text = BufWriter::with_capacity(
            BUFFER_BYTES,
            Limited {
                inner: GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)),
                bytes: 0,
            },
        );
        let written = serde_json::to_writer(&mut text, &json)
            .map_err(io::Error::from)
            .and_then(|()| text.flush());
        limit(text.get_ref().bytes, MAX_TEXT_BYTES)?;
        let packed = written
            .and_then(|()| text.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|text| text.inner.finish())
            .map_err(|error| garbled(&error))?;
        limit(packed.len() as u64, MAX_PACKED_BYTES)?;
        Ok(packed.into())
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let garbled = |what: String| CheckpointError::Garbled(what);
        let text = unpack(bytes)?;
        let json: Json<Vec<JsonLog>> =
            serde_json::from_slice(&text).map_err(|error| garbled(error.to_string()))?;
        let mut logs = Vec::with_capacity(json.logs.len());
        for log in json.logs {
            let at = logs.len();
            logs.push(Mark::from_json(log).ok_or_else(|| garbled(format!("its log {at}")))?);
        }
        logs.sort_by(|one, two| one.key.cmp(&two.key));
        if logs.windows(2).any(|pair| pair[0].key == pair[1].key) {
            return Err(garbled("a log stands in it twice".to_owned()));
        }
        Ok(Self {
            agent: json
                .agent
                .parse()
                .map_err(|_| garbled("its agent's id".to_owned()))?,
            incarnation: Incarnation(json.incarnation),
            next_seq: json.next_seq,
            host: json.host,
            written_ns: json.written_ns,
            complete_until_ns: json.complete_until_ns,
            logs,
        })
    }
}

impl From<Unreadable> for CheckpointError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            Unreadable::Garbled(what) => Self::Garbled(what),
            Unreadable::Version(version) => Self::Version(version),
        }
    }
}

impl Mark {
    fn of(log: &Log) -> Self {
        Self {
            key: log.key.clone(),
            source: log.source.clone(),
            offset: log.offset,
            size: log.size,
            rows: log.rows,
            crc: log.seen.crc,
            holes: log.holes.clone(),
            phase: log.phase,
            description: Some((*log.description).clone()),
        }
    }

    fn to_json(&self) -> JsonLog {
        let (phase, lost_until) = self.phase.to_parts();
        JsonLog {
            src: self.key.src.to_string(),
            epoch: self.key.epoch,
            offset: self.offset,
            size: self.size,
            source: (self.source != self.key.src).then(|| self.source.to_string()),
            rows: self.rows,
            crc: self.crc,
            holes: ranges_to_pairs(&self.holes),
            phase: phase.to_owned(),
            lost_until,
            description: self
                .description
                .as_ref()
                .map(|description| description.to_json().trim_end().to_owned()),
        }
    }

    /// `None` of what no log can be like.
    fn from_json(json: JsonLog) -> Option<Self> {
        let src: Src = json.src.parse().ok()?;
        let phase = Phase::from_parts(&json.phase, json.lost_until)?;
        let holes = ranges_from_pairs(&json.holes, json.offset)?;
        let description = match json.description {
            // One that cannot be read is as good as none: the pin has another.
            Some(text) => Description::from_json(text.as_bytes()),
            None => None,
        };
        // State and offsets are kept as 63 bits.
        let fits = |number: u64| i64::try_from(number).is_ok();
        if !fits(json.offset) || !fits(json.size) {
            return None;
        }
        Some(Self {
            source: match json.source {
                Some(source) => source.parse().ok()?,
                None => src.clone(),
            },
            key: LogKey {
                src,
                epoch: json.epoch,
            },
            offset: json.offset,
            size: json.size,
            rows: json.rows,
            crc: json.crc,
            holes,
            phase,
            description,
        })
    }
}

/// All keys that an agent keeps for itself: claims, then checkpoints.
pub(crate) async fn own_keys(
    store: &dyn Store,
    agent: AgentId,
) -> Result<Vec<String>, CheckpointError> {
    let prefix = key::claims_prefix(agent);
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned();
        let page = again(|| store.list(&prefix, after.as_deref()), may_pass).await?;
        let is_last = !page.more || page.objects.is_empty();
        keys.extend(page.objects.into_iter().map(|object| object.key));
        if keys.len() > MAX_KEYS {
            return Err(ListError::TooMany {
                prefix,
                max: MAX_KEYS,
            }
            .into());
        }
        if is_last {
            return Ok(keys);
        }
    }
}

/// The latest checkpoint of an agent. One that is damaged is passed over for the one before it, which is no less true.
pub async fn latest(store: &dyn Store, agent: AgentId) -> Result<Latest, CheckpointError> {
    let keys = own_keys(store, agent).await?;
    latest_of(store, agent, &keys).await
}

/// The same, of keys that are listed already.
pub(crate) async fn latest_of(
    store: &dyn Store,
    agent: AgentId,
    keys: &[String],
) -> Result<Latest, CheckpointError> {
    let mut latest = Latest::default();
    let checkpoints = keys
        .iter()
        .rev()
        .filter(|key| parse_checkpoint(key).is_some_and(|(of, _)| of == agent));
    for key in checkpoints.take(MAX_TRIED) {
        match read(store, key).await {
            Ok(checkpoint) if checkpoint.agent == agent => {
                latest.checkpoint = Some(checkpoint);
                break;
            }
            Ok(other) => latest
                .passed_over
                .push(format!("{key}: it is agent {}'s", other.agent)),
            // What a later program wrote is for that program; and a store that fails is not a damaged checkpoint.
            Err(error @ (CheckpointError::Version(_) | CheckpointError::Store(_))) => {
                return Err(error);
            }
            Err(error) => latest.passed_over.push(format!("{key}: {error}")),
        }
    }
    Ok(latest)
}

async fn read(store: &dyn Store, key: &str) -> Result<Checkpoint, CheckpointError> {
    let garbled = |what: &str| CheckpointError::Garbled(what.to_owned());
    let head = again(|| store.head(key), may_pass)
        .await?
        .ok_or_else(|| garbled("it is gone"))?;
    limit(head.len, MAX_PACKED_BYTES.min(MAX_GET_BYTES))?;
    let bytes = again(|| store.get(key, None), may_pass).await?;
    if head.sha256.is_some_and(|sha256| sha256 != digest(&bytes)) {
        return Err(garbled("its sha256 is not the one that was stored with it"));
    }
    Checkpoint::decode(&bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use archive::store::Body;
    use archive::store::dir::DirStore;
    use proptest::prelude::*;

    use super::*;
    use crate::file_id::FileId;
    use crate::log::Loss;
    use crate::state::Claim;

    const HOUR_NS: i64 = 3_600_000_000_000;

    fn log(ino: u64, offset: u64, phase: Phase) -> Log {
        let src: Src = format!("00000000000000ff-{ino}-34").parse().expect("a src");
        let mut log = Log::new(Arc::new(Description {
            id: FileId {
                dev: 1,
                ino,
                birth_ns: Some(34),
            },
            path: "/var/log/a.log".into(),
            rule: "a".to_owned(),
            cluster: "aa".to_owned(),
            origin: archive::Origin {
                src: src.to_string(),
                job: Some("hello".to_owned()),
                ..Default::default()
            },
            certainty: crate::rules::Certainty::Rule,
            run_dir: None,
            found_ns: 5,
            src,
        }));
        log.offset = offset;
        log.size = offset + 3;
        log.phase = phase;
        log.rows.time.newest_ns = Some(7);
        log.seen.crc = Some(u64::MAX - ino);
        log
    }

    fn checkpoint(hour: i64) -> Checkpoint {
        let mut copied = log(3, 50, Phase::Draining);
        copied.source = "00000000000000ff-9-34".parse().expect("a src");
        copied.holes = vec![3..5, 10..20];
        copied.seen.crc = None;
        let logs = [
            log(1, 10, Phase::Open),
            copied,
            log(4, 0, Phase::Ended),
            log(5, 7, Phase::Lost(9, Loss::SpoolFull)),
        ];
        let identity = Identity {
            agent: AgentId(255),
            incarnation: Incarnation(3),
            nonce: "n".to_owned(),
            claim: Claim::Held,
            next_seq: 77,
        };
        let moment = Moment {
            host: "web1",
            written_ns: hour * HOUR_NS + 5,
            complete_until_ns: hour * HOUR_NS,
        };
        Checkpoint::of(&identity, &moment, &logs)
    }

    fn pack(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut packed, text.as_bytes()).expect("packed");
        packed.finish().expect("packed")
    }

    #[test]
    fn both_ways() {
        let checkpoint = checkpoint(10);
        let bytes = checkpoint.encode().expect("encoded");
        let read = Checkpoint::decode(&bytes).expect("decoded");
        assert_eq!(read, checkpoint);
        assert_eq!(
            read.key(),
            "_state/v1/agents/00000000000000ff/checkpoint-1970-01-01-10"
        );
        assert_eq!(read.logs[1].source.as_str(), "00000000000000ff-9-34");
        // What other readers see of it.
        let standing = archive::checkpoint::Standing::read(&bytes).expect("read");
        assert_eq!(standing.agent, checkpoint.agent);
        assert_eq!(standing.incarnation, checkpoint.incarnation);
        assert_eq!(standing.host, checkpoint.host);
        assert_eq!(standing.written_ns, checkpoint.written_ns);
        assert_eq!(standing.complete_until_ns, checkpoint.complete_until_ns);
        let logs = archive::checkpoint::Logs { open: 2, ended: 2 };
        assert_eq!(standing.logs, logs);
        // No byte of a log is in it.
        let mut log = log(1, 10, Phase::Open);
        log.seen.tail = crate::log::Sample::of(b"swordfish");
        let text = serde_json::to_string(&Mark::of(&log).to_json()).expect("JSON");
        assert!(!text.contains("swordfish"), "{text}");
    }

    #[test]
    fn what_is_refused() {
        let good = r#"{"version":1,"agent":"00000000000000ff","incarnation":1,"next_seq":5,"host":"h","written_ns":1,"complete_until_ns":1,"logs":[{"src":"00000000000000ff-1-2","epoch":0,"offset":9,"size":9,"holes":[[1,2]]}]}"#;
        let read = Checkpoint::decode(&pack(good)).expect("decoded");
        assert_eq!(read.logs[0].phase, Phase::Open);
        for (from, to) in [
            ("00000000000000ff\"", "ff\""),
            ("ff-1-2", "ff-1"),
            ("\"offset\":9", "\"offset\":-9"),
            ("\"offset\":9", "\"offset\":18446744073709551615"),
            ("[1,2]", "[2,1]"),
            ("[1,2]", "[1,10]"),
            ("[1,2]", "[3,5],[4,6]"),
            ("\"size\":9", "\"size\":9,\"phase\":\"lost\""),
            ("\"size\":9", "\"size\":9,\"phase\":\"truncated\""),
            ("\"size\":9", "\"size\":9,\"source\":\"../x\""),
            ("]}]}", "]}]"),
            ("\"logs\"", "\"log\""),
        ] {
            assert!(good.contains(from), "{from}");
            let text = good.replacen(from, to, 1);
            let error = Checkpoint::decode(&pack(&text)).expect_err(&text);
            assert!(
                matches!(error, CheckpointError::Garbled(_)),
                "{text}: {error}"
            );
        }
        let twice = good.replacen(
            r#""logs":["#,
            r#""logs":[{"src":"00000000000000ff-1-2","epoch":0,"offset":0,"size":9},"#,
            1,
        );
        Checkpoint::decode(&pack(&twice)).expect_err("a log twice");
        let later = pack(r#"{"version":2,"what":"ever"}"#);
        assert!(matches!(
            Checkpoint::decode(&later),
            Err(CheckpointError::Version(2))
        ));
        Checkpoint::decode(b"").expect_err("nothing");
        let bytes = pack(good);
        Checkpoint::decode(&bytes[..bytes.len() / 2]).expect_err("half of it");
    }

    #[test]
    fn a_small_object_cannot_become_a_large_text() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        let zeros = vec![b' '; 1 << 20];
        for _ in 0..=(MAX_TEXT_BYTES >> 20) {
            std::io::Write::write_all(&mut packed, &zeros).expect("packed");
        }
        let bytes = packed.finish().expect("packed");
        assert!((bytes.len() as u64) < MAX_PACKED_BYTES);
        assert!(matches!(
            Checkpoint::decode(&bytes),
            Err(CheckpointError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":,a-z0-9-]{0,200}") {
            let _ = Checkpoint::decode(&bytes);
            let _ = Checkpoint::decode(&pack(&text));
        }
    }

    async fn put(store: &DirStore, key: &str, bytes: Bytes) {
        let sha256 = digest(&bytes);
        store
            .put_new(key, Body::Bytes(bytes), sha256)
            .await
            .expect("put");
    }

    #[tokio::test]
    async fn the_latest_that_can_be_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = DirStore::new(folder.path());
        let agent = AgentId(255);
        put(
            &store,
            &key::claim_key(agent, Incarnation(1)),
            Bytes::from_static(b"{}"),
        )
        .await;
        assert_eq!(
            latest(&store, agent).await.expect("read"),
            Latest::default()
        );
        for hour in [2, 10, 9] {
            let checkpoint = checkpoint(hour);
            put(
                &store,
                &checkpoint.key(),
                checkpoint.encode().expect("encoded"),
            )
            .await;
        }
        let found = latest(&store, agent).await.expect("read");
        assert_eq!(found.checkpoint, Some(checkpoint(10)));
        put(
            &store,
            &checkpoint_key(agent, Hour::from_number(11)),
            Bytes::from_static(b"?"),
        )
        .await;
        let found = latest(&store, agent).await.expect("read");
        assert_eq!(found.checkpoint, Some(checkpoint(10)));
        assert!(found.passed_over[0].contains("checkpoint-1970-01-01-11"));
        assert_eq!(
            latest(&store, AgentId(1)).await.expect("read"),
            Latest::default()
        );
        // Another's, under our key.
        let mut other = checkpoint(12);
        other.agent = AgentId(1);
        put(
            &store,
            &checkpoint(12).key(),
            other.encode().expect("encoded"),
        )
        .await;
        let found = latest(&store, agent).await.expect("read");
        assert_eq!(found.passed_over.len(), 2);
        let later = pack(r#"{"version":9}"#);
        put(
            &store,
            &checkpoint_key(agent, Hour::from_number(13)),
            later.into(),
        )
        .await;
        latest(&store, agent).await.expect_err("of a later version");
    }
}
