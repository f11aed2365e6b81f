//! Why a statement failed, told from Athena's words, and what to do about it.
//!
//! Owns the table of reasons. Athena has no codes for most of them, only names within texts.

use regex::Regex;

/// What is looked for in a reason, in lower case, and what it stands for. The first that fits holds.
const NAMES: &[(&str, Why)] = &[
    ("hive_exceeded_partition_limit", Why::Partitions),
    ("constraint_violation", Why::Partitions),
    ("bytes scanned limit was exceeded", Why::Cutoff),
    ("slowdown", Why::SlowDown),
    ("slow down", Why::SlowDown),
    ("reduce your request rate", Why::SlowDown),
    ("hive_s3_throttling", Why::SlowDown),
    ("s3_throttling", Why::SlowDown),
    ("toomanyrequests", Why::TooManyStatements),
    ("too many requests", Why::TooManyStatements),
    ("concurrent_query_limit", Why::TooManyStatements),
    ("query exhausted resources", Why::Exhausted),
    ("exceeded_local_memory_limit", Why::Exhausted),
    ("query timeout", Why::Timeout),
    ("exceeded_time_limit", Why::Timeout),
    ("insufficient permissions", Why::Denied),
    ("access denied", Why::Denied),
    ("accessdenied", Why::Denied),
    ("not authorized to perform", Why::Denied),
    ("permission_denied", Why::Denied),
    // After those that may stand within them: S3's own refusals.
    ("hive_bad_data", Why::BadData),
    ("hive_cursor_error", Why::BadData),
    ("hive_filesystem_error", Why::BadData),
    ("parquet_", Why::BadData),
    ("no output location provided", Why::NoOutput),
    ("unable to verify/create output bucket", Why::NoOutput),
    ("outputlocation is not a valid s3 path", Why::NoOutput),
    ("table_not_found", Why::NoTable),
    ("schema_not_found", Why::NoTable),
    ("entitynotfoundexception", Why::NoTable),
    ("column_not_found", Why::NoColumn),
    ("alreadyexistsexception", Why::AlreadyThere),
    ("already exists", Why::AlreadyThere),
    ("duplicate column name", Why::AlreadyThere),
];

/// Which right may be missing, told from what a denial names; in the order of how well it tells.
const RIGHTS: &[(&str, &str)] = &[
    ("kms", "the key of KMS that the objects are encrypted with"),
    ("glue", "the table in Glue's catalogue"),
    ("lakeformation", "the table, by Lake Formation"),
    (
        "unable to verify/create output bucket",
        "the bucket for answers",
    ),
    ("athena:", "the workgroup"),
    ("s3:putobject", "the bucket for answers"),
    ("s3:listbucket", "listing the archive's bucket"),
    ("s3:getobject", "the archive's objects"),
    ("s3", "the archive's bucket, or the one for answers"),
];

/// What a reason stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The statement asks for more partitions than it may, or leaves the partition out.
    Partitions,
    /// The workgroup's limit on bytes.
    Cutoff,
    /// An object cannot be read as what the table says it is.
    BadData,
    /// S3 asks for less.
    SlowDown,
    /// More statements at once than the account may run.
    TooManyStatements,
    /// Too much memory.
    Exhausted,
    /// Too long.
    Timeout,
    /// A right is missing.
    Denied,
    /// Nowhere to put the answer.
    NoOutput,
    /// No such table or database.
    NoTable,
    /// No such column.
    NoColumn,
    /// What is to be created is there.
    AlreadyThere,
    /// Something else.
    Other,
}

impl Why {
    /// What a reason stands for.
    pub fn of(reason: &str) -> Self {
        let reason = reason.to_lowercase();
        let found = NAMES.iter().find(|(name, _)| reason.contains(name));
        found.map_or(Self::Other, |(_, why)| *why)
    }

