use std::cmp::Reverse;
use std::net::Ipv4Addr;

use mesh_model::ResourceName;
use mesh_model::tags::Tags;
use proptest::prelude::*;

use super::*;
use crate::order::{PathKind, Source, Specificity};
use crate::plan::{HostListener, Tls};
use crate::view::Age;

/// An HTTP port with listeners for these hostnames.
fn table(hostnames: &[&str]) -> Table {
    let listener = |hostname: &&str| HostListener {
        hostname: Hostname::parse(hostname).unwrap(),
        tags: Arc::new(Tags::new()),
        shares_tags_with_http: false,
        tls: Tls::None,
    };
    let port = Port {
        name: Name::from("edge:HTTP:80"),
        address: Ipv4Addr::LOCALHOST.into(),
        number: 80,
        protocol: Protocol::Http,
        service: String::new(),
        connection_limit: 0,
        listeners: hostnames.iter().map(listener).collect(),
    };
    Table::new(&port, "&a=1&")
}

/// The entry of route `number`, for a path of its own.
fn entry(number: usize) -> (Arc<Position>, Entry) {
    let path = format!("/{number}");
    let route = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Path(path.clone())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    assemble::put_field(field::ROUTES, &route.encode_to_vec(), &mut bytes);
    let position = Position {
        breadth: 0,
        specificity: Specificity::new(PathKind::Exact, &path, false, 0, 0),
        is_implied: Reverse(false),
        source: Arc::new(Source {
            age: Age::default(),
            display_name: "r".into(),
            name: ResourceName::parse("r").unwrap(),
        }),
        rule: number,
        matching: 0,
    };
    let entry = Entry {
        bytes: bytes.freeze(),
        matching: number as u128,
    };
    (Arc::new(position), entry)
}

fn key(hostname: &str) -> ListKey {
    (0, Hostname::parse(hostname).unwrap())
}

fn put(table: &mut Table, hostname: &str, number: usize) {
    let (position, entry) = entry(number);
    table.insert(&key(hostname), position, entry);
}

/// How many entries the lists of a table have, those that are repeated included.
fn held(table: &Table) -> usize {
    table.slots.iter().map(RouteList::len).sum()
}

/// Hosts with the number of routes that they serve.
fn sizes(table: &Table) -> BTreeMap<String, usize> {
    let (_, _, item) = table.items().next().unwrap();
    let decoded = route::RouteConfiguration::decode(item.payload.to_bytes()).unwrap();
    let hosts = decoded.virtual_hosts.into_iter();
    hosts.map(|host| (host.name, host.routes.len())).collect()
}

#[test]
fn what_is_assembled_is_what_prost_would_encode() {
    let mut table = table(&["*", "a.com", "b.com"]);
    for number in 0..300 {
        let (position, entry) = entry(number);
        let named = Hostname::parse("x.org").unwrap();
        for key in table.places(number % 2, (number % 3 == 0).then_some(&named)) {
            table.insert(&key, Arc::clone(&position), entry.clone());
        }
    }
    let page = no_routes("nothing here");
    assert!(
        table.assemble(&page, None),
        "the first time there is always something new"
    );
    let (_, name, item) = table.items().next().unwrap();
    assert_eq!(&**name, "edge:HTTP:80:*");
    let decoded = route::RouteConfiguration::decode(item.payload.to_bytes()).unwrap();
    let sizes: Vec<(&str, usize)> = decoded
        .virtual_hosts
        .iter()
        .map(|host| (host.name.as_str(), host.routes.len()))
        .collect();
    assert_eq!(
        sizes,
        [("x.org", 150), ("b.com", 1), ("a.com", 100), ("*", 100)]
    );
    assert_eq!(decoded.encode_to_vec(), item.payload.to_bytes());
    assert!(!table.assemble(&page, None), "nothing changed since");
}

#[test]
fn hosts_repeat_no_more_than_envoy_can_hold() {
    let page = no_routes("nothing here");
    let mut at_once = table(&["*"]);
    (0..200).for_each(|n| put(&mut at_once, "*.example.com", n));
    let host = |n: usize| format!("h{n}.example.com");
    (0..1000).for_each(|n| put(&mut at_once, &host(n), 200));
    put(&mut at_once, "*.com", 300);
    put(&mut at_once, "*", 301);
    put(&mut at_once, "x.org", 302);
    at_once.assemble(&page, None);
    assert!(
        held(&at_once) < at_once.repeats.limit,
        "{} entries",
        held(&at_once)
    );
    let hosts = sizes(&at_once);
    assert_eq!(
        hosts[&host(7)],
        1,
        "nor what is wider: it would take requests"
    );
    assert_eq!(hosts["*.example.com"], 200 + 2);
    assert_eq!(hosts["x.org"], 2, "other lists are repeated");
    let unrepeated: Vec<&str> = at_once.unrepeated().map(Hostname::as_str).collect();
    assert_eq!(unrepeated, ["*.example.com"]);

    // The same bit by bit; what is too much never is there for a while.
    let mut grown = table(&["*"]);
    (0..1000).for_each(|n| put(&mut grown, &host(n), 200));
    put(&mut grown, "*.example.com", 0);
    put(&mut grown, "*.com", 300);
    put(&mut grown, "*", 301);
    put(&mut grown, "x.org", 302);
    grown.assemble(&page, None);
    assert_eq!(sizes(&grown)[&host(7)], 4);
    for n in 1..200 {
        put(&mut grown, "*.example.com", n);
        assert!(held(&grown) < grown.repeats.limit + 2000);
    }
    grown.assemble(&page, None);
    assert_eq!(sizes(&grown), hosts);

    // And back.
    for n in 50..200 {
        grown.remove(&key("*.example.com"), &entry(n).0);
    }
    grown.assemble(&page, None);
    assert_eq!(grown.unrepeated().count(), 0);
    assert_eq!(sizes(&grown)[&host(7)], 1 + 50 + 2);
}

