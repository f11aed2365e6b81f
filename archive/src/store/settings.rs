//! What can be said about a bucket and the way to it: the section `[s3]` of a configuration file.
//!
//! Owns the settings and their limits. What they mean to the library that talks to S3 is `s3`'s business.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// The limits on `connect_timeout_seconds`.
const CONNECT_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;

/// The limits on `request_timeout_seconds`.
const REQUEST_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The most tags on an object, in tags; S3's own limit.
const MAX_TAGS: usize = 10;

/// The longest name and value of a tag, in characters; S3's own limits.
const MAX_TAG_NAME_CHARS: usize = 128;
const MAX_TAG_VALUE_CHARS: usize = 256;

/// The longest of the other texts, in bytes.
const MAX_TEXT_BYTES: usize = 2048;

/// How a bucket is reached and how objects are kept in it. Unknown keys are errors. Credentials do not belong here: they come
/// from where AWS's own tools look for them (environment, shared files, web identity, container, instance).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    /// The address of a server that speaks S3's protocol, as `https://host:port`; AWS's own where it is not set.
    pub endpoint: Option<String>,
    /// Where the bucket's name stands in an address.
    pub addressing: Addressing,
    /// The bucket's region; else what environment, profile or instance say.
    pub region: Option<String>,
    /// The profile in the shared files of configuration and credentials.
    pub profile: Option<String>,
    /// A file of credentials in the format of AWS's shared file, in place of the one in the home folder.
    pub credentials_file: Option<PathBuf>,
    /// The role to assume, by its ARN.
    pub role_arn: Option<String>,
    /// What the role's trust policy asks for, if it does.
    pub external_id: Option<String>,
    /// What the role's sessions are called.
    pub session_name: Option<String>,
    /// The address of the service that roles are assumed at; AWS's own where it is not set.
    pub sts_endpoint: Option<String>,
    /// The key of KMS that objects are encrypted with, by id, ARN or alias; the bucket's default where it is not set.
    pub kms_key_id: Option<String>,
    /// The storage class of data objects. The small ones of the state are always `STANDARD`.
    pub storage_class: Option<StorageClass>,
    /// The tags of every object that is written.
    pub tags: BTreeMap<String, String>,
    /// When checksums are sent and asked for.
    pub checksums: Checksums,
    /// How long a connection may take to come about, in seconds.
    pub connect_timeout_seconds: u64,
    /// How long a request may go without a byte moving, in seconds; then it is given up, at the latest after twice as long. A
    /// slow upload that moves is left alone, however long it takes.
    pub request_timeout_seconds: u64,
}

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// In the path if an endpoint is set, else in the host's name.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    VirtualHost,
}

/// The storage classes that objects can be read from at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are S3's own")]
pub enum StorageClass {
    Standard,
    StandardIa,
    OnezoneIa,
    IntelligentTiering,
    GlacierIr,
}

/// When checksums are sent and asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksums {
    /// Always: the other side checks what it gets against the digest, and so do we.
    #[default]
    WhenSupported,
    /// Only where an operation cannot do without: for servers that refuse the header.
    WhenRequired,
}

/// A setting has a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SettingsError {
    /// The key below `[s3]`.
    pub key: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            addressing: Addressing::default(),
            region: None,
            profile: None,
            credentials_file: None,
            role_arn: None,
            external_id: None,
            session_name: None,
            sts_endpoint: None,
            kms_key_id: None,
            storage_class: None,
            tags: BTreeMap::new(),
            checksums: Checksums::default(),
            connect_timeout_seconds: 10,
            request_timeout_seconds: 120,
        }
    }
}

