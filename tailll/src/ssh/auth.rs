//! Logging in: which keys and certificates are offered in which order, which of a server's questions are passed on to a
//! person, and what is said when nothing is accepted.
//!
//! The order is OpenSSH's: the agent's keys that the configuration names, its other keys, key files; then the server's
//! questions; then a password. A file's passphrase is asked for only when the server would take its key. What is typed is
//! remembered by `secrets`.

use std::fmt::Write as _;
use std::sync::Arc;

use russh::client::{self, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{
    Algorithm, Certificate, HashAlg, PrivateKey, PublicKey, load_openssh_certificate,
    load_public_key,
};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;

use super::secrets::{KeyFile, OpenQuestions, Realm, Secret, Secrets, Turn, with_suffix};
use super::{AgentKeys, Client, ConnectError, Dial, host_key};
use crate::prompt::{Echo, Unanswered, strangers};
use crate::ssh_config::rules::{LoginRules, Method, Questions};

/// Keys and certificates tried on one connection, at most: OpenSSH's server hangs up at six.
const LOGINS_PER_CONNECTION: usize = 6;

/// Methods that a server may want one after the other (a key and then a code, say).
const PARTS_OF_A_LOGIN: usize = 8;

/// Questions of a server in one round, at most.
const QUESTIONS_A_ROUND: usize = 8;

/// Rounds of questions in one try, at most.
const ROUNDS: usize = 8;

/// How to log in beside the keys.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The host as it was asked for, for people.
    pub shown: String,
    /// Which methods, and whether anybody may be asked.
    pub rules: LoginRules,
    /// What people have typed so far.
    pub secrets: Arc<Secrets>,
}

/// How one method went.
enum Went {
    /// We are in.
    In,
    /// It was right, and the server wants more.
    Part(MethodSet),
    /// It was not.
    Refused(MethodSet),
    /// It was not tried; somebody or something is missing.
    NotTried,
    /// Nobody wants to answer: this ends the login.
    Declined(String),
}

/// One login under way.
struct LogIn<'a> {
    handle: &'a mut client::Handle<Client>,
    dial: &'a Dial,
    open: &'a OpenQuestions,
    /// What the server has refused.
    tried: Vec<String>,
    /// What went wrong on our side.
    failed: Vec<String>,
}

/// A key or certificate to offer, and who can sign for it.
struct Offer {
    what: What,
    signer: Holder,
    /// For people.
    shown: String,
}

enum What {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

/// Who has the private key.
#[derive(Clone)]
enum Holder {
    Agent,
    File(KeyFile),
}

pub(super) async fn log_in(
    handle: &mut client::Handle<Client>,
    dial: &Dial,
    open: &OpenQuestions,
) -> Result<(), ConnectError> {
    let mut login = LogIn {
        handle,
        dial,
        open,
        tried: Vec::new(),
        failed: Vec::new(),
    };
    login.run().await
}

impl LogIn<'_> {
    async fn run(&mut self) -> Result<(), ConnectError> {
        let mut remaining = match self
            .handle
            .authenticate_none(self.dial.user.clone())
            .await
            .map_err(|error| broke_off(&error))?
        {
            client::AuthResult::Success => return Ok(()),
            client::AuthResult::Failure {
                remaining_methods, ..
            } => remaining_methods,
        };
        let mut offers: Option<(Option<AgentClient<UnixStream>>, std::vec::IntoIter<Offer>)> = None;
        let mut used: Vec<Method> = Vec::new();
        for _ in 0..PARTS_OF_A_LOGIN * 3 {
            let next = self
                .dial
                .credentials
                .rules
                .methods
                .iter()
                .copied()
                .find(|method| remaining.contains(&kind(*method)) && !used.contains(method));
            let Some(method) = next else {
                break;
            };
            let went = match method {
                Method::PublicKey => {
                    if offers.is_none() {
                        let mut agent = self.connect_agent().await;
                        let found = self.offers(agent.as_mut()).await;
                        offers = Some((agent, found.into_iter()));
                    }
                    match &mut offers {
                        Some((agent, offers)) => self.by_key(agent.as_mut(), offers).await?,
                        None => Went::NotTried,
                    }
                }
                Method::KeyboardInteractive => self.by_questions().await?,
                Method::Password => self.by_password().await?,
            };
            match went {
                Went::In => return Ok(()),
                Went::Part(wanted) => {
                    remaining = wanted;
                    used.clear();
                }
                Went::Refused(left) => {
                    remaining = left;
                    used.push(method);
                }
                Went::NotTried => used.push(method),
                Went::Declined(why) => {
                    self.failed.push(why);
                    break;
                }
            }
        }
        Err(ConnectError::Login(self.failure(&remaining)))
    }

