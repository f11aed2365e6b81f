//! Which instances there are, now and from now on.
//!
//! Each source of instances is watched by a task of its own and tells what it finds over one bounded channel. A source that
//! cannot be asked keeps its instances: only an answer that no longer names one removes it. What is done with an instance, and
//! whether a flag leaves it out, is up to the receiver.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::as_role::AsRole;
use crate::instance::{Instance, InstanceId};
use crate::source::InstanceLabel;

pub mod aurora;
pub mod exec;
pub mod hosts;
pub mod local;
pub mod name;

/// How long after one answer the next is asked for.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// How instances are reached whose source does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whom to log in as.
    pub user: Option<String>,
    /// The command that runs the scripts as another user.
    pub as_role: Option<AsRole>,
}

/// How long sources are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// They are asked once, and those that cannot be asked are not waited for.
    Once,
    /// They are asked again this long after each answer, until each job has an instance.
    UntilThere(Duration),
    /// They are asked again this long after each answer.
    Every(Duration),
}

/// Where instances come from.
#[derive(Debug)]
pub enum Source {
    /// Jobs of a cluster's scheduler.
    Aurora(aurora::Jobs),
    /// A short name that no scheduler knows yet.
    Name(name::Name),
    /// A program that prints instances.
    Exec(exec::Exec),
    /// Hosts written down: an ad-hoc target, or an inventory of the configuration.
    Hosts(hosts::Hosts),
    /// Files of this host.
    LocalFiles(local::LocalFiles),
    /// Sandboxes on this host.
    LocalSandboxes(local::Sandboxes),
}

impl Source {
    /// How many [`DiscoveryEvent::Complete`]s come of it.
    pub fn answers(&self) -> usize {
        match self {
            Self::Aurora(jobs) => jobs.keys().len() + jobs.patterns.len(),
            Self::Name(_)
            | Self::Exec(_)
            | Self::Hosts(_)
            | Self::LocalFiles(_)
            | Self::LocalSandboxes(_) => 1,
        }
    }
}

/// What discovery tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// An instance is there.
    Added(Instance),
    /// An instance that has ended before it could be followed; its files may still be there.
    Past {
        /// Which.
        instance: Instance,
        /// How it ended, as a fragment.
        how: String,
        /// When, in ms since 1970, if that is known.
        ended_ms: Option<i64>,
    },
    /// An instance has ended or gone.
    Removed {
        /// Which.
        id: InstanceId,
        /// What it was called.
        label: Arc<InstanceLabel>,
        /// How it ended, as a fragment: `FAILED: exit code 1`.
        how: String,
    },
    /// A source cannot be asked. Its instances stay.
    Trouble {
        /// Which source.
        source: String,
        /// Why.
        message: String,
    },
    /// A source that was in trouble answers again.
    Recovered {
        /// Which source.
        source: String,
    },
    /// Something worth a line that changes nothing, such as instances that wait for a place.
    Note {
        /// Which source or job.
        source: String,
        /// What, as a fragment.
        message: String,
    },
    /// What was asked for has been answered for the first time. Sent once for each job, inventory and ad-hoc target, after
    /// its `Added`s.
    Complete {
        /// Which.
        source: String,
        /// How many instances it had.
        instances: usize,
    },
}

/// Watches the sources until `stop`, or asks them once. Returns earlier once no source can tell anything new, as files on given hosts cannot;
/// `events` is closed by then, which does not mean that the instances are gone.
pub async fn watch(
    sources: Vec<Source>,
    watch: Watch,
    events: Sender<DiscoveryEvent>,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    for source in sources {
        let outbox = Outbox {
            events: events.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(async move {
            // An error only says that nobody listens any more.
            let _ = match source {
                Source::Aurora(jobs) => jobs.watch(watch, &outbox).await,
                Source::Name(name) => name.watch(watch, &outbox).await,
                Source::Exec(exec) => exec.watch(watch, &outbox).await,
                Source::Hosts(hosts) => hosts.tell(&outbox).await,
                Source::LocalFiles(files) => files.tell(&outbox).await,
                Source::LocalSandboxes(sandboxes) => sandboxes.watch(watch, &outbox).await,
            };
        });
    }
    let outbox = Outbox { events, stop };
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            let message =
                "its watcher failed: this is a bug; its instances are no longer looked for"
                    .to_owned();
            let _ = outbox
                .send(DiscoveryEvent::Trouble {
                    source: "discovery".to_owned(),
                    message,
                })
                .await;
        }
    }
}

