//! Columns with a dictionary, written by ourselves.
//!
//! The library looks every value of every row up by its text. Here a value is looked up where it changes: what rows of one file
//! have in common once for all of them. Rows are counted as runs of a key, a place in the column's dictionary, and packed page by
//! page. The pages, the statistics and the indices are those that the library would write; its parts frame them.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io;

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, PageType};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use crate::encode::tpl_digits;
use crate::schema::{MAX_PAGE_ROWS, STATISTICS_BYTES, ZSTD_LEVEL};

/// How many bytes a dictionary may take before its group of rows should end.
pub(super) const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// A place in a column's dictionary; `None` is NULL.
pub(super) type Key = Option<u32>;

/// From how many equal values on a run of them takes less than each of them would.
const MIN_RUN: usize = 8;

/// A value of a dictionary. Their order is that of Parquet's statistics.
pub(super) trait Value: Ord + Hash + Clone {
    /// Adds it to a dictionary's page.
    fn add_to(&self, page: &mut Vec<u8>);

    /// What stands for it in an index of pages as the least value of a page.
    fn least(&self) -> Vec<u8>;

    /// The same for the greatest value.
    fn greatest(&self) -> Vec<u8>;

    /// Statistics of a column that goes from one to the other.
    fn statistics(range: Option<(&Self, &Self)>, nulls: u64) -> Statistics;
}

/// A column of a group of rows, while its rows come.
#[derive(Debug)]
pub(super) struct KeyColumn<V, S = RandomState> {
    descr: ColumnDescPtr,
    packing: Packing,
    keys: HashMap<V, u32, S>,
    values: Vec<V>,
    /// The dictionary's page.
    dictionary: Vec<u8>,
    /// What is not in a page yet.
    runs: Vec<Run>,
    rows: usize,
    pages: Vec<KeyPage>,
    page_bytes: usize,
}

/// Whether pages are packed by zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// They are.
    Zstd,
    /// Nothing would be left for it.
    None,
}

/// Rows of one key.
#[derive(Debug, Clone, Copy)]
struct Run {
    key: Key,
    rows: usize,
}

/// A page that is packed.
#[derive(Debug)]
struct KeyPage {
    bytes: Vec<u8>,
    unpacked_bytes: usize,
    rows: usize,
    nulls: usize,
    /// The keys of its least and its greatest value.
    range: Option<(u32, u32)>,
}

impl<V: Value, S: BuildHasher + Default> KeyColumn<V, S> {
    pub(super) fn new(descr: ColumnDescPtr, packing: Packing) -> Self {
        Self {
            descr,
            packing,
            keys: HashMap::default(),
            values: Vec::new(),
            dictionary: Vec::new(),
            runs: Vec::new(),
            rows: 0,
            pages: Vec::new(),
            page_bytes: 0,
        }
    }

    /// The key of a value.
    #[inline]
    pub(super) fn key<Q>(&mut self, value: &Q) -> u32
    where
        V: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = V> + ?Sized,
    {
        match self.keys.get(value) {
            Some(key) => *key,
            None => self.new_key(value.to_owned()),
        }
    }

    #[cold]
    fn new_key(&mut self, value: V) -> u32 {
        let key = self.values.len() as u32;
        value.add_to(&mut self.dictionary);
        self.values.push(value.clone());
        self.keys.insert(value, key);
        key
    }

    /// Adds rows.
    #[inline]
    pub(super) fn push(&mut self, key: Key, mut rows: usize, packer: &mut Packer) -> Result<()> {
        while self.rows + rows >= MAX_PAGE_ROWS {
            let fitting = MAX_PAGE_ROWS - self.rows;
            self.add(key, fitting);
            rows -= fitting;
            self.end_page(packer)?;
        }
        if rows > 0 {
            self.add(key, rows);
        }
        Ok(())
    }

    #[inline]
    fn add(&mut self, key: Key, rows: usize) {
        self.rows += rows;
        match self.runs.last_mut() {
            Some(last) if last.key == key => last.rows += rows,
            _ => self.runs.push(Run { key, rows }),
        }
    }

