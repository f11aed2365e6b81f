//! The program's course: from options to an exit code.
//!
//! Discovery says which instances there are; each gets a follower; all their lines go through one bounded channel to the view,
//! and from there to the output. `Course` owns the followers and decides when it is over; the rest is others' work.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::assemble::LineSettings;
use crate::aurora::Retry;
use crate::batch::Event;
use crate::causes::chain;
use crate::clock::Clock;
use crate::color::{ColorEnv, Colors, StreamKind};
use crate::config::{Config, SshConfigFile};
use crate::discovery::{self, DiscoveryEvent, Watch};
use crate::exit::Exit;
use crate::filter::{Filter, FilterError};
use crate::follow::{Followed, Follower, Say};
use crate::highlight::Highlight;
use crate::http::Limits;
use crate::instance::{Instance, InstanceId, Login, Place};
use crate::local::LocalFiles;
use crate::login::{LoginOptions, Logins};
use crate::merge::{Anchor, Order};
use crate::options::{Environment, Follow, Options, parse_zone};
use crate::output;
use crate::pool::{Patience, Pool, PoolOptions, SESSIONS_PER_CONNECTION};
use crate::reader::Sink;
use crate::remote::{HEARTBEAT, RemoteFiles, ShellSettings};
use crate::render::RenderOptions;
use crate::resolve::{self, Context, Resolution};
use crate::selection::FileSelection;
use crate::signals::Signals;
use crate::status::State;
use crate::talk::Talker;
use crate::transport::{Transport, Until};
use crate::view::{self, ViewEnd, ViewOptions};

/// Events (a batch of lines is one, of 32 KiB mostly) between followers and the view.
const EVENTS_QUEUED: usize = 128;

/// Discovery's news that may wait.
const NEWS_QUEUED: usize = 256;

/// Attempts to reach a host when following ends by itself (`--no-follow`).
const ATTEMPTS: u32 = 3;

/// How long what is left may take to be shown after a signal.
const DRAIN: Duration = Duration::from_millis(500);

/// The streams that the program writes to.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Whether standard output is a terminal.
    pub stdout: StreamKind,
    /// Whether standard error is a terminal.
    pub stderr: StreamKind,
}

/// What cannot even be begun, or not be shown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A regular expression is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// There is no output.
    #[error(transparent)]
    Output(#[from] output::OutputError),
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
}

