//! The global's half of the questions that it asks zones.
//!
//! A zone holds one stream for each kind of question. Whoever asks registers before the question
//! leaves, waits a while, and is all that an answer which never comes costs. Answers that nobody
//! waits for, or not any more, are passed over.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mesh_model::ZoneName;
use mesh_proto::mesh::global_kds_service_server::GlobalKdsService;
use mesh_proto::mesh::{
    ClustersRequest, ClustersResponse, StatsRequest, StatsResponse, XdsConfigRequest,
    XdsConfigResponse, ZoneHealthCheckRequest, ZoneHealthCheckResponse,
};
use mesh_runtime::proxy_admin::{AskError, Operation};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::door::Entered;
use super::registry::StreamKind;
use super::{Call, Server, ServerStream};
use crate::admin::{Clusters, ConfigDumps, Dialogue, Proxy, Question, Stats};
use crate::receipt::Receipts;
use crate::stream::End;

/// How long an answer may take. A zone gives its proxy 10 s.
const PATIENCE: Duration = Duration::from_secs(12);
/// How many questions of a kind may wait for a zone at a time.
const MOST_QUESTIONS: usize = 64;

type Waiting<A> = Arc<Mutex<HashMap<String, oneshot::Sender<Result<A, String>>>>>;

/// Where a zone is asked questions of one kind.
struct Desk<D: Dialogue> {
    id: Uuid,
    outbox: mpsc::Sender<D::Request>,
    waiting: Waiting<D::Answer>,
}

impl<D: Dialogue> Clone for Desk<D> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            outbox: self.outbox.clone(),
            waiting: Arc::clone(&self.waiting),
        }
    }
}

/// The zones that can be asked questions of one kind.
pub(super) struct Hall<D: Dialogue>(Mutex<BTreeMap<ZoneName, Desk<D>>>);

impl<D: Dialogue> fmt::Debug for Hall<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lock().keys()).finish()
    }
}

impl<D: Dialogue> Default for Hall<D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// The zones that can be asked.
#[derive(Debug, Default)]
pub(super) struct Halls {
    config_dumps: Hall<ConfigDumps>,
    stats: Hall<Stats>,
    clusters: Hall<Clusters>,
    pub(super) receipts: Hall<Receipts>,
}

impl<D: Dialogue> Hall<D> {
    /// Whether a zone can be asked.
    pub(super) fn knows(&self, zone: &ZoneName) -> bool {
        self.0.lock().contains_key(zone)
    }

    /// Asks a zone, and waits for its answer.
    pub(super) async fn ask(
        &self,
        zone: &ZoneName,
        question: &D::Question,
    ) -> Result<D::Answer, AskError> {
        let desk = self.0.lock().get(zone).cloned();
        let desk = desk.ok_or_else(|| {
            AskError(format!(
                "zone {zone} cannot be asked: it is not connected to this global, or of a release \
                 that answers no such question"
            ))
        })?;
        let id = Uuid::new_v4().to_string();
        let Some(question) = D::ask(id.clone(), question) else {
            return Err(AskError("the question is of another kind".to_owned()));
        };
        let (tx, answer) = oneshot::channel();
        desk.waiting.lock().insert(id.clone(), tx);
        let _forgotten = Forget {
            id,
            waiting: Arc::clone(&desk.waiting),
        };
        desk.outbox.try_send(question).map_err(|error| {
            AskError(match error {
                mpsc::error::TrySendError::Full(_) => format!(
                    "zone {zone} has {MOST_QUESTIONS} questions to answer already; ask again later"
                ),
                mpsc::error::TrySendError::Closed(_) => {
                    format!("the connection to zone {zone} has just ended")
                }
            })
        })?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result.map_err(AskError),
            Ok(Err(_gone)) => Err(AskError(format!(
                "the connection to zone {zone} ended before it answered"
            ))),
            Err(_elapsed) => Err(AskError(format!(
                "zone {zone} did not answer within {PATIENCE:?}"
            ))),
        }
    }
}

/// Takes a question back when nobody waits any more.
struct Forget<A> {
    id: String,
    waiting: Waiting<A>,
}

