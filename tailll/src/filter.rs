//! Which lines are kept: `--include` and `--exclude`.
//!
//! Owns the patterns of both flags and the answer for one line. Where in the pipeline lines are dropped is the
//! follower's; highlighting is `render.rs`'s.

use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};

/// The most memory in bytes that the compiled patterns of one flag may take.
const COMPILED_BYTES: usize = 8 << 20;

/// The most memory in bytes that the lazily built automaton of one flag may take while matching.
const AUTOMATON_BYTES: usize = 8 << 20;

/// Which lines are kept: those that any include pattern matches, or all where there is none, without those that an
/// exclude pattern matches.
///
/// Patterns see the line's bytes as they are in the file, without its newline. A byte that is no UTF-8 is matched only
/// by patterns that allow it (`(?-u:.)`).
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
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
        })
    }

    /// Whether the line stays.
    pub fn keep(&self, line: &[u8]) -> bool {
        self.include.as_ref().is_none_or(|set| set.is_match(line))
            && !self.exclude.as_ref().is_some_and(|set| set.is_match(line))
    }

    /// Whether every line stays, so that asking can be saved.
    pub fn keeps_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
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

    proptest! {
        #[test]
        fn keeps_what_the_words_say(line in "[abc ]{0,12}", include in prop::collection::vec("[abc]{1,2}", 0..3), exclude in prop::collection::vec("[abc]{1,2}", 0..3)) {
            let wanted = (include.is_empty() || include.iter().any(|word| line.contains(word.as_str())))
                && !exclude.iter().any(|word| line.contains(word.as_str()));
            let filter = Filter::new(&include, &exclude).unwrap();
            prop_assert_eq!(filter.keep(line.as_bytes()), wanted);
            prop_assert_eq!(filter.keeps_all(), include.is_empty() && exclude.is_empty());
        }
    }
}
