//! Database and tables on Athena: statements that define them, run in their order, as often as one likes.
//!
//! Owns the running. The statements come as text from the DDL, which also says what has to be added to a table that is there.

use tokio_util::sync::CancellationToken;

use crate::athena::reason::Why;
use crate::athena::{Athena, RunError};
use crate::rows::Row;

/// The most statements that one table's upgrade may need, in statements.
pub const MAX_UPGRADES: usize = 100;

/// A table that may be there from an earlier version.
pub struct Upgrade<'a> {
    /// Its name, for people.
    pub table: String,
    /// The statement that lists its columns: `SHOW COLUMNS IN …`.
    pub show: String,
    /// What has to be run, given the columns that are there, those of partitions among them; nothing if all are there.
    pub missing: &'a (dyn Fn(&[String]) -> Vec<String> + Send + Sync),
}

impl std::fmt::Debug for Upgrade<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ran {
    /// It ran. (One that says IF NOT EXISTS does so whether or not there was anything.)
    Done,
    /// What it makes was there.
    AlreadyThere,
}

/// Why not everything was set up. What was done before stays done; setting up again goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SetupError {
    /// A statement did not run.
    #[error("run: {}", first_line(.statement))]
    Statement {
        /// Which.
        statement: String,
        /// Why not.
        #[source]
        source: RunError,
    },
    /// A table's columns are still not those that it should have.
    #[error("table {table} lacks columns after it was brought up to date; the next statement would be: {}", first_line(.statement))]
    Incomplete {
        /// Which.
        table: String,
        /// What is still missing.
        statement: String,
    },
    /// Bringing a table up to date takes more statements than can be right.
    #[error(
        "bringing table {table} up to date takes {statements} statements, more than {MAX_UPGRADES}"
    )]
    TooMany {
        /// Which.
        table: String,
        /// How many.
        statements: usize,
    },
}

/// A statement's first line, for a message.
fn first_line(statement: &str) -> &str {
    statement.trim().lines().next().unwrap_or_default()
}

/// Runs the statements, then brings the tables up to date. Returns every statement that was run with what became of it.
pub async fn setup(
    athena: &Athena,
    statements: &[String],
    upgrades: &[Upgrade<'_>],
    stop: &CancellationToken,
) -> Result<Vec<(String, Ran)>, SetupError> {
    let mut ran = Vec::new();
    for statement in statements {
        let outcome = define(athena, statement, stop).await?;
        ran.push((statement.clone(), outcome));
    }
    for upgrade in upgrades {
        let columns = columns(athena, &upgrade.show, stop).await?;
        let missing = (upgrade.missing)(&columns);
        if missing.len() > MAX_UPGRADES {
            return Err(SetupError::TooMany {
                table: upgrade.table.clone(),
                statements: missing.len(),
            });
        }
        if missing.is_empty() {
            continue;
        }
        for statement in missing {
            let outcome = define(athena, &statement, stop).await?;
            ran.push((statement, outcome));
        }
        // Believed when it is seen.
        let columns = self::columns(athena, &upgrade.show, stop).await?;
        if let Some(statement) = (upgrade.missing)(&columns).into_iter().next() {
            return Err(SetupError::Incomplete {
                table: upgrade.table.clone(),
                statement,
            });
        }
    }
    Ok(ran)
}

async fn define(
    athena: &Athena,
    statement: &str,
    stop: &CancellationToken,
) -> Result<Ran, SetupError> {
    match athena.collect(statement, stop.clone()).await {
        Ok(_) => Ok(Ran::Done),
        // Somebody else was faster, or it says no IF NOT EXISTS.
        Err(RunError::Failed {
            why: Why::AlreadyThere,
            ..
        }) => Ok(Ran::AlreadyThere),
        Err(source) => Err(SetupError::Statement {
            statement: statement.to_owned(),
            source,
        }),
    }
}

/// The names of a table's columns.
async fn columns(
    athena: &Athena,
    show: &str,
    stop: &CancellationToken,
) -> Result<Vec<String>, SetupError> {
    let shown = athena.collect(show, stop.clone()).await;
    let shown = shown.map_err(|source| SetupError::Statement {
        statement: show.to_owned(),
        source,
    })?;
    // Padded with blanks; of a view, the type follows.
    let name = |row: &Row| Some(row.first()?.as_deref()?.trim().to_lowercase());
    Ok(shown.rows.iter().filter_map(name).collect())
}
