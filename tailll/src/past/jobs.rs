//! Which jobs an archive can be asked for.

use jiff::tz::TimeZone;
use joblog::{InstanceSet, JobKey};

use crate::causes::chain;
use crate::config::Config;
use crate::discovery::Source;
use crate::discovery::local::{LocalJob, Sandboxes};
use crate::options::parse_zone;
use crate::resolve::ResolveError;
use crate::target::Target;

/// The jobs that an archive can be asked for, each with the instances that are wanted. A job that is named by its full key need not
/// be one of a cluster that is known here.
pub fn jobs_of(
    sources: &[Source],
    targets: &[Target],
    failures: &mut Vec<ResolveError>,
    notes: &mut Vec<String>,
) -> Vec<(JobKey, Option<InstanceSet>)> {
    let mut jobs: Vec<(JobKey, Option<InstanceSet>)> = Vec::new();
    let mut add = |key: &JobKey, instances: Option<&InstanceSet>| {
        // Twice the same instances would be twice the same lines.
        match jobs.iter_mut().find(|(known, _)| known == key) {
            None => jobs.push((key.clone(), instances.cloned())),
            Some((_, known)) => {
                *known = match (known.take(), instances) {
                    // Too many for one list are all.
                    (Some(one), Some(other)) => format!("{one},{other}").parse().ok(),
                    _ => None,
                };
            }
        }
    };
    for source in sources {
        match source {
            Source::Aurora(jobs) => {
                for wanted in &jobs.wanted {
                    add(&wanted.key, wanted.instances.as_ref());
                }
                for pattern in &jobs.patterns {
                    notes.push(format!(
                        "{}: jobs that a pattern takes are not looked for in the archive; name them",
                        pattern.pattern
                    ));
                }
            }
            Source::LocalSandboxes(Sandboxes {
                job: LocalJob::Key(key),
                instances,
                ..
            }) => add(key, instances.as_ref()),
            _ => {}
        }
    }
    failures.retain(|failure| {
        let (ResolveError::UnknownCluster { target, .. }
        | ResolveError::NoScheduler { target, .. }) = failure
        else {
            return true;
        };
        let named = targets.iter().find_map(|known| match known {
            Target::Key { key, instances } if known.to_string() == *target => {
                Some((key, instances.as_ref()))
            }
            _ => None,
        });
        match named {
            Some((key, instances)) => {
                add(key, instances);
                notes.push(format!("{}; only the archive is read", chain(failure)));
                false
            }
            None => true,
        }
    });
    jobs
}

/// The zone that a cluster's configuration says.
pub fn zone_of_cluster(config: &Config, cluster: &str) -> Option<TimeZone> {
    parse_zone(config.clusters.get(cluster)?.timezone.as_deref()?).ok()
}
