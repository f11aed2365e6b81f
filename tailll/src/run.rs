//! The program's course: from options to an exit code.
//!
//! Discovery says which instances there are; each gets a follower; all their lines go through one bounded channel to the view,
//! and from there to the output. `Course` owns the followers and decides when it is over; the rest is others' work.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::assemble::LineSettings;
use crate::batch::{Event, Records};
use crate::causes::chain;
use crate::clock::Clock;
use crate::color::{ColorEnv, Colors};
use crate::condition::{Condition, ConditionError};
use crate::config::Config;
use crate::console::{Console, ConsoleError, Streams};
use crate::discovery::{self, DiscoveryEvent, Watch};
use crate::earlier::Earlier;
use crate::exit::Exit;
use crate::filter::{Filter, FilterError};
use crate::follow::{Followed, Follower};
use crate::highlight::Highlight;
use crate::instance::{Instance, InstanceId, Place};
use crate::merge::{Anchor, Order};
use crate::moment::{self, End, Moment, Span};
use crate::options::{Ended, Environment, Follow, Input, Options, Wait};
use crate::output;
use crate::past::{self, Agents, Completeness, Question, Told, Wanted};
use crate::pool::Patience;
use crate::reach::{Reach, Way};
use crate::reader::Sink;
use crate::render::RenderOptions;
use crate::replay;
use crate::resolve::{self, Context, Resolution};
use crate::seams::{OfTask, Seams};
use crate::selection::FileSelection;
use crate::source::InstanceLabel;
use crate::talk::Talker;
use crate::transport::Until;
use crate::view::{self, ViewEnd, ViewOptions};

/// Events (a batch of lines is one, of 32 KiB mostly) between followers and the view.
const EVENTS_QUEUED: usize = 128;

/// Discovery's news that may wait.
const NEWS_QUEUED: usize = 256;

/// Attempts to reach a host when following ends by itself (`--no-follow`).
pub const ATTEMPTS: u32 = 3;

/// How long what is left may take to be shown after a signal.
const DRAIN: Duration = Duration::from_millis(500);

/// How long after the time of `--until` lines may still come that were written before it.
const UNTIL_GRACE: Duration = Duration::from_secs(1);

/// How long the archive's last lines wait for the hosts that may have more of the same files.
const ORPHANS_WAIT: Duration = Duration::from_secs(5);

/// How often the clock is looked at while the time of `--until` is far.
const UNTIL_LOOK: Duration = Duration::from_mins(1);

