//! The agent against a world that does not wait: jobs write, rotate, truncate and vanish; the store fails; the agent is killed at
//! every step. Afterwards the archive alone has to say what was written.
//!
//! A seed is a whole story. `SHIPPER_SEEDS=500 cargo test -p e2e --test shipper_simulator` tells more of them, `SHIPPER_SEED=17` one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use archive::Store;
use archive::store::dir::DirStore;
use e2e::faulty_store::{FaultPlan, FaultyStore};
use e2e::sandboxes::{Lines, Sandboxes};
use e2e::shipped::{Compared, Shipped};
use e2e::shipper_toml::ShipperToml;
use e2e::writers::Rng;
use shipper::agent::{Agent, AgentError, Flush, Hook, Parts, Step, Unfinished};
use shipper::claim;
use shipper::clock::{Clock as _, SystemClock};
use shipper::config::Config;
use shipper::log::Phase;
use shipper::rows::AgeRule;
use shipper::spool::Spool;
use shipper::state::State;
use shipper::upload::{Uploaded, put_once};

/// How many seeds `make test` has time for.
const SEEDS: u64 = 20;

/// How much happens in one story, in steps.
const STEPS: u64 = 220;

/// The most that happens between two steps of the agent, in steps of the world.
const BURST_STEPS: u64 = 40;

/// How often the end of a story is looked at before it counts as one that does not end.
const MAX_ROUNDS: usize = 60;

fn config(root: &Path, seed: u64) -> Result<Config> {
    let encoding = if seed.is_multiple_of(2) {
        "parquet"
    } else {
        "ndjson"
    };
    let text = ShipperToml {
        root,
        archive: None,
        encoding,
        keys: "max_line_bytes = 1024",
        tables: "",
    }
    .text();
    let mut config = Config::parse(&text, Path::new("shipper.toml"), "host1")?;
    // A story is over in moments.
    config.quiet = Duration::ZERO;
    config.unfinished_line = Duration::from_millis(20);
    // Batches that end in the middle of things.
    config.batch_bytes = 4096;
    Ok(config)
}

/// One agent after another on one host.
struct Host {
    config: Arc<Config>,
    store: Arc<FaultyStore>,
    rng: Rng,
    /// Steps left until the agent is killed.
    fuse: Arc<AtomicU64>,
    agent: Option<Agent>,
    kills: u64,
}

