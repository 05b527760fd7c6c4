//! Conversations with a Kuma 2.14 global control plane, repeated with ours.
//!
//! `recorded/state.json` is what was stored, `recorded/global-2.14.jsonl` what was asked and
//! answered, in order. Ours must give the same status, headers and body; times, identifiers and
//! signatures apart. Sentences for people are our own, so of those only the places that they
//! speak of are compared.

use axum::body::Body;
use http::Request;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{self, Api};

/// Where ours answers otherwise, and why.
const DIFFERENCES: &[(&[u32], &str)] = &[
    (
        &[1, 822, 866, 887, 894],
        "the index also says `tagline`, which older clients check, and what Meridian is; no GUI",
    ),
    (&[17], "`/status/zones` is answered, as before Kuma 2.12"),
    (
        &[123],
        "there is no inspection of single proxies yet, so the path is unknown",
    ),
    (
        &[191, 214, 215, 227, 229, 230],
        "of the specs of types that are not applied yet, only the form is checked",
    ),
    (
        &[198, 204, 206, 228, 243, 249, 253],
        "what is wrong in a document with a JSON spec has a place, as in any other",
    ),
    (
        &[209, 210, 224, 234],
        "unknown fields are accepted as well, but named in a warning",
    ),
    (
        &[279],
        "the length of a mesh's name is checked together with everything else about names",
    ),
    (
        &[782],
        "a token that has expired is dated back as a whole, so its `iat` is not after its `exp`",
    ),
];

/// The first exchange about a mesh with several resources.
const BEFORE_PAGING: u32 = 503;

#[derive(Debug, Deserialize)]
struct Exchange {
    n: u32,
    about: String,
    method: String,
    path: String,
    host: String,
    from: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    request: Option<String>,
    status: u16,
    #[serde(rename = "content-type")]
    content_type: Option<String>,
    allow: Option<String>,
    location: Option<String>,
    json: Option<Value>,
    claims: Option<Value>,
    text: Option<String>,
}

async fn recorded_state() -> Api {
    let api = support::global().await;
    let state: Vec<Value> = serde_json::from_str(include_str!("../recorded/state.json")).unwrap();
    for document in &state {
        api.store(document).await;
    }
    for (ty, mesh, name) in [
        (
            "Secret",
            Some("default"),
            "dataplane-token-signing-key-default-1",
        ),
        ("GlobalSecret", None, "zone-token-signing-key-1"),
        ("GlobalSecret", None, "user-token-signing-key-1"),
        ("GlobalSecret", None, "user-token-signing-key-2"),
        ("GlobalSecret", None, "user-token-signing-key-3"),
        ("GlobalSecret", None, "user-token-signing-key-4"),
    ] {
        use base64::Engine as _;
        let key = mesh_runtime::tokens::SigningKey::generate().unwrap();
        let data = base64::engine::general_purpose::STANDARD.encode(key.to_pem());
        let mut secret = json!({ "type": ty, "name": name, "data": data });
        if let Some(mesh) = mesh {
            secret["mesh"] = json!(mesh);
        }
        api.store(&secret).await;
    }
    api
}

