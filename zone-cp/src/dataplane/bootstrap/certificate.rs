//! What the bootstrap has to know about certificates: which names ours covers, and whether
//! what an agent sent can verify anything.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::x509::X509Version;

/// The certificate of the data-plane server, with the names that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    pem: String,
    addresses: Vec<IpAddr>,
    names: Vec<String>,
}

/// A text that holds no certificate, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a PEM certificate")]
pub struct NotACertificate;

impl ServerCertificate {
    /// Reads the names of the first certificate of a PEM text, the server's own.
    ///
    /// # Errors
    /// When the text does not begin with a readable certificate.
    pub fn from_pem(pem: &str) -> Result<Self, NotACertificate> {
        let first = Pem::iter_from_buffer(pem.as_bytes())
            .next()
            .ok_or(NotACertificate)?
            .map_err(|_cause| NotACertificate)?;
        let certificate = first.parse_x509().map_err(|_cause| NotACertificate)?;
        let (mut addresses, mut names) = (Vec::new(), Vec::new());
        if let Ok(Some(san)) = certificate.subject_alternative_name() {
            for name in &san.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        Ok(Self {
            pem: pem.to_owned(),
            addresses,
            names,
        })
    }

    /// The whole PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether a client that connects to `host` will find it in the certificate; names by the
    /// rules of [RFC 6125](https://www.rfc-editor.org/rfc/rfc6125#section-6.4): a `*` stands
    /// for the whole first label.
    pub fn covers(&self, host: &str) -> bool {
        if let Ok(address) = host.parse() {
            return self.addresses.contains(&address);
        }
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix("*.").is_some_and(|domain| {
                    host.split_once('.').is_some_and(|(label, rest)| {
                        !label.is_empty() && rest.eq_ignore_ascii_case(domain)
                    })
                })
        })
    }

    /// The covered addresses and names, as text.
    pub fn covered(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        addresses.chain(self.names.iter().cloned()).collect()
    }
}

/// Whether the PEM text has a certificate that may verify others: all but those that say that
/// they are no CA.
///
/// # Errors
/// When the text holds no certificate, or a damaged one.
pub(super) fn has_ca(pem: &str) -> Result<bool, NotACertificate> {
    let (mut any, mut found) = (false, false);
    for certificate in Pem::iter_from_buffer(pem.as_bytes()) {
        let certificate = certificate.map_err(|_cause| NotACertificate)?;
        if certificate.label != "CERTIFICATE" {
            continue;
        }
        let certificate = certificate.parse_x509().map_err(|_cause| NotACertificate)?;
        any = true;
        found |= match certificate.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            Ok(None) => true,
            Err(_) => certificate.version() == X509Version::V1,
        };
    }
    if any { Ok(found) } else { Err(NotACertificate) }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn certificate(names: &[&str], is_ca: IsCa) -> String {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn names_match_as_a_tls_client_matches_them() {
        let pem = certificate(
            &["127.0.0.1", "::1", "Zone.example", "*.mesh.example"],
            IsCa::NoCa,
        );
        let certificate = ServerCertificate::from_pem(&pem).unwrap();
        for host in [
            "127.0.0.1",
            "::1",
            "0:0::1",
            "zone.EXAMPLE",
            "a.mesh.example",
        ] {
            assert!(certificate.covers(host), "{host}");
        }
        for host in [
            "127.0.0.2",
            "localhost",
            "mesh.example",
            "a.b.mesh.example",
            ".mesh.example",
            "",
        ] {
            assert!(!certificate.covers(host), "{host}");
        }
        assert_eq!(
            certificate.covered(),
            ["127.0.0.1", "::1", "Zone.example", "*.mesh.example"]
        );
    }

    #[test]
    fn a_bundle_can_verify_when_one_of_its_certificates_can() {
        let ca = certificate(&["ca"], IsCa::Ca(BasicConstraints::Unconstrained));
        let leaf = certificate(&["leaf"], IsCa::ExplicitNoCa);
        let unsaid = certificate(&["old"], IsCa::NoCa);
        assert_eq!(has_ca(&leaf), Ok(false));
        assert_eq!(has_ca(&format!("{leaf}{ca}")), Ok(true));
        assert_eq!(has_ca(&unsaid), Ok(true));
        for text in ["", "garbage", "-----BEGIN CERTIFICATE-----\nMIID\n"] {
            assert_eq!(has_ca(text), Err(NotACertificate), "{text:?}");
        }
    }
}
