//! The forms a time is written in. Each function reads one form at the start of the bytes it gets.

use super::{TimestampParser, YEARS};

/// A time as written, its fields in range but the day not yet checked against the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) year: Option<i32>,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
    pub(super) nanos: u32,
    pub(super) zone: Zone,
}

/// The zone that a time is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    Absent,
    /// Seconds east of Greenwich.
    Offset {
        seconds: i32,
    },
}

/// The result of a form, and how many bytes it took.
pub(super) type Read<T> = Option<(T, usize)>;

/// A date: year, month, day.
#[derive(Debug, Clone, Copy)]
struct Date {
    year: Option<i32>,
    month: u8,
    day: u8,
}

/// A time of day.
#[derive(Debug, Clone, Copy)]
struct Clock {
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
}

impl Stamp {
    fn new(date: Date, clock: Clock, zone: Zone) -> Option<Self> {
        let Date { year, month, day } = date;
        let Clock {
            hour,
            minute,
            second,
            nanos,
        } = clock;
        let date_ok = year.is_none_or(|year| YEARS.contains(&year))
            && (1..=12).contains(&month)
            && (1..=31).contains(&day);
        let clock_ok = hour <= 23 && minute <= 59 && second <= 60;
        if date_ok && clock_ok {
            Some(Self {
                year,
                month,
                day,
                hour,
                minute,
                second,
                nanos,
                zone,
            })
        } else {
            None
        }
    }
}

/// `2026-01-05T03:04:05.678Z`, `2026/01/05 03:04:05`, `2026-1-5 3:04:05,678 +01:00`, `2026-01-05-03.04.05.678901`.
#[inline]
pub(super) fn year_first(s: &[u8]) -> Read<Stamp> {
    iso_of_fixed_width(s).or_else(|| year_first_slow(s))
}

/// The common case of [`year_first`], for speed: two digits everywhere.
#[inline]
fn iso_of_fixed_width(s: &[u8]) -> Read<Stamp> {
    let b: &[u8; 19] = s.first_chunk()?;
    if b[4] != b[7]
        || !matches!(b[4], b'-' | b'/')
        || !matches!(b[10], b'T' | b' ')
        || b[13] != b':'
        || b[16] != b':'
    {
        return None;
    }
    let digit = |at: usize| b[at].wrapping_sub(b'0');
    let two = |at: usize| {
        let (tens, ones) = (digit(at), digit(at + 1));
        if tens <= 9 && ones <= 9 {
            Some(tens * 10 + ones)
        } else {
            None
        }
    };
    let year = i32::from(two(0)?) * 100 + i32::from(two(2)?);
    let date = Date {
        year: Some(year),
        month: two(5)?,
        day: two(8)?,
    };
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let (nanos, at) = fraction(s, 19)?;
    let (zone, at) = zone(s, at);
    Some((
        Stamp::new(
            date,
            Clock {
                hour,
                minute,
                second,
                nanos,
            },
            zone,
        )?,
        at,
    ))
}

fn year_first_slow(s: &[u8]) -> Read<Stamp> {
    let year = i32::from(two(s, 0)?) * 100 + i32::from(two(s, 2)?);
    let separator = *s.get(4)?;
    if !matches!(separator, b'-' | b'/' | b'.') {
        return None;
    }
    let (month, at) = one_or_two(s, 5)?;
    if s.get(at) != Some(&separator) {
        return None;
    }
    let (day, at) = one_or_two(s, at + 1)?;
    let date = Date {
        year: Some(year),
        month,
        day,
    };
    let at = match s.get(at..)? {
        [b',' | b' ', b' ', ..] => at + 2,
        [b'T' | b't' | b' ' | b'_' | b'-' | b':', ..] => at + 1,
        _ => return None,
    };
    let (clock, at) = clock(s, at)
        .or_else(|| clock_with_dots(s, at))
        .or_else(|| clock_without_seconds(s, at))?;
    let (clock, at) = half_day(s, clock, at);
    let (zone, at) = zone(s, at);
    Some((Stamp::new(date, clock, zone)?, at))
}

