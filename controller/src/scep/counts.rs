//! How many messages ended how, for metrics. Nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How messages ended, since this process began.
#[derive(Default)]
pub struct Counts {
    /// Certificates issued.
    pub issued: AtomicU64,
    /// Requests that wait.
    pub pending: AtomicU64,
    /// Refused.
    pub refused: AtomicU64,
    /// Malformed.
    pub malformed: AtomicU64,
    /// Failed here.
    pub failed: AtomicU64,
    /// Certificates and lists handed out again.
    pub repeated: AtomicU64,
}

impl Counts {
    /// Each with its name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 6] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("issued", of(&self.issued)),
            ("pending", of(&self.pending)),
            ("refused", of(&self.refused)),
            ("malformed", of(&self.malformed)),
            ("failed", of(&self.failed)),
            ("repeated", of(&self.repeated)),
        ]
    }
}
