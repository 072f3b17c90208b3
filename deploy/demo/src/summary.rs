//! What came out: for scripts one JSON object, for people a table and what it shows. Nothing is measured here.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{
    args::Strategy,
    rotation::{Rotation, named},
    scep::{Enrolment, standing::Unserved},
};

/// What came out. The names of the JSON are an interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Summary {
    clients: u32,
    strategy: Strategy,
    phase: String,
    proved: u32,
    applied: u32,
    confirmed: u32,
    orphaned: usize,
    waited_for: u32,
    old_fingerprint: String,
    new_fingerprint: String,
    elapsed_ms: u64,
    /// Devices that obtained a certificate over SCEP, and those that did not. Both 0: none was to.
    scep_successful: usize,
    scep_failed: usize,
    #[serde(skip)]
    for_people: ForPeople,
}

#[derive(Debug, Clone, PartialEq)]
struct ForPeople {
    steps: Vec<String>,
    reason: String,
    gate: Option<Gate>,
    /// The orphans, and why.
    orphans: Vec<Orphan>,
    /// What came of the requests of certificates, if there were to be any.
    enrolment: Option<Enrolment>,
}

/// A gate that was seen shut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Those it waited for.
    pub(crate) absent: Vec<String>,
    /// For how long it was looked at.
    pub(crate) watched: Duration,
    /// How often.
    pub(crate) looks: u32,
}

/// A client that cannot connect with verification on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orphan {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Summary {
    pub(crate) fn new(
        rotation: Rotation,
        strategy: Strategy,
        gate: Option<Gate>,
        orphans: Vec<Orphan>,
        enrolment: Option<Enrolment>,
        elapsed: Duration,
    ) -> Self {
        Self {
            clients: rotation.clients,
            strategy,
            proved: rotation.proved,
            applied: rotation.applied,
            confirmed: rotation.confirmed,
            orphaned: orphans.len(),
            waited_for: rotation.waited_for,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            scep_successful: enrolment.as_ref().map_or(0, Enrolment::successful),
            scep_failed: enrolment.as_ref().map_or(0, Enrolment::failed),
            for_people: ForPeople {
                steps: rotation.steps.iter().map(|step| step.line()).collect(),
                reason: rotation.reason,
                gate,
                orphans,
                enrolment,
            },
            phase: rotation.phase,
            old_fingerprint: rotation.old_fingerprint,
            new_fingerprint: rotation.new_fingerprint,
        }
    }

    /// The rotation completed, nobody was left behind, and who was to obtain a certificate did.
    pub(crate) fn is_success(&self) -> bool {
        let enrolled = match &self.for_people.enrolment {
            Some(_) => {
                self.scep_failed == 0
                    && u32::try_from(self.scep_successful).ok() == Some(self.clients)
            }
            None => true,
        };
        self.phase == "Completed" && self.orphaned == 0 && enrolled
    }

    /// What the counts mean, where all went well.
    fn shown(&self) -> Vec<String> {
        let clients = self.clients;
        let mut shown = vec![match self.strategy {
            Strategy::Overlap => format!(
                "Before the swap each of {} clients made a full TLS handshake with the new certificate on the production port, and refused a decoy. Verification was never off.",
                self.proved
            ),
            Strategy::Toggle => format!(
                "Before the swap each of {} clients showed that it had switched verification off, by a signed policy: it accepted a decoy. All still checked the controller's own proof on each connection.",
                self.applied
            ),
        }];
        if let Some(gate) = &self.for_people.gate {
            shown.push(format!(
                "The gate was shut on each of {} looks in {:.1} s, waiting for exactly those who were switched off: {}. It opened after they came back.",
                gate.looks,
                gate.watched.as_secs_f64(),
                named(gate.absent.iter().map(String::as_str)),
            ));
        }
        shown.push(format!(
            "After the swap each of {} clients made a new full handshake with verification on, under trust in the new certificate alone, and refused a decoy.",
            self.confirmed
        ));
        shown.push(format!(
            "At the end {clients} fresh processes connected from what is on disk, with verification on, and met the new certificate: {} failed.",
            self.orphaned
        ));
        if let Some(enrolment) = &self.for_people.enrolment {
            shown.push(format!(
                "Then each of {} devices requested a certificate over SCEP by itself, in the slot that the controller had planned for it, and has it: the CA's records say the same.",
                self.scep_successful
            ));
            shown.push(format!(
                "The CA never issued more than {} certificates in one second (planned: {}); without slots all {clients} requests would have begun at once.",
                enrolment.peak, enrolment.planned.peak_per_second
            ));
        }
        shown
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            ("strategy", self.strategy.to_string()),
            ("clients", self.clients.to_string()),
            ("phase", self.phase.clone()),
            ("applied", self.applied.to_string()),
            ("proved", self.proved.to_string()),
            ("confirmed", self.confirmed.to_string()),
            (
                "waited for",
                format!("{} at most, at a shut gate", self.waited_for),
            ),
            ("old certificate", self.old_fingerprint.clone()),
            ("new certificate", self.new_fingerprint.clone()),
            ("orphaned", format!("{} (measured)", self.orphaned)),
            (
                "elapsed",
                format!(
                    "{:.1} s",
                    Duration::from_millis(self.elapsed_ms).as_secs_f64()
                ),
            ),
        ];
        if !self.for_people.reason.is_empty() {
            rows.insert(3, ("reason", self.for_people.reason.clone()));
        }
        writeln!(f)?;
        for step in &self.for_people.steps {
            writeln!(f, "  {step}")?;
        }
        if let Some(enrolment) = &self.for_people.enrolment {
            rows.extend(enrolment_rows(enrolment));
        }
        writeln!(f)?;
        for (name, value) in rows {
            writeln!(f, "  {name:<15}  {value}")?;
        }
        if self.is_success() {
            writeln!(f, "\nWhat was shown:")?;
            for line in self.shown() {
                writeln!(f, "  - {line}")?;
            }
        }
        for Orphan { name, why } in &self.for_people.orphans {
            writeln!(f, "  orphan {name}: {why}")?;
        }
        let enrolment = self.for_people.enrolment.iter();
        for Unserved { name, why } in enrolment.flat_map(|enrolment| &enrolment.unserved) {
            writeln!(f, "  without a certificate {name}: {why}")?;
        }
        Ok(())
    }
}

