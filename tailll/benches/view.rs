//! The hot path of the view: how long a line takes to be merged, rendered and escaped.
//!
//! Throughput is counted in lines, so the time of one line is the inverse of what criterion prints.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use joblog::{Level, Stream};
use tailll::batch::{Age, Batch, Event, Line, LineKind, Records};
use tailll::color::{Colors, Depth, StreamKind};
use tailll::escape;
use tailll::highlight::Highlight;
use tailll::merge::{Anchor, Item, Merger, Order, Run};
use tailll::render::{Format, Looks, RenderOptions, Renderer};
use tailll::source::{FileLabel, InstanceLabel, Source, SourceId};

const START_NS: i64 = 1_700_000_000_000_000_000;
const LINES: usize = 100_000;
const LINE_BYTES: usize = 150;

fn source(id: u32) -> Arc<Source> {
    let instance = InstanceLabel {
        job: "aa/www-data/prod/hello".into(),
        key: "aa/www-data/prod/hello".parse().ok(),
        instance: Some(id),
        host: format!("node{id}.example.com"),
        task_id: Some(format!(
            "www-data-prod-hello-{id}-0b3f7cc1-46a4-4b51-9a3e-7c0f4d1f2a34"
        )),
    };
    let file = FileLabel::Process {
        process: "main".into(),
        run: 0,
        stream: Stream::Stdout,
    };
    let path =
        b"/var/lib/mesos/slaves/x/frameworks/y/executors/z/runs/latest/sandbox/.logs/main/0/stdout"
            .to_vec();
    Arc::new(Source {
        instance: Arc::new(instance),
        file,
        path,
    })
}

fn text(number: usize) -> Vec<u8> {
    let mut text = format!(
        "2026-11-23T21:39:39.{:06}Z INFO request {number} GET /api/v1/things/{number} 200 ",
        number % 1_000_000
    );
    while text.len() < LINE_BYTES {
        text.push_str("some more words ");
    }
    text.truncate(LINE_BYTES);
    text.into_bytes()
}

/// All lines in batches of `batch_lines`, spread over the sources in turns, so that every line of one source is
/// between two of others.
fn batches(sources: u32, batch_lines: usize) -> Vec<Batch> {
    let arrived = Instant::now();
    let mut batches = Vec::new();
    let per_source = LINES / sources as usize;
    for first in (0..per_source).step_by(batch_lines) {
        for id in 0..sources {
            let count = batch_lines.min(per_source - first);
            let mut bytes = Vec::with_capacity(count * LINE_BYTES);
            let mut lines = Vec::with_capacity(count);
            for number in first..first + count {
                let order_ns =
                    START_NS + (number as i64 * i64::from(sources) + i64::from(id)) * 1_000;
                lines.push(Line {
                    start: bytes.len() as u32,
                    len: LINE_BYTES as u32,
                    offset: (number * (LINE_BYTES + 1)) as u64,
                    file_len: LINE_BYTES as u32 + 1,
                    order_ns,
                    ts_ns: Some(order_ns),
                    level: Some(Level::Info),
                    kind: LineKind::Whole,
                    age: Age::Live,
                });
                bytes.extend_from_slice(&text(number));
            }
            batches.push(Batch {
                source: SourceId(id),
                arrived,
                bytes,
                lines,
            });
        }
    }
    batches
}

fn merger(sources: u32) -> (Merger, Instant) {
    let start = Instant::now();
    let mut merger = Merger::new(
        Order::Time,
        Anchor {
            instant: start,
            wall_ns: START_NS,
        },
    );
    for id in 0..sources {
        merger.push(Event::Opened(SourceId(id), source(id)), start);
        merger.push(Event::CaughtUp(SourceId(id)), start);
    }
    (merger, start + Duration::from_secs(1))
}

fn renderer(format: Format, colors: Colors, stream: StreamKind, sources: u32) -> Renderer {
    let mut renderer = Renderer::new(RenderOptions {
        format,
        colors,
        stream,
        highlight: Highlight::default(),
        looks: Looks::default(),
        records: Records::OnArrival,
    });
    for id in 0..sources {
        renderer.open(SourceId(id), source(id));
    }
    renderer
}

/// Pushes all and takes what may go after each batch, as the view does.
fn pass(mut merger: Merger, now: Instant, batches: Vec<Batch>, mut each: impl FnMut(&Run<'_>)) {
    for batch in batches {
        merger.push(Event::Lines(batch), now);
        while let Some(item) = merger.pop(now) {
            if let Item::Lines(run) = item {
                each(&run);
            }
        }
    }
    merger.drain();
    while let Some(item) = merger.pop(now) {
        if let Item::Lines(run) = item {
            each(&run);
        }
    }
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(LINES as u64));
    for (sources, batch_lines) in [(1, 400), (8, 400), (1_000, 10)] {
        group.bench_function(BenchmarkId::new("interleaved", sources), |bencher| {
            bencher.iter_batched(
                || (merger(sources), batches(sources, batch_lines)),
                |((merger, now), batches)| {
                    pass(merger, now, batches, |run| {
                        black_box(run.lines.len());
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn rendering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    let batches = batches(8, 400);
    group.throughput(Throughput::Elements(LINES as u64));
    let cases = [
        ("default", Format::Default, Colors::Off, StreamKind::Pipe),
        (
            "default, colours, terminal",
            Format::Default,
            Colors::On(Depth::Palette256),
            StreamKind::Terminal,
        ),
        ("raw", Format::Raw, Colors::Off, StreamKind::Pipe),
        ("json", Format::Json, Colors::Off, StreamKind::Pipe),
    ];
    for (name, format, colors, stream) in cases {
        let mut renderer = renderer(format, colors, stream, 8);
        let mut to = Vec::with_capacity(1 << 20);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for batch in &batches {
                    to.clear();
                    // One line at a time, the worst case of a merge.
                    for line in batch.lines.chunks(1) {
                        renderer.lines(
                            &Run {
                                source: batch.source,
                                bytes: &batch.bytes,
                                lines: line,
                            },
                            &mut to,
                        );
                    }
                    black_box(to.len());
                }
            });
        });
    }
    group.finish();
}

fn merging_and_rendering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge and render");
    group.throughput(Throughput::Bytes((LINES * (LINE_BYTES + 1)) as u64));
    for (sources, batch_lines) in [(8, 400), (1_000, 10)] {
        group.bench_function(BenchmarkId::new("default", sources), |bencher| {
            bencher.iter_batched(
                || {
                    (
                        merger(sources),
                        batches(sources, batch_lines),
                        renderer(Format::Default, Colors::Off, StreamKind::Pipe, sources),
                    )
                },
                |((merger, now), batches, mut renderer)| {
                    let mut to = Vec::with_capacity(256 << 10);
                    pass(merger, now, batches, |run| {
                        renderer.lines(run, &mut to);
                        if to.len() > 128 << 10 {
                            black_box(to.len());
                            to.clear();
                        }
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn escaping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("escape");
    let plain = text(1);
    let colored = [b"\x1b[32m", &text(1)[..], b"\x1b[0m"].concat();
    let foreign = "Zeile mit \u{fc}mlauten und \u{4f60}\u{597d} "
        .repeat(5)
        .into_bytes();
    for (name, line) in [
        ("plain", &plain),
        ("coloured", &colored),
        ("not ASCII", &foreign),
    ] {
        let mut to = Vec::with_capacity(1 << 10);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                to.clear();
                escape::append(black_box(line), &mut to);
                black_box(to.len());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = view;
    config = Criterion::default().sample_size(15).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = escaping, rendering, merging, merging_and_rendering
}
criterion_main!(view);
