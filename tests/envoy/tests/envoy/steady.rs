//! Edits of everything under a steady load, as high as the machine allows: no answer is one that
//! neither the old nor the new configuration would give, at Envoys of either dialect of ADS.
//! `MERIDIAN_STEADY_EDITS=1000` for the whole of it; the figures are printed.

mod wire;

use std::time::Duration;

use mesh_harness::{Certificate, Gateway, Load, TlsClient};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::wire::{Ask, Endpoint, Steady};
use crate::stock_proxies;
use crate::support::{Fleet, HOST, PORT, address, gateway_with, named_route};

const OTHER: u16 = 18081;
const HTTPS: u16 = 18443;
const OTHER_HOST: &str = "other.example";
/// Clients for each path, and how often each asks.
const CLIENTS: usize = 6;
const EVERY: Duration = Duration::from_millis(20);

fn edits() -> anyhow::Result<usize> {
    Ok(std::env::var("MERIDIAN_STEADY_EDITS").map_or(Ok(120), |text| text.parse())?)
}

/// The gateway in one of its forms: with or without a listener, with one tag or another.
fn gateway(form: usize) -> Value {
    let tags = json!({"form": format!("{}", form / 2 % 2)});
    let mut listeners = vec![
        json!({"port": PORT, "protocol": "HTTP", "tags": tags}),
        json!({"port": HTTPS, "protocol": "HTTPS", "hostname": HOST,
            "tls": {"mode": "TERMINATE", "certificates": [{"secret": "shop"}]}}),
    ];
    if form.is_multiple_of(2) {
        listeners.push(json!({"port": OTHER, "protocol": "HTTP"}));
    }
    if form.is_multiple_of(3) {
        listeners.push(json!({"port": PORT, "protocol": "HTTP", "hostname": OTHER_HOST}));
    }
    gateway_with(Value::Array(listeners))
}

/// Another gateway, of a proxy of its own, and a route for it.
fn second_gateway() -> [Value; 2] {
    let of_second = json!([{"match": {"kuma.io/service": "second-gateway"}}]);
    let mut gateway = gateway_with(json!([{"port": PORT, "protocol": "HTTP"}]));
    gateway["name"] = json!("second");
    gateway["selectors"] = of_second.clone();
    let mut route = named_route("second", "/stays", "steady");
    route["selectors"] = of_second;
    [gateway, route]
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_everything_give_no_answer_that_nobody_configured() -> anyhow::Result<()> {
    let fleet = Fleet::start(85).await?;
    let (global, zone) = (&fleet.global.api, &fleet.zone.api);
    let certificates = [(); 2].map(|()| Certificate::ecdsa(&[HOST]).secret("shop"));
    let cart = Endpoint::start("steady-cart").await?;
    let basket = Endpoint::start("steady-basket").await?;
    let second = Endpoint::start("steady-basket-2").await?;
    zone.apply(&cart.dataplane("steady")).await?;
    zone.apply(&basket.dataplane("basket")).await?;
    global.apply(&certificates[0]).await?;
    global.apply(&gateway(0)).await?;
    global
        .apply(&named_route("stays", "/stays", "steady"))
        .await?;
    global
        .apply(&named_route("moves", "/moves", "steady"))
        .await?;
    fleet.answers("/stays", 200).await;
    fleet.answers("/moves", 200).await;
    fleet.gateway.answers(OTHER, HOST, "/stays", 200).await;

    let stock = stock_proxies::start(&fleet.zone, 85).await?;
    stock.answers("/stays", 200).await;
    let at = address([85, 2]);
    let second_proxy = Gateway::start(&fleet.zone, "gateway-2", "second-gateway", at).await?;
    for document in second_gateway() {
        global.apply(&document).await?;
    }
    second_proxy.answers(PORT, HOST, "/stays", 200).await;

    let [main, other] = [PORT, OTHER].map(|port| fleet.gateway.at(port));
    let ask = |at, host, path| Ask { at, host, path };
    let cart_only = &["200 steady-cart"][..];
    let all = &[
        "200 steady-cart",
        "200 steady-basket",
        "200 steady-basket-2",
    ][..];
    let baskets = &["200 steady-basket", "200 steady-basket-2", "404"][..];
    let at_times = &["200 steady-cart", "no listener"][..];
    let (asks, expected): (Vec<_>, Vec<&[&str]>) = [
        (ask(main, HOST, "/stays"), cart_only),
        (ask(main, HOST, "/moves"), all),
        (ask(main, HOST, "/comes"), baskets),
        (ask(main, OTHER_HOST, "/stays"), cart_only),
        (ask(other, HOST, "/stays"), at_times),
        (ask(stock.at(PORT), HOST, "/stays"), cart_only),
        (ask(stock.at(PORT), HOST, "/moves"), all),
        (ask(stock.at(OTHER), HOST, "/stays"), at_times),
        (ask(second_proxy.at(PORT), HOST, "/stays"), at_times),
    ]
    .into_iter()
    .unzip();
    let load = Steady::start(&asks, CLIENTS, EVERY);
    let tls = TlsClient::new(fleet.gateway.at(HTTPS), HOST);
    let over_tls = Load::start_tls(&tls, HOST, "/stays", 2);

    let began = Instant::now();
    let count = edits()?;
    for edit in 0..count {
        let round = edit / 7;
        match edit % 7 {
            0 => {
                let service = ["basket", "steady"][round % 2];
                global
                    .apply(&named_route("moves", "/moves", service))
                    .await?;
            }
            1 if round % 2 == 0 => {
                global
                    .apply(&named_route("comes", "/comes", "basket"))
                    .await?;
            }
            1 => {
                global
                    .delete("/meshes/default/meshgatewayroutes/comes")
                    .await?
            }
            2 => global.apply(&gateway(round + 1)).await?,
            3 => global.apply(&certificates[(round + 1) % 2]).await?,
            4 if round % 2 == 0 => zone.apply(&second.dataplane("basket")).await?,
            4 => {
                zone.delete("/meshes/default/dataplanes/steady-basket-2")
                    .await?
            }
            5 if round % 2 == 0 => global.delete("/meshes/default/meshgateways/second").await?,
            5 => global.apply(&second_gateway()[0]).await?,
            // The same place in other words.
            _ => {
                let path = ["/stays", "/stays/deep"][round % 2];
                global
                    .apply(&named_route("neighbour", path, "steady"))
                    .await?;
            }
        }
        over_tls.go_on_for(1).await;
    }
    let took = began.elapsed();
    let (outcomes, rate) = load.stop().await;
    let over_tls = over_tls.stop().await;

    eprintln!("{count} edits in {took:.1?} at {rate:.0} requests/s");
    let mut lost = 0;
    for ((ask, expected), outcomes) in asks.iter().zip(expected).zip(outcomes) {
        eprintln!("{}{} at {}: {outcomes:?}", ask.host, ask.path, ask.at);
        for (outcome, count) in outcomes {
            if !expected.contains(&outcome.as_str()) {
                lost += count;
            }
        }
    }
    eprintln!("over TLS: {over_tls}");
    lost += over_tls.other_than(&["200 steady-cart"]);
    assert_eq!(lost, 0, "some got what nobody configured");
    Ok(())
}
