//! The terminal as somebody who can be asked: a question is written to it and a line read from it, if need be without echo.
//!
//! Owns `/dev/tty`, and that the terminal is left as it was found, however the program ends: the guard puts it back, and
//! [`restore`] does so for a program that ends while somebody is still thinking. Signals work as always, so that ^C ends the
//! program; ^Z and ^\ are off without echo, since nobody could put the terminal back then.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::sync::{Mutex, MutexGuard};

use crate::lock::lock;

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use zeroize::Zeroizing;

/// Bytes of an answer, at most; a terminal gives no longer lines.
const ANSWER_BYTES: usize = 4096;

/// What switches a key of the terminal off.
const NO_KEY: u8 = 0;

/// The terminal without echo, and what it was like before; the latter is put back once.
static SAVED: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Whether what is typed can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It can.
    Shown,
    /// It cannot.
    Hidden,
}

/// The terminal that the program was started from.
#[derive(Debug)]
pub struct Terminal {
    /// To write to, and to change.
    file: File,
    /// Opened once more, since reading must not block.
    input: pipe::Receiver,
}

impl Terminal {
    /// Opens it.
    ///
    /// # Errors
    /// When there is none.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        // Asked of the terminal itself: `/dev/tty` can be opened where a terminal has gone.
        tcgetattr(&file)?;
        let input = File::open("/dev/tty")?;
        rustix::io::ioctl_fionbio(&input, true)?;
        Ok(Self {
            file,
            // It is waited for and read like a pipe.
            input: pipe::Receiver::from_file_unchecked(input)?,
        })
    }

    /// Writes a question, throws away what was typed before it, and waits for a line; `None` for ^D at its start.
    ///
    /// # Errors
    /// The terminal's.
    pub async fn ask(
        &mut self,
        question: &str,
        echo: Echo,
    ) -> io::Result<Option<Zeroizing<String>>> {
        let quiet = match echo {
            Echo::Hidden => Some(Quiet::begin(&self.file)?),
            Echo::Shown => {
                tcflush(&self.file, QueueSelector::IFlush)?;
                None
            }
        };
        self.write(question)?;
        let answer = self.read_line().await;
        drop(quiet);
        if echo == Echo::Hidden {
            // What ended the answer was not shown either.
            self.write("\n")?;
        }
        answer
    }

    /// Writes a text.
    ///
    /// # Errors
    /// The terminal's.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    async fn read_line(&mut self) -> io::Result<Option<Zeroizing<String>>> {
        // With room for all of it, so that no copy is left behind by growing.
        let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES));
        loop {
            let mut piece = Zeroizing::new(vec![0; ANSWER_BYTES]);
            let room = ANSWER_BYTES - line.len();
            match self.input.read(&mut piece[..room]).await {
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(read) => {
                    line.extend_from_slice(&piece[..read]);
                    if line.contains(&b'\n') || line.len() == ANSWER_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let end = line
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(line.len());
        match std::str::from_utf8(&line[..end]) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(io::Error::new(
                ErrorKind::InvalidData,
                "the answer is not UTF-8",
            )),
        }
    }
}

/// No echo while it lives.
struct Quiet;

impl Quiet {
    fn begin(file: &File) -> io::Result<Self> {
        let mut saved = saved();
        let before = tcgetattr(file)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
        quiet.special_codes[SpecialCodeIndex::VQUIT] = NO_KEY;
        let file = file.try_clone()?;
        tcsetattr(&file, OptionalActions::Flush, &quiet)?;
        *saved = Some((file, before));
        Ok(Self)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was found; does nothing if that is how it is.
pub fn restore() {
    if let Some((file, before)) = saved().take() {
        // A terminal that is gone needs nothing put back.
        let _ = tcsetattr(&file, OptionalActions::Drain, &before);
    }
}

fn saved() -> MutexGuard<'static, Option<(File, Termios)>> {
    lock(&SAVED)
}