impl<A> Drop for Forget<A> {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

impl Server {
    /// Asks a proxy of a zone, as the zone calls it.
    ///
    /// # Errors
    /// When the zone cannot be asked, does not answer in time, or has no answer.
    pub async fn ask(
        &self,
        zone: &ZoneName,
        proxy: &Proxy,
        operation: Operation,
    ) -> Result<Bytes, AskError> {
        let halls = &self.inner.halls;
        let question = Question {
            proxy: proxy.clone(),
            operation,
        };
        match operation {
            Operation::ConfigDump { .. } => halls.config_dumps.ask(zone, &question).await,
            Operation::Stats { .. } => halls.stats.ask(zone, &question).await,
            Operation::Clusters { .. } => halls.clusters.ask(zone, &question).await,
        }
    }

    pub(super) async fn open_desk<D: Dialogue>(
        &self,
        request: Request<Streaming<D::Response>>,
        kind: StreamKind,
        direction: &'static str,
        hall: fn(&Halls) -> &Hall<D>,
    ) -> Result<Response<ServerStream<D::Request>>, Status> {
        let (peer, pass, seat) = self.enter(&request, kind).await?;
        let mut inbound = request.into_inner();
        let (outbox, said) = mpsc::channel(MOST_QUESTIONS);
        let desk = Desk::<D> {
            id: Uuid::new_v4(),
            outbox,
            waiting: Waiting::<D::Answer>::default(),
        };
        let (id, zone) = (desk.id, peer.zone.clone());
        let inner = Arc::clone(&self.inner);
        let run = {
            let (inner, zone) = (Arc::clone(&inner), zone.clone());
            async move {
                let waiting = Arc::clone(&desk.waiting);
                hall(&inner.halls).0.lock().insert(zone, desk);
                loop {
                    match inbound.message().await {
                        Ok(Some(response)) => {
                            let (id, result) = D::result(response);
                            if let Some(asked) = waiting.lock().remove(&id) {
                                // Whoever asked may just have left.
                                let _ = asked.send(result);
                            }
                        }
                        Ok(None) => return End::PeerGone,
                        Err(status) => return End::Failed(status),
                    }
                }
            }
        };
        let call = Call {
            peer: &peer,
            direction,
            seat,
            pass,
            pulse: self.pulse(&peer),
        };
        let said = self.spawn(call, said, run, move || {
            let mut desks = hall(&inner.halls).0.lock();
            if desks.get(&zone).is_some_and(|desk| desk.id == id)
                && let Some(desk) = desks.remove(&zone)
            {
                // Who waits for an answer learns that there will be none.
                desk.waiting.lock().clear();
            }
        });
        Ok(Response::new(said))
    }
}

#[async_trait]
impl GlobalKdsService for Server {
    type StreamXDSConfigsStream = ServerStream<XdsConfigRequest>;

    async fn stream_xds_configs(
        &self,
        request: Request<Streaming<XdsConfigResponse>>,
    ) -> Result<Response<Self::StreamXDSConfigsStream>, Status> {
        let kind = StreamKind::ConfigDumps;
        self.open_desk(request, kind, "config dump", |halls| &halls.config_dumps)
            .await
    }

    type StreamStatsStream = ServerStream<StatsRequest>;

    async fn stream_stats(
        &self,
        request: Request<Streaming<StatsResponse>>,
    ) -> Result<Response<Self::StreamStatsStream>, Status> {
        let kind = StreamKind::Stats;
        self.open_desk(request, kind, "stats", |halls| &halls.stats)
            .await
    }

    type StreamClustersStream = ServerStream<ClustersRequest>;

    async fn stream_clusters(
        &self,
        request: Request<Streaming<ClustersResponse>>,
    ) -> Result<Response<Self::StreamClustersStream>, Status> {
        let kind = StreamKind::Clusters;
        self.open_desk(request, kind, "clusters", |halls| &halls.clusters)
            .await
    }

    async fn health_check(
        &self,
        request: Request<ZoneHealthCheckRequest>,
    ) -> Result<Response<ZoneHealthCheckResponse>, Status> {
        let Entered { peer, .. } = Entered::of(&request)?;
        self.inner.config.book.pinged(&peer.zone);
        let interval = self.inner.config.health_interval;
        Ok(Response::new(ZoneHealthCheckResponse {
            interval: Some(interval.try_into().unwrap_or_default()),
        }))
    }
}
