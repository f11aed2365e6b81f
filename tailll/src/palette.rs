//! Which colour is whose.
//!
//! Owns the colours of prefixes and the way from an instance to one of them: the same on every machine and in every
//! run, and different for siblings. Whether there are colours at all is `color.rs`'s.
//!
//! The slot of an instance is the hash of its job plus its number, so that neighbours never share a colour and no
//! state is needed. Where instances have no numbers, the number in the host's name serves (`web07`), else the hash of
//! the host, moved on if a sibling has that slot already.

use std::collections::HashMap;

use crate::color::Depth;
use crate::source::InstanceLabel;
use crate::styled::Codes;

mod settings;

pub use settings::{Color, ColorError, PaletteSettings};

/// Colours of xterm's 256 that have a contrast of at least 3 on black and on white, hold no red, and stay apart for
/// the red-blind and the green-blind; ordered so that those close in the list are far apart for everyone.
const PALETTE_256: [u8; 16] = [
    99, 28, 97, 93, 105, 66, 137, 32, 60, 100, 26, 29, 169, 128, 94, 163,
];

/// Codes of the basic sixteen without red, black, white and grey: blue, yellow, cyan, magenta, bright blue, green.
const PALETTE_16: [u8; 6] = [34, 33, 36, 35, 94, 32];

/// The most hosts whose slots are remembered. Past it all are forgotten, and only the way round collisions may change.
const HOSTS_REMEMBERED: usize = 16_384;

/// Hands out colours.
#[derive(Debug)]
pub struct Palette {
    depth: Depth,
    settings: PaletteSettings,
    /// The slots of unnumbered instances by job and host.
    hosts: HashMap<(String, String), usize>,
}

impl Palette {
    /// A palette of that many colours.
    pub fn new(depth: Depth) -> Self {
        Self::with(depth, PaletteSettings::default())
    }

    /// The same with the colours of the configuration.
    pub fn with(depth: Depth, settings: PaletteSettings) -> Self {
        Self {
            depth,
            settings,
            hosts: HashMap::new(),
        }
    }

    /// The escape sequences of styles.
    pub(crate) fn codes(&self) -> Codes {
        Codes {
            levels: self.settings.level_codes(self.depth),
        }
    }

    /// The escape sequence that switches an instance's colour on.
    pub fn start(&mut self, label: &InstanceLabel) -> String {
        if let Some(color) = self.settings.pinned(label) {
            return color.start(self.depth);
        }
        let slot = self.slot(label);
        if let Some(color) = self.settings.colors.get(slot) {
            return color.start(self.depth);
        }
        match self.depth {
            Depth::Palette256 => format!("\x1b[38;5;{}m", PALETTE_256[slot]),
            Depth::Sixteen => format!("\x1b[{}m", PALETTE_16[slot]),
        }
    }

    fn slots(&self) -> usize {
        match self.depth {
            _ if !self.settings.colors.is_empty() => self.settings.colors.len(),
            Depth::Palette256 => PALETTE_256.len(),
            Depth::Sixteen => PALETTE_16.len(),
        }
    }

    fn slot(&mut self, label: &InstanceLabel) -> usize {
        let slots = self.slots();
        let of_job = hash(label.job.as_bytes());
        if let Some(number) = label
            .instance
            .map(u64::from)
            .or_else(|| number_in(&label.host))
        {
            return (of_job.wrapping_add(number) % slots as u64) as usize;
        }
        let key = (label.job.clone(), label.host.clone());
        if let Some(&slot) = self.hosts.get(&key) {
            return slot;
        }
        if self.hosts.len() >= HOSTS_REMEMBERED {
            self.hosts.clear();
        }
        let hashed = (of_job.wrapping_add(hash(label.host.as_bytes())) % slots as u64) as usize;
        let mut users = vec![0_u32; slots];
        for ((job, _), &slot) in &self.hosts {
            if *job == label.job {
                users[slot] += 1;
            }
        }
        // The hashed slot unless a sibling uses it more than another slot is used.
        let slot = (0..slots)
            .map(|step| (hashed + step) % slots)
            .min_by_key(|&slot| users[slot])
            .unwrap_or(hashed);
        self.hosts.insert(key, slot);
        slot
    }
}

/// The last number in a host's name before its domain, or in the whole of an address.
fn number_in(host: &str) -> Option<u64> {
    let is_address = host.contains(':')
        || host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let name = if is_address {
        host
    } else {
        host.split('.').next().unwrap_or(host)
    };
    let end = name.rfind(|char: char| char.is_ascii_digit())? + 1;
    let start = name[..end]
        .rfind(|char: char| !char.is_ascii_digit())
        .map_or(0, |before| {
            before + name[before..].chars().next().map_or(1, char::len_utf8)
        });
    name[start..end].parse().ok()
}

