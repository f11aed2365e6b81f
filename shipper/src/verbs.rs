//! The verbs that need the agent, the state or the archive: what they are given is made real here, at the edge.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use archive::{Hour, Store};
use joblog::RecordParser;
use rustix::fs::OFlags;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentError, Parts, STAGING};
use crate::args::Listing;
use crate::audit::print::{Show, json_lines, table};
use crate::audit::{Scope, Verdict, audit as audit_archive};
use crate::claim::{self, ClaimError};
use crate::clock::{Clock as _, SystemClock};
use crate::command::{AuditOptions, Configured, RecoverMode};
use crate::config::Config;
use crate::exit::{Exit, Failed};
use crate::file_id::nanoseconds;
use crate::log::{Log, Phase};
use crate::ls::{FileState, LsRow};
use crate::metrics::Metrics;
use crate::monitor::Monitor;
use crate::recover::{self, DryRun, RecoverError};
use crate::row_time::Bounds;
use crate::rows::{AgeRule, Head};
use crate::rules::Rules;
use crate::run::Console;
use crate::service::{self, Ended, Order, Outside, ServiceError};
use crate::spool::{self, Identity, PinKind, Spool};
use crate::state::{FILE_NAME, State};

/// How many orders may wait for the loop, in orders.
const MAX_ORDERS: usize = 16;

/// How many messages may wait to be told, in messages; what is beyond them is not told.
const MAX_WAITING_MESSAGES: usize = 1000;

/// How much of a line is read for the time that it says, in bytes.
const MAX_FIRST_LINE_BYTES: usize = 8 * 1024;

/// Ships until told to stop.
pub fn run(configured: &Configured, console: &mut Console<'_>) -> Result<Exit, Failed> {
    let runtime = runtime()?;
    let store = open_store(&configured.config)?;
    let agent = start(&configured.config, AgeRule::NearBirth, console)?;
    let metrics = Metrics::new(agent.identity().agent);
    let names = configured
        .config
        .redact
        .iter()
        .map(|rule| rule.name.as_str());
    metrics.set_redact_rules(names);
    let (told, mut tell) = mpsc::channel(MAX_WAITING_MESSAGES);
    let outside = outside(store, metrics.clone(), told);
    runtime.block_on(async {
        let stop_monitor = CancellationToken::new();
        let monitor = match configured.config.metrics {
            Some(address) => {
                let monitor = Monitor::bind(address)
                    .await
                    .map_err(|error| Failed::new(Exit::Usage, error))?;
                console.say(&format!("metrics on http://{}/metrics", monitor.address()));
                let stop = stop_monitor.clone();
                Some(tokio::spawn(monitor.serve(metrics, wall_ns, stop)))
            }
            None => None,
        };
        let (orders, waiting) = mpsc::channel(MAX_ORDERS);
        let mut signals = Signals::new()?;
        let mut work = tokio::spawn(service::run(agent, outside, waiting));
        let mut stopping = None;
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                Some(text) = tell.recv() => console.say(&text),
                caught = signals.next() => match (caught, stopping) {
                    (Caught::Reload, _) => match configured.again() {
                        Ok(again) => {
                            let _ = orders.send(Order::Reload(again.config)).await;
                        }
                        Err(error) => {
                            let error = Failed::new(Exit::Usage, error);
                            console.say(&format!("the new configuration cannot be used, the old one stays: {error}"));
                        }
                    },
                    (Caught::Stop(exit), None) => {
                        console.say("stopping: what is there is shipped first; once more ends at once");
                        stopping = Some(exit);
                        // A loop that has ended takes no orders.
                        let _ = orders.send(Order::Stop).await;
                    }
                    // Nothing is lost: the next start goes on from what is on the disk.
                    (Caught::Stop(exit), Some(_)) => return Ok(exit),
                },
            }
        };
        while let Ok(text) = tell.try_recv() {
            console.say(&text);
        }
        stop_monitor.cancel();
        if let Some(monitor) = monitor {
            let _ = monitor.await;
        }
        finish(ended.map_err(ServiceError::Panicked).flatten(), console)?;
        Ok(stopping.unwrap_or(Exit::Success))
    })
}

