//! Every transport passes the same suite: local files, the in-process SSH server, and OpenSSH's own server with different
//! login shells and tools.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use e2e::client::Door;
use e2e::conformance::{Births, Rig};
use e2e::login::{self, Login};
use e2e::ssh_server::{Options, SshServer};
use e2e::sshd::{Settings, Sshd};
use tailll::local::LocalFiles;
use tailll::remote::ShellSettings;
use tailll::transport::Transport;
use tempfile::TempDir;

fn local(folder: &TempDir) -> Rig {
    Rig {
        transport: Transport::Local(LocalFiles::new(None)),
        folder: folder.path().to_owned(),
        births: Births::Told,
        processes: Box::new(Vec::new),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files() {
    let folder = tempfile::tempdir().unwrap();
    let rig = local(&folder);
    rig.check().await;
    rig.listing_of_very_many().await;
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
}

struct InProcess {
    server: std::sync::Arc<SshServer>,
    folder: TempDir,
    rig: Rig,
}

async fn in_process(max_sessions: usize) -> InProcess {
    let folder = tempfile::tempdir().unwrap();
    let change = |options: &mut Options| options.max_sessions = max_sessions;
    let (server, door) = Door::to_new_server(folder.path(), change).await.unwrap();
    let server = std::sync::Arc::new(server);
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    let seen = server.clone();
    let rig = Rig {
        transport: door.transport(ShellSettings::default()),
        folder: files,
        births: Births::Told,
        processes: Box::new(move || {
            seen.processes()
                .iter()
                .map(|pid| {
                    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    format!("{pid} {}", String::from_utf8_lossy(&command))
                })
                .collect()
        }),
    };
    InProcess {
        server,
        folder,
        rig,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_to_the_server_in_this_process() {
    let InProcess {
        server,
        folder,
        rig,
    } = in_process(10).await;
    rig.check().await;
    rig.listing_of_very_many().await;
    rig.finish().await;
    drop((server, folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_files_over_ssh_take_a_few_connections() {
    let InProcess {
        server,
        folder,
        rig,
    } = in_process(10).await;
    let streams = rig.thirty_files_at_once().await;
    let counters = server.counters();
    // Thirty and the one that lists, nine on a connection.
    assert!((4..=6).contains(&counters.connections_open), "{counters:?}");
    drop(streams);
    rig.finish().await;
    drop((server, folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_two_sessions_gets_more_connections() {
    let InProcess {
        server,
        folder,
        rig,
    } = in_process(2).await;
    let streams = rig.thirty_files_at_once().await;
    let counters = server.counters();
    assert!(counters.connections_open >= 16, "{counters:?}");
    assert!(counters.sessions_refused > 0, "{counters:?}");
    drop(streams);
    rig.finish().await;
    drop((server, folder));
}

/// OpenSSH's server, with an account that has this login shell, which the suite's files do not belong to.
fn openssh(settings: Settings, shell: &Path) -> (Rig, std::sync::Arc<Sshd>, Login) {
    openssh_by(settings, shell, By::Library)
}

/// Who makes the connections.
#[derive(Clone, Copy)]
enum By {
    Library,
    Program(&'static str),
}

fn openssh_by(settings: Settings, shell: &Path, by: By) -> (Rig, std::sync::Arc<Sshd>, Login) {
    let sshd = std::sync::Arc::new(
        Sshd::start(Settings {
            addresses: 1,
            hosts: 1,
            ..settings
        })
        .unwrap(),
    );
    let login = Login::add(shell, sshd.dir()).unwrap();
    let folder = sshd.logs().join("conformance");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let door = Door {
        address: sshd.address(1),
        user: login.name().to_owned(),
        key: sshd.client_key(),
        known_hosts: fs::read_to_string(&sshd.files().known_hosts).unwrap(),
    };
    let seen = sshd.clone();
    let rig = Rig {
        transport: match by {
            By::Library => door.transport(ShellSettings::default()),
            By::Program(command) => door.transport_by(
                command,
                sshd.files().known_hosts.clone(),
                ShellSettings::default(),
            ),
        },
        folder,
        births: Births::Told,
        processes: Box::new(move || {
            seen.remote_processes()
                .iter()
                .map(ToString::to_string)
                .collect()
        }),
    };
    (rig, sshd, login)
}

async fn with_login_shell(shell: &str) {
    let (rig, sshd, login) = openssh(Settings::default(), Path::new(shell));
    rig.check().await;
    rig.denied().await;
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_bash() {
    with_login_shell("/bin/bash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_dash() {
    with_login_shell("/bin/dash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_tcsh() {
    with_login_shell("/bin/tcsh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_nothing_but_busybox() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let busybox = login::busybox_folder(dir.path()).unwrap();
    let settings = Settings {
        environment: vec![("PATH".to_owned(), busybox.display().to_string())],
        ..Settings::default()
    };
    let (mut rig, sshd, login) = openssh(settings, &busybox.join("sh"));
    rig.births = Births::Untold;
    rig.check().await;
    rig.denied().await;
    rig.listing_of_very_many().await;
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_tools_like_those_of_macos() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let tools = login::bsd_folder(dir.path()).unwrap();
    let settings = Settings {
        environment: vec![("PATH".to_owned(), tools.display().to_string())],
        ..Settings::default()
    };
    let (rig, sshd, login) = openssh(settings, &tools.join("sh"));
    rig.check().await;
    rig.denied().await;
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_that_allows_two_sessions() {
    let settings = Settings {
        max_sessions: 2,
        ..Settings::default()
    };
    let (rig, sshd, login) = openssh(settings, Path::new("/bin/sh"));
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_client() {
    let by = By::Program("ssh -o IdentityAgent=none");
    let (rig, sshd, login) = openssh_by(Settings::default(), Path::new("/bin/bash"), by);
    let logins = || sshd.log().matches("Accepted publickey").count();
    rig.check().await;
    rig.denied().await;
    rig.listing_of_very_many().await;
    let before = logins();
    drop(rig.thirty_files_at_once().await);
    let during = logins() - before;
    rig.finish().await;
    // Nine sessions on a connection: thirty files and who lists are four, and more while former sessions end, which takes its time on
    // a busy machine. Without sharing there would be a login for each of the thirty.
    assert!(during < 30, "{during} logins");
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_client_with_tcsh() {
    let by = By::Program("ssh -o IdentityAgent=none");
    let (rig, sshd, login) = openssh_by(Settings::default(), Path::new("/bin/tcsh"), by);
    rig.check().await;
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_client_without_multiplexing() {
    let by = By::Program("ssh -o IdentityAgent=none -o ControlMaster=no");
    let (rig, sshd, login) = openssh_by(Settings::default(), Path::new("/bin/sh"), by);
    rig.check().await;
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_client_where_two_sessions_are_allowed() {
    let settings = Settings {
        max_sessions: 2,
        ..Settings::default()
    };
    let by = By::Program("ssh -o IdentityAgent=none");
    let (rig, sshd, login) = openssh_by(settings, Path::new("/bin/sh"), by);
    drop(rig.thirty_files_at_once().await);
    rig.finish().await;
    drop((login, sshd));
}
