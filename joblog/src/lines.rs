//! From a file's bytes to lines, whatever the boundaries of the chunks they come in.
//!
//! Every byte belongs to exactly one line: the lines' `file_len` add up to what was pushed, and `offset` tells where in the
//! file each begins. Lines that lie within one chunk are not copied; only the unfinished end of a chunk is. Decoding, and
//! what a line says, are left to others.

use memchr::{memchr, memchr_iter};

/// The largest limit on a line, in bytes. A larger one is taken as this.
pub const MAX_LINE_BYTES: usize = 1 << 30;

/// One line, or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// The line without its `\n` or `\r\n`. A carriage return elsewhere is part of the line.
    pub bytes: &'a [u8],
    /// Where the line begins in the file.
    pub offset: u64,
    /// How many bytes of the file it stands for: with the line's end, where it has one.
    pub file_len: u32,
    /// Whether this is all of the line.
    pub kind: Kind,
}

impl RawLine<'_> {
    /// The offset of the byte after this line.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.file_len)
    }
}

/// Whether a [`RawLine`] is all of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A line with its end.
    Whole,
    /// A piece of a line that is longer than the limit. The last piece has the line's end, so its `file_len` is larger than
    /// the length of its `bytes`; the others have none. A cut may fall inside a character.
    Piece,
    /// The end of the input, or of a line's last piece, without a line's end.
    Unfinished,
}

/// Whether the next line's beginning has been handed out already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AtStart,
    AfterPiece,
}

/// Splits chunks of a file into lines.
///
/// ```
/// use joblog::lines::{Kind, Splitter};
/// let mut splitter = Splitter::new(1024, 0);
/// let mut lines = Vec::new();
/// for chunk in [&b"one\r"[..], b"\ntwo\nthr"] {
///     splitter.push(chunk, |line| lines.push((line.offset, line.bytes.to_vec())));
/// }
/// assert_eq!(lines, [(0, b"one".to_vec()), (5, b"two".to_vec())]);
/// splitter.finish(|line| assert_eq!((line.bytes, line.kind), (&b"thr"[..], Kind::Unfinished)));
/// ```
#[derive(Debug, Clone)]
pub struct Splitter {
    max_line_bytes: usize,
    /// Offset of the first byte of `carry`, or of the next chunk.
    line_offset: u64,
    /// The beginning of a line whose end has not come: at most one byte more than the limit.
    carry: Vec<u8>,
    state: State,
}

impl Splitter {
    /// A splitter for bytes from `offset` of a file on. Lines longer than `max_line_bytes` (at least 1, at most
    /// [`MAX_LINE_BYTES`]) come as pieces of that length.
    pub fn new(max_line_bytes: usize, offset: u64) -> Self {
        Self {
            max_line_bytes: max_line_bytes.clamp(1, MAX_LINE_BYTES),
            line_offset: offset,
            carry: Vec::new(),
            state: State::AtStart,
        }
    }

    /// The offset of the next byte expected.
    pub fn offset(&self) -> u64 {
        self.line_offset + self.carry.len() as u64
    }

    /// How many bytes wait for their line's end.
    pub fn pending(&self) -> usize {
        self.carry.len()
    }

