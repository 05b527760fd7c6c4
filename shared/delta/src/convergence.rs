//! The property that matters most, of a sender and a receiver over a lossy connection: for any
//! interleaving of changes, losses, NACKs and reconnects, once quiet the receiver holds for each
//! name the offered version or, where it refuses that one, the last that it accepted.
//!
//! The peers also check what must hold at any time: no item arrives before what it needs, and
//! nothing is dropped that was always offered or is still needed.

mod envoy;
mod own;
mod world;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::envoy::EnvoyPeer;
use self::own::OwnPeer;
use crate::testkit::{Kind, Plain};
use crate::{History, Item, Name, Policy, Request, Response, Sender, Snapshot, Time, TypeSet};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const VERSIONS: u8 = 4;

/// How a receiver answers a response of which it refuses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// It applies nothing and refuses the response.
    AllOrNothing,
    /// It applies what is good and refuses the response.
    Grudging,
    /// It applies what is good and lists the rest.
    Listing,
}

/// One version of one name: what the receivers' judgement depends on.
type Content = (usize, Name, u8);

/// A receiver of the world.
trait Peer: std::fmt::Debug {
    type Type: TypeSet;

    /// Begins a stream; without `resumes` nothing that is held is offered.
    fn connect(&mut self, resumes: bool) -> Vec<Request<Self::Type>>;

    /// Takes in a response. `Err` if it should never have been sent.
    fn receive(
        &mut self,
        response: Response<Self::Type>,
        offers: &Offers<Self::Type>,
    ) -> Result<Vec<Request<Self::Type>>, String>;

    /// Whether it ended up with what it should have.
    fn check(&self, offers: &Offers<Self::Type>) -> Result<(), String>;
}

/// All items of some types.
type Items<T> = Vec<(T, imbl::OrdMap<Name, Item<T>>)>;

/// A name of a type gets a version, or goes. The mask says what a route needs.
type Change = (usize, usize, Option<u8>, u8);

/// What the world has offered so far.
#[derive(Debug)]
struct Offers<T: TypeSet> {
    snapshot: Snapshot<T>,
    /// The last revision that lacked the name.
    absent: BTreeMap<(T, Name), u64>,
    refused: BTreeSet<Content>,
}

impl<T: TypeSet> Offers<T> {
    fn refuses(&self, ty: T, name: &Name, item: &Item<T>) -> bool {
        // Versions are a digit, and more that the judgement does not depend on.
        let digit = item.version.as_bytes()[0] - b'0';
        self.refused.contains(&(ty.index(), name.clone(), digit))
    }

    /// Whether a name that was sent at `revision` was gone since.
    fn was_absent_since(&self, ty: T, name: &Name, revision: u64) -> bool {
        match self.absent.get(&(ty, name.clone())) {
            Some(absent) => *absent > revision,
            None => !self.snapshot.items(ty).contains_key(name),
        }
    }

