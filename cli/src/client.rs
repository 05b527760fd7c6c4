//! The admin API of a control plane, as this program asks it.
//!
//! [`Connection`] is what the user said about where it is and how to get in; [`Server`] asks it.
//! Whatever a server (or what is mistaken for one) answers becomes a value or an [`Error`] that
//! says what to do; nothing it sends can end the program.

mod connection;
mod error;
mod list;

use std::time::Duration;

use mesh_model::ResourceType;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

pub(crate) use connection::{Connection, TlsArgs, parse_address};
pub(crate) use error::Error;
pub(crate) use list::{Listing, Window};

/// A control plane to ask. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

/// What a successful write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// The resource did not exist before.
    pub(crate) is_new: bool,
    /// What the server had to say all the same.
    pub(crate) warnings: Vec<String>,
}

impl Server {
    /// Prepares to ask; nothing is sent yet.
    pub(crate) fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let target = connection.resolve()?;
        Ok(Self {
            http: target
                .tls
                .http_client(&target.address, connection.timeout())?,
            base: target.address,
            token: target.token,
        })
    }

    /// Another server that is asked anonymously, such as a port for diagnostics.
    pub(crate) fn plain(address: Url, tls: &TlsArgs, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            http: tls.decide()?.http_client(&address, timeout)?,
            base: address,
            token: None,
        })
    }

    /// The address of `path` (`/meshes/default`), whose segments are already encoded.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// The path of a collection in the admin API.
    pub(crate) fn collection(ty: ResourceType, mesh: Option<&str>) -> String {
        let collection = ty.describe().collections.first().unwrap_or(&"");
        match mesh {
            Some(mesh) if ty.is_mesh_scoped() => format!("/meshes/{}/{collection}", encode(mesh)),
            _ => format!("/{collection}"),
        }
    }

    /// The path of a resource in the admin API.
    pub(crate) fn item(ty: ResourceType, mesh: Option<&str>, name: &str) -> String {
        format!("{}/{}", Self::collection(ty, mesh), encode(name))
    }

    /// Asks for JSON.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        let answer = self.send(Method::GET, path, None).await?;
        answer.json()
    }

    /// Asks for text.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Error> {
        Ok(self.send(Method::GET, path, None).await?.body)
    }

    /// Asks for a resource; that there is none is an answer too.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, Error> {
        match self.get(path).await {
            Ok(value @ Value::Object(_)) => Ok(Some(value)),
            Ok(other) => Err(Error::strange(&self.url(path), &other.to_string())),
            Err(error) if error.refused_with(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a resource.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Written, Error> {
        let answer = self.send(Method::PUT, path, Some(body)).await?;
        let warnings = match answer.body.trim() {
            "" => Vec::new(),
            _ => match answer.json()? {
                Value::Object(said) => warnings(said.get("warnings")),
                _ => return Err(Error::strange(&answer.url, &answer.body)),
            },
        };
        Ok(Written {
            is_new: answer.status == StatusCode::CREATED,
            warnings,
        })
    }

    /// Deletes a resource.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Error> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    /// Whether the address itself answers with 200, whatever it says.
    pub(crate) async fn is_well(&self) -> Result<(), String> {
        let url = self.base.as_str();
        let response = self.http.get(url).send().await;
        let response = response.map_err(|source| Error::unreachable(url, source).to_string())?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    }

    /// Posts JSON and gives the answer's text.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<String, Error> {
        Ok(self.send(Method::POST, path, Some(body)).await?.body)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let url = self.url(path);
        let mut request = self.http.request(method, &url);
        // Token endpoints answer text, but are declared as JSON: this is the list they all accept.
        request = request.header("accept", "application/json, */*");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let unreachable = |source| Error::unreachable(&url, source);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        let answer = Answer {
            status,
            body: String::from_utf8_lossy(&bytes).into_owned(),
            url,
        };
        if matches!(status, StatusCode::OK | StatusCode::CREATED) {
            Ok(answer)
        } else {
            Err(Error::refused(&answer.url, status, &answer.body))
        }
    }
}

/// What a server answered.
#[derive(Debug)]
struct Answer {
    url: String,
    status: StatusCode,
    body: String,
}

impl Answer {
    fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.body).map_err(|_why| Error::strange(&self.url, &self.body))
    }
}

fn warnings(list: Option<&Value>) -> Vec<String> {
    let texts = list.and_then(Value::as_array).into_iter().flatten();
    texts
        .map(|text| {
            text.as_str()
                .map_or_else(|| text.to_string(), str::to_owned)
        })
        .collect()
}

/// A name as one segment of a path (RFC 3986 §3.3).
fn encode(segment: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => write!(text, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_admin_apis() {
        let item = |ty, mesh, name| Server::item(ty, mesh, name);
        assert_eq!(
            item(ResourceType::MeshGateway, Some("default"), "edge"),
            "/meshes/default/meshgateways/edge"
        );
        assert_eq!(
            item(ResourceType::Zone, Some("ignored"), "east"),
            "/zones/east"
        );
        assert_eq!(
            item(ResourceType::Mesh, None, "a/b ü"),
            "/meshes/a%2Fb%20%C3%BC"
        );
    }
}
