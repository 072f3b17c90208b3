//! What an opened message comes to: judged and signed. Nothing is recorded here, and nothing handed out; the rules are the fleet's.

use std::sync::{Arc, PoisonError};

use convoy_fleet::issuance::{
    Asked, Judgement, Kind as AskedKind, Order, Permit, Transaction, Waiting,
};
use convoy_scep::{
    issue::Authority,
    message::FailInfo,
    request::CertificationRequest,
    server::{Incoming, Kind},
};
use convoy_shared::id::Digest;
use jiff::Timestamp;

use super::{Answers, Decided, said};
use crate::scep::{
    message::{Granted, Outcome, Refused},
    secrets,
};

impl Answers {
    /// Former CAs: devices that have not learned of the one in force encrypt to these, and renew certificates of theirs.
    pub(super) fn former(&self) -> Vec<(u32, Arc<Authority>)> {
        let former: Vec<_> = {
            let fleet = self.scep.keeper.read();
            let state = convoy_fleet::issuance::AuthorityState::Former;
            let all = fleet.issuance().authorities().iter();
            all.filter(|ca| ca.state == state).cloned().collect()
        };
        former
            .iter()
            .rev()
            .filter_map(|ca| Some((ca.number, self.scep.load(ca).ok()?)))
            .collect()
    }

    /// Some peers poll under the nonce of their request.
    pub(super) fn is_replayed(&self, incoming: &Incoming, digest: Digest, now: Timestamp) -> bool {
        if !matches!(incoming.kind, Kind::Enrol { .. } | Kind::Renew { .. }) {
            return false;
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.is_reused(incoming.sender_nonce().as_bytes(), digest, now)
    }

    pub(super) fn decide(
        &self,
        incoming: &Incoming,
        number: u32,
        now: Timestamp,
    ) -> Result<Decided, Refused> {
        let outcome = match &incoming.kind {
            Kind::Enrol { request } => {
                let challenge = request
                    .challenge()
                    .and_then(|challenge| secrets::digest(&self.scep.keys, challenge.expose()));
                let kind = AskedKind::First(challenge);
                return self.enrol(incoming, kind, request, now);
            }
            Kind::Renew { request, signer } => {
                let kind = AskedKind::Renewal(signer.serial().to_vec());
                return self.enrol(incoming, kind, request, now);
            }
            Kind::Poll { .. } => self.poll(incoming)?,
            Kind::GetCert { serial, .. } => {
                let fleet = self.scep.keeper.read();
                let known = fleet.issuance().certificate(serial);
                let known = known.filter(|known| known.issued.authority == number);
                let known =
                    known.ok_or_else(|| Refused::of(FailInfo::BadCertId, "no such certificate"))?;
                Outcome::Again(Granted::of(&known.issued))
            }
            Kind::GetCrl { .. } => Outcome::Crl(number),
        };
        Ok(Decided::Done(outcome))
    }

    fn poll(&self, incoming: &Incoming) -> Result<Outcome, Refused> {
        let key = Digest::of(incoming.requester.spki());
        let no_such = || Refused::of(FailInfo::BadCertId, "no such request");
        let fleet = self.scep.keeper.read();
        let issuance = fleet.issuance();
        match issuance.transaction(incoming.transaction_id.as_str()) {
            Some(Transaction::Waiting(waiting, _)) if Digest::of(&waiting.spki_der) == key => {
                Ok(Outcome::Pending)
            }
            Some(Transaction::Denied(waiting, _, reason))
                if Digest::of(&waiting.spki_der) == key =>
            {
                let text = format!("the request was denied: {reason}");
                Err(Refused::of(FailInfo::BadRequest, &text))
            }
            Some(Transaction::Issued(serial)) => issuance
                .certificate(serial)
                .filter(|known| known.issued.spki == key && known.revocation.is_none())
                .map(|known| Outcome::Again(Granted::of(&known.issued)))
                .ok_or_else(no_such),
            // Somebody else's, too.
            Some(_) | None => Err(no_such()),
        }
    }

    fn enrol(
        &self,
        incoming: &Incoming,
        kind: AskedKind,
        request: &CertificationRequest,
        now: Timestamp,
    ) -> Result<Decided, Refused> {
        let asked = Asked {
            transaction: incoming.transaction_id.as_str().to_owned(),
            kind,
            subject: request.subject().to_vec(),
            subject_text: request.subject_text(),
            has_other_parts: request.has_other_subject_parts(),
            common_names: request.common_names(),
            sans: request.sans().iter().map(ToString::to_string).collect(),
            spki: Digest::of(request.spki()),
        };
        let judged = {
            let fleet = self.scep.keeper.read();
            let is_active = |client| fleet.roster().contains(client);
            fleet.issuance().judge(&asked, &is_active, now)
        };
        let judged =
            judged.map_err(|refusal| Refused::of(FailInfo::BadRequest, &refusal.to_string()))?;
        match judged {
            Judgement::Again(issued) => Ok(Decided::Done(Outcome::Again(Granted::of(&issued)))),
            Judgement::StillWaiting => Ok(Decided::Done(Outcome::Pending)),
            Judgement::Wait(permit) => {
                self.not_too_often(&permit)?;
                let challenge = permit
                    .challenge
                    .ok_or_else(|| Refused::of(FailInfo::BadRequest, "no challenge"))?;
                let waiting = Waiting {
                    transaction: asked.transaction,
                    subject_der: asked.subject,
                    subject: request.subject_text(),
                    spki_der: request.spki().to_vec(),
                    sans: permit.sans,
                    challenge,
                    profile: permit.profile.name,
                    client: permit.client,
                };
                Ok(Decided::Order(Box::new(Order::Wait(waiting))))
            }
            Judgement::Issue(permit) => {
                self.not_too_often(&permit)?;
                let (spki, subject) = (request.spki(), &asked.subject);
                let issued =
                    self.scep
                        .sign_certificate(&permit, asked.transaction, subject, spki, now);
                match issued {
                    Ok(issued) => Ok(Decided::Order(Box::new(Order::Issue(issued)))),
                    Err(error) => {
                        tracing::error!(error = said(&error), "cannot issue a certificate");
                        Err(Refused::Broken)
                    }
                }
            }
        }
    }

    /// Each certificate is kept for good: who may have one may not have any number.
    fn not_too_often(&self, permit: &Permit) -> Result<(), Refused> {
        let whose = match (permit.client, &permit.renews) {
            (Some(client), _) => Digest::of(format!("client {client}").as_bytes()),
            (None, Some(serial)) => Digest::of(serial),
            // As many as the challenge admits.
            (None, None) => return Ok(()),
        };
        if self.pace.take(&whose).is_ok() {
            Ok(())
        } else {
            Err(Refused::of(
                FailInfo::BadRequest,
                "too many certificates in a short time; come back later",
            ))
        }
    }
}
