//! The way of a SCEP message: opened, decided, saved, and only then answered. What it comes to is decided in `decide`.

mod decide;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use convoy_fleet::issuance::{Order, Transaction};
use convoy_scep::{
    certificate::Certificate,
    issue::Authority,
    message::FailInfo,
    server::{Identity, Incoming, Received},
};
use convoy_shared::id::Digest;
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    Ending, Scep,
    message::{Granted, Outcome, Refused, open, write},
    replay::Replays,
};
use crate::pace::Pace;

/// A device, or a certificate that renews itself, brings so many certificates at once,
const PACE_BURST: u32 = 30;
/// and then one in so long.
const PACE: Duration = Duration::from_secs(60);

/// Answers messages.
pub(super) struct Answers {
    scep: Arc<Scep>,
    /// Nonces of requests for certificates.
    nonces: Mutex<Replays>,
    /// Encrypted content keys.
    keys: Mutex<Replays>,
    /// How often a device, or a certificate, may bring another certificate.
    pace: Pace<Digest>,
    /// Twice as many at work as there are processors: more would only wait for each other.
    at_work: Arc<Semaphore>,
}

/// A request, the CA that it came to, and what is decided on it.
type Examined = (Incoming, Arc<Authority>, Result<Decided, Refused>);

enum Decided {
    Done(Outcome),
    /// To be recorded before anybody hears of it.
    Order(Box<Order>),
}

/// What goes back.
pub(super) struct Answer {
    /// A CertRep. `None`: none can be made.
    pub(super) body: Option<Vec<u8>>,
    /// The status without a body.
    pub(super) status: StatusCode,
    /// It was refused: a guess, perhaps.
    pub(super) refused: bool,
}

