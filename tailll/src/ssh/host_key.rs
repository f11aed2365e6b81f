//! The check of a server's key: by the known hosts, by the authorities in them, and by what was accepted in this run.
//!
//! A changed or revoked key is never accepted, whatever the configuration says. Asking about an unknown one is left to who
//! dials: the connection is given up first, so that nobody has to hurry.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};

use super::Dial;
use crate::known_hosts::{HostKey, HostKeys, Verdict};
use crate::new_keys::{Accepted, NewKey, NewKeys};
use crate::prompt::strangers;
use crate::revoked_keys::RevokedKeys;
use crate::ssh_config::HostKeyChecking;
use crate::ssh_config::rules::KnownNames;
use crate::ssh_pattern::{Case, matches};

/// Which keys of a server are trusted beside those in the known hosts, and what is said about the others.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The host as it was asked for, for people.
    pub shown: String,
    /// The command that connects to it by OpenSSH's client.
    pub connect: String,
    /// What to do about an unknown key.
    pub checking: HostKeyChecking,
    /// The algorithms that may be used, as OpenSSH names them; empty for all that are known here.
    pub algorithms: Vec<String>,
    /// Keys that are never accepted.
    pub revoked: Arc<RevokedKeys>,
    /// What was accepted in this run; without it nothing is.
    pub new_keys: Option<Arc<NewKeys>>,
    /// Where accepted keys are written.
    pub file: Option<PathBuf>,
    /// How.
    pub names: KnownNames,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            shown: "the host".to_owned(),
            connect: "ssh".to_owned(),
            checking: HostKeyChecking::Yes,
            algorithms: Vec::new(),
            revoked: Arc::default(),
            new_keys: None,
            file: None,
            names: KnownNames::Plain,
        }
    }
}

/// What to do about a server's key.
#[derive(Debug)]
pub(super) enum Judgement {
    /// The host is who it should be.
    Accept,
    /// It is not, or that cannot be known; why.
    Refuse(String),
    /// Somebody has to say.
    Ask(Box<NewKey>),
}

/// The kinds of host key that are accepted, without SHA-1 signatures.
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// The algorithms to offer to a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offered {
    /// For plain keys.
    pub(super) keys: Vec<Algorithm>,
    /// For certificates.
    pub(super) certificates: Vec<Algorithm>,
}

