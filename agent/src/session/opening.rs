//! The first half of a session: dial, say what is held, and have the controller prove itself. Nothing that it says is acted on before that.

use std::net::SocketAddr;

use convoy_proto::{
    documents::{SignedRoot, chain_after, open_channel_proof, required_envelope},
    v1,
};
use convoy_shared::{
    envelope::Envelope,
    id::RootVersion,
    proof::{Exporter, Nonce, Proved},
    trust::ModeInForce,
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    Agent, SessionError,
    serving::{FAREWELL, Session},
};
use crate::{
    address::Address,
    clock::ControllerClock,
    greet::ANSWER_TIMEOUT,
    hello::{hello, nonce, trust_shown},
    link::{Link, LinkError, road, told},
    renew::is_expired,
    state::State,
    tls::{labelled, session_label},
};

/// Acknowledgments and reports on their way out.
const OUTBOUND: usize = 64;

/// Opens a session that has been proved. Tries one address after the other, until one leads to the fleet's controller: who answers first need not be it.
pub(super) async fn open(agent: &mut Agent) -> Result<Session, SessionError> {
    agent.catch_up();
    if agent.state.is_stale(agent.clock.now()) {
        tracing::warn!(
            client = %agent.state.client_id,
            revision = agent.state.trust.document.revision.0,
            expires_at = %agent.state.trust.document.expires_at,
            "stale: the trust has expired, and is kept until the controller sends newer"
        );
    }
    let mode = agent.state.mode(&agent.clock);
    let mut no_link = Vec::new();
    let mut told_no = None;
    for address in agent.to_try() {
        match open_at(agent, &address, mode).await {
            Ok(session) => {
                agent.failed.remove(&address);
                return Ok(session);
            }
            Err(Unopened::NoLink(error)) => {
                agent.failed.insert(address.clone(), Instant::now());
                tracing::debug!(client = %agent.state.client_id, %address, error = told(&error), "no connection here");
                no_link.push((address, error));
            }
            Err(Unopened::Session(error)) => {
                tracing::warn!(client = %agent.state.client_id, %address, error = told(&error), "no session here");
                // Somebody who stands in between is worth more words than one who is silent.
                if !matches!(told_no, Some(SessionError::NotProved(_))) {
                    told_no = Some(error);
                }
            }
        }
    }
    Err(told_no.unwrap_or(SessionError::NoLink(no_link)))
}

/// Why an address does not lead to a session.
enum Unopened {
    NoLink(LinkError),
    Session(SessionError),
}

impl Unopened {
    /// Of two that happened at addresses of one name the one that says more: somebody who stands in between is worth more words than one who is
    /// silent.
    fn or_more_telling(self, other: Option<Self>) -> Self {
        match (self, other) {
            (Self::NoLink(new), Some(Self::NoLink(old))) => {
                Self::NoLink(new.or_more_telling(Some(old)))
            }
            (_, Some(old @ Self::Session(SessionError::NotProved(_))))
            | (Self::NoLink(_), Some(old @ Self::Session(_))) => old,
            (new, _) => new,
        }
    }
}

impl<E: Into<SessionError>> From<E> for Unopened {
    fn from(error: E) -> Self {
        Self::Session(error.into())
    }
}

/// Tries each IP address of the name, the one that led to the controller before first, until one does.
async fn open_at(
    agent: &mut Agent,
    address: &Address,
    mode: ModeInForce,
) -> Result<Session, Unopened> {
    let works = agent.works.get(address).copied();
    let mut road = road(address, works).await.map_err(Unopened::NoLink)?;
    let mut told = None;
    while let Some(step) = road.next().await {
        let peer = step.0;
        match open_on(agent, address, step, mode).await {
            Ok(session) => {
                agent.works.insert(address.clone(), peer);
                return Ok(session);
            }
            Err(error) => told = Some(error.or_more_telling(told)),
        }
    }
    Err(told.unwrap_or_else(|| Unopened::NoLink(LinkError::NoAnswer(road.failed()))))
}

