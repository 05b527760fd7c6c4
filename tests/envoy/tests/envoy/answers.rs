//! Stock Kuma's answers: for the same resources and the same requests, ours are the same.
//!
//! `answers.json` was recorded at gateways of Kuma 2.14 with stock Envoy. In it, `n` repeats a
//! request, `parallel` sends that many at once, and a request without `host` has the gateway's
//! address as its host.
//!
//! Differences that are meant:
//! - a gateway without routes says so in its own words, because it is not Kuma's;
//! - connections beyond the limit: stock's recording has both closed and refused ones, which is
//!   a race of the client with Envoy; only the number of answers counts here.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use mesh_harness::{Backend, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Fleet, PORT};

const ANSWERS: &str = include_str!("answers.json");

#[tokio::test(flavor = "multi_thread")]
async fn our_answers_are_those_of_stock_gateways() -> anyhow::Result<()> {
    let fleet = Fleet::start(61).await?;
    let mut backends = BTreeMap::new();
    for name in ["a", "b", "c"] {
        let backend = Backend::start(name).await;
        fleet.zone.api.apply(&backend.dataplane(name)).await?;
        backends.insert(name, backend);
    }
    let cases: BTreeMap<String, Value> = serde_json::from_str(ANSWERS)?;
    let mut wrong = Vec::new();
    for (name, case) in &cases {
        let resources = case["resources"].as_array().expect("resources");
        let of_type = |ty: &str| resources.iter().any(|r| r["type"] == ty);
        if !of_type("MeshGateway") {
            fleet
                .global
                .api
                .apply(&crate::support::mesh_gateway())
                .await?;
        }
        for resource in resources {
            fleet.global.api.apply(resource).await?;
        }
        // What a case shows is not there at once, so the whole of it is asked until it is right.
        let asked = tokio::time::timeout(std::time::Duration::from_secs(6), async {
            eventually(name, async || {
                for case in case["cases"].as_array().into_iter().flatten() {
                    check(&fleet, &backends, &case["request"], &case["answer"]).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
            .await;
        });
        if asked.await.is_err() {
            for case in case["cases"].as_array().into_iter().flatten() {
                let (request, answer) = (&case["request"], &case["answer"]);
                if let Err(error) = check(&fleet, &backends, request, answer).await {
                    wrong.push(format!("{name}: {request}: {error:#}"));
                }
            }
        }
        for resource in resources.iter().filter(|r| r["type"] == "MeshGatewayRoute") {
            let name = resource["name"].as_str().expect("a name");
            fleet
                .global
                .api
                .delete(&format!("/meshes/default/meshgatewayroutes/{name}"))
                .await?;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn check(
    fleet: &Fleet,
    backends: &BTreeMap<&str, Backend>,
    request: &Value,
    expected: &Value,
) -> anyhow::Result<()> {
    if let Some(backend) = request["mirrored_to"].as_str() {
        let backend = &backends[backend];
        let before = backend.requests();
        fleet.gateway.get(PORT, "127.0.0.1", "/mirrored").await?;
        return eventually("the mirrored request", async || {
            match backend.requests() - before {
                0 => Err("none"),
                1 => Ok(Ok(())),
                _ => Ok(Err(anyhow::anyhow!("more than one"))),
            }
        })
        .await;
    }
    if let Some(distribution) = expected["distribution"].as_array() {
        return check_many(fleet, request, distribution).await;
    }
    let got = ask(fleet, request).await?;
    for (field, expected) in expected.as_object().into_iter().flatten() {
        let got = &got[field];
        let is_same = match field.as_str() {
            // See the module's text.
            "body" if text_of(expected).contains("Kuma") => {
                text_of(got).contains("No routes match")
            }
            "seen" => expected
                .as_object()
                .into_iter()
                .flatten()
                .all(|(header, value)| got[header] == *value),
            _ => got == expected,
        };
        anyhow::ensure!(is_same, "{field} is {got}, stock's {expected}");
    }
    Ok(())
}

fn text_of(body: &Value) -> &str {
    body.as_str().unwrap_or_default()
}

async fn check_many(fleet: &Fleet, request: &Value, expected: &[Value]) -> anyhow::Result<()> {
    let mut got: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |answer: anyhow::Result<Value>| {
        let instance = answer
            .ok()
            .and_then(|a| a["instance"].as_str().map(str::to_owned));
        *got.entry(instance.unwrap_or_default()).or_default() += 1;
    };
    if let Some(parallel) = request["parallel"].as_u64() {
        join_all((0..parallel).map(|_| ask_alone(fleet, request)))
            .await
            .into_iter()
            .for_each(&mut count);
    } else {
        for _ in 0..request["n"].as_u64().unwrap_or(1) {
            count(ask(fleet, request).await);
        }
    }
    for one in expected {
        let Some(instance) = one["instance"].as_str() else {
            continue;
        };
        let expected = one["count"].as_u64().unwrap_or_default();
        let got = got.get(instance).copied().unwrap_or_default();
        // Shares are random; what is not shared out is exact.
        let most = if request["n"].is_u64() { 20 } else { 0 };
        anyhow::ensure!(
            got.abs_diff(expected) <= most,
            "{instance}: {got}, stock {expected}"
        );
    }
    Ok(())
}

/// Asks over a connection of its own.
async fn ask_alone(fleet: &Fleet, request: &Value) -> anyhow::Result<Value> {
    let path = request["path"].as_str().unwrap_or("/");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{}{path}", fleet.gateway.at(PORT));
    Ok(client.get(url).send().await?.json().await?)
}

async fn ask(fleet: &Fleet, request: &Value) -> anyhow::Result<Value> {
    let text = |field: &str, default| request[field].as_str().unwrap_or(default);
    let method = Method::from_bytes(text("method", "GET").as_bytes())?;
    let mut asking = fleet.gateway.request(
        method.clone(),
        PORT,
        text("host", "127.0.0.1"),
        text("path", "/"),
    );
    if method == Method::POST {
        asking = asking.body("");
    }
    for (header, value) in request["headers"].as_object().into_iter().flatten() {
        asking = asking.header(header, value.as_str().unwrap_or_default());
    }
    let response = asking.send().await?;
    let status = response.status().as_u16();
    let location = response.headers().get("location").cloned();
    let body = response.text().await?;
    let mut answer = match serde_json::from_str(&body) {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::from_iter([("body".to_owned(), json!(body))]),
    };
    answer.insert("status".to_owned(), json!(status));
    if let Some(location) = location {
        answer.insert("location".to_owned(), json!(location.to_str()?));
    }
    Ok(Value::Object(answer))
}