    fn failure(&self, remaining: &MethodSet) -> String {
        let mut text = format!("permission denied for user {}", self.dial.user);
        if self.tried.is_empty() {
            text.push_str(": there is no key to try");
        } else {
            text.push_str(": not accepted were ");
            text.push_str(&self.tried.join(", "));
        }
        for failure in &self.failed {
            text.push_str("; ");
            text.push_str(failure);
        }
        let wanted: Vec<&str> = remaining.iter().map(<&str>::from).collect();
        if !wanted.is_empty() {
            text.push_str("; the server takes ");
            text.push_str(&wanted.join(", "));
        }
        text.push_str("; load the right key with ssh-add, name it with IdentityFile, or log in as somebody else with --user");
        text
    }

    async fn connect_agent(&mut self) -> Option<AgentClient<UnixStream>> {
        let path = self.dial.identities.agent.as_ref()?;
        match AgentClient::connect_uds(path).await {
            Ok(agent) => Some(agent),
            Err(error) => {
                self.failed
                    .push(format!("no agent answers at {}: {error}", path.display()));
                None
            }
        }
    }

    /// All that may be offered, in order, each key once; a certificate comes before its plain key.
    async fn offers(&mut self, agent: Option<&mut AgentClient<UnixStream>>) -> Vec<Offer> {
        let offered = match agent {
            Some(agent) => match agent.request_identities().await {
                Ok(offered) => offered,
                Err(error) => {
                    self.failed
                        .push(format!("the agent gives no keys: {error}"));
                    Vec::new()
                }
            },
            None => Vec::new(),
        };
        let identities = &self.dial.identities;
        let mut files = Vec::new();
        let mut named: Vec<PublicKey> = Vec::new();
        let mut certificates: Vec<(String, Certificate)> = Vec::new();
        for path in &identities.files {
            match KeyFile::look(path) {
                Ok(Some(file)) => files.push(file),
                Ok(None) => {}
                Err(why) => self.failed.push(why),
            }
            // The public half alone chooses a key of the agent.
            if let Ok(key) = load_public_key(with_suffix(path, ".pub")) {
                named.push(key);
            }
            let beside = with_suffix(path, "-cert.pub");
            if identities.certificates.is_empty() && beside.exists() {
                self.certificate(&beside, &mut certificates);
            }
        }
        for path in &identities.certificates {
            self.certificate(path, &mut certificates);
        }
        named.extend(files.iter().filter_map(|file| file.public.clone()));
        let is_named = |identity: &AgentIdentity| {
            named
                .iter()
                .any(|key| key.key_data() == identity.public_key().key_data())
        };
        let (mut from_agent, others): (Vec<_>, Vec<_>) = offered.into_iter().partition(is_named);
        if identities.offer == AgentKeys::All {
            from_agent.extend(others);
        }
        let mut offers: Vec<Offer> = Vec::new();
        // Certificates in files, for whoever holds their key.
        for (shown, certificate) in certificates {
            let data = certificate.public_key();
            let held_by_agent = from_agent
                .iter()
                .any(|identity| identity.public_key().key_data() == data);
            let file = files.iter().find(|file| {
                file.public
                    .as_ref()
                    .is_some_and(|key| key.key_data() == data)
            });
            let signer = match (held_by_agent, file) {
                (true, _) => Holder::Agent,
                (false, Some(file)) => Holder::File(file.clone()),
                (false, None) => {
                    self.failed.push(format!(
                        "nobody has the private key of the {shown}: name it with IdentityFile, or add it to the agent with ssh-add"
                    ));
                    continue;
                }
            };
            offers.push(Offer {
                what: What::Certificate(Box::new(certificate)),
                signer,
                shown,
            });
        }
        for identity in from_agent {
            offers.push(match identity {
                AgentIdentity::PublicKey { key, comment } => Offer {
                    what: What::Key(key),
                    signer: Holder::Agent,
                    shown: format!("agent key {}", strangers(&comment)),
                },
                AgentIdentity::Certificate {
                    certificate,
                    comment,
                } => Offer {
                    shown: describe(
                        &format!("agent certificate {}", strangers(&comment)),
                        &certificate,
                    ),
                    what: What::Certificate(Box::new(certificate)),
                    signer: Holder::Agent,
                },
            });
        }
        for file in files {
            let shown = file.path.display().to_string();
            let public = if let Some(public) = &file.public {
                public.clone()
            } else {
                // Only its passphrase opens the public half too.
                let opened = self.dial.credentials.secrets.open(&file, self.questions());
                match self.open.wait(opened).await {
                    Ok(key) => key.public_key().clone(),
                    Err(why) => {
                        self.failed.push(why);
                        continue;
                    }
                }
            };
            offers.push(Offer {
                what: What::Key(public),
                signer: Holder::File(file),
                shown,
            });
        }
        let mut seen: Vec<Vec<u8>> = Vec::new();
        offers.retain(|offer| {
            let blob = match &offer.what {
                What::Key(key) => key.to_bytes(),
                What::Certificate(certificate) => certificate.to_bytes(),
            }
            .unwrap_or_default();
            let new = !seen.contains(&blob);
            seen.push(blob);
            new
        });
        offers
    }

