//! NDJSON objects as rows: a node of the plan that unpacks and scans some objects at a time.
//!
//! Each partition takes the next object when it has finished one, so that a large object does not hold up small ones. For each, a
//! task reads ahead from the store while a thread unpacks and scans. Gzip that ends too soon or is damaged gives the rows that
//! could be unpacked and one row of NULLs for what could not; only the store can fail a query.

mod scan;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archive::Store as _;
use archive::schema::COLUMNS;
use bytes::{Buf as _, Bytes};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning,
    PhysicalExpr, PlanProperties, ReplaceChildrenOptions,
};
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc;

use super::objects::Objects;
use scan::Scanner;

/// How much of an object is read in one request, in bytes.
const CHUNK_BYTES: u64 = 4 << 20;

/// How many chunks wait for a thread that unpacks, at most.
const CHUNKS_AHEAD: usize = 2;

/// How much is unpacked before it is scanned, in bytes: about what a core's own cache holds.
const BLOCK_BYTES: usize = 512 << 10;

/// The longest line of JSON that is read, in bytes. A longer one counts as damaged.
const MAX_JSON_BYTES: usize = 512 << 20;

/// After how many rows a batch is handed on.
const BATCH_ROWS: usize = 8192;

/// Batches that wait for the rest of the plan, at most.
const BATCHES_AHEAD: usize = 2;

/// An object, and what its rows have in the columns that are not in it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Its key.
    pub(super) key: String,
    /// Its length in bytes.
    pub(super) len: u64,
    /// The values of the columns behind those of [`COLUMNS`].
    pub(super) constants: Vec<ScalarValue>,
}

/// The node.
#[derive(Debug)]
pub(super) struct NdjsonExec {
    objects: Objects,
    sources: Arc<Vec<Source>>,
    /// The next source that nobody has taken.
    next: Arc<AtomicUsize>,
    /// The table's columns that are wanted, by their places.
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl NdjsonExec {
    /// Reads `sources` on as many as `partitions` threads. `projection` are places in the table, `schema` its columns.
    pub(super) fn new(
        objects: Objects,
        sources: Vec<Source>,
        projection: Vec<usize>,
        schema: SchemaRef,
        partitions: usize,
    ) -> Self {
        let partitions = partitions.min(sources.len()).max(1);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            objects,
            sources: Arc::new(sources),
            next: Arc::default(),
            projection,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for NdjsonExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NdjsonExec: objects={}", self.sources.len())
    }
}

impl ExecutionPlan for NdjsonExec {
    fn name(&self) -> &'static str {
        "NdjsonExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            objects: self.objects.clone(),
            sources: Arc::clone(&self.sources),
            next: Arc::default(),
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
        }))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(self.properties.equivalence_properties().schema());
        let mut stream = RecordBatchReceiverStream::builder(Arc::clone(&schema), BATCHES_AHEAD);
        let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
        stream.spawn(feed(
            self.objects.clone(),
            Arc::clone(&self.sources),
            Arc::clone(&self.next),
            chunks,
        ));
        let unpacker = Unpacker {
            objects: self.objects.clone(),
            sources: Arc::clone(&self.sources),
            projection: self.projection.clone(),
            schema,
            batches: stream.tx(),
        };
        stream.spawn_blocking(move || {
            unpacker.run(received);
            Ok(())
        });
        Ok(stream.build())
    }
}

/// What the reading task tells the unpacking thread.
enum Chunk {
    /// An object begins, by its place among the sources.
    Begin(usize),
    /// The next bytes of it.
    Bytes(Bytes),
    /// It is finished.
    End,
}

/// Reads one object after the other, as long as there are any that nobody has taken and somebody wants them.
async fn feed(
    objects: Objects,
    sources: Arc<Vec<Source>>,
    next: Arc<AtomicUsize>,
    chunks: mpsc::Sender<Chunk>,
) -> Result<()> {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(source) = sources.get(place) else {
            return Ok(());
        };
        if source.len == 0 {
            continue;
        }
        if chunks.send(Chunk::Begin(place)).await.is_err() {
            return Ok(());
        }
        let mut start = 0;
        while start < source.len {
            let end = source.len.min(start + CHUNK_BYTES);
            let bytes = objects.get(&source.key, Some(start..end)).await;
            let bytes = bytes.map_err(|error| DataFusionError::External(Box::new(error)))?;
            start = end;
            if chunks.send(Chunk::Bytes(bytes)).await.is_err() {
                return Ok(());
            }
        }
        if chunks.send(Chunk::End).await.is_err() {
            return Ok(());
        }
    }
}

/// The packed bytes of one object, as they come.
struct Packed<'c> {
    chunks: &'c mut mpsc::Receiver<Chunk>,
    chunk: Bytes,
    state: Feeding,
}

/// How far an object has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feeding {
    Going,
    Ended,
    /// The reading task has failed or is gone: it says so itself.
    Broken,
}

