//! Database and tables in Athena, made or brought up to date as a plan says. Doing it again changes nothing.
//!
//! Owns the comparison of what is there with what should be; the statements are `ddl`'s.

use tokio_util::sync::CancellationToken;

use crate::ask;
use crate::ddl::{Dialect, Existing, Plan, Table, create_database};
use crate::engine::Engine;
use crate::exit::{Exit, Failed};
use crate::rows::Row;
use crate::sql_text::literal;

/// Runs what is missing; returns the statements that changed something.
pub async fn bring_up_to_date(
    engine: &Engine,
    plan: &Plan,
    stop: &CancellationToken,
) -> Result<Vec<String>, Failed> {
    let mut done = Vec::new();
    if let Some(table) = plan.tables.first() {
        let sql = create_database(&table.database, Dialect::Athena);
        ask::rows(engine, &sql, stop).await?;
    }
    for table in &plan.tables {
        for sql in missing(engine, table, stop).await? {
            ask::rows(engine, &sql, stop).await?;
            done.push(sql);
        }
    }
    // A view is made anew each time: it is a text, and that is what keeps it up to date.
    if let Some(view) = &plan.view {
        let sql = view.create();
        ask::rows(engine, &sql, stop).await?;
        done.push(sql);
    }
    Ok(done)
}

/// The statements that a table lacks.
async fn missing(
    engine: &Engine,
    table: &Table,
    stop: &CancellationToken,
) -> Result<Vec<String>, Failed> {
    let Table { database, name, .. } = table;
    let tables = format!("SHOW TABLES IN `{database}` {}", literal(name));
    let (rows, _) = ask::rows(engine, &tables, stop).await?;
    // The pattern's characters mean something: only the name itself counts.
    let is_name = |row: &Row| {
        row.first()
            .and_then(Option::as_deref)
            .is_some_and(|one| one.trim() == name)
    };
    if !rows.iter().any(is_name) {
        return Ok(vec![table.create(Dialect::Athena)]);
    }
    let (columns, _) = ask::rows(engine, &format!("DESCRIBE `{database}`.`{name}`"), stop).await?;
    let properties = format!("SHOW TBLPROPERTIES `{database}`.`{name}`");
    let (properties, _) = ask::rows(engine, &properties, stop).await?;
    table
        .upgrade(&Existing::new(&columns, &properties))
        .map_err(|error| Failed::new(Exit::Failed, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Scripted, Turn};
    use crate::event::Event;
    use archive::Encoding;
    use archive::schema::COLUMNS;

    fn plan() -> Plan {
        let wanted = crate::ddl::Wanted {
            database: "logs".to_owned(),
            table: "job_logs".to_owned(),
            root: "s3://bucket".parse().expect("a root"),
            encoding: None,
        };
        let hour = "2026-11-01-00".parse().expect("an hour");
        Plan {
            tables: vec![wanted.table("job_logs", Encoding::Parquet, vec!["aa".to_owned()], hour)],
            view: None,
            notes: Vec::new(),
        }
    }

    fn turn(expected: &'static str, lines: &[String]) -> Turn {
        let rows: Vec<Row> = lines.iter().map(|line| vec![Some(line.clone())]).collect();
        Turn {
            expected,
            events: if rows.is_empty() {
                Vec::new()
            } else {
                vec![Event::Rows(rows)]
            },
            failure: None,
        }
    }

    async fn run(turns: Vec<Turn>) -> Vec<String> {
        let engine = Engine::Scripted(Scripted::new(turns));
        bring_up_to_date(&engine, &plan(), &CancellationToken::new())
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    #[tokio::test]
    async fn what_is_not_there_is_made() {
        let done = run(vec![
            turn("CREATE DATABASE IF NOT EXISTS `logs`", &[]),
            // A pattern's `_` takes any character.
            turn("SHOW TABLES IN `logs` 'job_logs'", &["jobxlogs".to_owned()]),
            turn("CREATE EXTERNAL TABLE", &[]),
        ])
        .await;
        assert_eq!(done.len(), 1);
    }

    #[tokio::test]
    async fn what_is_there_is_compared() {
        let describe: Vec<String> = COLUMNS[..20]
            .iter()
            .map(|column| format!("{}\t{}\t", column.name, column.kind.sql()))
            .chain(["cluster\tstring\t".to_owned(), "dh\tstring\t".to_owned()])
            .collect();
        let done = run(vec![
            turn("CREATE DATABASE", &[]),
            turn("SHOW TABLES", &["job_logs".to_owned()]),
            turn("DESCRIBE `logs`.`job_logs`", &describe),
            turn(
                "SHOW TBLPROPERTIES",
                &["projection.cluster.values\tbb".to_owned()],
            ),
            turn("ADD COLUMNS (`tpl` string,", &[]),
            turn("'projection.cluster.values' = 'aa,bb'", &[]),
        ])
        .await;
        assert_eq!(done.len(), 2);
    }
}
