//! SCEP (RFC 8894), client and server, sans-IO: bytes and the time are arguments, and what to send or to issue is returned.
//!
//! Nothing here opens a socket, reads a clock, sleeps or starts a task, and nothing here panics on any input.
//!
//! The client is [`client::Enrolment`]: it returns a [`client::Step`], which says what to send, until when to wait, or how it ended. The server is
//! [`server::receive`]: it returns a request that holds, or the answer that says why it does not; what is granted the caller
//! decides, and issues by [`issue::Authority`].
//!
//! # Example
//!
//! A client gets a certificate from a server; both are in memory.
//!
//! ```
//! use convoy_scep::algorithm::Policy;
//! use convoy_scep::client::{Enrolment, HttpReply, Purpose, Settings, Step};
//! use convoy_scep::http::{HttpRequest, Operation, media};
//! use convoy_scep::issue::{Authority, Leaf};
//! use convoy_scep::key::RsaKey;
//! use convoy_scep::message::FailInfo;
//! use convoy_scep::request::{Challenge, RequestBuilder};
//! use convoy_scep::server::{self, Identity, Kind, Received};
//! use jiff::{SignedDuration, Timestamp};
//!
//! fn serve(ca: &Authority, asked: &HttpRequest, now: Timestamp) -> Result<HttpReply, Box<dyn std::error::Error>> {
//!     let identity = Identity::new(ca, Policy { allow_legacy: false });
//!     let (content_type, body) = match Operation::parse(asked.method, Some(&asked.query), &asked.body)? {
//!         Operation::GetCaCaps { .. } => (media::CAPS, server::ca_caps().into()),
//!         Operation::GetCaCert { .. } => server::ca_cert(ca),
//!         Operation::GetNextCaCert { .. } => return Ok(HttpReply { status: 404, content_type: None, body: Vec::new() }),
//!         Operation::PkiOperation(message) => match server::receive(&message, &identity, now) {
//!             Received::Answer(answer, _) => (media::PKI_MESSAGE, answer),
//!             Received::Unanswerable(reason) => return Err(reason.into()),
//!             Received::Request(incoming) => {
//!                 let answer = match &incoming.kind {
//!                     Kind::Enrol { request } if request.challenge().is_some_and(|challenge| challenge.matches("s3cret")) => {
//!                         let certificate = ca.issue(&Leaf {
//!                             subject: request.subject(),
//!                             spki: request.spki(),
//!                             sans: request.sans(),
//!                             key_usage: Leaf::usual_key_usage(),
//!                             extended_key_usage: &[],
//!                             serial: &[0x42],
//!                             not_before: now,
//!                             not_after: now + SignedDuration::from_hours(24 * 90),
//!                             crl_url: None,
//!                         })?;
//!                         incoming.success(&identity, &[&certificate])?
//!                     }
//!                     _ => incoming.failure(&identity, FailInfo::BadRequest, None)?,
//!                 };
//!                 (media::PKI_MESSAGE, answer)
//!             }
//!         },
//!     };
//!     Ok(HttpReply { status: 200, content_type: Some(content_type.to_owned()), body })
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now: Timestamp = "2026-03-01T12:00:00Z".parse()?;
//! let year = SignedDuration::from_hours(24 * 365);
//! let ca = Authority::self_signed("Example CA", None, RsaKey::generate(2048)?, &[1], now, now + year)?;
//!
//! let settings = Settings { ca_fingerprint: Some(ca.certificate.fingerprint()), ..Settings::default() };
//! let challenge = Some(Challenge::new("s3cret")?);
//! let (mut enrolment, mut step) = Enrolment::begin(
//!     settings,
//!     RequestBuilder::new("printer.example.org"),
//!     RsaKey::generate(2048)?,
//!     Purpose::First { challenge },
//! );
//! let issued = loop {
//!     step = match step {
//!         Step::Send(request) => enrolment.receive(serve(&ca, &request, now)?, now),
//!         Step::Wait { until, .. } => enrolment.wake(until),
//!         Step::Issued(issued) => break issued,
//!         Step::Failed(failure) => return Err(failure.into()),
//!     };
//! };
//! assert_eq!(issued.certificate.subject_text(), "CN=printer.example.org");
//! assert!(issued.certificate.is_issued_by(&ca.certificate));
//! # Ok(())
//! # }
//! ```

pub mod algorithm;
pub mod ber;
pub mod certificate;
pub mod client;
pub mod cms;
mod extension;
#[cfg(test)]
mod fixture;
pub mod http;
pub mod issue;
pub mod key;
pub mod message;
mod name;
pub mod request;
pub mod server;
