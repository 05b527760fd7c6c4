//! What is used when certificates come, go bad, expire and come back after a restart.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use mesh_model::{MeshName, ResourceName, ResourceType, Spec};
use mesh_proto::mesh::MeshGateway;
use mesh_proto::mesh::mesh_gateway::listener::Protocol;
use mesh_proto::mesh::mesh_gateway::tls::{Conf as TlsConf, Mode};
use mesh_proto::mesh::mesh_gateway::{Conf, Listener};
use mesh_proto::system::data_source::Type;
use mesh_proto::system::{DataSource, Secret};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;
use zone_translate::Known;

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
    gateway_called("edge", certificates)
}

fn gateway_called(name: &str, certificates: impl IntoIterator<Item = Type>) -> Arc<Resource> {
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
    resource(ResourceType::MeshGateway, name, spec)
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
    certificates: Arc<Certificates>,
    view: ZoneView,
}

impl Zone {
    fn new(folder: &Path) -> Self {
        NOW.set(NOON);
        let mut certificates = Certificates::open(folder);
        certificates.now = now;
        certificates.look = look_into_pipes;
        Self {
            certificates: Arc::new(certificates),
            view: ZoneView::default(),
        }
    }

    /// Takes a resource, and looks at the files that are new.
    fn put(&mut self, resource: &Arc<Resource>) {
        self.follow([(resource.key(), Some(resource))]);
        self.look_at(true);
    }

    fn delete(&mut self, key: &Key) {
        self.follow([(key, None)]);
    }

    fn follow<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a Key, Option<&'a Arc<Resource>>)>,
    ) {
        self.certificates.follow(&mut self.view, changes);
    }

    /// Looks at files, without threads.
    fn look_at(&mut self, only_new: bool) {
        let mut state = self.certificates.state.lock();
        state.files.ask(Instant::now(), only_new);
        let begun = state.files.begin();
        drop(state);
        for (path, before) in begun {
            let found = (self.certificates.look)(&path, before.as_ref());
            self.certificates.looked(path, found);
        }
        self.follow([]);
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
    fn look(&mut self) -> bool {
        let news = self.certificates.news();
        self.look_at(false);
        news.has_changed().unwrap()
    }

    async fn keep(&self) -> bool {
        self.certificates.keep(&mut false).await
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
    let mut news = zone.certificates.news();
    let run = Arc::clone(&zone.certificates).run(Shutdown::never());
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
    zone.follow([]);
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
    assert!(zone.keep().await);
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
    assert!(zone.keep().await);
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
    assert!(zone.keep().await);
    let mut zone = Zone::new(folder.path());
    zone.certificates.state.lock().forget_leftovers();
    assert!(zone.keep().await);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    zone.put(&gateway([Type::InlineString(good())]));
    assert!(zone.keep().await);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    zone.certificates.state.lock().forget_leftovers();
    assert!(zone.keep().await);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_stops_no_certificates_and_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let mut zone = Zone::new(&file);
    let text = good();
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&text));
    assert!(is_read_as(&text, &zone.known()));
    assert!(!zone.keep().await);
    fs::remove_file(&file).unwrap();
    assert!(zone.keep().await);
    assert_eq!(fs::read_dir(&file).unwrap().count(), 1);
}

#[tokio::test]
async fn something_odd_among_what_is_kept_costs_nothing_else() {
    let folder = TempDir::new().unwrap();
    let text = good();
    let mut zone = Zone::new(folder.path());
    zone.put(&gateway([the_secret()]));
    zone.put(&secret(&text));
    assert!(zone.keep().await);
    // It cannot be removed as a file.
    fs::create_dir(folder.path().join("folder.new")).unwrap();
    fs::write(folder.path().join("rubbish.json"), "{").unwrap();
    let mut zone = Zone::new(folder.path());
    zone.put(&gateway([the_secret()]));
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

#[test]
fn a_file_is_followed_when_another_takes_its_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("edge.pem");
    let (first, second) = (good(), good());
    fs::write(&path, &first).unwrap();
    let mut zone = Zone::new(&folder.path().join("kept"));
    let file = Type::File(path.display().to_string());
    zone.put(&gateway([file]));
    assert!(is_read_as(&first, &zone.known()));
    assert!(!zone.look());

    let new = folder.path().join("edge.pem.new");
    fs::write(&new, &second).unwrap();
    fs::rename(&new, &path).unwrap();
    assert!(zone.look());
    assert!(is_read_as(&second, &zone.known()));

    fs::remove_file(&path).unwrap();
    assert!(zone.look());
    assert!(is_read_as(&second, &zone.known()));
    let problem = format!(
        "the file {} cannot be read: entity not found; the last good certificate stays",
        path.display()
    );
    assert_eq!(zone.problem(), problem);
    fs::write(&path, &first).unwrap();
    assert!(zone.look());
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(zone.problem(), "");
}

#[test]
fn a_file_is_followed_when_links_are_exchanged_as_kubernetes_does() {
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
    assert!(zone.look());
    assert!(is_read_as(&second, &zone.known()));
    assert_eq!(zone.problem(), "");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty").display().to_string();
    fs::write(&empty, "").unwrap();
    for (path, reason) in [
        ("/dev/zero", "it is not a file"),
        ("/proc/self/stat", "it is empty"),
        (&empty, "it is empty"),
    ] {
        let mut zone = Zone::new(&folder.path().join("kept"));
        zone.put(&gateway([Type::File(path.to_owned())]));
        let problem = format!("the file {path} cannot be read: {reason}");
        assert_eq!(zone.problem(), problem);
    }
}

