//! Makes the bytes of strangers harmless on a terminal.
//!
//! Owns which bytes and characters a terminal must never get from a log line, a host or a file name, and how they are
//! shown instead. Whether a stream is a terminal is decided elsewhere.
//!
//! Shown instead: control characters (tab excepted) as `\x1b`, bytes that are no UTF-8 as `\xff`, the second set of
//! control characters and those that change the direction of writing as `\u{9b}` and `\u{202e}`. That includes the
//! colours that a program writes itself. A backslash stays one: what is shown is for eyes, not to be read back.

use std::fmt::Write as _;

/// How many bytes are looked at together; a multiple of what vector instructions take at once.
const BLOCK_BYTES: usize = 32;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `line`, with everything made visible that is not plain text.
pub fn append(line: &[u8], to: &mut Vec<u8>) {
    if is_ascii_text(line) {
        to.extend_from_slice(line);
    } else {
        append_slowly(line, to);
    }
}

/// A text made visible, for messages and prefixes. Tabs and newlines are escaped too: it becomes part of one line.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\t' => shown.push_str("\\x09"),
            char => match Shown::of(char) {
                Shown::AsItIs => shown.push(char),
                Shown::Byte(byte) => shown.extend(hex_byte(byte).map(char::from)),
                Shown::Code(code) => {
                    let _ = write!(shown, "\\u{{{code:x}}}");
                }
            },
        }
    }
    shown
}

/// Whether all of it is printable ASCII or tabs. Written so that the compiler makes vector instructions of it: this is
/// asked for every line.
pub(crate) fn is_ascii_text(line: &[u8]) -> bool {
    let mut blocks = line.chunks_exact(BLOCK_BYTES);
    for block in &mut blocks {
        if block
            .iter()
            .fold(false, |found, &byte| found | is_special(byte))
        {
            return false;
        }
    }
    // The rest is looked at as the line's last block, which overlaps the one before, where there is one.
    let rest = if line.len() >= BLOCK_BYTES {
        &line[line.len() - BLOCK_BYTES..]
    } else {
        blocks.remainder()
    };
    !rest
        .iter()
        .fold(false, |found, &byte| found | is_special(byte))
}

/// Whether the byte cannot be copied without a closer look.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch here would keep the compiler from making vector instructions"
)]
const fn is_special(byte: u8) -> bool {
    (byte.wrapping_sub(0x20) > 0x5e) & (byte != b'\t')
}

fn append_slowly(line: &[u8], to: &mut Vec<u8>) {
    to.reserve(line.len() + BLOCK_BYTES);
    for chunk in line.utf8_chunks() {
        let valid = chunk.valid();
        let mut copied = 0;
        for (at, char) in valid.char_indices() {
            let shown = Shown::of(char);
            if shown == Shown::AsItIs {
                continue;
            }
            to.extend_from_slice(&valid.as_bytes()[copied..at]);
            copied = at + char.len_utf8();
            match shown {
                Shown::AsItIs => {}
                Shown::Byte(byte) => to.extend_from_slice(&hex_byte(byte)),
                Shown::Code(code) => to.extend_from_slice(format!("\\u{{{code:x}}}").as_bytes()),
            }
        }
        to.extend_from_slice(&valid.as_bytes()[copied..]);
        for &byte in chunk.invalid() {
            to.extend_from_slice(&hex_byte(byte));
        }
    }
}

/// How a character reaches a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    AsItIs,
    Byte(u8),
    Code(u32),
}

impl Shown {
    const fn of(char: char) -> Self {
        match char {
            '\t' => Self::AsItIs,
            '\0'..='\x1f' | '\x7f' => Self::Byte(char as u8),
            '\u{80}'..='\u{9f}' => Self::Code(char as u32),
            char if is_bidi_control(char) => Self::Code(char as u32),
            _ => Self::AsItIs,
        }
    }
}

/// Whether the character changes the direction of what follows, so that a line can look like another one.
pub(crate) const fn is_bidi_control(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const fn hex_byte(byte: u8) -> [u8; 4] {
    [
        b'\\',
        b'x',
        HEX[(byte >> 4) as usize],
        HEX[(byte & 15) as usize],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(line: &[u8]) -> String {
        let mut to = b"before ".to_vec();
        append(line, &mut to);
        String::from_utf8(to.split_off(b"before ".len())).unwrap()
    }

    #[test]
    fn what_is_shown() {
        let cases: &[&[u8]] = &[
            b"",
            b"plain \\x1b ~ with\ttab",
            b"\x1b[31mred\x1b[0m",
            b"\x1b]0;title\x07",
            b"bell\x07 nul\0 del\x7f return\r newline\n",
            "umlauts \u{fc}\u{f6}, \u{4f60}\u{597d}, \u{1f600} stay".as_bytes(),
            "second set \u{9b}31m".as_bytes(),
            b"the same raw \x9b31m \x80",
            b"cut off \xe4\xbd",
            b"surrogate \xed\xa0\x80",
            "user\u{202e}txt.exe \u{2066}x\u{2069} \u{200e}\u{200f}\u{61c}".as_bytes(),
        ];
        let shown: Vec<String> = cases.iter().map(|line| escaped(line)).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"

        plain \x1b ~ with	tab
        \x1b[31mred\x1b[0m
        \x1b]0;title\x07
        bell\x07 nul\x00 del\x7f return\x0d newline\x0a
        umlauts üö, 你好, 😀 stay
        second set \u{9b}31m
        the same raw \x9b31m \x80
        cut off \xe4\xbd
        surrogate \xed\xa0\x80
        user\u{202e}txt.exe \u{2066}x\u{2069} \u{200e}\u{200f}\u{61c}
        ");
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for len in 0..100 {
            let plain = vec![b'x'; len];
            assert!(is_ascii_text(&plain));
            for at in 0..len {
                let mut line = plain.clone();
                line[at] = 0x1b;
                assert!(!is_ascii_text(&line), "{at} of {len}");
                line[at] = b'\t';
                assert!(is_ascii_text(&line), "{at} of {len}");
            }
        }
    }

    #[test]
    fn every_byte_is_judged_as_the_words_say() {
        for byte in 0..=u8::MAX {
            let printable = byte == b'\t' || (0x20..0x7f).contains(&byte);
            assert_eq!(
                escaped(&[byte]) == String::from_utf8_lossy(&[byte]),
                printable,
                "{byte:#x}"
            );
        }
    }

    #[test]
    fn a_text_becomes_part_of_one_line() {
        assert_eq!(
            text("a\n\"b\"\t\x1b[31m\u{9b}\u{202e}\u{fc}"),
            "a\\x0a\"b\"\\x09\\x1b[31m\\u{9b}\\u{202e}\u{fc}"
        );
    }

    proptest! {
        #[test]
        fn nothing_dangerous_comes_out(line in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xe2), Just(0x80), Just(0x1b), Just(b'a')], 0..200)) {
            let shown = escaped(&line);
            prop_assert!(shown.chars().all(|char| char == '\t' || !(char.is_control() || is_bidi_control(char))));
            // Text that needs nothing is the same afterwards.
            if std::str::from_utf8(&line).is_ok_and(|line| line.chars().all(|char| !(char.is_control() || is_bidi_control(char)))) {
                prop_assert_eq!(shown.as_bytes(), &line[..]);
            }
        }

        #[test]
        fn texts_likewise(line in any::<String>()) {
            prop_assert!(text(&line).chars().all(|char| !(char.is_control() || is_bidi_control(char))));
        }
    }
}
