//! The controller's clock: the only place that reads it. Everything that signs, appends or judges by the time asks here, and gets the believed one.

mod believed;

use std::{
    fs,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use convoy_fleet::clock::BootMark;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use believed::Believed;
pub use believed::{Doubt, Reading};

/// A process has one clock.
static BELIEVED: Mutex<Believed> = Mutex::new(Believed::unknown());

/// The believed time.
#[must_use]
pub fn now() -> Timestamp {
    read().time
}

/// A time that may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedTime {
    /// The believed one.
    pub time: Timestamp,
    /// The wall clock is doubted: no lease is renewed.
    pub doubted: bool,
}

/// The believed time, as it is signed.
#[must_use]
pub fn signed() -> SignedTime {
    let reading = read();
    SignedTime {
        time: reading.time,
        doubted: reading.doubt.is_some(),
    }
}

/// Compares the clocks.
#[must_use]
pub fn read() -> Reading {
    let (wall, boot) = both();
    lock().look(wall, boot)
}

/// What the wall clock says, believed or not.
#[must_use]
pub fn wall() -> Timestamp {
    both().0
}

/// Begins with what a journal knows: the greatest time in it, and when the host's boot was how old.
pub fn begin(newest: Timestamp, mark: Option<(Timestamp, &BootMark)>) {
    let boot = boot();
    let measured = mark.and_then(|(time, mark)| {
        let since = signed_length(boot).checked_sub(mark.age)?;
        let same = boot_id().is_some_and(|id| id == mark.boot) && !since.is_negative();
        same.then(|| time.checked_add(since).ok()).flatten()
    });
    lock().begin(newest, measured, boot);
}

/// It is this time: an operator has said so.
pub fn believe(time: Timestamp) {
    lock().believe(time, boot());
}

/// This boot of the host, and its age. `None` where the host does not tell.
#[must_use]
pub fn boot_mark() -> Option<BootMark> {
    Some(BootMark {
        boot: boot_id()?,
        age: signed_length(boot()),
    })
}

fn boot_id() -> Option<String> {
    static ID: LazyLock<Option<String>> = LazyLock::new(|| {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_owned()).filter(|id| !id.is_empty())
    });
    ID.clone()
}

fn lock() -> MutexGuard<'static, Believed> {
    BELIEVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall and boot clock at one moment: a process that is stopped between the two reads reads again.
fn both() -> (Timestamp, Duration) {
    let mut before = boot();
    loop {
        let wall = system();
        let after = boot();
        if after.saturating_sub(before) < Duration::from_millis(100) {
            return (wall, after);
        }
        before = after;
    }
}

fn boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // A host is not older than it can say, nor younger than nothing.
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}

fn signed_length(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn system() -> Timestamp {
    shifted(Timestamp::now())
}

/// Moved by the seconds in the file that the environment's `CONVOY_CLOCK_FILE` names, for tests. The file may change while the process runs.
#[cfg(debug_assertions)]
fn shifted(now: Timestamp) -> Timestamp {
    use std::{env, ffi::OsString};

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
