//! Secrets that people type: each is asked for once and remembered for the run.
//!
//! Key files are remembered opened, so that their passphrases are not kept. Passwords are remembered for a *realm*: a user on
//! the hosts of one domain. A realm's password is tried on one host until one has accepted it, so that a wrong one is not
//! wrong everywhere at once. What is a password and what is asked anew each time is decided by `auth`.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use russh::keys::ssh_key::PrivateKey;
use russh::keys::{PublicKey, decode_secret_key, load_public_key};
use tokio::sync::{OnceCell, OwnedMutexGuard};
use zeroize::Zeroizing;

use crate::lock::lock;
use crate::prompt::{Echo, Prompter, Unanswered};
use crate::ssh_config::rules::Questions;

/// Passphrases tried for one key file.
const PASSPHRASE_TRIES: usize = 3;

/// The largest key file that is read, in bytes.
const KEY_FILE_BYTES: u64 = 1024 * 1024;

/// A password or the like.
pub(super) type Secret = Arc<Zeroizing<String>>;

/// All secrets of the run.
pub struct Secrets {
    prompter: Prompter,
    keys: Mutex<HashMap<PathBuf, Arc<OnceCell<Opened>>>>,
    realms: Mutex<HashMap<Realm, Arc<tokio::sync::Mutex<Password>>>>,
    /// Passwords of single hosts whose realm has another.
    own: Mutex<HashMap<String, Secret>>,
}

/// A key file's key, or why there is none.
type Opened = Result<Arc<PrivateKey>, String>;

/// Who shares a password: a user on the hosts of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Realm {
    user: String,
    domain: String,
}

/// What is known of a realm's password.
#[derive(Debug, Default)]
enum Password {
    /// Nothing.
    #[default]
    Unknown,
    /// It was typed and not tried yet.
    Given(Secret),
    /// A host has accepted it.
    Proven(Secret),
    /// Nobody wants to type it; why.
    Withheld(String),
}

/// A password to try now. As long as it is not proven, others of the realm wait for its end.
pub(super) struct Turn {
    pub(super) secret: Secret,
    first: Option<OwnedMutexGuard<Password>>,
    /// For which host alone it is, if so.
    own: Option<String>,
}

/// A key file as far as it can be looked at without a passphrase.
#[derive(Debug, Clone)]
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    /// The public half, where it can be had.
    pub(super) public: Option<PublicKey>,
    plain: Option<Arc<PrivateKey>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new(Prompter::nobody())
    }
}

/// Counts the questions of one login that are open, so that its time does not run meanwhile.
#[derive(Debug, Default)]
pub(super) struct OpenQuestions(AtomicUsize);

/// One of them.
struct OpenQuestion<'a>(&'a OpenQuestions);

impl OpenQuestions {
    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Waits for something while the time does not run.
    pub(super) async fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _open = OpenQuestion(self);
        answer.await
    }
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Realm {
    /// The hosts of the same domain; for addresses, those of the same network of 256 (IPv4) or of the same /64 (IPv6). Names
    /// without a dot are one domain.
    pub(super) fn of(user: &str, hostname: &str) -> Self {
        let domain = match hostname.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.*")
            }
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}:*")
            }
            Err(_) => match hostname.split_once('.') {
                Some((_, domain)) => format!("*.{}", domain.to_ascii_lowercase()),
                None => "*".to_owned(),
            },
        };
        Self {
            user: user.to_owned(),
            domain,
        }
    }

    /// For people.
    pub(super) fn shown(&self) -> String {
        match self.domain.as_str() {
            "*" => "hosts without a domain in their name".to_owned(),
            domain => domain.to_owned(),
        }
    }
}

impl Secrets {
    /// Nothing is known yet.
    pub fn new(prompter: Prompter) -> Self {
        Self {
            prompter,
            keys: Mutex::default(),
            realms: Mutex::default(),
            own: Mutex::default(),
        }
    }

    /// Whether somebody can be asked.
    pub(super) fn can_ask(&self, questions: Questions) -> bool {
        questions == Questions::Allowed && self.prompter.can_ask()
    }

    /// Asks for something that is good for this moment only.
    pub(super) async fn ask(
        &self,
        question: &str,
        echo: Echo,
    ) -> Result<Zeroizing<String>, Unanswered> {
        self.prompter.ask(question, echo).await
    }

    /// The key in a file; asks for its passphrase once, up to three times.
    pub(super) async fn open(&self, file: &KeyFile, questions: Questions) -> Opened {
        if let Some(key) = &file.plain {
            return Ok(key.clone());
        }
        let shown = file.path.display();
        let remedy = format!("add it to the agent with `ssh-add {shown}`");
        let cell = lock(&self.keys)
            .entry(file.path.clone())
            .or_default()
            .clone();
        if cell.get().is_none() && questions == Questions::Off {
            return Err(format!(
                "{shown} has a passphrase, and BatchMode allows no question: {remedy}"
            ));
        }
        cell.get_or_init(|| async {
            let mut question = format!("Enter passphrase for key '{shown}': ");
            for _ in 0..PASSPHRASE_TRIES {
                let passphrase = match self.prompter.ask(&question, Echo::Hidden).await {
                    Ok(answer) if answer.is_empty() => {
                        return Err(format!(
                            "{shown} has a passphrase, which was not given: {remedy}"
                        ));
                    }
                    Ok(answer) => answer,
                    Err(Unanswered::Nobody) => {
                        return Err(format!(
                            "{shown} has a passphrase, and {}; or {remedy}",
                            Unanswered::Nobody
                        ));
                    }
                    Err(error) => {
                        return Err(format!("{shown} has a passphrase, and {error}: {remedy}"));
                    }
                };
                let path = file.path.clone();
                // Made slow on purpose, for those who guess.
                let opened = tokio::task::spawn_blocking(move || {
                    let text = read(&path)?;
                    decode_secret_key(&text, Some(&passphrase)).map_err(|error| error.to_string())
                })
                .await
                .map_err(|error| error.to_string())?;
                if let Ok(key) = opened {
                    return Ok(Arc::new(key));
                }
                question = format!("Bad passphrase, try again for key '{shown}': ");
            }
            Err(format!(
                "{shown}: the passphrase was wrong {PASSPHRASE_TRIES} times: {remedy}"
            ))
        })
        .await
        .clone()
    }

