//! One message out, one answer in (RFC 8894 section 3): signed, encrypted, verified, opened. What follows from it is decided elsewhere.

use std::fmt;

use zeroize::Zeroizing;

use super::{Ca, Failure, FaultyResponse, Settings};
use crate::algorithm::{Cipher, Hash};
use crate::certificate::Certificate;
use crate::cms::{self, CmsError, Signer};
use crate::http::{HttpRequest, Operation};
use crate::key::RsaKey;
use crate::message::{Draft, FailInfo, Message, MessageType, Nonce, PkiStatus, TransactionId};
use crate::request::RequestError;

/// An old algorithm that was used, which is worth a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Legacy {
    /// The server signs with this hash.
    Hash(Hash),
    /// Messages to or from the server are encrypted with this cipher.
    Cipher(Cipher),
}

impl fmt::Display for Legacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Cipher(cipher) => cipher.fmt(f),
        }
    }
}

/// Who asks: the certificate that signs and is encrypted to, and its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requester<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) key: &'a RsaKey,
}

/// A message that was sent, and what its answer has to repeat.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: HttpRequest,
    pub(super) nonce: Nonce,
    pub(super) cipher: Cipher,
}

pub(super) fn ask(
    message_type: MessageType,
    transaction_id: &TransactionId,
    content: &[u8],
    requester: Requester<'_>,
    ca: &Ca,
    settings: &Settings,
) -> Result<Asked, Failure> {
    let cipher = settings.cipher.unwrap_or_else(|| ca.caps.best_cipher());
    let sealed = cms::seal(content, ca.recipient()?, cipher).map_err(|error| match error {
        CmsError::RecipientKey => Failure::Faulty(FaultyResponse::NoEncryptionCertificate),
        other => Failure::Request(RequestError::Message(other)),
    })?;
    let nonce = Nonce::fresh().map_err(RequestError::NoRandomness)?;
    let draft = Draft {
        message_type,
        transaction_id,
        sender_nonce: nonce,
        recipient_nonce: None,
        status: None,
        fail_info: None,
        fail_info_text: None,
        knows_ecdsa: ca.signs_with_ecdsa(),
        content: &sealed,
    };
    let hash = settings.hash.unwrap_or_else(|| ca.caps.best_hash());
    let signer = Signer {
        certificate: requester.certificate,
        key: requester.key,
        hash,
    };
    let message = draft.sign(&signer).map_err(RequestError::Message)?;
    let post = ca.caps.can_post() && !settings.get_only;
    Ok(Asked {
        request: Operation::PkiOperation(message).into_request(post),
        nonce,
        cipher,
    })
}

/// An answer whose signature, transaction and nonce are right.
pub(super) enum Answer {
    /// SUCCESS: what was in the envelope, a certificates-only message.
    Granted(Zeroizing<Vec<u8>>),
    Refused {
        info: Option<FailInfo>,
        text: Option<String>,
    },
    Deferred,
}

pub(super) fn read(
    bytes: &[u8],
    transaction_id: &TransactionId,
    nonce: Nonce,
    requester: Requester<'_>,
    ca: &Ca,
    settings: &Settings,
    legacy: &mut Vec<Legacy>,
) -> Result<Answer, FaultyResponse> {
    let message = Message::parse(bytes)?;
    if message.message_type != MessageType::CertRep {
        return Err(FaultyResponse::MessageType(message.message_type));
    }
    let signer = ca.signer(&message.signed)?;
    message
        .signed
        .verify(signer, settings.policy())
        .map_err(FaultyResponse::Signature)?;
    if message.transaction_id != *transaction_id {
        return Err(FaultyResponse::TransactionId);
    }
    if message.recipient_nonce.as_ref().map(|seen| seen.as_bytes()) != Some(nonce.as_bytes()) {
        return Err(FaultyResponse::RecipientNonce);
    }
    if message.signed.hash().is_legacy() {
        note(legacy, Legacy::Hash(message.signed.hash()));
    }
    // RFC 8894 leaves the envelope out of FAILURE and PENDING; servers that send one all the same put nothing into it that is needed.
    match message.status.ok_or(FaultyResponse::NoStatus)? {
        PkiStatus::Failure => Ok(Answer::Refused {
            info: message.fail_info,
            text: message.fail_info_text,
        }),
        PkiStatus::Pending => Ok(Answer::Deferred),
        PkiStatus::Success => {
            let opened = cms::open(
                message.signed.content(),
                requester.certificate,
                requester.key,
                settings.policy(),
            )
            .map_err(|error| match error {
                CmsError::RefusedCipher(cipher) => FaultyResponse::NeedsAllowLegacy(cipher),
                other => FaultyResponse::Envelope(other),
            })?;
            if opened.cipher.is_legacy() {
                note(legacy, Legacy::Cipher(opened.cipher));
            }
            Ok(Answer::Granted(opened.content))
        }
    }
}

pub(super) fn note(legacy: &mut Vec<Legacy>, seen: Legacy) {
    if !legacy.contains(&seen) {
        legacy.push(seen);
    }
}
