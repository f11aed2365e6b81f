//! An audit in words: a table for people, JSON lines for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::json;

use super::{Audit, FileAudit, Problem, Verdict};

/// Which files a person sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Show {
    /// Those with trouble.
    #[default]
    Trouble,
    /// All.
    All,
}

/// Writes a table of files, the objects with trouble, and the sums.
pub fn table(audit: &Audit, show: Show, out: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<&FileAudit> = audit
        .files
        .iter()
        .filter(|file| show == Show::All || file.has_trouble())
        .collect();
    if !shown.is_empty() {
        let header = [
            "FILE", "EPOCH", "ROWS", "BYTES", "LOST", "GAPS", "DOUBLE", "END", "REMARKS",
        ];
        let mut lines = vec![header.map(str::to_owned)];
        lines.extend(shown.into_iter().map(line));
        let mut widths = [0; 9];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.len().max(*width);
            }
        }
        for line in lines {
            let mut text = String::new();
            for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
                // Numbers to the right, names and remarks to the left.
                // A string can always be written to.
                let _ = if at == 0 || at > 6 {
                    write!(text, "{cell:width$}  ")
                } else {
                    write!(text, "{cell:>width$}  ")
                };
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        writeln!(out)?;
    }
    for bad in &audit.bad_objects {
        writeln!(out, "{}: {}", bad.key, problem(&bad.problem))?;
    }
    let total = &audit.total;
    let unnamed = total.bad_objects - audit.bad_objects.len() as u64;
    if unnamed > 0 {
        writeln!(out, "and {unnamed} more objects with trouble")?;
    }
    if show == Show::All {
        for ((agent, incarnation), written) in &audit.writers {
            writeln!(
                out,
                "agent {agent}, incarnation {incarnation}: {} objects of {} bytes, {} rows",
                written.objects, written.object_bytes, written.rows
            )?;
        }
    }
    if let Some(first) = &audit.first_stranger {
        writeln!(
            out,
            "{} keys among the rows' objects are none of ours, {first:?} for one; they were left alone",
            total.strangers
        )?;
    }
    if total.unjudged > 0 {
        writeln!(
            out,
            "{} ranges at the edge of the hours may be in rows of other hours; an audit of all hours tells",
            total.unjudged
        )?;
    }
    writeln!(
        out,
        "total: {} files ({} ended), {} rows, {} bytes, {} declared lost, {} gaps of {} bytes, {} overlaps of {} bytes, {} objects of {} bytes",
        total.files,
        total.ended,
        total.rows,
        total.bytes,
        total.lost_bytes,
        total.gaps,
        total.gap_bytes,
        total.overlaps,
        total.overlap_bytes,
        total.objects,
        total.object_bytes
    )?;
    let verdict = match audit.verdict() {
        Verdict::Whole => "whole: every byte is in exactly one row",
        Verdict::Trouble => "trouble: something is missing, double or damaged",
    };
    writeln!(out, "{verdict}")
}

fn line(file: &FileAudit) -> [String; 9] {
    let mut remarks = Vec::new();
    if let Some(first) = file.gaps.first() {
        remarks.push(format!("first gap {}..{}", first.start, first.end));
    }
    if let Some(first) = &file.overlaps.first {
        remarks.push(format!("first double row {}..{}", first.start, first.end));
    }
    if file.wrong_hour > 0 {
        remarks.push(format!("{} rows in a wrong hour", file.wrong_hour));
    }
    if file.unclosed {
        remarks.push("its end before the truncation is missing".to_owned());
    }
    if file.unjudged > 0 {
        remarks.push(format!("{} ranges not judged", file.unjudged));
    }
    [
        file.src.escape_default().to_string(),
        file.epoch.to_string(),
        file.rows.to_string(),
        file.bytes.to_string(),
        file.lost_bytes.to_string(),
        file.gap_count.to_string(),
        file.overlaps.rows.to_string(),
        if file.ended { "yes" } else { "no" }.to_owned(),
        remarks.join(", "),
    ]
}

fn problem(problem: &Problem) -> String {
    match problem {
        Problem::Unfetched(why) | Problem::Unreadable(why) => why.escape_default().to_string(),
        Problem::DamagedRows { rows, first } => {
            format!("{rows} damaged rows, {}", first.escape_default())
        }
        Problem::WrongHour { rows } => format!("{rows} rows of another hour"),
    }
}

/// Writes a JSON object a line: one for each file, one for each object with trouble, and the sums, told apart by `kind`.
pub fn json_lines(audit: &Audit, show: Show, out: &mut dyn Write) -> io::Result<()> {
    for file in &audit.files {
        if show == Show::Trouble && !file.has_trouble() {
            continue;
        }
        let gaps: Vec<[u64; 2]> = file.gaps.iter().map(|gap| [gap.start, gap.end]).collect();
        let value = json!({
            "kind": "file",
            "src": file.src,
            "epoch": file.epoch,
            "rows": file.rows,
            "bytes": file.bytes,
            "lost_bytes": file.lost_bytes,
            "end": file.end,
            "ended": file.ended,
            "unclosed": file.unclosed,
            "gaps": gaps,
            "gap_count": file.gap_count,
            "gap_bytes": file.gap_bytes,
            "unjudged": file.unjudged,
            "overlaps": file.overlaps.rows,
            "overlap_bytes": file.overlaps.bytes,
            "first_overlap": file.overlaps.first.as_ref().map(|first| [first.start, first.end]),
            "wrong_hour": file.wrong_hour,
        });
        writeln!(out, "{value}")?;
    }
    for bad in &audit.bad_objects {
        let (what, rows) = match &bad.problem {
            Problem::Unfetched(_) => ("unfetched", None),
            Problem::Unreadable(_) => ("unreadable", None),
            Problem::DamagedRows { rows, .. } => ("damaged_rows", Some(rows)),
            Problem::WrongHour { rows } => ("wrong_hour", Some(rows)),
        };
        let value = json!({
            "kind": "object",
            "key": bad.key,
            "problem": what,
            "rows": rows,
            "text": problem(&bad.problem),
        });
        writeln!(out, "{value}")?;
    }
    let total = &audit.total;
    let value = json!({
        "kind": "total",
        "whole": audit.verdict() == Verdict::Whole,
        "files": total.files,
        "ended": total.ended,
        "rows": total.rows,
        "bytes": total.bytes,
        "lost_bytes": total.lost_bytes,
        "gaps": total.gaps,
        "gap_bytes": total.gap_bytes,
        "unjudged": total.unjudged,
        "overlaps": total.overlaps,
        "overlap_bytes": total.overlap_bytes,
        "unclosed": total.unclosed,
        "wrong_hour": total.wrong_hour,
        "objects": total.objects,
        "object_bytes": total.object_bytes,
        "bad_objects": total.bad_objects,
        "strangers": total.strangers,
    });
    writeln!(out, "{value}")
}
