//! Makes the certificate authority of a mesh, in the form that Kuma's Secrets have.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use mesh_model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::{Duration, OffsetDateTime};

use crate::tokens::SigningKey;

/// Clocks of two hosts may differ a little.
const BACKDATED: Duration = Duration::seconds(10);

/// How large the RSA key of an authority is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RsaBits {
    /// 2048, what a mesh gets that does not say.
    #[default]
    Rsa2048,
    /// 3072.
    Rsa3072,
    /// 4096. Making such a key takes seconds.
    Rsa4096,
}

impl RsaBits {
    /// The sizes there are.
    pub const ALL: [(u32, Self); 3] = [
        (2048, Self::Rsa2048),
        (3072, Self::Rsa3072),
        (4096, Self::Rsa4096),
    ];

    /// The size of that many bits; `None` for others than [`Self::ALL`].
    pub fn of(bits: u32) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|(has, _)| *has == bits).map(|(_, size)| size)
    }

    fn key_size(self) -> KeySize {
        match self {
            Self::Rsa2048 => KeySize::Rsa2048,
            Self::Rsa3072 => KeySize::Rsa3072,
            Self::Rsa4096 => KeySize::Rsa4096,
        }
    }
}

/// The authority that a mesh wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The mesh: the trust domain of the certificates that the authority signs.
    pub mesh: &'a str,
    /// The size of its key.
    pub bits: RsaBits,
    /// From when on it is valid, less some seconds for clocks that differ.
    pub now: Timestamp,
    /// For how long it is valid, in seconds.
    pub valid_for: u64,
}

/// A certificate authority, as the contents of its two Secrets.
#[derive(Clone)]
pub struct Authority {
    /// Its certificate, PEM.
    pub cert_pem: String,
    /// Its key, PEM of PKCS#1: `RSA PRIVATE KEY`.
    pub key_pem: String,
}

impl std::fmt::Debug for Authority {
    /// Without its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a certificate authority for mesh {mesh:?}: {reason}")]
pub struct AuthorityError {
    mesh: String,
    reason: String,
}

/// Makes an authority: RSA, serial number 0, subject `O=Kuma, OU=Mesh, CN=<mesh>`, the URI
/// `spiffe://<mesh>`, good for signing certificates and nothing else. Takes a good part of a
/// second of CPU.
///
/// # Errors
/// When the system has no randomness to give, or the mesh's name is no part of a URI, or it would
/// be valid for longer than there are years.
pub fn authority(wanted: Wanted<'_>) -> Result<Authority, AuthorityError> {
    let failed = |reason: String| AuthorityError {
        mesh: wanted.mesh.to_owned(),
        reason,
    };
    let pair = RsaKeyPair::generate(wanted.bits.key_size())
        .map_err(|_no_detail| failed("no RSA key could be generated".to_owned()))?;
    let der = pair
        .as_der()
        .map_err(|_no_detail| failed("the RSA key could not be encoded".to_owned()))?;
    let key = SigningKey::parse(der.as_ref()).map_err(|error| failed(error.to_string()))?;
    let pkcs8 = PrivatePkcs8KeyDer::from(der.as_ref());
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256)
        .map_err(|error| failed(error.to_string()))?;

    let now = OffsetDateTime::from_unix_timestamp(wanted.now.unix_seconds())
        .map_err(|error| failed(error.to_string()))?;
    let valid_for = i64::try_from(wanted.valid_for).ok().map(Duration::seconds);
    let end = valid_for.and_then(|valid_for| now.checked_add(valid_for));
    // RFC 5280 §4.1.2.5 knows no year after 9999.
    let end = end
        .filter(|end| end.year() <= 9999)
        .ok_or_else(|| failed(format!("it cannot be valid for {} s", wanted.valid_for)))?;

    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Kuma");
    subject.push(DnType::OrganizationalUnitName, "Mesh");
    subject.push(DnType::CommonName, wanted.mesh);
    params.distinguished_name = subject;
    params.serial_number = Some(0_u64.into());
    let uri = format!("spiffe://{}", wanted.mesh)
        .try_into()
        .map_err(|error: rcgen::Error| failed(error.to_string()))?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.not_before = now - BACKDATED;
    params.not_after = end;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert = params
        .self_signed(&pair)
        .map_err(|error| failed(error.to_string()))?;
    Ok(Authority {
        cert_pem: cert.pem(),
        key_pem: key.to_pem(),
    })
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;

    fn wanted(mesh: &str) -> Wanted<'_> {
        Wanted {
            mesh,
            bits: RsaBits::default(),
            now: Timestamp::from_unix_seconds(1_700_000_000),
            valid_for: 3600,
        }
    }

    #[test]
    fn an_authority_is_what_stock_control_planes_expect() {
        let made = authority(wanted("shop")).unwrap();
        assert!(
            made.key_pem
                .starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
        );
        let (_, pem) = x509_parser::pem::parse_x509_pem(made.cert_pem.as_bytes()).unwrap();
        let (_, cert) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(cert.subject().to_string(), "O=Kuma, OU=Mesh, CN=shop");
        assert_eq!(cert.issuer(), cert.subject());
        assert_eq!(cert.validity().not_before.timestamp(), 1_699_999_990);
        assert_eq!(cert.validity().not_after.timestamp(), 1_700_003_600);
        assert!(cert.is_ca());
        cert.verify_signature(None).unwrap();
        let usage = cert.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        let names = cert.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names[0].to_string(), "URI(spiffe://shop)");
        // The two belong together.
        let key = SigningKey::parse(made.key_pem.as_bytes()).unwrap();
        let public = cert.public_key().subject_public_key.data.as_ref();
        let theirs = crate::tokens::VerifyingKey::parse(public).unwrap();
        assert_eq!(key.public().to_pem(), theirs.to_pem());
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_cannot_be_made_says_so() {
        let longest = Wanted {
            valid_for: u64::MAX,
            ..wanted("shop")
        };
        let error = authority(longest).unwrap_err().to_string();
        assert!(error.contains("mesh \"shop\""), "{error}");
        assert_eq!(RsaBits::of(1024), None);
        assert_eq!(RsaBits::of(4096), Some(RsaBits::Rsa4096));
    }
}
