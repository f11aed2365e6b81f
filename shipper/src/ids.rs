//! Request and trace ids: what their keys are called, and where in a line their values stand.
//!
//! A name is looked for in all its usual spellings: `request_id` finds `request_id=…`, `requestId: …`, `"request-id":"…"`,
//! `X-Request-ID: …`. A pattern says itself where the id is: in its first group. The first value in the line counts, names
//! before patterns.

mod keys;

use memchr::memchr2_iter;
use regex::bytes::{CaptureLocations, Regex};

use crate::patterns::{self, LineFilter, PatternError};
pub use keys::KeyEnds;

/// The most names of one kind of id.
pub const MAX_NAMES: usize = 32;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// The most patterns of one kind of id.
pub const MAX_PATTERNS: usize = 32;

/// The longest id, in bytes. What is longer is none.
pub const MAX_ID_BYTES: usize = 128;

/// What the two kinds of ids are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRules {
    /// Of requests.
    pub request: IdKeys,
    /// Of traces.
    pub trace: IdKeys,
}

/// What one kind of id is known by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdKeys {
    /// Names of keys: letters and digits in words, as `request_id`, `request-id` or `requestId`. `traceparent` names the header
    /// of the W3C, of which the trace's part is taken.
    pub names: Vec<String>,
    /// Patterns whose first group is the id. See [`patterns::compile`] for the dialect.
    pub patterns: Vec<String>,
}

impl Default for IdRules {
    fn default() -> Self {
        let keys = |names: &[&str]| IdKeys {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            patterns: Vec::new(),
        };
        Self {
            request: keys(&["request_id", "req_id"]),
            trace: keys(&["trace_id", "traceparent"]),
        }
    }
}

/// Rules for ids that cannot serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum IdError {
    /// A name has no letters or digits, or others than those and `_`, `-`, `.`, or is too long.
    #[error(
        "`{name}` names no id: up to {MAX_NAME_BYTES} letters, digits, `_`, `-` and `.` are allowed"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// More than [`MAX_NAMES`] names or [`MAX_PATTERNS`] patterns.
    #[error(
        "{names} names and {patterns} patterns of ids, at most {MAX_NAMES} and {MAX_PATTERNS} are allowed"
    )]
    TooMany {
        /// How many names there are.
        names: usize,
        /// How many patterns there are.
        patterns: usize,
    },
    /// A pattern has no group.
    #[error("pattern `{pattern}` has no group: the id is what the first group matches")]
    NoGroup {
        /// The pattern.
        pattern: String,
    },
    /// A pattern cannot serve.
    #[error("pattern of ids")]
    Pattern {
        /// What is wrong with it.
        #[from]
        source: PatternError,
    },
}

/// The ids of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ids<'l> {
    /// Of the request that the line belongs to.
    pub request: Option<&'l str>,
    /// Of the trace.
    pub trace: Option<&'l str>,
}

/// Finds ids in lines.
#[derive(Debug, Clone, Default)]
pub struct IdFinder {
    names: Vec<Name>,
    /// The names' last letters, each once: most keys are told apart by theirs.
    last_letters: Vec<u8>,
    patterns: Vec<Pattern>,
    filter: LineFilter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Trace,
}

#[derive(Debug, Clone)]
struct Name {
    kind: Kind,
    /// In lower case, without what joins its words.
    letters: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Pattern {
    kind: Kind,
    regex: Regex,
    groups: CaptureLocations,
}

impl IdFinder {
    /// Compiles rules.
    pub fn new(rules: &IdRules) -> Result<Self, IdError> {
        let mut finder = Self::default();
        for (kind, keys) in [(Kind::Request, &rules.request), (Kind::Trace, &rules.trace)] {
            if keys.names.len() > MAX_NAMES || keys.patterns.len() > MAX_PATTERNS {
                return Err(IdError::TooMany {
                    names: keys.names.len(),
                    patterns: keys.patterns.len(),
                });
            }
            for name in &keys.names {
                let letters = letters(name).ok_or_else(|| IdError::Name { name: name.clone() })?;
                if let Some(last) = letters.last()
                    && !finder.last_letters.contains(last)
                {
                    finder.last_letters.push(*last);
                }
                finder.names.push(Name { kind, letters });
            }
            for pattern in &keys.patterns {
                let regex = patterns::compile(pattern)?;
                if regex.captures_len() < 2 {
                    return Err(IdError::NoGroup {
                        pattern: pattern.clone(),
                    });
                }
                let groups = regex.capture_locations();
                finder.patterns.push(Pattern {
                    kind,
                    regex,
                    groups,
                });
            }
        }
        let sources = [&rules.request, &rules.trace].map(|keys| &keys.patterns);
        finder.filter = LineFilter::new(sources.into_iter().flatten().map(String::as_str))?;
        Ok(finder)
    }

