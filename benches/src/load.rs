//! Routes, one or tens of thousands, through the admin API.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::http::Http;

/// The port of the gateway's only listener.
pub const PORT: u16 = 18080;
/// The service that gateways stand for.
pub const GATEWAY: &str = "edge-gateway";
/// The service behind every route.
pub const BACKEND: &str = "backend";

/// Clients that create routes at the same time.
const CLIENTS: usize = 16;

/// The gateway.
pub fn mesh_gateway() -> Value {
    json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": GATEWAY}}],
        "conf": {"listeners": [{"port": PORT, "protocol": "HTTP"}]},
    })
}

/// A Dataplane of a gateway.
pub fn gateway_dataplane(name: &str, address: &str, admin_port: u16) -> Value {
    json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {
            "address": address,
            "gateway": {"type": "BUILTIN", "tags": {"kuma.io/service": GATEWAY}},
            "admin": {"port": admin_port},
        },
    })
}

/// A route that sends everything under `path` to the backend.
pub fn route(name: &str, path: &str) -> Value {
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": GATEWAY}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": path}}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": BACKEND}}],
        }]}},
    })
}

/// Where a route is written.
pub fn route_path(name: &str) -> String {
    format!("/meshes/default/meshgatewayroutes/{name}")
}

/// Creates the routes numbered `from..to`.
pub async fn create_routes(api: SocketAddr, from: usize, to: usize) -> anyhow::Result<()> {
    create(api, from, to, None).await
}

/// Creates so many routes, each of one of so many hostnames.
pub async fn create_routes_of_hosts(
    api: SocketAddr,
    routes: usize,
    hosts: usize,
) -> anyhow::Result<()> {
    create(api, 0, routes, Some(hosts)).await
}

async fn create(
    api: SocketAddr,
    from: usize,
    to: usize,
    hosts: Option<usize>,
) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut http = Http::connect(api).await?;
            for number in (from + client..to).step_by(CLIENTS) {
                let name = format!("route-{number:05}");
                let mut document = route(&name, &format!("/shop/{number:05}"));
                if let Some(hosts) = hosts {
                    let host = format!("host-{}.example", number % hosts);
                    document["conf"]["http"]["hostnames"] = json!([host]);
                }
                http.put(&route_path(&name), &document).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}
