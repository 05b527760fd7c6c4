//! Where a resource of the global's is: in which zones, and in which of their Envoys.
//!
//! Nothing is kept per resource: the global asks, a zone looks into its store and at what its
//! proxies answered last.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use mesh_model::{Key, Timestamp, ZoneName};
use mesh_proto::link::link_client::LinkClient;
use mesh_proto::link::{self, ReceiptRequest};
use mesh_store::SharedStore;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::admin::{Dialogue, Sources};
use crate::intake::Intake;
use crate::kind::Kind;
use crate::peer::Naming;

/// A version of a resource, as it is on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) ty: String,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What a zone says of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Since when the zone has it; `None` if it does not.
    pub stored_at: Option<Timestamp>,
    /// The proxies that are connected to a zone which has it.
    pub proxies: Vec<ProxyReceipt>,
}

/// What a proxy made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyReceipt {
    /// The Dataplane's mesh.
    pub mesh: String,
    /// The Dataplane's name.
    pub name: String,
    /// Whether its Envoy has what follows from the resource.
    pub is_live: bool,
    /// Since when; `None` if it has not, or has for longer than is remembered.
    pub live_at: Option<Timestamp>,
    /// Why Envoy goes without it; empty if it does not.
    pub refused: String,
}

/// What is known of a zone's proxies.
pub trait Proxies: fmt::Debug + Send + Sync + 'static {
    /// Which of the connected proxies that a resource may concern have accepted all that was stored
    /// at this time, and when.
    fn since(&self, resource: &Key, stored_at: Timestamp) -> Vec<ProxyReceipt>;
}

/// Where a zone finds out about a resource.
pub(crate) trait Receive: fmt::Debug + Send + Sync + 'static {
    fn receipt(&self, question: &Question) -> Result<Receipt, String>;
}

/// The store and the proxies of a zone.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) zone: ZoneName,
    pub(crate) store: SharedStore,
    pub(crate) proxies: Arc<dyn Proxies>,
}

impl Receive for Book {
    fn receipt(&self, question: &Question) -> Result<Receipt, String> {
        let Question { ty, name, version } = question;
        let kind = Kind::from_type_url(ty).ok_or_else(|| format!("{ty:?} does not travel"))?;
        let intake = Intake::FromGlobal {
            zone: self.zone.clone(),
            naming: Naming::Hashed,
        };
        let key = intake.key(kind.resource_type(), name);
        let key = key.ok_or_else(|| format!("{name:?} is no name of a {kind}"))?;
        let Some(resource) = self.store.get(&key) else {
            return Ok(Receipt::default());
        };
        let held = intake.held(&resource);
        if held.is_none_or(|(_, held)| *held != **version) {
            return Ok(Receipt::default());
        }
        let stored_at = resource.modified();
        Ok(Receipt {
            stored_at: Some(stored_at),
            proxies: self.proxies.since(&key, stored_at),
        })
    }
}

/// `meridian.kds.v1.Link/Receipts`.
#[derive(Debug)]
pub(crate) struct Receipts;

#[async_trait]
impl Dialogue for Receipts {
    type Question = Question;
    type Answer = Receipt;
    type Request = ReceiptRequest;
    type Response = link::Receipt;

    async fn open(
        channel: Channel,
        answers: tonic::Request<ReceiverStream<Self::Response>>,
    ) -> Result<tonic::Response<Streaming<Self::Request>>, Status> {
        LinkClient::new(channel).receipts(answers).await
    }

    fn ask(id: String, question: &Question) -> Option<Self::Request> {
        Some(ReceiptRequest {
            request_id: id,
            r#type: question.ty.clone(),
            name: question.name.clone(),
            version: question.version.clone(),
        })
    }

    fn read(request: Self::Request) -> (String, Question) {
        let question = Question {
            ty: request.r#type,
            name: request.name,
            version: request.version,
        };
        (request.request_id, question)
    }

    async fn find(sources: &Sources, question: &Question) -> Result<Receipt, String> {
        let receipts = sources.receipts.as_ref();
        let receipts = receipts.ok_or_else(|| "this zone keeps no receipts".to_owned())?;
        receipts.receipt(question)
    }

