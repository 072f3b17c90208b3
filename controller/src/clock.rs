//! The controller's clock: the only place that reads it.

use jiff::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    wall()
}

/// What the wall clock says.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn wall() -> Timestamp {
    shifted(Timestamp::now())
}

/// Moved by the seconds in the file that the environment's `CONVOY_CLOCK_FILE` names, for tests. The file may change while the process runs.
#[cfg(debug_assertions)]
fn shifted(now: Timestamp) -> Timestamp {
    use std::{env, ffi::OsString, fs, sync::LazyLock};

    use jiff::SignedDuration;

    static FILE: LazyLock<Option<OsString>> = LazyLock::new(|| env::var_os("CONVOY_CLOCK_FILE"));
    FILE.as_ref()
        .and_then(|file| fs::read_to_string(file).ok())
        .and_then(|text| text.trim().parse().ok())
        .and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok())
        .unwrap_or(now)
}

/// The same.
#[cfg(not(debug_assertions))]
const fn shifted(now: Timestamp) -> Timestamp {
    now
}
