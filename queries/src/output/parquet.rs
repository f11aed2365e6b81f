//! An Apache Parquet file, its columns typed as the answer's.
//!
//! Values come as text, whatever the engine; here they get their types back. A text that its type has no value for is an error: a
//! file that says something else than the answer would be worse than none.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Decimal128Builder, PrimitiveBuilder, StringBuilder,
};
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::different_names;
use crate::moment::Moment;
use crate::rows::{Column, Kind, Row};

/// Rows that are turned into columns together.
const BATCH_ROWS: usize = 8192;

/// Bytes of values that are turned into columns together, at most, but for a single row.
const BATCH_BYTES: usize = 16 << 20;

/// Bytes of a group of rows, after which it is closed.
const GROUP_BYTES: usize = 64 << 20;

/// The most digits of a decimal that the file can hold.
const MAX_PRECISION: u8 = 38;

/// A file that is being written.
pub(super) struct Parquet {
    columns: Vec<Column>,
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    rows: Vec<Row>,
    bytes: usize,
}

impl Parquet {
    pub(super) fn new(columns: &[Column]) -> io::Result<Self> {
        let fields: Vec<Field> = different_names(columns)
            .into_iter()
            .zip(columns)
            .map(|(name, column)| Field::new(name, data_type(&column.kind), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))
            .map_err(io::Error::other)?;
        Ok(Self {
            columns: columns.to_vec(),
            schema,
            writer,
            rows: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn rows(&mut self, rows: Vec<Row>, out: &mut dyn Write) -> io::Result<()> {
        for row in rows {
            self.bytes += row.iter().flatten().map(String::len).sum::<usize>();
            self.rows.push(row);
            if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
                self.write_batch(out)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_batch(out)?;
        out.write_all(&self.writer.into_inner().map_err(io::Error::other)?)
    }

    fn write_batch(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let arrays: Vec<ArrayRef> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = rows
                    .iter()
                    .map(|row| row.get(at).and_then(Option::as_deref));
                array(column, cells)
            })
            .collect::<io::Result<_>>()?;
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(io::Error::other)?;
        self.writer.write(&batch).map_err(io::Error::other)?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(io::Error::other)?;
        }
        // What is written goes on at once; the writer counts by itself how much it was.
        out.write_all(&std::mem::take(self.writer.inner_mut()))
    }
}

fn data_type(kind: &Kind) -> DataType {
    match kind {
        Kind::Boolean => DataType::Boolean,
        Kind::TinyInt => DataType::Int8,
        Kind::SmallInt => DataType::Int16,
        Kind::Integer => DataType::Int32,
        Kind::BigInt => DataType::Int64,
        Kind::Real => DataType::Float32,
        Kind::Double => DataType::Float64,
        Kind::Decimal { precision, scale }
            if (1..=MAX_PRECISION).contains(precision) && scale <= precision =>
        {
            DataType::Decimal128(*precision, *scale as i8)
        }
        Kind::Decimal { .. } | Kind::Varchar | Kind::Json | Kind::Other(_) => DataType::Utf8,
        Kind::Varbinary => DataType::Binary,
        Kind::Date => DataType::Date32,
        Kind::Timestamp { precision } => DataType::Timestamp(unit(*precision), None),
        Kind::TimestampWithTimeZone { precision } => {
            DataType::Timestamp(unit(*precision), Some("UTC".into()))
        }
    }
}

fn unit(precision: u8) -> TimeUnit {
    match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    }
}

