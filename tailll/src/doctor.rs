//! `tailll doctor`: what is configured, what answers and how fast, what does not, why, and what to do about it.
//!
//! Every step is one that following takes, by the same code: nothing is checked in a way of its own.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use joblog::JobKey;

use crate::aurora::Scheduler;
use crate::causes::{chain, plain};
use crate::chain::Layout;
use crate::clock::Clock;
use crate::color::{ColorEnv, Colors};
use crate::config::{Config, ConfigFile};
use crate::console::{Console, ConsoleError, Streams};
use crate::exit::Exit;
use crate::instance::{Instance, Place};
use crate::options::{Environment, Options};
use crate::output::Pauser;
use crate::pool::Patience;
use crate::reach::Reach;
use crate::resolve::{Context, schedulers};
use crate::roster::Roster;
use crate::talk::Talker;
use crate::target::Target;
use crate::transport::{Chunk, End, OpenError, Start, Transport, Until};

/// The most instances that are logged in to.
const MAX_INSTANCES: usize = 100;

/// The most jobs of a cluster that are asked for an instance, in one question.
const MAX_JOBS_ASKED: usize = 100;

/// Attempts to reach a host: a person waits, and asks again if need be.
const ATTEMPTS: u32 = 1;

/// The bytes from a log's end that are read.
const BYTES_READ: u64 = 1024;

/// The column at which a step's details begin.
const DETAIL_COLUMN: usize = 34;

/// One step of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    result: StepResult,
    took: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StepResult {
    /// It went well; what was found.
    Well(String),
    /// There was nothing to check; why.
    Nothing(String),
    /// It failed: why, and what to do.
    Failed { why: String, remedy: String },
}

impl Step {
    fn well(name: &str, found: impl Into<String>, took: Option<Duration>) -> Self {
        Self {
            name: name.to_owned(),
            result: StepResult::Well(found.into()),
            took,
        }
    }

    fn nothing(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            result: StepResult::Nothing(why.into()),
            took: None,
        }
    }

    fn failed(
        name: &str,
        why: impl Into<String>,
        remedy: impl Into<String>,
        took: Duration,
    ) -> Self {
        Self {
            name: name.to_owned(),
            result: StepResult::Failed {
                why: why.into(),
                remedy: remedy.into(),
            },
            took: Some(took),
        }
    }

    /// One line, and one more with what to do where it failed.
    fn lines(&self, colors: Colors) -> String {
        let (mark, color, text, remedy) = match &self.result {
            StepResult::Well(found) => ("ok  ", "\x1b[32m", found, None),
            StepResult::Nothing(why) => ("--  ", "\x1b[2m", why, None),
            StepResult::Failed { why, remedy } => ("FAIL", "\x1b[1;31m", why, Some(remedy)),
        };
        let mark = match colors {
            Colors::On(_) => format!("{color}{mark}\x1b[0m"),
            Colors::Off => mark.to_owned(),
        };
        let took = match self.took {
            Some(took) => format!("  ({} ms)", took.as_millis()),
            None => String::new(),
        };
        let mut lines = format!(
            "{mark}  {:<DETAIL_COLUMN$}{}{took}\n",
            plain(&self.name),
            plain(text)
        );
        if let Some(remedy) = remedy.filter(|remedy| !remedy.is_empty()) {
            let _ = writeln!(lines, "      {:<DETAIL_COLUMN$}→ {}", "", plain(remedy));
        }
        lines
    }
}

/// Prints what there is and how it does. With targets, their instances are logged in to; without, one instance of each cluster.
///
/// # Errors
/// See [`ConsoleError`]. What is found wrong makes the exit code.
pub async fn run(
    options: Options,
    config: Config,
    file: ConfigFile,
    environment: Environment,
    streams: Streams,
    clock: Clock,
) -> Result<Exit, ConsoleError> {
    let mut console = Console::open(streams, options.talk)?;
    let colors = Colors::decide(
        options.color,
        &ColorEnv::read(|name| std::env::var(name).ok()),
        streams.stdout,
    );
    let talker = console.talker.clone();
    let out = console.out.clone();
    let pauser = out.pauser();
    let report = async {
        let mut failed = 0;
        let (steps, mut told) = tokio::sync::mpsc::channel(1);
        let examining = async {
            let examiner = Examiner {
                options: &options,
                config: &config,
                environment: &environment,
                clock,
                talker: &talker,
                pauser,
                steps,
            };
            examiner.examine(&file).await;
        };
        let telling = async {
            while let Some(step) = told.recv().await {
                let step: Step = step;
                failed += usize::from(matches!(step.result, StepResult::Failed { .. }));
                // A reader that has left ends the program by itself.
                let _ = out.data(step.lines(colors).into_bytes()).await;
            }
        };
        tokio::join!(examining, telling);
        failed
    };
    let failed = tokio::select! {
        failed = report => failed,
        exit = console.signals.next() => return Ok(exit),
    };
    drop((talker, out));
    console.close().await?;
    Ok(if failed == 0 {
        Exit::Success
    } else {
        Exit::Partial
    })
}

