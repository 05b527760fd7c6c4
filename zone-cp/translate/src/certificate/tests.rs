//! Which certificates are taken, under which names, and what is said of the others.

mod translated;

use std::sync::LazyLock;

use mesh_model::{Key, MeshName, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::mesh::MeshGateway;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::tls::Mode;
use mesh_proto::mesh::mesh_gateway::{Conf, Listener};
use mesh_proto::system::data_source::Type;
use mesh_proto::system::{DataSource, Secret};
use rcgen::{
    CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PKCS_RSA_SHA256,
};
use x509_parser::der_parser::parse_der;

use super::*;
use crate::ZoneView;

/// A self-signed certificate and its key, PEM.
struct Made {
    certificate: String,
    key: KeyPair,
}

impl Made {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { certificate, key }
    }

    fn both(&self) -> String {
        self.certificate.clone() + &self.key.serialize_pem()
    }

    /// The key in the form of its algorithm's own standard.
    fn bare_key(&self, heading: &str) -> String {
        let pkcs8 = self.key.serialize_der();
        let (_, pkcs8) = parse_der(&pkcs8).unwrap();
        let inner = pkcs8.as_sequence().unwrap()[2].as_slice().unwrap();
        pem::encode(&pem::Pem::new(heading, inner))
    }
}

static RSA: LazyLock<Made> = LazyLock::new(|| Made::new(&PKCS_RSA_SHA256));
static ECDSA: LazyLock<Made> = LazyLock::new(|| Made::new(&PKCS_ECDSA_P256_SHA256));
static OTHER: LazyLock<Made> = LazyLock::new(|| Made::new(&PKCS_ECDSA_P256_SHA256));

