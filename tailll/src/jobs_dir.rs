//! The jobs directory: one YAML file a job, whose stem is the job's short name.
//!
//! ```yaml
//! user: cbe                 # the role
//! cluster: bb               # else default_cluster
//! envs:                     # the stages
//!   prod: {githash: ABC123}
//!   devel: {cluster: aa}    # a stage overrides what stands at the top
//! ```
//!
//! The files belong to other programs too: unknown keys are passed over, and many names may share one `file:`. Only names are
//! read at first; a file is read when its name is used, so that one that is broken is no trouble for the others.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use joblog::JobKey;
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::causes::plain;

/// The largest file of a job, in bytes.
pub const MAX_JOB_FILE_BYTES: u64 = 1024 * 1024;

/// The most files of all directories, in files.
pub const MAX_JOB_FILES: usize = 20_000;

/// The most nodes of a file's YAML once its aliases are followed, in nodes.
const MAX_NODES: usize = 100_000;

/// How deep a file's YAML may be nested, in levels.
const MAX_DEPTH: usize = 64;

/// The stage of a job unless `--stage` says otherwise.
pub const DEFAULT_STAGE: &str = "prod";

/// The jobs that the directories name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobsDir {
    files: BTreeMap<String, PathBuf>,
    problems: Vec<String>,
}

/// Why a file of the jobs directory gives no job.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than [`MAX_JOB_FILE_BYTES`].
    #[error("{}: more than {MAX_JOB_FILE_BYTES} bytes, so it is no job's file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {message}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The character in the line, from 1.
        column: u64,
        /// What is wrong, and what to do.
        message: String,
    },
    /// Something is missing from it.
    #[error("{}: {message}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What, and what to do.
        message: String,
    },
}

/// What is asked of a file.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which stage; [`DEFAULT_STAGE`] if it does not say.
    pub stage: Option<&'a str>,
    /// The cluster of files that name none.
    pub default_cluster: Option<&'a str>,
}

/// A file as far as it matters here.
#[derive(Debug, Default, Deserialize)]
struct TopKeys {
    user: Option<Spanned<String>>,
    cluster: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    jobname: Option<Spanned<String>>,
    envs: Option<BTreeMap<String, Option<StageKeys>>>,
}

/// A stage as far as it matters here.
#[derive(Debug, Default, Deserialize)]
struct StageKeys {
    user: Option<Spanned<String>>,
    cluster: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    jobname: Option<Spanned<String>>,
}

impl JobsDir {
    /// Reads the names in these directories. A name that stands in several belongs to the first of them.
    pub fn load(directories: &[PathBuf]) -> Self {
        let mut this = Self::default();
        for directory in directories {
            if let Err(error) = this.add(directory) {
                this.problems.push(format!(
                    "jobs_dir {}: {error}",
                    plain(&directory.to_string_lossy())
                ));
            }
        }
        this
    }

    fn add(&mut self, directory: &Path) -> io::Result<()> {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let Some(name) = job_name(&path) else {
                continue;
            };
            // A link counts as what it points to.
            if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                continue;
            }
            if self.files.len() + found.len() >= MAX_JOB_FILES {
                self.problems.push(format!(
                    "jobs_dir {}: more than {MAX_JOB_FILES} files; the rest is not known",
                    plain(&directory.to_string_lossy())
                ));
                break;
            }
            match found.get(&name) {
                // `a.yaml` goes before `a.yml`.
                Some(other) if *other < path => {}
                _ => {
                    found.insert(name, path);
                }
            }
        }
        for (name, path) in found {
            self.files.entry(name).or_insert(path);
        }
        Ok(())
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// What could not be looked at, as fragments.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether there is a file of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// The job that a name stands for; nothing if there is no file of this name.
    pub fn job(&self, name: &str, wanted: Wanted<'_>) -> Option<Result<JobKey, JobFileError>> {
        let path = self.files.get(name)?;
        Some(read(path).and_then(|text| parse(&text, path, name, wanted)))
    }
}

