//! KDS over gRPC: runs the delta machines, maps resources to the wire and back.
