//! Which lines are kept: `--include`, `--exclude`, `--level`, `--where`, `--since` and `--until`.
//!
//! Owns the patterns of the first two and the answer for one line. Patterns look at each line by itself; the others at
//! records: a line with what belongs to it, such as a stack trace. Where in the pipeline lines are dropped is
//! `assemble.rs`'s; what conditions and moments are is `condition.rs`'s and `moment.rs`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use joblog::{Level, Record};
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

use crate::batch::Age;
use crate::condition::{Condition, Labels};
use crate::moment::Span;

/// The most memory in bytes that the compiled patterns of one flag may take.
const COMPILED_BYTES: usize = 8 << 20;

/// The most memory in bytes that the lazily built automaton of one flag may take while matching.
const AUTOMATON_BYTES: usize = 8 << 20;

/// How far a line's time may lie after the end of the span before its file counts as passed: lines of several threads are
/// not written in quite the order of their times.
const PASSED_NS: i64 = 10_000_000_000;

/// Which lines are kept: those that any include pattern matches, or all where there is none, without those that an
/// exclude pattern matches.
///
/// Patterns see the line's bytes as they are in the file, without its newline. A byte that is no UTF-8 is matched only
/// by patterns that allow it (`(?-u:.)`).
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
    level: Option<Level>,
    condition: Option<Condition>,
    span: Span,
    /// Lines dropped because they have no level; all clones count together.
    levelless: Arc<AtomicU64>,
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// One pattern is wrong by itself.
    #[error("bad pattern {pattern:?} for {flag}")]
    Pattern {
        /// The flag that it was given to.
        flag: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// The patterns are too big together.
    #[error("the {count} patterns for {flag} are too big together; use fewer or simpler ones")]
    Together {
        /// The flag that they were given to.
        flag: &'static str,
        /// How many there are.
        count: usize,
        /// What the limit is.
        source: regex::Error,
    },
}

impl Filter {
    /// From the patterns of `--include` and `--exclude`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, FilterError> {
        Ok(Self {
            include: compile("--include", include)?,
            exclude: compile("--exclude", exclude)?,
            level: None,
            condition: None,
            span: Span::ALWAYS,
            levelless: Arc::default(),
        })
    }

    /// Keeps only records of this level or a worse one.
    #[must_use]
    pub fn with_level(mut self, level: Option<Level>) -> Self {
        self.level = level;
        self
    }

    /// Keeps only records that fulfil the condition.
    #[must_use]
    pub fn with_condition(mut self, condition: Option<Condition>) -> Self {
        self.condition = condition;
        self
    }

    /// Keeps only records of the span. New lines count as being in it until it ends.
    #[must_use]
    pub fn within(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// Which times are kept.
    pub fn span(&self) -> Span {
        self.span
    }

    /// How many lines were dropped so far because they have no level.
    pub fn levelless(&self) -> u64 {
        self.levelless.load(Ordering::Relaxed)
    }

    /// Whether lines must be looked at as records.
    pub fn judges_records(&self) -> bool {
        self.level.is_some() || self.condition.is_some() || self.span != Span::ALWAYS
    }

    /// Whether patterns keep the line.
    pub fn keep(&self, line: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(line))
            && !self.exclude.as_ref().is_some_and(|set| set.is_match(line))
    }
}

/// Judges the records of one source, line after line.
///
/// A record is a head and the lines that continue it. A head has a time of its own or is a JSON object; in a source in which
/// no line has had a time, a line with a level is one too. Before the first head each line stands for itself.
#[derive(Debug)]
pub struct Judge {
    filter: Arc<Filter>,
    labels: Labels,
    /// The verdict on the last head.
    kept: Option<bool>,
    /// The last time that a line had.
    time_ns: Option<i64>,
    end: SpanEnd,
}

/// What the lines have shown of the end of the span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanEnd {
    Ahead,
    Passed,
    /// Later lines may be in it again.
    Unknowable,
}

/// A line as a [`Judge`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct Exhibit<'a> {
    /// Its bytes.
    pub line: &'a [u8],
    /// What it says.
    pub record: &'a Record<'a>,
    /// Whether it was there before following began.
    pub age: Age,
    /// When it arrived, in ns since 1970.
    pub arrived_ns: i64,
}

impl Judge {
    /// For the lines of a source.
    pub fn new(filter: Arc<Filter>, labels: Labels) -> Self {
        Self {
            filter,
            labels,
            kept: None,
            time_ns: None,
            end: SpanEnd::Ahead,
        }
    }

    /// Whether the line, or the record it belongs to, stays.
    pub fn keep(&mut self, exhibit: Exhibit<'_>) -> bool {
        let record = exhibit.record;
        let is_head = record.ts_ns.is_some()
            || record.json.is_some()
            || (record.level.is_some() && self.time_ns.is_none());
        match self.kept {
            Some(kept) if !is_head => kept,
            _ => {
                self.time_ns = record.ts_ns.or(self.time_ns);
                let kept = self.judge(exhibit);
                if is_head {
                    self.kept = Some(kept);
                }
                kept
            }
        }
    }

