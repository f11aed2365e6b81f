use super::*;

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
    }
}

fn columns() -> Vec<Column> {
    vec![
        column("ts", Kind::Timestamp { precision: 3 }),
        column("job", Kind::Varchar),
        column("lines", Kind::BigInt),
        column("percent", Kind::Double),
        column("line", Kind::Varchar),
    ]
}

fn row(cells: [Option<&str>; 5]) -> Row {
    cells
        .into_iter()
        .map(|cell| cell.map(str::to_owned))
        .collect()
}

fn some_rows() -> Vec<Row> {
    let long = "GET /api/v1/orders?page=2 took 1204 ms, upstream orders-db timed out after 1000 ms; the request goes on with what is cached";
    vec![
        row([
            Some("2026-11-24 09:00:00.000"),
            Some("hello"),
            Some("12"),
            Some("1.25"),
            Some("a short line"),
        ]),
        row([
            Some("2026-11-24 09:00:00.020"),
            Some("hello"),
            Some("1200"),
            Some("0.1"),
            Some(long),
        ]),
        row([Some("2026-11-24 09:02:00.000"), None, None, None, Some("")]),
        row([
            Some("2026-11-24 09:02:00.000"),
            Some("日本語"),
            Some("-7"),
            Some("NaN"),
            Some("tab\there\n\x1b[31mred\u{202e}"),
        ]),
        row([
            Some("2026-11-24 09:02:00.001"),
            Some("world"),
            Some("0"),
            Some("100.0"),
            Some("comma, \"quote\""),
        ]),
    ]
}

fn options(format: Format, width: Option<usize>, reader: Reader) -> Options {
    Options {
        format,
        header: Header::Shown,
        fit: Fit::Cut,
        page: Page {
            columns: width,
            reader,
        },
        chart: None,
    }
}