/// Ships what is there.
pub fn once(
    configured: &Configured,
    age: AgeRule,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let runtime = runtime()?;
    let store = open_store(&configured.config)?;
    let agent = start(&configured.config, age, console)?;
    let metrics = Metrics::new(agent.identity().agent);
    let (told, mut tell) = mpsc::channel(MAX_WAITING_MESSAGES);
    let outside = outside(store, metrics, told);
    let bar = console.progress();
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let stop = CancellationToken::new();
        let show = bar.clone();
        let work = service::once(agent, outside, stop.clone(), move |progress| {
            show.set(progress.total_bytes, progress.done_bytes, progress.objects);
        });
        let mut work = tokio::spawn(work);
        let mut stopping = None;
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                Some(text) = tell.recv() => console.say(&text),
                caught = signals.next() => if let Caught::Stop(exit) = caught {
                    if stopping.is_some() {
                        return Ok(exit);
                    }
                    stopping = Some(exit);
                    stop.cancel();
                },
            }
        };
        bar.clear();
        while let Ok(text) = tell.try_recv() {
            console.say(&text);
        }
        let ended = finish(ended.map_err(ServiceError::Panicked).flatten(), console)?;
        Ok(match (stopping, ended) {
            (Some(exit), _) => exit,
            (None, Ended::Shipped) => Exit::Success,
            (None, Ended::Waiting { .. }) => Exit::Partial,
        })
    })
}

/// The files that are known, in the order in which they are printed.
pub fn ls(configured: &Configured) -> Result<Vec<LsRow>, Failed> {
    let config = &configured.config;
    let state =
        State::view(&config.state.folder).map_err(|error| Failed::new(Exit::Usage, error))?;
    let Some(state) = state else {
        return Ok(Vec::new());
    };
    let logs = state
        .logs()
        .map_err(|error| Failed::new(Exit::Usage, error))?;
    let rules = Rules::new(config.clone());
    Ok(logs.iter().map(|log| ls_row(&rules, log)).collect())
}

fn ls_row(rules: &Rules, log: &Log) -> LsRow {
    let pin = spool::held_at(&rules.config().spool.folders, &log.source);
    let description = &log.description;
    let path = pin.as_ref().unwrap_or(&description.path);
    let found = fs::symlink_metadata(path)
        .ok()
        .filter(|found| pin.is_some() || found.ino() == description.id.ino);
    let size = found.as_ref().map(MetadataExt::size);
    let holes: u64 = log.holes.iter().map(|hole| hole.end - hole.start).sum();
    let origin = &description.origin;
    let job = match (&origin.role, &origin.env, &origin.job) {
        (Some(role), Some(env), Some(job)) => {
            Some(format!("{}/{role}/{env}/{job}", description.cluster))
        }
        _ => None,
    };
    LsRow {
        src: log.key.src.clone(),
        epoch: log.key.epoch,
        path: description.path.clone(),
        job,
        instance: origin.instance,
        process: origin.process.clone(),
        stream: origin.stream.clone(),
        size,
        offset: log.offset,
        behind: match log.phase {
            Phase::Ended | Phase::Lost(..) => Some(0),
            Phase::Open | Phase::Draining => {
                size.map(|size| holes + size.saturating_sub(log.offset))
            }
        },
        behind_since_ns: found
            .filter(|found| found.is_file() && found.size() > log.offset)
            .map(|found| waits_since_ns(rules, log, path, &found)),
        pin: pin.as_ref().map(|_| PinKind::Linked),
        state: match log.phase {
            Phase::Open | Phase::Draining => FileState::Open,
            Phase::Ended => FileState::Ended,
            Phase::Lost(..) => FileState::Lost,
        },
    }
}

