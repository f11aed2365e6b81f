//! Completing a command line in a shell: flags by their definition, targets by the names that are known here.
//!
//! `tailll completions SHELL` prints the shell's half, which calls the program again with [`VARIABLE`] set. Names come from the
//! jobs directory, the configuration and the schedulers' last answers, which are asked anew where they are older than a minute;
//! a scheduler that is slow to answer costs no more than `ASK_TIMEOUT`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Command;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};
use joblog::JobKey;

use crate::aurora::Scheduler;
use crate::clock::Clock;
use crate::config::Config;
use crate::job_cache::{Age, JobCache};

/// Set by the shell's half when it asks for completions.
pub const VARIABLE: &str = "TAILLL_COMPLETE";

/// How long a scheduler may take to answer while a person waits for a completion.
const ASK_TIMEOUT: Duration = Duration::from_millis(1500);

/// The most candidates that are offered.
const MAX_CANDIDATES: usize = 2000;

/// The shell's half, as a script.
///
/// # Errors
/// Names the shells that there are.
pub fn script(shell: &str) -> Result<Vec<u8>, UnknownShell> {
    let shells = Shells::builtins();
    let Some(known) = shells.completer(shell) else {
        return Err(UnknownShell {
            shell: shell.to_owned(),
            known: shells.names().collect(),
        });
    };
    let mut script = Vec::new();
    // Nothing but memory is written to.
    let _ = known.write_registration(VARIABLE, "tailll", "tailll", "tailll", &mut script);
    Ok(script)
}

/// A shell that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no completions for the shell `{}`; there are some for {}", .shell.escape_debug(), .known.join(", "))]
pub struct UnknownShell {
    shell: String,
    known: Vec<&'static str>,
}

/// Answers the shell's half, if it is that which runs the program; `targets` completes a target.
///
/// # Errors
/// What the shell's half got wrong.
pub fn answer(
    command: impl Fn() -> Command,
    words: &[OsString],
    targets: impl Fn(&str) -> Vec<String> + Send + Sync + 'static,
) -> Result<Answered, clap::Error> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(Answered::No);
    }
    let completer = ArgValueCompleter::new(Completer(Arc::new(targets)));
    let factory = || with_targets(command(), &completer);
    let current_dir = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(factory)
        .var(VARIABLE)
        .bin("tailll")
        .completer("tailll")
        .try_complete(words, current_dir.as_deref())?;
    Ok(if answered {
        Answered::Yes
    } else {
        Answered::No
    })
}

/// Whether a shell's half asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It did, and has its answer.
    Yes,
    /// A person runs the program.
    No,
}

struct Completer<F>(Arc<F>);

impl<F: Fn(&str) -> Vec<String> + Send + Sync> ValueCompleter for Completer<F> {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let text = current.to_string_lossy();
        // Files of this host are completed as paths.
        if text.starts_with('/') || text.starts_with('.') {
            return PathCompleter::any().complete(current);
        }
        (self.0)(&text)
            .into_iter()
            .map(CompletionCandidate::from)
            .collect()
    }
}

fn with_targets(command: Command, completer: &ArgValueCompleter) -> Command {
    let add = |command: Command| {
        command.mut_args(|arg| match arg.get_id().as_str() {
            "targets" | "target" => arg.add(completer.clone()),
            _ => arg,
        })
    };
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    verbs.into_iter().fold(add(command), |command, verb| {
        command.mut_subcommand(verb, add)
    })
}

/// The names that a target can begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Short names, of the jobs directory and the configuration.
    pub short: BTreeSet<String>,
    /// The schedulers' jobs.
    pub keys: BTreeSet<JobKey>,
}

impl Names {
    /// What a word can become. `instances` tells a job's numbers; it is asked only for the one job that the word names.
    pub fn candidates(
        &self,
        word: &str,
        instances: impl FnOnce(&JobKey) -> Vec<u32>,
    ) -> Vec<String> {
        let mut found = BTreeSet::new();
        found.extend(
            self.short
                .iter()
                .filter(|name| name.starts_with(word))
                .cloned(),
        );
        found.extend(
            self.keys
                .iter()
                .map(|key| key.name().to_owned())
                .filter(|name| name.starts_with(word)),
        );
        found.extend(
            self.keys
                .iter()
                .map(ToString::to_string)
                .filter(|key| key.starts_with(word)),
        );
        // `hello/` and `aa/www/prod/hello/` go on with numbers.
        if let Some((job, begun)) = word.rsplit_once('/')
            && let Some(key) = self.only(job)
        {
            let done = begun.rfind([',', '-']).map_or("", |at| &begun[..=at]);
            let last = &begun[done.len()..];
            found.extend(
                instances(&key)
                    .into_iter()
                    .map(|number| number.to_string())
                    .filter(|number| number.starts_with(last))
                    .map(|number| format!("{job}/{done}{number}")),
            );
        }
        found.into_iter().take(MAX_CANDIDATES).collect()
    }

    /// The job of this full key, or the only one of this name.
    fn only(&self, job: &str) -> Option<JobKey> {
        if let Ok(key) = job.parse::<JobKey>() {
            return self.keys.get(&key).cloned();
        }
        let mut named = self.keys.iter().filter(|key| key.name() == job);
        match (named.next(), named.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }
}

/// What completing asks: the configuration, and the schedulers where their last answer is old.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The short names of the jobs directory.
    pub names: BTreeSet<String>,
    /// The clusters' schedulers.
    pub schedulers: Vec<Arc<Scheduler>>,
    /// The user's folder for caches; nothing is kept without one.
    pub cache: Option<PathBuf>,
    /// The clock.
    pub clock: Clock,
}

