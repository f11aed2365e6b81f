use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

#[test]
fn the_definition_is_sound_for_every_query() {
    command(None).debug_assert();
    for query in Catalogue::built_in().queries() {
        command(Some(query)).debug_assert();
    }
}

#[test]
fn no_parameter_has_a_name_that_is_taken() {
    // What a header refuses has to hold every flag that there is.
    let command = command(None);
    let verbs = ["run", "show"].map(|verb| command.find_subcommand(verb).expect("a verb"));
    for flag in verbs
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .chain(command.get_arguments())
    {
        let Some(long) = flag.get_long() else {
            continue;
        };
        let name = long.replace('-', "_");
        let refused = crate::query::RESERVED.contains(&name.as_str())
            || crate::query::SELECTION.contains(&name.as_str());
        assert!(refused, "--{long} could be a parameter");
    }
}

#[test]
fn queries_and_configurations_are_found_before_the_line_is_read() {
    let catalogue = Catalogue::built_in();
    let query = |line: &str| {
        named_queries(&words(line), &catalogue)
            .next()
            .map(|query| query.name.clone())
    };
    assert_eq!(
        query("queries run grep --pattern x").as_deref(),
        Some("grep")
    );
    assert_eq!(
        query("queries --config x run -c aa grep").as_deref(),
        Some("grep")
    );
    assert_eq!(query("queries show latency").as_deref(), Some("latency"));
    assert_eq!(query("queries sql grep"), None);
    assert_eq!(query("queries run nothing"), None);
    let config = |line: &str| named_config(&words(line));
    assert_eq!(config("queries --config a ls"), Some("a".into()));
    assert_eq!(config("queries ls --config=a"), Some("a".into()));
    assert_eq!(config("queries ls"), None);
    assert_eq!(config("queries ls --config"), None);
}

#[test]
fn parameters_have_flags_of_their_own() {
    let catalogue = Catalogue::built_in();
    let values = |line: &str| parse(&words(line), &catalogue).map(|(_, values)| values);
    let found = values("queries run new-patterns --since -2h --lines 3")
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.get("since").map(String::as_str), Some("-2h"));
    assert_eq!(found.get("lines").map(String::as_str), Some("3"));
    // Another query's are none, and a value that is a query's name is a value.
    assert!(values("queries run grep --since -2h").is_err());
    let found =
        values("queries run -c grep silence --gap 5m").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.get("gap").map(String::as_str), Some("5m"));
    let found = values("queries run -c grep nothing").unwrap_or_else(|error| panic!("{error}"));
    assert!(found.is_empty());
}

#[test]
fn assignments_are_read() {
    assert_eq!(
        assignment("a-b=c=d"),
        Ok(("a_b".to_owned(), "c=d".to_owned()))
    );
    assert!(assignment("a").is_err());
    assert!(assignment("=a").is_err());
}

/// Flags that the page names are there, and all that are there are on the page.
#[test]
fn the_page_has_the_flags() {
    let page = include_str!("../../../docs/queries.md");
    let mut flags: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    let mut add = |command: &clap::Command| {
        let longs = command.get_arguments().filter_map(Arg::get_long);
        flags.extend(longs.map(|long| format!("--{long}")));
    };
    let catalogue = Catalogue::built_in();
    for query in catalogue.queries() {
        let command = command(Some(query));
        add(&command);
        command.get_subcommands().for_each(&mut add);
    }
    let named: Vec<String> = page
        .split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
        .filter(|word| word.starts_with("--") && word.len() > 2 && !word.starts_with("---"))
        .map(str::to_owned)
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for flag in &named {
        assert!(
            flags.contains(flag) || flag == "--help",
            "{flag} is on the page only"
        );
    }
}
