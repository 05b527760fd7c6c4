//! RSA keys for tokens, in the forms that Kuma's Secrets have.
//!
//! Written as PKCS#1 PEM (RFC 8017 appendix A.1). Read as PKCS#1, PKCS#8 (RFC 5958) or, for
//! public keys, `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7); PEM, or bare DER.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use jsonwebtoken::{DecodingKey, EncodingKey};

/// Smaller keys are refused by every verifier we know.
const MIN_BITS: usize = 2048;

const PRIVATE_PKCS1: &str = "RSA PRIVATE KEY";
const PRIVATE_PKCS8: &str = "PRIVATE KEY";
const PUBLIC_PKCS1: &str = "RSA PUBLIC KEY";
const PUBLIC_SPKI: &str = "PUBLIC KEY";

/// Why some bytes are not a usable key; never shows them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// PEM of something else.
    #[error("the key is PEM of {found:?}; expected {expected}")]
    Section {
        /// Heading found.
        found: String,
        /// Headings accepted.
        expected: &'static str,
    },
    /// Neither PEM nor DER of an RSA key.
    #[error("this is not an RSA {which} key in PEM or DER form")]
    NotRsa {
        /// `private` or `public`.
        which: &'static str,
    },
    /// Too small.
    #[error("the RSA key has {bits} bits; at least 2048 are needed")]
    TooSmall {
        /// Its size.
        bits: usize,
    },
    /// The system could not make one.
    #[error("cannot generate an RSA key")]
    Generate,
}

/// A private key that signs tokens; cheap to clone.
#[derive(Clone)]
pub struct SigningKey(Arc<Private>);

struct Private {
    /// PKCS#1 inside; zeroed when dropped.
    encoding: EncodingKey,
    public: VerifyingKey,
}

/// A public key that checks tokens; cheap to clone.
#[derive(Clone)]
pub struct VerifyingKey(Arc<Public>);

struct Public {
    decoding: DecodingKey,
    pkcs1: Vec<u8>,
}

impl SigningKey {
    /// A new key of 2048 bits. Takes a good part of a second of CPU at worst.
    ///
    /// # Errors
    ///
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, KeyError> {
        // Neither cause has details.
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_no_detail| KeyError::Generate)?;
        let pkcs8 = pair.as_der().map_err(|_no_detail| KeyError::Generate)?;
        Self::from_der(pkcs8.as_ref())
    }

    /// Reads a key as found in a Secret or a file: PEM (PKCS#1, PKCS#8) or DER.
    ///
    /// # Errors
    ///
    /// When it is no RSA private key, or too small.
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        let expected = "RSA PRIVATE KEY or PRIVATE KEY";
        match section(content, &[PRIVATE_PKCS1, PRIVATE_PKCS8], expected)? {
            Some(der) => Self::from_der(&der),
            None => Self::from_der(content),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let pkcs1 = pkcs1_of_pkcs8(der).unwrap_or(der);
        let pair = KeyPair::from_der(pkcs1)
            // It says "InvalidEncoding" or the like, which helps nobody.
            .map_err(|_no_detail| KeyError::NotRsa { which: "private" })?;
        Ok(Self(Arc::new(Private {
            public: VerifyingKey::from_pkcs1(pair.public_key().as_ref())?,
            encoding: EncodingKey::from_rsa_der(pkcs1),
        })))
    }

    /// The key as PKCS#1 PEM, `RSA PRIVATE KEY`: what a Secret holds.
    pub fn to_pem(&self) -> String {
        encode(PRIVATE_PKCS1, self.0.encoding.as_bytes())
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.public.clone()
    }

    pub(super) fn encoding(&self) -> &EncodingKey {
        &self.0.encoding
    }
}

impl VerifyingKey {
    /// Reads a public key: PEM (PKCS#1, `SubjectPublicKeyInfo`) or DER.
    ///
    /// # Errors
    ///
    /// When it is no RSA public key, or too small.
    pub fn parse(content: &[u8]) -> Result<Self, KeyError> {
        let expected = "RSA PUBLIC KEY or PUBLIC KEY";
        let pem = section(content, &[PUBLIC_PKCS1, PUBLIC_SPKI], expected)?;
        let der = pem.as_deref().unwrap_or(content);
        Self::from_pkcs1(pkcs1_of_spki(der).unwrap_or(der))
    }

    fn from_pkcs1(pkcs1: &[u8]) -> Result<Self, KeyError> {
        let modulus = modulus_of(pkcs1).ok_or(KeyError::NotRsa { which: "public" })?;
        let bits = modulus.len() * 8;
        if bits < MIN_BITS {
            return Err(KeyError::TooSmall { bits });
        }
        Ok(Self(Arc::new(Public {
            decoding: DecodingKey::from_rsa_der(pkcs1),
            pkcs1: pkcs1.to_owned(),
        })))
    }

    /// The key as PKCS#1 PEM, `RSA PUBLIC KEY`: what a Secret holds.
    pub fn to_pem(&self) -> String {
        encode(PUBLIC_PKCS1, &self.0.pkcs1)
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.0.decoding
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(..)")
    }
}

fn encode(heading: &str, der: &[u8]) -> String {
    // Line feeds only, as Go and OpenSSL write.
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(heading, der), config)
}

/// The content of the one PEM section, or `None` if this is no PEM at all.
fn section(
    content: &[u8],
    accepted: &[&str],
    expected: &'static str,
) -> Result<Option<Vec<u8>>, KeyError> {
    let Ok(pem) = pem::parse(content) else {
        return Ok(None);
    };
    if !accepted.contains(&pem.tag()) {
        return Err(KeyError::Section {
            found: pem.tag().to_owned(),
            expected,
        });
    }
    Ok(Some(pem.into_contents()))
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// `PrivateKeyInfo ::= SEQUENCE { version INTEGER, algorithm SEQUENCE, key OCTET STRING, … }`
fn pkcs1_of_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (inside, _) = element(der, SEQUENCE)?;
    let (_version, rest) = element(inside, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    Some(element(rest, OCTET_STRING)?.0)
}

/// `SubjectPublicKeyInfo ::= SEQUENCE { algorithm SEQUENCE, key BIT STRING }`
fn pkcs1_of_spki(der: &[u8]) -> Option<&[u8]> {
    let (inside, _) = element(der, SEQUENCE)?;
    let (_algorithm, rest) = element(inside, SEQUENCE)?;
    // The first byte counts unused bits; there are none in whole bytes.
    element(rest, BIT_STRING)?.0.strip_prefix(&[0])
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`, nothing after it.
fn modulus_of(der: &[u8]) -> Option<&[u8]> {
    let (inside, after) = element(der, SEQUENCE)?;
    let (modulus, rest) = element(inside, INTEGER)?;
    let (_exponent, rest) = element(rest, INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    (after.is_empty() && rest.is_empty()).then_some(modulus)
}

/// Content of the DER element at the front, if it has this tag, and what follows it (X.690 §8.1).
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let digits = usize::from(short & 0x7f);
        if digits == 0 || digits > 4 || digits > rest.len() {
            return None;
        }
        let (digits, rest) = rest.split_at(digits);
        let length = digits.iter().fold(0, |sum, &d| sum << 8 | usize::from(d));
        (length, rest)
    };
    (length <= rest.len()).then(|| rest.split_at(length))
}
