//! The search for a level in a line of text.

use std::ops::{ControlFlow, Range};

use super::Level;

/// How far into the line a level may begin, in bytes. Loggers write it after the time, the thread and perhaps the class.
const SEARCH_BYTES: usize = 128;

/// How many plain words in lower case may stand before a level. More of them are prose: the message has begun.
const MAX_PROSE_WORDS: u32 = 2;

/// The longest spelling of a level, `informational`.
const MAX_WORD_BYTES: usize = 13;

/// The level that a word stands for, in any case.
pub(super) fn word(word: &[u8]) -> Option<Level> {
    if !(3..=MAX_WORD_BYTES).contains(&word.len()) {
        return None;
    }
    let mut buffer = [0; MAX_WORD_BYTES];
    let upper = &mut buffer[..word.len()];
    upper.copy_from_slice(word);
    upper.make_ascii_uppercase();
    upper_word(upper)
}

/// The level that a word in upper case stands for.
#[inline]
fn upper_word(word: &[u8]) -> Option<Level> {
    // Most words fail here, at the price of one comparison.
    if !matches!(
        word.first(),
        Some(b'A' | b'C'..=b'F' | b'I' | b'N' | b'P' | b'S'..=b'T' | b'V'..=b'W')
    ) {
        return None;
    }
    Some(match word {
        b"TRACE" | b"TRC" | b"FINEST" | b"FINER" | b"VERBOSE" | b"VRB" => Level::Trace,
        b"DEBUG" | b"DBG" | b"FINE" => Level::Debug,
        b"INFO" | b"INF" | b"INFORMATION" | b"INFORMATIONAL" | b"NOTICE" => Level::Info,
        b"WARN" | b"WARNING" | b"WRN" => Level::Warn,
        b"ERROR" | b"ERR" | b"SEVERE" => Level::Error,
        b"FATAL" | b"FTL" | b"CRIT" | b"CRITICAL" | b"ALERT" | b"EMERG" | b"EMERGENCY"
        | b"PANIC" => Level::Fatal,
        _ => return None,
    })
}

/// The shortened words that Go's logrus writes before its bracket, `ERRO[0012]`.
fn shortened(word: &[u8]) -> Option<Level> {
    match word {
        b"TRAC" => Some(Level::Trace),
        b"DEBU" => Some(Level::Debug),
        b"ERRO" => Some(Level::Error),
        b"FATA" | b"PANI" => Some(Level::Fatal),
        _ => None,
    }
}

/// The letter that Android's loggers and glog write.
fn letter(letter: u8) -> Option<Level> {
    Some(match letter {
        b'V' => Level::Trace,
        b'D' => Level::Debug,
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' | b'A' | b'C' => Level::Fatal,
        _ => return None,
    })
}

pub(super) fn in_text(line: &[u8]) -> Option<Level> {
    at_start(line).or_else(|| by_words(line).map(|(level, _)| level))
}

/// Where in the line the level of [`in_text`] stands, if it is a word or a letter.
pub(super) fn place(line: &[u8]) -> Option<Range<usize>> {
    if at_start(line).is_some() {
        return match line {
            [b'<', ..] => None,
            [_, _, b'-', ..] => {
                let at = line.iter().position(u8::is_ascii_alphabetic)?;
                Some(at..at + 1)
            }
            _ => Some(0..1),
        };
    }
    let (_, word) = by_words(line)?;
    let text = &line[word.clone()];
    if text.len() == 1 || super::Level::from_word(text).is_some() || shortened(text).is_some() {
        return Some(word);
    }
    // A key: its value is the level. Of an access line nothing is.
    let rest = &line[word.end..];
    let skipped = rest
        .iter()
        .take_while(|byte| matches!(byte, b'"' | b'=' | b':' | b' '))
        .count();
    let length = rest[skipped..]
        .iter()
        .take(MAX_WORD_BYTES)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count();
    let start = word.end + skipped;
    super::Level::from_word(&line[start..start + length]).map(|_| start..start + length)
}

/// The level that a word of the line stands for, and which word decided.
fn by_words(line: &[u8]) -> Option<(Level, Range<usize>)> {
    // A line that begins with a tab continues the one above, as the frames of a stack trace do.
    if line.first() == Some(&b'\t') {
        return None;
    }
    // A word that begins within the limit and ends behind this is longer than any level.
    let text = &line[..line.len().min(SEARCH_BYTES + MAX_WORD_BYTES + 1)];
    let mut prose_words = 0;
    let mut letters_before = false;
    let mut at = 0;
    while at < text.len().min(SEARCH_BYTES) {
        let byte = text[at];
        if !is_word(byte) {
            // A colour before the level is not part of it.
            at = if byte == ESCAPE {
                after_escape(text, at)
            } else {
                at + 1
            };
            continue;
        }
        let start = at;
        at += text[at..]
            .iter()
            .position(|&byte| !is_word(byte))
            .unwrap_or(text.len() - at);
        if !byte.is_ascii_alphabetic() {
            continue;
        }
        let token = Token {
            line,
            start,
            end: at,
        };
        if let ControlFlow::Break(answer) = token.level(letters_before) {
            return answer.map(|level| (level, start..at));
        }
        letters_before = true;
        if token.is_prose() {
            prose_words += 1;
            if prose_words > MAX_PROSE_WORDS {
                return None;
            }
        }
    }
    None
}

