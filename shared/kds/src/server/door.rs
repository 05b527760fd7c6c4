//! The door through which every call of every service comes: who may speak, and until when.
//!
//! [`Gate`] runs before a message of a call is read. A call that is let in has an [`Entered`]
//! among its extensions. A token is verified when it is first seen; calls that bring it again
//! share that [`Pass`] while one of them is open, if nothing has happened since that could speak
//! against it. [`watch`] looks at the store's changes and at the clock, and ends passes, and with
//! them streams, whose token is revoked, expires or loses its key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh_model::{Timestamp, ZoneName};
use mesh_runtime::serve::Guest;
use mesh_runtime::shutdown::Shutdown;
use mesh_store::{SharedStore, Snapshot};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::auth::{self, Presented, Refusal, Standing, ZoneAuth};
use crate::metrics::Metrics;
use crate::peer::ZonePeer;

/// How long the wall clock is left alone, which may be set, while tokens are in use that expire.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How many refusals are remembered as said.
const MOST_TOLD: usize = 1000;

/// A call that was let in.
#[derive(Debug, Clone)]
pub(crate) struct Entered {
    /// Who calls.
    pub(crate) peer: ZonePeer,
    /// Why it may, and until when.
    pub(crate) pass: Arc<Pass>,
}

impl Entered {
    /// What the gate found out about a call.
    ///
    /// # Errors
    /// When no gate was in front of the service.
    pub(crate) fn of<M>(request: &Request<M>) -> Result<Self, Status> {
        let entered = request.extensions().get::<Self>();
        entered
            .cloned()
            .ok_or_else(|| Status::internal("the call did not come through the gate"))
    }
}

/// The right to speak for a zone, shared by the calls that came with one token.
#[derive(Debug)]
pub(crate) struct Pass {
    zone: ZoneName,
    /// Empty if no token was asked for.
    token: Token,
    standing: Mutex<Standing>,
    ended: watch::Sender<Option<Refusal>>,
}

/// A token, which nothing shows.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Pass {
    /// Resolves when the right is taken back, with the reason.
    pub(crate) async fn ended(&self) -> Refusal {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(refusal)) => refusal,
            // The sender is in `self`, so this is not reached.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Whether the zone is let in although nothing proves that it is the one.
    pub(crate) fn is_exempt(&self) -> bool {
        *self.standing.lock() == Standing::Exempt
    }

    fn holds(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        match &*self.standing.lock() {
            Standing::Unasked | Standing::Exempt => true,
            Standing::Proven(proof) => proof.holds(snapshot, now),
        }
    }

    fn expires(&self) -> Option<Timestamp> {
        match &*self.standing.lock() {
            Standing::Unasked | Standing::Exempt => None,
            Standing::Proven(proof) => proof.expires,
        }
    }
}

/// A zone, and the hash of the token that it brought.
type Place = (ZoneName, [u8; 32]);

/// Who is let in, and who was.
#[derive(Debug)]
pub(crate) struct Door {
    auth: ZoneAuth,
    store: SharedStore,
    now: fn() -> Timestamp,
    metrics: Metrics,
    /// Passes with a token that some call still has.
    passes: Mutex<BTreeMap<Place, Weak<Pass>>>,
    /// Refusals that the log has.
    told: Mutex<BTreeSet<(ZoneName, &'static str)>>,
    /// A pass came that may expire before all others.
    news: Arc<Notify>,
}

impl Door {
    /// A door that judges by `auth` and the secrets of `store`.
    pub(crate) fn new(
        auth: ZoneAuth,
        store: SharedStore,
        now: fn() -> Timestamp,
        metrics: Metrics,
    ) -> Self {
        Self {
            auth,
            store,
            now,
            metrics,
            passes: Mutex::default(),
            told: Mutex::default(),
            news: Arc::default(),
        }
    }

    /// Judges one call.
    fn admit(&self, zone: &ZoneName, presented: Presented<'_>) -> Result<Arc<Pass>, Refusal> {
        let token = match presented {
            Presented::Token(token) if self.auth != ZoneAuth::Off => token,
            _ => "",
        };
        let place: Place = (zone.clone(), Sha256::digest(token).into());
        if let Some(pass) = open_at(&self.passes.lock(), &place) {
            return self.confirmed(pass);
        }
        let snapshot = self.store.snapshot();
        let standing = self.auth.check(&snapshot, zone, presented, (self.now)())?;
        // Who proved to be the zone does not give way to who needs no proof.
        if standing == Standing::Exempt && self.is_proven(zone) {
            return Err(Refusal::Proven { zone: zone.clone() });
        }
        let is_proven = matches!(standing, Standing::Proven(_));
        let pass = Arc::new(Pass {
            zone: zone.clone(),
            token: Token(token.to_owned()),
            standing: Mutex::new(standing),
            ended: watch::Sender::new(None),
        });
        if !is_proven {
            return Ok(pass);
        }
        let pass = {
            let mut passes = self.passes.lock();
            // Another call of the connection may have been as fast.
            open_at(&passes, &place).unwrap_or_else(|| {
                passes.retain(|_, pass| pass.strong_count() > 0);
                passes.insert(place, Arc::downgrade(&pass));
                pass
            })
        };
        self.news.notify_one();
        // The watch did not see what was taken back while this was looked into.
        self.confirmed(pass)
    }

