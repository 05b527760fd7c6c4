//! `meridian get`.

mod columns;

use std::process::ExitCode;

use mesh_model::ResourceType;
use mesh_runtime::clock;
use serde_json::Value;

use crate::client::{Connection, Listing, Server, Window};
use crate::output::{self, Format};
use crate::words;

/// Show resources
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian get meshgateways
  meridian get meshgatewayroute shop -o yaml
  meridian get dataplanes --all-meshes
  meridian get zones")]
pub(crate) struct Args {
    /// Type of the resources, such as meshgateways
    #[arg(value_name = "TYPE")]
    ty: String,
    /// Name of the one to show
    name: Option<String>,
    /// Mesh that the resources are in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// Show the resources of all meshes
    #[arg(short = 'A', long, conflicts_with_all = ["mesh", "name"])]
    all_meshes: bool,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ty = words::parse_type(&args.ty)?;
    let mesh = (!args.all_meshes).then_some(args.mesh.as_str());
    let server = Server::connect(&args.connection)?;
    // Tables also show how the resource is doing.
    let suffix = match args.output {
        Format::Table if columns::needs_overview(ty) => "/_overview",
        _ => "",
    };
    if let Some(name) = &args.name {
        let path = Server::item(ty, mesh, name) + suffix;
        match server.find(&path).await? {
            Some(item) => show(ty, args.output, &item, std::slice::from_ref(&item))?,
            None => return Err(words::absent(ty, mesh, name)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let path = Server::collection(ty, mesh) + suffix;
    let listing = server.list(&path, args.window).await?;
    show(ty, args.output, &listing.to_json(), &listing.items)?;
    hint_at_more(&listing);
    Ok(ExitCode::SUCCESS)
}

fn show(ty: ResourceType, format: Format, whole: &Value, items: &[Value]) -> anyhow::Result<()> {
    match format {
        Format::Table => output::line(columns::table(ty, items, clock::now()))?,
        Format::Yaml | Format::Json => output::structured(format, whole)?,
    }
    Ok(())
}

fn hint_at_more(listing: &Listing) {
    if let Some(next) = listing.next {
        output::note(format_args!(
            "{} of {} shown; for the next ones give --offset={next}",
            listing.items.len(),
            listing.total
        ));
    }
}
