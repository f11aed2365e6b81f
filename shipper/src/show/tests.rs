use archive::Origin;

use super::*;
use crate::beneath::NotOpened;
use crate::file_id::{FileId, FileStat};
use crate::rules::Owner;

fn text(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).expect("to print");
    String::from_utf8(out).expect("text")
}

fn in_a_sandbox() -> Explained {
    let some = |text: &str| Some(text.to_owned());
    Explained {
        rule: "mesos".into(),
        owner: Owner {
            cluster: "aa".to_owned(),
            origin: Origin {
                role: some("web"),
                env: some("prod"),
                job: some("hello"),
                instance: 3,
                task_id: some("web-prod-hello-3-x"),
                process: some("server\u{1b}[31m"),
                run: 2,
                stream: some("stdout"),
                host: some("node7"),
                src: String::new(),
                git_sha: some("5c3a1f0"),
            },
            certainty: Certainty::TaskInfo,
            run_dir: None,
        },
        root: "/var/lib/mesos".into(),
        file: Ok(FileStat {
            id: FileId {
                dev: 1,
                ino: 77,
                birth_ns: Some(1_795_485_600_000_000_000),
            },
            size: 1_234_567,
            mtime_ns: 1_795_485_601_500_000_000,
            links: 2,
            disk_bytes: 1_236_992,
            uid: 1000,
        }),
        src: "00000000000000ff-77-1795485600000000000".parse().ok(),
        key: "logs/v1/cluster=aa/dh=<hour>/00000000000000ff~<incarnation>~<number>.parquet"
            .to_owned(),
    }
}

fn by_a_rule() -> Explained {
    let file = in_a_sandbox();
    Explained {
        rule: "web".into(),
        owner: Owner {
            origin: Origin {
                job: Some("a".to_owned()),
                stream: Some("a.log".to_owned()),
                ..Origin::default()
            },
            certainty: Certainty::Rule,
            ..file.owner
        },
        root: "/var/log/web".into(),
        file: Err(NotOpened::Gone),
        src: None,
        ..file
    }
}

#[test]
fn a_file_is_explained() {
    let path = Path::new("/var/lib/mesos/x/stdout");
    let shown = |file: &Explained, report| text(|out| explained(path, file, report, out));
    insta::assert_snapshot!("explain_sandbox", shown(&in_a_sandbox(), Report::Text));
    insta::assert_snapshot!("explain_rule", shown(&by_a_rule(), Report::Text));
    insta::assert_snapshot!("explain_json", shown(&in_a_sandbox(), Report::Json));
    for file in [in_a_sandbox(), by_a_rule()] {
        assert!(!shown(&file, Report::Text).contains('\u{1b}'));
        let json = shown(&file, Report::Json);
        let value: serde_json::Value = serde_json::from_str(&json).expect("an object");
        assert_eq!(value["path"], "/var/lib/mesos/x/stdout");
    }
}

#[test]
fn a_refusal_says_why() {
    let why = Refused("`[mesos] exclude` has `/x`".to_owned());
    let shown = |report| text(|out| refused(Path::new("/x\n"), &why, report, out));
    insta::assert_snapshot!(
        shown(Report::Text),
        @r"/x\u{a}: no rule takes it: `[mesos] exclude` has `/x`"
    );
    let value: serde_json::Value = serde_json::from_str(&shown(Report::Json)).expect("an object");
    assert_eq!(value["refused"], "`[mesos] exclude` has `/x`");
}

#[test]
fn what_it_costs() {
    let fleet = Fleet::reference();
    insta::assert_snapshot!("cost", text(|out| cost(&fleet, Report::Text, out)));
    let json = text(|out| cost(&fleet, Report::Json, out));
    let value: serde_json::Value = serde_json::from_str(&json).expect("an object");
    let month = fleet.month();
    for (key, expected) in [
        ("objects", month.objects),
        ("put_dollars", month.put_dollars),
        ("object_bytes", month.object_bytes),
    ] {
        assert_eq!(value[key].as_f64(), Some(expected), "{key}");
    }
}

#[test]
fn errors_come_before_warnings() {
    let finding = |weight, text: &str| Finding {
        weight,
        text: text.to_owned(),
    };
    let shown = |list: &[Finding]| text(|out| findings(Path::new("c.toml"), list, out));
    let warning = finding(Weight::Warning, "w\u{1b}");
    let error = finding(Weight::Error, "e");
    insta::assert_snapshot!(shown(&[]), @"c.toml: good, and this host can do what it says");
    insta::assert_snapshot!(shown(std::slice::from_ref(&warning)), @r"
    warning: w\u{1b}
    c.toml: good; 1 warning
    ");
    insta::assert_snapshot!(shown(&[warning.clone(), error, warning]), @r"
    error: e
    warning: w\u{1b}
    warning: w\u{1b}
    c.toml: good in itself; 1 error and 2 warnings about this host
    ");
}

/// The page for people shows what the program prints.
#[test]
fn the_page_has_the_figures() {
    let page = include_str!("../../../docs/shipper.md");
    let month = Fleet::reference().month().to_string();
    assert!(page.contains(&format!("```text\n{month}\n```")), "{month}");
}
