//! Makes the texts of strangers harmless for a terminal and for a layout of lines.
//!
//! What is shown instead: a line's end as `\n`, a tab as `\t`, other control characters as `\x1b`, the second set of them and those
//! that change the direction of writing as `\u{202e}`. A backslash stays one: what is shown is for eyes, not to be read back.

use std::fmt::Write as _;

/// A text on one line without anything that a terminal obeys.
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut shown, c);
    }
    shown
}

/// The same, where the destination is a terminal and lines and tabs may stay: whole documents such as CSV.
pub fn plain_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\n' | '\t') {
            shown.push(c);
        } else {
            push(&mut shown, c);
        }
    }
    shown
}

/// JSON text for a terminal: what a terminal would obey is written by its number, which means the same in JSON.
pub fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && c != '\n' {
            // All of them have four digits at most.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    // Writing to a text cannot fail.
    let _ = match c {
        '\n' => shown.write_str("\\n"),
        '\r' => shown.write_str("\\r"),
        '\t' => shown.write_str("\\t"),
        c if !is_obeyed(c) => shown.write_char(c),
        c if c.is_ascii() => write!(shown, "\\x{:02x}", u32::from(c)),
        c => write!(shown, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// Whether a terminal does something else with it than show it, or a text looks like another one by it.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_obeyed_is_shown() {
        assert_eq!(
            plain("a\tb\r\nc\x1b[31m\u{9b}\u{202e}\\ü€"),
            "a\\tb\\r\\nc\\x1b[31m\\u{9b}\\u{202e}\\ü€"
        );
        assert_eq!(plain_lines("a\n\t\x07"), "a\n\t\\x07");
        assert_eq!(
            json("\"\u{9b}\u{202e}\u{7f}\""),
            "\"\\u009b\\u202e\\u007f\""
        );
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_obey(text in any::<String>()) {
            prop_assert!(!plain(&text).chars().any(is_obeyed));
        }

        #[test]
        fn json_stays_what_it_means(text in any::<String>()) {
            let written = serde_json::to_string(&text).expect("a text");
            let read: String = serde_json::from_str(&json(&written)).expect("JSON");
            prop_assert_eq!(read, text);
        }
    }
}
