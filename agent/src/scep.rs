//! Certificates from a SCEP server: what the device does about its settings, by itself, however long the controller is away. Who may change the settings, and trust, are never
//! decided here.
//!
//! ```text
//! engine ─ attempt ─┬─ names, challenge     what is asked for
//!                   ├─ http, outcome        the exchange, and its end in the printers' words
//!                   └─ finish               in place, or nothing changed
//! rules, book ─ ledger ─ store              what is obeyed and remembered, durably
//! socket, batch, show, request              the device's own administrator
//! ```

mod attempt;
pub(crate) mod batch;
mod book;
mod challenge;
mod engine;
mod finish;
mod http;
mod ledger;
mod names;
mod outcome;
mod report;
pub(crate) mod request;
mod rules;
pub(crate) mod show;
pub(crate) mod socket;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod time;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use convoy_proto::v1;
use convoy_shared::settings::KeyUse;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

pub(crate) use report::{Line, Want};

use crate::{
    clock,
    configuration::Configuration,
    disk::{DiskError, StateDir},
    key::IdentityKey,
    link::told,
    run::Shutdown,
    state::State,
};
use attempt::{Bench, Stop};
use book::{Book, News};
use challenge::{Ask, Challenges};
use engine::{Command, Engine, Order, Taken, Wish};
use rules::{Believed, Rules};
use store::Store;
use time::Clock;

/// Commands on their way to the engine.
const COMMANDS: usize = 16;

/// The engine, as the rest of the agent sees it.
#[derive(Clone, Debug)]
pub(crate) struct Scep {
    commands: mpsc::Sender<Command>,
    news: watch::Receiver<Arc<News>>,
    session: Arc<watch::Sender<Option<mpsc::Sender<Ask>>>>,
    told: Arc<watch::Sender<u64>>,
    configuration: PathBuf,
}

/// What an engine is started with.
pub(crate) struct Start<'a> {
    pub(crate) dir: &'a StateDir,
    pub(crate) state: &'a State,
    pub(crate) key: &'a IdentityKey,
    pub(crate) clock: &'a clock::Clock,
    pub(crate) configuration: &'a Path,
    /// Whether the timer counts, and what was cut off goes on.
    pub(crate) timers: bool,
}

impl Scep {
    /// Starts the engine. It lives until the process is to end.
    pub(crate) fn start(
        start: &Start<'_>,
        shutdown: Shutdown,
    ) -> Result<(Self, JoinHandle<()>), DiskError> {
        let store = Store::open(start.dir)?;
        let clock = Clock::Agent(start.clock.clone());
        let (scep, engine) = Self::build(start, store, clock)?;
        Ok((scep, tokio::spawn(engine.run(shutdown))))
    }

    fn build(start: &Start<'_>, store: Store, clock: Clock) -> Result<(Self, Engine), DiskError> {
        if let Err(error) = batch::finish(&store) {
            tracing::error!(
                error = told(error.as_ref()),
                "an import that was cut off is not finished"
            );
        }
        let rules = Rules::load(&store, &Believed::of(start.state))?;
        let book = Arc::new(Book::open(store.clone(), rules.revision)?);
        let (commands, obeyed) = mpsc::channel(COMMANDS);
        let (session, sessions) = watch::channel(None);
        let (told, told_so_far) = watch::channel(0);
        let (stop, stopped) = watch::channel(Stop::No);
        let scep = Self {
            commands,
            news: book.news(),
            session: Arc::new(session),
            told: Arc::new(told),
            configuration: start.configuration.to_owned(),
        };
        let bench = Bench {
            state: start.dir.clone(),
            configuration: start.configuration.to_owned(),
            book,
            challenges: Challenges {
                session: sessions,
                store,
                sealing: start.key.sealing(),
            },
            clock,
            told: told_so_far,
            stop: stopped,
        };
        let engine = Engine::new(bench, stop, obeyed, rules, start.timers);
        Ok((scep, engine))
    }

    /// What the hello says: the revision on disk, and what this device supports (C1.4).
    pub(crate) fn complete(&self, hello: v1::Hello) -> v1::Hello {
        let mut supports: Vec<_> = [
            "RSA-2048",
            "RSA-3072",
            "RSA-4096",
            "SHA-256",
            "SHA-384",
            "SHA-512",
            "AES-128-CBC",
            "DES-EDE3-CBC",
            "POST",
            "Renewal",
        ]
        .map(str::to_owned)
        .into();
        match Configuration::load(&self.configuration) {
            Ok(configuration) => {
                let places = &configuration.places;
                let there = [
                    (KeyUse::Tls, places.tls.is_some()),
                    (KeyUse::IpSec, !places.ipsec.is_empty()),
                    (KeyUse::Ieee8021X, places.ieee8021x.is_some()),
                ];
                let there = there.iter().filter(|(_, there)| *there);
                supports.extend(there.map(|(key_use, _)| key_use.to_string()));
            }
            Err(error) => {
                tracing::error!(
                    error = told(&error),
                    "the configuration is not right: no key use location but None is there"
                );
            }
        }
        v1::Hello {
            scep_revision: self.news.borrow().revision.0,
            scep_supports: supports,
            ..hello
        }
    }

    /// Hands over a document from the proven controller.
    pub(crate) fn offer(&self, envelope: v1::Envelope, state: &State) {
        self.command(Command::Document(envelope, Believed::of(state)));
    }

    /// Hands over a manual request, and answers when it has begun.
    pub(crate) async fn answer(&self, wire: v1::ScepOrder) -> v1::ScepOrderAnswer {
        let id = wire.id.clone();
        let taken = match Order::read(wire) {
            Ok(order) => self.ask(|answer| Command::Order(order, answer)).await,
            Err(why) => Err(why),
        };
        match taken {
            Ok(taken) => v1::ScepOrderAnswer {
                id,
                attempt: taken.attempt,
                reason: String::new(),
                warnings: taken.warnings,
            },
            Err(reason) => v1::ScepOrderAnswer {
                id,
                attempt: 0,
                reason,
                warnings: Vec::new(),
            },
        }
    }

    /// Makes a manual request of the device's own administrator.
    async fn wish(&self, wish: Wish) -> Result<Taken, String> {
        self.ask(|answer| Command::Local(wish, answer)).await
    }

    /// Obeys what was imported, and lies staged.
    async fn imported(&self) -> Result<(), String> {
        self.ask(Command::Imported).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        self.command(command(answer));
        answered
            .await
            .unwrap_or_else(|_| Err("the agent ends".to_owned()))
    }

    fn command(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            tracing::error!("the SCEP engine takes no more commands: one is left out");
        }
    }
}