impl Host {
    fn hook(&self) -> Hook {
        let fuse = self.fuse.clone();
        Arc::new(move |_: Step| {
            let left = fuse.load(Ordering::Relaxed);
            fuse.store(left.saturating_sub(1), Ordering::Relaxed);
            if left == 1 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    async fn start(&mut self) -> Result<()> {
        self.fuse.store(1 + self.rng.below(60), Ordering::Relaxed);
        let mut numbers = Rng::new(self.rng.next_u64());
        let mut random = move || numbers.next_u64();
        let (spool, _) = Spool::open(&self.config.spool.folders, "machine", &mut random)?;
        let mut state = State::open(&self.config.state.folder)?;
        let identity = claim::intend(&mut state, spool.agent(), &mut random)?;
        loop {
            match claim::claim(&*self.store, &identity, "host1", SystemClock.wall_ns()).await {
                Ok(()) => break,
                Err(claim::ClaimError::Store(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let identity = claim::hold(&mut state, identity)?;
        let agent = Agent::start(Parts {
            config: self.config.clone(),
            age: AgeRule::AnyAge,
            spool,
            state,
            identity,
            clock: Arc::new(SystemClock),
            random: Box::new(random),
            hook: self.hook(),
        })?;
        self.agent = Some(agent);
        Ok(())
    }

    /// Lets the agent do something, and buries it when it was killed meanwhile.
    async fn act(&mut self, world: &mut Sandboxes) -> Result<()> {
        if self.agent.is_none() {
            self.start().await?;
        }
        let what = self.rng.below(10);
        let took_all = self.rng.one_in(6);
        let agent = self.agent.as_mut().context("an agent")?;
        let done = match what {
            0..=2 => agent.scan(None).map(|_| ()),
            3..=5 => {
                let unfinished = if took_all {
                    Unfinished::Take
                } else {
                    Unfinished::Wait
                };
                agent.flush(unfinished).map(|_| ())
            }
            6 => {
                agent.look_at_hot();
                Ok(())
            }
            _ => upload(agent, &*self.store).await?,
        };
        for file in world.files.values_mut() {
            file.discovered |= agent.holds(&file.id);
        }
        if what <= 2 && done.is_ok() && !agent.wants_scan() {
            note_read_ahead(agent, world);
        }
        match done {
            Ok(()) if self.rng.one_in(50) => self.kill(),
            Ok(()) => {}
            Err(AgentError::Ended(_)) => self.kill(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn kill(&mut self) {
        // Dropping an agent writes nothing: what is on the disk is what a killed process leaves there.
        self.agent = None;
        self.kills += 1;
    }

    /// Everything comes to rest: nobody is killed, the store is well, and the agent ships what there is.
    async fn finish(&mut self) -> Result<()> {
        self.store.heal();
        self.store.land_late().await?;
        if self.agent.is_none() {
            self.start().await?;
        }
        self.fuse.store(u64::MAX, Ordering::Relaxed);
        let agent = self.agent.as_mut().context("an agent")?;
        for _ in 0..MAX_ROUNDS {
            agent.scan(None)?;
            let flush = agent.flush(Unfinished::Take)?;
            upload(agent, &*self.store).await??;
            let rests = !agent.has_doubts() && !agent.wants_scan() && agent.behind() == 0;
            if flush == Flush::Nothing && rests && agent.outstanding().next().is_none() {
                return Ok(());
            }
        }
        bail!("the agent does not come to rest: {:?}", agent.standing())
    }
}

/// After a scan the agent has all that is in files which it saw truncated: no later truncation takes that away.
fn note_read_ahead(agent: &Agent, world: &mut Sandboxes) {
    let id = agent.identity().agent;
    let ahead: BTreeSet<&str> = agent
        .logs()
        .filter(|log| log.key.epoch > 0 && log.phase == Phase::Open && log.source == log.key.src)
        .map(|log| log.key.src.as_str())
        .collect();
    for file in world.files.values_mut() {
        if agent.holds(&file.id) && ahead.contains(file.id.src(id, 0).as_str()) {
            file.set_read_ahead();
        }
    }
}

/// Puts what is planned, each object once; what fails stays planned.
async fn upload(agent: &mut Agent, store: &dyn Store) -> Result<Result<(), AgentError>> {
    let planned: Vec<_> = agent.outstanding().cloned().collect();
    for planned in planned {
        match put_once(store, &planned, &agent.staged_path(&planned)).await {
            Ok(Uploaded::Done) => {
                if let Err(error) = agent.commit(&planned.key) {
                    return Ok(Err(error));
                }
            }
            Ok(Uploaded::Conflict { key }) => bail!("{key}: another object is there"),
            Err(_) => {}
        }
    }
    Ok(Ok(()))
}

/// Tells one story, and how it ended.
async fn story(seed: u64) -> Result<(Compared, u64)> {
    let root = tempfile::tempdir()?;
    // In every other pair of stories, in both encodings.
    let lines = if seed % 4 < 2 {
        Lines::Varied
    } else {
        Lines::Alike
    };
    let mut world = Sandboxes::new(&root.path().join("jobs"), seed)?.with_lines(lines);
    let inner: Arc<dyn Store> = Arc::new(DirStore::new(root.path().join("archive")));
    let store = Arc::new(FaultyStore::new(inner.clone(), seed, FaultPlan::all(60)));
    let mut host = Host {
        config: Arc::new(config(root.path(), seed)?),
        store,
        rng: Rng::new(seed ^ 0x5eed),
        fuse: Arc::new(AtomicU64::new(0)),
        agent: None,
        kills: 0,
    };
    for _ in 0..STEPS {
        if host.rng.one_in(2) {
            let steps = match host.rng.below(12) {
                0 => host.rng.range(1, BURST_STEPS),
                _ => 1,
            };
            for _ in 0..steps {
                world.step()?;
            }
        } else {
            host.act(&mut world).await?;
        }
    }
    if host.rng.one_in(2) {
        world.end_all()?;
    }
    host.finish().await?;
    let agent = host.agent.as_ref().context("an agent")?.identity().agent;
    for file in world.files.values_mut() {
        let held = host
            .agent
            .as_ref()
            .is_some_and(|agent| agent.holds(&file.id));
        file.discovered |= held;
    }
    let shipped = Shipped::read(&*inner).await?;
    Ok((shipped.compare(&world, agent)?, host.kills))
}

#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "what many seeds came to is the point of telling them"
)]
async fn every_byte_is_in_exactly_one_row_whatever_happens() -> Result<()> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("SHIPPER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHIPPER_SEEDS").unwrap_or(SEEDS),
    };
    let (mut sum, mut kills) = (Compared::default(), 0);
    for seed in seeds.clone() {
        let (compared, killed) = story(seed)
            .await
            .with_context(|| format!("seed {seed}: SHIPPER_SEED={seed} tells it again"))?;
        sum.bytes += compared.bytes;
        sum.declared += compared.declared;
        sum.truncated += compared.truncated;
        sum.read_ahead += compared.read_ahead;
        kills += killed;
    }
    println!(
        "{} seeds, {kills} kills: {} bytes in rows, {} truncated before they were read, {} of those declared; {} read ahead of a truncation",
        seeds.clone().count(),
        sum.bytes,
        sum.truncated,
        sum.declared,
        sum.read_ahead
    );
    anyhow::ensure!(
        kills > 0 && sum.bytes > 0,
        "a story without a kill or a byte shows nothing"
    );
    anyhow::ensure!(
        seeds.count() < SEEDS as usize || sum.read_ahead > 0,
        "so many stories without a second truncation show nothing of reading ahead"
    );
    Ok(())
}