    fn end_page(&mut self, packer: &mut Packer) -> Result<()> {
        let bytes = &mut packer.page;
        bytes.clear();
        let nulls: usize = self
            .runs
            .iter()
            .filter(|run| run.key.is_none())
            .map(|run| run.rows)
            .sum();
        if self.descr.max_def_level() > 0 {
            bytes.extend_from_slice(&[0; 4]);
            let levels = self
                .runs
                .iter()
                .map(|run| (u32::from(run.key.is_some()), run.rows));
            pack(levels, 1, &mut packer.literals, bytes);
            let len = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&len.to_le_bytes());
        }
        let width = u32::BITS - (self.values.len().saturating_sub(1) as u32).leading_zeros();
        bytes.push(width as u8);
        let keys = self
            .runs
            .iter()
            .filter_map(|run| Some((run.key?, run.rows)));
        pack(keys, width, &mut packer.literals, bytes);
        let unpacked_bytes = bytes.len();
        let bytes = packer.finish(self.packing)?;
        self.page_bytes += bytes.len();
        let range = self.range();
        self.pages.push(KeyPage {
            bytes,
            unpacked_bytes,
            rows: self.rows,
            nulls,
            range,
        });
        self.runs.clear();
        self.rows = 0;
        Ok(())
    }

    /// The least and the greatest value of the page at hand.
    fn range(&self) -> Option<(u32, u32)> {
        let value = |key: &u32| &self.values[*key as usize];
        let mut range: Option<(u32, u32)> = None;
        for key in self.runs.iter().filter_map(|run| run.key) {
            let (least, greatest) = range.get_or_insert((key, key));
            if key != *least && value(&key) < value(least) {
                *least = key;
            } else if key != *greatest && value(&key) > value(greatest) {
                *greatest = key;
            }
        }
        range
    }

    /// How many bytes it will take, about.
    pub(super) fn bytes(&self) -> usize {
        self.page_bytes + self.dictionary.len()
    }

    /// How many bytes its dictionary takes.
    pub(super) fn dictionary_bytes(&self) -> usize {
        self.dictionary.len()
    }

    /// The values that there are.
    pub(super) fn values(&self) -> &[V] {
        &self.values
    }

    /// Ends the column: its bytes, and what there is to know of them.
    pub(super) fn close(
        mut self,
        bloom_filter: Option<Sbbf>,
        packer: &mut Packer,
    ) -> Result<(Bytes, ColumnCloseResult)> {
        if self.rows > 0 {
            self.end_page(packer)?;
        }
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        packer.page.clear();
        packer.page.extend_from_slice(&self.dictionary);
        let dictionary = Page::DictionaryPage {
            buf: packer.finish(self.packing)?.into(),
            num_values: self.values.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let spec = writer.write_page(CompressedPage::new(dictionary, self.dictionary.len()))?;
        let (dictionary_bytes, mut unpacked_bytes) = (spec.bytes_written, spec.uncompressed_size);
        let mut offsets = OffsetIndexBuilder::new();
        let mut index = ColumnIndexBuilder::new(self.descr.physical_type());
        let mut order = Order::default();
        let (mut rows, mut nulls) = (0, 0);
        let mut range: Option<(&V, &V)> = None;
        let pages = self.pages.len();
        for page in self.pages {
            let values = page.range.map(|(least, greatest)| {
                let value = |key: u32| &self.values[key as usize];
                (value(least), value(greatest))
            });
            let (least, greatest) = match values {
                Some((least, greatest)) => (least.least(), greatest.greatest()),
                None => (Vec::new(), Vec::new()),
            };
            index.append(values.is_none(), least, greatest, page.nulls as i64);
            if let Some(values) = values {
                order.follow(values);
                range = Some(range.map_or(values, |range| {
                    (range.0.min(values.0), range.1.max(values.1))
                }));
            }
            rows += page.rows;
            nulls += page.nulls;
            let data = Page::DataPage {
                buf: page.bytes.into(),
                num_values: page.rows as u32,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let spec = writer.write_page(CompressedPage::new(data, page.unpacked_bytes))?;
            unpacked_bytes += spec.uncompressed_size;
            offsets.append_row_count(page.rows as i64);
            offsets.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        }
        index.set_boundary_order(order.boundary());
        let bytes = Bytes::from(sink.into_inner()?);
        let compression = match self.packing {
            Packing::Zstd => crate::schema::zstd(),
            Packing::None => Compression::UNCOMPRESSED,
        };
        let stats = |page_type, encoding, count| PageEncodingStats {
            page_type,
            encoding,
            count,
        };
        let metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(compression)
            .set_encodings(vec![
                Encoding::PLAIN,
                Encoding::RLE,
                Encoding::RLE_DICTIONARY,
            ])
            .set_page_encoding_stats(vec![
                stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, pages as i32),
            ])
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(unpacked_bytes as i64)
            .set_num_values(rows as i64)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(dictionary_bytes as i64)
            .set_statistics(V::statistics(range, nulls as u64))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter,
            column_index: Some(index.build()?),
            offset_index: Some(offsets.build()),
        };
        Ok((bytes, close))
    }
}

