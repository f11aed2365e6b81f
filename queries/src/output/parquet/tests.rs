use super::*;
use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn column(name: &str, kind: Kind) -> Column {
    Column {
        name: name.to_owned(),
        kind,
    }
}

/// Writes rows of one column to a file and reads them back.
fn through(kind: Kind, cells: &[Option<&str>]) -> io::Result<ArrayRef> {
    let mut out = Vec::new();
    let mut file = Parquet::new(&[column("a", kind)])?;
    let rows = cells
        .iter()
        .map(|cell| vec![cell.map(str::to_owned)])
        .collect();
    file.rows(rows, &mut out)?;
    file.finish(&mut out)?;
    let mut path = tempfile::NamedTempFile::new()?;
    path.write_all(&out)?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(path.reopen()?)
        .map_err(io::Error::other)?
        .build()
        .map_err(io::Error::other)?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(io::Error::other)?;
    assert_eq!(batches.len(), 1);
    Ok(Arc::clone(batches[0].column(0)))
}

fn shown(kind: Kind, cell: &str) -> String {
    let array = through(kind, &[Some(cell), None]).unwrap_or_else(|error| panic!("{error}"));
    assert!(array.is_null(1));
    let array = array.slice(0, 1);
    format!(
        "{:?}: {}",
        array.data_type(),
        // Whether the library knows the zone's name depends on what else is in the program.
        format!("{array:?}")
            .replace('\n', " ")
            .replace(" (Unknown Time Zone 'UTC')", "+00:00")
    )
}

#[test]
fn every_type_goes_into_the_file() {
    let mut all = String::new();
    for (kind, cell) in [
        (Kind::Boolean, "true"),
        (Kind::TinyInt, "-1"),
        (Kind::SmallInt, "300"),
        (Kind::Integer, "70000"),
        (Kind::BigInt, "9223372036854775807"),
        (Kind::Real, "1.5"),
        (Kind::Double, "1.0E10"),
        (
            Kind::Decimal {
                precision: 10,
                scale: 2,
            },
            "-12.5",
        ),
        (Kind::Varchar, "a\"b"),
        (Kind::Varbinary, "01 ff 0a"),
        (Kind::Date, "2026-11-01"),
        (Kind::Timestamp { precision: 3 }, "2026-11-01 09:00:00.123"),
        (
            Kind::Timestamp { precision: 6 },
            "2026-11-01 09:00:00.123456",
        ),
        (
            Kind::TimestampWithTimeZone { precision: 9 },
            "2026-11-01 09:00:00.123456789 UTC",
        ),
        (Kind::Json, "{\"a\":1}"),
        (Kind::Other("array(varchar)".to_owned()), "[a, b]"),
    ] {
        all += &shown(kind, cell);
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn infinities_are_read_as_java_writes_them() {
    let array = through(
        Kind::Double,
        &[Some("NaN"), Some("Infinity"), Some("-Infinity")],
    )
    .expect("doubles");
    let values = array.as_primitive::<Float64Type>();
    assert!(values.value(0).is_nan());
    assert_eq!(
        (values.value(1), values.value(2)),
        (f64::INFINITY, f64::NEG_INFINITY)
    );
}

#[test]
fn what_its_type_has_no_value_for_is_an_error() {
    for (kind, cell) in [
        (Kind::Integer, "2147483648"),
        (Kind::Boolean, "yes"),
        (Kind::Timestamp { precision: 3 }, "now"),
        (Kind::Date, "-1d"),
        (
            Kind::Decimal {
                precision: 4,
                scale: 1,
            },
            "1.25",
        ),
        (Kind::Varbinary, "0"),
    ] {
        let error = through(kind, &[Some(cell)]).expect_err(cell).to_string();
        assert!(error.contains("no value of its type"), "{error}");
    }
}

#[test]
fn many_rows_are_written_as_they_come() {
    let mut out = Vec::new();
    let mut file = Parquet::new(&[column("a", Kind::BigInt)]).expect("a file");
    for start in 0..20 {
        let rows = (0..1000)
            .map(|n| vec![Some((start * 1000 + n).to_string())])
            .collect();
        file.rows(rows, &mut out).expect("rows");
    }
    file.finish(&mut out).expect("an end");
    let mut path = tempfile::NamedTempFile::new().expect("a file");
    path.write_all(&out).expect("written");
    let reader = ParquetRecordBatchReaderBuilder::try_new(path.reopen().expect("a file"))
        .expect("Parquet")
        .build()
        .expect("a reader");
    let sum: i64 = reader
        .map(|batch| {
            let batch = batch.expect("a batch");
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .sum::<i64>()
        })
        .sum();
    assert_eq!(sum, (0..20_000).sum::<i64>());
}
