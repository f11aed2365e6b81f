//! How far the agents of an archive are: whether a host can have lines that the archive has not.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use archive::{AgentId, Hour, Store, checkpoint};

/// How long after its end a task's last lines are known to its host's agent, in ns: agents look for files every few seconds.
pub const SETTLED_NS: i64 = 10 * 60 * 1_000_000_000;

/// How long may be waited for an agent's checkpoint. Without it the host is asked.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the agents' checkpoints say.
pub struct Agents {
    store: Arc<dyn Store>,
    /// When the archive was read, in ns since 1970.
    read_ns: i64,
    /// Until when everything was in the archive when it was read, as far as that is known.
    complete_ns: HashMap<AgentId, Option<i64>>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agents")
            .field("read_ns", &self.read_ns)
            .field("complete_ns", &self.complete_ns)
            .finish_non_exhaustive()
    }
}

impl Agents {
    /// Nobody has been asked for yet. `read_ns` is a time before the archive was read.
    pub fn new(store: Arc<dyn Store>, read_ns: i64) -> Self {
        Self {
            store,
            read_ns,
            complete_ns: HashMap::new(),
        }
    }

    /// Whether all that these agents' hosts had at a time was in the archive when it was read. Of no agents that is not known.
    pub async fn have_shipped(&mut self, agents: &BTreeSet<AgentId>, until_ns: i64) -> bool {
        for agent in agents {
            let known = self.complete_ns.get(agent).copied();
            let complete_ns = if let Some(known) = known {
                known
            } else {
                let found = self.look(*agent).await;
                self.complete_ns.insert(*agent, found);
                found
            };
            if complete_ns.is_none_or(|complete_ns| complete_ns < until_ns) {
                return false;
            }
        }
        !agents.is_empty()
    }

    async fn look(&self, agent: AgentId) -> Option<i64> {
        let hour = Hour::of_ns(self.read_ns);
        let latest = checkpoint::latest(&*self.store, agent, hour);
        let latest = tokio::time::timeout(CHECKPOINT_TIMEOUT, latest).await;
        let standing = latest.ok()?.ok()?.standing?;
        // A later one may tell of rows that came while the archive was read.
        (standing.written_ns <= self.read_ns).then_some(standing.complete_until_ns)
    }
}