/// Follows the targets to the end.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    options: Options,
    config: Config,
    environment: Environment,
    streams: Streams,
    clock: Clock,
) -> Result<Exit, RunError> {
    let filter = Arc::new(Filter::new(&options.include, &options.exclude)?);
    let highlight = Highlight::new(&options.highlight)?;
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let (out, writing) = output::start(
        io::stdout(),
        io::stderr(),
        output::OutputOptions {
            stdout: streams.stdout,
            stderr: streams.stderr,
            columns: output::terminal_columns,
            status_every: output::STATUS_EVERY,
        },
    )?;
    let talker = Talker::start(out.clone(), options.talk);
    let Resolution {
        sources,
        failures,
        notes,
    } = tokio::select! {
        resolution = resolve_targets(&options, &config, &environment, clock) => resolution,
        exit = signals.next() => return Ok(exit),
    };
    for note in &notes {
        talker.say(note);
    }
    for failure in &failures {
        talker.say(&chain(failure));
    }

    let started = clock.started();
    let (events, shown) = mpsc::channel(EVENTS_QUEUED);
    let stop_view = CancellationToken::new();
    let colors = Colors::decide(
        options.color,
        &ColorEnv::read(|name| std::env::var(name).ok()),
        streams.stdout,
    );
    let view_options = ViewOptions {
        order: options.order.unwrap_or(Order::Time),
        render: RenderOptions {
            format: options.format,
            colors,
            stream: streams.stdout,
            highlight,
        },
        anchor: Anchor {
            instant: started.at,
            wall_ns: started.wall_ns,
        },
        now: Instant::now,
        follow: options.follow,
    };
    let view = tokio::spawn(view::run(shown, view_options, out, stop_view.clone()));
    let stop = CancellationToken::new();
    let (news, heard) = mpsc::channel(NEWS_QUEUED);
    let watch = match options.follow {
        Follow::Follow => Watch::Every(discovery::DEFAULT_INTERVAL),
        Follow::Stop => Watch::Once,
    };
    let unanswered = sources.iter().map(discovery::Source::answers).sum();
    let discovering = tokio::spawn(discovery::watch(sources, watch, news, stop.clone()));

    let mut course = Course::new(
        options,
        config,
        environment,
        talker.clone(),
        clock,
        events,
        filter,
    );
    course.bad_targets = failures.len();
    course.unanswered = unanswered;
    let exit = tokio::select! {
        exit = course.run(heard) => exit,
        exit = signals.next() => exit,
        () = view_ended(&view) => Exit::Success,
        () = output::reader_left() => Exit::Success,
    };
    // Followers first, with their channels: then the view sees the end of its events.
    drop(course);
    stop.cancel();
    let interrupted = matches!(exit, Exit::Interrupted | Exit::Terminated);
    if interrupted {
        stop_view.cancel();
    }
    let finish = async {
        let shown = view.await;
        // It only listens to `stop` by now.
        let _ = discovering.await;
        talker.finish().await;
        (shown, writing.wait().await)
    };
    let ended: Option<(Result<ViewEnd, JoinError>, _)> = if interrupted {
        tokio::time::timeout(DRAIN, finish).await.ok()
    } else {
        // Whoever reads may take all the time in the world, unless it is ended by a signal.
        tokio::select! { ended = finish => Some(ended), exit = signals.next() => return Ok(exit) }
    };
    match ended {
        Some((_, Err(error))) => Err(error.into()),
        Some((_, Ok(output::Ended::ClosedPipe))) if !interrupted => Ok(Exit::Success),
        _ => Ok(exit),
    }
}

