//! Patterns as OpenSSH writes them, for `known_hosts` and for `ssh_config`: `*`, `?`, and lists with negation.
//!
//! Owns the matching of one pattern and of one comma-separated list. What a match means is left to the files that
//! hold the patterns. Both work on bytes, since neither file need be UTF-8.

/// A list with a longer pattern in it matches nothing, as with OpenSSH.
pub const MAX_PATTERN_BYTES: usize = 1023;

/// What a list of patterns says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListMatch {
    /// A pattern matches, and no negated one does.
    Yes,
    /// No pattern matches.
    No,
    /// A negated pattern matches: the list must not apply, whatever else is in it.
    Refused,
}

/// Whether letters that differ only in case are the same. Only ASCII letters have a case here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// They differ: users.
    Matters,
    /// They are the same: host names.
    Ignored,
}

/// Whether `pattern` covers the whole of `text`. `*` stands for any bytes, `?` for one.
pub fn matches(text: &[u8], pattern: &[u8], case: Case) -> bool {
    let same = |a: u8, b: u8| match case {
        Case::Matters => a == b,
        Case::Ignored => a.eq_ignore_ascii_case(&b),
    };
    let (mut at, mut from) = (0, 0);
    // Only the last star need ever be tried again, so that no pattern takes more than text times pattern steps.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(from) {
            Some(b'*') => {
                star = Some((from, at));
                from += 1;
            }
            Some(&p) if p == b'?' || same(p, text[at]) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_from, star_at)) = star else {
                    return false;
                };
                star = Some((star_from, star_at + 1));
                from = star_from + 1;
                at = star_at + 1;
            }
        }
    }
    pattern[from..].iter().all(|&p| p == b'*')
}

/// What the comma-separated `list` says about `text`; a pattern after `!` is negated.
pub fn matches_list(text: &[u8], list: &[u8], case: Case) -> ListMatch {
    let mut found = ListMatch::No;
    for pattern in list.split(|&b| b == b',') {
        let (pattern, negated) = match pattern.strip_prefix(b"!") {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        if pattern.len() > MAX_PATTERN_BYTES {
            return ListMatch::No;
        }
        if matches(text, pattern, case) {
            if negated {
                return ListMatch::Refused;
            }
            found = ListMatch::Yes;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "*", true),
            ("", "?", false),
            ("a", "", false),
            ("web1.example.com", "*.example.com", true),
            ("web1.example.com", "web?.*", true),
            ("web11.example.com", "web?.*", false),
            ("WEB1", "web1", true),
            ("abcabd", "*ab?", true),
            ("abcabd", "a*b*c*d", true),
            ("abcab", "a*b*c*d", false),
            ("[h]:22", "[h]:*", true),
            ("::1", "::1", true),
        ] {
            assert_eq!(
                matches(text.as_bytes(), pattern.as_bytes(), Case::Ignored),
                expected,
                "{text} {pattern}"
            );
        }
        assert!(!matches(b"WEB1", b"web1", Case::Matters));
    }

    #[test]
    fn lists() {
        for (text, list, expected) in [
            ("a", "a,b", ListMatch::Yes),
            ("c", "a,b", ListMatch::No),
            ("b", "*,!b", ListMatch::Refused),
            ("b", "!b,*", ListMatch::Refused),
            ("a", "!b", ListMatch::No),
            ("a", "!b,a", ListMatch::Yes),
            ("a", "", ListMatch::No),
            ("a", ",a,", ListMatch::Yes),
        ] {
            assert_eq!(
                matches_list(text.as_bytes(), list.as_bytes(), Case::Ignored),
                expected,
                "{text} {list}"
            );
        }
        let long = format!("a,{}", "*".repeat(MAX_PATTERN_BYTES + 1));
        assert_eq!(
            matches_list(b"a", long.as_bytes(), Case::Ignored),
            ListMatch::No
        );
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let text = "a".repeat(2000);
        let pattern = format!("{}b", "a*".repeat(400));
        assert!(!matches(text.as_bytes(), pattern.as_bytes(), Case::Ignored));
    }

    /// The plain definition, exponential but evident.
    fn model(text: &[u8], pattern: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| model(&text[n..], rest)),
            Some((p, rest)) => text
                .split_first()
                .is_some_and(|(t, more)| (*p == b'?' || p == t) && model(more, rest)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(text in "[ab]{0,8}", pattern in "[ab*?]{0,8}") {
            prop_assert_eq!(
                matches(text.as_bytes(), pattern.as_bytes(), Case::Matters),
                model(text.as_bytes(), pattern.as_bytes())
            );
        }
    }
}
