//! The SQL engine in the process: the same statements as on Athena, over the same objects, without an account.
//!
//! ```text
//! text -dialect-> statement -rewrite-> engine's words -plan, types-> plan -provider-> objects -> batches -text-> rows
//! ```
//!
//! Its rule is that an answer is Athena's answer: what it cannot answer as Trino does, it refuses. All that names the engine's library is
//! below this module.

mod dialect;
mod error;
mod functions;
mod meter;
mod ndjson;
mod objects;
mod partitions;
mod provider;
mod rewrite;
mod scope;
mod text;
mod types;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use archive::Store;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider as _, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider as _,
};
use datafusion::common::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::optimizer::Analyzer;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use dialect::MAX_STATEMENT_BYTES;
pub use error::{Code, Position, RunError, Trouble};

use crate::event::{Event, MAX_EVENT_ROWS, Progress, State, Stats};
use crate::rows::{Column, Row};
use meter::Meter;
use objects::Objects;
use provider::{FILE_SIZE, Hidden, Logs, PATH, STORE_URL};
use rewrite::Rewritten;
use types::TrinoTypes;

/// The catalogue that tables are in, by Athena's name.
const CATALOG: &str = "awsdatacatalog";

/// How often a running statement tells how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// The least memory that a statement can run in, in bytes.
const MIN_MEMORY_BYTES: usize = 16 << 20;

/// What an engine is made of.
#[derive(Clone)]
pub struct Settings {
    /// Where the archive lies.
    pub store: Arc<dyn Store>,
    /// The database's name: `joblogs`.
    pub database: String,
    /// The table's name: `logs`.
    pub table: String,
    /// The memory that statements may take for what they gather, in bytes. What can be is spilled to disk beyond that.
    pub memory_bytes: usize,
    /// The folder for what is spilled; the system's own for temporary files if none is given.
    pub spill: Option<PathBuf>,
    /// How many threads work on a statement.
    pub threads: usize,
    /// The clock.
    pub now: fn() -> jiff::Timestamp,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("root", &self.store.root())
            .field("database", &self.database)
            .field("table", &self.table)
            .field("memory_bytes", &self.memory_bytes)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// The engine.
#[derive(Debug)]
pub struct Embedded {
    settings: Settings,
    pool: Arc<dyn MemoryPool>,
}

impl Embedded {
    /// An engine. Nothing is read before a statement runs.
    pub fn new(settings: Settings) -> Self {
        let memory_bytes = settings.memory_bytes.max(MIN_MEMORY_BYTES);
        Self {
            settings,
            pool: Arc::new(FairSpillPool::new(memory_bytes)),
        }
    }

    /// Runs a statement: its columns, its rows, and how far it is, go to `events`. Told to stop, it ends with [`RunError::Stopped`].
    pub async fn run(
        &self,
        sql: &str,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Result<Stats, RunError> {
        let start = Instant::now();
        let meter = Arc::new(Meter::default());
        let query = dialect::parse(sql)?;
        // A library that trips over what is in an object must not take the program with it.
        let work = AssertUnwindSafe(self.answer(query, &meter, &events)).catch_unwind();
        tokio::select! {
            () = stop.cancelled() => return Err(RunError::Stopped),
            outcome = work => match outcome {
                Ok(outcome) => outcome?,
                Err(_) => return Err(RunError::Engine("it panicked".to_owned())),
            },
        }
        Ok(Stats {
            bytes_scanned: meter.bytes(),
            requests: Some(meter.requests()),
            objects: Some(meter.objects()),
            damaged_rows: meter.damaged_rows(),
            elapsed: start.elapsed(),
            execution_id: None,
            reused: false,
        })
    }

    async fn answer(
        &self,
        query: Query,
        meter: &Arc<Meter>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), RunError> {
        let original = query.clone();
        let failed = |error: &DataFusionError| {
            let limit = self.settings.memory_bytes;
            match RunError::of(error, limit) {
                RunError::Statement(trouble) => {
                    let trouble = elsewhere(trouble, &self.settings.database);
                    RunError::Statement(placed(trouble, &original))
                }
                other => other,
            }
        };
        let hidden = hidden(&query);
        let table = provider::schema(hidden);
        let names: Vec<&str> = table
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        scope::check(&query, &names)?;
        let rewritten = rewrite::rewrite(query, (self.settings.now)())?;
        let state = self.state(meter, hidden).map_err(|error| failed(&error))?;
        let (stream, schema) = plan(&state, &rewritten)
            .await
            .map_err(|error| failed(&error))?;
        send(events, Event::Columns(columns(&rewritten, &schema))).await?;
        self.rows(stream, meter, events, &failed).await
    }

    /// Sends the rows on, and in between how far it is.
    async fn rows(
        &self,
        mut stream: SendableRecordBatchStream,
        meter: &Meter,
        events: &mpsc::Sender<Event>,
        failed: &(dyn Fn(&DataFusionError) -> RunError + Send + Sync),
    ) -> Result<(), RunError> {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Both are safe to drop: a tick is only missed, and a batch stays in its stream.
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                _ = ticks.tick() => {
                    let progress = Progress {
                        state: State::Running,
                        bytes_scanned: meter.bytes(),
                        bytes_expected: Some(meter.bytes_expected()),
                    };
                    // Nobody has to wait for it.
                    let _ = events.try_send(Event::Progress(progress));
                    continue;
                }
            };
            let Some(batch) = next else {
                return Ok(());
            };
            let batch = batch.map_err(|error| failed(&error))?;
            for start in (0..batch.num_rows()).step_by(MAX_EVENT_ROWS) {
                let len = MAX_EVENT_ROWS.min(batch.num_rows() - start);
                send(events, Event::Rows(texts(&batch.slice(start, len)))).await?;
            }
        }
    }

