//! The roster: the instances that targets stand for at this moment, for verbs that follow nothing.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::causes::chain;
use crate::discovery::{self, DiscoveryEvent, Watch};
use crate::exit::Exit;
use crate::instance::Instance;
use crate::resolve::{Context, resolve};
use crate::selection::FileSelection;
use crate::talk::Talker;
use crate::target::Target;

/// Discovery's news that may wait.
const NEWS_QUEUED: usize = 256;

/// What was found.
#[derive(Debug, Default)]
pub struct Roster {
    /// The instances that are chosen, sorted by job and number.
    pub instances: Vec<Instance>,
    /// The targets that stand for nothing; it has been said why.
    pub bad_targets: usize,
    /// Sources that could not be asked; it has been said why.
    pub silent: usize,
}

impl Roster {
    /// Asks everybody once, and says what is wrong.
    pub async fn call(
        targets: &[Target],
        context: &Context<'_>,
        selection: &FileSelection,
        talker: &Talker,
    ) -> Self {
        let resolution = resolve(targets, context).await;
        for note in &resolution.notes {
            talker.say(note);
        }
        for failure in &resolution.failures {
            talker.say(&chain(failure));
        }
        let mut roster = Self {
            bad_targets: resolution.failures.len(),
            silent: resolution
                .failures
                .iter()
                .filter(|failure| failure.is_unreached())
                .count(),
            ..Self::default()
        };
        let (news, mut heard) = mpsc::channel(NEWS_QUEUED);
        let watching = tokio::spawn(discovery::watch(
            resolution.sources,
            Watch::Once,
            news,
            CancellationToken::new(),
        ));
        while let Some(event) = heard.recv().await {
            match event {
                DiscoveryEvent::Added(instance) => {
                    if selection.takes_instance(&instance.label) {
                        roster.instances.push(instance);
                    }
                }
                DiscoveryEvent::Past { instance, how, .. } => {
                    if selection.takes_instance(&instance.label) {
                        talker.note(&format!("{} has ended: {how}", instance.label.name()));
                        roster.instances.push(instance);
                    }
                }
                DiscoveryEvent::Trouble { source, message } => {
                    roster.silent += 1;
                    talker.say(&format!("{source}: {message}"));
                }
                DiscoveryEvent::Note { source, message } => {
                    talker.note(&format!("{source}: {message}"));
                }
                DiscoveryEvent::Complete { source, instances } => {
                    if instances == 0 {
                        talker.say(&format!("{source} has no instance now"));
                    }
                }
                DiscoveryEvent::Removed { .. } | DiscoveryEvent::Recovered { .. } => {}
            }
        }
        // It has closed its channel: it is at its end.
        let _ = watching.await;
        roster.instances.sort_by(|a, b| {
            let (a, b) = (&a.label, &b.label);
            (&a.job, a.instance, &a.host).cmp(&(&b.job, b.instance, &b.host))
        });
        roster.instances.dedup_by(|a, b| a.id == b.id);
        roster
    }

    /// How it ends where not even one instance was found.
    pub fn nothing(&self) -> Exit {
        if self.silent > 0 {
            Exit::Unreachable
        } else {
            Exit::NoMatch
        }
    }
}
