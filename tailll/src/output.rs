//! The thread that writes to standard output and standard error.
//!
//! Owns both streams, the order of what is written to them, and the status line. What is written is made elsewhere:
//! lines by `render.rs`, the words of the status line by `status.rs`. Nothing else in the program writes to standard
//! output.
//!
//! A thread and not a task, since writing to a slow reader blocks. Its queue is bounded, so a slow reader slows those
//! who send.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::color::StreamKind;
use crate::escape;
use crate::exit::Exit;
use crate::lock::lock;

/// The most items that wait to be written.
pub const QUEUE_ITEMS: usize = 16;

/// The most buffers that are kept for reuse.
const SPARE_BUFFERS: usize = QUEUE_ITEMS + 2;

/// The biggest buffer in bytes that is kept for reuse.
const SPARE_BYTES: usize = 1 << 20;

/// How often the status is written at most where it cannot be a line that stays.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How long to wait before writing again to a stream that others have made non-blocking. There is no limit on how
/// often: a reader may take as long as it likes.
const WOULD_BLOCK_DELAY: Duration = Duration::from_millis(5);

/// The columns of a terminal that does not say how many it has.
const DEFAULT_COLUMNS: usize = 80;

/// Lines for standard error that are kept while somebody is asked; further ones are dropped.
const HELD_LINES: usize = 1_000;

const ERASE_LINE: &[u8] = b"\r\x1b[2K";

/// What the streams are.
#[derive(Debug, Clone, Copy)]
pub struct OutputOptions {
    /// Standard output.
    pub stdout: StreamKind,
    /// Standard error.
    pub stderr: StreamKind,
    /// How many columns the terminal has now.
    pub columns: fn() -> usize,
    /// [`STATUS_EVERY`], unless a test is in a hurry.
    pub status_every: Duration,
}

/// How the thread ended, if not by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All handles are gone and everything was written.
    Finished,
    /// Nobody reads standard output any more (`| head`). That is success.
    ClosedPipe,
}

/// Why not everything was written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output took no more: a full disk, most times.
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// The thread could not be started.
    #[error("cannot start the thread for output")]
    Start(#[source] io::Error),
    /// The thread is gone without saying why.
    #[error("the thread for output stopped unexpectedly")]
    Gone,
}

/// Nothing is written any more; [`Running::wait`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("output has ended")]
pub struct Closed;

/// What the thread is sent.
#[derive(Debug)]
enum Item {
    Data(Vec<u8>),
    Talk(String),
    Status(Option<String>),
    /// Somebody is asked on the terminal: write nothing there until the other side is gone.
    Pause {
        paused: oneshot::Sender<()>,
        resume: oneshot::Receiver<()>,
    },
}

/// Nothing is written to the terminal while it lives.
#[derive(Debug)]
pub struct Pause {
    /// Only dropped.
    _resume: oneshot::Sender<()>,
}

/// Keeps the output from the terminal for a while; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pauser(mpsc::WeakSender<Item>);

impl Pauser {
    /// Takes the status line away and writes nothing more to the terminal until the value is dropped. Where standard output
    /// is no terminal, data goes on; what is said meanwhile is said later.
    ///
    /// # Errors
    /// When the output has ended.
    pub async fn pause(&self) -> Result<Pause, Closed> {
        let (paused, is_paused) = oneshot::channel();
        let (pause, resume) = oneshot::channel();
        let sender = self.0.upgrade().ok_or(Closed)?;
        sender
            .send(Item::Pause { paused, resume })
            .await
            .map_err(|_| Closed)?;
        is_paused.await.map_err(|_| Closed)?;
        Ok(Pause { _resume: pause })
    }
}

/// Sends to the thread.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: mpsc::Sender<Item>,
    /// Buffers go back this way; it is held only to push or to pop.
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// The running thread.
#[derive(Debug)]
pub struct Running {
    end: oneshot::Receiver<Result<Ended, OutputError>>,
}

