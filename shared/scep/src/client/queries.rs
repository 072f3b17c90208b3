//! What a client asks beside enrolling (RFC 8894 sections 3.3.4, 3.3.5, 3.5, 4.2 and 4.7): the CA, a certificate, the revocation list, the next CA.
//! Nothing is tried twice here.

use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Sequence};
use jiff::Timestamp;

use super::exchange::{self, Answer, Requester};
use super::{Ca, Failure, FaultyResponse, HttpReply, Legacy, Settings};
use crate::certificate::Certificate;
use crate::cms::{self, Bag, SignedData};
use crate::http::{Capabilities, HttpRequest, Operation};
use crate::key::RsaKey;
use crate::message::{MessageType, Nonce, TransactionId};
use crate::request::RequestError;

/// GetCACaps, then GetCACert: who the CA is.
#[derive(Debug)]
pub struct FetchCa {
    settings: Settings,
    caps: Option<Capabilities>,
}

/// What follows from a reply to [`FetchCa`].
#[derive(Debug)]
pub enum Fetched {
    /// Send this next.
    Send(HttpRequest),
    /// Done.
    Ca(Ca),
}

impl FetchCa {
    /// Starts with GetCACaps.
    #[must_use]
    pub fn begin(settings: Settings) -> (Self, HttpRequest) {
        let fetch = Self {
            settings,
            caps: None,
        };
        let first = fetch.request();
        (fetch, first)
    }

    /// The request whose reply is awaited, to be sent again after a communication error.
    #[must_use]
    pub fn request(&self) -> HttpRequest {
        let identifier = self.settings.identifier.clone();
        match self.caps {
            None => Operation::GetCaCaps { identifier },
            Some(_) => Operation::GetCaCert { identifier },
        }
        .into_request(false)
    }

    /// Takes a reply.
    ///
    /// # Errors
    /// [`Failure::Http`], [`Failure::WrongCa`] where the fingerprint is not the pinned one, or [`Failure::Faulty`].
    pub fn receive(&mut self, reply: &HttpReply, now: Timestamp) -> Result<Fetched, Failure> {
        match self.caps {
            // A server from before GetCACaps does not know the operation, and says so in one of these ways.
            None if matches!(reply.status, 400 | 404 | 405 | 501) => {
                self.caps = Some(Capabilities::default())
            }
            _ if reply.status != 200 => return Err(Failure::Http(reply.status)),
            None => {
                self.caps = Some(Capabilities::from_text(&String::from_utf8_lossy(
                    &reply.body,
                )))
            }
            Some(caps) => return Ca::read(&reply.body, caps, &self.settings, now).map(Fetched::Ca),
        }
        Ok(Fetched::Send(self.request()))
    }
}

/// GetCert or GetCRL: one message, one answer.
#[derive(Debug)]
pub struct Query<'a> {
    settings: &'a Settings,
    ca: &'a Ca,
    requester: Requester<'a>,
    transaction_id: TransactionId,
    nonce: Nonce,
    legacy: Vec<Legacy>,
}

impl<'a> Query<'a> {
    /// Asks for the CA's certificate of that serial number (big-endian). It is signed with a certificate that the CA issued before, and its key.
    ///
    /// # Errors
    /// [`Failure::Request`], or [`Failure::Faulty`] where the CA has no certificate to encrypt to.
    pub fn certificate(
        settings: &'a Settings,
        ca: &'a Ca,
        signer: (&'a Certificate, &'a RsaKey),
        serial: &[u8],
    ) -> Result<(Self, HttpRequest), Failure> {
        Self::ask(
            MessageType::GetCert,
            settings,
            ca,
            signer,
            ca.issuer()?,
            serial,
        )
    }

