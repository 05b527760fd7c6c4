//! Keys that are ours and not Kuma's.

use super::Kind::{Int, Text};
use super::Status::Implemented;

keys! {
    "meridian.gateway.noRoutesPage": Text(""), Implemented;
    "meridian.gateway.routeTreeThreshold": Int(128), Implemented;
}
