//! The program as a person starts it.

use std::process::Command;

fn zone_cp(argument: &str) -> String {
    let program = env!("CARGO_BIN_EXE_zone-cp");
    let output = Command::new(program)
        .arg(argument)
        .output()
        .expect("zone-cp runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn it_says_its_version_and_how_to_run_it_with_an_example() {
    assert!(zone_cp("--version").contains(env!("CARGO_PKG_VERSION")));
    assert!(zone_cp("--help").contains("KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS="));
}
