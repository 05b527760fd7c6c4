//! The questions about proxies that a global asks its zones: three kinds, each on a bidirectional
//! stream that the zone opens, on which the global asks and the zone answers.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mesh_model::{Key, MeshName, ResourceName, ResourceType};
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_proto::mesh::{
    AdminOutputFormat, ClustersRequest, ClustersResponse, StatsRequest, StatsResponse,
    XdsConfigRequest, XdsConfigResponse, clusters_response, stats_response, xds_config_response,
};
use mesh_runtime::proxy_admin::{AskProxy, Format, Operation};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::receipt::Receive;

/// A proxy, as its zone calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Dataplane, `ZoneIngress` or `ZoneEgress`.
    pub ty: String,
    /// Its mesh; empty where the type has none.
    pub mesh: String,
    /// Its name in the zone.
    pub name: String,
}

impl Proxy {
    /// Its key in the zone.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn key(&self) -> Result<Key, String> {
        let Self { ty, mesh, name } = self;
        let is_proxy = |ty: &ResourceType| {
            matches!(
                ty,
                ResourceType::Dataplane | ResourceType::ZoneIngress | ResourceType::ZoneEgress
            )
        };
        let kind: ResourceType = ty
            .parse()
            .ok()
            .filter(is_proxy)
            .ok_or_else(|| format!("{ty:?} is no type of proxies"))?;
        let mesh = (!mesh.is_empty()).then(|| MeshName::parse(mesh));
        let mesh = mesh.transpose().map_err(|error| format!("mesh: {error}"))?;
        let name = ResourceName::parse(name).map_err(|error| format!("name: {error}"))?;
        Key::try_new(kind, mesh, name).ok_or_else(|| format!("a {kind} with or without a mesh"))
    }
}

/// A question about a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) proxy: Proxy,
    pub(crate) operation: Operation,
}

/// Where a zone finds answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(crate) proxies: Option<Arc<dyn AskProxy>>,
    pub(crate) receipts: Option<Arc<dyn Receive>>,
}

/// One kind of questions, as it is on the wire.
#[async_trait]
pub(crate) trait Dialogue: Send + 'static {
    /// What is asked.
    type Question: Send + Sync;
    /// What is answered.
    type Answer: Send + 'static;
    /// What the global says.
    type Request: fmt::Debug + Send + 'static;
    /// What the zone says.
    type Response: Send + prost::Message + 'static;

    /// Opens the stream, as a zone.
    async fn open(
        channel: Channel,
        answers: tonic::Request<ReceiverStream<Self::Response>>,
    ) -> Result<tonic::Response<Streaming<Self::Request>>, Status>;

    /// A question; `None` if it is one of another kind.
    fn ask(id: String, question: &Self::Question) -> Option<Self::Request>;

    /// What a question is about.
    fn read(request: Self::Request) -> (String, Self::Question);

    /// Finds the answer, as a zone.
    async fn find(sources: &Sources, question: &Self::Question) -> Result<Self::Answer, String>;

    /// An answer.
    fn answer(id: String, result: Result<Self::Answer, String>) -> Self::Response;

    /// What an answer says. One that says nothing is empty.
    fn result(response: Self::Response) -> (String, Result<Self::Answer, String>);
}

fn client(channel: Channel) -> GlobalKdsServiceClient<Channel> {
    GlobalKdsServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip)
}

async fn ask_proxy(sources: &Sources, question: &Question) -> Result<Bytes, String> {
    let proxies = sources.proxies.as_ref();
    let proxies = proxies.ok_or_else(|| "this zone asks no proxies".to_owned())?;
    let key = question.proxy.key()?;
    let answer = proxies.ask(&key, question.operation).await;
    answer.map_err(|error| error.to_string())
}

/// `StreamXDSConfigs`.
#[derive(Debug)]
pub(crate) struct ConfigDumps;
/// `StreamStats`.
#[derive(Debug)]
pub(crate) struct Stats;
/// `StreamClusters`.
#[derive(Debug)]
pub(crate) struct Clusters;

fn format_of(number: i32) -> Format {
    match AdminOutputFormat::try_from(number) {
        Ok(AdminOutputFormat::Json) => Format::Json,
        _ => Format::Text,
    }
}

fn to_number(format: Format) -> i32 {
    i32::from(match format {
        Format::Text => AdminOutputFormat::Text,
        Format::Json => AdminOutputFormat::Json,
    })
}

#[async_trait]
impl Dialogue for ConfigDumps {
    type Question = Question;
    type Answer = Bytes;
    type Request = XdsConfigRequest;
    type Response = XdsConfigResponse;

    async fn open(
        channel: Channel,
        answers: tonic::Request<ReceiverStream<Self::Response>>,
    ) -> Result<tonic::Response<Streaming<Self::Request>>, Status> {
        client(channel).stream_xds_configs(answers).await
    }

    fn ask(id: String, question: &Question) -> Option<Self::Request> {
        let Question { proxy, operation } = question;
        let &Operation::ConfigDump { include_eds } = operation else {
            return None;
        };
        Some(XdsConfigRequest {
            request_id: id,
            resource_type: proxy.ty.clone(),
            resource_name: proxy.name.clone(),
            resource_mesh: proxy.mesh.clone(),
            include_eds,
        })
    }

