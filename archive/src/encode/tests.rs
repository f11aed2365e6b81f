use std::collections::BTreeSet;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::bloom_filter::Sbbf;
use ::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use ::parquet::file::page_index::column_index::ColumnIndexMetaData;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use joblog::Level;
use proptest::prelude::*;

use super::*;
use crate::decode::{Filter, Lines, ObjectReader, OwnedRow, WantedJob, read_tiles};
use crate::identity::{AgentId, Incarnation};
use crate::key::{Hour, ObjectKey};
use crate::row::{Flags, Origin};
use crate::schema::{self, COLUMNS, ColumnId, Layout, MAX_PAGE_ROWS};

const TS_NS: i64 = 1_767_585_600_123_456_789;

fn key(encoding: Encoding) -> ObjectKey {
    let hour = Hour::of_ns(TS_NS);
    ObjectKey::new("aa", hour, AgentId(1), Incarnation(1), 1, encoding).unwrap()
}

fn write(encoding: Encoding, rows: &[OwnedRow], options: &WriteOptions) -> (Bytes, Written) {
    let mut writer = ObjectWriter::new(encoding, Vec::new(), options).unwrap();
    for row in rows {
        writer.row(&row.as_row()).unwrap();
    }
    assert_eq!(writer.rows(), rows.len() as u64);
    let (object, written) = writer.finish().unwrap();
    (Bytes::from(object), written)
}

fn read(encoding: Encoding, object: &Bytes, filter: Filter) -> Vec<OwnedRow> {
    let reader = ObjectReader::new(&key(encoding), object.clone(), filter).unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

fn row(origin: &Arc<Origin>, off: u64, line: &[u8]) -> OwnedRow {
    OwnedRow {
        origin: Arc::clone(origin),
        ts_ns: TS_NS + off as i64,
        ingest_ns: TS_NS.div_euclid(1_000_000) * 1_000_000,
        epoch: 0,
        off,
        len: line.len() as u64 + 1,
        level: Some(Level::Info),
        request_id: None,
        trace_id: None,
        tpl: Some(off % 7),
        line: Some(line.to_vec()),
        flags: Flags::default(),
    }
}

fn origin(job: &str, instance: u32) -> Arc<Origin> {
    Arc::new(Origin {
        role: Some("www".to_owned()),
        env: Some("prod".to_owned()),
        job: Some(job.to_owned()),
        instance,
        task_id: Some(format!("www-prod-{job}-{instance}-8a5f0a3e")),
        process: Some("server".to_owned()),
        run: 0,
        stream: Some("stdout".to_owned()),
        host: Some("node7".to_owned()),
        src: format!("0000000000000001-{instance}-1767585600000000000"),
        git_sha: None,
    })
}

fn rows(job: &str, instance: u32, count: u64) -> impl Iterator<Item = OwnedRow> {
    let origin = origin(job, instance);
    (0..count).map(move |index| row(&origin, index * 20, b"a line of the log"))
}

fn metadata(object: &Bytes) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(object)
        .unwrap()
}

fn unpack(object: &Bytes) -> Vec<u8> {
    let mut unpacked = Vec::new();
    io::copy(&mut MultiGzDecoder::new(object.as_ref()), &mut unpacked).unwrap();
    unpacked
}

/// How many rows each page of a column has, group by group.
fn pages(metadata: &ParquetMetaData, id: ColumnId) -> Vec<Vec<usize>> {
    let index = metadata.offset_index().unwrap();
    let groups = metadata.row_groups().iter().zip(index);
    groups
        .map(|(group, index)| {
            let starts = index[id as usize].page_locations().iter();
            let mut starts: Vec<usize> = starts.map(|page| page.first_row_index as usize).collect();
            starts.push(group.num_rows() as usize);
            starts.windows(2).map(|pair| pair[1] - pair[0]).collect()
        })
        .collect()
}

fn group_rows(metadata: &ParquetMetaData) -> Vec<i64> {
    let groups = metadata.row_groups().iter();
    groups.map(RowGroupMetaData::num_rows).collect()
}

