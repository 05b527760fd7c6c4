//! The program `global-cp`.

use std::process::ExitCode;

fn main() -> ExitCode {
    global_cp::cli::main()
}
