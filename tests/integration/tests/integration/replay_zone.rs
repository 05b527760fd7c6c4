//! Our zone against recorded stock globals: it asks, takes and reports as a stock zone does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use mesh_harness::{Upstream, Zone, ZoneOptions, eventually};
use mesh_model::{ResourceType, labels};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::mesh::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::recorded::{self, DOWN, Recording, UP, resources, resources_by_display_name, shape};
use crate::replay_global::served_down;
use crate::support::{ServerStream, ack};

const ZONE: &str = "zone-1";

/// A global that says what a recorded one said, and notes what it hears.
#[derive(Debug, Default)]
struct Heard {
    metadata: Mutex<BTreeMap<&'static str, Vec<(String, String)>>>,
    requests: Mutex<Vec<DeltaDiscoveryRequest>>,
    responses: Mutex<Vec<DeltaDiscoveryResponse>>,
    /// Where more can be said to the zone.
    say: Mutex<Option<mpsc::Sender<Result<DeltaDiscoveryResponse, Status>>>>,
}

#[derive(Debug, Clone)]
struct Scripted {
    recording: Arc<Recording>,
    heard: Arc<Heard>,
}

impl Scripted {
    async fn note_metadata(&self, method: &'static str, metadata: &tonic::metadata::MetadataMap) {
        let pairs = metadata.iter().filter_map(|pair| match pair {
            tonic::metadata::KeyAndValueRef::Ascii(name, value) => {
                Some((name.to_string(), value.to_str().ok()?.to_owned()))
            }
            tonic::metadata::KeyAndValueRef::Binary(..) => None,
        });
        self.heard
            .metadata
            .lock()
            .await
            .insert(method, pairs.collect());
    }
}

#[async_trait]
impl KdsSyncService for Scripted {
    type GlobalToZoneSyncStream = ServerStream<DeltaDiscoveryResponse>;

    async fn global_to_zone_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        self.note_metadata(DOWN, request.metadata()).await;
        let mut inbound = request.into_inner();
        let this = self.clone();
        let (tx, rx) = mpsc::channel(64);
        *self.heard.say.lock().await = Some(tx.clone());
        tokio::spawn(async move {
            let responses = this.recording.first_responses(DOWN, "global");
            while let Ok(Some(request)) = inbound.message().await {
                let response = responses.get(&request.type_url);
                if request.response_nonce.is_empty()
                    && let Some(response) = response
                {
                    let _ = tx.send(Ok(response.clone())).await;
                }
                this.heard.requests.lock().await.push(request);
            }
        });
        Ok(Response::new(ReceiverStream::new(rx).boxed()))
    }

    type ZoneToGlobalSyncStream = ServerStream<DeltaDiscoveryRequest>;

    async fn zone_to_global_sync(
        &self,
        request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        self.note_metadata(UP, request.metadata()).await;
        let mut inbound = request.into_inner();
        let this = self.clone();
        let (tx, rx) = mpsc::channel(64);
        tokio::spawn(async move {
            for subscription in this.recording.subscriptions(UP, "global") {
                let _ = tx.send(Ok(subscription)).await;
            }
            while let Ok(Some(response)) = inbound.message().await {
                let _ = tx.send(Ok(ack(ZONE, &response))).await;
                this.heard.responses.lock().await.push(response);
            }
        });
        Ok(Response::new(ReceiverStream::new(rx).boxed()))
    }
}

#[derive(Debug)]
struct ScriptedGlobal {
    address: SocketAddr,
    heard: Arc<Heard>,
    task: tokio::task::JoinHandle<()>,
}

impl ScriptedGlobal {
    async fn start(recording: Arc<Recording>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Heard::default());
        let service = Scripted {
            recording,
            heard: Arc::clone(&heard),
        };
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(KdsSyncServiceServer::new(service))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            heard,
            task,
        }
    }
}

impl Drop for ScriptedGlobal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream for ScriptedGlobal {
    fn kds(&self) -> SocketAddr {
        self.address
    }

    fn ca_file(&self) -> PathBuf {
        PathBuf::from("unused")
    }

    fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_zone_speaks_with_recorded_globals_as_stock_zones_do() -> anyhow::Result<()> {
    for recording in recorded::all() {
        let recording = Arc::new(recording);
        let global = ScriptedGlobal::start(Arc::clone(&recording)).await;
        let zone = Zone::start_alone(ZONE, &global, ZoneOptions::default()).await?;
        takes_what_the_global_owns(&recording, &global, &zone).await?;
        asks_as_a_stock_zone(&recording, &global).await;
        reports_as_a_stock_zone(&recording, &global, &zone).await?;
        let changes = follows_changes(&recording, &global, &zone).await?;
        eprintln!(
            "{}, from the global: {changes} changes taken as they were said",
            recording.name
        );
        drop(zone.stop().await?);
    }
    Ok(())
}

async fn takes_what_the_global_owns(
    recording: &Recording,
    global: &ScriptedGlobal,
    zone: &Zone,
) -> anyhow::Result<()> {
    let what = recording.name;
    let mut expected = BTreeMap::new();
    for (ty, response) in recording.first_responses(DOWN, "global") {
        if !served_down().contains(&ty) {
            continue;
        }
        for sent in resources(&response).into_values() {
            let mut labels = sent.labels;
            // A 2.5 global labels nothing; what it sends is its own all the same.
            labels.insert(labels::ORIGIN.into(), labels::ORIGIN_GLOBAL.into());
            let key = match sent.mesh.as_str() {
                "" => format!("{ty} {}", sent.name),
                mesh => format!("{ty} {mesh}/{}", sent.name),
            };
            expected.insert(key, (labels, sent.spec));
        }
    }
    assert!(expected.len() >= 8, "{what}: {:?}", expected.keys());
    eventually(
        &format!("{what}: everything in the zone's store"),
        async || {
            let snapshot = zone.store.snapshot();
            let stored: BTreeMap<String, _> = ResourceType::reaching_zones()
                .flat_map(|ty| snapshot.list(ty))
                // The zone has secrets of its own, too.
                .filter(|r| r.label(labels::ORIGIN) == Some(labels::ORIGIN_GLOBAL))
                .map(|r| {
                    let content = (BTreeMap::clone(r.labels()), r.spec().bytes().to_vec());
                    (r.key().to_string(), content)
                })
                .collect();
            let keys = |map: &BTreeMap<String, _>| map.keys().cloned().collect::<Vec<_>>();
            anyhow::ensure!(keys(&stored) == keys(&expected), "{:#?}", keys(&stored));
            assert_eq!(stored, expected, "{what}");
            Ok(())
        },
    )
    .await;
    // Every type was ACKed.
    eventually(&format!("{what}: ACKs"), async || {
        let requests = global.heard.requests.lock().await;
        let acked = requests.iter().filter(|r| !r.response_nonce.is_empty());
        let acked: BTreeSet<_> = acked.map(|r| r.type_url.clone()).collect();
        let answered: BTreeSet<_> = recording
            .first_responses(DOWN, "global")
            .into_keys()
            .collect();
        anyhow::ensure!(acked == answered, "{acked:?}");
        Ok(())
    })
    .await;
    Ok(())
}

/// Says each recorded change, and looks for it in the zone's store; how many there were.
async fn follows_changes(
    recording: &Recording,
    global: &ScriptedGlobal,
    zone: &Zone,
) -> anyhow::Result<usize> {
    let what = recording.name;
    let mut count = 0;
    for change in recording.changes(DOWN, "global") {
        let ty: ResourceType = change.type_url.parse()?;
        let say = global.heard.say.lock().await.clone();
        say.expect("the zone asked")
            .send(Ok(change.clone()))
            .await?;
        eventually(
            &format!("{what}: the ACK of {}", change.nonce),
            async || {
                let requests = global.heard.requests.lock().await;
                let answer = requests
                    .iter()
                    .find(|r| r.type_url == change.type_url && r.response_nonce == change.nonce);
                let answer = answer.ok_or_else(|| anyhow::anyhow!("no answer"))?;
                anyhow::ensure!(answer.error_detail.is_none(), "{answer:?}");
                Ok(())
            },
        )
        .await;
        // The answer comes when it is stored.
        let snapshot = zone.store.snapshot();
        let stored: BTreeMap<String, _> = snapshot
            .list(ty)
            .map(|r| (format!("{}.{}", r.key().name(), r.key().mesh_str()), r))
            .collect();
        for (name, sent) in resources(&change) {
            let stored = stored
                .get(&name)
                .unwrap_or_else(|| panic!("{what}: {ty} {name}"));
            assert_eq!(stored.spec().bytes(), &sent.spec, "{what}: {ty} {name}");
            for (label, value) in &sent.labels {
                assert_eq!(
                    stored.label(label),
                    Some(value.as_str()),
                    "{what}: {ty} {name}"
                );
            }
        }
        for removed in &change.removed_resources {
            assert!(!stored.contains_key(removed), "{what}: {ty} {removed}");
        }
        count += 1;
    }
    Ok(count)
}

async fn asks_as_a_stock_zone(recording: &Recording, global: &ScriptedGlobal) {
    let what = recording.name;
    let requests = global.heard.requests.lock().await.clone();
    let stock = recording.subscriptions(DOWN, "zone");
    let stock_ack = shape(&recording.ack(DOWN, "zone"));
    for request in &requests {
        let shape_of_ours = shape(request);
        assert_eq!(
            request.node.as_ref().map(|n| n.id.as_str()),
            Some(ZONE),
            "{what}"
        );
        if !request.response_nonce.is_empty() {
            assert_eq!(shape_of_ours, stock_ack, "{what}: {}", request.type_url);
            continue;
        }
        let same = stock
            .iter()
            .find(|stock| stock.type_url == request.type_url);
        // A zone asks for all that it knows: one of 2.5 knows fewer types.
        let mut expected = shape(match recording.is_zone_new() {
            true => same.expect("a stock zone asks for it too"),
            false => same.unwrap_or(&stock[0]),
        });
        let id = "node.metadata.control-plane-id".to_owned();
        if !expected.contains(&id) {
            // 2.5 does not say which instance it is.
            expected.insert(2, id);
        }
        assert_eq!(shape_of_ours, expected, "{what}: {}", request.type_url);
    }
    let metadata = global.heard.metadata.lock().await;
    for method in [DOWN, UP] {
        let ours = &metadata[method];
        for (name, value) in recording.metadata(method) {
            let is_there = match name.as_str() {
                // Ours is another release.
                "version" => ours.iter().any(|(n, _)| *n == name),
                _ => ours.contains(&(name.clone(), value.clone())),
            };
            assert!(is_there, "{what}: {method} lacks {name}: {value}");
        }
    }
}

async fn reports_as_a_stock_zone(
    recording: &Recording,
    global: &ScriptedGlobal,
    zone: &Zone,
) -> anyhow::Result<()> {
    let what = recording.name;
    let reports: Vec<DeltaDiscoveryResponse> = recording.said(UP, "zone");
    let reported = reports.iter().filter(|r| r.type_url == "Dataplane");
    let by_name = match recording.is_mixed() {
        true => resources_by_display_name,
        false => resources,
    };
    let stock: BTreeMap<_, _> = reported.flat_map(by_name).collect();
    for sent in stock.values() {
        // What its owner wrote: the zone adds its tag and its labels itself.
        let spec = mesh_model::Spec::parse(ResourceType::Dataplane, sent.spec.clone().into())?;
        let name = sent.labels.get(labels::DISPLAY_NAME).unwrap_or(&sent.name);
        let mut document = mesh_model::json::encode_spec(&spec);
        document.insert("type".to_owned(), "Dataplane".into());
        document.insert("mesh".to_owned(), sent.mesh.clone().into());
        document.insert("name".to_owned(), name.clone().into());
        zone.api.apply(&document.into()).await?;
    }
    let heard = eventually(&format!("{what}: reports"), async || {
        let responses = global.heard.responses.lock().await.clone();
        let of_type = responses.iter().filter(|r| r.type_url == "Dataplane");
        let ours: BTreeMap<_, _> = of_type.flat_map(by_name).collect();
        anyhow::ensure!(ours.keys().eq(stock.keys()), "{:?}", ours.keys());
        Ok((responses, ours))
    })
    .await;
    let (responses, ours) = heard;
    for (name, stock) in &stock {
        let ours = &ours[name];
        assert_eq!(ours.spec, stock.spec, "{what}: {name}");
        if recording.is_zone_new() && recording.is_global_new() {
            assert_eq!(ours.labels, stock.labels, "{what}: {name}");
            assert_eq!(ours.version, stock.version, "{what}: {name}");
        } else {
            for (label, value) in &stock.labels {
                assert_eq!(ours.labels.get(label), Some(value), "{what}: {name}");
            }
        }
    }
    // Types that a stock global asks for and that are not offered here have no answer.
    let up: BTreeSet<&str> = ResourceType::leaving_zones()
        .map(ResourceType::name)
        .collect();
    for response in &responses {
        assert!(
            up.contains(response.type_url.as_str()),
            "{what}: {}",
            response.type_url
        );
        let identifier = response
            .control_plane
            .as_ref()
            .map(|cp| cp.identifier.as_str());
        assert_eq!(identifier, Some(ZONE), "{what}");
        assert!(response.removed_resources.is_empty(), "{what}");
    }
    Ok(())
}
