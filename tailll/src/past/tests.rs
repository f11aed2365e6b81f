use super::*;

fn seam() -> Seam {
    let source = Source {
        instance: Arc::new(InstanceLabel {
            job: "aa/r/prod/j".to_owned(),
            key: None,
            instance: Some(0),
            host: "h".to_owned(),
            task_id: Some("t".to_owned()),
        }),
        file: FileLabel::Plain {
            path: "f".to_owned(),
        },
        path: Vec::new(),
    };
    let identity = Identity {
        inode: 1,
        birth_s: None,
    };
    Seam::new(Arc::new(source), "s".to_owned(), identity, 0)
}

fn row(off: u64, len: u64, line: Option<&str>, flags: Flags) -> LineRow {
    LineRow {
        origin: Arc::default(),
        ts_ns: off as i64,
        epoch: 0,
        off,
        len,
        line: line.map(|line| Bytes::copy_from_slice(line.as_bytes())),
        flags,
    }
}

/// A seam behind these rows: where the file goes on, and which bytes are compared where.
fn check(rows: &[LineRow], offset: u64, bytes: &str, end: u64) {
    let mut seam = seam();
    for row in rows {
        extend(&mut seam, row);
    }
    assert_eq!(
        (
            seam.offset,
            String::from_utf8_lossy(&seam.check),
            seam.check_end
        ),
        (offset, bytes.into(), end),
        "{rows:?}"
    );
}

#[test]
fn a_seam_knows_the_bytes_before_it() {
    let none = Flags::default();
    check(
        &[row(10, 2, Some("a"), none), row(12, 3, Some("bc"), none)],
        15,
        "a\nbc\n",
        15,
    );
    // An unfinished line has no newline yet, nor has a piece.
    check(
        &[
            row(0, 2, Some("ab"), Flags::PIECE),
            row(2, 2, Some("cd"), Flags::UNFINISHED),
        ],
        4,
        "abcd",
        4,
    );
    let long = "x".repeat(200);
    check(
        &[row(0, 201, Some(&long), none)],
        201,
        &format!("{}\n", "x".repeat(CHECKED_BYTES - 1)),
        201,
    );
}

#[test]
fn what_was_masked_or_is_missing_is_not_compared() {
    let none = Flags::default();
    check(
        &[
            row(0, 2, Some("a"), none),
            row(2, 9, Some("***"), Flags::REDACTED),
        ],
        11,
        "a\n",
        2,
    );
    check(
        &[
            row(0, 2, Some("a"), none),
            row(2, 9, Some("***"), Flags::REDACTED),
            row(11, 2, Some("b"), none),
        ],
        13,
        "b\n",
        13,
    );
    check(
        &[row(0, 2, Some("a"), none), row(2, 7, None, Flags::GAP)],
        9,
        "a\n",
        2,
    );
}

#[test]
fn a_file_is_finished_by_its_last_row_alone() {
    let mut seam = seam();
    extend(&mut seam, &row(0, 2, Some("a"), Flags::default()));
    assert!(!seam.is_finished);
    extend(&mut seam, &row(2, 0, None, Flags::END));
    assert!(seam.is_finished);
    assert_eq!(seam.offset, 2);
}