/// The name of the job that a file describes, if it is one.
fn job_name(path: &Path) -> Option<String> {
    let extension = path.extension()?.to_str()?;
    let name = path.file_stem()?.to_str()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let hidden = name.starts_with('.');
    (["yaml", "yml"].contains(&extension) && !hidden && name.chars().all(allowed))
        .then(|| name.to_owned())
}

fn read(path: &Path) -> Result<String, JobFileError> {
    let failed = |source| JobFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    fs::File::open(path)
        .map_err(failed)?
        .take(MAX_JOB_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_JOB_FILE_BYTES {
        return Err(JobFileError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// Reads a file's text. `name` is the file's stem.
pub fn parse(
    text: &str,
    path: &Path,
    name: &str,
    wanted: Wanted<'_>,
) -> Result<JobKey, JobFileError> {
    let missing = |message: String| JobFileError::Missing {
        path: path.to_owned(),
        message,
    };
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
        },
        with_snippet: false,
    };
    let file: TopKeys = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = said(&error.without_snippet().to_string());
        match error.location() {
            Some(at) => JobFileError::Wrong {
                path: path.to_owned(),
                line: at.line(),
                column: at.column(),
                message,
            },
            None => missing(message),
        }
    })?;
    let stage = wanted.stage.unwrap_or(DEFAULT_STAGE);
    let Some(mut stages) = file.envs else {
        return Err(missing(
            "there is no `envs`; write the job's stages there, as in `envs: {prod: {}}`".to_owned(),
        ));
    };
    let Some(found) = stages.remove(stage) else {
        let known: Vec<String> = stages.keys().map(|stage| plain(stage)).collect();
        return Err(missing(if known.is_empty() {
            "`envs` is empty; write the job's stages there, as in `envs: {prod: {}}`".to_owned()
        } else {
            format!(
                "no stage `{}` in `envs`; choose with --stage among {}",
                plain(stage),
                known.join(", ")
            )
        }));
    };
    let found = found.unwrap_or_default();
    let role = found
        .user
        .or(file.user)
        .ok_or_else(|| missing("there is no `user`; it gives the role of the job".to_owned()))?;
    let cluster = found.cluster.or(file.cluster);
    let job = found.name.or(found.jobname).or(file.name).or(file.jobname);
    let cluster_name = match (&cluster, wanted.default_cluster) {
        (Some(cluster), _) => cluster.value.as_str(),
        (None, Some(default)) => default,
        (None, None) => {
            return Err(missing(
                "there is no `cluster`; write it there, or set default_cluster in the configuration"
                    .to_owned(),
            ));
        }
    };
    let job_name = job.as_ref().map_or(name, |job| job.value.as_str());
    JobKey::new(cluster_name, &role.value, stage, job_name).map_err(|error| {
        // The part that is wrong says where to look.
        let place = [Some(&role), cluster.as_ref(), job.as_ref()]
            .into_iter()
            .flatten()
            .find(|part| JobKey::new("c", "r", "e", &part.value).is_err());
        match place {
            Some(part) => JobFileError::Wrong {
                path: path.to_owned(),
                line: part.referenced.line(),
                column: part.referenced.column(),
                message: plain(&error.to_string()),
            },
            None => missing(plain(&error.to_string())),
        }
    })
}

