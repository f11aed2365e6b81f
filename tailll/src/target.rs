//! A target as the user types it: a job, or hosts and files.
//!
//! ```text
//! hello                 hello/0-2,5                       a short name
//! www-data/prod/hello                                     in the default cluster
//! aa/www-data/prod/hello            aa/www-data/prod/hello/0-2,5
//! hello*          */prod/hello      aa/*/prod/hello*      all jobs that match
//! web[01-40]:/var/log/app/*.log     me@web1:2222:/a/*.log,/b/*.log     [::1]:22:/path
//! local:/path/*.log     /path/*.log     ./x.log           files of this host
//! ```
//!
//! This file reads the text and nothing else; what a name stands for is found by `resolve`.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use joblog::{InstanceSet, JobKey};

use crate::hostlist::{self, HostListError};
use crate::instance::{self, BadName, Login};
use crate::job_pattern::is_pattern;

/// The longest target, in bytes.
pub const MAX_TARGET_BYTES: usize = 64 * 1024;

/// What to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Files on named hosts: no configuration needed.
    AdHoc(AdHoc),
    /// Files of this host.
    Local {
        /// Shell patterns; relative ones begin with `./` or `../`.
        globs: Vec<String>,
    },
    /// A job by its full key.
    Key {
        /// The key.
        key: JobKey,
        /// Only these instances.
        instances: Option<InstanceSet>,
    },
    /// A job in the default cluster.
    RoleEnvName {
        /// The role.
        role: String,
        /// The environment.
        env: String,
        /// The name.
        name: String,
    },
    /// All jobs whose names or keys match.
    Matching {
        /// Patterns of a short name; of role, environment and name; or of cluster, role, environment and name.
        parts: Vec<String>,
        /// Only these instances.
        instances: Option<InstanceSet>,
    },
    /// A job by a name that the configuration or a scheduler knows.
    Short {
        /// The name.
        name: String,
        /// Only these instances.
        instances: Option<InstanceSet>,
    },
}

/// Files on named hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdHoc {
    /// The hosts, each once, in the order written.
    pub hosts: Vec<Login>,
    /// The hosts as written.
    pub host_text: String,
    /// Absolute shell patterns.
    pub path_globs: Vec<String>,
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target `{}`: {problem}", shown(.text))]
pub struct TargetError {
    /// What was typed.
    pub text: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing typed.
    #[error(
        "it is empty; give a job (`hello`, `cluster/role/env/name`) or hosts and files (`'web[01-40]:/var/log/app/*.log'`)"
    )]
    Empty,
    /// More than [`MAX_TARGET_BYTES`].
    #[error("it has more than {MAX_TARGET_BYTES} bytes")]
    TooLong,
    /// A control character.
    #[error(
        "it holds the control character {0:?}; a `?` in a pattern matches one in a file's name"
    )]
    Control(char),
    /// Wrong host list.
    #[error(transparent)]
    HostList(#[from] HostListError),
    /// Wrong host name.
    #[error("host: {0}")]
    Host(BadName),
    /// Wrong user name.
    #[error("user: {0}")]
    User(BadName),
    /// Wrong IPv6 address.
    #[error("`[{0}]` is no IPv6 address")]
    Address(String),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address is written in brackets: `[::1]:/path`")]
    BareAddress,
    /// Wrong port.
    #[error(
        "`{0}` is no port; after `host:` comes a port from 1 to 65535 or a path that begins with `/`"
    )]
    Port(String),
    /// A path that is not absolute.
    #[error("the path `{0}` is not absolute; on another host it begins with `/`")]
    RelativePath(String),
    /// A local path that could be a job.
    #[error("the local path `{0}` begins neither with `/` nor with `./` or `../`")]
    LocalPath(String),
    /// Hosts without a path.
    #[error("a path is missing: `{0}:/var/log/app/*.log`")]
    NoPath(String),
    /// `me@a,b:/path`.
    #[error(
        "some of the hosts have a {0} and others have none; write it for each of them, or use the flag or the configuration"
    )]
    Uneven(&'static str),
    /// A character of patterns where it makes none.
    #[error(
        "`{0}` cannot stand so in a job's name; patterns are made of `*`, `?` and `[…]` (for hosts and files write `hosts:/path`)"
    )]
    Pattern(char),
    /// A part that no name is.
    #[error("`{0}` is no name: letters, digits, `_`, `.` and `-` can stand in one")]
    Name(String),
    /// Not an instance list where one belongs.
    #[error("`{0}` is no instance list such as `0-2,5` ({1})")]
    Instances(String, &'static str),
    /// Too many slashes.
    #[error(
        "it has too many parts; a full key is `cluster/role/env/name`, with instances `cluster/role/env/name/0-2,5`"
    )]
    TooManyParts,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        parse(text).map_err(|problem| TargetError {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, instances: &Option<InstanceSet>| match instances {
            Some(instances) => write!(f, "/{instances}"),
            None => Ok(()),
        };
        match self {
            Self::AdHoc(ad_hoc) => {
                write!(f, "{}:{}", ad_hoc.host_text, ad_hoc.path_globs.join(","))
            }
            Self::Local { globs } => write!(f, "local:{}", globs.join(",")),
            Self::Key { key, instances } => {
                write!(f, "{key}")?;
                with(f, instances)
            }
            Self::Matching { parts, instances } => {
                f.write_str(&parts.join("/"))?;
                with(f, instances)
            }
            Self::RoleEnvName { role, env, name } => write!(f, "{role}/{env}/{name}"),
            Self::Short { name, instances } => {
                f.write_str(name)?;
                with(f, instances)
            }
        }
    }
}

