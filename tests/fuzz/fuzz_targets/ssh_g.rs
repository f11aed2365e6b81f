//! Any bytes as the output of `ssh -G`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::ssh_config::{LocalFacts, Wanted, ssh_g};

fuzz_target!(|data: &[u8]| {
    let facts = LocalFacts {
        home: "/home/me".into(),
        user: "me".into(),
        uid: 1,
        host: "box".into(),
        environment: Default::default(),
    };
    let _ = ssh_g::parse(data, &ssh_g::Defaults::parse(data), &Wanted { host: "foo", user: None, port: None }, &facts);
});
