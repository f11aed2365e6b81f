//! Host keys that nobody knows yet: asked about together, remembered for the run, and written to the known hosts.
//!
//! Hosts that are dialled at once show their keys at once, so one question lists all of them. What the known hosts say about
//! a key, and what their lines look like, is `known_hosts`' matter; whether to ask at all is decided by who checks the key.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::follow::Say;
use crate::known_hosts::{HASH_BYTES, HostKey, HostName, NameForm, new_line};
use crate::lock::lock;
use crate::prompt::{Confirmed, Prompter, Unanswered};
use crate::ssh_config::rules::KnownNames;

/// How long keys are gathered before the question.
const GATHER: Duration = Duration::from_millis(700);

/// Keys in one question, at most; further ones are asked about next.
const KEYS_A_QUESTION: usize = 50;

/// A key that is not known, and where it is to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The host as people call it, safe to show.
    pub shown: String,
    /// The name in the known hosts.
    pub name: String,
    /// The key's blob.
    pub blob: Vec<u8>,
    /// The file to write it to, if there is one.
    pub file: Option<PathBuf>,
    /// How the name is written.
    pub names: KnownNames,
}

/// What the keys accepted in this run say about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It was accepted for the host.
    This,
    /// Another one was accepted for the host.
    Another,
    /// None was.
    None,
}

/// Asks and remembers.
pub struct NewKeys {
    prompter: Prompter,
    say: Say,
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    accepted: HashMap<String, Vec<Vec<u8>>>,
    declined: Vec<(String, Vec<u8>)>,
    waiting: Vec<(NewKey, oneshot::Sender<Result<Confirmed, Unanswered>>)>,
}

impl std::fmt::Debug for NewKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKeys").finish_non_exhaustive()
    }
}

