//! A cluster in which nothing happens by itself: a scheduler, hosts, and sandboxes that a test fills line by line, so that it
//! knows exactly what is to be shown.
//!
//! Owns the folder, the processes and the configuration of all of it. All hosts share this machine's disk; each task has a
//! path of its own, and each host a folder for plain files. What lives by itself is the [`crate::cluster`].

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use joblog::{JobKey, Stream};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::clock;
use crate::processes::{self, MARKER_VARIABLE};
use crate::scheduler::{self, Scheduler, Status};
use crate::ssh_server::{self, SshServer};

/// The cluster's name, the first part of its job keys.
pub const CLUSTER: &str = "aa";

/// A number for each task of this process, for its id.
static TASKS: AtomicU32 = AtomicU32::new(0);

/// The running cluster. Dropping it ends its servers, every process that [`SmallCluster::command`] has started, and its
/// folder.
#[derive(Debug)]
pub struct SmallCluster {
    // In the order in which they have to go.
    clients: Clients,
    ssh: SshServer,
    scheduler: Scheduler,
    folder: TempDir,
    runtime: Runtime,
}

/// What was started against the cluster.
#[derive(Debug)]
struct Clients {
    marker: String,
}

impl Drop for Clients {
    fn drop(&mut self) {
        processes::end_marked(&self.marker);
    }
}

/// One run of an instance: a task and its sandbox.
#[derive(Debug, Clone)]
pub struct TaskRun {
    /// The task's id.
    pub task_id: String,
    container: PathBuf,
}

