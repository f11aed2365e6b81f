//! Formats of times: MySQL's codes (`%Y-%m-%d`) and Joda's letters (`yyyy-MM-dd`), both ways.

use std::fmt::Write as _;

use datafusion::common::Result;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::times::{day_number, offset};
use crate::embedded::error::invalid;
use crate::embedded::text;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// A year with two digits is in the hundred years that begin with this one.
const TWO_DIGIT_YEARS_FROM: i64 = 1970;

fn month_name(clock: DateTime) -> &'static str {
    MONTHS[clock.month() as usize - 1]
}

fn day_name(clock: DateTime) -> &'static str {
    DAYS[clock.date().weekday().to_monday_zero_offset() as usize]
}

fn hour_of_12(clock: DateTime) -> i8 {
    (clock.hour() + 11) % 12 + 1
}

fn half(clock: DateTime) -> &'static str {
    if clock.hour() < 12 { "AM" } else { "PM" }
}

/// By MySQL's codes.
pub(super) fn mysql(format: &str, clock: DateTime, _: &str) -> Result<String> {
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(one) = characters.next() {
        if one != '%' {
            out.push(one);
            continue;
        }
        let week = clock.date().iso_week_date();
        let _ = match characters.next() {
            Some('a') => write!(out, "{}", &day_name(clock)[..3]),
            Some('b') => write!(out, "{}", &month_name(clock)[..3]),
            Some('c') => write!(out, "{}", clock.month()),
            Some('d') => write!(out, "{:02}", clock.day()),
            Some('e') => write!(out, "{}", clock.day()),
            Some('f') => write!(out, "{:06}", clock.subsec_nanosecond() / 1000),
            Some('H') => write!(out, "{:02}", clock.hour()),
            Some('h' | 'I') => write!(out, "{:02}", hour_of_12(clock)),
            Some('i') => write!(out, "{:02}", clock.minute()),
            Some('j') => write!(out, "{:03}", clock.date().day_of_year()),
            Some('k') => write!(out, "{}", clock.hour()),
            Some('l') => write!(out, "{}", hour_of_12(clock)),
            Some('M') => write!(out, "{}", month_name(clock)),
            Some('m') => write!(out, "{:02}", clock.month()),
            Some('p') => write!(out, "{}", half(clock)),
            Some('r') => write!(
                out,
                "{:02}:{:02}:{:02} {}",
                hour_of_12(clock),
                clock.minute(),
                clock.second(),
                half(clock)
            ),
            Some('S' | 's') => write!(out, "{:02}", clock.second()),
            Some('T') => write!(
                out,
                "{:02}:{:02}:{:02}",
                clock.hour(),
                clock.minute(),
                clock.second()
            ),
            Some('v') => write!(out, "{:02}", week.week()),
            Some('W') => write!(out, "{}", day_name(clock)),
            Some('x') => write!(out, "{:04}", week.year()),
            Some('Y') => write!(out, "{:04}", clock.year()),
            Some('y') => write!(out, "{:02}", clock.year().rem_euclid(100)),
            Some(code @ ('D' | 'U' | 'u' | 'V' | 'w' | 'X')) => {
                return invalid(format!("%{code} not supported in date format string"));
            }
            Some(other) => write!(out, "{other}"),
            None => return invalid("Invalid format string: it ends with %"),
        };
    }
    Ok(out)
}

/// A run of one letter of Joda's, or what stands between such.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Letters(char, usize),
    Text(String),
}

fn pieces(format: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut characters = format.chars().peekable();
    while let Some(one) = characters.next() {
        if one == '\'' {
            let mut text = String::new();
            if characters.peek() == Some(&'\'') {
                characters.next();
                text.push('\'');
            } else {
                while let Some(inside) = characters.next() {
                    if inside != '\'' {
                        text.push(inside);
                    } else if characters.peek() == Some(&'\'') {
                        characters.next();
                        text.push('\'');
                    } else {
                        break;
                    }
                }
            }
            pieces.push(Piece::Text(text));
        } else if one.is_ascii_alphabetic() {
            let mut len = 1;
            while characters.peek() == Some(&one) {
                characters.next();
                len += 1;
            }
            pieces.push(Piece::Letters(one, len));
        } else {
            pieces.push(Piece::Text(one.to_string()));
        }
    }
    pieces
}

