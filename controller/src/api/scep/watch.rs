//! Who watches the states of requests: everything first, then what has changed. Nothing is decided or changed here.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::Range,
    time::Duration,
};

use convoy_fleet::client::ClientNumber;
use convoy_proto::v1::{ScepStatus, WatchScepStatusResponse};
use convoy_shared::{
    enrolment::{RequestRecord, RequestState},
    id::{GroupName, Revision},
};
use jiff::Timestamp;
use prost::Message as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    Api,
    states::{is_listed, state},
};

/// A watcher hears of changes at most so often.
const PACE: Duration = Duration::from_millis(200);
/// Sessions may end without an entry in the journal: it is looked again after so long.
const LOOK: Duration = Duration::from_secs(10);
/// So many clients are looked at before the keeper gets its turn.
const CLIENTS: u32 = 2048;
/// The most states in one response.
const STATES: usize = 500;

type Changes = mpsc::Sender<Result<WatchScepStatusResponse, Status>>;

/// What a watcher was told of a client.
struct Told {
    /// What its state is made of: cheap to compare.
    basis: Basis,
    /// The state itself, hashed.
    state: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Basis {
    newest: Option<Newest>,
    /// The timer is a setting.
    revision: Revision,
    supports: usize,
    held: Revision,
    connected: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Newest {
    attempt: u64,
    updated_at: Timestamp,
    requested_at: Timestamp,
    polls: u32,
    word: &'static str,
    warnings: usize,
}

impl From<&RequestRecord> for Newest {
    fn from(record: &RequestRecord) -> Self {
        Self {
            attempt: record.attempt,
            updated_at: record.updated_at,
            requested_at: record.requested_at,
            polls: match &record.state {
                RequestState::Processing { polls, .. } => *polls,
                RequestState::ToBeProcessed
                | RequestState::Error(_)
                | RequestState::Successful(_) => 0,
            },
            word: record.state.word(),
            warnings: record.warnings.len(),
        }
    }
}

impl Api {
    pub(super) async fn watch_scep(&self, group: Option<GroupName>, changes: Changes) {
        let mut heads = self.keeper.heads();
        let mut told = HashMap::new();
        let mut first = true;
        loop {
            heads.borrow_and_update();
            let news = self.news(group.as_ref(), &mut told).await;
            if first && news.is_empty() && send(&changes, vec![]).await.is_err() {
                return;
            }
            first = false;
            for states in news.chunks(STATES) {
                if send(&changes, states.to_vec()).await.is_err() {
                    return;
                }
            }
            sleep(PACE).await;
            tokio::select! {
                // Whether something has changed or not, it is looked again.
                changed = timeout(LOOK, heads.changed()) => if matches!(changed, Ok(Err(_))) { return },
                () = changes.closed() => return,
            }
        }
    }

    /// States that this watcher has not been told.
    async fn news(
        &self,
        group: Option<&GroupName>,
        told: &mut HashMap<ClientNumber, Told>,
    ) -> Vec<ScepStatus> {
        let mut news = Vec::new();
        let mut next = 0;
        loop {
            let end = self.keeper.read().next_client();
            if next >= end {
                return news;
            }
            let until = end.min(next.saturating_add(CLIENTS));
            self.look(next..until, group, told, &mut news);
            next = until;
            tokio::task::yield_now().await;
        }
    }

    fn look(
        &self,
        clients: Range<ClientNumber>,
        group: Option<&GroupName>,
        told: &mut HashMap<ClientNumber, Told>,
        news: &mut Vec<ScepStatus>,
    ) {
        let fleet = self.keeper.read();
        let enrolment = fleet.enrolment();
        for number in clients {
            let Some(client) = fleet
                .client(number)
                .filter(|client| is_listed(client, group))
            else {
                continue;
            };
            let requests = enrolment.requests(number);
            let basis = Basis {
                newest: requests
                    .and_then(|requests| requests.records.back())
                    .map(Newest::from),
                revision: enrolment.revision_of(number, &client.group),
                supports: requests.map_or(0, |requests| requests.supports.len()),
                held: requests.map_or(Revision(0), |requests| requests.held),
                connected: self.sessions.contains(number),
            };
            let known = told.get(&number);
            if known.is_some_and(|known| known.basis == basis) {
                continue;
            }
            let present = state(&fleet, number, client, basis.connected);
            let hash = hash(&present);
            if known.is_none_or(|known| known.state != hash) {
                news.push(present);
            }
            told.insert(number, Told { basis, state: hash });
        }
    }
}

async fn send(
    changes: &Changes,
    statuses: Vec<ScepStatus>,
) -> Result<(), mpsc::error::SendError<Result<WatchScepStatusResponse, Status>>> {
    changes.send(Ok(WatchScepStatusResponse { statuses })).await
}

fn hash(state: &ScepStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}
