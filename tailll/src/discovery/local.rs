//! This host: files by their patterns, and the sandboxes that an agent keeps here. No SSH, no scheduler.
//!
//! A sandbox's job is read from the agent's record of the task where root runs this (`task_info`). Otherwise it is read from the
//! task id, where role, environment and name are run together, so that a short name can mean more jobs than one. Only `latest` is followed as a symbolic link.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use joblog::sandbox::THERMOS_PREFIX;
use joblog::{InstanceSet, JobKey, TaskId};

use super::{DiscoveryEvent, Health, Outbox, Stopped, Watch};
use crate::causes::plain;
use crate::glob::Glob;
use crate::instance::{Files, Instance, InstanceId, Place};
use crate::job_pattern::JobPattern;
use crate::source::InstanceLabel;
use crate::task_info::{self, Recorded};

/// What this host is called in labels.
pub const LOCALHOST: &str = "localhost";

/// The most folder entries looked at in one search, in entries.
pub const MAX_ENTRIES: usize = 200_000;

/// Files of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFiles {
    /// What they are called.
    pub name: String,
    /// Absolute shell patterns.
    pub globs: Vec<String>,
}

impl LocalFiles {
    /// The one instance that they are.
    pub fn instance(&self) -> Instance {
        Instance {
            id: InstanceId(format!("local:{}", self.globs.join(","))),
            label: Arc::new(InstanceLabel {
                job: self.name.clone(),
                key: None,
                instance: None,
                host: LOCALHOST.to_owned(),
                task_id: None,
            }),
            place: Place::Local,
            files: Files::Globs(self.globs.clone()),
            as_role: None,
        }
    }

    pub(super) async fn tell(self, outbox: &Outbox) -> Result<(), Stopped> {
        outbox.send(DiscoveryEvent::Added(self.instance())).await?;
        outbox
            .send(DiscoveryEvent::Complete {
                source: self.name,
                instances: 1,
            })
            .await
    }
}

/// A job's sandboxes on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandboxes {
    /// The cluster of jobs that are named without one.
    pub cluster: String,
    /// Whose.
    pub job: LocalJob,
    /// Which instances; all if it does not say.
    pub instances: Option<InstanceSet>,
    /// The agent's work directory.
    pub slave_root: String,
    /// Which run of an executor: nearly always `latest`.
    pub run_directory: String,
}

/// A job as far as a task id tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalJob {
    /// By its key.
    Key(JobKey),
    /// By its name, under any role and environment.
    Name(String),
    /// All that match.
    Matching(JobPattern),
}

/// The environments that a scheduler allows unless it is told otherwise; others go on with a number.
const ENVIRONMENTS: [&str; 3] = ["prod", "devel", "test"];

/// What one search found.
#[derive(Debug, Default)]
struct Found {
    instances: HashMap<String, Arc<InstanceLabel>>,
    /// Why the search is not complete.
    problem: Option<String>,
    /// Tasks that are here and done.
    finished: Vec<String>,
}

impl Sandboxes {
    /// The source's name: the job's.
    pub fn name(&self) -> String {
        match &self.job {
            LocalJob::Key(key) => key.to_string(),
            LocalJob::Name(name) => name.clone(),
            LocalJob::Matching(pattern) => pattern.to_string(),
        }
    }

