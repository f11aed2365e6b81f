//! What is asked of Athena, and what it answers, in our own words.
//!
//! Owns the border: beyond it is the library that speaks the protocol (`athena`), before it the runner, which tests give an Athena
//! of their own. One call is one request; nothing here is tried again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::rows::{Column, Row};

/// The most rows that one call for results returns, in rows; Athena's own limit.
pub const MAX_PAGE_ROWS: i32 = 1000;

/// The longest text of the other side's that is told, in bytes.
pub const MAX_TOLD_BYTES: usize = 1024;

/// What a call returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// Athena, as far as it is needed.
pub trait Api: Send + Sync + fmt::Debug {
    /// Starts a statement and returns the execution's id. The same token again starts nothing and returns the same id.
    fn start<'a>(&'a self, start: &'a Start) -> Pending<'a, String>;

    /// How an execution stands.
    fn status<'a>(&'a self, id: &'a str) -> Pending<'a, Status>;

    /// Asks for the end of an execution, which comes later.
    fn stop<'a>(&'a self, id: &'a str) -> Pending<'a, ()>;

    /// At most [`MAX_PAGE_ROWS`] rows of an answer, after a page's token.
    fn results<'a>(&'a self, id: &'a str, after: Option<&'a str>) -> Pending<'a, ResultsPage>;

    /// What a workgroup's settings are.
    fn workgroup<'a>(&'a self, name: &'a str) -> Pending<'a, Workgroup>;

    /// Ids of a workgroup's named queries, a page of them.
    fn list_named<'a>(&'a self, workgroup: &'a str, after: Option<&'a str>) -> Pending<'a, Ids>;

    /// Named queries by their ids, [`crate::publish::MAX_BATCH`] at most; those that are gone are left out.
    fn named<'a>(&'a self, ids: &'a [String]) -> Pending<'a, Vec<Named>>;

    /// Makes a named query and returns its id. The same token again makes nothing and returns the same id.
    fn create_named<'a>(&'a self, new: &'a NewNamed) -> Pending<'a, String>;

    /// Gives a named query another text and description.
    fn update_named<'a>(&'a self, id: &'a str, new: &'a NewNamed) -> Pending<'a, ()>;
}

/// A statement to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The text.
    pub sql: String,
    /// What makes it safe to send this twice; 32 to 128 characters.
    pub token: String,
    /// The workgroup.
    pub workgroup: String,
    /// Where the answer goes; the workgroup's own place if it is not set.
    pub output_location: Option<String>,
    /// The database of names without one.
    pub database: Option<String>,
    /// The catalogue of names without one.
    pub catalog: Option<String>,
    /// How old an earlier answer to the same text may be to be given again, in minutes.
    pub reuse_minutes: Option<u32>,
}

/// How an execution stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: QueryState,
    /// Why it is in it, as Athena says; may be empty.
    pub reason: String,
    /// What is said of a failure besides.
    pub failure: Option<EngineFailure>,
    /// Bytes of objects read so far.
    pub bytes_scanned: u64,
    /// Whether the answer is an earlier one's.
    pub reused: bool,
    /// What kind of statement it is.
    pub statement: Statement,
    /// Where the answer lies, if it lies in a bucket.
    pub output_location: Option<String>,
}

/// The states of an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryState {
    /// It waits for its turn.
    Queued,
    /// It runs.
    Running,
    /// It is done, and the answer is there.
    Succeeded,
    /// It is done, without an answer.
    Failed,
    /// It was stopped: by somebody, or by a limit.
    Cancelled,
    /// One that this program does not know.
    Unknown(String),
}

/// What Athena says of a failure beside the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFailure {
    /// 1 is the system's, 2 the user's, 3 another.
    pub category: i32,
    /// Its number.
    pub number: i32,
    /// Whether the same statement may succeed later.
    pub retryable: bool,
}

