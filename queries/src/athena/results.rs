//! An answer, from wherever it lies, as events.
//!
//! Owns which way it comes and what its rows mean. Up to a page comes by Athena's call; more from the object that Athena wrote,
//! which is read in pieces, unless there is none or it may not be read: then page by page.
//!
//! Whether the first row names the columns goes by the kind of statement: it does for `SELECT` and `EXPLAIN`, it does not for
//! `SHOW`, `DESCRIBE` and definitions. Of those, some put all columns into one value, with tabs between.

use std::sync::Arc;

use archive::Store;
use archive::store::Root;

use super::api::{ResultsPage, Statement, Status};
use super::csv::CsvReader;
use super::run::{Run, RunError};
use crate::event::{Event, MAX_EVENT_ROWS};
use crate::retry::{Outside, again, store_may_recover};
use crate::rows::{Column, Row};

/// How much of an object is read by one request, in bytes.
pub const PART_BYTES: u64 = 4 << 20;

/// How much of a part becomes rows at a time, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// About how many bytes of values one event holds, at most; a single row may have more.
const MAX_EVENT_BYTES: usize = 2 << 20;

/// How the names of objects with rows end.
const CSV: &str = ".csv";

/// Whether all of an answer went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All of it.
    Whole,
    /// A stop came, or nobody takes it.
    Stopped,
}

/// What is not the end of the program but the end of the way.
enum Broken {
    /// A stop, or a receiver that is gone.
    Stopped,
    /// An error.
    Failed(RunError),
}

impl From<RunError> for Broken {
    fn from(error: RunError) -> Self {
        Self::Failed(error)
    }
}

/// Sends an answer.
pub(super) async fn deliver(
    run: &Run<'_>,
    id: &str,
    status: &Status,
    sql: &str,
) -> Result<Delivery, RunError> {
    let answer = Answer {
        run,
        id,
        header: header(status, sql),
    };
    match answer.deliver(status).await {
        Ok(()) => Ok(Delivery::Whole),
        Err(Broken::Stopped) => Ok(Delivery::Stopped),
        Err(Broken::Failed(error)) => Err(error),
    }
}

/// Whether an answer's first row may name the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    /// If it holds their names, it does.
    Named,
    /// It is a row like the others.
    None,
}

fn header(status: &Status, sql: &str) -> Header {
    let is_csv = status
        .output_location
        .as_deref()
        .is_some_and(|place| place.ends_with(CSV));
    match status.statement {
        Statement::Dml => Header::Named,
        // SHOW FUNCTIONS is the one that is written as SELECT's answers are.
        Statement::Utility if is_csv => Header::Named,
        Statement::Ddl | Statement::Utility => Header::None,
        Statement::Unknown => match sql.trim_start().get(..4) {
            Some(word) if ["show", "desc"].contains(&word.to_lowercase().as_str()) => Header::None,
            _ => Header::Named,
        },
    }
}

struct Answer<'a> {
    run: &'a Run<'a>,
    id: &'a str,
    header: Header,
}

