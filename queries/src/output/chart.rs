//! Bars along time, in the terminal.
//!
//! Rows of one time are summed up. Where the times are even steps apart, steps without rows are empty bars: a gap is seen.

use std::collections::BTreeMap;
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::table::cut;
use super::{Options, Reader};
use crate::escape::plain;
use crate::moment::Moment;
use crate::rows::{Column, Kind, Row};

/// The most bars.
const MAX_BARS: usize = 2000;

/// The width where the page has none, in characters.
const DEFAULT_WIDTH: usize = 100;

/// The longest label, in characters.
const MAX_LABEL: usize = 40;

/// Eighths of a character, from the left.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Bars that are being summed up.
pub(super) struct Bars {
    along: usize,
    lengths: usize,
    of_time: bool,
    sums: BTreeMap<String, f64>,
    width: usize,
    reader: Reader,
}

impl Bars {
    pub(super) fn new(columns: &[Column], options: &Options) -> io::Result<Self> {
        let Some(chart) = &options.chart else {
            return Err(io::Error::other(
                "this answer has no chart; its query's header would have to say `-- chart: COLUMN, COLUMN`",
            ));
        };
        let find = |name: &str| {
            columns
                .iter()
                .position(|column| column.name == name)
                .ok_or_else(|| {
                    io::Error::other(format!(
                        "the chart draws `{name}`, which is no column of the answer"
                    ))
                })
        };
        let along = find(&chart.along)?;
        Ok(Self {
            along,
            lengths: find(&chart.bars)?,
            of_time: matches!(columns[along].kind, Kind::Timestamp { .. }),
            sums: BTreeMap::new(),
            width: options.page.columns.unwrap_or(DEFAULT_WIDTH),
            reader: options.page.reader,
        })
    }

    pub(super) fn rows(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            let label = row.get(self.along).cloned().flatten();
            let label = label.unwrap_or_else(|| "NULL".to_owned());
            let bar = row.get(self.lengths).cloned().flatten();
            let bar: f64 = bar.and_then(|bar| bar.parse().ok()).unwrap_or(0.0);
            if self.sums.len() == MAX_BARS && !self.sums.contains_key(&label) {
                return Err(io::Error::other(format!(
                    "there are more than {MAX_BARS} bars; take longer spans, or less time"
                )));
            }
            *self.sums.entry(label).or_default() += bar;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.of_time {
            fill(&mut self.sums);
        }
        let labels: Vec<String> = self
            .sums
            .keys()
            .map(|label| cut(plain(label).trim_end_matches(".000"), MAX_LABEL))
            .collect();
        let numbers: Vec<String> = self.sums.values().map(f64::to_string).collect();
        let widest = |texts: &[String]| texts.iter().map(|text| text.width()).max().unwrap_or(0);
        let (label_width, number_width) = (widest(&labels), widest(&numbers));
        let room = self
            .width
            .saturating_sub(label_width + number_width + 2)
            .max(8);
        let most = self.sums.values().copied().fold(0.0, f64::max);
        let (colour, plain_again) = match self.reader {
            Reader::Colours => ("\x1b[36m", "\x1b[0m"),
            Reader::Terminal | Reader::Program => ("", ""),
        };
        for ((label, number), value) in labels.iter().zip(&numbers).zip(self.sums.values()) {
            let eighths = if most > 0.0 {
                (value.max(0.0) / most * (room * 8) as f64).round() as usize
            } else {
                0
            };
            // Something is never nothing.
            let eighths = eighths.max(usize::from(*value > 0.0));
            let bar = format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
            let line = format!(
                "{label}{} {}{number} {colour}{bar}{plain_again}",
                " ".repeat(label_width - label.width()),
                " ".repeat(number_width - number.width()),
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Puts steps in that have no rows, if the times are even steps apart and there are not too many.
fn fill(sums: &mut BTreeMap<String, f64>) {
    let times: Option<Vec<i64>> = sums
        .keys()
        .map(|text| Some(text.parse::<Moment>().ok()?.resolve(0)))
        .collect();
    let Some(times) = times else { return };
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let step = steps.fold(0, greatest_common_divisor);
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return;
    };
    if step <= 0 || (last - first) / step >= MAX_BARS as i64 {
        return;
    }
    let mut time = first + step;
    while time < *last {
        let text = crate::moment::show(time);
        let (date, clock) = text.split_once('T').unwrap_or((&text, ""));
        let clock = clock.trim_end_matches('Z');
        let clock = match clock.split_once('.') {
            Some((clock, fraction)) => format!("{clock}.{fraction:0<3}"),
            None => format!("{clock}.000"),
        };
        sums.entry(format!("{date} {clock}")).or_insert(0.0);
        time += step;
    }
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}
