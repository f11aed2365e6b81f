//! Whose rows a question is about: cluster, hours, times and jobs; and the expression that stands for these rows in SQL.
//!
//! Three expressions, each in parentheses, so that they stand where a table could:
//!
//! - `{{logs}}`: the lines. Rows that stand for gaps and ends of files are left out.
//! - `{{all_rows}}`: these too, for questions about the keeping itself.
//! - `{{raw_rows}}`: everything in the objects of the hours, as it lies there, with the object's name in `object`.
//!
//! The first two give the same rows on both encodings. NDJSON leaves numbers out that are 0, and tables over it give NULL there, so the
//! numbers are given as `coalesce(…, 0)`; conditions are put on the columns themselves, since engines prune by these only. A damaged
//! line is a row of NULLs: `src`, which no row lacks and which costs next to nothing to read, tells it from the others. Columns
//! that the query does not name are not read, as engines drop them from a subquery.

use std::ops::Range;

use archive::Hour;
use archive::row::Flags;
use archive::schema::{COLUMNS, ColumnId, Kind, Presence};

use crate::job_pattern::JobPattern;
use crate::moment::HOUR_NS;
use crate::sql_text::{identifier, literal};

/// Whose rows are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The partition `cluster`.
    pub cluster: String,
    /// The times, in ns since 1970; the end does not belong to it.
    pub times_ns: Range<i64>,
    /// The jobs.
    pub job: JobPattern,
}

/// Why there is no [`Selection`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// The span has no length.
    #[error("`from` ({from}) is not before `to` ({to})")]
    Empty {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
    /// Not a name of a cluster.
    #[error("cluster: {0}")]
    Cluster(#[from] archive::key::KeyError),
    /// The pattern's cluster is another one.
    #[error("the job is of cluster `{of_job}`, and the cluster is said to be `{cluster}`")]
    TwoClusters {
        /// The pattern's.
        of_job: String,
        /// The one that was given.
        cluster: String,
    },
}

impl Selection {
    /// A selection. The names are checked.
    pub fn new(
        cluster: &str,
        times_ns: Range<i64>,
        job: JobPattern,
    ) -> Result<Self, SelectionError> {
        if times_ns.is_empty() {
            return Err(SelectionError::Empty {
                from: crate::moment::show(times_ns.start),
                to: crate::moment::show(times_ns.end),
            });
        }
        archive::key::cluster_prefix(cluster)?;
        if let Some(of_job) = &job.cluster
            && of_job != cluster
        {
            return Err(SelectionError::TwoClusters {
                of_job: of_job.clone(),
                cluster: cluster.to_owned(),
            });
        }
        Ok(Self {
            cluster: cluster.to_owned(),
            times_ns,
            job,
        })
    }

    /// The hours whose objects can hold such rows; the end does not belong to it.
    pub fn hours(&self) -> Range<Hour> {
        Hour::of_ns(self.times_ns.start)..Hour::of_ns(self.times_ns.end - 1).next()
    }

    /// What stands for the rows of one of [`crate::query::TABLES`] in SQL.
    pub fn rows(&self, which: Rows, table: &str) -> String {
        let mut conditions = self.partitions();
        let columns = match which {
            Rows::Raw => {
                let mut columns: Vec<String> = COLUMNS
                    .iter()
                    .map(|column| column.name.to_owned())
                    .collect();
                // Athena's and Trino's hidden column; the embedded engine has it too.
                columns.push("\"$path\" AS object".to_owned());
                columns
            }
            Rows::Lines | Rows::All => {
                conditions.extend(self.times());
                conditions.extend(self.job.conditions());
                conditions.push("src IS NOT NULL".to_owned());
                if which == Rows::Lines {
                    let hidden = (Flags::GAP | Flags::END).0;
                    conditions.push(format!("bitwise_and(coalesce(flags, 0), {hidden}) = 0"));
                }
                COLUMNS
                    .iter()
                    .map(|column| match (column.kind, column.presence) {
                        (Kind::Int, Presence::Always) => {
                            format!("CAST(coalesce({0}, 0) AS integer) AS {0}", column.name)
                        }
                        (Kind::BigInt, Presence::Always) => {
                            format!("coalesce({0}, 0) AS {0}", column.name)
                        }
                        _ => column.name.to_owned(),
                    })
                    .collect()
            }
        };
        format!(
            "(\n    SELECT\n        cluster, dh, {}\n    FROM {}\n    WHERE {}\n)",
            wrapped(&columns),
            identifier(table),
            conditions.join("\n        AND ")
        )
    }

    fn partitions(&self) -> Vec<String> {
        let hours = self.hours();
        let last = Hour::from_number(hours.end.number() - 1);
        vec![
            format!("cluster = {}", literal(&self.cluster)),
            if hours.start == last {
                format!("dh = {}", literal(&last.to_string()))
            } else {
                format!(
                    "dh BETWEEN {} AND {}",
                    literal(&hours.start.to_string()),
                    literal(&last.to_string())
                )
            },
        ]
    }

    /// The range of times, unless the hours say it already: that saves a column.
    fn times(&self) -> Option<String> {
        let Range { start, end } = self.times_ns;
        if start % HOUR_NS == 0 && end % HOUR_NS == 0 {
            return None;
        }
        let name = ColumnId::TsNs.column().name;
        let range = format!("{name} >= {start} AND {name} < {end}");
        Some(if self.times_ns.contains(&0) {
            // NDJSON leaves a time of 0 out.
            format!("({range} OR {name} IS NULL)")
        } else {
            range
        })
    }
}

/// Which rows an expression stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// `{{logs}}`.
    Lines,
    /// `{{all_rows}}`.
    All,
    /// `{{raw_rows}}`.
    Raw,
}

