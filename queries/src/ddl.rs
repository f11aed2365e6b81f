//! Tables over an archive, in Athena's dialect and in Trino's: made from the one definition of the columns.
//!
//! Partitions are projected: `cluster` from a list, `dh` from the hours since the archive's first one. So no partition is ever added
//! by hand, and a query that names both reads nothing else. A table reads one encoding. Where an archive has both, [`plan`] says
//! what can be done: clusters that differ from each other get a table for each encoding and a view over both; a cluster that has
//! both in one place cannot be read by Hive's tables, but by the embedded engine.
//!
//! Everything here is text in, text out; `setup` runs it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use archive::schema::{self, COLUMNS, Kind};
use archive::store::Root;
use archive::{Encoding, Hour, key};

use crate::rows::Row;
use crate::sql_text::{identifier, literal};
use crate::survey::{ClusterSurvey, Extent, MAX_CLUSTERS, other};

/// The property that says which encoding a table was made for.
const ENCODING_PROPERTY: &str = "archive.encoding";

/// The property that says which version of the columns a table was made for.
const VERSION_PROPERTY: &str = "archive.version";

/// How the partition `dh` is written, in Java's letters.
const HOUR_FORMAT: &str = "yyyy-MM-dd-HH";

/// Who is to understand the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Athena: DDL is Hive's.
    Athena,
    /// Trino with its Hive connector.
    Trino,
}

/// A table over an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// How the rows of its objects are written.
    pub encoding: Encoding,
    /// The archive.
    pub root: Root,
    /// The clusters that it knows, in order.
    pub clusters: Vec<String>,
    /// Its first hour.
    pub first_hour: Hour,
}

