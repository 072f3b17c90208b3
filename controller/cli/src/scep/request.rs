//! `convoy scep request`: asks one device for one request, and follows it if that is wanted. A challenge password is wiped
//! here and stored nowhere.

use std::time::Duration;

use convoy_proto::{
    scep,
    v1::{self, scep_service_client::ScepServiceClient},
};
use jiff::SignedDuration;
use serde::Serialize;
use tokio::time;
use zeroize::Zeroizing;

use super::{args, record::Status, status, watch};
use crate::{
    args::Format,
    clients::{self, Named},
    connect::Session,
    failure::Failure,
    files,
    output::Screen,
    words::plain,
};

/// How long a request is followed if nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Before connecting again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Asked<'a> {
    client: &'a str,
    attempt: u64,
    warnings: Vec<String>,
    /// With --wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Status>,
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: args::Request,
) -> Result<(), Failure> {
    let challenge = match (&command.challenge_file, command.prompt) {
        (Some(file), _) => files::secret(file)?,
        (None, true) if screen.interactive => files::ask_secret("Challenge password: ")?,
        (None, true) => {
            return Err(Failure::Usage(
                "nobody is here to type the challenge password. Give it with --challenge-file, or leave --prompt out to take it from where the settings say"
                    .to_owned(),
            ));
        }
        (None, false) => Zeroizing::new(String::new()),
    };
    let channel = session.channel().await?;
    let client = clients::find(channel.clone(), command.which.client).await?;
    let patch = command.key.patch();
    let request = v1::RequestScepCertificateRequest {
        client: client.id.clone(),
        patch: (!patch.is_empty()).then(|| scep::write_patch(&patch)),
        challenge: challenge.to_string(),
        restart: command.restart,
    };
    let answer = ScepServiceClient::new(channel)
        .request_scep_certificate(request)
        .await
        .map_err(|status| {
            let look = format!("convoy scep history {}", plain(&client.id));
            Failure::starting(status, look)
        })?
        .into_inner();
    let mut asked = Asked {
        client: &client.id,
        attempt: answer.attempt,
        warnings: answer.warnings,
        result: None,
    };
    if session.format == Format::Text {
        screen.note(&format!(
            "{} is requesting a certificate",
            plain(&client.name)
        ));
        for warning in &asked.warnings {
            screen.note(&format!("warning: {}", plain(warning)));
        }
        screen.line(&asked.attempt.to_string())?;
    }
    if !command.wait {
        return match session.format {
            Format::Json => screen.json(&asked),
            Format::Text => {
                screen.note(&format!(
                    "See what comes of it with: convoy scep history {}",
                    plain(&client.id)
                ));
                Ok(())
            }
        };
    }
    let patience = command
        .timeout
        .map_or(TIMEOUT, SignedDuration::unsigned_abs);
    let result = time::timeout(patience, outcome(session, screen, &client, asked.attempt))
        .await
        .map_err(|_| {
            Failure::NotCompleted(format!(
                "request {} of {} has not ended within {} s; it goes on. Look later with: convoy scep history {}",
                asked.attempt,
                plain(&client.name),
                patience.as_secs(),
                plain(&client.id)
            ))
        })??;
    let failed = !is_successful(&result);
    let line = result.line();
    if session.format == Format::Text && !failed {
        screen.note(&result.certificate().unwrap_or_else(|| line.clone()));
        for warning in result.record.iter().flat_map(|record| &record.warnings) {
            screen.note(&format!("warning: {}", plain(warning)));
        }
    }
    asked.result = Some(result);
    if session.format == Format::Json {
        screen.json(&asked)?;
    }
    if failed {
        Err(Failure::NotCompleted(format!(
            "request {} of {} ended. {line}",
            asked.attempt,
            plain(&client.name)
        )))
    } else {
        Ok(())
    }
}

fn is_successful(status: &Status) -> bool {
    status
        .record
        .as_ref()
        .is_some_and(|record| record.state.value() == v1::ScepState::Successful)
}

/// Follows the request until it has ended, over restarts of the controller.
async fn outcome(
    session: &Session,
    screen: &mut Screen<'_>,
    client: &Named,
    attempt: u64,
) -> Result<Status, Failure> {
    let mut said = String::new();
    loop {
        match follow(session, screen, client, attempt, &mut said).await {
            Err(failure) if failure.may_pass() => time::sleep(PAUSE).await,
            ended => return ended,
        }
    }
}

async fn follow(
    session: &Session,
    screen: &mut Screen<'_>,
    client: &Named,
    attempt: u64,
    said: &mut String,
) -> Result<Status, Failure> {
    let mut stream = watch::open(session, client.group.clone()).await?;
    loop {
        let news = watch::next(&mut stream).await?;
        for newest in news.into_iter().filter(|state| state.client == client.id) {
            let Some(record) = &newest.record else {
                continue;
            };
            let ours = if record.attempt > attempt {
                // A later request hides it.
                let past = status::requests(&session.channel().await?, &client.id).await?;
                past.into_iter().find(|state| {
                    state
                        .record
                        .as_ref()
                        .is_some_and(|record| record.attempt == attempt)
                })
            } else {
                Some(newest).filter(|state| {
                    state
                        .record
                        .as_ref()
                        .is_some_and(|record| record.attempt == attempt)
                })
            };
            let Some(ours) = ours else {
                continue;
            };
            if ours
                .record
                .as_ref()
                .is_some_and(super::record::Record::is_final)
            {
                return Ok(ours);
            }
            let line = ours.line();
            if session.format == Format::Text && line != *said {
                screen.note(&line);
                *said = line;
            }
        }
    }
}
