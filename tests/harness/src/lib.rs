//! Builders, fixtures and real processes for tests.
