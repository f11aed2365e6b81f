//! A JSON object's members one after the other, without a tree.
//!
//! [`walk`] reads a line once, from its first byte to its last, and hands out every member of the outermost object as slices
//! of the line: nothing is copied, nothing is decoded until somebody asks for it. What lies deeper is checked and skipped
//! without recursion; [`walk`] on such a value goes one level down. A key that stands twice is handed out twice.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;

/// The levels of objects and lists in one another down to which it is checked that each is closed by its own bracket. What lies
/// deeper is stepped over by counting.
pub const MAX_DEPTH: u32 = 128;

/// A JSON string, still as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'a> {
    /// With its quotes.
    quoted: &'a [u8],
    escapes: Escapes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Escapes {
    None,
    Some,
}

/// A member's value. Nothing in it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// A string.
    Text(Text<'a>),
    /// A number, as it is written.
    Number(&'a [u8]),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
    /// An object with its braces.
    Object(&'a [u8]),
    /// A list with its brackets.
    Array(&'a [u8]),
}

/// The text is not one JSON object from its first byte to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no JSON object, at byte {at}")]
pub struct Broken {
    /// The offset of the first byte that cannot stand there.
    pub at: usize,
}

/// Hands out the members of the object that `line` is, in the order in which they are written. Blanks around it and a byte
/// order mark before it are allowed. Members before a broken place have been handed out when the error comes.
///
/// ```
/// use joblog::json::{Value, walk};
/// let mut seen = Vec::new();
/// walk(br#"{"level":"INFO","http":{"status":200},"took":0.5}"#, |key, value| {
///     seen.push((key.decode().into_owned(), matches!(value, Value::Object(_))));
/// })?;
/// assert_eq!(seen, [("level".to_string(), false), ("http".to_string(), true), ("took".to_string(), false)]);
/// # Ok::<(), joblog::json::Broken>(())
/// ```
#[inline]
pub fn walk<'a>(line: &'a [u8], mut each: impl FnMut(Text<'a>, Value<'a>)) -> Result<(), Broken> {
    walk_while(line, |key, value| {
        each(key, value);
        ControlFlow::Continue(())
    })
}

/// The same, until enough is known: what comes behind a member at which `each` breaks is not looked at.
#[inline]
pub(super) fn walk_while<'a>(
    line: &'a [u8],
    mut each: impl FnMut(Text<'a>, Value<'a>) -> ControlFlow<()>,
) -> Result<(), Broken> {
    let mut scanner = Scanner::begin(line)?;
    while let Some((key, value)) = scanner.member()? {
        if each(key, value).is_break() {
            return Ok(());
        }
    }
    scanner.end()
}

/// The value under a path: `status`, or `http.status` for a member of a member. A key that has dots itself
/// (`"http.status": 200`) is found too. Of several the first counts. What comes behind it is not read, so that a broken
/// end does not matter.
///
/// ```
/// use joblog::json::{Value, find};
/// assert_eq!(find(br#"{"a":1,"http":{"status":200}}"#, "http.status"), Some(Value::Number(b"200")));
/// ```
pub fn find<'a>(line: &'a [u8], path: &str) -> Option<Value<'a>> {
    let mut scanner = Scanner::begin(line).ok()?;
    while let Ok(Some((key, value))) = scanner.member() {
        if key.is(path) {
            return Some(value);
        }
        if let Value::Object(inner) = value
            && let Some(rest) = rest_of(path, key)
            && let Some(found) = find(inner, rest)
        {
            return Some(found);
        }
    }
    None
}

/// What is left of a path behind one of its keys.
fn rest_of<'p>(path: &'p str, key: Text<'_>) -> Option<&'p str> {
    let key = key.decode();
    path.strip_prefix(&*key)?.strip_prefix('.')
}

impl<'a> Text<'a> {
    /// The bytes between the quotes, escapes as they are written.
    #[inline]
    pub fn raw(self) -> &'a [u8] {
        &self.quoted[1..self.quoted.len() - 1]
    }

    /// The same with the quotes around it.
    #[inline]
    pub fn quoted(self) -> &'a [u8] {
        self.quoted
    }

    /// Whether [`Text::raw`] holds escapes, so that it is not yet the text.
    pub fn has_escapes(self) -> bool {
        self.escapes == Escapes::Some
    }

    /// Whether it is this text.
    pub fn is(self, text: &str) -> bool {
        match self.escapes {
            Escapes::None => self.raw() == text.as_bytes(),
            Escapes::Some => self.decode() == text,
        }
    }

    /// The text. Bytes that are no UTF-8 are replaced.
    pub fn decode(self) -> Cow<'a, str> {
        match self.escapes {
            Escapes::None => String::from_utf8_lossy(self.raw()),
            Escapes::Some => {
                let mut to = Vec::with_capacity(self.quoted.len());
                self.push(&mut to);
                Cow::Owned(match String::from_utf8(to) {
                    Ok(text) => text,
                    Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                })
            }
        }
    }

    /// Appends the text. Half of a surrogate pair becomes U+FFFD; bytes that are no UTF-8 stay as they are.
    pub fn push(self, to: &mut Vec<u8>) {
        let mut rest = self.raw();
        while let Some(at) = memchr::memchr(b'\\', rest) {
            to.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let Some((&escape, behind)) = rest.split_first() else {
                return;
            };
            rest = behind;
            let plain = match escape {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'u' => {
                    let (char, length) = unicode(rest);
                    rest = &rest[length..];
                    to.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                // `"`, `\` and `/`; the scanner has let no other through.
                other => other,
            };
            to.push(plain);
        }
        to.extend_from_slice(rest);
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decode().fmt(f)
    }
}

