//! Until when an archive is complete, and which hosts are behind.
//!
//! Owns the judgement; what agents write is `archive::checkpoint`'s. An agent writes a checkpoint each hour, so what is told is up
//! to an hour older than what is there: never newer. A host that has been set up anew has a new agent; only the last one of a host
//! counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use archive::checkpoint::{self, Latest, Standing};
use archive::listing::ListError;
use archive::{AgentId, Hour, Store};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::retry::{Outside, again, listing_may_recover};

/// How old what an agent promises may be before its host is said to be behind, in ns: checkpoints come each hour, and a failed
/// one is tried again with the next, but half an hour more is enough for one that is only slow.
pub const BEHIND_AFTER_NS: i64 = 90 * 60 * 1_000_000_000;

/// How long an agent may say nothing before its host is said to be silent instead of behind, in ns: seven days.
pub const SILENT_AFTER_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// How many agents' checkpoints are read at once.
const MAX_AT_ONCE: usize = 16;

/// How many hosts are named in a line, of each kind.
const MAX_NAMED: usize = 3;

/// How complete an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Until when the rows of all hosts that are on time are there, in ns since 1970; none if no host is.
    pub complete_until_ns: Option<i64>,
    /// How many hosts are on time.
    pub on_time: usize,
    /// Hosts that are not, the one that lags most first.
    pub behind: Vec<Lagging>,
    /// Hosts that have said nothing for [`SILENT_AFTER_NS`] though their logs went on, the one silent longest first.
    pub silent: Vec<Lagging>,
    /// How many agents have ended with all of their logs shipped to the end: nothing of theirs is missing.
    pub ended: usize,
    /// Agents of which nothing can be read, and checkpoints that were passed over, each with its reason.
    pub unreadable: Vec<String>,
}

/// A host that lags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lagging {
    /// Its name.
    pub host: String,
    /// Its agent.
    pub agent: AgentId,
    /// Until when its rows are there, in ns since 1970.
    pub complete_until_ns: i64,
}

/// Asks an archive's agents, by what they wrote. `now_ns` is the time now, in ns since 1970.
pub async fn freshness(
    store: &Arc<dyn Store>,
    now_ns: i64,
    outside: &Outside,
) -> Result<Freshness, ListError> {
    let mut listing = JoinSet::new();
    for digit in 0..16_u8 {
        let (store, outside) = (Arc::clone(store), outside.clone());
        listing.spawn(async move {
            let digits = format!("{digit:x}");
            again(&outside, listing_may_recover, || {
                checkpoint::agents(&*store, &digits)
            })
            .await
        });
    }
    let mut agents = Vec::new();
    while let Some(found) = listing.join_next().await {
        agents.extend(joined(found)?);
    }
    agents.sort_unstable();
    let mut reading: JoinSet<(AgentId, Result<Latest, ListError>)> = JoinSet::new();
    let mut waiting = agents.into_iter();
    let mut standings = Vec::new();
    let mut unreadable = Vec::new();
    loop {
        while reading.len() < MAX_AT_ONCE
            && let Some(agent) = waiting.next()
        {
            let (store, outside) = (Arc::clone(store), outside.clone());
            reading.spawn(async move {
                let now = Hour::of_ns(now_ns);
                let latest = again(&outside, listing_may_recover, || {
                    checkpoint::latest(&*store, agent, now)
                });
                (agent, latest.await)
            });
        }
        let Some(read) = reading.join_next().await else {
            break;
        };
        let (agent, latest) = joined(read);
        let latest = latest?;
        if latest.standing.is_none() && latest.passed_over.is_empty() {
            // It has not lived for an hour yet, or its first hour's uploads still wait.
            unreadable.push(format!("agent {agent} has no checkpoint yet"));
        }
        unreadable.extend(latest.passed_over);
        standings.extend(latest.standing);
    }
    unreadable.sort_unstable();
    let mut freshness = Freshness::of(standings, now_ns);
    freshness.unreadable = unreadable;
    Ok(freshness)
}

