//! `meridian inspect`: how resources are doing.

mod dataplane;
mod findings;
mod proxy;
mod tables;

use std::process::ExitCode;

use clap::Subcommand;
use mesh_model::ResourceType;

use crate::client::Connection;
use crate::output::Format;

/// Show how resources are doing: who is online, and what is wrong with a route
///
/// Findings are what control planes and Envoy had to say when a resource became configuration,
/// such as a route to a service that does not exist.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian inspect meshgatewayroute shop
  meridian inspect dataplanes
  meridian inspect zones")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Zones and their streams
    #[command(
        after_help = "Example:\n  meridian inspect zones",
        visible_alias = "zone"
    )]
    Zones(Zones),
    /// Dataplanes and their streams
    #[command(after_help = "Example:\n  meridian inspect dataplanes --gateway")]
    Dataplanes(Dataplanes),
    /// One Dataplane, with what it has to say, or what its Envoy says of itself
    #[command(after_help = "\
Examples:
  meridian inspect dataplane gateway-1
  meridian inspect dataplane gateway-1 --type config-dump
  meridian inspect dataplane gateway-1 --type stats --all")]
    Dataplane(proxy::Dataplane),
    /// What the Envoy of a zone ingress says of itself
    #[command(after_help = "Example:\n  meridian inspect zoneingress ingress-1 --type clusters")]
    #[command(name = "zoneingress", visible_alias = "zone-ingress")]
    ZoneIngress(proxy::ZoneProxy),
    /// What the Envoy of a zone egress says of itself
    #[command(after_help = "Example:\n  meridian inspect zoneegress egress-1 --type stats")]
    #[command(name = "zoneegress", visible_alias = "zone-egress")]
    ZoneEgress(proxy::ZoneProxy),
    /// A MeshGateway: who runs it, and what they have to say about it
    #[command(after_help = "Example:\n  meridian inspect meshgateway edge")]
    #[command(name = "meshgateway", visible_alias = "meshgateways")]
    MeshGateway(One),
    /// A MeshGatewayRoute: who runs it, and what they have to say about it
    #[command(after_help = "Example:\n  meridian inspect meshgatewayroute shop")]
    #[command(name = "meshgatewayroute", visible_alias = "meshgatewayroutes")]
    MeshGatewayRoute(One),
    /// An ExternalService: what gateways have to say about it
    #[command(after_help = "Example:\n  meridian inspect external-service payments")]
    #[command(name = "external-service", visible_alias = "external-services")]
    ExternalService(One),
}

#[derive(Debug, clap::Args)]
struct Zones {
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct Dataplanes {
    /// Mesh that they are in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// Show those of all meshes
    #[arg(short = 'A', long, conflicts_with = "mesh")]
    all_meshes: bool,
    /// Show gateways only
    #[arg(long)]
    gateway: bool,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its name; the name that its author gave it will do
    name: String,
    /// Mesh that it is in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Zones(args) => tables::zones(&args).await?,
        What::Dataplanes(args) => tables::dataplanes(&args).await?,
        What::Dataplane(args) => proxy::dataplane(&args).await?,
        What::ZoneIngress(args) => proxy::zone_proxy(&args, ResourceType::ZoneIngress).await?,
        What::ZoneEgress(args) => proxy::zone_proxy(&args, ResourceType::ZoneEgress).await?,
        What::MeshGateway(args) => findings::show(&args, ResourceType::MeshGateway).await?,
        What::MeshGatewayRoute(args) => {
            findings::show(&args, ResourceType::MeshGatewayRoute).await?;
        }
        What::ExternalService(args) => {
            findings::show(&args, ResourceType::ExternalService).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
