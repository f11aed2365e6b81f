//! From targets to sources of instances: what a name stands for, by the configuration and the schedulers in it.
//!
//! One bad target is a message, not the end: each is resolved by itself. Targets of one cluster become one source, and what
//! two targets have in common is followed once.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use joblog::{InstanceSet, JobKey};
use tokio::task::JoinSet;

use crate::aurora::{Retry, Scheduler};
use crate::causes::chain;
use crate::config::{Config, DEFAULT_SLAVE_ROOT, DEFAULT_SLAVE_RUN_DIRECTORY, Inventory, Job};
use crate::discovery::Source;
use crate::discovery::aurora::{Jobs, Wanted};
use crate::discovery::hosts::Hosts;
use crate::discovery::local::{LocalFiles, LocalJob, Sandboxes};
use crate::http::{HttpClient, Limits};
use crate::instance::Login;
use crate::near::near;
use crate::options::Where;
use crate::target::{AdHoc, Target};

/// The most candidates that an ambiguous name is answered with, in jobs.
const MAX_CANDIDATES: usize = 20;

/// The cluster of a local job where none is configured.
const LOCAL_CLUSTER: &str = "local";

/// What targets are resolved with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Whom to log in as, from the flag.
    pub user: Option<&'a str>,
    /// Where a job's sandboxes are looked for.
    pub place: Where,
    /// What relative local paths are relative to.
    pub current_dir: Option<&'a Path>,
    /// What a question to a scheduler may take.
    pub limits: Limits,
    /// How often it is tried.
    pub retry: Retry,
    /// Any number, different for each run of the program: it spreads the retries of many.
    pub seed: u64,
}

/// What targets stand for.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Where instances come from.
    pub sources: Vec<Source>,
    /// The targets that stand for nothing.
    pub failures: Vec<ResolveError>,
    /// What is worth saying though it stopped nothing, as fragments.
    pub notes: Vec<String>,
}

/// Why a target stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// `role/env/name` without any cluster.
    #[error(
        "target `{target}`: no cluster is configured; add [clusters.NAME] with its scheduler_uri to the configuration"
    )]
    NoCluster {
        /// The target.
        target: String,
    },
    /// `role/env/name` with several clusters and no default.
    #[error("target `{target}`: which cluster? write {}, or set default_cluster", one_of(.candidates))]
    WhichCluster {
        /// The target.
        target: String,
        /// The target with each cluster before it.
        candidates: Vec<String>,
    },
    /// A key of a cluster that is not configured.
    #[error("target `{target}`: no cluster `{cluster}` is configured{hint}")]
    UnknownCluster {
        /// The target.
        target: String,
        /// The cluster.
        cluster: String,
        /// What to do about it.
        hint: String,
    },
    /// A name that nobody knows.
    #[error("target `{name}`: no job of this name {}{}{}", looked(.asked), meant(.near), unanswered(.failed))]
    UnknownName {
        /// The name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
        /// The clusters that answered.
        asked: Vec<String>,
        /// Those that did not, and why.
        failed: Vec<String>,
    },
    /// A name that several jobs have.
    #[error("target `{name}`: {count} jobs have this name; write {}", one_of(.candidates))]
    Ambiguous {
        /// The name.
        name: String,
        /// How many.
        count: usize,
        /// Their keys, at most 20.
        candidates: Vec<String>,
    },
    /// `name/0-2` of an inventory.
    #[error(
        "target `{target}`: the hosts of [jobs.{name}] have no instance numbers; choose among them with --host"
    )]
    NoInstances {
        /// The target.
        target: String,
        /// The inventory.
        name: String,
    },
    /// `--local` with hosts.
    #[error("target `{target}`: it names hosts, and --local means this one; leave out one of them")]
    HostsAndLocal {
        /// The target.
        target: String,
    },
    /// A relative path without a working directory.
    #[error(
        "target `{target}`: the working directory is gone, so a relative path means nothing; write it out"
    )]
    NoCurrentDir {
        /// The target.
        target: String,
    },
}

/// Finds what the targets stand for. Waits only if a short name is not in the configuration: then every configured scheduler is
/// asked for its jobs.
pub async fn resolve(targets: &[Target], context: &Context<'_>) -> Resolution {
    let mut resolver = Resolver::new(context);
    let asks = |target: &Target| match target {
        Target::Short { name, .. } => {
            context.place == Where::Remote && !context.config.jobs.contains_key(name)
        }
        _ => false,
    };
    let known = if targets.iter().any(asks) {
        resolver.ask_all().await
    } else {
        Known::default()
    };
    for target in targets {
        if let Err(error) = resolver.target(target, &known) {
            resolver.resolution.failures.push(error);
        }
    }
    resolver.finish()
}

