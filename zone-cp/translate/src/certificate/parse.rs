//! One certificate with its key, out of PEM: what is accepted, and why the rest is not.
//!
//! Reading is strict where Envoy is, and Envoy is given what was read, not what was written: the
//! blocks it needs, under the headings it knows (<https://www.rfc-editor.org/rfc/rfc7468>).

use std::fmt;

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The fewest bits of an RSA key that Envoy takes.
const LEAST_RSA_BITS: usize = 2048;

/// The extension by which a certificate asks for more of TLS, and how it asks for a stapled
/// response (<https://www.rfc-editor.org/rfc/rfc7633>).
const TLS_FEATURE: Oid<'_> = oid!(1.3.6.1.5.5.7.1.24);
const MUST_STAPLE: &[u8] = &[0x30, 3, 2, 1, 5];

/// The heading of parameters of an elliptic curve.
const PARAMETERS: &str = "EC PARAMETERS";

/// The kind of a certificate's key. Envoy offers one certificate of each kind and chooses by
/// what the client can verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// RSA, of 2,048 bits and more.
    Rsa,
    /// ECDSA over P-256, P-384 or P-521.
    Ecdsa,
}

impl KeyKind {
    /// How the names of secrets with such a key begin.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Rsa => "cert.rsa:",
            Self::Ecdsa => "cert.ecdsa:",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
        })
    }
}

/// A certificate, the ones that vouch for it, and its private key.
#[derive(Clone)]
pub struct Certificate {
    kind: KeyKind,
    chain: String,
    key: String,
    not_before: i64,
    not_after: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("kind", &self.kind)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("key", &"[redacted]")
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads one private key and at least one certificate, in any order; the first certificate
    /// is the key's. Text between blocks is ignored.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with where it was written.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let blocks = pem::parse_many(text)
            .ok()
            .ok_or("is damaged: a PEM block in it does not decode")?;
        if blocks.is_empty() {
            return Err("is not PEM: it needs the blocks CERTIFICATE and PRIVATE KEY".to_owned());
        }
        let (mut chain, mut key) = (Vec::new(), None);
        for block in &blocks {
            if block.tag().ends_with("PRIVATE KEY") {
                if key.replace(block).is_some() {
                    return Err("holds more than one private key; remove all but one".to_owned());
                }
            } else if block.tag().ends_with("CERTIFICATE") {
                chain.push(block.contents());
            } else if block.tag() == PARAMETERS {
                // OpenSSL writes the name of the curve before a key, which has it too.
            } else {
                return Err(format!(
                    "holds a block {:?}; only certificates and one private key belong there",
                    block.tag()
                ));
            }
        }
        let key = key.ok_or("holds no private key")?;
        if chain.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        Self::assemble(&chain, key)
    }

    fn assemble(chain: &[&[u8]], key: &Pem) -> Result<Self, String> {
        let mut read = Vec::with_capacity(chain.len());
        for (index, der) in chain.iter().enumerate() {
            let (rest, certificate) = X509Certificate::from_der(der).ok().ok_or_else(|| {
                format!(
                    "holds no X.509 certificate in its block CERTIFICATE {}",
                    index + 1
                )
            })?;
            // What may follow in a block is meant for other programs.
            let der = &der[..der.len() - rest.len()];
            read.push((der, certificate));
        }
        let (_, leaf) = &read[0];
        let (kind, heading, der) = check_key(key, leaf)?;
        let validity = leaf.validity();
        Ok(Self {
            kind,
            chain: read
                .iter()
                .map(|(der, _)| to_pem("CERTIFICATE", der))
                .collect(),
            key: to_pem(heading, &der),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// The kind of its key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// From when it is valid, in Unix seconds.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Until when it is valid, in Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Chain and key as PEM; [`Self::parse`] reads the same from it. Not for people's eyes.
    pub fn to_pem(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }

    /// The certificates as PEM, the key's first.
    pub(crate) fn chain_pem(&self) -> &str {
        &self.chain
    }

    /// The private key as PEM.
    pub(crate) fn key_pem(&self) -> &str {
        &self.key
    }

    /// Whether Envoy would be given the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key == other.key
    }
}

/// Checks that Envoy can use the key with the certificate; its kind, heading and content.
fn check_key(
    key: &Pem,
    leaf: &X509Certificate<'_>,
) -> Result<(KeyKind, &'static str, Vec<u8>), String> {
    let is_encrypted = key.tag() == "ENCRYPTED PRIVATE KEY"
        || key
            .headers()
            .get("Proc-Type")
            .is_some_and(|text| text.contains("ENCRYPTED"));
    if is_encrypted {
        return Err("holds an encrypted private key; give it without a passphrase".to_owned());
    }
    if let Ok(PublicKey::RSA(rsa)) = leaf.public_key().parsed()
        && rsa.key_size() < LEAST_RSA_BITS
    {
        return Err(format!(
            "holds an RSA key of {} bits; Envoy takes {LEAST_RSA_BITS} and more",
            rsa.key_size()
        ));
    }
    let unsupported = "holds a private key that is neither RSA nor ECDSA (P-256, P-384 or P-521)";
    // By content, as headings are often wrong.
    let der = PrivateKeyDer::try_from(key.contents())
        .ok()
        .ok_or(unsupported)?;
    let signer = any_supported_type(&der).ok().ok_or(unsupported)?;
    let kind = match signer.algorithm() {
        SignatureAlgorithm::RSA => KeyKind::Rsa,
        SignatureAlgorithm::ECDSA => KeyKind::Ecdsa,
        _ => return Err(unsupported.to_owned()),
    };
    if signer
        .public_key()
        .is_none_or(|own| own.as_ref() != leaf.public_key().raw)
    {
        return Err(
            "holds a private key that does not belong to its first certificate; \
             the certificate of the key comes first, then those that vouch for it"
                .to_owned(),
        );
    }
    let usage = leaf.key_usage().ok().flatten();
    if kind == KeyKind::Ecdsa && usage.is_some_and(|usage| !usage.value.digital_signature()) {
        return Err(
            "holds an ECDSA certificate whose key usage has no digital signature; Envoy refuses it"
                .to_owned(),
        );
    }
    let features = leaf.extensions().iter().find(|e| e.oid == TLS_FEATURE);
    if features.is_some_and(|features| features.value == MUST_STAPLE) {
        return Err(
            "holds a certificate that must come with a stapled OCSP response, which a gateway has \
             not; ask for one without \"must staple\""
                .to_owned(),
        );
    }
    let heading = match &der {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    Ok((kind, heading, der.secret_der().to_vec()))
}

fn to_pem(heading: &str, der: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(heading, der), config)
}
