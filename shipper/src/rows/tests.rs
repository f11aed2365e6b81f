use super::*;
use crate::ids::IdRules;
use crate::redact::RedactionRule;
use proptest::prelude::*;

/// 5 January 2026, 03:04:05.
const SECOND: i64 = 1_767_582_245;
const NANOS: i64 = 1_000_000_000;
const NOW: i64 = (SECOND + 60) * NANOS;

fn rules(max_line_bytes: usize) -> Arc<LineRules> {
    let password = RedactionRule {
        name: "password".to_owned(),
        pattern: r"password=(\w+)".to_owned(),
        mask: "***".to_owned(),
    };
    Arc::new(LineRules {
        zone: TimeZone::UTC,
        max_line_bytes,
        age: AgeRule::NearBirth,
        ids: IdFinder::new(&IdRules::default()).expect("valid rules"),
        redactor: Redactor::new(&[password]).expect("valid rules"),
    })
}

fn facts(origin: &Origin) -> FileFacts<'_> {
    FileFacts {
        origin,
        epoch: 3,
        birth_ns: Some(NOW - 3600 * NANOS),
        changed_ns: NOW - 2 * NANOS,
        reading_ns: NOW,
    }
}

/// A row that owns what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    off: u64,
    len: u64,
    ts_ns: i64,
    level: Option<Level>,
    request_id: Option<String>,
    trace_id: Option<String>,
    tpl: Option<u64>,
    line: Option<Vec<u8>>,
    flags: Flags,
}

impl From<&Row<'_>> for Owned {
    fn from(row: &Row<'_>) -> Self {
        assert_eq!((row.epoch, row.ingest_ns), (3, NOW));
        Self {
            off: row.off,
            len: row.len,
            ts_ns: row.ts_ns,
            level: row.level,
            request_id: row.request_id.map(str::to_owned),
            trace_id: row.trace_id.map(str::to_owned),
            tpl: row.tpl,
            line: row.line.map(<[u8]>::to_vec),
            flags: row.flags,
        }
    }
}

/// Reads a text at once and releases its end.
fn read(max_line_bytes: usize, text: &[u8]) -> Vec<Owned> {
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(max_line_bytes));
    let mut reading = maker.read(facts(&origin), 0, RowState::default());
    let mut rows = Vec::new();
    let mut each = |row: &Row<'_>| {
        rows.push(Owned::from(row));
        ControlFlow::Continue(())
    };
    assert!(reading.push(text, &mut each).is_continue());
    assert!(reading.release(&mut each).is_continue());
    assert_eq!(reading.close().0, text.len() as u64);
    rows
}

/// The rows of a text: their length, their time in seconds after [`SECOND`], their level, flags and line.
#[track_caller]
fn check(text: &str, expected: &[(u64, i64, Option<Level>, Flags, &str)]) {
    let rows = read(1 << 20, text.as_bytes());
    let got: Vec<_> = rows
        .iter()
        .map(|row| {
            let line = std::str::from_utf8(row.line.as_deref().expect("a line")).expect("text");
            let seconds = (row.ts_ns - SECOND * NANOS) / NANOS;
            (row.len, seconds, row.level, row.flags, line)
        })
        .collect();
    assert_eq!(got, expected, "{text:?}");
}

const NONE: Flags = Flags(0);

#[test]
fn times_levels_and_continuations() {
    use Flags as F;
    let level = |level| Some(level);
    check("", &[]);
    check(
        "starting\n\tindented\n2026-01-05 03:04:05,678 ERROR boom\njava.lang.Exception: x\n\tat a.b(C.java:1)\n\n\
         2026-01-05T03:04:06Z INFO on\n",
        &[
            (9, 58, None, NONE, "starting"),
            (10, 58, None, F::CONTINUATION, "\tindented"),
            (
                35,
                0,
                level(Level::Error),
                NONE,
                "2026-01-05 03:04:05,678 ERROR boom",
            ),
            (23, 0, None, F::CONTINUATION, "java.lang.Exception: x"),
            (18, 0, None, F::CONTINUATION, "\tat a.b(C.java:1)"),
            (1, 0, None, F::CONTINUATION, ""),
            (
                29,
                1,
                level(Level::Info),
                NONE,
                "2026-01-05T03:04:06Z INFO on",
            ),
        ],
    );
    // Nothing stands above the first line; a file without times has continuations by their form alone.
    check(
        " indented\nplain\nCaused by: x\r\nat y\n... 3 more\nplain\n",
        &[
            (10, 58, None, NONE, " indented"),
            (6, 58, None, NONE, "plain"),
            (14, 58, None, F::CONTINUATION, "Caused by: x"),
            (5, 58, None, F::CONTINUATION, "at y"),
            (11, 58, None, F::CONTINUATION, "... 3 more"),
            (6, 58, None, NONE, "plain"),
        ],
    );
    // A JSON object stands for itself, with or without a time.
    check(
        "{\"ts\":1767582245,\"level\":\"warn\",\"msg\":\"x\"}\n{\"msg\":\"y\"}\n",
        &[
            (
                43,
                0,
                level(Level::Warn),
                NONE,
                "{\"ts\":1767582245,\"level\":\"warn\",\"msg\":\"x\"}",
            ),
            (12, 0, None, NONE, "{\"msg\":\"y\"}"),
        ],
    );
    check(
        "2031-01-01 00:00:00 x",
        &[(
            21,
            60,
            None,
            F::TIME_SUBSTITUTED | F::UNFINISHED,
            "2031-01-01 00:00:00 x",
        )],
    );
    // Without a year: the year before the file's last change.
    check(
        "Jan  5 03:04:05 node7 x: y\n",
        &[(27, 0, None, NONE, "Jan  5 03:04:05 node7 x: y")],
    );
}

