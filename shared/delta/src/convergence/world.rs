//! An Envoy that speaks state of the world: it ends with what is offered, and at no time does a
//! route name a cluster that it has not got.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use super::envoy::{Gateway, all_warm};
use super::{Content, Happening, Items, Manners, NAMES, Offers, Scene, happening, refusals};
use crate::testkit::Kind;
use crate::{
    Item, Name, Nonce, Payload, Policy, ProtocolError, Sender, Snapshot, Time, TypeSet, Version,
    World, WorldRequest, WorldResponse,
};

/// What arrives, and whether a cluster that is in use may be missing from it: one that nobody here
/// knows, beside something that is refused.
type Delivery = (WorldResponse<Kind>, bool);

/// It outlives its connections, or is started anew when it does not resume.
#[derive(Debug)]
struct Envoy {
    manners: Manners,
    held: BTreeMap<(Kind, Name), Item<Kind>>,
    /// Endpoints and routes that it asked for.
    named: BTreeMap<Kind, BTreeSet<Name>>,
    versions: BTreeMap<Kind, Version>,
    nonces: BTreeMap<Kind, Nonce>,
    /// Clusters that are new, or were updated, and wait for endpoints.
    warming: BTreeSet<Name>,
    /// While one warms, it says nothing about clusters: what it would say.
    paused: Option<WorldRequest<Kind>>,
}

impl Envoy {
    fn new(manners: Manners) -> Self {
        Self {
            manners,
            held: BTreeMap::new(),
            named: BTreeMap::new(),
            versions: BTreeMap::new(),
            nonces: BTreeMap::new(),
            warming: BTreeSet::new(),
            paused: None,
        }
    }

    /// What it may say: nothing about clusters while one warms.
    fn unpaused(&mut self, requests: Vec<WorldRequest<Kind>>) -> Vec<WorldRequest<Kind>> {
        let mut said = Vec::new();
        for request in requests {
            if request.ty == Kind::Cluster {
                self.paused = Some(request);
            } else {
                said.push(request);
            }
        }
        if self.warming.is_empty() {
            said.extend(self.paused.take());
        }
        said
    }

    /// Endpoints that do not come are not awaited for ever.
    fn give_up_waiting(&mut self) -> Option<WorldRequest<Kind>> {
        let paused = self.paused.take();
        if paused.is_some() {
            self.warming.clear();
        }
        paused
    }

    fn connect(&mut self, resumes: bool) -> Vec<WorldRequest<Kind>> {
        if !resumes {
            *self = Self::new(self.manners);
        }
        self.nonces.clear();
        let has_names = |ty: &Kind| self.named.get(ty).is_some_and(|names| !names.is_empty());
        let types = Kind::ALL.iter().filter(|ty| ty.is_whole() || has_names(ty));
        let first = types.map(|&ty| self.request(ty)).collect();
        self.paused = None;
        self.unpaused(first)
    }

    fn request(&self, ty: Kind) -> WorldRequest<Kind> {
        let names = self.named.get(&ty).into_iter().flatten();
        WorldRequest {
            ty,
            names: names.cloned().collect(),
            version: self.versions.get(&ty).cloned(),
            nonce: self.nonces.get(&ty).cloned(),
            error: None,
        }
    }

    fn holds(&self, ty: Kind, name: &Name) -> bool {
        self.held.contains_key(&(ty, name.clone()))
    }

    fn wants(&self, ty: Kind, name: &Name) -> bool {
        ty.is_whole() || self.named.get(&ty).is_some_and(|n| n.contains(name))
    }

    /// What must hold of any response, at any time.
    fn judge(&self, (response, is_excused): &Delivery) -> Result<(), String> {
        for (name, item) in &response.resources {
            for (ty, need) in &*item.needs {
                if *ty == Kind::Cluster && !self.holds(*ty, need) {
                    return Err(format!("route {name} arrived before cluster {need}"));
                }
            }
        }
        if response.ty != Kind::Cluster || *is_excused {
            return Ok(());
        }
        for gone in self.lacking(response) {
            let need = (Kind::Cluster, gone.clone());
            let user = self.held.iter().find(|(_, i)| i.needs.contains(&need));
            if let Some(((ty, name), _)) = user {
                return Err(format!("{gone} was removed, but {ty:?} {name} needs it"));
            }
        }
        Ok(())
    }

