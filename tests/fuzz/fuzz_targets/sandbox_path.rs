//! Any bytes as a path. One that has the form means the same when it is put together and read again.
#![no_main]

use joblog::sandbox::{self, RunDir};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    if let Some((dir, _)) = RunDir::parse(path) {
        let _ = (dir.task_id(sandbox::THERMOS_PREFIX), dir.task_id(""));
    }
    if let Some((dir, file)) = sandbox::parse(path) {
        let joined = dir.join(&file);
        assert_eq!(sandbox::parse(&joined), Some((dir, file)));
    }
});
