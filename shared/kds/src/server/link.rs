//! The global's half of the service that is ours: heartbeats, and questions where resources are.

use std::sync::Arc;

use async_trait::async_trait;
use mesh_proto::link::link_server::Link;
use mesh_proto::link::{Heartbeat, Receipt, ReceiptRequest};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::registry::StreamKind;
use super::{Call, Server, ServerStream};
use crate::stream::{End, Outbox as _};

/// The largest heartbeat: a digest for each of many types.
const LARGEST_HEARTBEAT: usize = 64 << 10;
/// How many heartbeats may wait for a zone that does not read.
const HEARTBEATS_AHEAD: usize = 8;

#[async_trait]
impl Link for Server {
    type ReceiptsStream = ServerStream<ReceiptRequest>;

    async fn receipts(
        &self,
        request: Request<Streaming<Receipt>>,
    ) -> Result<Response<Self::ReceiptsStream>, Status> {
        let kind = StreamKind::Receipts;
        self.open_desk(request, kind, "receipts", |halls| &halls.receipts)
            .await
    }

    type HeartbeatsStream = ServerStream<Heartbeat>;

    async fn heartbeats(
        &self,
        request: Request<Streaming<Heartbeat>>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        let (peer, pass, seat) = self.enter(&request, StreamKind::Link).await?;
        let pulse = self.pulse(&peer).ok_or_else(|| {
            Status::failed_precondition(
                "heartbeats are for zones that announce meridian-heartbeat and name their \
                 connection in meridian-session",
            )
        })?;
        let mut inbound = request.into_inner();
        let (tx, rx) = mpsc::channel(HEARTBEATS_AHEAD);
        let run = {
            let pulse = Arc::clone(&pulse);
            async move {
                loop {
                    match inbound.message().await {
                        Ok(Some(heartbeat)) if heartbeat.encoded_len() > LARGEST_HEARTBEAT => {
                            return End::Failed(Status::out_of_range(format!(
                                "a heartbeat has more than {LARGEST_HEARTBEAT} bytes"
                            )));
                        }
                        Ok(Some(heartbeat)) => pulse.hear(heartbeat),
                        Ok(None) => return End::PeerGone,
                        Err(status) => return End::Failed(status),
                    };
                    if let Err(end) = tx.put(pulse.heartbeat()) {
                        return end;
                    }
                }
            }
        };
        let call = Call {
            peer: &peer,
            direction: "link",
            seat,
            pass,
            pulse: Some(pulse),
        };
        let said = self.spawn(call, rx, run, || {});
        Ok(Response::new(said))
    }
}
