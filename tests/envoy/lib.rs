//! Conformance against a real Envoy; see `tests/`.
