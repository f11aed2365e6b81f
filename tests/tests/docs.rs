//! What the documents say about the code, and the rules of `docs/architecture.md` about who may use what. Looks at files only.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

/// Flags in the documents that are of neither program: the demo's, and those that are said to be missing.
const OTHERS_FLAGS: [&str; 1] = ["--for"];

/// Flags in the operator's guide that are of the programs which install `shipper`.
const SETUP_FLAGS: [&str; 2] = ["--now", "--profile"];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace's folder").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder with this ending, without build results and hidden folders.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path as people know it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The lines of a document that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        if line.trim_start().starts_with("```") {
            code = !code;
            return false;
        }
        !code
    })
}

/// The blocks of code in one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(found)) if found == language => open = Some(String::new()),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        })
        .collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// What is wrong with the links of one document.
fn broken_links(document: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    for link in links(text) {
        if link.contains("://") {
            continue;
        }
        let (path, fragment) = match link.split_once('#') {
            Some((path, fragment)) => (path, Some(fragment)),
            None => (link.as_str(), None),
        };
        let target = match path {
            "" => document.to_owned(),
            path => document.parent().expect("a folder").join(path),
        };
        let sound = target.exists()
            && fragment.is_none_or(|fragment| anchors(&read(&target)).contains(fragment));
        if !sound {
            broken.push(format!("{}: {link}", shown(document)));
        }
    }
    broken
}

#[test]
fn links_lead_somewhere() {
    let documents = files(&root(), ".md");
    assert!(documents.len() > 10, "only {} documents", documents.len());
    let broken: Vec<String> = documents
        .iter()
        .flat_map(|document| broken_links(document, &read(document)))
        .collect();
    assert_eq!(broken, Vec::<String>::new());

    let here = root().join("README.md");
    let bad = "[a](docs/no-such.md) [b](README.md#no-such-part) [c](LICENSE)";
    assert_eq!(
        broken_links(&here, bad).len(),
        2,
        "a broken link is noticed"
    );
}