/// What a task returned; its panic goes on here.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Freshness {
    /// What some agents' last checkpoints say together.
    pub fn of(standings: impl IntoIterator<Item = Standing>, now_ns: i64) -> Self {
        let mut by_host: BTreeMap<String, Standing> = BTreeMap::new();
        for standing in standings {
            match by_host.get(&standing.host) {
                Some(other) if other.written_ns >= standing.written_ns => {}
                _ => {
                    by_host.insert(standing.host.clone(), standing);
                }
            }
        }
        let mut freshness = Self::default();
        for (host, standing) in by_host {
            // A clock that is ahead promises nothing beyond now.
            let complete_until_ns = standing.complete_until_ns.min(now_ns);
            let lagging = Lagging {
                host,
                agent: standing.agent,
                complete_until_ns,
            };
            if now_ns.saturating_sub(complete_until_ns) <= BEHIND_AFTER_NS {
                freshness.on_time += 1;
                let until = freshness.complete_until_ns.unwrap_or(i64::MAX);
                freshness.complete_until_ns = Some(until.min(complete_until_ns));
            } else if standing.logs.open == 0 {
                freshness.ended += 1;
            } else if now_ns.saturating_sub(standing.written_ns) > SILENT_AFTER_NS {
                freshness.silent.push(lagging);
            } else {
                freshness.behind.push(lagging);
            }
        }
        freshness.behind.sort_by_key(|host| host.complete_until_ns);
        freshness.silent.sort_by_key(|host| host.complete_until_ns);
        freshness
    }

    /// All of it in a line: `complete until 12:41 UTC; node7 is 2 h behind`.
    pub fn text(&self, now_ns: i64) -> String {
        let mut parts = Vec::new();
        match self.complete_until_ns {
            Some(until_ns) => parts.push(format!("complete until {} UTC", clock(until_ns, now_ns))),
            None if self.behind.is_empty() && self.silent.is_empty() && self.ended == 0 => {
                parts.push("no host says until when it is complete".to_owned());
            }
            None if self.behind.is_empty() && self.silent.is_empty() => {
                parts.push("complete: all agents have ended".to_owned());
            }
            None => parts.push("no host is on time".to_owned()),
        }
        if !self.behind.is_empty() {
            let names = named(&self.behind, |host| {
                let lag = span(now_ns.saturating_sub(host.complete_until_ns));
                format!("{} is {lag} behind", host.host)
            });
            parts.push(names);
        }
        if !self.silent.is_empty() {
            let names = named(&self.silent, |host| {
                let since = clock(host.complete_until_ns, now_ns);
                format!("{} is silent since {since}", host.host)
            });
            parts.push(names);
        }
        match self.unreadable.len() {
            0 => {}
            1 => parts.push(self.unreadable[0].clone()),
            count => parts.push(format!(
                "{count} checkpoints or agents cannot be read, the first: {}",
                self.unreadable[0]
            )),
        }
        parts.join("; ")
    }
}

/// The first few, and how many more there are.
fn named(hosts: &[Lagging], say: impl Fn(&Lagging) -> String) -> String {
    let mut texts: Vec<String> = hosts.iter().take(MAX_NAMED).map(say).collect();
    let more = hosts.len().saturating_sub(MAX_NAMED);
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}

