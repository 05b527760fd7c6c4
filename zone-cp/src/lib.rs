//! The zone control plane: KDS client, local store, data-plane server, inventory.
