//! What policies decide about traffic, and what holds without any.
//!
//! Routes, clusters and listeners are made from these values and have none of their own. Today
//! every gateway gets the defaults of a mesh without policies; policies that match will change
//! the values here, chosen by the same arguments.

use mesh_model::tags::Tags;
use prost_types::Duration;

/// The policies of a mesh, as far as they concern one proxy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policies;

/// How a gateway talks with its clients.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListenerPolicy {
    /// Closes HTTP connections without a request, and TCP connections without a byte.
    pub(crate) idle_timeout: Duration,
    /// Ends a request whose stream is silent, unless its route says otherwise.
    pub(crate) stream_idle_timeout: Duration,
    /// In which the headers of a request have to arrive.
    pub(crate) request_headers_timeout: Duration,
    /// How often a TCP connection is tried; `None`: once.
    pub(crate) max_connect_attempts: Option<u32>,
}

/// What happens to requests on a route that forwards them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoutePolicy {
    /// Ends a request whose stream is silent.
    pub(crate) idle_timeout: Duration,
    /// Ends a request that is not answered completely; `None`: Envoy's 15 s.
    pub(crate) timeout: Option<Duration>,
}

/// How a gateway talks with the endpoints of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClusterPolicy {
    pub(crate) connect_timeout: Duration,
    /// Closes HTTP connections without a request; zero: never.
    pub(crate) http_idle_timeout: Duration,
}

impl Policies {
    /// For a listener with these tags.
    pub(crate) fn listener(self, _listener_tags: &Tags) -> ListenerPolicy {
        ListenerPolicy {
            idle_timeout: seconds(300),
            stream_idle_timeout: seconds(5),
            request_headers_timeout: Duration {
                seconds: 0,
                nanos: 500_000_000,
            },
            max_connect_attempts: None,
        }
    }

    /// For a rule with these destinations, on a listener with these tags.
    pub(crate) fn route<'a>(
        self,
        _listener_tags: &Tags,
        _destinations: impl IntoIterator<Item = &'a Tags>,
    ) -> RoutePolicy {
        RoutePolicy {
            idle_timeout: seconds(5),
            timeout: None,
        }
    }

    /// For a destination that listeners with these tags send to.
    pub(crate) fn cluster(self, _listener_tags: &Tags, _destination: &Tags) -> ClusterPolicy {
        ClusterPolicy {
            connect_timeout: seconds(5),
            http_idle_timeout: seconds(0),
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}
