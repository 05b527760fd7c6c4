//! A name server that knows one address for every name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Answers questions over UDP (<https://www.rfc-editor.org/rfc/rfc1035#section-4>) until it is
/// dropped. Without an address it hears questions and says nothing.
#[derive(Debug)]
pub(super) struct NameServer {
    at: SocketAddr,
    address: Arc<Mutex<Option<Ipv4Addr>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    pub(super) async fn start(address: Option<Ipv4Addr>) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let at = socket.local_addr()?;
        let address = Arc::new(Mutex::new(address));
        let known = Arc::clone(&address);
        let task = tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let address = *known.lock();
                if let Some(answer) = address.and_then(|a| answer(&packet[..length], a)) {
                    // Who is not there any more needs no answer.
                    drop(socket.send_to(&answer, from).await);
                }
            }
        });
        Ok(Self { at, address, task })
    }

    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }

    pub(super) fn set(&self, address: Ipv4Addr) {
        *self.address.lock() = Some(address);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a query with one question: its address, if it asks for an IPv4 one.
fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = query.get(12..)?;
    let end = 12 + name.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(12..end + 4)?;
    let is_a = question.ends_with(&[0, 1, 0, 1]);
    let mut out = query.get(..2)?.to_vec();
    // An answer, recursion asked for and available, no error; one question, and the answer to it.
    out.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    out.extend(question);
    if is_a {
        // The name at offset 12, type A, class IN, for a second, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}
