//! The agent at work: scans, looks, flushes and puts on time, until it is told to stop.
//!
//! One loop owns the agent. What waits for the disk runs on a thread that may wait; what waits for the archive runs in tasks of
//! its own, a few at a time, each until its object is there. Nothing but the loop changes the agent, so that all that can
//! happen is listed in one place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use archive::Store;
use archive::store::{Body, Conditional, Failure, PROBE_PREFIX, StoreError, digest};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentError, Flush, Unfinished};
use crate::checkpoint::{Checkpoint, Moment};
use crate::claim::{self, ClaimError};
use crate::clock::Clock;
use crate::config::Config;
use crate::health::{Health, Pause};
use crate::identity::AgentState;
use crate::metrics::{Backlog, Held, Metrics};
use crate::state::{Claim, Identity, Planned};
use crate::upload::{self, Uploaded};
use crate::worker::{Died, Worker};
use joblog::causes::chain;

/// How many objects are put at once, in objects.
const PUTS_AT_ONCE: usize = 4;

/// How often the loop looks at files that change, in time.
const TICK: Duration = Duration::from_secs(1);

/// How often gauges are set, in time: each time all files are counted.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// How far the wall clock and the boot clock may drift apart before it counts as a resumed snapshot, in ns.
const MAX_DRIFT_NS: i64 = 60 * 1_000_000_000;

/// How often a checkpoint is written, at most.
const CHECKPOINT_EVERY: Duration = Duration::from_hours(1);

/// How long the Mesos agent may take to answer.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// After so many failed attempts in a row the archive counts as refusing us, in attempts.
const STUCK_AFTER: u32 = 5;

/// How long nothing is read after it had to stop, unless there is room before: it is tried again then.
const DISK_PAUSE: Duration = Duration::from_secs(10);

/// What the outside tells the loop.
#[derive(Debug)]
pub enum Order {
    /// Another configuration.
    Reload(Arc<Config>),
    /// Ship what is there, within the configured time, and end.
    Stop,
}

/// What the service needs beside the agent.
pub struct Outside {
    /// The archive.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Random numbers, for pauses and claims.
    pub random: Box<dyn FnMut() -> u64 + Send>,
    /// All counters.
    pub metrics: Metrics,
    /// Says something to the operator.
    pub tell: Box<dyn FnMut(&str) + Send>,
}

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All that was there is in the archive.
    Shipped,
    /// The time for it was over: so many objects wait for the next start.
    Waiting {
        /// Objects.
        objects: usize,
    },
}

/// Why the service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The claim.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// There is another object in the place of ours: the archive knows more than our state.
    #[error("{key}: another object is there than the one that was planned: run `shipper recover`")]
    Conflict {
        /// The key.
        key: String,
    },
    /// A thread of ours died.
    #[error("a step of the agent did not end")]
    Panicked(#[source] tokio::task::JoinError),
    /// The thread of the agent died.
    #[error(transparent)]
    Died(#[from] Died),
}

/// How far `once` has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that there are to ship, shipped ones included.
    pub total_bytes: u64,
    /// Bytes that are in the archive.
    pub done_bytes: u64,
    /// Objects that are in the archive.
    pub objects: u64,
}

/// The loop's own state.
struct Service {
    /// Away while a thread works with it.
    agent: Option<Agent>,
    worker: Worker,
    outside: Outside,
    /// Planned objects that are not being put yet.
    queue: VecDeque<Planned>,
    puts: JoinSet<Result<Attempt, ServiceError>>,
    /// Failures in a row, of all puts.
    failures: u32,
    failing_since_ns: Option<i64>,
    pause: Option<Pause>,
    /// Until then nothing is tried that would only fail again.
    rests_until: Option<Instant>,
    drift_ns: i64,
    wants_agent: bool,
    shipped_bytes: u64,
    objects: u64,
    last_checkpoint: Option<Instant>,
    /// The checkpoint that is being put, if one is: a silent archive must not keep the loop from hearing anything.
    checkpoints: JoinSet<Option<String>>,
    /// What a probe found; none before it.
    conditions: Option<Conditional>,
}

/// What an attempt to put an object came to.
struct Attempt {
    planned: Planned,
    failures: u32,
    result: Result<Uploaded, StoreError>,
    seconds: f64,
}

