//! The processes agree over real sockets; see `tests/`.
