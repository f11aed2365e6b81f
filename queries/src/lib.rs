//! Forensic questions about jobs' logs, by name: on Athena or in process, the same SQL and the same answers.
//!
//! ```text
//! name + parameters -catalogue-> Statement -engine (Athena | embedded)-> Event -output-> table | vertical | csv | json | parquet | chart
//! ```

pub mod athena;
pub mod estimate;
pub mod event;
pub mod freshness;
pub mod publish;
pub mod retry;
pub mod rows;
pub mod setup;
