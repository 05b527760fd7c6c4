//! `meridian render`: files in, Envoy's configuration out, without a control plane.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use mesh_model::{Key, MeshName, Resource, ResourceName, ResourceType, Timestamp, ZoneName};
use mesh_proto::mesh::Dataplane;
use mesh_proto::mesh::dataplane::networking::gateway::GatewayType;
use zone_translate::{EnvoyType, Proxy, Translation, ZoneView, render};

use crate::apply::load;
use crate::documents::{self, Item, Variable};
use crate::output::{self, Format};

/// Show the Envoy configuration that files make for a gateway
///
/// Everything in the result is static, so Envoy can check or run it as it is. Findings, which
/// are what was left out or is probably not meant, go to standard error. Certificates come from
/// the Secrets among the files, and from the files that gateways name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian render -f examples/ --dataplane gateway-1
  meridian render -f examples/ --with-keys -o json > envoy.json && envoy --mode validate -c envoy.json")]
pub(crate) struct Args {
    /// File with YAML or JSON documents, folder of such files, or `-` for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Value to fill in where files say `{{ name }}`
    #[arg(short = 'v', long = "var", value_name = "NAME=VALUE", value_parser = documents::parse_variable)]
    variables: Vec<Variable>,
    /// The gateway's Dataplane; may be left out if the files have only one
    #[arg(long, value_name = "NAME")]
    dataplane: Option<String>,
    /// Mesh of the Dataplane
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// Zone that the Dataplane is in
    #[arg(long)]
    zone: Option<String>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Notation::Yaml)]
    output: Notation,
    /// Show each resource as a control plane sends it, instead of one file for Envoy
    #[arg(long)]
    resources: bool,
    /// Show private keys, without which Envoy does not take the file
    #[arg(long, conflicts_with = "resources")]
    with_keys: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Notation {
    Yaml,
    Json,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let items = load(&args.files, &args.variables)?;
    let zone = args.zone.as_deref().map(ZoneName::parse).transpose();
    let zone = zone.context("--zone is not the name of a zone")?;
    let translation = translate(&items, &args.mesh, args.dataplane.as_deref(), zone)?;
    for finding in &translation.findings {
        output::note(finding);
    }
    let snapshot = &translation.snapshot;
    let value = match (args.resources, args.with_keys) {
        (true, _) => render::resources(snapshot),
        (false, true) => render::bootstrap_with_keys(snapshot),
        (false, false) => {
            if !snapshot.items(EnvoyType::Secret).is_empty() {
                output::note(
                    "private keys are not shown; for a file that Envoy takes: --with-keys",
                );
            }
            render::bootstrap(snapshot)
        }
    };
    let format = match args.output {
        Notation::Yaml => Format::Yaml,
        Notation::Json => Format::Json,
    };
    output::structured(format, &value)?;
    Ok(ExitCode::SUCCESS)
}

fn translate(
    items: &[Item],
    mesh: &str,
    dataplane: Option<&str>,
    zone: Option<ZoneName>,
) -> anyhow::Result<Translation> {
    let mut view = ZoneView::default();
    let mut gateways = Vec::new();
    for item in items {
        let resource = Arc::new(resource(item)?);
        view.put(&resource);
        let is_here = item.ty == ResourceType::Dataplane && item.mesh.as_deref() == Some(mesh);
        if is_here && is_builtin_gateway(&resource) {
            gateways.push(resource);
        } else if is_here && Some(item.name.as_str()) == dataplane {
            bail!("{item} is no builtin gateway (networking.gateway.type: BUILTIN)");
        }
    }
    let names = gateways.iter().map(|r| r.key().name().as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let wanted = match (dataplane, gateways.as_slice()) {
        (Some(name), _) => gateways.iter().find(|r| r.key().name().as_str() == name),
        (None, [one]) => Some(one),
        (None, []) => None,
        (None, _) => bail!("say with --dataplane which gateway is meant: {names}"),
    };
    let Some(wanted) = wanted else {
        match gateways.len() {
            0 => bail!("the files have no Dataplane of a builtin gateway in mesh {mesh:?}"),
            _ => bail!("the files have no such Dataplane in mesh {mesh:?}; they have {names}"),
        }
    };
    read_files(&mut view);
    Ok(zone_translate::translate(
        &view,
        &Proxy::new(Arc::clone(wanted), zone),
    ))
}

/// Reads the files that certificates are in, as a control plane would.
fn read_files(view: &mut ZoneView) {
    for (mesh, path) in view.certificate_files() {
        let read = std::fs::read(&path);
        let read = read
            .map(Into::into)
            .map_err(|error| error.kind().to_string());
        view.set_file(&mesh, &path, Some(read));
    }
}

fn resource(item: &Item) -> anyhow::Result<Resource> {
    let mesh = item.mesh.as_deref().map(MeshName::parse).transpose()?;
    let key = Key::try_new(item.ty, mesh, ResourceName::parse(&item.name)?)
        .with_context(|| format!("{item} has no mesh"))?;
    Ok(Resource::new(
        key,
        item.labels.clone(),
        item.spec.clone(),
        // Files have no times; all resources count as equally old.
        Timestamp::EPOCH,
        Timestamp::EPOCH,
    ))
}

fn is_builtin_gateway(resource: &Resource) -> bool {
    let networking = resource.decode::<Dataplane>().networking;
    networking
        .and_then(|networking| networking.gateway)
        .is_some_and(|gateway| gateway.r#type() == GatewayType::Builtin)
}
