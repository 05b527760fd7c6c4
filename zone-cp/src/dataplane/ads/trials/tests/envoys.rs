//! Streams with one book, and Envoys that refuse every table with a certain path in it.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_delta::{Policy, Request, Response};
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Timestamp};
use mesh_store::Batch;
use proptest::prelude::*;
use serde_json::{Value, json};
use zone_translate::Proxy;

use super::super::*;
use crate::dataplane::ads::stream::standing;

const NOW: Duration = Duration::ZERO;

fn resource(document: &Value, modified: i64) -> Arc<Resource> {
    let parsed = parse_document(document).unwrap();
    let mesh = MeshName::parse("default").unwrap();
    let name = ResourceName::parse(&parsed.name).unwrap();
    let key = Key::in_mesh(parsed.ty, mesh, name);
    let at = Timestamp::from_unix_seconds(modified);
    Arc::new(Resource::new(key, parsed.labels, parsed.spec, at, at))
}

fn dataplane() -> Arc<Resource> {
    let gateway = json!({"type": "BUILTIN", "tags": {"kuma.io/service": "edge"}});
    let networking = json!({"address": "10.0.0.9", "gateway": gateway});
    let of = json!({"type": "Dataplane", "mesh": "default", "name": "edge-1"});
    let mut document = of;
    document["networking"] = networking;
    resource(&document, 0)
}

fn gateway(host: &str) -> Arc<Resource> {
    let listener = json!({"port": 8080, "protocol": "HTTP", "hostname": host});
    let document = json!({
        "type": "MeshGateway", "mesh": "default", "name": "edge",
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"listeners": [listener]},
    });
    resource(&document, 0)
}

fn route(name: &str, path: &str, modified: i64) -> Arc<Resource> {
    let redirect = json!({"redirect": {"hostname": "a.com", "status_code": 302}});
    let rule = json!({"matches": [{"path": {"value": path}}], "filters": [redirect]});
    let document = json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"http": {"rules": [rule]}},
    });
    resource(&document, modified)
}

/// The store with what all streams share.
struct Zone {
    store: mesh_store::Memory,
    view: ZoneView,
    book: RefusedRoutes,
}

impl Zone {
    async fn new() -> Self {
        let mut new = Self {
            store: mesh_store::Memory::new(),
            view: ZoneView::default(),
            book: RefusedRoutes::unkept(),
        };
        new.write([dataplane(), gateway("*")]).await;
        new
    }

    async fn write(&mut self, resources: impl IntoIterator<Item = Arc<Resource>>) {
        use mesh_store::Store as _;
        let mut batch = Batch::new();
        for one in resources {
            self.view.put(&one);
            batch = batch.put(Resource::clone(&one));
        }
        self.store.commit(batch).await.unwrap();
        self.view.set_revision(self.store.snapshot().revision().0);
    }

    fn snapshot(&self) -> Snapshot {
        use mesh_store::Store as _;
        self.store.snapshot()
    }

    /// The routes in the book.
    fn refused(&self) -> BTreeSet<String> {
        let mesh = MeshName::parse("default").unwrap();
        let held = self.book.held(Some(&mesh), &self.snapshot()).into_keys();
        held.map(|name| name.to_string()).collect()
    }
}

/// A stream, and the Envoy at its other end.
struct Stream {
    trials: Trials,
    translator: Translator,
    sender: Sender<EnvoyType>,
    /// A response that is not answered yet.
    pending: Option<Response<EnvoyType>>,
    envoy: Envoy,
}

#[derive(Debug, Clone, Default)]
struct Envoy {
    /// The tables that it serves from.
    held: BTreeMap<Name, (mesh_delta::Version, Vec<u8>)>,
    pushes: usize,
    /// How many paths it served at least since it served any, of those that are counted.
    counted: BTreeSet<String>,
    lost: BTreeSet<String>,
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

impl Envoy {
    fn serves(&self, path: &str) -> bool {
        self.held.values().any(|(_, bytes)| has(bytes, path))
    }
}

impl Stream {
    fn open(zone: &Zone, envoy: Envoy) -> Self {
        let mut new = Self {
            trials: Trials::default(),
            translator: Translator::new(Proxy::new(dataplane(), None)),
            sender: Sender::new(Policy::envoy()),
            pending: None,
            envoy,
        };
        new.offer(zone);
        let mut request = Request::wildcard(EnvoyType::Route);
        let held = new.envoy.held.iter();
        request.initial_versions = held
            .map(|(name, (version, _))| (name.clone(), version.clone()))
            .collect();
        new.sender.on_request(NOW, request).unwrap();
        new
    }

    fn offer(&mut self, zone: &Zone) {
        self.translate(zone);
        self.settle(zone);
    }

