use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use mesh_model::ResourceName;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::assemble;
use crate::envoy::{route, xds_matcher};
use crate::order::{PathKind, Source, Specificity};
use crate::view::Age;

/// The route of resource `number`, its number as an Envoy route would have its name.
fn rank(list: usize, number: usize, kind: PathKind, path: &str, is_implied: bool) -> Rank {
    let source = Source {
        age: Age::default(),
        display_name: format!("{number:05}").into(),
        name: ResourceName::parse("r").unwrap(),
    };
    let position = Position {
        breadth: 0,
        specificity: Specificity::new(kind, path, false, 0, 0),
        source: Arc::new(source),
        rule: number,
        matching: 0,
        is_implied: Reverse(is_implied),
    };
    (list, Arc::new(position))
}

/// Says in a path which route it is.
fn encoded(rank: &Rank) -> Bytes {
    let name = name(rank);
    let route = route::Route {
        r#match: Some(route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Path(name)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut bytes = BytesMut::new();
    assemble::put_field(3, &route.encode_to_vec(), &mut bytes);
    bytes.freeze()
}

fn name((list, position): &Rank) -> String {
    format!("{list:040}:{}", position.rule)
}

fn tree(bucket: usize) -> Tree {
    Tree::new(Limits {
        threshold: 0,
        bucket,
        growth: 2,
    })
}

fn put(tree: &mut Tree, rank: &Rank) {
    tree.set(rank.clone(), Some(encoded(rank)));
}

/// The matcher as Envoy reads it: the names of the routes under each key, and of those without.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    keys: BTreeMap<String, Vec<String>>,
    otherwise: Vec<String>,
}

impl Read {
    fn of(tree: &mut Tree) -> Self {
        let (_, bytes) = written(tree);
        let matcher = xds_matcher::Matcher::decode(bytes.clone()).unwrap();
        assert_eq!(
            matcher.encode_to_vec(),
            bytes,
            "it is what prost would encode"
        );
        let on_no_match = matcher.on_no_match.unwrap();
        let Some(xds_matcher::matcher::MatcherType::MatcherTree(tree)) = matcher.matcher_type
        else {
            panic!("a tree");
        };
        let Some(xds_matcher::matcher::matcher_tree::TreeType::PrefixMatchMap(map)) =
            tree.tree_type
        else {
            panic!("a map of prefixes");
        };
        let keys = map.map.into_iter();
        Self {
            keys: keys.map(|(key, list)| (key, names(list))).collect(),
            otherwise: names(on_no_match),
        }
    }

    /// What Envoy tries for a path.
    fn find(&self, path: &str) -> &[String] {
        let keys = self.keys.iter().filter(|(key, _)| path.starts_with(*key));
        let longest = keys.max_by_key(|(key, _)| key.len());
        longest.map_or(&self.otherwise, |(_, names)| names)
    }

    fn len(&self) -> usize {
        self.otherwise.len() + self.keys.values().map(Vec::len).sum::<usize>()
    }
}

fn written(tree: &mut Tree) -> (Summary, Bytes) {
    let summary = tree.summarize();
    let mut out = Pieces::default();
    tree.write(&mut out);
    let bytes = out.finish().to_bytes();
    assert_eq!(bytes.len(), summary.length);
    (summary, bytes)
}

fn names(list: xds_matcher::matcher::OnMatch) -> Vec<String> {
    let Some(xds_matcher::matcher::on_match::OnMatch::Action(action)) = list.on_match else {
        panic!("an action");
    };
    let any = action.typed_config.unwrap();
    let list = route::RouteList::decode(any.value).unwrap();
    let name = |route: route::Route| match route.r#match.unwrap().path_specifier {
        Some(route::route_match::PathSpecifier::Path(name)) => name,
        other => panic!("{other:?}"),
    };
    list.routes.into_iter().map(name).collect()
}

/// Whether the path condition of a route holds, as Envoy has it.
fn matches(position: &Position, path_and_query: &str) -> bool {
    let end = path_and_query
        .find(['?', '#'])
        .unwrap_or(path_and_query.len());
    let path = &path_and_query[..end];
    let own = position.specificity.path();
    let stem = own.trim_end_matches('/');
    match position.specificity.kind() {
        PathKind::Exact => path == own,
        PathKind::Prefix if position.is_implied.0 && stem.is_empty() => path == "/",
        PathKind::Prefix if position.is_implied.0 => path == stem,
        PathKind::Prefix => {
            let rest = path.strip_prefix(stem);
            rest.is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && !stem.is_empty())
        }
        PathKind::Regex => regex_lite(own, path),
    }
}

