use super::*;
use proptest::prelude::*;

#[track_caller]
fn check(line: &str, expected: Option<Level>) {
    assert_eq!(find(line.as_bytes()), expected, "{line:?}");
}

#[test]
fn upper_case() {
    check(
        "2026-01-05 03:04:05,678 INFO [main] a.B: x",
        Some(Level::Info),
    );
    check(
        "2026-01-05 03:04:05,678 - root - WARNING - x",
        Some(Level::Warn),
    );
    check("WARNING:root:x", Some(Level::Warn));
    check("INFO:     Started server process", Some(Level::Info));
    check("SEVERE: x", Some(Level::Error));
    check("[ERROR] x", Some(Level::Error));
    check("<CRITICAL> x", Some(Level::Fatal));
    check("2026-01-05 03:04:05.678 |ERROR| x", Some(Level::Error));
    check(
        "[2026-01-05T03:04:05+00:00] app.ERROR: x",
        Some(Level::Error),
    );
    check(
        "[2026-01-05T03:04:05Z TRACE my_crate] x",
        Some(Level::Trace),
    );
    check(
        "\u{1b}[2m2026-01-05T03:04:05Z\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m x",
        Some(Level::Info),
    );
    check("\u{1b}[31mERROR\u{1b}[0m x", Some(Level::Error));
    check("[03:04:05 ERR] x", Some(Level::Error));
    check("ERRO[0012] x", Some(Level::Error));
    check("INFO[0000] x", Some(Level::Info));
    check("host app: EMERG x", Some(Level::Fatal));
    check("2026-01-05 NOTICE x", Some(Level::Info));
    check("2026-01-05 03:04:05 FINEST x", Some(Level::Trace));
    check("ERROR", Some(Level::Error));
    check("DEBUG x ERROR y", Some(Level::Debug));
}

#[test]
fn other_cases() {
    check("[Mon Jan 05 03:04:05 2026] [error] x", Some(Level::Error));
    check(
        "[Mon Jan 05 03:04:05.1 2026] [core:warn] [pid 1] x",
        Some(Level::Warn),
    );
    check("2026/01/05 03:04:05 [emerg] 1#1: x", Some(Level::Fatal));
    check(
        "2026-01-05 03:04:05, Info                  CBS    x",
        Some(Level::Info),
    );
    check(
        "time=\"2026-01-05T03:04:05Z\" level=error msg=x",
        Some(Level::Error),
    );
    check(
        "ts=2026-01-05T03:04:05Z level=\"warn\" msg=x",
        Some(Level::Warn),
    );
    check(
        "Jan  5 03:04:05 h app: {\"level\":\"error\",\"x\":1}",
        Some(Level::Error),
    );
    check("Jan  5 03:04:05 h sshd[1]: error: x", Some(Level::Error));
    check("error: could not compile", Some(Level::Error));
    check("a.c:12:5: warning: unused", Some(Level::Warn));
    check("Error: x", Some(Level::Error));
}

#[test]
fn letters() {
    check("I0105 03:04:05.678901 1 a.cc:4] x", Some(Level::Info));
    check("E20260105 03:04:05.678901 1 a.cc:4] x", Some(Level::Error));
    check("F0105 03:04:05.678901 1 a.cc:4] x", Some(Level::Fatal));
    check(
        "03-17 16:13:38.811  1702  2395 D Tag: x",
        Some(Level::Debug),
    );
    check(
        "03-17 16:13:38.811  1702  2395 V Tag: x",
        Some(Level::Trace),
    );
    check("W/Tag( 123): x", Some(Level::Warn));
    check(
        "2026-01-05T03:04:05.678+0000 E NETWORK  [conn1] x",
        Some(Level::Error),
    );
    check("2026-01-05 03:04:05 I am here", None);
    check("E0105 is the code", None);
}

#[test]
fn priorities() {
    check("<11>1 2026-01-05T03:04:05Z h app - - x", Some(Level::Error));
    check("<13>Jan  5 03:04:05 h app: x", Some(Level::Info));
    check("<0>x", Some(Level::Fatal));
    check("<191>x", Some(Level::Debug));
    check("<192>x", None);
    check("<>x", None);
}

