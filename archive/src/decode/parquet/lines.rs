//! The lines of one run of rows: the few columns that whoever shows them needs, and no copy of a line.

use std::sync::Arc;

use arrow_array::{Array as _, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::Buffer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Batches, text};
use crate::decode::{DecodeError, LineRow};
use crate::row::{Flags, Origin};
use crate::schema::ColumnId;

/// What is read of each row; the rest is the run's.
pub(super) const COLUMNS: [ColumnId; 6] = [
    ColumnId::TsNs,
    ColumnId::Off,
    ColumnId::Len,
    ColumnId::Flags,
    ColumnId::Line,
    ColumnId::Raw,
];

/// Hands out the rows of a run.
#[derive(Debug)]
pub(crate) struct LineRows {
    pub(super) batches: Batches,
    pub(super) origin: Arc<Origin>,
    pub(super) epoch: u32,
    pub(super) columns: Option<Columns>,
    /// The next row of the columns.
    pub(super) row: usize,
}

/// A batch's columns.
#[derive(Debug)]
pub(super) struct Columns {
    rows: usize,
    ts_ns: Int64Array,
    off: Int64Array,
    len: Int64Array,
    flags: Int32Array,
    line: Option<StringArray>,
    /// The bytes of all lines, shared by those that are handed out.
    bytes: Bytes,
    raw: Option<StringArray>,
}

/// The bytes of a batch's lines, for [`Bytes`].
struct LineBytes(Buffer);

impl AsRef<[u8]> for LineBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl LineRows {
    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<LineRow>, DecodeError> {
        loop {
            let Some(columns) = self.columns.as_ref().filter(|all| self.row < all.rows) else {
                let Some(batch) = self.batches.next()? else {
                    return Ok(None);
                };
                self.columns = Some(Columns::new(&self.batches, &batch)?);
                self.row = 0;
                continue;
            };
            let row = self.row;
            self.row += 1;
            let line = match text(columns.raw.as_ref(), row) {
                Some(raw) => {
                    let bytes = STANDARD.decode(raw).map_err(|_| DecodeError::Column {
                        key: self.batches.key.clone(),
                        column: ColumnId::Raw.column().name,
                        problem: "is no base64",
                    })?;
                    Some(Bytes::from(bytes))
                }
                None => columns.line(row),
            };
            return Ok(Some(LineRow {
                origin: Arc::clone(&self.origin),
                ts_ns: columns.ts_ns.value(row),
                epoch: self.epoch,
                off: columns.off.value(row) as u64,
                len: columns.len.value(row) as u64,
                line,
                flags: Flags(columns.flags.value(row) as u32),
            }));
        }
    }
}

impl Columns {
    fn new(batches: &Batches, batch: &RecordBatch) -> Result<Self, DecodeError> {
        let numbers = |id| batches.always::<Int64Array>(batch, id);
        let line: Option<StringArray> = batches.column(batch, ColumnId::Line)?;
        let bytes = line.as_ref().map(|line| LineBytes(line.values().clone()));
        Ok(Self {
            rows: batch.num_rows(),
            ts_ns: numbers(ColumnId::TsNs)?,
            off: numbers(ColumnId::Off)?,
            len: numbers(ColumnId::Len)?,
            flags: batches.always(batch, ColumnId::Flags)?,
            bytes: bytes.map(Bytes::from_owner).unwrap_or_default(),
            line,
            raw: batches.column(batch, ColumnId::Raw)?,
        })
    }

    fn line(&self, row: usize) -> Option<Bytes> {
        let line = self.line.as_ref().filter(|line| line.is_valid(row))?;
        let offsets = line.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        Some(self.bytes.slice(start..end))
    }
}
