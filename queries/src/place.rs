//! The place of a line, as people copy it from an answer: `SRC@EPOCH:OFF`, or `SRC:OFF` in a file that was never truncated.

use std::str::FromStr;

/// The longest place, in bytes.
const MAX_PLACE_BYTES: usize = 1024;

/// Where a line begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub src: String,
    /// How often it had been truncated.
    pub epoch: u32,
    /// Where in it.
    pub off: u64,
}

/// A text that is no [`Place`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no place of a line; copy one from the column `place` of an answer: SRC@EPOCH:OFF, or SRC:OFF",
    .0.chars().take(80).collect::<String>().escape_debug()
)]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let parse = || {
            if text.len() > MAX_PLACE_BYTES {
                return None;
            }
            let (file, off) = text.rsplit_once(':')?;
            let (src, epoch) = file.rsplit_once('@').unwrap_or((file, "0"));
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if src.is_empty() || !is_number(off) || !is_number(epoch) {
                return None;
            }
            Some(Self {
                src: src.to_owned(),
                epoch: epoch.parse().ok()?,
                off: off.parse().ok()?,
            })
        };
        parse().ok_or_else(|| PlaceError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let place: Place = "b2f0-1835-99@3:4096".parse().expect("a place");
        assert_eq!(
            (place.src.as_str(), place.epoch, place.off),
            ("b2f0-1835-99", 3, 4096)
        );
        let place: Place = "b2f0-1835-99:0".parse().expect("a place");
        assert_eq!((place.epoch, place.off), (0, 0));
        for text in [
            "",
            ":1",
            "a",
            "a:",
            "a:-1",
            "a@:1",
            "a@x:1",
            "a@1:99999999999999999999",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
