//! Choices and explanations that several rows of the table share.

use super::Kind;

pub(super) const LATER: &str = "is not implemented yet and has no effect";
pub(super) const NO_POLLING: &str = "has no effect: changes travel when they happen";
pub(super) const AT_START: &str =
    "has no effect: what a process that was killed left open is closed when the next one starts";
pub(super) const NEWEST_WINS: &str =
    "has no effect: a newer stream of a zone always ends the older one of its kind";
pub(super) const NO_RESENDING: &str =
    "has no effect: what a proxy refused is not sent again before it changes";
pub(super) const KUBERNETES: &str = "has no effect: Kubernetes is not supported yet";
pub(super) const ALWAYS: &str = "has no effect: the newer behaviour is always on";

pub(super) const ACCESS_RULES: &str =
    "rules of one's own are not supported yet, and Kuma's default rules would apply instead";
pub(super) const CIPHERS: &str = "a choice of TLS cipher suites is not supported";
pub(super) const CLIENT_CERTS: &str =
    "authentication by client certificates is not supported, and they would not be asked for";
pub(super) const PUBLIC_KEYS: &str = "public keys in the configuration are not supported yet, and tokens signed by them would \
     be refused";
pub(super) const USE_SECRETS: &str =
    "tokens are always checked with the signing keys among the secrets";

const STANDALONE: &str =
    "there is no such mode any more: a zone without multizone.zone.globalAddress runs alone";
const NOT_YET: &str = "it is not supported yet";
const CLIENT_CERT_TYPE: &str = "authentication by client certificates is not supported";
const SERVICE_ACCOUNT: &str = "it needs Kubernetes, which is not supported yet";
const NO_AUTHENTICATION: &str = "zone proxies always need a token";
const TLS_OLD: &str = "versions below TLS 1.2 are not supported";
const TLS_ONLY_NEW: &str = "TLS 1.2 cannot be switched off yet";
const TLS_CAP: &str = "TLS 1.3 cannot be switched off";

pub(super) const MODE: Kind = Kind::Choice {
    default: "",
    allowed: &["global", "zone"],
    refused: &[("standalone", STANDALONE)],
};

pub(super) const ENVIRONMENT: Kind = Kind::Choice {
    default: "universal",
    allowed: &["universal"],
    refused: &[("kubernetes", NOT_YET)],
};

pub(super) const STORE: Kind = Kind::Choice {
    default: "sled",
    allowed: &["sled", "memory"],
    refused: &[("postgres", NOT_YET), ("kubernetes", NOT_YET)],
};

pub(super) const USER_AUTHN: Kind = Kind::Choice {
    default: "tokens",
    allowed: &["tokens"],
    refused: &[("adminClientCerts", CLIENT_CERT_TYPE)],
};

pub(super) const DP_AUTHN: Kind = Kind::Choice {
    default: "dpToken",
    allowed: &["dpToken", "none"],
    refused: &[("serviceAccountToken", SERVICE_ACCOUNT)],
};

/// How zones prove who they are.
pub(super) const KDS_AUTHN: Kind = Kind::Choice {
    default: "cpToken",
    allowed: &["cpToken", "none"],
    refused: &[],
};

pub(super) const ZONE_AUTHN: Kind = Kind::Choice {
    default: "zoneToken",
    allowed: &["zoneToken"],
    refused: &[
        ("none", NO_AUTHENTICATION),
        ("serviceAccountToken", SERVICE_ACCOUNT),
    ],
};

/// Kuma up to 2.6; `dpServer.authn.dpProxy.type` took its place.
pub(super) const OLD_DP_AUTHN: Kind = Kind::Choice {
    default: "dpToken",
    allowed: &["dpToken"],
    refused: &[
        ("none", "set dpServer.authn.dpProxy.type instead"),
        ("serviceAccountToken", SERVICE_ACCOUNT),
    ],
};

pub(super) const ACCESS: Kind = Kind::Choice {
    default: "static",
    allowed: &["static"],
    refused: &[],
};

pub(super) const TLS_MIN: Kind = Kind::Choice {
    default: "TLSv1_2",
    allowed: &["TLSv1_2"],
    refused: &[
        ("TLSv1_0", TLS_OLD),
        ("TLSv1_1", TLS_OLD),
        ("TLSv1_3", TLS_ONLY_NEW),
    ],
};

pub(super) const TLS_MAX: Kind = Kind::Choice {
    default: "TLSv1_3",
    allowed: &["TLSv1_3"],
    refused: &[
        ("TLSv1_0", TLS_OLD),
        ("TLSv1_1", TLS_OLD),
        ("TLSv1_2", TLS_CAP),
    ],
};
