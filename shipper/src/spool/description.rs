//! What a pin is a link to: a small JSON object beside it, with a version.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use archive::Origin;
use serde::{Deserialize, Serialize};

use crate::file_id::{FileId, Src};
use crate::rules::Certainty;
use crate::scan::Found;

/// The largest description that is read, in bytes.
pub const MAX_DESCRIPTION_BYTES: u64 = 64 * 1024;

/// The version that is written.
const VERSION: u32 = 1;

/// What a pin is a link to; written beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The file's name in the archive, and its pin's in the spool.
    pub src: Src,
    /// What it is.
    pub id: FileId,
    /// Where it lay when it was found: absolute.
    pub path: PathBuf,
    /// The rule that took it.
    pub rule: String,
    /// The partition that its rows go to.
    pub cluster: String,
    /// What its rows have in common, `src` included.
    pub origin: Origin,
    /// How well that is known.
    pub certainty: Certainty,
    /// The run's folder, if it lay in a sandbox.
    pub run_dir: Option<PathBuf>,
    /// When it was found, in ns since 1970.
    pub found_ns: i64,
}

/// The JSON object. Members that a reader does not know are stepped over: a later version adds, and raises the number when an
/// older reader would go wrong.
#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    src: String,
    dev: u64,
    ino: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    birth_ns: Option<i64>,
    path: Bytes,
    rule: String,
    cluster: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    instance: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    run: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    git_sha: Option<String>,
    certainty: Certainty,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_dir: Option<Bytes>,
    found_ns: i64,
}

/// A path: as a text where it is one, else as the numbers of its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Numbers(Vec<u8>),
}

impl Bytes {
    fn new(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Numbers(path.as_os_str().as_bytes().to_owned()),
        }
    }

    fn into_path(self) -> PathBuf {
        match self {
            Self::Text(text) => PathBuf::from(text),
            Self::Numbers(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        }
    }
}

impl Description {
    /// Describes a file that a scan found.
    pub(super) fn new(src: Src, id: FileId, found: &Found, found_ns: i64) -> Self {
        Self {
            id,
            path: found.path.clone(),
            rule: found.rule.to_string(),
            cluster: found.owner.cluster.clone(),
            origin: Origin {
                src: src.to_string(),
                ..found.owner.origin.clone()
            },
            certainty: found.owner.certainty,
            run_dir: found.owner.run_dir.as_deref().map(Path::to_owned),
            found_ns,
            src,
        }
    }

    /// The text, with a newline at its end.
    pub fn to_json(&self) -> String {
        let origin = self.origin.clone();
        let json = Json {
            version: VERSION,
            src: self.src.to_string(),
            dev: self.id.dev,
            ino: self.id.ino,
            birth_ns: self.id.birth_ns,
            path: Bytes::new(&self.path),
            rule: self.rule.clone(),
            cluster: self.cluster.clone(),
            role: origin.role,
            env: origin.env,
            job: origin.job,
            instance: origin.instance,
            task_id: origin.task_id,
            process: origin.process,
            run: origin.run,
            stream: origin.stream,
            host: origin.host,
            git_sha: origin.git_sha,
            certainty: self.certainty,
            run_dir: self.run_dir.as_deref().map(Bytes::new),
            found_ns: self.found_ns,
        };
        // Texts, numbers and enums: there is nothing in it that JSON cannot hold.
        serde_json::to_string(&json).unwrap_or_default() + "\n"
    }

    /// Reads the text. Nothing if it was cut short, or a later version wrote it.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(text).ok()?;
        if json.version != VERSION {
            return None;
        }
        Some(Self {
            src: json.src.parse().ok()?,
            id: FileId {
                dev: json.dev,
                ino: json.ino,
                birth_ns: json.birth_ns,
            },
            path: json.path.into_path(),
            rule: json.rule,
            cluster: json.cluster,
            origin: Origin {
                role: json.role,
                env: json.env,
                job: json.job,
                instance: json.instance,
                task_id: json.task_id,
                process: json.process,
                run: json.run,
                stream: json.stream,
                host: json.host,
                src: json.src,
                git_sha: json.git_sha,
            },
            certainty: json.certainty,
            run_dir: json.run_dir.map(Bytes::into_path),
            found_ns: json.found_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use archive::AgentId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn descriptions_are_read_back_and_no_cut_one_is(
            path in prop::collection::vec(any::<u8>(), 0..40),
            texts in prop::array::uniform4(any::<Option<String>>()),
            numbers in any::<(u64, u64, Option<i64>, u32, u32)>(),
            random: u64,
            cut: prop::sample::Index,
        ) {
            let (dev, ino, birth_ns, instance, run) = numbers;
            let [role, process, task_id, git_sha] = texts;
            let id = FileId { dev, ino, birth_ns };
            let src = id.src(AgentId(7), random);
            let path = PathBuf::from(OsString::from_vec(path));
            let description = Description {
                id,
                rule: "mesos".to_owned(),
                cluster: "aa".to_owned(),
                origin: Origin { role, process, task_id, git_sha, instance, run, src: src.to_string(), ..Origin::default() },
                certainty: Certainty::TaskInfo,
                run_dir: Some(path.clone()),
                path,
                found_ns: -1,
                src,
            };
            let text = description.to_json();
            prop_assert_eq!(Description::from_json(text.as_bytes()), Some(description));
            let cut = cut.index(text.len() - 1);
            prop_assert_eq!(Description::from_json(&text.as_bytes()[..cut]), None);
        }

        #[test]
        fn nothing_panics(text: Vec<u8>) {
            let _ = Description::from_json(&text);
        }
    }
}
