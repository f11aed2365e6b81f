//! Our own parser of `ssh_config`, for where OpenSSH's client is not installed.
//!
//! Owns the common keywords, `Host`, `Include`, and `Match` by `all`, `host`, `originalhost`, `user`, `localuser`. What
//! it does not support is named in [`HostConfig::warnings`]: `Match exec`, `final`, `canonical` and newer criteria
//! (their blocks are skipped), and keywords that change how to connect. A wrong value is an error wherever it stands,
//! as with OpenSSH, since half a configuration may lead to the wrong host.
//!
//! Reading is two steps: files to directives (this is where errors come from), then directives to the values of one
//! host (which cannot fail but for tokens). Only [`OwnConfig::load`] touches the disk.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use super::algorithms::AlgorithmList;
use super::tokens::Tokens;
use super::{
    AddressFamily, ConfigError, HostConfig, HostKeyChecking, LocalFacts, Proxy, RuleWords, Values,
    Wanted, check_names, rules,
};
use crate::ssh_pattern::{Case, ListMatch, matches, matches_list};

/// How deep files may include one another, as with OpenSSH.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// How many files are read at most, included ones counted each time.
pub const MAX_FILES: usize = 512;
/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The most key files, certificates, or known hosts files that are kept.
const MAX_PATHS: usize = 100;

/// The default keys, in OpenSSH's order, without the kinds that it has given up or leaves out by default.
pub const DEFAULT_IDENTITY_FILES: [&str; 5] = [
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
];
const DEFAULT_USER_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const DEFAULT_GLOBAL_KNOWN_HOSTS: [&str; 2] =
    ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// The default host key algorithms in the order of preference.
pub const DEFAULT_HOST_KEY_ALGORITHMS: [&str; 16] = [
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
];

/// Keywords that change how to connect or whom to trust, and are not done here.
pub(super) const UNSUPPORTED: &[&str] = &[
    "bindinterface",
    "canonicaldomains",
    "canonicalizehostname",
    "casignaturealgorithms",
    "checkhostip",
    "hostbasedauthentication",
    "knownhostscommand",
    "proxyusefdpass",
    "requiredrsasize",
    "tag",
    "verifyhostkeydns",
    "nohostauthenticationforlocalhost",
];

/// Keywords that make no difference to following files.
const IRRELEVANT: &[&str] = &[
    "addkeystoagent",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "channeltimeout",
    "clearallforwardings",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hostbasedacceptedalgorithms",
    "hostbasedkeytypes",
    "ipqos",
    "kbdinteractivedevices",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "protocol",
    "rekeylimit",
    "securitykeyprovider",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "sendenv",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "useroaming",
    "visualhostkey",
    "xauthlocation",
    "keepalive",
    "usekeychain",
];

/// The directives of all files, in the order in which they count.
#[derive(Debug, Default)]
pub struct OwnConfig {
    files: Vec<ConfigFile>,
}

/// What a file that is included brings: its path and its bytes.
pub type Included = (PathBuf, Vec<u8>);

#[derive(Debug)]
struct ConfigFile {
    path: PathBuf,
    directives: Vec<(usize, Directive)>,
}

#[derive(Debug)]
enum Directive {
    Host(Vec<HostPattern>),
    Match(Vec<Criterion>),
    /// A `Match` block that is never taken, and why.
    Skipped(String),
    Include(Vec<ConfigFile>),
    IgnoreUnknown(String),
    /// Something that makes no difference here.
    Irrelevant,
    Unsupported(String),
    Unknown(String),
    Set(Setting),
}

#[derive(Debug)]
struct HostPattern {
    sense: Sense,
    pattern: String,
}

#[derive(Debug)]
struct Criterion {
    sense: Sense,
    subject: Subject,
    patterns: String,
}

/// Whether a match counts for or against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Plain,
    Negated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    All,
    Host,
    OriginalHost,
    User,
    LocalUser,
}

