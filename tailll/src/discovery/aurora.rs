//! Jobs of an Aurora scheduler: asked again and again, and compared with the answer before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use joblog::{InstanceSet, JobKey};

use super::{DiscoveryEvent, Health, Outbox, Stopped, Watch};
use crate::aurora::{AuroraError, MAX_TASK_IDS, Scheduler, Task, Tasks};
use crate::causes::chain;
use crate::instance::{Files, Instance, InstanceId, Login, Place, check_user};
use crate::near::near;
use crate::source::InstanceLabel;

/// The most instances followed of one cluster, in instances.
pub const MAX_INSTANCES: usize = 20_000;

/// Jobs of one cluster.
#[derive(Debug)]
pub struct Jobs {
    /// Whom to ask.
    pub scheduler: Arc<Scheduler>,
    /// What for. A job may stand here several times with different instances.
    pub wanted: Vec<Wanted>,
    /// Whom to log in as; the job's role where it is not set.
    pub user: Option<String>,
    /// The agents' work directory.
    pub slave_root: String,
    /// Which run of an executor: nearly always `latest`.
    pub run_directory: String,
}

/// A job, or some of its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The job.
    pub key: JobKey,
    /// Which instances; all if it does not say.
    pub instances: Option<InstanceSet>,
}

impl Wanted {
    fn takes(&self, key: &JobKey, instance: u32) -> bool {
        self.key == *key
            && self
                .instances
                .as_ref()
                .is_none_or(|set| set.contains(instance))
    }
}

/// What is known from the last good answer.
#[derive(Debug, Default)]
struct Known {
    instances: HashMap<String, Arc<InstanceLabel>>,
    /// What was said about each job's instances that wait for a place.
    waiting: HashMap<JobKey, String>,
    /// What was said about tasks that could not be used.
    unusable: Option<String>,
}

/// What an answer changes.
#[derive(Debug, Default)]
struct Change {
    added: Vec<Instance>,
    vanished: Vec<(String, Arc<InstanceLabel>)>,
    notes: Vec<(String, String)>,
}

impl Jobs {
    /// The source's name in messages.
    fn name(&self) -> String {
        format!("cluster {}", self.scheduler.cluster())
    }

    /// The jobs, each once.
    pub(super) fn keys(&self) -> Vec<JobKey> {
        let mut keys: Vec<JobKey> = self
            .wanted
            .iter()
            .map(|wanted| wanted.key.clone())
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }

    pub(super) async fn watch(self, watch: Watch, outbox: &Outbox) -> Result<(), Stopped> {
        let name = self.name();
        let keys = self.keys();
        let mut known = Known::default();
        let mut health = Health::Well;
        let mut first = true;
        loop {
            match outbox
                .unless_stopped(self.scheduler.active_tasks(&keys))
                .await?
            {
                Ok(tasks) => {
                    health.well(&name, outbox).await?;
                    let change = self.compare(&mut known, tasks);
                    self.tell(change, outbox).await?;
                    if first {
                        first = false;
                        self.complete(&known, &keys, outbox).await?;
                    }
                }
                Err(error) => health.trouble(&name, chain(&error), outbox).await?,
            }
            let Watch::Every(interval) = watch else {
                return Ok(());
            };
            outbox.unless_stopped(tokio::time::sleep(interval)).await?;
        }
    }