/// FNV-1a with 64 bits: what it gives may never change, so it is not left to a library.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn label(job: &str, instance: Option<u32>, host: &str) -> InstanceLabel {
        InstanceLabel {
            job: job.into(),
            key: None,
            instance,
            host: host.into(),
            task_id: None,
        }
    }

    #[test]
    fn slots_are_stable_and_neighbours_differ() {
        for depth in [Depth::Sixteen, Depth::Palette256] {
            let mut palette = Palette::new(depth);
            let slots = palette.slots();
            let numbered: Vec<usize> = (0..100)
                .map(|n| palette.slot(&label("aa/www/prod/hello", Some(n), "h")))
                .collect();
            let hosts: Vec<usize> = (0..100)
                .map(|n| palette.slot(&label("web", None, &format!("web{n:02}.example.com"))))
                .collect();
            for found in [&numbered, &hosts] {
                for window in found.windows(slots) {
                    assert_eq!(window.iter().collect::<HashSet<_>>().len(), slots);
                }
            }
            let again: Vec<usize> = (0..100)
                .map(|n| Palette::new(depth).slot(&label("aa/www/prod/hello", Some(n), "other")))
                .collect();
            assert_eq!(numbered, again);
        }
        // Pinned: a colour that people know must not change with a release.
        assert_eq!(
            Palette::new(Depth::Palette256).slot(&label("aa/www-data/prod/hello", Some(0), "h")),
            1
        );
    }

    #[test]
    fn hosts_without_numbers_avoid_each_other() {
        for depth in [Depth::Sixteen, Depth::Palette256] {
            let mut palette = Palette::new(depth);
            let names = [
                "ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kiwi",
                "lynx", "mole", "newt", "owl", "pug",
            ];
            let names = &names[..palette.slots()];
            let slots: HashSet<usize> = names
                .iter()
                .map(|host| palette.slot(&label("zoo", None, host)))
                .collect();
            assert_eq!(slots.len(), names.len());
            let first = palette.slot(&label("zoo", None, "ant"));
            assert_eq!(first, Palette::new(depth).slot(&label("zoo", None, "ant")));
            // One more than there are slots shares one.
            assert!(palette.slot(&label("zoo", None, "zebra")) < palette.slots());
        }
    }

    #[test]
    fn numbers_in_hosts() {
        let cases = [
            "web07.example.com",
            "web07",
            "10.0.0.12",
            "fe80::1:a9",
            "node",
            "a1b22c.x3",
            "é9",
            "",
            "99999999999999999999999",
        ];
        let shown: Vec<String> = cases
            .iter()
            .map(|host| format!("{host}: {:?}", number_in(host)))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        web07.example.com: Some(7)
        web07: Some(7)
        10.0.0.12: Some(12)
        fe80::1:a9: Some(9)
        node: None
        a1b22c.x3: Some(22)
        é9: Some(9)
        : None
        99999999999999999999999: None
        ");
    }

    #[test]
    fn sequences() {
        let label = label("aa/www-data/prod/hello", Some(0), "h");
        assert_eq!(
            Palette::new(Depth::Palette256).start(&label),
            "\x1b[38;5;28m"
        );
        assert!(
            Palette::new(Depth::Sixteen)
                .start(&label)
                .starts_with("\x1b[")
        );
    }

    /// The colour of an index of the 6x6x6 cube, in linear light.
    fn linear(index: u8) -> [f64; 3] {
        let index = index - 16;
        [index / 36, index / 6 % 6, index % 6].map(|step| {
            let value = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0][usize::from(step)] / 255.0;
            if value <= 0.04045_f64 {
                value / 12.92
            } else {
                ((value + 0.055_f64) / 1.055).powf(2.4)
            }
        })
    }

    fn luminance([r, g, b]: [f64; 3]) -> f64 {
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// CIE Lab, where a distance of 20 is plainly seen.
    fn lab(light: [f64; 3]) -> [f64; 3] {
        let perceived = |light: f64| {
            if light > 0.008_856 {
                light.cbrt()
            } else {
                7.787 * light + 16.0 / 116.0
            }
        };
        let [r, g, b] = light;
        let red_side = perceived((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.950_47);
        let middle = perceived(luminance(light));
        let blue_side = perceived((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.088_83);
        [
            116.0 * middle - 16.0,
            500.0 * (red_side - middle),
            200.0 * (middle - blue_side),
        ]
    }

    /// How people without red (first) and green (second) receptors see, as matrices over linear light.
    const BLIND: [[[f64; 3]; 3]; 2] = [
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
    ];

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        let (a, b) = (lab(a), lab(b));
        a.iter()
            .zip(b)
            .map(|(a, b)| (a - b) * (a - b))
            .sum::<f64>()
            .sqrt()
    }

    #[test]
    fn the_256_are_readable_not_red_and_distinct_for_the_colour_blind() {
        for index in PALETTE_256 {
            let color = linear(index);
            let light = luminance(color) + 0.05;
            assert!(light / 0.05 >= 3.0, "{index} is too dark for black");
            assert!(1.05 / light >= 3.0, "{index} is too light for white");
            let [r, g, b] = color;
            assert!(r < 3.0 * g.max(b), "{index} looks red");
        }
        for (at, &index) in PALETTE_256.iter().enumerate() {
            for step in 1..=2 {
                let other = PALETTE_256[(at + step) % PALETTE_256.len()];
                let (a, b) = (linear(index), linear(other));
                assert!(distance(a, b) > 20.0, "{index} and {other} look alike");
                for matrix in BLIND {
                    let seen = |color: [f64; 3]| {
                        matrix.map(|row| {
                            row.iter()
                                .zip(color)
                                .map(|(x, y)| x * y)
                                .sum::<f64>()
                                .clamp(0.0, 1.0)
                        })
                    };
                    assert!(
                        distance(seen(a), seen(b)) > 15.0,
                        "{index} and {other} look alike to some"
                    );
                }
            }
        }
        assert_eq!(
            PALETTE_256.iter().collect::<HashSet<_>>().len(),
            PALETTE_256.len()
        );
    }
}
