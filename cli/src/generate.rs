//! `meridian generate`: tokens and keys.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Subcommand, ValueEnum};
use mesh_model::go_duration;
use mesh_runtime::tokens::SigningKey;
use serde_json::{Value, json};

use crate::client::{Connection, Server};
use crate::output;

/// Make tokens and keys
///
/// Tokens are issued by a control plane, to an administrator: with an administrator's token, or
/// on the control plane's own host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  meridian generate dataplane-token --name gateway-1 --valid-for 24h > token
  meridian generate zone-token --zone east --scope cp --valid-for 8760h > east.token
  meridian generate user-token --name ops --group mesh-system:admin --valid-for 8760h
  meridian generate signing-key --format pem > key.pem")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A token with which a Dataplane registers at its zone; issued by the zone's control plane
    #[command(after_help = "Example:\n  \
        meridian generate dataplane-token --name gateway-1 --valid-for 24h")]
    DataplaneToken(DataplaneToken),
    /// A token with which a zone connects to the global control plane; issued by the global
    #[command(after_help = "\
Example, for a zone's control plane, which reads the file when it connects:
  meridian generate zone-token --zone east --scope cp --valid-for 8760h > east.token
  KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH=east.token zone-cp run")]
    ZoneToken(ZoneToken),
    /// A token with which a person or a script uses the admin API
    #[command(after_help = "Example:\n  \
        meridian generate user-token --name ops --group mesh-system:admin --valid-for 24h")]
    UserToken(UserToken),
    /// A key to sign tokens with; made here, without a control plane
    #[command(after_help = "Example:\n  meridian generate signing-key --format pem > key.pem")]
    SigningKey(Key),
}

