//! What objects are called, both ways.
//!
//! Data lies under [`LOGS`], a folder for each cluster and hour; what agents keep for themselves under [`AGENTS`]. Numbers
//! are padded, so that a listing, which is in the order of the bytes, is in the order of the numbers too.

use std::fmt;
use std::str::FromStr;

use joblog::{JobKey, JobKeyError};

use crate::civil::{DAY_SECONDS, Date, number};
use crate::encoding::Encoding;
use crate::identity::{AgentId, Incarnation};

/// Where the rows' objects lie, below the root.
pub const LOGS: &str = "logs/v1/";

/// Where agents keep what they need of the bucket, below the root.
pub const AGENTS: &str = "_state/v1/agents/";

/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Seconds of an hour.
const HOUR_SECONDS: i64 = 3600;

/// The hours of a day.
const DAY_HOURS: i64 = DAY_SECONDS / HOUR_SECONDS;

/// What stands before the cluster in a key: the name of the partition column.
const CLUSTER: &str = "cluster=";

/// What stands before the hour in a key: the name of the partition column.
const DH: &str = "dh=";

/// What stands before the hour in a checkpoint's key.
const CHECKPOINT: &str = "checkpoint-";

/// An hour in UTC, counted since 1970: the partition that a row lies in. It is in the years 1 to 9999, so that it is written
/// with four digits; other numbers are taken for the nearest hour in there. The time of a row, in ns since 1970 as 64 bits,
/// is always in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hour(i64);

impl Hour {
    /// 1 January of the year 1, 0 to 1 o'clock.
    pub const MIN: Self = Self(-719_162 * DAY_HOURS);

    /// 31 December 9999, 23 to 24 o'clock.
    pub const MAX: Self = Self(2_932_897 * DAY_HOURS - 1);

    /// The hour of a time in ns since 1970.
    pub fn of_ns(ts_ns: i64) -> Self {
        Self(ts_ns.div_euclid(HOUR_NS))
    }

    /// The hour by its number since 1970.
    pub fn from_number(number: i64) -> Self {
        Self(number.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Its number since 1970.
    pub fn number(self) -> i64 {
        self.0
    }

    /// The hour after it; the last one stays.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_number(self.0 + 1)
    }

    /// When it begins, in ns since 1970; the nearest time that 64 bits can say.
    pub fn start_ns(self) -> i64 {
        self.0.saturating_mul(HOUR_NS)
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day } = Date::of_days(self.0.div_euclid(DAY_HOURS));
        let hour = self.0.rem_euclid(DAY_HOURS);
        write!(f, "{year:04}-{month:02}-{day:02}-{hour:02}")
    }
}

impl FromStr for Hour {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'-', h0, h1] = *text.as_bytes()
            else {
                return None;
            };
            let date = Date {
                year: number(&[y0, y1, y2, y3])?,
                month: number(&[m0, m1])?,
                day: number(&[d0, d1])?,
            };
            let hour = number(&[h0, h1])?;
            let real = date.year >= 1 && date.is_real() && hour < DAY_HOURS;
            real.then(|| Self(date.days() * DAY_HOURS + hour))
        };
        parse().ok_or_else(|| KeyError::Hour(text.to_owned()))
    }
}

/// Why a text is no key of ours, or a key cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The cluster's name is not one that a job key could have.
    #[error("{text:?} cannot be a cluster's name in a key")]
    Cluster {
        /// The name.
        text: String,
        /// What is the matter.
        source: JobKeyError,
    },
    /// The text is no hour.
    #[error("{0:?} is no hour: YYYY-MM-DD-HH is expected")]
    Hour(String),
    /// The text is no key of an object with rows.
    #[error(
        "{0:?} is no key of rows: {LOGS}cluster=<cluster>/dh=<hour>/<agent>~<incarnation>~<number>.<encoding> is expected"
    )]
    Object(String),
}

/// The key of an object with rows:
/// `logs/v1/cluster=<cluster>/dh=<YYYY-MM-DD-HH>/<agent>~<incarnation>~<number>.<encoding>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    cluster: String,
    /// The hour of all its rows.
    pub hour: Hour,
    /// Who wrote it.
    pub agent: AgentId,
    /// In which of its starts.
    pub incarnation: Incarnation,
    /// Which object of that start it is.
    pub seq: u64,
    /// How its rows are written.
    pub encoding: Encoding,
}

impl ObjectKey {
    /// Makes a key. The cluster is what a job key allows.
    pub fn new(
        cluster: &str,
        hour: Hour,
        agent: AgentId,
        incarnation: Incarnation,
        seq: u64,
        encoding: Encoding,
    ) -> Result<Self, KeyError> {
        check_cluster(cluster)?;
        Ok(Self {
            cluster: cluster.to_owned(),
            hour,
            agent,
            incarnation,
            seq,
            encoding,
        })
    }

