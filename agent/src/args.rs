//! The command line and environment: `kuma-dp`'s names, so that units and manifests stay.
//!
//! Options whose part is not built yet are accepted, so that nothing has to be edited, and say
//! so in their help.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use mesh_model::go_duration;
use mesh_runtime::telemetry::LogOptions;
use mesh_runtime::version;

const EXAMPLE: &str = "\
Example:
  meridian-dp run --cp-address=https://zone.example:5678 --ca-cert-file=ca.crt \\
    --dataplane-file=gateway.yaml --dataplane-var address=10.0.0.7 \\
    --dataplane-token-file=token

  with gateway.yaml:
    type: Dataplane
    mesh: default
    name: edge-1
    networking:
      address: {{ address }}
      gateway:
        type: BUILTIN
        tags:
          kuma.io/service: edge";

/// The agent beside each Envoy: registers it, runs it, drains it.
#[derive(Debug, Parser)]
#[command(name = "meridian-dp", version = version::LONG_VERSION, after_help = EXAMPLE)]
pub(crate) struct Cli {
    #[command(flatten, next_help_heading = "Log")]
    pub log: LogOptions,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register a Dataplane and run Envoy for it, until SIGTERM or SIGINT.
    #[command(after_help = EXAMPLE)]
    Run(Box<Run>),
    /// Exit with 0 if the agent on this machine is ready, else with 1; for containers.
    #[command(after_help = "Example:\n  meridian-dp health --readiness-port=9902")]
    Health(Health),
    /// Wait until a proxy is ready.
    #[command(after_help = "Example:\n  meridian-dp wait --url=http://localhost:9902/ready")]
    Wait(Wait),
    /// Become Envoy, and end when the agent ends; used by `run` only.
    #[command(hide = true)]
    ExecEnvoy(ExecEnvoy),
    /// Print the version.
    Version,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// Address of the zone control plane's data-plane server.
    #[arg(
        long,
        env = "KUMA_CONTROL_PLANE_URL",
        default_value = "https://localhost:5678"
    )]
    pub cp_address: String,
    /// PEM file of the CA that the control plane's certificate is verified with; the system's
    /// CAs when there is none.
    #[arg(long, env = "KUMA_CONTROL_PLANE_CA_CERT_FILE", default_value = "", hide_default_value = true, value_parser = path)]
    pub ca_cert_file: PathBuf,
    /// That CA as PEM text; wins over the file.
    #[arg(
        long,
        env = "KUMA_CONTROL_PLANE_CA_CERT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        hide_env_values = true
    )]
    pub ca_cert: String,
    /// Don't verify the control plane's certificate. Whoever can reach the connection can then
    /// read the token.
    #[arg(long, env = "KUMA_CONTROL_PLANE_TLS_SKIP_VERIFY", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = boolean, action = ArgAction::Set)]
    pub skip_verify: bool,
    /// Longest pause between two attempts to reach the control plane.
    #[arg(long, env = "KUMA_CONTROL_PLANE_RETRY_BACKOFF", default_value = "3s", value_parser = duration)]
    pub retry_backoff: Duration,
    /// How long to go on trying.
    #[arg(long, env = "KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", default_value = "5m", value_parser = duration)]
    pub retry_max_duration: Duration,

    /// Name of a Dataplane that the control plane knows already; not with --dataplane-file.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub name: String,
    /// Its mesh.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_MESH",
        default_value = "",
        hide_default_value = true
    )]
    pub mesh: String,
    /// Kind of proxy.
    #[arg(long, env = "KUMA_DATAPLANE_PROXY_TYPE", default_value = "dataplane", value_parser = ["dataplane", "ingress", "egress"])]
    pub proxy_type: String,
    /// The Dataplane as YAML or JSON text.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_RESOURCE",
        default_value = "",
        hide_default_value = true
    )]
    pub dataplane: String,
    /// File with the Dataplane, or - for standard input.
    #[arg(short = 'd', long, env = "KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH", default_value = "", hide_default_value = true, value_parser = path)]
    pub dataplane_file: PathBuf,
    /// A value for {{ name }} in the Dataplane: name=value. May be repeated.
    #[arg(short = 'v', long = "dataplane-var", value_name = "NAME=VALUE")]
    pub dataplane_vars: Vec<String>,
    /// File with the Dataplane's token.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", default_value = "", hide_default_value = true, value_parser = path)]
    pub dataplane_token_file: PathBuf,
    /// The token itself.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_TOKEN",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub dataplane_token: String,

    /// How long Envoy goes on serving after SIGTERM; a second signal ends the wait.
    #[arg(long, env = "KUMA_DATAPLANE_DRAIN_TIME", default_value = "30s", value_parser = duration)]
    pub drain_time: Duration,
    /// Envoy: a path, or a name to look for. By default it is found by the variable
    /// `MERIDIAN_ENVOY`, on the PATH or in the cache of `meridian lab`.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_BINARY_PATH", default_value = "envoy", value_parser = path)]
    pub binary_path: PathBuf,
    /// Envoy's worker threads; 0 lets it follow the CPUs that it may use.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_CONCURRENCY", default_value_t = 0)]
    pub concurrency: u32,
    /// Directory for what the agent writes; a temporary one by default.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR", default_value = "", hide_default_value = true, value_parser = path)]
    pub config_dir: PathBuf,
    /// The newer name of --config-dir; wins over it.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_WORK_DIR", default_value = "", hide_default_value = true, value_parser = path)]
    pub work_dir: PathBuf,
    /// Directory for sockets; --config-dir by default.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_SOCKET_DIR", default_value = "", hide_default_value = true, value_parser = path)]
    pub socket_dir: PathBuf,
    /// Envoy's log level.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_ENVOY_LOG_LEVEL",
        default_value = "",
        hide_default_value = true
    )]
    pub envoy_log_level: String,
    /// Envoy's log levels by component, such as upstream:debug,connection:trace.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_ENVOY_COMPONENT_LOG_LEVEL",
        default_value = "",
        hide_default_value = true
    )]
    pub envoy_component_log_level: String,
    /// The most memory Envoy may use, in bytes; 0 takes the limit of the control group.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RESOURCES_MAX_MEMORY_BYTES",
        default_value_t = 0
    )]
    pub max_memory_bytes: u64,
    /// Port of /ready on 127.0.0.1; 0 is off.
    #[arg(long, env = "KUMA_READINESS_PORT", default_value_t = 9902)]
    pub readiness_port: u16,
    #[command(flatten)]
    pub later: Later,
}