/// A time of day in UTC, with its date if that is not today's.
fn clock(at_ns: i64, now_ns: i64) -> String {
    let (Ok(at), Ok(now)) = (
        Timestamp::from_nanosecond(i128::from(at_ns)),
        Timestamp::from_nanosecond(i128::from(now_ns)),
    ) else {
        return format!("{at_ns} ns");
    };
    let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
    if day(at) == day(now) {
        at.strftime("%H:%M").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// A length of time in the largest unit of which there are two or more.
fn span(ns: i64) -> String {
    let minutes = ns.max(0) / 60_000_000_000;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::Incarnation;
    use archive::checkpoint::Logs;
    use archive::key::{checkpoint_key, claim_key};
    use archive::store::dir::DirStore;
    use archive::store::{Body, digest};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    const MINUTE_NS: i64 = 60_000_000_000;
    const HOUR_NS: i64 = 60 * MINUTE_NS;
    const DAY_NS: i64 = 24 * HOUR_NS;
    /// 2026-11-01 13:00 UTC.
    const NOW_NS: i64 = 1_793_538_000 * 1_000_000_000;

    fn standing(
        host: &str,
        agent: u64,
        written_ago: i64,
        complete_ago: i64,
        open: u64,
    ) -> Standing {
        Standing {
            agent: AgentId(agent),
            incarnation: Incarnation(1),
            host: host.to_owned(),
            written_ns: NOW_NS - written_ago,
            complete_until_ns: NOW_NS - complete_ago,
            logs: Logs { open, ended: 3 },
        }
    }

    fn check(standings: Vec<Standing>, expected: &str) -> Freshness {
        let freshness = Freshness::of(standings, NOW_NS);
        assert_eq!(freshness.text(NOW_NS), expected);
        freshness
    }

    #[test]
    fn the_slowest_of_those_on_time_says_until_when() {
        check(
            vec![
                standing("node1", 1, 5 * MINUTE_NS, 5 * MINUTE_NS, 9),
                standing("node2", 2, 10 * MINUTE_NS, 19 * MINUTE_NS, 9),
                standing("node7", 7, 9 * MINUTE_NS, 2 * HOUR_NS + MINUTE_NS, 9),
            ],
            "complete until 12:41 UTC; node7 is 2 h behind",
        );
    }

    #[test]
    fn those_that_ended_and_those_that_were_replaced_do_not_count() {
        let freshness = check(
            vec![
                standing("node1", 1, MINUTE_NS, MINUTE_NS, 9),
                // Ended with everything shipped.
                standing("node2", 2, 30 * DAY_NS, 30 * DAY_NS, 0),
                // The host has another agent since.
                standing("node1", 9, 3 * DAY_NS, 3 * DAY_NS, 9),
            ],
            "complete until 12:59 UTC",
        );
        assert_eq!((freshness.on_time, freshness.ended), (1, 1));
    }

    #[test]
    fn those_that_vanished_are_named() {
        check(
            vec![
                standing("a", 1, 8 * DAY_NS, 9 * DAY_NS, 1),
                standing("b", 2, 8 * DAY_NS, 8 * DAY_NS, 1),
                standing("c", 3, 3 * DAY_NS, 3 * DAY_NS, 1),
                standing("d", 4, 2 * HOUR_NS, 100 * MINUTE_NS, 1),
            ],
            "no host is on time; c is 3 d behind, d is 100 min behind; a is silent since 2026-10-23 13:00, b is silent since \
             2026-10-24 13:00",
        );
        let many = (0..9).map(|n: i64| {
            let host = format!("n{n}");
            standing(&host, n as u64, HOUR_NS, 10 * HOUR_NS - n * HOUR_NS / 2, 1)
        });
        check(
            many.collect(),
            "no host is on time; n0 is 10 h behind, n1 is 9 h behind, n2 is 9 h behind, 6 more",
        );
    }

    #[test]
    fn little_is_known() {
        check(Vec::new(), "no host says until when it is complete");
        check(
            vec![standing("a", 1, 30 * DAY_NS, 30 * DAY_NS, 0)],
            "complete: all agents have ended",
        );
        // Its clock is ahead.
        check(
            vec![standing("a", 1, -DAY_NS, -DAY_NS, 1)],
            "complete until 13:00 UTC",
        );
        check(
            vec![standing("a", 1, i64::MAX, i64::MAX, 1)],
            "no host is on time; a is silent since 1734-07-23 13:12",
        );
    }

    #[tokio::test]
    async fn an_archives_agents_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirStore::new(folder.path()));
        let put = async |key: String, bytes: Vec<u8>| {
            let sha256 = digest(&bytes);
            let body = Body::Bytes(bytes.into());
            store.put_new(&key, body, sha256).await.unwrap();
        };
        for agent in 0..40_u64 {
            let agent = AgentId(agent.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let text = format!(
                r#"{{"version":1,"agent":"{agent}","incarnation":1,"next_seq":1,"host":"h{agent}","written_ns":{NOW_NS},
                "complete_until_ns":{},"logs":[{{"src":"x"}}]}}"#,
                NOW_NS - MINUTE_NS
            );
            put(checkpoint_key(agent, Hour::of_ns(NOW_NS)), gzip(&text)).await;
        }
        let new = AgentId(5);
        put(claim_key(new, Incarnation(1)), Vec::new()).await;
        let damaged = AgentId(6);
        put(checkpoint_key(damaged, Hour::of_ns(NOW_NS)), b"x".to_vec()).await;
        let outside = Outside::waited();
        let found = freshness(&store, NOW_NS, &outside).await.unwrap();
        assert_eq!(found.on_time, 40);
        assert_eq!(found.complete_until_ns, Some(NOW_NS - MINUTE_NS));
        assert_eq!(found.unreadable.len(), 2, "{:?}", found.unreadable);
        assert!(found.unreadable[0].contains("checkpoint-2026-11-01-13"));
        assert!(found.unreadable[1].contains("no checkpoint yet"));
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap()
    }
}