    /// Tells which lines the patterns could find an id in.
    pub fn filter(&self) -> &LineFilter {
        &self.filter
    }

    /// Tells which lines of a buffer could have an id by name.
    #[inline]
    pub fn key_ends<'b>(&self, buffer: &'b [u8]) -> KeyEnds<'_, 'b> {
        KeyEnds::new(&self.last_letters, buffer)
    }

    /// The ids of a line.
    pub fn find<'l>(&mut self, line: &'l [u8]) -> Ids<'l> {
        let ids = self.find_by_name(line);
        self.find_by_pattern(line, ids)
    }

    /// Adds ids that patterns find to those that names found.
    pub fn find_by_pattern<'l>(&mut self, line: &'l [u8], mut ids: Ids<'l>) -> Ids<'l> {
        for pattern in &mut self.patterns {
            let slot = ids.slot(pattern.kind);
            if slot.is_none()
                && pattern
                    .regex
                    .captures_read(&mut pattern.groups, line)
                    .is_some()
                && let Some((start, end)) = pattern.groups.get(1)
            {
                *slot = id(&line[start..end]);
            }
        }
        ids
    }

    /// The ids of a line that no pattern matches.
    pub fn find_by_name<'l>(&self, line: &'l [u8]) -> Ids<'l> {
        let mut ids = Ids::default();
        if self.names.is_empty() {
            return ids;
        }
        for separator in memchr2_iter(b'=', b':', line) {
            let key = without_quotes(&line[..separator]);
            let is_known = key
                .last()
                .is_some_and(|last| self.last_letters.contains(&last.to_ascii_lowercase()));
            if !is_known {
                continue;
            }
            let Some(name) = self.names.iter().find(|name| name.is_key(key)) else {
                continue;
            };
            let slot = ids.slot(name.kind);
            if slot.is_some() {
                continue;
            }
            *slot = value(&line[separator..]).and_then(|value| name.id(value));
            if ids.request.is_some() && ids.trace.is_some() {
                return ids;
            }
        }
        ids
    }
}

/// What stands before a separator, without what may stand between: a quote, escaped in a text that is quoted itself, and a
/// blank.
#[inline]
fn without_quotes(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b" ").unwrap_or(text);
    match text {
        [key @ .., b'\\', b'"' | b'\''] | [key @ .., b'"' | b'\''] => key,
        _ => text,
    }
}

impl<'l> Ids<'l> {
    fn slot(&mut self, kind: Kind) -> &mut Option<&'l str> {
        match kind {
            Kind::Request => &mut self.request,
            Kind::Trace => &mut self.trace,
        }
    }
}

impl Name {
    /// Whether a text ends with a key of this name: all of the name, in whatever spelling, and perhaps a prefix.
    /// `parent_request_id` is another one; `http.request_id` is not.
    fn is_key(&self, text: &[u8]) -> bool {
        let mut rest = text;
        for letter in self.letters.iter().rev() {
            while let [before @ .., b'_' | b'-' | b'.'] = rest {
                rest = before;
            }
            match rest {
                [before @ .., last] if last.eq_ignore_ascii_case(letter) => rest = before,
                _ => return false,
            }
        }
        let prefix = rest
            .iter()
            .rev()
            .take(MAX_PREFIX_BYTES + 1)
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            .count();
        let prefix = &rest[rest.len() - prefix..];
        prefix.is_empty()
            || PREFIXES
                .iter()
                .any(|known| prefix.eq_ignore_ascii_case(known))
    }

