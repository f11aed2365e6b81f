//! Any text as the configuration of `queries`. An error names the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use queries::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("config.toml")) {
        let message = error.to_string();
        assert!(message.starts_with("config.toml"), "{message}");
    }
});
