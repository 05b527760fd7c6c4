//! One signal that everything ends, seen by every task.
//!
//! A [`Trigger`] is pulled once; every [`Shutdown`] cloned from the same channel then resolves,
//! also one that starts to wait later. Nothing here waits for tasks to finish: the services own
//! their tasks and end them when they see the signal.
//!
//! **Invariant:** dropping a [`Trigger`] does not shut anything down.

use tokio_util::sync::CancellationToken;

/// Pulls the shutdown; cheap to clone.
#[derive(Debug, Clone)]
pub struct Trigger(CancellationToken);

/// Sees the shutdown; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

/// A connected pair.
pub fn channel() -> (Trigger, Shutdown) {
    let token = CancellationToken::new();
    (Trigger(token.clone()), Shutdown(token))
}

impl Trigger {
    /// Starts the shutdown; doing it again changes nothing.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Another observer of this trigger.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.0.clone())
    }
}

impl Shutdown {
    /// A shutdown that never comes, for programs and tests that end by themselves.
    pub fn never() -> Self {
        Self(CancellationToken::new())
    }

    /// Resolves once the shutdown has started. Dropping the future is safe at any point.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether the shutdown has started.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A narrower scope: it ends with this one, or earlier by its own trigger.
    pub fn child(&self) -> (Trigger, Shutdown) {
        let token = self.0.child_token();
        (Trigger(token.clone()), Shutdown(token))
    }
}

/// A shutdown that starts with SIGTERM or SIGINT. A second signal ends the process at once.
///
/// Must be called inside a tokio runtime.
///
/// # Panics
///
/// Outside a tokio runtime, or when the system refuses to install the handlers.
pub fn on_signals() -> Shutdown {
    let (trigger, shutdown) = channel();
    let mut signals = Signals::install().expect("SIGTERM and SIGINT can be handled");
    tokio::spawn(async move {
        let first = signals.next().await;
        tracing::info!(signal = first, "shutting down on {first}");
        trigger.trigger();
        let second = signals.next().await;
        tracing::warn!(signal = second, "ending at once on a second signal");
        // The convention of shells: 128 + SIGINT or SIGTERM.
        std::process::exit(if second == "SIGINT" { 130 } else { 143 });
    });
    shutdown
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_observer_sees_the_trigger_also_one_that_waits_later() {
        let (trigger, shutdown) = channel();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait().await }
        });
        assert!(!shutdown.is_triggered());
        trigger.trigger();
        trigger.trigger();
        early.await.unwrap();
        shutdown.wait().await;
        trigger.shutdown().wait().await;
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn a_dropped_trigger_shuts_nothing_down() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(!shutdown.is_triggered());
        assert!(!Shutdown::never().is_triggered());
    }

    #[tokio::test]
    async fn a_child_ends_with_its_parent_and_not_the_other_way_round() {
        let (trigger, parent) = channel();
        let (own, child) = parent.child();
        own.trigger();
        assert!(child.is_triggered() && !parent.is_triggered());

        let (_own, child) = parent.child();
        trigger.trigger();
        child.wait().await;
    }

    #[tokio::test]
    async fn sigterm_starts_the_shutdown() {
        let shutdown = on_signals();
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::TERM).unwrap();
        shutdown.wait().await;
    }
}
