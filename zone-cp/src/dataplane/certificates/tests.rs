//! What is used when certificates come, go bad, expire and come back after a restart.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use mesh_model::{Resource, ResourceName, Spec};
use mesh_proto::mesh::MeshGateway;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::tls::{Conf as TlsConf, Mode};
use mesh_proto::mesh::mesh_gateway::{Conf, Listener};
use mesh_proto::system::data_source::Type;
use mesh_proto::system::{DataSource, Secret};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;

const NOON: i64 = 1_800_000_000;
const HOUR: i64 = 3600;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(NOON) };
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW.get())
}

/// A certificate, PEM, that is valid for some seconds around noon.
fn made(from: i64, until: i64) -> String {
    let at = |seconds| OffsetDateTime::from_unix_timestamp(NOON + seconds).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["edge.example.com".to_owned()]).unwrap();
    params.not_before = at(from);
    params.not_after = at(until);
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

fn good() -> String {
    made(-HOUR, HOUR)
}

fn mesh() -> MeshName {
    MeshName::parse("default").unwrap()
}

fn resource(ty: ResourceType, name: &str, spec: Spec) -> Arc<Resource> {
    let key = Key::in_mesh(ty, mesh(), ResourceName::parse(name).unwrap());
    let time = Timestamp::EPOCH;
    Arc::new(Resource::new(key, BTreeMap::new(), spec, time, time))
}

fn gateway(certificates: impl IntoIterator<Item = Type>) -> Arc<Resource> {
    let certificates = certificates.into_iter().map(Some);
    let mut tls = TlsConf {
        certificates: certificates.map(|r#type| DataSource { r#type }).collect(),
        ..TlsConf::default()
    };
    tls.set_mode(Mode::Terminate);
    let mut listener = Listener {
        port: 443,
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

fn secret(text: &str) -> Arc<Resource> {
    let data = Some(text.as_bytes().to_vec());
    let spec = Spec::encode(ResourceType::Secret, &Secret { data });
    resource(ResourceType::Secret, "one", spec)
}

fn the_secret() -> Type {
    Type::Secret("one".to_owned())
}

fn is_read_as(text: &str, known: &Known) -> bool {
    let text = Certificate::parse(text.as_bytes()).unwrap();
    let certificate = known.certificate.as_ref();
    certificate.is_some_and(|certificate| certificate.is_same(&text))
}

/// A zone's view and its certificates.
struct Zone {
    certificates: Certificates,
    view: ZoneView,
}

impl Zone {
    fn new(folder: &Path) -> Self {
        NOW.set(NOON);
        let mut certificates = Certificates::open(folder);
        certificates.now = now;
        Self {
            certificates,
            view: ZoneView::default(),
        }
    }

    fn put(&mut self, resource: &Arc<Resource>) {
        self.view.put(resource);
        self.follow(resource.key());
    }

    fn delete(&mut self, key: &Key) {
        self.view.delete(key);
        self.follow(key);
    }

    fn follow(&mut self, changed: &Key) {
        let mut touched = Touched::default();
        touched.note(changed);
        self.certificates.follow(&mut self.view, touched);
    }

    /// What is used of the only source.
    fn known(&self) -> Known {
        let state = self.certificates.state.lock();
        let mut entries = state.entries.values();
        let known = entries.next().unwrap().known.clone();
        assert!(entries.next().is_none());
        known
    }

    fn problem(&self) -> String {
        self.known().problem.unwrap_or_default()
    }

    /// Looks at files, as the service does every second; whether there are news.
    async fn look(&mut self) -> bool {
        let news = self.certificates.news();
        self.certificates.look().await;
        self.certificates.follow(&mut self.view, Touched::default());
        news.has_changed().unwrap()
    }
}

#[test]
fn a_bad_secret_leaves_the_last_good_certificate_until_it_is_mended() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    let (first, second) = (good(), good());
    zone.put(&gateway([the_secret()]));
    assert_eq!(zone.problem(), "there is no Secret \"one\" in this mesh");
    assert!(zone.known().certificate.is_none());
    zone.put(&secret(&first));
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(zone.problem(), "");
    zone.put(&secret("rubbish"));
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(
        zone.problem(),
        "the Secret \"one\" is not PEM: it needs the blocks CERTIFICATE and PRIVATE KEY; the last \
         good certificate stays"
    );
    zone.delete(secret("").key());
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(
        zone.problem(),
        "there is no Secret \"one\" in this mesh; the last good certificate stays"
    );
    zone.put(&secret(&second));
    assert!(is_read_as(&second, &zone.known()));
    assert_eq!(zone.problem(), "");
}

#[test]
fn an_expired_certificate_replaces_only_one_that_has_expired_too() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    let (valid, expired) = (good(), made(-2 * HOUR, -HOUR));
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&expired));
    assert!(is_read_as(&expired, &zone.known()));
    let problem = "the certificate in Secret \"one\" expired at 2027-01-15T07:00:00Z";
    assert_eq!(zone.problem(), format!("{problem}; clients refuse it"));
    zone.put(&secret(&valid));
    assert_eq!(zone.problem(), "");
    zone.put(&secret(&expired));
    assert!(is_read_as(&valid, &zone.known()));
    assert_eq!(
        zone.problem(),
        format!("{problem}; the last good certificate stays")
    );
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_used_and_reported() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    let early = made(HOUR, 2 * HOUR);
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&early));
    assert!(is_read_as(&early, &zone.known()));
    assert_eq!(
        zone.problem(),
        "the certificate in Secret \"one\" is valid from 2027-01-15T09:00:00Z; until then clients \
         refuse it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expires_while_it_is_used_is_reported_then() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    let text = good();
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&text));
    assert_eq!(zone.problem(), "");
    let certificates = Arc::new(zone.certificates);
    let mut news = certificates.news();
    let run = Arc::clone(&certificates).run(Shutdown::never());
    let later = async {
        tokio::time::sleep(Duration::from_secs(HOUR.unsigned_abs() - 1)).await;
        assert!(!news.has_changed().unwrap());
        NOW.set(NOON + HOUR);
        news.changed().await.unwrap();
    };
    tokio::select! {
        () = run => unreachable!("it runs until shutdown"),
        () = later => {}
    }
    zone.certificates = Arc::into_inner(certificates).unwrap();
    zone.certificates.follow(&mut zone.view, Touched::default());
    assert!(is_read_as(&text, &zone.known()));
    assert_eq!(
        zone.problem(),
        "the certificate in Secret \"one\" expired at 2027-01-15T09:00:00Z; clients refuse it"
    );
}

