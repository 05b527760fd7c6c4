//! (b) From a PUT to the first request that a real Envoy answers by it, beside what Envoy needs
//! for the same update by itself.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mesh_harness::eventually;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::ads::{Ads, Resources, resources};
use crate::bare::Bare;
use crate::fleet::{Fleet, LOCALHOST, free_port};
use crate::http::Http;
use crate::load::{self, PORT};
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::{Samples, milliseconds};

const SIZES: [usize; 5] = [0, 1_000, 3_000, 5_000, 40_000];
/// How many routes are added one at a time.
const GROWTH: usize = 3_000;
/// Where the gateway is, and where the bare one.
const OURS: &str = "127.0.42.1";
const BARE: &str = "127.0.42.2";
const GROWING: &str = "127.0.42.3";
/// Both Envoys are left alone for so long before each change.
const PAUSE: Duration = Duration::from_millis(150);

/// Measures at each size, in one fleet that grows.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let rounds = if quick { 10 } else { 50 };
    let dir = dir.join("answer");
    let fleet = Fleet::start(&dir).await?;
    let _gateway = fleet.start_gateway("gateway-b", OURS).await?;
    let mut bare = None;
    let mut http = Http::connect(fleet.global_api).await?;
    let mut created = 0;
    let sizes = SIZES.into_iter().filter(|size| !quick || *size <= 5_000);
    for size in sizes {
        progress(&format!("answer: {size} routes"));
        load::create_routes(fleet.global_api, created, size).await?;
        created = size;
        let changes = record(&fleet, &dir, &mut http, size, rounds, &mut bare).await?;
        let bare = bare.as_ref().expect("the recording starts it");
        let mut our_client = connect(OURS).await?;
        let mut bare_client = connect(BARE).await?;
        sleep(Duration::from_secs(2)).await;

        let (mut ours, mut alone) = (Vec::new(), Vec::new());
        for (path, routes) in changes {
            sleep(PAUSE).await;
            http.freshen().await?;
            our_client.freshen().await?;
            let document = load::route("probe", &path);
            let probe = load::route_path("probe");
            let start = Instant::now();
            let (put, answered) = tokio::join!(
                http.put(&probe, &document),
                first_200(&mut our_client, &path)
            );
            put?;
            ours.push(milliseconds(answered? - start));

            sleep(PAUSE).await;
            bare_client.freshen().await?;
            let start = bare.push(routes)?;
            let answered = first_200(&mut bare_client, &path).await?;
            alone.push(milliseconds(answered - start));
        }
        add(size, &Samples::new(ours), &Samples::new(alone), report);
    }
    Ok(())
}

/// Adds routes one at a time to a fleet without any, each when the one before has answered.
pub(crate) async fn grow(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let count = if quick { GROWTH / 10 } else { GROWTH };
    progress(&format!("answer: {count} routes, one at a time"));
    let fleet = Fleet::start(&dir.join("growth")).await?;
    let _gateway = fleet.start_gateway("gateway-g", GROWING).await?;
    let mut http = Http::connect(fleet.global_api).await?;
    let mut client = connect(GROWING).await?;
    let mut took = Vec::with_capacity(count);
    for number in 0..count {
        let (name, path) = (format!("grown-{number}"), format!("/grown/{number}"));
        http.freshen().await?;
        client.freshen().await?;
        let (at, document) = (load::route_path(&name), load::route(&name, &path));
        let start = Instant::now();
        let (put, answered) = tokio::join!(http.put(&at, &document), first_200(&mut client, &path));
        put?;
        took.push(milliseconds(answered? - start));
    }
    let took = Samples::new(took);
    report.row(Row {
        what: format!("b: PUT sent -> first 200, {count} routes added one at a time, mean / max"),
        figure: format!("{:.2} / {:.2} ms", took.mean(), took.max()),
        bar: "<= 40 / 200 ms".to_owned(),
        is_met: Some(took.mean() <= 40.0 && took.max() <= 200.0),
    });
    report.detail(
        "growth",
        json!({"routes": count, "sent_to_first_200": took.to_json()}),
    );
    Ok(())
}

