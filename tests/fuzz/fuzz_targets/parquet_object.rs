//! Any bytes as an object of Parquet: rows or an error.
#![no_main]

use archive::decode::{Filter, ObjectReader};
use archive::{AgentId, Encoding, Hour, Incarnation, ObjectKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|object: Vec<u8>| {
    let key = ObjectKey::new(
        "aa",
        Hour::from_number(0),
        AgentId(1),
        Incarnation(1),
        1,
        Encoding::Parquet,
    );
    let key = key.expect("a key");
    if let Ok(rows) = ObjectReader::new(&key, object.into(), Filter::default()) {
        rows.take_while(Result::is_ok).for_each(drop);
    }
});