    /// The pass, if nothing has happened that ends it.
    fn confirmed(&self, pass: Arc<Pass>) -> Result<Arc<Pass>, Refusal> {
        let snapshot = self.store.snapshot();
        if !pass.holds(&snapshot, (self.now)()) {
            self.look_again(&pass, &snapshot);
        }
        let end = pass.ended.borrow().clone();
        end.map_or(Ok(pass), Err)
    }

    /// Ends a pass if there is something against its token.
    fn look_again(&self, pass: &Pass, snapshot: &Snapshot) {
        let presented = Presented::Token(&pass.token.0);
        match self
            .auth
            .check(snapshot, &pass.zone, presented, (self.now)())
        {
            Ok(standing) => *pass.standing.lock() = standing,
            Err(refusal) => {
                self.metrics.refused_call(refusal.reason());
                tracing::warn!(zone.name = %pass.zone, "ending the streams of a zone: {refusal}");
                pass.ended.send_replace(Some(refusal));
            }
        }
    }

    /// Whether a zone is connected that has shown its token.
    fn is_proven(&self, zone: &ZoneName) -> bool {
        self.live()
            .iter()
            .any(|pass| pass.zone == *zone && pass.ended.borrow().is_none())
    }

    fn live(&self) -> Vec<Arc<Pass>> {
        let passes = self.passes.lock();
        passes.values().filter_map(Weak::upgrade).collect()
    }

    /// Takes note of a refusal, and says so once.
    fn refuse(&self, zone: &ZoneName, refusal: &Refusal) {
        self.metrics.refused_call(refusal.reason());
        let mut told = self.told.lock();
        if told.len() < MOST_TOLD && told.insert((zone.clone(), refusal.reason())) {
            tracing::warn!(zone.name = %zone, "refused a connection: {refusal}");
        }
    }
}

fn open_at(passes: &BTreeMap<Place, Weak<Pass>>, place: &Place) -> Option<Arc<Pass>> {
    let pass = passes.get(place)?.upgrade()?;
    let is_open = pass.ended.borrow().is_none();
    is_open.then_some(pass)
}

/// Stands in front of each service.
#[derive(Debug, Clone)]
pub(crate) struct Gate(pub(crate) Arc<Door>);

impl Interceptor for Gate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Self(door) = self;
        let peer = ZonePeer::from_metadata(request.metadata()).map_err(|error| {
            door.metrics.refused_call("no_zone");
            Status::invalid_argument(error.to_string())
        })?;
        let presented = Presented::of(request.metadata());
        let pass = door.admit(&peer.zone, presented).map_err(|refusal| {
            door.refuse(&peer.zone, &refusal);
            refusal.to_status()
        })?;
        door.told.lock().retain(|(zone, _)| *zone != peer.zone);
        if let Some(guest) = request.extensions().get::<Guest>() {
            guest.admit();
        }
        request.extensions_mut().insert(Entered { peer, pass });
        Ok(request)
    }
}

/// Ends passes when something happens that speaks against their tokens, until shutdown.
pub(crate) async fn watch(door: Weak<Door>, shutdown: Shutdown) {
    let watched = |door: Arc<Door>| (door.store.watch(), Arc::clone(&door.news));
    let Some((mut snapshots, news)) = door.upgrade().map(watched) else {
        return;
    };
    // Passes may be older than this watch.
    snapshots.mark_changed();
    let mut seen: Option<Snapshot> = None;
    loop {
        let Some(wait) = door.upgrade().map(|door| until_one_expires(&door)) else {
            return;
        };
        tokio::select! {
            () = shutdown.wait() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
            () = news.notified() => continue,
        }
        let now = snapshots.borrow_and_update().clone();
        let Some(door) = door.upgrade() else {
            return;
        };
        let is_touched = seen.as_ref().is_none_or(|seen| {
            let mut changes = now.changes_since(seen);
            changes.any(|change| auth::concerns(change.key()))
        });
        let time = (door.now)();
        for pass in door.live() {
            let has_expired = || pass.expires().is_some_and(|expires| time >= expires);
            let is_open = pass.ended.borrow().is_none();
            if is_open && (is_touched || has_expired()) {
                door.look_again(&pass, &now);
            }
        }
        seen = Some(now);
    }
}

/// Until the first token expires that is in use.
fn until_one_expires(door: &Door) -> Duration {
    let open = door.live();
    let open = open.iter().filter(|pass| pass.ended.borrow().is_none());
    let first = open.filter_map(|pass| pass.expires()).min();
    let nanos = first.map(|first| {
        let left = first.unix_nanos().saturating_sub((door.now)().unix_nanos());
        u64::try_from(left).unwrap_or(0)
    });
    nanos.map_or(LONGEST_WAIT, |nanos| {
        Duration::from_nanos(nanos).min(LONGEST_WAIT)
    })
}

#[cfg(test)]
mod tests;
