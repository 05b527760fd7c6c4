//! What we emit, answered by a real Envoy.
