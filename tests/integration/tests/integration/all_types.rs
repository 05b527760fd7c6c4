//! Resources of every type between our global and our zone: written where they belong, and seen
//! on the other side as they were written.

use std::collections::BTreeMap;

use mesh_harness::{Api, Global, Zone, eventually};
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Status, labels};
use mesh_store::{Batch, SharedStore};
use serde_json::{Value, json};

/// What `kumactl` 2.14 wrote to a control plane of this kind.
fn recorded(server: &str) -> Vec<Value> {
    include_str!("../../../../shared/api/tests/recorded/types-2.14.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["server"] == server)
        .map(|line| line["request"].clone())
        .collect()
}

fn type_of(document: &Value) -> ResourceType {
    document["type"].as_str().unwrap().parse().unwrap()
}

/// A document without what differs from one control plane to another.
fn content(document: &Value) -> Value {
    let mut document = document.clone();
    let fields = document.as_object_mut().unwrap();
    fields.retain(|field, _| {
        ![
            "name",
            "creationTime",
            "modificationTime",
            "labels",
            "kri",
            "snis",
            "zone",
        ]
        .contains(&field.as_str())
    });
    document
}

/// The resource that its author called `name`, as a control plane shows it.
async fn shown(api: &Api, ty: ResourceType, name: &str) -> anyhow::Result<Value> {
    let collection = ty.describe().collections[0];
    let list = api.get(&format!("/{collection}?size=1000")).await?;
    let items = list["items"].as_array().unwrap();
    let found = items.iter().find(|item| {
        let display = &item["labels"][labels::DISPLAY_NAME];
        item["name"] == name || *display == name
    });
    Ok(found
        .ok_or_else(|| anyhow::anyhow!("no {ty} {name}"))?
        .clone())
}

/// Writes on one side and waits until the other shows the same.
async fn write_and_see(
    here: &Api,
    there: &Api,
    documents: Vec<Value>,
    origin: &str,
) -> anyhow::Result<()> {
    let mut written = BTreeMap::new();
    for document in documents {
        here.apply(&document).await?;
        let (ty, name) = (type_of(&document), document["name"].as_str().unwrap());
        written.insert((ty, name.to_owned()), shown(here, ty, name).await?);
    }
    for ((ty, name), ours) in written {
        let theirs = eventually(&format!("{ty} {name} on the other side"), async || {
            shown(there, ty, &name).await
        })
        .await;
        assert_eq!(content(&theirs), content(&ours), "{ty} {name}");
        assert_eq!(theirs["labels"][labels::ORIGIN], origin, "{ty} {name}");
        let author = ours["labels"].as_object().into_iter().flatten();
        for (label, value) in author.filter(|(label, _)| *label != labels::ORIGIN) {
            assert_eq!(&theirs["labels"][label], value, "{ty} {name}: {label}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_either_side_owns_is_seen_unchanged_on_the_other() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;

    let down: Vec<Value> = recorded("global")
        .into_iter()
        .filter(|document| type_of(document).describe().ways.down)
        .map(|mut document| {
            document["labels"] = json!({ "team": "shop" });
            document
        })
        // Global secrets have other names in zones, and a test of their own.
        .filter(|document| type_of(document) != ResourceType::GlobalSecret)
        .collect();
    assert!(down.len() >= 38, "{}", down.len());
    write_and_see(&global.api, &zone.api, down.clone(), labels::ORIGIN_GLOBAL).await?;

    let mut up = recorded("zone");
    // Zones may have policies of their own.
    for mut document in down {
        if type_of(&document).is_json() && type_of(&document).describe().ways.up {
            document["name"] = json!("of-the-zone");
            document["labels"] = json!({ "kuma.io/origin": "zone", "team": "cart" });
            up.push(document);
        }
    }
    assert!(up.len() >= 25, "{}", up.len());
    write_and_see(&zone.api, &global.api, up, labels::ORIGIN_ZONE).await
}

async fn set_status(store: &SharedStore, key: &Key, status: &str) -> anyhow::Result<()> {
    let stored = store.get(key).expect("it was written");
    let status = Status::parse(status.to_owned().into())?;
    let with = Resource::clone(&stored).with_status(Some(status));
    store.commit(Batch::new().put(with)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_changes_in_a_zone_changes_on_the_global() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let zone = Zone::start("zone-1", &global).await?;
    let workload = json!({
        "type": "Workload", "mesh": "default", "name": "cart", "spec": {},
        "labels": { "kuma.io/origin": "zone" },
    });
    zone.api.apply(&workload).await?;
    let key = Key::in_mesh(
        ResourceType::Workload,
        MeshName::parse("default")?,
        ResourceName::parse("cart")?,
    );
    for status in [
        json!({ "healthy": 1 }),
        json!({ "healthy": 2, "more": [null] }),
        json!({}),
    ] {
        set_status(&zone.store, &key, &status.to_string()).await?;
        eventually(&format!("the status {status}"), async || {
            let shown = shown(&global.api, ResourceType::Workload, "cart").await?;
            anyhow::ensure!(shown["status"] == status, "{shown}");
            Ok(())
        })
        .await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_zone_owns_reaches_the_others_and_does_not_come_back() -> anyhow::Result<()> {
    let global = Global::start().await?;
    let east = Zone::start("east", &global).await?;
    let west = Zone::start("west", &global).await?;
    let ingress = json!({
        "type": "ZoneIngress", "name": "ingress", "networking": {
            "address": "192.0.2.1", "port": 10001,
            "advertisedAddress": "198.51.100.1", "advertisedPort": 10001,
        },
    });
    let service = |port: u16| {
        json!({
            "type": "MeshService", "mesh": "default", "name": "cart",
            "labels": { "kuma.io/origin": "zone" },
            "spec": {
                "selector": { "dataplaneTags": { "kuma.io/service": "cart" } },
                "ports": [{ "port": port, "appProtocol": "http" }],
            },
        })
    };
    east.api.apply(&ingress).await?;
    east.api.apply(&service(80)).await?;
    let both = [
        (ResourceType::ZoneIngress, "ingress"),
        (ResourceType::MeshService, "cart"),
    ];
    for (ty, name) in both {
        let theirs = eventually(&format!("{ty} {name} in the other zone"), async || {
            shown(&west.api, ty, name).await
        })
        .await;
        assert_eq!(theirs["labels"][labels::ORIGIN], labels::ORIGIN_GLOBAL);
        assert_eq!(theirs["labels"][labels::ZONE], "east");
    }
    // The global says whose an ingress is, which its zone leaves open.
    let theirs = shown(&west.api, ResourceType::ZoneIngress, "ingress").await?;
    assert_eq!(theirs["zone"], "east");
    let port = |document: &Value| document["spec"]["ports"][0]["port"].clone();
    east.api.apply(&service(81)).await?;
    eventually("the change in the other zone", async || {
        let service = shown(&west.api, ResourceType::MeshService, "cart").await?;
        anyhow::ensure!(port(&service) == 81, "{service}");
        Ok(())
    })
    .await;

    let enable = async |is_enabled: bool| {
        let zone = json!({ "type": "Zone", "name": "east", "enabled": is_enabled });
        global.api.apply(&zone).await
    };
    enable(false).await?;
    for (ty, name) in both {
        eventually(
            &format!("{ty} {name} of a disabled zone gone"),
            async || {
                anyhow::ensure!(shown(&west.api, ty, name).await.is_err());
                Ok(())
            },
        )
        .await;
        shown(&global.api, ty, name).await?;
        shown(&east.api, ty, name).await?;
    }
    enable(true).await?;
    for (ty, name) in both {
        eventually(&format!("{ty} {name} back"), async || {
            shown(&west.api, ty, name).await
        })
        .await;
    }

    for (ty, _) in both {
        let collection = ty.describe().collections[0];
        for (api, place) in [(&east.api, "its zone"), (&west.api, "the other zone")] {
            let list = api.get(&format!("/{collection}")).await?;
            assert_eq!(list["total"], 1, "{ty} in {place}: {list}");
        }
    }
    east.api.delete("/zoneingresses/ingress").await?;
    eventually("the ingress gone everywhere", async || {
        for api in [&global.api, &west.api] {
            let gone = shown(api, ResourceType::ZoneIngress, "ingress").await;
            anyhow::ensure!(gone.is_err(), "{gone:?}");
        }
        Ok(())
    })
    .await;
    Ok(())
}
