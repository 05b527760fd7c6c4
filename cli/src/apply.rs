//! `meridian apply`: resources from files to a control plane.

mod send;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::client::{Connection, Server};
use crate::documents::{self, Item, Variable};
use crate::{output, yaml};

/// Create or update the resources that files describe
///
/// All documents of all files are read and checked first; if anything is wrong in any of them,
/// nothing is sent. Meshes go first, then the rest. What a control plane refuses does not keep
/// it from taking the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian apply -f examples/global/
  meridian apply -f examples/global/mesh.yaml -f examples/global/gateway.yaml --dry-run
  meridian apply -f route.yaml -v service=cart
  generate-routes | meridian apply -f -")]
pub(crate) struct Args {
    /// File with YAML or JSON documents, folder of such files, or `-` for standard input
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// Value to fill in where files say `{{ name }}`
    #[arg(short = 'v', long = "var", value_name = "NAME=VALUE", value_parser = documents::parse_variable)]
    variables: Vec<Variable>,
    /// Only show what would be sent
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let items = in_order(load(&args.files, &args.variables)?);
    if args.dry_run {
        let documents: Vec<_> = items
            .iter()
            .map(|item| yaml::to_string(&item.to_document()))
            .collect();
        output::text(&documents.join("---\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let server = Server::connect(&args.connection)?;
    send::send(&server, &items).await
}

/// Reads and checks files; what is wrong goes to standard error.
pub(crate) fn load(files: &[PathBuf], variables: &[Variable]) -> anyhow::Result<Vec<Item>> {
    let sources = documents::read(files)?;
    match documents::parse_all(&sources, variables) {
        Ok(items) if items.is_empty() => bail!("there is no document in what -f names"),
        Ok(items) => Ok(items),
        Err(problems) => {
            for problem in &problems {
                output::note(problem);
            }
            match problems.len() {
                1 => bail!("there is a mistake in the files; nothing was done"),
                n => bail!("there are {n} mistakes in the files; nothing was done"),
            }
        }
    }
}

/// Meshes first, because what lives in them needs them; else as they came.
fn in_order(items: Vec<Item>) -> Vec<Item> {
    let (meshes, others): (Vec<_>, Vec<_>) = items
        .into_iter()
        .partition(|item| item.ty == mesh_model::ResourceType::Mesh);
    meshes.into_iter().chain(others).collect()
}
