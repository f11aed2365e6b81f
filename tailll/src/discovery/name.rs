//! A short name that no scheduler knows yet: the schedulers are asked for their jobs until one of them does.

use joblog::{InstanceSet, JobKey};

use super::aurora::{Jobs, Wanted};
use super::{DEFAULT_INTERVAL, DiscoveryEvent, Health, Outbox, Stopped, Watch};
use crate::causes::chain;

/// A job known by its name alone.
#[derive(Debug)]
pub struct Name {
    /// The job's name.
    pub name: String,
    /// Which of its instances; all if it does not say.
    pub instances: Option<InstanceSet>,
    /// Each cluster that may have it, with no job wanted yet.
    pub clusters: Vec<Jobs>,
}

impl Name {
    pub(super) async fn watch(mut self, watch: Watch, outbox: &Outbox) -> Result<(), Stopped> {
        let mut health: Vec<Health> = self.clusters.iter().map(|_| Health::Well).collect();
        let interval = match watch {
            Watch::Every(interval) | Watch::UntilThere(interval) => interval,
            Watch::Once => DEFAULT_INTERVAL,
        };
        loop {
            let mut found: Vec<(usize, JobKey)> = Vec::new();
            for (n, (jobs, health)) in self.clusters.iter().zip(&mut health).enumerate() {
                let source = jobs.name();
                match outbox.unless_stopped(jobs.scheduler.jobs()).await? {
                    Ok(keys) => {
                        health.well(&source, outbox).await?;
                        let named = keys.into_iter().filter(|key| key.name() == self.name);
                        found.extend(named.map(|key| (n, key)));
                    }
                    Err(error) => health.trouble(&source, chain(&error), outbox).await?,
                }
            }
            match &found[..] {
                [] => {}
                [(n, key)] => {
                    let mut jobs = self.clusters.swap_remove(*n);
                    jobs.wanted = vec![Wanted {
                        key: key.clone(),
                        instances: self.instances,
                    }];
                    return jobs.watch(watch, outbox).await;
                }
                several => {
                    let keys: Vec<String> = several
                        .iter()
                        .take(crate::resolve::MAX_CANDIDATES)
                        .map(|(_, key)| key.to_string())
                        .collect();
                    let message = format!(
                        "{} jobs have this name; write {}",
                        several.len(),
                        keys.join(" or ")
                    );
                    outbox
                        .send(DiscoveryEvent::Trouble {
                            source: self.name.clone(),
                            message,
                        })
                        .await?;
                    return outbox
                        .send(DiscoveryEvent::Complete {
                            source: self.name,
                            instances: 0,
                        })
                        .await;
                }
            }
            outbox.unless_stopped(tokio::time::sleep(interval)).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Source;
    use super::super::aurora::tests::wanted_jobs;
    use super::super::tests::Watched;
    use super::*;
    use crate::aurora::tests::{ok_jobs, ok_tasks, task_json};
    use crate::http::tests::{Fake, reply};

    fn name(uris: &[&str]) -> Source {
        Source::Name(Name {
            name: "hello".to_owned(),
            instances: Some("0".parse().expect("a set")),
            clusters: uris.iter().map(|uri| wanted_jobs(uri, &[])).collect(),
        })
    }

    const EVERY: Watch = Watch::UntilThere(Duration::from_millis(5));

    #[tokio::test]
    async fn a_name_is_waited_for_until_a_scheduler_knows_it() {
        let other = Fake::start(|_| ok_jobs(&[])).await;
        let mut asked = 0;
        let fake = Fake::start(move |seen| {
            if !seen.path.ends_with("getJobs") {
                let job = "aa/www-data/prod/hello";
                return ok_tasks(&[
                    task_json(job, 0, 1, Some("a"), "RUNNING", ""),
                    task_json(job, 1, 2, Some("b"), "RUNNING", ""),
                ]);
            }
            asked += 1;
            match asked {
                1 => ok_jobs(&["www-data/prod/helper"]),
                2 => reply("500 Internal Server Error", "", ""),
                _ => ok_jobs(&["www-data/prod/hello"]),
            }
        })
        .await;
        let mut watched = Watched::with(EVERY, vec![name(&[&other.uri, &fake.uri])]);
        let told = watched.some(5).await;
        assert!(
            told[0].starts_with("trouble cluster aa: ") && told[0].contains("HTTP 500"),
            "{told:?}"
        );
        assert_eq!(
            told[1..],
            [
                "recovered cluster aa",
                "+ aa/www-data/prod/hello/0@a",
                "complete aa/www-data/prod/hello: 1",
                "closed"
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_name_that_several_jobs_have_is_said() {
        let fake = Fake::start(|_| ok_jobs(&["a/prod/hello", "b/prod/hello"])).await;
        let mut watched = Watched::with(EVERY, vec![name(&[&fake.uri])]);
        assert_eq!(
            watched.some(3).await,
            [
                "trouble hello: 2 jobs have this name; write aa/a/prod/hello or aa/b/prod/hello",
                "complete hello: 0",
                "closed"
            ]
        );
        watched.stop().await;
    }
}
