//! Brings the lab up, step by step, and asks its gateways.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use mesh_model::ResourceType;
use mesh_runtime::{health, whole_file};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ask::Client;
use super::examples;
use super::plan::{Plan, Zone};
use super::process::{Processes, Program};
use super::wait::until;
use crate::client::{Server, TlsArgs, parse_address};
use crate::output;

/// The paths that are asked for, one for each route of the examples.
const PATHS: [&str; 2] = ["/", "/cart/42"];

/// What the lab needs to come up.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    pub(super) plan: &'a Plan,
    pub(super) envoy: &'a Path,
    pub(super) work_dir: &'a Path,
}

/// A gateway's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) zone: String,
    pub(super) url: String,
    pub(super) text: String,
    /// From the moment the route was sent to the global.
    pub(super) after: Duration,
}

impl Fleet<'_> {
    /// Starts everything, writes the examples and asks the gateways.
    pub(super) async fn bring_up(&self, processes: &mut Processes) -> anyhow::Result<Vec<Answer>> {
        self.write_examples()?;
        self.start_global(processes).await?;
        for zone in &self.plan.zones {
            let token = self.zone_token(zone).await?;
            processes.start(self.zone_program(zone, &token)?)?;
        }
        try_join_all(self.plan.zones.iter().map(|zone| self.zone_is_ready(zone))).await?;
        for zone in &self.plan.zones {
            self.start_proxies(zone, processes).await?;
        }
        try_join_all(
            self.plan
                .zones
                .iter()
                .map(|zone| self.gateway_is_ready(zone)),
        )
        .await?;
        self.apply_and_ask().await
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.work_dir.join(name);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.work_dir.join(format!("{name}.log"))
    }

    /// For people to edit and apply.
    fn write_examples(&self) -> anyhow::Result<()> {
        let folder = self.folder("examples")?;
        for (name, text) in examples::global(self.plan) {
            write(&folder.join(name), &text)?;
        }
        Ok(())
    }

    async fn start_global(&self, processes: &mut Processes) -> anyhow::Result<()> {
        let ports = &self.plan.global;
        let work_dir = self.folder("global")?;
        let started = Instant::now();
        processes.start(Program {
            title: "the global control plane".to_owned(),
            program: "global-cp",
            arguments: vec!["run".into()],
            environment: vec![
                ("KUMA_MODE", "global".to_owned()),
                ("KUMA_GENERAL_WORK_DIR", work_dir.display().to_string()),
                // Only for this machine: its users are administrators of the lab.
                ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
                ("KUMA_API_SERVER_HTTPS_INTERFACE", "127.0.0.1".to_owned()),
                ("KUMA_API_SERVER_HTTP_PORT", ports.api.to_string()),
                ("KUMA_API_SERVER_HTTPS_PORT", ports.api_https.to_string()),
                (
                    "KUMA_DIAGNOSTICS_SERVER_PORT",
                    ports.diagnostics.to_string(),
                ),
                ("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", ports.kds.to_string()),
            ],
            log: self.log("global"),
        })?;
        is_ready("the global control plane is ready", ports.diagnostics).await?;
        progress("global", &self.plan.global_api(), started);
        Ok(())
    }

    /// The file with the token by which the global knows the zone.
    async fn zone_token(&self, zone: &Zone) -> anyhow::Result<PathBuf> {
        let server = server(&self.plan.global_api())?;
        let request = json!({ "zone": zone.name, "scope": ["cp"] });
        let token = server.post("/tokens/zone", &request).await?;
        let file = self.folder(&zone.name)?.join("zone-token");
        whole_file::replace(&file, token.as_bytes(), 0o600)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn zone_program(&self, zone: &Zone, token: &Path) -> anyhow::Result<Program> {
        let work_dir = self.folder(&zone.name)?;
        let global_ca = self.work_dir.join("global/kuma-cp.crt");
        let global = format!("grpcs://localhost:{}", self.plan.global.kds);
        Ok(Program {
            title: format!("the control plane of {}", zone.name),
            program: "zone-cp",
            arguments: vec!["run".into()],
            environment: vec![
                ("KUMA_MODE", "zone".to_owned()),
                ("KUMA_GENERAL_WORK_DIR", work_dir.display().to_string()),
                ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
                ("KUMA_API_SERVER_HTTPS_INTERFACE", "127.0.0.1".to_owned()),
                ("KUMA_API_SERVER_HTTP_PORT", zone.api.to_string()),
                ("KUMA_API_SERVER_HTTPS_PORT", zone.api_https.to_string()),
                ("KUMA_DP_SERVER_PORT", zone.data_plane.to_string()),
                ("KUMA_DIAGNOSTICS_SERVER_PORT", zone.diagnostics.to_string()),
                ("KUMA_MULTIZONE_ZONE_NAME", zone.name.clone()),
                ("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", global),
                (
                    "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE",
                    global_ca.display().to_string(),
                ),
                (
                    "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
                    token.display().to_string(),
                ),
            ],
            log: self.log(&zone.name),
        })
    }

    /// Ready is a zone that has its mesh, and the key for the tokens of its gateways.
    async fn zone_is_ready(&self, zone: &Zone) -> anyhow::Result<()> {
        let started = Instant::now();
        is_ready(&format!("{} is ready", zone.name), zone.diagnostics).await?;
        let server = server(&zone.api_url())?;
        until(&format!("{} can issue a token", zone.name), async || {
            token(&server, zone).await
        })
        .await?;
        progress(&zone.name, &zone.api_url(), started);
        Ok(())
    }

    /// Two services and a gateway.
    async fn start_proxies(&self, zone: &Zone, processes: &mut Processes) -> anyhow::Result<()> {
        let server = server(&zone.api_url())?;
        for service in &zone.services {
            let title = format!("{} in {}", service.name, zone.name);
            let listen = format!("--listen={}:{}", zone.address, service.port);
            let name = format!("--name={title}");
            processes.start(Program {
                title,
                program: "meridian",
                arguments: vec!["lab".into(), "echo".into(), listen.into(), name.into()],
                environment: Vec::new(),
                log: self.log(&format!("{}-{}", zone.name, service.name)),
            })?;
        }
        for document in examples::services(zone)? {
            put(&server, &document).await?;
        }
        let token = token(&server, zone).await?;
        processes.start(self.gateway_program(zone, &token)?)
    }

    fn gateway_program(&self, zone: &Zone, token: &str) -> anyhow::Result<Program> {
        let folder = self.folder(&format!("{}-gateway", zone.name))?;
        let dataplane_file = folder.join("dataplane.json");
        write(
            &dataplane_file,
            &format!("{:#}\n", examples::gateway(zone)?),
        )?;
        let token_file = folder.join("token");
        write(&token_file, token)?;
        let ca = self.work_dir.join(&zone.name).join("kuma-cp.crt");
        let file = |name: &str, path: &Path| format!("--{name}={}", path.display()).into();
        Ok(Program {
            title: format!("the gateway of {}", zone.name),
            program: "meridian-dp",
            arguments: vec![
                "run".into(),
                format!("--cp-address=https://localhost:{}", zone.data_plane).into(),
                file("ca-cert-file", &ca),
                file("dataplane-file", &dataplane_file),
                file("dataplane-token-file", &token_file),
                file("config-dir", &folder),
                file("binary-path", self.envoy),
                "--concurrency=1".into(),
                "--drain-time=1s".into(),
                "--dns-enabled=false".into(),
            ],
            environment: vec![("KUMA_READINESS_PORT", zone.readiness.to_string())],
            log: self.log(&format!("{}-gateway", zone.name)),
        })
    }

    async fn gateway_is_ready(&self, zone: &Zone) -> anyhow::Result<()> {
        let started = Instant::now();
        is_ready(
            &format!("the gateway of {} is ready", zone.name),
            zone.readiness,
        )
        .await?;
        progress(
            &format!("{} gateway", zone.name),
            &self.plan.gateway(zone),
            started,
        );
        Ok(())
    }

    /// Writes the MeshGateway, then the route, and asks until both gateways have the route.
    async fn apply_and_ask(&self) -> anyhow::Result<Vec<Answer>> {
        let server = server(&self.plan.global_api())?;
        let gateways = Client::new()?;
        let mut documents = Vec::new();
        for (_, text) in examples::global(self.plan) {
            documents.extend(examples::parse(&text)?);
        }
        let (routes, others): (Vec<_>, Vec<_>) = documents
            .into_iter()
            .partition(|document| document["type"] == "MeshGatewayRoute");
        // A work folder of an earlier lab has the routes already, and then nothing could be seen.
        for route in &routes {
            delete(&server, route).await?;
        }
        for document in &others {
            put(&server, document).await?;
        }
        let roots = self
            .plan
            .zones
            .iter()
            .map(|zone| format!("{}/", self.plan.gateway(zone)));
        try_join_all(roots.map(async |url| {
            let what = format!("{url} listens");
            until(&what, async || gateways.has_no_route(&url).await).await
        }))
        .await?;

        let sent = Instant::now();
        let write = async {
            for route in &routes {
                put(&server, route).await?;
            }
            anyhow::Ok(())
        };
        let questions = self
            .plan
            .zones
            .iter()
            .flat_map(|zone| PATHS.iter().map(move |path| (zone, path)));
        let ask = try_join_all(questions.map(async |(zone, path)| {
            let url = format!("{}{path}", self.plan.gateway(zone));
            let what = format!("{url} answers");
            let text = until(&what, async || gateways.ask(&url).await).await?;
            anyhow::Ok(Answer {
                zone: zone.name.clone(),
                url,
                text,
                after: sent.elapsed(),
            })
        }));
        let ((), answers) = tokio::try_join!(write, ask)?;
        for answer in &answers {
            ensure!(
                answer.text.contains(&answer.zone),
                "{} was answered from elsewhere: {}",
                answer.url,
                answer.text
            );
        }
        Ok(answers)
    }
}

