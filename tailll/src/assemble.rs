//! From a file's bytes to batches of lines: split, filter, and read each line's time and level.
//!
//! What a filter says of a line or a record is `filter.rs`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use joblog::lines::{Kind, RawLine, Splitter};
use joblog::record::RecordParser;

use crate::batch::{Age, Batch, Line, LineKind, Records};
use crate::condition::Labels;
use crate::fields;
use crate::filter::{Exhibit, Filter, Judge};
use crate::source::{Source, SourceId};

/// Bytes of one line, at most; a longer one is shown in marked pieces.
pub const LINE_BYTES: usize = 256 * 1024;

/// How far a line's own time may be from its arrival to be ordered by it; a clock that is wrong by more must not hold the others up.
const CLOCK_ERROR: Duration = Duration::from_secs(10);

/// When bytes arrived, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The clock that never jumps.
    pub at: Instant,
    /// The wall clock in ns since 1970.
    pub wall_ns: i64,
}

/// What is the same for all files.
#[derive(Debug, Clone)]
pub struct LineSettings {
    /// Which lines to keep.
    pub filter: Arc<Filter>,
    /// The zone of timestamps that name none.
    pub zone: TimeZone,
    /// When JSON lines are read. Those that a filter judges are read on arrival in any case.
    pub records: Records,
}

/// Turns one file's bytes into batches.
#[derive(Debug)]
pub struct Assembler {
    source: SourceId,
    splitter: Splitter,
    parser: RecordParser,
    records: Records,
    filter: Arc<Filter>,
    /// Where lines are judged as records.
    judge: Option<Judge>,
    /// Whether a longer line's first piece was kept, while its other pieces come.
    piece_kept: Option<bool>,
    /// What the last line was ordered by; never decreases.
    order_ns: i64,
    /// The same of the last line that had a time of its own.
    dated_ns: Option<i64>,
}

impl Assembler {
    /// For the bytes of a source from `offset` on.
    pub fn new(source: SourceId, offset: u64, settings: &LineSettings, now: Arrival) -> Self {
        Self {
            source,
            splitter: Splitter::new(LINE_BYTES, offset),
            parser: RecordParser::new(settings.zone.clone(), now.wall_ns),
            records: settings.records,
            filter: settings.filter.clone(),
            judge: settings
                .filter
                .judges_records()
                .then(|| Judge::new(settings.filter.clone(), Labels::default())),
            piece_kept: None,
            order_ns: i64::MIN,
            dated_ns: None,
        }
    }

    /// Says whose lines they are, for conditions that ask.
    #[must_use]
    pub fn of(mut self, source: &Source) -> Self {
        if self.judge.is_some() {
            self.judge = Some(Judge::new(self.filter.clone(), Labels::of(source)));
        }
        self
    }

    /// The first lines may continue a record on which there is this verdict.
    pub fn continue_record(&mut self, kept: Option<bool>) {
        if let Some(judge) = &mut self.judge {
            judge.resume(kept);
        }
    }

    /// Whether nothing of the file can be in the span any more.
    pub fn has_passed(&self) -> bool {
        self.judge.as_ref().is_some_and(Judge::has_passed)
    }

    /// The file's times go back, so that no line shows that nothing more is to come.
    pub fn expect_disorder(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.expect_disorder();
        }
    }

    /// Goes on at another offset, after [`Assembler::finish`].
    pub fn restart(&mut self, offset: u64) {
        self.piece_kept = None;
        self.splitter = Splitter::new(LINE_BYTES, offset);
    }

    /// The lines that these bytes complete.
    pub fn push(&mut self, bytes: &[u8], arrival: Arrival, age: Age) -> Batch {
        self.assemble(
            arrival,
            age,
            |splitter, each| splitter.push(bytes, each),
            bytes.len(),
        )
    }

    /// The unfinished end as a line, if there is one.
    pub fn finish(&mut self, arrival: Arrival, age: Age) -> Batch {
        self.assemble(arrival, age, |splitter, each| splitter.finish(each), 0)
    }

    fn assemble(
        &mut self,
        arrival: Arrival,
        age: Age,
        split: impl FnOnce(&mut Splitter, &mut dyn FnMut(RawLine<'_>)),
        length: usize,
    ) -> Batch {
        let mut bytes = Vec::with_capacity(length + self.splitter.pending());
        let mut lines = Vec::with_capacity(length / 128 + 1);
        let Self {
            splitter,
            parser,
            records,
            filter,
            judge,
            piece_kept,
            order_ns,
            dated_ns,
            ..
        } = self;
        let slack = CLOCK_ERROR.as_nanos() as i64;
        split(splitter, &mut |line| {
            let is_matched = filter.keep(line.bytes);
            if !is_matched && judge.is_none() {
                return;
            }
            let (ts_ns, level) = if let Some(judge) = judge {
                let record = parser.parse(line.bytes);
                // What a later piece of a long line looks like means nothing.
                let is_kept = match *piece_kept {
                    Some(kept) => kept,
                    None => judge.keep(Exhibit {
                        line: line.bytes,
                        record: &record,
                        age,
                        arrived_ns: arrival.wall_ns,
                    }),
                };
                let goes_on =
                    line.kind == Kind::Piece && line.bytes.len() == line.file_len as usize;
                *piece_kept = goes_on.then_some(is_kept);
                if !is_kept || !is_matched {
                    return;
                }
                (record.ts_ns, record.level)
            } else if *records == Records::WhenShown && fields::is_candidate(line.bytes) {
                (None, None)
            } else {
                parser.time_and_level(line.bytes)
            };
            let order = match ts_ns {
                Some(ts)
                    if (age == Age::History || ts >= arrival.wall_ns - slack)
                        && ts <= arrival.wall_ns + slack =>
                {
                    ts
                }
                // A stack trace stays with its head; a file without any times goes by arrival.
                None => dated_ns.unwrap_or(arrival.wall_ns),
                Some(_) => arrival.wall_ns,
            };
            *order_ns = order.max(*order_ns);
            if ts_ns.is_some() {
                *dated_ns = Some(*order_ns);
            }
            lines.push(Line {
                start: bytes.len() as u32,
                len: line.bytes.len() as u32,
                offset: line.offset,
                file_len: line.file_len,
                order_ns: *order_ns,
                ts_ns,
                level,
                kind: match line.kind {
                    Kind::Whole => LineKind::Whole,
                    Kind::Piece => LineKind::Piece,
                    Kind::Unfinished => LineKind::Unfinished,
                },
                age,
            });
            bytes.extend_from_slice(line.bytes);
        });
        Batch {
            source: self.source,
            arrived: arrival.at,
            bytes,
            lines,
        }
    }
}

/// Turns one file's rows of the archive into lines, by the same rules as its bytes.
#[derive(Debug)]
pub struct RowAssembler {
    parser: RecordParser,
    filter: Arc<Filter>,
    judge: Option<Judge>,
    piece_kept: Option<bool>,
}

/// A row as it is assembled.
#[derive(Debug, Clone, Copy)]
pub struct ArchivedLine<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where in the file it begins.
    pub offset: u64,
    /// The bytes of the file that it stands for.
    pub file_len: u64,
    /// What it is ordered by, in ns since 1970.
    pub order_ns: i64,
    /// Whether these are all its bytes.
    pub kind: LineKind,
}

