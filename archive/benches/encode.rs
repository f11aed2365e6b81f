//! How fast rows are written, beside the bare library and the bare codec on what is ready for them. Throughput is in raw bytes
//! of the files a second; the ratios are printed at the end.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use archive::encode::{DEFAULT_GZIP_LEVEL, ObjectWriter, WriteOptions};
use archive::tpl::Templates;
use archive::{Encoding, Flags, Origin, Row, schema};
use arrow_array::RecordBatch;
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use joblog::Level;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// How many files the rows are of.
const FILES: u64 = 8;

/// How many lines each of them has.
const LINES: u64 = 8000;

/// How often the two sides of a ratio are timed; the fastest counts.
const ROUNDS: u32 = 7;

/// What rows are made of.
struct Line {
    text: String,
    level: Option<Level>,
    request_id: Option<String>,
    tpl: Option<u64>,
}

/// Lines of services: requests with ids, messages, stack traces.
fn lines() -> Vec<Line> {
    let mut templates = Templates::default();
    let line = |i: u64| {
        let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (second, milli) = (i % 60, i % 1000);
        let (items, millis, client) = (random % 10_000, random % 300, random % 250);
        let time = format!("2026-01-05 03:04:{second:02},{milli:03}");
        let request_id = i.is_multiple_of(4).then(|| format!("{random:016x}"));
        let mut text = String::new();
        let _ = match i % 4 {
            0 => write!(
                text,
                "{time} INFO [http-{}] org.example.Handler: GET /items/{items} took {millis} ms for 10.1.2.{client} request_id={random:016x}",
                i % 8
            ),
            1 => write!(
                text,
                "{time} WARN cache: evicted {items} entries after {millis} ms, and some are still in use"
            ),
            2 => write!(
                text,
                "{time} INFO [main] org.example.Master: created a master for application 0020_{random:06} with all its \"workers\""
            ),
            _ => write!(
                text,
                "\tat org.example.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]"
            ),
        };
        let level = [
            Some(Level::Info),
            Some(Level::Warn),
            Some(Level::Info),
            None,
        ];
        Line {
            level: level[(i % 4) as usize],
            request_id,
            tpl: templates.id(text.as_bytes(), None),
            text,
        }
    };
    (0..LINES).map(line).collect()
}

fn origins() -> Vec<Origin> {
    let origin = |file: u64| Origin {
        role: Some("www-data".to_owned()),
        env: Some("prod".to_owned()),
        job: Some(format!("hello-{}", file / 2)),
        instance: file as u32,
        task_id: Some(format!(
            "www-data-prod-hello-{file}-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22"
        )),
        process: Some("server".to_owned()),
        run: 0,
        stream: Some("stdout".to_owned()),
        host: Some("node7.example.com".to_owned()),
        src: format!("0123456789abcdef-{file}-1767585600000000000"),
        git_sha: None,
    };
    (0..FILES).map(origin).collect()
}

/// Writes all rows as an object; gives it, and the raw bytes that it stands for.
fn object(encoding: Encoding, origins: &[Origin], lines: &[Line]) -> (Vec<u8>, u64) {
    let mut writer = ObjectWriter::new(encoding, Vec::new(), &WriteOptions::default())
        .expect("a vector takes all");
    for origin in origins {
        let mut off = 0;
        let mut ts_ns = 1_767_585_600_000_000_000;
        for line in lines {
            let len = line.text.len() as u64 + 1;
            ts_ns += 1_234_567;
            let row = Row {
                origin,
                ts_ns,
                ingest_ns: 1_767_585_900_000_000_000,
                epoch: 0,
                off,
                len,
                level: line.level,
                request_id: line.request_id.as_deref(),
                trace_id: None,
                tpl: line.tpl,
                line: Some(line.text.as_bytes()),
                flags: Flags::default(),
            };
            writer.row(&row).expect("a vector takes all");
            off += len;
        }
    }
    let (object, written) = writer.finish().expect("a vector takes all");
    (object, written.raw_bytes)
}

/// The rows as the library wants them.
fn batches(object: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(object))
        .expect("what we wrote")
        .with_batch_size(schema::MAX_PAGE_ROWS)
        .build()
        .expect("what we wrote");
    reader.map(|batch| batch.expect("what we wrote")).collect()
}

fn bare_parquet(batches: &[RecordBatch]) -> Vec<u8> {
    let properties = Some(schema::writer_properties());
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema::arrow(), properties).expect("a vector takes all");
    for batch in batches {
        writer.write(batch).expect("a vector takes all");
    }
    writer.into_inner().expect("a vector takes all")
}

fn bare_gzip(lines: &[u8], level: u32) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::new(level));
    packer.write_all(lines).expect("a vector takes all");
    packer.finish().expect("a vector takes all")
}

fn fastest<T>(mut run: impl FnMut() -> T) -> Duration {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    });
    times.min().expect("at least one round")
}

#[expect(clippy::print_stdout, reason = "a bench tells")]
fn tell(name: &str, ours: Duration, bare: Duration, packed: usize, raw: u64) {
    println!(
        "{name}: {:.2} of the bare speed; {:.0} MB/s beside {:.0} MB/s of raw bytes, {:.1} times smaller",
        bare.as_secs_f64() / ours.as_secs_f64(),
        raw as f64 / ours.as_secs_f64() / 1e6,
        raw as f64 / bare.as_secs_f64() / 1e6,
        raw as f64 / packed as f64
    );
}

fn encode(c: &mut Criterion) {
    let (origins, lines) = (origins(), lines());
    let (parquet, raw) = object(Encoding::Parquet, &origins, &lines);
    let (ndjson, _) = object(Encoding::Ndjson, &origins, &lines);
    let mut json = Vec::new();
    MultiGzDecoder::new(ndjson.as_slice())
        .read_to_end(&mut json)
        .expect("what we wrote");
    let batches = batches(parquet.clone());

    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Bytes(raw)).sample_size(10);
    for (name, encoding) in [("parquet", Encoding::Parquet), ("ndjson", Encoding::Ndjson)] {
        group.bench_function(BenchmarkId::new(name, "ours"), |b| {
            b.iter(|| object(encoding, &origins, &lines));
        });
    }
    group.bench_function(BenchmarkId::new("parquet", "bare"), |b| {
        b.iter(|| bare_parquet(&batches));
    });
    group.bench_function(BenchmarkId::new("ndjson", "bare"), |b| {
        b.iter(|| bare_gzip(&json, DEFAULT_GZIP_LEVEL));
    });
    group.finish();

    let ours = fastest(|| object(Encoding::Parquet, &origins, &lines));
    let bare = fastest(|| bare_parquet(&batches));
    tell("parquet", ours, bare, parquet.len(), raw);
    let ours = fastest(|| object(Encoding::Ndjson, &origins, &lines));
    let bare = fastest(|| bare_gzip(&json, DEFAULT_GZIP_LEVEL));
    tell("ndjson", ours, bare, ndjson.len(), raw);
    for level in [1, 2, 3, 4, 6] {
        let time = fastest(|| bare_gzip(&json, level));
        let packed = bare_gzip(&json, level).len();
        tell(&format!("gzip level {level}"), time, time, packed, raw);
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
