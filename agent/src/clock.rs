//! The agent's time, and the only place of the agent that reads a clock. What a time means is decided elsewhere.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// No agent of this code can have lived before this instant: 2026-01-01T00:00:00Z.
pub const BUILD: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Wall clocks that differ by no more are taken for right.
pub const TOLERATED: SignedDuration = SignedDuration::from_mins(5);

/// The believed time at one moment, and what the host's clocks read then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The greatest time that the controller has signed, carried on from then.
    pub time: Timestamp,
    /// Which start of the host it was: the time is carried on only within it.
    pub boot: String,
    /// How long the host was up, suspend included.
    pub uptime: Duration,
    /// How far the wall clock was ahead when the controller last signed, in whole seconds. Negative: behind.
    pub ahead: SignedDuration,
}

/// What the host's clocks read at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading<'a> {
    wall: Timestamp,
    boot: &'a str,
    uptime: Duration,
}

impl Mark {
    /// The controller has signed `time` just now, and nothing is known from before.
    #[must_use]
    pub fn first(time: Timestamp) -> Self {
        Self::at(time, Reading::of(&boot()))
    }

    fn at(time: Timestamp, reading: Reading<'_>) -> Self {
        Self {
            time,
            boot: reading.boot.to_owned(),
            uptime: reading.uptime,
            ahead: SignedDuration::from_secs(reading.wall.as_second() - time.as_second()),
        }
    }

    /// The believed time, by the boot clock; `None` if the host was started since, so that nobody knows how long that took.
    fn carried(&self, reading: Reading<'_>) -> Option<Timestamp> {
        let same = self.boot == reading.boot;
        let since = reading.uptime.checked_sub(self.uptime).filter(|_| same)?;
        let since = SignedDuration::try_from(since).ok()?;
        self.time.checked_add(since).ok()
    }

    /// While a session lasts the wall clock has no say. Else it counts if it is later, less what it was ahead when the controller last signed.
    fn now(&self, reading: Reading<'_>, in_session: bool) -> Timestamp {
        let carried = self.carried(reading);
        let wall = match carried {
            Some(carried) if in_session => carried,
            Some(_) => {
                let ahead = self.ahead.max(SignedDuration::ZERO);
                reading.wall.checked_sub(ahead).unwrap_or(BUILD)
            }
            None => reading.wall,
        };
        wall.max(carried.unwrap_or(self.time)).max(BUILD)
    }

    /// After the controller has signed `time`. The believed time never goes back but under a new root.
    fn signed(&self, time: Timestamp, new_root: bool, reading: Reading<'_>) -> Self {
        let at_least = self.carried(reading).unwrap_or(self.time);
        let believed = if new_root { time } else { time.max(at_least) };
        Self {
            time: believed,
            ..Self::at(time, reading)
        }
    }

    /// The same, later.
    fn later(&self, reading: Reading<'_>) -> Self {
        match self.carried(reading) {
            Some(time) => Self {
                time,
                uptime: reading.uptime,
                ..self.clone()
            },
            None => self.clone(),
        }
    }
}

impl<'a> Reading<'a> {
    fn of(boot: &'a str) -> Self {
        Self {
            wall: wall(),
            boot,
            uptime: uptime(),
        }
    }
}

/// The one clock of a process: whoever asks for the time asks it. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    boot: String,
    mark: Mutex<Mark>,
    sessions: AtomicUsize,
}

impl Clock {
    /// Goes on from what was stored.
    #[must_use]
    pub fn resume(mark: Mark) -> Self {
        Self(Arc::new(Inner {
            boot: boot(),
            mark: Mutex::new(mark),
            sessions: AtomicUsize::new(0),
        }))
    }