/// What the library says of a mistake, without its own account of the place and of its options.
fn said(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.starts_with("budget breached") {
        return "there is too much in it once its aliases are followed; it is no job's file"
            .to_owned();
    }
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(line);
    format!("{}; correct the YAML there", plain(line))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const EIGHTBALL: &str = "\
file: eightball
user: cbe
buildname: eightball
hashtype: git
config: {cpu: 0.25, num_instances: 1, ram: 300, disk: 5000}
taskargs: {workers: 10}
envs:
  prod:  {config: {cpu: 1.5, num_instances: 12}, taskargs: {workers: 34}, githash: ABC123}
  devel: {githash: XYZ456}
";

    fn job(text: &str, name: &str, stage: Option<&str>) -> String {
        let wanted = Wanted {
            stage,
            default_cluster: Some("bb"),
        };
        match parse(text, Path::new("d/x.yaml"), name, wanted) {
            Ok(key) => key.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_file_gives_a_job_for_each_stage() {
        assert_eq!(
            job(EIGHTBALL, "eightball", Some("devel")),
            "bb/cbe/devel/eightball"
        );
        assert_eq!(job(EIGHTBALL, "eightball", None), "bb/cbe/prod/eightball");
        // Many names may share one `file`.
        assert_eq!(job(EIGHTBALL, "nineball", None), "bb/cbe/prod/nineball");
        assert_eq!(
            job(EIGHTBALL, "eightball", Some("test")),
            "d/x.yaml: no stage `test` in `envs`; choose with --stage among devel, prod"
        );
    }

    #[test]
    fn a_stage_overrides_what_stands_at_the_top() {
        let text = "user: a\ncluster: c1\nname: n1\nenvs:\n  prod:\n  devel: {user: b, cluster: c2, jobname: n2}\n";
        assert_eq!(job(text, "x", None), "c1/a/prod/n1");
        assert_eq!(job(text, "x", Some("devel")), "c2/b/devel/n2");
    }

    #[test]
    fn errors_name_the_place_and_what_to_do() {
        let cases = [
            "",
            "user: a\n",
            "user: a\nenvs: {}\n",
            "envs: {prod: {}}\n",
            "user: a\nenvs: [prod]\n",
            "user: [a]\nenvs: {prod: {}}\n",
            "user: a b\nenvs: {prod: {}}\n",
            "user: a\nenvs:\n  prod: {cluster: x/y}\n",
            "user: a\nenvs: {prod: {}\n",
            "user: a\n\tenvs: x\n",
            "user: a\nuser: b\nenvs: {prod: {}}\n",
            "a: &a [x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f]\n",
        ];
        let report: Vec<String> = cases.iter().map(|text| job(text, "x", None)).collect();
        insta::assert_snapshot!(report.join("\n"));
        let nowhere = Wanted {
            stage: None,
            default_cluster: None,
        };
        let error = parse(EIGHTBALL, Path::new("d/x.yaml"), "x", nowhere).expect_err("no cluster");
        assert!(error.to_string().contains("default_cluster"), "{error}");
    }

    #[test]
    fn the_names_of_directories() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        for directory in [&one, &two] {
            fs::create_dir(directory).expect("to create");
        }
        for name in [
            "a.yaml",
            "a.yml",
            "b.yml",
            ".hidden.yaml",
            "c.txt",
            "d e.yaml",
        ] {
            fs::write(one.join(name), EIGHTBALL).expect("to write");
        }
        fs::create_dir(one.join("folder.yaml")).expect("to create");
        symlink(one.join("a.yaml"), one.join("linked.yaml")).expect("to link");
        symlink(one.join("none"), one.join("dangling.yaml")).expect("to link");
        fs::write(two.join("b.yaml"), "garbage").expect("to write");
        fs::write(
            two.join("big.yaml"),
            "#".repeat(MAX_JOB_FILE_BYTES as usize + 1),
        )
        .expect("to write");
        let jobs = JobsDir::load(&[one.clone(), two, folder.path().join("none")]);
        assert_eq!(
            jobs.names().collect::<Vec<_>>(),
            ["a", "b", "big", "linked"]
        );
        assert_eq!(jobs.files["a"], one.join("a.yaml"));
        assert_eq!(jobs.problems().len(), 1);
        assert!(jobs.problems()[0].contains("none"), "{:?}", jobs.problems());
        let wanted = Wanted {
            stage: None,
            default_cluster: Some("bb"),
        };
        let key = jobs.job("b", wanted).expect("a file").expect("a job");
        assert_eq!(key.to_string(), "bb/cbe/prod/b");
        assert!(jobs.job("z", wanted).is_none());
        assert!(matches!(
            jobs.job("big", wanted),
            Some(Err(JobFileError::TooLarge { .. }))
        ));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = job(&text, "x", None);
        }

        #[test]
        fn half_a_file_never_panics(cut in 0..EIGHTBALL.len(), text in "[ -~\\n&*!|>]{0,10}") {
            let _ = job(&format!("{}{text}", &EIGHTBALL[..cut]), "x", None);
        }
    }
}