/// What cannot even be begun, or not be shown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A regular expression is wrong.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// There is nobody to show it to.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// A condition is wrong.
    #[error(transparent)]
    Condition(#[from] ConditionError),
    /// The way to the archive is wrong.
    #[error("the archive's [s3]")]
    Archive(#[from] archive::store::SettingsError),
    /// Nothing can have been written since then.
    #[error("--since: {since} lies in the future")]
    Future {
        /// The time.
        since: String,
    },
    /// There is no time between the two.
    #[error("--since ({since}) is later than --until ({until})")]
    Reversed {
        /// The time of `--since`.
        since: String,
        /// The time of `--until`.
        until: String,
    },
}

/// Follows the targets to the end.
///
/// # Errors
/// See [`RunError`].
pub async fn run(
    mut options: Options,
    config: Config,
    environment: Environment,
    streams: Streams,
    clock: Clock,
) -> Result<Exit, RunError> {
    let filter = Filter::new(&options.include, &options.exclude)?
        .with_level(options.level)
        .with_condition(Condition::all(&options.conditions)?);
    let range = Range::new(&options, clock)?;
    let zone = options.timezone.clone().unwrap_or(TimeZone::UTC);
    if range.has_ended(&zone) {
        // Nothing that is still to be written can be meant.
        options.follow = Follow::Stop;
    }
    let store = match &options.archive {
        Some((root, s3)) if reaches_back(&options) => Some(archive::store::open(root, s3)?),
        _ => None,
    };
    let earlier_lines = match (&options.asked_lines, options.input) {
        (Some(lines @ 1..), Input::Targets) if !range.span(&zone).ends() => Some(*lines),
        _ => None,
    };
    let earlier = match (&options.archive, earlier_lines) {
        (Some((root, s3)), Some(lines)) => Some((archive::store::open(root, s3)?, lines)),
        _ => None,
    };
    let ended_asked = options.ended;
    if store.is_some() {
        // What an instance that has ended wrote last may be on its host alone.
        options.ended = Ended::Show;
    }
    let highlight = Highlight::new(&options.highlight)?;
    let Console {
        out,
        talker,
        mut signals,
        writing,
    } = Console::open(streams, options.talk)?;
    let context = Context::new(&options, &config, &environment, clock);
    let resolving = resolve::resolve(&options.targets, &context);
    let Resolution {
        sources,
        mut failures,
        mut notes,
    } = tokio::select! {
        resolution = resolving => resolution,
        exit = signals.next() => return Ok(exit),
    };
    let jobs = match &store {
        Some(store) => {
            let question = Question {
                sources: &sources,
                targets: &options.targets,
                stage: options.stage.as_deref(),
                ts_ns: past::times_of(range.span(&zone), clock.arrival().wall_ns),
            };
            let looking = past::jobs_of(store, question, &mut failures, &mut notes);
            tokio::select! {
                jobs = looking => jobs,
                exit = signals.next() => return Ok(exit),
            }
        }
        None => Vec::new(),
    };
    for note in &notes {
        talker.say(note);
    }
    for failure in &failures {
        talker.say(&chain(failure));
    }

    let started = clock.started();
    let (events, shown) = mpsc::channel(match options.input {
        Input::Targets => EVENTS_QUEUED,
        Input::Stdin => replay::BATCHES_QUEUED,
    });
    let stop_view = CancellationToken::new();
    let colors = Colors::decide(
        options.color,
        &ColorEnv::read(|name| std::env::var(name).ok()),
        streams.stdout,
    );
    let kept = Arc::new(filter.clone().within(range.span(&zone)));
    let zone_of_all = zone.clone();
    let records = match options.input {
        // Standard input is not put in another order.
        Input::Stdin if options.looks.read_json(options.format) && !kept.judges_records() => {
            Records::WhenShown
        }
        Input::Stdin | Input::Targets => Records::OnArrival,
    };
    let view_options = ViewOptions {
        order: match options.input {
            Input::Targets => options.order.unwrap_or(Order::Time),
            Input::Stdin => Order::Arrival,
        },
        render: RenderOptions {
            format: options.format,
            colors,
            stream: streams.stdout,
            highlight,
            looks: options.looks.clone(),
            records,
        },
        anchor: Anchor {
            instant: started.at,
            wall_ns: started.wall_ns,
        },
        now: Instant::now,
        follow: options.follow,
    };
    let pauser = out.pauser();
    let view = tokio::spawn(view::run(shown, view_options, out, stop_view.clone()));
    let stop = CancellationToken::new();
    let (news, heard) = mpsc::channel(NEWS_QUEUED);
    let watch = match options.follow {
        Follow::Follow => Watch::Every(discovery::DEFAULT_INTERVAL),
        Follow::Stop if options.wait == Wait::UntilThere => {
            Watch::UntilThere(discovery::DEFAULT_INTERVAL)
        }
        Follow::Stop => Watch::Once,
    };
    let input = options.input;
    let replayed = events.clone();
    let lines = LineSettings {
        filter: kept,
        zone,
        records,
    };
    let levelless = filter.clone();
    let wanted = jobs
        .into_iter()
        .map(|(key, instances)| {
            let zone = options
                .timezone
                .clone()
                .or_else(|| past::zone_of_cluster(&config, key.cluster()))
                .unwrap_or(TimeZone::UTC);
            Wanted {
                span: range.span(&zone),
                key,
                instances,
                zone,
            }
        })
        .collect::<Vec<_>>();
    let earlier = earlier.map(|(store, lines)| {
        let since_ns = range.span(&zone_of_all).since_ns;
        Arc::new(Earlier::new(store, lines, since_ns, clock, talker.clone()))
    });
    let outlet = past::Outlet {
        events: events.clone(),
        sources: Arc::default(),
        filter: filter.clone(),
        selection: Arc::new(options.selection.clone()),
        clock,
        talker: talker.clone(),
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
        (filter, range),
        pauser,
    );
    course.bad_targets = failures.len();
    let unreached = failures.iter().filter(|failure| failure.is_unreached());
    course.silent.extend(unreached.map(ToString::to_string));
    course.unanswered = unanswered;
    course.ended_asked = ended_asked;
    course.earlier = earlier;
    course.sources = Arc::clone(&outlet.sources);
    let showing = async {
        match input {
            Input::Targets => {
                drop(replayed);
                match store {
                    Some(store) if !wanted.is_empty() => {
                        // Before anything is read: what is complete then has been read.
                        let agents = Agents::new(Arc::clone(&store), clock.arrival().wall_ns);
                        course.past = Past::new(past::show(store, wanted, outlet).await, agents);
                    }
                    _ => drop(outlet),
                }
                course.run(heard).await
            }
            Input::Stdin => match replay::run(replayed, lines, clock).await {
                Ok(()) => Exit::Success,
                Err(error) => {
                    talker.say(&chain(&error));
                    Exit::Partial
                }
            },
        }
    };
    let exit = tokio::select! {
        exit = showing => exit,
        exit = signals.next() => exit,
        () = view_ended(&view) => Exit::Success,
        () = output::reader_left() => Exit::Success,
    };
    match levelless.levelless() {
        0 => {}
        1 => talker.note("tailll: 1 line without a level was left out by --level"),
        count => talker.note(&format!(
            "tailll: {count} lines without a level were left out by --level"
        )),
    }
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
        Some((_, Err(error))) => Err(ConsoleError::from(error).into()),
        Some((_, Ok(output::Ended::ClosedPipe))) if !interrupted => Ok(Exit::Success),
        _ => Ok(exit),
    }
}