/// Options of parts that are not built yet.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accepted, without effect yet")]
pub(crate) struct Later {
    /// Certificate for scraping metrics over TLS; handed on to the control plane.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub metrics_cert_path: String,
    /// Its key.
    #[arg(
        long,
        env = "KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub metrics_key_path: String,
    /// Answer .mesh names.
    #[arg(long, env = "KUMA_DNS_ENABLED", default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = boolean, action = ArgAction::Set)]
    pub dns_enabled: bool,
    /// Port for .mesh names.
    #[arg(long, env = "KUMA_DNS_CORE_DNS_PORT", default_value_t = 15053)]
    pub dns_coredns_port: u32,
    /// Port of Envoy's DNS filter.
    #[arg(long, env = "KUMA_DNS_ENVOY_DNS_PORT", default_value_t = 15054)]
    pub dns_envoy_port: u32,
    /// Port of the resolver that knows no name.
    #[arg(long, env = "KUMA_DNS_CORE_DNS_EMPTY_PORT", default_value_t = 15055)]
    pub dns_coredns_empty_port: u32,
    /// A coredns binary; none is needed.
    #[arg(long, env = "KUMA_DNS_CORE_DNS_BINARY_PATH", default_value = "coredns")]
    pub dns_coredns_path: String,
    /// A template of the configuration of coredns.
    #[arg(
        long,
        env = "KUMA_DNS_CORE_DNS_CONFIG_TEMPLATE_PATH",
        default_value = "",
        hide_default_value = true
    )]
    pub dns_coredns_config_template_path: String,
    /// Directory of the configuration of coredns.
    #[arg(
        long,
        env = "KUMA_DNS_CONFIG_DIR",
        default_value = "",
        hide_default_value = true
    )]
    pub dns_server_config_dir: String,
    /// Port of the metrics of coredns.
    #[arg(long, env = "KUMA_DNS_PROMETHEUS_PORT", default_value_t = 19153)]
    pub dns_prometheus_port: u32,
    /// Log DNS queries.
    #[arg(long, env = "KUMA_DNS_ENABLE_LOGGING", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = boolean, action = ArgAction::Set)]
    pub dns_enable_logging: bool,
    /// Run beside redirected traffic.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_TRANSPARENT_PROXY", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = boolean, action = ArgAction::Set)]
    pub transparent_proxy: bool,
    /// How traffic is redirected.
    #[arg(long)]
    pub transparent_proxy_config: Vec<String>,
    /// Bind outbounds to loopback addresses.
    #[arg(long, env = "KUMA_DATAPLANE_RUNTIME_BIND_OUTBOUNDS", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_parser = boolean, action = ArgAction::Set)]
    pub bind_outbounds: bool,
    /// Version of the bootstrap protocol; there is one.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub bootstrap_version: String,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    /// The agent's readiness port.
    #[arg(long, env = "KUMA_READINESS_PORT", default_value_t = 9902)]
    pub readiness_port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// What has to answer with 200.
    #[arg(long, default_value = "http://localhost:9901/ready")]
    pub url: String,
    /// Pause between two requests.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub check_frequency: Duration,
    /// How long one request may take.
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub request_timeout: Duration,
    /// How long to go on.
    #[arg(long, default_value = "180s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ExecEnvoy {
    /// The process whose end ends Envoy.
    #[arg(long)]
    pub parent: i32,
    /// Envoy and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

