use super::*;
use crate::batch::LineKind;
use crate::source::{FileLabel, InstanceLabel, Source};
use proptest::prelude::*;
use std::sync::Arc;

/// When tests begin, in ns since 1970.
const START_NS: i64 = 1_700_000_000_000_000_000;
const MS: i64 = 1_000_000;

/// A merger and a clock that tests move.
struct Bench {
    merger: Merger,
    start: Instant,
    now_ms: u64,
    out: Vec<String>,
}

fn source(id: u32) -> Arc<Source> {
    let instance = InstanceLabel {
        job: "job".into(),
        key: None,
        instance: Some(id),
        host: format!("node{id}"),
        task_id: None,
    };
    Arc::new(Source {
        instance: Arc::new(instance),
        file: FileLabel::Plain {
            path: "/log".into(),
        },
        path: b"/log".to_vec(),
    })
}

fn line(order_ns: i64, start: u32, len: u32, age: Age) -> Line {
    Line {
        start,
        len,
        offset: 0,
        file_len: len + 1,
        order_ns,
        ts_ns: Some(order_ns),
        level: None,
        kind: LineKind::Whole,
        age,
    }
}

impl Bench {
    fn new(order: Order, bytes_limit: usize) -> Self {
        let start = Instant::now();
        let anchor = Anchor {
            instant: start,
            wall_ns: START_NS,
        };
        Self {
            merger: Merger::with_limit(order, anchor, bytes_limit),
            start,
            now_ms: 0,
            out: Vec::new(),
        }
    }

