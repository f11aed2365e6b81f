//! Host lists: `web[01-40]`, `rack[1-3]n[01-16]`, `h[1,3,5-9]`, and several of them with commas between.
//!
//! This file expands names. Users, ports and paths around them belong to the target; whether a name exists, to the one who
//! connects.

/// The most hosts that one list may stand for, in hosts.
pub const MAX_HOSTS: usize = 10_000;

/// The most digits of a number in a range, in digits. It keeps every number within 64 bits.
pub const MAX_DIGITS: usize = 9;

/// Why a text is no host list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct HostListError {
    /// Where, in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a host list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Two commas in a row, or one at an end.
    #[error("a host name is missing here")]
    Empty,
    /// A `[` without `]`.
    #[error("this bracket is never closed")]
    Unclosed,
    /// A `]` without `[`.
    #[error("this bracket was never opened")]
    Unopened,
    /// Something else than numbers in brackets.
    #[error("brackets hold numbers and ranges of numbers (`[01-40]`, `[1,3,5-9]`), not `{0}`")]
    NoNumber(String),
    /// A number with too many digits.
    #[error("a number has at most {MAX_DIGITS} digits")]
    TooManyDigits,
    /// `[9-1]`.
    #[error("the range `{0}` ends before it begins")]
    Descending(String),
    /// `[1-010]`.
    #[error("the range `{0}` pads its ends to different widths")]
    Padding(String),
    /// More hosts than allowed.
    #[error("the list stands for more than {MAX_HOSTS} hosts")]
    TooMany,
}

/// The hosts that a list stands for, in the order written.
pub fn expand(text: &str) -> Result<Vec<String>, HostListError> {
    let mut hosts = Vec::new();
    for (at, item) in items(text)? {
        let column = column(text, at);
        let more = expand_one(item).map_err(|error| error.moved(column - 1))?;
        if hosts.len() + more.len() > MAX_HOSTS {
            return Err(HostListError {
                column,
                problem: Problem::TooMany,
            });
        }
        hosts.extend(more);
    }
    Ok(hosts)
}

/// The parts of a list between commas that stand outside brackets, each with its byte offset.
pub fn items(text: &str) -> Result<Vec<(usize, &str)>, HostListError> {
    let mut items = Vec::new();
    let mut from = 0;
    let mut open: Option<usize> = None;
    let error = |at, problem| HostListError {
        column: column(text, at),
        problem,
    };
    for (at, c) in text.char_indices() {
        match (c, open) {
            ('[', None) => open = Some(at),
            ('[', Some(first)) => return Err(error(first, Problem::Unclosed)),
            (']', Some(_)) => open = None,
            (']', None) => return Err(error(at, Problem::Unopened)),
            (',', None) => {
                items.push((from, &text[from..at]));
                from = at + 1;
            }
            _ => {}
        }
    }
    if let Some(at) = open {
        return Err(error(at, Problem::Unclosed));
    }
    items.push((from, &text[from..]));
    match items.iter().find(|(_, item)| item.is_empty()) {
        Some(&(at, _)) => Err(error(at, Problem::Empty)),
        None => Ok(items),
    }
}

/// The hosts that one part of a list stands for: literal text and any number of `[…]`. A bracketed IPv6 address (`[::1]`)
/// stands for itself, without the brackets.
pub fn expand_one(text: &str) -> Result<Vec<String>, HostListError> {
    if text.is_empty() {
        return Err(HostListError {
            column: 1,
            problem: Problem::Empty,
        });
    }
    if let Some(address) = bracketed_address(text) {
        return Ok(vec![address.to_owned()]);
    }
    let mut hosts = vec![String::new()];
    for piece in pieces(text)? {
        match piece {
            Piece::Literal(literal) => hosts.iter_mut().for_each(|host| host.push_str(literal)),
            Piece::Numbers { at, ranges } => {
                // Counted before anything is built: `[1-999999999][1-999999999]` costs nothing.
                let count: u64 = ranges.iter().map(Range::count).sum();
                if count.saturating_mul(hosts.len() as u64) > MAX_HOSTS as u64 {
                    return Err(HostListError {
                        column: column(text, at),
                        problem: Problem::TooMany,
                    });
                }
                hosts = hosts
                    .iter()
                    .flat_map(|host| {
                        ranges
                            .iter()
                            .flat_map(Range::numbers)
                            .map(move |number| format!("{host}{number}"))
                    })
                    .collect();
            }
        }
    }
    Ok(hosts)
}

/// The address in `[…]` when the whole text is one: what a range never holds is a colon.
pub fn bracketed_address(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    (inner.contains(':') && !inner.contains(['[', ']'])).then_some(inner)
}

impl HostListError {
    /// The same error in a text that has `characters` more before it.
    #[must_use]
    pub fn moved(mut self, characters: usize) -> Self {
        self.column += characters;
        self
    }
}

enum Piece<'a> {
    Literal(&'a str),
    Numbers { at: usize, ranges: Vec<Range> },
}

struct Range {
    from: u64,
    to: u64,
    width: usize,
}

impl Range {
    fn count(&self) -> u64 {
        self.to - self.from + 1
    }

