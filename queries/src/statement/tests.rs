use super::*;
use crate::catalogue::Catalogue;
use crate::query::Origin;
use proptest::prelude::*;
use sqlparser::dialect::GenericDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

const NOW: i64 = 1_795_487_696_000_000_000;

fn values(pairs: &[(&str, &str)]) -> Values {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn around<'a>(given: &'a Values, configured: &'a Values) -> Surroundings<'a> {
    Surroundings {
        given,
        configured,
        table: "logs",
        now_ns: NOW,
    }
}

fn query() -> Query {
    Query::parse(
        "-- name: x\n-- answers: a\n-- param word: text; a\n-- param pattern: regex = a; a\n-- param names: list = a; a\n\
         -- param field: path = a; a\n-- param limit: int 1..50 = 10; a\n-- param of: job = *; a\n-- default from: -2h\n\n\
         SELECT {{word}} AS word, json_extract_scalar(line, {{field}}) AS field FROM {{logs}} WHERE regexp_like(line, {{pattern}})\n\
         AND job IN {{names}} AND {{of}} AND ts_ns < {{to}} ORDER BY 1 LIMIT {{limit}}",
        "x",
        Origin::BuiltIn,
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

fn statement(given: &Values) -> Result<Statement, StatementError> {
    Statement::of_query(&query(), around(given, &Values::new()))
}

#[test]
fn values_come_from_the_nearest_that_says_them() {
    let selection = |given: &Values, configured: &Values| {
        let statement = Statement::of_query(&query(), around(given, configured))
            .unwrap_or_else(|error| panic!("{error}"));
        let limit = statement
            .sql
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let selection = statement.selection.expect("a selection");
        let hours = (NOW - selection.times_ns.start) / 3_600_000_000_000;
        (selection.cluster, hours, limit)
    };
    let word = ("word", "w");
    // What is configured, where the query says nothing; a limit that does not fit is not taken.
    let configured = values(&[("cluster", "aa"), ("from", "-5h"), ("limit", "40")]);
    assert_eq!(
        selection(&values(&[word]), &configured),
        ("aa".to_owned(), 2, "40".to_owned())
    );
    let configured = values(&[("cluster", "aa"), ("limit", "400")]);
    assert_eq!(
        selection(&values(&[word]), &configured),
        ("aa".to_owned(), 2, "10".to_owned())
    );
    // What is typed goes first; a job with its cluster says the cluster.
    let given = values(&[
        word,
        ("from", "-3h"),
        ("limit", "20"),
        ("job", "bb/www/prod/x"),
    ]);
    assert_eq!(
        selection(&given, &configured),
        ("bb".to_owned(), 3, "20".to_owned())
    );
}

#[test]
fn sql_that_is_typed_can_select_and_need_not() {
    let given = values(&[
        ("cluster", "aa"),
        ("from", "2026-11-24T01"),
        ("to", "2026-11-24T02"),
        ("job", "www/prod/x"),
    ]);
    let none = Values::new();
    let typed = |sql: &str, given| Statement::of_sql(sql, around(given, &none));
    let statement = typed("SELECT count(*) AS n FROM {{logs}} AS l;", &given)
        .unwrap_or_else(|error| panic!("{error}"));
    insta::assert_snapshot!(statement.sql);
    // Without a hole nothing has to be known.
    let statement = typed("SELECT '{{logs}}'", &none).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (statement.sql.as_str(), statement.selection),
        ("SELECT '{{logs}}'", None)
    );
    assert_eq!(
        typed("SELECT 1 FROM {{logs}}", &none),
        Err(StatementError::NoCluster)
    );
    assert_eq!(typed(" ; ", &none), Err(StatementError::Empty));
    assert_eq!(
        typed("SELECT 1; SELECT 2", &none),
        Err(StatementError::Several)
    );
    assert_eq!(
        typed("SELECT {{word}}", &given),
        Err(StatementError::Hole {
            name: "word".to_owned()
        })
    );
}

#[test]
fn a_statement_has_a_limit() {
    let long = "x".repeat(60_000);
    let mut query = query();
    query.template = Template::parse(&"{{word}} {{logs}} ".repeat(5)).expect("a template");
    let given = values(&[("cluster", "aa"), ("word", &long)]);
    let error = Statement::of_query(&query, around(&given, &Values::new())).expect_err("too long");
    assert!(matches!(error, StatementError::TooLong { .. }), "{error}");
}

/// The kinds of a statement's tokens: what a literal holds does not count.
fn shape(sql: &str) -> Vec<String> {
    Tokenizer::new(&GenericDialect, sql)
        .tokenize()
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
        .into_iter()
        .map(|token| match token {
            Token::SingleQuotedString(_) => "'text'".to_owned(),
            Token::Number(..) => "1".to_owned(),
            token => token.to_string(),
        })
        .collect()
}

fn harmless() -> Vec<String> {
    let given = values(&[("cluster", "aa"), ("word", "w")]);
    shape(
        &statement(&given)
            .unwrap_or_else(|error| panic!("{error}"))
            .sql,
    )
}

#[test]
fn hostile_values_do_not_change_a_statement() {
    let long = "'".repeat(1 << 20);
    let quotes = "'".repeat(30_000);
    for hostile in [
        "'",
        "''",
        "\\'",
        "' OR '1'='1",
        "'; DROP TABLE logs; --",
        "/*",
        "*/ --",
        "\u{2019}",
        "\u{ff07}",
        "\n",
        "\r\n-- x",
        "{{logs}}",
        "{{word}}",
        "\0",
        "%27",
        "$$",
        "`",
        "\"",
        "\u{202e}",
        "\u{feff}'",
        &long,
        &quotes,
    ] {
        for name in [
            "word", "pattern", "names", "field", "limit", "of", "job", "cluster", "from", "to",
        ] {
            let mut given = values(&[("cluster", "aa"), ("word", "w")]);
            given.insert(name.to_owned(), hostile.to_owned());
            if let Ok(statement) = statement(&given) {
                assert_eq!(shape(&statement.sql), harmless(), "{name}");
            }
        }
    }
    // They are not refused for being hostile, where any text is one.
    let given = values(&[("cluster", "aa"), ("word", "'; DROP TABLE logs; --")]);
    let sql = statement(&given)
        .unwrap_or_else(|error| panic!("{error}"))
        .sql;
    assert!(
        sql.starts_with("SELECT '''; DROP TABLE logs; --' AS word"),
        "{sql}"
    );
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "['\"`;/*{}\\\\\n -]{0,20}",
        any::<String>(),
        "(' OR 1=1 --|\\{\\{logs\\}\\}|a|/\\*|\\*/|''){0,6}",
    ]
}

proptest! {
    #[test]
    fn no_value_changes_the_shape(name in prop::sample::select(vec!["word", "pattern", "field", "limit", "cluster", "from", "to"]), value in hostile()) {
        let mut given = values(&[("cluster", "aa"), ("word", "w")]);
        given.insert(name.to_owned(), value);
        if let Ok(statement) = statement(&given) {
            let (found, wanted) = (shape(&statement.sql), harmless());
            // A span of time may be one hour or several, or need no range: the condition has other words then.
            if matches!(name, "from" | "to") {
                prop_assert!(!statement.sql.contains("--"), "{}", statement.sql);
            } else {
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn a_list_is_only_texts(value in hostile()) {
        let given = values(&[("cluster", "aa"), ("word", "w"), ("names", &value)]);
        if let Ok(statement) = statement(&given) {
            // `'text', ` for every one after the first: the rest is the same.
            let mut found = shape(&statement.sql);
            let at = found.iter().position(|token| token == "IN").expect("a list") + 3;
            while found[at + 1] == "," {
                prop_assert_eq!(&found[at], "'text'");
                found.drain(at..at + 3);
            }
            prop_assert_eq!(found, harmless());
        }
    }

    #[test]
    fn no_query_of_the_catalogue_changes_its_shape(word in hostile()) {
        for query in Catalogue::built_in().queries() {
            let with = |text: &str| {
                let mut given = values(&[("cluster", "aa")]);
                for parameter in &query.parameters {
                    match &parameter.kind {
                        Type::Text => given.insert(parameter.name.clone(), text.to_owned()),
                        Type::Regex | Type::Path => given.insert(parameter.name.clone(), "a".to_owned()),
                        Type::Int { min, .. } if parameter.default.is_none() => given.insert(parameter.name.clone(), min.to_string()),
                        _ => None,
                    };
                }
                Statement::of_query(query, around(&given, &Values::new())).map(|statement| shape(&statement.sql))
            };
            if let Ok(found) = with(&word) {
                prop_assert_eq!(found, with("w").unwrap_or_else(|error| panic!("{error}")), "{}", query.name);
            }
        }
    }
}
