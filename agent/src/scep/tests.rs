//! The engine against a SCEP server of the tests' own, over HTTP on the loopback, with a clock that the tests set.

mod crashes;
mod errors;
mod orders;
mod renewal;
pub(crate) mod server;
mod timer;

use std::{path::PathBuf, time::Duration};

use convoy_proto::{scep::encode_scep, v1};
use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState},
    envelope::{Envelope, PayloadType},
    id::{Digest, Revision, RootVersion},
    settings::{CaPin, Periodic, ScepDocument, ScepServer, ScepSettings, Span},
};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Scep, Start,
    challenge::{Ask, Denied, Given},
    ledger::Ledger,
    store::{Fuse, Store},
    time::Clock,
};
use crate::{
    samples::{Fleet, client_id},
    state::State,
};
use server::{Mood, Server};

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a time")
}

/// A device whose agent's engine can be started and killed.
struct Device {
    fleet: Fleet,
    state: State,
    now: watch::Sender<Timestamp>,
    server: Server,
    revision: u64,
    life: Option<Life>,
}

/// One life of an engine.
struct Life {
    scep: Scep,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    fuse: Fuse,
}

impl Device {
    async fn new() -> Self {
        let fleet = Fleet::new();
        let state = fleet.state();
        state.store(&fleet.dir).expect("stored");
        let (now, reads) = watch::channel(noon());
        let mut device = Self {
            server: Server::start(reads).await,
            fleet,
            state,
            now,
            revision: 0,
            life: None,
        };
        device.start(None);
        device
    }

    fn configuration(&self) -> PathBuf {
        self.fleet.dir.file("agent.toml")
    }

    /// Begins a life; after `fuse` changes on disk there are no more.
    fn start(&mut self, fuse: Option<usize>) {
        let configuration = self.configuration();
        let start = Start {
            dir: &self.fleet.dir,
            state: &self.state,
            key: self.fleet.key(),
            clock: &self.state.clock(),
            configuration: &configuration,
            timers: true,
        };
        let store = Store::open(&self.fleet.dir).expect("a store");
        let burning = store.fuse.clone();
        let clock = Clock::Test(self.now.subscribe());
        let (scep, engine) = Scep::build(&start, store, clock).expect("built");
        burning.set(fuse);
        let (stop, asked) = watch::channel(false);
        self.life = Some(Life {
            scep,
            task: tokio::spawn(engine.run(asked)),
            stop,
            fuse: burning,
        });
    }

    /// Ends a life as a power cut does.
    async fn kill(&mut self) {
        let life = self.life.take().expect("alive");
        life.fuse.set(Some(0));
        life.stop.send_replace(true);
        life.task.await.expect("no panic");
    }

    fn scep(&self) -> &Scep {
        &self.life.as_ref().expect("alive").scep
    }

    fn advance(&self, by: SignedDuration) {
        self.now.send_modify(|now| *now += by);
    }

    /// Settings with the timer on, at once.
    fn settings(&self) -> ScepSettings {
        ScepSettings {
            server: ScepServer::Url(self.server.url.clone()),
            ca_fingerprint: CaPin::Sha256(Digest::new(self.server.desk.fingerprint())),
            timer: true,
            timeout: Span(SignedDuration::from_secs(10)),
            polls: 2,
            poll_interval: Span(SignedDuration::from_mins(5)),
            common_name: "p1.example".to_owned(),
            subject_alt_names: vec!["dns:p1.example".to_owned(), "ip:{ip}".to_owned()],
            ..ScepSettings::default()
        }
    }

    fn periodic(&self) -> ScepSettings {
        ScepSettings {
            periodic: Periodic::Every(HOUR),
            max_keys: 100,
            ..self.settings()
        }
    }

    fn document(&self, revision: u64, settings: ScepSettings) -> v1::Envelope {
        self.document_under(1, revision, settings)
    }

    fn document_under(&self, root: u64, revision: u64, settings: ScepSettings) -> v1::Envelope {
        let document = ScepDocument {
            fleet_id: self.state.fleet_id(),
            client: client_id(),
            root_version: RootVersion(root),
            revision: Revision(revision),
            issued_at: noon(),
            url: Some(self.server.url.clone()),
            settings,
            slot: None,
        };
        let key = self.fleet.policy_key();
        Envelope::sign(PayloadType::Scep, encode_scep(&document), &[&key]).into()
    }