/// Forms that are known by the line's first bytes.
fn at_start(line: &[u8]) -> Option<Level> {
    match line {
        // Syslog: <PRI>.
        [b'<', rest @ ..] => {
            let digits = rest
                .iter()
                .take(3)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 || rest.get(digits) != Some(&b'>') {
                return None;
            }
            let priority = rest[..digits]
                .iter()
                .fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
            if priority <= 191 {
                Level::from_syslog((priority & 7) as u8)
            } else {
                None
            }
        }
        // glog: I0102 15:04:05.123456, with a year in newer ones.
        [first @ (b'I' | b'W' | b'E' | b'F'), rest @ ..]
            if rest.first().is_some_and(u8::is_ascii_digit) =>
        {
            let digits = rest
                .iter()
                .take(9)
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let is_time = |time: &[u8]| matches!(time, [b' ', h, m, b':', ..] if h.is_ascii_digit() && m.is_ascii_digit());
            if matches!(digits, 4 | 8) && is_time(&rest[digits..]) {
                letter(*first)
            } else {
                None
            }
        }
        // Android's brief form: D/Tag( 123): text.
        [first, b'/', tag, ..]
            if tag.is_ascii_alphabetic() && line.iter().take(64).any(|&byte| byte == b':') =>
        {
            if matches!(first, b'V' | b'D' | b'I' | b'W' | b'E' | b'F') {
                letter(*first)
            } else {
                None
            }
        }
        // Android's threadtime form: 03-17 16:13:38.811  1702  2395 D Tag: text.
        [_, _, b'-', _, _, b' ', rest @ ..]
            if line[0].is_ascii_digit() && rest.get(2) == Some(&b':') =>
        {
            let at = rest
                .iter()
                .take(SEARCH_BYTES)
                .position(u8::is_ascii_alphabetic)?;
            let before = *rest.get(at.checked_sub(1)?)?;
            if before == b' ' && rest.get(at + 1) == Some(&b' ') {
                letter(rest[at])
            } else {
                None
            }
        }
        _ => None,
    }
}

/// A word of the line.
struct Token<'a> {
    line: &'a [u8],
    start: usize,
    end: usize,
}

