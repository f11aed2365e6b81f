//! A message's template: the message with its variable parts masked, and its id.
//!
//! Lines that one statement of a program wrote differ in numbers, ids, addresses, paths and quoted texts, and agree in the
//! rest. Masking these parts gives a text that the lines share; its hash is the column `tpl`. This is a guess by the form of
//! the words alone: a user's name is not seen to be a variable. In return it needs no state, so that every host and every
//! year gives the same id.
//!
//! The algorithm is part of the format. Whoever changes what [`mask`] gives for any message raises [`VERSION`], which
//! seeds the hash: ids of two versions never meet.

mod shapes;

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use shapes::Shapes;

/// The version of the algorithm. It seeds the hash.
pub const VERSION: u64 = 1;

/// The most bytes of a message that are looked at. What is behind does not count.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// What stands for a variable part.
pub const MASK: &[u8] = b"<*>";

/// The longest text between quotes that is taken for a quoted text, in bytes.
const MAX_QUOTED_BYTES: usize = 1024;

/// Computes ids. It remembers some of the messages before: what it gives depends on the message alone.
///
/// ```
/// use archive::tpl::{Templates, mask};
/// let mut templates = Templates::default();
/// let one = templates.id(b"GET /a/b took 12 ms for 10.1.2.3:4711", None);
/// let other = templates.id(b"GET /c took 7.5 ms for 10.9.8.7:80", None);
/// assert_eq!(one, other);
/// assert_eq!(mask(b"GET /a/b took 12 ms for 10.1.2.3:4711", None), b"GET <*> took <*> ms for <*>");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Templates {
    text: Vec<u8>,
    shapes: Shapes,
}

impl Templates {
    /// The id of a message's template. `time` is where in the message its time stands, which is masked whatever its form.
    /// A blank message has none.
    #[inline]
    pub fn id(&mut self, message: &[u8], time: Option<Range<usize>>) -> Option<u64> {
        let message = Parts::new(message, time);
        let Some(place) = self.shapes.place(&message) else {
            return self.masked(&message);
        };
        if let Some(known) = self.shapes.known(place) {
            return known;
        }
        let id = self.masked(&message);
        self.shapes.keep(place, id);
        id
    }

    fn masked(&mut self, message: &Parts<'_>) -> Option<u64> {
        self.text.clear();
        message.mask_to(&mut self.text);
        if self.text.is_empty() {
            None
        } else {
            Some(xxh64(&self.text, VERSION))
        }
    }
}

/// A message with its variable parts masked: what [`Templates::id`] hashes, for people.
pub fn mask(message: &[u8], time: Option<Range<usize>>) -> Vec<u8> {
    let mut text = Vec::new();
    Parts::new(message, time).mask_to(&mut text);
    text
}

// What a byte is. A word's bytes are or'ed together, so that one look tells what the word cannot be.
const DIGIT: u8 = 1;
const LOWER: u8 = 1 << 1;
/// A capital letter, an underscore, a byte of a character outside of ASCII.
const OTHER_LETTER: u8 = 1 << 2;
const DOT: u8 = 1 << 3;
/// `/`, `\` and `@`: without any digits too, they can make a word a variable.
const MARK: u8 = 1 << 4;
/// What else words are joined with: `-`, `:`.
const JOIN: u8 = 1 << 5;

const LETTER: u8 = LOWER | OTHER_LETTER;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' | b'_' | 0x80.. => OTHER_LETTER,
            b'.' => DOT,
            b'/' | b'\\' | b'@' => MARK,
            b'-' | b':' | b'+' | b'%' | b'#' | b'$' | b'~' | b'&' | b'?' | b'*' => JOIN,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[inline]
fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

fn is_alphanumeric(byte: u8) -> bool {
    class(byte) & (DIGIT | LETTER) != 0
}

/// What of a message is masked.
#[derive(Debug, Clone, Copy)]
struct Parts<'m> {
    /// The message, or what stands before its time.
    before: &'m [u8],
    /// What stands behind the time, if there is one.
    after: Option<&'m [u8]>,
}

