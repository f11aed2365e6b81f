//! How connections are protected: key exchanges, ciphers and MACs that are offered, as OpenSSH's configuration allows.

use russh::{cipher, kex, mac};

use crate::ssh_config::algorithms::{AlgorithmList, Algorithms};

/// Those that are offered unless configured, the fastest of the best first. Old ones can be configured.
const KEY_EXCHANGES: [kex::Name; 10] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
];

/// Not key exchanges, but said among them.
const EXTENSIONS: [kex::Name; 2] = [
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const CIPHERS: [cipher::Name; 6] = [
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: [mac::Name; 4] = [
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
];

/// What the library has besides and nobody may choose: no protection at all, and what is no algorithm.
const NEVER: [&str; 6] = [
    "none",
    "clear",
    "ext-info-c",
    "ext-info-s",
    "kex-strict-c-v00@openssh.com",
    "kex-strict-s-v00@openssh.com",
];

/// What to offer to a server.
#[derive(Debug)]
pub(super) struct Protection {
    pub(super) key_exchanges: Vec<kex::Name>,
    pub(super) ciphers: Vec<cipher::Name>,
    pub(super) macs: Vec<mac::Name>,
}

/// What the configuration allows of what can be done; a list that allows nothing of it otherwise.
pub(super) fn allowed(algorithms: &Algorithms) -> Result<Protection, String> {
    let mut key_exchanges = choose("KexAlgorithms", &algorithms.key_exchanges, &KEY_EXCHANGES)?;
    key_exchanges.extend(EXTENSIONS);
    Ok(Protection {
        key_exchanges,
        ciphers: choose("Ciphers", &algorithms.ciphers, &CIPHERS)?,
        macs: choose("MACs", &algorithms.macs, &MACS)?,
    })
}

fn choose<N>(keyword: &str, list: &AlgorithmList, usual: &[N]) -> Result<Vec<N>, String>
where
    N: AsRef<str> + for<'a> TryFrom<&'a str>,
{
    let names: Vec<&str> = usual.iter().map(AsRef::as_ref).collect();
    let chosen: Vec<N> = list
        .in_usual_order(&names)
        .iter()
        .filter(|name| !NEVER.contains(&name.as_str()))
        .filter_map(|name| N::try_from(name.as_str()).ok())
        .collect();
    if chosen.is_empty() {
        return Err(format!(
            "{keyword} allows none that is known here: add one of {}, or connect by the system's ssh with --ssh-command ssh",
            names.join(", ")
        ));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers(text: &str) -> Result<String, String> {
        let algorithms = Algorithms {
            ciphers: AlgorithmList::parse(text),
            ..Algorithms::default()
        };
        let names: Vec<String> = allowed(&algorithms)?
            .ciphers
            .iter()
            .map(|name| name.as_ref().to_owned())
            .collect();
        Ok(names.join(" "))
    }

    #[test]
    fn what_is_configured_is_offered_as_far_as_it_can_be_done() {
        assert_eq!(
            ciphers("aes128-ctr,aes256-gcm@openssh.com,no-such,none").unwrap(),
            "aes256-gcm@openssh.com aes128-ctr"
        );
        assert!(ciphers("+aes128-cbc").unwrap().ends_with(" aes128-cbc"));
        assert!(ciphers("^aes128-ctr").unwrap().starts_with("aes128-ctr "));
        assert_eq!(
            ciphers("-*gcm*,aes*").unwrap(),
            "chacha20-poly1305@openssh.com"
        );
        let error = ciphers("none,clear,no-such").unwrap_err();
        assert!(error.starts_with("Ciphers allows none"), "{error}");
    }

    #[test]
    fn strict_key_exchange_is_always_asked_for() {
        let algorithms = Algorithms {
            key_exchanges: AlgorithmList::parse("diffie-hellman-group14-sha1"),
            ..Algorithms::default()
        };
        let names: Vec<String> = allowed(&algorithms)
            .unwrap()
            .key_exchanges
            .iter()
            .map(|name| name.as_ref().to_owned())
            .collect();
        assert_eq!(
            names.join(" "),
            "diffie-hellman-group14-sha1 ext-info-c kex-strict-c-v00@openssh.com"
        );
    }
}
