//! What Envoy says of itself, by way of its control plane.

use clap::ValueEnum;
use mesh_model::ResourceType;

use super::{One, dataplane};
use crate::client::{Connection, Server};
use crate::output::{self, Format};

/// What to show of a Dataplane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Show {
    /// Where it is, how it does and what it has to say
    #[default]
    Overview,
    /// Envoy's whole configuration
    ConfigDump,
    /// Envoy's counters, gauges and histograms
    Stats,
    /// Envoy's upstream hosts
    Clusters,
}

/// What to ask an Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ask {
    /// Its whole configuration
    ConfigDump,
    /// Its counters, gauges and histograms
    Stats,
    /// Its upstream hosts
    Clusters,
}

#[derive(Debug, clap::Args)]
struct Details {
    /// With endpoints, in a config dump
    #[arg(long)]
    include_eds: bool,
    /// With stats that were never written
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Dataplane {
    #[command(flatten)]
    one: One,
    /// What to show
    #[arg(long = "type", value_enum, default_value_t)]
    show: Show,
    #[command(flatten)]
    details: Details,
}

#[derive(Debug, clap::Args)]
pub(super) struct ZoneProxy {
    /// Its name
    name: String,
    /// What to show
    #[arg(long = "type", value_enum, default_value_t = Ask::ConfigDump)]
    ask: Ask,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    details: Details,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn dataplane(args: &Dataplane) -> anyhow::Result<()> {
    let ask = match args.show {
        Show::Overview => return dataplane::show(&args.one).await,
        Show::ConfigDump => Ask::ConfigDump,
        Show::Stats => Ask::Stats,
        Show::Clusters => Ask::Clusters,
    };
    let One {
        mesh,
        output,
        connection,
        ..
    } = &args.one;
    let server = Server::connect(connection)?;
    let item = dataplane::find(&server, &args.one).await?;
    let name = item["name"].as_str().unwrap_or(&args.one.name);
    let path = Server::item(ResourceType::Dataplane, Some(mesh), name);
    show(&server, &path, ask, &args.details, *output).await
}

pub(super) async fn zone_proxy(args: &ZoneProxy, ty: ResourceType) -> anyhow::Result<()> {
    let server = Server::connect(&args.connection)?;
    let path = Server::item(ty, None, &args.name);
    show(&server, &path, args.ask, &args.details, args.output).await
}

async fn show(
    server: &Server,
    proxy: &str,
    ask: Ask,
    details: &Details,
    output: Format,
) -> anyhow::Result<()> {
    let format = match output {
        Format::Table => "text",
        Format::Json | Format::Yaml => "json",
    };
    let path = match ask {
        Ask::ConfigDump => format!("{proxy}/xds?include_eds={}", details.include_eds),
        Ask::Stats => format!("{proxy}/stats?format={format}&usedonly={}", !details.all),
        Ask::Clusters => format!("{proxy}/clusters?format={format}"),
    };
    let text = server.text(&path).await?;
    if output == Format::Yaml {
        output::structured(output, &serde_json::from_str(&text)?)?;
    } else {
        output::text(&text)?;
        if !text.ends_with('\n') {
            output::text("\n")?;
        }
    }
    Ok(())
}
