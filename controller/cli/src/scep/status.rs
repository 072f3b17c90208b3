//! `convoy scep status` and `convoy scep history`: the printers' table. What stands in it is the controller's to say.

use std::collections::BTreeMap;

use convoy_proto::v1::{self, scep_service_client::ScepServiceClient};
use tonic::transport::Channel;

use super::record::Status;
use crate::{
    answers,
    args::Format,
    clients,
    connect::Session,
    failure::Failure,
    output::{self, Screen},
    words::plain,
};

/// How many clients are named with one cause.
const NAMED: usize = 3;

pub(crate) async fn list(
    session: &Session,
    screen: &mut Screen<'_>,
    group: String,
) -> Result<(), Failure> {
    let mut service = ScepServiceClient::new(session.channel().await?);
    let statuses: Vec<Status> = answers::every_page(async |page_token| {
        let request = v1::ListScepStatusRequest {
            group: group.clone(),
            page_size: 1_000,
            page_token,
        };
        let answer = service.list_scep_status(request).await?.into_inner();
        Ok((answer.statuses, answer.next_page_token))
    })
    .await?;
    match session.format {
        Format::Json => screen.json(&statuses),
        Format::Text => {
            screen.line(&table(&statuses))?;
            for line in causes(&statuses) {
                screen.note(&line);
            }
            Ok(())
        }
    }
}

pub(crate) async fn history(
    session: &Session,
    screen: &mut Screen<'_>,
    client: String,
) -> Result<(), Failure> {
    let channel = session.channel().await?;
    let found = clients::find(channel.clone(), client).await?;
    let requests = requests(&channel, &found.id).await?;
    match session.format {
        Format::Json => screen.json(&requests),
        Format::Text => {
            screen.line(&past(&requests))?;
            if requests.is_empty() {
                screen.note(&format!(
                    "{} has not requested a certificate yet. Ask it to: convoy scep request {}",
                    plain(&found.name),
                    plain(&found.id)
                ));
            }
            for line in causes(&requests) {
                screen.note(&line);
            }
            Ok(())
        }
    }
}

/// All requests of a client, newest first.
pub(crate) async fn requests(channel: &Channel, client: &str) -> Result<Vec<Status>, Failure> {
    let mut service = ScepServiceClient::new(channel.clone());
    answers::every_page(async |page_token| {
        let request = v1::ListScepHistoryRequest {
            client: client.to_owned(),
            page_size: 1_000,
            page_token,
        };
        let answer = service.list_scep_history(request).await?.into_inner();
        Ok((answer.requests, answer.next_page_token))
    })
    .await
}

pub(crate) fn table<'a>(statuses: impl IntoIterator<Item = &'a Status>) -> String {
    output::table(
        [
            "CLIENT",
            "GROUP",
            "REQUEST DATE/TIME",
            "KEY NAME",
            "STATUS",
            "DETAILS",
        ],
        statuses.into_iter().map(|status| {
            let [requested, key_name, state, details] = status.columns();
            [
                status.name.clone(),
                status.group.clone(),
                requested,
                key_name,
                state,
                details,
            ]
        }),
    )
}

fn past(requests: &[Status]) -> String {
    output::table(
        [
            "NUMBER",
            "BY",
            "REQUEST DATE/TIME",
            "KEY NAME",
            "STATUS",
            "DETAILS",
        ],
        requests.iter().filter_map(|request| {
            let record = request.record.as_ref()?;
            let [requested, key_name, state, details] = request.columns();
            Some([
                record.attempt.to_string(),
                record.trigger.to_string(),
                requested,
                key_name,
                state,
                details,
            ])
        }),
    )
}

/// A line for each cause of an error: who has it, and what it is.
fn causes(statuses: &[Status]) -> Vec<String> {
    let mut causes = BTreeMap::<(&str, &str), Vec<String>>::new();
    for status in statuses.iter().filter(|status| !status.cause.is_empty()) {
        let who = causes.entry((&status.details, &status.cause)).or_default();
        let name = plain(&status.name);
        if !who.contains(&name) {
            who.push(name);
        }
    }
    let line = |((details, cause), who): ((&str, &str), Vec<String>)| {
        let more = match who.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named: Vec<String> = who.into_iter().take(NAMED).collect();
        format!(
            "{}{more}: {}: {}",
            named.join(", "),
            plain(details),
            plain(cause)
        )
    };
    causes.into_iter().map(line).collect()
}
