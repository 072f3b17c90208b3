//! The audit file: one JSON object a line, each something that must never be forgotten. What it means is the controller's to say.

use convoy_proto::v1::{AuditMark, DecommissionedMark, RetiredMark, RevokedMark, audit_mark::Kind};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    answers,
    failure::{Failure, Unreadable},
};

/// A line.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// A client was removed for good.
    Decommissioned {
        fleet: String,
        client: String,
        name: String,
    },
    /// A server certificate is served to nobody any more.
    Retired {
        fleet: String,
        fingerprint: String,
        generation: u64,
    },
    /// A certificate of the built-in SCEP CA was revoked.
    Revoked {
        fleet: String,
        serial: String,
        authority: u32,
        spki_sha256: String,
        not_after: Timestamp,
        at: Timestamp,
        reason: String,
    },
}

/// The file's text.
pub(super) fn written(marks: Vec<AuditMark>) -> Result<String, Failure> {
    let mut text = String::new();
    for mark in marks {
        let line =
            serde_json::to_string(&line(mark)?).map_err(|error| Failure::Output(error.into()))?;
        text += &line;
        text.push('\n');
    }
    Ok(text)
}

fn line(mark: AuditMark) -> Result<Line, Failure> {
    let fleet = mark.fleet;
    Ok(match answers::required(mark.kind, "kind")? {
        Kind::Decommissioned(mark) => Line::Decommissioned {
            fleet,
            client: mark.client,
            name: mark.name,
        },
        Kind::Retired(mark) => Line::Retired {
            fleet,
            fingerprint: mark.fingerprint,
            generation: mark.generation,
        },
        Kind::Revoked(mark) => Line::Revoked {
            fleet,
            serial: mark.serial,
            authority: mark.authority,
            spki_sha256: mark.spki_sha256,
            not_after: moment(mark.not_after, "not_after")?,
            at: moment(mark.at, "at")?,
            reason: mark.reason,
        },
    })
}

fn moment(
    wire: Option<prost_types::Timestamp>,
    field: &'static str,
) -> Result<Timestamp, Unreadable> {
    answers::required(answers::instant(wire, field)?, field)
}

/// Reads the file: all of it, or nothing.
pub(super) fn read(text: &str, path: &str) -> Result<Vec<AuditMark>, Failure> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line).map(mark).map_err(|error| {
                Failure::Declined(format!(
                    "{path}, line {}: {error}. Each line is one that `convoy audit export` wrote; nothing was changed",
                    index.saturating_add(1)
                ))
            })
        })
        .collect()
}

fn mark(line: Line) -> AuditMark {
    let wire = |time: Timestamp| {
        Some(prost_types::Timestamp {
            seconds: time.as_second(),
            nanos: time.subsec_nanosecond(),
        })
    };
    let (fleet, kind) = match line {
        Line::Decommissioned {
            fleet,
            client,
            name,
        } => (
            fleet,
            Kind::Decommissioned(DecommissionedMark { client, name }),
        ),
        Line::Retired {
            fleet,
            fingerprint,
            generation,
        } => (
            fleet,
            Kind::Retired(RetiredMark {
                fingerprint,
                generation,
            }),
        ),
        Line::Revoked {
            fleet,
            serial,
            authority,
            spki_sha256,
            not_after,
            at,
            reason,
        } => (
            fleet,
            Kind::Revoked(RevokedMark {
                serial,
                authority,
                spki_sha256,
                not_after: wire(not_after),
                at: wire(at),
                reason,
            }),
        ),
    };
    AuditMark {
        fleet,
        kind: Some(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = concat!(
            r#"{"kind":"decommissioned","fleet":"f","client":"c","name":"pc-1"}"#,
            "\n",
            r#"{"kind":"retired","fleet":"f","fingerprint":"00","generation":1}"#,
            "\n",
            r#"{"kind":"revoked","fleet":"f","serial":"0a","authority":1,"spki_sha256":"11","not_after":"2027-01-01T00:00:00Z","at":"2026-08-01T00:00:00.5Z","reason":"keyCompromise"}"#,
            "\n",
        );
        assert_eq!(written(read(text, "f").unwrap()).unwrap(), text);
        assert!(read("\n \n", "f").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for bad in [
            "{}",
            r#"{"kind":"forgotten","fleet":"f"}"#,
            r#"{"kind":"decommissioned","fleet":"f","client":"c","name":"n","more":1}"#,
            r#"{"kind":"decommissioned","fleet":"f"}"#,
            "garbage",
        ] {
            let refusal = read(&format!("\n{bad}\n"), "kept.jsonl").unwrap_err();
            assert!(
                refusal.to_string().contains("kept.jsonl, line 2"),
                "{bad}: {refusal}"
            );
        }
    }
}