/// Runs until an order says stop.
pub async fn run(
    agent: Agent,
    outside: Outside,
    mut orders: tokio::sync::mpsc::Receiver<Order>,
) -> Result<Ended, ServiceError> {
    let mut service = Service::new(agent, outside);
    let mut waiting = None;
    match service.claim_or_stop(&mut orders, &mut waiting).await? {
        Claimed::Yes => {}
        Claimed::Stopping(deadline) => return service.drain(deadline).await,
        Claimed::NotInTime(left) => return Ok(left),
    }
    let config = service.agent().config().clone();
    let mut flush_every = config.flush;
    let mut scan_every = config.scan_interval;
    // Hosts that were started together do not flush together.
    let first = flush_every.mul_f64((service.random() % 1024) as f64 / 1024.0);
    let mut next_flush = Instant::now() + first.min(flush_every);
    let mut next_scan = Instant::now();
    let mut next_publish = Instant::now();
    let mut tick = interval(TICK.min(flush_every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(config) = waiting.take() {
            service.reload(config).await?;
            let config = service.agent().config();
            (flush_every, scan_every) = (config.flush, config.scan_interval);
            next_flush = next_flush.min(Instant::now() + flush_every);
            next_scan = next_scan.min(Instant::now() + scan_every);
        }
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Reload(config)) => waiting = Some(config),
                Some(Order::Stop) | None => {
                    let deadline = service.stop_deadline();
                    return service.drain(deadline).await;
                }
            },
            Some(done) = service.puts.join_next() => service.put_done(done).await?,
            Some(done) = service.checkpoints.join_next() => service.checkpoint_done(done)?,
            _ = tick.tick() => {
                if service.has_jumped() {
                    service.intend_again().await?;
                    match service.claim_or_stop(&mut orders, &mut waiting).await? {
                        Claimed::Yes => {}
                        Claimed::Stopping(deadline) => return service.drain(deadline).await,
                        Claimed::NotInTime(left) => return Ok(left),
                    }
                }
                let is_due = Instant::now() >= next_scan || service.agent().wants_scan();
                if is_due && !service.rests() {
                    service.scan().await?;
                    next_scan = Instant::now() + scan_every;
                }
                service.step(|agent| { agent.look_at_hot(); Ok(()) }).await?;
                let is_large = service.agent().behind() >= service.agent().config().batch_bytes;
                let is_due = Instant::now() >= next_flush || is_large || service.pause.is_some();
                if is_due && !service.rests() {
                    service.flush(Unfinished::Wait, None).await?;
                    while next_flush <= Instant::now() {
                        next_flush += flush_every;
                    }
                }
                service.start_checkpoint();
                if Instant::now() >= next_publish {
                    service.publish();
                    next_publish = Instant::now() + PUBLISH_EVERY;
                }
            }
        }
    }
}

/// Until it is to stop. The last configuration that comes meanwhile waits.
async fn stopped(
    orders: &mut tokio::sync::mpsc::Receiver<Order>,
    waiting: &mut Option<Arc<Config>>,
) {
    while let Some(Order::Reload(config)) = orders.recv().await {
        *waiting = Some(config);
    }
}

/// Ships what is there, and ends. Failures of the archive are tried again for ever: `stop` ends that.
pub async fn once(
    agent: Agent,
    outside: Outside,
    stop: CancellationToken,
    mut progress: impl FnMut(Progress),
) -> Result<Ended, ServiceError> {
    let mut service = Service::new(agent, outside);
    tokio::select! {
        claimed = service.claim() => claimed?,
        () = stop.cancelled() => return Ok(service.left()),
    }
    loop {
        let scanned = service.scan().await?;
        let flushed = service.flush(Unfinished::Take, None).await?;
        while !service.puts.is_empty() {
            progress(service.progress());
            tokio::select! {
                Some(done) = service.puts.join_next() => service.put_done(done).await?,
                () = stop.cancelled() => return Ok(service.left()),
            }
        }
        progress(service.progress());
        let agent = service.agent();
        let rests = !agent.has_doubts() && !agent.wants_scan() && !service.wants_agent;
        if (scanned, flushed) == (Scanned::All, Flushed::All) && rests {
            break;
        }
        if stop.is_cancelled() {
            return Ok(service.left());
        }
        if (scanned, flushed) != (Scanned::All, Flushed::All) {
            tokio::select! {
                () = sleep(TICK) => {}
                () = stop.cancelled() => return Ok(service.left()),
            }
        }
    }
    service.last_checkpoint = None;
    service.start_checkpoint();
    tokio::select! {
        Some(done) = service.checkpoints.join_next() => service.checkpoint_done(done)?,
        () = stop.cancelled() => {}
    }
    Ok(service.left())
}