    async fn obey(&mut self, settings: ScepSettings) {
        if self.revision > 0 {
            // Nobody changes settings twice at the same instant.
            self.advance(SignedDuration::from_secs(1));
        }
        self.revision += 1;
        let document = self.document(self.revision, settings);
        self.scep().offer(document, &self.state);
        let mut news = self.scep().news.clone();
        let revision = Revision(self.revision);
        timeout(PATIENCE, news.wait_for(|news| news.revision == revision))
            .await
            .expect("in time")
            .expect("alive");
    }

    /// As a person changes settings: with the timer off.
    async fn obey_anew(&mut self, settings: ScepSettings) {
        self.obey(ScepSettings {
            timer: false,
            ..settings.clone()
        })
        .await;
        self.obey(settings).await;
    }

    /// The record of an attempt, once it is as wanted.
    async fn record(&self, attempt: u64, wanted: impl Fn(&RequestRecord) -> bool) -> RequestRecord {
        let mut news = self.scep().news.clone();
        let find = |news: &super::News| {
            let mut records = news.records.iter();
            records
                .find(|record| record.attempt == attempt && wanted(record))
                .cloned()
        };
        let found = timeout(PATIENCE, news.wait_for(|news| find(news).is_some())).await;
        match found {
            Ok(news) => find(&news.expect("alive")).expect("found"),
            Err(_) => panic!(
                "attempt {attempt}: {:#?}",
                self.scep().news.borrow().records
            ),
        }
    }

    async fn ended(&self, attempt: u64) -> RequestRecord {
        self.record(attempt, |record| record.state.is_final()).await
    }

    async fn succeeded(&self, attempt: u64) -> RequestRecord {
        let record = self.ended(attempt).await;
        assert!(
            matches!(record.state, RequestState::Successful(_)),
            "{record:#?}"
        );
        record
    }

    async fn failed(&self, attempt: u64) -> ErrorDetail {
        match self.ended(attempt).await.state {
            RequestState::Error(why) => why,
            other => panic!("{other:?}"),
        }
    }

    async fn waiting(&self, attempt: u64, polls: u32) -> ErrorDetail {
        let record = self
            .record(attempt, |record| match record.state {
                RequestState::Processing {
                    polls: so_far,
                    ref waiting,
                } => so_far == polls && waiting.is_some(),
                _ => false,
            })
            .await;
        match record.state {
            RequestState::Processing {
                waiting: Some(why), ..
            } => why,
            other => panic!("{other:?}"),
        }
    }

    fn ledger(&self) -> Ledger {
        let bytes = std::fs::read(self.fleet.dir.file("scep/ledger")).expect("a ledger");
        Ledger::from_bytes(&bytes).expect("intact")
    }

    fn has(&self, file: &str) -> bool {
        self.fleet.dir.file("scep").join(file).exists()
    }

    /// Configures the key use location TLS as two files.
    fn place_tls(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = (
            self.fleet.dir.file("tls.crt"),
            self.fleet.dir.file("tls.key"),
        );
        let text = format!(
            "[places.tls]\npreset = \"files\"\ncertificate = {certificate:?}\nkey = {key:?}\n"
        );
        self.configure(&text);
        (certificate, key)
    }

    fn configure(&self, text: &str) {
        super::store::replace(&self.configuration(), text.as_bytes()).expect("written");
    }

    /// Plays a session that hands out challenges; each question is counted.
    fn session(
        &self,
        answer: Result<Given, Denied>,
    ) -> mpsc::UnboundedReceiver<v1::ObtainScepChallengeRequest> {
        let (ask, mut asks) = mpsc::channel::<Ask>(4);
        self.scep().session.send_replace(Some(ask));
        let (asked, counted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(ask) = asks.recv().await {
                drop(ask.answer.send(answer.clone()));
                drop(asked.send(ask.request));
            }
        });
        counted
    }
}
