//! What devices are given over their sessions: challenge passwords for requests that are about to be sent. Settings travel as signed documents.

mod memory;
mod names;

use std::{collections::HashMap, time::Duration};

use convoy_fleet::{
    client::{Client, ClientNumber},
    decide::Command,
    event::Actor,
    issuance::{Binding, Challenge, ChallengeId, IssuanceCommand, Profile},
    refusal::Refusal,
    state::Fleet,
};
use convoy_proto::{
    time::timestamp,
    v1::{ObtainScepChallengeRequest, ObtainScepChallengeResponse},
};
use convoy_shared::{
    id::{ClientId, Digest},
    settings::{ChallengeSource, Periodic, ScepSettings},
};
use jiff::Timestamp;
use tonic::{Code, Status};
use zeroize::Zeroizing;

pub use memory::{ByResult, Devices};

use super::{
    Scep,
    secrets::{self, Name, SecretError, Stored},
};
use crate::{
    api::status,
    clock,
    ndes::NdesError,
    pace::Act,
    peer::{Identity, Peer},
};
use names::Claim;

/// The challenge of a device is good for at least so long, in seconds,
const SHORTEST: i64 = 24 * 3600;
/// and for at least so many intervals of its periodic requests.
const INTERVALS: i64 = 2;
/// How long a device is let wait for a challenge of NDES: it waits no longer than 15 seconds for any answer, and asks again at its next poll.
const NDES_WAIT: Duration = Duration::from_secs(12);

/// Who asks, and by which settings.
struct Asked {
    client: ClientNumber,
    record: Client,
    settings: ScepSettings,
}

impl Scep {
    /// Hands out a challenge password to the client of this connection.
    ///
    /// # Errors
    /// If there is none to be had, or the client may not have one.
    pub async fn obtain_challenge(
        &self,
        peer: &Peer,
        identity: Identity,
        request: ObtainScepChallengeRequest,
    ) -> Result<ObtainScepChallengeResponse, Status> {
        if peer.bridged {
            return Err(status::aborted(
                "BRIDGED",
                "this connection is served an old certificate: take the new trust first, then ask for a challenge password",
            ));
        }
        if identity.expired {
            return Err(status::aborted(
                "IDENTITY_EXPIRED",
                "the client's certificate has expired: renew it first",
            ));
        }
        let revision = request.revision;
        let claim =
            Claim::read(request).map_err(|bad| status::invalid("subject_alt_names", &bad))?;
        let asked = self.asked(&self.keeper.read(), identity.client, revision)?;
        match asked.settings.challenge {
            ChallengeSource::None => Ok(ObtainScepChallengeResponse {
                challenge: String::new(),
                expires_at: None,
                storable: true,
            }),
            ChallengeSource::Stored => Ok(ObtainScepChallengeResponse {
                challenge: self.stored(&asked, false)?.to_string(),
                expires_at: None,
                storable: true,
            }),
            ChallengeSource::Ndes => self.ask_ndes(&asked).await,
            ChallengeSource::BuiltIn => self.built_in(&asked, claim).await,
        }
    }

    /// The order's settings while the client follows one, else its own. Who follows settings that were replaced meanwhile might send the challenge
    /// to another server than the one that it is for.
    fn asked(&self, fleet: &Fleet, client: ClientNumber, revision: u64) -> Result<Asked, Status> {
        let record = fleet
            .client(client)
            .ok_or_else(|| status::refused(&Refusal::NoSuchClient))?;
        let enrolment = fleet.enrolment();
        let own = enrolment.client(client, &record.group);
        // Who has the timer on follows no order.
        let ordered = self.devices.ordered(client).filter(|_| !own.timer);
        let settings = match ordered {
            Some(ordered) => ordered,
            None if enrolment.revision_of(client, &record.group).0 == revision => own,
            None => {
                return Err(status::aborted(
                    "SCEP_SETTINGS_CHANGED",
                    "the SCEP settings have changed: take the new ones first, then ask again",
                ));
            }
        };
        Ok(Asked {
            client,
            record: record.clone(),
            settings,
        })
    }

