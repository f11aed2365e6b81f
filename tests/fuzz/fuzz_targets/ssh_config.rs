//! Any bytes as an `ssh_config` for our own parser; an `Include` brings the same bytes again.
#![no_main]

use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use tailll::ssh_config::own::OwnConfig;
use tailll::ssh_config::{LocalFacts, Wanted};

/// How many files one input may include: the real limit lies in `OwnConfig::load`.
const MAX_INCLUDED: usize = 20;

fuzz_target!(|data: &[u8]| {
    let facts = LocalFacts {
        home: "/home/me".into(),
        user: "me".into(),
        uid: 1,
        host: "box".into(),
        environment: Default::default(),
    };
    let mut left = MAX_INCLUDED;
    let mut include = |_: &str| {
        left = left.saturating_sub(1);
        Ok(if left == 0 { Vec::new() } else { vec![(PathBuf::from("again"), data.to_vec())] })
    };
    if let Ok(config) = OwnConfig::parse(Path::new("config"), data, &mut include) {
        let _ = config.resolve(&Wanted { host: "foo", user: None, port: None }, &facts);
    }
});
