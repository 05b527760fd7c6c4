//! Bytes as a resource of any type, from the envelope to its document in the admin API.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mesh_kds::wire;
use mesh_model::json::to_document;
use mesh_model::{Resource, ResourceType, Timestamp};

fuzz_target!(|data: &[u8]| {
    let Some((ty, data)) = data.split_first() else {
        return;
    };
    let types = ResourceType::ALL;
    let ty = types[usize::from(*ty) % types.len()];
    let Ok(incoming) = wire::decode(ty, Bytes::copy_from_slice(data)) else {
        return;
    };
    let time = Timestamp::EPOCH;
    let resource = Resource::new(incoming.key, incoming.labels, incoming.spec, time, time);
    // A user may look at it, and others may get it.
    to_document(&resource);
    resource.spec().to_canonical();
});
