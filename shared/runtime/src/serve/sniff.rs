//! Which HTTP a connection speaks, by its first bytes.
//!
//! HTTP/2 begins with a fixed preface that no HTTP/1.1 request can have (RFC 9113 §3.4); a client
//! with prior knowledge sends it without asking.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Or anything that is not HTTP/2.
    Http1,
    Http2,
}

/// Reads as much as it takes to tell; `None` if the peer closed without a word.
///
/// What was read is not lost: it comes first out of the returned stream.
pub(super) async fn sniff<T>(mut io: T) -> io::Result<Option<(Version, Rewound<T>)>>
where
    T: AsyncRead + Unpin,
{
    let mut first = [0; PREFACE.len()];
    let mut len = 0;
    let version = loop {
        let read = io.read(&mut first[len..]).await?;
        len += read;
        if len == 0 {
            return Ok(None);
        }
        if first[..len] != PREFACE[..len] || read == 0 {
            break Version::Http1;
        }
        if len == PREFACE.len() {
            break Version::Http2;
        }
    };
    let rewound = Rewound {
        first,
        unread: 0..len,
        io,
    };
    Ok(Some((version, rewound)))
}

/// A stream from which the first bytes were read and put back.
#[derive(Debug)]
pub(super) struct Rewound<T> {
    first: [u8; PREFACE.len()],
    unread: std::ops::Range<usize>,
    io: T,
}

impl<T> Rewound<T> {
    /// Nothing was read.
    pub(super) fn untouched(io: T) -> Self {
        Self {
            first: [0; PREFACE.len()],
            unread: 0..0,
            io,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let len = self.unread.len().min(buf.remaining());
        let start = self.unread.start;
        buf.put_slice(&self.first[start..start + len]);
        self.unread.start += len;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Sends each part when the one before has been read; what was found, and what came out.
    async fn sniffed(parts: &'static [&'static [u8]]) -> Option<(Version, Vec<u8>)> {
        // A capacity of one byte: the reader sees every possible split.
        let (mut near, far) = tokio::io::duplex(1);
        let writer = tokio::spawn(async move {
            for part in parts {
                near.write_all(part).await.unwrap();
            }
        });
        let (version, mut io) = sniff(far).await.unwrap()?;
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        writer.await.unwrap();
        Some((version, all))
    }

    #[tokio::test]
    async fn preface_is_http2_and_anything_else_is_not() {
        let request = sniffed(&[b"GET / HTTP/1.1\r\n\r\n"]).await.unwrap();
        assert_eq!(
            request,
            (Version::Http1, b"GET / HTTP/1.1\r\n\r\n".to_vec())
        );
        let prior = sniffed(&[PREFACE, b"frames"]).await.unwrap();
        assert_eq!(prior, (Version::Http2, [&PREFACE[..], b"frames"].concat()));
        let cut = sniffed(&[b"PRI * HT"]).await.unwrap();
        assert_eq!(cut, (Version::Http1, b"PRI * HT".to_vec()));
        assert_eq!(
            sniffed(&[b"PRINT / HTTP/1.1"]).await.unwrap().0,
            Version::Http1
        );
        assert_eq!(sniffed(&[]).await, None);
    }
}
