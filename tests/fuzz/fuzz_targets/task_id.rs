//! Any text as a task id, and one that is built as one that is read.
#![no_main]

use joblog::{JobKey, TaskId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &str, u32)| {
    let (text, key, instance) = data;
    if let Ok(id) = TaskId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!(text.contains(id.uuid()));
    }
    if let Ok(key) = key.parse::<JobKey>()
        && let Ok(id) = TaskId::build(&key, instance, "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22")
    {
        assert_eq!(id.instance(), instance);
        assert!(id.matches(&key));
        assert_eq!(TaskId::parse(id.as_str()).as_ref(), Ok(&id));
    }
});
