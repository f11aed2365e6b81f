//! Which files are kept, and whose they are: the rules of the configuration, applied to paths. No I/O.
//!
//! The sandboxes of `[mesos]` come first, then `[[files]]` in their order: the first rule that takes a path has it. What a rule
//! makes of a path is total: a name that cannot stand in a job key is changed until it can, and never a reason to lose a file.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use archive::Origin;
use jiff::tz::TimeZone;
use joblog::JobKey;
use joblog::sandbox::{LATEST, LogFile, RunDir};

use crate::config::{Config, ExecutorOutput, FilesRule, Mesos};
use crate::identity::TaskIdentity;
use crate::pattern::Pattern;
use crate::template::{Template, TemplateError, Values, key_part};

/// How messages call the rule of `[mesos]`.
pub const MESOS_RULE: &str = "mesos";

/// Whose a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster: the partition that the rows go to.
    pub cluster: String,
    /// What all rows of the file have in common. `src` is empty until the file is pinned.
    pub origin: Origin,
    /// How well it is known.
    pub certainty: Certainty,
    /// The run's folder (`…/runs/<container>`) of a file in a sandbox: [`crate::scan::Seen::Done`] speaks of it.
    pub run_dir: Option<Arc<Path>>,
}

/// How the job of a file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// By the agent's own record of the task.
    TaskInfo,
    /// By the agent's answer.
    AgentState,
    /// By the task's id: instance and task are certain; role, environment and name are a reading of an ambiguous text.
    TaskId,
    /// Neither: the executor's name is none that Aurora gives. Only host and stream are known.
    Unknown,
    /// By the template of a rule.
    Rule,
}

/// The job key of a rule, with fields: `{cluster}/web/prod/{1}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTemplate(Template);

/// Why a text is no template of a job key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobTemplateError {
    /// It is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What comes out is no job key.
    #[error("it gives no job key, cluster/role/env/name: {0}")]
    Key(#[from] joblog::JobKeyError),
}

impl FromStr for JobTemplate {
    type Err = JobTemplateError;

    fn from_str(text: &str) -> Result<Self, JobTemplateError> {
        let template: Template = text.parse()?;
        let values = Values {
            cluster: "x",
            host: "x",
            file: b"x",
            wildcards: &[],
        };
        template
            .fill(&values, |_| "x".to_owned())
            .parse::<JobKey>()?;
        Ok(Self(template))
    }
}

impl fmt::Display for JobTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JobTemplate {
    /// Checks that a pattern has the wildcards that the template speaks of.
    pub fn check(&self, pattern: &Pattern) -> Result<(), TemplateError> {
        self.0.check(pattern)
    }

    /// The key, if it is not longer than keys are.
    fn fill(&self, values: &Values<'_>) -> Option<JobKey> {
        let part = |text: &str| match key_part(text) {
            empty if empty.is_empty() => "_".to_owned(),
            part => part,
        };
        self.0.fill(values, part).parse().ok()
    }
}

/// The rules, ready to be applied.
#[derive(Debug)]
pub struct Rules {
    config: Arc<Config>,
    mesos: Arc<str>,
    /// As many as `config.files`.
    files: Vec<Arc<str>>,
}

/// The rule that takes a path.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// How messages call the rule: `mesos`, or the name of one of `[[files]]`.
    pub rule: Arc<str>,
    /// Of times without a zone.
    pub timezone: TimeZone,
    /// Whose the file is. For a file in a sandbox only what its path tells: the scanner asks the agent's records.
    pub owner: Owner,
    /// The folder beneath which the file is opened.
    pub root: PathBuf,
    /// Which walk comes across it.
    pub(crate) walk: WalkId,
}

/// One of the walks that together come across every file that a rule takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WalkId {
    /// Over the sandboxes.
    Mesos,
    /// Over one of the patterns of one of `[[files]]`.
    Files {
        /// Which of `[[files]]`.
        rule: usize,
        /// Which of its `paths`.
        path: usize,
    },
}

