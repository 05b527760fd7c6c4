//! Endpoints that are not about one collection: the index, the types, the totals.

use axum::response::Response;
use http::StatusCode;
use mesh_model::ResourceType;
use mesh_model::resource_type::{Inbound, Policy};
use mesh_proto::mesh::Dataplane;
use mesh_runtime::version;
use serde_json::{Map, Value, json};

use crate::context::{Context, Mode, Report};
use crate::filter;
use crate::request::Request;
use crate::respond;
use crate::status::{self, Status};

fn ok(value: &Value) -> Response {
    respond::json(StatusCode::OK, value)
}

/// `GET /`: what this server is. `tagline` and `product` are what clients check, the older ones
/// the first.
pub(crate) fn index(context: &Context) -> Response {
    ok(&json!({
        "clusterId": status::cluster_id(&context.store.snapshot()).unwrap_or_default(),
        "gui": "",
        "hostname": context.hostname,
        "instanceId": context.instance_id,
        "meridian": { "version": version::VERSION },
        "product": "Kuma",
        "tagline": "Kuma",
        "version": version::KUMA_VERSION,
    }))
}

/// `GET /config`: the effective configuration, on one line.
pub(crate) fn config(context: &Context) -> Response {
    respond::typed(
        StatusCode::OK,
        "application/json",
        context.config.to_string(),
    )
}

/// `GET /who-am-i`.
pub(crate) fn who_am_i(request: &Request<'_>) -> Response {
    ok(&json!({ "name": request.user.name, "groups": request.user.groups }))
}

/// Types in the API, ordered by name.
fn types() -> Vec<ResourceType> {
    let mut types: Vec<_> = ResourceType::ALL
        .into_iter()
        .filter(|ty| !ty.describe().collections.is_empty())
        .collect();
    types.sort_by_key(|ty| ty.name());
    types
}

/// `GET /policies`.
pub(crate) fn policies(context: &Context) -> Response {
    let policies: Vec<Value> = types()
        .into_iter()
        .filter_map(|ty| Some((ty, traits(ty.describe().policy?))))
        .map(|(ty, traits)| {
            json!({
                "name": ty.name(),
                "readOnly": !context.mode.may_write(ty),
                "path": ty.describe().collections[0],
                "singularDisplayName": display_name(ty),
                "pluralDisplayName": plural(&display_name(ty)),
                "isExperimental": false,
                "isTargetRefBased": traits.is_target_ref,
                "isInbound": traits.inbound != Inbound::Nothing,
                "isOutbound": traits.has_to,
            })
        })
        .collect();
    ok(&json!({ "policies": policies }))
}

/// `GET /_resources`.
pub(crate) fn resources(context: &Context) -> Response {
    let is_zone = matches!(context.mode, Mode::FederatedZone { .. });
    let resources: Vec<Value> = types()
        .into_iter()
        .map(|ty| {
            let d = ty.describe();
            let mut entry = Map::new();
            let mut put = |key: &str, value: Value| entry.insert(key.to_owned(), value);
            let is_federated = d.ways.down && !d.is_read_only;
            put("includeInFederation", json!(is_federated));
            put("name", json!(ty.name()));
            put("path", json!(d.collections[0]));
            put("pluralDisplayName", json!(plural(&display_name(ty))));
            if let Some(traits) = d.policy.map(traits) {
                let policy = json!({
                    "hasFromTargetRef": traits.inbound != Inbound::Nothing,
                    "hasRulesTargetRef": traits.inbound != Inbound::Nothing,
                    "hasToTargetRef": traits.has_to,
                    "isFromAsRules": traits.inbound == Inbound::ForAll,
                    "isTargetRef": traits.is_target_ref,
                });
                put("policy", policy);
            }
            put("readOnly", json!(is_zone || d.is_read_only));
            let scope = if ty.is_mesh_scoped() {
                "Mesh"
            } else {
                "Global"
            };
            put("scope", json!(scope));
            put("shortName", json!(d.short_name));
            put("singularDisplayName", json!(display_name(ty)));
            Value::Object(entry)
        })
        .collect();
    ok(&json!({ "resources": resources }))
}

/// What clients are told of a kind of policy.
struct Traits {
    is_target_ref: bool,
    inbound: Inbound,
    has_to: bool,
}

fn traits(policy: Policy) -> Traits {
    match policy {
        Policy::BySelectors => Traits {
            is_target_ref: false,
            inbound: Inbound::Nothing,
            has_to: false,
        },
        Policy::ByTargetRef { inbound, has_to } => Traits {
            is_target_ref: true,
            inbound,
            has_to,
        },
    }
}

/// `MeshHTTPRoute` as `Mesh HTTP Route`: a word begins where an upper-case letter follows or
/// precedes a lower-case one.
fn display_name(ty: ResourceType) -> String {
    /// One word, though its letters say otherwise.
    const WORD: (&str, &str) = ("Open Telemetry", "OpenTelemetry");
    let letters: Vec<char> = ty.name().chars().collect();
    let mut words = String::new();
    for (i, c) in letters.iter().enumerate() {
        let is_lower = |at: Option<usize>| {
            at.and_then(|at| letters.get(at))
                .is_some_and(char::is_ascii_lowercase)
        };
        if i > 0
            && c.is_ascii_uppercase()
            && (is_lower(i.checked_sub(1)) || is_lower(i.checked_add(1)))
        {
            words.push(' ');
        }
        words.push(*c);
    }
    words.replace(WORD.0, WORD.1)
}

