//! The commands in header values that Envoy knows, such as `%REQ(x-request-id)%`.
//!
//! Envoy refuses a configuration with any other
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators>).
//! The lists are those of the oldest Envoy that is tested.

/// Without an argument.
const PLAIN: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "START_TIME",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// A colon and the digits of a length that a header can have.
const MAX_LENGTH: usize = 10;

/// What follows the command that `text` begins with, after its percent sign; `None` if Envoy knows
/// no such command, or does not take its argument.
pub(super) fn skip(text: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let after = text.trim_start_matches(is_name);
    let name = &text[..text.len() - after.len()];
    if let Some(rest) = after.strip_prefix('%') {
        return PLAIN.binary_search(&name).is_ok().then_some(rest);
    }
    let inside = after.strip_prefix('(')?;
    // The argument may have percent signs and parentheses of its own.
    let mut from = 0;
    loop {
        let end = from + inside[from..].find(')')?;
        let tail = &inside[end + 1..];
        let after_length = tail
            .strip_prefix(':')
            .map(|length| length.trim_start_matches(|c: char| c.is_ascii_digit()));
        let rest = after_length.unwrap_or(tail);
        let has_length = after_length.is_some();
        if tail.len() - rest.len() > MAX_LENGTH {
            return None;
        }
        if let Some(rest) = rest.strip_prefix('%') {
            return takes(name, &inside[..end], has_length).then_some(rest);
        }
        from = end + 1;
    }
}

/// Whether a command takes this argument, and a length after it.
fn takes(name: &str, argument: &str, has_length: bool) -> bool {
    match name {
        "REQ" | "RESP" | "TRAILER" => {
            let (header, other) = argument.split_once('?').unwrap_or((argument, "-"));
            is_header(header) && is_header(other)
        }
        "QUERY_PARAM" | "ENVIRONMENT" => !argument.is_empty(),
        "DYNAMIC_METADATA" | "CLUSTER_METADATA" | "UPSTREAM_METADATA" | "PER_REQUEST_STATE" => {
            !has_length && !argument.is_empty()
        }
        "METADATA" => {
            let of = argument.split(':').next().unwrap_or_default();
            [
                "DYNAMIC",
                "CLUSTER",
                "ROUTE",
                "UPSTREAM_HOST",
                "LISTENER",
                "VIRTUAL_HOST",
            ]
            .contains(&of)
        }
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => {
            let parts: Vec<&str> = argument.split(':').collect();
            match parts[..] {
                [key] | [key, "PLAIN" | "TYPED"] => !key.is_empty(),
                [key, "FIELD", field] => !key.is_empty() && !field.is_empty(),
                _ => false,
            }
        }
        "CEL" | "TYPED_CEL" => is_attribute(argument),
        "GRPC_STATUS" => {
            !has_length && ["CAMEL_STRING", "SNAKE_STRING", "NUMBER"].contains(&argument)
        }
        "PATH" => {
            let (query, which) = argument.split_once(':').unwrap_or((argument, "PATH"));
            ["WQ", "NQ"].contains(&query) && ["ORIG", "PATH", "ORIG_OR_PATH"].contains(&which)
        }
        "COMMON_DURATION" => {
            let parts: Vec<&str> = argument.split(':').collect();
            let is_point = |part: &str| !part.is_empty();
            !has_length
                && match parts[..] {
                    [from, to] => is_point(from) && is_point(to),
                    [from, to, unit] => {
                        is_point(from) && is_point(to) && ["ms", "us", "ns"].contains(&unit)
                    }
                    _ => false,
                }
        }
        "RESPONSE_CODE_DETAILS" => !has_length && argument == "ALLOW_WHITESPACES",
        "START_TIME"
        | "START_TIME_LOCAL"
        | "EMIT_TIME"
        | "EMIT_TIME_LOCAL"
        | "DOWNSTREAM_PEER_CERT_V_START"
        | "DOWNSTREAM_PEER_CERT_V_END"
        | "UPSTREAM_PEER_CERT_V_START"
        | "UPSTREAM_PEER_CERT_V_END" => !has_length,
        _ => false,
    }
}

/// A reference to an attribute, as `request.path`. Other expressions would have to be parsed, in a
/// language of their own.
fn is_attribute(expression: &str) -> bool {
    const RESERVED: &[&str] = &[
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression.split('.').all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(is_name)
            && !RESERVED.contains(&part)
    })
}

/// A header name, which may be a pseudo-header's.
fn is_header(name: &str) -> bool {
    let name = name.strip_prefix(':').unwrap_or(name);
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$&'*+^`|~._-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(PLAIN.is_sorted());
    }

    #[test]
    fn arguments_are_those_that_each_command_takes() {
        for good in [
            "REQ(x-a?:path)%",
            "REQ(a):5%",
            "START_TIME(%Y/%m)%",
            "METADATA(ROUTE:a:b)%",
            "FILTER_STATE(x:FIELD:y)%",
            "CEL(request.path)%",
            "PATH(WQ:ORIG)%",
            "GRPC_STATUS%",
            "COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
            "QUERY_PARAM(a)b)%",
        ] {
            assert_eq!(skip(good), Some(""), "{good}");
        }
        for bad in [
            "",
            "%",
            "FOO%",
            "REQ%",
            "REQ()%",
            "REQ(a?b?c)%",
            "REQ(a b)%",
            "REQ(x):a%",
            "PROTOCOL(x)%",
            "PROTOCOL:5%",
            "req(x)%",
            "METADATA(x)%",
            "FILTER_STATE(x:y)%",
            "FILTER_STATE(x:FIELD:)%",
            "REQ(x):99999999999999999999%",
            "CEL(x.in)%",
            "CEL(%)%",
            "PATH(XX)%",
            "GRPC_STATUS(X)%",
            "COMMON_DURATION(a)%",
            "REQ(x",
        ] {
            assert_eq!(skip(bad), None, "{bad}");
        }
    }
}