impl S3Settings {
    /// Looks for what cannot be right, without asking anybody.
    pub fn check(&self) -> Result<(), SettingsError> {
        let error = |key, problem: &str| {
            Err(SettingsError {
                key,
                problem: problem.to_owned(),
            })
        };
        for (key, address) in [
            ("endpoint", &self.endpoint),
            ("sts_endpoint", &self.sts_endpoint),
        ] {
            if address.as_deref().is_some_and(|text| !is_address(text)) {
                return error(
                    key,
                    "it has to be http://HOST, https://HOST or either with a :PORT",
                );
            }
        }
        for (key, text) in [
            ("region", &self.region),
            ("profile", &self.profile),
            ("role_arn", &self.role_arn),
            ("external_id", &self.external_id),
            ("session_name", &self.session_name),
            ("kms_key_id", &self.kms_key_id),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > MAX_TEXT_BYTES {
                return error(key, "it has to have 1 to 2048 bytes");
            }
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return error(
                    key,
                    "only printable ASCII characters without spaces are allowed",
                );
            }
        }
        if self
            .role_arn
            .as_deref()
            .is_some_and(|arn| !arn.starts_with("arn:"))
        {
            return error(
                "role_arn",
                "it has to be an ARN, as arn:aws:iam::ACCOUNT:role/NAME",
            );
        }
        for (key, set) in [
            ("external_id", self.external_id.is_some()),
            ("session_name", self.session_name.is_some()),
            ("sts_endpoint", self.sts_endpoint.is_some()),
        ] {
            if set && self.role_arn.is_none() {
                return error(key, "it means nothing without role_arn");
            }
        }
        if self.tags.len() > MAX_TAGS {
            return error("tags", "at most 10 are allowed");
        }
        for (name, value) in &self.tags {
            let lengths = (1..=MAX_TAG_NAME_CHARS).contains(&name.chars().count())
                && value.chars().count() <= MAX_TAG_VALUE_CHARS;
            if !lengths || name.chars().chain(value.chars()).any(char::is_control) {
                return error(
                    "tags",
                    "a name has 1 to 128 characters, a value at most 256, none of them a control character",
                );
            }
            if name.starts_with("aws:") {
                return error("tags", "names that begin with `aws:` are AWS's own");
            }
        }
        for (key, value, allowed) in [
            (
                "connect_timeout_seconds",
                self.connect_timeout_seconds,
                CONNECT_TIMEOUT_SECONDS,
            ),
            (
                "request_timeout_seconds",
                self.request_timeout_seconds,
                REQUEST_TIMEOUT_SECONDS,
            ),
        ] {
            if !allowed.contains(&value) {
                return Err(SettingsError {
                    key,
                    problem: format!(
                        "it has to be {} to {}, not {value}",
                        allowed.start(),
                        allowed.end()
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Whether a text is an address without path, query and user.
fn is_address(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        !rest.is_empty()
            && rest.len() <= MAX_TEXT_BYTES
            && rest.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut S3Settings)) -> Result<(), SettingsError> {
        let mut settings = S3Settings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn an_empty_section_is_a_fine_one() {
        let read: S3Settings = serde_json::from_str("{}").unwrap();
        assert_eq!(read, S3Settings::default());
        read.check().unwrap();
    }

    #[test]
    fn every_key_is_read() {
        let read: S3Settings = serde_json::from_str(
            r#"{"endpoint": "http://127.0.0.1:9000/", "addressing": "virtual-host", "region": "eu-west-1", "profile": "logs",
                "credentials_file": "/etc/shipper/credentials", "role_arn": "arn:aws:iam::1:role/a", "external_id": "x",
                "session_name": "shipper", "sts_endpoint": "https://sts.eu-west-1.amazonaws.com", "kms_key_id": "alias/logs",
                "storage_class": "INTELLIGENT_TIERING", "tags": {"team": "a b"}, "checksums": "when-required",
                "connect_timeout_seconds": 3, "request_timeout_seconds": 60}"#,
        )
        .unwrap();
        read.check().unwrap();
        assert_eq!(read.addressing, Addressing::VirtualHost);
        assert_eq!(read.storage_class, Some(StorageClass::IntelligentTiering));
        assert_eq!(read.checksums, Checksums::WhenRequired);
    }

    #[test]
    fn unknown_keys_and_values_are_errors_that_say_what_is_allowed() {
        for (text, expected) in [
            (r#"{"endpiont": "x"}"#, "`endpoint`"),
            (r#"{"addressing": "dns"}"#, "`virtual-host`"),
            (r#"{"storage_class": "GLACIER"}"#, "`GLACIER_IR`"),
        ] {
            let error = serde_json::from_str::<S3Settings>(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn values_that_cannot_be_right_are_named() {
        let text = |text: &str| Some(text.to_owned());
        for (result, key) in [
            (
                settings(|s| s.endpoint = text("127.0.0.1:9000")),
                "endpoint",
            ),
            (settings(|s| s.endpoint = text("http://a/b")), "endpoint"),
            (settings(|s| s.endpoint = text("http://u@a")), "endpoint"),
            (settings(|s| s.region = text("")), "region"),
            (settings(|s| s.region = text("a\r\nb")), "region"),
            (settings(|s| s.role_arn = text("logs")), "role_arn"),
            (settings(|s| s.external_id = text("x")), "external_id"),
            (
                settings(|s| {
                    s.tags.insert("aws:x".to_owned(), String::new());
                }),
                "tags",
            ),
            (
                settings(|s| s.request_timeout_seconds = 0),
                "request_timeout_seconds",
            ),
            (
                settings(|s| s.connect_timeout_seconds = 301),
                "connect_timeout_seconds",
            ),
        ] {
            assert_eq!(result.unwrap_err().key, key);
        }
    }
}
