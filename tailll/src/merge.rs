//! Puts the lines of many sources into one order.
//!
//! Owns the lines that wait for others, and the rules of waiting. It reads no clock and starts no task: the caller
//! says what time it is and asks when to come again. How lines look is `render.rs`'s; who takes events off the channel
//! is `view.rs`.
//!
//! [`Order::Time`] merges by the lines' times without ever changing the order within a source:
//!
//! - While every source that may speak has a line waiting, the oldest of these lines goes at once.
//! - Otherwise a line waits [`WINDOW`] for silent sources, then it goes, and all older ones before it. Sources that
//!   have been silent for [`IDLE_AFTER`] are not waited for.
//! - Above [`MERGE_BYTES`] the oldest go without waiting.
//! - A line older than what has gone already goes as soon as it can, and is counted: [`Item::Late`] says it once a while.
//! - Lines from the archive come first and in order: they go at once.
//! - The history of all sources that are there at the start is held until it is complete, or for [`HISTORY_HOLD`].
//! - Lines without a time that follow one with a time (a stack trace) are not parted from it by lines of other sources: for
//!   as long as [`RECORD_WAIT`] after a part of it arrived, and for at most [`RECORD_LINES`] lines.
//! - A live line whose time is further than [`OWN_TIME_LIMIT`] from its arrival (a wrong clock, a wrong zone, bytes
//!   read again after a break) is ordered by its arrival.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::mem::size_of;
use std::time::{Duration, Instant};

use joblog::Level;

use crate::batch::{Age, Batch, Event, Line, Mark};
use crate::source::SourceId;

/// How long a line waits for sources that have none.
pub const WINDOW: Duration = Duration::from_millis(200);

/// The most bytes of lines that wait. Above it the oldest go without waiting.
pub const MERGE_BYTES: usize = 32 << 20;

/// How long the history of the first sources is held for those that have not sent theirs yet, from what was held
/// first.
pub const HISTORY_HOLD: Duration = Duration::from_secs(1);

/// How long complete history is held in case one more source opens.
pub const HISTORY_SETTLE: Duration = Duration::from_millis(200);

/// How long a source must have been silent for lines not to wait for it any more.
pub const IDLE_AFTER: Duration = Duration::from_secs(10);

/// How far a line's time may be from its arrival to be believed.
pub const OWN_TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long after a part of a record arrived others wait for the rest of it, where it seems that there is more.
pub const RECORD_WAIT: Duration = Duration::from_millis(100);

/// The most lines of a record that are kept together. What is longer is no record: a program that writes few times.
pub const RECORD_LINES: u32 = 2_048;

/// How often late lines are spoken of at most, for each host.
pub const LATE_EVERY: Duration = Duration::from_secs(10);

/// How long the first late lines of a host are counted before they are spoken of.
pub const LATE_GATHER: Duration = Duration::from_secs(1);

/// The most lines of one [`Run`], so that what is made of it stays small too.
pub const RUN_LINES: usize = 1_024;

const OWN_TIME_LIMIT_NS: i64 = OWN_TIME_LIMIT.as_nanos() as i64;

/// What lines are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Their times; lines wait a moment for older ones.
    Time,
    /// Their arrival; nothing waits.
    Arrival,
}

/// One moment on both clocks, by which instants become times.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    /// The moment on the clock that only goes forward.
    pub instant: Instant,
    /// The same in ns since 1970.
    pub wall_ns: i64,
}

impl Anchor {
    /// The time of an instant in ns since 1970.
    pub fn wall_ns(&self, at: Instant) -> i64 {
        let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        match at.checked_duration_since(self.instant) {
            Some(after) => self.wall_ns.saturating_add(ns(after)),
            None => self
                .wall_ns
                .saturating_sub(ns(self.instant.duration_since(at))),
        }
    }
}