impl<'m> Parts<'m> {
    #[inline]
    fn new(message: &'m [u8], time: Option<Range<usize>>) -> Self {
        let message = &message[..message.len().min(MAX_MESSAGE_BYTES)];
        match time.filter(|time| time.start <= time.end && time.end <= message.len()) {
            Some(time) => Self {
                before: without_day(&message[..time.start]).trim_ascii_start(),
                after: Some(message[time.end..].trim_ascii_end()),
            },
            None => Self {
                before: message.trim_ascii(),
                after: None,
            },
        }
    }

    fn mask_to(&self, text: &mut Vec<u8>) {
        Words::new(text, self.before).mask();
        if let Some(after) = self.after {
            text.extend_from_slice(MASK);
            Words::new(text, after).mask();
        }
    }
}

/// What stands before a time, without the day of the week that belongs to it.
fn without_day(before: &[u8]) -> &[u8] {
    let trimmed = before.trim_ascii_end();
    let trimmed = trimmed.strip_suffix(b",").unwrap_or(trimmed);
    match trimmed.split_last_chunk() {
        Some((rest, word)) if DAYS.contains(&word) => match rest.last() {
            Some(last) if is_alphanumeric(*last) => before,
            _ => rest,
        },
        _ => before,
    }
}

/// Goes through a message word by word.
struct Words<'t, 'm> {
    text: &'t mut Vec<u8>,
    message: &'m [u8],
    /// Where the stretch begins that has not been copied yet, since nothing in it is variable.
    literal: usize,
    at: usize,
}

impl<'t, 'm> Words<'t, 'm> {
    fn new(text: &'t mut Vec<u8>, message: &'m [u8]) -> Self {
        Self {
            text,
            message,
            literal: 0,
            at: 0,
        }
    }

    fn mask(mut self) {
        let message = self.message;
        while self.at < message.len() {
            let start = self.at;
            let mut seen = 0;
            let mut end = start;
            for &byte in &message[start..] {
                let class = class(byte);
                if class == 0 {
                    break;
                }
                seen |= class;
                end += 1;
            }
            self.at = end;
            if seen & (DIGIT | MARK | DOT) != 0 {
                self.word(start, seen);
            } else if end - start == 3 || end - start == 4 {
                self.keyword(start);
            }
            let Some(&byte) = message.get(self.at) else {
                break;
            };
            match byte {
                b' ' => self.blanks(),
                b'"' | b'\'' => self.quote(byte),
                b'=' => self.value(),
                b'(' if self.is_free_pair() => self.replace(self.at + 1, self.at + 1),
                _ => self.at += 1,
            }
        }
        self.text.extend_from_slice(&message[self.literal..]);
    }

    /// Replaces a stretch of the message by a mask and goes on behind it.
    fn replace(&mut self, start: usize, end: usize) {
        self.text
            .extend_from_slice(&self.message[self.literal..start]);
        self.text.extend_from_slice(MASK);
        self.literal = end;
        self.at = end;
    }

    /// A word with digits, dots or marks, up to where we are.
    fn word(&mut self, start: usize, seen: u8) {
        let word = &self.message[start..self.at];
        match variable(word, seen) {
            Variable::No => {}
            Variable::Url => {
                let rest = &self.message[self.at..];
                let more = rest.iter().position(|byte| ends_url(*byte));
                self.replace(start, self.at + more.unwrap_or(rest.len()));
            }
            Variable::Within(Range { start: from, end }) => {
                let after = self.at;
                self.replace(start + from, start + end);
                self.at = after;
            }
            Variable::Parts => {
                self.text
                    .extend_from_slice(&self.message[self.literal..start]);
                mask_parts(self.text, word);
                self.literal = self.at;
            }
        }
    }

