//! `become`: the command that runs the remote scripts as another user than the one who has logged in.
//!
//! `sudo -n -u {role}` is typed once, in the configuration or on the command line. Here it is checked and made into the
//! command that a login shell is given. Since any login shell may read it, words are either plain or in single quotes, and
//! what single quotes do not keep from every shell is refused.

use std::fmt;
use std::str::FromStr;

/// The longest command, in bytes.
pub const MAX_BECOME_BYTES: usize = 1024;

/// What stands for the job's role.
const ROLE: &str = "{role}";

/// A command that runs a shell as another user, such as `sudo -n -u {role}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsRole {
    words: Vec<String>,
}

/// Why a text is no such command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AsRoleError {
    /// Nothing in it.
    #[error("it is empty; write a command such as `sudo -n -u {ROLE}`")]
    Empty,
    /// More than [`MAX_BECOME_BYTES`].
    #[error("it has more than {MAX_BECOME_BYTES} bytes")]
    TooLong,
    /// A character that some login shell takes for more than itself.
    #[error(
        "it holds {0:?}, which not every login shell leaves alone; put what needs it into a script on the hosts"
    )]
    Character(char),
    /// `{something}`.
    #[error("`{}` is unknown; only {ROLE} is filled in", .0.escape_debug())]
    Placeholder(String),
    /// The first word would be an option or a variable's value.
    #[error("`{}` is no command", .0.escape_debug())]
    Command(String),
}

/// The job has no role that could be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`become` names {ROLE}, and hosts that are written down have no role; write the user out")]
pub struct NoRole;

impl FromStr for AsRole {
    type Err = AsRoleError;

    fn from_str(text: &str) -> Result<Self, AsRoleError> {
        if text.len() > MAX_BECOME_BYTES {
            return Err(AsRoleError::TooLong);
        }
        if let Some(character) = text
            .chars()
            .find(|&c| c.is_control() || "'\\!\"`$".contains(c))
        {
            return Err(AsRoleError::Character(character));
        }
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let Some(first) = words.first() else {
            return Err(AsRoleError::Empty);
        };
        if first.starts_with('-') || first.contains(['=', '{']) {
            return Err(AsRoleError::Command(first.clone()));
        }
        for word in &words {
            let rest = word.replace(ROLE, "");
            if rest.contains(['{', '}']) {
                return Err(AsRoleError::Placeholder(word.clone()));
            }
        }
        Ok(Self { words })
    }
}

impl fmt::Display for AsRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

impl AsRole {
    /// The command for a role, word by word without quotes: `sudo -n -u www-data`.
    ///
    /// # Errors
    /// When the command needs a role and there is none that could be filled in.
    pub fn command(&self, role: Option<&str>) -> Result<Become, NoRole> {
        let needs_role = self.words.iter().any(|word| word.contains(ROLE));
        // A role comes from a job key, whose characters are harmless; but it may begin like an option.
        let role = match role {
            Some(role) if !needs_role || is_user(role) => role,
            None if !needs_role => "",
            _ => return Err(NoRole),
        };
        let words = self
            .words
            .iter()
            .map(|word| word.replace(ROLE, role))
            .collect();
        Ok(Become { words })
    }
}

fn is_user(role: &str) -> bool {
    !role.is_empty()
        && !role.starts_with('-')
        && role
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// The command that runs a shell as another user, with everything filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Become {
    words: Vec<String>,
}

impl Become {
    /// What a login shell is given: it turns into `sh` run by this command, and the script comes on standard input.
    pub fn shell(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        format!("exec {} sh", words.join(" "))
    }
}

impl fmt::Display for Become {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

/// A word as every login shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{word}'")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shell(text: &str, role: Option<&str>) -> String {
        match text.parse::<AsRole>() {
            Ok(command) => match command.command(role) {
                Ok(command) => command.shell(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_role_is_filled_in_and_words_are_quoted() {
        for (text, role, expected) in [
            (
                "sudo -n -u {role}",
                Some("www-data"),
                "exec sudo -n -u www-data sh",
            ),
            ("  sudo   -n ", None, "exec sudo -n sh"),
            ("sudo -n -u x;id", None, "exec sudo -n -u 'x;id' sh"),
            (
                "doas -u{role} env X=1",
                Some("a.b"),
                "exec doas -ua.b env 'X=1' sh",
            ),
        ] {
            assert_eq!(shell(text, role), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, role, expected) in [
            ("", None, "empty"),
            ("sudo -u $(id)", None, "'$'"),
            ("sudo -u 'x'", None, "'\\''"),
            ("sudo\n-n", None, "'\\n'"),
            ("sudo -u {user}", None, "`{user}` is unknown"),
            ("-n sudo", None, "no command"),
            ("A=1 sudo", None, "no command"),
            ("sudo -u {role}", None, "have no role"),
            ("sudo -u {role}", Some("-x"), "have no role"),
            ("sudo -u {role}", Some("a;b"), "have no role"),
        ] {
            let said = shell(text, role);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn a_shell_reads_the_words_that_were_typed(words in prop::collection::vec("[ -~&&[^'\\\\!\"`$ {}=]]{1,12}", 1..5)) {
            prop_assume!(!words[0].starts_with('-'));
            let command: AsRole = words.join(" ").parse().expect("a command");
            let line = command.command(None).expect("no role is needed").shell();
            let line = line.strip_prefix("exec ").and_then(|line| line.strip_suffix(" sh")).expect("a command");
            let output = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {line}")]).output().expect("sh");
            let read = String::from_utf8_lossy(&output.stdout).into_owned();
            prop_assert_eq!(read.lines().collect::<Vec<_>>(), words);
        }
    }
}