fn plural(words: &str) -> String {
    if let Some(stem) = words.strip_suffix('y').filter(|stem| !stem.ends_with('a')) {
        return format!("{stem}ies");
    }
    let takes_es = ["s", "S", "sh", "ch"]
        .iter()
        .any(|ending| words.ends_with(ending));
    format!("{words}{}", if takes_es { "es" } else { "s" })
}

/// `GET /global-insights`: how many there are of each type that is in no mesh.
pub(crate) fn global_insights(context: &Context) -> Response {
    let snapshot = context.store.snapshot();
    let totals: Map<String, Value> = types()
        .into_iter()
        .filter(|ty| !ty.is_mesh_scoped() && !ty.describe().is_read_only)
        .map(|ty| {
            (
                ty.name().to_owned(),
                json!({ "total": snapshot.list(ty).count() }),
            )
        })
        .collect();
    ok(&json!({
        "type": "GlobalInsights",
        "creationTime": (context.now)().to_string(),
        "resources": totals,
    }))
}

/// `GET /status/zones`: what clients of Kuma before 2.12 ask.
pub(crate) fn zone_status(context: &Context) -> Response {
    let snapshot = context.store.snapshot();
    let zones: Vec<Value> = snapshot
        .list(ResourceType::Zone)
        .map(|zone| {
            json!({
                "name": zone.key().name().as_str(),
                "active": status::is_zone_active(&snapshot, zone),
            })
        })
        .collect();
    let zones = if zones.is_empty() {
        Value::Null
    } else {
        Value::Array(zones)
    };
    ok(&zones)
}

/// `GET /meridian/links`: where the connections to other control planes of ours stand.
pub(crate) fn links(context: &Context) -> Response {
    report(&context.reports.links)
}

/// `GET /meridian/findings`: what peers lack of what they are offered, and why.
pub(crate) fn findings(context: &Context) -> Response {
    report(&context.reports.findings)
}

fn report(report: &Report) -> Response {
    let items = report.ask();
    ok(&json!({ "total": items.len(), "items": items }))
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    online: usize,
    offline: usize,
    degraded: usize,
}

impl Tally {
    fn add(&mut self, status: Status) {
        match status {
            Status::Online => self.online += 1,
            Status::Offline => self.offline += 1,
            Status::PartiallyDegraded => self.degraded += 1,
        }
    }

    fn to_json(self) -> Value {
        json!({
            "offline": self.offline,
            "online": self.online,
            "partiallyDegraded": self.degraded,
            "total": self.online + self.offline + self.degraded,
        })
    }
}

/// `GET /global-insight`: the fleet in numbers.
pub(crate) fn global_insight(context: &Context) -> Response {
    let snapshot = context.store.snapshot();
    let (mut builtin, mut delegated, mut standard) =
        (Tally::default(), Tally::default(), Tally::default());
    for resource in snapshot.list(ResourceType::Dataplane) {
        let status = status::of_dataplane(&snapshot, resource);
        let gateway = resource
            .decode::<Dataplane>()
            .networking
            .and_then(|n| n.gateway);
        match gateway {
            Some(gateway) if filter::is_builtin(&gateway) => builtin.add(status),
            Some(_) => delegated.add(status),
            None => standard.add(status),
        }
    }
    let totals: Map<String, Value> = types()
        .into_iter()
        .filter(|ty| ty.is_mesh_scoped() && !ty.describe().is_read_only)
        .map(|ty| (ty.name().to_owned(), snapshot.list(ty).count()))
        .filter(|(_, total)| *total > 0)
        .map(|(name, total)| (name, json!({ "total": total })))
        .collect();
    let policies: usize = types()
        .into_iter()
        .filter(|ty| ty.describe().policy.is_some())
        .map(|ty| snapshot.list(ty).count())
        .sum();
    let zones = snapshot.list(ResourceType::Zone);
    let online = zones
        .filter(|zone| status::is_zone_active(&snapshot, zone))
        .count();
    let zone_proxies = |ty| {
        json!({
            "online": status::online_zone_proxies(&snapshot, ty),
            "total": snapshot.list(ty).count(),
        })
    };
    ok(&json!({
        "createdAt": (context.now)().to_string(),
        "dataplanes": {
            "gatewayBuiltin": builtin.to_json(),
            "gatewayDelegated": delegated.to_json(),
            "standard": standard.to_json(),
        },
        "meshes": { "total": snapshot.list(ResourceType::Mesh).count() },
        "policies": { "total": policies },
        "resources": totals,
        "zones": {
            "controlPlanes": {
                "online": online,
                "total": snapshot.list(ResourceType::Zone).count(),
            },
            "zoneEgresses": zone_proxies(ResourceType::ZoneEgress),
            "zoneIngresses": zone_proxies(ResourceType::ZoneIngress),
        },
    }))
}