async fn open_on(
    agent: &mut Agent,
    address: &Address,
    step: (SocketAddr, TcpStream),
    mode: ModeInForce,
) -> Result<Session, Unopened> {
    let mut link = shake(agent, address, step, mode).await?;
    let nonce = nonce();
    let (outbound, requests) = mpsc::channel(OUTBOUND);
    let first = v1::SessionRequest {
        message: Some(v1::session_request::Message::Hello(
            agent
                .scep
                .complete(hello(&agent.state, mode, &nonce, &agent.host, address)),
        )),
    };
    outbound.try_send(first).map_err(|_| SessionError::Stuck)?;
    let exchange = async {
        let mut inbound = link
            .client
            .session(ReceiverStream::new(requests))
            .await?
            .into_inner();
        let first = inbound.message().await?;
        Ok::<_, tonic::Status>((inbound, first))
    };
    let (inbound, first) = timeout(ANSWER_TIMEOUT, exchange)
        .await
        .map_err(|_| SessionError::Silent)?
        .map_err(|status| SessionError::Refused(status.into()))?;
    let Some(v1::session_response::Message::Welcome(welcome)) =
        first.and_then(|response| response.message)
    else {
        return Err(SessionError::NoWelcome.into());
    };
    let attempt = welcome.scep_attempt;
    let (newer, proved) = prove(&agent.state, welcome, &nonce, &link.exporter)?;
    let held = agent.state.trust.document.epoch;
    if proved.epoch < held {
        report_newer(agent, outbound, inbound).await;
        return Err(SessionError::OlderCopy {
            held,
            offered: proved.epoch,
        }
        .into());
    }
    let signed = proved.time;
    let clock = ControllerClock::set(signed);
    remember(agent, newer, proved, address)?;
    // A certificate that cannot be read would not have been loaded.
    let was_expired = is_expired(agent.state.leaf(), signed).unwrap_or(false);
    tracing::info!(
        client = %agent.state.client_id,
        address = %link.address,
        revision = agent.state.trust.document.revision.0,
        ?mode,
        handshake = ?link.handshake_kind,
        "in session with the controller"
    );
    Ok(Session::new(
        link,
        (outbound, inbound),
        agent.scep.connect(attempt),
        (clock, agent.clock.in_session()),
        mode,
        was_expired,
    ))
}

async fn shake(
    agent: &mut Agent,
    address: &Address,
    step: (SocketAddr, TcpStream),
    mode: ModeInForce,
) -> Result<Link, Unopened> {
    let tls = agent
        .tls
        .for_state(&agent.state, &agent.key, &agent.clock)?;
    let protocols = labelled(&session_label(&agent.state, mode));
    Link::open_on(address, step, &tls, &protocols).await.map_err(|error| {
        if let LinkError::Rejected(rejected) = &error {
            tracing::error!(
                client = %agent.state.client_id,
                revision = agent.state.trust.document.revision.0,
                %address,
                %rejected,
                fingerprint = tls.verifier().seen().map(|seen| tracing::field::display(seen.fingerprint)),
                "refused the server's certificate; if this lasts, the certificate that this client knows was retired: stop this agent, run `convoy-agent join TOKEN` in its state folder, and start it again"
            );
        }
        Unopened::NoLink(error)
    })
}

/// Shows a copy of the controller that was superseded what supersedes it, so that it stops.
async fn report_newer(
    agent: &Agent,
    outbound: mpsc::Sender<v1::SessionRequest>,
    mut inbound: Streaming<v1::SessionResponse>,
) {
    // It says nothing of its roots that is to be believed: it is shown all but the first.
    let shown = trust_shown(&agent.state, RootVersion(1));
    let message = v1::SessionRequest {
        message: Some(v1::session_request::Message::TrustShown(shown)),
    };
    let told = timeout(FAREWELL, async {
        outbound.send(message).await.is_ok() && {
            drop(outbound);
            while let Ok(Some(_)) = inbound.message().await {}
            true
        }
    });
    if told.await.is_err() {
        tracing::debug!("the older copy of the controller did not end the session");
    }
}

/// The roots that are new and what is signed, if this very channel ends at the fleet's controller.
fn prove(
    state: &State,
    welcome: v1::Welcome,
    nonce: &Nonce,
    exporter: &Exporter,
) -> Result<(Vec<SignedRoot>, Proved), SessionError> {
    let proved = || {
        let envelopes = welcome
            .roots
            .into_iter()
            .map(Envelope::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let newer = chain_after(&state.root.root, envelopes)?;
        let root = newer.last().map_or(&state.root.root, |signed| &signed.root);
        let proof = required_envelope(welcome.channel_proof)?;
        let proved = open_channel_proof(&proof, root, nonce, exporter)?;
        Ok((newer, proved))
    };
    proved().map_err(SessionError::NotProved)
}

fn remember(
    agent: &mut Agent,
    newer: Vec<SignedRoot>,
    proved: Proved,
    address: &Address,
) -> Result<(), SessionError> {
    let vital = !newer.is_empty();
    match agent.prove(newer, proved, address) {
        Ok(()) => Ok(()),
        // A full disk must not cut a client off: without the new time its lease ends earlier, and that is all.
        Err(error) if !vital => {
            tracing::warn!(client = %agent.state.client_id, error = told(&error), "cannot store the time of this proof");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
