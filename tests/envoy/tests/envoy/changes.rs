//! Every kind of change, as a client of the gateway sees it.

use mesh_harness::{Backend, eventually};
use serde_json::json;

use crate::support::{Fleet, HOST, PORT, gateway_with, route};

#[tokio::test(flavor = "multi_thread")]
async fn backends_come_and_go_under_a_route() -> anyhow::Result<()> {
    let fleet = Fleet::start(21).await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    fleet.answers("/cart", 200).await;

    // A second endpoint takes its share.
    let second = Backend::start("cart-2").await;
    fleet.zone.api.apply(&second.dataplane("cart")).await?;
    eventually("the second backend answers", async || {
        fleet.answers("/cart", 200).await;
        anyhow::ensure!(second.requests() > 0, "it had no request");
        Ok(())
    })
    .await;

    let backend = "/meshes/default/dataplanes/cart-1";
    fleet.zone.api.delete(backend).await?;
    eventually("only the second is left", async || {
        let before = fleet.cart.requests();
        for _ in 0..10 {
            fleet.answers("/cart", 200).await;
        }
        anyhow::ensure!(fleet.cart.requests() == before, "the first still answers");
        Ok(())
    })
    .await;

    // The last goes, and one comes back.
    let last = "/meshes/default/dataplanes/cart-2";
    fleet.zone.api.delete(last).await?;
    fleet.answers("/cart", 503).await;
    fleet.zone.api.apply(&second.dataplane("cart")).await?;
    let answered = fleet.answers("/cart", 200).await;
    assert_eq!(answered.as_deref(), Some("cart-2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_share_requests_out_and_follow_an_edit() -> anyhow::Result<()> {
    let fleet = Fleet::start(22).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    let weighted = |cart: u32, basket: u32| {
        let mut route = route("/", "cart");
        route["conf"]["http"]["rules"][0]["backends"] = json!([
            {"weight": cart, "destination": {"kuma.io/service": "cart"}},
            {"weight": basket, "destination": {"kuma.io/service": "basket"}},
        ]);
        route
    };
    let share_of_cart = async || {
        let mut count = 0;
        for _ in 0..100 {
            let answered = fleet.answers("/", 200).await;
            count += u32::from(answered.as_deref() == Some("cart-1"));
        }
        count
    };
    fleet.global.api.apply(&weighted(80, 20)).await?;
    fleet.answers("/", 200).await;
    eventually("about 80 of 100", async || match share_of_cart().await {
        count @ 65..=95 => Ok(count),
        count => Err(count),
    })
    .await;
    fleet.global.api.apply(&weighted(0, 1)).await?;
    eventually("none of 100", async || match share_of_cart().await {
        0 => Ok(()),
        count => Err(count),
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_a_service_that_is_not_there_answers_503_and_says_so() -> anyhow::Result<()> {
    let fleet = Fleet::start(23).await?;
    fleet.global.api.apply(&route("/cart", "crat")).await?;
    fleet.answers("/cart", 503).await;
    let finding = fleet.finding(&["MeshGatewayRoute", "shop", "crat"]).await;
    assert!(
        finding["field"]
            .as_str()
            .is_some_and(|f| f.contains("conf.http.rules[0]")),
        "{finding:#}"
    );
    // The typo is corrected: nothing is left to complain about.
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    fleet.answers("/cart", 200).await;
    fleet.no_finding().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_with_hostnames_and_tags_have_routes_of_their_own() -> anyhow::Result<()> {
    let fleet = Fleet::start(24).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    let listener = |port: u16, hostname: &str, tag: &str| json!({"port": port, "protocol": "HTTP", "hostname": hostname, "tags": {"site": tag}});
    let gateway = gateway_with(json!([
        listener(PORT, "shop.example", "shop"),
        listener(PORT, "*.example", "any"),
        listener(PORT + 1, "admin.example", "admin"),
    ]));
    fleet.global.api.apply(&gateway).await?;
    let route_of_site = |site: &str, service: &str| {
        let mut route = crate::support::named_route(site, "/", service);
        route["selectors"][0]["match"]["site"] = json!(site);
        route
    };
    for (site, service) in [("shop", "cart"), ("any", "basket"), ("admin", "basket")] {
        fleet
            .global
            .api
            .apply(&route_of_site(site, service))
            .await?;
    }
    let gateway = &fleet.gateway;
    let answered = async |port, host| gateway.answers(port, host, "/", 200).await;
    assert_eq!(answered(PORT, HOST).await.as_deref(), Some("cart-1"));
    assert_eq!(
        answered(PORT, "x.example").await.as_deref(),
        Some("basket-1")
    );
    assert_eq!(
        answered(PORT + 1, "admin.example").await.as_deref(),
        Some("basket-1")
    );
    gateway.answers(PORT, "elsewhere.test", "/", 404).await;
    gateway.answers(PORT + 1, HOST, "/", 404).await;

    // One listener goes; the others answer on.
    let gateway = gateway_with(json!([listener(PORT, "shop.example", "shop")]));
    fleet.global.api.apply(&gateway).await?;
    eventually("the second port is closed", async || {
        match fleet.gateway.get(PORT + 1, "admin.example", "/").await {
            Err(_) => Ok(()),
            Ok(response) => Err(response.status()),
        }
    })
    .await;
    fleet.gateway.answers(PORT, "x.example", "/", 404).await;
    assert_eq!(fleet.answers("/", 200).await.as_deref(), Some("cart-1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_limit_changes_without_dropping_the_listener() -> anyhow::Result<()> {
    let fleet = Fleet::start(25).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    let listeners = async || -> anyhow::Result<(u64, u64)> {
        let stats = fleet
            .gateway
            .admin("/stats?filter=^listener_manager.listener_(added|modified)$")
            .await?;
        let number = |name: &str| {
            let line = stats.lines().find(|line| line.contains(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        };
        Ok((
            number("listener_added").unwrap_or_default(),
            number("listener_modified").unwrap_or_default(),
        ))
    };
    let limit = |connections: u32| {
        gateway_with(json!([{
            "port": PORT, "protocol": "HTTP", "resources": {"connectionLimit": connections},
        }]))
    };
    let at = fleet.gateway.at(PORT);
    let open = async |count: usize| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut alive = 0;
        let mut connections = Vec::new();
        for _ in 0..count {
            let mut connection = tokio::net::TcpStream::connect(at).await?;
            connection
                .write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n")
                .await?;
            let mut first = [0; 12];
            let read = connection.read_exact(&mut first).await;
            if read.is_ok() && &first == b"HTTP/1.1 200" {
                alive += 1;
            }
            connections.push(connection);
        }
        Ok::<_, std::io::Error>(alive)
    };
    let limited_to = async |expected: usize| {
        eventually(
            &format!("{expected} connections at most"),
            async || match open(6).await {
                Ok(alive) if alive == expected => Ok(()),
                Ok(alive) => Err(format!("{alive} of 6 were served")),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
    };
    // From none to one.
    limited_to(6).await;
    fleet.global.api.apply(&limit(2)).await?;
    limited_to(2).await;
    let before = listeners().await?;
    assert!(before.0 > 0, "Envoy counts its listeners: {before:?}");
    // The held connection below must live through the change.
    fleet.global.api.apply(&limit(4)).await?;
    limited_to(4).await;
    fleet.global.api.apply(&limit(3)).await?;
    limited_to(3).await;
    assert_eq!(
        listeners().await?,
        before,
        "a limit is not worth a new listener"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_deleted_closes_its_port_and_comes_back() -> anyhow::Result<()> {
    let fleet = Fleet::start(26).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    fleet.answers("/", 200).await;
    for _ in 0..3 {
        let gateway = "/meshes/default/meshgateways/edge";
        fleet.global.api.delete(gateway).await?;
        eventually("the port is closed", async || {
            match fleet.gateway.get(PORT, HOST, "/").await {
                Err(_) => Ok(()),
                Ok(response) => Err(response.status()),
            }
        })
        .await;
        fleet
            .global
            .api
            .apply(&crate::support::mesh_gateway())
            .await?;
        fleet.answers("/", 200).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_learn_the_tags_of_the_gateway_and_not_what_clients_make_up() -> anyhow::Result<()>
{
    let fleet = Fleet::start(27).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    let mut routes = route("/one", "cart");
    let rules = routes["conf"]["http"]["rules"].as_array_mut();
    let rules = rules.expect("a list of rules");
    let mut weighted = rules[0].clone();
    weighted["matches"][0]["path"]["value"] = json!("/weighted");
    weighted["backends"] = json!([
        {"weight": 1, "destination": {"kuma.io/service": "cart"}},
        {"weight": 1, "destination": {"kuma.io/service": "basket"}},
    ]);
    let mut removed = rules[0].clone();
    removed["matches"][0]["path"]["value"] = json!("/removed");
    removed["filters"] = json!([{"requestHeader": {"remove": ["X-Kuma-Tags"]}}]);
    rules.extend([weighted, removed]);
    fleet.global.api.apply(&routes).await?;
    fleet.answers("/removed", 200).await;

    let seen = async |path: &str| -> anyhow::Result<serde_json::Value> {
        let request = fleet
            .gateway
            .request(reqwest::Method::GET, PORT, HOST, path)
            .header("x-kuma-tags", "&kuma.io/service=forged&");
        let answer: serde_json::Value = request.send().await?.json().await?;
        Ok(answer["seen"]["x-kuma-tags"].clone())
    };
    let tags = json!(["&kuma.io/service=edge-gateway&&kuma.io/zone=zone-1&"]);
    assert_eq!(seen("/one").await?, tags);
    for _ in 0..4 {
        assert_eq!(seen("/weighted").await?, tags);
    }
    assert_eq!(seen("/removed").await?, json!(null), "the route says so");
    Ok(())
}