/// A path; unlike clap's own parser it lets an empty one pass, which is how environments unset
/// a variable.
fn path(text: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(text))
}

/// A duration as Go writes it: `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    go_duration::parse_unsigned(text).map_err(|error| error.to_string())
}

/// A boolean as Go reads it.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn run(flags: &[&str]) -> Run {
        let cli = Cli::try_parse_from(["meridian-dp", "run"].iter().chain(flags)).unwrap();
        match cli.command {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_kuma_dp_is_known() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let known: Vec<_> = run.get_arguments().chain(command.get_arguments()).collect();
        // Flag, default, environment variable.
        for (flag, default, variable) in [
            ("name", "", "KUMA_DATAPLANE_NAME"),
            ("mesh", "", "KUMA_DATAPLANE_MESH"),
            ("proxy-type", "dataplane", "KUMA_DATAPLANE_PROXY_TYPE"),
            ("drain-time", "30s", "KUMA_DATAPLANE_DRAIN_TIME"),
            (
                "cp-address",
                "https://localhost:5678",
                "KUMA_CONTROL_PLANE_URL",
            ),
            ("ca-cert-file", "", "KUMA_CONTROL_PLANE_CA_CERT_FILE"),
            ("skip-verify", "false", "KUMA_CONTROL_PLANE_TLS_SKIP_VERIFY"),
            ("binary-path", "envoy", "KUMA_DATAPLANE_RUNTIME_BINARY_PATH"),
            ("concurrency", "0", "KUMA_DATAPLANE_RUNTIME_CONCURRENCY"),
            ("bootstrap-version", "", ""),
            ("config-dir", "", "KUMA_DATAPLANE_RUNTIME_CONFIG_DIR"),
            ("work-dir", "", "KUMA_DATAPLANE_RUNTIME_WORK_DIR"),
            (
                "dataplane-token-file",
                "",
                "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
            ),
            ("dataplane-token", "", "KUMA_DATAPLANE_RUNTIME_TOKEN"),
            ("dataplane", "", "KUMA_DATAPLANE_RUNTIME_RESOURCE"),
            ("dataplane-file", "", "KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH"),
            (
                "envoy-log-level",
                "",
                "KUMA_DATAPLANE_RUNTIME_ENVOY_LOG_LEVEL",
            ),
            (
                "metrics-cert-path",
                "",
                "KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH",
            ),
            (
                "metrics-key-path",
                "",
                "KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH",
            ),
            ("dns-enabled", "true", "KUMA_DNS_ENABLED"),
            ("dns-coredns-port", "15053", "KUMA_DNS_CORE_DNS_PORT"),
            ("dns-envoy-port", "15054", "KUMA_DNS_ENVOY_DNS_PORT"),
            (
                "dns-coredns-empty-port",
                "15055",
                "KUMA_DNS_CORE_DNS_EMPTY_PORT",
            ),
            (
                "dns-coredns-path",
                "coredns",
                "KUMA_DNS_CORE_DNS_BINARY_PATH",
            ),
            ("dns-server-config-dir", "", "KUMA_DNS_CONFIG_DIR"),
            ("dns-prometheus-port", "19153", "KUMA_DNS_PROMETHEUS_PORT"),
            ("readiness-port", "9902", "KUMA_READINESS_PORT"),
            ("log-level", "info", ""),
            ("log-max-size", "100", ""),
        ] {
            let arg = known
                .iter()
                .find(|arg| arg.get_long() == Some(flag))
                .unwrap_or_else(|| panic!("--{flag}"));
            let found = arg
                .get_default_values()
                .first()
                .map(|value| value.to_str().unwrap());
            assert_eq!(found.unwrap_or_default(), default, "--{flag}");
            let found = arg.get_env().map(|name| name.to_str().unwrap());
            assert_eq!(found.unwrap_or_default(), variable, "--{flag}");
        }
    }

    #[test]
    fn boolean_flags_work_with_and_without_a_value() {
        assert!(run(&[]).later.dns_enabled);
        assert!(run(&["--dns-enabled"]).later.dns_enabled);
        assert!(!run(&["--dns-enabled=false"]).later.dns_enabled);
        assert!(!run(&["--dns-enabled=0"]).later.dns_enabled);
        assert!(run(&["--skip-verify"]).skip_verify);
    }

    #[test]
    fn durations_are_go_durations() {
        assert_eq!(run(&["--drain-time=1m30s"]).drain_time.as_secs(), 90);
        assert_eq!(run(&["--drain-time=0s"]).drain_time.as_secs(), 0);
        assert!(Cli::try_parse_from(["meridian-dp", "run", "--drain-time=30"]).is_err());
    }

    #[test]
    fn short_flags_are_kuma_dps() {
        let run = run(&["-d", "-", "-v", "a=1", "-v", "b=2"]);
        assert_eq!(run.dataplane_file, PathBuf::from("-"));
        assert_eq!(run.dataplane_vars, ["a=1", "b=2"]);
    }
}
