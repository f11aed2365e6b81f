//! `tailll ssh`: a shell in an instance's sandbox, or one command there, through the user's own `ssh`.
//!
//! The system's client has the terminal, the agent's forwarding and whatever else a person expects of a shell, so it runs in
//! this program's place. What runs on the host goes to the folder or fails: it never runs anywhere else.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::as_role::Become;
use crate::clock::Clock;
use crate::command_line::quote;
use crate::config::{Config, SshConfigFile};
use crate::console::{Console, ConsoleError, Streams};
use crate::exit::Exit;
use crate::instance::{Files, Instance, Place};
use crate::options::{Environment, Options};
use crate::resolve::Context;
use crate::roster::Roster;

/// The most instances that are named where one was wanted.
const MAX_NAMED: usize = 20;

/// Why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// There is nobody to talk to.
    #[error(transparent)]
    Console(#[from] ConsoleError),
    /// The target is several instances.
    #[error("which of the {count} instances? add its number or --host: {}", .names.join(", "))]
    Several {
        /// How many.
        count: usize,
        /// Their names, at most 20.
        names: Vec<String>,
    },
    /// The instance is on this host.
    #[error("{0} is on this host: its files need no ssh; `tailll ls -o raw` prints their paths")]
    Local(String),
    /// The client cannot be started.
    #[error("cannot run `{program}`; install OpenSSH's client, or see that it is in PATH")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// How to look for the instance's folder, and what to run there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The command and its arguments; a shell where there is none.
    pub command: Vec<String>,
}

/// Finds the instance, then runs `ssh` in this program's place; returns only if that fails.
///
/// # Errors
/// See [`ShellError`].
pub async fn run(
    options: Options,
    config: Config,
    environment: Environment,
    streams: Streams,
    clock: Clock,
    request: Request,
) -> Result<Exit, ShellError> {
    let mut console = Console::open(streams, options.talk)?;
    let context = Context::new(&options, &config, &environment, clock);
    let talker = console.talker.clone();
    let roster = tokio::select! {
        roster = Roster::call(&options.targets, &context, &options.selection, &talker) => roster,
        exit = console.signals.next() => return Ok(exit),
    };
    drop(talker);
    console.close().await.map_err(ConsoleError::from)?;
    let instance = match &roster.instances[..] {
        [] => return Ok(roster.nothing()),
        [instance] => instance,
        several => {
            let name = |instance: &Instance| crate::causes::plain(&instance.label.name());
            return Err(ShellError::Several {
                count: several.len(),
                names: several.iter().take(MAX_NAMED).map(name).collect(),
            });
        }
    };
    let words = words(instance, &options.ssh.config, &request)?;
    let (program, first) = match &options.ssh.command {
        Some(command) => (command.program(), command.arguments()),
        None => ("ssh", &[][..]),
    };
    Err(ShellError::Start {
        program: program.escape_debug().to_string(),
        source: Command::new(program).args(first).args(words).exec(),
    })
}

/// The arguments of `ssh`.
fn words(
    instance: &Instance,
    config: &SshConfigFile,
    request: &Request,
) -> Result<Vec<OsString>, ShellError> {
    let login = match &instance.place {
        Place::Local => return Err(ShellError::Local(instance.label.name())),
        Place::Ssh(login) => login,
    };
    let mut words: Vec<OsString> = Vec::new();
    match config {
        SshConfigFile::Usual => {}
        SshConfigFile::None => words.extend(["-F".into(), "none".into()]),
        SshConfigFile::File(file) => words.extend(["-F".into(), file.into()]),
    }
    if let Some(user) = &login.user {
        words.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = login.port {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    // A terminal for a shell; for a command only what `ssh` itself would do, so that its output stays as it is.
    if request.command.is_empty() {
        words.push("-t".into());
    }
    words.extend([
        "--".into(),
        login.host.clone().into(),
        remote_command(&instance.files, instance.as_role.as_ref(), &request.command).into(),
    ]);
    Ok(words)
}

/// What the login's shell is given. It may be any shell, so it only starts `sh` with one quoted word, on one line.
fn remote_command(files: &Files, as_role: Option<&Become>, command: &[String]) -> String {
    let folders: Vec<String> = match files {
        Files::Sandbox {
            slave_root,
            run_directory,
            task_id,
        } => vec![format!(
            "{}/slaves/*/frameworks/*/executors/*{}/runs/{}/sandbox",
            quote(slave_root),
            quote(task_id),
            quote(run_directory)
        )],
        Files::Folder(folder) => vec![quote(folder)],
        // The pattern's own wildcards stay wildcards; the folder is what is before its last slash.
        Files::Globs(globs) => globs
            .iter()
            .map(|glob| match glob.rsplit_once('/') {
                Some(("", _)) | None => "/".to_owned(),
                Some((folder, _)) => quote_glob(folder),
            })
            .collect(),
    };
    let run = if command.is_empty() {
        "exec \"${SHELL:-/bin/sh}\" -l".to_owned()
    } else {
        let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
        format!("exec {}", words.join(" "))
    };
    let folders = folders.join(" ");
    let script = format!(
        "for d in {folders}; do if cd \"$d\" 2>/dev/null; then {run}; fi; done; \
         echo \"tailll: $(hostname): no folder\" {} \"that this user may enter\" >&2; exit 66",
        quote(&folders)
    );
    let shell = as_role.map_or_else(|| "exec sh".to_owned(), Become::shell);
    format!("{shell} -c {}", quote(&script))
}

/// Quotes all of a pattern but its wildcards.
fn quote_glob(pattern: &str) -> String {
    pattern
        .split_inclusive(['*', '?', '[', ']'])
        .map(|part| match part.char_indices().next_back() {
            Some((at, last)) if "*?[]".contains(last) => format!("{}{last}", quote(&part[..at])),
            _ => quote(part),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ran(files: &Files, command: &[&str]) -> (i32, String) {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let output = Command::new("sh")
            .args(["-c", &remote_command(files, None, &command)])
            .output()
            .expect("a shell");
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    }

    #[test]
    fn the_command_runs_in_the_sandbox_or_not_at_all() {
        let root = tempfile::tempdir().expect("a folder");
        let slave_root = root.path().join("it's a 'root'");
        let sandbox =
            slave_root.join("slaves/s/frameworks/f/executors/thermos-t-1/runs/latest/sandbox");
        fs::create_dir_all(&sandbox).expect("a sandbox");
        let files = |task_id: &str| Files::Sandbox {
            slave_root: slave_root.to_str().expect("a path").to_owned(),
            run_directory: "latest".to_owned(),
            task_id: task_id.to_owned(),
        };
        let (code, text) = ran(
            &files("t-1"),
            &["sh", "-c", "pwd; echo \"$1\"", "x", "a 'b' $HOME"],
        );
        assert_eq!(
            (code, text.as_str()),
            (0, format!("{}\na 'b' $HOME\n", sandbox.display()).as_str())
        );
        let (code, text) = ran(&files("t-2"), &["echo", "never"]);
        assert_eq!(code, 66);
        assert!(
            text.contains("no folder") && !text.contains("never"),
            "{text}"
        );
    }

    #[test]
    fn files_on_hosts_have_a_folder_too() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("app one");
        fs::create_dir_all(&folder).expect("a folder");
        let glob = format!("{}/app*/*.log", root.path().display());
        let (code, text) = ran(&Files::Globs(vec![glob]), &["pwd"]);
        assert_eq!((code, text.trim()), (0, folder.to_str().expect("a path")));
    }
}
