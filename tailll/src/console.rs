//! The program's ends towards the person: standard output and standard error, and the signals that end it.

use std::io;

use crate::color::StreamKind;
use crate::options::Talk;
use crate::output::{self, Ended, OutputError};
use crate::signals::Signals;
use crate::talk::Talker;

/// The streams that the program writes to.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    /// Whether standard output is a terminal.
    pub stdout: StreamKind,
    /// Whether standard error is a terminal.
    pub stderr: StreamKind,
}

/// What a verb talks through.
#[derive(Debug)]
pub struct Console {
    /// Data, for standard output.
    pub out: output::Handle,
    /// What is said on standard error.
    pub talker: Talker,
    /// What ends the program.
    pub signals: Signals,
    /// How the writing ends.
    pub writing: output::Running,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is no output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Signals cannot be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
}

impl Console {
    /// Takes the process's streams, and catches signals from now on.
    ///
    /// # Errors
    /// See [`ConsoleError`].
    pub fn open(streams: Streams, talk: Talk) -> Result<Self, ConsoleError> {
        let signals = Signals::new().map_err(ConsoleError::Signals)?;
        let options = output::OutputOptions {
            stdout: streams.stdout,
            stderr: streams.stderr,
            columns: output::terminal_columns,
            status_every: output::STATUS_EVERY,
        };
        let (out, writing) = output::start_process(options)?;
        let talker = Talker::start(out.clone(), talk);
        Ok(Self {
            out,
            talker,
            signals,
            writing,
        })
    }

    /// Waits until everything has been written. All other handles to the output must be gone by then.
    ///
    /// # Errors
    /// When standard output took no more.
    pub async fn close(self) -> Result<Ended, OutputError> {
        let Self {
            out,
            talker,
            writing,
            ..
        } = self;
        talker.finish().await;
        drop(out);
        writing.wait().await
    }
}
