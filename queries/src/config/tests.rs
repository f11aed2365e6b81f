use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/q/config.toml")).map_err(|error| error.to_string())
}

#[test]
fn nothing_is_needed() {
    let config = parse("").expect("an empty file is a fine one");
    assert_eq!(
        config,
        Config {
            file: Some("/etc/q/config.toml".into()),
            ..Config::default()
        }
    );
    assert_eq!(
        Config::load(&Place::Nowhere).expect("no file"),
        Config::default()
    );
    let usual = Place::Usual("/nowhere/at/all.toml".into());
    assert_eq!(Config::load(&usual).expect("no file"), Config::default());
    let named = Place::Named("/nowhere/at/all.toml".into());
    assert!(matches!(
        Config::load(&named),
        Err(ConfigError::Read { .. })
    ));
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        archive = "s3://logs/prod"
        engine = "athena"
        table = "job_logs"
        query_folders = ["mine", "/srv/queries"]
        memory_megabytes = 512

        [s3]
        region = "eu-west-1"

        [defaults]
        cluster = "aa"
        from = "-2h"
        to = "now"
        job = "www/prod/*"
        limit = 200

        [athena]
        catalog = "AwsDataCatalog"
        database = "ops"
        workgroup = "forensics"
        output_location = "s3://answers/q"
        endpoint = "http://127.0.0.1:5005"
        reuse_minutes = 60
        max_scan_bytes = 10000000000
        dollars_per_tb = 6.75
        "#,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    insta::assert_debug_snapshot!(config);
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_is_allowed() {
    let mut said = String::new();
    for text in [
        "archiv = \"s3://logs\"",
        "archive = \"/srv/logs\"",
        "engine = \"duckdb\"",
        "query_folders = \"mine\"",
        "query_folders = [\"\"]",
        "memory_megabytes = 1",
        "memory_megabytes = -1",
        "[s3]\nendpoint = \"here\"",
        "[defaults]\nfrom = \"soon\"",
        "[defaults]\ncluster = \"a/b\"",
        "[defaults]\njob = \"a b\"",
        "[defaults]\nlimit = 0",
        "table = \"Logs\"",
        "[athena]\ndatabase = \"x; DROP\"",
        "[athena]\noutput_location = \"file:///a\"",
        "[athena]\nendpoint = \"127.0.0.1\"",
        "[athena]\nreuse_minutes = 0",
        "[athena]\nmax_scan_bytes = 1",
        "[athena]\ndollars_per_tb = -1.0",
    ] {
        let error = parse(text).expect_err(text);
        said += &error
            .split("; write now")
            .next()
            .unwrap_or_default()
            .replace('\n', " ");
        said.push('\n');
    }
    insta::assert_snapshot!(said);
}

#[test]
fn the_file_is_looked_for_where_people_put_it() {
    let path = |text: &str| Some(PathBuf::from(text));
    for (place, expected) in [
        (
            Place::of(path("a"), path("/x"), path("/h")),
            Place::Named("a".into()),
        ),
        (
            Place::of(None, path("/x"), path("/h")),
            Place::Usual("/x/queries/config.toml".into()),
        ),
        (
            Place::of(None, path("x"), path("/h")),
            Place::Usual("/h/.config/queries/config.toml".into()),
        ),
        (Place::of(None, None, None), Place::Nowhere),
    ] {
        assert_eq!(place, expected);
    }
}

#[test]
fn the_page_has_every_key_and_its_example_is_good() {
    let page = include_str!("../../../docs/queries.md");
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let config = parse(example).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.athena.workgroup, "forensics");
    let unknown = parse("[athena]\nx = 1").expect_err("an unknown key");
    let more = parse("x = 1").expect_err("an unknown key");
    let mut keys = 0;
    for key in [unknown, more]
        .iter()
        .flat_map(|text| text.split('`').skip(1).step_by(2))
    {
        keys += 1;
        let named = page.contains(&format!("`{key}`")) || page.contains(&format!("`[{key}]`"));
        assert!(named || key == "x", "{key} is not on the page");
    }
    assert!(keys > 15, "only {keys} keys");
}
