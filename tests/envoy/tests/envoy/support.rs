//! Documents that most tests write, and one zone with one gateway.

use std::net::IpAddr;

use mesh_harness::{Backend, Gateway, Global, Load, Zone, eventually};
use serde_json::{Value, json};

pub(crate) const PORT: u16 = 18080;
pub(crate) const HOST: &str = "shop.example";

pub(crate) fn mesh_gateway() -> Value {
    gateway_with(json!([{"port": PORT, "protocol": "HTTP"}]))
}

pub(crate) fn gateway_with(listeners: Value) -> Value {
    json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"listeners": listeners},
    })
}

pub(crate) fn route(path: &str, service: &str) -> Value {
    named_route("shop", path, service)
}

pub(crate) fn named_route(name: &str, path: &str, service: &str) -> Value {
    route_of(name, json!({"match": "PREFIX", "value": path}), service)
}

pub(crate) fn route_of(name: &str, path: Value, service: &str) -> Value {
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": "edge-gateway"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": path}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": service}}],
        }]}},
    })
}

/// Distinct loopback addresses, so that tests can run side by side, and beside the benches, which
/// have 41 to 43: Envoys share a port without a word, and each gets some of the connections.
pub(crate) fn address(last: [u8; 2]) -> IpAddr {
    [127, 0, last[0], last[1]].into()
}

/// A global, a zone, a gateway, and the backend `cart-1` of the service `cart` behind it.
pub(crate) struct Fleet {
    pub(crate) global: Global,
    pub(crate) zone: Zone,
    pub(crate) gateway: Gateway,
    pub(crate) cart: Backend,
}

impl Fleet {
    /// Starts it; `number` is the test's own. The listener is there, and no route.
    pub(crate) async fn start(number: u8) -> anyhow::Result<Self> {
        let global = Global::start().await?;
        global.api.apply(&mesh_gateway()).await?;
        let zone = Zone::start("zone-1", &global).await?;
        let cart = Backend::start("cart-1").await;
        zone.api.apply(&cart.dataplane("cart")).await?;
        let at = address([number, 1]);
        let gateway = Gateway::start(&zone, "gateway-1", "edge-gateway", at).await?;
        Ok(Self {
            global,
            zone,
            gateway,
            cart,
        })
    }

    /// Waits for an answer to `/cart` or any other path.
    pub(crate) async fn answers(&self, path: &str, status: u16) -> Option<String> {
        self.gateway.answers(PORT, HOST, path, status).await
    }

    /// Waits until the global shows a finding on the gateway that has all these words.
    pub(crate) async fn finding(&self, words: &[&str]) -> Value {
        eventually("the finding on the global", async || {
            let findings = findings(&self.global).await?;
            let has_all = |f: &&Value| words.iter().all(|word| f.to_string().contains(word));
            let found = findings.iter().find(has_all).cloned();
            found.ok_or_else(|| anyhow::anyhow!("{findings:#?}"))
        })
        .await
    }

    /// Waits until the global shows no finding any more.
    pub(crate) async fn no_finding(&self) {
        eventually("no finding", async || {
            let left = findings(&self.global).await?;
            anyhow::ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        })
        .await;
    }
}

/// Edits the routes so often while they are asked for `/a/b`: no answer may be one that nobody
/// configured. A neighbour that comes and goes is a route to the service `neighbour`.
pub(crate) async fn edit_under(
    load: Load,
    global: &Global,
    edits: u32,
    neighbour: &str,
) -> anyhow::Result<()> {
    for edit in 0..edits {
        // The service changes, so that a cluster comes and one goes; or a neighbour comes and
        // goes; or the same place is described in other words.
        let service = if edit % 2 == 0 { "basket" } else { "cart" };
        match edit % 5 {
            0 | 1 => global.api.apply(&route("/", service)).await?,
            2 => global.api.apply(&route("/a", service)).await?,
            3 => {
                let neighbour = named_route("neighbour", "/neighbour", neighbour);
                global.api.apply(&neighbour).await?;
                global.api.apply(&route("/a/b", service)).await?;
            }
            _ => {
                let path = "/meshes/default/meshgatewayroutes/neighbour";
                global.api.delete(path).await?;
            }
        }
        load.go_on_for(u64::from(edit % 7)).await;
    }
    let tally = load.stop().await;
    eprintln!("{tally}");
    assert_eq!(
        tally.other_than(&["200 cart-1", "200 basket-1"]),
        0,
        "{tally}"
    );
    assert!(
        tally.other_than(&["200 cart-1"]) > 0,
        "no edit was seen: {tally}"
    );
    Ok(())
}

/// The findings on all Dataplanes that a global knows.
pub(crate) async fn findings(global: &Global) -> anyhow::Result<Vec<Value>> {
    let list = global.api.get("/dataplanes/_overview").await?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let of_item = |item: &Value| item["dataplaneInsight"]["findings"].as_array().cloned();
    Ok(items.iter().filter_map(of_item).flatten().collect())
}
