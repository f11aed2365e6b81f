//! What a fleet's archive costs to write: objects, their sizes, requests and dollars a month. Arithmetic only.
//!
//! One flush of one host writes one object for each (cluster, hour) that its rows touch: one, and one more in the flush that
//! spans the turn of an hour. Beside the data there is a checkpoint for each host and hour.

use std::fmt;

use archive::Encoding;

/// The price of a PUT in us-east-1's standard class, in dollars for each million (list price, November 2026).
pub const DOLLARS_PER_MILLION_PUTS: f64 = 5.0;

/// The price of keeping a GB for a month in the same place, in dollars (list price, November 2026).
pub const DOLLARS_PER_GB_MONTH: f64 = 0.023;

/// Bytes of logs for each byte of a Parquet object, as the whole-program bench (`make bench`, the agent's catch-up) measured it on
/// its lines of services. Other logs pack otherwise.
pub const PARQUET_RATIO: f64 = 8.2;

/// The same of gzip NDJSON, by the same bench.
pub const NDJSON_RATIO: f64 = 5.1;

/// The month that is counted with, in seconds: 30 days.
const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

const HOUR_SECONDS: f64 = 3600.0;

/// What is shipped, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fleet {
    /// How many hosts run an agent.
    pub hosts: u32,
    /// What the jobs of one host write, in bytes a second.
    pub raw_bytes_per_second: f64,
    /// How many jobs run on a host. It changes nothing: that is the point of the layout.
    pub jobs: u32,
    /// The age at which a batch is closed, in seconds.
    pub flush_seconds: f64,
    /// The raw size at which a batch is closed, in bytes.
    pub batch_bytes: f64,
    /// How rows are written.
    pub encoding: Encoding,
    /// Raw bytes for each byte of an object.
    pub ratio: f64,
}

/// How well logs pack where nobody says.
pub const fn usual_ratio(encoding: Encoding) -> f64 {
    match encoding {
        Encoding::Parquet => PARQUET_RATIO,
        Encoding::Ndjson => NDJSON_RATIO,
    }
}

/// What a month comes to, for the whole fleet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Objects with rows.
    pub objects: f64,
    /// Checkpoints.
    pub checkpoints: f64,
    /// The mean size of an object with rows, in bytes.
    pub object_bytes: f64,
    /// What is added to the archive, in bytes.
    pub stored_bytes: f64,
    /// What the requests cost, in dollars.
    pub put_dollars: f64,
    /// What one job's own objects would cost instead, in dollars: one object for each host, job and flush.
    pub put_dollars_by_job: f64,
    /// What keeping a month's objects for a month costs, in dollars.
    pub storage_dollars: f64,
}

impl Fleet {
    /// The fleet that the layout was made for.
    pub fn reference() -> Self {
        Self {
            hosts: 1000,
            raw_bytes_per_second: 100_000.0,
            jobs: 20,
            flush_seconds: 300.0,
            batch_bytes: 64.0 * 1024.0 * 1024.0,
            encoding: Encoding::Parquet,
            ratio: PARQUET_RATIO,
        }
    }

    /// What a month of it comes to.
    pub fn month(&self) -> Cost {
        let hosts = f64::from(self.hosts);
        let interval = if self.raw_bytes_per_second > 0.0 {
            (self.batch_bytes / self.raw_bytes_per_second).min(self.flush_seconds)
        } else {
            self.flush_seconds
        };
        let hours = MONTH_SECONDS / HOUR_SECONDS * hosts;
        // A flush longer than an hour touches each hour once; a shorter one spans the turn of an hour once an hour.
        let objects = if interval >= HOUR_SECONDS {
            hours
        } else {
            MONTH_SECONDS / interval * hosts + hours
        };
        let stored_bytes = self.raw_bytes_per_second * MONTH_SECONDS * hosts / self.ratio.max(1.0);
        let dollars = |puts: f64| puts / 1e6 * DOLLARS_PER_MILLION_PUTS;
        Cost {
            objects,
            checkpoints: hours,
            object_bytes: stored_bytes / objects.max(1.0),
            stored_bytes,
            put_dollars: dollars(objects + hours),
            put_dollars_by_job: dollars(objects * f64::from(self.jobs.max(1)) + hours),
            storage_dollars: stored_bytes / 1e9 * DOLLARS_PER_GB_MONTH,
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "objects      {:>8.2} million a month, {:.2} MB each",
            self.objects / 1e6,
            self.object_bytes / 1e6
        )?;
        writeln!(
            f,
            "checkpoints  {:>8.2} million a month",
            self.checkpoints / 1e6
        )?;
        writeln!(f, "requests     {:>8.2} $ a month", self.put_dollars)?;
        writeln!(
            f,
            "             {:>8.2} $ with an object for each job instead",
            self.put_dollars_by_job
        )?;
        write!(
            f,
            "kept         {:>8.2} TB a month, {:.2} $ for keeping it a month",
            self.stored_bytes / 1e12,
            self.storage_dollars
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_fleet_costs_what_the_layout_was_chosen_for() {
        let cost = Fleet::reference().month();
        // 1 000 hosts, 8 640 flushes and 720 turns of an hour.
        assert!((cost.objects - 9_360_000.0).abs() < 1.0, "{cost:?}");
        assert!((cost.checkpoints - 720_000.0).abs() < 1.0, "{cost:?}");
        assert!((cost.put_dollars - 50.4).abs() < 0.01, "{cost:?}");
        assert!(cost.put_dollars_by_job > 19.0 * (cost.put_dollars - 3.6));
        assert!((3e6..4e6).contains(&cost.object_bytes), "{cost:?}");
    }

    #[test]
    fn a_batch_that_fills_up_earlier_is_closed_earlier() {
        let fleet = Fleet {
            raw_bytes_per_second: 1e6,
            batch_bytes: 60e6,
            ..Fleet::reference()
        };
        let cost = fleet.month();
        assert!(
            (cost.objects - (43_200.0 + 720.0) * 1000.0).abs() < 1.0,
            "{cost:?}"
        );
    }

    #[test]
    fn a_silent_fleet_and_one_that_flushes_daily_divide_by_nothing() {
        for fleet in [
            Fleet {
                raw_bytes_per_second: 0.0,
                ..Fleet::reference()
            },
            Fleet {
                flush_seconds: 86_400.0,
                batch_bytes: 1e12,
                ..Fleet::reference()
            },
            Fleet {
                hosts: 0,
                ratio: 0.0,
                ..Fleet::reference()
            },
        ] {
            let cost = fleet.month();
            assert!(
                cost.object_bytes.is_finite() && cost.put_dollars.is_finite(),
                "{cost:?}"
            );
        }
    }
}