    /// The verdict on the record that the next lines may continue.
    pub fn record_kept(&self) -> Option<bool> {
        self.kept
    }

    /// Goes on within a record on which there is this verdict.
    pub fn resume(&mut self, kept: Option<bool>) {
        self.kept = kept;
    }

    /// Whether the span is over, going by a line that was there before following began.
    pub fn has_passed(&self) -> bool {
        self.end == SpanEnd::Passed
    }

    /// From now on the span is never over: the source's times go back.
    pub fn expect_disorder(&mut self) {
        self.end = SpanEnd::Unknowable;
    }

    fn judge(&mut self, exhibit: Exhibit<'_>) -> bool {
        self.is_in_span(exhibit) && self.is_bad_enough(exhibit.record) && self.fulfils(exhibit)
    }

    fn is_in_span(&mut self, exhibit: Exhibit<'_>) -> bool {
        let span = self.filter.span;
        match (exhibit.age, self.time_ns) {
            (Age::History, Some(time)) => {
                let is_past = span.ends() && time > span.until_ns.saturating_add(PASSED_NS);
                if is_past && self.end == SpanEnd::Ahead {
                    self.end = SpanEnd::Passed;
                }
                (span.since_ns..=span.until_ns).contains(&time)
            }
            // Nothing says when it was written.
            (Age::History, None) => true,
            (Age::Live, time) => time.unwrap_or(exhibit.arrived_ns) <= span.until_ns,
        }
    }

