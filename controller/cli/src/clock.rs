//! The only place of this program that reads the clock. What depends on the time is told it.

use jiff::Timestamp;

/// The time now.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the module that reads the clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