async fn is_ready(what: &str, port: u16) -> anyhow::Result<()> {
    let address = format!("127.0.0.1:{port}");
    until(what, async || health::ask(&address, "/ready").await).await
}

fn server(url: &str) -> anyhow::Result<Server> {
    Server::plain(
        parse_address(url)?,
        &TlsArgs::default(),
        Duration::from_secs(10),
    )
}

async fn token(server: &Server, zone: &Zone) -> anyhow::Result<String> {
    let name = zone.gateway_name();
    let body = json!({ "mesh": "default", "name": name, "type": "dataplane", "tags": {} });
    Ok(server.post("/tokens/dataplane", &body).await?)
}

fn path_of(document: &Value) -> anyhow::Result<String> {
    let text = |field: &str| document[field].as_str();
    let ty: ResourceType = text("type").context("an example has no type")?.parse()?;
    let name = text("name").context("an example has no name")?;
    Ok(Server::item(ty, text("mesh"), name))
}

async fn put(server: &Server, document: &Value) -> anyhow::Result<()> {
    server.put(&path_of(document)?, document).await?;
    Ok(())
}

async fn delete(server: &Server, document: &Value) -> anyhow::Result<()> {
    let path = path_of(document)?;
    if server.find(&path).await?.is_some() {
        server.delete(&path).await?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn progress(what: &str, url: &str, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    output::note(format_args!(
        "  {what:<16} {url:<24} ready after {seconds:.1} s"
    ));
}