    /// Compares an answer with what is known, and remembers it.
    fn compare(&self, known: &mut Known, answer: Tasks) -> Change {
        let mut change = Change::default();
        let mut seen = HashSet::new();
        let mut waiting: BTreeMap<JobKey, Vec<&Task>> = BTreeMap::new();
        let mut unusable = answer.skipped;
        for task in &answer.tasks {
            let Some(key) = self.key_of(task) else {
                continue;
            };
            if task.status.is_terminal() {
                continue;
            }
            let Some(host) = &task.host else {
                waiting.entry(key.clone()).or_default().push(task);
                continue;
            };
            seen.insert(task.id.as_str());
            if known.instances.contains_key(&task.id) {
                continue;
            }
            let user = self.user.clone().unwrap_or_else(|| key.role().to_owned());
            if let Err(error) = check_user(&user) {
                unusable = Some(format!("task {}: role: {error}", task.id));
                continue;
            }
            if known.instances.len() >= MAX_INSTANCES {
                unusable = Some(format!(
                    "more than {MAX_INSTANCES} instances; the rest is not followed"
                ));
                continue;
            }
            let label = Arc::new(InstanceLabel {
                job: key.to_string(),
                key: Some(key.clone()),
                instance: Some(task.instance),
                host: host.clone(),
                task_id: Some(task.id.clone()),
            });
            known.instances.insert(task.id.clone(), Arc::clone(&label));
            change.added.push(Instance {
                id: InstanceId(task.id.clone()),
                label,
                place: Place::Ssh(Login {
                    user: Some(user),
                    host: host.clone(),
                    port: None,
                }),
                files: Files::Sandbox {
                    slave_root: self.slave_root.clone(),
                    run_directory: self.run_directory.clone(),
                    task_id: task.id.clone(),
                },
            });
        }
        change.added.sort_by(|a, b| by_label(&a.label, &b.label));
        known.instances.retain(|id, label| {
            let stays = seen.contains(id.as_str());
            if !stays {
                change.vanished.push((id.clone(), Arc::clone(label)));
            }
            stays
        });
        change.vanished.sort_by(|(_, a), (_, b)| by_label(a, b));
        let waiting: HashMap<JobKey, String> = waiting
            .into_iter()
            .map(|(key, tasks)| (key, describe_waiting(&tasks)))
            .collect();
        for (key, message) in &waiting {
            if known.waiting.get(key) != Some(message) {
                change.notes.push((key.to_string(), message.clone()));
            }
        }
        known.waiting = waiting;
        if unusable != known.unusable {
            known.unusable.clone_from(&unusable);
            change
                .notes
                .extend(unusable.map(|message| (self.name(), message)));
        }
        change
    }

    /// The wanted job that this task belongs to.
    fn key_of<'a>(&'a self, task: &'a Task) -> Option<&'a JobKey> {
        let key = match (&task.key, &self.wanted[..]) {
            (Some(key), _) => key,
            // The answer does not name the job; if only one was asked for, it is that.
            (None, [only]) => &only.key,
            (None, _) => return None,
        };
        self.wanted
            .iter()
            .any(|wanted| wanted.takes(key, task.instance))
            .then_some(key)
    }

    /// Tells what has ended before what is new, so that a moved instance reads in order.
    async fn tell(&self, change: Change, outbox: &Outbox) -> Result<(), Stopped> {
        for chunk in change.vanished.chunks(MAX_TASK_IDS) {
            let ids: Vec<String> = chunk.iter().map(|(id, _)| id.clone()).collect();
            let ended = outbox
                .unless_stopped(self.scheduler.ended_tasks(&ids))
                .await?;
            for (id, label) in chunk {
                let event = DiscoveryEvent::Removed {
                    id: InstanceId(id.clone()),
                    label: Arc::clone(label),
                    how: describe_end(&ended, id),
                };
                outbox.send(event).await?;
            }
        }
        for instance in change.added {
            outbox.send(DiscoveryEvent::Added(instance)).await?;
        }
        for (source, message) in change.notes {
            outbox
                .send(DiscoveryEvent::Note { source, message })
                .await?;
        }
        Ok(())
    }

    /// Says how many instances each wanted job had in the first answer, and which names are near to one without any.
    async fn complete(
        &self,
        known: &Known,
        keys: &[JobKey],
        outbox: &Outbox,
    ) -> Result<(), Stopped> {
        let count = |key: &JobKey| {
            known
                .instances
                .values()
                .filter(|label| label.key.as_ref() == Some(key))
                .count()
        };
        let unknown = |key: &&JobKey| count(key) == 0 && !known.waiting.contains_key(*key);
        if keys.iter().any(|key| unknown(&key))
            && let Ok(jobs) = outbox.unless_stopped(self.scheduler.jobs()).await?
        {
            for key in keys.iter().filter(unknown) {
                outbox
                    .send(DiscoveryEvent::Note {
                        source: key.to_string(),
                        message: describe_unknown(key, &jobs),
                    })
                    .await?;
            }
        }
        for key in keys {
            outbox
                .send(DiscoveryEvent::Complete {
                    source: key.to_string(),
                    instances: count(key),
                })
                .await?;
        }
        Ok(())
    }
}