/// Whether the pages' least and greatest values rise or fall.
#[derive(Debug)]
struct Order<'v, V> {
    last: Option<(&'v V, &'v V)>,
    rises: bool,
    falls: bool,
}

impl<V> Default for Order<'_, V> {
    fn default() -> Self {
        Self {
            last: None,
            rises: true,
            falls: true,
        }
    }
}

impl<'v, V: Ord> Order<'v, V> {
    fn follow(&mut self, page: (&'v V, &'v V)) {
        if let Some(last) = self.last {
            self.rises &= last.0 <= page.0 && last.1 <= page.1;
            self.falls &= last.0 >= page.0 && last.1 >= page.1;
        }
        self.last = Some(page);
    }

    fn boundary(&self) -> BoundaryOrder {
        match (self.rises, self.falls) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        }
    }
}

/// Packs pages. One for all columns.
pub(super) struct Packer {
    zstd: Compressor<'static>,
    page: Vec<u8>,
    literals: Vec<u32>,
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            zstd: Compressor::new(ZSTD_LEVEL)?,
            page: Vec::new(),
            literals: Vec::new(),
        })
    }

    /// The page's bytes as they are written.
    fn finish(&mut self, packing: Packing) -> Result<Vec<u8>> {
        Ok(match packing {
            Packing::Zstd => self.zstd.compress(&self.page)?,
            Packing::None => self.page.clone(),
        })
    }
}

/// Parquet's hybrid of runs and of packed values, `width` bits each.
fn pack(
    runs: impl Iterator<Item = (u32, usize)>,
    width: u32,
    literals: &mut Vec<u32>,
    out: &mut Vec<u8>,
) {
    literals.clear();
    let mut at_hand: Option<(u32, usize)> = None;
    for (value, rows) in runs {
        match &mut at_hand {
            // What NULLs were between is one run.
            Some((last, sum)) if *last == value => *sum += rows,
            _ => {
                if let Some(run) = at_hand.replace((value, rows)) {
                    pack_run(run, width, literals, out);
                }
            }
        }
    }
    if let Some(run) = at_hand {
        pack_run(run, width, literals, out);
    }
    pack_literals(width, literals, out);
}

fn pack_run(
    (value, mut rows): (u32, usize),
    width: u32,
    literals: &mut Vec<u32>,
    out: &mut Vec<u8>,
) {
    // Packed values come in groups of eight: the last group takes what it lacks from the run.
    let lacking = literals.len().next_multiple_of(8) - literals.len();
    if rows < MIN_RUN + lacking {
        literals.extend(std::iter::repeat_n(value, rows));
        return;
    }
    literals.extend(std::iter::repeat_n(value, lacking));
    rows -= lacking;
    pack_literals(width, literals, out);
    varint((rows as u32) << 1, out);
    let bytes = value.to_le_bytes();
    out.extend_from_slice(&bytes[..width.div_ceil(8) as usize]);
}

