//! What the journal says of the built-in CA, and its fold. Nothing is decided here.

use std::collections::{BTreeMap, HashMap, HashSet};

use convoy_shared::id::Digest;
use jiff::Timestamp;

use super::{Approval, Challenge, ChallengeId, CrlReason, IssuanceEvent, Issued, Profile, Waiting};
use crate::{
    client::ClientNumber,
    recovery::{JUMP, KeptRevocation},
};

/// Everything that the CA remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issuance {
    authorities: Vec<Ca>,
    approval: Approval,
    profiles: BTreeMap<String, Profile>,
    challenges: BTreeMap<ChallengeId, HeldChallenge>,
    challenge_order: Vec<ChallengeId>,
    by_digest: HashMap<Digest, ChallengeId>,
    transactions: HashMap<String, Transaction>,
    transaction_order: BTreeMap<u64, String>,
    /// Where each stands in that order.
    place_of: HashMap<String, u64>,
    certificates: HashMap<Vec<u8>, IssuedCert>,
    certificate_order: Vec<Vec<u8>>,
    waiting: u64,
    revocation_order: Vec<Vec<u8>>,
    /// SHA-256 of the SubjectPublicKeyInfo of keys that were revoked as compromised.
    compromised: HashSet<Digest>,
    crl_number: u64,
    /// Revocations of certificates that the journal does not know.
    kept: Vec<KeptRevocation>,
}

/// A CA of the built-in server.
#[derive(Clone, Debug, PartialEq)]
pub struct Ca {
    /// 1, 2, 3 …
    pub number: u32,
    /// DER.
    pub certificate: Vec<u8>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki: Digest,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// Its RA's certificate, DER, where devices do not encrypt to the CA itself.
    pub ra: Option<Vec<u8>>,
    /// Where it stands.
    pub state: AuthorityState,
}

/// Where a CA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthorityState {
    /// It issues.
    Current,
    /// It is offered by GetNextCACert.
    Next,
    /// It issued: its certificates may be renewed, and its revocations stand.
    Former,
}

/// A challenge and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldChallenge {
    /// As created.
    pub challenge: Challenge,
    /// How often it has admitted a request.
    pub used: u32,
    /// It was revoked.
    pub revoked: bool,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What became of a SCEP transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Transaction {
    /// It waits for an operator, since then.
    Waiting(Box<Waiting>, Timestamp),
    /// This serial was issued.
    Issued(Vec<u8>),
    /// It was denied: since when it had waited, and why.
    Denied(Box<Waiting>, Timestamp, String),
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedCert {
    /// As issued.
    pub issued: Issued,
    /// When.
    pub issued_at: Timestamp,
    /// If it was revoked.
    pub revocation: Option<Revocation>,
}

/// A revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: CrlReason,
}

impl Issuance {
    /// CAs, oldest first.
    #[must_use]
    pub fn authorities(&self) -> &[Ca] {
        &self.authorities
    }

    /// The CA that issues.
    #[must_use]
    pub fn current(&self) -> Option<&Ca> {
        self.in_state(AuthorityState::Current)
    }

    /// The CA that is offered as the next one.
    #[must_use]
    pub fn next(&self) -> Option<&Ca> {
        self.in_state(AuthorityState::Next)
    }

    fn in_state(&self, state: AuthorityState) -> Option<&Ca> {
        self.authorities.iter().find(|ca| ca.state == state)
    }

    /// How requests with a valid challenge are decided.
    #[must_use]
    pub const fn approval(&self) -> Approval {
        self.approval
    }

    /// Profiles by name; the default one is always among them.
    #[must_use]
    pub fn profiles(&self) -> Vec<Profile> {
        let mut profiles: Vec<_> = self.profiles.values().cloned().collect();
        if !self.profiles.contains_key(super::profile::DEFAULT) {
            profiles.insert(0, Profile::default());
        }
        profiles.sort_by(|a, b| a.name.cmp(&b.name));
        profiles
    }

