//! A tree of routes answers as the list does: generated tables of routes, each served both ways by
//! one Envoy, and generated requests aimed at the edges of their paths.
//!
//! Every rule redirects to a host that names it, so an answer says which route was taken. 200
//! tables are compared, or as many as `MERIDIAN_TREE_TABLES` says; `MERIDIAN_TREE_SEED` chooses
//! others.

mod chance;
mod served;
mod tables;

use futures_util::StreamExt as _;
use mesh_harness::{Load, eventually};

use crate::support::{Fleet, HOST, PORT, named_route, route};
use chance::Chance;
use served::{Answer, Place, Served};
use tables::{Request, Table};

/// Tables that one Envoy serves.
const AT_ONCE: u64 = 100;
const REQUESTS: usize = 100;

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_answers_as_the_list_does() -> anyhow::Result<()> {
    let seed = number("MERIDIAN_TREE_SEED", 1);
    let tables = number("MERIDIAN_TREE_TABLES", 200);
    let mut tally = Tally::default();
    for first in (0..tables).step_by(usize::try_from(AT_ONCE)?) {
        let numbers = first..tables.min(first + AT_ONCE);
        let seeds: Vec<u64> = numbers.map(|number| (seed << 32) + number).collect();
        compare(&seeds, &mut tally).await?;
    }
    eprintln!("{tally:?}");
    // If most tables were lists both ways, or most answers 404, the comparison would say little.
    assert!(tally.trees * 10 > tally.tables * 8, "{tally:?}");
    assert!(tally.redirected * 2 > tally.requests, "{tally:?}");
    Ok(())
}

/// Under load, a gateway's routes become a tree when they are many enough, and a list again.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_gets_a_tree_when_it_has_many_routes() -> anyhow::Result<()> {
    let fleet = Fleet::start(63).await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    fleet.answers("/cart", 200).await;
    let load = Load::start(fleet.gateway.at(PORT), HOST, "/cart", 4);
    let has_tree = async |expected: bool| {
        eventually("the other form of the routes", async || {
            let routes = "/config_dump?resource=dynamic_route_configs";
            let dump = fleet.gateway.admin(routes).await?;
            anyhow::ensure!(dump.contains("prefix_match_map") == expected, "{dump}");
            anyhow::Ok(())
        })
        .await;
    };
    has_tree(false).await;
    for number in 0..140 {
        let route = named_route(&format!("route-{number}"), &format!("/{number}"), "cart");
        fleet.global.api.apply(&route).await?;
    }
    has_tree(true).await;
    assert_eq!(
        fleet.answers("/139/x?y", 200).await.as_deref(),
        Some("cart-1")
    );
    fleet.answers("/140", 404).await;
    for number in 0..20 {
        let route = format!("/meshes/default/meshgatewayroutes/route-{number}");
        fleet.global.api.delete(&route).await?;
    }
    has_tree(false).await;
    fleet.answers("/139", 200).await;
    let tally = load.stop().await;
    assert_eq!(tally.other_than(&["200 cart-1"]), 0, "{tally}");
    Ok(())
}

/// What was compared.
#[derive(Debug, Default)]
struct Tally {
    tables: usize,
    trees: usize,
    requests: usize,
    redirected: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.tables += other.tables;
        self.trees += other.trees;
        self.requests += other.requests;
        self.redirected += other.redirected;
    }
}

async fn compare(seeds: &[u64], tally: &mut Tally) -> anyhow::Result<()> {
    let mut chances: Vec<Chance> = seeds.iter().map(|seed| Chance::new(*seed)).collect();
    let tables: Vec<Table> = chances.iter_mut().map(Table::generate).collect();
    let envoy = Served::start(&tables, seeds[0]).await?;
    let compared = tables.iter().zip(&mut chances).zip(seeds);
    let compared = compared.map(|((table, chance), seed)| {
        let requests: Vec<_> = (0..REQUESTS).map(|_| table.request(chance)).collect();
        compare_table(*seed, table, requests, envoy.places(*seed))
    });
    // Some at a time: neither this nor Envoy has more than a core.
    let mut compared = futures_util::stream::iter(compared).buffer_unordered(8);
    while let Some(of_table) = compared.next().await {
        tally.add(of_table?);
    }
    Ok(())
}

async fn compare_table(
    seed: u64,
    table: &Table,
    requests: Vec<Request>,
    [list, tree]: [Place; 2],
) -> anyhow::Result<Tally> {
    let bytes: Vec<Vec<u8>> = requests.iter().map(Request::to_bytes).collect();
    let (of_list, of_tree) = tokio::try_join!(list.ask(&bytes), tree.ask(&bytes))?;
    for (request, (of_list, of_tree)) in requests.iter().zip(of_list.iter().zip(&of_tree)) {
        assert_eq!(
            of_list,
            of_tree,
            "list and tree differ for {request:?}; MERIDIAN_TREE_SEED={} \
             MERIDIAN_TREE_TABLES={}\n{:#}",
            seed >> 32,
            (seed & 0xffff_ffff) + 1,
            table.documents(),
        );
    }
    Ok(Tally {
        tables: 1,
        trees: usize::from(table.is_tree()),
        requests: requests.len(),
        redirected: of_list.iter().filter(|a| is_redirected(a)).count(),
    })
}

fn is_redirected(answer: &Answer) -> bool {
    answer.location.starts_with("http://r")
}
