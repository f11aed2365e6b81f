//! Which lines of a buffer could have a named id: those in which something separates a key from its value, and the key ends as a
//! name does. Most lines have none, and looking through a whole buffer in wide steps costs far less than looking at each line.

/// How many bytes are looked at at a time.
const BLOCK_BYTES: usize = 64;

/// Where in a buffer keys end that a name could be. Lines are asked about in their order.
#[derive(Debug, Clone)]
pub struct KeyEnds<'f, 'b> {
    /// The names' last letters, in lower case.
    letters: &'f [u8],
    buffer: &'b [u8],
    /// The first separator behind such an end from the place last searched from.
    next: Option<usize>,
}

impl<'f, 'b> KeyEnds<'f, 'b> {
    #[inline]
    pub(super) fn new(letters: &'f [u8], buffer: &'b [u8]) -> Self {
        Self {
            letters,
            buffer,
            next: separator(letters, buffer, 0),
        }
    }

    /// Whether the line from `start` to `end` could have a named id. Each line is asked about with its place in the buffer; some
    /// may be left out.
    #[inline]
    pub fn may_be_in(&mut self, start: usize, end: usize) -> bool {
        if self.next.is_some_and(|at| at < start) {
            self.next = separator(self.letters, self.buffer, start);
        }
        self.next.is_some_and(|at| at < end)
    }
}

/// Where from `from` on a `=` or `:` stands behind one of these letters, or behind a quote or a blank, which may stand between.
fn separator(letters: &[u8], buffer: &[u8], from: usize) -> Option<usize> {
    if letters.is_empty() {
        return None;
    }
    // What separates needs something before it.
    let mut at = from.max(1);
    while let (Some(before), Some(here)) = (
        buffer
            .get(at - 1..)
            .and_then(<[u8]>::first_chunk::<BLOCK_BYTES>),
        buffer
            .get(at..)
            .and_then(<[u8]>::first_chunk::<BLOCK_BYTES>),
    ) {
        // Plain loops over arrays: the compiler makes a few wide instructions of each.
        let mut ends = [0; BLOCK_BYTES];
        for letter in letters {
            for (end, byte) in ends.iter_mut().zip(before) {
                *end |= u8::from(*byte | 0x20 == *letter);
            }
        }
        for ((end, byte), here) in ends.iter_mut().zip(before).zip(here) {
            *end |= u8::from(*byte == b'"') | u8::from(*byte == b'\'') | u8::from(*byte == b' ');
            *end &= u8::from(*here == b'=') | u8::from(*here == b':');
        }
        if ends != [0; BLOCK_BYTES] {
            return ends
                .iter()
                .position(|end| *end != 0)
                .map(|place| at + place);
        }
        at += BLOCK_BYTES;
    }
    (at..buffer.len()).find(|&at| {
        let before = buffer[at - 1];
        matches!(buffer[at], b'=' | b':')
            && (letters.contains(&(before | 0x20)) || matches!(before, b'"' | b'\'' | b' '))
    })
}
