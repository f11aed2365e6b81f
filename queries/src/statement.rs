//! From a query and its parameters to a statement that an engine can run.

use std::collections::BTreeMap;

use crate::near::suggestion;
use crate::parameter::{Type, ValueError, number};
use crate::query::{Chart, Query, SELECTION, TABLES};
use crate::scans::scans;
use crate::selection::{Rows, Selection, SelectionError};
use crate::sql_text::{is_several, literal, trimmed};
use crate::template::{Template, TemplateError};

/// The longest statement, in bytes: Athena's own limit.
pub const MAX_STATEMENT_BYTES: usize = 262_144;

/// Values by the names of parameters, as they were typed or configured.
pub type Values = BTreeMap<String, String>;

/// A statement, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The query's name; none for SQL that was typed.
    pub name: Option<String>,
    /// The SQL, in Trino's dialect.
    pub sql: String,
    /// Whose rows it looks at; none for SQL without `{{logs}}`, of which nothing is known.
    pub selection: Option<Selection>,
    /// How often it reads those rows.
    pub scans: u64,
    /// How its answer is drawn.
    pub chart: Option<Chart>,
}

/// What a statement is made with besides the query.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The values that were given for this run.
    pub given: &'a Values,
    /// The configuration's defaults.
    pub configured: &'a Values,
    /// The table's name.
    pub table: &'a str,
    /// What relative times are relative to, in ns since 1970.
    pub now_ns: i64,
}

/// Why there is no statement.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatementError {
    /// A parameter that the query has not.
    #[error("`{name}` is no parameter of `{query}`{near}; it has {known}")]
    Unknown {
        /// What was given.
        name: String,
        /// The query.
        query: String,
        /// Names near to it.
        near: String,
        /// Those that there are.
        known: String,
    },
    /// A parameter without a default was not given.
    #[error("`{query}` needs --{name} {placeholder}: {text}")]
    Missing {
        /// The query.
        query: String,
        /// The parameter.
        name: String,
        /// What stands for its value.
        placeholder: String,
        /// What it is for.
        text: String,
    },
    /// No cluster is known.
    #[error(
        "no cluster is said: write --cluster NAME, or `cluster = \"…\"` under [defaults] of the configuration"
    )]
    NoCluster,
    /// A value does not fit.
    #[error("--{name}: {source}")]
    Value {
        /// The parameter.
        name: String,
        /// What is wrong with it.
        source: ValueError,
    },
    /// What the selection's values say together.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// SQL that was typed is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// SQL that was typed has a hole that means nothing.
    #[error("`{{{{{name}}}}}` means nothing; there are {}, cluster, from, to, job", TABLES.join(", "))]
    Hole {
        /// Its name.
        name: String,
    },
    /// SQL that was typed is empty.
    #[error("there is no SQL")]
    Empty,
    /// SQL that was typed has semicolons within.
    #[error("there are several statements; give one at a time")]
    Several,
    /// It is too long.
    #[error(
        "the statement has {len} bytes, and an engine takes {MAX_STATEMENT_BYTES}; shorten the values"
    )]
    TooLong {
        /// Its length.
        len: usize,
    },
}

impl Statement {
    /// The statement of a query.
    pub fn of_query(query: &Query, around: Surroundings<'_>) -> Result<Self, StatementError> {
        for name in around.given.keys() {
            let known = || {
                SELECTION
                    .iter()
                    .copied()
                    .chain(query.parameters.iter().map(|one| one.name.as_str()))
            };
            if !known().any(|one| one == name) {
                return Err(StatementError::Unknown {
                    name: name.clone(),
                    query: query.name.clone(),
                    near: suggestion(name, known()),
                    known: known().collect::<Vec<_>>().join(", "),
                });
            }
        }
        let selection = select(around, |name| query.default_of(name))?;
        let sql = query.template.filled(|hole, blanks| {
            if let Some(filled) = of_selection(hole, &selection, around.table, blanks) {
                return Ok(filled);
            }
            // A query's holes are its parameters: its header was checked.
            let parameter = query.parameter(hole).ok_or_else(|| StatementError::Hole {
                name: hole.to_owned(),
            })?;
            let fits = |value: &&String| parameter.kind.sql(value, around.now_ns).is_ok();
            let value = around
                .given
                .get(hole)
                // A configured limit is meant for queries that can have it.
                .or_else(|| around.configured.get(hole).filter(fits))
                .or(parameter.default.as_ref())
                .ok_or_else(|| StatementError::Missing {
                    query: query.name.clone(),
                    name: hole.to_owned(),
                    placeholder: parameter.kind.placeholder(),
                    text: parameter.text.clone(),
                })?;
            value_sql(hole, &parameter.kind, value, around.now_ns)
        })?;
        Self {
            name: Some(query.name.clone()),
            sql,
            selection: Some(selection),
            scans: scans(&query.template.text()),
            chart: query.chart.clone(),
        }
        .checked()
    }