/// `20260105-3:4:5:67` (which is 67 ms), `20260105-03:04:05:678`, `20260105T030405.678Z`, `20260105 03:04:05`.
pub(super) fn compact(s: &[u8]) -> Read<Stamp> {
    let year = i32::from(two(s, 0)?) * 100 + i32::from(two(s, 2)?);
    let date = Date {
        year: Some(year),
        month: two(s, 4)?,
        day: two(s, 6)?,
    };
    if !matches!(s.get(8)?, b'-' | b'T' | b' ' | b'_') {
        return None;
    }
    let (clock, at) = clock_unpadded(s, 9)
        .or_else(|| clock(s, 9))
        .or_else(|| compact_clock(s, 9))?;
    let (zone, at) = zone(s, at);
    Some((Stamp::new(date, clock, zone)?, at))
}

/// `10/Oct/2000:13:55:36 -0700`, `05-Jan-2026 03:04:05.678`, `05 Jan 2026 03:04:05 GMT`.
pub(super) fn day_first(s: &[u8]) -> Read<Stamp> {
    let (day, at) = one_or_two(s, 0)?;
    let separator = *s.get(at)?;
    if !matches!(separator, b'/' | b'-' | b' ') {
        return None;
    }
    let month = month_name(s.get(at + 1..)?)?;
    let at = at + 4;
    if s.get(at) != Some(&separator) {
        return None;
    }
    let year = i32::from(two(s, at + 1)?) * 100 + i32::from(two(s, at + 3)?);
    if !matches!(s.get(at + 5)?, b':' | b' ' | b'T') {
        return None;
    }
    let (clock, at) = clock(s, at + 6)?;
    let (zone, at) = zone(s, at);
    Some((
        Stamp::new(
            Date {
                year: Some(year),
                month,
                day,
            },
            clock,
            zone,
        )?,
        at,
    ))
}

/// `Jan  5 03:04:05`, `Dec 04 04:47:44.123456 2005`, `Jan 05, 2026 3:04:05 PM`, `Jan  5 03:04:05 UTC 2026`, `Jan 5 2026 03:04:05`.
pub(super) fn month_first(s: &[u8]) -> Read<Stamp> {
    let month = month_name(s)?;
    if s.get(3) != Some(&b' ') {
        return None;
    }
    let at = if s.get(4) == Some(&b' ') { 5 } else { 4 };
    let (day, at) = one_or_two(s, at)?;
    let at = if s.get(at) == Some(&b',') { at + 1 } else { at };
    if s.get(at) != Some(&b' ') {
        return None;
    }
    let (year, at) = match year_word(s, at + 1) {
        Some((year, after)) => {
            let after = if s.get(after) == Some(&b',') {
                after + 1
            } else {
                after
            };
            if s.get(after) != Some(&b' ') {
                return None;
            }
            (Some(year), after + 1)
        }
        None => (None, at + 1),
    };
    let (clock, at) = clock(s, at)?;
    let (clock, at) = half_day(s, clock, at);
    let (zone, at) = zone(s, at);
    let (year, at) = match (year, s.get(at)) {
        (None, Some(b' ')) => {
            year_word(s, at + 1).map_or((None, at), |(year, after)| (Some(year), after))
        }
        _ => (year, at),
    };
    Some((Stamp::new(Date { year, month, day }, clock, zone)?, at))
}

/// Android's `03-17 16:13:38.811`.
pub(super) fn month_and_day(s: &[u8]) -> Read<Stamp> {
    let date = Date {
        year: None,
        month: two(s, 0)?,
        day: two(s, 3)?,
    };
    if s.get(2) != Some(&b'-') || s.get(5) != Some(&b' ') {
        return None;
    }
    let (clock, at) = clock(s, 6)?;
    Some((Stamp::new(date, clock, Zone::Absent)?, at))
}

/// Spark's and Hadoop's `26/01/05 03:04:05`: the year comes first.
pub(super) fn short_year(s: &[u8]) -> Read<Stamp> {
    if s.get(2) != Some(&b'/') || s.get(5) != Some(&b'/') || s.get(8) != Some(&b' ') {
        return None;
    }
    let date = Date {
        year: Some(century(two(s, 0)?)),
        month: two(s, 3)?,
        day: two(s, 6)?,
    };
    let (clock, at) = clock(s, 9)?;
    Some((Stamp::new(date, clock, Zone::Absent)?, at))
}