    /// Words that tell that the next one is variable: `user anna`, `for anna from`, `Mon Jan  5`.
    #[inline]
    fn keyword(&mut self, start: usize) {
        let rest = &self.message[self.at..];
        match &self.message[start..self.at] {
            b"user" => {
                if let Some(len) = next_word(rest) {
                    self.replace(self.at + 1, self.at + 1 + len);
                }
            }
            b"for" => {
                if let Some(len) = next_word(rest)
                    && rest[1 + len..].starts_with(b" from ")
                {
                    self.replace(self.at + 1, self.at + 1 + len);
                }
            }
            [b'A'..=b'Z', _, _] => self.date(start),
            _ => {}
        }
    }

    /// `Jan  5` and `Mon Jan  5`.
    fn date(&mut self, start: usize) {
        let word = &self.message[start..self.at];
        let rest = &self.message[self.at..];
        let month_at = if DAYS.iter().any(|day| word == *day) {
            // The month is the next word.
            if rest.len() < 4 || !MONTHS.iter().any(|month| rest[1..4] == **month) {
                return;
            }
            4
        } else if MONTHS.iter().any(|month| word == *month) {
            0
        } else {
            return;
        };
        let behind = &rest[month_at..];
        let blanks = behind.iter().take_while(|byte| **byte == b' ').count();
        if (1..=2).contains(&blanks) && behind.get(blanks).is_some_and(u8::is_ascii_digit) {
            self.replace(start, self.at + month_at);
        }
    }

    /// Several blanks count as one: numbers are padded.
    #[inline]
    fn blanks(&mut self) {
        let first = self.at;
        self.at += 1;
        while self.message.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        if self.at - first > 1 {
            self.text
                .extend_from_slice(&self.message[self.literal..=first]);
            self.literal = self.at;
        }
    }

    /// A quoted text, unless it is a key of JSON or the quote is an apostrophe.
    fn quote(&mut self, quote: u8) {
        let start = self.at;
        self.at += 1;
        if start > 0 && is_alphanumeric(self.message[start - 1]) {
            return;
        }
        let rest = &self.message[start + 1..];
        let rest = &rest[..rest.len().min(MAX_QUOTED_BYTES)];
        let Some(mut len) = memchr(quote, rest) else {
            return;
        };
        while len > 0 && rest[len - 1] == b'\\' {
            match memchr(quote, &rest[len + 1..]) {
                Some(more) => len += 1 + more,
                None => return,
            }
        }
        let end = start + len + 2;
        if self.message.get(end) == Some(&b':') && quote == b'"' {
            self.at = end;
        } else {
            self.replace(start, end);
        }
    }

    /// The value of a `key=value`, which may be empty.
    fn value(&mut self) {
        let message = self.message;
        let start = self.at + 1;
        let has_key = self.at > 0 && is_alphanumeric(message[self.at - 1]);
        self.at = start;
        match message.get(start) {
            // Its own rules say what becomes of what is quoted or in brackets.
            Some(b'=' | b'"' | b'\'' | b'(' | b'[' | b'{' | b'<' | b'>') => return,
            _ if !has_key => return,
            _ => {}
        }
        let rest = &message[start..];
        let len = rest.iter().position(|byte| ends_value(*byte));
        self.replace(start, start + len.unwrap_or(rest.len()));
    }

    /// ` ()`: what would stand there is empty this time.
    fn is_free_pair(&self) -> bool {
        self.at > 0
            && self.message[self.at - 1] == b' '
            && self.message.get(self.at + 1) == Some(&b')')
    }
}

const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

fn ends_url(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'"' | b'\'' | b'<' | b'>' | b')' | b']' | b'}'
    )
}

fn ends_value(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b',' | b';' | b')' | b']' | b'}' | b'(' | b'[' | b'{' | b'"' | b'|' | b'>'
    )
}

/// The length of the word behind one blank.
fn next_word(rest: &[u8]) -> Option<usize> {
    let word = rest.strip_prefix(b" ")?;
    let len = word.iter().take_while(|byte| class(**byte) != 0).count();
    if len > 0 && word[len - 1] != b':' {
        Some(len)
    } else {
        None
    }
}

/// What of a word is variable.
enum Variable {
    No,
    /// This word and what is written to it up to a blank.
    Url,
    /// This stretch of it.
    Within(Range<usize>),
    /// Its parts that have digits.
    Parts,
}

