//! JSON text, written straight into bytes.
//!
//! Owns strings, numbers and times as JSON, because a line a microsecond leaves no room for a tree of values. Which
//! fields there are is `render.rs`'s.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::escape::is_bidi_control;

const HEX: &[u8; 16] = b"0123456789abcdef";
const BLOCK_BYTES: usize = 16;
const NS_A_SECOND: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// Appends a text as a JSON string, with its quotes. Control characters of both sets and those that change the
/// direction of writing are always written as `\u….`, so that the text can be shown on a terminal.
pub(crate) fn push_string(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        if let Some(block) = bytes.get(at..at + BLOCK_BYTES)
            && !block
                .iter()
                .fold(false, |found, &byte| found | is_special(byte))
        {
            at += BLOCK_BYTES;
            continue;
        }
        if !is_special(bytes[at]) {
            at += 1;
            continue;
        }
        // Only whole characters are stepped over, so this is where one begins.
        let Some(char) = text.get(at..).and_then(|rest| rest.chars().next()) else {
            break;
        };
        let next = at + char.len_utf8();
        let short = match char {
            '"' | '\\' => Some(char as u8),
            '\n' => Some(b'n'),
            '\r' => Some(b'r'),
            '\t' => Some(b't'),
            _ => None,
        };
        if let Some(short) = short {
            to.extend_from_slice(&bytes[copied..at]);
            to.extend_from_slice(&[b'\\', short]);
            copied = next;
        } else if char.is_control()
            || is_bidi_control(char)
            || matches!(char, '\u{2028}' | '\u{2029}')
        {
            to.extend_from_slice(&bytes[copied..at]);
            let code = char as usize;
            let digit = |shift: usize| HEX[(code >> shift) & 15];
            to.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            copied = next;
        }
        at = next;
    }
    to.extend_from_slice(&bytes[copied..]);
    to.push(b'"');
}

/// Whether a byte cannot be copied without a closer look.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch here would keep the compiler from making vector instructions"
)]
const fn is_special(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) > 0x5e) | (byte == b'"') | (byte == b'\\')
}

/// Appends a number.
pub(crate) fn push_number(mut number: u64, to: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[start..]);
}

/// Writes times as RFC 3339 in UTC with nanoseconds. Remembers the last day, which is most times the next one's too.
#[derive(Debug, Default)]
pub(crate) struct Times {
    day: Option<(i64, String)>,
}

impl Times {
    /// Appends a time as a JSON string.
    pub(crate) fn push(&mut self, ns: i64, to: &mut Vec<u8>) {
        let seconds = ns.div_euclid(NS_A_SECOND);
        let fraction = ns.rem_euclid(NS_A_SECOND) as u64;
        let day = seconds.div_euclid(SECONDS_A_DAY);
        let of_day = seconds.rem_euclid(SECONDS_A_DAY) as u64;
        let date = match &mut self.day {
            Some((known, date)) if *known == day => date,
            other => {
                // Every i64 of nanoseconds is between the years 1677 and 2262.
                let date = Timestamp::from_second(day * SECONDS_A_DAY).map_or_else(
                    |_| String::new(),
                    |midnight| TimeZone::UTC.to_datetime(midnight).date().to_string(),
                );
                &other.insert((day, date)).1
            }
        };
        to.push(b'"');
        to.extend_from_slice(date.as_bytes());
        let two = |number: u64| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let ([h1, h2], [m1, m2], [s1, s2]) =
            (two(of_day / 3600), two(of_day / 60 % 60), two(of_day % 60));
        to.extend_from_slice(&[b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'.']);
        let mut digits = [b'0'; 9];
        let mut rest = fraction;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        to.extend_from_slice(&digits);
        to.extend_from_slice(b"Z\"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> String {
        let mut to = Vec::new();
        push_string(text, &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn strings() {
        let shown: Vec<String> = [
            "",
            "plain",
            "a \"b\" c\\d\n\r\t",
            "\x1b[31m\x7f\u{9b}\u{202e}\u{2028}",
            "üöä 你好 😀",
        ]
        .map(string)
        .to_vec();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        ""
        "plain"
        "a \"b\" c\\d\n\r\t"
        "\u001b[31m\u007f\u009b\u202e\u2028"
        "üöä 你好 😀"
        "#);
    }

    proptest! {
        #[test]
        fn strings_read_back(text in prop_oneof![any::<String>(), "[a-z\"\\\\\u{7f}\u{80}\u{9f}\u{a0}\u{2028}\u{202e}\u{1f600} ]{0,100}"]) {
            let json = string(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert!(json.chars().all(|char| !(char.is_control() || is_bidi_control(char))));
        }

        #[test]
        fn numbers_and_times(number in any::<u64>(), ns in any::<i64>(), step in 0..200_000_000_000_000_i64) {
            let mut to = Vec::new();
            push_number(number, &mut to);
            prop_assert_eq!(String::from_utf8(to).unwrap(), number.to_string());
            let mut times = Times::default();
            for ns in [ns, ns.saturating_add(step), 0, i64::MAX, i64::MIN] {
                let mut to = Vec::new();
                times.push(ns, &mut to);
                let time: Timestamp = serde_json::from_slice::<String>(&to).unwrap().parse().unwrap();
                prop_assert_eq!(time.as_nanosecond(), i128::from(ns));
                prop_assert_eq!(to.len(), 32);
            }
        }
    }
}