/// When the first line that is not planned was written: what it says itself, as its row will, else the last change of its file.
fn waits_since_ns(rules: &Rules, log: &Log, path: &Path, found: &fs::Metadata) -> i64 {
    let changed_ns = nanoseconds(found.mtime(), found.mtime_nsec() as u32);
    let own_ns = || {
        let mut line = vec![0; MAX_FIRST_LINE_BYTES];
        // Another file may have come there meanwhile; and a pipe must not be waited for.
        let file = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.union(OFlags::NOFOLLOW).bits() as i32)
            .open(path)
            .ok()?;
        let read = file.read_at(&mut line, log.offset).ok()?;
        let line = line[..read].split(|&byte| byte == b'\n').next()?;
        let zone = rules.timezone(&log.description.rule);
        RecordParser::new(zone, changed_ns).parse(line).ts_ns
    };
    let bounds = Bounds::new(changed_ns, changed_ns, log.description.id.birth_ns);
    match (own_ns(), log.rows.head) {
        // A line without a time belongs to one with a time above it, if there is any.
        (None, Head::None) => changed_ns,
        (own_ns, _) => {
            let mut time = log.rows.time;
            time.next(own_ns, &bounds).ts_ns
        }
    }
}

/// Looks whether the archive is whole, and prints what is not.
pub fn audit(
    configured: &Configured,
    options: &AuditOptions,
    listing: Listing,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let store = open_store(&configured.config)?;
    let scope = Scope {
        cluster: Some(options.cluster.clone()),
        hours: (options.first_hour.is_some() || options.last_hour.is_some()).then(|| {
            let first = options.first_hour.map_or(Hour::MIN, Hour::from_number);
            let last = options.last_hour.map_or(Hour::MAX, Hour::from_number);
            first..=last
        }),
        agent: None,
    };
    let bar = console.progress();
    let audited = runtime()?.block_on(audit_archive(&*store, &scope, &mut |read| {
        bar.set_read(&read);
    }));
    bar.clear();
    let audit = audited.map_err(|error| Failed::new(Exit::Unreachable, error))?;
    let printed = match listing {
        Listing::Table => table(&audit, Show::Trouble, console.out),
        Listing::Json => json_lines(&audit, Show::All, console.out),
    };
    printed.map_err(|error| Failed::new(Exit::Partial, error))?;
    Ok(match audit.verdict() {
        Verdict::Whole => Exit::Success,
        Verdict::Trouble => Exit::Partial,
    })
}

/// Makes the state anew from the archive.
pub fn recover(
    configured: &Configured,
    mode: RecoverMode,
    console: &mut Console<'_>,
) -> Result<Exit, Failed> {
    let config = &configured.config;
    let store = open_store(config)?;
    let (spool, _) = open_spool(config)?;
    let dry = match mode {
        RecoverMode::Write => DryRun::No,
        RecoverMode::DryRun => DryRun::Yes,
    };
    let folder = &config.state.folder;
    let now_ns = console.wall_ns();
    let bar = console.progress();
    let recovered = runtime()?.block_on(recover::recover(
        &*store,
        &spool,
        folder,
        config,
        now_ns,
        dry,
        &mut |read| bar.set_read(&read),
    ));
    bar.clear();
    let recovered = recovered.map_err(|error| {
        let exit = match &error {
            RecoverError::List(_) | RecoverError::Store(_) | RecoverError::Checkpoint(_) => {
                Exit::Unreachable
            }
            RecoverError::Damaged { .. } | RecoverError::TooMany { .. } => Exit::Partial,
            RecoverError::Spool(_) | RecoverError::State(_) | RecoverError::Folder { .. } => {
                Exit::Usage
            }
        };
        Failed::new(exit, error)
    })?;
    recover::summary(&recovered, dry, console.out)
        .map_err(|error| Failed::new(Exit::Partial, error))?;
    Ok(Exit::Success)
}

