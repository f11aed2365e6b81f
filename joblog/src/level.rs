//! How serious a line is, and how that is read from the line.
//!
//! A level is a word in the place where loggers put it, near the line's start, not any word that sounds bad:
//! `authentication failure` alone has none.

use crate::json;

mod find;

/// The level of a line, least serious first, so that `>=` means "at least as serious".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Finer than debugging.
    Trace,
    /// For developers.
    Debug,
    /// The normal course; syslog's `notice` too.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// The program cannot go on (`fatal`, `critical`, `alert`, `emerg`, `panic`).
    Fatal,
}

impl Level {
    /// All levels, least serious first.
    pub const ALL: [Self; 6] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Fatal,
    ];

    /// The level's name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }

    /// The level that a word stands for in any of the usual spellings, whatever its case: `WARNING`, `err`, `Information`.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        find::word(word)
    }

    /// The level of a syslog severity, 0 (emergency) to 7 (debug).
    pub const fn from_syslog(severity: u8) -> Option<Self> {
        match severity {
            0..=2 => Some(Self::Fatal),
            3 => Some(Self::Error),
            4 => Some(Self::Warn),
            5 | 6 => Some(Self::Info),
            7 => Some(Self::Debug),
            _ => None,
        }
    }

    /// The level of a number under a JSON key such as `level`: syslog's 0 to 7, bunyan's and pino's 10 to 60, Monolog's 100 to
    /// 600, and the thousands of Java's loggers.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0..=7 => Self::from_syslog(number as u8),
            10..20 | 5000..10_000 => Some(Self::Trace),
            20..30 | 100..200 | 10_000..20_000 => Some(Self::Debug),
            30..40 | 200..300 | 20_000..30_000 => Some(Self::Info),
            40..50 | 300..400 | 30_000..40_000 => Some(Self::Warn),
            50..60 | 400..500 | 40_000..50_000 => Some(Self::Error),
            60..70 | 500..=600 | 50_000..60_000 => Some(Self::Fatal),
            _ => None,
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Finds the level of a line. Total: any bytes give an answer.
///
/// Known places: a word in upper case near the start; a word in any case in brackets, after `level=` or before a colon; the
/// letter of glog and of Android; syslog's `<PRI>`; the keys of a JSON line. An HTTP access line has the level of its
/// status: 5xx is an error, 4xx a warning, the rest is information.
pub fn find(line: &[u8]) -> Option<Level> {
    if json::looks_like_json(line) {
        let fields = json::scan(line);
        if fields.keys > 0 {
            return fields.level();
        }
    }
    find::in_text(line)
}

/// Where in a line of text the word or letter stands that [`find`] takes the level from; `None` where it is no word, such as
/// an access line's status, and for JSON lines.
pub fn place(line: &[u8]) -> Option<std::ops::Range<usize>> {
    if json::looks_like_json(line) {
        return None;
    }
    find::place(line)
}

#[cfg(test)]
mod tests;
