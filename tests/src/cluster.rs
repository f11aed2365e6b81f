//! The demo cluster: three jobs on four hosts, alive, in one temporary folder.
//!
//! Owns what happens (who writes when, rotates, crashes, moves) and the layout on disk that Thermos and Mesos give it; the
//! scheduler knows of it by its [`Model`]. All hosts share this machine's disk, so each task has its own path, and each
//! host its own folder for plain log files.
//!
//! | job | instances | what it shows |
//! |---|---|---|
//! | `demo/www/prod/web` | 6 | access lines; instance 0 rotates by renaming; a helper process with a space in its name |
//! | `demo/batch/prod/worker` | 4 | logstash JSON, stack traces on stderr |
//! | `demo/infra/staging1/flaky` | 3 | instance 1 crash-loops, instance 2 moves to another host every 15 s |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use joblog::{JobKey, Stream};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::scheduler::{Model, Scheduler, Status, Task};
use crate::ssh_server::{self, SshServer};
use crate::writers::{Output, Rng, Style, Writer};

/// The cluster's name, the first part of its job keys.
pub const CLUSTER: &str = "demo";
/// How many hosts there are: `node1` and so on.
pub const HOSTS: u8 = 4;
/// The time that the cluster has run when it starts: its history.
pub const HISTORY: SignedDuration = SignedDuration::from_secs(150);
/// How often the cluster looks whether something is due: the most that a line is written after its own time.
const TICK: Duration = Duration::from_millis(25);
/// How long a moving instance stays on a host.
const STAY: SignedDuration = SignedDuration::from_secs(15);
/// The pause between the crash of a process and its next run.
const CRASH_PAUSE: SignedDuration = SignedDuration::from_millis(1_500);
/// How many runs of a process Thermos allows before it gives the task up.
const RUNS_MAX: u32 = 100;
/// How many ended tasks of the cluster stay, with their sandboxes; older ones are forgotten and removed.
const ENDED_TASKS_MAX: usize = 12;
/// The size at which a log is renamed, for the one that shows it; Thermos' own default is 100 MiB.
const ROTATE_SOON_BYTES: u64 = 24 * 1024;
/// The size at which every other log is renamed, so that a demo that is forgotten does not fill the disk.
const ROTATE_LATE_BYTES: u64 = 16 * 1024 * 1024;
/// How many renamed logs stay beside the one being written, as Thermos' `backups`.
const BACKUPS: u32 = 3;

/// What a cluster is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What makes one cluster's lines differ from another's.
    pub seed: u64,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The running cluster. Dropping it ends every process of its SSH server and removes its folder; [`Cluster::stop`] does the
/// same and says what went wrong.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they have to go: writers, hosts, scheduler, disk.
    life: Life,
    ssh: SshServer,
    scheduler: Scheduler,
    folder: TempDir,
    jobs: Vec<JobKey>,
}

/// The task that moves the cluster on.
#[derive(Debug)]
struct Life {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<io::Result<()>>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Cluster {
    /// Starts all of it. Some minutes of history are there at once.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tailll-demo-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a temporary folder")?;
        // The real path: sandboxes are reached over links, and what is printed should be what is there.
        let root = folder.path().canonicalize()?;
        let client = ssh_server::new_key("demo")?;
        let mut nodes = ssh_server::Options::nodes(HOSTS, &root, client.public_key().clone());
        for host in &mut nodes.hosts {
            host.home = root.join("hosts").join(&host.name);
            fs::create_dir_all(host.home.join("log"))?;
        }
        let names: Vec<String> = nodes.hosts.iter().map(|host| host.name.clone()).collect();
        let ssh = SshServer::start(nodes)
            .await
            .context("cannot listen on 127.0.0.1 and its neighbours")?;
        let scheduler = Scheduler::start(CLUSTER)
            .await
            .context("cannot listen on 127.0.0.1")?;
        write_private(
            &root.join("id_ed25519"),
            &ssh_server::openssh_private(&client)?,
        )?;
        fs::write(root.join("known_hosts"), ssh.known_hosts())?;
        fs::write(root.join("ssh_config"), ssh_config(&root, &ssh))?;

