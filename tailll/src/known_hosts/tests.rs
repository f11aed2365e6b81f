use super::*;

use std::fmt::Write as _;
use std::process::Command;

use insta::assert_snapshot;
use proptest::prelude::*;

/// A key of a type, told apart by a number.
fn blob(algorithm: &str, number: u8) -> Vec<u8> {
    let fields: &[usize] = match algorithm {
        "ssh-ed25519" => &[32],
        "ssh-rsa" => &[3, 257],
        "ecdsa-sha2-nistp256" => &[8, 65],
        other => panic!("no such key in these tests: {other}"),
    };
    let mut blob = Vec::new();
    let mut push = |field: &[u8]| {
        blob.extend((field.len() as u32).to_be_bytes());
        blob.extend(field);
    };
    push(algorithm.as_bytes());
    for (at, &len) in fields.iter().enumerate() {
        if algorithm.starts_with("ecdsa") && at == 0 {
            push(b"nistp256");
        } else {
            push(&vec![number; len]);
        }
    }
    blob
}

/// `ed1`, `rsa2`, `ec3`: the words that stand for keys in the tables below.
fn key(word: &str) -> Option<(&'static str, Vec<u8>)> {
    let number = word.bytes().last()?.checked_sub(b'0')?;
    let algorithm = match word.get(..word.len() - 1)? {
        "ed" => "ssh-ed25519",
        "rsa" => "ssh-rsa",
        "ec" => "ecdsa-sha2-nistp256",
        _ => return None,
    };
    Some((algorithm, blob(algorithm, number)))
}

/// A file in which keys are written as words; everything else stands as it is.
fn file(text: &str) -> String {
    text.split('\n')
        .map(|line| {
            let words = line
                .trim_end_matches('\r')
                .split(' ')
                .map(|word| match key(word) {
                    Some((algorithm, blob)) => format!("{algorithm} {}", STANDARD.encode(blob)),
                    None => word.to_owned(),
                });
            let end = if line.ends_with('\r') { "\r" } else { "" };
            words.collect::<Vec<_>>().join(" ") + end
        })
        .collect::<Vec<_>>()
        .join("\n")
}

fn known(text: &str) -> KnownHosts {
    KnownHosts::parse(Path::new("/kh"), file(text).as_bytes())
}

/// `name`, `name:port` after a space, or `name alias=other`.
fn host(text: &str) -> HostName<'_> {
    let mut words = text.split(' ');
    let mut host = HostName {
        name: words.next().unwrap_or_default(),
        port: 22,
        alias: None,
    };
    for word in words {
        match word.strip_prefix("alias=") {
            Some(alias) => host.alias = Some(alias),
            None => host.port = word.parse().expect("a port"),
        }
    }
    host
}

fn check(text: &str, at: &str, presented: &str) -> String {
    let (_, blob) = key(presented).expect("a key");
    match known(text).check(&host(at), &HostKey::from_blob(&blob).expect("a key")) {
        Verdict::Known => "known".into(),
        Verdict::Unknown => "unknown".into(),
        Verdict::Changed {
            place, algorithm, ..
        } => format!("changed {} {algorithm}", place.line),
        Verdict::Revoked { place } => format!("revoked {}", place.line),
    }
}