#[test]
fn overlong_and_unfinished_lines() {
    use Flags as F;
    let text = b"abcdefgh\nabcdefghij\r\nabcdefghijklmnopqrst\nuv";
    let rows = read(8, text);
    let got: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.off,
                row.len,
                row.flags,
                row.line.clone().expect("a line"),
            )
        })
        .collect();
    let row = |off, len, flags, line: &str| (off, len, flags, line.as_bytes().to_vec());
    assert_eq!(
        got,
        [
            row(0, 9, NONE, "abcdefgh"),
            row(9, 8, F::PIECE, "abcdefgh"),
            row(17, 4, F::CONTINUATION, "ij"),
            row(21, 8, F::PIECE, "abcdefgh"),
            row(29, 8, F::PIECE | F::CONTINUATION, "ijklmnop"),
            row(37, 5, F::CONTINUATION, "qrst"),
            row(42, 2, F::UNFINISHED, "uv"),
        ]
    );
    assert!(rows[1].tpl.is_some() && rows[2].tpl.is_none());
}

#[test]
fn the_rest_of_a_released_line_continues_it() {
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(1 << 20));
    let mut rows = Vec::new();
    let mut each = |row: &Row<'_>| {
        rows.push(Owned::from(row));
        ControlFlow::Continue(())
    };
    let mut reading = maker.read(facts(&origin), 7, RowState::default());
    assert!(
        reading
            .push(b"2026-01-05 03:04:05 WARN a", &mut each)
            .is_continue()
    );
    assert_eq!(
        (reading.offset(), reading.pending(), reading.next()),
        (7, 26, 33)
    );
    assert!(reading.release(&mut each).is_continue());
    assert_eq!((reading.offset(), reading.pending()), (33, 0));
    let (offset, state) = reading.close();
    let mut reading = maker.read(facts(&origin), offset, state);
    assert!(
        reading
            .push(b" 2026-01-05 03:04:50 ERROR b\nc\n", &mut each)
            .is_continue()
    );
    assert_eq!(reading.close().0, 64);
    let got: Vec<_> = rows
        .iter()
        .map(|row| (row.off, row.len, row.ts_ns, row.level, row.flags))
        .collect();
    assert_eq!(
        got,
        [
            (7, 26, SECOND * NANOS, Some(Level::Warn), Flags::UNFINISHED),
            (33, 29, SECOND * NANOS, None, Flags::CONTINUATION),
            (62, 2, SECOND * NANOS, None, Flags::CONTINUATION),
        ]
    );
}

