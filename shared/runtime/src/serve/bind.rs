//! Opens listening sockets, with errors that say what an operator can do.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another process has it.
    #[error(
        "cannot listen on {address}: another process uses this port; stop it \
         (`ss -ltnp 'sport = :{port}'` names it) or choose another port{setting}",
        port = address.port()
    )]
    InUse {
        /// The address.
        address: SocketAddr,
        /// Where to choose.
        setting: Setting,
    },
    /// A port below 1024, mostly.
    #[error(
        "cannot listen on {address}: this user may not use the port; \
         choose one above 1023{setting}"
    )]
    Denied {
        /// The address.
        address: SocketAddr,
        /// Where to choose.
        setting: Setting,
    },
    /// The host has no such address.
    #[error("cannot listen on {address}: this host has no such address; choose another{setting}")]
    NotLocal {
        /// The address.
        address: SocketAddr,
        /// Where to choose.
        setting: Setting,
    },
    /// Anything else.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The configured host is no address and no name of one.
    #[error("cannot find an address for {host:?}; give an IP address to listen on")]
    Resolve {
        /// The text.
        host: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Name of the setting that chooses a port; adds itself to a message if it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setting(Option<String>);

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(name) => write!(f, " with {name}"),
            None => Ok(()),
        }
    }
}

/// Every interface, IPv4 and IPv6 with one socket; [`bind`] falls back to IPv4 where there is no
/// IPv6.
pub const fn all_interfaces(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// The address to listen on for a configured interface: an IP address, a host name, or empty for
/// every interface. May ask DNS, and blocks meanwhile.
///
/// # Errors
///
/// When `host` is a name that nothing resolves.
pub fn socket_address(host: &str, port: u16) -> Result<SocketAddr, ServeError> {
    if host.is_empty() {
        return Ok(all_interfaces(port));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let resolved = (bare, port).to_socket_addrs().and_then(|mut addresses| {
        addresses
            .next()
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the name has no address"))
    });
    resolved.map_err(|source| ServeError::Resolve {
        host: host.to_owned(),
        source,
    })
}

/// Listens on `address`; port 0 takes a free one. Must be called inside a tokio runtime.
///
/// A port whose last user has just ended can be taken at once (`SO_REUSEADDR`).
///
/// # Errors
///
/// See [`ServeError`]; the text names the address and what to do.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    bind_with(address, Setting(None))
}

/// [`bind`], with the name of the setting that chooses the port in its errors.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_for(address: SocketAddr, setting: &str) -> Result<TcpListener, ServeError> {
    bind_with(address, Setting(Some(setting.to_owned())))
}

fn bind_with(address: SocketAddr, setting: Setting) -> Result<TcpListener, ServeError> {
    let result = listen(address).or_else(|error| {
        let no_ipv6 = matches!(
            error.kind(),
            ErrorKind::Unsupported | ErrorKind::AddrNotAvailable
        );
        if no_ipv6 && address == all_interfaces(address.port()) {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        } else {
            Err(error)
        }
    });
    result.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ServeError::InUse { address, setting },
        ErrorKind::PermissionDenied => ServeError::Denied { address, setting },
        ErrorKind::AddrNotAvailable => ServeError::NotLocal { address, setting },
        _ => ServeError::Listen { address, source },
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(|error| match error.raw_os_error() {
        // std has no kind for "address family not supported".
        Some(code) if code == rustix::io::Errno::AFNOSUPPORT.raw_os_error() => {
            ErrorKind::Unsupported.into()
        }
        _ => error,
    })?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
