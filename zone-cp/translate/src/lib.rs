//! From resources to the Envoy configuration of one proxy; pure.
