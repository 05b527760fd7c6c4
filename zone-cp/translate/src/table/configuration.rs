//! One route configuration of a table, put together from the lists that its hosts serve.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mesh_delta::{Item, Name, Version};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::repeat::Repeat;
use super::{Host, field};
use crate::EnvoyType;
use crate::assemble::{self, Pieces};
use crate::envoy::{self, TAGS_HEADER, core, route};
use crate::host::Hostname;
use crate::list::RouteList;
use crate::refuse;
use crate::tree::Limits;

/// What the route configurations of a table have in common, encoded.
#[derive(Debug)]
pub(super) struct Frame {
    /// The header with the tags of the gateway, a field of the route configuration.
    tags_header: Bytes,
    /// What virtual hosts have beside their routes.
    host: Bytes,
}

/// A route configuration: the hosts of one HTTPS listener, or of all listeners of an HTTP port.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) name: Name,
    pub(super) hosts: BTreeMap<Hostname, Host>,
    /// Lists that several of the hosts serve, as of when chains were made.
    pub(super) repeats: Vec<Repeat>,
    /// Clusters by the number of routes that name them.
    clusters: BTreeMap<Name, usize>,
    needs: Option<Arc<[(EnvoyType, Name)]>>,
    /// Whether entries may differ from those in `item`.
    pub(super) is_stale: bool,
    /// Whether there are other lists or hosts than when chains were made.
    pub(super) is_rearranged: bool,
    /// As last assembled.
    pub(super) item: Option<Item<EnvoyType>>,
}

impl Frame {
    /// For requests that carry the tags of the gateway in this form, over TLS only if `is_https`.
    pub(super) fn new(tags_header: &str, is_https: bool) -> Self {
        Self {
            tags_header: encode_tags_header(tags_header),
            host: if is_https {
                encode_https()
            } else {
                Bytes::new()
            },
        }
    }
}

impl Configuration {
    /// A configuration without hosts.
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            hosts: BTreeMap::new(),
            repeats: Vec::new(),
            clusters: BTreeMap::new(),
            needs: None,
            is_stale: true,
            is_rearranged: true,
            item: None,
        }
    }

    /// Takes note of a route that names a cluster.
    pub(super) fn use_cluster(&mut self, name: &Name) {
        let count = self.clusters.entry(Arc::clone(name)).or_insert_with(|| {
            self.needs = None;
            0
        });
        *count += 1;
    }

    /// Takes note that such a route is gone.
    pub(super) fn release_cluster(&mut self, name: &Name) {
        if let Some(count) = self.clusters.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.clusters.remove(name);
                self.needs = None;
            }
        }
    }

    /// Whether the item has to be assembled again.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_stale || self.needs.is_none()
    }

    /// Makes the item. `slots` are the lists that chains refer to; `trees` says which hosts are
    /// trees, and is always the same.
    pub(super) fn assemble(
        &mut self,
        frame: &Frame,
        slots: &mut [RouteList],
        no_routes: &Bytes,
        trees: Option<Limits>,
    ) {
        self.is_stale = false;
        let mut hasher = Sha256::new();
        hasher.update(no_routes);
        hasher.update(&frame.tags_header);
        hasher.update(&frame.host);
        let mut sizes = Vec::with_capacity(self.hosts.len());
        // `*` and the wildcards last, as people expect; to Envoy the order is all the same.
        for (hostname, host) in self.hosts.iter_mut().rev() {
            hasher.update(hostname.as_str());
            let mut size = frame.host.len();
            if let Some(tree) = host.tree.follow(&host.chain, slots, trees) {
                hasher.update([1]);
                hasher.update(tree.hash);
                size += assemble::field_len(field::MATCHER, tree.length);
            } else {
                hasher.update([0]);
                for slot in &host.chain {
                    let summary = slots[*slot].summarize();
                    size += summary.length;
                    hasher.update(summary.hash);
                }
            }
            if host.chain.is_empty() {
                size += no_routes.len();
            }
            size += assemble::field_len(field::NAME, hostname.as_str().len());
            size += assemble::field_len(field::DOMAINS, hostname.as_str().len());
            sizes.push(size);
        }
        let mut out = Pieces::default();
        assemble::put_field(field::NAME, self.name.as_bytes(), out.small());
        for ((hostname, host), size) in self.hosts.iter().rev().zip(sizes) {
            assemble::put_header(field::VIRTUAL_HOSTS, size, out.small());
            assemble::put_field(field::NAME, hostname.as_str().as_bytes(), out.small());
            assemble::put_field(field::DOMAINS, hostname.as_str().as_bytes(), out.small());
            if host.chain.is_empty() {
                out.share(no_routes);
            }
            if let Some(tree) = host.tree.served() {
                out.share(&frame.host);
                assemble::put_header(field::MATCHER, tree.length, out.small());
                host.tree.write(&mut out);
                continue;
            }
            for slot in &host.chain {
                slots[*slot].chunks().for_each(|c| out.share(c));
            }
            out.share(&frame.host);
        }
        out.share(&frame.tags_header);
        // An absent wrapper would mean true for a configuration that is not delivered by RDS.
        assemble::put_header(field::VALIDATE_CLUSTERS, 0, out.small());
        // So that a route can take back what is said for all of them.
        assemble::put_bool(field::MOST_SPECIFIC_WINS, true, out.small());
        assemble::put_bool(field::IGNORE_PORT, true, out.small());
        self.item = Some(Item {
            version: version(&self.name, hasher),
            payload: out.finish(),
            needs: self.needs(),
        });
    }

    fn needs(&mut self) -> Arc<[(EnvoyType, Name)]> {
        let needs = self.needs.get_or_insert_with(|| {
            [EnvoyType::Cluster, EnvoyType::Endpoint]
                .into_iter()
                .flat_map(|ty| self.clusters.keys().map(move |name| (ty, Arc::clone(name))))
                .collect()
        });
        Arc::clone(needs)
    }
}