impl RowAssembler {
    /// For the rows of a source. Their times have been chosen before, so the filter's span must not.
    pub fn new(source: &Source, settings: &LineSettings, now: Arrival) -> Self {
        Self {
            parser: RecordParser::new(settings.zone.clone(), now.wall_ns),
            filter: settings.filter.clone(),
            judge: settings
                .filter
                .judges_records()
                .then(|| Judge::new(settings.filter.clone(), Labels::of(source))),
            piece_kept: None,
        }
    }

    /// Adds the line to a batch, if it is kept.
    pub fn push(&mut self, line: ArchivedLine<'_>, arrival: Arrival, batch: &mut Batch) {
        let is_matched = self.filter.keep(line.bytes);
        if !is_matched && self.judge.is_none() {
            return;
        }
        let (ts_ns, level) = if let Some(judge) = &mut self.judge {
            let record = self.parser.parse(line.bytes);
            let is_kept = match self.piece_kept {
                Some(kept) => kept,
                None => judge.keep(Exhibit {
                    line: line.bytes,
                    record: &record,
                    age: Age::History,
                    arrived_ns: arrival.wall_ns,
                }),
            };
            self.piece_kept = (line.kind == LineKind::Piece).then_some(is_kept);
            if !is_kept || !is_matched {
                return;
            }
            (record.ts_ns, record.level)
        } else {
            self.parser.time_and_level(line.bytes)
        };
        batch.lines.push(Line {
            start: batch.bytes.len() as u32,
            len: line.bytes.len() as u32,
            offset: line.offset,
            file_len: u32::try_from(line.file_len).unwrap_or(u32::MAX),
            order_ns: line.order_ns,
            ts_ns,
            level,
            kind: line.kind,
            age: Age::History,
        });
        batch.bytes.extend_from_slice(line.bytes);
    }

    /// The verdict on the record that the next line may continue.
    pub fn record_kept(&self) -> Option<bool> {
        self.judge.as_ref().and_then(Judge::record_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn check(lines: &[(&str, i64)], expected: &[i64]) {
        let settings = LineSettings {
            filter: Arc::new(Filter::new(&[], &[]).expect("no pattern")),
            zone: TimeZone::UTC,
            records: Records::OnArrival,
        };
        let at = Instant::now();
        let arrival = |wall_s: i64| Arrival {
            at,
            wall_ns: wall_s * S,
        };
        let mut assembler = Assembler::new(SourceId(1), 0, &settings, arrival(0));
        let mut orders = Vec::new();
        for (text, arrived_s) in lines {
            let batch = assembler.push(
                format!("{text}\n").as_bytes(),
                arrival(*arrived_s),
                Age::Live,
            );
            orders.extend(batch.lines.iter().map(|line| line.order_ns / S));
        }
        assert_eq!(orders, expected, "{lines:?}");
    }

    #[test]
    fn lines_are_ordered_by_their_time_their_heads_or_their_arrival() {
        // 1970-01-01 00:01:40 is second 100.
        check(
            &[
                ("1970-01-01 00:01:40 INFO a", 101),
                ("  at b", 103),
                ("1970-01-01 00:01:42 INFO c", 104),
            ],
            &[100, 100, 102],
        );
        check(&[("no time", 5), ("none here", 9)], &[5, 9]);
        // A clock that is wrong by more than ten seconds does not order, and time never goes back.
        check(
            &[
                ("1970-01-01 01:00:00 INFO far ahead", 100),
                ("1970-01-01 00:01:35 INFO back", 101),
            ],
            &[100, 100],
        );
    }
}
