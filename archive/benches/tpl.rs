//! How fast messages are masked: bytes a second, one message after the other.

use std::hint::black_box;

use archive::tpl::Templates;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: [(&str, &str); 5] = [
    (
        "access",
        "10.1.2.3 - frank [-] \"GET /index.html HTTP/1.1\" 200 2326 \"-\" \"agent/1.0\"",
    ),
    (
        "service",
        "INFO [http-worker-3] org.example.app.Handler: GET /api/v1/items/42 took 12 ms for 10.1.2.3 status=200",
    ),
    (
        "prose",
        "WARN cache: evicted 17 entries, 123456 bytes are still in use by the store of sessions",
    ),
    (
        "frame",
        "\tat org.example.app.Master.serviceStart(Master.java:1234) ~[app.jar:1.2.3]",
    ),
    (
        "ids",
        "task web-prod-hello-0-8a5f0a3e-3c1e-4d58-9a53-0d3a9f7c1b22 on node7.example.com moved to RUNNING",
    ),
];

fn templates(c: &mut Criterion) {
    let mut group = c.benchmark_group("template");
    for (name, message) in MESSAGES {
        let mut templates = Templates::default();
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| templates.id(black_box(message.as_bytes()), None));
        });
    }
}

criterion_group!(benches, templates);
criterion_main!(benches);