/// Why no rule takes a path, as a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Rules {
    /// Makes rules of a configuration.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            mesos: MESOS_RULE.into(),
            files: config
                .files
                .iter()
                .map(|rule| rule.name.as_str().into())
                .collect(),
            config,
        }
    }

    /// The configuration that they were made of.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The rule that takes this absolute path, or why none does. The file need not exist.
    pub fn take(&self, path: &Path) -> Result<Taken, Refused> {
        let own = self
            .config
            .spool
            .folders
            .iter()
            .chain([&self.config.state.folder]);
        if let Some(own) = own.into_iter().find(|own| path.starts_with(own)) {
            return Err(Refused(format!(
                "it lies in {}, a folder of the agent's own",
                own.display()
            )));
        }
        let mut why = match &self.config.mesos {
            Some(mesos) if path.starts_with(&mesos.work_dir) => {
                match self.take_in_sandbox(mesos, path) {
                    Ok(taken) => return Ok(taken),
                    Err(refused) => Some(refused),
                }
            }
            _ => None,
        };
        for (index, rule) in self.config.files.iter().enumerate() {
            let mut paths = rule.paths.iter().enumerate();
            let first = paths.find_map(|(at, pattern)| Some((at, pattern.captures(path)?)));
            let Some((at, wildcards)) = first else {
                continue;
            };
            if let Some(exclude) = rule.exclude.iter().find(|one| one.matches(path)) {
                let text = format!(
                    "rule `{}` would take it, but excludes `{exclude}`",
                    rule.name
                );
                why.get_or_insert(Refused(text));
                continue;
            }
            return Ok(Taken {
                rule: self.files[index].clone(),
                timezone: rule.timezone.clone(),
                owner: self.owner_by_rule(rule, path, &wildcards),
                root: rule.paths[at].root().to_owned(),
                walk: WalkId::Files {
                    rule: index,
                    path: at,
                },
            });
        }
        Err(why.unwrap_or_else(|| Refused("no rule's paths match it".to_owned())))
    }

    /// The time zone of a rule by its name; UTC for a rule that there is no longer.
    pub fn timezone(&self, rule: &str) -> TimeZone {
        match &self.config.mesos {
            Some(mesos) if rule == MESOS_RULE => mesos.timezone.clone(),
            _ => {
                let found = self.config.files.iter().find(|one| one.name == rule);
                found.map_or(TimeZone::UTC, |rule| rule.timezone.clone())
            }
        }
    }

    /// The walks that come across everything, and where each begins.
    pub(crate) fn walks(&self) -> Vec<(WalkId, PathBuf)> {
        let mesos = self
            .config
            .mesos
            .iter()
            .map(|mesos| (WalkId::Mesos, mesos.work_dir.clone()));
        let files = self
            .config
            .files
            .iter()
            .enumerate()
            .flat_map(|(rule, one)| {
                let paths = one.paths.iter().enumerate();
                paths.map(move |(path, pattern)| {
                    (WalkId::Files { rule, path }, pattern.root().to_owned())
                })
            });
        mesos.chain(files).collect()
    }

    /// The pattern of a walk over `[[files]]`.
    pub(crate) fn pattern(&self, walk: WalkId) -> Option<&Pattern> {
        match walk {
            WalkId::Mesos => None,
            WalkId::Files { rule, path } => self.config.files.get(rule)?.paths.get(path),
        }
    }

    fn take_in_sandbox(&self, mesos: &Mesos, path: &Path) -> Result<Taken, Refused> {
        let bytes = path.as_os_str().as_bytes();
        let refused = |text: &str| Err(Refused(text.to_owned()));
        let Some((run, below)) = RunDir::parse(bytes) else {
            return refused("it lies in the agent's work folder, but in no executor's run");
        };
        if run.work_dir != mesos.work_dir.as_os_str().as_bytes() {
            return refused("it lies in no executor's run of this agent");
        }
        if run.container == LATEST {
            return refused("`latest` is another name of a run; the file is kept by its own");
        }
        let Some(log) = LogFile::parse(below) else {
            return refused(
                "of a run only `stdout` and `stderr`, and those below `sandbox/.logs`, are kept by the rule of [mesos]",
            );
        };
        if matches!(log, LogFile::Executor { .. }) && mesos.executor_output == ExecutorOutput::Left
        {
            return refused("`executor_output = false` leaves the executor's own output out");
        }
        if let Some(exclude) = mesos.exclude.iter().find(|one| one.matches(path)) {
            return Err(Refused(format!("`[mesos] exclude` has `{exclude}`")));
        }
        let run_dir = PathBuf::from(OsStr::from_bytes(&run.to_path()));
        Ok(Taken {
            rule: self.mesos.clone(),
            timezone: mesos.timezone.clone(),
            owner: self.owner_in_sandbox(
                &TaskIdentity::guessed(run.executor),
                &log,
                run_dir.into(),
            ),
            root: mesos.work_dir.clone(),
            walk: WalkId::Mesos,
        })
    }

    /// Whose a file of a sandbox is.
    pub(crate) fn owner_in_sandbox(
        &self,
        task: &TaskIdentity,
        log: &LogFile<'_>,
        run_dir: Arc<Path>,
    ) -> Owner {
        let (process, run) = match log {
            LogFile::Process { process, run, .. } => {
                (Some(String::from_utf8_lossy(process).into_owned()), *run)
            }
            LogFile::Executor { .. } => (None, 0),
        };
        Owner {
            cluster: self.config.cluster.clone(),
            origin: Origin {
                role: task.role.clone(),
                env: task.env.clone(),
                job: task.job.clone(),
                instance: task.instance,
                task_id: task.task_id.clone(),
                process,
                run,
                stream: Some(log.stream().name().to_owned()),
                host: Some(self.config.host.clone()),
                src: String::new(),
                git_sha: task.git_sha.clone(),
            },
            certainty: task.certainty,
            run_dir: Some(run_dir),
        }
    }

    fn owner_by_rule(&self, rule: &FilesRule, path: &Path, wildcards: &[&[u8]]) -> Owner {
        let values = Values {
            cluster: &self.config.cluster,
            host: &self.config.host,
            file: path.file_name().unwrap_or_default().as_bytes(),
            wildcards,
        };
        let key = rule.job.fill(&values);
        let text = |template: &Template| template.fill(&values, str::to_owned);
        let part = |part: fn(&JobKey) -> &str| key.as_ref().map(|key| part(key).to_owned());
        Owner {
            cluster: part(JobKey::cluster).unwrap_or_else(|| self.config.cluster.clone()),
            origin: Origin {
                role: part(JobKey::role),
                env: part(JobKey::env),
                job: part(JobKey::name),
                // What is no number is none; the file is kept in any case.
                instance: text(&rule.instance).parse().unwrap_or(0),
                task_id: None,
                process: rule.process.as_ref().map(text),
                run: 0,
                stream: Some(text(&rule.stream)),
                host: Some(self.config.host.clone()),
                src: String::new(),
                git_sha: None,
            },
            certainty: if key.is_some() {
                Certainty::Rule
            } else {
                Certainty::Unknown
            },
            run_dir: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22";

    fn rules() -> Rules {
        let text = r#"
            archive = "file:///archive"
            cluster = "aa"
            [mesos]
            work_dir = "/var/lib/mesos"
            exclude = ["/var/lib/mesos/**/.logs/noise/*/*"]
            [[files]]
            name = "web"
            paths = ["/var/log/web/*/app-*.log"]
            exclude = ["/var/log/web/*/app-debug.log"]
            job = "{cluster}/web/prod/{1}"
            instance = "{2}"
            [[files]]
            paths = ["/var/log/**", "/var/lib/shipper/**", "/var/lib/x*"]
            job = "bb/host/prod/{1}"
            process = "{file}"
            stream = "{1}"
            timezone = "Europe/Zurich"
        "#;
        let config = Config::parse(text, Path::new("c.toml"), "node7").expect("a configuration");
        Rules::new(Arc::new(config))
    }

    #[track_caller]
    fn check(path: &str, expected: Result<&str, &str>) {
        let got = rules().take(Path::new(path)).map(|taken| {
            let Owner {
                cluster, origin, ..
            } = taken.owner;
            let text = |text: Option<String>| text.unwrap_or("-".to_owned());
            format!(
                "{}: {cluster}/{}/{}/{}/{} {} {} {}",
                taken.rule,
                text(origin.role),
                text(origin.env),
                text(origin.job),
                origin.instance,
                text(origin.process),
                origin.run,
                text(origin.stream)
            )
        });
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(why), Err(expected)) => assert!(why.0.contains(expected), "{why}"),
            (got, _) => panic!("{path:?} gives {got:?}"),
        }
    }

    #[test]
    fn paths_in_sandboxes() {
        let run = format!(
            "/var/lib/mesos/slaves/S/frameworks/F/executors/thermos-web-prod-hello-3-{UUID}/runs"
        );
        for (below, expected) in [
            ("c/stdout", Ok("mesos: aa/web/prod/hello/3 - 0 stdout")),
            ("c/stderr.2", Ok("mesos: aa/web/prod/hello/3 - 0 stderr")),
            (
                "c/sandbox/.logs/http/2/stderr",
                Ok("mesos: aa/web/prod/hello/3 http 2 stderr"),
            ),
            ("c/sandbox/.logs/noise/2/stderr", Err("`[mesos] exclude`")),
            ("c/sandbox/app.log", Err("only `stdout`")),
            ("latest/stdout", Err("another name")),
            ("c/taskfs/stdout", Err("only `stdout`")),
        ] {
            check(&format!("{run}/{below}"), expected);
        }
        check("/var/lib/mesos/meta/x", Err("in no executor's run"));
        check(
            &format!("/var/lib/mesos/x{run}/c/stdout"),
            Err("of this agent"),
        );
    }

    #[test]
    fn paths_of_other_rules() {
        check(
            "/var/log/web/shop/app-12.log",
            Ok("web: aa/web/prod/shop/12 - 0 app-12.log"),
        );
        check(
            "/var/log/web/a b/app-x.log",
            Ok("web: aa/web/prod/a-b/0 - 0 app-x.log"),
        );
        // What one rule excludes another may take.
        check(
            "/var/log/web/shop/app-debug.log",
            Ok(
                "files[2]: bb/host/prod/web-shop-app-debug.log/0 app-debug.log 0 web/shop/app-debug.log",
            ),
        );
        check("/var/log/.hidden", Err("no rule's paths"));
        check(
            "/var/lib/shipper/spool/pins/x",
            Err("a folder of the agent's own"),
        );
        check("/var/lib/xy", Ok("files[2]: bb/host/prod/y/0 xy 0 y"));
        check("/etc/passwd", Err("no rule's paths"));
    }

    #[test]
    fn an_overlong_name_does_not_lose_a_file() {
        let path = format!("/var/log/{}/{}", "x".repeat(200), "y".repeat(200));
        let taken = rules().take(Path::new(&path)).expect("a rule");
        assert_eq!(
            (taken.owner.certainty, taken.owner.origin.job),
            (Certainty::Unknown, None)
        );
        assert_eq!(taken.owner.cluster, "aa");
    }

    #[test]
    fn time_zones_by_rule() {
        let rules = rules();
        assert_eq!(
            rules.timezone("files[2]").iana_name(),
            Some("Europe/Zurich")
        );
        for rule in ["mesos", "web", "gone"] {
            assert_eq!(rules.timezone(rule), TimeZone::UTC, "{rule}");
        }
    }

    #[test]
    fn templates_give_job_keys() {
        for (text, fits) in [
            ("{cluster}/web/prod/{1}", true),
            ("{cluster}/{1}-x/prod/web", true),
            ("web/prod/x", false),
            ("a/b/c/d/e", false),
            ("a/b/c/ü", false),
            ("{nothing}/b/c/d", false),
        ] {
            assert_eq!(text.parse::<JobTemplate>().is_ok(), fits, "{text}");
        }
    }
}
