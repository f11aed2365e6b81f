//! Completing a command line in a shell: verbs and flags by their definition, queries by their names, a query's parameters as flags
//! of their own, and the values of those that have choices.
//!
//! `queries completions SHELL` prints the shell's half, which calls the program again with [`VARIABLE`] set.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter};
use clap_complete::env::{CompleteEnv, Shells};

use crate::args;
use crate::catalogue::Catalogue;
use crate::output::Format;
use crate::parameter::Type;

/// Set by the shell's half when it asks for completions.
pub const VARIABLE: &str = "QUERIES_COMPLETE";

/// The shell's half, as a script.
///
/// # Errors
/// Names the shells that there are.
pub fn script(shell: &str) -> Result<Vec<u8>, UnknownShell> {
    let shells = Shells::builtins();
    let Some(known) = shells.completer(shell) else {
        return Err(UnknownShell {
            shell: shell.to_owned(),
            known: shells.names().collect(),
        });
    };
    let mut script = Vec::new();
    // Nothing but memory is written to.
    let _ = known.write_registration(VARIABLE, "queries", "queries", "queries", &mut script);
    Ok(script)
}

/// A shell that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no completions for the shell `{}`; there are some for {}", .shell.escape_debug(), .known.join(", "))]
pub struct UnknownShell {
    shell: String,
    known: Vec<&'static str>,
}

/// Whether a shell's half asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It did, and has its answer.
    Yes,
    /// A person runs the program.
    No,
}

/// Answers the shell's half, if it is that which runs the program.
///
/// # Errors
/// What the shell's half got wrong.
pub fn answer(words: &[OsString], catalogue: &Catalogue) -> Result<Answered, clap::Error> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(Answered::No);
    }
    let factory = || command(words, catalogue);
    let current_dir = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(factory)
        .var(VARIABLE)
        .bin("queries")
        .completer("queries")
        .try_complete(words, current_dir.as_deref())?;
    Ok(if answered {
        Answered::Yes
    } else {
        Answered::No
    })
}

/// The command line with everything in it that words can become.
fn command(words: &[OsString], catalogue: &Catalogue) -> clap::Command {
    let query = args::named_queries(words, catalogue).next();
    let names: Vec<(String, String)> = catalogue
        .queries()
        .map(|query| (query.name.clone(), query.answers.clone()))
        .collect();
    let names = ArgValueCompleter::new(Words(Arc::new(names)));
    let choices: Vec<(String, ArgValueCompleter)> = query
        .into_iter()
        .flat_map(|query| &query.parameters)
        .filter_map(|parameter| match &parameter.kind {
            Type::Choice(words) => {
                let words = words.iter().map(|word| (word.clone(), String::new()));
                let words = Words(Arc::new(words.collect()));
                Some((
                    format!("parameter:{}", parameter.name),
                    ArgValueCompleter::new(words),
                ))
            }
            _ => None,
        })
        .collect();
    let formats = Format::ALL.map(|format| (format.word().to_owned(), String::new()));
    let formats = ArgValueCompleter::new(Words(Arc::new(formats.to_vec())));
    let shells = Shells::builtins();
    let shells = shells.names().map(|name| (name.to_owned(), String::new()));
    let shells = ArgValueCompleter::new(Words(Arc::new(shells.collect())));
    let add = |command: clap::Command| {
        command.mut_args(|arg| match arg.get_id().as_str() {
            "query" => arg.add(names.clone()),
            "output" => arg.add(formats.clone()),
            "shell" => arg.add(shells.clone()),
            id => match choices.iter().find(|(of, _)| of == id) {
                Some((_, completer)) => arg.add(completer.clone()),
                None => arg,
            },
        })
    };
    let command = args::command(query);
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    verbs
        .into_iter()
        .fold(command, |command, verb| command.mut_subcommand(verb, add))
}

/// Words with what they mean.
struct Words(Arc<Vec<(String, String)>>);

impl ValueCompleter for Words {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begun = current.to_string_lossy();
        self.0
            .iter()
            .filter(|(word, _)| word.starts_with(&*begun))
            .map(|(word, help)| {
                let help = (!help.is_empty()).then(|| help.into());
                CompletionCandidate::new(word).help(help)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let catalogue = Catalogue::built_in();
        let mut command = command(&words, &catalogue);
        let last = words.len() - 1;
        clap_complete::engine::complete(&mut command, words, last, None)
            .expect("candidates")
            .into_iter()
            .map(|candidate| candidate.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn words_become_queries_and_their_parameters() {
        assert_eq!(
            complete("queries run la"),
            ["last-words", "late-events", "latency"]
        );
        assert_eq!(complete("queries show gr"), ["grep"]);
        assert_eq!(complete("queries run grep --pat"), ["--pattern"]);
        assert_eq!(complete("queries run grep --level w"), ["warn"]);
        assert_eq!(complete("queries run grep -o ch"), ["chart"]);
        assert_eq!(complete("queries run silence --pat"), Vec::<String>::new());
        assert!(complete("queries completions ").contains(&"fish".to_owned()));
    }

    #[test]
    fn scripts_are_there_for_shells() {
        for shell in ["bash", "zsh", "fish", "elvish"] {
            let script = String::from_utf8(script(shell).expect("a script")).expect("UTF-8");
            assert!(script.contains(VARIABLE), "{shell}");
        }
        let error = script("cmd").expect_err("no such shell").to_string();
        assert!(error.contains("bash"), "{error}");
    }
}