    fn is_bad_enough(&self, record: &Record<'_>) -> bool {
        match (self.filter.level, record.level) {
            (None, _) => true,
            (Some(least), Some(level)) => level >= least,
            (Some(_), None) => {
                self.filter.levelless.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn fulfils(&self, exhibit: Exhibit<'_>) -> bool {
        self.filter
            .condition
            .as_ref()
            .is_none_or(|condition| condition.holds(exhibit.line, exhibit.record, &self.labels))
    }
}

fn compile(flag: &'static str, patterns: &[String]) -> Result<Option<RegexSet>, FilterError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    // One by one first: the error of a set does not say which pattern it is about. A set and not one pattern joined by
    // `|`, so that a comment or a flag inside one pattern cannot reach the next.
    for pattern in patterns {
        RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES)
            .build()
            .map_err(|source| FilterError::Pattern {
                flag,
                pattern: pattern.clone(),
                source,
            })?;
    }
    RegexSetBuilder::new(patterns)
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(AUTOMATON_BYTES)
        .build()
        .map(Some)
        .map_err(|source| FilterError::Together {
            flag,
            count: patterns.len(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Result<Filter, FilterError> {
        let owned =
            |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude))
    }

    fn check(include: &[&str], exclude: &[&str], kept: &[&[u8]], dropped: &[&[u8]]) {
        let filter = filter(include, exclude).unwrap();
        for line in kept {
            assert!(
                filter.keep(line),
                "{:?} should stay",
                String::from_utf8_lossy(line)
            );
        }
        for line in dropped {
            assert!(
                !filter.keep(line),
                "{:?} should go",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn includes_and_excludes() {
        check(&[], &[], &[b"", b"a", b"\xff"], &[]);
        check(
            &["ERROR"],
            &[],
            &[b"an ERROR here"],
            &[b"", b"error", b"INFO"],
        );
        check(
            &["ERROR", "(?i)warn"],
            &[],
            &[b"ERROR", b"Warning"],
            &[b"INFO"],
        );
        check(
            &[],
            &["health", "^DEBUG"],
            &[b"GET /", b"a DEBUG"],
            &[b"GET /health", b"DEBUG x"],
        );
        check(
            &["GET"],
            &["health"],
            &[b"GET /"],
            &[b"GET /health", b"POST /"],
        );
    }

    #[test]
    fn anchors_are_the_line_s_ends_and_bytes_are_bytes() {
        check(
            &["^a.*z$"],
            &[],
            &[b"az", b"a\tz", "aüz".as_bytes()],
            &[b"az ", b"a\xffz"],
        );
        check(&["(?-u:\\xff)"], &[], &[b"a\xffz"], &[b"az"]);
    }

    #[test]
    fn a_comment_in_one_pattern_stays_in_it() {
        check(
            &["(?x) one # the first", "two"],
            &[],
            &[b"one", b"two"],
            &[b"# the first"],
        );
    }

    #[test]
    fn errors_name_flag_and_pattern() {
        let error = filter(&["fine", "(un"], &[]).unwrap_err();
        insta::assert_snapshot!(error, @r#"bad pattern "(un" for --include"#);
        let error = filter(&[], &["(a{1000}){1000}"]).unwrap_err();
        insta::assert_snapshot!(error, @r#"bad pattern "(a{1000}){1000}" for --exclude"#);
        let big = "\\w{100}".to_string();
        let error = Filter::new(&vec![big; 40], &[]).unwrap_err();
        insta::assert_snapshot!(error, @"the 40 patterns for --include are too big together; use fewer or simpler ones");
    }

    /// Each line with a mark: `+` for those that should stay.
    fn check_records(filter: Filter, text: &str) {
        let mut parser = joblog::RecordParser::new(jiff::tz::TimeZone::UTC, 0);
        let mut judge = Judge::new(Arc::new(filter), Labels::default());
        for marked in text.lines() {
            let (mark, line) = marked.split_at(1);
            let kept = judge.keep(Exhibit {
                line: line.as_bytes(),
                record: &parser.parse(line.as_bytes()),
                age: Age::History,
                arrived_ns: 0,
            });
            assert_eq!(kept, mark == "+", "{line}");
        }
    }

    #[test]
    fn levels_hold_for_records() {
        let warn = || filter(&[], &[]).unwrap().with_level(Some(Level::Warn));
        let filter = warn();
        let counted = filter.clone();
        check_records(
            filter,
            "-no head yet\n\
             -2026-11-01 09:00:00 INFO a\n\
             -  at b\n\
             -ERROR without a time, after one with a time\n\
             +2026-11-01 09:00:01 WARN c\n\
             +  at d\n\
             +\n\
             -2026-11-01 09:00:02 no level\n\
             -  at e\n\
             +{\"level\":\"error\"}\n\
             +  at f\n\
             -{\"message\":\"ERROR\"}",
        );
        assert_eq!(counted.levelless(), 3);
        check_records(warn(), "+ERROR a\n+  at b\n-INFO c\n-  at d\n+WARN: e");
    }

    #[test]
    fn spans_hold_for_records_and_know_their_end() {
        let span = |since_s: i64, until_s: i64| Span {
            since_ns: since_s * 1_000_000_000,
            until_ns: until_s * 1_000_000_000,
        };
        let within = |span| filter(&[], &[]).unwrap().within(span);
        check_records(
            within(span(100, 102)),
            "+a file's first lines\n\
             -1970-01-01 00:01:39 a\n\
             -  b\n\
             +1970-01-01 00:01:40 c\n\
             +  d\n\
             +1970-01-01 00:01:42 e\n\
             -1970-01-01 00:01:43 f\n\
             -  g\n\
             +1970-01-01 00:01:41 h",
        );
        let mut judge = Judge::new(Arc::new(within(span(0, 100))), Labels::default());
        for (ts_s, age, kept, passed) in [
            (100, Age::History, true, false),
            (110, Age::History, false, false),
            (200, Age::Live, false, false),
            (111, Age::History, false, true),
        ] {
            let record = Record {
                ts_ns: Some(ts_s * 1_000_000_000),
                ..Record::default()
            };
            let exhibit = Exhibit {
                line: b"x",
                record: &record,
                age,
                arrived_ns: 0,
            };
            assert_eq!(
                (judge.keep(exhibit), judge.has_passed()),
                (kept, passed),
                "{ts_s}"
            );
        }
        // A new line is never too old, and without a time it goes by its arrival.
        let mut judge = Judge::new(Arc::new(within(span(100, 200))), Labels::default());
        for (ts_s, arrived_s, kept) in [(Some(50), 150, true), (None, 150, true)] {
            let record = Record {
                ts_ns: ts_s.map(|s: i64| s * 1_000_000_000),
                ..Record::default()
            };
            let exhibit = Exhibit {
                line: b"x",
                record: &record,
                age: Age::Live,
                arrived_ns: arrived_s * 1_000_000_000,
            };
            assert_eq!(judge.keep(exhibit), kept);
        }
        let mut judge = Judge::new(Arc::new(within(span(100, 200))), Labels::default());
        let exhibit = Exhibit {
            line: b"x",
            record: &Record::default(),
            age: Age::Live,
            arrived_ns: 201_000_000_000,
        };
        assert!(!judge.keep(exhibit));
    }

    #[test]
    fn conditions_hold_for_records() {
        let condition = Condition::all(&["status>=500".into(), "not user=bot".into()]).unwrap();
        check_records(
            filter(&[], &[]).unwrap().with_condition(condition),
            "+status=500\n\
             -{\"status\":404}\n\
             -  at a\n\
             +{\"status\":503}\n\
             +  at b\n\
             -{\"status\":503,\"user\":\"bot\"}",
        );
    }

    proptest! {
        #[test]
        fn keeps_what_the_words_say(line in "[abc ]{0,12}", include in prop::collection::vec("[abc]{1,2}", 0..3), exclude in prop::collection::vec("[abc]{1,2}", 0..3)) {
            let wanted = (include.is_empty() || include.iter().any(|word| line.contains(word.as_str())))
                && !exclude.iter().any(|word| line.contains(word.as_str()));
            let filter = Filter::new(&include, &exclude).unwrap();
            prop_assert_eq!(filter.keep(line.as_bytes()), wanted);
        }
    }
}