    pub(super) async fn watch(self, watch: Watch, outbox: &Outbox) -> Result<(), Stopped> {
        let source = self.name();
        let this = Arc::new(self);
        let mut known: HashMap<String, Arc<InstanceLabel>> = HashMap::new();
        let mut health = Health::Well;
        let mut first = true;
        loop {
            let search = Arc::clone(&this);
            let found = outbox
                .unless_stopped(tokio::task::spawn_blocking(move || search.search()))
                .await?;
            let found = found.unwrap_or_else(|error| Found {
                problem: Some(plain(&error.to_string())),
                ..Found::default()
            });
            let complete = found.problem.is_none();
            match found.problem {
                Some(problem) => health.trouble(&source, problem, outbox).await?,
                None => health.well(&source, outbox).await?,
            }
            // What could not be looked at may still be there.
            if complete {
                let mut gone: Vec<String> = known
                    .keys()
                    .filter(|id| !found.instances.contains_key(*id))
                    .cloned()
                    .collect();
                gone.sort();
                for id in gone {
                    let Some(label) = known.remove(&id) else {
                        continue;
                    };
                    let how = if found.finished.contains(&id) {
                        "finished"
                    } else {
                        "its sandbox is gone"
                    };
                    outbox
                        .send(DiscoveryEvent::Removed {
                            id: InstanceId(id),
                            label,
                            how: how.to_owned(),
                        })
                        .await?;
                }
            }
            let mut new: Vec<_> = found
                .instances
                .into_iter()
                .filter(|(id, _)| !known.contains_key(id))
                .collect();
            new.sort_by(|(a_id, a), (b_id, b)| (a.instance, a_id).cmp(&(b.instance, b_id)));
            for (id, label) in new {
                known.insert(id.clone(), Arc::clone(&label));
                outbox
                    .send(DiscoveryEvent::Added(this.instance(id, label)))
                    .await?;
            }
            if complete && first {
                first = false;
                outbox
                    .send(DiscoveryEvent::Complete {
                        source: source.clone(),
                        instances: known.len(),
                    })
                    .await?;
            }
            let Watch::Every(interval) = watch else {
                return Ok(());
            };
            outbox.unless_stopped(tokio::time::sleep(interval)).await?;
        }
    }

    fn instance(&self, task_id: String, label: Arc<InstanceLabel>) -> Instance {
        Instance {
            id: InstanceId(task_id.clone()),
            label,
            place: Place::Local,
            files: Files::Sandbox {
                slave_root: self.slave_root.clone(),
                run_directory: self.run_directory.clone(),
                task_id,
            },
            as_role: None,
        }
    }

    /// Looks through `slaves/*/frameworks/*/executors/*/runs/<run>`.
    fn search(&self) -> Found {
        let mut walk = Walk {
            left: MAX_ENTRIES,
            problem: None,
        };
        let mut found = Found::default();
        let slaves = Path::new(&self.slave_root).join("slaves");
        if let Err(error) = fs::metadata(&slaves) {
            found.problem = Some(format!(
                "{}: {error}; slave_root in the configuration says where the agent works",
                slaves.display()
            ));
            return found;
        }
        for slave in walk.folders(&slaves) {
            for framework in walk.folders(&slave.path().join("frameworks")) {
                for executor in walk.folders(&framework.path().join("executors")) {
                    self.look_at(&executor, &mut found);
                }
            }
        }
        found.problem = walk.problem;
        found
    }

    fn look_at(&self, executor: &DirEntry, found: &mut Found) {
        let name = executor.file_name();
        let Some(name) = name.to_str() else { return };
        let Some(run) = run_folder(&executor.path().join("runs"), &self.run_directory) else {
            return;
        };
        let records = self.records(&run);
        // Behind any prefix of an executor stands the id of its task.
        let record = records
            .iter()
            .filter(|record| name.ends_with(&record.task_id))
            .max_by_key(|record| record.task_id.len());
        let id = match record {
            Some(record) => record.task_id.as_str(),
            None => name.strip_prefix(THERMOS_PREFIX).unwrap_or(name),
        };
        let Ok(task) = TaskId::parse(id) else { return };
        if !self.takes(&task, record) {
            return;
        }
        if fs::symlink_metadata(run.join("checkpoints/tasks/finished").join(id)).is_ok() {
            found.finished.push(id.to_owned());
            return;
        }
        let recorded = record.and_then(|record| {
            JobKey::new(&self.cluster, &record.role, &record.env, &record.name).ok()
        });
        let (job, key) = match (&self.job, recorded) {
            (LocalJob::Key(key), _) => (key.to_string(), Some(key.clone())),
            (_, Some(key)) => (key.to_string(), Some(key)),
            _ => (task.prefix().to_owned(), None),
        };
        let label = InstanceLabel {
            job,
            key,
            instance: Some(task.instance()),
            host: LOCALHOST.to_owned(),
            task_id: Some(id.to_owned()),
        };
        found.instances.insert(id.to_owned(), Arc::new(label));
    }

