//! Who may do what.

use axum::body::Body;
use http::{Request, StatusCode};
use mesh_api::{Mode, Open, Settings};
use mesh_runtime::tokens::{self, SigningKey, UserClaims};
use serde_json::{Value, json};

use crate::support::{self, Answer, Api, noon};

async fn remote(api: &Api, method: &str, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "cp.example:5681")
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let body = json!({ "type": "GlobalSecret", "name": "s", "data": "" }).to_string();
    let request = request.body(Body::from(body)).unwrap();
    api.send(request, "192.0.2.7:40000".parse().unwrap()).await
}

fn secret(name: &str, content: &str) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(content);
    json!({ "type": "GlobalSecret", "name": name, "data": data })
}

async fn with_key() -> (Api, SigningKey) {
    let api = support::global().await;
    let key = SigningKey::generate().unwrap();
    api.store(&secret("user-token-signing-key-1", &key.to_pem()))
        .await;
    (api, key)
}

fn token(key: &SigningKey, groups: &[&str]) -> String {
    let claims = UserClaims {
        name: "ann".to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    let hour = std::time::Duration::from_secs(3600);
    format!(
        "Bearer {}",
        tokens::issue(key, "1", &claims, noon(), hour).unwrap()
    )
}

#[tokio::test]
async fn secrets_are_for_administrators() {
    let (api, key) = with_key().await;
    let plain = token(&key, &["devs"]);
    for caller in [
        None,
        Some(plain.as_str()),
        Some("Basic YTpi"),
        Some("Bearer "),
    ] {
        for (method, path) in [
            ("GET", "/globalsecrets"),
            ("GET", "/global-secrets/nosuch"),
            ("PUT", "/global-secrets/s"),
            ("DELETE", "/global-secrets/user-token-signing-key-1"),
            ("GET", "/meshes/default/secrets"),
            ("GET", "/secrets"),
        ] {
            let answer = remote(&api, method, path, caller).await;
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{caller:?} {method} {path}"
            );
            assert_eq!(answer.json()["title"], "Access Denied");
        }
        // What is not there is not there for anybody.
        let absent = remote(&api, "DELETE", "/global-secrets/nosuch", caller).await;
        assert_eq!(absent.status, StatusCode::NOT_FOUND);
    }
    let admin = token(&key, &["mesh-system:admin"]);
    let answer = remote(&api, "PUT", "/global-secrets/s", Some(&admin)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(api.get("/global-secrets/s").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_that_is_not_valid_opens_nothing_but_the_index() {
    let (api, key) = with_key().await;
    let other = token(&SigningKey::generate().unwrap(), &["mesh-system:admin"]);
    let doubled = token(&key, &["mesh-system:admin"]).replace("Bearer ", "Bearer  x");
    for bad in ["Bearer junk", &other, &doubled] {
        for path in ["/meshes", "/nosuch", "/who-am-i"] {
            let answer = remote(&api, "GET", path, Some(bad)).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(answer.json()["detail"], "Unauthenticated");
        }
        assert_eq!(
            remote(&api, "GET", "/", Some(bad)).await.status,
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn a_revoked_token_is_not_valid() {
    let (api, key) = with_key().await;
    let token = token(&key, &["devs"]);
    let who = remote(&api, "GET", "/who-am-i", Some(&token)).await;
    assert_eq!(
        who.json(),
        json!({ "name": "ann", "groups": ["devs", "mesh-system:authenticated"] })
    );
    let verified = tokens::verify::<UserClaims>(
        token.strip_prefix("Bearer ").unwrap(),
        noon(),
        |_| Some(key.public()),
        &tokens::Revocations::default(),
    );
    let id = verified.unwrap().id;
    api.store(&secret("user-token-revocations", &format!("x,{id}\n")))
        .await;
    let who = remote(&api, "GET", "/who-am-i", Some(&token)).await;
    assert_eq!(who.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn localhost_is_an_administrator_only_where_that_is_wanted() {
    let settings = Settings {
        localhost_is_admin: false,
        ..Settings::default()
    };
    let api = Api::new(Mode::Global, settings, std::sync::Arc::new(Open)).await;
    assert_eq!(api.get("/secrets").await.status, StatusCode::FORBIDDEN);
    let api = support::global().await;
    assert_eq!(api.get("/secrets").await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers() {
    let settings = Settings {
        cors_allowed_domains: vec!["http://ui.example".to_owned()],
        ..Settings::default()
    };
    let api = Api::new(Mode::Global, settings, std::sync::Arc::new(Open)).await;
    let ask = async |method: &str, origin: &str| {
        let request = Request::builder()
            .method(method)
            .uri("/meshes/default")
            .header("host", "cp.example")
            .header("origin", origin)
            .header("access-control-request-method", "PUT")
            .body(Body::empty())
            .unwrap();
        api.send(request, "192.0.2.7:1".parse().unwrap()).await
    };
    let answer = ask("GET", "http://ui.example").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("http://ui.example")
    );
    let answer = ask("OPTIONS", "http://ui.example").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("PUT, DELETE, GET")
    );
    let answer = ask("GET", "http://evil.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