#[derive(Debug, Clone)]
enum Setting {
    HostName(String),
    Port(u16),
    User(String),
    IdentityFile(String),
    IdentitiesOnly(bool),
    IdentityAgent(String),
    CertificateFile(String),
    /// A keyword of `rules`, and its value.
    Rule(String, String),
    UserKnownHosts(Vec<String>),
    GlobalKnownHosts(Vec<String>),
    StrictHostKeyChecking(HostKeyChecking),
    HostKeyAlias(String),
    ConnectTimeout(Duration),
    ServerAliveInterval(Duration),
    ServerAliveCountMax(u32),
    ProxyJump(String),
    ProxyCommand(String),
    HostKeyAlgorithms(String),
    Compression(bool),
    AddressFamily(AddressFamily),
    BindAddress(String),
}

impl OwnConfig {
    /// Reads `file`, or the user's and the system's configuration where there is none; those two need not exist.
    pub fn load(file: Option<&Path>, facts: &LocalFacts) -> Result<Self, ConfigError> {
        let user_folder = facts.home.join(".ssh");
        let system_folder = PathBuf::from("/etc/ssh");
        let mut count = 0;
        let mut config = Self::default();
        let mut load = |path: &Path, folder: &Path, bytes: &[u8]| {
            config
                .files
                .push(ConfigFile::parse(path, bytes, 0, &mut |pattern| {
                    include(pattern, folder, facts, &mut count)
                })?);
            Ok(())
        };
        if let Some(path) = file {
            let bytes =
                read(path)?.ok_or_else(|| unreadable(path, io::ErrorKind::NotFound.into()))?;
            load(path, &user_folder, &bytes)?;
            return Ok(config);
        }
        for (folder, name) in [
            (user_folder.as_path(), "config"),
            (system_folder.as_path(), "ssh_config"),
        ] {
            let path = folder.join(name);
            if let Some(bytes) = read(&path)? {
                load(&path, folder, &bytes)?;
            }
        }
        Ok(config)
    }

    /// The directives of one file. `include` answers what the pattern of an `Include` stands for.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        include: &mut dyn FnMut(&str) -> Result<Vec<Included>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            files: vec![ConfigFile::parse(path, bytes, 0, include)?],
        })
    }

    /// The configuration of one host.
    pub fn resolve(
        &self,
        wanted: &Wanted<'_>,
        facts: &LocalFacts,
    ) -> Result<HostConfig, ConfigError> {
        check_names(wanted)?;
        let mut chosen = Chosen::new(wanted, facts);
        for file in &self.files {
            chosen.apply(file);
        }
        chosen.finish()
    }
}

/// The values chosen so far for one host: the first one counts.
struct Chosen<'a> {
    wanted: &'a Wanted<'a>,
    facts: &'a LocalFacts,
    hostname: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_files: Vec<String>,
    identities_only: Option<bool>,
    identity_agent: Option<String>,
    certificate_files: Vec<String>,
    user_known_hosts: Option<Vec<String>>,
    global_known_hosts: Option<Vec<String>>,
    checking: Option<HostKeyChecking>,
    alias: Option<String>,
    connect_timeout: Option<Duration>,
    server_alive_interval: Option<Duration>,
    server_alive_count_max: Option<u32>,
    proxy_jump: Option<String>,
    proxy_command: Option<String>,
    host_key_algorithms: Option<String>,
    compression: Option<bool>,
    address_family: Option<AddressFamily>,
    bind_address: Option<String>,
    rule_words: RuleWords,
    ignore_unknown: Option<String>,
    warnings: Vec<String>,
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

/// Adds to a list that counts as a whole.
fn another(list: &mut Vec<String>, value: String) {
    if list.len() < MAX_PATHS && !list.contains(&value) {
        list.push(value);
    }
}

impl<'a> Chosen<'a> {
    fn new(wanted: &'a Wanted<'a>, facts: &'a LocalFacts) -> Self {
        Self {
            wanted,
            facts,
            hostname: None,
            port: wanted.port,
            user: wanted.user.map(str::to_owned),
            identity_files: Vec::new(),
            identities_only: None,
            identity_agent: None,
            certificate_files: Vec::new(),
            user_known_hosts: None,
            global_known_hosts: None,
            checking: None,
            alias: None,
            connect_timeout: None,
            server_alive_interval: None,
            server_alive_count_max: None,
            proxy_jump: None,
            proxy_command: None,
            host_key_algorithms: None,
            compression: None,
            address_family: None,
            bind_address: None,
            rule_words: RuleWords::default(),
            ignore_unknown: None,
            warnings: Vec::new(),
        }
    }

