//! Creating challenge passwords for operators. How their secrets are derived and recognised is in `scep::secrets`.

use convoy_fleet::{
    decide::Command,
    event::Actor,
    issuance::{Binding, Challenge, ChallengeId, IssuanceCommand},
    state::Outcome,
};
use convoy_proto::{
    time::{read_length, read_timestamp},
    v1::{CreateScepChallengeRequest, CreateScepChallengeResponse},
};
use convoy_scep::certificate::SubjectAltName;
use convoy_shared::id::GroupName;
use jiff::SignedDuration;
use tonic::Status;
use zeroize::Zeroizing;

use super::view;
use crate::{
    api::{Api, find_client, named, status},
    clock,
    scep::secrets,
};

const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

impl Api {
    pub(super) async fn create_challenge(
        &self,
        actor: Actor,
        mut asked: CreateScepChallengeRequest,
    ) -> Result<CreateScepChallengeResponse, Status> {
        let given = Zeroizing::new(std::mem::take(&mut asked.secret));
        // What is remembered of the request holds the secret's digest only.
        let no_key = || status::internal("the challenge cannot be derived");
        let given_digest = match given.as_str() {
            "" => None,
            secret => Some(secrets::digest(&self.keys, checked(secret)?).ok_or_else(no_key)?),
        };
        let mut described = asked.clone();
        described.secret = given_digest
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        let named = named("CreateScepChallenge", &asked.request_id, &described)?;
        let id = fresh_id();
        let generated = secrets::generated(&self.keys, id).ok_or_else(no_key)?;
        let digest = match given_digest {
            Some(digest) => digest,
            None => secrets::digest(&self.keys, &generated).ok_or_else(no_key)?,
        };
        let challenge = self.read(asked, id, digest, given_digest.is_some())?;
        let command = Command::Issuance(IssuanceCommand::CreateChallenge(challenge));
        let id = match self.decide(command, actor, named).await? {
            Some(Outcome::Challenge(id)) => id,
            _ => id,
        };
        let secret = match given_digest {
            Some(_) => given.to_string(),
            None => secrets::generated(&self.keys, id)
                .ok_or_else(no_key)?
                .to_string(),
        };
        let fleet = self.keeper.read();
        Ok(CreateScepChallengeResponse {
            challenge: fleet
                .issuance()
                .challenge(id)
                .map(|held| view::challenge(&fleet, held)),
            secret,
        })
    }

    fn read(
        &self,
        asked: CreateScepChallengeRequest,
        id: ChallengeId,
        digest: convoy_shared::id::Digest,
        is_static: bool,
    ) -> Result<Challenge, Status> {
        let now = clock::now();
        let not_before = match asked.not_before {
            None => now,
            time => read_timestamp(time, "not_before")
                .map_err(|bad| status::invalid("not_before", &bad))?,
        };
        let lifetime = match asked.lifetime {
            None => LIFETIME,
            length => {
                read_length(length, "lifetime").map_err(|bad| status::invalid("lifetime", &bad))?
            }
        };
        let group: Option<GroupName> = match asked.group.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|bad| status::invalid("group", &bad))?),
        };
        let expires_at = if lifetime.is_zero() {
            if group.is_none() && !is_static {
                return Err(status::invalid(
                    "lifetime",
                    &"only a group's challenge, or one with a given secret, may live for ever",
                ));
            }
            None
        } else {
            let end = not_before.checked_add(lifetime);
            Some(end.map_err(|_| status::invalid("lifetime", &"out of range"))?)
        };
        for name in &asked.subject_alt_names {
            if name.parse::<SubjectAltName>().is_err() {
                return Err(status::invalid(
                    "subject_alt_names",
                    &format!("{name:?} is not dns:NAME, ip:ADDRESS or uri:URI"),
                ));
            }
        }
        let bound = !asked.common_name.is_empty() || !asked.subject_alt_names.is_empty();
        let client = match asked.client.as_str() {
            "" => None,
            text => Some(find_client(&self.keeper.read(), text)?),
        };
        Ok(Challenge {
            id,
            digest,
            uses: match asked.uses {
                None => Some(1),
                Some(0) => None,
                Some(uses) => Some(uses),
            },
            binding: bound.then_some(Binding {
                common_name: asked.common_name,
                sans: asked.subject_alt_names,
            }),
            not_before,
            expires_at,
            profile: match asked.profile {
                profile if profile.is_empty() => "default".to_owned(),
                profile => profile,
            },
            client,
            group,
            is_static,
        })
    }
}

/// A secret that an operator chose.
fn checked(secret: &str) -> Result<&str, Status> {
    let length = secret.chars().count();
    if (8..=255).contains(&length) && secret.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        Ok(secret)
    } else {
        Err(status::invalid(
            "secret",
            &"a challenge password has 8 to 255 printable ASCII characters",
        ))
    }
}

fn fresh_id() -> ChallengeId {
    let random = uuid::Uuid::new_v4().into_bytes();
    let mut id = [0; 8];
    // Bytes 0 to 5 and 14, 15 of a random UUID are random; 6 and 8 have fixed bits.
    for (to, from) in id.iter_mut().zip([0, 1, 2, 3, 4, 5, 14, 15]) {
        *to = random.get(from).copied().unwrap_or_default();
    }
    ChallengeId(id)
}
