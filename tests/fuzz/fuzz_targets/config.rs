//! Any text as the configuration file. An error names a place in it, on one line.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tailll::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("config.toml"), Some(Path::new("/home/me"))) {
        let message = error.to_string();
        assert!(message.starts_with("config.toml:"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
});
