//! Exit codes.

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well, or the reader of a pipe has left.
    Success,
    /// Something could not be followed to the end; it has been said what.
    Partial,
    /// Wrong usage or configuration.
    Usage,
    /// No target matched.
    NoMatch,
    /// Nothing could be reached.
    Unreachable,
    /// `^C`.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// The number that a shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Partial => 1,
            Self::Usage => 2,
            Self::NoMatch => 3,
            Self::Unreachable => 4,
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