#[test]
fn verdicts() {
    for (text, at, presented, expected) in [
        ("", "h", "ed1", "unknown"),
        ("h ed1", "h", "ed1", "known"),
        ("h ed1 a comment", "h", "ed1", "known"),
        ("  h   ed1", "h", "ed1", "known"),
        ("h ed1\r", "h", "ed1", "known"),
        ("# a comment\n\n\r\n  # another\nh ed1", "h", "ed1", "known"),
        ("H ed1", "h", "ed1", "known"),
        ("h ed1", "H", "ed1", "known"),
        ("h ed1", "i", "ed1", "unknown"),
        ("h ed2", "h", "ed1", "changed 1 ssh-ed25519"),
        // A key of another type is a change too, as with OpenSSH: whoever answers can choose the type.
        ("h rsa1", "h", "ed1", "changed 1 ssh-rsa"),
        ("h rsa1\nh ed2\nh ec1", "h", "ed1", "changed 2 ssh-ed25519"),
        ("h rsa1\nh ec1", "h", "ed1", "changed 2 ecdsa-sha2-nistp256"),
        // Several keys of a type.
        ("h ed1\nh ed2", "h", "ed2", "known"),
        ("h ed1\nh ed2", "h", "ed1", "known"),
        // Lists, wildcards, negation.
        ("a,h,b ed1", "h", "ed1", "known"),
        ("*.example.com ed1", "web.example.com", "ed1", "known"),
        ("*.example.com ed1", "example.com", "ed1", "unknown"),
        ("web?.x ed1", "web1.x", "ed1", "known"),
        ("*.x,!bad.x ed1", "bad.x", "ed1", "unknown"),
        ("!bad.x,*.x ed1", "bad.x", "ed1", "unknown"),
        ("!bad.x,*.x ed1", "good.x", "ed1", "known"),
        // Ports.
        ("[h]:2222 ed1", "h 2222", "ed1", "known"),
        ("[h]:2222 ed1", "h", "ed1", "unknown"),
        ("[h]:22 ed1", "h", "ed1", "unknown"),
        ("h ed1", "h 2222", "ed1", "known"),
        ("h ed2", "h 2222", "ed1", "unknown"),
        (
            "h ed1\n[h]:2222 ed2",
            "h 2222",
            "ed1",
            "changed 2 ssh-ed25519",
        ),
        ("* ed1", "h 2222", "ed1", "known"),
        ("[*]:2222 ed1", "h 2222", "ed1", "known"),
        ("[h]:* ed1", "h 2222", "ed1", "known"),
        // Aliases have neither port nor name.
        ("farm ed1", "h 2222 alias=FARM", "ed1", "known"),
        ("h ed1", "h alias=farm", "ed1", "unknown"),
        // IPv6.
        ("::1 ed1", "::1", "ed1", "known"),
        ("[::1]:2222 ed1", "::1 2222", "ed1", "known"),
        ("2001:DB8::1 ed1", "2001:db8::1", "ed1", "known"),
        // Revocation wins over everything, before and after, and by pattern.
        ("@revoked h ed1\nh ed1", "h", "ed1", "revoked 1"),
        ("h ed1\n@revoked * ed1", "h", "ed1", "revoked 2"),
        ("h ed1\n@revoked i ed1", "h", "ed1", "known"),
        ("h ed1\n@revoked h ed2", "h", "ed1", "known"),
        ("@revoked h ed1", "h 2222", "ed1", "revoked 1"),
        ("@revoked h ed2", "h", "ed1", "unknown"),
        // The key of an authority is no host key.
        ("@cert-authority h ed1", "h", "ed1", "unknown"),
        ("@cert-authority h ed2", "h", "ed1", "unknown"),
    ] {
        assert_eq!(
            check(text, at, presented),
            expected,
            "{text:?} for {at:?} with {presented}"
        );
    }
}

#[test]
fn tabs_separate_as_blanks_do() {
    let (algorithm, blob) = key("ed1").expect("a key");
    let text = format!(
        "@revoked\th\t{algorithm}\t{}\tcomment",
        STANDARD.encode(&blob)
    );
    let known = KnownHosts::parse(Path::new("/kh"), text.as_bytes());
    let key = HostKey::from_blob(&blob).expect("a key");
    assert!(matches!(
        known.check(&host("h"), &key),
        Verdict::Revoked { .. }
    ));
}

#[test]
fn hashed_names() {
    let (_, blob) = key("ed1").expect("a key");
    let key = HostKey::from_blob(&blob).expect("a key");
    for at in ["h", "h 2222", "::1", "::1 2222", "UPPER", "x alias=Y"] {
        let line = new_line(
            &host(at),
            &key,
            NameForm::Hashed {
                salt: [7; HASH_BYTES],
            },
        )
        .expect("a line");
        let known = KnownHosts::parse(Path::new("/kh"), line.as_bytes());
        assert_eq!(known.check(&host(at), &key), Verdict::Known, "{at}");
        assert_eq!(known.check(&host("other"), &key), Verdict::Unknown, "{at}");
    }
}

