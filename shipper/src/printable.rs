//! Texts of strangers, made harmless for a terminal, and numbers for people.
//!
//! Names of files and jobs come from those who write the logs. Control characters and those that turn the direction of writing
//! are shown as escapes, so that a name stays in its place and cannot act as another.

use std::fmt::Write as _;

/// A text on one line without anything that a terminal obeys.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || turns_direction(c) {
            plain.extend(c.escape_unicode());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Characters that turn the direction of writing, or end a line where control characters do not.
fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes in three digits or so: `0 B`, `1.5 kB`, `23 MB`. A kB is 1000 B.
pub fn bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be rounded to a number of four digits.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units[unit];
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// A span of time in its two largest units at most: `12s`, `5m`, `2h10m`, `3d4h`.
pub fn age(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit);
    let Some(largest) = largest else {
        return "0s".to_owned();
    };
    let mut text = String::new();
    let mut rest = seconds;
    for (unit, letter) in units.iter().skip(largest).take(2) {
        if rest >= *unit {
            // Writing to a text cannot fail.
            let _ = write!(text, "{}{letter}", rest / unit);
            rest %= unit;
        }
    }
    text
}

/// A number with its thousands set apart: `9 360 000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_stays_on_its_line() {
        assert_eq!(
            plain("a\u{1b}[31m\n\tb\u{202e}\u{9b}é"),
            "a\\u{1b}[31m\\u{a}\\u{9}b\\u{202e}\\u{9b}é"
        );
        assert_eq!(plain("/var/log/a b.log"), "/var/log/a b.log");
    }

    #[test]
    fn numbers() {
        for (value, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9940, "9.9 kB"),
            (9960, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (23_400_000, "23 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(value), expected);
        }
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (3600, "1h"),
            (3661, "1h1m"),
            (86_401, "1d"),
            (273_600, "3d4h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (9_360_000, "9 360 000"),
        ] {
            assert_eq!(count(number), expected);
        }
    }
}