impl SmallCluster {
    /// Starts one with hosts `node1`, `node2` and so on, and no task.
    pub fn start(hosts: u8) -> Result<Self> {
        let runtime = Runtime::new().context("no runtime")?;
        let folder = tempfile::Builder::new()
            .prefix("tailll-small-")
            .tempdir()
            .context("no temporary folder")?;
        let key = ssh_server::new_key("test")?;
        let home = folder.path().join("home");
        fs::create_dir(&home)?;
        let nodes = ssh_server::Options::nodes(hosts, &home, key.public_key().clone());
        let ssh = runtime.block_on(SshServer::start(nodes))?;
        let scheduler = runtime.block_on(Scheduler::start(CLUSTER))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.path().join("id_ed25519"))?;
        file.write_all(ssh_server::openssh_private(&key)?.as_bytes())?;
        let marker = format!("small-{}", folder.path().display());
        let cluster = Self {
            clients: Clients { marker },
            ssh,
            scheduler,
            folder,
            runtime,
        };
        fs::write(cluster.path("known_hosts"), cluster.ssh.known_hosts())?;
        fs::write(cluster.path("ssh_config"), cluster.ssh_config())?;
        fs::create_dir_all(cluster.slave_root().join("slaves"))?;
        cluster.configure("")?;
        Ok(cluster)
    }

    /// The hosts.
    pub fn ssh(&self) -> &SshServer {
        &self.ssh
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// A path below the folder of all of it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// The agents' work directory.
    pub fn slave_root(&self) -> PathBuf {
        self.path("mesos")
    }

    /// Writes the configuration, with more lines at its end.
    pub fn configure(&self, more: &str) -> Result<()> {
        let text = format!(
            "default_cluster = \"{CLUSTER}\"\n\
             [clusters.{CLUSTER}]\nscheduler_uri = \"{}\"\nslave_root = \"{}\"\n\
             [ssh]\nconfig = \"{}\"\n{more}",
            self.scheduler.uri(),
            self.slave_root().display(),
            self.path("ssh_config").display(),
        );
        fs::write(self.path("tailll.toml"), text).context("the configuration")
    }

    fn ssh_config(&self) -> String {
        let hosts: Vec<String> = self
            .ssh
            .hosts()
            .iter()
            .map(|host| {
                let address = host.address();
                format!(
                    "Host {}\n    HostName {}\n    Port {}\n",
                    host.name(),
                    address.ip(),
                    address.port()
                )
            })
            .collect();
        format!(
            "{}Host *\n    IdentityFile \"{key}\"\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
             UserKnownHostsFile \"{known}\"\n    GlobalKnownHostsFile none\n    StrictHostKeyChecking yes\n",
            hosts.concat(),
            key = self.path("id_ed25519").display(),
            known = self.path("known_hosts").display(),
        )
    }

    /// A command whose process finds nothing of the user's own configuration, and ends with the cluster at the latest.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TERM", "xterm-256color")
            .env("TAILLL_CONFIG", self.path("tailll.toml"))
            .env("AURORA_CONFIG_ROOT", self.path("aurora"))
            .env(MARKER_VARIABLE, &self.clients.marker)
            .current_dir(self.folder.path());
        command
    }

    /// Starts a task of a job on a host.
    pub fn launch(&self, key: &JobKey, instance: u32, host: &str) -> Result<TaskRun> {
        let number = TASKS.fetch_add(1, Ordering::Relaxed);
        let prefix = [key.role(), key.env(), key.name()].join("-");
        let task_id = format!("{prefix}-{instance}-00000000-0000-4000-8000-{number:012}");
        let executor = self
            .slave_root()
            .join("slaves")
            .join(format!("agent-of-{host}"))
            .join("frameworks/framework/executors")
            .join(format!("thermos-{task_id}"));
        let container = executor.join("runs").join(format!("container-{number}"));
        fs::create_dir_all(container.join("sandbox/.logs"))?;
        symlink(&container, executor.join("runs/latest"))?;
        let job = (key.role(), key.env(), key.name());
        let at_ms = clock::now().as_millisecond();
        let task = scheduler::Task::running(job, instance, &task_id, host, at_ms);
        self.scheduler.model().add(task);
        Ok(TaskRun { task_id, container })
    }

    /// Starts a task, with the record of it that the agent of Mesos keeps: by that `shipper` knows whose logs they are.
    pub fn launch_recorded(&self, key: &JobKey, instance: u32, host: &str) -> Result<TaskRun> {
        let task = self.launch(key, instance, host)?;
        let below = task.container.strip_prefix(self.slave_root())?;
        let meta = self.slave_root().join("meta").join(below);
        let folder = meta.join("tasks").join(&task.task_id);
        fs::create_dir_all(&folder)?;
        let name = format!("{}/{}/{}", key.role(), key.env(), key.name());
        // A message with its length before it; field 1 is the name.
        let mut message = vec![1 << 3 | 2, name.len() as u8];
        message.extend(name.as_bytes());
        let mut record = (message.len() as u32).to_ne_bytes().to_vec();
        record.extend(message);
        fs::write(folder.join("task.info"), record)?;
        Ok(task)
    }

    /// Lets the agent of Mesos remove what a task has left.
    pub fn remove(&self, task: &TaskRun) -> Result<()> {
        let executor = task.container.ancestors().nth(2);
        Ok(fs::remove_dir_all(
            executor.context("an executor's folder")?,
        )?)
    }

    /// Writes the configuration of an agent of `shipper` for all hosts, `shipper.toml`.
    pub fn configure_shipper(&self, archive: &str, more: &str) -> Result<()> {
        let text = format!(
            "archive = \"{archive}\"\ncluster = \"{CLUSTER}\"\nhost = \"node1\"\nflush_seconds = 1\nscan_seconds = 1\n\
             [state]\nfolder = \"{}\"\nreserved_megabytes = 0\n\
             [spool]\nfolders = [\"{}\"]\n\
             [mesos]\nwork_dir = \"{}\"\n{more}",
            self.path("state").display(),
            self.path("spool").display(),
            self.slave_root().display(),
        );
        fs::write(self.path("shipper.toml"), text).context("the agent's configuration")
    }

    /// Lets the scheduler report the end of a task; its sandbox stays.
    pub fn end(&self, task: &TaskRun, status: Status, why: &str) {
        let at_ms = clock::now().as_millisecond();
        self.scheduler
            .model()
            .set_status(&task.task_id, status, at_ms, Some(why));
    }

    /// Runs something beside the servers.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl TaskRun {
    /// The file of a process's stream in its first run.
    pub fn log(&self, process: &str, stream: Stream) -> PathBuf {
        self.container
            .join("sandbox/.logs")
            .join(process)
            .join("0")
            .join(stream.name())
    }

    /// Appends to the file of a process's stream, which is made where it is not there yet.
    pub fn write(&self, process: &str, stream: Stream, text: impl AsRef<[u8]>) -> Result<()> {
        append(&self.log(process, stream), text)
    }
}

/// Appends to a file, which is made, with its folders, where it is not there yet.
pub fn append(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(text.as_ref())
    };
    open().with_context(|| path.display().to_string())
}