#[test]
fn new_lines() {
    let (_, blob) = key("ed1").expect("a key");
    let key = HostKey::from_blob(&blob).expect("a key");
    let plain = |at| new_line(&host(at), &key, NameForm::Plain);
    assert_eq!(plain("Web1 2222"), Ok(file("[web1]:2222 ed1")));
    assert_eq!(plain("web1 alias=x"), Ok(file("x ed1")));
    for name in [
        "*", "a,b", "!a", "", "|1|a", "a\nb", "#a", "@revoked", "a\tb",
    ] {
        assert!(
            new_line(
                &HostName {
                    name,
                    port: 22,
                    alias: None
                },
                &key,
                NameForm::Plain
            )
            .is_err(),
            "{name:?}"
        );
    }
}

#[test]
fn problems_are_named_and_skipped() {
    let text = "h\n@revoked\n@what h ed1\n@revoked @revoked h ed1\nh ssh-ed25519\nh ssh-ed25519 #\nh ssh-ed25519 !!!\n\
                h ssh-ed25519 AAAA\nh ssh-what AAAA\n|1|x|y ed1\n|2|x ed1\n|1|AAAA|AAAA ed1\nh 1024 35 123456\n\
                h ssh-rsa AAAAC3NzaC1lZDI1NTE5\nh ssh-ed25519 AAAAC3NzaC1lZDI1NTE5\nok ed1";
    let known = known(text);
    let mut all = String::new();
    for problem in known.problems() {
        writeln!(all, "{problem}").expect("a string");
    }
    assert_snapshot!(all, @"
    /kh:1: the key's type is missing
    /kh:2: the host names are missing
    /kh:3: unknown marker @what
    /kh:4: there is more than one marker
    /kh:5: the key is missing
    /kh:6: the key is missing
    /kh:7: the key is not base64
    /kh:8: the key is damaged: a field is longer than the key
    /kh:9: unknown key type ssh-what
    /kh:10: the salt of the hashed host name is not base64
    /kh:11: the hashed host name is not of the form |1|salt|hash
    /kh:12: the salt of the hashed host name is not 20 bytes long
    /kh:13: keys of SSH version 1 are not supported
    /kh:14: the key's type is not the one that the line names
    /kh:15: the key is damaged: 1 of its 2 fields are there
    ");
    let (_, blob) = key("ed1").expect("a key");
    let key = HostKey::from_blob(&blob).expect("a key");
    assert_eq!(known.check(&host("ok"), &key), Verdict::Known);
    assert_eq!(known.check(&host("h"), &key), Verdict::Unknown);
}

#[test]
fn many_problems_are_counted() {
    let known = known(&"h\n".repeat(1000));
    assert_eq!(known.problems().len(), MAX_PROBLEMS);
    assert_snapshot!(known.problems()[MAX_PROBLEMS - 1], @"/kh:20: 981 lines from here on cannot be read");
}

#[test]
fn refusals() {
    let (_, blob) = key("ed1").expect("a key");
    let key = HostKey::from_blob(&blob).expect("a key");
    let say = |text: &str, at: &str| {
        let host = host(at);
        known(text)
            .check(&host, &key)
            .refusal(&host, &key, "ssh -F /c web1")
            .unwrap_or_default()
    };
    assert_snapshot!(say("", "web1"), @"no host key is known for web1, which presents the ssh-ed25519 key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA: compare that with what its administrator says, then connect once with `ssh -F /c web1`");
    assert_snapshot!(say("[web1]:2222 ed2", "web1 2222"), @"the host key of [web1]:2222 has changed: it presents the ssh-ed25519 key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA, but /kh:1 has the ssh-ed25519 key SHA256:baqJQcVDEweKmw1OiZxGooCG2MGxYtwsQQzzOstxmiA; somebody may be listening in, or the host was set up anew: ask its administrator, and only then forget the old key with `ssh-keygen -f /kh -R '[web1]:2222'` and connect once with `ssh -F /c web1`");
    assert_snapshot!(say("* rsa2", "::1"), @"the host key of ::1 has changed: it presents the ssh-ed25519 key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA, but /kh:1 has the ssh-rsa key SHA256:5YozUUU4pMEsa/qm9oVeYi8crSvhtoNgSKtBlwEpOKE; somebody may be listening in, or the host was set up anew: ask its administrator, and only then forget the old key with `ssh-keygen -f /kh -R ::1` and connect once with `ssh -F /c web1`");
    assert_snapshot!(say("x ed1\n@revoked web* ed1", "web1"), @"the host key of web1 is revoked: /kh:2 marks the ssh-ed25519 key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA as @revoked; do not log in there, and ask the host's administrator for its new key");
    assert_snapshot!(say("web1 ed1", "web1"), @"");
    let odd = HostName {
        name: "a b\u{1b}[31m'",
        port: 22,
        alias: None,
    };
    assert_snapshot!(Verdict::Unknown.refusal(&odd, &key, "ssh odd").unwrap_or_default(), @r#"no host key is known for a b\u{1b}[31m', which presents the ssh-ed25519 key SHA256:RXm/ruZ0eTzRXKwi1AQEDynB0VgHQ2ac9KPSFdf/YnA: compare that with what its administrator says, then connect once with `ssh odd`"#);
}

#[test]
fn authorities() {
    let check = |text: &str, at: &str, expected: &[usize]| {
        let known = known(text);
        let lines: Vec<_> = known
            .host(&host(at))
            .authorities()
            .iter()
            .map(|a| a.place.line)
            .collect();
        assert_eq!(lines, expected, "{text:?} for {at:?}");
    };
    check(
        "@cert-authority *.x ed1\n@cert-authority *.y ed2",
        "a.x",
        &[1],
    );
    check(
        "@cert-authority *.x ed1\n@cert-authority *.x,!b.x ed2\nc.x ed3",
        "b.x",
        &[1],
    );
    check("@cert-authority *.x ed1\n@revoked * ed1", "a.x", &[]);
    check("@cert-authority *.x ed1\n@revoked *.y ed1", "a.x", &[1]);
    check(
        "@cert-authority h ed1\n@cert-authority [h]:2222 ed2",
        "h 2222",
        &[2, 1],
    );
    check(
        "@cert-authority [h]:2222 ed2\n@revoked h ed2",
        "h 2222",
        &[],
    );
    assert_eq!(host("Web1 2222").principal(), "web1");
    assert_eq!(host("web1 2222 alias=F").principal(), "f");
    let (_, blob) = key("ed2").expect("a key");
    let revoked = known("@revoked h ed2");
    let place = revoked
        .host(&host("h 2222"))
        .revocation(&HostKey::from_blob(&blob).expect("a key"));
    assert_eq!(place.map(|place| place.line), Some(1));
}

#[test]
fn algorithms_of_known_keys_come_first() {
    let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let all = "ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512-cert-v01@openssh.com,\
               rsa-sha2-512,rsa-sha2-256";
    for (text, types, expected) in [
        ("", "", all),
        ("h ed1", "ssh-ed25519", all),
        ("h rsa1\nh ed1\nh rsa2", "ssh-rsa,ssh-ed25519", all),
        (
            "h rsa1",
            "ssh-rsa",
            "rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-512,rsa-sha2-256,ssh-ed25519-cert-v01@openssh.com,\
             ssh-ed25519,ecdsa-sha2-nistp256",
        ),
        (
            "h ec1\n@revoked h rsa1",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp256,ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512-cert-v01@openssh.com,\
             rsa-sha2-512,rsa-sha2-256",
        ),
        (
            "@cert-authority h ec1",
            "",
            "ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,\
             rsa-sha2-512,rsa-sha2-256",
        ),
    ] {
        let known = known(text);
        let keys = known.host(&host("h"));
        assert_eq!(keys.algorithms().join(","), types, "{text:?}");
        assert_eq!(
            keys.order_algorithms(&names(all)),
            names(expected),
            "{text:?}"
        );
    }
    let known = known("h rsa1\n[h]:2222 ec1");
    assert_eq!(
        known.host(&host("h 2222")).algorithms(),
        ["ecdsa-sha2-nistp256"]
    );
    assert_eq!(known.host(&host("h 2223")).algorithms(), ["ssh-rsa"]);
}

#[test]
fn files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("user"), file("h ed1\nbad")).expect("write");
    std::fs::write(path("system"), file("@revoked h ed1")).expect("write");
    let known = KnownHosts::load(&[
        path("user"),
        path("missing"),
        path("user/below"),
        path("system"),
    ])
    .expect("load");
    let (_, blob) = key("ed1").expect("a key");
    let verdict = known.check(&host("h"), &HostKey::from_blob(&blob).expect("a key"));
    assert_eq!(
        verdict,
        Verdict::Revoked {
            place: Place {
                file: path("system"),
                line: 1
            }
        }
    );
    assert_eq!(
        known.problems()[0].place,
        Place {
            file: path("user"),
            line: 2
        }
    );

    // A folder stands for whatever is there and cannot be read: tests may run as root, who can read every file.
    let error = KnownHosts::load(&[folder.path().to_owned()]).expect_err("a folder is no file");
    let text = error
        .to_string()
        .replace(&folder.path().display().to_string(), "FOLDER");
    assert_snapshot!(text, @"read the known hosts in FOLDER: make it readable for you, or name other files by UserKnownHostsFile");
    let large = path("large");
    File::create(&large)
        .and_then(|file| file.set_len(MAX_FILE_BYTES + 1))
        .expect("a sparse file");
    let error = KnownHosts::load(std::slice::from_ref(&large)).expect_err("too large");
    assert_snapshot!(error.to_string().replace(&large.display().to_string(), "FILE"), @"read the known hosts in FILE: it is larger than 64 MiB; remove what is no longer needed");
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let folder = tempfile::tempdir().expect("a folder");
    let public = generate(folder.path(), "ed25519", "key");
    let said = run(Command::new("ssh-keygen")
        .arg("-lf")
        .arg(folder.path().join("key.pub")));
    let blob = STANDARD
        .decode(public.split(' ').nth(1).expect("a key"))
        .expect("base64");
    let key = HostKey::from_blob(&blob).expect("a key");
    assert_eq!(said.split(' ').nth(1), Some(key.fingerprint().as_str()));
    assert_eq!(key.algorithm(), "ssh-ed25519");
}