    fn answer(id: String, result: Result<Receipt, String>) -> Self::Response {
        let empty = link::Receipt {
            request_id: id,
            ..link::Receipt::default()
        };
        let receipt = match result {
            Err(error) => return link::Receipt { error, ..empty },
            Ok(receipt) => receipt,
        };
        let proxies = receipt.proxies.into_iter().map(|proxy| link::ProxyReceipt {
            is_live: proxy.is_live,
            refused: proxy.refused,
            live_at: proxy.live_at.map_or(0, Timestamp::unix_nanos),
            mesh: proxy.mesh,
            name: proxy.name,
        });
        link::Receipt {
            is_held: receipt.stored_at.is_some(),
            stored_at: receipt.stored_at.map_or(0, Timestamp::unix_nanos),
            proxies: proxies.collect(),
            ..empty
        }
    }

    fn result(response: Self::Response) -> (String, Result<Receipt, String>) {
        if !response.error.is_empty() {
            return (response.request_id, Err(response.error));
        }
        let proxies = response.proxies.into_iter().map(|proxy| ProxyReceipt {
            mesh: proxy.mesh,
            name: proxy.name,
            is_live: proxy.is_live,
            live_at: (proxy.live_at != 0).then(|| Timestamp::from_unix_nanos(proxy.live_at)),
            refused: proxy.refused,
        });
        let receipt = Receipt {
            stored_at: response
                .is_held
                .then(|| Timestamp::from_unix_nanos(response.stored_at)),
            proxies: proxies.collect(),
        };
        (response.request_id, Ok(receipt))
    }
}

/// When a resource went to a zone, as far as that is remembered: of the latest few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passage {
    /// When the global sent it.
    pub sent_at: Option<Timestamp>,
    /// When the zone answered that it has it.
    pub accepted_at: Option<Timestamp>,
}

impl Passage {
    /// Adds it to what the admin API shows of a [`Standing`].
    pub fn show_in(&self, shown: &mut Value) {
        for (field, at) in [("sentAt", self.sent_at), ("acceptedAt", self.accepted_at)] {
            if let Some(at) = at {
                shown[field] = at.to_string().into();
            }
        }
    }
}

/// Where a resource is on its way into a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The zone has it, and its proxies stand so.
    Stored(Receipt),
    /// A stock zone accepted it; what became of it there, it does not say.
    Accepted,
    /// It is under way, or waits for its turn.
    UnderWay,
    /// The zone does not get it, or refused it; and why.
    Lacks(String),
    /// It is none that the zone gets.
    NotForZone,
    /// The zone is connected and does not answer.
    Silent(String),
}

impl Standing {
    /// Whether nothing more is to be waited for.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Stored(receipt) => receipt.proxies.iter().all(|proxy| proxy.is_live),
            Self::Accepted | Self::NotForZone => true,
            Self::UnderWay | Self::Lacks(_) | Self::Silent(_) => false,
        }
    }

    /// As the admin API shows it.
    pub fn to_json(&self) -> Value {
        let time = |at: Timestamp| at.to_string();
        match self {
            Self::Stored(receipt) => {
                let proxies = receipt.proxies.iter().map(|proxy| {
                    json!({
                        "mesh": proxy.mesh,
                        "name": proxy.name,
                        "isLive": proxy.is_live,
                        "liveAt": proxy.live_at.map(time),
                        "refused": proxy.refused,
                    })
                });
                json!({
                    "state": if self.is_done() { "live" } else { "stored" },
                    "storedAt": receipt.stored_at.map(time),
                    "proxies": proxies.collect::<Vec<_>>(),
                })
            }
            Self::Accepted => json!({ "state": "accepted" }),
            Self::UnderWay => json!({ "state": "underWay" }),
            Self::Lacks(reason) => json!({ "state": "refused", "reason": reason }),
            Self::NotForZone => json!({ "state": "notForZone" }),
            Self::Silent(reason) => json!({ "state": "silent", "reason": reason }),
        }
    }
}
