//! A keep-alive HTTP/1.1 client that says when the head of an answer came.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// One connection at a time to one server.
#[derive(Debug)]
pub struct Http {
    at: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// When its head was there.
    pub head_at: Instant,
    /// Its body.
    pub body: Bytes,
}

impl Http {
    /// Connects.
    pub async fn connect(at: SocketAddr) -> anyhow::Result<Self> {
        let sender = connect(at).await?;
        Ok(Self { at, sender })
    }

    /// Connects again if the server closed the connection, as it does with one that is idle.
    pub async fn freshen(&mut self) -> anyhow::Result<()> {
        if self.sender.ready().await.is_err() {
            self.sender = connect(self.at).await?;
        }
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.at.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = self.sender.send_request(request).await?;
        let head_at = Instant::now();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.sender.ready().await?;
        Ok(Answer {
            status,
            head_at,
            body,
        })
    }

    /// PUTs a document; when it was accepted.
    pub async fn put(&mut self, path: &str, document: &Value) -> anyhow::Result<Instant> {
        let answer = self
            .send(Method::PUT, path, document.to_string().into())
            .await?;
        anyhow::ensure!(
            matches!(answer.status, 200 | 201),
            "PUT {path}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer.head_at)
    }
}

async fn connect(at: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
