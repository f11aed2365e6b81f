//! Which host keys are known: OpenSSH's `known_hosts` files, matched as OpenSSH matches them.
//!
//! Owns the format (plain, wildcard, negated and hashed names, `[host]:port`, `@revoked`, `@cert-authority`), the
//! verdict on a key, and the words that tell people about it. Knows no SSH library: a key is the bytes of its public
//! blob. Checking a certificate's signature, dates and principals is left to the connection, which gets the
//! authorities from here; asking people about unknown hosts, and writing files, to `new_keys`.
//!
//! Invariants: a revoked key is never [`Verdict::Known`]; a line that cannot be read never matches anything.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::causes;
use crate::ssh_pattern::{Case, ListMatch, matches_list};

/// The largest `known_hosts` file that is read, in bytes: some 200 000 keys. A larger one is an error.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How many unreadable lines of one file are remembered; the rest are only counted.
pub const MAX_PROBLEMS: usize = 20;
/// The port that names without `[host]:port` stand for.
const DEFAULT_PORT: u16 = 22;
/// The salt and the hash of a hashed name, in bytes: both are as long as SHA-1's output.
pub const HASH_BYTES: usize = 20;
/// The longest name of a key's type, in bytes (RFC 4251 section 6).
const MAX_ALGORITHM_BYTES: usize = 64;

/// A host as `known_hosts` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostName<'a> {
    /// The name that is connected to: a host name, or an address without brackets.
    pub name: &'a str,
    /// The port that is connected to.
    pub port: u16,
    /// `HostKeyAlias`: looked up instead of name and port.
    pub alias: Option<&'a str>,
}

impl HostName<'_> {
    /// The name to look up: lower case, `[name]:port` where the port is not 22.
    pub fn lookup_name(&self) -> String {
        match (self.alias, self.port) {
            (Some(alias), _) => alias.to_ascii_lowercase(),
            (None, DEFAULT_PORT | 0) => self.name.to_ascii_lowercase(),
            (None, port) => format!("[{}]:{port}", self.name.to_ascii_lowercase()),
        }
    }

    /// The name that a host certificate must have among its principals: never with a port.
    pub fn principal(&self) -> String {
        self.alias.unwrap_or(self.name).to_ascii_lowercase()
    }

    /// Where OpenSSH looks when `[name]:port` has no key at all: the name without its port.
    fn name_without_port(&self) -> Option<String> {
        let has_port = self.alias.is_none() && !matches!(self.port, DEFAULT_PORT | 0);
        has_port.then(|| self.name.to_ascii_lowercase())
    }
}

/// A public key of a host, as its wire blob (RFC 4253 section 6.6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HostKey<'a> {
    algorithm: &'a str,
    blob: &'a [u8],
}

/// A blob that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public key: the blob does not begin with the name of a key type")]
pub struct NotAKey;

impl<'a> HostKey<'a> {
    /// The key with this blob. Its type is read from the blob, so that it cannot contradict it.
    pub fn from_blob(blob: &'a [u8]) -> Result<Self, NotAKey> {
        let name = Fields(blob).next().flatten().ok_or(NotAKey)?;
        let algorithm = std::str::from_utf8(name).map_err(|_| NotAKey)?;
        let printable = algorithm.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if algorithm.is_empty() || algorithm.len() > MAX_ALGORITHM_BYTES || !printable {
            return Err(NotAKey);
        }
        Ok(Self { algorithm, blob })
    }

    /// The key's type: `ssh-ed25519`, `ssh-rsa` (whatever the signature's hash), `ecdsa-sha2-nistp256`, …
    pub fn algorithm(&self) -> &'a str {
        self.algorithm
    }

    /// The wire blob.
    pub fn blob(&self) -> &'a [u8] {
        self.blob
    }

    /// `SHA256:` and the hash in base64 without padding, as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(digest::digest(&digest::SHA256, self.blob))
        )
    }
}

impl fmt::Debug for HostKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.algorithm, self.fingerprint())
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A line that could not be read and is therefore not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong with it.
    pub why: String,
}

/// Why the known hosts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is there but cannot be read. Going on without it could accept a revoked key.
    #[error(
        "read the known hosts in {file}: make it readable for you, or name other files by UserKnownHostsFile"
    )]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is larger than [`MAX_FILE_BYTES`].
    #[error("read the known hosts in {file}: it is larger than {} MiB; remove what is no longer needed", MAX_FILE_BYTES / 1024 / 1024)]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
}

