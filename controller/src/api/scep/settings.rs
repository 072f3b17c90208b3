//! Settings and their secrets: shown, changed, stored. Whether a change may be is decided in the fleet; what only concerns certificates' lifetimes, here.

use convoy_fleet::{
    client::{ClientNumber, ClientState},
    decide::{self, Command},
    enrolment::{Audience, EnrolmentCommand, EnrolmentEvent},
    event::{Actor, Event, Request},
    issuance::Profile,
    refusal::Refusal,
    state::Fleet,
};
use convoy_proto::{
    scep::{write_patch, write_settings},
    v1::{
        GetScepSettingsResponse, SetScepSettingsRequest, SetScepSettingsResponse,
        StoreScepChallengeRequest,
    },
};
use convoy_shared::{
    enrolment::{IssuedCertificate, RequestState},
    id::{GroupName, Revision},
    settings::{ChallengeSource, Periodic, ScepPatch, ScepServer, ScepSettings},
};
use jiff::SignedDuration;
use tonic::Status;

use super::{
    Api, audience, load, patch, secret, status,
    warn::{self, Circumstances},
};
use crate::{clock, scep::secrets::Name};

impl Api {
    pub(super) fn scep_settings(
        &self,
        fleet: &Fleet,
        audience: &Audience,
    ) -> Result<GetScepSettingsResponse, Status> {
        let effective = effective(fleet, audience)?;
        let stored = stored(
            fleet,
            audience,
            effective.challenge == ChallengeSource::Ndes,
        )?;
        let held = match audience {
            Audience::Group(_) => None,
            Audience::Client(client) => fleet.enrolment().requests(*client),
        };
        Ok(GetScepSettingsResponse {
            set: Some(write_patch(&fleet.enrolment().set(audience))),
            revision: revision(fleet, audience)?.0,
            url: self.scep.url(&effective).unwrap_or_default(),
            challenge_stored: stored,
            held_revision: held.map_or(0, |requests| requests.held.0),
            effective: Some(write_settings(&effective)),
        })
    }

    pub(super) async fn set_settings(
        &self,
        asked: SetScepSettingsRequest,
        actor: Actor,
        named: Option<Request>,
    ) -> Result<SetScepSettingsResponse, Status> {
        let patch = patch(asked.patch)?;
        let (audience, command) = {
            let fleet = self.keeper.read();
            let audience = audience(&fleet, asked.audience)?;
            outlives(&fleet, &audience, &patch, asked.reset)?;
            let command = Command::Enrolment(EnrolmentCommand::SetSettings {
                audience: audience.clone(),
                patch: Box::new(patch),
                reset: asked.reset,
            });
            (audience, command)
        };
        if !asked.validate_only {
            self.decide(command, actor, named).await?;
            let fleet = self.keeper.read();
            let holds = effective(&fleet, &audience)?;
            let revision = revision(&fleet, &audience)?;
            return self.answer(&fleet, &audience, &holds, revision);
        }
        let fleet = self.keeper.read();
        let events = decide::decide(&fleet, command, clock::now())
            .map_err(|refusal| status::refused(&refusal))?;
        let set = events.into_iter().find_map(|event| match event {
            Event::Enrolment(EnrolmentEvent::SettingsSet {
                revision, patch, ..
            }) => Some((revision, patch)),
            _ => None,
        });
        let (revision, holds) = match set {
            Some((revision, patch)) => (revision, over(&fleet, &audience, &patch)?),
            None => (revision(&fleet, &audience)?, effective(&fleet, &audience)?),
        };
        self.answer(&fleet, &audience, &holds, revision)
    }

    fn answer(
        &self,
        fleet: &Fleet,
        audience: &Audience,
        holds: &ScepSettings,
        revision: Revision,
    ) -> Result<SetScepSettingsResponse, Status> {
        let circumstances = Circumstances {
            serves: self.scep.url.is_some(),
            challenge_stored: stored(fleet, audience, false)?,
            ndes_stored: stored(fleet, audience, true)?,
        };
        let mut warnings = warn::of_settings(holds, circumstances);
        if let Audience::Group(group) = audience {
            warnings.extend(load::warnings(fleet, group, holds, clock::now()));
        }
        Ok(SetScepSettingsResponse {
            effective: Some(write_settings(holds)),
            revision: revision.0,
            warnings,
        })
    }

    /// First the file, then the journal: a crash in between leaves a secret that nobody asks for.
    pub(super) async fn store_secret(
        &self,
        asked: StoreScepChallengeRequest,
        actor: Actor,
    ) -> Result<(), Status> {
        secret("secret", &asked.secret)?;
        let (name, command) = {
            let fleet = self.keeper.read();
            let audience = audience(&fleet, asked.audience)?;
            let command = Command::Enrolment(EnrolmentCommand::NoteSecret {
                audience: audience.clone(),
                ndes: asked.ndes,
                present: !asked.secret.is_empty(),
            });
            // What would be refused touches no file.
            decide::decide(&fleet, command.clone(), clock::now())
                .map_err(|refusal| status::refused(&refusal))?;
            let id = match &audience {
                Audience::Group(_) => None,
                Audience::Client(client) => fleet.client(*client).map(|client| client.id),
            };
            (Name::new(&audience, id, asked.ndes), command)
        };
        self.scep
            .secrets()
            .and_then(|stored| stored.keep(&name, &asked.secret))
            .map_err(|error| {
                tracing::error!(error = format!("{error:#}"), "cannot store a SCEP secret");
                status::failed(
                    "SECRET_NOT_STORED",
                    "nothing has changed: the password cannot be stored, and the controller's log says why",
                )
            })?;
        self.decide(command, actor, None).await?;
        Ok(())
    }
}

