//! When a device's auto-request timer is due: the arithmetic of C3.1, C3.2 and C3.4 of the printers' manual, for agents and the controller alike. Polling
//! (C3.3) happens within a request and is not here.

#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

use crate::settings::{Periodic, RequestStart, ScepSettings};

/// The last request of the timer that has ended. One that is still polled for (C3.3) has not, nor has one that was given up because its settings hold no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// When it was due, as [`next`] said; not when it was sent.
    pub due: Timestamp,
    /// It brought a certificate.
    pub succeeded: bool,
}

/// Periodic requests are never closer than this, whatever settings or certificates say.
const CLOSEST: SignedDuration = SignedDuration::from_mins(1);

/// When the next request of the timer is due; at once, if that is not after `now`. `None`: never, as things are.
///
/// - The timer (C3.1): off, nothing is due. On, the first request is due at `request_start`; `at-once` is `enabled_at`.
/// - A device's own time: `slot` after that, if a capacity is given; else, with auto adjust (C3.2), `adjustment` after it, 1 to 600 s; else exactly then.
/// - A device that first sees the timer on when its own time is over (it was switched off, or has just joined) takes `enabled_at` for the start. So those
///   that come late do not come at once either.
/// - Not periodic (C3.4): after a request that has ended, however it did, nothing more is due until the timer is turned off and on, or the start changes:
///   then `enabled_at` is another.
/// - Periodic (C3.4): due times lie on the grid of the first one and the interval. After a request that has ended, also in failure, the next grid point is due.
///   Those missed while the device was switched off are not made up for: the last of them is due at once, once.
/// - Where the certificate in use ends (`not_after`) before the next grid point, it is renewed after two thirds of the time until then, once more off the grid.
///   If that fails, it is tried again after two thirds of what is left then, and so on, but never sooner than `poll_interval`. Once it has expired, each
///   try waits for as long as it has been expired, so that a server that refuses is not asked without end; until the grid point in any case.
///
/// `adjustment`: the device's own, random once. `enabled_at`: when this device first saw the timer on with these settings; it must not change while they hold.
/// A `last` that was due before it belongs to an earlier time of the timer, and does not count.
#[must_use]
pub fn next(
    settings: &ScepSettings,
    slot: Option<SignedDuration>,
    adjustment: SignedDuration,
    enabled_at: Timestamp,
    last: Option<Done>,
    not_after: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    if !settings.timer {
        return None;
    }
    let first = first(settings, slot, adjustment, enabled_at)?;
    let last = last.filter(|last| last.due >= enabled_at);
    let Periodic::Every(interval) = settings.periodic else {
        return last.is_none().then_some(first);
    };
    let interval = interval.max(CLOSEST);
    let Some(last) = last else {
        // The first one, or the last of those that were missed.
        return Some(at_or_before(first, interval, now).unwrap_or(first));
    };
    // A clock that was ahead once and was set right must not stop the timer for as long.
    let due = last.due.min(now);
    let missed = at_or_before(first, interval, now).filter(|missed| *missed > due);
    if missed.is_some() {
        return missed;
    }
    let next = after(first, interval, due)?;
    let last = Done { due, ..last };
    let renewal = not_after
        .filter(|end| *end < next)
        .and_then(|end| renewal(last, end, settings.poll_interval.0, now));
    Some(renewal.map_or(next, |renewal| renewal.min(next)))
}

/// When a certificate that ends before the next grid point is renewed, after a request for it that has ended. Of several such times that have passed, the last.
fn renewal(
    last: Done,
    end: Timestamp,
    poll_interval: SignedDuration,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut wait = if last.succeeded {
        let left = end.duration_since(last.due);
        // One that is of no use already is not asked for again.
        left.is_positive().then(|| two_thirds(left))?.max(CLOSEST)
    } else {
        until_again(last.due, end, poll_interval)
    };
    let mut next = last.due.checked_add(wait).ok()?;
    loop {
        wait = until_again(next, end, poll_interval);
        match next.checked_add(wait) {
            Ok(after) if after <= now => next = after,
            Ok(_) | Err(_) => return Some(next),
        }
    }
}

/// How long after a failure at `due` it is tried again to renew a certificate.
fn until_again(due: Timestamp, end: Timestamp, poll_interval: SignedDuration) -> SignedDuration {
    let left = end.duration_since(due);
    let wait = if left.is_positive() {
        two_thirds(left)
    } else {
        due.duration_since(end)
    };
    wait.max(poll_interval).max(CLOSEST)
}

fn two_thirds(length: SignedDuration) -> SignedDuration {
    length / 3 * 2
}

/// When the first request is due.
fn first(
    settings: &ScepSettings,
    slot: Option<SignedDuration>,
    adjustment: SignedDuration,
    enabled_at: Timestamp,
) -> Option<Timestamp> {
    let offset = match slot {
        Some(slot) => slot.max(SignedDuration::ZERO),
        None if settings.auto_adjust => adjustment.clamp(LEAST_ADJUSTMENT, MOST_ADJUSTMENT),
        None => SignedDuration::ZERO,
    };
    let start = match settings.request_start {
        RequestStart::AtOnce => enabled_at,
        RequestStart::At(start) => start,
    };
    start
        .checked_add(offset)
        .ok()
        .filter(|first| *first >= enabled_at)
        .or_else(|| enabled_at.max(start).checked_add(offset).ok())
}

/// The least that auto adjust moves a request by (C3.2).
pub const LEAST_ADJUSTMENT: SignedDuration = SignedDuration::from_secs(1);
/// The most that auto adjust moves a request by (C3.2).
pub const MOST_ADJUSTMENT: SignedDuration = SignedDuration::from_secs(600);

/// The last point of the grid that is not after `time`. `None`: all are.
fn at_or_before(first: Timestamp, interval: SignedDuration, time: Timestamp) -> Option<Timestamp> {
    point(first, interval, intervals(first, interval, time)?)
}

/// The first point of the grid that is after `time`.
fn after(first: Timestamp, interval: SignedDuration, time: Timestamp) -> Option<Timestamp> {
    match intervals(first, interval, time) {
        None => Some(first),
        Some(whole) => point(first, interval, whole.checked_add(1)?),
    }
}

/// How many whole intervals lie between the first point and `time`. `None`: it is before.
fn intervals(first: Timestamp, interval: SignedDuration, time: Timestamp) -> Option<i32> {
    let since = time.duration_since(first).as_nanos();
    let whole = since.checked_div(interval.as_nanos())?;
    (since >= 0).then_some(whole)?.try_into().ok()
}

fn point(first: Timestamp, interval: SignedDuration, whole: i32) -> Option<Timestamp> {
    first.checked_add(interval.checked_mul(whole)?).ok()
}
