//! A running control plane and a client for it.

use std::collections::BTreeMap;
use std::path::Path;

use global_cp::GlobalCp;
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use mesh_runtime::config::{self, Config, Kind, Sources};
use mesh_store::{Batch, SharedStore};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// A configuration with free ports and a work directory of its own; `more` are environment names
/// without `KUMA_`.
pub(crate) fn config(dir: &Path, more: &[(&str, &str)]) -> Config {
    let ports = [
        ("API_SERVER_HTTP_PORT", "0"),
        ("API_SERVER_HTTPS_PORT", "0"),
        ("DIAGNOSTICS_SERVER_PORT", "0"),
        ("MULTIZONE_GLOBAL_KDS_GRPC_PORT", "0"),
        ("API_SERVER_HTTP_INTERFACE", "127.0.0.1"),
        ("API_SERVER_HTTPS_INTERFACE", "127.0.0.1"),
    ];
    let mut env: BTreeMap<String, String> = ports
        .iter()
        .chain(more)
        .map(|(k, v)| (format!("KUMA_{k}"), (*v).to_owned()))
        .collect();
    env.insert(
        "KUMA_GENERAL_WORK_DIR".to_owned(),
        dir.to_str().unwrap().to_owned(),
    );
    let sources = Sources {
        env,
        ..Sources::default()
    };
    config::load_from(Kind::Global, &sources).unwrap().config
}

pub(crate) struct Running {
    pub(crate) cp: GlobalCp,
    pub(crate) client: Client,
    base: String,
}

/// A control plane that keeps everything in memory.
pub(crate) async fn in_memory(dir: &Path) -> Running {
    start(config(dir, &[("STORE_TYPE", "memory")])).await
}

pub(crate) async fn start(config: Config) -> Running {
    mesh_runtime::tls::install_crypto_provider();
    let cp = GlobalCp::start(config).await.unwrap();
    let base = format!("http://{}", cp.addresses().http.unwrap());
    Running {
        cp,
        client: Client::new(),
        base,
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    /// The fields that an error names.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let list = self.body["invalid_parameters"].as_array();
        list.into_iter()
            .flatten()
            .map(|v| v["field"].as_str().unwrap())
            .collect()
    }
}

impl Running {
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        Answer {
            status,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Puts a document into the store, as a zone's report would arrive.
    pub(crate) async fn store(&self, document: &Value) {
        store(self.cp.store(), document).await;
    }
}

async fn store(store: &SharedStore, document: &Value) {
    let parsed = parse_document(document).unwrap();
    let mesh = parsed.mesh.map(|m| MeshName::parse(&m).unwrap());
    let name = ResourceName::parse(&parsed.name).unwrap();
    let key = Key::try_new(parsed.ty, mesh, name).unwrap();
    let at = Timestamp::from_unix_seconds(1_772_359_200);
    let resource = Resource::new(key, parsed.labels, parsed.spec, at, at);
    store.commit(Batch::new().put(resource)).await.unwrap();
}
