use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::sync::Arc;

use archive::Origin;

use super::*;
use crate::rules::{Certainty, Owner};

/// A temporary host: sandboxes and a spool on one mount.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("sandbox")).expect("to create");
        Self { folder }
    }

    fn spool_path(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn open(&self, machine: &str) -> Result<(Spool, Identity), SpoolError> {
        Spool::open(&[self.spool_path()], machine, &mut || 0xff)
    }

    fn spool(&self) -> Spool {
        self.open("m1").expect("a spool").0
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join("sandbox").join(name);
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .expect("to open");
        file.write_all(text.as_bytes()).expect("to write");
        path
    }

    /// As a scan would find it.
    fn found(&self, name: &str) -> Found {
        let root = Beneath::open(&self.folder.path().join("sandbox")).expect("a root");
        let (file, stat) = root.file(Path::new(name)).expect("a file");
        Found {
            file,
            stat,
            path: self.folder.path().join("sandbox").join(name),
            rule: "mesos".into(),
            owner: Owner {
                cluster: "aa".to_owned(),
                origin: Origin {
                    job: Some("hello".to_owned()),
                    ..Origin::default()
                },
                certainty: Certainty::TaskInfo,
                run_dir: Some(Arc::from(Path::new("/run"))),
            },
        }
    }
}