fn by_label(a: &InstanceLabel, b: &InstanceLabel) -> std::cmp::Ordering {
    (&a.key, a.instance, &a.task_id).cmp(&(&b.key, b.instance, &b.task_id))
}

/// Such as `FAILED: exit code 1`.
fn describe_end(ended: &Result<Tasks, AuroraError>, id: &str) -> String {
    match ended {
        Ok(ended) => match ended.tasks.iter().find(|task| task.id == id) {
            Some(Task {
                status,
                message: Some(message),
                ..
            }) => format!("{status}: {message}"),
            Some(task) => task.status.to_string(),
            None => "gone; the scheduler does not say how it ended".to_owned(),
        },
        Err(error) => format!("gone; how it ended could not be asked ({})", chain(error)),
    }
}

/// Such as `2 instances wait for a place: 3 PENDING (Insufficient: CPU), 4 THROTTLED`.
fn describe_waiting(tasks: &[&Task]) -> String {
    const MAX_NAMED: usize = 5;
    let mut sorted = tasks.to_vec();
    sorted.sort_by_key(|task| task.instance);
    let mut named: Vec<String> = sorted
        .iter()
        .take(MAX_NAMED)
        .map(|task| match &task.message {
            Some(message) => format!("{} {} ({message})", task.instance, task.status),
            None => format!("{} {}", task.instance, task.status),
        })
        .collect();
    if sorted.len() > MAX_NAMED {
        named.push(format!("and {} more", sorted.len() - MAX_NAMED));
    }
    let what = if sorted.len() == 1 {
        "instance waits"
    } else {
        "instances wait"
    };
    format!("{} {what} for a place: {}", sorted.len(), named.join(", "))
}

