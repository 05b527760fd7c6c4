//! Edits under load (`MERIDIAN_EDITS` for more of them), and edits that Envoy refuses.

use std::collections::BTreeMap;

use anyhow::Context as _;
use mesh_harness::{Backend, Load};
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use mesh_store::Batch;
use serde_json::{Value, json};

use crate::support::{Fleet, HOST, PORT, edit_under, named_route, route, route_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_edits_under_load_give_no_answer_that_nobody_configured() -> anyhow::Result<()> {
    let fleet = Fleet::start(44).await?;
    let basket = Backend::start("basket-1").await;
    fleet.zone.api.apply(&basket.dataplane("basket")).await?;
    fleet.global.api.apply(&route("/", "cart")).await?;
    fleet.answers("/", 200).await;
    let load = Load::start(fleet.gateway.at(PORT), HOST, "/a/b", 4);
    let edits = std::env::var("MERIDIAN_EDITS").map_or(Ok(100), |text| text.parse::<u32>())?;
    edit_under(load, &fleet.global, edits, "basket").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_larger_than_envoy_compiles_hurts_only_itself() -> anyhow::Result<()> {
    let fleet = Fleet::start(45).await?;
    fleet.global.api.apply(&route("/cart", "cart")).await?;
    fleet.answers("/cart", 200).await;

    // The API would refuse this pattern, which is right by its grammar and larger than Envoy's
    // library compiles. It can still get here: from a stock global.
    let huge = json!({"match": "REGEX", "value": "/(\\pL{500}\\pL{500}){2}"});
    let huge = resource(&route_of("huge", huge, "cart"))?;
    let key = huge.key().clone();
    fleet.zone.store.commit(Batch::new().put(huge)).await?;
    fleet.finding(&["huge", "too large"]).await;
    fleet.answers("/cart", 200).await;

    // Nothing waits for it, and the finding goes with it.
    fleet
        .global
        .api
        .apply(&named_route("other", "/other", "cart"))
        .await?;
    fleet.answers("/other", 200).await;
    fleet.zone.store.commit(Batch::new().delete(key)).await?;
    fleet.no_finding().await;
    Ok(())
}

/// As a zone may have it in its store without a global: what is labelled as the global's and was not
/// sent by it is taken away again.
pub(crate) fn resource(document: &Value) -> anyhow::Result<Resource> {
    let parsed = parse_document(document)?;
    let mesh = parsed.mesh.as_deref().map(MeshName::parse).transpose()?;
    let key = Key::try_new(parsed.ty, mesh, ResourceName::parse(&parsed.name)?);
    let at = Timestamp::EPOCH;
    let key = key.context("the mesh fits the type")?;
    Ok(Resource::new(key, BTreeMap::new(), parsed.spec, at, at))
}
