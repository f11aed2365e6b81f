//! Any bytes as Aurora's list of clusters, beside a configuration of ours. What cannot be used is a note that names the file.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tailll::clusters_json::ClustersJson;
use tailll::config::Config;

fuzz_target!(|text: &[u8]| {
    let mut clusters = ClustersJson::default();
    clusters.add(text, Path::new("clusters.json"));
    for note in &clusters.notes {
        assert!(note.starts_with("clusters.json"), "{note}");
        assert!(!note.contains('\n'), "{note}");
    }
    // Whatever it says, it spoils nothing of ours.
    Config::parse_with("", Path::new("config.toml"), None, &clusters).expect("an empty file");
});
