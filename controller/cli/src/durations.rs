//! Durations and deadlines as people type them. The clock is never read here: a deadline from now waits until it is told
//! what now is.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

const EXAMPLES: &str = "write it like 90s, 30m, 1h, 1h30m, 7d or 2w";

/// Reads a duration longer than nothing. Days have 24 hours and weeks 7 days.
pub(crate) fn positive(given: &str) -> Result<SignedDuration, String> {
    let span: Span = given
        .trim()
        .parse()
        .map_err(|_| format!("this is no duration; {EXAMPLES}"))?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("months and years differ in length; {EXAMPLES}"))?;
    if duration.is_positive() {
        Ok(duration)
    } else {
        Err(format!("a duration is longer than 0 s; {EXAMPLES}"))
    }
}

/// A deadline as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    At(Timestamp),
    In(SignedDuration),
}

impl Until {
    /// The deadline's instant, if the calendar reaches that far.
    pub(crate) fn instant(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::At(instant) => Some(instant),
            Self::In(duration) => now.checked_add(duration).ok(),
        }
    }
}

/// Reads an RFC 3339 time.
pub(crate) fn time(given: &str) -> Result<Timestamp, String> {
    given
        .trim()
        .parse()
        .map_err(|_| "this is no time like 2026-08-31T12:00:00Z (with Z or an offset)".to_owned())
}

/// Reads an RFC 3339 time, or a duration from now.
pub(crate) fn until(given: &str) -> Result<Until, String> {
    if let Ok(instant) = given.trim().parse() {
        return Ok(Until::At(instant));
    }
    positive(given).map(Until::In).map_err(|_| {
        format!(
            "this is neither a time like 2026-08-31T12:00:00Z (with Z or an offset) nor a duration from now; {EXAMPLES}"
        )
    })
}

/// The duration as the API carries it.
pub(crate) fn on_the_wire(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs(),
        nanos: duration.subsec_nanos(),
    }
}

/// The instant as the API carries it.
pub(crate) fn instant_on_the_wire(instant: Timestamp) -> prost_types::Timestamp {
    // The API's nanoseconds always count forward from the second.
    let (seconds, nanos) = (instant.as_second(), instant.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_offset() {
        let noon = time("2026-08-31T14:00:00+02:00").unwrap();
        assert_eq!(noon.to_string(), "2026-08-31T12:00:00Z");
        for bad in ["2026-08-31", "noon", "7d", ""] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (given, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("1h 30m", 5_400),
            ("7d", 604_800),
            ("2w", 1_209_600),
            ("1d12h", 129_600),
            ("10 minutes", 600),
            ("PT1H", 3_600),
        ] {
            assert_eq!(
                positive(given),
                Ok(SignedDuration::from_secs(seconds)),
                "{given}"
            );
        }
        assert_eq!(positive("1500ms"), Ok(SignedDuration::from_millis(1_500)));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for given in [
            "",
            "90",
            "soon",
            "1y",
            "1mo",
            "0s",
            "-1h",
            "1h ago",
            "9999999999999999999d",
        ] {
            let refusal = positive(given).unwrap_err();
            assert!(refusal.contains("1h30m"), "{given}: {refusal}");
        }
    }

    #[test]
    fn a_deadline_is_a_time_or_a_duration_from_now() {
        let now: Timestamp = "2026-08-01T10:00:00Z".parse().unwrap();
        let read = |given| until(given).unwrap().instant(now).unwrap().to_string();
        assert_eq!(read("2026-08-31T12:00:00Z"), "2026-08-31T12:00:00Z");
        assert_eq!(read("2026-08-31T12:00:00+02:00"), "2026-08-31T10:00:00Z");
        assert_eq!(read("7d"), "2026-08-08T10:00:00Z");
        assert!(until("2026-08-31").unwrap_err().contains("offset"));
        assert!(until("tomorrow").is_err());
        assert_eq!(Until::In(SignedDuration::MAX).instant(now), None);
    }

    #[test]
    fn instants_before_1970_count_forward_on_the_wire() {
        let instant: Timestamp = "1969-12-31T23:59:59.25Z".parse().unwrap();
        let wire = instant_on_the_wire(instant);
        assert_eq!((wire.seconds, wire.nanos), (-1, 250_000_000));
    }
}
