//! What the agent counts, with the names that Prometheus gets.
//!
//! Every series that can ever be is made at the beginning: labels are of closed sets, or names of the configuration within a
//! limit, and never what a job could write. Who counts calls methods; `monitor` serves [`Metrics::text`].

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use archive::store::{Failure, StoreError};
use archive::{AgentId, Incarnation};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::health::{Health, Pause};
use crate::log::Loss;
use crate::scan::Trouble;
use crate::spool::Unlinked;

/// The most rules of `[[redact]]` that get a series of their own while the agent runs, in rules; configurations may be read
/// again with others. What is beyond them is counted as [`OTHER_RULES`].
pub const MAX_REDACT_SERIES: usize = 256;

/// The label of the rules beyond [`MAX_REDACT_SERIES`].
pub const OTHER_RULES: &str = "(others)";

const NANOS_PER_SECOND: f64 = 1e9;

/// A label and its value.
type Label = [(&'static str, &'static str); 1];

/// A number that goes up and down.
type Level = Gauge<u64, AtomicU64>;

/// What the agent asks of the archive.
const OPERATIONS: [&str; 5] = ["put", "head", "get", "list", "other"];

/// The kinds of failure of the archive.
const FAILURES: [Failure; 7] = [
    Failure::NotFound,
    Failure::Denied,
    Failure::Throttled,
    Failure::Skewed,
    Failure::Full,
    Failure::Unknown,
    Failure::Other,
];

const fn failure_name(kind: Failure) -> &'static str {
    match kind {
        Failure::NotFound => "not_found",
        Failure::Denied => "denied",
        Failure::Throttled => "throttled",
        Failure::Skewed => "skewed",
        Failure::Full => "full",
        Failure::Unknown => "unknown",
        Failure::Other => "other",
    }
}

const fn unlinked_name(why: Unlinked) -> &'static str {
    match why {
        Unlinked::Denied => "denied",
        Unlinked::OtherMount => "other_mount",
        Unlinked::Project => "project",
        Unlinked::TooManyLinks => "too_many_links",
        Unlinked::Gone => "gone",
        Unlinked::NotSupported => "not_supported",
    }
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Denied,
    Trouble::Link,
    Trouble::NotAFile,
    Trouble::ForeignLink,
    Trouble::Limit,
    Trouble::Other,
];

const fn trouble_name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Denied => "denied",
        Trouble::Link => "link",
        Trouble::NotAFile => "not_a_file",
        Trouble::ForeignLink => "foreign_link",
        Trouble::Limit => "limit",
        Trouble::Other => "other",
    }
}

/// What the archive does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The bytes of logs that lie on the disk and are not in a committed object.
    pub bytes: u64,
    /// When the oldest of them was written, as well as it is known, in ns since 1970; none if there are none.
    pub oldest_ns: Option<i64>,
}

/// The files that are held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Files held by a link.
    pub linked: u64,
    /// Files held by an open descriptor, each with why, in any order; reasons may be missing or come several times.
    pub unlinked: Vec<(Unlinked, u64)>,
    /// The disk space of held files that nobody else links, in bytes.
    pub bytes: u64,
}