        let mut world = World::new(&root, names, scheduler.model().clone(), options)?;
        let jobs = job_keys()?;
        fs::write(
            root.join("tailll.toml"),
            tailll_toml(&root, &scheduler.uri(), &jobs),
        )?;
        fs::write(root.join("shipper.toml"), shipper_toml(&root))?;
        world.advance((options.clock)())?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(live(world, options.clock, stop.clone()));
        Ok(Self {
            life: Life {
                stop,
                task: Some(task),
            },
            ssh,
            scheduler,
            folder,
            jobs,
        })
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration that makes `tailll` know this cluster.
    pub fn config_file(&self) -> PathBuf {
        self.folder().join("tailll.toml")
    }

    /// The configuration of the agent that keeps the cluster's logs.
    pub fn shipper_config_file(&self) -> PathBuf {
        self.folder().join("shipper.toml")
    }

    /// Where that agent keeps them.
    pub fn archive(&self) -> PathBuf {
        self.folder().join("archive")
    }

    /// The configuration that makes `ssh` know its hosts.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder().join("ssh_config")
    }

    /// The agents' work directory.
    pub fn slave_root(&self) -> PathBuf {
        slave_root(self.folder())
    }

    /// The jobs' keys: web, worker, flaky.
    pub fn jobs(&self) -> &[JobKey] {
        &self.jobs
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// The hosts.
    pub fn ssh(&self) -> &SshServer {
        &self.ssh
    }

    /// Ends when the cluster cannot go on, with the reason; never otherwise.
    pub async fn failed(&mut self) -> anyhow::Error {
        let Some(task) = &mut self.life.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.life.task = None;
        match ended {
            Ok(Ok(())) => std::future::pending().await,
            Ok(Err(error)) => anyhow::Error::new(error).context("the demo cluster cannot write"),
            Err(error) => anyhow::Error::new(error).context("the demo cluster broke"),
        }
    }

    /// Ends all of it and removes its folder.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.life.stop.cancel();
        let written = match self.life.task.take() {
            Some(task) => task.await.context("the demo cluster broke")?,
            None => Ok(()),
        };
        let Self {
            ssh,
            scheduler,
            folder,
            ..
        } = self;
        drop(ssh);
        drop(scheduler);
        let path = folder.path().to_owned();
        folder
            .close()
            .with_context(|| format!("cannot remove {}; remove it by hand", path.display()))?;
        written.context("the demo cluster cannot write")
    }
}

/// Moves the world on until told to stop.
async fn live(
    mut world: World,
    clock: fn() -> Timestamp,
    stop: CancellationToken,
) -> io::Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => world.advance(clock())?,
        }
    }
}

fn slave_root(root: &Path) -> PathBuf {
    root.join("mesos")
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn ssh_config(root: &Path, ssh: &SshServer) -> String {
    let hosts: Vec<String> = ssh
        .hosts()
        .iter()
        .map(|host| {
            let address = host.address();
            format!(
                "Host {}\n    HostName {}\n    Port {}\n\n",
                host.name(),
                address.ip(),
                address.port()
            )
        })
        .collect();
    let hosts = hosts.concat();
    format!(
        "{hosts}Host *\n    IdentityFile \"{root}/id_ed25519\"\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
         UserKnownHostsFile \"{root}/known_hosts\"\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n    \
         PasswordAuthentication no\n",
        root = root.display(),
    )
}

/// One agent for all: the hosts share a disk, and so a work folder.
fn shipper_toml(root: &Path) -> String {
    format!(
        r#"# The demo's agent. A person's flushes every few minutes.
archive = "file://{root}/archive"
cluster = "{CLUSTER}"
flush_seconds = 3
scan_seconds = 1
quiet_seconds = 10

[state]
folder = "{root}/shipper/state"
reserved_megabytes = 0

[spool]
folders = ["{root}/shipper/spool"]

[mesos]
work_dir = "{work_dir}"
"#,
        root = root.display(),
        work_dir = slave_root(root).display(),
    )
}

fn tailll_toml(root: &Path, scheduler_uri: &str, jobs: &[JobKey]) -> String {
    // TOML's basic strings escape as Rust's debug form does for any path that a temporary folder has.
    let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
    let jobs: Vec<String> = jobs
        .iter()
        .map(|key| format!("[jobs.{}]\nkey = \"{key}\"\n\n", key.name()))
        .collect();
    let jobs = jobs.concat();
    format!(
        "default_cluster = \"{CLUSTER}\"\n\n\
         [clusters.{CLUSTER}]\nscheduler_uri = \"{scheduler_uri}\"\nslave_root = {slave_root}\n\
         slave_run_directory = \"latest\"\n\n\
         {jobs}[jobs.gateway]\nhosts = [\"node1\"]\nfiles = [{gateway}]\n\n\
         [ssh]\nconfig = {ssh_config}\n",
        slave_root = quoted(slave_root(root)),
        gateway = quoted(root.join("hosts/node1/log/*.log")),
        ssh_config = quoted(root.join("ssh_config")),
    )
}

/// One job as it is planned.
struct Plan {
    role: &'static str,
    env: &'static str,
    name: &'static str,
    instances: u32,
    processes: &'static [(&'static str, Style, u64)],
}

