//! Shell-like patterns over bytes: `*`, `?`, `[a-z]`, `[!a-z]` and `\` before a character that is meant literally.
//!
//! They choose among names that are already known (hosts and paths of sources). `*` and `?` match any byte, `/` too. What lies
//! on a disk is looked for by the followers, not here.

use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    AnyByte,
    AnyBytes,
    Class {
        negated: Negated,
        ranges: Vec<(u8, u8)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Negated {
    Yes,
    No,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern has {len} bytes, more than the {MAX_PATTERN_BYTES} bytes that are allowed")]
pub struct GlobError {
    /// Its length in bytes.
    pub len: usize,
}

impl Glob {
    /// Whether the whole name matches. The effort is at most the product of both lengths.
    pub fn matches(&self, name: &[u8]) -> bool {
        let tokens = &self.tokens;
        let (mut t, mut n) = (0, 0);
        // Where to go on if what follows the last `*` does not fit: only the last one ever needs another try, since
        // whatever an earlier one could give up, the last one can take.
        let mut retry: Option<(usize, usize)> = None;
        while n < name.len() {
            match tokens.get(t) {
                Some(Token::AnyBytes) => {
                    retry = Some((t + 1, n));
                    t += 1;
                }
                Some(token) if token.takes(name[n]) => {
                    t += 1;
                    n += 1;
                }
                _ => {
                    let Some((after_star, from)) = retry else {
                        return false;
                    };
                    retry = Some((after_star, from + 1));
                    t = after_star;
                    n = from + 1;
                }
            }
        }
        tokens[t..].iter().all(|token| *token == Token::AnyBytes)
    }

    /// Whether the pattern speaks of folders: it holds a `/`.
    pub fn has_slash(&self) -> bool {
        self.text.contains('/')
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let bytes = text.as_bytes();
        if bytes.len() > MAX_PATTERN_BYTES {
            return Err(GlobError { len: bytes.len() });
        }
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let (token, next) = match bytes[at] {
                b'*' => (Token::AnyBytes, at + 1),
                b'?' => (Token::AnyByte, at + 1),
                // A class that is never closed is a literal bracket, as in a shell.
                b'[' => class(bytes, at).unwrap_or((Token::Byte(b'['), at + 1)),
                b'\\' if at + 1 < bytes.len() => (Token::Byte(bytes[at + 1]), at + 2),
                byte => (Token::Byte(byte), at + 1),
            };
            if !(token == Token::AnyBytes && tokens.last() == Some(&Token::AnyBytes)) {
                tokens.push(token);
            }
            at = next;
        }
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::AnyByte => true,
            Self::AnyBytes => false,
            Self::Class { negated, ranges } => {
                let listed = ranges.iter().any(|&(from, to)| (from..=to).contains(&byte));
                listed == (*negated == Negated::No)
            }
        }
    }
}

/// The class that opens at `open`, and where the pattern goes on.
fn class(bytes: &[u8], open: usize) -> Option<(Token, usize)> {
    let mut at = open + 1;
    let negated = match bytes.get(at)? {
        b'!' | b'^' => {
            at += 1;
            Negated::Yes
        }
        _ => Negated::No,
    };
    let mut ranges = Vec::new();
    let first = at;
    loop {
        let byte = *bytes.get(at)?;
        // A `]` in the first place stands for itself.
        if byte == b']' && at > first {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'-'), Some(&to)) if to != b']' => {
                ranges.push((byte, to));
                at += 3;
            }
            _ => {
                ranges.push((byte, byte));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern
            .parse::<Glob>()
            .expect("a short pattern")
            .matches(name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("web*", "web01", true),
            ("web*", "aweb01", false),
            ("*.log", "/var/log/app.log", true),
            ("*.log", "app.log.1", false),
            ("web0?", "web01", true),
            ("web0?", "web0", false),
            ("web[0-9]", "web7", true),
            ("web[!0-9]", "web7", false),
            ("web[^0-9]", "webx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[abc", "[abc", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("**", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern:?} on {name:?}");
        }
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(20_000)));
    }

    #[test]
    fn an_overlong_pattern_is_refused() {
        assert_eq!(
            "a".repeat(5000).parse::<Glob>(),
            Err(GlobError { len: 5000 })
        );
    }

    /// The definition, written down as simply as possible; exponential, so only for short texts.
    fn by_definition(tokens: &[Token], name: &[u8]) -> bool {
        match tokens.split_first() {
            None => name.is_empty(),
            Some((Token::AnyBytes, rest)) => {
                (0..=name.len()).any(|skip| by_definition(rest, &name[skip..]))
            }
            Some((token, rest)) => name
                .split_first()
                .is_some_and(|(&byte, after)| token.takes(byte) && by_definition(rest, after)),
        }
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_the_definition(pattern in r"[ab*?\[\]!-]{0,10}", name in "[ab-]{0,10}") {
            let glob: Glob = pattern.parse().expect("a short pattern");
            prop_assert_eq!(glob.matches(name.as_bytes()), by_definition(&glob.tokens, name.as_bytes()));
        }

        #[test]
        fn nothing_panics(pattern in any::<String>(), name in any::<Vec<u8>>()) {
            if let Ok(glob) = pattern.parse::<Glob>() {
                glob.matches(&name);
                prop_assert_eq!(glob.to_string(), pattern);
            }
        }
    }
}
