//! The load of a SCEP server: as `convoy scep plan -o json` foretells it, and as the CA's records tell it afterwards. Nobody is asked here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

/// What the demo reads of a plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Plan {
    pub(crate) servers: Vec<Load>,
    pub(crate) warnings: Vec<String>,
}

/// The load to come of one SCEP server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) devices: u32,
    first: Timestamp,
    last: Timestamp,
    pub(crate) peak_per_second: u32,
    pub(crate) capacity: String,
    step_seconds: f64,
    /// In each step, from `first` on.
    requests: Vec<f64>,
}

/// A certificate as `convoy scep issued list -o json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Issued {
    pub(crate) serial: String,
    /// The client's id. Empty: nobody's.
    pub(crate) client: String,
    pub(crate) issued_at: Timestamp,
}

/// A chart has at most so many lines,
const LINES: usize = 10;
/// and its longest bar that length.
const LONGEST: u8 = 40;

impl Load {
    /// What is planned, as a sentence and a chart, line by line.
    pub(crate) fn drawn(&self) -> Vec<String> {
        let length = self.last.duration_since(self.first);
        let mut lines = vec![format!(
            "planned load of {}: {} requests in {:.1} s, at most {} in one second (capacity: {} per second)",
            self.url,
            self.devices,
            length.as_secs_f64(),
            self.peak_per_second,
            self.capacity
        )];
        let merged = self.requests.len().div_ceil(LINES).max(1);
        let sums: Vec<f64> = self
            .requests
            .chunks(merged)
            .map(|steps| steps.iter().sum())
            .collect();
        let most = sums.iter().copied().fold(0.0, f64::max);
        let mut after = 0.0;
        for sum in sums {
            lines.push(format!("  +{after:>4.0} s |{} {sum:.0}", bar(sum, most)));
            for _ in 0..merged {
                after += self.step_seconds;
            }
        }
        lines
    }
}

/// As long as a number is, compared with the greatest.
fn bar(number: f64, most: f64) -> String {
    let mut bar = String::new();
    let step = most / f64::from(LONGEST);
    let mut reached = step / 2.0;
    // Counted and not computed: no number has to be made a length.
    for _ in 0..LONGEST {
        if most <= 0.0 || reached > number {
            break;
        }
        bar.push('=');
        reached += step;
    }
    bar
}

/// The most certificates that were issued in one second of the clock, as plans count.
pub(crate) fn peak(issued: &[Issued]) -> usize {
    let mut seconds = BTreeMap::<i64, usize>::new();
    for one in issued {
        *seconds.entry(one.issued_at.as_second()).or_default() += 1;
    }
    seconds.into_values().max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// One plan for one server.
    pub(crate) fn plan() -> Plan {
        serde_json::from_str(
            r#"{"servers": [{"url": "http://127.0.0.1:4100/scep", "devices": 5, "first": "2027-01-01T00:00:00Z", "last": "2027-01-01T00:00:02.5Z",
                "peak_per_second": 2, "capacity": "2", "step_seconds": 1.0, "requests": [2.0, 2.0, 1.0]}], "warnings": []}"#,
        )
        .unwrap()
    }

    /// A certificate that was issued so long after the epoch.
    pub(crate) fn issued(serial: &str, client: &str, millisecond: i64) -> Issued {
        Issued {
            serial: serial.to_owned(),
            client: client.to_owned(),
            issued_at: Timestamp::from_millisecond(millisecond).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_drawn_with_a_line_per_step() {
        assert_eq!(
            examples::plan().servers[0].drawn(),
            [
                "planned load of http://127.0.0.1:4100/scep: 5 requests in 2.5 s, at most 2 in one second (capacity: 2 per second)",
                "  +   0 s |======================================== 2",
                "  +   1 s |======================================== 2",
                "  +   2 s |==================== 1",
            ]
        );
    }

    #[test]
    fn many_steps_are_merged_into_few_lines() {
        let mut load = examples::plan().servers.remove(0);
        load.requests = vec![20.0; 25];
        let lines = load.drawn();
        assert_eq!(lines.len(), 1 + 9);
        assert_eq!(lines[2], format!("  +   3 s |{} 60", "=".repeat(40)));
        assert_eq!(
            lines[9],
            format!("  +  24 s |{} 20", "=".repeat(13)),
            "the rest"
        );
        load.requests = vec![0.0];
        assert_eq!(load.drawn()[1], "  +   0 s | 0");
    }

    #[test]
    fn a_peak_is_what_the_fullest_second_has() {
        let at = |milliseconds: &[i64]| {
            let issued: Vec<Issued> = milliseconds
                .iter()
                .map(|millisecond| examples::issued("01", "a", *millisecond))
                .collect();
            peak(&issued)
        };
        assert_eq!(at(&[]), 0);
        // Newest first, as the CA lists them.
        assert_eq!(at(&[3_000, 1_400, 1_000, 900, 500, 0]), 3);
        assert_eq!(at(&[1_000, 0]), 1);
    }
}
