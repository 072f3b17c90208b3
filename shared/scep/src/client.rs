//! The client's side of an exchange (RFC 8894): what to send next, given what came. Nothing is sent, waited for or stored here.

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::algorithm::{Cipher, Hash, Policy};
use crate::certificate::Certificate;
use crate::cms::CmsError;
use crate::http::HttpRequest;
use crate::key::RsaKey;
use crate::message::{FailInfo, MessageError, MessageType, TransactionId};
use crate::request::{Challenge, RequestError};

mod ca;
mod enrolment;
mod exchange;
mod queries;

pub use crate::http::HttpReply;
pub use ca::Ca;
pub use enrolment::Enrolment;
pub use exchange::Legacy;
pub use queries::{FetchCa, Fetched, Query, next_ca_request, read_next_ca};

/// How a server is to be talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which CA, where a server has several; left out of the query unless it is set.
    pub identifier: Option<String>,
    /// SHA-256 of the CA's certificate, known from elsewhere. It is compared before anything secret is sent. Without it, whoever answers is believed
    /// to be the CA.
    pub ca_fingerprint: Option<[u8; 32]>,
    /// The hash that messages are signed with; `None` is the best one that the server knows.
    pub hash: Option<Hash>,
    /// The cipher that messages are encrypted with; `None` is the best one that the server knows.
    pub cipher: Option<Cipher>,
    /// Whether DES is used and accepted.
    pub allow_legacy: bool,
    /// Whether messages go by GET even where the server takes POST.
    pub get_only: bool,
    /// How often to ask again, all causes together: while the CA defers, and after communication errors.
    pub polls: u32,
    /// How long to wait before asking again.
    pub poll_interval: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identifier: None,
            ca_fingerprint: None,
            hash: None,
            cipher: None,
            allow_legacy: false,
            get_only: false,
            polls: 0,
            poll_interval: SignedDuration::from_secs(60),
        }
    }
}

impl Settings {
    fn policy(&self) -> Policy {
        Policy {
            allow_legacy: self.allow_legacy,
        }
    }

