//! One instance, followed: its folders are listed again and again, and each of its logs has a reader.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chain::{Layout, Link};
use crate::instance::{Files, Instance, Place};
use crate::reader::{Gauge, History, Outcome, Reader, Sink};
use crate::selection::FileSelection;
use crate::tracker::{Action, Begin, FILES_PER_INSTANCE, Hold, Progress, Tracker};
use crate::transport::{FileId, FileKind, Listing, OpenError, Transport, Until};

/// How often an instance's folders are listed.
const LIST_EVERY: Duration = Duration::from_secs(1);

/// How often held files are looked at.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// How long the files of an instance that has ended are drained, at most.
const DRAIN: Duration = Duration::from_secs(10);

/// Says something to the user, on standard error.
pub type Say = Arc<dyn Fn(String) + Send + Sync>;

/// Follows one instance.
pub struct Follower {
    /// The instance.
    pub instance: Arc<Instance>,
    /// The way to its files.
    pub transport: Transport,
    /// Where its lines go.
    pub sink: Sink,
    /// Which of its files to follow.
    pub selection: Arc<FileSelection>,
    /// How much history to show.
    pub history: History,
    /// When to end.
    pub until: Until,
    /// Talk.
    pub say: Say,
    /// Set when the instance has ended: its files are drained, then the follower ends.
    pub ended: CancellationToken,
}

/// How following an instance went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// To the end.
    Done,
    /// Not at all or not to the end; it has been said why.
    Failed,
    /// Its files could not even be listed; it has been said why.
    Unreached,
    /// The host cannot be used; why, and what to do. It has not been said.
    Refused(String),
}

struct Running {
    /// Tells readers of files with the same inode apart: one may still be ending when the next begins.
    serial: u64,
    gauge: Arc<Gauge>,
    hold: watch::Sender<Hold>,
    stop: CancellationToken,
}

/// What the follower has said already, so that it says it once.
#[derive(Default)]
struct Said {
    empty: bool,
    denied: bool,
    failed: Option<String>,
    orphans: bool,
}

impl Follower {
    /// Follows until the instance has ended (or its files have, when it is not to go on), or the task is dropped.
    pub async fn run(self) -> Followed {
        let layout = match Layout::new(&self.instance.files) {
            Ok(layout) => Arc::new(layout),
            Err(error) => {
                self.say(&error.to_string());
                return Followed::Failed;
            }
        };
        let mut work = Work {
            layout,
            tracker: Tracker::default(),
            running: HashMap::new(),
            readers: JoinSet::new(),
            next_serial: 0,
            said: Said::default(),
            failed: false,
            follower: self,
        };
        work.run().await
    }

    fn say(&self, text: &str) {
        (self.say)(format!("{}: {text}", self.instance.label.name()));
    }
}

struct Work {
    follower: Follower,
    layout: Arc<Layout>,
    tracker: Tracker,
    running: HashMap<FileId, Running>,
    readers: JoinSet<(FileId, u64, Outcome)>,
    next_serial: u64,
    said: Said,
    failed: bool,
}

impl Work {
    async fn run(&mut self) -> Followed {
        let ended = self.follower.ended.clone();
        let mut drain_until = None;
        let mut list_at = tokio::time::Instant::now();
        loop {
            if tokio::time::Instant::now() >= list_at {
                list_at = tokio::time::Instant::now() + LIST_EVERY;
                if let Err(end) = self.list().await {
                    return end;
                }
                if self.follower.until == Until::End {
                    return self.finish().await;
                }
            } else {
                let actions = self
                    .tracker
                    .poll(progress_of(&self.running), Instant::now());
                self.act(actions);
            }
            if let Some(deadline) = drain_until
                && (self.tracker.is_drained(progress_of(&self.running))
                    || Instant::now() >= deadline)
            {
                self.running
                    .values()
                    .for_each(|running| running.stop.cancel());
                return self.finish().await;
            }
            let wake = if self.tracker.is_waiting() || drain_until.is_some() {
                list_at.min(tokio::time::Instant::now() + POLL_EVERY)
            } else {
                list_at
            };
            tokio::select! {
                Some(reader) = self.readers.join_next() => if let Some(end) = self.reader_ended(reader) { return end },
                () = tokio::time::sleep_until(wake) => {}
                () = ended.cancelled(), if drain_until.is_none() => {
                    drain_until = Some(Instant::now() + DRAIN);
                    // What was written last is still to be seen.
                    list_at = tokio::time::Instant::now();
                }
            }
        }
    }

