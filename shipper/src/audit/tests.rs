use std::path::{Path, PathBuf};

use archive::encode::{ObjectWriter, WriteOptions};
use archive::store::dir::DirStore;
use archive::store::{Body, digest};
use archive::{Encoding, ObjectKey, Origin, Row};
use bytes::Bytes;

use super::print::{Show, json_lines, table};
use super::*;

const HOUR_NS: i64 = 3_600_000_000_000;
const START_NS: i64 = 1_767_582_000_000_000_000;
const FIRST: &str = "00000000000000ff-12-34";
const SECOND: &str = "00000000000000ff-13-34";

/// What a test puts into a row.
#[derive(Debug, Clone, Copy)]
struct Line {
    src: &'static str,
    epoch: u32,
    off: u64,
    len: u64,
    flags: Flags,
    /// Behind [`START_NS`].
    minute: i64,
}

fn line(src: &'static str, off: u64, len: u64, minute: i64) -> Line {
    Line {
        src,
        epoch: 0,
        off,
        len,
        flags: Flags::default(),
        minute,
    }
}

fn flagged(line: Line, flags: Flags) -> Line {
    Line { flags, ..line }
}

/// An archive in a folder.
struct Bench {
    folder: tempfile::TempDir,
    store: DirStore,
    encoding: Encoding,
    seq: u64,
}

impl Bench {
    fn new(encoding: Encoding) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            store: DirStore::new(folder.path()),
            folder,
            encoding,
            seq: 1,
        }
    }

    /// Writes an object of the hour that is so many after the first.
    async fn put(&mut self, hour: i64, lines: &[Line]) -> PathBuf {
        let hour = Hour::of_ns(START_NS + hour * HOUR_NS);
        let key = ObjectKey::new(
            "aa",
            hour,
            AgentId(255),
            Incarnation(1),
            self.seq,
            self.encoding,
        )
        .expect("a key");
        self.seq += 1;
        let mut writer =
            ObjectWriter::new(self.encoding, Vec::new(), &WriteOptions::default()).expect("begun");
        for line in lines {
            let origin = Origin {
                src: line.src.to_owned(),
                ..Origin::default()
            };
            let text = vec![b'x'; line.len.saturating_sub(1) as usize];
            let has_line = !line.flags.contains(Flags::GAP) && !line.flags.contains(Flags::END);
            writer
                .row(&Row {
                    origin: &origin,
                    ts_ns: START_NS + line.minute * 60_000_000_000,
                    ingest_ns: START_NS,
                    epoch: line.epoch,
                    off: line.off,
                    len: line.len,
                    level: None,
                    request_id: None,
                    trace_id: None,
                    tpl: None,
                    line: has_line.then_some(&text),
                    flags: line.flags,
                })
                .expect("written");
        }
        let (bytes, _) = writer.finish().expect("finished");
        let sha256 = digest(&bytes);
        let key = key.to_string();
        self.store
            .put_new(&key, Body::Bytes(Bytes::from(bytes)), sha256)
            .await
            .expect("put");
        self.folder.path().join(key)
    }

    async fn audit(&self, scope: &Scope) -> Audit {
        let mut last = Progress::default();
        let audit = audit(&self.store, scope, &mut |progress| last = progress)
            .await
            .expect("audited");
        assert_eq!(last.hours, last.of_hours);
        assert_eq!(last.objects, audit.total.objects);
        audit
    }
}

