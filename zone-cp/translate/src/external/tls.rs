//! How Envoy speaks TLS with an external service.
//!
//! Envoy is given what was read from the sources, not what was written there: what cannot be read
//! is found here, with its place.

use std::fmt::Write as _;

use mesh_model::external_service::Address;
use mesh_proto::mesh::external_service::networking;
use mesh_proto::system::DataSource;
use pem::{EncodeConfig, LineEnding, Pem};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificate::{Certificate, SecretView};
use crate::envoy::tls::common_tls_context::ValidationContextType;
use crate::envoy::tls::subject_alt_name_matcher::SanType;
use crate::envoy::tls::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsCertificate,
    UpstreamTlsContext,
};
use crate::envoy::{core, matcher};

/// The longest server name that TLS has (<https://www.rfc-editor.org/rfc/rfc6066#section-3>),
/// as Envoy counts.
const MAX_SERVER_NAME: usize = 255;

type Problem = (&'static str, String);

/// The TLS context for connections to an address, or the field that prevents one and what is
/// wrong there.
pub(super) fn context(
    tls: &networking::Tls,
    address: &Address,
    secrets: &SecretView,
) -> Result<UpstreamTlsContext, Problem> {
    let server_name = server_name(tls, address)?;
    let mut common = CommonTlsContext::default();
    if let Some(source) = &tls.ca_cert {
        let authorities = read(secrets, source, "networking.tls.caCert", authorities)?;
        let names = match &server_name {
            _ if tls.skip_hostname_verification == Some(true) => Vec::new(),
            // The address of a service that is given by IP address.
            None => subject_alt_names(&address.host),
            Some(name) => subject_alt_names(name),
        };
        common.validation_context_type = Some(ValidationContextType::ValidationContext(
            CertificateValidationContext {
                trusted_ca: Some(inline(&authorities)),
                match_typed_subject_alt_names: names,
            },
        ));
    }
    common.tls_certificates = client_certificate(tls, secrets)?.into_iter().collect();
    // An empty context would say the same, in more bytes.
    let is_empty = common == CommonTlsContext::default();
    Ok(UpstreamTlsContext {
        common_tls_context: (!is_empty).then_some(common),
        sni: server_name.unwrap_or_default(),
        allow_renegotiation: tls.allow_renegotiation == Some(true),
    })
}

/// The server name to ask for: the configured one, else the host if it is a DNS name.
fn server_name(tls: &networking::Tls, address: &Address) -> Result<Option<String>, Problem> {
    let name = match &tls.server_name {
        Some(name) => name.as_str(),
        None if address.ip().is_some() => return Ok(None),
        // The root's dot is not said in TLS.
        None => {
            let name = address.host.trim_end_matches('.').to_ascii_lowercase();
            return Ok(Some(name));
        }
    };
    if name.is_empty() || name.len() > MAX_SERVER_NAME || name.contains('\0') {
        let message = format!("a server name has 1 to {MAX_SERVER_NAME} bytes, and no NUL");
        return Err(("networking.tls.serverName", message));
    }
    Ok(Some(name.to_owned()))
}

/// The name may stand in the certificate as either kind.
fn subject_alt_names(name: &str) -> Vec<SubjectAltNameMatcher> {
    [SanType::Dns, SanType::IpAddress]
        .into_iter()
        .map(|kind| SubjectAltNameMatcher {
            san_type: kind.into(),
            matcher: Some(matcher::StringMatcher {
                match_pattern: Some(matcher::string_matcher::MatchPattern::Exact(
                    name.to_owned(),
                )),
            }),
        })
        .collect()
}

fn client_certificate(
    tls: &networking::Tls,
    secrets: &SecretView,
) -> Result<Option<TlsCertificate>, Problem> {
    const CERTIFICATE: &str = "networking.tls.clientCert";
    const KEY: &str = "networking.tls.clientKey";
    let (certificate, key) = match (&tls.client_cert, &tls.client_key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err((KEY, "the client certificate has no key".to_owned())),
        (None, Some(_)) => {
            return Err((CERTIFICATE, "the client key has no certificate".to_owned()));
        }
        (Some(certificate), Some(key)) => (certificate, key),
    };
    let raw = |bytes: &[u8]| Ok(bytes.to_vec());
    let mut text = read(secrets, certificate, CERTIFICATE, raw)?;
    text.push(b'\n');
    text.extend(read(secrets, key, KEY, raw)?);
    let pair = Certificate::parse(&text).map_err(|problem| {
        let message = format!("the client certificate, together with its key, {problem}");
        (CERTIFICATE, message)
    })?;
    Ok(Some(TlsCertificate {
        certificate_chain: Some(inline(pair.chain_pem())),
        private_key: Some(inline(pair.key_pem())),
    }))
}

/// The certificates in a PEM text, as PEM.
fn authorities(text: &[u8]) -> Result<String, String> {
    let damaged = || "is damaged: a PEM block in it does not decode".to_owned();
    let blocks = pem::parse_many(text).ok().ok_or_else(damaged)?;
    let mut out = String::new();
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    for (index, block) in blocks
        .iter()
        .filter(|block| block.tag().ends_with("CERTIFICATE"))
        .enumerate()
    {
        let (rest, _) = X509Certificate::from_der(block.contents())
            .ok()
            .ok_or_else(|| {
                format!(
                    "holds no X.509 certificate in its block CERTIFICATE {}",
                    index + 1
                )
            })?;
        let der = &block.contents()[..block.contents().len() - rest.len()];
        let text = pem::encode_config(&Pem::new("CERTIFICATE", der), config);
        out.write_str(&text)
            .expect("writing to a String cannot fail");
    }
    if out.is_empty() {
        return Err("is not PEM with a block CERTIFICATE".to_owned());
    }
    Ok(out)
}

/// Reads a source, and makes something of its content.
fn read<T>(
    secrets: &SecretView,
    source: &DataSource,
    path: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Problem> {
    use mesh_proto::system::data_source::Type;
    let bytes = secrets.bytes(source).map_err(|problem| (path, problem))?;
    parse(&bytes).map_err(|problem| {
        let place = match &source.r#type {
            Some(Type::Secret(name)) => format!("the Secret {name:?}"),
            Some(Type::File(name)) => format!("the file {name}"),
            _ => "the inline text".to_owned(),
        };
        (path, format!("{place} {problem}"))
    })
}

fn inline(pem: &str) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(pem.to_owned())),
    }
}
