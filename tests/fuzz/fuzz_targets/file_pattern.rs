//! Any pattern of files on any path. A path that it takes has as many captures as the pattern has wildcards.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use shipper::pattern::Pattern;

fuzz_target!(|data: (&str, &str)| {
    let (text, path) = data;
    let Ok(pattern) = text.parse::<Pattern>() else {
        return;
    };
    let captures = pattern.captures(Path::new(path));
    assert_eq!(captures.is_some(), pattern.matches(Path::new(path)));
    if let Some(captures) = captures {
        assert_eq!(captures.len(), pattern.wildcards());
    }
});