impl Table {
    /// The statement that makes it, where it is not there.
    pub fn create(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Athena => self.create_in_athena(),
            Dialect::Trino => self.create_in_trino(),
        }
    }

    fn create_in_athena(&self) -> String {
        let mut sql = format!("CREATE EXTERNAL TABLE IF NOT EXISTS {} (\n", self.in_hive());
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|column| format!("  `{}` {}", column.name, column.kind.sql()))
            .collect();
        sql += &columns.join(",\n");
        sql += "\n)\nPARTITIONED BY (`cluster` string, `dh` string)\n";
        sql += match self.encoding {
            Encoding::Parquet => "STORED AS PARQUET\n",
            Encoding::Ndjson => {
                "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'\n\
                 WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')\n\
                 STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'\n\
                 OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'\n"
            }
        };
        // Writing to a text cannot fail.
        let _ = writeln!(sql, "LOCATION {}", literal(&self.location()));
        let _ = write!(
            sql,
            "TBLPROPERTIES (\n{}\n)",
            properties(&self.properties())
        );
        sql
    }

    fn create_in_trino(&self) -> String {
        let mut sql = format!("CREATE TABLE IF NOT EXISTS {} (\n", self.in_trino());
        for column in &COLUMNS {
            let _ = writeln!(
                sql,
                "  {} {},",
                identifier(column.name),
                trino_type(column.kind)
            );
        }
        let clusters: Vec<String> = self.clusters.iter().map(|one| literal(one)).collect();
        let _ = write!(
            sql,
            "  \"cluster\" varchar WITH (\n    partition_projection_type = 'ENUM',\n    partition_projection_values = ARRAY[{}]\n  ),\n  \
             \"dh\" varchar WITH (\n    partition_projection_type = 'DATE',\n    partition_projection_format = '{HOUR_FORMAT}',\n    \
             partition_projection_range = ARRAY['{}', 'NOW+1HOURS'],\n    partition_projection_interval = 1,\n    \
             partition_projection_interval_unit = 'HOURS'\n  )\n)\nWITH (\n  format = '{}',\n  partitioned_by = ARRAY['cluster', 'dh'],\n  \
             external_location = {},\n  partition_projection_enabled = true,\n  partition_projection_location_template = {}",
            clusters.join(", "),
            self.first_hour,
            match self.encoding {
                Encoding::Parquet => "PARQUET",
                Encoding::Ndjson => "OPENX_JSON",
            },
            literal(&self.location()),
            literal(&self.partition_location()),
        );
        if self.encoding == Encoding::Ndjson {
            // What Hive calls a property of the SerDe is one of the table here; its reader looks at both.
            sql += ",\n  extra_properties = MAP(ARRAY['ignore.malformed.json'], ARRAY['true'])";
        }
        sql += "\n)";
        sql
    }

    /// Everything that a table in Athena says about itself.
    fn properties(&self) -> BTreeMap<String, String> {
        [
            (ENCODING_PROPERTY, encoding_word(self.encoding).to_owned()),
            (VERSION_PROPERTY, schema::VERSION.to_string()),
            ("projection.enabled", "true".to_owned()),
            ("projection.cluster.type", "enum".to_owned()),
            (CLUSTERS_PROPERTY, self.clusters.join(",")),
            ("projection.dh.type", "date".to_owned()),
            ("projection.dh.format", HOUR_FORMAT.to_owned()),
            (RANGE_PROPERTY, format!("{},NOW+1HOURS", self.first_hour)),
            ("projection.dh.interval", "1".to_owned()),
            ("projection.dh.interval.unit", "HOURS".to_owned()),
            ("storage.location.template", self.partition_location()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// The statements that bring a table, as it is in Athena, up to date: none if it is. What another hand added to the clusters or
    /// the hours stays.
    pub fn upgrade(&self, existing: &Existing) -> Result<Vec<String>, UpgradeError> {
        let wrong = |problem: String| UpgradeError {
            table: format!("{}.{}", self.database, self.name),
            problem,
        };
        for (at, (name, kind)) in existing.columns.iter().enumerate() {
            let Some(column) = COLUMNS.get(at) else {
                return Err(wrong(format!(
                    "it has a column `{name}` that this program does not know; a newer program made it"
                )));
            };
            if column.name != name || column.kind.sql() != kind {
                return Err(wrong(format!(
                    "its column {} is `{name} {kind}` and has to be `{} {}`",
                    at + 1,
                    column.name,
                    column.kind.sql()
                )));
            }
        }
        let mut statements = Vec::new();
        let missing = COLUMNS.get(existing.columns.len()..).unwrap_or_default();
        if !missing.is_empty() {
            let columns: Vec<String> = missing
                .iter()
                .map(|column| format!("`{}` {}", column.name, column.kind.sql()))
                .collect();
            statements.push(format!(
                "ALTER TABLE {} ADD COLUMNS ({})",
                self.in_hive(),
                columns.join(", ")
            ));
        }
        let mut wanted = self.properties();
        if let Some(encoding) = existing.properties.get(ENCODING_PROPERTY)
            && Some(encoding) != wanted.get(ENCODING_PROPERTY)
        {
            return Err(wrong(format!(
                "it reads {encoding}, and the archive is written in {}",
                encoding_word(self.encoding)
            )));
        }
        if let Some(clusters) = existing.properties.get(CLUSTERS_PROPERTY) {
            let mut all: Vec<&str> = clusters
                .split(',')
                .filter(|cluster| !cluster.is_empty())
                .chain(self.clusters.iter().map(String::as_str))
                .collect();
            all.sort_unstable();
            all.dedup();
            wanted.insert(CLUSTERS_PROPERTY.to_owned(), all.join(","));
        }
        let first = existing
            .properties
            .get(RANGE_PROPERTY)
            .and_then(|range| range.split(',').next())
            .and_then(|hour| hour.parse::<Hour>().ok());
        if let Some(first) = first {
            let first = first.min(self.first_hour);
            wanted.insert(RANGE_PROPERTY.to_owned(), format!("{first},NOW+1HOURS"));
        }
        wanted.retain(|key, value| existing.properties.get(key) != Some(value));
        if !wanted.is_empty() {
            statements.push(format!(
                "ALTER TABLE {} SET TBLPROPERTIES (\n{}\n)",
                self.in_hive(),
                properties(&wanted)
            ));
        }
        Ok(statements)
    }

    /// The statements that bring a table up to date in Trino, which cannot change a projection: the table is made anew. That
    /// touches no object, since the table is external.
    pub fn replace_in_trino(&self) -> Vec<String> {
        vec![
            format!("DROP TABLE IF EXISTS {}", self.in_trino()),
            self.create(Dialect::Trino),
        ]
    }

    fn location(&self) -> String {
        format!("{}/{}", self.root, key::LOGS)
    }

    fn partition_location(&self) -> String {
        format!("{}cluster=${{cluster}}/dh=${{dh}}/", self.location())
    }

    fn in_hive(&self) -> String {
        format!("`{}`.`{}`", self.database, self.name)
    }

    fn in_trino(&self) -> String {
        format!("{}.{}", identifier(&self.database), identifier(&self.name))
    }
}

const CLUSTERS_PROPERTY: &str = "projection.cluster.values";
const RANGE_PROPERTY: &str = "projection.dh.range";

/// The statement that makes a database, where it is not there.
pub fn create_database(database: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Athena => format!("CREATE DATABASE IF NOT EXISTS `{database}`"),
        Dialect::Trino => format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(database)),
    }
}

