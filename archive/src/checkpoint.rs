//! What readers need of an agent's checkpoint: whose it is, when it was made, and until when everything is in the archive.
//!
//! Owns the frame of the format, which its writer uses too: gzip around JSON, limits, and the version. What an agent notes of
//! each of its logs is the writer's matter; here they are only counted.

use std::fmt;
use std::io::Read as _;

use flate2::bufread::GzDecoder;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::key::{self, AGENTS, Hour, checkpoint_key, parse_checkpoint};
use crate::listing::ListError;
use crate::store::{MAX_GET_BYTES, Store, StoreError, digest};
use crate::{AgentId, Incarnation};

/// The version of the text. A later one that an older reader would misunderstand raises it.
pub const VERSION: u32 = 1;

/// The largest checkpoint that is written or read, in bytes as they lie in the archive.
pub const MAX_PACKED_BYTES: u64 = 32 << 20;

/// The largest checkpoint that is written or read, in bytes of its text.
pub const MAX_TEXT_BYTES: u64 = 256 << 20;

/// How many checkpoints of an agent are tried, from the latest back, in checkpoints: damaged ones are passed over.
pub const MAX_TRIED: usize = 24;

/// The most agents that are found, in agents.
pub const MAX_AGENTS: usize = 100_000;

/// How far back the latest checkpoint is looked for, in hours, before the whole of an agent's is listed: two days, forty days.
const LOOK_BACK_HOURS: [i64; 2] = [48, 960];

/// What follows `/` in the order of bytes: where to go on behind everything in a folder.
const BEHIND_FOLDER: char = '0';

/// What an agent calls a log that it has shipped to its end.
const ENDED: &str = "ended";

/// How things stood with an agent when it wrote a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub agent: AgentId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// The host's name.
    pub host: String,
    /// When it was made, in ns since 1970.
    pub written_ns: i64,
    /// Every line that was written to a known file until then is in the archive, in ns since 1970.
    pub complete_until_ns: i64,
    /// Its logs.
    pub logs: Logs,
}

/// How many logs an agent knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Logs {
    /// Logs that may still grow, or that are not shipped to their end.
    pub open: u64,
    /// Logs of which no more will come: shipped to their end, or lost.
    pub ended: u64,
}

/// The bytes are no checkpoint that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is larger than it may be.
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
}

/// The latest checkpoint of an agent that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latest {
    /// It, if there is one.
    pub standing: Option<Standing>,
    /// Of each later one, why it was passed over.
    pub passed_over: Vec<String>,
}

/// What of any version can be read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
struct Json {
    agent: String,
    incarnation: u32,
    host: String,
    written_ns: i64,
    complete_until_ns: i64,
    logs: Logs,
}

#[derive(Deserialize)]
struct JsonLog {
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    lost_until: Option<IgnoredAny>,
}

impl Standing {
    /// Reads it from an object's bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let text = unpack(bytes)?;
        let json: Json = serde_json::from_slice(&text).map_err(garbled)?;
        let agent = json.agent.parse();
        Ok(Self {
            agent: agent.map_err(|_| Unreadable::Garbled("its agent's id".to_owned()))?,
            incarnation: Incarnation(json.incarnation),
            host: json.host,
            written_ns: json.written_ns,
            complete_until_ns: json.complete_until_ns,
            logs: json.logs,
        })
    }
}

/// Logs are counted as they come: an agent may have a million.
impl<'de> Deserialize<'de> for Logs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counter;
        impl<'de> Visitor<'de> for Counter {
            type Value = Logs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of logs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut logs: A) -> Result<Logs, A::Error> {
                let mut counted = Logs::default();
                while let Some(log) = logs.next_element::<JsonLog>()? {
                    // A log without a phase is open; one that is lost says until where, whatever the cause is called.
                    let is_ended = log.lost_until.is_some() || log.phase.as_deref() == Some(ENDED);
                    if is_ended {
                        counted.ended += 1;
                    } else {
                        counted.open += 1;
                    }
                }
                Ok(counted)
            }
        }
        deserializer.deserialize_seq(Counter)
    }
}