impl Target {
    /// Whether it is a short name, or a pattern of some.
    pub fn is_short(&self) -> bool {
        match self {
            Self::Short { .. } => true,
            Self::Matching { parts, .. } => parts.len() == 1,
            _ => false,
        }
    }
}

/// Reads hosts as they stand before a path or in an inventory: `me@web[01-40].example.com:2222,[::1]:22`.
pub fn parse_logins(text: &str) -> Result<Vec<Login>, Problem> {
    let mut logins = Vec::new();
    let mut seen = HashSet::new();
    let (mut users, mut ports) = (0, 0);
    let items = hostlist::items(text)?;
    for &(at, item) in &items {
        let (user, rest) = match item.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, item),
        };
        if let Some(user) = user {
            instance::check_user(user).map_err(Problem::User)?;
            users += 1;
        }
        let (pattern, port) = split_port(rest)?;
        ports += usize::from(port.is_some());
        let column = text[..at + item.len() - rest.len()].chars().count();
        let hosts =
            hostlist::expand_one(unbracketed(pattern)).map_err(|error| error.moved(column))?;
        if logins.len() + hosts.len() > hostlist::MAX_HOSTS {
            return Err(HostListError {
                column: column + 1,
                problem: hostlist::Problem::TooMany,
            }
            .into());
        }
        for host in hosts {
            instance::check_host(&host).map_err(Problem::Host)?;
            if host.contains(':') {
                check_address(&host)?;
            }
            let login = Login {
                user: user.map(str::to_owned),
                host,
                port,
            };
            if seen.insert(login.clone()) {
                logins.push(login);
            }
        }
    }
    // Whether `me` in `me@a,b` is meant for `b` too is anybody's guess, and guessing wrong locks accounts.
    for (count, what) in [(users, "user"), (ports, "port")] {
        if count != 0 && count != items.len() {
            return Err(Problem::Uneven(what));
        }
    }
    Ok(logins)
}

fn parse(text: &str) -> Result<Target, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.len() > MAX_TARGET_BYTES {
        return Err(Problem::TooLong);
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(Problem::Control(control));
    }
    if let Some(paths) = text.strip_prefix("local:") {
        return local(paths);
    }
    if ["/", "./", "../"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return local(text);
    }
    match path_colon(text) {
        Some(colon) => ad_hoc(&text[..colon], &text[colon + 1..]),
        None => job(text),
    }
}

