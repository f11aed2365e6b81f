//! Shell-like patterns of absolute paths whose wildcards are numbered, so that a job key can be made of what they match.
//!
//! A pattern is matched a component at a time, by a walk that never looks into a folder that cannot hold a match, or against a
//! whole path. What lies on a disk is not known here.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regex::bytes::Regex;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 4096;

/// The most components of a pattern: a set of them fits into 64 bits.
pub const MAX_COMPONENTS: usize = 60;

/// The most wildcards of a pattern.
pub const MAX_WILDCARDS: usize = 32;

/// A pattern of absolute paths: `*` and `?` match no `/`, one `**` as a whole component matches any number of folders, `[a-z]` and
/// `[!a-z]` match one byte, `\` takes the next character literally. A wildcard at the head of a component matches no `.` there.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    root: PathBuf,
    components: Vec<Component>,
    wildcards: usize,
}

#[derive(Debug, Clone)]
enum Component {
    Literal(Vec<u8>),
    Wild {
        regex: Regex,
        head: Head,
    },
    /// `**`
    AnyDepth,
}

/// What a component may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    /// Not with a dot: a wildcard stands there.
    NoDot,
    Anything,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with `/`.
    #[error("a pattern is absolute: it begins with `/`")]
    Relative,
    /// It names a folder, not files.
    #[error("a pattern ends in the name of files, not in `/`")]
    Folder,
    /// `.` or `..`.
    #[error("`.` and `..` cannot stand in a pattern")]
    Dots,
    /// `**` beside something else, or twice.
    #[error("`**` stands alone between two slashes, and only once in a pattern")]
    AnyDepth,
    /// A control character.
    #[error("control characters cannot stand in a pattern")]
    Control,
    /// Beyond [`MAX_PATTERN_BYTES`], [`MAX_COMPONENTS`] or [`MAX_WILDCARDS`].
    #[error(
        "a pattern has at most {MAX_PATTERN_BYTES} bytes, {MAX_COMPONENTS} components and {MAX_WILDCARDS} wildcards"
    )]
    TooLong,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::Control);
        }
        let Some(below) = text.strip_prefix('/') else {
            return Err(PatternError::Relative);
        };
        if below.is_empty() || below.ends_with('/') {
            return Err(PatternError::Folder);
        }
        let mut components = Vec::new();
        let mut wildcards = 0;
        let mut any_depth = 0;
        for part in below.split('/').filter(|part| !part.is_empty()) {
            let component = match part {
                "." | ".." => return Err(PatternError::Dots),
                "**" => {
                    any_depth += 1;
                    wildcards += 1;
                    Component::AnyDepth
                }
                _ if part.contains("**") => return Err(PatternError::AnyDepth),
                _ => {
                    let (component, more) = component(part)?;
                    wildcards += more;
                    component
                }
            };
            components.push(component);
        }
        if any_depth > 1 {
            return Err(PatternError::AnyDepth);
        }
        if components.len() > MAX_COMPONENTS || wildcards > MAX_WILDCARDS {
            return Err(PatternError::TooLong);
        }
        // The folder above the first wildcard; of a pattern without any the folder of the file.
        let literal = components
            .iter()
            .take(components.len() - 1)
            .take_while(|component| matches!(component, Component::Literal(_)))
            .count();
        let mut root = PathBuf::from("/");
        for component in components.drain(..literal) {
            if let Component::Literal(name) = component {
                root.push(OsStr::from_bytes(&name));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            root,
            components,
            wildcards,
        })
    }
}

/// Where in a pattern a walk is: a set of components that the next name may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress(u64);

impl Progress {
    /// Whether no name below can match.
    pub fn is_over(self) -> bool {
        self.0 == 0
    }
}

impl Pattern {
    /// The folder that holds everything that matches.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many wildcards there are: `{1}` to `{N}`.
    pub fn wildcards(&self) -> usize {
        self.wildcards
    }

    /// Where a walk begins, in [`Pattern::root`].
    pub fn begin(&self) -> Progress {
        self.with_skips(1)
    }

    /// Where a walk is below a folder of this name.
    pub fn enter(&self, at: Progress, name: &[u8]) -> Progress {
        let mut next = 0_u64;
        for (index, component) in self.components.iter().enumerate() {
            if at.0 & (1 << index) == 0 {
                continue;
            }
            match component {
                Component::AnyDepth if !name.starts_with(b".") => next |= 1 << index,
                component if index + 1 < self.components.len() && component.matches(name) => {
                    next |= 1 << (index + 1);
                }
                _ => {}
            }
        }
        self.with_skips(next)
    }

    /// Whether a file of this name matches there.
    pub fn accepts(&self, at: Progress, name: &[u8]) -> bool {
        let last = self.components.len() - 1;
        at.0 & (1 << last) != 0 && self.components[last].matches(name)
    }

