//! The outer structures of certificates and revocation lists (RFC 5280 sections 4.1 and 5.1), filled in and signed. No policy.

use der::asn1::{AnyRef, BitString, GeneralizedTime, Uint, UtcTime};
use der::{Decode, Encode, Sequence};
use jiff::Timestamp;
use x509_cert::ext::Extension;
use x509_cert::time::Time;

use super::{IssueError, MAX_SERIAL};
use crate::algorithm::Hash;
use crate::certificate::Certificate;
use crate::key::{KeyError, SigningKey};

/// A certificate without its signature.
pub(crate) struct Template<'a> {
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Vec<Extension>,
}

impl Template<'_> {
    pub(crate) fn sign(self, key: &dyn SigningKey, hash: Hash) -> Result<Certificate, IssueError> {
        if self.not_after <= self.not_before {
            return Err(IssueError::Validity);
        }
        let algorithm = identifier(key, hash)?;
        let body = Body {
            // Version 3 is 2.
            version: Some(2),
            serial: serial(self.serial)?,
            algorithm: AnyRef::from_der(&algorithm)?,
            issuer: AnyRef::from_der(self.issuer)?,
            validity: Validity {
                not_before: time(self.not_before)?,
                not_after: time(self.not_after)?,
            },
            subject: AnyRef::from_der(self.subject)?,
            spki: AnyRef::from_der(self.spki)?,
            extensions: (!self.extensions.is_empty()).then_some(self.extensions),
        };
        Ok(Certificate::from_der(&signed(
            &body.to_der()?,
            &algorithm,
            key,
            hash,
        )?)?)
    }
}

/// A revocation list without its signature.
pub(super) struct List<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    pub(super) revoked: Vec<Entry>,
    pub(super) extensions: Vec<Extension>,
}

impl List<'_> {
    pub(super) fn sign(self, key: &dyn SigningKey, hash: Hash) -> Result<Vec<u8>, IssueError> {
        let algorithm = identifier(key, hash)?;
        let body = ListBody {
            // Version 2 is 1.
            version: 1,
            algorithm: AnyRef::from_der(&algorithm)?,
            issuer: AnyRef::from_der(self.issuer)?,
            this_update: time(self.this_update)?,
            next_update: time(self.next_update)?,
            // RFC 5280 section 5.1.2.6: absent where there is none.
            revoked: (!self.revoked.is_empty()).then_some(self.revoked),
            extensions: self.extensions,
        };
        signed(&body.to_der()?, &algorithm, key, hash)
    }
}

/// An entry of a revocation list.
#[derive(Sequence)]
pub(super) struct Entry {
    pub(super) serial: Uint,
    pub(super) at: Time,
    pub(super) extensions: Option<Vec<Extension>>,
}

/// The AlgorithmIdentifier that a key signs with.
pub(crate) fn identifier(key: &dyn SigningKey, hash: Hash) -> Result<Vec<u8>, KeyError> {
    let algorithm = key.algorithm(hash)?;
    algorithm.identifier().ok_or(KeyError::Hash(hash))
}

/// A positive INTEGER of at most 20 bytes.
pub(super) fn serial(bytes: &[u8]) -> Result<Uint, IssueError> {
    let serial = Uint::new(bytes).map_err(|_| IssueError::Serial)?;
    let significant = serial.as_bytes();
    // The encoding's leading zero counts too.
    let encoded =
        significant.len() + usize::from(significant.first().is_some_and(|first| *first >= 0x80));
    if significant.iter().all(|byte| *byte == 0) || encoded > MAX_SERIAL {
        return Err(IssueError::Serial);
    }
    Ok(serial)
}

/// UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5). Fractions of a second are dropped.
pub(super) fn time(at: Timestamp) -> Result<Time, IssueError> {
    let since_epoch = u64::try_from(at.as_second()).map_err(|_| IssueError::Date(at))?;
    let since_epoch = std::time::Duration::from_secs(since_epoch);
    match UtcTime::from_unix_duration(since_epoch) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => GeneralizedTime::from_unix_duration(since_epoch)
            .map(Time::GeneralTime)
            .map_err(|_| IssueError::Date(at)),
    }
}

fn signed(
    body: &[u8],
    algorithm: &[u8],
    key: &dyn SigningKey,
    hash: Hash,
) -> Result<Vec<u8>, IssueError> {
    let signature = key.sign(hash, body)?;
    let signed = Signed {
        body: AnyRef::from_der(body)?,
        algorithm: AnyRef::from_der(algorithm)?,
        signature: BitString::from_bytes(&signature)?,
    };
    Ok(signed.to_der()?)
}

#[derive(Sequence)]
struct Signed<'a> {
    body: AnyRef<'a>,
    algorithm: AnyRef<'a>,
    signature: BitString,
}

#[derive(Sequence)]
struct Body<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: Uint,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct Validity {
    not_before: Time,
    not_after: Time,
}

#[derive(Sequence)]
struct ListBody<'a> {
    version: u8,
    algorithm: AnyRef<'a>,
    issuer: AnyRef<'a>,
    this_update: Time,
    next_update: Time,
    revoked: Option<Vec<Entry>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}