/// `260105 03:04:05` and `260105 030405`.
pub(super) fn six_digits(s: &[u8]) -> Read<Stamp> {
    let date = Date {
        year: Some(century(two(s, 0)?)),
        month: two(s, 2)?,
        day: two(s, 4)?,
    };
    if s.get(6) != Some(&b' ') {
        return None;
    }
    let at = if s.get(7) == Some(&b' ') { 8 } else { 7 };
    let (clock, at) = clock(s, at).or_else(|| compact_clock(s, at))?;
    Some((Stamp::new(date, clock, Zone::Absent)?, at))
}

/// glog's `I0105 03:04:05.678901`, and `I20260105 03:04:05.678901` with a year.
pub(super) fn glog(s: &[u8]) -> Read<Stamp> {
    if !matches!(s.first()?, b'I' | b'W' | b'E' | b'F' | b'C') {
        return None;
    }
    let (date, at) = match digits(s, 1) {
        4 => (
            Date {
                year: None,
                month: two(s, 1)?,
                day: two(s, 3)?,
            },
            5,
        ),
        8 => {
            let year = i32::from(two(s, 1)?) * 100 + i32::from(two(s, 3)?);
            (
                Date {
                    year: Some(year),
                    month: two(s, 5)?,
                    day: two(s, 7)?,
                },
                9,
            )
        }
        _ => return None,
    };
    if s.get(at) != Some(&b' ') {
        return None;
    }
    let (clock, at) = clock(s, at + 1)?;
    Some((Stamp::new(date, clock, Zone::Absent)?, at))
}

/// A count since 1970 in seconds (with a fraction, perhaps), milliseconds, microseconds or nanoseconds. Gives nanoseconds.
pub(super) fn epoch(s: &[u8]) -> Read<i64> {
    let len = digits(s, 0);
    if !matches!(len, 10 | 13 | 16 | 19) {
        return None;
    }
    let number = s[..len].iter().try_fold(0i64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
    })?;
    let mut ns = TimestampParser::from_integer(number)?;
    let mut at = len;
    if len == 10 && s.get(len) == Some(&b'.') && digits(s, len + 1) > 0 {
        let (nanos, end) = fraction(s, len)?;
        ns = ns.checked_add(i64::from(nanos))?;
        at = end;
    }
    let ends = s.get(at).is_none_or(|next| {
        !next.is_ascii_alphanumeric() && !matches!(next, b'_' | b'-' | b'.' | b'/')
    });
    if ends { Some((ns, at)) } else { None }
}

/// How many digits stand at `at`.
pub(super) fn digits(s: &[u8], at: usize) -> usize {
    s.get(at..).map_or(0, |rest| {
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    })
}

