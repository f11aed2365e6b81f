//! Any bytes as a result object, in pieces of any size: the same rows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use queries::athena::csv::{CsvError, CsvReader};
use queries::rows::Row;

fn read(text: &[u8], piece: usize) -> Result<Vec<Row>, CsvError> {
    let (mut reader, mut rows) = (CsvReader::default(), Vec::new());
    for bytes in text.chunks(piece) {
        reader.feed(bytes, &mut rows)?;
    }
    reader.finish(&mut rows)?;
    Ok(rows)
}

fuzz_target!(|data: (u8, &[u8])| {
    let (piece, text) = data;
    let whole = read(text, text.len().max(1));
    assert_eq!(whole, read(text, usize::from(piece).max(1)));
});
