//! Which messages have the template of one that was masked before, told without masking them.
//!
//! Masking looks at the classes of bytes: it never tells one digit from another, and drops the value of a `key=value` whatever
//! it is. A message's shape is what is left when both are taken out, so that messages of one shape have one template. Where
//! that does not hold (`0x`, keys of JSON, whose digits stay) a message has no shape. Shapes are compared byte by byte: a hash
//! only says where to look.

use std::fmt;

use memchr::memchr;

use super::{Parts, is_alphanumeric};

/// The longest message that has a shape, in bytes. It is below the longest quoted text: within a shape, no quote is too long.
const MAX_BYTES: usize = 512;

/// How many bytes are looked at at a time.
const BLOCK_BYTES: usize = 32;

/// How many shapes are remembered: a power of two. Services write some dozen kinds of lines, in a few lengths of numbers each.
const SLOTS: usize = 512;

/// The shortest value of a `key=value` that is left out of a shape, in bytes. Shorter ones could be a month, which means
/// something behind a day of the week.
const MIN_VALUE_BYTES: usize = 8;

/// After how many messages it is asked whether shapes were worth it, in messages.
const TRIAL: u32 = 256;

/// How many of a trial must have had a known shape, in messages.
const MIN_KNOWN: u32 = TRIAL / 4;

/// For how long no shape is looked for when they were not worth it, in messages.
const PAUSE: u32 = 16 * TRIAL;

/// Templates by shape.
#[derive(Clone)]
pub(super) struct Shapes {
    /// The shape of the message at hand, zeros up to the end of its last block, and a byte behind it.
    bytes: Box<[u8; MAX_BYTES + BLOCK_BYTES + 1]>,
    slots: Vec<Slot>,
    /// Of the trial, how many messages are left and how many had a known shape.
    left: u32,
    known: u32,
    /// How many messages are still masked without a look at their shapes.
    pause: u32,
}

/// A remembered shape.
#[derive(Clone, Default)]
struct Slot {
    hash: u64,
    split: Split,
    bytes: Vec<u8>,
    tpl: Option<u64>,
}

/// Where in a message its time stands, in bytes of the shape.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Split {
    #[default]
    NoTime,
    Time(usize),
}

/// Where a shape is remembered, or would be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    hash: u64,
    split: Split,
    len: usize,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            bytes: Box::new([0; MAX_BYTES + BLOCK_BYTES + 1]),
            slots: Vec::new(),
            left: TRIAL,
            known: 0,
            pause: 0,
        }
    }
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shapes")
            .field("known", &self.known)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

impl Shapes {
    /// The place of a message's shape, unless it has none or none is looked for now.
    #[inline]
    pub(super) fn place(&mut self, message: &Parts<'_>) -> Option<Place> {
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        if message.before.len() + message.after.unwrap_or_default().len() > MAX_BYTES {
            return None;
        }
        let mut len = self.add(message.before, 0);
        let mut split = Split::NoTime;
        if let Some(after) = message.after {
            split = Split::Time(len);
            len = self.add(after, len);
        }
        let hash = self.normalise(len)?;
        Some(Place { hash, split, len })
    }

    /// The template of the shape that was just placed, if it is known.
    #[inline]
    #[expect(
        clippy::option_option,
        reason = "blank messages are known to have no template"
    )]
    pub(super) fn known(&mut self, place: Place) -> Option<Option<u64>> {
        self.left -= 1;
        if self.left == 0 {
            self.judge();
        }
        let slot = self.slots.get(slot(place.hash))?;
        let is_known = slot.hash == place.hash
            && slot.split == place.split
            && slot.bytes == self.bytes[..place.len];
        if !is_known {
            return None;
        }
        self.known += 1;
        Some(slot.tpl)
    }

    /// Remembers the template of the shape that was just placed.
    pub(super) fn keep(&mut self, place: Place, tpl: Option<u64>) {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let slot = &mut self.slots[slot(place.hash)];
        slot.hash = place.hash;
        slot.split = place.split;
        slot.tpl = tpl;
        slot.bytes.clear();
        slot.bytes.extend_from_slice(&self.bytes[..place.len]);
    }

    #[cold]
    fn judge(&mut self) {
        if self.known < MIN_KNOWN {
            self.pause = PAUSE;
        }
        self.left = TRIAL;
        self.known = 0;
    }

    /// Adds a part of a message, without the long values in it. Gives the length of the shape with it.
    #[inline]
    fn add(&mut self, part: &[u8], mut len: usize) -> usize {
        let mut rest = part;
        while let Some(at) = memchr(b'=', rest) {
            let (key, behind) = rest.split_at(at + 1);
            self.bytes[len..len + key.len()].copy_from_slice(key);
            len += key.len();
            let value = behind
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
                .count();
            let is_value = value >= MIN_VALUE_BYTES
                && at > 0
                && is_alphanumeric(key[at - 1])
                && matches!(behind.get(value), None | Some(b' '));
            rest = if is_value { &behind[value..] } else { behind };
        }
        self.bytes[len..len + rest.len()].copy_from_slice(rest);
        len + rest.len()
    }

    /// Makes all digits one, and hashes the shape. `None` where digits may make a difference.
    #[inline]
    fn normalise(&mut self, len: usize) -> Option<u64> {
        let padded = len.next_multiple_of(BLOCK_BYTES);
        self.bytes[len..=padded].fill(0);
        let mut exceptions = [0; BLOCK_BYTES];
        let mut hash = len as u64;
        for start in (0..padded).step_by(BLOCK_BYTES) {
            let Some((block, rest)) = self.bytes[start..].split_first_chunk_mut::<BLOCK_BYTES>()
            else {
                break;
            };
            let mut next = [rest[0]; BLOCK_BYTES];
            next[..BLOCK_BYTES - 1].copy_from_slice(&block[1..]);
            // Plain loops over arrays: the compiler makes a few wide instructions of each.
            for ((byte, next), exception) in block.iter_mut().zip(next).zip(&mut exceptions) {
                let digit = mask(byte.wrapping_sub(b'0') < 10);
                let is_hex = digit & mask(next | 0x20 == b'x');
                let is_key = mask(*byte == b'"') & mask(next == b':');
                *exception |= is_hex | is_key;
                *byte &= !(digit & 0x0f);
            }
            for pair in block.as_chunks::<16>().0 {
                let [one, two] = [0, 8].map(|at| {
                    let mut word = [0; 8];
                    word.copy_from_slice(&pair[at..at + 8]);
                    u64::from_le_bytes(word)
                });
                hash = fold(one ^ hash, two ^ SEED);
            }
        }
        if exceptions == [0; BLOCK_BYTES] {
            Some(hash)
        } else {
            None
        }
    }
}

/// All bits, or none.
#[inline]
fn mask(condition: bool) -> u8 {
    0u8.wrapping_sub(u8::from(condition))
}

const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn fold(one: u64, two: u64) -> u64 {
    let product = u128::from(one ^ SEED) * u128::from(two);
    (product as u64) ^ (product >> 64) as u64
}

fn slot(hash: u64) -> usize {
    (hash >> 32) as usize % SLOTS
}