impl NewKeys {
    /// Nothing is accepted yet. `say` is told what cannot be written.
    pub fn new(prompter: Prompter, say: Say) -> Self {
        Self {
            prompter,
            say,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        self.prompter.can_ask()
    }

    /// What was accepted in this run for the host.
    pub fn accepted(&self, name: &str, blob: &[u8]) -> Accepted {
        match self.state().accepted.get(name) {
            Some(blobs) if blobs.iter().any(|known| known == blob) => Accepted::This,
            Some(_) => Accepted::Another,
            None => Accepted::None,
        }
    }

    /// Accepts a key without a question, and writes it down.
    pub fn accept(&self, key: &NewKey) {
        self.remember(std::slice::from_ref(key));
    }

    /// Asks about a key, together with all others that come at about the same time.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn ask(&self, key: &NewKey) -> Result<Confirmed, Unanswered> {
        loop {
            let (sender, mut answer) = oneshot::channel();
            {
                let mut state = self.state();
                if state
                    .accepted
                    .get(&key.name)
                    .is_some_and(|blobs| blobs.contains(&key.blob))
                {
                    return Ok(Confirmed::Yes);
                }
                if state
                    .declined
                    .iter()
                    .any(|(name, blob)| *name == key.name && *blob == key.blob)
                {
                    return Ok(Confirmed::No);
                }
                state.waiting.push((key.clone(), sender));
            }
            let turn = self.turn.lock().await;
            match answer.try_recv() {
                Ok(answer) => return answer,
                // Whoever was asking for us was called off.
                Err(oneshot::error::TryRecvError::Closed) => continue,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            tokio::time::sleep(GATHER).await;
            self.ask_all().await;
            drop(turn);
            if let Ok(answer) = answer.try_recv() {
                return answer;
            }
            // More keys than fit into one question, or this one's turn was lost: once more.
        }
    }

    /// Asks one question about those that wait longest.
    async fn ask_all(&self) {
        let asked: Vec<_> = {
            let mut state = self.state();
            state.waiting.retain(|(_, answer)| !answer.is_closed());
            let count = state.waiting.len().min(KEYS_A_QUESTION);
            state.waiting.drain(..count).collect()
        };
        if asked.is_empty() {
            return;
        }
        let mut keys: Vec<NewKey> = Vec::new();
        for (key, _) in &asked {
            if !keys
                .iter()
                .any(|other| other.name == key.name && other.blob == key.blob)
            {
                keys.push(key.clone());
            }
        }
        let answer = self.prompter.confirm(&question(&keys)).await;
        match &answer {
            Ok(Confirmed::Yes) => self.remember(&keys),
            Ok(Confirmed::No) | Err(Unanswered::Declined) => {
                let mut state = self.state();
                for key in keys {
                    state.declined.push((key.name, key.blob));
                }
            }
            Err(_) => {}
        }
        for (_, asker) in asked {
            // It may have gone.
            let _ = asker.send(answer.clone());
        }
    }

    fn remember(&self, keys: &[NewKey]) {
        let mut files: Vec<(&Path, String)> = Vec::new();
        for key in keys {
            let known = {
                let mut state = self.state();
                let blobs = state.accepted.entry(key.name.clone()).or_default();
                let known = blobs.contains(&key.blob);
                if !known {
                    blobs.push(key.blob.clone());
                }
                known
            };
            let (Some(file), false) = (key.file.as_deref(), known) else {
                continue;
            };
            let line = match line(key) {
                Ok(line) => line,
                Err(why) => {
                    (self.say)(format!(
                        "the key of {} is not written down: {why}",
                        key.shown
                    ));
                    continue;
                }
            };
            match files.iter_mut().find(|(other, _)| *other == file) {
                Some((_, lines)) => lines.push_str(&line),
                None => files.push((file, line)),
            }
        }
        for (file, lines) in files {
            if let Err(error) = append(file, &lines) {
                (self.say)(format!(
                    "new host keys cannot be written to {}: {error}; they are trusted for this run, and asked about again in the next",
                    file.display()
                ));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn question(keys: &[NewKey]) -> String {
    let mut text = match keys {
        [_] => "tailll: no host key is known for this host:\n".to_owned(),
        several => format!(
            "tailll: no host keys are known for these {} hosts:\n",
            several.len()
        ),
    };
    for key in keys {
        let described = HostKey::from_blob(&key.blob).map_or_else(
            |error| error.to_string(),
            |key| format!("{} {}", key.algorithm(), key.fingerprint()),
        );
        let _ = writeln!(text, "  {}  {described}", key.shown);
    }
    let mut files: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(key.file.as_ref()?.display().to_string()))
        .collect();
    files.sort();
    files.dedup();
    let place = if files.is_empty() {
        "for this run".to_owned()
    } else {
        format!("and write to {}", files.join(", "))
    };
    let _ = write!(
        text,
        "Are these the keys that the administrator names? Trust all of them {place} (yes/no)? "
    );
    text
}

/// The key's line, newline included.
fn line(key: &NewKey) -> Result<String, String> {
    let host = HostName {
        name: "",
        port: 0,
        alias: Some(&key.name),
    };
    let form = match key.names {
        KnownNames::Plain => NameForm::Plain,
        KnownNames::Hashed => {
            let mut salt = [0; HASH_BYTES];
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| "there is no randomness".to_owned())?;
            NameForm::Hashed { salt }
        }
    };
    let blob = HostKey::from_blob(&key.blob).map_err(|error| error.to_string())?;
    let line = new_line(&host, &blob, form).map_err(|error| error.to_string())?;
    Ok(line + "\n")
}

/// Appends whole lines by one write, so that two programs at once do not mix theirs.
fn append(file: &Path, lines: &str) -> io::Result<()> {
    if let Some(folder) = file.parent()
        && !folder.as_os_str().is_empty()
        && !folder.exists()
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut open = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?;
    let mut text = String::new();
    if fs::metadata(file)?.is_file() && open.seek(SeekFrom::End(0))? > 0 {
        open.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        open.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(lines);
    let written = open.write(text.as_bytes())?;
    if written < text.len() {
        return Err(io::Error::new(
            io::ErrorKind::WriteZero,
            "only a part was written",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;

    fn key(name: &str, file: Option<&Path>, names: KnownNames) -> NewKey {
        NewKey {
            shown: name.to_owned(),
            name: name.to_owned(),
            blob: b"\0\0\0\x0bssh-ed25519\0\0\0\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".to_vec(),
            file: file.map(Path::to_owned),
            names,
        }
    }

    fn new_keys(prompter: Prompter) -> (NewKeys, Arc<Mutex<Vec<String>>>) {
        let said = Arc::new(Mutex::new(Vec::new()));
        let say: Say = {
            let said = said.clone();
            Arc::new(move |line| said.lock().unwrap().push(line))
        };
        (NewKeys::new(prompter, say), said)
    }

    #[test]
    fn accepted_keys_are_appended_as_known_hosts_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/known_hosts");
        let (keys, said) = new_keys(Prompter::nobody());
        let plain = key("[web1]:2222", Some(&file), KnownNames::Plain);
        let hashed = key("web2", Some(&file), KnownNames::Hashed);
        keys.accept(&plain);
        // Somebody's editor left no newline at the end.
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.trim_end()).unwrap();
        keys.accept(&hashed);
        keys.accept(&hashed);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("[web1]:2222 ssh-ed25519 AAAA"), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("|1|"), "{text}");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let known = crate::known_hosts::KnownHosts::load(&[file]).unwrap();
        for (name, port) in [("web1", 2222), ("web2", 22)] {
            let host = crate::known_hosts::HostName {
                name,
                port,
                alias: None,
            };
            assert_eq!(
                known.check(&host, &HostKey::from_blob(&plain.blob).unwrap()),
                crate::known_hosts::Verdict::Known,
                "{name}"
            );
        }
        assert_eq!(keys.accepted("web2", &hashed.blob), Accepted::This);
        assert_eq!(keys.accepted("web2", b"other"), Accepted::Another);
        assert_eq!(keys.accepted("web3", &hashed.blob), Accepted::None);
        assert!(said.lock().unwrap().is_empty());

        keys.accept(&key("web4", Some(folder.path()), KnownNames::Plain));
        let said = said.lock().unwrap();
        assert!(said[0].contains("cannot be written"), "{said:?}");
    }

    #[test]
    fn one_question_lists_all_keys_and_its_answer_is_for_all() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ask");
        let log = folder.path().join("log");
        let mut script = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o755)
            .open(&program)
            .unwrap();
        write!(
            script,
            "#!/bin/sh\nprintf '%s' \"$1\" >>{}\necho yes\n",
            log.display()
        )
        .unwrap();
        drop(script);
        let environment = [
            ("SSH_ASKPASS", program.to_str().unwrap()),
            ("SSH_ASKPASS_REQUIRE", "force"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (keys, _) = new_keys(Prompter::new(&environment.into(), None));
        let keys = Arc::new(keys);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut asking = tokio::task::JoinSet::new();
            for number in 0..60 {
                let keys = keys.clone();
                asking.spawn(async move {
                    keys.ask(&key(&format!("web{number}"), None, KnownNames::Plain))
                        .await
                });
            }
            while let Some(answer) = asking.join_next().await {
                assert_eq!(answer.unwrap(), Ok(Confirmed::Yes));
            }
        });
        let asked = fs::read_to_string(&log).unwrap();
        assert_eq!(asked.matches("(yes/no)").count(), 2, "{asked}");
        assert!(asked.contains("these 50 hosts"), "{asked}");
        assert!(asked.contains("ssh-ed25519 SHA256:"), "{asked}");
    }

    #[test]
    fn without_anybody_to_ask_nothing_is_accepted() {
        let (keys, _) = new_keys(Prompter::nobody());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let web = key("web1", None, KnownNames::Plain);
        assert_eq!(runtime.block_on(keys.ask(&web)), Err(Unanswered::Nobody));
        assert_eq!(keys.accepted("web1", &web.blob), Accepted::None);
    }
}
