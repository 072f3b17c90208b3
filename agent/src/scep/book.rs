//! The ledger of this process: changed in memory and on disk in one place, and told to whoever listens. What changes is decided elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoy_shared::{enrolment::RequestRecord, id::Revision};
use tokio::sync::watch;

use super::{ledger::Ledger, store::Store};
use crate::{disk::DiskError, link::told};

/// The ledger's file.
pub(crate) const FILE: &str = "ledger";

/// What is to be told to the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Counts the changes of this process.
    pub(crate) version: u64,
    /// Of the document on disk.
    pub(crate) revision: Revision,
    /// All requests, by attempt.
    pub(crate) records: Vec<RequestRecord>,
}

/// The ledger of this process.
#[derive(Debug)]
pub(crate) struct Book {
    ledger: Mutex<Ledger>,
    pub(crate) store: Store,
    news: watch::Sender<Arc<News>>,
}

impl Book {
    /// Reads the ledger of a folder. A damaged one is set aside: certificates can be asked for again.
    pub(crate) fn open(store: Store, revision: Revision) -> Result<Self, DiskError> {
        let ledger = match read(&store)? {
            Some(ledger) => ledger,
            // What its certificates are is not known any more: they stay, and so do their numbers.
            None => {
                let newest = store.newest()?;
                Ledger {
                    last_attempt: newest,
                    spared: newest,
                    ..Ledger::default()
                }
            }
        };
        let (news, _) = watch::channel(Arc::new(News {
            version: 0,
            revision,
            records: ledger.all(),
        }));
        let book = Self {
            ledger: Mutex::new(ledger),
            store,
            news,
        };
        // What no request needs is left by one that was cut off.
        book.sweep();
        Ok(book)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&self.ledger())
    }

    /// Changes the ledger, in memory in any case.
    pub(crate) fn change<R>(
        &self,
        change: impl FnOnce(&mut Ledger) -> R,
    ) -> (R, Result<(), DiskError>) {
        let mut ledger = self.ledger();
        let before = ledger.clone();
        let result = change(&mut ledger);
        if *ledger == before {
            return (result, Ok(()));
        }
        let stored = self.store.write(FILE, &ledger.to_bytes());
        let records = ledger.all();
        drop(ledger);
        self.news.send_if_modified(|news| {
            let changed = news.records != records;
            if changed {
                *news = Arc::new(News {
                    version: news.version + 1,
                    revision: news.revision,
                    records,
                });
            }
            changed
        });
        (result, stored)
    }

    /// Changes the ledger, and goes on also where it cannot be stored: the next change stores this one too.
    pub(crate) fn note<R>(&self, change: impl FnOnce(&mut Ledger) -> R) -> R {
        let (result, stored) = self.change(change);
        if let Err(error) = stored {
            tracing::error!(
                error = told(&error),
                "the state of a certificate request cannot be stored"
            );
        }
        result
    }

    /// Another document is on disk.
    pub(crate) fn holds(&self, revision: Revision) {
        self.news.send_modify(|news| {
            *news = Arc::new(News {
                version: news.version + 1,
                revision,
                records: news.records.clone(),
            });
        });
    }

    pub(crate) fn news(&self) -> watch::Receiver<Arc<News>> {
        self.news.subscribe()
    }

    /// Takes away the files that no request needs.
    pub(crate) fn sweep(&self) {
        let (needed, spared) = self.read(|ledger| (ledger.needed(), ledger.spared));
        if let Err(error) = self.store.sweep(&needed, spared) {
            tracing::warn!(
                error = told(&error),
                "what is not needed any more is removed at the next start"
            );
        }
    }
}

/// The ledger of a folder; `None` if it was damaged, and is set aside.
pub(crate) fn read(store: &Store) -> Result<Option<Ledger>, DiskError> {
    let Some(bytes) = store.read(FILE)? else {
        return Ok(Some(Ledger::default()));
    };
    match Ledger::from_bytes(&bytes) {
        Ok(ledger) => Ok(Some(ledger)),
        Err(error) => {
            tracing::error!(
                error = told(&error),
                "the list of certificate requests is damaged: it is set aside, and begun anew"
            );
            match store.set_aside(FILE) {
                // The next one that is stored takes its place.
                Err(error) if error.is_full() => {
                    tracing::error!(error = told(&error), "the damaged list is not kept");
                }
                set_aside => set_aside?,
            }
            Ok(None)
        }
    }
}