    fn certificate(
        &mut self,
        path: &std::path::Path,
        certificates: &mut Vec<(String, Certificate)>,
    ) {
        match load_openssh_certificate(path) {
            Ok(certificate) if certificate.cert_type().is_user() => certificates.push((
                describe(&format!("certificate {}", path.display()), &certificate),
                certificate,
            )),
            Ok(_) => self.failed.push(format!(
                "{} is a host's certificate and not a user's",
                path.display()
            )),
            Err(error) => self.failed.push(format!("{}: {error}", path.display())),
        }
    }

    fn questions(&self) -> Questions {
        self.dial.credentials.rules.questions
    }

    /// The hash to sign with, which only RSA has a choice of; the outer `None` if the key may not be used.
    async fn hash_for(&self, what: &What) -> Result<Option<Option<HashAlg>>, ConnectError> {
        let list = &self.dial.credentials.rules.algorithms.login_keys;
        let allowed = |algorithm: &Algorithm| {
            list.allows(&match what {
                What::Key(_) => algorithm.as_str().to_owned(),
                What::Certificate(_) => algorithm.to_certificate_type(),
            })
        };
        let algorithm = match what {
            What::Key(key) => key.algorithm(),
            What::Certificate(certificate) => certificate.algorithm(),
        };
        if !matches!(algorithm, Algorithm::Rsa { .. }) {
            return Ok(allowed(&algorithm).then_some(None));
        }
        // A server that does not say takes SHA-512 since OpenSSH 7.2.
        let best = self
            .handle
            .best_supported_rsa_hash()
            .await
            .map_err(|error| ConnectError::Protocol(error.to_string()))?
            .flatten()
            .unwrap_or(HashAlg::Sha512);
        Ok([best, HashAlg::Sha256]
            .into_iter()
            .map(Some)
            .find(|hash| allowed(&Algorithm::Rsa { hash: *hash })))
    }

