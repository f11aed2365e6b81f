//! Any bytes as a JSON line. What is handed out is part of the line and whole in itself, and it is found again by its key.
#![no_main]

use joblog::json::{Value, find, walk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &str)| {
    let (line, path) = data;
    let mut first = true;
    let whole = walk(line, |key, value| {
        let decoded = key.decode();
        if first {
            assert!(find(line, &decoded).is_some());
        }
        first = false;
        match value {
            Value::Text(text) => assert!(text.is(&text.decode()) || text.decode().contains('\u{fffd}')),
            Value::Object(inner) => assert!(walk(inner, |_, _| {}).is_ok()),
            Value::Number(_) | Value::Bool(_) | Value::Null | Value::Array(_) => {}
        }
    });
    assert_eq!(whole, walk(line, |_, _| {}));
    let _ = find(line, path);
});
