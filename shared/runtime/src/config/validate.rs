//! Rules that concern more than the form of one value.

use std::path::Path;

use mesh_model::ZoneName;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::load::Settings;
use super::{Config, GlobalAddress, Mode};

/// Checks texts that become types of their own.
pub(super) fn check_texts(settings: &mut Settings) {
    let name = settings.text("multizone.zone.name");
    if let Err(error) = ZoneName::parse(&name) {
        settings.problem(
            "multizone.zone.name",
            &format!("{name:?} is not a zone name: {error}"),
        );
    }
    let address = settings.text("multizone.zone.globalAddress");
    if !address.is_empty()
        && let Err(error) = address.parse::<GlobalAddress>()
    {
        settings.problem("multizone.zone.globalAddress", &error.to_string());
    }
}

/// Checks what has its types.
pub(super) fn check(config: &Config, settings: &mut Settings) {
    check_pairs(settings);
    check_health_check(settings);
    check_above_zero(config, settings);
    check_health(config, settings);
    check_allowed_zones(config, settings);
    check_zone_token(config, settings);
    if config.mode == Mode::Zone {
        check_root_ca(config, settings);
    }
}

/// A certificate without its key, or the other way round, is a mistake.
fn check_pairs(settings: &mut Settings) {
    for section in [
        "general",
        "apiServer.https",
        "dpServer",
        "multizone.global.kds",
    ] {
        let cert = format!("{section}.tlsCertFile");
        let key = format!("{section}.tlsKeyFile");
        let is_set = |settings: &Settings, path: &str| !settings.text(path).is_empty();
        match (is_set(settings, &cert), is_set(settings, &key)) {
            (true, false) => settings.problem(&cert, &format!("needs {key} beside it")),
            (false, true) => settings.problem(&key, &format!("needs {cert} beside it")),
            (true, true) | (false, false) => {}
        }
    }
}

fn check_health_check(settings: &mut Settings) {
    let poll = "multizone.global.kds.zoneHealthCheck.pollInterval";
    let timeout = "multizone.global.kds.zoneHealthCheck.timeout";
    let is_on = |settings: &Settings, path| settings.text(path) != "0s";
    match (is_on(settings, poll), is_on(settings, timeout)) {
        (true, false) => settings.problem(poll, &format!("needs {timeout} beside it")),
        (false, true) => settings.problem(timeout, &format!("needs {poll} beside it")),
        (true, true) | (false, false) => {}
    }
}

/// A name that no zone can have lets nobody in, and its author does not know that.
fn check_allowed_zones(config: &Config, settings: &mut Settings) {
    for name in &config.multizone.global.kds.allow_unauthenticated_zones {
        if name == "*" {
            continue;
        }
        if let Err(error) = ZoneName::parse(name) {
            settings.problem(
                "multizone.global.kds.allowUnauthenticatedZones",
                &format!("{name:?} is neither a zone name nor \"*\": {error}"),
            );
        }
    }
}

/// Of two tokens nobody can say which counts.
fn check_zone_token(config: &Config, settings: &mut Settings) {
    let auth = &config.multizone.zone.kds.auth;
    if auth.cp_token_path.is_some() && !auth.cp_token_inline.is_empty() {
        settings.problem(
            "multizone.zone.kds.auth.cpTokenPath",
            "and multizone.zone.kds.auth.cpTokenInline are both set: set one of them",
        );
    }
}

/// Who looks never, sees no zone that is silent.
fn check_health(config: &Config, settings: &mut Settings) {
    let health = &config.multizone.global.kds.zone_health_check;
    if !health.timeout.is_zero() && health.poll_interval.is_zero() {
        settings.problem(
            "multizone.global.kds.zoneHealthCheck.pollInterval",
            "must be above zero where multizone.global.kds.zoneHealthCheck.timeout is: zones are \
             looked after that often",
        );
    }
}

fn check_above_zero(config: &Config, settings: &mut Settings) {
    let kds = &config.multizone.global.kds;
    for (path, is_zero) in [
        (
            "xdsServer.dataplaneStatusFlushInterval",
            config.xds_server.dataplane_status_flush_interval.is_zero(),
        ),
        (
            "multizone.global.kds.zoneInsightFlushInterval",
            kds.zone_insight_flush_interval.is_zero(),
        ),
        (
            "bootstrapServer.params.xdsConnectTimeout",
            config.bootstrap_server.params.xds_connect_timeout.is_zero(),
        ),
        ("multizone.global.kds.maxMsgSize", kds.max_msg_size == 0),
        (
            "multizone.zone.kds.maxMsgSize",
            config.multizone.zone.kds.max_msg_size == 0,
        ),
        (
            "metrics.zone.idleTimeout",
            config.metrics.zone.idle_timeout.is_zero(),
        ),
        (
            "metrics.zone.subscriptionLimit",
            config.metrics.zone.subscription_limit == 0,
        ),
        (
            "metrics.dataplane.subscriptionLimit",
            config.metrics.dataplane.subscription_limit == 0,
        ),
    ] {
        if is_zero {
            settings.problem(path, "must be above zero");
        }
    }
}

/// The CA that the global's certificate is checked with must be there and have certificates;
/// whether they fit is seen when connecting.
fn check_root_ca(config: &Config, settings: &mut Settings) {
    let zone = &config.multizone.zone;
    let uses_tls = zone
        .global_address
        .as_ref()
        .is_some_and(GlobalAddress::is_tls);
    let Some(file) = &zone.kds.root_ca_file else {
        return;
    };
    if !uses_tls || zone.kds.tls_skip_verify {
        return;
    }
    if let Err(why) = read_certificates(file) {
        settings.problem(
            "multizone.zone.kds.rootCaFile",
            &format!("{}: {why}", file.display()),
        );
    }
}

fn read_certificates(file: &Path) -> Result<(), String> {
    let pem = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("has no certificate in PEM form".to_owned());
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| format!("has a certificate that cannot be used: {error}"))?;
    }
    Ok(())
}
