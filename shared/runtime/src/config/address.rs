//! The address of a global control plane: `grpc://host:port` or `grpcs://host:port`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a zone finds its global control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GlobalAddress {
    is_tls: bool,
    host: String,
    port: u16,
}

/// Not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address such as \"grpcs://global.example.com:5685\": {why}")]
pub struct ParseAddressError {
    text: String,
    why: &'static str,
}

impl GlobalAddress {
    /// Whether the connection is TLS: the scheme is `grpcs`.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name or an IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for GlobalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "grpcs" } else { "grpc" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for GlobalAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|why| ParseAddressError {
            text: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<GlobalAddress, &'static str> {
    let (is_tls, rest) = if let Some(rest) = text.strip_prefix("grpcs://") {
        (true, rest)
    } else if let Some(rest) = text.strip_prefix("grpc://") {
        (false, rest)
    } else {
        return Err("it must begin with grpcs:// (TLS) or grpc:// (plain text)");
    };
    let uri: http::uri::Authority = rest
        .strip_suffix('/')
        .unwrap_or(rest)
        .parse()
        .ok()
        .ok_or("after the scheme comes host:port and nothing else")?;
    if uri.as_str().contains('@') {
        return Err("it must not have a user");
    }
    let port = uri
        .port_u16()
        .filter(|port| *port > 0)
        .ok_or("it needs a port from 1 to 65535")?;
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err("the host is missing");
    }
    Ok(GlobalAddress {
        is_tls,
        host: host.to_owned(),
        port,
    })
}

impl TryFrom<String> for GlobalAddress {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GlobalAddress> for String {
    fn from(address: GlobalAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip_and_a_final_slash_is_dropped() {
        for text in [
            "grpc://127.0.0.1:5685",
            "grpcs://global.example.com:5685",
            "grpcs://[::1]:1",
        ] {
            let address: GlobalAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(format!("{text}/").parse(), Ok(address));
        }
        let v6: GlobalAddress = "grpcs://[::1]:1".parse().unwrap();
        assert_eq!((v6.host(), v6.port(), v6.is_tls()), ("::1", 1, true));
        assert_eq!(v6.authority(), "[::1]:1");
    }

    #[test]
    fn anything_else_says_what_is_missing() {
        for (text, why) in [
            ("global:5685", "begin with"),
            ("https://global:5685", "begin with"),
            ("grpcs://global", "port"),
            ("grpcs://global:0", "port"),
            ("grpcs://global:70000", "port"),
            ("grpcs://:5685", "host"),
            ("grpcs://global:5685/path", "nothing else"),
            ("grpcs://user@global:5685", "user"),
            ("grpcs://", "host:port"),
        ] {
            let error = text.parse::<GlobalAddress>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