    fn apply(&mut self, file: &ConfigFile) {
        let mut active = true;
        for (line, directive) in &file.directives {
            let place = || format!("{}:{line}", file.path.display());
            match directive {
                Directive::Host(patterns) => active = self.is_host(patterns),
                Directive::Match(criteria) => {
                    active = criteria.iter().all(|criterion| self.meets(criterion));
                }
                Directive::Skipped(why) => {
                    active = false;
                    self.warnings
                        .push(format!("{}: {why}; its block is skipped", place()));
                }
                Directive::Irrelevant => {}
                _ if !active => {}
                Directive::Include(files) => files.iter().for_each(|file| self.apply(file)),
                Directive::IgnoreUnknown(patterns) => {
                    first(&mut self.ignore_unknown, patterns.clone());
                }
                Directive::Unsupported(keyword) => {
                    self.warnings.push(format!(
                        "{}: {keyword} is not supported and has no effect",
                        place()
                    ));
                }
                Directive::Unknown(keyword) => {
                    let ignored = self.ignore_unknown.as_deref().is_some_and(|patterns| {
                        matches_list(keyword.as_bytes(), patterns.as_bytes(), Case::Ignored)
                            == ListMatch::Yes
                    });
                    if !ignored {
                        self.warnings.push(format!(
                            "{}: {keyword} is not known and has no effect",
                            place()
                        ));
                    }
                }
                Directive::Set(setting) => self.set(setting.clone()),
            }
        }
    }

    fn is_host(&self, patterns: &[HostPattern]) -> bool {
        let mut found = false;
        for HostPattern { sense, pattern } in patterns {
            if matches(
                self.wanted.host.as_bytes(),
                pattern.as_bytes(),
                Case::Matters,
            ) {
                if *sense == Sense::Negated {
                    return false;
                }
                found = true;
            }
        }
        found
    }

    fn meets(&self, criterion: &Criterion) -> bool {
        let hostname;
        let (text, case) = match criterion.subject {
            Subject::All => return criterion.sense == Sense::Plain,
            Subject::Host => {
                hostname = self.hostname();
                (hostname.as_str(), Case::Ignored)
            }
            Subject::OriginalHost => (self.wanted.host, Case::Ignored),
            Subject::User => (
                self.user.as_deref().unwrap_or(&self.facts.user),
                Case::Matters,
            ),
            Subject::LocalUser => (self.facts.user.as_str(), Case::Matters),
        };
        let found =
            matches_list(text.as_bytes(), criterion.patterns.as_bytes(), case) == ListMatch::Yes;
        found == (criterion.sense == Sense::Plain)
    }

    /// The name to connect to as far as it is known. In `HostName`, `%h` is the name that was asked for.
    fn hostname(&self) -> String {
        let host = self.wanted.host;
        match &self.hostname {
            None => host.to_owned(),
            Some(name) => name
                .replace("%%", "\0")
                .replace("%h", host)
                .replace('\0', "%"),
        }
    }

    fn set(&mut self, setting: Setting) {
        match setting {
            Setting::HostName(value) => first(&mut self.hostname, value),
            Setting::Port(value) => first(&mut self.port, value),
            Setting::User(value) => first(&mut self.user, value),
            Setting::IdentityFile(value) => another(&mut self.identity_files, value),
            Setting::IdentitiesOnly(value) => first(&mut self.identities_only, value),
            Setting::IdentityAgent(value) => first(&mut self.identity_agent, value),
            Setting::CertificateFile(value) => another(&mut self.certificate_files, value),
            Setting::UserKnownHosts(value) => first(&mut self.user_known_hosts, value),
            Setting::GlobalKnownHosts(value) => first(&mut self.global_known_hosts, value),
            Setting::StrictHostKeyChecking(value) => first(&mut self.checking, value),
            Setting::HostKeyAlias(value) => first(&mut self.alias, value),
            Setting::ConnectTimeout(value) => first(&mut self.connect_timeout, value),
            Setting::ServerAliveInterval(value) => first(&mut self.server_alive_interval, value),
            Setting::ServerAliveCountMax(value) => first(&mut self.server_alive_count_max, value),
            // A command set first shuts out jumps, even if it is `none`; a jump set first shuts out commands unless it
            // is `none`.
            Setting::ProxyJump(value) if self.proxy_command.is_none() => {
                first(&mut self.proxy_jump, value);
            }
            Setting::ProxyCommand(value) if is_none(self.proxy_jump.as_deref()) => {
                first(&mut self.proxy_command, value);
            }
            Setting::ProxyJump(_) | Setting::ProxyCommand(_) => {}
            Setting::HostKeyAlgorithms(value) => first(&mut self.host_key_algorithms, value),
            Setting::Compression(value) => first(&mut self.compression, value),
            Setting::AddressFamily(value) => first(&mut self.address_family, value),
            Setting::BindAddress(value) => first(&mut self.bind_address, value),
            Setting::Rule(keyword, value) => self.rule_words.add(&keyword, &value),
        }
    }

