//! Chains: the files of one log, oldest first.
//!
//! A log is rarely one file. A process that starts again writes to a new run's folder; a full file is renamed (`stdout.1`,
//! `app.log-20260101`) and a fresh one takes its place. A chain is what a person means by "the log": the live file and those
//! before it. This module tells from a listing alone which file is where in which chain; it reads nothing.

use std::cmp::Ordering;

use joblog::Stream;
use joblog::sandbox::{LOGS, LogFile, SANDBOX, THERMOS_PREFIX};

use crate::glob::Glob;
use crate::instance::Files;
use crate::source::FileLabel;
use crate::transport::{FileKind, FileStat, Listing, Pattern, PatternError};

/// What names a log among an instance's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainKey {
    /// A process's stream, over all its runs.
    Process(String, Stream),
    /// A stream of the executor itself.
    Executor(Stream),
    /// A plain file, by its live path.
    Plain(Vec<u8>),
}

/// A file and its place in its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The chain.
    pub chain: ChainKey,
    /// Its place there.
    pub rank: Rank,
    /// What it is called.
    pub label: FileLabel,
    /// The file as listed.
    pub stat: FileStat,
}

/// A file's place in its chain: older ones are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// The run of the process; 0 for plain files.
    pub run: u32,
    /// Whether it was renamed away.
    pub rotation: Rotation,
}

/// Whether a file was renamed to make room for a fresh one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Renamed; by its number where the name has one (1 is the newest), and by when it was last written.
    Rotated {
        /// The number after the name.
        number: Option<u32>,
        /// In seconds since 1970.
        modified_s: i64,
    },
    /// The live file.
    Live,
}

impl Rotation {
    /// Whether this is the live file.
    pub fn is_live(self) -> bool {
        self == Self::Live
    }
}

impl Rank {
    /// Whether a file that had the rank `before` cannot have got this one by being renamed away, shifted or written to.
    pub fn was_renewed(self, before: Self) -> bool {
        if self.run != before.run {
            return self.run > before.run;
        }
        match (self.rotation, before.rotation) {
            (Rotation::Live, Rotation::Rotated { .. }) => true,
            (
                Rotation::Rotated {
                    number: Some(now), ..
                },
                Rotation::Rotated {
                    number: Some(before),
                    ..
                },
            ) => now < before,
            _ => false,
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.run
            .cmp(&other.run)
            .then_with(|| match (self.rotation, other.rotation) {
                (Rotation::Live, Rotation::Live) => Ordering::Equal,
                // Numbers and times cannot be compared with each other, and any mixture would be no order at all.
                (Rotation::Live, _)
                | (
                    Rotation::Rotated { number: None, .. },
                    Rotation::Rotated {
                        number: Some(_), ..
                    },
                ) => Ordering::Greater,
                (_, Rotation::Live)
                | (
                    Rotation::Rotated {
                        number: Some(_), ..
                    },
                    Rotation::Rotated { number: None, .. },
                ) => Ordering::Less,
                (
                    Rotation::Rotated {
                        number: Some(a), ..
                    },
                    Rotation::Rotated {
                        number: Some(b), ..
                    },
                ) => b.cmp(&a),
                (
                    Rotation::Rotated { modified_s: a, .. },
                    Rotation::Rotated { modified_s: b, .. },
                ) => a.cmp(&b),
            })
    }
}

/// Where an instance's files are looked for, and how their names are read.
#[derive(Debug, Clone)]
pub struct Layout {
    patterns: Vec<Pattern>,
    names: Names,
}

#[derive(Debug, Clone)]
enum Names {
    Sandbox(Sandbox),
    Plain(Vec<Glob>),
}

/// How the path of a sandbox's log is read.
#[derive(Debug, Clone)]
struct Sandbox {
    /// Parts of the path before `slaves`, or before `.logs` where the sandbox was named by its folder.
    root_parts: usize,
    /// The task whose executors' folders are listed; none where the sandbox was named by its folder.
    task_id: Option<String>,
}

/// How well an executor's name fits a task's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is the id, with the prefix of Thermos or none.
    Sure,
    /// It ends with it, behind what may be the prefix of another executor.
    Likely,
}

