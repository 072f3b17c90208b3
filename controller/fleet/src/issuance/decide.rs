//! What an operator may do to the CA, and whether an order still holds. Repetition is success without events.

use convoy_shared::id::Digest;
use jiff::Timestamp;

use super::{
    Challenge, ChallengeId, CrlReason, Issuance, IssuanceCommand, IssuanceEvent, IssuanceRefusal,
    Issued, Order, Profile, SanName, Transaction, Waiting, judge::Repeat,
};
use crate::{client::ClientNumber, event::Event, refusal::Refusal, state::Fleet};

/// Decides a command.
pub(crate) fn decide(
    fleet: &Fleet,
    command: IssuanceCommand,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let issuance = fleet.issuance();
    let event = match command {
        IssuanceCommand::MakeAuthority {
            certificate,
            spki,
            not_after,
            ra,
            first,
        } => number(issuance, first)?.map(|number| IssuanceEvent::AuthorityMade {
            number,
            certificate,
            spki,
            not_after,
            ra,
        }),
        IssuanceCommand::ActivateAuthority => {
            let next = issuance.next().ok_or(Refusal::Rollover(
                "there is no next SCEP CA that could be put in force; make one first",
            ))?;
            Some(IssuanceEvent::AuthorityActivated {
                number: next.number,
            })
        }
        IssuanceCommand::SetApproval(approval) => {
            (issuance.approval() != approval).then_some(IssuanceEvent::ApprovalSet(approval))
        }
        IssuanceCommand::SetProfile(profile) => set_profile(issuance, profile)?,
        IssuanceCommand::CreateChallenge(challenge) => create_challenge(fleet, challenge, now)?,
        IssuanceCommand::RevokeChallenge(id) => revoke_challenge(issuance, id)?,
        IssuanceCommand::Approve(issued) => approve(fleet, issued)?,
        IssuanceCommand::Deny {
            transaction,
            reason,
        } => deny(issuance, transaction, reason)?,
        IssuanceCommand::Revoke { serial, reason } => revoke(issuance, serial, reason)?,
    };
    Ok(event.map(Event::Issuance).into_iter().collect())
}

fn number(issuance: &Issuance, first: bool) -> Result<Option<u32>, Refusal> {
    if first {
        return Ok(issuance.authorities().is_empty().then_some(1));
    }
    issuance.next_number().map(Some)
}

impl Issuance {
    /// The number of the next CA, if one may be made.
    ///
    /// # Errors
    /// There is one already, or none that it could follow.
    pub fn next_number(&self) -> Result<u32, Refusal> {
        match (self.authorities().last(), self.next()) {
            (Some(last), None) => Ok(last.number.saturating_add(1)),
            (Some(_), Some(_)) => Err(Refusal::Rollover(
                "there is a next SCEP CA already; put it in force before another is made",
            )),
            (None, _) => Err(Refusal::Rollover(
                "there is no SCEP CA yet that another could follow: start the controller with --scep-addr",
            )),
        }
    }
}

fn set_profile(issuance: &Issuance, profile: Profile) -> Result<Option<IssuanceEvent>, Refusal> {
    profile
        .check()
        .map_err(|bad| Refusal::BadSetting(bad.to_string()))?;
    let same = issuance.profile(&profile.name).as_ref() == Some(&profile);
    Ok((!same).then_some(IssuanceEvent::ProfileSet(profile)))
}

fn create_challenge(
    fleet: &Fleet,
    challenge: Challenge,
    now: Timestamp,
) -> Result<Option<IssuanceEvent>, Refusal> {
    let issuance = fleet.issuance();
    if issuance.challenge(challenge.id).is_some() {
        return Ok(None);
    }
    if let Some(held) = issuance.challenge_by_digest(&challenge.digest) {
        return Err(Refusal::ChallengeTaken(held.challenge.id));
    }
    if issuance.profile(&challenge.profile).is_none() {
        return Err(Refusal::NoSuchProfile(challenge.profile));
    }
    if let Some(group) = &challenge.group
        && fleet.group(group).is_none()
    {
        return Err(Refusal::NoSuchGroup(group.clone()));
    }
    active(fleet, challenge.client)?;
    let bad = |text: String| Err(Refusal::BadSetting(text));
    if challenge.uses == Some(0) {
        return bad("a challenge must admit at least one request".to_owned());
    }
    if challenge
        .expires_at
        .is_some_and(|end| end <= now || end <= challenge.not_before)
    {
        return bad("a challenge must expire in the future, and after it begins".to_owned());
    }
    let names = challenge.binding.iter().flat_map(|binding| &binding.sans);
    for name in names {
        if let Err(error) = name.parse::<SanName>() {
            return bad(format!("a challenge cannot be for {name:?}: {error}"));
        }
    }
    Ok(Some(IssuanceEvent::ChallengeCreated(challenge)))
}

