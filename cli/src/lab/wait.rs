//! Waiting for a state, with a deadline.

use std::fmt::Display;
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How long anything may take to come about, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// A state is looked at this often.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks `probe` until it has an answer. `what` completes the sentence "zone-1 is ready".
pub(super) async fn until<T, E: Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> anyhow::Result<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!(
                    "within {} s it did not come about that {what}; the last that was seen: {reason}",
                    DEADLINE.as_secs()
                )
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
