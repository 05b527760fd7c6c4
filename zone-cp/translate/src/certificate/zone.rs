//! What a control plane does about certificates: it sees which are asked for, reads files, and
//! may know better than what is written now.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mesh_model::{MeshName, Resource};
use mesh_proto::mesh::mesh_gateway::Listener;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::tls::Conf as TlsConf;
use mesh_proto::mesh::mesh_gateway::tls::Mode;
use mesh_proto::system::DataSource;
use mesh_proto::system::data_source::Type;

use super::{Certificate, Known, Source};
use crate::ZoneView;
use crate::host::Hostname;
use crate::view::MeshView;

impl ZoneView {
    /// Where the gateways of all meshes have their certificates from.
    pub fn certificate_sources(&self) -> BTreeSet<(MeshName, Source)> {
        let mut sources = BTreeSet::new();
        for (mesh, view) in self.meshes() {
            each_source(view, |source, _| {
                sources.insert((mesh.clone(), source));
            });
        }
        sources
    }

    /// The files of the control plane's host that certificates are in, for which mesh.
    pub fn certificate_files(&self) -> BTreeSet<(MeshName, String)> {
        let mut files = BTreeSet::new();
        for (mesh, view) in self.meshes() {
            each_source(view, |source, _| {
                if let Source::File(path) = source {
                    files.insert((mesh.clone(), path));
                }
            });
            for path in view.externals.files() {
                files.insert((mesh.clone(), path.to_owned()));
            }
        }
        files
    }

    /// The certificate that is written at a source now, whatever [`Self::set_certificate`] says.
    ///
    /// # Errors
    /// What is wrong there, as a sentence for people.
    pub fn read_certificate(
        &self,
        mesh: &MeshName,
        source: &Source,
    ) -> Result<Arc<Certificate>, String> {
        let gone = "the certificate is not written anywhere";
        let view = self.mesh(mesh).ok_or(gone)?;
        let written = match source {
            Source::Secret(name) => data_source(Type::Secret(name.clone())),
            Source::File(path) => data_source(Type::File(path.clone())),
            Source::Inline { .. } => {
                let mut found = None;
                each_source(view, |other, written| {
                    if found.is_none() && other == *source {
                        found = Some(written.clone());
                    }
                });
                found.ok_or(gone)?
            }
        };
        view.secrets.read(source, &written)
    }

    /// Sets what is to be used of a source instead of what is written there; `None` goes back to
    /// that.
    pub fn set_certificate(&mut self, mesh: &MeshName, source: &Source, known: Option<Known>) {
        self.mesh_mut(mesh).secrets.set_known(source, known);
    }

    /// Sets what a file holds, or why it cannot be read; `None` forgets it.
    pub fn set_file(&mut self, mesh: &MeshName, path: &str, read: Option<Result<Bytes, String>>) {
        self.mesh_mut(mesh).secrets.set_file(path, read);
    }
}

fn data_source(r#type: Type) -> DataSource {
    DataSource {
        r#type: Some(r#type),
    }
}

/// Calls `found` for every certificate of every listener that terminates TLS.
fn each_source(view: &MeshView, mut found: impl FnMut(Source, &DataSource)) {
    for gateway in view.gateways.values() {
        let listeners = gateway.spec.conf.iter().flat_map(|conf| &conf.listeners);
        for listener in listeners {
            of_listener(&gateway.resource, listener, &mut found);
        }
    }
}

fn of_listener(
    gateway: &Resource,
    listener: &Listener,
    found: &mut impl FnMut(Source, &DataSource),
) {
    let Some(block) = listener
        .tls
        .as_ref()
        .filter(|tls| terminates(listener, tls))
    else {
        return;
    };
    let Some(hostname) = Hostname::parse(&listener.hostname) else {
        return;
    };
    for (index, written) in block.certificates.iter().enumerate() {
        let source = Source::of(written, gateway, listener.port, &hostname, index);
        found(source, written);
    }
}

fn terminates(listener: &Listener, tls: &TlsConf) -> bool {
    matches!(listener.protocol(), Protocol::Https | Protocol::Tls) && tls.mode() == Mode::Terminate
}
