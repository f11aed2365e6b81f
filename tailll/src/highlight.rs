//! What `--highlight` matches in a line.
//!
//! Owns the patterns and the places that they match. How a place is shown is `render.rs`'s.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};

use crate::filter::FilterError;

/// The most memory in bytes that one compiled pattern may take.
const COMPILED_BYTES: usize = 8 << 20;

/// The most places of one line that one pattern may highlight.
const PLACES_A_LINE: usize = 1_000;

/// The patterns of `--highlight`.
#[derive(Debug, Clone, Default)]
pub struct Highlight {
    patterns: Vec<Regex>,
}

impl Highlight {
    /// From the patterns of the flag.
    pub fn new(patterns: &[String]) -> Result<Self, FilterError> {
        let compiled = patterns.iter().map(|pattern| {
            RegexBuilder::new(pattern)
                .size_limit(COMPILED_BYTES)
                .build()
                .map_err(|source| FilterError::Pattern {
                    flag: "--highlight",
                    pattern: pattern.clone(),
                    source,
                })
        });
        Ok(Self {
            patterns: compiled.collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing is ever highlighted.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Puts the places to highlight into `places`: in order, not empty, with at least a byte between them.
    pub fn find(&self, line: &[u8], places: &mut Vec<Range<usize>>) {
        places.clear();
        for pattern in &self.patterns {
            let found = pattern
                .find_iter(line)
                .map(|place| place.range())
                .filter(|place| !place.is_empty());
            places.extend(found.take(PLACES_A_LINE));
        }
        places.sort_unstable_by_key(|place| place.start);
        places.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], line: &str, wanted: &[(usize, usize)]) {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        // What was found before goes.
        let mut places = Vec::from([7..9, 10..11]);
        Highlight::new(&patterns)
            .unwrap()
            .find(line.as_bytes(), &mut places);
        let places: Vec<(usize, usize)> = places
            .iter()
            .map(|place| (place.start, place.end))
            .collect();
        assert_eq!(places, wanted);
    }

    #[test]
    fn places_are_joined() {
        check(&[], "abc", &[]);
        check(&["b"], "abcb", &[(1, 2), (3, 4)]);
        check(&["bc", "ab"], "abcd abx", &[(0, 3), (5, 7)]);
        check(&["a", "b"], "ab", &[(0, 2)]);
        check(&["x*"], "abc", &[]);
        check(&["b.*", "c"], "abcd", &[(1, 4)]);
        check(
            &["a"],
            &"ab".repeat(PLACES_A_LINE + 5),
            &(0..PLACES_A_LINE)
                .map(|n| (n * 2, n * 2 + 1))
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Highlight::new(&["[".to_string()]).unwrap_err();
        insta::assert_snapshot!(error, @r#"bad pattern "[" for --highlight"#);
    }
}
