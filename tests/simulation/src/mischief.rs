//! What the harness does wrong on purpose: a check that cannot fail proves nothing.

/// Something that the harness does wrong, so that it is seen to be noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mischief {
    /// Nothing.
    #[default]
    None,
    /// Removals are left out of responses now and then.
    LosesRemovals,
    /// What a peer says that it holds when it comes back is forgotten.
    ForgetsHeld,
}