#[test]
fn groups_are_cut_at_a_change_of_job_once_they_are_large() {
    let options = WriteOptions::default();
    let small: Vec<OwnedRow> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|job| rows(job, 0, 100))
        .collect();
    let (object, written) = write(Encoding::Parquet, &small, &options);
    assert_eq!(group_rows(&metadata(&object)), [300]);
    assert_eq!(written.rows, 300);
    assert_eq!(written.raw_bytes, 300 * 18);
    assert_eq!(written.ts_ns, Some((TS_NS, TS_NS + 99 * 20)));

    let large: Vec<OwnedRow> = rows("a", 0, 100)
        .chain(rows("b", 0, 5000))
        .chain(rows("b", 1, 5000))
        .chain(rows("c", 0, 10_000))
        .chain(rows("d", 0, 1))
        .collect();
    let (object, _) = write(Encoding::Parquet, &large, &options);
    let metadata = metadata(&object);
    assert_eq!(group_rows(&metadata), [10_100, 10_000, 1]);
    for column in COLUMNS {
        for (group, pages) in pages(&metadata, column.id).iter().enumerate() {
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|rows| *rows == MAX_PAGE_ROWS));
            assert!(*last <= MAX_PAGE_ROWS, "{} in group {group}", column.name);
        }
    }
}

#[test]
fn groups_are_cut_at_their_bounds() {
    let all: Vec<OwnedRow> = rows("a", 0, 20_000).collect();
    for options in [
        WriteOptions {
            max_group_bytes: 1,
            ..WriteOptions::default()
        },
        WriteOptions {
            max_group_line_bytes: 5000 * 21,
            ..WriteOptions::default()
        },
    ] {
        let (object, _) = write(Encoding::Parquet, &all, &options);
        let groups = group_rows(&metadata(&object));
        assert!(groups.len() > 2, "{groups:?}");
        assert_eq!(groups.iter().sum::<i64>(), 20_000);
        assert_eq!(read(Encoding::Parquet, &object, Filter::default()), all);
    }
}

#[test]
fn pages_of_long_lines_are_small() {
    let origin = origin("a", 0);
    let line = |len: usize| vec![b'x'; len];
    let all: Vec<OwnedRow> = (0..9000)
        .map(|index| match index % 3000 {
            100 => row(&origin, index, &line(1 << 20)),
            200 => row(&origin, index, &vec![0xff; 900 << 10]),
            201..900 => row(&origin, index, &line(3000)),
            _ => row(&origin, index, &line(10)),
        })
        .collect();
    let (object, _) = write(Encoding::Parquet, &all, &WriteOptions::default());
    let metadata = metadata(&object);
    for column in COLUMNS {
        for pages in pages(&metadata, column.id) {
            assert!(
                pages.iter().all(|rows| *rows <= MAX_PAGE_ROWS),
                "{}: {pages:?}",
                column.name
            );
        }
    }
    let lines: usize = pages(&metadata, ColumnId::Line).iter().map(Vec::len).sum();
    assert!(lines > 9000 / MAX_PAGE_ROWS + 6, "{lines}");
    assert_eq!(
        read(Encoding::Parquet, &object, Filter::default()).len(),
        9000
    );
}

/// What the library says of an object's columns when it writes the same rows itself.
fn by_library(object: &Bytes) -> ParquetMetaData {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object.clone()).unwrap();
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(MAX_PAGE_ROWS).build().unwrap();
    let properties = schema::writer_properties();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    for batch in reader {
        writer.write(&batch.unwrap()).unwrap();
    }
    metadata(&Bytes::from(writer.into_inner().unwrap()))
}

