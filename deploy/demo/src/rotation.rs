//! A rotation as `convoy rotation status -o json` shows it, and how the demo words it. What it should do next is not asked here.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::args::Strategy;

/// How many missing clients are named.
const NAMED: usize = 6;

/// What the demo reads of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Rotation {
    pub(crate) phase: String,
    pub(crate) clients: u32,
    pub(crate) applied: u32,
    pub(crate) proved: u32,
    pub(crate) confirmed: u32,
    pub(crate) waited_for: u32,
    pub(crate) missing: Vec<Missing>,
    pub(crate) missing_count: u32,
    pub(crate) old_fingerprint: String,
    pub(crate) new_fingerprint: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) suspects: Vec<Suspect>,
    pub(crate) reason: String,
    pub(crate) returned: u32,
    pub(crate) expected_back: u32,
}

/// A client that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Missing {
    pub(crate) name: String,
}

/// A client that is reported.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Suspect {
    pub(crate) name: String,
    pub(crate) suspicion: String,
}

/// One of the seven steps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Step {
    pub(crate) number: u32,
    pub(crate) title: String,
    pub(crate) state: StepState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StepState {
    Pending,
    Active,
    Done,
    Skipped,
}

/// How many clients have done what a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) done: u32,
    pub(crate) of: u32,
    /// What they have done.
    pub(crate) what: &'static str,
}

impl Rotation {
    /// No phase follows.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase.as_str(), "Completed" | "Aborted" | "RolledBack")
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.phase == "Completed"
    }

    /// The first gate is shut, exactly these are missing, and everyone else has shown what the strategy asks.
    pub(crate) fn waits_for_exactly(&self, names: &BTreeSet<&str>, strategy: Strategy) -> bool {
        let missing: BTreeSet<&str> = self
            .missing
            .iter()
            .map(|client| client.name.as_str())
            .collect();
        let shown = match strategy {
            Strategy::Overlap => self.proved,
            Strategy::Toggle => self.applied,
        };
        let absent = u32::try_from(names.len()).ok();
        self.phase == "Preparing"
            && missing == *names
            && Some(self.missing_count) == absent
            && absent.and_then(|absent| self.clients.checked_sub(absent)) == Some(shown)
    }

    /// What a step counts, if it counts clients.
    pub(crate) fn progress(&self, step: &Step, strategy: Strategy) -> Option<Progress> {
        let (done, of, what) = match (step.number, strategy) {
            (3, Strategy::Overlap) => (self.proved, self.clients, "proved"),
            (3, Strategy::Toggle) => (self.applied, self.clients, "applied"),
            (4, _) if step.state == StepState::Active => {
                (self.returned, self.expected_back, "back")
            }
            (6, _) => (self.confirmed, self.clients, "confirmed"),
            _ => return None,
        };
        Some(Progress { done, of, what })
    }

    /// Who is waited for, by name; empty if nobody is.
    pub(crate) fn waiting(&self) -> String {
        if self.missing_count == 0 || self.is_over() {
            return String::new();
        }
        let names: Vec<&str> = self
            .missing
            .iter()
            .map(|client| client.name.as_str())
            .collect();
        let rest = usize::try_from(self.missing_count)
            .unwrap_or(usize::MAX)
            .saturating_sub(names.len().min(NAMED));
        format!("waiting for {}", list(&names, rest))
    }

    /// Where it stands, for errors.
    pub(crate) fn standing(&self) -> String {
        let waiting = self.waiting();
        let mut standing = format!("the rotation is in {}", self.phase);
        if !waiting.is_empty() {
            standing.push_str(", ");
            standing.push_str(&waiting);
        }
        for suspect in &self.suspects {
            standing.push_str(&format!("; {}: {}", suspect.name, suspect.suspicion));
        }
        standing
    }
}

impl Step {
    /// The step as a line, without what it counts.
    pub(crate) fn line(&self) -> String {
        let (mark, end) = match self.state {
            StepState::Pending => (' ', ""),
            StepState::Active => ('>', ""),
            StepState::Done => ('x', ""),
            StepState::Skipped => ('-', " (skipped)"),
        };
        format!("[{mark}] {} {}{end}", self.number, self.title)
    }
}

