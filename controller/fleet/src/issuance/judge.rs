//! Whether a request may be answered with a certificate, asked before anything is signed. The same questions are asked again by `decide`.

use std::collections::HashSet;

use convoy_shared::id::Digest;
use jiff::Timestamp;

use super::{
    Approval, Binding, Challenge, ChallengeId, HeldChallenge, Issuance, Issued, IssuedCert,
    Profile, SanName, Transaction,
};
use crate::client::ClientNumber;

/// The longest subject, in bytes of DER.
pub const MOST_SUBJECT: usize = 2048;

/// A request, as its message said it. That its signatures hold was checked at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// SCEP transaction id.
    pub transaction: String,
    /// What kind.
    pub kind: Kind,
    /// Subject, a Name in DER.
    pub subject: Vec<u8>,
    /// The same for people (RFC 4514).
    pub subject_text: String,
    /// It says more than common name and organization.
    pub has_other_parts: bool,
    /// Common names, in order; most subjects have one.
    pub common_names: Vec<String>,
    /// Subject alternative names, "dns:…", "ip:…", "uri:…".
    pub sans: Vec<String>,
    /// SHA-256 of the public key's SubjectPublicKeyInfo.
    pub spki: Digest,
}

/// What kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a challenge's digest, if there was a challenge at all.
    First(Option<Digest>),
    /// Signed by the certificate with this serial: of this CA, unexpired, of the same subject, all checked at the door.
    Renewal(Vec<u8>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Sign, and order it.
    Issue(Permit),
    /// Order that it waits.
    Wait(Permit),
    /// The same request was answered with this certificate already: answer so again.
    Again(Box<Issued>),
    /// The same request waits already.
    StillWaiting,
}

/// What may be issued.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// By this profile.
    pub profile: Profile,
    /// With these names.
    pub sans: Vec<String>,
    /// For this challenge. `None`: a renewal.
    pub challenge: Option<ChallengeId>,
    /// In place of this serial.
    pub renews: Option<Vec<u8>>,
    /// Of this client.
    pub client: Option<ClientNumber>,
}

/// Why a request is refused: failInfo badRequest, with these words as failInfoText.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuanceRefusal {
    /// No challenge.
    #[error("a challenge password is required")]
    NoChallenge,
    /// Unknown, revoked, not yet or no longer good, or used up: one answer for all, so that nobody learns which.
    #[error("the challenge password is not accepted")]
    Challenge,
    /// Not for this name.
    #[error(
        "the challenge password, or the certificate that is renewed, is for other names than {0:?}"
    )]
    Binding(String),
    /// Nobody reads such a name.
    #[error("the subject is longer than {MOST_SUBJECT} bytes")]
    Subject,
    /// The transaction is another request's.
    #[error("the transaction id was used for another request")]
    TransactionReused,
    /// An operator said no.
    #[error("the request was denied: {0}")]
    Denied(String),
    /// Revoked, or not of this CA's record.
    #[error("the certificate that signed the renewal is revoked or unknown")]
    Revoked,
    /// The client of the challenge or of the renewed certificate was decommissioned.
    #[error("the device was decommissioned")]
    Decommissioned,
    /// No such profile any more.
    #[error("the challenge's profile {0:?} does not exist")]
    Profile(String),
    /// A certificate of this key was revoked as compromised.
    #[error("the key was revoked as compromised: make another")]
    CompromisedKey,
    /// Another copy of this controller has gone on.
    #[error("another copy of this controller has gone on: nothing is signed here any more")]
    Superseded,
    /// No such transaction.
    #[error("there is no such request")]
    NoSuchTransaction,
    /// The serial number is another certificate's, or none: 1 to 20 bytes, the first not 0 (RFC 5280 section 4.1.2.2).
    #[error("the certificate's serial number cannot be used; ask again")]
    Serial,
}

