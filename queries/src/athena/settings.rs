//! What can be said about Athena: the section `[athena]` of a configuration file.
//!
//! Owns the settings and their limits. Profile, credentials and role are those of the section `[s3]`.

use archive::key::LOGS;
use archive::store::Root;
use serde::Deserialize;

use crate::config::AthenaConfig;

use crate::estimate::{DOLLARS_PER_TB, MIN_CHARGED_BYTES};

/// The limits on `reuse_minutes`: seven days are Athena's own.
const REUSE_MINUTES: std::ops::RangeInclusive<u32> = 1..=7 * 24 * 60;

/// The limits on `connect_timeout_seconds`.
const CONNECT_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=300;

/// The limits on `request_timeout_seconds`.
const REQUEST_TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// The longest workgroup's name, in characters; Athena's own limit.
const MAX_WORKGROUP_CHARS: usize = 128;

/// The longest of the other texts, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// How Athena is reached, and what statements are run with. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AthenaSettings {
    /// The address of a server that speaks Athena's protocol; AWS's own where it is not set.
    pub endpoint: Option<String>,
    /// The region; else the bucket's, or what environment, profile or instance say.
    pub region: Option<String>,
    /// The workgroup.
    pub workgroup: String,
    /// Where answers go, as `s3://bucket/prefix/`; the workgroup's own place where it is not set. Never below the archive's
    /// root: Athena would read them as logs.
    pub output_location: Option<String>,
    /// The database of the tables.
    pub database: String,
    /// The catalogue that the database is in; Athena's default where it is not set.
    pub catalog: Option<String>,
    /// How old an earlier answer to the same text may be to be given again, in minutes. Athena does not look whether there are
    /// new rows, so it is off where it is not set.
    pub reuse_minutes: Option<u32>,
    /// How many bytes a statement may read before it is stopped. Athena is asked how far it is every few seconds, so it may read
    /// more; the workgroup's own limit is exact.
    pub max_scan_bytes: Option<u64>,
    /// The price of a TB read, in dollars.
    pub dollars_per_tb: f64,
    /// How long a connection may take to come about, in seconds.
    pub connect_timeout_seconds: u64,
    /// How long an answer to one request may take, in seconds.
    pub request_timeout_seconds: u64,
}

impl Default for AthenaSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            workgroup: "primary".to_owned(),
            output_location: None,
            database: "logs".to_owned(),
            catalog: None,
            reuse_minutes: None,
            max_scan_bytes: None,
            dollars_per_tb: DOLLARS_PER_TB,
            connect_timeout_seconds: 10,
            request_timeout_seconds: 60,
        }
    }
}

impl From<&AthenaConfig> for AthenaSettings {
    fn from(config: &AthenaConfig) -> Self {
        Self {
            endpoint: config.endpoint.clone(),
            workgroup: config.workgroup.clone(),
            // As Athena wants it: a folder.
            output_location: config
                .output_location
                .as_ref()
                .map(|root| format!("{}/", root.to_string().trim_end_matches('/'))),
            database: config.database.clone(),
            catalog: Some(config.catalog.clone()),
            reuse_minutes: config
                .reuse
                .map(|age| u32::try_from(age.as_secs() / 60).unwrap_or(u32::MAX)),
            max_scan_bytes: config.max_scan_bytes,
            dollars_per_tb: config.dollars_per_tb,
            ..Self::default()
        }
    }
}