/// The month that begins the bytes.
pub(super) fn month_name(s: &[u8]) -> Option<u8> {
    let name: &[u8; 3] = s.first_chunk()?;
    let lower = [name[0] | 0x20, name[1] | 0x20, name[2] | 0x20];
    Some(match &lower {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

/// A year of two digits.
fn century(year: u8) -> i32 {
    i32::from(year) + if year < 70 { 2000 } else { 1900 }
}

#[inline]
fn two(s: &[u8], at: usize) -> Option<u8> {
    let (tens, ones) = (
        s.get(at)?.wrapping_sub(b'0'),
        s.get(at + 1)?.wrapping_sub(b'0'),
    );
    if tens <= 9 && ones <= 9 {
        Some(tens * 10 + ones)
    } else {
        None
    }
}

/// A number of one or two digits.
fn one_or_two(s: &[u8], at: usize) -> Read<u8> {
    if let Some(number) = two(s, at) {
        return Some((number, at + 2));
    }
    let digit = s.get(at)?.wrapping_sub(b'0');
    if digit <= 9 {
        Some((digit, at + 1))
    } else {
        None
    }
}

/// A plausible year that stands alone.
fn year_word(s: &[u8], at: usize) -> Read<i32> {
    if digits(s, at) != 4
        || s.get(at + 4)
            .is_some_and(|next| next.is_ascii_alphabetic() || matches!(next, b'.' | b'-' | b'_'))
    {
        return None;
    }
    let year = i32::from(two(s, at)?) * 100 + i32::from(two(s, at + 2)?);
    if YEARS.contains(&year) {
        Some((year, at + 4))
    } else {
        None
    }
}

/// `03:04:05`, `3:04:05`, with a fraction.
#[inline]
fn clock(s: &[u8], at: usize) -> Read<Clock> {
    let (hour, at) = one_or_two(s, at)?;
    if s.get(at) != Some(&b':') || s.get(at + 3) != Some(&b':') {
        return None;
    }
    let (minute, second) = (two(s, at + 1)?, two(s, at + 4)?);
    let (nanos, at) = fraction(s, at + 6)?;
    Some((
        Clock {
            hour,
            minute,
            second,
            nanos,
        },
        at,
    ))
}

/// `3:4:5:67`: hours, minutes, seconds and milliseconds as plain numbers, none of them padded.
fn clock_unpadded(s: &[u8], at: usize) -> Read<Clock> {
    let colon = |at: usize| {
        if s.get(at) == Some(&b':') {
            Some(at + 1)
        } else {
            None
        }
    };
    let (hour, at) = one_or_two(s, at)?;
    let (minute, at) = one_or_two(s, colon(at)?)?;
    let (second, at) = one_or_two(s, colon(at)?)?;
    let at = colon(at)?;
    let len = digits(s, at);
    if !(1..=3).contains(&len) {
        return None;
    }
    let millis = s[at..at + len]
        .iter()
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((
        Clock {
            hour,
            minute,
            second,
            nanos: millis * 1_000_000,
        },
        at + len,
    ))
}

/// `03.04.05.678901`.
fn clock_with_dots(s: &[u8], at: usize) -> Read<Clock> {
    if s.get(at + 2) != Some(&b'.') || s.get(at + 5) != Some(&b'.') {
        return None;
    }
    let (hour, minute, second) = (two(s, at)?, two(s, at + 3)?, two(s, at + 6)?);
    let (nanos, at) = fraction(s, at + 8)?;
    Some((
        Clock {
            hour,
            minute,
            second,
            nanos,
        },
        at,
    ))
}

/// `T03:04Z`, as some programs write full minutes.
fn clock_without_seconds(s: &[u8], at: usize) -> Read<Clock> {
    if !matches!(s.get(at.checked_sub(1)?)?, b'T' | b't') || s.get(at + 2) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (two(s, at)?, two(s, at + 3)?);
    if s.get(at + 5)
        .is_some_and(|next| next.is_ascii_digit() || *next == b':')
    {
        return None;
    }
    Some((
        Clock {
            hour,
            minute,
            second: 0,
            nanos: 0,
        },
        at + 5,
    ))
}

/// `030405`, with a fraction.
fn compact_clock(s: &[u8], at: usize) -> Read<Clock> {
    let (hour, minute, second) = (two(s, at)?, two(s, at + 2)?, two(s, at + 4)?);
    let (nanos, at) = fraction(s, at + 6)?;
    Some((
        Clock {
            hour,
            minute,
            second,
            nanos,
        },
        at,
    ))
}

/// Nanoseconds of the last digit of a fraction, by how many digits it has.
const SCALE: [u32; 10] = [
    1_000_000_000,
    100_000_000,
    10_000_000,
    1_000_000,
    100_000,
    10_000,
    1_000,
    100,
    10,
    1,
];

/// A fraction of a second at `at`, in nanoseconds, or none. `None` if the number before it goes on.
#[inline]
fn fraction(s: &[u8], at: usize) -> Read<u32> {
    let separator = match s.get(at) {
        Some(byte @ (b'.' | b',' | b':')) => *byte,
        Some(byte) if byte.is_ascii_digit() => return None,
        _ => return Some((0, at)),
    };
    let mut nanos = 0;
    let mut len = 0;
    for byte in &s[at + 1..] {
        if !byte.is_ascii_digit() {
            break;
        }
        if len < 9 {
            nanos = nanos * 10 + u32::from(byte - b'0');
        }
        len += 1;
    }
    // A comma, or a colon, may also separate fields: only what looks like milliseconds or better is a fraction then.
    let is_fraction = match separator {
        b'.' => len >= 1,
        b',' => len >= 3,
        _ => len == 3,
    };
    if !is_fraction {
        return Some((0, at));
    }
    Some((nanos * SCALE[len.min(9)], at + 1 + len))
}

/// `3:04:05 PM`: also with the narrow space that newer Java versions write.
fn half_day(s: &[u8], clock: Clock, at: usize) -> (Clock, usize) {
    let rest = s.get(at..).unwrap_or_default();
    let skipped = match rest {
        [b' ', ..] => 1,
        [0xe2, 0x80, 0xaf, ..] => 3,
        _ => 0,
    };
    let hour = match (&rest[skipped..], clock.hour) {
        ([b'A' | b'a' | b'P' | b'p', b'M' | b'm', next, ..], _) if next.is_ascii_alphanumeric() => {
            return (clock, at);
        }
        ([b'A' | b'a', b'M' | b'm', ..], 1..=12) => clock.hour % 12,
        ([b'P' | b'p', b'M' | b'm', ..], 1..=12) => clock.hour % 12 + 12,
        _ => return (clock, at),
    };
    (Clock { hour, ..clock }, at + skipped + 2)
}

/// Zones by name. Only names that mean one offset in practice: `CST` and `IST`, for instance, mean several.
const NAMED_ZONES: [(&[u8], i32); 15] = [
    (b"UTC", 0),
    (b"GMT", 0),
    (b"WET", 0),
    (b"WEST", 60),
    (b"CET", 60),
    (b"CEST", 120),
    (b"EET", 120),
    (b"EEST", 180),
    (b"JST", 540),
    (b"EST", -300),
    (b"EDT", -240),
    (b"MST", -420),
    (b"MDT", -360),
    (b"PST", -480),
    (b"PDT", -420),
];

/// The zone at `at`, and where it ends.
#[inline]
fn zone(s: &[u8], at: usize) -> (Zone, usize) {
    match s.get(at..).unwrap_or_default() {
        [b'Z' | b'z', rest @ ..] if !starts_with_word(rest) => {
            (Zone::Offset { seconds: 0 }, at + 1)
        }
        [b'+' | b'-', ..] => numeric_zone(s, at, Gap::None).unwrap_or((Zone::Absent, at)),
        [b' ', b'+' | b'-', ..] => {
            numeric_zone(s, at + 1, Gap::Space).unwrap_or((Zone::Absent, at))
        }
        [b' ', b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', ..] => {
            named_zone(s, at + 1).unwrap_or((Zone::Absent, at))
        }
        [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z', ..] => {
            named_zone(s, at).unwrap_or((Zone::Absent, at))
        }
        _ => (Zone::Absent, at),
    }
}

/// What stands between a time and its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Space,
}

/// `+01:00`, `+0100`, `+01`; behind a space, where a number of the message may follow, only the first two.
fn numeric_zone(s: &[u8], at: usize, gap: Gap) -> Read<Zone> {
    let sign = if s.get(at)? == &b'-' { -1 } else { 1 };
    let hours = two(s, at + 1)?;
    let (minutes, end) = match (s.get(at + 3), two(s, at + 4)) {
        (Some(b':'), Some(minutes)) => (minutes, at + 6),
        _ => match two(s, at + 3) {
            Some(minutes) => (minutes, at + 5),
            None if gap == Gap::None => (0, at + 3),
            None => return None,
        },
    };
    // No clock is further from Greenwich than 14 hours, none was further than 16.
    if hours > 16 || minutes > 59 || starts_with_word(s.get(end..).unwrap_or_default()) {
        return None;
    }
    Some((
        Zone::Offset {
            seconds: sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60),
        },
        end,
    ))
}

fn named_zone(s: &[u8], at: usize) -> Read<Zone> {
    let rest = s.get(at..)?;
    NAMED_ZONES.iter().find_map(|(name, minutes)| {
        let after = rest.strip_prefix(*name)?;
        if starts_with_word(after) {
            None
        } else {
            Some((
                Zone::Offset {
                    seconds: minutes * 60,
                },
                at + name.len(),
            ))
        }
    })
}

fn starts_with_word(s: &[u8]) -> bool {
    s.first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