/// The text of a checkpoint of a version that this program knows.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    limit(bytes.len() as u64, MAX_PACKED_BYTES)?;
    let mut text = Vec::new();
    let mut unpacked = GzDecoder::new(bytes).take(MAX_TEXT_BYTES + 1);
    unpacked.read_to_end(&mut text).map_err(garbled)?;
    limit(text.len() as u64, MAX_TEXT_BYTES)?;
    // The version first: what else is there is that version's matter.
    let Versioned { version } = serde_json::from_slice(&text).map_err(garbled)?;
    if version > VERSION {
        return Err(Unreadable::Version(version));
    }
    Ok(text)
}

/// Refuses more bytes than are allowed.
pub fn limit(bytes: u64, max: u64) -> Result<(), Unreadable> {
    if bytes > max {
        return Err(Unreadable::TooLarge { bytes, max });
    }
    Ok(())
}

fn garbled(error: impl fmt::Display) -> Unreadable {
    Unreadable::Garbled(error.to_string())
}

/// The agents whose ids begin with these hexadecimal digits, in order. Ids are random, so that sixteen callers with a digit each
/// have a sixteenth of the work each.
pub async fn agents(store: &dyn Store, digits: &str) -> Result<Vec<AgentId>, ListError> {
    let prefix = format!("{AGENTS}{digits}");
    let mut found: Vec<AgentId> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        for object in &page.objects {
            if let Some(agent) = agent_of(&object.key)
                && found.last() != Some(&agent)
            {
                found.push(agent);
            }
        }
        if found.len() > MAX_AGENTS {
            return Err(ListError::TooMany {
                prefix,
                max: MAX_AGENTS,
            });
        }
        let Some(last) = page.objects.last().filter(|_| page.more) else {
            return Ok(found);
        };
        // An agent has a key for each hour of its life; one page of them is enough.
        after = Some(match agent_of(&last.key) {
            Some(agent) => {
                let folder = key::claims_prefix(agent);
                format!("{}{BEHIND_FOLDER}", folder.trim_end_matches('/'))
            }
            None => last.key.clone(),
        });
    }
}

fn agent_of(key: &str) -> Option<AgentId> {
    let (agent, _) = key.strip_prefix(AGENTS)?.split_once('/')?;
    agent.parse().ok()
}

/// The latest checkpoint of an agent. One that is damaged is passed over for the one before it, which is no less true. `now` is
/// where to begin to look.
pub async fn latest(store: &dyn Store, agent: AgentId, now: Hour) -> Result<Latest, ListError> {
    let mut keys = Vec::new();
    let windows = LOOK_BACK_HOURS.iter().map(|hours| {
        let from = Hour::from_number(now.number().saturating_sub(*hours));
        Some(checkpoint_key(agent, from))
    });
    for after in windows.chain([None]) {
        keys = checkpoints(store, agent, after).await?;
        if !keys.is_empty() {
            break;
        }
    }
    let mut latest = Latest::default();
    for key in keys.iter().rev().take(MAX_TRIED) {
        match read(store, key).await? {
            Ok(standing) if standing.agent == agent => {
                latest.standing = Some(standing);
                break;
            }
            Ok(other) => {
                let text = format!("{key}: it is agent {}'s", other.agent);
                latest.passed_over.push(text);
            }
            Err(error) => latest.passed_over.push(format!("{key}: {error}")),
        }
    }
    Ok(latest)
}

/// The keys of an agent's last checkpoints after a key, oldest first; of a very long list only the end.
async fn checkpoints(
    store: &dyn Store,
    agent: AgentId,
    mut after: Option<String>,
) -> Result<Vec<String>, StoreError> {
    let prefix = key::checkpoints_prefix(agent);
    let mut keys: Vec<String> = Vec::new();
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = page.objects.last() else {
            return Ok(keys);
        };
        after = Some(last.key.clone());
        let ours = page.objects.into_iter().map(|object| object.key);
        keys.extend(ours.filter(|key| parse_checkpoint(key).is_some_and(|(of, _)| of == agent)));
        keys.drain(..keys.len().saturating_sub(MAX_TRIED));
        if !page.more {
            return Ok(keys);
        }
    }
}