/// All counters. Cheap to clone: clones count together.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    read_bytes: Counter,
    rows: Counter,
    planned_bytes: Counter,
    shipped_bytes: Counter,
    object_bytes: Counter,
    objects_put: Counter,
    times_substituted: Counter,
    files: Level,
    behind_bytes: Level,
    oldest_seconds: Gauge<f64, AtomicU64>,
    pinned_bytes: Level,
    pinned_files: Level,
    staged_bytes: Level,
    last_put_seconds: Gauge<f64, AtomicU64>,
    incarnation: Level,
    scan_seconds: Histogram,
    put_seconds: Histogram,
    unpinned_files: [(Unlinked, Level); Unlinked::ALL.len()],
    lost_bytes: [(Loss, Counter); Loss::ALL.len()],
    /// By operation, then by kind.
    retries: [(&'static str, [(Failure, Counter); FAILURES.len()]); OPERATIONS.len()],
    troubles: [(Trouble, Counter); TROUBLES.len()],
    paused: [(Pause, Level); Pause::ALL.len()],
    states: [(&'static str, Level); Health::NAMES.len()],
    redacted: Family<[(&'static str, String); 1], Counter>,
    changing: Mutex<Changing>,
}

/// What is not a number.
#[derive(Debug, Default)]
struct Changing {
    health: Health,
    /// When the oldest byte that is not shipped was written, in ns since 1970.
    oldest_ns: Option<i64>,
    /// One for each rule of `[[redact]]`, in their order.
    redacted: Vec<Counter>,
    redact_series: usize,
}

impl Metrics {
    /// Counters at zero, for an agent of this id.
    pub fn new(agent: AgentId) -> Self {
        let mut make = Maker(Registry::with_prefix("shipper"));
        let redacted = Family::default();
        let metrics = Inner {
            read_bytes: make.bytes("read", "Bytes of logs that were read"),
            rows: make.counter("rows", "Rows that were made of them"),
            planned_bytes: make.bytes(
                "planned",
                "Bytes of logs whose objects are planned: their offsets have moved on",
            ),
            shipped_bytes: make.bytes("shipped", "Bytes of logs that the archive has"),
            object_bytes: make.bytes("object", "Bytes of objects that the archive has taken"),
            objects_put: make.counter("objects_put", "Objects that the archive has taken"),
            times_substituted: make.counter(
                "times_substituted",
                "Rows whose line had a time that cannot be right",
            ),
            files: make.level("files", "Files that are known and not finished"),
            behind_bytes: make.level_of_bytes(
                "behind",
                "Bytes of logs that the archive does not have yet",
            ),
            oldest_seconds: make.seconds(
                "oldest_unshipped",
                "Age of the oldest byte that the archive does not have yet; 0 if there is none",
            ),
            pinned_bytes: make.level_of_bytes(
                "pinned",
                "Disk space of files that only the agent holds",
            ),
            pinned_files: make.level("pinned_files", "Files that are held by a hard link"),
            staged_bytes: make.level_of_bytes("staged", "Bytes of objects that wait to be sent"),
            last_put_seconds: make.seconds(
                "last_put_timestamp",
                "When the archive last took an object, in seconds since 1970; 0 if it has not yet",
            ),
            incarnation: make.level(
                "incarnation",
                "The claim under which objects are planned; 0 before the first one",
            ),
            scan_seconds: make.histogram("scan", "Time that a walk over all folders took"),
            put_seconds: make.histogram(
                "put",
                "Time that the archive took for an object, from the first try on",
            ),
            unpinned_files: make.levels(
                "unpinned_files",
                "Files that are held by an open descriptor only, and lost if they are removed while the agent does not run",
                Unlinked::ALL,
                |why| [("reason", unlinked_name(why))],
            ),
            lost_bytes: make.counters(
                "lost",
                "Bytes of logs that are lost: a gap in the archive stands for them",
                Some(Unit::Bytes),
                Loss::ALL,
                |cause| [("cause", cause.name())],
            ),
            retries: make.retries(),
            troubles: make.counters(
                "scan_troubles",
                "Paths that could not be looked at, or must not be",
                None,
                TROUBLES,
                |trouble| [("kind", trouble_name(trouble))],
            ),
            paused: make.levels(
                "paused",
                "1 while nothing is read for this reason",
                Pause::ALL,
                |why| [("reason", why.name())],
            ),
            states: make.levels(
                "state",
                "1 for the state that the agent is in",
                Health::NAMES,
                |state| [("state", state)],
            ),
            redacted: make.put(
                "redacted",
                "Places that were masked by a rule of [[redact]]",
                None,
                redacted,
            ),
            changing: Mutex::default(),
            registry: Registry::default(),
        };
        make.0.register(
            "build",
            "The program and who runs it",
            Info::new([
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("agent", agent.to_string()),
            ]),
        );
        let metrics = Self(Arc::new(Inner {
            registry: make.0,
            ..metrics
        }));
        metrics.set_health(Health::Starting);
        metrics
    }

    /// Bytes of logs were read.
    pub fn read(&self, bytes: u64) {
        self.0.read_bytes.inc_by(bytes);
    }

    /// Rows were made, so many of them with a time in place of the line's own.
    pub fn rows(&self, rows: u64, times_substituted: u64) {
        self.0.rows.inc_by(rows);
        self.0.times_substituted.inc_by(times_substituted);
    }

    /// So many bytes of logs were planned.
    pub fn planned(&self, raw_bytes: u64) {
        self.0.planned_bytes.inc_by(raw_bytes);
    }

    /// All objects of a plan are in the archive: so many bytes of logs.
    pub fn shipped(&self, raw_bytes: u64) {
        self.0.shipped_bytes.inc_by(raw_bytes);
    }

    /// The archive has taken an object of so many bytes, at this time (ns since 1970), after so many seconds.
    pub fn put(&self, object_bytes: u64, wall_ns: i64, seconds: f64) {
        self.0.object_bytes.inc_by(object_bytes);
        self.0.objects_put.inc();
        self.0
            .last_put_seconds
            .set(wall_ns as f64 / NANOS_PER_SECOND);
        self.0.put_seconds.observe(seconds);
    }

    /// An operation failed and will be tried again.
    pub fn retried(&self, error: &StoreError) {
        let by_operation = &self.0.retries;
        let found = by_operation
            .iter()
            .find(|(name, _)| *name == error.operation)
            .or(by_operation.last());
        if let Some((_, by_kind)) = found {
            of(by_kind, &error.kind).inc();
        }
    }

    /// Bytes are lost.
    pub fn lost(&self, cause: Loss, bytes: u64) {
        of(&self.0.lost_bytes, &cause).inc_by(bytes);
    }

    /// A walk over all folders took so long.
    pub fn scanned(&self, seconds: f64) {
        self.0.scan_seconds.observe(seconds);
    }

    /// A path could not be looked at.
    pub fn trouble(&self, trouble: Trouble) {
        of(&self.0.troubles, &trouble).inc();
    }

    /// So many files are known and not finished.
    pub fn set_files(&self, files: u64) {
        self.0.files.set(files);
    }

    /// What the archive does not have yet. The age of the oldest byte is told by the clock at each question, so that it goes on
    /// growing while the agent is stuck.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.0.behind_bytes.set(backlog.bytes);
        self.changing().oldest_ns = backlog.oldest_ns;
    }

    /// Which files are held, and how.
    pub fn set_held(&self, held: &Held) {
        self.0.pinned_files.set(held.linked);
        self.0.pinned_bytes.set(held.bytes);
        for (why, level) in &self.0.unpinned_files {
            let files = held.unlinked.iter().filter(|(reason, _)| reason == why);
            level.set(files.map(|(_, files)| files).sum());
        }
    }

    /// So many bytes of objects wait to be sent.
    pub fn set_staged(&self, bytes: u64) {
        self.0.staged_bytes.set(bytes);
    }

    /// The agent's claim.
    pub fn set_incarnation(&self, incarnation: Incarnation) {
        self.0.incarnation.set(u64::from(incarnation.0));
    }

    /// The names of the rules of `[[redact]]`, at the start and whenever the configuration was read again.
    pub fn set_redact_rules<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let mut changing = self.changing();
        changing.redacted.clear();
        for name in names {
            let mut label = [("rule", name.to_owned())];
            if self.0.redacted.get(&label).is_none() {
                if changing.redact_series < MAX_REDACT_SERIES {
                    changing.redact_series += 1;
                } else {
                    label = [("rule", OTHER_RULES.to_owned())];
                }
            }
            let counter = self.0.redacted.get_or_create_owned(&label);
            changing.redacted.push(counter);
        }
    }

    /// How many places each rule masked, in the order of [`Metrics::set_redact_rules`]: what `RowMaker::take_redacted` gives.
    pub fn redacted(&self, places: &[u64]) {
        for (counter, &places) in self.changing().redacted.iter().zip(places) {
            counter.inc_by(places);
        }
    }

    /// What the agent is about now.
    pub fn set_health(&self, health: Health) {
        for (name, level) in &self.0.states {
            level.set(u64::from(*name == health.name()));
        }
        for (why, level) in &self.0.paused {
            let now = matches!(&health, Health::Paused { why: reason } if reason == why);
            level.set(u64::from(now));
        }
        self.changing().health = health;
    }

    /// What the agent is about.
    pub fn health(&self) -> Health {
        self.changing().health.clone()
    }

    /// All of it, as OpenMetrics text. `wall_ns` is the time now, in ns since 1970.
    pub fn text(&self, wall_ns: i64) -> String {
        let oldest_ns = self.changing().oldest_ns;
        let age_ns = oldest_ns.map_or(0, |oldest| wall_ns.saturating_sub(oldest).max(0));
        self.0.oldest_seconds.set(age_ns as f64 / NANOS_PER_SECOND);
        let mut text = String::new();
        // Writing to a text cannot fail, and no value of ours is too large for the format.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        // It holds values that are set as a whole: a panic elsewhere leaves none of them half done.
        self.0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one of a closed set. Every value of the set is in the list, which the tests check.
fn of<'l, K: PartialEq, M>(list: &'l [(K, M)], key: &K) -> &'l M {
    let found = list.iter().find(|(one, _)| one == key).or(list.last());
    &found.expect("no list is empty").1
}

/// Registers what it makes.
struct Maker(Registry);

impl Maker {
    fn put<M>(&mut self, name: &str, help: &str, unit: Option<Unit>, metric: M) -> M
    where
        M: prometheus_client::registry::Metric + Clone,
    {
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, metric.clone()),
            None => self.0.register(name, help, metric.clone()),
        }
        metric
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.put(name, help, None, Counter::default())
    }

    fn bytes(&mut self, name: &str, help: &str) -> Counter {
        self.put(name, help, Some(Unit::Bytes), Counter::default())
    }

    fn level(&mut self, name: &str, help: &str) -> Level {
        self.put(name, help, None, Level::default())
    }

    fn level_of_bytes(&mut self, name: &str, help: &str) -> Level {
        self.put(name, help, Some(Unit::Bytes), Level::default())
    }

    fn seconds(&mut self, name: &str, help: &str) -> Gauge<f64, AtomicU64> {
        self.put(name, help, Some(Unit::Seconds), Gauge::default())
    }

    /// From 10 ms to 80 s.
    fn histogram(&mut self, name: &str, help: &str) -> Histogram {
        let buckets = exponential_buckets(0.01, 2.0, 14);
        self.put(name, help, Some(Unit::Seconds), Histogram::new(buckets))
    }

    fn levels<K: Copy, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        keys: [K; N],
        label: impl Fn(K) -> Label,
    ) -> [(K, Level); N] {
        let family = self.put(name, help, None, Family::<Label, Level>::default());
        keys.map(|key| (key, family.get_or_create_owned(&label(key))))
    }

    fn counters<K: Copy, L, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        keys: [K; N],
        label: impl Fn(K) -> L,
    ) -> [(K, Counter); N]
    where
        L: EncodeLabelSet + Clone + std::hash::Hash + Eq + std::fmt::Debug + Send + Sync + 'static,
    {
        let family = self.put(name, help, unit, Family::<L, Counter>::default());
        keys.map(|key| (key, family.get_or_create_owned(&label(key))))
    }

    fn retries(
        &mut self,
    ) -> [(&'static str, [(Failure, Counter); FAILURES.len()]); OPERATIONS.len()] {
        type Labels = [(&'static str, &'static str); 2];
        let family = self.put(
            "retries",
            "Questions to the archive that failed and were put again, or will be",
            None,
            Family::<Labels, Counter>::default(),
        );
        OPERATIONS.map(|operation| {
            let by_kind = FAILURES.map(|kind| {
                let labels = [("operation", operation), ("kind", failure_name(kind))];
                (kind, family.get_or_create_owned(&labels))
            });
            (operation, by_kind)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(AgentId(255))
    }

    /// The value of a series.
    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    fn series(text: &str) -> BTreeSet<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    }

    #[test]
    fn names_and_their_help() {
        let metrics = metrics();
        metrics.set_redact_rules(["card"]);
        let text = metrics.text(0);
        assert!(text.ends_with("# EOF\n"), "{text}");
        let described: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("# HELP") || line.starts_with("# TYPE"))
            .collect();
        insta::assert_snapshot!("metrics_help", described.join("\n"));
        let series: Vec<String> = series(&text)
            .into_iter()
            .filter(|name| !name.contains("_bucket{"))
            .collect();
        insta::assert_snapshot!("metrics_series", series.join("\n"));
    }

    /// The page for people has every metric and every value of their labels.
    #[test]
    fn the_page_tells_all() {
        let page = include_str!("../../docs/shipper.md");
        for series in series(&metrics().text(0)) {
            let (name, labels) = series.split_once('{').unwrap_or((&series, ""));
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            assert!(page.contains(&format!("`{name}`")), "{name}");
            let labels = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\""));
            for (label, value) in labels {
                let value = value.trim_end_matches(['"', '}']);
                let free = ["le", "version", "agent", "operation"].contains(&label);
                assert!(free || page.contains(&format!("`{value}`")), "{series}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = metrics();
        let clone = metrics.clone();
        clone.read(10);
        clone.read(5);
        clone.rows(3, 1);
        clone.planned(15);
        clone.shipped(14);
        clone.put(7, 1_500_000_000, 0.25);
        clone.lost(Loss::SpoolFull, 9);
        clone.scanned(0.02);
        clone.trouble(Trouble::Link);
        clone.set_files(4);
        clone.set_staged(77);
        clone.set_incarnation(Incarnation(3));
        clone.set_backlog(Backlog {
            bytes: 100,
            oldest_ns: Some(2_000_000_000),
        });
        clone.set_held(&Held {
            linked: 2,
            unlinked: vec![(Unlinked::OtherMount, 1), (Unlinked::OtherMount, 2)],
            bytes: 4096,
        });
        let text = metrics.text(5_500_000_000);
        for (name, expected) in [
            ("shipper_read_bytes_total", 15.0),
            ("shipper_rows_total", 3.0),
            ("shipper_times_substituted_total", 1.0),
            ("shipper_planned_bytes_total", 15.0),
            ("shipper_shipped_bytes_total", 14.0),
            ("shipper_object_bytes_total", 7.0),
            ("shipper_objects_put_total", 1.0),
            ("shipper_last_put_timestamp_seconds", 1.5),
            ("shipper_put_seconds_sum", 0.25),
            ("shipper_put_seconds_count", 1.0),
            ("shipper_scan_seconds_count", 1.0),
            ("shipper_lost_bytes_total{cause=\"spool_full\"}", 9.0),
            ("shipper_lost_bytes_total{cause=\"truncated\"}", 0.0),
            ("shipper_scan_troubles_total{kind=\"link\"}", 1.0),
            ("shipper_files", 4.0),
            ("shipper_staged_bytes", 77.0),
            ("shipper_incarnation", 3.0),
            ("shipper_behind_bytes", 100.0),
            ("shipper_oldest_unshipped_seconds", 3.5),
            ("shipper_pinned_files", 2.0),
            ("shipper_pinned_bytes", 4096.0),
            ("shipper_unpinned_files{reason=\"other_mount\"}", 3.0),
            ("shipper_unpinned_files{reason=\"denied\"}", 0.0),
            ("shipper_state{state=\"starting\"}", 1.0),
        ] {
            assert_eq!(value(&text, name), Some(expected), "{name}\n{text}");
        }
        metrics.set_backlog(Backlog::default());
        metrics.set_held(&Held::default());
        let text = metrics.text(5_500_000_000);
        assert_eq!(value(&text, "shipper_oldest_unshipped_seconds"), Some(0.0));
        assert_eq!(
            value(&text, "shipper_unpinned_files{reason=\"other_mount\"}"),
            Some(0.0)
        );
    }

    #[test]
    fn one_state_at_a_time() {
        let metrics = metrics();
        metrics.set_health(Health::Paused {
            why: Pause::DiskFull,
        });
        let text = metrics.text(0);
        assert_eq!(value(&text, "shipper_state{state=\"paused\"}"), Some(1.0));
        assert_eq!(value(&text, "shipper_state{state=\"starting\"}"), Some(0.0));
        assert_eq!(
            value(&text, "shipper_paused{reason=\"disk_full\"}"),
            Some(1.0)
        );
        metrics.set_health(Health::Running);
        let text = metrics.text(0);
        assert_eq!(value(&text, "shipper_state{state=\"running\"}"), Some(1.0));
        assert_eq!(
            value(&text, "shipper_paused{reason=\"disk_full\"}"),
            Some(0.0)
        );
        assert_eq!(metrics.health(), Health::Running);
    }

    #[test]
    fn every_value_of_a_closed_set_has_its_own_series() {
        let metrics = metrics();
        for operation in ["put", "head", "get", "list", "unheard of"] {
            for kind in FAILURES {
                let cause = std::io::Error::other("x");
                metrics.retried(&StoreError::new(operation, "key", kind, cause));
            }
        }
        for loss in Loss::ALL {
            metrics.lost(loss, 1);
        }
        for trouble in TROUBLES {
            metrics.trouble(trouble);
        }
        let text = metrics.text(0);
        for family in [
            "shipper_retries_total{",
            "shipper_lost_bytes_total{",
            "shipper_scan_troubles_total{",
        ] {
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(family))
                .collect();
            assert!(lines.len() >= Loss::ALL.len(), "{text}");
            assert!(lines.iter().all(|line| line.ends_with(" 1")), "{lines:?}");
        }
    }

    #[test]
    fn what_happens_makes_no_new_series() {
        let metrics = metrics();
        metrics.set_redact_rules(["card", "mail"]);
        let before = series(&metrics.text(0));
        for n in 0..1000 {
            let key = format!("logs/v1/cluster=c{n}/x");
            let cause = std::io::Error::other(key.clone());
            metrics.retried(&StoreError::new("put", &key, Failure::Denied, cause));
            metrics.set_health(Health::Stuck {
                since_ns: n,
                what: key,
            });
            metrics.redacted(&[1, 2, 3]);
        }
        let text = metrics.text(0);
        assert_eq!(series(&text), before);
        assert_eq!(
            value(&text, "shipper_redacted_total{rule=\"mail\"}"),
            Some(2000.0)
        );
    }

    #[test]
    fn rules_that_come_and_go_make_no_more_series_than_the_limit() {
        let metrics = metrics();
        for n in 0..2 * MAX_REDACT_SERIES {
            let name = format!("rule{n}");
            metrics.set_redact_rules(["first", &name]);
            metrics.redacted(&[1, 1]);
        }
        let text = metrics.text(0);
        let lines = text
            .lines()
            .filter(|line| line.starts_with("shipper_redacted_total{"))
            .count();
        assert_eq!(lines, MAX_REDACT_SERIES + 1);
        let first = value(&text, "shipper_redacted_total{rule=\"first\"}");
        assert_eq!(first, Some((2 * MAX_REDACT_SERIES) as f64));
        let others = value(&text, "shipper_redacted_total{rule=\"(others)\"}");
        assert_eq!(others, Some((MAX_REDACT_SERIES + 1) as f64));
    }

    #[test]
    fn it_goes_to_other_threads() {
        fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
        shared(&metrics());
    }
}
