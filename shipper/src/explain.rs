//! What the agent would do with a file, and what its configuration cannot do here, as data: for `shipper explain` and `shipper
//! validate`. Nothing is changed by asking, and a running agent is not disturbed.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::AgentId;
use joblog::sandbox::{LogFile, RunDir};

use crate::beneath::{Beneath, NotOpened};
use crate::config::Config;
use crate::file_id::{FileStat, Src};
use crate::identity::{AgentState, TaskIdentity};
use crate::rules::{MESOS_RULE, Owner, Refused, Rules, WalkId};

/// The right to read what the files' modes keep from us, as a bit of the kernel's sets.
const CAP_DAC_READ_SEARCH: u32 = 2;

/// The right to link files of others where the system protects them.
const CAP_FOWNER: u32 = 3;

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The rule that takes it, how messages call it.
    pub rule: Arc<str>,
    /// Whose it is, by all that can be found out.
    pub owner: Owner,
    /// The folder beneath which it is opened.
    pub root: PathBuf,
    /// What it is like, or why it cannot be opened.
    pub file: Result<FileStat, NotOpened>,
    /// Its name in the archive, if the agent's id and the file's birth time are known.
    pub src: Option<Src>,
    /// The key of the objects that its rows go to; what is not the same for all stands in `<…>`.
    pub key: String,
}

/// Which rule takes a file, which job it is of, and where its rows go; or why none takes it.
pub fn explain(
    rules: &Rules,
    path: &Path,
    agent: Option<AgentId>,
    state: Option<&AgentState>,
) -> Result<Explained, Refused> {
    let taken = rules.take(path)?;
    let config = rules.config();
    let mut owner = taken.owner;
    let root = Beneath::open(&taken.root);
    let below = path.strip_prefix(&taken.root).unwrap_or(path);
    if let (WalkId::Mesos, Ok(work_dir)) = (taken.walk, &root)
        && let Some(run_dir) = owner.run_dir.clone()
        && let Some((dir, file)) = RunDir::parse(path.as_os_str().as_bytes())
        && let Some(log) = LogFile::parse(file)
    {
        let relative = run_dir.strip_prefix(&taken.root).unwrap_or(&run_dir);
        let labels = &config.ids.git_sha_labels;
        let task = TaskIdentity::recorded(work_dir, relative, dir.executor, labels)
            .or_else(|| state?.of_container(dir.container).cloned());
        if let Some(task) = task {
            owner = rules.owner_in_sandbox(&task, &log, run_dir);
        }
    }
    let file = root.and_then(|root| root.file(below)).map(|(_, stat)| stat);
    let src = match (agent, &file) {
        (Some(agent), Ok(stat)) if stat.id.birth_ns.is_some() => Some(stat.id.src(agent, 0)),
        _ => None,
    };
    let agent = agent.map_or_else(|| "<agent>".to_owned(), |agent| agent.to_string());
    Ok(Explained {
        rule: taken.rule,
        key: format!(
            "logs/v1/cluster={}/dh=<hour>/{agent}~<incarnation>~<number>.{}",
            owner.cluster,
            config.encoding.extension()
        ),
        owner,
        root: taken.root,
        file,
        src,
    })
}

/// Something about this host that keeps the configuration from doing what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// What is the matter, and what to do about it.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weight {
    /// The agent would not start, or keep nothing of a rule.
    Error,
    /// It keeps less well than it could.
    Warning,
}

/// What this host has against a configuration. Asked without the archive, and without taking the spool's lock.
pub fn validate(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |weight, text: String| findings.push(Finding { weight, text });
    let mut spools = Vec::new();
    for folder in config.spool.folders.iter().chain([&config.state.folder]) {
        let there = folder
            .ancestors()
            .find(|path| path.is_dir())
            .unwrap_or(Path::new("/"));
        match Beneath::open(there).and_then(|opened| opened.stat()) {
            Ok(on) if config.spool.folders.contains(folder) => spools.push((folder, on)),
            Ok(_) => {}
            Err(error) => find(Weight::Error, format!("{}: {error}", folder.display())),
        }
    }
    let mut roots: Vec<(PathBuf, String)> = Vec::new();
    if let Some(mesos) = &config.mesos {
        roots.push((mesos.work_dir.join("slaves"), MESOS_RULE.to_owned()));
    }
    for rule in &config.files {
        roots.extend(
            rule.paths
                .iter()
                .map(|path| (path.root().to_owned(), rule.name.clone())),
        );
    }
    roots.dedup();
    for (root, rule) in &roots {
        let name = root.display();
        let opened = match Beneath::open(root) {
            Ok(opened) => opened,
            Err(NotOpened::Gone) => {
                find(
                    Weight::Warning,
                    format!("rule `{rule}`: {name} is not there (yet)"),
                );
                continue;
            }
            Err(error) => {
                find(Weight::Error, format!("rule `{rule}`: {name}: {error}"));
                continue;
            }
        };
        if let Err(error) = opened.folder(Path::new("")) {
            let text = format!(
                "rule `{rule}`: {name} cannot be listed: {error}; the agent needs root or CAP_DAC_READ_SEARCH"
            );
            find(Weight::Error, text);
        }
        let Ok(on) = opened.stat() else { continue };
        if !spools
            .iter()
            .any(|(_, spool)| spool.dev == on.dev && same_mount(spool.mount, on.mount))
        {
            let text = format!(
                "rule `{rule}`: no folder of [spool] folders is on the mount of {name}: its files cannot be pinned by \
                 links, and one that is removed while the agent does not run is lost; add a folder there"
            );
            find(Weight::Warning, text);
        }
    }
    let protected =
        fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() != "0");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if protected && !has_capability(&status, CAP_FOWNER) {
        find(
            Weight::Warning,
            "the system protects hard links, and the agent has no CAP_FOWNER: files of other users cannot be pinned by links"
                .to_owned(),
        );
    }
    if config.mesos.is_some() && !has_capability(&status, CAP_DAC_READ_SEARCH) {
        find(
            Weight::Warning,
            "the agent has no CAP_DAC_READ_SEARCH: sandboxes of other users cannot be read"
                .to_owned(),
        );
    }
    findings
}