    /// What the wildcards match of an absolute path, in their order; `None` if the path does not match.
    pub fn captures<'a>(&self, path: &'a Path) -> Option<Vec<&'a [u8]>> {
        let below = path.strip_prefix(&self.root).ok()?.as_os_str().as_bytes();
        let mut found = Vec::with_capacity(self.wildcards);
        match_all(&self.components, below, &mut found).then_some(found)
    }

    /// Whether an absolute path matches.
    pub fn matches(&self, path: &Path) -> bool {
        self.captures(path).is_some()
    }

    /// `**` matches no folder at all, too.
    fn with_skips(&self, mut set: u64) -> Progress {
        for (index, component) in self.components.iter().enumerate() {
            let may_skip =
                matches!(component, Component::AnyDepth) && index + 1 < self.components.len();
            if may_skip && set & (1 << index) != 0 {
                set |= 1 << (index + 1);
            }
        }
        Progress(set)
    }
}

impl Component {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Wild { regex, head } => {
                (*head == Head::Anything || !name.starts_with(b".")) && regex.is_match(name)
            }
            Self::AnyDepth => !name.starts_with(b"."),
        }
    }
}

/// Matches the components against a relative path. `**` is tried from no folder upwards; there is only one of it.
fn match_all<'a>(components: &[Component], path: &'a [u8], found: &mut Vec<&'a [u8]>) -> bool {
    let Some((component, more)) = components.split_first() else {
        return path.is_empty();
    };
    if let Component::AnyDepth = component {
        let depth = found.len();
        // A `**` at the end matches at least the file's own name.
        let mut end = 0;
        loop {
            let (taken, rest) = (
                &path[..end],
                path[end..].strip_prefix(b"/").unwrap_or(&path[end..]),
            );
            let hidden = taken
                .split(|&byte| byte == b'/')
                .any(|name| name.starts_with(b"."));
            if hidden || (end > 0 && taken.is_empty()) {
                return false;
            }
            if !(more.is_empty() && end == 0) {
                found.push(taken);
                if match_all(more, rest, found) {
                    return true;
                }
                found.truncate(depth);
            }
            if end >= path.len() {
                return false;
            }
            let from = if end == 0 { 0 } else { end + 1 };
            end = memchr::memchr(b'/', &path[from..]).map_or(path.len(), |at| from + at);
        }
    }
    if path.is_empty() {
        return false;
    }
    let (name, rest) = match memchr::memchr(b'/', path) {
        // A name must follow the slash.
        Some(at) if at + 1 == path.len() => return false,
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &b""[..]),
    };
    if !component.matches(name) {
        return false;
    }
    if let Component::Wild { regex, .. } = component
        && let Some(groups) = regex.captures(name)
    {
        found.extend(
            groups
                .iter()
                .skip(1)
                .map(|group| group.map_or(&b""[..], |group| group.as_bytes())),
        );
    }
    match_all(more, rest, found)
}

/// Reads one component, and how many wildcards it has.
fn component(text: &str) -> Result<(Component, usize), PatternError> {
    let bytes = text.as_bytes();
    let mut literal = Vec::new();
    let mut regex = String::from("(?s-u)^");
    let mut wildcards = 0;
    let mut head = Head::Anything;
    let mut at = 0;
    while at < bytes.len() {
        let wild = match bytes[at] {
            b'*' => Some(("(.*)".to_owned(), at + 1)),
            b'?' => Some(("(.)".to_owned(), at + 1)),
            // A class that is never closed is a literal bracket, as in a shell.
            b'[' => class(bytes, at),
            _ => None,
        };
        if let Some((group, next)) = wild {
            if at == 0 {
                head = Head::NoDot;
            }
            regex.push_str(&group);
            wildcards += 1;
            at = next;
            continue;
        }
        let byte = match bytes.get(at + 1) {
            Some(&next) if bytes[at] == b'\\' => {
                at += 1;
                next
            }
            _ => bytes[at],
        };
        literal.push(byte);
        push_byte(&mut regex, byte);
        at += 1;
    }
    if wildcards == 0 {
        return Ok((Component::Literal(literal), 0));
    }
    regex.push('$');
    let regex = Regex::new(&regex).map_err(|_| PatternError::TooLong)?;
    Ok((Component::Wild { regex, head }, wildcards))
}

fn push_byte(regex: &mut String, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    regex.push_str("\\x");
    regex.push(HEX[usize::from(byte >> 4)].into());
    regex.push(HEX[usize::from(byte & 15)].into());
}

