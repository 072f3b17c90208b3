//! The server's side of an exchange (RFC 8894): a request out of bytes, and the reply to it. Whether it is granted is the caller's to say.

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::algorithm::{Cipher, Hash, Policy};
use crate::certificate::Certificate;
use crate::cms::CmsError;
use crate::issue::Authority;
use crate::message::{FailInfo, MessageError, MessageType, NoRandomness, PeerNonce, TransactionId};
use crate::request::{CertificationRequest, RequestError};

mod answer;
mod receive;

pub use answer::{ca_cert, next_ca_cert};
pub use receive::{receive, receive_if};

/// Who answers, and what it accepts.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The CA.
    pub authority: &'a Authority,
    /// CAs that were in force before: certificates of theirs may be renewed here.
    pub former: &'a [Certificate],
    /// Which old algorithms are accepted.
    pub policy: Policy,
    /// The numbers that a request is held to.
    pub limits: Limits,
}

impl<'a> Identity<'a> {
    /// A CA with the usual limits.
    #[must_use]
    pub fn new(authority: &'a Authority, policy: Policy) -> Self {
        Self {
            authority,
            former: &[],
            policy,
            limits: Limits::default(),
        }
    }
}

/// The numbers that a request is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far a signingTime may be from the time here, either way; one hour unless set. A message without signingTime passes.
    pub signing_time: SignedDuration,
    /// The shortest RSA key that is certified, in bits; 2048 unless set.
    pub key_bits: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            signing_time: SignedDuration::from_hours(1),
            key_bits: 2048,
        }
    }
}

/// What a message turned out to be.
#[derive(Debug)]
pub enum Received {
    /// A request that holds: the caller decides, and answers by [`Incoming`]'s methods.
    Request(Box<Incoming>),
    /// A request that does not hold, with the signed CertRep that says so; HTTP status 200.
    Answer(Vec<u8>, Rejection),
    /// Nothing that a CertRep could answer; HTTP status 400.
    Unanswerable(Rejection),
}

/// A request whose signature, nonce, transaction and content have been verified.
#[derive(Debug)]
pub struct Incoming {
    /// Which exchange it belongs to; the client's choice, and opaque.
    pub transaction_id: TransactionId,
    /// What is asked for.
    pub kind: Kind,
    /// The certificate that signed it, to which answers are encrypted: self-signed in a first request.
    pub requester: Certificate,
    /// The message type that the client wrote.
    pub message_type: MessageType,
    sender_nonce: PeerNonce,
    hash: Hash,
    knows_ecdsa: bool,
    cipher: Cipher,
}

/// What is asked for.
#[derive(Debug)]
pub enum Kind {
    /// A first certificate (RFC 8894 section 3.3.1). The signer's key is the request's key; whether it may have the certificate is the challenge's
    /// or an operator's to say.
    Enrol {
        /// What is to be certified.
        request: CertificationRequest,
    },
    /// The next certificate for somebody who has one (section 3.3.1.2).
    Renew {
        /// What is to be certified.
        request: CertificationRequest,
        /// The certificate that is to be renewed: issued by this CA, valid now, of the same subject. Whether it is revoked is the caller's to check.
        signer: Certificate,
    },
    /// What became of a request that was deferred (section 3.3.2). That the requester's key is the deferred request's is the caller's to check.
    Poll {
        /// The CA's name, in DER.
        issuer: Vec<u8>,
        /// The subject that was asked for, in DER.
        subject: Vec<u8>,
    },
    /// A certificate by its number (section 3.3.4).
    GetCert {
        /// The CA's name, in DER.
        issuer: Vec<u8>,
        /// The serial number, big-endian, without leading zeros.
        serial: Vec<u8>,
    },
    /// The revocation list (section 3.3.5).
    GetCrl {
        /// The CA's name, in DER.
        issuer: Vec<u8>,
        /// The serial number of a certificate that the list is for.
        serial: Vec<u8>,
    },
}

