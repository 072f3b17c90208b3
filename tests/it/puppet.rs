//! An agent that says and does what a test wants, with the identity of a client that has really joined. Made of the agent's own pieces.

use std::{path::Path, time::Duration};

use convoy_agent::{
    check::{self, Ask},
    clock,
    disk::StateDir,
    hello::{Host, hello, nonce},
    key::IdentityKey,
    link::Link,
    state::{SignedTrust, State},
    tls::{Resume, Tls, labelled, session_label},
    verifier::Policy,
};
use convoy_proto::{
    agent::trust_ack,
    documents::{open_trust, required_envelope},
    v1::{self, session_request, session_response},
};
use convoy_shared::{
    ack::{AckOutcome, HandshakeOutcome, Held},
    label::Label,
    trust::ModeInForce,
};
use rustls::pki_types::CertificateDer;
use tokio::{
    runtime::{Handle, Runtime},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{
    fleet::{Fleet, PATIENCE},
    road::runtime,
};

/// What is never said must not be waited for too long.
const SILENCE: Duration = Duration::from_millis(700);

/// A puppet.
pub(crate) struct Puppet {
    pub(crate) dir: StateDir,
    pub(crate) state: State,
    pub(crate) key: IdentityKey,
    host: Host,
    runtime: Runtime,
}

impl Puppet {
    /// The client of this name, whose agent must not be running: counts a start, as that would.
    pub(crate) fn of(fleet: &Fleet, name: &str) -> Self {
        Self::in_folder(&fleet.state_dir(name))
    }

    pub(crate) fn in_folder(folder: &Path) -> Self {
        let dir = StateDir::open(folder).expect("a state folder");
        let mut state = State::load(&dir).expect("a client that has joined");
        state.incarnation = state.incarnation.next();
        state.store(&dir).expect("stored");
        Self {
            key: IdentityKey::load(&dir).expect("its key"),
            host: Host::of_process(),
            runtime: runtime(),
            dir,
            state,
        }
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Shows this chain, with the puppet's own key.
    pub(crate) fn tls_with(
        &self,
        policy: Policy,
        chain: &[CertificateDer<'static>],
        resume: Resume,
    ) -> Tls {
        Tls::client(policy, chain, &self.key, resume).expect("a chain for the key")
    }

    /// As the agent would connect, without resumption.
    pub(crate) fn tls(&self) -> Tls {
        self.resuming(Resume::Never)
    }

    pub(crate) fn resuming(&self, resume: Resume) -> Tls {
        let policy = Policy::Trust(self.state.snapshot(&self.state.clock()));
        self.tls_with(policy, &self.state.identity, resume)
    }

    /// Accepts any certificate.
    pub(crate) fn gullible(&self) -> Tls {
        self.tls_with(Policy::AcceptAny, &self.state.identity, Resume::Never)
    }

    pub(crate) fn mode(&self) -> ModeInForce {
        self.state.mode(&self.state.clock())
    }

    pub(crate) fn link(&self, tls: &Tls) -> Link {
        let label = labelled(&session_label(&self.state, self.mode()));
        self.block_on(Link::open(&self.state.addresses[0], tls, &label))
            .expect("a connection")
    }

    /// One handshake with this label on a fresh connection.
    pub(crate) fn shake(&self, tls: &Tls, label: &Label) -> HandshakeOutcome {
        self.block_on(check::handshake(&self.state.addresses[0], None, tls, label))
            .outcome
    }

    /// Opens a session as the agent would.
    pub(crate) fn open(&self) -> Talk {
        self.open_saying(|_| {})
    }

    /// The same with another hello.
    pub(crate) fn open_saying(&self, change: impl FnOnce(&mut v1::Hello)) -> Talk {
        self.open_on(self.link(&self.tls()), change)
    }

    /// An honest hello.
    pub(crate) fn hello(&self) -> session_request::Message {
        self.hello_but(|_| {})
    }

    /// A hello that is honest but for this.
    pub(crate) fn hello_but(
        &self,
        change: impl FnOnce(&mut v1::Hello),
    ) -> session_request::Message {
        let mut said = hello(
            &self.state,
            self.mode(),
            &nonce(),
            &self.host,
            &self.state.addresses[0],
        );
        change(&mut said);
        session_request::Message::Hello(said)
    }

    pub(crate) fn open_on(&self, link: Link, change: impl FnOnce(&mut v1::Hello)) -> Talk {
        let mut talk = self.begin(link, self.hello_but(change));
        match talk.hear() {
            Some(session_response::Message::Welcome(welcome)) => talk.welcome = Some(welcome),
            other => panic!("no welcome but {other:?}, {:?}", talk.ended),
        }
        talk
    }

    /// Opens a session with any first message, and hears nothing yet.
    pub(crate) fn begin(&self, mut link: Link, first: session_request::Message) -> Talk {
        let (outbound, requests) = mpsc::channel(16);
        let request = v1::SessionRequest {
            message: Some(first),
        };
        outbound.try_send(request).expect("room");
        let answer = self.block_on(link.client.session(ReceiverStream::new(requests)));
        let (inbound, ended) = match answer {
            Ok(answer) => (Some(answer.into_inner()), None),
            Err(status) => (None, Some(status)),
        };
        Talk {
            link: Some(link),
            welcome: None,
            ended,
            outbound,
            inbound,
            runtime: self.runtime.handle().clone(),
        }
    }

    /// Takes the trust document of the rotation as an honest agent does. The next session begins with it.
    pub(crate) fn take_trust(&mut self) {
        let mut talk = self.open();
        let trust = self.receive(&mut talk);
        self.keep(trust);
        talk.acknowledge(self.state.held());
        talk.close();
    }

    /// What it is sent.
    pub(crate) fn receive(&self, talk: &mut Talk) -> SignedTrust {
        match talk.hear() {
            // It names a document that was never published, and forges it.
            Some(session_response::Message::ShowTrust(_)) => {
                let trust = self.state.trust.envelope.clone().into();
                talk.say(session_request::Message::TrustShown(v1::TrustShown {
                    trust: Some(trust),
                    roots: vec![],
                    name: "liar".to_owned(),
                }));
                self.receive(talk)
            }
            Some(session_response::Message::Trust(envelope)) => {
                let envelope = required_envelope(Some(envelope)).expect("an envelope");
                let document = open_trust(&envelope, &self.state.root.root).expect("signed");
                SignedTrust { envelope, document }
            }
            other => panic!("no trust but {other:?}, {:?}", talk.ended),
        }
    }

    pub(crate) fn keep(&mut self, trust: SignedTrust) {
        self.state.trust = trust;
        self.state.store(&self.dir).expect("stored");
    }

    /// A report that fits the check, whether or not it is true.
    pub(crate) fn report(
        &self,
        ask: &Ask,
        probe: HandshakeOutcome,
        decoy: HandshakeOutcome,
    ) -> session_request::Message {
        session_request::Message::CheckReport(v1::CheckReport {
            token: ask.token.0.to_vec().into(),
            trust: Some(ask.trust.into()),
            probe: v1::HandshakeOutcome::from(probe).into(),
            decoy: v1::HandshakeOutcome::from(decoy).into(),
            mode: v1::VerificationMode::from(self.mode()).into(),
            failure: String::new(),
            wall_clock_seconds: clock::wall().as_second(),
            others: Vec::new(),
        })
    }

    /// Does the check as an honest agent would.
    pub(crate) fn answer(&self, ask: Ask) -> session_request::Message {
        let address = &self.state.addresses[0];
        let report = self.block_on(check::answer(
            &self.dir,
            address,
            None,
            ask,
            &self.state.clock(),
        ));
        session_request::Message::CheckReport(report)
    }
}

/// A session of a puppet.
pub(crate) struct Talk {
    link: Option<Link>,
    pub(crate) welcome: Option<v1::Welcome>,
    /// The status with which the controller ended it.
    pub(crate) ended: Option<Status>,
    outbound: mpsc::Sender<v1::SessionRequest>,
    inbound: Option<Streaming<v1::SessionResponse>>,
    runtime: Handle,
}

impl Talk {
    pub(crate) fn say(&self, message: session_request::Message) {
        let request = v1::SessionRequest {
            message: Some(message),
        };
        // If the session is over, that shows when it is heard.
        drop(self.outbound.try_send(request));
    }

    /// Says it as soon as there is room on the way; whether there was within that time.
    pub(crate) fn press(&self, message: session_request::Message, within: Duration) -> bool {
        let request = v1::SessionRequest {
            message: Some(message),
        };
        self.runtime
            .block_on(async { timeout(within, self.outbound.send(request)).await })
            .is_ok_and(|sent| sent.is_ok())
    }

    pub(crate) fn acknowledge(&self, held: Held) {
        self.say(session_request::Message::TrustAck(trust_ack(
            held,
            AckOutcome::Applied,
        )));
    }

    /// The next message; `None` when the session is over.
    pub(crate) fn hear(&mut self) -> Option<session_response::Message> {
        let inbound = self.inbound.as_mut()?;
        let heard = self
            .runtime
            .block_on(async { timeout(PATIENCE, inbound.message()).await })
            .expect("something is said, or the session ends");
        match heard {
            Ok(response) => response.and_then(|response| response.message),
            Err(status) => {
                self.ended = Some(status);
                None
            }
        }
    }

    /// The next check that is asked for.
    pub(crate) fn hear_check(&mut self) -> Ask {
        match self.hear() {
            Some(session_response::Message::Check(check)) => check.try_into().expect("a check"),
            other => panic!("no check but {other:?}, {:?}", self.ended),
        }
    }

    /// How the controller ends it. Nothing else may be said before.
    pub(crate) fn hear_end(&mut self) -> Status {
        let heard = self.hear();
        assert!(heard.is_none(), "{heard:?} and no end");
        self.ended.clone().expect("a status")
    }

    /// Nothing is said for a while.
    pub(crate) fn is_silent(&mut self) -> bool {
        let inbound = self.inbound.as_mut().expect("a session");
        self.runtime
            .block_on(async { timeout(SILENCE, inbound.message()).await })
            .is_err()
    }

    /// Ends it in order: what was said has been heard.
    pub(crate) fn close(mut self) {
        let (outbound, _) = mpsc::channel(1);
        self.outbound = outbound;
        while self.hear().is_some() {}
        self.inbound = None;
        if let Some(link) = self.link.take() {
            self.runtime.block_on(link.close());
        }
    }
}