fn array<'a>(
    column: &Column,
    cells: impl Iterator<Item = Option<&'a str>>,
) -> io::Result<ArrayRef> {
    let wrong = |cell: &str| {
        let shown: String = cell.chars().take(80).collect();
        io::Error::other(format!(
            "column {}: {shown:?} is no value of its type, {:?}",
            column.name, column.kind
        ))
    };
    Ok(match data_type(&column.kind) {
        DataType::Boolean => {
            let mut builder = BooleanBuilder::new();
            for cell in cells {
                builder.append_option(match cell {
                    None => None,
                    Some("true") => Some(true),
                    Some("false") => Some(false),
                    Some(cell) => return Err(wrong(cell)),
                });
            }
            Arc::new(builder.finish())
        }
        DataType::Int8 => primitive::<Int8Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Int16 => primitive::<Int16Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Int32 => primitive::<Int32Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Int64 => primitive::<Int64Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Float32 => primitive::<Float32Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Float64 => primitive::<Float64Type>(cells, |cell| cell.parse().ok(), wrong)?,
        DataType::Date32 => primitive::<Date32Type>(
            cells,
            |cell| i32::try_from(nanoseconds(cell)?.div_euclid(86_400_000_000_000)).ok(),
            wrong,
        )?,
        DataType::Timestamp(unit, zone) => {
            let ns = |cell: &str| nanoseconds(cell.strip_suffix(" UTC").unwrap_or(cell));
            match unit {
                TimeUnit::Second | TimeUnit::Millisecond => timestamps::<TimestampMillisecondType>(
                    cells,
                    |cell| Some(ns(cell)?.div_euclid(1_000_000)),
                    zone,
                    wrong,
                )?,
                TimeUnit::Microsecond => timestamps::<TimestampMicrosecondType>(
                    cells,
                    |cell| Some(ns(cell)?.div_euclid(1000)),
                    zone,
                    wrong,
                )?,
                TimeUnit::Nanosecond => {
                    timestamps::<TimestampNanosecondType>(cells, ns, zone, wrong)?
                }
            }
        }
        DataType::Decimal128(precision, scale) => {
            let mut builder = Decimal128Builder::new()
                .with_precision_and_scale(precision, scale)
                .map_err(io::Error::other)?;
            for cell in cells {
                match cell {
                    None => builder.append_null(),
                    Some(cell) => {
                        let value = decimal(cell, scale as usize);
                        builder.append_value(value.ok_or_else(|| wrong(cell))?);
                    }
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Binary => {
            let mut builder = BinaryBuilder::new();
            for cell in cells {
                match cell {
                    None => builder.append_null(),
                    Some(cell) => {
                        builder.append_value(hexadecimal(cell).ok_or_else(|| wrong(cell))?);
                    }
                }
            }
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringBuilder::new();
            for cell in cells {
                builder.append_option(cell);
            }
            Arc::new(builder.finish())
        }
    })
}

fn values<'a, T: ArrowPrimitiveType>(
    cells: impl Iterator<Item = Option<&'a str>>,
    parse: impl Fn(&str) -> Option<T::Native>,
    wrong: impl Fn(&str) -> io::Error,
) -> io::Result<arrow_array::PrimitiveArray<T>> {
    let mut builder = PrimitiveBuilder::<T>::new();
    for cell in cells {
        match cell {
            None => builder.append_null(),
            Some(cell) => builder.append_value(parse(cell).ok_or_else(|| wrong(cell))?),
        }
    }
    Ok(builder.finish())
}

fn primitive<'a, T: ArrowPrimitiveType>(
    cells: impl Iterator<Item = Option<&'a str>>,
    parse: impl Fn(&str) -> Option<T::Native>,
    wrong: impl Fn(&str) -> io::Error,
) -> io::Result<ArrayRef> {
    Ok(Arc::new(values::<T>(cells, parse, wrong)?))
}

fn timestamps<'a, T: arrow_array::types::ArrowTimestampType>(
    cells: impl Iterator<Item = Option<&'a str>>,
    parse: impl Fn(&str) -> Option<i64>,
    zone: Option<Arc<str>>,
    wrong: impl Fn(&str) -> io::Error,
) -> io::Result<ArrayRef> {
    let array = values::<T>(cells, parse, wrong)?;
    Ok(Arc::new(array.with_timezone_opt(zone)))
}

/// A date or a timestamp in ns since 1970.
fn nanoseconds(cell: &str) -> Option<i64> {
    // Only what is absolute: a value such as `now` is none of an engine's.
    let is_absolute = cell.starts_with(|c: char| c.is_ascii_digit()) && cell.contains('-');
    is_absolute
        .then(|| cell.parse::<Moment>().ok())?
        .map(|moment| moment.resolve(0))
}

/// A decimal by its digits, with so many of them after the point.
fn decimal(cell: &str, scale: usize) -> Option<i128> {
    let (whole, fraction) = cell.split_once('.').unwrap_or((cell, ""));
    let fine = fraction.len() <= scale && fraction.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| format!("{whole}{fraction:0<scale$}").parse().ok())?
}

/// Bytes by their digits in pairs, with blanks between or without.
fn hexadecimal(cell: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = cell.bytes().filter(|byte| *byte != b' ').collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests;
