use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// Connects to a server that presents `identity`; what the client negotiated, or its error.
async fn handshake(
    identity: &Identity,
    trust: &Trust,
    name: &str,
) -> Result<Option<Vec<u8>>, std::io::Error> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(server_config(identity));
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        if let Ok(mut tls) = acceptor.accept(tcp).await {
            let _ = tls.write_all(b"hello").await;
            let _ = tls.shutdown().await;
        }
    });
    let connector = TlsConnector::from(client_config(trust, &[ALPN_H2]).unwrap());
    let tcp = TcpStream::connect(address).await.unwrap();
    let result = connector
        .connect(ServerName::try_from(name.to_owned()).unwrap(), tcp)
        .await;
    let result = match result {
        Ok(mut tls) => {
            let mut text = String::new();
            tls.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
            Ok(tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
        }
        Err(error) => Err(error),
    };
    server.await.unwrap();
    result
}

fn reason(error: &std::io::Error) -> CertificateError {
    match error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(reason)) => reason.clone(),
        other => panic!("not a certificate error: {other:?}"),
    }
}

fn write_pair(dir: &Path, cert: &str, key: &str) -> Identity {
    let (cert_file, key_file) = (dir.join("a.crt"), dir.join("a.key"));
    fs::write(&cert_file, cert).unwrap();
    fs::write(&key_file, key).unwrap();
    Identity::load(&cert_file, &key_file).unwrap()
}

/// A self-signed leaf that is also a CA, as Kuma makes for itself.
fn self_signed(dir: &Path, change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    write_pair(dir, &cert.pem(), &key.serialize_pem())
}

fn trust_in(identity: &Identity) -> Trust {
    Trust::Ca(identity.cert_pem().as_bytes().to_vec())
}

#[tokio::test]
async fn own_pair_is_accepted_with_its_own_file_as_ca() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path()).unwrap();
    assert_eq!(identity.cert_chain().len(), 2, "leaf, then CA");
    let trust = trust_in(&identity);
    for name in ["localhost", "127.0.0.1", "::1"] {
        let alpn = handshake(&identity, &trust, name).await.unwrap();
        assert_eq!(alpn.as_deref(), Some(ALPN_H2), "{name}");
    }
}

#[tokio::test]
async fn own_pair_is_accepted_by_plain_path_validation_too() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(dir.path()).unwrap();
    // Only the CA in the bundle: nothing there equals the leaf.
    let pem = identity.cert_pem();
    let ca = pem.rsplit_once("-----BEGIN").unwrap().1;
    let trust = Trust::Ca(format!("-----BEGIN{ca}").into_bytes());
    handshake(&identity, &trust, "localhost").await.unwrap();
}

#[tokio::test]
async fn self_signed_ca_leaf_is_accepted_only_if_it_is_in_the_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let stock = self_signed(dir.path(), |_| ());
    handshake(&stock, &trust_in(&stock), "localhost")
        .await
        .unwrap();

    // Another certificate of the same name and shape is another peer.
    let dir = tempfile::tempdir().unwrap();
    let impostor = self_signed(dir.path(), |_| ());
    let error = handshake(&impostor, &trust_in(&stock), "localhost")
        .await
        .unwrap_err();
    assert!(
        explain(&error).unwrap().contains("CA file"),
        "{:?}",
        reason(&error)
    );
}

#[tokio::test]
async fn pinned_certificate_must_still_bear_the_name_and_be_in_date() {
    let dir = tempfile::tempdir().unwrap();
    let stock = self_signed(dir.path(), |_| ());
    let error = handshake(&stock, &trust_in(&stock), "global.example")
        .await
        .unwrap_err();
    assert!(matches!(
        reason(&error),
        CertificateError::NotValidForNameContext { .. }
    ));
    assert!(explain(&error).unwrap().contains("other names"));

    let expired = self_signed(dir.path(), |p| p.not_after = date_time_ymd(2020, 1, 1));
    let error = handshake(&expired, &trust_in(&expired), "localhost")
        .await
        .unwrap_err();
    assert!(matches!(
        reason(&error),
        CertificateError::ExpiredContext { .. }
    ));
    assert!(explain(&error).unwrap().contains("expired"));

    let future = self_signed(dir.path(), |p| p.not_before = date_time_ymd(4000, 1, 1));
    let error = handshake(&future, &trust_in(&future), "localhost")
        .await
        .unwrap_err();
    assert!(matches!(
        reason(&error),
        CertificateError::NotValidYetContext { .. }
    ));
}

