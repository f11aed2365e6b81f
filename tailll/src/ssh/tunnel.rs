//! A tunnel: a stream from a jump host on to another host, over a connection to the jump host.
//!
//! Owns the pump that keeps the tunnel's channel drained. A connection hands out its channels' data one after the other, so a
//! channel that nobody reads stops them all; and what is inside a tunnel stops reading while it waits to write. Without
//! something between them the two could wait for each other for ever. The pump stands there, with room in both directions. A
//! tunnel whose inside does not read for long is closed: the others must not wait for it, and what was inside goes on later at
//! the byte where it was.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use russh::ChannelOpenFailure;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::sync::oneshot;

use super::Connection;

/// Bytes that a tunnel holds in each direction before who writes has to wait.
const TUNNEL_BYTES: usize = 256 * 1024;

/// Bytes that are moved at once.
const MOVED_BYTES: usize = 32 * 1024;

/// How long a tunnel may stay full before it is closed. Servers behind other tunnels, which wait meanwhile, must not count as
/// lost by then.
const STALL: Duration = Duration::from_secs(5);

/// A tunnel's near end. The channel is closed when it is dropped.
#[derive(Debug)]
pub struct Tunnel {
    near: DuplexStream,
    /// The pump stops when it goes.
    _pump: oneshot::Sender<()>,
}

/// Why there is no tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelError {
    /// The jump host cannot connect to the host.
    Unreachable,
    /// The jump host does not do this for us.
    Forbidden,
    /// The jump host has no room for one more.
    Full,
    /// The connection to the jump host is gone; why.
    Broken(String),
}

impl Connection {
    /// Lets the other side connect to a host, and gives the stream to it. `keep` is dropped when the tunnel is closed.
    ///
    /// # Errors
    /// See [`TunnelError`].
    pub async fn tunnel(
        &self,
        host: &str,
        port: u16,
        keep: impl Send + 'static,
    ) -> Result<Tunnel, TunnelError> {
        let opened = self
            .handle
            .channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0)
            .await;
        let far = match opened {
            Ok(channel) => channel.into_stream(),
            Err(russh::Error::ChannelOpenFailure(failure)) => {
                return Err(match failure {
                    ChannelOpenFailure::ConnectFailed => TunnelError::Unreachable,
                    ChannelOpenFailure::ResourceShortage => TunnelError::Full,
                    _ => TunnelError::Forbidden,
                });
            }
            Err(error) => return Err(TunnelError::Broken(self.why_lost(&error.to_string()))),
        };
        let (near, inner) = tokio::io::duplex(TUNNEL_BYTES);
        let (pump, gone) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let _keep = keep;
            let (from_far, to_far) = tokio::io::split(far);
            let (from_near, to_near) = tokio::io::split(inner);
            // How it ended is seen by who reads the near end.
            tokio::select! {
                () = pour(from_far, to_near, STALL) => {}
                () = pour(from_near, to_far, Duration::MAX) => {}
                _ = gone => {}
            }
        });
        Ok(Tunnel { near, _pump: pump })
    }
}

/// Moves bytes until there are no more, or nobody has taken any for `stall`.
async fn pour(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, stall: Duration) {
    let mut bytes = vec![0; MOVED_BYTES];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else {
            return;
        };
        let written = tokio::time::timeout(stall, async {
            to.write_all(&bytes[..count]).await?;
            to.flush().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_read(context, into)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_given_up_and_gets_what_was_taken() {
        let (mut source, from) = tokio::io::duplex(4 * MOVED_BYTES);
        let (to, mut reader) = tokio::io::duplex(MOVED_BYTES);
        source
            .write_all(&vec![7; 3 * MOVED_BYTES])
            .await
            .expect("room");
        pour(from, to, Duration::from_millis(20)).await;
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.expect("an end");
        assert!(
            got.len() >= MOVED_BYTES && got.len() < 3 * MOVED_BYTES,
            "{}",
            got.len()
        );
        source.write_all(b"more").await.expect_err("closed");
    }

    #[tokio::test]
    async fn all_comes_through_to_who_reads() {
        let (mut source, from) = tokio::io::duplex(MOVED_BYTES);
        let (to, mut reader) = tokio::io::duplex(100);
        let sent: Vec<u8> = (0..3 * MOVED_BYTES).map(|n| n as u8).collect();
        let mut got = Vec::new();
        tokio::join!(
            pour(from, to, Duration::MAX),
            async {
                source.write_all(&sent).await.expect("to write");
                drop(source);
            },
            async {
                reader.read_to_end(&mut got).await.expect("to read");
            }
        );
        assert_eq!(got, sent);
    }
}