#[tokio::test]
async fn the_last_good_certificate_survives_a_restart_and_is_private() {
    let folder = TempDir::new().unwrap();
    let kept = folder.path().join("kept");
    let text = good();
    let mut zone = Zone::new(&kept);
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&text));
    zone.certificates.keep().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&kept), 0o700);
    let files: Vec<PathBuf> = fs::read_dir(&kept)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1);
    assert_eq!(mode(&files[0]), 0o600);

    // What a crash leaves of a file that was not finished is not taken for one.
    fs::write(files[0].with_extension("new"), "{").unwrap();
    let mut zone = Zone::new(&kept);
    zone.put(&secret("rubbish"));
    zone.put(&gateway([the_secret()]));
    assert!(is_read_as(&text, &zone.known()));
    assert!(zone.problem().ends_with("the last good certificate stays"));
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 1);

    // A gateway that does not name it any more is done with it.
    zone.put(&gateway([]));
    zone.certificates.keep().await;
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    zone.put(&gateway([the_secret()]));
    assert!(zone.known().certificate.is_none());
}

#[tokio::test]
async fn what_no_gateway_names_is_forgotten_once_gateways_are_there() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&good()));
    zone.certificates.keep().await;
    let mut zone = Zone::new(folder.path());
    zone.certificates.state.lock().forget_leftovers();
    zone.certificates.keep().await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    zone.put(&gateway([Type::InlineString(good())]));
    zone.certificates.keep().await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    zone.certificates.state.lock().forget_leftovers();
    zone.certificates.keep().await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_used_does_not_stop_certificates() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut zone = Zone::new(&file);
    let text = good();
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&text));
    assert!(is_read_as(&text, &zone.known()));
}

#[test]
fn a_bad_inline_certificate_leaves_the_last_good_one() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(folder.path());
    let text = good();
    zone.put(&gateway([Type::InlineString(text.clone())]));
    assert_eq!(zone.problem(), "");
    zone.put(&gateway([Type::InlineString("rubbish".to_owned())]));
    assert!(is_read_as(&text, &zone.known()));
    assert!(
        zone.problem()
            .starts_with("the inline certificate is not PEM")
    );
}

#[tokio::test]
async fn a_file_is_followed_when_another_takes_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("edge.pem");
    let (first, second) = (good(), good());
    fs::write(&path, &first).unwrap();
    let mut zone = Zone::new(&folder.path().join("kept"));
    let file = Type::File(path.display().to_string());
    zone.put(&gateway([file]));
    assert!(is_read_as(&first, &zone.known()));
    assert!(!zone.look().await);

    let new = folder.path().join("edge.pem.new");
    fs::write(&new, &second).unwrap();
    fs::rename(&new, &path).unwrap();
    assert!(zone.look().await);
    assert!(is_read_as(&second, &zone.known()));

    fs::remove_file(&path).unwrap();
    assert!(zone.look().await);
    assert!(is_read_as(&second, &zone.known()));
    let problem = format!(
        "the file {} cannot be read: entity not found; the last good certificate stays",
        path.display()
    );
    assert_eq!(zone.problem(), problem);
    fs::write(&path, &first).unwrap();
    assert!(zone.look().await);
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(zone.problem(), "");
}

#[tokio::test]
async fn a_file_is_followed_when_links_are_exchanged_as_kubernetes_does() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (first, second) = (good(), good());
    for (generation, text) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(at(generation)).unwrap();
        fs::write(at(generation).join("tls.pem"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/tls.pem", at("tls.pem")).unwrap();
    let mut zone = Zone::new(&at("kept"));
    zone.put(&gateway([Type::File(at("tls.pem").display().to_string())]));
    assert!(is_read_as(&first, &zone.known()));

    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    assert!(zone.look().await);
    assert!(is_read_as(&second, &zone.known()));
    assert_eq!(zone.problem(), "");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let mut zone = Zone::new(&folder.path().join("kept"));
    zone.put(&gateway([Type::File("/dev/zero".to_owned())]));
    assert_eq!(
        zone.problem(),
        "the file /dev/zero cannot be read: it is not a file"
    );
}

#[tokio::test]
async fn nothing_shows_a_key() {
    let folder = TempDir::new().unwrap();
    let text = good();
    let mut zone = Zone::new(folder.path());
    let inline = Type::InlineString(text.clone());
    zone.put(&gateway([the_secret(), inline.clone()]));
    zone.put(&secret(&text));
    let shown = format!(
        "{:?} {:?} {:?} {inline:?} {:?}",
        zone.certificates,
        zone.view,
        secret(&text),
        gateway([inline.clone()]).decode::<MeshGateway>(),
    );
    let line = text.lines().nth_back(1).unwrap();
    assert!(!shown.contains(line), "{shown}");
    let numbers = format!("{:?}", &line.as_bytes()[..12]);
    assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
}
