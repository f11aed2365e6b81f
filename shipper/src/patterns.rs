//! Regular expressions over lines: compiled within limits, and a filter that tells which lines of a buffer could match any.
//!
//! Most lines match no pattern. So all patterns are searched for together and in the whole buffer at once, which costs far
//! less than a search in each line; only lines that could match are looked at one by one.

use regex::bytes::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// The most memory that a compiled pattern may take, in bytes.
pub const MAX_COMPILED_BYTES: usize = 1 << 20;

/// The most memory that all patterns of one filter may take together, in bytes.
pub const MAX_FILTER_BYTES: usize = 8 << 20;

/// A pattern that cannot serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than [`MAX_PATTERN_BYTES`].
    #[error("pattern of {bytes} bytes, at most {MAX_PATTERN_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is no regular expression, or one that is too large when compiled.
    #[error("pattern `{pattern}`")]
    Syntax {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: regex::Error,
    },
    /// It says where a line begins or ends in a way that only holds for a text of one line.
    #[error("pattern `{pattern}` has `{part}`: use `^` and `$` for the ends of a line")]
    Anchor {
        /// The pattern.
        pattern: String,
        /// What is refused.
        part: String,
    },
    /// It matches the empty text, and so every line.
    #[error("pattern `{pattern}` matches the empty text")]
    MatchesNothing {
        /// The pattern.
        pattern: String,
    },
    /// All patterns together are too large.
    #[error("patterns together")]
    Together {
        /// What is wrong with them.
        source: regex::Error,
    },
}

/// Compiles a pattern for lines. Lines are bytes: `\w`, `\d` and `\b` know ASCII only, `.` stands for one byte.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong {
            bytes: pattern.len(),
        });
    }
    if let Some(part) = anchor(pattern) {
        return Err(PatternError::Anchor {
            pattern: pattern.to_owned(),
            part: part.to_owned(),
        });
    }
    let regex = build(pattern, MAX_COMPILED_BYTES).map_err(|source| PatternError::Syntax {
        pattern: pattern.to_owned(),
        source,
    })?;
    if regex.is_match(b"") {
        return Err(PatternError::MatchesNothing {
            pattern: pattern.to_owned(),
        });
    }
    Ok(regex)
}

fn build(pattern: &str, limit_bytes: usize) -> Result<Regex, regex::Error> {
    // With these modes a pattern means in a buffer of lines what it means in each of them.
    RegexBuilder::new(pattern)
        .unicode(false)
        .multi_line(true)
        .crlf(true)
        .size_limit(limit_bytes)
        .build()
}

/// What in the pattern would mean something else in a buffer than in a line: `\A`, `\z`, and flags that end the modes of
/// [`build`].
fn anchor(pattern: &str) -> Option<&str> {
    let bytes = pattern.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'\\', b'A' | b'z', ..] => return Some(&pattern[at..at + 2]),
            // The byte behind a backslash may begin a character of several bytes; none of those is a backslash.
            [b'\\', _, ..] => at += 2,
            [b'(', b'?', rest @ ..] => {
                let flags = rest
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-')
                    .count();
                let off = rest[..flags].iter().skip_while(|byte| **byte != b'-');
                let is_group = matches!(rest.get(flags), Some(b')' | b':'));
                if is_group && off.into_iter().any(|byte| matches!(byte, b'm' | b'R')) {
                    return Some(&pattern[at..at + 2 + flags]);
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
    None
}

/// Several patterns as one: which lines could match any of them.
#[derive(Debug, Clone, Default)]
pub struct LineFilter {
    /// Absent when there are no patterns: nothing can match.
    any: Option<Regex>,
}

impl LineFilter {
    /// A filter for patterns that [`compile`] took.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, PatternError> {
        let patterns: Vec<_> = patterns.into_iter().map(|p| format!("(?:{p})")).collect();
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let any = build(&patterns.join("|"), MAX_FILTER_BYTES)
            .map_err(|source| PatternError::Together { source })?;
        Ok(Self { any: Some(any) })
    }

    /// Whether a single line could match.
    #[inline]
    pub fn may_match(&self, line: &[u8]) -> bool {
        self.any.as_ref().is_some_and(|any| any.is_match(line))
    }

    /// Looks through a buffer of lines.
    #[inline]
    pub fn candidates<'b>(&'b self, buffer: &'b [u8]) -> Candidates<'b> {
        Candidates {
            any: self.any.as_ref(),
            buffer,
            next: self
                .any
                .as_ref()
                .and_then(|any| any.shortest_match_at(buffer, 0)),
        }
    }
}

