//! Manual requests: an order over the client's session, and its answer. Nothing of them is kept but what the device reports later.

use std::{collections::HashMap, time::Duration};

use convoy_fleet::{
    client::{Client, ClientNumber, ClientState},
    event::Actor,
    refusal::Refusal,
};
use convoy_proto::{
    scep::write_settings,
    v1::{RequestScepCertificateRequest, RequestScepCertificateResponse, ScepOrder},
};
use convoy_shared::settings::{ChallengeSource, ScepPatch, ScepSettings};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{Api, find_client, patch, secret, status, warn};
use crate::{scep::pinned, sessions::NoSession};

/// How long a device may take to say what becomes of an order.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings that are the timer's, and mean nothing to a request that is made now.
const TIMER: [&str; 7] = [
    "timer",
    "request_start",
    "auto_adjust",
    "periodic",
    "restart",
    "capacity",
    "window",
];

impl Api {
    pub(super) async fn request_certificate(
        &self,
        asked: RequestScepCertificateRequest,
        actor: &Actor,
    ) -> Result<RequestScepCertificateResponse, Status> {
        secret("challenge", &asked.challenge)?;
        let patch = patch(asked.patch)?;
        let client = find_client(&self.keeper.read(), &asked.client)?;
        let (record, settings, mut warnings) = self.ordered(client, &patch, &asked.challenge)?;
        let url = self.scep.url(&settings).ok_or_else(|| {
            status::failed(
                "SCEP_SERVER_MISSING",
                "there is no SCEP server to ask: set server to an http:// URL, or to built-in where the controller serves SCEP (--scep-addr)",
            )
        })?;
        let order = ScepOrder {
            id: uuid::Uuid::new_v4().as_bytes().to_vec().into(),
            settings: Some(write_settings(&settings)),
            url,
            challenge: asked.challenge,
            restart: asked.restart,
        };
        // Before the device hears of it: it may ask for its challenge at once.
        let id = order.id.clone();
        self.scep.devices.order(client, id.clone(), settings);
        let answered = self.sessions.order(client, order).map_err(|none| {
            self.scep.devices.answered(client, &id, None);
            let reason = match none {
                NoSession::NotConnected => "NOT_CONNECTED",
                NoSession::Busy => "BUSY",
            };
            status::failed(reason, &none.to_string())
        })?;
        tracing::info!(client = %record.id, ?actor, "SCEP request ordered");
        let answer = match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                return Err(unknown(
                    Code::Aborted,
                    "SESSION_ENDED",
                    "the client's session ended before it answered",
                ));
            }
            Err(_) => {
                return Err(unknown(
                    Code::DeadlineExceeded,
                    "NO_ANSWER",
                    "the client did not answer in time",
                ));
            }
        };
        if answer.attempt == 0 {
            return Err(status::failed(
                "REFUSED_BY_DEVICE",
                &format!("the device refuses: {}", answer.reason),
            ));
        }
        warnings.extend(answer.warnings);
        Ok(RequestScepCertificateResponse {
            attempt: answer.attempt,
            warnings,
        })
    }

    /// The settings of a request that may be made, and what one should know about it.
    fn ordered(
        &self,
        client: ClientNumber,
        patch: &ScepPatch,
        challenge: &str,
    ) -> Result<(Client, ScepSettings, Vec<String>), Status> {
        let fleet = self.keeper.read();
        let record = fleet
            .client(client)
            .ok_or_else(|| status::refused(&Refusal::NoSuchClient))?;
        if record.state == ClientState::Decommissioned {
            return Err(status::refused(&Refusal::ClientDecommissioned));
        }
        let enrolment = fleet.enrolment();
        let own = enrolment.client(client, &record.group);
        let settings = for_now(&own, patch, &record.name)?;
        if challenge.is_empty() {
            let ndes = match settings.challenge {
                ChallengeSource::None | ChallengeSource::BuiltIn => None,
                ChallengeSource::Stored => Some(false),
                ChallengeSource::Ndes => Some(true),
            };
            if let Some(ndes) = ndes
                && enrolment.secret_for(client, &record.group, ndes).is_none()
            {
                return Err(status::failed(
                    "CHALLENGE_MISSING",
                    "the controller was not given the password that the settings want: store it, or give a challenge password with the request",
                ));
            }
        }
        let supports = enrolment
            .requests(client)
            .map_or(&[][..], |requests| &requests.supports);
        let warnings = warn::of_request(&settings, supports);
        Ok((record.clone(), pinned(&fleet, settings), warnings))
    }
}

/// The settings for a request that is made now.
fn for_now(own: &ScepSettings, patch: &ScepPatch, name: &str) -> Result<ScepSettings, Status> {
    if own.timer {
        return Err(status::failed(
            "TIMER_ON",
            &format!(
                "the auto-request timer of {name} is on, and no certificate can be requested by hand meanwhile. Turn it off first: `convoy scep timer off`"
            ),
        ));
    }
    let fields: Vec<_> = patch
        .fields()
        .into_iter()
        .filter(|field| TIMER.contains(field))
        .collect();
    if !fields.is_empty() {
        return Err(status::invalid(
            "patch",
            &format!(
                "{} mean nothing to a request that is made now; whether the device restarts afterwards is said with the request itself",
                fields.join(", ")
            ),
        ));
    }
    let settings = patch.over(own);
    settings
        .check()
        .map_err(|bad| status::refused(&Refusal::BadSetting(bad.to_string())))?;
    Ok(settings)
}

/// Nobody can say what became of an order.
fn unknown(code: Code, reason: &str, what: &str) -> Status {
    status::with_metadata(
        code,
        reason,
        &format!(
            "{what}: the request may be under way all the same; `convoy scep status` shows it"
        ),
        HashMap::new(),
    )
}

#[cfg(test)]
mod tests {
    use convoy_shared::settings::{Periodic, RequestStart};

    use super::*;

    #[test]
    fn a_manual_request_waits_for_the_timer_to_be_off() {
        let own = ScepSettings {
            timer: true,
            ..ScepSettings::default()
        };
        let refused = for_now(&own, &ScepPatch::default(), "printer");
        assert!(refused.is_err_and(|status| status.message().contains("printer")));
        let own = ScepSettings::default();
        assert!(for_now(&own, &ScepPatch::default(), "printer").is_ok());
    }

    #[test]
    fn a_manual_request_has_no_timer_of_its_own() {
        let own = ScepSettings::default();
        for patch in [
            ScepPatch {
                timer: Some(false),
                ..ScepPatch::default()
            },
            ScepPatch {
                request_start: Some(RequestStart::AtOnce),
                ..ScepPatch::default()
            },
            ScepPatch {
                periodic: Some(Periodic::Off),
                ..ScepPatch::default()
            },
            ScepPatch {
                restart: Some(true),
                ..ScepPatch::default()
            },
        ] {
            let refused = for_now(&own, &patch, "printer");
            assert!(refused.is_err_and(|status| status.code() == Code::InvalidArgument));
        }
        let patch = ScepPatch {
            common_name: Some(String::new()),
            ..ScepPatch::default()
        };
        assert!(for_now(&own, &patch, "printer").is_err());
        let patch = ScepPatch {
            common_name: Some("{ip}".to_owned()),
            polls: Some(0),
            ..ScepPatch::default()
        };
        let settings = for_now(&own, &patch, "printer");
        assert!(settings.is_ok_and(|settings| settings.common_name == "{ip}"));
        // Every field of the list exists.
        let all = ScepPatch::all(&own).fields();
        assert!(TIMER.iter().all(|field| all.contains(field)));
    }
}
