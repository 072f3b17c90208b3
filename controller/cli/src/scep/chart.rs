//! Draws a load curve as bars of text, one line per stretch of time. What it means is said elsewhere.

use jiff::{SignedDuration, Timestamp};

/// Cells of the longest bar.
const WIDTH: u32 = 50;
/// Lines at most.
const LINES: usize = 30;

/// Bars of the requests in equal steps from `first` on; so many steps to a line that it fits on a screen.
pub(super) fn bars(first: Timestamp, step: SignedDuration, requests: &[f64]) -> String {
    let together = requests.len().div_ceil(LINES).max(1);
    let stretch = i32::try_from(together).map_or(step, |together| step * together);
    let sums: Vec<f64> = requests
        .chunks(together)
        .map(|chunk| chunk.iter().sum())
        .collect();
    let most = sums.iter().copied().fold(0.0, f64::max);
    let labels = labels(first, stretch, sums.len());
    let mut lines: Vec<String> = labels
        .into_iter()
        .zip(sums)
        .map(|(label, sum)| {
            let line = format!("  {label} |{}", bar(sum, most));
            let line = if sum > 0.0 {
                format!("{line} {}", number(sum))
            } else {
                line
            };
            line.trim_end().to_owned()
        })
        .collect();
    lines.push(format!("  (requests in each {stretch:#})"));
    lines.join("\n")
}

/// Nothing is drawn for nothing, and at least one cell for anything.
fn bar(sum: f64, most: f64) -> String {
    if sum <= 0.0 || most <= 0.0 {
        return String::new();
    }
    (1..=WIDTH)
        .take_while(|cell| *cell == 1 || f64::from(*cell) <= sum / most * f64::from(WIDTH))
        .map(|_| '#')
        .collect()
}

/// Expected numbers have one decimal at most.
fn number(sum: f64) -> String {
    let text = format!("{sum:.1}");
    match text.strip_suffix(".0") {
        Some("0") => "<0.1".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// When each stretch begins, as short as tells them apart.
fn labels(first: Timestamp, stretch: SignedDuration, count: usize) -> Vec<String> {
    let starts: Vec<Timestamp> =
        std::iter::successors(Some(first), |start| start.checked_add(stretch).ok())
            .take(count)
            .collect();
    let day = |instant: &Timestamp| instant.strftime("%Y-%m-%d").to_string();
    let one_day = starts.first().map(day) == starts.last().map(day);
    let whole_minutes =
        stretch.as_secs() % 60 == 0 && first.as_second() % 60 == 0 && stretch.subsec_nanos() == 0;
    let format = match (
        one_day,
        whole_minutes,
        stretch < SignedDuration::from_secs(1),
    ) {
        (true, _, true) => "%H:%M:%S%.3f",
        (true, _, false) => "%H:%M:%S",
        (false, true, _) => "%Y-%m-%d %H:%M",
        (false, false, _) => "%Y-%m-%d %H:%M:%S",
    };
    starts
        .iter()
        .map(|start| start.strftime(format).to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_steps_share_lines() {
        let first: Timestamp = "2026-08-01T22:00:00Z".parse().unwrap();
        let requests = vec![0.5; 120];
        let text = bars(first, SignedDuration::from_mins(10), &requests);
        assert_eq!(text.lines().count(), 31, "{text}");
        assert!(
            text.starts_with(
                "  2026-08-01 22:00 |##################################################"
            ),
            "{text}"
        );
        assert!(text.contains("\n  2026-08-01 22:40 |#"), "{text}");
        assert!(text.ends_with("2\n  (requests in each 40m)"), "{text}");
    }

    #[test]
    fn little_is_seen_and_nothing_is_not() {
        let first: Timestamp = "2026-08-01T02:00:00Z".parse().unwrap();
        let text = bars(
            first,
            SignedDuration::from_millis(100),
            &[1000.0, 0.01, 0.0, 1.25],
        );
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                "  02:00:00.100 |# <0.1",
                "  02:00:00.200 |",
                "  02:00:00.300 |# 1.2",
                "  (requests in each 100ms)"
            ]
        );
        assert_eq!(
            bars(first, SignedDuration::ZERO, &[]),
            "  (requests in each 0s)"
        );
    }
}
