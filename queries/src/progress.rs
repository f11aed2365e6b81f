//! How far a statement is, for a person who looks at standard error.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::escape;
use crate::event::{Progress, State};
use crate::output::stats::bytes;

/// How often the line is drawn anew while nothing is said.
const TICK: Duration = Duration::from_millis(200);

/// Who looks at standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// A program, or nobody.
    Nobody,
    /// A person.
    Person,
}

/// A line that says how far it is, and goes away.
#[derive(Debug)]
pub struct Line {
    bar: Option<ProgressBar>,
    look: Look,
}

/// What the line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Something that turns: it is not known how much there is to do.
    Turning,
    /// A bar.
    Bar,
}

impl Look {
    fn template(self) -> &'static str {
        match self {
            Self::Turning => "{spinner} {elapsed} {msg}",
            Self::Bar => "{bar:24} {elapsed} {msg}",
        }
    }
}

impl Line {
    /// A line for whoever looks.
    pub fn new(viewer: Viewer) -> Self {
        if viewer == Viewer::Nobody {
            return Self {
                bar: None,
                look: Look::Turning,
            };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        style(&bar, Look::Turning);
        bar.enable_steady_tick(TICK);
        Self {
            bar: Some(bar),
            look: Look::Turning,
        }
    }

    /// Takes what an engine tells.
    pub fn tell(&mut self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        if let Some(expected) = progress.bytes_expected.filter(|bytes| *bytes > 0) {
            if self.look == Look::Turning {
                style(bar, Look::Bar);
                self.look = Look::Bar;
            }
            bar.set_length(expected);
            bar.set_position(progress.bytes_scanned.min(expected));
        }
        bar.set_message(text(progress));
    }

    /// Says something on standard error, above the line.
    pub fn say(&self, text: &str) {
        let say = || {
            // Whoever closed standard error does not want to hear it.
            let _ = writeln!(io::stderr().lock(), "queries: {}", escape::plain(text));
        };
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    /// Takes the line away, before something else is written.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, look: Look) {
    // The templates are constants, which a test reads.
    if let Ok(style) = ProgressStyle::with_template(look.template()) {
        bar.set_style(style);
    }
}

/// What the line says.
fn text(progress: &Progress) -> String {
    let state = match progress.state {
        State::Queued => "waits for the engine",
        State::Running => "runs",
        State::Fetching => "fetches the answer",
    };
    match progress.bytes_expected {
        Some(expected) if expected > 0 => format!(
            "{state}, {} of at most {} read",
            bytes(progress.bytes_scanned),
            bytes(expected)
        ),
        _ => format!("{state}, {} read", bytes(progress.bytes_scanned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        for look in [Look::Turning, Look::Bar] {
            assert!(ProgressStyle::with_template(look.template()).is_ok());
        }
        let mut progress = Progress {
            state: State::Running,
            bytes_scanned: 12_000_000,
            bytes_expected: Some(48_000_000),
        };
        assert_eq!(text(&progress), "runs, 12 MB of at most 48 MB read");
        progress.bytes_expected = None;
        progress.state = State::Queued;
        assert_eq!(text(&progress), "waits for the engine, 12 MB read");
        // Nobody looks: nothing is drawn.
        let mut line = Line::new(Viewer::Nobody);
        line.tell(&progress);
        line.clear();
    }
}
