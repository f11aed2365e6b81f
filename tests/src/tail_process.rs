//! The program under test as a child process: its output collected line by line with the time of arrival, by a reader
//! that can be told to stop reading; signals; memory. It is killed when dropped.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::processes::{self, Memory, Signal};

/// How often waiting looks at what has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How many of the last lines of output a failure shows.
const MAX_SHOWN_LINES: usize = 20;

/// How many of the last bytes of talk a failure shows.
const MAX_SHOWN_TALK_BYTES: usize = 4_000;

/// How much one read of the output takes at most, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// One line of output.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When its last byte was read.
    pub at: Instant,
    /// The line, newline included; only the last one may lack it.
    pub bytes: Vec<u8>,
}

impl AsRef<[u8]> for Seen {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether the reader reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It reads whatever comes.
    Eager,
    /// It reads nothing until told to.
    Stalled,
}

/// A running program.
#[derive(Debug)]
pub struct TailProcess {
    child: Child,
    lines: Arc<Mutex<Vec<Seen>>>,
    talk: Arc<Mutex<Vec<u8>>>,
    gate: Arc<Gate>,
    readers: Vec<JoinHandle<()>>,
}

/// What a program that has ended left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its output.
    pub lines: Vec<Seen>,
    /// All it wrote to its standard error.
    pub talk: String,
}

impl TailProcess {
    /// Starts `command` with its output and talk collected; standard input is empty unless the command has one.
    pub fn start(command: &mut Command, reading: Reading) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{}", command.get_program().display()))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = (
            stdout.context("no pipe for the output")?,
            stderr.context("no pipe for the talk")?,
        );
        let lines = Arc::new(Mutex::new(Vec::new()));
        let talk = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Gate {
            reading: Mutex::new(reading),
            changed: Condvar::new(),
        });
        let readers = vec![
            std::thread::spawn({
                let (lines, gate) = (Arc::clone(&lines), Arc::clone(&gate));
                move || collect_lines(stdout, &lines, &gate)
            }),
            std::thread::spawn({
                let talk = Arc::clone(&talk);
                move || collect_bytes(stderr, &talk)
            }),
        ];
        Ok(Self {
            child,
            lines,
            talk,
            gate,
            readers,
        })
    }

    /// The process id of the program (or of the shell that becomes it).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes the reader read or stall. What is in the reader's own buffer still counts as read.
    pub fn set_reading(&self, reading: Reading) {
        self.gate.set(reading);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        processes::signal(&[self.pid()], signal)
    }

    /// The memory that it takes.
    pub fn memory(&self) -> Result<Memory> {
        processes::memory(self.pid())
    }

    /// How many lines have come so far.
    pub fn line_count(&self) -> usize {
        lock(&self.lines).len()
    }

    /// Looks at the lines that have come so far.
    pub fn with_lines<T>(&self, look: impl FnOnce(&[Seen]) -> T) -> T {
        look(&lock(&self.lines))
    }

    /// What it has written to its standard error so far.
    pub fn talk(&self) -> String {
        String::from_utf8_lossy(&lock(&self.talk)).into_owned()
    }

    /// Waits until `enough` is true of all the lines so far; `what` says in the failure what was waited for.
    pub fn wait_for_lines(
        &mut self,
        what: &str,
        deadline: Duration,
        mut enough: impl FnMut(&[Seen]) -> bool,
    ) -> Result<()> {
        let lines = Arc::clone(&self.lines);
        self.wait(what, deadline, || enough(&lock(&lines)))
    }

    /// Waits until `enough` is true of all the talk so far.
    pub fn wait_for_talk(
        &mut self,
        what: &str,
        deadline: Duration,
        mut enough: impl FnMut(&str) -> bool,
    ) -> Result<()> {
        let talk = Arc::clone(&self.talk);
        self.wait(what, deadline, || {
            enough(&String::from_utf8_lossy(&lock(&talk)))
        })
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(mut self, deadline: Duration) -> Result<Ended> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.gate.set(Reading::Eager);
                // The pipes end later than the program when something that it has started holds them open.
                if self.readers.iter().all(JoinHandle::is_finished) {
                    let lines = std::mem::take(&mut *lock(&self.lines));
                    return Ok(Ended {
                        status,
                        lines,
                        talk: self.talk(),
                    });
                }
            }
            if start.elapsed() > deadline {
                bail!(
                    "it, or the end of its output, did not come within {deadline:?}{}",
                    self.last_words()
                );
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Ends it as ^C does.
    pub fn interrupt(self, deadline: Duration) -> Result<Ended> {
        self.signal(Signal::Interrupt)?;
        self.wait_for_end(deadline)
    }

    fn wait(
        &mut self,
        what: &str,
        deadline: Duration,
        mut enough: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            // Whether it has ended is asked before looking, so that its last words are looked at.
            let ended = self.child.try_wait()?.is_some()
                && self.readers.iter().all(JoinHandle::is_finished);
            if enough() {
                return Ok(());
            }
            if ended {
                bail!("it ended before {what}{}", self.last_words());
            }
            if start.elapsed() > deadline {
                bail!("{deadline:?} passed without {what}{}", self.last_words());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn last_words(&self) -> String {
        let lines = lock(&self.lines);
        let shown: Vec<u8> = lines[lines.len().saturating_sub(MAX_SHOWN_LINES)..]
            .iter()
            .flat_map(|line| line.bytes.clone())
            .collect();
        let talk = lock(&self.talk);
        let talk = &talk[talk.len().saturating_sub(MAX_SHOWN_TALK_BYTES)..];
        format!(
            "\n--- {} lines of output, the last of them:\n{}--- talk, the end of it:\n{}",
            lines.len(),
            String::from_utf8_lossy(&shown),
            String::from_utf8_lossy(talk)
        )
    }
}

impl Drop for TailProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.gate.set(Reading::Eager);
        // The readers are not waited for: a grandchild may hold the pipes open.
    }
}