impl Sources<'_> {
    /// What a word can become.
    pub async fn candidates(&self, word: &str) -> Vec<String> {
        // Hosts and files: nothing is known of them.
        if word.contains(':') {
            return Vec::new();
        }
        let mut names = Names {
            short: self
                .names
                .iter()
                .cloned()
                .chain(self.config.jobs.keys().cloned())
                .collect(),
            keys: BTreeSet::new(),
        };
        for scheduler in &self.schedulers {
            names.keys.extend(self.jobs(scheduler).await);
        }
        let mut wanted = None;
        let candidates = names.candidates(word, |key| {
            wanted = Some(key.clone());
            Vec::new()
        });
        let Some(key) = wanted else { return candidates };
        let numbers = self.instances(&key).await;
        names.candidates(word, |_| numbers)
    }

    async fn jobs(&self, scheduler: &Scheduler) -> Vec<JobKey> {
        let cluster = scheduler.cluster();
        let now_ns = self.clock.arrival().wall_ns;
        let file = self
            .cache
            .as_deref()
            .map(|folder| JobCache::file(folder, cluster));
        let mut cache = file.as_deref().map(JobCache::load).unwrap_or_default();
        let keys = |jobs: &[String]| {
            jobs.iter()
                .filter_map(|job| format!("{cluster}/{job}").parse().ok())
                .collect()
        };
        let known = match cache.jobs(now_ns) {
            Some((jobs, Age::Fresh)) => return keys(jobs),
            Some((jobs, Age::Old)) => keys(jobs),
            None => Vec::new(),
        };
        match tokio::time::timeout(ASK_TIMEOUT, scheduler.jobs()).await {
            Ok(Ok(jobs)) => {
                let texts = jobs
                    .iter()
                    .map(|key| format!("{}/{}/{}", key.role(), key.env(), key.name()))
                    .collect();
                cache.set_jobs(texts, now_ns);
                store(&cache, file);
                jobs
            }
            Ok(Err(_)) | Err(_) => known,
        }
    }

    async fn instances(&self, key: &JobKey) -> Vec<u32> {
        let Some(scheduler) = self
            .schedulers
            .iter()
            .find(|scheduler| scheduler.cluster() == key.cluster())
        else {
            return Vec::new();
        };
        let now_ns = self.clock.arrival().wall_ns;
        let file = self
            .cache
            .as_deref()
            .map(|folder| JobCache::file(folder, key.cluster()));
        let mut cache = file.as_deref().map(JobCache::load).unwrap_or_default();
        let job = format!("{}/{}/{}", key.role(), key.env(), key.name());
        let known = match cache.instances(&job, now_ns) {
            Some((numbers, Age::Fresh)) => return numbers.to_vec(),
            Some((numbers, Age::Old)) => numbers.to_vec(),
            None => Vec::new(),
        };
        let asked = scheduler.active_tasks(std::slice::from_ref(key));
        match tokio::time::timeout(ASK_TIMEOUT, asked).await {
            Ok(Ok(tasks)) => {
                let numbers: BTreeSet<u32> = tasks.tasks.iter().map(|task| task.instance).collect();
                let numbers: Vec<u32> = numbers.into_iter().collect();
                cache.set_instances(&job, numbers.clone(), now_ns);
                store(&cache, file);
                numbers
            }
            Ok(Err(_)) | Err(_) => known,
        }
    }
}

fn store(cache: &JobCache, file: Option<PathBuf>) {
    if let Some(file) = file {
        // Without a cache the next press of a key asks again; there is nobody to tell.
        let _ = cache.store(&file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let keys = [
            "aa/www/prod/hello",
            "aa/www/prod/help",
            "bb/www/prod/hello",
            "aa/db/devel/pg",
        ];
        Names {
            short: ["web".to_owned(), "help".to_owned()].into(),
            keys: keys.iter().map(|key| key.parse().expect("a key")).collect(),
        }
    }

    #[test]
    fn words_become_names_keys_and_instances() {
        let complete = |word: &str| names().candidates(word, |_| vec![0, 1, 12]).join(" ");
        assert_eq!(complete("he"), "hello help");
        assert_eq!(complete("w"), "web");
        assert_eq!(complete("aa/w"), "aa/www/prod/hello aa/www/prod/help");
        assert_eq!(complete("help/"), "help/0 help/1 help/12");
        assert_eq!(complete("help/0,1"), "help/0,1 help/0,12");
        assert_eq!(complete("help/0-"), "help/0-0 help/0-1 help/0-12");
        assert_eq!(
            complete("aa/db/devel/pg/1"),
            "aa/db/devel/pg/1 aa/db/devel/pg/12"
        );
        assert_eq!(complete("hello/"), "", "two clusters have one");
        assert_eq!(complete("nothing"), "");
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in ["bash", "zsh", "fish"] {
            let script = String::from_utf8(script(shell).expect(shell)).expect("text");
            assert!(
                script.contains(VARIABLE) && script.contains("tailll"),
                "{script}"
            );
        }
        let error = script("cmd").expect_err("no such shell").to_string();
        assert!(error.contains("bash"), "{error}");
    }
}
