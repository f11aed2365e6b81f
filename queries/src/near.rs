//! Names near to one that is not there, for "did you mean".

/// The most names that are suggested.
const MAX_SUGGESTIONS: usize = 3;

/// Names longer than this, in characters, are not compared: the effort is the product of both lengths.
const MAX_COMPARED_CHARS: usize = 64;

/// The candidates that look like `wanted`, the nearest first.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let chars = wanted.chars().count();
    if chars == 0 || chars > MAX_COMPARED_CHARS {
        return Vec::new();
    }
    let limit = (chars / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = strsim::osa_distance(wanted, candidate);
            let holds = chars > 2 && (candidate.contains(wanted) || wanted.contains(candidate));
            (distance <= limit || holds).then_some((distance, candidate))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MAX_SUGGESTIONS);
    found.into_iter().map(|(_, name)| name).collect()
}

/// ``; near to it: `a`, `b` ``, or nothing: what a message about an unknown name ends with.
pub fn suggestion<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = near(wanted, candidates)
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; near to it: {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_come_first() {
        let names = ["grep", "gaps", "slowest", "silence", "latency"];
        assert_eq!(near("gerp", names), ["grep"]);
        assert_eq!(near("slow", names), ["slowest"]);
        assert!(near("zzz", names).is_empty());
        assert_eq!(
            suggestion("lateny", names),
            "; near to it: `latency`".to_owned()
        );
    }
}
