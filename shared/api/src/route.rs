//! From a path to what it names. Pure: no resource is looked up here.
//!
//! Fixed words win over names: `/meshes/m/dataplanes/_overview` is the list of overviews, never
//! an item called `_overview`.

use mesh_model::ResourceType;

use crate::path;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Index,
    Config,
    WhoAmI,
    Policies,
    Resources,
    GlobalInsight,
    GlobalInsights,
    ZoneStatus,
    Links,
    Findings,
    DataplaneToken,
    ZoneToken,
    UserToken,
    /// Tells a zone to follow another deployment.
    AcceptCluster,
    Kri {
        kri: String,
    },
    /// All resources of a type, of one mesh or of all.
    List {
        ty: ResourceType,
        mesh: Option<String>,
        is_overview: bool,
    },
    /// One resource.
    Item {
        ty: ResourceType,
        mesh: Option<String>,
        name: String,
        is_overview: bool,
    },
    /// The Dataplanes that a MeshGateway or MeshGatewayRoute selects.
    Selected {
        ty: ResourceType,
        mesh: String,
        name: String,
    },
    /// Where a resource is.
    Receipts {
        ty: ResourceType,
        mesh: Option<String>,
        name: String,
    },
    /// What a proxy says of itself.
    Proxy {
        ty: ResourceType,
        mesh: Option<String>,
        name: String,
        ask: Ask,
    },
}

/// What a proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    ConfigDump,
    Stats,
    Clusters,
}

/// A target, and the shape of the path that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) target: Target,
    /// Such as `/meshes/{mesh}/dataplanes/{name}`: names a metric's label and fields of errors.
    pub(crate) template: String,
}

impl Route {
    /// The methods that the path knows, as `Allow` lists them.
    pub(crate) fn allowed(&self) -> &'static str {
        match self.target {
            Target::DataplaneToken
            | Target::ZoneToken
            | Target::UserToken
            | Target::AcceptCluster => "POST",
            Target::Item {
                is_overview: false, ..
            } => "PUT, DELETE, GET",
            _ => "GET",
        }
    }

    /// Whether the path knows the method.
    pub(crate) fn allows(&self, method: &http::Method) -> bool {
        self.allowed().split(", ").any(|m| m == method.as_str())
    }
}

/// Finds what a path names; `base` is the prefix of all paths but `/tokens/user`.
pub(crate) fn find(path: &str, base: &str) -> Option<Route> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let base = base.trim_end_matches('/');
    let path = match path.strip_prefix(base) {
        _ if path == "/tokens/user" => path,
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return None,
    };
    let segments = path
        .split('/')
        .skip(1)
        .map(|s| path::decode(s, false).filter(|s| !s.contains('/')))
        .collect::<Option<Vec<_>>>()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if let ["meridian", "receipts", of @ ..] = segments.as_slice() {
        return receipts(of);
    }
    fixed(&segments)
        .map(|target| Route {
            target,
            template: format!("/{}", segments.join("/")),
        })
        .or_else(|| of_resources(&segments))
}

/// `/meridian/receipts` and the path of a resource.
fn receipts(segments: &[&str]) -> Option<Route> {
    let of = of_resources(segments)?;
    match of.target {
        Target::Item {
            ty,
            mesh,
            name,
            is_overview: false,
        } => Some(Route {
            target: Target::Receipts { ty, mesh, name },
            template: format!("/meridian/receipts{}", of.template),
        }),
        _ => None,
    }
}

fn fixed(segments: &[&str]) -> Option<Target> {
    Some(match segments {
        [] => Target::Index,
        ["config"] => Target::Config,
        ["who-am-i"] => Target::WhoAmI,
        ["policies"] => Target::Policies,
        ["_resources"] => Target::Resources,
        ["global-insight"] => Target::GlobalInsight,
        ["global-insights"] => Target::GlobalInsights,
        ["status", "zones"] => Target::ZoneStatus,
        ["meridian", "links"] => Target::Links,
        ["meridian", "findings"] => Target::Findings,
        ["tokens", "dataplane"] => Target::DataplaneToken,
        ["tokens", "zone"] => Target::ZoneToken,
        ["tokens", "user"] => Target::UserToken,
        ["accept-cluster"] => Target::AcceptCluster,
        _ => return None,
    })
}

