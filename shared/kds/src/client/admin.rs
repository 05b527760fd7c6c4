//! The zone's half of the questions about proxies.
//!
//! A stock global ends the stream, and with it everything, over an answer that is late, comes
//! twice or is too large: such are not given.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use mesh_proto::mesh::global_kds_service_client::GlobalKdsServiceClient;
use mesh_runtime::proxy_admin::{AskProxy, Operation};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Client, Session, responses};
use crate::admin::{Clusters, ConfigDumps, Dialogue, Proxy, Stats};
use crate::stream::End;

/// How long an answer may take: a stock global does not wait longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is given earlier: a stock global expects it only a moment after it asked.
const SETTLING: Duration = Duration::from_millis(5);
/// How long before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many proxies are asked at a time; further questions of a kind wait.
const MOST_AT_ONCE: usize = 16;

impl Client {
    /// Answers questions about proxies for as long as the connection lasts. Whatever happens to
    /// these streams ends no other.
    pub(super) async fn answer_questions(&self, channel: Channel, session: &Session) -> Infallible {
        let Some(proxies) = &self.proxies else {
            return std::future::pending().await;
        };
        tokio::select! {
            never = self.keep_answering::<ConfigDumps>(&channel, session, proxies) => never,
            never = self.keep_answering::<Stats>(&channel, session, proxies) => never,
            never = self.keep_answering::<Clusters>(&channel, session, proxies) => never,
        }
    }

    async fn keep_answering<D: Dialogue>(
        &self,
        channel: &Channel,
        session: &Session,
        proxies: &Arc<dyn AskProxy>,
    ) -> Infallible {
        let limit = self.config.target.max_message;
        loop {
            let (outbox, answers) = mpsc::channel(MOST_AT_ONCE);
            let mut client = GlobalKdsServiceClient::new(channel.clone())
                .accept_compressed(CompressionEncoding::Gzip);
            let request = self.call(session, ReceiverStream::new(answers));
            let asked = responses(async move { D::open(&mut client, request).await });
            let end = answer::<D>(proxies, asked, outbox, limit).await;
            if matches!(&end, End::Failed(status) if status.code() == Code::Unimplemented) {
                return std::future::pending().await;
            }
            tracing::debug!("a stream of questions about proxies ended: {end}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Answers questions of one kind until the stream ends.
async fn answer<D: Dialogue>(
    proxies: &Arc<dyn AskProxy>,
    asked: impl Stream<Item = Result<D::Request, Status>>,
    outbox: mpsc::Sender<D::Response>,
    limit: usize,
) -> End {
    let mut asked = Box::pin(asked);
    let mut open = JoinSet::new();
    loop {
        let question = tokio::select! {
            question = asked.next(), if open.len() < MOST_AT_ONCE => question,
            Some(_answered) = open.join_next() => continue,
        };
        match question {
            Some(Ok(question)) => {
                let (proxies, outbox) = (Arc::clone(proxies), outbox.clone());
                open.spawn(answer_one::<D>(proxies, question, outbox, limit));
            }
            Some(Err(status)) => return End::Failed(status),
            None => return End::PeerGone,
        }
    }
}

async fn answer_one<D: Dialogue>(
    proxies: Arc<dyn AskProxy>,
    question: D::Request,
    outbox: mpsc::Sender<D::Response>,
    limit: usize,
) {
    let at = Instant::now();
    let (id, proxy, operation) = D::read(question);
    let asked = tokio::time::timeout_at(at + PATIENCE, result(&*proxies, &proxy, operation));
    // Later than this nobody waits for an answer.
    let Ok(result) = asked.await else { return };
    let mut response = D::answer(id.clone(), result);
    let size = response.encoded_len();
    if size > limit {
        response = D::answer(id, Err(too_large(size, limit)));
    }
    tokio::time::sleep_until(at + SETTLING).await;
    // The stream may have ended meanwhile.
    let _ = outbox.send(response).await;
}

async fn result(
    proxies: &dyn AskProxy,
    proxy: &Proxy,
    operation: Operation,
) -> Result<Bytes, String> {
    let key = proxy.key()?;
    let answer = proxies.ask(&key, operation).await;
    answer.map_err(|error| error.to_string())
}

fn too_large(size: usize, limit: usize) -> String {
    format!(
        "the answer has {size} bytes, more than the {limit} of a message between control planes; \
         raise kds.maxMsgSize on both sides, or ask the zone itself"
    )
}