/// A setting has a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct AthenaSettingsError {
    /// The key below `[athena]`.
    pub key: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl AthenaSettings {
    /// Looks for what cannot be right, without asking anybody.
    pub fn check(&self) -> Result<(), AthenaSettingsError> {
        let error = |key, problem: &str| {
            Err(AthenaSettingsError {
                key,
                problem: problem.to_owned(),
            })
        };
        for (key, text) in [
            ("endpoint", self.endpoint.as_deref()),
            ("region", self.region.as_deref()),
            ("workgroup", Some(self.workgroup.as_str())),
            ("output_location", self.output_location.as_deref()),
            ("database", Some(self.database.as_str())),
            ("catalog", self.catalog.as_deref()),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
                return error(key, "it is empty, longer than 1024 bytes, or no plain text");
            }
        }
        if let Some(endpoint) = &self.endpoint {
            let rest = ["http://", "https://"]
                .iter()
                .find_map(|scheme| endpoint.strip_prefix(scheme));
            let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@', '?', ' ']);
            if !rest.is_some_and(|rest| is_host(rest.strip_suffix('/').unwrap_or(rest))) {
                return error("endpoint", "it has to be https://HOST or https://HOST:PORT");
            }
        }
        let word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
        if self.workgroup.len() > MAX_WORKGROUP_CHARS || !self.workgroup.chars().all(word) {
            let problem = "up to 128 letters, digits, `.`, `_` and `-` are allowed";
            return error("workgroup", problem);
        }
        if let Some(location) = &self.output_location
            && !location
                .strip_prefix("s3://")
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        {
            return error("output_location", "it has to be s3://BUCKET/PREFIX/");
        }
        if self
            .reuse_minutes
            .is_some_and(|minutes| !REUSE_MINUTES.contains(&minutes))
        {
            return error("reuse_minutes", "1 to 10080 are allowed: seven days");
        }
        if self
            .max_scan_bytes
            .is_some_and(|bytes| bytes < MIN_CHARGED_BYTES)
        {
            let problem = "less than 10 MB makes nothing cheaper: that is what is paid at least";
            return error("max_scan_bytes", problem);
        }
        if !(self.dollars_per_tb.is_finite() && self.dollars_per_tb >= 0.0) {
            return error("dollars_per_tb", "it has to be a number from 0 on");
        }
        if !CONNECT_TIMEOUT_SECONDS.contains(&self.connect_timeout_seconds) {
            return error("connect_timeout_seconds", "1 to 300 are allowed");
        }
        if !REQUEST_TIMEOUT_SECONDS.contains(&self.request_timeout_seconds) {
            return error("request_timeout_seconds", "1 to 3600 are allowed");
        }
        Ok(())
    }

    /// Looks whether answers would lie among the archive's rows, where every later statement would read them.
    pub fn check_against(&self, archive: &Root) -> Result<(), AthenaSettingsError> {
        let rows = format!("{archive}/{LOGS}");
        let is_among = self
            .output_location
            .as_ref()
            .is_some_and(|place| format!("{}/", place.trim_end_matches('/')).starts_with(&rows));
        if is_among {
            return Err(AthenaSettingsError {
                key: "output_location",
                problem: format!("answers must not lie among the rows, below {rows}"),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut AthenaSettings)) -> Result<(), AthenaSettingsError> {
        let mut settings = AthenaSettings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn all_can_be_said_and_nothing_has_to_be() {
        settings(|_| ()).unwrap();
        let read: AthenaSettings = serde_json::from_str(
            r#"{"endpoint": "http://127.0.0.1:5000/", "region": "eu-west-1", "workgroup": "logs-forensic",
                "output_location": "s3://results/athena/", "database": "logs", "catalog": "AwsDataCatalog",
                "reuse_minutes": 60, "max_scan_bytes": 1000000000000, "dollars_per_tb": 5.5,
                "connect_timeout_seconds": 3, "request_timeout_seconds": 30}"#,
        )
        .unwrap();
        read.check().unwrap();
        assert_eq!(read.reuse_minutes, Some(60));
        let error = serde_json::from_str::<AthenaSettings>(r#"{"work_group": "x"}"#).unwrap_err();
        assert!(error.to_string().contains("`workgroup`"), "{error}");
    }

    #[test]
    fn answers_do_not_lie_among_the_rows() {
        for (archive, place, fits) in [
            ("s3://logs", "s3://logs/athena/", true),
            ("s3://logs", "s3://logs/logs/v1", false),
            ("s3://logs", "s3://logs/logs/v1/x/", false),
            ("s3://logs/a", "s3://logs/logs/v1/", true),
            ("s3://logs/a", "s3://logs/a/logs/v1/answers", false),
            ("file:///logs", "s3://logs/logs/v1/", true),
        ] {
            let settings = AthenaSettings {
                output_location: Some(place.to_owned()),
                ..AthenaSettings::default()
            };
            let checked = settings.check_against(&archive.parse().unwrap());
            assert_eq!(checked.is_ok(), fits, "{archive} {place}");
        }
        let nowhere = AthenaSettings::default();
        nowhere
            .check_against(&"s3://logs".parse().unwrap())
            .unwrap();
    }

    #[test]
    fn values_that_cannot_be_right_are_named() {
        let text = |text: &str| Some(text.to_owned());
        for (result, key) in [
            (settings(|s| s.endpoint = text("127.0.0.1:1")), "endpoint"),
            (settings(|s| s.endpoint = text("http://a/b")), "endpoint"),
            (settings(|s| s.endpoint = text("https://")), "endpoint"),
            (settings(|s| s.region = text("a\nb")), "region"),
            (settings(|s| s.workgroup = String::new()), "workgroup"),
            (settings(|s| s.workgroup = "a b".to_owned()), "workgroup"),
            (
                settings(|s| s.output_location = text("/tmp")),
                "output_location",
            ),
            (
                settings(|s| s.output_location = text("s3:///x")),
                "output_location",
            ),
            (settings(|s| s.database = String::new()), "database"),
            (settings(|s| s.reuse_minutes = Some(0)), "reuse_minutes"),
            (
                settings(|s| s.reuse_minutes = Some(10_081)),
                "reuse_minutes",
            ),
            (settings(|s| s.max_scan_bytes = Some(1)), "max_scan_bytes"),
            (settings(|s| s.dollars_per_tb = -1.0), "dollars_per_tb"),
            (settings(|s| s.dollars_per_tb = f64::NAN), "dollars_per_tb"),
            (
                settings(|s| s.connect_timeout_seconds = 0),
                "connect_timeout_seconds",
            ),
            (
                settings(|s| s.request_timeout_seconds = 0),
                "request_timeout_seconds",
            ),
        ] {
            assert_eq!(result.unwrap_err().key, key);
        }
    }
}