#[tokio::test]
async fn answers_are_those_that_were_recorded() {
    let api = recorded_state().await;
    let mut failures = Vec::new();
    for line in include_str!("../recorded/global-2.14.jsonl").lines() {
        let exchange: Exchange = serde_json::from_str(line).unwrap();
        if exchange.n == BEFORE_PAGING {
            // What the first list shows was written in between.
            api.store(&json!({ "type": "Mesh", "name": "shop2" })).await;
            for item in exchange.json.as_ref().unwrap()["items"].as_array().unwrap() {
                api.store(item).await;
            }
        }
        let differences = differences(&api, &exchange).await;
        let is_expected = DIFFERENCES.iter().any(|(n, _)| n.contains(&exchange.n));
        if differences.is_empty() == is_expected {
            failures.push(format!(
                "{} {} {} ({}): {}",
                exchange.n,
                exchange.method,
                exchange.path,
                exchange.about,
                if is_expected {
                    "expected to differ, and does not".to_owned()
                } else {
                    differences.join("; ")
                }
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

async fn differences(api: &Api, exchange: &Exchange) -> Vec<String> {
    let mut request = Request::builder()
        .method(exchange.method.as_str())
        .uri(&exchange.path)
        .header("host", &exchange.host);
    for (name, value) in &exchange.headers {
        request = request.header(name, value.as_str().unwrap());
    }
    let body = exchange
        .request
        .clone()
        .map_or_else(Body::empty, Body::from);
    let peer = format!("{}:40000", exchange.from.as_deref().unwrap_or("127.0.0.1"));
    let answer = api
        .send(request.body(body).unwrap(), peer.parse().unwrap())
        .await;

    let mut found = Vec::new();
    let mut compare = |what: &str, theirs: Option<&str>, ours: Option<&str>| {
        if theirs != ours {
            found.push(format!("{what} is {ours:?}, not {theirs:?}"));
        }
    };
    let status = answer.status.as_u16().to_string();
    compare("status", Some(&exchange.status.to_string()), Some(&status));
    compare(
        "type",
        exchange.content_type.as_deref(),
        answer.header("content-type"),
    );
    compare("allow", exchange.allow.as_deref(), answer.header("allow"));
    compare(
        "location",
        exchange.location.as_deref(),
        answer.header("location"),
    );
    if let Some(text) = &exchange.text {
        // The body of an answer to HEAD is left away by the server below.
        let ours = if exchange.method == "HEAD" {
            ""
        } else {
            &answer.body
        };
        compare("body", Some(text), Some(ours));
    }
    if let Some(theirs) = &exchange.json {
        let mut ours = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        drop_not_applied(&mut ours);
        let (theirs, ours) = (normal(theirs.clone()), normal(ours));
        if theirs != ours {
            found.push(format!("body is {ours}, not {theirs}"));
        }
    }
    if let Some(theirs) = &exchange.claims {
        let (theirs, ours) = (claims(theirs.clone()), claims(payload(&answer.body)));
        if theirs != ours {
            found.push(format!("claims are {ours}, not {theirs}"));
        }
    }
    found
}

/// Leaves out of the warnings that this release does not apply a type yet; Kuma applies all.
fn drop_not_applied(body: &mut Value) {
    let Some(fields) = body.as_object_mut() else {
        return;
    };
    let Some(Value::Array(warnings)) = fields.get_mut("warnings") else {
        return;
    };
    warnings.retain(|text| {
        !text
            .as_str()
            .unwrap()
            .starts_with("stored and synchronised")
    });
    if warnings.is_empty() {
        fields.remove("warnings");
    }
}

fn payload(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap_or_default();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
    serde_json::from_slice(&json.unwrap_or_default()).unwrap_or(Value::Null)
}

/// Times as how far they are apart; empty and absent claims are alike.
fn claims(mut claims: Value) -> Value {
    let Some(map) = claims.as_object_mut() else {
        return claims;
    };
    let lasts = map["exp"].as_i64().unwrap() - map["iat"].as_i64().unwrap();
    let before = map["nbf"].as_i64().unwrap() - map["iat"].as_i64().unwrap();
    for key in ["exp", "iat", "nbf", "jti"] {
        map.remove(key).unwrap();
    }
    map.retain(|_, value| !matches!(value, Value::Null) && *value != "" && *value != json!([]));
    map.insert("lasts".to_owned(), json!([lasts, before]));
    claims
}

/// Leaves out what differs from run to run, and sentences.
fn normal(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            let is_error = map.get("type") == Some(&json!("/std-errors"));
            for (key, value) in map.iter_mut() {
                let is_time = matches!(
                    key.as_str(),
                    "creationTime" | "modificationTime" | "creationTimestamp"
                );
                let is_sentence = matches!(key.as_str(), "reason" | "message");
                let is_detail = is_error && matches!(key.as_str(), "detail" | "details");
                if is_time || is_sentence || is_detail && !is_fixed(value) {
                    *value = json!("…");
                }
                if matches!(key.as_str(), "invalid_parameters" | "causes") {
                    sort_fields(value);
                }
                *value = normal(value.take());
            }
            if let Some(Value::Object(labels)) = map.get_mut("labels") {
                labels.remove("meridian.io/created");
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = normal(item.take())),
        _ => {}
    }
    value
}

/// Whether a detail is one that programs look for.
fn is_fixed(detail: &Value) -> bool {
    matches!(
        detail.as_str(),
        Some("Not found" | "Resource is not valid" | "Unauthenticated" | "Invalid page size")
    )
}

/// All places once, in one order.
fn sort_fields(list: &mut Value) {
    if let Value::Array(items) = list {
        items.sort_by_key(|item| item["field"].to_string());
        items.dedup_by_key(|item| item["field"].to_string());
    }
}