/// What the schedulers know.
#[derive(Debug, Default)]
struct Known {
    jobs: Vec<JobKey>,
    asked: Vec<String>,
    failed: Vec<String>,
}

struct Resolver<'a> {
    context: &'a Context<'a>,
    schedulers: BTreeMap<&'a str, Arc<Scheduler>>,
    wanted: BTreeMap<String, Vec<Wanted>>,
    seen_hosts: HashSet<(Login, Vec<String>)>,
    resolution: Resolution,
}

impl<'a> Resolver<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        let scheduler =
            |(n, (name, cluster)): (usize, (&'a String, &'a crate::config::Cluster))| {
                let http = HttpClient::new(context.limits);
                let seed = context.seed.wrapping_add(n as u64);
                let scheduler = Scheduler::new(
                    name,
                    cluster.scheduler_uri.clone(),
                    http,
                    context.retry,
                    seed,
                );
                (name.as_str(), Arc::new(scheduler))
            };
        Self {
            context,
            schedulers: context
                .config
                .clusters
                .iter()
                .enumerate()
                .map(scheduler)
                .collect(),
            wanted: BTreeMap::new(),
            seen_hosts: HashSet::new(),
            resolution: Resolution::default(),
        }
    }

    /// Asks all schedulers for their jobs, at the same time.
    async fn ask_all(&self) -> Known {
        let mut questions = JoinSet::new();
        for scheduler in self.schedulers.values() {
            let scheduler = Arc::clone(scheduler);
            questions
                .spawn(async move { (scheduler.cluster().to_owned(), scheduler.jobs().await) });
        }
        let mut known = Known::default();
        while let Some(answer) = questions.join_next().await {
            match answer {
                Ok((cluster, Ok(jobs))) => {
                    known.jobs.extend(jobs);
                    known.asked.push(cluster);
                }
                Ok((cluster, Err(error))) => known
                    .failed
                    .push(format!("cluster {cluster}: {}", chain(&error))),
                Err(error) => known.failed.push(error.to_string()),
            }
        }
        known.jobs.sort();
        known.asked.sort();
        known.failed.sort();
        known
    }

    fn target(&mut self, target: &Target, known: &Known) -> Result<(), ResolveError> {
        let config = self.context.config;
        let text = target.to_string();
        match (target, self.context.place) {
            (Target::AdHoc(_), Where::Here) => Err(ResolveError::HostsAndLocal { target: text }),
            (
                Target::AdHoc(AdHoc {
                    hosts,
                    host_text,
                    path_globs,
                }),
                Where::Remote,
            ) => {
                self.hosts(host_text, hosts, path_globs, None);
                Ok(())
            }
            (Target::Local { globs }, _) => self.local_files(&text, &text, globs),
            (Target::Key { key, instances }, Where::Remote) => {
                self.key(&text, key, instances.clone())
            }
            (Target::Key { key, instances }, Where::Here) => {
                self.sandboxes(LocalJob::Key(key.clone()), instances.clone());
                Ok(())
            }
            (Target::RoleEnvName { role, env, name }, place) => {
                let cluster = match (config.implied_cluster(), place) {
                    (Some(cluster), _) => cluster,
                    (None, Where::Here) => LOCAL_CLUSTER,
                    (None, Where::Remote) if config.clusters.is_empty() => {
                        return Err(ResolveError::NoCluster { target: text });
                    }
                    (None, Where::Remote) => {
                        let candidates = config
                            .clusters
                            .keys()
                            .map(|cluster| format!("{cluster}/{text}"))
                            .collect();
                        return Err(ResolveError::WhichCluster {
                            target: text,
                            candidates,
                        });
                    }
                };
                // The parts were checked when the target was read; a key of them can only be a good one.
                let Ok(key) = JobKey::new(cluster, role, env, name) else {
                    return Err(ResolveError::NoCluster { target: text });
                };
                match place {
                    Where::Remote => self.key(&text, &key, None)?,
                    Where::Here => self.sandboxes(LocalJob::Key(key), None),
                }
                Ok(())
            }
            (Target::Short { name, instances }, place) => match (config.jobs.get(name), place) {
                (Some(Job::Key(key)), Where::Remote) => self.key(&text, key, instances.clone()),
                (Some(Job::Key(key)), Where::Here) => {
                    self.sandboxes(LocalJob::Key(key.clone()), instances.clone());
                    Ok(())
                }
                (Some(Job::Inventory(_)), _) if instances.is_some() => {
                    Err(ResolveError::NoInstances {
                        target: text,
                        name: name.clone(),
                    })
                }
                (Some(Job::Inventory(Inventory { hosts, files, user })), Where::Remote) => {
                    self.hosts(name, hosts, files, user.as_deref());
                    Ok(())
                }
                (Some(Job::Inventory(Inventory { files, .. })), Where::Here) => {
                    self.local_files(&text, name, files)
                }
                (None, Where::Here) => {
                    self.sandboxes(LocalJob::Name(name.clone()), instances.clone());
                    Ok(())
                }
                (None, Where::Remote) => self.short(name, instances.clone(), known),
            },
        }
    }

    fn short(
        &mut self,
        name: &str,
        instances: Option<InstanceSet>,
        known: &Known,
    ) -> Result<(), ResolveError> {
        let candidates: Vec<&JobKey> = known.jobs.iter().filter(|key| key.name() == name).collect();
        match candidates[..] {
            [] => {
                let configured = self.context.config.jobs.keys().map(String::as_str);
                let mut names: Vec<&str> = known
                    .jobs
                    .iter()
                    .map(JobKey::name)
                    .chain(configured)
                    .collect();
                names.sort_unstable();
                names.dedup();
                Err(ResolveError::UnknownName {
                    name: name.to_owned(),
                    near: near(name, names).into_iter().map(str::to_owned).collect(),
                    asked: known.asked.clone(),
                    failed: known.failed.clone(),
                })
            }
            [key] => {
                for failed in &known.failed {
                    self.resolution.notes.push(format!(
                        "`{name}` is taken for {key}, but not all clusters could be asked: {failed}"
                    ));
                }
                self.key(name, key, instances)
            }
            _ => Err(ResolveError::Ambiguous {
                name: name.to_owned(),
                count: candidates.len(),
                candidates: candidates
                    .iter()
                    .take(MAX_CANDIDATES)
                    .map(ToString::to_string)
                    .collect(),
            }),
        }
    }

    fn key(
        &mut self,
        target: &str,
        key: &JobKey,
        instances: Option<InstanceSet>,
    ) -> Result<(), ResolveError> {
        let config = self.context.config;
        if !config.clusters.contains_key(key.cluster()) {
            let hint = cluster_hint(config, key);
            return Err(ResolveError::UnknownCluster {
                target: target.to_owned(),
                cluster: key.cluster().to_owned(),
                hint,
            });
        }
        let wanted = Wanted {
            key: key.clone(),
            instances,
        };
        let list = self.wanted.entry(key.cluster().to_owned()).or_default();
        if !list.contains(&wanted) {
            list.push(wanted);
        }
        Ok(())
    }

    fn hosts(&mut self, name: &str, logins: &[Login], globs: &[String], user: Option<&str>) {
        let mut new = Vec::new();
        for login in logins {
            let user = self
                .context
                .user
                .or(login.user.as_deref())
                .or(user)
                .map(str::to_owned);
            let login = Login {
                user,
                ..login.clone()
            };
            if self.seen_hosts.insert((login.clone(), globs.to_vec())) {
                new.push(login);
            }
        }
        if !new.is_empty() {
            self.resolution.sources.push(Source::Hosts(Hosts {
                name: name.to_owned(),
                logins: new,
                globs: globs.to_vec(),
            }));
        }
    }

    fn local_files(
        &mut self,
        target: &str,
        name: &str,
        globs: &[String],
    ) -> Result<(), ResolveError> {
        let mut absolute = Vec::new();
        for glob in globs {
            if glob.starts_with('/') {
                absolute.push(glob.clone());
                continue;
            }
            let Some(folder) = self.context.current_dir.and_then(Path::to_str) else {
                return Err(ResolveError::NoCurrentDir {
                    target: target.to_owned(),
                });
            };
            absolute.push(format!(
                "{}/{}",
                escape_pattern(folder.trim_end_matches('/')),
                glob.trim_start_matches("./")
            ));
        }
        let known =
            self.resolution.sources.iter().any(
                |source| matches!(source, Source::LocalFiles(files) if files.globs == absolute),
            );
        if !known {
            self.resolution.sources.push(Source::LocalFiles(LocalFiles {
                name: name.to_owned(),
                globs: absolute,
            }));
        }
        Ok(())
    }

    fn sandboxes(&mut self, job: LocalJob, instances: Option<InstanceSet>) {
        let config = self.context.config;
        let cluster = match &job {
            LocalJob::Key(key) => config.clusters.get(key.cluster()),
            LocalJob::Name(_) => config
                .implied_cluster()
                .and_then(|name| config.clusters.get(name)),
        };
        let sandboxes = Sandboxes {
            job,
            instances,
            slave_root: cluster
                .map_or(DEFAULT_SLAVE_ROOT, |cluster| &cluster.slave_root)
                .to_owned(),
            run_directory: cluster
                .map_or(DEFAULT_SLAVE_RUN_DIRECTORY, |cluster| {
                    &cluster.slave_run_directory
                })
                .to_owned(),
        };
        let known =
            self.resolution.sources.iter().any(
                |source| matches!(source, Source::LocalSandboxes(other) if *other == sandboxes),
            );
        if !known {
            self.resolution
                .sources
                .push(Source::LocalSandboxes(sandboxes));
        }
    }

    fn finish(mut self) -> Resolution {
        for (name, wanted) in self.wanted {
            let (Some(cluster), Some(scheduler)) = (
                self.context.config.clusters.get(&name),
                self.schedulers.get(name.as_str()),
            ) else {
                continue;
            };
            self.resolution.sources.push(Source::Aurora(Jobs {
                scheduler: Arc::clone(scheduler),
                wanted,
                user: self
                    .context
                    .user
                    .map(str::to_owned)
                    .or_else(|| cluster.ssh_user.clone()),
                slave_root: cluster.slave_root.clone(),
                run_directory: cluster.slave_run_directory.clone(),
            }));
        }
        self.resolution
    }
}

