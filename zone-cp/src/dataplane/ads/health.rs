//! Health discovery (HDS): Envoys with the bootstrap of a stock zone open it beside ADS.
//!
//! It is accepted as a stock zone does: the proxy may speak for its Dataplane, and is asked to
//! check its own admin interface. What it reports is not used yet, nor kept.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/health/v3/hds.proto>

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use mesh_proto::core::health_check::HttpHealthCheck;
use mesh_proto::core::{Address, HealthCheck, Node, Pipe, SocketAddress, address};
use mesh_proto::endpoint::Endpoint;
use mesh_proto::health::health_check_request_or_endpoint_health_response::RequestType;
use mesh_proto::health::{
    ClusterHealthCheck, HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier,
    LocalityEndpoints,
};
use prost::Message as _;
use prost_types::value::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tonic_prost::ProstDecoder;

use super::node::Introduction;
use super::{Ads, Answer, Inner, MAX_REQUEST, Outbox, refuse, token_of, wire};
use crate::dataplane::registration::parse_node_id;

/// The service's only method that is served.
pub(super) const METHOD: &str = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck";
/// How long a proxy that is not registered yet may take: its ADS stream does that.
const REGISTRATION: Duration = Duration::from_secs(30);
/// How often an Envoy reports.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest path of a socket that Envoy can open, with some room.
const MAX_PATH: usize = 256;

type Said = HealthCheckRequestOrEndpointHealthResponse;

/// What a proxy sends on its stream.
pub(super) trait Reports:
    Stream<Item = Result<Said, Status>> + Send + Unpin + 'static
{
}

impl<S> Reports for S where S: Stream<Item = Result<Said, Status>> + Send + Unpin + 'static {}

/// Opens a stream.
pub(super) async fn open(State(ads): State<Ads>, request: Request) -> Response {
    let token = token_of(&request);
    let decoder = ProstDecoder::<Said>::default();
    let inbound = Streaming::new_request(decoder, request.into_body(), None, Some(MAX_REQUEST));
    wire::respond(ReceiverStream::new(ads.start_health(inbound, token)))
}

impl Ads {
    /// Starts a stream. What is received is for the proxy; a status is the last of it.
    pub(super) fn start_health(
        &self,
        inbound: impl Reports,
        token: Option<String>,
    ) -> mpsc::Receiver<Answer> {
        let inner = Arc::clone(&self.inner);
        self.run(async move |outbox| serve(&inner, inbound, token, outbox).await)
    }
}

async fn serve(
    inner: &Inner,
    mut inbound: impl Reports,
    token: Option<String>,
    outbox: Outbox,
) -> Result<Infallible, Status> {
    let ended = || Status::cancelled("the proxy ended the stream");
    let first = inbound.next().await.ok_or_else(ended)??;
    let Some(RequestType::HealthCheckRequest(first)) = first.request_type else {
        return Err(Status::invalid_argument("the first message is no request"));
    };
    let introduction = Introduction::read(first.node.as_ref())?;
    let key = parse_node_id(&introduction.node_id).map_err(|error| refuse(&error))?;
    let mut snapshots = inner.config.store.watch();
    let is_stored = snapshots.wait_for(|snapshot| snapshot.get(&key).is_some());
    tokio::time::timeout(REGISTRATION, is_stored)
        .await
        .map_err(|_too_late| Status::not_found(format!("{key} does not exist")))?
        .map_err(|_closed| Status::unavailable("the store is closed"))?;
    let registrar = &inner.config.registrar;
    registrar
        .recheck(&key, token.as_deref())
        .map_err(|error| refuse(&error))?;
    let specifier = specifier(first.node.as_ref());
    let message = wire::framed(&specifier.encode_to_vec())?;
    outbox.try_send(Ok(message)).map_err(|_gone| ended())?;
    loop {
        inbound.next().await.ok_or_else(ended)??;
    }
}

