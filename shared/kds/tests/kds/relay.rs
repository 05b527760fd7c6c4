//! A TCP relay between a zone and its global, which counts what passes and can cut it off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Open,
    /// Connections are closed as they come.
    Closed,
    /// Connections stay, and nothing passes.
    Silent,
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    passed: Arc<AtomicUsize>,
    link: watch::Sender<Link>,
}

impl Relay {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new(AtomicUsize::new(0));
        let link = watch::Sender::new(Link::Open);
        let (counter, states) = (Arc::clone(&passed), link.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *states.borrow() == Link::Closed {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                let ((a, b), (c, d)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(a, d, Arc::clone(&counter), states.clone()));
                tokio::spawn(pass(c, b, Arc::clone(&counter), states.clone()));
            }
        });
        Self {
            address,
            passed,
            link,
        }
    }

    /// Ends all connections and lets none be made.
    pub(crate) fn close(&self) {
        self.link.send_replace(Link::Closed);
    }

    /// Lets connections be, and nothing through.
    pub(crate) fn silence(&self) {
        self.link.send_replace(Link::Silent);
    }

    /// Lets connections be made, and counts from zero.
    pub(crate) fn open(&self) {
        self.passed.store(0, Ordering::Relaxed);
        self.link.send_replace(Link::Open);
    }

    /// How many bytes passed since it was opened, both ways.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    passed: Arc<AtomicUsize>,
    mut link: watch::Receiver<Link>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            closed = link.wait_for(|link| *link == Link::Closed) => {
                drop(closed);
                return;
            }
        };
        let Ok(length @ 1..) = read else {
            return;
        };
        if link.wait_for(|link| *link != Link::Silent).await.is_err() {
            return;
        }
        passed.fetch_add(length, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
