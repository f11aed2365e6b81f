//! Standard input as a source: a saved file, or what another program writes.
//!
//! Owns the thread that reads it. Lines go the same way as those of followed files, filters and rendering included; nothing
//! is waited for, and nothing is put in another order.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::assemble::{Assembler, LineSettings};
use crate::batch::{Age, Batch, Event};
use crate::clock::Clock;
use crate::source::{FileLabel, InstanceLabel, Source, SourceId};

/// Bytes that are read at once, at most.
const READ_BYTES: usize = 256 * 1024;

/// Batches that may wait to be shown.
pub const BATCHES_QUEUED: usize = 8;

/// How long to wait before reading again from an input that others have made non-blocking.
const WOULD_BLOCK_DELAY: Duration = Duration::from_millis(5);

/// What standard input is called.
const NAME: &str = "stdin";

/// Why not all of standard input was shown.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It gave an error.
    #[error("cannot read standard input")]
    Read(#[source] io::Error),
    /// The thread that reads it is gone.
    #[error("the reader of standard input failed, which is a bug")]
    Thread(#[source] tokio::task::JoinError),
}

/// Shows standard input to its end, or until nobody takes the events any more.
pub async fn run(
    events: mpsc::Sender<Event>,
    lines: LineSettings,
    clock: Clock,
) -> Result<(), ReplayError> {
    // Reading may block for ever; the program does not wait for this thread when it ends.
    tokio::task::spawn_blocking(move || replay(io::stdin().lock(), &events, &lines, clock))
        .await
        .map_err(ReplayError::Thread)?
        .map_err(ReplayError::Read)
}

fn replay(
    mut input: impl Read,
    events: &mpsc::Sender<Event>,
    lines: &LineSettings,
    clock: Clock,
) -> io::Result<()> {
    let id = SourceId(0);
    let source = Source {
        instance: Arc::new(InstanceLabel {
            job: NAME.to_owned(),
            key: None,
            instance: None,
            host: NAME.to_owned(),
            task_id: None,
        }),
        file: FileLabel::Plain {
            path: NAME.to_owned(),
        },
        path: b"-".to_vec(),
    };
    let mut assembler = Assembler::new(id, 0, lines, clock.arrival()).of(&source);
    // An error means that the view has ended, and with it the reason to read.
    let send = |event| events.blocking_send(event).is_ok();
    let send_lines = |batch: Batch| batch.lines.is_empty() || send(Event::Lines(batch));
    if !send(Event::Opened(id, Arc::new(source))) || !send(Event::CaughtUp(id)) {
        return Ok(());
    }
    let mut buffer = vec![0; READ_BYTES];
    let ended = loop {
        match input.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                let batch = assembler.push(&buffer[..length], clock.arrival(), Age::History);
                if !send_lines(batch) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(WOULD_BLOCK_DELAY);
            }
            Err(error) => break Err(error),
        }
    };
    let _ = send_lines(assembler.finish(clock.arrival(), Age::History)) && send(Event::Closed(id));
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Records;
    use crate::filter::Filter;
    use jiff::tz::TimeZone;

    /// Gives its parts one by one, an error between them, and another at the end.
    struct Parts(Vec<&'static [u8]>, ErrorKind);

    impl Read for Parts {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop() {
                Some(b"") => Err(ErrorKind::Interrupted.into()),
                Some(part) => {
                    buffer[..part.len()].copy_from_slice(part);
                    Ok(part.len())
                }
                None => Err(self.1.into()),
            }
        }
    }

    #[test]
    fn lines_come_whole_whatever_the_parts() {
        let (sender, mut events) = mpsc::channel(64);
        let lines = LineSettings {
            filter: Arc::new(Filter::new(&[], &["no".to_owned()]).unwrap()),
            zone: TimeZone::UTC,
            records: Records::OnArrival,
        };
        let input = Parts(
            vec![b"three", b"", b"o\nno\n", b"one\ntw"],
            ErrorKind::Other,
        );
        let error = replay(input, &sender, &lines, Clock::start()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        drop(sender);
        let mut shown = Vec::new();
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Opened(_, source) => shown.push(source.instance.name()),
                Event::Lines(batch) => {
                    for line in &batch.lines {
                        let text = &batch.bytes[line.start as usize..][..line.len as usize];
                        shown.push(format!("{} {:?}", String::from_utf8_lossy(text), line.kind));
                    }
                }
                Event::CaughtUp(_) | Event::Past(_) | Event::PastOver => {}
                Event::Mark(..) => panic!("there is no mark"),
                Event::Closed(_) => shown.push("closed".to_owned()),
            }
        }
        assert_eq!(
            shown,
            [
                "stdin",
                "one Whole",
                "two Whole",
                "three Unfinished",
                "closed"
            ]
        );
    }

    #[test]
    fn it_ends_when_nobody_listens() {
        let (sender, events) = mpsc::channel(1);
        drop(events);
        let lines = LineSettings {
            filter: Arc::new(Filter::new(&[], &[]).unwrap()),
            zone: TimeZone::UTC,
            records: Records::OnArrival,
        };
        assert!(replay(io::repeat(b'\n'), &sender, &lines, Clock::start()).is_ok());
    }
}