    async fn list(&mut self) -> Result<(), Followed> {
        let transport = self.follower.transport.clone();
        let ended = self.follower.ended.clone();
        // Readers may end while this waits for a connection; they are looked at afterwards. A host that is gone for good is not waited for.
        let listing = tokio::select! {
            listing = transport.list(self.layout.patterns()) => listing,
            () = async { ended.cancelled().await; tokio::time::sleep(DRAIN).await } => {
                return Err(if self.failed { Followed::Failed } else { Followed::Done });
            }
        };
        match listing {
            Ok(listing) => {
                self.said.failed = None;
                self.take(&listing);
                if !std::mem::replace(&mut self.said.orphans, true) {
                    self.send_orphans(&listing).await;
                }
                Ok(())
            }
            Err(OpenError::Refused(why)) => Err(Followed::Refused(why)),
            Err(error) => {
                let why = error.to_string();
                if self.said.failed.as_ref() != Some(&why) {
                    self.follower.say(&format!("cannot list the files: {why}"));
                    self.said.failed = Some(why);
                }
                if self.follower.until == Until::End {
                    Err(Followed::Unreached)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Shows the last that the archive has of files that are no longer here.
    async fn send_orphans(&self, listing: &Listing) {
        let Some(task_id) = self.follower.instance.label.task_id.as_deref() else {
            return;
        };
        self.follower
            .sink
            .orphans(|label, identity| {
                label.task_id.as_deref() == Some(task_id)
                    && !listing
                        .files
                        .iter()
                        .any(|file| file.identity().may_be(identity))
            })
            .await;
    }

    fn take(&mut self, listing: &Listing) {
        let links = self.follower.selection.choose(&self.layout, listing);
        for link in &links {
            if let Some(running) = self.running.get(&link.stat.id) {
                running.gauge.list(link.stat.size);
            }
        }
        if links.is_empty() && self.running.is_empty() {
            self.explain_nothing(listing);
        } else if !listing.denied.is_empty() && links.is_empty() {
            self.say_denied(listing);
        }
        let actions = self
            .tracker
            .update(&links, progress_of(&self.running), Instant::now());
        self.act(actions);
    }

    /// Says once why there is nothing to follow: gone, denied and not yet are different things.
    fn explain_nothing(&mut self, listing: &Listing) {
        if !listing.denied.is_empty() {
            self.say_denied(listing);
            return;
        }
        if std::mem::replace(&mut self.said.empty, true) {
            return;
        }
        let waiting = if self.follower.until == Until::End {
            ""
        } else {
            "; waiting for one"
        };
        let text = match &self.follower.instance.files {
            Files::Sandbox { slave_root, .. }
                if !listing
                    .files
                    .iter()
                    .any(|file| file.kind == FileKind::Folder) =>
            {
                self.failed |= self.follower.until == Until::End;
                format!(
                    "there is no sandbox below {slave_root}: removed by the agent, or slave_root is wrong{waiting}"
                )
            }
            Files::Folder(folder) if listing.files.is_empty() => {
                self.failed |= self.follower.until == Until::End;
                format!("there is no sandbox {folder}{waiting}")
            }
            Files::Sandbox { .. } | Files::Folder(_) => {
                format!("the sandbox has no log that is chosen{waiting}")
            }
            Files::Globs(globs) => {
                self.failed |= self.follower.until == Until::End;
                format!("no file matches {}{waiting}", globs.join(" "))
            }
        };
        self.follower.say(&text);
    }

    fn say_denied(&mut self, listing: &Listing) {
        self.failed = true;
        if !std::mem::replace(&mut self.said.denied, true) {
            let words = listing.denied.first().map_or("", String::as_str);
            self.follower
                .say(&format!("permission denied: {words}; {}", self.who_may()));
        }
    }

    fn who_may(&self) -> String {
        let instance = &self.follower.instance;
        match (&instance.place, &instance.as_role, &instance.label.key) {
            (Place::Local, _, _) => "run tailll as a user who may read it".to_owned(),
            (Place::Ssh(_), Some(command), _) => format!(
                "`{command}` may not read it either: a container's files can belong to root; try --become 'sudo -n'"
            ),
            (Place::Ssh(_), None, Some(key)) => format!(
                "sandboxes belong to the role: log in with --user {} or as root, or log in as yourself and use --become 'sudo -n -u {{role}}'",
                key.role()
            ),
            (Place::Ssh(_), None, None) => {
                "log in as a user who may read it with --user, or become one with --become 'sudo -n'"
                    .to_owned()
            }
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { link, begin, hold } => self.start(link, begin, hold),
                Action::Release(id) => {
                    if let Some(running) = self.running.get(&id) {
                        running.hold.send_replace(Hold::Free);
                    }
                }
                Action::Close(id) => {
                    if let Some(running) = self.running.get(&id) {
                        running.stop.cancel();
                    }
                }
                Action::Refuse(link) => {
                    self.failed = true;
                    let path = String::from_utf8_lossy(&link.stat.path).into_owned();
                    self.follower.say(&format!(
                        "not followed: {path}, there are more than {FILES_PER_INSTANCE} files"
                    ));
                }
            }
        }
    }

    fn start(&mut self, link: Link, begin: Begin, hold: Hold) {
        let id = link.stat.id;
        let gauge = Arc::new(Gauge::new(self.follower.sink.clock.started().at));
        gauge.list(link.stat.size);
        let (hold, held) = watch::channel(hold);
        let stop = CancellationToken::new();
        let reader = Reader {
            transport: self.follower.transport.clone(),
            layout: self.layout.clone(),
            link,
            label: self.follower.instance.label.clone(),
            sink: self.follower.sink.clone(),
            begin,
            history: self.follower.history,
            until: self.follower.until,
            hold: held,
            gauge: gauge.clone(),
            stop: stop.clone(),
        };
        let serial = self.next_serial;
        self.next_serial += 1;
        self.running.insert(
            id,
            Running {
                serial,
                gauge,
                hold,
                stop,
            },
        );
        self.readers
            .spawn(async move { (id, serial, Box::pin(reader.run()).await) });
    }

    fn reader_ended(
        &mut self,
        reader: Result<(FileId, u64, Outcome), tokio::task::JoinError>,
    ) -> Option<Followed> {
        let (id, serial, outcome) = match reader {
            Ok(ended) => ended,
            Err(error) => {
                self.failed = true;
                self.follower
                    .say(&format!("a reader failed, which is a bug: {error}"));
                return None;
            }
        };
        let is_current = self
            .running
            .get(&id)
            .is_some_and(|running| running.serial == serial);
        if is_current {
            self.running.remove(&id);
            match outcome {
                Outcome::Removed => self.tracker.removed(id),
                _ => self.tracker.read(id),
            }
        }
        match outcome {
            Outcome::Stopped | Outcome::Reached | Outcome::Removed => {}
            Outcome::Failed(why) => {
                self.failed = true;
                self.follower.say(&format!("{why}; {}", self.who_may()));
            }
            Outcome::Refused(why) => return Some(Followed::Refused(why)),
        }
        None
    }

    /// Waits for the readers, which end by themselves.
    async fn finish(&mut self) -> Followed {
        while let Some(reader) = self.readers.join_next().await {
            if let Some(end) = self.reader_ended(reader) {
                return end;
            }
        }
        if self.failed {
            Followed::Failed
        } else {
            Followed::Done
        }
    }
}

fn progress_of(running: &HashMap<FileId, Running>) -> impl Fn(FileId) -> Progress {
    let now = Instant::now();
    move |id| {
        running.get(&id).map_or(
            Progress {
                offset: 0,
                idle: None,
            },
            |running| running.gauge.progress(now),
        )
    }
}
