//! How rows lie in an object: a closed set of two.

/// How the rows of an object are written. Every reader gives the same rows for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Encoding {
    /// Parquet, pages packed by zstd.
    #[default]
    Parquet,
    /// One JSON object a line, packed by gzip.
    Ndjson,
}

impl Encoding {
    /// How an object's key ends, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Ndjson => "ndjson.gz",
        }
    }

    /// The encoding of an object by the end of its key.
    pub fn from_extension(extension: &str) -> Option<Self> {
        [Self::Parquet, Self::Ndjson]
            .into_iter()
            .find(|one| one.extension() == extension)
    }
}
