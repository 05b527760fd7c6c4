//! The processes agree over real sockets.
