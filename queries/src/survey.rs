//! What an archive holds, as far as tables over it have to know: its clusters, their oldest hours, and which encodings lie where.
//!
//! A table of Hive's reads one format, and everything under its partitions. So where both encodings lie in one hour, Athena cannot
//! read that hour. An archive can be too large to look at every object: at most [`MAX_HOURS`] hours of a cluster are, its first, its
//! last, and some between.

use std::collections::BTreeSet;

use archive::listing::{self, ListError};
use archive::{Encoding, Hour, Store};

/// The most hours of a cluster that are looked at.
pub const MAX_HOURS: usize = 72;

/// The most clusters of a table: Glue keeps them all in one property.
pub const MAX_CLUSTERS: usize = 1000;

/// What a cluster holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSurvey {
    /// The cluster.
    pub cluster: String,
    /// The first hour that has objects.
    pub oldest: Hour,
    /// Hours with objects in Parquet, of those that were looked at.
    pub parquet: BTreeSet<Hour>,
    /// Hours with objects in NDJSON.
    pub ndjson: BTreeSet<Hour>,
    /// Whether all hours up to now were looked at.
    pub extent: Extent,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Every hour.
    All,
    /// Some of them.
    Some,
}

impl ClusterSurvey {
    /// The hours of an encoding.
    pub fn hours(&self, encoding: Encoding) -> &BTreeSet<Hour> {
        match encoding {
            Encoding::Parquet => &self.parquet,
            Encoding::Ndjson => &self.ndjson,
        }
    }
}

/// The other encoding.
pub fn other(encoding: Encoding) -> Encoding {
    match encoding {
        Encoding::Parquet => Encoding::Ndjson,
        Encoding::Ndjson => Encoding::Parquet,
    }
}

/// Looks at an archive. `now` is the hour that it is.
pub async fn survey(store: &dyn Store, now: Hour) -> Result<Vec<ClusterSurvey>, ListError> {
    let mut surveys = Vec::new();
    for cluster in listing::clusters(store).await? {
        let Some(oldest) = listing::oldest_hour(store, &cluster).await? else {
            continue;
        };
        let (hours, extent) = looked_at(oldest, now);
        let mut survey = ClusterSurvey {
            cluster,
            oldest,
            parquet: BTreeSet::new(),
            ndjson: BTreeSet::new(),
            extent,
        };
        for hour in hours {
            for object in listing::list_hour(store, &survey.cluster, hour)
                .await?
                .objects
            {
                match object.key.encoding {
                    Encoding::Parquet => survey.parquet.insert(hour),
                    Encoding::Ndjson => survey.ndjson.insert(hour),
                };
            }
        }
        surveys.push(survey);
    }
    Ok(surveys)
}

/// The hours that are looked at, from the oldest to one behind now (clocks differ).
fn looked_at(oldest: Hour, now: Hour) -> (BTreeSet<Hour>, Extent) {
    let (first, last) = (oldest.number(), now.number().max(oldest.number()) + 1);
    let count = last - first + 1;
    let max = MAX_HOURS as i64;
    if count <= max {
        return ((first..=last).map(Hour::from_number).collect(), Extent::All);
    }
    let third = max / 3;
    let between = (1..=third).map(|n| first + n * (count - 1) / (third + 1));
    let hours = (first..first + third)
        .chain(between)
        .chain(last - third + 1..=last)
        .map(Hour::from_number)
        .collect();
    (hours, Extent::Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_hours_are_all_looked_at_and_many_are_not() {
        let hour = Hour::from_number;
        let (hours, extent) = looked_at(hour(10), hour(12));
        assert_eq!(
            hours.into_iter().map(Hour::number).collect::<Vec<_>>(),
            [10, 11, 12, 13]
        );
        assert_eq!(extent, Extent::All);
        let (hours, extent) = looked_at(hour(1000), hour(100_000));
        assert_eq!((hours.len(), extent), (MAX_HOURS, Extent::Some));
        assert!(hours.contains(&hour(1000)) && hours.contains(&hour(100_001)));
        // The newest objects can lie in the future of who asks.
        assert_eq!(looked_at(hour(10), hour(5)).0.len(), 2);
    }

    #[tokio::test]
    async fn an_archive_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        for key in [
            "cluster=aa/dh=2026-11-24-09/0000000000000001~000001~00000001.parquet",
            "cluster=aa/dh=2026-11-24-10/0000000000000001~000001~00000002.ndjson.gz",
            "cluster=aa/dh=2026-11-24-10/0000000000000001~000001~00000003.parquet",
            "cluster=bb/dh=2026-11-24-11/0000000000000002~000001~00000001.ndjson.gz",
        ] {
            let path = folder.path().join("logs/v1").join(key);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        let store = archive::store::dir::DirStore::new(folder.path());
        let now: Hour = "2026-11-24-12".parse().expect("an hour");
        let found = survey(&store, now).await.expect("a survey");
        let shown: Vec<String> = found
            .iter()
            .map(|one| {
                let hours = |encoding| {
                    one.hours(encoding)
                        .iter()
                        .map(Hour::to_string)
                        .collect::<Vec<_>>()
                        .join(" ")
                };
                format!(
                    "{} {} [{}] [{}]",
                    one.cluster,
                    one.oldest,
                    hours(Encoding::Parquet),
                    hours(Encoding::Ndjson)
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "aa 2026-11-24-09 [2026-11-24-09 2026-11-24-10] [2026-11-24-10]",
                "bb 2026-11-24-11 [] [2026-11-24-11]"
            ]
        );
    }
}
