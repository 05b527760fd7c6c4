//! What peers get that have not proved to be a zone, and what they may take meanwhile.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use mesh_harness::{DEADLINE, Environment, Global, Zone};
use mesh_kds::client::State;
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use mesh_runtime::tls::{self, Trust};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::support::{down, has_route, metadata, route};
use crate::zone_auth::{connect, follow, presenting, refused};

/// Opens so many calls on a connection, so many of them at once; how each ended, OK if it is
/// still open.
async fn call_often(channel: &Channel, who: &str, calls: usize, at_once: usize) -> Vec<Code> {
    let said = metadata(who);
    let calls = stream::iter(0..calls).map(|_| {
        let mut client = KdsSyncServiceClient::new(channel.clone());
        let said = &said;
        async move {
            let mut call = match down(&mut client, said, Vec::new()).await {
                Ok(call) => call,
                Err(status) => return status.code(),
            };
            // The last one is followed by none.
            let end = tokio::time::timeout(Duration::from_secs(20), call.end()).await;
            end.map_or(Code::Ok, |status| status.code())
        }
    });
    calls.buffer_unordered(at_once).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_at_once_than_a_connection_may_have_are_refused_and_it_goes_on()
-> anyhow::Result<()> {
    let global = Global::start().await?;
    let channel = connect(&global).await;
    // This client sends a hundred before it has heard of the limit.
    let ended = call_often(&channel, "stranger", 200, 200).await;
    // HTTP/2 says REFUSED_STREAM to those over the limit, which is UNAVAILABLE to gRPC.
    let odd = |end: &&Code| !matches!(end, Code::Unauthenticated | Code::Unavailable);
    assert_eq!(ended.iter().find(odd), None);
    let heard = ended.iter().filter(|end| **end == Code::Unauthenticated);
    assert!(heard.count() >= 32, "{ended:?}");
    let token = global.api.zone_token("east").await?;
    follow(&channel, "east", &presenting("east", &token)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_of_one_peer_each_get_a_status_and_harm_nobody() -> anyhow::Result<()> {
    let list = "KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES";
    let environment = Environment::from([(list.to_owned(), "stock".to_owned())]);
    let global = Global::start_with(environment).await?;
    let zone = Zone::start("east", &global).await?;
    // A stranger has each of its connections for some seconds only.
    for _ in 0..10 {
        let channel = connect(&global).await;
        // Half of what a connection may have: at the limit this client opens a call before it has
        // said that another is over.
        for end in call_often(&channel, "stranger", 1_000, 16).await {
            assert_eq!(end, Code::Unauthenticated);
        }
    }
    global.api.apply(&route("strangers")).await?;
    has_route(&zone, "strangers").await;
    // One that may speak does so once: each call takes the place of the one before.
    let ended = call_often(&connect(&global).await, "stock", 10_000, 200).await;
    let open = ended.iter().filter(|end| **end == Code::Ok).count();
    assert!(open <= 1, "{open} calls are still open");
    let odd = |end: &&Code| !matches!(end, Code::Ok | Code::Unavailable);
    assert_eq!(ended.iter().find(odd), None);
    global.api.apply(&route("guests")).await?;
    has_route(&zone, "guests").await;
    assert_eq!(*zone.global.borrow(), State::Following);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_many_bytes_is_refused_and_its_connection_goes_on() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let channel = connect(&global).await;
    let long = presenting("east", &"x".repeat(60 << 10));
    let status = refused(&channel, "east", &long).await;
    assert_ne!(status.code(), Code::Ok, "{status}");
    let token = global.api.zone_token("east").await?;
    follow(&channel, "east", &presenting("east", &token)).await?;
    Ok(())
}

/// Waits until the peer closes.
async fn is_closed(what: &str, mut io: impl AsyncRead + Unpin) {
    let mut heard = Vec::new();
    let closed = tokio::time::timeout(DEADLINE, io.read_to_end(&mut heard)).await;
    // A reset closes a connection, too.
    assert!(closed.is_ok(), "{what}: still open after {DEADLINE:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_of_worth_is_shown_out() -> anyhow::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let global = Global::start().await?;
    let zone = Zone::start("east", &global).await?;
    let config = tls::client_config(&Trust::SkipVerify, &[tls::ALPN_H2])?;
    let handshake = async || {
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        let name = rustls::pki_types::ServerName::from(global.kds.ip());
        let tcp = TcpStream::connect(global.kds).await.unwrap();
        connector.connect(name, tcp).await.unwrap()
    };
    let silent = TcpStream::connect(global.kds).await?;
    let no_http = handshake().await;
    let mut no_call = handshake().await;
    no_call.write_all(PREFACE).await?;
    // Half of a handshake, byte by byte, for as long as somebody listens.
    let slow = TcpStream::connect(global.kds).await?;
    let (slow_read, mut slow_write) = slow.into_split();
    let dripping = tokio::spawn(async move {
        for byte in b"\x16\x03\x01\x02\x00".iter().chain(&[0; 500]) {
            if slow_write.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    tokio::join!(
        is_closed("silent", silent),
        is_closed("no HTTP", no_http),
        is_closed("no call", no_call),
        is_closed("slow", slow_read),
    );
    dripping.abort();

    // So many strangers from one address, and those after them are not even shaken hands with.
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(global.kds).await?);
    }
    let closed = strangers.iter_mut().map(async |stranger| {
        let mut byte = [0];
        let read = stranger.read(&mut byte);
        // Sooner than the handshake has to be done.
        let read = tokio::time::timeout(Duration::from_secs(2), read).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    });
    let closed = futures_util::future::join_all(closed).await;
    let turned_away = closed.into_iter().filter(|closed| *closed).count();
    assert_eq!(turned_away, 300 - 256);
    // Who is known has not noticed, and others come in as soon as the strangers are gone.
    global.api.apply(&route("meanwhile")).await?;
    has_route(&zone, "meanwhile").await;
    let west = Zone::start("west", &global).await?;
    has_route(&west, "meanwhile").await;
    let metrics = global.metrics().await?;
    let line = "kds_connections_turned_away_total ";
    let counted = metrics.lines().find_map(|l| l.strip_prefix(line));
    let counted: usize = counted.unwrap_or("0").parse()?;
    assert!(counted > turned_away, "{metrics}");
    Ok(())
}