impl Issuance {
    /// Judges a request. `is_active` says whether a client is in the roster.
    ///
    /// # Errors
    /// If it is refused.
    pub fn judge(
        &self,
        asked: &Asked,
        is_active: &dyn Fn(ClientNumber) -> bool,
        now: Timestamp,
    ) -> Result<Judgement, IssuanceRefusal> {
        let repeat = match &asked.kind {
            Kind::First(digest) => {
                let held = digest.and_then(|digest| self.challenge_by_digest(&digest));
                let profile = held.and_then(|held| self.profile(&held.challenge.profile));
                Repeat {
                    challenge: held.map(|held| held.challenge.id),
                    renews: None,
                    sans: profile.map_or_else(Vec::new, |profile| profile.names(&asked.sans)),
                }
            }
            Kind::Renewal(serial) => Repeat {
                challenge: None,
                renews: Some(serial),
                sans: Vec::new(),
            },
        };
        let (transaction, subject) = (&asked.transaction, &asked.subject_text);
        match self.earlier(transaction, &asked.spki, subject, &repeat, now)? {
            Some(Earlier::Issued(issued)) => return Ok(Judgement::Again(Box::new(issued.clone()))),
            Some(Earlier::Waits) => return Ok(Judgement::StillWaiting),
            None => {}
        }
        if asked.subject.len() > MOST_SUBJECT {
            return Err(IssuanceRefusal::Subject);
        }
        match &asked.kind {
            Kind::First(None) => Err(IssuanceRefusal::NoChallenge),
            Kind::First(Some(digest)) => self.judge_first(asked, digest, is_active, now),
            Kind::Renewal(serial) => self.judge_renewal(asked, serial, is_active),
        }
    }

    /// What this request has come to already. `None`: it is a new one, to be judged by itself. Devices make a transaction's id out of their key, so
    /// that one which keeps its key asks under the same id again: it has a new challenge, renews what the transaction brought, or begins anew when
    /// that has expired or was revoked.
    pub(super) fn earlier(
        &self,
        transaction: &str,
        spki: &Digest,
        subject: &str,
        repeat: &Repeat<'_>,
        now: Timestamp,
    ) -> Result<Option<Earlier<'_>>, IssuanceRefusal> {
        let reused = IssuanceRefusal::TransactionReused;
        if self.is_compromised(spki) {
            return Err(IssuanceRefusal::CompromisedKey);
        }
        match self.transaction(transaction) {
            None => Ok(None),
            Some(Transaction::Issued(serial)) => {
                let known = self.certificate(serial);
                let Some(known) = known.filter(|known| known.issued.spki == *spki) else {
                    return Err(reused);
                };
                let issued = &known.issued;
                let same = match repeat.renews {
                    Some(old) => issued.renews.as_deref() == Some(old),
                    None => {
                        repeat.challenge.is_some()
                            && issued.challenge == repeat.challenge
                            && issued.subject == subject
                            && issued.sans == repeat.sans
                    }
                };
                // An answer that was lost.
                let holds = known.revocation.is_none() && issued.not_after >= now;
                Ok((same && holds).then_some(Earlier::Issued(issued)))
            }
            Some(Transaction::Waiting(waiting, _)) => {
                let same = Digest::of(&waiting.spki_der) == *spki
                    && Some(waiting.challenge) == repeat.challenge
                    && waiting.subject == subject;
                if same {
                    Ok(Some(Earlier::Waits))
                } else {
                    Err(reused)
                }
            }
            Some(Transaction::Denied(waiting, _, reason)) => {
                if Digest::of(&waiting.spki_der) != *spki {
                    Err(reused)
                } else if Some(waiting.challenge) == repeat.challenge {
                    Err(IssuanceRefusal::Denied(reason.clone()))
                } else {
                    Ok(None)
                }
            }
        }
    }

    fn judge_first(
        &self,
        asked: &Asked,
        digest: &Digest,
        is_active: &dyn Fn(ClientNumber) -> bool,
        now: Timestamp,
    ) -> Result<Judgement, IssuanceRefusal> {
        let held = self.challenge_by_digest(digest);
        let challenge = self.admitted(held, is_active, now)?;
        if let Some(binding) = &challenge.binding {
            admits_names(binding, asked)?;
        }
        let profile = self.profile_of(&challenge.profile)?;
        let permit = Permit {
            sans: profile.names(&asked.sans),
            profile,
            challenge: Some(challenge.id),
            renews: None,
            client: challenge.client,
        };
        Ok(match self.approval() {
            Approval::Automatic => Judgement::Issue(permit),
            Approval::Manual => Judgement::Wait(permit),
        })
    }

    /// At once, also where an operator approves: that it may have this certificate was approved before.
    fn judge_renewal(
        &self,
        asked: &Asked,
        serial: &[u8],
        is_active: &dyn Fn(ClientNumber) -> bool,
    ) -> Result<Judgement, IssuanceRefusal> {
        let old = &self.renewable(serial, is_active)?.issued;
        let profile = self.profile_of(&old.profile)?;
        // A device asks for the same names each time. What the profile leaves out is not in the old certificate either.
        let taken = asked.sans.iter().filter(|name| profile.takes(name));
        among(taken, &old.sans)?;
        Ok(Judgement::Issue(Permit {
            sans: profile.names(&asked.sans),
            profile,
            challenge: None,
            renews: Some(serial.to_vec()),
            client: old.client,
        }))
    }

    /// A challenge that admits a request now, of a device that may have certificates.
    pub(super) fn admitted<'a>(
        &self,
        held: Option<&'a HeldChallenge>,
        is_active: &dyn Fn(ClientNumber) -> bool,
        now: Timestamp,
    ) -> Result<&'a Challenge, IssuanceRefusal> {
        let challenge = held
            .map(|held| &held.challenge)
            .filter(|challenge| self.admits(challenge, now))
            .ok_or(IssuanceRefusal::Challenge)?;
        if challenge.client.is_some_and(|client| !is_active(client)) {
            return Err(IssuanceRefusal::Decommissioned);
        }
        Ok(challenge)
    }

    /// A certificate that may be renewed, of a device that may have certificates.
    pub(super) fn renewable(
        &self,
        serial: &[u8],
        is_active: &dyn Fn(ClientNumber) -> bool,
    ) -> Result<&IssuedCert, IssuanceRefusal> {
        let old = self
            .certificate(serial)
            .filter(|old| old.revocation.is_none())
            .ok_or(IssuanceRefusal::Revoked)?;
        if old.issued.client.is_some_and(|client| !is_active(client)) {
            return Err(IssuanceRefusal::Decommissioned);
        }
        Ok(old)
    }

    /// A profile as it is now.
    pub(super) fn profile_of(&self, name: &str) -> Result<Profile, IssuanceRefusal> {
        self.profile(name)
            .ok_or_else(|| IssuanceRefusal::Profile(name.to_owned()))
    }

    /// Whether a challenge admits a request at `now`.
    #[must_use]
    pub fn admits(&self, challenge: &Challenge, now: Timestamp) -> bool {
        self.challenge(challenge.id).is_some_and(|held| {
            !held.revoked
                && challenge.not_before <= now
                && challenge.expires_at.is_none_or(|end| now < end)
                && challenge.uses.is_none_or(|uses| held.used < uses)
        })
    }
}

