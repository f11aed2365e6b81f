//! What the columns of a row are: the one definition that the writers, the readers, the tables' DDL and `docs/formats.md`
//! come from.
//!
//! Columns are only ever added, at the end: objects outlive programs.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding as Packing, ZstdLevel};
use parquet::file::properties::{
    BloomFilterPosition, EnabledStatistics, WriterProperties, WriterPropertiesBuilder,
};
use parquet::schema::types::ColumnPath;

use crate::row::Flags;

/// The version of the columns, as it stands in keys: `logs/v1`.
pub const VERSION: u32 = 1;

/// The most rows of a page.
pub const MAX_PAGE_ROWS: usize = 2048;

/// The most bytes of lines in a page before it is packed, but for a single line that is longer.
pub const MAX_PAGE_LINE_BYTES: usize = 1 << 20;

/// How hard zstd tries. A higher level packs logs hardly better, and takes much longer.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// How likely a bloom filter lets a group of rows through that lacks the value.
pub(crate) const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// How many distinct values a bloom filter has room for while a group of rows is written. It is folded afterwards.
const BLOOM_DISTINCT: u64 = 128 << 10;

/// How many bytes of a text stand in statistics at most.
pub(crate) const STATISTICS_BYTES: usize = 64;

/// A column's place in [`COLUMNS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each column's text says what it is")]
pub enum ColumnId {
    Ts,
    TsNs,
    IngestTs,
    Role,
    Env,
    Job,
    Instance,
    TaskId,
    Process,
    Stream,
    Host,
    Run,
    Src,
    Epoch,
    Off,
    Len,
    Level,
    RequestId,
    TraceId,
    GitSha,
    Tpl,
    Line,
    Raw,
    Flags,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A time in UTC without a zone, in milliseconds.
    Timestamp,
    /// 64 bits with a sign.
    BigInt,
    /// 32 bits with a sign.
    Int,
    /// Text.
    String,
}

/// Whether a column has a value in every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It has.
    Always,
    /// It can be NULL.
    Sometimes,
}

/// How Parquet writes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// A dictionary, and runs of its entries: a few values, for many rows each. Nothing is left for zstd.
    Runs,
    /// A dictionary, and its entries packed by zstd: few values, in any order.
    Dictionary,
    /// Differences in as few bits as they need (`DELTA_BINARY_PACKED`), packed by zstd.
    Differences,
    /// As it is (`PLAIN`), packed by zstd: a value of its own in every row.
    Plain,
}

/// How Parquet's readers find a value without reading all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// The least and the greatest value of each group of rows and of each page.
    Range,
    /// The same, and a bloom filter for each group of rows that has values.
    RangeAndBloom,
    /// A bloom filter for each group of rows that has values, and the number of NULLs.
    Bloom,
    /// Not at all.
    None,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its place.
    pub id: ColumnId,
    /// Its name: lower case, no reserved word.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether it has a value in every row.
    pub presence: Presence,
    /// How Parquet writes it.
    pub layout: Layout,
    /// How Parquet's readers find its values.
    pub lookup: Lookup,
    /// What it means, for people.
    pub text: &'static str,
}

