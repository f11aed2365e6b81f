//! What is said of an answer when it is there: rows, time, bytes, and what was wrong.

use std::fmt::Write as _;
use std::time::Duration;

use crate::event::Stats;

/// A number of bytes in three digits or so: `0 B`, `1.5 kB`, `23 MB`. A kB is 1000 B.
pub fn bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would be rounded to a number of four digits.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units[unit];
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// A time that something took: `45 ms`, `1.2 s`, `2m05s`.
pub fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 {
        return format!("{ms} ms");
    }
    let seconds = duration.as_secs();
    if seconds < 60 {
        return format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    }
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

/// The line that follows an answer.
pub fn line(rows: u64, stats: &Stats, engine: &str) -> String {
    let mut text = format!(
        "{rows} {} in {}, {} read",
        if rows == 1 { "row" } else { "rows" },
        duration(stats.elapsed),
        bytes(stats.bytes_scanned)
    );
    // Writing to a text cannot fail.
    let counted = [(stats.objects, "objects"), (stats.requests, "requests")];
    for (number, what) in counted {
        if let Some(number) = number {
            let _ = write!(text, ", {number} {what}");
        }
    }
    if stats.reused {
        text += ", an earlier answer used again";
    }
    let _ = write!(text, " ({engine}");
    if let Some(id) = &stats.execution_id {
        let _ = write!(text, ", {id}");
    }
    text.push(')');
    text
}

/// What is to be known of lines that could not be read; nothing if there were none.
pub fn damage(stats: &Stats) -> Option<String> {
    (stats.damaged_rows > 0).then(|| {
        format!(
            "{} damaged lines of objects could not be read and are not in the answer; `queries run doctor` names the objects",
            stats.damaged_rows
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_summed_up() {
        let mut stats = Stats {
            bytes_scanned: 34_200_000,
            elapsed: Duration::from_millis(1250),
            ..Stats::default()
        };
        assert_eq!(
            line(1, &stats, "athena"),
            "1 row in 1.2 s, 34 MB read (athena)"
        );
        assert_eq!(damage(&stats), None);
        stats.objects = Some(56);
        stats.requests = Some(112);
        stats.reused = true;
        stats.execution_id = Some("8a-1".to_owned());
        stats.damaged_rows = 3;
        insta::assert_snapshot!(
            line(2000, &stats, "athena"),
            @"2000 rows in 1.2 s, 34 MB read, 56 objects, 112 requests, an earlier answer used again (athena, 8a-1)"
        );
        assert!(damage(&stats).is_some_and(|text| text.starts_with("3 damaged lines")));
        assert_eq!(duration(Duration::from_secs(125)), "2m05s");
    }
}