    /// Offers keys until one is taken.
    async fn by_key(
        &mut self,
        mut agent: Option<&mut AgentClient<UnixStream>>,
        offers: &mut std::vec::IntoIter<Offer>,
    ) -> Result<Went, ConnectError> {
        let mut left = None;
        while self.tried.len() < LOGINS_PER_CONNECTION {
            let Some(offer) = offers.next() else {
                break;
            };
            let Some(hash) = self.hash_for(&offer.what).await? else {
                self.failed.push(format!(
                    "{} is left out by PubkeyAcceptedAlgorithms",
                    offer.shown
                ));
                continue;
            };
            let mut signer = Signer {
                agent: agent.as_deref_mut(),
                holder: &offer.signer,
                secrets: &self.dial.credentials.secrets,
                questions: self.questions(),
                open: self.open,
            };
            let user = self.dial.user.clone();
            let answer = match offer.what {
                What::Key(key) => {
                    self.handle
                        .authenticate_publickey_with(user, key, hash, &mut signer)
                        .await
                }
                What::Certificate(certificate) => {
                    self.handle
                        .authenticate_certificate_with(user, *certificate, hash, &mut signer)
                        .await
                }
            };
            match answer {
                Ok(client::AuthResult::Success) => return Ok(Went::In),
                Ok(client::AuthResult::Failure {
                    remaining_methods,
                    partial_success: true,
                }) => return Ok(Went::Part(remaining_methods)),
                Ok(client::AuthResult::Failure {
                    remaining_methods, ..
                }) => {
                    self.tried.push(offer.shown);
                    let over = !remaining_methods.contains(&MethodKind::PublicKey);
                    left = Some(remaining_methods);
                    if over {
                        break;
                    }
                }
                Err(SignError::Gone) => {
                    return Err(ConnectError::Protocol(
                        "the connection broke while logging in".to_owned(),
                    ));
                }
                Err(SignError::Failed(why)) => {
                    // The server would have taken this key.
                    self.failed.push(match &offer.signer {
                        Holder::Agent => format!("{}: {why}", offer.shown),
                        Holder::File(_) => why,
                    });
                }
            }
        }
        Ok(left.map_or(Went::NotTried, Went::Refused))
    }

    fn may_ask(&mut self, method: Method) -> bool {
        let credentials = &self.dial.credentials;
        if credentials.secrets.can_ask(credentials.rules.questions) {
            return true;
        }
        self.failed.push(match credentials.rules.questions {
            Questions::Off => format!("{} is not tried with BatchMode yes", method.name()),
            Questions::Allowed => format!(
                "{} is not tried, since {}",
                method.name(),
                Unanswered::Nobody
            ),
        });
        false
    }

    /// The host in questions, as OpenSSH shows it.
    fn me_at_host(&self) -> String {
        format!(
            "({}@{})",
            strangers(&self.dial.user),
            strangers(&self.dial.credentials.shown)
        )
    }

    fn place(&self) -> String {
        format!("{}:{}", self.dial.hostname, self.dial.port)
    }

    async fn by_password(&mut self) -> Result<Went, ConnectError> {
        if !self.may_ask(Method::Password) {
            return Ok(Went::NotTried);
        }
        let dial = self.dial;
        let secrets = &dial.credentials.secrets;
        let realm = Realm::of(&dial.user, &dial.hostname);
        let (place, question) = (self.place(), format!("{} Password: ", self.me_at_host()));
        let mut turn: Option<Turn> = None;
        let mut left = None;
        for _ in 0..dial.credentials.rules.password_prompts {
            let asked = secrets.password(&realm, &place, &question, turn.take());
            let now = match self.open.wait(asked).await {
                Ok(now) => now,
                Err(why) => return Ok(Went::Declined(format!("password: {why}"))),
            };
            let answer = self
                .handle
                .authenticate_password(dial.user.clone(), now.secret.as_str())
                .await
                .map_err(|error| broke_off(&error))?;
            match answer {
                client::AuthResult::Success => {
                    secrets.accepted(now);
                    return Ok(Went::In);
                }
                client::AuthResult::Failure {
                    remaining_methods,
                    partial_success: true,
                } => {
                    secrets.accepted(now);
                    return Ok(Went::Part(remaining_methods));
                }
                client::AuthResult::Failure {
                    remaining_methods, ..
                } => {
                    let over = !remaining_methods.contains(&MethodKind::Password);
                    left = Some(remaining_methods);
                    turn = Some(now);
                    if over {
                        break;
                    }
                }
            }
        }
        if let Some(turn) = turn {
            Secrets::refused(turn);
            self.tried.push("the password".to_owned());
        }
        Ok(left.map_or(Went::NotTried, Went::Refused))
    }