/// The standard output of a program that must be installed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("these tests compare with OpenSSH; install openssh-client and openssh-server: {command:?}: {error}")
    });
    String::from_utf8(output.stdout).expect("UTF-8") + &String::from_utf8_lossy(&output.stderr)
}

/// A new key pair; the answer is type and public key.
fn generate(folder: &Path, algorithm: &str, name: &str) -> String {
    let said = run(Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "", "-t", algorithm, "-f"])
        .arg(folder.join(name)));
    let public = std::fs::read_to_string(folder.join(format!("{name}.pub")));
    public
        .unwrap_or_else(|error| panic!("ssh-keygen wrote no key: {error}: {said}"))
        .trim()
        .to_owned()
}

/// The lines that `ssh-keygen -F` finds.
fn found_by_ssh_keygen(file: &Path, name: &str) -> Vec<usize> {
    let said = run(Command::new("ssh-keygen")
        .args(["-F", name, "-f"])
        .arg(file));
    said.lines()
        .filter_map(|line| line.strip_prefix("# Host ")?.split("found: line ").nth(1))
        .map(|line| {
            line.split(' ')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a line number")
        })
        .collect()
}

/// The lines that we find.
fn found_by_us(known: &KnownHosts, at: &HostName<'_>) -> Vec<usize> {
    known
        .host(at)
        .named
        .iter()
        .map(|(entry, _)| entry.line)
        .collect()
}