impl Layout {
    /// The layout of an instance's files.
    ///
    /// # Errors
    /// When a pattern is unusable.
    pub fn new(files: &Files) -> Result<Self, PatternError> {
        match files {
            Files::Sandbox {
                slave_root,
                run_directory,
                task_id,
            } => {
                // A task id comes from the scheduler: nothing in it may act as a wildcard but the one that stands for a strange character.
                let plain = |text: &str| plain_path(&text.replace('/', "?"));
                let run = format!(
                    "{slave_root}/slaves/*/frameworks/*/executors/*{}/runs/{}",
                    plain(task_id),
                    plain(run_directory)
                );
                let mut patterns = sandbox_patterns(&format!("{run}/sandbox"));
                patterns.extend([
                    format!("{run}/stdout*"),
                    format!("{run}/stderr*"),
                    // So that it is noticed if nobody may look into it.
                    run,
                ]);
                Self::sandbox(
                    &patterns,
                    Sandbox {
                        root_parts: parts(slave_root.as_bytes()).count(),
                        task_id: Some(task_id.clone()),
                    },
                )
            }
            Files::Folder(folder) => Self::sandbox(
                &sandbox_patterns(&plain_path(folder)),
                Sandbox {
                    root_parts: parts(folder.as_bytes()).count(),
                    task_id: None,
                },
            ),
            Files::Globs(globs) => {
                let mut patterns = Vec::new();
                let mut names = Vec::new();
                for glob in globs {
                    let pattern = Pattern::new(glob)?;
                    // Where it is renamed to, so that it is found again after a break.
                    patterns.push(Pattern::new(&format!("{}.*", pattern.as_str()))?);
                    patterns.push(Pattern::new(&format!("{}-*", pattern.as_str()))?);
                    // `~` and `*` at the start stand for any folder here: what is listed was matched by the host already.
                    let name = pattern
                        .as_str()
                        .strip_prefix('~')
                        .map_or_else(|| pattern.as_str().to_owned(), |rest| format!("*{rest}"));
                    names.push(
                        name.parse::<Glob>()
                            .map_err(|error| PatternError::Long(error.to_string()))?,
                    );
                    patterns.push(pattern);
                }
                Ok(Self {
                    patterns,
                    names: Names::Plain(names),
                })
            }
        }
    }

    fn sandbox(patterns: &[String], names: Sandbox) -> Result<Self, PatternError> {
        Ok(Self {
            patterns: patterns
                .iter()
                .map(|text| Pattern::new(text))
                .collect::<Result<_, _>>()?,
            names: Names::Sandbox(names),
        })
    }

    /// What to list.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// The logs in a listing, sorted by chain, oldest file first. What is no log, or compressed, is left out.
    pub fn links(&self, listing: &Listing) -> Vec<Link> {
        let regular = listing
            .files
            .iter()
            .filter(|file| file.kind == FileKind::Regular);
        let mut links: Vec<Link> = match &self.names {
            Names::Sandbox(sandbox) => sandbox.links(listing, regular),
            Names::Plain(globs) => plain_links(globs, &regular.collect::<Vec<_>>()),
        };
        links.sort_by(|a, b| a.chain.cmp(&b.chain).then_with(|| a.rank.cmp(&b.rank)));
        // One file may be matched by several patterns, or be seen under two names while it is being renamed.
        let mut seen = std::collections::HashSet::new();
        links.retain(|link| seen.insert(link.stat.id));
        links
    }
}