impl Answer<'_> {
    async fn deliver(&self, status: &Status) -> Result<(), Broken> {
        let first = self.page(None).await?;
        let columns = first.columns.clone();
        self.send(Event::Columns(columns.clone())).await?;
        let object = match &first.next {
            Some(_) => self.object(status).await,
            None => None,
        };
        match object {
            Some(object) => self.send_object(&object, &columns).await,
            None => self.send_pages(first, &columns).await,
        }
    }

    async fn page(&self, after: Option<&str>) -> Result<ResultsPage, Broken> {
        let api = self.run.athena.api();
        let page = self.run.calls().again(|| api.results(self.id, after)).await;
        match page {
            Ok(page) => Ok(page),
            Err(_) if self.run.stop.is_cancelled() => Err(Broken::Stopped),
            Err(source) => Err(Broken::Failed(RunError::Results {
                id: self.id.to_owned(),
                source,
            })),
        }
    }

    async fn send_pages(&self, first: ResultsPage, columns: &[Column]) -> Result<(), Broken> {
        let mut page = first;
        let mut rows = self.without_header(std::mem::take(&mut page.rows), columns);
        loop {
            self.send_rows(&mut rows, columns).await?;
            let Some(next) = page.next else {
                return Ok(());
            };
            page = self.page(Some(&next)).await?;
            if page.next.as_ref() == Some(&next) {
                return Err(self.garbled("a page comes after itself").into());
            }
            rows = std::mem::take(&mut page.rows);
        }
    }

    /// The object with the answer, if it is there and may be read.
    async fn object(&self, status: &Status) -> Option<Object> {
        let place = status.output_location.as_ref()?;
        let found = match object_at(place) {
            Ok((root, key)) => match (self.run.athena.stores())(&root) {
                Ok(store) => Object::find(store, key, place, self.run.athena.outside()).await,
                Err(error) => Err(error.to_string()),
            },
            Err(why) => Err(why.to_owned()),
        };
        match found {
            Ok(object) => Some(object),
            Err(why) => {
                let text =
                    format!("{place}: {why}; the answer comes by Athena's call, 1000 rows each");
                // Without a listener nothing of it matters.
                let _ = self.send(Event::Note(text)).await;
                None
            }
        }
    }

    async fn send_object(&self, object: &Object, columns: &[Column]) -> Result<(), Broken> {
        let csv_error = |source| RunError::Csv {
            id: self.id.to_owned(),
            place: object.place.clone(),
            source,
        };
        let mut reader = CsvReader::default();
        let mut rows: Vec<Row> = Vec::new();
        let mut is_first = true;
        let mut at = 0;
        let mut pending = 0;
        while at < object.len {
            let part = object.read(at, self.run.athena.outside());
            let part = tokio::select! {
                part = part => part,
                () = self.run.stop.cancelled() => return Err(Broken::Stopped),
            };
            let part = part.map_err(|source| RunError::Object {
                id: self.id.to_owned(),
                source,
            })?;
            if part.is_empty() {
                let what = format!("{} has become shorter", object.place);
                return Err(self.garbled(&what).into());
            }
            at += part.len() as u64;
            for piece in part.chunks(PIECE_BYTES) {
                reader.feed(piece, &mut rows).map_err(csv_error)?;
                pending += piece.len();
                if is_first && !rows.is_empty() {
                    rows = self.without_header(rows, columns);
                    is_first = false;
                }
                if rows.len() >= MAX_EVENT_ROWS || pending >= MAX_EVENT_BYTES {
                    self.send_rows(&mut rows, columns).await?;
                    pending = 0;
                }
            }
        }
        reader.finish(&mut rows).map_err(csv_error)?;
        if is_first {
            rows = self.without_header(rows, columns);
        }
        self.send_rows(&mut rows, columns).await
    }

    /// The first rows without the one that names the columns.
    fn without_header(&self, mut rows: Vec<Row>, columns: &[Column]) -> Vec<Row> {
        let is_header = |row: &Row| {
            row.len() == columns.len()
                && row
                    .iter()
                    .zip(columns)
                    .all(|(value, column)| value.as_deref() == Some(&column.name))
        };
        if self.header == Header::Named && rows.first().is_some_and(is_header) {
            rows.remove(0);
        }
        rows
    }

    /// Sends rows, and leaves none.
    async fn send_rows(&self, rows: &mut Vec<Row>, columns: &[Column]) -> Result<(), Broken> {
        if columns.is_empty() {
            // Some definitions answer with rows of nothing.
            rows.clear();
            return Ok(());
        }
        let mut fitting = Vec::with_capacity(rows.len().min(MAX_EVENT_ROWS));
        for row in rows.drain(..) {
            fitting.push(self.fitted(row, columns)?);
            if fitting.len() == MAX_EVENT_ROWS {
                self.send(Event::Rows(std::mem::take(&mut fitting))).await?;
            }
        }
        if !fitting.is_empty() {
            self.send(Event::Rows(fitting)).await?;
        }
        Ok(())
    }

    /// A row with a value for each column.
    fn fitted(&self, mut row: Row, columns: &[Column]) -> Result<Row, RunError> {
        if row.len() == columns.len() {
            return Ok(row);
        }
        if self.header == Header::None && row.len() == 1 {
            // SHOW and DESCRIBE: all columns in one text, padded with blanks.
            let text = row.pop().flatten().unwrap_or_default();
            let mut values: Row = text
                .splitn(columns.len(), '\t')
                .map(|value| Some(value.trim_end().to_owned()))
                .collect();
            values.resize(columns.len(), None);
            return Ok(values);
        }
        Err(self.garbled(&format!(
            "a row of {} values in an answer of {} columns",
            row.len(),
            columns.len()
        )))
    }

    fn garbled(&self, what: &str) -> RunError {
        RunError::Garbled {
            id: self.id.to_owned(),
            what: what.to_owned(),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Broken> {
        tokio::select! {
            biased;
            () = self.run.stop.cancelled() => Err(Broken::Stopped),
            sent = self.run.events.send(event) => sent.map_err(|_| Broken::Stopped),
        }
    }
}

/// Where an answer lies: the bucket and the key in it.
pub fn object_at(place: &str) -> Result<(Root, String), &'static str> {
    let (bucket, key) = place
        .strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or("it is no object in a bucket")?;
    if !key.ends_with(CSV) {
        return Err("it is no CSV");
    }
    let bucket = format!("s3://{bucket}")
        .parse::<Root>()
        .map_err(|error| error.why)?;
    Ok((bucket, key.to_owned()))
}