/// By Joda's letters.
pub(super) fn joda(format: &str, clock: DateTime, zone: &str) -> Result<String> {
    let mut out = String::new();
    for piece in pieces(format) {
        let (letter, len) = match piece {
            Piece::Text(text) => {
                out.push_str(&text);
                continue;
            }
            Piece::Letters(letter, len) => (letter, len),
        };
        let mut number = |number: i64| {
            let _ = write!(out, "{number:0len$}");
        };
        let week = clock.date().iso_week_date();
        match letter {
            'y' | 'Y' if len == 2 => number(i64::from(clock.year().rem_euclid(100))),
            'y' | 'Y' => number(i64::from(clock.year())),
            'x' if len == 2 => number(i64::from(week.year().rem_euclid(100))),
            'x' => number(i64::from(week.year())),
            'w' => number(i64::from(week.week())),
            'e' => number(i64::from(clock.date().weekday().to_monday_one_offset())),
            'E' => out.push_str(if len > 3 {
                day_name(clock)
            } else {
                &day_name(clock)[..3]
            }),
            'D' => number(i64::from(clock.date().day_of_year())),
            'M' if len > 3 => out.push_str(month_name(clock)),
            'M' if len == 3 => out.push_str(&month_name(clock)[..3]),
            'M' => number(i64::from(clock.month())),
            'd' => number(i64::from(clock.day())),
            'a' => out.push_str(half(clock)),
            'K' => number(i64::from(clock.hour() % 12)),
            'h' => number(i64::from(hour_of_12(clock))),
            'H' => number(i64::from(clock.hour())),
            'k' => number(i64::from((clock.hour() + 23) % 24 + 1)),
            'm' => number(i64::from(clock.minute())),
            's' => number(i64::from(clock.second())),
            'S' => {
                let digits = format!("{:09}", clock.subsec_nanosecond());
                out.extend(digits.chars().chain(std::iter::repeat('0')).take(len));
            }
            'z' | 'Z' => {
                let known = text::time_zone(zone);
                let second = known
                    .to_timestamp(clock)
                    .map_or(0, jiff::Timestamp::as_second);
                match (letter, len) {
                    ('z', _) | ('Z', 3..) => out.push_str(zone),
                    (_, len) => {
                        let offset = match offset(second, &known).as_str() {
                            "Z" => "+00:00".to_owned(),
                            other => other.to_owned(),
                        };
                        out.push_str(&if len == 1 {
                            offset.replace(':', "")
                        } else {
                            offset
                        });
                    }
                }
            }
            other => return invalid(format!("Illegal pattern component: {other}")),
        }
    }
    Ok(out)
}

/// What has been read of a time.
#[derive(Debug)]
struct Reading {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: Option<i64>,
    hour: i64,
    /// An hour of a half day, and which half.
    hour_of_half: Option<i64>,
    is_afternoon: Option<bool>,
    minute: i64,
    second: i64,
    ns: i64,
    zone: Option<TimeZone>,
}

impl Reading {
    fn new() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            hour_of_half: None,
            is_afternoon: None,
            minute: 0,
            second: 0,
            ns: 0,
            zone: None,
        }
    }

    /// Milliseconds since 1970, if there is such a time.
    fn ms(&self) -> Option<i64> {
        let first = jiff::civil::Date::new(i16::try_from(self.year).ok()?, 1, 1).ok()?;
        let date = match self.day_of_year {
            Some(day) if (1..=i64::from(first.days_in_year())).contains(&day) => {
                first.checked_add(jiff::Span::new().days(day - 1)).ok()?
            }
            Some(_) => return None,
            None => jiff::civil::Date::new(
                first.year(),
                i8::try_from(self.month).ok()?,
                i8::try_from(self.day).ok()?,
            )
            .ok()?,
        };
        let hour = match (self.hour_of_half, self.is_afternoon) {
            (Some(hour), half) => hour % 12 + if half == Some(true) { 12 } else { 0 },
            (None, _) => self.hour,
        };
        if !(0..24).contains(&hour)
            || !(0..60).contains(&self.minute)
            || !(0..60).contains(&self.second)
        {
            return None;
        }
        let of_day = ((hour * 60 + self.minute) * 60 + self.second) * 1000 + self.ns / 1_000_000;
        let local = i64::from(day_number(date)) * DAY_MS + of_day;
        match &self.zone {
            None => Some(local),
            Some(zone) => {
                let clock = jiff::Timestamp::from_millisecond(local)
                    .ok()?
                    .to_zoned_datetime(TimeZone::UTC)
                    .datetime();
                Some(zone.to_timestamp(clock).ok()?.as_millisecond())
            }
        }
    }
}

