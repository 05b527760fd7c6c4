//! Byte streams of the simulated network, every byte of which goes into the trace.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use mesh_kds::client::{Dial, Io};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// What was said so far, by whom and when.
#[derive(Debug, Default)]
pub(super) struct Trace {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hash: Sha256,
    bytes: u64,
    bytes_by: BTreeMap<Arc<str>, u64>,
    writes: u64,
}

impl Trace {
    fn add(&self, who: &Arc<str>, said: &[u8]) {
        let mut state = self.state.lock();
        *state.bytes_by.entry(Arc::clone(who)).or_default() += said.len() as u64;
        state.hash.update(now().as_nanos().to_be_bytes());
        state.hash.update(who.as_bytes());
        state.hash.update([0]);
        state.hash.update(said);
        state.bytes += said.len() as u64;
        state.writes += 1;
    }

    /// How many bytes were written by one.
    pub(super) fn bytes_by(&self, who: &str) -> u64 {
        let state = self.state.lock();
        state.bytes_by.get(who).copied().unwrap_or_default()
    }

    /// How many bytes were written, in how many pieces, and the hash of it all.
    pub(super) fn summary(&self) -> (u64, u64, String) {
        let state = self.state.lock();
        let hash: String = (state.hash.clone().finalize().iter().take(16))
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (state.bytes, state.writes, hash)
    }
}

/// Simulated time since the start.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Opens byte streams for one host.
#[derive(Debug, Clone)]
pub(super) struct Dialler {
    pub(super) trace: Arc<Trace>,
    pub(super) who: Arc<str>,
}

#[async_trait]
impl Dial for Dialler {
    async fn dial(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((host, port)).await?;
        let (trace, who) = (Arc::clone(&self.trace), Arc::clone(&self.who));
        Ok(Box::new(Watched { stream, trace, who }))
    }
}

/// A byte stream; what is written is noted.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) trace: Arc<Trace>,
    pub(super) who: Arc<str>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        said: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, said);
        if let Poll::Ready(Ok(length)) = written {
            self.trace.add(&self.who, &said[..length]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