/// Starts the thread, for example with the streams of the process.
pub fn start<O, E>(
    stdout: O,
    stderr: E,
    options: OutputOptions,
) -> Result<(Handle, Running), OutputError>
where
    O: Write + Send + 'static,
    E: Write + Send + 'static,
{
    let (sender, items) = mpsc::channel(QUEUE_ITEMS);
    let (end_sender, end) = oneshot::channel();
    let spare = Arc::new(Mutex::new(Vec::new()));
    // A runtime of its own, because only that waits for an item and for a moment at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(OutputError::Start)?;
    let writer = Writer {
        stdout,
        stderr,
        options,
        status: None,
        drawn: Drawn::Nothing,
        written: None,
        spare: Arc::clone(&spare),
    };
    thread::Builder::new()
        .name("output".to_string())
        .spawn(move || {
            let result = runtime.block_on(writer.run(items));
            // Nobody may be waiting.
            let _ = end_sender.send(result);
        })
        .map_err(OutputError::Start)?;
    Ok((Handle { sender, spare }, Running { end }))
}

/// Starts the thread with the streams of the process.
pub fn start_process(options: OutputOptions) -> Result<(Handle, Running), OutputError> {
    start(io::stdout(), io::stderr(), options)
}

/// Writes a text that is ready, where nothing is followed. A reader that has left is no error.
///
/// # Errors
/// When standard output takes no more.
pub fn print(text: &[u8]) -> Result<Exit, OutputError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OutputError::Write(error)),
        Ok(()) | Err(_) => Ok(Exit::Success),
    }
}

/// The columns of the terminal now.
pub fn terminal_columns() -> usize {
    match crossterm::terminal::size() {
        Ok((columns @ 1.., _)) => usize::from(columns),
        // A terminal that somebody else drives may have no size.
        Ok(_) | Err(_) => DEFAULT_COLUMNS,
    }
}

/// Waits until nobody can read standard output any more, which is seen without writing to it. Waits for ever where that
/// cannot be seen, as with a file.
pub async fn reader_left() {
    if let Ok(pipe) = stdout_pipe()
        && pipe.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Standard output to wait on, if it is a pipe. It stays in blocking mode, since it is not written to by this.
fn stdout_pipe() -> io::Result<pipe::Sender> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if !file.metadata()?.file_type().is_fifo() {
        return Err(ErrorKind::Unsupported.into());
    }
    pipe::Sender::from_file_unchecked(file)
}

impl Handle {
    /// Writes bytes to standard output: whole lines, as they are.
    pub async fn data(&self, bytes: Vec<u8>) -> Result<(), Closed> {
        self.send(Item::Data(bytes)).await
    }

    /// Writes one line to standard error, made harmless.
    pub async fn talk(&self, line: impl Into<String>) -> Result<(), Closed> {
        self.send(Item::Talk(line.into())).await
    }

    /// Replaces the status line.
    pub async fn status(&self, line: Option<String>) -> Result<(), Closed> {
        self.send(Item::Status(line)).await
    }

    /// For who asks people. It does not keep the output from ending.
    pub fn pauser(&self) -> Pauser {
        Pauser(self.sender.downgrade())
    }

    /// Waits until nothing is written any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// An empty buffer, maybe one that has been used for [`Handle::data`] before.
    pub fn buffer(&self) -> Vec<u8> {
        lock(&self.spare).pop().unwrap_or_default()
    }

    async fn send(&self, item: Item) -> Result<(), Closed> {
        self.sender.send(item).await.map_err(|_| Closed)
    }
}

impl Running {
    /// Waits until all handles are gone and everything is written, or until nothing can be written any more.
    pub async fn wait(self) -> Result<Ended, OutputError> {
        self.end.await.unwrap_or(Err(OutputError::Gone))
    }
}

