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

use std::collections::{BTreeMap, BTreeSet};
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

/// The most certificates of one listener, meant to be one for each kind of key.
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
    /// One that is bad or missing is a finding and left out, and so is a second one of the same
    /// name. Envoy chooses among several by the server name and what the client can verify.
    pub(crate) fn resolve(
        &mut self,
        view: &MeshView,
        block: &TlsConf,
        place: Place<'_>,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        let mut named = BTreeSet::new();
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
            let name = name(&source, &certificate, &place);
            if named.contains(&name) {
                report(format!(
                    "another certificate of this listener is called {name} too; the first one \
                     stays"
                ));
                continue;
            }
            resolved
                .names
                .push(self.offer(&name, &certificate, place.port));
            named.insert(name);
        }
        resolved
    }

    /// Takes a certificate that a listener asks for; the name under which it is offered.
    ///
    /// Where two ports give one hostname different inline certificates, the name of the later
    /// port's ends with its number.
    fn offer(&mut self, name: &Name, certificate: &Arc<Certificate>, port: u32) -> Name {
        match self.secrets.get(name) {
            Some(other) if !other.is_same(certificate) => {
                let name = Name::from(format!("{name}:{port}"));
                self.secrets
                    .insert(Arc::clone(&name), Arc::clone(certificate));
                name
            }
            Some(_) => Arc::clone(name),
            None => {
                self.secrets
                    .insert(Arc::clone(name), Arc::clone(certificate));
                Arc::clone(name)
            }
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

/// What a certificate is called: its kind, and where it comes from. Inline ones are named after
/// their hostname.
fn name(source: &Source, certificate: &Certificate, place: &Place<'_>) -> Name {
    let kind = certificate.kind().prefix();
    Name::from(match source {
        Source::Secret(name) => format!("{kind}secret:{name}"),
        Source::File(path) => format!("{kind}file:{path}"),
        Source::Inline { .. } => format!("{kind}inline:{}", place.hostname),
    })
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
