//! One file, read exactly: every byte once, whatever happens to the connection, the name and the file.
//!
//! A reader knows its file by [`FileId`] and counts its bytes. After a break it finds the file again under whatever name it has
//! now, reads the bytes before its offset once more and compares them, and only then goes on. Which files are read, and when one
//! is done with, is [`crate::tracker`]'s business; where bytes come from is [`crate::transport`]'s.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use archive::Flags;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::assemble::{ArchivedLine, Arrival, Assembler, LineSettings, RowAssembler};
use crate::batch::{Age, Batch, Event, Mark};
use crate::chain::{ChainKey, Layout, Link};
use crate::clock::Clock;
use crate::earlier::{self, Earlier, EarlierRow, LogOf, Reach};
use crate::moment;
use crate::past::{BATCH_BYTES, kind_of};
use crate::seams::{Candidates, LogKey, OfTask, Place, Rest, Seams};
use crate::seek::{Found, Search, Step, WINDOW_BYTES};
use crate::source::{InstanceLabel, Source, SourceId};
use crate::tracker::{Begin, Hold, Progress};
use crate::transport::{
    ByteStream, Chunk, End, FileId, Header, Identity, OpenError, Start, Transport, Until,
};

/// Bytes before the offset that are read again and compared at every resume.
const VERIFIED_BYTES: usize = 64;

/// Bytes of lines that are held back for an older file; at more, the file is closed and opened again later at its offset.
const HELD_BYTES: usize = 256 * 1024;

/// The first guess of how many bytes the history takes; each further one is eight times it.
const HISTORY_WINDOW_BYTES: u64 = 64 * 1024;

/// Bytes of history of one file that are looked through from its end, at most.
const HISTORY_BYTES: u64 = 256 * 1024 * 1024;

/// Pauses after failures that may pass.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How often in a row a file may fail to open before it is said.
const RETRIES_UNSAID: u32 = 3;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How often in a row a file may not be found for it to count as gone.
const LOOKS: u32 = 3;

/// How much history to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// This many lines a log.
    Lines(u64),
    /// All there is.
    All,
}

/// What all readers share.
#[derive(Debug, Clone)]
pub struct Sink {
    /// Where lines go.
    pub events: mpsc::Sender<Event>,
    /// Numbers the sources.
    pub sources: Arc<AtomicU32>,
    /// How lines are read.
    pub lines: LineSettings,
    /// The time.
    pub clock: Clock,
    /// Where what the archive has of the files ends.
    pub seams: Arc<Seams>,
    /// What has lines before those of the files, where a number of them is asked for.
    pub earlier: Option<Arc<Earlier>>,
}

impl Sink {
    async fn send(&self, event: Event) -> Result<(), Done> {
        // The view is gone: the program is ending.
        self.events
            .send(event)
            .await
            .map_err(|_| Done(Outcome::Stopped))
    }

    async fn batch(&self, batch: Batch) -> Result<(), Done> {
        if batch.lines.is_empty() {
            Ok(())
        } else {
            self.send(Event::Lines(batch)).await
        }
    }

    async fn open_source(&self, label: &Arc<InstanceLabel>, link: &Link) -> Result<SourceId, Done> {
        self.open(Arc::new(source_of(label, link))).await
    }

    async fn open(&self, source: Arc<Source>) -> Result<SourceId, Done> {
        let id = SourceId(self.sources.fetch_add(1, Ordering::Relaxed));
        self.send(Event::Opened(id, source)).await?;
        Ok(id)
    }

    /// Sends the archive's last rows of a file.
    async fn rest(&self, id: SourceId, rest: Vec<Rest>) -> Result<(), Done> {
        for part in rest {
            match part {
                Rest::Lines(batch) => {
                    self.batch(Batch {
                        source: id,
                        ..batch
                    })
                    .await?;
                }
                Rest::Mark(mark) => self.send(Event::Mark(id, mark)).await?,
                Rest::Unfinished(_) => {}
            }
        }
        Ok(())
    }

    /// Sends rows of one file of the archive, as a source of its own.
    async fn archived(&self, label: &InstanceLabel, rows: &[EarlierRow]) -> Result<(), Done> {
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let source = earlier::source_of(&first.row.origin, label);
        let arrival = self.arrival();
        let mut assembler = RowAssembler::new(&source, &self.lines, arrival);
        let id = self.open(source).await?;
        let mut batch = Batch::new(id, arrival.at);
        // A line that had no end yet goes on in the next row.
        let goes_on = |one: &EarlierRow, next: &EarlierRow| {
            one.row.flags.contains(Flags::UNFINISHED)
                && one.row.off.saturating_add(one.row.len) == next.row.off
        };
        for parts in rows.chunk_by(goes_on) {
            let bytes: Vec<&[u8]> = parts
                .iter()
                .filter_map(|part| part.row.line.as_deref())
                .collect();
            let (first, last) = (&parts[0], &parts[parts.len() - 1]);
            let line = ArchivedLine {
                bytes: &bytes.concat(),
                offset: first.row.off,
                file_len: parts.iter().map(|part| part.row.len).sum(),
                order_ns: last.order_ns,
                kind: kind_of(last.row.flags),
            };
            assembler.push(line, arrival, &mut batch);
            if batch.bytes.len() >= BATCH_BYTES {
                let full = std::mem::replace(&mut batch, Batch::new(id, arrival.at));
                self.batch(full).await?;
            }
        }
        self.batch(batch).await?;
        self.send(Event::CaughtUp(id)).await?;
        self.send(Event::Closed(id)).await
    }

