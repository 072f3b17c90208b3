//! `convoy scep requests`: what waits at the built-in server for an operator.

use convoy_proto::v1::{self, scep_authority_service_client::ScepAuthorityServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use super::{args::RequestsCommand, issued::Issued};
use crate::{
    answers,
    args::Format,
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, plain},
};

/// A request that waits or was decided.
#[derive(Debug, Serialize)]
struct Request {
    transaction_id: String,
    state: String,
    subject: String,
    subject_alt_names: Vec<String>,
    /// SHA-256 of the public key.
    key: String,
    received_at: Option<Timestamp>,
    challenge_id: String,
    profile: String,
    client: String,
    reason: String,
}

impl TryFrom<v1::ScepRequest> for Request {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepRequest) -> Result<Self, Unreadable> {
        Ok(Self {
            transaction_id: wire.transaction_id,
            state: wire.state,
            subject: wire.subject,
            subject_alt_names: wire.subject_alt_names,
            key: hex::encode(wire.key),
            received_at: answers::instant(wire.received_at, "received_at")?,
            challenge_id: wire.challenge_id,
            profile: wire.profile,
            client: wire.client,
            reason: wire.reason,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: RequestsCommand,
) -> Result<(), Failure> {
    let mut service = ScepAuthorityServiceClient::new(session.channel().await?);
    match command {
        RequestsCommand::List { all } => {
            let requests: Vec<Request> = answers::every_page(async |page_token| {
                let request = v1::ListScepRequestsRequest {
                    all,
                    page_size: 1_000,
                    page_token,
                };
                let answer = service.list_scep_requests(request).await?.into_inner();
                Ok((answer.requests, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&requests),
                Format::Text => {
                    screen.line(&listed(&requests))?;
                    if requests.iter().any(|request| request.state == "waiting") {
                        screen.note("Decide with: convoy scep requests approve TRANSACTION, or deny TRANSACTION --reason …");
                    }
                    Ok(())
                }
            }
        }
        RequestsCommand::Approve { transaction } => {
            let request = v1::ApproveScepRequestRequest {
                request_id: session.request_id.clone(),
                transaction_id: transaction,
            };
            let answer = service
                .approve_scep_request(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let issued = Issued::try_from(answers::required(answer.certificate, "certificate")?)?;
            match session.format {
                Format::Json => screen.json(&issued),
                Format::Text => {
                    screen.note(&format!(
                        "Issued to {}, valid until {}; the device gets it at its next poll",
                        plain(&issued.subject),
                        words::instant(issued.not_after)
                    ));
                    screen.line(&plain(&issued.serial))
                }
            }
        }
        RequestsCommand::Deny {
            transaction,
            reason,
        } => {
            let request = v1::DenyScepRequestRequest {
                request_id: session.request_id.clone(),
                transaction_id: transaction,
                reason,
            };
            let answer = service
                .deny_scep_request(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let denied = Request::try_from(answers::required(answer.request, "request")?)?;
            match session.format {
                Format::Json => screen.json(&denied),
                Format::Text => {
                    screen.note(&format!(
                        "The request {} is denied; the device is told so at its next poll",
                        plain(&denied.transaction_id)
                    ));
                    Ok(())
                }
            }
        }
    }
}

fn listed(requests: &[Request]) -> String {
    output::table(
        [
            "TRANSACTION",
            "STATE",
            "RECEIVED",
            "SUBJECT",
            "NAMES",
            "PROFILE",
            "CHALLENGE",
        ],
        requests.iter().map(|request| {
            let state = if request.reason.is_empty() {
                request.state.clone()
            } else {
                format!("{}: {}", request.state, request.reason)
            };
            [
                request.transaction_id.clone(),
                state,
                words::instant(request.received_at),
                request.subject.clone(),
                request.subject_alt_names.join(", "),
                request.profile.clone(),
                request.challenge_id.clone(),
            ]
        }),
    )
}
