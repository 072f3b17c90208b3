//! `convoy rotation`: its commands. A gate is never opened here; that is the controller's append alone.

mod brief;
mod rotation;
mod text;
pub(crate) mod watch;

use convoy_proto::v1::{self, rotation_service_client::RotationServiceClient};
use rotation::Rotation;
#[cfg(test)]
pub(crate) use rotation::examples;

use crate::{
    answers,
    args::{Format, RotationCommand, Start, Strategy, Waive},
    clock,
    connect::Session,
    durations,
    failure::{Failure, Unreadable},
    output::Screen,
    words,
};

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: RotationCommand,
) -> Result<(), Failure> {
    let request_id = session.request_id.clone();
    match command {
        RotationCommand::Start(start) => self::start(session, screen, start).await,
        RotationCommand::Status { id, watch: true } => {
            watch::watch(
                session,
                screen,
                id.unwrap_or_default(),
                watch::Patience::OF_PEOPLE,
            )
            .await
        }
        RotationCommand::Status { id, watch: false } => {
            status(session, screen, id.unwrap_or_default()).await
        }
        RotationCommand::Pause { id } => {
            let request = v1::PauseRotationRequest {
                request_id,
                id: id.unwrap_or_default(),
            };
            let answer = RotationServiceClient::new(session.channel().await?)
                .pause_rotation(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            changed(session, screen, answer.rotation, |rotation| {
                format!(
                    "Rotation {} is paused in {}: what is published stays published, and no phase begins until \
                     `convoy rotation resume`",
                    words::plain(&rotation.id),
                    rotation.phase
                )
            })
        }
        RotationCommand::Resume { id } => {
            let request = v1::ResumeRotationRequest {
                request_id,
                id: id.unwrap_or_default(),
            };
            let answer = RotationServiceClient::new(session.channel().await?)
                .resume_rotation(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            changed(session, screen, answer.rotation, |rotation| {
                format!(
                    "Rotation {} goes on from {}",
                    words::plain(&rotation.id),
                    rotation.phase
                )
            })
        }
        RotationCommand::Abort { id } => {
            let request = v1::AbortRotationRequest {
                request_id,
                id: id.unwrap_or_default(),
            };
            let answer = RotationServiceClient::new(session.channel().await?)
                .abort_rotation(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            changed(session, screen, answer.rotation, |rotation| {
                format!(
                    "Rotation {} is {}: the old trust is published again, and nobody is waited for",
                    words::plain(&rotation.id),
                    rotation.phase
                )
            })
        }
        RotationCommand::Rollback { id } => {
            let request = v1::RollBackRotationRequest {
                request_id,
                id: id.unwrap_or_default(),
            };
            let answer = RotationServiceClient::new(session.channel().await?)
                .roll_back_rotation(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            changed(session, screen, answer.rotation, |rotation| {
                format!(
                    "Rotation {} is {}: the old certificate is served again, and the old trust is published again",
                    words::plain(&rotation.id),
                    rotation.phase
                )
            })
        }
        RotationCommand::Waive(waive) => self::waive(session, screen, waive).await,
        RotationCommand::List => list(session, screen).await,
    }
}

async fn start(session: &Session, screen: &mut Screen<'_>, start: Start) -> Result<(), Failure> {
    if start.off_lease.is_some() && start.strategy != Strategy::Toggle {
        return Err(Failure::Usage(
            "--off-lease says how long verification may stay off, which it never is with overlap. Leave it out, or add \
             --strategy toggle"
                .to_owned(),
        ));
    }
    let request = v1::StartRotationRequest {
        request_id: session.request_id.clone(),
        to_generation: start.to,
        strategy: v1::Strategy::from(start.strategy).into(),
        return_window: start.return_window.map(durations::on_the_wire),
        max_missing: start.max_missing,
        off_lease: start.off_lease.map(durations::on_the_wire),
        allow_empty: start.allow_empty,
    };
    let answer = RotationServiceClient::new(session.channel().await?)
        .start_rotation(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let rotation = read(answer.rotation)?;
    match session.format {
        Format::Json => screen.json(&rotation),
        Format::Text => {
            screen.note(&format!(
                "Started: certificate {} to {}, {}, {} in the roster. Follow it: convoy rotation status --watch",
                rotation.from_generation,
                rotation.to_generation,
                rotation.strategy,
                words::counted(rotation.clients, "client"),
            ));
            screen.line(&rotation.id)
        }
    }
}

async fn status(session: &Session, screen: &mut Screen<'_>, id: String) -> Result<(), Failure> {
    let answer = RotationServiceClient::new(session.channel().await?)
        .get_rotation(v1::GetRotationRequest { id })
        .await
        .map_err(Failure::asking)?
        .into_inner();
    let rotation = read(answer.rotation)?;
    match session.format {
        Format::Json => screen.json(&rotation),
        Format::Text => screen.line(&text::status(
            &rotation,
            clock::now(),
            screen.paint,
            text::NAMED,
        )),
    }
}

async fn waive(session: &Session, screen: &mut Screen<'_>, waive: Waive) -> Result<(), Failure> {
    let until = waive.until.instant(clock::now()).ok_or_else(|| {
        Failure::Usage(
            "--until lies beyond the calendar's end. Give a time like 2026-08-31T12:00:00Z, or 7d"
                .to_owned(),
        )
    })?;
    let request = v1::WaiveClientRequest {
        request_id: session.request_id.clone(),
        id: waive.rotation.unwrap_or_default(),
        client: waive.which.client.clone(),
        reason: waive.reason,
        until: Some(durations::instant_on_the_wire(until)),
    };
    let answer = RotationServiceClient::new(session.channel().await?)
        .waive_client(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    changed(session, screen, answer.rotation, |rotation| {
        format!(
            "The gates of rotation {} do not wait for {} until {}; {} missing now",
            words::plain(&rotation.id),
            words::plain(&waive.which.client),
            words::instant(Some(until)),
            words::counted(rotation.missing_count, "client"),
        )
    })
}

async fn list(session: &Session, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let mut service = RotationServiceClient::new(session.channel().await?);
    let rotations: Vec<Rotation> = answers::every_page(async |page_token| {
        let request = v1::ListRotationsRequest {
            page_size: 1_000,
            page_token,
        };
        let answer = service.list_rotations(request).await?.into_inner();
        Ok((answer.rotations, answer.next_page_token))
    })
    .await?;
    match session.format {
        Format::Json => screen.json(&rotations),
        Format::Text => screen.line(&brief::list(&rotations)),
    }
}

/// Shows a rotation that a command has changed.
fn changed(
    session: &Session,
    screen: &mut Screen<'_>,
    answer: Option<v1::Rotation>,
    said: impl FnOnce(&Rotation) -> String,
) -> Result<(), Failure> {
    let rotation = read(answer)?;
    match session.format {
        Format::Json => screen.json(&rotation),
        Format::Text => {
            screen.note(&said(&rotation));
            Ok(())
        }
    }
}

fn read(answer: Option<v1::Rotation>) -> Result<Rotation, Unreadable> {
    answers::required(answer, "rotation")?.try_into()
}
