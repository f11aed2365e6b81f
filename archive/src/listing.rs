//! Which objects there are. Every reader asks here, so that objects that stand for others (once hours are compacted) need to be
//! known in one place only.

use std::ops::Range;

use crate::key::{self, Hour, KeyError, LOGS, ObjectKey};
use crate::store::{Listed, Store, StoreError};

/// The most objects that one call lists.
pub const MAX_OBJECTS: usize = 2_000_000;

/// The most clusters, or hours, that one call finds.
pub const MAX_FOUND: usize = 100_000;

/// What follows `/` in the order of bytes: where to go on behind everything in a folder.
const BEHIND_FOLDER: char = '0';

/// An object with rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogObject {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub len: u64,
}

/// The objects of an hour, or of some hours, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<LogObject>,
    /// How many keys there are among them that are not ours.
    pub strangers: u64,
    /// The first of these.
    pub first_stranger: Option<String>,
}

/// Why objects could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// There can be no such key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are more than one call may list.
    #[error("there are more than {max} of what was asked for below {prefix}")]
    TooMany {
        /// Where.
        prefix: String,
        /// The limit.
        max: usize,
    },
}

/// The objects of an hour.
pub async fn list_hour(store: &dyn Store, cluster: &str, hour: Hour) -> Result<Listing, ListError> {
    let prefix = key::hour_prefix(cluster, hour)?;
    let mut listing = Listing::default();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&prefix, after.as_deref()).await?;
        for object in &page.objects {
            listing.take(object, &prefix)?;
        }
        after = page.objects.last().map(|object| object.key.clone());
        if !page.more || after.is_none() {
            return Ok(listing);
        }
    }
}

/// The objects of some hours.
pub async fn list_hours(
    store: &dyn Store,
    cluster: &str,
    hours: Range<Hour>,
) -> Result<Listing, ListError> {
    let prefix = key::cluster_prefix(cluster)?;
    let mut listing = Listing::default();
    let mut after = before_hour(&prefix, hours.start);
    loop {
        let page = store.list(&prefix, Some(&after)).await?;
        for object in &page.objects {
            let hour = object.key.strip_prefix(&prefix).and_then(key::hour_of);
            if hour.is_some_and(|hour| hour >= hours.end) {
                return Ok(listing);
            }
            listing.take(object, &prefix)?;
        }
        match page.objects.last() {
            Some(last) if page.more => after.clone_from(&last.key),
            _ => return Ok(listing),
        }
    }
}

/// The clusters that have objects, in order.
pub async fn clusters(store: &dyn Store) -> Result<Vec<String>, ListError> {
    let mut found: Vec<String> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(LOGS, after.as_deref()).await?;
        for object in &page.objects {
            if let Some(cluster) = key::cluster_of(&object.key)
                && found.last().is_none_or(|last| last != cluster)
            {
                found.push(cluster.to_owned());
            }
        }
        if found.len() > MAX_FOUND {
            return Err(too_many(LOGS, MAX_FOUND));
        }
        let Some(last) = page.objects.last().filter(|_| page.more) else {
            // A name that ends where another goes on with a character below `/` comes twice.
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        };
        after = Some(match key::cluster_of(&last.key) {
            Some(cluster) => behind_folder(&key::cluster_prefix(cluster)?),
            None => last.key.clone(),
        });
    }
}

/// The first hour within a range that has objects.
pub async fn next_hour(
    store: &dyn Store,
    cluster: &str,
    range: Range<Hour>,
) -> Result<Option<Hour>, ListError> {
    let prefix = key::cluster_prefix(cluster)?;
    let mut after = before_hour(&prefix, range.start);
    loop {
        let page = store.list(&prefix, Some(&after)).await?;
        let mut hours = page
            .objects
            .iter()
            .filter_map(|object| key::hour_of(object.key.strip_prefix(&prefix)?));
        if let Some(hour) = hours.next() {
            return Ok((hour < range.end).then_some(hour));
        }
        match page.objects.last() {
            Some(last) if page.more => after.clone_from(&last.key),
            _ => return Ok(None),
        }
    }
}

/// The first hour of a cluster that has objects.
pub async fn oldest_hour(store: &dyn Store, cluster: &str) -> Result<Option<Hour>, ListError> {
    next_hour(store, cluster, Hour::MIN..Hour::MAX).await
}

/// The hours within a range that have objects, in order.
pub async fn hours(
    store: &dyn Store,
    cluster: &str,
    range: Range<Hour>,
) -> Result<Vec<Hour>, ListError> {
    let prefix = key::cluster_prefix(cluster)?;
    let mut found: Vec<Hour> = Vec::new();
    let mut after = before_hour(&prefix, range.start);
    loop {
        let page = store.list(&prefix, Some(&after)).await?;
        for object in &page.objects {
            let Some(hour) = object.key.strip_prefix(&prefix).and_then(key::hour_of) else {
                continue;
            };
            if hour >= range.end {
                return Ok(found);
            }
            if found.last() != Some(&hour) {
                found.push(hour);
            }
        }
        if found.len() > MAX_FOUND {
            return Err(too_many(&prefix, MAX_FOUND));
        }
        let Some(last) = page.objects.last().filter(|_| page.more) else {
            return Ok(found);
        };
        after = match last.key.strip_prefix(&prefix).and_then(key::hour_of) {
            Some(hour) => behind_folder(&key::hour_prefix(cluster, hour)?),
            None => last.key.clone(),
        };
    }
}