impl Token<'_> {
    fn bytes(&self) -> &[u8] {
        &self.line[self.start..self.end]
    }

    fn before(&self) -> Option<u8> {
        self.start.checked_sub(1).map(|at| self.line[at])
    }

    fn after(&self) -> &[u8] {
        &self.line[self.end..]
    }

    /// Whether the search ends with this word, and with which answer.
    #[inline]
    fn level(&self, letters_before: bool) -> ControlFlow<Option<Level>> {
        let bytes = self.bytes();
        let level = match bytes.len() {
            1 => self.single_letter(letters_before),
            3..=MAX_WORD_BYTES if bytes[1].is_ascii_uppercase() => {
                if self.begins_request() {
                    return ControlFlow::Break(access_line(self.after()));
                }
                self.upper_case()
            }
            3..=MAX_WORD_BYTES => self.key_value().or_else(|| self.lower_case(letters_before)),
            _ => None,
        };
        match level {
            Some(level) => ControlFlow::Break(Some(level)),
            None => ControlFlow::Continue(()),
        }
    }

    /// `"GET `, the beginning of what an access line quotes.
    fn begins_request(&self) -> bool {
        self.before() == Some(b'"')
            && self.after().first() == Some(&b' ')
            && is_method(self.bytes())
    }

    fn upper_case(&self) -> Option<Level> {
        let bytes = self.bytes();
        let after = self.after();
        if after.first() == Some(&b'[')
            && let Some(level) = shortened(bytes)
        {
            return Some(level);
        }
        let level = upper_word(bytes)?;
        let starts_well = match self.before() {
            None
            | Some(
                b' ' | b'\t' | b'[' | b'(' | b'<' | b'{' | b'|' | b':' | b'=' | b'"' | b'\'' | b';'
                | b',' | b'm',
            ) => true,
            // Monolog: `app.ERROR: text`.
            Some(b'.') => after.first() == Some(&b':'),
            Some(b'-') => self.start < 2 || !is_word(self.line[self.start - 2]),
            Some(_) => false,
        };
        let ends_well = match after.first() {
            None
            | Some(
                b' ' | b'\t' | b'\r' | b']' | b')' | b'>' | b'}' | b':' | b'|' | b',' | b';' | b'"'
                | b'\'' | b'[' | b'-' | b'(' | &ESCAPE,
            ) => true,
            Some(_) => false,
        };
        if starts_well && ends_well {
            Some(level)
        } else {
            None
        }
    }

    /// `level=error`, `"severity": "warning"`, `lvl=info`.
    #[inline]
    fn key_value(&self) -> Option<Level> {
        if !matches!(self.bytes()[0], b'l' | b'L' | b's' | b'S')
            || !matches!(self.after(), [b'=' | b':' | b'"' | b' ', ..])
        {
            return None;
        }
        let keys: [&[u8]; 6] = [
            b"level",
            b"lvl",
            b"loglevel",
            b"levelname",
            b"log_level",
            b"severity",
        ];
        if !keys
            .iter()
            .any(|key| self.bytes().eq_ignore_ascii_case(key))
        {
            return None;
        }
        let rest = self.after();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
        let rest = rest
            .strip_prefix(b"=")
            .or_else(|| rest.strip_prefix(b":"))?
            .trim_ascii_start();
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let len = rest
            .iter()
            .take(MAX_WORD_BYTES)
            .take_while(|byte| byte.is_ascii_alphabetic())
            .count();
        word(&rest[..len])
    }

    /// Words that are not all upper case need a place that only levels stand in. The place is looked at first: most words are
    /// not in one, and looking costs less than comparing words.
    #[inline]
    fn lower_case(&self, letters_before: bool) -> Option<Level> {
        let before = self.before();
        let stands_free = matches!(before, None | Some(b' ' | b'\t' | b':' | b']' | b'm'));
        let fits = match self.after() {
            [b']', ..] if before == Some(b'[') => true,
            [b'>', ..] if before == Some(b'<') => true,
            [b'|', ..] if before == Some(b'|') => true,
            // Apache's [core:error].
            [b']', ..] if before == Some(b':') => self.line[..self.start].contains(&b'['),
            // error: no such file
            [b':'] | [b':', b' ' | b'\t', ..] => stands_free,
            // 2016-09-28 04:30:30, Info                  CBS    text
            []
            | [b'\t' | b'|' | b']' | ESCAPE, ..]
            | [b' ', b' ' | b'\t' | b'[' | b'|' | b'-', ..] => {
                stands_free && !letters_before && self.start > 0
            }
            _ => false,
        };
        if fits { word(self.bytes()) } else { None }
    }

    /// `2026-01-01T00:00:00.000+0000 I NETWORK  [conn1] text`: a letter and a component in upper case.
    fn single_letter(&self, letters_before: bool) -> Option<Level> {
        if letters_before || self.start == 0 || self.before() != Some(b' ') {
            return None;
        }
        match self.after() {
            [b' ', a, b, c, ..] if [a, b, c].into_iter().all(u8::is_ascii_uppercase) => {
                letter(self.bytes()[0])
            }
            _ => None,
        }
    }

    /// Whether the word looks like one of a message: behind a blank, in lower case as its first and last letter tell, and no
    /// key of a `key=value`.
    #[inline]
    fn is_prose(&self) -> bool {
        matches!(self.before(), None | Some(b' '))
            && self.after().first() != Some(&b'=')
            && self.line[self.start].is_ascii_lowercase()
            && self.line[self.end - 1].is_ascii_lowercase()
    }
}

const ESCAPE: u8 = 0x1b;

/// The place behind a terminal's control sequence that begins at `at`.
fn after_escape(line: &[u8], at: usize) -> usize {
    if line.get(at + 1) != Some(&b'[') {
        return at + 1;
    }
    let parameters = line[at + 2..]
        .iter()
        .take(16)
        .take_while(|byte| matches!(byte, b'0'..=b'9' | b';'))
        .count();
    at + 2 + parameters + 1
}

#[inline]
fn is_word(byte: u8) -> bool {
    IS_WORD[usize::from(byte)]
}

/// Letters, digits and the underscore. A table, since every byte of the searched part is asked.
const IS_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte == b'_' as usize;
        byte += 1;
    }
    table
};

fn is_method(word: &[u8]) -> bool {
    matches!(
        word,
        b"GET"
            | b"POST"
            | b"PUT"
            | b"HEAD"
            | b"DELETE"
            | b"PATCH"
            | b"OPTIONS"
            | b"CONNECT"
            | b"TRACE"
    )
}

/// The level of an access line, from the status behind the quoted request: ` /path HTTP/1.1" 404 153`.
fn access_line(after_method: &[u8]) -> Option<Level> {
    let quote = memchr::memchr(b'"', after_method)?;
    match &after_method[quote + 1..] {
        [b' ', class @ b'1'..=b'5', b'0'..=b'9', b'0'..=b'9']
        | [
            b' ',
            class @ b'1'..=b'5',
            b'0'..=b'9',
            b'0'..=b'9',
            b' ',
            ..,
        ] => Some(match class {
            b'5' => Level::Error,
            b'4' => Level::Warn,
            _ => Level::Info,
        }),
        _ => None,
    }
}
