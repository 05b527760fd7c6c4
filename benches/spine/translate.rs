//! (e) What a translation costs: from scratch, for one changed route, for one changed endpoint;
//! as a list and as a tree.
//!
//! Each case runs in a process of its own, so that its memory is nobody else's: this program
//! starts itself with the case as its argument and reads a line of JSON.

use std::process::Command;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh_model::json::parse_document;
use mesh_model::{Key, MeshName, Resource, ResourceName, Timestamp};
use serde_json::{Value, json};
use zone_translate::{EnvoyType, Proxy, Translator, ZoneView};

use crate::load;
use crate::machine;
use crate::report::{Report, Row};
use crate::stats::{Samples, milliseconds, round};

/// Sizes, and the bar in milliseconds for a changed route.
const SIZES: [(usize, f64); 3] = [(1_000, 1.0), (5_000, 2.0), (40_000, 5.0)];
const HOSTS: usize = 2_500;
const CHANGES: usize = 200;
const SERVICES: usize = 100;

/// What is translated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    routes: usize,
    /// 1: all routes are of one hostname.
    hosts: usize,
    is_tree: bool,
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [routes, hosts, kind] = parts[..] else {
            anyhow::bail!("{text} is not routes:hosts:kind");
        };
        Ok(Self {
            routes: routes.parse()?,
            hosts: hosts.parse()?,
            is_tree: kind == "tree",
        })
    }
}

/// Measures all cases.
pub(crate) fn measure(quick: bool, report: &mut Report) -> anyhow::Result<()> {
    for (routes, bar) in SIZES {
        for kind in ["list", "tree"] {
            row(routes, 1, kind, bar, report)?;
        }
    }
    if !quick {
        row(40_000, HOSTS, "list", 5.0, report)?;
    }
    Ok(())
}

fn row(
    routes: usize,
    hosts: usize,
    kind: &str,
    bar: f64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let case = format!("{routes}:{hosts}:{kind}");
    crate::progress(&format!("translate: {case}"));
    let output = Command::new(std::env::current_exe()?)
        .args(["--bench", "--case", &case])
        .output()?;
    let result: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{case}: {}", String::from_utf8_lossy(&output.stderr)))?;
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    let what = |text: &str| {
        let hosts = if hosts == 1 {
            String::new()
        } else {
            format!(" of {hosts} hosts")
        };
        format!("e: {text}, {routes} routes{hosts}, {kind}")
    };
    let from_scratch = number("from_scratch_ms");
    let (memory, change) = (number("mib"), result["change"]["p50_ms"].as_f64());
    let change = change.context("a change's time")?;
    for (text, figure, bar) in [
        ("from scratch", format!("{from_scratch:.0} ms"), None),
        (
            "view and translation, memory",
            format!("{memory:.0} MiB"),
            None,
        ),
        (
            "one changed route, p50",
            format!("{change:.2} ms"),
            Some(bar),
        ),
    ] {
        report.row(Row {
            what: what(text),
            figure,
            bar: bar.map_or_else(String::new, |bar| format!("<= {bar} ms")),
            is_met: bar.map(|bar| change <= bar),
        });
    }
    report.detail("translate", result);
    Ok(())
}

/// Measures one case in this process; CPU time, so that other processes do not count.
pub(crate) fn measure_case(case: Case) -> anyhow::Result<Value> {
    let mut view = ZoneView::default();
    let gateway = resource(&load::gateway_dataplane("gateway", "127.0.41.1", 9901))?;
    view.put(&gateway);
    view.put(&resource(&load::mesh_gateway())?);
    for service in 0..SERVICES {
        view.put(&endpoint(service, 80)?);
    }
    for number in 0..case.routes {
        view.put(&route(case, number, 0)?);
    }
    let mut proxy = Proxy::new(gateway, None);
    proxy.envoy_version = case.is_tree.then_some((1, 36));
    let before = machine::memory(std::process::id())?.0;
    let mut translator = Translator::new(proxy);
    let from_scratch = time(|| drop(translator.update(&view)))?;
    let after = machine::memory(std::process::id())?.0;
    let mut changes = Vec::with_capacity(CHANGES);
    for round in 1..=CHANGES {
        let changed = route(case, round * 7919 % case.routes, round)?;
        changes.push(time(|| {
            view.put(&changed);
            assert!(translator.update(&view).is_some(), "the route did change");
        })?);
    }
    let mut endpoints = Vec::with_capacity(CHANGES);
    for round in 1..=CHANGES {
        let changed = endpoint(round % SERVICES, 80 + round)?;
        endpoints.push(time(|| {
            view.put(&changed);
            assert!(
                translator.update(&view).is_some(),
                "the endpoint did change"
            );
        })?);
    }
    let snapshot = translator.translation().snapshot;
    let payloads = snapshot.items(EnvoyType::Route).values();
    let bytes: usize = payloads.map(|item| item.payload.len()).sum();
    Ok(json!({
        "routes": case.routes,
        "hosts": case.hosts,
        "is_tree": case.is_tree,
        "from_scratch_ms": round(milliseconds(from_scratch)),
        "change": Samples::new(changes.into_iter().map(milliseconds)).to_json(),
        "endpoint": Samples::new(endpoints.into_iter().map(milliseconds)).to_json(),
        "route_configuration_bytes": bytes,
        "translation_mib": round(after - before),
        "mib": machine::memory(std::process::id())?.0,
    }))
}

/// The CPU time of this thread that `work` takes.
fn time(work: impl FnOnce()) -> anyhow::Result<Duration> {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).context("CPU time is not negative")
    };
    let start = now()?;
    work();
    Ok(now()? - start)
}

fn route(case: Case, number: usize, revision: usize) -> anyhow::Result<Arc<Resource>> {
    let path = format!("/shop/{number:05}/{revision}");
    let mut document = load::route(&format!("route-{number:05}"), &path);
    let http = &mut document["conf"]["http"];
    let service = format!("service-{}", number % SERVICES);
    http["rules"][0]["backends"][0]["destination"]["kuma.io/service"] = json!(service);
    if case.hosts > 1 {
        http["hostnames"] = json!([format!("host-{}.example", number % case.hosts)]);
    }
    resource(&document)
}

fn endpoint(service: usize, port: usize) -> anyhow::Result<Arc<Resource>> {
    resource(&json!({
        "type": "Dataplane", "mesh": "default", "name": format!("backend-{service}"),
        "networking": {"address": "10.0.1.1", "inbound": [
            {"port": port, "tags": {"kuma.io/service": format!("service-{service}")}},
        ]},
    }))
}

fn resource(document: &Value) -> anyhow::Result<Arc<Resource>> {
    let parsed = parse_document(document).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mesh = parsed.mesh.map(|mesh| MeshName::parse(&mesh)).transpose()?;
    let name = ResourceName::parse(&parsed.name)?;
    let key = Key::try_new(parsed.ty, mesh, name).context("scope and mesh agree")?;
    let epoch = Timestamp::EPOCH;
    Ok(Arc::new(Resource::new(
        key,
        parsed.labels,
        parsed.spec,
        epoch,
        epoch,
    )))
}
