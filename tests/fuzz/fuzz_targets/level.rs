//! Any bytes as a line that may say how serious it is.
#![no_main]

use joblog::{Level, level};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let found = level::find(line);
    assert_eq!(found, level::find(line));
    let _ = Level::from_word(line);
});