/// What is known about a key that a host presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key is the host's.
    Known,
    /// No key is known for the host.
    Unknown,
    /// Other keys are known for the host, and not this one.
    Changed {
        /// Where one of them is: of the same type if there is one, the last in the files otherwise.
        place: Place,
        /// Its type.
        algorithm: String,
        /// Its fingerprint.
        fingerprint: String,
    },
    /// The key is marked as revoked and must never be accepted.
    Revoked {
        /// Where that is said.
        place: Place,
    },
}

impl Verdict {
    /// What to tell people when the key is not accepted: host, fingerprint, place, and what to do; `connect` is the command
    /// that connects to the host by OpenSSH's client. `None` if it is known.
    pub fn refusal(&self, host: &HostName<'_>, key: &HostKey<'_>, connect: &str) -> Option<String> {
        let name = causes::plain(&host.lookup_name());
        let presented = format!("{} key {}", key.algorithm(), key.fingerprint());
        match self {
            Self::Known => None,
            Self::Unknown => Some(format!(
                "no host key is known for {name}, which presents the {presented}: compare that with what its \
                 administrator says, then connect once with `{connect}`"
            )),
            Self::Changed {
                place,
                algorithm,
                fingerprint,
            } => Some(format!(
                "the host key of {name} has changed: it presents the {presented}, but {place} has the {algorithm} \
                 key {fingerprint}; somebody may be listening in, or the host was set up anew: ask its administrator, \
                 and only then forget the old key with `ssh-keygen -f {} -R {}` and connect once with `{connect}`",
                shell_word(&place.file.display().to_string()),
                shell_word(&host.lookup_name()),
            )),
            Self::Revoked { place } => Some(format!(
                "the host key of {name} is revoked: {place} marks the {presented} as @revoked; do not log in there, \
                 and ask the host's administrator for its new key"
            )),
        }
    }
}

/// An authority whose certificates are accepted for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The authority's public key.
    pub key: HostKey<'a>,
    /// Where it is named.
    pub place: Place,
}

/// The lines of all files, in their order.
#[derive(Debug, Default)]
pub struct KnownHosts {
    files: Vec<PathBuf>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl KnownHosts {
    /// Reads the files in this order, the user's before the system's as OpenSSH does. A missing file is empty.
    pub fn load(files: &[PathBuf]) -> Result<Self, LoadError> {
        let mut known = Self::default();
        for file in files {
            if let Some(bytes) = read(file)? {
                known.add(file, &bytes);
            }
        }
        Ok(known)
    }

    /// The lines of one file that has been read already.
    pub fn parse(file: &Path, bytes: &[u8]) -> Self {
        let mut known = Self::default();
        known.add(file, bytes);
        known
    }

    /// Adds the lines of another file.
    pub fn add(&mut self, file: &Path, bytes: &[u8]) {
        let number = self.files.len();
        self.files.push(file.to_owned());
        let mut unreadable = 0;
        for (line, text) in (1..).zip(bytes.split(|&b| b == b'\n')) {
            match Entry::parse(text) {
                Ok(None) => {}
                Ok(Some((marker, names, blob))) => {
                    self.entries.push(Entry {
                        file: number,
                        line,
                        marker,
                        names,
                        blob,
                    });
                }
                Err(why) => {
                    unreadable += 1;
                    if unreadable <= MAX_PROBLEMS {
                        self.problems.push(Problem {
                            place: Place {
                                file: file.to_owned(),
                                line,
                            },
                            why,
                        });
                    } else if let Some(last) = self.problems.last_mut() {
                        last.why = format!(
                            "{} lines from here on cannot be read",
                            unreadable - MAX_PROBLEMS + 1
                        );
                    }
                }
            }
        }
    }

    /// The lines that could not be read. They should be shown: one of them may be the reason why a host is unknown.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What the files say about a host. Every line is looked at, and hashed names cost a hash each: keep the answer
    /// for as long as the host is being connected to.
    pub fn host(&self, host: &HostName<'_>) -> HostKeys<'_> {
        let find = |name: &str| {
            self.entries
                .iter()
                .filter(|entry| entry.names.cover(name))
                .map(|entry| (entry, self))
                .collect()
        };
        HostKeys {
            named: find(&host.lookup_name()),
            without_port: host
                .name_without_port()
                .map_or_else(Vec::new, |name| find(&name)),
        }
    }

    /// The verdict on one key: short for [`KnownHosts::host`] and [`HostKeys::check`].
    pub fn check(&self, host: &HostName<'_>, key: &HostKey<'_>) -> Verdict {
        self.host(host).check(key)
    }
}

/// What the files say about one host.
#[derive(Debug)]
pub struct HostKeys<'a> {
    /// The lines for the name that is looked up.
    named: Vec<Found<'a>>,
    /// The lines for the name without its port, where it has one.
    without_port: Vec<Found<'a>>,
}

/// An entry, and the files that it comes from.
type Found<'a> = (&'a Entry, &'a KnownHosts);

impl<'a> HostKeys<'a> {
    /// The verdict on a plain key (not a certificate) that the host presents.
    ///
    /// A key known for the name without its port is accepted as long as `[name]:port` has no key of its own, as
    /// OpenSSH does; unlike OpenSSH, a key revoked for it is then refused as revoked and not as unknown.
    pub fn check(&self, key: &HostKey<'_>) -> Verdict {
        match verdict(&self.named, key) {
            Verdict::Unknown => match verdict(&self.without_port, key) {
                found @ (Verdict::Known | Verdict::Revoked { .. }) => found,
                Verdict::Unknown | Verdict::Changed { .. } => Verdict::Unknown,
            },
            found => found,
        }
    }

