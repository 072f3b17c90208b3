//! The built-in CA as operators see it. Conversions only.

use convoy_fleet::{
    client::ClientNumber,
    issuance::{
        Approval, AuthorityState, Ca, CrlReason, HeldChallenge, IssuedCert, Profile, Transaction,
        Waiting,
    },
    state::Fleet,
};
use convoy_proto::{
    time::{duration, timestamp},
    v1,
};
use convoy_scep::certificate::Certificate;
use convoy_shared::id::Digest;
use tonic::Status;

use crate::{api::status, scep::authority::CaKey};

pub(super) const fn approval(approval: Approval) -> v1::ScepApproval {
    match approval {
        Approval::Automatic => v1::ScepApproval::Automatic,
        Approval::Manual => v1::ScepApproval::Manual,
    }
}

/// The key that is asked for, if one is.
pub(super) fn read_key(wire: i32) -> Result<Option<CaKey>, Status> {
    match v1::ScepCaKey::try_from(wire) {
        Ok(v1::ScepCaKey::Unspecified) => Ok(None),
        Ok(v1::ScepCaKey::Rsa2048) => Ok(Some(CaKey::Rsa2048)),
        Ok(v1::ScepCaKey::EcdsaP256) => Ok(Some(CaKey::EcdsaP256)),
        Err(_) => Err(status::invalid("key", &"RSA_2048 or ECDSA_P256")),
    }
}

pub(super) fn authority(ca: &Ca) -> v1::ScepCa {
    let certificate = Certificate::from_der(&ca.certificate).ok();
    let key = match CaKey::of(ca) {
        CaKey::Rsa2048 => v1::ScepCaKey::Rsa2048,
        CaKey::EcdsaP256 => v1::ScepCaKey::EcdsaP256,
    };
    v1::ScepCa {
        number: ca.number,
        fingerprint: Digest::of(&ca.certificate).as_bytes().to_vec().into(),
        certificate: ca.certificate.clone().into(),
        state: match ca.state {
            AuthorityState::Current => "current",
            AuthorityState::Next => "next",
            AuthorityState::Former => "former",
        }
        .to_owned(),
        subject: certificate
            .as_ref()
            .map(Certificate::subject_text)
            .unwrap_or_default(),
        not_before: certificate.map(|certificate| timestamp(certificate.not_before())),
        not_after: Some(timestamp(ca.not_after)),
        key: key.into(),
        ra_certificate: ca.ra.clone().unwrap_or_default().into(),
    }
}

pub(super) fn challenge(fleet: &Fleet, held: &HeldChallenge) -> v1::ScepChallenge {
    let challenge = &held.challenge;
    let binding = challenge.binding.clone();
    v1::ScepChallenge {
        id: challenge.id.to_string(),
        uses: challenge.uses.unwrap_or(0),
        used: held.used,
        bound: binding.is_some(),
        common_name: binding
            .as_ref()
            .map(|binding| binding.common_name.clone())
            .unwrap_or_default(),
        subject_alt_names: binding.map(|binding| binding.sans).unwrap_or_default(),
        not_before: Some(timestamp(challenge.not_before)),
        expires_at: challenge.expires_at.map(timestamp),
        profile: challenge.profile.clone(),
        client: client(fleet, challenge.client),
        group: challenge
            .group
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        is_static: challenge.is_static,
        revoked: held.revoked,
        created_at: Some(timestamp(held.created_at)),
    }
}

pub(super) fn profile(profile: &Profile) -> v1::ScepProfile {
    v1::ScepProfile {
        name: profile.name.clone(),
        lifetime: Some(duration(profile.lifetime)),
        extended_key_usages: profile.extended_key_usages.clone(),
        subject_alt_name_kinds: profile
            .san_kinds
            .iter()
            .map(|kind| kind.as_str().to_owned())
            .collect(),
        subject_alt_names: profile.sans.clone(),
    }
}

pub(super) fn request(fleet: &Fleet, id: &str, transaction: &Transaction) -> v1::ScepRequest {
    let of = |waiting: &Waiting, since, state: &str, reason: String| v1::ScepRequest {
        transaction_id: id.to_owned(),
        state: state.to_owned(),
        subject: waiting.subject.clone(),
        subject_alt_names: waiting.sans.clone(),
        key: Digest::of(&waiting.spki_der).as_bytes().to_vec().into(),
        received_at: Some(timestamp(since)),
        challenge_id: waiting.challenge.to_string(),
        profile: waiting.profile.clone(),
        client: client(fleet, waiting.client),
        reason,
    };
    match transaction {
        Transaction::Waiting(waiting, since) => of(waiting, *since, "waiting", String::new()),
        Transaction::Denied(waiting, since, reason) => {
            of(waiting, *since, "denied", reason.clone())
        }
        Transaction::Issued(serial) => {
            let mut request = v1::ScepRequest {
                transaction_id: id.to_owned(),
                state: "issued".to_owned(),
                ..v1::ScepRequest::default()
            };
            if let Some(known) = fleet.issuance().certificate(serial) {
                let issued = &known.issued;
                request.subject = issued.subject.clone();
                request.subject_alt_names = issued.sans.clone();
                request.key = issued.spki.as_bytes().to_vec().into();
                request.received_at = Some(timestamp(known.issued_at));
                request.challenge_id = issued
                    .challenge
                    .map(|id| id.to_string())
                    .unwrap_or_default();
                request.profile = issued.profile.clone();
                request.client = client(fleet, issued.client);
            }
            request
        }
    }
}

pub(super) fn certificate(fleet: &Fleet, known: &IssuedCert) -> v1::IssuedCertificate {
    let issued = &known.issued;
    v1::IssuedCertificate {
        serial: hex::encode_upper(&issued.serial),
        subject: issued.subject.clone(),
        not_before: Some(timestamp(issued.not_before)),
        not_after: Some(timestamp(issued.not_after)),
        issued_at: Some(timestamp(known.issued_at)),
        client: client(fleet, issued.client),
        profile: issued.profile.clone(),
        authority: issued.authority,
        revoked_at: known.revocation.map(|revocation| timestamp(revocation.at)),
        revocation_reason: known
            .revocation
            .map(|revocation| word(revocation.reason).to_owned())
            .unwrap_or_default(),
        certificate: issued.certificate.clone().into(),
        renews: issued
            .renews
            .as_ref()
            .map(hex::encode_upper)
            .unwrap_or_default(),
    }
}

fn word(reason: CrlReason) -> &'static str {
    CrlReason::ALL
        .iter()
        .find(|(known, _, _)| *known == reason)
        .map_or("unspecified", |(_, name, _)| name)
}

fn client(fleet: &Fleet, number: Option<ClientNumber>) -> String {
    number
        .and_then(|number| fleet.client(number))
        .map(|client| client.id.to_string())
        .unwrap_or_default()
}

/// A serial number as people write it: hex digits, perhaps with colons, perhaps with zeros before.
pub(super) fn read_serial(text: &str) -> Result<Vec<u8>, Status> {
    let digits = text.replace([':', ' '], "");
    let even = if digits.len() % 2 == 1 {
        format!("0{digits}")
    } else {
        digits
    };
    hex::decode(even)
        .ok()
        .map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect())
        .filter(|serial: &Vec<u8>| (1..=20).contains(&serial.len()))
        .ok_or_else(|| status::invalid("serial", &"hex digits, at most 20 bytes"))
}