/// A table as it is: what DESCRIBE and SHOW TBLPROPERTIES say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Existing {
    /// Its columns and their types, without the partitions.
    pub columns: Vec<(String, String)>,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
}

impl Existing {
    /// From the rows of `DESCRIBE` (Athena: a cell with tabs and blanks, the partitions behind an empty line or again below a line
    /// with `#`) and of `SHOW TBLPROPERTIES`.
    pub fn new(describe: &[Row], properties: &[Row]) -> Self {
        let columns = describe
            .iter()
            .map(cells)
            .take_while(|cells| {
                // The partitions' own part.
                cells
                    .first()
                    .is_some_and(|name| !name.is_empty() && !name.starts_with('#'))
            })
            .filter_map(|cells| {
                let [name, kind, ..] = &cells[..] else {
                    return None;
                };
                let is_partition = matches!(name.as_str(), "cluster" | "dh");
                (!is_partition).then(|| (name.clone(), kind.clone()))
            })
            .collect();
        let properties = properties
            .iter()
            .filter_map(|row| match &cells(row)[..] {
                [key, value, ..] => Some((key.clone(), value.clone())),
                _ => None,
            })
            .collect();
        Self {
            columns,
            properties,
        }
    }
}

/// The cells of a row of DDL's answers, which come as columns or as one with tabs.
fn cells(row: &Row) -> Vec<String> {
    match row.as_slice() {
        [Some(one)] => one.split('\t').map(|cell| cell.trim().to_owned()).collect(),
        several => several
            .iter()
            .map(|cell| cell.as_deref().unwrap_or_default().trim().to_owned())
            .collect(),
    }
}

/// A table that is there cannot be made to fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{table} cannot be brought up to date: {problem}; drop it (that touches no object) and set it up again, or take another name"
)]
pub struct UpgradeError {
    table: String,
    problem: String,
}

/// What is made over an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The tables: one, or one for each encoding.
    pub tables: Vec<Table>,
    /// The view over them, if there are two.
    pub view: Option<View>,
    /// What is to be known about it.
    pub notes: Vec<String>,
}

/// A view over tables with the same columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The tables.
    pub of: Vec<String>,
}

impl View {
    /// The statement that makes it. Views are Trino's in Athena too.
    pub fn create(&self) -> String {
        let columns: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let parts: Vec<String> = self
            .of
            .iter()
            .map(|table| {
                format!(
                    "SELECT {}, cluster, dh, \"$path\" AS \"$path\"\nFROM {}.{}",
                    columns.join(", "),
                    identifier(&self.database),
                    identifier(table)
                )
            })
            .collect();
        format!(
            "CREATE OR REPLACE VIEW {}.{} AS\n{}",
            identifier(&self.database),
            identifier(&self.name),
            parts.join("\nUNION ALL\n")
        )
    }
}

impl Plan {
    /// All statements, in their order.
    pub fn statements(&self, dialect: Dialect) -> Vec<String> {
        let mut statements = Vec::new();
        if let Some(table) = self.tables.first() {
            statements.push(create_database(&table.database, dialect));
        }
        statements.extend(self.tables.iter().map(|table| table.create(dialect)));
        statements.extend(self.view.iter().map(View::create));
        statements
    }
}