    /// The id in a value of this name.
    fn id<'l>(&self, value: &'l [u8]) -> Option<&'l str> {
        if self.letters == b"traceparent" {
            // Version, trace, parent, flags: 00-32 digits-16 digits-2 digits.
            let trace = value.get(3..35)?;
            let is_header = value.len() >= 55 && value[2] == b'-' && value[35] == b'-';
            return if is_header && trace.iter().all(u8::is_ascii_hexdigit) {
                id(trace)
            } else {
                None
            };
        }
        id(value)
    }
}

/// The letters and digits of a name in lower case, if it is one.
fn letters(name: &str) -> Option<Vec<u8>> {
    let is_name = name.len() <= MAX_NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || is_join(byte));
    let letters: Vec<u8> = name
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
        .collect();
    if is_name && !letters.is_empty() {
        Some(letters)
    } else {
        None
    }
}

fn is_join(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.')
}

/// What may stand before a name without making it another one.
const PREFIXES: [&[u8]; 6] = [b"x-", b"x_", b"x", b"x-b3-", b"x-amzn-", b"http-"];

/// The longest of [`PREFIXES`], in bytes.
const MAX_PREFIX_BYTES: usize = 7;

/// The value behind a key. `rest` begins with what separates them.
fn value(rest: &[u8]) -> Option<&[u8]> {
    let ([b'=', b'>', rest @ ..] | [_, rest @ ..]) = rest else {
        return None;
    };
    let blanks = rest
        .iter()
        .take(2)
        .take_while(|byte| **byte == b' ')
        .count();
    let rest = &rest[blanks..];
    let (quote, rest) = match rest {
        [b'\\', quote @ (b'"' | b'\''), rest @ ..] | [quote @ (b'"' | b'\''), rest @ ..] => {
            (Some(*quote), rest)
        }
        _ => (None, rest),
    };
    let len = rest
        .iter()
        .take(MAX_ID_BYTES + 1)
        .take_while(|byte| is_id_byte(**byte))
        .count();
    let (value, behind) = rest.split_at(len);
    match (quote, behind) {
        (Some(quote), [b'\\', end, ..] | [end, ..]) if *end == quote => Some(value),
        (Some(_), _) => None,
        // The end of a sentence.
        (None, _) => {
            let end = value
                .iter()
                .rposition(|byte| !matches!(byte, b'.' | b':'))?;
            Some(&value[..=end])
        }
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@' | b'~' | b'#' | b'|'
        )
}

/// What programs write where there is no id.
const ABSENT: [&str; 7] = ["-", "null", "none", "nil", "undefined", "unknown", "n/a"];

