//! The behaviour of gateways as cases: resources, requests, and the answers that they get.
//!
//! Each file of `tests/envoy/cases` is a theme and each of its keys a case. All cases share one
//! gateway: a case has listeners on ports of its own, and routes that select only those. They run
//! twice: through a whole mesh, where the resources are written to a global and a zone programs
//! an Envoy, and in an Envoy alone with what `meridian render` prints for them.
//!
//! [`case`] says what a case can hold, [`world`] which backends and certificates there are.

mod answer;
mod ask;
mod case;
mod documents;
pub(crate) mod lone;
mod world;

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use mesh_envoy_binary::{NEWEST_VERSION, OLDEST_VERSION, install_version};
use mesh_harness::{Gateway, Global, Zone};
use tokio::time::Instant;

use crate::support::{address, findings};
use case::Case;
use world::World;

/// How long a configuration may take to get to Envoy, and a case to come right.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_a_mesh() -> anyhow::Result<()> {
    let (cases, world) = (case::all()?, World::start().await?);
    let global = Global::start().await?;
    let mut wrong = Vec::new();
    for document in documents::shared_by_a_mesh(&cases, &world)? {
        if let Err(error) = global.api.apply(&document).await {
            wrong.push(error.to_string());
        }
    }
    for case in &cases {
        for (name, refused) in &case.refused {
            let document = documents::route(case, name, &refused.conf)?;
            match global.api.apply(&document).await {
                Err(error) if error.to_string().contains(&refused.because) => {}
                Err(error) => wrong.push(format!("{}: {name}: {error}", case.title())),
                Ok(()) => wrong.push(format!("{}: {name} is taken", case.title())),
            }
        }
    }
    let zone = Zone::start("zone-1", &global).await?;
    for dataplane in world.dataplanes() {
        zone.api.apply(&dataplane).await?;
    }
    let at = address([61, 1]);
    let _gateway = Gateway::start(&zone, "gateway-1", documents::SERVICE, at).await?;
    wrong.extend(hold(&cases, &world, at).await);
    // They come up from the zone in their own time.
    let end = Instant::now() + DEADLINE;
    loop {
        let found = findings(&global).await?;
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wrong_now = wrong_findings(&cases, &found);
        if wrong_now.is_empty() || Instant::now() >= end {
            wrong.extend(wrong_now);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_an_envoy_without_a_control_plane() -> anyhow::Result<()> {
    hold_alone(None, address([61, 2])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_the_oldest_envoy() -> anyhow::Result<()> {
    hold_alone(Some(OLDEST_VERSION), address([61, 3])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_in_the_newest_envoy() -> anyhow::Result<()> {
    hold_alone(Some(NEWEST_VERSION), address([61, 4])).await
}

/// Runs all cases in an Envoy without a control plane.
async fn hold_alone(version: Option<&'static str>, at: IpAddr) -> anyhow::Result<()> {
    let (cases, world) = (case::all()?, World::start().await?);
    let documents = documents::all(&cases, &world, at)?;
    let lone = match version {
        None => lone::Envoy::start(&documents).await?,
        Some(version) => {
            let install = || install_version(version, &mut |step| eprintln!("{step}"));
            let envoy = tokio::task::spawn_blocking(install).await??;
            lone::Envoy::start_of(&envoy, &documents).await?
        }
    };
    let mut wrong = hold(&cases, &world, at).await;
    wrong.extend(wrong_findings(&cases, &lone.findings));
    let log = lone.process.log().await;
    anyhow::ensure!(wrong.is_empty(), "{}\n{log}", wrong.join("\n"));
    Ok(())
}

/// What does not hold, in sentences.
async fn hold(cases: &[Case], world: &World, at: IpAddr) -> Vec<String> {
    let end = Instant::now() + DEADLINE;
    let each = cases.iter().map(async |case| {
        let mut wrong = Vec::new();
        for request in &case.requests {
            // What a case shows is not there at once, so it is asked until it is right.
            while let Err(error) = request.holds(case, world, at).await {
                if Instant::now() >= end {
                    wrong.push(format!("{}: {}: {error:#}", case.title(), request.ask));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        wrong
    });
    join_all(each).await.into_iter().flatten().collect()
}

/// Findings that a case does not expect, and those that it expects and are not there.
fn wrong_findings(cases: &[Case], found: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expected: Vec<(&Case, &String)> = cases
        .iter()
        .flat_map(|case| case.findings.iter().map(move |words| (case, words)))
        .collect();
    for finding in found {
        let is_it = |(case, words): &(&Case, &String)| {
            // The gateway is that of all cases.
            let is_theirs = finding.contains(&case.prefix())
                || finding.contains("MeshGateway ")
                || finding.contains("\"MeshGateway\"");
            is_theirs && finding.contains(words.as_str())
        };
        match expected.iter().position(is_it) {
            Some(index) => drop(expected.remove(index)),
            None => wrong.push(format!("nobody expects the finding {finding}")),
        }
    }
    let missing = expected.iter();
    wrong.extend(missing.map(|(case, words)| format!("{}: no finding {words:?}", case.title())));
    wrong
}