    fn translate(&mut self, zone: &Zone) {
        self.trials.before(&zone.view, &self.translator);
        let held = self
            .trials
            .held(&zone.book, &self.translator, &zone.snapshot());
        self.translator.hold_back(held);
        if let Some(translation) = self.translator.update(&zone.view) {
            // Only routes are looked at here, so that they need not wait for anything.
            let routes = translation.snapshot.items(EnvoyType::Route).clone();
            let revision = translation.snapshot.revision();
            let routes = Translated::empty().with(revision, [(EnvoyType::Route, routes)]);
            self.sender.offer(self.trials.offered(routes));
        }
    }

    fn settle(&mut self, zone: &Zone) {
        while self.trials.look(
            |ty| standing(&self.sender, ty),
            &self.translator,
            &zone.book,
        ) {
            self.translate(zone);
        }
    }

    /// One push or one answer; whether there was any.
    fn step(&mut self, zone: &Zone) -> bool {
        if let Some(response) = self.pending.take() {
            self.answer(zone, &response);
            return true;
        }
        let Some(response) = self.sender.poll(NOW) else {
            return false;
        };
        let is_all = self.sender.status(response.ty).outstanding
            == response.resources.len() + response.removed.len();
        self.trials.sent(response.ty, is_all, &self.translator);
        self.envoy.pushes += 1;
        self.pending = Some(response);
        true
    }

    fn answer(&mut self, zone: &Zone, response: &Response<EnvoyType>) {
        let tables = response.resources.iter();
        let tables: Vec<_> = tables
            .map(|(name, item)| {
                let bytes = item.payload.to_bytes().to_vec();
                (name.clone(), (item.version.clone(), bytes))
            })
            .collect();
        let is_bad = |bytes: &[u8]| has(bytes, "/bad") || has(bytes, ".bad");
        let is_taken = !tables.iter().any(|(_, (_, bytes))| is_bad(bytes));
        let nonce = response.nonce.clone();
        let answer = if is_taken {
            self.envoy.held.extend(tables);
            for name in &response.removed {
                self.envoy.held.remove(name);
            }
            let lost = self.envoy.counted.iter();
            let lost: Vec<_> = lost.filter(|p| !self.envoy.serves(p)).cloned().collect();
            self.envoy.lost.extend(lost);
            Request::ack(EnvoyType::Route, nonce)
        } else {
            Request::nack(EnvoyType::Route, nonce, "one of them is too large")
        };
        self.sender.on_request(NOW, answer).unwrap();
        self.trials.answered(EnvoyType::Route, is_taken);
        self.settle(zone);
    }

