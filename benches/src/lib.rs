//! What a change costs, from the admin API to a request through Envoy.