    /// Sends the archive's last rows of files that nobody goes on with, each as a source of its own.
    pub async fn orphans(&self, is_orphan: impl Fn(&InstanceLabel, Identity) -> bool) {
        for (source, mut rest) in self.seams.take_orphans(is_orphan) {
            for part in &mut rest {
                if let Rest::Unfinished(batch) = part {
                    let empty = Batch::new(batch.source, batch.arrived);
                    *part = Rest::Lines(std::mem::replace(batch, empty));
                }
            }
            let sent = async {
                let id = self.open(source).await?;
                self.rest(id, rest).await?;
                self.send(Event::CaughtUp(id)).await?;
                self.send(Event::Closed(id)).await
            };
            if sent.await.is_err() {
                // The view is gone.
                return;
            }
        }
    }

    fn arrival(&self) -> Arrival {
        self.clock.arrival()
    }
}

fn source_of(label: &Arc<InstanceLabel>, link: &Link) -> Source {
    Source {
        instance: label.clone(),
        file: link.label.clone(),
        path: link.stat.path.clone(),
    }
}

/// How far a reader is, for others to see.
#[derive(Debug)]
pub struct Gauge {
    offset: AtomicU64,
    /// When bytes came last, in ms since `started`; `u64::MAX` while the file is not open.
    last_ms: AtomicU64,
    /// The largest size that a listing gave.
    listed: AtomicU64,
    /// Whether lines that were read wait to be let go: as long as they do, nothing may follow them.
    holding: AtomicBool,
    started: Instant,
}

impl Gauge {
    /// Nothing read yet.
    pub fn new(started: Instant) -> Self {
        Self {
            offset: AtomicU64::new(0),
            last_ms: AtomicU64::new(u64::MAX),
            listed: AtomicU64::new(0),
            holding: AtomicBool::new(false),
            started,
        }
    }

    /// How far the reader is.
    pub fn progress(&self, now: Instant) -> Progress {
        let last = self.last_ms.load(Ordering::Acquire);
        let since = now.duration_since(self.started).as_millis() as u64;
        let is_silent = last != u64::MAX && !self.holding.load(Ordering::Acquire);
        let idle = is_silent.then(|| Duration::from_millis(since.saturating_sub(last)));
        Progress {
            offset: self.offset.load(Ordering::Acquire),
            idle,
        }
    }

    /// Tells the reader what a listing found.
    pub fn list(&self, size: u64) {
        self.listed.fetch_max(size, Ordering::Relaxed);
    }

    fn moved(&self, offset: u64, now: Instant) {
        self.offset.store(offset, Ordering::Release);
        self.last_ms.store(
            now.duration_since(self.started).as_millis() as u64,
            Ordering::Release,
        );
    }

    fn closed(&self) {
        self.last_ms.store(u64::MAX, Ordering::Release);
    }
}

/// Why a reader ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to.
    Stopped,
    /// The end was reached, as asked.
    Reached,
    /// The file is gone.
    Removed,
    /// It cannot be read; why, and what to do.
    Failed(String),
    /// The host cannot be used.
    Refused(String),
}

/// Ends a reader from anywhere within.
#[derive(Debug)]
struct Done(Outcome);

