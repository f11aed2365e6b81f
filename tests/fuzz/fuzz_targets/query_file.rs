//! Any text as a query's file. What is wrong is said with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use queries::query::{Origin, Query};

fuzz_target!(|text: &str| {
    let _ = Query::parse(text, "query", Origin::BuiltIn);
});