fn problem(text: &str) -> String {
    Certificate::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn keys_are_read_in_every_form() {
    let rsa = Certificate::parse(RSA.both().as_bytes()).unwrap();
    assert_eq!(rsa.kind(), KeyKind::Rsa);
    let ecdsa = Certificate::parse(ECDSA.both().as_bytes()).unwrap();
    assert_eq!(ecdsa.kind(), KeyKind::Ecdsa);
    for (made, heading, kind) in [
        (&RSA, "RSA PRIVATE KEY", KeyKind::Rsa),
        (&ECDSA, "EC PRIVATE KEY", KeyKind::Ecdsa),
    ] {
        let text = made.bare_key(heading) + &made.certificate;
        let read = Certificate::parse(text.as_bytes()).unwrap();
        assert_eq!(read.kind(), kind);
        assert!(read.key_pem().contains(heading));
    }
}

#[test]
fn a_wrong_heading_of_a_key_is_put_right() {
    // BoringSSL reads what the heading says, and would refuse it.
    let text = ECDSA.certificate.clone() + &ECDSA.bare_key("PRIVATE KEY");
    let read = Certificate::parse(text.as_bytes()).unwrap();
    assert!(read.key_pem().starts_with("-----BEGIN EC PRIVATE KEY-----"));
}

#[test]
fn the_chain_keeps_its_order_and_text_between_blocks_goes() {
    let text = format!(
        "Bag Attributes\n  friendlyName: edge\n{}subject=CN = edge\n{}some words\n{}",
        ECDSA.certificate,
        ECDSA.key.serialize_pem(),
        RSA.certificate
    );
    let read = Certificate::parse(text.as_bytes()).unwrap();
    let chain = pem::parse_many(read.chain_pem()).unwrap();
    let chain: Vec<&[u8]> = chain.iter().map(pem::Pem::contents).collect();
    let der = |made: &Made| pem::parse(&made.certificate).unwrap().contents().to_vec();
    assert_eq!(chain, [der(&ECDSA), der(&RSA)]);
    assert!(!read.to_pem().contains("words"));
    let again = Certificate::parse(read.to_pem().as_bytes()).unwrap();
    assert!(again.is_same(&read));
}

#[test]
fn what_is_wrong_is_said() {
    let (certificate, key) = (&ECDSA.certificate, ECDSA.key.serialize_pem());
    assert!(problem("").starts_with("is not PEM"));
    assert!(problem("certificate, later").starts_with("is not PEM"));
    assert_eq!(problem(certificate), "holds no private key");
    assert_eq!(problem(&key), "holds no certificate");
    let two = format!("{certificate}{key}{}", OTHER.key.serialize_pem());
    assert!(problem(&two).contains("more than one private key"));
    let request = format!(
        "{certificate}{key}{}",
        certificate.replace("CERTIFICATE", "CSR")
    );
    assert!(problem(&request).contains("a block \"CSR\""));
    let foreign = OTHER.certificate.clone() + &key;
    assert!(problem(&foreign).contains("does not belong to its first certificate"));
    let leaf_last = format!("{}{certificate}{key}", RSA.certificate);
    assert!(problem(&leaf_last).contains("the certificate of the key comes first"));
    let ed25519 = Made::new(&PKCS_ED25519).both();
    assert!(problem(&ed25519).contains("neither RSA nor ECDSA"));
    let encrypted = certificate.clone() + &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(problem(&encrypted).contains("without a passphrase"));
    let no_certificate = key.replace("PRIVATE KEY", "CERTIFICATE") + &key;
    assert!(problem(&no_certificate).contains("no X.509 certificate in its block CERTIFICATE 1"));
    let damaged = key.replacen("\nM", "\n*", 1) + certificate;
    assert!(problem(&damaged).starts_with("is damaged"));
    let cut = certificate.clone() + &key[..key.len() - 30];
    assert!(problem(&cut).contains("no private key") || problem(&cut).contains("damaged"));
}

#[test]
fn what_envoy_would_refuse_is_refused() {
    let rsa = problem(include_str!("../../tests/certificates/rsa-1024.pem"));
    assert_eq!(
        rsa,
        "holds an RSA key of 1024 bits; Envoy takes 2048 and more"
    );
    let curve = problem(include_str!("../../tests/certificates/secp256k1.pem"));
    assert!(
        curve.contains("neither RSA nor ECDSA (P-256, P-384 or P-521)"),
        "{curve}"
    );
    let usage = problem(include_str!("../../tests/certificates/key-agreement.pem"));
    assert!(usage.contains("no digital signature"), "{usage}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
    // TLS Feature: status_request.
    let feature = [1, 3, 6, 1, 5, 5, 7, 1, 24];
    let asked = vec![0x30, 3, 2, 1, 5];
    params.custom_extensions = vec![CustomExtension::from_oid_content(&feature, asked)];
    let certificate = params.self_signed(&key).unwrap().pem();
    let staple = problem(&(certificate + &key.serialize_pem()));
    assert!(staple.contains("stapled OCSP response"), "{staple}");
}

#[test]
fn the_parameters_that_openssl_writes_before_a_key_are_ignored() {
    let text = include_bytes!("../../tests/certificates/ec-parameters.pem");
    assert_eq!(Certificate::parse(text).unwrap().kind(), KeyKind::Ecdsa);
}

#[test]
fn nothing_shows_a_key() {
    let key = ECDSA.key.serialize_pem();
    let line = key.lines().nth(1).unwrap();
    let read = Arc::new(Certificate::parse(ECDSA.both().as_bytes()).unwrap());
    let mut offers = Offers::default();
    let view = view(&[("one", &ECDSA.both()), ("bad", &key)]);
    let resolved = resolve(&mut offers, &view, &[secret("one"), secret("bad")], 443);
    assert_eq!(resolved.findings.len(), 1);
    let secrets = format!("{offers:?}") + &format!("{:?}", offers.into_secrets());
    let shown = format!("{read:?}{resolved:?}{view:?}{secrets}");
    assert!(shown.contains("redacted"));
    // Bytes are printed as text, or as numbers.
    let numbers = format!("{:?}", &line.as_bytes()[..12]);
    for leak in [line, numbers.trim_matches(['[', ']'])] {
        assert!(!shown.contains(leak), "{shown}");
    }
}

fn secret(name: &str) -> DataSource {
    DataSource {
        r#type: Some(Type::Secret(name.to_owned())),
    }
}

fn inline(made: &Made) -> DataSource {
    DataSource {
        r#type: Some(Type::InlineString(made.both())),
    }
}

fn resource(ty: ResourceType, name: &str, spec: Spec) -> Arc<Resource> {
    let mesh = MeshName::parse("default").unwrap();
    let key = Key::in_mesh(ty, mesh, ResourceName::parse(name).unwrap());
    let time = Timestamp::EPOCH;
    Arc::new(Resource::new(key, BTreeMap::new(), spec, time, time))
}

fn view(secrets: &[(&str, &str)]) -> ZoneView {
    let mut view = ZoneView::default();
    for (name, text) in secrets {
        let data = Some(text.as_bytes().to_vec());
        let spec = Spec::encode(ResourceType::Secret, &Secret { data });
        view.put(&resource(ResourceType::Secret, name, spec));
    }
    view
}

fn gateway(certificates: Vec<DataSource>) -> Arc<Resource> {
    let mut tls = TlsConf {
        certificates,
        ..TlsConf::default()
    };
    tls.set_mode(Mode::Terminate);
    let mut listener = Listener {
        port: 443,
        hostname: "Edge.example.com".to_owned(),
        tls: Some(tls),
        ..Listener::default()
    };
    listener.set_protocol(Protocol::Https);
    let gateway = MeshGateway {
        conf: Some(Conf {
            listeners: vec![listener],
        }),
        ..MeshGateway::default()
    };
    let spec = Spec::encode(ResourceType::MeshGateway, &gateway);
    resource(ResourceType::MeshGateway, "edge", spec)
}

fn resolve(
    offers: &mut Offers,
    view: &ZoneView,
    certificates: &[DataSource],
    port: u32,
) -> Resolved {
    let block = TlsConf {
        certificates: certificates.to_vec(),
        ..TlsConf::default()
    };
    let place = Place {
        gateway: &gateway(Vec::new()),
        port,
        hostname: &Hostname::parse("edge.example.com").unwrap(),
        path: "conf.listeners[0].tls",
    };
    let mesh = MeshName::parse("default").unwrap();
    let empty = MeshView::default();
    offers.resolve(view.mesh(&mesh).unwrap_or(&empty), &block, place)
}

fn findings(resolved: &Resolved) -> Vec<String> {
    resolved.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_rsa_and_an_ecdsa_certificate_stand_side_by_side() {
    let view = view(&[("r", &RSA.both()), ("e", &ECDSA.both())]);
    let mut offers = Offers::default();
    let resolved = resolve(&mut offers, &view, &[secret("r"), secret("e")], 443);
    assert_eq!(findings(&resolved), [""; 0]);
    let names = ["cert.rsa:secret:r", "cert.ecdsa:secret:e"].map(Name::from);
    assert_eq!(resolved.names, names);
    let mut offered: Vec<Name> = offers.into_secrets().into_keys().collect();
    offered.reverse();
    assert_eq!(offered, names);
}

#[test]
fn two_certificates_of_a_kind_stand_side_by_side_unless_they_have_one_name() {
    let view = view(&[("a", &ECDSA.both()), ("b", &OTHER.both())]);
    let mut offers = Offers::default();
    let resolved = resolve(&mut offers, &view, &[secret("a"), secret("b")], 443);
    let names = ["cert.ecdsa:secret:a", "cert.ecdsa:secret:b"].map(Name::from);
    assert_eq!(resolved.names, names);
    assert_eq!(findings(&resolved), [""; 0]);
    let twice = resolve(&mut offers, &view, &[secret("a"), secret("a")], 443);
    assert_eq!(twice.names, [Name::from("cert.ecdsa:secret:a")]);
    assert_eq!(
        findings(&twice),
        [
            "MeshGateway default/edge: conf.listeners[0].tls.certificates[1]: another certificate \
             of this listener is called cert.ecdsa:secret:a too; the first one stays"
        ]
    );
    assert_eq!(offers.into_secrets().len(), 2);
    let mut offers = Offers::default();
    let inline = resolve(&mut offers, &view, &[inline(&ECDSA), inline(&OTHER)], 443);
    assert_eq!(
        inline.names,
        [Name::from("cert.ecdsa:inline:edge.example.com")]
    );
    assert_eq!(inline.findings.len(), 1);
}

#[test]
fn a_bad_certificate_does_not_hurt_the_one_beside_it() {
    let view = view(&[("a", "rubbish"), ("b", &ECDSA.both())]);
    let sources = [secret("a"), secret("b"), secret("none")];
    let resolved = resolve(&mut Offers::default(), &view, &sources, 443);
    assert_eq!(resolved.names, [Name::from("cert.ecdsa:secret:b")]);
    assert_eq!(
        findings(&resolved),
        [
            "MeshGateway default/edge: conf.listeners[0].tls.certificates[0]: the Secret \"a\" is \
             not PEM: it needs the blocks CERTIFICATE and PRIVATE KEY; it is left out",
            "MeshGateway default/edge: conf.listeners[0].tls.certificates[2]: there is no Secret \
             \"none\" in this mesh; it is left out",
        ]
    );
}

#[test]
fn inline_certificates_are_named_after_the_hostname() {
    let view = ZoneView::default();
    let mut offers = Offers::default();
    let one = resolve(&mut offers, &view, &[inline(&ECDSA)], 443);
    let same = resolve(&mut offers, &view, &[inline(&ECDSA)], 8443);
    let other = resolve(&mut offers, &view, &[inline(&OTHER)], 9443);
    let name = Name::from("cert.ecdsa:inline:edge.example.com");
    assert_eq!(one.names, [Arc::clone(&name)]);
    assert_eq!(same.names, one.names);
    assert_eq!(other.names, [Name::from(format!("{name}:9443"))]);
    assert_eq!(offers.into_secrets().len(), 2);
}

#[test]
fn what_the_control_plane_knows_comes_before_what_is_written() {
    let mesh = MeshName::parse("default").unwrap();
    let mut view = view(&[("a", "rubbish")]);
    let source = Source::Secret("a".to_owned());
    assert!(view.read_certificate(&mesh, &source).is_err());
    let good = Arc::new(Certificate::parse(ECDSA.both().as_bytes()).unwrap());
    let known = Known {
        certificate: Some(good),
        problem: Some("the Secret \"a\" is bad; the last good one stays".to_owned()),
    };
    view.set_certificate(&mesh, &source, Some(known));
    let resolved = resolve(&mut Offers::default(), &view, &[secret("a")], 443);
    assert_eq!(resolved.names, [Name::from("cert.ecdsa:secret:a")]);
    assert_eq!(
        findings(&resolved),
        [
            "MeshGateway default/edge: conf.listeners[0].tls.certificates[0]: the Secret \"a\" is \
             bad; the last good one stays"
        ]
    );
    view.set_certificate(&mesh, &source, None);
    let resolved = resolve(&mut Offers::default(), &view, &[secret("a")], 443);
    assert!(resolved.names.is_empty());
}

#[test]
fn a_file_is_used_once_it_has_been_read() {
    let mesh = MeshName::parse("default").unwrap();
    let mut view = ZoneView::default();
    let file = DataSource {
        r#type: Some(Type::File("/etc/edge.pem".to_owned())),
    };
    let from = |view: &ZoneView| {
        let sources = std::slice::from_ref(&file);
        resolve(&mut Offers::default(), view, sources, 443)
    };
    assert!(findings(&from(&view))[0].contains("the file /etc/edge.pem has not been read"));
    view.set_file(&mesh, "/etc/edge.pem", Some(Err("no such file".to_owned())));
    assert!(findings(&from(&view))[0].contains("cannot be read: no such file"));
    view.set_file(&mesh, "/etc/edge.pem", Some(Ok(RSA.both().into())));
    assert_eq!(
        from(&view).names,
        [Name::from("cert.rsa:file:/etc/edge.pem")]
    );
}

#[test]
fn the_sources_of_a_mesh_are_those_of_its_listeners() {
    let mesh = MeshName::parse("default").unwrap();
    let mut view = view(&[("unused", &RSA.both())]);
    view.put(&gateway(vec![secret("a"), inline(&ECDSA)]));
    let sources: Vec<Source> = view
        .certificate_sources()
        .into_iter()
        .map(|(_, source)| source)
        .collect();
    let at = Source::Inline {
        gateway: ResourceName::parse("edge").unwrap(),
        port: 443,
        hostname: "edge.example.com".to_owned(),
        index: 1,
    };
    assert_eq!(sources, [Source::Secret("a".to_owned()), at.clone()]);
    let read = view.read_certificate(&mesh, &at).unwrap();
    assert_eq!(read.kind(), KeyKind::Ecdsa);
}
