//! Any condition on any line. One that is read holds for a line, or its opposite does.
#![no_main]

use jiff::tz::TimeZone;
use joblog::RecordParser;
use libfuzzer_sys::fuzz_target;
use tailll::condition::{Condition, Labels};

fuzz_target!(|data: (&str, &[u8])| {
    let (text, line) = data;
    let labels = Labels::default();
    let record = RecordParser::new(TimeZone::UTC, 0).parse(line);
    match Condition::all(&[text.to_owned()]) {
        Ok(Some(condition)) => {
            let holds = condition.holds(line, &record, &labels);
            if let Ok(Some(opposite)) = Condition::all(&[format!("not ({text})")]) {
                assert_ne!(holds, opposite.holds(line, &record, &labels));
            }
        }
        Ok(None) => unreachable!("there is a text"),
        Err(error) => assert!(error.to_string().starts_with("--where: ")),
    }
});