fn text_of(pin: &Pin) -> String {
    let mut text = String::new();
    pin.open()
        .expect("to open")
        .read_to_string(&mut text)
        .expect("to read");
    text
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("to list");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn a_pinned_file_outlives_its_sandbox_and_the_agent() {
    let host = Host::new();
    let spool = host.spool();
    let path = host.write("stdout", "one\n");
    let (pin, description) = spool.pin(host.found("stdout"), 7, 1).expect("a pin");
    assert_eq!(pin.kind(), PinKind::Linked);
    assert_eq!(description.origin.src, pin.src.to_string());
    assert_eq!(
        (description.path.as_path(), description.found_ns),
        (path.as_path(), 7)
    );
    let stat = pin.stat().expect("a stat");
    assert_eq!((stat.links, stat.size), (2, 4));
    assert!(!pin.is_last(&stat));
    spool.settle().expect("to settle");
    host.write("stdout", "two\n");
    fs::remove_file(&path).expect("to remove");
    assert_eq!(text_of(&pin), "one\ntwo\n");
    assert!(pin.is_last(&pin.stat().expect("a stat")));
    // Its inode cannot come to mean another file.
    for number in 0..50 {
        let other = host.write(&number.to_string(), "");
        assert_ne!(fs::metadata(other).expect("a file").ino(), pin.id.ino);
    }
    drop((spool, pin));
    let (spool, identity) = host.open("m1").expect("a spool");
    assert_eq!((identity, spool.agent()), (Identity::Kept, AgentId(0xff)));
    let mut listing = spool.list().expect("a list");
    let (pin, again) = listing.pins.pop().expect("a pin");
    assert_eq!(again, Some(description));
    assert_eq!(text_of(&pin), "one\ntwo\n");
    spool.unpin(pin).expect("to unpin");
    assert_eq!(names(&host.spool_path().join("pins")), BTreeSet::new());
    assert!(spool.list().expect("a list").pins.is_empty());
}

#[test]
fn pinning_twice_is_pinning_once() {
    let host = Host::new();
    let spool = host.spool();
    let path = host.write("stdout", "");
    let (one, _) = spool.pin(host.found("stdout"), 1, 1).expect("a pin");
    fs::rename(&path, path.with_extension("1")).expect("to rename");
    let (two, _) = spool.pin(host.found("stdout.1"), 2, 1).expect("a pin");
    assert_eq!(one.src, two.src);
    assert_eq!(one.stat().expect("a stat").links, 2);
    spool.unpin(one).expect("to unpin");
    assert_eq!(
        two.open().expect_err("it is gone").kind(),
        io::ErrorKind::NotFound
    );
    spool.unpin(two).expect("nothing remains to be done");
}

#[test]
fn a_file_that_lost_its_last_name_is_held_by_its_descriptor() {
    let host = Host::new();
    let spool = host.spool();
    let path = host.write("stdout", "last words\n");
    let found = host.found("stdout");
    fs::remove_file(path).expect("to remove");
    let (pin, _) = spool.pin(found, 1, 1).expect("a pin");
    assert_eq!(pin.kind(), PinKind::Descriptor(Unlinked::Gone));
    assert_eq!(text_of(&pin), "last words\n");
    // Each opening has an offset of its own.
    assert_eq!(text_of(&pin), "last words\n");
    assert!(pin.is_last(&pin.stat().expect("a stat")));
    assert!(
        names(&host.spool_path().join("pins")).is_empty(),
        "no leftover"
    );
    spool.unpin(pin).expect("to unpin");
}

#[test]
fn a_file_of_another_file_system_is_held_by_its_descriptor() {
    let host = Host::new();
    let spool = host.spool();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        panic!("this test needs a second file system at /dev/shm");
    };
    fs::write(elsewhere.path().join("stdout"), "far\n").expect("to write");
    let root = Beneath::open(elsewhere.path()).expect("a root");
    let (file, stat) = root.file(Path::new("stdout")).expect("a file");
    host.write("model", "");
    let found = Found {
        file,
        stat,
        ..host.found("model")
    };
    let (pin, _) = spool.pin(found, 1, 1).expect("a pin");
    assert_eq!(pin.kind(), PinKind::Descriptor(Unlinked::OtherMount));
    assert_eq!(text_of(&pin), "far\n");
    assert!(matches!(
        spool.prove(elsewhere.path()),
        Proof::Unlinkable {
            why: Unlinked::OtherMount,
            ..
        }
    ));
    assert_eq!(
        spool.prove(&host.folder.path().join("sandbox")),
        Proof::Linkable {
            folder: host.spool_path()
        }
    );
    assert!(matches!(
        spool.prove(Path::new("/no/such/folder")),
        Proof::Unlinkable {
            why: Unlinked::Gone,
            ..
        }
    ));
    assert_eq!(
        names(&host.spool_path()),
        ["agent", "lock", "pins"].map(str::to_owned).into()
    );
    // A folder there makes it linkable.
    drop(spool);
    let second = elsewhere.path().join("spool");
    let folders = [host.spool_path(), second.clone()];
    let (spool, identity) = Spool::open(&folders, "m1", &mut || 1).expect("a spool");
    assert_eq!((identity, spool.agent()), (Identity::Kept, AgentId(0xff)));
    assert_eq!(
        spool.prove(elsewhere.path()),
        Proof::Linkable { folder: second }
    );
    let (file, stat) = root.file(Path::new("stdout")).expect("a file");
    let found = Found {
        file,
        stat,
        ..host.found("model")
    };
    assert_eq!(
        spool.pin(found, 1, 1).expect("a pin").0.kind(),
        PinKind::Linked
    );
    spool.settle().expect("to settle");
    assert_eq!(spool.usage().expect("sizes").len(), 2);
}

#[test]
fn two_agents_on_one_host() {
    let host = Host::new();
    let spool = host.spool();
    assert!(matches!(host.open("m1"), Err(SpoolError::Locked { .. })));
    drop(spool);
    assert!(host.open("m1").is_ok());
}

#[test]
fn a_copied_machine_gets_an_id_of_its_own_and_leaves_the_others_pins_alone() {
    let host = Host::new();
    let spool = host.spool();
    host.write("stdout", "one\n");
    let (pin, _) = spool.pin(host.found("stdout"), 1, 1).expect("a pin");
    drop(spool);
    let opened = Spool::open(&[host.spool_path()], "m2", &mut || 0xee);
    let (spool, identity) = opened.expect("a spool");
    assert_eq!(identity, Identity::Cloned { old: AgentId(0xff) });
    assert_eq!(spool.agent(), AgentId(0xee));
    assert!(spool.list().expect("a list").pins.is_empty());
    let aside = host
        .spool_path()
        .join(format!("pins-of-{}.0", AgentId(0xff)));
    assert!(aside.join(pin.src.as_str()).exists());
    // The file is found anew, under a name of this machine.
    let (again, _) = spool.pin(host.found("stdout"), 1, 1).expect("a pin");
    assert_eq!(again.src.agent(), Some(AgentId(0xee)));
}

