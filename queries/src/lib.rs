//! Forensic questions about jobs' logs, by name: on Athena or in process, the same SQL and the same answers.
//!
//! ```text
//! name + parameters -catalogue-> Statement -engine (Athena | embedded)-> Event -output-> table | vertical | csv | json | parquet | chart
//! ```
//!
//! A statement is made of a query's SQL and of values that are checked and quoted here:
//!
//! ```
//! use queries::catalogue::Catalogue;
//! use queries::statement::{Statement, Surroundings, Values};
//!
//! let catalogue = Catalogue::built_in();
//! let query = catalogue.get("grep")?;
//! let given: Values = [("cluster", "aa"), ("pattern", "it's")]
//!     .map(|(name, value)| (name.to_owned(), value.to_owned()))
//!     .into();
//! let around = Surroundings { given: &given, configured: &Values::new(), table: "logs", now_ns: 1_795_485_600_000_000_000 };
//! let statement = Statement::of_query(query, around)?;
//! assert!(statement.sql.contains("regexp_like(line, 'it''s')"));
//! assert!(statement.sql.contains("dh = '2026-11-24-01'"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod args;
pub mod ask;
pub mod athena;
pub mod catalogue;
pub mod completions;
pub mod config;
pub mod ddl;
pub mod doctor;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod engine;
pub mod escape;
pub mod estimate;
pub mod event;
pub mod exit;
pub mod freshness;
pub mod job_pattern;
pub mod json_path;
pub mod moment;
pub mod near;
pub mod output;
pub mod parameter;
pub mod place;
pub mod progress;
pub mod publications;
pub mod publish;
pub mod query;
pub mod retry;
pub mod rows;
pub mod run;
pub mod scans;
pub mod selection;
pub mod show;
pub mod sql_text;
pub mod statement;
pub mod survey;
pub mod tables;
pub mod template;
pub mod verbs;

pub use run::main;