impl Listing {
    fn take(&mut self, object: &Listed, prefix: &str) -> Result<(), ListError> {
        if let Ok(key) = object.key.parse() {
            if self.objects.len() == MAX_OBJECTS {
                return Err(too_many(prefix, MAX_OBJECTS));
            }
            let len = object.len;
            self.objects.push(LogObject { key, len });
        } else {
            self.strangers += 1;
            self.first_stranger
                .get_or_insert_with(|| object.key.clone());
        }
        Ok(())
    }
}

fn too_many(prefix: &str, max: usize) -> ListError {
    ListError::TooMany {
        prefix: prefix.to_owned(),
        max,
    }
}

/// A text that comes before all keys of an hour, and behind those of the hours before it.
fn before_hour(cluster_prefix: &str, hour: Hour) -> String {
    format!("{cluster_prefix}dh={hour}")
}

/// A text that comes behind all keys that begin with a prefix that ends in `/`.
fn behind_folder(prefix: &str) -> String {
    format!("{}{BEHIND_FOLDER}", prefix.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;
    use crate::identity::{AgentId, Incarnation};
    use crate::store::{Body, Digest, Head, Page, Pending, Put};

    /// Keys in memory, a few of them a page.
    #[derive(Debug)]
    struct Keys {
        keys: Vec<String>,
        page: usize,
    }

    impl Store for Keys {
        fn put_new<'a>(&'a self, _: &'a str, _: Body, _: Digest) -> Pending<'a, Put> {
            unreachable!("listings only list")
        }

        fn head<'a>(&'a self, _: &'a str) -> Pending<'a, Option<Head>> {
            unreachable!("listings only list")
        }

        fn get<'a>(&'a self, _: &'a str, _: Option<Range<u64>>) -> Pending<'a, bytes::Bytes> {
            unreachable!("listings only list")
        }

        fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page> {
            let mut keys = self.keys.iter().filter(|key| {
                key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            });
            let objects = keys
                .by_ref()
                .take(self.page)
                .map(|key| Listed {
                    key: key.clone(),
                    len: 7,
                })
                .collect();
            let more = keys.next().is_some();
            Box::pin(async move { Ok(Page { objects, more }) })
        }

        fn root(&self) -> String {
            "memory".to_owned()
        }
    }

    fn keys(page: usize) -> Keys {
        let mut keys = vec![
            "logs/v1/cluster=aa/dh=1970-01-01-13/other.parquet".to_owned(),
            "logs/v1/other".to_owned(),
        ];
        for cluster in ["aa", "aa-b", "aa0", "b"] {
            for hour in [10, 11, 13, 400_000] {
                for seq in 1..4 {
                    let key = ObjectKey::new(
                        cluster,
                        Hour::from_number(hour),
                        AgentId(seq % 2),
                        Incarnation(1),
                        seq,
                        Encoding::Parquet,
                    );
                    keys.push(key.unwrap().to_string());
                }
            }
        }
        keys.sort_unstable();
        Keys { keys, page }
    }

    fn hour_numbers(hours: &[Hour]) -> Vec<i64> {
        hours.iter().map(|hour| hour.number()).collect()
    }

    #[tokio::test]
    async fn what_there_is_is_found_whatever_the_page() {
        for page in [1, 2, 3, 5, 1000] {
            let store = keys(page);
            assert_eq!(clusters(&store).await.unwrap(), ["aa", "aa-b", "aa0", "b"]);
            let (first, last) = (Hour::MIN, Hour::MAX);
            for cluster in ["aa", "aa-b", "aa0", "b"] {
                let all = hours(&store, cluster, first..last).await.unwrap();
                assert_eq!(hour_numbers(&all), [10, 11, 13, 400_000]);
                let oldest = oldest_hour(&store, cluster).await.unwrap();
                assert_eq!(oldest, Some(Hour::from_number(10)));
                let some = Hour::from_number(11)..Hour::from_number(400_000);
                let hours = hours(&store, cluster, some.clone()).await.unwrap();
                assert_eq!(hour_numbers(&hours), [11, 13]);
                let listing = list_hours(&store, cluster, some).await.unwrap();
                assert_eq!(listing.objects.len(), 6);
                assert_eq!(listing.strangers, u64::from(cluster == "aa"));
                let one = list_hour(&store, cluster, Hour::from_number(13)).await;
                assert_eq!(one.unwrap().objects, listing.objects[3..]);
            }
            let all = list_hours(&store, "aa", first..last).await.unwrap();
            assert_eq!(all.objects.len(), 12);
            assert_eq!(all.strangers, 1);
            let none = list_hour(&store, "none", Hour::MIN).await.unwrap();
            assert_eq!(none, Listing::default());
            assert_eq!(oldest_hour(&store, "none").await.unwrap(), None);
            assert!(matches!(
                list_hour(&store, "a/b", Hour::MIN).await,
                Err(ListError::Key(KeyError::Cluster { .. }))
            ));
        }
    }
}
