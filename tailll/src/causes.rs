//! An error with its causes on one line, safe to show.

use std::error::Error;

use joblog::causes;

/// The longest text made of an error, in characters.
const MAX_CHARS: usize = 500;

/// `what failed: why: why that`, without a cause that its predecessor already tells, and with control characters escaped,
/// since strangers have a say in it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    plain(&causes::chain(error))
}

/// The same for an error that is best read on several lines, such as one that points at a place in what was typed.
pub fn lines(error: &(dyn Error + 'static)) -> Vec<String> {
    causes::chain(error).lines().map(plain).collect()
}

/// A stranger's text on one line: control characters escaped, and cut where it gets long.
pub fn plain(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", on_one_line(&text[..end])),
        None => on_one_line(text),
    }
}

/// The same, as long as it is.
pub fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_bidi(c) {
            line.extend(c.escape_debug());
        } else {
            line.push(c);
        }
    }
    line
}

/// Characters that turn the direction of writing, and so make a text read as another.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_are_told_once() {
        let inner = Layer {
            text: "refused",
            source: None,
        };
        let middle = Layer {
            text: "connect: refused",
            source: Some(Box::new(inner)),
        };
        let outer = Layer {
            text: "http://h/",
            source: Some(Box::new(middle)),
        };
        assert_eq!(chain(&outer), "http://h/: connect: refused");
        let pointing = Layer {
            text: "a(b\n ^\n\u{1b}",
            source: None,
        };
        assert_eq!(lines(&pointing), ["a(b", " ^", "\\u{1b}"]);
    }

    #[test]
    fn a_strangers_text_stays_on_its_line() {
        assert_eq!(plain("a\u{1b}[31m\nb\u{202e}"), "a\\u{1b}[31m\\nb\\u{202e}");
        assert_eq!(plain(&"x".repeat(600)).chars().count(), MAX_CHARS + 1);
    }
}