    /// Refuses what could never be sent, before anything is.
    fn check(&self) -> Result<(), RequestError> {
        match (self.cipher, self.hash) {
            (Some(cipher), _) if cipher.needs_allow_legacy() && !self.allow_legacy => {
                Err(RequestError::Cipher(cipher))
            }
            (_, Some(hash)) if hash.is_legacy() => {
                Err(RequestError::Key(crate::key::KeyError::Hash(hash)))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a certificate is asked for, or the next one.
#[derive(Debug)]
pub enum Purpose {
    /// A first certificate (RFC 8894 section 2.3): the request is signed with its own key.
    First {
        /// The challenge password, where the CA wants one.
        challenge: Option<Challenge>,
    },
    /// The next certificate (section 3.3.1.2): the request is signed with the certificate that it renews.
    Renewal {
        /// The certificate that is renewed.
        certificate: Certificate,
        /// The key to it.
        key: RsaKey,
        /// The challenge password, where the CA wants one again.
        challenge: Option<Challenge>,
    },
}

/// A request that the CA has deferred: what has to be stored for asking again after a restart, beside key, request and purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The transaction that all polls belong to.
    pub transaction_id: TransactionId,
    /// How often it may still be asked for.
    pub polls_left: u32,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this, and hand over the reply by [`Enrolment::receive`] or the lack of one by [`Enrolment::unreachable`].
    Send(HttpRequest),
    /// Wait, and call [`Enrolment::wake`].
    Wait {
        /// Until when.
        until: Timestamp,
        /// What for.
        why: Waiting,
    },
    /// Done: here is the certificate.
    Issued(Issued),
    /// Done: there is none.
    Failed(Failure),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The CA has deferred the request.
    Deferred,
    /// The server could not be reached.
    Transport(TransportError),
    /// The server answered with this HTTP status.
    Http(u16),
}

/// Why the server could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// No connection, or one that broke.
    #[error("no connection")]
    NoConnection,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The certificate for our key.
    pub certificate: Certificate,
    /// Its issuers from the next one up, as far as they are known, without a self-signed one.
    pub chain: Vec<Certificate>,
    /// The CA's certificates: the pinned one, and those of CAs below it that the server has shown; without a pin all of CAs that it has shown.
    pub ca: Vec<Certificate>,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum Failure {
    /// The server could not be reached, and the polls are used up.
    #[error("the server could not be reached")]
    Transport(#[source] TransportError),
    /// The server answered with another HTTP status than 200, and the polls are used up.
    #[error("the server answered with HTTP status {0}")]
    Http(u16),
    /// The server refused. Asking again would not help.
    #[error("the server refused{}{}", .info.map(|info| format!(": {info}")).unwrap_or_default(), .text.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    FailInfo {
        /// Its failInfo; `None` where it sent none, or one that RFC 8894 does not know.
        info: Option<FailInfo>,
        /// Its reason in words.
        text: Option<String>,
    },
    /// The CA still defers, and the polls are used up.
    #[error("the request is still deferred")]
    Deferred,
    /// The answer cannot be used.
    #[error("the server's answer cannot be used")]
    Faulty(#[from] FaultyResponse),
    /// The server is not the CA that was expected. Nothing secret has been sent.
    #[error("the CA's certificate has the fingerprint {}, not {}", hex::encode_upper(.seen), hex::encode_upper(.expected))]
    WrongCa {
        /// SHA-256 of the certificate that was expected.
        expected: [u8; 32],
        /// SHA-256 of the one that came.
        seen: [u8; 32],
    },
    /// The request itself could not be made.
    #[error("the request could not be made")]
    Request(#[from] RequestError),
}

/// What is wrong with an answer.
#[derive(Debug, Error)]
pub enum FaultyResponse {
    /// The answer to GetCACert or GetNextCACert has no certificate.
    #[error("the answer holds no CA certificate")]
    NoCertificates,
    /// No certificate of the CA has an RSA key to encrypt to.
    #[error("the CA has no certificate with an RSA key that can be encrypted to")]
    NoEncryptionCertificate,
    /// It is no pkiMessage.
    #[error("the answer is not a pkiMessage")]
    Message(#[from] MessageError),
    /// It is another message than an answer.
    #[error("the answer is a {0}, not a CertRep")]
    MessageType(MessageType),
    /// It has no pkiStatus.
    #[error("the answer has no pkiStatus")]
    NoStatus,
    /// It answers another transaction.
    #[error("the answer belongs to another transaction")]
    TransactionId,
    /// It answers another message.
    #[error("the answer's recipientNonce is missing or not the nonce that was sent")]
    RecipientNonce,
    /// Somebody else than the CA signed it.
    #[error("the answer is not signed by a certificate of the CA")]
    Signer,
    /// Its signature was not accepted.
    #[error("the answer's signature was not accepted")]
    Signature(#[source] CmsError),
    /// It uses an algorithm that would be accepted with `allow_legacy`.
    #[error("the answer uses {0}; set allow_legacy to accept it")]
    NeedsAllowLegacy(Cipher),
    /// Its envelope did not open, or holds no certificates.
    #[error("the answer's envelope did not open")]
    Envelope(#[source] CmsError),
    /// There is no certificate for our key in it.
    #[error("the answer has no certificate for the key of the request")]
    OtherKey,
    /// Its certificate has expired, or is for later.
    #[error(
        "the certificate is valid from {not_before} to {not_after}, which is not now: compare the clocks"
    )]
    NotValid {
        /// First instant of its validity.
        not_before: Timestamp,
        /// Last instant of its validity.
        not_after: Timestamp,
    },
    /// Its certificate is another CA's.
    #[error("the certificate is not issued by the CA that is pinned, nor by one that it shows")]
    Issuer,
    /// PENDING, where nothing can be pending.
    #[error("the answer defers what cannot be deferred")]
    Deferred,
    /// A reply came when none was expected.
    #[error("nothing was asked that this could answer")]
    Unexpected,
}

#[cfg(test)]
mod tests;
