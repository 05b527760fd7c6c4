//! The endpoints that issue tokens.

use std::sync::Arc;

use http::{Method, StatusCode};
use mesh_api::{Mode, Open, Settings};
use mesh_runtime::tokens::{
    self, DataplaneClaims, Revocations, SigningKey, TokenError, ZoneClaims,
};
use serde_json::json;

use crate::support::{self, Api, noon};

fn secret(ty: &str, name: &str, key: &SigningKey) -> serde_json::Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(key.to_pem());
    let mut secret = json!({ "type": ty, "name": name, "data": data });
    if ty == "Secret" {
        secret["mesh"] = json!("default");
    }
    secret
}

#[tokio::test]
async fn the_newest_key_of_the_mesh_signs() {
    let api = support::global().await;
    let (old, new) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let name = "dataplane-token-signing-key-default";
    api.store(&secret("Secret", &format!("{name}-9"), &old))
        .await;
    api.store(&secret("Secret", &format!("{name}-10"), &new))
        .await;
    let body = r#"{"mesh":"default","name":"a","tags":{"t":["b","a"]},"validFor":"1h"}"#;
    let answer = api.ask(Method::POST, "/tokens/dataplane", Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let none = Revocations::default();
    let verified = tokens::verify::<DataplaneClaims>(
        &answer.body,
        noon(),
        |id| (id == "10").then(|| new.public()),
        &none,
    )
    .unwrap();
    assert_eq!(verified.claims.tags["t"], ["a", "b"]);
    assert_eq!(
        verified.expires.unwrap().unix_seconds(),
        noon().unix_seconds() + 3600
    );
}

#[tokio::test]
async fn a_validity_below_zero_gives_a_token_that_has_expired() {
    let api = support::global().await;
    let key = SigningKey::generate().unwrap();
    api.store(&secret("GlobalSecret", "zone-token-signing-key-1", &key))
        .await;
    for validity in ["0s", "-1h"] {
        let body = json!({ "zone": "east", "scope": [], "validFor": validity }).to_string();
        let answer = api.ask(Method::POST, "/tokens/zone", Some(&body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let none = Revocations::default();
        let verified =
            tokens::verify::<ZoneClaims>(&answer.body, noon(), |_| Some(key.public()), &none);
        assert!(
            matches!(verified, Err(TokenError::Expired { .. })),
            "{verified:?}"
        );
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_with_every_reason() {
    let api = support::global().await;
    for (path, body, fields) in [
        (
            "dataplane",
            r#"{"mesh":"","validFor":"1x","type":"other"}"#,
            &["mesh", "validFor", "type"][..],
        ),
        ("zone", r#"{"zone":"z","validFor":"1h"}"#, &["scope"]),
        ("user", "{}", &["name", "validFor"]),
        ("user", r#"{"name":"a","validFor":"0s"}"#, &["validFor"]),
    ] {
        let answer = api
            .ask(Method::POST, &format!("/tokens/{path}"), Some(body))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.fields(), fields, "{path} {body}");
        assert_eq!(answer.json()["title"], "Invalid request");
    }
    let answer = api
        .ask(Method::POST, "/tokens/user", Some("{not json"))
        .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (StatusCode::BAD_REQUEST, "")
    );
    assert_eq!(answer.header("content-type"), None);
    let answer = api
        .ask(
            Method::POST,
            "/tokens/dataplane",
            Some(r#"{"mesh":"nomesh"}"#),
        )
        .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json()["title"], "Signing Key not found");
}

#[tokio::test]
async fn an_issuer_that_is_switched_off_says_which_setting_does_it() {
    let settings = Settings {
        issues_user_tokens: false,
        ..Settings::default()
    };
    let api = Api::new(Mode::Global, settings, Arc::new(Open)).await;
    let body = r#"{"name":"a","validFor":"1h"}"#;
    let answer = api.ask(Method::POST, "/tokens/user", Some(body)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let detail = answer.json()["detail"].to_string();
    assert!(
        detail.contains("apiServer.authn.tokens.enableIssuer"),
        "{detail}"
    );
}
