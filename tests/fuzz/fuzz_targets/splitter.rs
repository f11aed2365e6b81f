//! Any bytes in any chunks, with any limit: every byte belongs to exactly one line, and chunks make no difference.
#![no_main]

use joblog::lines::{Kind, Splitter};
use libfuzzer_sys::fuzz_target;

type Line = (u64, u32, Vec<u8>, Kind);

fn split<'a>(chunks: impl Iterator<Item = &'a [u8]>, limit: usize, offset: u64) -> Vec<Line> {
    let mut splitter = Splitter::new(limit, offset);
    let mut lines = Vec::new();
    for chunk in chunks {
        splitter.push(chunk, |line| lines.push((line.offset, line.file_len, line.bytes.to_vec(), line.kind)));
    }
    splitter.finish(|line| lines.push((line.offset, line.file_len, line.bytes.to_vec(), line.kind)));
    lines
}

fuzz_target!(|data: (&[u8], u8, u8, u32)| {
    let (bytes, chunk, limit, offset) = data;
    let (limit, offset) = (usize::from(limit), u64::from(offset));
    let whole = split(std::iter::once(bytes), limit, offset);
    let mut next = offset;
    for (at, length, text, _) in &whole {
        assert_eq!(*at, next);
        let from = (at - offset) as usize;
        assert_eq!(&bytes[from..from + text.len()], text);
        next += u64::from(*length);
    }
    assert_eq!(next, offset + bytes.len() as u64);
    assert_eq!(split(bytes.chunks(usize::from(chunk).max(1)), limit, offset), whole);
});