#[test]
fn ids_and_masks() {
    let text = "2026-01-05 03:04:05 INFO in request_id=ab-1 trace_id=f00 password=abc x\nplain\n\
                2026-01-05 03:04:05 INFO in request_id=ab-2 trace_id=f01 password=defg x\n\
                request_id=password=x\nrequest_id=x\n";
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(1 << 20));
    let mut rows = Vec::new();
    let mut reading = maker.read(facts(&origin), 0, RowState::default());
    let flow = reading.push(text.as_bytes(), |row| {
        rows.push(Owned::from(row));
        if rows.len() < 4 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert!(flow.is_break());
    assert_eq!(reading.close().0, rows[3].off);
    // The row that was refused is not counted.
    assert_eq!(maker.take_redacted(), [2]);
    assert_eq!(maker.take_redacted(), [0]);
    let ids: Vec<_> = rows
        .iter()
        .map(|row| (row.request_id.as_deref(), row.trace_id.as_deref()))
        .collect();
    assert_eq!(
        ids,
        [
            (Some("ab-1"), Some("f00")),
            (None, None),
            (Some("ab-2"), Some("f01")),
            // What is masked in the line is masked in the id too.
            (Some("password="), None),
        ]
    );
    assert_eq!(
        rows[0].line.as_deref(),
        Some(&b"2026-01-05 03:04:05 INFO in request_id=ab-1 trace_id=f00 password=*** x"[..])
    );
    assert_eq!((rows[0].len, rows[0].flags), (72, Flags::REDACTED));
    assert_eq!(rows[0].tpl, rows[2].tpl);
    assert_ne!(rows[0].tpl, rows[1].tpl);
}

#[test]
fn templates_leave_out_the_time() {
    let rows = read(
        1 << 20,
        b"Jan  5 03:04:05 a: took 1 ms\nFeb 15 03:04:05 a: took 22 ms\n{\"msg\":\"took 1 ms\",\"n\":1}\n{\"msg\":\"took 2 ms\"}\n \n",
    );
    assert_eq!(rows[0].tpl, rows[1].tpl);
    assert_eq!(rows[2].tpl, rows[3].tpl);
    assert!(rows[0].tpl.is_some() && rows[2].tpl.is_some() && rows[0].tpl != rows[2].tpl);
    assert_eq!(rows[4].tpl, None);
}

#[test]
fn bytes_that_are_no_text() {
    let rows = read(4, b"ab\xff\nabc\xc3\xa4\n\xc3\xa4\n");
    let flags: Vec<_> = rows
        .iter()
        .map(|row| row.flags.contains(Flags::NOT_UTF8))
        .collect();
    // The limit falls inside a character of the second line.
    assert_eq!(flags, [true, true, true, false]);
}

#[test]
fn gaps_and_ends() {
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(1 << 20));
    let mut reading = maker.read(facts(&origin), 0, RowState::default());
    let mut rows = Vec::new();
    let mut each = |row: &Row<'_>| {
        rows.push(Owned::from(row));
        ControlFlow::Continue(())
    };
    assert!(
        reading
            .push(b"2026-01-05 03:04:05 a\nb", &mut each)
            .is_continue()
    );
    assert!(reading.gap(100, &mut each).is_continue());
    assert_eq!(
        (reading.offset(), reading.pending(), reading.next()),
        (122, 0, 122)
    );
    assert!(reading.push(b"c\n", &mut each).is_continue());
    assert!(reading.end(&mut each).is_continue());
    assert_eq!(reading.close().0, 124);
    let got: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.off,
                row.len,
                row.ts_ns - SECOND * NANOS,
                row.flags,
                row.line.is_some(),
            )
        })
        .collect();
    assert_eq!(
        got,
        [
            (0, 22, 0, NONE, true),
            (22, 100, 0, Flags::GAP, false),
            (122, 2, 0, Flags::CONTINUATION, true),
            (124, 0, 0, Flags::END, false),
        ]
    );
}

#[test]
fn after_a_refusal_nothing_is_taken() {
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(1 << 20));
    let mut reading = maker.read(facts(&origin), 0, RowState::default());
    let refuse = |_: &Row<'_>| ControlFlow::Break(());
    let never = |row: &Row<'_>| -> ControlFlow<()> { panic!("{row:?}") };
    assert!(reading.push(b"a\nb\n", refuse).is_break());
    assert!(reading.push(b"c\n", never).is_break());
    assert!(reading.release(never).is_break());
    assert!(reading.gap(1, never).is_break());
    assert!(reading.end(never).is_break());
    assert_eq!(reading.close(), (0, RowState::default()));
}

#[test]
fn the_state_is_small_and_keeps_its_form() {
    let text = |state: &RowState| serde_json::to_string(state).expect("a state is JSON");
    assert_eq!(
        text(&RowState::default()),
        r#"{"time":{},"place":"line_start","head":"none"}"#
    );
    let state = RowState {
        time: TimeState {
            before_ns: Some(1),
            newest_ns: None,
        },
        place: Place::InsideLine,
        head: Head::Seen,
    };
    assert_eq!(
        text(&state),
        r#"{"time":{"before_ns":1},"place":"inside_line","head":"seen"}"#
    );
    for state in [state, RowState::default()] {
        assert_eq!(
            serde_json::from_str::<RowState>(&text(&state)).expect("reads"),
            state
        );
    }
    assert_eq!(
        serde_json::from_str::<RowState>("{}").expect("reads"),
        RowState::default()
    );
}

