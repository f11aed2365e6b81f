use proptest::prelude::*;

use super::*;

const LEAST: &str = "archive = \"s3://logs/prefix\"\ncluster = \"aa\"\n[mesos]\n";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("shipper.toml"), "node7")
}

/// What is wrong with a text.
fn complaint(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn everything_else_has_a_default() {
    let config = read(LEAST).expect("a configuration");
    assert_eq!(config.archive.to_string(), "s3://logs/prefix");
    assert_eq!(
        (config.cluster.as_str(), config.host.as_str()),
        ("aa", "node7")
    );
    assert_eq!(config.encoding, Encoding::Parquet);
    assert_eq!(config.flush, Duration::from_mins(5));
    assert_eq!(config.batch_bytes, 64 << 20);
    assert_eq!(config.state.folder, Path::new("/var/lib/shipper/state"));
    assert_eq!(config.spool.folders, [Path::new("/var/lib/shipper/spool")]);
    let mesos = config.mesos.expect("a rule");
    assert_eq!(mesos.work_dir, Path::new("/var/lib/mesos"));
    assert_eq!(
        (mesos.agent_url, mesos.executor_output),
        (None, ExecutorOutput::Kept)
    );
    assert_eq!((config.metrics, config.redact), (None, Vec::new()));
    assert!(config.ids.request_names.contains(&"request_id".to_owned()));
}

/// The page for people has every key, and what it shows as an example can be read.
#[test]
fn the_page_shows_every_key() {
    let page = include_str!("../../../docs/shipper.md");
    let example = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example in the page");
    let config = read(example).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.files.len(), 1);
    assert_eq!(config.redact.len(), 1);
    // What a wrong key's error lists as allowed is what there is.
    for (section, head) in [
        ("", ""),
        ("state", "[state]\n"),
        ("spool", "[spool]\n"),
        ("mesos", "[mesos]\n"),
        ("files", "[[files]]\n"),
        ("ids", "[ids]\n"),
        ("redact", "[[redact]]\n"),
        ("metrics", "[metrics]\n"),
        ("s3", "[s3]\n"),
    ] {
        let error = complaint(&format!("{head}nothing = 1\n"));
        let (_, keys) = error
            .split_once("expected one of ")
            .or(error.split_once("expected "))
            .expect(&error);
        for key in keys.split(", ").map(|key| key.trim_matches('`')) {
            let written = page.contains(&format!("`{key}`"))
                || example.contains(&format!("{key} = "))
                || example.contains(&format!("[{key}]"));
            assert!(
                written,
                "docs/shipper.md does not speak of `{key}` of [{section}]"
            );
        }
    }
}

