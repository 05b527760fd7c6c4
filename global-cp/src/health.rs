//! The question that a container asks of the process beside it: are you ready?

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/ready` at an address such as `http://127.0.0.1:5680` or `127.0.0.1:5680`.
///
/// # Errors
/// When there is no answer, or it is not yes.
pub(crate) async fn check(address: &str) -> anyhow::Result<()> {
    let host = address
        .strip_prefix("http://")
        .unwrap_or(address)
        .trim_end_matches('/');
    let status = tokio::time::timeout(TIMEOUT, ask(host))
        .await
        .with_context(|| format!("{host} does not answer within {TIMEOUT:?}"))?
        .with_context(|| format!("cannot ask {host}"))?;
    match status.as_str() {
        "200" => Ok(()),
        "503" => bail!("{host} is not ready yet"),
        other => bail!("{host} answers with status {other:?}: is it a control plane?"),
    }
}

/// The status of `GET /ready`. HTTP/1.0, so that the connection ends with the answer.
async fn ask(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /ready HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line.split(' ').nth(1).unwrap_or_default().to_owned())
}