/// Texts rich in what matters here.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just(b"\n".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        2 => Just(b"\n2026-01-05 03:04:05 INFO ".to_vec()),
        1 => Just(b"\n2026-01-05 03:04:06 WARN ".to_vec()),
        1 => Just(b"\n2026-02-05 03:04:06 ".to_vec()),
        1 => Just(b"\n{\"ts\":1767582247,\"msg\":\"a 1\",\"request_id\":\"r\"}".to_vec()),
        1 => Just(b" request_id=ab-1 ".to_vec()),
        1 => Just(b" password=abc ".to_vec()),
        1 => Just("ä".as_bytes().to_vec()),
        3 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
}

/// What happens to a reading.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many bytes are pushed.
    Push(usize),
    /// The reading ends and another one begins where it ended.
    Reopen,
    /// So many bytes are pushed, and the row with this number refused.
    Refuse(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..30).prop_map(Step::Push),
        1 => Just(Step::Reopen),
        1 => (0usize..60, 0usize..4).prop_map(|(bytes, row)| Step::Refuse(bytes, row)),
    ];
    prop::collection::vec(step, 0..40)
}

/// Reads a text by steps; a row is kept when it is taken.
fn read_by(max_line_bytes: usize, text: &[u8], steps: &[Step]) -> Vec<Owned> {
    let origin = Origin::default();
    let mut maker = RowMaker::new(rules(max_line_bytes));
    let mut rows = Vec::new();
    let mut carried = (0, RowState::default());
    let mut steps = steps.iter();
    loop {
        let (offset, state) = carried;
        let mut reading = maker.read(facts(&origin), offset, state);
        let is_last = loop {
            let Some(step) = steps.next() else { break true };
            let rest = &text[reading.next() as usize..];
            match *step {
                Step::Push(bytes) => {
                    let flow = reading.push(&rest[..bytes.min(rest.len())], |row| {
                        rows.push(Owned::from(row));
                        ControlFlow::Continue(())
                    });
                    assert!(flow.is_continue());
                }
                Step::Reopen => break false,
                Step::Refuse(bytes, row) => {
                    let mut seen = 0;
                    let flow = reading.push(&rest[..bytes.min(rest.len())], |made| {
                        seen += 1;
                        if seen > row {
                            return ControlFlow::Break(());
                        }
                        rows.push(Owned::from(made));
                        ControlFlow::Continue(())
                    });
                    if flow.is_break() {
                        break false;
                    }
                }
            }
        };
        if is_last {
            let rest = &text[reading.next() as usize..];
            let mut each = |row: &Row<'_>| {
                rows.push(Owned::from(row));
                ControlFlow::Continue(())
            };
            assert!(reading.push(rest, &mut each).is_continue());
            assert!(reading.release(&mut each).is_continue());
            assert_eq!(reading.close().0, text.len() as u64);
            return rows;
        }
        let (offset, state) = reading.close();
        let stored = serde_json::to_string(&state).expect("a state is JSON");
        carried = (offset, serde_json::from_str(&stored).expect("reads"));
    }
}

proptest! {
    /// However a text is cut into pieces and readings, the rows are the same.
    #[test]
    fn any_pieces_give_the_same_rows(text in text(), steps in steps(), max in 4usize..60) {
        prop_assert_eq!(read_by(max, &text, &steps), read(max, &text));
    }

    /// Every byte is in exactly one row, and can be had back from it unless it was masked.
    #[test]
    fn rows_tile_the_file(text in text(), steps in steps(), max in 4usize..60) {
        let mut rebuilt = Vec::new();
        for row in read_by(max, &text, &steps) {
            prop_assert_eq!(row.off, rebuilt.len() as u64);
            prop_assert!(row.len > 0);
            let line = row.line.expect("a line");
            let end = (row.off + row.len) as usize;
            if row.flags.contains(Flags::REDACTED) {
                rebuilt.extend_from_slice(&text[row.off as usize..end]);
                continue;
            }
            rebuilt.extend_from_slice(&line);
            match row.len as usize - line.len() {
                0 => {}
                1 => rebuilt.push(b'\n'),
                2 => rebuilt.extend_from_slice(b"\r\n"),
                more => prop_assert!(false, "{} bytes more than the line", more),
            }
        }
        prop_assert_eq!(rebuilt, text);
    }

    /// Whole lines of a text are read as each of them would be alone, ids and masks included: the filters over the buffer
    /// leave nothing out.
    #[test]
    fn filters_leave_nothing_out(text in text()) {
        let whole = read(1 << 20, &text);
        let by_line = read_by(1 << 20, &text, &vec![Step::Push(1); text.len()]);
        prop_assert_eq!(whole, by_line);
    }
}