#[test]
fn errors_name_place_key_and_what_is_allowed() {
    let files = |rest: &str| {
        format!("archive = \"file:///a\"\ncluster = \"aa\"\n[[files]]\npaths = [\"/l/*\"]\n{rest}")
    };
    let top = |line: &str| format!("{line}\n{LEAST}");
    let under = |rest: &str| format!("{LEAST}{rest}");
    let cases = [
        String::new(),
        "archive = \"s3://b/p\"".to_owned(),
        "archive = \"s3://bkt/p\"\ncluster = \"aa\"".to_owned(),
        "archive = \"http://b\"\ncluster = \"aa\"\n[mesos]".to_owned(),
        "archive = \"s3://bkt\"\ncluster = \"a b\"\n[mesos]".to_owned(),
        top("flush = 3"),
        top("flush_seconds = 0"),
        top("flush_seconds = \"5\""),
        top("flush_seconds = -1"),
        top("encoding = \"avro\""),
        top("host = \"a b\""),
        top("batch_megabytes = 1024") + "[state]\nstaging_megabytes = 100",
        under("work_dir = \"mesos\""),
        under("agent_url = \"http://10.0.0.1:5051\""),
        under("agent_url = \"https://127.0.0.1:5051\""),
        under("timezone = \"Europe/Nowhere\""),
        under("exclude = [\"*.gz\"]"),
        under("[spool]\nfolders = []"),
        under("[spool]\nfolders = [\"/a\", \"/a/\"]"),
        under("[spool]\nfolders = [\"/var/lib/mesos/slaves/x\"]"),
        under("[spool]\ncap_percent = 99"),
        under("[metrics]\nlisten = \"0.0.0.0:9640\""),
        under("[metrics]\nlisten = \"9640\""),
        under("[s3]\nendpoint = \"minio\""),
        under("[s3]\nbucket = \"x\""),
        under("[ids]\nrequest_patterns = [\"req=[0-9]+\"]"),
        under("[ids]\nrequest_patterns = [\"req=(\"]"),
        under("[ids]\ntrace_names = [\"a=b\"]"),
        under("[[redact]]\nname = \"card\""),
        under("[[redact]]\nname = \"card\"\npattern = \"[0-9]*\""),
        under("[[redact]]\nname = \"card\"\npattern = \"(a{1000}){1000}\""),
        under(
            "[[redact]]\nname = \"a\"\npattern = \"a\"\n[[redact]]\nname = \"a\"\npattern = \"b\"",
        ),
        files(""),
        files("job = \"web/prod/x\""),
        files("job = \"{cluster}/web/prod/{2}\""),
        files("job = \"{cluster}/web/prod/{job}\""),
        files("job = \"{cluster}/web/prod/x\"\ninstance = \"{3}\""),
        files("job = \"{cluster}/web/prod/x\"\ninstance = true"),
        files("job = \"{cluster}/web/prod/x\"\nname = \"mesos\""),
        "archive = \"file:///a\"\ncluster = \"aa\"\n[[files]]\njob = \"{cluster}/a/b/c\""
            .to_owned(),
        "archive = ".to_owned(),
    ];
    let shown: Vec<String> = cases.iter().map(|text| complaint(text)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn values_arrive() {
    let config = read(
        r#"
        archive = "file:///srv/archive"
        cluster = "aa"
        host = "web01"
        encoding = "ndjson"
        flush_seconds = 60
        batch_megabytes = 16
        max_line_bytes = 4096
        [spool]
        folders = ["/data/spool/", "/spool"]
        cap_megabytes = 100
        cap_percent = 5
        [mesos]
        work_dir = "/data/mesos/"
        agent_url = "http://127.0.0.1:5051"
        executor_output = false
        [[files]]
        paths = ["/l/*/*.log"]
        job = "{cluster}/web/prod/{1}"
        instance = 7
        [metrics]
        listen = "[::1]:9640"
        "#,
    )
    .expect("a configuration");
    assert_eq!(
        (config.host.as_str(), config.encoding),
        ("web01", Encoding::Ndjson)
    );
    assert_eq!(
        config.spool.folders,
        [Path::new("/data/spool"), Path::new("/spool")]
    );
    assert_eq!(config.spool.folders[0].as_os_str(), "/data/spool");
    assert_eq!(config.files[0].name, "files[1]");
    assert_eq!(config.files[0].instance.to_string(), "7");
    let mesos = config.mesos.expect("a rule");
    assert_eq!(mesos.work_dir.as_os_str(), "/data/mesos");
    assert_eq!(mesos.executor_output, ExecutorOutput::Left);
    assert_eq!(config.spool.cap.on(1 << 40), 100 << 20);
    assert_eq!(config.spool.cap.on(1 << 30), (1 << 30) / 20);
    assert_eq!(
        Cap {
            bytes: None,
            percent: 90
        }
        .on(u64::MAX),
        u64::MAX / 10 * 9 + 4
    );
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    assert!(matches!(
        Config::load(&path, "h"),
        Err(ConfigError::Read { .. })
    ));
    std::fs::write(&path, LEAST).expect("to write");
    assert!(Config::load(&path, "h").is_ok());
    std::fs::write(&path, "#".repeat(MAX_CONFIG_BYTES as usize + 1)).expect("to write");
    assert!(matches!(
        Config::load(&path, "h"),
        Err(ConfigError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn nothing_panics(text: String, cut: prop::sample::Index) {
        let _ = read(&text);
        let _ = read(&format!("{LEAST}{text}"));
        let page = include_str!("../../../docs/shipper.md");
        let at = page.floor_char_boundary(cut.index(page.len()));
        let _ = read(&page[..at]);
    }
}
