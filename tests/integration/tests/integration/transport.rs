//! What is under the messages of KDS: compression, limits, pings, and how streams end.

use std::time::Duration;

use mesh_harness::{DEADLINE, Global, Zone, eventually};
use mesh_kds::client::State;
use mesh_proto::discovery::DeltaDiscoveryResponse;
use mesh_proto::mesh::ZoneHealthCheckRequest;
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::mesh::kds_sync_service_client::KdsSyncServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

use crate::replay_global::plaintext_global;
use crate::support::{ack, connect, down, metadata, request, subscription, up};

async fn channel(global: &Global) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", global.kds)).unwrap();
    endpoint.connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_compresses_every_message_is_understood_on_every_call() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    let channel = channel(&global).await;
    let said = metadata("stock");
    let mut sync = KdsSyncServiceClient::new(channel.clone())
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let mut admin = GlobalKdsServiceClient::new(channel)
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    admin
        .health_check(request(ZoneHealthCheckRequest {}, &said))
        .await?;
    let mut down = down(&mut sync, &said, vec![subscription("stock", "Mesh")]).await?;
    let response = down.hear().await?.expect("a response");
    assert_eq!(response.type_url, "Mesh");
    down.say(ack("stock", &response)).await;
    down.say(subscription("stock", "Config")).await;
    assert_eq!(down.hear().await?.expect("a response").type_url, "Config");
    let mut up = up(&mut sync, &said).await?;
    up.hear().await?;
    up.say(DeltaDiscoveryResponse {
        type_url: "Dataplane".to_owned(),
        nonce: "1".to_owned(),
        ..DeltaDiscoveryResponse::default()
    })
    .await;
    loop {
        let answer = up.hear().await?.expect("an answer");
        if answer.response_nonce == "1" {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_ends_its_stream_alone_also_when_it_was_small_compressed()
-> anyhow::Result<()> {
    let global = plaintext_global().await?;
    let channel = channel(&global).await;
    for compresses in [false, true] {
        let mut sync = KdsSyncServiceClient::new(channel.clone());
        if compresses {
            sync = sync.send_compressed(CompressionEncoding::Gzip);
        }
        let said = metadata("stock");
        let first = vec![subscription("stock", "Mesh")];
        let mut other = down(&mut sync, &said, first).await?;
        other.hear().await?;
        for (bytes, fits) in [((10 << 20) - 1024, true), ((10 << 20) + 1024, false)] {
            let mut call = up(&mut sync, &said).await?;
            call.hear().await?;
            call.say(DeltaDiscoveryResponse {
                type_url: "Dataplane".to_owned(),
                nonce: "1".to_owned(),
                system_version_info: "x".repeat(bytes),
                ..DeltaDiscoveryResponse::default()
            })
            .await;
            if fits {
                while call.hear().await?.expect("an answer").response_nonce != "1" {}
                continue;
            }
            let status = call.end().await;
            let too_large = matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
            assert!(too_large, "{compresses}: {status}");
        }
        // The other stream of the connection has not noticed.
        other.say(subscription("stock", "Config")).await;
        assert_eq!(other.hear().await?.expect("a response").type_url, "Config");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_ends_with_ok_and_a_global_that_stops_is_unavailable() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    let mut client = connect(global.kds).await;
    let said = metadata("stock");
    let first = || vec![subscription("stock", "Mesh")];
    let mut older = down(&mut client, &said, first()).await?;
    older.hear().await?;
    let mut newer = down(&mut client, &said, first()).await?;
    newer.hear().await?;
    assert_eq!(older.end().await.code(), Code::Unavailable);

    // A zone that half-closes has said nothing by it, or at least did not hear OK.
    let mut up_call = up(&mut client, &said).await?;
    up_call.hear().await?;
    drop(std::mem::replace(
        &mut up_call.tx,
        tokio::sync::mpsc::channel(1).0,
    ));
    assert_ne!(up_call.end().await.code(), Code::Ok);

    let mut up_call = up(&mut client, &said).await?;
    up_call.hear().await?;
    let stopping = tokio::spawn(global.stop());
    for status in [newer.end().await, up_call.end().await] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    stopping.await?;
    Ok(())
}

/// Plain HTTP/2 frames: type, flags, stream, payload.
fn frame(ty: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([ty, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_a_peer_are_answered_however_many() -> anyhow::Result<()> {
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    let global = plaintext_global().await?;
    let mut tcp = TcpStream::connect(global.kds).await?;
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    tcp.write_all(&frame(4, 0, 0, &[])).await?;
    // A stock zone pings every 15 s, without a stream too; one that does it faster is no enemy.
    for n in 0..20_u8 {
        tcp.write_all(&frame(PING, 0, 0, &[n; 8])).await?;
    }
    let mut answered = 0;
    let reading = async {
        while answered < 20 {
            let mut head = [0; 9];
            tcp.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            tcp.read_exact(&mut payload).await?;
            assert_ne!(head[3], GOAWAY, "{payload:?}");
            answered += usize::from(head[3] == PING && head[4] == 1);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DEADLINE, reading).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_gives_up_a_connection_on_which_nobody_answers() -> anyhow::Result<()> {
    // Something that speaks HTTP/2 as far as to accept calls, and then falls silent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let mute = tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut accepted = 0_u32;
        loop {
            let (mut tcp, _) = listener.accept().await?;
            accepted += 1;
            tcp.write_all(&frame(4, 0, 0, &[])).await?;
            kept.push(tcp);
            if accepted == 2 {
                return anyhow::Ok(());
            }
        }
    });
    let nowhere = Mute(at);
    let zone = Zone::start_alone("east", &nowhere, mesh_harness::ZoneOptions::default()).await?;
    // A ping after 15 s of silence, and 15 s for its answer.
    let mut states = zone.global.clone();
    let cut = states.wait_for(|state| matches!(state, State::Cut { .. }));
    tokio::time::timeout(2 * DEADLINE, cut).await??;
    eventually("it dials again", async || {
        anyhow::ensure!(mute.is_finished());
        Ok(())
    })
    .await;
    tokio::time::timeout(Duration::from_secs(5), zone.stop()).await??;
    Ok(())
}

struct Mute(std::net::SocketAddr);

impl mesh_harness::Upstream for Mute {
    fn kds(&self) -> std::net::SocketAddr {
        self.0
    }

    fn ca_file(&self) -> std::path::PathBuf {
        "unused".into()
    }

    fn url(&self) -> String {
        format!("grpc://{}", self.0)
    }
}
