//! Where in a file a span of time begins, found by a few small reads.
//!
//! Owns the search: which window to read next, and what the windows mean together. It reads nothing by itself. Logs are
//! written in the order of time, so halving finds the place; the windows show where a log is not, or has no times at all,
//! and then all of it has to be read.

use jiff::tz::TimeZone;
use joblog::RecordParser;
use joblog::lines::{Kind, RawLine, Splitter};

/// Bytes of one window.
pub const WINDOW_BYTES: u64 = 64 * 1024;

/// Windows in a row that are looked through for a time, before the place between them counts as later than it is.
const WINDOWS_IN_A_ROW: u32 = 4;

/// How far times may go back for the lines still to count as in order: several threads write them.
const DISORDER_NS: i64 = 10_000_000_000;

/// The first bytes of a line, within which its time stands if it has one.
const TIMED_BYTES: usize = 512;

/// The longest line of a window whose time is looked for.
const LINE_BYTES: usize = WINDOW_BYTES as usize;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Everything of the span stands from this offset of a line on.
    At {
        /// The offset in bytes.
        offset: u64,
        /// The file's first time in ns since 1970, if it is known.
        first_ns: Option<i64>,
    },
    /// The lines have no times.
    Undated,
    /// The times go back.
    Unordered,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read at most [`WINDOW_BYTES`] from this offset, and pass them on.
    Read {
        /// The offset in bytes.
        at: u64,
    },
    /// Nothing: this was found.
    Done(Found),
}

/// A search for the first line that is not before a time.
#[derive(Debug)]
pub struct Search {
    since_ns: i64,
    size: u64,
    parser: RecordParser,
    stage: Stage,
    /// Offsets and times of dated lines, in the file's order.
    seen: Vec<(u64, i64)>,
    is_unordered: bool,
    first_ns: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Beginning,
    Ending,
    /// Between a dated line before the time and one that is not, or the end.
    Between {
        low: u64,
        high: u64,
        /// The window that is being looked at, and the middle that it is for.
        at: u64,
        middle: u64,
        windows: u32,
    },
    Done(Found),
}

impl Search {
    /// For the first line of a file of `size` bytes that is not before `since_ns`. Times without a zone are in `zone`;
    /// `reference_ns` is about when the lines were written.
    pub fn new(since_ns: i64, size: u64, zone: &TimeZone, reference_ns: i64) -> Self {
        Self {
            since_ns: since_ns.saturating_sub(DISORDER_NS),
            size,
            parser: RecordParser::new(zone.clone(), reference_ns),
            stage: Stage::Beginning,
            seen: Vec::new(),
            is_unordered: false,
            first_ns: None,
        }
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        match self.stage {
            Stage::Beginning => Step::Read { at: 0 },
            Stage::Ending => Step::Read {
                at: self.size.saturating_sub(WINDOW_BYTES),
            },
            Stage::Between { at, .. } => Step::Read { at },
            Stage::Done(found) => Step::Done(found),
        }
    }

