//! Where an archive lies, as a person writes it: `s3://bucket/prefix` or `file:///dir`.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// The longest prefix in a bucket, in bytes: S3 allows 1024 for a whole key, and what comes below a prefix needs about 200.
const MAX_PREFIX_BYTES: usize = 512;

/// The lengths that a bucket's name may have, in bytes. Older buckets and other makes go beyond today's 63.
const BUCKET_BYTES: std::ops::RangeInclusive<usize> = 3..=255;

/// The root of an archive. Its text form can be read back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Root {
    /// In a bucket.
    S3 {
        /// The bucket's name, or an access point's alias.
        bucket: String,
        /// What all keys begin with, without a slash at its ends; may be empty.
        prefix: String,
    },
    /// In a directory, given by an absolute path.
    Dir(PathBuf),
}

/// The text is no root of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no archive: {why}")]
pub struct RootError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Root {
    /// The key of an object as the bucket knows it. A directory's keys are what they are.
    pub(crate) fn full_key(prefix: &str, key: &str) -> String {
        if prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{prefix}/{key}")
        }
    }
}

impl FromStr for Root {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        let parsed = if let Some(rest) = text.strip_prefix("s3://") {
            bucket_and_prefix(rest)
        } else if let Some(path) = text.strip_prefix("file://") {
            directory(path)
        } else {
            Err("it has to be s3://BUCKET/PREFIX or file:///DIRECTORY")
        };
        parsed.map_err(|why| RootError {
            text: text.to_owned(),
            why,
        })
    }
}

impl TryFrom<String> for Root {
    type Error = RootError;

    fn try_from(text: String) -> Result<Self, RootError> {
        text.parse()
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Dir(path) => {
                f.write_str("file://")?;
                for byte in path.as_os_str().as_bytes() {
                    match byte {
                        b'/' | b'-' | b'_' | b'.' | b'~' | b'=' | b'+' | b',' | b'@' | b':' => {
                            write!(f, "{}", char::from(*byte))?;
                        }
                        byte if byte.is_ascii_alphanumeric() => {
                            write!(f, "{}", char::from(*byte))?;
                        }
                        byte => write!(f, "%{byte:02X}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

fn bucket_and_prefix(rest: &str) -> Result<Root, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !BUCKET_BYTES.contains(&bucket.len())
        || !bucket.bytes().all(name)
        || !bucket.starts_with(|first: char| first.is_ascii_alphanumeric())
    {
        return Err("a bucket's name has 3 letters, digits, `.`, `-` or `_` at least");
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > MAX_PREFIX_BYTES {
        return Err("the prefix has more than 512 bytes");
    }
    // What Athena, shells and signatures all take as it is.
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'=' | b'/' | b'!')
    };
    if !prefix.bytes().all(plain) {
        return Err("a prefix has letters, digits, `.`, `-`, `_`, `=`, `!` and `/` only");
    }
    if !prefix.is_empty()
        && prefix
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("no part of a prefix may be empty, `.` or `..`");
    }
    Ok(Root::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn directory(path: &str) -> Result<Root, &'static str> {
    if !path.starts_with('/') {
        return Err(
            "a directory is given by its absolute path, with three slashes: file:///DIRECTORY",
        );
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |at: usize| {
            let byte = *rest.get(at)?;
            char::from(byte).to_digit(16)
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err("a `%` is followed by two hexadecimal digits");
        };
        bytes.push((high * 16 + low) as u8);
        rest = &rest[2..];
    }
    if bytes.contains(&0) {
        return Err("a path holds no NUL");
    }
    while bytes.len() > 1 && bytes.ends_with(b"/") {
        bytes.pop();
    }
    Ok(Root::Dir(OsString::from_vec(bytes).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &str) {
        let root: Root = text.parse().unwrap();
        assert_eq!(format!("{root:?}"), expected);
        assert_eq!(root.to_string().parse(), Ok(root));
    }

    #[test]
    fn roots_are_read_as_people_write_them() {
        check("s3://logs", r#"S3 { bucket: "logs", prefix: "" }"#);
        check("s3://logs/", r#"S3 { bucket: "logs", prefix: "" }"#);
        check(
            "s3://a.b-c/x/y=1/",
            r#"S3 { bucket: "a.b-c", prefix: "x/y=1" }"#,
        );
        check("file:///", r#"Dir("/")"#);
        check("file:///srv/logs/", r#"Dir("/srv/logs")"#);
        check("file:///a%20b/%25", r#"Dir("/a b/%")"#);
        check("file:///a b", r#"Dir("/a b")"#);
    }

    #[test]
    fn what_is_no_root_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "s3://BUCKET"),
            ("/srv/logs", "s3://BUCKET"),
            ("S3://logs", "s3://BUCKET"),
            ("s3://", "bucket's name"),
            ("s3://ab", "bucket's name"),
            ("s3://-ab", "bucket's name"),
            ("s3://lo gs", "bucket's name"),
            ("s3://logs//a", "empty"),
            ("s3://logs/a//b", "empty"),
            ("s3://logs/a//", "empty"),
            ("s3://logs/../b", "`..`"),
            ("s3://logs/a?b", "letters"),
            ("file://srv/logs", "three slashes"),
            ("file:///a%2", "hexadecimal"),
            ("file:///a%+1", "hexadecimal"),
            ("file:///a%00", "NUL"),
        ] {
            let error = text.parse::<Root>().unwrap_err();
            assert!(error.why.contains(why), "{text}: {error}");
            assert!(error.to_string().contains(&format!("`{text}`")));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_root_can_be_written_and_read(text in "(s3://|file:///|)[a-z/.%=é0-9]{0,20}") {
            if let Ok(root) = text.parse::<Root>() {
                prop_assert_eq!(root.to_string().parse::<Root>(), Ok(root));
            }
        }

        #[test]
        fn any_path_can_be_written_and_read(bytes in prop::collection::vec(1..=255_u8, 0..40)) {
            let mut path = vec![b'/'];
            path.extend(bytes);
            while path.len() > 1 && path.ends_with(b"/") {
                path.pop();
            }
            let root = Root::Dir(OsString::from_vec(path).into());
            prop_assert_eq!(root.to_string().parse::<Root>(), Ok(root));
        }
    }
}
