//! The course of a statement: to an engine, and its events to an output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, RunError};
use crate::event::{Event, QUEUE_EVENTS, Stats};
use crate::exit::{Exit, Failed};
use crate::output::{Options, Output};
use crate::progress::{Line, Viewer};
use crate::rows::Row;

/// The most rows that are kept of an answer which the program itself looks at.
const MAX_KEPT_ROWS: usize = 100_000;

/// An answer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its rows.
    pub rows: u64,
    /// What it took.
    pub stats: Stats,
}

/// Runs a statement and writes its answer.
pub async fn answer(
    engine: &Engine,
    sql: &str,
    options: Options,
    out: &mut (dyn Write + Send),
    viewer: Viewer,
    stop: &CancellationToken,
) -> Result<Answered, Failed> {
    let mut output = Output::new(out, options);
    let mut line = Line::new(viewer);
    let taken = run(engine, sql, stop, |event| {
        match event {
            Event::Progress(progress) => line.tell(&progress),
            Event::Note(note) => line.say(&note),
            Event::Columns(columns) => output.columns(&columns)?,
            Event::Rows(rows) => {
                line.clear();
                output.rows(rows)?;
            }
        }
        Ok(())
    })
    .await;
    line.clear();
    let stats = taken?;
    let rows = output.finish().map_err(unwritten)?;
    Ok(Answered { rows, stats })
}

/// Runs a statement whose answer the program itself looks at.
pub async fn rows(
    engine: &Engine,
    sql: &str,
    stop: &CancellationToken,
) -> Result<(Vec<Row>, Stats), Failed> {
    let mut kept = Vec::new();
    let stats = run(engine, sql, stop, |event| {
        if let Event::Rows(rows) = event {
            kept.extend(rows);
        }
        if kept.len() > MAX_KEPT_ROWS {
            return Err(io::Error::other(format!("more than {MAX_KEPT_ROWS} rows")));
        }
        Ok(())
    })
    .await?;
    Ok((kept, stats))
}

/// Runs a statement and hands its events on. When one cannot be taken the engine is stopped, so that nothing goes on for nobody.
async fn run(
    engine: &Engine,
    sql: &str,
    stop: &CancellationToken,
    mut take: impl FnMut(Event) -> io::Result<()>,
) -> Result<Stats, Failed> {
    let (sender, mut events) = mpsc::channel(QUEUE_EVENTS);
    // Stopping this statement does not stop what comes after it.
    let stop = stop.child_token();
    let running = engine.run(sql, sender, stop.clone());
    let taking = async {
        let mut taken = Ok(());
        while let Some(event) = events.recv().await {
            if taken.is_ok() {
                taken = take(event);
                if taken.is_err() {
                    stop.cancel();
                }
            }
        }
        taken
    };
    let (ran, taken) = tokio::join!(running, taking);
    taken.map_err(unwritten)?;
    ran.map_err(|error: RunError| error.into())
}

/// What could not be written; a reader who has left is no failure, which `run` knows.
pub fn unwritten(error: io::Error) -> Failed {
    Failed::new(Exit::Failed, error)
}

/// A file that appears once it is whole.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    part: PathBuf,
    writer: BufWriter<File>,
}

impl NewFile {
    /// Begins a file beside the one that it will be.
    pub fn create(path: &Path) -> Result<Self, Failed> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|error| {
            Failed::usage(io::Error::new(
                error.kind(),
                format!("{}: {error}", part.display()),
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            part,
            writer: BufWriter::new(file),
        })
    }

    /// What is written to.
    pub fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut self.writer
    }

    /// Gives it its name.
    pub fn keep(mut self) -> Result<(), Failed> {
        self.writer.flush().map_err(unwritten)?;
        std::fs::rename(&self.part, &self.path).map_err(unwritten)
    }

    /// Takes it away again.
    pub fn drop_part(self) {
        // What is left over does no harm, and there is an error to tell already.
        let _ = std::fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{RunFailure, Scripted, Turn};
    use crate::event::{Progress, State};
    use crate::output::{Fit, Format, Header, Page, Reader};
    use crate::rows::{Column, Kind};

    fn engine(events: Vec<Event>, failure: Option<RunFailure>) -> Engine {
        Engine::Scripted(Scripted::new(vec![Turn {
            expected: "SELECT",
            events,
            failure,
        }]))
    }

    fn some_events(batches: usize) -> Vec<Event> {
        let mut events = vec![
            Event::Progress(Progress {
                state: State::Running,
                bytes_scanned: 1,
                bytes_expected: None,
            }),
            Event::Columns(vec![Column {
                name: "n".to_owned(),
                kind: Kind::BigInt,
            }]),
        ];
        for n in 0..batches {
            events.push(Event::Rows(vec![vec![Some(n.to_string())]]));
        }
        events
    }

    fn csv() -> Options {
        Options {
            format: Format::Csv,
            header: Header::Shown,
            fit: Fit::Cut,
            page: Page {
                columns: None,
                reader: Reader::Program,
            },
            chart: None,
        }
    }

    #[tokio::test]
    async fn events_become_an_answer() {
        let mut out = Vec::new();
        let stop = CancellationToken::new();
        // More than the channel holds.
        let engine = engine(some_events(50), None);
        let answered = answer(&engine, "SELECT 1", csv(), &mut out, Viewer::Nobody, &stop)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(answered.rows, 50);
        assert!(
            String::from_utf8(out)
                .expect("UTF-8")
                .starts_with("n\n0\n1\n2\n")
        );
    }

    #[tokio::test]
    async fn failures_have_their_codes() {
        for (failure, exit) in [
            (RunFailure::Refused, Exit::Failed),
            (RunFailure::Unreachable, Exit::Unreachable),
            (RunFailure::Stopped, Exit::Interrupted),
        ] {
            let mut out = Vec::new();
            let stop = CancellationToken::new();
            let engine = engine(some_events(1), Some(failure));
            let failed = answer(&engine, "SELECT 1", csv(), &mut out, Viewer::Nobody, &stop)
                .await
                .expect_err("it fails");
            assert_eq!(failed.exit, exit);
        }
    }

    /// Takes a few bytes, and then nobody reads any more.
    struct Leaving(usize);

    impl Write for Leaving {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(left) => self.0 = left,
                None => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_engine_stops_when_nobody_reads() {
        let stop = CancellationToken::new();
        let engine = engine(some_events(1000), None);
        let failed = answer(
            &engine,
            "SELECT 1",
            csv(),
            &mut Leaving(10),
            Viewer::Nobody,
            &stop,
        )
        .await
        .expect_err("nobody reads");
        let error = failed
            .error
            .downcast_ref::<io::Error>()
            .expect("an error of writing");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(!stop.is_cancelled(), "only this statement was stopped");
    }

    #[test]
    fn a_file_appears_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("answer.csv");
        let mut file = NewFile::create(&path).expect("a file");
        file.writer().write_all(b"a\n").expect("written");
        assert!(!path.exists());
        file.keep().expect("kept");
        assert_eq!(std::fs::read(&path).expect("a file"), b"a\n");
        NewFile::create(&path).expect("a file").drop_part();
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
    }
}