fn variable(word: &[u8], seen: u8) -> Variable {
    // Punctuation around the word is not part of it.
    let is_edge = |byte: &u8| class(*byte) & (JOIN | DOT) != 0 || *byte == b'@';
    let Some(last) = word.iter().rposition(|byte| !is_edge(byte)) else {
        return Variable::No;
    };
    let end = last + 1;
    let start = word.iter().take_while(|byte| is_edge(byte)).count();
    let core = &word[start..end];
    if seen & MARK != 0 {
        if memmem(core, b"://") {
            return Variable::Url;
        }
        if is_path(&word[..end]) {
            return Variable::Within(0..end);
        }
        if is_mail(core) {
            return Variable::Within(start..end);
        }
    }
    if seen & DIGIT == 0 {
        return if seen & DOT != 0 && is_host(core) {
            Variable::Within(start..end)
        } else {
            Variable::No
        };
    }
    if seen & LETTER == 0 || is_hex(core) || is_id(core) || (seen & DOT != 0 && is_host(core)) {
        let sign = usize::from(word[..start].ends_with(b"-"));
        return Variable::Within(start - sign..end);
    }
    Variable::Parts
}

fn memmem(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// `/a`, `./a`, `~/a`, `a/b/c`, `C:\a`, `a.b/.c.D`; not `and/or`.
fn is_path(word: &[u8]) -> bool {
    let separators = word
        .iter()
        .filter(|byte| matches!(byte, b'/' | b'\\'))
        .count();
    match word {
        _ if separators == 0 => false,
        [b'/' | b'\\', _, ..] | [b'.' | b'~', b'/', ..] | [_, b':', b'\\' | b'/', ..] => true,
        _ => separators >= 2 || memchr_iter(b'.', word).count() >= 2,
    }
}

/// `anna@example.com`.
fn is_mail(word: &[u8]) -> bool {
    memchr(b'@', word).is_some_and(|at| {
        let host = &word[at + 1..];
        word[0].is_ascii_alphabetic()
            && host.first().is_some_and(u8::is_ascii_alphabetic)
            && host.contains(&b'.')
    })
}

/// `8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22`, `00:1a:2b:3c:4d:5e`, `fe80::1`, `0x7ffe`, `deadbeef01`. The word has a digit.
fn is_hex(word: &[u8]) -> bool {
    match word {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => {
            word.len() >= MIN_HEX_BYTES
                && word
                    .iter()
                    .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b':'))
        }
    }
}

/// The shortest run of hexadecimal digits, some of them letters, that is taken for a number.
const MIN_HEX_BYTES: usize = 6;

/// The shortest part of a word that shows by its mixture of letters and digits that the word is an id.
const MIN_ID_PART_BYTES: usize = 8;

/// Whether a part of the word is a long mixture: `Package~31bf3856ad364e35~amd64`, `web-0-8a5f0a3e-3c1e`.
fn is_id(word: &[u8]) -> bool {
    word.len() >= MIN_ID_PART_BYTES
        && word
            .split(|byte| !byte.is_ascii_alphanumeric())
            .any(|part| part.len() >= MIN_ID_PART_BYTES && is_mixture(part))
}

/// Whether letters and digits take turns.
fn is_mixture(part: &[u8]) -> bool {
    let changes = part
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    changes >= 3 || (changes >= 1 && part.iter().all(u8::is_ascii_hexdigit))
}

/// `node7.example.com`, `ns.example.com:53`; not `java.io.File` and not `main.rs`.
fn is_host(word: &[u8]) -> bool {
    let name = match memchr(b':', word) {
        Some(colon) if word[colon + 1..].iter().all(u8::is_ascii_digit) => &word[..colon],
        Some(_) => return false,
        None => word,
    };
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    let (before, last) = (&name[..dot], &name[dot + 1..]);
    let is_top = match last.len() {
        // A country. `libc.so` and `main.rs` have no third part.
        2 => last.iter().all(u8::is_ascii_lowercase) && before.contains(&b'.'),
        _ => is_top_domain(last),
    };
    if !is_top {
        return false;
    }
    let first = before.split(|byte| *byte == b'.').next();
    name.iter().all(is_part) && first.is_some_and(|first| !PACKAGES.contains(&first))
}

