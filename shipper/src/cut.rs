//! The cut: which bytes of which logs the next batch takes. Pure.
//!
//! Deficit round robin: every log with bytes waiting gets an equal share of the batch, and what a quiet log leaves goes to the
//! others. Logs that nobody else links come first, since their disk is wanted back. Where the batch ends before everyone had
//! a turn, the next one begins with who waited.

/// The smallest share of one log in a batch of a round, in bytes. It is raised to the longest line, or a long line would never
/// come whole.
pub const QUANTUM_BYTES: u64 = 256 * 1024;

/// What waits in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many bytes wait.
    pub bytes: u64,
    /// Whether its disk is wanted back.
    pub urgency: Urgency,
}

/// Whether a log's disk is wanted back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Nobody but us links the file: its space is freed when we let go.
    Unlinked,
    /// The file is still somebody's.
    Usual,
}

/// Who gets how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// As many as logs: how many bytes of each.
    pub bytes: Vec<u64>,
    /// Which log begins next time.
    pub next: usize,
}

/// Shares `budget` bytes among the logs, beginning at the one numbered `first`. A log's share is all that waits, or at least
/// `quantum`; the budget is exceeded by less than that.
pub fn cut(waiting: &[Waiting], first: usize, budget: u64, quantum: u64) -> Cut {
    let mut bytes = vec![0; waiting.len()];
    let mut left = budget;
    let mut next = first;
    let quantum = quantum.max(1);
    for urgency in [Urgency::Unlinked, Urgency::Usual] {
        let mut turn: Vec<usize> = (0..waiting.len())
            .map(|at| (at + first) % waiting.len())
            .filter(|&at| waiting[at].urgency == urgency && waiting[at].bytes > 0)
            .collect();
        while left > 0 && !turn.is_empty() {
            turn.retain(|&at| {
                if left == 0 {
                    return true;
                }
                let share = quantum.min(waiting[at].bytes - bytes[at]);
                bytes[at] += share;
                left = left.saturating_sub(share);
                next = (at + 1) % waiting.len();
                bytes[at] < waiting[at].bytes
            });
        }
    }
    Cut { bytes, next }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual(bytes: u64) -> Waiting {
        Waiting {
            bytes,
            urgency: Urgency::Usual,
        }
    }

    #[test]
    fn a_loud_log_does_not_starve_quiet_ones() {
        let waiting = [usual(1000), usual(5), usual(0), usual(30)];
        // Whoever has a turn takes a whole share of it: the budget is exceeded by less than one.
        assert_eq!(cut(&waiting, 0, 100, 10).bytes, [70, 5, 0, 30]);
    }

    #[test]
    fn what_nobody_links_comes_first() {
        let mut waiting = [usual(50), usual(50)];
        waiting[1].urgency = Urgency::Unlinked;
        assert_eq!(cut(&waiting, 0, 60, 10).bytes, [10, 50]);
    }

    #[test]
    fn who_had_no_turn_begins_next_time() {
        let waiting = [usual(100); 4];
        let one = cut(&waiting, 0, 200, 100);
        assert_eq!(one.bytes, [100, 100, 0, 0]);
        assert_eq!(cut(&waiting, one.next, 200, 100).bytes, [0, 0, 100, 100]);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_there_is_and_the_budget_is_used(
            sizes in proptest::collection::vec((0..5000_u64, any::<bool>()), 0..20),
            first in 0..20_usize,
            budget in 0..20_000_u64,
            quantum in 0..600_u64,
        ) {
            let waiting: Vec<Waiting> = sizes.iter().map(|&(bytes, unlinked)| Waiting {
                bytes,
                urgency: if unlinked { Urgency::Unlinked } else { Urgency::Usual },
            }).collect();
            let first = if waiting.is_empty() { 0 } else { first % waiting.len() };
            let got = cut(&waiting, first, budget, quantum);
            for (got, waiting) in got.bytes.iter().zip(&waiting) {
                prop_assert!(*got <= waiting.bytes);
            }
            let sum: u64 = got.bytes.iter().sum();
            let all: u64 = waiting.iter().map(|one| one.bytes).sum();
            prop_assert!(sum >= budget.min(all));
            prop_assert!(sum < budget + quantum.max(1));
        }
    }
}
