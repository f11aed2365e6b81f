use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archive::store::dir::DirStore;
use archive::store::{Body, digest};

use super::*;
use crate::agent::{Agent, Flush, Parts, Unfinished};
use crate::audit::{Audit, Scope, Verdict, audit};
use crate::checkpoint::Moment;
use crate::claim;
use crate::clock::{Clock as _, SystemClock};
use crate::rows::AgeRule;
use crate::state::Planned;
use crate::upload::{Uploaded, put_once};

/// How often a flush may find more before a story counts as one that does not end.
const MAX_ROUNDS: usize = 50;

/// One agent after another on one host.
struct Host {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    store: DirStore,
    numbers: Arc<AtomicU64>,
}

impl Host {
    fn new(encoding: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            r#"
            archive = "file://{0}/archive"
            cluster = "aa"
            encoding = "{encoding}"
            [state]
            folder = "{0}/state"
            reserved_megabytes = 0
            [spool]
            folders = ["{0}/spool"]
            [[files]]
            name = "jobs"
            paths = ["{0}/jobs/*.log"]
            job = "aa/www-data/prod/{{1}}"
            "#,
            folder.path().display()
        );
        let mut config =
            Config::parse(&text, Path::new("shipper.toml"), "host1").expect("a configuration");
        config.quiet = Duration::ZERO;
        fs::create_dir(folder.path().join("jobs")).expect("made");
        Self {
            store: DirStore::new(folder.path().join("archive")),
            config: Arc::new(config),
            folder,
            numbers: Arc::default(),
        }
    }

    fn random(&self) -> impl FnMut() -> u64 + Send + 'static {
        let numbers = self.numbers.clone();
        move || numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    fn spool(&self) -> Spool {
        let folders = &self.config.spool.folders;
        Spool::open(folders, "machine", &mut self.random())
            .expect("a spool")
            .0
    }

    async fn start(&self) -> Agent {
        let spool = self.spool();
        let mut state = State::open(&self.config.state.folder).expect("a state");
        let identity =
            claim::intend(&mut state, spool.agent(), &mut self.random()).expect("intended");
        claim::claim(&self.store, &identity, "host1", SystemClock.wall_ns())
            .await
            .expect("claimed");
        let identity = claim::hold(&mut state, identity).expect("held");
        Agent::start(Parts {
            config: self.config.clone(),
            age: AgeRule::NearBirth,
            spool,
            state,
            identity,
            clock: Arc::new(SystemClock),
            random: Box::new(self.random()),
            hook: Arc::new(|_| ControlFlow::Continue(())),
        })
        .expect("an agent")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("jobs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Lines of two hours, so that a batch of them is two objects.
    fn append_lines(&self, name: &str, what: &str) {
        let now_ns = SystemClock.wall_ns();
        for (minutes, number) in [(125, 0), (120, 1), (5, 2), (4, 3)] {
            let ns = now_ns - minutes * 60_000_000_000;
            let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).expect("a time");
            self.append(name, &format!("{time} INFO {what} {number}\n\tat more\n"));
        }
    }

    /// Flushes until nothing waits, and puts those of each batch's objects that `keep` says by their place in it.
    async fn ship(&self, agent: &mut Agent, keep: impl Fn(usize) -> bool) {
        for _ in 0..MAX_ROUNDS {
            agent.scan(None).expect("scanned");
            match agent.flush(Unfinished::Take).expect("flushed") {
                Flush::Nothing if !agent.wants_scan() && !agent.has_doubts() => return,
                Flush::Nothing => {}
                Flush::Planned { objects, .. } => {
                    for (at, planned) in objects.iter().enumerate() {
                        if keep(at) {
                            self.put(agent, planned).await;
                        }
                    }
                }
                Flush::Paused(why) => panic!("{why:?}"),
            }
        }
        panic!("it does not end");
    }

    async fn put(&self, agent: &mut Agent, planned: &Planned) {
        let put = put_once(&self.store, planned, &agent.staged_path(planned)).await;
        assert_eq!(put.expect("put"), Uploaded::Done);
        agent.commit(&planned.key).expect("committed");
    }

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
        recover(&self.store, &spool, folder, &self.config, now_ns, dry)
            .await
            .expect("recovered")
    }

    async fn audit(&self) -> Audit {
        audit(&self.store, &Scope::default(), &mut |_| {})
            .await
            .expect("audited")
    }

    /// What the archive has of each file and epoch, gaps as `?`.
    async fn contents(&self) -> BTreeMap<(String, u32), Vec<u8>> {
        let mut rows: BTreeMap<(String, u32, u64), Vec<u8>> = BTreeMap::new();
        let listing = listing::list_hours(&self.store, "aa", Hour::MIN..Hour::MAX)
            .await
            .expect("listed");
        for object in listing.objects {
            let key = object.key.to_string();
            let bytes = self.store.get(&key, None).await.expect("read");
            for row in ObjectReader::new(&object.key, bytes, Filter::default()).expect("read") {
                let row = row.expect("a row");
                let mut bytes = row.line.unwrap_or_default();
                let missing = row.len as usize - bytes.len();
                match missing {
                    _ if row.flags.contains(Flags::GAP) => bytes.resize(missing, b'?'),
                    2 => bytes.extend_from_slice(b"\r\n"),
                    1 => bytes.push(b'\n'),
                    _ => assert_eq!(missing, 0),
                }
                let place = (row.origin.src.clone(), row.epoch, row.off);
                rows.entry(place).or_default().extend(bytes);
            }
        }
        let mut contents: BTreeMap<(String, u32), Vec<u8>> = BTreeMap::new();
        for ((src, epoch, _), bytes) in rows {
            contents.entry((src, epoch)).or_default().extend(bytes);
        }
        contents
    }

    /// Everything is in the archive once: the files' contents as they are, whatever else.
    async fn check(&self, expected: &[String]) {
        let audit = self.audit().await;
        let mut text = Vec::new();
        crate::audit::print::table(&audit, crate::audit::print::Show::All, &mut text)
            .expect("printed");
        assert_eq!(
            audit.verdict(),
            Verdict::Whole,
            "{}",
            String::from_utf8_lossy(&text)
        );
        let mut got: Vec<String> = self
            .contents()
            .await
            .into_values()
            .map(|bytes| String::from_utf8(bytes).expect("text"))
            .collect();
        got.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(got, expected);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("readable")
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
    let error = recover(&host.store, &spool, folder, &host.config, 5, DryRun::No)
        .await
        .expect_err("refused");
    assert!(matches!(&error, RecoverError::Damaged { key, .. } if *key == objects[0].key));
    assert!(!folder.join("state.db.5").exists());
}
