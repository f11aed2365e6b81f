//! What a statement will read and cost, told before it runs, and what it has cost.
//!
//! Owns the arithmetic and the prices. Before: the objects of the hours that a statement asks for, from a listing. Of NDJSON all
//! bytes are read, so the figure is what it will be; of Parquet only the columns and row groups that matter, so it is the most
//! that it can be.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Range;

use archive::listing::{ListError, LogObject, list_hours};
use archive::{Encoding, Hour, Store};

use crate::config::EngineKind;
use crate::retry::{Outside, again, listing_may_recover};

/// The price of a TB that Athena reads, in dollars (list price of most regions, November 2026).
pub const DOLLARS_PER_TB: f64 = 5.0;

/// The price of a million GETs of S3's standard class, in dollars (list price of us-east-1, November 2026).
pub const DOLLARS_PER_MILLION_GETS: f64 = 0.4;

/// The price of a million LISTs in the same place, in dollars.
pub const DOLLARS_PER_MILLION_LISTS: f64 = 5.0;

/// What a statement that reads anything is charged for at least, in bytes: 10 MB.
pub const MIN_CHARGED_BYTES: u64 = 10_000_000;

/// What charged bytes are rounded up to, in bytes: a MB. (Whether Athena's TB has 10^12 bytes or 2^40 is not said anywhere; the
/// smaller one makes this the upper bound.)
const CHARGED_UNIT_BYTES: u64 = 1_000_000;

const TB_BYTES: f64 = 1e12;

/// How many objects one LIST returns.
const LISTED_OBJECTS: u64 = 1000;

/// How many GETs an object of NDJSON takes.
const GETS_FOR_NDJSON: u64 = 1;

/// How many GETs an object of Parquet takes, about: its footer, its indexes, and what is read of its columns.
const GETS_FOR_PARQUET: u64 = 3;

/// How much of an object of Parquet the embedded engine may read twice, in bytes: its end says where everything is, and is read
/// before that is known.
pub const PARQUET_END_BYTES: u64 = 32 << 10;

/// The most hours that one statement may ask for, in partitions: Athena's own limit.
pub const MAX_PARTITIONS: u64 = 1_000_000;

/// What a statement will read at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Clusters times hours, whether there is anything in them or not.
    pub partitions: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of objects of NDJSON, packed as they lie there: all are read.
    pub ndjson_bytes: u64,
    /// Bytes of objects of Parquet: this many are read at most.
    pub parquet_bytes: u64,
    /// Bytes of their ends, up to [`PARQUET_END_BYTES`] each.
    pub parquet_end_bytes: u64,
    /// How often each object is read.
    pub scans: u64,
    /// Listings, each of up to 1000 objects.
    pub lists: u64,
    /// Reads of objects or of their parts, about.
    pub gets: u64,
    /// Keys among them that are not ours.
    pub strangers: u64,
}

/// Money.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Dollars(pub f64);

/// A number of bytes, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// The hours that a time range of two times in ns since 1970 touches; the second one is not in it.
pub fn hours_of(from_ns: i64, to_ns: i64) -> Range<Hour> {
    let first = Hour::of_ns(from_ns);
    if to_ns <= from_ns {
        return first..first;
    }
    first..Hour::of_ns(to_ns - 1).next()
}

/// Lists what lies in some clusters' hours.
pub async fn estimate(
    store: &dyn Store,
    clusters: &[String],
    hours: &Range<Hour>,
    outside: &Outside,
) -> Result<Estimate, ListError> {
    let mut estimate = Estimate::default();
    for cluster in clusters {
        let listed = again(outside, listing_may_recover, || {
            list_hours(store, cluster, hours.clone())
        });
        let listed = listed.await?;
        estimate.strangers += listed.strangers;
        estimate.add(&listed.objects, hours);
    }
    Ok(estimate)
}

impl Estimate {
    /// Adds a cluster's objects of some hours.
    pub fn add(&mut self, objects: &[LogObject], hours: &Range<Hour>) {
        let span = hours.end.number() - hours.start.number();
        let partitions = u64::try_from(span).unwrap_or(0);
        self.partitions += partitions;
        let mut by_hour: BTreeMap<Hour, u64> = BTreeMap::new();
        for object in objects {
            *by_hour.entry(object.key.hour).or_default() += 1;
            self.objects += 1;
            match object.key.encoding {
                Encoding::Ndjson => {
                    self.ndjson_bytes += object.len;
                    self.gets += GETS_FOR_NDJSON;
                }
                Encoding::Parquet => {
                    self.parquet_bytes += object.len;
                    self.parquet_end_bytes += object.len.min(PARQUET_END_BYTES);
                    self.gets += GETS_FOR_PARQUET;
                }
            }
        }
        // An hour without objects is listed, too.
        let further = by_hour
            .values()
            .map(|objects| objects.saturating_sub(1) / LISTED_OBJECTS);
        self.lists += partitions + further.sum::<u64>();
    }

