use std::path::PathBuf;

use super::*;

fn surroundings() -> Surroundings {
    Surroundings {
        host: "node7".to_owned(),
        columns: None,
        viewer: Viewer::Nobody,
        wall_ns: || 1_795_485_600_000_000_000,
    }
}

/// How a command line ends, and what it prints.
struct Done {
    exit: Exit,
    out: String,
    err: String,
}

fn shipper(words: &[&str]) -> Done {
    let typed: Vec<OsString> = std::iter::once("shipper")
        .chain(words.iter().copied())
        .map(Into::into)
        .collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run(&typed, &surroundings(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Done {
        exit,
        out: text(out),
        err: text(err),
    }
}

struct Host {
    folder: tempfile::TempDir,
    config: String,
}

impl Host {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display();
        let text = format!(
            "archive = \"file://{path}/archive\"\ncluster = \"aa\"\n[spool]\nfolders = [\"{path}/spool\"]\n[state]\n\
             folder = \"{path}/state\"\n[[files]]\nname = \"web\"\npaths = [\"{path}/log/*/a.log\"]\n\
             job = \"{{cluster}}/web/prod/{{1}}\"\n{more}"
        );
        let config = folder.path().join("shipper.toml");
        fs::create_dir_all(folder.path().join("log/hello")).expect("to create");
        fs::write(&config, text).expect("to write");
        Self {
            config: config.display().to_string(),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shipper(&self, words: &[&str]) -> Done {
        let mut all = vec!["--config", &self.config];
        all.extend(words);
        shipper(&all)
    }
}

#[test]
fn help_is_data_and_wrong_usage_is_talk() {
    let done = shipper(&["--help"]);
    assert_eq!(done.exit, Exit::Success);
    assert!(done.out.contains("Exit codes:") && done.err.is_empty());
    let done = shipper(&["--version"]);
    assert_eq!(done.exit, Exit::Success);
    assert!(done.out.starts_with("shipper "), "{}", done.out);
    let done = shipper(&["explain"]);
    assert_eq!(done.exit, Exit::Usage);
    assert!(done.out.is_empty() && done.err.contains("PATH"));
}

#[test]
fn a_configuration_that_is_wrong_or_missing_is_named() {
    let done = shipper(&["--config", "/nowhere/c.toml", "validate"]);
    assert_eq!(done.exit, Exit::Usage);
    assert!(done.err.contains("/nowhere/c.toml"), "{}", done.err);
    assert!(done.err.contains("hint: "), "{}", done.err);
    let host = Host::new("colour = \"red\"\n");
    let done = host.shipper(&["validate"]);
    assert_eq!(done.exit, Exit::Usage);
    assert!(done.err.contains("shipper.toml:") && done.err.contains("colour"));
}

#[test]
fn a_host_is_validated_and_left_as_it_is() {
    let host = Host::new("");
    let before = names(host.folder.path());
    let done = host.shipper(&["validate"]);
    assert_eq!(done.exit, Exit::Success, "{}", done.out);
    assert!(done.out.contains("shipper.toml: good"), "{}", done.out);
    assert_eq!(names(host.folder.path()), before);
    // A root that is no folder keeps its rule from keeping anything.
    fs::remove_dir_all(host.path("log")).expect("to remove");
    fs::write(host.path("log"), "a file").expect("to write");
    let done = host.shipper(&["validate"]);
    assert_eq!(done.exit, Exit::Partial, "{}", done.out);
    assert!(done.out.starts_with("error: rule `web`"), "{}", done.out);
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<PathBuf> = entries.map(|one| one.expect("an entry").path()).collect();
    names.sort();
    names
}

#[test]
fn what_the_redactor_refuses_is_found_before_the_agent_starts() {
    let host = Host::new("");
    let file = Path::new(&host.config);
    let mut config = Config::load(file, "node7").expect("a configuration");
    let found = |config: &Config| {
        let findings = validate(config).into_iter();
        let errors = findings.filter(|finding| finding.weight == Weight::Error);
        errors.map(|finding| finding.text).collect::<Vec<_>>()
    };
    assert_eq!(found(&config), Vec::<String>::new());
    config.redact.push(crate::config::Redact {
        name: "card".to_owned(),
        pattern: "[0-9]{13}".to_owned(),
        mask: "x".repeat(crate::redact::MAX_MASK_BYTES + 1),
    });
    let errors = found(&config);
    assert!(
        matches!(&errors[..], [one] if one.starts_with("[[redact]]: ")),
        "{errors:?}"
    );
    // The configuration knows the limit, too, and names the line.
    let mask = "x".repeat(crate::redact::MAX_MASK_BYTES + 1);
    let host = Host::new(&format!(
        "[[redact]]\nname = \"card\"\npattern = \"[0-9]{{13}}\"\nmask = \"{mask}\"\n"
    ));
    let done = host.shipper(&["validate"]);
    assert_eq!(done.exit, Exit::Usage, "{}{}", done.out, done.err);
    assert!(done.err.contains("mask: "), "{}", done.err);
}

#[test]
fn a_file_is_explained_with_the_agents_id() {
    let host = Host::new("");
    let path = host.path("log/hello/a.log");
    fs::write(&path, "line\n").expect("to write");
    let path = path.display().to_string();
    let done = host.shipper(&["explain", &path]);
    assert_eq!(done.exit, Exit::Success, "{}", done.err);
    assert!(done.out.contains("aa/web/prod/hello"), "{}", done.out);
    assert!(done.out.contains("<agent>~"), "{}", done.out);
    let folders = [host.path("spool")];
    let (spool, _) = spool::Spool::open(&folders, "machine", &mut || 255).expect("a spool");
    // An agent holds the spool meanwhile.
    let done = host.shipper(&["explain", "-o", "json", &path]);
    assert!(done.out.contains("/00000000000000ff~"), "{}", done.out);
    drop(spool);
    let done = host.shipper(&["explain", "/etc/passwd"]);
    assert_eq!(done.exit, Exit::Partial);
    assert!(done.out.contains("no rule takes it"), "{}", done.out);
}

#[test]
fn what_waits_is_told_with_its_age() {
    let host = Host::new("");
    let path = host.path("log/hello/a.log");
    fs::write(&path, "2026-11-24 01:00:00 INFO first\n").expect("to write");
    assert_eq!(host.shipper(&["once"]).exit, Exit::Success);
    let row = || -> serde_json::Value {
        let done = host.shipper(&["ls", "-o", "json"]);
        assert_eq!(done.exit, Exit::Success, "{}", done.err);
        serde_json::from_str(&done.out).expect("an object")
    };
    assert_eq!(row()["behind"], 0);
    assert_eq!(row()["behind_since"], serde_json::Value::Null);
    let append = |text: &str| {
        let mut file = fs::File::options()
            .append(true)
            .open(&path)
            .expect("to open");
        file.write_all(text.as_bytes()).expect("to write");
    };
    let now = jiff::Timestamp::from_nanosecond(i128::from((Surroundings::of_process().wall_ns)()))
        .expect("a time")
        - jiff::SignedDuration::from_mins(7);
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    append(&format!("{now} INFO second\n"));
    append("2026-11-24 01:00:00 INFO third\n");
    assert_eq!(
        row()["behind_since"],
        now.as_str(),
        "the first line's own time"
    );
    assert!(row()["behind"].as_u64() > Some(0));
    let table = host.shipper(&["ls"]).out;
    assert!(table.contains("the oldest for "), "{table}");
}

#[test]
fn an_audit_and_a_recovery_draw_nothing_where_nobody_looks() {
    let host = Host::new("");
    fs::write(host.path("log/hello/a.log"), "line\n").expect("to write");
    assert_eq!(host.shipper(&["once"]).exit, Exit::Success);
    for words in [&["audit"][..], &["recover", "--dry-run"]] {
        let done = host.shipper(words);
        assert_eq!(
            (done.exit, done.err.as_str()),
            (Exit::Success, ""),
            "{words:?}"
        );
    }
}

#[test]
fn costs_are_told_without_a_configuration() {
    let done = shipper(&["--config", "/nowhere", "explain", "--cost"]);
    assert_eq!(done.exit, Exit::Success, "{}", done.err);
    assert!(done.out.contains("50.40 $"), "{}", done.out);
}

/// A stream whose reader has left.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    for words in [
        &["shipper", "--help"][..],
        &["shipper", "explain", "--cost"],
    ] {
        let typed: Vec<OsString> = words.iter().map(Into::into).collect();
        let mut err = Vec::new();
        let exit = run(&typed, &surroundings(), &mut Gone, &mut err);
        assert_eq!((exit, err.len()), (Exit::Success, 0), "{words:?}");
    }
}

#[test]
fn the_process_has_surroundings() {
    let surroundings = Surroundings::of_process();
    assert!(!surroundings.host.is_empty());
    assert!((surroundings.wall_ns)() > 1_700_000_000_000_000_000);
}
