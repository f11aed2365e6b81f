use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::encode::{ObjectWriter, WriteOptions};
use crate::encoding::Encoding;
use crate::identity::{AgentId, Incarnation};
use crate::row::{Flags, Row};
use crate::store::dir::DirStore;
use crate::store::{Body, digest};

const MINUTE_NS: i64 = 60 * 1_000_000_000;

/// A row to be, of one of a few files.
#[derive(Debug, Clone)]
struct Planned {
    file: usize,
    off: u64,
    len: u64,
    ts_ns: i64,
    line: String,
}

/// Files whose rows' times go on but are late at times, by less than an hour.
fn files() -> impl Strategy<Value = Vec<Vec<Planned>>> {
    let row = (
        0..40_i64,
        prop_oneof![3 => Just(0_i64), 1 => 1..60_i64],
        1..50_u64,
    );
    prop::collection::vec(prop::collection::vec(row, 0..25), 1..5).prop_map(|files| {
        files
            .into_iter()
            .enumerate()
            .map(|(file, rows)| {
                let (mut off, mut newest) = (0, 10 * 60);
                rows.into_iter()
                    .map(|(step, late, len)| {
                        newest += step;
                        let planned = Planned {
                            file,
                            off,
                            len,
                            ts_ns: (newest - late) * MINUTE_NS,
                            line: format!("file {file} at {off}"),
                        };
                        off += len;
                        planned
                    })
                    .collect()
            })
            .collect()
    })
}

fn origin(file: usize) -> Origin {
    Origin {
        role: Some("www".to_owned()),
        env: Some("prod".to_owned()),
        // The last file is another job's.
        job: Some(if file == 4 { "other" } else { "hello" }.to_owned()),
        instance: file as u32,
        task_id: Some(format!("task-{file}")),
        src: format!("{file:016x}-1-2"),
        ..Origin::default()
    }
}

/// Writes objects as an agent does: a batch takes some rows of every file, and has an object for each hour.
async fn write(store: &DirStore, batches: &[Vec<Planned>], encodings: &[Encoding]) -> usize {
    let mut seq = 0;
    for (number, batch) in batches.iter().enumerate() {
        let mut hours: BTreeMap<Hour, Vec<&Planned>> = BTreeMap::new();
        for row in batch {
            hours.entry(Hour::of_ns(row.ts_ns)).or_default().push(row);
        }
        let encoding = encodings[number % encodings.len()];
        for (hour, mut rows) in hours {
            rows.sort_by_key(|row| (row.file, row.off));
            let options = WriteOptions {
                min_group_rows: 3,
                ..WriteOptions::default()
            };
            let mut writer = ObjectWriter::new(encoding, Vec::new(), &options).unwrap();
            for planned in rows {
                let origin = origin(planned.file);
                let row = Row {
                    origin: &origin,
                    ts_ns: planned.ts_ns,
                    ingest_ns: 0,
                    epoch: 0,
                    off: planned.off,
                    len: planned.len,
                    level: None,
                    request_id: None,
                    trace_id: None,
                    tpl: None,
                    line: Some(planned.line.as_bytes()),
                    flags: Flags::default(),
                };
                writer.row(&row).unwrap();
            }
            let bytes = writer.finish().unwrap().0;
            seq += 1;
            let key =
                ObjectKey::new("aa", hour, AgentId(1), Incarnation(1), seq, encoding).unwrap();
            let sha256 = digest(&bytes);
            store
                .put_new(&key.to_string(), Body::Bytes(bytes.into()), sha256)
                .await
                .unwrap();
        }
    }
    seq as usize
}

/// Cuts the rows into batches: which one a row is in goes up within its file.
fn batches(files: &[Vec<Planned>], sizes: &[usize]) -> Vec<Vec<Planned>> {
    let mut all = vec![Vec::new(); 40];
    for (file, rows) in files.iter().enumerate() {
        let mut batch = 0;
        for (at, row) in rows.iter().enumerate() {
            let size = sizes[(file + batch) % sizes.len()];
            if at % size == size - 1 && batch + 1 < all.len() {
                batch += 1;
            }
            all[batch].push(row.clone());
        }
    }
    all
}