/// Holds the reader back while it is to stall.
#[derive(Debug)]
struct Gate {
    reading: Mutex<Reading>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, reading: Reading) {
        *lock(&self.reading) = reading;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let guard = lock(&self.reading);
        drop(
            self.changed
                .wait_while(guard, |reading| *reading == Reading::Stalled),
        );
    }
}

/// Asks the gate before every read.
struct Gated<'a, R> {
    inner: R,
    gate: &'a Gate,
}

impl<R: Read> Read for Gated<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.gate.pass();
        self.inner.read(buffer)
    }
}

fn collect_lines(stdout: impl Read, lines: &Mutex<Vec<Seen>>, gate: &Gate) {
    let mut reader = BufReader::with_capacity(
        READ_BYTES,
        Gated {
            inner: stdout,
            gate,
        },
    );
    loop {
        let mut bytes = Vec::new();
        let result = reader.read_until(b'\n', &mut bytes);
        if !bytes.is_empty() {
            lock(lines).push(Seen {
                at: Instant::now(),
                bytes,
            });
        }
        if !result.is_ok_and(|length| length > 0) {
            return;
        }
    }
}

fn collect_bytes(mut stderr: impl Read, talk: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut chunk) {
        lock(talk).extend_from_slice(&chunk[..length]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A shell cannot trap what was ignored when it started, as ^C is for whatever a script runs in the background.
    fn shell(script: &str) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "sh", "-c", script]);
        command
    }

    #[test]
    fn lines_and_talk_are_collected_and_waited_for() {
        let script = "trap 'printf last; exit 7' INT; echo one; echo two; echo hint >&2; while :; do sleep .05; done";
        let mut process = TailProcess::start(&mut shell(script), Reading::Eager).unwrap();
        process
            .wait_for_lines("two lines", DEADLINE, |lines| lines.len() == 2)
            .unwrap();
        process
            .wait_for_talk("a hint", DEADLINE, |talk| talk == "hint\n")
            .unwrap();
        assert!(process.memory().unwrap().resident_kib > 0);
        let error = process
            .wait_for_lines("a third", Duration::from_millis(50), |lines| {
                lines.len() > 2
            })
            .unwrap_err();
        assert!(
            error.to_string().contains("without a third") && error.to_string().contains("two\n"),
            "{error}"
        );
        let ended = process.interrupt(DEADLINE).unwrap();
        assert_eq!(ended.status.code(), Some(7));
        let lines: Vec<&[u8]> = ended.lines.iter().map(AsRef::as_ref).collect();
        assert_eq!(lines, [b"one\n".as_slice(), b"two\n", b"last"]);
        assert_eq!(ended.talk, "hint\n");
    }

    #[test]
    fn a_stalled_reader_blocks_the_writer_until_it_reads_on() {
        // 200 kB do not fit into a pipe.
        let script = "head -c 200000 /dev/zero | tr '\\0' '\\n'; echo done >&2; exec sleep 100";
        let mut process = TailProcess::start(&mut shell(script), Reading::Stalled).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!((process.line_count(), process.talk().as_str()), (0, ""));
        process.set_reading(Reading::Eager);
        process
            .wait_for_talk("the end", DEADLINE, |talk| talk == "done\n")
            .unwrap();
        process
            .wait_for_lines("all", DEADLINE, |lines| lines.len() == 200_000)
            .unwrap();
        process.signal(Signal::Kill).unwrap();
        assert_eq!(process.wait_for_end(DEADLINE).unwrap().status.code(), None);
    }
}