    /// With sources open, caught up, and the phase of history over.
    fn live(order: Order, sources: u32) -> Self {
        let mut bench = Self::new(order, MERGE_BYTES);
        for id in 0..sources {
            bench.push(Event::Opened(SourceId(id), source(id)));
            bench.push(Event::CaughtUp(SourceId(id)));
        }
        bench.now_ms = 500;
        bench
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn push(&mut self, event: Event) {
        let now = self.now();
        self.merger.push(event, now);
    }

    /// Lines named after their source and time, which is in ms after the start.
    fn lines(&mut self, id: u32, times_ms: &[i64], age: Age) {
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        for time in times_ms {
            let text = format!("{id}:{time}");
            // Half a millisecond, so that the time is not a whole unit.
            lines.push(line(
                START_NS + time * MS + MS / 2,
                bytes.len() as u32,
                text.len() as u32,
                age,
            ));
            bytes.extend_from_slice(text.as_bytes());
        }
        self.push(Event::Lines(Batch {
            source: SourceId(id),
            arrived: self.now(),
            bytes,
            lines,
        }));
    }

    /// Takes what may go now.
    fn pop(&mut self) {
        let now = self.now();
        while let Some(item) = self.merger.pop(now) {
            match item {
                Item::Lines(run) => {
                    assert!(!run.lines.is_empty());
                    for line in run.lines {
                        let text = &run.bytes[line.start as usize..][..line.len as usize];
                        self.out.push(String::from_utf8(text.to_vec()).unwrap());
                    }
                }
                Item::Mark(id, mark) => self.out.push(format!("mark {} {mark:?}", id.0)),
                Item::Late(late) => {
                    self.out.push(format!(
                        "{} late {} by {} ms",
                        late.host,
                        late.lines,
                        late.by_ns as i64 / MS
                    ));
                }
                Item::Closed(id) => self.out.push(format!("closed {}", id.0)),
            }
        }
    }

    /// What went since the last time.
    fn gone(&mut self) -> String {
        self.pop();
        std::mem::take(&mut self.out).join(" ")
    }

    fn drain(&mut self) -> String {
        self.merger.drain();
        let gone = self.gone();
        assert_eq!(self.merger.bytes(), 0);
        assert!(self.merger.deadline().is_none());
        gone
    }
}

#[test]
fn one_source_never_waits() {
    let mut bench = Bench::live(Order::Time, 1);
    bench.lines(0, &[1, 2, 3], Age::Live);
    assert_eq!(bench.gone(), "0:1 0:2 0:3");
    assert_eq!(bench.merger.deadline(), None);
}

#[test]
fn lines_go_at_once_while_all_have_some() {
    let mut bench = Bench::live(Order::Time, 2);
    bench.lines(0, &[401, 403, 405], Age::Live);
    assert_eq!(bench.gone(), "");
    bench.lines(1, &[400, 402, 404], Age::Live);
    assert_eq!(bench.gone(), "1:400 0:401 1:402 0:403 1:404");
    assert_eq!(bench.merger.deadline(), Some(bench.now() + WINDOW));
    bench.now_ms += 199;
    assert_eq!(bench.gone(), "");
    bench.now_ms += 1;
    assert_eq!(bench.gone(), "0:405");
}

#[test]
fn a_line_that_waited_enough_takes_the_older_ones_along() {
    let mut bench = Bench::live(Order::Time, 3);
    bench.lines(0, &[480], Age::Live);
    bench.now_ms += 100;
    bench.lines(1, &[470, 490], Age::Live);
    bench.now_ms += 100;
    assert_eq!(bench.gone(), "1:470 0:480");
    bench.now_ms += 100;
    assert_eq!(bench.gone(), "1:490");
}

#[test]
fn nobody_waits_for_the_idle_and_the_closed() {
    let mut bench = Bench::live(Order::Time, 3);
    bench.push(Event::Closed(SourceId(2)));
    bench.now_ms = 9_900;
    bench.lines(0, &[9_900], Age::Live);
    assert_eq!(bench.gone(), "closed 2");
    bench.now_ms = 10_000;
    assert_eq!(bench.gone(), "0:9900");
    bench.lines(0, &[10_000], Age::Live);
    assert_eq!(bench.gone(), "0:10000");
}

#[test]
fn late_lines_are_counted_and_said_once_a_while() {
    let mut bench = Bench::live(Order::Time, 2);
    bench.lines(0, &[450, 500], Age::Live);
    bench.now_ms += 300;
    assert_eq!(bench.gone(), "0:450 0:500");
    bench.lines(1, &[400, 480], Age::Live);
    bench.lines(0, &[790], Age::Live);
    // 1:400 and 1:480 are the smallest heads and go while all have some.
    assert_eq!(bench.gone(), "1:400 1:480");
    bench.now_ms += 200;
    assert_eq!(bench.gone(), "0:790");
    assert_eq!(
        bench.merger.deadline(),
        Some(bench.start + Duration::from_millis(1_800))
    );
    bench.now_ms = 1_800;
    assert_eq!(bench.gone(), "node1 late 2 by 100 ms");
    bench.lines(1, &[700], Age::Live);
    bench.now_ms += 1_000;
    assert_eq!(bench.gone(), "1:700");
    bench.now_ms = 11_799;
    assert_eq!(bench.gone(), "");
    bench.now_ms = 11_800;
    assert_eq!(bench.gone(), "node1 late 1 by 90 ms");
}

#[test]
fn whole_seconds_and_history_are_not_late() {
    let mut bench = Bench::live(Order::Time, 2);
    bench.lines(0, &[900], Age::Live);
    bench.now_ms = 1_000;
    assert_eq!(bench.gone(), "0:900");
    bench.lines(1, &[100], Age::History);
    let now = bench.now();
    let lines = vec![line(START_NS, 0, 1, Age::Live)];
    bench.push(Event::Lines(Batch {
        source: SourceId(1),
        arrived: now,
        bytes: b"s".to_vec(),
        lines,
    }));
    bench.now_ms = 5_000;
    assert_eq!(bench.gone(), "1:100 s");
    assert_eq!(bench.drain(), "");
}

#[test]
fn a_wrong_clock_orders_by_arrival() {
    let mut bench = Bench::live(Order::Time, 2);
    let hour = 3_600_000;
    bench.lines(0, &[500 + hour], Age::Live);
    bench.now_ms = 510;
    bench.lines(1, &[505, 505 - hour], Age::Live);
    bench.now_ms = 520;
    bench.lines(0, &[520], Age::Live);
    assert_eq!(bench.drain(), "0:3600500 1:505 1:-3599495 0:520");
}

#[test]
fn history_is_held_until_complete() {
    let mut bench = Bench::new(Order::Time, MERGE_BYTES);
    for id in 0..2 {
        bench.push(Event::Opened(SourceId(id), source(id)));
    }
    bench.lines(0, &[-5_000, -3_000], Age::History);
    bench.push(Event::CaughtUp(SourceId(0)));
    bench.lines(0, &[100], Age::Live);
    bench.now_ms = 600;
    assert_eq!(bench.gone(), "");
    assert_eq!(bench.merger.deadline(), Some(bench.start + HISTORY_HOLD));
    bench.lines(1, &[-4_000], Age::History);
    bench.push(Event::CaughtUp(SourceId(1)));
    bench.now_ms = 601;
    // 0:100 has waited enough for what source 1 may still say.
    assert_eq!(bench.gone(), "0:-5000 1:-4000 0:-3000 0:100");
    bench.now_ms = 5_000;
    assert_eq!(bench.drain(), "");
}

#[test]
fn lines_of_the_archive_wait_for_nothing_and_history_is_gathered_behind_them() {
    let mut bench = Bench::new(Order::Time, MERGE_BYTES);
    bench.push(Event::Past(Vec::new()));
    bench.push(Event::Opened(SourceId(0), source(0)));
    bench.push(Event::Opened(SourceId(1), source(1)));
    bench.lines(0, &[-900, -700], Age::History);
    bench.lines(1, &[-800], Age::History);
    assert_eq!(bench.gone(), "0:-900 1:-800 0:-700");
    bench.push(Event::Closed(SourceId(0)));
    bench.push(Event::Closed(SourceId(1)));
    bench.push(Event::PastOver);
    assert_eq!(bench.gone(), "closed 1 closed 0");
    bench.push(Event::Opened(SourceId(2), source(2)));
    bench.push(Event::Opened(SourceId(3), source(3)));
    bench.lines(2, &[-500], Age::History);
    bench.push(Event::CaughtUp(SourceId(2)));
    assert_eq!(bench.gone(), "");
    bench.now_ms = 300;
    bench.lines(3, &[-600], Age::History);
    bench.push(Event::CaughtUp(SourceId(3)));
    assert_eq!(bench.gone(), "3:-600 2:-500");
}

#[test]
fn history_is_not_held_for_ever() {
    let mut bench = Bench::new(Order::Time, MERGE_BYTES);
    for id in 0..2 {
        bench.push(Event::Opened(SourceId(id), source(id)));
    }
    bench.now_ms = 3_000;
    bench.lines(0, &[-5_000], Age::History);
    bench.now_ms = 3_999;
    assert_eq!(bench.gone(), "");
    bench.now_ms = 4_000;
    assert_eq!(bench.gone(), "0:-5000");
}

#[test]
fn marks_and_ends_stay_where_they_were() {
    for order in [Order::Time, Order::Arrival] {
        let mut bench = Bench::live(order, 2);
        bench.lines(0, &[450], Age::Live);
        bench.push(Event::Mark(SourceId(0), Mark::Note("x".into())));
        bench.lines(0, &[470], Age::Live);
        bench.push(Event::Closed(SourceId(0)));
        bench.lines(1, &[480], Age::Live);
        assert_eq!(
            bench.drain(),
            "0:450 mark 0 Note(\"x\") 0:470 closed 0 1:480"
        );
    }
}

#[test]
fn arrival_does_not_wait() {
    let mut bench = Bench::live(Order::Arrival, 2);
    bench.lines(0, &[490, 480], Age::Live);
    assert_eq!(bench.gone(), "0:490 0:480");
    bench.lines(1, &[10], Age::History);
    bench.lines(0, &[495], Age::Live);
    assert_eq!(bench.gone(), "1:10 0:495");
    assert_eq!(bench.drain(), "");
}

#[test]
fn the_limit_of_bytes_lets_the_oldest_go() {
    let mut bench = Bench::new(Order::Time, 2_000);
    for id in 0..2 {
        bench.push(Event::Opened(SourceId(id), source(id)));
    }
    for n in 0..100 {
        bench.lines(0, &[n], Age::Live);
        bench.pop();
        assert!(bench.merger.bytes() <= 2_000);
    }
    assert!(!bench.out.is_empty());
    assert!(bench.out.len() < 100);
    bench.drain();
}

#[test]
fn a_source_nobody_announced_is_still_shown() {
    let mut bench = Bench::new(Order::Time, MERGE_BYTES);
    bench.lines(7, &[1], Age::Live);
    assert_eq!(bench.drain(), "7:1");
}

/// What may happen in generated runs.
#[derive(Debug, Clone)]
enum Step {
    /// Lines of a source at these steps of time in ms after its last.
    Lines(u32, Vec<i64>),
    Wait(u64),
    Mark(u32),
    Close(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4_u32, prop::collection::vec(-50..200_i64, 1..6)).prop_map(|(id, times)| Step::Lines(id, times)),
        4 => (0..400_u64).prop_map(Step::Wait),
        1 => (9_000..21_000_u64).prop_map(Step::Wait),
        1 => (0..4_u32).prop_map(Step::Mark),
        1 => (0..4_u32).prop_map(Step::Close),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn everything_comes_out_once_and_in_its_source_s_order(steps in steps(), limit in prop_oneof![Just(1_000_usize), Just(MERGE_BYTES)], order in prop_oneof![Just(Order::Time), Just(Order::Arrival)]) {
        let mut bench = Bench::new(order, limit);
        let mut wanted: std::collections::BTreeMap<u32, Vec<String>> = std::collections::BTreeMap::new();
        let mut arrivals = Vec::new();
        let mut incarnation = [0_u32; 4];
        let mut time = 0_i64;
        let mut count = 0;
        for step in steps {
            match step {
                Step::Lines(id, times) => {
                    let id = id + 4 * incarnation[id as usize];
                    let mut bytes = Vec::new();
                    let mut lines = Vec::new();
                    for step in times {
                        time += step;
                        count += 1;
                        let text = format!("{id}#{count}");
                        lines.push(line(START_NS + time * MS, bytes.len() as u32, text.len() as u32, Age::Live));
                        bytes.extend_from_slice(text.as_bytes());
                        wanted.entry(id).or_default().push(text.clone());
                        arrivals.push(text);
                    }
                    let id = SourceId(id);
                    let arrived = bench.now();
                    bench.push(Event::Lines(Batch { source: id, arrived, bytes, lines }));
                }
                Step::Wait(ms) => bench.now_ms += ms,
                Step::Mark(id) => bench.push(Event::Mark(SourceId(id + 4 * incarnation[id as usize]), Mark::Note(String::new()))),
                Step::Close(id) => {
                    bench.push(Event::Closed(SourceId(id + 4 * incarnation[id as usize])));
                    incarnation[id as usize] += 1;
                }
            }
            bench.pop();
            prop_assert!(bench.merger.bytes() <= limit);
            // Nothing may be due that was not given.
            let now = bench.now();
            prop_assert!(bench.merger.deadline().is_none_or(|deadline| deadline > now));
        }
        bench.merger.drain();
        bench.pop();
        prop_assert_eq!(bench.merger.bytes(), 0);
        prop_assert!(bench.merger.deadline().is_none());
        let gone: Vec<String> = bench.out.iter().filter(|text| text.contains('#')).cloned().collect();
        if order == Order::Arrival {
            prop_assert_eq!(&gone, &arrivals);
        }
        for (id, wanted) in &wanted {
            let of_source: Vec<&String> = gone.iter().filter(|text| text.starts_with(&format!("{id}#"))).collect();
            prop_assert_eq!(of_source, wanted.iter().collect::<Vec<_>>());
        }
        prop_assert_eq!(gone.len(), count);
    }

