//! The program `zone-cp`.

use std::process::ExitCode;

/// Gives back what it no longer needs: memory that hundreds of streams took while they started,
/// or a table of routes while it was built, would stay with the process otherwise. How it is set
/// up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    zone_cp::cli::main()
}
