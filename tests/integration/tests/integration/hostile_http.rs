//! Peers of the HTTP ports that break the rules, and who may do what there.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_harness::{DEADLINE, DataPlane as _, Global, Zone};
use mesh_runtime::tls::{self, Trust};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hostile_kds::{garbage, send_and_wait};

fn address(api: &mesh_harness::Api) -> SocketAddr {
    api.base().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_the_admin_api_closes_its_connection_only() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let at = address(&global.api);
    for bytes in [
        garbage(64 << 10),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        [
            b"GET /".as_slice(),
            &b"a".repeat(200 << 10),
            b" HTTP/1.1\r\n\r\n",
        ]
        .concat(),
    ] {
        send_and_wait(at, &bytes).await?;
    }
    // Slow headers: many connections that never finish theirs.
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(at).await?;
        stream
            .write_all(b"GET /meshes HTTP/1.1\r\nhost: x\r\nx-slow: ")
            .await?;
        slow.push(stream);
    }
    assert_eq!(global.api.get("/meshes").await?["total"], 1);
    // They are not kept for ever.
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE * 2, slow[0].read_to_end(&mut rest))
        .await
        .expect("a connection that never finishes its headers is closed")
        .ok();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_document_is_refused_with_the_limit_and_changes_nothing() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let before = global.store().snapshot().revision();
    let path = "/meshes/default/meshgateways/edge";
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        40 << 20
    );
    let mut stream = TcpStream::connect(address(&global.api)).await?;
    stream.write_all(head.as_bytes()).await?;
    // The answer may come before the last byte is sent.
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let chunk = vec![b' '; 1 << 20];
        for _ in 0..40 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
        writer
    });
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(DEADLINE, reader.read(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    assert!(["400", "413"].contains(&status), "{answer}");
    assert!(
        answer.to_lowercase().contains("mib") || answer.contains("bytes"),
        "{answer}"
    );
    drop(writing.await?);
    assert_eq!(global.store().snapshot().revision(), before);
    Ok(())
}

/// A TLS connection to a zone's data-plane port.
async fn data_plane(zone: &Zone) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = tls::client_config(&Trust::SkipVerify, &[b"http/1.1"])?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
    let tcp = TcpStream::connect(zone.data_plane()).await?;
    let name = rustls::pki_types::ServerName::try_from("localhost")?;
    Ok(connector.connect(name, tcp).await?)
}