/// What the thread owns.
struct Writer<O, E> {
    stdout: O,
    stderr: E,
    options: OutputOptions,
    status: Option<String>,
    drawn: Drawn,
    /// When a status was last written as a line of its own.
    written: Option<Instant>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What standard error shows of the status.
#[derive(Debug, PartialEq, Eq)]
enum Drawn {
    Nothing,
    /// This stands in the terminal's last line.
    LastLine(String),
    /// This was written as a line of its own.
    Line(String),
}

impl<O: Write, E: Write> Writer<O, E> {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Result<Ended, OutputError> {
        loop {
            let item = match self.status_due() {
                None => items.recv().await,
                Some(due) => {
                    let Ok(item) = tokio::time::timeout_at(due, items.recv()).await else {
                        self.show_status();
                        continue;
                    };
                    item
                }
            };
            let Some(item) = item else { break };
            let mut result = self.take(item, &mut items).await;
            // What is there already comes first, so that the status line does not flicker.
            for _ in 0..QUEUE_ITEMS {
                let (Ok(()), Ok(item)) = (&result, items.try_recv()) else {
                    break;
                };
                result = self.take(item, &mut items).await;
            }
            if let Err(error) = result {
                self.erase();
                return match error.kind() {
                    ErrorKind::BrokenPipe => Ok(Ended::ClosedPipe),
                    _ => Err(OutputError::Write(error)),
                };
            }
            if self.status_due().is_none_or(|due| due <= Instant::now()) {
                self.show_status();
            }
        }
        match self.drawn {
            Drawn::LastLine(_) => self.erase(),
            Drawn::Nothing | Drawn::Line(_) => self.show_status(),
        }
        Ok(Ended::Finished)
    }

    async fn take(&mut self, item: Item, items: &mut mpsc::Receiver<Item>) -> io::Result<()> {
        match item {
            Item::Data(bytes) => {
                self.erase();
                write_patiently(&mut self.stdout, &bytes)?;
                self.give_back(bytes);
            }
            Item::Talk(line) => {
                self.erase();
                self.say(&line);
            }
            Item::Status(status) => self.status = status,
            Item::Pause { paused, resume } => {
                self.erase();
                // Whoever asked for it may have gone, which ends the pause too.
                let _ = paused.send(());
                return self.wait_while_paused(resume, items).await;
            }
        }
        Ok(())
    }

    async fn wait_while_paused(
        &mut self,
        mut resume: oneshot::Receiver<()>,
        items: &mut mpsc::Receiver<Item>,
    ) -> io::Result<()> {
        if self.options.stdout == StreamKind::Terminal {
            // Those who send wait as for a slow reader.
            let _ = resume.await;
            return Ok(());
        }
        let mut held = Vec::new();
        let result = loop {
            let item = tokio::select! {
                _ = &mut resume => break Ok(()),
                item = items.recv() => item,
            };
            match item {
                Some(Item::Data(bytes)) => {
                    if let Err(error) = write_patiently(&mut self.stdout, &bytes) {
                        break Err(error);
                    }
                    self.give_back(bytes);
                }
                Some(Item::Talk(line)) if held.len() < HELD_LINES => held.push(line),
                Some(Item::Talk(_)) => {}
                Some(Item::Status(status)) => self.status = status,
                // The one who asks next gets the terminal at once.
                Some(Item::Pause {
                    paused,
                    resume: next,
                }) => {
                    let _ = paused.send(());
                    resume = next;
                }
                None => break Ok(()),
            }
        };
        for line in held {
            self.say(&line);
        }
        result
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() > SPARE_BYTES {
            return;
        }
        buffer.clear();
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE_BUFFERS {
            spare.push(buffer);
        }
    }

    /// Whether the status can be a line that stays below everything else. Not if standard output is a pipe: whoever
    /// reads it may write to the same terminal, into our line.
    fn keeps_last_line(&self) -> bool {
        self.options.stdout == StreamKind::Terminal && self.options.stderr == StreamKind::Terminal
    }

    /// When the status is to be written as a line of its own, if it has changed since.
    fn status_due(&self) -> Option<Instant> {
        let status = self.status.as_ref()?;
        if self.keeps_last_line() || self.drawn == Drawn::Line(status.clone()) {
            return None;
        }
        self.written
            .map(|written| written + self.options.status_every)
    }

    fn show_status(&mut self) {
        if self.keeps_last_line() {
            let room = (self.options.columns)().saturating_sub(1);
            let line = self
                .status
                .as_ref()
                .map(|status| cut(&escape::text(status), room));
            let drawn = line.map_or(Drawn::Nothing, Drawn::LastLine);
            if drawn != self.drawn {
                self.erase();
                if let Drawn::LastLine(line) = &drawn {
                    self.write_stderr(line.as_bytes());
                }
                self.drawn = drawn;
            }
        } else if let Some(status) = self.status.clone() {
            let drawn = Drawn::Line(status.clone());
            if drawn != self.drawn {
                self.say(&status);
                self.drawn = drawn;
                self.written = Some(Instant::now());
            }
        }
    }

