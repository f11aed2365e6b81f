//! Chains: the files of one log, oldest first.
//!
//! A log is rarely one file. A process that starts again writes to a new run's folder; a full file is renamed (`stdout.1`,
//! `app.log-20260101`) and a fresh one takes its place. A chain is what a person means by "the log": the live file and those
//! before it. This module tells from a listing alone which file is where in which chain; it reads nothing.

use std::cmp::Ordering;

use joblog::Stream;

use crate::glob::Glob;
use crate::instance::Files;
use crate::source::FileLabel;
use crate::transport::{FileKind, FileStat, Listing, Pattern, PatternError};

/// What names a log among an instance's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChainKey {
    /// A process's stream, over all its runs.
    Process(String, Stream),
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
    Sandbox,
    Plain(Vec<Glob>),
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
                let plain = |text: &str| text.replace(['*', '?', '[', ']', '/', '\n', '\0'], "?");
                let sandbox = format!(
                    "{slave_root}/slaves/*/frameworks/*/executors/*{}/runs/{}/sandbox",
                    plain(task_id),
                    plain(run_directory)
                );
                let patterns = [
                    sandbox.clone(),
                    format!("{sandbox}/.logs/*/*/stdout*"),
                    format!("{sandbox}/.logs/*/*/stderr*"),
                ];
                Ok(Self {
                    patterns: patterns
                        .iter()
                        .map(|text| Pattern::new(text))
                        .collect::<Result<_, _>>()?,
                    names: Names::Sandbox,
                })
            }
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
            Names::Sandbox => regular.filter_map(sandbox_link).collect(),
            Names::Plain(globs) => plain_links(globs, &regular.collect::<Vec<_>>()),
        };
        links.sort_by(|a, b| a.chain.cmp(&b.chain).then_with(|| a.rank.cmp(&b.rank)));
        // One file may be matched by several patterns, or be seen under two names while it is being renamed.
        let mut seen = std::collections::HashSet::new();
        links.retain(|link| seen.insert(link.stat.id));
        links
    }
}

/// Reads `…/.logs/<process>/<run>/<stream>[.N]`.
fn sandbox_link(stat: &FileStat) -> Option<Link> {
    let mut parts = stat.path.rsplit(|&byte| byte == b'/');
    let (name, run, process, logs) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if logs != b".logs" {
        return None;
    }
    let run = std::str::from_utf8(run).ok()?.parse().ok()?;
    let (stream, rest) = match (name.strip_prefix(b"stdout"), name.strip_prefix(b"stderr")) {
        (Some(rest), _) => (Stream::Stdout, rest),
        (_, Some(rest)) => (Stream::Stderr, rest),
        _ => return None,
    };
    let rotation = if rest.is_empty() {
        Rotation::Live
    } else {
        rotation(rest, stat)?
    };
    let process = String::from_utf8_lossy(process).into_owned();
    let chain = ChainKey::Process(process.clone(), stream);
    Some(Link {
        chain,
        rank: Rank { run, rotation },
        label: FileLabel::Process {
            process,
            run,
            stream,
        },
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
