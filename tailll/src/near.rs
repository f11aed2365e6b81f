//! Names near to one that was not found, for "did you mean".

/// The most names that are suggested.
pub const MAX_SUGGESTIONS: usize = 5;

/// Names longer than this, in characters, are not compared: the effort is the product of both lengths.
const MAX_COMPARED_CHARS: usize = 128;

/// The candidates that look like `wanted`, the nearest first: those within an edit in three characters, and those of which
/// one holds the other.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted_chars = wanted.chars().count();
    if wanted_chars == 0 || wanted_chars > MAX_COMPARED_CHARS {
        return Vec::new();
    }
    let limit = (wanted_chars / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = distance(wanted, candidate)?;
            let holds =
                wanted_chars > 2 && (candidate.contains(wanted) || wanted.contains(candidate));
            (distance <= limit || (holds && !candidate.is_empty())).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_SUGGESTIONS);
    found.into_iter().map(|(_, name)| name).collect()
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if b.len() > MAX_COMPARED_CHARS {
        return None;
    }
    // Three rows of the table of all prefixes: a swap looks two rows back.
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let jobs = ["hello", "help", "hallo", "world", "hello-canary", "shell"];
        assert_eq!(near("helo", jobs), ["hello", "help"]);
        assert_eq!(near("hlelo", jobs), ["hello"]);
        assert_eq!(near("hello", jobs), ["hello", "hallo", "hello-canary"]);
        assert_eq!(near("zzz", jobs), Vec::<&str>::new());
        assert_eq!(near("", jobs), Vec::<&str>::new());
    }

    #[test]
    fn at_most_five() {
        let many: Vec<String> = (0..20).map(|n| format!("job{n}")).collect();
        assert_eq!(
            near("job", many.iter().map(String::as_str)).len(),
            MAX_SUGGESTIONS
        );
    }

    proptest! {
        #[test]
        fn a_distance_is_symmetric_and_zero_only_to_itself(a in "[abc]{0,8}", b in "[abc]{0,8}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == Some(0), a == b);
        }
    }
}
