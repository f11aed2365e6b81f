//! Questions to the person who runs the program: one at a time, all others wait.
//!
//! Owns who is asked (the terminal, or the program that `SSH_ASKPASS` names) and that nothing else is written to the terminal
//! meanwhile. What is asked, what an answer is good for and how long it is remembered is for those who ask.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::output;
use crate::tty::Terminal;

pub use crate::tty::Echo;

/// Bytes of the answer of a program that asks, at most.
const ASKPASS_BYTES: u64 = 4096;

/// Characters of a text of strangers that are shown in a question.
pub const STRANGERS_CHARS: usize = 300;

/// Asks; cheap to clone.
#[derive(Clone)]
pub struct Prompter(Arc<Shared>);

struct Shared {
    ways: Ways,
    /// Paused while a question is open.
    output: Option<output::Pauser>,
    turn: Mutex<()>,
}

/// In which order who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ways {
    /// The terminal, and the program where there is none.
    TerminalFirst(Option<PathBuf>),
    /// The program.
    Program(PathBuf),
    /// Nobody.
    Nobody,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody can be asked.
    #[error(
        "nobody can be asked: run it in a terminal, or name a program that asks by SSH_ASKPASS (with SSH_ASKPASS_REQUIRE=prefer)"
    )]
    Nobody,
    /// Somebody was asked and did not want to answer.
    #[error("no answer was given")]
    Declined,
    /// The terminal or the program failed.
    #[error("asking failed: {0}")]
    Failed(String),
}

impl fmt::Debug for Prompter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prompter").field(&self.0.ways).finish()
    }
}

impl Prompter {
    /// Asks as OpenSSH does with this environment, and keeps `output` quiet meanwhile.
    pub fn new(environment: &BTreeMap<String, String>, output: Option<output::Pauser>) -> Self {
        Self(Arc::new(Shared {
            ways: Ways::of(environment),
            output,
            turn: Mutex::default(),
        }))
    }

    /// Asks nobody.
    pub fn nobody() -> Self {
        Self(Arc::new(Shared {
            ways: Ways::Nobody,
            output: None,
            turn: Mutex::default(),
        }))
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        match &self.0.ways {
            Ways::TerminalFirst(None) => Terminal::open().is_ok(),
            Ways::TerminalFirst(Some(_)) | Ways::Program(_) => true,
            Ways::Nobody => false,
        }
    }

    /// Asks once the questions before are answered. The text must be safe to show; it ends with a blank.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn ask(&self, question: &str, echo: Echo) -> Result<Zeroizing<String>, Unanswered> {
        let _turn = self.0.turn.lock().await;
        self.ask_in_turn(question, echo).await
    }

    /// Asks until the answer is `yes` or `no`.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn confirm(&self, question: &str) -> Result<Confirmed, Unanswered> {
        /// Answers that are neither before it counts as no.
        const TRIES: usize = 5;
        let _turn = self.0.turn.lock().await;
        let mut question = question.to_owned();
        for _ in 0..TRIES {
            let answer = self.ask_in_turn(&question, Echo::Shown).await?;
            match answer.trim().to_ascii_lowercase().as_str() {
                "yes" => return Ok(Confirmed::Yes),
                "no" => return Ok(Confirmed::No),
                _ => "Please type yes or no: ".clone_into(&mut question),
            }
        }
        Err(Unanswered::Declined)
    }

    async fn ask_in_turn(
        &self,
        question: &str,
        echo: Echo,
    ) -> Result<Zeroizing<String>, Unanswered> {
        match &self.0.ways {
            Ways::Nobody => Err(Unanswered::Nobody),
            Ways::Program(program) => run(program, question).await,
            Ways::TerminalFirst(program) => match (Terminal::open(), program) {
                (Ok(mut terminal), _) => {
                    // Held until the answer is there.
                    let _pause = match &self.0.output {
                        Some(output) => output.pause().await.ok(),
                        None => None,
                    };
                    match terminal.ask(question, echo).await {
                        Ok(Some(answer)) => Ok(answer),
                        Ok(None) => {
                            let _ = terminal.write("\n");
                            Err(Unanswered::Declined)
                        }
                        Err(error) => Err(Unanswered::Failed(error.to_string())),
                    }
                }
                (Err(_), Some(program)) => run(program, question).await,
                (Err(_), None) => Err(Unanswered::Nobody),
            },
        }
    }
}