/// Where and over what tables are to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The database.
    pub database: String,
    /// The table's name, or the view's.
    pub table: String,
    /// The archive.
    pub root: Root,
    /// Only objects of this encoding.
    pub encoding: Option<Encoding>,
}

/// No table can be made over an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing lies there.
    #[error(
        "{root} holds no rows{of}; ship some first, or say what there will be: --cluster NAME --first-hour YYYY-MM-DD-HH --encoding parquet"
    )]
    Empty {
        /// The archive.
        root: String,
        /// Of which encoding, if one was asked for.
        of: String,
    },
    /// One cluster has both encodings.
    #[error(
        "cluster {cluster} has objects in Parquet and in NDJSON ({example}), and a table of Athena's reads one format. Let all its agents \
         write the same one (`encoding` in shipper.toml), then either wait and take --encoding {newest}, which makes a table of the hours \
         since the last object in {oldest}, or ship each encoding to an archive of its own. The embedded engine reads both as they are"
    )]
    Mixed {
        /// The cluster.
        cluster: String,
        /// Where both are seen.
        example: String,
        /// The encoding of the newest objects.
        newest: &'static str,
        /// The other one.
        oldest: &'static str,
    },
    /// The encoding that is asked for has no hours of its own.
    #[error(
        "cluster {cluster} still has objects in {other} in its newest hour, {hour}; a table can only read the hours behind the last of these"
    )]
    StillMixed {
        /// The cluster.
        cluster: String,
        /// The encoding that was not asked for.
        other: &'static str,
        /// Its newest hour.
        hour: Hour,
    },
    /// More than a table can list.
    #[error("there are {count} clusters, and a table can list {MAX_CLUSTERS}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Athena reads buckets only.
    #[error(
        "Athena reads s3:// only, and the archive is {root}; the embedded engine reads it where it is, and --dialect trino makes tables over it"
    )]
    NotS3 {
        /// The archive.
        root: String,
    },
}

/// What to make over an archive that was looked at.
pub fn plan(wanted: &Wanted, surveys: &[ClusterSurvey]) -> Result<Plan, PlanError> {
    if surveys.len() > MAX_CLUSTERS {
        return Err(PlanError::TooMany {
            count: surveys.len(),
        });
    }
    let mut plan = match wanted.encoding {
        Some(encoding) => one_encoding(wanted, surveys, encoding)?,
        None => all_encodings(wanted, surveys)?,
    };
    if surveys.iter().any(|survey| survey.extent == Extent::Some) {
        plan.notes.push(
            "the archive is long, and not every hour was looked at: if some hour has objects of the other encoding, queries that reach it fail"
                .to_owned(),
        );
    }
    Ok(plan)
}

/// A table of one encoding, from the hour on from which there is no other.
fn one_encoding(
    wanted: &Wanted,
    surveys: &[ClusterSurvey],
    encoding: Encoding,
) -> Result<Plan, PlanError> {
    let mut clusters = Vec::new();
    let mut notes = Vec::new();
    let mut first_hour: Option<Hour> = None;
    // Of clusters with both encodings, the latest of their first hours: the table has one for all.
    let mut not_before: Option<(Hour, &str)> = None;
    for survey in surveys {
        let (own, others) = (survey.hours(encoding), survey.hours(other(encoding)));
        let Some(newest) = own.last() else {
            notes.push(format!(
                "cluster {} has no objects in {}, and is left out",
                survey.cluster,
                encoding_word(encoding)
            ));
            continue;
        };
        clusters.push(survey.cluster.clone());
        let first = match others.last() {
            None => survey.oldest,
            Some(last) if last >= newest => {
                return Err(PlanError::StillMixed {
                    cluster: survey.cluster.clone(),
                    other: encoding_word(other(encoding)),
                    hour: *last,
                });
            }
            Some(last) => {
                if not_before.is_none_or(|(hour, _)| last.next() > hour) {
                    not_before = Some((last.next(), &survey.cluster));
                }
                last.next()
            }
        };
        first_hour = Some(first_hour.map_or(first, |hour| hour.min(first)));
    }
    let Some(mut first_hour) = first_hour else {
        return Err(PlanError::Empty {
            root: wanted.root.to_string(),
            of: format!(" in {}", encoding_word(encoding)),
        });
    };
    if let Some((hour, cluster)) = not_before {
        first_hour = first_hour.max(hour);
        notes.push(format!(
            "the table begins at {hour}: cluster {cluster} has objects in {} before that, which the embedded engine reads",
            encoding_word(other(encoding))
        ));
    }
    Ok(Plan {
        tables: vec![wanted.table(&wanted.table, encoding, clusters, first_hour)],
        view: None,
        notes,
    })
}

