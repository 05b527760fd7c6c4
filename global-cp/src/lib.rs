//! The global control plane: admin API, validation, policy store, KDS server, fleet inventory.