    /// The cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{LOGS}{CLUSTER}{}/{DH}{}/{}~{}~{:08}.{}",
            self.cluster,
            self.hour,
            self.agent,
            Padded(self.incarnation),
            self.seq,
            self.encoding.extension()
        )
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (cluster, rest) = text
                .strip_prefix(LOGS)?
                .strip_prefix(CLUSTER)?
                .split_once('/')?;
            let (hour, name) = rest.strip_prefix(DH)?.split_once('/')?;
            let (name, extension) = name.split_once('.')?;
            let (agent, name) = name.split_once('~')?;
            let (incarnation, seq) = name.split_once('~')?;
            Self::new(
                cluster,
                hour.parse().ok()?,
                agent.parse().ok()?,
                Incarnation(incarnation.parse().ok()?),
                seq.parse().ok()?,
                Encoding::from_extension(extension)?,
            )
            .ok()
        };
        // Numbers can be written in more ways than ours.
        parse()
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| KeyError::Object(text.to_owned()))
    }
}

/// An incarnation as keys write it.
struct Padded(Incarnation);

impl fmt::Display for Padded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0.0)
    }
}

/// What the keys of a cluster's objects begin with.
pub fn cluster_prefix(cluster: &str) -> Result<String, KeyError> {
    check_cluster(cluster)?;
    Ok(format!("{LOGS}{CLUSTER}{cluster}/"))
}

/// What the keys of an hour's objects begin with.
pub fn hour_prefix(cluster: &str, hour: Hour) -> Result<String, KeyError> {
    Ok(format!("{}{DH}{hour}/", cluster_prefix(cluster)?))
}

/// What the keys of an agent's objects of an hour begin with.
pub fn agent_hour_prefix(cluster: &str, hour: Hour, agent: AgentId) -> Result<String, KeyError> {
    Ok(format!("{}{agent}~", hour_prefix(cluster, hour)?))
}

/// The cluster that a key, or a prefix of keys, names.
pub(crate) fn cluster_of(key: &str) -> Option<&str> {
    let (cluster, _) = key
        .strip_prefix(LOGS)?
        .strip_prefix(CLUSTER)?
        .split_once('/')?;
    check_cluster(cluster).is_ok().then_some(cluster)
}

/// The hour that a key names behind its cluster's prefix.
pub(crate) fn hour_of(below_cluster: &str) -> Option<Hour> {
    let (hour, _) = below_cluster.strip_prefix(DH)?.split_once('/')?;
    hour.parse().ok()
}

/// The key of an agent's claim of a start.
pub fn claim_key(agent: AgentId, incarnation: Incarnation) -> String {
    format!("{}{}", claims_prefix(agent), Padded(incarnation))
}

/// What the keys of an agent's claims begin with. Its checkpoints' keys do so too, and come after the claims.
pub fn claims_prefix(agent: AgentId) -> String {
    format!("{AGENTS}{agent}/")
}

/// The claim that a key stands for, if it stands for one.
pub fn parse_claim(key: &str) -> Option<(AgentId, Incarnation)> {
    let (agent, name) = key.strip_prefix(AGENTS)?.split_once('/')?;
    let claim = (agent.parse().ok()?, Incarnation(name.parse().ok()?));
    (claim_key(claim.0, claim.1) == key).then_some(claim)
}

/// The key of an agent's checkpoint of an hour.
pub fn checkpoint_key(agent: AgentId, hour: Hour) -> String {
    format!("{}{hour}", checkpoints_prefix(agent))
}

/// What the keys of an agent's checkpoints begin with.
pub fn checkpoints_prefix(agent: AgentId) -> String {
    format!("{}{CHECKPOINT}", claims_prefix(agent))
}

/// The checkpoint that a key stands for, if it stands for one.
pub fn parse_checkpoint(key: &str) -> Option<(AgentId, Hour)> {
    let (agent, name) = key.strip_prefix(AGENTS)?.split_once('/')?;
    let hour = name.strip_prefix(CHECKPOINT)?.parse().ok()?;
    Some((agent.parse().ok()?, hour))
}

