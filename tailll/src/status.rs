//! Who is connected: the words of the status line.
//!
//! Owns the state of each thing that is connected to (an instance, or a host) and one line about all of them. Where
//! and when it is shown is `output.rs`'s.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::escape;

/// The most names that one line lists for each kind of trouble.
const NAMES_SHOWN: usize = 3;

/// The most characters of a reason that one line shows.
const WHY_CHARS: usize = 80;

/// What is known of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits until others have been dialled.
    Waiting,
    /// It is being dialled.
    Connecting,
    /// Its lines come.
    Connected,
    /// It broke or was refused, and is tried again.
    Retrying {
        /// Why, as a fragment: `connection refused`.
        why: String,
    },
    /// It is not tried again.
    Failed {
        /// Why, as a fragment: `permission denied`.
        why: String,
    },
}

/// The states by name.
#[derive(Debug, Clone, Default)]
pub struct Status {
    states: BTreeMap<String, State>,
    past: Option<String>,
}

impl Status {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes how one is now. The name is what people call it: `node7`.
    pub fn set(&mut self, name: &str, state: State) {
        self.states.insert(name.to_string(), state);
    }

    /// Notes how far the archive has been read, or that it is no longer read.
    pub fn set_past(&mut self, past: Option<String>) {
        self.past = past;
    }

    /// Forgets one that is not followed any more.
    pub fn remove(&mut self, name: &str) {
        self.states.remove(name);
    }

    /// Whether all are connected.
    pub fn is_settled(&self) -> bool {
        self.states.values().all(|state| *state == State::Connected)
    }

    /// The line, or none where nothing is known.
    pub fn render(&self) -> Option<String> {
        if let Some(past) = &self.past {
            return Some(past.clone());
        }
        if self.states.is_empty() {
            return None;
        }
        let count = |wanted: &State| {
            self.states
                .values()
                .filter(|state| *state == wanted)
                .count()
        };
        let mut line = format!(
            "connected {}/{}",
            count(&State::Connected),
            self.states.len()
        );
        for (wanted, word) in [
            (State::Connecting, "connecting"),
            (State::Waiting, "waiting to be dialled"),
        ] {
            let count = count(&wanted);
            if count > 0 {
                let _ = write!(line, ", {count} {word}");
            }
        }
        let trouble = |word: &str, why_of: fn(&State) -> Option<&str>| {
            let all: Vec<(&str, &str)> = self
                .states
                .iter()
                .filter_map(|(name, state)| Some((name.as_str(), why_of(state)?)))
                .collect();
            if all.is_empty() {
                String::new()
            } else {
                format!(", {} {word}: {}", all.len(), names(&all))
            }
        };
        line.push_str(&trouble("retrying", |state| match state {
            State::Retrying { why } => Some(why),
            _ => None,
        }));
        line.push_str(&trouble("failed", |state| match state {
            State::Failed { why } => Some(why),
            _ => None,
        }));
        Some(line)
    }
}

/// The first few names, each with its reason; a reason that is the next one's too is said once.
fn names(all: &[(&str, &str)]) -> String {
    let shown = &all[..all.len().min(NAMES_SHOWN)];
    let mut text = String::new();
    for (at, (name, why)) in shown.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(&escape::text(name));
        if shown.get(at + 1).is_none_or(|(_, next)| next != why) {
            let why: String = why.chars().take(WHY_CHARS).collect();
            let _ = write!(text, " ({})", escape::text(&why));
        }
    }
    if all.len() > shown.len() {
        let _ = write!(text, " and {} more", all.len() - shown.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retrying(why: &str) -> State {
        State::Retrying { why: why.into() }
    }

    #[test]
    fn lines() {
        let mut status = Status::new();
        assert_eq!(status.render(), None);
        let mut shown = Vec::new();
        for n in 0..5 {
            status.set(&format!("node{n}"), State::Waiting);
        }
        shown.push(status.render().unwrap());
        status.set("node0", State::Connecting);
        status.set("node1", State::Connected);
        shown.push(status.render().unwrap());
        assert!(!status.is_settled());
        status.set("node0", retrying("connection refused"));
        for n in 2..5 {
            status.set(&format!("node{n}"), State::Connected);
        }
        shown.push(status.render().unwrap());
        for n in 0..5 {
            status.set(&format!("node{n}"), retrying("connection refused"));
        }
        status.set("node1", retrying("timed out\x1b[2J"));
        status.set(
            "node4",
            State::Failed {
                why: "permission denied".into(),
            },
        );
        status.set("node5", retrying("timed out"));
        shown.push(status.render().unwrap());
        insta::assert_snapshot!(shown.join("\n"), @r"
        connected 0/5, 5 waiting to be dialled
        connected 1/5, 1 connecting, 3 waiting to be dialled
        connected 4/5, 1 retrying: node0 (connection refused)
        connected 0/6, 5 retrying: node0 (connection refused), node1 (timed out\x1b[2J), node2 (connection refused) and 2 more, 1 failed: node4 (permission denied)
        ");
        for n in 0..6 {
            status.set(&format!("node{n}"), State::Connected);
        }
        assert!(status.is_settled());
        for n in 0..6 {
            status.remove(&format!("node{n}"));
        }
        assert_eq!(status.render(), None);
    }
}