    /// Where the key is marked as revoked. Ask it about the key inside a certificate before accepting that.
    pub fn revocation(&self, key: &HostKey<'_>) -> Option<Place> {
        revocation(self.all(), key)
    }

    /// The authorities whose certificates are accepted for the host; revoked ones are not among them.
    pub fn authorities(&self) -> Vec<Authority<'a>> {
        self.all()
            .filter(|(entry, _)| entry.marker == Marker::Authority)
            .filter_map(|(entry, known)| {
                Some(Authority {
                    key: entry.key()?,
                    place: entry.place(known),
                })
            })
            .filter(|authority| self.revocation(&authority.key).is_none())
            .collect()
    }

    /// Whether the host has an authority, revoked or not: only then is a certificate of use, if only to see that it is revoked.
    pub fn has_authority(&self) -> bool {
        self.all()
            .any(|(entry, _)| entry.marker == Marker::Authority)
    }

    /// The types of the keys known for the host, in the files' order, each once.
    pub fn algorithms(&self) -> Vec<&'a str> {
        let mut types = Vec::new();
        let named: Vec<_> = self
            .named
            .iter()
            .filter(|(entry, _)| entry.marker == Marker::None)
            .collect();
        let plain = self
            .without_port
            .iter()
            .filter(|(entry, _)| entry.marker == Marker::None);
        let source: Vec<_> = if named.is_empty() {
            plain.collect()
        } else {
            named
        };
        for key in source.iter().filter_map(|(entry, _)| entry.key()) {
            if !types.contains(&key.algorithm()) {
                types.push(key.algorithm());
            }
        }
        types
    }

    /// The host key algorithms to offer: those of `preference` whose keys are known first, so that the host presents
    /// a key that can be recognised; otherwise in the order of preference.
    ///
    /// As OpenSSH does, the preference stands as it is if its first algorithm is that of a known key, and certificate
    /// algorithms go first where the host has an authority.
    pub fn order_algorithms(&self, preference: &[String]) -> Vec<String> {
        let known = self.algorithms();
        let is_known = |name: &str| known.contains(&key_type(name));
        if preference.first().is_some_and(|first| is_known(first)) {
            return preference.to_vec();
        }
        let has_authority = !self.authorities().is_empty();
        let (mut first, last): (Vec<_>, Vec<_>) = preference
            .iter()
            .cloned()
            .partition(|name| is_known(name) || (has_authority && name.contains(CERTIFICATE)));
        first.extend(last);
        first
    }

    fn all(&self) -> impl Iterator<Item = &Found<'a>> {
        self.named.iter().chain(&self.without_port)
    }
}

/// What every certificate algorithm has in its name.
const CERTIFICATE: &str = "-cert-v01";

/// The type of the plain key that a host key algorithm is about: `ssh-rsa` for `rsa-sha2-512-cert-v01@openssh.com`.
fn key_type(algorithm: &str) -> &str {
    match algorithm {
        "rsa-sha2-256"
        | "rsa-sha2-512"
        | "rsa-sha2-256-cert-v01@openssh.com"
        | "rsa-sha2-512-cert-v01@openssh.com" => "ssh-rsa",
        "sk-ssh-ed25519-cert-v01@openssh.com" => "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com" => "sk-ecdsa-sha2-nistp256@openssh.com",
        other => other.strip_suffix("-cert-v01@openssh.com").unwrap_or(other),
    }
}