/// What to say of a job that has no instance.
fn describe_unknown(key: &JobKey, jobs: &[JobKey]) -> String {
    if jobs.contains(key) {
        return "the job is there, but no instance asked for is running".to_owned();
    }
    let texts: Vec<String> = jobs.iter().map(JobKey::to_string).collect();
    // The same name under another role or environment is nearer than any likeness of letters.
    let mut names: Vec<&str> = jobs
        .iter()
        .zip(&texts)
        .filter(|(job, _)| job.name() == key.name())
        .map(|(_, text)| text.as_str())
        .collect();
    if names.is_empty() {
        let wanted = key.to_string();
        names = near(&wanted, texts.iter().map(String::as_str));
    }
    names.truncate(crate::near::MAX_SUGGESTIONS);
    if names.is_empty() {
        "no such job".to_owned()
    } else {
        format!("no such job; did you mean {}?", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::Source;
    use super::super::tests::Watched;
    use super::*;
    use crate::aurora::tests::{key, ok_jobs, ok_tasks, scheduler, task_json};
    use crate::http::tests::{Fake, Seen, reply};

    const JOB: &str = "aa/www-data/prod/hello";

    fn jobs(uri: &str, wanted: &[(&str, Option<&str>)]) -> Source {
        Source::Aurora(Jobs {
            scheduler: Arc::new(scheduler(uri)),
            wanted: wanted
                .iter()
                .map(|(job, set)| Wanted {
                    key: key(job),
                    instances: set.map(|set| set.parse().expect("a set")),
                })
                .collect(),
            user: None,
            slave_root: "/var/lib/mesos".to_owned(),
            run_directory: "latest".to_owned(),
        })
    }

    fn running(instance: u32, n: u32, host: &str) -> Value {
        task_json(JOB, instance, n, Some(host), "RUNNING", "")
    }

    /// A scheduler that answers questions for active tasks with these replies in turn, the last one for ever.
    async fn fake(active: Vec<String>, ended: Vec<Value>, jobs: &'static [&'static str]) -> Fake {
        let active = Mutex::new(VecDeque::from(active));
        Fake::start(move |seen: &Seen| {
            if seen.path.ends_with("/getJobs") {
                return ok_jobs(jobs);
            }
            let query: Value = serde_json::from_str(&seen.body).expect("JSON");
            if query["query"].get("taskIds").is_some() {
                return ok_tasks(&ended);
            }
            let mut active = active.lock().expect("no panic");
            if active.len() > 1 {
                active.pop_front()
            } else {
                active.front().cloned()
            }
            .expect("an answer")
        })
        .await
    }

    #[tokio::test]
    async fn instances_come_move_and_end() {
        let fake = fake(
            vec![
                ok_tasks(&[running(1, 1, "b"), running(0, 2, "a")]),
                ok_tasks(&[running(0, 2, "a"), running(1, 3, "c")]),
                ok_tasks(&[running(1, 3, "c")]),
            ],
            vec![
                task_json(JOB, 1, 1, Some("b"), "LOST", "agent \u{1b}gone"),
                task_json(JOB, 0, 2, Some("a"), "FINISHED", ""),
            ],
            &[],
        )
        .await;
        let mut watched = Watched::start(vec![jobs(&fake.uri, &[(JOB, None)])]);
        assert_eq!(
            watched.some(6).await,
            [
                "+ aa/www-data/prod/hello/0@a",
                "+ aa/www-data/prod/hello/1@b",
                "complete aa/www-data/prod/hello: 2",
                "- aa/www-data/prod/hello/1@b: LOST: agent \\u{1b}gone",
                "+ aa/www-data/prod/hello/1@c",
                "- aa/www-data/prod/hello/0@a: FINISHED",
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_failing_scheduler_removes_nothing() {
        let whole = ok_tasks(&[running(0, 1, "a")]);
        let cut = whole[..whole.len() - 20].to_owned();
        let fake = fake(
            vec![
                whole.clone(),
                cut.clone(),
                cut,
                reply("200 OK", "", "{\"responseCode\":\"OK\"}"),
                whole,
                ok_tasks(&[]),
            ],
            Vec::new(),
            &[],
        )
        .await;
        let mut watched = Watched::start(vec![jobs(&fake.uri, &[(JOB, None)])]);
        let lines = watched.some(6).await;
        assert_eq!(
            lines[..2],
            [
                "+ aa/www-data/prod/hello/0@a",
                "complete aa/www-data/prod/hello: 1"
            ]
        );
        assert!(
            lines[2].starts_with("trouble cluster aa: ") && lines[2].contains("broke off"),
            "{lines:?}"
        );
        assert!(
            lines[3].starts_with("trouble cluster aa: ") && lines[3].contains("without a result"),
            "{lines:?}"
        );
        assert_eq!(lines[4], "recovered cluster aa");
        assert_eq!(
            lines[5],
            "- aa/www-data/prod/hello/0@a: gone; the scheduler does not say how it ended"
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_told() {
        let others = [
            running(0, 1, "a"),
            running(3, 2, "b"),
            task_json("aa/other/prod/hello", 0, 3, Some("c"), "RUNNING", ""),
            task_json(JOB, 1, 4, Some("d"), "FAILED", ""),
            task_json(JOB, 2, 5, Some("e"), "LEVITATING", ""),
        ];
        let fake = fake(vec![ok_tasks(&others)], Vec::new(), &[]).await;
        let mut watched = Watched::start(vec![jobs(
            &fake.uri,
            &[(JOB, Some("0-2")), (JOB, Some("1"))],
        )]);
        assert_eq!(
            watched.some(3).await,
            [
                "+ aa/www-data/prod/hello/0@a",
                "+ aa/www-data/prod/hello/2@e",
                "complete aa/www-data/prod/hello: 2",
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn waiting_instances_are_said_once() {
        let waiting = [
            running(0, 1, "a"),
            task_json(JOB, 1, 2, None, "PENDING", "Insufficient: CPU"),
        ];
        let fake = fake(
            vec![
                ok_tasks(&waiting),
                ok_tasks(&waiting),
                ok_tasks(&[running(0, 1, "a"), running(1, 2, "b")]),
            ],
            Vec::new(),
            &[],
        )
        .await;
        let mut watched = Watched::start(vec![jobs(&fake.uri, &[(JOB, None)])]);
        assert_eq!(
            watched.some(4).await,
            [
                "+ aa/www-data/prod/hello/0@a",
                "note aa/www-data/prod/hello: 1 instance waits for a place: 1 PENDING (Insufficient: CPU)",
                "complete aa/www-data/prod/hello: 1",
                "+ aa/www-data/prod/hello/1@b",
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_job_without_instances_has_near_names() {
        let fake = fake(
            vec![ok_tasks(&[])],
            Vec::new(),
            &["www-data/prod/hallo", "other/devel/hello", "a/b/c"],
        )
        .await;
        let wanted = [
            ("aa/www-data/prod/hello", None),
            ("aa/www-data/prod/hullo", None),
            ("aa/a/b/c", None),
        ];
        let mut watched = Watched::start(vec![jobs(&fake.uri, &wanted)]);
        assert_eq!(
            watched.some(6).await,
            [
                "note aa/a/b/c: the job is there, but no instance asked for is running",
                "note aa/www-data/prod/hello: no such job; did you mean aa/other/devel/hello?",
                "note aa/www-data/prod/hullo: no such job; did you mean aa/www-data/prod/hallo?",
                "complete aa/a/b/c: 0",
                "complete aa/www-data/prod/hello: 0",
                "complete aa/www-data/prod/hullo: 0",
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_a_silent_scheduler() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let uri = format!("http://{}", silent.local_addr().expect("an address"));
        let watched = Watched::start(vec![jobs(&uri, &[(JOB, None)])]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begin = std::time::Instant::now();
        watched.stop().await;
        assert!(begin.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn an_instance_says_where_to_log_in_and_what_to_read() {
        let Source::Aurora(mut jobs) = jobs("http://h", &[(JOB, None)]) else {
            panic!("jobs")
        };
        let task = |user: Option<&str>, jobs: &mut Jobs| {
            jobs.user = user.map(str::to_owned);
            let answer = json!({"responseCode": "OK", "result": {"scheduleStatusResult": {"tasks": [running(0, 1, "a")]}}});
            let tasks = crate::aurora::tests::read_tasks(&answer.to_string());
            jobs.compare(&mut Known::default(), tasks).added.remove(0)
        };
        let instance = task(None, &mut jobs);
        assert_eq!(
            instance.place,
            Place::Ssh(Login {
                user: Some("www-data".into()),
                host: "a".into(),
                port: None
            })
        );
        assert_eq!(
            instance.files,
            Files::Sandbox {
                slave_root: "/var/lib/mesos".into(),
                run_directory: "latest".into(),
                task_id: instance.id.0.clone(),
            }
        );
        let Place::Ssh(login) = task(Some("me"), &mut jobs).place else {
            panic!("over SSH")
        };
        assert_eq!(login.user.as_deref(), Some("me"));
    }

    #[test]
    fn many_waiting_instances_fit_a_line() {
        let answer = json!({"responseCode": "OK", "result": {"scheduleStatusResult": {"tasks":
            (0..100).map(|n| task_json(JOB, n, n, None, "PENDING", "")).collect::<Vec<_>>()}}});
        let tasks = crate::aurora::tests::read_tasks(&answer.to_string());
        let all: Vec<&Task> = tasks.tasks.iter().collect();
        assert_eq!(
            describe_waiting(&all),
            "100 instances wait for a place: 0 PENDING, 1 PENDING, 2 PENDING, 3 PENDING, 4 PENDING, and 95 more"
        );
    }
}
