//! An error with its causes on one line.

use std::error::Error;

/// `what failed: why: why that`, without a cause that its predecessor already tells. The text is what the errors say: where
/// strangers have a say in it, what shows it escapes it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
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
        let layer = |text, source: Option<Layer>| Layer {
            text,
            source: source.map(Box::new),
        };
        let inner = layer("refused", None);
        let outer = layer("put x", Some(layer("connect: refused", Some(inner))));
        assert_eq!(chain(&outer), "put x: connect: refused");
    }
}