    fn replace(&mut self, items: Items<T>) {
        let revision = self.snapshot.revision() + 1;
        self.snapshot = self.snapshot.with(revision, items);
        for &ty in T::ALL {
            for name in NAMES {
                if !self.snapshot.items(ty).contains_key(name) {
                    self.absent.insert((ty, name.into()), revision);
                }
            }
        }
    }
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Happening {
    /// Several changes in one offer.
    Change(Vec<Change>),
    /// The sender sends what it may, up to this many responses.
    Send(usize),
    /// A message arrives at the receiver, or at the sender.
    ToReceiver,
    ToSender,
    /// The last request is said again.
    Repeat,
    Wait(u64),
    Disconnect,
    Connect {
        resumes: bool,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let change = (
        0..4_usize,
        0..NAMES.len(),
        prop::option::weighted(0.7, 0..VERSIONS),
        any::<u8>(),
    );
    prop_oneof![
        6 => prop::collection::vec(change, 1..6).prop_map(Happening::Change),
        6 => (1..4_usize).prop_map(Happening::Send),
        8 => Just(Happening::ToReceiver),
        8 => Just(Happening::ToSender),
        1 => Just(Happening::Repeat),
        2 => (0..12_u64).prop_map(Happening::Wait),
        1 => Just(Happening::Disconnect),
        2 => any::<bool>().prop_map(|resumes| Happening::Connect { resumes }),
    ]
}

fn refusals() -> impl Strategy<Value = BTreeSet<Content>> {
    let content = (0..4_usize, 0..NAMES.len(), 0..VERSIONS)
        .prop_map(|(ty, name, version)| (ty, Name::from(NAMES[name]), version));
    prop::collection::btree_set(content, 0..12)
}

/// Makes an offer of a list of changes: what each kind of stream allows.
trait Scene {
    type Type: TypeSet;
    fn change(&mut self, changes: &[Change]);
    fn items(&self) -> Items<Self::Type>;
}

/// A connection that may do something to a response.
type Adapter<T> = fn(Response<T>) -> Response<T>;

#[derive(Debug)]
struct World<S: Scene, P: Peer<Type = S::Type>> {
    scene: S,
    offers: Offers<S::Type>,
    policy: Policy,
    sender: Option<Sender<S::Type>>,
    peer: P,
    adapter: Adapter<S::Type>,
    to_receiver: VecDeque<Response<S::Type>>,
    to_sender: VecDeque<Request<S::Type>>,
    last_request: Option<Request<S::Type>>,
    now: Time,
}

impl<S: Scene, P: Peer<Type = S::Type>> World<S, P> {
    fn new(scene: S, peer: P, policy: Policy, refused: BTreeSet<Content>) -> Self {
        let mut offers = Offers {
            snapshot: Snapshot::empty(),
            absent: BTreeMap::new(),
            refused,
        };
        offers.replace(scene.items());
        Self {
            scene,
            offers,
            policy,
            sender: None,
            peer,
            adapter: |response| response,
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
            last_request: None,
            now: Time::ZERO,
        }
    }

    fn run(&mut self, happenings: &[Happening]) -> Result<(), String> {
        for happening in happenings {
            self.happen(happening)?;
        }
        if self.sender.is_none() {
            self.connect(false)?;
        }
        self.quiet()?;
        self.peer.check(&self.offers)?;
        self.check_sender()
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), String> {
        match happening {
            Happening::Change(changes) => {
                self.scene.change(changes);
                self.offers.replace(self.scene.items());
                if let Some(sender) = &mut self.sender {
                    sender.offer(self.offers.snapshot.clone());
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
                // As stock control planes may: the last answer once more.
                if let Some(request) = self.last_request.clone()
                    && request.nonce.is_some()
                    && let Some(sender) = &mut self.sender
                {
                    sender
                        .on_request(self.now, request)
                        .map_err(|error| error.to_string())?;
                }
            }
            Happening::Wait(seconds) => self.now += Time::from_secs(*seconds),
            Happening::Disconnect => self.disconnect(),
            Happening::Connect { resumes } => self.connect(*resumes)?,
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.sender = None;
        self.to_receiver.clear();
        self.to_sender.clear();
        self.last_request = None;
    }

    fn connect(&mut self, resumes: bool) -> Result<(), String> {
        self.disconnect();
        let mut sender = Sender::new(self.policy).with_history(History(1));
        sender.offer(self.offers.snapshot.clone());
        self.sender = Some(sender);
        self.to_sender.extend(self.peer.connect(resumes));
        if S::Type::ALL.iter().any(|ty| ty.lingers()) {
            // Until the receiver has said what it holds of all types, only lingering keeps what
            // these need; that it takes no longer is given.
            while self.deliver_request()? {}
        }
        Ok(())
    }

    fn send(&mut self) -> bool {
        let Some(response) = self
            .sender
            .as_mut()
            .and_then(|sender| sender.poll(self.now))
        else {
            return false;
        };
        self.to_receiver.push_back((self.adapter)(response));
        true
    }

    fn deliver_response(&mut self) -> Result<bool, String> {
        let Some(response) = self.to_receiver.pop_front() else {
            return Ok(false);
        };
        let answers = self.peer.receive(response, &self.offers)?;
        self.to_sender.extend(answers);
        Ok(true)
    }

    fn deliver_request(&mut self) -> Result<bool, String> {
        let (Some(request), Some(sender)) = (self.to_sender.pop_front(), &mut self.sender) else {
            return Ok(false);
        };
        sender
            .on_request(self.now, request.clone())
            .map_err(|error| error.to_string())?;
        self.last_request = Some(request);
        Ok(true)
    }

    /// Lets everything happen that still can.
    fn quiet(&mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            if self.send() | self.deliver_response()? | self.deliver_request()? {
                continue;
            }
            let deadline = self.sender.as_ref().and_then(Sender::next_deadline);
            match deadline {
                Some(deadline) if deadline > self.now => self.now = deadline,
                Some(_) => return Err("a deadline is over and nothing was sent".to_owned()),
                None => return Ok(()),
            }
        }
        Err("it never gets quiet".to_owned())
    }

    /// What the sender says of the receiver is true as well.
    fn check_sender(&self) -> Result<(), String> {
        let Some(sender) = &self.sender else {
            return Ok(());
        };
        for rejected in sender.rejections() {
            let item = self.offers.snapshot.items(rejected.ty).get(&rejected.name);
            let is_refused =
                item.is_some_and(|item| self.offers.refuses(rejected.ty, &rejected.name, item));
            if !is_refused {
                return Err(format!("{rejected:?} was good"));
            }
        }
        if !sender.is_synced() && sender.blocked().next().is_none() {
            return Err("not synced, though nothing is blocked".to_owned());
        }
        Ok(())
    }
}

fn run<S: Scene, P: Peer<Type = S::Type>>(
    world: &mut World<S, P>,
    happenings: &[Happening],
) -> Result<(), TestCaseError> {
    world.run(happenings).map_err(TestCaseError::fail)
}

fn manners() -> impl Strategy<Value = Manners> {
    prop_oneof![
        Just(Manners::AllOrNothing),
        Just(Manners::Grudging),
        Just(Manners::Listing),
    ]
}

proptest! {
    #![proptest_config(Config {
        max_shrink_iters: 500,
        ..Config::default()
    })]

