//! From bytes to a request that holds (RFC 8894 section 3.3), or to the answer that says why not. Nothing is granted here.

use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Sequence};
use jiff::Timestamp;

use super::{Identity, Incoming, Kind, Received, Rejection, answer};
use crate::algorithm::rsa_bits;
use crate::certificate::{Certificate, name};
use crate::cms::{self, CmsError};
use crate::message::{Message, MessageType, PeerNonce};
use crate::name::EMPTY;
use crate::request::CertificationRequest;

/// Reads the body of a `PKIOperation`.
///
/// The checks go from the outside in: message type, attributes, signature, signingTime, envelope, request. The first that fails is
/// the answer.
#[must_use]
pub fn receive(bytes: &[u8], identity: &Identity<'_>, now: Timestamp) -> Received {
    receive_if(bytes, identity, now, &mut |_| true)
}

/// The same, for a server that remembers: `admits` is asked with the encrypted content key before anything is decrypted, and says whether no other
/// message had it. A client makes a fresh one for each message. Whoever puts a key that he has overheard into an envelope of his own learns from
/// the answers what that decrypts to, and at last what the other envelope held (a padding oracle); the first such message may pass, no second one.
#[must_use]
pub fn receive_if(
    bytes: &[u8],
    identity: &Identity<'_>,
    now: Timestamp,
    admits: &mut dyn FnMut(&[u8]) -> bool,
) -> Received {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => return Received::Unanswerable(Rejection::Message(error)),
    };
    let Some(nonce) = message.sender_nonce.clone() else {
        return Received::Unanswerable(Rejection::NoNonce);
    };
    let envelope = answer::Envelope {
        transaction_id: &message.transaction_id,
        recipient_nonce: &nonce,
        hash: message.signed.hash(),
        knows_ecdsa: message.knows_ecdsa,
    };
    match examine(&message, &nonce, identity, now, admits) {
        Ok(incoming) => Received::Request(Box::new(incoming)),
        Err(rejection) => match rejection.fail_info() {
            None => Received::Unanswerable(rejection),
            Some(info) => match envelope.failure(identity, info, None) {
                Ok(bytes) => Received::Answer(bytes, rejection),
                Err(error) => Received::Unanswerable(Rejection::Answer(error)),
            },
        },
    }
}

