//! Every flag's value, wherever it was said: on the command line, in the environment, or in the configuration file.
//!
//! A flag `--no-follow` has the variable `TAILLL_NO_FOLLOW` and the key `no_follow` under `[defaults]`, without anybody
//! having to write that down: the names come from the command line's own definition. What is said in several places is
//! taken from the first of: command line, environment, file. The words found are checked one by one, so that an error
//! names the place where the word stands, and then put before those that were typed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::near::near;

/// What variables begin with.
const VARIABLE_PREFIX: &str = "TAILLL_";

/// Flags that no file and no variable can set: they say which file, or do something else altogether.
const NEVER: [&str; 4] = ["config", "help", "stdin", "version"];

/// Flags whose key stands in a table of its own.
const ELSEWHERE: [(&str, &str); 3] = [
    ("archive", "archive, above all tables"),
    ("ssh-config", "[ssh] config"),
    ("ssh-command", "[ssh] command"),
];

/// What `[defaults]` of the configuration file says, by key.
pub type Defaults = BTreeMap<String, Written>;

/// A value in the configuration file, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The value.
    pub value: Value,
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// What a flag can be set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`, for flags without a value.
    Switch(bool),
    /// One value.
    One(String),
    /// Several, for flags that can be repeated.
    Many(Vec<String>),
}

/// Who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    CommandLine,
    /// A variable of the environment.
    Environment(String),
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// A flag that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key: the flag's long name with `_` for `-`.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The flags that are set, in the order of the help.
    pub set: Vec<Setting>,
    /// Words that say what the environment and the file say, to be read before those of the command line.
    pub words: Vec<OsString>,
}

/// What is wrong with a setting of the environment or the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A key of the file that is no flag.
    #[error("{place}: {key}: there is no such flag{hint}")]
    Unknown {
        /// Where: file, line, column.
        place: String,
        /// The key.
        key: String,
        /// What to write instead.
        hint: String,
    },
    /// A value that the flag does not take.
    #[error("{place}: {key}: {why}")]
    Bad {
        /// Where: file, line and column, or the variable.
        place: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::One(text) => write!(f, "{}", toml::Value::String(text.clone())),
            Self::Many(texts) => {
                let texts = texts.iter().cloned().map(toml::Value::String).collect();
                write!(f, "{}", toml::Value::Array(texts))
            }
        }
    }
}

impl Settings {
    /// Finds what is in force for `command`, of which `typed` are the words on the command line.
    ///
    /// # Errors
    /// The first setting of the environment or the file that is wrong. Keys of the file that belong to another verb's flags are
    /// passed over; `known` has the keys of all.
    pub fn find(
        command: &Command,
        typed: &ArgMatches,
        environment: impl Fn(&str) -> Option<OsString>,
        file: &Defaults,
        known: &HashSet<String>,
    ) -> Result<Self, SettingsError> {
        for (key, written) in file {
            if !known.contains(key) || elsewhere(key).is_some() {
                return Err(unknown(key, written, known));
            }
        }
        let mut settings = Self::default();
        let is_typed = |id: &clap::Id| {
            typed.try_contains_id(id.as_str()).is_ok_and(|there| there)
                && typed.value_source(id.as_str()) == Some(ValueSource::CommandLine)
        };
        let mut taken: HashSet<clap::Id> = command
            .get_arguments()
            .map(Arg::get_id)
            .filter(|id| is_typed(id))
            .cloned()
            .collect();
        let flags: Vec<&Arg> = command
            .get_arguments()
            .filter(|arg| settable(arg))
            .collect();
        // All of the environment before any of the file, since one may rule out the other.
        for flag in &flags {
            let variable = format!("{VARIABLE_PREFIX}{}", key_of(flag).to_uppercase());
            if taken.contains(flag.get_id()) || ruled_out(command, flag, &taken) {
                continue;
            }
            if let Some(text) = environment(&variable).filter(|text| !text.is_empty()) {
                let value = value_of_variable(flag, &text).map_err(|why| SettingsError::Bad {
                    place: variable.clone(),
                    key: format!("--{}", long_of(flag)),
                    why,
                })?;
                settings.add(command, flag, value, Origin::Environment(variable), None)?;
                taken.insert(flag.get_id().clone());
            }
        }
        for flag in &flags {
            let key = key_of(flag);
            let Some(written) = file.get(&key) else {
                continue;
            };
            if taken.contains(flag.get_id()) || ruled_out(command, flag, &taken) {
                continue;
            }
            let origin = Origin::File {
                path: written.path.clone(),
                line: written.line,
            };
            settings.add(command, flag, written.value.clone(), origin, Some(written))?;
            taken.insert(flag.get_id().clone());
        }
        for flag in flags.iter().filter(|flag| is_typed(flag.get_id())) {
            settings.set.push(Setting {
                key: key_of(flag),
                value: typed_value(flag, typed),
                origin: Origin::CommandLine,
            });
        }
        let place = |key: &str| flags.iter().position(|flag| key_of(flag) == key);
        settings.set.sort_by_key(|setting| place(&setting.key));
        Ok(settings)
    }

