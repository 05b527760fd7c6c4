//! Where the control plane is and how to get in: flags, environment, `kumactl`'s file.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mesh_model::go_duration;
use mesh_runtime::tls::{self, Trust};
use mesh_runtime::yaml;
use reqwest::Url;
use serde_json::Value;

const DEFAULT_ADDRESS: &str = "http://localhost:5681";

/// Where the control plane is and how to get in.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub(crate) struct Connection {
    // Not a default value: a context may say better.
    #[arg(
        long,
        env = "MERIDIAN_ADDRESS",
        value_name = "URL",
        help = "URL of the admin API [default: http://localhost:5681]"
    )]
    pub(crate) address: Option<String>,
    /// Token of a user; not needed on the control plane's own host
    #[arg(
        long,
        env = "MERIDIAN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// A control plane of kumactl's configuration file to take address and token from
    #[arg(long, env = "MERIDIAN_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// kumactl's configuration file [default: ~/.kumactl/config]
    #[arg(long, value_name = "FILE", requires = "context")]
    pub(crate) config_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Whom to trust.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TlsArgs {
    /// CA certificate that the control plane's is checked against [default: the system's]
    #[arg(long, env = "MERIDIAN_CA_CERT_FILE", value_name = "FILE")]
    pub(crate) ca_cert_file: Option<PathBuf>,
    /// Don't check the control plane's certificate: others can then read the token
    #[arg(long, conflicts_with = "ca_cert_file")]
    pub(crate) skip_verify: bool,
}

/// Whom to trust, as decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls(Trust);

/// Where and how, as decided.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Url,
    pub(super) token: Option<String>,
    pub(super) tls: Tls,
}

impl Connection {
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Decides: a flag wins over the context, the context over defaults.
    pub(super) fn resolve(&self) -> anyhow::Result<Target> {
        let context = self.read_context()?;
        let address = match (&self.address, &context) {
            (Some(address), _) => parse_address(address)?,
            (None, Some(context)) => parse_address(&context.url)?,
            (None, None) => parse_address(DEFAULT_ADDRESS)?,
        };
        let token = match (&self.token_file, &self.token) {
            (Some(file), _) => Some(read_token(file)?),
            (None, Some(token)) => Some(token.trim().to_owned()),
            (None, None) => context.as_ref().and_then(|context| context.token.clone()),
        };
        let tls = match &context {
            Some(context) if self.tls.is_unset() => context.tls.decide()?,
            _ => self.tls.decide()?,
        };
        Ok(Target {
            address,
            // An empty variable is how scripts say "none".
            token: token.filter(|token| !token.is_empty()),
            tls,
        })
    }

    fn read_context(&self) -> anyhow::Result<Option<KumaContext>> {
        let Some(name) = self.context.as_ref().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let file = match &self.config_file {
            Some(file) => file.clone(),
            None => std::env::home_dir()
                .context("there is no home directory to find .kumactl/config in")?
                .join(".kumactl/config"),
        };
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!(
                "cannot read {}; give --config-file, or --address instead of --context",
                file.display()
            )
        })?;
        let found = KumaContext::find(&text, name).with_context(|| file.display().to_string())?;
        Ok(Some(found))
    }
}

impl TlsArgs {
    fn is_unset(&self) -> bool {
        self.ca_cert_file.is_none() && !self.skip_verify
    }

    pub(crate) fn decide(&self) -> anyhow::Result<Tls> {
        Ok(Tls(match &self.ca_cert_file {
            _ if self.skip_verify => Trust::SkipVerify,
            Some(file) => Trust::Ca(std::fs::read(file).with_context(|| {
                format!(
                    "cannot read the CA certificate {}; give the control plane's kuma-cp.crt \
                     with --ca-cert-file",
                    file.display()
                )
            })?),
            None => Trust::System,
        }))
    }
}

