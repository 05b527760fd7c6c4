//! Our global against recorded stock zones: each type's first response is the stock global's.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mesh_harness::{Global, eventually};
use mesh_model::hash_suffix::hashed_name;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Spec, Timestamp, labels};
use mesh_proto::discovery::DeltaDiscoveryResponse;
use mesh_store::{Batch, SharedStore};

use crate::recorded::{
    self, DOWN, Recording, Sent, UP, resources, resources_by_display_name, shape,
};
use crate::support::{ack, connect, down, node, up};

const ZONE: &str = "zone-1";

/// Types that our global sends down.
pub(crate) fn served_down() -> BTreeSet<String> {
    ResourceType::reaching_zones()
        .map(|ty| ty.name().to_owned())
        .collect()
}

/// A global that zones reach without TLS and without a token, as those of the recordings did.
pub(crate) async fn plaintext_global() -> anyhow::Result<Global> {
    plaintext_global_with(&[]).await
}

/// The same with more settings.
pub(crate) async fn plaintext_global_with(more: &[(&str, &str)]) -> anyhow::Result<Global> {
    let environment = [
        ("KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED", "false"),
        ("KUMA_MULTIZONE_GLOBAL_KDS_ALLOW_UNAUTHENTICATED_ZONES", "*"),
    ];
    let environment = environment.iter().chain(more);
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Global::start_with(environment.collect()).await
}

/// Stores what a stock global owned when it sent this.
async fn own(store: &SharedStore, ty: ResourceType, sent: &Sent) {
    let batch = Batch::new().put(owned(ty, sent));
    store.commit(batch).await.unwrap();
}

/// What a stock global owned when it sent this.
fn owned(ty: ResourceType, sent: &Sent) -> Resource {
    let mut labels = sent.labels.clone();
    labels.remove(labels::ORIGIN);
    let name = labels.remove(labels::DISPLAY_NAME);
    let name = name.as_deref().unwrap_or(&sent.name);
    let mesh = Some(&sent.mesh).filter(|mesh| !mesh.is_empty());
    let mesh = mesh.map(|mesh| MeshName::parse(mesh).unwrap());
    let key = Key::try_new(ty, mesh, ResourceName::parse(name).unwrap()).unwrap();
    let spec = Spec::parse(ty, Bytes::from(sent.spec.clone())).unwrap();
    let at = Timestamp::EPOCH;
    Resource::new(key, labels, spec, at, at)
}

/// Waits for the first response of each type, answering each as the zone would.
async fn first_responses(
    call: &mut crate::support::Down,
    types: &BTreeSet<String>,
) -> BTreeMap<String, DeltaDiscoveryResponse> {
    let mut first = BTreeMap::new();
    while first.len() < types.len() {
        let response = call.hear().await.unwrap().expect("the stream goes on");
        assert!(types.contains(&response.type_url), "{}", response.type_url);
        call.say(ack(ZONE, &response)).await;
        let again = first.insert(response.type_url.clone(), response);
        assert_eq!(again, None, "a second response to one subscription");
    }
    first
}