/// What is still to be read.
struct Rest<'t>(&'t str);

impl Rest<'_> {
    fn text(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn digits(&mut self, most: usize) -> Option<&str> {
        let len = self
            .0
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if len == 0 {
            return None;
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(digits)
    }

    fn number(&mut self, most: usize) -> Option<i64> {
        self.digits(most)?.parse().ok()
    }

    fn signed(&mut self, most: usize) -> Option<i64> {
        if let Some(rest) = self.0.strip_prefix('-') {
            self.0 = rest;
            return self.number(most).map(|number| -number);
        }
        self.number(most)
    }

    /// The place of the name that comes next, in full or its first three letters, in any case.
    fn name(&mut self, names: &[&str]) -> Option<usize> {
        for (place, name) in names.iter().enumerate() {
            for name in [*name, &name[..3.min(name.len())]] {
                if self
                    .0
                    .get(..name.len())
                    .is_some_and(|next| next.eq_ignore_ascii_case(name))
                {
                    self.0 = &self.0[name.len()..];
                    return Some(place);
                }
            }
        }
        None
    }

    /// The fraction that comes next, in ns.
    fn fraction(&mut self, most: usize) -> Option<i64> {
        let digits = self.digits(most)?;
        let padded: String = digits
            .chars()
            .chain(std::iter::repeat('0'))
            .take(9)
            .collect();
        padded.parse().ok()
    }

    fn half(&mut self) -> Option<bool> {
        self.name(&["AM", "PM"]).map(|place| place == 1)
    }
}

fn of_two_digits(year: i64) -> i64 {
    let century = TWO_DIGIT_YEARS_FROM / 100 * 100;
    let year = century + year;
    if year < TWO_DIGIT_YEARS_FROM {
        year + 100
    } else {
        year
    }
}

/// Reads by MySQL's codes.
pub(super) fn parse_mysql(format: &str, text: &str) -> Result<i64> {
    let mut reading = Reading::new();
    let mut rest = Rest(text);
    let mut characters = format.chars();
    let mut read = || -> Option<Result<()>> {
        while let Some(one) = characters.next() {
            if one != '%' {
                rest.text(one.encode_utf8(&mut [0; 4]))?;
                continue;
            }
            match characters.next()? {
                'a' | 'W' => {
                    rest.name(&DAYS)?;
                }
                'b' | 'M' => reading.month = rest.name(&MONTHS)? as i64 + 1,
                'c' | 'm' => reading.month = rest.number(2)?,
                'd' | 'e' => reading.day = rest.number(2)?,
                'f' => reading.ns = rest.fraction(9)?,
                'H' | 'k' => reading.hour = rest.number(2)?,
                'h' | 'I' | 'l' => reading.hour_of_half = Some(rest.number(2)?),
                'i' => reading.minute = rest.number(2)?,
                'j' => reading.day_of_year = Some(rest.number(3)?),
                'p' => reading.is_afternoon = Some(rest.half()?),
                'r' => {
                    reading.hour_of_half = Some(rest.number(2)?);
                    rest.text(":")?;
                    reading.minute = rest.number(2)?;
                    rest.text(":")?;
                    reading.second = rest.number(2)?;
                    rest.text(" ")?;
                    reading.is_afternoon = Some(rest.half()?);
                }
                'S' | 's' => reading.second = rest.number(2)?,
                'T' => {
                    reading.hour = rest.number(2)?;
                    rest.text(":")?;
                    reading.minute = rest.number(2)?;
                    rest.text(":")?;
                    reading.second = rest.number(2)?;
                }
                'Y' => reading.year = rest.signed(4)?,
                'y' => reading.year = of_two_digits(rest.number(2)?),
                code @ ('D' | 'U' | 'u' | 'V' | 'v' | 'w' | 'X' | 'x') => {
                    return Some(invalid(format!(
                        "%{code} not supported in date format string"
                    )));
                }
                other => rest.text(other.encode_utf8(&mut [0; 4]))?,
            }
        }
        Some(Ok(()))
    };
    let outcome = read().transpose()?;
    finish(outcome.is_some(), &reading, &rest, text)
}

/// Reads by Joda's letters. Says too whether the text has a time zone of its own, other than UTC.
pub(super) fn parse_joda(format: &str, text: &str) -> Result<(i64, bool)> {
    let mut reading = Reading::new();
    let mut rest = Rest(text);
    let all = pieces(format);
    let mut read = || -> Option<Result<()>> {
        for (place, piece) in all.iter().enumerate() {
            let (letter, len) = match piece {
                Piece::Text(text) => {
                    rest.text(text)?;
                    continue;
                }
                Piece::Letters(letter, len) => (*letter, *len),
            };
            // Where digits follow at once, each number has just its own length.
            let is_followed = matches!(all.get(place + 1), Some(Piece::Letters(..)));
            let most = |usual: usize| if is_followed { len } else { usual.max(len) };
            match letter {
                'y' | 'Y' if len == 2 => reading.year = of_two_digits(rest.number(most(2))?),
                'y' | 'Y' => reading.year = rest.signed(most(9))?,
                'M' if len >= 3 => reading.month = rest.name(&MONTHS)? as i64 + 1,
                'M' => reading.month = rest.number(most(2))?,
                'd' => reading.day = rest.number(most(2))?,
                'D' => reading.day_of_year = Some(rest.number(most(3))?),
                'E' => {
                    rest.name(&DAYS)?;
                }
                'a' => reading.is_afternoon = Some(rest.half()?),
                'K' | 'h' => reading.hour_of_half = Some(rest.number(most(2))?),
                'H' => reading.hour = rest.number(most(2))?,
                'k' => reading.hour = rest.number(most(2))? % 24,
                'm' => reading.minute = rest.number(most(2))?,
                's' => reading.second = rest.number(most(2))?,
                'S' => reading.ns = rest.fraction(most(9))?,
                'Z' | 'z' => {
                    let end = rest
                        .0
                        .find(|one: char| !one.is_ascii_alphanumeric() && !"/_+-:".contains(one))
                        .unwrap_or(rest.0.len());
                    let (name, after) = rest.0.split_at(end);
                    let with_colon = match name.len() {
                        5 if name.starts_with(['+', '-']) => {
                            format!("{}:{}", &name[..3], &name[3..])
                        }
                        _ => name.to_owned(),
                    };
                    reading.zone = Some(text::find_time_zone(&with_colon)?);
                    rest.0 = after;
                }
                other => return Some(invalid(format!("Illegal pattern component: {other}"))),
            }
        }
        Some(Ok(()))
    };
    let outcome = read().transpose()?;
    let ms = finish(outcome.is_some(), &reading, &rest, text)?;
    let has_own = reading
        .zone
        .is_some_and(|zone| zone.to_fixed_offset().ok() != Some(Offset::UTC));
    Ok((ms, has_own))
}

fn finish(is_read: bool, reading: &Reading, rest: &Rest<'_>, text: &str) -> Result<i64> {
    if is_read && rest.0.is_empty() {
        if let Some(ms) = reading.ms() {
            return Ok(ms);
        }
        return invalid(format!(
            "Cannot parse \"{text}\": a value is out of its range"
        ));
    }
    let from = text.len() - rest.0.len();
    if from == 0 || from == text.len() {
        return invalid(format!("Invalid format: \"{text}\""));
    }
    invalid(format!(
        "Invalid format: \"{text}\" is malformed at \"{}\"",
        rest.0
    ))
}