async fn read(store: DirStore, request: Request, limits: Limits) -> (Vec<Item>, History) {
    let mut history = History::new(Arc::new(store), request, limits);
    let mut items = Vec::new();
    while let Some(item) = history.next().await.unwrap() {
        items.push(item);
    }
    (items, history)
}

fn request(ts_ns: Range<i64>) -> Request {
    Request {
        cluster: "aa".to_owned(),
        job: Some(WantedJob {
            role: "www".to_owned(),
            env: "prod".to_owned(),
            job: "hello".to_owned(),
        }),
        instances: Vec::new(),
        ts_ns,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_row_comes_once_in_its_files_order_and_in_time(
        files in files(),
        sizes in prop::collection::vec(1..9_usize, 1..4),
        encodings in prop::sample::subsequence(vec![Encoding::Parquet, Encoding::Ndjson], 1..=2),
        cache_bytes in prop_oneof![Just(0_usize), Just(1 << 20)],
        twice in any::<bool>(),
        range in (9 * 60..20 * 60_i64, 0..600_i64),
    ) {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let store = DirStore::new(folder.path());
            let mut written = batches(&files, &sizes);
            if twice {
                // As after a rollback that nobody noticed.
                written.extend(written.clone());
            }
            write(&store, &written, &encodings).await;
            let ts_ns = range.0 * MINUTE_NS..(range.0 + range.1) * MINUTE_NS;
            // With so little in flight, every group goes alone.
            let limits = Limits {
                cache_bytes,
                fetches: 2,
                in_flight_bytes: 1,
            };
            let (items, history) = read(store, request(ts_ns.clone()), limits).await;
            let mut shown: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
            let mut last_ns = i64::MIN;
            for item in &items {
                if let Item::Row { file, order_ns, row } = item {
                    prop_assert!(*order_ns >= last_ns, "time goes back");
                    last_ns = *order_ns;
                    prop_assert_eq!(&row.origin.src, &history.origin(*file).src);
                    let text = format!("file {} at {}", row.origin.instance, row.off);
                    prop_assert_eq!(row.line.as_deref(), Some(text.as_bytes()));
                    shown.entry(row.origin.instance).or_default().push(row.off);
                }
            }
            for (number, rows) in files.iter().enumerate() {
                let expected: Vec<u64> = rows
                    .iter()
                    .filter(|row| ts_ns.contains(&row.ts_ns) && number != 4)
                    .map(|row| row.off)
                    .collect();
                let got = shown.remove(&(number as u32)).unwrap_or_default();
                prop_assert_eq!(got, expected, "file {}", number);
            }
            Ok(())
        })?;
    }

    #[test]
    fn holes_are_told_where_objects_are_missing(files in files(), sizes in prop::collection::vec(1..5_usize, 1..3), missing in prop::collection::btree_set(0..12_usize, 0..4)) {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let store = DirStore::new(folder.path());
            let written: Vec<Vec<Planned>> = batches(&files, &sizes)
                .into_iter()
                .enumerate()
                .filter(|(batch, _)| !missing.contains(batch))
                .map(|(_, rows)| rows)
                .collect();
            write(&store, &written, &[Encoding::Parquet]).await;
            let (items, history) = read(store, request(0..i64::MAX), Limits::default()).await;
            let mut holes = BTreeSet::new();
            for item in items {
                if let Item::Hole { file, bytes } = item {
                    holes.insert((history.origin(file).instance, bytes.start, bytes.end));
                }
            }
            let mut expected = BTreeSet::new();
            for number in 0..files.len().min(4) {
                let mut there: Vec<(u64, u64)> = written
                    .iter()
                    .flatten()
                    .filter(|row| row.file == number)
                    .map(|row| (row.off, row.off + row.len))
                    .collect();
                there.sort_unstable();
                for pair in there.windows(2) {
                    if pair[0].1 < pair[1].0 {
                        expected.insert((number as u32, pair[0].1, pair[1].0));
                    }
                }
            }
            prop_assert_eq!(holes, expected);
            Ok(())
        })?;
    }
}

