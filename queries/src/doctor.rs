//! `queries doctor`: what is configured, what the archive holds, and whether what was kept is sound.

use std::io::{self, Write};

use archive::{Encoding, Hour, Store};

use crate::catalogue::Catalogue;
use crate::ddl::encoding_word;
use crate::escape::plain;
use crate::survey::{self, ClusterSurvey, Extent};
use joblog::causes::chain;

/// Queries of the catalogue whose good answer is no row.
pub const CHECKS: [&str; 3] = ["doctor", "duplicates", "gaps"];

/// Whether a finding is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// As it should be.
    Fine,
    /// It works, but should be known.
    Note,
    /// Something does not work or is wrong.
    Bad,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is good.
    pub weight: Weight,
    /// What it is.
    pub text: String,
}

impl Finding {
    /// Something as it should be.
    pub fn fine(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Fine,
            text: text.into(),
        }
    }

    /// Something to be known.
    pub fn note(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Note,
            text: text.into(),
        }
    }

    /// Something wrong.
    pub fn bad(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Bad,
            text: text.into(),
        }
    }
}

/// The state of the catalogue.
pub fn of_catalogue(catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = vec![Finding::fine(format!(
        "{} queries can be asked",
        catalogue.queries().count()
    ))];
    findings.extend(
        catalogue
            .problems
            .iter()
            .map(|problem| Finding::bad(chain(problem))),
    );
    findings
}

/// The state of the archive, as its listing tells it.
pub async fn of_archive(store: &dyn Store, now: Hour) -> Vec<Finding> {
    match survey::survey(store, now).await {
        Err(error) => vec![Finding::bad(format!(
            "archive {}: {}",
            store.root(),
            chain(&error)
        ))],
        Ok(surveys) if surveys.is_empty() => {
            vec![Finding::bad(format!(
                "archive {} holds no rows",
                store.root()
            ))]
        }
        Ok(surveys) => {
            let mut findings = vec![Finding::fine(format!(
                "archive {} can be listed",
                store.root()
            ))];
            findings.extend(surveys.iter().flat_map(of_cluster));
            findings
        }
    }
}

fn of_cluster(survey: &ClusterSurvey) -> Vec<Finding> {
    let encodings: Vec<&str> = [Encoding::Parquet, Encoding::Ndjson]
        .into_iter()
        .filter(|encoding| !survey.hours(*encoding).is_empty())
        .map(encoding_word)
        .collect();
    let newest = survey.parquet.iter().chain(&survey.ndjson).max();
    let extent = match survey.extent {
        Extent::All => "",
        Extent::Some => ", of the hours that were looked at",
    };
    let mut findings = vec![Finding::fine(format!(
        "cluster {}: from {} to {}{extent}, in {}",
        survey.cluster,
        survey.oldest,
        newest.unwrap_or(&survey.oldest),
        encodings.join(" and ")
    ))];
    if encodings.len() > 1 {
        findings.push(Finding::note(format!(
            "cluster {} has both encodings: the embedded engine reads them, a table of Athena's reads one; `queries ddl` says more",
            survey.cluster
        )));
    }
    findings
}

/// The answer of one of [`CHECKS`]: how many rows it has.
pub fn of_check(name: &str, rows: usize, limited: usize) -> Finding {
    match (name, rows) {
        ("doctor", 0) => Finding::fine("every line of every object can be read"),
        ("duplicates", 0) => Finding::fine("no line is there twice"),
        ("gaps", 0) => Finding::fine("no bytes were lost"),
        (_, 0) => Finding::fine(format!("{name}: nothing")),
        (name, rows) => {
            let least = if rows >= limited { "at least " } else { "" };
            Finding::bad(format!(
                "{name}: {least}{rows} rows; `queries run {name}` shows them"
            ))
        }
    }
}

/// Prints findings; says whether all is well.
pub fn print(findings: &[Finding], out: &mut dyn Write) -> io::Result<Health> {
    let mut health = Health::Well;
    for finding in findings {
        let word = match finding.weight {
            Weight::Fine => "ok  ",
            Weight::Note => "note",
            Weight::Bad => {
                health = Health::Ill;
                "bad "
            }
        };
        writeln!(out, "{word}  {}", plain(&finding.text))?;
    }
    Ok(health)
}

/// Whether all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is.
    Well,
    /// Something is not.
    Ill,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_archive_is_looked_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = archive::store::dir::DirStore::new(folder.path());
        let now: Hour = "2026-11-24-12".parse().expect("an hour");
        let nothing = of_archive(&store, now).await;
        assert_eq!(nothing[0].weight, Weight::Bad);
        for ending in ["parquet", "ndjson.gz"] {
            let path = folder
                .path()
                .join("logs/v1/cluster=aa/dh=2026-11-24-09")
                .join(format!("0000000000000001~000001~00000001.{ending}"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        let mut findings = of_archive(&store, now).await;
        // Where the folder is is chance.
        findings.remove(0);
        findings.push(of_check("gaps", 0, 100));
        findings.push(of_check("duplicates", 100, 100));
        let mut out = Vec::new();
        assert_eq!(print(&findings, &mut out).expect("memory"), Health::Ill);
        insta::assert_snapshot!(String::from_utf8(out).expect("UTF-8"));
    }
}