/// Columns with a dictionary are ours: they say of themselves what the library's would.
#[test]
fn key_columns_are_as_the_library_writes_them() {
    let long = format!("www-{}-\u{e9}\u{e9}", "task".repeat(20));
    let origins: Vec<Arc<Origin>> = (0..5_u32)
        .map(|index| {
            let mut one = (*origin("a", index)).clone();
            one.role = (index != 1).then(|| format!("role-{}", 7 - index));
            one.task_id = Some(format!("{long}{index}"));
            one.process = None;
            one.git_sha = (index == 4).then(|| "abc".to_owned());
            one.run = index % 2;
            one.instance = index.wrapping_sub(1);
            Arc::new(one)
        })
        .collect();
    for counts in [
        [1, 0, 0, 0, 0],
        [0, 7, 0, 0, 0],
        [2048, 0, 0, 0, 0],
        [3000, 5, 4000, 2043, 2100],
    ] {
        let mut random = 1_u64;
        let mut all = Vec::new();
        for (origin, count) in origins.iter().zip(counts) {
            for index in 0..count {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let mut row = row(origin, index * 20, b"a line of the log");
                row.level = Level::ALL.get((random >> 33) as usize % 9).copied();
                row.tpl = ((random >> 40) & 7 > 0).then_some((random >> 50) << 50);
                row.epoch = u32::from(index > 1500);
                row.flags = Flags(if index % 50 > 20 {
                    ((random >> 20) & 16) as u32
                } else {
                    0
                });
                all.push(row);
            }
        }
        let options = WriteOptions {
            min_group_rows: usize::MAX,
            ..WriteOptions::default()
        };
        let (object, _) = write(Encoding::Parquet, &all, &options);
        assert_eq!(read(Encoding::Parquet, &object, Filter::default()), all);
        let (ours, theirs) = (metadata(&object), by_library(&object));
        for column in COLUMNS {
            if !matches!(column.layout, Layout::Runs | Layout::Dictionary) {
                continue;
            }
            let at = column.id as usize;
            let name = column.name;
            let chunk = |metadata: &ParquetMetaData| {
                let chunk = metadata.row_group(0).column(at);
                (
                    chunk.statistics().cloned(),
                    chunk.num_values(),
                    chunk.compression(),
                    chunk.column_type(),
                    chunk.encodings().collect::<BTreeSet<_>>(),
                )
            };
            assert_eq!(chunk(&ours), chunk(&theirs), "{name}");
            let index = |metadata: &ParquetMetaData| {
                let index = &metadata.column_index().unwrap()[0][at];
                let ranges = match index {
                    ColumnIndexMetaData::BYTE_ARRAY(index) => {
                        let pages = index.min_values_iter().zip(index.max_values_iter());
                        format!("{:?}", pages.collect::<Vec<_>>())
                    }
                    ColumnIndexMetaData::INT32(index) => {
                        let pages = index.min_values_iter().zip(index.max_values_iter());
                        format!("{:?}", pages.collect::<Vec<_>>())
                    }
                    other => panic!("{other:?}"),
                };
                (
                    ranges,
                    index.null_counts().cloned(),
                    index.get_boundary_order(),
                )
            };
            assert_eq!(index(&ours), index(&theirs), "{name}");
            assert_eq!(pages(&ours, column.id), pages(&theirs, column.id), "{name}");
        }
    }
}

#[test]
fn a_large_dictionary_ends_its_group() {
    let origin = origin("a", 0);
    let all: Vec<OwnedRow> = (0..60_000)
        .map(|index| OwnedRow {
            tpl: Some(index),
            ..row(&origin, index, b"")
        })
        .collect();
    let (object, _) = write(Encoding::Parquet, &all, &WriteOptions::default());
    assert_eq!(group_rows(&metadata(&object)).len(), 2);
    assert_eq!(read(Encoding::Parquet, &object, Filter::default()), all);
}

#[test]
fn bloom_filters_and_statistics_are_where_they_should_be() {
    let mut all: Vec<OwnedRow> = rows("a", 0, 3000).chain(rows("b", 0, 3000)).collect();
    for row in &mut all[..100] {
        row.request_id = Some(format!("request-{}", row.off));
    }
    let options = WriteOptions {
        min_group_rows: 1000,
        ..WriteOptions::default()
    };
    let (object, _) = write(Encoding::Parquet, &all, &options);
    let metadata = metadata(&object);
    let has_bloom = |group: usize, id: ColumnId| {
        let column = metadata.row_group(group).column(id as usize);
        column.bloom_filter_offset().is_some()
    };
    assert!(has_bloom(0, ColumnId::RequestId));
    assert!(!has_bloom(1, ColumnId::RequestId));
    for group in 0..2 {
        assert!(has_bloom(group, ColumnId::TaskId));
        assert!(!has_bloom(group, ColumnId::TraceId));
        assert!(!has_bloom(group, ColumnId::Line));
    }
    let may_have = |group: usize, id: ColumnId, value: &str| {
        let column = metadata.row_group(group).column(id as usize);
        let filter = Sbbf::read_from_column_chunk(column, &object).unwrap();
        filter.unwrap().check(value)
    };
    for (group, job) in ["a", "b"].into_iter().enumerate() {
        for (other, job) in ["a", "b"].map(|job| (job, origin(job, 0))) {
            let task_id = job.task_id.as_deref().unwrap();
            let is_in = all[group * 3000].origin.job.as_deref() == Some(other);
            assert_eq!(may_have(group, ColumnId::TaskId, task_id), is_in, "{other}");
        }
        assert_eq!(all[group * 3000].origin.job.as_deref(), Some(job));
    }
    for row in &all[..100] {
        let id = row.request_id.as_deref().unwrap();
        assert!(may_have(0, ColumnId::RequestId, id));
    }
    let index = metadata.column_index().unwrap();
    for id in [
        ColumnId::Ts,
        ColumnId::TsNs,
        ColumnId::Job,
        ColumnId::Instance,
    ] {
        assert!(!matches!(index[0][id as usize], ColumnIndexMetaData::NONE));
    }
    let line = metadata.row_group(0).column(ColumnId::Line as usize);
    let statistics = line.statistics();
    assert!(statistics.is_none_or(|statistics| statistics.min_bytes_opt().is_none()));
}

