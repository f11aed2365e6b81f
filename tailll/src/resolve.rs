//! From targets to sources of instances: what a name stands for, by the configuration and the schedulers in it.
//!
//! One bad target is a message, not the end: each is resolved by itself. Targets of one cluster become one source, and what
//! two targets have in common is followed once.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use joblog::{InstanceSet, JobKey};
use tokio::task::JoinSet;

use crate::as_role::{AsRole, Become};
use crate::aurora::{Retry, Scheduler};
use crate::causes::chain;
use crate::clock::Clock;
use crate::config::{
    Cluster, Config, DEFAULT_SLAVE_ROOT, DEFAULT_SLAVE_RUN_DIRECTORY, ExecJob, Inventory, Job,
    SchedulerAt,
};
use crate::discovery::aurora::{Jobs, Wanted, WantedPattern};
use crate::discovery::exec::Exec;
use crate::discovery::hosts::Hosts;
use crate::discovery::local::{LocalFiles, LocalJob, Sandboxes};
use crate::discovery::name::Name;
use crate::discovery::{Access, Source};
use crate::glob::Glob;
use crate::http::{HttpClient, Limits};
use crate::instance::Login;
use crate::job_pattern::JobPattern;
use crate::jobs_dir::{self, JobsDir};
use crate::near::near;
use crate::options::{Ended, Environment, Options, Wait, Where};
use crate::target::{AdHoc, Target};

/// The most candidates that an ambiguous name is answered with, in jobs.
pub const MAX_CANDIDATES: usize = 20;

/// The cluster of a local job where none is configured.
const LOCAL_CLUSTER: &str = "local";

/// What targets are resolved with.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The jobs directory's names.
    pub jobs_dir: JobsDir,
    /// The stage of its jobs, from the flag.
    pub stage: Option<&'a str>,
    /// The command that runs the scripts as another user, from the flag.
    pub as_role: Option<&'a AsRole>,
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
    /// Whether instances that have ended are shown too.
    pub ended: Ended,
    /// What happens to a name that nobody knows yet.
    pub wait: Wait,
    /// Any number, different for each run of the program: it spreads the retries of many.
    pub seed: u64,
}

