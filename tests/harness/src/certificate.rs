//! Server certificates made for a test.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_runtime::clock;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A self-signed certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    /// Certificate and key, PEM.
    pub pem: String,
    /// The certificate, DER, as clients see it.
    pub der: Vec<u8>,
}

impl Certificate {
    /// One with an ECDSA key for these hostnames, valid for an hour.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn ecdsa(hostnames: &[&str]) -> Self {
        Self::make(hostnames, &PKCS_ECDSA_P256_SHA256, 3600)
    }

    /// One with an RSA key.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn rsa(hostnames: &[&str]) -> Self {
        Self::make(hostnames, &PKCS_RSA_SHA256, 3600)
    }

    /// One with an ECDSA key that has expired a minute ago.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn expired(hostnames: &[&str]) -> Self {
        Self::make(hostnames, &PKCS_ECDSA_P256_SHA256, -60)
    }

    fn make(
        hostnames: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
        seconds_left: i64,
    ) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key of a known kind");
        let names: Vec<String> = hostnames.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("hostnames");
        let now = OffsetDateTime::from_unix_timestamp(clock::now().unix_seconds());
        let now = now.expect("the clock shows a year of the calendar");
        params.not_before = now - Duration::from_secs(3600);
        params.not_after = now + time::Duration::seconds(seconds_left);
        let certificate = params.self_signed(&key).expect("valid parameters");
        Self {
            pem: certificate.pem() + &key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// The document of a Secret of the mesh `default` that holds it.
    pub fn secret(&self, name: &str) -> Value {
        secret(name, &self.pem)
    }
}

/// The document of a Secret of the mesh `default` that holds any text.
pub fn secret(name: &str, text: &str) -> Value {
    json!({"type": "Secret", "mesh": "default", "name": name, "data": STANDARD.encode(text)})
}
