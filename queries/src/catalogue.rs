//! The queries that can be asked by name: those in the program and those in the user's folders.
//!
//! A file that cannot be read, or that takes a name that is taken, is a [`Problem`]: the others can be asked all the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::near::suggestion;
use crate::query::{MAX_QUERY_BYTES, Origin, Place, Query, QueryError};

/// The most files that are read of a folder.
pub const MAX_FILES: usize = 1000;

/// The files of the folder `sql`: name without ending, and text.
pub const BUILT_IN: [(&str, &str); 23] = {
    macro_rules! built_in {
        ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../sql/", $name, ".sql")))),*] };
    }
    built_in![
        "around",
        "co-occur",
        "crash-loop",
        "deploy-diff",
        "doctor",
        "duplicates",
        "error-timeline",
        "errors-by-job",
        "field-values",
        "first-seen",
        "gaps",
        "grep",
        "host-blame",
        "last-words",
        "late-events",
        "latency",
        "new-patterns",
        "noisy-jobs",
        "rate-spikes",
        "request-trace",
        "silence",
        "slowest",
        "top-templates",
    ]
};

/// Queries by their names.
#[derive(Debug, Default)]
pub struct Catalogue {
    queries: BTreeMap<String, Query>,
    /// What could not be taken.
    pub problems: Vec<Problem>,
}

/// A file or folder that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("{}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than a query may be.
    #[error("{}: more than {MAX_QUERY_BYTES} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The folder has more files than are read.
    #[error("{}: more than {MAX_FILES} queries; the rest is left out", .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// It is no query.
    #[error("{}", .path.display())]
    Query {
        /// The file.
        path: PathBuf,
        /// Why.
        source: QueryError,
    },
    /// Its name is taken.
    #[error(
        "{}: there is a query `{name}` already, {of}; name it otherwise, or write `-- replaces: {name}` into its header",
        .path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
        /// Whose that is.
        of: String,
    },
}

/// There is no such query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no query `{}`{near}", .name.escape_debug())]
pub struct Unknown {
    name: String,
    near: String,
}

impl Catalogue {
    /// The program's own queries.
    pub fn built_in() -> Self {
        let mut catalogue = Self::default();
        for (stem, text) in BUILT_IN {
            match Query::parse(text, stem, Origin::BuiltIn) {
                Ok(query) => {
                    catalogue.queries.insert(query.name.clone(), query);
                }
                // A test reads them all.
                Err(source) => catalogue.problems.push(Problem::Query {
                    path: PathBuf::from(format!("{stem}.sql")),
                    source,
                }),
            }
        }
        catalogue
    }

    /// The same with the queries of these folders, the first folder's first.
    #[must_use]
    pub fn with_folders(mut self, folders: &[PathBuf]) -> Self {
        for folder in folders {
            self.add_folder(folder);
        }
        self
    }

    fn add_folder(&mut self, folder: &Path) {
        let problem = |path: &Path, source| Problem::Read {
            path: path.to_owned(),
            source,
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(problem(folder, error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => {
                    let path = entry.path();
                    if path.extension().is_some_and(|ending| ending == "sql") {
                        files.push(path);
                    }
                }
                Err(error) => self.problems.push(problem(folder, error)),
            }
        }
        // The order of a folder is chance; which of two files is taken is not.
        files.sort_unstable();
        if files.len() > MAX_FILES {
            files.truncate(MAX_FILES);
            self.problems.push(Problem::TooMany {
                path: folder.to_owned(),
            });
        }
        for path in files {
            match read(&path) {
                Ok(query) => self.add(query, path),
                Err(error) => self.problems.push(error),
            }
        }
    }

    fn add(&mut self, query: Query, path: PathBuf) {
        if let Some(other) = self.queries.get(&query.name)
            && query.place != Place::Replaces
        {
            let of = match &other.origin {
                Origin::BuiltIn => "the program's own".to_owned(),
                Origin::File(file) => format!("of {}", file.display()),
            };
            self.problems.push(Problem::Taken {
                path,
                name: query.name,
                of,
            });
            return;
        }
        self.queries.insert(query.name.clone(), query);
    }

    /// The query of this name.
    pub fn get(&self, name: &str) -> Result<&Query, Unknown> {
        self.queries.get(name).ok_or_else(|| Unknown {
            name: name.to_owned(),
            near: suggestion(name, self.queries.keys().map(String::as_str)),
        })
    }

    /// All of them, in the order of their names.
    pub fn queries(&self) -> impl Iterator<Item = &Query> {
        self.queries.values()
    }

    /// The program's own as a table for `docs/queries.md`.
    pub fn markdown(&self) -> String {
        use std::fmt::Write as _;
        let mut table = String::from("| query | what it answers | parameters |\n|---|---|---|\n");
        for query in self.queries() {
            let parameters: Vec<String> = query
                .parameters
                .iter()
                .map(|one| match one.default_text() {
                    Some(default) => format!("`{}` = {}", one.name, default.replace('|', "\\|")),
                    None => format!("**`{}`**", one.name),
                })
                .chain(
                    query
                        .defaults
                        .iter()
                        .map(|(name, value)| format!("`{name}` = {value}")),
                )
                .collect();
            // Writing to a text cannot fail.
            let _ = writeln!(
                table,
                "| `{}` | {} | {} |",
                query.name,
                query.answers.replace('|', "\\|"),
                parameters.join(", ")
            );
        }
        table
    }
}

fn read(path: &Path) -> Result<Query, Problem> {
    let failed = |source| Problem::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_QUERY_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_QUERY_BYTES {
        return Err(Problem::TooLarge {
            path: path.to_owned(),
        });
    }
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Query::parse(&text, &stem, Origin::File(path.to_owned())).map_err(|source| Problem::Query {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