    /// Takes the next bytes of the file and hands out each line that they complete.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(RawLine<'_>)) {
        let rest = self.push_to_carry(chunk, &mut each);
        let mut start = 0;
        for end in memchr_iter(b'\n', rest) {
            self.line(&rest[start..end], &mut each);
            start = end + 1;
        }
        let tail = self.cut(&rest[start..], &mut each);
        self.carry.extend_from_slice(tail);
    }

    /// Hands out what waits for its line's end, as an unfinished line. The splitter can go on afterwards; the next line begins
    /// at the next byte.
    pub fn finish(&mut self, mut each: impl FnMut(RawLine<'_>)) {
        let carry = std::mem::take(&mut self.carry);
        let mut rest = carry.as_slice();
        while rest.len() > self.max_line_bytes {
            let (piece, after) = rest.split_at(self.max_line_bytes);
            self.emit(piece, 0, Kind::Piece, &mut each);
            rest = after;
        }
        if !rest.is_empty() {
            self.emit(rest, 0, Kind::Unfinished, &mut each);
        }
        self.state = State::AtStart;
    }

    /// Completes the carried line with the chunk's beginning. Returns the rest of the chunk, which is empty unless the carry
    /// is.
    fn push_to_carry<'c>(
        &mut self,
        chunk: &'c [u8],
        each: &mut impl FnMut(RawLine<'_>),
    ) -> &'c [u8] {
        let mut rest = chunk;
        while !self.carry.is_empty() && !rest.is_empty() {
            let end = memchr(b'\n', rest);
            let segment = &rest[..end.unwrap_or(rest.len())];
            let last = segment.last().or(self.carry.last()).copied();
            if self.is_overlong(self.carry.len() + segment.len(), last) {
                let mut carry = std::mem::take(&mut self.carry);
                // One byte over the limit is possible: a carriage return whose line feed might have come.
                let over = carry.split_off(carry.len().min(self.max_line_bytes));
                let (head, after) = rest.split_at(self.max_line_bytes - carry.len());
                carry.extend_from_slice(head);
                self.emit(&carry, 0, Kind::Piece, each);
                self.carry = over;
                rest = after;
                continue;
            }
            self.carry.extend_from_slice(segment);
            let Some(end) = end else { return &[] };
            let mut carry = std::mem::take(&mut self.carry);
            self.line(&carry, each);
            carry.clear();
            // The allocation serves again.
            self.carry = carry;
            rest = &rest[end + 1..];
        }
        rest
    }

    /// Hands out a line whose line feed has been seen. `bytes` is what stands before it.
    #[inline]
    fn line(&mut self, bytes: &[u8], each: &mut impl FnMut(RawLine<'_>)) {
        let bytes = if bytes.len() > self.max_line_bytes {
            self.cut(bytes, each)
        } else {
            bytes
        };
        let kind = match self.state {
            State::AtStart => Kind::Whole,
            State::AfterPiece => Kind::Piece,
        };
        let (bytes, ending) = match bytes {
            [before @ .., b'\r'] => (before, 2),
            _ => (bytes, 1),
        };
        self.emit(bytes, ending, kind, each);
        self.state = State::AtStart;
    }

    /// Hands out pieces from the front until the rest is within the limit.
    fn cut<'b>(&mut self, mut bytes: &'b [u8], each: &mut impl FnMut(RawLine<'_>)) -> &'b [u8] {
        while self.is_overlong(bytes.len(), bytes.last().copied()) {
            let (piece, rest) = bytes.split_at(self.max_line_bytes);
            self.emit(piece, 0, Kind::Piece, each);
            bytes = rest;
        }
        bytes
    }

    /// Whether bytes without a line feed are more than the limit. A carriage return at their end does not count: it may be
    /// half of the line's end.
    fn is_overlong(&self, len: usize, last: Option<u8>) -> bool {
        len - usize::from(last == Some(b'\r')) > self.max_line_bytes
    }

    #[inline]
    fn emit(
        &mut self,
        bytes: &[u8],
        ending: usize,
        kind: Kind,
        each: &mut impl FnMut(RawLine<'_>),
    ) {
        let file_len = (bytes.len() + ending) as u32;
        each(RawLine {
            bytes,
            offset: self.line_offset,
            file_len,
            kind,
        });
        self.line_offset += u64::from(file_len);
        if kind == Kind::Piece {
            self.state = State::AfterPiece;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A line that owns its bytes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Owned {
        bytes: Vec<u8>,
        offset: u64,
        file_len: u32,
        kind: Kind,
    }

    fn split(max: usize, start: u64, chunks: &[&[u8]]) -> Vec<Owned> {
        let mut out = Vec::new();
        let mut each = |line: RawLine<'_>| {
            let RawLine {
                bytes,
                offset,
                file_len,
                kind,
            } = line;
            out.push(Owned {
                bytes: bytes.to_vec(),
                offset,
                file_len,
                kind,
            });
        };
        let mut splitter = Splitter::new(max, start);
        let mut expected = start;
        for chunk in chunks {
            splitter.push(chunk, &mut each);
            expected += chunk.len() as u64;
            assert_eq!(splitter.offset(), expected);
            assert!(splitter.pending() <= max.max(1) + 1, "the carry is bounded");
        }
        splitter.finish(&mut each);
        assert_eq!((splitter.pending(), splitter.offset()), (0, expected));
        out
    }

    #[track_caller]
    fn check(max: usize, input: &str, expected: &[(&str, u32, Kind)]) {
        let got = split(max, 0, &[input.as_bytes()]);
        let got: Vec<_> = got
            .iter()
            .map(|line| {
                (
                    std::str::from_utf8(&line.bytes).unwrap(),
                    line.file_len,
                    line.kind,
                )
            })
            .collect();
        assert_eq!(got, expected, "{input:?}");
    }

    #[test]
    fn lines() {
        use Kind::{Piece, Unfinished, Whole};
        check(9, "", &[]);
        check(9, "\n", &[("", 1, Whole)]);
        check(9, "\r\n", &[("", 2, Whole)]);
        check(
            9,
            "a\n\nb\r\nc",
            &[
                ("a", 2, Whole),
                ("", 1, Whole),
                ("b", 3, Whole),
                ("c", 1, Unfinished),
            ],
        );
        check(9, "a\rb\r\r\n", &[("a\rb\r", 6, Whole)]);
        check(9, "a\r", &[("a\r", 2, Unfinished)]);
        check(4, "abcd\n", &[("abcd", 5, Whole)]);
        check(4, "abcd\r\n", &[("abcd", 6, Whole)]);
        check(4, "abcd", &[("abcd", 4, Unfinished)]);
        check(4, "abcd\r", &[("abcd", 4, Piece), ("\r", 1, Unfinished)]);
        check(4, "abcde\n", &[("abcd", 4, Piece), ("e", 2, Piece)]);
        check(4, "abcde", &[("abcd", 4, Piece), ("e", 1, Unfinished)]);
        check(
            4,
            "abcdefgh\nx\n",
            &[("abcd", 4, Piece), ("efgh", 5, Piece), ("x", 2, Whole)],
        );
        check(4, "abcd\re\n", &[("abcd", 4, Piece), ("\re", 3, Piece)]);
        check(0, "ab\n", &[("a", 1, Piece), ("b", 2, Piece)]);
    }

    #[test]
    fn goes_on_after_finish() {
        let mut splitter = Splitter::new(4, 10);
        splitter.push(b"abcde", |_| {});
        splitter.finish(|line| assert_eq!((line.bytes, line.offset), (&b"e"[..], 14)));
        let mut seen = 0;
        splitter.push(b"xy\n", |line| {
            assert_eq!(
                (line.bytes, line.offset, line.kind, line.end()),
                (&b"xy"[..], 15, Kind::Whole, 18)
            );
            seen += 1;
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn lines_within_a_chunk_are_not_copied() {
        let chunk = b"one\ntwo\n";
        let mut splitter = Splitter::new(100, 0);
        splitter.push(chunk, |line| {
            assert!(chunk.as_ptr_range().contains(&line.bytes.as_ptr()));
        });
    }

    /// Bytes rich in line ends.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![3 => Just(b'\n'), 3 => Just(b'\r'), 8 => any::<u8>()];
        prop::collection::vec(byte, 0..120)
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_lines(text in text(), cuts in prop::collection::vec(0usize..8, 0..60), max in 1usize..12, start in 0u64..1 << 40) {
            let whole = split(max, start, &[&text]);
            let mut chunks = Vec::new();
            let mut rest = text.as_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            prop_assert_eq!(split(max, start, &chunks), whole);
        }

        #[test]
        fn nothing_is_lost(text in text(), max in 1usize..12, start in 0u64..1 << 40) {
            let mut rebuilt = Vec::new();
            let mut offset = start;
            for line in split(max, start, &[&text]) {
                prop_assert_eq!(line.offset, offset);
                offset += u64::from(line.file_len);
                prop_assert!(line.bytes.len() <= max);
                prop_assert!(!line.bytes.contains(&b'\n'));
                rebuilt.extend_from_slice(&line.bytes);
                match line.file_len as usize - line.bytes.len() {
                    0 => prop_assert_ne!(line.kind, Kind::Whole),
                    1 => rebuilt.push(b'\n'),
                    2 => rebuilt.extend_from_slice(b"\r\n"),
                    more => prop_assert!(false, "{} bytes of line end", more),
                }
            }
            prop_assert_eq!(offset, start + text.len() as u64);
            prop_assert_eq!(rebuilt, text);
        }
    }
}
