//! Envoy's admin interface: where the bootstrap puts it, and what the agent asks there.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// Envoy answers these from its main thread, which may be busy with a large configuration.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A client of one Envoy's admin interface; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    client: reqwest::Client,
    base: String,
}

/// The bootstrap does not say where the admin interface is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bootstrap has no usable admin address")]
pub(crate) struct NoAdmin;

/// Where the admin interface listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(String, u16),
    Socket(PathBuf),
}

impl Address {
    /// What an Envoy bootstrap says; field names may be camelCase or `snake_case`.
    pub(crate) fn in_bootstrap(bootstrap: &Value) -> Result<Self, NoAdmin> {
        let address = &bootstrap["admin"]["address"];
        if let Some(path) = address["pipe"]["path"].as_str() {
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let get = |camel, snake| address.get(camel).or_else(|| address.get(snake));
        let socket = get("socketAddress", "socket_address").ok_or(NoAdmin)?;
        let port = socket.get("portValue").or_else(|| socket.get("port_value"));
        let port = port
            .and_then(Value::as_u64)
            .and_then(|port| port.try_into().ok());
        match (socket["address"].as_str(), port) {
            (Some(host), Some(port)) => Ok(Self::Tcp(host.to_owned(), port)),
            _ => Err(NoAdmin),
        }
    }
}

impl Admin {
    pub(crate) fn new(address: &Address) -> reqwest::Result<Self> {
        let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
        Ok(match address {
            Address::Tcp(host, port) => Self {
                client: builder.build()?,
                base: if host.contains(':') {
                    format!("http://[{host}]:{port}")
                } else {
                    format!("http://{host}:{port}")
                },
            },
            Address::Socket(path) => Self {
                client: builder.unix_socket(path.as_path()).build()?,
                base: "http://localhost".to_owned(),
            },
        })
    }

    /// Whether Envoy says that it is live.
    pub(crate) async fn is_ready(&self) -> bool {
        let response = self.client.get(format!("{}/ready", self.base)).send().await;
        response.is_ok_and(|response| response.status().is_success())
    }

    /// Makes Envoy's own health check fail, so that load balancers turn away.
    pub(crate) async fn fail_health_check(&self) -> reqwest::Result<()> {
        self.post("/healthcheck/fail").await
    }

    /// Makes Envoy ask clients to go: `connection: close` and GOAWAY. It still accepts those
    /// that come, until it is ended.
    pub(crate) async fn drain(&self) -> reqwest::Result<()> {
        self.post("/drain_listeners?graceful&skip_exit").await
    }

    async fn post(&self, path: &str) -> reqwest::Result<()> {
        let response = self
            .client
            .post(format!("{}{path}", self.base))
            .send()
            .await?;
        response.error_for_status().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_is_found_in_either_spelling() {
        for (address, expected) in [
            (
                json!({"socketAddress": {"address": "127.0.0.1", "portValue": 9901}}),
                Ok(Address::Tcp("127.0.0.1".to_owned(), 9901)),
            ),
            (
                json!({"socket_address": {"address": "::1", "port_value": 9901}}),
                Ok(Address::Tcp("::1".to_owned(), 9901)),
            ),
            (
                json!({"pipe": {"path": "/run/a.sock", "mode": 384}}),
                Ok(Address::Socket("/run/a.sock".into())),
            ),
            (
                json!({"socketAddress": {"address": "127.0.0.1"}}),
                Err(NoAdmin),
            ),
            (json!(null), Err(NoAdmin)),
        ] {
            let bootstrap = json!({"admin": {"address": address}});
            assert_eq!(Address::in_bootstrap(&bootstrap), expected);
        }
        assert_eq!(Address::in_bootstrap(&json!({})), Err(NoAdmin));
    }
}