    /// Takes the window that was asked for.
    pub fn take(&mut self, bytes: &[u8]) {
        match self.stage {
            Stage::Beginning => {
                let times = self.look(0, bytes);
                self.first_ns = times.first().map(|(_, time)| *time);
                let is_late = self.first_ns.is_some_and(|first| first >= self.since_ns);
                self.stage = if self.is_unordered {
                    Stage::Done(Found::Unordered)
                } else if self.size <= WINDOW_BYTES && times.is_empty() {
                    Stage::Done(Found::Undated)
                } else if is_late || self.size <= WINDOW_BYTES {
                    self.at(0)
                } else {
                    Stage::Ending
                };
            }
            Stage::Ending => {
                let times = self.look(self.size.saturating_sub(WINDOW_BYTES), bytes);
                let last_before = times.iter().rev().find(|(_, time)| *time < self.since_ns);
                self.stage = if self.is_unordered {
                    Stage::Done(Found::Unordered)
                } else if self.seen.is_empty() {
                    Stage::Done(Found::Undated)
                } else if let Some(&(offset, _)) = last_before {
                    self.at(offset)
                } else {
                    self.between(0, self.size.saturating_sub(WINDOW_BYTES))
                };
            }
            Stage::Between {
                low,
                high,
                at,
                middle,
                windows,
            } => {
                let times = self.look(at, bytes);
                let next = at + WINDOW_BYTES;
                self.stage = if self.is_unordered {
                    Stage::Done(Found::Unordered)
                } else if let Some(&(offset, time)) = times.first() {
                    let last_before = times.iter().rev().find(|(_, time)| *time < self.since_ns);
                    match last_before {
                        // Both sides lie in this window.
                        Some(&(last, _)) if times.last().is_some_and(|(at, _)| *at != last) => {
                            self.at(last)
                        }
                        Some(&(last, _)) => self.between(last.max(low), high),
                        None if time < self.since_ns => self.between(offset.max(low), high),
                        None => self.between(low, middle),
                    }
                } else if windows < WINDOWS_IN_A_ROW && next < high {
                    Stage::Between {
                        low,
                        high,
                        at: next,
                        middle,
                        windows: windows + 1,
                    }
                } else {
                    self.between(low, middle)
                };
            }
            Stage::Done(_) => {}
        }
    }

    fn at(&self, offset: u64) -> Stage {
        Stage::Done(Found::At {
            offset,
            first_ns: self.first_ns,
        })
    }

    /// Halves what is left, or ends where reading it costs no more than looking further.
    fn between(&self, low: u64, high: u64) -> Stage {
        if high.saturating_sub(low) <= WINDOW_BYTES {
            return self.at(low);
        }
        let middle = low + (high - low) / 2;
        Stage::Between {
            low,
            high,
            at: middle,
            middle,
            windows: 1,
        }
    }