impl Layout {
    /// Whether the executors' own output is all that the task writes, as far as a listing tells: it has no folder for its
    /// processes' logs, and no Thermos that would make one soon.
    pub fn executor_is_alone(&self, listing: &Listing) -> bool {
        let Names::Sandbox(sandbox) = &self.names else {
            return false;
        };
        let wanted = sandbox.wanted(listing);
        listing.denied.is_empty()
            && !listing
                .files
                .iter()
                .filter_map(|file| sandbox.split(&file.path))
                .any(|(executor, rest)| {
                    executor.is_none_or(|executor| {
                        executor.starts_with(THERMOS_PREFIX.as_bytes())
                            || (sandbox.fit(executor) == wanted
                                && rest.starts_with(&[SANDBOX, b"/", LOGS].concat()))
                    })
                })
    }
}

/// The executor's name, and a path below its run.
type Split<'a> = (Option<&'a [u8]>, Vec<u8>);

impl Sandbox {
    /// The executor that a path belongs to (none where the sandbox was named by its folder), and the path below its run, or below
    /// the sandbox.
    fn split<'a>(&self, path: &'a [u8]) -> Option<Split<'a>> {
        let mut below = parts(path).skip(self.root_parts);
        if self.task_id.is_none() {
            return Some((None, joined(below)));
        }
        // `slaves/<agent>/frameworks/<framework>/executors/<executor>/runs/<run>`
        let executor = below.nth(5)?;
        Some((Some(executor), joined(below.skip(2))))
    }

    /// How well an executor's name fits the task. The pattern takes whatever ends like it, and so the tasks of longer names.
    fn fit(&self, executor: &[u8]) -> Option<Fit> {
        let prefix = executor.strip_suffix(self.task_id.as_ref()?.as_bytes())?;
        match prefix {
            b"" => Some(Fit::Sure),
            prefix if prefix == THERMOS_PREFIX.as_bytes() => Some(Fit::Sure),
            // Thermos's own prefix is complete: what follows it is another task's id.
            prefix if prefix.starts_with(THERMOS_PREFIX.as_bytes()) => None,
            [.., last] if last.is_ascii_alphanumeric() => None,
            _ => Some(Fit::Likely),
        }
    }

    /// How well the best of the executors in a listing fits.
    fn wanted(&self, listing: &Listing) -> Option<Fit> {
        listing
            .files
            .iter()
            .filter_map(|file| self.fit(self.split(&file.path)?.0?))
            .min()
    }

    fn links<'a>(
        &self,
        listing: &Listing,
        regular: impl Iterator<Item = &'a FileStat>,
    ) -> Vec<Link> {
        let wanted = self.wanted(listing);
        regular
            .filter_map(|stat| {
                let (executor, rest) = self.split(&stat.path)?;
                let (file, ending) = match executor {
                    Some(executor) if self.fit(executor) != wanted || wanted.is_none() => {
                        return None;
                    }
                    Some(_) => LogFile::parse_renamed(&rest)?,
                    None => LogFile::parse_renamed_in_sandbox(&rest)?,
                };
                sandbox_link(stat, &file, ending)
            })
            .collect()
    }
}

/// The parts of a path.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty())
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(&b'/')
}

/// What to list of a sandbox.
fn sandbox_patterns(sandbox: &str) -> Vec<String> {
    vec![
        sandbox.to_owned(),
        format!("{sandbox}/.logs"),
        format!("{sandbox}/.logs/*/*/stdout*"),
        format!("{sandbox}/.logs/*/*/stderr*"),
    ]
}

/// A path as a pattern in which nothing acts as a wildcard but the one that stands for a strange character.
fn plain_path(path: &str) -> String {
    path.replace(['*', '?', '[', ']', '\n', '\0'], "?")
}

