//! What answers is not always a control plane.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{meridian, meridian_with, route};

/// A server that gives every connection the same bytes.
async fn stranger(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    format!("http://{address}")
}

const ANSWERS: &[&[u8]] = &[
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 20\r\nconnection: close\r\n\r\n<h1>Bad Gateway</h1>",
    b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n<html></html",
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnull",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n\xff\xfe",
    b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot found",
    b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{",
    b"SSH-2.0-OpenSSH_9.0\r\n",
    b"",
];

#[tokio::test]
async fn any_answer_ends_in_an_error_that_says_where() {
    for answer in ANSWERS {
        let address = stranger(answer).await;
        for line in [
            "get meshes",
            "get zones",
            "inspect dataplanes",
            "inspect meshgatewayroute shop",
            "generate user-token --name a --valid-for 1h",
        ] {
            let mut arguments: Vec<_> = line.split(' ').collect();
            arguments.extend(["--address", &address]);
            let run = meridian(&arguments).await;
            let context = format!("{line}: {}: {run:?}", String::from_utf8_lossy(answer));
            let stderr = run.failed();
            assert!(stderr.starts_with("Error: "), "{context}");
            assert!(stderr.contains("--address"), "{context}");
        }
    }
}

#[tokio::test]
async fn apply_gives_up_on_a_stranger_at_once() {
    for answer in ANSWERS {
        let address = stranger(answer).await;
        let text = format!("{}---\n{}", route("a", "/a", "x"), route("b", "/b", "x"));
        let run = meridian_with(&["apply", "-f", "-", "--address", &address], &text).await;
        let context = format!("{}: {run:?}", String::from_utf8_lossy(answer));
        let stderr = run.failed();
        assert_eq!(stderr.matches("--address").count(), 1, "{context}");
        assert!(stderr.contains("nothing was applied"), "{context}");
    }
}

#[tokio::test]
async fn nobody_at_home_is_told_with_what_to_do() {
    let run = meridian(&["get", "meshes", "--address", "http://127.0.0.1:1"]).await;
    let stderr = run.failed();
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    assert!(stderr.contains("refused"), "{stderr}");
    assert!(stderr.contains("another --address"), "{stderr}");
}

#[tokio::test]
async fn plain_http_where_tls_is_asked_for_is_explained() {
    let address = stranger(ANSWERS[0]).await.replace("http:", "https:");
    let run = meridian(&["get", "meshes", "--skip-verify", "--address", &address]).await;
    let stderr = run.failed();
    assert!(stderr.contains("does not speak TLS"), "{stderr}");
}

#[tokio::test]
async fn health_is_an_exit_status() {
    let good = stranger(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    assert!(
        meridian(&["health", &good])
            .await
            .ok()
            .contains("/ready is ready")
    );
    let bad = stranger(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let stderr = meridian(&["health", &bad]).await.failed();
    assert!(stderr.contains("503"), "{stderr}");
    let stderr = meridian(&["health", "http://127.0.0.1:1"]).await.failed();
    assert!(stderr.contains("refused"), "{stderr}");
}
