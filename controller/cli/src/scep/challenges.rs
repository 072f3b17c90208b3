//! `convoy scep challenge`. A challenge password is printed once, at its creation, and never kept.

use convoy_proto::v1::{self, scep_authority_service_client::ScepAuthorityServiceClient};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::args::{ChallengeCommand, CreateChallenge, Expiry};
use crate::{
    answers,
    args::Format,
    clients, clock,
    connect::Session,
    durations,
    failure::{Failure, Unreadable},
    files,
    output::{self, Screen},
    words::{self, plain},
};

/// A challenge without its secret.
#[derive(Debug, Serialize)]
struct Challenge {
    id: String,
    /// 0: any number of times.
    uses: u32,
    used: u32,
    common_name: String,
    subject_alt_names: Vec<String>,
    bound: bool,
    not_before: Option<Timestamp>,
    /// None: never.
    expires_at: Option<Timestamp>,
    profile: String,
    client: String,
    group: String,
    is_static: bool,
    revoked: bool,
    created_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct NewChallenge<'a> {
    challenge: Challenge,
    /// None: it was the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl TryFrom<v1::ScepChallenge> for Challenge {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepChallenge) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            uses: wire.uses,
            used: wire.used,
            common_name: wire.common_name,
            subject_alt_names: wire.subject_alt_names,
            bound: wire.bound,
            not_before: answers::instant(wire.not_before, "not_before")?,
            expires_at: answers::instant(wire.expires_at, "expires_at")?,
            profile: wire.profile,
            client: wire.client,
            group: wire.group,
            is_static: wire.is_static,
            revoked: wire.revoked,
            created_at: answers::instant(wire.created_at, "created_at")?,
        })
    }
}

