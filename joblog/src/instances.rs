//! A set of instance numbers, written `0-2,5`.
//!
//! The set keeps ranges, never single numbers, so a large range costs as much as a small one. Which instances exist is not
//! known here.

use std::fmt;
use std::str::FromStr;

/// The most ranges one set may be written with.
pub const MAX_RANGES: usize = 4096;

/// The most instances one set may hold. Schedulers run thousands of instances of a job, not millions; a larger set is a
/// typing error, and iterating over it would take for ever.
pub const MAX_INSTANCES: u64 = 1_000_000;

/// A set of instance numbers. Never empty.
///
/// ```
/// let set: joblog::InstanceSet = "5,0-1,2".parse()?;
/// assert_eq!(set.to_string(), "0-2,5");
/// assert!(set.contains(1) && !set.contains(3));
/// # Ok::<(), joblog::InstanceSetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceSet {
    /// Sorted; no two of them touch.
    ranges: Vec<Range>,
}

/// First and last instance of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Range {
    first: u32,
    last: u32,
}

/// Why a text is no instance list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstanceSetError {
    /// A part of the list is no number and no range.
    #[error("{part:?} is no instance in {text:?}: write numbers and ranges such as 0-2,5")]
    Number {
        /// The part between two commas.
        part: String,
        /// The whole list.
        text: String,
    },
    /// A range ends before it begins.
    #[error("the range {first}-{last} runs backwards: write {last}-{first}")]
    Backwards {
        /// The number before the dash.
        first: u32,
        /// The number after it.
        last: u32,
    },
    /// More parts than [`MAX_RANGES`].
    #[error("an instance list of more than {MAX_RANGES} parts: write ranges such as 0-99")]
    TooManyRanges,
    /// More instances than [`MAX_INSTANCES`].
    #[error("an instance list of {count} instances: at most {MAX_INSTANCES} are allowed")]
    TooManyInstances {
        /// How many there would be.
        count: u64,
    },
}

impl InstanceSet {
    /// The set of one instance.
    pub fn one(instance: u32) -> Self {
        Self {
            ranges: vec![Range {
                first: instance,
                last: instance,
            }],
        }
    }

    /// Whether the set holds an instance.
    pub fn contains(&self, instance: u32) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= instance);
        after > 0 && instance <= self.ranges[after - 1].last
    }

    /// The instances, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges
            .iter()
            .flat_map(|range| range.first..=range.last)
    }

    /// How many instances the set holds: at least one, at most [`MAX_INSTANCES`].
    pub fn count(&self) -> u64 {
        count(&self.ranges)
    }
}

impl fmt::Display for InstanceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Range { first, last }) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for InstanceSet {
    type Err = InstanceSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            if ranges.len() == MAX_RANGES {
                return Err(InstanceSetError::TooManyRanges);
            }
            let bad = || InstanceSetError::Number {
                part: part.to_owned(),
                text: text.to_owned(),
            };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (
                number(first).ok_or_else(bad)?,
                number(last).ok_or_else(bad)?,
            );
            if first > last {
                return Err(InstanceSetError::Backwards { first, last });
            }
            ranges.push(Range { first, last });
        }
        let ranges = merged(ranges);
        let count = count(&ranges);
        if count > MAX_INSTANCES {
            return Err(InstanceSetError::TooManyInstances { count });
        }
        Ok(Self { ranges })
    }
}

fn count(ranges: &[Range]) -> u64 {
    ranges
        .iter()
        .map(|range| u64::from(range.last - range.first) + 1)
        .sum()
}

/// A number of digits only: the standard parser would take `+5`.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Sorts the ranges and joins those that overlap or touch.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (text.parse::<InstanceSet>(), expected) {
            (Ok(set), Ok(canonical)) => assert_eq!(set.to_string(), canonical),
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message:?} does not say {part:?}");
            }
            (got, _) => panic!("{text:?} gives {got:?}"),
        }
    }

    #[test]
    fn lists() {
        check("0", Ok("0"));
        check("0-2,5", Ok("0-2,5"));
        check("5,0-2", Ok("0-2,5"));
        check("3,2,1", Ok("1-3"));
        check("0-4,2-3", Ok("0-4"));
        check("007", Ok("7"));
        check("4294967295", Ok("4294967295"));
        check("4294967295,4294967294", Ok("4294967294-4294967295"));
        check("0-999999", Ok("0-999999"));
        check("0-1000000", Err("1000001 instances"));
        check("0-4294967295", Err("at most 1000000"));
        check("4294967296", Err("\"4294967296\" is no instance"));
        check("", Err("\"\" is no instance"));
        check("1,", Err("is no instance"));
        check("2-1", Err("write 1-2"));
        check("+1", Err("\"+1\" is no instance"));
        check("-1", Err("\"-1\" is no instance"));
        check("1-2-3", Err("\"1-2-3\" is no instance"));
        check("1, 2", Err("\" 2\" is no instance"));
        check(&"1,".repeat(5000), Err("more than 4096 parts"));
    }

    #[test]
    fn one_is_one() {
        let set = InstanceSet::one(7);
        assert_eq!((set.to_string().as_str(), set.count()), ("7", 1));
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(numbers in prop::collection::vec(0u32..60, 1..40)) {
            let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let set: InstanceSet = text.parse().unwrap();
            let model: BTreeSet<u32> = numbers.into_iter().collect();
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!(set.count(), model.len() as u64);
            for instance in 0..61 {
                prop_assert_eq!(set.contains(instance), model.contains(&instance));
            }
            prop_assert_eq!(set.to_string().parse::<InstanceSet>().unwrap(), set);
        }

        #[test]
        fn any_text(text in "[0-9,+ -]{0,20}") {
            if let Ok(set) = text.parse::<InstanceSet>() {
                prop_assert_eq!(set.to_string().parse::<InstanceSet>().unwrap(), set);
            }
        }
    }
}
