//! What was acknowledged is there after SIGKILL, whenever that comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_harness::ControlPlane;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many clients write at once.
const WRITERS: usize = 16;
/// How often the process is killed; the environment asks for more.
const ROUNDS: usize = 50;

fn route(name: &str, edit: u64) -> Value {
    json!({
        "type": "MeshGatewayRoute", "mesh": "default", "name": name,
        "labels": {"edit": edit.to_string()},
        "selectors": [{"match": {"kuma.io/service": "edge"}}],
        "conf": {"http": {"rules": [{
            "matches": [{"path": {"match": "PREFIX", "value": format!("/{edit}")}}],
            "backends": [{"weight": 1, "destination": {"kuma.io/service": "cart"}}],
        }]}},
    })
}

/// The edit that a stored route is at.
fn edit_of(route: &Value) -> u64 {
    let path = &route["conf"]["http"]["rules"][0]["matches"][0]["path"]["value"];
    path.as_str()
        .and_then(|p| p.trim_start_matches('/').parse().ok())
        .expect("an edit")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_to_sigkill() -> anyhow::Result<()> {
    let rounds = std::env::var("MERIDIAN_KILL_ROUNDS");
    let rounds = rounds.map_or(Ok(ROUNDS), |text| text.parse())?;
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    let mut global = ControlPlane::global().await?;
    // The last edit of each route that was answered, and the last that was sent.
    let written: Arc<Mutex<BTreeMap<String, (u64, u64)>>> = Arc::default();
    let (mut acknowledged, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (api, written) = (global.api.clone(), Arc::clone(&written));
            writers.spawn(async move {
                let mut count = 0;
                for turn in 0.. {
                    // Some are new and some are edits.
                    let name = match turn % 3 {
                        0 => format!("route-{writer}"),
                        _ => format!("route-{writer}-{round}-{turn}"),
                    };
                    let edit = u64::try_from(round * 1_000_000 + turn).unwrap();
                    let route = route(&name, edit);
                    written.lock().await.entry(name.clone()).or_default().1 = edit;
                    if api.apply(&route).await.is_err() {
                        break;
                    }
                    written.lock().await.entry(name).or_default().0 = edit;
                    count += 1;
                }
                count
            });
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(5..150))).await;
        global.kill().await?;
        while let Some(count) = writers.join_next().await {
            acknowledged += count?;
        }
        let start = Instant::now();
        global.start().await?;
        slowest = slowest.max(start.elapsed());

        let mut stored = BTreeMap::new();
        let mut page = Some("/meshes/default/meshgatewayroutes?size=1000".to_owned());
        while let Some(path) = page {
            let list = global.api.get(&path).await?;
            for item in list["items"].as_array().into_iter().flatten() {
                let name = item["name"].as_str().expect("a name").to_owned();
                stored.insert(name, edit_of(item));
            }
            let next = list["next"].as_str();
            page = next.and_then(|url| {
                url.split_once("/meshes")
                    .map(|(_, p)| format!("/meshes{p}"))
            });
        }
        for (name, (answered, sent)) in written.lock().await.iter() {
            let Some(found) = stored.get(name) else {
                assert_eq!(
                    *answered, 0,
                    "round {round}: {name} was acknowledged and is gone"
                );
                continue;
            };
            assert!(
                (answered..=sent).contains(&found),
                "round {round}: {name} is at {found}, acknowledged {answered}, sent {sent}"
            );
        }
    }
    eprintln!("{rounds} kills, {acknowledged} acknowledged writes, slowest restart {slowest:?}");
    assert!(acknowledged > rounds, "hardly anything was written");
    Ok(())
}