/// The lines of one buffer that could match.
#[derive(Debug, Clone)]
pub struct Candidates<'b> {
    any: Option<&'b Regex>,
    buffer: &'b [u8],
    /// Where the first match from the place last searched from has been seen to end. No line before it can match: a match
    /// within it would have been seen first.
    next: Option<usize>,
}

impl Candidates<'_> {
    /// Whether the line from `start` to `end` (without its line end) could match. Lines are asked for in their order, each
    /// with its beginning and its end in the buffer; some may be left out.
    #[inline]
    pub fn may_match(&mut self, start: usize, end: usize) -> bool {
        loop {
            match self.next {
                None => return false,
                Some(at) if at > end => return false,
                Some(at) if at >= start => return true,
                Some(_) => {
                    self.next = self
                        .any
                        .and_then(|any| any.shortest_match_at(self.buffer, start));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn refused(pattern: &str, expected: &str) {
        let error = compile(pattern).expect_err(pattern);
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn patterns_that_cannot_serve() {
        refused(r"\Aa", r"has `\A`");
        refused(r"a\z", r"has `\z`");
        refused(r"(?-m)^a", "has `(?-m`");
        refused(r"(?s-mi:^a)", "has `(?s-mi`");
        refused(r"(?-R:a$)", "has `(?-R`");
        refused("a*", "matches the empty text");
        refused("(", "pattern `(`");
        refused(r"\w{1000}{1000}", "pattern");
        refused(&"a".repeat(MAX_PATTERN_BYTES + 1), "4097 bytes");
        for pattern in [
            r"\\A",
            r"\\\\z",
            "(?i-s:a)",
            "(?P<m>a-m)",
            "(?:a-m)",
            r"\(?-m)?",
        ] {
            // The last is a group that is not closed, or it is none: only the anchors are asked here.
            assert_eq!(anchor(pattern), None, "{pattern}");
        }
    }

    /// Which lines of a text match a pattern, asked by the filter first and without it.
    fn check(patterns: &[&str], text: &str) {
        let regexes: Vec<_> = patterns
            .iter()
            .map(|p| compile(p).expect("a valid pattern"))
            .collect();
        let filter = LineFilter::new(patterns.iter().copied()).expect("a valid filter");
        let mut candidates = filter.candidates(text.as_bytes());
        let mut start = 0;
        while let Some(len) = memchr::memchr(b'\n', &text.as_bytes()[start..]) {
            let mut end = start + len;
            if text[start..end].ends_with('\r') {
                end -= 1;
            }
            let line = &text.as_bytes()[start..end];
            let matches = regexes.iter().any(|regex| regex.is_match(line));
            if matches {
                assert!(filter.may_match(line), "{line:?}");
            }
            let asked = candidates.may_match(start, end);
            assert!(asked || !matches, "{patterns:?} {text:?}: line at {start}");
            start += len + 1;
        }
    }

    #[test]
    fn filters() {
        check(&["^a$", "b"], "a\r\na\nxb\n\nc\na");
        check(&["a[^x]*"], "a\na\n\nxa\na\n");
        check(&[r"\ba\b", r"a\s+b"], "a\n b\na b\nba\n");
        check(&[], "a\n");
    }

    proptest! {
        /// The filter never leaves out a line that a pattern matches, whatever runs across line ends.
        #[test]
        fn nothing_is_left_out(
            picked in prop::sample::subsequence(vec!["^a", "b$", "a[^b]+c", r"\bab", r"a\sb", "(?i)C+", "a.b", r"[^a]\r", "(?s:a.c)", r"b\B", "^$|c"], 0..5),
            text in "[abcC \r\n]{0,60}\n",
        ) {
            let picked: Vec<_> = picked.into_iter().filter(|pattern| compile(pattern).is_ok()).collect();
            check(&picked, &text);
        }
    }
}