#[test]
fn nothing_is_noted_of_changes_that_are_assembled() {
    let page = no_routes("nothing here");
    let mut table = table(&["*"]);
    put(&mut table, "*.example.com", 0);
    put(&mut table, "a.example.com", 1);
    for _ in 0..10 {
        for (hostname, number) in [("a.example.com", 2), ("*.example.com", 3), ("b.org", 4)] {
            put(&mut table, hostname, number);
            table.assemble(&page, None);
            table.remove(&key(hostname), &entry(number).0);
            table.assemble(&page, None);
        }
    }
    let noted: usize = table.slots.iter().map(|list| list.touched().len()).sum();
    assert_eq!(noted, 0);
}

#[test]
fn a_list_that_is_empty_for_a_moment_is_not_made_anew() {
    let page = no_routes("nothing here");
    let mut table = table(&["*"]);
    put(&mut table, "*.example.com", 0);
    (0..50).for_each(|n| put(&mut table, &format!("h{n}.example.com"), 1));
    table.assemble(&page, None);
    let slots = |table: &Table| {
        let configuration = &table.configurations[0];
        let hosts = configuration.hosts.values();
        hosts.map(|host| host.chain.clone()).collect::<Vec<_>>()
    };
    let before = slots(&table);
    table.remove(&key("*.example.com"), &entry(0).0);
    put(&mut table, "*.example.com", 9);
    let changed: usize = table.slots.iter().map(|list| list.touched().len()).sum();
    assert_eq!(changed, 2 * 51, "each list has one entry less and one more");
    table.assemble(&page, None);
    assert_eq!(slots(&table), before);
    assert_eq!(sizes(&table)["h7.example.com"], 2);

    table.remove(&key("*.example.com"), &entry(9).0);
    table.assemble(&page, None);
    assert_eq!(table.lists.len(), 50, "no list is empty");
    assert_eq!(sizes(&table)["h7.example.com"], 1);
}

/// Names a list and a route, and whether the route leaves it; then whether to look.
fn step() -> impl Strategy<Value = (&'static str, usize, bool, bool)> {
    let hostnames = [
        "*",
        "*.com",
        "*.a.com",
        "*.b.com",
        "x.a.com",
        "y.a.com",
        "z.a.com",
        "x.b.com",
        "y.b.com",
        "x.com",
        "*.c.a.com",
        "x.c.a.com",
    ];
    let hostname = prop::sample::select(hostnames.to_vec());
    (
        hostname,
        0_usize..9,
        prop::bool::weighted(0.3),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_a_function_of_its_entries(
        steps in prop::collection::vec(step(), 1..150),
        limit in 0_usize..80,
    ) {
        let page = no_routes("nothing here");
        let new = || {
            let mut table = table(&["*", "*.b.com"]);
            table.repeats.limit = limit;
            table
        };
        let mut winding = new();
        let mut wanted = BTreeSet::new();
        for (hostname, number, is_removal, is_look) in steps {
            let name = Hostname::parse(hostname).unwrap();
            let key = (winding.owner(&name).unwrap(), name);
            let (position, entry) = entry(number);
            if is_removal {
                winding.remove(&key, &position);
                wanted.remove(&(key, number));
            } else if wanted.insert((key.clone(), number)) {
                winding.insert(&key, position, entry);
            }
            if is_look {
                winding.assemble(&page, None);
            }
        }
        let mut straight = new();
        for (key, number) in &wanted {
            let (position, entry) = entry(*number);
            straight.insert(key, position, entry);
        }
        winding.assemble(&page, None);
        straight.assemble(&page, None);
        let item = |table: &Table| table.items().next().unwrap().2.clone();
        prop_assert!(item(&winding) == item(&straight));
        prop_assert!(winding.unrepeated().eq(straight.unrepeated()));
        prop_assert_eq!(held(&winding), held(&straight));
        prop_assert!(held(&straight) <= 2 * wanted.len() + limit);
    }
}