    /// A session for one statement.
    fn state(&self, meter: &Arc<Meter>, hidden: Hidden) -> Result<SessionState, DataFusionError> {
        let settings = &self.settings;
        let objects = Objects::new(Arc::clone(&settings.store), Arc::clone(meter));
        let mode = match &settings.spill {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&self.pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
            .build_arc()?;
        let url = ObjectStoreUrl::parse(STORE_URL)?;
        runtime.register_object_store(url.as_ref(), Arc::new(objects.clone()));

        let scalars = functions::scalars();
        let mut rules: Vec<Arc<dyn datafusion::optimizer::AnalyzerRule + Send + Sync>> =
            vec![Arc::new(TrinoTypes::new(&scalars))];
        rules.extend(Analyzer::new().rules);
        let mut state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(self.config())
            .with_runtime_env(runtime)
            .with_analyzer_rules(rules)
            .build();
        for function in scalars {
            datafusion::logical_expr::registry::FunctionRegistry::register_udf(
                &mut state, function,
            )?;
        }
        for function in functions::aggregates() {
            datafusion::logical_expr::registry::FunctionRegistry::register_udaf(
                &mut state, function,
            )?;
        }

        let schema = MemorySchemaProvider::new();
        schema.register_table(settings.table.clone(), Arc::new(Logs::new(objects, hidden)))?;
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(&settings.database, Arc::new(schema))?;
        state
            .catalog_list()
            .register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        Ok(state)
    }

    fn config(&self) -> SessionConfig {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.settings.threads.max(1))
            .with_batch_size(BATCH_ROWS)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, self.settings.database.as_str());
        let options = config.options_mut();
        "nulls_last".clone_into(&mut options.sql_parser.default_null_ordering);
        // What each sort keeps back for merging what it has spilled has to leave room for sorting.
        let parts = 8 * self.settings.threads.max(1);
        let reserved = self.settings.memory_bytes.max(MIN_MEMORY_BYTES) / parts;
        options.execution.sort_spill_reservation_bytes =
            options.execution.sort_spill_reservation_bytes.min(reserved);
        options.execution.parquet.bloom_filter_on_read = true;
        options.execution.parquet.pushdown_filters = false;
        config
    }
}

/// Whether a statement names a column of a row's object.
fn hidden(query: &Query) -> Hidden {
    let names = [PATH, FILE_SIZE]
        .iter()
        .any(|name| dialect::find(query, name).is_some());
    if names { Hidden::Shown } else { Hidden::Left }
}

/// What of a table's whole name is not there.
fn elsewhere(trouble: Trouble, database: &str) -> Trouble {
    let name = trouble.message.split('\'').nth(1).unwrap_or_default();
    let parts: Vec<&str> = name.split('.').collect();
    let [catalog, schema, _] = parts[..] else {
        return trouble;
    };
    if trouble.code != Code::TableNotFound {
        trouble
    } else if catalog != CATALOG {
        Trouble::new(
            Code::CatalogNotFound,
            format!("Catalog '{catalog}' does not exist"),
        )
    } else if schema != database {
        Trouble::new(
            Code::SchemaNotFound,
            format!("Schema '{schema}' does not exist"),
        )
    } else {
        trouble
    }
}

/// Puts trouble where its name stands in the statement.
fn placed(trouble: Trouble, query: &Query) -> Trouble {
    if trouble.position.is_some()
        || !matches!(trouble.code, Code::ColumnNotFound | Code::AmbiguousName)
    {
        return trouble;
    }
    let name = trouble.message.split('\'').nth(1).unwrap_or_default();
    let position = dialect::find(query, name.rsplit('.').next().unwrap_or_default());
    trouble.at(position)
}

async fn plan(
    state: &SessionState,
    rewritten: &Rewritten,
) -> Result<(SendableRecordBatchStream, SchemaRef), DataFusionError> {
    let statement = Statement::Query(Box::new(rewritten.query.clone()));
    let plan = state
        .statement_to_plan(EngineStatement::Statement(Box::new(statement)))
        .await?;
    let plan = state.create_physical_plan(&plan).await?;
    let schema = plan.schema();
    Ok((execute_stream(plan, state.task_ctx())?, schema))
}

async fn send(events: &mpsc::Sender<Event>, event: Event) -> Result<(), RunError> {
    events.send(event).await.map_err(|_| RunError::Unheard)
}

fn columns(rewritten: &Rewritten, schema: &SchemaRef) -> Vec<Column> {
    let fields = schema.fields();
    fields
        .iter()
        .enumerate()
        .map(|(place, field)| Column {
            name: rewritten.column_name(place, fields.len(), field.name()),
            kind: text::kind(field.data_type()),
        })
        .collect()
}

fn texts(batch: &RecordBatch) -> Vec<Row> {
    let columns = batch.columns();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| text::value(column.as_ref(), row))
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests;