/// A log of a process or an executor, with what was appended to its name.
fn sandbox_link(stat: &FileStat, file: &LogFile<'_>, ending: &[u8]) -> Option<Link> {
    // What the rotation of Mesos keeps for itself beside the logs.
    if ending.ends_with(b".logrotate.conf") || ending.ends_with(b".logrotate.state") {
        return None;
    }
    let rotation = match ending {
        b"" => Rotation::Live,
        ending => rotation(ending, stat)?,
    };
    let (chain, run, label) = match *file {
        LogFile::Executor { stream, .. } => (
            ChainKey::Executor(stream),
            0,
            FileLabel::Executor { stream },
        ),
        LogFile::Process {
            process,
            run,
            stream,
            ..
        } => {
            let process = String::from_utf8_lossy(process).into_owned();
            let label = FileLabel::Process {
                process: process.clone(),
                run,
                stream,
            };
            (ChainKey::Process(process, stream), run, label)
        }
    };
    Some(Link {
        chain,
        rank: Rank { run, rotation },
        label,
        stat: stat.clone(),
    })
}

/// What a name's ending says: `.1`, `-20260101`, `.2026-01-01.log`, `.old`. Nothing for a compressed file.
fn rotation(ending: &[u8], stat: &FileStat) -> Option<Rotation> {
    const COMPRESSED: [&[u8]; 6] = [b".gz", b".bz2", b".xz", b".zst", b".lz4", b".Z"];
    if COMPRESSED.iter().any(|suffix| ending.ends_with(suffix)) {
        return None;
    }
    // A longer number is a date, which counts the other way round.
    let number = ending
        .strip_prefix(b".")
        .filter(|digits| digits.len() <= 4)
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    Some(Rotation::Rotated {
        number,
        modified_s: stat.modified_s,
    })
}

fn plain_links(globs: &[Glob], files: &[&FileStat]) -> Vec<Link> {
    // The user's own matches, of which `X.1` is a rotated `X` where `X` is there too.
    let mut live: Vec<&[u8]> = files
        .iter()
        .map(|file| file.path.as_slice())
        .filter(|path| globs.iter().any(|glob| glob.matches(path)))
        .collect();
    live.sort_unstable();
    live.dedup();
    let base = |path: &[u8]| -> Option<Vec<u8>> {
        let name_at = path
            .iter()
            .rposition(|&byte| byte == b'/')
            .map_or(0, |at| at + 1);
        (name_at + 1..path.len())
            .rev()
            .filter(|&at| matches!(path[at], b'.' | b'-'))
            .map(|at| &path[..at])
            .find(|stem| {
                live.binary_search(stem).is_ok()
                    || (ends_in_number(&path[stem.len()..])
                        && globs.iter().any(|glob| glob.matches(stem)))
            })
            .map(<[u8]>::to_vec)
    };
    files
        .iter()
        .filter_map(|file| {
            let path = file.path.as_slice();
            let (base, rotation) = match base(path) {
                Some(base) => {
                    let rotation = rotation(&path[base.len()..], file)?;
                    (base, rotation)
                }
                None if live.binary_search(&path).is_ok() => {
                    // A compressed file that is matched by itself is no log either.
                    rotation(path, file)?;
                    (path.to_vec(), Rotation::Live)
                }
                None => return None,
            };
            let label = FileLabel::Plain {
                path: String::from_utf8_lossy(&base).into_owned(),
            };
            Some(Link {
                chain: ChainKey::Plain(base),
                rank: Rank { run: 0, rotation },
                label,
                stat: (*file).clone(),
            })
        })
        .collect()
}