    /// What this engine reads of it for a statement that reads its rows so often.
    #[must_use]
    pub fn of(self, scans: u64, engine: EngineKind) -> Self {
        let ends = match engine {
            EngineKind::Embedded => self.parquet_end_bytes,
            EngineKind::Athena => 0,
        };
        Self {
            ndjson_bytes: self.ndjson_bytes.saturating_mul(scans),
            parquet_bytes: self
                .parquet_bytes
                .saturating_add(ends)
                .saturating_mul(scans),
            gets: self.gets.saturating_mul(scans),
            scans,
            ..self
        }
    }

    /// Bytes that are read at most.
    pub fn bytes(&self) -> u64 {
        self.ndjson_bytes.saturating_add(self.parquet_bytes)
    }

    /// Requests, about.
    pub fn requests(&self) -> u64 {
        self.lists.saturating_add(self.gets)
    }

    /// What Athena charges at most.
    pub fn scan_dollars(&self, dollars_per_tb: f64) -> Dollars {
        scan_dollars(self.bytes(), dollars_per_tb)
    }

    /// What S3 charges for the requests, about; it comes on top.
    pub fn request_dollars(&self) -> Dollars {
        let lists = self.lists as f64 / 1e6 * DOLLARS_PER_MILLION_LISTS;
        Dollars(lists + self.gets as f64 / 1e6 * DOLLARS_PER_MILLION_GETS)
    }

    /// All of it in a line, for a person who is about to pay.
    pub fn text(&self, dollars_per_tb: f64) -> String {
        let most = if self.parquet_bytes > 0 {
            "at most "
        } else {
            ""
        };
        let objects = if self.objects == 1 {
            "object"
        } else {
            "objects"
        };
        let times = match self.scans {
            0 | 1 => String::new(),
            scans => format!(" read {scans} times"),
        };
        let mut text = format!(
            "{} {objects}{times}, {most}{}, about {} requests, {most}{} to read them and {} for the requests",
            self.objects,
            Bytes(self.bytes()),
            self.requests(),
            self.scan_dollars(dollars_per_tb),
            self.request_dollars()
        );
        if self.partitions > MAX_PARTITIONS {
            // Writing to a text cannot fail.
            let _ = write!(
                text,
                "; {} clusters' hours are more than the {MAX_PARTITIONS} that Athena takes",
                self.partitions
            );
        }
        text
    }
}

/// What Athena charges for so many bytes. A statement that reads nothing is free, as are those that only define something.
pub fn scan_dollars(bytes: u64, dollars_per_tb: f64) -> Dollars {
    if bytes == 0 {
        return Dollars(0.0);
    }
    let charged = bytes
        .div_ceil(CHARGED_UNIT_BYTES)
        .saturating_mul(CHARGED_UNIT_BYTES)
        .max(MIN_CHARGED_BYTES);
    Dollars(charged as f64 / TB_BYTES * dollars_per_tb)
}

