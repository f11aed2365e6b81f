//! Any text as what a person types beside a question: a job's pattern, a time, a place, a path into JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use queries::job_pattern::JobPattern;
use queries::json_path::JsonPath;
use queries::moment::Moment;
use queries::place::Place;
use queries::sql_text::is_several;

fuzz_target!(|text: &str| {
    if let Ok(pattern) = text.parse::<JobPattern>() {
        assert!(!is_several(&pattern.predicate()), "{}", pattern.predicate());
        assert_eq!(
            pattern.to_string().parse::<JobPattern>().as_ref(),
            Ok(&pattern)
        );
    }
    if let Ok(path) = text.parse::<JsonPath>() {
        assert_eq!(path.to_string().parse::<JsonPath>().as_ref(), Ok(&path));
    }
    let _ = text.parse::<Moment>();
    let _ = text.parse::<Place>();
});
