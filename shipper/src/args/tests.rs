use clap::CommandFactory as _;

use super::*;

fn help(verb: Option<&str>) -> String {
    let mut command = Args::command().term_width(100);
    command.build();
    match verb {
        None => command.render_long_help().to_string(),
        Some(verb) => command
            .find_subcommand_mut(verb)
            .expect("a verb")
            .render_long_help()
            .to_string(),
    }
}

#[test]
fn the_help_reads_well() {
    insta::assert_snapshot!(help(None));
}

#[test]
fn the_help_of_every_verb_reads_well() {
    let verbs: Vec<String> = Args::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    let texts: Vec<String> = verbs.iter().map(|verb| help(Some(verb))).collect();
    insta::assert_snapshot!(texts.join("\n----------------\n"));
}

#[test]
fn the_definition_is_sound() {
    Args::command().debug_assert();
}

fn parse(line: &str) -> Result<Args, String> {
    let words = line.split_whitespace();
    Args::try_parse_from(std::iter::once("shipper").chain(words)).map_err(|error| error.to_string())
}

#[test]
fn what_is_typed_is_understood() {
    let args = parse("--config a.toml run").expect("good flags");
    assert_eq!(args.config, PathBuf::from("a.toml"));
    let args = parse("validate --config b.toml").expect("good flags");
    assert_eq!(args.config, PathBuf::from("b.toml"));
    let verb =
        parse("explain --cost --hosts 3 --kb-per-second 0.5 --jobs 1 --flush 60 --ratio 5 -o json");
    let Ok(Verb::Explain(explain)) = verb.map(|args| args.verb) else {
        panic!("explain");
    };
    assert!(explain.cost && explain.path.is_none());
    assert_eq!(explain.fleet.kb_per_second, Some(0.5));
    assert_eq!(explain.output, Report::Json);
    let verb = parse("audit --cluster aa --from 1970-01-02-03 --to 1970-01-02");
    let Ok(Verb::Audit(audit)) = verb.map(|args| args.verb) else {
        panic!("audit");
    };
    assert_eq!(audit.from.map(|hour| hour.first), Some(27));
    assert_eq!(audit.to.map(|hour| hour.last), Some(47));
}

#[test]
fn wrong_flags_are_said() {
    for (line, expected) in [
        ("", "VERB"),
        ("ship", "ship"),
        ("run --backfill", "--backfill"),
        ("ls -o csv", "table, json"),
        ("explain", "PATH"),
        ("explain /a --cost", "cannot be used with"),
        ("explain /a --hosts 3", "cannot be used with"),
        ("explain --hosts 3", "--cost"),
        ("explain --cost --hosts 0", "--hosts"),
        ("explain --cost --ratio 0.5", "from 1 to 1000"),
        ("explain --cost --kb-per-second NaN", "from 0 to"),
        ("audit --since 5", "24h"),
        ("audit --since 0s", "24h"),
        ("audit --since 99999999999999999999d", "24h"),
        ("audit --since 1h --from 2026-11-24", "cannot be used with"),
        ("audit --from 2026-11-24-24", "2026-11-24-09"),
        ("audit --from 2026-02-30", "2026-11-24-09"),
        ("audit --from 2026-1-1", "2026-11-24-09"),
        ("audit --from 2026-11-24-+1", "2026-11-24-09"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

/// The page for people has every verb and every flag.
#[test]
fn the_page_tells_all() {
    let page = include_str!("../../../docs/shipper.md");
    let mut command = Args::command();
    command.build();
    let mut flags = std::collections::BTreeSet::new();
    let verbs: Vec<clap::Command> = command.get_subcommands().cloned().collect();
    for one in verbs.iter().chain([&command]) {
        flags.extend(one.get_arguments().filter_map(clap::Arg::get_long));
    }
    assert!(flags.len() > 10, "{flags:?}");
    for flag in flags {
        assert!(page.contains(&format!("--{flag}")), "--{flag}");
    }
    for verb in verbs {
        let name = verb.get_name();
        assert!(page.contains(&format!("\n| `{name}")), "{name}");
    }
}
