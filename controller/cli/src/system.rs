//! `convoy status` and `convoy clock`: how the controller does, and what is wrong with it. What is wrong is never judged here.

use convoy_proto::v1::{self, Phase, system_service_client::SystemServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    args::{ClockCommand, Format},
    connect::Session,
    durations,
    failure::{Failure, Unreadable},
    output::{self, Paint, Screen},
    words::{self, Known, Spelled as _, counted, plain},
};

/// So many rows of handshakes are shown.
const NAMED: usize = 20;

/// How the controller does.
#[derive(Debug, Serialize)]
struct Status {
    ready: bool,
    unready_reason: String,
    degraded: Vec<Degraded>,
    clients: u32,
    connected: u32,
    rotation_id: String,
    rotation_phase: String,
    serving_generation: u64,
    serving_fingerprint: String,
    serving_not_after: Option<Timestamp>,
    time: Option<Timestamp>,
    version: String,
    expiring: Vec<Expiring>,
    refused_handshakes: Vec<Refused>,
    refused_handshakes_hint: String,
}

/// Handshakes in which a peer refused the certificate: a hint that anybody can forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Refused {
    address: String,
    label: String,
    words: String,
    count: u64,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
}

impl TryFrom<v1::RefusedHandshakes> for Refused {
    type Error = Unreadable;

    fn try_from(wire: v1::RefusedHandshakes) -> Result<Self, Unreadable> {
        Ok(Self {
            address: wire.address,
            label: wire.label,
            words: wire.words,
            count: wire.count,
            first_at: answers::instant(wire.first_at, "first_at")?,
            last_at: answers::instant(wire.last_at, "last_at")?,
        })
    }
}

/// Something that is wrong with the controller now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Degraded {
    pub(crate) code: String,
    pub(crate) words: String,
    pub(crate) since: Option<Timestamp>,
}

impl TryFrom<v1::DegradedReason> for Degraded {
    type Error = Unreadable;

    fn try_from(wire: v1::DegradedReason) -> Result<Self, Unreadable> {
        Ok(Self {
            code: wire.code,
            words: wire.words,
            since: answers::instant(wire.since, "since")?,
        })
    }
}

/// Something that has expired or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Expiring {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) expiry: Known<v1::Expiry>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) message: String,
}

impl TryFrom<v1::ExpiryNotice> for Expiring {
    type Error = Unreadable;

    fn try_from(wire: v1::ExpiryNotice) -> Result<Self, Unreadable> {
        Ok(Self {
            kind: wire.kind,
            name: wire.name,
            expiry: Known::read(wire.expiry)?,
            expires_at: answers::instant(wire.expires_at, "expires_at")?,
            message: wire.message,
        })
    }
}

impl TryFrom<v1::SystemStatus> for Status {
    type Error = Unreadable;

    fn try_from(wire: v1::SystemStatus) -> Result<Self, Unreadable> {
        let phase = Phase::try_from(wire.rotation_phase)
            .map_err(|_| Unreadable::new("has an unknown phase".to_owned()))?;
        Ok(Self {
            ready: wire.ready,
            unready_reason: wire.unready_reason,
            degraded: answers::all(wire.degraded)?,
            clients: wire.clients,
            connected: wire.connected,
            rotation_id: wire.rotation_id,
            rotation_phase: phase.spelling().unwrap_or("none").to_owned(),
            serving_generation: wire.serving_generation,
            serving_fingerprint: wire.serving_fingerprint,
            serving_not_after: answers::instant(wire.serving_not_after, "serving_not_after")?,
            time: answers::instant(wire.time, "time")?,
            version: wire.version,
            expiring: answers::all(wire.expiring)?,
            refused_handshakes: answers::all(wire.refused_handshakes)?,
            refused_handshakes_hint: wire.refused_handshakes_hint,
        })
    }
}

