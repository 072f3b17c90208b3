//! Requests over time, some at a known instant and some moved by chance: where they peak, and their curve. Expected numbers are kept in whole parts of a
//! request, so that nothing is lost by rounding.

use jiff::{SignedDuration, Timestamp};

use super::{STEPS, Step, server::second};

/// Auto adjust moves a request by 1 to so many seconds, each as likely: a request has this many parts.
const SPREAD: u32 = 600;
const SECOND: i128 = 1_000_000_000;
/// Lengths of steps that people can read, in seconds.
const ROUND: [i64; 16] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200,
];
const DAY: i64 = 86_400;

/// Instants, and how many requests there.
pub(super) struct Requests {
    /// Exactly then.
    pub(super) certain: Vec<(Timestamp, u32)>,
    /// Moved by chance from then.
    pub(super) adjusted: Vec<(Timestamp, u32)>,
}

impl Requests {
    /// The first instant and the last one at which there can be a request.
    pub(super) fn bounds(&self) -> Option<(Timestamp, Timestamp)> {
        let certain = self.certain.iter().map(|(time, _)| (*time, *time));
        let adjusted = self
            .adjusted
            .iter()
            .map(|(start, _)| (later(*start, 1), later(*start, i64::from(SPREAD))));
        certain
            .chain(adjusted)
            .reduce(|(first, last), (from, to)| (first.min(from), last.max(to)))
    }

    /// The most requests in any one second, rounded up.
    pub(super) fn peak(&self) -> u32 {
        // What happens in a second: parts that come there alone, and parts that come there and in each second from there on.
        let mut changes: Vec<(i64, i128, i128)> = self
            .certain
            .iter()
            .map(|(time, number)| (second(*time), parts(*number), 0))
            .collect();
        for (start, number) in &self.adjusted {
            let number = i128::from(*number);
            let start = second(*start);
            changes.push((start + 1, 0, number));
            changes.push((start + 1 + i64::from(SPREAD), 0, -number));
        }
        changes.sort_unstable();
        let (mut lasting, mut peak) = (0, 0);
        for second in changes.chunk_by(|(one, ..), (other, ..)| one == other) {
            lasting += second.iter().map(|(_, _, change)| change).sum::<i128>();
            peak = peak.max(lasting + second.iter().map(|(_, alone, _)| alone).sum::<i128>());
        }
        let whole = (peak + parts(1) - 1) / parts(1);
        u32::try_from(whole).unwrap_or(u32::MAX)
    }

    /// The length of a step, and the requests in each.
    pub(super) fn curve(&self, first: Timestamp, last: Timestamp) -> (SignedDuration, Vec<Step>) {
        let span = last.duration_since(first).as_secs();
        let seconds = step(span);
        let number = usize::try_from(span / seconds + 1).unwrap_or_default();
        let mut steps = vec![0_i128; number];
        let mut add = |index: i128, parts: i128| {
            // What lies beyond the end of time is in the last one.
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let Some(step) = steps.get_mut(index.min(number.saturating_sub(1))) {
                *step += parts;
            }
        };
        let width = i128::from(seconds) * SECOND;
        for (time, number) in &self.certain {
            let since = time.duration_since(first).as_nanos();
            add(since / width, parts(*number));
        }
        for (start, number) in &self.adjusted {
            // At `since` and each second after it, as often as there are seconds to be moved by.
            let mut since = start.duration_since(first).as_nanos() + SECOND;
            let mut left = i128::from(SPREAD);
            while left > 0 {
                let index = since / width;
                let here = ((index + 1) * width - since + SECOND - 1) / SECOND;
                let here = here.clamp(1, left);
                add(index, here * i128::from(*number));
                since += here * SECOND;
                left -= here;
            }
        }
        let steps = steps
            .into_iter()
            .map(|parts| Step {
                requests: requests(parts),
            })
            .collect();
        (SignedDuration::from_secs(seconds), steps)
    }
}

fn later(start: Timestamp, seconds: i64) -> Timestamp {
    start
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// The shortest readable step of which so many seconds have no more than [`STEPS`].
fn step(span: i64) -> i64 {
    let steps = i64::from(STEPS);
    ROUND
        .into_iter()
        .find(|step| span / step < steps)
        .unwrap_or_else(|| (span / (steps * DAY) + 1) * DAY)
}

/// Whole requests in parts.
fn parts(requests: u32) -> i128 {
    i128::from(requests) * i128::from(SPREAD)
}

/// Parts in requests.
fn requests(parts: i128) -> f64 {
    let of = |number: i128| u32::try_from(number).map_or(f64::MAX, f64::from);
    of(parts / self::parts(1)) + of(parts % self::parts(1)) / f64::from(SPREAD)
}