    /// What it holds of a whole type and a response lacks.
    fn lacking(&self, response: &WorldResponse<Kind>) -> Vec<Name> {
        let is_there = |name: &Name| response.resources.iter().any(|(n, _)| n == name);
        let held = self.held.keys().filter(|(ty, _)| *ty == response.ty);
        let names = held.map(|(_, name)| name.clone());
        names.filter(|name| !is_there(name)).collect()
    }

    fn receive(
        &mut self,
        delivery: Delivery,
        offers: &Offers<Kind>,
    ) -> Result<Vec<WorldRequest<Kind>>, String> {
        self.judge(&delivery)?;
        let (response, _) = delivery;
        let ty = response.ty;
        self.nonces.insert(ty, response.nonce.clone());
        let is_refused = |(name, item): &(Name, Item<Kind>)| offers.refuses(ty, name, item);
        let refuses = response.resources.iter().any(is_refused);
        let mut requests = Vec::new();
        if !refuses || self.manners == Manners::Grudging {
            requests.extend(self.apply(&response, offers));
        }
        if !refuses {
            self.versions.insert(ty, response.version);
        }
        let error = refuses.then(|| "something is refused".to_owned());
        requests.push(WorldRequest {
            error,
            ..self.request(ty)
        });
        Ok(self.unpaused(requests))
    }

    /// Applies what is good, and asks for what that needs.
    fn apply(
        &mut self,
        response: &WorldResponse<Kind>,
        offers: &Offers<Kind>,
    ) -> Option<WorldRequest<Kind>> {
        let ty = response.ty;
        let child = match ty {
            Kind::Cluster => Some(Kind::Endpoint),
            Kind::Listener => Some(Kind::Route),
            Kind::Endpoint | Kind::Route => None,
        };
        let mut asks = false;
        if let Some(child) = child {
            for name in self.lacking(response) {
                self.held.remove(&(ty, name.clone()));
                self.held.remove(&(child, name.clone()));
                self.named.entry(child).or_default().remove(&name);
                self.warming.remove(&name);
                asks = true;
            }
        }
        for (name, item) in &response.resources {
            if offers.refuses(ty, name, item) || !self.wants(ty, name) {
                continue;
            }
            let before = self.held.insert((ty, name.clone()), item.clone());
            if before.is_some_and(|before| before.version == item.version) {
                if ty == Kind::Endpoint {
                    self.warming.remove(name);
                }
                continue;
            }
            match ty {
                Kind::Cluster => _ = self.warming.insert(name.clone()),
                Kind::Endpoint => _ = self.warming.remove(name),
                Kind::Listener | Kind::Route => {}
            }
            if let Some(child) = child {
                self.named.entry(child).or_default().insert(name.clone());
                asks = true;
            }
        }
        child.filter(|_| asks).map(|child| self.request(child))
    }

    fn check(&self, offers: &Offers<Kind>) -> Result<(), String> {
        for &ty in Kind::ALL {
            for name in NAMES.map(Name::from) {
                if !self.wants(ty, &name) {
                    continue;
                }
                let offered = offers.snapshot.items(ty).get(&name);
                let held = self.held.get(&(ty, name.clone()));
                let is_good = match offered {
                    Some(item) => {
                        offers.refuses(ty, &name, item)
                            || self.is_blocked(item, offers)
                            || held.is_some_and(|held| held.version == item.version)
                    }
                    // That it is gone cannot be said.
                    None if !ty.is_whole() => true,
                    None => held.is_none() || self.is_kept(ty, &name, offers),
                };
                if !is_good {
                    return Err(format!("{ty:?} {name}: {offered:?} offered, {held:?} held"));
                }
            }
        }
        all_warm(&self.warming, offers)
    }

    /// Whether a cluster is missing, as far as a sender can know.
    fn is_blocked(&self, item: &Item<Kind>, offers: &Offers<Kind>) -> bool {
        item.needs.iter().any(|(ty, name)| {
            let offered = offers.snapshot.items(*ty).get(name);
            *ty == Kind::Cluster
                && (!self.holds(*ty, name)
                    || offered.is_some_and(|item| offers.refuses(*ty, name, item)))
        })
    }