    fn finish(self) -> Result<HostConfig, ConfigError> {
        let host = self.wanted.host;
        let hostname = self.hostname().to_ascii_lowercase();
        let port = self.port.unwrap_or(22);
        let user = self.user.unwrap_or_else(|| self.facts.user.clone());
        let proxy = match (self.proxy_jump, self.proxy_command) {
            (Some(jump), _) if !is_none(Some(&jump)) => Proxy::Jump(jump),
            (_, Some(command)) if !is_none(Some(&command)) => Proxy::Command(command),
            _ => Proxy::Direct,
        };
        let alias = self.alias.map(|alias| alias.to_ascii_lowercase());
        let tokens = Tokens {
            facts: self.facts,
            host,
            hostname: &hostname,
            port,
            user: &user,
            alias: alias.as_deref(),
            jump: if let Proxy::Jump(jump) = &proxy {
                jump
            } else {
                ""
            },
        };
        let defaults = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let with_defaults = |names: Vec<String>, default: &[&str]| {
            if names.is_empty() {
                defaults(default)
            } else {
                names
            }
        };
        // Going on without a file of known hosts could accept a revoked key, so that this is an error.
        let user_known_hosts_files = self
            .user_known_hosts
            .unwrap_or_else(|| defaults(&DEFAULT_USER_KNOWN_HOSTS))
            .iter()
            .filter(|name| !is_none(Some(name)))
            .map(|name| {
                tokens.path(name).map_err(|why| ConfigError::Expand {
                    host: host.to_owned(),
                    why,
                })
            })
            .collect::<Result<_, _>>()?;
        let global_known_hosts_files = self
            .global_known_hosts
            .unwrap_or_else(|| defaults(&DEFAULT_GLOBAL_KNOWN_HOSTS))
            .into_iter()
            .filter(|name| !is_none(Some(name)))
            .map(PathBuf::from)
            .collect();
        let values = Values {
            identity_files: with_defaults(self.identity_files, &DEFAULT_IDENTITY_FILES),
            identities_only: self.identities_only.unwrap_or(false),
            identity_agent: self.identity_agent,
            certificate_files: self.certificate_files,
            user_known_hosts_files,
            global_known_hosts_files,
            strict_host_key_checking: self.checking.unwrap_or(HostKeyChecking::Ask),
            connect_timeout: self.connect_timeout.filter(|limit| !limit.is_zero()),
            server_alive_interval: self
                .server_alive_interval
                .filter(|interval| !interval.is_zero()),
            server_alive_count_max: self.server_alive_count_max.unwrap_or(3),
            proxy,
            host_key_algorithms: self
                .host_key_algorithms
                .as_deref()
                .map_or(AlgorithmList::Usual, AlgorithmList::parse)
                .of(&DEFAULT_HOST_KEY_ALGORITHMS),
            compression: self.compression.unwrap_or(false),
            address_family: self.address_family.unwrap_or(AddressFamily::Any),
            bind_address: self.bind_address,
            rule_words: self.rule_words,
            warnings: self.warnings,
            host_key_alias: alias,
            hostname,
            port,
            user,
        };
        values
            .finish(host, self.facts)
            .map_err(|why| ConfigError::Answer {
                host: host.to_owned(),
                why,
            })
    }
}

fn is_none(value: Option<&str>) -> bool {
    value.is_none_or(|value| value.eq_ignore_ascii_case("none"))
}

