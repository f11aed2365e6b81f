//! What the agent is about, for people and for those who watch over it.
//!
//! A state, and whether it is a healthy one. `metrics` keeps it and `monitor` shows it; who runs the agent sets it.

use serde::Serialize;

/// Why nothing is read at the moment. Nothing is lost by it: the logs lie where their jobs wrote them, and pins hold them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// The objects that wait to be sent take what `staging_megabytes` allows.
    StagingFull,
    /// Less than `reserved_megabytes` is free on the disk of the state.
    DiskFull,
    /// The state or the spool cannot be written: a read-only file system, or a broken disk.
    NotWritable,
    /// The machine seems to be a resumed snapshot: a new incarnation is claimed before anything else is done.
    ClaimingAgain,
}

impl Pause {
    /// All of them, for gauges.
    pub const ALL: [Self; 4] = [
        Self::StagingFull,
        Self::DiskFull,
        Self::NotWritable,
        Self::ClaimingAgain,
    ];

    /// How metrics and the answer of `/healthz` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StagingFull => "staging_full",
            Self::DiskFull => "disk_full",
            Self::NotWritable => "not_writable",
            Self::ClaimingAgain => "claiming_again",
        }
    }
}

/// What the agent is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Opening its folders, claiming its incarnation.
    #[default]
    Starting,
    /// Reading and shipping.
    Running,
    /// Not reading for the moment.
    Paused {
        /// Why.
        why: Pause,
    },
    /// Not getting on, and not able to help itself: the archive refuses, or something has to be reconciled by a person.
    Stuck {
        /// Since when, in ns since 1970.
        since_ns: i64,
        /// What is the matter, in words.
        what: String,
    },
    /// Shipping what is read, to end then.
    Stopping,
}

/// The longest text of [`Health::Stuck`] that is shown, in characters.
pub const MAX_WHAT_CHARS: usize = 500;

impl Health {
    /// The names of all states, for gauges.
    pub const NAMES: [&'static str; 5] = ["starting", "running", "paused", "stuck", "stopping"];

    /// How metrics and the answer of `/healthz` call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => Self::NAMES[0],
            Self::Running => Self::NAMES[1],
            Self::Paused { .. } => Self::NAMES[2],
            Self::Stuck { .. } => Self::NAMES[3],
            Self::Stopping => Self::NAMES[4],
        }
    }

    /// Whether logs are read and shipped. If not, somebody may have to look; to start the agent again does not help.
    pub const fn is_well(&self) -> bool {
        matches!(self, Self::Running)
    }

    /// The answer of `/healthz`: one JSON object.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Answer<'a> {
            state: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            why: Option<Pause>,
            #[serde(skip_serializing_if = "Option::is_none")]
            since: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            what: Option<String>,
        }
        let mut answer = Answer {
            state: self.name(),
            why: None,
            since: None,
            what: None,
        };
        match self {
            Self::Starting | Self::Running | Self::Stopping => {}
            Self::Paused { why } => answer.why = Some(*why),
            Self::Stuck { since_ns, what } => {
                let since = jiff::Timestamp::from_nanosecond(i128::from(*since_ns));
                answer.since = since.ok().map(|time| time.to_string());
                answer.what = Some(what.chars().take(MAX_WHAT_CHARS).collect());
            }
        }
        // Texts and numbers alone always can be written.
        serde_json::to_string(&answer).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_says_itself() {
        let states = [
            Health::Starting,
            Health::Running,
            Health::Paused {
                why: Pause::StagingFull,
            },
            Health::Stuck {
                since_ns: 1_795_485_600_000_000_000,
                what: "denied: \"x\"\n".to_owned(),
            },
            Health::Stopping,
        ];
        assert_eq!(states.each_ref().map(Health::name), Health::NAMES);
        let texts = states.each_ref().map(Health::json).join("\n");
        insta::assert_snapshot!(texts, @r#"
        {"state":"starting"}
        {"state":"running"}
        {"state":"paused","why":"staging_full"}
        {"state":"stuck","since":"2026-11-24T02:00:00Z","what":"denied: \"x\"\n"}
        {"state":"stopping"}
        "#);
        assert_eq!(
            states.each_ref().map(Health::is_well),
            [false, true, false, false, false]
        );
        let long = Health::Stuck {
            since_ns: i64::MIN,
            what: "é".repeat(5000),
        };
        assert!(long.json().chars().count() < MAX_WHAT_CHARS + 100);
    }

    #[test]
    fn names_in_json_and_metrics_are_the_same() {
        for pause in Pause::ALL {
            let json = serde_json::to_string(&pause).expect("to write");
            assert_eq!(json, format!("\"{}\"", pause.name()));
        }
    }
}
