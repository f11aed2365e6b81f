//! Any bytes as a line that may say its time. What a parser remembers makes no difference.
#![no_main]

use jiff::tz::{Offset, TimeZone};
use joblog::TimestampParser;
use libfuzzer_sys::fuzz_target;

const REFERENCE_NS: i64 = 1_800_000_000_000_000_000;

fuzz_target!(|data: (&[u8], &[u8], i8)| {
    let (first, second, hours) = data;
    let zone = TimeZone::fixed(Offset::from_hours(hours % 24).expect("an offset of less than a day"));
    let mut fresh = TimestampParser::new(zone.clone(), REFERENCE_NS);
    let mut used = TimestampParser::new(zone, REFERENCE_NS);
    let _ = used.find(first);
    let found = used.find(second);
    assert_eq!(found, fresh.find(second));
    assert!(found.is_none_or(|ns| ns >= -86_400_000_000_000));
});
