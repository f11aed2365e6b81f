//! Days and dates of the proleptic Gregorian calendar, as arithmetic: rows and keys need nothing else of a calendar.

/// Seconds of a day.
pub(crate) const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Days of 400 years: then the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Days from 1 March of the year 0 to 1970.
const EPOCH_DAYS: i64 = 719_468;

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
}

impl Date {
    /// The date of a day, counted since 1970. Years are taken to begin in March, so that the odd day is their last.
    pub(crate) fn of_days(days: i64) -> Self {
        let days = days + EPOCH_DAYS;
        let era = days.div_euclid(ERA_DAYS);
        let of_era = days.rem_euclid(ERA_DAYS);
        let year_of_era =
            (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA_DAYS - 1)) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: of_year - (153 * march_month + 2) / 5 + 1,
        }
    }

    /// The day of the date, counted since 1970. The date may be one that the calendar lacks; then it is another one's day.
    pub(crate) fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let march_month = (self.month + 9) % 12;
        let of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        era * ERA_DAYS + of_era - EPOCH_DAYS
    }

    /// Whether the calendar has the date.
    pub(crate) fn is_real(self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && Self::of_days(self.days()) == self
    }
}

/// The number that `digits` write, if they are all digits.
pub(crate) fn number(digits: &[u8]) -> Option<i64> {
    let all = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    all.then(|| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days() {
        for (days, year, month, day) in [
            (0, 1970, 1, 1),
            (-1, 1969, 12, 31),
            (11_016, 2000, 2, 29),
            (11_017, 2000, 3, 1),
            (20_454, 2026, 1, 1),
            (-719_162, 1, 1, 1),
            (2_932_896, 9999, 12, 31),
        ] {
            let date = Date { year, month, day };
            assert_eq!(Date::of_days(days), date);
            assert_eq!(date.days(), days);
            assert!(date.is_real());
        }
        for (year, month, day) in [(2025, 2, 29), (1900, 2, 29), (2026, 4, 31), (2026, 13, 1)] {
            assert!(!Date { year, month, day }.is_real());
        }
    }

    proptest! {
        #[test]
        fn both_ways(days in -719_162_i64..2_932_897) {
            let date = Date::of_days(days);
            prop_assert_eq!(date.days(), days);
            let other = jiff::civil::Date::new(date.year as i16, date.month as i8, date.day as i8);
            prop_assert!(other.is_ok());
        }
    }
}
