//! Where in a line its time is looked for.
//!
//! The line's own time is the first one near its start. A time further in belongs to the message, and so does one behind a
//! word such as `since`. A line that begins with blanks continues another one: only a time right behind the blanks counts.

use super::form::{self, Read, Stamp};

/// How far into the line a time may begin, in bytes: behind a level, a thread, a host.
const SEARCH_BYTES: usize = 64;

/// The same for a time in brackets, which an access line has behind its client's name and user.
const BRACKET_SEARCH_BYTES: usize = 256;

/// Words that a time of the message stands behind.
const PREPOSITIONS: [&[u8]; 14] = [
    b"after", b"and", b"at", b"before", b"between", b"by", b"expires", b"for", b"from", b"of",
    b"on", b"since", b"to", b"until",
];

/// A time in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) time: Time,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Stamp(Stamp),
    /// Nanoseconds since 1970.
    Epoch(i64),
}

/// Finds the line's time.
pub(super) fn find(line: &[u8]) -> Option<Place> {
    let head = head(line);
    if let Some(place) = at_head(line, head) {
        return Some(place);
    }
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return None;
    }
    inside(line, head)
}

/// Where the first word begins: behind blanks, brackets, colours, a syslog priority and a `ts=`.
fn head(line: &[u8]) -> usize {
    let mut at = 0;
    if matches!(line.first(), Some(b'0'..=b'9' | b'A'..=b'Z')) {
        return at;
    }
    while at < line.len().min(SEARCH_BYTES) {
        match &line[at..] {
            [b' ' | b'\t' | b'[' | b'(' | b'"' | b'\'', ..] => at += 1,
            [0x1b, b'[', ..] => at = after_escape(line, at),
            // The byte order mark.
            [0xef, 0xbb, 0xbf, ..] => at += 3,
            [b'<', rest @ ..] => {
                let digits = form::digits(rest, 0);
                if !(1..=3).contains(&digits) || rest.get(digits) != Some(&b'>') {
                    return at;
                }
                at += digits + 2;
                // The version of RFC 5424.
                if line[at..].starts_with(b"1 ") {
                    at += 2;
                }
            }
            rest => {
                let keys: [&[u8]; 4] = [b"ts=", b"time=", b"timestamp=", b"t="];
                match keys.iter().find(|key| rest.starts_with(key)) {
                    Some(key) => at += key.len(),
                    None => return at,
                }
            }
        }
    }
    at
}

/// Reads a time at the line's head, where forms are understood that would be too easily mistaken elsewhere.
#[inline]
fn at_head(line: &[u8], at: usize) -> Option<Place> {
    let s = &line[at..];
    let first = *s.first()?;
    if first.is_ascii_digit() {
        if let Some((stamp, len)) = at_number(s) {
            return Some(Place::stamp(stamp, at, len));
        }
        let read = match s {
            [_, _, b'-', ..] => form::month_and_day(s),
            [_, _, b'/', ..] => form::short_year(s),
            [_, _, _, _, _, _, b' ', ..] => form::six_digits(s),
            _ => None,
        };
        if let Some((stamp, len)) = read {
            return Some(Place::stamp(stamp, at, len));
        }
        let (ns, len) = form::epoch(s)?;
        return Some(Place {
            time: Time::Epoch(ns),
            start: at,
            end: at + len,
        });
    }
    let (stamp, len) = form::month_first(s).or_else(|| form::glog(s))?;
    Some(Place::stamp(stamp, at, len))
}

/// The forms that begin with a digit and cannot be mistaken.
#[inline]
fn at_number(s: &[u8]) -> Read<Stamp> {
    match form::digits(&s[..s.len().min(9)], 0) {
        4 => form::year_first(s),
        8 => form::compact(s),
        1 | 2 => form::day_first(s),
        _ => None,
    }
}

/// Looks behind the line's first word.
fn inside(line: &[u8], head: usize) -> Option<Place> {
    let mut column = None;
    let mut at = head;
    let limit = line.len().min(SEARCH_BYTES);
    while at < limit {
        let byte = line[at];
        if !byte.is_ascii_alphanumeric() {
            at = if byte == 0x1b {
                after_escape(line, at)
            } else {
                at + 1
            };
            continue;
        }
        let start = at;
        let s = &line[start..];
        let read = match (byte.is_ascii_digit(), may_begin_a_time(line, start)) {
            (true, true) => at_number(s),
            (false, true) => form::month_first(s),
            (_, false) => None,
        };
        if let Some((stamp, len)) = read
            && !is_behind_preposition(line, start)
        {
            return Some(Place::stamp(stamp, start, len));
        }
        while at < line.len() && line[at].is_ascii_alphanumeric() {
            at += 1;
        }
        if at - start == 10 && byte.is_ascii_digit() && column.is_none() {
            column = column_epoch(line, start, at);
        }
    }
    let starts_with_number = line
        .first()
        .is_some_and(|first| first.is_ascii_digit() || *first == b'-');
    match column {
        Some(place) if starts_with_number => Some(place),
        _ => in_brackets(line),
    }
}

/// An access line's time behind a long host name: `[10/Oct/2000:13:55:36 -0700]`.
fn in_brackets(line: &[u8]) -> Option<Place> {
    let limit = line.len().min(BRACKET_SEARCH_BYTES);
    let begin = SEARCH_BYTES.min(limit).saturating_sub(1);
    memchr::memchr_iter(b'[', &line[begin..limit]).find_map(|bracket| {
        let start = begin + bracket + 1;
        let (stamp, len) = form::day_first(&line[start..])?;
        Some(Place::stamp(stamp, start, len))
    })
}

/// A field of ten digits in a line of columns, as in `134681 node-246 unix.hw unavailable 1077804742 1 text`.
fn column_epoch(line: &[u8], start: usize, end: usize) -> Option<Place> {
    let separates = |byte: u8| matches!(byte, b' ' | b'\t' | b',' | b'|' | b';');
    if start == 0
        || !separates(line[start - 1])
        || !line.get(end).is_none_or(|&byte| separates(byte))
    {
        return None;
    }
    let (ns, _) = form::epoch(&line[start..end])?;
    Some(Place {
        time: Time::Epoch(ns),
        start,
        end,
    })
}

/// A time is not the end of a file's name or of a number.
fn may_begin_a_time(line: &[u8], at: usize) -> bool {
    match at.checked_sub(1).map(|before| line[before]) {
        None => true,
        Some(byte) => !matches!(
            byte,
            b'.' | b'-' | b'/' | b'\\' | b'_' | b'+' | b'@' | 0x80..
        ),
    }
}

fn is_behind_preposition(line: &[u8], at: usize) -> bool {
    let Some(before) = line[..at].strip_suffix(b" ") else {
        return false;
    };
    let start = before
        .iter()
        .rposition(|byte| !byte.is_ascii_alphanumeric())
        .map_or(0, |other| other + 1);
    PREPOSITIONS.contains(&&before[start..])
}

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
    (at + 2 + parameters + 1).min(line.len())
}

impl Place {
    fn stamp(stamp: Stamp, start: usize, len: usize) -> Self {
        Self {
            time: Time::Stamp(stamp),
            start,
            end: start + len,
        }
    }
}