/// Whether a flush left something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    /// Reading stands still, or the time was over.
    Partly,
}

/// What claiming came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claimed {
    Yes,
    /// It is ours, and the loop is to end by this time.
    Stopping(Instant),
    /// The time to end came first. What is staged is left.
    NotInTime(Ended),
}

/// Whether the folders were walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scanned {
    All,
    /// The disk refused: it is tried again.
    Failed,
}

impl Service {
    fn new(agent: Agent, outside: Outside) -> Self {
        let drift_ns = drift(&*outside.clock);
        Self {
            queue: agent.outstanding().cloned().collect(),
            agent: Some(agent),
            worker: Worker::start(),
            outside,
            puts: JoinSet::new(),
            failures: 0,
            failing_since_ns: None,
            pause: None,
            rests_until: None,
            drift_ns,
            wants_agent: false,
            shipped_bytes: 0,
            objects: 0,
            last_checkpoint: None,
            checkpoints: JoinSet::new(),
            conditions: None,
        }
    }

    fn agent(&self) -> &Agent {
        self.agent
            .as_ref()
            .expect("no thread has the agent between two steps")
    }

    fn random(&mut self) -> u64 {
        (self.outside.random)()
    }

    fn tell(&mut self, text: &str) {
        (self.outside.tell)(text);
    }

