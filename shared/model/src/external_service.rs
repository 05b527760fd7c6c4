//! The address of an external service.

use std::fmt;
use std::net::IpAddr;

/// Where an external service is: a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// An IP address, without brackets, or a DNS name as written.
    pub host: String,
    /// From 1 on.
    pub port: u16,
}

impl Address {
    /// Reads `HOST:PORT`; an IPv6 address stands in brackets, as in `[2001:db8::1]:443`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Form)?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => match inner.parse::<IpAddr>() {
                Ok(IpAddr::V6(_)) => inner,
                _ => return Err(AddressError::Host),
            },
            None if host.contains([':', '[', ']']) => return Err(AddressError::Form),
            None if host.parse::<IpAddr>().is_ok() || is_dns_name(host) => host,
            None => return Err(AddressError::Host),
        };
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(AddressError::PortForm);
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(AddressError::PortRange),
        }
    }

    /// The host as an IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Address {
    /// The form that [`Address::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A text is not the address of an external service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is none.
    #[error("cannot be empty")]
    Empty,
    /// It has no port, or an IPv6 address without brackets.
    #[error("must be HOST:PORT, an IPv6 address in brackets")]
    Form,
    /// The part before the port.
    #[error("the host must be an IP address or a DNS name")]
    Host,
    /// The part after the host.
    #[error("the port must be a number")]
    PortForm,
    /// It is no port.
    #[error("port must be in the range [1, 65535]")]
    PortRange,
}

/// Whether a resolver can be asked for `name`. More than the names of the mesh may have: capitals,
/// underscores and a dot at the end occur outside.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    // Four numbers with dots that are no IP address are a slip, and no resolver knows them.
    let is_numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253
        && !name.rsplit('.').next().is_some_and(is_numeric)
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_ip_addresses() {
        for (text, host, port) in [
            ("httpbin.org:80", "httpbin.org", 80),
            ("localhost:65535", "localhost", 65535),
            ("Api_1.Example.COM.:443", "Api_1.Example.COM.", 443),
            ("192.0.2.1:443", "192.0.2.1", 443),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        use AddressError::{Empty, Form, Host, PortForm, PortRange};
        for (text, wanted) in [
            ("", Empty),
            ("example.com", Form),
            ("2001:db8::1:443", Form),
            ("2001:db8::1", Form),
            ("[::1", Form),
            (":80", Host),
            ("exa mple.com:80", Host),
            ("-a.com:80", Host),
            ("a..b:80", Host),
            ("https://example.com:443", Form),
            ("256.1.1.1:80", Host),
            ("10.0.1:80", Host),
            ("[example.com]:80", Host),
            ("example.com:", PortForm),
            ("example.com:http", PortForm),
            ("example.com:+80", PortForm),
            ("example.com:0", PortRange),
            ("example.com:65536", PortRange),
        ] {
            assert_eq!(Address::parse(text), Err(wanted), "{text}");
        }
    }
}