/// A checkpoint, or what is wrong with it; the outer error is the store's.
async fn read(store: &dyn Store, key: &str) -> Result<Result<Standing, Unreadable>, StoreError> {
    let Some(head) = store.head(key).await? else {
        return Ok(Err(Unreadable::Garbled("it is gone".to_owned())));
    };
    if let Err(error) = limit(head.len, MAX_PACKED_BYTES.min(MAX_GET_BYTES)) {
        return Ok(Err(error));
    }
    let bytes = store.get(key, None).await?;
    if head.sha256.is_some_and(|sha256| sha256 != digest(&bytes)) {
        let what = "its sha256 is not the one that was stored with it";
        return Ok(Err(Unreadable::Garbled(what.to_owned())));
    }
    Ok(Standing::read(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Body;
    use crate::store::dir::DirStore;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    fn pack(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    fn text(agent: AgentId, written_ns: i64) -> String {
        format!(
            r#"{{"version":1,"agent":"{agent}","incarnation":3,"next_seq":5,"host":"web1","written_ns":{written_ns},
            "complete_until_ns":7,"logs":[{{"src":"x"}},{{"phase":"draining"}},{{"phase":"ended"}},
            {{"phase":"spool-full","lost_until":5}},{{"phase":"open"}}],"later":true}}"#
        )
    }

    async fn put(store: &dyn Store, agent: AgentId, hour: i64, bytes: Vec<u8>) {
        let key = checkpoint_key(agent, Hour::from_number(hour));
        let sha256 = digest(&bytes);
        let body = Body::Bytes(bytes.into());
        store.put_new(&key, body, sha256).await.unwrap();
    }

    #[test]
    fn a_checkpoint_is_read_and_its_logs_are_counted() {
        let read = Standing::read(&pack(&text(AgentId(255), 9))).unwrap();
        let expected = Standing {
            agent: AgentId(255),
            incarnation: Incarnation(3),
            host: "web1".to_owned(),
            written_ns: 9,
            complete_until_ns: 7,
            logs: Logs { open: 3, ended: 2 },
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_refused() {
        let good = text(AgentId(255), 9);
        for (from, to, why) in [
            ("00000000000000ff", "ff", "agent's id"),
            ("\"version\":1", "\"version\":2", "version 2"),
            ("\"logs\":[", "\"logs\":{", "not whole"),
            ("\"host\"", "\"hosts\"", "host"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            let error = Standing::read(&pack(&bad)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(matches!(
            Standing::read(b"not gzip"),
            Err(Unreadable::Garbled(_))
        ));
        let packed = pack(&good);
        assert!(Standing::read(&packed[..packed.len() - 9]).is_err());
    }

    #[tokio::test]
    async fn the_latest_that_can_be_read_is_found_however_long_ago() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path());
        let (one, two, three) = (AgentId(1), AgentId(2), AgentId(u64::MAX));
        for hour in 0..30 {
            put(&store, one, hour, pack(&text(one, hour))).await;
        }
        put(&store, two, 4, pack(&text(two, 4))).await;
        put(&store, two, 5, b"damaged".to_vec()).await;
        put(&store, two, 6, pack(&text(one, 6))).await;
        let claim = key::claim_key(three, Incarnation(1));
        let none = Body::Bytes(bytes::Bytes::new());
        store.put_new(&claim, none, digest(b"")).await.unwrap();

        assert_eq!(agents(&store, "").await.unwrap(), [one, two, three]);
        assert_eq!(agents(&store, "f").await.unwrap(), [three]);
        assert_eq!(agents(&store, "a").await.unwrap(), []);

        for now in [29, 60, 900, 100_000] {
            let now = Hour::from_number(now);
            let found = latest(&store, one, now).await.unwrap();
            assert_eq!(found.standing.unwrap().written_ns, 29);
            assert_eq!(found.passed_over, Vec::<String>::new());
            let found = latest(&store, two, now).await.unwrap();
            assert_eq!(found.standing.unwrap().written_ns, 4);
            assert_eq!(found.passed_over.len(), 2, "{:?}", found.passed_over);
            let found = latest(&store, three, now).await.unwrap();
            assert_eq!(found, Latest::default());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,80}") {
            let _ = Standing::read(&bytes);
            let _ = Standing::read(&pack(&text));
        }
    }
}