#[test]
fn a_filter_reads_few_groups_and_pages() {
    let all: Vec<OwnedRow> = ["a", "b", "c", "d"]
        .into_iter()
        .flat_map(|job| (0..2).flat_map(move |instance| rows(job, instance, 6000)))
        .collect();
    let wanted = |filter: &Filter| -> Vec<OwnedRow> {
        let job = |row: &&OwnedRow| {
            filter
                .job
                .as_ref()
                .is_none_or(|job| row.origin.job.as_ref() == Some(&job.job))
        };
        let instance = |row: &&OwnedRow| {
            filter
                .instance
                .is_none_or(|instance| row.origin.instance == instance)
        };
        let time = |row: &&OwnedRow| {
            filter
                .ts_ns
                .as_ref()
                .is_none_or(|range| range.contains(&row.ts_ns))
        };
        let all = all.iter().filter(job).filter(instance).filter(time);
        all.cloned().collect()
    };
    let job = Some(WantedJob {
        role: "www".to_owned(),
        env: "prod".to_owned(),
        job: "b".to_owned(),
    });
    let of_job = Filter {
        job,
        ..Filter::default()
    };
    let of_instance = Filter {
        instance: Some(1),
        ..of_job.clone()
    };
    let of_time = Filter {
        ts_ns: Some(TS_NS + 100..TS_NS + 200),
        ..of_job.clone()
    };
    let of_nobody = Filter {
        instance: Some(9),
        ..Filter::default()
    };
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let (object, _) = write(encoding, &all, &WriteOptions::default());
        for (filter, groups_read, rows_in_pages) in [
            (Filter::default(), 4, 48_000),
            (of_job.clone(), 1, 12_000),
            (of_instance.clone(), 1, 8000),
            (of_time.clone(), 1, 6000),
            (of_nobody.clone(), 0, 0),
        ] {
            let mut reader =
                ObjectReader::new(&key(encoding), object.clone(), filter.clone()).unwrap();
            let got: Vec<OwnedRow> = reader.by_ref().map(Result::unwrap).collect();
            assert_eq!(got, wanted(&filter), "{filter:?}");
            let report = reader.report();
            assert_eq!(report.rows, got.len() as u64);
            assert_eq!(report.damaged, 0);
            if encoding == Encoding::Parquet {
                assert_eq!(report.groups, 4);
                assert_eq!(report.groups_read, groups_read);
                assert!(report.rows_in_pages <= rows_in_pages, "{report:?}");
                assert_eq!(report.rows_in_pages, report.rows + report.unwanted);
            }
        }
    }
}