/// The columns, in their order.
pub const COLUMNS: [Column; 24] = {
    use ColumnId as C;
    use Kind::{BigInt, Int, String, Timestamp};
    use Layout::{Dictionary, Differences, Plain, Runs};
    use Lookup::{Bloom, None, Range, RangeAndBloom};
    use Presence::{Always, Sometimes};
    [
        column(
            (C::Ts, "ts", Timestamp, Always),
            (Differences, Range),
            "the row's time, for people: `ts_ns`, floored to milliseconds",
        ),
        column(
            (C::TsNs, "ts_ns", BigInt, Always),
            (Differences, Range),
            "the row's time in ns since 1970, for order and for ranges. Its hour in UTC is the partition key `dh`",
        ),
        column(
            (C::IngestTs, "ingest_ts", Timestamp, Always),
            (Differences, Range),
            "when the agent read the line, floored to milliseconds",
        ),
        column(
            (C::Role, "role", String, Sometimes),
            (Runs, Range),
            "the job's role: with the partition key `cluster`, `env` and `job`, the job's key",
        ),
        column(
            (C::Env, "env", String, Sometimes),
            (Runs, Range),
            "the job's environment",
        ),
        column(
            (C::Job, "job", String, Sometimes),
            (Runs, Range),
            "the job's name",
        ),
        column(
            (C::Instance, "instance", Int, Always),
            (Runs, Range),
            "which instance of the job",
        ),
        column(
            (C::TaskId, "task_id", String, Sometimes),
            (Runs, RangeAndBloom),
            "the task's id",
        ),
        column(
            (C::Process, "process", String, Sometimes),
            (Runs, Range),
            "the process that wrote the file",
        ),
        column(
            (C::Stream, "stream", String, Sometimes),
            (Runs, Range),
            "`stdout`, `stderr`, or a file's name",
        ),
        column(
            (C::Host, "host", String, Sometimes),
            (Runs, Range),
            "the host's name",
        ),
        column(
            (C::Run, "run", Int, Always),
            (Runs, Range),
            "which start of the process: 0, 1, …",
        ),
        column(
            (C::Src, "src", String, Always),
            (Runs, Range),
            "the file: agent, inode and birth time in ns (a random id where the file system has no birth time)",
        ),
        column(
            (C::Epoch, "epoch", Int, Always),
            (Runs, Range),
            "how often the file had been truncated",
        ),
        column(
            (C::Off, "off", BigInt, Always),
            (Differences, Range),
            "where in the file the row's bytes begin",
        ),
        column(
            (C::Len, "len", BigInt, Always),
            (Differences, Range),
            "how many bytes of the file the row stands for, newline included",
        ),
        column(
            (C::Level, "level", String, Sometimes),
            (Dictionary, Range),
            "`trace`, `debug`, `info`, `warn`, `error`, `fatal`, or NULL",
        ),
        column(
            (C::RequestId, "request_id", String, Sometimes),
            (Plain, Bloom),
            "the request that the line belongs to, when the line says so",
        ),
        column(
            (C::TraceId, "trace_id", String, Sometimes),
            (Plain, Bloom),
            "the trace that the line belongs to, when the line says so",
        ),
        column(
            (C::GitSha, "git_sha", String, Sometimes),
            (Runs, Range),
            "the deployed build, if the task's metadata say so",
        ),
        column(
            (C::Tpl, "tpl", String, Sometimes),
            (Dictionary, Range),
            "the message's template, the message with its variable parts masked: 16 hexadecimal digits",
        ),
        column(
            (C::Line, "line", String, Sometimes),
            (Plain, None),
            "the line itself, exactly, without its newline; NULL where no bytes are kept. Bytes that are not UTF-8 are replaced by U+FFFD",
        ),
        column(
            (C::Raw, "raw", String, Sometimes),
            (Plain, None),
            "base64 of the line's bytes when they are not UTF-8, else NULL",
        ),
        column(
            (C::Flags, "flags", Int, Always),
            (Runs, Range),
            "bits: what else there is to know, see below",
        ),
    ]
};

/// The bits of `flags`: which, its name, and what it says.
pub const FLAGS: [(Flags, &str, &str); 8] = [
    (
        Flags::TIME_SUBSTITUTED,
        "time substituted",
        "the line's own time was not believable and was replaced",
    ),
    (
        Flags::NOT_UTF8,
        "not UTF-8",
        "`raw` has the line's bytes, `line` a reading of them",
    ),
    (
        Flags::PIECE,
        "piece",
        "a piece of a line that is longer than the limit; the next row goes on with it",
    ),
    (
        Flags::UNFINISHED,
        "unfinished",
        "a last line without a newline, shipped by age or at the end of the file",
    ),
    (
        Flags::CONTINUATION,
        "continuation",
        "the line continues the one above it, as in a stack trace",
    ),
    (
        Flags::REDACTED,
        "redacted",
        "something in the line was masked",
    ),
    (
        Flags::GAP,
        "gap",
        "the bytes are not kept; a lower bound where the end is unknown",
    ),
    (
        Flags::END,
        "end",
        "the file is finished: a row of length zero",
    ),
];

const fn column(
    (id, name, kind, presence): (ColumnId, &'static str, Kind, Presence),
    (layout, lookup): (Layout, Lookup),
    text: &'static str,
) -> Column {
    Column {
        id,
        name,
        kind,
        presence,
        layout,
        lookup,
        text,
    }
}

impl ColumnId {
    /// The column.
    pub const fn column(self) -> &'static Column {
        const { &COLUMNS }
            .split_at(self as usize)
            .1
            .first()
            .unwrap()
    }

    /// The column of a name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        COLUMNS
            .iter()
            .find(|column| column.name.as_bytes() == name)
            .map(|column| column.id)
    }
}

impl Kind {
    /// The type's name in Athena's DDL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::BigInt => "bigint",
            Self::Int => "int",
            Self::String => "string",
        }
    }

    /// The type in Arrow.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
            Self::BigInt => DataType::Int64,
            Self::Int => DataType::Int32,
            Self::String => DataType::Utf8,
        }
    }
}

impl Lookup {
    /// Whether there are bloom filters.
    pub const fn has_bloom(self) -> bool {
        matches!(self, Self::Bloom | Self::RangeAndBloom)
    }
}