    fn add(
        &mut self,
        command: &Command,
        flag: &Arg,
        value: Value,
        origin: Origin,
        written: Option<&Written>,
    ) -> Result<(), SettingsError> {
        let key = key_of(flag);
        let bad = |why: String| SettingsError::Bad {
            place: match (&origin, written) {
                (_, Some(written)) => written.place(),
                (Origin::Environment(name), None) => name.clone(),
                (origin, None) => origin.to_string(),
            },
            key: match written {
                Some(_) => key.clone(),
                None => format!("--{}", long_of(flag)),
            },
            why,
        };
        let words = words_of(flag, &value).map_err(bad)?;
        check(command, &words).map_err(bad)?;
        self.words.extend(words);
        self.set.push(Setting { key, value, origin });
        Ok(())
    }
}

impl Written {
    /// `file:line:column`.
    fn place(&self) -> String {
        format!("{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// The keys of all flags of a command and its verbs.
pub fn known_keys(command: &Command) -> HashSet<String> {
    std::iter::once(command)
        .chain(command.get_subcommands())
        .flat_map(Command::get_arguments)
        .filter(|arg| settable(arg))
        .map(key_of)
        .collect()
}

/// Whether a file or a variable can set it.
pub fn settable(flag: &Arg) -> bool {
    flag.get_long().is_some_and(|long| !NEVER.contains(&long))
}

fn long_of(flag: &Arg) -> &str {
    flag.get_long().unwrap_or_default()
}

/// The flag's key: its long name with `_` for `-`.
pub fn key_of(flag: &Arg) -> String {
    long_of(flag).replace('-', "_")
}

/// In which table the key of a flag stands, if not in `[defaults]`.
pub fn elsewhere(key: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(long, _)| long.replace('-', "_") == key)
        .map(|(_, place)| *place)
}

fn unknown(key: &str, written: &Written, known: &HashSet<String>) -> SettingsError {
    let hint = if let Some(place) = elsewhere(key) {
        format!(" here; it is written as {place}")
    } else {
        let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
        names.sort_unstable();
        match near(key, names).as_slice() {
            [] => "; the keys are the long flags of `tailll --help`, with _ for -".to_owned(),
            near => format!("; did you mean {}?", near.join(", ")),
        }
    };
    SettingsError::Unknown {
        place: written.place(),
        key: crate::causes::plain(key),
        hint,
    }
}

/// Whether a flag that was given before rules this one out: a stronger place has decided the matter.
fn ruled_out(command: &Command, flag: &Arg, taken: &HashSet<clap::Id>) -> bool {
    let excludes = |one: &Arg, other: &Arg| {
        command
            .get_arg_conflicts_with(one)
            .iter()
            .any(|conflict| conflict.get_id() == other.get_id())
    };
    command
        .get_arguments()
        .filter(|other| taken.contains(other.get_id()))
        .any(|other| excludes(flag, other) || excludes(other, flag))
}

fn is_switch(flag: &Arg) -> bool {
    matches!(
        flag.get_action(),
        ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count
    )
}

fn value_of_variable(flag: &Arg, text: &OsStr) -> Result<Value, String> {
    let text = text
        .to_str()
        .ok_or_else(|| "the variable is not valid UTF-8".to_owned())?;
    if is_switch(flag) {
        return match text {
            "1" | "true" | "yes" => Ok(Value::Switch(true)),
            "0" | "false" | "no" => Ok(Value::Switch(false)),
            other => Err(format!(
                "`{}` is neither true nor false",
                other.escape_debug()
            )),
        };
    }
    Ok(match flag.get_action() {
        ArgAction::Append => Value::Many(text.lines().map(str::to_owned).collect()),
        _ => Value::One(text.to_owned()),
    })
}

/// The value as words of a command line.
fn words_of(flag: &Arg, value: &Value) -> Result<Vec<OsString>, String> {
    let long = long_of(flag);
    let word = |text: &String| OsString::from(format!("--{long}={text}"));
    match (is_switch(flag), flag.get_action(), value) {
        (true, _, Value::Switch(true)) => Ok(vec![format!("--{long}").into()]),
        (true, _, Value::Switch(false)) => Ok(Vec::new()),
        (true, ..) => Err("write true or false".to_owned()),
        // A value that may be left out can be said with `true` as well.
        (false, _, Value::Switch(true))
            if flag.get_num_args().is_some_and(|n| n.min_values() == 0) =>
        {
            Ok(vec![format!("--{long}").into()])
        }
        (false, _, Value::Switch(false))
            if flag.get_num_args().is_some_and(|n| n.min_values() == 0) =>
        {
            Ok(Vec::new())
        }
        (false, _, Value::Switch(_)) => Err("it takes a value, not true or false".to_owned()),
        (false, _, Value::One(text)) => Ok(vec![word(text)]),
        (false, ArgAction::Append, Value::Many(texts)) => Ok(texts.iter().map(word).collect()),
        (false, _, Value::Many(_)) => Err("it takes one value, not a list".to_owned()),
    }
}

/// Lets the command line's own definition judge these words alone.
fn check(command: &Command, words: &[OsString]) -> Result<(), String> {
    let alone = command
        .clone()
        .subcommand_required(false)
        .mut_args(|arg| arg.required(false));
    let name = OsString::from("tailll");
    match alone.try_get_matches_from(std::iter::once(&name).chain(words)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.render().to_string();
            let first = text
                .lines()
                .take_while(|line| !line.trim().is_empty())
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" ");
            Err(first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// What was typed for a flag, as text.
fn typed_value(flag: &Arg, typed: &ArgMatches) -> Value {
    let id = flag.get_id().as_str();
    if is_switch(flag) {
        return Value::Switch(true);
    }
    let texts: Vec<String> = typed
        .get_raw(id)
        .into_iter()
        .flatten()
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    match (flag.get_action(), &texts[..]) {
        (ArgAction::Append, _) => Value::Many(texts),
        (_, [one]) => Value::One(one.clone()),
        (_, []) => Value::Switch(true),
        (_, _) => Value::Many(texts),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;
    use crate::config::Config;

    fn find(typed: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Settings, String> {
        let command = Args::command();
        let matches = command
            .clone()
            .try_get_matches_from([&["tailll"], typed].concat())
            .expect("good flags");
        let config = Config::parse(file, "c.toml".as_ref(), None).map_err(|e| e.to_string())?;
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        };
        Settings::find(
            &command,
            &matches,
            variable,
            &config.defaults,
            &known_keys(&command),
        )
        .map_err(|error| error.to_string())
    }

    fn said(typed: &[&str], environment: &[(&str, &str)], file: &str) -> String {
        match find(typed, environment, file) {
            Ok(settings) => settings
                .set
                .iter()
                .map(|setting| format!("{} = {} # {}", setting.key, setting.value, setting.origin))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error,
        }
    }

    #[test]
    fn the_nearest_place_wins() {
        let file =
            "[defaults]\ntail = 100\ncolor = 'never'\nexclude = ['a', 'b']\nno_follow = true\n";
        insta::assert_snapshot!(
            said(&["-n", "5", "x"], &[("TAILLL_COLOR", "always"), ("TAILLL_EXCLUDE", "one\ntwo")], file),
            @r#"
        tail = "5" # command line
        no_follow = true # c.toml:5
        exclude = ["one", "two"] # environment, TAILLL_EXCLUDE
        color = "always" # environment, TAILLL_COLOR
        "#
        );
    }

    #[test]
    fn the_words_are_read_before_those_typed() {
        let settings = find(
            &["x"],
            &[("TAILLL_TAIL", "7")],
            "[defaults]\nno_follow = true\n",
        )
        .expect("good settings");
        assert_eq!(settings.words, ["--tail=7", "--no-follow"]);
        let command = Args::command();
        let words = [
            &["tailll".into()],
            &settings.words[..],
            &["--follow".into(), "x".into()],
        ]
        .concat();
        let matches = command.try_get_matches_from(words).expect("good words");
        assert!(matches.get_flag("follow") && !matches.get_flag("no_follow"));
    }

    #[test]
    fn a_stronger_place_rules_out_what_contradicts_it() {
        let file = "[defaults]\nstdout = true\n";
        assert_eq!(
            said(&["--stderr", "x"], &[], file),
            "stderr = true # command line"
        );
        assert_eq!(
            said(&["x"], &[("TAILLL_STDERR", "1")], file),
            "stderr = true # environment, TAILLL_STDERR"
        );
    }

    #[test]
    fn errors_name_place_key_and_what_is_allowed() {
        let cases = [
            said(&["x"], &[], "[defaults]\n\n  tail = 'ten'\n"),
            said(&["x"], &[], "[defaults]\ntial = 3\n"),
            said(&["x"], &[], "[defaults]\ncolour = 'never'\n"),
            said(&["x"], &[], "[defaults]\nqwertz = 'never'\n"),
            said(&["x"], &[], "[defaults]\ncolor = 'sometimes'\n"),
            said(&["x"], &[], "[defaults]\nstdout = 'yes'\n"),
            said(&["x"], &[], "[defaults]\ntail = [1, 2]\n"),
            said(&["x"], &[], "[defaults]\ntail = true\n"),
            said(&["x"], &[], "[defaults]\nssh_config = 'none'\n"),
            said(&["x"], &[], "[defaults]\nconfig = 'x'\n"),
            said(&["x"], &[], "[defaults]\ntail = { a = 1 }\n"),
            said(&["x"], &[], "[defaults]\ninclude = [1.5, [2]]\n"),
            said(&["x"], &[("TAILLL_TAIL", "-3")], ""),
            said(&["x"], &[("TAILLL_STDOUT", "maybe")], ""),
        ];
        insta::assert_snapshot!(cases.join("\n"));
    }

    #[test]
    fn every_flag_can_be_set_by_key_and_by_variable() {
        let command = Args::command();
        for flag in command.get_arguments().filter(|flag| settable(flag)) {
            let key = key_of(flag);
            let alone = command.clone().mut_args(|arg| arg.required(false));
            let matches = alone
                .try_get_matches_from(["tailll"])
                .expect("nothing is required");
            if !is_switch(flag) {
                continue;
            }
            let variable = format!("TAILLL_{}", key.to_uppercase());
            let settings = Settings::find(
                &command,
                &matches,
                |name| (name == variable).then(|| "1".into()),
                &Defaults::new(),
                &known_keys(&command),
            )
            .expect("a good variable");
            assert_eq!(settings.set.len(), 1, "{key}");
        }
    }
}
