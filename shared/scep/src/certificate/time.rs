//! Time (RFC 5280 section 4.1.2.5) as it is found in certificates. Nothing is written here.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::Offset,
};

use crate::ber::{Malformed, Reader, tag};

/// The next value, UTCTime or GeneralizedTime. Seconds may be missing, fractions are dropped, and `+hhmm` is understood; a
/// time without a zone is refused.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    let value = reader.value()?;
    let text = str::from_utf8(value.content).map_err(|_| Malformed)?;
    match value.tag {
        tag::UTC_TIME => {
            let (year, rest) = number(text, 2)?;
            moment(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = number(text, 4)?;
            moment(year, rest)
        }
        _ => Err(Malformed),
    }
}

/// `MMDDhhmm[ss][.fraction](Z|+hhmm|-hhmm)`
fn moment(year: i16, rest: &str) -> Result<Timestamp, Malformed> {
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, rest) = number(rest, 2)?;
    let (minute, rest) = number(rest, 2)?;
    let (second, rest) = if rest.starts_with(|c: char| c.is_ascii_digit()) {
        number(rest, 2)?
    } else {
        (0, rest)
    };
    let zone = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let small = |number: i16| i8::try_from(number).map_err(|_| Malformed);
    let date = Date::new(year, small(month)?, small(day)?).map_err(|_| Malformed)?;
    // A leap second is the second before it.
    let time = Time::new(
        small(hour)?,
        small(minute)?,
        small(second.min(if second == 60 { 59 } else { 99 }))?,
        0,
    );
    let local = date.to_datetime(time.map_err(|_| Malformed)?);
    let Ok(as_utc) = Offset::UTC.to_timestamp(local) else {
        // Only the last hours of the year 9999 lie beyond the range.
        return Ok(Timestamp::MAX);
    };
    Ok(as_utc.checked_sub(offset(zone)?).unwrap_or(Timestamp::MAX))
}

fn offset(zone: &str) -> Result<SignedDuration, Malformed> {
    let (sign, rest) = match zone.as_bytes() {
        b"Z" => return Ok(SignedDuration::ZERO),
        [b'+', ..] => (1, zone.get(1..).ok_or(Malformed)?),
        [b'-', ..] => (-1, zone.get(1..).ok_or(Malformed)?),
        _ => return Err(Malformed),
    };
    let (hours, rest) = number(rest, 2)?;
    let (minutes, rest) = number(rest, 2)?;
    if hours > 23 || minutes > 59 || !rest.is_empty() {
        return Err(Malformed);
    }
    Ok(SignedDuration::from_mins(
        sign * (i64::from(hours) * 60 + i64::from(minutes)),
    ))
}

/// A number of exactly `digits` digits, at most four, and what follows it.
fn number(text: &str, digits: usize) -> Result<(i16, &str), Malformed> {
    let (head, rest) = text.split_at_checked(digits).ok_or(Malformed)?;
    if !head.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Malformed);
    }
    Ok((head.parse().map_err(|_| Malformed)?, rest))
}
