//! `--fold`: lines of one source that say the same again are counted instead of shown.
//!
//! Owns when two lines say the same, and when a count is to be said. Nothing is lost in silence: every line that is not shown
//! is in a count, and every count is said - when another line comes, when its source ends, when the program ends, and else
//! after [`SAID_AFTER`] or [`COUNTED_LINES`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::source::SourceId;

/// The longest line that is compared, in bytes. Longer ones are always shown.
pub const COMPARED_BYTES: usize = 8 * 1024;

/// How long lines are counted before the count is said.
pub const SAID_AFTER: Duration = Duration::from_secs(10);

/// The most lines that are counted before the count is said.
pub const COUNTED_LINES: u64 = 10_000;

/// `--fold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fold {
    /// Every line is shown.
    #[default]
    Off,
    /// Repeated lines are counted.
    On,
}

/// The last line of every source, and how many like it were not shown.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    sources: HashMap<SourceId, Repeated>,
    /// Sources with a count that is not said yet. There are few.
    counting: Vec<SourceId>,
}

#[derive(Debug, Default)]
struct Repeated {
    line: Vec<u8>,
    count: u64,
    /// The time of the last line that was counted, in ns since 1970.
    last_ns: Option<i64>,
    /// When it was first seen that something is counted.
    since: Option<Instant>,
}

/// So many lines were not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) source: SourceId,
    pub(crate) lines: u64,
    /// The time of the last of them, in ns since 1970.
    pub(crate) last_ns: Option<i64>,
}

/// What to do about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Show it, after the count where there is one.
    Show(Option<Count>),
    /// It is in a count. The count is to be said now if there is one here.
    Counted(Option<Count>),
}

impl Folder {
    /// What to do about the next line of a source.
    pub(crate) fn judge(&mut self, source: SourceId, line: &[u8], ts_ns: Option<i64>) -> Verdict {
        let repeated = self.sources.entry(source).or_default();
        if !line.is_empty() && line.len() <= COMPARED_BYTES && says_the_same(&repeated.line, line) {
            if repeated.count == 0 {
                self.counting.push(source);
            }
            repeated.count += 1;
            repeated.last_ns = ts_ns;
            return Verdict::Counted(if repeated.count >= COUNTED_LINES {
                self.take(source)
            } else {
                None
            });
        }
        repeated.line.clear();
        if line.len() <= COMPARED_BYTES {
            repeated.line.extend_from_slice(line);
        }
        Verdict::Show(if repeated.count > 0 {
            self.take(source)
        } else {
            None
        })
    }

    /// The count of a source, which begins anew.
    pub(crate) fn take(&mut self, source: SourceId) -> Option<Count> {
        let repeated = self.sources.get_mut(&source)?;
        if repeated.count == 0 {
            return None;
        }
        self.counting.retain(|counting| *counting != source);
        repeated.since = None;
        Some(Count {
            source,
            lines: std::mem::take(&mut repeated.count),
            last_ns: repeated.last_ns.take(),
        })
    }

    /// Forgets a source. Its count must have been taken.
    pub(crate) fn close(&mut self, source: SourceId) {
        self.sources.remove(&source);
        self.counting.retain(|counting| *counting != source);
    }

    /// A count that has to be said by now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Count> {
        let due = self.counting.iter().copied().find(|source| {
            self.sources
                .get_mut(source)
                .is_some_and(|repeated| *repeated.since.get_or_insert(now) + SAID_AFTER <= now)
        })?;
        self.take(due)
    }

    /// Any count.
    pub(crate) fn any(&mut self) -> Option<Count> {
        let source = *self.counting.first()?;
        self.take(source)
    }

    /// When a count has to be said next; after [`Folder::due`] has given nothing.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.counting
            .iter()
            .filter_map(|source| Some(self.sources.get(source)?.since? + SAID_AFTER))
            .min()
    }
}

/// Whether two lines are the same but for their numbers, those of a time among them.
fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let (mut at, mut at_other) = (0, 0);
    loop {
        match (one.get(at), other.get(at_other)) {
            (None, None) => return true,
            (Some(byte), Some(same)) if byte.is_ascii_digit() && same.is_ascii_digit() => {
                at += digits(&one[at..]);
                at_other += digits(&other[at_other..]);
            }
            (Some(byte), Some(same)) if byte == same => {
                at += 1;
                at_other += 1;
            }
            _ => return false,
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: SourceId = SourceId(1);
    const B: SourceId = SourceId(2);

    #[test]
    fn numbers_make_no_difference() {
        for (a, b, same) in [
            ("", "", true),
            ("12:00 took 5 ms", "12:01 took 1234 ms", true),
            ("a1", "a", false),
            ("a", "a1", false),
            ("a1b", "a2c", false),
            ("1", "22", true),
            ("x", "y", false),
        ] {
            assert_eq!(says_the_same(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
        }
    }

    #[test]
    fn a_count_is_said_in_time() {
        let start = Instant::now();
        let mut folder = Folder::default();
        assert_eq!(folder.judge(A, b"x 1", None), Verdict::Show(None));
        assert_eq!((folder.due(start), folder.deadline()), (None, None));
        assert_eq!(folder.judge(A, b"x 2", Some(7)), Verdict::Counted(None));
        assert_eq!(folder.due(start), None);
        assert_eq!(folder.deadline(), Some(start + SAID_AFTER));
        assert_eq!(
            folder.due(start + SAID_AFTER),
            Some(Count {
                source: A,
                lines: 1,
                last_ns: Some(7)
            })
        );
        assert_eq!(folder.deadline(), None);
        let long = vec![b'x'; COMPARED_BYTES + 1];
        for _ in 0..2 {
            assert_eq!(folder.judge(B, &long, None), Verdict::Show(None));
        }
        assert_eq!(folder.judge(B, b"y", None), Verdict::Show(None));
        for _ in 1..COUNTED_LINES {
            assert_eq!(folder.judge(B, b"y", None), Verdict::Counted(None));
        }
        assert!(matches!(
            folder.judge(B, b"y", None),
            Verdict::Counted(Some(Count {
                lines: COUNTED_LINES,
                ..
            }))
        ));
    }

    proptest! {
        #[test]
        fn every_line_is_shown_or_counted(lines in prop::collection::vec((1..3_u32, "[ab][0-9]?"), 0..60), close in any::<bool>()) {
            let mut folder = Folder::default();
            let (mut shown, mut counted) = (0, 0);
            for (source, line) in &lines {
                let count = match folder.judge(SourceId(*source), line.as_bytes(), None) {
                    Verdict::Show(count) => {
                        shown += 1;
                        count
                    }
                    Verdict::Counted(count) => count,
                };
                counted += count.map_or(0, |count| count.lines);
            }
            if close {
                counted += folder.take(A).map_or(0, |count| count.lines);
                folder.close(A);
            }
            while let Some(count) = folder.any() {
                counted += count.lines;
            }
            prop_assert_eq!(shown + counted, lines.len() as u64);
        }
    }
}
