//! The catalogue as Athena's named queries, for people who work in its console.
//!
//! Named queries have no parameters: they are published with their defaults as literals, and a comment says which to change.

use std::fmt::Write as _;

use crate::catalogue::Catalogue;
use crate::parameter::Type;
use crate::publish::Publication;
use crate::query::Query;
use crate::statement::{Statement, StatementError, Surroundings};

/// All queries, with values where they need some.
pub fn publications(
    catalogue: &Catalogue,
    around: Surroundings<'_>,
) -> Result<Vec<Publication>, StatementError> {
    catalogue
        .queries()
        .map(|query| publish(query, around))
        .collect()
}

fn publish(query: &Query, around: Surroundings<'_>) -> Result<Publication, StatementError> {
    let mut given = around.given.clone();
    let mut notes = String::new();
    for parameter in &query.parameters {
        if parameter.default.is_none() {
            let example = example(&parameter.kind);
            // Writing to a text cannot fail.
            let _ = writeln!(notes, "-- change {example}: {}", parameter.text);
            given.insert(parameter.name.clone(), example);
        }
    }
    given.retain(|name, _| {
        crate::query::SELECTION.contains(&name.as_str()) || query.parameter(name).is_some()
    });
    let statement = Statement::of_query(
        query,
        Surroundings {
            given: &given,
            ..around
        },
    )?;
    Ok(Publication {
        name: query.name.clone(),
        description: query.answers.clone(),
        sql: format!(
            "-- {}: {}\n-- change the hours (dh) and the times (ts_ns), which are those of the day it was published\n{notes}{}",
            query.name, query.answers, statement.sql
        ),
    })
}

/// A value that stands until somebody writes his own.
fn example(kind: &Type) -> String {
    match kind {
        Type::Moment => "now".to_owned(),
        Type::Job => "*".to_owned(),
        Type::Text | Type::Regex | Type::Path | Type::List => "change_me".to_owned(),
        Type::Int { min, .. } => min.to_string(),
        Type::Double { min, .. } => min.to_string(),
        Type::Duration => "1m".to_owned(),
        Type::Choice(words) => words.first().cloned().unwrap_or_default(),
    }
}

/// What is published, when only shown.
pub fn text(queries: &[Publication]) -> String {
    queries
        .iter()
        .map(|query| format!("{};\n", query.sql))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Values;

    #[test]
    fn every_query_is_published_with_values() {
        let given: Values = [("cluster".to_owned(), "aa".to_owned())].into();
        let around = Surroundings {
            given: &given,
            configured: &Values::new(),
            table: "logs",
            now_ns: 1_795_485_600_000_000_000,
        };
        let all =
            publications(&Catalogue::built_in(), around).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(all.len(), crate::catalogue::BUILT_IN.len());
        let grep = all
            .iter()
            .find(|query| query.name == "grep")
            .expect("a query");
        assert!(
            grep.sql
                .contains("-- change change_me: what a line has to match\n"),
            "{}",
            grep.sql
        );
        assert!(
            grep.sql.contains("regexp_like(line, 'change_me')"),
            "{}",
            grep.sql
        );
        assert!(all.iter().all(|query| !query.sql.contains("{{")));
    }
}