    /// The statement of SQL that was typed.
    pub fn of_sql(sql: &str, around: Surroundings<'_>) -> Result<Self, StatementError> {
        let sql = trimmed(sql);
        if sql.is_empty() {
            return Err(StatementError::Empty);
        }
        if is_several(sql) {
            return Err(StatementError::Several);
        }
        let template = Template::parse(sql)?;
        let scans = scans(sql);
        let selects = template.holes().next().is_some();
        let selection = if selects {
            Some(select(around, |_| None)?)
        } else {
            None
        };
        let sql = template.filled(|hole, blanks| {
            selection
                .as_ref()
                .and_then(|selection| of_selection(hole, selection, around.table, blanks))
                .ok_or_else(|| StatementError::Hole {
                    name: hole.to_owned(),
                })
        })?;
        Self {
            name: None,
            sql,
            selection,
            scans,
            chart: None,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, StatementError> {
        let len = self.sql.len();
        if len > MAX_STATEMENT_BYTES {
            return Err(StatementError::TooLong { len });
        }
        Ok(self)
    }
}

/// What one of the holes that every query knows becomes.
fn of_selection(hole: &str, selection: &Selection, table: &str, blanks: usize) -> Option<String> {
    if let Some(rows) = Rows::of_hole(hole) {
        // No name and no literal in there holds a line's end.
        let set_in = format!("\n{}", " ".repeat(blanks));
        return Some(selection.rows(rows, table).replace('\n', &set_in));
    }
    match hole {
        "cluster" => Some(literal(&selection.cluster)),
        "from" => Some(number(selection.times_ns.start)),
        "to" => Some(number(selection.times_ns.end)),
        "job" => Some(selection.job.predicate()),
        _ => None,
    }
}

/// The selection by what was given, what the query says of itself, what is configured, and what is so without all of these.
fn select<'q>(
    around: Surroundings<'_>,
    of_query: impl Fn(&str) -> Option<&'q str>,
) -> Result<Selection, StatementError> {
    let value = |name: &str, or: &str| -> String {
        around
            .given
            .get(name)
            .map(String::as_str)
            .or_else(|| of_query(name))
            .or_else(|| around.configured.get(name).map(String::as_str))
            .unwrap_or(or)
            .to_owned()
    };
    let moment = |name: &'static str, or: &str| -> Result<i64, StatementError> {
        let moment: crate::moment::Moment =
            value(name, or)
                .parse()
                .map_err(|error| StatementError::Value {
                    name: name.to_owned(),
                    source: ValueError::Moment(error),
                })?;
        Ok(moment.resolve(around.now_ns))
    };
    let job: crate::job_pattern::JobPattern =
        value("job", "*")
            .parse()
            .map_err(|error| StatementError::Value {
                name: "job".to_owned(),
                source: ValueError::Job(error),
            })?;
    // A full job key says the cluster, unless that was typed too.
    let cluster = match (&job.cluster, around.given.get("cluster")) {
        (Some(cluster), None) => cluster.clone(),
        _ => value("cluster", ""),
    };
    if cluster.is_empty() {
        return Err(StatementError::NoCluster);
    }
    let times_ns = moment("from", DEFAULT_FROM)?..moment("to", DEFAULT_TO)?;
    Ok(Selection::new(&cluster, times_ns, job)?)
}

/// From when on rows are looked at where nothing says otherwise.
pub const DEFAULT_FROM: &str = "-1h";

/// Until when.
pub const DEFAULT_TO: &str = "now";

fn value_sql(name: &str, kind: &Type, value: &str, now_ns: i64) -> Result<String, StatementError> {
    kind.sql(value, now_ns)
        .map_err(|source| StatementError::Value {
            name: name.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