#[tokio::test]
async fn expired_leaf_of_a_trusted_ca_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    leaf.not_after = date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let identity = write_pair(dir.path(), &cert.pem(), &key.serialize_pem());
    let error = handshake(&identity, &Trust::Ca(ca_pem.into_bytes()), "localhost")
        .await
        .unwrap_err();
    assert!(matches!(
        reason(&error),
        CertificateError::ExpiredContext { .. }
    ));
}

#[tokio::test]
async fn server_of_another_ca_is_refused_and_the_error_explained() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let identity = Identity::load_or_create(here.path()).unwrap();
    let other = Identity::load_or_create(there.path()).unwrap();
    let error = handshake(&identity, &trust_in(&other), "localhost")
        .await
        .unwrap_err();
    assert!(
        matches!(reason(&error), CertificateError::UnknownIssuer),
        "{error}"
    );
    assert!(explain(&error).unwrap().contains("CA file"));
    handshake(&identity, &Trust::SkipVerify, "anything.example")
        .await
        .unwrap();
}

#[test]
fn new_pair_is_kept_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let work_dir = dir.path().join("deep/work");
    let first = Identity::load_or_create(&work_dir).unwrap();
    let again = Identity::load_or_create(&work_dir).unwrap();
    assert_eq!(first.cert_pem(), again.cert_pem());
    let mode = fs::metadata(work_dir.join("kuma-cp.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut files: Vec<_> = fs::read_dir(&work_dir)
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["kuma-cp.crt", "kuma-cp.key"]);
    assert!(!format!("{first:?}").contains("PRIVATE"));
}

#[test]
fn existing_pair_is_used_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let stock = self_signed(dir.path(), |_| ());
    fs::rename(dir.path().join("a.crt"), dir.path().join("kuma-cp.crt")).unwrap();
    fs::rename(dir.path().join("a.key"), dir.path().join("kuma-cp.key")).unwrap();
    let loaded = Identity::load_or_create(dir.path()).unwrap();
    assert_eq!(loaded.cert_pem(), stock.cert_pem());
}

#[test]
fn processes_that_start_together_agree_on_one_pair() {
    let dir = tempfile::tempdir().unwrap();
    let path: Arc<Path> = dir.path().into();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || Identity::load_or_create(&path).unwrap().cert_pem())
        })
        .collect();
    let mut pems: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    pems.dedup();
    assert_eq!(pems.len(), 1);
}

#[test]
fn unusable_files_are_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (
        dir.path().join("kuma-cp.crt"),
        dir.path().join("kuma-cp.key"),
    );
    Identity::load_or_create(dir.path()).unwrap();

    fs::remove_file(&key).unwrap();
    let error = Identity::load_or_create(dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("{} is missing", key.display())),
        "{error}"
    );
    let error = Identity::load(&cert, &key).unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot read {}", key.display())),
        "{error}"
    );

    fs::write(&key, "nonsense").unwrap();
    let error = Identity::load_or_create(dir.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kuma-cp.key holds no PEM PRIVATE KEY"),
        "{error}"
    );

    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = Identity::load_or_create(dir.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot be used together"), "{error}");

    let error = client_config(&Trust::Ca(b"nothing".to_vec()), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the CA file holds no PEM CERTIFICATE"),
        "{error}"
    );
}

/// A self-signed pair, as texts.
fn pair_of(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned(), "localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_new_pair_is_shown_once_it_is_whole_and_a_bad_one_never() {
    let dir = tempfile::tempdir().unwrap();
    let (old_cert, old_key) = pair_of("old");
    let identity = write_pair(dir.path(), &old_cert, &old_key);
    let trusting = |pem: &str| Trust::Ca(pem.as_bytes().to_vec());
    let (trigger, shutdown) = crate::shutdown::channel();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let following = tokio::spawn(identity.clone().follow(shutdown, move |pem| {
        told.send(pem.to_owned()).unwrap();
    }));

    // Neither garbage nor a key that does not belong to it changes anything.
    fs::write(dir.path().join("a.crt"), "garbage").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    handshake(&identity, &trusting(&old_cert), "old")
        .await
        .unwrap();
    let (new_cert, new_key) = pair_of("new");
    fs::write(dir.path().join("a.crt"), &new_cert).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    handshake(&identity, &trusting(&old_cert), "old")
        .await
        .unwrap();
    assert!(heard.try_recv().is_err());

    fs::write(dir.path().join("a.key"), &new_key).unwrap();
    let said = tokio::time::timeout(std::time::Duration::from_secs(10), heard.recv()).await;
    assert_eq!(said.unwrap().as_deref(), Some(&*new_cert));
    handshake(&identity, &trusting(&new_cert), "new")
        .await
        .unwrap();
    assert_eq!(&*identity.cert_pem(), new_cert);
    trigger.trigger();
    following.await.unwrap();
}