/// Whether a cluster can stand in a key. A job key is made of it, since that knows what is allowed.
fn check_cluster(cluster: &str) -> Result<(), KeyError> {
    match JobKey::new(cluster, "role", "env", "name") {
        Ok(_) => Ok(()),
        Err(source) => Err(KeyError::Cluster {
            text: cluster.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AGENT: AgentId = AgentId(0x1234_5678_9abc_def0);

    #[test]
    fn hours() {
        for (ts_ns, text) in [
            (0, "1970-01-01-00"),
            (-1, "1969-12-31-23"),
            (HOUR_NS - 1, "1970-01-01-00"),
            (HOUR_NS, "1970-01-01-01"),
            (1_767_585_600_000_000_000, "2026-01-05-04"),
            (i64::MIN, "1677-09-21-00"),
            (i64::MAX, "2262-04-11-23"),
        ] {
            let hour = Hour::of_ns(ts_ns);
            assert_eq!(hour.to_string(), text);
            assert_eq!(text.parse(), Ok(hour));
            assert!(hour.start_ns() <= ts_ns || hour.start_ns() == i64::MIN);
        }
        assert_eq!(Hour::MIN.to_string(), "0001-01-01-00");
        assert_eq!(Hour::MAX.to_string(), "9999-12-31-23");
        assert_eq!(Hour::from_number(i64::MAX).next(), Hour::MAX);
        assert_eq!(Hour::from_number(i64::MIN), Hour::MIN);
        for text in [
            "",
            "1970-01-01",
            "1970-01-01-24",
            "1970-02-30-00",
            "0000-01-01-00",
            "1970-1-01-00",
            "+970-01-01-00",
            "1970-01-01-00 ",
            "1970_01_01_00",
        ] {
            assert_eq!(text.parse::<Hour>(), Err(KeyError::Hour(text.to_owned())));
        }
    }

    #[test]
    fn keys() {
        let hour = Hour::of_ns(1_767_585_600_000_000_000);
        let key = ObjectKey::new("aa", hour, AGENT, Incarnation(7), 42, Encoding::Ndjson).unwrap();
        let text = "logs/v1/cluster=aa/dh=2026-01-05-04/123456789abcdef0~000007~00000042.ndjson.gz";
        assert_eq!(key.to_string(), text);
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(
            agent_hour_prefix("aa", hour, AGENT).unwrap(),
            "logs/v1/cluster=aa/dh=2026-01-05-04/123456789abcdef0~"
        );
        assert_eq!(
            claim_key(AGENT, Incarnation(7)),
            "_state/v1/agents/123456789abcdef0/000007"
        );
        assert_eq!(
            checkpoint_key(AGENT, hour),
            "_state/v1/agents/123456789abcdef0/checkpoint-2026-01-05-04"
        );
    }

    #[test]
    fn not_keys() {
        let good = "logs/v1/cluster=aa/dh=2026-01-05-04/123456789abcdef0~000007~00000042.parquet";
        assert!(good.parse::<ObjectKey>().is_ok());
        for (from, to) in [
            ("logs/v1/", "logs/v2/"),
            ("logs/v1/", "/logs/v1/"),
            ("cluster=aa", "cluster="),
            ("cluster=aa", "cluster=a a"),
            ("cluster=aa", "cluster=aa/b"),
            ("2026-01-05-04", "2026-01-05-4"),
            ("123456789abcdef0", "123456789ABCDEF0"),
            ("~000007", "~7"),
            ("~000007", "~0000007"),
            ("~000007", "~+00007"),
            ("~00000042", "~42"),
            (".parquet", ".parquet.tmp"),
            (".parquet", ""),
            (".parquet", ".parquet/"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_eq!(bad.parse::<ObjectKey>(), Err(KeyError::Object(bad)));
        }
        for cluster in ["", "a/b", "..*", "a=b", "a\n", "ä"] {
            assert!(matches!(
                hour_prefix(cluster, Hour::MIN),
                Err(KeyError::Cluster { .. })
            ));
        }
    }

    fn hour() -> impl Strategy<Value = Hour> {
        (Hour::MIN.0..=Hour::MAX.0).prop_map(Hour)
    }

    proptest! {
        #[test]
        fn render_then_parse(
            cluster in "[A-Za-z0-9_.-]{1,20}",
            hour in hour(),
            agent in any::<u64>(),
            incarnation in any::<u32>(),
            seq in any::<u64>(),
            is_parquet in any::<bool>(),
        ) {
            let (agent, incarnation) = (AgentId(agent), Incarnation(incarnation));
            let encoding = if is_parquet { Encoding::Parquet } else { Encoding::Ndjson };
            let key = ObjectKey::new(&cluster, hour, agent, incarnation, seq, encoding).unwrap();
            let text = key.to_string();
            prop_assert_eq!(text.parse::<ObjectKey>().unwrap(), key);
            prop_assert!(text.starts_with(&agent_hour_prefix(&cluster, hour, agent).unwrap()));
            prop_assert_eq!(cluster_of(&text), Some(cluster.as_str()));
            let below = text.strip_prefix(&cluster_prefix(&cluster).unwrap()).unwrap();
            prop_assert_eq!(hour_of(below), Some(hour));
            let claim = claim_key(agent, incarnation);
            prop_assert_eq!(parse_claim(&claim), Some((agent, incarnation)));
            prop_assert_eq!(parse_checkpoint(&claim), None);
            let checkpoint = checkpoint_key(agent, hour);
            prop_assert_eq!(parse_checkpoint(&checkpoint), Some((agent, hour)));
            prop_assert_eq!(parse_claim(&checkpoint), None);
        }

        #[test]
        fn any_text(text in "(logs/v1/cluster=)?[a-z./=~0-9-]{0,80}") {
            if let Ok(key) = text.parse::<ObjectKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }

        #[test]
        fn listings_are_in_order(hours in (hour(), hour()), seqs in (0..100_000_000_u64, 0..100_000_000_u64)) {
            let key = |hour, seq| {
                ObjectKey::new("aa", hour, AGENT, Incarnation(1), seq, Encoding::Parquet).unwrap()
            };
            let (a, b) = (key(hours.0, seqs.0), key(hours.1, seqs.1));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