/// `.1`, `.12`, `-20260101`: what rotation appends, even when the live file is missing for a moment.
fn ends_in_number(ending: &[u8]) -> bool {
    ending.len() > 1
        && ending[1..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'T'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::FileId;

    fn listing(paths: &[&str]) -> Listing {
        let files = paths
            .iter()
            .zip(1..)
            .map(|(path, n)| FileStat {
                id: FileId {
                    device: 1,
                    inode: n,
                },
                size: 10,
                modified_s: n as i64,
                birth_s: None,
                kind: FileKind::Regular,
                path: path.as_bytes().to_vec(),
            })
            .collect();
        Listing {
            files,
            denied: Vec::new(),
        }
    }

    fn check(files: &Files, paths: &[&str], expected: &[(&str, &[&str])]) {
        let links = Layout::new(files).expect("a layout").links(&listing(paths));
        let mut chains: Vec<(String, Vec<String>)> = Vec::new();
        for link in links {
            let name = match &link.chain {
                ChainKey::Process(process, stream) => format!("{process} {}", stream.name()),
                ChainKey::Executor(stream) => format!("executor {}", stream.name()),
                ChainKey::Plain(path) => String::from_utf8_lossy(path).into_owned(),
            };
            let path = String::from_utf8_lossy(&link.stat.path).into_owned();
            match chains.last_mut() {
                Some((last, paths)) if *last == name => paths.push(path),
                _ => chains.push((name, vec![path])),
            }
        }
        let found: Vec<(&str, Vec<&str>)> = chains
            .iter()
            .map(|(name, paths)| (name.as_str(), paths.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(&str, Vec<&str>)> = expected
            .iter()
            .map(|(name, paths)| (*name, paths.to_vec()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_has_a_chain_a_stream_over_runs_and_rotations() {
        let files = Files::Sandbox {
            slave_root: "/m".into(),
            run_directory: "latest".into(),
            task_id: "t-1".into(),
        };
        let s = "/m/slaves/S0/frameworks/F/executors/thermos-t-1/runs/latest/sandbox/.logs";
        let paths: Vec<String> = [
            "a b/1/stdout",
            "a b/0/stdout",
            "a b/0/stdout.1",
            "a b/0/stdout.10",
            "a b/0/stdout.2.gz",
            "a b/0/stderr",
            "a b/x/stdout",
            "c/0/stdoutish/f",
        ]
        .iter()
        .map(|tail| format!("{s}/{tail}"))
        .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        check(
            &files,
            &paths,
            &[
                ("a b stdout", &[paths[3], paths[2], paths[1], paths[0]]),
                ("a b stderr", &[paths[5]]),
            ],
        );
    }

    fn task() -> Files {
        Files::Sandbox {
            slave_root: "/m".into(),
            run_directory: "latest".into(),
            task_id: "www-prod-hello-0-u".into(),
        }
    }

    const EXECUTORS: &str = "/m/slaves/S0/frameworks/F/executors";

    #[test]
    fn an_executor_has_streams_of_its_own() {
        let run = format!("{EXECUTORS}/www-prod-hello-0-u/runs/latest");
        let paths: Vec<String> = [
            "stdout",
            "stdout.1",
            "stderr",
            "stdout.logrotate.conf",
            "std",
        ]
        .iter()
        .map(|name| format!("{run}/{name}"))
        .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        check(
            &task(),
            &paths,
            &[
                ("executor stdout", &[paths[1], paths[0]]),
                ("executor stderr", &[paths[2]]),
            ],
        );
    }

    #[test]
    fn executors_are_alone_without_logs_and_without_thermos() {
        let layout = Layout::new(&task()).expect("a layout");
        for (paths, expected) in [
            (&["www-prod-hello-0-u/runs/latest/stdout"][..], true),
            (&["docker-www-prod-hello-0-u/runs/latest/stdout"], true),
            (&["thermos-www-prod-hello-0-u/runs/latest/stdout"], false),
            (
                &[
                    "x-www-prod-hello-0-u/runs/latest/stdout",
                    "x-www-prod-hello-0-u/runs/latest/sandbox/.logs",
                ],
                false,
            ),
            (
                &[
                    "x-www-prod-hello-0-u/runs/latest/stdout",
                    "x-www-prod-hello-0-u/runs/latest/sandbox",
                ],
                true,
            ),
        ] {
            let paths: Vec<String> = paths
                .iter()
                .map(|path| format!("{EXECUTORS}/{path}"))
                .collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let mut listing = listing(&paths);
            assert_eq!(layout.executor_is_alone(&listing), expected, "{paths:?}");
            listing.denied.push("sandbox: Permission denied".to_owned());
            assert!(!layout.executor_is_alone(&listing), "{paths:?}");
        }
    }

    #[test]
    fn a_task_whose_name_only_ends_alike_is_not_taken() {
        let path = |executor: &str| format!("{EXECUTORS}/{executor}/runs/latest/stdout");
        let id = "www-prod-hello-0-u";
        for (executors, expected) in [
            (&["", "thermos-other-"][..], &[""][..]),
            (&["thermos-", "other-", "thermos-other-"], &["thermos-"]),
            (&["custom-"], &["custom-"]),
            (&["custom_"], &["custom_"]),
            (&["thermos-other-"], &[]),
            (&["x"], &[]),
        ] {
            let paths: Vec<String> = executors
                .iter()
                .map(|prefix| path(&format!("{prefix}{id}")))
                .collect();
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let links = Layout::new(&task())
                .expect("a layout")
                .links(&listing(&paths));
            let found: Vec<Vec<u8>> = links.into_iter().map(|link| link.stat.path).collect();
            let expected: Vec<Vec<u8>> = expected
                .iter()
                .map(|prefix| path(&format!("{prefix}{id}")).into_bytes())
                .collect();
            assert_eq!(found, expected, "{executors:?}");
        }
    }

    #[test]
    fn a_sandbox_can_be_named_by_its_folder() {
        let files = Files::Folder("/srv/box[1]".into());
        let layout = Layout::new(&files).expect("a layout");
        assert_eq!(layout.patterns()[0].as_str(), "/srv/box?1?");
        let path = "/srv/box[1]/.logs/p/0/stdout";
        check(
            &files,
            &[path, "/srv/box[1]/stdout"],
            &[("p stdout", &[path])],
        );
    }

    #[test]
    fn renamed_plain_files_belong_to_the_live_one() {
        let files = Files::Globs(vec!["/v/*.log".into(), "/w/app*".into()]);
        check(
            &files,
            &[
                "/v/a.log",
                "/v/a.log.1",
                "/v/a.log.2",
                "/v/a.log-20260101",
                "/v/b.log.1",
                "/v/c.log.gz",
                "/w/app",
                "/w/app.1",
                "/w/app-old",
                "/v/d.txt",
            ],
            &[
                (
                    "/v/a.log",
                    &["/v/a.log.2", "/v/a.log.1", "/v/a.log-20260101", "/v/a.log"],
                ),
                ("/v/b.log", &["/v/b.log.1"]),
                ("/w/app", &["/w/app.1", "/w/app-old", "/w/app"]),
            ],
        );
    }

    #[test]
    fn numbered_and_dated_files_beside_each_other_have_one_order() {
        // By number alone .2 is older than .1, by time alone it is newer than the dated one between them.
        let rank = |number, modified_s| Rank {
            run: 0,
            rotation: Rotation::Rotated { number, modified_s },
        };
        let mut ranks: Vec<Rank> = (0..60)
            .flat_map(|n| [rank(Some(n), i64::from(n)), rank(None, i64::from(n))])
            .collect();
        ranks.sort();
        for (at, older) in ranks.iter().enumerate() {
            for newer in &ranks[at + 1..] {
                assert!(older < newer, "{older:?} {newer:?}");
            }
        }
    }

    #[test]
    fn a_task_id_cannot_widen_the_pattern() {
        let files = Files::Sandbox {
            slave_root: "/m".into(),
            run_directory: "latest".into(),
            task_id: "*/../[x]".into(),
        };
        let layout = Layout::new(&files).expect("a layout");
        assert_eq!(
            layout.patterns()[0].as_str(),
            "/m/slaves/*/frameworks/*/executors/*??..??x?/runs/latest/sandbox"
        );
    }
}
