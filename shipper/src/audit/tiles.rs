//! What of one file is in rows: ranges of bytes, put together where they touch, so that what is held grows with the
//! fragments and not with the rows.

use std::collections::BTreeMap;
use std::ops::Range;

/// The ranges of one file that are in rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tiles {
    /// By where they begin. No two touch.
    runs: BTreeMap<u64, Run>,
    /// How many bytes are in some row.
    covered: u64,
    overlaps: Overlaps,
}

/// Bytes that are in more than one row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overlaps {
    /// How many rows had bytes that an earlier one had.
    pub rows: u64,
    /// How many bytes came again, each time counted.
    pub bytes: u64,
    /// The first row that had some.
    pub first: Option<Range<u64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    end: u64,
    /// The time of its first row, in ns since 1970.
    first_ns: i64,
    /// The time of its last row, in ns since 1970.
    last_ns: i64,
}

/// A range that is in no row, before one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The range.
    pub range: Range<u64>,
    /// The time of the row before it, in ns since 1970; none at the file's start.
    pub before_ns: Option<i64>,
    /// The time of the row behind it, in ns since 1970.
    pub after_ns: i64,
}

impl Tiles {
    /// Takes a row: `len` bytes from `off` on, with this time. A row of no bytes changes nothing.
    pub fn insert(&mut self, off: u64, len: u64, ts_ns: i64) {
        let end = off.saturating_add(len);
        if end == off {
            return;
        }
        // Most rows go on where the one before ended.
        if let Some((_, last)) = self.runs.range_mut(..=end).next_back()
            && last.end == off
        {
            last.end = end;
            last.last_ns = ts_ns;
            self.covered += end - off;
            return;
        }
        let (mut from, mut run) = (
            off,
            Run {
                end,
                first_ns: ts_ns,
                last_ns: ts_ns,
            },
        );
        let mut again = 0;
        // No two runs touch, so those that touch this row are the last ones that begin at or before its end.
        while let Some((&start, &other)) = self.runs.range(..=end).next_back() {
            if other.end < off {
                break;
            }
            again += other.end.min(end).saturating_sub(start.max(off));
            if start < from {
                from = start;
                run.first_ns = other.first_ns;
            }
            if other.end > run.end {
                run.end = other.end;
                run.last_ns = other.last_ns;
            }
            self.runs.remove(&start);
        }
        self.runs.insert(from, run);
        self.covered += end - off - again;
        if again > 0 {
            self.overlaps.rows += 1;
            self.overlaps.bytes = self.overlaps.bytes.saturating_add(again);
            self.overlaps.first.get_or_insert(off..end);
        }
    }

    /// The ranges, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().map(|(&start, run)| start..run.end)
    }

    /// How many ranges there are.
    pub fn fragments(&self) -> usize {
        self.runs.len()
    }

    /// Behind the last byte that is in a row; 0 without any.
    pub fn end(&self) -> u64 {
        self.runs.last_key_value().map_or(0, |(_, run)| run.end)
    }

    /// How many bytes are in some row.
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// What is in no row before [`Tiles::end`], in order.
    pub fn holes(&self) -> impl Iterator<Item = Hole> {
        let mut behind = (0, None);
        self.runs.iter().filter_map(move |(&start, run)| {
            let (from, before_ns) = std::mem::replace(&mut behind, (run.end, Some(run.last_ns)));
            (start > from).then_some(Hole {
                range: from..start,
                before_ns,
                after_ns: run.first_ns,
            })
        })
    }

    /// What is in more than one row.
    pub fn overlaps(&self) -> &Overlaps {
        &self.overlaps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a bitmap that counts each byte.
        #[test]
        fn as_counted_byte_by_byte(
            rows in prop::collection::vec((0..200_u64, 0..30_u64), 0..60),
        ) {
            let mut tiles = Tiles::default();
            let mut counts = vec![0_u32; 256];
            let (mut overlapping, mut again) = (0, 0);
            for (number, &(off, len)) in rows.iter().enumerate() {
                tiles.insert(off, len, number as i64);
                let taken = &mut counts[off as usize..(off + len) as usize];
                let doubled = taken.iter().filter(|count| **count > 0).count() as u64;
                overlapping += u64::from(doubled > 0);
                again += doubled;
                for count in taken.iter_mut() {
                    *count += 1;
                }
            }
            let end = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last as u64 + 1);
            prop_assert_eq!(tiles.end(), end);
            prop_assert_eq!(tiles.overlaps().rows, overlapping);
            prop_assert_eq!(tiles.overlaps().bytes, again);
            prop_assert_eq!(tiles.overlaps().first.is_some(), overlapping > 0);
            let covered: Vec<u64> = tiles.runs().flatten().collect();
            let missing: Vec<u64> = tiles.holes().flat_map(|hole| hole.range).collect();
            let by_count = |wanted: bool| -> Vec<u64> {
                (0..end).filter(|&at| (counts[at as usize] > 0) == wanted).collect()
            };
            prop_assert_eq!(&covered, &by_count(true));
            prop_assert_eq!(missing, by_count(false));
            prop_assert_eq!(tiles.covered(), covered.len() as u64);
            prop_assert_eq!(tiles.fragments(), tiles.runs().count());
            // No two runs touch.
            let runs: Vec<_> = tiles.runs().collect();
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
        }

        /// Rows that do not overlap, in any order: the times beside a hole are those of the rows beside it.
        #[test]
        fn a_hole_knows_the_rows_beside_it(
            lens in prop::collection::vec(1..9_u64, 2..30),
            order in prop::collection::vec(any::<u32>(), 30),
            missing in 1..29_usize,
        ) {
            let mut off = 0;
            let mut rows: Vec<(u32, u64, u64, i64)> = Vec::new();
            for (number, &len) in lens.iter().enumerate() {
                rows.push((order[number], off, len, number as i64));
                off += len;
            }
            let missing = missing.min(rows.len() - 2).max(1);
            let gone = (rows.len() > 2).then(|| rows.remove(missing));
            rows.sort_unstable();
            let mut tiles = Tiles::default();
            for (_, off, len, ts_ns) in rows {
                tiles.insert(off, len, ts_ns);
            }
            let expected: Vec<Hole> = gone
                .into_iter()
                .map(|(_, off, len, ts_ns)| Hole {
                    range: off..off + len,
                    before_ns: Some(ts_ns - 1),
                    after_ns: ts_ns + 1,
                })
                .collect();
            prop_assert_eq!(tiles.holes().collect::<Vec<_>>(), expected);
            prop_assert_eq!(tiles.overlaps(), &Overlaps::default());
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let mut tiles = Tiles::default();
        tiles.insert(u64::MAX - 1, u64::MAX, 0);
        tiles.insert(u64::MAX, 1, 0);
        tiles.insert(0, u64::MAX, 0);
        assert_eq!(tiles.end(), u64::MAX);
        assert_eq!(tiles.overlaps().rows, 1);
    }
}