async fn post(zone: &Zone, path: &str, body: &[u8]) -> anyhow::Result<(u16, String)> {
    let mut stream = data_plane(zone).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    // The server may answer, and close, before it has read all.
    let _ = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.unwrap_or_default(), answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_plane_port_survives_what_it_is_sent() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    for bytes in [garbage(64 << 10), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        send_and_wait(zone.data_plane(), &bytes).await?;
    }
    // Inside TLS, too.
    let mut stream = data_plane(&zone).await?;
    let _ = stream.write_all(&garbage(4096)).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await?;

    for (path, body) in [
        ("/bootstrap", b"{".to_vec()),
        ("/bootstrap", b"[]".to_vec()),
        ("/bootstrap", b"{}".to_vec()),
        (
            "/bootstrap",
            json!({"mesh": "default", "name": 7})
                .to_string()
                .into_bytes(),
        ),
        ("/bootstrap", vec![b'['; 100_000]),
        ("/bootstrap", vec![b' '; 40 << 20]),
        ("/deregister", b"{".to_vec()),
        (
            "/deregister",
            json!({"mesh": "default", "name": "x"})
                .to_string()
                .into_bytes(),
        ),
        (
            "/deregister",
            json!({"mesh": "../..", "name": "X y"})
                .to_string()
                .into_bytes(),
        ),
        ("/nowhere", b"{}".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let (status, answer) = post(&zone, path, &body).await?;
        assert!(
            (400..500).contains(&status),
            "{path} {shown}: {status} {answer}"
        );
    }
    // ADS without a node, and with one that is no name.
    let tls = tls::client_config(&Trust::SkipVerify, &[tls::ALPN_H2])?;
    for node in [
        None,
        Some(crate::support::node("")),
        Some(crate::support::node("a.b.c D/")),
    ] {
        let status = ads(&zone, Arc::clone(&tls), node).await?;
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
    let (status, _) = post(&zone, "/bootstrap", b"{}").await?;
    assert!((400..500).contains(&status));
    Ok(())
}

/// The status with which an ADS stream ends that opens with this node.
async fn ads(
    zone: &Zone,
    tls: Arc<rustls::ClientConfig>,
    node: Option<mesh_proto::core::Node>,
) -> anyhow::Result<tonic::Status> {
    use mesh_proto::discovery::DeltaDiscoveryRequest;
    use mesh_proto::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;

    let channel = crate::support::tls_channel(zone.data_plane(), tls).await?;
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let first = DeltaDiscoveryRequest {
        node,
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let (tx, rx) = tokio::sync::mpsc::channel(4);
    tx.send(first).await?;
    let call = client.delta_aggregated_resources(tokio_stream::wrappers::ReceiverStream::new(rx));
    let mut stream = match call.await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(status),
    };
    match tokio::time::timeout(DEADLINE, stream.message()).await? {
        Ok(message) => anyhow::bail!("it answers {message:?}"),
        Err(status) => Ok(status),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_for_admins_and_a_foreign_caller_is_none() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let key = "/meshes/default/secrets/dataplane-token-signing-key-default-1";
    for api in [&global.api, &zone.api] {
        api.get(key).await?;
        // From another address of this machine, under a name that is not localhost's.
        let foreign = |method: &str, path: &str, body: &str| {
            format!(
                "{method} {path} HTTP/1.1\r\nhost: api.example.org\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let ask = async |request: String| -> anyhow::Result<String> {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind("127.0.0.2:0".parse()?)?;
            let mut stream = socket.connect(address(api)).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        let token = json!({"mesh": "default", "name": "x", "type": "dataplane"}).to_string();
        let secret = json!({"type": "Secret", "mesh": "default", "name": "s", "data": "YQ=="});
        for request in [
            foreign("GET", key, ""),
            foreign("GET", "/secrets", ""),
            foreign("GET", "/meshes/default/secrets", ""),
            foreign("GET", "/global-secrets", ""),
            foreign("GET", "/global-secrets/admin-user-token", ""),
            foreign("PUT", "/meshes/default/secrets/s", &secret.to_string()),
            foreign("DELETE", key, ""),
            foreign("POST", "/tokens/dataplane", &token),
        ] {
            let line = request.lines().next().unwrap_or_default().to_owned();
            let answer = ask(request).await?;
            assert!(answer.starts_with("HTTP/1.1 403"), "{line}: {answer}");
            assert!(!answer.contains("PRIVATE KEY"), "{line}");
        }
        // What is no secret, everyone may read.
        let answer = ask(foreign("GET", "/meshes/default", "")).await?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // The admin token opens what is closed to strangers.
    let secret = global.api.get("/global-secrets/admin-user-token").await?;
    assert!(secret["data"].is_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_refuses_to_write_what_its_global_owns() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let put = async |path: &str, document: Value| {
        zone.api
            .send(reqwest::Method::PUT, path, Some(&document))
            .await
    };
    let mesh = json!({"type": "Mesh", "name": "other"});
    let route = json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": "r",
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": "/"}}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": "cart"}}],
        }]}},
    });
    for (path, document) in [
        ("/meshes/other", mesh),
        ("/meshes/default/meshgatewayroutes/r", route),
    ] {
        let (status, body) = put(path, document).await?;
        assert!((400..500).contains(&status), "{path}: {status} {body}");
    }
    for path in [
        "/meshes/default",
        "/meshes/default/secrets/dataplane-token-signing-key-default-1",
    ] {
        let (status, body) = zone.api.send(reqwest::Method::DELETE, path, None).await?;
        assert!((400..500).contains(&status), "{path}: {status} {body}");
    }
    zone.api.get("/meshes/default").await?;
    zone.api
        .get("/meshes/default/secrets/dataplane-token-signing-key-default-1")
        .await?;
    assert!(zone.api.get("/meshes/other").await.is_err());
    assert!(
        zone.api
            .get("/meshes/default/meshgatewayroutes/r")
            .await
            .is_err()
    );

    // Its own it may write.
    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "cart-1",
        "networking": {
            "address": "127.0.0.1",
            "inbound": [{"port": 9999, "tags": {"kuma.io/service": "cart"}}],
        },
    });
    zone.api.apply(&dataplane).await?;
    zone.api.delete("/meshes/default/dataplanes/cart-1").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataplane_token_of_either_api_opens_the_data_plane_port() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": "gateway-1",
        "networking": {
            "address": "127.0.0.1",
            "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}},
        },
    });
    zone.api.apply(&dataplane).await?;
    for api in [&zone.api, &global.api] {
        let token = api.dataplane_token("default", "gateway-1").await?;
        let goodbye = json!({"mesh": "default", "name": "gateway-1"}).to_string();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(
                (*tls::client_config(&Trust::SkipVerify, &[b"http/1.1"])?).clone(),
            )
            .build()?;
        let url = format!("https://{}/deregister", zone.data_plane());
        let ask = |token: String| {
            let request = client.post(&url).header("content-type", "application/json");
            request
                .header("authorization", token)
                .body(goodbye.clone())
                .send()
        };
        let mut altered = token.clone();
        altered.replace_range(altered.len() - 8..altered.len() - 4, "AAAA");
        assert_eq!(ask(altered).await?.status(), 401);
        assert_eq!(ask(String::new()).await?.status(), 401);
        zone.api.get("/meshes/default/dataplanes/gateway-1").await?;
        assert_eq!(ask(token).await?.status(), 200);
        assert!(
            zone.api
                .get("/meshes/default/dataplanes/gateway-1")
                .await
                .is_err()
        );
        zone.api.apply(&dataplane).await?;
    }
    Ok(())
}
