//! The contract with the archive: what a row is, how rows lie in objects, what objects are called, and the store they lie in.
//!
//! The writer (`shipper`) and the readers (`tailll`, `queries`) know no more of the archive than this crate. The rows of one
//! file are (source, epoch, offset, length): rows with one source and epoch tile the file, so that what is missing can be
//! seen from the archive alone.

pub mod checkpoint;
mod civil;
pub mod decode;
pub mod encode;
pub mod encoding;
pub mod history;
pub mod identity;
pub mod key;
pub mod listing;
pub mod row;
pub mod schema;
pub mod store;
pub mod tpl;

pub use encoding::Encoding;
pub use identity::{AgentId, Incarnation, SrcParts};
pub use key::{Hour, ObjectKey};
pub use row::{Flags, Origin, Row};
pub use store::{Store, StoreError};
