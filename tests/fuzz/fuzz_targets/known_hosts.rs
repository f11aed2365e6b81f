//! Any bytes as a `known_hosts` file, and as a key's blob. What is written must be found again.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tailll::known_hosts::{HostKey, HostName, KnownHosts, NameForm, Verdict, new_line};

fuzz_target!(|data: (&[u8], &str, u16)| {
    let (bytes, name, port) = data;
    let host = HostName { name, port, alias: None };
    let known = KnownHosts::parse(Path::new("known_hosts"), bytes);
    let keys = known.host(&host);
    let _ = (keys.authorities(), keys.algorithms());
    let Ok(key) = HostKey::from_blob(bytes) else { return };
    let verdict = keys.check(&key);
    let _ = verdict.refusal(&host, &key, "ssh h");
    assert!(verdict != Verdict::Known || keys.revocation(&key).is_none() || port != 22);
    let form = NameForm::Hashed { salt: [1; 20] };
    if let (Ok(plain), Ok(hashed)) = (new_line(&host, &key, NameForm::Plain), new_line(&host, &key, form)) {
        for line in [plain, hashed] {
            let written = KnownHosts::parse(Path::new("known_hosts"), line.as_bytes());
            assert!(written.problems().len() == 1 || written.check(&host, &key) == Verdict::Known);
        }
    }
});