impl<'a> Context<'a> {
    /// As the program is asked to.
    pub fn new(
        options: &'a Options,
        config: &'a Config,
        environment: &'a Environment,
        clock: Clock,
    ) -> Self {
        // Only short names are looked for there.
        let jobs_dir = if options.targets.iter().any(Target::is_short) {
            JobsDir::load(&config.jobs_dir)
        } else {
            JobsDir::default()
        };
        Self {
            config,
            jobs_dir,
            stage: options.stage.as_deref(),
            as_role: options.as_role.as_ref(),
            user: options.user.as_deref(),
            place: options.place,
            current_dir: environment.current_dir.as_deref(),
            limits: Limits::default(),
            retry: Retry::default(),
            ended: options.ended,
            wait: options.wait,
            seed: clock.started().wall_ns as u64,
        }
    }
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
    /// A cluster whose scheduler is not configured.
    #[error("target `{target}`: {why}")]
    NoScheduler {
        /// The target.
        target: String,
        /// What is missing, and where.
        why: String,
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
    /// The file of the jobs directory is no good.
    #[error("target `{target}`: {problem}")]
    JobFile {
        /// The target.
        target: String,
        /// The place, and what is wrong there.
        problem: String,
    },
    /// No name or no cluster matches.
    #[error("target `{target}`: {problem}")]
    NoMatch {
        /// The target.
        target: String,
        /// What was looked through.
        problem: String,
    },
    /// Another user is asked for where there is no role.
    #[error("target `{target}`: {problem}")]
    AsRole {
        /// The target.
        target: String,
        /// What to do.
        problem: String,
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

impl ResolveError {
    /// Whether the target may be a good one, but who knows it could not be asked.
    pub fn is_unreached(&self) -> bool {
        matches!(self, Self::UnknownName { failed, .. } if !failed.is_empty())
    }
}

/// Finds what the targets stand for. Waits only if a short name is not in the configuration: then every configured scheduler is
/// asked for its jobs.
pub async fn resolve(targets: &[Target], context: &Context<'_>) -> Resolution {
    let mut resolver = Resolver::new(context);
    let asks = |target: &Target| match target {
        Target::Short { name, .. } => {
            context.place == Where::Remote
                && !context.jobs_dir.contains(name)
                && !context.config.jobs.contains_key(name)
        }
        _ => false,
    };
    let known = if targets.iter().any(asks) {
        resolver.ask_all().await
    } else {
        Known::default()
    };
    if targets
        .iter()
        .any(|target| !matches!(target, Target::AdHoc(_) | Target::Local { .. }))
    {
        resolver
            .resolution
            .notes
            .clone_from(&context.config.cluster_notes);
    }
    if targets.iter().any(Target::is_short) {
        let problems = context.jobs_dir.problems().iter().cloned();
        resolver.resolution.notes.extend(problems);
    }
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

/// The schedulers of the configured clusters, by the clusters' names. Nobody is asked anything yet.
pub fn schedulers<'a>(context: &Context<'a>) -> BTreeMap<&'a str, Arc<Scheduler>> {
    let scheduler = |(n, (name, cluster)): (usize, (&'a String, &'a Cluster))| {
        let http = HttpClient::new(context.limits);
        let seed = context.seed.wrapping_add(n as u64);
        let at = cluster.scheduler.clone();
        let scheduler = Scheduler::new(name, at, http, context.retry, seed);
        (name.as_str(), Arc::new(scheduler))
    };
    context
        .config
        .clusters
        .iter()
        .enumerate()
        .map(scheduler)
        .collect()
}

struct Resolver<'a> {
    context: &'a Context<'a>,
    schedulers: BTreeMap<&'a str, Arc<Scheduler>>,
    wanted: BTreeMap<String, Vec<Wanted>>,
    patterns: BTreeMap<String, Vec<WantedPattern>>,
    seen_hosts: HashSet<(Login, Vec<String>)>,
    resolution: Resolution,
}

impl<'a> Resolver<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            schedulers: schedulers(context),
            wanted: BTreeMap::new(),
            patterns: BTreeMap::new(),
            seen_hosts: HashSet::new(),
            resolution: Resolution::default(),
        }
    }

    /// Asks all schedulers for their jobs, at the same time.
    async fn ask_all(&self) -> Known {
        let mut questions = JoinSet::new();
        for (name, scheduler) in &self.schedulers {
            // Nothing was said of its scheduler, so it may be there for --local alone.
            if matches!(
                self.context.config.clusters.get(*name),
                Some(Cluster {
                    scheduler: SchedulerAt::Nowhere { .. },
                    ..
                })
            ) {
                continue;
            }
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
            ) => self.hosts(&text, host_text, hosts, path_globs, None),
            (Target::Matching { parts, instances }, _) => {
                self.matching(&text, parts, instances.as_ref(), known)
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
            (Target::Short { name, instances }, _) => {
                self.short_name(&text, name, instances.clone(), known)
            }
        }
    }

    /// A name of the jobs directory, else of the configuration, else of the schedulers.
    fn short_name(
        &mut self,
        target: &str,
        name: &str,
        instances: Option<InstanceSet>,
        known: &Known,
    ) -> Result<(), ResolveError> {
        let config = self.context.config;
        let place = self.context.place;
        let default_cluster = match (config.implied_cluster(), place) {
            (None, Where::Here) => Some(LOCAL_CLUSTER),
            (cluster, _) => cluster,
        };
        let wanted = jobs_dir::Wanted {
            stage: self.context.stage,
            default_cluster,
        };
        if let Some(found) = self.context.jobs_dir.job(name, wanted) {
            let key = found.map_err(|error| ResolveError::JobFile {
                target: target.to_owned(),
                problem: chain(&error),
            })?;
            if place == Where::Remote {
                return self.key(target, &key, instances);
            }
            self.sandboxes(LocalJob::Key(key), instances);
            return Ok(());
        }
        match (config.jobs.get(name), place) {
            (Some(Job::Key(key)), Where::Remote) => self.key(target, key, instances),
            (Some(Job::Key(key)), Where::Here) => {
                self.sandboxes(LocalJob::Key(key.clone()), instances);
                Ok(())
            }
            (Some(Job::Inventory(_)), _) if instances.is_some() => Err(ResolveError::NoInstances {
                target: target.to_owned(),
                name: name.to_owned(),
            }),
            (Some(Job::Inventory(Inventory { hosts, files, user })), Where::Remote) => {
                self.hosts(target, name, hosts, files, user.as_deref())
            }
            (Some(Job::Inventory(Inventory { files, .. })), Where::Here) => {
                self.local_files(target, name, files)
            }
            (Some(Job::Exec(job)), Where::Remote) => {
                self.exec(name, job, instances);
                Ok(())
            }
            (Some(Job::Exec(_)), Where::Here) => Err(ResolveError::HostsAndLocal {
                target: target.to_owned(),
            }),
            (None, Where::Here) => {
                self.sandboxes(LocalJob::Name(name.to_owned()), instances);
                Ok(())
            }
            (None, Where::Remote) => self.short(name, instances, known),
        }
    }

    /// Everything that a pattern takes: names that are written down here, and jobs of the schedulers now and later.
    fn matching(
        &mut self,
        target: &str,
        parts: &[String],
        instances: Option<&InstanceSet>,
        known: &Known,
    ) -> Result<(), ResolveError> {
        let config = self.context.config;
        let stage = self.context.stage.unwrap_or("*");
        let implied = config.implied_cluster();
        let four: [&str; 4] = match parts {
            [name] => {
                self.matching_names(target, name, instances, known)?;
                ["*", "*", stage, name]
            }
            [role, env, name] => match (implied, self.context.place) {
                (Some(cluster), _) => [cluster, role, env, name],
                (None, Where::Here) => ["*", role, env, name],
                (None, Where::Remote) if config.clusters.is_empty() => {
                    return Err(ResolveError::NoCluster {
                        target: target.to_owned(),
                    });
                }
                (None, Where::Remote) => {
                    return Err(ResolveError::WhichCluster {
                        target: target.to_owned(),
                        candidates: config
                            .clusters
                            .keys()
                            .map(String::as_str)
                            .chain(["*"])
                            .map(|cluster| format!("{cluster}/{target}"))
                            .collect(),
                    });
                }
            },
            [cluster, role, env, name] => [cluster, role, env, name],
            _ => return Ok(()),
        };
        let no_match = |problem: String| ResolveError::NoMatch {
            target: target.to_owned(),
            problem,
        };
        let pattern = JobPattern::new(four).map_err(|error| no_match(error.to_string()))?;
        if self.context.place == Where::Here {
            self.sandboxes(LocalJob::Matching(pattern), instances.cloned());
            return Ok(());
        }
        let clusters: Vec<&String> = config
            .clusters
            .keys()
            .filter(|cluster| pattern.takes_cluster(cluster))
            .collect();
        if clusters.is_empty() && parts.len() > 1 {
            let names: Vec<&str> = config.clusters.keys().map(String::as_str).collect();
            return Err(no_match(if names.is_empty() {
                "no cluster is configured; add [clusters.NAME] with its scheduler_uri to the configuration"
                    .to_owned()
            } else {
                format!(
                    "no configured cluster matches; configured are {}",
                    names.join(", ")
                )
            }));
        }
        for cluster in clusters {
            let wanted = WantedPattern {
                pattern: pattern
                    .in_cluster(cluster)
                    .map_err(|error| no_match(error.to_string()))?,
                instances: instances.cloned(),
            };
            let list = self.patterns.entry(cluster.clone()).or_default();
            if !list.contains(&wanted) {
                list.push(wanted);
            }
        }
        Ok(())
    }

    /// The names of the jobs directory and of the configuration that match.
    fn matching_names(
        &mut self,
        target: &str,
        pattern: &str,
        instances: Option<&InstanceSet>,
        known: &Known,
    ) -> Result<(), ResolveError> {
        let config = self.context.config;
        let glob: Glob =
            pattern
                .parse()
                .map_err(|error: crate::glob::GlobError| ResolveError::NoMatch {
                    target: target.to_owned(),
                    problem: error.to_string(),
                })?;
        let mut names: Vec<&str> = self
            .context
            .jobs_dir
            .names()
            .chain(config.jobs.keys().map(String::as_str))
            .filter(|name| glob.matches(name.as_bytes()))
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && config.clusters.is_empty() && self.context.place == Where::Remote {
            return Err(ResolveError::NoMatch {
                target: target.to_owned(),
                problem: "no name in the jobs directory or in the configuration matches, and no cluster is configured that could be asked"
                    .to_owned(),
            });
        }
        let mut left_out = Vec::new();
        for name in &names {
            let result = self.short_name(name, name, instances.cloned(), known);
            left_out.extend(result.err());
        }
        // A name that a pattern only happens to take is no reason to call the whole a failure.
        match &left_out[..] {
            [] => {}
            [first, ..] if left_out.len() == names.len() && config.clusters.is_empty() => {
                return Err(first.clone());
            }
            [first, rest @ ..] => self.resolution.notes.push(format!(
                "`{target}`: left out {} of {} names that match, such as {first}",
                rest.len() + 1,
                names.len()
            )),
        }
        Ok(())
    }

    /// A program that prints instances.
    fn exec(&mut self, name: &str, job: &ExecJob, instances: Option<InstanceSet>) {
        let context = self.context;
        let clusters = context.config.clusters.iter().map(|(name, cluster)| {
            let access = Access {
                user: cluster.ssh_user.clone(),
                as_role: cluster.as_role.clone(),
            };
            (name.clone(), access)
        });
        let exec = Exec {
            name: name.to_owned(),
            command: job.command.clone(),
            interval: job.interval,
            instances,
            flag_user: context.user.map(str::to_owned),
            access: Access {
                user: job.user.clone(),
                as_role: context.as_role.cloned(),
            },
            clusters: clusters.collect(),
        };
        let known = self
            .resolution
            .sources
            .iter()
            .any(|source| matches!(source, Source::Exec(other) if *other == exec));
        if !known {
            self.resolution.sources.push(Source::Exec(exec));
        }
    }

    fn short(
        &mut self,
        name: &str,
        instances: Option<InstanceSet>,
        known: &Known,
    ) -> Result<(), ResolveError> {
        let stage = self.context.stage;
        let candidates: Vec<&JobKey> = known
            .jobs
            .iter()
            .filter(|key| key.name() == name && stage.is_none_or(|stage| key.env() == stage))
            .collect();
        match candidates[..] {
            [] => {
                let configured = self.context.config.jobs.keys().map(String::as_str);
                let mut names: Vec<&str> = known
                    .jobs
                    .iter()
                    .map(JobKey::name)
                    .chain(configured)
                    .chain(self.context.jobs_dir.names())
                    .collect();
                names.sort_unstable();
                names.dedup();
                let error = ResolveError::UnknownName {
                    name: name.to_owned(),
                    near: near(name, names).into_iter().map(str::to_owned).collect(),
                    asked: known.asked.clone(),
                    failed: known.failed.clone(),
                };
                let nobody = known.asked.is_empty() && known.failed.is_empty();
                if self.context.wait == Wait::WhileFollowing || nobody {
                    return Err(error);
                }
                self.resolution
                    .notes
                    .push(format!("{error}; waiting for it"));
                self.name(name, instances);
                Ok(())
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
        if let Some(Cluster {
            scheduler: SchedulerAt::Nowhere { why },
            ..
        }) = config.clusters.get(key.cluster())
        {
            return Err(ResolveError::NoScheduler {
                target: target.to_owned(),
                why: why.clone(),
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

    /// A name to be waited for.
    fn name(&mut self, name: &str, instances: Option<InstanceSet>) {
        let known = self.resolution.sources.iter().any(|source| {
            matches!(source, Source::Name(other) if other.name == name && other.instances == instances)
        });
        if known {
            return;
        }
        let asked = |(cluster, at): (&String, &Cluster)| match at.scheduler {
            SchedulerAt::Nowhere { .. } => None,
            SchedulerAt::Uri(_) | SchedulerAt::ZooKeeper(_) => self.jobs(cluster, Vec::new()),
        };
        let clusters = self
            .context
            .config
            .clusters
            .iter()
            .filter_map(asked)
            .collect();
        self.resolution.sources.push(Source::Name(Name {
            name: name.to_owned(),
            instances,
            clusters,
        }));
    }

    /// These jobs of a cluster as a source.
    fn jobs(&self, name: &str, wanted: Vec<Wanted>) -> Option<Jobs> {
        let cluster = self.context.config.clusters.get(name)?;
        Some(Jobs {
            scheduler: Arc::clone(self.schedulers.get(name)?),
            wanted,
            patterns: Vec::new(),
            as_role: self
                .context
                .as_role
                .cloned()
                .or_else(|| cluster.as_role.clone()),
            user: self
                .context
                .user
                .map(str::to_owned)
                .or_else(|| cluster.ssh_user.clone()),
            slave_root: cluster.slave_root.clone(),
            run_directory: cluster.slave_run_directory.clone(),
            ended: self.context.ended,
        })
    }

    fn hosts(
        &mut self,
        target: &str,
        name: &str,
        logins: &[Login],
        globs: &[String],
        user: Option<&str>,
    ) -> Result<(), ResolveError> {
        let as_role: Option<Become> = self
            .context
            .as_role
            .map(|command| command.command(None))
            .transpose()
            .map_err(|error| ResolveError::AsRole {
                target: target.to_owned(),
                problem: error.to_string(),
            })?;
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
                as_role,
            }));
        }
        Ok(())
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
            LocalJob::Name(_) | LocalJob::Matching(_) => config
                .implied_cluster()
                .and_then(|name| config.clusters.get(name)),
        };
        let sandboxes = Sandboxes {
            cluster: config.implied_cluster().unwrap_or(LOCAL_CLUSTER).to_owned(),
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
        let mut names: Vec<String> = self
            .wanted
            .keys()
            .chain(self.patterns.keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            let wanted = self.wanted.remove(&name).unwrap_or_default();
            let Some(mut jobs) = self.jobs(&name, wanted) else {
                continue;
            };
            jobs.patterns = self.patterns.remove(&name).unwrap_or_default();
            self.resolution.sources.push(Source::Aurora(jobs));
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
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::aurora::tests::ok_jobs;
    use crate::http::tests::{Fake, reply};

    struct Setting<'a> {
        config: &'a str,
        user: Option<&'a str>,
        place: Where,
        wait: Wait,
        jobs_dir: &'a [PathBuf],
        stage: Option<&'a str>,
        as_role: Option<&'a str>,
    }

    impl Default for Setting<'_> {
        fn default() -> Self {
            Self {
                config: "",
                user: None,
                place: Where::Remote,
                wait: Wait::WhileFollowing,
                jobs_dir: &[],
                stage: None,
                as_role: None,
            }
        }
    }

    async fn resolved(targets: &[&str], setting: Setting<'_>) -> Resolution {
        let config = Config::parse(setting.config, Path::new("c.toml"), None).expect("a good file");
        let jobs_dir = JobsDir::load(setting.jobs_dir);
        let as_role: Option<AsRole> = setting.as_role.map(|text| text.parse().expect("a command"));
        let context = Context {
            config: &config,
            jobs_dir,
            stage: setting.stage,
            as_role: as_role.as_ref(),
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
            ended: Ended::LeaveOut,
            wait: setting.wait,
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
                let shown = |name: String, instances: &Option<InstanceSet>| match instances {
                    Some(set) => format!("{name}/{set}"),
                    None => name,
                };
                let named = jobs
                    .wanted
                    .iter()
                    .map(|wanted| shown(wanted.key.to_string(), &wanted.instances));
                let matching = jobs
                    .patterns
                    .iter()
                    .map(|wanted| shown(wanted.pattern.to_string(), &wanted.instances));
                let wanted: Vec<String> = named.chain(matching).collect();
                let as_role = jobs
                    .as_role
                    .as_ref()
                    .map_or_else(String::new, |command| format!(" by {command}"));
                format!(
                    "aurora {} as {:?} in {}{as_role}",
                    wanted.join(" "),
                    jobs.user,
                    jobs.slave_root
                )
            }
            Source::Name(name) => {
                let clusters: Vec<&str> = name
                    .clusters
                    .iter()
                    .map(|jobs| jobs.scheduler.cluster())
                    .collect();
                format!(
                    "name {} {:?} in {}",
                    name.name,
                    name.instances.as_ref().map(ToString::to_string),
                    clusters.join(" ")
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
            Source::Exec(exec) => format!(
                "exec {}: {} {:?} as {:?}",
                exec.name,
                exec.command.join(" "),
                exec.instances.as_ref().map(ToString::to_string),
                exec.flag_user.as_ref().or(exec.access.user.as_ref())
            ),
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
    async fn the_jobs_directory_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            (
                "eightball",
                "file: eightball\nuser: cbe\nenvs: {prod: {}, devel: {}}\n",
            ),
            (
                "eight-more",
                "file: eightball\nuser: cbe\ncluster: aa\nenvs: {devel: {}}\n",
            ),
            ("web", "user: cbe\nenvs: {prod: {}}\n"),
            ("bad", "user: cbe\nenvs: {prod: {\n"),
        ] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("to write");
        }
        let config = format!("default_cluster = 'bb'\n{TWO}");
        let jobs_dir = [folder.path().to_owned()];
        let setting = |stage| Setting {
            config: &config,
            jobs_dir: &jobs_dir,
            stage,
            ..Setting::default()
        };
        check(
            &["eightball/3", "web"],
            setting(None),
            &["aurora bb/cbe/prod/eightball/3 bb/cbe/prod/web as None in /var/lib/mesos"],
        )
        .await;
        check(
            &["eightball"],
            setting(Some("devel")),
            &["aurora bb/cbe/devel/eightball as None in /var/lib/mesos"],
        )
        .await;
        let dir = folder.path().display();
        let lines = resolved(&["bad", "eight-more", "app"], setting(None)).await;
        assert_eq!(said(&lines.sources[0]), "hosts app: me@h1 you@h2 /x/*.log");
        let failures: Vec<String> = lines.failures.iter().map(ToString::to_string).collect();
        assert!(
            failures[0].starts_with(&format!("target `bad`: {dir}/bad.yaml:")),
            "{failures:?}"
        );
        assert_eq!(
            failures[1],
            format!(
                "target `eight-more`: {dir}/eight-more.yaml: no stage `prod` in `envs`; choose with --stage among devel"
            )
        );
        let here = Setting {
            place: Where::Here,
            ..setting(None)
        };
        check(
            &["eightball/3"],
            here,
            &["sandboxes \"bb/cbe/prod/eightball\" Some(\"3\") in /var/lib/mesos"],
        )
        .await;
        // The names are among those that are suggested.
        let none = Setting {
            config: "",
            ..setting(None)
        };
        check(
            &["eightbal"],
            none,
            &["target `eightbal`: no job of this name in the configuration; did you mean eightball?"],
        )
        .await;
    }

    #[tokio::test]
    async fn patterns_are_looked_for_everywhere() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("apple", "user: cbe\ncluster: bb\nenvs: {prod: {}}\n"),
            ("apricot", "user: cbe\nenvs: {prod: {}}\n"),
        ] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("to write");
        }
        let jobs_dir = [folder.path().to_owned()];
        let setting = |stage| Setting {
            config: TWO,
            jobs_dir: &jobs_dir,
            stage,
            ..Setting::default()
        };
        let note = format!(
            "`ap*`: left out 1 of 3 names that match, such as target `apricot`: {}/apricot.yaml: there is no `cluster`; write it there, or set default_cluster in the configuration",
            folder.path().display()
        );
        check(
            &["ap*"],
            setting(None),
            &[
                "hosts app: me@h1 you@h2 /x/*.log",
                "aurora aa/*/*/ap* as Some(\"ops\") in /srv/mesos",
                "aurora bb/cbe/prod/apple bb/*/*/ap* as None in /var/lib/mesos",
                &note,
            ],
        )
        .await;
        check(
            &["*/www-data/prod/hello/0-2", "aa/*/prod/h*", "[wx]eb/1"],
            setting(Some("test")),
            &[
                "aurora aa/www-data/prod/hello/1 aa/www-data/prod/hello/0-2 aa/*/prod/h* aa/*/test/[wx]eb/1 as Some(\"ops\") in /srv/mesos",
                "aurora bb/www-data/prod/hello/0-2 bb/*/test/[wx]eb/1 as None in /var/lib/mesos",
            ],
        )
        .await;
        check(
            &["c*/a/b/c", "*/prod/hello"],
            setting(None),
            &[
                "target `c*/a/b/c`: no configured cluster matches; configured are aa, bb",
                "target `*/prod/hello`: which cluster? write aa/*/prod/hello or bb/*/prod/hello or */*/prod/hello, or set default_cluster",
            ],
        )
        .await;
        check(
            &["a*/b/c/d", "z*"],
            Setting::default(),
            &[
                "target `a*/b/c/d`: no cluster is configured; add [clusters.NAME] with its scheduler_uri to the configuration",
                "target `z*`: no name in the jobs directory or in the configuration matches, and no cluster is configured that could be asked",
            ],
        )
        .await;
        let here = Setting {
            place: Where::Here,
            ..setting(None)
        };
        check(
            &["aa/*/prod/h*"],
            here,
            &["sandboxes \"aa/*/prod/h*\" None in /var/lib/mesos"],
        )
        .await;
    }

    #[tokio::test]
    async fn programs_and_other_users() {
        let config = format!(
            "[clusters.aa]\nscheduler_uri = 'http://h'\nbecome = 'sudo -n -u {{role}}'\n[jobs.cmdb]\nexec = ['p', 'x']\nuser = 'me'\n{}",
            ""
        );
        let setting = |as_role| Setting {
            config: &config,
            as_role,
            ..Setting::default()
        };
        check(
            &["cmdb/0-2", "cmdb/0-2", "aa/a/b/c", "h:/x"],
            setting(None),
            &[
                "exec cmdb: p x Some(\"0-2\") as Some(\"me\")",
                "hosts h: h /x",
                "aurora aa/a/b/c as None in /var/lib/mesos by sudo -n -u {role}",
            ],
        )
        .await;
        check(
            &["aa/a/b/c", "h:/x"],
            setting(Some("doas -u {role}")),
            &[
                "aurora aa/a/b/c as None in /var/lib/mesos by doas -u {role}",
                "target `h:/x`: `become` names {role}, and hosts that are written down have no role; write the user out",
            ],
        )
        .await;
        let here = Setting {
            place: Where::Here,
            ..setting(None)
        };
        check(
            &["cmdb"],
            here,
            &["target `cmdb`: it names hosts, and --local means this one; leave out one of them"],
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
    async fn a_cluster_without_scheduler_matters_to_who_asks_it() {
        let config = "[clusters.aa]\nslave_root = '/srv/mesos'\n[clusters.bb]\nzk = 'z'\nscheduler_zk_path = '/x'\n";
        check(
            &["aa/a/b/c", "bb/a/b/c", "aa/a/b/c/0"],
            Setting { config, ..Setting::default() },
            &[
                "aurora bb/a/b/c as None in /var/lib/mesos",
                "target `aa/a/b/c`: cluster `aa` has neither `scheduler_uri` nor `zk`; add it in c.toml",
                "target `aa/a/b/c/0`: cluster `aa` has neither `scheduler_uri` nor `zk`; add it in c.toml",
            ],
        )
        .await;
        check(
            &["aa/a/b/c"],
            Setting {
                config,
                place: Where::Here,
                ..Setting::default()
            },
            &["sandboxes \"aa/a/b/c\" None in /srv/mesos"],
        )
        .await;
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
        let waiting = format!(
            "target `zzz`: no job of this name in the configuration or in cluster aa; not asked with success: {failure}; waiting for it"
        );
        check(
            &["zzz/0", "zzz/0"],
            Setting {
                config: &config,
                wait: Wait::UntilThere,
                ..Setting::default()
            },
            &["name zzz Some(\"0\") in aa bb", &waiting, &waiting],
        )
        .await;
        for wait in [Wait::WhileFollowing, Wait::UntilThere] {
            check(
                &["zzz"],
                Setting {
                    wait,
                    ..Setting::default()
                },
                &["target `zzz`: no job of this name in the configuration"],
            )
            .await;
        }
        let resolution = resolved(
            &["zzz", "q"],
            Setting {
                config: &config,
                ..Setting::default()
            },
        )
        .await;
        assert!(resolution.failures.iter().all(ResolveError::is_unreached));
    }
}
