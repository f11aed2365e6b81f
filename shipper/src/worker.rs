//! A thread of its own for the agent's steps, which may wait for the disk.
//!
//! It is one thread for all of them, and not any of a pool, for the sake of memory: the system's allocator has a heap for each
//! thread, and what one step frees in its heap is of no use to a step in another.

use std::sync::mpsc::{self, Sender};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when this is dropped and the step at hand is done.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
}

/// A step did not come back: it panicked, and said why where panics do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a step of the agent did not end")]
pub struct Died;

impl Worker {
    /// Starts the thread.
    pub fn start() -> Self {
        let (jobs, waiting) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))
            .expect("the system has room for a thread at the start");
        Self { jobs }
    }

    /// Takes a step on the thread and waits for what comes of it.
    pub async fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Died> {
        let (done, result) = oneshot::channel();
        let job = move || {
            // Whoever waited may be gone.
            let _ = done.send(step());
        };
        self.jobs.send(Box::new(job)).map_err(|_| Died)?;
        result.await.map_err(|_| Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn steps_are_taken_on_one_thread() {
        let worker = Worker::start();
        let first = worker.run(|| thread::current().id()).await;
        let second = worker.run(|| thread::current().id()).await;
        assert!(first.is_ok());
        assert_eq!(first, second);
        assert_ne!(first, Ok(thread::current().id()));
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let worker = Worker::start();
        let died: Result<(), Died> = worker.run(|| panic!("as this test wants")).await;
        assert_eq!(died, Err(Died));
        assert_eq!(worker.run(|| 1).await, Err(Died));
    }
}
