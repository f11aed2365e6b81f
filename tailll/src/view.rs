//! The task that shows lines: events in, bytes out.
//!
//! Owns the loop around the merge, the rendering and the output thread, and with it when bytes are handed over: as
//! soon as nothing more may go, or when a chunk is full. While the output is busy no event is taken, so a slow reader
//! slows the followers.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::batch::Event;
use crate::merge::{Anchor, Item, Merger, Order};
use crate::options::Follow;
use crate::output::{Closed, Handle};
use crate::render::{RenderOptions, Renderer};

/// How many bytes are handed to the output at once, about.
pub const CHUNK_BYTES: usize = 128 << 10;

/// The most events that are taken before lines are shown.
pub const EVENTS_A_TURN: usize = 256;

/// How lines are shown.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    /// What they are ordered by.
    pub order: Order,
    /// How they look.
    pub render: RenderOptions,
    /// One moment on both clocks.
    pub anchor: Anchor,
    /// The clock that only goes forward.
    pub now: fn() -> Instant,
    /// Whether sources come and go. Where they do not, those that have ended go on to count in the prefixes: what tells the
    /// first lines apart is to be seen at the last ones too.
    pub follow: Follow,
}

/// Why the view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewEnd {
    /// Nothing more can come, and everything has been handed to the output.
    Shown,
    /// The output takes nothing more.
    OutputEnded,
}

/// Shows what comes until all senders are gone or `stop` is cancelled; then also what is left. A stop does not wait for
/// followers: what they have not sent by then is not shown.
pub async fn run(
    mut events: mpsc::Receiver<Event>,
    options: ViewOptions,
    output: Handle,
    stop: CancellationToken,
) -> ViewEnd {
    let mut view = View {
        merger: Merger::new(options.order, options.anchor),
        renderer: Renderer::new(options.render),
        buffer: output.buffer(),
        output: output.clone(),
        now: options.now,
        follow: options.follow,
    };
    loop {
        let deadline = [view.merger.deadline(), view.renderer.deadline()]
            .into_iter()
            .flatten()
            .min();
        // Each branch can be dropped at any time: nothing is taken from a channel until its branch is chosen.
        tokio::select! {
            biased;
            () = output.closed() => return ViewEnd::OutputEnded,
            () = stop.cancelled(), if !events.is_closed() => events.close(),
            event = events.recv() => match event {
                Some(event) => view.take(event),
                None => break,
            },
            () = until(deadline) => {}
        }
        for _ in 0..EVENTS_A_TURN {
            if view.merger.is_full() {
                break;
            }
            let Ok(event) = events.try_recv() else { break };
            view.take(event);
        }
        if view.show().await.is_err() {
            return ViewEnd::OutputEnded;
        }
    }
    view.merger.drain();
    match view.finish().await {
        Ok(()) => ViewEnd::Shown,
        Err(Closed) => ViewEnd::OutputEnded,
    }
}

struct View {
    merger: Merger,
    renderer: Renderer,
    buffer: Vec<u8>,
    output: Handle,
    now: fn() -> Instant,
    follow: Follow,
}

impl View {
    fn take(&mut self, event: Event) {
        if let Event::Opened(id, source) = &event {
            self.renderer.open(*id, Arc::clone(source));
        }
        self.merger.push(event, (self.now)());
    }

    /// Hands over what may go now.
    async fn show(&mut self) -> Result<(), Closed> {
        let now = (self.now)();
        while let Some(item) = self.merger.pop(now) {
            let talk = match item {
                Item::Lines(run) => {
                    self.renderer.lines(&run, &mut self.buffer);
                    None
                }
                Item::Mark(id, mark) => self.renderer.mark(id, mark, &mut self.buffer),
                Item::Late(late) => self.renderer.late(&late, &mut self.buffer),
                Item::Closed(id) => {
                    self.renderer.counted(id, &mut self.buffer);
                    if self.follow == Follow::Follow {
                        self.renderer.close(id);
                    }
                    None
                }
            };
            if talk.is_some() || self.buffer.len() >= CHUNK_BYTES {
                self.flush().await?;
            }
            if let Some(talk) = talk {
                self.output.talk(talk).await?;
            }
        }
        self.renderer.say_due(now, &mut self.buffer);
        self.flush().await
    }

    /// Hands over everything that is left.
    async fn finish(&mut self) -> Result<(), Closed> {
        self.show().await?;
        self.renderer.finish(&mut self.buffer);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = self.output.buffer();
        if buffer.capacity() == 0 {
            buffer.reserve(CHUNK_BYTES + CHUNK_BYTES / 2);
        }
        self.output
            .data(std::mem::replace(&mut self.buffer, buffer))
            .await
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Age, Batch, Line, LineKind, Mark, Records};
    use crate::color::{Colors, StreamKind};
    use crate::highlight::Highlight;
    use crate::output::{self, Ended, OutputOptions, STATUS_EVERY};
    use crate::render::{Format, Looks};
    use crate::source::{FileLabel, InstanceLabel, Source, SourceId};
    use std::io::{self, ErrorKind, Write};
    use std::sync::Mutex;
    use std::time::Duration;

    const START_NS: i64 = 1_700_000_000_000_000_000;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn opened(id: u32) -> Event {
        let instance = InstanceLabel {
            job: "job".into(),
            key: None,
            instance: Some(id),
            host: "h".into(),
            task_id: None,
        };
        let file = FileLabel::Plain {
            path: "/log".into(),
        };
        Event::Opened(
            SourceId(id),
            Arc::new(Source {
                instance: Arc::new(instance),
                file,
                path: b"/log".to_vec(),
            }),
        )
    }

