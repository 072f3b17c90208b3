//! What has expired, and what is about to: certificates, documents and identities. Who is told, and how often, is decided elsewhere.

use jiff::Timestamp;

/// Where something stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// Nothing to say.
    Fresh,
    /// Less than a third of its life is left.
    Soon,
    /// It is over.
    Expired,
}

/// Where something stands that is valid in this time.
#[must_use]
pub fn expiry(from: Timestamp, until: Timestamp, now: Timestamp) -> Expiry {
    let third = until.duration_since(from) / 3;
    if until <= now {
        Expiry::Expired
    } else if until.duration_since(now) < third {
        Expiry::Soon
    } else {
        Expiry::Fresh
    }
}