/// Endings of hosts' names that are no country's. A match, since it is asked of every word with a dot.
fn is_top_domain(label: &[u8]) -> bool {
    matches!(
        label,
        b"com"
            | b"net"
            | b"org"
            | b"edu"
            | b"gov"
            | b"mil"
            | b"info"
            | b"biz"
            | b"local"
            | b"internal"
            | b"lan"
            | b"arpa"
    )
}

/// What names of packages begin with.
const PACKAGES: [&[u8]; 7] = [b"com", b"org", b"net", b"edu", b"io", b"java", b"javax"];

/// Masks the parts of a word that have digits: `attempt_1_2_m_3` becomes `attempt_<*>_m_<*>`.
fn mask_parts(text: &mut Vec<u8>, word: &[u8]) {
    // How long the text was when its last part was masked.
    let mut masked = None;
    let mut rest = word;
    while !rest.is_empty() {
        let len = rest
            .iter()
            .position(|byte| !is_alphanumeric(*byte) || *byte == b'_')
            .unwrap_or(rest.len());
        let (part, behind) = rest.split_at(len);
        if part.iter().any(u8::is_ascii_digit) {
            let kept = name_length(part);
            match masked {
                // Numbers in a row are one: an address, a version, a time.
                Some(length) if kept == 0 => text.truncate(length),
                _ => {
                    if kept == 0 && text.ends_with(b":-") {
                        text.pop();
                    }
                    text.extend_from_slice(&part[..kept]);
                    text.extend_from_slice(MASK);
                }
            }
            masked = Some(text.len());
        } else {
            text.extend_from_slice(part);
            // One letter between numbers is part of them.
            if part.len() > 1 {
                masked = None;
            }
        }
        let (joins, behind) = behind.split_at(behind.len().min(1));
        text.extend_from_slice(joins);
        rest = behind;
    }
}

/// How many letters at a part's beginning are its name: `node7` is a node; `9f4ef63` and `12ms` are nothing.
fn name_length(part: &[u8]) -> usize {
    let letters = part
        .iter()
        .take_while(|byte| !byte.is_ascii_digit())
        .count();
    let ends_in_digits = part[letters..].iter().all(u8::is_ascii_digit);
    if ends_in_digits && !is_hex(part) {
        letters
    } else {
        0
    }
}

