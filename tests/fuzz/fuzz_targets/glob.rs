//! Any pattern against any name. A name without anything special matches itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::glob::Glob;

fuzz_target!(|data: (&str, &[u8])| {
    let (pattern, name) = data;
    if let Ok(glob) = pattern.parse::<Glob>() {
        let _ = glob.matches(name);
        if !pattern.contains(['*', '?', '[', '\\']) {
            assert!(glob.matches(pattern.as_bytes()));
            assert_eq!(glob.matches(name), pattern.as_bytes() == name);
        }
    }
});
