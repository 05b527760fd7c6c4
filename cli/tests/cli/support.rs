//! A control plane on a port of its own, and the program run against it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use mesh_api::{Context, Metrics, Mode, Open, Settings};
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, ZoneName};
use mesh_runtime::tls::{self, Identity};
use mesh_runtime::{clock, serve, shutdown};
use mesh_store::{Batch, Memory, SharedStore};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The standard output of a run that went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:#?}");
        self.stdout
    }

    /// The standard error of a run that failed, without having panicked.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.status, 1, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self.stderr
    }
}

/// Runs the program in the top folder of the project.
pub(crate) async fn meridian(arguments: &[&str]) -> Run {
    meridian_with(arguments, "").await
}

pub(crate) async fn meridian_with(arguments: &[&str], stdin: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(arguments)
        .current_dir(top())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let text = stdin.to_owned();
    // Whoever does not read is no concern of ours.
    let feed = tokio::spawn(async move { drop(pipe.write_all(text.as_bytes()).await) });
    let output = child.wait_with_output().await.unwrap();
    feed.await.unwrap();
    Run {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A control plane with a store in memory.
pub(crate) struct ControlPlane {
    pub(crate) store: SharedStore,
    pub(crate) address: String,
    _stop: shutdown::Trigger,
}

impl ControlPlane {
    /// A global one, with the mesh `default`.
    pub(crate) async fn start() -> Self {
        Self::start_with(Mode::Global, Settings::default(), None).await
    }

    /// One that takes nobody for an administrator without a token.
    pub(crate) async fn start_closed() -> Self {
        let settings = Settings {
            localhost_is_admin: false,
            ..Settings::default()
        };
        Self::start_with(Mode::Global, settings, None).await
    }

    pub(crate) async fn start_zone() -> Self {
        let zone = ZoneName::parse("east").unwrap();
        Self::start_with(Mode::FederatedZone { zone }, Settings::default(), None).await
    }

    /// A global one behind TLS.
    pub(crate) async fn start_with_tls(identity: &Identity) -> Self {
        let tls = Some(tls::server_config(identity));
        Self::start_with(Mode::Global, Settings::default(), tls).await
    }

    async fn start_with(
        mode: Mode,
        settings: Settings,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let store: SharedStore = Arc::new(Memory::new());
        let router = mesh_api::router(Context {
            store: Arc::clone(&store),
            mode,
            admission: Arc::new(Open),
            settings,
            config: json!({}),
            hostname: "host".to_owned(),
            instance_id: "host-1234".to_owned(),
            now: clock::now,
            metrics: Metrics::new(),
            reports: mesh_api::Reports::default(),
            receipts: None,
            proxies: None,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (stop, shutdown) = shutdown::channel();
        tokio::spawn(serve::serve(
            listener,
            tls,
            router,
            serve::Options::default(),
            shutdown,
        ));
        let control_plane = Self {
            store,
            address: format!("{scheme}://{address}"),
            _stop: stop,
        };
        control_plane
            .store(&json!({"type": "Mesh", "name": "default"}))
            .await;
        control_plane
    }

    /// Runs the program against it.
    pub(crate) async fn run(&self, line: &str) -> Run {
        self.run_with(line, "").await
    }

    pub(crate) async fn run_with(&self, line: &str, stdin: &str) -> Run {
        let address = format!("--address={}", self.address);
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.push(&address);
        meridian_with(&arguments, stdin).await
    }

    /// Puts a document into the store, past the API.
    pub(crate) async fn store(&self, document: &Value) {
        let parsed = parse_document(document).unwrap();
        assert_eq!(parsed.unknown, Vec::<String>::new());
        let mesh = parsed.mesh.map(|m| MeshName::parse(&m).unwrap());
        let name = ResourceName::parse(&parsed.name).unwrap();
        let resource = Resource::new(
            Key::try_new(parsed.ty, mesh, name).unwrap(),
            parsed.labels,
            parsed.spec,
            clock::now(),
            clock::now(),
        );
        self.store.commit(Batch::new().put(resource)).await.unwrap();
    }
}

/// A route `name` for `path` to `service`.
pub(crate) fn route(name: &str, path: &str, service: &str) -> String {
    format!(
        "\
type: MeshGatewayRoute
mesh: default
name: {name}
selectors:
- match:
    kuma.io/service: edge
conf:
  http:
    rules:
    - matches:
      - path:
          match: PREFIX
          value: {path}
      backends:
      - weight: 1
        destination:
          kuma.io/service: {service}
"
    )
}

/// Many routes, one document each.
pub(crate) fn routes(count: usize) -> String {
    let mut text = String::new();
    for index in 0..count {
        let route = route(&format!("r{index}"), &format!("/{index}"), "echo");
        write!(text, "---\n{route}").unwrap();
    }
    text
}