    fn run(&mut self, zone: &Zone) {
        for _ in 0..400 {
            if !self.step(zone) {
                return;
            }
        }
        panic!("it does not end");
    }
}

#[tokio::test]
async fn what_another_stream_finds_blames_nobody_here() {
    let mut zone = Zone::new().await;
    zone.write([route("x", "/x", 1)]).await;
    let mut one = Stream::open(&zone, Envoy::default());
    let mut other = Stream::open(&zone, Envoy::default());
    one.run(&zone);
    other.run(&zone);
    zone.write([route("a", "/bad", 2), route("b", "/b", 2)])
        .await;
    other.offer(&zone);
    while other.trials.search.is_none() {
        assert!(other.step(&zone));
    }
    // Its first trial, of `a` alone, is on its way.
    assert!(other.step(&zone));
    one.offer(&zone);
    one.run(&zone);
    assert_eq!(zone.refused(), ["a".to_owned()].into());
    other.offer(&zone);
    other.run(&zone);
    assert_eq!(zone.refused(), ["a".to_owned()].into());
    for stream in [&one, &other] {
        assert!(stream.envoy.serves("/b") && stream.envoy.serves("/x"));
    }
}

#[tokio::test]
async fn a_good_plan_in_place_of_a_bad_one_blames_nobody() {
    let mut zone = Zone::new().await;
    zone.write([route("x", "/x", 1)]).await;
    let mut stream = Stream::open(&zone, Envoy::default());
    stream.run(&zone);
    // Whatever is tried is refused, until the plan is mended.
    zone.write([
        gateway("plan.bad"),
        route("a", "/a", 2),
        route("b", "/b", 2),
    ])
    .await;
    zone.write([route("c", "/bad", 2)]).await;
    stream.offer(&zone);
    while stream.trials.search.is_none() {
        assert!(stream.step(&zone));
    }
    assert!(stream.step(&zone));
    zone.write([gateway("*"), route("c", "/c", 3)]).await;
    stream.offer(&zone);
    stream.run(&zone);
    assert_eq!(zone.refused(), BTreeSet::new());
    for path in ["/a", "/b", "/c", "/x"] {
        assert!(stream.envoy.serves(path), "{path}");
    }
}

/// An Envoy that served these routes to a stream that has ended.
async fn served(zone: &mut Zone, routes: usize) -> Envoy {
    let path = |n: usize| format!("/path-{n:04}");
    let all = (0..routes).map(|n| route(&format!("r-{n}"), &path(n), 1));
    zone.write(all.collect::<Vec<_>>()).await;
    let mut stream = Stream::open(zone, Envoy::default());
    stream.run(zone);
    Envoy {
        pushes: 0,
        counted: (0..routes).map(path).collect(),
        ..stream.envoy
    }
}

#[tokio::test]
async fn an_envoy_that_comes_back_loses_nothing_for_a_bad_route_that_is_new() {
    let mut zone = Zone::new().await;
    let envoy = served(&mut zone, 500).await;
    zone.write([route("a-new", "/bad", 9), route("new", "/new", 9)])
        .await;
    let mut stream = Stream::open(&zone, envoy);
    stream.run(&zone);
    assert_eq!(stream.envoy.lost, BTreeSet::new());
    assert_eq!(zone.refused(), ["a-new".to_owned()].into());
    assert!(stream.envoy.serves("/new"));
    assert!(stream.envoy.pushes <= 5, "{}", stream.envoy.pushes);
}

#[tokio::test]
async fn an_envoy_that_comes_back_loses_few_for_one_that_is_older() {
    let mut zone = Zone::new().await;
    let envoy = served(&mut zone, 500).await;
    zone.write([route("bad-1", "/bad", 2), route("bad-2", "/bad/2", 2)])
        .await;
    let later = (0..10).map(|n| route(&format!("r-{n}"), &format!("/path-{n:04}"), 3));
    zone.write(later.collect::<Vec<_>>()).await;
    let mut stream = Stream::open(&zone, envoy);
    stream.run(&zone);
    assert_eq!(
        zone.refused(),
        ["bad-1".to_owned(), "bad-2".to_owned()].into()
    );
    let lost = stream.envoy.lost.len();
    assert!(lost <= 16, "{lost} are away for a while");
    assert!(
        stream
            .envoy
            .counted
            .iter()
            .all(|path| stream.envoy.serves(path))
    );
}

#[tokio::test]
async fn an_envoy_that_comes_back_keeps_what_it_has_rather_than_lose_many() {
    let mut zone = Zone::new().await;
    let envoy = served(&mut zone, 500).await;
    // The bad one is older than all others, as far as anybody knows.
    zone.write([route("bad", "/bad", 0)]).await;
    let mut stream = Stream::open(&zone, envoy);
    stream.run(&zone);
    assert_eq!(stream.envoy.lost, BTreeSet::new());
    assert_eq!(zone.refused(), BTreeSet::new(), "nobody is accused");
    assert!(stream.envoy.pushes <= 10, "{}", stream.envoy.pushes);
    // What mends it is taken at once.
    zone.write([route("bad", "/mended", 9)]).await;
    stream.offer(&zone);
    stream.run(&zone);
    assert!(stream.envoy.serves("/mended"));
    assert_eq!(stream.envoy.lost, BTreeSet::new());
}

/// What happens to two streams in a test.
#[derive(Debug, Clone)]
enum Event {
    Step(usize),
    Look(usize),
    Write { route: usize, is_bad: bool },
    Plan { is_bad: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_usize..2).prop_map(Event::Step),
        2 => (0_usize..2).prop_map(Event::Look),
        2 => (0_usize..12, prop::bool::weighted(0.3))
            .prop_map(|(route, is_bad)| Event::Write { route, is_bad }),
        1 => prop::bool::weighted(0.3).prop_map(|is_bad| Event::Plan { is_bad }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_good_route_is_ever_blamed(events in prop::collection::vec(event(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut zone = Zone::new().await;
            let mut bad = BTreeSet::new();
            let mut good = BTreeMap::new();
            let mut streams = [0, 1].map(|_| Stream::open(&zone, Envoy::default()));
            for (n, event) in events.into_iter().enumerate() {
                let at = i64::try_from(n).unwrap();
                match event {
                    Event::Step(of) => _ = streams[of].step(&zone),
                    Event::Look(of) => streams[of].offer(&zone),
                    Event::Write { route: of, is_bad } => {
                        let name = format!("r-{of}");
                        let path = if is_bad { format!("/bad-{n}") } else { format!("/good-{n}") };
                        if is_bad {
                            good.remove(&name);
                            bad.insert(name.clone());
                        } else {
                            bad.remove(&name);
                            good.insert(name.clone(), path.clone());
                        }
                        zone.write([route(&name, &path, at)]).await;
                    }
                    Event::Plan { is_bad: false } => {
                        zone.write([gateway(&format!("p{n}.com"))]).await;
                    }
                    Event::Plan { is_bad: true } => {
                        zone.write([gateway(&format!("p{n}.bad"))]).await;
                    }
                }
                let refused = zone.refused();
                prop_assert!(refused.is_subset(&bad), "{refused:?} of {bad:?}");
            }
            zone.write([gateway("*")]).await;
            for stream in &mut streams {
                stream.offer(&zone);
                stream.run(&zone);
                let refused = zone.refused();
                prop_assert_eq!(&refused, &bad);
                for path in good.values() {
                    prop_assert!(stream.envoy.serves(path), "{path}");
                }
            }
            Ok(())
        })?;
    }
}