/// Why a request does not hold. For logs: the requester learns the failInfo only.
#[derive(Debug, Error)]
pub enum Rejection {
    /// It is no pkiMessage of a listed type.
    #[error("not a pkiMessage")]
    Message(#[from] MessageError),
    /// There is no senderNonce to answer to.
    #[error("the message has no senderNonce")]
    NoNonce,
    /// A CertRep is an answer.
    #[error("a {0} was sent to a server")]
    NoRequest(MessageType),
    /// The signer's certificate is not in the message.
    #[error("the signer's certificate is not in the message")]
    NoSigner,
    /// The signature was not accepted.
    #[error("the signature of the message was not accepted")]
    Signature(#[source] CmsError),
    /// An algorithm is refused.
    #[error("the message uses an algorithm that is refused")]
    Algorithm(#[source] CmsError),
    /// signingTime is too far away.
    #[error("the message was signed at {0}, which is too far from the time here")]
    Time(Timestamp),
    /// The requester's key is no RSA key, so nothing can be encrypted to it.
    #[error("the requester's key is not an RSA key of 1024 to 8192 bits")]
    RequesterKey,
    /// The envelope did not open.
    #[error("the envelope did not open")]
    Envelope(#[source] CmsError),
    /// What is in the envelope is not what the message type promises.
    #[error("the content of the {0} is malformed")]
    Content(MessageType),
    /// The certification request does not hold.
    #[error("the certification request does not hold")]
    Request(#[source] RequestError),
    /// The key to be certified is no RSA key.
    #[error("the key to be certified is not an RSA key")]
    KeyKind,
    /// The key to be certified is too short.
    #[error("the key to be certified has {0} bits, which is too few")]
    KeyBits(u32),
    /// A first request is signed with another key than the one to be certified.
    #[error("the request is signed with another key than its own")]
    OtherKey,
    /// A renewal is signed with a certificate that this CA did not issue.
    #[error("the certificate to be renewed was not issued by this CA")]
    OtherIssuer,
    /// A renewal is signed with a certificate that is not valid now.
    #[error("the certificate to be renewed was valid from {not_before} to {not_after}")]
    Expired {
        /// Since when.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
    },
    /// A renewal asks for another subject.
    #[error("the request has another subject than the certificate to be renewed")]
    OtherSubject,
    /// It asks another CA than this one.
    #[error("the request names another CA")]
    OtherCa,
    /// The answer itself could not be made.
    #[error("the answer could not be made")]
    Answer(#[source] AnswerError),
}

impl Rejection {
    /// What the requester is told (RFC 8894 section 3.2.1.4); `None` where it gets no CertRep.
    #[must_use]
    pub fn fail_info(&self) -> Option<FailInfo> {
        match self {
            Self::Message(_) | Self::NoNonce | Self::Answer(_) => None,
            Self::Algorithm(_) | Self::RequesterKey | Self::KeyKind => Some(FailInfo::BadAlg),
            // One answer for whatever is wrong with what was decrypted: two would tell how much of a forged envelope was right. What an envelope
            // decrypts to that is right shows all the same; that nobody can try this out is what `receive_if` is for.
            Self::NoSigner
            | Self::Signature(_)
            | Self::Envelope(_)
            | Self::Content(_)
            | Self::OtherCa
            | Self::Request(_) => Some(FailInfo::BadMessageCheck),
            Self::NoRequest(_)
            | Self::KeyBits(_)
            | Self::OtherKey
            | Self::OtherIssuer
            | Self::Expired { .. }
            | Self::OtherSubject => Some(FailInfo::BadRequest),
            Self::Time(_) => Some(FailInfo::BadTime),
        }
    }
}

/// Why an answer could not be made.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// It could not be signed or encrypted.
    #[error("the answer could not be signed or encrypted")]
    Cms(#[from] CmsError),
    /// There was no randomness for a nonce.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What this server supports, as the answer to GetCACaps; media type [`CAPS`](crate::http::media::CAPS).
#[must_use]
pub fn ca_caps() -> &'static str {
    "AES\nDES3\nSHA-1\nSHA-256\nSHA-384\nSHA-512\nPOSTPKIOperation\nRenewal\nGetNextCACert\nSCEPStandard\n"
}

#[cfg(test)]
mod tests;
