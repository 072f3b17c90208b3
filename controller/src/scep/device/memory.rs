//! What the controller knows of devices only while it runs: orders under way, challenges of NDES in their hands, what they were told. Nothing
//! durable, and nothing that is lost when the process ends.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use convoy_fleet::{client::ClientNumber, enrolment::Requests};
use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState},
    id::{ClientId, Digest},
    settings::ScepSettings,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::ndes::{ChallengeSource, Ndes, NdesError};

/// The settings of an order hold so long if the client does not say what becomes of it,
const UNANSWERED: Duration = Duration::from_secs(120);
/// and so long if it has taken it, and then nothing is heard of its end.
const TAKEN: Duration = Duration::from_secs(24 * 3600);
/// NDES's challenges are good for so long where its page does not say.
const NDES_LIFETIME: Duration = Duration::from_secs(3600);

/// What is known of devices while the controller runs.
pub struct Devices {
    /// Requests that have ended since the controller began.
    pub ended: Family<ByResult, Counter>,
    told: Mutex<HashMap<ClientNumber, Digest>>,
    ordered: Mutex<HashMap<ClientNumber, Vec<Ordered>>>,
    pages: Mutex<HashMap<(String, String), Page>>,
    leased: Mutex<HashMap<ClientNumber, ChallengeSource>>,
}

struct Ordered {
    id: Bytes,
    settings: ScepSettings,
    /// The attempt that it became, once that is known.
    attempt: Option<u64>,
    until: Instant,
}

struct Page {
    password: Digest,
    cache: usize,
    source: ChallengeSource,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByResult {
    /// In one word.
    pub result: &'static str,
}

impl Default for Devices {
    fn default() -> Self {
        let ended = Family::<ByResult, Counter>::default();
        for result in RESULTS {
            drop(ended.get_or_create(&ByResult { result }));
        }
        Self {
            ended,
            told: Mutex::default(),
            ordered: Mutex::default(),
            pages: Mutex::default(),
            leased: Mutex::default(),
        }
    }
}

impl Devices {
    /// Whether a client has said to hold this content since the controller began.
    #[must_use]
    pub fn knows(&self, client: ClientNumber, content: &Digest) -> bool {
        lock(&self.told).get(&client) == Some(content)
    }

    /// A client holds this content.
    pub fn learned(&self, client: ClientNumber, content: Digest) {
        lock(&self.told).insert(client, content);
    }

    /// A client is about to be ordered to make a request with these settings.
    pub fn order(&self, client: ClientNumber, id: Bytes, settings: ScepSettings) {
        let order = Ordered {
            id,
            settings,
            attempt: None,
            until: Instant::now() + UNANSWERED,
        };
        lock(&self.ordered).entry(client).or_default().push(order);
    }

    /// The order became this attempt, or nothing.
    pub fn answered(&self, client: ClientNumber, id: &Bytes, attempt: Option<u64>) {
        let mut ordered = lock(&self.ordered);
        let Some(orders) = ordered.get_mut(&client) else {
            return;
        };
        match (attempt, orders.iter_mut().find(|order| order.id == *id)) {
            (Some(_), Some(order)) => {
                order.attempt = attempt;
                order.until = Instant::now() + TAKEN;
            }
            _ => orders.retain(|order| order.id != *id),
        }
        if orders.is_empty() {
            ordered.remove(&client);
        }
    }

    /// The settings of the order that a client follows just now: of the newest that it has taken, else of the newest that it was given.
    #[must_use]
    pub fn ordered(&self, client: ClientNumber) -> Option<ScepSettings> {
        let mut ordered = lock(&self.ordered);
        let orders = ordered.get_mut(&client)?;
        orders.retain(|order| Instant::now() < order.until);
        let taken = orders.iter().rev().find(|order| order.attempt.is_some());
        taken.or(orders.last()).map(|order| order.settings.clone())
    }

    /// A page of NDES: the same one for all who use it, so that its outstanding challenges are counted once.
    ///
    /// # Errors
    /// If the settings cannot be.
    pub fn page(
        &self,
        settings: &ScepSettings,
        password: Zeroizing<String>,
    ) -> Result<ChallengeSource, NdesError> {
        let mut pages = lock(&self.pages);
        let key = (settings.ndes_url.clone(), settings.ndes_user.clone());
        let digest = Digest::of(password.as_bytes());
        let cache = usize::try_from(settings.ndes_cache).unwrap_or(usize::MAX);
        if let Some(page) = pages.get(&key)
            && (page.password, page.cache) == (digest, cache)
        {
            return Ok(page.source.clone());
        }
        let source = ChallengeSource::new(&Ndes {
            url: settings.ndes_url.clone(),
            user: settings.ndes_user.clone(),
            password,
            cache,
            lifetime: NDES_LIFETIME,
        })?;
        pages.insert(
            key,
            Page {
                password: digest,
                cache,
                source: source.clone(),
            },
        );
        Ok(source)
    }

    /// A client was given a challenge of this page.
    pub(super) fn leased(&self, client: ClientNumber, source: ChallengeSource) {
        lock(&self.leased).insert(client, source);
    }

