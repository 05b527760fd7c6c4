//! A TCP relay in front of the global that counts the bytes of each direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The relay. Dropping it ends what goes through it.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Where it listens.
    pub(crate) at: SocketAddr,
    down: Arc<AtomicU64>,
    up: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to `to`, also when nobody listens there for a while.
    pub(crate) async fn start(to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let (down, up) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (Arc::clone(&down), Arc::clone(&up));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let (down, up) = (Arc::clone(&counters.0), Arc::clone(&counters.1));
                connections.spawn(async move {
                    let Ok(to) = TcpStream::connect(to).await else {
                        return;
                    };
                    // Small messages are what is relayed; a delay would be measured with them.
                    if from.set_nodelay(true).and(to.set_nodelay(true)).is_err() {
                        return;
                    }
                    let (from_reader, from_writer) = from.into_split();
                    let (to_reader, to_writer) = to.into_split();
                    // When one direction ends, the other has nobody to talk to either.
                    tokio::select! {
                        () = copy(from_reader, to_writer, &up) => {}
                        () = copy(to_reader, from_writer, &down) => {}
                    }
                });
            }
        });
        Ok(Self { at, down, up, task })
    }

    /// The bytes that went from the global to zones, and back, since the last time it was asked.
    pub(crate) fn take(&self) -> (u64, u64) {
        (
            self.down.swap(0, Ordering::Relaxed),
            self.up.swap(0, Ordering::Relaxed),
        )
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counter: &AtomicU64,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        counter.fetch_add(length as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