impl ConfigFile {
    fn parse(
        path: &Path,
        bytes: &[u8],
        depth: usize,
        include: &mut dyn FnMut(&str) -> Result<Vec<Included>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let text = String::from_utf8_lossy(bytes);
        let mut directives = Vec::new();
        for (line, content) in (1..).zip(text.split('\n')) {
            let wrong = |why: String| ConfigError::Syntax {
                file: path.to_owned(),
                line,
                why,
            };
            let Some((keyword, rest)) = keyword_of(content).map_err(wrong)? else {
                continue;
            };
            let directive = if keyword == "include" {
                let mut files = Vec::new();
                if depth >= MAX_INCLUDE_DEPTH {
                    let why =
                        format!("files include one another more than {MAX_INCLUDE_DEPTH} deep");
                    return Err(ConfigError::Limit {
                        file: path.to_owned(),
                        why,
                    });
                }
                for pattern in some_words(&keyword, rest).map_err(wrong)? {
                    for (path, bytes) in include(&pattern)? {
                        files.push(Self::parse(&path, &bytes, depth + 1, include)?);
                    }
                }
                Directive::Include(files)
            } else {
                Directive::parse(&keyword, rest).map_err(wrong)?
            };
            directives.push((line, directive));
        }
        Ok(Self {
            path: path.to_owned(),
            directives,
        })
    }
}

/// A blank as OpenSSH sees it.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// The keyword of a line in lower case, and what follows it and an optional `=`.
fn keyword_of(line: &str) -> Result<Option<(String, &str)>, String> {
    let line = line
        .trim_end_matches(|c| is_blank(c) || c == '\u{c}')
        .trim_start_matches(is_blank);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = delimited(line)?;
    let keyword = keyword.to_ascii_lowercase();
    if keyword.is_empty() {
        return Err("the keyword is missing".into());
    }
    if rest.is_empty() {
        return Err(format!("{keyword} has no value"));
    }
    Ok(Some((keyword, rest)))
}

/// The first word up to a blank or `=`, perhaps in quotes, and what follows the blanks and one `=` behind it.
fn delimited(text: &str) -> Result<(&str, &str), String> {
    let (word, rest) = match text.strip_prefix('"') {
        Some(inner) => inner.split_once('"').ok_or("a quote is not closed")?,
        None => text.split_at(
            text.find(|c| is_blank(c) || c == '=' || c == '"')
                .unwrap_or(text.len()),
        ),
    };
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest
        .strip_prefix('=')
        .unwrap_or(rest)
        .trim_start_matches(is_blank);
    Ok((word, rest))
}

/// The words of a value: quotes group, backslashes take quotes and blanks literally, `#` before a word begins a comment.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|&c| c == ' ' || c == '\t').is_some() {}
        if chars.peek().is_none_or(|&c| c == '#') {
            return Ok(words);
        }
        let mut word = String::new();
        let mut quote = None;
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => match chars.peek() {
                    Some(&next)
                        if matches!(next, '"' | '\'' | '\\')
                            || (next == ' ' && quote.is_none()) =>
                    {
                        word.push(next);
                        chars.next();
                    }
                    _ => word.push(c),
                },
                (' ' | '\t', None) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed".into());
        }
        words.push(word);
    }
}

fn some_words(keyword: &str, rest: &str) -> Result<Vec<String>, String> {
    let words = words(rest)?;
    if words.is_empty() || words.iter().any(String::is_empty) {
        return Err(format!("{keyword} has no value, or an empty one"));
    }
    Ok(words)
}