/// What to do about a cluster that is not configured.
fn cluster_hint(config: &Config, key: &JobKey) -> String {
    if let Some(cluster) = config.implied_cluster()
        && key.name().parse::<InstanceSet>().is_ok()
    {
        let [role, env, name, instances] = [key.cluster(), key.role(), key.env(), key.name()];
        return format!(
            "; with an instance list the cluster must be written too: {cluster}/{role}/{env}/{name}/{instances}"
        );
    }
    let names: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
    match near(key.cluster(), names.iter().copied())[..] {
        [] if names.is_empty() => "; add it to the configuration with its scheduler_uri".to_owned(),
        [] => format!("; configured are {}", names.join(", ")),
        ref near => format!("; did you mean {}?", near.join(" or ")),
    }
}

/// A folder as a shell pattern that only matches itself.
fn escape_pattern(folder: &str) -> String {
    let mut pattern = String::new();
    for c in folder.chars() {
        if "*?[]\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn one_of(candidates: &[String]) -> String {
    candidates.join(" or ")
}

fn looked(asked: &[String]) -> String {
    match asked {
        [] => "in the configuration".to_owned(),
        [cluster] => format!("in the configuration or in cluster {cluster}"),
        clusters => format!(
            "in the configuration or in the clusters {}",
            clusters.join(", ")
        ),
    }
}

fn meant(near: &[String]) -> String {
    if near.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", near.join(" or "))
    }
}

