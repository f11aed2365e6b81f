//! Which jobs an archive can be asked for.

use std::ops::Range;
use std::sync::Arc;

use archive::Store;
use archive::history::{self, HistoryError, Limits};
use archive::listing;
use jiff::tz::TimeZone;
use joblog::{InstanceSet, JobKey};

use crate::causes::chain;
use crate::config::Config;
use crate::discovery::Source;
use crate::discovery::aurora::MAX_MATCHED_JOBS;
use crate::discovery::local::{LocalJob, Sandboxes};
use crate::job_pattern::JobPattern;
use crate::options::parse_zone;
use crate::resolve::{MAX_CANDIDATES, ResolveError};
use crate::target::Target;

/// What is asked for, as far as an archive is concerned.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The sources of instances that there are.
    pub sources: &'a [Source],
    /// What was asked for, in words.
    pub targets: &'a [Target],
    /// The stage that was asked for.
    pub stage: Option<&'a str>,
    /// When lines were written, in ns since 1970.
    pub ts_ns: Range<i64>,
}

/// The jobs that an archive can be asked for, each with the instances that are wanted. A job that is named by its full key need not
/// be one of a cluster that is known here; by a part of its key or by a pattern it is looked for among the jobs that the archive has.
pub async fn jobs_of(
    store: &Arc<dyn Store>,
    question: Question<'_>,
    failures: &mut Vec<ResolveError>,
    notes: &mut Vec<String>,
) -> Vec<(JobKey, Option<InstanceSet>)> {
    let mut jobs = Chosen::default();
    for source in question.sources {
        match source {
            Source::Aurora(of_cluster) => {
                for wanted in &of_cluster.wanted {
                    jobs.add(&wanted.key, wanted.instances.as_ref());
                }
            }
            Source::LocalSandboxes(Sandboxes {
                job: LocalJob::Key(key),
                instances,
                ..
            }) => jobs.add(key, instances.as_ref()),
            _ => {}
        }
    }
    failures.retain(|failure| {
        let (ResolveError::UnknownCluster { target, .. }
        | ResolveError::NoScheduler { target, .. }) = failure
        else {
            return true;
        };
        let named = question.targets.iter().find_map(|known| match known {
            Target::Key { key, instances } if known.to_string() == *target => {
                Some((key, instances.as_ref()))
            }
            _ => None,
        });
        match named {
            Some((key, instances)) => {
                jobs.add(key, instances);
                notes.push(format!("{}; only the archive is read", chain(failure)));
                false
            }
            None => true,
        }
    });
    let mut sought = sought(&question, failures);
    if sought.is_empty() {
        return jobs.0;
    }
    if let Err(error) = look_for(store, &question.ts_ns, &mut sought, notes).await {
        notes.push(format!(
            "archive: {}; jobs are not looked for there",
            chain(&error)
        ));
        return jobs.0;
    }
    let mut settled = Vec::new();
    for one in sought {
        let (take, said) = one.outcome(failures, notes);
        for key in take {
            jobs.add(key, one.instances.as_ref());
        }
        settled.extend(said);
    }
    settled.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
    for at in settled {
        failures.remove(at);
    }
    jobs.0
}

/// Jobs, each with the instances that are wanted.
#[derive(Debug, Default)]
struct Chosen(Vec<(JobKey, Option<InstanceSet>)>);

impl Chosen {
    fn add(&mut self, key: &JobKey, instances: Option<&InstanceSet>) {
        // Twice the same instances would be twice the same lines.
        match self.0.iter_mut().find(|(known, _)| known == key) {
            None => self.0.push((key.clone(), instances.cloned())),
            Some((_, known)) => {
                *known = match (known.take(), instances) {
                    // Too many for one list are all.
                    (Some(one), Some(other)) => format!("{one},{other}").parse().ok(),
                    _ => None,
                };
            }
        }
    }
}

/// A job that is looked for in the archive.
#[derive(Debug)]
struct Sought {
    pattern: JobPattern,
    instances: Option<InstanceSet>,
    count: Count,
    /// The failure that is none if the job is found, by its number.
    failure: Option<usize>,
    found: Vec<JobKey>,
}

/// How many jobs a target stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    One,
    Any,
}

