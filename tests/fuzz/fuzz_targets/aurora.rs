//! Any bytes as a scheduler's answer, in both dialects. What cannot be read is an error that names the scheduler.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::{aurora, config};

fuzz_target!(|answer: &[u8]| {
    let uri = config::parse_uri("http://scheduler.example.com/apibeta").expect("an address");
    for read in [aurora::tasks_of_answer, aurora::tasks_of_thrift] {
        if let Err(error) = read("aa", &uri, answer) {
            assert!(error.to_string().contains("scheduler.example.com"));
        }
    }
});
