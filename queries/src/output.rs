//! Answers on their way out: as a table, one value a line, CSV, JSON lines, Parquet or a chart.
//!
//! Rows are written as they come, where the format allows it. What has to be held back (the first rows of a table, which decide on
//! the widths; the bars of a chart) is bounded.

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use crate::query::Chart;
use crate::rows::{Column, Kind, Row};

mod chart;
mod csv;
mod json;
mod parquet;
pub mod stats;
mod table;
mod vertical;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Rows and columns that fit the terminal; one value a line where they cannot.
    Table,
    /// One value a line.
    Vertical,
    /// RFC 4180; NULL is nothing, the empty text is `""`.
    Csv,
    /// One JSON object a line.
    Json,
    /// An Apache Parquet file.
    Parquet,
    /// Bars along time, for queries that say how they are drawn.
    Chart,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Table,
        Self::Vertical,
        Self::Csv,
        Self::Json,
        Self::Parquet,
        Self::Chart,
    ];

    /// What it is called on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Vertical => "vertical",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Chart => "chart",
        }
    }

    fn of_ending(ending: &str) -> Option<Self> {
        Some(match ending {
            "txt" => Self::Table,
            "csv" => Self::Csv,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }
}

/// How and where to an answer is written, as it was typed: `json`, `answer.parquet`, `csv:answer.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The format.
    pub format: Format,
    /// The file; none for standard output.
    pub file: Option<PathBuf>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let format = |word: &str| Format::ALL.into_iter().find(|format| format.word() == word);
        if let Some(format) = format(text) {
            return Ok(Self { format, file: None });
        }
        if let Some((word, file)) = text.split_once(':')
            && let Some(format) = format(word)
            && !file.is_empty()
        {
            return Ok(Self {
                format,
                file: Some(file.into()),
            });
        }
        let path = PathBuf::from(text);
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending.and_then(Format::of_ending) {
            Some(format) => Ok(Self {
                format,
                file: Some(path),
            }),
            None => Err(
                "write table, vertical, csv, json, parquet or chart; or a file that ends in .txt, .csv, .json or .parquet; or \
                 both, as csv:FILE"
                    .to_owned(),
            ),
        }
    }
}

/// Whether the columns' names are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// They are.
    #[default]
    Shown,
    /// They are not.
    Hidden,
}

/// What becomes of a cell that is too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fit {
    /// It is cut, with `…`.
    #[default]
    Cut,
    /// It goes on in the next lines.
    Wrapped,
    /// The table is as wide as it is.
    Wide,
}

/// What is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The width in characters, where there is one.
    pub columns: Option<usize>,
    /// Who reads it.
    pub reader: Reader,
}

/// Who reads what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A program, or a file: texts are left as they are where the format can hold them.
    Program,
    /// A terminal without colours.
    Terminal,
    /// A terminal with colours.
    Colours,
}

/// How an answer is written, in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The format.
    pub format: Format,
    /// Whether names are written.
    pub header: Header,
    /// What becomes of wide cells.
    pub fit: Fit,
    /// What is written on.
    pub page: Page,
    /// Which columns a chart draws.
    pub chart: Option<Chart>,
}

/// An answer that is being written.
pub struct Output<'w> {
    out: &'w mut (dyn Write + Send),
    options: Options,
    body: Body,
    rows: u64,
}

/// What is written at the moment.
enum Body {
    /// Nothing yet: the columns are not known.
    Nothing,
    Table(table::Table),
    Vertical(vertical::Vertical),
    Csv(csv::Csv),
    Json(json::Json),
    Parquet(Box<parquet::Parquet>),
    Chart(chart::Bars),
}

impl<'w> Output<'w> {
    /// An answer of which nothing is known yet.
    pub fn new(out: &'w mut (dyn Write + Send), options: Options) -> Self {
        Self {
            out,
            options,
            body: Body::Nothing,
            rows: 0,
        }
    }

    /// Takes the columns. What comes a second time is not taken.
    pub fn columns(&mut self, columns: &[Column]) -> io::Result<()> {
        if !matches!(self.body, Body::Nothing) {
            return Ok(());
        }
        let options = &self.options;
        self.body = match options.format {
            Format::Table => Body::Table(table::Table::new(columns.to_vec(), options)),
            Format::Vertical => Body::Vertical(vertical::Vertical::new(columns, options)),
            Format::Csv => {
                let csv = csv::Csv::new(options);
                csv.header(columns, self.out)?;
                Body::Csv(csv)
            }
            Format::Json => Body::Json(json::Json::new(columns, options)),
            Format::Parquet => Body::Parquet(Box::new(parquet::Parquet::new(columns)?)),
            Format::Chart => Body::Chart(chart::Bars::new(columns, options)?),
        };
        Ok(())
    }

    /// Takes rows. Each is as long as the columns.
    pub fn rows(&mut self, rows: Vec<Row>) -> io::Result<()> {
        self.rows += rows.len() as u64;
        match &mut self.body {
            Body::Nothing => Err(io::Error::other("rows came before their columns")),
            Body::Table(table) => table.rows(rows, self.out),
            Body::Vertical(vertical) => vertical.rows(&rows, self.out),
            Body::Csv(csv) => csv.rows(&rows, self.out),
            Body::Json(json) => json.rows(&rows, self.out),
            Body::Parquet(parquet) => parquet.rows(rows, self.out),
            Body::Chart(bars) => bars.rows(&rows),
        }?;
        // A person sees rows as they come.
        if self.options.page.reader == Reader::Program {
            Ok(())
        } else {
            self.out.flush()
        }
    }

    /// Writes what is left, and says how many rows there were.
    pub fn finish(self) -> io::Result<u64> {
        match self.body {
            Body::Nothing | Body::Vertical(_) | Body::Csv(_) | Body::Json(_) => {}
            Body::Table(table) => table.finish(self.out)?,
            Body::Parquet(parquet) => parquet.finish(self.out)?,
            Body::Chart(bars) => bars.finish(self.out)?,
        }
        self.out.flush()?;
        Ok(self.rows)
    }
}

/// Names that are different, for formats that cannot do with two of the same.
fn different_names(columns: &[Column]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in columns {
        let mut name = column.name.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}_{number}", column.name);
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Whether values are numbers, which stand at the right.
fn is_number(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::TinyInt
            | Kind::SmallInt
            | Kind::Integer
            | Kind::BigInt
            | Kind::Real
            | Kind::Double
            | Kind::Decimal { .. }
    )
}

#[cfg(test)]
mod tests;