    /// The password of a realm: the one that is known, or one that is asked for. `refused` are the turns so far of this
    /// connection that the host has refused.
    pub(super) async fn password(
        &self,
        realm: &Realm,
        host: &str,
        question: &str,
        before: Option<Turn>,
    ) -> Result<Turn, String> {
        let own = format!("{}@{host}", realm.user);
        let first = match before {
            // Another try of the one whose turn it is.
            Some(Turn {
                first: Some(mut guard),
                ..
            }) => {
                *guard = Password::Unknown;
                Some(guard)
            }
            // The realm's password is right elsewhere: this host has one of its own.
            Some(Turn { first: None, .. }) => {
                lock(&self.own).remove(&own);
                let question = format!(
                    "The answer that was right for {} is not for this host.\n{question}",
                    realm.shown()
                );
                let secret = self.type_in(&question).await?;
                return Ok(Turn {
                    secret,
                    first: None,
                    own: Some(own),
                });
            }
            None => {
                if let Some(secret) = lock(&self.own).get(&own) {
                    return Ok(Turn {
                        secret: secret.clone(),
                        first: None,
                        own: Some(own),
                    });
                }
                None
            }
        };
        let mut guard = if let Some(guard) = first {
            guard
        } else {
            let realm = lock(&self.realms).entry(realm.clone()).or_default().clone();
            realm.lock_owned().await
        };
        let (secret, is_proven) = match &*guard {
            Password::Proven(secret) => (secret.clone(), true),
            Password::Given(secret) => (secret.clone(), false),
            Password::Withheld(why) => return Err(why.clone()),
            Password::Unknown => {
                let question = format!(
                    "The answer is also tried for {} on {}.\n{question}",
                    crate::prompt::strangers(&realm.user),
                    realm.shown()
                );
                match self.type_in(&question).await {
                    Ok(secret) => {
                        *guard = Password::Given(secret.clone());
                        (secret, false)
                    }
                    Err(why) => {
                        *guard = Password::Withheld(why.clone());
                        return Err(why);
                    }
                }
            }
        };
        Ok(Turn {
            secret,
            first: (!is_proven).then_some(guard),
            own: None,
        })
    }

    async fn type_in(&self, question: &str) -> Result<Secret, String> {
        match self.prompter.ask(question, Echo::Hidden).await {
            Ok(answer) if answer.is_empty() => Err(Unanswered::Declined.to_string()),
            Ok(answer) => Ok(Arc::new(answer)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The host has accepted the password.
    pub(super) fn accepted(&self, turn: Turn) {
        if let Some(mut guard) = turn.first {
            *guard = Password::Proven(turn.secret.clone());
        } else if let Some(own) = turn.own {
            lock(&self.own).insert(own, turn.secret);
        }
    }

    /// The host has refused it, and it is not asked for again here.
    pub(super) fn refused(turn: Turn) {
        if let Some(mut guard) = turn.first {
            *guard = Password::Unknown;
        }
    }
}

impl Turn {
    /// Whether a host has accepted it before.
    pub(super) fn is_proven(&self) -> bool {
        self.first.is_none() && self.own.is_none()
    }
}

impl KeyFile {
    /// Looks at a file; `None` if there is none.
    pub(super) fn look(path: &Path) -> Result<Option<Self>, String> {
        if !path.exists() {
            return Ok(None);
        }
        let text = read(path)?;
        let (public, plain) = match decode_secret_key(&text, None) {
            Ok(key) => (Some(key.public_key().clone()), Some(Arc::new(key))),
            Err(russh::keys::Error::KeyIsEncrypted) => {
                // OpenSSH's own format has the public half in the clear; for others it may lie beside.
                let public = PrivateKey::from_openssh(text.as_bytes())
                    .ok()
                    .map(|key| key.public_key().clone())
                    .or_else(|| load_public_key(with_suffix(path, ".pub")).ok());
                (public, None)
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok(Some(Self {
            path: path.to_owned(),
            public,
            plain,
        }))
    }
}

/// A file's name with something behind it.
pub(super) fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let length = fs::metadata(path).map_err(said)?.len();
    if length > KEY_FILE_BYTES {
        return Err(format!(
            "{}: it is larger than {} KiB, which no key is",
            path.display(),
            KEY_FILE_BYTES / 1024
        ));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_a_user_on_the_hosts_of_a_domain() {
        let same = |a: &str, b: &str| Realm::of("me", a) == Realm::of("me", b);
        assert!(same("web1.example.com", "WEB2.Example.com"));
        assert!(!same("web1.example.com", "web1.example.org"));
        assert!(!same("web1.example.com", "example.com"));
        assert!(same("web1", "web2"));
        assert!(!same("web1", "web1.example.com"));
        assert!(same("10.0.0.1", "10.0.0.200"));
        assert!(!same("10.0.0.1", "10.0.1.1"));
        assert!(same("fd00::1", "fd00::2"));
        assert_ne!(Realm::of("me", "web1"), Realm::of("you", "web1"));
    }
}
