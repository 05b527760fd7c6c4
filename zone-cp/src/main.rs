//! The program `zone-cp`.

use std::process::ExitCode;

fn main() -> ExitCode {
    zone_cp::cli::main()
}