#[test]
fn damaged_objects_are_named_and_the_rest_comes() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path());
        let rows: Vec<Planned> = (0..3)
            .map(|file| Planned {
                file,
                off: 0,
                len: 5,
                ts_ns: 600 * MINUTE_NS,
                line: String::new(),
            })
            .collect();
        write(&store, std::slice::from_ref(&rows), &[Encoding::Parquet]).await;
        for (seq, encoding) in [(90, Encoding::Parquet), (91, Encoding::Ndjson)] {
            let hour = Hour::of_ns(600 * MINUTE_NS);
            let key =
                ObjectKey::new("aa", hour, AgentId(1), Incarnation(1), seq, encoding).unwrap();
            let bytes = bytes::Bytes::from_static(b"nothing that we wrote");
            let sha256 = digest(&bytes);
            store
                .put_new(&key.to_string(), Body::Bytes(bytes), sha256)
                .await
                .unwrap();
        }
        let (items, history) = read(store, request(0..i64::MAX), Limits::default()).await;
        let damaged: Vec<String> = items
            .iter()
            .filter_map(|item| match item {
                Item::Damaged(error) => Some(error.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(damaged.len(), 2, "{damaged:?}");
        assert!(
            damaged
                .iter()
                .any(|error| error.contains("00000090.parquet"))
        );
        assert!(
            damaged
                .iter()
                .any(|error| error.contains("00000091.ndjson.gz"))
        );
        let rows = items.iter().filter(|item| matches!(item, Item::Row { .. }));
        assert_eq!(rows.count(), 3);
        assert_eq!(history.progress().objects, 3);
        assert!(history.progress().bytes > 0);
    });
}

#[test]
fn an_archive_without_the_job_gives_nothing_and_one_that_is_not_there_an_error() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path());
        let mut history = History::new(
            Arc::new(DirStore::new(folder.path().join("gone"))),
            request(0..i64::MAX),
            Limits::default(),
        );
        assert!(matches!(history.next().await, Err(HistoryError::List(_))));
        let row = Planned {
            file: 4,
            off: 0,
            len: 5,
            ts_ns: 0,
            line: String::new(),
        };
        write(&store, &[vec![row]], &[Encoding::Ndjson]).await;
        let (items, _) = read(store, request(i64::MIN..i64::MAX), Limits::default()).await;
        assert!(items.is_empty(), "{items:?}");
    });
}

#[test]
fn the_jobs_of_an_archive_are_found() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = DirStore::new(folder.path());
        // Of file 4 is another job's; small groups have both in one.
        let planned = |file: usize, off: u64, hour: i64| Planned {
            file,
            off,
            len: 5,
            ts_ns: hour * 60 * MINUTE_NS,
            line: String::new(),
        };
        for encoding in [Encoding::Parquet, Encoding::Ndjson] {
            let all = [
                planned(0, 0, 10),
                planned(4, 0, 10),
                planned(0, 5, 12),
                planned(4, 5, 14),
            ];
            write(&store, &[all.to_vec()], &[encoding]).await;
            let store: Arc<dyn Store> = Arc::new(DirStore::new(folder.path()));
            let check = async |hours: Range<i64>, expected: &[&str]| {
                let ts_ns = hours.start * 60 * MINUTE_NS..hours.end * 60 * MINUTE_NS;
                let found = jobs(Arc::clone(&store), "aa", ts_ns, Limits::default())
                    .await
                    .unwrap();
                let names: Vec<&str> = found.jobs.iter().map(|job| job.job.as_str()).collect();
                assert_eq!(names, expected, "{encoding:?} {hours:?}");
                assert!(found.damaged.is_empty());
            };
            check(9..11, &["hello", "other"]).await;
            check(12..13, &["hello"]).await;
            check(13..15, &["other"]).await;
            check(15..20, &[]).await;
            std::fs::remove_dir_all(folder.path().join("logs")).unwrap();
        }
    });
}