impl fmt::Display for Dollars {
    /// Two digits that count, and never fewer than cents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0 {
            dollars if dollars <= 0.0 || dollars >= 0.1 => 2,
            dollars if dollars >= 0.01 => 3,
            dollars if dollars >= 0.001 => 4,
            dollars if dollars >= 0.0001 => 5,
            _ => 6,
        };
        write!(f, "${:.digits$}", self.0)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1e3;
        let mut unit = 0;
        // What would be shown as 1000 of a unit is one of the next.
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1e3;
            unit += 1;
        }
        let digits = usize::from(value < 99.95);
        write!(f, "{value:.digits$} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::store::dir::DirStore;
    use archive::store::{Body, digest};
    use archive::{AgentId, Incarnation, ObjectKey};
    use proptest::prelude::*;

    const HOUR_NS: i64 = 3_600_000_000_000;

    #[test]
    fn hours_are_those_that_the_range_touches() {
        let numbers = |from: i64, to: i64| {
            let hours = hours_of(from, to);
            (hours.start.number(), hours.end.number())
        };
        assert_eq!(numbers(0, HOUR_NS), (0, 1));
        assert_eq!(numbers(0, HOUR_NS + 1), (0, 2));
        assert_eq!(numbers(HOUR_NS - 1, HOUR_NS + 1), (0, 2));
        assert_eq!(numbers(5, 6), (0, 1));
        assert_eq!(numbers(-1, 1), (-1, 1));
        assert_eq!(numbers(7, 7), (0, 0));
        assert_eq!(numbers(7, i64::MIN), (0, 0));
    }

    #[test]
    fn charges_have_a_floor_and_are_rounded_up() {
        let dollars = |bytes| scan_dollars(bytes, 5.0).0;
        assert!((dollars(0) - 0.0).abs() < 1e-12);
        assert!((dollars(1) - 0.000_05).abs() < 1e-12);
        assert!((dollars(10_000_001) - 0.000_055).abs() < 1e-12);
        assert!((dollars(1_000_000_000_000) - 5.0).abs() < 1e-12);
        assert!(dollars(u64::MAX) > 9e7);
    }

    #[test]
    fn money_and_bytes_for_people() {
        for (dollars, text) in [
            (0.0, "$0.00"),
            (0.000_05, "$0.000050"),
            (0.000_55, "$0.00055"),
            (0.0015, "$0.0015"),
            (0.015, "$0.015"),
            (0.23, "$0.23"),
            (5.2, "$5.20"),
            (1234.0, "$1234.00"),
        ] {
            assert_eq!(Dollars(dollars).to_string(), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_990, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_600, "99.6 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text, "{bytes}");
        }
    }

    #[tokio::test]
    async fn what_lies_in_the_hours_is_counted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path());
        let mut seq = 0;
        for (cluster, hour, encoding, len) in [
            ("aa", 9, Encoding::Ndjson, 100),
            ("aa", 10, Encoding::Ndjson, 200),
            ("aa", 10, Encoding::Parquet, 1000),
            ("aa", 12, Encoding::Ndjson, 400),
            ("bb", 10, Encoding::Ndjson, 800),
            ("cc", 10, Encoding::Ndjson, 1600),
        ] {
            seq += 1;
            let hour = Hour::from_number(hour);
            let key = ObjectKey::new(cluster, hour, AgentId(1), Incarnation(1), seq, encoding);
            let bytes = vec![b'x'; len];
            let sha256 = digest(&bytes);
            let body = Body::Bytes(bytes.into());
            store
                .put_new(&key.unwrap().to_string(), body, sha256)
                .await
                .unwrap();
        }
        let outside = Outside::waited();
        let clusters = ["aa".to_owned(), "bb".to_owned()];
        let hours = hours_of(10 * HOUR_NS, 12 * HOUR_NS);
        let found = estimate(&store, &clusters, &hours, &outside).await.unwrap();
        let expected = Estimate {
            partitions: 4,
            objects: 3,
            ndjson_bytes: 1000,
            parquet_bytes: 1000,
            parquet_end_bytes: 1000,
            scans: 0,
            lists: 4,
            gets: 5,
            strangers: 0,
        };
        assert_eq!(found, expected);
        let twice = found.clone().of(2, EngineKind::Embedded);
        assert_eq!((twice.bytes(), twice.gets), (2 * (1000 + 1000 + 1000), 10));
        assert!(
            twice
                .text(0.0)
                .starts_with("3 objects read 2 times, at most 6.0 kB"),
            "{}",
            twice.text(0.0)
        );
        assert_eq!(found.clone().of(1, EngineKind::Athena).bytes(), 2000);
        insta::assert_snapshot!(found.text(5.0), @"3 objects, at most 2.0 kB, about 9 requests, at most $0.000050 to read them and $0.000022 for the requests");
        let long = Estimate {
            partitions: MAX_PARTITIONS + 1,
            ..Estimate::default()
        };
        assert!(
            long.text(5.0)
                .ends_with("1000001 clusters' hours are more than the 1000000 that Athena takes")
        );
        let error = estimate(&store, &["a/b".to_owned()], &hours, &outside).await;
        assert!(matches!(error, Err(ListError::Key(_))));
    }

    proptest! {
        #[test]
        fn more_bytes_are_never_cheaper(one: u64, more: u64) {
            let sum = one.saturating_add(more);
            prop_assert!(scan_dollars(one, 5.0) <= scan_dollars(sum, 5.0));
            prop_assert!(!Bytes(one).to_string().contains("1000"));
        }
    }
}
