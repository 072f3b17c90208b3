//! pkiMessage (RFC 8894 section 3): its attributes, types and states. What the states lead to is decided elsewhere.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, rand};
use der::Tag;
use jiff::Timestamp;
use thiserror::Error;

use crate::algorithm::{Hash, SignatureAlgorithm};
use crate::cms::{self, CmsError, SignedData, Signer};

mod attribute;

pub(crate) use attribute::text_of;

/// The longest transactionID that is read, in characters.
pub const MAX_TRANSACTION_ID: usize = 255;

/// How much of a failInfoText is kept, in characters; control characters are left out, since it ends up in logs.
pub const MAX_FAIL_INFO_TEXT: usize = 255;

/// The longest nonce of a peer that is read, in bytes; our own have 16.
pub const MAX_NONCE: usize = 64;

/// messageType (RFC 8894 section 3.2.1.2). One that is not listed is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// 3, the answer to any of the others.
    CertRep,
    /// 17, signed with the certificate that is to be renewed.
    RenewalReq,
    /// 19, the first request, or a renewal by an older client.
    PkcsReq,
    /// 20, after PENDING.
    CertPoll,
    /// 21, for a certificate by its serial number.
    GetCert,
    /// 22, for the CRL.
    GetCrl,
}

impl MessageType {
    /// The number in the attribute.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::CertRep => 3,
            Self::RenewalReq => 17,
            Self::PkcsReq => 19,
            Self::CertPoll => 20,
            Self::GetCert => 21,
            Self::GetCrl => 22,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::CertRep,
            Self::RenewalReq,
            Self::PkcsReq,
            Self::CertPoll,
            Self::GetCert,
            Self::GetCrl,
        ]
        .into_iter()
        .find(|kind| kind.number().to_string() == text)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertRep => "CertRep",
            Self::RenewalReq => "RenewalReq",
            Self::PkcsReq => "PKCSReq",
            Self::CertPoll => "CertPoll",
            Self::GetCert => "GetCert",
            Self::GetCrl => "GetCRL",
        })
    }
}

/// pkiStatus (RFC 8894 section 3.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PkiStatus {
    /// 0: granted.
    Success,
    /// 2: refused; failInfo says why.
    Failure,
    /// 3: somebody has to approve it first.
    Pending,
}

impl PkiStatus {
    /// The number in the attribute.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 2,
            Self::Pending => 3,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Success, Self::Failure, Self::Pending]
            .into_iter()
            .find(|status| status.number().to_string() == text)
    }
}

/// failInfo (RFC 8894 section 3.2.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailInfo {
    /// 0: an algorithm is unrecognized or unsupported.
    BadAlg,
    /// 1: the integrity check of the CMS message failed.
    BadMessageCheck,
    /// 2: the transaction is not permitted or supported.
    BadRequest,
    /// 3: signingTime is not close enough to the system time.
    BadTime,
    /// 4: no certificate matches the criteria.
    BadCertId,
}

impl FailInfo {
    /// The number in the attribute.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::BadAlg => 0,
            Self::BadMessageCheck => 1,
            Self::BadRequest => 2,
            Self::BadTime => 3,
            Self::BadCertId => 4,
        }
    }

    /// The value of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [
            Self::BadAlg,
            Self::BadMessageCheck,
            Self::BadRequest,
            Self::BadTime,
            Self::BadCertId,
        ]
        .into_iter()
        .find(|info| info.number() == number)
    }
}

impl fmt::Display for FailInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadAlg => "unrecognized or unsupported algorithm",
            Self::BadMessageCheck => "integrity check failed",
            Self::BadRequest => "transaction not permitted or supported",
            Self::BadTime => "signingTime is not close enough to the system time",
            Self::BadCertId => "no certificate matches the criteria",
        })
    }
}

/// transactionID (RFC 8894 section 3.2.1.1): a peer's is opaque, so it is only compared and echoed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(String);

