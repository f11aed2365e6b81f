//! The catalogue as named queries in a workgroup, so that people find it in Athena's console.
//!
//! Owns the comparison of what is there with what should be. Ours are known by a mark at the end of their description: a hash of
//! all that was published. What others wrote under the same name is left as it is.

use std::collections::BTreeMap;

use archive::store::digest;

use crate::athena::Athena;
use crate::athena::api::{Named, NewNamed, Refused};
use crate::athena::run::{MAX_SQL_BYTES, Quiet, hex, token};

/// How many named queries are asked for at once, in queries; Athena's own limit.
pub const MAX_BATCH: usize = 50;

/// The most named queries of a workgroup that are looked at, in queries.
pub const MAX_NAMED: usize = 10_000;

/// The longest name, in characters; Athena's own limit.
pub const MAX_NAME_CHARS: usize = 128;

/// The longest description with its mark, in characters; Athena's own limit.
pub const MAX_DESCRIPTION_CHARS: usize = 1024;

/// What a mark begins with.
const MARK: &str = "[queries ";

/// How many characters of the hash stand in a mark.
const HASH_CHARS: usize = 16;

/// A query to be published. Named queries have no parameters: its text holds literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// What it answers.
    pub description: String,
    /// Its text.
    pub sql: String,
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was there, the same.
    Unchanged,
    /// It was not there.
    Created,
    /// It was there with another text or description.
    Updated,
    /// Somebody else has a query of this name; it was left as it is.
    Foreign,
}

/// What a publishing came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Each publication, in the order given.
    pub outcomes: Vec<(String, Outcome)>,
    /// Ours in the workgroup that are no longer published; they are left for a person to delete.
    pub stale: Vec<String>,
}

/// Why not everything was published. What was done before stays done; publishing again goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Athena takes no such query.
    #[error("query {name}: {problem}")]
    Unfit {
        /// Which.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There are too many to look at.
    #[error("workgroup {workgroup} has more than {MAX_NAMED} named queries")]
    TooMany {
        /// Where.
        workgroup: String,
    },
    /// Athena does not do it.
    #[error("publish into workgroup {workgroup}")]
    Refused {
        /// Where.
        workgroup: String,
        /// Why not.
        #[source]
        source: Refused,
    },
}

impl Publication {
    fn check(&self) -> Result<(), PublishError> {
        let unfit = |problem: String| {
            Err(PublishError::Unfit {
                name: self.name.clone(),
                problem,
            })
        };
        let chars = self.name.chars().count();
        if !(1..=MAX_NAME_CHARS).contains(&chars) {
            return unfit(format!(
                "its name has {chars} characters, 1 to 128 are allowed"
            ));
        }
        if !(1..=MAX_SQL_BYTES).contains(&self.sql.len()) {
            let bytes = self.sql.len();
            return unfit(format!(
                "its text has {bytes} bytes, 1 to 262144 are allowed"
            ));
        }
        Ok(())
    }

    /// A hash of all of it.
    fn hash(&self, database: &str) -> String {
        let mut bytes = Vec::new();
        for part in [&self.name, &self.description, &self.sql, database] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part.as_bytes());
        }
        let mut hash = hex(&digest(&bytes));
        hash.truncate(HASH_CHARS);
        hash
    }

    /// The description with the mark, cut so that the mark is always whole.
    fn marked(&self, hash: &str) -> String {
        let mark = format!("{MARK}{hash}]");
        let room = MAX_DESCRIPTION_CHARS - mark.chars().count() - 1;
        let text: String = self.description.chars().take(room).collect();
        format!("{} {mark}", text.trim_end())
            .trim_start()
            .to_owned()
    }
}

/// The hash in a description's mark, if it has one.
fn mark_of(description: &str) -> Option<&str> {
    let (_, mark) = description.rsplit_once(MARK)?;
    let hash = mark.strip_suffix(']')?;
    let is_hash = hash.len() == HASH_CHARS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(hash)
}

