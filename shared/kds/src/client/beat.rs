//! The zone's half of the heartbeats.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use mesh_proto::link::Heartbeat;
use mesh_proto::link::link_client::LinkClient;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use super::{Client, Global, Session, responses};
use crate::pulse::{self, Pulse};
use crate::stream::{CHANNEL, End, Outbox as _};

/// How many heartbeats are said in answer to questions between two that are due.
const MOST_EXTRA: u32 = 3;

impl Client {
    /// Heartbeats, with a global of ours. They have a task of their own: whatever the streams are
    /// busy with, this zone lives.
    pub(super) async fn beat(
        &self,
        channel: Channel,
        session: &Session,
    ) -> Result<Infallible, End> {
        // A global that has much to do says late who it is, and expects heartbeats all the same.
        let mut global = session.global.subscribe();
        let is_known = |global: &Option<Global>| global.is_some_and(|g| g.abilities.heartbeat);
        if global.wait_for(is_known).await.is_err() {
            return std::future::pending().await;
        }
        let _open = self.config.metrics.stream("link");
        *self.pulse.lock() = Arc::downgrade(&session.pulse);
        let (tx, rx) = mpsc::channel(CHANNEL);
        let mut client = LinkClient::new(channel);
        let request = self.call(session, ReceiverStream::new(rx));
        let pulse = Arc::clone(&session.pulse);
        // The introduction was a word, though not on these calls.
        pulse.is_alive();
        let task = tokio::spawn(async move {
            let mut heard = Box::pin(responses(client.heartbeats(request)));
            heartbeats(&pulse, &mut heard, &tx).await
        });
        match AbortOnDropHandle::new(task).await {
            Ok(end) => Err(end),
            Err(error) => Err(End::Failed(tonic::Status::internal(error.to_string()))),
        }
    }
}

/// Says heartbeats and takes in those of the global, until there is reason to connect anew.
async fn heartbeats(
    pulse: &Pulse,
    heard: &mut (impl Stream<Item = Result<Heartbeat, tonic::Status>> + Unpin),
    outbox: &mpsc::Sender<Heartbeat>,
) -> End {
    let mut tick = tokio::time::interval(pulse::INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A question is answered at once, and a few of them between two heartbeats.
    let mut extra = MOST_EXTRA;
    let mut silence = std::pin::pin!(pulse.silence());
    loop {
        let speaks = tokio::select! {
            _ = tick.tick() => {
                extra = MOST_EXTRA;
                true
            }
            heartbeat = heard.next() => match heartbeat {
                Some(Ok(heartbeat)) => {
                    let is_asked = pulse.hear(heartbeat) && extra > 0;
                    extra -= u32::from(is_asked);
                    is_asked
                }
                Some(Err(status)) => return End::Failed(status),
                None => return End::PeerGone,
            },
            () = &mut silence => return End::Silent,
            what = pulse.divergence() => return End::Diverged(what),
        };
        if speaks && let Err(end) = outbox.put(pulse.heartbeat()) {
            return end;
        }
    }
}