/// Whether lines are asked for that only an archive may have.
fn reaches_back(options: &Options) -> bool {
    options.input == Input::Targets
        && options.since.is_some()
        && options.history == crate::reader::History::All
}

/// What `--since` and `--until` say, and when they were said.
#[derive(Debug, Clone)]
struct Range {
    since: Option<Moment>,
    until: Option<Moment>,
    now_ns: i64,
    clock: Clock,
}

impl Range {
    /// # Errors
    /// A range in which there can be nothing.
    fn new(options: &Options, clock: Clock) -> Result<Self, RunError> {
        let range = Self {
            since: options.since.clone(),
            until: options.until.clone(),
            now_ns: clock.started().wall_ns,
            clock,
        };
        let zone = options.timezone.clone().unwrap_or(TimeZone::UTC);
        let span = range.span(&zone);
        let since = moment::show(span.since_ns, &zone);
        if span.begins() && span.since_ns > range.now_ns {
            return Err(RunError::Future { since });
        }
        if span.begins() && span.ends() && span.since_ns > span.until_ns {
            let until = moment::show(span.until_ns, &zone);
            return Err(RunError::Reversed { since, until });
        }
        Ok(range)
    }

    /// What it means in a zone.
    fn span(&self, zone: &TimeZone) -> Span {
        let resolve = |moment: &Option<Moment>, end| {
            moment
                .as_ref()
                .map(|moment| moment.resolve(end, self.now_ns, zone))
        };
        Span {
            since_ns: resolve(&self.since, End::Since).unwrap_or(Span::ALWAYS.since_ns),
            until_ns: resolve(&self.until, End::Until).unwrap_or(Span::ALWAYS.until_ns),
        }
    }

    fn has_ended(&self, zone: &TimeZone) -> bool {
        self.span(zone).until_ns <= self.now_ns
    }

    /// Waits until the range is over, and a moment more for what is written last.
    async fn ended(&self, zone: &TimeZone) {
        let span = self.span(zone);
        if !span.ends() {
            std::future::pending::<()>().await;
        }
        // Steps, since a timer does not count the time that a computer sleeps.
        loop {
            let left = span.until_ns.saturating_sub(self.clock.arrival().wall_ns);
            if left <= 0 {
                break;
            }
            tokio::time::sleep(Duration::from_nanos(left as u64).min(UNTIL_LOOK)).await;
        }
        tokio::time::sleep(UNTIL_GRACE).await;
    }
}