#[test]
fn finds_the_lines_that_ssh_keygen_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known_hosts");
    let (_, blob) = key("ed1").expect("a key");
    let key = HostKey::from_blob(&blob).expect("a key");
    let hosts = [
        "h",
        "web1.example.com",
        "web1.example.com 2222",
        "::1",
        "::1 2222",
        "10.0.0.1",
        "fe80::1%eth0",
        "a_b-c",
        "h 65535",
    ];
    let mut text = String::new();
    for names in [
        "h",
        "H",
        "*",
        "?",
        "!h",
        "*,!h",
        "!h,*",
        "h,h",
        "h,,i",
        ",",
        "[h]:2222",
        "[h]:22",
        "[h]:*",
        "[*]:2222",
        "web?.*",
        "*.example.com",
        "WEB1.Example.COM",
        "[web1.example.com]:2222",
        "[WEB1*]:22??",
        "*:*",
        "::1",
        "[::1]:2222",
        "[::1]",
        "10.0.0.*",
        "10.0.0.1,10.0.0.2",
        "fe80::1%eth0",
        "a_b-c",
        "*_*",
        "**",
        "*?",
        "???",
        "!*",
        "!!h",
        "[h]:65535",
        "h ",
        "  h",
        "@cert-authority *",
        "@revoked h",
        "@cert-authority !h,*",
        "#h",
        "|1|bad|hash",
    ] {
        writeln!(text, "{}", file(&format!("{names} ed1"))).expect("a string");
    }
    for at in hosts {
        for salt in [[0; HASH_BYTES], [0xa5; HASH_BYTES]] {
            writeln!(
                text,
                "{}",
                new_line(&host(at), &key, NameForm::Hashed { salt }).expect("a line")
            )
            .expect("a string");
        }
    }
    std::fs::write(&path, &text).expect("write");
    let known = KnownHosts::parse(&path, text.as_bytes());
    for at in hosts {
        let at = host(at);
        let theirs = found_by_ssh_keygen(&path, &at.lookup_name());
        assert!(
            theirs.len() >= 3,
            "ssh-keygen finds too little for this comparison to mean anything: {theirs:?}"
        );
        assert_eq!(found_by_us(&known, &at), theirs, "{at:?}");
    }
}

