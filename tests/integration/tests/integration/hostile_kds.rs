//! Peers of the KDS port that break the rules: only their own stream or connection ends.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_harness::{DEADLINE, Global};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::replay_global::plaintext_global;
use crate::support::{connect, down, metadata, node, subscription, up};

/// A zone that behaves gets its mesh.
async fn is_unmoved(global: &Global, zone: &str) {
    let mut client = connect(global.kds).await;
    let first = vec![subscription(zone, "Mesh")];
    let mut call = down(&mut client, &metadata(zone), first).await.unwrap();
    let response = call.hear().await.unwrap().expect("a response");
    assert_eq!(response.type_url, "Mesh");
    assert_eq!(response.resources.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_break_the_rules_end_alone_and_with_a_reason() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    // One connection for all: what ends is the stream.
    let mut client = connect(global.kds).await;
    let good = metadata("good");
    let mut bystander = down(&mut client, &good, vec![subscription("good", "Mesh")]).await?;
    bystander.hear().await?;

    let no_client_id = vec![("kds-version".to_owned(), "v3".to_owned())];
    let refused = down(&mut client, &no_client_id, Vec::new()).await;
    let status = refused.err().expect("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("client-id"), "{status}");

    let odd_name = metadata("Not A Zone!");
    let status = down(&mut client, &odd_name, Vec::new()).await.err();
    assert_eq!(status.expect("refused").code(), Code::InvalidArgument);

    let cases: [(&str, DeltaDiscoveryRequest, &str); 4] = [
        (
            "no node",
            DeltaDiscoveryRequest {
                node: None,
                ..subscription("bad", "Mesh")
            },
            "no node",
        ),
        (
            "another zone's node",
            subscription("good", "Mesh"),
            "\"good\"",
        ),
        (
            "an answer to nothing",
            DeltaDiscoveryRequest {
                response_nonce: "never-issued".to_owned(),
                ..subscription("bad", "Mesh")
            },
            "never-issued",
        ),
        ("an empty node id", subscription("", "Mesh"), "node"),
    ];
    for (what, request, expected) in cases {
        let mut call = down(&mut client, &metadata("bad"), vec![request]).await?;
        let status = call.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status}");
        assert!(status.message().contains(expected), "{what}: {status}");
    }

    // Odd requests that a peer of another release may send get no answer, and harm nothing.
    let odd = vec![
        subscription("odd", "MeshOfTheFuture"),
        subscription("odd", ""),
        subscription("odd", "Dataplane"),
        subscription("odd", "Config"),
    ];
    let mut call = down(&mut client, &metadata("odd"), odd).await?;
    let response = call.hear().await?.expect("a response");
    assert_eq!(response.type_url, "Config");

    // Reports that nobody asked for, or that cannot be taken apart.
    // A type that was not asked for is answered and passed over: breaking off would bring it back
    // with the next connection.
    let mut unasked = up(&mut client, &metadata("unasked")).await?;
    for type_url in ["Mesh", "MeshOfTheFuture"] {
        unasked
            .say(DeltaDiscoveryResponse {
                type_url: type_url.to_owned(),
                nonce: format!("{type_url}-1"),
                removed_resources: vec!["default.".to_owned()],
                ..DeltaDiscoveryResponse::default()
            })
            .await;
        let answer = loop {
            let request = unasked.hear().await?.expect("an answer");
            if request.type_url == type_url {
                break request;
            }
        };
        assert_eq!(answer.response_nonce, format!("{type_url}-1"));
        assert!(answer.error_detail.is_none());
    }

    let mut garbled = up(&mut client, &metadata("garbled")).await?;
    garbled.hear().await?;
    let payload = |name: &str, bytes: &'static [u8]| mesh_proto::discovery::Resource {
        name: name.to_owned(),
        resource: Some(mesh_proto::Any {
            type_url: "type.googleapis.com/kuma.mesh.v1alpha1.KumaResource".to_owned(),
            value: bytes.into(),
        }),
        ..Default::default()
    };
    garbled
        .say(DeltaDiscoveryResponse {
            type_url: "Dataplane".to_owned(),
            nonce: "1".to_owned(),
            resources: vec![
                payload("torn.default", b"\xff\xff\xff"),
                payload("empty.default", b""),
            ],
            ..DeltaDiscoveryResponse::default()
        })
        .await;
    let nack = loop {
        let request = garbled.hear().await?.expect("an answer");
        if !request.response_nonce.is_empty() {
            break request;
        }
    };
    assert_eq!(nack.node, Some(node("garbled")));
    let error = nack.error_detail.expect("a NACK");
    for words in [
        "torn.default: not an encoded KumaResource",
        "empty.default: the resource has no meta",
    ] {
        assert!(error.message.contains(words), "{error:?}");
    }

    // The one that behaved is still served, on the same connection.
    let list = global.api.get("/meshes/default").await?;
    assert_eq!(list["name"], "default");
    bystander.say(subscription("good", "Config")).await;
    assert_eq!(
        bystander.hear().await?.expect("a response").type_url,
        "Config"
    );
    is_unmoved(&global, "new").await;
    Ok(())
}

/// Sends bytes and waits until the peer closes; what it answered.
pub(crate) async fn send_and_wait(to: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    // The peer may have closed before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    match tokio::time::timeout(DEADLINE, read).await {
        // A reset closes a connection, too.
        Ok(_) => Ok(answer),
        Err(_) => panic!("the connection is still open after {DEADLINE:?}"),
    }
}

pub(crate) fn garbage(length: usize) -> Vec<u8> {
    use rand::{Rng as _, SeedableRng as _};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(7).fill(&mut bytes[..]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_half_open_connections_move_nothing() -> anyhow::Result<()> {
    for global in [plaintext_global().await?, Global::start().await?] {
        // Connections that open and say nothing, for as long as this takes.
        let mut silent = Vec::new();
        for _ in 0..100 {
            silent.push(TcpStream::connect(global.kds).await?);
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let broken_frames = [preface.as_slice(), &garbage(4096)].concat();
        for bytes in [
            garbage(64 << 10),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
            b"HELO example.org\r\n\r\n".to_vec(),
            broken_frames,
        ] {
            send_and_wait(global.kds, &bytes).await?;
        }
        // Half of a first frame, and then nothing.
        for _ in 0..20 {
            let mut half = TcpStream::connect(global.kds).await?;
            half.write_all(&preface[..10]).await?;
            silent.push(half);
        }
        global.api.get("/meshes/default").await?;
    }
    let global = plaintext_global().await?;
    is_unmoved(&global, "zone-1").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_costs_nobody_else_anything() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    let mut client = connect(global.kds).await;
    let first = vec![subscription("deaf", "MeshGatewayRoute")];
    // It subscribes and never takes anything.
    let deaf = down(&mut client, &metadata("deaf"), first).await?;
    let text = "x".repeat(1000);
    for edit in 0..200 {
        let route = serde_json::json!({
            "type": "MeshGatewayRoute", "mesh": "default", "name": format!("route-{edit}"),
            "labels": {"team": format!("t-{edit}")},
            "selectors": [{"match": {"kuma.io/service": "edge"}}],
            "conf": {"http": {"rules": [{
                "matches": [{"path": {"match": "PREFIX", "value": format!("/{text}")}}],
                "backends": [{"weight": 1, "destination": {"kuma.io/service": "cart"}}],
            }]}},
        });
        global.api.apply(&route).await?;
    }
    tokio::time::timeout(Duration::from_secs(10), is_unmoved(&global, "zone-1"))
        .await
        .expect("others are served at once");
    drop(deaf);
    Ok(())
}
