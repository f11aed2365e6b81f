//! A connection to a server, whoever makes it: the SSH library ([`crate::ssh`]) or the system's client
//! ([`crate::ssh_program`]). What is above, the pool and the shell on the host, does not ask which.

use bytes::Bytes;

use crate::new_keys::NewKey;
use crate::ssh::{self, ExecError, Said};
use crate::ssh_program;

/// Everything needed to connect to one server.
#[derive(Debug, Clone)]
pub enum Dial {
    /// By the library.
    Library(Box<ssh::Dial>),
    /// By the system's client.
    Program(ssh_program::Dial),
}

impl Dial {
    /// Has somebody asked about an unknown key, after which dialling again may help.
    ///
    /// # Errors
    /// Why the host is not to be trusted.
    pub async fn ask_about(&self, key: &NewKey) -> Result<(), String> {
        match self {
            Self::Library(dial) => dial.ask_about(key).await,
            Self::Program(_) => Err("the system's client asks about keys by itself".to_owned()),
        }
    }
}

/// A connection that is logged in. Closed when dropped.
#[derive(Debug)]
pub enum Connection {
    /// The library's.
    Library(ssh::Connection),
    /// The system's client's.
    Program(ssh_program::Connection),
}

impl Connection {
    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Library(connection) => connection.is_closed(),
            Self::Program(connection) => connection.is_closed(),
        }
    }

    /// How many sessions it can have by its nature, whatever the server allows.
    pub fn sessions_at_most(&self) -> u32 {
        match self {
            Self::Library(_) => u32::MAX,
            Self::Program(connection) => connection.sessions_at_most(),
        }
    }

    /// Starts a command through the login's shell.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn exec(&self, command: &str) -> Result<(Input, Output), ExecError> {
        match self {
            Self::Library(connection) => {
                let (input, output) = connection.exec(command).await?;
                Ok((Input::Library(input), Output::Library(output)))
            }
            Self::Program(connection) => {
                let (input, output) = connection.exec(command).await?;
                Ok((Input::Program(input), Output::Program(output)))
            }
        }
    }
}

/// A running command's standard input. The command's session is closed when it is dropped.
#[derive(Debug)]
pub enum Input {
    /// Of a session of the library.
    Library(ssh::Input),
    /// Of a session of the system's client.
    Program(ssh_program::Input),
}

impl Input {
    /// Sends bytes, waiting for the server to take them.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), ExecError> {
        match self {
            Self::Library(input) => input.send(bytes).await,
            Self::Program(input) => input.send(bytes.into()).await,
        }
    }

    /// Closes the session: the command sees the end of its input, and its output is thrown away.
    pub async fn close(self) {
        match self {
            Self::Library(input) => input.close().await,
            Self::Program(input) => input.close().await,
        }
    }
}

/// A running command's output.
#[derive(Debug)]
pub enum Output {
    /// Of a session of the library.
    Library(ssh::Output),
    /// Of a session of the system's client.
    Program(ssh_program::Output),
}

impl Output {
    /// Waits for the next output. Safe to drop while waiting.
    pub async fn next(&mut self) -> Said {
        match self {
            Self::Library(output) => output.next().await,
            Self::Program(output) => output.next().await,
        }
    }

    /// What the command said on standard error so far, cut to a limit.
    pub fn stderr(&self) -> String {
        match self {
            Self::Library(output) => output.stderr(),
            Self::Program(output) => output.stderr(),
        }
    }
}