/// Where a source puts what it finds.
pub(crate) struct Outbox {
    events: Sender<DiscoveryEvent>,
    stop: CancellationToken,
}

/// Nobody listens any more, or the program ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl Outbox {
    async fn send(&self, event: DiscoveryEvent) -> Result<(), Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            sent = self.events.send(event) => sent.map_err(|_| Stopped),
        }
    }

    /// Waits for the future, unless the program ends first; then the future is dropped where it stands.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}

/// What has been said about a source's health, so that it is said once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Well,
    /// It was said that it does not, and why.
    Trouble(String),
}

impl Health {
    async fn trouble(
        &mut self,
        source: &str,
        message: String,
        outbox: &Outbox,
    ) -> Result<(), Stopped> {
        if *self != Self::Trouble(message.clone()) {
            *self = Self::Trouble(message.clone());
            outbox
                .send(DiscoveryEvent::Trouble {
                    source: source.to_owned(),
                    message,
                })
                .await?;
        }
        Ok(())
    }

    async fn well(&mut self, source: &str, outbox: &Outbox) -> Result<(), Stopped> {
        if std::mem::replace(self, Self::Well) != Self::Well {
            outbox
                .send(DiscoveryEvent::Recovered {
                    source: source.to_owned(),
                })
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A watch on sources, for tests: says each event in a line.
    pub(crate) struct Watched {
        events: mpsc::Receiver<DiscoveryEvent>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Watched {
        pub(crate) fn start(sources: Vec<Source>) -> Self {
            Self::with(Watch::Every(Duration::from_millis(5)), sources)
        }

        pub(crate) fn with(how: Watch, sources: Vec<Source>) -> Self {
            let (sender, events) = mpsc::channel(1);
            let stop = CancellationToken::new();
            let task = tokio::spawn(watch(sources, how, sender, stop.clone()));
            Self { events, stop, task }
        }

        pub(crate) async fn next(&mut self) -> String {
            match tokio::time::timeout(Duration::from_secs(10), self.events.recv())
                .await
                .expect("an event in time")
            {
                Some(event) => said(&event),
                None => "closed".to_owned(),
            }
        }

        pub(crate) async fn some(&mut self, n: usize) -> Vec<String> {
            let mut lines = Vec::new();
            for _ in 0..n {
                lines.push(self.next().await);
            }
            lines
        }

        /// Ends the watch, which must not take long even if nobody reads.
        pub(crate) async fn stop(self) {
            self.stop.cancel();
            tokio::time::timeout(Duration::from_secs(5), self.task)
                .await
                .expect("an end in time")
                .expect("no panic");
        }
    }

    pub(crate) fn said(event: &DiscoveryEvent) -> String {
        let name = |label: &InstanceLabel| match label.instance {
            Some(number) => format!("{}/{number}@{}", label.job, label.host),
            None => format!("{}@{}", label.job, label.host),
        };
        match event {
            DiscoveryEvent::Added(instance) => format!("+ {}", name(&instance.label)),
            DiscoveryEvent::Past { instance, how, .. } => {
                format!("past {}: {how}", name(&instance.label))
            }
            DiscoveryEvent::Removed { label, how, .. } => format!("- {}: {how}", name(label)),
            DiscoveryEvent::Trouble { source, message } => format!("trouble {source}: {message}"),
            DiscoveryEvent::Recovered { source } => format!("recovered {source}"),
            DiscoveryEvent::Note { source, message } => format!("note {source}: {message}"),
            DiscoveryEvent::Complete { source, instances } => {
                format!("complete {source}: {instances}")
            }
        }
    }

    #[tokio::test]
    async fn nothing_to_watch_ends_at_once() {
        let mut watched = Watched::start(Vec::new());
        assert_eq!(watched.next().await, "closed");
        watched.stop().await;
    }
}
