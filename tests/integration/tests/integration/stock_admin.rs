//! Questions about proxies, with a stock control plane at either end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use mesh_harness::{Global, Upstream, Zone, ZoneOptions, eventually};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, labels};
use mesh_proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::mesh::global_kds_service_server::{GlobalKdsService, GlobalKdsServiceServer};
use mesh_proto::mesh::kds_sync_service_server::{KdsSyncService, KdsSyncServiceServer};
use mesh_proto::mesh::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, ZoneHealthCheckRequest, ZoneHealthCheckResponse, stats_response,
    xds_config_response,
};
use mesh_store::Batch;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::replay_global::plaintext_global;
use crate::support::{Call, ServerStream, metadata, request};

const ZONE: &str = "east";

/// A Dataplane `dp-1` of the zone, as the global keeps it.
pub(crate) async fn known_dataplane(global: &Global) -> anyhow::Result<()> {
    let labels = [
        (labels::ORIGIN, labels::ORIGIN_ZONE),
        (labels::ZONE, ZONE),
        (labels::DISPLAY_NAME, "dp-1"),
    ];
    let resource = Resource::new(
        Key::in_mesh(
            ResourceType::Dataplane,
            MeshName::parse("default")?,
            ResourceName::parse("dp-1-f4bvx7x6bwfv64wz")?,
        ),
        labels
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        Spec::parse(ResourceType::Dataplane, bytes::Bytes::new())?,
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    );
    global.store().commit(Batch::new().put(resource)).await?;
    Ok(())
}

type Stats = Call<StatsResponse, StatsRequest>;

async fn stats_of(global: &Global) -> anyhow::Result<Stats> {
    let channel = Channel::from_shared(format!("http://{}", global.kds))?;
    let mut client = GlobalKdsServiceClient::new(channel.connect().await?);
    let (tx, rx) = mpsc::channel(16);
    let asked = client.stream_stats(request(ReceiverStream::new(rx), &metadata(ZONE)));
    // A stock server says nothing, not even headers, before it asks.
    let rx = asked.await?.into_inner();
    Ok(Call { tx, rx })
}

/// Asks the global, while the zone does something else.
fn ask(global: &Global) -> tokio::task::JoinHandle<anyhow::Result<(u16, String)>> {
    let path = "/meshes/default/dataplanes/dp-1-f4bvx7x6bwfv64wz/stats";
    let url = format!("{}{path}", global.api.base());
    tokio::spawn(async move {
        let response = reqwest::get(url).await?;
        Ok((response.status().as_u16(), response.text().await?))
    })
}

