//! Forensic questions about jobs' logs, by name: on Athena or in process, the same SQL and the same answers.
//!
//! ```text
//! name + parameters -catalogue-> Statement -engine (Athena | embedded)-> Event -output-> table | vertical | csv | json | parquet | chart
//! ```

#[cfg(feature = "embedded")]
pub mod embedded;
pub mod event;
pub mod rows;
