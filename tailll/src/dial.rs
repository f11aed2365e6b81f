//! The dial gate: how many SSH handshakes are under way at once.
//!
//! An SSH server drops connections at random once too many are unauthenticated (`MaxStartups`), and a shared jump host or a
//! whole site behind one address does so for everybody. So the gate starts wide, halves itself when handshakes are cut off, and
//! opens again slowly as they succeed. It does so for each road by itself, the direct one and that through each jump host: what
//! is overloaded on one road does not close the others. Who has to wait is counted, so that the status line can say so. Who is
//! dialled, and what is done about other failures, is the pool's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::lock::lock;

use tokio::sync::Notify;

/// Handshakes under way at once over all servers, at most.
pub const HANDSHAKES_TOTAL: u32 = 64;

/// Handshakes under way at once with one server, at most: OpenSSH begins to refuse at ten.
pub const HANDSHAKES_PER_SERVER: u32 = 6;

/// Handshakes under way at once through one jump host, at most: its connection carries them all.
pub const HANDSHAKES_PER_JUMP: u32 = 32;

/// Limits dialling; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct DialGate {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Limits>,
    freed: Notify,
}

/// Which way a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Road {
    /// Directly.
    Direct,
    /// Through this jump host.
    Through(String),
}

/// How a handshake went, as far as the gate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It was finished, whatever the answer to the login was, or failed for a reason of its own.
    Done,
    /// The server cut it off: it has too many.
    CutOff,
}

impl DialGate {
    /// Waits for a place to dial this server on this road.
    pub async fn enter(&self, road: &Road, server: &str) -> DialSlot {
        loop {
            // Made before looking, so that a place freed in between is not missed.
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.limits().take(road, server) {
                return DialSlot {
                    gate: self.clone(),
                    road: road.clone(),
                    server: server.to_owned(),
                    finished: None,
                };
            }
            freed.await;
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        lock(&self.shared.state)
    }
}

/// A place to dial; gives it back when dropped.
#[derive(Debug)]
pub struct DialSlot {
    gate: DialGate,
    road: Road,
    server: String,
    finished: Option<Handshake>,
}

impl DialSlot {
    /// Gives the place back and lets the gate learn from how it went.
    pub fn finish(mut self, how: Handshake) {
        self.finished = Some(how);
    }
}

impl Drop for DialSlot {
    fn drop(&mut self) {
        self.gate
            .limits()
            .give_back(&self.road, &self.server, self.finished);
        self.gate.shared.freed.notify_waiters();
    }
}

/// The numbers, apart from waiting, so that they can be tested by themselves.
#[derive(Debug, Default)]
struct Limits {
    under_way: u32,
    roads: HashMap<Road, Lane>,
    per_server: HashMap<(Road, String), u32>,
}

/// The numbers of one road.
#[derive(Debug)]
struct Lane {
    /// How many handshakes may be under way; a fraction, so that it can grow slowly.
    allowed: f64,
    most: f64,
    under_way: u32,
}

impl Lane {
    fn of(road: &Road) -> Self {
        let most = f64::from(match road {
            Road::Direct => HANDSHAKES_TOTAL,
            Road::Through(_) => HANDSHAKES_PER_JUMP,
        });
        Self {
            allowed: most,
            most,
            under_way: 0,
        }
    }

    fn give_back(&mut self, how: Option<Handshake>) {
        match how {
            // From the number that was too many, not from the limit: most of the limit may have been unused.
            Some(Handshake::CutOff) => {
                self.allowed = (f64::from(self.under_way) / 2.0).min(self.allowed).max(1.0);
            }
            Some(Handshake::Done) => {
                self.allowed = (self.allowed + 1.0 / self.allowed).min(self.most);
            }
            None => {}
        }
        self.under_way = self.under_way.saturating_sub(1);
    }
}

impl Limits {
    fn take(&mut self, road: &Road, server: &str) -> bool {
        let lane = self
            .roads
            .entry(road.clone())
            .or_insert_with(|| Lane::of(road));
        let here = self
            .per_server
            .entry((road.clone(), server.to_owned()))
            .or_insert(0);
        let is_open = self.under_way < HANDSHAKES_TOTAL
            && f64::from(lane.under_way) + 1.0 <= lane.allowed
            && *here < HANDSHAKES_PER_SERVER;
        if is_open {
            self.under_way += 1;
            lane.under_way += 1;
            *here += 1;
        } else if *here == 0 {
            self.per_server.remove(&(road.clone(), server.to_owned()));
        }
        is_open
    }

