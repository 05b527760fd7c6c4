//! Keys that are ours and not Kuma's. Those of the authentication of zones have the names that
//! Kong Mesh gave them, and its environment names beside ours.

use super::Kind::{Int, List, Text};
use super::Status::Implemented;
use super::words::KDS_AUTHN;

keys! {
    "multizone.global.kds.allowUnauthenticatedZones": List(&[]), Implemented;
    "multizone.global.kds.auth.type": KDS_AUTHN, Implemented,
        env ["KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"];
    "multizone.zone.kds.auth.cpTokenInline": Text(""), Implemented,
        env [
            "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE",
            "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE",
        ], secret true;
    "multizone.zone.kds.auth.cpTokenPath": Text(""), Implemented,
        env [
            "KUMA_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
            "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
        ];
    "meridian.gateway.noRoutesPage": Text(""), Implemented;
    "meridian.gateway.routeTreeThreshold": Int(128), Implemented;
}