    /// Takes in what is new in a report: counts what has ended, gives back NDES's challenges that were used, forgets orders that are done.
    pub fn heard(
        &self,
        client: ClientNumber,
        id: ClientId,
        known: Option<&Requests>,
        records: &[RequestRecord],
    ) {
        for record in records.iter().filter(|record| is_news(known, record)) {
            if was_answered(&record.state)
                && let Some(source) = lock(&self.leased).remove(&client)
            {
                source.used(id);
            }
            let Some(result) = result(&record.state) else {
                continue;
            };
            self.ended.get_or_create(&ByResult { result }).inc();
            if let Some(orders) = lock(&self.ordered).get_mut(&client) {
                orders.retain(|order| order.attempt.is_none_or(|attempt| attempt > record.attempt));
            }
        }
    }
}

/// As the fleet sees it: what has ended stays so, and what is older than the newest is no news.
fn is_news(known: Option<&Requests>, record: &RequestRecord) -> bool {
    let Some(known) = known else {
        return true;
    };
    let of_attempt = |known: &&RequestRecord| known.attempt == record.attempt;
    match known.records.iter().find(of_attempt) {
        Some(known) => !known.state.is_final(),
        None => known
            .records
            .back()
            .is_none_or(|last| last.attempt < record.attempt),
    }
}

/// Whether the SCEP server has seen the request, and with it the challenge.
const fn was_answered(state: &RequestState) -> bool {
    match state {
        RequestState::ToBeProcessed | RequestState::Processing { waiting: None, .. } => false,
        RequestState::Successful(_) => true,
        RequestState::Error(detail)
        | RequestState::Processing {
            waiting: Some(detail),
            ..
        } => matches!(
            detail,
            ErrorDetail::Deferred
                | ErrorDetail::Scep(_)
                | ErrorDetail::FaultyResponse(_)
                | ErrorDetail::KeyUseLocation(_)
        ),
    }
}

const RESULTS: [&str; 9] = [
    "successful",
    "deferred",
    "key_limit",
    "top_error",
    "top_error_http",
    "scep_error",
    "faulty_response",
    "key_use_location",
    "device",
];

/// How it ended, if it has.
const fn result(state: &RequestState) -> Option<&'static str> {
    Some(match state {
        RequestState::ToBeProcessed | RequestState::Processing { .. } => return None,
        RequestState::Successful(_) => "successful",
        RequestState::Error(ErrorDetail::Deferred) => "deferred",
        RequestState::Error(ErrorDetail::KeyLimit) => "key_limit",
        RequestState::Error(ErrorDetail::TopError) => "top_error",
        RequestState::Error(ErrorDetail::TopErrorHttp(_)) => "top_error_http",
        RequestState::Error(ErrorDetail::Scep(_)) => "scep_error",
        RequestState::Error(ErrorDetail::FaultyResponse(_)) => "faulty_response",
        RequestState::Error(ErrorDetail::KeyUseLocation(_)) => "key_use_location",
        RequestState::Error(ErrorDetail::Device(_)) => "device",
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever panicked, these are lists of facts.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use convoy_shared::{enrolment::Trigger, settings::KeyUse};
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn record(attempt: u64, state: RequestState) -> RequestRecord {
        RequestRecord {
            attempt,
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
    fn an_end_counts_once() {
        let devices = Devices::default();
        let id = ClientId::new(Uuid::nil());
        let records = vec![
            record(1, RequestState::Error(ErrorDetail::TopError)),
            record(
                2,
                RequestState::Processing {
                    polls: 0,
                    waiting: None,
                },
            ),
        ];
        devices.heard(0, id, None, &records);
        let known = Requests {
            records: records.clone().into(),
            ..Requests::default()
        };
        devices.heard(0, id, Some(&known), &records);
        let ended = |result| devices.ended.get_or_create(&ByResult { result }).get();
        assert_eq!((ended("top_error"), ended("device")), (1, 0));
        let late = [
            record(1, RequestState::Error(ErrorDetail::Deferred)),
            record(2, RequestState::Error(ErrorDetail::Device("x".to_owned()))),
        ];
        devices.heard(0, id, Some(&known), &late);
        let ended = |result| devices.ended.get_or_create(&ByResult { result }).get();
        assert_eq!((ended("deferred"), ended("device")), (0, 1));
    }

    #[test]
    fn an_order_holds_until_its_request_has_ended() {
        let devices = Devices::default();
        let id = ClientId::new(Uuid::nil());
        let order = Bytes::from_static(b"one");
        devices.order(7, order.clone(), ScepSettings::default());
        devices.heard(
            7,
            id,
            None,
            &[record(3, RequestState::Error(ErrorDetail::TopError))],
        );
        assert!(devices.ordered(7).is_some());
        devices.answered(7, &order, Some(4));
        devices.heard(7, id, None, &[record(4, RequestState::ToBeProcessed)]);
        assert!(devices.ordered(7).is_some());
        devices.heard(
            7,
            id,
            None,
            &[record(4, RequestState::Error(ErrorDetail::KeyLimit))],
        );
        assert!(devices.ordered(7).is_none());
    }

    #[test]
    fn an_order_that_is_refused_leaves_the_one_that_was_taken() {
        let devices = Devices::default();
        let [one, two] = [b"one", b"two"].map(|id| Bytes::from_static(id));
        let settings = ScepSettings {
            common_name: "{ip}".to_owned(),
            ..ScepSettings::default()
        };
        devices.order(7, one.clone(), settings.clone());
        devices.answered(7, &one, Some(4));
        devices.order(7, two.clone(), ScepSettings::default());
        assert_eq!(devices.ordered(7), Some(settings.clone()));
        devices.answered(7, &two, None);
        assert_eq!(devices.ordered(7), Some(settings));
        devices.answered(7, &one, None);
        assert!(devices.ordered(7).is_none());
    }
}