/// Hours by how many they are after the first.
fn hours(range: RangeInclusive<i64>) -> Scope {
    let hour = |number: i64| Hour::of_ns(START_NS + number * HOUR_NS);
    Scope {
        hours: Some(hour(*range.start())..=hour(*range.end())),
        ..Scope::default()
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

fn said(audit: &Audit, show: Show) -> String {
    let mut text = Vec::new();
    table(audit, show, &mut text).expect("printed");
    String::from_utf8(text).expect("text")
}

/// Three objects in two hours, and an end.
async fn good(encoding: Encoding) -> (Bench, Vec<PathBuf>) {
    let mut bench = Bench::new(encoding);
    let paths = vec![
        bench
            .put(0, &[line(FIRST, 0, 10, 1), line(SECOND, 0, 5, 2)])
            .await,
        bench
            .put(
                1,
                &[
                    line(FIRST, 30, 5, 61),
                    flagged(line(SECOND, 5, 100, 62), Flags::GAP),
                    flagged(line(SECOND, 105, 0, 62), Flags::END),
                ],
            )
            .await,
        bench
            .put(0, &[line(FIRST, 10, 5, 3), line(FIRST, 15, 15, 4)])
            .await,
    ];
    (bench, paths)
}

#[tokio::test]
async fn what_is_whole() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let (bench, _) = good(encoding).await;
        let audit = bench.audit(&Scope::default()).await;
        assert_eq!(audit.verdict(), Verdict::Whole);
        assert_eq!(
            audit.file(FIRST, 0),
            Some(&FileAudit {
                src: FIRST.to_owned(),
                rows: 4,
                bytes: 35,
                end: 35,
                ..FileAudit::default()
            })
        );
        assert_eq!(
            audit.file(SECOND, 0),
            Some(&FileAudit {
                src: SECOND.to_owned(),
                rows: 3,
                bytes: 105,
                lost_bytes: 100,
                end: 105,
                ended: true,
                ..FileAudit::default()
            })
        );
        assert_eq!(audit.file(SECOND, 1), None);
        let total = &audit.total;
        assert_eq!((total.files, total.rows, total.bytes), (2, 7, 140));
        assert_eq!((total.lost_bytes, total.objects), (100, 3));
        let written = audit.writers[&(AgentId(255), Incarnation(1))];
        assert_eq!((written.objects, written.rows), (3, 7));
        let text = said(&audit, Show::Trouble);
        assert!(!text.contains(FIRST), "{text}");
        assert!(text.ends_with("whole: every byte is in exactly one row\n"));
        assert!(said(&audit, Show::All).contains(FIRST));
        let nobody = Scope {
            agent: Some(AgentId(1)),
            ..Scope::default()
        };
        assert_eq!(bench.audit(&nobody).await.total, Total::default());
        let elsewhere = Scope {
            cluster: Some("bb".to_owned()),
            ..Scope::default()
        };
        assert_eq!(bench.audit(&elsewhere).await.total, Total::default());
    }
}

#[tokio::test]
async fn an_object_that_is_missing_is_a_gap() {
    let (bench, paths) = good(Encoding::Parquet).await;
    std::fs::remove_file(&paths[2]).expect("removed");
    let audit = bench.audit(&Scope::default()).await;
    assert_eq!(audit.verdict(), Verdict::Trouble);
    let file = audit.file(FIRST, 0).expect("it has rows");
    assert_eq!(
        (&file.gaps[..], file.gap_bytes),
        (std::slice::from_ref(&(10..30)), 20)
    );
    assert_eq!(audit.total.gaps, 1);
    // The start of a file, too.
    std::fs::remove_file(&paths[0]).expect("removed");
    let audit = bench.audit(&Scope::default()).await;
    let gaps = |src| &audit.file(src, 0).expect("it has rows").gaps;
    assert_eq!(gaps(FIRST), std::slice::from_ref(&(0..30)));
    assert_eq!(gaps(SECOND), std::slice::from_ref(&(0..5)));
    let text = said(&audit, Show::Trouble);
    assert!(text.contains("first gap 0..30"), "{text}");
}

#[tokio::test]
async fn all_but_the_end_is_missing() {
    let mut bench = Bench::new(Encoding::Parquet);
    let end = flagged(line(FIRST, 20, 0, 1), Flags::END);
    bench.put(0, &[end]).await;
    let audit = bench.audit(&Scope::default()).await;
    assert_eq!(
        audit.file(FIRST, 0).expect("there").gaps,
        std::slice::from_ref(&(0..20))
    );
    // A file that was empty is whole.
    let mut bench = Bench::new(Encoding::Parquet);
    bench.put(0, &[Line { off: 0, ..end }]).await;
    let audit = bench.audit(&Scope::default()).await;
    assert_eq!(audit.verdict(), Verdict::Whole);
    assert!(audit.file(FIRST, 0).expect("there").ended);
}

#[tokio::test]
async fn a_row_that_is_there_twice() {
    let (mut bench, _) = good(Encoding::Ndjson).await;
    bench
        .put(0, &[line(FIRST, 12, 3, 3), line(FIRST, 14, 2, 3)])
        .await;
    let audit = bench.audit(&Scope::default()).await;
    assert_eq!(audit.verdict(), Verdict::Trouble);
    let file = audit.file(FIRST, 0).expect("it has rows");
    assert_eq!(
        (file.overlaps.bytes, file.bytes, file.gap_count),
        (5, 35, 0)
    );
    assert_eq!(audit.total.overlap_bytes, 5);
}

