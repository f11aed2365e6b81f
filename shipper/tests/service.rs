//! What the service's files promise: few rights, and one mount for sandboxes and spool.

use std::path::Path;

use shipper::config::Config;

const UNIT: &str = include_str!("../systemd/shipper.service");
const USERS: &str = include_str!("../systemd/shipper.sysusers");
const CONFIG: &str = include_str!("../systemd/shipper.toml");

/// All values that are given to a key, in order.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

/// The only value of a key.
fn value(key: &str) -> &'static str {
    match values(key)[..] {
        [value] => value,
        ref values => panic!("{key} has {} values", values.len()),
    }
}

fn config() -> Config {
    Config::parse(CONFIG, Path::new("shipper.toml"), "node7").expect("a configuration")
}

#[test]
fn it_runs_with_two_rights_and_as_its_own_user() {
    let user = value("User");
    assert_ne!(user, "root");
    assert_eq!(value("Group"), user);
    assert!(
        USERS
            .lines()
            .any(|line| line.starts_with(&format!("u {user} "))),
        "the package makes the user"
    );
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let mut rights: Vec<&str> = value(key).split(' ').collect();
        rights.sort_unstable();
        assert_eq!(rights, ["CAP_DAC_READ_SEARCH", "CAP_FOWNER"], "{key}");
    }
    for key in [
        "NoNewPrivileges",
        "PrivateDevices",
        "ProtectKernelTunables",
        "RestrictSUIDSGID",
        "MemoryDenyWriteExecute",
    ] {
        assert_eq!(value(key), "yes", "{key}");
    }
    // What CAP_FOWNER would allow beside links.
    let filters = values("SystemCallFilter");
    assert_eq!(filters.first(), Some(&"@system-service"));
    let refused: Vec<&str> = filters
        .iter()
        .filter_map(|filter| filter.strip_prefix('~'))
        .flat_map(|filter| filter.split(' '))
        .collect();
    for call in ["@chown", "chmod", "fchmod", "fchmodat", "fchmodat2"] {
        assert!(refused.contains(&call), "{call}: {refused:?}");
    }
    // Only one command is root's, and it makes the spool's folder.
    let commands: Vec<&str> = ["ExecStartPre", "ExecStart", "ExecReload"]
        .into_iter()
        .flat_map(values)
        .collect();
    let of_root: Vec<&&str> = commands
        .iter()
        .filter(|command| command.starts_with(['+', '!']))
        .collect();
    let [make] = of_root[..] else {
        panic!("{of_root:?}");
    };
    assert!(make.contains(" -d ") && make.contains("-m 0700"), "{make}");
    let folder = make.rsplit(' ').next().map(Path::new);
    let folders = config().spool.folders;
    assert_eq!(folder, folders.first().map(AsRef::as_ref));
}

#[test]
fn sandboxes_and_spool_are_one_mount() {
    assert_eq!(value("ProtectSystem"), "strict");
    // One path: each would be a mount of its own, and a link cannot leave its mount.
    let writable = Path::new(value("ReadWritePaths"));
    let config = config();
    let mesos = config.mesos.expect("[mesos]");
    assert!(mesos.work_dir.starts_with(writable));
    assert_eq!(config.spool.folders.len(), 1);
    for folder in &config.spool.folders {
        assert!(folder.starts_with(writable), "{}", folder.display());
        assert!(!folder.starts_with(mesos.work_dir.join("slaves")));
    }
    for key in [
        "ReadOnlyPaths",
        "InaccessiblePaths",
        "ExecPaths",
        "NoExecPaths",
        "BindPaths",
        "BindReadOnlyPaths",
        "TemporaryFileSystem",
        "RootDirectory",
        "RootImage",
        "DynamicUser",
        "PrivateUsers",
    ] {
        assert_eq!(
            values(key),
            [""; 0],
            "{key} makes mounts, or takes rights away"
        );
    }
    assert_eq!(Path::new(value("RequiresMountsFor")), mesos.work_dir);
}

#[test]
fn the_state_is_its_own_and_a_stop_may_drain() {
    let config = config();
    let state = Path::new("/var/lib").join(value("StateDirectory"));
    assert!(config.state.folder.starts_with(&state));
    assert_eq!(value("StateDirectoryMode"), "0700");
    let stop: u64 = value("TimeoutStopSec").parse().expect("seconds");
    assert!(stop > config.shutdown.as_secs());
    assert_eq!(value("Restart"), "always");
    let recover = shipper::exit::Exit::MustRecover.code().to_string();
    assert_eq!(value("RestartPreventExitStatus"), recover);
    let validate = values("ExecStartPre");
    assert!(
        validate
            .iter()
            .any(|command| command.starts_with('-') && command.ends_with(" validate")),
        "{validate:?}"
    );
    assert!(value("ExecStart").ends_with(" run"));
}
