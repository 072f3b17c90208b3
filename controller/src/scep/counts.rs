//! How many messages ended how, for metrics. Nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a new certificate.
    Issued,
    /// The request waits.
    Pending,
    /// With a failInfo.
    Refused,
    /// Nothing that can be answered.
    Malformed,
    /// Something failed here.
    Failed,
    /// A certificate or list was handed out again.
    Repeated,
}

impl Ending {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Issued, "issued"),
        (Self::Pending, "pending"),
        (Self::Refused, "refused"),
        (Self::Malformed, "malformed"),
        (Self::Failed, "failed"),
        (Self::Repeated, "repeated"),
    ];
}

/// How messages ended, since this process began: one number per [`Ending`], in the order of its list.
#[derive(Default)]
pub struct Counts([AtomicU64; Ending::ALL.len()]);

impl Counts {
    /// Counts one more.
    pub(super) fn add(&self, ending: Ending) {
        for ((known, _), count) in Ending::ALL.iter().zip(&self.0) {
            if *known == ending {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Each with its name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Ending::ALL
            .iter()
            .zip(&self.0)
            .map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }
}
