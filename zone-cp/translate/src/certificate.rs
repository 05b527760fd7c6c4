//! Server certificates: where they come from, what Envoy is given of them, and under which name.
//!
//! [`Offers::resolve`] turns the certificates of one listener of a gateway into names for SDS and
//! remembers what to offer under them. A control plane may know more of a [`Source`] than is
//! written now: the last good certificate of one that has become bad, see [`Known`].
//!
//! **Invariant:** no `Debug`, finding or error of this module shows any part of a private key.

mod parse;
mod source;
#[cfg(test)]
mod tests;
mod view;
mod zone;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mesh_delta::Name;
use mesh_model::Resource;
use mesh_proto::mesh::mesh_gateway::tls::Conf as TlsConf;
use prost::Message as _;

pub use self::parse::{Certificate, KeyKind};
pub use self::source::{Known, Source};
pub(crate) use self::view::SecretView;
use crate::envoy::{core, tls};
use crate::finding::Finding;
use crate::host::Hostname;
use crate::view::MeshView;

/// The most certificates of one listener: one for each kind of key.
const MOST: usize = 2;

/// A certificate and key in the form in which Envoy gets them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Offered(Bytes);

impl Offered {
    /// The encoded secret.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offered([redacted])")
    }
}

/// Which listener of which gateway certificates are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The gateway; findings are about it.
    pub(crate) gateway: &'a Resource,
    pub(crate) port: u32,
    /// The listener's; names of inline certificates show it.
    pub(crate) hostname: &'a Hostname,
    /// The path of the listener's TLS block, such as `conf.listeners[0].tls`.
    pub(crate) path: &'a str,
}

/// The certificates of one listener.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Resolved {
    /// What the TLS context asks SDS for, in order. Empty: nobody can be served here.
    pub(crate) names: Vec<Name>,
    pub(crate) findings: Vec<Finding>,
}

/// What all listeners of a gateway have to be offered.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    secrets: BTreeMap<Name, Arc<Certificate>>,
}

impl Offers {
    /// Finds the certificates of a TLS block.
    ///
    /// One that is bad, missing or the second of its kind is a finding and left out.
    pub(crate) fn resolve(
        &mut self,
        view: &MeshView,
        block: &TlsConf,
        place: Place<'_>,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        for (index, written) in block.certificates.iter().enumerate() {
            let mut report = |message: String| {
                let path = format!("{}.certificates[{index}]", place.path);
                let finding = Finding::about(place.gateway, path, message);
                resolved.findings.push(finding);
            };
            if resolved.names.len() == MOST {
                report(format!(
                    "a listener has at most {MOST} certificates; it is left out"
                ));
                continue;
            }
            let source = Source::of(written, place.gateway, place.port, place.hostname, index);
            let Known {
                certificate,
                problem,
            } = view.secrets.certificate(&source, written);
            let has_one = certificate.is_some();
            if let Some(problem) = problem {
                let outcome = if has_one { "" } else { "; it is left out" };
                report(format!("{problem}{outcome}"));
            }
            let Some(certificate) = certificate else {
                continue;
            };
            let kind = certificate.kind();
            let name = self.name(&source, &certificate, &place);
            let is_of_kind = |name: &Name| name.starts_with(kind.prefix());
            if resolved.names.iter().any(is_of_kind) {
                report(format!(
                    "another certificate of this listener has an {kind} key too; the first one \
                     stays, for Envoy chooses by the kind of key"
                ));
                continue;
            }
            self.secrets.insert(Arc::clone(&name), certificate);
            resolved.names.push(name);
        }
        resolved
    }

    /// The name under which a certificate is offered.
    ///
    /// Inline certificates are named after their hostname; where two ports give one hostname
    /// different ones, the later port's is told apart by its number.
    fn name(&mut self, source: &Source, certificate: &Arc<Certificate>, place: &Place<'_>) -> Name {
        let kind = certificate.kind();
        let name = match source {
            Source::Secret(name) => format!("{}secret:{name}", kind.prefix()),
            Source::File(path) => format!("{}file:{path}", kind.prefix()),
            Source::Inline { .. } => format!("{}inline:{}", kind.prefix(), place.hostname),
        };
        let name = Name::from(name);
        match self.secrets.entry(Arc::clone(&name)) {
            Entry::Occupied(other) if !other.get().is_same(certificate) => {
                Name::from(format!("{name}:{}", place.port))
            }
            Entry::Occupied(_) | Entry::Vacant(_) => name,
        }
    }

    /// What to offer, by name.
    pub(crate) fn into_secrets(self) -> BTreeMap<Name, Offered> {
        let encode = |(name, certificate): (Name, Arc<Certificate>)| {
            let offered = Offered(encode(&name, &certificate));
            (name, offered)
        };
        self.secrets.into_iter().map(encode).collect()
    }
}

/// The secret as SDS has it.
fn encode(name: &str, certificate: &Certificate) -> Bytes {
    let inline = |pem: &str| core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(
            pem.as_bytes().to_vec(),
        )),
    };
    tls::Secret {
        name: name.to_owned(),
        r#type: Some(tls::secret::Type::TlsCertificate(tls::TlsCertificate {
            certificate_chain: Some(inline(certificate.chain_pem())),
            private_key: Some(inline(certificate.key_pem())),
        })),
    }
    .encode_to_vec()
    .into()
}