/// Looks as ever, but also reads pipes.
fn look_into_pipes(path: &str, before: Option<&files::Seen>) -> Found {
    if !path.ends_with(".pipe") {
        return files::look(path, before);
    }
    let read = fs::read(path).map(Into::into);
    let seen = files::Seen::Nothing(std::io::ErrorKind::Other);
    Some((seen, read.map_err(|error| error.to_string())))
}

impl Zone {
    /// Takes a resource, and leaves looking to the service.
    fn take(&mut self, resource: &Arc<Resource>) {
        self.follow([(resource.key(), Some(resource))]);
    }

    /// Follows news until a source is as it should be.
    async fn until(&mut self, source: &Type, is_right: impl Fn(&Known) -> bool) {
        let mut news = self.certificates.news();
        let mut shown = None;
        let come = async {
            loop {
                self.follow([]);
                shown = self.known_of(source);
                if shown.as_ref().is_some_and(&is_right) {
                    return;
                }
                news.changed().await.unwrap();
            }
        };
        let come = tokio::time::timeout(Duration::from_secs(20), come).await;
        assert!(come.is_ok(), "{source:?} is {shown:?}");
    }

    /// What is used of a source, if it is in the view.
    fn known_of(&self, source: &Type) -> Option<Known> {
        let source = match source {
            Type::File(path) => Source::File(path.clone()),
            Type::Secret(name) => Source::Secret(name.clone()),
            Type::Inline(_) | Type::InlineString(_) => unreachable!("none is used here"),
        };
        let state = self.certificates.state.lock();
        let entry = state.entries.get(&(mesh(), source));
        entry.map(|entry| entry.known.clone())
    }
}

#[tokio::test]
async fn a_file_that_hangs_holds_up_nothing_else() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made_pipe = std::process::Command::new("mkfifo")
        .arg(at("hangs.pipe"))
        .status();
    assert!(made_pipe.unwrap().success());
    let (first, second, brief, late) = (good(), good(), made(-HOUR, 1), good());
    fs::write(at("edge.pem"), &first).unwrap();
    let kept = folder.path().join("kept");
    let mut zone = Zone::new(&kept);
    let run = tokio::spawn(Arc::clone(&zone.certificates).run(Shutdown::never()));

    let (hanging, edge) = (Type::File(at("hangs.pipe")), Type::File(at("edge.pem")));
    zone.take(&gateway_called("hanging", [hanging.clone()]));
    // Nothing is said of what may still be read in time.
    assert!(zone.known_of(&hanging).is_none());
    zone.take(&gateway_called("edge", [edge.clone(), the_secret()]));
    zone.take(&secret(&brief));
    zone.until(&edge, |known| is_read_as(&first, known)).await;
    zone.until(&the_secret(), |known| is_read_as(&brief, known))
        .await;

    // Others are followed, kept and judged.
    fs::write(at("edge.new"), &second).unwrap();
    fs::rename(at("edge.new"), at("edge.pem")).unwrap();
    zone.until(&edge, |known| is_read_as(&second, known)).await;
    NOW.set(NOON + 1);
    let expired = |known: &Known| {
        let problem = known.problem.as_ref();
        problem.is_some_and(|problem| problem.contains("expired at 2027-01-15T08:00:01Z"))
    };
    zone.until(&the_secret(), expired).await;
    while fs::read_dir(&kept).unwrap().count() < 2 {
        tokio::task::yield_now().await;
    }

    let path = at("hangs.pipe");
    let problem = format!("the file {path} cannot be read: it takes longer than 2 s");
    let hangs = |known: &Known| known.problem.as_ref() == Some(&problem);
    zone.until(&hanging, hangs).await;
    assert!(zone.certificates.state.lock().is_settled());

    // Once it can be read, it is.
    fs::write(at("hangs.pipe"), &late).unwrap();
    let mended = |known: &Known| is_read_as(&late, known) && known.problem.is_none();
    zone.until(&hanging, mended).await;
    // It hangs again with the next look; what was read stays.
    let stays = format!("{problem}; the last good certificate stays");
    let stays = |known: &Known| is_read_as(&late, known) && known.problem.as_ref() == Some(&stays);
    zone.until(&hanging, stays).await;
    fs::write(at("hangs.pipe"), &late).unwrap();
    run.abort();
}

#[test]
fn a_gateway_keeps_its_certificate_until_its_new_file_is_read() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (good(), good());
    fs::write(at("first.pem"), &first).unwrap();
    fs::write(at("second.pem"), &second).unwrap();
    let mut zone = Zone::new(&folder.path().join("kept"));
    zone.put(&gateway([Type::File(at("first.pem"))]));
    let edited = gateway([Type::File(at("second.pem"))]);
    zone.follow([(edited.key(), Some(&edited))]);
    assert!(is_read_as(&first, &zone.known()));
    assert_eq!(zone.problem(), "");
    assert!(!zone.certificates.state.lock().is_settled());
    zone.look_at(true);
    assert!(is_read_as(&second, &zone.known()));

    // One that is deleted meanwhile does not come back.
    let edited = gateway([Type::File(at("first.pem"))]);
    zone.follow([(edited.key(), Some(&edited))]);
    zone.delete(edited.key());
    zone.look_at(true);
    assert!(zone.view.certificate_sources().is_empty());
    assert!(zone.certificates.state.lock().entries.is_empty());
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