pub(crate) async fn status(session: &Session, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let answer = SystemServiceClient::new(session.channel().await?)
        .get_status(v1::GetStatusRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    let status: Status = answers::required(answer.status, "status")?.try_into()?;
    match session.format {
        Format::Json => screen.json(&status),
        Format::Text => screen.line(&text(&status, screen.paint)),
    }
}

pub(crate) async fn clock(
    session: &Session,
    screen: &mut Screen<'_>,
    command: ClockCommand,
) -> Result<(), Failure> {
    let ClockCommand::Confirm { time } = command;
    let request = v1::ConfirmClockRequest {
        request_id: session.request_id.clone(),
        time: Some(durations::instant_on_the_wire(time)),
    };
    let answer = SystemServiceClient::new(session.channel().await?)
        .confirm_clock(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let status: Status = answers::required(answer.status, "status")?.try_into()?;
    match session.format {
        Format::Json => screen.json(&status),
        Format::Text => {
            screen.note(&format!(
                "The controller believes its host's clock: {}. Gates open, and leases are renewed",
                words::instant(status.time)
            ));
            Ok(())
        }
    }
}

fn text(status: &Status, paint: Paint) -> String {
    let serves = match (status.ready, status.degraded.is_empty()) {
        (true, true) => paint.good("serving"),
        (true, false) => format!("serving, {}", paint.busy("degraded")),
        (false, _) => format!(
            "{}: {}",
            paint.bad("not serving agents"),
            plain(&status.unready_reason)
        ),
    };
    let rotation = match status.rotation_id.as_str() {
        "" => "none yet".to_owned(),
        id => format!("{}, {}", status.rotation_phase, plain(id)),
    };
    let certificate = match status.serving_generation {
        0 => "none".to_owned(),
        generation => format!(
            "{generation}, SHA-256 {}, valid until {}",
            plain(&status.serving_fingerprint),
            words::instant(status.serving_not_after)
        ),
    };
    let head = [
        format!("Controller   {serves} (version {})", plain(&status.version)),
        format!("Time         {}", words::instant(status.time)),
        format!(
            "Clients      {}, {} connected",
            counted(status.clients, "client"),
            status.connected
        ),
        format!("Certificate  {certificate}"),
        format!("Rotation     {rotation}"),
    ]
    .join("\n");
    let mut parts = vec![
        head,
        degraded(&status.degraded, paint),
        expiring(&status.expiring, paint),
        refused_rows(&status.refused_handshakes),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// What is wrong, a line for each. Empty if nothing is.
pub(crate) fn degraded(reasons: &[Degraded], paint: Paint) -> String {
    if reasons.is_empty() {
        return String::new();
    }
    let rows = output::rows(reasons.iter().map(|reason| {
        [
            reason.code.clone(),
            format!("since {}", words::instant(reason.since)),
            reason.words.clone(),
        ]
    }));
    format!("{}\n{rows}", paint.bad("Degraded"))
}

/// What has expired or is about to, a line for each. Empty if nothing is.
pub(crate) fn expiring(notices: &[Expiring], paint: Paint) -> String {
    if notices.is_empty() {
        return String::new();
    }
    let rows = output::rows(
        notices
            .iter()
            .map(|notice| [notice.expiry.to_string(), notice.message.clone()]),
    );
    format!("{}\n{rows}", paint.busy("Expiring"))
}

/// Who refused the certificate, a line for each label of each address. Empty if nobody did.
fn refused_rows(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return String::new();
    }
    let mut rows = output::rows(refused.iter().take(NAMED).map(|one| {
        [
            one.address.clone(),
            format!("{} times", one.count),
            format!("last {}", words::instant(one.last_at)),
            one.words.clone(),
        ]
    }));
    if let Some(more @ 1..) = refused.len().checked_sub(NAMED) {
        rows.push_str(&format!("\n  and {more} more (-o json)"));
    }
    format!(
        "Refused the certificate: a hint at clients that are cut off, which anybody can forge\n{rows}"
    )
}

/// The same in one line, beside a rotation. Empty if nobody did.
pub(crate) fn refused(hint: &str) -> String {
    match hint {
        "" => String::new(),
        hint => format!("Hint: {}", plain(hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::SystemStatus {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        v1::SystemStatus {
            ready: true,
            unready_reason: String::new(),
            degraded: vec![v1::DegradedReason {
                code: "duty".to_owned(),
                words: "the disk is full".to_owned(),
                since: at(1_785_578_400),
            }],
            clients: 5,
            connected: 4,
            rotation_id: "0198c2f0".to_owned(),
            rotation_phase: 3,
            serving_generation: 2,
            serving_fingerprint: "aa".to_owned(),
            serving_not_after: at(1_785_578_400),
            time: at(1_785_578_460),
            version: "0.1.0".to_owned(),
            expiring: vec![v1::ExpiryNotice {
                kind: "certificate".to_owned(),
                name: "2".to_owned(),
                expiry: v1::Expiry::Expired.into(),
                expires_at: at(1_785_578_400),
                message: "certificate 2 expired".to_owned(),
            }],
            refused_handshakes: vec![v1::RefusedHandshakes {
                address: "192.0.2.1".to_owned(),
                label: "convoy/t/1".to_owned(),
                words: "trusts anchors 1".to_owned(),
                count: 3,
                first_at: at(1_785_578_400),
                last_at: at(1_785_578_460),
            }],
            refused_handshakes_hint: "3 refused".to_owned(),
        }
    }

    #[test]
    fn what_is_wrong_stands_below_how_it_does() {
        let status = Status::try_from(wire()).unwrap();
        assert_eq!(
            text(&status, Paint::Plain),
            "\
Controller   serving, degraded (version 0.1.0)
Time         2026-08-01 10:01:00 UTC
Clients      5 clients, 4 connected
Certificate  2, SHA-256 aa, valid until 2026-08-01 10:00:00 UTC
Rotation     Preparing, 0198c2f0

Degraded
  duty  since 2026-08-01 10:00:00 UTC  the disk is full

Expiring
  expired  certificate 2 expired

Refused the certificate: a hint at clients that are cut off, which anybody can forge
  192.0.2.1  3 times  last 2026-08-01 10:01:00 UTC  trusts anchors 1"
        );
    }

    #[test]
    fn who_cannot_serve_says_why() {
        let status = Status::try_from(v1::SystemStatus {
            ready: false,
            unready_reason: "the keeper has stopped".to_owned(),
            degraded: vec![],
            rotation_id: String::new(),
            rotation_phase: 0,
            expiring: vec![],
            refused_handshakes: vec![],
            ..wire()
        })
        .unwrap();
        let text = text(&status, Paint::Plain);
        assert!(
            text.starts_with("Controller   not serving agents: the keeper has stopped (")
                && text.ends_with("Rotation     none yet"),
            "{text}"
        );
        assert_eq!(status.rotation_phase, "none");
    }
}