    /// What to do about it, in a sentence.
    pub fn hint(self, reason: &str) -> Option<String> {
        let text = match self {
            Self::Partitions => {
                "name the cluster and a time range: without them every hour there ever was is asked for"
            }
            Self::Cutoff => {
                "the workgroup stops statements that read so much: narrow the time range, or have its limit raised"
            }
            Self::BadData => {
                return Some(match object_in(reason) {
                    Some(object) => format!("look at the object: queries doctor {object}"),
                    None => {
                        "an object is damaged or none of ours: `queries doctor` finds it".to_owned()
                    }
                });
            }
            Self::SlowDown => {
                "too many small objects at once: narrow the time range, or compact the hours first"
            }
            Self::TooManyStatements => {
                "other statements are in the way: try again later, or have the account's quota raised"
            }
            Self::Exhausted => {
                "leave ORDER BY out or add a LIMIT, use approx_distinct and approx_percentile, or narrow the time range"
            }
            Self::Timeout => "narrow the time range, or name the job",
            Self::Denied => {
                let reason = reason.to_lowercase();
                let right = RIGHTS.iter().find(|(name, _)| reason.contains(name));
                return Some(match right {
                    Some((_, right)) => format!("the right is missing for {right}"),
                    None => "a right is missing: for the workgroup, the bucket for answers, the archive's bucket, \
                             Glue's catalogue, or the key of KMS"
                        .to_owned(),
                });
            }
            Self::NoOutput => {
                "say where answers go: output_location in the section [athena], or in the workgroup's settings"
            }
            Self::NoTable => "make database and tables first: queries setup",
            Self::NoColumn => "bring the tables up to date: queries setup",
            Self::AlreadyThere | Self::Other => return None,
        };
        Some(text.to_owned())
    }
}

/// The object that a reason names.
fn object_in(reason: &str) -> Option<&str> {
    // Cannot fail to compile: the pattern is a constant, and a test uses it.
    let pattern = Regex::new(r"s3[an]?://[^\s,;()\[\]'\x22]+").ok()?;
    let found = pattern.find(reason)?.as_str();
    Some(found.trim_end_matches(['.', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    /// As Athena says them.
    const REASONS: &[&str] = &[
        "HIVE_EXCEEDED_PARTITION_LIMIT: Query over table 'logs.logs' can potentially read more than 1000000 partitions",
        "CONSTRAINT_VIOLATION: For the injected projected partition column cluster, the WHERE clause must contain only static equality conditions",
        "Bytes scanned limit was exceeded",
        "HIVE_BAD_DATA: Malformed Parquet file. Expected magic number: PAR1 [s3://logs/logs/v1/cluster=aa/dh=2026-11-01-09/x.parquet]",
        "HIVE_CURSOR_ERROR: Row is not a valid JSON Object - JSONException: A JSONObject text must end with '}' at 31",
        "HIVE_CURSOR_ERROR: incorrect header check: s3://logs/a b.ndjson.gz",
        "HIVE_S3_THROTTLING: Please reduce your request rate. (Service: Amazon S3; Status Code: 503; Error Code: SlowDown)",
        "TooManyRequestsException: You have exceeded the limit for the number of queries you can run concurrently",
        "Query exhausted resources at this scale factor",
        "Query timeout",
        "Insufficient permissions to execute the query. User: arn:aws:iam::1:user/a is not authorized to perform: glue:GetTable",
        "Access denied when writing to location: s3://results/x.csv (s3:PutObject)",
        "PERMISSION_DENIED: Access Denied: kms:Decrypt",
        "Access Denied",
        "No output location provided. An output location is required either through the Workgroup result configuration setting",
        "TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.logs.logs' does not exist",
        "COLUMN_NOT_FOUND: line 1:8: Column 'tpl' cannot be resolved",
        "FAILED: Execution Error, return code 1. AlreadyExistsException(message:Table logs already exists.)",
        "SYNTAX_ERROR: line 1:1: mismatched input 'SELEC'",
        "GENERIC_INTERNAL_ERROR: nothing that anybody knows",
    ];

    #[test]
    fn every_reason_has_its_hint() {
        let mut text = String::new();
        for reason in REASONS {
            let why = Why::of(reason);
            let hint = why.hint(reason).unwrap_or_else(|| "-".to_owned());
            writeln!(text, "{reason}\n    {why:?}: {hint}").unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_object_is_found_in_the_reason() {
        let found = |text| object_in(text);
        assert_eq!(
            found("bad file s3://a/b=c/d.gz: why"),
            Some("s3://a/b=c/d.gz")
        );
        assert_eq!(found("bad file (s3a://a/b)"), Some("s3a://a/b"));
        assert_eq!(found("nothing"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = Why::of(&text).hint(&text);
        }
    }
}