fn answer(id: &str, result: stats_response::Result) -> StatsResponse {
    StatsResponse {
        request_id: id.to_owned(),
        result: Some(result),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_answers_oddly_spoils_no_other_answer() -> anyhow::Result<()> {
    let global = plaintext_global().await?;
    known_dataplane(&global).await?;
    // Nobody is there to ask.
    let (status, text) = ask(&global).await??;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("zone east cannot be asked"), "{text}");

    let mut zone = stats_of(&global).await?;
    let asked = ask(&global);
    let first = zone.hear().await?.expect("a question");
    assert_eq!(first.resource_type, "Dataplane");
    assert_eq!(first.resource_name, "dp-1");
    assert_eq!(first.resource_mesh, "default");
    assert!(first.used_only && first.format == 0, "as 2.14 asks");
    // Answers to no question, and one to this question that comes twice.
    let text = |text: &str| stats_response::Result::Stats(text.as_bytes().to_vec());
    zone.say(answer("never-asked", text("wrong"))).await;
    zone.say(answer(&first.request_id, text("right"))).await;
    zone.say(answer(&first.request_id, text("late"))).await;
    assert_eq!(asked.await??, (200, "right".to_owned()));

    // Two at a time, answered the other way round; one with an error.
    let (one, other) = (ask(&global), ask(&global));
    let (first, second) = (zone.hear().await?, zone.hear().await?);
    let (first, second) = (first.expect("a question"), second.expect("a question"));
    let error = stats_response::Result::Error("no such proxy".to_owned());
    zone.say(answer(&second.request_id, error)).await;
    zone.say(answer(&first.request_id, text("fine"))).await;
    let mut answers = [one.await??, other.await??];
    answers.sort();
    assert_eq!(answers[0], (200, "fine".to_owned()));
    let error: Value = serde_json::from_str(&answers[1].1)?;
    assert_eq!(answers[1].0, 400);
    assert_eq!(error["title"], "Could not execute admin operation");
    assert_eq!(error["detail"], "no such proxy");

    // An answer without a result is an empty one, as from a stock zone.
    let asked = ask(&global);
    let question = zone.hear().await?.expect("a question");
    zone.say(StatsResponse {
        request_id: question.request_id,
        result: None,
    })
    .await;
    assert_eq!(asked.await??, (200, String::new()));

    // A newer stream takes over, and who waits at the older one learns of its end.
    let asked = ask(&global);
    zone.hear().await?.expect("a question");
    let mut newer = stats_of(&global).await?;
    let (status, text) = asked.await??;
    assert_eq!(status, 400);
    assert!(text.contains("ended before it answered"), "{text}");
    let asked = eventually("the newer stream is asked", async || {
        let asked = ask(&global);
        let question = tokio::time::timeout(Duration::from_secs(1), newer.rx.message()).await;
        let question = question??.ok_or_else(|| anyhow::anyhow!("it ended"))?;
        newer
            .say(answer(&question.request_id, text_of("newer")))
            .await;
        asked.await?
    })
    .await;
    assert_eq!(asked, (200, "newer".to_owned()));

    // One that never answers.
    let asked = ask(&global);
    newer.hear().await?.expect("a question");
    let (status, text) = asked.await??;
    assert_eq!(status, 400);
    assert!(text.contains("did not answer within 12s"), "{text}");
    Ok(())
}

fn text_of(text: &str) -> stats_response::Result {
    stats_response::Result::Stats(text.as_bytes().to_vec())
}

/// A stock global that syncs nothing and asks for a config dump.
#[derive(Debug, Clone)]
struct StockGlobal {
    address: SocketAddr,
    questions: Vec<XdsConfigRequest>,
    answers: mpsc::Sender<XdsConfigResponse>,
}

impl Upstream for StockGlobal {
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

#[async_trait]
impl KdsSyncService for StockGlobal {
    type GlobalToZoneSyncStream = ServerStream<DeltaDiscoveryResponse>;

    async fn global_to_zone_sync(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::GlobalToZoneSyncStream>, Status> {
        Ok(Response::new(stream::pending().boxed()))
    }

    type ZoneToGlobalSyncStream = ServerStream<DeltaDiscoveryRequest>;

    async fn zone_to_global_sync(
        &self,
        _request: Request<Streaming<DeltaDiscoveryResponse>>,
    ) -> Result<Response<Self::ZoneToGlobalSyncStream>, Status> {
        Ok(Response::new(stream::pending().boxed()))
    }
}

#[async_trait]
impl GlobalKdsService for StockGlobal {
    type StreamXDSConfigsStream = ServerStream<XdsConfigRequest>;

    async fn stream_xds_configs(
        &self,
        request: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Self::StreamXDSConfigsStream>, Status> {
        let (mut inbound, answers) = (request.into_inner(), self.answers.clone());
        tokio::spawn(async move {
            while let Ok(Some(answer)) = inbound.message().await {
                let _ = answers.send(answer).await;
            }
        });
        let questions = self.questions.clone().into_iter().map(Ok);
        Ok(Response::new(
            stream::iter(questions).chain(stream::pending()).boxed(),
        ))
    }

    type StreamStatsStream = ServerStream<StatsRequest>;

    async fn stream_stats(
        &self,
        _request: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        Err(Status::unimplemented("not in this release"))
    }

    type StreamClustersStream = ServerStream<ClustersRequest>;

    async fn stream_clusters(
        &self,
        _request: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Self::StreamClustersStream>, Status> {
        Err(Status::internal("broken"))
    }

    async fn health_check(
        &self,
        _request: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        Ok(Response::new(ZoneHealthCheckResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_zone_answers_a_stock_global_each_question_once() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (answers, mut answered) = mpsc::channel(16);
    let question = |id: &str, ty: &str, mesh: &str, name: &str| XdsConfigRequest {
        request_id: id.to_owned(),
        resource_type: ty.to_owned(),
        resource_name: name.to_owned(),
        resource_mesh: mesh.to_owned(),
        include_eds: false,
    };
    let global = StockGlobal {
        address: listener.local_addr()?,
        questions: vec![
            question("1", "Dataplane", "default", "nosuch"),
            question("2", "ZoneIngress", "", "nosuch"),
            question("3", "Mesh", "", "default"),
            question("4", "Dataplane", "", "nosuch"),
            question("5", "Dataplane", "default", "Not A Name"),
        ],
        answers,
    };
    let service = global.clone();
    let server = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(KdsSyncServiceServer::new(service.clone()))
            .add_service(GlobalKdsServiceServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
    });
    let zone = Zone::start_alone(ZONE, &global, ZoneOptions::default()).await?;
    let mut errors = BTreeMap::new();
    while errors.len() < 5 {
        let answer = tokio::time::timeout(Duration::from_secs(20), answered.recv()).await?;
        let answer = answer.expect("the zone answers");
        let Some(xds_config_response::Result::Error(error)) = answer.result else {
            anyhow::bail!("no error to {}", answer.request_id);
        };
        let again = errors.insert(answer.request_id, error);
        assert_eq!(again, None, "each question has one answer");
    }
    assert_eq!(errors["1"], "zone east has no Dataplane default/nosuch");
    assert_eq!(errors["2"], "zone east has no ZoneIngress nosuch");
    assert_eq!(errors["3"], "\"Mesh\" is no type of proxies");
    assert!(errors["4"].contains("mesh"), "{}", errors["4"]);
    assert!(errors["5"].starts_with("name: "), "{}", errors["5"]);
    // A stream that the global lacks, and one that it breaks off, end no other.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(answered.try_recv().is_err());
    drop(zone.stop().await?);
    server.abort();
    Ok(())
}