    #[test]
    fn what_arrives_within_the_window_comes_out_sorted(
        lines in prop::collection::vec((0..5_u32, 0..3_000_u64, 0..199_u64), 1..150),
        polls in prop::collection::vec(1..150_u64, 1..10),
    ) {
        let mut bench = Bench::new(Order::Time, MERGE_BYTES);
        for id in 0..5 {
            bench.push(Event::Opened(SourceId(id), source(id)));
            bench.push(Event::CaughtUp(SourceId(id)));
        }
        // (arrival, source, written): a source's lines arrive in the order in which they were written.
        let mut arrivals: Vec<(u64, u32, u64)> = Vec::new();
        for id in 0..5 {
            let mut of_source: Vec<(u64, u64)> = lines.iter().filter(|line| line.0 == id).map(|line| (line.1, line.2)).collect();
            of_source.sort_unstable();
            let mut last = 0;
            for (written, delay) in of_source {
                last = last.max(written + delay);
                arrivals.push((last, id, written));
            }
        }
        arrivals.sort_by_key(|arrival| arrival.0);
        let mut polls = polls.iter().cycle();
        let mut next_poll = 0;
        for (arrival, id, written) in arrivals {
            while next_poll < arrival {
                bench.now_ms = next_poll;
                bench.pop();
                next_poll += polls.next().unwrap();
            }
            bench.now_ms = arrival;
            bench.lines(id, &[written as i64], Age::Live);
            bench.pop();
        }
        bench.merger.drain();
        bench.pop();
        let times: Vec<i64> = bench.out.iter().map(|text| text.split_once(':').unwrap().1.parse().unwrap()).collect();
        prop_assert!(times.is_sorted(), "{times:?}");
        prop_assert_eq!(times.len(), lines.len());
    }

