//! How many files and sockets the program may have open: as many as the system lets it ask for.
//!
//! Each host takes a socket. The usual limit, 1024 or on macOS 256, would hide the hosts that come after.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than is ever needed, in files.
const ENOUGH: u64 = 65_536;

/// What macOS grants at most where it says that there is no limit, in files.
const GRANTED_BY_MACOS: u64 = 10_240;

/// Raises the limit of this process, and so of what it starts. Where that is refused, the old one stays; who meets it is told.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    for current in wished(limit) {
        let new = Rlimit {
            current: Some(current),
            ..limit
        };
        if setrlimit(Resource::Nofile, new).is_ok() {
            return;
        }
    }
}

/// `EMFILE`, the same on every Unix.
const TOO_MANY: i32 = 24;

/// What to do about an error, if it says that this process has as many files open as it may.
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    (error.raw_os_error() == Some(TOO_MANY))
        .then_some("raise the limit of open files here (`ulimit -n`), or follow fewer hosts")
}

/// What to ask for, one after the other; nothing if there is enough.
fn wished(limit: Rlimit) -> impl Iterator<Item = u64> {
    let most = limit.maximum.unwrap_or(u64::MAX);
    let now = limit.current.unwrap_or(u64::MAX);
    [ENOUGH, GRANTED_BY_MACOS]
        .into_iter()
        .map(move |wish| wish.min(most))
        .filter(move |wish| *wish > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_more_and_allowed() {
        let wishes = |current, maximum| wished(Rlimit { current, maximum }).collect::<Vec<_>>();
        assert_eq!(wishes(Some(1_024), Some(4_096)), [4_096, 4_096]);
        assert_eq!(wishes(Some(256), None), [65_536, 10_240]);
        assert_eq!(wishes(Some(20_000), Some(1_048_576)), [65_536]);
        assert!(wishes(Some(4_096), Some(4_096)).is_empty());
        assert!(wishes(Some(100_000), Some(1_048_576)).is_empty());
        assert!(wishes(None, None).is_empty());
    }
}