/// The algorithms that `HostKeyAlgorithms` allows, those of keys that are known for the host first: it would look unknown
/// otherwise. Certificates only where somebody may sign them.
pub(super) fn offered(dial: &Dial) -> Result<Offered, String> {
    let known = dial.known_hosts.host(&dial.host_name());
    let types = known.algorithms();
    let allowed = &dial.trust.algorithms;
    let pick = |name: &dyn Fn(&Algorithm) -> String| -> Vec<Algorithm> {
        if allowed.is_empty() {
            return HOST_KEYS.to_vec();
        }
        allowed
            .iter()
            .filter_map(|wanted| HOST_KEYS.iter().find(|one| name(one) == *wanted).cloned())
            .collect()
    };
    let mut keys = pick(&|one| one.as_str().to_owned());
    keys.sort_by_key(|algorithm| {
        types
            .iter()
            .position(|name| same_kind(algorithm, name))
            .unwrap_or(usize::MAX)
    });
    let certificates = if known.has_authority() {
        pick(&|one| one.to_certificate_type())
    } else {
        Vec::new()
    };
    if keys.is_empty() && certificates.is_empty() {
        return Err(format!(
            "HostKeyAlgorithms allows none of the algorithms known here: add one of {}",
            HOST_KEYS
                .iter()
                .map(Algorithm::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    Ok(Offered { keys, certificates })
}

/// Whether a key listed under `name` in a known-hosts file can be proven by this algorithm.
fn same_kind(algorithm: &Algorithm, name: &str) -> bool {
    match algorithm {
        Algorithm::Rsa { .. } => name == "ssh-rsa",
        other => other.as_str() == name,
    }
}

/// Whether the host is who it should be.
pub(super) fn check(dial: &Dial, key: &PublicKey) -> Judgement {
    let blob = match key.to_bytes() {
        Ok(blob) => blob,
        Err(error) => return Judgement::Refuse(error.to_string()),
    };
    let key = match HostKey::from_blob(&blob) {
        Ok(key) => key,
        Err(error) => return Judgement::Refuse(error.to_string()),
    };
    if let Some(why) = in_revoked_file(dial, &key) {
        return Judgement::Refuse(why);
    }
    let host = dial.host_name();
    let verdict = dial.known_hosts.check(&host, &key);
    let refuse = || {
        let why = verdict.refusal(&host, &key, &dial.trust.connect);
        Judgement::Refuse(why.unwrap_or_default())
    };
    match &verdict {
        Verdict::Known => return Judgement::Accept,
        Verdict::Changed { .. } | Verdict::Revoked { .. } => return refuse(),
        Verdict::Unknown => {}
    }
    let Some(new_keys) = &dial.trust.new_keys else {
        return refuse();
    };
    let name = host.lookup_name();
    match new_keys.accepted(&name, &blob) {
        Accepted::This => return Judgement::Accept,
        Accepted::Another => {
            return Judgement::Refuse(format!(
                "the host key of {name} has changed since it was accepted in this run: it now presents the {} key {}; \
                 somebody may be listening in, or several servers answer there: ask its administrator",
                key.algorithm(),
                key.fingerprint()
            ));
        }
        Accepted::None => {}
    }
    let new = NewKey {
        shown: if dial.trust.shown.eq_ignore_ascii_case(&name) {
            strangers(&name)
        } else {
            format!("{} ({})", strangers(&dial.trust.shown), strangers(&name))
        },
        name,
        blob: blob.clone(),
        file: dial.trust.file.clone(),
        names: dial.trust.names,
    };
    match dial.trust.checking {
        HostKeyChecking::Ask if new_keys.can_ask() => Judgement::Ask(Box::new(new)),
        HostKeyChecking::Yes | HostKeyChecking::Ask => refuse(),
        HostKeyChecking::AcceptNew | HostKeyChecking::No => {
            new_keys.accept(&new);
            Judgement::Accept
        }
    }
}

/// What to say about an unknown key that nobody wanted to trust.
pub(super) fn not_trusted(dial: &Dial, key: &NewKey) -> String {
    let refusal = HostKey::from_blob(&key.blob)
        .ok()
        .and_then(|key| Verdict::Unknown.refusal(&dial.host_name(), &key, &dial.trust.connect));
    refusal.unwrap_or_else(|| "its host key is not trusted".to_owned())
}

/// Whether an authority that we trust for this host vouches for it now. A certificate of somebody else is looked through: the
/// key in it may be known by itself, as with OpenSSH.
pub(super) fn check_certificate(dial: &Dial, certificate: &Certificate) -> Judgement {
    let known = dial.known_hosts.host(&dial.host_name());
    let signer = certificate.signature_key();
    let is_signer =
        |blob: &[u8]| PublicKey::from_bytes(blob).is_ok_and(|key| key.key_data() == signer);
    let trusted = known
        .authorities()
        .iter()
        .any(|authority| is_signer(authority.key.blob()));
    let why = match revoked_in_certificate(dial, &known, certificate) {
        Err(why) => Some(why),
        Ok(()) if trusted => wrong_with(dial, certificate),
        Ok(()) => {
            return check(dial, &PublicKey::from(certificate.public_key().clone()));
        }
    };
    why.map_or(Judgement::Accept, Judgement::Refuse)
}

/// Says which of the certificate's two keys is revoked, the host's or its signer's.
fn revoked_in_certificate(
    dial: &Dial,
    known: &HostKeys<'_>,
    certificate: &Certificate,
) -> Result<(), String> {
    let name = dial.host_name().lookup_name();
    for (data, what) in [
        (certificate.public_key(), "the key in"),
        (certificate.signature_key(), "the authority that signed"),
    ] {
        let blob = PublicKey::from(data.clone())
            .to_bytes()
            .map_err(|error| error.to_string())?;
        let Ok(key) = HostKey::from_blob(&blob) else {
            continue;
        };
        if let Some(place) = known.revocation(&key) {
            return Err(format!(
                "{what} the host certificate of {name} is marked as @revoked in {place}; do not log in there, and ask the host's administrator for a new certificate"
            ));
        }
        if let Some(why) = in_revoked_file(dial, &key) {
            return Err(why);
        }
    }
    Ok(())
}

fn in_revoked_file(dial: &Dial, key: &HostKey<'_>) -> Option<String> {
    let file = dial.trust.revoked.revokes(key.blob())?;
    Some(format!(
        "the {} key {} that {} presents is revoked by {} (RevokedHostKeys); do not log in there, and ask the host's administrator for its new key",
        key.algorithm(),
        key.fingerprint(),
        dial.host_name().lookup_name(),
        file.display()
    ))
}

/// What is wrong with a certificate of an authority that is trusted.
fn wrong_with(dial: &Dial, certificate: &Certificate) -> Option<String> {
    let host = dial.host_name();
    let name = host.lookup_name();
    let remedy = "ask the host's administrator to renew it";
    if !certificate.cert_type().is_host() {
        return Some(format!(
            "{name} shows a user's certificate instead of a host's; {remedy}"
        ));
    }
    let principals = certificate.valid_principals();
    let wanted = host.principal();
    if !principals
        .iter()
        .any(|pattern| matches(wanted.as_bytes(), pattern.as_bytes(), Case::Ignored))
    {
        return Some(format!(
            "the host certificate of {name} is for {} and not for {wanted}; {remedy}, or name it by HostKeyAlias",
            match principals {
                [] => "no host".to_owned(),
                some => strangers(&some.join(", ")),
            }
        ));
    }
    let now_s = u64::try_from(dial.clock.arrival().wall_ns / 1_000_000_000).unwrap_or(0);
    let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate
        .validate_at(now_s, [&signer])
        .err()
        .map(|error| {
            format!(
                "the host certificate of {name} is not valid now ({error}): it is valid {}; {remedy}",
                validity(certificate)
            )
        })
}

/// From when until when, for people.
pub(super) fn validity(certificate: &Certificate) -> String {
    let time = |seconds: u64| {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map(|time| time.to_string())
    };
    let from = match certificate.valid_after() {
        0 => None,
        seconds => time(seconds),
    };
    match (from, time(certificate.valid_before())) {
        (Some(from), Some(until)) => format!("from {from} until {until}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), None) => format!("from {from}"),
        (None, None) => "for ever".to_owned(),
    }
}