/// Process names, styles, and the mean time between two entries in ms.
const PLANS: [Plan; 3] = [
    Plan {
        role: "www",
        env: "prod",
        name: "web",
        instances: 6,
        processes: &[
            ("server", Style::Access, 450),
            ("cache warmer", Style::Glog, 4_000),
        ],
    },
    Plan {
        role: "batch",
        env: "prod",
        name: "worker",
        instances: 4,
        processes: &[("worker", Style::Worker, 500)],
    },
    Plan {
        role: "infra",
        env: "staging1",
        name: "flaky",
        instances: 3,
        processes: &[("flaky", Style::Flaky, 700)],
    },
];

fn job_keys() -> anyhow::Result<Vec<JobKey>> {
    PLANS
        .iter()
        .map(|plan| Ok(JobKey::new(CLUSTER, plan.role, plan.env, plan.name)?))
        .collect()
}

/// What an instance does besides writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Steady,
    CrashLoop,
    Move,
}

impl Plan {
    fn habit(&self, instance: u32) -> Habit {
        match (self.name, instance) {
            ("flaky", 1) => Habit::CrashLoop,
            ("flaky", 2) => Habit::Move,
            _ => Habit::Steady,
        }
    }

    fn rotate_at(&self, instance: u32) -> u64 {
        if (self.name, instance) == ("web", 0) {
            ROTATE_SOON_BYTES
        } else {
            ROTATE_LATE_BYTES
        }
    }
}

/// Everything that lives in the cluster, as of one moment.
struct World {
    root: PathBuf,
    hosts: Vec<String>,
    framework: String,
    agents: Vec<String>,
    model: Model,
    rng: Rng,
    tasks: Vec<Running>,
    services: Vec<Service>,
    /// Oldest first.
    ended: Vec<Ended>,
}

/// A task that runs.
struct Running {
    plan: &'static Plan,
    instance: u32,
    host: usize,
    task_id: String,
    executor: PathBuf,
    logs: PathBuf,
    processes: Vec<Process>,
    /// When a moving instance goes.
    leaves: Option<Timestamp>,
}

struct Ended {
    task_id: String,
    executor: PathBuf,
}

struct Process {
    name: &'static str,
    mean_gap_ms: u64,
    run: u32,
    writer: Writer,
    state: ProcessState,
}

enum ProcessState {
    /// Writes its next entry at that time, and crashes, if it does, at that other.
    Runs {
        stdout: Log,
        stderr: Log,
        next: Timestamp,
        crashes: Option<Timestamp>,
    },
    /// Crashed; the next run starts then.
    Waits(Timestamp),
}

impl ProcessState {
    fn due(&self) -> Timestamp {
        match self {
            Self::Runs { next, crashes, .. } => crashes.map_or(*next, |crash| crash.min(*next)),
            Self::Waits(until) => *until,
        }
    }
}

