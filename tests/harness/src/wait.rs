//! Waiting for a state.

use std::time::Duration;

use tokio::time::Instant;

/// How long any state may take to come about on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks `probe` until it has an answer.
///
/// # Panics
/// When it has none within [`DEADLINE`]; the text is the last reason it gave.
pub async fn eventually<T, E: std::fmt::Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= end => {
                panic!("not within {DEADLINE:?}: {what}; last: {reason}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