    /// Whether what is no longer offered is rightly there: what uses it could not be replaced.
    fn is_kept(&self, ty: Kind, name: &Name, offers: &Offers<Kind>) -> bool {
        let need = (ty, name.clone());
        let is_outdated = |ty: Kind, user: &Name, item: &Item<Kind>| {
            let offered = offers.snapshot.items(ty).get(user);
            offered.is_none_or(|offered| offered.version != item.version)
        };
        let mut users = self.held.iter();
        users.any(|((of, user), item)| item.needs.contains(&need) && is_outdated(*of, user, item))
            // A refused response leaves it in doubt what of it was applied, and a refused cluster
            // is all that can be said of one from an earlier stream.
            || [Kind::Cluster, Kind::Route].iter().any(|ty| {
                let mut items = offers.snapshot.items(*ty).iter();
                items.any(|(name, item)| offers.refuses(*ty, name, item))
            })
    }
}

/// What a scene offers. No listener lacks its routes: that routes are gone cannot be said.
fn items(scene: &Gateway) -> Items<Kind> {
    let mut items = scene.items();
    let routes = items[Kind::Route.index()].1.clone();
    let (_, listeners) = &mut items[Kind::Listener.index()];
    let all = listeners.clone().into_iter();
    *listeners = all.filter(|(n, _)| routes.contains_key(n)).collect();
    items
}

/// A stream's sending side.
#[derive(Debug)]
struct Stream {
    sender: Sender<Kind>,
    world: World<Kind>,
    /// Whether a cluster was refused while others were held in unknown versions.
    is_unsure: bool,
}

#[derive(Debug)]
struct Run {
    scene: Gateway,
    offers: Offers<Kind>,
    policy: Policy,
    stream: Option<Stream>,
    envoy: Envoy,
    /// Whether the last cluster of each response gets lost.
    loses_clusters: bool,
    to_envoy: VecDeque<Delivery>,
    to_sender: VecDeque<WorldRequest<Kind>>,
    last_type: Option<Kind>,
    now: Time,
}

impl Run {
    fn new(manners: Manners, policy: Policy, refused: BTreeSet<Content>) -> Self {
        let scene = Gateway::default();
        let mut offers = Offers {
            snapshot: Snapshot::empty(),
            absent: BTreeMap::new(),
            refused,
        };
        offers.replace(items(&scene));
        Self {
            scene,
            offers,
            policy,
            stream: None,
            envoy: Envoy::new(manners),
            loses_clusters: false,
            to_envoy: VecDeque::new(),
            to_sender: VecDeque::new(),
            last_type: None,
            now: Time::ZERO,
        }
    }