#[tokio::test]
async fn a_row_in_a_wrong_hour() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let (mut bench, _) = good(encoding).await;
        bench.put(1, &[line(FIRST, 35, 3, 59)]).await;
        let audit = bench.audit(&Scope::default()).await;
        assert_eq!(audit.verdict(), Verdict::Trouble);
        assert_eq!(audit.file(FIRST, 0).expect("there").wrong_hour, 1);
        let [bad] = &audit.bad_objects[..] else {
            panic!("one object has trouble");
        };
        assert_eq!(bad.problem, Problem::WrongHour { rows: 1 });
        assert!(bad.key.contains("~00000004."), "{}", bad.key);
    }
}

#[tokio::test]
async fn what_is_damaged_is_named() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let (bench, paths) = good(encoding).await;
        let bytes = std::fs::read(&paths[2]).expect("readable");
        overwrite(&paths[2], &bytes[..bytes.len() / 2]);
        let audit = bench.audit(&Scope::default()).await;
        assert_eq!(audit.verdict(), Verdict::Trouble);
        let [bad] = &audit.bad_objects[..] else {
            panic!("one object has trouble");
        };
        assert!(matches!(bad.problem, Problem::Unreadable(_)), "{bad:?}");
        assert!(paths[2].ends_with(&bad.key));
        let text = said(&audit, Show::Trouble);
        assert!(text.contains(&bad.key), "{text}");
        // Text from elsewhere cannot steer a terminal.
        assert!(!text.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn an_epoch_without_its_end() {
    let later = |off, flags| Line {
        epoch: 1,
        flags,
        ..line(FIRST, off, 4, 5)
    };
    let mut bench = Bench::new(Encoding::Parquet);
    bench
        .put(0, &[line(FIRST, 0, 10, 1), later(0, Flags::default())])
        .await;
    let audit = bench.audit(&Scope::default()).await;
    assert!(audit.file(FIRST, 0).expect("there").unclosed);
    assert!(!audit.file(FIRST, 1).expect("there").unclosed);
    assert_eq!(audit.verdict(), Verdict::Trouble);
    bench
        .put(0, &[flagged(line(FIRST, 10, 0, 1), Flags::END)])
        .await;
    let audit = bench.audit(&Scope::default()).await;
    assert_eq!(audit.verdict(), Verdict::Whole);
}

#[tokio::test]
async fn a_range_of_hours_judges_what_it_can() {
    let mut bench = Bench::new(Encoding::Parquet);
    // A row every half hour of ten hours, the rows of two of them missing.
    for hour in 0..10 {
        let rows: Vec<Line> = [0, 1]
            .into_iter()
            .map(|half| {
                line(
                    FIRST,
                    (2 * hour + half) as u64 * 10,
                    10,
                    hour * 60 + half * 30,
                )
            })
            .filter(|row| row.off != 10 && row.off != 90)
            .collect();
        bench.put(hour, &rows).await;
    }
    let all = bench.audit(&Scope::default()).await;
    assert_eq!(
        all.file(FIRST, 0).expect("there").gaps[..],
        [10..20, 90..100]
    );
    // The rows beside the second are at 4:00 and 5:00.
    for (range, gaps, unjudged) in [
        (0..=9, 1, 1),
        (1..=9, 1, 1),
        (3..=6, 1, 1),
        (4..=6, 0, 2),
        (3..=5, 0, 2),
        (5..=9, 0, 1),
    ] {
        let audit = bench.audit(&hours(range.clone())).await;
        let file = audit.file(FIRST, 0).expect("there");
        assert_eq!(
            (file.gap_count, file.unjudged),
            (gaps, unjudged),
            "{range:?}"
        );
        assert!(!file.unclosed);
        assert!(said(&audit, Show::Trouble).contains("at the edge of the hours"));
    }
}

#[tokio::test]
async fn programs_read_it_line_by_line() {
    let (bench, paths) = good(Encoding::Parquet).await;
    std::fs::remove_file(&paths[2]).expect("removed");
    std::fs::write(paths[0].with_file_name("notes"), "mine").expect("written");
    let audit = bench.audit(&Scope::default()).await;
    let mut text = Vec::new();
    json_lines(&audit, Show::Trouble, &mut text).expect("printed");
    let lines: Vec<serde_json::Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["src"], FIRST);
    assert_eq!(lines[0]["gaps"], serde_json::json!([[10, 30]]));
    assert_eq!(lines[1]["kind"], "total");
    assert_eq!(lines[1]["whole"], false);
    assert_eq!(lines[1]["strangers"], 1);
}