    /// Takes the status out of the terminal's last line.
    fn erase(&mut self) {
        if matches!(self.drawn, Drawn::LastLine(_)) {
            self.write_stderr(ERASE_LINE);
            self.drawn = Drawn::Nothing;
        }
    }

    fn say(&mut self, line: &str) {
        let mut text = escape::text(line);
        text.push('\n');
        self.write_stderr(text.as_bytes());
    }

    /// Where standard error takes nothing there is nowhere to complain, and the data goes on.
    fn write_stderr(&mut self, bytes: &[u8]) {
        let _ = write_patiently(&mut self.stderr, bytes);
    }
}

/// Writes all of it, also to a stream that somebody has made non-blocking, and flushes.
fn write_patiently(to: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_DELAY),
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(WOULD_BLOCK_DELAY),
            result => return result,
        }
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_string();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    let _ = write!(short, "\u{2026}");
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both streams as one text: what was written, in order.
    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone())
                .unwrap()
                .replace('\x1b', "ESC")
                .replace('\r', "CR")
        }
    }

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes some bytes at a time, is not ready now and then, and fails in the end.
    struct Failing {
        screen: Screen,
        errors: Vec<ErrorKind>,
        end: ErrorKind,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.errors.pop() {
                return Err(kind.into());
            }
            if bytes.starts_with(b"end") {
                return Err(self.end.into());
            }
            self.screen.write(&bytes[..bytes.len().min(3)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn options(stdout: StreamKind, stderr: StreamKind) -> OutputOptions {
        OutputOptions {
            stdout,
            stderr,
            columns: || 20,
            status_every: Duration::from_millis(40),
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    /// Waits until everything sent was shown.
    async fn settle(screen: &Screen, wanted_end: &str) {
        for _ in 0..2_000 {
            if screen.text().ends_with(wanted_end) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("{:?} does not end in {wanted_end:?}", screen.text());
    }

    #[test]
    fn the_status_stays_below_on_a_terminal() {
        runtime().block_on(async {
            let screen = Screen::default();
            let streams = options(StreamKind::Terminal, StreamKind::Terminal);
            let (handle, running) = start(screen.clone(), screen.clone(), streams).unwrap();
            handle.status(Some("connected 1/2".into())).await.unwrap();
            settle(&screen, "connected 1/2").await;
            handle.data(b"line\n".to_vec()).await.unwrap();
            settle(&screen, "line\nconnected 1/2").await;
            handle.talk("gone: \x1b[2J").await.unwrap();
            settle(&screen, "2J\nconnected 1/2").await;
            handle
                .status(Some("connected 2/2, and everything is well".into()))
                .await
                .unwrap();
            settle(&screen, "everything".get(..0).unwrap()).await;
            settle(&screen, "\u{2026}").await;
            handle.status(None).await.unwrap();
            settle(&screen, "[2K").await;
            handle.status(Some("again".into())).await.unwrap();
            settle(&screen, "again").await;
            drop(handle);
            assert_eq!(running.wait().await.unwrap(), Ended::Finished);
            insta::assert_snapshot!(screen.text(), @r"
            connected 1/2CRESC[2Kline
            connected 1/2CRESC[2Kgone: \x1b[2J
            connected 1/2CRESC[2Kconnected 2/2, and…CRESC[2KagainCRESC[2K
            ");
        });
    }

    #[test]
    fn the_status_is_said_once_a_while_elsewhere() {
        for (stdout, stderr) in [
            (StreamKind::Pipe, StreamKind::Pipe),
            (StreamKind::Pipe, StreamKind::Terminal),
        ] {
            runtime().block_on(async {
                let screen = Screen::default();
                let (handle, running) =
                    start(screen.clone(), screen.clone(), options(stdout, stderr)).unwrap();
                handle.status(Some("1".into())).await.unwrap();
                settle(&screen, "1\n").await;
                for status in ["2", "3", "4"] {
                    handle.status(Some(status.into())).await.unwrap();
                }
                handle.data(b"data\n".to_vec()).await.unwrap();
                settle(&screen, "4\n").await;
                handle.status(Some("4".into())).await.unwrap();
                handle.status(Some("5".into())).await.unwrap();
                drop(handle);
                assert_eq!(running.wait().await.unwrap(), Ended::Finished);
                let text = screen.text();
                assert!(!text.contains("ESC"), "{text}");
                assert!(
                    text.starts_with("1\n") && text.ends_with("4\n5\n"),
                    "{text}"
                );
                assert_eq!(text.matches("4\n").count(), 1, "{text}");
            });
        }
    }

    #[test]
    fn a_closed_pipe_is_an_end_and_a_full_disk_an_error() {
        for (end, wanted) in [
            (ErrorKind::BrokenPipe, "Ok(ClosedPipe)"),
            (ErrorKind::StorageFull, "Err(Write(Kind(StorageFull)))"),
        ] {
            runtime().block_on(async {
                let screen = Screen::default();
                let errors = vec![ErrorKind::WouldBlock, ErrorKind::Interrupted];
                let failing = Failing {
                    screen: screen.clone(),
                    errors,
                    end,
                };
                let pipes = options(StreamKind::Pipe, StreamKind::Pipe);
                let (handle, running) = start(failing, io::sink(), pipes).unwrap();
                handle.data(b"some lines\n".to_vec()).await.unwrap();
                handle.data(b"end".to_vec()).await.unwrap();
                handle.closed().await;
                assert_eq!(handle.data(b"more".to_vec()).await, Err(Closed));
                assert_eq!(format!("{:?}", running.wait().await), wanted);
                assert_eq!(screen.text(), "some lines\n");
            });
        }
    }

    #[test]
    fn nothing_is_written_to_the_terminal_while_somebody_is_asked() {
        for stdout in [StreamKind::Terminal, StreamKind::Pipe] {
            runtime().block_on(async {
                let (shown, said) = (Screen::default(), Screen::default());
                let streams = options(stdout, StreamKind::Terminal);
                let (handle, running) = start(shown.clone(), said.clone(), streams).unwrap();
                handle.status(Some("connected 1/2".into())).await.unwrap();
                settle(
                    &said,
                    "connected 1/2"
                        .get(..usize::from(stdout == StreamKind::Terminal) * 13)
                        .unwrap(),
                )
                .await;
                let pause = handle.pauser().pause().await.unwrap();
                let before = said.text();
                handle.talk("gone").await.unwrap();
                handle.status(Some("connected 2/2".into())).await.unwrap();
                handle.data(b"line\n".to_vec()).await.unwrap();
                if stdout == StreamKind::Pipe {
                    settle(&shown, "line\n").await;
                } else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    assert_eq!(shown.text(), "");
                }
                assert_eq!(said.text(), before);
                drop(pause);
                settle(&shown, "line\n").await;
                drop(handle);
                assert_eq!(running.wait().await.unwrap(), Ended::Finished);
                assert!(said.text().contains("gone\n"), "{}", said.text());
            });
        }
    }

    #[test]
    fn a_broken_standard_error_stops_nothing() {
        runtime().block_on(async {
            let screen = Screen::default();
            let failing = Failing {
                screen: Screen::default(),
                errors: vec![ErrorKind::BrokenPipe; 9],
                end: ErrorKind::BrokenPipe,
            };
            let (handle, running) = start(
                screen.clone(),
                failing,
                options(StreamKind::Pipe, StreamKind::Pipe),
            )
            .unwrap();
            handle.talk("x").await.unwrap();
            handle.data(b"data\n".to_vec()).await.unwrap();
            drop(handle);
            assert_eq!(running.wait().await.unwrap(), Ended::Finished);
            assert_eq!(screen.text(), "data\n");
        });
    }

    #[test]
    fn buffers_come_back() {
        runtime().block_on(async {
            let (handle, running) = start(
                io::sink(),
                io::sink(),
                options(StreamKind::Pipe, StreamKind::Pipe),
            )
            .unwrap();
            let mut big = Vec::with_capacity(4_096);
            big.push(b'x');
            handle.data(big).await.unwrap();
            let spare = Arc::clone(&handle.spare);
            drop(handle);
            running.wait().await.unwrap();
            let spare = spare.lock().unwrap();
            assert_eq!(spare.iter().map(Vec::capacity).collect::<Vec<_>>(), [4_096]);
            assert!(spare[0].is_empty());
        });
    }
}
