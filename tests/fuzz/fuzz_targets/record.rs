//! Any bytes as a line: reading it cannot fail, and its parts are the same as the whole.
#![no_main]

use jiff::tz::TimeZone;
use joblog::RecordParser;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let mut parser = RecordParser::new(TimeZone::UTC, 1_800_000_000_000_000_000);
    let (ts_ns, level) = {
        let record = parser.parse(line);
        (record.ts_ns, record.level)
    };
    assert_eq!(parser.timestamp(line), ts_ns);
    assert_eq!(parser.level(line), level);
});
