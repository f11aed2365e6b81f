//! The value of `ProxyJump`: the hosts to jump through.
//!
//! Owns the value's form. How each of the hosts is reached itself is left to [`crate::login`].

use crate::instance::Login;

/// The hosts to jump through, the nearest first; none for `none`.
///
/// # Errors
/// Says which part of the value is no host.
pub fn parse(value: &str) -> Result<Vec<Login>, HopError> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    value.split(',').map(|hop| one(hop.trim())).collect()
}

/// A part of `ProxyJump` that is no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} in ProxyJump is no host to jump through: write [user@]host[:port] or ssh://[user@]host[:port], an IPv6 address in brackets"
)]
pub struct HopError(String);

fn one(text: &str) -> Result<Login, HopError> {
    let wrong = || HopError(text.to_owned());
    let rest = match text.get(.."ssh://".len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case("ssh://") => {
            text["ssh://".len()..].trim_end_matches('/')
        }
        _ => text,
    };
    // A user's name may have an @ of its own.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, after) = inner.split_once(']').ok_or_else(wrong)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(wrong()),
            }
        }
        None => match rest.split_once(':') {
            // More than one colon: an address without brackets, which then has no port.
            Some((_, port)) if port.contains(':') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err(wrong()),
        },
    };
    if host.is_empty() || host.starts_with('-') || host.contains('/') || user == Some("") {
        return Err(wrong());
    }
    Ok(Login {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: &str) -> String {
        match parse(value) {
            Ok(hops) => hops
                .iter()
                .map(|hop| {
                    format!(
                        "{}|{}|{}",
                        hop.user.as_deref().unwrap_or("-"),
                        hop.host,
                        hop.port.map_or("-".to_owned(), |port| port.to_string())
                    )
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(_) => "wrong".to_owned(),
        }
    }

    #[test]
    fn all_forms_are_understood() {
        for (value, expected) in [
            ("none", ""),
            ("NONE", ""),
            ("a", "-|a|-"),
            ("me@a:2222", "me|a|2222"),
            ("me@x@a", "me@x|a|-"),
            ("a,b:1,c", "-|a|- -|b|1 -|c|-"),
            ("ssh://me@a:22/", "me|a|22"),
            ("SSH://a", "-|a|-"),
            ("me@[::1]:22", "me|::1|22"),
            ("[::1]", "-|::1|-"),
            ("::1", "-|::1|-"),
            ("[127.0.0.1]:2222", "-|127.0.0.1|2222"),
            ("", "wrong"),
            ("a,,b", "wrong"),
            ("a:", "wrong"),
            ("a:0", "wrong"),
            ("a:65536", "wrong"),
            ("@a", "wrong"),
            ("-oX", "wrong"),
            ("[::1", "wrong"),
            ("[::1]x", "wrong"),
            ("ssh://a/b", "wrong"),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_good_hops_have_hosts(value in "\\PC*") {
            if let Ok(hops) = parse(&value) {
                prop_assert!(hops.iter().all(|hop| !hop.host.is_empty()));
            }
        }
    }
}
