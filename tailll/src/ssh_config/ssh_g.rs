//! OpenSSH's own answer: `ssh -G` and its output.
//!
//! Owns running the child, and the output's format. The output cannot show whether `User` was configured: the user who
//! is wanted is passed by `-l`. It leaves tokens and `~` in the names of keys as they are. What was configured can be told from
//! what is always so by a second answer, without any configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{
    AddressFamily, ConfigError, HostConfig, HostKeyChecking, LocalFacts, Proxy, RuleWords, Values,
    Wanted, check_names, own, rules,
};

/// How long `ssh -G` may take.
pub const RUN_LIMIT: Duration = Duration::from_secs(20);
/// The most bytes of its output that are read. Usual is 5 kB.
pub const MAX_OUTPUT_BYTES: u64 = 1024 * 1024;
/// The most bytes of its complaints that are read and shown.
pub const MAX_STDERR_BYTES: u64 = 2048;

/// Keywords that our own parser has no use for, but which `ssh -G` itself has applied to its answer.
const APPLIED: [&str; 3] = ["canonicaldomains", "canonicalizehostname", "tag"];

/// What `ssh -G` says where nothing is configured: keywords and values.
#[derive(Debug, Default)]
pub struct Defaults(BTreeMap<String, String>);

impl Defaults {
    /// Reads an answer.
    pub fn parse(output: &[u8]) -> Self {
        let text = String::from_utf8_lossy(output);
        let words = text.lines().filter_map(|line| line.split_once(' '));
        Self(
            words
                .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn is(&self, keyword: &str, value: &str) -> bool {
        self.0.get(keyword).is_some_and(|default| default == value)
    }
}

/// Asks the `ssh` of this process for its defaults, once. Without an answer everything counts as configured: the answers about
/// hosts fail then too, and say why.
pub async fn defaults() -> &'static Defaults {
    static DEFAULTS: OnceCell<Defaults> = OnceCell::const_new();
    let ask = async || {
        let nobody = Wanted {
            host: "localhost",
            user: None,
            port: None,
        };
        let output = run(Some(Path::new("none")), &nobody).await;
        Defaults::parse(&output.unwrap_or_default())
    };
    DEFAULTS.get_or_init(ask).await
}

/// Runs `ssh -G`. The child is killed when the answer is no longer waited for.
pub async fn run(file: Option<&Path>, wanted: &Wanted<'_>) -> Result<Vec<u8>, ConfigError> {
    check_names(wanted)?;
    let host = || wanted.host.to_owned();
    let mut command = Command::new("ssh");
    command.arg("-G").args(arguments(wanted));
    if let Some(file) = file {
        command.arg("-F").arg(file);
    }
    command.arg("--").arg(wanted.host);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let run = async {
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = tokio::try_join!(
            read_up_to(stdout, MAX_OUTPUT_BYTES),
            read_up_to(stderr, MAX_STDERR_BYTES)
        )?;
        Ok((child.wait().await?, stdout, stderr))
    };
    let (status, stdout, stderr) = tokio::time::timeout(RUN_LIMIT, run)
        .await
        .map_err(|_| ConfigError::Slow { host: host() })?
        .map_err(|source| ConfigError::Run {
            host: host(),
            source,
        })?;
    if status.success() {
        return Ok(stdout);
    }
    let text = String::from_utf8_lossy(&stderr);
    let lines: Vec<_> = text
        .lines()
        .map(|line| {
            line.trim()
                .escape_debug()
                .to_string()
                .replace("\\\"", "\"")
                .replace("\\'", "'")
        })
        .filter(|line| {
            !line.is_empty() && !line.starts_with("Pseudo-terminal will not be allocated")
        })
        .collect();
    Err(ConfigError::Refused {
        host: host(),
        status: status.to_string(),
        stderr: lines.join("; "),
    })
}

fn arguments(wanted: &Wanted<'_>) -> Vec<String> {
    let mut arguments = Vec::new();
    if let Some(user) = wanted.user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = wanted.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments
}

/// Reads up to `limit` bytes and throws away the rest, so that the child can end.
async fn read_up_to(from: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(limit).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

/// Reads the output of `ssh -G`.
///
/// Names of known hosts files stand on one line, separated by blanks and without quotes: a name with a blank in it is
/// put together again only if what follows the blank does not look like the start of a path. What stands among the defaults was
/// not configured, which matters for lists of algorithms and for what is not supported.
pub fn parse(
    output: &[u8],
    defaults: &Defaults,
    wanted: &Wanted<'_>,
    facts: &LocalFacts,
) -> Result<HostConfig, ConfigError> {
    let wrong = |why: String| ConfigError::Answer {
        host: wanted.host.to_owned(),
        why,
    };
    let text = String::from_utf8_lossy(output);
    let mut values = Values {
        hostname: String::new(),
        port: 0,
        user: String::new(),
        identity_files: Vec::new(),
        identities_only: false,
        identity_agent: None,
        certificate_files: Vec::new(),
        user_known_hosts_files: Vec::new(),
        global_known_hosts_files: Vec::new(),
        strict_host_key_checking: HostKeyChecking::Ask,
        host_key_alias: None,
        connect_timeout: None,
        server_alive_interval: None,
        server_alive_count_max: 3,
        proxy: Proxy::Direct,
        host_key_algorithms: Vec::new(),
        compression: false,
        address_family: AddressFamily::Any,
        bind_address: None,
        rule_words: RuleWords::default(),
        warnings: Vec::new(),
    };
    for line in text.lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        let not_understood = || wrong(format!("{keyword} {value:?} is not understood"));
        match keyword {
            "hostname" => value.clone_into(&mut values.hostname),
            "port" => values.port = value.parse().map_err(|_| not_understood())?,
            "user" => value.clone_into(&mut values.user),
            "identityfile" => values.identity_files.push(value.to_owned()),
            "identitiesonly" => values.identities_only = yes(value).ok_or_else(not_understood)?,
            "identityagent" => values.identity_agent = Some(value.to_owned()),
            "certificatefile" => values.certificate_files.push(value.to_owned()),
            "userknownhostsfile" => values.user_known_hosts_files = paths(value),
            "globalknownhostsfile" => values.global_known_hosts_files = paths(value),
            "stricthostkeychecking" => {
                values.strict_host_key_checking = checking(value).ok_or_else(not_understood)?;
            }
            "hostkeyalias" => values.host_key_alias = Some(value.to_owned()),
            "connecttimeout" => {
                values.connect_timeout =
                    Some(seconds(value).ok_or_else(not_understood)?).filter(|time| !time.is_zero());
            }
            "serveraliveinterval" => {
                values.server_alive_interval =
                    Some(seconds(value).ok_or_else(not_understood)?).filter(|time| !time.is_zero());
            }
            "serveralivecountmax" => {
                values.server_alive_count_max = value.parse().map_err(|_| not_understood())?;
            }
            "proxyjump" if value != "none" => values.proxy = Proxy::Jump(value.to_owned()),
            "proxycommand" if value != "none" => values.proxy = Proxy::Command(value.to_owned()),
            "hostkeyalgorithms" => {
                values.host_key_algorithms = value
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect();
            }
            "compression" => values.compression = yes(value).ok_or_else(not_understood)?,
            "addressfamily" => values.address_family = family(value).ok_or_else(not_understood)?,
            "bindaddress" => values.bind_address = Some(value.to_owned()),
            _ if defaults.is(keyword, value) => {}
            _ if rules::KEYWORDS.contains(&keyword) => values.rule_words.add(keyword, value),
            _ if own::UNSUPPORTED.contains(&keyword)
                && !APPLIED.contains(&keyword)
                && !matches!(value, "none" | "no" | "false") =>
            {
                values.warnings.push(format!(
                    "{keyword} {value} is not supported and has no effect"
                ));
            }
            _ => {}
        }
    }
    for (keyword, is_missing) in [
        ("hostname", values.hostname.is_empty()),
        ("port", values.port == 0),
        ("user", values.user.is_empty()),
    ] {
        if is_missing {
            return Err(wrong(format!("it has no {keyword}")));
        }
    }
    values.finish(wanted.host, facts).map_err(wrong)
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

fn checking(value: &str) -> Option<HostKeyChecking> {
    Some(match value {
        "yes" | "true" => HostKeyChecking::Yes,
        "ask" => HostKeyChecking::Ask,
        "accept-new" => HostKeyChecking::AcceptNew,
        "no" | "false" | "off" => HostKeyChecking::No,
        _ => return None,
    })
}

fn family(value: &str) -> Option<AddressFamily> {
    Some(match value {
        "any" => AddressFamily::Any,
        "inet" => AddressFamily::Inet,
        "inet6" => AddressFamily::Inet6,
        _ => return None,
    })
}

/// Seconds; zero for `none`.
fn seconds(value: &str) -> Option<Duration> {
    if value == "none" {
        return Some(Duration::ZERO);
    }
    value
        .parse::<u32>()
        .ok()
        .map(|seconds| Duration::from_secs(seconds.into()))
}

fn paths(value: &str) -> Vec<PathBuf> {
    if value.eq_ignore_ascii_case("none") {
        return Vec::new();
    }
    let mut names: Vec<String> = Vec::new();
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        match names.last_mut() {
            Some(last) if last.starts_with('/') && !word.starts_with(['/', '~', '%', '$']) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => names.push(word.to_owned()),
        }
    }
    names.into_iter().map(PathBuf::from).collect()
}