/// A host's own service, which writes a plain file.
struct Service {
    writer: Writer,
    log: Log,
    next: Timestamp,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Next {
    Process { task: usize, process: usize },
    Leave { task: usize },
    Service(usize),
}

impl World {
    fn new(root: &Path, hosts: Vec<String>, model: Model, options: Options) -> io::Result<Self> {
        let mut rng = Rng::new(options.seed);
        let cluster = rng.uuid();
        let born = (options.clock)() - HISTORY;
        let mut world = Self {
            root: root.to_owned(),
            framework: format!("{cluster}-0000"),
            agents: (0..hosts.len())
                .map(|n| format!("{cluster}-S{n}"))
                .collect(),
            hosts,
            model,
            rng,
            tasks: Vec::new(),
            services: Vec::new(),
            ended: Vec::new(),
        };
        for (n, plan) in PLANS.iter().enumerate() {
            for instance in 0..plan.instances {
                let host = (instance as usize + n) % world.hosts.len();
                world.launch(plan, instance, host, born, None)?;
            }
        }
        for host in &world.hosts {
            let path = root.join("hosts").join(host).join("log/gateway.log");
            world.services.push(Service {
                writer: Writer::new(Style::Syslog, world.rng.next_u64()),
                log: Log::open(path, ROTATE_LATE_BYTES)?,
                next: born,
            });
        }
        Ok(world)
    }

    /// Does everything that is due until `now`, in its order and at its own time.
    fn advance(&mut self, now: Timestamp) -> io::Result<()> {
        while let Some((at, next)) = self.next_due()
            && at <= now
        {
            match next {
                Next::Process { task, process } => self.step(task, process, at)?,
                Next::Leave { task } => self.relocate(task, at)?,
                Next::Service(n) => {
                    let gap = self.gap(2_000);
                    let service = &mut self.services[n];
                    let mut out = Output::default();
                    service.writer.entry(at, &mut out);
                    service.log.write(&out.stdout)?;
                    service.next = at + gap;
                }
            }
        }
        Ok(())
    }

    fn next_due(&self) -> Option<(Timestamp, Next)> {
        let tasks = self.tasks.iter().enumerate().flat_map(|(task, running)| {
            let processes = running.processes.iter().enumerate();
            let processes =
                processes.map(move |(process, p)| (p.state.due(), Next::Process { task, process }));
            processes.chain(running.leaves.map(|at| (at, Next::Leave { task })))
        });
        let services = self
            .services
            .iter()
            .enumerate()
            .map(|(n, service)| (service.next, Next::Service(n)));
        tasks.chain(services).min_by_key(|(at, _)| *at)
    }

    /// A time around the mean, sometimes far less: entries come in small bursts.
    fn gap(&mut self, mean_ms: u64) -> SignedDuration {
        let ms = if self.rng.one_in(4) {
            self.rng.range(1, 20)
        } else {
            self.rng.range(mean_ms / 3, mean_ms * 2)
        };
        SignedDuration::from_millis(ms as i64)
    }

    /// Whether, and how long from its start, a run lasts until it crashes.
    fn crash_after(&mut self, habit: Habit) -> Option<SignedDuration> {
        (habit == Habit::CrashLoop)
            .then(|| SignedDuration::from_millis(self.rng.range(2_000, 5_000) as i64))
    }

    fn launch(
        &mut self,
        plan: &'static Plan,
        instance: u32,
        host: usize,
        at: Timestamp,
        ancestor: Option<&str>,
    ) -> io::Result<()> {
        let task_id = format!(
            "{}-{}-{}-{instance}-{}",
            plan.role,
            plan.env,
            plan.name,
            self.rng.uuid()
        );
        let executor = slave_root(&self.root)
            .join("slaves")
            .join(&self.agents[host])
            .join("frameworks")
            .join(&self.framework)
            .join("executors")
            .join(format!("thermos-{task_id}"));
        let container = executor.join("runs").join(self.rng.uuid());
        let sandbox = container.join("sandbox");
        fs::create_dir_all(&container)?;
        fs::DirBuilder::new().mode(0o700).create(&sandbox)?;
        symlink(&container, executor.join("runs/latest"))?;
        fs::write(container.join("stdout"), "")?;
        fs::write(container.join("stderr"), "")?;

        let ms = at.as_millisecond();
        let mut task = Task::running(
            (plan.role, plan.env, plan.name),
            instance,
            &task_id,
            &self.hosts[host],
            ms,
        );
        task.slave_id.clone_from(&self.agents[host]);
        task.ancestor_id = ancestor.map(ToOwned::to_owned);
        self.model.add(task);

        let habit = plan.habit(instance);
        let mut running = Running {
            plan,
            instance,
            host,
            task_id,
            logs: sandbox.join(".logs"),
            executor,
            processes: Vec::new(),
            leaves: (habit == Habit::Move).then(|| at + STAY),
        };
        for &(name, style, mean_gap_ms) in plan.processes {
            running.processes.push(Process {
                name,
                mean_gap_ms,
                run: 0,
                writer: Writer::new(style, self.rng.next_u64()),
                state: ProcessState::Waits(at),
            });
        }
        self.tasks.push(running);
        Ok(())
    }

