//! `convoy scep issued`: certificates of the built-in CA.

use convoy_proto::v1::{self, scep_authority_service_client::ScepAuthorityServiceClient};
use jiff::Timestamp;
use serde::Serialize;
use tonic::transport::Channel;

use super::{args::IssuedCommand, pem};
use crate::{
    answers,
    args::Format,
    clients, clock,
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, plain},
};

/// A certificate that the built-in CA issued.
#[derive(Debug, Serialize)]
pub(super) struct Issued {
    pub(super) serial: String,
    pub(super) subject: String,
    not_before: Option<Timestamp>,
    pub(super) not_after: Option<Timestamp>,
    issued_at: Option<Timestamp>,
    client: String,
    profile: String,
    authority: u32,
    revoked_at: Option<Timestamp>,
    revocation_reason: String,
    /// The serial number of the one that it renews.
    renews: String,
    pem: String,
}

/// One that was revoked, and what of it stays valid.
#[derive(Debug, Serialize)]
struct Revoked {
    #[serde(flatten)]
    issued: Issued,
    renewals: Vec<Issued>,
}

impl TryFrom<v1::IssuedCertificate> for Issued {
    type Error = Unreadable;

    fn try_from(wire: v1::IssuedCertificate) -> Result<Self, Unreadable> {
        Ok(Self {
            serial: wire.serial,
            subject: wire.subject,
            not_before: answers::instant(wire.not_before, "not_before")?,
            not_after: answers::instant(wire.not_after, "not_after")?,
            issued_at: answers::instant(wire.issued_at, "issued_at")?,
            client: wire.client,
            profile: wire.profile,
            authority: wire.authority,
            revoked_at: answers::instant(wire.revoked_at, "revoked_at")?,
            revocation_reason: wire.revocation_reason,
            renews: wire.renews,
            pem: pem::armored("CERTIFICATE", &wire.certificate),
        })
    }
}

impl Issued {
    fn state(&self, now: Timestamp) -> String {
        if self.revoked_at.is_some() {
            format!("revoked: {}", self.revocation_reason)
        } else if self.not_after.is_some_and(|end| end < now) {
            "expired".to_owned()
        } else {
            "valid".to_owned()
        }
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: IssuedCommand,
) -> Result<(), Failure> {
    let channel = session.channel().await?;
    match command {
        IssuedCommand::List { client } => {
            let client = match client {
                Some(client) => clients::find(channel.clone(), client).await?.id,
                None => String::new(),
            };
            let mut service = ScepAuthorityServiceClient::new(channel);
            let issued: Vec<Issued> = answers::every_page(async |page_token| {
                let request = v1::ListIssuedCertificatesRequest {
                    client: client.clone(),
                    page_size: 1_000,
                    page_token,
                };
                let answer = service
                    .list_issued_certificates(request)
                    .await?
                    .into_inner();
                Ok((answer.certificates, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&issued),
                Format::Text => screen.line(&listed(&issued, clock::now())),
            }
        }
        IssuedCommand::Show { serial, pem } => {
            let issued = find(channel, &serial).await?;
            match session.format {
                Format::Json => screen.json(&issued),
                Format::Text if pem => screen.line(issued.pem.trim_end()),
                Format::Text => screen.line(&shown(&issued, clock::now())),
            }
        }
        IssuedCommand::Revoke { serial, reason } => {
            let request = v1::RevokeIssuedCertificateRequest {
                request_id: session.request_id.clone(),
                serial,
                reason,
            };
            let answer = ScepAuthorityServiceClient::new(channel)
                .revoke_issued_certificate(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let revoked = Revoked {
                issued: Issued::try_from(answers::required(answer.certificate, "certificate")?)?,
                renewals: answers::all(answer.renewals)?,
            };
            match session.format {
                Format::Json => screen.json(&revoked),
                Format::Text => {
                    let Revoked { issued, renewals } = revoked;
                    screen.note(&format!(
                        "Certificate {} of {} is revoked ({}). Publish the new list: convoy scep crl",
                        plain(&issued.serial),
                        plain(&issued.subject),
                        plain(&issued.revocation_reason)
                    ));
                    for renewal in renewals {
                        screen.note(&format!(
                            "It was renewed into {0}, which stays valid. Revoke that too with: convoy scep issued revoke {0}",
                            plain(&renewal.serial)
                        ));
                    }
                    Ok(())
                }
            }
        }
    }
}

/// The certificate with this serial number, however it is written.
async fn find(channel: Channel, serial: &str) -> Result<Issued, Failure> {
    let wanted = normal(serial);
    let mut service = ScepAuthorityServiceClient::new(channel);
    let mut page_token = String::new();
    loop {
        let request = v1::ListIssuedCertificatesRequest {
            client: String::new(),
            page_size: 1_000,
            page_token: page_token.clone(),
        };
        let answer = service
            .list_issued_certificates(request)
            .await
            .map_err(Failure::asking)?
            .into_inner();
        let found = answer
            .certificates
            .into_iter()
            .find(|issued| normal(&issued.serial) == wanted);
        if let Some(found) = found {
            return Ok(found.try_into()?);
        }
        if answer.next_page_token.is_empty() || answer.next_page_token == page_token {
            return Err(Failure::Declined(format!(
                "no certificate with the serial number {} was issued here. `convoy scep issued list` shows them",
                plain(serial)
            )));
        }
        page_token = answer.next_page_token;
    }
}

/// As openssl and people write serial numbers, too.
fn normal(serial: &str) -> String {
    let digits = serial.replace([':', ' '], "").to_ascii_uppercase();
    digits.trim_start_matches('0').to_owned()
}

fn listed(issued: &[Issued], now: Timestamp) -> String {
    output::table(
        ["SERIAL", "SUBJECT", "STATE", "ISSUED", "EXPIRES", "PROFILE"],
        issued.iter().map(|issued| {
            [
                issued.serial.clone(),
                issued.subject.clone(),
                issued.state(now),
                words::instant(issued.issued_at),
                words::instant(issued.not_after),
                issued.profile.clone(),
            ]
        }),
    )
}

fn shown(issued: &Issued, now: Timestamp) -> String {
    let or_none = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let mut facts = vec![
        ("Serial", issued.serial.clone()),
        ("Subject", issued.subject.clone()),
        ("State", issued.state(now)),
        ("Issued", words::instant(issued.issued_at)),
        ("Valid from", words::instant(issued.not_before)),
        ("Valid until", words::instant(issued.not_after)),
        ("Client", or_none(&issued.client)),
        ("Profile", issued.profile.clone()),
        ("CA", issued.authority.to_string()),
        ("Renews", or_none(&issued.renews)),
    ];
    if issued.revoked_at.is_some() {
        facts.push(("Revoked", words::instant(issued.revoked_at)));
    }
    output::facts(&facts)
}