/// What comes out, in order.
#[derive(Debug)]
pub enum Item<'a> {
    /// Consecutive lines of one source.
    Lines(Run<'a>),
    /// Something to be said where it happened among a source's lines.
    Mark(SourceId, &'a Mark),
    /// Lines that went after younger ones.
    Late(Late<'a>),
    /// Nothing more will come of this source.
    Closed(SourceId),
}

/// Consecutive lines of one source that nothing comes between.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Whose they are.
    pub source: SourceId,
    /// The bytes that the lines point into.
    pub bytes: &'a [u8],
    /// The lines; at least one, at most [`RUN_LINES`].
    pub lines: &'a [Line],
}

/// Lines of a host that went after younger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late<'a> {
    /// The host.
    pub host: &'a str,
    /// How many since they were last spoken of.
    pub lines: u64,
    /// How much younger the youngest line before them was, at most, in ns.
    pub by_ns: u64,
}

/// The lines that wait, and the rules by which they go.
#[derive(Debug)]
pub struct Merger {
    order: Order,
    anchor: Anchor,
    phase: Phase,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<SourceId, u32>,
    /// The first line of each source that has one, smallest key first.
    heads: BinaryHeap<Reverse<(i64, u32)>>,
    /// When what came in: to know what has waited longest. What has gone is removed when it gets to the front.
    waiting: VecDeque<Waiting>,
    /// Open sources without a line that lines wait for, by when they last spoke.
    awaited: BTreeSet<(Instant, u32)>,
    next_number: u64,
    bytes: usize,
    bytes_limit: usize,
    /// The largest key that has gone.
    printed_ns: i64,
    hosts: Vec<Host>,
    host_by_name: HashMap<String, usize>,
    late_due: Option<Instant>,
    /// The source whose record is being shown.
    record: Option<OpenRecord>,
    /// The batch whose last lines were handed out; kept until the next call.
    spent: Option<Content>,
}

/// A record of which lines have gone and others may still come.
#[derive(Debug, Clone, Copy)]
struct OpenRecord {
    slot: u32,
    /// How many of its lines have gone.
    lines: u32,
    /// How long others wait for its next line, where there is reason to.
    wait_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Lines of the archive come, which wait for nothing.
    Past,
    /// The history of the first sources is gathered.
    History {
        first_held: Option<Instant>,
        last_opened: Option<Instant>,
        catching_up: usize,
    },
    /// Lines go when they may.
    Live,
    /// Everything goes.
    Draining,
}

/// A source, or the place of one that is gone.
#[derive(Debug)]
struct Slot {
    id: SourceId,
    host: usize,
    state: SlotState,
    queue: VecDeque<Piece>,
    /// When it last spoke.
    spoke: Instant,
    /// The key of what it had last; the next ones are not smaller.
    last_key: i64,
    /// Whether a line of it with a time has gone, so that those without one belong to it.
    dated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    CatchingUp,
    Open,
    Closed,
}

#[derive(Debug)]
struct Piece {
    number: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Lines {
        batch: Batch,
        next: usize,
        arrived_ns: i64,
    },
    Mark(Mark),
    Closed,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    slot: u32,
    number: u64,
}

#[derive(Debug)]
struct Host {
    name: String,
    late_lines: u64,
    late_by_ns: u64,
    due: Option<Instant>,
    said: Option<Instant>,
}

impl Merger {
    /// Nothing waits yet.
    pub fn new(order: Order, anchor: Anchor) -> Self {
        Self::with_limit(order, anchor, MERGE_BYTES)
    }

    fn with_limit(order: Order, anchor: Anchor, bytes_limit: usize) -> Self {
        let phase = match order {
            Order::Time => Phase::gathering(),
            Order::Arrival => Phase::Live,
        };
        Self {
            order,
            anchor,
            phase,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            heads: BinaryHeap::new(),
            waiting: VecDeque::new(),
            awaited: BTreeSet::new(),
            next_number: 0,
            bytes: 0,
            bytes_limit,
            printed_ns: i64::MIN,
            hosts: Vec::new(),
            host_by_name: HashMap::new(),
            late_due: None,
            record: None,
            spent: None,
        }
    }

    /// The bytes of lines that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether more than [`MERGE_BYTES`] wait: take what may go before more is pushed.
    pub fn is_full(&self) -> bool {
        self.bytes > self.bytes_limit
    }

