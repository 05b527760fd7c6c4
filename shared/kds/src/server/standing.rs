//! Where a resource stands with each connected zone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mesh_model::{Resource, ZoneName};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Server;
use crate::projection::Projection;
use crate::receipt::{Passage, Question, Standing};
use crate::stream::send::Probe;

/// How long a stream may take to say where a resource stands.
const PATIENCE: Duration = Duration::from_secs(2);

/// A down stream that can be asked.
#[derive(Debug, Clone)]
struct Following {
    stream: Uuid,
    projection: Arc<Projection>,
    probes: mpsc::Sender<Probe>,
}

/// The down streams that can be asked, by zone.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<BTreeMap<ZoneName, Following>>);

impl Followers {
    /// A zone introduced itself on a stream.
    pub(super) fn began(
        &self,
        zone: &ZoneName,
        stream: Uuid,
        projection: &Arc<Projection>,
        probes: &mpsc::Sender<Probe>,
    ) {
        let following = Following {
            stream,
            projection: Arc::clone(projection),
            probes: probes.clone(),
        };
        self.0.lock().insert(zone.clone(), following);
    }

    /// A stream has ended.
    pub(super) fn ended(&self, zone: &ZoneName, stream: Uuid) {
        let mut followers = self.0.lock();
        if followers.get(zone).is_some_and(|of| of.stream == stream) {
            followers.remove(zone);
        }
    }
}

impl Server {
    /// Where a resource stands with each zone that is connected, and when it went there.
    pub async fn standings(
        &self,
        resource: &Arc<Resource>,
    ) -> Vec<(ZoneName, (Standing, Passage))> {
        let followers: Vec<(ZoneName, Following)> = {
            let followers = self.inner.followers.0.lock();
            let followers = followers.iter();
            followers.map(|(z, f)| (z.clone(), f.clone())).collect()
        };
        let standings = followers.into_iter().map(|(zone, following)| async move {
            let standing = self.standing(&zone, &following, resource).await;
            (zone, standing)
        });
        join_all(standings).await
    }

    async fn standing(
        &self,
        zone: &ZoneName,
        following: &Following,
        resource: &Arc<Resource>,
    ) -> (Standing, Passage) {
        let not_for_zone = || (Standing::NotForZone, Passage::default());
        let latest = self.inner.config.store.snapshot();
        let offer = following.projection.at(&latest);
        let Some((kind, name)) = following.projection.stream_name(resource) else {
            return not_for_zone();
        };
        let Some(item) = offer.items.items(kind).get(&name) else {
            return not_for_zone();
        };
        let (reply, answer) = oneshot::channel();
        let probe = Probe {
            kind,
            name: Arc::clone(&name),
            version: Arc::clone(&item.version),
            reply,
        };
        let silent = || Standing::Silent("its stream does not answer".to_owned());
        let standing = async {
            following.probes.send(probe).await.ok()?;
            answer.await.ok()
        };
        let standing = tokio::time::timeout(PATIENCE, standing).await;
        let standing = standing.ok().flatten();
        let (standing, passage) = standing.unwrap_or_else(|| (silent(), Passage::default()));
        if standing != Standing::Accepted || !self.inner.halls.receipts.knows(zone) {
            return (standing, passage);
        }
        let question = Question {
            ty: kind.to_string(),
            name: name.to_string(),
            version: item.version.to_string(),
        };
        let asked = self.inner.halls.receipts.ask(zone, &question);
        let standing = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(receipt)) if receipt.stored_at.is_some() => Standing::Stored(receipt),
            // It was accepted, and something else came over it in between.
            Ok(Ok(_)) => Standing::UnderWay,
            Ok(Err(error)) => Standing::Silent(error.to_string()),
            Err(_elapsed) => silent(),
        };
        (standing, passage)
    }
}
