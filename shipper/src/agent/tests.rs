//! The agent's core in a world where the disk, the spool and the configuration have their own will.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use archive::decode::{Filter, ObjectReader};
use archive::{Flags, Hour, Store as _, listing};

use super::*;
use crate::checkpoint::{Checkpoint, Moment};
use crate::config::{Cap, Redact};
use crate::spool::SIDE;
use crate::test_host::Host;

/// Ends the agent at this step, each time.
fn ending_at(end: Step) -> Hook {
    Arc::new(move |step| {
        if step == end {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// Lines of about `bytes` bytes in all, on the disk.
fn write_lines(host: &Host, name: &str, bytes: usize) -> String {
    let line = format!("{name} says something that goes on to the end of its line\n");
    host.append(name, &line.repeat(bytes / line.len()));
    // Its disk space is known once it is there.
    File::open(host.path(name))
        .and_then(|file| file.sync_all())
        .expect("synced");
    host.read(name)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn truncate(host: &Host, name: &str) {
    let file = OpenOptions::new()
        .write(true)
        .open(host.path(name))
        .expect("opened");
    file.set_len(0).expect("truncated");
}

async fn over_the_cap(end: Option<Step>) {
    let host = Host::with("ndjson", "", |config| {
        config.spool.cap = Cap {
            bytes: Some(64 << 10),
            percent: 100,
        };
    });
    let old = write_lines(&host, "old.log", 40 << 10);
    let new = write_lines(&host, "new.log", 40 << 10);
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options()
        .write(true)
        .open(host.path("old.log"))
        .and_then(|file| file.set_modified(long_ago))
        .expect("touched");
    let mut agent = match end {
        Some(end) => host.start_with(ending_at(end)).await,
        None => host.start().await,
    };
    agent.scan(None).expect("scanned");
    for name in ["old.log", "new.log"] {
        fs::remove_file(host.path(name)).expect("removed");
    }
    if let Some(end) = end {
        let ended = agent.flush(Unfinished::Wait).expect_err("ended");
        assert!(
            matches!(ended, AgentError::Ended(step) if step == end),
            "{ended:?}"
        );
        drop(agent);
        agent = host.start().await;
    }
    host.ship(&mut agent, |_| true).await;
    host.put_all(&mut agent).await;
    host.check(&["?".repeat(old.len()), new]).await;
    assert_eq!(host.audit().await.total.lost_bytes, old.len() as u64);
    assert_eq!(names(&host.folder.path().join("spool/pins")), [""; 0]);
    if end != Some(Step::Planned) {
        let counts = agent.take_counts();
        assert_eq!(
            counts.lost,
            BTreeMap::from([(Loss::SpoolFull, old.len() as u64)])
        );
        let told = counts.messages.iter();
        let told: Vec<_> = told.filter(|text| text.contains("given up")).collect();
        assert!(
            matches!(&told[..], [one] if one.contains("old.log")),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn over_its_cap_the_spool_gives_up_the_oldest_and_says_so() {
    over_the_cap(None).await;
    // Whether the loss was a fact before the end or not, it is told once.
    over_the_cap(Some(Step::Staged)).await;
    over_the_cap(Some(Step::Planned)).await;
}

#[tokio::test]
async fn a_file_that_is_still_linked_is_never_given_up() {
    let host = Host::with("ndjson", "", |config| {
        config.spool.cap = Cap {
            bytes: Some(0),
            percent: 0,
        };
    });
    let text = write_lines(&host, "a.log", 10 << 10);
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.check(&[text]).await;
    assert_eq!(agent.take_counts().lost, BTreeMap::new());
}

#[tokio::test]
async fn below_the_reserve_nothing_is_read_and_above_it_all_is() {
    let host = Host::with("parquet", "", |config| {
        config.state.reserved_bytes = u64::MAX;
    });
    host.append_lines("a.log", "before");
    let mut agent = host.start().await;
    agent.scan(None).expect("scanned");
    for _ in 0..2 {
        let flush = agent.flush(Unfinished::Take).expect("flushed");
        assert_eq!(flush, Flush::Paused(Pause::DiskFull));
    }
    assert_eq!(agent.take_counts().read_bytes, 0);
    // Meanwhile it is held, whatever becomes of it.
    let text = host.read("a.log");
    fs::remove_file(host.path("a.log")).expect("removed");
    let mut config = (*host.config).clone();
    config.state.reserved_bytes = 0;
    agent.reload(Arc::new(config)).expect("reloaded");
    host.ship(&mut agent, |_| true).await;
    host.check(&[text]).await;
}

#[tokio::test]
async fn a_disk_that_fills_up_while_objects_are_staged_loses_nothing() {
    for encoding in ["parquet", "ndjson"] {
        let host = Host::with(encoding, "", |config| config.redact = vec![card()]);
        host.append("a.log", "no time, but 4111111111111111\n");
        let mut agent = host.start().await;
        agent.scan(None).expect("scanned");
        // What is written to it goes to a device that is full.
        let identity = agent.identity();
        let extension = host.config.encoding.extension();
        let staged = format!("{}-{}.{extension}", identity.incarnation, identity.next_seq);
        let staging = host.config.state.folder.join(STAGING);
        symlink("/dev/full", staging.join(&staged)).expect("linked");
        let error = agent.flush(Unfinished::Take).expect_err("full");
        assert!(error.is_full(), "{error:?}");
        assert_eq!(names(&staging), [""; 0]);
        let counts = agent.take_counts();
        assert_eq!((counts.read_bytes, counts.rows), (0, 0));
        assert_eq!(agent.behind(), host.read("a.log").len() as u64);
        host.ship(&mut agent, |_| true).await;
        host.check(&[host
            .read("a.log")
            .replace("4111111111111111", "****************")])
            .await;
        // Rows that were made twice are counted once.
        assert_eq!(agent.take_counts().redacted, [1]);
    }
}

#[tokio::test]
async fn full_staging_stops_reading_until_the_archive_takes_something() {
    let host = Host::with("ndjson", "", |config| config.state.staging_bytes = 1);
    host.append("a.log", "one\n");
    let mut agent = host.start().await;
    agent.scan(None).expect("scanned");
    agent.flush(Unfinished::Take).expect("planned");
    host.append("a.log", "two\n");
    let flush = agent.flush(Unfinished::Take).expect("flushed");
    assert_eq!(flush, Flush::Paused(Pause::StagingFull));
    host.put_all(&mut agent).await;
    host.ship(&mut agent, |_| true).await;
    host.check(&[host.read("a.log")]).await;
}

#[tokio::test]
async fn files_without_links_are_shipped_while_the_agent_runs_and_declared_lost_after() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("a second file system at /dev/shm");
    let host = Host::with("ndjson", "", |config| {
        config.spool.folders = vec![elsewhere.path().join("spool")];
    });
    host.append("kept.log", "one\n");
    host.append("lost.log", "one\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    let unlinked = agent.standing().unlinked;
    assert_eq!(unlinked, BTreeMap::from([(Unlinked::OtherMount, 2)]));
    // Removed while it runs: the descriptor has it.
    host.append("kept.log", "two\n");
    host.append("lost.log", "two\n");
    agent.look_at_hot();
    fs::remove_file(host.path("kept.log")).expect("removed");
    agent.flush(Unfinished::Take).expect("planned");
    host.put_all(&mut agent).await;
    // Removed while none runs: what was known and not planned is declared.
    host.append("lost.log", "three\n");
    agent.look_at_hot();
    let logs: Vec<Log> = agent.logs().cloned().collect();
    agent.state().set_logs(&logs).expect("written");
    drop(agent);
    fs::remove_file(host.path("lost.log")).expect("removed");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.check(&["one\ntwo\n".to_owned(), "one\ntwo\n??????".to_owned()])
        .await;
    let counts = agent.take_counts();
    assert_eq!(counts.lost, BTreeMap::from([(Loss::Vanished, 6)]));
}

fn card() -> Redact {
    Redact {
        name: "card".to_owned(),
        pattern: r"\b[0-9]{16}\b".to_owned(),
        mask: "****************".to_owned(),
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_changes_nothing() {
    let host = Host::with("ndjson", "", |config| config.redact = vec![card()]);
    host.append("a.log", "4111111111111111\n");
    let mut agent = host.start().await;
    agent.scan(None).expect("scanned");
    let mut config = (*host.config).clone();
    config.redact = vec![Redact {
        pattern: "(".to_owned(),
        ..card()
    }];
    config.flush = Duration::from_secs(77);
    let refused = agent.reload(Arc::new(config.clone())).expect_err("refused");
    assert!(matches!(refused, AgentError::Makers(_)), "{refused:?}");
    assert_eq!(agent.config().flush, host.config.flush);
    host.ship(&mut agent, |_| true).await;
    host.check(&["****************\n".to_owned()]).await;
    // A good one is used for what is read from now on, and for files that no rule took before.
    config.redact = vec![Redact {
        mask: "CARDCARDCARDCARD".to_owned(),
        ..card()
    }];
    config.files[0]
        .paths
        .push("/nowhere/*/b.log".parse().expect("a pattern"));
    agent.reload(Arc::new(config)).expect("reloaded");
    assert_eq!(agent.config().flush, Duration::from_secs(77));
    host.append("a.log", "4111111111111111\n");
    host.ship(&mut agent, |_| true).await;
    host.check(&["****************\nCARDCARDCARDCARD\n".to_owned()])
        .await;
}

const SECRETS: [&str; 4] = [
    "4111111111111111",
    "5500000000000004",
    "6011000000000004",
    "3530111333300000",
];

/// No file below the folder has a secret in it, packed or not.
fn assert_none_has_a_secret(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_none_has_a_secret(&path);
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        let mut unpacked = Vec::new();
        // What is not packed is looked at as it is.
        let _ = flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked);
        for secret in SECRETS {
            for bytes in [&bytes, &unpacked] {
                let found = memchr::memmem::find(bytes, secret.as_bytes());
                assert_eq!(found, None, "{secret} in {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn what_is_masked_is_nowhere_but_in_the_file_itself() {
    for encoding in ["parquet", "ndjson"] {
        let host = Host::with(encoding, "", |config| config.redact = vec![card()]);
        let [first, middle, json, last] = SECRETS;
        let mut text = format!("{first} is the first word\n");
        // One lies across two pieces that are read.
        text.push_str(&"x".repeat(256 * 1024 - text.len() - 8));
        text += &[" ", middle, "\n"].concat();
        text += &["{\"message\":\"m\",\"request_id\":\"", json, "\"}\n"].concat();
        host.append("a.log", &format!("{text}request_id={last}"));
        let mut agent = host.start().await;
        host.ship(&mut agent, |_| true).await;
        assert_eq!(agent.take_counts().redacted, [4]);
        let moment = Moment {
            host: "host1",
            written_ns: host.clock.wall_ns(),
            complete_until_ns: 0,
        };
        let checkpoint = Checkpoint::of(agent.identity(), &moment, agent.logs());
        fs::write(
            host.folder.path().join("archive/checkpoint"),
            checkpoint.encode().expect("encoded"),
        )
        .expect("written");
        // The database as it is while the agent runs, and after.
        assert_none_has_a_secret(&host.config.state.folder);
        drop(agent);
        assert_none_has_a_secret(&host.config.state.folder);
        assert_none_has_a_secret(&host.folder.path().join("archive"));
        assert_eq!(names(&host.config.state.folder.join(STAGING)), [""; 0]);
        let listing = listing::list_hours(&host.store, "aa", Hour::MIN..Hour::MAX)
            .await
            .expect("listed");
        let mut masked = 0;
        for object in listing.objects {
            let bytes = host
                .store
                .get(&object.key.to_string(), None)
                .await
                .expect("read");
            for row in ObjectReader::new(&object.key, bytes, Filter::default()).expect("read") {
                let row = row.expect("a row");
                let line = String::from_utf8(row.line.unwrap_or_default()).expect("text");
                assert!(row.flags.contains(Flags::REDACTED), "{line}");
                assert!(line.contains("****************"), "{line}");
                for said in [&line, &row.request_id.unwrap_or_default()] {
                    assert!(
                        !SECRETS.iter().any(|secret| said.contains(secret)),
                        "{said}"
                    );
                }
                masked += 1;
            }
        }
        assert_eq!(masked, 4);
        // What is known again of the file is known by its digest.
        let mut agent = host.start().await;
        truncate(&host, "a.log");
        host.append(
            "a.log",
            &"another text, and longer than the first\n".repeat(10_000),
        );
        host.ship(&mut agent, |_| true).await;
        assert_eq!(agent.take_counts().truncations, 1);
    }
}

/// A log that was truncated once, and of whose second epoch nothing is planned yet.
async fn truncated_once(host: &Host) -> Agent {
    host.append("a.log", "the first\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    truncate(host, "a.log");
    host.append("a.log", "two\n");
    agent.look(Looked::All);
    assert!(agent.wants_scan());
    agent.scan(None).expect("scanned");
    agent
}

/// Three epochs are in the archive, and nothing is lost.
async fn check_three_epochs(host: &Host, agent: &mut Agent) {
    host.ship(agent, |_| true).await;
    host.put_all(agent).await;
    let expected = [
        "the first\n",
        "two\nthree\n",
        "four, which is longer than before\n",
    ];
    host.check(&expected.map(str::to_owned)).await;
    assert_eq!(host.audit().await.total.lost_bytes, 0);
    assert_eq!(names(&host.folder.path().join("spool").join(SIDE)), [""; 0]);
}

fn truncate_again(host: &Host) {
    truncate(host, "a.log");
    host.append("a.log", "four, which is longer than before\n");
}

#[tokio::test]
async fn a_file_that_was_truncated_is_read_ahead() {
    let host = Host::new("ndjson");
    let mut agent = truncated_once(&host).await;
    host.append("a.log", "three\n");
    agent.scan(None).expect("scanned");
    truncate_again(&host);
    check_three_epochs(&host, &mut agent).await;
    assert_eq!(agent.take_counts().lost, BTreeMap::new());
    // So is one of which something is planned: the rest is read from the copy.
    host.append("a.log", "five\n");
    host.ship(&mut agent, |_| true).await;
    host.append("a.log", "six\n");
    agent.scan(None).expect("scanned");
    truncate(&host, "a.log");
    host.ship(&mut agent, |_| true).await;
    let last = "four, which is longer than before\nfive\nsix\n";
    host.check(&["the first\n", "two\nthree\n", last].map(str::to_owned))
        .await;
}

#[tokio::test]
async fn a_file_that_was_rewritten_to_its_old_size_is_another_epoch() {
    let host = Host::new("ndjson");
    host.append("a.log", "one\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    truncate(&host, "a.log");
    host.append("a.log", "two\n");
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    File::options()
        .write(true)
        .open(host.path("a.log"))
        .and_then(|file| file.set_modified(later))
        .expect("touched");
    host.ship(&mut agent, |_| true).await;
    host.check(&["one\n".to_owned(), "two\n".to_owned()]).await;
}

#[tokio::test]
async fn what_was_read_ahead_outlives_the_agent() {
    for end in [
        None,
        Some(Step::ReadAhead),
        Some(Step::Truncated),
        Some(Step::Staged),
        Some(Step::Planned),
        Some(Step::Unpinned),
    ] {
        let host = Host::new("ndjson");
        let mut agent = truncated_once(&host).await;
        host.append("a.log", "three\n");
        agent.scan(None).expect("scanned");
        drop(agent);
        // What is behind the end that the name says was not on the disk.
        let side = host.folder.path().join("spool").join(SIDE);
        let [copy] = &names(&side)[..] else {
            panic!("one side copy")
        };
        let mut copy = OpenOptions::new()
            .append(true)
            .open(side.join(copy))
            .expect("opened");
        copy.write_all(b"\0\0 of no file").expect("written");
        truncate_again(&host);
        if let Some(end) = end {
            let mut agent = host.start_with(ending_at(end)).await;
            let scanned = agent.scan(None).map(|_| ());
            let ended = scanned.and_then(|()| agent.flush(Unfinished::Take).map(|_| ()));
            assert!(
                matches!(ended, Err(AgentError::Ended(step)) if step == end)
                    || end == Step::Unpinned,
                "{ended:?}"
            );
        }
        let mut agent = host.start().await;
        check_three_epochs(&host, &mut agent).await;
    }
}

#[tokio::test]
async fn reading_ahead_takes_no_more_than_the_cap_leaves() {
    let host = Host::with("ndjson", "", |config| {
        config.spool.cap = Cap {
            bytes: Some(0),
            percent: 100,
        };
    });
    let mut agent = truncated_once(&host).await;
    agent.take_counts();
    for _ in 0..2 {
        agent.scan(None).expect("scanned");
    }
    assert_eq!(names(&host.folder.path().join("spool").join(SIDE)), [""; 0]);
    let told = agent.take_counts().messages;
    truncate(&host, "a.log");
    agent.look(Looked::All);
    host.append("a.log", "four\n");
    host.ship(&mut agent, |_| true).await;
    let counts = agent.take_counts();
    assert_eq!(counts.lost, BTreeMap::from([(Loss::Truncated, 4)]));
    let messages = told.len() + counts.messages.len();
    assert!(messages <= 1, "{told:?} {:?}", counts.messages);
}

#[tokio::test]
async fn side_copies_go_before_anything_is_lost() {
    let host = Host::new("ndjson");
    let mut agent = truncated_once(&host).await;
    let side = host.folder.path().join("spool").join(SIDE);
    assert_eq!(names(&side).len(), 1);
    let mut config = (*host.config).clone();
    config.spool.cap.bytes = Some(0);
    agent.reload(Arc::new(config)).expect("reloaded");
    agent.flush(Unfinished::Wait).expect("flushed");
    assert_eq!(names(&side), [""; 0]);
    host.put_all(&mut agent).await;
    host.check(&["the first\n".to_owned(), "two\n".to_owned()])
        .await;
    assert_eq!(agent.take_counts().lost, BTreeMap::new());
}

#[tokio::test]
async fn a_copy_is_made_anew_once_most_of_it_is_planned() {
    let host = Host::new("ndjson");
    let mut agent = truncated_once(&host).await;
    let side = host.folder.path().join("spool").join(SIDE);
    write_lines(&host, "a.log", 200 << 10);
    agent.scan(None).expect("scanned");
    let [large] = &names(&side)[..] else {
        panic!("one side copy")
    };
    assert!(large.contains("~1~0~"), "{large}");
    host.ship(&mut agent, |_| true).await;
    host.append("a.log", "more\n");
    agent.scan(None).expect("scanned");
    let [small] = &names(&side)[..] else {
        panic!("one side copy")
    };
    let from = host.read("a.log").len() - "more\n".len() - crate::log::SAMPLE_BYTES;
    assert!(
        small.contains(&format!("~1~{from}~")),
        "{small} from {from}"
    );
}

#[tokio::test]
async fn a_truncation_that_hides_behind_new_bytes_is_seen_by_the_copy() {
    let host = Host::new("ndjson");
    let mut agent = truncated_once(&host).await;
    host.append("a.log", "three\n");
    agent.scan(None).expect("scanned");
    // Nothing of this epoch is planned, so only the copy knows what was there.
    truncate_again(&host);
    agent.scan(None).expect("scanned");
    check_three_epochs(&host, &mut agent).await;
}

#[tokio::test]
async fn a_loss_is_told_to_the_state_before_the_next_epoch_begins() {
    let seen = Arc::new(AtomicBool::new(false));
    let host = Host::new("ndjson");
    host.append("a.log", "the first\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.append("a.log", "never read\n");
    agent.look(Looked::All);
    truncate(&host, "a.log");
    agent.look_at_hot();
    let noticed = seen.clone();
    agent.hook = Arc::new(move |step| {
        noticed.fetch_or(step == Step::Truncated, Ordering::Relaxed);
        match step {
            Step::Truncated => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    agent.scan(None).expect_err("ended");
    assert!(seen.load(Ordering::Relaxed));
    drop(agent);
    let mut agent = host.start().await;
    host.append("a.log", "two\n");
    host.ship(&mut agent, |_| true).await;
    host.check(&["the first\n???????????".to_owned(), "two\n".to_owned()])
        .await;
    assert_eq!(
        agent.take_counts().lost,
        BTreeMap::from([(Loss::Truncated, 11)])
    );
}

#[tokio::test]
async fn a_hole_that_nobody_wrote_is_a_gap() {
    const HOLE_BYTES: usize = 1 << 20;
    let host = Host::new("ndjson");
    host.append("a.log", "one\n");
    let file = OpenOptions::new()
        .write(true)
        .open(host.path("a.log"))
        .expect("opened");
    // As a writer does that goes on at its old offset after a truncation.
    file.set_len(HOLE_BYTES as u64).expect("extended");
    host.append("a.log", "two\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    let contents = host.contents().await.into_values().next().expect("a file");
    assert_eq!(contents.len(), HOLE_BYTES + "two\n".len());
    assert!(contents.starts_with(b"one\n"));
    let gap = contents
        .split(|&byte| byte != b'?')
        .map(<[u8]>::len)
        .sum::<usize>();
    // What is read together with something that was written is there.
    assert!(gap >= HOLE_BYTES - 256 * 1024, "{gap}");
    assert!(contents.ends_with(b"two\n"));
    assert_eq!(host.audit().await.verdict(), crate::audit::Verdict::Whole);
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_holds_files_by_descriptors() {
    let host = Host::new("ndjson");
    host.append("a.log", "one\n");
    let mut agent = host.start().await;
    let pins = host.folder.path().join("spool/pins");
    let away = host.folder.path().join("spool/away");
    fs::rename(&pins, &away).expect("moved");
    agent.scan(None).expect("scanned");
    let unlinked = agent.standing().unlinked;
    assert_eq!(unlinked, BTreeMap::from([(Unlinked::NotSupported, 1)]));
    fs::rename(&away, &pins).expect("moved back");
    host.append("b.log", "one\n");
    agent.scan(None).expect("scanned");
    assert_eq!(agent.standing().linked, 1);
    for name in ["a.log", "b.log"] {
        fs::remove_file(host.path(name)).expect("removed");
    }
    host.ship(&mut agent, |_| true).await;
    host.check(&["one\n".to_owned(), "one\n".to_owned()]).await;
}

#[tokio::test]
async fn what_is_written_after_a_truncation_is_not_taken_for_what_was_there() {
    let host = Host::new("ndjson");
    host.append("a.log", "long enough, and never planned\n");
    let mut agent = host.start().await;
    agent.scan(None).expect("scanned");
    agent.look(Looked::All);
    // Between the look at it and the reading.
    truncate(&host, "a.log");
    host.append("a.log", "short\n");
    let key = agent.logs().next().expect("a log").key.clone();
    let built = agent
        .build(&[(key, 100)], Unfinished::Take, 0)
        .expect("built");
    assert!(
        matches!(&built.troubles[..], [(_, Trouble::Truncated)]),
        "{:?}",
        built.troubles
    );
    agent.plan(built, 0).expect("planned");
    host.ship(&mut agent, |_| true).await;
    let expected = [
        "?".repeat("long enough, and never planned\n".len()),
        "short\n".to_owned(),
    ];
    host.check(&expected).await;
}

#[tokio::test]
async fn a_file_that_is_rewritten_between_the_same_banner_and_the_same_end_is_another_epoch() {
    let host = Host::new("ndjson");
    let written = |pid: u32| {
        let banner = "a program that says the same whenever it starts, at some length\n";
        let trace = "\tat com.example.Main.run(Main.java:12)\n".repeat(9);
        format!("{banner}pid {pid}\n{trace}")
    };
    host.append("a.log", &written(100));
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    truncate(&host, "a.log");
    host.append("a.log", &format!("{}more\n", written(200)));
    host.ship(&mut agent, |_| true).await;
    host.check(&[written(100), format!("{}more\n", written(200))])
        .await;
}

#[tokio::test]
async fn a_new_file_that_begins_like_a_truncated_one_is_not_its_copy() {
    let host = Host::new("ndjson");
    host.append("a.log", "started\n");
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    // Emptied, renamed, and made anew, all between two scans.
    truncate(&host, "a.log");
    fs::rename(host.path("a.log"), host.path("a.1.log")).expect("renamed");
    host.append("a.log", "started\nsomething else\n");
    host.ship(&mut agent, |_| true).await;
    host.check(&[
        "started\n".to_owned(),
        "started\nsomething else\n".to_owned(),
    ])
    .await;
    // Another one, beside one that keeps its name: it was written to after that was emptied.
    truncate(&host, "a.log");
    std::thread::sleep(Duration::from_millis(20));
    host.append("b.log", "started\nsomething else\nand more\n");
    host.ship(&mut agent, |_| true).await;
    let contents: Vec<_> = host.contents().await.into_values().collect();
    assert!(contents.contains(&b"started\nsomething else\nand more\n".to_vec()));
    assert_eq!(agent.take_counts().copies, 0);
}
