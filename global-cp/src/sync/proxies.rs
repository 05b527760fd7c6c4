//! The way to the proxies of all zones: each zone asks its own.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mesh_kds::admin::Proxy;
use mesh_kds::server::Server;
use mesh_model::{Key, Resource, ResourceName, ResourceType, ZoneName, labels};
use mesh_proto::system::ZoneInsight;
use mesh_runtime::proxy_admin::{AskError, AskProxy, Operation};
use mesh_store::{SharedStore, Snapshot};
use serde_json::Value;

/// Asks zones.
#[derive(Debug)]
pub(crate) struct Proxies {
    store: SharedStore,
    server: Server,
}

impl Proxies {
    pub(crate) fn new(store: SharedStore, server: Server) -> Self {
        Self { store, server }
    }
}

#[async_trait]
impl AskProxy for Proxies {
    async fn ask(&self, proxy: &Key, operation: Operation) -> Result<Bytes, AskError> {
        let snapshot = self.store.snapshot();
        let resource = snapshot
            .get(proxy)
            .ok_or_else(|| AskError(format!("there is no {proxy}")))?;
        let (zone, name) = in_zone(&snapshot, resource)?;
        let proxy = Proxy {
            ty: proxy.ty().name().to_owned(),
            mesh: proxy.mesh_str().to_owned(),
            name,
        };
        self.server.ask(&zone, &proxy, operation).await
    }
}

/// The zone of a proxy, and what it is called there.
fn in_zone(snapshot: &Snapshot, proxy: &Arc<Resource>) -> Result<(ZoneName, String), AskError> {
    let stored = proxy.key().name().as_str();
    let prefix = stored.split_once('.').map(|(zone, _)| zone);
    let zone = proxy.label(labels::ZONE).or(prefix);
    let zone = zone.and_then(|zone| ZoneName::parse(zone).ok());
    let zone =
        zone.ok_or_else(|| AskError(format!("{} does not say which zone it is of", proxy.key())))?;
    let mut name = match proxy.label(labels::DISPLAY_NAME) {
        Some(name) => name.to_owned(),
        None => stored
            .strip_prefix(zone.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .unwrap_or(stored)
            .to_owned(),
    };
    // What comes from a zone with plain names has its namespace in them already.
    let is_prefixed = stored.starts_with(zone.as_str());
    if let Some(namespace) = proxy.label(labels::NAMESPACE)
        && !is_prefixed
        && is_on_kubernetes(snapshot, &zone)
    {
        name = format!("{name}.{namespace}");
    }
    Ok((zone, name))
}

/// Whether a zone keeps its resources in Kubernetes, as far as it said when it connected last.
fn is_on_kubernetes(snapshot: &Snapshot, zone: &ZoneName) -> bool {
    let Ok(name) = ResourceName::parse(zone.as_str()) else {
        return false;
    };
    let insight = snapshot.get(&Key::global(ResourceType::ZoneInsight, name));
    let subscriptions = insight.map(|insight| insight.decode::<ZoneInsight>().subscriptions);
    let config = subscriptions.and_then(|mut all| Some(all.pop()?.config));
    let config: Option<Value> = config.and_then(|config| serde_json::from_str(&config).ok());
    config.is_some_and(|config| config["store"]["type"] == "kubernetes")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_model::{MeshName, Spec, Timestamp};
    use mesh_proto::system::KdsSubscription;
    use mesh_store::{Batch, Memory, Store as _};

    use super::*;

    fn dataplane(name: &str, labels: &[(&str, &str)]) -> Resource {
        Resource::new(
            Key::in_mesh(
                ResourceType::Dataplane,
                MeshName::parse("default").unwrap(),
                ResourceName::parse(name).unwrap(),
            ),
            labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            Spec::parse(ResourceType::Dataplane, Bytes::new()).unwrap(),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        )
    }

    #[tokio::test]
    async fn a_proxy_is_asked_under_the_name_that_its_zone_gave_it() {
        let store = Memory::new();
        let insight = ZoneInsight {
            subscriptions: vec![KdsSubscription {
                config: r#"{"store":{"type":"kubernetes"}}"#.to_owned(),
                ..KdsSubscription::default()
            }],
            ..ZoneInsight::default()
        };
        let insight = Resource::new(
            Key::global(
                ResourceType::ZoneInsight,
                ResourceName::parse("k8s").unwrap(),
            ),
            BTreeMap::new(),
            Spec::encode(ResourceType::ZoneInsight, &insight),
            Timestamp::EPOCH,
            Timestamp::EPOCH,
        );
        let snapshot = store.commit(Batch::new().put(insight)).await.unwrap();
        let asked = |name: &str, labels: &[(&str, &str)]| {
            let (zone, name) = in_zone(&snapshot, &Arc::new(dataplane(name, labels)))?;
            Ok::<_, AskError>(format!("{name} in {zone}"))
        };
        let zone = (labels::ZONE, "zone-1");
        let display = (labels::DISPLAY_NAME, "dp-1");
        let namespace = (labels::NAMESPACE, "shop");
        assert_eq!(asked("zone-1.dp-1", &[]).unwrap(), "dp-1 in zone-1");
        assert_eq!(
            asked("zone-1.dp-1", &[zone, display]).unwrap(),
            "dp-1 in zone-1"
        );
        assert_eq!(
            asked("dp-1-f4bvx7x6bwfv64wz", &[zone, display]).unwrap(),
            "dp-1 in zone-1"
        );
        // Of a zone that is not on Kubernetes the label says nothing about the name.
        assert_eq!(
            asked("dp-1-x", &[zone, display, namespace]).unwrap(),
            "dp-1 in zone-1"
        );
        let k8s = (labels::ZONE, "k8s");
        assert_eq!(
            asked("dp-1-x", &[k8s, display, namespace]).unwrap(),
            "dp-1.shop in k8s"
        );
        assert_eq!(
            asked("k8s.dp-1.shop", &[namespace]).unwrap(),
            "dp-1.shop in k8s"
        );
        assert!(asked("nobodys", &[]).is_err());
    }
}
