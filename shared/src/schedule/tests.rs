//! Devices that are on, late, switched off for months, and mistaken about the time.

use super::*;
use crate::settings::{Capacity, ScepServer};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A device with its timer on: what it was told, and what it knows.
struct Device {
    settings: ScepSettings,
    slot: Option<SignedDuration>,
    adjustment: SignedDuration,
    enabled_at: Timestamp,
    last: Option<Done>,
    not_after: Option<Timestamp>,
}

fn midnight() -> Timestamp {
    "2027-01-31T00:00:00Z".parse().expect("a time")
}

fn device(periodic: Periodic) -> Device {
    Device {
        settings: ScepSettings {
            server: ScepServer::BuiltIn,
            timer: true,
            periodic,
            ..ScepSettings::default()
        },
        slot: None,
        adjustment: SignedDuration::from_secs(77),
        enabled_at: midnight(),
        last: None,
        not_after: None,
    }
}

fn monthly() -> Device {
    device(Periodic::Every(DAY * 30))
}

impl Device {
    fn at(mut self, start: Timestamp) -> Self {
        self.settings.request_start = RequestStart::At(start);
        self
    }

    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        next(
            &self.settings,
            self.slot,
            self.adjustment,
            self.enabled_at,
            self.last,
            self.not_after,
            now,
        )
    }

    fn ends(&mut self, due: Timestamp, succeeded: bool) {
        self.last = Some(Done { due, succeeded });
    }
}

#[test]
fn nothing_is_due_while_the_timer_is_off() {
    let mut device = monthly().at(midnight() + HOUR);
    device.settings.timer = false;
    for last in [None, Some(midnight() + HOUR)] {
        device.last = last.map(|due| Done {
            due,
            succeeded: true,
        });
        assert_eq!(device.next(midnight() + DAY * 90), None);
    }
}

#[test]
fn the_first_request_is_due_at_the_start_and_each_device_has_its_own_time_after_it() {
    let now = midnight();
    let start = now + HOUR * 2;
    let mut device = device(Periodic::Off);
    assert_eq!(device.next(now), Some(now), "at once");
    assert_eq!(device.next(now + DAY), Some(now), "and it stays due");
    device = device.at(start);
    assert_eq!(device.next(now), Some(start));

    // By chance, from 1 to 600 seconds, whatever the agent says.
    device.settings.auto_adjust = true;
    for (adjustment, moved) in [(77, 77), (0, 1), (-5, 1), (600, 600), (9999, 600)] {
        device.adjustment = SignedDuration::from_secs(adjustment);
        let due = start + SignedDuration::from_secs(moved);
        assert_eq!(device.next(now), Some(due), "{adjustment}");
    }

    // By a slot, and not by chance as well.
    device.settings.capacity = Capacity::PerThousandSeconds(1000);
    device.slot = Some(MINUTE * 90);
    assert_eq!(device.next(now), Some(start + MINUTE * 90));
    device.slot = Some(-MINUTE);
    assert_eq!(device.next(now), Some(start), "never before the start");
}

#[test]
fn a_device_that_hears_of_the_start_late_keeps_its_time_if_it_can_and_its_distance_if_not() {
    let start = midnight() - HOUR;
    let mut device = device(Periodic::Off).at(start);
    device.slot = Some(HOUR * 3);
    let own = start + HOUR * 3;
    assert_eq!(device.next(midnight()), Some(own), "still to come");
    device.slot = Some(MINUTE * 10);
    assert_eq!(
        device.next(midnight()),
        Some(midnight() + MINUTE * 10),
        "a start of the past does not bring a whole fleet at once"
    );
    device.slot = None;
    assert_eq!(device.next(midnight()), Some(midnight()));
}

#[test]
fn a_timer_that_is_not_periodic_asks_once() {
    for succeeded in [true, false] {
        let mut device = device(Periodic::Off);
        device.ends(midnight(), succeeded);
        for later in [MINUTE, DAY * 400] {
            assert_eq!(device.next(midnight() + later), None);
        }
        // Off and on again, or with another start: this device sees it anew.
        device.enabled_at = midnight() + DAY;
        let again = device.next(midnight() + DAY);
        assert_eq!(again, Some(midnight() + DAY));
        device = device.at(midnight() + DAY * 2);
        assert_eq!(
            device.next(midnight() + DAY),
            Some(midnight() + DAY * 2),
            "succeeded: {succeeded}"
        );
    }
}

#[test]
fn another_adjustment_after_a_restart_is_no_reason_to_ask_again() {
    let mut device = device(Periodic::Off);
    device.settings.auto_adjust = true;
    let due = device.next(midnight()).expect("due");
    device.ends(due, true);
    device.adjustment = SignedDuration::from_secs(600);
    assert_eq!(device.next(due), None);
}

#[test]
fn periodic_requests_stay_on_the_grid_however_long_each_takes_and_however_it_ends() {
    let mut device = monthly().at(midnight() + HOUR);
    device.slot = Some(MINUTE);
    let first = midnight() + HOUR + MINUTE;
    assert_eq!(device.next(midnight()), Some(first));
    let mut due = first;
    for round in 1..40 {
        let succeeded = round % 3 == 0;
        device.ends(due, succeeded);
        // It has polled for two days.
        due = device.next(due + DAY * 2).expect("the next one");
        assert_eq!(due, first + DAY * 30 * round);
    }
}

