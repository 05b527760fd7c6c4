//! What a start takes from the machine: the store, certificates, ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use mesh_runtime::config::{Config, StoreType};
use mesh_runtime::serve;
use mesh_runtime::tls::Identity;
use mesh_store::{Disk, Memory, Role, SharedStore};
use tokio::net::TcpListener;

/// Opens the store that is configured; the second is the same, if it is on disk.
pub(crate) async fn open_store(
    config: &Config,
) -> anyhow::Result<(SharedStore, Option<Arc<Disk>>)> {
    match config.store.type_ {
        StoreType::Memory => {
            tracing::warn!("resources are kept in memory and end with this process (store.type)");
            Ok((Arc::new(Memory::new()), None))
        }
        StoreType::Sled => {
            let dir = config.general.work_dir.join("global");
            let disk =
                tokio::task::spawn_blocking(move || Disk::open(&dir, Role::Global)).await??;
            let disk = Arc::new(disk);
            Ok((Arc::clone(&disk) as SharedStore, Some(disk)))
        }
    }
}

/// Who this control plane is to those who connect.
#[derive(Debug)]
pub(crate) struct Identities {
    /// To operators; none when the API has no TLS.
    pub(crate) api: Option<Identity>,
    /// To zones; none when they connect in the clear.
    pub(crate) kds: Option<Identity>,
}

/// Loads them from the files that are configured, else from the pair in the work directory.
pub(crate) async fn load_identities(config: &Config) -> anyhow::Result<Identities> {
    let work_dir = config.general.work_dir.clone();
    let owned =
        |files: Option<(&Path, &Path)>| files.map(|(cert, key)| (cert.to_owned(), key.to_owned()));
    let api = config
        .api_server
        .https
        .enabled
        .then(|| owned(config.api_tls_files()));
    let kds = config
        .multizone
        .global
        .kds
        .tls_enabled
        .then(|| owned(config.kds_tls_files()));
    let load = move || -> anyhow::Result<Identities> {
        let identity = |files: Option<Option<(PathBuf, PathBuf)>>| {
            files
                .map(|files| match files {
                    Some((cert, key)) => Identity::load(&cert, &key),
                    None => Identity::load_or_create(&work_dir),
                })
                .transpose()
        };
        Ok(Identities {
            api: identity(api).context("no certificate for the admin API")?,
            kds: identity(kds).context("no certificate for zones")?,
        })
    };
    tokio::task::spawn_blocking(load).await?
}

/// Every port, bound.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) http: Option<TcpListener>,
    pub(crate) https: Option<TcpListener>,
    pub(crate) diagnostics: TcpListener,
    pub(crate) kds: TcpListener,
}

impl Listeners {
    pub(crate) fn bind(config: &Config) -> anyhow::Result<Self> {
        let http = &config.api_server.http;
        let https = &config.api_server.https;
        let bind =
            |interface, port, setting| serve::bind_for(SocketAddr::new(interface, port), setting);
        let everywhere = |port, setting| serve::bind_for(serve::all_interfaces(port), setting);
        Ok(Self {
            http: http
                .enabled
                .then(|| bind(http.interface, http.port, "apiServer.http.port"))
                .transpose()?,
            https: https
                .enabled
                .then(|| bind(https.interface, https.port, "apiServer.https.port"))
                .transpose()?,
            diagnostics: everywhere(config.diagnostics.server_port, "diagnostics.serverPort")?,
            kds: everywhere(
                config.multizone.global.kds.grpc_port,
                "multizone.global.kds.grpcPort",
            )?,
        })
    }

    /// Of the API in the clear and over TLS, and of the diagnostics.
    pub(crate) fn addresses(
        &self,
    ) -> std::io::Result<(Option<SocketAddr>, Option<SocketAddr>, SocketAddr)> {
        let of = |listener: &Option<TcpListener>| {
            listener.as_ref().map(TcpListener::local_addr).transpose()
        };
        Ok((
            of(&self.http)?,
            of(&self.https)?,
            self.diagnostics.local_addr()?,
        ))
    }
}