    #[test]
    fn history_comes_out_sorted(sources in prop::collection::vec(prop::collection::vec(-1_000_000..0_i64, 0..20), 1..6)) {
        let mut bench = Bench::new(Order::Time, MERGE_BYTES);
        for (id, _) in sources.iter().enumerate() {
            bench.push(Event::Opened(SourceId(id as u32), source(id as u32)));
        }
        for (id, times) in sources.iter().enumerate() {
            bench.now_ms += 20;
            let mut times = times.clone();
            times.sort_unstable();
            bench.lines(id as u32, &times, Age::History);
            bench.push(Event::CaughtUp(SourceId(id as u32)));
            bench.pop();
        }
        bench.now_ms += 200;
        let now = bench.now();
        prop_assert!(bench.merger.deadline().is_none_or(|deadline| deadline <= now));
        bench.pop();
        let mut wanted: Vec<i64> = sources.concat();
        wanted.sort_unstable();
        let times: Vec<i64> = bench.out.iter().map(|text| text.split_once(':').unwrap().1.parse().unwrap()).collect();
        prop_assert_eq!(times, wanted);
    }
}

#[test]
fn a_mark_is_not_held_for_ever_either() {
    let mut bench = Bench::new(Order::Time, MERGE_BYTES);
    bench.push(Event::Opened(SourceId(0), source(0)));
    bench.push(Event::Mark(SourceId(0), Mark::Note("x".into())));
    assert_eq!(bench.gone(), "");
    assert_eq!(bench.merger.deadline(), Some(bench.start + HISTORY_HOLD));
    bench.now_ms = 1_000;
    assert_eq!(bench.gone(), "mark 0 Note(\"x\")");
}

#[test]
fn a_run_is_limited() {
    let mut bench = Bench::live(Order::Time, 1);
    let times: Vec<i64> = (0..=RUN_LINES as i64 * 2).collect();
    bench.lines(0, &times, Age::History);
    let now = bench.now();
    let mut runs = Vec::new();
    while let Some(item) = bench.merger.pop(now) {
        let Item::Lines(run) = item else {
            panic!("only lines were pushed")
        };
        runs.push(run.lines.len());
    }
    assert_eq!(runs, [RUN_LINES, RUN_LINES, 1]);
}

/// Lines of a source, some of them without a time: those begin with a blank.
fn trace(bench: &mut Bench, id: u32, texts: &[(i64, &str)]) {
    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    for (time, text) in texts {
        let mut line = line(
            START_NS + time * MS,
            bytes.len() as u32,
            text.len() as u32,
            Age::Live,
        );
        if text.starts_with(' ') {
            line.ts_ns = None;
        }
        lines.push(line);
        bytes.extend_from_slice(text.as_bytes());
    }
    bench.push(Event::Lines(Batch {
        source: SourceId(id),
        arrived: bench.now(),
        bytes,
        lines,
    }));
}

#[test]
fn a_stack_trace_is_not_parted() {
    let mut bench = Bench::live(Order::Time, 2);
    // The same times, so that nothing but belonging together keeps them apart.
    trace(&mut bench, 1, &[(500, "b1"), (500, " b2")]);
    trace(&mut bench, 0, &[(500, "a1"), (500, " a2"), (500, " a3")]);
    bench.now_ms += 50;
    bench.pop();
    trace(&mut bench, 1, &[(500, " b3"), (510, "b4")]);
    trace(&mut bench, 0, &[(500, " a4"), (520, "a5")]);
    bench.now_ms += 500;
    bench.pop();
    assert_eq!(
        bench.out,
        ["a1", " a2", " a3", " a4", "b1", " b2", " b3", "b4", "a5"]
    );
}

#[test]
fn the_rest_of_a_trace_is_waited_for_a_moment() {
    let mut bench = Bench::live(Order::Time, 2);
    trace(&mut bench, 1, &[(500, "b1")]);
    bench.now_ms += 150;
    trace(&mut bench, 0, &[(400, "a1"), (400, " a2")]);
    bench.now_ms += 60;
    // The window of b1 is over, and a newer part of the trace may come.
    bench.pop();
    assert_eq!(bench.out, ["a1", " a2"]);
    let due = bench.merger.deadline().unwrap();
    assert_eq!(due, bench.now() + Duration::from_millis(40));
    trace(&mut bench, 0, &[(400, " a3")]);
    bench.pop();
    assert_eq!(bench.out, ["a1", " a2", " a3"]);
    bench.now_ms += 100;
    bench.pop();
    assert_eq!(bench.out, ["a1", " a2", " a3", "b1"]);
}

#[test]
fn lines_without_times_do_not_keep_others_out_for_ever() {
    let mut bench = Bench::live(Order::Time, 2);
    let mut texts = vec![(500, "a1")];
    texts.extend(std::iter::repeat_n((500, " a"), RECORD_LINES as usize + 10));
    trace(&mut bench, 0, &texts);
    bench.now_ms += 500;
    let now = bench.now();
    let Some(Item::Lines(run)) = bench.merger.pop(now) else {
        panic!("the window is over");
    };
    assert_eq!(run.lines.len(), RUN_LINES);
    // An older line, which only the record keeps back.
    trace(&mut bench, 1, &[(400, "b")]);
    bench.pop();
    let place = bench.out.iter().position(|text| text == "b");
    assert_eq!(place, Some(RECORD_LINES as usize - RUN_LINES));
    assert_eq!(bench.out.len(), texts.len() - RUN_LINES + 1);
    // A source that never had a time has no records.
    let mut bench = Bench::live(Order::Time, 2);
    trace(&mut bench, 0, &[(500, " x"), (502, " z")]);
    trace(&mut bench, 1, &[(501, "y")]);
    bench.now_ms += 500;
    bench.pop();
    assert_eq!(bench.out, [" x", "y", " z"]);
}
