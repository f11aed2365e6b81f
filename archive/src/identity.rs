//! Who wrote an object: an agent, and which of its starts. And which file a row is of, as far as its name tells.

use std::fmt;
use std::str::FromStr;

/// How many hexadecimal digits an agent's id has.
const AGENT_DIGITS: usize = 16;

/// An agent's id: random, made once for each spool, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub u64);

/// The text is no agent id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no agent id: 16 lower-case hexadecimal digits are expected")]
pub struct AgentIdError(pub String);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == AGENT_DIGITS
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(text, 16) {
            Ok(id) if digits => Ok(Self(id)),
            _ => Err(AgentIdError(text.to_owned())),
        }
    }
}

/// Which claim of an agent an object was planned under: 1, 2, … Each start claims the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u32);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a row's `src` says of its file: `<agent>-<inode>-<birth time in ns>`, or a random part where there was no birth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SrcParts {
    /// The agent that named it.
    pub agent: AgentId,
    /// The file's inode on that agent's host.
    pub inode: u64,
    /// When the file was made, in ns since 1970, where the file system told.
    pub birth_ns: Option<i64>,
}

/// The text names no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no file's name: <agent>-<inode>-<birth time in ns> is expected")]
pub struct SrcPartsError(pub String);

impl FromStr for SrcParts {
    type Err = SrcPartsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.split('-');
            let (agent, inode, last) = (parts.next()?, parts.next()?, parts.next()?);
            let digits =
                |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let birth_ns = match last.strip_prefix('r') {
                Some(random) => {
                    random.parse::<AgentId>().ok()?;
                    None
                }
                None if digits(last) => Some(last.parse().ok()?),
                None => return None,
            };
            (digits(inode) && parts.next().is_none()).then_some(Self {
                agent: agent.parse().ok()?,
                inode: inode.parse().ok()?,
                birth_ns,
            })
        };
        read().ok_or_else(|| SrcPartsError(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_tells_agent_inode_and_birth() {
        let parts = |text: &str| text.parse::<SrcParts>().ok();
        let agent = AgentId(0xff);
        assert_eq!(
            parts("00000000000000ff-12-34"),
            Some(SrcParts {
                agent,
                inode: 12,
                birth_ns: Some(34)
            })
        );
        assert_eq!(
            parts("00000000000000ff-12-r0123456789abcdef"),
            Some(SrcParts {
                agent,
                inode: 12,
                birth_ns: None
            })
        );
        for text in [
            "",
            "-",
            "00000000000000ff-1",
            "00000000000000ff-1-2-3",
            "00000000000000FF-1-2",
            "00000000000000ff-+1-2",
            "00000000000000ff-1-+2",
            "00000000000000ff-1-rff",
            "00000000000000ff-99999999999999999999-2",
        ] {
            assert_eq!(parts(text), None, "{text:?}");
        }
    }
}