fn examine(
    message: &Message,
    nonce: &PeerNonce,
    identity: &Identity<'_>,
    now: Timestamp,
    admits: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Incoming, Rejection> {
    if message.message_type == MessageType::CertRep {
        return Err(Rejection::NoRequest(message.message_type));
    }
    let requester = message.signed.signer().ok_or(Rejection::NoSigner)?.clone();
    if !rsa_bits(requester.spki()).is_some_and(|bits| (1024..=8192).contains(&bits)) {
        return Err(Rejection::RequesterKey);
    }
    message
        .signed
        .verify(&requester, identity.policy)
        .map_err(|error| {
            if is_algorithm(&error) {
                Rejection::Algorithm(error)
            } else {
                Rejection::Signature(error)
            }
        })?;
    if let Some(at) = message.signing_time
        && at.duration_since(now).abs() > identity.limits.signing_time
    {
        return Err(Rejection::Time(at));
    }
    let authority = identity.authority;
    let opened = cms::open_if(
        message.signed.content(),
        authority.recipient(),
        authority.message_key(),
        identity.policy,
        admits,
    )
    .map_err(|error| {
        if is_algorithm(&error) {
            Rejection::Algorithm(error)
        } else {
            Rejection::Envelope(error)
        }
    })?;
    let kind = content(
        message.message_type,
        &opened.content,
        &requester,
        identity,
        now,
    )?;
    Ok(Incoming {
        transaction_id: message.transaction_id.clone(),
        kind,
        requester,
        message_type: message.message_type,
        sender_nonce: nonce.clone(),
        hash: message.signed.hash(),
        knows_ecdsa: message.knows_ecdsa,
        cipher: opened.cipher,
    })
}

fn content(
    message_type: MessageType,
    bytes: &[u8],
    requester: &Certificate,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Result<Kind, Rejection> {
    let malformed = |_: der::Error| Rejection::Content(message_type);
    let ours = |issuer: &[u8]| {
        if name::same(issuer, identity.authority.certificate.subject()) {
            Ok(())
        } else {
            Err(Rejection::OtherCa)
        }
    };
    match message_type {
        MessageType::CertRep => Err(Rejection::NoRequest(message_type)),
        MessageType::PkcsReq | MessageType::RenewalReq => {
            let request = CertificationRequest::from_der(bytes).map_err(Rejection::Request)?;
            enrolment(message_type, request, requester, identity, now)
        }
        MessageType::CertPoll => {
            let names = IssuerAndSubject::from_der(bytes).map_err(malformed)?;
            let issuer = names.issuer.to_der().map_err(malformed)?;
            ours(&issuer)?;
            Ok(Kind::Poll {
                issuer,
                subject: names.subject.to_der().map_err(malformed)?,
            })
        }
        MessageType::GetCert | MessageType::GetCrl => {
            let which = IssuerAndSerial::from_der(bytes).map_err(malformed)?;
            let issuer = which.issuer.to_der().map_err(malformed)?;
            let serial = which.serial.as_bytes().to_vec();
            ours(&issuer)?;
            Ok(match message_type {
                MessageType::GetCert => Kind::GetCert { issuer, serial },
                _ => Kind::GetCrl { issuer, serial },
            })
        }
    }
}

fn enrolment(
    message_type: MessageType,
    request: CertificationRequest,
    requester: &Certificate,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Result<Kind, Rejection> {
    let bits = request.key_bits().ok_or(Rejection::KeyKind)?;
    if bits < identity.limits.key_bits {
        return Err(Rejection::KeyBits(bits));
    }
    match renewable(&request, requester, identity, now) {
        Ok(()) => Ok(Kind::Renew {
            request,
            signer: requester.clone(),
        }),
        Err(refused) if message_type == MessageType::RenewalReq => Err(refused),
        // RFC 8894 section 3.3.1: whoever asks for the first time signs with the key to be certified.
        Err(_) if requester.spki() == request.spki() => Ok(Kind::Enrol { request }),
        Err(Rejection::OtherIssuer) => Err(Rejection::OtherKey),
        // An older client renews by PKCSReq, so that its signer is looked at as a renewal's.
        Err(refused) => Err(refused),
    }
}

fn renewable(
    request: &CertificationRequest,
    signer: &Certificate,
    identity: &Identity<'_>,
    now: Timestamp,
) -> Result<(), Rejection> {
    let ca = &identity.authority.certificate;
    // The CA's own certificate is issued by itself, and is nobody's to renew here.
    let ours = || {
        std::iter::once(ca)
            .chain(identity.former)
            .any(|ca| signer.is_issued_by(ca))
    };
    if signer.is_ca() || signer.spki() == ca.spki() || !ours() {
        return Err(Rejection::OtherIssuer);
    }
    if !signer.is_valid_at(now) {
        return Err(Rejection::Expired {
            not_before: signer.not_before(),
            not_after: signer.not_after(),
        });
    }
    // Which alternative names it may have is the caller's to say: profiles add some and leave some out. Without a subject one of them says who it is.
    let same = if request.subject() == EMPTY {
        let sans = signer.sans();
        signer.subject() == EMPTY && request.sans().iter().any(|name| sans.contains(name))
    } else {
        name::same(signer.subject(), request.subject())
    };
    if !same {
        return Err(Rejection::OtherSubject);
    }
    Ok(())
}

fn is_algorithm(error: &CmsError) -> bool {
    matches!(
        error,
        CmsError::UnsupportedHash(_)
            | CmsError::RefusedHash(_)
            | CmsError::SignatureAlgorithm(_)
            | CmsError::UnsupportedKeyTransport(_)
            | CmsError::UnsupportedCipher(_)
            | CmsError::RefusedCipher(_)
    )
}

#[derive(Sequence)]
struct IssuerAndSubject<'a> {
    issuer: AnyRef<'a>,
    subject: AnyRef<'a>,
}

#[derive(Sequence)]
struct IssuerAndSerial<'a> {
    issuer: AnyRef<'a>,
    serial: UintRef<'a>,
}
