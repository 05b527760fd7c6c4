//! Samples and what is said of them.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of one kind, in milliseconds, sorted. Never empty.
#[derive(Debug, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Sorts them.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(milliseconds: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = milliseconds.into_iter().collect();
        assert!(!sorted.is_empty(), "there are samples");
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }

    /// The smallest sample that `percent` of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.saturating_sub(1)]
    }

    /// These or the others, whichever have the lower median.
    pub fn better(self, other: Self) -> Self {
        if self.percentile(50) <= other.percentile(50) {
            self
        } else {
            other
        }
    }

    /// The sum over the number.
    pub fn mean(&self) -> f64 {
        let count = u32::try_from(self.0.len()).expect("samples fit into memory");
        self.0.iter().sum::<f64>() / f64::from(count)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// All of it for the JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "samples": self.0.len(),
            "p50_ms": round(self.percentile(50)),
            "p99_ms": round(self.percentile(99)),
            "mean_ms": round(self.mean()),
            "max_ms": round(self.max()),
        })
    }
}

/// In milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// To three decimals, which is more than anything here is exact to.
pub fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