impl Sought {
    /// Which of the found jobs are taken, and which failure is settled by that.
    fn outcome(
        &self,
        failures: &mut [ResolveError],
        notes: &mut Vec<String>,
    ) -> (&[JobKey], Option<usize>) {
        match (&self.found[..], self.count, self.failure) {
            ([], ..) => (&[], None),
            (found, Count::One, at) if found.len() > 1 => {
                let error = ResolveError::Ambiguous {
                    name: self.pattern.to_string(),
                    count: found.len(),
                    candidates: found
                        .iter()
                        .take(MAX_CANDIDATES)
                        .map(ToString::to_string)
                        .collect(),
                };
                match at {
                    Some(at) => failures[at] = error,
                    None => notes.push(format!("archive: {error}")),
                }
                (&[], None)
            }
            (found, _, None) => (found, None),
            (found, _, Some(at)) => {
                let names: Vec<String> = found
                    .iter()
                    .take(MAX_CANDIDATES)
                    .map(ToString::to_string)
                    .collect();
                let taken = names.join(", ");
                if failures[at].is_unreached() {
                    // It is said, and the scheduler may know more.
                    notes.push(format!("the archive has {taken}"));
                    return (found, None);
                }
                notes.push(format!(
                    "{}; only the archive is read, which has {taken}",
                    chain(&failures[at])
                ));
                (found, Some(at))
            }
        }
    }
}

/// What has to be looked for: patterns, and names that nobody else knows.
fn sought(question: &Question<'_>, failures: &[ResolveError]) -> Vec<Sought> {
    let stage = question.stage.unwrap_or("*");
    let mut all = Vec::new();
    let mut seek = |parts: [&str; 4], instances: Option<&InstanceSet>, count, failure| {
        if let Ok(pattern) = JobPattern::new(parts) {
            all.push(Sought {
                pattern,
                instances: instances.cloned(),
                count,
                failure,
                found: Vec::new(),
            });
        }
    };
    for source in question.sources {
        match source {
            Source::Aurora(jobs) => {
                for wanted in &jobs.patterns {
                    let text = wanted.pattern.to_string();
                    let parts: Vec<&str> = text.split('/').collect();
                    if let Ok(parts) = parts.try_into() {
                        seek(parts, wanted.instances.as_ref(), Count::Any, None);
                    }
                }
            }
            Source::Name(name) => {
                let parts = ["*", "*", stage, &name.name];
                seek(parts, name.instances.as_ref(), Count::One, None);
            }
            _ => {}
        }
    }
    for (at, failure) in failures.iter().enumerate() {
        let asked = match failure {
            ResolveError::UnknownName { name, .. } => name,
            ResolveError::NoCluster { target } | ResolveError::NoMatch { target, .. } => target,
            _ => continue,
        };
        let is_asked = |target: &&Target| match target {
            Target::Short { name, .. } => name == asked,
            other => other.to_string() == *asked,
        };
        let failure = Some(at);
        match question.targets.iter().find(is_asked) {
            Some(Target::Short { name, instances }) => {
                let parts = ["*", "*", stage, name];
                seek(parts, instances.as_ref(), Count::One, failure);
            }
            Some(Target::RoleEnvName { role, env, name }) => {
                seek(["*", role, env, name], None, Count::One, failure);
            }
            Some(Target::Matching { parts, instances }) => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let four = match parts[..] {
                    [name] => ["*", "*", stage, name],
                    [role, env, name] => ["*", role, env, name],
                    [cluster, role, env, name] => [cluster, role, env, name],
                    _ => continue,
                };
                seek(four, instances.as_ref(), Count::Any, failure);
            }
            _ => {}
        }
    }
    all
}

/// Looks for them among the jobs that have rows of this time.
async fn look_for(
    store: &Arc<dyn Store>,
    ts_ns: &Range<i64>,
    sought: &mut [Sought],
    notes: &mut Vec<String>,
) -> Result<(), HistoryError> {
    for cluster in listing::clusters(&**store).await? {
        if !sought.iter().any(|one| one.pattern.takes_cluster(&cluster)) {
            continue;
        }
        let limits = Limits::default();
        let found = history::jobs(Arc::clone(store), &cluster, ts_ns.clone(), limits).await?;
        notes.extend(
            found
                .damaged
                .iter()
                .map(|damaged| format!("archive: {}", chain(damaged))),
        );
        for job in found.jobs {
            let Ok(key) = JobKey::new(&cluster, &job.role, &job.env, &job.job) else {
                continue;
            };
            for one in sought.iter_mut().filter(|one| one.pattern.matches(&key)) {
                one.found.push(key.clone());
            }
        }
    }
    for one in sought {
        if one.found.len() > MAX_MATCHED_JOBS {
            one.found.truncate(MAX_MATCHED_JOBS);
            notes.push(format!(
                "archive: `{}` takes more than {MAX_MATCHED_JOBS} jobs; the rest is not shown",
                one.pattern
            ));
        }
    }
    Ok(())
}

/// The zone that a cluster's configuration says.
pub fn zone_of_cluster(config: &Config, cluster: &str) -> Option<TimeZone> {
    parse_zone(config.clusters.get(cluster)?.timezone.as_deref()?).ok()
}
