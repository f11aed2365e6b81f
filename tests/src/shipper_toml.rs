//! The configuration of a host for the shipper, with everything below one folder: state, spool, and logs of jobs as
//! [`crate::sandboxes`] writes them, in `jobs/<job>/<instance>/app.log`.

use std::path::Path;

/// What hosts of tests and benches do not have in common.
#[derive(Debug, Clone, Copy)]
pub struct ShipperToml<'a> {
    /// The folder of everything.
    pub root: &'a Path,
    /// Where the archive is; `None`: in a folder beside the rest.
    pub archive: Option<&'a str>,
    /// `parquet` or `ndjson`.
    pub encoding: &'a str,
    /// More keys before the first table.
    pub keys: &'a str,
    /// More tables.
    pub tables: &'a str,
}

impl ShipperToml<'_> {
    /// The text.
    pub fn text(&self) -> String {
        let Self {
            encoding,
            keys,
            tables,
            ..
        } = self;
        let root = self.root.display();
        let archive = match self.archive {
            Some(archive) => archive.to_owned(),
            None => format!("file://{root}/archive"),
        };
        format!(
            r#"
archive = "{archive}"
cluster = "aa"
encoding = "{encoding}"
{keys}
[state]
folder = "{root}/state"
reserved_megabytes = 0
[spool]
folders = ["{root}/spool"]
[[files]]
name = "jobs"
paths = ["{root}/jobs/*/*/app.log*"]
job = "aa/www-data/prod/{{1}}"
instance = "{{2}}"
{tables}
"#
        )
    }
}