/// The class that opens at `open` as a group, and where the component goes on.
fn class(bytes: &[u8], open: usize) -> Option<(String, usize)> {
    let mut at = open + 1;
    let mut group = String::from("([");
    if matches!(bytes.get(at)?, b'!' | b'^') {
        group.push('^');
        at += 1;
    }
    let first = at;
    loop {
        let from = *bytes.get(at)?;
        // A `]` in the first place stands for itself.
        if from == b']' && at > first {
            group.push_str("])");
            return Some((group, at + 1));
        }
        let to = match (bytes.get(at + 1), bytes.get(at + 2)) {
            (Some(b'-'), Some(&to)) if to != b']' => {
                at += 2;
                to
            }
            _ => from,
        };
        at += 1;
        // A range that runs backwards matches nothing in a shell; here it is both of its ends.
        push_byte(&mut group, from.min(to));
        group.push('-');
        push_byte(&mut group, from.max(to));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expected: Option<&[&str]>) {
        let pattern: Pattern = pattern.parse().expect("a pattern");
        let got = pattern.captures(Path::new(path));
        let expected: Option<Vec<&[u8]>> =
            expected.map(|names| names.iter().map(|name| name.as_bytes()).collect());
        assert_eq!(got, expected, "{pattern} on {path:?}");
        assert_eq!(
            walk(&pattern, Path::new(path)),
            expected.is_some(),
            "a walk, {pattern} on {path:?}"
        );
        if let Some(names) = expected {
            assert_eq!(names.len(), pattern.wildcards());
        }
    }

    /// As a walk over the disk would find it.
    fn walk(pattern: &Pattern, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(pattern.root()) else {
            return false;
        };
        let names: Vec<&[u8]> = below.iter().map(OsStrExt::as_bytes).collect();
        let Some((file, folders)) = names.split_last() else {
            return false;
        };
        let mut at = pattern.begin();
        for folder in folders {
            at = pattern.enter(at, folder);
        }
        pattern.accepts(at, file)
    }

    #[test]
    fn patterns_match_as_in_a_shell_and_number_their_wildcards() {
        check("/var/log/app.log", "/var/log/app.log", Some(&[]));
        check("/var/log/app.log", "/var/log/app.log.1", None);
        check("/var/log/app.log", "/var/log", None);
        check(
            "/var/log/*/app-*.log",
            "/var/log/web/app-7.log",
            Some(&["web", "7"]),
        );
        check("/var/log/*/app-*.log", "/var/log/web/x/app-7.log", None);
        check("/var/log/*.log", "/var/log/.log", None);
        check("/var/log/*.log", "/var/log/.a.log", None);
        check("/var/log/.*", "/var/log/.a", Some(&["a"]));
        check("/srv/**/*.log", "/srv/a.log", Some(&["", "a"]));
        check("/srv/**/*.log", "/srv/x/y/a.log", Some(&["x/y", "a"]));
        check("/srv/**/*.log", "/srv/x/.y/a.log", None);
        check("/srv/**", "/srv/x/y", Some(&["x/y"]));
        check("/srv/**", "/srv", None);
        check("/srv/**/log/x", "/srv/log/log/x", Some(&["log"]));
        check("/a/web[0-9]?", "/a/web7x", Some(&["7", "x"]));
        check("/a/[!ab]", "/a/c", Some(&["c"]));
        check("/a/[!ab]", "/a/b", None);
        check("/a/[]]", "/a/]", Some(&["]"]));
        check("/a/[b", "/a/[b", Some(&[]));
        check(r"/a/\*", "/a/*", Some(&[]));
        check(r"/a/\*", "/a/b", None);
        check("/a//b", "/a/b", Some(&[]));
        check("/*", "/x", Some(&["x"]));
        check("/a/(x)*", "/a/(x)+", Some(&["+"]));
    }

    #[test]
    fn roots() {
        for (pattern, root) in [
            ("/var/log/app.log", "/var/log"),
            ("/var/log/*/x", "/var/log"),
            ("/x", "/"),
            ("/a/**", "/a"),
        ] {
            assert_eq!(
                pattern.parse::<Pattern>().expect("a pattern").root(),
                Path::new(root)
            );
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for (text, expected) in [
            ("", PatternError::Relative),
            ("a/b", PatternError::Relative),
            ("/", PatternError::Folder),
            ("/a/", PatternError::Folder),
            ("/a/../b", PatternError::Dots),
            ("/a/**/b/**", PatternError::AnyDepth),
            ("/a**", PatternError::AnyDepth),
            ("/a\n", PatternError::Control),
            (&"/a".repeat(61), PatternError::TooLong),
            (&format!("/{}", "?".repeat(33)), PatternError::TooLong),
            (&"/a".repeat(3000), PatternError::TooLong),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_walk_finds_what_the_whole_path_matches(
            pattern in r"(/[ab.*?\[\]!\\-]{1,3}|/\*\*){1,4}",
            path in "(/[ab.]{1,3}){1,5}",
        ) {
            if let Ok(pattern) = pattern.parse::<Pattern>() {
                // Names that no file has.
                prop_assume!(path.split('/').all(|name| name != "." && name != ".."));
                let path = Path::new(&path);
                prop_assert_eq!(walk(&pattern, path), pattern.matches(path));
            }
        }

        #[test]
        fn nothing_panics(pattern: String, path in prop::collection::vec(any::<u8>(), 0..40)) {
            for text in [pattern.clone(), format!("/{pattern}")] {
                if let Ok(pattern) = text.parse::<Pattern>() {
                    let path = Path::new(OsStr::from_bytes(&path));
                    prop_assert!(pattern.captures(path).is_none_or(|found| found.len() == pattern.wildcards()));
                    prop_assert_eq!(pattern.to_string(), text);
                }
            }
        }
    }
}
