//! `convoy scep ca`, `approval` and `crl`: the built-in SCEP server and its CA. No private key ever comes here.

use convoy_proto::v1::{self, scep_authority_service_client::ScepAuthorityServiceClient};
use convoy_shared::id::Digest;
use jiff::Timestamp;
use serde::Serialize;
use tonic::{Status, transport::Channel};

use super::{
    args::{Approval, CaCommand, CaKey},
    pem,
};
use crate::{
    answers,
    args::Format,
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, Known, Spelled, plain},
};

/// The built-in server.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    url: String,
    pub(crate) approval: Known<v1::ScepApproval>,
    issued: u64,
    revoked: u64,
    waiting: u64,
    authorities: Vec<Authority>,
}

/// A CA of it.
#[derive(Debug, Serialize)]
struct Authority {
    number: u32,
    state: String,
    fingerprint: String,
    key: Known<v1::ScepCaKey>,
    /// SHA-256 of its RA's certificate, where devices do not encrypt to the CA itself.
    ra_fingerprint: Option<String>,
    subject: String,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    #[serde(skip)]
    der: Vec<u8>,
}

impl Spelled for v1::ScepApproval {
    const WHAT: &'static str = "approval";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Automatic => Some("automatic"),
            Self::Manual => Some("manual"),
        }
    }
}

impl Spelled for v1::ScepCaKey {
    const WHAT: &'static str = "key";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Rsa2048 => Some("rsa-2048"),
            Self::EcdsaP256 => Some("ecdsa-p256"),
        }
    }
}

impl TryFrom<v1::ScepCa> for Authority {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepCa) -> Result<Self, Unreadable> {
        Ok(Self {
            number: wire.number,
            state: wire.state,
            fingerprint: hex::encode(wire.fingerprint),
            key: Known::read(wire.key)?,
            ra_fingerprint: (!wire.ra_certificate.is_empty())
                .then(|| Digest::of(&wire.ra_certificate).to_string()),
            subject: wire.subject,
            not_before: answers::instant(wire.not_before, "not_before")?,
            not_after: answers::instant(wire.not_after, "not_after")?,
            der: wire.certificate.into(),
        })
    }
}

