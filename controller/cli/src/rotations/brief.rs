//! A rotation in a few words: a line of a log, an ending, a row of a list. The clock is never read, and nothing is printed here.

use super::rotation::Rotation;
use crate::{
    output,
    words::{self, plain},
};

/// How many missing clients one line names.
const NAMED_IN_LINE: usize = 3;

/// One line per change, for logs.
pub(super) fn line(rotation: &Rotation) -> String {
    let mut line = rotation.phase.to_string();
    if rotation.paused {
        line.push_str(" (paused)");
    }
    if let Some(step) = rotation.active_step() {
        line.push_str(&format!(", step {} {}", step.number, plain(&step.title)));
    }
    let clients = rotation.clients;
    line.push_str(&format!(
        ": applied {}/{clients}, proved {}/{clients}, confirmed {}/{clients}",
        rotation.applied, rotation.proved, rotation.confirmed
    ));
    if rotation.expected_back > 0 {
        line.push_str(&format!(
            ", returned {}/{}",
            rotation.returned, rotation.expected_back
        ));
    }
    if rotation.missing_count > 0 {
        let mut names: Vec<String> = rotation
            .missing
            .iter()
            .take(NAMED_IN_LINE)
            .map(|client| plain(&client.name))
            .collect();
        if rotation.missing_count > u32::try_from(names.len()).unwrap_or(u32::MAX) {
            names.push("…".to_owned());
        }
        line.push_str(&format!(
            ", missing {} ({})",
            rotation.missing_count,
            names.join(", ")
        ));
    }
    line
}

/// How it ended, for whoever watched it to an end that was not wanted.
pub(super) fn ending(rotation: &Rotation) -> String {
    let mut text = format!(
        "rotation {} ended as {}",
        plain(&rotation.id),
        rotation.phase
    );
    if !rotation.reason.is_empty() {
        text.push_str(&format!(": {}", plain(&rotation.reason)));
    }
    text.push_str(&match rotation.advice.as_str() {
        "" => format!(
            ". The old certificate is served. When the cause is gone, start anew: convoy rotation start --to {}",
            rotation.to_generation
        ),
        advice => format!(". {}", plain(advice)),
    });
    text
}

/// All rotations, a row each.
pub(super) fn list(rotations: &[Rotation]) -> String {
    output::table(
        [
            "ID",
            "PHASE",
            "STRATEGY",
            "FROM",
            "TO",
            "CLIENTS",
            "CONFIRMED",
            "STARTED",
            "ENDED",
        ],
        rotations.iter().map(|rotation| {
            let paused = if rotation.paused { " (paused)" } else { "" };
            [
                rotation.id.clone(),
                format!("{}{paused}", rotation.phase),
                rotation.strategy.to_string(),
                rotation.from_generation.to_string(),
                rotation.to_generation.to_string(),
                rotation.clients.to_string(),
                rotation.confirmed.to_string(),
                words::instant(rotation.started_at),
                words::instant(rotation.ended_at),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::{super::rotation::examples, *};

    fn preparing() -> Rotation {
        examples::preparing().try_into().unwrap()
    }

    #[test]
    fn many_missing_are_counted_rather_than_named() {
        let mut rotation = preparing();
        rotation.missing = vec![rotation.missing[0].clone(); 5];
        rotation.missing_count = 1_200;
        assert!(line(&rotation).ends_with("missing 1200 (pc-2, pc-2, pc-2, …)"));
    }

    #[test]
    fn one_line_tells_where_it_is() {
        let mut rotation = preparing();
        rotation.paused = true;
        rotation.expected_back = 4;
        rotation.returned = 3;
        assert_eq!(
            line(&rotation),
            "Preparing (paused), step 3 Wait for all clients to receive the updated policy: applied 4/5, proved 3/5, \
             confirmed 0/5, returned 3/4, missing 1 (pc-2)"
        );
    }

    #[test]
    fn an_unwanted_end_says_why_and_what_next() {
        let mut rotation: Rotation = convoy_proto::v1::Rotation {
            phase: 9,
            ..examples::preparing()
        }
        .try_into()
        .unwrap();
        rotation.reason = "4 clients did not return".to_owned();
        rotation.advice.clear();
        assert_eq!(
            ending(&rotation),
            "rotation 0198c2f0-0000-7000-8000-000000000001 ended as RolledBack: 4 clients did not return. The old \
             certificate is served. When the cause is gone, start anew: convoy rotation start --to 2"
        );
    }

    #[test]
    fn a_list_has_a_row_per_rotation() {
        assert_eq!(
            list(&[preparing()]),
            "\
ID                                    PHASE      STRATEGY  FROM  TO  CLIENTS  CONFIRMED  STARTED                  ENDED
0198c2f0-0000-7000-8000-000000000001  Preparing  overlap   1     2   5        0          2026-08-01 10:00:00 UTC  -"
        );
    }
}
