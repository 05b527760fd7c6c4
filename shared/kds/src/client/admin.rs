//! The zone's half of the questions that the global asks.
//!
//! A stock global ends the stream, and with it everything, over an answer that is late, comes
//! twice or is too large: such are not given.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Client, Global, Session, responses};
use crate::admin::{Clusters, ConfigDumps, Dialogue, Sources, Stats};
use crate::receipt::Receipts;
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
        let receipts = async {
            // A stock global has no such service.
            let mut global = session.global.subscribe();
            let is_ours = |global: &Option<Global>| global.is_some_and(|g| g.abilities.receipts);
            if global.wait_for(is_ours).await.is_err() {
                return std::future::pending().await;
            }
            self.keep_answering::<Receipts>(&channel, session).await
        };
        if self.sources.proxies.is_none() {
            return receipts.await;
        }
        tokio::select! {
            never = self.keep_answering::<ConfigDumps>(&channel, session) => never,
            never = self.keep_answering::<Stats>(&channel, session) => never,
            never = self.keep_answering::<Clusters>(&channel, session) => never,
            never = receipts => never,
        }
    }

    async fn keep_answering<D: Dialogue>(
        &self,
        channel: &Channel,
        session: &Session,
    ) -> Infallible {
        let limit = self.config.target.max_message;
        loop {
            let (outbox, answers) = mpsc::channel(MOST_AT_ONCE);
            let request = self.call(session, ReceiverStream::new(answers));
            let asked = responses(D::open(channel.clone(), request));
            let end = answer::<D>(&self.sources, asked, outbox, limit).await;
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
    sources: &Sources,
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
                let (sources, outbox) = (sources.clone(), outbox.clone());
                open.spawn(answer_one::<D>(sources, question, outbox, limit));
            }
            Some(Err(status)) => return End::Failed(status),
            None => return End::PeerGone,
        }
    }
}

async fn answer_one<D: Dialogue>(
    sources: Sources,
    question: D::Request,
    outbox: mpsc::Sender<D::Response>,
    limit: usize,
) {
    let at = Instant::now();
    let (id, question) = D::read(question);
    let asked = tokio::time::timeout_at(at + PATIENCE, D::find(&sources, &question));
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

fn too_large(size: usize, limit: usize) -> String {
    format!(
        "the answer has {size} bytes, more than the {limit} of a message between control planes; \
         raise kds.maxMsgSize on both sides, or ask the zone itself"
    )
}
