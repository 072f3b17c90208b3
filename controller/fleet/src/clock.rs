//! What the journal knows of the controller's clock: the greatest time in it, which boot of the host it was written in, and whether the clock is doubted.
//! No clock is read here.

use jiff::{SignedDuration, Timestamp};

use crate::{
    event::{Entry, Event},
    refusal::Refusal,
    rotation::Phase,
    state::Fleet,
};

/// What an operator says and what the wall clock says may differ by so much.
const AGREE: SignedDuration = SignedDuration::from_mins(5);

/// A boot of a host, and its age at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootMark {
    /// The host's own name for this boot.
    pub boot: String,
    /// How long ago that was, also counting suspend.
    pub age: SignedDuration,
}

/// Something about the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// At the entry's time, the host's boot was so old.
    Marked(BootMark),
    /// The wall clock is not believed any more.
    Doubted {
        /// What it says.
        wall: Timestamp,
    },
    /// The wall clock is believed again.
    Believed {
        /// An operator said so: the entry's time counts, also if it is before others in the journal.
        confirmed: bool,
        /// The host's boot, if it is known.
        mark: Option<BootMark>,
    },
    /// For some time the process did nothing, or the clock stepped: who was to come back in that time could not.
    Interrupted,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockCommand {
    /// The wall clock is not believed.
    Doubt {
        /// What it says.
        wall: Timestamp,
    },
    /// The wall clock is right again by itself.
    Believe {
        /// The host's boot, if it is known.
        mark: Option<BootMark>,
    },
    /// An operator says that the wall clock, by which this is decided, is right.
    Confirm {
        /// What it is by the operator's own watch.
        time: Timestamp,
        /// The host's boot, if it is known.
        mark: Option<BootMark>,
    },
    /// For some time clients could not come back.
    Interrupt,
}

/// What the journal knows of the clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clock {
    newest: Option<Timestamp>,
    mark: Option<(Timestamp, BootMark)>,
    doubted: bool,
}

impl Clock {
    /// The greatest time in the journal since an operator last said what time it is.
    #[must_use]
    pub const fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// When a host's boot was how old.
    #[must_use]
    pub fn mark(&self) -> Option<(Timestamp, &BootMark)> {
        self.mark.as_ref().map(|(time, mark)| (*time, mark))
    }

    /// Whether the wall clock is not believed: no gate opens then.
    #[must_use]
    pub const fn is_doubted(&self) -> bool {
        self.doubted
    }

    pub(crate) fn fold(&mut self, entry: &Entry) {
        self.newest = self.newest.max(Some(entry.time));
        for event in &entry.events {
            match event {
                Event::Clock(ClockEvent::Marked(mark)) => {
                    self.mark = Some((entry.time, mark.clone()));
                }
                Event::Clock(ClockEvent::Doubted { .. }) => self.doubted = true,
                Event::Clock(ClockEvent::Believed { confirmed, mark }) => {
                    self.doubted = false;
                    self.mark = mark.clone().map(|mark| (entry.time, mark));
                    if *confirmed {
                        self.newest = Some(entry.time);
                    }
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn decide(
    fleet: &Fleet,
    command: ClockCommand,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let doubted = fleet.clock().is_doubted();
    let event = match command {
        ClockCommand::Doubt { wall } => (!doubted).then_some(ClockEvent::Doubted { wall }),
        ClockCommand::Believe { mark } => doubted.then_some(ClockEvent::Believed {
            confirmed: false,
            mark,
        }),
        ClockCommand::Confirm { time, .. } if now.duration_since(time).abs() > AGREE => {
            return Err(Refusal::ClockSaysOtherwise { time, clock: now });
        }
        ClockCommand::Confirm { mark, .. } => doubted.then_some(ClockEvent::Believed {
            confirmed: true,
            mark,
        }),
        ClockCommand::Interrupt => fleet
            .running()
            .is_some_and(|rotation| rotation.phase == Phase::Swapping && rotation.swapped)
            .then_some(ClockEvent::Interrupted),
    };
    Ok(event.map(Event::Clock).into_iter().collect())
}