#[test]
fn ndjson_reads_well() {
    let origin = origin("hello", 0);
    let mut first = row(
        &origin,
        0,
        b"tab\t \"quoted\" \\ \x00\x1b[1m\x7f \xf0\x9f\x98\x80",
    );
    first.flags = Flags::UNFINISHED;
    let second = row(&origin, 41, b"not \xff UTF-8");
    let mut gap = row(&origin, 60, b"");
    (gap.line, gap.tpl, gap.level, gap.flags) = (None, None, None, Flags::GAP);
    let (object, _) = write(
        Encoding::Ndjson,
        &[first, second, gap],
        &WriteOptions::default(),
    );
    let head = r#","role":"www","env":"prod","job":"hello","task_id":"www-prod-hello-0-8a5f0a3e","process":"server","stream":"stdout","host":"node7","src":"0000000000000001-0-1767585600000000000""#;
    let ingest = r#","ingest_ts":"2026-01-05 04:00:00.123""#;
    let expected = format!(
        "{}{}{}",
        format_args!(
            r#"{{"ts":"2026-01-05 04:00:00.123","ts_ns":1767585600123456789{ingest}{head},"len":28,"level":"info","tpl":"0000000000000000","line":"tab\t \"quoted\" \\ \u0000\u001b[1m\u007f 😀","flags":8}}
"#
        ),
        format_args!(
            r#"{{"ts":"2026-01-05 04:00:00.123","ts_ns":1767585600123456830{ingest}{head},"off":41,"len":12,"level":"info","tpl":"0000000000000006","line":"not � UTF-8","raw":"bm90IP8gVVRGLTg=","flags":2}}
"#
        ),
        format_args!(
            r#"{{"ts":"2026-01-05 04:00:00.123","ts_ns":1767585600123456849{ingest}{head},"off":60,"len":1,"flags":64}}
"#
        ),
    );
    assert_eq!(String::from_utf8(unpack(&object)).unwrap(), expected);
}

#[test]
fn an_object_without_rows_is_read() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let (object, written) = write(encoding, &[], &WriteOptions::default());
        assert_eq!(written, Written::default());
        assert_eq!(read(encoding, &object, Filter::default()), []);
    }
}

#[test]
fn rows_of_one_place_in_memory_are_not_taken_for_one_origin() {
    let mut place = (*origin("a", 0)).clone();
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let mut writer = ObjectWriter::new(encoding, Vec::new(), &WriteOptions::default()).unwrap();
        let shared = origin("a", 0);
        for instance in 0..10 {
            place.instance = instance;
            let row = row(&shared, 0, b"x");
            let row = Row {
                origin: &place,
                ..row.as_row()
            };
            writer.row(&row).unwrap();
        }
        let object = Bytes::from(writer.finish().unwrap().0);
        let instances: Vec<u32> = read(encoding, &object, Filter::default())
            .iter()
            .map(|row| row.origin.instance)
            .collect();
        assert_eq!(instances, (0..10).collect::<Vec<u32>>());
    }
}

fn any_line() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Vec::new())),
        4 => "[ -~]{0,60}".prop_map(|text| Some(text.into_bytes())),
        3 => "\\PC{0,20}".prop_map(|text| Some(text.into_bytes())),
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        // What JSON and UTF-8 have trouble with: controls, quotes, halves of surrogates, cut characters.
        3 => prop::collection::vec(
            prop::sample::select(vec![
                &b"\0"[..], b"\x1f", b"\x7f", b"\"", b"\\", b"\\u0000", b"\r", b"\t", b"{}", b"\xed\xa0\x80",
                b"\xed\xb0\x80", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xef\xbb\xbf", "😀".as_bytes(), "\u{2028}".as_bytes(),
            ]),
            0..12,
        ).prop_map(|parts| Some(parts.concat())),
    ]
}

fn any_name() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        "[a-c]".prop_map(Some),
        "\\PC{0,8}".prop_map(Some)
    ]
}

fn any_origin() -> impl Strategy<Value = Arc<Origin>> {
    (
        prop::array::uniform8(any_name()),
        any::<u32>(),
        0..3_u32,
        ".{0,20}",
    )
        .prop_map(|(names, instance, run, src)| {
            let [role, env, job, task_id, process, stream, host, git_sha] = names;
            Arc::new(Origin {
                role,
                env,
                job,
                instance,
                task_id,
                process,
                run,
                stream,
                host,
                src,
                git_sha,
            })
        })
}

fn any_row() -> impl Strategy<Value = OwnedRow> {
    let numbers = (
        any::<i64>(),
        -9_000_000_000_000_i64..9_000_000_000_000,
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
    );
    let texts = (
        prop::option::of(prop::sample::select(Level::ALL.to_vec())),
        any_name(),
        any_name(),
        prop::option::of(any::<u64>()),
        any_line(),
    );
    (numbers, texts).prop_map(
        |((ts_ns, ingest_ms, epoch, off, len, flags), (level, request_id, trace_id, tpl, line))| {
            OwnedRow {
                origin: Arc::default(),
                ts_ns,
                ingest_ns: ingest_ms * 1_000_000,
                epoch,
                off,
                len,
                level,
                request_id,
                trace_id,
                tpl,
                line,
                flags: Flags(flags),
            }
        },
    )
}

