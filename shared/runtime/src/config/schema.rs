//! The configuration as values of their own types: the keys that we act on.
//!
//! Names and nesting are Kuma's, in camel case. What Kuma has beyond this is in the table of
//! keys, and shown by [`Config::to_json`], but has no field here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::GlobalAddress;
use super::text::{self, SecretText};

/// Declares sections: plain data, read and written with Kuma's names.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_attr:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$field_attr])* pub $field: $type,)*
        }
    )*};
}

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A global control plane.
    Global,
    /// A zone control plane.
    Zone,
}

/// Where workloads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Environment {
    /// Hosts that register themselves.
    Universal,
}

/// Where resources are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreType {
    /// On disk, below the work directory.
    Sled,
    /// Nowhere: lost when the process ends.
    Memory,
}

/// How proxies prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyAuthentication {
    /// By a dataplane token.
    DpToken,
    /// Not at all: for trials only.
    None,
}

/// How zones prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ZoneAuthentication {
    /// By a zone token with the scope `cp`.
    CpToken,
    /// Not at all: who reaches the port speaks for any zone.
    None,
}

sections! {
    /// `store`.
    Store {
        /// Where resources are kept.
        #[serde(rename = "type")]
        type_: StoreType,
        /// Whether a mesh that still has proxies may be deleted.
        unsafe_delete: bool,
    }

    /// `general`.
    General {
        /// Where files are kept; `$HOME/.kuma` if not set.
        work_dir: PathBuf,
        /// The certificate of every server that has none of its own.
        #[serde(with = "text::optional_path")]
        tls_cert_file: Option<PathBuf>,
        /// Its key.
        #[serde(with = "text::optional_path")]
        tls_key_file: Option<PathBuf>,
    }

    /// `apiServer`.
    ApiServer {
        /// The plain-text listener.
        http: Http,
        /// The TLS listener.
        https: Https,
        /// Who may do what.
        authn: Authn,
        /// Origins that browsers may call from, as regular expressions.
        cors_allowed_domains: Vec<String>,
        /// The prefix of every path; begins with `/`.
        base_path: String,
    }

    /// `apiServer.http`.
    Http {
        /// Whether to listen.
        enabled: bool,
        /// The address to listen on.
        interface: IpAddr,
        /// The port; 0 takes any free one.
        port: u16,
    }

    /// `apiServer.https`.
    Https {
        /// Whether to listen.
        enabled: bool,
        /// The address to listen on.
        interface: IpAddr,
        /// The port; 0 takes any free one.
        port: u16,
        /// The certificate; see [`super::Config::api_tls_files`].
        #[serde(with = "text::optional_path")]
        tls_cert_file: Option<PathBuf>,
        /// Its key.
        #[serde(with = "text::optional_path")]
        tls_key_file: Option<PathBuf>,
    }

    /// `apiServer.authn`.
    Authn {
        /// Whether requests from this host are an administrator's.
        localhost_is_admin: bool,
        /// User tokens.
        tokens: UserTokens,
    }

    /// `apiServer.authn.tokens`.
    UserTokens {
        /// Whether to make an administrator's token at the first start.
        bootstrap_admin_token: bool,
        /// Whether user tokens can be issued over the API.
        enable_issuer: bool,
    }

    /// `dpServer`.
    DpServer {
        /// The port for proxies; 0 takes any free one.
        port: u16,
        /// The certificate; see [`super::Config::dp_server_tls_files`].
        #[serde(with = "text::optional_path")]
        tls_cert_file: Option<PathBuf>,
        /// Its key.
        #[serde(with = "text::optional_path")]
        tls_key_file: Option<PathBuf>,
        /// How proxies prove who they are.
        authn: DpServerAuthn,
    }

    /// `dpServer.authn`.
    DpServerAuthn {
        /// Dataplanes.
        dp_proxy: DpProxyAuthn,
        /// Zone ingresses and egresses.
        zone_proxy: ZoneProxyAuthn,
    }

    /// `dpServer.authn.dpProxy`.
    DpProxyAuthn {
        /// What is asked of a proxy.
        #[serde(rename = "type")]
        type_: ProxyAuthentication,
        /// Dataplane tokens.
        dp_token: TokenIssuer,
    }

    /// `dpServer.authn.zoneProxy`.
    ZoneProxyAuthn {
        /// Zone tokens.
        zone_token: TokenIssuer,
    }

    /// Whether a kind of token can be issued.
    TokenIssuer {
        /// Over the API.
        enable_issuer: bool,
    }

    /// `diagnostics`.
    Diagnostics {
        /// The port of health and metrics; 0 takes any free one.
        server_port: u16,
    }

    /// `multizone`.
    Multizone {
        /// What a global control plane reads.
        global: Global,
        /// What a zone control plane reads.
        zone: Zone,
    }

    /// `multizone.global`.
    Global {
        /// The KDS server.
        kds: GlobalKds,
    }

    /// `multizone.global.kds`.
    GlobalKds {
        /// The port for zones; 0 takes any free one.
        grpc_port: u16,
        /// Whether it speaks TLS.
        tls_enabled: bool,
        /// The certificate; see [`super::Config::kds_tls_files`].
        #[serde(with = "text::optional_path")]
        tls_cert_file: Option<PathBuf>,
        /// Its key.
        #[serde(with = "text::optional_path")]
        tls_key_file: Option<PathBuf>,
        /// The largest message, in bytes.
        max_msg_size: u32,
        /// How stale a stored ZoneInsight may be.
        #[serde(with = "text::duration")]
        zone_insight_flush_interval: Duration,
        /// What is expected of zones that promise health checks.
        zone_health_check: ZoneHealthCheck,
        /// Who may speak for a zone.
        auth: GlobalKdsAuth,
        /// Zones that need no token, such as those of stock control planes, which have none; `*`
        /// is every zone.
        allow_unauthenticated_zones: Vec<String>,
    }

    /// `multizone.global.kds.zoneHealthCheck`.
    ZoneHealthCheck {
        /// How often zones are asked for one, and looked after; zero leaves it to them.
        #[serde(with = "text::duration")]
        poll_interval: Duration,
        /// The streams of a zone end that made none for so long; zero is never.
        #[serde(with = "text::duration")]
        timeout: Duration,
    }

    /// `multizone.global.kds.auth`.
    GlobalKdsAuth {
        /// What is asked of a zone.
        #[serde(rename = "type")]
        type_: ZoneAuthentication,
    }

    /// `multizone.zone`.
    Zone {
        /// The zone's name.
        name: mesh_model::ZoneName,
        /// The global control plane; a zone without one runs alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        global_address: Option<GlobalAddress>,
        /// The KDS client.
        kds: ZoneKds,
    }

    /// `multizone.zone.kds`.
    ZoneKds {
        /// Whom to trust as the global; the system's roots if not set.
        #[serde(with = "text::optional_path")]
        root_ca_file: Option<PathBuf>,
        /// Whether to trust anybody.
        tls_skip_verify: bool,
        /// The largest message, in bytes.
        max_msg_size: u32,
        /// How the zone proves who it is.
        auth: ZoneKdsAuth,
    }

    /// `multizone.zone.kds.auth`.
    ZoneKdsAuth {
        /// A zone token; empty for none.
        cp_token_inline: SecretText,
        /// The file that holds it.
        #[serde(with = "text::optional_path")]
        cp_token_path: Option<PathBuf>,
    }

    /// `defaults`.
    Defaults {
        /// Whether to leave out the mesh `default`.
        skip_mesh_creation: bool,
    }

    /// `bootstrapServer`.
    BootstrapServer {
        /// What goes into an Envoy's bootstrap.
        params: BootstrapParams,
    }

    /// `bootstrapServer.params`.
    BootstrapParams {
        /// Where Envoy's admin interface listens.
        admin_address: IpAddr,
        /// Its port, where the Dataplane has none.
        admin_port: u16,
        /// The host for ADS; the host of the bootstrap request if empty.
        xds_host: String,
        /// The port for ADS; that of `dpServer` if 0.
        xds_port: u16,
        /// How long Envoy tries to connect.
        #[serde(with = "text::duration")]
        xds_connect_timeout: Duration,
    }

    /// `metrics`.
    Metrics {
        /// Zones.
        zone: ZoneSubscriptions,
        /// Dataplanes.
        dataplane: Subscriptions,
    }

    /// How the subscriptions of a zone's insight are kept.
    ZoneSubscriptions {
        /// The most to keep.
        subscription_limit: u32,
        /// Whether those that have ended, but the last, lose what takes much room.
        compact_finished_subscriptions: bool,
        /// One that no global has said to be alive for as long is closed.
        #[serde(with = "text::duration")]
        idle_timeout: Duration,
    }

    /// How the subscriptions of an insight are kept.
    Subscriptions {
        /// The most to keep.
        subscription_limit: u32,
    }

    /// `xdsServer`.
    XdsServer {
        /// How stale a stored DataplaneInsight may be.
        #[serde(with = "text::duration")]
        dataplane_status_flush_interval: Duration,
        /// How long a proxy that went without a word stays registered.
        #[serde(with = "text::duration")]
        dataplane_deregistration_delay: Duration,
    }

    /// `proxy`.
    Proxy {
        /// Builtin gateways.
        gateway: Gateway,
    }

    /// `proxy.gateway`.
    Gateway {
        /// The most connections of one gateway proxy; above 0.
        global_downstream_max_connections: u32,
    }

    /// `meridian`.
    Meridian {
        /// Builtin gateways.
        gateway: MeridianGateway,
    }

    /// `meridian.gateway`.
    MeridianGateway {
        /// The page of a hostname without routes; if empty, one that says so.
        no_routes_page: String,
        /// Envoy gets the routes of a hostname with more than so many as a tree; 0: never.
        route_tree_threshold: u32,
    }
}
