//! A control plane's admin API, as a user's script calls it.

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::Value;

/// The admin API of one control plane.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// The API at `http://host:port`.
    ///
    /// # Panics
    /// Never on a machine whose TLS library starts.
    pub fn new(base: impl Into<String>) -> Self {
        mesh_runtime::tls::install_crypto_provider();
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client without options");
        Self {
            base: base.into(),
            client,
        }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request; status and body of the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(u16, String)> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Writes a resource given as its document, to the path that its type, mesh and name say.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn apply(&self, document: &Value) -> anyhow::Result<()> {
        let path = path_of(document)?;
        let (status, body) = self.send(Method::PUT, &path, Some(document)).await?;
        if status != 200 && status != 201 {
            bail!("PUT {path}: {status} {body}");
        }
        Ok(())
    }

    /// Writes every document of a YAML text.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn apply_yaml(&self, text: &str) -> anyhow::Result<()> {
        for document in mesh_runtime::yaml::parse(text)? {
            self.apply(&document.value).await?;
        }
        Ok(())
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let (status, body) = self.send(Method::DELETE, path, None).await?;
        if status != 200 {
            bail!("DELETE {path}: {status} {body}");
        }
        Ok(())
    }

    /// Reads a resource or list.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.send(Method::GET, path, None).await?;
        if status != 200 {
            bail!("GET {path}: {status} {body}");
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// A token for a Dataplane.
    ///
    /// # Errors
    /// When it is refused, such as before the mesh's signing key is there.
    pub async fn dataplane_token(&self, mesh: &str, name: &str) -> anyhow::Result<String> {
        let body = serde_json::json!({"mesh": mesh, "name": name, "type": "dataplane", "tags": {}});
        self.token("/tokens/dataplane", &body).await
    }

    /// A token with which the control plane of a zone connects to this one, the global.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn zone_token(&self, zone: &str) -> anyhow::Result<String> {
        let body = serde_json::json!({"zone": zone, "scope": ["cp"]});
        self.token("/tokens/zone", &body).await
    }

    async fn token(&self, path: &str, body: &Value) -> anyhow::Result<String> {
        let (status, token) = self.send(Method::POST, path, Some(body)).await?;
        if status != 200 {
            bail!("POST {path}: {status} {token}");
        }
        Ok(token)
    }
}

fn path_of(document: &Value) -> anyhow::Result<String> {
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    let ty: mesh_model::ResourceType = text("type").context("no type")?.parse()?;
    let name = text("name").context("no name")?;
    let collection = ty
        .describe()
        .collections
        .first()
        .context("not in the API")?;
    Ok(match text("mesh").filter(|_| ty.is_mesh_scoped()) {
        Some(mesh) => format!("/meshes/{mesh}/{collection}/{name}"),
        None => format!("/{collection}/{name}"),
    })
}
