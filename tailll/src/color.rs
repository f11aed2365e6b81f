//! Whether output is coloured, and with how many colours.
//!
//! Owns the decision from `--color`, the environment and whether the stream is a terminal; all of them are passed in.
//! Which colour is whose is `palette.rs`'s.

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// In a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Also into pipes and files.
    Always,
    /// Nowhere.
    Never,
}

/// Whether a stream is a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A person looks at it.
    Terminal,
    /// A pipe, a file, or nothing at all.
    Pipe,
}

impl StreamKind {
    /// What the stream is, for example `StreamKind::of(&std::io::stdout())`.
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        if stream.is_terminal() {
            Self::Terminal
        } else {
            Self::Pipe
        }
    }
}

/// What the environment says about colours. An unset variable is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColorEnv {
    /// `NO_COLOR`: no colours, if not empty.
    pub no_color: Option<String>,
    /// `CLICOLOR_FORCE`: colours in pipes too, if neither empty nor `0`.
    pub clicolor_force: Option<String>,
    /// `TERM`.
    pub term: Option<String>,
    /// `COLORTERM`.
    pub colorterm: Option<String>,
}

impl ColorEnv {
    /// From a lookup such as `|name| std::env::var(name).ok()`.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            no_color: lookup("NO_COLOR"),
            clicolor_force: lookup("CLICOLOR_FORCE"),
            term: lookup("TERM"),
            colorterm: lookup("COLORTERM"),
        }
    }
}

/// The decision for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colors {
    /// None.
    Off,
    /// As many as this.
    On(Depth),
}

/// How many colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The sixteen that every terminal has, in whatever shades its user likes.
    Sixteen,
    /// The 256 of xterm; terminals with more have these too.
    Palette256,
}

impl Colors {
    /// Decides for one stream. The flag wins over the environment, `NO_COLOR` over `CLICOLOR_FORCE`.
    pub fn decide(choice: ColorChoice, env: &ColorEnv, stream: StreamKind) -> Self {
        let set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
        let forced = set(&env.clicolor_force) && env.clicolor_force.as_deref() != Some("0");
        let dumb = env.term.as_deref() == Some("dumb");
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto if set(&env.no_color) => false,
            ColorChoice::Auto if forced => true,
            ColorChoice::Auto => stream == StreamKind::Terminal && !dumb,
        };
        if on {
            Self::On(Depth::of(env))
        } else {
            Self::Off
        }
    }
}

impl Depth {
    fn of(env: &ColorEnv) -> Self {
        let many = matches!(
            env.colorterm.as_deref(),
            Some("truecolor" | "24bit" | "256color")
        ) || env.term.as_deref().is_some_and(|term| {
            term.contains("256color")
                || term.ends_with("-direct")
                || matches!(
                    term,
                    "alacritty" | "xterm-kitty" | "xterm-ghostty" | "foot" | "wezterm"
                )
        });
        if many {
            Self::Palette256
        } else {
            Self::Sixteen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &str) -> ColorEnv {
        ColorEnv::read(|name| {
            pairs
                .split(' ')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn decisions() {
        use ColorChoice::{Always, Auto, Never};
        use StreamKind::{Pipe, Terminal};
        let cases = [
            (Auto, "TERM=xterm-256color", Terminal),
            (Auto, "TERM=xterm", Terminal),
            (Auto, "TERM=xterm COLORTERM=truecolor", Terminal),
            (Auto, "", Terminal),
            (Auto, "TERM=dumb", Terminal),
            (Auto, "TERM=xterm", Pipe),
            (Auto, "NO_COLOR=1", Terminal),
            (Auto, "NO_COLOR=", Terminal),
            (Auto, "CLICOLOR_FORCE=1", Pipe),
            (Auto, "CLICOLOR_FORCE=0", Pipe),
            (Auto, "CLICOLOR_FORCE=", Pipe),
            (Auto, "NO_COLOR=1 CLICOLOR_FORCE=1", Terminal),
            (Always, "NO_COLOR=1 TERM=dumb", Pipe),
            (Never, "CLICOLOR_FORCE=1", Terminal),
        ];
        let shown: Vec<String> = cases
            .iter()
            .map(|(choice, pairs, stream)| {
                format!(
                    "{choice:?} {stream:?} [{pairs}]: {:?}",
                    Colors::decide(*choice, &env(pairs), *stream)
                )
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        Auto Terminal [TERM=xterm-256color]: On(Palette256)
        Auto Terminal [TERM=xterm]: On(Sixteen)
        Auto Terminal [TERM=xterm COLORTERM=truecolor]: On(Palette256)
        Auto Terminal []: On(Sixteen)
        Auto Terminal [TERM=dumb]: Off
        Auto Pipe [TERM=xterm]: Off
        Auto Terminal [NO_COLOR=1]: Off
        Auto Terminal [NO_COLOR=]: On(Sixteen)
        Auto Pipe [CLICOLOR_FORCE=1]: On(Sixteen)
        Auto Pipe [CLICOLOR_FORCE=0]: Off
        Auto Pipe [CLICOLOR_FORCE=]: Off
        Auto Terminal [NO_COLOR=1 CLICOLOR_FORCE=1]: Off
        Always Pipe [NO_COLOR=1 TERM=dumb]: On(Sixteen)
        Never Terminal [CLICOLOR_FORCE=1]: Off
        ");
    }
}
