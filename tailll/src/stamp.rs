//! Times for people, in a zone.
//!
//! Owns the forms of `--timestamps`. JSON's times are `json.rs`'s.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const NS_A_SECOND: i64 = 1_000_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// Zones change their offset at full quarters of an hour only, in all the years that lines are from.
const QUARTER_SECONDS: i64 = 900;

/// `--timestamps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StampForm {
    /// Date, time to the millisecond and offset, as in RFC 3339.
    #[default]
    Default,
    /// Month, day and time to the second.
    Short,
    /// The time of day to the millisecond.
    Time,
    /// As `default`, to the nanosecond.
    Full,
}

/// Writes times, and remembers the last quarter's offset and the last day.
#[derive(Debug)]
pub(crate) struct Stamps {
    zone: TimeZone,
    quarter: Option<(i64, i64)>,
    suffix: String,
    day: Option<(i64, String)>,
}

impl Stamps {
    /// In this zone.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            quarter: None,
            suffix: String::new(),
            day: None,
        }
    }

    /// Appends a time in ns since 1970.
    pub(crate) fn push(&mut self, ns: i64, form: StampForm, to: &mut Vec<u8>) {
        let seconds = ns.div_euclid(NS_A_SECOND);
        let fraction = ns.rem_euclid(NS_A_SECOND) as u64;
        let local = seconds + self.offset(seconds);
        let day = local.div_euclid(SECONDS_A_DAY);
        let of_day = local.rem_euclid(SECONDS_A_DAY) as u64;
        if self.day.as_ref().is_none_or(|(known, _)| *known != day) {
            // Every i64 of nanoseconds is between the years 1677 and 2262.
            let date = Timestamp::from_second(day * SECONDS_A_DAY).map_or_else(
                |_| String::new(),
                |midnight| TimeZone::UTC.to_datetime(midnight).date().to_string(),
            );
            self.day = Some((day, date));
        }
        let date = self.day.as_ref().map_or("", |(_, date)| date).as_bytes();
        let two = |number: u64| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let ([h1, h2], [m1, m2], [s1, s2]) =
            (two(of_day / 3600), two(of_day / 60 % 60), two(of_day % 60));
        let time = [h1, h2, b':', m1, m2, b':', s1, s2];
        match form {
            StampForm::Default | StampForm::Full => {
                to.extend_from_slice(date);
                to.push(b'T');
                to.extend_from_slice(&time);
                push_fraction(fraction, if form == StampForm::Full { 9 } else { 3 }, to);
                to.extend_from_slice(self.suffix.as_bytes());
            }
            StampForm::Short => {
                to.extend_from_slice(date.get(5..).unwrap_or_default());
                to.push(b' ');
                to.extend_from_slice(&time);
            }
            StampForm::Time => {
                to.extend_from_slice(&time);
                push_fraction(fraction, 3, to);
            }
        }
    }

    /// Seconds east of Greenwich.
    fn offset(&mut self, seconds: i64) -> i64 {
        let quarter = seconds.div_euclid(QUARTER_SECONDS);
        match self.quarter {
            Some((known, offset)) if known == quarter => offset,
            _ => {
                let offset = Timestamp::from_second(seconds)
                    .map_or(0, |time| i64::from(self.zone.to_offset(time).seconds()));
                self.quarter = Some((quarter, offset));
                self.suffix = if offset == 0 {
                    "Z".to_owned()
                } else {
                    let sign = if offset < 0 { '-' } else { '+' };
                    let minutes = offset.abs() / 60;
                    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
                };
                offset
            }
        }
    }
}

fn push_fraction(nanos: u64, digits: usize, to: &mut Vec<u8>) {
    let mut text = [b'0'; 9];
    let mut rest = nanos;
    for digit in text.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    to.push(b'.');
    to.extend_from_slice(&text[..digits]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(zone: &str, ns: i64, form: StampForm) -> String {
        let zone = crate::options::parse_zone(zone).unwrap();
        let mut to = Vec::new();
        Stamps::new(zone).push(ns, form, &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn forms() {
        let ns = 1_767_582_245_678_901_234;
        for (zone, form, wanted) in [
            ("UTC", StampForm::Default, "2026-01-05T03:04:05.678Z"),
            ("UTC", StampForm::Short, "01-05 03:04:05"),
            ("UTC", StampForm::Time, "03:04:05.678"),
            (
                "-05:30",
                StampForm::Full,
                "2026-01-04T21:34:05.678901234-05:30",
            ),
            (
                "+01:00",
                StampForm::Default,
                "2026-01-05T04:04:05.678+01:00",
            ),
        ] {
            assert_eq!(shown(zone, ns, form), wanted);
        }
    }

    proptest! {
        #[test]
        fn full_times_read_back(ns in any::<i64>(), step in -10_000_000_000_000..10_000_000_000_000_i64, hours in -23..23_i8) {
            let zone = TimeZone::fixed(jiff::tz::Offset::from_hours(hours).unwrap());
            let mut stamps = Stamps::new(zone);
            for ns in [ns, ns.saturating_add(step), i64::MIN, i64::MAX, 0] {
                let mut to = Vec::new();
                stamps.push(ns, StampForm::Full, &mut to);
                let time: Timestamp = String::from_utf8(to).unwrap().parse().unwrap();
                prop_assert_eq!(time.as_nanosecond(), i128::from(ns));
            }
        }
    }
}