/// The value of a constant in the code, on one line.
fn constant(code: &str, name: &str) -> Option<String> {
    let (_, rest) = code.split_once(&format!("const {name}:"))?;
    let (declaration, _) = rest.split_once(';')?;
    let (_, value) = declaration.split_once('=')?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn limits_are_as_in_the_code() {
    let text = read(&root().join("docs/architecture.md"));
    let (_, section) = text.split_once("\n## Limits\n").expect("a part on limits");
    let section = section
        .split_once("\n## ")
        .map_or(section, |(section, _)| section);
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let [_, file, name, value, _, _, _] = cells[..] else {
            panic!("not five columns: {line}");
        };
        rows += 1;
        let found = constant(&read(&root().join(file)), name);
        if found.as_deref() != Some(value) {
            wrong.push(format!("{file}: {name} is {found:?}, not {value}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(rows > 50, "only {rows} limits were found in the table");
    assert_eq!(
        constant("const A: Duration =\n    Duration::from_secs(1);", "A").as_deref(),
        Some("Duration::from_secs(1)")
    );
    assert_eq!(
        constant("pub const B: u8 = 1 << 2;", "B").as_deref(),
        Some("1 << 2")
    );
}

/// The names of a command line and its verbs: `--tail`, `-n`.
fn flags(mut command: clap::Command, verbs: Verbs) -> BTreeSet<String> {
    command.build();
    let verbs = match verbs {
        Verbs::With => command.get_subcommands().cloned().collect(),
        Verbs::Without => Vec::new(),
    };
    verbs
        .iter()
        .chain([&command])
        .flat_map(clap::Command::get_arguments)
        .flat_map(|argument| {
            let long = argument
                .get_long_and_visible_aliases()
                .unwrap_or_default()
                .into_iter()
                .map(|name| format!("--{name}"));
            let short = argument
                .get_short_and_visible_aliases()
                .unwrap_or_default()
                .into_iter()
                .map(|name| format!("-{name}"));
            long.chain(short).collect::<Vec<_>>()
        })
        .collect()
}

/// The long flags that a text names anywhere, and the short ones that stand at the start of quoted words.
fn named_flags(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        let rest = &text[at + 2..];
        let length = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(rest.len());
        let name = rest[..length].trim_end_matches('-');
        if !name.is_empty()
            && !name.starts_with('-')
            && before.is_none_or(|c| !c.is_alphanumeric() && c != '-')
        {
            named.insert(format!("--{name}"));
        }
    }
    for quoted in prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)) {
        let mut chars = quoted.chars();
        if let (Some('-'), Some(letter), None | Some(' ')) =
            (chars.next(), chars.next(), chars.next())
            && letter.is_ascii_alphabetic()
        {
            named.insert(format!("-{letter}"));
        }
    }
    named
}

/// Whether the flags of verbs count.
#[derive(Clone, Copy)]
enum Verbs {
    With,
    Without,
}

#[test]
fn documents_and_programs_have_the_same_flags() {
    let flags_of_shipper = flags(shipper::args::Args::command(), Verbs::With);
    let unknown: Vec<String> = named_flags(&read(&root().join("docs/shipper.md")))
        .into_iter()
        // Cargo's, systemd's and those of `install`, which stand in blocks of commands.
        .filter(|flag| !flags_of_shipper.contains(flag) && !SETUP_FLAGS.contains(&flag.as_str()))
        .collect();
    assert_eq!(unknown, Vec::<String>::new(), "docs/shipper.md");
    let flags = flags(tailll::args::Args::command(), Verbs::Without);
    let guide = read(&root().join("docs/guide.md"));
    for document in ["README.md", "CHANGELOG.md", "docs/guide.md"] {
        let unknown: Vec<String> = named_flags(&read(&root().join(document)))
            .into_iter()
            .filter(|flag| !flags.contains(flag) && !OTHERS_FLAGS.contains(&flag.as_str()))
            .collect();
        assert_eq!(unknown, Vec::<String>::new(), "{document}");
    }
    let explained = named_flags(&guide);
    let missing: Vec<&String> = flags.difference(&explained).collect();
    assert_eq!(missing, Vec::<&String>::new(), "flags without a guide");
    assert_eq!(
        Vec::from_iter(named_flags("`-x`, `--yes-no N`, |---|, a--b, `ssh -F`")),
        ["--yes-no", "-x"]
    );
}

#[test]
fn configurations_in_documents_are_good() {
    for document in ["README.md", "docs/guide.md"] {
        let path = root().join(document);
        let blocks = blocks(&read(&path), "toml");
        assert!(!blocks.is_empty(), "{document}");
        for block in blocks {
            let config = tailll::config::Config::parse(&block, &path, Some(Path::new("/home/me")))
                .unwrap_or_else(|error| panic!("{error}\n{block}"));
            let command = tailll::args::Args::command();
            let typed = command
                .clone()
                .try_get_matches_from(["tailll", "hello"])
                .expect("a good command line");
            let known = tailll::settings::known_keys(&command);
            tailll::settings::Settings::find(&command, &typed, |_| None, &config.defaults, &known)
                .unwrap_or_else(|error| panic!("{error}\n{block}"));
        }
    }
}

#[test]
fn targets_in_documents_are_good() {
    let mut count = 0;
    for document in ["README.md", "docs/guide.md"] {
        for block in blocks(&read(&root().join(document)), "sh") {
            for line in block
                .lines()
                .filter_map(|line| line.strip_prefix("tailll "))
            {
                let command = line.split(" #").next().unwrap_or_default();
                for word in command.split_whitespace() {
                    let target = word.trim_matches('\'');
                    target
                        .parse::<tailll::target::Target>()
                        .unwrap_or_else(|error| panic!("{document}: {error}"));
                    count += 1;
                }
            }
        }
    }
    assert!(count > 5, "only {count} targets");
}

#[test]
fn exit_codes_are_in_the_documents() {
    use tailll::exit::Exit;
    for document in ["README.md", "docs/guide.md"] {
        let text = read(&root().join(document));
        let (_, section) = text
            .split_once("\n## Exit codes\n")
            .expect("a part on exit codes");
        let section = section
            .split_once("\n## ")
            .map_or(section, |(section, _)| section);
        for exit in [
            Exit::Success,
            Exit::Partial,
            Exit::Usage,
            Exit::NoMatch,
            Exit::Unreachable,
            Exit::Interrupted,
            Exit::Terminated,
        ] {
            let listed = section
                .lines()
                .filter_map(|line| line.split('|').nth(1))
                .flat_map(|cell| cell.split(','))
                .any(|code| code.trim() == exit.code().to_string());
            assert!(listed, "{document}: {exit:?}");
        }
    }
}

/// Lines of code below a folder that name this, outside comments, in files other than `allowed` (a name that ends
/// in `/` is a folder).
fn namings(folder: &str, word: &str, allowed: &[&str]) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for file in files(&root().join(folder), ".rs") {
        let name = shown(&file);
        if allowed
            .iter()
            .any(|place| name == *place || (place.ends_with('/') && name.starts_with(place)))
        {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let named = code.match_indices(word).any(|(at, _)| {
                !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
            });
            if named {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

/// A document that says which test shows something must not outlive the test.
#[test]
fn tests_that_documents_name_are_there() {
    let code: String = ["archive", "shipper", "tests"]
        .into_iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|file| read(&file))
        .collect();
    let text = read(&root().join("docs/failures.md"));
    let named = text.split('`').skip(1).step_by(2);
    // A test's name is a sentence.
    let tests: Vec<&str> = named
        .filter(|name| name.matches('_').count() > 2 && !name.contains('/'))
        .collect();
    assert!(tests.len() > 50, "{tests:?}");
    for test in tests {
        assert!(code.contains(&format!("fn {test}(")), "{test}");
    }
}

#[test]
fn each_outside_library_has_its_place() {
    let nowhere = Vec::<String>::new();
    let ssh = ["tailll/src/ssh.rs", "tailll/src/ssh/"];
    assert_eq!(namings("tailll", "russh", &ssh), nowhere);
    assert_ne!(
        namings("tailll/src", "russh", &[]),
        nowhere,
        "the search finds it where it is"
    );
    assert_eq!(
        namings("tailll", "crossterm", &["tailll/src/output.rs"]),
        nowhere
    );
    assert_eq!(
        namings(
            "tailll",
            "rustix",
            &[
                "tailll/src/open_files.rs",
                "tailll/src/proxy_command.rs",
                "tailll/src/tty.rs"
            ]
        ),
        nowhere
    );
    let athena = ["queries/src/athena.rs"];
    assert_eq!(namings("queries", "aws_sdk_athena", &athena), nowhere);
    assert_ne!(namings("queries/src", "aws_sdk_athena", &[]), nowhere);
    for outside in ["russh", "crossterm", "rustix", "tokio", "hyper"] {
        assert_eq!(namings("joblog", outside, &[]), nowhere);
    }
}

#[test]
fn only_the_output_writes_to_standard_output() {
    // One asks whether it is a terminal; the other hands it to its thread, asks whether it still has a reader, and prints what
    // is ready.
    let start = ["tailll/src/lib.rs", "tailll/src/output.rs"];
    for word in ["stdout()", "print!", "println!"] {
        assert_eq!(
            namings("tailll/src", word, &start),
            Vec::<String>::new(),
            "{word}"
        );
    }
    for (file, times) in start.into_iter().zip([1, 3]) {
        let code = read(&root().join(file));
        assert_eq!(code.matches("io::stdout()").count(), times, "{file}");
    }
}

#[test]
fn the_vocabulary_does_no_io_and_reads_no_clock() {
    for word in [
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "std::io",
        "SystemTime",
        "Instant",
        "Timestamp::now",
        "Zoned::now",
    ] {
        assert_eq!(
            namings("joblog/src", word, &[]),
            Vec::<String>::new(),
            "{word}"
        );
    }
}
