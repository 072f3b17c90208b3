//! What the log says of SCEP events. Never a challenge.

use convoy_fleet::{
    client::ClientNumber,
    enrolment::{Audience, EnrolmentEvent},
    event::Entry,
    issuance::IssuanceEvent,
};
use convoy_shared::enrolment::RequestState;

pub(super) fn enrolment(
    named: &dyn Fn(&ClientNumber) -> String,
    event: &EnrolmentEvent,
    entry: &Entry,
) {
    let whose = |audience: &Audience| match audience {
        Audience::Group(group) => format!("group {group}"),
        Audience::Client(client) => format!("client {}", named(client)),
    };
    match event {
        EnrolmentEvent::SettingsSet {
            audience,
            revision,
            patch,
        } => {
            tracing::info!(of = whose(audience), %revision, set = ?patch.fields(), actor = ?entry.actor, "SCEP settings set");
        }
        EnrolmentEvent::SecretStored {
            audience,
            ndes,
            present,
        } => {
            tracing::info!(of = whose(audience), ndes, present, actor = ?entry.actor, "SCEP secret stored or forgotten");
        }
        EnrolmentEvent::Reported { client, record } => {
            let details = match &record.state {
                RequestState::Error(detail) => detail.to_string(),
                RequestState::Processing { waiting, .. } => waiting
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                RequestState::ToBeProcessed => record.requested_at.to_string(),
                RequestState::Successful(certificate) => certificate.serial.clone(),
            };
            tracing::info!(
                client = named(client),
                attempt = record.attempt,
                status = record.state.word(),
                details,
                "SCEP request"
            );
        }
        EnrolmentEvent::Stated { client, held, .. } => {
            tracing::debug!(client = named(client), %held, "SCEP document held");
        }
    }
}

pub(super) fn issuance(event: &IssuanceEvent, entry: &Entry) {
    let actor = &entry.actor;
    match event {
        IssuanceEvent::AuthorityMade {
            number, not_after, ..
        } => tracing::info!(number, %not_after, "SCEP CA made"),
        IssuanceEvent::AuthorityActivated { number } => {
            tracing::info!(number, ?actor, "SCEP CA in force");
        }
        IssuanceEvent::ApprovalSet(approval) => {
            tracing::info!(?approval, ?actor, "SCEP approval set");
        }
        IssuanceEvent::ProfileSet(profile) => {
            tracing::info!(profile = profile.name, ?actor, "SCEP profile set");
        }
        IssuanceEvent::ChallengeCreated(challenge) => {
            tracing::info!(challenge = %challenge.id, profile = challenge.profile, ?actor, "SCEP challenge created");
        }
        IssuanceEvent::ChallengeRevoked { id } => {
            tracing::info!(challenge = %id, ?actor, "SCEP challenge revoked");
        }
        IssuanceEvent::RequestReceived(waiting) => {
            tracing::info!(
                transaction = waiting.transaction,
                subject = waiting.subject,
                "SCEP request waits for approval"
            );
        }
        IssuanceEvent::RequestDenied {
            transaction,
            reason,
        } => {
            tracing::info!(transaction, reason, ?actor, "SCEP request denied");
        }
        IssuanceEvent::CertificateIssued(issued) => {
            let serial: String = issued.serial.iter().map(|b| format!("{b:02X}")).collect();
            tracing::info!(serial, subject = issued.subject, transaction = issued.transaction, not_after = %issued.not_after, "SCEP certificate issued");
        }
        IssuanceEvent::CertificateRevoked { serial, reason } => {
            let serial: String = serial.iter().map(|b| format!("{b:02X}")).collect();
            tracing::warn!(serial, ?reason, ?actor, "SCEP certificate revoked");
        }
    }
}