#[test]
fn folders_of_two_agents_are_refused() {
    let host = Host::new();
    let other = Host::new();
    drop(host.spool());
    drop(Spool::open(&[other.spool_path()], "m1", &mut || 1).expect("a spool"));
    let both = Spool::open(&[host.spool_path(), other.spool_path()], "m1", &mut || 2);
    assert!(
        matches!(both, Err(SpoolError::TwoAgents { .. })),
        "{both:?}"
    );
}

#[test]
fn a_lost_mark_is_taken_from_the_pins() {
    for lost in [None, Some(&b""[..]), Some(b"\0\0\0\0")] {
        let host = Host::new();
        let spool = host.spool();
        host.write("stdout", "");
        let (pin, _) = spool.pin(host.found("stdout"), 1, 1).expect("a pin");
        drop((spool, pin));
        let mark = host.spool_path().join("agent");
        match lost {
            None => fs::remove_file(&mark).expect("to remove"),
            Some(text) => fs::write(&mark, text).expect("to write"),
        }
        let (spool, identity) =
            Spool::open(&[host.spool_path()], "m1", &mut || 1).expect("a spool");
        assert_eq!((identity, spool.agent()), (Identity::Kept, AgentId(0xff)));
        drop(spool);
        // It was written again, for good.
        assert_eq!(
            host.open("m2").expect("a spool").1,
            Identity::Cloned { old: AgentId(0xff) }
        );
    }
    let host = Host::new();
    drop(host.spool());
    let mark = host.spool_path().join("agent");
    for (text, expected) in [
        ("{", "not what an agent writes"),
        (r#"{"version":9,"agent":"x","machine":"m"}"#, "version 9"),
    ] {
        fs::write(&mark, text).expect("to write");
        let error = host.open("m1").expect_err("a garbled mark").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn leftovers_of_a_crash() {
    let host = Host::new();
    let spool = host.spool();
    for name in ["a", "b", "c"] {
        host.write(name, name);
        spool.pin(host.found(name), 1, 1).expect("a pin");
    }
    let pins = host.spool_path().join("pins");
    let mut links = fs::read_dir(&pins)
        .expect("to list")
        .map(|entry| entry.expect("an entry").path());
    let links: BTreeSet<PathBuf> = links
        .by_ref()
        .filter(|path| path.extension().is_none())
        .collect();
    let links: Vec<PathBuf> = links.into_iter().collect();
    // A description whose link never came to be, one that never reached the disk, one of another file.
    fs::remove_file(&links[0]).expect("to remove");
    fs::write(links[1].with_extension("json"), "").expect("to cut");
    fs::copy(
        links[1].with_extension("json"),
        links[2].with_extension("json"),
    )
    .expect("to copy");
    fs::write(pins.join("notes.txt"), "a person was here").expect("to write");
    let listing = spool.list().expect("a list");
    assert_eq!(listing.orphans, 1);
    assert_eq!(listing.strangers, [pins.join("notes.txt")]);
    assert_eq!(listing.pins.len(), 2);
    assert!(
        listing
            .pins
            .iter()
            .all(|(_, description)| description.is_none())
    );
    assert!(!links[0].with_extension("json").exists());
}

#[test]
fn a_replaced_pin_is_noticed() {
    let host = Host::new();
    let spool = host.spool();
    host.write("stdout", "ours\n");
    let (pin, _) = spool.pin(host.found("stdout"), 1, 1).expect("a pin");
    let link = pin.link().expect("a link").to_owned();
    fs::remove_file(&link).expect("to remove");
    fs::write(&link, "another\n").expect("to write");
    assert!(
        pin.open()
            .expect_err("not ours")
            .to_string()
            .contains("replaced")
    );
    assert!(pin.stat().is_err());
    assert!(matches!(
        spool.pin(host.found("stdout"), 1, 1),
        Err(SpoolError::Replaced { .. })
    ));
}

#[test]
fn a_spool_that_others_can_write_to_is_refused() {
    let host = Host::new();
    drop(host.spool());
    for path in [host.spool_path(), host.spool_path().join("pins")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("to open up");
        assert!(matches!(host.open("m1"), Err(SpoolError::Unsafe { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("to close");
    }
    fs::remove_dir_all(host.spool_path()).expect("to remove");
    std::os::unix::fs::symlink("/tmp", host.spool_path()).expect("to link");
    assert!(matches!(host.open("m1"), Err(SpoolError::Unsafe { .. })));
}

#[test]
fn sizes() {
    let host = Host::new();
    let usage = host.spool().usage().expect("sizes");
    assert_eq!(usage.len(), 1);
    assert_eq!(
        usage[0].dev,
        fs::metadata(host.folder.path()).expect("a folder").dev()
    );
    assert!(usage[0].size_bytes >= usage[0].free_bytes && usage[0].size_bytes > 0);
}

/// Set in the process that [`what_the_system_protects_is_held_by_its_descriptor`] starts: where its host is.
const UNPRIVILEGED_HOST: &str = "SHIPPER_TEST_UNPRIVILEGED_HOST";

#[test]
fn what_the_system_protects_is_held_by_its_descriptor() {
    if let Some(folder) = std::env::var_os(UNPRIVILEGED_HOST) {
        return pin_a_file_of_another_user(Path::new(&folder));
    }
    let host = Host::new();
    if !rustix::process::geteuid().is_root() {
        fs::remove_dir(host.folder.path().join("sandbox")).expect("to remove");
        return pin_a_file_of_another_user(host.folder.path());
    }
    // The same test again, as a user without rights, on a file of root's.
    host.write("stdout", "root's\n");
    let exe = host.folder.path().join("test");
    fs::copy(std::env::current_exe().expect("a program"), &exe).expect("to copy");
    for (path, mode) in [
        ("", 0o755),
        ("sandbox", 0o755),
        ("sandbox/stdout", 0o644),
        ("test", 0o755),
    ] {
        let path = host.folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("to open up");
    }
    fs::create_dir(host.spool_path()).expect("to create");
    fs::set_permissions(host.spool_path(), fs::Permissions::from_mode(0o700)).expect("to close");
    std::os::unix::fs::chown(host.spool_path(), Some(65_534), Some(65_534)).expect("to give away");
    let name = "spool::tests::what_the_system_protects_is_held_by_its_descriptor";
    let mut command = std::process::Command::new(&exe);
    command
        .uid(65_534)
        .gid(65_534)
        .current_dir("/")
        .args(["--exact", name]);
    let output = command
        .env(UNPRIVILEGED_HOST, host.folder.path())
        .output()
        .expect("to start");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

fn pin_a_file_of_another_user(folder: &Path) {
    let (sandbox, name) = if folder.join("sandbox/stdout").exists() {
        (folder.join("sandbox"), "stdout")
    } else {
        (PathBuf::from("/etc"), "passwd")
    };
    let (file, stat) = Beneath::open(&sandbox)
        .expect("a root")
        .file(Path::new(name))
        .expect("a file");
    let opened = Spool::open(&[folder.join("spool")], "m1", &mut || 1);
    let (spool, _) = opened.expect("a spool");
    let found = Found {
        file,
        stat,
        path: sandbox.join(name),
        rule: "mesos".into(),
        owner: Owner {
            cluster: "aa".to_owned(),
            origin: Origin::default(),
            certainty: Certainty::TaskInfo,
            run_dir: None,
        },
    };
    let same_device = spool.folders[0].dev() == stat.id.dev;
    let (pin, _) = spool.pin(found, 1, 1).expect("a pin");
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").expect("a setting");
    let expected = match (same_device, protected.trim()) {
        (false, _) => PinKind::Descriptor(Unlinked::OtherMount),
        (true, "0") => PinKind::Linked,
        (true, _) => PinKind::Descriptor(Unlinked::Denied),
    };
    assert_eq!(pin.kind(), expected);
    assert_eq!(text_of(&pin).len() as u64, stat.size);
}