/// The kinds of statement, which decide whether an answer's first row names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// `SELECT`, `EXPLAIN`, `INSERT`: the first row names the columns.
    Dml,
    /// `CREATE`, `ALTER`, `DROP`: there is no such row.
    Ddl,
    /// `SHOW`, `DESCRIBE`: there is no such row either.
    Utility,
    /// Athena does not say.
    Unknown,
}

/// Part of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResultsPage {
    /// The columns, with every page.
    pub columns: Vec<Column>,
    /// The rows; the first page's first may name the columns.
    pub rows: Vec<Row>,
    /// What the next page is asked for by; none after the last.
    pub next: Option<String>,
}

/// A workgroup's settings, as far as they matter here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workgroup {
    /// Whether it takes statements.
    pub enabled: bool,
    /// Where answers go if nobody says where.
    pub output_location: Option<String>,
    /// Whether its settings hold in place of the client's.
    pub enforced: bool,
    /// Whether Athena keeps the answers itself, where only its own calls read them.
    pub managed_results: bool,
    /// How many bytes a statement may read before it is stopped.
    pub cutoff_bytes: Option<u64>,
}

/// A page of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ids {
    /// The ids.
    pub ids: Vec<String>,
    /// What the next page is asked for by; none after the last.
    pub next: Option<String>,
}

/// A named query in a workgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name, which others may have too.
    pub name: String,
    /// What is said of it.
    pub description: String,
    /// Its database.
    pub database: String,
    /// Its text.
    pub sql: String,
}

/// A named query to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNamed {
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub description: String,
    /// Its database.
    pub database: String,
    /// Its text.
    pub sql: String,
    /// Where it belongs.
    pub workgroup: String,
    /// What makes it safe to send this twice.
    pub token: String,
}

/// Athena did not do what was asked, or did not say that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {text}")]
pub struct Refused {
    /// What was asked, by Athena's name for it.
    pub operation: &'static str,
    /// The kind of failure, by which who retries decides.
    pub failure: Failure,
    /// What the other side, or the library, said.
    pub text: String,
}

/// Kinds of failure of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No answer, or half of one: what was asked for may have happened.
    Lost,
    /// Athena's own fault: what was asked for may have happened.
    Server,
    /// Too many requests, or too many statements at once: nothing happened.
    Throttled,
    /// No credentials, or credentials without the right.
    Denied,
    /// The credentials have run out; they are read anew for the next call.
    Expired,
    /// The clock differs too much from Athena's.
    Skewed,
    /// The token was used for another statement.
    TokenTaken,
    /// The statement is no SQL, or names what is not there.
    Statement,
    /// An answer that cannot be one.
    Garbled,
    /// Anything else that will not get better by itself.
    Other,
}

impl Failure {
    /// Whether the same call may succeed by itself later.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Lost | Self::Server | Self::Throttled | Self::Expired => true,
            Self::Denied
            | Self::Skewed
            | Self::TokenTaken
            | Self::Statement
            | Self::Garbled
            | Self::Other => false,
        }
    }

    /// Whether what was asked for may have happened all the same.
    pub fn may_have_happened(self) -> bool {
        matches!(self, Self::Lost | Self::Server | Self::Garbled)
    }
}

impl Refused {
    /// A failure of this operation.
    pub fn new(operation: &'static str, failure: Failure, text: &str) -> Self {
        Self {
            operation,
            failure,
            text: told(text),
        }
    }
}

impl QueryState {
    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A text of the other side's, fit for one line and not too long.
pub fn told(text: &str) -> String {
    let mut told = String::new();
    for char in text.trim().chars() {
        if told.len() + char.len_utf8() > MAX_TOLD_BYTES {
            told.push('…');
            break;
        }
        told.push(if char.is_control() { ' ' } else { char });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_fit_one_line() {
        assert_eq!(told(" a\nb\x1b[1m "), "a b [1m");
        let long = told(&"é".repeat(MAX_TOLD_BYTES));
        assert!(long.len() <= MAX_TOLD_BYTES + '…'.len_utf8());
        assert!(long.ends_with("é…"));
    }
}
