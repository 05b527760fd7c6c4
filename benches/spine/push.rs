//! (a) From an accepted PUT to the first byte of the changed route configuration on an Envoy's
//! stream.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::ads::{Ads, Arrival};
use crate::fleet::{Fleet, LOCALHOST, free_port};
use crate::http::Http;
use crate::load;
use crate::progress;
use crate::report::{Report, Row};
use crate::stats::{Samples, milliseconds};

const BAR: f64 = 10.0;
/// The stream is quiet for so long before a change is timed.
const PAUSE: Duration = Duration::from_millis(20);

/// Measures at each size, in one fleet that grows.
pub(crate) async fn measure(dir: &Path, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let (sizes, samples): (&[usize], usize) = if quick {
        (&[0, 1_000, 5_000], 50)
    } else {
        (&[0, 1_000, 5_000, 40_000], 300)
    };
    let dir = dir.join("push");
    let fleet = Fleet::start(&dir).await?;
    let token = fleet
        .zone_api
        .dataplane_token("default", "gateway-a")
        .await?;
    let dataplane = load::gateway_dataplane("gateway-a", "127.0.41.1", free_port(LOCALHOST)?);
    let mut arrivals = read(Ads::open(&fleet, &dataplane, &token).await?);
    let mut http = Http::connect(fleet.global_api).await?;
    let mut created = 0;
    for &size in sizes {
        progress(&format!("push: {size} routes"));
        let start = Instant::now();
        let creation = load::create_routes(fleet.global_api, created, size);
        let creation = tokio::spawn(creation);
        // All of them are there when a route that is written after them is.
        let mut probe = Probe::new(size);
        let (path, document) = probe.next();
        let mut creation = std::pin::pin!(creation);
        loop {
            tokio::select! {
                done = &mut creation => { done??; break }
                arrival = next(&mut arrivals) => drop(arrival?),
            }
        }
        let rate = (size - created) as f64 / start.elapsed().as_secs_f64();
        created = size;
        http.freshen().await?;
        http.put(&load::route_path("probe"), &document).await?;
        while !next(&mut arrivals).await?.contains(&path) {}
        sleep(Duration::from_secs(2)).await;

        let mut taken = Taken::default();
        for _ in 0..samples {
            let (path, document) = probe.next();
            http.freshen().await?;
            let sent = Instant::now();
            let accepted = http.put(&load::route_path("probe"), &document).await?;
            let arrival = next(&mut arrivals).await?;
            anyhow::ensure!(
                arrival.contains(&path),
                "a response without the change came: {}",
                arrival.response.type_url
            );
            taken.length = arrival.length;
            let after =
                |from: Instant, to: Instant| milliseconds(to.saturating_duration_since(from));
            taken.from_accepted.push(after(accepted, arrival.first));
            taken.from_sent.push(after(sent, arrival.first));
            taken.whole.push(after(accepted, arrival.last));
            sleep(PAUSE).await;
        }
        taken.report(size, rate, report);
    }
    Ok(())
}

/// Reads a stream in a task of its own, so that an arrival is seen when it is there, whatever else
/// is going on.
fn read(mut ads: Ads) -> mpsc::Receiver<anyhow::Result<Arrival>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { while sender.send(ads.next().await).await.is_ok() {} });
    receiver
}

async fn next(arrivals: &mut mpsc::Receiver<anyhow::Result<Arrival>>) -> anyhow::Result<Arrival> {
    arrivals.recv().await.context("the stream is read")?
}

/// A route whose path changes each time.
struct Probe {
    size: usize,
    count: usize,
}

impl Probe {
    fn new(size: usize) -> Self {
        Self { size, count: 0 }
    }

    fn next(&mut self) -> (String, serde_json::Value) {
        self.count += 1;
        let path = format!("/probe-{}-{:05}", self.size, self.count);
        let document = load::route("probe", &path);
        (path, document)
    }
}

#[derive(Default)]
struct Taken {
    from_accepted: Vec<f64>,
    from_sent: Vec<f64>,
    whole: Vec<f64>,
    length: usize,
}

impl Taken {
    fn report(self, size: usize, rate: f64, report: &mut Report) {
        let from_accepted = Samples::new(self.from_accepted);
        let from_sent = Samples::new(self.from_sent);
        let whole = Samples::new(self.whole);
        let p99 = from_accepted.percentile(99);
        report.row(Row::plain(
            format!("a: PUT accepted -> first byte at Envoy, {size} routes, p50"),
            format!("{:.2} ms", from_accepted.percentile(50)),
        ));
        report.row(Row {
            what: format!("a: PUT accepted -> first byte at Envoy, {size} routes, p99"),
            figure: format!("{p99:.2} ms"),
            bar: format!("<= {BAR} ms"),
            is_met: Some(p99 <= BAR),
        });
        report.detail(
            "push",
            json!({
                "routes": size,
                "accepted_to_first_byte": from_accepted.to_json(),
                "sent_to_first_byte": from_sent.to_json(),
                "accepted_to_last_byte": whole.to_json(),
                "response_bytes": self.length,
                "routes_created_per_second": rate.round(),
            }),
        );
    }
}