fn compare(
    recording: &Recording,
    ty: &str,
    ours: &DeltaDiscoveryResponse,
    stock: &DeltaDiscoveryResponse,
) {
    let what = format!("{}: {ty}", recording.name);
    assert_eq!(ours.control_plane, stock.control_plane, "{what}");
    assert_eq!(ours.removed_resources, stock.removed_resources, "{what}");
    assert_eq!(
        ours.system_version_info, stock.system_version_info,
        "{what}"
    );
    // A key is renamed, not hashed, on its way: it becomes its public half.
    let is_old_global =
        !recording.is_global_new() && recording.is_zone_new() && ty != "GlobalSecret";
    let by_name = match is_old_global {
        true => resources_by_display_name,
        false => resources,
    };
    let (ours, stock) = (by_name(ours), by_name(stock));
    // 2.5 sends a key for tokens of ingresses, which nothing has read since 2.0.
    let is_expected = |name: &&String| !name.starts_with("zone-ingress-token-signing-key");
    let names: Vec<&String> = stock.keys().filter(is_expected).collect();
    assert_eq!(ours.keys().collect::<Vec<_>>(), names, "{what}");
    for name in names {
        let (ours, stock) = (&ours[name], &stock[name]);
        if !is_old_global {
            assert_eq!(ours.name, stock.name, "{what} {name}");
        }
        assert_eq!(ours.mesh, stock.mesh, "{what} {name}");
        assert_eq!(ours.spec_type, stock.spec_type, "{what} {name}");
        if ty == "GlobalSecret" {
            // The public half of a key that only the stock global had whole.
            assert!(ours.labels.contains_key(labels::ORIGIN), "{what} {name}");
            continue;
        }
        assert_eq!(ours.spec, stock.spec, "{what} {name}");
        if recording.is_global_new() {
            assert_eq!(ours.labels, stock.labels, "{what} {name}");
            // The version is the hash of the bytes, so those are equal too.
            assert_eq!(ours.version, stock.version, "{what} {name}");
        } else {
            // 2.5 knows no labels; ours says whose it is, which a newer zone needs to know.
            let origin = ours.labels.get(labels::ORIGIN).map(String::as_str);
            assert_eq!(origin, Some(labels::ORIGIN_GLOBAL), "{what} {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_zone_gets_what_a_stock_global_sent() -> anyhow::Result<()> {
    for recording in recorded::all() {
        let global = plaintext_global().await?;
        // What ours made for itself at its first start gives way to what the stock one had.
        let defaults = global.store().snapshot();
        let mut batch = Batch::new();
        for ty in [
            ResourceType::Mesh,
            ResourceType::Secret,
            ResourceType::Config,
        ] {
            for resource in defaults.list(ty) {
                batch = batch.delete(resource.key().clone());
            }
        }
        global.store().commit(batch).await?;
        let stock = recording.first_responses(DOWN, "global");
        for (ty, response) in &stock {
            let Ok(ty) = ty.parse::<ResourceType>() else {
                continue;
            };
            if !ty.describe().ways.reach_zones() || ty == ResourceType::GlobalSecret {
                continue;
            }
            for sent in resources(response).values() {
                // A 2.5 zone got plain names; a 2.5 global had no others.
                own(global.store(), ty, sent).await;
            }
        }

        let mut client = connect(global.kds).await;
        let subscriptions = recording.subscriptions(DOWN, "zone");
        let asked: BTreeSet<String> = subscriptions
            .iter()
            .map(|request| request.type_url.clone())
            .collect();
        let served: BTreeSet<String> = served_down().intersection(&asked).cloned().collect();
        assert!(served.contains("MeshGateway") && asked.contains("MeshTimeout"));
        let metadata = recording.metadata(DOWN);
        let mut call = down(&mut client, &metadata, subscriptions).await?;
        let first = first_responses(&mut call, &served).await;
        for ty in &served {
            compare(&recording, ty, &first[ty], &stock[ty]);
        }

        let changes = follow_changes(&recording, &global, &mut call).await?;
        eprintln!(
            "{}, to the zone: {} types at first, {changes} changes: as stock said",
            recording.name,
            served.len()
        );

        // A change reaches it.
        let sent = resources(&first["MeshGatewayRoute"]);
        let mut changed = sent.values().next().expect("a route").clone();
        changed.labels.insert("team".to_owned(), "shop".to_owned());
        own(global.store(), ResourceType::MeshGatewayRoute, &changed).await;
        let response = call.hear().await?.expect("the stream goes on");
        assert_eq!(response.type_url, "MeshGatewayRoute");
        let resources = resources(&response);
        assert_eq!(resources.values().next().unwrap().labels["team"], "shop");
        drop(global);
    }
    Ok(())
}

/// Makes each recorded change in our store, and expects to hear of it what stock said; how many
/// there were.
async fn follow_changes(
    recording: &Recording,
    global: &Global,
    call: &mut crate::support::Down,
) -> anyhow::Result<usize> {
    let mut count = 0;
    for stock in recording.changes(DOWN, "global") {
        let ty: ResourceType = stock.type_url.parse()?;
        // What services there are is counted by each global itself.
        if ty == ResourceType::ServiceInsight {
            continue;
        }
        // What stock saw within a second came at once.
        let mut batch = Batch::new();
        for sent in resources(&stock).values() {
            batch = batch.put(owned(ty, sent));
        }
        for removed in &stock.removed_resources {
            let snapshot = global.store().snapshot();
            let named = snapshot.list(ty).find(|resource| {
                let (name, mesh) = (resource.key().name().as_str(), resource.key().mesh_str());
                let hashed = hashed_name(mesh, name, &[]);
                *removed == format!("{name}.{mesh}") || *removed == format!("{hashed}.{mesh}")
            });
            let key = named.expect("what is removed was there").key().clone();
            batch = batch.delete(key);
        }
        global.store().commit(batch).await?;
        let ours = loop {
            let response = call.hear().await?.expect("the stream goes on");
            call.say(ack(ZONE, &response)).await;
            if response.type_url != "ServiceInsight" {
                break response;
            }
        };
        assert_eq!(ours.type_url, stock.type_url, "{}", recording.name);
        compare(recording, &stock.type_url, &ours, &stock);
        count += 1;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_global_takes_what_a_recorded_zone_reports() -> anyhow::Result<()> {
    for recording in recorded::all() {
        let what = recording.name;
        let global = plaintext_global().await?;
        let mut client = connect(global.kds).await;
        let mut call = up(&mut client, &recording.metadata(UP)).await?;

        // It asks as a stock global does.
        let stock = recording.subscriptions(UP, "global");
        let mut asked = BTreeSet::new();
        for _ in ResourceType::leaving_zones() {
            let request = call.hear().await?.expect("a subscription");
            // A global asks for all that it knows, whatever its zones know: one of 2.5 knows
            // fewer types.
            let same = stock
                .iter()
                .find(|stock| stock.type_url == request.type_url);
            let same = match recording.is_global_new() {
                true => same.expect("a stock global asks for it too"),
                false => same.unwrap_or(&stock[0]),
            };
            let node = request.node.as_ref().expect("a node");
            assert_eq!(node.id, ZONE, "{what}");
            let mut expected = shape(same);
            if !recording.is_global_new() {
                // 2.5 does not say which instance it is.
                expected.insert(2, "node.metadata.control-plane-id".to_owned());
            }
            assert_eq!(shape(&request), expected, "{what}: {}", request.type_url);
            asked.insert(request.type_url);
        }

        // The zone's reports, first and later ones, are ACKed in the stock form.
        let stock_ack = shape(&recording.ack(UP, "global"));
        let mut reports: Vec<DeltaDiscoveryResponse> = recording.said(UP, "zone");
        let opening = reports.len();
        reports.extend(recording.changes(UP, "zone"));
        let changes = reports.len() - opening;
        let mut expected = BTreeSet::new();
        for report in reports.into_iter().filter(|r| asked.contains(&r.type_url)) {
            for sent in resources(&report).into_values() {
                let name = match recording.is_zone_new() {
                    true => sent.name,
                    false => format!("{ZONE}.{}", sent.name),
                };
                let place = match sent.mesh.as_str() {
                    "" => name,
                    mesh => format!("{mesh}/{name}"),
                };
                expected.insert(format!("{} {place}", report.type_url));
            }
            for removed in &report.removed_resources {
                let (name, mesh) = removed.rsplit_once('.').expect("a dot");
                let name = match recording.is_zone_new() {
                    true => name.to_owned(),
                    false => format!("{ZONE}.{name}"),
                };
                let gone = expected.remove(&format!("{} {mesh}/{name}", report.type_url));
                assert!(gone, "{what}: {removed}");
            }
            call.say(report.clone()).await;
            let ack = call.hear().await?.expect("an answer");
            assert_eq!(shape(&ack), stock_ack, "{what}: {}", report.type_url);
            assert_eq!(ack.response_nonce, report.nonce, "{what}");
            assert_eq!(ack.node, Some(node(ZONE)), "{what}");
        }
        let snapshot = global.store().snapshot();
        let mut stored = BTreeSet::new();
        for resource in ResourceType::leaving_zones().flat_map(|ty| snapshot.list(ty)) {
            stored.insert(resource.key().to_string());
            assert_eq!(resource.label(labels::ZONE), Some(ZONE), "{what}");
            assert_eq!(resource.label(labels::ORIGIN), Some("zone"), "{what}");
            let display = resource.display_name();
            // A zone of 2.14 makes generators of host names for itself.
            let is_its_own = match resource.key().ty() {
                ResourceType::HostnameGenerator => display.starts_with("local-"),
                ResourceType::ZoneIngress | ResourceType::ZoneEgress => true,
                _ => ["echo-1", "gw-1"].contains(&display),
            };
            assert!(is_its_own, "{what}: {display}");
        }
        assert_eq!(stored, expected, "{what}");
        eprintln!(
            "{what}, from the zone: {} types asked for, {opening} responses at first, {changes} \
             changes: {} resources stored",
            asked.len(),
            stored.len()
        );
        if !stored.iter().any(|key| key.starts_with("Dataplane ")) {
            continue;
        }

        // It shows in the API as what it is called in its zone.
        eventually("the dataplane in the API", async || {
            let list = global.api.get("/meshes/default/dataplanes").await?;
            anyhow::ensure!(list["total"] != 0, "{list:#}");
            Ok(())
        })
        .await;
    }
    Ok(())
}