/// The few expressions that the tests use.
fn regex_lite(regex: &str, path: &str) -> bool {
    match regex {
        "/.*" => path.starts_with('/'),
        "/a/b.*" => path.starts_with("/a/b"),
        "/a/bc?" => path == "/a/b" || path == "/a/bc",
        "/a|/b" => path == "/a" || path == "/b",
        "/ü/.*" => path.starts_with("/ü/"),
        _ => panic!("{regex}"),
    }
}

/// Few letters, so that paths are often equal, or beginnings of one another.
fn path() -> impl Strategy<Value = String> {
    let parts = [
        "/", "/a", "b", "/b", "c", "/ü", "üb", "é", "/a/b/c", "?a", "#",
    ];
    let parts = prop::collection::vec(prop::sample::select(parts.to_vec()), 0..6);
    // Some are about as long as keys may be.
    let long = (248_usize..252).prop_map(|length| "/".repeat(length));
    let long = prop_oneof![4 => Just(String::new()), 1 => long];
    (long, parts).prop_map(|(long, parts)| long + &parts.concat())
}

fn any_rank() -> impl Strategy<Value = (usize, usize, PathKind, String, bool)> {
    let regex = prop::sample::select(vec!["/.*", "/a/b.*", "/a/bc?", "/a|/b", "/ü/.*"]);
    let what = prop_oneof![
        8 => path().prop_map(|path| (PathKind::Exact, path, false)),
        6 => (path(), any::<bool>()).prop_map(|(path, is_implied)| {
            (PathKind::Prefix, format!("{}/", path.trim_end_matches('/')), is_implied)
        }),
        1 => regex.prop_map(|regex| (PathKind::Regex, regex.to_owned(), false)),
    ];
    (0_usize..2, 0_usize..1000, what)
        .prop_map(|(list, number, (kind, path, is_implied))| (list, number, kind, path, is_implied))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_finds_what_the_list_finds_in_the_same_order(
        routes in prop::collection::vec(any_rank(), 1..60),
        paths in prop::collection::vec(path(), 1..60),
        bucket in 1_usize..9,
    ) {
        let ranks: BTreeMap<Rank, ()> = routes
            .into_iter()
            .enumerate()
            .map(|(n, (list, _, kind, path, implied))| (rank(list, n, kind, &path, implied), ()))
            .collect();
        let mut tree = tree(bucket);
        ranks.keys().for_each(|rank| put(&mut tree, rank));
        let read = Read::of(&mut tree);
        let routes = ranks.len();
        prop_assert_eq!(
            tree.is_worthwhile(),
            !read.keys.is_empty() && read.len() <= 2 * routes
        );
        let by_name: BTreeMap<String, &Rank> =
            ranks.keys().map(|rank| (name(rank), rank)).collect();
        // Those that were generated, and those that are of routes.
        let of_routes = ranks.keys().map(|(_, position)| {
            position.specificity.path().to_owned()
        });
        for path in paths.into_iter().chain(of_routes) {
            for end in ["", "/", "?x=/a/b", "/?", "x", "/a"] {
                let path = format!("{path}{end}");
                let in_list: Vec<&Rank> = ranks
                    .keys()
                    .filter(|rank| matches(&rank.1, &path))
                    .collect();
                let in_tree: Vec<&Rank> = read
                    .find(&path)
                    .iter()
                    .map(|name| by_name[name])
                    .filter(|rank| matches(&rank.1, &path))
                    .collect();
                prop_assert_eq!(in_tree, in_list, "{}", path);
            }
        }
    }

    #[test]
    fn a_tree_is_a_function_of_its_routes(
        routes in prop::collection::vec((any_rank(), any::<bool>(), any::<bool>()), 1..120),
        bucket in 1_usize..9,
    ) {
        let mut winding = tree(bucket);
        let mut wanted: BTreeMap<Rank, ()> = BTreeMap::new();
        for ((list, n, kind, path, implied), is_removal, is_look) in routes {
            // Numbers repeat, so that removals often find something.
            let rank = rank(list, n % 20, kind, &path, implied);
            if is_removal {
                let first = wanted.range(rank.clone()..).next().map(|(rank, ())| rank.clone());
                let gone = first.unwrap_or(rank);
                wanted.remove(&gone);
                winding.set(gone, None);
            } else {
                put(&mut winding, &rank);
                wanted.insert(rank, ());
            }
            if is_look {
                written(&mut winding);
                winding.is_worthwhile();
            }
        }
        let mut straight = tree(bucket);
        wanted.keys().rev().for_each(|rank| put(&mut straight, rank));
        prop_assert_eq!(written(&mut winding), written(&mut straight));
        prop_assert_eq!(winding.is_worthwhile(), straight.is_worthwhile());
    }
}