    fn numbers(&self) -> impl Iterator<Item = String> {
        let width = self.width;
        (self.from..=self.to).map(move |number| format!("{number:0width$}"))
    }
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, HostListError> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find(['[', ']']) {
        let open = from + found;
        let error = |problem| HostListError {
            column: column(text, open),
            problem,
        };
        if text.as_bytes()[open] == b']' {
            return Err(error(Problem::Unopened));
        }
        let close = open
            + text[open..]
                .find(']')
                .ok_or_else(|| error(Problem::Unclosed))?;
        if open > from {
            pieces.push(Piece::Literal(&text[from..open]));
        }
        pieces.push(Piece::Numbers {
            at: open,
            ranges: ranges(text, open + 1, close)?,
        });
        from = close + 1;
    }
    if from < text.len() {
        pieces.push(Piece::Literal(&text[from..]));
    }
    Ok(pieces)
}

/// The ranges in `text[from..to]`.
fn ranges(text: &str, from: usize, to: usize) -> Result<Vec<Range>, HostListError> {
    let mut at = from;
    let mut ranges = Vec::new();
    for part in text[from..to].split(',') {
        ranges.push(range(part).map_err(|problem| HostListError {
            column: column(text, at),
            problem,
        })?);
        at += part.len() + 1;
    }
    Ok(ranges)
}

fn range(part: &str) -> Result<Range, Problem> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let number = |digits: &str| {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::NoNumber(part.to_owned()));
        }
        if digits.len() > MAX_DIGITS {
            return Err(Problem::TooManyDigits);
        }
        digits.parse::<u64>().map_err(|_| Problem::TooManyDigits)
    };
    let (from, to) = (number(first)?, number(last)?);
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    if padded(last) && last.len() != first.len() {
        return Err(Problem::Padding(part.to_owned()));
    }
    if to < from {
        return Err(Problem::Descending(part.to_owned()));
    }
    Ok(Range {
        from,
        to,
        width: if padded(first) { first.len() } else { 0 },
    })
}

/// The column, counted in characters from 1, of a byte offset.
fn column(text: &str, at: usize) -> usize {
    text.char_indices()
        .take_while(|&(offset, _)| offset < at)
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(expand(text).expect(text), expected, "{text}");
    }

    #[test]
    fn lists_expand_in_the_order_written() {
        check("web", &["web"]);
        check("web[1-3]", &["web1", "web2", "web3"]);
        check(
            "web[08-11].example.com",
            &[
                "web08.example.com",
                "web09.example.com",
                "web10.example.com",
                "web11.example.com",
            ],
        );
        check("r[1-2]n[01-02]", &["r1n01", "r1n02", "r2n01", "r2n02"]);
        check("h[1,3,5-6]", &["h1", "h3", "h5", "h6"]);
        check("h[7],a,b[0-1]c", &["h7", "a", "b0c", "b1c"]);
        check("[1-2]", &["1", "2"]);
        check("x[099-101]", &["x099", "x100", "x101"]);
        check(
            "x[09-100]",
            &["x09"]
                .iter()
                .copied()
                .chain((10..=100).map(|n| &*format!("x{n}").leak()))
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn a_bracketed_address_is_no_range() {
        check("[::1]", &["::1"]);
        check(
            "[::1],web[1-2],[fe80::1%eth0]",
            &["::1", "web1", "web2", "fe80::1%eth0"],
        );
    }

    #[test]
    fn errors_say_where() {
        for (text, expected) in [
            ("web[1-", "column 4: this bracket is never closed"),
            ("we]b", "column 3: this bracket was never opened"),
            (
                "é,web[1-x]",
                "column 7: brackets hold numbers and ranges of numbers (`[01-40]`, `[1,3,5-9]`), not `1-x`",
            ),
            ("a,,b", "column 3: a host name is missing here"),
            ("", "column 1: a host name is missing here"),
            ("a,", "column 3: a host name is missing here"),
            ("h[5-1]", "column 3: the range `5-1` ends before it begins"),
            (
                "h[2,1-010]",
                "column 5: the range `1-010` pads its ends to different widths",
            ),
            ("h[1-9999999999]", "column 3: a number has at most 9 digits"),
            (
                "h[1-10001]",
                "column 2: the list stands for more than 10000 hosts",
            ),
            (
                "h[1-200][1-200]",
                "column 9: the list stands for more than 10000 hosts",
            ),
            (
                "h[1-6000],g[1-6000]",
                "column 11: the list stands for more than 10000 hosts",
            ),
            ("h[1[2]]", "column 2: this bracket is never closed"),
            (
                "h[]",
                "column 3: brackets hold numbers and ranges of numbers (`[01-40]`, `[1,3,5-9]`), not ``",
            ),
        ] {
            assert_eq!(
                expand(text).expect_err(text).to_string(),
                expected,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = expand(&text);
        }

        #[test]
        fn bracket_soup_neither_panics_nor_passes_the_limit(text in r"[a\[\],0-9:é-]{0,24}") {
            if let Ok(hosts) = expand(&text) {
                prop_assert!((1..=MAX_HOSTS).contains(&hosts.len()));
            }
        }

        #[test]
        fn a_range_has_one_host_a_number(from in 0_u64..5000, more in 0_u64..100, width in 1_usize..6) {
            let to = from + more;
            let text = format!("h[{from:0width$}-{to:0width$}]");
            let hosts = expand(&text).expect("a range");
            prop_assert_eq!(hosts.len() as u64, more + 1);
            prop_assert_eq!(&hosts[0], &format!("h{from:0width$}"));
            prop_assert_eq!(&hosts[more as usize], &format!("h{to:0width$}"));
        }
    }
}
