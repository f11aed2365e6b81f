//! Jobs of an Aurora scheduler: asked again and again, and compared with the answer before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use joblog::{InstanceSet, JobKey};

use super::{DiscoveryEvent, Health, Outbox, Stopped, Watch};
use crate::as_role::AsRole;
use crate::aurora::{AuroraError, MAX_TASK_IDS, Scheduler, Task, Tasks};
use crate::causes::chain;
use crate::instance::{Files, Instance, InstanceId, Login, Place, check_user};
use crate::job_pattern::JobPattern;
use crate::near::near;
use crate::options::Ended;
use crate::source::InstanceLabel;

/// The most instances followed of one cluster, in instances.
pub const MAX_INSTANCES: usize = 20_000;

/// The most ended runs of one instance that are shown, in runs.
pub const MAX_PAST_RUNS: usize = 5;
/// The most jobs that one cluster's patterns stand for, in jobs.
pub const MAX_MATCHED_JOBS: usize = 1000;

/// Jobs of one cluster.
#[derive(Debug)]
pub struct Jobs {
    /// Whom to ask.
    pub scheduler: Arc<Scheduler>,
    /// What for. A job may stand here several times with different instances.
    pub wanted: Vec<Wanted>,
    /// Patterns of more, which the scheduler's jobs are compared with each time.
    pub patterns: Vec<WantedPattern>,
    /// Whom to log in as; the job's role where it is not set.
    pub user: Option<String>,
    /// The command that runs the scripts as another user. With it, the login is one's own where `user` is not set.
    pub as_role: Option<AsRole>,
    /// The agents' work directory.
    pub slave_root: String,
    /// Which run of an executor: nearly always `latest`.
    pub run_directory: String,
    /// Whether instances that have ended are told of too.
    pub ended: Ended,
}

/// A job, or some of its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The job.
    pub key: JobKey,
    /// Which instances; all if it does not say.
    pub instances: Option<InstanceSet>,
}

