//! The claim of an incarnation: a small object, written on condition, before any data. Whoever's claim is there has the number.
//!
//! A state that was rolled back, or a copy of the machine, would claim a number that is taken. So a claim that is somebody else's
//! means that the archive knows more than our state, and nothing may be shipped before it is recovered.

use archive::store::{Body, Put, StoreError, digest};
use archive::{AgentId, Incarnation, Store, key};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::state::{Claim, Identity, State, StateError};

/// The version of the claim's text.
const VERSION: u32 = 1;

/// What a claim says: for people, and to know our own again by the nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimText {
    /// The version of this text.
    pub version: u32,
    /// A random text of this start.
    pub nonce: String,
    /// The host's name.
    pub host: String,
    /// When it was claimed, in ns since 1970.
    pub claimed_ns: i64,
}

/// Why nothing is claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The claim is somebody else's.
    #[error(
        "incarnation {incarnation} of agent {agent} is claimed by another start{}: the state was rolled back, or a copy of \
         this machine runs; stop the copy, or run `shipper recover` here",
        .by.as_ref().map(|by| format!(" (on {})", by.host)).unwrap_or_default()
    )]
    Taken {
        /// The agent.
        agent: AgentId,
        /// The number.
        incarnation: Incarnation,
        /// Whose it is, if that can be read.
        by: Option<ClaimText>,
    },
    /// The store failed; it may be tried again.
    #[error("claim of an incarnation")]
    Store(#[from] StoreError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Writes down in the state that the next incarnation is about to be claimed. Not again for a claim whose answer was lost.
pub fn intend(
    state: &mut State,
    agent: AgentId,
    random: &mut dyn FnMut() -> u64,
) -> Result<Identity, StateError> {
    let before = state.identity()?;
    if let Some(identity) = &before
        && identity.claim == Claim::Intended
    {
        return Ok(identity.clone());
    }
    let identity = Identity {
        agent,
        incarnation: Incarnation(before.as_ref().map_or(1, |one| one.incarnation.0 + 1)),
        nonce: format!("{:016x}{:016x}", random(), random()),
        claim: Claim::Intended,
        next_seq: before.map_or(1, |one| one.next_seq),
    };
    state.set_identity(&identity)?;
    Ok(identity)
}

/// Claims the incarnation that is intended. To be tried again after an error of the store.
pub async fn claim(
    store: &dyn Store,
    identity: &Identity,
    host: &str,
    now_ns: i64,
) -> Result<(), ClaimError> {
    let key = key::claim_key(identity.agent, identity.incarnation);
    let text = ClaimText {
        version: VERSION,
        nonce: identity.nonce.clone(),
        host: host.to_owned(),
        claimed_ns: now_ns,
    };
    let body = Bytes::from(serde_json::to_vec(&text).unwrap_or_default());
    let sha256 = digest(&body);
    match store.put_new(&key, Body::Bytes(body), sha256).await? {
        Put::Created => Ok(()),
        Put::Exists => {
            let there = store.get(&key, None).await?;
            let by: Option<ClaimText> = serde_json::from_slice(&there).ok();
            if by.as_ref().is_some_and(|by| by.nonce == identity.nonce) {
                return Ok(());
            }
            Err(ClaimError::Taken {
                agent: identity.agent,
                incarnation: identity.incarnation,
                by,
            })
        }
    }
}

/// Writes down that the claim is ours.
pub fn hold(state: &mut State, mut identity: Identity) -> Result<Identity, StateError> {
    identity.claim = Claim::Held;
    state.set_identity(&identity)?;
    Ok(identity)
}