/// An answer to a question for yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// Yes.
    Yes,
    /// No.
    No,
}

impl Ways {
    /// As OpenSSH decides it: the program is for those without a terminal who have a display, unless it is asked for.
    fn of(environment: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| {
            environment
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        let program = get("SSH_ASKPASS").map(PathBuf::from);
        let require = get("SSH_ASKPASS_REQUIRE").map(str::to_ascii_lowercase);
        let display = get("DISPLAY").or(get("WAYLAND_DISPLAY")).is_some();
        match (require.as_deref(), program) {
            (Some("force" | "prefer"), Some(program)) => Self::Program(program),
            (Some("force"), None) => Self::Nobody,
            (Some("never"), _) => Self::TerminalFirst(None),
            (_, program) => Self::TerminalFirst(program.filter(|_| display)),
        }
    }
}

/// Lets a program ask. It may take as long as it likes: somebody sits in front of it.
async fn run(program: &PathBuf, question: &str) -> Result<Zeroizing<String>, Unanswered> {
    let failed =
        |why: String| Unanswered::Failed(format!("{} (SSH_ASKPASS): {why}", program.display()));
    let mut child = Command::new(program)
        .arg(question)
        .env_remove("SSH_ASKPASS_PROMPT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(ASKPASS_BYTES as usize));
    if let Some(stdout) = child.stdout.take() {
        read(stdout, &mut bytes)
            .await
            .map_err(|error| failed(error.to_string()))?;
    }
    let status = child
        .wait()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(Unanswered::Declined);
    }
    let end = bytes
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end])
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| failed("its answer is not UTF-8".to_owned()))
}

async fn read(from: impl AsyncRead + Unpin, to: &mut Vec<u8>) -> std::io::Result<()> {
    from.take(ASKPASS_BYTES).read_to_end(to).await?;
    Ok(())
}

/// A stranger's text in a question: on one line, harmless, and not too long.
pub fn strangers(text: &str) -> String {
    let shown = crate::escape::text(text.trim());
    if shown.chars().count() <= STRANGERS_CHARS {
        return shown;
    }
    let mut cut: String = shown.chars().take(STRANGERS_CHARS - 1).collect();
    cut.push('\u{2026}');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_is_as_openssh_decides_it() {
        let ways = |words: &[(&str, &str)]| {
            Ways::of(
                &words
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        let program = PathBuf::from("/ask");
        assert_eq!(ways(&[]), Ways::TerminalFirst(None));
        assert_eq!(
            ways(&[("SSH_ASKPASS", "/ask")]),
            Ways::TerminalFirst(None),
            "without a display"
        );
        assert_eq!(
            ways(&[("SSH_ASKPASS", "/ask"), ("DISPLAY", ":0")]),
            Ways::TerminalFirst(Some(program.clone()))
        );
        for require in ["force", "prefer"] {
            assert_eq!(
                ways(&[("SSH_ASKPASS", "/ask"), ("SSH_ASKPASS_REQUIRE", require)]),
                Ways::Program(program.clone())
            );
        }
        assert_eq!(
            ways(&[
                ("SSH_ASKPASS", "/ask"),
                ("DISPLAY", ":0"),
                ("SSH_ASKPASS_REQUIRE", "never")
            ]),
            Ways::TerminalFirst(None)
        );
        assert_eq!(ways(&[("SSH_ASKPASS_REQUIRE", "force")]), Ways::Nobody);
    }

    #[test]
    fn strangers_cannot_drive_the_terminal_or_flood_it() {
        assert_eq!(strangers(" Code\x1b[2J\n: "), "Code\\x1b[2J\\x0a:");
        assert_eq!(
            strangers(&"x".repeat(5_000)).chars().count(),
            STRANGERS_CHARS
        );
    }
}