/// The id that a value is, if it is one: visible ASCII without quotes, of a sane length.
fn id(value: &[u8]) -> Option<&str> {
    let is_sane =
        (1..=MAX_ID_BYTES).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    let is_absent = ABSENT
        .iter()
        .any(|absent| value.eq_ignore_ascii_case(absent.as_bytes()));
    if is_sane && !is_absent {
        std::str::from_utf8(value).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn finder() -> IdFinder {
        let rules = IdRules {
            request: IdKeys {
                names: vec!["request_id".to_owned(), "reqId".to_owned()],
                patterns: vec![r"\[([0-9a-f]{8})\] handling".to_owned()],
            },
            ..IdRules::default()
        };
        IdFinder::new(&rules).expect("valid rules")
    }

    #[track_caller]
    fn check(line: &str, request: Option<&str>, trace: Option<&str>) {
        let mut finder = finder();
        let expected = Ids { request, trace };
        assert_eq!(finder.find(line.as_bytes()), expected, "{line:?}");
        let is_named = finder.find_by_name(line.as_bytes()) == expected;
        assert!(
            is_named || finder.filter().may_match(line.as_bytes()),
            "{line:?}"
        );
    }

    #[test]
    fn spellings() {
        for line in [
            "took 12 ms request_id=ab-12 status=200",
            "requestId: ab-12, done",
            r#"{"requestId":"ab-12","x":1}"#,
            r#"{"request-id" : "ab-12"}"#,
            "X-Request-ID: ab-12",
            "http.request.id=ab-12",
            "REQUEST_ID=ab-12.",
            "(reqid=ab-12)",
            r#"{"log":"{\"request_id\":\"ab-12\"}"}"#,
            r#""request_id"=>"ab-12""#,
            "request_id='ab-12'",
            "parent_request_id=zz request_id=ab-12 request_id=cd",
            "request_id=- req_id=ab-12",
        ] {
            check(line, Some("ab-12"), None);
        }
        check("[0a1b2c3d] handling", Some("0a1b2c3d"), None);
        check("[0a1b2c3d] handling request_id=x", Some("x"), None);
        check("trace_id=1 request_id=2", Some("2"), Some("1"));
    }

    #[test]
    fn no_ids() {
        for line in [
            "",
            "request_id",
            "request_id=",
            "request_ids=ab",
            "request_id ab",
            "myrequest_id=ab",
            r#"{"request_id":null}"#,
            r#"{"request_id":"two words"}"#,
            r#"{"request_id":"open"#,
            "request_id=..",
            "requestxid=ab",
        ] {
            check(line, None, None);
        }
        check(
            &format!("request_id={}", "a".repeat(MAX_ID_BYTES)),
            Some(&"a".repeat(MAX_ID_BYTES)),
            None,
        );
        check(
            &format!("request_id={}", "a".repeat(MAX_ID_BYTES + 1)),
            None,
            None,
        );
    }

    #[test]
    fn traceparent() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        check(
            &format!("traceparent: 00-{trace}-b7ad6b7169203331-01"),
            None,
            Some(trace),
        );
        check("traceparent: 00-0af7-b7ad6b7169203331-01", None, None);
    }

    #[test]
    fn rules_that_cannot_serve() {
        let check = |names: &[&str], patterns: &[&str], expected: &str| {
            let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let rules = IdRules {
                request: IdKeys {
                    names: own(names),
                    patterns: own(patterns),
                },
                trace: IdKeys::default(),
            };
            let error = IdFinder::new(&rules).expect_err("refused");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["a b"], &[], "`a b` names no id");
        check(&["_"], &[], "`_` names no id");
        check(&[""], &[], "`` names no id");
        check(&[], &["id=[a-z]+"], "no group");
        check(&[], &["("], "pattern of ids");
        check(&["a"; MAX_NAMES + 1], &[], "33 names");
    }

    #[test]
    fn no_rules_find_nothing() {
        let mut finder = IdFinder::default();
        assert_eq!(finder.find(b"request_id=ab"), Ids::default());
        assert!(!finder.filter().may_match(b"request_id=ab"));
    }

    /// What lines are made of whose ids are looked for.
    const PARTS: [&str; 20] = [
        "request_id",
        "reqId",
        "Trace-ID",
        "traceparent",
        "=",
        ":",
        " ",
        "\"",
        "'",
        "\\",
        "=ab-12",
        ": ab-12",
        "\":\"ab-12\"",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "03:04:05",
        "d=",
        "GET /a",
        "took 12 ms ",
        "0123456789",
        "x",
    ];

    proptest! {
        /// No line with a named id is passed over, wherever it stands in its buffer.
        #[test]
        fn lines_that_are_passed_over_have_no_id(
            lines in prop::collection::vec(
                prop::collection::vec(prop::sample::select(PARTS.as_slice()), 0..8), 1..30),
            skipped in any::<u32>(),
        ) {
            let finder = finder();
            let lines: Vec<String> = lines.iter().map(|parts| parts.concat()).collect();
            let buffer = lines.join("\n");
            let mut ends = finder.key_ends(buffer.as_bytes());
            let mut start = 0;
            for (index, line) in lines.iter().enumerate() {
                let end = start + line.len();
                if (skipped >> (index % 32)) & 1 == 0 && !ends.may_be_in(start, end) {
                    prop_assert_eq!(finder.find_by_name(line.as_bytes()), Ids::default(), "{}", line);
                }
                start = end + 1;
            }
        }

        #[test]
        fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..80), tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let line = [line.as_slice(), b"request_id=\"", &tail, b"traceparent:", &tail].concat();
            let _ = finder().find(&line);
        }
    }
}