    #[test]
    fn control_plane_converges(
        manners in manners(),
        refused in refusals(),
        chunk in prop::option::of(1..4_usize),
        happenings in prop::collection::vec(happening(), 0..80),
    ) {
        let policy = Policy {
            max_chunk: chunk.and_then(std::num::NonZeroUsize::new),
            ..Policy::own()
        };
        let mut world = World::new(own::Things::default(), OwnPeer::new(manners), policy, refused);
        run(&mut world, &happenings)?;
    }

    #[test]
    fn envoy_converges(
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
        let peer = EnvoyPeer::new(manners);
        let mut world = World::new(envoy::Gateway::default(), peer, policy, refused);
        run(&mut world, &happenings)?;
    }
}

/// A property that cannot fail proves nothing.
#[test]
fn property_notices_a_lost_removal() {
    fn lossy<T: TypeSet>(response: Response<T>) -> Response<T> {
        Response {
            removed: Vec::new(),
            ..response
        }
    }
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::with_cases(400)
    };
    let outcome = TestRunner::new(config.clone()).run(
        &prop::collection::vec(happening(), 0..80),
        |happenings| {
            let peer = OwnPeer::new(Manners::Listing);
            let things = own::Things::default();
            let mut world = World::new(things, peer, Policy::own(), BTreeSet::new());
            world.adapter = lossy::<Plain>;
            run(&mut world, &happenings)
        },
    );
    assert!(outcome.is_err(), "a control plane kept what was removed");

    let outcome =
        TestRunner::new(config).run(&prop::collection::vec(happening(), 0..80), |happenings| {
            let peer = EnvoyPeer::new(Manners::Grudging);
            let gateway = envoy::Gateway::default();
            let mut world = World::new(gateway, peer, Policy::envoy(), BTreeSet::new());
            world.adapter = lossy::<Kind>;
            run(&mut world, &happenings)
        });
    assert!(outcome.is_err(), "an Envoy kept what was removed");
}

/// Without waiting for needs, some interleaving delivers a route before its cluster.
#[test]
fn property_notices_a_wrong_order() {
    fn needless(response: Response<Kind>) -> Response<Kind> {
        let is_cluster = response.ty == Kind::Cluster;
        Response {
            resources: response
                .resources
                .into_iter()
                .filter(|_| !is_cluster)
                .collect(),
            ..response
        }
    }
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::with_cases(400)
    };
    let outcome =
        TestRunner::new(config).run(&prop::collection::vec(happening(), 0..80), |happenings| {
            let peer = EnvoyPeer::new(Manners::Grudging);
            let gateway = envoy::Gateway::default();
            let mut world = World::new(gateway, peer, Policy::envoy(), BTreeSet::new());
            world.adapter = needless;
            world.run(&happenings).or_else(|error| {
                // Only the order is of interest here.
                if error.contains("before") {
                    Err(TestCaseError::fail(error))
                } else {
                    Ok(())
                }
            })
        });
    assert!(
        outcome.is_err(),
        "a route arrived before its cluster, unnoticed"
    );
}
