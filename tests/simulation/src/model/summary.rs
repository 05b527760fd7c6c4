//! What runs were like, in numbers.

/// What a run was like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages that arrived.
    pub messages: u64,
    /// Responses that were applied.
    pub applied: u64,
    /// Resources that were removed by a response.
    pub removals: u64,
    /// Resources that were refused.
    pub refusals: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Crashes.
    pub crashes: u64,
    /// Differences that digests showed.
    pub differences: u64,
    /// The most messages that were under way on one stream.
    pub most_under_way: usize,
    /// A hash of all that happened, in order.
    pub trace: u64,
}

impl Summary {
    /// Adds what another run was like.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.applied += other.applied;
        self.removals += other.removals;
        self.refusals += other.refusals;
        self.connections += other.connections;
        self.crashes += other.crashes;
        self.differences += other.differences;
        self.most_under_way = self.most_under_way.max(other.most_under_way);
        // In whatever order they are played.
        self.trace = self.trace.wrapping_add(other.trace);
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} connections, {} messages, {} responses applied, {} removals, {} refusals, \
             {} crashes, {} differences, at most {} messages under way on a stream, trace {:016x}",
            self.connections,
            self.messages,
            self.applied,
            self.removals,
            self.refusals,
            self.crashes,
            self.differences,
            self.most_under_way,
            self.trace
        )
    }
}