#[derive(Debug, clap::Args)]
struct DataplaneToken {
    /// Name that the Dataplane must have
    #[arg(long, default_value = "")]
    name: String,
    /// Mesh that the Dataplane must be in
    #[arg(short, long, default_value = "default")]
    mesh: String,
    /// Tag that the Dataplane must have, with one of these values
    #[arg(long = "tag", value_name = "KEY=VALUE[,VALUE]", value_parser = parse_tag)]
    tags: Vec<(String, Vec<String>)>,
    /// What the token is for
    #[arg(long = "proxy-type", alias = "type", value_enum, default_value_t = ProxyType::Dataplane)]
    proxy_type: ProxyType,
    /// Workload that the Dataplane must belong to
    #[arg(long)]
    workload: Option<String>,
    #[command(flatten)]
    validity: Validity,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProxyType {
    Dataplane,
    Ingress,
    Egress,
}

#[derive(Debug, clap::Args)]
struct ZoneToken {
    /// The zone
    #[arg(long)]
    zone: String,
    /// What the token opens [default: all of it]
    #[arg(long = "scope", value_parser = ["ingress", "egress", "cp"])]
    scopes: Vec<String>,
    #[command(flatten)]
    validity: Validity,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct UserToken {
    /// The user
    #[arg(long)]
    name: String,
    /// Group of the user, such as mesh-system:admin
    #[arg(long = "group")]
    groups: Vec<String>,
    #[command(flatten)]
    validity: Validity,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
struct Validity {
    /// How long the token is good for, such as 24h
    #[arg(long, value_name = "DURATION", value_parser = parse_validity)]
    valid_for: String,
}

#[derive(Debug, clap::Args)]
struct Key {
    /// How to print it: for the data of a secret, or for a file
    #[arg(long, value_enum, default_value_t = KeyFormat::PemBase64)]
    format: KeyFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyFormat {
    PemBase64,
    Pem,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::DataplaneToken(args) => {
            token(&args.connection, "/tokens/dataplane", &args.to_request()).await?;
        }
        What::ZoneToken(args) => {
            token(&args.connection, "/tokens/zone", &args.to_request()).await?;
        }
        What::UserToken(args) => {
            token(&args.connection, "/tokens/user", &args.to_request()).await?;
        }
        What::SigningKey(args) => {
            let pem = SigningKey::generate()?.to_pem();
            match args.format {
                KeyFormat::Pem => output::text(&pem)?,
                KeyFormat::PemBase64 => print_bare(&STANDARD.encode(pem))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn token(connection: &Connection, path: &str, request: &Value) -> anyhow::Result<()> {
    let token = Server::connect(connection)?.post(path, request).await?;
    let token = token.trim();
    // Three parts, RFC 7519: a login page of some proxy has none of them.
    if token.split('.').count() != 3 || token.contains(char::is_whitespace) {
        anyhow::bail!("what answered did not give a token; check --address");
    }
    print_bare(token)
}

/// Without a line end, for `--token=$(…)` and files; people at a terminal get one.
fn print_bare(text: &str) -> anyhow::Result<()> {
    if std::io::stdout().is_terminal() {
        output::line(text)?;
    } else {
        output::text(text)?;
    }
    Ok(())
}

impl DataplaneToken {
    fn to_request(&self) -> Value {
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, values) in &self.tags {
            let values = values.iter().map(String::as_str);
            tags.entry(key).or_default().extend(values);
        }
        let mut request = json!({
            "name": self.name,
            "mesh": self.mesh,
            "tags": tags,
            "type": match self.proxy_type {
                ProxyType::Dataplane => "dataplane",
                ProxyType::Ingress => "ingress",
                ProxyType::Egress => "egress",
            },
            "validFor": self.validity.valid_for,
        });
        if let Some(workload) = &self.workload {
            request["workload"] = json!(workload);
        }
        request
    }
}

impl ZoneToken {
    fn to_request(&self) -> Value {
        let scopes = match self.scopes.as_slice() {
            [] => ["cp", "ingress", "egress"].map(str::to_owned).to_vec(),
            some => some.to_vec(),
        };
        json!({ "zone": self.zone, "scope": scopes, "validFor": self.validity.valid_for })
    }
}

impl UserToken {
    fn to_request(&self) -> Value {
        json!({ "name": self.name, "groups": self.groups, "validFor": self.validity.valid_for })
    }
}

fn parse_tag(text: &str) -> Result<(String, Vec<String>), String> {
    match text.split_once('=') {
        Some((key, values)) if !key.is_empty() && !values.is_empty() => Ok((
            key.to_owned(),
            values.split(',').map(str::to_owned).collect(),
        )),
        _ => Err("must look like key=value or key=value1,value2".to_owned()),
    }
}

fn parse_validity(text: &str) -> Result<String, String> {
    match go_duration::parse_unsigned(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn request(line: &str) -> Value {
        let words = ["meridian", "generate"].into_iter().chain(line.split(' '));
        let Command::Generate(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("{line}");
        };
        match args.what {
            What::DataplaneToken(args) => args.to_request(),
            What::ZoneToken(args) => args.to_request(),
            What::UserToken(args) => args.to_request(),
            What::SigningKey(_) => panic!("{line}"),
        }
    }

    #[test]
    fn requests_say_what_was_asked_for() {
        assert_eq!(
            request("dataplane-token --name gw --tag a=1,2 --tag a=3 --tag b=x --valid-for 1h"),
            json!({
                "name": "gw", "mesh": "default", "type": "dataplane", "validFor": "1h",
                "tags": {"a": ["1", "2", "3"], "b": ["x"]},
            })
        );
        assert_eq!(
            request("zone-token --zone east --scope ingress --valid-for 24h"),
            json!({"zone": "east", "scope": ["ingress"], "validFor": "24h"})
        );
        assert_eq!(
            request("user-token --name ops --group a --group b --valid-for 24h"),
            json!({"name": "ops", "groups": ["a", "b"], "validFor": "24h"})
        );
    }

    #[test]
    fn a_token_is_not_made_without_an_end() {
        for line in [
            "dataplane-token --name gw",
            "dataplane-token --name gw --valid-for 0s",
            "dataplane-token --name gw --valid-for tomorrow",
            "dataplane-token --tag a --valid-for 1h",
        ] {
            let words = ["meridian", "generate"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