/// Waits until the view has ended by itself, which it does when the output takes nothing more.
async fn view_ended(view: &tokio::task::JoinHandle<ViewEnd>) {
    while !view.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn resolve_targets(
    options: &Options,
    config: &Config,
    environment: &Environment,
    clock: Clock,
) -> Resolution {
    let context = Context {
        config,
        user: options.user.as_deref(),
        place: options.place,
        current_dir: environment.current_dir.as_deref(),
        limits: Limits::default(),
        retry: Retry::default(),
        seed: clock.started().wall_ns as u64,
    };
    resolve::resolve(&options.targets, &context).await
}

/// The followers, and what became of them.
struct Course {
    config: Config,
    talker: Talker,
    timezone: Option<TimeZone>,
    selection: Arc<FileSelection>,
    history: crate::reader::History,
    until: Until,
    local: LocalFiles,
    pool: Pool,
    shell: ShellSettings,
    /// The files of each login, and how many followers use them.
    remotes: HashMap<Login, (RemoteFiles, usize)>,
    events: mpsc::Sender<Event>,
    sources: Arc<AtomicU32>,
    filter: Arc<Filter>,
    clock: Clock,
    followers: JoinSet<(InstanceId, Followed)>,
    following: HashMap<InstanceId, Followee>,
    /// Logins whose refusal has been said.
    refused: HashSet<Login>,
    tally: Tally,
    bad_targets: usize,
    /// Jobs, inventories and ad-hoc targets whose instances are not known yet.
    unanswered: usize,
}

struct Followee {
    instance: Arc<Instance>,
    ended: CancellationToken,
}

/// How many followers ended how, and what discovery found.
#[derive(Debug, Default)]
struct Tally {
    /// Instances that the sources had at first, chosen or not.
    found: usize,
    /// Sources that could not be asked.
    silent: usize,
    started: usize,
    done: usize,
    failed: usize,
    unreached: usize,
    refused: usize,
}

impl Course {
    fn new(
        options: Options,
        config: Config,
        environment: Environment,
        talker: Talker,
        clock: Clock,
        events: mpsc::Sender<Event>,
        filter: Arc<Filter>,
    ) -> Self {
        let ssh = options.ssh;
        let say: Say = {
            let talker = talker.clone();
            Arc::new(move |line| talker.say(&line))
        };
        let login_options = LoginOptions {
            config: match ssh.config {
                SshConfigFile::Usual => None,
                SshConfigFile::None => Some("none".into()),
                SshConfigFile::File(file) => Some(file),
            },
            known_hosts: ssh.known_hosts,
            identity_files: ssh.identity_files,
        };
        let until = if options.follow == Follow::Follow {
            Until::Forever
        } else {
            Until::End
        };
        let pool = Pool::new(PoolOptions {
            resolve: Logins::new(login_options, clock, say).resolver(),
            report: {
                let talker = talker.clone();
                Arc::new(move |login: &Login, state| {
                    talker.status(|status| status.set(&login.to_string(), state));
                })
            },
            patience: if until == Until::Forever {
                Patience::Endless
            } else {
                Patience::Attempts(ATTEMPTS)
            },
            sessions_per_connection: ssh
                .sessions_per_connection
                .map_or(SESSIONS_PER_CONNECTION, u32::from),
            seed: clock.started().wall_ns as u64,
        });
        Self {
            config,
            talker,
            timezone: options.timezone,
            selection: Arc::new(options.selection),
            history: options.history,
            until,
            local: LocalFiles::new(environment.home),
            pool,
            shell: ShellSettings {
                heartbeat: ssh.heartbeat.unwrap_or(HEARTBEAT),
                ..ShellSettings::default()
            },
            remotes: HashMap::new(),
            events,
            sources: Arc::default(),
            filter,
            clock,
            followers: JoinSet::new(),
            following: HashMap::new(),
            refused: HashSet::new(),
            tally: Tally::default(),
            bad_targets: 0,
            unanswered: 0,
        }
    }

    /// Goes on until nothing can come any more.
    async fn run(&mut self, mut heard: mpsc::Receiver<DiscoveryEvent>) -> Exit {
        let mut listening = true;
        while listening || !self.followers.is_empty() {
            tokio::select! {
                event = heard.recv(), if listening => match event {
                    Some(event) => self.hear(event),
                    None => listening = false,
                },
                Some(ended) = self.followers.join_next() => self.ended(ended),
            }
            // Where every host refuses us, nothing can come.
            if self.unanswered == 0
                && self.followers.is_empty()
                && self.tally.started > 0
                && self.tally.refused == self.tally.started
            {
                break;
            }
        }
        self.exit()
    }

    fn exit(&self) -> Exit {
        let Tally {
            found: _,
            silent,
            started,
            done,
            failed,
            unreached,
            refused,
        } = self.tally;
        if started == 0 {
            if silent > 0 {
                Exit::Unreachable
            } else {
                Exit::NoMatch
            }
        } else if refused + unreached == started {
            Exit::Unreachable
        } else if failed + refused + unreached + silent + self.bad_targets > 0 || done < started {
            Exit::Partial
        } else {
            Exit::Success
        }
    }

    /// Takes discovery's news.
    fn hear(&mut self, event: DiscoveryEvent) {
        match event {
            DiscoveryEvent::Added(instance) => self.follow(instance),
            DiscoveryEvent::Removed { id, label, how } => {
                self.talker.note(&format!("- {}: {how}", label.name()));
                if let Some(followee) = self.following.get(&id) {
                    followee.ended.cancel();
                }
            }
            DiscoveryEvent::Trouble { source, message } => {
                if self.until == Until::End {
                    self.tally.silent += 1;
                }
                self.talker.say(&format!("{source}: {message}"));
            }
            DiscoveryEvent::Recovered { source } => {
                self.talker.note(&format!("{source} answers again"));
            }
            DiscoveryEvent::Note { source, message } => {
                self.talker.note(&format!("{source}: {message}"));
            }
            DiscoveryEvent::Complete { source, instances } => self.complete(&source, instances),
        }
    }

    /// A source has told what it has at first.
    fn complete(&mut self, source: &str, instances: usize) {
        let waiting = if self.until == Until::Forever {
            "; waiting for one"
        } else {
            ""
        };
        self.unanswered = self.unanswered.saturating_sub(1);
        self.tally.found += instances;
        if instances == 0 {
            self.talker
                .say(&format!("{source} has no instance now{waiting}"));
        }
        if self.unanswered == 0 && self.tally.found > 0 && self.tally.started == 0 {
            self.talker.say(&format!(
                "--instance and --host leave out every instance there is{waiting}"
            ));
        }
    }

    fn follow(&mut self, instance: Instance) {
        if !self.selection.takes_instance(&instance.label)
            || self.following.contains_key(&instance.id)
        {
            return;
        }
        let instance = Arc::new(instance);
        if instance.label.task_id.is_some() {
            self.talker.note(&format!("+ {}", instance.label.name()));
        }
        let transport = match &instance.place {
            Place::Local => Transport::Local(self.local.clone()),
            Place::Ssh(login) => Transport::Remote(self.remote(login)),
        };
        let ended = CancellationToken::new();
        let talker = self.talker.clone();
        let follower = Follower {
            instance: instance.clone(),
            transport,
            sink: Sink {
                events: self.events.clone(),
                sources: self.sources.clone(),
                lines: LineSettings {
                    filter: self.filter.clone(),
                    zone: self.zone(&instance),
                },
                clock: self.clock,
            },
            selection: self.selection.clone(),
            history: self.history,
            until: self.until,
            say: Arc::new(move |line| talker.say(&line)),
            ended: ended.clone(),
        };
        self.tally.started += 1;
        let id = instance.id.clone();
        self.following
            .insert(id.clone(), Followee { instance, ended });
        self.followers
            .spawn(async move { (id, follower.run().await) });
    }

    fn remote(&mut self, login: &Login) -> RemoteFiles {
        if !self.remotes.contains_key(login) {
            self.talker
                .status(|status| status.set(&login.to_string(), State::Waiting));
            let files = RemoteFiles::new(self.pool.host(login), self.shell.clone());
            self.remotes.insert(login.clone(), (files, 0));
        }
        match self.remotes.get_mut(login) {
            Some((files, users)) => {
                *users += 1;
                files.clone()
            }
            None => unreachable!("it has just been put there"),
        }
    }

    /// The zone of timestamps that name none.
    fn zone(&self, instance: &Instance) -> TimeZone {
        let of_cluster = || {
            let cluster = self
                .config
                .clusters
                .get(instance.label.key.as_ref()?.cluster())?;
            parse_zone(cluster.timezone.as_deref()?).ok()
        };
        self.timezone
            .clone()
            .or_else(of_cluster)
            .unwrap_or(TimeZone::UTC)
    }

    fn ended(&mut self, ended: Result<(InstanceId, Followed), JoinError>) {
        let (id, how) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.tally.failed += 1;
                self.talker
                    .say(&format!("a follower failed, which is a bug: {error}"));
                return;
            }
        };
        let Some(Followee { instance, .. }) = self.following.remove(&id) else {
            return;
        };
        match how {
            Followed::Done => self.tally.done += 1,
            Followed::Failed => self.tally.failed += 1,
            Followed::Unreached => self.tally.unreached += 1,
            Followed::Refused(why) => {
                self.tally.refused += 1;
                let said = match &instance.place {
                    Place::Ssh(login) => !self.refused.insert(login.clone()),
                    Place::Local => false,
                };
                if !said {
                    self.talker.say(&format!("{}: {why}", instance.label.host));
                }
                // It stays on the status line.
                return;
            }
        }
        if let Place::Ssh(login) = &instance.place
            && let Some((_, users)) = self.remotes.get_mut(login)
        {
            *users -= 1;
            if *users == 0 {
                self.remotes.remove(login);
                self.talker
                    .status(|status| status.remove(&login.to_string()));
            }
        }
    }
}