#[test]
fn finds_names_that_ssh_keygen_has_hashed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("known_hosts");
    std::fs::write(&path, file("h,[web1]:2222,::1 ed1\ni ed2\n")).expect("write");
    run(Command::new("ssh-keygen").arg("-Hf").arg(&path));
    let bytes = std::fs::read(&path).expect("read");
    assert!(
        bytes.starts_with(b"|1|"),
        "ssh-keygen -H has hashed nothing"
    );
    let known = KnownHosts::parse(&path, &bytes);
    for at in ["h", "web1 2222", "::1", "i", "j", "web1"] {
        let at = host(at);
        assert_eq!(
            found_by_us(&known, &at),
            found_by_ssh_keygen(&path, &at.lookup_name()),
            "{at:?}"
        );
    }
}

/// The verdict of OpenSSH's own client about its own server, which it runs through a pipe.
struct Oracle {
    folder: tempfile::TempDir,
    server: String,
}

impl Oracle {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        generate(folder.path(), "ed25519", "host_key");
        let config = folder.path().join("sshd_config");
        std::fs::write(
            &config,
            "UsePAM no\nStrictModes no\nPasswordAuthentication no\n",
        )
        .expect("write");
        let server = format!(
            "/usr/sbin/sshd -i -f '{}' -h '{}'",
            config.display(),
            folder.path().join("host_key").display()
        );
        // As root the server insists on a folder that a boot script would make.
        let _ = std::fs::create_dir_all("/run/sshd");
        Self { folder, server }
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("host_key.pub"))
            .expect("read")
            .trim()
            .to_owned()
    }

    fn ask(&self, text: &str, at: &HostName<'_>) -> &'static str {
        let path = self.folder.path().join("known_hosts");
        std::fs::write(&path, text).expect("write");
        let mut command = Command::new("ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
        ]);
        command.args([
            "-o",
            "IdentityFile=none",
            "-o",
            "IdentityAgent=none",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
        ]);
        command.args([
            "-o",
            "HostKeyAlgorithms=ssh-ed25519",
            "-p",
            &at.port.to_string(),
        ]);
        command.args(["-o", &format!("UserKnownHostsFile={}", path.display())]);
        command.args(["-o", &format!("ProxyCommand={}", self.server)]);
        if let Some(alias) = at.alias {
            command.args(["-o", &format!("HostKeyAlias={alias}")]);
        }
        let said = run(command.args(["--", at.name, "true"]));
        for (words, verdict) in [
            ("REVOKED HOST KEY", "revoked"),
            ("HOST IDENTIFICATION HAS CHANGED", "changed"),
            ("host key is known for", "unknown"),
            ("Permission denied", "known"),
        ] {
            if said.contains(words) {
                return verdict;
            }
        }
        panic!("ssh and sshd did not come as far as the host key: {said}");
    }
}

