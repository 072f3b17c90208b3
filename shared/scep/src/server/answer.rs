//! Signed answers (RFC 8894 section 3.3.2) and the CA's certificates as bodies. What the answer is has been decided.

use super::{AnswerError, Identity, Incoming};
use crate::algorithm::{Cipher, Hash};
use crate::certificate::Certificate;
use crate::cms::{self, Signer};
use crate::http::media;
use crate::issue::Authority;
use crate::message::{Draft, FailInfo, MessageType, Nonce, PeerNonce, PkiStatus, TransactionId};

impl Incoming {
    /// The client's nonce. A second message with the same one is a replay; that is the caller's to remember.
    #[must_use]
    pub fn sender_nonce(&self) -> &PeerNonce {
        &self.sender_nonce
    }

    /// The hash that the client signed with, and that answers are signed with.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The cipher that the client encrypted with, and that answers are encrypted with.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// SUCCESS with certificates, encrypted to the requester.
    ///
    /// # Errors
    /// [`AnswerError`]; HTTP status 500 is what is left then.
    pub fn success(
        &self,
        identity: &Identity<'_>,
        certificates: &[&Certificate],
    ) -> Result<Vec<u8>, AnswerError> {
        self.granted(identity, &cms::certs_only(certificates, &[]))
    }

    /// SUCCESS with a revocation list in DER, encrypted to the requester.
    ///
    /// # Errors
    /// [`AnswerError`]; HTTP status 500 is what is left then.
    pub fn crl(&self, identity: &Identity<'_>, crl: &[u8]) -> Result<Vec<u8>, AnswerError> {
        self.granted(identity, &cms::certs_only(&[], &[crl]))
    }

    /// FAILURE, with the reason in words if that helps; without an envelope.
    ///
    /// # Errors
    /// [`AnswerError`]; HTTP status 500 is what is left then.
    pub fn failure(
        &self,
        identity: &Identity<'_>,
        info: FailInfo,
        text: Option<&str>,
    ) -> Result<Vec<u8>, AnswerError> {
        self.envelope().failure(identity, info, text)
    }

    /// PENDING: somebody has to approve it first; without an envelope.
    ///
    /// # Errors
    /// [`AnswerError`]; HTTP status 500 is what is left then.
    pub fn pending(&self, identity: &Identity<'_>) -> Result<Vec<u8>, AnswerError> {
        self.envelope()
            .sign(identity, PkiStatus::Pending, None, None, &[])
    }

    fn granted(&self, identity: &Identity<'_>, content: &[u8]) -> Result<Vec<u8>, AnswerError> {
        let sealed = cms::seal(content, &self.requester, self.cipher)?;
        self.envelope()
            .sign(identity, PkiStatus::Success, None, None, &sealed)
    }

    fn envelope(&self) -> Envelope<'_> {
        Envelope {
            transaction_id: &self.transaction_id,
            recipient_nonce: &self.sender_nonce,
            hash: self.hash,
            knows_ecdsa: self.knows_ecdsa,
        }
    }
}

/// What every answer repeats from its request.
pub(super) struct Envelope<'a> {
    pub(super) transaction_id: &'a TransactionId,
    pub(super) recipient_nonce: &'a PeerNonce,
    pub(super) hash: Hash,
    pub(super) knows_ecdsa: bool,
}

impl Envelope<'_> {
    pub(super) fn failure(
        &self,
        identity: &Identity<'_>,
        info: FailInfo,
        text: Option<&str>,
    ) -> Result<Vec<u8>, AnswerError> {
        self.sign(identity, PkiStatus::Failure, Some(info), text, &[])
    }

    fn sign(
        &self,
        identity: &Identity<'_>,
        status: PkiStatus,
        fail_info: Option<FailInfo>,
        fail_info_text: Option<&str>,
        content: &[u8],
    ) -> Result<Vec<u8>, AnswerError> {
        let draft = Draft {
            message_type: MessageType::CertRep,
            transaction_id: self.transaction_id,
            sender_nonce: Nonce::fresh()?,
            recipient_nonce: Some(self.recipient_nonce),
            status: Some(status),
            fail_info,
            fail_info_text,
            knows_ecdsa: false,
            content,
        };
        let (certificate, key) = identity.authority.answering(self.knows_ecdsa);
        Ok(draft.sign(&Signer {
            certificate,
            key,
            hash: self.hash,
        })?)
    }
}

/// The answer to GetCACert: the media type and the CA's certificate (RFC 8894 section 4.2.1.1), or the certificates of the CA and of its RA
/// (section 4.2.1.2).
#[must_use]
pub fn ca_cert(authority: &Authority) -> (&'static str, Vec<u8>) {
    match authority.certificates().as_slice() {
        [only] => (media::CA_CERT, only.to_der().to_vec()),
        all => (media::CA_RA_CERT, cms::certs_only(all, &[])),
    }
}

/// The answer to GetNextCACert: the media type and the next CA's certificate, with its RA's if it has one, signed by this one (RFC 8894 section 4.7.1).
///
/// # Errors
/// [`AnswerError`]; HTTP status 500 is what is left then.
pub fn next_ca_cert(
    identity: &Identity<'_>,
    next: &[&Certificate],
) -> Result<(&'static str, Vec<u8>), AnswerError> {
    let content = cms::certs_only(next, &[]);
    let certificate = &identity.authority.certificate;
    let signer = Signer {
        certificate,
        key: identity.authority.issuing_key(),
        hash: Hash::Sha256,
    };
    Ok((
        media::NEXT_CA,
        cms::sign(&content, &signer, Vec::new(), &[certificate])?,
    ))
}
