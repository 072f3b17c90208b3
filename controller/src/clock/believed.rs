//! Which time is believed: the wall clock, unless it parts from the boot clock. Pure: both clocks come from outside.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};

/// The wall clock is followed when it is at most so far from the carried time.
const FOLLOWED: SignedDuration = SignedDuration::from_mins(5);
/// After a start, when nobody measured how long the controller was down, it may be so far beyond the journal.
const DOWN: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Nobody looked at the clock for longer than this, or it stepped by more: the process stood still, or whatever ended in between may not have had its time.
const BREAK: SignedDuration = SignedDuration::from_secs(2);

/// The believed time, carried on by the boot clock (`CLOCK_BOOTTIME`: it goes on in suspend, and nobody sets it).
#[derive(Debug)]
pub(super) struct Believed {
    anchor: Option<Anchor>,
    /// When somebody looked last, by the boot clock.
    looked: Duration,
    doubt: Option<Doubt>,
    breaks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    time: Timestamp,
    boot: Duration,
    /// The boot clock has run since `time`. Else `time` is only a lower bound.
    measured: bool,
}

/// The clock as it is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The time to go by.
    pub time: Timestamp,
    /// Why the wall clock is not believed, if it is not.
    pub doubt: Option<Doubt>,
    /// Grows whenever time may have passed in which the process did nothing, and whenever the clock stepped.
    pub breaks: u64,
}

/// How the wall clock came not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// What it said,
    pub wall: Timestamp,
    /// and what was believed at that moment.
    pub believed: Timestamp,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wall, believed } = self;
        write!(
            f,
            "the wall clock said {wall:.0} when it was {believed:.0} by the journal and the boot clock. The controller goes on from the latter, opens no gate, and renews no \
             lease of \"off\", until the wall clock is right within 5 minutes. Set this host's clock. If the wall clock is right, say so: `convoy clock confirm TIME`"
        )
    }
}

impl Believed {
    /// Nothing is known yet: the first look is believed.
    pub(super) const fn unknown() -> Self {
        Self {
            anchor: None,
            looked: Duration::ZERO,
            doubt: None,
            breaks: 0,
        }
    }

    /// A process has begun at `boot`. `newest`: the greatest time in its journal. `measured`: what the boot clock says it is, if this is the same boot of the
    /// host as when the journal was written.
    pub(super) fn begin(&mut self, newest: Timestamp, measured: Option<Timestamp>, boot: Duration) {
        self.anchor = Some(Anchor {
            time: measured.map_or(newest, |measured| measured.max(newest)),
            boot,
            measured: measured.is_some(),
        });
        self.looked = boot;
        self.doubt = None;
    }

    /// Both clocks, read at one moment.
    pub(super) fn look(&mut self, wall: Timestamp, boot: Duration) -> Reading {
        if signed(boot.saturating_sub(self.looked)) > BREAK {
            self.breaks += 1;
        }
        self.looked = self.looked.max(boot);
        let carried = self.carried(wall, boot);
        let ahead = wall.duration_since(carried);
        let measured = self.anchor.is_none_or(|anchor| anchor.measured);
        let may_have_been_down = !measured && ahead.is_positive() && ahead <= DOWN;
        if ahead.abs() <= FOLLOWED || may_have_been_down {
            if ahead.abs() > BREAK || self.doubt.is_some() {
                self.breaks += 1;
            }
            self.believe(wall, boot);
        } else {
            let doubt = Doubt {
                wall,
                believed: carried,
            };
            // Said in words that stay while the wall clock stays as wrong as it was.
            let as_wrong = self.doubt.is_some_and(|doubt| {
                let was_ahead = doubt.wall.duration_since(doubt.believed);
                ahead.saturating_sub(was_ahead).abs() <= FOLLOWED
            });
            if !as_wrong {
                self.breaks += 1;
                self.doubt = Some(doubt);
            }
        }
        Reading {
            time: self.carried(wall, boot),
            doubt: self.doubt,
            breaks: self.breaks,
        }
    }

    /// It is this time, says somebody who may say so.
    pub(super) fn believe(&mut self, time: Timestamp, boot: Duration) {
        self.anchor = Some(Anchor {
            time,
            boot,
            measured: true,
        });
        self.doubt = None;
    }

    fn carried(&self, wall: Timestamp, boot: Duration) -> Timestamp {
        let Some(anchor) = self.anchor else {
            return wall;
        };
        // Two that look at once may come in the other order than they read the clocks.
        let since = signed(boot).saturating_sub(signed(anchor.boot));
        anchor.time.checked_add(since).unwrap_or(anchor.time)
    }
}

