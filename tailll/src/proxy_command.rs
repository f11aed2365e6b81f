//! `ProxyCommand`: a program whose input and output are the connection.
//!
//! Owns the program's life: it is started through the user's shell in a process group of its own, and the group is ended when
//! the connection goes. Also owns what it says on standard error, which is shown when there is no connection.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{oneshot, watch};

use crate::causes::plain;

/// How long a program may take to end by itself once its connection is gone.
const END_GRACE: Duration = Duration::from_millis(500);

/// Bytes of its standard error that are kept for a message.
const STDERR_BYTES: usize = 1024;

/// The program's output and input as one stream. The program is ended when it is dropped.
#[derive(Debug)]
pub struct ProxyStream {
    output: ChildStdout,
    input: ChildStdin,
    /// Told by its going.
    _gone: oneshot::Sender<()>,
}

/// Says how the program ended.
#[derive(Debug)]
pub struct Ending {
    command: String,
    ended: watch::Receiver<Option<Ended>>,
}

#[derive(Debug, Clone)]
struct Ended {
    /// How it ended by itself; nothing if it was ended.
    status: Option<String>,
    /// Whether that says nothing against it.
    is_well: bool,
    stderr: String,
}

/// Starts a command by `shell -c "exec COMMAND"`.
///
/// # Errors
/// When the shell cannot be started.
pub fn start(command: &str, shell: &str) -> io::Result<(ProxyStream, Ending)> {
    let mut child = Command::new(shell)
        .arg("-c")
        .arg(format!("exec {command}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own: the keys that end this program must not end it before its turn, and whatever it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let (Some(input), Some(output), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("it has no pipes"));
    };
    let (told, gone) = oneshot::channel();
    let (tell, ended) = watch::channel(None);
    let group = Group::of(child);
    tokio::spawn(async move {
        tell.send_replace(Some(group.see_through(stderr, gone).await));
    });
    let stream = ProxyStream {
        output,
        input,
        _gone: told,
    };
    let ending = Ending {
        command: command.to_owned(),
        ended,
    };
    Ok((stream, ending))
}

/// The program with all that it started; ended when dropped.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let id = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Self { child, id }
    }

    async fn see_through(
        mut self,
        mut stderr: ChildStderr,
        mut gone: oneshot::Receiver<()>,
    ) -> Ended {
        let mut said = Vec::new();
        let mut bytes = [0; STDERR_BYTES];
        let mut is_said = false;
        let mut is_gone = false;
        let mut status = None;
        // Whichever comes first: its end, or the time that it has after its connection is gone. What it says is read all the
        // while, so that it never waits for us.
        let late = tokio::time::sleep(END_GRACE);
        tokio::pin!(late);
        while status.is_none() {
            tokio::select! {
                ended = self.child.wait() => {
                    match ended {
                        Ok(ended) => status = Some(ended),
                        // Nobody knows how it ended, then.
                        Err(_) => break,
                    }
                }
                count = stderr.read(&mut bytes), if !is_said => match count {
                    Ok(count) if count > 0 => keep(&mut said, &bytes[..count]),
                    _ => is_said = true,
                },
                _ = &mut gone, if !is_gone => {
                    is_gone = true;
                    late.as_mut().reset(tokio::time::Instant::now() + END_GRACE);
                }
                () = &mut late, if is_gone => break,
            }
        }
        // Its last words may still be in the pipe, which something that it left behind may hold open.
        while let Ok(Ok(count @ 1..)) =
            tokio::time::timeout(Duration::from_millis(10), stderr.read(&mut bytes)).await
        {
            keep(&mut said, &bytes[..count]);
            if said.len() >= STDERR_BYTES {
                break;
            }
        }
        Ended {
            is_well: status.is_none_or(|status| status.success()),
            status: status.map(|status| status.to_string()),
            stderr: String::from_utf8_lossy(&said).into_owned(),
        }
    }
}

fn keep(said: &mut Vec<u8>, more: &[u8]) {
    let room = STDERR_BYTES.saturating_sub(said.len());
    said.extend_from_slice(&more[..more.len().min(room)]);
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Nobody is left in it, if all went well.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Ending {
    /// Why there is no connection, as far as the program is the reason: how it ended by itself and what it said. The stream
    /// must have been dropped, or this may wait for as long as the program runs.
    pub async fn reason(mut self) -> Option<String> {
        let limit = END_GRACE * 4;
        let ended = tokio::time::timeout(limit, self.ended.wait_for(Option::is_some))
            .await
            .ok()?
            .ok()?
            .clone()?;
        let words: Vec<&str> = ended
            .stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let how = match &ended.status {
            // It did what it should, or is still there: what is wrong is behind it.
            _ if words.is_empty() && ended.is_well => return None,
            Some(status) => format!("ended ({status})"),
            None => "made no connection".to_owned(),
        };
        let words = if words.is_empty() {
            String::new()
        } else {
            format!(": {}", words.join("; "))
        };
        Some(plain(&format!(
            "ProxyCommand `{}` {how}{words}; try it by hand",
            self.command
        )))
    }
}

impl AsyncRead for ProxyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, into)
    }
}

impl AsyncWrite for ProxyStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_comes_back_and_the_group_ends_with_the_stream() {
        // The second program ignores the end of its input, as does the first.
        let (mut stream, ending) =
            start("sh -c 'sleep 1000 & echo $!; exec cat; wait'", "/bin/sh").expect("a shell");
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            text.push(stream.read_u8().await.expect("a number"));
        }
        let sleeper = String::from_utf8_lossy(&text).trim().to_owned();
        stream.write_all(b"hello").await.expect("to write");
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.expect("an echo");
        assert_eq!(&back, b"hello");
        drop(stream);
        // cat ends by itself when its input does; the sleeper is left to the group.
        assert_eq!(ending.reason().await, None, "there is nothing against it");
        let stat = format!("/proc/{sleeper}/stat");
        let is_alive = || {
            std::fs::read_to_string(&stat).is_ok_and(|stat| {
                let state = stat.rsplit(") ").next().unwrap_or_default();
                !state.starts_with('Z')
            })
        };
        let mut looks = 0;
        while is_alive() {
            looks += 1;
            assert!(looks < 1000, "{sleeper} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn its_end_and_its_words_are_told_escaped_and_cut() {
        let (stream, ending) = start(
            "sh -c 'printf \"no \\033[31mway\\n\" >&2; yes >&2 & exit 7'",
            "/bin/sh",
        )
        .expect("a shell");
        drop(stream);
        let reason = ending.reason().await.expect("an end");
        assert!(reason.contains("exit status: 7"), "{reason}");
        assert!(reason.contains("no \\u{1b}[31mway"), "{reason}");
        assert!(reason.len() < 2 * STDERR_BYTES, "{reason}");
    }

    #[tokio::test]
    async fn one_that_stays_is_ended() {
        let (stream, ending) = start("sleep 1000", "/bin/sh").expect("a shell");
        drop(stream);
        assert_eq!(ending.reason().await, None);
    }
}