/// Opens spool and state, and makes the agent of them.
fn start(config: &Arc<Config>, age: AgeRule, console: &mut Console<'_>) -> Result<Agent, Failed> {
    let (spool, identity) = open_spool(config)?;
    if let Identity::Cloned { old } = identity {
        set_state_aside(&config.state.folder, &old.to_string())?;
        console.say(&format!(
            "this machine is a copy of the one of agent {old}: it ships as agent {} from now on",
            spool.agent()
        ));
    }
    let unusable = |error| Failed::new(Exit::Usage, error);
    let mut state = State::open(&config.state.folder).map_err(unusable)?;
    if let Some(known) = state.identity().map_err(unusable)?
        && known.agent != spool.agent()
    {
        return Err(Failed::new(
            Exit::MustRecover,
            format!(
                "the state in {} is of agent {}, the spool of agent {}",
                config.state.folder.display(),
                known.agent,
                spool.agent()
            ),
        )
        .with_hint(
            "put the spool's folder back, or move the state's folder away to begin as a new agent: \
             files that are still there are then shipped once more, under other names",
        ));
    }
    let identity = claim::intend(&mut state, spool.agent(), &mut random).map_err(unusable)?;
    Agent::start(Parts {
        config: config.clone(),
        age,
        spool,
        state,
        identity,
        clock: Arc::new(SystemClock),
        random: Box::new(random),
        hook: Arc::new(|_| std::ops::ControlFlow::Continue(())),
    })
    .map_err(|error| Failed::new(Exit::Usage, error))
}

fn open_spool(config: &Config) -> Result<(Spool, Identity), Failed> {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Spool::open(&config.spool.folders, machine.trim(), &mut random)
        .map_err(|error| Failed::new(Exit::Usage, error))
}

/// A copy's state is the other machine's: that one goes on with it.
fn set_state_aside(folder: &Path, old: &str) -> Result<(), Failed> {
    for name in [FILE_NAME, "state.db-wal", "state.db-shm", STAGING] {
        let from = folder.join(name);
        match fs::rename(&from, folder.join(format!("{name}.{old}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("{} cannot be set aside: {error}", from.display());
                return Err(Failed::new(Exit::Usage, text));
            }
            _ => {}
        }
    }
    Ok(())
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>, Failed> {
    archive::store::open(&config.archive, &config.s3)
        .map_err(|error| Failed::new(Exit::Usage, error))
}

fn runtime() -> Result<Runtime, Failed> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failed::new(Exit::Usage, error))
}

fn outside(store: Arc<dyn Store>, metrics: Metrics, told: mpsc::Sender<String>) -> Outside {
    Outside {
        store,
        clock: Arc::new(SystemClock),
        random: Box::new(random),
        metrics,
        tell: Box::new(move |text| {
            // Nobody reads fast enough: the metrics have it all the same.
            let _ = told.try_send(text.to_owned());
        }),
    }
}

/// How a service's end is told.
fn finish(ended: Result<Ended, ServiceError>, console: &mut Console<'_>) -> Result<Ended, Failed> {
    match ended {
        Ok(Ended::Waiting { objects }) => {
            console.say(&format!(
                "{objects} objects are staged and wait for the next start"
            ));
            Ok(Ended::Waiting { objects })
        }
        Ok(ended) => Ok(ended),
        Err(error) => {
            let exit = match &error {
                ServiceError::Conflict { .. } | ServiceError::Claim(ClaimError::Taken { .. }) => {
                    Exit::MustRecover
                }
                ServiceError::Agent(AgentError::Makers(_)) => Exit::Usage,
                _ => Exit::Partial,
            };
            Err(Failed::new(exit, error))
        }
    }
}

fn wall_ns() -> i64 {
    SystemClock.wall_ns()
}

/// A random number of the system's.
fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random numbers");
    u64::from_ne_bytes(bytes)
}

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caught {
    Stop(Exit),
    Reload,
}

/// The signals that are caught.
struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failed> {
        let catch = |kind| signal(kind).map_err(|error| Failed::new(Exit::Usage, error));
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.term.recv() => Caught::Stop(Exit::Terminated),
            _ = self.interrupt.recv() => Caught::Stop(Exit::Interrupted),
            _ = self.hangup.recv() => Caught::Reload,
        }
    }
}