/// What a proxy is asked to check: that its own admin interface says it is ready.
fn specifier(node: Option<&Node>) -> HealthCheckSpecifier {
    let metadata = node.and_then(|node| node.metadata.as_ref());
    let text = |key: &str| {
        let value = metadata.and_then(|metadata| metadata.fields.get(key))?;
        match value.kind.as_ref()? {
            Kind::StringValue(text) if !text.is_empty() && text.len() <= MAX_PATH => {
                Some(text.clone())
            }
            _ => None,
        }
    };
    let pipe = text("dataplane.admin.socketPath").map(|path| address::Address::Pipe(Pipe { path }));
    let socket = || {
        let port_value = text("dataplane.admin.port")?.parse::<u16>().ok()?.into();
        let address = text("dataplane.admin.address").unwrap_or_else(|| "127.0.0.1".to_owned());
        Some(address::Address::SocketAddress(SocketAddress {
            address,
            port_value,
        }))
    };
    let checks = pipe.or_else(socket).map(|address| ClusterHealthCheck {
        cluster_name: "kuma:envoy:admin".to_owned(),
        health_checks: vec![check()],
        locality_endpoints: vec![LocalityEndpoints {
            endpoints: vec![Endpoint {
                address: Some(Address {
                    address: Some(address),
                }),
            }],
        }],
    });
    HealthCheckSpecifier {
        cluster_health_checks: checks.into_iter().collect(),
        interval: Some(duration(INTERVAL)),
    }
}

fn check() -> HealthCheck {
    let second = Some(duration(Duration::from_secs(1)));
    HealthCheck {
        timeout: Some(duration(Duration::from_secs(2))),
        interval: second,
        unhealthy_threshold: Some(1),
        healthy_threshold: Some(1),
        http_health_check: Some(HttpHealthCheck {
            path: "/ready".to_owned(),
        }),
        no_traffic_interval: second,
    }
}

fn duration(of: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(of).expect("some seconds are a duration")
}

#[cfg(test)]
mod tests {
    use prost_types::{Struct, Value};

    use super::*;

    fn asked(metadata: &[(&str, &str)]) -> HealthCheckSpecifier {
        let fields = metadata.iter().map(|(key, text)| {
            let kind = Some(Kind::StringValue((*text).to_owned()));
            ((*key).to_owned(), Value { kind })
        });
        specifier(Some(&Node {
            metadata: Some(Struct {
                fields: fields.collect(),
            }),
            ..Default::default()
        }))
    }

    fn address_of(specifier: &HealthCheckSpecifier) -> Option<address::Address> {
        let [checks] = &specifier.cluster_health_checks[..] else {
            return None;
        };
        assert_eq!(checks.cluster_name, "kuma:envoy:admin");
        let endpoint = &checks.locality_endpoints[0].endpoints[0];
        endpoint.address.clone()?.address
    }

    #[test]
    fn a_proxy_is_asked_to_check_its_admin_interface_where_it_says_that_is() {
        let port = [
            ("dataplane.admin.port", "9901"),
            ("dataplane.admin.address", "127.0.0.1"),
        ];
        let socket = SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_value: 9901,
        };
        let expected = Some(address::Address::SocketAddress(socket));
        assert_eq!(address_of(&asked(&port)), expected);

        let path = "/run/dp/admin.sock";
        let with_path = [port[0], ("dataplane.admin.socketPath", path)];
        let pipe = Pipe {
            path: path.to_owned(),
        };
        let expected = Some(address::Address::Pipe(pipe));
        assert_eq!(address_of(&asked(&with_path)), expected);
    }

    #[test]
    fn a_proxy_that_says_nothing_sensible_is_asked_for_nothing() {
        let long = "x".repeat(MAX_PATH + 1);
        for metadata in [
            &[][..],
            &[("dataplane.admin.port", "many")],
            &[("dataplane.admin.socketPath", &long)],
        ] {
            let specifier = asked(metadata);
            assert_eq!(specifier.cluster_health_checks, []);
            assert_eq!(specifier.interval.map(|interval| interval.seconds), Some(5));
        }
    }
}
