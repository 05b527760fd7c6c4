//! The zone's own authority for the admin interfaces of its Envoys, and what it signs.
//!
//! It is the `GlobalSecret` `envoy-admin-ca`, certificate and key one after the other, made at the
//! first start and never sent anywhere. A listener's certificate is kept in the work directory, so
//! that a zone that restarts changes nothing on Envoy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use mesh_model::{Key, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::mesh::Dataplane;
use mesh_proto::system::Secret;
use mesh_runtime::tls::{self, Authority, Issued, RsaBits, Trust, Usage, WantedAuthority};
use mesh_runtime::{clock, whole_file};
use mesh_store::{Batch, CommitError, Expect, SharedStore};
use sha2::{Digest as _, Sha256};
use zone_translate::{Admin, CLIENT_NAME};

use super::Place;

/// The secret with the authority.
const SECRET: &str = "envoy-admin-ca";
/// How long what is made here is valid, in seconds: ten years.
const VALID_FOR: u32 = 10 * 365 * 24 * 3600;
/// The start of a key in a file with a certificate before it.
const KEY_HEADING: &str = "-----BEGIN PRIVATE KEY-----";

/// The authority, and by what the control plane is known.
#[derive(Debug)]
pub struct AdminAuthority {
    authority: Authority,
    client: Arc<rustls::ClientConfig>,
    /// Where listeners' certificates are kept.
    dir: PathBuf,
}

impl AdminAuthority {
    /// Reads the authority from the store, or makes it.
    ///
    /// # Errors
    /// When there is one that is none, or it cannot be made or stored.
    pub async fn open(store: &SharedStore, dir: PathBuf, now: Timestamp) -> anyhow::Result<Self> {
        let authority = match read(store)? {
            Some(authority) => authority,
            None => make(store, now).await?,
        };
        let own = authority.issue(&[CLIENT_NAME], Usage::Client, now, VALID_FOR)?;
        let trust = Trust::Ca(authority.cert_pem.clone().into_bytes());
        let client = tls::client_config_as(&trust, &own)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self {
            authority,
            client,
            dir,
        })
    }

    /// How the control plane connects to the listeners.
    pub(super) fn client(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The listener before the admin interface of a proxy; `None` if it cannot have one.
    pub(crate) async fn listener(&self, dataplane: &Arc<Resource>, place: &Place) -> Option<Admin> {
        let networking = dataplane.decode::<Dataplane>().networking?;
        let address = networking.address;
        let socket = place.socket.as_ref().map(|path| path.display().to_string());
        let file = self.dir.join(self.file_name(dataplane.key(), &address));
        let authority = self.authority.clone();
        let made = tokio::task::spawn_blocking(move || kept(&authority, &file, &address)).await;
        let issued = match made {
            Ok(Ok(issued)) => issued,
            Ok(Err(error)) => {
                tracing::warn!(
                    dataplane = %dataplane.key(),
                    "no listener for the admin interface: {error:#}"
                );
                return None;
            }
            Err(_shutdown) => return None,
        };
        Some(Admin {
            port: place.port,
            socket,
            readiness_port: place.readiness_port,
            certificate: issued.cert_pem,
            key: issued.key_pem,
            authority: self.authority.cert_pem.clone(),
        })
    }

    /// Another authority, proxy or address has another file.
    fn file_name(&self, proxy: &Key, address: &str) -> String {
        let mut hash = Sha256::new();
        for part in [&self.authority.cert_pem, &proxy.to_string(), address] {
            hash.update(part);
            hash.update([0]);
        }
        let number = u128::from_be_bytes(hash.finalize()[..16].try_into().unwrap_or_default());
        format!("{number:032x}.pem")
    }
}

/// The certificate in a file or, if there is none, a new one that is in it then.
fn kept(authority: &Authority, file: &Path, address: &str) -> anyhow::Result<Issued> {
    if let Ok(pem) = std::fs::read_to_string(file)
        && let Some(at) = pem.find(KEY_HEADING)
    {
        let (cert_pem, key_pem) = pem.split_at(at);
        return Ok(Issued {
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        });
    }
    let issued = authority.issue(&[address], Usage::Server, clock::now(), VALID_FOR)?;
    let pem = format!("{}{}", issued.cert_pem, issued.key_pem);
    // Without the file it is a new certificate after a restart, and nothing worse.
    if let Err(error) = whole_file::replace(file, pem.as_bytes(), 0o600) {
        tracing::warn!(%error, "cannot keep a certificate in {}", file.display());
    }
    Ok(issued)
}

fn secret_key() -> Key {
    let name = ResourceName::parse(SECRET).expect("it is a name");
    Key::global(ResourceType::GlobalSecret, name)
}

fn read(store: &SharedStore) -> anyhow::Result<Option<Authority>> {
    let Some(secret) = store.get(&secret_key()) else {
        return Ok(None);
    };
    let pem = secret.decode::<Secret>().data.unwrap_or_default();
    let pem = String::from_utf8(pem).ok();
    let parts = pem.as_ref().and_then(|pem| {
        let end = "-----END CERTIFICATE-----\n";
        let at = pem.find(end)? + end.len();
        Some(pem.split_at(at))
    });
    let (cert_pem, key_pem) = parts.with_context(|| {
        format!(
            "the GlobalSecret {SECRET} is not a certificate with its key after it, in PEM; delete \
             it, and another is made at the next start"
        )
    })?;
    Ok(Some(Authority {
        cert_pem: cert_pem.to_owned(),
        key_pem: key_pem.to_owned(),
    }))
}

async fn make(store: &SharedStore, now: Timestamp) -> anyhow::Result<Authority> {
    let made = tokio::task::spawn_blocking(move || {
        tls::authority(WantedAuthority {
            mesh: SECRET,
            bits: RsaBits::default(),
            now,
            valid_for: VALID_FOR.into(),
        })
    });
    let authority = made.await??;
    let secret = Secret {
        data: Some(format!("{}{}", authority.cert_pem, authority.key_pem).into_bytes()),
    };
    let spec = Spec::encode(ResourceType::GlobalSecret, &secret);
    let secret = Resource::new(secret_key(), BTreeMap::new(), spec, now, now);
    let batch = Batch::new().put_if(secret, Expect::Absent);
    match store.commit(batch).await {
        Ok(_) => Ok(authority),
        // Somebody else made one meanwhile.
        Err(CommitError::Conflict { .. }) => read(store)?.context("the authority has gone again"),
        Err(error) => Err(error).context("cannot store the authority"),
    }
}
