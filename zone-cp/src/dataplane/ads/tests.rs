use std::collections::BTreeMap as Map;
use std::time::Duration;

use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp};
use mesh_proto::core::Node;
use mesh_proto::health::health_check_request_or_endpoint_health_response::RequestType;
use mesh_proto::health::{HealthCheckRequest, HealthCheckRequestOrEndpointHealthResponse};
use mesh_proto::system::Secret;
use mesh_runtime::clock;
use mesh_runtime::tokens::{self, DataplaneClaims, SigningKey, names};
use mesh_store::{Batch, Store as _};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;

use super::*;
use crate::dataplane::auth::ProxyAuth;
use crate::testing::{Scripted, dataplane_key, gateway, soon};

struct Zone {
    store: Arc<Scripted>,
    ads: Ads,
}

/// An Envoy's end of its stream.
struct Envoy {
    requests: mpsc::Sender<Result<DeltaDiscoveryRequest, Status>>,
    answers: mpsc::Receiver<Answer>,
}

async fn zone(auth: ProxyAuth) -> Zone {
    let store = Scripted::with_mesh().await;
    let shared: SharedStore = Arc::clone(&store) as SharedStore;
    let zone = ZoneName::parse("zone-1").unwrap();
    let shutdown = Shutdown::never();
    let registrar = Registrar::new(Arc::clone(&shared), zone.clone(), auth, shutdown.clone());
    let second = Duration::from_secs(1);
    let config = Config {
        registrar: Arc::new(registrar),
        insights: Arc::new(InsightBook::new(Arc::clone(&shared), "cp", 2, second)),
        store: shared,
        zone,
        instance_id: "cp".to_owned(),
        certificates: Arc::new(Certificates::unkept()),
        places: Arc::default(),
        live: Arc::default(),
        authority: None,
        refused_routes: Arc::new(RefusedRoutes::unkept()),
        settings: Settings::default(),
        metrics: Metrics::default(),
    };
    Zone {
        store,
        ads: Ads::new(config, shutdown),
    }
}

fn introduction(resource: &str) -> DeltaDiscoveryRequest {
    let resource = Value {
        kind: Some(Kind::StringValue(resource.to_owned())),
    };
    let metadata = Struct {
        fields: [("dataplane.resource".to_owned(), resource)].into(),
    };
    DeltaDiscoveryRequest {
        node: Some(Node {
            id: "default.edge".to_owned(),
            metadata: Some(metadata),
            ..Default::default()
        }),
        type_url: zone_translate::EnvoyType::Cluster.type_url().to_owned(),
        ..Default::default()
    }
}

impl Zone {
    async fn connect(&self, resource: &str, token: Option<String>) -> Envoy {
        let (requests, inbound) = mpsc::channel(1);
        let inbound = ReceiverStream::<Result<_, Status>>::new(inbound);
        let inbound = inbound.map(|request| request.map(Incoming::Delta));
        let answers = self.ads.start(inbound, token);
        requests.send(Ok(introduction(resource))).await.unwrap();
        Envoy { requests, answers }
    }

    /// Waits until the Dataplane is stored, or is not.
    async fn is_stored(&self, expected: bool) {
        let key = dataplane_key("edge");
        let mut watch = self.store.watch();
        let is_so = |s: &mesh_store::Snapshot| s.get(&key).is_some() == expected;
        soon(watch.wait_for(is_so)).await.unwrap();
    }

    fn registrar(&self) -> &Arc<Registrar> {
        &self.ads.inner.config.registrar
    }
}

impl Envoy {
    /// The status with which its stream ends.
    async fn end(mut self) -> Status {
        let end = async {
            loop {
                match self.answers.recv().await.expect("a status is the last") {
                    Ok(_) => {}
                    Err(status) => return status,
                }
            }
        };
        let deadline = Duration::from_secs(30);
        let end = tokio::time::timeout(deadline, end).await;
        end.expect("the stream ends")
    }

    async fn hang_up(self) -> Status {
        let Self { requests, answers } = self;
        drop(requests);
        let (requests, _inbound) = mpsc::channel(1);
        Self { requests, answers }.end().await
    }
}