    /// What the agent recorded of a run's tasks; nothing for those who may not read it.
    fn records(&self, run: &Path) -> Vec<Recorded> {
        let root = Path::new(&self.slave_root);
        match run.strip_prefix(root) {
            Ok(below) => task_info::recorded(&root.join("meta").join(below).join("tasks")),
            Err(_) => Vec::new(),
        }
    }

    fn takes(&self, task: &TaskId, record: Option<&Recorded>) -> bool {
        let job = match (&self.job, record) {
            (LocalJob::Key(key), Some(record)) => {
                (key.role(), key.env(), key.name())
                    == (
                        record.role.as_str(),
                        record.env.as_str(),
                        record.name.as_str(),
                    )
            }
            (LocalJob::Name(name), Some(record)) => *name == record.name,
            (LocalJob::Matching(pattern), Some(record)) => {
                pattern.takes_job(&record.role, &record.env, &record.name)
            }
            (LocalJob::Key(key), None) => task.matches(key),
            (LocalJob::Name(name), None) => ends_in_name(task.prefix(), &lossy(name)),
            (LocalJob::Matching(pattern), None) => {
                // The cluster does not stand in a task id.
                let text = pattern.to_string();
                let rest = text.split_once('/').map_or("", |(_, rest)| rest);
                rest.replace(['/', '.'], "-")
                    .parse()
                    .is_ok_and(|glob: Glob| glob.matches(task.prefix().as_bytes()))
            }
        };
        job && self
            .instances
            .as_ref()
            .is_none_or(|set| set.contains(task.instance()))
    }
}

/// A name as it stands in a task id.
fn lossy(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect()
}

/// Whether `role-env-name` ends in this name. Where an environment is recognized, the name is what follows it and no less.
fn ends_in_name(prefix: &str, name: &str) -> bool {
    let parts: Vec<&str> = prefix.split('-').collect();
    let is_env = |part: &str| {
        ENVIRONMENTS.contains(&part)
            || part
                .strip_prefix("staging")
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut after_env = (1..parts.len().saturating_sub(1))
        .filter(|&at| is_env(parts[at]))
        .map(|at| parts[at + 1..].join("-"))
        .peekable();
    if after_env.peek().is_some() {
        return after_env.any(|rest| rest == name);
    }
    // Before the name stand a role and an environment.
    prefix
        .strip_suffix(name)
        .and_then(|rest| rest.strip_suffix('-'))
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(role, env)| !role.is_empty() && !env.is_empty())
}

/// The folder of a run: a real one beneath `runs`, or the one that the link `latest` names there.
fn run_folder(runs: &Path, run_directory: &str) -> Option<PathBuf> {
    let named = runs.join(run_directory);
    let folder = match fs::read_link(&named) {
        Ok(target) if run_directory == "latest" => runs.join(target.file_name()?),
        Ok(_) => return None,
        Err(_) => named,
    };
    fs::symlink_metadata(&folder)
        .ok()
        .filter(fs::Metadata::is_dir)
        .map(|_| folder)
}

/// A search with a limit, which remembers what it could not look at.
struct Walk {
    left: usize,
    problem: Option<String>,
}

impl Walk {
    /// The real folders in a folder. One that is not there has none: agents remove them at any time.
    fn folders(&mut self, folder: &Path) -> Vec<DirEntry> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.failed(folder, &error);
                return Vec::new();
            }
        };
        let mut folders = Vec::new();
        for entry in entries {
            if self.left == 0 {
                self.problem = Some(format!(
                    "more than {MAX_ENTRIES} folder entries; the search stopped in {}",
                    shown(folder)
                ));
                break;
            }
            self.left -= 1;
            match entry {
                Ok(entry) if entry.file_name() == OsStr::new("taskfs") => {}
                Ok(entry) => folders.extend(
                    entry
                        .file_type()
                        .is_ok_and(|kind| kind.is_dir())
                        .then_some(entry),
                ),
                Err(error) => self.failed(folder, &error),
            }
        }
        folders
    }

    fn failed(&mut self, folder: &Path, error: &io::Error) {
        self.problem
            .get_or_insert_with(|| format!("{}: {error}", shown(folder)));
    }
}

fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::Source;
    use super::super::tests::Watched;
    use super::*;

    const EXECUTORS: &str = "slaves/S0/frameworks/F0/executors";

    fn id(job: &str, instance: u32) -> String {
        format!("{job}-{instance}-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22")
    }

    /// An executor's folder with one run and `latest`.
    fn executor(root: &Path, name: &str) -> PathBuf {
        let runs = root.join(EXECUTORS).join(name).join("runs");
        fs::create_dir_all(runs.join("c1/sandbox/.logs")).expect("to create");
        symlink("/elsewhere/before/the/move/c1", runs.join("latest")).expect("to link");
        runs
    }

    fn sandboxes(root: &Path, job: LocalJob, instances: Option<&str>) -> Sandboxes {
        Sandboxes {
            cluster: "aa".to_owned(),
            job,
            instances: instances.map(|set| set.parse().expect("a set")),
            slave_root: root.to_str().expect("UTF-8").to_owned(),
            run_directory: "latest".to_owned(),
        }
    }

    fn key() -> LocalJob {
        LocalJob::Key("aa/www-data/prod/hello".parse().expect("a key"))
    }

    fn found(sandboxes: &Sandboxes) -> Vec<String> {
        let found = sandboxes.search();
        assert_eq!(found.problem, None);
        let mut ids: Vec<String> = found.instances.into_keys().collect();
        ids.sort();
        ids
    }

    #[test]
    fn a_jobs_sandboxes_are_found() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let hello = |n| id("www-data-prod-hello", n);
        executor(root, &format!("thermos-{}", hello(0)));
        executor(root, &hello(1));
        executor(root, &format!("thermos-{}", id("data-prod-hello", 2)));
        executor(
            root,
            &format!("thermos-{}", id("www-data-prod-hello-canary", 3)),
        );
        executor(root, "no-task");
        fs::create_dir_all(root.join(EXECUTORS).join(format!("thermos-{}", hello(4))))
            .expect("to create");

        assert_eq!(found(&sandboxes(root, key(), None)), [hello(0), hello(1)]);
        assert_eq!(found(&sandboxes(root, key(), Some("1-9"))), [hello(1)]);
        let by_name = sandboxes(root, LocalJob::Name("hello".to_owned()), None);
        assert_eq!(
            found(&by_name),
            [id("data-prod-hello", 2), hello(0), hello(1)]
        );
    }

    #[test]
    fn a_name_is_told_from_a_longer_one() {
        for (prefix, name, expected) in [
            ("www-data-prod-hello", "hello", true),
            ("www-data-prod-other-hello", "hello", false),
            ("www-data-prod-other-hello", "other-hello", true),
            ("www-staging3-hello", "hello", true),
            ("a-test-b-prod-c", "c", true),
            ("a-test-b-prod-c", "b-prod-c", true),
            ("role-somewhere-other-hello", "hello", true),
            ("prod-hello", "hello", false),
            ("hello", "hello", false),
        ] {
            assert_eq!(ends_in_name(prefix, name), expected, "{prefix} {name}");
        }
    }

    #[test]
    fn the_agents_record_is_exact() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let record = |name: &str, id: &str, job: &str| {
            let tasks = root.join("meta").join(EXECUTORS).join(name);
            let task = tasks.join("runs/c1/tasks").join(id);
            fs::create_dir_all(&task).expect("to create");
            fs::write(task.join("task.info"), task_info::tests::record(job)).expect("to write");
        };
        // The same task id stands for both jobs, and an executor with a prefix of its own hides where the id begins.
        for (n, (prefix, job)) in [
            ("thermos-", "www/data-prod/hello"),
            ("thermos-", "www-data/prod/hello"),
            ("custom-", "www-data/prod/hello"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = id("www-data-prod-hello", n as u32);
            executor(root, &format!("{prefix}{id}"));
            record(&format!("{prefix}{id}"), &id, job);
        }
        let hello = |n| id("www-data-prod-hello", n);
        assert_eq!(found(&sandboxes(root, key(), None)), [hello(1), hello(2)]);
        let other = LocalJob::Key("aa/www/data-prod/hello".parse().expect("a key"));
        assert_eq!(found(&sandboxes(root, other, None)), [hello(0)]);
        let pattern = JobPattern::new(["aa", "www-*", "*", "hel*"]).expect("a pattern");
        let matching = sandboxes(root, LocalJob::Matching(pattern), None);
        assert_eq!(found(&matching), [hello(1), hello(2)]);
        let labels = matching.search().instances;
        assert_eq!(labels[&hello(2)].job, "aa/www-data/prod/hello");
        fs::remove_dir_all(root.join("meta")).expect("to remove");
        assert_eq!(found(&matching), [hello(0), hello(1)], "by the ids alone");
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let name = format!("thermos-{}", id("www-data-prod-hello", 0));
        executor(&root.join("hidden"), &name);
        fs::create_dir_all(root.join(EXECUTORS)).expect("to create");
        symlink(
            root.join("hidden").join(EXECUTORS).join(&name),
            root.join(EXECUTORS).join(&name),
        )
        .expect("to link");
        symlink(root.join("hidden/slaves/S0"), root.join("slaves/S1")).expect("to link");
        assert_eq!(found(&sandboxes(root, key(), None)), Vec::<String>::new());
        assert_eq!(
            found(&sandboxes(&root.join("hidden"), key(), None)).len(),
            1
        );
    }

    #[test]
    fn a_dangling_latest_is_no_sandbox() {
        let root = tempfile::tempdir().expect("a folder");
        let runs = executor(
            root.path(),
            &format!("thermos-{}", id("www-data-prod-hello", 0)),
        );
        fs::remove_dir_all(runs.join("c1")).expect("to remove");
        assert_eq!(
            found(&sandboxes(root.path(), key(), None)),
            Vec::<String>::new()
        );
    }

    #[tokio::test]
    async fn sandboxes_come_and_go() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let mut watched =
            Watched::start(vec![Source::LocalSandboxes(sandboxes(root, key(), None))]);
        let trouble = watched.next().await;
        assert!(
            trouble.starts_with("trouble aa/www-data/prod/hello: ")
                && trouble.contains("slave_root"),
            "{trouble}"
        );
        fs::create_dir_all(root.join("slaves")).expect("to create");
        assert_eq!(
            watched.some(2).await,
            [
                "recovered aa/www-data/prod/hello",
                "complete aa/www-data/prod/hello: 0"
            ]
        );

        let first = executor(root, &format!("thermos-{}", id("www-data-prod-hello", 0)));
        assert_eq!(watched.next().await, "+ aa/www-data/prod/hello/0@localhost");
        let second = executor(root, &format!("thermos-{}", id("www-data-prod-hello", 1)));
        assert_eq!(watched.next().await, "+ aa/www-data/prod/hello/1@localhost");

        let finished = first.join("c1/checkpoints/tasks/finished");
        fs::create_dir_all(&finished).expect("to create");
        fs::write(finished.join(id("www-data-prod-hello", 0)), "").expect("to write");
        assert_eq!(
            watched.next().await,
            "- aa/www-data/prod/hello/0@localhost: finished"
        );
        fs::remove_dir_all(second.parent().expect("an executor")).expect("to remove");
        assert_eq!(
            watched.next().await,
            "- aa/www-data/prod/hello/1@localhost: its sandbox is gone"
        );
        watched.stop().await;
    }

    #[tokio::test]
    async fn files_are_one_instance() {
        let files = LocalFiles {
            name: "local".to_owned(),
            globs: vec!["/x/*.log".to_owned()],
        };
        assert_eq!(files.instance().place, Place::Local);
        let mut watched = Watched::start(vec![Source::LocalFiles(files)]);
        assert_eq!(
            watched.some(3).await,
            ["+ local@localhost", "complete local: 1", "closed"]
        );
        watched.stop().await;
    }
}
