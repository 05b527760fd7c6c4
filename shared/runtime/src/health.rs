//! Asking a running process whether it is ready: the `health` subcommand of every server, for
//! containers that have no HTTP client.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// What to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The diagnostics port of the process to ask
    #[arg(long, value_name = "URL", default_value = "http://localhost:5680")]
    pub address: String,
}

/// Why a process does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The address is none.
    #[error("{address:?} is not an address such as http://localhost:5680")]
    Address {
        /// What was given.
        address: String,
    },
    /// There was no answer.
    #[error("no answer from {address}")]
    NoAnswer {
        /// Who was asked.
        address: String,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The answer was another than 200.
    #[error("{address} answers {status:?}")]
    Answer {
        /// Who was asked.
        address: String,
        /// The status line.
        status: String,
    },
}

impl Options {
    /// Asks whether the process is ready.
    ///
    /// # Errors
    /// Why it does not count as ready.
    pub async fn check(&self) -> Result<(), NotReady> {
        ask(&self.address, "/ready").await
    }
}

/// Asks for `path` and wants status 200.
///
/// # Errors
/// Why the process does not count as ready.
pub async fn ask(address: &str, path: &str) -> Result<(), NotReady> {
    let authority = address
        .strip_prefix("http://")
        .unwrap_or(address)
        .trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') || !authority.contains(':') {
        return Err(NotReady::Address {
            address: address.to_owned(),
        });
    }
    let exchange = async {
        let mut stream = TcpStream::connect(authority).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        // The status line is all that matters.
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let timed = tokio::time::timeout(DEADLINE, exchange).await;
    let answer = timed
        .unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|source| NotReady::NoAnswer {
            address: address.to_owned(),
            source,
        })?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    Err(NotReady::Answer {
        address: address.to_owned(),
        status: status.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_status_200_is_ready() {
        let ready = server("HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(ask(&ready, "/ready").await.is_ok());
        let starting = server("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        let error = ask(&starting, "/ready").await.unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[tokio::test]
    async fn nobody_and_nonsense_are_not_ready() {
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(matches!(
            ask(&format!("http://{free}"), "/").await,
            Err(NotReady::NoAnswer { .. })
        ));
        assert!(matches!(
            ask("nonsense", "/").await,
            Err(NotReady::Address { .. })
        ));
    }
}
