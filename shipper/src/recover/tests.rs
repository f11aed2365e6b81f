use archive::store::{Body, digest};

use super::*;
use crate::agent::{Agent, Flush, Unfinished};
use crate::checkpoint::Moment;
use crate::clock::{Clock as _, SystemClock};
use crate::spool::SIDE;
use crate::test_host::Host;

impl Host {
    async fn put_checkpoint(&self, agent: &Agent) {
        assert_eq!(agent.outstanding().count(), 0);
        let now_ns = SystemClock.wall_ns();
        let moment = Moment {
            host: "host1",
            written_ns: now_ns,
            complete_until_ns: now_ns,
        };
        let checkpoint = Checkpoint::of(agent.identity(), &moment, agent.logs());
        let bytes = checkpoint.encode().expect("encoded");
        let sha256 = digest(&bytes);
        self.store
            .put_new(&checkpoint.key(), Body::Bytes(bytes), sha256)
            .await
            .expect("put");
    }

    fn lose_state(&self) {
        fs::remove_dir_all(&self.config.state.folder).expect("lost");
    }

    async fn recover(&self, dry: DryRun) -> Recovered {
        let spool = self.spool();
        let folder = &self.config.state.folder;
        let now_ns = SystemClock.wall_ns();
        recover(
            &self.store,
            &spool,
            folder,
            &self.config,
            now_ns,
            dry,
            &mut |_| {},
        )
        .await
        .expect("recovered")
    }
}

/// Whether there is a checkpoint after the first batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    Yes,
    No,
}

/// Three batches of two files, of which some objects get into the archive; then the state is lost, and an agent goes on.
async fn story(encoding: &str, marked: Marked, keep: [fn(usize) -> bool; 3]) {
    let host = Host::new(encoding);
    let mut agent = host.start().await;
    for (round, keep) in keep.into_iter().enumerate() {
        host.append_lines("a.log", &format!("first {round}"));
        host.append("b.log", &format!("no time {round}\r\n{round}: begun"));
        host.ship(&mut agent, keep).await;
        if round == 0 && marked == Marked::Yes {
            host.put_checkpoint(&agent).await;
        }
    }
    let known = agent.outstanding().count();
    drop(agent);
    host.lose_state();
    let dry = host.recover(DryRun::Yes).await;
    assert!(!host.config.state.folder.exists(), "nothing is changed");
    let done = host.recover(DryRun::No).await;
    assert_eq!(dry.logs.len(), done.logs.len());
    assert_eq!(done.checkpoint_ns.is_some(), marked == Marked::Yes);
    assert_eq!(done.overlaps, 0);
    assert_eq!(done.identity.incarnation, Incarnation(1));
    if known == 0 {
        assert!(done.logs.iter().all(|log| log.holes.is_empty()));
        let all = (host.read("a.log") + &host.read("b.log")).len() as u64;
        assert_eq!(done.logs.iter().map(|log| log.offset).sum::<u64>(), all);
    }
    let mut text = Vec::new();
    summary(&done, DryRun::No, &mut text).expect("told");
    host.append_lines("a.log", "after");
    host.append("b.log", "and ended\n");
    let mut agent = host.start().await;
    assert_eq!(agent.identity().incarnation, Incarnation(2));
    host.ship(&mut agent, |_| true).await;
    host.check(&[host.read("a.log"), host.read("b.log")]).await;
    // It ends as any other.
    let expected = [host.read("a.log"), host.read("b.log")];
    fs::remove_file(host.path("a.log")).expect("removed");
    fs::remove_file(host.path("b.log")).expect("removed");
    host.ship(&mut agent, |_| true).await;
    host.check(&expected).await;
    assert_eq!(host.audit().await.total.ended, 2);
}