    /// The secret that an operator brought for this client or its group.
    fn stored(&self, asked: &Asked, ndes: bool) -> Result<Zeroizing<String>, Status> {
        let audience =
            self.keeper
                .read()
                .enrolment()
                .secret_for(asked.client, &asked.record.group, ndes);
        let secret = match audience {
            None => None,
            Some(audience) => {
                let name = Name::new(&audience, Some(asked.record.id), ndes);
                self.secrets()
                    .and_then(|stored| stored.read(&name))
                    .map_err(|error| {
                        tracing::error!(error = format!("{error:#}"), "cannot read a SCEP secret");
                        status::internal(
                            "the challenge password cannot be read; the controller's log says why",
                        )
                    })?
            }
        };
        secret.ok_or_else(|| {
            status::failed(
                "CHALLENGE_MISSING",
                if ndes {
                    "the controller was not given the password of NDES's page"
                } else {
                    "the controller was not given the challenge password"
                },
            )
        })
    }

    /// Secrets that operators brought.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn secrets(&self) -> Result<Stored, SecretError> {
        Stored::open(self.folder.clone(), self.keys.clone())
    }

    async fn ask_ndes(&self, asked: &Asked) -> Result<ObtainScepChallengeResponse, Status> {
        let password = self.stored(asked, true)?;
        let unavailable = |error: &NdesError| {
            tracing::warn!(client = %asked.record.id, error = format!("{error:#}"), "no challenge password from NDES");
            if error.needs_somebody() {
                return status::failed("NDES", &error.to_string());
            }
            status::with_metadata(
                Code::Unavailable,
                "NDES",
                &error.to_string(),
                HashMap::new(),
            )
        };
        let source = self
            .devices
            .page(&asked.settings, password)
            .map_err(|error| unavailable(&error))?;
        let lease = source
            .fetch(asked.record.id, NDES_WAIT)
            .await
            .map_err(|error| unavailable(&error))?;
        // It is given back when the client reports that its request was answered.
        self.devices.leased(asked.client, source);
        Ok(ObtainScepChallengeResponse {
            challenge: lease.challenge().to_owned(),
            expires_at: None,
            storable: false,
        })
    }

    /// A challenge of the built-in server: the same one for the same names as long as it is good.
    async fn built_in(
        &self,
        asked: &Asked,
        claim: Claim,
    ) -> Result<ObtainScepChallengeResponse, Status> {
        if self.url.is_none() {
            return Err(status::failed(
                "SCEP_NOT_SERVED",
                "the controller does not serve SCEP just now",
            ));
        }
        claim
            .check(&asked.settings)
            .map_err(|bad| status::failed("NAMES_NOT_ALLOWED", &bad.to_string()))?;
        let (not_before, expires_at) = window(&asked.settings, clock::now());
        let id = challenge_id(asked.record.id, &claim, not_before, expires_at);
        let derived = || status::internal("the challenge password cannot be derived");
        let secret = secrets::generated(&self.keys, id).ok_or_else(derived)?;
        let challenge = Challenge {
            id,
            digest: secrets::digest(&self.keys, &secret).ok_or_else(derived)?,
            uses: None,
            binding: Some(Binding {
                common_name: claim.common_name,
                sans: claim.sans,
            }),
            not_before,
            expires_at: Some(expires_at),
            profile: Profile::default().name,
            client: Some(asked.client),
            group: None,
            is_static: false,
        };
        let revoked = self
            .keeper
            .read()
            .issuance()
            .challenge(id)
            .map(|held| held.revoked);
        match revoked {
            Some(false) => {}
            Some(true) => {
                return Err(status::failed(
                    "CHALLENGE_REVOKED",
                    "an operator has revoked this device's challenge password",
                ));
            }
            None => self.make(asked.client, challenge).await?,
        }
        Ok(ObtainScepChallengeResponse {
            challenge: secret.to_string(),
            expires_at: Some(timestamp(expires_at)),
            storable: true,
        })
    }

    async fn make(&self, client: ClientNumber, challenge: Challenge) -> Result<(), Status> {
        self.paces.admit(client, Act::NewChallenge)?;
        let command = Command::Issuance(IssuanceCommand::CreateChallenge(challenge));
        self.keeper
            .command(command, Actor::Clients, None)
            .await
            .map_err(|error| status::from_keeper(&error))?;
        Ok(())
    }
}

