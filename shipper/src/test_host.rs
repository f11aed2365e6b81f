//! A host for tests: logs, a configuration, a folder as the archive, one agent after another.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use archive::decode::{Filter, ObjectReader};
use archive::listing;
use archive::store::dir::DirStore;
use archive::{Flags, Hour, Store as _};

use crate::agent::{Agent, Flush, Hook, Parts, Unfinished};
use crate::audit::{Audit, Scope, Verdict, audit};
use crate::claim;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::rows::AgeRule;
use crate::spool::Spool;
use crate::state::{Planned, State};
use crate::upload::{Uploaded, put_once};

/// How often a flush may find more before a story counts as one that does not end.
const MAX_ROUNDS: usize = 50;

/// One agent after another on one host.
pub(crate) struct Host {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Arc<Config>,
    pub(crate) store: DirStore,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) clock: Arc<TestClock>,
}

/// The system's clock, and what a test adds to it.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    wall_ns: AtomicI64,
    boot_ns: AtomicI64,
}

impl TestClock {
    /// Time goes by.
    pub(crate) fn pass(&self, time: Duration) {
        self.boot_ns.fetch_add(nanos(time), Ordering::Relaxed);
        self.set_forward(time);
    }

    /// The wall clock jumps.
    pub(crate) fn set_forward(&self, time: Duration) {
        self.wall_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> i64 {
    time.as_nanos() as i64
}

impl Clock for TestClock {
    fn wall_ns(&self) -> i64 {
        SystemClock.wall_ns() + self.wall_ns.load(Ordering::Relaxed)
    }

    fn boot_ns(&self) -> i64 {
        SystemClock.boot_ns() + self.boot_ns.load(Ordering::Relaxed)
    }
}

impl Host {
    pub(crate) fn new(encoding: &str) -> Self {
        Self::with(encoding, "", |_| {})
    }

    /// With more text at the end of the configuration, and with what `change` makes of it.
    pub(crate) fn with(encoding: &str, more: &str, change: impl FnOnce(&mut Config)) -> Self {
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
            {more}
            "#,
            folder.path().display()
        );
        let mut config =
            Config::parse(&text, Path::new("shipper.toml"), "host1").expect("a configuration");
        config.quiet = Duration::ZERO;
        change(&mut config);
        fs::create_dir(folder.path().join("jobs")).expect("made");
        Self {
            store: DirStore::new(folder.path().join("archive")),
            config: Arc::new(config),
            folder,
            numbers: Arc::default(),
            clock: Arc::default(),
        }
    }

    pub(crate) fn random(&self) -> impl FnMut() -> u64 + Send + 'static {
        let numbers = self.numbers.clone();
        move || numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    pub(crate) fn spool(&self) -> Spool {
        let folders = &self.config.spool.folders;
        Spool::open(folders, "machine", &mut self.random())
            .expect("a spool")
            .0
    }

    pub(crate) async fn start(&self) -> Agent {
        self.start_with(Arc::new(|_| ControlFlow::Continue(())))
            .await
    }

    /// With a hook that may end the agent.
    pub(crate) async fn start_with(&self, hook: Hook) -> Agent {
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
            clock: self.clock.clone(),
            random: Box::new(self.random()),
            hook,
        })
        .expect("an agent")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("jobs").join(name)
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Lines of two hours, so that a batch of them is two objects.
    pub(crate) fn append_lines(&self, name: &str, what: &str) {
        let now_ns = SystemClock.wall_ns();
        for (minutes, number) in [(125, 0), (120, 1), (5, 2), (4, 3)] {
            let ns = now_ns - minutes * 60_000_000_000;
            let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).expect("a time");
            self.append(name, &format!("{time} INFO {what} {number}\n\tat more\n"));
        }
    }

    /// Flushes until nothing waits, and puts those of each batch's objects that `keep` says by their place in it.
    pub(crate) async fn ship(&self, agent: &mut Agent, keep: impl Fn(usize) -> bool) {
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

    pub(crate) async fn put(&self, agent: &mut Agent, planned: &Planned) {
        let put = put_once(&self.store, planned, &agent.staged_path(planned)).await;
        assert_eq!(put.expect("put"), Uploaded::Done);
        agent.commit(&planned.key).expect("committed");
    }

    /// Puts all that is planned.
    pub(crate) async fn put_all(&self, agent: &mut Agent) {
        let planned: Vec<Planned> = agent.outstanding().cloned().collect();
        for planned in &planned {
            self.put(agent, planned).await;
        }
    }

    pub(crate) async fn audit(&self) -> Audit {
        audit(&self.store, &Scope::default(), &mut |_| {})
            .await
            .expect("audited")
    }

    /// What the archive has of each file and epoch, gaps as `?`.
    pub(crate) async fn contents(&self) -> BTreeMap<(String, u32), Vec<u8>> {
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
    pub(crate) async fn check(&self, expected: &[String]) {
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

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("readable")
    }
}