    /// The dated lines that begin in a window, and whether they are in order with what was seen.
    fn look(&mut self, at: u64, bytes: &[u8]) -> Vec<(u64, i64)> {
        // The first line of a window in the middle began before it.
        let skipped = if at == 0 {
            0
        } else {
            match memchr::memchr(b'\n', bytes) {
                Some(end) => end + 1,
                None => return Vec::new(),
            }
        };
        let mut times = Vec::new();
        let parser = &mut self.parser;
        let mut note = |line: RawLine<'_>| {
            // A line that is cut off may have half a time.
            let is_whole = match line.kind {
                Kind::Whole => true,
                Kind::Piece | Kind::Unfinished => {
                    line.bytes.len() >= TIMED_BYTES && line.bytes.first() != Some(&b'{')
                }
            };
            if is_whole && let Some(time) = parser.timestamp(line.bytes) {
                times.push((line.offset, time));
            }
        };
        let mut splitter = Splitter::new(LINE_BYTES, at + skipped as u64);
        splitter.push(&bytes[skipped..], &mut note);
        splitter.finish(&mut note);
        let mut latest = i64::MIN;
        for &(_, time) in &times {
            self.is_unordered |= time < latest.saturating_sub(DISORDER_NS);
            latest = latest.max(time);
        }
        for seen in times.first().into_iter().chain(times.last()) {
            self.note(*seen);
        }
        times
    }

    /// Remembers a line's time, and whether it is in order with the others.
    fn note(&mut self, (offset, time): (u64, i64)) {
        let place = self.seen.partition_point(|(other, _)| *other < offset);
        let before = place.checked_sub(1).and_then(|place| self.seen.get(place));
        let is_early = before.is_some_and(|(_, before)| time < before.saturating_sub(DISORDER_NS));
        let after = self.seen.get(place);
        let is_late = after.is_some_and(|(_, after)| *after < time.saturating_sub(DISORDER_NS));
        self.is_unordered |= is_early || is_late;
        self.seen.insert(place, (offset, time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: i64 = 1_000_000_000;
    const START: i64 = 1_795_485_600;

    fn stamp(seconds: i64) -> String {
        crate::moment::show((START + seconds) * S, &TimeZone::UTC)
    }

    /// What is found in a text, and how many windows were read.
    fn search(text: &[u8], since_s: i64) -> (Found, usize) {
        let mut search = Search::new(
            (START + since_s) * S,
            text.len() as u64,
            &TimeZone::UTC,
            START * S,
        );
        let mut windows = 0;
        loop {
            match search.step() {
                Step::Done(found) => return (found, windows),
                Step::Read { at } => {
                    let at = (at as usize).min(text.len());
                    let end = (at + WINDOW_BYTES as usize).min(text.len());
                    windows += 1;
                    search.take(&text[at..end]);
                }
            }
        }
    }

    fn offset(found: Found) -> usize {
        match found {
            Found::At { offset, .. } => offset as usize,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_in_a_large_file_takes_few_windows() {
        let mut text = Vec::new();
        for n in 0..200_000 {
            text.extend(
                format!(
                    "{} INFO line {n} of a job that says something of usual length\n",
                    stamp(n)
                )
                .bytes(),
            );
        }
        for since in [1_000, 77_777, 150_000, 199_999] {
            let (found, windows) = search(&text, since);
            let offset = offset(found);
            let wanted = memchr::memmem::find(&text, stamp(since).as_bytes()).unwrap();
            assert!(
                offset <= wanted && wanted - offset <= 2 * WINDOW_BYTES as usize,
                "{offset} {wanted}"
            );
            assert!(windows <= 12, "{windows}");
        }
        assert_eq!(
            search(&text, -100).0,
            Found::At {
                offset: 0,
                first_ns: Some(START * S)
            }
        );
        // All of it is older: only the last lines are read, to be sure.
        let (found, windows) = search(&text, 900_000);
        assert!(text.len() - offset(found) < 200 && windows == 2);
    }

    #[test]
    fn times_that_are_missing_or_go_back_are_noticed() {
        assert_eq!(search(b"", 0).0, Found::Undated);
        assert_eq!(search(b"no time\n", 0).0, Found::Undated);
        assert_eq!(search(&b"no time\n".repeat(50_000), 0).0, Found::Undated);
        let mut text = Vec::new();
        for n in 0..100_000 {
            text.extend(format!("{} a\n", stamp(-n)).bytes());
        }
        assert_eq!(search(&text, -50_000).0, Found::Unordered);
        let small = format!("{} a\n{} b\n", stamp(100), stamp(0));
        assert_eq!(search(small.as_bytes(), 50).0, Found::Unordered);
    }

    #[test]
    fn long_stretches_without_times_only_cost_more() {
        let mut text = format!("{} a\n", stamp(0)).into_bytes();
        text.extend(b"\tat something\n".repeat(100_000));
        text.extend(format!("{} b\n", stamp(100)).bytes());
        text.extend(b"\tat something\n".repeat(100_000));
        text.extend(format!("{} c\n", stamp(200)).bytes());
        let wanted = memchr::memmem::find(&text, stamp(100).as_bytes()).unwrap();
        assert!(offset(search(&text, 100).0) <= wanted);
        assert_eq!(offset(search(&text, 0).0), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn nothing_of_the_span_is_missed(
            steps in prop::collection::vec((0..40_i64, 0..3_usize, 0..3_000_usize), 1..400), since in 0..8_000_i64,
        ) {
            let mut text = Vec::new();
            let mut now = 0;
            let mut first = None;
            for (step, undated, length) in steps {
                now += step;
                if now >= since && first.is_none() {
                    first = Some(text.len());
                }
                text.extend(format!("{} {}\n", stamp(now), "x".repeat(length)).bytes());
                text.extend(b"\tat x\n".repeat(undated));
            }
            let (found, windows) = search(&text, since);
            prop_assert!(offset(found) <= first.unwrap_or(text.len()));
            prop_assert!(windows < 20);
        }
    }
}