    fn run(&mut self, happenings: &[Happening]) -> Result<(), String> {
        for happening in happenings {
            self.happen(happening)?;
        }
        if self.stream.is_none() {
            self.connect(true)?;
        }
        self.quiet()?;
        self.envoy.check(&self.offers)
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), String> {
        match happening {
            Happening::Change(changes) => {
                self.scene.change(changes);
                self.offers.replace(items(&self.scene));
                if let Some(stream) = &mut self.stream {
                    stream.sender.offer(self.offers.snapshot.clone());
                }
            }
            Happening::Send(count) => {
                for _ in 0..*count {
                    self.send();
                }
            }
            Happening::ToReceiver => _ = self.deliver_response()?,
            Happening::ToSender => _ = self.deliver_request()?,
            Happening::Repeat => {
                // What it wants, once more.
                let envoy = &self.envoy;
                let may_say = |ty: &Kind| *ty != Kind::Cluster || envoy.paused.is_none();
                let again = self.last_type.filter(may_say).map(|ty| envoy.request(ty));
                self.to_sender.extend(again);
            }
            Happening::Wait(seconds) => self.now += Time::from_secs(*seconds),
            Happening::Disconnect => self.disconnect(),
            Happening::Connect { resumes } => self.connect(*resumes)?,
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.stream = None;
        self.to_envoy.clear();
        self.to_sender.clear();
        self.last_type = None;
    }

    fn connect(&mut self, resumes: bool) -> Result<(), String> {
        self.disconnect();
        let mut sender = Sender::new(self.policy);
        sender.offer(self.offers.snapshot.clone());
        let world = World::new(|_| Payload::default());
        self.stream = Some(Stream {
            sender,
            world,
            is_unsure: false,
        });
        self.to_sender.extend(self.envoy.connect(resumes));
        // As in the other dialect, what Envoy holds is known before anything is taken away.
        while self.deliver_request()? {}
        Ok(())
    }

    fn send(&mut self) -> bool {
        let Some(Stream {
            sender,
            world,
            is_unsure,
        }) = &mut self.stream
        else {
            return false;
        };
        let mut clusters = self.offers.snapshot.items(Kind::Cluster).iter();
        let may_be_refused = clusters.any(|(n, i)| self.offers.refuses(Kind::Cluster, n, i));
        *is_unsure |= world.is_unsure(Kind::Cluster) && may_be_refused;
        let Some(mut response) = world.poll(self.now, sender) else {
            return false;
        };
        let is_excused =
            *is_unsure || sender.blocked().next().is_some() || sender.rejections().next().is_some();
        if self.loses_clusters && response.ty == Kind::Cluster {
            response.resources.pop();
        }
        self.to_envoy.push_back((response, is_excused));
        true
    }

    fn deliver_response(&mut self) -> Result<bool, String> {
        let Some(delivery) = self.to_envoy.pop_front() else {
            return Ok(false);
        };
        let answers = self.envoy.receive(delivery, &self.offers)?;
        self.to_sender.extend(answers);
        Ok(true)
    }

    fn deliver_request(&mut self) -> Result<bool, String> {
        let (Some(request), Some(Stream { sender, world, .. })) =
            (self.to_sender.pop_front(), &mut self.stream)
        else {
            return Ok(false);
        };
        let ty = request.ty;
        match world.on_request(self.now, sender, request) {
            Ok(_) => {}
            Err(ProtocolError::RefusedLate { .. }) => {
                self.connect(true)?;
                return Ok(true);
            }
            Err(error) => return Err(error.to_string()),
        }
        self.last_type = Some(ty);
        Ok(true)
    }

    fn quiet(&mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            if self.send() | self.deliver_response()? | self.deliver_request()? {
                continue;
            }
            let stream = self.stream.as_ref();
            let deadline = stream.and_then(|s| s.world.next_deadline(&s.sender));
            match deadline {
                Some(deadline) if deadline > self.now => self.now = deadline,
                Some(_) => return Err("a deadline is over and nothing was sent".to_owned()),
                None => match self.envoy.give_up_waiting() {
                    Some(request) => self.to_sender.push_back(request),
                    None => return Ok(()),
                },
            }
        }
        Err("it never gets quiet".to_owned())
    }
}

proptest! {
    #![proptest_config(Config {
        max_shrink_iters: 500,
        ..Config::default()
    })]

    #[test]
    fn envoy_converges_in_state_of_the_world(
        applies_good in any::<bool>(),
        lingers in any::<bool>(),
        refused in refusals(),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let manners = if applies_good { Manners::Grudging } else { Manners::AllOrNothing };
        let mut policy = Policy::envoy();
        if !lingers {
            // Waiting must not be what keeps the order.
            policy.linger = Time::ZERO;
            policy.need_timeout = Time::ZERO;
        }
        let mut run = Run::new(manners, policy, refused);
        run.run(&happenings).map_err(TestCaseError::fail)?;
    }
}

/// A property that cannot fail proves nothing.
#[test]
fn property_notices_a_cluster_that_is_left_out() {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::with_cases(400)
    };
    let happenings = prop::collection::vec(happening(), 0..80);
    let outcome = proptest::test_runner::TestRunner::new(config).run(&happenings, |happenings| {
        let mut run = Run::new(Manners::Grudging, Policy::envoy(), BTreeSet::new());
        run.loses_clusters = true;
        run.run(&happenings).map_err(TestCaseError::fail)
    });
    assert!(outcome.is_err(), "a cluster was missing, unnoticed");
}
