//! Any text as a target. One that is good means the same when it is shown and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::target::{self, Target};

fuzz_target!(|text: &str| {
    match text.parse::<Target>() {
        Ok(target) => assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(&target)),
        Err(error) => assert!(!error.to_string().contains('\u{1b}')),
    }
    let _ = target::parse_logins(text);
});