/// An object with an answer.
#[derive(Debug)]
pub struct Object {
    store: Arc<dyn Store>,
    key: String,
    /// As a person would write it.
    place: String,
    len: u64,
}

impl Object {
    /// Finds it, or tells why it cannot be read.
    pub async fn find(
        store: Arc<dyn Store>,
        key: String,
        place: &str,
        outside: &Outside,
    ) -> Result<Self, String> {
        match again(outside, store_may_recover, || store.head(&key)).await {
            Ok(Some(head)) => Ok(Self {
                store,
                key,
                place: place.to_owned(),
                len: head.len,
            }),
            Ok(None) => Err("there is no such object".to_owned()),
            Err(error) => Err(format!("{error}: {}", error.cause)),
        }
    }

    /// Its bytes from `at` on, at most [`PART_BYTES`] of them.
    pub async fn read(
        &self,
        at: u64,
        outside: &Outside,
    ) -> Result<bytes::Bytes, archive::StoreError> {
        let range = at..at.saturating_add(PART_BYTES).min(self.len);
        again(outside, store_may_recover, || {
            self.store.get(&self.key, Some(range.clone()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::athena::api::QueryState;

    #[test]
    fn places_of_answers() {
        let (root, key) = object_at("s3://results/a/b/1.csv").unwrap();
        assert_eq!(
            (root.to_string().as_str(), key.as_str()),
            ("s3://results", "a/b/1.csv")
        );
        for place in [
            "",
            "/a.csv",
            "s3://a.csv",
            "s3://x/a.csv",
            "s3://results/a.txt",
        ] {
            assert!(object_at(place).is_err(), "{place}");
        }
    }

    #[test]
    fn the_first_row_goes_by_the_statement() {
        let check = |statement, place: &str, sql, expected| {
            let status = Status {
                state: QueryState::Succeeded,
                reason: String::new(),
                failure: None,
                bytes_scanned: 0,
                reused: false,
                statement,
                output_location: Some(place.to_owned()),
            };
            assert_eq!(header(&status, sql), expected, "{statement:?} {sql}");
        };
        check(Statement::Dml, "s3://a/1.csv", "SELECT 1", Header::Named);
        check(
            Statement::Dml,
            "s3://a/1.txt",
            "EXPLAIN SELECT 1",
            Header::Named,
        );
        check(
            Statement::Utility,
            "s3://a/1.txt",
            "SHOW TABLES",
            Header::None,
        );
        check(
            Statement::Utility,
            "s3://a/1.csv",
            "SHOW FUNCTIONS",
            Header::Named,
        );
        check(Statement::Ddl, "s3://a/1.txt", "DROP TABLE x", Header::None);
        check(Statement::Unknown, "", " show tables", Header::None);
        check(Statement::Unknown, "", "select 1", Header::Named);
        check(Statement::Unknown, "", "é", Header::Named);
    }
}
