//! Any bytes as a host's listing of its folders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailll::chain::Layout;
use tailll::instance::Files;
use tailll::remote::parse_listing;

fuzz_target!(|data: (&[u8], &str)| {
    let (answer, pattern) = data;
    let listing = parse_listing(answer);
    let sandbox = Files::Sandbox {
        slave_root: "/var/lib/mesos".into(),
        run_directory: "latest".into(),
        task_id: "task".into(),
    };
    for files in [sandbox, Files::Globs(vec![pattern.to_owned()])] {
        if let Ok(layout) = Layout::new(&files) {
            assert!(layout.links(&listing).len() <= listing.files.len());
        }
    }
});