/// What tells a request that came before from a new one under the same transaction id.
pub(super) struct Repeat<'a> {
    /// The challenge that it comes with.
    pub(super) challenge: Option<ChallengeId>,
    /// The serial that it renews.
    pub(super) renews: Option<&'a [u8]>,
    /// The names that its certificate would have.
    pub(super) sans: Vec<String>,
}

/// What a request has come to already.
pub(super) enum Earlier<'a> {
    /// This certificate.
    Issued(&'a Issued),
    /// It waits for an operator.
    Waits,
}

fn admits_names(binding: &Binding, asked: &Asked) -> Result<(), IssuanceRefusal> {
    // Of several, one peer believes the first and another the last.
    let wanted = &binding.common_name;
    let is_wanted = |name: &String| {
        if wanted.is_empty() {
            // Who may have a name as an alternative one may have it as the common one.
            let values = binding.sans.iter().filter_map(|name| name.split_once(':'));
            let mut values = values.filter(|(kind, _)| *kind != "uri");
            values.any(|(_, value)| name.eq_ignore_ascii_case(value))
        } else {
            name.eq_ignore_ascii_case(wanted)
        }
    };
    let lacks_it = !wanted.is_empty() && asked.common_names.is_empty();
    if lacks_it || !asked.common_names.iter().all(is_wanted) {
        let names = asked.common_names.join(",CN=");
        return Err(IssuanceRefusal::Binding(format!("CN={names}")));
    }
    // Others go by organizational units, user ids and the like.
    if asked.has_other_parts {
        return Err(IssuanceRefusal::Binding(asked.subject_text.clone()));
    }
    among(asked.sans.iter(), &binding.sans)
}

/// Whether each name that is asked for is among these.
fn among<'a>(
    asked: impl Iterator<Item = &'a String>,
    names: &[String],
) -> Result<(), IssuanceRefusal> {
    let names: HashSet<SanName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    for name in asked {
        if !name.parse().is_ok_and(|name| names.contains(&name)) {
            return Err(IssuanceRefusal::Binding(name.clone()));
        }
    }
    Ok(())
}
