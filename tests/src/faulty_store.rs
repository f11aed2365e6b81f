//! A store that fails as real ones do, by a seed: it does what it says it did not, does it later, or does not do it at all.
//!
//! Owns the faults and their counts; the objects are the store's within. The same operations in the same order meet the same
//! faults. A fault is drawn when an operation begins to run.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use archive::store::{
    Body, Conditional, Digest, Failure, Head, Page, Pending, Put, Store, StoreError,
};
use bytes::Bytes;

use crate::writers::Rng;

/// The most further operations after which a late object lands, in operations.
const MAX_LATE_OPERATIONS: u64 = 8;

/// How long a slow operation waits first, where the plan does not say.
const SLOW_FOR: Duration = Duration::from_millis(2);

/// All failures that operations are told without anything being done.
const FAILURES: [Failure; 7] = [
    Failure::NotFound,
    Failure::Denied,
    Failure::Throttled,
    Failure::Skewed,
    Failure::Full,
    Failure::Unknown,
    Failure::Other,
];

/// How often what goes wrong: chances in a thousand operations. The first three happen to puts only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    /// The object is written; the caller is told [`Failure::Unknown`].
    pub put_but_told_not: u32,
    /// The object is not written; the caller is told [`Failure::Unknown`].
    pub not_put: u32,
    /// The caller is told [`Failure::Unknown`]; the object is written some operations later, if nobody else was first.
    pub put_late: u32,
    /// Nothing is done; the caller is told a failure of any kind, each as likely as the others.
    pub failure: u32,
    /// Nothing is done; the caller is told this failure. For a plan of one kind.
    pub only: Option<(Failure, u32)>,
    /// It is done, after a while.
    pub slow: u32,
    /// How long that while is.
    pub slow_for: Duration,
}

impl FaultPlan {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        put_but_told_not: 0,
        not_put: 0,
        put_late: 0,
        failure: 0,
        only: None,
        slow: 0,
        slow_for: SLOW_FOR,
    };

    /// Everything goes wrong with the same chance; together it should be less than a thousand.
    pub const fn all(per_mille: u32) -> Self {
        Self {
            put_but_told_not: per_mille,
            not_put: per_mille,
            put_late: per_mille,
            failure: per_mille,
            only: None,
            slow: per_mille,
            slow_for: SLOW_FOR,
        }
    }
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Operations that were asked for.
    pub operations: u64,
    /// Objects that were written without the caller being told so.
    pub put_but_told_not: u64,
    /// Objects that were not written, which the caller could not know.
    pub not_put: u64,
    /// Objects that were put off.
    pub put_late: u64,
    /// Of these, the ones that came before any other of their key.
    pub landed: u64,
    /// Operations that were told a failure with nothing done.
    pub failures: u64,
    /// Operations that waited.
    pub slow: u64,
    /// Objects that were written, in whatever way.
    pub created: u64,
}

/// A store with faults in front of another.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: FaultPlan,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Rng,
    healed: bool,
    late: Vec<Late>,
    counts: FaultCounts,
}

/// A put on its way.
#[derive(Debug)]
struct Late {
    key: String,
    bytes: Bytes,
    sha256: Digest,
    after: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    Nothing,
    PutButToldNot,
    NotPut,
    PutLate,
    Failure(Failure),
    Slow,
}

impl FaultyStore {
    /// Faults by `seed` and `plan` in front of `inner`.
    pub fn new(inner: Arc<dyn Store>, seed: u64, plan: FaultPlan) -> Self {
        Self {
            inner,
            plan,
            state: Mutex::new(State {
                random: Rng::new(seed),
                healed: false,
                late: Vec::new(),
                counts: FaultCounts::default(),
            }),
        }
    }

    /// Ends all faults. What is late still lands, in its time or with [`FaultyStore::land_late`].
    pub fn heal(&self) {
        self.state().healed = true;
    }

    /// Begins with faults again.
    pub fn break_again(&self) {
        self.state().healed = false;
    }