/// Lets everything happen that can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_proxy_whose_dataplane_is_deleted_registers_again() {
    let zone = zone(ProxyAuth::Off).await;
    let envoy = zone.connect(&gateway("edge"), None).await;
    zone.is_stored(true).await;
    settle().await;
    let key = dataplane_key("edge");
    zone.store.commit(Batch::new().delete(key)).await.unwrap();
    let end = envoy.end().await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");

    let _envoy = zone.connect(&gateway("edge"), None).await;
    zone.is_stored(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_said_goodbye_keeps_its_stream_and_gets_no_other() {
    let zone = zone(ProxyAuth::Off).await;
    let envoy = zone.connect(&gateway("edge"), None).await;
    zone.is_stored(true).await;
    let key = dataplane_key("edge");
    zone.registrar().deregister(&key, None).await.unwrap();
    settle().await;
    let again = zone.connect(&gateway("edge"), None).await.end().await;
    assert_eq!(again.code(), Code::Unavailable, "{again}");
    zone.is_stored(false).await;

    // A new agent's Envoy is another matter.
    zone.registrar().expect(&key);
    let new = zone.connect(&gateway("edge"), None).await;
    zone.is_stored(true).await;
    settle().await;
    assert_eq!(envoy.hang_up().await.code(), Code::Cancelled);
    assert_eq!(new.hang_up().await.code(), Code::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_and_kept_of_a_refusal_is_bounded() {
    let zone = zone(ProxyAuth::Off).await;
    let resource = format!(r#"{{"type": "é{}"}}"#, "é".repeat(100_000));
    let end = zone.connect(&resource, None).await.end().await;
    assert_eq!(end.code(), Code::InvalidArgument);
    assert!(
        end.message().len() <= MAX_REFUSAL,
        "{}",
        end.message().len()
    );
    let refusals = zone.ads.inner.refusals.lock();
    let kept: Vec<usize> = refusals.values().map(String::len).collect();
    assert_eq!(kept, [end.message().len()]);
}

fn health_request(id: &str) -> HealthCheckRequestOrEndpointHealthResponse {
    let node = Some(Node {
        id: id.to_owned(),
        ..Default::default()
    });
    HealthCheckRequestOrEndpointHealthResponse {
        request_type: Some(RequestType::HealthCheckRequest(HealthCheckRequest { node })),
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_reports_its_health_waits_for_its_registration_and_stays() {
    let zone = zone(ProxyAuth::Off).await;
    let (reports, inbound) = mpsc::channel(1);
    let mut answers = zone.ads.start_health(ReceiverStream::new(inbound), None);
    let request = || Ok(health_request("default.edge"));
    reports.send(request()).await.unwrap();
    settle().await;
    assert!(answers.try_recv().is_err(), "nothing is known of it yet");
    let envoy = zone.connect(&gateway("edge"), None).await;
    assert!(
        answers.recv().await.unwrap().is_ok(),
        "it is asked for checks"
    );
    for _ in 0..10 {
        reports.send(request()).await.unwrap();
    }
    settle().await;
    assert!(answers.try_recv().is_err(), "reports are not answered");
    drop(reports);
    let end = answers.recv().await.unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Cancelled, "{end}");
    drop(envoy);
}

#[tokio::test(start_paused = true)]
async fn who_reports_health_for_nobody_or_without_a_token_is_turned_away() {
    let zone = zone(ProxyAuth::Token).await;
    let end = async |id: &str| {
        let (reports, inbound) = mpsc::channel(1);
        let mut answers = zone.ads.start_health(ReceiverStream::new(inbound), None);
        reports.send(Ok(health_request(id))).await.unwrap();
        answers.recv().await.unwrap().unwrap_err()
    };
    assert_eq!(end("default.nobody").await.code(), Code::NotFound);
    assert_eq!(end("nonsense").await.code(), Code::InvalidArgument);
    let document = serde_json::from_str(&gateway("edge")).unwrap();
    let spec = parse_document(&document).unwrap().spec;
    let at = Timestamp::EPOCH;
    let dataplane = Resource::new(dataplane_key("edge"), Map::new(), spec, at, at);
    zone.store
        .commit(Batch::new().put(dataplane))
        .await
        .unwrap();
    assert_eq!(end("default.edge").await.code(), Code::Unauthenticated);
}

fn key_secret(key: &SigningKey) -> Resource {
    let data = Some(key.to_pem().into_bytes());
    let name = names::secret_name(&names::dataplane_key("default"), 1);
    Resource::new(
        Key::in_mesh(
            ResourceType::Secret,
            MeshName::parse("default").unwrap(),
            ResourceName::parse(&name).unwrap(),
        ),
        Map::new(),
        Spec::encode(ResourceType::Secret, &Secret { data }),
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    )
}

fn token(key: &SigningKey, seconds: u64) -> String {
    let claims = DataplaneClaims {
        name: "edge".to_owned(),
        mesh: "default".to_owned(),
        ..DataplaneClaims::default()
    };
    let validity = Duration::from_secs(seconds);
    tokens::issue(key, "1", &claims, clock::now(), validity).unwrap()
}

// Tokens go by the wall clock, so that this one runs in real time.
#[tokio::test]
async fn a_silent_proxy_is_ended_when_its_token_expires() {
    let zone = zone(ProxyAuth::Token).await;
    let key = SigningKey::generate().unwrap();
    let secret = key_secret(&key);
    zone.store.commit(Batch::new().put(secret)).await.unwrap();
    let envoy = zone.connect(&gateway("edge"), Some(token(&key, 2))).await;
    zone.is_stored(true).await;
    let end = envoy.end().await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    assert!(end.message().contains("expired"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_checked_yet_is_not_called_invalid() {
    let zone = zone(ProxyAuth::Token).await;
    let key = SigningKey::generate().unwrap();
    let connect = async |key: &SigningKey| {
        let token = Some(token(key, 3600));
        zone.connect(&gateway("edge"), token).await.end().await
    };
    let end = connect(&key).await;
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(end.message().contains("has no signing key here"), "{end}");

    let other = key_secret(&SigningKey::generate().unwrap());
    zone.store.commit(Batch::new().put(other)).await.unwrap();
    let end = connect(&key).await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end}");
}
