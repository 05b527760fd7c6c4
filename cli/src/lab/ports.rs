//! Whether the lab's ports are free, before anything is started.

use std::io::ErrorKind;
use std::net::TcpListener;

use anyhow::bail;

use super::plan::{Plan, Port};

/// The largest `--port-offset`: zone-2's highest port is then still a port.
pub(super) const MAX_OFFSET: i64 = 30_000;

/// Refuses to start when something else listens on one of the lab's ports.
pub(super) fn check(plan: &Plan) -> anyhow::Result<()> {
    let taken: Vec<Problem> = plan.ports().into_iter().filter_map(problem).collect();
    let Some(first) = taken.first() else {
        return Ok(());
    };
    if let Problem::NoAddress(port) = first {
        bail!(
            "this machine has no address {} for {}; Linux has all of 127.0.0.0/8, elsewhere give \
             it to the loopback interface",
            port.address,
            port.owner
        );
    }
    let list: String = taken
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    bail!(
        "these ports of the lab cannot be had:{list}\nIf it is another lab, end it; else see what \
         listens there with `ss -ltnp`, or move all ports of the lab: --port-offset 100"
    );
}

#[derive(Debug)]
enum Problem {
    Taken(Port),
    NoAddress(Port),
    Other(Port, std::io::Error),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Taken(port) => write!(f, "{} ({}) is taken", port.port, port.owner),
            Self::NoAddress(port) => write!(f, "{} is no address here", port.address),
            Self::Other(port, error) => write!(f, "{} ({}): {error}", port.port, port.owner),
        }
    }
}

fn problem(port: Port) -> Option<Problem> {
    let error = TcpListener::bind((port.address, port.port)).err()?;
    Some(match error.kind() {
        ErrorKind::AddrInUse => Problem::Taken(port),
        ErrorKind::AddrNotAvailable => Problem::NoAddress(port),
        _ => Problem::Other(port, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = Plan::new(0);
        plan.global.kds = taken.local_addr().unwrap().port();
        let text = check(&plan).unwrap_err().to_string();
        assert!(
            text.contains(&format!(
                "{} (the global's port for zones) is taken",
                plan.global.kds
            )),
            "{text}"
        );
        assert!(text.contains("--port-offset"), "{text}");
    }
}
