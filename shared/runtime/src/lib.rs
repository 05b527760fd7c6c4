//! What every process shares: configuration, telemetry, shutdown, backoff, clock, TLS, serving.