/// The first of these names, and how many more there are.
fn list(names: &[&str], rest: usize) -> String {
    let mut text = names
        .iter()
        .copied()
        .take(NAMED)
        .collect::<Vec<_>>()
        .join(", ");
    if rest > 0 {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

/// Names for a sentence, cut short where there are many.
pub(crate) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    list(&names, names.len().saturating_sub(NAMED))
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// Four clients of whom two are off.
    pub(crate) fn preparing() -> Rotation {
        serde_json::from_str(
            r#"{
                "id": "0198c2f0-0000-7000-8000-000000000001", "phase": "Preparing", "strategy": "overlap",
                "clients": 4, "applied": 2, "proved": 2, "confirmed": 0, "waited_for": 4,
                "missing": [{"name": "agent-003", "connected": false}, {"name": "agent-004", "connected": false}],
                "missing_count": 2, "old_fingerprint": "aa", "new_fingerprint": "bb",
                "steps": [
                    {"number": 1, "title": "Break the replication relationship", "state": "skipped"},
                    {"number": 2, "title": "Disable server certificate verification", "state": "done"},
                    {"number": 3, "title": "Wait for all clients to receive the updated policy", "state": "active"},
                    {"number": 4, "title": "Update the server certificate", "state": "pending"}
                ],
                "suspects": [], "reason": "", "returned": 0, "expected_back": 0
            }"#,
        )
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_marked_by_their_state() {
        let lines: Vec<String> = examples::preparing().steps.iter().map(Step::line).collect();
        assert_eq!(
            lines,
            [
                "[-] 1 Break the replication relationship (skipped)",
                "[x] 2 Disable server certificate verification",
                "[>] 3 Wait for all clients to receive the updated policy",
                "[ ] 4 Update the server certificate",
            ]
        );
    }

    #[test]
    fn the_waits_count_clients_and_the_swap_does_while_it_lasts() {
        let rotation = examples::preparing();
        let counted = |index: usize, strategy| rotation.progress(&rotation.steps[index], strategy);
        assert_eq!(counted(1, Strategy::Overlap), None);
        assert_eq!(
            counted(2, Strategy::Overlap),
            Some(Progress {
                done: 2,
                of: 4,
                what: "proved"
            })
        );
        assert_eq!(
            counted(2, Strategy::Toggle).map(|progress| progress.what),
            Some("applied")
        );
        assert_eq!(counted(3, Strategy::Overlap), None);
    }

    #[test]
    fn a_gate_waits_for_exactly_those_who_are_off() {
        let off = BTreeSet::from(["agent-003", "agent-004"]);
        let waits = |change: fn(&mut Rotation)| {
            let mut rotation = examples::preparing();
            change(&mut rotation);
            rotation.waits_for_exactly(&off, Strategy::Overlap)
        };
        assert!(waits(|_| {}));
        assert!(!waits(|rotation| rotation.phase = "Swapping".to_owned()));
        assert!(!waits(|rotation| rotation.proved = 1));
        assert!(!waits(|rotation| rotation.missing_count = 3));
        assert!(!waits(|rotation| {
            rotation.missing.pop();
        }));
        assert!(!waits(|rotation| {
            rotation.missing[0].name = "agent-001".to_owned();
        }));
    }

    #[test]
    fn who_is_waited_for_is_named_up_to_a_few() {
        let mut rotation = examples::preparing();
        assert_eq!(
            rotation.standing(),
            "the rotation is in Preparing, waiting for agent-003, agent-004"
        );
        let one = rotation.missing[0].clone();
        rotation.missing = vec![one; 8];
        rotation.missing_count = 8;
        assert!(rotation.waiting().ends_with("agent-003 and 2 more"));
        assert_eq!(named(["a", "b"]), "a, b");
        rotation.missing_count = 0;
        assert_eq!(rotation.waiting(), "");
    }
}
