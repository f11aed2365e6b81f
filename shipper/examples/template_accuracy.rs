//! How well templates agree with known ones: grouping accuracy on a copy of Loghub (`<folder>/<System>/<System>_2k.log_structured.csv`).
//!
//! A line counts as right if the lines with its template are exactly the lines with its true template. This is told for the
//! messages alone, as parsers of templates are usually measured, and for whole lines as the agent sees them.
//!
//! `cargo run --release -p shipper --example template_accuracy -- FOLDER`

#![expect(clippy::print_stdout, reason = "the report is this program's data")]

use std::collections::HashMap;
use std::error::Error;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use archive::Origin;
use archive::tpl::mask;
use jiff::tz::TimeZone;
use shipper::ids::IdFinder;
use shipper::redact::Redactor;
use shipper::rows::{AgeRule, DEFAULT_MAX_LINE_BYTES, FileFacts, LineRules, RowMaker, RowState};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("which folder?")?;
    let mut systems = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_dir() {
            systems.push(path);
        }
    }
    systems.sort();
    println!("system       messages   lines   groups   true groups");
    let mut sums = (0.0, 0.0);
    for path in &systems {
        let name = path
            .file_name()
            .ok_or("a folder without a name")?
            .to_string_lossy();
        let file = |suffix: &str| path.join(format!("{name}_2k.log{suffix}"));
        let (messages, truth) = structured(&file("_structured.csv"))?;
        let masked: Vec<_> = messages
            .iter()
            .map(|message| mask(message.as_bytes(), None))
            .collect();
        let lines = line_templates(&std::fs::read(file(""))?);
        let by_message = accuracy(&masked, &truth);
        let by_line = accuracy(&lines, &truth);
        println!(
            "{name:12} {by_message:8.3} {by_line:7.3} {:8} {:13}",
            groups(&masked).len(),
            groups(&truth).len()
        );
        sums = (sums.0 + by_message, sums.1 + by_line);
    }
    let count = systems.len().max(1) as f64;
    println!(
        "{:12} {:8.3} {:7.3}",
        "mean",
        sums.0 / count,
        sums.1 / count
    );
    Ok(())
}

/// The messages of a structured file and their true templates' ids.
fn structured(path: &Path) -> Result<(Vec<String>, Vec<String>), Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines().map(fields);
    let head = lines.next().ok_or("an empty file")?;
    let column = |name: &str| {
        head.iter()
            .position(|field| field == name)
            .ok_or("a column is missing")
    };
    let (content, event) = (column("Content")?, column("EventId")?);
    Ok(lines
        .map(|mut row| {
            (
                std::mem::take(&mut row[content]),
                std::mem::take(&mut row[event]),
            )
        })
        .unzip())
}

/// The fields of a line of comma separated values.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(next) = chars.next() {
        match (next, fields.last_mut()) {
            ('"', Some(field)) if is_quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            ('"', _) => is_quoted = !is_quoted,
            (',', _) if !is_quoted => fields.push(String::new()),
            (other, Some(field)) => field.push(other),
            (_, None) => {}
        }
    }
    fields
}

/// The template of each line of a file, as the agent computes it.
fn line_templates(text: &[u8]) -> Vec<Option<u64>> {
    let mut maker = RowMaker::new(Arc::new(LineRules {
        zone: TimeZone::UTC,
        max_line_bytes: DEFAULT_MAX_LINE_BYTES,
        age: AgeRule::AnyAge,
        ids: IdFinder::default(),
        redactor: Redactor::default(),
    }));
    let origin = Origin::default();
    let facts = FileFacts {
        origin: &origin,
        epoch: 0,
        birth_ns: None,
        changed_ns: 0,
        reading_ns: 0,
    };
    let mut templates = Vec::new();
    let mut each = |row: &archive::Row<'_>| {
        templates.push(row.tpl);
        ControlFlow::Continue(())
    };
    let mut reading = maker.read(facts, 0, RowState::default());
    let _ = reading.push(text, &mut each);
    let _ = reading.release(&mut each);
    templates
}

/// Which lines have the same key.
fn groups<K: Eq + Hash>(keys: &[K]) -> HashMap<&K, Vec<usize>> {
    let mut groups: HashMap<&K, Vec<usize>> = HashMap::new();
    for (line, key) in keys.iter().enumerate() {
        groups.entry(key).or_default().push(line);
    }
    groups
}

fn accuracy<K: Eq + Hash>(keys: &[K], truth: &[String]) -> f64 {
    let true_groups = groups(truth);
    let right: usize = groups(keys)
        .values()
        .filter(|lines| truth.get(lines[0]).and_then(|id| true_groups.get(id)) == Some(lines))
        .map(Vec::len)
        .sum();
    right as f64 / truth.len().max(1) as f64
}
