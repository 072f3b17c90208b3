//! `convoy scep plan`: the load that is to come. It is computed by the controller, and only drawn here.

use convoy_proto::{
    scep,
    v1::{self, scep_service_client::ScepServiceClient},
};
use convoy_shared::settings::ScepPatch;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{args, chart};
use crate::{
    answers,
    args::Format,
    connect::Session,
    failure::{Failure, Unreadable},
    output::Screen,
    words::{self, counted, plain},
};

/// The load of one SCEP server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Load {
    pub(super) url: String,
    pub(super) devices: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) peak_per_second: u32,
    pub(super) capacity: String,
    #[serde(rename = "step_seconds", serialize_with = "seconds")]
    pub(super) step: SignedDuration,
    pub(super) requests: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Planned {
    servers: Vec<Load>,
    warnings: Vec<String>,
}

fn seconds<S: serde::Serializer>(step: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(step.as_secs_f64())
}

impl TryFrom<v1::ScepLoad> for Load {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepLoad) -> Result<Self, Unreadable> {
        let instant = |wire, what| answers::required(answers::instant(wire, what)?, what);
        let step = answers::required(wire.step, "step")?;
        Ok(Self {
            url: wire.url,
            devices: wire.devices,
            first: instant(wire.first, "first")?,
            last: instant(wire.last, "last")?,
            peak_per_second: wire.peak_per_second,
            capacity: wire.capacity,
            step: SignedDuration::new(step.seconds, 0)
                + SignedDuration::from_nanos(step.nanos.into()),
            requests: wire.requests,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: args::Plan,
) -> Result<(), Failure> {
    let tried = command.flags.patch()?;
    if !tried.is_empty() && command.group.is_none() {
        return Err(Failure::Usage(
            "settings are tried on one group. Say which with --group G".to_owned(),
        ));
    }
    let patch = (!tried.is_empty()).then(|| {
        let timer = ScepPatch {
            timer: Some(true),
            ..ScepPatch::default()
        };
        scep::write_patch(&timer.after(&tried))
    });
    let request = v1::PlanScepRequest {
        group: command.group.unwrap_or_default(),
        patch,
    };
    let answer = ScepServiceClient::new(session.channel().await?)
        .plan_scep(request)
        .await
        .map_err(Failure::asking)?
        .into_inner();
    let planned = Planned {
        servers: answers::all(answer.servers)?,
        warnings: answer.warnings,
    };
    match session.format {
        Format::Json => screen.json(&planned),
        Format::Text => {
            let drawn: Vec<String> = planned.servers.iter().map(drawn).collect();
            if drawn.is_empty() {
                screen.note(
                    "No device will request anything. Turn a timer on with `convoy scep timer on`, or try settings on a group",
                );
            } else {
                screen.line(&drawn.join("\n\n"))?;
            }
            for warning in &planned.warnings {
                screen.note(&format!("warning: {}", plain(warning)));
            }
            Ok(())
        }
    }
}

fn drawn(load: &Load) -> String {
    format!(
        "{}: {}, from {} to {}\nAt most {} per second; capacity {}\n\n{}",
        plain(&load.url),
        counted(load.devices, "device"),
        words::instant(Some(load.first)),
        words::instant(Some(load.last)),
        counted(load.peak_per_second, "request"),
        match load.capacity.as_str() {
            "off" | "" => "not given (--capacity)".to_owned(),
            capacity => format!("{} per second", plain(capacity)),
        },
        chart::bars(load.first, load.step, &load.requests)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_drawn_with_its_times_peak_and_capacity() {
        let first: Timestamp = "2026-08-01T02:00:00Z".parse().unwrap();
        let load = Load {
            url: "http://ca.example/scep".to_owned(),
            devices: 70,
            first,
            last: first + SignedDuration::from_secs(239),
            peak_per_second: 2,
            capacity: "2.5".to_owned(),
            step: SignedDuration::from_secs(60),
            requests: vec![40.0, 20.0, 0.0, 10.0],
        };
        assert_eq!(
            drawn(&load),
            "\
http://ca.example/scep: 70 devices, from 2026-08-01 02:00:00 UTC to 2026-08-01 02:03:59 UTC
At most 2 requests per second; capacity 2.5 per second

  02:00:00 |################################################## 40
  02:01:00 |######################### 20
  02:02:00 |
  02:03:00 |############ 10
  (requests in each 1m)"
        );
    }
}
