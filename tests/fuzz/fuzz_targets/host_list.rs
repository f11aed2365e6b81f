//! Any text as a list of hosts: what it stands for is bounded, and no name has a bracket left.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::hostlist::{self, MAX_HOSTS};

fuzz_target!(|text: &str| {
    if let Ok(hosts) = hostlist::expand(text) {
        assert!(hosts.len() <= MAX_HOSTS);
    }
    let _ = (hostlist::items(text), hostlist::expand_one(text), hostlist::bracketed_address(text));
});