/// Whether a folder and a file on it are on one mount, as far as the kernel tells.
fn same_mount(one: Option<u64>, two: Option<u64>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one == two,
        _ => true,
    }
}

/// Whether the effective set of `/proc/self/status` has a capability.
fn has_capability(status: &str, number: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|set| set & (1 << number) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Certainty;

    fn config(folder: &Path) -> Config {
        let text = format!(
            r#"
            archive = "file:///archive"
            cluster = "aa"
            [spool]
            folders = ["{0}/spool"]
            [state]
            folder = "{0}/state"
            [mesos]
            work_dir = "{0}/mesos"
            [[files]]
            name = "proc"
            paths = ["/proc/*"]
            job = "bb/a/b/c"
            "#,
            folder.display()
        );
        Config::parse(&text, Path::new("c.toml"), "node7").expect("a configuration")
    }

    #[test]
    fn a_file_is_explained() {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = Rules::new(Arc::new(config(folder.path())));
        let uuid = "8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22";
        let executor = format!("thermos-web-prod-hello-3-{uuid}");
        let run = format!("mesos/slaves/S/frameworks/F/executors/{executor}/runs/c");
        let path = folder.path().join(run).join("stdout");
        let got = explain(&rules, &path, None, None).expect("a rule");
        assert_eq!((got.file, got.src), (Err(NotOpened::Gone), None));
        assert_eq!(got.owner.certainty, Certainty::TaskId);
        assert_eq!(
            got.key,
            "logs/v1/cluster=aa/dh=<hour>/<agent>~<incarnation>~<number>.parquet"
        );
        fs::create_dir_all(path.parent().expect("a parent")).expect("to create");
        fs::write(&path, "line\n").expect("to write");
        let json = format!(
            r#"{{"frameworks":[{{"executors":[{{"id":"{executor}","container":"c","tasks":[{{"id":"{}","name":"w/e/j"}}]}}]}}]}}"#,
            &executor["thermos-".len()..]
        );
        let state = AgentState::parse(json.as_bytes(), &[]).expect("a state");
        let got = explain(&rules, &path, Some(AgentId(255)), Some(&state)).expect("a rule");
        assert_eq!(got.owner.certainty, Certainty::AgentState);
        assert_eq!(got.owner.origin.job.as_deref(), Some("j"));
        let stat = got.file.expect("a file");
        assert_eq!(stat.size, 5);
        assert_eq!(got.src.is_some(), stat.id.birth_ns.is_some());
        assert!(got.key.contains("/00000000000000ff~"), "{}", got.key);
        assert!(explain(&rules, Path::new("/etc/passwd"), None, None).is_err());
    }

    #[test]
    fn a_host_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let texts = |config: &Config| -> Vec<String> {
            validate(config)
                .into_iter()
                .map(|finding| finding.text)
                .collect()
        };
        let before = texts(&config);
        assert!(
            before
                .iter()
                .any(|text| text.contains("slaves is not there (yet)")),
            "{before:?}"
        );
        assert!(
            before
                .iter()
                .any(|text| text.contains("is on the mount of /proc")),
            "{before:?}"
        );
        fs::create_dir_all(folder.path().join("mesos/slaves")).expect("to create");
        let after = texts(&config);
        assert!(
            !after.iter().any(|text| text.contains("`mesos`")),
            "{after:?}"
        );
        assert!(
            !folder.path().join("spool").exists(),
            "nothing is made by asking"
        );
    }

    #[test]
    fn capabilities() {
        let status = "Name:\tx\nCapEff:\t000000000000000c\n";
        assert!(has_capability(status, CAP_FOWNER));
        assert!(has_capability(status, CAP_DAC_READ_SEARCH));
        assert!(!has_capability("CapEff:\t0000000000000004\n", CAP_FOWNER));
        assert!(!has_capability("", CAP_FOWNER));
    }
}
