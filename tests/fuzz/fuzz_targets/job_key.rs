//! Any text as a job key. One that is good is written as it was read.
#![no_main]

use joblog::JobKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<JobKey>() {
        assert_eq!(key.to_string(), text);
    }
});
