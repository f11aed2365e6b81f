//! A pattern that job keys are matched with: `aa/*/prod/hello*`, part by part.
//!
//! It only tells whether a key matches. Which keys there are is the matter of the schedulers and of `resolve`.

use std::fmt;

use joblog::JobKey;

use crate::glob::{Glob, GlobError};

/// Characters that make a pattern of a name.
pub const PATTERN_CHARACTERS: [char; 4] = ['*', '?', '[', ']'];

/// Whether a text is a pattern and not a name.
pub fn is_pattern(text: &str) -> bool {
    text.contains(PATTERN_CHARACTERS)
}

/// A pattern for each part of a job key. `*` does not reach over a slash, since each part is matched by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPattern {
    text: String,
    parts: [Glob; 4],
}

impl JobPattern {
    /// A pattern of its parts: cluster, role, environment, name.
    pub fn new(parts: [&str; 4]) -> Result<Self, GlobError> {
        let [cluster, role, env, name] = parts;
        Ok(Self {
            text: parts.join("/"),
            parts: [cluster.parse()?, role.parse()?, env.parse()?, name.parse()?],
        })
    }

    /// Whether a cluster can have jobs that match.
    pub fn takes_cluster(&self, cluster: &str) -> bool {
        self.parts[0].matches(cluster.as_bytes())
    }

    /// Whether this job matches.
    pub fn matches(&self, key: &JobKey) -> bool {
        self.takes_cluster(key.cluster()) && self.takes_job(key.role(), key.env(), key.name())
    }

    /// Whether a job of a cluster that is not known matches.
    pub fn takes_job(&self, role: &str, env: &str, name: &str) -> bool {
        [role, env, name]
            .iter()
            .zip(&self.parts[1..])
            .all(|(part, glob)| glob.matches(part.as_bytes()))
    }

    /// The same pattern for one cluster.
    pub fn in_cluster(&self, cluster: &str) -> Result<Self, GlobError> {
        let rest = self.text.split_once('/').map_or("", |(_, rest)| rest);
        Ok(Self {
            text: format!("{cluster}/{rest}"),
            parts: [
                cluster.parse()?,
                self.parts[1].clone(),
                self.parts[2].clone(),
                self.parts[3].clone(),
            ],
        })
    }
}

impl fmt::Display for JobPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: [&str; 4], key: &str, expected: bool) {
        let pattern = JobPattern::new(pattern).expect("a pattern");
        let key: JobKey = key.parse().expect("a key");
        assert_eq!(pattern.matches(&key), expected, "{pattern} {key}");
    }

    #[test]
    fn each_part_is_matched_by_itself() {
        check(["aa", "*", "prod", "hello*"], "aa/www/prod/hello-2", true);
        check(["aa", "*", "prod", "hello*"], "aa/www/devel/hello", false);
        check(["aa", "*", "prod", "hello*"], "bb/www/prod/hello", false);
        check(["*", "w?w", "*", "h[a-e]llo"], "bb/www/x/hello", true);
        check(["*", "www", "prod", "o"], "a/www/prod/hello", false);
        check(["*", "*", "*", ""], "a/b/c/d", false);
    }

    #[test]
    fn one_cluster_at_a_time() {
        let pattern = JobPattern::new(["*", "www", "p*", "h"]).expect("a pattern");
        let one = pattern.in_cluster("aa").expect("a pattern");
        assert_eq!(one.to_string(), "aa/www/p*/h");
        assert!(one.matches(&"aa/www/prod/h".parse().expect("a key")));
        assert!(!one.matches(&"bb/www/prod/h".parse().expect("a key")));
    }
}
