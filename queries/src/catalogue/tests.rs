use super::*;
use crate::query::Chart;
use crate::statement::{Statement, Surroundings, Values};
use sqlparser::dialect::GenericDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")
}

/// A value for each type, so that every query can be expanded.
fn expanded(query: &Query) -> Statement {
    let mut given: Values = [("cluster".to_owned(), "aa".to_owned())].into();
    for parameter in &query.parameters {
        if parameter.default.is_none() {
            let value = match parameter.kind.word() {
                "int" => "7",
                "double" => "1.5",
                "duration" => "5m",
                _ => "word",
            };
            given.insert(parameter.name.clone(), value.to_owned());
        }
    }
    let around = Surroundings {
        given: &given,
        configured: &Values::new(),
        table: "logs",
        now_ns: 1_795_487_696_000_000_000,
    };
    Statement::of_query(query, around).unwrap_or_else(|error| panic!("{}: {error}", query.name))
}

#[test]
fn every_file_is_in_the_program_and_can_be_read() {
    let mut files: Vec<String> = fs::read_dir(folder())
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    files.sort();
    let built_in: Vec<String> = BUILT_IN
        .iter()
        .map(|(name, _)| format!("{name}.sql"))
        .collect();
    assert_eq!(files, built_in);
    let catalogue = Catalogue::built_in();
    let problems: Vec<String> = catalogue
        .problems
        .iter()
        .map(|problem| joblog::causes::chain(problem))
        .collect();
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(catalogue.queries().count(), BUILT_IN.len());
}

fn tokens(sql: &str) -> Vec<Token> {
    Tokenizer::new(&GenericDialect, sql)
        .tokenize()
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
        .into_iter()
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect()
}

#[test]
fn every_query_is_one_statement_of_sql() {
    for query in Catalogue::built_in().queries() {
        let sql = expanded(query).sql;
        let statements = Parser::parse_sql(&GenericDialect, &sql)
            .unwrap_or_else(|error| panic!("{}: {error}", query.name));
        assert_eq!(statements.len(), 1, "{}", query.name);
        assert!(
            matches!(statements[0], sqlparser::ast::Statement::Query(_)),
            "{}",
            query.name
        );
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Every key of an order says where NULLs go, so that both engines put them there.
#[test]
fn orders_say_where_nulls_go() {
    for query in Catalogue::built_in().queries() {
        let tokens = tokens(&expanded(query).sql);
        let mut keys = 0;
        for start in 0..tokens.len().saturating_sub(1) {
            if keyword(&tokens[start]) != Keyword::ORDER
                || keyword(&tokens[start + 1]) != Keyword::BY
            {
                continue;
            }
            let mut depth = 0;
            let mut key: Vec<Keyword> = Vec::new();
            let mut ends = |key: &[Keyword]| {
                assert!(
                    key.ends_with(&[Keyword::NULLS, Keyword::LAST]),
                    "{}: {key:?}",
                    query.name
                );
                keys += 1;
            };
            for token in &tokens[start + 2..] {
                match token {
                    Token::LParen => depth += 1,
                    Token::RParen if depth == 0 => break,
                    Token::RParen => depth -= 1,
                    Token::Comma if depth == 0 => {
                        ends(&key);
                        key.clear();
                    }
                    token
                        if depth == 0
                            && matches!(
                                keyword(token),
                                Keyword::LIMIT | Keyword::OFFSET | Keyword::ROWS | Keyword::RANGE
                            ) =>
                    {
                        break;
                    }
                    token => key.push(keyword(token)),
                }
            }
            ends(&key);
        }
        assert!(keys > 0, "{} has no order", query.name);
    }
}

/// The names of the outermost SELECT's columns, each given by AS.
fn outputs(sql: &str) -> Vec<String> {
    use sqlparser::ast::{SelectItem, SetExpr, Statement as Ast};
    let statements = Parser::parse_sql(&GenericDialect, sql).expect("SQL");
    let Ast::Query(query) = &statements[0] else {
        panic!("no query: {sql}");
    };
    let SetExpr::Select(select) = &*query.body else {
        panic!("no SELECT: {sql}");
    };
    select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            item => panic!("no name: {item} in {sql}"),
        })
        .collect()
}