    async fn find(sources: &Sources, question: &Question) -> Result<Bytes, String> {
        ask_proxy(sources, question).await
    }

    fn read(request: Self::Request) -> (String, Question) {
        let proxy = Proxy {
            ty: request.resource_type,
            mesh: request.resource_mesh,
            name: request.resource_name,
        };
        let include_eds = request.include_eds;
        let operation = Operation::ConfigDump { include_eds };
        (request.request_id, Question { proxy, operation })
    }

    fn answer(id: String, result: Result<Bytes, String>) -> Self::Response {
        XdsConfigResponse {
            request_id: id,
            result: Some(match result {
                Ok(config) => xds_config_response::Result::Config(config.into()),
                Err(error) => xds_config_response::Result::Error(error),
            }),
        }
    }

    fn result(response: Self::Response) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(xds_config_response::Result::Config(config)) => Ok(config.into()),
            Some(xds_config_response::Result::Error(error)) => Err(error),
            None => Ok(Bytes::new()),
        };
        (response.request_id, result)
    }
}

#[async_trait]
impl Dialogue for Stats {
    type Question = Question;
    type Answer = Bytes;
    type Request = StatsRequest;
    type Response = StatsResponse;

    async fn open(
        channel: Channel,
        answers: tonic::Request<ReceiverStream<Self::Response>>,
    ) -> Result<tonic::Response<Streaming<Self::Request>>, Status> {
        client(channel).stream_stats(answers).await
    }

    fn ask(id: String, question: &Question) -> Option<Self::Request> {
        let Question { proxy, operation } = question;
        let &Operation::Stats { format, used_only } = operation else {
            return None;
        };
        Some(StatsRequest {
            request_id: id,
            resource_type: proxy.ty.clone(),
            resource_name: proxy.name.clone(),
            resource_mesh: proxy.mesh.clone(),
            format: to_number(format),
            used_only,
        })
    }

    async fn find(sources: &Sources, question: &Question) -> Result<Bytes, String> {
        ask_proxy(sources, question).await
    }

    fn read(request: Self::Request) -> (String, Question) {
        let proxy = Proxy {
            ty: request.resource_type,
            mesh: request.resource_mesh,
            name: request.resource_name,
        };
        let operation = Operation::Stats {
            format: format_of(request.format),
            used_only: request.used_only,
        };
        (request.request_id, Question { proxy, operation })
    }

    fn answer(id: String, result: Result<Bytes, String>) -> Self::Response {
        StatsResponse {
            request_id: id,
            result: Some(match result {
                Ok(stats) => stats_response::Result::Stats(stats.into()),
                Err(error) => stats_response::Result::Error(error),
            }),
        }
    }

    fn result(response: Self::Response) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(stats_response::Result::Stats(stats)) => Ok(stats.into()),
            Some(stats_response::Result::Error(error)) => Err(error),
            None => Ok(Bytes::new()),
        };
        (response.request_id, result)
    }
}

#[async_trait]
impl Dialogue for Clusters {
    type Question = Question;
    type Answer = Bytes;
    type Request = ClustersRequest;
    type Response = ClustersResponse;

    async fn open(
        channel: Channel,
        answers: tonic::Request<ReceiverStream<Self::Response>>,
    ) -> Result<tonic::Response<Streaming<Self::Request>>, Status> {
        client(channel).stream_clusters(answers).await
    }

    fn ask(id: String, question: &Question) -> Option<Self::Request> {
        let Question { proxy, operation } = question;
        let &Operation::Clusters { format } = operation else {
            return None;
        };
        Some(ClustersRequest {
            request_id: id,
            resource_type: proxy.ty.clone(),
            resource_name: proxy.name.clone(),
            resource_mesh: proxy.mesh.clone(),
            format: to_number(format),
        })
    }

    async fn find(sources: &Sources, question: &Question) -> Result<Bytes, String> {
        ask_proxy(sources, question).await
    }

    fn read(request: Self::Request) -> (String, Question) {
        let proxy = Proxy {
            ty: request.resource_type,
            mesh: request.resource_mesh,
            name: request.resource_name,
        };
        let format = format_of(request.format);
        let operation = Operation::Clusters { format };
        (request.request_id, Question { proxy, operation })
    }

    fn answer(id: String, result: Result<Bytes, String>) -> Self::Response {
        ClustersResponse {
            request_id: id,
            result: Some(match result {
                Ok(clusters) => clusters_response::Result::Clusters(clusters.into()),
                Err(error) => clusters_response::Result::Error(error),
            }),
        }
    }

    fn result(response: Self::Response) -> (String, Result<Bytes, String>) {
        let result = match response.result {
            Some(clusters_response::Result::Clusters(clusters)) => Ok(clusters.into()),
            Some(clusters_response::Result::Error(error)) => Err(error),
            None => Ok(Bytes::new()),
        };
        (response.request_id, result)
    }
}
