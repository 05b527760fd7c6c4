//! One MeshGateway, MeshGatewayRoute or ExternalService: who runs it, and what they have to say
//! about it.

use std::collections::BTreeMap;

use mesh_model::{ResourceType, labels};
use serde_json::{Value, json};

use super::One;
use crate::client::{Error, Server, Window};
use crate::output::{self, Format};
use crate::overview::Overview;
use crate::table::Table;
use crate::words;

pub(super) async fn show(args: &One, ty: ResourceType) -> anyhow::Result<()> {
    let server = Server::connect(&args.connection)?;
    let resource = find(&server, args, ty).await?;
    let mesh = Some(args.mesh.as_str());
    let path = Server::collection(ResourceType::Dataplane, mesh) + "/_overview";
    let proxies = server.list(&path, Window::default()).await?.items;
    let selected = selected(&server, ty, mesh, text(&resource["name"])).await?;
    let report = Report::new(ty, &resource, &proxies, selected.as_deref());
    match args.output {
        Format::Table => output::text(&report.to_string())?,
        Format::Yaml | Format::Json => output::structured(args.output, &report.to_json())?,
    }
    Ok(())
}

/// By name, else by the name that its author gave it: a zone control plane adds to names.
async fn find(server: &Server, args: &One, ty: ResourceType) -> anyhow::Result<Value> {
    let One { name, mesh, .. } = args;
    if let Some(item) = server.find(&Server::item(ty, Some(mesh), name)).await? {
        return Ok(item);
    }
    let path = Server::collection(ty, Some(mesh));
    let items = server.list(&path, Window::default()).await?.items;
    items
        .into_iter()
        .find(|item| item["labels"][labels::DISPLAY_NAME] == **name)
        .ok_or_else(|| words::absent(ty, Some(mesh), name))
}

/// The names of the Dataplanes that run the resource, if the control plane can say.
async fn selected(
    server: &Server,
    ty: ResourceType,
    mesh: Option<&str>,
    name: &str,
) -> anyhow::Result<Option<Vec<String>>> {
    let path = Server::item(ty, mesh, name) + "/dataplanes";
    let answer = match server.get(&path).await {
        Ok(answer) => answer,
        // Older control planes say it for gateways only.
        Err(Error::Refused(_) | Error::Stranger { .. }) => return Ok(None),
        Err(error @ Error::Unreachable { .. }) => return Err(error.into()),
    };
    Ok(answer["items"].as_array().map(|items| {
        items
            .iter()
            .map(|item| match &item["dataplane"]["name"] {
                Value::String(name) => name.clone(),
                _ => text(&item["name"]).to_owned(),
            })
            .collect()
    }))
}

/// What is known of one resource.
#[derive(Debug)]
struct Report {
    ty: ResourceType,
    mesh: String,
    name: String,
    /// Name, zone, status; none when the control plane cannot say who they are.
    proxies: Option<Vec<[String; 3]>>,
    /// Field and message to who says so.
    findings: BTreeMap<(String, String), Vec<String>>,
}

impl Report {
    fn new(
        ty: ResourceType,
        resource: &Value,
        proxies: &[Value],
        selected: Option<&[String]>,
    ) -> Self {
        let name = resource["labels"][labels::DISPLAY_NAME]
            .as_str()
            .unwrap_or(text(&resource["name"]));
        let mut findings: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for proxy in proxies {
            let proxy = Overview::dataplane(proxy);
            for finding in proxy.findings() {
                if finding.ty == ty.name() && finding.name == name {
                    findings
                        .entry((finding.field, finding.message))
                        .or_default()
                        .push(proxy.name().to_owned());
                }
            }
        }
        let rows = selected.map(|selected| {
            proxies
                .iter()
                .map(Overview::dataplane)
                .filter(|proxy| selected.iter().any(|name| name == proxy.name()))
                .map(|proxy| {
                    [
                        proxy.name().to_owned(),
                        proxy.zone_name(),
                        proxy.status().text().to_owned(),
                    ]
                })
                .collect()
        });
        Self {
            ty,
            mesh: text(&resource["mesh"]).to_owned(),
            name: name.to_owned(),
            proxies: rows,
            findings,
        }
    }

    fn to_json(&self) -> Value {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|((field, message), by)| {
                json!({ "field": field, "message": message, "dataplanes": by })
            })
            .collect();
        let proxies = self.proxies.as_ref().map(|rows| {
            rows.iter()
                .map(|[name, zone, status]| json!({ "name": name, "zone": zone, "status": status }))
                .collect::<Vec<_>>()
        });
        json!({
            "type": self.ty.name(),
            "mesh": self.mesh,
            "name": self.name,
            "dataplanes": proxies,
            "findings": findings,
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} {}/{}\n", self.ty, self.mesh, self.name)?;
        match &self.proxies {
            Some(rows) if rows.is_empty() => {
                f.write_str("no Dataplane runs it: none has the tags that it selects\n\n")?;
            }
            Some(rows) => {
                let mut table = Table::new(&["DATAPLANE", "ZONE", "STATUS"]);
                rows.iter().for_each(|row| table.push(row.clone()));
                write!(f, "{table}\n\n")?;
            }
            None => {}
        }
        if self.findings.is_empty() {
            return f.write_str("no findings\n");
        }
        f.write_str("Findings:\n")?;
        for ((field, message), by) in &self.findings {
            f.write_str("  ")?;
            if !field.is_empty() {
                write!(f, "{field}: ")?;
            }
            writeln!(f, "{message} (says {})", by.join(", "))?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(name: &str, about: &str) -> Value {
        json!({
            "mesh": "default", "name": name, "labels": {"kuma.io/zone": "east"},
            "dataplaneInsight": {"findings": [
                {"type": "MeshGatewayRoute", "name": about,
                 "field": "conf.http.rules[0].backends[0]", "message": "no such service \"cart\""},
                {"type": "MeshGateway", "name": about, "message": "too many"},
            ]},
        })
    }

    fn report(selected: Option<&[String]>) -> String {
        let resource = json!({
            "mesh": "default", "name": "shop-8z4fb498cz944fvb",
            "labels": {"kuma.io/display-name": "shop"},
        });
        let proxies = [
            proxy("gw-1", "shop"),
            proxy("gw-2", "shop"),
            proxy("gw-3", "other"),
        ];
        Report::new(
            ResourceType::MeshGatewayRoute,
            &resource,
            &proxies,
            selected,
        )
        .to_string()
    }

    #[test]
    fn findings_are_those_about_the_resource_once_each() {
        assert_eq!(
            report(None),
            "MeshGatewayRoute default/shop\n\n\
             Findings:\n  conf.http.rules[0].backends[0]: no such service \"cart\" (says gw-1, gw-2)\n"
        );
    }

    #[test]
    fn those_who_run_it_are_shown() {
        let text = report(Some(&["gw-1".to_owned()]));
        assert!(text.contains("gw-1        east   Offline\n"), "{text}");
        assert!(report(Some(&[])).contains("no Dataplane runs it"));
    }

    #[test]
    fn a_resource_that_nobody_complains_about_has_no_findings() {
        let resource = json!({"mesh": "default", "name": "fine"});
        let proxies = [proxy("gw-1", "shop")];
        let report = Report::new(ResourceType::MeshGatewayRoute, &resource, &proxies, None);
        assert!(report.to_string().ends_with("\nno findings\n"));
        assert_eq!(report.to_json()["findings"], json!([]));
    }
}