fn revoke_challenge(
    issuance: &Issuance,
    id: ChallengeId,
) -> Result<Option<IssuanceEvent>, Refusal> {
    let held = issuance.challenge(id).ok_or(Refusal::NoSuchChallenge(id))?;
    Ok((!held.revoked).then_some(IssuanceEvent::ChallengeRevoked { id }))
}

fn approve(fleet: &Fleet, issued: Issued) -> Result<Option<IssuanceEvent>, Refusal> {
    let issuance = fleet.issuance();
    match issuance.transaction(&issued.transaction) {
        Some(Transaction::Waiting(waiting, _)) if is_for(waiting, &issued) => {
            active(fleet, waiting.client)?;
            if !is_free(issuance, &issued.serial) {
                return Err(Refusal::BadSetting(IssuanceRefusal::Serial.to_string()));
            }
            Ok(Some(IssuanceEvent::CertificateIssued(issued)))
        }
        Some(Transaction::Issued(serial))
            if issuance
                .certificate(serial)
                .is_some_and(|known| known.issued.spki == issued.spki) =>
        {
            Ok(None)
        }
        Some(Transaction::Waiting(..) | Transaction::Issued(_) | Transaction::Denied(..))
        | None => Err(Refusal::NoSuchScepRequest(issued.transaction)),
    }
}

fn is_for(waiting: &Waiting, issued: &Issued) -> bool {
    Digest::of(&waiting.spki_der) == issued.spki
}

fn deny(
    issuance: &Issuance,
    transaction: String,
    reason: String,
) -> Result<Option<IssuanceEvent>, Refusal> {
    match issuance.transaction(&transaction) {
        Some(Transaction::Waiting(..)) => Ok(Some(IssuanceEvent::RequestDenied {
            transaction,
            reason,
        })),
        Some(Transaction::Denied(..)) => Ok(None),
        Some(Transaction::Issued(_)) | None => Err(Refusal::NoSuchScepRequest(transaction)),
    }
}

fn revoke(
    issuance: &Issuance,
    serial: Vec<u8>,
    reason: CrlReason,
) -> Result<Option<IssuanceEvent>, Refusal> {
    let Some(known) = issuance.certificate(&serial) else {
        let hex = serial.iter().map(|byte| format!("{byte:02X}")).collect();
        return Err(Refusal::NoSuchSerial(hex));
    };
    Ok(known
        .revocation
        .is_none()
        .then_some(IssuanceEvent::CertificateRevoked { serial, reason }))
}

fn active(fleet: &Fleet, client: Option<ClientNumber>) -> Result<(), Refusal> {
    match client {
        Some(client) if fleet.client(client).is_none() => Err(Refusal::NoSuchClient),
        Some(client) if !fleet.roster().contains(client) => Err(Refusal::ClientDecommissioned),
        Some(_) | None => Ok(()),
    }
}

/// Whether a serial number can be one, and is nobody's yet.
fn is_free(issuance: &Issuance, serial: &[u8]) -> bool {
    (1..=20).contains(&serial.len())
        && serial.first() != Some(&0)
        && issuance.certificate(serial).is_none()
}

/// Decides an order on the state on which it is recorded: what was permitted before may have changed since. Without events: the same request was
/// recorded meanwhile, and its transaction says what it came to.
///
/// # Errors
/// If it is refused: what was signed for it is thrown away.
pub fn order(fleet: &Fleet, order: Order, now: Timestamp) -> Result<Vec<Event>, IssuanceRefusal> {
    if fleet.superseded_by().is_some() {
        return Err(IssuanceRefusal::Superseded);
    }
    let issuance = fleet.issuance();
    let is_active = |client| fleet.roster().contains(client);
    let (spki, renews, profile) = match &order {
        Order::Issue(issued) => (issued.spki, issued.renews.as_deref(), &issued.profile),
        Order::Wait(waiting) => (Digest::of(&waiting.spki_der), None, &waiting.profile),
    };
    let (subject, sans) = match &order {
        Order::Issue(issued) => (&issued.subject, &issued.sans),
        Order::Wait(waiting) => (&waiting.subject, &waiting.sans),
    };
    let repeat = Repeat {
        challenge: order.challenge(),
        renews,
        sans: sans.clone(),
    };
    if issuance
        .earlier(order.transaction(), &spki, subject, &repeat, now)?
        .is_some()
    {
        return Ok(vec![]);
    }
    if order.challenge().is_none() && renews.is_none() {
        return Err(IssuanceRefusal::NoChallenge);
    }
    if let Some(id) = order.challenge() {
        issuance.admitted(issuance.challenge(id), &is_active, now)?;
    }
    if let Some(serial) = renews {
        issuance.renewable(serial, &is_active)?;
    }
    issuance.profile_of(profile)?;
    Ok(vec![Event::Issuance(match order {
        Order::Issue(issued) if is_free(issuance, &issued.serial) => {
            IssuanceEvent::CertificateIssued(issued)
        }
        Order::Issue(_) => return Err(IssuanceRefusal::Serial),
        Order::Wait(waiting) => IssuanceEvent::RequestReceived(waiting),
    })])
}