impl Challenge {
    /// Whether it still admits anything.
    fn validity(&self, now: Timestamp) -> &'static str {
        if self.revoked {
            "revoked"
        } else if self.expires_at.is_some_and(|instant| instant <= now) {
            "expired"
        } else if self.uses > 0 && self.used >= self.uses {
            "used up"
        } else if self.not_before.is_some_and(|instant| instant > now) {
            "not yet"
        } else {
            "valid"
        }
    }

    fn expiry(&self) -> String {
        match self.expires_at {
            None => "never".to_owned(),
            instant => words::instant(instant),
        }
    }

    /// Whom and what it is for.
    fn purpose(&self) -> String {
        let mut parts = vec![];
        if !self.client.is_empty() {
            parts.push(format!("client {}", self.client));
        }
        if !self.group.is_empty() {
            parts.push(format!("group {}", self.group));
        }
        if !self.common_name.is_empty() {
            parts.push(format!("CN={}", self.common_name));
        }
        parts.extend(self.subject_alt_names.iter().cloned());
        if parts.is_empty() {
            return "anything".to_owned();
        }
        parts.join(", ")
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: ChallengeCommand,
) -> Result<(), Failure> {
    match command {
        ChallengeCommand::Create(command) => create(session, screen, command).await,
        ChallengeCommand::List => {
            let mut service = ScepAuthorityServiceClient::new(session.channel().await?);
            let challenges: Vec<Challenge> = answers::every_page(async |page_token| {
                let request = v1::ListScepChallengesRequest {
                    page_size: 1_000,
                    page_token,
                };
                let answer = service.list_scep_challenges(request).await?.into_inner();
                Ok((answer.challenges, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&challenges),
                Format::Text => screen.line(&listed(challenges, clock::now())),
            }
        }
        ChallengeCommand::Revoke { id } => {
            let request = v1::RevokeScepChallengeRequest {
                request_id: session.request_id.clone(),
                id,
            };
            let answer = ScepAuthorityServiceClient::new(session.channel().await?)
                .revoke_scep_challenge(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let challenge = Challenge::try_from(answers::required(answer.challenge, "challenge")?)?;
            match session.format {
                Format::Json => screen.json(&challenge),
                Format::Text => {
                    screen.note(&format!(
                        "Challenge {} is revoked. Certificates that it brought stay; see `convoy scep issued list`",
                        plain(&challenge.id)
                    ));
                    Ok(())
                }
            }
        }
    }
}

async fn create(
    session: &Session,
    screen: &mut Screen<'_>,
    command: CreateChallenge,
) -> Result<(), Failure> {
    let not_before = match command.not_before {
        None => None,
        Some(until) => Some(until.instant(clock::now()).ok_or_else(|| {
            Failure::Usage("--not-before is beyond the calendar. Give an earlier time".to_owned())
        })?),
    };
    let own = match &command.static_file {
        Some(file) => Some(files::secret(file)?),
        None => None,
    };
    let channel = session.channel().await?;
    let client = match command.client {
        Some(client) => clients::find(channel.clone(), client).await?.id,
        None => String::new(),
    };
    let request = v1::CreateScepChallengeRequest {
        request_id: session.request_id.clone(),
        uses: if command.unlimited {
            Some(0)
        } else {
            command.uses
        },
        common_name: command.common_name.unwrap_or_default(),
        subject_alt_names: command.sans,
        not_before: not_before.map(durations::instant_on_the_wire),
        lifetime: command
            .expires
            .map(|expires| durations::on_the_wire(Expiry::lifetime(expires))),
        profile: command.profile.unwrap_or_default(),
        client,
        group: command.group.unwrap_or_default(),
        secret: own.as_ref().map(|own| own.to_string()).unwrap_or_default(),
    };
    let answer = ScepAuthorityServiceClient::new(channel)
        .create_scep_challenge(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let secret = Zeroizing::new(answer.secret);
    let challenge = Challenge::try_from(answers::required(answer.challenge, "challenge")?)?;
    // Whoever chose it knows it.
    let secret = own.is_none().then_some(secret.as_str());
    if session.format == Format::Json {
        return screen.json(&NewChallenge { challenge, secret });
    }
    screen.note(&format!(
        "Challenge {} admits {} for {}, expires: {}, profile {}",
        plain(&challenge.id),
        match challenge.uses {
            0 => "any number of requests".to_owned(),
            uses => words::counted(uses, "request"),
        },
        plain(&challenge.purpose()),
        challenge.expiry(),
        plain(&challenge.profile),
    ));
    secret.map_or(Ok(()), |secret| screen.line(secret))
}

fn listed(challenges: Vec<Challenge>, now: Timestamp) -> String {
    output::table(
        [
            "ID", "USED", "STATE", "FOR", "PROFILE", "KIND", "CREATED", "EXPIRES",
        ],
        challenges.into_iter().map(|challenge| {
            [
                challenge.id.clone(),
                match challenge.uses {
                    0 => challenge.used.to_string(),
                    uses => format!("{}/{uses}", challenge.used),
                },
                challenge.validity(now).to_owned(),
                challenge.purpose(),
                challenge.profile.clone(),
                if challenge.is_static {
                    "static"
                } else {
                    "generated"
                }
                .to_owned(),
                words::instant(challenge.created_at),
                challenge.expiry(),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_which_challenges_still_admit() {
        let wire = v1::ScepChallenge {
            id: "00AA".to_owned(),
            uses: 1,
            profile: "default".to_owned(),
            ..v1::ScepChallenge::default()
        };
        let used_up = v1::ScepChallenge {
            used: 1,
            common_name: "p1.example".to_owned(),
            ..wire.clone()
        };
        let endless = v1::ScepChallenge {
            uses: 0,
            used: 7,
            group: "berlin".to_owned(),
            is_static: true,
            ..wire.clone()
        };
        let challenges = answers::all(vec![wire, used_up, endless]).unwrap();
        assert_eq!(
            listed(challenges, Timestamp::UNIX_EPOCH),
            "\
ID    USED  STATE    FOR            PROFILE  KIND       CREATED  EXPIRES
00AA  0/1   valid    anything       default  generated  -        never
00AA  1/1   used up  CN=p1.example  default  generated  -        never
00AA  7     valid    group berlin   default  static     -        never"
        );
    }
}