impl Answers {
    pub(super) fn new(scep: Arc<Scep>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            scep,
            nonces: Mutex::default(),
            keys: Mutex::default(),
            pace: Pace::new(PACE_BURST, PACE),
            at_work: Arc::new(Semaphore::new(processors * 2)),
        }
    }

    pub(super) fn identity<'a>(&self, authority: &'a Authority) -> Identity<'a> {
        Identity::new(authority, self.scep.policy)
    }

    /// The answer to a message.
    pub(super) async fn answer(
        self: &Arc<Self>,
        message: Vec<u8>,
        peer: SocketAddr,
        now: Timestamp,
    ) -> Answer {
        let answers = Arc::clone(self);
        let examined = self
            .work(move || answers.examine(&message, peer, now))
            .await;
        let (incoming, authority, decided) = match examined {
            None => return self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed),
            Some(Err(answer)) => return answer,
            Some(Ok(examined)) => examined,
        };
        let outcome = match decided {
            Ok(Decided::Done(outcome)) => Ok(outcome),
            Ok(Decided::Order(order)) => self.order(*order).await,
            Err(refused) => Err(refused),
        };
        self.reply(incoming, authority, outcome, peer).await
    }

    /// Opens a message and decides on it. What has to be recorded first has not been yet.
    fn examine(
        &self,
        message: &[u8],
        peer: SocketAddr,
        now: Timestamp,
    ) -> Result<Examined, Answer> {
        let (number, authority) = self.scep.current().map_err(|error| self.broken(&error))?;
        let digest = Digest::of(message);
        let mut admits = |key: &[u8]| {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            !keys.is_reused(key, digest, now)
        };
        let former = self.former();
        let (received, by_former) = open(
            message,
            &authority,
            &former,
            self.scep.policy,
            now,
            &mut admits,
        );
        let incoming = match received {
            Received::Unanswerable(rejection) => {
                tracing::info!(%peer, reason = said(&rejection), "no SCEP message");
                return Err(self.unanswered(StatusCode::BAD_REQUEST, Ending::Malformed));
            }
            Received::Answer(body, rejection) => {
                tracing::info!(%peer, reason = said(&rejection), "SCEP message refused");
                self.scep.counts.add(Ending::Refused);
                return Err(Answer {
                    body: Some(body),
                    status: StatusCode::OK,
                    refused: true,
                });
            }
            Received::Request(incoming) => *incoming,
        };
        let (number, authority) = by_former.unwrap_or((number, authority));
        let decided = if self.is_replayed(&incoming, digest, now) {
            Err(Refused::of(
                FailInfo::BadRequest,
                "the senderNonce was used in another message",
            ))
        } else {
            self.decide(&incoming, number, now)
        };
        Ok((incoming, authority, decided))
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = Arc::clone(&self.at_work).acquire_owned().await.ok()?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Not before: who waits for it may have gone.
            drop(place);
            done
        });
        done.await
            .inspect_err(|error| tracing::error!(%error, "a SCEP message could not be worked on"))
            .ok()
    }

    /// Has something recorded, durably, and only then says what came of it.
    async fn order(&self, order: Order) -> Result<Outcome, Refused> {
        let transaction = match &order {
            Order::Issue(issued) => Some(issued.transaction.clone()),
            Order::Wait(_) => None,
        };
        self.scep.keeper.order(order).await?;
        let Some(transaction) = transaction else {
            return Ok(Outcome::Pending);
        };
        // What was recorded, which is another's if the same request came twice at once.
        let fleet = self.scep.keeper.read();
        match fleet.issuance().transaction(&transaction) {
            Some(Transaction::Issued(serial)) => fleet.issuance().certificate(serial),
            Some(_) | None => None,
        }
        .map(|known| Outcome::Issued(Granted::of(&known.issued)))
        .ok_or(Refused::Broken)
    }

    async fn reply(
        &self,
        incoming: Incoming,
        authority: Arc<Authority>,
        outcome: Result<Outcome, Refused>,
        peer: SocketAddr,
    ) -> Answer {
        let outcome = match outcome {
            Ok(outcome) => Ok(outcome),
            Err(Refused::Told(info, text)) => Err((info, text)),
            Err(Refused::Broken) => {
                return self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed);
            }
        };
        let ending = match &outcome {
            Ok(Outcome::Issued(_)) => Ending::Issued,
            Ok(Outcome::Again(_) | Outcome::Crl(_)) => Ending::Repeated,
            Ok(Outcome::Pending) => Ending::Pending,
            Err((info, text)) => {
                tracing::info!(%peer, transaction = %incoming.transaction_id, fail_info = info.number(), text, "SCEP request refused");
                Ending::Refused
            }
        };
        let crl = match &outcome {
            Ok(Outcome::Crl(number)) => match self.scep.crl_of(*number).await {
                Ok(crl) => crl,
                Err(error) => return self.broken(&error),
            },
            _ => Vec::new(),
        };
        let policy = self.scep.policy;
        // The issuer is not the CA that answers where the device knows a former one.
        let issuer = match &outcome {
            Ok(Outcome::Issued(granted) | Outcome::Again(granted)) => {
                let fleet = self.scep.keeper.read();
                let mut all = fleet.issuance().authorities().iter();
                let issuer = all.find(|ca| ca.number == granted.authority);
                issuer.and_then(|ca| Certificate::from_der(&ca.certificate).ok())
            }
            Ok(Outcome::Pending | Outcome::Crl(_)) | Err(_) => None,
        };
        let body = self
            .work(move || {
                write(
                    &incoming,
                    &Identity::new(&authority, policy),
                    outcome,
                    issuer.as_ref(),
                    &crl,
                )
            })
            .await;
        match body {
            Some(Ok(body)) => {
                self.scep.counts.add(ending);
                Answer {
                    body: Some(body),
                    status: StatusCode::OK,
                    refused: ending == Ending::Refused,
                }
            }
            Some(Err(error)) => self.broken(&error),
            None => self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed),
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> Answer {
        tracing::error!(error = said(error), "the SCEP server cannot answer");
        self.unanswered(StatusCode::INTERNAL_SERVER_ERROR, Ending::Failed)
    }

    fn unanswered(&self, status: StatusCode, ending: Ending) -> Answer {
        self.scep.counts.add(ending);
        Answer {
            body: None,
            status,
            refused: status == StatusCode::BAD_REQUEST,
        }
    }
}

/// An error and its causes in one line.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