    /// Takes a step on a thread that may wait for the disk.
    async fn step<T: Send + 'static>(
        &mut self,
        step: impl FnOnce(&mut Agent) -> Result<T, AgentError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let mut agent = self.agent.take().expect("one step at a time");
        let (agent, result) = self
            .worker
            .run(move || {
                let result = step(&mut agent);
                (agent, result)
            })
            .await?;
        self.agent = Some(agent);
        self.count();
        Ok(result?)
    }

    /// When an order to stop that comes now is over.
    fn stop_deadline(&self) -> Instant {
        Instant::now() + self.agent().config().shutdown
    }

    /// Claims the next incarnation. Told to stop meanwhile, it goes on for as long as a stop may take: nothing can be shipped
    /// without the claim.
    async fn claim_or_stop(
        &mut self,
        orders: &mut tokio::sync::mpsc::Receiver<Order>,
        waiting: &mut Option<Arc<Config>>,
    ) -> Result<Claimed, ServiceError> {
        let left = self.left();
        let shutdown = self.agent().config().shutdown;
        let claim = self.claim();
        tokio::pin!(claim);
        tokio::select! {
            biased;
            claimed = &mut claim => {
                claimed?;
                return Ok(Claimed::Yes);
            }
            () = stopped(orders, waiting) => {}
        }
        let deadline = Instant::now() + shutdown;
        match timeout(shutdown, claim).await {
            Ok(claimed) => claimed.map(|()| Claimed::Stopping(deadline)),
            Err(_) => Ok(Claimed::NotInTime(left)),
        }
    }

    /// Claims the next incarnation, for as long as it takes.
    async fn claim(&mut self) -> Result<(), ServiceError> {
        let mut failures = 0;
        loop {
            let identity = self.agent().identity().clone();
            if identity.claim == Claim::Held {
                break;
            }
            // Files are held meanwhile, however long it takes: their sandboxes may go.
            self.scan().await?;
            let host = self.agent().config().host.clone();
            let now_ns = self.outside.clock.wall_ns();
            match self.try_claim(&identity, &host, now_ns).await {
                Ok(()) => {
                    self.step(move |agent| {
                        let held = claim::hold(agent.state(), identity)?;
                        agent.set_identity(held);
                        Ok(())
                    })
                    .await?;
                }
                Err(ClaimError::Store(error)) => {
                    failures += 1;
                    self.failed(&error, failures);
                    let random = self.random();
                    sleep(upload::pause(failures, random)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.worked();
        let incarnation = self.agent().identity().incarnation;
        self.outside.metrics.set_incarnation(incarnation);
        self.outside.metrics.set_health(Health::Running);
        self.start_puts();
        Ok(())
    }

    /// Before the first claim: whether the other side honours the condition that everything rests on.
    async fn try_claim(
        &mut self,
        identity: &Identity,
        host: &str,
        now_ns: i64,
    ) -> Result<(), ClaimError> {
        let store = self.outside.store.clone();
        if self.conditions.is_none() {
            let key = format!("{PROBE_PREFIX}{}", identity.agent);
            let found = store.probe(&key).await?;
            if found == Conditional::Ignored {
                self.tell(
                    "the archive's endpoint ignores conditional writes: each key is looked for before it is written, which two \
                     agents of one id could still pass at once",
                );
            }
            self.conditions = Some(found);
        }
        claim::claim(&*store, identity, host, now_ns).await
    }

    /// Whether the wall clock and the boot clock drifted apart. A machine that was resumed from a snapshot has a state that others
    /// may have gone beyond: another claim shows it.
    fn has_jumped(&mut self) -> bool {
        let drift_ns = drift(&*self.outside.clock);
        if (drift_ns - self.drift_ns).abs() <= MAX_DRIFT_NS {
            return false;
        }
        self.drift_ns = drift_ns;
        true
    }

    /// Nothing is planned under the old claim any more; the next one is to be made.
    async fn intend_again(&mut self) -> Result<(), ServiceError> {
        self.tell("the wall clock jumped: another incarnation is claimed, in case this is a resumed snapshot");
        self.outside.metrics.set_health(Health::Paused {
            why: Pause::ClaimingAgain,
        });
        let numbers = [self.random(), self.random()];
        self.step(move |agent| {
            let mut numbers = numbers.into_iter().cycle();
            let id = agent.identity().agent;
            let intended = claim::intend(agent.state(), id, &mut || {
                numbers.next().unwrap_or_default()
            })?;
            agent.set_identity(intended);
            Ok(())
        })
        .await
    }

    /// Walks the folders. A failure for the disk's sake is told and tried again at the next turn.
    async fn scan(&mut self) -> Result<Scanned, ServiceError> {
        let config = self.agent().config().clone();
        let url = config
            .mesos
            .as_ref()
            .and_then(|mesos| mesos.agent_url.clone());
        let state = match url {
            Some(url) if self.wants_agent => {
                AgentState::fetch(&url, AGENT_TIMEOUT, &config.ids.git_sha_labels)
                    .await
                    .ok()
                    .map(Arc::new)
            }
            _ => None,
        };
        let started = Instant::now();
        let scanned = self.step(move |agent| agent.scan(state)).await;
        let summary = match scanned {
            Ok(summary) => summary,
            Err(error) => {
                self.tolerate(error)?;
                return Ok(Scanned::Failed);
            }
        };
        self.outside
            .metrics
            .scanned(started.elapsed().as_secs_f64());
        self.outside.metrics.set_files(summary.files);
        for note in &summary.notes {
            self.outside.metrics.trouble(note.trouble);
        }
        self.wants_agent = summary.waiting_for_agent > 0;
        Ok(Scanned::All)
    }

    /// What is wrong with the disk may be mended: it is told, and nothing is read for a moment. Everything else ends the agent.
    fn tolerate(&mut self, error: ServiceError) -> Result<(), ServiceError> {
        let why = match &error {
            ServiceError::Agent(error) if error.is_full() => Pause::DiskFull,
            ServiceError::Agent(
                AgentError::Spool(_)
                | AgentError::Staging { .. }
                | AgentError::Objects(_)
                | AgentError::State(_),
            ) => Pause::NotWritable,
            _ => return Err(error),
        };
        if self.pause != Some(why) {
            let text = chain(&error);
            self.tell(&format!("{text}; nothing is lost; it is tried again"));
        }
        self.set_pause(Some(why));
        Ok(())
    }

    fn set_pause(&mut self, pause: Option<Pause>) {
        self.pause = pause;
        self.rests_until = pause.map(|_| Instant::now() + DISK_PAUSE);
    }

    /// Whether it is too early to try again what had to stop.
    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    /// Makes batches until nothing waits, or no more may be staged. None is begun after `deadline`.
    async fn flush(
        &mut self,
        unfinished: Unfinished,
        deadline: Option<Instant>,
    ) -> Result<Flushed, ServiceError> {
        loop {
            match self.step(move |agent| agent.flush(unfinished)).await {
                Ok(Flush::Nothing) => {
                    self.set_pause(None);
                    return Ok(Flushed::All);
                }
                Ok(Flush::Planned { objects, more }) => {
                    self.set_pause(None);
                    self.queue.extend(objects);
                    self.start_puts();
                    if !more {
                        return Ok(Flushed::All);
                    }
                    // What is in the archive meanwhile makes room.
                    while let Some(done) = self.puts.try_join_next() {
                        self.put_done(done).await?;
                    }
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(Flushed::Partly);
                    }
                }
                Ok(Flush::Paused(why)) => {
                    if self.pause != Some(why) {
                        self.tell(&format!("reading stands still: {}", why.name()));
                    }
                    self.set_pause(Some(why));
                    return Ok(Flushed::Partly);
                }
                Err(error) => {
                    self.tolerate(error)?;
                    return Ok(Flushed::Partly);
                }
            }
        }
    }

    /// Begins as many puts as may run at once.
    fn start_puts(&mut self) {
        if self.agent().identity().claim != Claim::Held {
            return;
        }
        while self.puts.len() < PUTS_AT_ONCE {
            let Some(planned) = self.queue.pop_front() else {
                return;
            };
            self.start_put(planned, 0);
        }
    }

    fn start_put(&mut self, planned: Planned, failures: u32) {
        let store = self.outside.store.clone();
        let staged = self.agent().staged_path(&planned);
        let wait = match failures {
            0 => Duration::ZERO,
            _ => upload::pause(failures, self.random()),
        };
        self.puts.spawn(async move {
            sleep(wait).await;
            let started = Instant::now();
            let result = upload::put_once(&*store, &planned, &staged).await;
            Ok(Attempt {
                planned,
                failures,
                result,
                seconds: started.elapsed().as_secs_f64(),
            })
        });
    }

    async fn put_done(
        &mut self,
        done: Result<Result<Attempt, ServiceError>, tokio::task::JoinError>,
    ) -> Result<(), ServiceError> {
        let attempt = done.map_err(ServiceError::Panicked)??;
        match attempt.result {
            Ok(Uploaded::Done) => {
                self.worked();
                let planned = attempt.planned;
                let now_ns = self.outside.clock.wall_ns();
                let metrics = &self.outside.metrics;
                metrics.put(planned.len, now_ns, attempt.seconds);
                metrics.shipped(planned.raw_bytes);
                if self.pause == Some(Pause::StagingFull) {
                    self.rests_until = None;
                }
                self.shipped_bytes += planned.raw_bytes;
                self.objects += 1;
                let key = planned.key.clone();
                if let Err(error) = self.step(move |agent| agent.commit(&key)).await {
                    // It is in the archive; that is found out again.
                    self.tolerate(error)?;
                    self.start_put(planned, 1);
                }
            }
            Ok(Uploaded::Conflict { key }) => return Err(ServiceError::Conflict { key }),
            Err(error) => {
                let failures = attempt.failures + 1;
                self.failed(&error, failures);
                self.start_put(attempt.planned, failures);
            }
        }
        self.start_puts();
        Ok(())
    }

    /// An operation of the store failed: it is counted, told once in a while, and tried again.
    fn failed(&mut self, error: &StoreError, attempts: u32) {
        self.outside.metrics.retried(error);
        self.failures = self.failures.saturating_add(1);
        let now_ns = self.outside.clock.wall_ns();
        let since_ns = *self.failing_since_ns.get_or_insert(now_ns);
        // The first, and then each at twice the distance.
        if attempts.is_power_of_two() {
            let text = chain(error);
            let advice = match error.kind {
                Failure::Denied => "; credentials are read anew at each attempt",
                Failure::Skewed => "; look at the host's clock",
                Failure::NotFound => "; is the bucket's name right?",
                _ => "",
            };
            self.tell(&format!(
                "attempt {attempts} failed: {text}{advice}; it is tried again"
            ));
        }
        if self.failures >= STUCK_AFTER {
            self.outside.metrics.set_health(Health::Stuck {
                since_ns,
                what: chain(error),
            });
        }
    }

    fn worked(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            self.tell("the archive answers again");
        }
        self.failing_since_ns = None;
    }

    async fn reload(&mut self, mut config: Arc<Config>) -> Result<(), ServiceError> {
        let fixed = Arc::make_mut(&mut config).keep_fixed(self.agent().config());
        let names: Vec<String> = config.redact.iter().map(|rule| rule.name.clone()).collect();
        match self.step(move |agent| agent.reload(config)).await {
            Ok(()) => {
                let metrics = &self.outside.metrics;
                metrics.set_redact_rules(names.iter().map(String::as_str));
                self.tell("the configuration was read again");
                if !fixed.is_empty() {
                    let fixed = fixed.join(", ");
                    self.tell(&format!("{fixed}: as before until the next start"));
                }
                Ok(())
            }
            Err(ServiceError::Agent(AgentError::Makers(error))) => {
                self.tell(&format!(
                    "the new configuration cannot be used, the old one stays: {}",
                    chain(&error)
                ));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Ships what is there until the deadline. No step is broken off for it.
    async fn drain(mut self, deadline: Instant) -> Result<Ended, ServiceError> {
        self.outside.metrics.set_health(Health::Stopping);
        if let Err(error) = self.scan().await {
            self.tell(&chain(&error));
        }
        self.flush(Unfinished::Wait, Some(deadline)).await?;
        while !self.puts.is_empty() {
            match timeout(deadline - Instant::now(), self.puts.join_next()).await {
                Ok(Some(done)) => self.put_done(done).await?,
                Ok(None) => break,
                Err(_) => {
                    self.puts.abort_all();
                    break;
                }
            }
        }
        self.publish();
        Ok(self.left())
    }

    fn left(&self) -> Ended {
        match self.agent().outstanding().count() {
            0 => Ended::Shipped,
            objects => Ended::Waiting { objects },
        }
    }

    /// Writes what is known where a recovery finds it; only when all that is planned is in the archive.
    fn start_checkpoint(&mut self) {
        let is_due = self
            .last_checkpoint
            .is_none_or(|last| last.elapsed() >= CHECKPOINT_EVERY);
        if !is_due || !self.checkpoints.is_empty() || self.agent().outstanding().next().is_some() {
            return;
        }
        let now_ns = self.outside.clock.wall_ns();
        let agent = self.agent();
        let moment = Moment {
            host: &agent.config().host,
            written_ns: now_ns,
            complete_until_ns: agent.standing().oldest_ns.unwrap_or(now_ns),
        };
        let checkpoint = Checkpoint::of(agent.identity(), &moment, []);
        let encoded = checkpoint.encode_logs(agent.logs());
        // Each hour has one, whether this is the first attempt or not.
        self.last_checkpoint = Some(Instant::now());
        let key = checkpoint.key();
        let bytes = encoded.map_err(|error| chain(&error));
        let store = self.outside.store.clone();
        self.checkpoints.spawn(async move {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(text) => return Some(text),
            };
            let sha256 = digest(&bytes);
            let put = store.put_new(&key, Body::Bytes(bytes), sha256).await;
            put.err().map(|error| chain(&error))
        });
    }

    fn checkpoint_done(
        &mut self,
        done: Result<Option<String>, tokio::task::JoinError>,
    ) -> Result<(), ServiceError> {
        if let Some(text) = done.map_err(ServiceError::Panicked)? {
            self.tell(&format!("checkpoint: {text}; it is tried again in an hour"));
        }
        Ok(())
    }

    /// Counts what the agent did.
    fn count(&mut self) {
        let Some(agent) = &mut self.agent else {
            return;
        };
        let counts = agent.take_counts();
        let metrics = &self.outside.metrics;
        metrics.read(counts.read_bytes);
        metrics.rows(counts.rows, counts.times_substituted);
        metrics.planned(counts.planned_bytes);
        metrics.redacted(&counts.redacted);
        for (cause, bytes) in counts.lost {
            metrics.lost(cause, bytes);
        }
        for message in counts.messages {
            self.tell(&message);
        }
    }

    /// Shows how things stand.
    fn publish(&mut self) {
        let standing = self.agent().standing();
        let planned: u64 = self.agent().outstanding().map(|one| one.raw_bytes).sum();
        let metrics = &self.outside.metrics;
        metrics.set_backlog(Backlog {
            bytes: standing.behind_bytes + planned,
            oldest_ns: standing.oldest_ns,
        });
        metrics.set_held(&Held {
            linked: standing.linked,
            unlinked: standing.unlinked.into_iter().collect(),
            bytes: standing.held_bytes,
        });
        metrics.set_staged(standing.staged_bytes);
        if self.failures < STUCK_AFTER && metrics.health() != Health::Stopping {
            metrics.set_health(match self.pause {
                Some(why) => Health::Paused { why },
                None => Health::Running,
            });
        }
    }

    fn progress(&self) -> Progress {
        let agent = self.agent();
        let planned: u64 = agent.outstanding().map(|one| one.raw_bytes).sum();
        Progress {
            total_bytes: self.shipped_bytes + planned + agent.behind(),
            done_bytes: self.shipped_bytes,
            objects: self.objects,
        }
    }
}

/// How far the wall clock is from the boot clock, in ns.
fn drift(clock: &dyn Clock) -> i64 {
    clock.wall_ns().saturating_sub(clock.boot_ns())
}

#[cfg(test)]
mod tests;
