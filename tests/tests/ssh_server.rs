//! The in-process SSH server behaves as sshd does where it matters: for the system's client and for the library's.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::ssh_server::{Door, Host, Options, SshServer, new_key, openssh_private};
use russh::client;
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelOpenFailure, Sig};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// How long anything here may take; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    server: SshServer,
    key: PrivateKey,
    home: TempDir,
}

async fn rig(hosts: u8) -> Rig {
    let home = tempfile::tempdir().unwrap();
    let key = new_key("test").unwrap();
    let options = Options::nodes(hosts, home.path(), key.public_key().clone());
    let server = SshServer::start(options).await.unwrap();
    Rig { server, key, home }
}

struct Trust(PublicKey);

impl client::Handler for Trust {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

async fn connect(host: &Host, key: &PrivateKey) -> Result<client::Handle<Trust>, russh::Error> {
    let config = Arc::new(client::Config {
        nodelay: true,
        ..client::Config::default()
    });
    let mut handle = client::connect(config, host.address(), Trust(host.key().clone())).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    let answer = handle.authenticate_publickey("somebody", key).await?;
    if answer.success() {
        Ok(handle)
    } else {
        Err(russh::Error::NotAuthenticated)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<u32>,
    signal: Option<String>,
}

async fn collect(channel: &mut russh::Channel<client::Msg>) -> Ran {
    let mut ran = Ran::default();
    while let Some(message) = timeout(PATIENCE, channel.wait())
        .await
        .expect("the command should end")
    {
        match message {
            ChannelMsg::Data { data } => ran.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => ran.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => ran.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                ran.signal = Some(format!("{signal_name:?}"));
            }
            _ => {}
        }
    }
    ran
}

async fn run(handle: &client::Handle<Trust>, command: &str, input: &[u8]) -> Ran {
    let mut channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    if !input.is_empty() {
        channel.data(input).await.unwrap();
    }
    channel.eof().await.unwrap();
    collect(&mut channel).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn commands_get_their_input_and_give_output_and_status() {
    let rig = rig(2).await;
    let handle = connect(&rig.server.hosts()[1], &rig.key).await.unwrap();
    for (command, input, expected) in [
        (
            "echo out; echo err >&2; exit 3",
            "",
            ("out\n", "err\n", Some(3), None),
        ),
        (
            "cat; echo \"$USER $0\"",
            "a\nb",
            ("a\nbsomebody /bin/sh\n", "", Some(0), None),
        ),
        ("exec sh", "echo $((1 + 2))\n", ("3\n", "", Some(0), None)),
        ("kill -s TERM $$", "", ("", "", None, Some("TERM"))),
    ] {
        let ran = run(&handle, command, input.as_bytes()).await;
        let (stdout, stderr, status, signal) = expected;
        let expected = Ran {
            stdout: stdout.into(),
            stderr: stderr.into(),
            status,
            signal: signal.map(Into::into),
        };
        assert_eq!(ran, expected, "{command}");
    }
    let ran = run(&handle, "pwd -P; echo ${SSH_CONNECTION##* }", b"").await;
    let home = rig.home.path().canonicalize().unwrap();
    let port = rig.server.hosts()[1].address().port();
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        format!("{}\n{port}\n", home.display())
    );
    assert_eq!(rig.server.hosts()[0].counters().connections_total, 0);
    assert_eq!(rig.server.counters().sessions_total, 5);
}

#[tokio::test]
async fn a_stranger_is_not_let_in() {
    let rig = rig(1).await;
    let stranger = new_key("stranger").unwrap();
    let refused = connect(&rig.server.hosts()[0], &stranger).await;
    assert!(
        matches!(refused, Err(russh::Error::NotAuthenticated)),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn a_reader_that_stops_slows_the_command_and_loses_nothing() {
    let rig = rig(1).await;
    let handle = connect(&rig.server.hosts()[0], &rig.key).await.unwrap();
    let mut channel = handle.channel_open_session().await.unwrap();
    let written = rig.home.path().join("written");
    let command = format!(
        "i=0; while [ $i -lt 400 ]; do head -c 65536 /dev/zero; i=$((i+1)); echo $i >{}; done",
        written.display()
    );
    channel.exec(true, command).await.unwrap();
    let blocks = || {
        std::fs::read_to_string(&written)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    };
    until("the command should write", || blocks() > 10).await;
    let deadline = Instant::now() + PATIENCE;
    let stalled: u32 = loop {
        let before = blocks();
        sleep(Duration::from_millis(500)).await;
        if blocks() == before {
            break before;
        }
        assert!(
            Instant::now() < deadline,
            "nobody reads, but the command goes on"
        );
    };
    assert!(stalled < 400);
    let ran = collect(&mut channel).await;
    assert_eq!((ran.stdout.len(), ran.status), (400 * 65536, Some(0)));
}

#[tokio::test]
async fn sessions_are_limited_and_last_as_long_as_their_command() {
    let rig = rig(1).await;
    let handle = connect(&rig.server.hosts()[0], &rig.key).await.unwrap();
    let mut channels = Vec::new();
    for _ in 0..10 {
        let channel = handle.channel_open_session().await.unwrap();
        channel.exec(true, "exec sleep 600").await.unwrap();
        channels.push(channel);
    }
    let refused = handle.channel_open_session().await;
    assert!(matches!(
        refused,
        Err(russh::Error::ChannelOpenFailure(
            ChannelOpenFailure::ConnectFailed
        ))
    ));
    until("ten sleeps should run", || {
        rig.server.processes().len() == 10
    })
    .await;
    // A closed channel does not free its slot: the command knows nothing of it.
    channels[0].close().await.unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(handle.channel_open_session().await.is_err());
    channels[1].signal(Sig::TERM).await.unwrap();
    until("the ended command's slot should be free", || {
        rig.server.counters().sessions_open == 9
    })
    .await;
    assert!(handle.channel_open_session().await.is_ok());
    assert_eq!(rig.server.counters().sessions_refused, 2);
}

#[tokio::test]
async fn the_end_of_a_connection_shows_in_the_pipes_only_and_the_servers_end_ends_all() {
    let rig = rig(1).await;
    let host = rig.server.hosts()[0].clone();
    let handle = connect(&host, &rig.key).await.unwrap();
    let mut reads = handle.channel_open_session().await.unwrap();
    reads
        .exec(true, "cat; sleep 600 & exec sleep 601")
        .await
        .unwrap();
    let waits = handle.channel_open_session().await.unwrap();
    waits.exec(true, "exec cat").await.unwrap();
    until("three commands should run", || {
        rig.server.processes().len() >= 3
    })
    .await;
    assert_eq!(rig.server.cut(), 1);
    assert!(
        timeout(PATIENCE, async { while reads.wait().await.is_some() {} })
            .await
            .is_ok()
    );
    // One reads its input's end and ends, one goes on without a client.
    until("cat should end, the sleeps should not", || {
        let left = rig.server.processes().len();
        left == 2 && host.counters().sessions_open == 1
    })
    .await;
    assert_eq!(host.counters().connections_open, 0);
    let left = rig.server.processes();
    drop(rig.server);
    for id in left {
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "{id} is left: {state}"
        );
    }
}

#[tokio::test]
async fn doors_and_frost() {
    let rig = rig(1).await;
    let host = &rig.server.hosts()[0];
    let handle = connect(host, &rig.key).await.unwrap();

    host.set_door(Door::Slam);
    assert!(connect(host, &rig.key).await.is_err());
    assert_eq!(host.counters().connections_refused, 1);
    host.set_door(Door::Closed);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connect(host, &rig.key).await {
            Err(russh::Error::IO(error))
                if error.kind() == std::io::ErrorKind::ConnectionRefused =>
            {
                break;
            }
            _ => assert!(Instant::now() < deadline, "the port should close"),
        }
    }
    host.set_door(Door::Open);
    let deadline = Instant::now() + PATIENCE;
    while connect(host, &rig.key).await.is_err() {
        assert!(Instant::now() < deadline, "the door should open again");
    }

    host.freeze();
    let frozen = timeout(Duration::from_millis(300), run(&handle, "echo thawed", b"")).await;
    assert!(frozen.is_err(), "a frozen host answered");
    let late = timeout(Duration::from_millis(300), connect(host, &rig.key)).await;
    assert!(late.is_err(), "a frozen host took a connection");
    host.thaw();
    let ran = run(&handle, "echo thawed", b"").await;
    assert_eq!(
        (ran.stdout.as_slice(), ran.status),
        (&b"thawed\n"[..], Some(0))
    );
}

/// `ssh` with a configuration of its own and nobody's else.
fn openssh(rig: &Rig, folder: &Path) -> Command {
    use std::os::unix::fs::PermissionsExt;
    let identity = folder.join("id");
    std::fs::write(&identity, openssh_private(&rig.key).unwrap()).unwrap();
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(folder.join("known_hosts"), rig.server.known_hosts()).unwrap();
    let host = &rig.server.hosts()[0];
    let mut command = Command::new("ssh");
    command
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "GlobalKnownHostsFile=none",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o"])
        .arg(format!(
            "UserKnownHostsFile={}",
            folder.join("known_hosts").display()
        ))
        .arg("-i")
        .arg(identity)
        .arg("-p")
        .arg(host.address().port().to_string())
        .arg(format!("me@{}", host.address().ip()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_systems_client_works() {
    let rig = rig(1).await;
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = openssh(&rig, folder.path());
        command.args(arguments);
        async move {
            timeout(PATIENCE, command.output())
                .await
                .expect("ssh should end")
                .expect("ssh is installed")
        }
    };
    let output = run(&["echo out; echo err >&2; exit 5"]).await;
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out\n",
        "{output:?}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(5));
    let output = run(&["head -c 30000000 /dev/zero"]).await;
    assert_eq!(
        (output.stdout.len(), output.status.code()),
        (30_000_000, Some(0))
    );
}

#[tokio::test]
async fn a_terminal_can_be_had() {
    let rig = rig(1).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = openssh(&rig, folder.path());
    // The options stand behind the host, where OpenSSH takes them, too.
    command.args(["-tt", "tty >/dev/null && echo has a terminal; exit 4"]);
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("ssh should end")
        .expect("ssh is installed");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("has a terminal"),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}
