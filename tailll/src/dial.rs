//! The dial gate: how many SSH handshakes are under way at once.
//!
//! An SSH server drops connections at random once too many are unauthenticated (`MaxStartups`), and a shared jump host or a
//! whole site behind one address does so for everybody. So the gate starts wide, halves itself when handshakes are cut off, and
//! opens again slowly as they succeed. Who has to wait is counted, so that the status line can say so. Who is dialled, and
//! what is done about other failures, is the pool's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

/// Handshakes under way at once over all servers, at most.
pub const HANDSHAKES_TOTAL: u32 = 64;

/// Handshakes under way at once with one server, at most: OpenSSH begins to refuse at ten.
pub const HANDSHAKES_PER_SERVER: u32 = 6;

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

/// How a handshake went, as far as the gate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It was finished, whatever the answer to the login was, or failed for a reason of its own.
    Done,
    /// The server cut it off: it has too many.
    CutOff,
}

impl DialGate {
    /// Waits for a place to dial this server.
    pub async fn enter(&self, server: &str) -> DialSlot {
        loop {
            // Made before looking, so that a place freed in between is not missed.
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.limits().take(server) {
                return DialSlot {
                    gate: self.clone(),
                    server: server.to_owned(),
                    finished: None,
                };
            }
            freed.await;
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A place to dial; gives it back when dropped.
#[derive(Debug)]
pub struct DialSlot {
    gate: DialGate,
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
        self.gate.limits().give_back(&self.server, self.finished);
        self.gate.shared.freed.notify_waiters();
    }
}

/// The numbers, apart from waiting, so that they can be tested by themselves.
#[derive(Debug)]
struct Limits {
    /// How many handshakes may be under way; a fraction, so that it can grow slowly.
    allowed: f64,
    under_way: u32,
    per_server: HashMap<String, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allowed: f64::from(HANDSHAKES_TOTAL),
            under_way: 0,
            per_server: HashMap::new(),
        }
    }
}

impl Limits {
    fn take(&mut self, server: &str) -> bool {
        let here = self.per_server.get(server).copied().unwrap_or(0);
        if f64::from(self.under_way) + 1.0 > self.allowed || here >= HANDSHAKES_PER_SERVER {
            return false;
        }
        self.under_way += 1;
        self.per_server.insert(server.to_owned(), here + 1);
        true
    }

    fn give_back(&mut self, server: &str, how: Option<Handshake>) {
        match how {
            // From the number that was too many, not from the limit: most of the limit may have been unused.
            Some(Handshake::CutOff) => {
                self.allowed = (f64::from(self.under_way) / 2.0).min(self.allowed).max(1.0);
            }
            Some(Handshake::Done) => {
                self.allowed = (self.allowed + 1.0 / self.allowed).min(f64::from(HANDSHAKES_TOTAL));
            }
            None => {}
        }
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(here) = self.per_server.get_mut(server) {
            *here -= 1;
            if *here == 0 {
                self.per_server.remove(server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_dialled_by_few_at_once_and_others_are_not_held_up() {
        let mut limits = Limits::default();
        let taken = (0..10).filter(|_| limits.take("a")).count();
        assert_eq!(taken, HANDSHAKES_PER_SERVER as usize);
        assert!(limits.take("b"));
    }

    #[test]
    fn being_cut_off_halves_the_gate_and_success_opens_it_slowly() {
        let mut limits = Limits::default();
        for n in 0..40 {
            assert!(limits.take(&format!("h{n}")));
        }
        limits.give_back("h0", Some(Handshake::CutOff));
        assert!(limits.allowed <= 20.0, "{}", limits.allowed);
        assert!(!limits.take("h0"), "39 are still under way");
        for n in 1..40 {
            limits.give_back(&format!("h{n}"), Some(Handshake::Done));
        }
        assert!(
            limits.allowed > 20.0 && limits.allowed < 24.0,
            "{}",
            limits.allowed
        );
        for _ in 0..100 {
            limits.under_way = 1;
            limits.give_back("x", Some(Handshake::CutOff));
        }
        assert!(limits.take("x"), "one may always dial");
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_that_is_given_back() {
        let gate = DialGate::default();
        let mut slots = Vec::new();
        for _ in 0..HANDSHAKES_PER_SERVER {
            slots.push(gate.enter("a").await);
        }
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { drop(gate.enter("a").await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        slots.pop().expect("a slot").finish(Handshake::Done);
        waiting.await.expect("the waiting task");
    }
}