struct Examiner<'a> {
    options: &'a Options,
    config: &'a Config,
    environment: &'a Environment,
    clock: Clock,
    talker: &'a Talker,
    pauser: Pauser,
    steps: tokio::sync::mpsc::Sender<Step>,
}

impl Examiner<'_> {
    async fn tell(&self, step: Step) {
        // The other end lives as long as this.
        let _ = self.steps.send(step).await;
    }

    fn now(&self) -> Instant {
        self.clock.arrival().at
    }

    async fn examine(self, file: &ConfigFile) {
        self.tell(configuration(self.config, file)).await;
        self.ssh_client().await;
        self.agent().await;
        let context = Context::new(self.options, self.config, self.environment, self.clock);
        let mut instances = Vec::new();
        for (name, scheduler) in schedulers(&context) {
            if let Some(key) = self.scheduler(name, &scheduler).await
                && self.options.targets.is_empty()
            {
                let target = Target::Key {
                    key,
                    instances: None,
                };
                let roster = self.roster(&[target], &context).await;
                instances.extend(roster.instances.into_iter().take(1));
            }
        }
        if !self.options.targets.is_empty() {
            let roster = self.roster(&self.options.targets, &context).await;
            let count = roster.instances.len();
            if count == 0 {
                self.tell(Step::failed(
                    "targets",
                    "no instance is there",
                    "what is wrong with each target is said above",
                    Duration::ZERO,
                ))
                .await;
            } else if count > MAX_INSTANCES {
                self.tell(Step::nothing(
                    "targets",
                    format!("{count} instances; the first {MAX_INSTANCES} are looked at"),
                ))
                .await;
            }
            instances.extend(roster.instances.into_iter().take(MAX_INSTANCES));
        }
        self.instances(&instances).await;
    }

    async fn roster(&self, targets: &[Target], context: &Context<'_>) -> Roster {
        Roster::call(targets, context, &self.options.selection, self.talker).await
    }

    async fn ssh_client(&self) {
        let start = self.now();
        let asked = tokio::process::Command::new("ssh")
            .arg("-V")
            .stdin(std::process::Stdio::null())
            .output()
            .await;
        let took = self.now() - start;
        let step = match asked {
            Ok(output) if output.status.success() => {
                let version = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Step::well(
                    "ssh",
                    format!("{version}: its configuration is asked with `ssh -G`"),
                    Some(took),
                )
            }
            Ok(_) | Err(_) => Step::nothing(
                "ssh",
                "not in PATH: OpenSSH's configuration is read by a parser of our own, which knows the common keywords",
            ),
        };
        self.tell(step).await;
    }

    async fn agent(&self) {
        let step = match std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) {
            None => Step::nothing("agent", "SSH_AUTH_SOCK is not set: only key files are used"),
            Some(path) => {
                let start = self.now();
                let shown = Path::new(&path).display().to_string();
                match tokio::net::UnixStream::connect(&path).await {
                    Ok(_) => Step::well(
                        "agent",
                        format!("answers at {shown}"),
                        Some(self.now() - start),
                    ),
                    Err(error) => Step::failed(
                        "agent",
                        format!("{shown}: {error}"),
                        "start an agent and set SSH_AUTH_SOCK to its socket, or unset it",
                        self.now() - start,
                    ),
                }
            }
        };
        self.tell(step).await;
    }

    /// Asks a scheduler for its jobs and their tasks; gives a job that has an instance.
    async fn scheduler(&self, cluster: &str, scheduler: &Arc<Scheduler>) -> Option<JobKey> {
        let name = format!("cluster {cluster}: scheduler");
        let start = self.now();
        let jobs = match scheduler.jobs().await {
            Ok(jobs) => jobs,
            Err(error) => {
                let remedy = format!(
                    "is it up, and may this host reach it? its address is in [clusters.{cluster}] or in clusters.json"
                );
                self.tell(Step::failed(
                    &name,
                    chain(&error),
                    remedy,
                    self.now() - start,
                ))
                .await;
                return None;
            }
        };
        let count = jobs.len();
        self.tell(Step::well(
            &name,
            format!("{count} jobs"),
            Some(self.now() - start),
        ))
        .await;
        let name = format!("cluster {cluster}: tasks");
        if jobs.is_empty() {
            self.tell(Step::nothing(&name, "there is no job to ask for"))
                .await;
            return None;
        }
        let start = self.now();
        match scheduler
            .active_tasks(&jobs[..count.min(MAX_JOBS_ASKED)])
            .await
        {
            Ok(tasks) => {
                let placed = tasks.tasks.iter().filter(|task| task.host.is_some());
                let mut hosts: Vec<&str> = placed
                    .clone()
                    .filter_map(|task| task.host.as_deref())
                    .collect();
                hosts.sort_unstable();
                hosts.dedup();
                let text = format!(
                    "{} of {} jobs on {} hosts",
                    placed.clone().count(),
                    count.min(MAX_JOBS_ASKED),
                    hosts.len()
                );
                self.tell(Step::well(&name, text, Some(self.now() - start)))
                    .await;
                let key = placed.filter_map(|task| task.key.clone()).min();
                if key.is_none() {
                    self.tell(Step::nothing(
                        &format!("cluster {cluster}: log in"),
                        "no task runs on any host",
                    ))
                    .await;
                }
                key
            }
            Err(error) => {
                self.tell(Step::failed(
                    &name,
                    chain(&error),
                    "the scheduler lists its jobs but not their tasks: ask who runs it",
                    self.now() - start,
                ))
                .await;
                None
            }
        }
    }

    /// Logs in to the instances' hosts, lists their files and reads one, one host after the other.
    async fn instances(&self, instances: &[Instance]) {
        let mut reach = Reach::new(
            self.options.ssh.clone(),
            self.environment.home.clone(),
            Patience::Attempts(ATTEMPTS),
            self.clock,
            self.talker.clone(),
            self.pauser.clone(),
        );
        for instance in instances {
            let transport = reach.transport(&instance.place, instance.as_role.as_ref());
            self.instance(instance, &transport).await;
            drop(transport);
            reach.release(&instance.place, instance.as_role.as_ref());
        }
    }

    async fn instance(&self, instance: &Instance, transport: &Transport) {
        let label = instance.label.name();
        let way = match &instance.place {
            Place::Local => "this host".to_owned(),
            Place::Ssh(login) => login.to_string(),
        };
        let start = self.now();
        let layout = match Layout::new(&instance.files) {
            Ok(layout) => layout,
            Err(error) => {
                let remedy = "correct the pattern";
                self.tell(Step::failed(
                    &label,
                    error.to_string(),
                    remedy,
                    Duration::ZERO,
                ))
                .await;
                return;
            }
        };
        let listing = match transport.list(layout.patterns()).await {
            Ok(listing) => listing,
            Err(error) => {
                let remedy = match &error {
                    // Its words say what to do.
                    OpenError::Refused(_) => "",
                    _ => "is the host up, and does `ssh` reach it from here?",
                };
                self.tell(Step::failed(
                    &format!("{label}: log in"),
                    error.to_string(),
                    remedy,
                    self.now() - start,
                ))
                .await;
                return;
            }
        };
        self.tell(Step::well(
            &format!("{label}: log in"),
            way,
            Some(self.now() - start),
        ))
        .await;
        let start = self.now();
        let links = match transport.list(layout.patterns()).await {
            Ok(_) => layout.links(&listing),
            Err(error) => {
                self.tell(Step::failed(
                    &format!("{label}: list"),
                    error.to_string(),
                    "",
                    self.now() - start,
                ))
                .await;
                return;
            }
        };
        let took = self.now() - start;
        let name = format!("{label}: logs");
        let Some(link) = links.last() else {
            let step = match listing.denied.first() {
                Some(denied) => Step::failed(
                    &name,
                    format!("permission denied: {denied}"),
                    "sandboxes belong to the job's role: log in as the role with --user or ssh_user, or as root",
                    took,
                ),
                None => Step::failed(
                    &name,
                    "there are none",
                    "nothing was written yet, the sandbox was removed, or slave_root is wrong for this cluster",
                    took,
                ),
            };
            self.tell(step).await;
            return;
        };
        self.tell(Step::well(
            &name,
            format!("{} files", links.len()),
            Some(took),
        ))
        .await;
        let start = self.now();
        let path = String::from_utf8_lossy(&link.stat.path).into_owned();
        let name = format!("{label}: read");
        let step = match read_end(transport, &link.stat.path).await {
            Ok(()) => Step::well(&name, path, Some(self.now() - start)),
            Err(why) => Step::failed(
                &name,
                format!("{path}: {why}"),
                "log in as somebody who may read it; what must be installed on the host is in the guide",
                self.now() - start,
            ),
        };
        self.tell(step).await;
    }
}

/// Reads a file's last bytes to their end.
async fn read_end(transport: &Transport, path: &[u8]) -> Result<(), String> {
    let (_, mut stream) = transport
        .open(path, Start::Back(BYTES_READ), Until::End)
        .await
        .map_err(|error| error.to_string())?;
    loop {
        match stream.next().await {
            Chunk::Data(_) => {}
            Chunk::End(End::Reached) => return Ok(()),
            Chunk::End(End::Stopped) => return Err("the reader on the host stopped".to_owned()),
            Chunk::End(End::Broken(why)) => return Err(why),
        }
    }
}

fn configuration(config: &Config, file: &ConfigFile) -> Step {
    let paths = file.paths();
    let name = "configuration";
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        let found = format!(
            "{}: {} clusters, {} jobs",
            path.display(),
            config.clusters.len(),
            config.jobs.len()
        );
        return Step::well(name, found, None);
    }
    let looked: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Step::nothing(name, format!("none; looked for {}", looked.join(", ")))
}