#[test]
fn access_lines() {
    let line = |status: &str| {
        format!("10.1.2.3 - - [05/Jan/2026:03:04:05 +0000] \"GET /error HTTP/1.1\" {status} 12")
    };
    check(&line("200"), Some(Level::Info));
    check(&line("302"), Some(Level::Info));
    check(&line("404"), Some(Level::Warn));
    check(&line("503"), Some(Level::Error));
    check(&line("600"), None);
    check(&line("5030"), None);
    check(
        "10.1.2.3 - - [x] \"TRACE / HTTP/1.1\" 405 1",
        Some(Level::Warn),
    );
    check("10.1.2.3 - - [x] \"GET /ERROR", None);
}

#[test]
fn json_lines() {
    check(r#"{"level":"error","msg":"x"}"#, Some(Level::Error));
    check(r#"{"msg":"level=error","n":1}"#, None);
    check(r#"{"a":{"level":"error"}}"#, None);
    check(r#"{"log":{"level":"error"}}"#, Some(Level::Error));
    check(
        r#"{"log":"level=info","severity":"ERROR"}"#,
        Some(Level::Error),
    );
    check(r#"{"level":30}"#, Some(Level::Info));
    check(r#"{"level":60}"#, Some(Level::Fatal));
    check(r#"{"level":3}"#, Some(Level::Error));
    check(r#"{"level":"50"}"#, Some(Level::Error));
    check(r#"{"levelno":30}"#, Some(Level::Warn));
    check(r#"{"level":400,"level_name":"ERROR"}"#, Some(Level::Error));
    check(r#"{"level":null,"severity":"WARNING"}"#, Some(Level::Warn));
    check(r#"{"severity":"INFO","level":"ERROR"}"#, Some(Level::Error));
    check(r#"{"PRIORITY":"6"}"#, Some(Level::Info));
    check(r#"{"level":-1}"#, None);
}

#[test]
fn no_level() {
    for line in [
        "",
        " ",
        "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: authentication failure; logname= uid=0",
        "the error was found",
        "no errors, no warnings",
        "ERRORS: 0",
        "read ERROR.log",
        "MY_ERROR x",
        "error_log opened",
        "/var/log/error: opened",
        "information about the trace of a fatal debug warning",
        "it took a long while before the server gave us an ERROR",
        "\tat a.b.ErrorHandler.handle(ErrorHandler.java:12)",
        "level of service",
        "level=",
        "level",
    ] {
        check(line, None);
    }
    check(&format!("{} ERROR x", "9".repeat(200)), None);
}

#[test]
fn words() {
    for level in Level::ALL {
        assert_eq!(Level::from_word(level.name().as_bytes()), Some(level));
        assert_eq!(level.to_string(), level.name());
    }
    assert_eq!(Level::from_word(b"Informational"), Some(Level::Info));
    assert_eq!(Level::from_word(b""), None);
    assert!(Level::ALL.is_sorted());
}

proptest! {
    #[test]
    fn any_bytes(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = find(&line);
    }

    #[test]
    fn almost_levels(line in "[<\\[{\"|]{0,2}[0-9TIWED: -]{0,12}(level|ERROR|info|GET|\u{1b}\\[3)?[\"=:\\[\\] >|]{0,4}(warn|Err|ERROR|50)?[\"\\]: ,}]{0,3}") {
        for cut in 0..=line.len() {
            let _ = find(&line.as_bytes()[..cut]);
        }
    }

    /// Where a logger puts the word, it is found, whatever follows.
    #[test]
    fn the_word_before_a_message(index in 0usize..6, message in ".{0,40}") {
        let level = Level::ALL[index];
        let word = level.name().to_ascii_uppercase();
        check(&format!("2026-01-05 03:04:05,678 {word} {message}"), Some(level));
        check(&format!("[{}] {message}", level.name()), Some(level));
    }
}

#[test]
fn the_place_is_the_word_s() {
    for (line, wanted) in [
        ("2026-01-05 03:04:05 ERROR disk full", "ERROR"),
        ("[main] WARN  a.b.C - slow", "WARN"),
        ("time=x level=error msg=y", "error"),
        ("ERRO[0012] gone", "ERRO"),
        ("W1123 22:49:00.012217 18849 warmer.cc:207] slow", "W"),
        ("03-17 16:13:38.811  1702  2395 D Tag: text", "D"),
        ("<11>app: text", ""),
        ("\"GET / HTTP/1.1\" 500 12", ""),
        ("no level here", ""),
        ("{\"level\":\"ERROR\"}", ""),
        ("", ""),
    ] {
        let place = super::place(line.as_bytes()).unwrap_or(0..0);
        assert_eq!(&line[place], wanted, "{line}");
    }
}
