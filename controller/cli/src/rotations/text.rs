//! A rotation as people look at it for a week: text only. The clock is an argument, and nothing is printed here.

use convoy_proto::v1::{Phase, ReasonCode, StepState};
use jiff::Timestamp;

use super::rotation::{GroupProgress, Missing, Rotation, Step};
use crate::{
    output::{self, Paint},
    system,
    words::{self, counted, plain},
};

/// How many missing clients a status names.
pub(super) const NAMED: usize = 50;
/// Cells of a bar.
const BAR: u32 = 24;

/// All that matters, with at most `named` of the missing clients by name.
pub(super) fn status(rotation: &Rotation, now: Timestamp, paint: Paint, named: usize) -> String {
    let advice = match rotation.advice.as_str() {
        "" => String::new(),
        advice => format!("{} {}", paint.strong("Next:"), plain(advice)),
    };
    // The lists come last: a small terminal shows no more than begins it.
    let mut parts = vec![
        head(rotation, now, paint),
        steps(rotation, paint),
        progress(rotation),
        advice,
        system::degraded(&rotation.degraded, paint),
        system::expiring(&rotation.expiring, paint),
        stayed_away(rotation, now, named),
        missing(rotation, now, named),
        cut_off(rotation, now, named, paint),
        system::refused(&rotation.refused_handshakes_hint),
        waivers(rotation, now),
        suspects(rotation, paint),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn head(rotation: &Rotation, now: Timestamp, paint: Paint) -> String {
    let phase = rotation.phase.to_string();
    let mut phase = match rotation.phase.value() {
        Phase::Completed => paint.good(&phase),
        Phase::Aborted | Phase::RolledBack => paint.bad(&phase),
        Phase::Unspecified
        | Phase::Planned
        | Phase::PausingReplication
        | Phase::Preparing
        | Phase::Swapping
        | Phase::Enforcing
        | Phase::ResumingReplication => paint.strong(&phase),
    };
    if rotation.paused {
        phase.push_str(&format!(", {}", paint.busy("paused")));
    }
    if let Some(since) = rotation.phase_since {
        phase.push_str(&format!(", since {}", told(since, now)));
    }
    let mut lines = vec![
        format!("Rotation   {}", paint.strong(&plain(&rotation.id))),
        format!("Phase      {phase}"),
        format!("Strategy   {}", rotation.strategy),
        format!(
            "Old        certificate {}, SHA-256 {}",
            rotation.from_generation,
            plain(&rotation.old_fingerprint)
        ),
        format!(
            "New        certificate {}, SHA-256 {}",
            rotation.to_generation,
            plain(&rotation.new_fingerprint)
        ),
        format!("Trust      revision {}", rotation.trust_revision),
    ];
    if let Some(started) = rotation.started_at {
        lines.push(format!("Started    {}", told(started, now)));
    }
    if let Some(ended) = rotation.ended_at {
        lines.push(format!("Ended      {}", told(ended, now)));
    }
    if !rotation.reason.is_empty() {
        lines.push(format!("Reason     {}", plain(&rotation.reason)));
    }
    lines.join("\n")
}

fn told(instant: Timestamp, now: Timestamp) -> String {
    format!(
        "{} ({})",
        words::instant(Some(instant)),
        words::relative(instant, now)
    )
}

fn steps(rotation: &Rotation, paint: Paint) -> String {
    let lines: Vec<String> = rotation
        .steps
        .iter()
        .map(|step| one_step(step, paint))
        .collect();
    lines.join("\n")
}

fn one_step(step: &Step, paint: Paint) -> String {
    let title = format!("{} {}", step.number, plain(&step.title));
    match step.state.value() {
        StepState::Done => format!("  {} {title}", paint.good("[x]")),
        StepState::Active => format!("  {} {}", paint.busy("[>]"), paint.strong(&title)),
        StepState::Skipped => format!("  [-] {title} (skipped)"),
        StepState::Pending | StepState::Unspecified => format!("  [ ] {title}"),
    }
}

fn progress(rotation: &Rotation) -> String {
    let mut lines = vec![format!(
        "{}: received {}, applied {}, proved {}, confirmed {} (most ever missing at a gate: {})",
        counted(rotation.clients, "client"),
        rotation.received,
        rotation.applied,
        rotation.proved,
        rotation.confirmed,
        rotation.waited_for,
    )];
    if rotation.expected_back > 0 {
        lines.push(format!(
            "{} of {} that were connected at the swap are back on the new certificate",
            rotation.returned, rotation.expected_back
        ));
    }
    if !rotation.groups.is_empty() {
        lines.push(output::rows(rotation.groups.iter().map(|group| {
            let of = group.clients;
            [
                group.group.clone(),
                bar(group),
                format!("applied {}/{of}", group.applied),
                format!("proved {}/{of}", group.proved),
                format!("confirmed {}/{of}", group.confirmed),
            ]
        })));
        lines.push("  (- applied, = proved, # confirmed)".to_owned());
    }
    lines.join("\n")
}

/// A cell is filled only when its whole share is reached, so that a full bar means everyone.
fn bar(group: &GroupProgress) -> String {
    let mut bar = String::from("[");
    for cell in 1..=BAR {
        let reached = |count: u32| {
            group.clients > 0
                && u64::from(cell) * u64::from(group.clients) <= u64::from(count) * u64::from(BAR)
        };
        bar.push(if reached(group.confirmed) {
            '#'
        } else if reached(group.proved) {
            '='
        } else if reached(group.applied) {
            '-'
        } else {
            '.'
        });
    }
    bar.push(']');
    bar
}

fn missing(rotation: &Rotation, now: Timestamp, named: usize) -> String {
    if rotation.missing_count == 0 {
        return String::new();
    }
    let shown: Vec<&Missing> = rotation.missing.iter().take(named).collect();
    let mut text = format!("Waiting for {}", counted(rotation.missing_count, "client"));
    if !shown.is_empty() {
        text.push('\n');
        text.push_str(&output::rows(shown.iter().map(|client| {
            [
                client.name.clone(),
                client.group.clone(),
                match client.evidence.to_string().as_str() {
                    "none" => "nothing yet".to_owned(),
                    evidence => evidence.to_owned(),
                },
                match client.reason.code.value() {
                    // Better than the reason's own words: how long ago.
                    ReasonCode::Off => {
                        format!(
                            "off: last seen {}",
                            words::seen(false, client.last_seen, now)
                        )
                    }
                    _ => client.reason.text.clone(),
                },
            ]
        })));
    }
    let unnamed = rotation
        .missing_count
        .saturating_sub(u32::try_from(shown.len()).unwrap_or(u32::MAX));
    if unnamed > 0 {
        text.push_str(&format!(
            "\n  and {unnamed} more (-o json names up to 1000)"
        ));
    }
    text
}

fn stayed_away(rotation: &Rotation, now: Timestamp, named: usize) -> String {
    if rotation.stayed_away_count == 0 {
        return String::new();
    }
    let shown = rotation.stayed_away.iter().take(named);
    let rows: Vec<_> = shown
        .map(|client| {
            [
                client.name.clone(),
                client.group.clone(),
                format!(
                    "now: {}",
                    words::seen(client.connected, client.last_seen, now)
                ),
            ]
        })
        .collect();
    let unnamed = rotation
        .stayed_away_count
        .saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    let mut text = format!(
        "Had not come back on the new certificate: {}\n{}",
        counted(rotation.stayed_away_count, "client"),
        output::rows(rows)
    );
    if unnamed > 0 {
        text.push_str(&format!(
            "\n  and {unnamed} more (-o json names up to 1000)"
        ));
    }
    text
}

fn cut_off(rotation: &Rotation, now: Timestamp, named: usize, paint: Paint) -> String {
    if rotation.cut_off_count == 0 {
        return String::new();
    }
    let shown: Vec<_> = rotation.cut_off.iter().take(named).collect();
    let mut text = paint.bad("Cut off: they trust nothing that the controller holds");
    if !shown.is_empty() {
        text.push('\n');
        text.push_str(&output::rows(shown.iter().map(|client| {
            [
                client.name.clone(),
                client.group.clone(),
                format!("last seen {}", words::seen(false, client.last_seen, now)),
            ]
        })));
    }
    let unnamed = rotation
        .cut_off_count
        .saturating_sub(u32::try_from(shown.len()).unwrap_or(u32::MAX));
    if unnamed > 0 {
        text.push_str(&format!(
            "\n  and {unnamed} more (-o json names up to 1000)"
        ));
    }
    text.push_str(
        "\n  On each host: stop its agent, `convoy-agent join TOKEN` in its own state folder, start it again",
    );
    text
}

fn waivers(rotation: &Rotation, now: Timestamp) -> String {
    if rotation.waivers.is_empty() {
        return String::new();
    }
    let rows = output::rows(rotation.waivers.iter().map(|waiver| {
        [
            waiver.client_name.clone(),
            match (waiver.expired, waiver.until) {
                (true, _) => "expired: waited for again".to_owned(),
                (false, Some(until)) => format!("until {}", told(until, now)),
                (false, None) => "until further notice".to_owned(),
            },
            waiver.reason.clone(),
            format!("by {}", waiver.actor),
        ]
    }));
    format!("Not waited for\n{rows}")
}

fn suspects(rotation: &Rotation, paint: Paint) -> String {
    if rotation.suspects.is_empty() {
        return String::new();
    }
    let rows = output::rows(
        rotation
            .suspects
            .iter()
            .map(|suspect| [suspect.name.clone(), suspect.suspicion.clone()]),
    );
    format!(
        "{}\n{rows}",
        paint.bad("Do not count until they show otherwise")
    )
}

#[cfg(test)]
mod tests {
    use super::{super::rotation::examples, *};

    fn now() -> Timestamp {
        "2026-08-01T13:00:00Z".parse().unwrap()
    }

    fn preparing() -> Rotation {
        examples::preparing().try_into().unwrap()
    }

    #[test]
    fn the_status_of_a_running_rotation() {
        assert_eq!(
            status(&preparing(), now(), Paint::Plain, NAMED),
            "\
Rotation   0198c2f0-0000-7000-8000-000000000001
Phase      Preparing, since 2026-08-01 10:01:00 UTC (2 h ago)
Strategy   overlap
Old        certificate 1, SHA-256 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
New        certificate 2, SHA-256 bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
Trust      revision 5
Started    2026-08-01 10:00:00 UTC (3 h ago)

  [-] 1 Break the replication relationship (skipped)
  [x] 2 Disable server certificate verification
  [>] 3 Wait for all clients to receive the updated policy
  [ ] 4 Update the server certificate
  [ ] 5 Enable server certificate verification again
  [ ] 6 Wait for all clients to receive the updated policy
  [ ] 7 Restore the replication relationship

5 clients: received 4, applied 4, proved 3, confirmed 0 (most ever missing at a gate: 4)
  berlin   [========================]  applied 2/2  proved 2/2  confirmed 0/2
  default  [========--------........]  applied 2/3  proved 1/3  confirmed 0/3
  (- applied, = proved, # confirmed)

Next: Look at pc-2: it does not verify the controller's certificate.

Degraded
  duty  since 2026-08-01 10:00:00 UTC  the disk is full

Expiring
  soon  certificate 1 expires

Waiting for 1 client
  pc-2  default  applied  off: last seen 3 h ago

Cut off: they trust nothing that the controller holds
  pc-4  berlin  last seen 3 h ago
  On each host: stop its agent, `convoy-agent join TOKEN` in its own state folder, start it again

Hint: 1 refused

Not waited for
  pc-3  until 2026-08-08 10:00:00 UTC (in 6 days)  on holiday  by root

Do not count until they show otherwise
  pc-2  accepted a decoy"
        );
    }

    #[test]
    fn what_does_not_apply_is_not_shown() {
        let mut rotation = preparing();
        rotation.missing.clear();
        rotation.missing_count = 0;
        rotation.cut_off.clear();
        rotation.cut_off_count = 0;
        rotation.refused_handshakes_hint.clear();
        rotation.waivers.clear();
        rotation.suspects.clear();
        rotation.advice.clear();
        rotation.degraded.clear();
        rotation.expiring.clear();
        let text = status(&rotation, now(), Paint::Plain, NAMED);
        assert!(
            text.ends_with("(- applied, = proved, # confirmed)"),
            "{text}"
        );
    }

    #[test]
    fn who_stayed_away_is_named() {
        let mut rotation = preparing();
        rotation.stayed_away = vec![
            super::super::rotation::StayedAway {
                id: "8c5a3f52".to_owned(),
                name: "pc-4".to_owned(),
                group: "default".to_owned(),
                last_seen: None,
                connected: true,
            };
            3
        ];
        rotation.stayed_away_count = 3;
        assert_eq!(
            stayed_away(&rotation, now(), 1),
            "\
Had not come back on the new certificate: 3 clients
  pc-4  default  now: connected
  and 2 more (-o json names up to 1000)"
        );
    }

    #[test]
    fn many_missing_are_counted_rather_than_named() {
        let mut rotation = preparing();
        rotation.missing = vec![rotation.missing[0].clone(); 5];
        rotation.missing_count = 1_200;
        let text = missing(&rotation, now(), 2);
        assert_eq!(text.lines().count(), 4);
        assert!(
            text.ends_with("  and 1198 more (-o json names up to 1000)"),
            "{text}"
        );
    }

    #[test]
    fn a_bar_is_full_only_when_nobody_is_missing() {
        let group = |clients, confirmed| GroupProgress {
            group: "g".to_owned(),
            clients,
            applied: confirmed,
            proved: confirmed,
            confirmed,
        };
        assert_eq!(bar(&group(1_000, 999)), format!("[{}.]", "#".repeat(23)));
        assert_eq!(bar(&group(1_000, 1_000)), format!("[{}]", "#".repeat(24)));
        assert_eq!(bar(&group(0, 0)), format!("[{}]", ".".repeat(24)));
    }

    #[test]
    fn colour_marks_what_matters_and_only_where_wanted() {
        let text = status(&preparing(), now(), Paint::Color, NAMED);
        assert!(text.contains("\x1b[32m[x]\x1b[0m 2 Disable"), "{text}");
        assert!(!status(&preparing(), now(), Paint::Plain, NAMED).contains('\x1b'));
    }
}