    /// Now: never before [`BUILD`], nor before any time that the controller has signed, carried on by a clock that counts suspend too.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let in_session = self.0.sessions.load(Ordering::Relaxed) > 0;
        self.lock().now(self.reading(), in_session)
    }

    /// Whether it is known how much time has passed since the controller last signed. Not after a start of the host, until it signs again.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.lock().carried(self.reading()).is_some()
    }

    /// How far the wall clock is ahead of the believed time; negative: behind. `None` if that is not measured.
    #[must_use]
    pub fn ahead(&self) -> Option<SignedDuration> {
        let reading = self.reading();
        let believed = self.lock().carried(reading)?;
        Some(reading.wall.duration_since(believed))
    }

    /// What this clock would say after the controller has signed `time`, under a new root or not.
    #[must_use]
    pub fn after(&self, time: Timestamp, new_root: bool) -> Mark {
        self.lock().signed(time, new_root, self.reading())
    }

    /// Goes on from here.
    pub fn set(&self, mark: Mark) {
        *self.lock() = mark;
    }

    /// What is to be stored.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.lock().later(self.reading())
    }

    /// A session has been proved: until this is dropped the controller's time alone counts.
    #[must_use]
    pub fn in_session(&self) -> InSession {
        self.0.sessions.fetch_add(1, Ordering::Relaxed);
        InSession(self.clone())
    }

    fn reading(&self) -> Reading<'_> {
        Reading::of(&self.0.boot)
    }

    fn lock(&self) -> MutexGuard<'_, Mark> {
        self.0.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a [`Clock`] to the controller's time.
#[derive(Debug)]
pub struct InSession(Clock);

impl Drop for InSession {
    fn drop(&mut self) {
        self.0.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The controller's own time in one session, which may differ from the believed one: for what it says of times.
#[derive(Clone, Copy, Debug)]
pub struct ControllerClock {
    signed: Timestamp,
    at: Duration,
}

impl ControllerClock {
    /// The controller says that it is `signed` now.
    #[must_use]
    pub fn set(signed: Timestamp) -> Self {
        Self {
            signed,
            at: uptime(),
        }
    }

    /// What the controller's clock reads now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        SignedDuration::try_from(self.age())
            .ok()
            .and_then(|age| self.signed.checked_add(age).ok())
            .unwrap_or(self.signed)
    }

    /// How long ago it was set.
    #[must_use]
    pub fn age(&self) -> Duration {
        uptime().saturating_sub(self.at)
    }

    /// How long until the controller's clock reads `time`. Zero if it has passed.
    #[must_use]
    pub fn until(&self, time: Timestamp) -> Duration {
        remaining(self.signed, self.age(), time)
    }
}

/// From `age` after `signed` to `time`. Zero if it has passed.
fn remaining(signed: Timestamp, age: Duration, time: Timestamp) -> Duration {
    let Ok(age) = SignedDuration::try_from(age) else {
        return Duration::ZERO;
    };
    let ahead = time.duration_since(signed).saturating_sub(age);
    // Negative: it has passed.
    Duration::try_from(ahead).unwrap_or(Duration::ZERO)
}

/// What the host's wall clock reads: not believed by anybody.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this shell reads the clock"
)]
pub fn wall() -> Timestamp {
    // A clock that is set beyond what a timestamp can hold says as little as one that was never set.
    let wall = Timestamp::try_from(SystemTime::now()).unwrap_or(BUILD);
    #[cfg(debug_assertions)]
    let wall = shifted(wall);
    wall
}

/// Tests set a process's wall clock by a file that holds seconds.
#[cfg(debug_assertions)]
fn shifted(wall: Timestamp) -> Timestamp {
    std::env::var_os("CONVOY_CLOCK_FILE")
        .and_then(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse().ok())
        .and_then(|seconds| wall.checked_add(SignedDuration::from_secs(seconds)).ok())
        .unwrap_or(wall)
}

/// Since the host was started, suspend included.
fn uptime() -> Duration {
    // It is never negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or(Duration::ZERO)
}

