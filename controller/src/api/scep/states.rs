//! States and histories of clients' requests, in the printers' words. Nothing is decided or changed here.

use convoy_fleet::{
    client::{Client, ClientNumber, ClientState},
    state::Fleet,
};
use convoy_proto::{
    scep::write_record,
    time::timestamp,
    v1::{
        ListScepHistoryRequest, ListScepHistoryResponse, ListScepStatusRequest,
        ListScepStatusResponse, ScepStatus,
    },
};
use convoy_shared::{
    enrolment::{RequestRecord, RequestState},
    id::GroupName,
};
use tonic::Status;

use super::{Api, find_client, group};
use crate::api::page::{key, page};

impl Api {
    pub(super) fn scep_states(
        &self,
        asked: &ListScepStatusRequest,
    ) -> Result<ListScepStatusResponse, Status> {
        let fleet = self.keeper.read();
        let group = group(&fleet, &asked.group)?;
        let all = fleet
            .clients()
            .filter(|(_, client)| is_listed(client, group.as_ref()))
            .map(|(number, client)| (key(number), (number, client)));
        let (statuses, next_page_token) = page(
            all,
            asked.page_size,
            &asked.page_token,
            |(number, client)| state(&fleet, number, client, self.sessions.contains(number)),
        )?;
        Ok(ListScepStatusResponse {
            statuses,
            next_page_token,
        })
    }

    pub(super) fn scep_history(
        &self,
        asked: &ListScepHistoryRequest,
    ) -> Result<ListScepHistoryResponse, Status> {
        let fleet = self.keeper.read();
        let number = find_client(&fleet, &asked.client)?;
        let client = fleet.client(number);
        let connected = self.sessions.contains(number);
        let records = client
            .into_iter()
            .flat_map(|client| fleet.enrolment().standing(number, &client.group).rev())
            // Newest first, under keys that stay as more are added.
            .map(|record| (key(u64::MAX - record.attempt), record));
        let (requests, next_page_token) =
            page(records, asked.page_size, &asked.page_token, |record| {
                let mut state = ScepStatus {
                    connected,
                    ..worded(record)
                };
                if let Some(client) = client {
                    name(&mut state, client);
                }
                state
            })?;
        Ok(ListScepHistoryResponse {
            requests,
            next_page_token,
        })
    }
}

/// Whether a client is among those whose states are shown.
pub(super) fn is_listed(client: &Client, group: Option<&GroupName>) -> bool {
    client.state != ClientState::Decommissioned && group.is_none_or(|group| client.group == *group)
}

/// A client's newest request.
pub(super) fn state(
    fleet: &Fleet,
    number: ClientNumber,
    client: &Client,
    connected: bool,
) -> ScepStatus {
    let enrolment = fleet.enrolment();
    let requests = enrolment.requests(number);
    let mut standing = enrolment.standing(number, &client.group).rev().peekable();
    let mut state = standing.peek().copied().map(worded).unwrap_or_default();
    name(&mut state, client);
    state.connected = connected;
    // `Next Request Date/Time`: that of the newest request that is still to be processed.
    let next = standing.find(|record| record.state == RequestState::ToBeProcessed);
    state.next_request = next.map(|next| timestamp(next.requested_at));
    state.supports = requests.map_or_else(Vec::new, |requests| requests.supports.clone());
    state
}

fn name(state: &mut ScepStatus, client: &Client) {
    state.client = client.id.to_string();
    state.name = client.name.clone();
    state.group = client.group.to_string();
}

/// A request in words.
fn worded(record: &RequestRecord) -> ScepStatus {
    let detail = match &record.state {
        RequestState::Error(detail)
        | RequestState::Processing {
            waiting: Some(detail),
            ..
        } => Some(detail),
        RequestState::ToBeProcessed
        | RequestState::Processing { waiting: None, .. }
        | RequestState::Successful(_) => None,
    };
    ScepStatus {
        record: Some(write_record(record)),
        status: record.state.word().to_owned(),
        details: detail.map(ToString::to_string).unwrap_or_default(),
        cause: detail.map(|detail| detail.cause()).unwrap_or_default(),
        ..ScepStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use convoy_shared::{
        enrolment::{ErrorDetail, FailInfo, Trigger},
        settings::KeyUse,
    };
    use jiff::Timestamp;

    use super::*;

    fn record(state: RequestState) -> RequestRecord {
        RequestRecord {
            attempt: 1,
            trigger: Trigger::Timer,
            requested_at: Timestamp::UNIX_EPOCH,
            key_name: "scep".to_owned(),
            key_use: KeyUse::None,
            state,
            updated_at: Timestamp::UNIX_EPOCH,
            warnings: vec![],
        }
    }

    #[test]
    fn states_have_the_printers_words() {
        let words = |state| {
            let worded = worded(&record(state));
            (worded.status, worded.details)
        };
        let pair = |status: &str, details: &str| (status.to_owned(), details.to_owned());
        assert_eq!(
            words(RequestState::ToBeProcessed),
            pair("To Be Processed", "")
        );
        assert_eq!(
            words(RequestState::Processing {
                polls: 1,
                waiting: Some(ErrorDetail::TopErrorHttp(503))
            }),
            pair("Processing...", "Communication Error (TOP ERROR 503)")
        );
        assert_eq!(
            words(RequestState::Error(ErrorDetail::Scep(FailInfo::BadTime))),
            pair("Error", "Communication Error (SCEP ERROR Fail Info 3)")
        );
        let error = worded(&record(RequestState::Error(ErrorDetail::TopError)));
        assert!(error.cause.contains("no connection"), "{}", error.cause);
    }
}