    fn lines(id: u32, texts: &[(i64, &str)]) -> Event {
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        for (ms, text) in texts {
            lines.push(Line {
                start: bytes.len() as u32,
                len: text.len() as u32,
                offset: 0,
                file_len: text.len() as u32 + 1,
                order_ns: START_NS + ms * 1_000_000,
                ts_ns: None,
                level: None,
                kind: LineKind::Whole,
                age: Age::Live,
            });
            bytes.extend_from_slice(text.as_bytes());
        }
        Event::Lines(Batch {
            source: SourceId(id),
            arrived: Instant::now(),
            bytes,
            lines,
        })
    }

    fn options(order: Order, format: Format) -> ViewOptions {
        ViewOptions {
            order,
            render: RenderOptions {
                format,
                colors: Colors::Off,
                stream: StreamKind::Pipe,
                highlight: Highlight::default(),
                looks: Looks::default(),
                records: Records::OnArrival,
            },
            anchor: Anchor {
                instant: Instant::now(),
                wall_ns: START_NS,
            },
            now: Instant::now,
            follow: Follow::Follow,
        }
    }

    fn pipes() -> OutputOptions {
        OutputOptions {
            stdout: StreamKind::Pipe,
            stderr: StreamKind::Pipe,
            columns: || 80,
            status_every: STATUS_EVERY,
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn shows_everything_and_ends_with_its_senders() {
        block_on(async {
            let (stdout, stderr) = (Sink::default(), Sink::default());
            let (handle, running) = output::start(stdout.clone(), stderr.clone(), pipes()).unwrap();
            let (sender, events) = mpsc::channel(4);
            let view = tokio::spawn(run(
                events,
                options(Order::Time, Format::Default),
                handle,
                CancellationToken::new(),
            ));
            for event in [
                opened(0),
                opened(1),
                Event::CaughtUp(SourceId(0)),
                Event::CaughtUp(SourceId(1)),
                lines(1, &[(5, "b"), (7, "d")]),
                lines(0, &[(4, "a"), (6, "c")]),
                Event::Mark(SourceId(0), Mark::Note("a note".into())),
                Event::Closed(SourceId(0)),
            ] {
                sender.send(event).await.unwrap();
            }
            drop(sender);
            assert_eq!(view.await.unwrap(), ViewEnd::Shown);
            assert_eq!(running.wait().await.unwrap(), Ended::Finished);
            assert_eq!(
                stdout.text(),
                "job/0 | a\njob/1 | b\njob/0 | c\njob/0 ~ a note\njob/1 | d\n"
            );
            assert_eq!(stderr.text(), "");
        });
    }

    #[test]
    fn a_line_is_shown_when_its_window_is_over() {
        block_on(async {
            let stdout = Sink::default();
            let (handle, _running) = output::start(stdout.clone(), io::sink(), pipes()).unwrap();
            let (sender, events) = mpsc::channel(4);
            let view = tokio::spawn(run(
                events,
                options(Order::Time, Format::Raw),
                handle,
                CancellationToken::new(),
            ));
            for event in [
                opened(0),
                opened(1),
                Event::CaughtUp(SourceId(0)),
                Event::CaughtUp(SourceId(1)),
                lines(0, &[(1, "x")]),
            ] {
                sender.send(event).await.unwrap();
            }
            let started = Instant::now();
            while stdout.text() != "x\n" {
                assert!(started.elapsed() < Duration::from_secs(5));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(sender);
            assert_eq!(view.await.unwrap(), ViewEnd::Shown);
        });
    }

    #[test]
    fn a_stop_shows_what_was_sent() {
        block_on(async {
            let (stdout, stderr) = (Sink::default(), Sink::default());
            let (handle, running) = output::start(stdout.clone(), stderr.clone(), pipes()).unwrap();
            let (sender, events) = mpsc::channel(64);
            let stop = CancellationToken::new();
            for n in 0..50 {
                sender
                    .send(lines(0, &[(n, &format!("line {n}"))]))
                    .await
                    .unwrap();
            }
            sender
                .send(Event::Mark(SourceId(0), Mark::Note("noted".into())))
                .await
                .unwrap();
            stop.cancel();
            assert_eq!(
                run(events, options(Order::Time, Format::Raw), handle, stop).await,
                ViewEnd::Shown
            );
            assert!(sender.send(opened(1)).await.is_err());
            running.wait().await.unwrap();
            let wanted: Vec<String> = (0..50).map(|n| format!("line {n}\n")).collect();
            assert_eq!(stdout.text(), wanted.concat());
            assert_eq!(stderr.text(), "?: noted\n");
        });
    }

    #[test]
    fn a_closed_pipe_ends_it() {
        block_on(async {
            let (handle, running) = output::start(Broken, io::sink(), pipes()).unwrap();
            let (sender, events) = mpsc::channel(4);
            let view = tokio::spawn(run(
                events,
                options(Order::Arrival, Format::Raw),
                handle,
                CancellationToken::new(),
            ));
            sender.send(lines(0, &[(1, "x")])).await.unwrap();
            assert_eq!(view.await.unwrap(), ViewEnd::OutputEnded);
            assert_eq!(running.wait().await.unwrap(), Ended::ClosedPipe);
            assert!(sender.is_closed());
        });
    }
}
