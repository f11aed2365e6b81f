//! Which bytes of a file have come: a few ranges, since rows come nearly in order.

use std::ops::Range;

/// Ranges that are kept apart, at most. Beyond, the two that are nearest to the file's beginning are taken for one, so that a row
/// between them that comes very late counts as seen.
const MAX_RANGES: usize = 4096;

/// A set of bytes: ranges in order, of which no two touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<Range<u64>>);

impl Seen {
    /// Where the first one begins.
    pub(super) fn start(&self) -> Option<u64> {
        self.0.first().map(|first| first.start)
    }

    /// Where the last one ends.
    pub(super) fn end(&self) -> Option<u64> {
        self.0.last().map(|last| last.end)
    }

    /// Whether all of these are in it. Of none it is said that they are not, unless they lie within.
    pub(super) fn contains(&self, bytes: &Range<u64>) -> bool {
        let at = self.0.partition_point(|range| range.end <= bytes.start);
        self.0
            .get(at)
            .is_some_and(|range| range.start <= bytes.start && bytes.end <= range.end)
    }

    pub(super) fn insert(&mut self, bytes: Range<u64>) {
        let from = self.0.partition_point(|range| range.end < bytes.start);
        let to = self.0.partition_point(|range| range.start <= bytes.end);
        let touched = &self.0[from..to];
        let all = match (touched.first(), touched.last()) {
            (Some(first), Some(last)) => bytes.start.min(first.start)..bytes.end.max(last.end),
            _ => bytes,
        };
        self.0.splice(from..to, [all]);
        if self.0.len() > MAX_RANGES {
            let end = self.0[1].end;
            self.0[0].end = end;
            self.0.remove(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(ranges in prop::collection::vec((0..60_u64, 0..9_u64), 0..20), asked in (0..60_u64, 1..9_u64)) {
            let mut seen = Seen::default();
            let mut model = std::collections::BTreeSet::new();
            for (start, len) in &ranges {
                seen.insert(*start..start + len);
                model.extend(*start..start + len);
            }
            let bytes = asked.0..asked.0 + asked.1;
            prop_assert_eq!(seen.contains(&bytes), bytes.clone().all(|byte| model.contains(&byte)));
            prop_assert!(seen.0.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
