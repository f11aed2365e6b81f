//! Any text as an object's key. One that is read is written the same way.
#![no_main]

use archive::ObjectKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<ObjectKey>() {
        assert_eq!(key.to_string(), text);
    }
});