    /// Passes a server's questions on. See [`is_password`] for which answers are used again.
    async fn by_questions(&mut self) -> Result<Went, ConnectError> {
        if !self.may_ask(Method::KeyboardInteractive) {
            return Ok(Went::NotTried);
        }
        let secrets = self.dial.credentials.secrets.clone();
        let mut before: Option<Turn> = None;
        let mut left = None;
        for _ in 0..self.dial.credentials.rules.password_prompts {
            let mut turn: Option<Turn> = None;
            let mut asked = 0;
            let mut answer = self
                .handle
                .authenticate_keyboard_interactive_start(self.dial.user.clone(), None)
                .await
                .map_err(|error| broke_off(&error))?;
            let mut rounds = 0;
            let (remaining, is_part) = loop {
                let (name, instructions, prompts) = match answer {
                    KeyboardInteractiveAuthResponse::Success => {
                        if let Some(turn) = turn {
                            secrets.accepted(turn);
                        }
                        return Ok(Went::In);
                    }
                    KeyboardInteractiveAuthResponse::Failure {
                        remaining_methods,
                        partial_success,
                    } => break (remaining_methods, partial_success),
                    KeyboardInteractiveAuthResponse::InfoRequest {
                        name,
                        instructions,
                        prompts,
                    } => (name, instructions, prompts),
                };
                rounds += 1;
                if prompts.len() > QUESTIONS_A_ROUND || rounds > ROUNDS {
                    return Ok(Went::Declined(
                        "the server asks more questions than any login needs".to_owned(),
                    ));
                }
                let mut intro = String::new();
                for text in [&name, &instructions] {
                    if !text.trim().is_empty() {
                        let _ = writeln!(intro, "{} {}", self.me_at_host(), strangers(text));
                    }
                }
                let mut answers: Vec<Secret> = Vec::new();
                for prompt in prompts {
                    asked += 1;
                    let question = format!(
                        "{intro}{} {} ",
                        self.me_at_host(),
                        strangers(&prompt.prompt)
                    );
                    intro.clear();
                    let echo = if prompt.echo {
                        Echo::Shown
                    } else {
                        Echo::Hidden
                    };
                    let given =
                        if turn.is_none() && echo == Echo::Hidden && is_password(&prompt.prompt) {
                            let realm = Realm::of(&self.dial.user, &self.dial.hostname);
                            let place = self.place();
                            let asked = secrets.password(&realm, &place, &question, before.take());
                            self.open.wait(asked).await.map(|now| {
                                let secret = now.secret.clone();
                                turn = Some(now);
                                secret
                            })
                        } else {
                            self.open
                                .wait(secrets.ask(&question, echo))
                                .await
                                .map(Arc::new)
                                .map_err(|error| error.to_string())
                        };
                    match given {
                        Ok(secret) => answers.push(secret),
                        Err(why) => {
                            return Ok(Went::Declined(format!("keyboard-interactive: {why}")));
                        }
                    }
                }
                let answers = answers
                    .iter()
                    .map(|secret| secret.as_str().to_owned())
                    .collect();
                answer = self
                    .handle
                    .authenticate_keyboard_interactive_respond(answers)
                    .await
                    .map_err(|error| broke_off(&error))?;
            };
            if is_part {
                if let Some(turn) = turn {
                    secrets.accepted(turn);
                }
                return Ok(Went::Part(remaining));
            }
            let over = !remaining.contains(&MethodKind::KeyboardInteractive);
            left = Some(remaining);
            // A password that was right elsewhere and a code: it was the code that was wrong.
            before = turn.filter(|turn| !(turn.is_proven() && asked > 1));
            if over || asked == 0 {
                break;
            }
        }
        if let Some(turn) = before {
            Secrets::refused(turn);
        }
        self.tried.push("the answers to its questions".to_owned());
        Ok(left.map_or(Went::NotTried, Went::Refused))
    }
}

