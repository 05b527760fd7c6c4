//! Ports that keep belonging to a test while a process of it is down.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// Below the range from which kernels take the ports of outgoing connections, so that nobody
/// takes a port between two runs of its process.
const FIRST: u32 = 18_500;
const COUNT: u32 = 12_000;

/// A port that is free now at `address` and that no other caller of this process gets.
///
/// # Errors
/// When none is free.
pub fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (0..COUNT)
        .find_map(|_| {
            let offset = std::process::id().wrapping_mul(211);
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let port = u16::try_from(FIRST + offset.wrapping_add(step) % COUNT).ok()?;
            std::net::TcpListener::bind((address, port)).ok()?;
            Some(port)
        })
        .context("no port is free")
}
