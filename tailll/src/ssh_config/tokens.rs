//! `%h`, `${HOME}` and `~` in the values of OpenSSH's configuration.
//!
//! Owns which tokens there are. Which values may hold them is left to the callers.

use std::path::PathBuf;

use super::LocalFacts;

/// What the tokens stand for.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// `%d`, `%i`, `%u`, `%l`, `%L`, and the environment.
    pub facts: &'a LocalFacts,
    /// `%n`: the host as it was asked for.
    pub host: &'a str,
    /// `%h`: the host that is connected to.
    pub hostname: &'a str,
    /// `%p`.
    pub port: u16,
    /// `%r`.
    pub user: &'a str,
    /// `%k`, where it is set; the host as asked for otherwise.
    pub alias: Option<&'a str>,
    /// `%j`: the hosts to jump through, or nothing.
    pub jump: &'a str,
}

/// Why a value cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A token that is not supported.
    #[error("the token %{0} is not supported")]
    Token(char),
    /// A `%` with nothing behind it.
    #[error("a lone % must be written %%")]
    LonePercent,
    /// A variable that is not in the environment.
    #[error("the environment has no {0}")]
    Variable(String),
    /// A `${` without its `}`.
    #[error("${{ without }}")]
    OpenBrace,
    /// Another user's home.
    #[error("the home of another user, ~{0}, is not known here")]
    OtherHome(String),
}

impl Tokens<'_> {
    /// A path: `~`, then tokens, then variables, as OpenSSH expands them.
    pub fn path(&self, text: &str) -> Result<PathBuf, ExpandError> {
        let text = self.tilde(text)?;
        Ok(self.expand(&text, Variables::Expanded)?.into())
    }

    /// A text in which only tokens are expanded: a command, whose variables are the shell's.
    pub fn percent(&self, text: &str) -> Result<String, ExpandError> {
        self.expand(text, Variables::Kept)
    }

    fn tilde(&self, text: &str) -> Result<String, ExpandError> {
        let Some(rest) = text.strip_prefix('~') else {
            return Ok(text.to_owned());
        };
        let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if !user.is_empty() && user != self.facts.user {
            return Err(ExpandError::OtherHome(user.to_owned()));
        }
        let home = self.facts.home.to_string_lossy();
        Ok(format!("{}/{rest}", home.trim_end_matches('/')))
    }

    fn expand(&self, text: &str, variables: Variables) -> Result<String, ExpandError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['%', '$']) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(inner) = rest
                .strip_prefix("${")
                .filter(|_| variables == Variables::Expanded)
            {
                let (name, after) = inner.split_once('}').ok_or(ExpandError::OpenBrace)?;
                let value = self.facts.environment.get(name);
                out.push_str(value.ok_or_else(|| ExpandError::Variable(name.to_owned()))?);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('%') {
                let token = after.chars().next().ok_or(ExpandError::LonePercent)?;
                out.push_str(&self.token(token)?);
                rest = &after[token.len_utf8()..];
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn token(&self, token: char) -> Result<String, ExpandError> {
        let facts = self.facts;
        Ok(match token {
            '%' => "%".into(),
            'd' => facts.home.to_string_lossy().into_owned(),
            'h' => self.hostname.into(),
            'i' => facts.uid.to_string(),
            'j' => self.jump.into(),
            'k' => self.alias.unwrap_or(self.host).into(),
            'l' => facts.host.clone(),
            'L' => facts.host.split('.').next().unwrap_or_default().into(),
            'n' => self.host.into(),
            'p' => self.port.to_string(),
            'r' => self.user.into(),
            'u' => facts.user.clone(),
            other => return Err(ExpandError::Token(other)),
        })
    }
}

/// Whether `${NAME}` is a variable of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variables {
    Expanded,
    Kept,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts() -> LocalFacts {
        let environment = [("HOME".to_owned(), "/elsewhere".to_owned())].into();
        LocalFacts {
            home: "/home/me".into(),
            user: "me".into(),
            uid: 7,
            host: "box.example.com".into(),
            environment,
        }
    }

    fn path(text: &str) -> Result<String, String> {
        let facts = facts();
        let tokens = Tokens {
            facts: &facts,
            host: "web",
            hostname: "web.x",
            port: 2222,
            user: "you",
            alias: None,
            jump: "j",
        };
        tokens
            .path(text)
            .map(|path| path.display().to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn paths() {
        for (text, expected) in [
            ("/a b", Ok("/a b")),
            ("~", Ok("/home/me/")),
            ("~/.ssh/id", Ok("/home/me/.ssh/id")),
            ("~me/x", Ok("/home/me/x")),
            (
                "~bob/x",
                Err("the home of another user, ~bob, is not known here"),
            ),
            ("a~", Ok("a~")),
            (
                "%d/%h/%i/%j/%k/%l/%L/%n/%p/%r/%u/%%",
                Ok("/home/me/web.x/7/j/web/box.example.com/box/web/2222/you/me/%"),
            ),
            ("${HOME}/x", Ok("/elsewhere/x")),
            ("$HOME", Ok("$HOME")),
            ("${NO}", Err("the environment has no NO")),
            ("${", Err("${ without }")),
            ("%", Err("a lone % must be written %%")),
            ("%é", Err("the token %é is not supported")),
            ("", Ok("")),
        ] {
            assert_eq!(
                path(text),
                expected.map(str::to_owned).map_err(str::to_owned),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = path(&text);
        }
    }
}