#[test]
fn outputs_have_names_and_charts_draw_them() {
    for query in Catalogue::built_in().queries() {
        let names = outputs(&expanded(query).sql);
        let mut different = names.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), names.len(), "{}", query.name);
        if let Some(Chart { along, bars }) = &query.chart {
            assert!(
                names.contains(along) && names.contains(bars),
                "{}",
                query.name
            );
        }
    }
}

/// What is left out of the subset that both engines take alike.
#[test]
fn nothing_outside_of_the_subset_is_used() {
    for query in Catalogue::built_in().queries() {
        let sql = query.template.text();
        for token in tokens(&sql.replace("{{", "").replace("}}", "")) {
            match &token {
                Token::Word(word) => {
                    let word = word.value.to_lowercase();
                    let outside = [
                        "unnest",
                        "ordinality",
                        "qualify",
                        "ilike",
                        "match_recognize",
                        "approx_percentile",
                        "approx_distinct",
                        "arbitrary",
                        "tablesample",
                        "fetch",
                        "lateral",
                    ];
                    assert!(!outside.contains(&word.as_str()), "{}: {word}", query.name);
                }
                // A number with a point is a decimal in Trino and a double in Athena.
                Token::Number(number, _) => {
                    assert!(
                        !number.contains('.') || number.contains('E'),
                        "{}: {number}",
                        query.name
                    );
                }
                Token::DoubleColon | Token::Tilde | Token::Arrow => {
                    panic!("{}: {token}", query.name)
                }
                _ => {}
            }
        }
    }
}

fn catalogue_of(files: &[(&str, &str)]) -> (Catalogue, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let folders = [folder.path().to_owned(), folder.path().join("nowhere")];
    (Catalogue::built_in().with_folders(&folders), folder)
}

#[test]
fn folders_add_queries_and_do_not_take_names() {
    let (catalogue, folder) = catalogue_of(&[
        (
            "mine.sql",
            "-- name: mine\n-- answers: a\n\nSELECT 1 AS n FROM {{logs}}",
        ),
        (
            "grep.sql",
            "-- name: grep\n-- answers: a\n\nSELECT 1 AS n FROM {{logs}}",
        ),
        (
            "silence.sql",
            "-- name: silence\n-- replaces: silence\n-- answers: mine\n\nSELECT 1 AS n FROM {{logs}}",
        ),
        ("broken.sql", "SELECT 1"),
        ("binary.sql", "\u{0}"),
        ("notes.txt", "no query"),
    ]);
    assert!(catalogue.get("mine").is_ok());
    assert_eq!(
        catalogue.get("grep").expect("a query").origin,
        Origin::BuiltIn
    );
    assert_eq!(catalogue.get("silence").expect("a query").answers, "mine");
    let problems: Vec<String> = catalogue
        .problems
        .iter()
        .map(|problem| {
            joblog::causes::chain(problem).replace(&folder.path().display().to_string(), "FOLDER")
        })
        .collect();
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn a_name_that_is_not_there_tells_those_near_to_it() {
    let error = Catalogue::built_in()
        .get("gerp")
        .expect_err("no such query");
    assert_eq!(
        error.to_string(),
        "there is no query `gerp`; near to it: `grep`"
    );
}

/// The table in `docs/queries.md` is what the headers say. With `REWRITE_DOCS=1` in the environment it is written.
#[test]
fn the_page_has_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/queries.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (start, end) = ("<!-- catalogue -->\n", "<!-- end of catalogue -->\n");
    let (before, rest) = page.split_once(start).expect("a mark");
    let (_, after) = rest.split_once(end).expect("a mark");
    let wanted = format!(
        "{before}{start}\n{}\n{end}{after}",
        Catalogue::built_in().markdown()
    );
    if std::env::var_os("REWRITE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("written");
        return;
    }
    assert!(
        page == wanted,
        "docs/queries.md is not what the headers say: `REWRITE_DOCS=1 cargo test -p queries` writes it"
    );
}