/// Waits until the view has ended by itself, which it does when the output takes nothing more.
async fn view_ended(view: &tokio::task::JoinHandle<ViewEnd>) {
    while !view.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The followers, and what became of them.
struct Course {
    config: Config,
    talker: Talker,
    timezone: Option<TimeZone>,
    selection: Arc<FileSelection>,
    history: crate::reader::History,
    until: Until,
    reach: Reach,
    events: mpsc::Sender<Event>,
    sources: Arc<AtomicU32>,
    filter: Filter,
    range: Range,
    clock: Clock,
    followers: JoinSet<(InstanceId, Followed)>,
    following: HashMap<InstanceId, Followee>,
    /// What could not be asked, and has not answered since.
    silent: HashSet<String>,
    wait: Wait,
    /// Ways whose refusal has been said.
    refused: HashSet<Way>,
    tally: Tally,
    bad_targets: usize,
    /// Jobs, inventories and ad-hoc targets whose instances are not known yet.
    unanswered: usize,
    /// What came from the archive.
    past: Past,
    /// What has lines before those of the live files.
    earlier: Option<Arc<Earlier>>,
    /// Whether instances that have ended were asked for, and not only because of the archive.
    ended_asked: Ended,
}

/// What came from the archive.
#[derive(Debug, Default)]
struct Past {
    seams: Arc<Seams>,
    rows: u64,
    completeness: Completeness,
    /// How far its agents are.
    agents: Option<Agents>,
}

impl Past {
    fn new(told: Told, agents: Agents) -> Self {
        Self {
            seams: Arc::new(told.seams),
            rows: told.rows,
            completeness: told.completeness,
            agents: Some(agents),
        }
    }
}

struct Followee {
    instance: Arc<Instance>,
    ended: CancellationToken,
    need: Need,
}

/// Whether it matters that an instance's files cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It was asked for.
    Asked,
    /// It has ended, and only the archive was asked for what it wrote: the host may have more of it, or not.
    MayHaveMore,
}

/// How many followers ended how, and what discovery found.
#[derive(Debug, Default)]
struct Tally {
    /// Instances that the sources had at first, chosen or not.
    found: usize,
    started: usize,
    done: usize,
    failed: usize,
    unreached: usize,
    refused: usize,
}