impl Rows {
    /// By the name of its hole.
    pub fn of_hole(name: &str) -> Option<Self> {
        match name {
            "logs" => Some(Self::Lines),
            "all_rows" => Some(Self::All),
            "raw_rows" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// A list of columns over several lines.
fn wrapped(columns: &[String]) -> String {
    columns
        .chunks(6)
        .map(|some| some.join(", "))
        .collect::<Vec<_>>()
        .join(",\n        ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 499_000;

    fn selection(times_ns: Range<i64>, job: &str) -> Selection {
        let job = job.parse().unwrap_or_else(|error| panic!("{error}"));
        Selection::new("aa", times_ns, job).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn whole_hours_need_no_times() {
        let lines = selection(HOUR * HOUR_NS..(HOUR + 2) * HOUR_NS, "*").rows(Rows::Lines, "logs");
        insta::assert_snapshot!(lines);
    }

    #[test]
    fn parts_of_hours_do() {
        let part = selection(HOUR * HOUR_NS + 5..(HOUR + 1) * HOUR_NS, "www/prod/hello*");
        insta::assert_snapshot!(part.rows(Rows::All, "my\"logs"));
        insta::assert_snapshot!(part.rows(Rows::Raw, "logs"));
    }

    #[test]
    fn a_time_of_nothing_is_found_where_it_is_left_out() {
        let times = |times| selection(times, "*").times();
        assert_eq!(
            times(-5..5).as_deref(),
            Some("(ts_ns >= -5 AND ts_ns < 5 OR ts_ns IS NULL)")
        );
        assert_eq!(times(0..HOUR_NS), None);
        assert_eq!(times(1..5).as_deref(), Some("ts_ns >= 1 AND ts_ns < 5"));
    }

    #[test]
    fn hours_cover_the_times() {
        for (times, hours) in [
            (0..1, 0..1),
            (0..HOUR_NS, 0..1),
            (0..HOUR_NS + 1, 0..2),
            (HOUR_NS - 1..HOUR_NS + 1, 0..2),
            (-1..1, -1..1),
        ] {
            let found = selection(times.clone(), "*").hours();
            assert_eq!(found.start.number()..found.end.number(), hours, "{times:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let new = |cluster, times, job: &str| {
            Selection::new(cluster, times, job.parse().expect("a pattern"))
        };
        assert!(matches!(
            new("aa", 5..5, "*"),
            Err(SelectionError::Empty { .. })
        ));
        assert!(matches!(
            new("a/b", 0..5, "*"),
            Err(SelectionError::Cluster(_))
        ));
        assert!(matches!(
            new("a' --", 0..5, "*"),
            Err(SelectionError::Cluster(_))
        ));
        assert!(matches!(
            new("aa", 0..5, "bb/a/b/c"),
            Err(SelectionError::TwoClusters { .. })
        ));
    }
}
