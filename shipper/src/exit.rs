//! Exit codes, and failures that carry one.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// All went well, or the reader of a pipe has left.
    Success,
    /// Not everything was shipped; `audit` found a gap or an overlap; `validate` found something that keeps logs from being kept;
    /// `explain` found no rule.
    Partial,
    /// Wrong usage or configuration, or a folder of the agent's own cannot be used.
    Usage,
    /// The archive cannot be reached, or refuses us.
    Unreachable,
    /// The state does not belong to what lies in the archive: `shipper recover` first.
    MustRecover,
    /// `^C`.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Partial,
        Self::Usage,
        Self::Unreachable,
        Self::MustRecover,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number that a shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Partial => 1,
            Self::Usage => 2,
            Self::Unreachable => 4,
            Self::MustRecover => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb could not do what it was asked: an error, how the program ends for it, and what to do about it.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong; its sources are printed too.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do, if it can be said.
    pub hint: Option<String>,
}

impl Failed {
    /// An error that ends the program with this code.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The error with its causes on one line; see [`joblog::causes::chain`].
    pub fn chain(&self) -> String {
        joblog::causes::chain(&*self.error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (at, one) in Exit::ALL.iter().enumerate() {
            for two in &Exit::ALL[at + 1..] {
                assert_ne!(one.code(), two.code());
            }
        }
    }

    #[test]
    fn codes_are_in_the_page_and_in_the_help() {
        use clap::CommandFactory as _;
        let page = include_str!("../../docs/shipper.md");
        let (_, section) = page.split_once("\n## Exit codes\n").expect("a part");
        let section = section.split("\n## ").next().unwrap_or_default();
        let help = crate::args::Args::command().render_long_help().to_string();
        let (_, in_help) = help.split_once("Exit codes:").expect("a part");
        for exit in Exit::ALL {
            let code = exit.code().to_string();
            let listed = section
                .lines()
                .filter_map(|line| line.split('|').nth(1))
                .flat_map(|cell| cell.split(','))
                .any(|cell| cell.trim() == code);
            assert!(listed, "{exit:?}");
            let mut words = in_help.split_whitespace();
            assert!(words.any(|word| word == code), "{exit:?}: {in_help}");
        }
    }
}