fn unanswered(failed: &[String]) -> String {
    if failed.is_empty() {
        String::new()
    } else {
        format!("; not asked with success: {}", failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aurora::tests::ok_jobs;
    use crate::http::tests::{Fake, reply};

    struct Setting<'a> {
        config: &'a str,
        user: Option<&'a str>,
        place: Where,
    }

    impl Default for Setting<'_> {
        fn default() -> Self {
            Self {
                config: "",
                user: None,
                place: Where::Remote,
            }
        }
    }

    async fn resolved(targets: &[&str], setting: Setting<'_>) -> Resolution {
        let config = Config::parse(setting.config, Path::new("c.toml"), None).expect("a good file");
        let context = Context {
            config: &config,
            user: setting.user,
            place: setting.place,
            current_dir: Some(Path::new("/home/me[1]")),
            limits: Limits {
                connect: Duration::from_secs(2),
                whole: Duration::from_secs(2),
                body_bytes: 100_000,
            },
            retry: Retry {
                attempts: 1,
                first_delay: Duration::from_millis(1),
            },
            seed: 7,
        };
        let targets: Vec<Target> = targets
            .iter()
            .map(|text| text.parse().expect("a target"))
            .collect();
        resolve(&targets, &context).await
    }

    /// Each source and failure in a line.
    async fn check(targets: &[&str], setting: Setting<'_>, expected: &[&str]) {
        let resolution = resolved(targets, setting).await;
        let mut lines: Vec<String> = resolution.sources.iter().map(said).collect();
        lines.extend(resolution.failures.iter().map(ToString::to_string));
        lines.extend(resolution.notes);
        assert_eq!(lines, expected, "{targets:?}");
    }

    fn said(source: &Source) -> String {
        match source {
            Source::Aurora(jobs) => {
                let wanted: Vec<String> = jobs
                    .wanted
                    .iter()
                    .map(|wanted| match &wanted.instances {
                        Some(set) => format!("{}/{set}", wanted.key),
                        None => wanted.key.to_string(),
                    })
                    .collect();
                format!(
                    "aurora {} as {:?} in {}",
                    wanted.join(" "),
                    jobs.user,
                    jobs.slave_root
                )
            }
            Source::Hosts(hosts) => {
                let logins: Vec<String> = hosts.logins.iter().map(ToString::to_string).collect();
                format!(
                    "hosts {}: {} {}",
                    hosts.name,
                    logins.join(" "),
                    hosts.globs.join(" ")
                )
            }
            Source::LocalFiles(files) => format!("files {}: {}", files.name, files.globs.join(" ")),
            Source::LocalSandboxes(s) => format!(
                "sandboxes {:?} {:?} in {}",
                s.name(),
                s.instances.as_ref().map(ToString::to_string),
                s.slave_root
            ),
        }
    }

    const TWO: &str = "
[clusters.aa]
scheduler_uri = 'http://127.0.0.1:9'
ssh_user = 'ops'
slave_root = '/srv/mesos'
[clusters.bb]
scheduler_uri = 'http://127.0.0.1:9'
[jobs.web]
key = 'aa/www-data/prod/hello'
[jobs.app]
hosts = ['h1', 'you@h2']
files = ['/x/*.log']
user = 'me'
";

    #[tokio::test]
    async fn names_of_the_configuration() {
        let two = || Setting {
            config: TWO,
            ..Setting::default()
        };
        check(
            &["web"],
            two(),
            &["aurora aa/www-data/prod/hello as Some(\"ops\") in /srv/mesos"],
        )
        .await;
        check(
            &["web/0-2", "aa/www-data/prod/hello/0-2", "aa/a/b/c"],
            two(),
            &["aurora aa/www-data/prod/hello/0-2 aa/a/b/c as Some(\"ops\") in /srv/mesos"],
        )
        .await;
        check(
            &["bb/a/b/c"],
            two(),
            &["aurora bb/a/b/c as None in /var/lib/mesos"],
        )
        .await;
        check(&["app"], two(), &["hosts app: me@h1 you@h2 /x/*.log"]).await;
        check(
            &["app", "web"],
            Setting {
                user: Some("flag"),
                ..two()
            },
            &[
                "hosts app: flag@h1 flag@h2 /x/*.log",
                "aurora aa/www-data/prod/hello as Some(\"flag\") in /srv/mesos",
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn hosts_need_no_configuration() {
        check(
            &["web[1-2]:/x", "web[2-3]:/x", "web1:/x"],
            Setting::default(),
            &["hosts web[1-2]: web1 web2 /x", "hosts web[2-3]: web3 /x"],
        )
        .await;
        check(
            &["./a.log,/b", "./a.log,/b"],
            Setting::default(),
            &[r"files local:./a.log,/b: /home/me\[1\]/a.log /b"],
        )
        .await;
    }

    #[tokio::test]
    async fn this_host() {
        let here = || Setting {
            config: TWO,
            place: Where::Here,
            ..Setting::default()
        };
        check(
            &[
                "hello/3", "hello/3", "web", "bb/a/b/c", "a/b/c", "app", "h:/x",
            ],
            here(),
            &[
                "sandboxes \"hello\" Some(\"3\") in /var/lib/mesos",
                "sandboxes \"aa/www-data/prod/hello\" None in /srv/mesos",
                "sandboxes \"bb/a/b/c\" None in /var/lib/mesos",
                "sandboxes \"local/a/b/c\" None in /var/lib/mesos",
                "files app: /x/*.log",
                "target `h:/x`: it names hosts, and --local means this one; leave out one of them",
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn one_bad_target_does_not_stop_the_others() {
        check(&["a/b/c", "cc/a/b/c", "a/b/c/0-2", "app/0", "web"], Setting { config: TWO, ..Setting::default() }, &[
            "aurora aa/www-data/prod/hello as Some(\"ops\") in /srv/mesos",
            "target `a/b/c`: which cluster? write aa/a/b/c or bb/a/b/c, or set default_cluster",
            "target `cc/a/b/c`: no cluster `cc` is configured; configured are aa, bb",
            "target `a/b/c/0-2`: no cluster `a` is configured; did you mean aa?",
            "target `app/0`: the hosts of [jobs.app] have no instance numbers; choose among them with --host",
        ])
        .await;
        check(&["a/b/c", "cc/a/b/c"], Setting::default(), &[
            "target `a/b/c`: no cluster is configured; add [clusters.NAME] with its scheduler_uri to the configuration",
            "target `cc/a/b/c`: no cluster `cc` is configured; add it to the configuration with its scheduler_uri",
        ])
        .await;
        let default = format!("default_cluster = 'bb'\n{TWO}");
        check(&["www-data/prod/hello/0-2"], Setting { config: &default, ..Setting::default() }, &[
            "target `www-data/prod/hello/0-2`: no cluster `www-data` is configured; with an instance list the cluster must be written too: \
             bb/www-data/prod/hello/0-2",
        ])
        .await;
    }

    #[tokio::test]
    async fn the_schedulers_know_names_too() {
        let one =
            Fake::start(|_| ok_jobs(&["www-data/prod/hello", "a/prod/twice", "a/devel/twice"]))
                .await;
        let two = Fake::start(|_| ok_jobs(&["b/prod/other"])).await;
        let config = format!(
            "[clusters.aa]\nscheduler_uri = '{}'\n[clusters.bb]\nscheduler_uri = '{}'\n[jobs.help]\nkey = 'aa/x/y/z'\n",
            one.uri, two.uri
        );
        check(&["hello/0", "other", "helo", "twice"], Setting { config: &config, ..Setting::default() }, &[
            "aurora aa/www-data/prod/hello/0 as None in /var/lib/mesos",
            "aurora bb/b/prod/other as None in /var/lib/mesos",
            "target `helo`: no job of this name in the configuration or in the clusters aa, bb; did you mean hello or help?",
            "target `twice`: 2 jobs have this name; write aa/a/devel/twice or aa/a/prod/twice",
        ])
        .await;
        assert_eq!(
            (one.seen().len(), two.seen().len()),
            (1, 1),
            "each scheduler is asked once"
        );
        check(
            &["help"],
            Setting {
                config: &config,
                ..Setting::default()
            },
            &["aurora aa/x/y/z as None in /var/lib/mesos"],
        )
        .await;
        assert_eq!(one.seen().len(), 1, "a configured name asks nobody");
    }

    #[tokio::test]
    async fn a_silent_cluster_is_said() {
        let good = Fake::start(|_| ok_jobs(&["www-data/prod/hello"])).await;
        let bad = Fake::start(|_| reply("500 Internal Server Error", "", "")).await;
        let config = format!(
            "[clusters.aa]\nscheduler_uri = '{}'\n[clusters.bb]\nscheduler_uri = '{}'\n",
            good.uri, bad.uri
        );
        let failure = format!(
            "cluster bb: {}/apibeta/getJobs: HTTP 500 Internal Server Error",
            bad.uri
        );
        check(&["hello", "zzz"], Setting { config: &config, ..Setting::default() }, &[
            "aurora aa/www-data/prod/hello as None in /var/lib/mesos",
            &format!("target `zzz`: no job of this name in the configuration or in cluster aa; not asked with success: {failure}"),
            &format!("`hello` is taken for aa/www-data/prod/hello, but not all clusters could be asked: {failure}"),
        ])
        .await;
        check(
            &["zzz"],
            Setting::default(),
            &["target `zzz`: no job of this name in the configuration"],
        )
        .await;
    }
}