/// The columns in Arrow.
pub fn arrow() -> SchemaRef {
    let fields: Vec<Field> = COLUMNS
        .iter()
        .map(|column| {
            let can_be_null = column.presence == Presence::Sometimes;
            Field::new(column.name, column.kind.arrow(), can_be_null)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// How columns are packed.
pub(crate) fn zstd() -> Compression {
    ZstdLevel::try_new(ZSTD_LEVEL).map_or(Compression::UNCOMPRESSED, Compression::ZSTD)
}

/// How Parquet writes the columns. Groups of rows are cut by who writes them.
pub fn writer_properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(zstd())
        .set_data_page_row_count_limit(MAX_PAGE_ROWS)
        .set_write_batch_size(MAX_PAGE_ROWS)
        .set_data_page_size_limit(MAX_PAGE_LINE_BYTES)
        .set_max_row_group_row_count(None)
        .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        .set_statistics_truncate_length(Some(STATISTICS_BYTES));
    for column in &COLUMNS {
        properties = laid_out(properties, column);
    }
    properties.build()
}

fn laid_out(properties: WriterPropertiesBuilder, column: &Column) -> WriterPropertiesBuilder {
    let path = || ColumnPath::from(column.name);
    let has_dictionary = matches!(column.layout, Layout::Runs | Layout::Dictionary);
    let mut properties = properties
        .set_column_dictionary_enabled(path(), has_dictionary)
        .set_column_encoding(
            path(),
            match column.layout {
                Layout::Differences => Packing::DELTA_BINARY_PACKED,
                _ => Packing::PLAIN,
            },
        )
        .set_column_statistics_enabled(
            path(),
            match column.lookup {
                Lookup::Range | Lookup::RangeAndBloom => EnabledStatistics::Page,
                Lookup::Bloom => EnabledStatistics::Chunk,
                Lookup::None => EnabledStatistics::None,
            },
        );
    if column.layout == Layout::Runs {
        properties = properties.set_column_compression(path(), Compression::UNCOMPRESSED);
    }
    // A column of runs has few values: its filter is made of them, not of every row.
    if column.lookup.has_bloom() && column.layout != Layout::Runs {
        properties = properties
            .set_column_bloom_filter_enabled(path(), true)
            .set_column_bloom_filter_fpp(path(), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(path(), BLOOM_DISTINCT);
    }
    properties
}

/// `docs/formats.md`.
pub fn markdown() -> String {
    let mut page = include_str!("schema/formats.md").to_owned();
    let mut columns = String::from(
        "| column | type | NULL | in Parquet | found by | meaning |\n|---|---|---|---|---|---|\n",
    );
    for column in &COLUMNS {
        let null = match column.presence {
            Presence::Always => "no",
            Presence::Sometimes => "yes",
        };
        let layout = match column.layout {
            Layout::Runs => "dictionary",
            Layout::Dictionary => "dictionary, zstd",
            Layout::Differences => "DELTA_BINARY_PACKED, zstd",
            Layout::Plain => "PLAIN, zstd",
        };
        let lookup = match column.lookup {
            Lookup::Range => "range",
            Lookup::RangeAndBloom => "range, bloom filter",
            Lookup::Bloom => "bloom filter",
            Lookup::None => "",
        };
        let (name, kind, text) = (column.name, column.kind.sql(), column.text);
        let _ = writeln!(
            columns,
            "| `{name}` | {kind} | {null} | {layout} | {lookup} | {text} |"
        );
    }
    let mut flags = String::from("| bit | name | meaning |\n|---|---|---|\n");
    for (flag, name, text) in FLAGS {
        let _ = writeln!(flags, "| {} | {name} | {text} |", flag.0);
    }
    for (mark, text) in [("{{columns}}\n", columns), ("{{flags}}\n", flags)] {
        page = page.replace(mark, &text);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn columns_stand_where_their_ids_say() {
        for (place, column) in COLUMNS.iter().enumerate() {
            assert_eq!(column.id as usize, place);
            assert_eq!(column.id.column(), column);
            assert_eq!(ColumnId::from_name(column.name.as_bytes()), Some(column.id));
            assert!(column.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_')));
        }
        assert_eq!(ColumnId::from_name(b"cluster"), None);
    }

    #[test]
    fn flags_are_different_bits() {
        let mut all = Flags::default();
        for (flag, ..) in FLAGS {
            assert_eq!(flag.0.count_ones(), 1);
            assert_eq!(all.0 & flag.0, 0);
            all |= flag;
        }
    }

    /// `docs/formats.md` is what the code says. With `REWRITE_DOCS=1` in the environment it is written.
    #[test]
    fn the_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats.md");
        if std::env::var_os("REWRITE_DOCS").is_some() {
            std::fs::write(&path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(
            page == markdown(),
            "docs/formats.md is not what the code says: `REWRITE_DOCS=1 cargo test -p archive` writes it"
        );
    }
}
