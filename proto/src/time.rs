//! Instants and durations: wire to model and back. No clock is read here.

use jiff::{SignedDuration, Timestamp};

/// An instant for the wire. Nanoseconds.
#[must_use]
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    // protobuf counts nanoseconds forward from the second before; jiff's have the sign of the seconds.
    let nanos = time.subsec_nanosecond();
    let (seconds, nanos) = if nanos < 0 {
        (time.as_second() - 1, nanos + 1_000_000_000)
    } else {
        (time.as_second(), nanos)
    };
    prost_types::Timestamp { seconds, nanos }
}

/// Reads an instant that must be there.
///
/// # Errors
/// If it is missing or out of range.
pub fn read_timestamp(
    wire: Option<prost_types::Timestamp>,
    field: &'static str,
) -> Result<Timestamp, BadTime> {
    let wire = wire
        .filter(|wire| wire.nanos >= 0)
        .ok_or(BadTime { field })?;
    Timestamp::new(wire.seconds, wire.nanos).map_err(|_| BadTime { field })
}

/// A duration for the wire.
#[must_use]
pub fn duration(length: SignedDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: length.as_secs(),
        nanos: length.subsec_nanos(),
    }
}

/// Reads a duration that must be there and be positive.
///
/// # Errors
/// If it is missing, negative, zero or out of range.
pub fn read_duration(
    wire: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<SignedDuration, BadTime> {
    let length = read_length(wire, field)?;
    if length.is_zero() {
        return Err(BadTime { field });
    }
    Ok(length)
}

/// Reads a duration that must be there, and may be zero.
///
/// # Errors
/// If it is missing, negative or out of range.
pub fn read_length(
    wire: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<SignedDuration, BadTime> {
    let wire = wire.ok_or(BadTime { field })?;
    if wire.seconds < 0 || !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(BadTime { field });
    }
    Ok(SignedDuration::new(wire.seconds, wire.nanos))
}

/// A time that is missing or cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time in the field {field} is missing or out of range")]
pub struct BadTime {
    /// Which.
    pub field: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_were_written() {
        for time in [
            Timestamp::UNIX_EPOCH,
            Timestamp::new(-5, -250).expect("in range"),
            Timestamp::new(5, 250).expect("in range"),
        ] {
            let wire = timestamp(time);
            assert!((0..1_000_000_000).contains(&wire.nanos));
            assert_eq!(read_timestamp(Some(wire), "x"), Ok(time));
        }
        assert!(read_timestamp(None, "x").is_err());
        assert!(
            read_duration(
                Some(prost_types::Duration {
                    seconds: -1,
                    nanos: 0
                }),
                "x"
            )
            .is_err()
        );
        assert_eq!(
            read_duration(Some(duration(SignedDuration::new(3, 7))), "x"),
            Ok(SignedDuration::new(3, 7))
        );
    }
}