    /// What has happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.state().counts
    }

    /// Lets all land that is late.
    pub async fn land_late(&self) -> Result<(), StoreError> {
        let late = std::mem::take(&mut self.state().late);
        self.land(late).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn land(&self, late: Vec<Late>) -> Result<(), StoreError> {
        for Late {
            key, bytes, sha256, ..
        } in late
        {
            if self.inner.put_new(&key, Body::Bytes(bytes), sha256).await? == Put::Created {
                let counts = &mut self.state().counts;
                counts.landed += 1;
                counts.created += 1;
            }
        }
        Ok(())
    }

    /// Lets land what is due, and draws what happens to the next operation.
    async fn begin(&self, is_put: bool) -> Result<Drawn, StoreError> {
        let (due, drawn) = {
            let mut state = self.state();
            state.counts.operations += 1;
            for late in &mut state.late {
                late.after = late.after.saturating_sub(1);
            }
            let due: Vec<Late> = state.late.extract_if(.., |late| late.after == 0).collect();
            (due, state.draw(&self.plan, is_put))
        };
        self.land(due).await?;
        if drawn == Drawn::Slow {
            tokio::time::sleep(self.plan.slow_for).await;
        }
        Ok(drawn)
    }

    /// One operation that only reads.
    async fn read<T>(
        &self,
        operation: &'static str,
        key: &str,
        work: Pending<'_, T>,
    ) -> Result<T, StoreError> {
        match self.begin(false).await? {
            Drawn::Failure(kind) => Err(told(operation, key, kind)),
            _ => work.await,
        }
    }
}

impl Store for FaultyStore {
    fn put_new<'a>(&'a self, key: &'a str, body: Body, sha256: Digest) -> Pending<'a, Put> {
        Box::pin(async move {
            let unknown = || Err(told("put", key, Failure::Unknown));
            match self.begin(true).await? {
                Drawn::Failure(kind) => Err(told("put", key, kind)),
                Drawn::NotPut => unknown(),
                Drawn::PutLate => {
                    // The bytes are on their way, whatever becomes of the file.
                    let bytes = in_memory(body)
                        .map_err(|error| StoreError::new("put", key, Failure::Other, error))?;
                    let mut state = self.state();
                    state.counts.put_late += 1;
                    let after = 1 + state.random.below(MAX_LATE_OPERATIONS);
                    state.late.push(Late {
                        key: key.to_owned(),
                        bytes,
                        sha256,
                        after,
                    });
                    unknown()
                }
                drawn @ (Drawn::Nothing | Drawn::Slow | Drawn::PutButToldNot) => {
                    let put = self.inner.put_new(key, body, sha256).await?;
                    let mut state = self.state();
                    if put == Put::Created {
                        state.counts.created += 1;
                    }
                    if drawn == Drawn::PutButToldNot {
                        state.counts.put_but_told_not += 1;
                        drop(state);
                        return unknown();
                    }
                    Ok(put)
                }
            }
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Head>> {
        Box::pin(self.read("head", key, self.inner.head(key)))
    }

    fn get<'a>(&'a self, key: &'a str, range: Option<Range<u64>>) -> Pending<'a, Bytes> {
        Box::pin(self.read("get", key, self.inner.get(key, range)))
    }

    fn list<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> Pending<'a, Page> {
        Box::pin(self.read("list", prefix, self.inner.list(prefix, after)))
    }

    fn probe<'a>(&'a self, key: &'a str) -> Pending<'a, Conditional> {
        Box::pin(self.read("probe", key, self.inner.probe(key)))
    }

    fn root(&self) -> String {
        self.inner.root()
    }
}

impl State {
    fn draw(&mut self, plan: &FaultPlan, is_put: bool) -> Drawn {
        // Two numbers for every operation, so that one plan's draws do not shift another's.
        let mut number = self.random.below(1000);
        let kind = FAILURES[self.random.below(FAILURES.len() as u64) as usize];
        if self.healed {
            return Drawn::Nothing;
        }
        let (only, only_chance) = plan.only.unwrap_or((Failure::Other, 0));
        let for_puts = |chance: u32| if is_put { chance } else { 0 };
        for (chance, drawn) in [
            (for_puts(plan.put_but_told_not), Drawn::PutButToldNot),
            (for_puts(plan.not_put), Drawn::NotPut),
            (for_puts(plan.put_late), Drawn::PutLate),
            (plan.failure, Drawn::Failure(kind)),
            (only_chance, Drawn::Failure(only)),
            (plan.slow, Drawn::Slow),
        ] {
            let chance = u64::from(chance);
            if number < chance {
                match drawn {
                    Drawn::NotPut => self.counts.not_put += 1,
                    Drawn::Failure(_) => self.counts.failures += 1,
                    Drawn::Slow => self.counts.slow += 1,
                    // Counted when it has happened.
                    Drawn::Nothing | Drawn::PutButToldNot | Drawn::PutLate => {}
                }
                return drawn;
            }
            number -= chance;
        }
        Drawn::Nothing
    }
}

fn in_memory(body: Body) -> io::Result<Bytes> {
    match body {
        Body::Bytes(bytes) => Ok(bytes),
        Body::File { path, .. } => Ok(std::fs::read(path)?.into()),
    }
}

fn told(operation: &'static str, key: &str, kind: Failure) -> StoreError {
    let cause = io::Error::other("a fault that was asked for");
    StoreError::new(operation, key, kind, cause)
}