/// The kernel's boot id. Where there is none, another one per process: nothing is carried on from one to the next.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().chars().take(64).collect())
        .ok()
        .filter(|boot: &String| !boot.is_empty())
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::constant(1_900_000_000, 0);
    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    const YEARS: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

    /// The host's clocks `hours` after it was started, with the wall clock at `wall`.
    fn reading(wall: Timestamp, hours: u64) -> Reading<'static> {
        Reading {
            wall,
            boot: "one",
            uptime: Duration::from_secs(hours * 3600),
        }
    }

    #[test]
    fn a_host_that_forgot_the_date_lives_by_what_was_signed_and_its_time_goes_on() {
        let mark = Mark::at(NOON, reading(Timestamp::UNIX_EPOCH, 1));
        for hours in 0..100 {
            let then = reading(Timestamp::UNIX_EPOCH, 1 + hours);
            let expected = NOON + HOUR * i32::try_from(hours).expect("small");
            assert_eq!(mark.now(then, false), expected);
            assert_eq!(mark.now(then, true), expected);
        }
    }

    #[test]
    fn nothing_is_before_the_build() {
        let mark = Mark::at(Timestamp::UNIX_EPOCH, reading(Timestamp::UNIX_EPOCH, 1));
        assert_eq!(mark.now(reading(Timestamp::UNIX_EPOCH, 1), false), BUILD);
    }

    #[test]
    fn a_wall_clock_that_was_ahead_all_the_time_says_nothing_and_one_that_leaps_does() {
        let mark = Mark::at(NOON, reading(NOON + YEARS, 1));
        assert_eq!(
            mark.now(reading(NOON + YEARS + HOUR, 2), false),
            NOON + HOUR
        );
        // The host was paused by whoever runs it, and its boot clock has not noticed.
        let leapt = reading(NOON + YEARS + HOUR * 9, 2);
        assert_eq!(mark.now(leapt, false), NOON + HOUR * 9);
        // In a session the controller's time alone counts.
        assert_eq!(mark.now(leapt, true), NOON + HOUR);
        // It was set right.
        assert_eq!(mark.now(reading(NOON + HOUR, 2), false), NOON + HOUR);
    }

    #[test]
    fn the_believed_time_goes_back_under_a_new_root_only() {
        let poisoned = Mark::at(NOON + YEARS, reading(NOON, 1));
        let later = reading(NOON + HOUR, 2);
        let signed = poisoned.signed(NOON + HOUR, false, later);
        assert_eq!(signed.time, NOON + YEARS + HOUR);
        assert_eq!(signed.now(later, false), NOON + YEARS + HOUR);
        let renewed = poisoned.signed(NOON + HOUR, true, later);
        assert_eq!(renewed.now(later, false), NOON + HOUR);
        assert_eq!(renewed.now(later, true), NOON + HOUR);
    }

    #[test]
    fn after_a_start_of_the_host_a_bound_is_left_and_no_measure() {
        let mark = Mark::at(NOON, reading(NOON, 100));
        let rebooted = Reading {
            boot: "two",
            ..reading(NOON - HOUR, 1)
        };
        // A snapshot of the same start, put back.
        let earlier = reading(NOON - HOUR, 99);
        for then in [rebooted, earlier] {
            assert_eq!(mark.carried(then), None);
            assert_eq!(mark.now(then, false), NOON);
            assert_eq!(mark.later(then), mark);
            let signed = mark.signed(NOON + HOUR, false, then);
            assert_eq!(signed.carried(then), Some(NOON + HOUR));
            assert_eq!(mark.signed(NOON - HOUR, false, then).time, NOON);
        }
    }

    #[test]
    fn what_is_stored_now_and_then_is_the_carried_time_and_never_the_walls() {
        let mark = Mark::at(NOON, reading(NOON, 1));
        let stored = mark.later(reading(NOON + YEARS, 3));
        assert_eq!(stored.time, NOON + HOUR * 2);
        assert_eq!(
            stored.now(reading(NOON + HOUR * 3, 4), false),
            NOON + HOUR * 3
        );
    }

    #[test]
    fn one_clock_is_held_to_the_controllers_time_while_a_session_lasts() {
        let clock = Clock::resume(Mark {
            ahead: SignedDuration::ZERO,
            ..Mark::first(BUILD)
        });
        // The wall clock of whoever runs this is years after the build.
        let (session, carried) = (clock.in_session(), BUILD + HOUR);
        assert!(clock.clone().now() < carried);
        drop(session);
        assert!(clock.now() > carried);
        assert!(clock.is_measured());
    }

    #[test]
    fn the_controllers_clock_runs_on() {
        let later = NOON + SignedDuration::from_secs(30);
        let age = Duration::from_secs(10);
        assert_eq!(remaining(NOON, age, later), Duration::from_secs(20));
        assert_eq!(remaining(NOON, age, NOON), Duration::ZERO);
        assert_eq!(remaining(NOON, Duration::MAX, later), Duration::ZERO);
    }
}