fn enrolment_rows(enrolment: &Enrolment) -> [(&'static str, String); 4] {
    let Enrolment {
        counts,
        issued,
        planned,
        peak,
        took,
        ..
    } = enrolment;
    [
        ("SCEP requests", counts.to_string()),
        ("SCEP issued", format!("{issued} (as the CA records them)")),
        (
            "SCEP load",
            format!(
                "{peak} in one second at most; {} planned, capacity {} per second",
                planned.peak_per_second, planned.capacity
            ),
        ),
        ("SCEP time", format!("{:.1} s", took.as_secs_f64())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rotation::examples, scep};

    fn completed() -> Rotation {
        Rotation {
            phase: "Completed".to_owned(),
            proved: 4,
            applied: 4,
            confirmed: 4,
            missing: Vec::new(),
            missing_count: 0,
            ..examples::preparing()
        }
    }

    fn summary(rotation: Rotation, orphans: Vec<Orphan>) -> Summary {
        let enrolment = scep::examples::enrolment(4, Vec::new());
        with(rotation, orphans, Some(enrolment))
    }

    fn with(rotation: Rotation, orphans: Vec<Orphan>, enrolment: Option<Enrolment>) -> Summary {
        let gate = Gate {
            absent: vec!["agent-003".to_owned(), "agent-004".to_owned()],
            watched: Duration::from_millis(1_040),
            looks: 5,
        };
        Summary::new(
            rotation,
            Strategy::Overlap,
            Some(gate),
            orphans,
            enrolment,
            Duration::from_millis(12_345),
        )
    }

    fn orphan() -> Orphan {
        Orphan {
            name: "agent-001".to_owned(),
            why: "no anchor vouches for it".to_owned(),
        }
    }

    #[test]
    fn json_has_exactly_the_promised_names() {
        assert_eq!(
            serde_json::to_string(&summary(completed(), Vec::new())).unwrap(),
            r#"{"clients":4,"strategy":"overlap","phase":"Completed","proved":4,"applied":4,"confirmed":4,"orphaned":0,"waited_for":4,"old_fingerprint":"aa","new_fingerprint":"bb","elapsed_ms":12345,"scep_successful":4,"scep_failed":0}"#
        );
        let without = serde_json::to_string(&with(completed(), Vec::new(), None)).unwrap();
        assert!(
            without.ends_with(r#","scep_successful":0,"scep_failed":0}"#),
            "{without}"
        );
    }

    #[test]
    fn success_is_a_certificate_for_everybody_unless_none_was_asked_for() {
        let unserved = Unserved {
            name: "agent-002".to_owned(),
            why: "Error: Communication Error (TOP ERROR 503): the server answered 503".to_owned(),
        };
        let enrolment = scep::examples::enrolment(4, vec![unserved]);
        let partial = with(completed(), Vec::new(), Some(enrolment));
        assert!(!partial.is_success());
        let text = partial.to_string();
        for line in [
            "  SCEP requests    3 Successful, 1 Error, of 4\n",
            "  SCEP issued      3 (as the CA records them)\n",
            "  SCEP load        3 in one second at most; 2 planned, capacity 2 per second\n",
            "  SCEP time        2.6 s\n",
            "  without a certificate agent-002: Error: Communication Error (TOP ERROR 503): the server answered 503\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        let without = with(completed(), Vec::new(), None);
        assert!(without.is_success());
        assert!(!without.to_string().contains("SCEP"));
        // Fewer than there are is not everybody.
        let fewer = scep::examples::enrolment(3, Vec::new());
        assert!(!with(completed(), Vec::new(), Some(fewer)).is_success());
    }

    #[test]
    fn success_is_a_completed_rotation_without_orphans() {
        assert!(summary(completed(), Vec::new()).is_success());
        assert!(!summary(completed(), vec![orphan()]).is_success());
        assert!(!summary(examples::preparing(), Vec::new()).is_success());
    }

    #[test]
    fn people_are_told_what_was_shown_and_only_if_it_was() {
        let text = summary(completed(), Vec::new()).to_string();
        assert!(
            text.contains("  [x] 2 Disable server certificate verification\n"),
            "{text}"
        );
        assert!(text.contains("  elapsed          12.3 s\n"), "{text}");
        assert!(
            text.contains("on each of 5 looks in 1.0 s, waiting for exactly those who were switched off: agent-003, agent-004."),
            "{text}"
        );
        let rolled_back = Rotation {
            phase: "RolledBack".to_owned(),
            reason: "too few came back".to_owned(),
            ..completed()
        };
        let text = summary(rolled_back, vec![orphan()]).to_string();
        assert!(!text.contains("What was shown"), "{text}");
        assert!(
            text.contains("  reason           too few came back\n"),
            "{text}"
        );
        assert!(
            text.contains("  orphan agent-001: no anchor vouches for it\n"),
            "{text}"
        );
    }
}