/// Rows of several origins, some of each.
fn any_rows() -> impl Strategy<Value = Vec<OwnedRow>> {
    prop::collection::vec(
        (any_origin(), prop::collection::vec(any_row(), 0..30)),
        0..6,
    )
    .prop_map(|files| {
        let rows = files.into_iter().flat_map(|(origin, mut rows)| {
            for row in &mut rows {
                row.origin = Arc::clone(&origin);
            }
            rows
        });
        rows.collect()
    })
}

/// What is expected of a row: its flag for bytes that are not UTF-8 is the writer's.
fn expected(rows: &[OwnedRow]) -> Vec<OwnedRow> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        let line = row.line.as_deref().unwrap_or_default();
        let bit = Flags::NOT_UTF8.0;
        let is_set = std::str::from_utf8(line).is_err();
        row.flags.0 = (row.flags.0 & !bit) | if is_set { bit } else { 0 };
    }
    rows
}

proptest! {
    #[test]
    fn rows_survive(rows in any_rows(), min_group_rows in 1..100_usize) {
        let options = WriteOptions { min_group_rows, ..WriteOptions::default() };
        let expected = expected(&rows);
        for encoding in [Encoding::Parquet, Encoding::Ndjson] {
            let (object, written) = write(encoding, &rows, &options);
            prop_assert_eq!(written.rows, rows.len() as u64);
            prop_assert_eq!(&read(encoding, &object, Filter::default()), &expected);
            for lines in [Lines::Skip, Lines::Read] {
                let mut at = 0;
                let report = read_tiles(&key(encoding), object.clone(), lines, |tile| {
                    let row: &OwnedRow = &expected[at];
                    at += 1;
                    assert_eq!(tile.src, row.origin.src);
                    assert_eq!((tile.epoch, tile.off, tile.len), (row.epoch, row.off, row.len));
                    assert_eq!((tile.flags, tile.ts_ns), (row.flags, row.ts_ns));
                    let line = row.line.as_deref().filter(|_| lines == Lines::Read);
                    assert_eq!(tile.line, line);
                }).unwrap();
                prop_assert_eq!(at, expected.len());
                let hour = Hour::of_ns(TS_NS);
                let wrong = rows.iter().filter(|row| Hour::of_ns(row.ts_ns) != hour).count();
                prop_assert_eq!(report.wrong_hour, wrong as u64);
            }
        }
    }

    #[test]
    fn ndjson_lines_are_json(rows in any_rows()) {
        let (object, _) = write(Encoding::Ndjson, &rows, &WriteOptions::default());
        let unpacked = unpack(&object);
        prop_assert!(unpacked.iter().all(|byte| *byte >= 0x20 || *byte == b'\n'));
        let lines: Vec<&[u8]> = unpacked.split_inclusive(|byte| *byte == b'\n').collect();
        prop_assert_eq!(lines.len(), rows.len());
        for (line, row) in lines.into_iter().zip(&rows) {
            let json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).unwrap();
            prop_assert!(json.values().all(|value| value.is_string() || value.is_i64()));
            prop_assert!(json.keys().all(|key| ColumnId::from_name(key.as_bytes()).is_some()));
            if let Some(text) = row.line.as_deref().map(String::from_utf8_lossy) {
                prop_assert_eq!(json["line"].as_str().unwrap(), text);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_line_of_a_megabyte_survives(byte in any::<u8>(), len in (1_usize << 20) - 3..(1 << 20) + 3) {
        let origin = origin("a", 0);
        let rows = [row(&origin, 0, b"before"), row(&origin, 7, &vec![byte; len]), row(&origin, 9, b"")];
        let expected = expected(&rows);
        for encoding in [Encoding::Parquet, Encoding::Ndjson] {
            let (object, _) = write(encoding, &rows, &WriteOptions::default());
            prop_assert_eq!(&read(encoding, &object, Filter::default()), &expected);
        }
    }
}
