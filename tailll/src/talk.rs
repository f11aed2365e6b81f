//! Talk: what is said on standard error, from anywhere and in order, without waiting for it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::lock::lock;
use crate::options;
use crate::output;
use crate::status::Status;

/// Messages that may wait. More means that standard error is not read, so there is nobody to tell.
const LINES_QUEUED: usize = 1024;

/// How long states may go on changing before they are shown.
const STATUS_AFTER: Duration = Duration::from_millis(200);

/// Says things; cheap to clone.
#[derive(Debug, Clone)]
pub struct Talker {
    items: mpsc::Sender<Item>,
    board: Arc<Board>,
    policy: options::Talk,
}

#[derive(Debug)]
enum Item {
    Line(String),
    End(oneshot::Sender<()>),
}

/// What is known of the hosts, and whether it has changed.
#[derive(Debug, Default)]
struct Board {
    status: Mutex<Status>,
    changed: Notify,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }
}

impl Talker {
    /// Starts the task that passes on what is said. It holds the output until [`Talker::finish`].
    pub fn start(out: output::Handle, policy: options::Talk) -> Self {
        let (items, said) = mpsc::channel(LINES_QUEUED);
        let board = Arc::new(Board::default());
        tokio::spawn(pass_on(said, board.clone(), out, policy));
        Self {
            items,
            board,
            policy,
        }
    }

    /// An error or a warning.
    pub fn say(&self, line: &str) {
        let _ = self.items.try_send(Item::Line(format!("tailll: {line}")));
    }

    /// An instance that comes or goes, and the like.
    pub fn note(&self, line: &str) {
        if self.policy == options::Talk::All {
            let _ = self.items.try_send(Item::Line(line.to_owned()));
        }
    }

    /// Changes what is known of the hosts.
    pub fn status(&self, edit: impl FnOnce(&mut Status)) {
        edit(&mut self.board.lock());
        self.board.changed.notify_one();
    }

    /// Waits until all that was said has been passed on.
    pub async fn finish(self) {
        let (done, ended) = oneshot::channel();
        if self.items.send(Item::End(done)).await.is_ok() {
            // An error means that the output ended before.
            let _ = ended.await;
        }
    }
}

async fn pass_on(
    mut said: mpsc::Receiver<Item>,
    board: Arc<Board>,
    out: output::Handle,
    policy: options::Talk,
) {
    let mut shown = None;
    loop {
        let changed = async {
            board.changed.notified().await;
            // Many hosts change at once when the program starts.
            tokio::time::sleep(STATUS_AFTER).await;
        };
        let sent = tokio::select! {
            biased;
            item = said.recv() => match item {
                Some(Item::Line(line)) => {
                    // A permit given up while waiting for the pause would be a change never shown.
                    board.changed.notify_one();
                    out.talk(line).await
                }
                Some(Item::End(done)) => {
                    let _ = out.status(None).await;
                    drop(out);
                    let _ = done.send(());
                    return;
                }
                None => return,
            },
            () = changed, if policy == options::Talk::All => {
                let line = board.lock().render().map(|line| format!("tailll: {line}"));
                if line == shown {
                    Ok(())
                } else {
                    shown.clone_from(&line);
                    out.status(line).await
                }
            }
        };
        if sent.is_err() {
            return;
        }
    }
}