    fn give_back(&mut self, road: &Road, server: &str, how: Option<Handshake>) {
        if let Some(lane) = self.roads.get_mut(road) {
            lane.give_back(how);
        }
        self.under_way = self.under_way.saturating_sub(1);
        let key = (road.clone(), server.to_owned());
        if let Some(here) = self.per_server.get_mut(&key) {
            *here -= 1;
            if *here == 0 {
                self.per_server.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limits: &Limits) -> f64 {
        limits.roads[&Road::Direct].allowed
    }

    #[test]
    fn one_overloaded_road_closes_no_other() {
        let (a, b) = (Road::Through("a".to_owned()), Road::Through("b".to_owned()));
        let mut limits = Limits::default();
        let taken = (0..100)
            .filter(|n| limits.take(&a, &format!("h{n}")))
            .count();
        assert_eq!(taken, HANDSHAKES_PER_JUMP as usize);
        for n in 0..taken {
            limits.give_back(&a, &format!("h{n}"), Some(Handshake::CutOff));
        }
        assert!(
            limits.take(&a, "h0") && !limits.take(&a, "h1"),
            "{limits:?}"
        );
        let taken = (0..100)
            .filter(|n| limits.take(&b, &format!("h{n}")))
            .count();
        assert_eq!(taken, HANDSHAKES_PER_JUMP as usize);
        let left = (0..100)
            .filter(|n| limits.take(&Road::Direct, &format!("h{n}")))
            .count();
        assert_eq!(left, (HANDSHAKES_TOTAL - HANDSHAKES_PER_JUMP) as usize - 1);
    }

    #[test]
    fn a_server_is_dialled_by_few_at_once_and_others_are_not_held_up() {
        let mut limits = Limits::default();
        let taken = (0..10).filter(|_| limits.take(&Road::Direct, "a")).count();
        assert_eq!(taken, HANDSHAKES_PER_SERVER as usize);
        assert!(limits.take(&Road::Direct, "b"));
    }

    #[test]
    fn being_cut_off_halves_the_gate_and_success_opens_it_slowly() {
        let mut limits = Limits::default();
        for n in 0..40 {
            assert!(limits.take(&Road::Direct, &format!("h{n}")));
        }
        limits.give_back(&Road::Direct, "h0", Some(Handshake::CutOff));
        assert!(allowed(&limits) <= 20.0, "{}", allowed(&limits));
        assert!(!limits.take(&Road::Direct, "h0"), "39 are still under way");
        for n in 1..40 {
            limits.give_back(&Road::Direct, &format!("h{n}"), Some(Handshake::Done));
        }
        assert!(
            allowed(&limits) > 20.0 && allowed(&limits) < 24.0,
            "{}",
            allowed(&limits)
        );
        for _ in 0..100 {
            limits
                .roads
                .get_mut(&Road::Direct)
                .expect("a road")
                .under_way = 1;
            limits.give_back(&Road::Direct, "x", Some(Handshake::CutOff));
        }
        assert!(limits.take(&Road::Direct, "x"), "one may always dial");
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_is_given_back() {
        let gate = DialGate::default();
        let mut slots = Vec::new();
        for _ in 0..HANDSHAKES_PER_SERVER {
            slots.push(gate.enter(&Road::Direct, "a").await);
        }
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { drop(gate.enter(&Road::Direct, "a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        slots.pop().expect("a slot").finish(Handshake::Done);
        waiting.await.expect("the waiting task");
    }
}