/// From when and until when a challenge that is handed out now is good: the same for all that are handed out within one stretch, and at least a
/// stretch from now.
fn window(settings: &ScepSettings, now: Timestamp) -> (Timestamp, Timestamp) {
    let stretch = match settings.periodic {
        Periodic::Off => SHORTEST,
        Periodic::Every(interval) => SHORTEST.max(interval.as_secs().saturating_mul(INTERVALS)),
    };
    let begin = now.as_second().div_euclid(stretch).saturating_mul(stretch);
    let end = begin.saturating_add(stretch.saturating_mul(2));
    let at = |second, other| Timestamp::from_second(second).unwrap_or(other);
    (at(begin, Timestamp::MIN), at(end, Timestamp::MAX))
}

/// Names a device's challenge by whom and what it is for.
fn challenge_id(
    device: ClientId,
    claim: &Claim,
    not_before: Timestamp,
    expires_at: Timestamp,
) -> ChallengeId {
    let mut bytes = b"convoy scep device challenge v1\0".to_vec();
    bytes.extend(device.as_bytes());
    bytes.extend(not_before.as_second().to_be_bytes());
    bytes.extend(expires_at.as_second().to_be_bytes());
    // Names hold no line feed.
    for name in std::iter::once(&claim.common_name).chain(&claim.sans) {
        bytes.extend(name.as_bytes());
        bytes.push(b'\n');
    }
    let digest = Digest::of(&bytes);
    let mut id = [0; 8];
    for (byte, of) in id.iter_mut().zip(digest.as_bytes()) {
        *byte = *of;
    }
    ChallengeId(id)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;

    fn settings(periodic: Periodic) -> ScepSettings {
        ScepSettings {
            periodic,
            ..ScepSettings::default()
        }
    }

    #[test]
    fn a_challenge_is_the_same_for_a_while_and_good_for_longer() {
        let day = SignedDuration::from_hours(24);
        for (periodic, least) in [
            (Periodic::Off, day),
            (Periodic::Every(SignedDuration::from_hours(1)), day),
            (Periodic::Every(day * 30), day * 60),
        ] {
            let settings = settings(periodic);
            let now = Timestamp::constant(1_800_000_123, 456);
            let (not_before, expires_at) = window(&settings, now);
            assert!(not_before <= now);
            assert!(expires_at.duration_since(now) >= least);
            assert!(expires_at.duration_since(now) <= least * 2);
            let soon = now + SignedDuration::from_mins(1);
            assert_eq!(window(&settings, soon), (not_before, expires_at));
            assert_ne!(window(&settings, now + least), (not_before, expires_at));
        }
    }

    #[test]
    fn a_challenge_is_for_one_device_and_its_names() {
        let claim = |common_name: &str, sans: &[&str]| Claim {
            common_name: common_name.to_owned(),
            sans: sans.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (from, to) = window(&settings(Periodic::Off), Timestamp::UNIX_EPOCH);
        let device = ClientId::new(Uuid::from_u128(1));
        let id = |device, claim: &Claim| challenge_id(device, claim, from, to);
        let one = id(device, &claim("a", &["dns:b"]));
        assert_eq!(one, id(device, &claim("a", &["dns:b"])));
        let others = [
            id(ClientId::new(Uuid::from_u128(2)), &claim("a", &["dns:b"])),
            id(device, &claim("a", &[])),
            id(device, &claim("adns:b", &[])),
            id(device, &claim("a", &["dns:b", "dns:c"])),
            challenge_id(device, &claim("a", &["dns:b"]), from, from),
        ];
        assert!(!others.contains(&one));
    }
}