/// The character behind `\u`, and how many bytes of `rest` it takes.
fn unicode(rest: &[u8]) -> (char, usize) {
    let Some(first) = hex(rest) else {
        return (char::REPLACEMENT_CHARACTER, 0);
    };
    if (0xd800..0xdc00).contains(&first)
        && let Some(behind) = rest[4..].strip_prefix(b"\\u")
        && let Some(second @ 0xdc00..0xe000) = hex(behind)
    {
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            10,
        );
    }
    (
        char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        4,
    )
}

/// Four hexadecimal digits.
fn hex(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |number, &byte| {
        Some(number << 4 | char::from(byte).to_digit(16)?)
    })
}

/// Where in the object the scanner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Behind the opening brace.
    First,
    /// Behind a member.
    Further,
    /// Behind the closing brace.
    End,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    next: Next,
}

impl<'a> Scanner<'a> {
    fn begin(bytes: &'a [u8]) -> Result<Self, Broken> {
        let mut scanner = Self {
            bytes,
            at: if bytes.starts_with(b"\xef\xbb\xbf") {
                3
            } else {
                0
            },
            next: Next::First,
        };
        scanner.blanks();
        scanner.byte(b'{')?;
        Ok(scanner)
    }

    /// The next member, if there is one more.
    #[inline]
    fn member(&mut self) -> Result<Option<(Text<'a>, Value<'a>)>, Broken> {
        self.blanks();
        match (self.next, self.peek()) {
            (Next::End, _) => return Ok(None),
            (Next::First | Next::Further, Some(b'}')) => {
                self.at += 1;
                self.next = Next::End;
                return Ok(None);
            }
            (Next::First, _) => self.next = Next::Further,
            (Next::Further, _) => {
                self.byte(b',')?;
                self.blanks();
            }
        }
        let key = self.text()?;
        self.blanks();
        self.byte(b':')?;
        self.blanks();
        let value = self.value()?;
        Ok(Some((key, value)))
    }

    /// Sees to it that nothing comes behind the object.
    fn end(&mut self) -> Result<(), Broken> {
        self.blanks();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            self.broken()
        }
    }

    fn value(&mut self) -> Result<Value<'a>, Broken> {
        let start = self.at;
        Ok(match self.peek() {
            Some(b'"') => Value::Text(self.text()?),
            Some(b'{') => {
                self.skip()?;
                Value::Object(&self.bytes[start..self.at])
            }
            Some(b'[') => {
                self.skip()?;
                Value::Array(&self.bytes[start..self.at])
            }
            Some(b't') => {
                self.word(b"true")?;
                Value::Bool(true)
            }
            Some(b'f') => {
                self.word(b"false")?;
                Value::Bool(false)
            }
            Some(b'n') => {
                self.word(b"null")?;
                Value::Null
            }
            _ => {
                self.number()?;
                Value::Number(&self.bytes[start..self.at])
            }
        })
    }

    /// Steps over an object or a list. Which of them are open is a stack of bits, an object being a one.
    fn skip(&mut self) -> Result<(), Broken> {
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            // Here a value begins.
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth == MAX_DEPTH {
                        self.skip_by_counting()?;
                    } else {
                        depth += 1;
                        objects = objects << 1 | u128::from(open == b'{');
                        self.at += 1;
                        self.blanks();
                        let is_empty = self.peek() == Some(if open == b'{' { b'}' } else { b']' });
                        if !is_empty {
                            if open == b'{' {
                                self.key()?;
                            }
                            continue;
                        }
                    }
                }
                Some(b'"') => {
                    self.text()?;
                }
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => self.number()?,
            }
            // Here one has ended.
            loop {
                self.blanks();
                let is_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        self.blanks();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(close) if close == if is_object { b'}' } else { b']' } => {
                        self.at += 1;
                        objects >>= 1;
                        depth -= 1;
                        if depth == 0 {
                            return Ok(());
                        }
                    }
                    _ => return self.broken(),
                }
            }
        }
    }

    /// Steps over an object or a list whose inside is not checked, but for its strings.
    fn skip_by_counting(&mut self) -> Result<(), Broken> {
        let mut open: usize = 0;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(b'"') => {
                    self.text()?;
                    continue;
                }
                Some(_) => {}
                None => return self.broken(),
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// A key inside of a skipped object, up to its value.
    fn key(&mut self) -> Result<(), Broken> {
        self.text()?;
        self.blanks();
        self.byte(b':')?;
        self.blanks();
        Ok(())
    }

    #[inline]
    fn text(&mut self) -> Result<Text<'a>, Broken> {
        let start = self.at;
        self.byte(b'"')?;
        let mut escapes = Escapes::None;
        loop {
            self.at += plain_bytes(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    let quoted = &self.bytes[start..self.at];
                    return Ok(Text { quoted, escapes });
                }
                Some(b'\\') => {
                    escapes = Escapes::Some;
                    match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 2;
                        }
                        Some(b'u') if hex(&self.bytes[self.at + 2..]).is_some() => self.at += 6,
                        _ => return self.broken(),
                    }
                }
                // The end of the line, or a control character.
                _ => return self.broken(),
            }
        }
    }

    fn number(&mut self) -> Result<(), Broken> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.broken(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        self.digits();
        if self.at == start {
            self.broken()
        } else {
            Ok(())
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Broken> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.broken()
        }
    }

    #[inline]
    fn byte(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.broken()
        }
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    fn broken<T>(&self) -> Result<T, Broken> {
        Err(Broken { at: self.at })
    }
}

/// How many bytes come before the first quote, backslash or control character. Eight bytes are looked at together.
#[inline]
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The high bit of every byte that is zero after the subtraction of what is looked for, and maybe of some behind the
        // first such byte, which is the one that counts.
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        let found = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let found = found & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + rest
        .iter()
        .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
        .count()
}

#[cfg(test)]
mod tests;
