//! Processes that were started here: signals for them, and finding those that outlive their parent.
//!
//! A process is found by a marker in its environment, which its children inherit wherever they move to. So nothing is
//! ever chosen by its name, and a number that was used again is never hit.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// The environment variable that carries a marker.
pub const MARKER_VARIABLE: &str = "E2E_MARKER";

/// How often [`end_marked`] looks again for processes that were born while it looked.
const END_ROUNDS_MAX: u32 = 20;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// One process.
    Process(u32),
    /// Every process of the group that this process leads.
    Group(u32),
}

/// Sends a signal, named without its `SIG`. That the recipient is gone already is an error.
///
/// The shell's own `kill` does it: no unsafe code here, and no package needed on the machine.
pub fn signal(recipient: Recipient, name: &str) -> io::Result<()> {
    signal_all(&[recipient], name)
}

fn signal_all(recipients: &[Recipient], name: &str) -> io::Result<()> {
    let status = Command::new("/bin/sh")
        .args(["-c", r#"s=$1; shift; kill -s "$s" -- "$@""#, "sh", name])
        .args(recipients.iter().map(|recipient| match recipient {
            Recipient::Process(id) => id.to_string(),
            Recipient::Group(id) => format!("-{id}"),
        }))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no process took SIG{name}: {recipients:?}"),
        ))
    }
}

/// The processes whose environment carries this marker, lowest number first. Zombies do not count.
pub fn marked(marker: &str) -> Vec<u32> {
    let wanted = format!("{MARKER_VARIABLE}={marker}");
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            // A process that ended meanwhile, or is somebody else's, cannot be read, and is not ours. A zombie's
            // environment reads as empty.
            fs::read(format!("/proc/{id}/environ"))
                .is_ok_and(|all| all.split(|&b| b == 0).any(|one| one == wanted.as_bytes()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Ends every process that carries this marker, by SIGKILL. Returns those that are left after all tries.
pub fn end_marked(marker: &str) -> Vec<u32> {
    for _ in 0..END_ROUNDS_MAX {
        let left: Vec<_> = marked(marker).into_iter().map(Recipient::Process).collect();
        if left.is_empty() {
            return Vec::new();
        }
        // Some may have ended by themselves since; the next round looks.
        let _ = signal_all(&left, "KILL");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    marked(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_inherited_and_its_processes_are_ended() {
        let marker = format!("processes-test-{}", std::process::id());
        assert!(marked(&marker).is_empty());
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 600 & sleep 600; :"])
            .env(MARKER_VARIABLE, &marker)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while marked(&marker).len() < 3 {
            assert!(
                std::time::Instant::now() < deadline,
                "the sleeps never started"
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(end_marked(&marker).is_empty());
        assert!(!child.wait().unwrap().success());
        assert!(signal(Recipient::Process(child.id()), "TERM").is_err());
    }
}