    /// One process's turn: it starts, writes, or crashes.
    fn step(&mut self, task: usize, process: usize, at: Timestamp) -> io::Result<()> {
        let habit = self.tasks[task].plan.habit(self.tasks[task].instance);
        let gap = self.gap(self.tasks[task].processes[process].mean_gap_ms);
        let crash_after = self.crash_after(habit);
        let running = &mut self.tasks[task];
        let rotate_at = running.plan.rotate_at(running.instance);
        let process = &mut running.processes[process];
        let mut out = Output::default();
        match &mut process.state {
            ProcessState::Waits(_) if process.run >= RUNS_MAX => return self.give_up(task, at),
            ProcessState::Waits(_) => {
                let folder = running
                    .logs
                    .join(process.name)
                    .join(process.run.to_string());
                fs::create_dir_all(&folder)?;
                let mut stdout = Log::open(folder.join(Stream::Stdout.name()), rotate_at)?;
                let mut stderr = Log::open(folder.join(Stream::Stderr.name()), rotate_at)?;
                process.writer.start(at, &mut out);
                stdout.write(&out.stdout)?;
                stderr.write(&out.stderr)?;
                process.state = ProcessState::Runs {
                    stdout,
                    stderr,
                    next: at + gap,
                    crashes: crash_after.map(|after| at + after),
                };
            }
            ProcessState::Runs {
                stdout,
                stderr,
                next,
                crashes,
            } => {
                let crashes = crashes.is_some_and(|crash| crash <= at);
                if crashes {
                    process.writer.crash(at, &mut out);
                } else {
                    process.writer.entry(at, &mut out);
                }
                stdout.write(&out.stdout)?;
                stderr.write(&out.stderr)?;
                *next = at + gap;
                if crashes {
                    process.run += 1;
                    process.state = ProcessState::Waits(at + CRASH_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// The scheduler takes a task away and starts another one for the same instance on the next host.
    fn relocate(&mut self, task: usize, at: Timestamp) -> io::Result<()> {
        let finished = self.rng.one_in(2);
        let (status, why) = if finished {
            (Status::Finished, "Task finished.")
        } else {
            (Status::Killed, "Instructed to kill task.")
        };
        let host = (self.tasks[task].host + 1) % self.hosts.len();
        self.replace(task, host, (status, why), at)
    }

    /// Thermos gives up on a process that has failed too often, and the scheduler starts the instance anew.
    fn give_up(&mut self, task: usize, at: Timestamp) -> io::Result<()> {
        let host = self.tasks[task].host;
        self.replace(
            task,
            host,
            (Status::Failed, "Process failed too often."),
            at,
        )
    }

    fn replace(
        &mut self,
        task: usize,
        host: usize,
        end: (Status, &str),
        at: Timestamp,
    ) -> io::Result<()> {
        let Running {
            plan,
            instance,
            task_id,
            executor,
            ..
        } = self.tasks.remove(task);
        let ms = at.as_millisecond();
        if end.0 == Status::Killed {
            self.model.set_status(&task_id, Status::Killing, ms, None);
        }
        self.model.set_status(&task_id, end.0, ms, Some(end.1));
        self.launch(plan, instance, host, at, Some(&task_id))?;
        self.ended.push(Ended { task_id, executor });
        if self.ended.len() > ENDED_TASKS_MAX {
            let oldest = self.ended.remove(0);
            self.model.forget(&oldest.task_id);
            fs::remove_dir_all(oldest.executor)?;
        }
        Ok(())
    }
}

/// One log file that is renamed when it is large, as Thermos' logger does in its rotate mode.
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotate_at: u64,
}

impl Log {
    fn open(path: PathBuf, rotate_at: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            bytes,
            rotate_at,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        if self.bytes >= self.rotate_at {
            self.rotate()
        } else {
            Ok(())
        }
    }

    /// `stdout` becomes `stdout.1`, that `stdout.2`, and so on; the oldest is overwritten.
    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..BACKUPS).rev() {
            match fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))?;
        *self = Self::open(self.path.clone(), self.rotate_at)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::new(1_700_000_000 + n, 0).unwrap()
    }

    fn clock() -> Timestamp {
        second(0)
    }

    async fn world(root: &Path) -> (World, Scheduler) {
        let scheduler = Scheduler::start(CLUSTER).await.unwrap();
        let hosts: Vec<String> = (1..=4).map(|n| format!("node{n}")).collect();
        for host in &hosts {
            fs::create_dir_all(root.join("hosts").join(host).join("log")).unwrap();
        }
        let options = Options { seed: 1, clock };
        let world = World::new(root, hosts, scheduler.model().clone(), options).unwrap();
        (world, scheduler)
    }

    /// All files below, as paths relative to it.
    fn files(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    found.push(
                        entry
                            .path()
                            .strip_prefix(folder)
                            .unwrap()
                            .display()
                            .to_string(),
                    );
                }
            }
        }
        found
    }

    #[tokio::test]
    async fn the_history_holds_runs_rotations_and_moves() {
        let folder = tempfile::tempdir().unwrap();
        let (mut world, scheduler) = world(folder.path()).await;
        world.advance(second(0)).unwrap();
        let found = files(&slave_root(folder.path()));
        let count = |part: &str| found.iter().filter(|path| path.contains(part)).count();
        assert_eq!(count("/.logs/cache warmer/0/stderr"), 6);
        assert_eq!(count("/.logs/server/0/stdout.1"), 1, "{found:?}");
        assert!(
            count("infra-staging1-flaky-1-") > 2 * 15,
            "the crash loop has few runs"
        );
        let tasks = scheduler.model().tasks();
        let moved: Vec<_> = tasks
            .iter()
            .filter(|task| task.name == "flaky" && task.instance == 2)
            .collect();
        assert_eq!(moved.len(), 11, "one every 15 s in 150 s, and the first");
        for pair in moved.windows(2) {
            assert!(pair[0].status.is_terminal());
            assert_eq!(pair[1].ancestor_id.as_ref(), Some(&pair[0].task_id));
            assert_ne!(pair[0].slave_host, pair[1].slave_host);
        }
        let running = tasks
            .iter()
            .filter(|task| task.status == Status::Running)
            .count();
        assert_eq!(running, 6 + 4 + 3);
    }

    #[tokio::test]
    async fn a_long_life_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (mut world, scheduler) = world(folder.path()).await;
        world.advance(second(450)).unwrap();
        let tasks = scheduler.model().tasks();
        let ended = tasks
            .iter()
            .filter(|task| task.status.is_terminal())
            .count();
        assert_eq!(ended, ENDED_TASKS_MAX);
        let crashing = |task: &&Task| task.name == "flaky" && task.instance == 1;
        let given_up = tasks
            .iter()
            .filter(crashing)
            .any(|task| task.ancestor_id.is_some());
        assert!(
            given_up,
            "the crash loop is not given up after {RUNS_MAX} runs"
        );
        let executors = files(&slave_root(folder.path()));
        assert!(
            executors
                .iter()
                .all(|path| tasks.iter().any(|task| path.contains(&task.task_id)))
        );
        let server = executors
            .iter()
            .filter(|path| path.contains("web-0-") && path.contains("/server/0/stdout"));
        assert_eq!(server.count(), 1 + BACKUPS as usize);
    }

    #[tokio::test]
    async fn lines_are_in_the_order_of_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let (mut world, _scheduler) = world(folder.path()).await;
        world.advance(second(0)).unwrap();
        for path in files(&slave_root(folder.path())) {
            if path.contains("/worker/0/stdout") {
                let text = fs::read_to_string(slave_root(folder.path()).join(path)).unwrap();
                let times: Vec<&str> = text.lines().map(|line| &line[..40]).collect();
                assert!(times.len() > 100 && times.is_sorted());
            }
        }
    }
}
