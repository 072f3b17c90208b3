//! The engine's line to the controller while a session is open: what is to be reported, and what is asked. Nothing is sent here.

use std::{collections::BTreeMap, sync::Arc};

use convoy_proto::{scep::write_record, v1};
use convoy_shared::enrolment::RequestRecord;
use tokio::sync::{mpsc, watch};

use super::{Ask, Command, News, Scep};

/// Questions on their way to the controller.
const ASKS: usize = 4;

/// The engine's end in a session.
#[derive(Debug)]
pub(crate) struct Line {
    asks: mpsc::Receiver<Ask>,
    news: watch::Receiver<Arc<News>>,
    told: Arc<watch::Sender<u64>>,
    /// As the controller knows them.
    known: BTreeMap<u64, RequestRecord>,
    revision: u64,
    from: u64,
    version: u64,
}

/// What the engine wants of the session.
#[derive(Debug)]
pub(crate) enum Want {
    /// To be reported; then [`Line::said`] is to be called.
    Report(v1::ScepReport),
    /// To be asked.
    Ask(Ask),
}

impl Scep {
    /// A session is open. Its controller has records up to this attempt.
    pub(crate) fn connect(&self, attempt: u64) -> Line {
        let (ask, asks) = mpsc::channel(ASKS);
        self.session.send_replace(Some(ask));
        self.command(Command::Attempt(attempt));
        let mut news = self.news.clone();
        let revision = news.borrow().revision.0;
        // What there is now is news to this session.
        news.mark_changed();
        Line {
            asks,
            news,
            told: Arc::clone(&self.told),
            known: BTreeMap::new(),
            revision,
            from: attempt,
            version: 0,
        }
    }
}

impl Line {
    /// The next thing that the engine wants.
    pub(crate) async fn next(&mut self) -> Want {
        loop {
            tokio::select! {
                Some(ask) = self.asks.recv() => return Want::Ask(ask),
                Ok(()) = self.news.changed() => {
                    let news = Arc::clone(&self.news.borrow_and_update());
                    self.version = news.version;
                    match self.report(&news) {
                        Some(report) => return Want::Report(report),
                        None => self.said(),
                    }
                }
                else => std::future::pending::<()>().await,
            }
        }
    }

    fn report(&mut self, news: &News) -> Option<v1::ScepReport> {
        let new: Vec<_> = news
            .records
            .iter()
            .filter(|record| record.attempt >= self.from)
            .filter(|record| self.known.get(&record.attempt) != Some(record))
            .cloned()
            .collect();
        if new.is_empty() && self.revision == news.revision.0 {
            return None;
        }
        self.revision = news.revision.0;
        let records = new.iter().map(write_record).collect();
        self.known
            .extend(new.into_iter().map(|record| (record.attempt, record)));
        let oldest = news.records.first().map_or(0, |record| record.attempt);
        self.known.retain(|attempt, _| *attempt >= oldest);
        Some(v1::ScepReport {
            records,
            revision: self.revision,
        })
    }

    /// What was reported last is on its way.
    pub(crate) fn said(&self) {
        self.told.send_replace(self.version);
    }
}
