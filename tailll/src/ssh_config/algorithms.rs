//! Which algorithms OpenSSH's configuration allows: a list of names, or what it changes about the usual ones.
//!
//! What is usual, and what can be done at all, is known to who uses them.

use crate::ssh_pattern::{Case, ListMatch, matches_list};

/// The lists of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Algorithms {
    /// `Ciphers`.
    pub ciphers: AlgorithmList,
    /// `KexAlgorithms`.
    pub key_exchanges: AlgorithmList,
    /// `MACs`.
    pub macs: AlgorithmList,
    /// `PubkeyAcceptedAlgorithms`: of keys to log in with.
    pub login_keys: AlgorithmList,
}

/// What a keyword says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum AlgorithmList {
    /// Nothing.
    #[default]
    Usual,
    /// These and no others.
    Only(Vec<String>),
    /// The usual ones, then these (`+`).
    And(Vec<String>),
    /// These, then the usual ones (`^`).
    First(Vec<String>),
    /// The usual ones without those that match these patterns (`-`).
    Without(String),
}

impl AlgorithmList {
    /// Reads a keyword's value.
    pub fn parse(text: &str) -> Self {
        let names = |list: &str| {
            let mut names: Vec<String> = Vec::new();
            for name in list.split(',').filter(|name| !name.is_empty()) {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            names
        };
        match text.split_at_checked(1) {
            Some(("+", more)) => Self::And(names(more)),
            Some(("^", first)) => Self::First(names(first)),
            Some(("-", less)) => Self::Without(less.to_owned()),
            _ => Self::Only(names(text)),
        }
    }

    /// The names that the list comes to, in its order.
    pub fn of(&self, usual: &[&str]) -> Vec<String> {
        let usual = usual.iter().map(|&name| name.to_owned());
        let joined = |first: Vec<String>, then: Vec<String>| {
            let mut all = first;
            all.extend(
                then.into_iter()
                    .filter(|name| !all.contains(name))
                    .collect::<Vec<_>>(),
            );
            all
        };
        match self {
            Self::Usual => usual.collect(),
            Self::Only(names) => names.clone(),
            Self::And(names) => joined(usual.collect(), names.clone()),
            Self::First(names) => joined(names.clone(), usual.collect()),
            Self::Without(patterns) => usual
                .filter(|name| {
                    matches_list(name.as_bytes(), patterns.as_bytes(), Case::Matters)
                        != ListMatch::Yes
                })
                .collect(),
        }
    }

    /// The same, in the order of the usual ones as far as they are among them. A list without a sign is a limit on what may be
    /// used more often than a wish about the order, and the usual order has its reasons.
    pub fn in_usual_order(&self, usual: &[&str]) -> Vec<String> {
        let mut names = self.of(usual);
        if matches!(self, Self::Only(_)) {
            names.sort_by_key(|name| {
                usual
                    .iter()
                    .position(|known| known == name)
                    .unwrap_or(usize::MAX)
            });
        }
        names
    }

    /// Whether this one may be used; one of the usual ones unless the list says otherwise.
    pub fn allows(&self, name: &str) -> bool {
        self.of(&[name]).iter().any(|known| known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_their_signs() {
        for (text, listed, ordered) in [
            ("c,b,x,b", "c b x", "b c x"),
            ("+x,a", "a b c x", "a b c x"),
            ("^c,x", "c x a b", "c x a b"),
            ("-a,x*", "b c", "b c"),
            ("-*", "", ""),
            ("", "", ""),
        ] {
            let list = AlgorithmList::parse(text);
            let usual = ["a", "b", "c"];
            assert_eq!(list.of(&usual).join(" "), listed, "{text:?}");
            assert_eq!(list.in_usual_order(&usual).join(" "), ordered, "{text:?}");
        }
        assert_eq!(AlgorithmList::Usual.of(&["a"]), ["a"]);
    }

    #[test]
    fn what_is_not_ruled_out_is_allowed() {
        for (text, expected) in [("a,b", true), ("b", false), ("+b", true), ("-a*", false)] {
            assert_eq!(AlgorithmList::parse(text).allows("a"), expected, "{text:?}");
        }
        assert!(AlgorithmList::Usual.allows("a"));
    }
}