/// Whether a server's question, whose answer is not shown, is for the password of a login: `Password:` alone or behind who it
/// is for. Only such an answer may be used again, for other hosts of the realm; anything else may be a code for one use, or
/// something that only this server should get.
fn is_password(prompt: &str) -> bool {
    let prompt = prompt.trim().to_ascii_lowercase();
    let Some(before) = prompt.strip_suffix("password:") else {
        return false;
    };
    let before = before.trim_end();
    before.is_empty()
        || before.ends_with("'s")
        || (before.starts_with('(') && before.ends_with(')'))
}

fn kind(method: Method) -> MethodKind {
    match method {
        Method::PublicKey => MethodKind::PublicKey,
        Method::KeyboardInteractive => MethodKind::KeyboardInteractive,
        Method::Password => MethodKind::Password,
    }
}

fn broke_off(error: &russh::Error) -> ConnectError {
    ConnectError::Protocol(format!("the login broke off: {error}"))
}

/// A certificate with what a server may refuse it for.
fn describe(what: &str, certificate: &Certificate) -> String {
    let principals = match certificate.valid_principals() {
        [] => "nobody".to_owned(),
        some => strangers(&some.join(", ")),
    };
    format!(
        "{what} (for {principals}, valid {}, key id {})",
        host_key::validity(certificate),
        strangers(certificate.key_id())
    )
}

/// Signs when the server would take the key, and not before: then a passphrase is asked for.
struct Signer<'a> {
    agent: Option<&'a mut AgentClient<UnixStream>>,
    holder: &'a Holder,
    secrets: &'a Secrets,
    questions: Questions,
    open: &'a OpenQuestions,
}

/// Why there is no signature.
enum SignError {
    /// The connection is gone.
    Gone,
    /// This key cannot sign; why.
    Failed(String),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Gone
    }
}

impl russh::Signer for Signer<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        match (self.holder, &mut self.agent) {
            (Holder::File(file), _) => {
                let opened = self.secrets.open(file, self.questions);
                let private = self.open.wait(opened).await.map_err(SignError::Failed)?;
                sign(&private, hash, &mut to_sign)
                    .map_err(|why| SignError::Failed(format!("{}: {why}", file.path.display())))?;
                Ok(to_sign)
            }
            (Holder::Agent, Some(agent)) => agent
                .sign_request(key, hash, to_sign)
                .await
                .map_err(|error| SignError::Failed(format!("the agent does not sign: {error}"))),
            (Holder::Agent, None) => Err(SignError::Failed("the agent is gone".to_owned())),
        }
    }
}

/// Puts the signature of the bytes behind them.
fn sign(key: &PrivateKey, hash: Option<HashAlg>, bytes: &mut Vec<u8>) -> Result<(), String> {
    let signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(bytes),
        pair => pair.try_sign(bytes),
    }
    .map_err(|error| error.to_string())?;
    signature
        .encode_prefixed(bytes)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_plain_question_for_a_password_is_one() {
        for yes in [
            "Password:",
            "Password: ",
            "password:",
            "(me@web1) Password: ",
            "me@web1's password: ",
        ] {
            assert!(is_password(yes), "{yes}");
        }
        for no in [
            "",
            "Password",
            "New password:",
            "Current password:",
            "One-time password:",
            "Verification code:",
            "Password (OTP):",
            "OTP password: ",
            "Passcode:",
        ] {
            assert!(!is_password(no), "{no}");
        }
    }
}