#[test]
fn a_change_encodes_one_part_again() {
    let ranks: Vec<Rank> = (0..5000)
        .map(|n| rank(0, n, PathKind::Exact, &format!("/shop/{n}"), false))
        .collect();
    let mut tree = tree(64);
    ranks.iter().for_each(|rank| put(&mut tree, rank));
    let read = Read::of(&mut tree);
    assert!(read.keys.values().all(|names| names.len() <= 64));
    assert!(read.keys.len() > 5000 / 64 && read.keys.len() < 5000 / 16);
    assert_eq!(read.len(), 5000, "nothing is repeated");
    let pieces = |tree: &Tree| {
        let mut out = Pieces::default();
        tree.write(&mut out);
        let pieces: Vec<Bytes> = out.finish().pieces().to_vec();
        pieces
    };
    let before = pieces(&tree);
    tree.set(ranks[4321].clone(), Some(encoded(&ranks[1])));
    tree.summarize();
    let after = pieces(&tree);
    let is_shared = |piece: &&Bytes| before.iter().any(|b| b.as_ptr() == piece.as_ptr());
    let new: usize = after.iter().filter(|p| !is_shared(p)).map(Bytes::len).sum();
    let all: usize = after.iter().map(Bytes::len).sum();
    assert!(new * 4 < all, "{new} of {all} bytes are new");
}

#[test]
fn many_routes_for_any_path_are_better_kept_in_a_list() {
    let mut tree = tree(8);
    for n in 0..100 {
        put(
            &mut tree,
            &rank(0, n, PathKind::Exact, &format!("/{n}"), false),
        );
    }
    assert!(tree.is_worthwhile());
    for n in 100..120 {
        put(&mut tree, &rank(0, n, PathKind::Regex, "/a|/b", false));
    }
    assert!(!tree.is_worthwhile());
}

#[test]
fn routes_of_one_path_are_better_kept_in_a_list() {
    let mut tree = tree(8);
    for n in 0..100 {
        put(&mut tree, &rank(0, n, PathKind::Exact, "/same", false));
    }
    assert!(!tree.is_worthwhile());
}

#[test]
fn paths_within_paths_make_no_deep_tree() {
    const ROUTES: usize = 3000;
    let work = || {
        let ranks: Vec<Rank> = (0..ROUTES)
            .map(|n| {
                let path = format!("/{}", "a".repeat(n));
                rank(0, n, PathKind::Exact, &path, false)
            })
            .collect();
        // The shortest first, the longest first, and another way.
        let orders: [fn(usize) -> usize; 3] = [|n| n, |n| ROUTES - 1 - n, |n| n * 1237 % ROUTES];
        let mut summaries = Vec::new();
        for order in orders {
            let mut tree = tree(8);
            (0..ROUTES).for_each(|n| put(&mut tree, &ranks[order(n)]));
            assert!(tree.is_worthwhile(), "routes are in one bucket each");
            let read = Read::of(&mut tree);
            assert_eq!(read.len(), ROUTES);
            let length: usize = read.keys.keys().map(String::len).sum();
            assert!(length < 64 * 1024, "keys have {length} bytes");
            let path = |n: usize| ranks[n].1.specificity.path();
            for n in [0, 100, 254, 255, 256, 257, 2999] {
                assert!(read.find(path(n)).contains(&name(&ranks[n])), "{n}");
            }
            assert!(read.find(path(100)).len() <= 9);
            summaries.push(written(&mut tree));
            for n in (0..ROUTES).filter(|n| n % 2 == 0) {
                tree.set(ranks[order(n)].clone(), None);
            }
            assert_eq!(Read::of(&mut tree).len(), ROUTES / 2);
        }
        assert_eq!(summaries[0], summaries[1]);
        assert_eq!(summaries[0], summaries[2]);
    };
    // A quarter of what threads have otherwise.
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    thread.spawn(work).unwrap().join().unwrap();
}
