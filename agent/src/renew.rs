//! The identity certificate: when it is due for renewal, and what may take its place. Nothing is stored here.

use std::time::Duration;

use bytes::Bytes;
use convoy_proto::v1;
use convoy_shared::{
    certificate::{BadCertificate, client_of, not_after, not_before},
    id::{ClientId, FleetId},
};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use crate::{greet::ANSWER_TIMEOUT, key::IdentityKey, link::Client, refusal::Refusal};

/// Whether half of the certificate's life is over.
///
/// # Errors
/// If it is no certificate.
pub fn is_due(certificate: &[u8], now: Timestamp) -> Result<bool, BadCertificate> {
    let (from, until) = (not_before(certificate)?, not_after(certificate)?);
    Ok(now.as_second() >= from + (until - from) / 2)
}

/// Whether the certificate's life is over.
///
/// # Errors
/// If it is no certificate.
pub fn is_expired(certificate: &[u8], now: Timestamp) -> Result<bool, BadCertificate> {
    Ok(now.as_second() > not_after(certificate)?)
}

/// How long the certificate is valid from its first to its last second.
///
/// # Errors
/// If it is no certificate.
pub fn lifetime(certificate: &[u8]) -> Result<Duration, BadCertificate> {
    let seconds = not_after(certificate)?.saturating_sub(not_before(certificate)?);
    Ok(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Asks for a new certificate. What comes back is not yet believed.
///
/// # Errors
/// If the controller says no, or nothing.
pub async fn ask(mut client: Client, request: Vec<u8>) -> Result<Vec<Bytes>, RenewError> {
    let request = v1::RenewIdentityRequest {
        certificate_request: request.into(),
    };
    let answer = timeout(ANSWER_TIMEOUT, client.renew_identity(request))
        .await
        .map_err(|_| RenewError::Silent)?
        .map_err(|status| RenewError::Refused(status.into()))?;
    Ok(answer.into_inner().certificates)
}

/// The chain (leaf first) that came back, if its leaf is about this client and this key.
///
/// # Errors
/// If it is not.
pub fn accept(
    certificates: Vec<Bytes>,
    key: &IdentityKey,
    fleet: FleetId,
    client: ClientId,
) -> Result<Vec<CertificateDer<'static>>, BadIdentity> {
    let chain: Vec<_> = certificates
        .into_iter()
        .map(|der| CertificateDer::from(Vec::from(der)))
        .collect();
    let leaf = chain.first().ok_or(BadIdentity::Absent)?;
    if client_of(leaf, fleet)? != client {
        return Err(BadIdentity::OtherClient);
    }
    if !key.is_of(leaf) {
        return Err(BadIdentity::OtherKey);
    }
    Ok(chain)
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// No answer.
    #[error("the controller did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// It said no.
    #[error("the controller refused")]
    Refused(#[source] Refusal),
}

/// Why an identity certificate is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// There is none.
    #[error("the controller sent no identity certificate")]
    Absent,
    /// It names another client.
    #[error("the identity certificate is another client's")]
    OtherClient,
    /// It certifies another key.
    #[error("the identity certificate is about another key")]
    OtherKey,
    /// It cannot be read.
    #[error("the identity certificate cannot be read")]
    Unreadable(#[from] BadCertificate),
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::samples::Fleet;

    #[test]
    fn half_a_life_is_enough() {
        let fleet = Fleet::new();
        let leaf = fleet.state().identity.remove(0);
        let from =
            Timestamp::from_second(not_before(&leaf).expect("a certificate")).expect("in range");
        let until =
            Timestamp::from_second(not_after(&leaf).expect("a certificate")).expect("in range");
        let half = until.duration_since(from) / 2;
        let second = SignedDuration::from_secs(1);
        assert_eq!(is_due(&leaf, from), Ok(false));
        assert_eq!(is_due(&leaf, from + half - second), Ok(false));
        assert_eq!(is_due(&leaf, from + half + second), Ok(true));
        assert_eq!(is_expired(&leaf, until), Ok(false));
        assert_eq!(is_expired(&leaf, until + second), Ok(true));
        assert!(is_due(b"garbage", from).is_err());
    }

    #[test]
    fn only_a_certificate_for_this_client_and_key_is_taken() {
        let fleet = Fleet::new();
        let state = fleet.state();
        let sent = || {
            state
                .identity
                .iter()
                .map(|der| Bytes::from(der.to_vec()))
                .collect()
        };
        let own = fleet.key();
        let accepted = accept(sent(), own, state.fleet_id(), state.client_id);
        assert_eq!(accepted.as_ref(), Ok(&state.identity));
        let other = ClientId::new(uuid::Uuid::nil());
        assert_eq!(
            accept(sent(), own, state.fleet_id(), other),
            Err(BadIdentity::OtherClient)
        );
        let stranger = Fleet::new();
        assert_eq!(
            accept(sent(), stranger.key(), state.fleet_id(), state.client_id),
            Err(BadIdentity::OtherKey)
        );
        assert_eq!(
            accept(vec![], own, state.fleet_id(), state.client_id),
            Err(BadIdentity::Absent)
        );
    }
}