fn verdict(entries: &[Found<'_>], key: &HostKey<'_>) -> Verdict {
    if let Some(place) = revocation(entries.iter(), key) {
        return Verdict::Revoked { place };
    }
    let plain = || {
        entries
            .iter()
            .filter(|(entry, _)| entry.marker == Marker::None)
    };
    if plain().any(|(entry, _)| entry.blob == key.blob) {
        return Verdict::Known;
    }
    let same_type = plain().find(|(entry, _)| {
        entry
            .key()
            .is_some_and(|other| other.algorithm() == key.algorithm())
    });
    match same_type
        .or_else(|| plain().next_back())
        .and_then(|(entry, known)| Some((entry, known, entry.key()?)))
    {
        None => Verdict::Unknown,
        Some((entry, known, other)) => Verdict::Changed {
            place: entry.place(known),
            algorithm: other.algorithm().to_owned(),
            fingerprint: other.fingerprint(),
        },
    }
}

fn revocation<'f, 'a: 'f>(
    mut entries: impl Iterator<Item = &'f Found<'a>>,
    key: &HostKey<'_>,
) -> Option<Place> {
    entries
        .find(|(entry, _)| entry.marker == Marker::Revoked && entry.blob == key.blob)
        .map(|(entry, known)| entry.place(known))
}

/// One line with a key.
#[derive(Debug)]
struct Entry {
    /// Index into [`KnownHosts::files`].
    file: usize,
    line: usize,
    marker: Marker,
    names: Names,
    blob: Vec<u8>,
}

/// What the line says about the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    /// It is the key of the hosts.
    None,
    /// It signs the certificates of the hosts.
    Authority,
    /// It must not be accepted for the hosts.
    Revoked,
}

/// The hosts of a line.
#[derive(Debug)]
enum Names {
    /// A list of patterns.
    Patterns(Vec<u8>),
    /// One name, hidden.
    Hashed {
        salt: [u8; HASH_BYTES],
        hash: [u8; HASH_BYTES],
    },
}

impl Names {
    /// Whether `name`, in lower case, is one of them.
    fn cover(&self, name: &str) -> bool {
        match self {
            Self::Patterns(list) => {
                matches_list(name.as_bytes(), list, Case::Ignored) == ListMatch::Yes
            }
            Self::Hashed { salt, hash } => hash_name(salt, name).as_ref() == hash,
        }
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        if !text.starts_with(b"|") {
            return Ok(Self::Patterns(text.to_vec()));
        }
        let Some(rest) = text.strip_prefix(b"|1|") else {
            return Err("the hashed host name is not of the form |1|salt|hash".into());
        };
        let mut parts = rest.split(|&b| b == b'|');
        let mut part = |what| {
            let text = parts
                .next()
                .ok_or_else(|| format!("the hashed host name has no {what}"))?;
            let bytes = STANDARD
                .decode(text)
                .map_err(|_| format!("the {what} of the hashed host name is not base64"))?;
            <[u8; HASH_BYTES]>::try_from(bytes).map_err(|_| {
                format!("the {what} of the hashed host name is not {HASH_BYTES} bytes long")
            })
        };
        let (salt, hash) = (part("salt")?, part("hash")?);
        if parts.next().is_some() {
            return Err("the hashed host name is not of the form |1|salt|hash".into());
        }
        Ok(Self::Hashed { salt, hash })
    }
}