/// XXH64, as its specification has it.
fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    const P1: u64 = 0x9E37_79B1_85EB_CA87;
    const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
    const P3: u64 = 0x1656_67B1_9E37_79F9;
    const P4: u64 = 0x85EB_CA77_C2B2_AE63;
    const P5: u64 = 0x27D4_EB2F_1656_67C5;
    let round = |acc: u64, lane: u64| {
        acc.wrapping_add(lane.wrapping_mul(P2))
            .rotate_left(31)
            .wrapping_mul(P1)
    };
    let merge = |hash: u64, acc: u64| (hash ^ round(0, acc)).wrapping_mul(P1).wrapping_add(P4);
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut hash = if blocks.is_empty() {
        seed.wrapping_add(P5)
    } else {
        let mut lanes = [
            seed.wrapping_add(P1).wrapping_add(P2),
            seed.wrapping_add(P2),
            seed,
            seed.wrapping_sub(P1),
        ];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let sum = lanes[0]
            .rotate_left(1)
            .wrapping_add(lanes[1].rotate_left(7))
            .wrapping_add(lanes[2].rotate_left(12))
            .wrapping_add(lanes[3].rotate_left(18));
        lanes.into_iter().fold(sum, merge)
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        hash = (hash ^ round(0, u64::from_le_bytes(*word)))
            .rotate_left(27)
            .wrapping_mul(P1)
            .wrapping_add(P4);
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        hash = (hash ^ u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1))
            .rotate_left(23)
            .wrapping_mul(P2)
            .wrapping_add(P3);
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte).wrapping_mul(P5))
            .rotate_left(11)
            .wrapping_mul(P1);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(P2);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let got = mask(message.as_bytes(), None);
        assert_eq!(String::from_utf8_lossy(&got), expected, "{message:?}");
    }

    #[test]
    fn numbers_and_ids() {
        check("", "");
        check("  ready \t", "ready");
        check("took 12 ms", "took <*> ms");
        check("took 12.5ms, 3 tries.", "took <*>, <*> tries.");
        check("offset -17 of +3", "offset <*> of +<*>");
        check("delta:-1 delta:1", "delta:<*> delta:<*>");
        check("0x7ffe deadbeef01 9f4ef63 cafe", "<*> <*> <*> cafe");
        check("node7 eth0 u0", "node<*> eth<*> u<*>");
        check("8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22", "<*>");
        check(
            "task web-prod-0-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22 ran",
            "task <*> ran",
        );
        check(
            "attempt_1445144423722_0020_m_000001_0 done",
            "attempt_<*> done",
        );
        check("version v2.10.1-rc3", "version v<*>-rc<*>");
        check(
            "at Mon Jul  7 03:04:05 2026, Jan 12",
            "at <*> <*> <*> <*>, <*> <*>",
        );
        check("May I? Mon ami", "May I? Mon ami");
        check("x  y   z", "x y z");
    }

    #[test]
    fn addresses_and_paths() {
        check(
            "from 10.1.2.3:4711 to [fe80::1]:80",
            "from <*> to [<*>]:<*>",
        );
        check("mac 00:1a:2b:3c:4d:5e", "mac <*>");
        check("host node7.example.com.", "host <*>.");
        check("peer ns1.example.org:53 up", "peer <*> up");
        check("mail anna@example.com", "mail <*>");
        check("get https://example.com/a?b=c&d=(e) now", "get <*>) now");
        check(
            "open /var/log/x.log: no such file",
            "open <*>: no such file",
        );
        check("cd ./a ~/b ../c", "cd <*> <*> <*>");
        check(r"load C:\Windows\x.dll", "load <*>");
        check("read and/or write", "read and/or write");
        check(
            "at org.example.app.Master.start(Master.java:12)",
            "at org.example.app.Master.start(Master.java:<*>)",
        );
        check("import java.io and main.rs", "import java.io and main.rs");
    }

    #[test]
    fn quotes_values_and_keywords() {
        check(r#"tag="View \"x\" Lock" is 'up'"#, "tag=<*> is <*>");
        check("it can't and won't", "it can't and won't");
        check(r#"open "quote"#, r#"open "quote"#);
        check(r#"{"took":12,"name":"x"}"#, r#"{"took":<*>,"name":<*>}"#);
        check(
            "uid=0 name= state=up, a == b",
            "uid=<*> name=<*> state=<*>, a == b",
        );
        check(
            "Failed password for anna from 10.1.2.3 port 22 ssh2",
            "Failed password for <*> from <*> port <*> ssh<*>",
        );
        check(
            "session opened for user anna by (uid=0)",
            "session opened for user <*> by (uid=<*>)",
        );
        check("wait for the end", "wait for the end");
        check(
            "connection from 10.1.2.3 () at init()",
            "connection from <*> (<*>) at init()",
        );
    }

    #[test]
    fn the_time_is_masked_whatever_its_form() {
        let masked =
            |message: &[u8], time| String::from_utf8(mask(message, Some(time))).expect("text");
        assert_eq!(masked(b"Jan  5 03:04:05 web: up", 0..15), "<*> web: up");
        assert_eq!(masked(b"[tomorrow] up", 1..9), "[<*>] up");
        assert_eq!(masked(b"[Mon Jan 05 2026] up", 5..16), "[<*>] up");
        assert_eq!(masked(b"Tue, 05 Jan 2026 up", 5..16), "<*> up");
        assert_eq!(masked(b"xMon 05 up", 5..7), "xMon <*> up");
        // A place that is none of the message is left alone.
        assert_eq!(masked(b"up", 1..9), "up");
    }

    #[test]
    fn what_is_behind_the_limit_does_not_count() {
        let long = [b"a ".repeat(MAX_MESSAGE_BYTES), b"1".to_vec()].concat();
        let mut templates = Templates::default();
        assert_eq!(
            templates.id(&long, None),
            templates.id(&long[..MAX_MESSAGE_BYTES], None)
        );
        assert_eq!(templates.id(b" \t", None), None);
    }

    #[test]
    fn the_hash_is_as_specified() {
        for (text, hash) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("abc", 0x44bc_2cf5_ad77_0999),
            (
                "Nobody inspects the spammish repetition",
                0xfbce_a83c_8a37_8bf1,
            ),
        ] {
            assert_eq!(xxh64(text.as_bytes(), 0), hash, "{text}");
        }
    }

    /// Ids are in archives: they change with [`VERSION`] only.
    #[test]
    fn ids_stay() {
        let id = |message: &str| Templates::default().id(message.as_bytes(), None);
        assert_eq!(id("took 12 ms"), Some(xxh64(b"took <*> ms", VERSION)));
        assert_eq!(id("took 12 ms"), id("took 3.25 ms"));
        assert_ne!(id("took 12 ms"), id("takes 12 ms"));
    }

    /// What messages are made of that templates depend on: `#` is any digit, `$` any value.
    const WORDS: [&str; 41] = [
        " ",
        "  ",
        "#",
        "##",
        "#x#",
        "0x#",
        "a#",
        "#.#",
        "-#",
        "user",
        "for",
        " from ",
        "Mon",
        "Jan",
        "=",
        "k=$",
        " k=$ ",
        "_=$ ",
        "Mon=",
        "Mon=$ #",
        "=$",
        "\"",
        "'",
        "\\",
        ":",
        "\":",
        "{\"a#\":",
        "\"k=$ x\"",
        "http://",
        "/a/b",
        "a.b",
        ".com",
        "org.",
        "(",
        ")",
        " ()",
        "@",
        "[",
        "]",
        "deadbeef#",
        "-",
    ];

    proptest! {
        #[test]
        fn any_bytes(message in prop::collection::vec(any::<u8>(), 0..120), start in 0usize..130, len in 0usize..40) {
            let time = start..start + len;
            let text = mask(&message, Some(time.clone()));
            prop_assert!(text.len() <= 3 * (message.len() + 2) + message.len());
            let id = Templates::default().id(&message, Some(time));
            prop_assert_eq!(id, (!text.is_empty()).then(|| xxh64(&text, VERSION)));
        }

        /// Messages of one shape have one template: what is remembered is what masking gives.
        #[test]
        fn shapes_tell_templates(
            words in prop::collection::vec(prop::sample::select(WORDS.as_slice()), 1..12),
            fillings in prop::collection::vec((any::<[u8; 4]>(), "[a-zA-Z0-9-]{5,12}|Jan"), 2..5),
            time in prop::option::of((0usize..12, 0usize..12)),
        ) {
            let mut templates = Templates::default();
            for (digits, value) in fillings.iter().chain(&fillings) {
                let mut digits = digits.iter().cycle();
                let message: String = words
                    .iter()
                    .map(|word| word.replace('$', value))
                    .flat_map(|word| word.chars().collect::<Vec<_>>())
                    .map(|char| match (char, digits.next()) {
                        ('#', Some(digit)) => char::from(b'0' + digit % 10),
                        _ => char,
                    })
                    .collect();
                let time = time.map(|(start, len)| start..start + len);
                let text = mask(message.as_bytes(), time.clone());
                let id = templates.id(message.as_bytes(), time);
                prop_assert_eq!(id, (!text.is_empty()).then(|| xxh64(&text, VERSION)), "{}", message);
            }
        }

        /// Digits never make a difference by their value.
        #[test]
        fn digits_are_alike(message in "[a-z=:./ -]{0,20}1[a-z=:./ -]{0,20}") {
            prop_assert_eq!(mask(message.as_bytes(), None), mask(message.replace('1', "7").as_bytes(), None));
        }
    }
}
