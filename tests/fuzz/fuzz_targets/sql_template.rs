//! Any text as SQL with holes: it is cut without loss, and a hole in quotes is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use queries::sql_text::{literal, stretches};
use queries::template::Template;

fuzz_target!(|sql: &str| {
    let mut at = 0;
    for (_, range) in stretches(sql) {
        assert_eq!(range.start, at);
        at = range.end;
    }
    assert_eq!(at, sql.len());
    let _ = Template::parse(sql);
    let quoted = Template::parse(&literal(sql)).expect("a literal has no holes");
    assert_eq!(quoted.holes().count(), 0);
});
