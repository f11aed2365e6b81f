use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::encode::{ObjectWriter, WriteOptions};
use crate::identity::{AgentId, Incarnation};

fn key(encoding: Encoding) -> ObjectKey {
    let hour = Hour::of_ns(0);
    ObjectKey::new("aa", hour, AgentId(1), Incarnation(1), 1, encoding).unwrap()
}

fn object(encoding: Encoding) -> Vec<u8> {
    let mut writer = ObjectWriter::new(encoding, Vec::new(), &WriteOptions::default()).unwrap();
    let origin = Origin {
        src: "file".to_owned(),
        ..Origin::default()
    };
    for off in 0..3000 {
        let line = format!("line {off} of the file");
        let row = Row {
            origin: &origin,
            ts_ns: 0,
            ingest_ns: 0,
            epoch: 0,
            off,
            len: 1,
            level: None,
            request_id: None,
            trace_id: None,
            tpl: None,
            line: Some(line.as_bytes()),
            flags: Flags::default(),
        };
        writer.row(&row).unwrap();
    }
    writer.finish().unwrap().0
}

/// Reads all that can be read.
fn read(encoding: Encoding, object: &[u8]) -> Result<Report, DecodeError> {
    let object = Bytes::copy_from_slice(object);
    let _ = read_tiles(&key(encoding), object.clone(), Lines::Read, |_| ());
    let mut reader = ObjectReader::new(&key(encoding), object, Filter::default())?;
    for row in reader.by_ref() {
        row?;
    }
    Ok(reader.report().clone())
}

fn packed(json: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(json).unwrap();
    packer.finish().unwrap()
}

#[test]
fn damaged_lines_are_counted() {
    let ingest = r#""ingest_ts":"2026-01-05 04:00:00.123""#;
    let json = format!(
        "{}\n{}\n\nnot json\n{}\n{}\n{}\n{}\n{}\n{}",
        format_args!(r#"{{{ingest},"src":"a","off":5,"later":[1,{{"x":2}}]}}"#),
        format_args!(r#"{{{ingest},"off":5}}"#),
        format_args!(r#"{{{ingest},"src":"a","off":"5"}}"#),
        format_args!(r#"{{{ingest},"src":"a","line":"\ud800"}}"#),
        r#"{"ingest_ts":"2026-02-30 04:00:00.123","src":"a"}"#,
        format_args!(r#"{{{ingest},"src":"a","raw":"?"}}"#),
        format_args!(r#"{{{ingest},"src":"a","level":"loud"}}"#),
        format_args!(r#"{{{ingest},"src":"a","ts_ns":3600000000000}}"#),
    );
    let report = read(Encoding::Ndjson, &packed(json.as_bytes())).unwrap();
    assert_eq!((report.rows, report.damaged, report.wrong_hour), (2, 8, 1));
    let first = report.first_damage.unwrap();
    assert_eq!(first.line, 2);
    assert!(first.to_string().contains("src"), "{first}");
}

#[test]
fn members_of_gzip_are_read_as_one() {
    let line = |off| {
        format!("{{\"ingest_ts\":\"2026-01-05 04:00:00.123\",\"src\":\"a\",\"off\":{off}}}\n")
    };
    let mut object = packed(line(1).as_bytes());
    object.extend(packed(line(2).as_bytes()));
    assert_eq!(read(Encoding::Ndjson, &object).unwrap().rows, 2);
}

#[test]
fn an_error_names_the_object() {
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let object = object(encoding);
        let error = read(encoding, &object[..object.len() / 2]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&key(encoding).to_string()), "{text}");
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_at_most(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        near_end in any::<bool>(),
    ) {
        for encoding in [Encoding::Parquet, Encoding::Ndjson] {
            let mut object = object(encoding);
            let start = if near_end { object.len().saturating_sub(3000) } else { 0 };
            for (place, byte) in &changes {
                let place = start + place.index(object.len() - start);
                object[place] = *byte;
            }
            if let Some(cut) = cut {
                let len = cut.index(object.len());
                object.truncate(len);
            }
            let _ = read(encoding, &object);
        }
    }

    #[test]
    fn any_bytes_are_an_error_at_most(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in [Encoding::Parquet, Encoding::Ndjson] {
            let _ = read(encoding, &bytes);
        }
        let _ = read(Encoding::Ndjson, &packed(&bytes));
    }
}