fn written(options: Options, columns: &[Column], rows: Vec<Row>) -> String {
    let mut out = Vec::new();
    let mut output = Output::new(&mut out, options);
    output.columns(columns).expect("columns");
    let count = rows.len() as u64;
    // In two parts, as they come.
    let mut rows = rows;
    let rest = rows.split_off(rows.len() / 2);
    output.rows(rows).expect("rows");
    output.rows(rest).expect("rows");
    assert_eq!(output.finish().expect("an end"), count);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn tables_fit_the_terminal() {
    for width in [80, 120] {
        let table = written(
            options(Format::Table, Some(width), Reader::Terminal),
            &columns(),
            some_rows(),
        );
        for line in table.lines() {
            assert!(
                unicode_width::UnicodeWidthStr::width(line) <= width,
                "{line}"
            );
        }
        insta::assert_snapshot!(format!("table_{width}"), table);
        let wrapped = Options {
            fit: Fit::Wrapped,
            ..options(Format::Table, Some(width), Reader::Terminal)
        };
        insta::assert_snapshot!(
            format!("wrapped_{width}"),
            written(wrapped, &columns(), some_rows())
        );
    }
}

#[test]
fn what_does_not_fit_is_one_value_a_line() {
    let narrow = written(
        options(Format::Table, Some(40), Reader::Terminal),
        &columns(),
        some_rows(),
    );
    assert!(narrow.starts_with("─── 1 "), "{narrow}");
    let few = written(
        options(Format::Table, Some(80), Reader::Terminal),
        &columns(),
        some_rows()[1..2].to_vec(),
    );
    insta::assert_snapshot!(few);
}

#[test]
fn the_other_formats() {
    let wide = Options {
        fit: Fit::Wide,
        ..options(Format::Table, Some(80), Reader::Terminal)
    };
    insta::assert_snapshot!("wide", written(wide, &columns(), some_rows()));
    insta::assert_snapshot!(
        "pipe",
        written(
            options(Format::Table, None, Reader::Program),
            &columns(),
            some_rows()
        )
    );
    insta::assert_snapshot!(
        "vertical",
        written(
            options(Format::Vertical, Some(80), Reader::Terminal),
            &columns(),
            some_rows()
        )
    );
    insta::assert_snapshot!(
        "csv",
        written(
            options(Format::Csv, None, Reader::Program),
            &columns(),
            some_rows()
        )
    );
    insta::assert_snapshot!(
        "csv_terminal",
        written(
            options(Format::Csv, None, Reader::Terminal),
            &columns(),
            some_rows()
        )
    );
    insta::assert_snapshot!(
        "json",
        written(
            options(Format::Json, None, Reader::Program),
            &columns(),
            some_rows()
        )
    );
    let coloured = written(
        options(Format::Table, Some(80), Reader::Colours),
        &columns()[..3],
        vec![],
    );
    insta::assert_snapshot!("coloured", coloured.replace('\x1b', "ESC"));
}

#[test]
fn headers_can_be_left_out() {
    for format in [Format::Table, Format::Csv] {
        let bare = Options {
            header: Header::Hidden,
            ..options(format, None, Reader::Program)
        };
        let text = written(bare, &columns(), some_rows());
        assert!(text.starts_with("2026-11-24 09:00:00.000"), "{text}");
    }
}

#[test]
fn bars_show_gaps() {
    let chart = Options {
        chart: Some(Chart {
            along: "ts".to_owned(),
            bars: "lines".to_owned(),
        }),
        ..options(Format::Chart, Some(60), Reader::Terminal)
    };
    let rows = [
        ("09:00", "10"),
        ("09:01", "80"),
        ("09:01", "40"),
        ("09:04", "1"),
        ("09:06", "60"),
    ]
    .into_iter()
    .map(|(time, lines)| {
        row([
            Some(&format!("2026-11-24 {time}:00.000")),
            Some("a"),
            Some(lines),
            None,
            None,
        ])
    })
    .collect();
    insta::assert_snapshot!(written(chart, &columns(), rows));
}

#[test]
fn a_chart_needs_its_columns() {
    let mut out = Vec::new();
    let mut output = Output::new(&mut out, options(Format::Chart, Some(60), Reader::Terminal));
    assert!(output.columns(&columns()).is_err());
}

#[test]
fn later_rows_keep_the_widths() {
    let mut out = Vec::new();
    let mut output = Output::new(&mut out, options(Format::Table, Some(80), Reader::Terminal));
    output.columns(&columns()).expect("columns");
    for _ in 0..600 {
        output.rows(some_rows()).expect("rows");
    }
    assert_eq!(output.finish().expect("an end"), 3000);
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(text.lines().count(), 3002);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[2], lines[2997]);
}

#[test]
fn targets_are_formats_or_files() {
    for (text, format, file) in [
        ("json", Format::Json, None),
        ("answer.parquet", Format::Parquet, Some("answer.parquet")),
        ("csv:answer.txt", Format::Csv, Some("answer.txt")),
        ("./csv.csv", Format::Csv, Some("./csv.csv")),
    ] {
        let target: Target = text.parse().expect("a target");
        assert_eq!(
            (target.format, target.file),
            (format, file.map(PathBuf::from))
        );
    }
    for text in ["", "xml", "answer", "answer.xls", "csv:"] {
        assert!(text.parse::<Target>().is_err(), "{text}");
    }
}

#[test]
fn two_columns_of_one_name_are_told_apart() {
    let twice = [column("a", Kind::BigInt), column("a", Kind::BigInt)];
    let rows = vec![vec![Some("1".to_owned()), Some("2".to_owned())]];
    let json = written(options(Format::Json, None, Reader::Program), &twice, rows);
    assert_eq!(json, "{\"a\":1,\"a_2\":2}\n");
}

#[test]
fn a_reader_who_leaves_is_an_error_that_says_so() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut gone = Gone;
    let mut output = Output::new(&mut gone, options(Format::Csv, None, Reader::Program));
    let error = output.columns(&columns()).expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}
