use super::own::{Included, OwnConfig};
use super::*;

use insta::assert_snapshot;
use proptest::prelude::*;

fn wanted(host: &str) -> Wanted<'_> {
    Wanted {
        host,
        user: None,
        port: None,
    }
}

fn facts() -> LocalFacts {
    LocalFacts {
        home: "/home/me".into(),
        user: "me".into(),
        uid: 7,
        host: "box".into(),
        environment: [("HOME".to_owned(), "/home/me".to_owned())].into(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the parser asks for a result")]
fn no_includes(_: &str) -> Result<Vec<Included>, ConfigError> {
    Ok(Vec::new())
}

fn own(text: &str) -> Result<HostConfig, ConfigError> {
    OwnConfig::parse(Path::new("/c"), text.as_bytes(), &mut no_includes)?
        .resolve(&wanted("foo"), &facts())
}

/// Both answers about a host: `ssh -G`'s, and our parser's. Errors are only that.
async fn both(
    file: &Path,
    wanted: &Wanted<'_>,
) -> (Result<HostConfig, String>, Result<HostConfig, String>) {
    let facts = LocalFacts::read();
    let file = Some(file.to_owned());
    let theirs = resolve(&Source::OpenSsh { file: file.clone() }, wanted, &facts).await;
    if let Err(ConfigError::Run { source, .. }) = &theirs {
        panic!("this test compares with OpenSSH; install openssh-client: {source}");
    }
    let ours = resolve(&Source::OwnParser { file }, wanted, &facts).await;
    (
        theirs.map_err(|error| error.to_string()),
        ours.map_err(|error| error.to_string()),
    )
}

/// What is left of a configuration when the differences between versions of OpenSSH are taken away.
fn comparable(mut config: HostConfig) -> HostConfig {
    config.warnings.clear();
    config
        .identity_files
        .retain(|path| !path.ends_with(".ssh/id_xmss") && !path.ends_with(".ssh/id_dsa"));
    config
}

/// One configuration a case; `foo` is the host unless a case says otherwise.
const CASES: &[&str] = &[
    "",
    "# a comment\n\n   # another\n\t\n",
    "Host foo # c d\nPort 5",
    "Host foo #c\nPort 5",
    "Port = 5",
    "Port=5",
    "Port==5",
    "Port \"5\"",
    "Port '5'",
    "Port\t=\t\"5\"",
    "Port 5 # hi",
    "Port 5#",
    "Port 5 x",
    "   port\t6   ",
    "Port 0x10",
    "Port 0",
    "Port 65536",
    "Port",
    "\"Port\" 5",
    "Port 5\r\nUser x\r\n",
    "HostName \"a\"",
    "HostName FOO.Example",
    "HostName x.%h",
    "HostName fe80::1%%eth0",
    "HostName %n",
    "HostName ::1",
    "User \"a b\" # c",
    "User a\"b\"",
    "User \"a",
    "User a\"b c",
    "User \"\"",
    "User",
    "User=a=b",
    "User = = b",
    "IdentityFile a\\ b",
    "IdentityFile 'a b'",
    "IdentityFile \"a\\\"b\"",
    "IdentityFile a#b",
    "IdentityFile #b",
    "IdentityFile ~/a\nIdentityFile ~/b\nIdentityFile ~/a",
    "IdentityFile none",
    "IdentityFile ~/.ssh/%r@%h:%p-%n-%u-%i-%l-%L-%k-%d-%%\nUser bob\nHostName h2\nPort 7",
    "IdentityFile ${HOME}/k",
    "IdentityFile \"\"",
    "CertificateFile a\nCertificateFile ~/b-%h",
    "CertificateFile none",
    "IdentitiesOnly yes",
    "IdentitiesOnly TRUE",
    "IdentitiesOnly perhaps",
    "IdentityAgent none",
    "IdentityAgent SSH_AUTH_SOCK",
    "IdentityAgent ~/a/%r",
    "IdentityAgent $FOO",
    "IdentityAgent ${HOME}/x",
    "UserKnownHostsFile a b",
    "UserKnownHostsFile none",
    "UserKnownHostsFile none x",
    "UserKnownHostsFile x none",
    "UserKnownHostsFile ~/x ~/x",
    "UserKnownHostsFile=/x",
    "UserKnownHostsFile \"/a b\" ~/c",
    "UserKnownHostsFile ~/kh_%h_%p ${HOME}/zz",
    "GlobalKnownHostsFile ~/x y",
    "GlobalKnownHostsFile /%h",
    "GlobalKnownHostsFile none",
    "StrictHostKeyChecking yes",
    "StrictHostKeyChecking no",
    "StrictHostKeyChecking off",
    "StrictHostKeyChecking YES",
    "StrictHostKeyChecking accept-new",
    "StrictHostKeyChecking maybe",
    "HostKeyAlias A:b",
    "HostKeyAlias a b",
    "ConnectTimeout 1h30m5",
    "ConnectTimeout 1w",
    "ConnectTimeout 5 m",
    "ConnectTimeout abc",
    "ConnectTimeout none",
    "ConnectTimeout 0",
    "ServerAliveInterval 2H",
    "ServerAliveInterval 0",
    "ServerAliveCountMax 0",
    "ServerAliveCountMax -1",
    "ProxyJump user@a,b",
    "ProxyJump a b",
    "ProxyJump none",
    "ProxyJump",
    "ProxyJump J.example:22",
    "ProxyJump none\nProxyJump y",
    "ProxyCommand none",
    "ProxyCommand nc %h %p # x \"q\"",
    "ProxyCommand x\nProxyJump y",
    "ProxyJump y\nProxyCommand x",
    "ProxyJump none\nProxyCommand x",
    "ProxyCommand none\nProxyJump y",
    "ProxyCommand none\nProxyCommand y",
    "HostKeyAlgorithms ssh-rsa,ssh-ed25519",
    "HostKeyAlgorithms +ssh-rsa,ssh-ed25519",
    "HostKeyAlgorithms -ssh*,*cert*",
    "HostKeyAlgorithms ^ssh-rsa,rsa-sha2-512",
    "Compression yes",
    "Compression TRUE",
    "AddressFamily INET",
    "AddressFamily inet6",
    "AddressFamily ipx",
    "BindAddress 127.0.0.1",
    "Host foo\nPort 5\nHost *\nPort 6\nUser x",
    "Host FOO\nPort 7",
    "Host foo,bar\nPort 12",
    "Host \"foo\" bar\nPort 11",
    "Host bar f?o\nPort 11",
    "Host !foo *\nPort 4",
    "Host * !foo\nPort 4",
    "Host !bar\nPort 4",
    "Host\nPort 4",
    "Host=foo\nPort=5",
    "Host bar\nPort 4\nMatch all\nPort 5",
    "Match\nPort 4",
    "Match all\nPort 4",
    "Match !all\nPort 4",
    "Match all host x\nPort 8",
    "Match host FOO\nPort 7",
    "Match host=\"foo\"\nPort 4",
    "Match host foo # c\nPort 4",
    "Match !host bar\nPort 4",
    "Match host x,!foo user root\nPort 9",
    "Match host f*,!foo\nPort 9",
    "Match originalhost=foo\nPort 7",
    "HostName bar\nMatch host bar\nUser m\nMatch originalhost foo\nPort 9",
    "HostName %h.x\nMatch host foo.x\nUser m",
    "User bob\nMatch user bob\nPort 6",
    "User bob\nMatch user BOB\nPort 6",
    "Match user bob\nPort 6",
    "Match localuser nobody-of-that-name\nPort 4",
    "Match !localuser nobody-of-that-name\nPort 4",
    "Match host\nPort 4",
    "Match exec false\nPort 6\nMatch all\nUser z",
    "IgnoreUnknown bog*\nBogus x\nPort 3",
    "ForwardAgent yes\nSendEnv LANG\nTCPKeepAlive yes\nPort 3",
    "ConnectTimeout 99999999999999999999",
];

#[tokio::test]
async fn agrees_with_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let mut refused = 0;
    let mut differences = Vec::new();
    for case in CASES {
        std::fs::write(&path, case).expect("write");
        for wanted in [
            wanted("foo"),
            Wanted {
                host: "foo",
                user: Some("bob"),
                port: Some(2222),
            },
            Wanted {
                host: "Foo.Example",
                user: None,
                port: None,
            },
            Wanted {
                host: "::1",
                user: Some("u"),
                port: None,
            },
        ] {
            match both(&path, &wanted).await {
                (Ok(theirs), Ok(ours))
                    if comparable(ours.clone()) == comparable(theirs.clone()) => {}
                (Err(_), Err(_)) => refused += 1,
                (theirs, ours) => {
                    differences.push(format!(
                        "{case:?} for {wanted:?}\nssh:  {theirs:?}\nours: {ours:?}\n"
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // As many as there are in the table, so that an oracle that fails throughout is noticed.
    assert!(
        (80..200).contains(&refused),
        "{refused} configurations were refused by both"
    );
}

#[tokio::test]
async fn what_is_configured_about_algorithms_is_told_from_the_defaults() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    let usual = ["aes256-gcm@openssh.com", "aes128-ctr"];
    for (text, expected) in [
        ("", "aes256-gcm@openssh.com aes128-ctr"),
        ("Ciphers aes128-ctr,aes256-ctr", "aes128-ctr aes256-ctr"),
        ("Ciphers -*-gcm@openssh.com", "aes128-ctr"),
        (
            "Host other\nCiphers aes256-ctr",
            "aes256-gcm@openssh.com aes128-ctr",
        ),
    ] {
        std::fs::write(&path, text).expect("write");
        let (theirs, ours) = both(&path, &wanted("foo")).await;
        for config in [theirs, ours] {
            let found = config.expect(text).rules.algorithms.ciphers;
            let mut found = found.in_usual_order(&usual);
            // What OpenSSH's own list has besides.
            found.retain(|name| expected.contains(name.as_str()));
            assert_eq!(found.join(" "), expected, "{text:?}");
        }
    }
    // What both leave undone, both say.
    std::fs::write(
        &path,
        "VerifyHostKeyDNS yes\nRequiredRSASize 3000\nHashKnownHosts no\n",
    )
    .expect("write");
    let (theirs, ours) = both(&path, &wanted("foo")).await;
    for config in [theirs, ours] {
        let warnings = config.expect("a configuration").warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for keyword in ["verifyhostkeydns", "requiredrsasize"] {
            let said =
                |warning: &String| warning.contains(keyword) && warning.contains("no effect");
            assert!(warnings.iter().any(said), "{keyword}: {warnings:?}");
        }
    }
}

#[tokio::test]
async fn includes_agree_with_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.conf"), "Host foo\nPort 5\nHost bar\n").expect("write");
    std::fs::write(at("b.conf"), "Port 6\nUser from-b\n").expect("write");
    std::fs::write(at(".hidden.conf"), "User hidden\n").expect("write");
    std::fs::write(
        at("loop.conf"),
        format!("Include {}\n", at("loop.conf").display()),
    )
    .expect("write");
    for case in [
        "Include DIR/a.conf\nUser z\n",
        "Include DIR/?.co*f\n",
        "Include DIR/b.conf DIR/a.conf\n",
        "Include \"DIR/b.conf\"\nPort 9\n",
        "Include DIR/none*.conf\nPort 9\n",
        "Include DIR/none.conf\nPort 9\n",
        "Host bar\nInclude DIR/b.conf\nPort 7\nHost *\nPort 8\n",
        "Host foo\nInclude DIR/a.conf\nUser after\n",
        "Include\n",
        "Include DIR/loop.conf\n",
    ] {
        let path = at("main");
        let text = case.replace("DIR", &folder.path().display().to_string());
        std::fs::write(&path, &text).expect("write");
        match both(&path, &wanted("foo")).await {
            (Ok(theirs), Ok(ours)) => assert_eq!(comparable(ours), comparable(theirs), "{case:?}"),
            (Err(_), Err(_)) => assert!(case.contains("loop") || case == "Include\n", "{case:?}"),
            (theirs, ours) => panic!("{case:?}\nssh: {theirs:?}\nours: {ours:?}"),
        }
    }
}

#[tokio::test]
async fn ssh_says_why_it_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config");
    std::fs::write(&path, "Port nothing-known\nBogus x\n").expect("write");
    let source = Source::OpenSsh {
        file: Some(path.clone()),
    };
    let error = resolve(&source, &wanted("foo"), &facts())
        .await
        .expect_err("a wrong configuration")
        .to_string();
    assert!(
        error.contains("Bad port") || error.contains("Bad configuration option"),
        "{error}"
    );
    assert!(
        error.starts_with(
            "run `ssh -G foo` to read its configuration: it ended with exit status: 255: "
        ),
        "{error}"
    );
}

#[tokio::test]
async fn names_that_are_options_or_commands_are_refused() {
    for source in [
        Source::OpenSsh { file: None },
        Source::OwnParser { file: None },
        Source::None,
    ] {
        for host in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a;b",
            "$(x)",
            "a`x`",
            "u@h",
            "ssh://h",
            "a\nb",
            "a,b",
        ] {
            let error = resolve(&source, &wanted(host), &facts())
                .await
                .expect_err(host);
            assert!(
                matches!(error, ConfigError::BadHost { .. }),
                "{host:?}: {error}"
            );
        }
        for user in ["", "-x", "a b", "$(x)"] {
            let wanted = Wanted {
                host: "h",
                user: Some(user),
                port: None,
            };
            let error = resolve(&source, &wanted, &facts()).await.expect_err(user);
            assert!(
                matches!(error, ConfigError::BadUser { .. }),
                "{user:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn no_configuration_means_the_defaults() {
    let facts = facts();
    let config = resolve(
        &Source::detect(Some(Path::new("none")), &facts),
        &wanted("Foo"),
        &facts,
    )
    .await
    .expect("defaults");
    assert_eq!(
        (config.hostname.as_str(), config.port, config.user.as_str()),
        ("foo", 22, "me")
    );
    assert_eq!(config.identity_files[0], Path::new("/home/me/.ssh/id_rsa"));
    assert_eq!(
        config.user_known_hosts_files[0],
        Path::new("/home/me/.ssh/known_hosts")
    );
    assert_eq!(config.proxy, Proxy::Direct);
}

#[test]
fn detects_ssh_by_the_path() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let mut facts = facts();
    facts.environment.insert(
        "PATH".into(),
        format!("/nowhere:{}", folder.path().display()),
    );
    assert_eq!(
        Source::detect(None, &facts),
        Source::OwnParser { file: None }
    );
    let program = folder.path().join("ssh");
    std::fs::write(&program, "").expect("write");
    assert_eq!(
        Source::detect(None, &facts),
        Source::OwnParser { file: None }
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let file = Path::new("/f");
    assert_eq!(
        Source::detect(Some(file), &facts),
        Source::OpenSsh {
            file: Some(file.into())
        }
    );
}

#[test]
fn what_is_not_supported_is_named() {
    let text = "Match exec \"true\"\nPort 1\nMatch final\nPort 2\nMatch host foo tagged x\nPort 3\nMatch all\n\
                VerifyHostKeyDNS ask\nRevokedHostKeys /r\nCheckHostIP no\nBogus x\nIdentityFile ~bob/k\nIdentityFile %T\n\
                Host bar\nBindInterface x\n";
    let config = own(text).expect("a configuration");
    assert_eq!(config.port, 22);
    assert_snapshot!(config.warnings.join("\n"), @"
    /c:1: Match exec is not supported; its block is skipped
    /c:3: Match final is not supported; its block is skipped
    /c:5: Match tagged is not supported; its block is skipped
    /c:8: verifyhostkeydns is not supported and has no effect
    /c:11: bogus is not known and has no effect
    IdentityFile ~bob/k is left out: the home of another user, ~bob, is not known here
    IdentityFile %T is left out: the token %T is not supported
    ");
}

#[test]
fn wrong_lines_are_named() {
    let mut all = Vec::new();
    for text in [
        "\n\nPort x",
        "Port",
        "User \"a",
        "Match",
        "Match host",
        "Match all host x",
        "Host",
        "UserKnownHostsFile none a",
        "ConnectTimeout 1y",
        "HostName %n",
        "ProxyJump -x",
        "=",
        "StrictHostKeyChecking maybe",
        "User a b",
    ] {
        let error = own(text).expect_err(text);
        all.push(error.to_string());
    }
    let token = own("UserKnownHostsFile %T").expect_err("a token");
    all.push(token.to_string());
    assert_snapshot!(all.join("\n"), @r#"
    read the SSH configuration /c:3: port cannot be "x"
    read the SSH configuration /c:1: port has no value
    read the SSH configuration /c:1: a quote is not closed
    read the SSH configuration /c:1: match has no value
    read the SSH configuration /c:1: Match host has no value
    read the SSH configuration /c:1: `all` cannot be combined with other criteria of Match
    read the SSH configuration /c:1: host has no value
    read the SSH configuration /c:1: userknownhostsfile has `none` among other values
    read the SSH configuration /c:1: connecttimeout cannot be "1y"
    read the SSH configuration /c:1: hostname "%n" has a token other than %h and %%
    read the SSH configuration /c:1: proxyjump cannot be "-x"
    read the SSH configuration /c:1: the keyword is missing
    read the SSH configuration /c:1: stricthostkeychecking cannot be "maybe"
    read the SSH configuration /c:1: user has more than one value
    read the SSH configuration for foo: the token %T is not supported
    "#);
}

#[test]
fn answers_of_ssh() {
    let check = |output: &str| {
        ssh_g::parse(
            output.as_bytes(),
            &ssh_g::Defaults::default(),
            &wanted("foo"),
            &facts(),
        )
    };
    let base = "hostname foo\nport 22\nuser u\n";
    let config = check(&format!(
        "{base}userknownhostsfile /a b/kh /c ~/d x\nidentityfile ~/.ssh/%r\nbindinterface lo\nrevokedhostkeys ~/r\n"
    ))
    .expect("an answer");
    let names: Vec<_> = config
        .user_known_hosts_files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(names, ["/a b/kh", "/c", "~/d", "x"]);
    assert_eq!(config.identity_files, [Path::new("/home/me/.ssh/u")]);
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(
        config.revoked_host_keys.as_deref(),
        Some(Path::new("/home/me/r"))
    );
    let mut all = Vec::new();
    for output in [
        "",
        "hostname foo\nport x\nuser u",
        "hostname foo\nuser u",
        "hostname foo\nport 22\nuser u\ncompression 3",
    ] {
        all.push(check(output).expect_err(output).to_string());
    }
    assert_snapshot!(all.join("\n"), @r#"
    read the answer of `ssh -G foo`: it has no hostname
    read the answer of `ssh -G foo`: port "x" is not understood
    read the answer of `ssh -G foo`: it has no port
    read the answer of `ssh -G foo`: compression "3" is not understood
    "#);
}

#[test]
fn proxy_commands_are_expanded_for_their_host() {
    let config = own("ProxyCommand nc %h %p ${X}\nHostName bar\nPort 7").expect("a configuration");
    let Proxy::Command(command) = &config.proxy else {
        panic!("{config:?}")
    };
    assert_eq!(
        config.expand(command, "foo", &facts()).as_deref(),
        Ok("nc bar 7 ${X}")
    );
}

#[test]
fn includes_have_limits() {
    let mut same = |_: &str| Ok(vec![(PathBuf::from("/c"), b"Include x".to_vec())]);
    let error = OwnConfig::parse(Path::new("/c"), b"Include x", &mut same).expect_err("a loop");
    assert_snapshot!(error, @"read the SSH configuration /c: files include one another more than 16 deep");
    let folder = tempfile::tempdir().expect("a folder");
    let large = folder.path().join("large");
    std::fs::File::create(&large)
        .and_then(|file| file.set_len(own::MAX_FILE_BYTES + 1))
        .expect("a sparse file");
    let error = OwnConfig::load(Some(&large), &facts())
        .expect_err("too large")
        .to_string();
    assert_snapshot!(error.replace(&large.display().to_string(), "FILE"), @"read the SSH configuration FILE: it is larger than 1024 KiB");
    let missing = folder.path().join("missing");
    assert!(matches!(
        OwnConfig::load(Some(&missing), &facts()),
        Err(ConfigError::Unreadable { .. })
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(config) = OwnConfig::parse(Path::new("/c"), &bytes, &mut no_includes) {
            let _ = config.resolve(&wanted("foo"), &facts());
        }
        let _ = ssh_g::parse(&bytes, &ssh_g::Defaults::parse(&bytes), &wanted("foo"), &facts());
    }

    /// Nearly right lines reach further than arbitrary bytes do.
    #[test]
    fn no_values_make_the_parsers_panic(
        lines in proptest::collection::vec((0..CASES.len(), "[ -~é\\t]{0,12}"), 0..6)
    ) {
        let lines: Vec<_> = lines.iter().map(|(case, value)| {
            let keyword = CASES[*case].split([' ', '=', '\n']).next().unwrap_or_default();
            format!("{keyword} {value}")
        }).collect();
        let text = lines.join("\n");
        if let Ok(config) = OwnConfig::parse(Path::new("/c"), text.as_bytes(), &mut no_includes) {
            let _ = config.resolve(&wanted("foo"), &facts());
        }
        let answer = format!("hostname foo\nport 22\nuser u\n{}", text.to_lowercase());
        let _ = ssh_g::parse(answer.as_bytes(), &ssh_g::Defaults::default(), &wanted("foo"), &facts());
    }
}
