//! What of a line is masked before it leaves the host, by named rules.
//!
//! A rule is a pattern and what is put in place of each match; where the pattern has a group, in place of the first group
//! alone. Rules are applied one after the other. They see one line at a time; of a line that is longer than the limit, one
//! piece at a time: what lies across the cut of such a line is not found.

use regex::bytes::{CaptureLocations, Regex};

use crate::patterns::{self, LineFilter, PatternError};

/// The most rules.
pub const MAX_RULES: usize = 64;

/// The longest mask, in bytes.
pub const MAX_MASK_BYTES: usize = 64;

/// How much longer than the line its masked form may be, in bytes. At the limit the rest of the line is masked as one.
pub const MAX_GROWTH_BYTES: usize = 64 << 10;

/// A rule as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactionRule {
    /// What the rule is called in counts and messages.
    pub name: String,
    /// What is masked. See [`patterns::compile`] for the dialect.
    pub pattern: String,
    /// What is put in its place.
    pub mask: String,
}

/// Rules that cannot serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RedactError {
    /// There are more than [`MAX_RULES`].
    #[error("{count} redaction rules, at most {MAX_RULES} are allowed")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Two rules have one name.
    #[error("two redaction rules are called `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
    /// A mask is longer than [`MAX_MASK_BYTES`] or has a line end.
    #[error(
        "mask of redaction rule `{name}`: at most {MAX_MASK_BYTES} bytes without a line end are allowed"
    )]
    Mask {
        /// The rule's name.
        name: String,
    },
    /// A pattern cannot serve.
    #[error("redaction rule `{name}`")]
    Pattern {
        /// The rule's name.
        name: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// The patterns are too large together.
    #[error("redaction rules")]
    Together {
        /// What is wrong with them.
        source: PatternError,
    },
}

/// Masks lines by rules.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    rules: Vec<Rule>,
    filter: LineFilter,
}

#[derive(Debug, Clone)]
struct Rule {
    name: String,
    regex: Regex,
    mask: Vec<u8>,
    /// Room for the places of the groups, if the pattern has any.
    groups: Option<CaptureLocations>,
}

/// A masked line and how it came about. Kept from line to line for its room.
#[derive(Debug, Clone, Default)]
pub struct Redaction {
    text: Vec<u8>,
    before: Vec<u8>,
    /// By rule, how many places of the last line it masked.
    counts: Vec<u64>,
}

impl Redactor {
    /// Compiles rules.
    pub fn new(rules: &[RedactionRule]) -> Result<Self, RedactError> {
        if rules.len() > MAX_RULES {
            return Err(RedactError::TooMany { count: rules.len() });
        }
        let mut compiled: Vec<Rule> = Vec::with_capacity(rules.len());
        for rule in rules {
            let name = rule.name.clone();
            if compiled.iter().any(|other| other.name == name) {
                return Err(RedactError::SameName { name });
            }
            if rule.mask.len() > MAX_MASK_BYTES || rule.mask.contains(['\n', '\r']) {
                return Err(RedactError::Mask { name });
            }
            let regex = match patterns::compile(&rule.pattern) {
                Ok(regex) => regex,
                Err(source) => return Err(RedactError::Pattern { name, source }),
            };
            let groups = (regex.captures_len() > 1).then(|| regex.capture_locations());
            compiled.push(Rule {
                name,
                regex,
                mask: rule.mask.clone().into_bytes(),
                groups,
            });
        }
        let filter = LineFilter::new(rules.iter().map(|rule| rule.pattern.as_str()))
            .map_err(|source| RedactError::Together { source })?;
        Ok(Self {
            rules: compiled,
            filter,
        })
    }

    /// The rules' names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// Tells which lines could hold something to mask.
    pub fn filter(&self) -> &LineFilter {
        &self.filter
    }

    /// Masks a line. `None`: there is nothing to mask. What was masked is in `redaction` until the next line.
    pub fn redact<'r>(&self, line: &[u8], redaction: &'r mut Redaction) -> Option<&'r [u8]> {
        redaction.counts.clear();
        redaction.counts.resize(self.rules.len(), 0);
        let limit = line.len() + MAX_GROWTH_BYTES;
        let mut is_masked = false;
        for (rule, count) in self.rules.iter().zip(&mut redaction.counts) {
            if is_masked {
                std::mem::swap(&mut redaction.text, &mut redaction.before);
            }
            let source = if is_masked { &redaction.before } else { line };
            *count = rule.mask(source, limit, &mut redaction.text);
            if *count > 0 {
                is_masked = true;
            } else if is_masked {
                std::mem::swap(&mut redaction.text, &mut redaction.before);
            }
        }
        is_masked.then_some(redaction.text.as_slice())
    }
}

