//! Any text as the agent's configuration. An error names a place in it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use shipper::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("shipper.toml"), "host1") {
        let message = error.to_string();
        assert!(message.starts_with("shipper.toml"), "{message}");
    }
});