#[test]
fn what_was_missed_while_switched_off_is_not_made_up_for() {
    let mut device = monthly();
    device.ends(midnight(), true);
    // A little late: that one is due at once.
    let due = midnight() + DAY * 30;
    assert_eq!(device.next(due + HOUR), Some(due));
    // Off for a year: one request at once, and then the grid again.
    let back = midnight() + DAY * 365;
    let missed = device.next(back).expect("due");
    assert_eq!(missed, midnight() + DAY * 360);
    device.ends(missed, true);
    assert_eq!(device.next(back), Some(midnight() + DAY * 390));
    // The same before its first one.
    device.last = None;
    assert_eq!(device.next(back), Some(midnight() + DAY * 360));
    assert_eq!(device.next(midnight() - HOUR), Some(midnight()));
}

#[test]
fn a_certificate_that_ends_before_the_next_request_is_renewed_in_time() {
    let mut device = monthly();
    device.ends(midnight(), true);
    device.not_after = Some(midnight() + DAY * 60);
    assert_eq!(device.next(midnight()), Some(midnight() + DAY * 30));
    device.not_after = Some(midnight() + DAY * 12);
    let renewal = midnight() + DAY * 8;
    assert_eq!(device.next(midnight()), Some(renewal));
    // Then the grid holds again: the next one is nearer than that certificate's end.
    device.ends(renewal, true);
    device.not_after = Some(renewal + DAY * 33);
    assert_eq!(device.next(renewal), Some(midnight() + DAY * 30));
}

#[test]
fn a_renewal_that_failed_is_tried_again_while_the_certificate_in_use_lasts() {
    let mut device = monthly();
    let end = midnight() + DAY * 12;
    device.not_after = Some(end);
    let due = midnight() + DAY * 8;
    device.ends(due, false);
    assert_eq!(device.next(due), Some(due + HOUR * 64), "2/3 of four days");
    // Nearer and nearer to its end, but never without a pause, and before the grid point.
    let poll_interval = device.settings.poll_interval.0;
    let (mut last, mut before, mut tries) = (due, 0, 0);
    loop {
        let next = device.next(last).expect("due");
        if next == midnight() + DAY * 30 {
            break;
        }
        assert!(next.duration_since(last) >= poll_interval);
        before += usize::from(next < end);
        tries += 1;
        device.ends(next, false);
        last = next;
    }
    assert!((6..12).contains(&before), "{before}");
    assert!(
        tries < 30,
        "an expired certificate is asked for {tries} times"
    );
    // Those that were missed while the device was off are made up for by one.
    device.ends(due, false);
    let back = end - HOUR;
    let missed = device.next(back).expect("due");
    assert!(due + HOUR * 64 <= missed && missed <= back, "{missed}");
    device.ends(missed, false);
    assert!(device.next(back).is_some_and(|next| next > back));
    // One that lasts until after the grid point waits for that.
    device.ends(due, false);
    device.not_after = Some(midnight() + DAY * 31);
    assert_eq!(device.next(due), Some(midnight() + DAY * 30));
}

#[test]
fn no_certificate_makes_a_device_ask_without_end() {
    let mut device = monthly();
    device.ends(midnight(), true);
    for end in [-DAY, SignedDuration::ZERO] {
        device.not_after = Some(midnight() + end);
        assert_eq!(device.next(midnight()), Some(midnight() + DAY * 30));
    }
    device.not_after = Some(midnight() + SignedDuration::from_secs(1));
    assert_eq!(device.next(midnight()), Some(midnight() + MINUTE));
    // Nor does an interval that cannot be.
    for interval in [SignedDuration::ZERO, -DAY, SignedDuration::MIN] {
        let mut device = self::device(Periodic::Every(interval));
        device.ends(midnight(), true);
        assert_eq!(device.next(midnight()), Some(midnight() + MINUTE));
    }
}

#[test]
fn a_clock_that_was_ahead_for_a_while_does_not_stop_the_timer() {
    let mut device = monthly();
    device.ends(midnight() + DAY * 30 * 1000, false);
    assert_eq!(
        device.next(midnight() + HOUR),
        Some(midnight() + DAY * 30),
        "counted from now, not from the year 2109"
    );
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let mut device = monthly().at(Timestamp::MAX);
    device.slot = Some(HOUR);
    assert_eq!(device.next(midnight()), None);
    for start in [Timestamp::MIN, Timestamp::MAX] {
        let mut device = device_at(start);
        device.enabled_at = start;
        for now in [Timestamp::MIN, midnight(), Timestamp::MAX] {
            device.ends(start, true);
            let next = device.next(now);
            assert!(next.is_none_or(|next| next >= start), "{start} {now}");
        }
    }
}

fn device_at(start: Timestamp) -> Device {
    device(Periodic::Every(DAY * 3660)).at(start)
}