impl Rule {
    /// Writes the masked line to `text` if there is something to mask. Returns how many places were masked.
    fn mask(&self, line: &[u8], limit: usize, text: &mut Vec<u8>) -> u64 {
        let mut groups = self.groups.clone();
        let mut count = 0;
        let mut copied = 0;
        let mut from = 0;
        while from <= line.len() {
            let Some((place, next)) = self.find(line, from, groups.as_mut()) else {
                break;
            };
            from = next;
            if place.is_empty() {
                continue;
            }
            if count == 0 {
                text.clear();
            }
            count += 1;
            text.extend_from_slice(&line[copied..place.start]);
            text.extend_from_slice(&self.mask);
            copied = place.end;
            if text.len() + (line.len() - copied) + self.mask.len() > limit {
                copied = line.len();
                break;
            }
        }
        if count > 0 {
            text.extend_from_slice(&line[copied..]);
        }
        count
    }

    /// The next place to mask, and where to go on.
    fn find(
        &self,
        line: &[u8],
        from: usize,
        groups: Option<&mut CaptureLocations>,
    ) -> Option<(std::ops::Range<usize>, usize)> {
        let (whole, group) = match groups {
            None => (self.regex.find_at(line, from)?.range(), None),
            Some(groups) => {
                let whole = self.regex.captures_read_at(groups, line, from)?.range();
                (whole, groups.get(1).map(|(start, end)| start..end))
            }
        };
        // An empty match would be found again.
        let next = whole.end.max(from + usize::from(whole.is_empty()));
        Some((group.unwrap_or(whole), next))
    }
}

impl Redaction {
    /// How many places of the last line each rule masked.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(name: &str, pattern: &str, mask: &str) -> RedactionRule {
        RedactionRule {
            name: name.to_owned(),
            pattern: pattern.to_owned(),
            mask: mask.to_owned(),
        }
    }

    fn redactor() -> Redactor {
        Redactor::new(&[
            rule("password", r"(?i)passw(?:or)?d[=:]\s*(\S+)", "***"),
            rule("card", r"\b\d{4}-\d{4}-\d{4}-\d{4}\b", "<card>"),
            rule("star", r"\*{3}!", "never"),
        ])
        .expect("valid rules")
    }

    #[track_caller]
    fn check(line: &str, expected: Option<&str>, counts: [u64; 3]) {
        let redactor = redactor();
        let mut redaction = Redaction::default();
        let got = redactor
            .redact(line.as_bytes(), &mut redaction)
            .map(<[u8]>::to_vec);
        assert_eq!(got.as_deref(), expected.map(str::as_bytes), "{line:?}");
        assert_eq!(redaction.counts(), counts, "{line:?}");
        assert!(expected.is_none() || redactor.filter().may_match(line.as_bytes()));
    }

    #[test]
    fn masks() {
        check("nothing here", None, [0, 0, 0]);
        check("password=abc x", Some("password=*** x"), [1, 0, 0]);
        check(
            "passwd: a Password=b 1111-2222-3333-4444",
            Some("passwd: *** Password=*** <card>"),
            [2, 1, 0],
        );
        check("1111-2222-3333-4444", Some("<card>"), [0, 1, 0]);
        check("11111-2222-3333-4444", None, [0, 0, 0]);
        // Rules see what those before them left.
        check("password=a !", Some("password=*** !"), [1, 0, 0]);
    }

    #[test]
    fn growth_has_a_limit() {
        let redactor =
            Redactor::new(&[rule("all", ".", &"x".repeat(MAX_MASK_BYTES))]).expect("a valid rule");
        let line = vec![b'a'; 100_000];
        let mut redaction = Redaction::default();
        let text = redactor.redact(&line, &mut redaction).expect("masked");
        assert!(text.len() <= line.len() + MAX_GROWTH_BYTES);
        assert!(text.iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn rules_that_cannot_serve() {
        let check = |rules: &[RedactionRule], expected: &str| {
            let error = Redactor::new(rules).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            &[rule("a", "x", ""), rule("a", "y", "")],
            "two redaction rules are called `a`",
        );
        check(&[rule("a", "x", "\n")], "mask of redaction rule `a`");
        check(
            &[rule("a", "x", &"m".repeat(MAX_MASK_BYTES + 1))],
            "mask of redaction rule `a`",
        );
        check(&[rule("a", "(", "")], "redaction rule `a`");
        check(
            &vec![rule("a", "x", ""); MAX_RULES + 1],
            "65 redaction rules",
        );
    }

    #[test]
    fn no_rules_mask_nothing() {
        let redactor = Redactor::default();
        assert_eq!(
            redactor.redact(b"password=a", &mut Redaction::default()),
            None
        );
        assert!(!redactor.filter().may_match(b"password=a"));
    }

    proptest! {
        #[test]
        fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let line = [b"passwd=", line.as_slice()].concat();
            let mut redaction = Redaction::default();
            if let Some(text) = redactor().redact(&line, &mut redaction) {
                prop_assert!(text.starts_with(b"passwd="));
                prop_assert!(redaction.counts().iter().any(|count| *count > 0));
            }
        }
    }
}