/// The server as it is.
pub(crate) async fn fetch(channel: &Channel) -> Result<Server, Failure> {
    let answer = ScepAuthorityServiceClient::new(channel.clone())
        .get_scep_authority(v1::GetScepAuthorityRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    Ok(Server {
        url: answer.url,
        approval: Known::read(answer.approval)?,
        issued: answer.issued,
        revoked: answer.revoked,
        waiting: answer.waiting,
        authorities: answers::all(answer.authorities)?,
    })
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: CaCommand,
) -> Result<(), Failure> {
    match command {
        CaCommand::Show => {
            let server = fetch(&session.channel().await?).await?;
            match session.format {
                Format::Json => screen.json(&server),
                Format::Text => screen.line(&shown(&server)),
            }
        }
        CaCommand::Export { next, der } => {
            let server = fetch(&session.channel().await?).await?;
            let wanted = if next { "next" } else { "current" };
            let authority = server
                .authorities
                .into_iter()
                .find(|authority| authority.state == wanted)
                .ok_or_else(|| {
                    Failure::Declined(if next {
                        "there is no next CA. Make it with: convoy scep ca rollover".to_owned()
                    } else {
                        "there is no CA yet. It is made when the controller first serves SCEP; see `convoy-controller --help`"
                            .to_owned()
                    })
                })?;
            let note = format!("SHA-256 {}", authority.fingerprint);
            write(session, screen, "CERTIFICATE", &authority.der, der)?;
            screen.note(&note);
            Ok(())
        }
        CaCommand::Rollover { activate, key } => rollover(session, screen, activate, key).await,
    }
}

async fn rollover(
    session: &Session,
    screen: &mut Screen<'_>,
    activate: bool,
    key: Option<CaKey>,
) -> Result<(), Failure> {
    let mut request = v1::RollOverScepAuthorityRequest {
        request_id: session.request_id.clone(),
        activate,
        ..v1::RollOverScepAuthorityRequest::default()
    };
    if let Some(key) = key {
        request.set_key(key.into());
    }
    let answer = ScepAuthorityServiceClient::new(session.channel().await?)
        .roll_over_scep_authority(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let authority = Authority::try_from(answers::required(answer.authority, "authority")?)?;
    if session.format == Format::Json {
        return screen.json(&authority);
    }
    let Authority {
        number,
        fingerprint,
        ..
    } = authority;
    screen.note(&if activate {
        format!("CA {number} (SHA-256 {fingerprint}) is in force: it signs from now on. Certificates of former CAs stay valid")
    } else {
        format!("CA {number} (SHA-256 {fingerprint}) is next: devices can fetch it. Put it in force with: convoy scep ca rollover --activate")
    });
    Ok(())
}

pub(crate) async fn approve(
    session: &Session,
    screen: &mut Screen<'_>,
    approval: Approval,
) -> Result<(), Failure> {
    let channel = session.channel().await?;
    let approval = set(&channel, approval, session.request_id.clone(), |status| {
        session.changing(status)
    })
    .await?;
    match session.format {
        Format::Json => screen.json(&serde_json::json!({ "approval": approval })),
        Format::Text => {
            screen.note(match approval.value() {
                v1::ScepApproval::Manual => "Requests wait for an operator from now on; see `convoy scep requests list`",
                v1::ScepApproval::Automatic | v1::ScepApproval::Unspecified => {
                    "Requests with a valid challenge are granted at once from now on. Those that wait go on waiting; see `convoy scep requests list`"
                }
            });
            Ok(())
        }
    }
}

/// Sets the approval.
pub(crate) async fn set(
    channel: &Channel,
    approval: Approval,
    request_id: String,
    failed: impl FnOnce(Status) -> Failure,
) -> Result<Known<v1::ScepApproval>, Failure> {
    let mut request = v1::SetScepAuthorityRequest {
        request_id,
        ..v1::SetScepAuthorityRequest::default()
    };
    request.set_approval(approval.into());
    let answer = ScepAuthorityServiceClient::new(channel.clone())
        .set_scep_authority(request)
        .await
        .map_err(failed)?
        .into_inner();
    Ok(Known::read(answer.approval)?)
}

pub(crate) async fn crl(
    session: &Session,
    screen: &mut Screen<'_>,
    der: bool,
) -> Result<(), Failure> {
    let answer = ScepAuthorityServiceClient::new(session.channel().await?)
        .get_scep_crl(v1::GetScepCrlRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    write(session, screen, "X509 CRL", &answer.crl, der)
}

/// What a file is wanted of: PEM, DER, or JSON with the PEM in it.
fn write(
    session: &Session,
    screen: &mut Screen<'_>,
    label: &str,
    bytes: &[u8],
    der: bool,
) -> Result<(), Failure> {
    match (session.format, der) {
        (Format::Json, _) => screen.json(&serde_json::json!({ "pem": pem::armored(label, bytes) })),
        (Format::Text, true) if screen.terminal => Err(Failure::Usage(
            "DER is not for a terminal. Send it to a file with > F, or leave --der out".to_owned(),
        )),
        (Format::Text, true) => screen.bytes(bytes),
        (Format::Text, false) => screen.line(pem::armored(label, bytes).trim_end()),
    }
}

fn shown(server: &Server) -> String {
    let url = if server.url.is_empty() {
        "not served by this controller; see `convoy-controller --help`"
    } else {
        &server.url
    };
    let facts = output::facts(&[
        ("URL", url.to_owned()),
        ("Approval", server.approval.to_string()),
        (
            "Certificates",
            format!(
                "{} issued, {} of them revoked",
                server.issued, server.revoked
            ),
        ),
        (
            "Requests",
            format!("{} waiting for approval", server.waiting),
        ),
    ]);
    if server.authorities.is_empty() {
        return format!("{facts}\n\nThere is no CA yet");
    }
    let cas: Vec<String> = server
        .authorities
        .iter()
        .map(|authority| {
            format!(
                "CA {} ({})\n{}",
                authority.number,
                plain(&authority.state),
                output::rows([
                    ["Subject".to_owned(), authority.subject.clone()],
                    ["SHA-256".to_owned(), authority.fingerprint.clone()],
                    [
                        "Key".to_owned(),
                        match &authority.ra_fingerprint {
                            None => authority.key.to_string(),
                            Some(ra) => format!("{}, with an RA: SHA-256 {ra}", authority.key),
                        }
                    ],
                    [
                        "Valid".to_owned(),
                        format!(
                            "{} to {}",
                            words::instant(authority.not_before),
                            words::instant(authority.not_after)
                        )
                    ],
                ])
            )
        })
        .collect();
    format!("{facts}\n\n{}", cas.join("\n\n"))
}
