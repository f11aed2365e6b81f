//! Any bytes as an agent's checkpoint: by the one who recovers with it, and by the one who reads the archive.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let recovered = shipper::checkpoint::Checkpoint::decode(bytes);
    let read = archive::checkpoint::Standing::read(bytes);
    assert!(recovered.is_err() || read.is_ok());
});