/// A table where there is one encoding, and two with a view where clusters differ.
fn all_encodings(wanted: &Wanted, surveys: &[ClusterSurvey]) -> Result<Plan, PlanError> {
    for survey in surveys {
        if let (Some(parquet), Some(ndjson)) = (survey.parquet.last(), survey.ndjson.last()) {
            let both: Vec<&Hour> = survey.parquet.intersection(&survey.ndjson).collect();
            let example = match both[..] {
                [] => format!("until {parquet} and until {ndjson}"),
                [hour] => format!("both in {hour}"),
                [hour, ..] => format!("both in {} hours, such as {hour}", both.len()),
            };
            let newest = if parquet > ndjson {
                Encoding::Parquet
            } else {
                Encoding::Ndjson
            };
            return Err(PlanError::Mixed {
                cluster: survey.cluster.clone(),
                example,
                newest: encoding_word(newest),
                oldest: encoding_word(other(newest)),
            });
        }
    }
    let mut tables = Vec::new();
    for encoding in [Encoding::Parquet, Encoding::Ndjson] {
        let of: Vec<&ClusterSurvey> = surveys
            .iter()
            .filter(|survey| !survey.hours(encoding).is_empty())
            .collect();
        if let Some(first) = of.iter().map(|survey| survey.oldest).min() {
            let clusters = of.iter().map(|survey| survey.cluster.clone()).collect();
            tables.push((encoding, clusters, first));
        }
    }
    let mut plan = Plan {
        tables: Vec::new(),
        view: None,
        notes: Vec::new(),
    };
    let is_split = tables.len() > 1;
    for (encoding, clusters, first) in tables {
        let name = if is_split {
            format!("{}_{}", wanted.table, encoding_word(encoding))
        } else {
            wanted.table.clone()
        };
        plan.tables
            .push(wanted.table(&name, encoding, clusters, first));
    }
    if plan.tables.is_empty() {
        return Err(PlanError::Empty {
            root: wanted.root.to_string(),
            of: String::new(),
        });
    }
    if is_split {
        plan.notes.push(format!(
            "some clusters are written in Parquet and some in NDJSON: there is a table for each, and {} is a view over both",
            wanted.table
        ));
        plan.view = Some(View {
            database: wanted.database.clone(),
            name: wanted.table.clone(),
            of: plan.tables.iter().map(|table| table.name.clone()).collect(),
        });
    }
    Ok(plan)
}

impl Wanted {
    /// A table of this name over the archive.
    pub fn table(
        &self,
        name: &str,
        encoding: Encoding,
        mut clusters: Vec<String>,
        first_hour: Hour,
    ) -> Table {
        clusters.sort_unstable();
        clusters.dedup();
        Table {
            database: self.database.clone(),
            name: name.to_owned(),
            encoding,
            root: self.root.clone(),
            clusters,
            first_hour,
        }
    }

    /// Whether the dialect's engine can read the archive.
    pub fn check(&self, dialect: Dialect) -> Result<(), PlanError> {
        match (dialect, &self.root) {
            (Dialect::Athena, Root::Dir(_)) => Err(PlanError::NotS3 {
                root: self.root.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// An encoding in words of people and of flags.
pub fn encoding_word(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Parquet => "parquet",
        Encoding::Ndjson => "ndjson",
    }
}

fn trino_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Timestamp => "timestamp(3)",
        Kind::BigInt => "bigint",
        Kind::Int => "integer",
        Kind::String => "varchar",
    }
}

fn properties(properties: &BTreeMap<String, String>) -> String {
    properties
        .iter()
        .map(|(key, value)| format!("  {} = {}", literal(key), literal(value)))
        .collect::<Vec<_>>()
        .join(",\n")
}

#[cfg(test)]
mod tests;
