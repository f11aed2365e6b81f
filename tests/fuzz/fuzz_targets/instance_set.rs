//! Any text as a set of instances. One that is good means the same when it is written and read again.
#![no_main]

use joblog::InstanceSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(set) = text.parse::<InstanceSet>() {
        assert_eq!(set.to_string().parse::<InstanceSet>().as_ref(), Ok(&set));
        assert!(set.iter().take(100).all(|instance| set.contains(instance)));
    }
});