    /// Takes what happened.
    pub fn push(&mut self, event: Event, now: Instant) {
        match event {
            Event::Opened(id, source) => {
                let slot = self.slot(id, &source.instance.host, now);
                self.slots[slot as usize].state = SlotState::CatchingUp;
                if let Phase::History {
                    last_opened,
                    catching_up,
                    ..
                } = &mut self.phase
                {
                    *last_opened = Some(now);
                    *catching_up += 1;
                }
            }
            Event::Lines(batch) => self.push_lines(batch, now),
            Event::Past(batches) => {
                if self.order == Order::Time && !self.is_draining() {
                    self.phase = Phase::Past;
                }
                for batch in batches {
                    self.push_lines(batch, now);
                }
            }
            Event::PastOver => {
                if let Phase::Past = self.phase {
                    self.phase = Phase::gathering();
                }
            }
            Event::CaughtUp(id) => {
                let slot = self.slot(id, "", now);
                self.caught_up(slot, SlotState::Open);
            }
            Event::Mark(id, mark) => {
                let slot = self.slot(id, "", now);
                self.enqueue(slot, Content::Mark(mark), now);
            }
            Event::Closed(id) => {
                let slot = self.slot(id, "", now);
                self.caught_up(slot, SlotState::Closed);
                self.enqueue(slot, Content::Closed, now);
            }
        }
    }

    fn push_lines(&mut self, batch: Batch, now: Instant) {
        if batch.lines.is_empty() {
            return;
        }
        self.bytes += bytes_of(&batch);
        let arrived_ns = self.anchor.wall_ns(batch.arrived);
        let slot = self.slot(batch.source, "", now);
        self.enqueue(
            slot,
            Content::Lines {
                batch,
                next: 0,
                arrived_ns,
            },
            now,
        );
    }

    /// From now on everything goes without waiting: call [`Merger::pop`] until it gives nothing.
    pub fn drain(&mut self) {
        self.phase = Phase::Draining;
    }