#[tokio::test]
async fn a_state_that_is_lost_at_several_moments() {
    let all: fn(usize) -> bool = |_| true;
    let none: fn(usize) -> bool = |_| false;
    let first: fn(usize) -> bool = |at| at == 0;
    let second: fn(usize) -> bool = |at| at == 1;
    for encoding in ["parquet", "ndjson"] {
        for keep in [
            [none, none, none],
            [all, all, all],
            [all, all, none],
            [all, none, all],
            [none, all, all],
            [first, second, first],
            [second, first, second],
            [none, none, second],
        ] {
            story(encoding, Marked::No, keep).await;
        }
        for keep in [
            [all, all, all],
            [all, none, none],
            [all, none, all],
            [all, first, second],
            [all, second, first],
        ] {
            story(encoding, Marked::Yes, keep).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_truncated_while_the_state_is_lost() {
    for is_longer in [false, true] {
        let host = Host::new("parquet");
        let mut agent = host.start().await;
        host.append("a.log", "one\ntwo\n");
        host.ship(&mut agent, |_| true).await;
        host.append("a.log", "three\n");
        host.ship(&mut agent, |_| false).await;
        drop(agent);
        host.lose_state();
        fs::write(host.path("a.log"), "").expect("truncated");
        host.append("a.log", "four\n");
        if is_longer {
            host.append("a.log", "five, which is longer than all that was there\n");
        }
        host.recover(DryRun::No).await;
        let mut agent = host.start().await;
        host.ship(&mut agent, |_| true).await;
        host.check(&["one\ntwo\n".to_owned(), host.read("a.log")])
            .await;
    }
}

#[tokio::test]
async fn a_truncated_log_with_a_hole_is_closed_by_a_gap() {
    let host = Host::new("parquet");
    let mut agent = host.start().await;
    host.append("a.log", "one\n");
    host.ship(&mut agent, |_| true).await;
    host.append("a.log", "two\n");
    host.ship(&mut agent, |_| false).await;
    host.append("a.log", "three\n");
    host.ship(&mut agent, |_| true).await;
    fs::write(host.path("a.log"), "").expect("truncated");
    host.append("a.log", "4\n");
    host.ship(&mut agent, |_| true).await;
    drop(agent);
    host.lose_state();
    let recovered = host.recover(DryRun::No).await;
    assert_eq!(recovered.logs[0].holes, std::slice::from_ref(&(4..8)));
    assert_eq!(recovered.logs[0].phase, Phase::Lost(14, Loss::Truncated));
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.check(&["one\n????three\n".to_owned(), host.read("a.log")])
        .await;
    assert_eq!(host.audit().await.total.lost_bytes, 4);
}

#[tokio::test]
async fn an_old_state_is_set_aside_whole() {
    let host = Host::new("ndjson");
    let mut agent = host.start().await;
    host.append("a.log", "one\n");
    host.ship(&mut agent, |_| false).await;
    assert_eq!(agent.outstanding().count(), 1);
    drop(agent);
    let recovered = host.recover(DryRun::No).await;
    assert_eq!(recovered.unknown_pins, 1);
    assert!(recovered.logs.is_empty());
    assert!(recovered.set_aside.len() >= 2);
    for (from, to) in &recovered.set_aside {
        assert!(to.exists(), "{}", to.display());
        assert!(from.file_name() == Some("state.db".as_ref()) || !from.exists());
    }
    let mut agent = host.start().await;
    host.ship(&mut agent, |_| true).await;
    host.check(&["one\n".to_owned()]).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stops_it() {
    let host = Host::new("ndjson");
    let mut agent = host.start().await;
    host.append("a.log", "one\n");
    agent.scan(None).expect("scanned");
    let Flush::Planned { objects, .. } = agent.flush(Unfinished::Take).expect("flushed") else {
        panic!("there was a line");
    };
    host.put(&mut agent, &objects[0]).await;
    drop(agent);
    let path = host.folder.path().join("archive").join(&objects[0].key);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "not gzip").expect("written");
    let spool = host.spool();
    let folder = &host.config.state.folder;
    let error = recover(
        &host.store,
        &spool,
        folder,
        &host.config,
        5,
        DryRun::No,
        &mut |_| {},
    )
    .await
    .expect_err("refused");
    assert!(matches!(&error, RecoverError::Damaged { key, .. } if *key == objects[0].key));
    assert!(!folder.join("state.db.5").exists());
}

#[tokio::test]
async fn a_copy_that_was_read_ahead_outlives_the_state() {
    for truncated_again in [false, true] {
        let host = Host::new("ndjson");
        let empty = || fs::write(host.path("a.log"), "").expect("truncated");
        host.append("a.log", "the first\n");
        let mut agent = host.start().await;
        host.ship(&mut agent, |_| true).await;
        empty();
        host.append("a.log", "two\n");
        // The flush sees the truncation, the scan settles it and reads ahead.
        let flush = agent.flush(Unfinished::Wait).expect("flushed");
        assert_eq!(flush, Flush::Nothing);
        agent.scan(None).expect("scanned");
        drop(agent);
        let side = host.folder.path().join("spool").join(SIDE);
        assert_eq!(fs::read_dir(side).expect("listed").count(), 1);
        host.lose_state();
        host.recover(DryRun::No).await;
        if truncated_again {
            empty();
            host.append("a.log", "three, which is longer\n");
        }
        let mut agent = host.start().await;
        host.ship(&mut agent, |_| true).await;
        let mut expected = vec!["the first\n", "two\n"];
        if truncated_again {
            expected.push("three, which is longer\n");
        }
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        host.check(&expected).await;
        assert_eq!(host.audit().await.total.lost_bytes, 0);
    }
}