/// Publishes into Athena's workgroup. What is there already is left alone, so this can be done again at any time.
pub async fn publish(
    athena: &Athena,
    publications: &[Publication],
) -> Result<Published, PublishError> {
    for publication in publications {
        publication.check()?;
    }
    let workgroup = athena.settings().workgroup.clone();
    let database = athena.settings().database.clone();
    let refused = |source| PublishError::Refused {
        workgroup: workgroup.clone(),
        source,
    };
    let there = everything(athena).await?;
    let quiet = Quiet::default();
    let calls = quiet.calls(athena);
    let outside = athena.outside();
    let mut published = Published::default();
    for publication in publications {
        let hash = publication.hash(&database);
        let new = NewNamed {
            name: publication.name.clone(),
            description: publication.marked(&hash),
            database: database.clone(),
            sql: publication.sql.clone(),
            workgroup: workgroup.clone(),
            // With chance in it: somebody may have deleted what the same token made before.
            token: token(
                [Some(&publication.name), Some(&hash), Some(&workgroup)],
                [outside.random(), outside.random()],
            ),
        };
        let same_name = there.get(&publication.name).map_or(&[][..], Vec::as_slice);
        let mut ours = same_name
            .iter()
            .filter_map(|named| Some((named, mark_of(&named.description)?)))
            .peekable();
        let outcome = if ours.peek().is_none() && !same_name.is_empty() {
            Outcome::Foreign
        } else if ours
            .clone()
            .any(|(named, mark)| mark == hash && named.sql == new.sql && named.database == database)
        {
            Outcome::Unchanged
        } else if let Some((named, _)) = ours.find(|(named, _)| named.database == database) {
            let update = calls.again(|| athena.api().update_named(&named.id, &new));
            update.await.map_err(refused)?;
            Outcome::Updated
        } else {
            // Ours of another database stays: a named query cannot change it.
            let create = calls.again(|| athena.api().create_named(&new));
            create.await.map_err(refused)?;
            Outcome::Created
        };
        published.outcomes.push((publication.name.clone(), outcome));
    }
    let is_stale = |named: &&Named| {
        mark_of(&named.description).is_some()
            && named.database == database
            && !publications.iter().any(|one| one.name == named.name)
    };
    let ours = there.values().flatten().filter(is_stale);
    published.stale = ours.map(|named| named.name.clone()).collect();
    published.stale.dedup();
    Ok(published)
}

/// All named queries of the workgroup, by name.
async fn everything(athena: &Athena) -> Result<BTreeMap<String, Vec<Named>>, PublishError> {
    let workgroup = &athena.settings().workgroup;
    let refused = |source| PublishError::Refused {
        workgroup: workgroup.clone(),
        source,
    };
    let quiet = Quiet::default();
    let calls = quiet.calls(athena);
    let mut ids: Vec<String> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = calls.again(|| athena.api().list_named(workgroup, after.as_deref()));
        let page = page.await.map_err(refused)?;
        let is_last = page.next.is_none() || page.next == after;
        after = page.next;
        ids.extend(page.ids);
        if ids.len() > MAX_NAMED {
            return Err(PublishError::TooMany {
                workgroup: workgroup.clone(),
            });
        }
        if is_last {
            break;
        }
    }
    let mut all: BTreeMap<String, Vec<Named>> = BTreeMap::new();
    for batch in ids.chunks(MAX_BATCH) {
        let found = calls.again(|| athena.api().named(batch));
        for named in found.await.map_err(refused)? {
            all.entry(named.name.clone()).or_default().push(named);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publication(description: &str) -> Publication {
        Publication {
            name: "errors-by-job".to_owned(),
            description: description.to_owned(),
            sql: "SELECT 1".to_owned(),
        }
    }

    #[test]
    fn a_mark_is_found_where_it_was_put() {
        let one = publication("counts errors");
        let hash = one.hash("logs");
        assert_eq!(one.marked(&hash), format!("counts errors [queries {hash}]"));
        assert_ne!(hash, one.hash("logs2"));
        assert_ne!(hash, publication("counts  errors").hash("logs"));
        assert_eq!(publication("").marked("x"), "[queries x]");
        for text in [
            "",
            "[queries 0123]",
            "[queries 0123456789abcdeg]",
            "[queries 0123456789abcdef] x",
        ] {
            assert_eq!(mark_of(text), None, "{text}");
        }
    }

    #[test]
    fn what_athena_does_not_take_is_said_before() {
        let mut long = publication("x");
        long.name = "é".repeat(129);
        assert!(
            long.check()
                .unwrap_err()
                .to_string()
                .contains("129 characters")
        );
        let mut empty = publication("x");
        empty.sql = String::new();
        assert!(empty.check().is_err());
        publication("x").check().unwrap();
    }

    proptest! {
        #[test]
        fn every_mark_is_whole(description in "(\\PC|\n){0,40}", times in 1_usize..60) {
            let publication = publication(&description.repeat(times));
            let hash = publication.hash("logs");
            let marked = publication.marked(&hash);
            prop_assert!(marked.chars().count() <= MAX_DESCRIPTION_CHARS);
            prop_assert_eq!(mark_of(&marked), Some(hash.as_str()));
        }
    }
}
