//! Makes a certificate for this host: a CA that exists only to sign it, and the leaf.
//!
//! Two certificates rather than one self-signed leaf, because web PKI verifiers refuse an end
//! entity that is its own trust anchor (RFC 5280 §4.2.1.9: a CA certificate is not an end entity).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::TlsError;

/// How long a certificate made here is valid.
const VALIDITY: Duration = Duration::days(3650);
/// Clocks of two hosts may differ; a certificate is valid this long before it was made.
const BACKDATED: Duration = Duration::days(1);

/// A new pair, as the texts of its two files.
pub(super) struct Pair {
    /// Leaf, then CA.
    pub(super) cert_pem: String,
    /// PKCS#8.
    pub(super) key_pem: String,
    /// Names and addresses in the leaf.
    pub(super) names: Vec<String>,
}

/// A pair for this host as it is now.
pub(super) fn pair(now: Timestamp) -> Result<Pair, TlsError> {
    let host = host_name();
    pair_for(&host, local_names(&host), now).map_err(TlsError::Generate)
}

fn pair_for(host: &str, names: Vec<String>, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let now = OffsetDateTime::from_unix_timestamp(now.unix_seconds())
        .expect("a timestamp's years 1677 to 2262 are inside this range");

    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    // Unique, for verifiers look for issuers by name: with one name for all the CAs of a host
    // they would report a bad signature instead of an unknown issuer.
    let id: String = ca
        .key_identifier(&ca_key)
        .iter()
        .take(4)
        .map(|b| format!("{b:02x}"))
        .collect();
    ca.distinguished_name = common_name(&format!("Meridian CA {id} of {host}"));
    ca.not_before = now - BACKDATED;
    ca.not_after = now + VALIDITY;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut leaf = CertificateParams::new(names.clone())?;
    leaf.distinguished_name = common_name(host);
    leaf.not_before = ca.not_before;
    leaf.not_after = ca.not_after;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let leaf_cert = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;

    Ok(Pair {
        cert_pem: leaf_cert.pem() + &ca_cert.pem(),
        key_pem: leaf_key.serialize_pem(),
        names,
    })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn host_name() -> String {
    let uname = rustix::system::uname();
    match uname.nodename().to_str() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

/// The host's name, `localhost`, and every address of every interface.
fn local_names(host: &str) -> Vec<String> {
    let mut names = BTreeSet::from(["localhost".to_owned()]);
    // A host may be called anything; only what is a DNS name can be put in a certificate.
    if rustls::pki_types::DnsName::try_from(host).is_ok() {
        names.insert(host.to_owned());
    }
    let mut addresses = BTreeSet::from([
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]);
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => addresses.extend(interfaces.iter().map(if_addrs::Interface::ip)),
        Err(error) => tracing::warn!(
            %error,
            "cannot list this host's addresses; its certificate will hold names and loopback only"
        ),
    }
    names.extend(addresses.iter().map(ToString::to_string));
    names.into_iter().collect()
}