/// Has the zone say what each of the coming changes amounts to, on a stream of the bare Envoy's
/// Dataplane, which is gone afterwards. The first time, starts the bare Envoy.
async fn record(
    fleet: &Fleet,
    dir: &Path,
    http: &mut Http,
    size: usize,
    rounds: usize,
    bare: &mut Option<Bare>,
) -> anyhow::Result<Vec<(String, Resources)>> {
    // A new one each time: a Dataplane that said goodbye stays away for a while.
    let name = format!("gateway-bare-{size}");
    let probe = load::route_path("probe");
    let put = async |http: &mut Http, path: &str| {
        http.freshen().await?;
        http.put(&probe, &load::route("probe", path)).await
    };
    let before = format!("/before-{size}");
    put(http, &before).await?;
    let token = fleet.zone_api.dataplane_token("default", &name).await?;
    let dataplane = load::gateway_dataplane(&name, BARE, free_port(LOCALHOST)?);
    let mut ads = Ads::open(fleet, &dataplane, &token).await?;
    let everything = ads.everything(&before).await?;
    if bare.is_none() {
        let bootstrap = fleet.bootstrap(&dataplane, &token).await?;
        *bare = Some(Bare::start(dir, everything, bootstrap).await?);
        // It has all that it asked for; from now on it is told what changes.
        first_200(&mut connect(BARE).await?, &before).await?;
    }
    let mut changes = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let path = format!("/probe-{size}-{round:03}");
        put(http, &path).await?;
        let arrival = ads.routes_with(&path).await?;
        changes.push((path, resources(arrival.response)));
    }
    drop(ads);
    fleet.deregister(&name, &token).await?;
    put(http, &before).await?;
    // Both are as they are before the first round: the bare one with the last change.
    let mut client = connect(OURS).await?;
    first_200(&mut client, &before).await?;
    if let (Some(bare), Some((path, routes))) = (bare.as_ref(), changes.last()) {
        bare.push(routes.clone())?;
        let mut client = connect(BARE).await?;
        first_200(&mut client, path).await?;
    }
    Ok(changes)
}

async fn connect(address: &str) -> anyhow::Result<Http> {
    let address: IpAddr = address.parse()?;
    let at = SocketAddr::new(address, PORT);
    Ok(eventually("Envoy listens", async || Http::connect(at).await).await)
}

/// Asks again and again; when the first answer with status 200 was there.
pub(crate) async fn first_200(client: &mut Http, path: &str) -> anyhow::Result<Instant> {
    let end = Instant::now() + mesh_harness::DEADLINE;
    loop {
        let answer = client.send(Method::GET, path, Bytes::new()).await?;
        if answer.status == 200 {
            return Ok(answer.head_at);
        }
        anyhow::ensure!(
            Instant::now() < end,
            "{path} still answers {}",
            answer.status
        );
    }
}

fn add(size: usize, ours: &Samples, alone: &Samples, report: &mut Report) {
    let bar = 1.5 * alone.mean() + 5.0;
    report.row(Row::plain(
        format!("b: Envoy alone: RDS sent -> first 200, {size} routes, mean"),
        format!("{:.2} ms", alone.mean()),
    ));
    report.row(Row {
        what: format!("b: PUT sent -> first 200, {size} routes, mean"),
        figure: format!("{:.2} ms", ours.mean()),
        bar: format!("<= {bar:.2} ms (1.5 x alone + 5)"),
        is_met: Some(ours.mean() <= bar),
    });
    report.detail(
        "answer",
        json!({
            "routes": size,
            "sent_to_first_200": ours.to_json(),
            "envoy_alone": alone.to_json(),
        }),
    );
}