/// Jobs that match, or some of their instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPattern {
    /// Which jobs.
    pub pattern: JobPattern,
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
    pub(super) fn name(&self) -> String {
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

    pub(super) async fn watch(mut self, watch: Watch, outbox: &Outbox) -> Result<(), Stopped> {
        let name = self.name();
        let keys = self.keys();
        let named = self.wanted.clone();
        let mut known = Known::default();
        let mut health = Health::Well;
        let mut first = true;
        let mut there = HashSet::new();
        loop {
            let asked = outbox.unless_stopped(self.ask(&named)).await?;
            match asked {
                Ok(tasks) => {
                    health.well(&name, outbox).await?;
                    let change = self.compare(&mut known, tasks);
                    self.tell(change, outbox).await?;
                    if first {
                        first = false;
                        let past = self.tell_past(outbox).await?;
                        self.complete(&known, &past, &keys, outbox).await?;
                        there.extend(past.into_keys());
                    }
                    there.extend(
                        known
                            .instances
                            .values()
                            .filter_map(|label| label.key.clone()),
                    );
                }
                Err(error) => health.trouble(&name, chain(&error), outbox).await?,
            }
            let interval = match watch {
                Watch::Every(interval) => interval,
                Watch::UntilThere(interval) if keys.iter().any(|key| !there.contains(key)) => {
                    interval
                }
                Watch::Once | Watch::UntilThere(_) => return Ok(()),
            };
            outbox.unless_stopped(tokio::time::sleep(interval)).await?;
        }
    }

    /// Asks for the tasks of the jobs that are named, and of those that match by now.
    async fn ask(&mut self, named: &[Wanted]) -> Result<Tasks, AuroraError> {
        let mut dropped = None;
        if !self.patterns.is_empty() {
            let jobs = self.scheduler.jobs().await?;
            let (matched, too_many) = matching(&jobs, &self.patterns);
            self.wanted = named.to_vec();
            self.wanted.extend(matched);
            if too_many > 0 {
                dropped = Some(format!(
                    "{too_many} more jobs match than the {MAX_MATCHED_JOBS} that are followed; use narrower patterns"
                ));
            }
        }
        let keys = self.keys();
        // Asked for no job, the scheduler would answer with those of all.
        let mut tasks = if keys.is_empty() {
            Tasks::default()
        } else {
            self.scheduler.active_tasks(&keys).await?
        };
        tasks.skipped = dropped.or(tasks.skipped);
        Ok(tasks)
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
            let instance = match self.instance(task, key, host) {
                Ok(instance) => instance,
                Err(why) => {
                    unusable = Some(why);
                    continue;
                }
            };
            if known.instances.len() >= MAX_INSTANCES {
                unusable = Some(format!(
                    "more than {MAX_INSTANCES} instances; the rest is not followed"
                ));
                continue;
            }
            known
                .instances
                .insert(task.id.clone(), Arc::clone(&instance.label));
            change.added.push(instance);
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

    /// The instance that a task is.
    fn instance(&self, task: &Task, key: &JobKey, host: &str) -> Result<Instance, String> {
        let as_role = match &self.as_role {
            Some(command) => Some(command.command(Some(key.role())).map_err(|_| {
                format!(
                    "task {}: its role is no user that `become` could name",
                    task.id
                )
            })?),
            None => None,
        };
        // With `become` one logs in as oneself.
        let user = match (&self.user, &as_role) {
            (Some(user), _) => Some(user.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(key.role().to_owned()),
        };
        if let Some(user) = &user {
            check_user(user).map_err(|error| format!("task {}: role: {error}", task.id))?;
        }
        Ok(Instance {
            id: InstanceId(task.id.clone()),
            label: Arc::new(InstanceLabel {
                job: key.to_string(),
                key: Some(key.clone()),
                instance: Some(task.instance),
                host: host.to_owned(),
                task_id: Some(task.id.clone()),
            }),
            place: Place::Ssh(Login {
                user,
                host: host.to_owned(),
                port: None,
            }),
            files: Files::Sandbox {
                slave_root: self.slave_root.clone(),
                run_directory: self.run_directory.clone(),
                task_id: task.id.clone(),
            },
            as_role,
        })
    }

    /// Tells of what has ended before, if that is asked for: for each instance the newest runs first. Says how many there were of
    /// each job.
    async fn tell_past(&self, outbox: &Outbox) -> Result<HashMap<JobKey, usize>, Stopped> {
        let mut told = HashMap::new();
        if self.ended == Ended::LeaveOut {
            return Ok(told);
        }
        let past = match outbox
            .unless_stopped(self.scheduler.past_tasks(&self.keys()))
            .await?
        {
            Ok(past) => past,
            Err(error) => {
                outbox
                    .send(DiscoveryEvent::Trouble {
                        source: self.name(),
                        message: format!(
                            "which instances have ended could not be asked: {}",
                            chain(&error)
                        ),
                    })
                    .await?;
                return Ok(told);
            }
        };
        let mut notes: Vec<(String, String)> = Vec::new();
        notes.extend(past.skipped.clone().map(|skipped| (self.name(), skipped)));
        let mut runs: BTreeMap<(&JobKey, u32), Vec<&Task>> = BTreeMap::new();
        for task in &past.tasks {
            if let Some(key) = self.key_of(task) {
                runs.entry((key, task.instance)).or_default().push(task);
            }
        }
        for ((key, number), mut tasks) in runs {
            let placed = tasks.iter().filter(|task| task.host.is_some()).count();
            if placed < tasks.len() {
                notes.push((
                    format!("{key}/{number}"),
                    format!(
                        "{} of its ended runs never had a host",
                        tasks.len() - placed
                    ),
                ));
            }
            tasks.retain(|task| task.host.is_some());
            tasks.sort_by(|a, b| (b.since_ms, &b.id).cmp(&(a.since_ms, &a.id)));
            if placed > MAX_PAST_RUNS {
                notes.push((
                    format!("{key}/{number}"),
                    format!(
                        "{placed} of its runs have ended; the newest {MAX_PAST_RUNS} are shown"
                    ),
                ));
            }
            for task in tasks.into_iter().take(MAX_PAST_RUNS) {
                let Some(host) = &task.host else { continue };
                if told.values().sum::<usize>() >= MAX_INSTANCES {
                    notes.push((
                        self.name(),
                        format!("more than {MAX_INSTANCES} ended instances; the rest is not shown"),
                    ));
                    break;
                }
                match self.instance(task, key, host) {
                    Ok(instance) => {
                        *told.entry(key.clone()).or_default() += 1;
                        outbox
                            .send(DiscoveryEvent::Past {
                                instance,
                                how: how_it_ended(task),
                                ended_ms: task.since_ms,
                            })
                            .await?;
                    }
                    Err(why) => notes.push((self.name(), why)),
                }
            }
        }
        for (source, message) in notes {
            outbox
                .send(DiscoveryEvent::Note { source, message })
                .await?;
        }
        Ok(told)
    }

    /// The wanted job that this task belongs to.
    fn key_of<'a>(&'a self, task: &'a Task) -> Option<&'a JobKey> {
        let key = match (&task.key, &self.wanted[..]) {
            (Some(key), _) => key,
            // The answer does not name the job; if only one was asked for, it is that.
            (None, [only]) if self.patterns.is_empty() => &only.key,
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
        past: &HashMap<JobKey, usize>,
        keys: &[JobKey],
        outbox: &Outbox,
    ) -> Result<(), Stopped> {
        let count = |key: &JobKey| {
            let active = known
                .instances
                .values()
                .filter(|label| label.key.as_ref() == Some(key))
                .count();
            active + past.get(key).copied().unwrap_or(0)
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
        for wanted in &self.patterns {
            let instances = known
                .instances
                .values()
                .filter_map(|label| label.key.as_ref())
                .filter(|key| wanted.pattern.matches(key))
                .count();
            outbox
                .send(DiscoveryEvent::Complete {
                    source: wanted.pattern.to_string(),
                    instances,
                })
                .await?;
        }
        Ok(())
    }
}

/// The jobs that match, each with the instances that are wanted of it, and how many are too many.
fn matching(jobs: &[JobKey], patterns: &[WantedPattern]) -> (Vec<Wanted>, usize) {
    let mut sorted: Vec<&JobKey> = jobs
        .iter()
        .filter(|job| patterns.iter().any(|wanted| wanted.pattern.matches(job)))
        .collect();
    sorted.sort();
    sorted.dedup();
    let too_many = sorted.len().saturating_sub(MAX_MATCHED_JOBS);
    sorted.truncate(MAX_MATCHED_JOBS);
    let wanted = sorted
        .into_iter()
        .flat_map(|job| {
            patterns
                .iter()
                .filter(|wanted| wanted.pattern.matches(job))
                .map(|wanted| Wanted {
                    key: job.clone(),
                    instances: wanted.instances.clone(),
                })
        })
        .collect();
    (wanted, too_many)
}

fn by_label(a: &InstanceLabel, b: &InstanceLabel) -> std::cmp::Ordering {
    (&a.key, a.instance, &a.task_id).cmp(&(&b.key, b.instance, &b.task_id))
}

fn how_it_ended(task: &Task) -> String {
    match &task.message {
        Some(message) => format!("{}: {message}", task.status),
        None => task.status.to_string(),
    }
}

/// Such as `FAILED: exit code 1`.
fn describe_end(ended: &Result<Tasks, AuroraError>, id: &str) -> String {
    match ended {
        Ok(ended) => match ended.tasks.iter().find(|task| task.id == id) {
            Some(task) => how_it_ended(task),
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
pub(crate) mod tests {
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
        Source::Aurora(wanted_jobs(uri, wanted))
    }

    pub(crate) fn wanted_jobs(uri: &str, wanted: &[(&str, Option<&str>)]) -> Jobs {
        Jobs {
            scheduler: Arc::new(scheduler(uri)),
            wanted: wanted
                .iter()
                .map(|(job, set)| Wanted {
                    key: key(job),
                    instances: set.map(|set| set.parse().expect("a set")),
                })
                .collect(),
            patterns: Vec::new(),
            user: None,
            as_role: None,
            slave_root: "/var/lib/mesos".to_owned(),
            run_directory: "latest".to_owned(),
            ended: Ended::LeaveOut,
        }
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
            let statuses = &query["query"]["statuses"];
            if statuses
                .as_array()
                .is_some_and(|list| list.contains(&json!("LOST")))
            {
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

    fn past(instance: u32, n: u32, host: Option<&str>, at_ms: i64) -> Value {
        let mut task = task_json(JOB, instance, n, host, "FAILED", &format!("exit {n}"));
        task["taskEvents"][0]["timestamp"] = json!(at_ms);
        task["taskEvents"][1]["timestamp"] = json!(at_ms - 1);
        task
    }

    #[tokio::test]
    async fn ended_instances_are_told_of_if_asked_for_newest_first() {
        let mut ended: Vec<Value> = (1..=7)
            .map(|n| past(0, n, Some("a"), i64::from(n % 5) * 1000))
            .collect();
        ended.push(past(1, 8, Some("b"), 1));
        ended.push(past(1, 9, None, 2));
        ended.push(past(2, 10, Some("c"), 2));
        let fake = fake(vec![ok_tasks(&[running(0, 20, "a")])], ended, &[]).await;
        let mut wanted = wanted_jobs(&fake.uri, &[(JOB, Some("0-1"))]);
        wanted.ended = Ended::Show;
        let mut watched = Watched::with(Watch::Once, vec![Source::Aurora(wanted)]);
        assert_eq!(
            watched.some(11).await,
            [
                "+ aa/www-data/prod/hello/0@a",
                "past aa/www-data/prod/hello/0@a: FAILED: exit 4",
                "past aa/www-data/prod/hello/0@a: FAILED: exit 3",
                "past aa/www-data/prod/hello/0@a: FAILED: exit 7",
                "past aa/www-data/prod/hello/0@a: FAILED: exit 2",
                "past aa/www-data/prod/hello/0@a: FAILED: exit 6",
                "past aa/www-data/prod/hello/1@b: FAILED: exit 8",
                "note aa/www-data/prod/hello/0: 7 of its runs have ended; the newest 5 are shown",
                "note aa/www-data/prod/hello/1: 1 of its ended runs never had a host",
                "complete aa/www-data/prod/hello: 7",
                "closed",
            ]
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_job_without_ended_instances_in_an_answer_that_fails_keeps_the_others() {
        let fake = Fake::start(|seen| {
            if seen.body.contains("LOST") {
                return reply("418 I'm a teapot", "", "");
            }
            ok_tasks(&[running(0, 1, "a")])
        })
        .await;
        let mut wanted = wanted_jobs(&fake.uri, &[(JOB, None)]);
        wanted.ended = Ended::Show;
        let mut watched = Watched::with(Watch::Once, vec![Source::Aurora(wanted)]);
        let told = watched.some(4).await;
        assert_eq!(told[0], "+ aa/www-data/prod/hello/0@a");
        assert!(
            told[1]
                .starts_with("trouble cluster aa: which instances have ended could not be asked: ")
                && told[1].contains("HTTP 418"),
            "{told:?}"
        );
        assert_eq!(told[2..], ["complete aa/www-data/prod/hello: 1", "closed"]);
        watched.stop().await;
    }

    #[tokio::test]
    async fn a_job_is_waited_for_until_it_is_there() {
        let fake = fake(
            vec![
                ok_tasks(&[]),
                ok_tasks(&[]),
                ok_tasks(&[running(0, 1, "a")]),
            ],
            vec![],
            &[],
        )
        .await;
        let every = Duration::from_millis(5);
        let mut watched = Watched::with(
            Watch::UntilThere(every),
            vec![jobs(&fake.uri, &[(JOB, None)])],
        );
        assert_eq!(
            watched.some(4).await,
            [
                "note aa/www-data/prod/hello: no such job",
                "complete aa/www-data/prod/hello: 0",
                "+ aa/www-data/prod/hello/0@a",
                "closed",
            ]
        );
        watched.stop().await;
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

    fn pattern(text: &str) -> WantedPattern {
        let parts: Vec<&str> = text.split('/').collect();
        let parts = parts.try_into().expect("four parts");
        WantedPattern {
            pattern: JobPattern::new(parts).expect("a pattern"),
            instances: None,
        }
    }

    #[tokio::test]
    async fn jobs_that_match_are_looked_for_each_time() {
        let rounds = std::sync::atomic::AtomicUsize::new(0);
        let fake = Fake::start(move |seen: &Seen| {
            if seen.path.ends_with("/getJobs") {
                let jobs = ["other/prod/x", "www-data/prod/hello", "www-data/prod/help"];
                let round = rounds.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                return ok_jobs(&jobs[..(round + 1).min(3)]);
            }
            let query: Value = serde_json::from_str(&seen.body).expect("JSON");
            let keys = query["query"]["jobKeys"].as_array().expect("keys");
            assert!(!keys.is_empty(), "no key at all means every task there is");
            let tasks: Vec<Value> = keys
                .iter()
                .enumerate()
                .map(|(n, key)| {
                    let name = key["name"].as_str().expect("a name");
                    let job = format!("aa/www-data/prod/{name}");
                    task_json(&job, 0, 1, Some(["a", "b"][n]), "RUNNING", "")
                })
                .collect();
            ok_tasks(&tasks)
        })
        .await;
        let Source::Aurora(mut source) = jobs(&fake.uri, &[]) else {
            panic!("jobs")
        };
        source.patterns = vec![pattern("aa/*/prod/hel*")];
        let mut watched = Watched::start(vec![Source::Aurora(source)]);
        assert_eq!(
            watched.some(3).await,
            [
                "complete aa/*/prod/hel*: 0",
                "+ aa/www-data/prod/hello/0@a",
                "+ aa/www-data/prod/help/0@b",
            ]
        );
        watched.stop().await;
    }

    #[test]
    fn more_jobs_than_can_be_followed_are_counted() {
        let jobs: Vec<JobKey> = (0..MAX_MATCHED_JOBS + 7)
            .map(|n| key(&format!("aa/r/e/j{n}")))
            .collect();
        let (wanted, too_many) = matching(&jobs, &[pattern("*/*/*/j*"), pattern("aa/x/*/*")]);
        assert_eq!((wanted.len(), too_many), (MAX_MATCHED_JOBS, 7));
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
        assert_eq!(instance.as_role, None);
        let Place::Ssh(login) = task(Some("me"), &mut jobs).place else {
            panic!("over SSH")
        };
        assert_eq!(login.user.as_deref(), Some("me"));
        // Who becomes the role logs in as oneself.
        jobs.as_role = Some("sudo -u {role}".parse().expect("a command"));
        let instance = task(None, &mut jobs);
        let Place::Ssh(login) = &instance.place else {
            panic!("over SSH")
        };
        assert_eq!(login.user, None);
        let shell = instance.as_role.map(|command| command.shell());
        assert_eq!(shell.as_deref(), Some("exec sudo -u www-data sh"));
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