fn signed(length: Duration) -> SignedDuration {
    SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::constant(1_800_000_000, 0);
    const YEARS: SignedDuration = SignedDuration::from_hours(20 * 365 * 24);

    const fn seconds(count: i64) -> SignedDuration {
        SignedDuration::from_secs(count)
    }

    /// A clock that was looked at when the host was 100 s old, at noon, and how to look so many seconds later while the wall clock is so far ahead.
    fn at_noon() -> (
        Believed,
        impl Fn(&mut Believed, u64, SignedDuration) -> Reading,
    ) {
        let mut believed = Believed::unknown();
        believed.look(NOON, Duration::from_secs(100));
        let look = |believed: &mut Believed, after: u64, ahead: SignedDuration| {
            let passed = Duration::from_secs(after);
            let wall = NOON + signed(passed) + ahead;
            believed.look(wall, Duration::from_secs(100) + passed)
        };
        (believed, look)
    }

    #[test]
    fn differences_of_minutes_are_followed_in_both_directions() {
        let (mut believed, look) = at_noon();
        for ahead in [0, 299, 1, -250, 40] {
            let reading = look(&mut believed, 1, seconds(ahead));
            assert_eq!(reading.time, NOON + seconds(1 + ahead), "{ahead}");
            assert_eq!(reading.doubt, None);
        }
    }

    #[test]
    fn after_a_jump_the_believed_time_goes_on_by_the_boot_clock_until_the_clock_is_right() {
        let (mut believed, look) = at_noon();
        let wrong = look(&mut believed, 1, YEARS);
        assert_eq!(wrong.time, NOON + seconds(1));
        let doubt = wrong.doubt.expect("a doubt");
        assert_eq!(doubt.wall, NOON + seconds(1) + YEARS);
        // Its words stay as long as it does.
        let still = look(&mut believed, 3600, YEARS);
        assert_eq!(
            (still.time, still.doubt),
            (NOON + seconds(3600), Some(doubt))
        );
        let other = look(&mut believed, 3601, -YEARS);
        assert_eq!(other.time, NOON + seconds(3601));
        assert_ne!(other.doubt, Some(doubt));

        let right = look(&mut believed, 3602, seconds(-200));
        assert_eq!((right.time, right.doubt), (NOON + seconds(3402), None));
    }

    #[test]
    fn an_operator_may_say_that_the_wall_clock_is_right() {
        let (mut believed, look) = at_noon();
        let day = seconds(86_400);
        assert!(look(&mut believed, 1, day).doubt.is_some());
        believed.believe(NOON + seconds(2) + day, Duration::from_secs(102));
        let reading = look(&mut believed, 10, day);
        assert_eq!(
            (reading.time, reading.doubt),
            (NOON + seconds(10) + day, None)
        );
    }

    #[test]
    fn a_start_in_1970_goes_on_from_the_journal_and_believes_the_right_clock_later() {
        let mut believed = Believed::unknown();
        believed.begin(NOON, None, Duration::from_secs(5));
        let first = believed.look(Timestamp::UNIX_EPOCH, Duration::from_secs(6));
        assert_eq!(first.time, NOON + seconds(1));
        assert!(first.doubt.is_some());
        // It was down for two days.
        let right = NOON + seconds(2 * 86_400);
        let reading = believed.look(right, Duration::from_secs(60));
        assert_eq!((reading.time, reading.doubt), (right, None));
        // From here on it is measured.
        assert!(
            believed
                .look(right + seconds(86_400), Duration::from_secs(61))
                .doubt
                .is_some()
        );
    }

    #[test]
    fn a_start_far_beyond_the_journal_is_not_believed() {
        let start = |wall| {
            let mut believed = Believed::unknown();
            believed.begin(NOON, None, Duration::from_secs(5));
            believed.look(wall, Duration::from_secs(5)).doubt.is_none()
        };
        assert!(start(NOON) && start(NOON + DOWN) && start(NOON - FOLLOWED));
        assert!(!start(NOON + DOWN + seconds(1)));
        assert!(!start(NOON - FOLLOWED - seconds(1)));
    }

    #[test]
    fn a_process_that_starts_anew_in_the_same_boot_knows_how_long_it_was_down() {
        let start = |wall| {
            let mut believed = Believed::unknown();
            let measured = NOON + seconds(600);
            believed.begin(NOON, Some(measured), Duration::from_secs(700));
            believed.look(wall, Duration::from_secs(700))
        };
        let right = start(NOON + seconds(605));
        assert_eq!((right.time, right.doubt), (NOON + seconds(605), None));
        let day = start(NOON + seconds(86_400));
        assert_eq!(day.time, NOON + seconds(600));
        assert!(day.doubt.is_some());
    }

    #[test]
    fn time_in_which_nobody_looked_is_a_break_and_so_is_a_step() {
        let (mut believed, look) = at_noon();
        let breaks = |believed: &mut Believed, after, ahead| look(believed, after, ahead).breaks;
        let zero = seconds(0);
        let first = breaks(&mut believed, 1, zero);
        assert_eq!(breaks(&mut believed, 2, zero), first);
        assert_eq!(breaks(&mut believed, 42, zero), first + 1);
        assert_eq!(breaks(&mut believed, 43, zero), first + 1);
        assert_eq!(breaks(&mut believed, 44, seconds(60)), first + 2);
        // A jump is one, however long it lasts, and its end is another.
        assert_eq!(breaks(&mut believed, 45, YEARS), first + 3);
        assert_eq!(breaks(&mut believed, 46, YEARS), first + 3);
        assert_eq!(breaks(&mut believed, 47, zero), first + 4);
    }
}
