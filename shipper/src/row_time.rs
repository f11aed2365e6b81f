//! Which time a row has: the line's own where it can be believed, else one near it.
//!
//! A line without a time takes that of the line before it, so that a stack trace stays with its head. The first lines of a
//! file without any take the earlier of the file's last change and the reading. A time that cannot be true is replaced by the
//! newest one accepted in the file. What a line says is read elsewhere; here is only what becomes of it.

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How far behind the reading a line's time may lie, in nanoseconds: clocks differ.
pub const MAX_AHEAD_NS: i64 = 10 * 60 * NANOS_PER_SECOND;

/// How long before the file's birth a line's time may lie, in nanoseconds.
pub const MAX_BEFORE_BIRTH_NS: i64 = 24 * 3600 * NANOS_PER_SECOND;

/// How far a line's time may lie behind the newest one accepted in its file, in nanoseconds.
pub const MAX_BEHIND_NEWEST_NS: i64 = 3600 * NANOS_PER_SECOND;

/// The latest time of a row, in nanoseconds since 1970: the end of the year 2261. No clock says so, but a broken one.
pub const MAX_TS_NS: i64 = 9_214_646_400 * NANOS_PER_SECOND - 1;

/// What of a file bounds its rows' times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit is part of each name")]
pub struct Bounds {
    reading_ns: i64,
    written_ns: i64,
    earliest_ns: i64,
    latest_ns: i64,
}

impl Bounds {
    /// Bounds for lines that are read at `reading_ns` from a file that was last changed at `changed_ns` and, if that is known
    /// and counts, made at `birth_ns`. All in nanoseconds since 1970. A change long before the birth, which a copy brings along,
    /// is believed no more than a line that says so.
    pub fn new(reading_ns: i64, changed_ns: i64, birth_ns: Option<i64>) -> Self {
        let reading_ns = reading_ns.clamp(0, MAX_TS_NS);
        let earliest_ns = birth_ns.map_or(0, |birth_ns| {
            birth_ns.saturating_sub(MAX_BEFORE_BIRTH_NS).max(0)
        });
        Self {
            reading_ns,
            // The reading counts more than a birth in the future.
            written_ns: changed_ns.max(earliest_ns).clamp(0, reading_ns),
            earliest_ns,
            latest_ns: (reading_ns + MAX_AHEAD_NS).min(MAX_TS_NS),
        }
    }

    /// When the lines are read.
    pub fn reading_ns(&self) -> i64 {
        self.reading_ns
    }

    /// When the file's last line was written, at the latest: its last change, if that is not in the future.
    pub fn written_ns(&self) -> i64 {
        self.written_ns
    }
}

/// What is carried from line to line of a file, and from reading to reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TimeState {
    /// The time of the row before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_ns: Option<i64>,
    /// The newest of the file's own times that were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_ns: Option<i64>,
}

/// A row's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowTime {
    /// Nanoseconds since 1970.
    pub ts_ns: i64,
    /// Where it comes from.
    pub source: TimeSource,
}

/// Where a row's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeSource {
    /// The line says so.
    Own,
    /// The line says nothing: the line before it, or the file's last change.
    Inherited,
    /// What the line says cannot be true.
    Substituted,
}

impl TimeState {
    /// The time of the next line, which says `own_ns` of itself.
    #[inline]
    pub fn next(&mut self, own_ns: Option<i64>, bounds: &Bounds) -> RowTime {
        let row = match own_ns {
            None => RowTime {
                ts_ns: self.inherited_ns(bounds),
                source: TimeSource::Inherited,
            },
            Some(own_ns) if self.believes(own_ns, bounds) => {
                self.newest_ns = Some(self.newest_ns.map_or(own_ns, |newest| newest.max(own_ns)));
                RowTime {
                    ts_ns: own_ns,
                    source: TimeSource::Own,
                }
            }
            Some(_) => RowTime {
                ts_ns: self.newest_ns.unwrap_or(bounds.reading_ns),
                source: TimeSource::Substituted,
            },
        };
        self.before_ns = Some(row.ts_ns);
        row
    }

    /// The time of a row that has no line of its own: that of the line before.
    pub fn inherited_ns(&self, bounds: &Bounds) -> i64 {
        self.before_ns.unwrap_or(bounds.written_ns)
    }

