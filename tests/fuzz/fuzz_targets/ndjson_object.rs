//! Any text, packed, as an object of NDJSON: every line becomes a row or is counted as damaged.
#![no_main]

use std::io::Write as _;

use archive::decode::{Filter, ObjectReader};
use archive::{AgentId, Encoding, Hour, Incarnation, ObjectKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let key = ObjectKey::new(
        "aa",
        Hour::from_number(0),
        AgentId(1),
        Incarnation(1),
        1,
        Encoding::Ndjson,
    );
    let key = key.expect("a key");
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packer.write_all(text).expect("packed");
    let object = packer.finish().expect("packed");
    if let Ok(rows) = ObjectReader::new(&key, object.into(), Filter::default()) {
        // Damage goes on for as long as the object does.
        rows.take(text.len() + 1).for_each(drop);
    }
});