/// The colon before the path: the last one outside brackets before the first slash, or the last one at all.
fn path_colon(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut colon = None;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => colon = Some(at),
            '/' if depth == 0 => break,
            _ => {}
        }
    }
    colon
}

fn ad_hoc(host_text: &str, paths: &str) -> Result<Target, Problem> {
    if !paths.starts_with('/') {
        if host_text.contains(':') && format!("{host_text}:{paths}").parse::<Ipv6Addr>().is_ok() {
            return Err(Problem::BareAddress);
        }
        if paths.is_empty() || paths.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Problem::NoPath(
                format!("{host_text}:{paths}")
                    .trim_end_matches(':')
                    .to_owned(),
            ));
        }
        return Err(Problem::RelativePath(paths.to_owned()));
    }
    let hosts = parse_logins(host_text)?;
    Ok(Target::AdHoc(AdHoc {
        hosts,
        host_text: host_text.to_owned(),
        path_globs: split_paths(paths, &[",/"]),
    }))
}

fn local(paths: &str) -> Result<Target, Problem> {
    let globs = split_paths(paths, &[",/", ",./", ",../"]);
    match globs.iter().find(|path| {
        !["/", "./", "../"]
            .iter()
            .any(|start| path.starts_with(start))
    }) {
        Some(path) => Err(Problem::LocalPath(path.clone())),
        None => Ok(Target::Local { globs }),
    }
}

/// Several patterns have commas between; a comma that no path follows belongs to a file's name.
fn split_paths(text: &str, separators: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(',') {
        if separators
            .iter()
            .any(|separator| text[at..].starts_with(separator))
        {
            paths.push(text[from..at].to_owned());
            from = at + 1;
        }
    }
    paths.push(text[from..].to_owned());
    paths
}

/// Takes `:port` from the end of a host, with or without brackets around an address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), Problem> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text[after_brackets..].find(':') else {
        return Ok((text, None));
    };
    let (host, port) = (
        &text[..after_brackets + colon],
        &text[after_brackets + colon + 1..],
    );
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Problem::BareAddress);
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((host, Some(number)))
        }
        _ => Err(Problem::Port(port.to_owned())),
    }
}

/// `[name]` may be written like `[::1]`, as OpenSSH does in its own files; `[1-3]` stays a range.
fn unbracketed(pattern: &str) -> &str {
    match pattern
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(name) if name.contains(|c: char| c.is_ascii_alphabetic()) && !name.contains(':') => {
            name
        }
        _ => pattern,
    }
}

fn check_address(host: &str) -> Result<(), Problem> {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    match address.parse::<Ipv6Addr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::Address(host.to_owned())),
    }
}

fn job(text: &str) -> Result<Target, Problem> {
    let parts: Vec<&str> = text.split('/').collect();
    let names = match parts.len() {
        1 | 2 => 1,
        3 | 4 => parts.len(),
        5 => 4,
        _ => return Err(Problem::TooManyParts),
    };
    for part in &parts[..names] {
        if is_pattern(part) {
            check_pattern(part, names)?;
        } else {
            check_name(part)?;
        }
    }
    let key = |cluster, role, env, name| {
        JobKey::new(cluster, role, env, name).map_err(|_| Problem::Name(text.to_owned()))
    };
    let set = |instances: &str, hint| {
        instances
            .parse()
            .map_err(|_| Problem::Instances(instances.to_owned(), hint))
    };
    if parts[..names].iter().any(|part| is_pattern(part)) {
        let instances = match parts.get(names) {
            Some(instances) => Some(set(instances, "it stands behind the last slash")?),
            None => None,
        };
        return Ok(Target::Matching {
            parts: parts[..names].iter().map(|&part| part.to_owned()).collect(),
            instances,
        });
    }
    match parts[..] {
        [name] => Ok(Target::Short {
            name: name.to_owned(),
            instances: None,
        }),
        [name, instances] => Ok(Target::Short {
            name: name.to_owned(),
            instances: Some(set(
                instances,
                "one slash is `name/instances`, two are `role/env/name`",
            )?),
        }),
        [role, env, name] => {
            // The cluster is not known yet; any will do to check the rest.
            key("cluster", role, env, name)?;
            Ok(Target::RoleEnvName {
                role: role.to_owned(),
                env: env.to_owned(),
                name: name.to_owned(),
            })
        }
        [cluster, role, env, name] => Ok(Target::Key {
            key: key(cluster, role, env, name)?,
            instances: None,
        }),
        [cluster, role, env, name, instances] => Ok(Target::Key {
            key: key(cluster, role, env, name)?,
            instances: Some(set(
                instances,
                "four slashes are `cluster/role/env/name/instances`",
            )?),
        }),
        _ => Err(Problem::TooManyParts),
    }
}

