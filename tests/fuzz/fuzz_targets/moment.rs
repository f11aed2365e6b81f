//! Any text as a moment. What is read has a meaning at any time.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use tailll::moment::{End, Moment};

fuzz_target!(|data: (&str, i64)| {
    let (text, now_ns) = data;
    if let Ok(moment) = text.parse::<Moment>() {
        let since = moment.resolve(End::Since, now_ns, &TimeZone::UTC);
        let until = moment.resolve(End::Until, now_ns, &TimeZone::UTC);
        assert!(since <= until);
    }
});
