//! Any bytes as what a Mesos agent answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shipper::identity::AgentState;

fuzz_target!(|json: &[u8]| {
    let _ = AgentState::parse(json, &["git_sha".to_owned()]);
});
