//! (f) Requests through a gateway with many routes, as a list and as a tree; what the Envoy costs,
//! and how long it takes to follow a change.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use mesh_harness::eventually;
use mesh_harness::process::Process;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;
use crate::http::Http;
use crate::load::{self, PORT};
use crate::machine;
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::{Samples, milliseconds, round};

const SIZES: [usize; 3] = [10, 1_000, 40_000];
const CLIENTS: usize = 16;
const CHANGES: usize = 20;
/// What the routes leave to do is done after so long.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures both, each in a fleet of its own that grows.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    for (number, kind) in ["list", "tree"].into_iter().enumerate() {
        let address = format!("127.0.44.{}", number + 1);
        measure_kind(&dir.join(kind), kind, &address, quick, report).await?;
    }
    Ok(())
}

async fn measure_kind(
    dir: &Path,
    kind: &str,
    address: &str,
    quick: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let threshold = if kind == "tree" { "128" } else { "0" };
    let setting = ("KUMA_MERIDIAN_GATEWAY_ROUTE_TREE_THRESHOLD", threshold);
    let fleet = Fleet::start_with(dir, &[setting]).await?;
    let gateway = fleet.start_gateway("gateway-f", address).await?;
    let at = SocketAddr::new(address.parse()?, PORT);
    let mut http = Http::connect(fleet.global_api).await?;
    let mut created = 0;
    let time = Duration::from_secs(if quick { 3 } else { 10 });
    for size in SIZES.into_iter().filter(|size| !quick || *size < 40_000) {
        progress(&format!("requests: {size} routes, {kind}"));
        load::create_routes(fleet.global_api, created, size).await?;
        created = size;
        let last = format!("/shop/{:05}", size - 1);
        eventually("the last route is there", async || {
            let mut client = Http::connect(at).await?;
            let answer = client.send(Method::GET, &last, Bytes::new()).await?;
            anyhow::ensure!(answer.status == 200, "{}", answer.status);
            anyhow::Ok(())
        })
        .await;
        sleep(SETTLE).await;
        let (one, _) = ask(at, size, 1, time).await?;
        let (many, per_second) = ask(at, size, CLIENTS, time).await?;
        let updates = update(&mut http, at, size).await?;
        let memory = machine::memory(envoy_of(&gateway)?)?.0;
        for (what, figure) in [
            ("one client, p50", format!("{:.3} ms", one.percentile(50))),
            ("one client, p99", format!("{:.3} ms", one.percentile(99))),
            ("16 clients", format!("{per_second:.0} /s")),
            ("16 clients, p99", format!("{:.2} ms", many.percentile(99))),
            (
                "PUT sent -> first 200, mean",
                format!("{:.0} ms", updates.mean()),
            ),
            ("Envoy's memory", format!("{memory:.0} MiB")),
        ] {
            report.row(Row {
                what: format!("f: {what}, {size} routes, {kind}"),
                figure,
                bar: String::new(),
                is_met: None,
            });
        }
        report.detail(
            "requests",
            json!({
                "routes": size,
                "kind": kind,
                "one_client": one.to_json(),
                "many_clients": many.to_json(),
                "per_second": per_second.round(),
                "sent_to_first_200": updates.to_json(),
                "envoy_mib": round(memory),
            }),
        );
    }
    Ok(())
}

/// Has clients ask for routes all over the table; how long each request took, and how many were
/// answered per second.
async fn ask(
    at: SocketAddr,
    routes: usize,
    clients: usize,
    time: Duration,
) -> anyhow::Result<(Samples, f64)> {
    let mut asking = JoinSet::new();
    let start = Instant::now();
    for client in 0..clients {
        asking.spawn(async move {
            let mut http = Http::connect(at).await?;
            let mut taken = Vec::new();
            let mut number = client;
            while start.elapsed() < time {
                number = (number + 7919) % routes;
                let path = format!("/shop/{number:05}");
                let sent = Instant::now();
                let answer = http.send(Method::GET, &path, Bytes::new()).await?;
                anyhow::ensure!(answer.status == 200, "{path}: {}", answer.status);
                taken.push(milliseconds(answer.head_at - sent));
            }
            anyhow::Ok(taken)
        });
    }
    let mut taken = Vec::new();
    while let Some(ended) = asking.join_next().await {
        taken.extend(ended??);
    }
    let per_second = taken.len() as f64 / start.elapsed().as_secs_f64();
    Ok((Samples::new(taken), per_second))
}

/// From a PUT to the first answer by it, some times.
async fn update(http: &mut Http, at: SocketAddr, size: usize) -> anyhow::Result<Samples> {
    let mut taken = Vec::new();
    let mut client = Http::connect(at).await?;
    for round in 0..CHANGES {
        let path = format!("/probe-{size}-{round}");
        http.freshen().await?;
        client.freshen().await?;
        let document = load::route("probe", &path);
        let probe = load::route_path("probe");
        let start = Instant::now();
        let (put, answered) = tokio::join!(
            http.put(&probe, &document),
            crate::answer::first_200(&mut client, &path)
        );
        put?;
        taken.push(milliseconds(answered? - start));
        sleep(Duration::from_millis(150)).await;
    }
    Ok(Samples::new(taken))
}

/// The process that an agent runs its Envoy in.
fn envoy_of(agent: &Process) -> anyhow::Result<u32> {
    let agent = agent.id().context("the agent runs")?;
    let path = format!("/proc/{agent}/task/{agent}/children");
    let children = std::fs::read_to_string(path)?;
    let find = |pid: &str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("envoy").then(|| pid.parse().ok())?
    };
    let mut found = children.split_whitespace().filter_map(find);
    found.next().context("the agent has started an Envoy")
}
