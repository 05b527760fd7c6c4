//! Certificates that an [`Authority`] signs.

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

use super::{Authority, TlsError};
use mesh_model::Timestamp;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Whoever is connected to.
    Server,
    /// Whoever connects.
    Client,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Issued {
    /// PEM.
    pub cert_pem: String,
    /// PEM of PKCS#8.
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    /// Without its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Signs a certificate for these DNS names and IP addresses, valid from `now` for so many
    /// seconds, with a new ECDSA key.
    ///
    /// # Errors
    /// When the authority is none, or a name is none.
    pub fn issue(
        &self,
        names: &[&str],
        usage: Usage,
        now: Timestamp,
        valid_for: u32,
    ) -> Result<Issued, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes());
        let key = key.map_err(|_bad| TlsError::Generate(rcgen::Error::CouldNotParseKeyPair))?;
        let key = KeyPair::try_from(&key).map_err(TlsError::Generate)?;
        let issuer = Issuer::from_ca_cert_pem(&self.cert_pem, key).map_err(TlsError::Generate)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut subject = DistinguishedName::new();
        if let Some(first) = names.first() {
            subject.push(DnType::CommonName, first.as_str());
        }
        let mut params = CertificateParams::new(names).map_err(TlsError::Generate)?;
        params.distinguished_name = subject;
        let start = OffsetDateTime::from_unix_timestamp(now.unix_seconds())
            .map_err(|_far| TlsError::Generate(rcgen::Error::Time))?;
        params.not_before = start - Duration::seconds(10);
        params.not_after = start + Duration::seconds(valid_for.into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let pair = KeyPair::generate().map_err(TlsError::Generate)?;
        let cert = params
            .signed_by(&pair, &issuer)
            .map_err(TlsError::Generate)?;
        Ok(Issued {
            cert_pem: cert.pem(),
            key_pem: pair.serialize_pem(),
        })
    }
}
