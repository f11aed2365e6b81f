//! The table of the archive's rows, as the SQL engine sees it: lists what the filters leave, and reads each encoding with its own
//! reader.
//!
//! Every scan lists anew, so what has just been written is there. Nothing is listed outside of the hours and clusters that the filters
//! leave. Columns are the archive's, then the partition's, then what Athena and Trino know of a row's object.

use std::sync::Arc;

use archive::listing::{self, ListError, LogObject};
use archive::{Encoding, Hour, Store};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;

use super::ndjson::{NdjsonExec, Source};
use super::objects::{Objects, meta};
use super::partitions::{CLUSTER, Clusters, DH, Wanted};

/// The column of the object's address.
pub(super) const PATH: &str = "$path";

/// The column of the object's length.
pub(super) const FILE_SIZE: &str = "$file_size";

/// What the plan calls the archive's store.
pub(super) const STORE_URL: &str = "archive:///";

/// Listings that go on at the same time, at most.
const MAX_LISTINGS: usize = 8;

/// How many scans of objects of Parquet a thread has to go on with: while one waits for bytes, another one decodes. In scans.
const SCANS_A_THREAD: usize = 2;

/// How much of a Parquet object's end is read at once, in bytes: mostly all that says where its columns lie.
const FOOTER_BYTES: usize = crate::estimate::PARQUET_END_BYTES as usize;

/// Whether the columns of a row's object are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    /// They are: the statement names one.
    Shown,
    /// They are not: `*` must not show them.
    Left,
}

/// The table.
#[derive(Debug)]
pub(super) struct Logs {
    objects: Objects,
    table: TableSchema,
}

impl Logs {
    pub(super) fn new(objects: Objects, hidden: Hidden) -> Self {
        Self {
            objects,
            table: table_schema(hidden),
        }
    }

    /// What there is of a set of hours and clusters.
    async fn list(&self, wanted: &Wanted) -> Result<Vec<LogObject>, ListError> {
        let store: &dyn Store = &self.objects;
        let clusters = match &wanted.clusters {
            _ if wanted.hours.ranges().is_empty() => vec![],
            Clusters::All => listing::clusters(store).await?,
            // A name that cannot be a cluster's has no objects.
            Clusters::These(names) => names
                .iter()
                .filter(|name| archive::key::cluster_prefix(name).is_ok())
                .cloned()
                .collect(),
        };
        let parts = clusters.iter().flat_map(|cluster| {
            let ranges = wanted.hours.ranges().iter();
            ranges.map(move |range| (cluster.clone(), range.clone()))
        });
        let listings: Vec<_> = stream::iter(parts.collect::<Vec<_>>())
            .map(|(cluster, range)| async move {
                let hours = Hour::from_number(range.start)..Hour::from_number(range.end);
                listing::list_hours(store, &cluster, hours).await
            })
            .buffered(MAX_LISTINGS)
            .try_collect()
            .await?;
        Ok(listings
            .into_iter()
            .flat_map(|listing| listing.objects)
            .collect())
    }

    /// What an object's rows have in the columns that are not in it.
    fn constants(&self, object: &LogObject) -> Vec<ScalarValue> {
        let text = |text: String| ScalarValue::Utf8View(Some(text));
        let all = [
            text(object.key.cluster().to_owned()),
            text(object.key.hour.to_string()),
            text(format!(
                "{}/{}",
                self.objects.root().trim_end_matches('/'),
                object.key
            )),
            ScalarValue::Int64(Some(object.len as i64)),
        ];
        let width = self.table.table_partition_cols().len();
        all.into_iter().take(width).collect()
    }