    /// The next that may go, if any. What it gives has gone.
    pub fn pop(&mut self, now: Instant) -> Option<Item<'_>> {
        self.spent = None;
        let late_may_go = match self.phase {
            // Counted to the end, said once.
            Phase::Draining => self.heads.is_empty(),
            Phase::Past | Phase::History { .. } | Phase::Live => true,
        };
        if late_may_go
            && self
                .late_due
                .is_some_and(|due| due <= now || self.is_draining())
            && let Some((host, lines, by_ns)) = self.take_late(now)
        {
            return Some(Item::Late(Late {
                host: &self.hosts[host].name,
                lines,
                by_ns,
            }));
        }
        let (slot, second_key) = match self.order {
            Order::Arrival => (self.longest_waiting()?.slot, i64::MAX),
            Order::Time => {
                let &Reverse((_, slot)) = self.heads.peek()?;
                if let Some(slot) = self.slot_of_record() {
                    // It has begun, so nothing is to be waited for.
                    return self.take(slot, i64::MIN, now);
                }
                if self.record_deadline().is_some_and(|due| now < due) || !self.may_go(now) {
                    return None;
                }
                // The root's children hold the second best.
                let second = self.heads.as_slice().iter().skip(1).take(2).max();
                (slot, second.map_or(i64::MAX, |&Reverse((key, _))| key))
            }
        };
        self.take(slot, second_key, now)
    }

    /// When to ask again, after [`Merger::pop`] gave nothing and if nothing is pushed until then.
    pub fn deadline(&self) -> Option<Instant> {
        let of_lines = if self.heads.is_empty() {
            None
        } else {
            match self.phase {
                Phase::History {
                    first_held,
                    last_opened,
                    catching_up,
                } => {
                    let settled = last_opened
                        .filter(|_| catching_up == 0)
                        .map(|opened| opened + HISTORY_SETTLE);
                    let held = first_held.map(|first| first + HISTORY_HOLD);
                    [settled, held].into_iter().flatten().min()
                }
                Phase::Past | Phase::Live | Phase::Draining => {
                    self.waiting.front().map(|waiting| waiting.since + WINDOW)
                }
            }
        };
        // The record is waited for, whatever else could go.
        let of_lines =
            of_lines.map(|due| self.record_deadline().map_or(due, |record| record.max(due)));
        [of_lines, self.late_due].into_iter().flatten().min()
    }

    /// The source that has the next line of the record that is being shown.
    fn slot_of_record(&self) -> Option<u32> {
        let record = self.record?;
        let slot = &self.slots[record.slot as usize];
        let line = slot.queue.front()?.content.next_line()?;
        (line.ts_ns.is_none() && slot.dated && record.lines < RECORD_LINES).then_some(record.slot)
    }

    /// Until when others wait for more of the record that is being shown.
    fn record_deadline(&self) -> Option<Instant> {
        let record = self.record?;
        let slot = &self.slots[record.slot as usize];
        let may_come = slot.queue.is_empty()
            && slot.state != SlotState::Closed
            && record.lines < RECORD_LINES
            && !self.is_full()
            && !self.is_draining();
        record.wait_until.filter(|_| may_come)
    }

    fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining)
    }

    /// The slot of a source; a new one where it is not known.
    fn slot(&mut self, id: SourceId, host: &str, now: Instant) -> u32 {
        if let Some(&slot) = self.by_id.get(&id) {
            return slot;
        }
        let host = self.host_by_name.get(host).copied().unwrap_or_else(|| {
            self.hosts.push(Host {
                name: host.to_string(),
                late_lines: 0,
                late_by_ns: 0,
                due: None,
                said: None,
            });
            self.host_by_name
                .insert(host.to_string(), self.hosts.len() - 1);
            self.hosts.len() - 1
        });
        let fresh = Slot {
            id,
            host,
            state: SlotState::Open,
            queue: VecDeque::new(),
            spoke: now,
            last_key: i64::MIN,
            dated: false,
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = fresh;
            slot
        } else {
            self.slots.push(fresh);
            self.slots.len() as u32 - 1
        };
        self.by_id.insert(id, slot);
        self.awaited.insert((now, slot));
        slot
    }

    fn caught_up(&mut self, slot: u32, state: SlotState) {
        let slot = &mut self.slots[slot as usize];
        if slot.state == SlotState::CatchingUp
            && let Phase::History { catching_up, .. } = &mut self.phase
        {
            *catching_up = catching_up.saturating_sub(1);
        }
        slot.state = state;
    }

    fn enqueue(&mut self, index: u32, content: Content, now: Instant) {
        let number = self.next_number;
        self.next_number += 1;
        if let Phase::History { first_held, .. } = &mut self.phase {
            first_held.get_or_insert(now);
        }
        let slot = &mut self.slots[index as usize];
        if slot.queue.is_empty() {
            self.awaited.remove(&(slot.spoke, index));
            if self.order == Order::Time {
                self.heads
                    .push(Reverse((content.key(slot.last_key), index)));
            }
        }
        slot.spoke = now;
        slot.queue.push_back(Piece { number, content });
        self.waiting.push_back(Waiting {
            since: now,
            slot: index,
            number,
        });
    }

    /// What has waited longest.
    fn longest_waiting(&mut self) -> Option<Waiting> {
        while let Some(&waiting) = self.waiting.front() {
            let head = self.slots[waiting.slot as usize].queue.front();
            if head.is_some_and(|piece| piece.number <= waiting.number) {
                return Some(waiting);
            }
            self.waiting.pop_front();
        }
        None
    }

    /// Whether the head with the smallest key may go.
    fn may_go(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Past | Phase::Draining => return true,
            _ if self.is_full() => return true,
            Phase::Live => {}
            Phase::History {
                first_held,
                last_opened,
                catching_up,
            } => {
                let complete = catching_up == 0
                    && last_opened.is_none_or(|opened| opened + HISTORY_SETTLE <= now);
                let held = first_held.is_some_and(|first| first + HISTORY_HOLD <= now);
                if !complete && !held {
                    return false;
                }
                self.phase = Phase::Live;
            }
        }
        while self
            .awaited
            .first()
            .is_some_and(|&(spoke, _)| spoke + IDLE_AFTER <= now)
        {
            self.awaited.pop_first();
        }
        self.awaited.is_empty()
            || self
                .longest_waiting()
                .is_some_and(|waiting| waiting.since + WINDOW <= now)
    }

    /// Takes the first of a source: one mark, or lines up to the key where another source is next.
    fn take(&mut self, index: u32, second_key: i64, now: Instant) -> Option<Item<'_>> {
        let mut lines_of_record = match self.record {
            Some(record) if record.slot == index => record.lines,
            _ => 0,
        };
        let slot = &mut self.slots[index as usize];
        let id = slot.id;
        let piece = slot.queue.front_mut()?;
        let mut taken = 0..0;
        let mut gone = true;
        let mut wait_until = None;
        if let Content::Lines {
            batch,
            next,
            arrived_ns,
        } = &mut piece.content
        {
            let start = *next;
            let mut end = start;
            let mut last_key = slot.last_key;
            let limit = batch.lines.len().min(start + RUN_LINES);
            while let Some(line) = batch.lines[..limit].get(end) {
                let key = key_of(line, *arrived_ns, last_key);
                let continues = line.ts_ns.is_none() && slot.dated;
                lines_of_record = if continues {
                    lines_of_record.saturating_add(1)
                } else {
                    1
                };
                let stays = continues && lines_of_record <= RECORD_LINES;
                if key > second_key && end > start && !stays {
                    break;
                }
                slot.dated |= line.ts_ns.is_some();
                if key < self.printed_ns && self.order == Order::Time {
                    self.hosts[slot.host].count_late(line, *arrived_ns, self.printed_ns);
                }
                last_key = key;
                end += 1;
            }
            slot.last_key = last_key;
            self.printed_ns = self.printed_ns.max(last_key);
            if self.hosts[slot.host].late_lines > 0 && self.hosts[slot.host].due.is_none() {
                let due = self.hosts[slot.host].next_due(now);
                self.hosts[slot.host].due = Some(due);
                self.late_due = Some(self.late_due.map_or(due, |other| other.min(due)));
            }
            // A trace that is being written, or one that is likely to follow.
            if let Some(last) = batch.lines.get(end - 1)
                && slot.dated
                && (last.ts_ns.is_none() || last.level >= Some(Level::Error))
                && last.age == Age::Live
            {
                wait_until = Some(batch.arrived + RECORD_WAIT);
            }
            *next = end;
            gone = end == batch.lines.len();
            taken = start..end;
        }
        self.record = Some(OpenRecord {
            slot: index,
            lines: lines_of_record,
            wait_until,
        });
        let slot = &mut self.slots[index as usize];
        if gone {
            self.spent = slot.queue.pop_front().map(|piece| piece.content);
            if let Some(Content::Lines { batch, .. }) = &self.spent {
                self.bytes -= bytes_of(batch);
            }
        }
        self.after_taking(index);
        let content = if gone {
            self.spent.as_ref()
        } else {
            self.slots[index as usize]
                .queue
                .front()
                .map(|piece| &piece.content)
        };
        Some(match content? {
            Content::Lines { batch, .. } => Item::Lines(Run {
                source: id,
                bytes: &batch.bytes,
                lines: &batch.lines[taken],
            }),
            Content::Mark(mark) => Item::Mark(id, mark),
            Content::Closed => Item::Closed(id),
        })
    }

    /// Sets the head of a source whose first lines were taken. In the order of time it is the top of `heads`, unless they
    /// continued a record.
    fn after_taking(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        let head = slot
            .queue
            .front()
            .map(|piece| Reverse((piece.content.key(slot.last_key), index)));
        if self.order == Order::Time {
            let is_top = self
                .heads
                .peek()
                .is_some_and(|&Reverse((_, top))| top == index);
            if !is_top {
                // The lines continued a record, which is rare.
                self.heads.retain(|&Reverse((_, slot))| slot != index);
                self.heads.extend(head);
            } else if let Some(mut top) = self.heads.peek_mut() {
                match head {
                    Some(head) => *top = head,
                    None => drop(PeekMut::pop(top)),
                }
            }
        }
        if head.is_some() {
            return;
        }
        let slot = &self.slots[index as usize];
        if slot.state == SlotState::Closed {
            self.by_id.remove(&slot.id);
            self.free.push(index);
        } else {
            self.awaited.insert((slot.spoke, index));
        }
    }

    /// A host with late lines that are to be spoken of now: its index, how many lines, and by how much.
    fn take_late(&mut self, now: Instant) -> Option<(usize, u64, u64)> {
        let draining = self.is_draining();
        let is_due = |host: &Host| host.due.is_some_and(|due| due <= now || draining);
        let index = self.hosts.iter().position(is_due);
        let late = index.map(|index| {
            let host = &mut self.hosts[index];
            host.due = None;
            host.said = Some(now);
            (
                index,
                std::mem::take(&mut host.late_lines),
                std::mem::take(&mut host.late_by_ns),
            )
        });
        self.late_due = self.hosts.iter().filter_map(|host| host.due).min();
        late
    }
}

