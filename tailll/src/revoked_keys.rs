//! Host keys that are never accepted: the file that `RevokedHostKeys` names, as a list of public keys.
//!
//! OpenSSH's binary lists of revocations (KRL) are not read; a host whose configuration names one is refused.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What a binary list begins with.
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";

/// The keys of one file, and those of no file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedKeys {
    file: PathBuf,
    blobs: Vec<Vec<u8>>,
}

impl RevokedKeys {
    /// Reads the file. One that is missing is an error, as in OpenSSH: without it a revoked key could be accepted.
    ///
    /// # Errors
    /// What is wrong and what to do, for people.
    pub fn load(file: &Path) -> Result<Self, String> {
        let bad = |why: &str| format!("RevokedHostKeys {}: {why}", file.display());
        let length = std::fs::metadata(file)
            .map_err(|error| {
                bad(&format!(
                    "{error}; no host key is accepted without this file: make it readable, or take it out of the configuration"
                ))
            })?
            .len();
        if length > MAX_FILE_BYTES {
            return Err(bad(&format!(
                "it is larger than {} MiB",
                MAX_FILE_BYTES / 1024 / 1024
            )));
        }
        let bytes = std::fs::read(file).map_err(|error| bad(&error.to_string()))?;
        Self::parse(file, &bytes)
    }

    /// Reads the lines of a file.
    ///
    /// # Errors
    /// As [`RevokedKeys::load`].
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, String> {
        if bytes.starts_with(KRL_MAGIC) {
            return Err(format!(
                "RevokedHostKeys {}: this is a binary list (KRL), which is not read here: name a file with one public key a line, or log in by the system's ssh with --ssh-command",
                file.display()
            ));
        }
        let mut blobs = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let blob = line
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty())
                .nth(1)
                .and_then(|word| STANDARD.decode(word).ok())
                .filter(|blob| crate::known_hosts::HostKey::from_blob(blob).is_ok());
            match blob {
                Some(blob) => blobs.push(blob),
                None => {
                    return Err(format!(
                        "RevokedHostKeys {}:{number}: this line is no public key; correct it, since no host key is accepted with a list that cannot be read",
                        file.display()
                    ));
                }
            }
        }
        Ok(Self {
            file: file.to_owned(),
            blobs,
        })
    }

    /// The file that revokes this key.
    pub fn revokes(&self, blob: &[u8]) -> Option<&Path> {
        self.blobs
            .iter()
            .any(|revoked| revoked == blob)
            .then_some(&*self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_keys_is_read_and_anything_else_is_an_error() {
        let file = Path::new("/rk");
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIA==";
        let blob = STANDARD.decode(key).expect("base64");
        let found = RevokedKeys::parse(
            file,
            format!("# old\n\nssh-ed25519 {key} web1\n").as_bytes(),
        )
        .expect("a list");
        assert_eq!(found.revokes(&blob), Some(file));
        assert_eq!(found.revokes(b"other"), None);
        assert_eq!(RevokedKeys::default().revokes(&blob), None);
        for (bytes, expected) in [
            (&b"SSHKRL\n\0\0\0\0\x01"[..], "binary list (KRL)"),
            (b"# fine\nweb1\n", "/rk:2: this line is no public key"),
        ] {
            let error = RevokedKeys::parse(file, bytes).expect_err("no list");
            assert!(error.contains(expected), "{error}");
        }
        let error = RevokedKeys::load(Path::new("/no/such/file")).expect_err("no file");
        assert!(error.contains("make it readable"), "{error}");
    }
}