/// What holds for an audience.
fn effective(fleet: &Fleet, audience: &Audience) -> Result<ScepSettings, Status> {
    over(fleet, audience, &fleet.enrolment().set(audience))
}

/// What would hold if this was all that is set for it.
fn over(fleet: &Fleet, audience: &Audience, patch: &ScepPatch) -> Result<ScepSettings, Status> {
    Ok(match audience {
        Audience::Group(_) => patch.over(&ScepSettings::default()),
        Audience::Client(client) => patch.over(&fleet.enrolment().group(group_of(fleet, *client)?)),
    })
}

fn revision(fleet: &Fleet, audience: &Audience) -> Result<Revision, Status> {
    let enrolment = fleet.enrolment();
    Ok(match audience {
        Audience::Group(group) => enrolment.revision_of_group(group),
        Audience::Client(client) => enrolment.revision_of(*client, group_of(fleet, *client)?),
    })
}

/// Whether there is a secret for an audience: for a client, its own or its group's.
fn stored(fleet: &Fleet, audience: &Audience, ndes: bool) -> Result<bool, Status> {
    let enrolment = fleet.enrolment();
    Ok(match audience {
        Audience::Group(_) => enrolment.is_stored(audience, ndes),
        Audience::Client(client) => enrolment
            .secret_for(*client, group_of(fleet, *client)?, ndes)
            .is_some(),
    })
}

fn group_of(fleet: &Fleet, client: ClientNumber) -> Result<&GroupName, Status> {
    fleet
        .client(client)
        .map(|record| &record.group)
        .ok_or_else(|| status::refused(&Refusal::NoSuchClient))
}

/// Refuses an interval after which the certificates have expired already, where their lifetime is known.
fn outlives(
    fleet: &Fleet,
    audience: &Audience,
    patch: &ScepPatch,
    reset: bool,
) -> Result<(), Status> {
    let before = effective(fleet, audience)?;
    let set = if reset {
        patch.clone()
    } else {
        patch.after(&fleet.enrolment().set(audience))
    };
    let after = over(fleet, audience, &set)?;
    let change = ScepPatch::between(&before, &after);
    // Whatever else is set, above all that the timer is off, is no matter of lifetimes.
    let concerned =
        change.periodic.is_some() || change.server.is_some() || change.timer == Some(true);
    let Periodic::Every(interval) = after.periodic else {
        return Ok(());
    };
    if !concerned {
        return Ok(());
    }
    match lifetime(fleet, audience, &before, &after) {
        Some((lifetime, whose)) if interval >= lifetime => {
            Err(status::refused(&Refusal::BadSetting(format!(
                "periodic: {interval:#} is not shorter than {whose}, {lifetime:#}: certificates would expire before they are renewed"
            ))))
        }
        Some(_) | None => Ok(()),
    }
}

/// How long certificates of this server are valid, and from where that is known. `None`: it is not.
fn lifetime(
    fleet: &Fleet,
    audience: &Audience,
    before: &ScepSettings,
    after: &ScepSettings,
) -> Option<(SignedDuration, &'static str)> {
    match &after.server {
        ScepServer::None => None,
        ScepServer::BuiltIn => fleet
            .issuance()
            .profile(&Profile::default().name)
            .map(|profile| (profile.lifetime, "certificates of the built-in CA live")),
        // What another server has issued says nothing.
        ScepServer::Url(_) if before.server != after.server => None,
        ScepServer::Url(_) => newest(fleet, audience).map(|newest| {
            (
                newest.not_after.duration_since(newest.not_before),
                "the newest certificate of this server lives",
            )
        }),
    }
}

/// The newest certificate that a client of the audience has obtained.
fn newest<'a>(fleet: &'a Fleet, audience: &Audience) -> Option<&'a IssuedCertificate> {
    let of = |client: ClientNumber| {
        let records = &fleet.enrolment().requests(client)?.records;
        records.iter().rev().find_map(|record| match &record.state {
            RequestState::Successful(certificate) => Some(certificate),
            RequestState::ToBeProcessed
            | RequestState::Processing { .. }
            | RequestState::Error(_) => None,
        })
    };
    match audience {
        Audience::Client(client) => of(*client),
        Audience::Group(group) => fleet
            .clients()
            .filter(|(_, client)| {
                client.group == *group && client.state != ClientState::Decommissioned
            })
            .filter_map(|(number, _)| of(number))
            .max_by_key(|certificate| certificate.issued_at),
    }
}