impl Phase {
    /// Nothing is gathered yet.
    fn gathering() -> Self {
        Self::History {
            first_held: None,
            last_opened: None,
            catching_up: 0,
        }
    }
}

impl Content {
    /// Its next line, if it is of lines.
    fn next_line(&self) -> Option<&Line> {
        match self {
            Self::Lines { batch, next, .. } => batch.lines.get(*next),
            Self::Mark(_) | Self::Closed => None,
        }
    }

    /// What it is ordered by, after something with `last_key`.
    fn key(&self, last_key: i64) -> i64 {
        match self {
            Self::Lines {
                batch,
                next,
                arrived_ns,
            } => batch
                .lines
                .get(*next)
                .map_or(last_key, |line| key_of(line, *arrived_ns, last_key)),
            Self::Mark(_) | Self::Closed => last_key,
        }
    }
}

impl Host {
    /// Counts a line that goes after one with the key `printed_ns`, unless that may be in order: a time in whole
    /// seconds or milliseconds stands for all of them.
    fn count_late(&mut self, line: &Line, arrived_ns: i64, printed_ns: i64) {
        if line.age == Age::History || !is_believed(line, arrived_ns) {
            return;
        }
        let unit_ns = [1_000_000_000, 1_000_000]
            .into_iter()
            .find(|unit| line.order_ns % unit == 0)
            .unwrap_or(1);
        if line.order_ns.saturating_add(unit_ns) > printed_ns {
            return;
        }
        self.late_lines += 1;
        self.late_by_ns = self.late_by_ns.max(printed_ns.abs_diff(line.order_ns));
    }

    fn next_due(&self, now: Instant) -> Instant {
        let gathered = now + LATE_GATHER;
        self.said
            .map_or(gathered, |said| gathered.max(said + LATE_EVERY))
    }
}

/// What a line is ordered by, after one of the same source with `last_key`.
fn key_of(line: &Line, arrived_ns: i64, last_key: i64) -> i64 {
    let key = if is_believed(line, arrived_ns) {
        line.order_ns
    } else {
        arrived_ns
    };
    key.max(last_key)
}

/// Whether the line's time says when it was written, going by when it arrived. History may be old, not from the future.
fn is_believed(line: &Line, arrived_ns: i64) -> bool {
    let after = line.order_ns.saturating_sub(arrived_ns);
    match line.age {
        Age::History => after <= OWN_TIME_LIMIT_NS,
        Age::Live => (-OWN_TIME_LIMIT_NS..=OWN_TIME_LIMIT_NS).contains(&after),
    }
}

fn bytes_of(batch: &Batch) -> usize {
    batch.bytes.capacity() + batch.lines.capacity() * size_of::<Line>()
}

#[cfg(test)]
mod tests;