fn of_resources(segments: &[&str]) -> Option<Route> {
    let (target, template) = match segments {
        ["_kri", kri] => (
            Target::Kri {
                kri: (*kri).to_owned(),
            },
            "/_kri/{kri}".to_owned(),
        ),
        ["meshes", mesh, collection, rest @ ..] => {
            let (ty, is_overview) = of_collection(collection)?;
            if !ty.is_mesh_scoped() {
                return None;
            }
            let mesh = Some((*mesh).to_owned());
            let (target, rest) = in_collection(ty, mesh, is_overview, rest)?;
            (target, format!("/meshes/{{mesh}}/{collection}{rest}"))
        }
        [collection, rest @ ..] => {
            let (ty, is_overview) = of_collection(collection)?;
            let (target, rest) = in_collection(ty, None, is_overview, rest)?;
            // Items of a mesh are reached through their mesh only.
            if ty.is_mesh_scoped() && !matches!(target, Target::List { .. }) {
                return None;
            }
            (target, format!("/{collection}{rest}"))
        }
        [] => return None,
    };
    Some(Route { target, template })
}

/// The type of a collection, and whether it is the older spelling of its overviews.
fn of_collection(segment: &str) -> Option<(ResourceType, bool)> {
    if let Some(ty) = ResourceType::from_collection(segment) {
        return Some((ty, false));
    }
    if segment == "zoneegressoverviews" {
        return Some((ResourceType::ZoneEgress, true));
    }
    let collection = segment.strip_suffix("+insights")?;
    let ty = ResourceType::from_collection(collection).filter(|ty| has_overview(*ty))?;
    // Only the first of a type's spellings has this form, and egresses have the one above.
    (ty != ResourceType::ZoneEgress && ty.describe().collections.first() == Some(&collection))
        .then_some((ty, true))
}

fn in_collection(
    ty: ResourceType,
    mesh: Option<String>,
    is_old_overview: bool,
    rest: &[&str],
) -> Option<(Target, &'static str)> {
    let list = |mesh, is_overview| Target::List {
        ty,
        mesh,
        is_overview,
    };
    let item = |mesh, name: &str, is_overview| Target::Item {
        ty,
        mesh,
        name: name.to_owned(),
        is_overview,
    };
    Some(match rest {
        [] => (list(mesh, is_old_overview), ""),
        ["_overview"] if has_overview(ty) && !is_old_overview => (list(mesh, true), "/_overview"),
        [name] => (item(mesh, name, is_old_overview), "/{name}"),
        [name, "_overview"] if has_overview(ty) && !is_old_overview => {
            (item(mesh, name, true), "/{name}/_overview")
        }
        [name, "dataplanes"]
            if matches!(
                ty,
                ResourceType::MeshGateway | ResourceType::MeshGatewayRoute
            ) =>
        {
            let target = Target::Selected {
                ty,
                mesh: mesh?,
                name: (*name).to_owned(),
            };
            (target, "/{name}/dataplanes")
        }
        [name, what] if is_proxy(ty) && !is_old_overview => {
            let (ask, template) = match *what {
                "xds" => (Ask::ConfigDump, "/{name}/xds"),
                "stats" => (Ask::Stats, "/{name}/stats"),
                "clusters" => (Ask::Clusters, "/{name}/clusters"),
                _ => return None,
            };
            let name = (*name).to_owned();
            let target = Target::Proxy {
                ty,
                mesh,
                name,
                ask,
            };
            (target, template)
        }
        _ => return None,
    })
}

/// Whether an Envoy runs for each resource of a type.
fn is_proxy(ty: ResourceType) -> bool {
    matches!(
        ty,
        ResourceType::Dataplane | ResourceType::ZoneIngress | ResourceType::ZoneEgress
    )
}