    /// Asks for the revocation list that the signer's own certificate is looked up in.
    ///
    /// # Errors
    /// As [`Query::certificate`].
    pub fn crl(
        settings: &'a Settings,
        ca: &'a Ca,
        signer: (&'a Certificate, &'a RsaKey),
    ) -> Result<(Self, HttpRequest), Failure> {
        let (certificate, _) = signer;
        Self::ask(
            MessageType::GetCrl,
            settings,
            ca,
            signer,
            certificate.issuer(),
            certificate.serial(),
        )
    }

    fn ask(
        message_type: MessageType,
        settings: &'a Settings,
        ca: &'a Ca,
        (certificate, key): (&'a Certificate, &'a RsaKey),
        issuer: &[u8],
        serial: &[u8],
    ) -> Result<(Self, HttpRequest), Failure> {
        settings.check()?;
        let content = issuer_and_serial(issuer, serial).map_err(RequestError::Encode)?;
        let requester = Requester { certificate, key };
        let transaction_id = TransactionId::of_key(&[key.spki(), content.as_slice()].concat());
        let asked = exchange::ask(
            message_type,
            &transaction_id,
            &content,
            requester,
            ca,
            settings,
        )?;
        let query = Self {
            settings,
            ca,
            requester,
            transaction_id,
            nonce: asked.nonce,
            legacy: Vec::new(),
        };
        Ok((query, asked.request))
    }

    /// Takes the reply: certificates for GetCert, revocation lists (DER) for GetCRL. Whether they are by the CA is for the caller to check.
    ///
    /// # Errors
    /// [`Failure::Http`], [`Failure::FailInfo`] where the server refused, or [`Failure::Faulty`].
    pub fn receive(&mut self, reply: &HttpReply) -> Result<Bag, Failure> {
        if reply.status != 200 {
            return Err(Failure::Http(reply.status));
        }
        let answer = exchange::read(
            &reply.body,
            &self.transaction_id,
            self.nonce,
            self.requester,
            self.ca,
            self.settings,
            &mut self.legacy,
        )?;
        match answer {
            Answer::Granted(content) => {
                Ok(cms::read_certs_only(&content).map_err(FaultyResponse::Envelope)?)
            }
            Answer::Deferred => Err(FaultyResponse::Deferred.into()),
            Answer::Refused { info, text } => Err(Failure::FailInfo { info, text }),
        }
    }

    /// The old algorithms that the answer used.
    #[must_use]
    pub fn legacy(&self) -> &[Legacy] {
        &self.legacy
    }
}

/// GetNextCACert, for servers whose capabilities have it.
#[must_use]
pub fn next_ca_request(settings: &Settings) -> HttpRequest {
    Operation::GetNextCaCert {
        identifier: settings.identifier.clone(),
    }
    .into_request(false)
}

/// Reads the answer to GetNextCACert: the next certificates, signed by the present CA.
///
/// # Errors
/// [`Failure::Http`], or [`Failure::Faulty`] where the present CA did not sign it.
pub fn read_next_ca(
    settings: &Settings,
    ca: &Ca,
    reply: &HttpReply,
) -> Result<Vec<Certificate>, Failure> {
    if reply.status != 200 {
        return Err(Failure::Http(reply.status));
    }
    let signed = SignedData::parse(&reply.body).map_err(FaultyResponse::Signature)?;
    signed
        .verify(ca.signer(&signed)?, settings.policy())
        .map_err(FaultyResponse::Signature)?;
    let bag = cms::read_certs_only(signed.content()).map_err(FaultyResponse::Envelope)?;
    if bag.certificates.is_empty() {
        return Err(FaultyResponse::NoCertificates.into());
    }
    Ok(bag.certificates)
}

#[derive(Sequence)]
struct IssuerAndSerial<'a> {
    issuer: AnyRef<'a>,
    serial: UintRef<'a>,
}

fn issuer_and_serial(issuer: &[u8], serial: &[u8]) -> Result<Vec<u8>, der::Error> {
    IssuerAndSerial {
        issuer: AnyRef::from_der(issuer)?,
        serial: UintRef::new(serial)?,
    }
    .to_der()
}