/// Reads one file.
#[derive(Debug)]
pub struct Reader {
    /// The way to it.
    pub transport: Transport,
    /// Where to look for it after a break.
    pub layout: Arc<Layout>,
    /// The file, as listed.
    pub link: Link,
    /// Whose it is.
    pub label: Arc<InstanceLabel>,
    /// Where its lines go.
    pub sink: Sink,
    /// Where to begin.
    pub begin: Begin,
    /// How much history to show.
    pub history: History,
    /// When to end.
    pub until: Until,
    /// Whether its lines are held back.
    pub hold: watch::Receiver<Hold>,
    /// How far it is.
    pub gauge: Arc<Gauge>,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Reader {
    /// Reads until the end, the stop or the file's removal.
    pub async fn run(self) -> Outcome {
        let stop = self.stop.clone();
        let mut reading = Reading {
            id: SourceId(0),
            assembler: None,
            position: 0,
            before: Vec::new(),
            path: self.link.stat.path.clone(),
            held: VecDeque::new(),
            held_bytes: 0,
            caught_up_at: None,
            retries: 0,
            said: None,
            reader: self,
        };
        let outcome = tokio::select! {
            Err(Done(outcome)) = reading.run() => outcome,
            () = stop.cancelled() => Outcome::Stopped,
        };
        reading.gauge().closed();
        reading.close().await;
        outcome
    }
}

struct Reading {
    reader: Reader,
    id: SourceId,
    assembler: Option<Assembler>,
    /// The offset of the next byte.
    position: u64,
    /// The bytes before it.
    before: Vec<u8>,
    path: Vec<u8>,
    held: VecDeque<Event>,
    held_bytes: usize,
    /// The offset at which the history ends, until it is reached.
    caught_up_at: Option<u64>,
    retries: u32,
    /// The failure that was said last.
    said: Option<String>,
}

/// What became of an open file.
enum Turn {
    /// Open it again and go on.
    Resume,
    /// It was truncated, or another file has its inode.
    Restart(&'static str),
    /// Its end was reached, as asked.
    Reached,
}

impl Reading {
    fn gauge(&self) -> &Gauge {
        &self.reader.gauge
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Done> {
        self.id = self
            .reader
            .sink
            .open_source(&self.reader.label, &self.reader.link)
            .await?;
        let mut stream = match std::mem::replace(&mut self.reader.begin, Begin::AtZero) {
            Begin::AtZero => {
                if let Some(seam) = self.own_seam().await? {
                    self.start_at_seam(&seam).await?;
                } else {
                    self.start_at(0, None);
                    self.caught_up().await?;
                }
                None
            }
            Begin::History(older) => self.begin_with_history(older).await?,
        };
        loop {
            let open = match stream.take() {
                Some(open) => open,
                None => match self.reopen().await? {
                    Ok(open) => open,
                    Err(turn) => {
                        self.turn(turn).await?;
                        continue;
                    }
                },
            };
            let turn = self.read(open).await?;
            self.gauge().closed();
            self.turn(turn).await?;
        }
    }

    async fn turn(&mut self, turn: Turn) -> Result<(), Done> {
        match turn {
            Turn::Resume => Ok(()),
            Turn::Restart(why) => self.restart(why).await,
            Turn::Reached => Err(Done(Outcome::Reached)),
        }
    }

    fn start_at(&mut self, offset: u64, history_end: Option<u64>) {
        let sink = &self.reader.sink;
        self.position = offset;
        self.before.clear();
        self.caught_up_at = history_end;
        let source = source_of(&self.reader.label, &self.reader.link);
        self.assembler =
            Some(Assembler::new(self.id, offset, &sink.lines, sink.arrival()).of(&source));
    }

    /// Reads from the offset on until the stream ends.
    async fn read(&mut self, (mut stream, mut skip): (ByteStream, Vec<u8>)) -> Result<Turn, Done> {
        loop {
            self.gauge().moved(self.position, Instant::now());
            let chunk = tokio::select! {
                chunk = stream.next() => chunk,
                changed = self.reader.hold.changed(), if !self.held.is_empty() => {
                    if changed.is_err() || *self.reader.hold.borrow() == Hold::Free {
                        self.let_go().await?;
                    }
                    continue;
                }
            };
            let mut bytes = match chunk {
                Chunk::Data(bytes) => bytes,
                Chunk::End(End::Reached) if skip.is_empty() => return Ok(Turn::Reached),
                Chunk::End(End::Stopped) => return self.why_stopped().await,
                Chunk::End(End::Broken(why)) => {
                    // Connections are dialled with pauses of their own; this one is for a disk that fails again and again.
                    match self.reader.until {
                        Until::End | Until::Bytes(_) => {
                            self.failed(OpenError::Failed(why)).await?;
                        }
                        Until::Forever => tokio::time::sleep(RETRY_FIRST).await,
                    }
                    return Ok(Turn::Resume);
                }
                // The file is shorter than it was.
                Chunk::End(End::Reached) => {
                    self.pause().await;
                    return Ok(Turn::Resume);
                }
            };
            if !skip.is_empty() {
                let again = bytes.split_to(bytes.len().min(skip.len()));
                let expected: Vec<u8> = skip.drain(..again.len()).collect();
                if again != expected {
                    return Ok(Turn::Restart("the file was replaced by another"));
                }
                if bytes.is_empty() {
                    continue;
                }
            }
            self.retries = 0;
            self.take(&bytes).await?;
            if self.held_bytes > HELD_BYTES {
                drop(stream);
                self.gauge().closed();
                self.wait_for_release().await?;
                return Ok(Turn::Resume);
            }
        }
    }

    /// Takes bytes of the file at the offset.
    async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Done> {
        while !bytes.is_empty() {
            let (now, later) = match self.caught_up_at {
                Some(end) => bytes.split_at(bytes.len().min((end - self.position) as usize)),
                None => (bytes, &[][..]),
            };
            let age = if self.caught_up_at.is_some() {
                Age::History
            } else {
                Age::Live
            };
            self.position += now.len() as u64;
            remember(&mut self.before, now);
            let arrival = self.reader.sink.arrival();
            if let Some(assembler) = &mut self.assembler {
                let batch = assembler.push(now, arrival, age);
                let has_passed = assembler.has_passed();
                self.emit(batch).await?;
                if has_passed {
                    return Err(Done(Outcome::Reached));
                }
            }
            if self.caught_up_at == Some(self.position) {
                self.caught_up().await?;
            }
            bytes = later;
        }
        Ok(())
    }

    async fn caught_up(&mut self) -> Result<(), Done> {
        self.caught_up_at = None;
        self.emit_event(Event::CaughtUp(self.id), 0).await
    }

    async fn emit(&mut self, batch: Batch) -> Result<(), Done> {
        if batch.lines.is_empty() {
            return Ok(());
        }
        let bytes = batch.bytes.len() + batch.lines.len() * size_of::<crate::batch::Line>();
        self.emit_event(Event::Lines(batch), bytes).await
    }

    async fn mark(&mut self, mark: Mark) -> Result<(), Done> {
        self.emit_event(Event::Mark(self.id, mark), 0).await
    }

    async fn emit_event(&mut self, event: Event, bytes: usize) -> Result<(), Done> {
        if *self.reader.hold.borrow() == Hold::Held {
            self.gauge().holding.store(true, Ordering::Release);
            self.held.push_back(event);
            self.held_bytes += bytes;
            return Ok(());
        }
        self.let_go().await?;
        self.reader.sink.send(event).await
    }

    async fn let_go(&mut self) -> Result<(), Done> {
        self.held_bytes = 0;
        // One after the other, so that being stopped in between repeats nothing.
        while !self.held.is_empty() {
            let permit = self
                .reader
                .sink
                .events
                .reserve()
                .await
                .map_err(|_| Done(Outcome::Stopped))?;
            if let Some(event) = self.held.pop_front() {
                permit.send(event);
            }
        }
        self.gauge().holding.store(false, Ordering::Release);
        Ok(())
    }

    async fn wait_for_release(&mut self) -> Result<(), Done> {
        // An error means that who holds is gone, and with it the reason to hold.
        let _ = self.reader.hold.wait_for(|hold| *hold == Hold::Free).await;
        self.let_go().await
    }

    /// The reader on the host ended by itself: looks why.
    async fn why_stopped(&mut self) -> Result<Turn, Done> {
        let links = self.links().await?;
        match links.iter().find(|link| link.stat.id == self.file()) {
            Some(link) if link.stat.size < self.position => {
                Ok(Turn::Restart("the file was truncated"))
            }
            // Somebody ended the reader, or the file was truncated and has grown past the offset since: opening it again tells.
            _ => {
                self.pause().await;
                Ok(Turn::Resume)
            }
        }
    }

    fn file(&self) -> FileId {
        self.reader.link.stat.id
    }

    /// Opens the file at the offset, under the name it has now. The bytes to compare come with it.
    async fn reopen(&mut self) -> Result<Result<(ByteStream, Vec<u8>), Turn>, Done> {
        let mut looks = 0;
        loop {
            let from = self.position - self.before.len() as u64;
            let opened = self
                .reader
                .transport
                .open(&self.path, Start::At(from), self.reader.until)
                .await;
            let problem = match opened {
                Ok((header, stream)) if header.id == self.file() => {
                    return Ok(Ok((stream, self.before.clone())));
                }
                // Another file has its name by now. Its stream must be gone before anything else is asked of the host: unread, it
                // would stall the connection that carries the answer.
                Ok((_, stream)) => {
                    drop(stream);
                    OpenError::Gone
                }
                Err(error) => error,
            };
            match problem {
                OpenError::Shorter { .. } if self.is_at_its_path().await? => {
                    return Ok(Err(Turn::Restart("the file was truncated")));
                }
                OpenError::Gone | OpenError::Shorter { .. } | OpenError::NotRegular => {
                    let links = self.links().await?;
                    if let Some(link) = links.iter().find(|link| link.stat.id == self.file()) {
                        // Listed there, but not to be opened there: renamed back and forth, or a host that contradicts itself.
                        if self.path == link.stat.path {
                            self.pause().await;
                        }
                        self.path.clone_from(&link.stat.path);
                    } else {
                        looks += 1;
                        if looks >= LOOKS {
                            self.mark_unread("the file was removed before it was read to its end")
                                .await?;
                            return Err(Done(Outcome::Removed));
                        }
                        tokio::time::sleep(RETRY_FIRST).await;
                    }
                }
                error => self.failed(error).await?,
            }
        }
    }

    async fn is_at_its_path(&self) -> Result<bool, Done> {
        Ok(self
            .links()
            .await?
            .iter()
            .any(|link| link.stat.id == self.file() && link.stat.path == self.path))
    }

    /// Waits, or gives up, after a failure.
    async fn failed(&mut self, error: OpenError) -> Result<(), Done> {
        match error {
            OpenError::Refused(why) => Err(Done(Outcome::Refused(why))),
            OpenError::Denied(_) => Err(Done(Outcome::Failed(format!(
                "{}: {error}",
                self.display_path()
            )))),
            other if self.reader.until == Until::End && self.retries >= 3 => Err(Done(
                Outcome::Failed(format!("{}: {other}", self.display_path())),
            )),
            other => {
                // What does not pass quickly is said, once.
                let why = other.to_string();
                if self.retries >= RETRIES_UNSAID && self.said.as_ref() != Some(&why) {
                    self.mark(Mark::Note(format!("cannot be read: {why}; trying again")))
                        .await?;
                    self.said = Some(why);
                }
                self.pause().await;
                Ok(())
            }
        }
    }

    fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    async fn pause(&mut self) {
        let pause = RETRY_FIRST
            .saturating_mul(1 << self.retries.min(10))
            .min(RETRY_MAX);
        self.retries += 1;
        tokio::time::sleep(pause).await;
    }

    async fn links(&self) -> Result<Vec<Link>, Done> {
        loop {
            match self
                .reader
                .transport
                .list(self.reader.layout.patterns())
                .await
            {
                Ok(listing) => return Ok(self.reader.layout.links(&listing)),
                Err(OpenError::Refused(why)) => return Err(Done(Outcome::Refused(why))),
                Err(error) if self.reader.until == Until::End => {
                    return Err(Done(Outcome::Failed(error.to_string())));
                }
                Err(_) => tokio::time::sleep(RETRY_FIRST).await,
            }
        }
    }

    /// Goes on at the file's first byte: what was there before is gone.
    async fn restart(&mut self, why: &'static str) -> Result<(), Done> {
        let copied = self.read_copy().await?;
        let arrival = self.reader.sink.arrival();
        if let Some(assembler) = &mut self.assembler {
            let batch = assembler.finish(arrival, Age::Live);
            assembler.restart(0);
            self.emit(batch).await?;
        }
        match copied {
            Some((name, bytes)) => {
                self.mark(Mark::Note(format!("{why}; its copy {name} was read to the end ({bytes} bytes), what came after the copying is lost"))).await?;
            }
            None => self.mark_unread(why).await?,
        }
        self.position = 0;
        self.before.clear();
        self.gauge().listed.store(0, Ordering::Relaxed);
        if self.caught_up_at.is_some() {
            self.caught_up().await?;
        }
        Ok(())
    }

    async fn mark_unread(&mut self, why: &str) -> Result<(), Done> {
        let unread = self
            .gauge()
            .listed
            .load(Ordering::Relaxed)
            .saturating_sub(self.position);
        let at_least = (unread > 0).then_some(unread);
        self.mark(Mark::Lost {
            offset: self.position,
            at_least,
            why: why.to_owned(),
        })
        .await
    }

    /// A file that is rotated by copying it and truncating it leaves its last bytes in the copy: reads them there.
    async fn read_copy(&mut self) -> Result<Option<(String, u64)>, Done> {
        if self.before.len() < VERIFIED_BYTES {
            return Ok(None);
        }
        let links = self.links().await?;
        let chain: &ChainKey = &self.reader.link.chain.clone();
        let own = self.file();
        // A copy is the newest of the rotated files.
        let copy = links.iter().rev().find(|link| {
            link.chain == *chain && !link.rank.rotation.is_live() && link.stat.id != own
        });
        let Some(copy) = copy.filter(|copy| copy.stat.size >= self.position) else {
            return Ok(None);
        };
        let from = self.position - self.before.len() as u64;
        let Ok((header, mut stream)) = self
            .reader
            .transport
            .open(&copy.stat.path, Start::At(from), Until::End)
            .await
        else {
            return Ok(None);
        };
        if header.id != copy.stat.id {
            return Ok(None);
        }
        let begin = self.position;
        let mut skip = self.before.clone();
        let end = loop {
            let mut bytes = match stream.next().await {
                Chunk::Data(bytes) => bytes,
                Chunk::End(end) => break end,
            };
            let again = bytes.split_to(bytes.len().min(skip.len()));
            let expected: Vec<u8> = skip.drain(..again.len()).collect();
            if again != expected {
                return Ok(None);
            }
            self.take(&bytes).await?;
        };
        // What broke off was not read to its end, and must not be said to be.
        if end != End::Reached || !skip.is_empty() {
            return Ok(None);
        }
        let name = copy
            .stat
            .path
            .rsplit(|&byte| byte == b'/')
            .next()
            .unwrap_or_default();
        Ok(Some((
            String::from_utf8_lossy(name).into_owned(),
            self.position - begin,
        )))
    }

    /// Finds where the history begins, sends what of it lies in older files, and opens this one there.
    async fn begin_with_history(
        &mut self,
        older: Vec<Link>,
    ) -> Result<Option<(ByteStream, Vec<u8>)>, Done> {
        let span = self.reader.sink.lines.filter.span();
        let older: Vec<Link> = older
            .into_iter()
            .take_while(|link| !ended_before(link, span.since_ns))
            .collect();
        let wanted = match self.reader.history {
            _ if self.has_seams() => return self.begin_at_seams(older, span.since_ns).await,
            // Not opened until something is written to it.
            _ if ended_before(&self.reader.link, span.since_ns) => {
                let size = self.reader.link.stat.size;
                self.start_at(size, None);
                self.caught_up().await?;
                return match self.reader.until {
                    Until::Forever => Ok(None),
                    Until::End | Until::Bytes(_) => Err(Done(Outcome::Reached)),
                };
            }
            History::All if span.begins() => return self.begin_since(older, span.since_ns).await,
            History::All => {
                for link in older.iter().rev() {
                    self.send_older(link, at_offset(0), None).await?;
                }
                let size = self.reader.link.stat.size;
                self.start_at(0, Some(size));
                if size == 0 {
                    self.caught_up().await?;
                }
                return Ok(None);
            }
            History::Lines(lines) => lines,
        };
        let found = self
            .find_tail(
                &self.reader.link.stat.clone().path,
                wanted,
                self.reader.until,
                Some(self.file()),
            )
            .await?;
        let Some(tail) = found else {
            // Renamed or removed meanwhile: nothing of it has been shown, so it is read like one that was born later.
            self.start_at(0, None);
            self.caught_up().await?;
            return Ok(None);
        };
        let mut stream = Some(tail.stream);
        let has_before = !older.is_empty() || self.reader.sink.earlier.is_some();
        if tail.lines < wanted && tail.start == 0 && has_before {
            // Not drained while the older files are read, so it is closed: one unread channel would stall its connection.
            stream = None;
            self.send_history_of(&older, wanted - tail.lines, tail.header.size)
                .await?;
        }
        self.start_at(tail.start, Some(tail.header.size));
        if tail.start == tail.header.size {
            self.caught_up().await?;
        }
        match stream {
            Some(stream) => {
                self.take(&tail.bytes).await?;
                Ok(Some((stream, Vec::new())))
            }
            None => Ok(None),
        }
    }

    /// Finds where the lines since a time begin, sends those of older files, and begins there.
    async fn begin_since(
        &mut self,
        older: Vec<Link>,
        since_ns: i64,
    ) -> Result<Option<(ByteStream, Vec<u8>)>, Done> {
        let own = self.reader.link.clone();
        let Some(found) = self.seek(&own, since_ns).await? else {
            // Renamed or removed meanwhile: as with the last lines.
            self.start_at(0, None);
            self.caught_up().await?;
            return Ok(None);
        };
        let mut oldest = found;
        let mut parts = Vec::new();
        for link in older {
            if begin_of(oldest) > 0 {
                break;
            }
            if let Some(found) = self.seek(&link, since_ns).await? {
                parts.push((link, found));
                oldest = found;
            }
        }
        let last = parts.len();
        let zone = self.reader.sink.lines.zone.clone();
        let note = move |place: usize, found: Found| {
            match found {
            Found::At {
                offset: 0,
                first_ns: Some(first_ns),
            } if place == last && first_ns > since_ns => {
                Some(format!("begins at {}", moment::show(first_ns, &zone)))
            }
            Found::At { .. } => None,
            Found::Undated => Some(
                "its lines have no times: all of it is shown, since something was written after the time of --since"
                    .to_owned(),
            ),
            Found::Unordered => {
                Some("its times go back: all of it is read to find what is asked for".to_owned())
            }
        }
        };
        for (place, (link, found)) in parts.into_iter().enumerate().rev() {
            self.send_older(&link, found, note(place + 1, found))
                .await?;
        }
        let start = begin_of(found);
        self.start_at(start, Some(own.stat.size.max(start)));
        if found == Found::Unordered
            && let Some(assembler) = &mut self.assembler
        {
            assembler.expect_disorder();
        }
        if let Some(text) = note(0, found) {
            self.mark(Mark::Note(text)).await?;
        }
        if own.stat.size <= start {
            self.caught_up().await?;
        }
        Ok(None)
    }

    /// Whether the archive has rows of the instance's task.
    fn has_seams(&self) -> bool {
        let task_id = self.reader.label.task_id.as_deref();
        let seams = &self.reader.sink.seams;
        !seams.is_empty() && task_id.is_some_and(|id| seams.of_task(id) != OfTask::Nothing)
    }

    /// Begins where the archive ends, in this file and in the older ones of its log.
    async fn begin_at_seams(
        &mut self,
        older: Vec<Link>,
        since_ns: i64,
    ) -> Result<Option<(ByteStream, Vec<u8>)>, Done> {
        let own = self.reader.link.clone();
        let own_joint = self.joint(&own, since_ns).await?;
        let mut is_complete = own_joint.is_behind_older();
        let mut parts = Vec::new();
        for link in older {
            if is_complete {
                break;
            }
            let joint = self.joint(&link, since_ns).await?;
            is_complete = joint.is_behind_older();
            parts.push((link, joint));
        }
        for (link, joint) in parts.into_iter().rev() {
            self.send_joined(&link, joint).await?;
        }
        let size = own.stat.size;
        match own_joint {
            Joint::Seam(seam) => {
                self.start_at_seam(&seam).await?;
                return Ok(None);
            }
            Joint::Found(found, note) => {
                let start = begin_of(found);
                self.start_at(start, Some(size.max(start)));
                if found == Found::Unordered
                    && let Some(assembler) = &mut self.assembler
                {
                    assembler.expect_disorder();
                }
                if let Some(text) = note {
                    self.mark(Mark::Note(text)).await?;
                }
                if size <= start {
                    self.caught_up().await?;
                }
            }
            // Renamed or removed meanwhile: nothing of it has been shown.
            Joint::Gone => {
                self.start_at(0, None);
                self.caught_up().await?;
            }
        }
        Ok(None)
    }

    /// Begins this file where the archive ends, with what the archive had last.
    async fn start_at_seam(&mut self, seam: &Place) -> Result<(), Done> {
        for part in self.reader.sink.seams.take_rest(seam.number) {
            match part {
                Rest::Lines(mut batch) => {
                    batch.source = self.id;
                    self.emit(batch).await?;
                }
                Rest::Mark(mark) => self.mark(mark).await?,
                // The file has all of it.
                Rest::Unfinished(_) => {}
            }
        }
        let size = self.reader.link.stat.size;
        self.start_at(seam.offset, Some(size.max(seam.offset)));
        self.before.extend_from_slice(seam.before());
        if let Some(assembler) = &mut self.assembler {
            assembler.continue_record(seam.record_kept);
        }
        if size <= seam.offset {
            self.caught_up().await?;
        }
        Ok(())
    }

    /// Sends what an older file of the log holds beyond the archive.
    async fn send_joined(&mut self, link: &Link, joint: Joint) -> Result<(), Done> {
        let seam = match joint {
            Joint::Gone => return Ok(()),
            Joint::Found(found, note) => return self.send_older(link, found, note).await,
            Joint::Seam(seam) => seam,
        };
        let sink = self.reader.sink.clone();
        let rest = sink.seams.take_rest(seam.number);
        if !rest.is_empty() {
            let id = sink.open_source(&self.reader.label, link).await?;
            sink.rest(id, rest).await?;
            sink.send(Event::CaughtUp(id)).await?;
            sink.send(Event::Closed(id)).await?;
        }
        if link.stat.size > seam.offset {
            self.send_older(link, at_offset(seam.offset), None).await?;
        }
        Ok(())
    }

    /// The seam of this file itself, if it has one that fits.
    async fn own_seam(&mut self) -> Result<Option<Place>, Done> {
        let link = self.reader.link.clone();
        let Some(log) = LogKey::of(&self.reader.label, &link.label) else {
            return Ok(None);
        };
        let found = self
            .reader
            .sink
            .seams
            .candidates(&log, link.stat.identity(), link.stat.size);
        match found {
            Candidates::Own(places) => self.fitting(&link, places).await,
            Candidates::Copy(_) => Ok(None),
        }
    }

    /// Where a file goes on behind the archive: at a seam, or where the time begins.
    async fn joint(&mut self, link: &Link, since_ns: i64) -> Result<Joint, Done> {
        let log = LogKey::of(&self.reader.label, &link.label);
        let seams = Arc::clone(&self.reader.sink.seams);
        let stat = &link.stat;
        let found = log
            .as_ref()
            .map(|log| seams.candidates(log, stat.identity(), stat.size));
        let note = match found {
            Some(Candidates::Own(places)) => {
                if let Some(seam) = self.fitting(link, places).await? {
                    return Ok(Joint::Seam(seam));
                }
                let note = "the archive has this file as it was before it was truncated or replaced: it is read from its first byte";
                return Ok(Joint::Found(at_offset(0), Some(note.to_owned())));
            }
            Some(Candidates::Copy(places)) => {
                if let Some(seam) = self.fitting(link, places).await? {
                    return Ok(Joint::Seam(seam));
                }
                None
            }
            None => None,
        };
        if ended_before(link, since_ns) {
            return Ok(Joint::Found(at_offset(stat.size), note));
        }
        Ok(match self.seek(link, since_ns).await? {
            Some(found) => Joint::Found(found, note),
            None => Joint::Gone,
        })
    }

    /// The first of these seams whose bytes the file has.
    async fn fitting(&mut self, link: &Link, places: Vec<Place>) -> Result<Option<Place>, Done> {
        for place in places {
            let is_there = if place.check.is_empty() {
                link.stat.size >= place.offset
            } else {
                self.has_bytes(link, place.check_start(), &place.check)
                    .await?
            };
            if is_there {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Whether a file has these bytes at this offset.
    async fn has_bytes(&mut self, link: &Link, offset: u64, expected: &[u8]) -> Result<bool, Done> {
        loop {
            let opened = self
                .reader
                .transport
                .open(
                    &link.stat.path,
                    Start::At(offset),
                    Until::Bytes(expected.len() as u64),
                )
                .await;
            let mut stream = match opened {
                Ok((header, stream)) if header.id == link.stat.id => stream,
                Ok(_)
                | Err(OpenError::Gone | OpenError::NotRegular | OpenError::Shorter { .. }) => {
                    return Ok(false);
                }
                Err(error) => {
                    self.failed(error).await?;
                    continue;
                }
            };
            let mut bytes = Vec::with_capacity(expected.len());
            let end = loop {
                match stream.next().await {
                    Chunk::Data(more) => bytes.extend_from_slice(&more),
                    Chunk::End(end) => break end,
                }
            };
            match end {
                End::Broken(why) => self.failed(OpenError::Failed(why)).await?,
                End::Reached | End::Stopped => return Ok(bytes == expected),
            }
        }
    }

    /// Finds where the lines since a time begin in a file. Nothing where it is another file by now.
    async fn seek(&mut self, link: &Link, since_ns: i64) -> Result<Option<Found>, Done> {
        let zone = self.reader.sink.lines.zone.clone();
        let written_ns = link.stat.modified_s.saturating_mul(NANOS_PER_SECOND);
        let mut search = Search::new(since_ns, link.stat.size, &zone, written_ns);
        loop {
            let at = match search.step() {
                Step::Done(found) => return Ok(Some(found)),
                Step::Read { at } => at,
            };
            let opened = self
                .reader
                .transport
                .open(&link.stat.path, Start::At(at), Until::Bytes(WINDOW_BYTES))
                .await;
            let mut stream = match opened {
                Ok((header, stream)) if header.id == link.stat.id => stream,
                Ok(_)
                | Err(OpenError::Gone | OpenError::NotRegular | OpenError::Shorter { .. }) => {
                    return Ok(None);
                }
                Err(error) => {
                    self.failed(error).await?;
                    continue;
                }
            };
            let mut window = Vec::with_capacity(WINDOW_BYTES as usize);
            let end = loop {
                match stream.next().await {
                    Chunk::Data(bytes) => window.extend_from_slice(&bytes),
                    Chunk::End(end) => break end,
                }
            };
            match end {
                End::Reached => search.take(&window),
                End::Stopped => return Ok(None),
                End::Broken(why) => self.failed(OpenError::Failed(why)).await?,
            }
        }
    }

    /// Reads a file's end backwards until it holds `wanted` lines. The stream goes on after the bytes that are returned.
    async fn find_tail(
        &mut self,
        path: &[u8],
        wanted: u64,
        until: Until,
        expected: Option<FileId>,
    ) -> Result<Option<Tail>, Done> {
        let mut window = if wanted == 0 {
            0
        } else {
            HISTORY_WINDOW_BYTES
                .max(wanted.saturating_mul(200))
                .min(HISTORY_BYTES)
        };
        loop {
            let (header, mut stream) = match self
                .reader
                .transport
                .open(path, Start::Back(window), until)
                .await
            {
                Ok(opened) => opened,
                Err(OpenError::Gone | OpenError::NotRegular | OpenError::Shorter { .. }) => {
                    return Ok(None);
                }
                Err(error) => {
                    self.failed(error).await?;
                    continue;
                }
            };
            if expected.is_some_and(|expected| expected != header.id) {
                return Ok(None);
            }
            self.gauge().list(header.size);
            let length = (header.size - header.start) as usize;
            let mut bytes = Vec::with_capacity(length.min(HISTORY_WINDOW_BYTES as usize * 2));
            while bytes.len() < length {
                match stream.next().await {
                    Chunk::Data(more) => bytes.extend_from_slice(&more),
                    Chunk::End(_) => break,
                }
            }
            if bytes.len() < length {
                // Broken, or truncated under our hands: look again.
                self.pause().await;
                continue;
            }
            let (at, lines) = last_lines(&bytes[..length], wanted);
            if lines == wanted || header.start == 0 || window >= HISTORY_BYTES {
                bytes.drain(..at);
                return Ok(Some(Tail {
                    header,
                    stream,
                    start: header.start + at as u64,
                    lines,
                    bytes,
                }));
            }
            window = window.saturating_mul(8).min(HISTORY_BYTES);
        }
    }

    /// Sends the last lines of older files, oldest first; before them those that the archive has, where these are too few. Of the
    /// own file, of this size, all is shown.
    async fn send_history_of(
        &mut self,
        older: &[Link],
        wanted: u64,
        own_size: u64,
    ) -> Result<(), Done> {
        let mut missing = wanted;
        let mut parts = Vec::new();
        for link in older {
            if missing == 0 {
                break;
            }
            let Some(tail) = self
                .find_tail(&link.stat.path, missing, Until::End, Some(link.stat.id))
                .await?
            else {
                continue;
            };
            missing -= tail.lines.min(missing);
            parts.push((link, tail.start));
        }
        if missing > 0 {
            let mut own = self.reader.link.clone();
            own.stat.size = own_size;
            let links: Vec<Link> = std::iter::once(own).chain(older.iter().cloned()).collect();
            self.send_earlier(&links, missing).await?;
        }
        for (link, start) in parts.into_iter().rev() {
            self.send_older(link, at_offset(start), None).await?;
        }
        Ok(())
    }

    /// Sends the last lines that the archive has before those of the log's files, of which all is shown.
    async fn send_earlier(&mut self, links: &[Link], missing: u64) -> Result<(), Done> {
        let sink = self.reader.sink.clone();
        let label = Arc::clone(&self.reader.label);
        let (Some(earlier), Some(key)) = (&sink.earlier, &label.key) else {
            return Ok(());
        };
        let Some(log) = LogOf::new(&label, &self.reader.link.label) else {
            return Ok(());
        };
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        let sizes: Vec<(Identity, u64)> = links
            .iter()
            .map(|link| (link.stat.identity(), link.stat.size))
            .collect();
        let mut reach = None;
        let rows = loop {
            let reached = earlier.reach_beyond(key, reach).await;
            let seams = earlier.seams(key, &log, &label, &sizes).await;
            let mut shown = HashSet::new();
            for link in links {
                let Some(log) = LogKey::of(&label, &link.label) else {
                    continue;
                };
                let (Candidates::Own(places) | Candidates::Copy(places)) =
                    seams.candidates(&log, link.stat.identity(), link.stat.size);
                if let Some(place) = self.fitting(link, places).await? {
                    shown.extend(seams.file(place.number));
                }
            }
            let task_id = label.task_id.as_deref();
            let rows = earlier.last(key, &log, task_id, missing, &shown).await;
            if rows.len() >= missing || reached == Reach::End {
                break rows;
            }
            reach = Some(reached);
        };
        for of_file in rows.chunk_by(EarlierRow::is_of_the_file_of) {
            sink.archived(&label, of_file).await?;
        }
        Ok(())
    }

    /// Sends an older file from an offset on, as a source of its own. If it cannot be read it is passed over with a mark.
    async fn send_older(
        &mut self,
        link: &Link,
        found: Found,
        note: Option<String>,
    ) -> Result<(), Done> {
        let start = begin_of(found);
        let sink = self.reader.sink.clone();
        let id = sink.open_source(&self.reader.label, link).await?;
        let source = source_of(&self.reader.label, link);
        let mut assembler = Assembler::new(id, start, &sink.lines, sink.arrival()).of(&source);
        if found == Found::Unordered {
            assembler.expect_disorder();
        }
        if let Some(text) = note {
            sink.send(Event::Mark(id, Mark::Note(text))).await?;
        }
        match self
            .reader
            .transport
            .open(&link.stat.path, Start::At(start), Until::End)
            .await
        {
            Ok((header, mut stream)) if header.id == link.stat.id => {
                loop {
                    match stream.next().await {
                        Chunk::Data(bytes) => {
                            sink.batch(assembler.push(&bytes, sink.arrival(), Age::History))
                                .await?;
                            if assembler.has_passed() {
                                break;
                            }
                        }
                        Chunk::End(End::Reached) => break,
                        Chunk::End(End::Stopped | End::Broken(_)) => {
                            let why = "history of an older file is missing: it could not be read to its end".to_owned();
                            sink.send(Event::Mark(id, Mark::Note(why))).await?;
                            break;
                        }
                    }
                }
            }
            // Renamed or removed since it was listed.
            Ok(_) | Err(_) => {
                let why = "history of an older file is missing: it went away".to_owned();
                sink.send(Event::Mark(id, Mark::Note(why))).await?;
            }
        }
        sink.batch(assembler.finish(sink.arrival(), Age::History))
            .await?;
        sink.send(Event::CaughtUp(id)).await?;
        sink.send(Event::Closed(id)).await
    }

    /// Sends what is left and says that nothing more comes.
    async fn close(&mut self) {
        let arrival = self.reader.sink.arrival();
        let rest = self
            .assembler
            .as_mut()
            .map(|assembler| assembler.finish(arrival, Age::Live));
        // If the view is gone there is nobody to tell.
        let _ = async {
            for event in std::mem::take(&mut self.held) {
                self.reader.sink.send(event).await?;
            }
            if let Some(rest) = rest {
                self.reader.sink.batch(rest).await?;
            }
            self.reader.sink.send(Event::Closed(self.id)).await
        }
        .await;
    }
}

/// Where a file goes on behind the archive.
enum Joint {
    /// Where the archive's rows of it end.
    Seam(Place),
    /// The archive has nothing of it: where the time begins, and what is to be said of that.
    Found(Found, Option<String>),
    /// It is another file by now.
    Gone,
}

impl Joint {
    /// Whether everything that was asked for lies in this file or newer ones of its log. Behind a seam it may not: of an older file
    /// the archive may have less.
    fn is_behind_older(&self) -> bool {
        match self {
            Self::Found(found, _) => begin_of(*found) > 0,
            Self::Seam(_) | Self::Gone => false,
        }
    }
}

/// A file's last lines, and the stream that goes on after them.
struct Tail {
    header: Header,
    stream: ByteStream,
    start: u64,
    lines: u64,
    bytes: Vec<u8>,
}

/// Where the last `wanted` lines begin, and how many there are; an unfinished last line counts.
fn last_lines(bytes: &[u8], wanted: u64) -> (usize, u64) {
    if wanted == 0 || bytes.is_empty() {
        return (bytes.len(), 0);
    }
    let mut lines = 0;
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for at in memchr::memrchr_iter(b'\n', body) {
        lines += 1;
        if lines == wanted {
            return (at + 1, lines);
        }
    }
    (0, lines + 1)
}

fn at_offset(offset: u64) -> Found {
    Found::At {
        offset,
        first_ns: None,
    }
}

/// Where what was found begins.
fn begin_of(found: Found) -> u64 {
    match found {
        Found::At { offset, .. } => offset,
        Found::Undated | Found::Unordered => 0,
    }
}

/// Whether a file was last written before a time, so that no line of it can be later.
fn ended_before(link: &Link, since_ns: i64) -> bool {
    // Written at any time within the second.
    let written_ns = link
        .stat
        .modified_s
        .saturating_add(1)
        .saturating_mul(NANOS_PER_SECOND);
    written_ns <= since_ns
}

/// Keeps the last bytes of the file before the offset.
fn remember(before: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() >= VERIFIED_BYTES {
        before.clear();
        before.extend_from_slice(&bytes[bytes.len() - VERIFIED_BYTES..]);
    } else {
        before.extend_from_slice(bytes);
        let excess = before.len().saturating_sub(VERIFIED_BYTES);
        before.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_begin_after_a_newline() {
        let check = |text: &str, wanted, expected: &str, count| {
            let (at, lines) = last_lines(text.as_bytes(), wanted);
            assert_eq!((&text[at..], lines), (expected, count), "{text:?} {wanted}");
        };
        check("a\nb\nc\n", 2, "b\nc\n", 2);
        check("a\nb\nc", 2, "b\nc", 2);
        check("a\nb\n", 5, "a\nb\n", 2);
        check("\n\n\n", 2, "\n\n", 2);
        check("", 3, "", 0);
        check("a\n", 0, "", 0);
        check("a", 1, "a", 1);
    }

    #[test]
    fn the_bytes_before_the_offset_are_kept() {
        let mut before = Vec::new();
        let all: Vec<u8> = (0..=255).collect();
        for chunk in all.chunks(7) {
            remember(&mut before, chunk);
        }
        assert_eq!(before, all[256 - VERIFIED_BYTES..]);
        remember(&mut before, &all);
        assert_eq!(before, all[256 - VERIFIED_BYTES..]);
    }
}