impl Directive {
    fn parse(keyword: &str, rest: &str) -> Result<Self, String> {
        let one = || match &mut some_words(keyword, rest)?[..] {
            [word] => Ok(std::mem::take(word)),
            _ => Err(format!("{keyword} has more than one value")),
        };
        let several = || {
            let mut words = some_words(keyword, rest)?;
            if words.len() > 1 && words.iter().any(|word| is_none(Some(word))) {
                return Err(format!("{keyword} has `none` among other values"));
            }
            words.truncate(MAX_PATHS);
            Ok::<_, String>(words)
        };
        let bad = |value: &str| format!("{keyword} cannot be {value:?}");
        let yes = || {
            let value = one()?;
            match value.to_ascii_lowercase().as_str() {
                "yes" | "true" => Ok(true),
                "no" | "false" => Ok(false),
                _ => Err(bad(&value)),
            }
        };
        let time = || {
            let value = one()?;
            duration(&value).ok_or_else(|| bad(&value))
        };
        Ok(Self::Set(match keyword {
            "host" => {
                return Ok(Self::Host(
                    some_words(keyword, rest)?
                        .iter()
                        .map(|word| host_pattern(word))
                        .collect(),
                ));
            }
            "match" => return match_block(rest),
            "ignoreunknown" => return Ok(Self::IgnoreUnknown(one()?)),
            "hostname" => {
                let value = one()?;
                if value.replace("%%", "").replace("%h", "").contains('%') {
                    return Err(format!(
                        "{keyword} {value:?} has a token other than %h and %%"
                    ));
                }
                Setting::HostName(value)
            }
            "port" => {
                let value = one()?;
                Setting::Port(
                    value
                        .parse()
                        .ok()
                        .filter(|&port| port > 0)
                        .ok_or_else(|| bad(&value))?,
                )
            }
            "user" => Setting::User(one()?),
            "identityfile" | "identityfile2" => Setting::IdentityFile(one()?),
            "identitiesonly" => Setting::IdentitiesOnly(yes()?),
            "identityagent" => Setting::IdentityAgent(one()?),
            "certificatefile" => Setting::CertificateFile(one()?),
            "userknownhostsfile" => Setting::UserKnownHosts(several()?),
            "globalknownhostsfile" => Setting::GlobalKnownHosts(several()?),
            "stricthostkeychecking" => {
                let value = one()?;
                Setting::StrictHostKeyChecking(match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" => HostKeyChecking::Yes,
                    "ask" => HostKeyChecking::Ask,
                    "accept-new" => HostKeyChecking::AcceptNew,
                    "no" | "false" | "off" => HostKeyChecking::No,
                    _ => return Err(bad(&value)),
                })
            }
            "hostkeyalias" => Setting::HostKeyAlias(one()?),
            "connecttimeout" => Setting::ConnectTimeout(time()?),
            "serveraliveinterval" => Setting::ServerAliveInterval(time()?),
            "serveralivecountmax" => {
                let value = one()?;
                Setting::ServerAliveCountMax(value.parse().map_err(|_| bad(&value))?)
            }
            "proxyjump" => {
                let jump = rest.split(is_blank).next().unwrap_or_default();
                if jump
                    .split(',')
                    .any(|hop| hop.is_empty() || hop.starts_with('-'))
                {
                    return Err(bad(jump));
                }
                Setting::ProxyJump(jump.to_owned())
            }
            "proxycommand" => Setting::ProxyCommand(rest.to_owned()),
            "hostkeyalgorithms" => Setting::HostKeyAlgorithms(one()?),
            "compression" => match one()?.as_str() {
                "yes" => Setting::Compression(true),
                "no" => Setting::Compression(false),
                other => return Err(bad(other)),
            },
            "addressfamily" => {
                let value = one()?;
                Setting::AddressFamily(match value.to_ascii_lowercase().as_str() {
                    "any" => AddressFamily::Any,
                    "inet" => AddressFamily::Inet,
                    "inet6" => AddressFamily::Inet6,
                    _ => return Err(bad(&value)),
                })
            }
            "bindaddress" => Setting::BindAddress(one()?),
            "challengeresponseauthentication" => {
                Setting::Rule("kbdinteractiveauthentication".to_owned(), one()?)
            }
            other if rules::KEYWORDS.contains(&other) => {
                let value = one()?;
                // Nonsense is an error here, where the line is known.
                let mut alone = RuleWords::default();
                alone.add(other, &value);
                alone.rules().map_err(|_| bad(&value))?;
                Setting::Rule(other.to_owned(), value)
            }
            // Turned off, these ask for nothing.
            other if UNSUPPORTED.contains(&other) => {
                let is_off = matches!(
                    words(rest)?.first().map(String::as_str),
                    Some("no" | "none" | "false")
                );
                return Ok(if is_off {
                    Self::Irrelevant
                } else {
                    Self::Unsupported(other.to_owned())
                });
            }
            other if IRRELEVANT.contains(&other) => return Ok(Self::Irrelevant),
            other => return Ok(Self::Unknown(other.to_owned())),
        }))
    }
}

