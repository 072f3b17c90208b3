//! What happened to the clock, to bytes and back. How an entry is read stands one floor up.

use convoy_fleet::clock::{BootMark, ClockEvent};

use super::{
    BadEntry,
    wire::{self, clock_event::Kind},
};
use crate::time::{duration, read_duration, read_timestamp, timestamp};

pub(super) fn write_clock(event: &ClockEvent) -> wire::ClockEvent {
    wire::ClockEvent {
        kind: Some(match event {
            ClockEvent::Marked(mark) => Kind::Marked(write_mark(mark)),
            ClockEvent::Doubted { wall } => Kind::Doubted(wire::ClockDoubted {
                wall: Some(timestamp(*wall)),
            }),
            ClockEvent::Believed { confirmed, mark } => Kind::Believed(wire::ClockBelieved {
                confirmed: *confirmed,
                mark: mark.as_ref().map(write_mark),
            }),
            ClockEvent::Interrupted => Kind::Interrupted(wire::ClockInterrupted {}),
        }),
    }
}

pub(super) fn read_clock(wire: wire::ClockEvent) -> Result<ClockEvent, BadEntry> {
    Ok(match wire.kind.ok_or(BadEntry::Missing("clock"))? {
        Kind::Marked(mark) => ClockEvent::Marked(read_mark(mark)?),
        Kind::Doubted(wire) => ClockEvent::Doubted {
            wall: read_timestamp(wire.wall, "wall")?,
        },
        Kind::Believed(wire) => ClockEvent::Believed {
            confirmed: wire.confirmed,
            mark: wire.mark.map(read_mark).transpose()?,
        },
        Kind::Interrupted(wire::ClockInterrupted {}) => ClockEvent::Interrupted,
    })
}

fn write_mark(mark: &BootMark) -> wire::BootMark {
    wire::BootMark {
        boot: mark.boot.clone(),
        age: Some(duration(mark.age)),
    }
}

fn read_mark(wire: wire::BootMark) -> Result<BootMark, BadEntry> {
    Ok(BootMark {
        boot: wire.boot,
        age: read_duration(wire.age, "age")?,
    })
}
