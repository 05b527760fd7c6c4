//! Addresses, DNS names and host names of listeners.

use std::net::IpAddr;

use super::{EMPTY, Violations};

/// Whether `name` is a DNS name: dot-separated labels of lower-case letters, digits and inner
/// dashes, at most 253 characters.
pub(super) fn is_dns_name(name: &str) -> bool {
    crate::name::parse_strict(name).is_ok()
}

/// Checks the host name of a listener: a DNS name, `*`, or `*.` and a DNS name; empty means `*`.
pub(super) fn check_listener(found: &mut Violations, path: &str, hostname: &str) {
    if hostname.is_empty() || hostname == "*" {
        return;
    }
    match hostname.strip_prefix("*.") {
        Some(domain) if !is_dns_name(domain) || hostname.len() > 253 => {
            found.add(path, "invalid wildcard domain");
        }
        None if !is_dns_name(hostname) => found.add(path, "invalid hostname"),
        _ => {}
    }
}

/// Checks an address on which others reach a proxy: an IP address or DNS name, and not the
/// unspecified address.
pub(super) fn check_address(found: &mut Violations, path: &str, address: &str) {
    if address.is_empty() {
        found.add(path, EMPTY);
    } else {
        match address.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => {
                found.add(path, "must not be 0.0.0.0 or ::");
            }
            Ok(_) => {}
            Err(_) if !is_dns_name(address) => {
                found.add(path, "must be an IP address or a DNS name");
            }
            Err(_) => {}
        }
    }
}

/// Checks that an address, if given, is an IP address.
pub(super) fn check_ip(found: &mut Violations, path: &str, address: &str) {
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        found.add(path, "must be an IP address");
    }
}

/// Whether something bound to `address` also takes connections to 127.0.0.1.
pub(super) fn covers_loopback(address: &str) -> bool {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_unspecified() || ip == std::net::Ipv4Addr::LOCALHOST,
        // A socket on :: takes IPv4 connections as well.
        Ok(IpAddr::V6(ip)) => ip.is_unspecified(),
        Err(_) => false,
    }
}