impl Course {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once, with what the program has opened by then"
    )]
    fn new(
        options: Options,
        config: Config,
        environment: Environment,
        talker: Talker,
        clock: Clock,
        events: mpsc::Sender<Event>,
        (filter, range): (Filter, Range),
        pauser: output::Pauser,
    ) -> Self {
        let until = if options.follow == Follow::Follow {
            Until::Forever
        } else {
            Until::End
        };
        let patience = if until == Until::Forever {
            Patience::Endless
        } else {
            Patience::Attempts(ATTEMPTS)
        };
        let reach = Reach::new(
            options.ssh,
            environment.home,
            patience,
            clock,
            talker.clone(),
            pauser,
        );
        Self {
            config,
            talker,
            timezone: options.timezone,
            selection: Arc::new(options.selection),
            history: options.history,
            until,
            reach,
            events,
            sources: Arc::default(),
            filter,
            range,
            clock,
            followers: JoinSet::new(),
            following: HashMap::new(),
            silent: HashSet::new(),
            wait: options.wait,
            refused: HashSet::new(),
            tally: Tally::default(),
            bad_targets: 0,
            unanswered: 0,
            past: Past::default(),
            earlier: None,
            ended_asked: options.ended,
        }
    }

    /// Goes on until nothing can come any more.
    async fn run(&mut self, mut heard: mpsc::Receiver<DiscoveryEvent>) -> Exit {
        let mut listening = true;
        let range = self.range.clone();
        let zone = self.timezone.clone().unwrap_or(TimeZone::UTC);
        let mut over = std::pin::pin!(async move {
            if range.has_ended(&zone) {
                // The files themselves end it.
                std::future::pending::<()>().await;
            }
            range.ended(&zone).await;
        });
        let mut is_over = false;
        let mut orphans_due = std::pin::pin!(tokio::time::sleep(ORPHANS_WAIT));
        let mut orphans_wait = !self.past.seams.is_empty();
        while listening || !self.followers.is_empty() {
            tokio::select! {
                event = heard.recv(), if listening => match event {
                    Some(event) => self.hear(event).await,
                    None => listening = false,
                },
                Some(ended) = self.followers.join_next() => self.ended(ended),
                () = &mut over, if !is_over => {
                    is_over = true;
                    listening = false;
                    self.following.values().for_each(|followee| followee.ended.cancel());
                }
                () = &mut orphans_due, if orphans_wait => {
                    orphans_wait = false;
                    self.send_orphans(|_| true).await;
                }
            }
            if orphans_wait && (self.unanswered == 0 || !listening) {
                // Of the others the followers know what is there.
                let followed: HashSet<Option<String>> = self
                    .following
                    .values()
                    .map(|followee| followee.instance.label.task_id.clone())
                    .collect();
                self.send_orphans(|label| !followed.contains(&label.task_id))
                    .await;
                orphans_wait = !followed.is_empty();
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
        self.send_orphans(|_| true).await;
        self.exit()
    }

    /// Shows the last that the archive has of instances whose files nobody goes on with.
    async fn send_orphans(&self, is_orphan: impl Fn(&InstanceLabel) -> bool) {
        if !self.past.seams.is_empty() {
            self.sink(Arc::new(self.filter.clone()), TimeZone::UTC)
                .orphans(|label, _| is_orphan(label))
                .await;
        }
    }

    fn sink(&self, filter: Arc<Filter>, zone: TimeZone) -> Sink {
        Sink {
            events: self.events.clone(),
            sources: self.sources.clone(),
            lines: LineSettings {
                filter,
                zone,
                records: Records::OnArrival,
            },
            clock: self.clock,
            seams: Arc::clone(&self.past.seams),
            earlier: self.earlier.clone(),
        }
    }

    fn exit(&self) -> Exit {
        let Tally {
            found: _,
            started,
            done,
            failed,
            unreached,
            refused,
        } = self.tally;
        let is_whole = self.past.completeness == Completeness::Whole;
        if started == 0 && self.past.rows > 0 {
            // The job no longer runs.
            if is_whole && self.silent.is_empty() && self.bad_targets == 0 {
                Exit::Success
            } else {
                Exit::Partial
            }
        } else if started == 0 {
            if self.silent.is_empty() {
                Exit::NoMatch
            } else {
                Exit::Unreachable
            }
        } else if refused + unreached == started && self.past.rows == 0 {
            Exit::Unreachable
        } else if !is_whole
            || failed + refused + unreached + self.silent.len() + self.bad_targets > 0
            || done < started
        {
            Exit::Partial
        } else {
            Exit::Success
        }
    }

    /// Takes discovery's news.
    async fn hear(&mut self, event: DiscoveryEvent) {
        match event {
            DiscoveryEvent::Added(instance) => {
                let until = self.until;
                if let Some(instance) = self.follow(instance, until, Need::Asked)
                    && instance.label.task_id.is_some()
                {
                    self.talker.note(&format!("+ {}", instance.label.name()));
                }
            }
            DiscoveryEvent::Past {
                instance,
                how,
                ended_ms,
            } => {
                let need = match self.ended_asked {
                    Ended::Show => Need::Asked,
                    Ended::LeaveOut => Need::MayHaveMore,
                };
                if need == Need::MayHaveMore
                    && let Some(task_id) = &instance.label.task_id
                {
                    let ended_ns = ended_ms.map(|ms| ms.saturating_mul(1_000_000));
                    if self.has_no_more(&instance, task_id, ended_ns).await {
                        return;
                    }
                }
                // What is left of it has an end, however long the others are followed.
                if let Some(instance) = self.follow(instance, Until::End, need)
                    && need == Need::Asked
                {
                    let name = instance.label.name();
                    self.talker.note(&format!("{name} has ended: {how}"));
                }
            }
            DiscoveryEvent::Removed { id, label, how } => {
                self.talker.note(&format!("- {}: {how}", label.name()));
                if let Some(followee) = self.following.get(&id) {
                    followee.ended.cancel();
                }
            }
            DiscoveryEvent::Trouble { source, message } => {
                if self.until == Until::End {
                    self.silent.insert(source.clone());
                }
                self.talker.say(&format!("{source}: {message}"));
            }
            DiscoveryEvent::Recovered { source } => {
                self.silent.remove(&source);
                self.talker.note(&format!("{source} answers again"));
            }
            DiscoveryEvent::Note { source, message } => {
                self.talker.note(&format!("{source}: {message}"));
            }
            DiscoveryEvent::Complete { source, instances } => self.complete(&source, instances),
        }
    }

    /// Whether the host of an instance that has ended has no line of the time that is asked for that did not come from the archive.
    async fn has_no_more(
        &mut self,
        instance: &Instance,
        task_id: &str,
        ended_ns: Option<i64>,
    ) -> bool {
        let of_task = self.past.seams.of_task(task_id);
        let settled_ns = ended_ns.map(|ns| ns.saturating_add(past::SETTLED_NS));
        let since_ns = self.range.span(&self.zone(instance)).since_ns;
        let is_whole =
            self.past.completeness == Completeness::Whole && !self.past.seams.is_cut(task_id);
        match (of_task, settled_ns) {
            (_, Some(settled_ns)) if settled_ns < since_ns => true,
            // What was not read of the archive is on the host, if it is anywhere.
            _ if !is_whole => false,
            (OfTask::Everything, _) => true,
            (OfTask::Nothing, _) | (_, None) => false,
            (OfTask::Part, Some(settled_ns)) => match &mut self.past.agents {
                Some(agents) => {
                    let of_task = self.past.seams.agents(task_id);
                    agents.have_shipped(&of_task, settled_ns).await
                }
                None => false,
            },
        }
    }

    /// A source has told what it has at first.
    fn complete(&mut self, source: &str, instances: usize) {
        let waiting = if self.until == Until::Forever || self.wait == Wait::UntilThere {
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

    /// Follows an instance, unless it is left out or followed already.
    fn follow(&mut self, instance: Instance, until: Until, need: Need) -> Option<Arc<Instance>> {
        if !self.selection.takes_instance(&instance.label)
            || self.following.contains_key(&instance.id)
        {
            return None;
        }
        let instance = Arc::new(instance);
        if let (Some(earlier), Some(task_id)) = (&self.earlier, &instance.label.task_id) {
            earlier.follow(task_id);
        }
        let transport = self
            .reach
            .transport(&instance.place, instance.as_role.as_ref());
        let ended = CancellationToken::new();
        let talker = self.talker.clone();
        let zone = self.zone(&instance);
        let follower = Follower {
            instance: instance.clone(),
            transport,
            sink: self.sink(
                Arc::new(self.filter.clone().within(self.range.span(&zone))),
                zone,
            ),
            selection: self.selection.clone(),
            history: self.history,
            until,
            say: Arc::new(move |line| match need {
                Need::Asked => talker.say(&line),
                Need::MayHaveMore => talker.note(&line),
            }),
            ended: ended.clone(),
        };
        self.tally.started += 1;
        let id = instance.id.clone();
        self.following.insert(
            id.clone(),
            Followee {
                instance: Arc::clone(&instance),
                ended,
                need,
            },
        );
        self.followers
            .spawn(async move { (id, follower.run().await) });
        Some(instance)
    }

    /// The zone of timestamps that name none.
    fn zone(&self, instance: &Instance) -> TimeZone {
        let of_cluster =
            || past::zone_of_cluster(&self.config, instance.label.key.as_ref()?.cluster());
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
        let Some(Followee { instance, need, .. }) = self.following.remove(&id) else {
            return;
        };
        let how = match how {
            // That the host has nothing more of it is no failure.
            Followed::Failed | Followed::Unreached if need == Need::MayHaveMore => Followed::Done,
            how => how,
        };
        match how {
            Followed::Done => self.tally.done += 1,
            Followed::Failed => self.tally.failed += 1,
            Followed::Unreached => self.tally.unreached += 1,
            Followed::Refused(why) => {
                self.tally.refused += 1;
                let said = match &instance.place {
                    Place::Ssh(login) => !self
                        .refused
                        .insert((login.clone(), instance.as_role.clone())),
                    Place::Local => false,
                };
                if !said {
                    self.talker.say(&format!("{}: {why}", instance.label.host));
                }
                // It stays on the status line.
                return;
            }
        }
        self.reach
            .release(&instance.place, instance.as_role.as_ref());
    }
}