    #[inline]
    fn believes(&self, own_ns: i64, bounds: &Bounds) -> bool {
        let near_newest = match self.newest_ns {
            Some(newest_ns) => own_ns >= newest_ns.saturating_sub(MAX_BEHIND_NEWEST_NS),
            None => true,
        };
        near_newest && (bounds.earliest_ns..=bounds.latest_ns).contains(&own_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60 * NANOS_PER_SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const NOW: i64 = 1_767_582_245 * NANOS_PER_SECOND;

    fn bounds() -> Bounds {
        Bounds::new(NOW, NOW - MINUTE, Some(NOW - 10 * HOUR))
    }

    /// Times are given and expected as distances from the reading.
    #[track_caller]
    fn check(bounds: &Bounds, lines: &[Option<i64>], expected: &[(i64, TimeSource)]) {
        let mut state = TimeState::default();
        let got: Vec<_> = lines
            .iter()
            .map(|own| state.next(own.map(|own| NOW + own), bounds))
            .map(|row| (row.ts_ns - NOW, row.source))
            .collect();
        assert_eq!(got, expected);
    }

    use TimeSource::{Inherited, Own, Substituted};

    #[test]
    fn lines_without_a_time_take_the_one_before() {
        check(
            &bounds(),
            &[None, None, Some(-HOUR), None, Some(-MINUTE), None],
            &[
                (-MINUTE, Inherited),
                (-MINUTE, Inherited),
                (-HOUR, Own),
                (-HOUR, Inherited),
                (-MINUTE, Own),
                (-MINUTE, Inherited),
            ],
        );
        // Nor is a change long before the file was made, unless nobody asks.
        let copied = Bounds::new(NOW, NOW - 1000 * HOUR, Some(NOW - 10 * HOUR));
        check(&copied, &[None], &[(-34 * HOUR, Inherited)]);
        let backfilled = Bounds::new(NOW, NOW - 1000 * HOUR, None);
        check(&backfilled, &[None], &[(-1000 * HOUR, Inherited)]);
        // A file that is made later than it is read.
        let unborn = Bounds::new(NOW, NOW, Some(NOW + 1000 * HOUR));
        check(&unborn, &[None], &[(0, Inherited)]);
        // A change in the future is not believed.
        let touched = Bounds::new(NOW, NOW + HOUR, None);
        check(&touched, &[None], &[(0, Inherited)]);
    }

    #[test]
    fn the_future_is_near() {
        let late = 10 * MINUTE;
        check(
            &bounds(),
            &[Some(late + 1), Some(late), Some(late + 1), None],
            &[
                (0, Substituted),
                (late, Own),
                (late, Substituted),
                (late, Inherited),
            ],
        );
    }

    #[test]
    fn no_line_is_much_older_than_its_file() {
        let oldest = -34 * HOUR;
        check(
            &bounds(),
            &[Some(oldest - 1), Some(oldest)],
            &[(0, Substituted), (oldest, Own)],
        );
        let any_age = Bounds::new(NOW, NOW, None);
        check(&any_age, &[Some(-NOW), Some(0)], &[(-NOW, Own), (0, Own)]);
    }

    #[test]
    fn time_goes_back_by_an_hour_at_most() {
        check(
            &bounds(),
            &[
                Some(-MINUTE),
                Some(-MINUTE - HOUR),
                Some(-MINUTE - HOUR - 1),
                None,
                Some(-2 * MINUTE),
            ],
            &[
                (-MINUTE, Own),
                (-MINUTE - HOUR, Own),
                (-MINUTE, Substituted),
                (-MINUTE, Inherited),
                (-2 * MINUTE, Own),
            ],
        );
    }

    #[test]
    fn the_state_is_small_and_keeps_its_form() {
        let mut state = TimeState::default();
        let text = |state: &TimeState| serde_json::to_string(state).expect("a state is JSON");
        assert_eq!(text(&state), "{}");
        state.next(Some(NOW), &bounds());
        assert_eq!(
            text(&state),
            format!(r#"{{"before_ns":{NOW},"newest_ns":{NOW}}}"#)
        );
        assert_eq!(
            serde_json::from_str::<TimeState>(&text(&state)).expect("reads"),
            state
        );
    }

    proptest! {
        /// Whatever clocks and lines say, a row's time has an hour with a name, and is not after the reading by much.
        #[test]
        fn times_are_in_range(
            reading in any::<i64>(),
            changed in any::<i64>(),
            birth in any::<Option<i64>>(),
            lines in prop::collection::vec(any::<Option<i64>>(), 0..20),
        ) {
            let bounds = Bounds::new(reading, changed, birth);
            let mut state = TimeState::default();
            for own in lines {
                let row = state.next(own, &bounds);
                prop_assert!((0..=MAX_TS_NS).contains(&row.ts_ns));
                prop_assert!(row.ts_ns <= bounds.reading_ns() + MAX_AHEAD_NS);
                prop_assert_eq!(row.source == Inherited, own.is_none());
                prop_assert!(row.source != Own || own == Some(row.ts_ns));
            }
        }
    }
}
