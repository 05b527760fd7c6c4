//! Bytes as every message that a peer may send; what decodes is read as far as it goes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_kds::peer::NodeInfo;
use mesh_proto::{discovery, link, mesh};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 8 {
        0 => {
            if let Ok(request) = discovery::DeltaDiscoveryRequest::decode(data) {
                if let Some(node) = &request.node {
                    let info = NodeInfo::from_node(node);
                    // What was understood can be said again, and means the same then.
                    assert_eq!(NodeInfo::from_node(&info.to_node()), info);
                }
                read_again(&request);
            }
        }
        1 => decode::<discovery::DeltaDiscoveryResponse>(data),
        2 => decode::<link::Heartbeat>(data),
        3 => decode::<link::Resume>(data),
        4 => decode::<link::Rejections>(data),
        5 => decode::<mesh::XdsConfigResponse>(data),
        6 => decode::<mesh::StatsResponse>(data),
        _ => decode::<mesh::KumaResource>(data),
    }
});

fn decode<M: Message + Default + PartialEq + std::fmt::Debug>(data: &[u8]) {
    if let Ok(message) = M::decode(data) {
        read_again(&message);
    }
}

fn read_again<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M) {
    let bytes = message.encode_to_vec();
    let again = M::decode(bytes.as_slice()).expect("what was encoded decodes");
    // Floating point numbers that are none differ from themselves.
    if !format!("{message:?}").contains("NaN") {
        assert_eq!(&again, message);
    }
}