impl TransactionId {
    /// The transaction of a key: SHA-256 of its SubjectPublicKeyInfo, in upper-case hexadecimal.
    #[must_use]
    pub fn of_key(spki: &[u8]) -> Self {
        Self(hex::encode_upper(digest::digest(&digest::SHA256, spki)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A transactionID has 1 to 255 printable ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the transactionID is not 1 to {MAX_TRANSACTION_ID} printable ASCII characters")]
pub struct BadTransactionId;

impl FromStr for TransactionId {
    type Err = BadTransactionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let printable = text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if text.is_empty() || text.len() > MAX_TRANSACTION_ID || !printable {
            return Err(BadTransactionId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The system's random number generator gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the random number generator failed")]
pub struct NoRandomness;

/// A nonce of ours (RFC 8894 section 3.2.1.5): 16 bytes, of one message only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A random one.
    ///
    /// # Errors
    /// The random number generator failed.
    pub fn fresh() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A nonce of a peer: 1 to 64 bytes, compared and echoed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerNonce(Vec<u8>);

impl PeerNonce {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        (1..=MAX_NONCE)
            .contains(&bytes.len())
            .then(|| Self(bytes.to_vec()))
    }
}

impl From<Nonce> for PeerNonce {
    fn from(nonce: Nonce) -> Self {
        Self(nonce.0.to_vec())
    }
}

/// Why bytes are no pkiMessage.
#[derive(Debug, Error)]
pub enum MessageError {
    /// It is no signed CMS message.
    #[error("the message is not signed CMS data")]
    Cms(#[from] CmsError),
    /// The message type is none of RFC 8894's: its number, or `None` where it is missing or no number.
    #[error("the message type{} is not one of SCEP's", .0.as_deref().map(|text| format!(" {text}")).unwrap_or_default())]
    UnlistedType(Option<String>),
    /// An attribute is missing.
    #[error("the attribute {0} is missing")]
    Missing(&'static str),
    /// An attribute has a value that RFC 8894 does not know.
    #[error("the attribute {0} has a bad value")]
    Bad(&'static str),
}

/// What a sender may say that it knows beside RSA.
const ECDSA: SignatureAlgorithm = SignatureAlgorithm::Ecdsa(Hash::Sha256);

/// A pkiMessage as it came. Nothing in it is proven until [`SignedData::verify`] has been asked.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub message_type: MessageType,
    /// Which exchange it belongs to.
    pub transaction_id: TransactionId,
    /// The sender's nonce; a CertRep of some old servers has none.
    pub sender_nonce: Option<PeerNonce>,
    /// In a CertRep, the nonce that it answers.
    pub recipient_nonce: Option<PeerNonce>,
    /// In a CertRep, how it went.
    pub status: Option<PkiStatus>,
    /// In a FAILURE, why. `None` also for a number that RFC 8894 does not know.
    pub fail_info: Option<FailInfo>,
    /// In a FAILURE, why in words.
    pub fail_info_text: Option<String>,
    /// When the sender says that it signed.
    pub signing_time: Option<Timestamp>,
    /// The sender says that it verifies ECDSA with SHA-256 (SMIMECapabilities, RFC 8551 section 2.5.2).
    pub knows_ecdsa: bool,
    /// The CMS message.
    pub signed: SignedData,
}

impl Message {
    /// Reads a message. An unlisted message type is refused before any other attribute is looked at.
    ///
    /// # Errors
    /// [`MessageError`] names what is missing or malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let signed = SignedData::parse(bytes)?;
        let message_type = match attribute::text(&signed, attribute::MESSAGE_TYPE, "messageType") {
            Ok(Some(text)) => MessageType::parse(&text).ok_or_else(|| {
                let short = text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
                MessageError::UnlistedType(Some(text).filter(|_| short))
            })?,
            Ok(None) => return Err(MessageError::UnlistedType(None)),
            Err(error) => return Err(error),
        };
        let transaction_id = attribute::text(&signed, attribute::TRANSACTION_ID, "transactionID")?
            .ok_or(MessageError::Missing("transactionID"))?
            .parse()
            .map_err(|BadTransactionId| MessageError::Bad("transactionID"))?;
        let status = attribute::text(&signed, attribute::PKI_STATUS, "pkiStatus")?
            .map(|text| PkiStatus::parse(&text).ok_or(MessageError::Bad("pkiStatus")))
            .transpose()?;
        let fail_info = attribute::text(&signed, attribute::FAIL_INFO, "failInfo")?
            .and_then(|text| text.parse().ok())
            .and_then(FailInfo::from_number);
        // Only words: when they are malformed the failure itself still counts.
        let fail_info_text = attribute::text(&signed, attribute::FAIL_INFO_TEXT, "failInfoText")
            .unwrap_or_default()
            .map(|text| {
                text.chars()
                    .filter(|character| !character.is_control())
                    .take(MAX_FAIL_INFO_TEXT)
                    .collect()
            });
        Ok(Self {
            message_type,
            transaction_id,
            sender_nonce: attribute::nonce(&signed, attribute::SENDER_NONCE, "senderNonce")?,
            recipient_nonce: attribute::nonce(
                &signed,
                attribute::RECIPIENT_NONCE,
                "recipientNonce",
            )?,
            status,
            fail_info,
            fail_info_text,
            signing_time: attribute::signing_time(&signed)?,
            knows_ecdsa: attribute::names(&signed, ECDSA),
            signed,
        })
    }
}

/// A pkiMessage to be signed.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) message_type: MessageType,
    pub(crate) transaction_id: &'a TransactionId,
    pub(crate) sender_nonce: Nonce,
    pub(crate) recipient_nonce: Option<&'a PeerNonce>,
    pub(crate) status: Option<PkiStatus>,
    pub(crate) fail_info: Option<FailInfo>,
    pub(crate) fail_info_text: Option<&'a str>,
    /// Tells the receiver that answers by ECDSA with SHA-256 are verified.
    pub(crate) knows_ecdsa: bool,
    /// The envelope; empty where RFC 8894 leaves it out.
    pub(crate) content: &'a [u8],
}

impl Draft<'_> {
    pub(crate) fn sign(&self, signer: &Signer<'_>) -> Result<Vec<u8>, CmsError> {
        let signer = Signer {
            hash: signable(signer.hash),
            ..*signer
        };
        let printable = |oid, text: &str| attribute::string(oid, Tag::PrintableString, text);
        let number = |oid, number: u8| printable(oid, &number.to_string());
        let attributes = [
            Some(number(attribute::MESSAGE_TYPE, self.message_type.number())),
            Some(printable(
                attribute::TRANSACTION_ID,
                self.transaction_id.as_str(),
            )),
            Some(attribute::octets(
                attribute::SENDER_NONCE,
                self.sender_nonce.as_bytes(),
            )),
            self.recipient_nonce
                .map(|nonce| attribute::octets(attribute::RECIPIENT_NONCE, nonce.as_bytes())),
            self.status
                .map(|status| number(attribute::PKI_STATUS, status.number())),
            self.fail_info
                .map(|info| number(attribute::FAIL_INFO, info.number())),
            self.fail_info_text
                .map(|text| attribute::string(attribute::FAIL_INFO_TEXT, Tag::Utf8String, text)),
            self.knows_ecdsa.then(|| Ok(attribute::capability(ECDSA))),
        ];
        let attributes: Vec<_> = attributes
            .into_iter()
            .flatten()
            .collect::<Result<_, _>>()
            .map_err(|_| CmsError::Malformed("attributes"))?;
        cms::sign(self.content, &signer, attributes, &[signer.certificate])
    }
}

/// The hash to sign with where a peer uses that one: SHA-256 for the old ones, with which nothing can be signed here. Peers that sign with
/// SHA-1 by habit verify SHA-256 all the same.
pub(crate) fn signable(hash: Hash) -> Hash {
    if hash.is_legacy() { Hash::Sha256 } else { hash }
}

#[cfg(test)]
mod tests;