fn check_name(part: &str) -> Result<(), Problem> {
    if let Some(pattern) = part.chars().find(|c| "{}".contains(*c)) {
        return Err(Problem::Pattern(pattern));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if part.is_empty() || !part.chars().all(allowed) {
        return Err(Problem::Name(part.to_owned()));
    }
    Ok(())
}

/// A part of a pattern. `web[01-40]` alone is far more often a list of hosts whose path was forgotten.
fn check_pattern(part: &str, names: usize) -> Result<(), Problem> {
    if names == 1 && !part.contains(['*', '?']) && hostlist::expand(part).is_ok() {
        return Err(Problem::NoPath(part.to_owned()));
    }
    let mut open = false;
    for c in part.chars() {
        match (c, open) {
            ('[', false) => open = true,
            (']', true) => open = false,
            ('[', true) | (']', false) | ('{' | '}', _) => return Err(Problem::Pattern(c)),
            ('*' | '?', false) | ('!' | '^', true) => {}
            (c, _) if c.is_ascii_alphanumeric() || "_.-".contains(c) => {}
            _ => return Err(Problem::Name(part.to_owned())),
        }
    }
    if open {
        return Err(Problem::Pattern('['));
    }
    Ok(())
}

/// The text as it can be shown: escaped, and not longer than a line or two.
fn shown(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 200;
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logins(text: &str) -> String {
        let Ok(Target::AdHoc(ad_hoc)) = text.parse::<Target>() else {
            panic!("{text}: {:?}", text.parse::<Target>());
        };
        let hosts: Vec<String> = ad_hoc.hosts.iter().map(Login::to_string).collect();
        format!("{} {}", hosts.join(" "), ad_hoc.path_globs.join(" "))
    }

    #[test]
    fn hosts_and_files() {
        for (text, expected) in [
            (
                "web[01-03]:/var/log/app/*.log",
                "web01 web02 web03 /var/log/app/*.log",
            ),
            ("user@host:/path", "user@host /path"),
            ("host:2222:/path", "host:2222 /path"),
            ("[host]:2222:/path", "host:2222 /path"),
            ("[::1]:/path", "[::1] /path"),
            ("[::1]:22:/path", "[::1]:22 /path"),
            ("me@[fe80::1%eth0]:22:/path", "me@[fe80::1%eth0]:22 /path"),
            ("a,b[1-2]:/x,/y,z", "a b1 b2 /x /y,z"),
            ("me@a:22,you@b:23:/x", "me@a:22 you@b:23 /x"),
            ("first@example.com@a:/x", "first@example.com@a /x"),
            ("a,a,b:/x", "a b /x"),
            ("h:/a:b/c[0-9].log", "h /a:b/c[0-9].log"),
            ("10.0.0.[1-2]:/x", "10.0.0.1 10.0.0.2 /x"),
        ] {
            assert_eq!(logins(text), expected, "{text}");
        }
    }

    #[test]
    fn files_of_this_host() {
        for (text, expected) in [
            ("local:/a/*.log", "local:/a/*.log"),
            ("/a/*.log", "local:/a/*.log"),
            ("./x", "local:./x"),
            ("../x,./y,/z,w", "local:../x,./y,/z,w"),
        ] {
            let target: Target = text.parse().expect(text);
            assert!(matches!(target, Target::Local { .. }), "{text}");
            assert_eq!(target.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn jobs() {
        let set = |text: &str| Some(text.parse::<InstanceSet>().expect(text));
        let key: JobKey = "aa/www-data/prod/hello".parse().expect("a key");
        for (text, expected) in [
            (
                "hello",
                Target::Short {
                    name: "hello".into(),
                    instances: None,
                },
            ),
            (
                "hello/0-2",
                Target::Short {
                    name: "hello".into(),
                    instances: set("0-2"),
                },
            ),
            (
                "a/b/c",
                Target::RoleEnvName {
                    role: "a".into(),
                    env: "b".into(),
                    name: "c".into(),
                },
            ),
            (
                "aa/www-data/prod/hello",
                Target::Key {
                    key: key.clone(),
                    instances: None,
                },
            ),
            (
                "aa/www-data/prod/hello/0-2,5",
                Target::Key {
                    key,
                    instances: set("0-2,5"),
                },
            ),
        ] {
            assert_eq!(text.parse::<Target>(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn patterns_of_jobs() {
        for (text, expected, expected_set) in [
            ("hello*", &["hello*"][..], None),
            ("h?llo/0-2", &["h?llo"], Some("0-2")),
            ("*/prod/hello", &["*", "prod", "hello"], None),
            ("aa/*/prod/hello*", &["aa", "*", "prod", "hello*"], None),
            (
                "*/www/prod/h[a-e!]llo/5",
                &["*", "www", "prod", "h[a-e!]llo"],
                Some("5"),
            ),
        ] {
            let Ok(Target::Matching { parts, instances }) = text.parse() else {
                panic!("{text}: {:?}", text.parse::<Target>());
            };
            assert_eq!(parts, expected, "{text}");
            assert_eq!(
                instances.map(|set| set.to_string()).as_deref(),
                expected_set,
                "{text}"
            );
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        let cases = [
            "",
            "a//b",
            "aa/{x,y}/prod/hello",
            "aa/*/prod/he]llo",
            "aa/*/pr[od/hello",
            "aa/*/prod/hel lo",
            "hello*/x",
            "a/*/c/d/e",
            "web[01-40]",
            "web[01-40",
            "hello/x",
            "a/b/c/d/e",
            "a/b/c/d/0/1",
            "host:",
            "host:22",
            "host:x",
            "host:log/app.log",
            "host:0:/x",
            "host:65536:/x",
            "host:+22:/x",
            "::1:/x",
            "fe80::1",
            "[::g]:/x",
            "-oX:/x",
            "a@-b:/x",
            "-l@b:/x",
            "@b:/x",
            "me@a,b:/x",
            "a:22,b:/x",
            "a,,b:/x",
            "we]b:/x",
            "me@é,web[1-x]:/x",
            "a\u{1b}[31m",
            "local:x",
            "h i:/x",
            "web[1-200][1-200]:/x",
            "$(id):/x",
            "~/x",
            "[host:/x",
        ];
        let report: Vec<String> = cases
            .iter()
            .map(|text| text.parse::<Target>().expect_err(text).to_string())
            .collect();
        insta::assert_snapshot!(report.join("\n"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = text.parse::<Target>();
        }

        #[test]
        fn what_is_read_is_printed_and_read_alike(text in r"(local:|me@|[a-c/]{0,3}|)[a-c1\[\]:/,.@*0-9-]{0,16}(:/[a,/*]{0,4}|/[0-9,-]{0,3}|)") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }

        #[test]
        fn hosts_never_look_like_options(text in r"[a-b@:\[\],0-9-]{1,12}") {
            if let Ok(Target::AdHoc(ad_hoc)) = format!("{text}:/x").parse::<Target>() {
                prop_assert!(ad_hoc.hosts.iter().all(|login| !login.host.starts_with('-') && !login.host.is_empty()));
            }
        }
    }
}
