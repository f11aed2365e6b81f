//! Which jobs an archive has rows of: for who knows only a part of a job's name.
//!
//! Hours and objects are listed; the statistics of a group of rows tell of most groups whose they are, and of the others the columns
//! of the job's key are read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::groups::Groups;
use super::{HistoryError, Limits};
use crate::decode::{DecodeError, WantedJob};
use crate::key::Hour;
use crate::listing;
use crate::store::Store;

/// The jobs of a cluster.
#[derive(Debug, Default)]
pub struct FoundJobs {
    /// They, in order.
    pub jobs: BTreeSet<WantedJob>,
    /// Objects that could not be read.
    pub damaged: Vec<DecodeError>,
}

/// Looks for the jobs of a cluster that have rows in the hours of this time, in ns since 1970.
pub async fn jobs(
    store: Arc<dyn Store>,
    cluster: &str,
    ts_ns: Range<i64>,
    limits: Limits,
) -> Result<FoundJobs, HistoryError> {
    let mut found = FoundJobs::default();
    let first = Hour::of_ns(ts_ns.start);
    let end = Hour::of_ns(ts_ns.end.saturating_sub(1)).next();
    let hours = listing::hours(&*store, cluster, first..end).await?;
    let groups = Arc::new(Groups::new(Arc::clone(&store), limits));
    for hour in hours {
        let listing = listing::list_hour(&*store, cluster, hour).await?;
        let mut objects = listing.objects.into_iter();
        let mut tasks = JoinSet::new();
        loop {
            // No more tasks than may fetch: each holds what it has fetched.
            while tasks.len() < limits.fetches.max(1)
                && let Some(object) = objects.next()
            {
                let groups = Arc::clone(&groups);
                tasks.spawn(async move { groups.jobs_in(object).await });
            }
            let Some(done) = tasks.join_next().await else {
                break;
            };
            let (jobs, damaged) = done??;
            found.jobs.extend(jobs);
            found.damaged.extend(damaged);
        }
    }
    Ok(found)
}
