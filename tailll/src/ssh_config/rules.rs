//! What OpenSSH's configuration says about logging in and about host keys, apart from the files with keys.
//!
//! Both sources of the configuration hand over keywords and values; what they mean is decided here.

use std::collections::BTreeMap;

use super::algorithms::{AlgorithmList, Algorithms};

/// The keywords that are read here, as `ssh -G` writes them.
pub(super) const KEYWORDS: [&str; 14] = [
    "batchmode",
    "ciphers",
    "hashknownhosts",
    "kbdinteractiveauthentication",
    "kexalgorithms",
    "macs",
    "numberofpasswordprompts",
    "passwordauthentication",
    "pkcs11provider",
    "preferredauthentications",
    "pubkeyacceptedalgorithms",
    // Its name before OpenSSH 8.5.
    "pubkeyacceptedkeytypes",
    "pubkeyauthentication",
    "revokedhostkeys",
];

/// Questions about one password, unless configured: as many as OpenSSH asks.
const PASSWORD_PROMPTS: u32 = 3;

/// The most questions about one password that may be configured.
const MAX_PASSWORD_PROMPTS: u32 = 20;

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRules {
    /// Whether anybody may be asked anything.
    pub questions: Questions,
    /// The methods, in this order.
    pub methods: Vec<Method>,
    /// How often a password is asked for on one connection.
    pub password_prompts: u32,
    /// A file of host keys that are never accepted, with its tokens.
    pub revoked_host_keys: Option<String>,
    /// How new host keys are written down.
    pub names: KnownNames,
    /// A library that holds keys, which is not supported.
    pub pkcs11_provider: Option<String>,
    /// Which algorithms may be used.
    pub algorithms: Algorithms,
}

/// Whether anybody may be asked anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questions {
    /// If there is somebody.
    Allowed,
    /// No (`BatchMode yes`).
    Off,
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With a key or a certificate.
    PublicKey,
    /// By answering the server's questions.
    KeyboardInteractive,
    /// With a password.
    Password,
}

/// How the names of hosts stand in known hosts that are written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownNames {
    /// As they are.
    Plain,
    /// Hashed (`HashKnownHosts yes`).
    Hashed,
}

impl Method {
    /// As the protocol names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublicKey => "publickey",
            Self::KeyboardInteractive => "keyboard-interactive",
            Self::Password => "password",
        }
    }
}

impl Default for LoginRules {
    fn default() -> Self {
        Self {
            questions: Questions::Allowed,
            methods: vec![
                Method::PublicKey,
                Method::KeyboardInteractive,
                Method::Password,
            ],
            password_prompts: PASSWORD_PROMPTS,
            revoked_host_keys: None,
            names: KnownNames::Plain,
            pkcs11_provider: None,
            algorithms: Algorithms::default(),
        }
    }
}

/// Keywords in lower case with their values; the first of each counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RuleWords(BTreeMap<String, String>);

impl RuleWords {
    /// Takes a keyword of [`KEYWORDS`], unless it was there before.
    pub(super) fn add(&mut self, keyword: &str, value: &str) {
        self.0
            .entry(keyword.to_owned())
            .or_insert_with(|| value.to_owned());
    }

    /// What they say; the keyword and value that make no sense otherwise.
    pub(super) fn rules(&self) -> Result<LoginRules, String> {
        let mut rules = LoginRules::default();
        let mut preferred: Option<Vec<&str>> = None;
        let mut off = Vec::new();
        for (keyword, value) in &self.0 {
            let wrong = || format!("{keyword} {value:?} is not understood");
            let is_yes = || match value.to_ascii_lowercase().as_str() {
                "yes" | "true" => Ok(true),
                "no" | "false" => Ok(false),
                _ => Err(wrong()),
            };
            let set = || Some(value.clone()).filter(|value| !value.eq_ignore_ascii_case("none"));
            match keyword.as_str() {
                "batchmode" if is_yes()? => rules.questions = Questions::Off,
                "hashknownhosts" if is_yes()? => rules.names = KnownNames::Hashed,
                "kbdinteractiveauthentication" if !is_yes()? => {
                    off.push(Method::KeyboardInteractive);
                }
                "passwordauthentication" if !is_yes()? => off.push(Method::Password),
                // It is `yes` in two other forms too.
                "pubkeyauthentication"
                    if matches!(value.to_ascii_lowercase().as_str(), "no" | "false") =>
                {
                    off.push(Method::PublicKey);
                }
                "numberofpasswordprompts" => {
                    rules.password_prompts = value
                        .parse::<u32>()
                        .map_err(|_| wrong())?
                        .min(MAX_PASSWORD_PROMPTS);
                }
                "ciphers" => rules.algorithms.ciphers = AlgorithmList::parse(value),
                "kexalgorithms" => rules.algorithms.key_exchanges = AlgorithmList::parse(value),
                "macs" => rules.algorithms.macs = AlgorithmList::parse(value),
                "pubkeyacceptedalgorithms" | "pubkeyacceptedkeytypes" => {
                    rules.algorithms.login_keys = AlgorithmList::parse(value);
                }
                "pkcs11provider" => rules.pkcs11_provider = set(),
                "revokedhostkeys" => rules.revoked_host_keys = set(),
                "preferredauthentications" => {
                    preferred = Some(value.split(',').map(str::trim).collect());
                }
                _ => {}
            }
        }
        if let Some(preferred) = preferred {
            rules.methods = preferred
                .iter()
                .filter_map(|name| {
                    LoginRules::default()
                        .methods
                        .into_iter()
                        .find(|method| method.name() == *name)
                })
                .collect();
        }
        rules.methods.retain(|method| !off.contains(method));
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(words: &[(&str, &str)]) -> Result<LoginRules, String> {
        let mut found = RuleWords::default();
        for (keyword, value) in words {
            found.add(keyword, value);
        }
        found.rules()
    }

    #[test]
    fn methods_come_in_the_configured_order_without_those_that_are_off() {
        assert_eq!(rules(&[]).unwrap(), LoginRules::default());
        let methods = |words: &[(&str, &str)]| {
            rules(words)
                .unwrap()
                .methods
                .iter()
                .map(|method| method.name())
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(
            methods(&[(
                "preferredauthentications",
                "password,gssapi-with-mic,publickey"
            )]),
            "password,publickey"
        );
        assert_eq!(
            methods(&[
                ("pubkeyauthentication", "no"),
                ("kbdinteractiveauthentication", "no")
            ]),
            "password"
        );
        assert_eq!(
            methods(&[("pubkeyauthentication", "unbound")]),
            "publickey,keyboard-interactive,password"
        );
    }

    #[test]
    fn the_first_value_counts_and_nonsense_is_said() {
        let found = rules(&[
            ("batchmode", "yes"),
            ("batchmode", "no"),
            ("hashknownhosts", "yes"),
            ("revokedhostkeys", "none"),
            ("pkcs11provider", "/lib/x.so"),
            ("numberofpasswordprompts", "1"),
        ])
        .unwrap();
        assert_eq!(found.questions, Questions::Off);
        assert_eq!(found.names, KnownNames::Hashed);
        assert_eq!(found.revoked_host_keys, None);
        assert_eq!(found.pkcs11_provider.as_deref(), Some("/lib/x.so"));
        assert_eq!(found.password_prompts, 1);
        assert_eq!(
            rules(&[("batchmode", "maybe")]).unwrap_err(),
            "batchmode \"maybe\" is not understood"
        );
    }
}