    /// The objects that pass those filters which need nothing else.
    fn passing(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        objects: Vec<LogObject>,
    ) -> Result<Vec<LogObject>> {
        let exact: Vec<Expr> = filters
            .iter()
            .filter(|filter| self.is_exact(filter))
            .cloned()
            .collect();
        let Some(filter) = conjunction(exact).filter(|_| !objects.is_empty()) else {
            return Ok(objects);
        };
        let schema = Arc::new(Schema::new(self.table.table_partition_cols().clone()));
        let constants: Vec<_> = objects
            .iter()
            .map(|object| self.constants(object))
            .collect();
        let columns = (0..schema.fields().len())
            .map(|column| {
                ScalarValue::iter_to_array(constants.iter().map(|row| row[column].clone()))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let names = DFSchema::try_from(schema)?;
        let passes = state.create_physical_expr(filter, &names)?;
        let passes = passes.evaluate(&batch)?.into_array(objects.len())?;
        let passes = datafusion::common::cast::as_boolean_array(&passes)?;
        let kept = objects.into_iter().zip(passes.iter());
        Ok(kept
            .filter_map(|(object, passes)| (passes == Some(true)).then_some(object))
            .collect())
    }

    /// Whether a filter is about nothing but what is the same for all rows of an object.
    fn is_exact(&self, filter: &Expr) -> bool {
        let partition = self.table.table_partition_cols();
        let columns = filter.column_refs();
        !filter.is_volatile()
            && !columns.is_empty()
            && columns
                .iter()
                .all(|column| partition.iter().any(|field| *field.name() == column.name))
    }

    fn parquet(
        &self,
        state: &dyn Session,
        objects: &[LogObject],
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(Arc::new(self.objects.clone()), cache);
        let mut source = ParquetSource::new(self.table.clone())
            .with_table_parquet_options(TableParquetOptions {
                global: state.config().options().execution.parquet.clone(),
                ..TableParquetOptions::default()
            })
            .with_metadata_size_hint(FOOTER_BYTES)
            .with_parquet_file_reader_factory(Arc::new(reader));
        if let Some(filter) = conjunction(filters.to_vec()) {
            let names = DFSchema::try_from(Arc::clone(self.table.table_schema()))?;
            source = source.with_predicate(state.create_physical_expr(filter, &names)?);
        }
        let files = objects.iter().map(|object| {
            let location = Path::parse(object.key.to_string())
                .map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(PartitionedFile::new_from_meta(meta(location, object.len))
                .with_partition_values(self.constants(object)))
        });
        let files = FileGroup::new(files.collect::<Result<_>>()?);
        let groups = files.split_files(SCANS_A_THREAD * state.config().target_partitions());
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
                .with_file_groups(groups)
                .with_projection_indices(Some(projection.to_vec()))?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn ndjson(
        &self,
        state: &dyn Session,
        objects: &[LogObject],
        projection: &[usize],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sources = objects.iter().map(|object| Source {
            key: object.key.to_string(),
            len: object.len,
            constants: self.constants(object),
        });
        Ok(Arc::new(NdjsonExec::new(
            self.objects.clone(),
            sources.collect(),
            projection.to_vec(),
            Arc::new(self.table.table_schema().project(projection)?),
            state.config().target_partitions(),
        )))
    }
}

#[async_trait]
impl TableProvider for Logs {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if self.is_exact(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.table.table_schema().fields().len()).collect();
        let projection: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let objects = self.list(&Wanted::by(filters)).await;
        let objects = objects.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let objects = self.passing(state, filters, objects)?;
        let meter = self.objects.meter();
        meter.expects(objects.iter().map(|object| object.len).sum());
        let (parquet, ndjson): (Vec<_>, Vec<_>) = objects
            .into_iter()
            .partition(|object| object.key.encoding == Encoding::Parquet);
        let mut plans = Vec::new();
        if !parquet.is_empty() {
            let left: Vec<Expr> = filters
                .iter()
                .filter(|filter| !self.is_exact(filter))
                .cloned()
                .collect();
            // A limit behind filters that this node does not apply is not its own.
            let limit = limit.filter(|_| left.is_empty());
            plans.push(self.parquet(state, &parquet, &projection, &left, limit)?);
        }
        if !ndjson.is_empty() {
            plans.push(self.ndjson(state, &ndjson, &projection)?);
        }
        match plans.len() {
            0 => {
                let schema = self.table.table_schema().project(&projection)?;
                Ok(Arc::new(EmptyExec::new(Arc::new(schema))))
            }
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

/// The columns of the table.
pub(super) fn schema(hidden: Hidden) -> SchemaRef {
    Arc::clone(table_schema(hidden).table_schema())
}

/// The table's columns. All can be NULL, since a damaged line is a row of NULLs.
fn table_schema(hidden: Hidden) -> TableSchema {
    let file: Vec<Field> = archive::schema::arrow()
        .fields()
        .iter()
        .map(|field| {
            let kind = match field.data_type() {
                DataType::Utf8 => DataType::Utf8View,
                other => other.clone(),
            };
            Field::new(field.name(), kind, true)
        })
        .collect();
    let text = |name| Arc::new(Field::new(name, DataType::Utf8View, true)) as FieldRef;
    let mut partition = vec![text(CLUSTER), text(DH)];
    if hidden == Hidden::Shown {
        partition.push(text(PATH));
        partition.push(Arc::new(Field::new(FILE_SIZE, DataType::Int64, true)));
    }
    TableSchema::builder(Arc::new(Schema::new(file)))
        .with_table_partition_cols(partition)
        .build()
}