impl Packed<'_> {
    fn next_chunk(&mut self) {
        match self.chunks.blocking_recv() {
            Some(Chunk::Bytes(bytes)) => self.chunk = bytes,
            Some(Chunk::End | Chunk::Begin(_)) => self.state = Feeding::Ended,
            None => self.state = Feeding::Broken,
        }
    }

    /// Takes what is left of the object.
    fn drain(&mut self) {
        self.chunk = Bytes::new();
        while self.state == Feeding::Going {
            self.next_chunk();
        }
    }
}

impl Read for Packed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(buffer.len());
        buffer[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Packed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() && self.state == Feeding::Going {
            self.next_chunk();
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, len: usize) {
        self.chunk.advance(len);
    }
}

/// Unpacks and scans what it is fed.
struct Unpacker {
    objects: Objects,
    sources: Arc<Vec<Source>>,
    projection: Vec<usize>,
    schema: SchemaRef,
    batches: mpsc::Sender<Result<RecordBatch>>,
}

/// Nobody wants more batches.
struct Unwanted;

impl Unpacker {
    fn run(&self, mut chunks: mpsc::Receiver<Chunk>) {
        let wanted = self.projection.iter().copied();
        let mut scanner = Scanner::new(wanted.filter(|&place| place < COLUMNS.len()).collect());
        let mut block = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            let Chunk::Begin(place) = chunk else { continue };
            let source = &self.sources[place];
            if self
                .object(source, &mut chunks, &mut scanner, &mut block)
                .is_err()
            {
                return;
            }
        }
    }

    fn object(
        &self,
        source: &Source,
        chunks: &mut mpsc::Receiver<Chunk>,
        scanner: &mut Scanner,
        block: &mut Vec<u8>,
    ) -> Result<(), Unwanted> {
        let packed = Packed {
            chunks,
            chunk: Bytes::new(),
            state: Feeding::Going,
        };
        let mut unpacked = MultiGzDecoder::new(packed);
        block.clear();
        // The line at the end of the block is longer than what is read.
        let mut is_skipping = false;
        loop {
            let mut searched = block.len();
            let outcome = fill(&mut unpacked, block);
            if unpacked.get_ref().state == Feeding::Broken {
                // What was unpacked is not all there is, and the reason is on its way.
                return Err(Unwanted);
            }
            let is_last = !matches!(outcome, Ok(Filled::Full));
            if is_skipping {
                let end = memchr::memchr(b'\n', block).map_or(block.len(), |place| place + 1);
                is_skipping = end == block.len() && block.last() != Some(&b'\n');
                block.drain(..end);
                searched = 0;
            }
            let last = memchr::memrchr(b'\n', &block[searched..]);
            let whole = last.map_or(0, |place| searched + place + 1);
            scanner.block(&block[..whole]);
            block.drain(..whole);
            if is_last {
                match outcome {
                    Err(_) => scanner.damaged_line(),
                    Ok(_) if !block.is_empty() => scanner.block(block),
                    Ok(_) => {}
                }
                self.hand_on(source, scanner)?;
                unpacked.get_mut().drain();
                return Ok(());
            }
            if block.len() > MAX_JSON_BYTES {
                scanner.damaged_line();
                block.clear();
                is_skipping = true;
            }
            if scanner.rows() >= BATCH_ROWS {
                self.hand_on(source, scanner)?;
            }
        }
    }

    /// Hands on what the scanner has gathered.
    fn hand_on(&self, source: &Source, scanner: &mut Scanner) -> Result<(), Unwanted> {
        let (columns, rows, damaged) = scanner.take();
        if rows == 0 {
            return Ok(());
        }
        self.objects.meter().damaged(damaged);
        let batch = self.batch(source, columns, rows);
        self.batches.blocking_send(batch).map_err(|_| Unwanted)
    }

    fn batch(&self, source: &Source, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let mut columns = columns.into_iter();
        let mut all = Vec::with_capacity(self.projection.len());
        for &place in &self.projection {
            let column = if place < COLUMNS.len() {
                columns.next()
            } else {
                let constant = source.constants.get(place - COLUMNS.len());
                constant
                    .map(|value| value.to_array_of_size(rows))
                    .transpose()?
            };
            all.extend(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            all,
            &options,
        )?)
    }
}

/// How a block was filled.
enum Filled {
    /// There may be more.
    Full,
    /// That is all.
    Last,
}

/// Reads on at the end of `block` until it is longer by [`BLOCK_BYTES`] or there is no more. What was read before an error is there.
fn fill(unpacked: &mut impl Read, block: &mut Vec<u8>) -> io::Result<Filled> {
    let mut filled = block.len();
    let end = filled + BLOCK_BYTES;
    block.resize(end, 0);
    let outcome = loop {
        match unpacked.read(&mut block[filled..]) {
            Ok(0) => {
                break Ok(if filled == end {
                    Filled::Full
                } else {
                    Filled::Last
                });
            }
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    block.truncate(filled);
    outcome
}