#[test]
fn verdicts_are_those_of_ssh() {
    let oracle = Oracle::new();
    let public = oracle.public();
    let presented = STANDARD
        .decode(public.split(' ').nth(1).expect("a key"))
        .expect("base64");
    let key = HostKey::from_blob(&presented).expect("a key");
    // KEY is the server's key. The others must be real ones: ssh checks that points lie on their curves.
    let other = generate(oracle.folder.path(), "ed25519", "other");
    let rsa = generate(oracle.folder.path(), "rsa", "rsa");
    for (text, at) in [
        ("", "h"),
        ("h KEY", "h"),
        ("H KEY\r", "h"),
        ("h KEY", "H"),
        ("h OTHER", "h"),
        ("h RSA", "h"),
        ("h OTHER\nh KEY", "h"),
        ("h KEY\nh OTHER", "h"),
        ("h bad\nh ssh-ed25519 AAAA\nh KEY", "h"),
        ("[h]:22 KEY", "h"),
        ("h KEY", "h 2222"),
        ("h OTHER", "h 2222"),
        ("h KEY\n[h]:2222 OTHER", "h 2222"),
        ("h KEY\n[h]:2222 RSA", "h 2222"),
        ("[h]:2222 KEY\nh OTHER", "h 2222"),
        ("[h]:2222 KEY\n@revoked h KEY", "h 2222"),
        ("@revoked h KEY", "h 2222"),
        ("@revoked h KEY\n@cert-authority h KEY", "h"),
        ("@revoked * KEY\nh KEY", "h"),
        ("h KEY\n@revoked i KEY", "h"),
        ("h KEY\n@revoked h OTHER", "h"),
        ("@revoked h OTHER", "h"),
        ("@cert-authority h OTHER", "h"),
        ("@cert-authority h KEY", "h"),
        ("*,!h KEY", "h"),
        ("[*]:2222 KEY", "h 2222"),
        ("farm KEY", "h 2222 alias=Farm"),
        ("h KEY", "h 2222 alias=farm"),
        ("::1 KEY", "::1"),
        ("[::1]:2222 KEY", "::1 2222"),
        ("\"h\" KEY", "h"),
    ] {
        let text = text
            .replace("KEY", &public)
            .replace("OTHER", &other)
            .replace("RSA", &rsa);
        let at = host(at);
        let ours = match KnownHosts::parse(Path::new("/kh"), text.as_bytes()).check(&at, &key) {
            Verdict::Known => "known",
            Verdict::Unknown => "unknown",
            Verdict::Changed { .. } => "changed",
            Verdict::Revoked { .. } => "revoked",
        };
        assert_eq!(ours, oracle.ask(&text, &at), "{text:?} for {at:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), name in ".{0,20}", port: u16) {
        let known = KnownHosts::parse(Path::new("/kh"), &bytes);
        let at = HostName { name: &name, port, alias: None };
        let (_, blob) = key("ed1").expect("a key");
        let presented = HostKey::from_blob(&blob).expect("a key");
        let verdict = known.check(&at, &presented);
        let _ = verdict.refusal(&at, &presented, "ssh h");
        let _ = HostKey::from_blob(&bytes);
        let _ = known.host(&at).authorities();
    }

    /// Nearly right lines reach further than arbitrary bytes do.
    #[test]
    fn nearly_right_lines_do_not_make_it_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("@revoked"), Just("@cert-authority"), Just("|1|"), Just("|"), Just("h"), Just("ssh-ed25519"), Just(" "),
            Just("\n"), Just("\t"), Just("AAAAC3NzaC1lZDI1NTE5AAAAIA=="), Just("AAAA"), Just("ed1"), Just("*"), Just(","),
        ], 0..30)
    ) {
        let known = KnownHosts::parse(Path::new("/kh"), file(&words.concat()).as_bytes());
        let _ = known.host(&host("h")).algorithms();
    }

    /// What is written is found again, plain and hashed, whatever the name.
    #[test]
    fn written_lines_are_found(name in "[a-zA-Z0-9._:-]{1,30}", port in 1..u16::MAX, salt: [u8; HASH_BYTES], number in 0..9_u8) {
        let blob = blob("ssh-ed25519", number);
        let presented = HostKey::from_blob(&blob).expect("a key");
        let at = HostName { name: &name, port, alias: None };
        for form in [NameForm::Plain, NameForm::Hashed { salt }] {
            let line = new_line(&at, &presented, form).expect("a line");
            prop_assert_eq!(KnownHosts::parse(Path::new("/kh"), line.as_bytes()).check(&at, &presented), Verdict::Known);
        }
    }
}