fn version(name: &str, mut hasher: Sha256) -> Version {
    hasher.update(name);
    envoy::to_version(&hasher.finalize())
}

/// The header that tells backends the tags of the gateway, over whatever the client sent, framed
/// as a field of the route configuration: said once, it costs Envoy nothing per route. Tags that no
/// header can hold are not told, and what the client sent instead of them goes.
fn encode_tags_header(value: &str) -> Bytes {
    let value = value.replace('%', "%%");
    let mut bytes = BytesMut::new();
    if refuse::header_value(&value).is_err() {
        assemble::put_field(
            field::REQUEST_HEADERS_TO_REMOVE,
            TAGS_HEADER.as_bytes(),
            &mut bytes,
        );
        return bytes.freeze();
    }
    assemble::put_field(
        field::REQUEST_HEADERS_TO_ADD,
        &overwrite(TAGS_HEADER, value).encode_to_vec(),
        &mut bytes,
    );
    bytes.freeze()
}

/// What makes a virtual host one of HTTPS: requests that came without TLS are redirected, and
/// browsers remember for a year to come with it
/// ([RFC 6797](https://www.rfc-editor.org/rfc/rfc6797)).
fn encode_https() -> Bytes {
    let policy = "max-age=31536000; includeSubDomains".to_owned();
    route::VirtualHost {
        require_tls: route::virtual_host::TlsRequirementType::All.into(),
        response_headers_to_add: vec![overwrite("Strict-Transport-Security", policy)],
        ..Default::default()
    }
    .encode_to_vec()
    .into()
}

fn overwrite(name: &str, value: String) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.to_owned(),
            value,
        }),
        append_action: core::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_no_header_can_hold_leave_none_that_a_client_made_up() {
        let of = |tags: &str| route::RouteConfiguration::decode(encode_tags_header(tags)).unwrap();
        assert!(of("&a=1&").request_headers_to_remove.is_empty());
        let long = of(&"x".repeat(20_000));
        assert_eq!(long.request_headers_to_remove, [TAGS_HEADER]);
        assert!(long.request_headers_to_add.is_empty());
    }
}