impl Tls {
    pub(super) fn http_client(
        &self,
        address: &Url,
        timeout: Duration,
    ) -> anyhow::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("meridian/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout);
        if address.scheme() == "https" {
            let config = tls::client_config(&self.0, &[tls::ALPN_H2, tls::ALPN_HTTP11])?;
            builder = builder.tls_backend_preconfigured(rustls::ClientConfig::clone(&config));
        } else {
            // Without it reqwest would look for the system's certificates and may not find any.
            let config = tls::client_config(&Trust::SkipVerify, &[])?;
            builder = builder
                .tls_backend_preconfigured(rustls::ClientConfig::clone(&config))
                // A redirect to https would be trusted blindly.
                .https_only(false)
                .redirect(same_scheme());
        }
        if is_local(address) {
            builder = builder.no_proxy();
        }
        Ok(builder.build()?)
    }
}

/// Follows redirects within plain HTTP; one to HTTPS is handed back as an answer.
fn same_scheme() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        if attempt.url().scheme() == "http" && attempt.previous().len() < 10 {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// Whether no proxy can be meant, whatever the environment says.
fn is_local(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Reads an address, which may be `host:port`.
pub(crate) fn parse_address(text: &str) -> anyhow::Result<Url> {
    let text = text.trim();
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let url = Url::parse(&with_scheme)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    match url {
        Some(mut url) => {
            url.set_query(None);
            url.set_fragment(None);
            Ok(url)
        }
        None => bail!("{text:?} is not an address; it should look like {DEFAULT_ADDRESS}"),
    }
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the token file {}", file.display()))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        bail!(
            "{} does not hold a token: it should be one line, without spaces",
            file.display()
        );
    }
    Ok(token.to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match go_duration::parse_unsigned(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing, such as 30s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// What `kumactl` knows of a control plane.
#[derive(Debug)]
struct KumaContext {
    url: String,
    token: Option<String>,
    tls: TlsArgs,
}

impl KumaContext {
    fn find(text: &str, name: &str) -> anyhow::Result<Self> {
        let documents = yaml::parse(text)?;
        let config = documents.first().map_or(&Value::Null, |d| &d.value);
        let entries = |list: &str| config[list].as_array().cloned().unwrap_or_default();
        let control_plane = entries("contexts")
            .iter()
            .find(|context| context["name"] == name)
            .and_then(|context| context["controlPlane"].as_str().map(str::to_owned))
            .unwrap_or_else(|| name.to_owned());
        let planes = entries("controlPlanes");
        let Some(plane) = planes.iter().find(|plane| plane["name"] == *control_plane) else {
            let known: Vec<_> = planes.iter().filter_map(|p| p["name"].as_str()).collect();
            bail!(
                "there is no control plane {name:?}; there are: {}",
                known.join(", ")
            );
        };
        let api = &plane["coordinates"]["apiServer"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            url: text(&api["url"]).with_context(|| format!("{name:?} has no URL"))?,
            token: text(&api["authConf"]["token"]),
            tls: TlsArgs {
                ca_cert_file: text(&api["caCertFile"])
                    .filter(|file| !file.is_empty())
                    .map(PathBuf::from),
                skip_verify: api["skipVerify"] == true,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_forgiving_but_not_guessing() {
        let parse = |text| parse_address(text).map(|url| url.to_string());
        assert_eq!(parse("cp:5681").unwrap(), "http://cp:5681/");
        assert_eq!(
            parse("https://cp:5682/base/").unwrap(),
            "https://cp:5682/base/"
        );
        for bad in ["", "ftp://cp", "http://", "http://a b"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("http://localhost:5681"), "{error}");
        }
    }

    #[test]
    fn loopback_needs_no_proxy() {
        for (address, expected) in [
            ("http://localhost:1", true),
            ("http://127.0.1.1:1", true),
            ("http://[::1]:1", true),
            ("http://cp.example:1", false),
        ] {
            assert_eq!(
                is_local(&parse_address(address).unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn a_context_gives_address_token_and_trust() {
        let config = "\
contexts:
- {controlPlane: cp-lab, name: lab}
controlPlanes:
- name: cp-lab
  coordinates:
    apiServer:
      url: https://cp.lab:5682
      authType: tokens
      authConf: {token: abc}
      skipVerify: true
currentContext: lab
";
        let found = KumaContext::find(config, "lab").unwrap();
        assert_eq!(found.url, "https://cp.lab:5682");
        assert_eq!(found.token.as_deref(), Some("abc"));
        assert!(found.tls.skip_verify);
        let error = KumaContext::find(config, "prod").unwrap_err().to_string();
        assert!(error.contains("cp-lab"), "{error}");
    }
}