fn host_pattern(word: &str) -> HostPattern {
    match word.strip_prefix('!') {
        Some(pattern) => HostPattern {
            sense: Sense::Negated,
            pattern: pattern.to_owned(),
        },
        None => HostPattern {
            sense: Sense::Plain,
            pattern: word.to_owned(),
        },
    }
}

fn match_block(rest: &str) -> Result<Directive, String> {
    let mut criteria: Vec<Criterion> = Vec::new();
    let mut rest = rest;
    while !rest.is_empty() && !rest.starts_with('#') {
        let (name, after) = delimited(rest)?;
        let (name, sense) = match name.strip_prefix('!') {
            Some(name) => (name, Sense::Negated),
            None => (name, Sense::Plain),
        };
        let name = name.to_ascii_lowercase();
        let subject = match name.as_str() {
            "all" if !criteria.is_empty() || !(after.is_empty() || after.starts_with('#')) => {
                return Err("`all` cannot be combined with other criteria of Match".into());
            }
            "all" => {
                criteria.push(Criterion {
                    sense,
                    subject: Subject::All,
                    patterns: String::new(),
                });
                break;
            }
            "host" => Subject::Host,
            "originalhost" => Subject::OriginalHost,
            "user" => Subject::User,
            "localuser" => Subject::LocalUser,
            _ => return Ok(Directive::Skipped(format!("Match {name} is not supported"))),
        };
        let (patterns, after) = delimited(after)?;
        if patterns.is_empty() || patterns.starts_with('#') {
            return Err(format!("Match {name} has no value"));
        }
        criteria.push(Criterion {
            sense,
            subject,
            patterns: patterns.to_owned(),
        });
        rest = after;
    }
    if criteria.is_empty() {
        return Err("match has no value".into());
    }
    Ok(Directive::Match(criteria))
}

/// `90`, `1m30s`; zero for `none`.
fn duration(text: &str) -> Option<Duration> {
    if text == "none" {
        return Some(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let mut after = rest[digits..].chars();
        let unit = match after.next().map(|c| c.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after.as_str();
    }
    if text.is_empty() || total > i32::MAX as u64 {
        return None;
    }
    Some(Duration::from_secs(total))
}

/// What an `Include` stands for: the files that its pattern matches, sorted; none is fine.
fn include(
    pattern: &str,
    folder: &Path,
    facts: &LocalFacts,
    count: &mut usize,
) -> Result<Vec<Included>, ConfigError> {
    let path = match pattern.strip_prefix("~/") {
        Some(rest) => facts.home.join(rest),
        None => folder.join(pattern),
    };
    let mut included = Vec::new();
    for path in glob(&path) {
        let Some(bytes) = read(&path)? else { continue };
        *count += 1;
        if *count > MAX_FILES {
            let why = format!("more than {MAX_FILES} files are included");
            return Err(ConfigError::Limit { file: path, why });
        }
        included.push((path, bytes));
    }
    Ok(included)
}

/// The paths that a pattern with `*`, `?` in its components stands for. Names that begin with a dot are matched by a
/// pattern that does so too, as in a shell.
fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let text = component.as_os_str().to_string_lossy();
        if !text.contains(['*', '?']) {
            for path in &mut found {
                path.push(component);
            }
            continue;
        }
        let mut next = Vec::new();
        for entry in found
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if matches(name.as_bytes(), text.as_bytes(), Case::Matters)
                && (text.starts_with('.') || !name.starts_with('.'))
            {
                next.push(entry.path());
            }
            if next.len() > MAX_FILES {
                break;
            }
        }
        next.sort();
        found = next;
    }
    found
}

/// The bytes of a file, `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let why = format!("it is larger than {} KiB", MAX_FILE_BYTES / 1024);
        return Err(ConfigError::Limit {
            file: path.to_owned(),
            why,
        });
    }
    Ok(Some(bytes))
}

fn unreadable(path: &Path, source: io::Error) -> ConfigError {
    ConfigError::Unreadable {
        file: path.to_owned(),
        source,
    }
}
