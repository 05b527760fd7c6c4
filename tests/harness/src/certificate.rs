//! Server certificates made for a test.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_runtime::clock;
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// What kind of key a certificate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// RSA of 2,048 bits.
    Rsa,
    /// ECDSA over P-256.
    P256,
    /// ECDSA over P-384.
    P384,
    /// ECDSA over P-521.
    P521,
    /// Ed25519, which Envoy does not take.
    Ed25519,
}

impl Key {
    fn algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa => &PKCS_RSA_SHA256,
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::P521 => &PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &PKCS_ED25519,
        }
    }
}

/// A self-signed certificate with its key.
#[derive(Debug)]
pub struct Certificate {
    /// Certificate and key, PEM.
    pub pem: String,
    /// The certificate, DER, as clients see it.
    pub der: Vec<u8>,
}

impl Certificate {
    /// One with a key of that kind for these hostnames, valid for an hour.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn with(key: Key, hostnames: &[&str]) -> Self {
        Self::make(hostnames, key, 3600)
    }

    /// One with an ECDSA key for these hostnames, valid for an hour.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn ecdsa(hostnames: &[&str]) -> Self {
        Self::with(Key::P256, hostnames)
    }

    /// One with an RSA key.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn rsa(hostnames: &[&str]) -> Self {
        Self::with(Key::Rsa, hostnames)
    }

    /// One with an ECDSA key that has expired a minute ago.
    ///
    /// # Panics
    /// When one is no hostname.
    pub fn expired(hostnames: &[&str]) -> Self {
        Self::make(hostnames, Key::P256, -60)
    }

    fn make(hostnames: &[&str], key: Key, seconds_left: i64) -> Self {
        let key = KeyPair::generate_for(key.algorithm()).expect("a key of a known kind");
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