/// Whether resources of a type are shown together with their insights.
pub(crate) fn has_overview(ty: ResourceType) -> bool {
    ty.insight().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(path: &str) -> Option<String> {
        find(path, "/").map(|r| r.template)
    }

    #[test]
    fn every_path_of_the_api_is_found() {
        for (path, expected) in [
            ("/", "/"),
            ("/config", "/config"),
            ("/tokens/user/", "/tokens/user"),
            ("/meshes", "/meshes"),
            ("/meshes/", "/meshes"),
            ("/meshes/shop", "/meshes/{name}"),
            ("/dataplanes", "/dataplanes"),
            ("/dataplanes+insights", "/dataplanes+insights"),
            ("/dataplanes%2Binsights", "/dataplanes+insights"),
            ("/dataplanes/_overview", "/dataplanes/_overview"),
            ("/meshes/shop/dataplanes", "/meshes/{mesh}/dataplanes"),
            (
                "/meshes/shop/dataplanes/a",
                "/meshes/{mesh}/dataplanes/{name}",
            ),
            (
                "/meshes/shop/dataplanes/_overview",
                "/meshes/{mesh}/dataplanes/_overview",
            ),
            (
                "/meshes/shop/dataplanes+insights/a",
                "/meshes/{mesh}/dataplanes+insights/{name}",
            ),
            (
                "/meshes/shop/dataplanes/a/_overview",
                "/meshes/{mesh}/dataplanes/{name}/_overview",
            ),
            ("/zones+insights", "/zones+insights"),
            ("/zones/east/_overview", "/zones/{name}/_overview"),
            (
                "/zone-ingresses/i/_overview",
                "/zone-ingresses/{name}/_overview",
            ),
            (
                "/zoneingresses+insights/i",
                "/zoneingresses+insights/{name}",
            ),
            (
                "/zoneegresses/e/_overview",
                "/zoneegresses/{name}/_overview",
            ),
            ("/zoneegressoverviews", "/zoneegressoverviews"),
            ("/zoneegressoverviews/e", "/zoneegressoverviews/{name}"),
            ("/global-secrets/s", "/global-secrets/{name}"),
            ("/hostnamegenerators/h", "/hostnamegenerators/{name}"),
            (
                "/meshes/shop/meshtimeouts/t",
                "/meshes/{mesh}/meshtimeouts/{name}",
            ),
            (
                "/meshes/shop/dataplanes/a/xds",
                "/meshes/{mesh}/dataplanes/{name}/xds",
            ),
            (
                "/meshes/shop/dataplanes/a/stats",
                "/meshes/{mesh}/dataplanes/{name}/stats",
            ),
            (
                "/zoneingresses/i/clusters",
                "/zoneingresses/{name}/clusters",
            ),
            ("/zoneegresses/e/xds", "/zoneegresses/{name}/xds"),
            (
                "/meridian/receipts/meshes/shop/meshgateways/g",
                "/meridian/receipts/meshes/{mesh}/meshgateways/{name}",
            ),
            (
                "/meridian/receipts/meshes/shop",
                "/meridian/receipts/meshes/{name}",
            ),
            ("/health-checks", "/health-checks"),
            ("/globalsecrets", "/globalsecrets"),
            (
                "/meshes/shop/meshgateways/g/dataplanes",
                "/meshes/{mesh}/meshgateways/{name}/dataplanes",
            ),
        ] {
            assert_eq!(template(path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not() {
        for path in [
            "/nosuch",
            "/Meshes",
            "/versions",
            "/dataplanes/a",
            "/meshes/shop/zones",
            "/meshes/shop/nosuch",
            "/meshes/shop/dataplanes/a/b",
            "/meshes/shop/meshgateways/g/xds",
            "/dataplanes/a/xds",
            "/meridian/receipts/meshes/shop/meshgateways",
            "/meridian/receipts",
            "/meshes/shop/dataplanes/a%2Fb",
            "/zone-ingresses+insights",
            "/zoneegresses+insights",
            "/meshtimeouts/t",
            "/zones%20insights",
            "/meshes+insights",
            "/configs/kuma-cluster-id",
            "/tokens/zone-ingress",
        ] {
            assert_eq!(template(path), None, "{path}");
        }
    }

    #[test]
    fn a_base_path_comes_before_all_but_user_tokens() {
        assert!(find("/kuma/meshes", "/kuma").is_some());
        assert!(find("/kuma", "/kuma/").is_some());
        assert!(find("/meshes", "/kuma").is_none());
        assert!(find("/kumameshes", "/kuma").is_none());
        assert!(find("/tokens/user", "/kuma").is_some());
    }
}