fn pack_literals(width: u32, literals: &mut Vec<u32>, out: &mut Vec<u8>) {
    if literals.is_empty() {
        return;
    }
    let groups = literals.len().div_ceil(8);
    varint(((groups as u32) << 1) | 1, out);
    literals.resize(groups * 8, 0);
    let (mut bits, mut count) = (0u64, 0);
    for &literal in &*literals {
        bits |= u64::from(literal) << count;
        count += width;
        while count >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            count -= 8;
        }
    }
    literals.clear();
}

fn varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl Value for String {
    fn add_to(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&(self.len() as u32).to_le_bytes());
        page.extend_from_slice(self.as_bytes());
    }

    fn least(&self) -> Vec<u8> {
        cut(self).as_bytes().to_vec()
    }

    fn greatest(&self) -> Vec<u8> {
        match next_above(cut(self)) {
            Some(above) if self.len() > STATISTICS_BYTES => above,
            _ => self.as_bytes().to_vec(),
        }
    }

    fn statistics(range: Option<(&Self, &Self)>, nulls: u64) -> Statistics {
        let (least, greatest) = range.unzip();
        let is_exact = |bytes: &Option<Vec<u8>>, text: Option<&String>| {
            bytes.as_deref() == text.map(String::as_bytes)
        };
        let (min, max) = (least.map(Self::least), greatest.map(Self::greatest));
        let exact = (is_exact(&min, least), is_exact(&max, greatest));
        let statistics = ValueStatistics::new(
            min.map(ByteArray::from),
            max.map(ByteArray::from),
            None,
            Some(nulls),
            false,
        );
        Statistics::ByteArray(
            statistics
                .with_min_is_exact(exact.0)
                .with_max_is_exact(exact.1),
        )
    }
}

impl Value for i32 {
    fn add_to(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_le_bytes());
    }

    fn least(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }

    fn greatest(&self) -> Vec<u8> {
        self.least()
    }

    fn statistics(range: Option<(&Self, &Self)>, nulls: u64) -> Statistics {
        let (least, greatest) = range.unzip();
        let statistics =
            ValueStatistics::new(least.copied(), greatest.copied(), None, Some(nulls), false);
        Statistics::Int32(statistics.with_backwards_compatible_min_max(true))
    }
}

/// A template's id: its order as a number is that of its digits.
impl Value for u64 {
    fn add_to(&self, page: &mut Vec<u8>) {
        let digits = tpl_digits(*self);
        page.extend_from_slice(&(digits.len() as u32).to_le_bytes());
        page.extend_from_slice(&digits);
    }

    fn least(&self) -> Vec<u8> {
        tpl_digits(*self).to_vec()
    }

    fn greatest(&self) -> Vec<u8> {
        self.least()
    }

    fn statistics(range: Option<(&Self, &Self)>, nulls: u64) -> Statistics {
        let text = |id: &Self| ByteArray::from(id.least());
        let (least, greatest) = range.unzip();
        Statistics::byte_array(
            least.map(text),
            greatest.map(text),
            None,
            Some(nulls),
            false,
        )
    }
}

/// A text's beginning that statistics have room for.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(STATISTICS_BYTES)]
}

/// A text that is greater than all that begin with this one, as short as that can be had by raising one character of ASCII.
fn next_above(text: &str) -> Option<Vec<u8>> {
    let at = text.bytes().rposition(|byte| byte < 0x7f)?;
    let mut above = text.as_bytes()[..=at].to_vec();
    above[at] += 1;
    Some(above)
}

/// Hashes ids of templates, which are hashes already: with a secret of this process, since lines are anybody's.
#[derive(Debug, Clone)]
pub(super) struct IdState(u64);

/// See [`IdState`].
#[derive(Debug)]
pub(super) struct IdHasher {
    secret: u64,
    hash: u64,
}

impl Default for IdState {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }
}

impl BuildHasher for IdState {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher {
            secret: self.0,
            hash: 0,
        }
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.hash ^ u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(number ^ self.secret.rotate_left(32)) * u128::from(self.secret);
        self.hash = (product as u64) ^ (product >> 64) as u64;
    }
}