    /// One profile.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<Profile> {
        match self.profiles.get(name) {
            Some(profile) => Some(profile.clone()),
            None if name == super::profile::DEFAULT => Some(Profile::default()),
            None => None,
        }
    }

    /// Challenges in the order of their creation.
    pub fn challenges(&self) -> impl Iterator<Item = &HeldChallenge> {
        self.challenge_order
            .iter()
            .filter_map(|id| self.challenges.get(id))
    }

    /// One challenge.
    #[must_use]
    pub fn challenge(&self, id: ChallengeId) -> Option<&HeldChallenge> {
        self.challenges.get(&id)
    }

    /// The challenge with this digest.
    #[must_use]
    pub fn challenge_by_digest(&self, digest: &Digest) -> Option<&HeldChallenge> {
        self.challenges.get(self.by_digest.get(digest)?)
    }

    /// What became of a transaction.
    #[must_use]
    pub fn transaction(&self, id: &str) -> Option<&Transaction> {
        self.transactions.get(id)
    }

    /// Transactions that waited or wait, in the order in which they came, each with its id.
    pub fn transactions(&self) -> impl Iterator<Item = (&str, &Transaction)> {
        self.transaction_order
            .values()
            .filter_map(|id| Some((id.as_str(), self.transactions.get(id)?)))
    }

    /// One certificate, by its serial (big-endian, without leading zeros).
    #[must_use]
    pub fn certificate(&self, serial: &[u8]) -> Option<&IssuedCert> {
        self.certificates.get(serial)
    }

    /// Certificates in the order of their issue.
    pub fn certificates(&self) -> impl DoubleEndedIterator<Item = &IssuedCert> {
        self.certificate_order
            .iter()
            .filter_map(|serial| self.certificates.get(serial))
    }

    /// Certificates that one was renewed into, and those were, that are neither revoked nor expired; in the order of their issue. Who revokes one
    /// wants to know: they stay valid.
    #[must_use]
    pub fn renewals(&self, serial: &[u8], now: Timestamp) -> Vec<&IssuedCert> {
        let mut line = HashSet::from([serial]);
        // A renewal is issued after what it renews.
        self.certificates()
            .filter(|known| {
                let renews = known.issued.renews.as_deref();
                renews.is_some_and(|renews| line.contains(renews))
                    && line.insert(&known.issued.serial)
            })
            .filter(|known| known.revocation.is_none() && now <= known.issued.not_after)
            .collect()
    }

    /// How many certificates were issued.
    #[must_use]
    pub fn issued(&self) -> u64 {
        u64::try_from(self.certificate_order.len()).unwrap_or(u64::MAX)
    }

    /// How many of them were revoked.
    #[must_use]
    pub fn revoked(&self) -> u64 {
        u64::try_from(self.revocation_order.len()).unwrap_or(u64::MAX)
    }

    /// What stands in a CA's list of revocations at `now`: serial, when, why, in the order of the revocations. A certificate that has expired is
    /// not in it any more.
    pub fn revocations_of(
        &self,
        authority: u32,
        now: Timestamp,
    ) -> impl Iterator<Item = (&[u8], Timestamp, CrlReason)> {
        let kept = self.kept.iter().filter_map(move |kept| {
            (kept.authority == authority && now <= kept.not_after).then_some((
                kept.serial.as_slice(),
                kept.at,
                kept.reason,
            ))
        });
        let known = self.revocation_order.iter().filter_map(move |serial| {
            let known = self.certificates.get(serial)?;
            let Revocation { at, reason } = known.revocation?;
            (known.issued.authority == authority && now <= known.issued.not_after).then_some((
                serial.as_slice(),
                at,
                reason,
            ))
        });
        known.chain(kept)
    }

    /// Whether a certificate of this key (SHA-256 of its SubjectPublicKeyInfo) was revoked as compromised.
    #[must_use]
    pub fn is_compromised(&self, spki: &Digest) -> bool {
        self.compromised.contains(spki)
    }

    /// Grows with every revocation: the number of the CRL (RFC 5280 section 5.2.3).
    #[must_use]
    pub const fn crl_number(&self) -> u64 {
        self.crl_number
    }

    /// How many requests wait.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Certificates of a client, oldest first.
    pub fn of_client(&self, client: ClientNumber) -> impl DoubleEndedIterator<Item = &IssuedCert> {
        self.certificates()
            .filter(move |certificate| certificate.issued.client == Some(client))
    }

    pub(crate) fn fold(&mut self, event: &IssuanceEvent, time: Timestamp) {
        match event {
            IssuanceEvent::AuthorityMade {
                number,
                certificate,
                spki,
                not_after,
                ra,
            } => {
                let state = if self.current().is_none() {
                    AuthorityState::Current
                } else {
                    AuthorityState::Next
                };
                self.authorities.push(Ca {
                    number: *number,
                    certificate: certificate.clone(),
                    spki: *spki,
                    not_after: *not_after,
                    ra: ra.clone(),
                    state,
                });
            }
            IssuanceEvent::AuthorityActivated { number } => {
                for ca in &mut self.authorities {
                    if ca.number == *number {
                        ca.state = AuthorityState::Current;
                    } else if ca.state == AuthorityState::Current {
                        ca.state = AuthorityState::Former;
                    }
                }
            }
            IssuanceEvent::ApprovalSet(approval) => self.approval = *approval,
            IssuanceEvent::ProfileSet(profile) => {
                self.profiles.insert(profile.name.clone(), profile.clone());
            }
            IssuanceEvent::ChallengeCreated(challenge) => {
                self.by_digest.insert(challenge.digest, challenge.id);
                self.challenge_order.push(challenge.id);
                self.challenges.insert(
                    challenge.id,
                    HeldChallenge {
                        challenge: challenge.clone(),
                        used: 0,
                        revoked: false,
                        created_at: time,
                    },
                );
            }
            IssuanceEvent::ChallengeRevoked { id } => {
                if let Some(held) = self.challenges.get_mut(id) {
                    held.revoked = true;
                }
            }
            IssuanceEvent::RequestReceived(waiting) => {
                self.use_up(waiting.challenge);
                let id = &waiting.transaction;
                let place = self
                    .transaction_order
                    .last_key_value()
                    .map_or(0, |(last, _)| last.saturating_add(1));
                // One that comes again is the newest.
                if let Some(before) = self.place_of.insert(id.clone(), place) {
                    self.transaction_order.remove(&before);
                }
                self.transaction_order.insert(place, id.clone());
                self.enter(id, Transaction::Waiting(Box::new(waiting.clone()), time));
            }
            IssuanceEvent::RequestDenied {
                transaction,
                reason,
            } => {
                if let Some(Transaction::Waiting(waiting, since)) =
                    self.transactions.get(transaction).cloned()
                {
                    self.enter(
                        transaction,
                        Transaction::Denied(waiting, since, reason.clone()),
                    );
                }
            }
            IssuanceEvent::CertificateIssued(issued) => self.issue(issued, time),
            IssuanceEvent::CertificateRevoked { serial, reason } => {
                if let Some(certificate) = self.certificates.get_mut(serial)
                    && certificate.revocation.is_none()
                {
                    certificate.revocation = Some(Revocation {
                        at: time,
                        reason: *reason,
                    });
                    if *reason == CrlReason::KeyCompromise {
                        self.compromised.insert(certificate.issued.spki);
                    }
                    self.revocation_order.push(serial.clone());
                    self.crl_number = self.crl_number.saturating_add(1);
                }
            }
        }
    }

    /// The journal was older than the fleet: challenges that were spent or revoked may have come back to life, and lists of revocations must have a
    /// number beyond those that are out.
    pub(crate) fn recovered(&mut self) {
        for held in self.challenges.values_mut() {
            held.revoked = true;
        }
        self.crl_number = self.crl_number.saturating_add(JUMP);
    }

    /// A certificate that the journal does not know stays revoked.
    pub(crate) fn keep_revocation(&mut self, kept: &KeptRevocation) {
        if self.kept.iter().any(|known| known.serial == kept.serial) {
            return;
        }
        if kept.reason == CrlReason::KeyCompromise {
            self.compromised.insert(kept.spki);
        }
        self.kept.push(kept.clone());
        self.crl_number = self.crl_number.saturating_add(1);
    }

    /// Revocations of certificates that the journal does not know.
    pub fn kept_revocations(&self) -> impl Iterator<Item = &KeptRevocation> {
        self.kept.iter()
    }

    fn issue(&mut self, issued: &Issued, time: Timestamp) {
        let before = self.enter(
            &issued.transaction,
            Transaction::Issued(issued.serial.clone()),
        );
        // What waited had used its challenge up when it came.
        if let Some(challenge) = issued.challenge
            && !matches!(before, Some(Transaction::Waiting(..)))
        {
            self.use_up(challenge);
        }
        self.certificate_order.push(issued.serial.clone());
        self.certificates.insert(
            issued.serial.clone(),
            IssuedCert {
                issued: issued.clone(),
                issued_at: time,
                revocation: None,
            },
        );
    }

    /// Notes what has become of a transaction, and returns what it was.
    fn enter(&mut self, id: &str, transaction: Transaction) -> Option<Transaction> {
        let waits = |of: &Transaction| u64::from(matches!(of, Transaction::Waiting(..)));
        let now = waits(&transaction);
        let before = self.transactions.insert(id.to_owned(), transaction);
        let were = before.as_ref().map_or(0, waits);
        self.waiting = self.waiting.saturating_add(now).saturating_sub(were);
        before
    }

    fn use_up(&mut self, challenge: ChallengeId) {
        if let Some(held) = self.challenges.get_mut(&challenge) {
            held.used = held.used.saturating_add(1);
        }
    }
}