impl Entry {
    /// Reads a line without its `\n`; `None` for a blank one and a comment.
    fn parse(line: &[u8]) -> Result<Option<(Marker, Names, Vec<u8>)>, String> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(None);
        }
        let mut words = line
            .split(|b| matches!(b, b' ' | b'\t'))
            .filter(|word| !word.is_empty());
        let mut names = words.next().unwrap_or_default();
        let mut marker = Marker::None;
        if names.starts_with(b"@") {
            marker = match names {
                b"@cert-authority" => Marker::Authority,
                b"@revoked" => Marker::Revoked,
                other => {
                    return Err(format!(
                        "unknown marker {}",
                        causes::plain(&String::from_utf8_lossy(other))
                    ));
                }
            };
            names = words.next().ok_or("the host names are missing")?;
            if names.starts_with(b"@") {
                return Err("there is more than one marker".into());
            }
        }
        let names = Names::parse(names)?;
        let algorithm = words
            .next()
            .filter(|word| !word.starts_with(b"#"))
            .ok_or("the key's type is missing")?;
        let fields = count_of_fields(algorithm)?;
        let key = words
            .next()
            .filter(|word| !word.starts_with(b"#"))
            .ok_or("the key is missing")?;
        let blob = STANDARD.decode(key).map_err(|_| "the key is not base64")?;
        check_key(algorithm, fields, &blob)?;
        Ok(Some((marker, names, blob)))
    }

    fn key(&self) -> Option<HostKey<'_>> {
        HostKey::from_blob(&self.blob).ok()
    }

    fn place(&self, known: &KnownHosts) -> Place {
        Place {
            file: known.files[self.file].clone(),
            line: self.line,
        }
    }
}

/// How many fields a key of this type has. Lines with keys of other types are not used, as OpenSSH does not use them:
/// a key that nobody can present must not make a host look changed.
fn count_of_fields(algorithm: &[u8]) -> Result<usize, String> {
    Ok(match algorithm {
        b"ssh-ed25519" => 2,
        b"ssh-rsa"
        | b"ecdsa-sha2-nistp256"
        | b"ecdsa-sha2-nistp384"
        | b"ecdsa-sha2-nistp521"
        | b"sk-ssh-ed25519@openssh.com" => 3,
        b"sk-ecdsa-sha2-nistp256@openssh.com" => 4,
        b"ssh-dss" => 5,
        other if other.iter().all(u8::is_ascii_digit) => {
            return Err("keys of SSH version 1 are not supported".into());
        }
        other => {
            return Err(format!(
                "unknown key type {}",
                causes::plain(&String::from_utf8_lossy(other))
            ));
        }
    })
}

/// Whether the blob is a key of the named type.
fn check_key(algorithm: &[u8], fields: usize, blob: &[u8]) -> Result<(), String> {
    let mut found = 0;
    for field in Fields(blob) {
        let field = field.ok_or("the key is damaged: a field is longer than the key")?;
        if found == 0 && field != algorithm {
            return Err("the key's type is not the one that the line names".into());
        }
        if field.is_empty() {
            return Err("the key is damaged: it has an empty field".into());
        }
        found += 1;
    }
    if found != fields {
        return Err(format!(
            "the key is damaged: {found} of its {fields} fields are there"
        ));
    }
    Ok(())
}

/// The length-prefixed fields of a blob; `None` once, for one that is cut off.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.0.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        });
        self.0 = field.map_or(&[], |(_, rest)| rest);
        Some(field.map(|(field, _)| field))
    }
}

/// How the name is written in a new line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameForm {
    /// As it is.
    Plain,
    /// Hidden, as with `HashKnownHosts yes`. The salt must be random.
    Hashed {
        /// The salt.
        salt: [u8; HASH_BYTES],
    },
}

/// A host's name that cannot stand in a file as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the host name {0} cannot be written into a known_hosts file")]
pub struct UnwritableName(String);

/// The line, without newline, that makes `key` known for `host`.
pub fn new_line(
    host: &HostName<'_>,
    key: &HostKey<'_>,
    form: NameForm,
) -> Result<String, UnwritableName> {
    let name = host.lookup_name();
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "*?!,|@#\"".contains(c);
    if name.is_empty() || name.contains(forbidden) {
        return Err(UnwritableName(causes::plain(&name)));
    }
    let name = match form {
        NameForm::Plain => name,
        NameForm::Hashed { salt } => {
            format!(
                "|1|{}|{}",
                STANDARD.encode(salt),
                STANDARD.encode(hash_name(&salt, &name))
            )
        }
    };
    Ok(format!(
        "{name} {} {}",
        key.algorithm(),
        STANDARD.encode(key.blob())
    ))
}

fn hash_name(salt: &[u8; HASH_BYTES], name: &str) -> hmac::Tag {
    hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt),
        name.as_bytes(),
    )
}

/// The bytes of a file, `None` if there is none.
fn read(file: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    let unreadable = |source| LoadError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    opened
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge {
            file: file.to_owned(),
        });
    }
    Ok(Some(bytes))
}

/// A word for a shell to take literally.
pub fn shell_word(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/:%+@".contains(&b));
    if plain {
        word.to_owned()
    } else {
        format!("'{}'", causes::on_one_line(word).replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests;
