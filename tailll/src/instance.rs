//! An instance to follow: what discovery finds and followers take.

use std::fmt;
use std::sync::Arc;

use crate::as_role::Become;
use crate::source::InstanceLabel;

/// What tells instances apart while the program runs: the task id, or the host and the files of an ad-hoc target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub String);

/// One instance: what it is called, where it runs, which of its files to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What tells it apart.
    pub id: InstanceId,
    /// What it is called.
    pub label: Arc<InstanceLabel>,
    /// How to get there.
    pub place: Place,
    /// Which files to follow.
    pub files: Files,
    /// The command that runs the scripts as another user than the login's.
    pub as_role: Option<Become>,
}

/// How to get to an instance's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// This host; no SSH.
    Local,
    /// Over SSH.
    Ssh(Login),
}

/// Where to log in, as asked for; OpenSSH's configuration fills in the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user, where the target, the flags, the cluster or the job names one.
    pub user: Option<String>,
    /// The host: a name, an alias of OpenSSH's configuration, an IPv4 or (without brackets) an IPv6 address.
    pub host: String,
    /// The port, where the target names one.
    pub port: Option<u16>,
}

/// The longest host or user name, in bytes; DNS allows 253 for a host.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a host or a user is not one to log in to or as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// No name at all.
    #[error("the name is empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`].
    #[error("a name has at most {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Programs would take it for an option.
    #[error("`{}` begins with `-`", .0.escape_debug())]
    Option(String),
    /// A control character, white space, or a character that means something to a shell or in a target.
    #[error("`{}` holds {:?}, which no such name holds", .name.escape_debug(), .character)]
    Character {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
}

/// Checks a host from a stranger: a user's typing, a configuration, a scheduler's answer.
pub fn check_host(host: &str) -> Result<(), BadName> {
    // The colon and the percent sign belong to IPv6 addresses and their zones.
    check_name(host, |c| c.is_alphanumeric() || "._-:%".contains(c))
}

/// Checks a user name from a stranger. OpenSSH lets users of directories have `\`, `@` and `+` in it.
pub fn check_user(user: &str) -> Result<(), BadName> {
    check_name(user, |c| c.is_alphanumeric() || "._-+@\\$".contains(c))
}

fn check_name(name: &str, allowed: impl Fn(char) -> bool) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(BadName::TooLong);
    }
    if name.starts_with('-') {
        return Err(BadName::Option(name.to_owned()));
    }
    match name.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(BadName::Character {
            name: name.to_owned(),
            character,
        }),
        None => Ok(()),
    }
}

impl fmt::Display for Login {
    /// `user@host:port` with what is known; an IPv6 address stands in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which files of an instance to follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Files {
    /// The logs of a Thermos sandbox,
    /// `<slave_root>/slaves/*/frameworks/*/executors/*<task_id>/runs/<run_directory>/sandbox/.logs/*/*/{stdout,stderr}`,
    /// and the executor's own output beside the sandbox: `.../runs/<run_directory>/{stdout,stderr}`.
    Sandbox {
        /// The agent's work directory, for example `/var/lib/mesos`.
        slave_root: String,
        /// Nearly always `latest`.
        run_directory: String,
        /// The task.
        task_id: String,
    },
    /// The logs of a sandbox in this folder: `<folder>/.logs/*/*/{stdout,stderr}`.
    Folder(String),
    /// Whatever these absolute shell patterns match, now and later.
    Globs(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_programs_could_misread_are_refused() {
        for host in [
            "web01",
            "web01.example.com",
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "under_score",
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in [
            "",
            "-oProxyCommand=x",
            "a b",
            "a\nb",
            "a\u{1b}[31m",
            "$(id)",
            "a;b",
            "a'b",
            "a/b",
            "a@b",
            "[::1]",
        ] {
            assert!(check_host(host).is_err(), "{host:?}");
        }
        assert_eq!(check_host(&"a".repeat(256)), Err(BadName::TooLong));
        for user in ["me", "first.last@example.com", "DOMAIN\\me", "svc$"] {
            assert_eq!(check_user(user), Ok(()), "{user}");
        }
        for user in ["", "-l", "a b", "a\0", "a'b", "`id`"] {
            assert!(check_user(user).is_err(), "{user:?}");
        }
        let message = check_host("a\u{1b}b")
            .expect_err("a control character")
            .to_string();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }

    #[test]
    fn a_login_reads_as_typed() {
        let login = |user: Option<&str>, host: &str, port| Login {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        };
        assert_eq!(login(None, "web01", None).to_string(), "web01");
        assert_eq!(
            login(Some("me"), "::1", Some(22)).to_string(),
            "me@[::1]:22"
        );
    }
}
