//! The colours of the configuration: a list for instances, pins for some of them, colours of levels.
//!
//! Owns what a colour is written like and what of it a terminal can show. Whose colour is which without a pin is `palette.rs`'s.

use std::fmt;
use std::str::FromStr;

use joblog::Level;

use crate::color::Depth;
use crate::glob::Glob;
use crate::source::InstanceLabel;

/// `[palette]`. Empty for the built-in colours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaletteSettings {
    /// The colours of instances instead of the built-in ones; empty for those.
    pub colors: Vec<Color>,
    /// The colours of instances whose job, `job/instance` or host matches. The longest pattern counts.
    pub pins: Vec<(Glob, Color)>,
    /// The colours of levels, least serious first.
    pub levels: [Option<Color>; 6],
}

/// A colour as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// One of the sixteen that every terminal has.
    Basic(u8),
    /// One of xterm's 256.
    Index(u8),
    /// Red, green and blue.
    Rgb([u8; 3]),
}

/// The sixteen by name, in the order of their numbers.
const NAMES: [&str; 16] = [
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "white",
    "bright-black",
    "bright-red",
    "bright-green",
    "bright-yellow",
    "bright-blue",
    "bright-magenta",
    "bright-cyan",
    "bright-white",
];

/// What the sixteen look like in most terminals.
const BASIC_RGB: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

/// The steps of xterm's colour cube.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// Why a text is no colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColorError(String);

impl fmt::Display for ColorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no colour; write one such as \"#5f87ff\", a number from 0 to 255, or {}",
            self.0.escape_debug(),
            NAMES.join(", ")
        )
    }
}

impl FromStr for Color {
    type Err = ColorError;

    fn from_str(text: &str) -> Result<Self, ColorError> {
        let error = || ColorError(text.to_owned());
        if let Some(digits) = text.strip_prefix('#') {
            if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(error());
            }
            let number = u32::from_str_radix(digits, 16).map_err(|_| error())?;
            let [_, r, g, b] = number.to_be_bytes();
            return Ok(Self::Rgb([r, g, b]));
        }
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        let number = NAMES.iter().position(|name| *name == text);
        number
            .map(|number| Self::Basic(number as u8))
            .ok_or_else(error)
    }
}

impl Color {
    /// From a number of the configuration.
    pub fn from_number(number: i64) -> Result<Self, ColorError> {
        u8::try_from(number)
            .map(Self::Index)
            .map_err(|_| ColorError(number.to_string()))
    }

    /// The escape sequence that switches it on, or the nearest that the terminal has.
    pub(crate) fn start(self, depth: Depth) -> String {
        match (self, depth) {
            (Self::Basic(number), _) | (Self::Index(number @ 0..16), Depth::Sixteen) => {
                basic(number)
            }
            (Self::Index(index), Depth::Palette256) => format!("\x1b[38;5;{index}m"),
            (Self::Rgb(rgb), Depth::Palette256) => format!("\x1b[38;5;{}m", nearest_256(rgb)),
            (Self::Index(index), Depth::Sixteen) => basic(nearest_basic(rgb_of(index))),
            (Self::Rgb(rgb), Depth::Sixteen) => basic(nearest_basic(rgb)),
        }
    }
}

impl PaletteSettings {
    /// The colour that is pinned to an instance.
    pub(crate) fn pinned(&self, label: &InstanceLabel) -> Option<Color> {
        let numbered = label
            .instance
            .map(|number| format!("{}/{number}", label.job));
        let names = [
            Some(label.job.as_str()),
            numbered.as_deref(),
            Some(label.host.as_str()),
        ];
        self.pins
            .iter()
            .filter(|(glob, _)| {
                names
                    .iter()
                    .flatten()
                    .any(|name| glob.matches(name.as_bytes()))
            })
            .max_by_key(|(glob, _)| glob.to_string().len())
            .map(|(_, color)| *color)
    }

    /// The escape sequences of the levels.
    pub(crate) fn level_codes(&self, depth: Depth) -> [Vec<u8>; 6] {
        Level::ALL.map(|level| {
            let usual = match level {
                Level::Trace | Level::Debug => "\x1b[2m",
                Level::Info => "\x1b[32m",
                Level::Warn => "\x1b[33m",
                Level::Error | Level::Fatal => "\x1b[1;31m",
            };
            self.levels[level as usize]
                .map_or_else(|| usual.to_owned(), |color| color.start(depth))
                .into_bytes()
        })
    }
}

fn basic(number: u8) -> String {
    match number {
        0..8 => format!("\x1b[{}m", 30 + number),
        _ => format!("\x1b[{}m", 82 + number),
    }
}

/// What one of the 256 looks like.
fn rgb_of(index: u8) -> [u8; 3] {
    match index {
        0..16 => BASIC_RGB[usize::from(index)],
        16..232 => {
            let index = index - 16;
            [index / 36, index / 6 % 6, index % 6].map(|step| CUBE[usize::from(step)])
        }
        232.. => [8 + (index - 232) * 10; 3],
    }
}

fn distance(a: [u8; 3], b: [u8; 3]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| u32::from(a.abs_diff(b)).pow(2))
        .sum()
}

fn nearest_basic(rgb: [u8; 3]) -> u8 {
    (0..16)
        .min_by_key(|&number| distance(rgb, BASIC_RGB[usize::from(number)]))
        .unwrap_or(7)
}

/// Of the cube and the greys, whose shades no user has changed.
fn nearest_256(rgb: [u8; 3]) -> u8 {
    (16..=255)
        .min_by_key(|&index| distance(rgb, rgb_of(index)))
        .unwrap_or(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours() {
        let shown: Vec<String> = [
            "cyan",
            "bright-blue",
            "#5f87ff",
            "#000001",
            "99",
            "3",
            "#fff",
            "#12345g",
            "#+12345",
            "256",
            "purpel",
            "",
            "\u{1b}[31m",
        ]
        .iter()
        .map(|text| match text.parse::<Color>() {
            Ok(color) => format!(
                "{text}: {} {}",
                color.start(Depth::Palette256),
                color.start(Depth::Sixteen)
            )
            .replace('\u{1b}', "ESC"),
            Err(error) => error.to_string(),
        })
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
        assert_eq!(Color::from_number(255), Ok(Color::Index(255)));
        assert!(Color::from_number(-1).is_err());
        for index in 16..=255 {
            assert_eq!(rgb_of(nearest_256(rgb_of(index))), rgb_of(index));
        }
    }

    #[test]
    fn the_longest_pin_counts() {
        let label = InstanceLabel {
            job: "aa/www-data/prod/hello".into(),
            key: None,
            instance: Some(3),
            host: "node7".into(),
            task_id: None,
        };
        let settings = |pins: &[(&str, u8)]| PaletteSettings {
            pins: pins
                .iter()
                .map(|(glob, color)| (glob.parse().unwrap(), Color::Index(*color)))
                .collect(),
            ..PaletteSettings::default()
        };
        for (pins, wanted) in [
            (&[("aa/www-data/*", 1), ("*/hello/3", 2)][..], Some(1)),
            (&[("*", 1), ("*/hello/3", 2)], Some(2)),
            (&[("node*", 4)], Some(4)),
            (&[("bb/*", 1)], None),
            (&[], None),
        ] {
            assert_eq!(
                settings(pins).pinned(&label),
                wanted.map(Color::Index),
                "{pins:?}"
            );
        }
    }
}
